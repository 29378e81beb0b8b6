/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The places of the host that the broker needs, each resolved once at start and then only reached through its fd: after
 * that, no path is looked up from a root directory that somebody could have changed. */

#include <sys/types.h>

#include "base/macro.h"

typedef struct Host {
        int proc_fd;  /* owned: /proc */
        int dev_fd;   /* owned: /dev */
        int mount_ns_fd; /* owned: the broker's own mount namespace */
        int fusectl_fd;  /* owned: root of a detached mount of the fusectl file system; -EBADF if the kernel has none */
        ino_t mount_ns_inode;
} Host;
#define HOST_NULL ((Host){-EBADF, -EBADF, -EBADF, -EBADF, 0})

int host_open(Host *host) _must_check_;
void host_done(Host *host);

/* Opens the "abort" file of the FUSE connection of that number (minor of st_dev), which must be that of the device fuse_fd; the
 * caller owns the fd. Numbers are given anew as soon as a connection is gone, but what was opened stays that of the old one: a
 * write to it then does nothing. -ENODEV when the connection has ended. */
int host_connection_open_abort(const Host *host, uint32_t connection, int fuse_fd) _must_check_;
/* -ENOENT when there is none of that number. */
int host_connection_waiting(const Host *host, uint32_t connection, uint32_t *ret_waiting) _must_check_;

/* Opens the file behind a descriptor anew (with these open flags), through our own /proc. */
int host_reopen(const Host *host, int fd, int flags) _must_check_;

/* By what our own /proc calls it: its file system, if it is something else, is not asked. */
bool host_fd_is_pidfd(const Host *host, int fd);

/* Killed, and yet there: each of its threads is through with it or has a SIGKILL to take, which it does not get to while it waits in the kernel. */
bool host_process_is_held_up(const Host *host, pid_t pid) _must_check_;

/* "mnt_id:" of /proc/self/fdinfo: the mount a descriptor is on, without asking its file system. */
int host_mount_id_of_fd(const Host *host, int fd, uint64_t *ret) _must_check_;
