/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The mount API, faked: these definitions take the place of libc's when they are linked into a test, so that every failure
 * path of a mount runs without privilege. Each call is counted; the one that is told to fails; descriptors that it hands
 * out are real (of memfds), so that a leak shows. */

#include "base/macro.h"

typedef enum FakeCall {
        FAKE_FSOPEN,
        FAKE_FSCONFIG,
        FAKE_FSMOUNT,
        FAKE_MOVE_MOUNT,
        FAKE_OPEN_TREE,
        FAKE_MOUNT_SETATTR,
        FAKE_UMOUNT2,
        FAKE_SETNS,
        FAKE_STATX,
        _FAKE_CALL_MAX,
} FakeCall;

typedef struct FakeMount {
        unsigned n_calls[_FAKE_CALL_MAX];
        unsigned n_total;
        unsigned fail_at;   /* n_total of the call that fails; 0: none */
        int fail_errno;
        FakeCall failed;    /* which it was */
        char log[4096];     /* "fsopen fuse\nfsconfig source=x\n..." */
        unsigned attributes; /* of the last fsmount */
        unsigned statx_mode; /* what STATX_TYPE reports */
        unsigned statx_uid;
} FakeMount;
extern FakeMount fake_mount;

void fake_mount_reset(void);
/* Open descriptors of this process. */
size_t count_fds(void);
