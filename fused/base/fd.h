/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* File descriptors as owned values, and passing them over AF_UNIX sockets in fixed counts. */

#include <sys/types.h>

#include "base/macro.h"

/* Closes fd if it is >= 0; keeps errno; returns -EBADF so that one writes fd = fd_close(fd). */
int fd_close(int fd);
void fd_closep(int *fd);
#define _cleanup_fd_ _cleanup_(fd_closep)

/* Closes all of fds[0..n) and sets them to -EBADF. */
void fd_close_many(int *fds, size_t n);
void fd_fill(int *fds, size_t n); /* with -EBADF: none is there */

/* F_DUPFD_CLOEXEC from 3 upwards. Returns the new fd (the caller owns it) or negative errno. */
int fd_dup(int fd) _must_check_;

/* Bytes of a regular file or a block device. -ENOTBLK: it is neither. */
int fd_size(int fd, uint64_t *ret) _must_check_;

int fd_set_nonblock(int fd, bool on) _must_check_;
int fd_set_cloexec(int fd, bool on) _must_check_;

/* Sends one message of exactly size bytes with n_fds borrowed descriptors (n_fds <= FD_PASS_MAX).
 * Errors: negative errno; -EAGAIN on a full non-blocking socket; short writes become -EMSGSIZE. MSG_NOSIGNAL. */
#define FD_PASS_MAX 32
int fd_send(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds) _must_check_;

/* The same with one descriptor, and -EAGAIN rather than wait, whatever the socket's flags are: for a client's socket. */
int fd_send_now(int socket_fd, const void *data, size_t size, int fd) _must_check_;

/* Receives one message into data (at most size bytes). Up to n_fds descriptors are stored in fds (close-on-exec, caller
 * owns them) and *ret_n_fds says how many came; unused entries are -EBADF. Returns the length of the message, 0 at end
 * of file, negative errno. A truncated message or truncated control data, or more than n_fds descriptors, closes what
 * came and returns -EBADMSG. Pass flags 0 or MSG_DONTWAIT. */
ssize_t fd_receive(int socket_fd, void *data, size_t size, int *fds, size_t n_fds, size_t *ret_n_fds, int flags) _must_check_;

/* SO_PASSRIGHTS off (Linux >= 6.16), ignored where the kernel has none. */
void fd_refuse_rights(int socket_fd);

/* Reads a whole small file below directory fd into buffer, NUL-terminated. Returns length or negative errno
 * (-EFBIG if it does not fit). For /proc and /sys files. */
ssize_t fd_read_file_at(int dir_fd, const char *path, char *buffer, size_t size) _must_check_;
int fd_write_file_at(int dir_fd, const char *path, const char *text) _must_check_;
