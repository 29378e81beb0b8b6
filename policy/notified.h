/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The system calls of a server that its agent answers (hand-over fd): those that may name a slot by its path, and
 * mount(2)/umount2(2), which libfuse 2 calls for a mount that has been made already. The filter compiler gives exactly
 * these SECCOMP_RET_USER_NOTIF, and the agent has exactly one row for each (fused/agent/answer.c).
 *
 * X(name, argument that holds the directory fd or -1, argument that holds the path). Architectures without the old
 * calls (open, stat, ... on arm64) leave those rows out: test with "#ifdef __NR_name" or by resolving the name. openat2
 * is not in here: its flags are in the server's memory, and the filter answers it with ENOSYS. */
#define NOTIFIED_SYSCALLS(X)  \
        X(open, -1, 0)        \
        X(openat, 0, 1)       \
        X(stat, -1, 0)        \
        X(lstat, -1, 0)       \
        X(newfstatat, 0, 1)   \
        X(statx, 0, 1)        \
        X(access, -1, 0)      \
        X(faccessat, 0, 1)    \
        X(faccessat2, 0, 1)   \
        X(readlink, -1, 0)    \
        X(readlinkat, 0, 1)   \
        X(mount, -1, 1)       \
        X(umount2, -1, 0)
