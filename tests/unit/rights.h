/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For tests of sockets over which no descriptor may come. */

#include <sys/socket.h>

#include "base/fd.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

/* Else fd_refuse_rights() does nothing. */
static inline bool kernel_refuses_rights(void) {
        _cleanup_fd_ int fd = RET_NERRNO(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        int off = 0;

        return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off) >= 0;
}
