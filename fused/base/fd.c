/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* File descriptors as owned values. See fd.h for each contract. */

#include "base/fd.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* include/uapi/asm-generic/socket.h, Linux 6.16 */
#endif

int fd_close(int fd) {
        if (fd >= 0) {
                int saved = errno;
                (void) close(fd); /* EINTR closes too on Linux; there is nothing to do about an error */
                errno = saved;
        }
        return -EBADF;
}

void fd_closep(int *fd) {
        *fd = fd_close(*fd);
}

void fd_fill(int *fds, size_t n) {
        for (size_t i = 0; i < n; i++)
                fds[i] = -EBADF;
}

void fd_close_many(int *fds, size_t n) {
        for (size_t i = 0; i < n; i++)
                fds[i] = fd_close(fds[i]);
}

int fd_dup(int fd) {
        return RET_NERRNO(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

int fd_size(int fd, uint64_t *ret) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISBLK(st.st_mode))
                return RET_NERRNO(ioctl(fd, BLKGETSIZE64, ret));
        if (!S_ISREG(st.st_mode))
                return -ENOTBLK;
        *ret = (uint64_t) st.st_size;
        return 0;
}

int fd_set_nonblock(int fd, bool on) {
        int flags = RET_NERRNO(fcntl(fd, F_GETFL));
        if (flags < 0)
                return flags;
        return RET_NERRNO(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

int fd_set_cloexec(int fd, bool on) {
        return RET_NERRNO(fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0));
}

static int send_with(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds, int flags) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
        } control = {0};
        struct iovec iov = {.iov_base = (void *) data, .iov_len = size};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;

        assert(n_fds <= FD_PASS_MAX);

        if (n_fds > 0) {
                message.msg_control = control.bytes;
                message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                struct cmsghdr *header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(header), fds, sizeof(int) * n_fds);
        }

        do
                n = RET_NERRNO(sendmsg(socket_fd, &message, MSG_NOSIGNAL | MSG_EOR | flags));
        while (n == -EINTR);
        if (n < 0)
                return (int) n;
        return (size_t) n == size ? 0 : -EMSGSIZE;
}

int fd_send(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds) {
        return send_with(socket_fd, data, size, fds, n_fds, 0);
}

int fd_send_now(int socket_fd, const void *data, size_t size, int fd) {
        return send_with(socket_fd, data, size, &fd, 1, MSG_DONTWAIT);
}

/* Takes the descriptors of one control message over; returns false when they do not fit or were cut off. */
static bool take_rights(struct msghdr *message, int *fds, size_t n_max, size_t *n) {
        bool ok = !(message->msg_flags & (MSG_TRUNC | MSG_CTRUNC));

        for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
                if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < count; i++) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
                        if (*n < n_max)
                                fds[(*n)++] = fd;
                        else {
                                (void) fd_close(fd);
                                ok = false;
                        }
                }
        }
        return ok;
}

ssize_t fd_receive(int socket_fd, void *data, size_t size, int *fds, size_t n_fds, size_t *ret_n_fds, int flags) {
        /* Room for all the kernel passes at once (SCM_MAX_FD), so that surplus descriptors can be closed and counted. */
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * 253)];
        } control;
        struct iovec iov = {.iov_base = data, .iov_len = size};
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof control.bytes,
        };
        size_t n_taken = 0;
        ssize_t n;

        for (size_t i = 0; i < n_fds; i++)
                fds[i] = -EBADF;

        do
                n = RET_NERRNO(recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC | flags));
        while (n == -EINTR);
        if (n < 0)
                return n;

        if (!take_rights(&message, fds, n_fds, &n_taken)) {
                fd_close_many(fds, n_taken);
                return -EBADMSG;
        }
        if (ret_n_fds)
                *ret_n_fds = n_taken;
        return n;
}

void fd_refuse_rights(int socket_fd) {
        int off = 0;
        (void) setsockopt(socket_fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off); /* ENOPROTOOPT before 6.16 */
}

ssize_t fd_read_file_at(int dir_fd, const char *path, char *buffer, size_t size) {
        _cleanup_fd_ int fd = -EBADF;
        size_t have = 0;

        fd = RET_NERRNO(openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY));
        if (fd < 0)
                return fd;
        while (have < size) {
                ssize_t n = RET_NERRNO(read(fd, buffer + have, size - have));
                if (n == -EINTR)
                        continue;
                if (n < 0)
                        return n;
                if (n == 0) {
                        buffer[have] = 0;
                        return (ssize_t) have;
                }
                have += (size_t) n;
        }
        return -EFBIG;
}

int fd_write_file_at(int dir_fd, const char *path, const char *text) {
        _cleanup_fd_ int fd = -EBADF;
        size_t length = strlen(text);

        fd = RET_NERRNO(openat(dir_fd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY));
        if (fd < 0)
                return fd;
        ssize_t n = RET_NERRNO(write(fd, text, length)); /* one write: these files take a value whole */
        if (n < 0)
                return (int) n;
        return (size_t) n == length ? 0 : -EIO;
}
