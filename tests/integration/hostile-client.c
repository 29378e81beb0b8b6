/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hostile-client SOCKET ATTACK [NUMBER]: a client that does not behave. Each attack says whether the supervisor answered as it
 * must (refused, or closed this connection and no other). Exit status 0: it did. */

#include "hostile-client.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

#define AUTHENTICATION "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
#define CLOSE_MSEC 8000 /* 5 s to authenticate, and something to spare */
#define RIGHTS_MAX 253  /* the kernel's SCM_MAX_FD */

int raw_connect(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int r;

        (void) snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
        if (fd < 0)
                return -errno;
        r = RET_NERRNO(connect(fd, (const struct sockaddr *) &address, sizeof address));
        return r < 0 ? r : TAKE_FD(fd);
}

/* Waits for the other side to close; 0 when it did. */
static int expect_close(int fd) {
        struct timespec start, now;
        char buffer[4096];

        (void) clock_gettime(CLOCK_MONOTONIC, &start);
        for (;;) {
                (void) clock_gettime(CLOCK_MONOTONIC, &now);
                int left = CLOSE_MSEC - (int) ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000);
                if (left <= 0 || poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, left) <= 0)
                        return complain("the connection is still open");
                if (recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) <= 0)
                        return 0;
        }
}

static int attack_bytes(const char *path, const void *first, size_t n_first, size_t garbage) {
        _cleanup_fd_ int fd = raw_connect(path);
        unsigned char block[1024];

        if (fd < 0)
                return complain("cannot connect");
        if (n_first > 0 && send(fd, first, n_first, MSG_NOSIGNAL) < 0)
                return complain("cannot send");
        for (size_t sent = 0; sent < garbage; sent += sizeof block) {
                for (size_t i = 0; i < sizeof block; i++)
                        block[i] = (unsigned char) random();
                if (send(fd, block, sizeof block, MSG_NOSIGNAL) < 0)
                        break; /* closed already: as it should be */
        }
        return expect_close(fd);
}

int attack_silent(const char *path, unsigned n) {
        return attack_bytes(path, NULL, 0, 0);
}

int attack_garbage(const char *path, unsigned n) {
        return attack_bytes(path, NULL, 0, 65536);
}

int attack_half_authentication(const char *path, unsigned n) {
        return attack_bytes(path, "\0AUTH EXT", 10, 0);
}

int attack_garbage_message(const char *path, unsigned n) {
        return attack_bytes(path, AUTHENTICATION, sizeof AUTHENTICATION - 1, 65536);
}

/* A header that promises more than is allowed. */
int attack_huge_message(const char *path, unsigned n) {
        static const unsigned char header[16] = {'l', 1, 0, 1, 0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0, 0xff, 0xff, 0, 0};
        char first[sizeof AUTHENTICATION - 1 + sizeof header];

        memcpy(first, AUTHENTICATION, sizeof AUTHENTICATION - 1);
        memcpy(first + sizeof AUTHENTICATION - 1, header, sizeof header);
        return attack_bytes(path, first, sizeof first, 4096);
}

/* Half a message, and then nobody is there any more. */
int attack_half_message(const char *path, unsigned n) {
        static const unsigned char header[12] = {'l', 1, 0, 1, 8, 0, 0, 0, 1, 0, 0, 0};
        _cleanup_fd_ int fd = raw_connect(path);

        if (fd < 0 || send(fd, AUTHENTICATION, sizeof AUTHENTICATION - 1, MSG_NOSIGNAL) < 0 ||
            send(fd, header, sizeof header, MSG_NOSIGNAL) < 0)
                return complain("cannot send");
        (void) poll(NULL, 0, 100);
        return 0; /* what follows looks whether the supervisor still answers */
}

/* Descriptors while it authenticates, in as many messages as it takes: nobody asked for them. */
int attack_rights(const char *path, unsigned n) {
        _cleanup_fd_ int fd = raw_connect(path), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * RIGHTS_MAX)];
        } control = {0};
        struct iovec io = {.iov_base = (char[]){'\0'}, .iov_len = 1};
        struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        int fds[RIGHTS_MAX];

        if (fd < 0 || null < 0)
                return complain("cannot connect");
        for (size_t i = 0; i < RIGHTS_MAX; i++)
                fds[i] = null;
        *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fds)};
        memcpy(CMSG_DATA(c), fds, sizeof fds);
        for (unsigned i = 0; i < 20; i++)
                if (sendmsg(fd, &message, MSG_NOSIGNAL) < 0)
                        return 0; /* refused: closed, or (SO_PASSRIGHTS off) EPERM */
        return expect_close(fd);
}

/* NUMBER connections one after the other, then as many at once as one may have, and some more. */
int attack_connections(const char *path, unsigned n) {
        enum { AT_ONCE = 400 };
        int held[AT_ONCE];
        unsigned open = 0;

        for (unsigned i = 0; i < n; i++) {
                _cleanup_fd_ int fd = raw_connect(path);
                if (fd < 0 && fd != -EAGAIN)
                        return complain("connect failed");
                if (i % 3 == 0 && fd >= 0)
                        (void) send(fd, AUTHENTICATION, sizeof AUTHENTICATION - 1, MSG_NOSIGNAL);
        }
        for (size_t i = 0; i < AT_ONCE; i++)
                held[i] = raw_connect(path);
        (void) poll(NULL, 0, 1000);
        for (size_t i = 0; i < AT_ONCE; i++)
                if (held[i] >= 0) {
                        char byte;
                        ssize_t r = recv(held[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK);
                        open += r < 0 && errno == EAGAIN;
                }
        fd_close_many(held, AT_ONCE);
        printf("%u of %d stayed open\n", open, AT_ONCE);
        if (open > 300)
                return complain("more connections than documented");
        return open > 0 ? 0 : complain("none was accepted");
}
