/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The server's role in libfuse's service protocol: the conversation from hello to goodbye. See fused-server.h; the packets
 * are in wire/service.h, the command line in service-arguments.c, the mount in service-mount.c. */

#define FUSE_USE_VERSION 312
#include "fused-server.h"

#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 19)

#include <limits.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "service-private.h"

#define SERVICE_FD 3

struct fuse_service *service_current;

/* ---- packets -------------------------------------------------------------------------------------------------------- */

/* The socket has timeouts in both directions, which show as EAGAIN. */
static int send_packet(struct fuse_service *sf, const void *packet, size_t size) {
        int r;

        if (sf->socket_fd < 0)
                return -ENOTCONN;
        r = size == 0 ? -ENAMETOOLONG : fd_send(sf->socket_fd, packet, size, NULL, 0);
        return r == -EAGAIN ? -ETIMEDOUT : r;
}

static ssize_t receive_packet(struct fuse_service *sf, void *packet, size_t size, int *ret_fd) {
        size_t n_fds = 0;
        ssize_t n;

        if (sf->socket_fd < 0)
                return -ENOTCONN;
        n = fd_receive(sf->socket_fd, packet, size, ret_fd, ret_fd ? 1 : 0, &n_fds, 0);
        if (n == -EAGAIN)
                return -ETIMEDOUT;
        return n == 0 ? -EBADMSG : n; /* an end of file is no answer */
}

int service_command(struct fuse_service *sf, const ServicePacket *what) {
        char packet[SERVICE_OPEN_MAX];
        uint32_t error;
        ssize_t n;
        int r;

        r = send_packet(sf, packet, service_build_command(packet, sizeof packet, what));
        if (r < 0)
                return r;
        n = receive_packet(sf, packet, sizeof packet, NULL);
        if (n < 0)
                return (int) n;
        r = service_parse_reply(packet, (size_t) n, &error);
        return r < 0 ? r : error > INT_MAX ? -EIO : -(int) error;
}

static int receive_file(struct fuse_service *sf, const char *path, int *ret_fd) {
        char packet[SERVICE_FILE_MAX];
        _cleanup_fd_ int fd = -EBADF;
        uint32_t error;
        ssize_t n;
        int r;

        n = receive_packet(sf, packet, sizeof packet, &fd);
        if (n < 0)
                return (int) n;
        r = service_parse_file(packet, (size_t) n, path, &error);
        if (r < 0)
                return r;
        if (error != 0)
                *ret_fd = error > INT_MAX ? -EIO : -(int) error;
        else
                *ret_fd = fd >= 0 ? TAKE_FD(fd) : -ENOENT;
        return 0;
}

/* ---- hello ---------------------------------------------------------------------------------------------------------- */

static int parse_decimal(const char *text, long *ret) {
        char *end;

        if (!text || *text < '0' || *text > '9')
                return -EINVAL;
        errno = 0;
        *ret = strtol(text, &end, 10);
        return errno != 0 || *end || *ret > INT_MAX ? -EINVAL : 0;
}

/* 1: started as a service; 0: not; negative errno: started as one, but wrongly. */
static int is_service(void) {
        struct sockaddr_storage address;
        socklen_t length = sizeof address;
        long pid, n;

        if (parse_decimal(getenv("LISTEN_PID"), &pid) < 0 || parse_decimal(getenv("LISTEN_FDS"), &n) < 0 || pid != getpid() || n == 0)
                return 0;
        if (n != 1)
                return -E2BIG;
        if (getsockname(SERVICE_FD, (struct sockaddr *) &address, &length) < 0)
                return -errno;
        return address.ss_family == AF_UNIX ? 1 : -EAFNOSUPPORT;
}

/* The longest command must fit; where the size cannot be asked for, it is not known to be too small. */
static int check_send_buffer(int fd) {
        int size;
        socklen_t length = sizeof size;

        if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &length) < 0)
                return 0;
        return size < (int) SERVICE_OPEN_MAX + 1 ? -ENOBUFS : 0;
}

static int shake_hands(struct fuse_service *sf) {
        const struct timeval limit = {.tv_sec = FUSE_SERVICE_TIMEOUT_SEC};
        char packet[SERVICE_HELLO_SIZE + 1]; /* one more, so that a longer one shows */
        ssize_t n;
        int r;

        if (setsockopt(sf->socket_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
            setsockopt(sf->socket_fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
                return -errno;
        r = check_send_buffer(sf->socket_fd);
        if (r < 0)
                return r;
        n = receive_packet(sf, packet, sizeof packet, NULL);
        if (n < 0)
                return (int) n;
        r = service_parse_hello(packet, (size_t) n, &sf->flags);
        if (r < 0)
                return r;
        r = send_packet(sf, packet, service_build_hello_reply(packet, sizeof packet, SERVICE_VERSION));
        if (r < 0)
                return r;
        r = receive_file(sf, "argv", &sf->argv_fd);
        if (r < 0 || sf->argv_fd < 0)
                return r < 0 ? r : sf->argv_fd;
        r = receive_file(sf, "fusedev", &sf->device_fd);
        return r < 0 || sf->device_fd >= 0 ? r : sf->device_fd;
}

int fuse_service_accept(struct fuse_service **sfp) {
        struct fuse_service *sf;
        int r;

        *sfp = NULL;
        r = is_service();
        if (r <= 0)
                return r;
        sf = calloc(1, sizeof *sf);
        if (!sf)
                return -ENOMEM;
        *sf = (struct fuse_service){.socket_fd = SERVICE_FD, .argv_fd = -EBADF, .device_fd = -EBADF, .mount.ms_flags = MS_NOSUID | MS_NODEV};
        r = fd_set_cloexec(SERVICE_FD, true);
        if (r >= 0)
                r = shake_hands(sf);
        if (r < 0) {
                fuse_service_destroy(&sf);
                return r;
        }
        service_current = *sfp = sf;
        return 0;
}

bool fuse_service_can_allow_other(struct fuse_service *sf) {
        return sf->flags & SERVICE_HELLO_ALLOW_OTHER;
}

bool fuse_service_can_fuseblk(struct fuse_service *sf) {
        return sf->flags & SERVICE_HELLO_FUSEBLK;
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

static int request(struct fuse_service *sf, ServiceCommand what, const char *path, int open_flags, mode_t create_mode,
                   unsigned int request_flags, unsigned int block_size) {
        const ServicePacket open_packet = {
                .command = what,
                .string = path,
                .open_flags = (uint32_t) open_flags,
                .create_mode = create_mode,
                .request_flags = request_flags,
                .block_size = block_size,
        };
        char packet[SERVICE_OPEN_MAX];

        if (request_flags & ~FUSE_SERVICE_REQUEST_FILE_QUIET)
                return -EINVAL;
        return send_packet(sf, packet, service_build_command(packet, sizeof packet, &open_packet));
}

int fuse_service_request_file(struct fuse_service *sf, const char *path, int open_flags, mode_t create_mode, unsigned int request_flags) {
        return request(sf, SERVICE_COMMAND_OPEN, path, open_flags, create_mode, request_flags, 0);
}

int fuse_service_request_blockdev(struct fuse_service *sf, const char *path, int open_flags, mode_t create_mode,
                                  unsigned int request_flags, unsigned int block_size) {
        return request(sf, SERVICE_COMMAND_BDEV, path, open_flags, create_mode, request_flags, block_size);
}

int fuse_service_receive_file(struct fuse_service *sf, const char *path, int *fdp) {
        return receive_file(sf, path, fdp);
}

int fuse_service_finish_file_requests(struct fuse_service *sf) {
        if (sf->socket_fd < 0)
                return -ENOTCONN;
        fd_refuse_rights(sf->socket_fd);
        return 0;
}

void fuse_service_expect_mount_format(struct fuse_service *sf, mode_t expected_fmt) {
        sf->expected_format = expected_fmt;
}

/* ---- the end -------------------------------------------------------------------------------------------------------- */

int fuse_service_send_goodbye(struct fuse_service *sf, int error) {
        const ServicePacket bye = {.command = SERVICE_COMMAND_BYE, .exit_code = (uint32_t) error};
        char packet[16];
        int r;

        if (sf->said_goodbye || sf->socket_fd < 0)
                return 0;
        sf->said_goodbye = true;
        r = send_packet(sf, packet, service_build_command(packet, sizeof packet, &bye));
        (void) shutdown(sf->socket_fd, SHUT_RDWR); /* whoever else holds it: this was the last word */
        sf->socket_fd = fd_close(sf->socket_fd);
        return r;
}

void fuse_service_release(struct fuse_service *sf) {
        sf->socket_fd = fd_close(sf->socket_fd);
        sf->argv_fd = fd_close(sf->argv_fd);
        sf->device_fd = fd_close(sf->device_fd);
}

void fuse_service_destroy(struct fuse_service **sfp) {
        if (*sfp) {
                fuse_service_release(*sfp);
                if (service_current == *sfp)
                        service_current = NULL;
                free(*sfp);
        }
        *sfp = NULL;
}

int fuse_service_exit(int ret) {
        return ret == 0 ? 0 : 1;
}

#endif
