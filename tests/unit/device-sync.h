/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For tests linked with --wrap=fdatasync: who empties the memory of which device, and what comes of it. */

#include <errno.h>

#include "base/macro.h"

static unsigned n_syncs;
static int synced_fds[4]; /* the last ones */
static int sync_error;

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd) {
        synced_fds[n_syncs++ % ELEMENTSOF(synced_fds)] = fd;
        errno = -sync_error;
        return sync_error ? -1 : 0;
}
