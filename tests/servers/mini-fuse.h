/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The smallest FUSE server: an empty directory, spoken by hand, so that a test can also speak it wrongly. */

#include "base/macro.h"

typedef enum MiniFuse {
        MINI_GOOD,
        MINI_NEVER_INIT,  /* reads nothing */
        MINI_IGNORE_INIT, /* reads FUSE_INIT and does not answer */
        MINI_INIT_ERROR,  /* answers it with an error */
        MINI_INIT_SHORT,  /* with an answer of no bytes: the kernel takes the rest for zero */
        MINI_INIT_OLD,    /* with a version that the kernel does not speak */
        MINI_HANG,        /* answers FUSE_INIT, then never again */
} MiniFuse;

/* Serves until the mount is gone; returns the exit status. */
int mini_fuse_serve(int device_fd, MiniFuse how);
/* Dies by a signal, on purpose: no sanitizer is to report it. */
_noreturn_ void mini_crash(void);
/* More than anybody should keep. */
void mini_flood_stderr(void);
