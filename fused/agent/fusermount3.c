/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusermount3 inside a sandbox (hand-over fusermount): for servers that run it rather than let libfuse mount. It opens
 * /dev/fuse, which the agent answers with the device of the mount that fused makes, and sends it over the socket that its
 * caller waits at. It mounts nothing, and what it is asked to unmount is fused's to unmount. Static; the protocol is that
 * of libfuse's program, in both its phases. */

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROCEED_MSEC 300000

static int send_device(int socket_fd, int device_fd) {
        char byte = 0;
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct iovec iov = {.iov_base = &byte, .iov_len = 1};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);

        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &device_fd, sizeof device_fd);
        return sendmsg(socket_fd, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

/* The options that matter here; the others are the mount's, which has been decided on already. */
static const char *comm_fd_of(int argc, char **argv, int *unmount, int *sync_init, int *stay) {
        const char *comm_fd = getenv("_FUSE_COMMFD");

        for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
                bool is_short = argv[i][0] == '-' && argv[i][1] != '-' && argv[i][1] != 'o';
                *unmount |= strcmp(argv[i], "--unmount") == 0 || (is_short && strchr(argv[i], 'u'));
                *sync_init |= strcmp(argv[i], "--sync-init") == 0;
                *stay |= strcmp(argv[i], "--auto-unmount") == 0;
                if (strcmp(argv[i], "--comm-fd") == 0 && i + 1 < argc)
                        comm_fd = argv[++i];
                else if ((strcmp(argv[i], "-o") == 0 || strcmp(argv[i], "--options") == 0) && i + 1 < argc)
                        *stay |= strstr(argv[++i], "auto_unmount") != NULL;
        }
        return comm_fd;
}

static int finish(int socket_fd, int sync_init, int stay) {
        struct pollfd item = {.fd = socket_fd, .events = POLLIN};
        const int32_t status = 0;
        char byte;

        if (sync_init) {
                if (poll(&item, 1, PROCEED_MSEC) <= 0 || read(socket_fd, &byte, 1) != 1)
                        return 1;
                if (send(socket_fd, &status, sizeof status, MSG_NOSIGNAL) != sizeof status)
                        return 1;
        }
        while (stay && read(socket_fd, &byte, 1) > 0) /* without a deadline: that is how long its caller lives */
                ;
        return 0;
}

int main(int argc, char **argv) {
        int unmount = 0, sync_init = 0, stay = 0, socket_fd, device_fd;
        const char *text = comm_fd_of(argc, argv, &unmount, &sync_init, &stay);

        if (argc == 2 && (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0)) {
                puts("fusermount3 version: 3.14.0 (fused, sandboxed)");
                return 0;
        }
        if (unmount)
                return 0;
        if (!text)
                return 1;
        socket_fd = atoi(text);
        device_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        if (device_fd < 0 || send_device(socket_fd, device_fd) < 0) {
                perror("fusermount3");
                return 1;
        }
        (void) close(device_fd);
        return finish(socket_fd, sync_init, stay);
}
