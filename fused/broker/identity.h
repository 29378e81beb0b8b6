/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who is at the other end of a control connection, as the kernel says it. */

#include <sys/types.h>

#include "base/macro.h"

typedef struct Identity {
        uid_t uid;
        gid_t gid;
        gid_t *groups; /* owned */
        size_t n_groups;
        int pidfd;     /* owned; -EBADF on kernels before 6.5, then the caller is taken to be in the host's namespaces */
} Identity;
#define IDENTITY_NULL ((Identity){.uid = (uid_t) -1, .gid = (gid_t) -1, .pidfd = -EBADF})

/* socket_fd must be a connection accepted on the socket at control_path, else -EPERM. */
int identity_from_socket(int socket_fd, const char *control_path, Identity *ret) _must_check_;
void identity_done(Identity *identity);
