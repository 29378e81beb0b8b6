/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The server's role in libfuse's service protocol. See fused-server.h; the packets are in wire/service.h. */

#define FUSE_USE_VERSION 312
#include "fused-server.h"

#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 19)

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fd.h"
#include "wire/service.h"

#define SERVICE_FD 3
#define WORDS_MAX 64

struct fuse_service {
        int socket_fd;  /* owned */
        int argv_fd;    /* owned until the arguments are appended */
        int device_fd;  /* owned until a session has it */
        uint32_t flags; /* ServiceHelloFlags */
        mode_t expected_format;
        uint32_t ms_flags;       /* from the options */
        char options[1024];      /* for the kernel, comma-separated */
        char mtab[256];
        char name[64];           /* the type's: the mount's source */
        bool said_goodbye;
};

/* ---- packets -------------------------------------------------------------------------------------------------------- */

static int send_packet(struct fuse_service *sf, const void *packet, size_t size) {
        if (sf->socket_fd < 0)
                return -ENOTCONN;
        return size == 0 ? -ENAMETOOLONG : fd_send(sf->socket_fd, packet, size, NULL, 0);
}

/* The socket has a receive timeout, which shows as EAGAIN. */
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

static int command(struct fuse_service *sf, const ServicePacket *what) {
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
        return r < 0 ? r : -(int) error;
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

static int shake_hands(struct fuse_service *sf) {
        const struct timeval limit = {.tv_sec = FUSE_SERVICE_TIMEOUT_SEC};
        char packet[SERVICE_HELLO_SIZE + 1]; /* one more, so that a longer one shows */
        ssize_t n;
        int r;

        if (setsockopt(sf->socket_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
            setsockopt(sf->socket_fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
                return -errno;
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
        *sf = (struct fuse_service){.socket_fd = SERVICE_FD, .argv_fd = -EBADF, .device_fd = -EBADF, .ms_flags = MS_NOSUID | MS_NODEV};
        r = fd_set_cloexec(SERVICE_FD, true);
        if (r >= 0)
                r = shake_hands(sf);
        if (r < 0) {
                fuse_service_destroy(&sf);
                return r;
        }
        *sfp = sf;
        return 0;
}

bool fuse_service_can_allow_other(struct fuse_service *sf) {
        return sf->flags & SERVICE_HELLO_ALLOW_OTHER;
}

bool fuse_service_can_fuseblk(struct fuse_service *sf) {
        return sf->flags & SERVICE_HELLO_FUSEBLK;
}

/* ---- mount options -------------------------------------------------------------------------------------------------- */

/* Words that are flags of the mount; libfuse's session ignores them when the device is handed over. */
static const struct {
        const char *name;
        uint32_t set, clear;
} flag_rows[] = {
        {"ro", MS_RDONLY, 0},      {"rw", 0, MS_RDONLY},           {"suid", 0, MS_NOSUID},          {"nosuid", MS_NOSUID, 0},
        {"dev", 0, MS_NODEV},      {"nodev", MS_NODEV, 0},         {"exec", 0, MS_NOEXEC},          {"noexec", MS_NOEXEC, 0},
        {"async", 0, MS_SYNCHRONOUS}, {"sync", MS_SYNCHRONOUS, 0}, {"dirsync", MS_DIRSYNC, 0},      {"noatime", MS_NOATIME, 0},
        {"nodiratime", MS_NODIRATIME, 0}, {"nosymfollow", MS_NOSYMFOLLOW, 0},
};

static const char *const kernel_options[] = {"allow_other", "default_permissions", "max_read=", "blksize="};

static int add_to_list(char *list, size_t size, const char *word) {
        size_t have = strlen(list);

        if (have + strlen(word) + 2 > size)
                return -E2BIG;
        if (have > 0)
                list[have++] = ',';
        strcpy(list + have, word);
        return 0;
}

static bool is_kernel_option(const char *word) {
        for (size_t i = 0; i < ELEMENTSOF(kernel_options); i++) {
                size_t length = strlen(kernel_options[i]);
                if (kernel_options[i][length - 1] == '=' ? strncmp(word, kernel_options[i], length) == 0 : strcmp(word, kernel_options[i]) == 0)
                        return true;
        }
        return false;
}

/* 1: it is the mount's; 0: it is somebody else's. */
static int take_option(struct fuse_service *sf, const char *word) {
        for (size_t i = 0; i < ELEMENTSOF(flag_rows); i++)
                if (strcmp(flag_rows[i].name, word) == 0) {
                        sf->ms_flags = (sf->ms_flags & ~flag_rows[i].clear) | flag_rows[i].set;
                        return 1;
                }
        if (is_kernel_option(word)) {
                int r = add_to_list(sf->options, sizeof sf->options, word);
                return r < 0 ? r : 1;
        }
        if (strncmp(word, "x-", 2) == 0 || strncmp(word, "user=", 5) == 0) {
                int r = add_to_list(sf->mtab, sizeof sf->mtab, word);
                return r < 0 ? r : 1;
        }
        return 0;
}

/* The words stay in the command line: the session accepts them as well, and has no use for them. */
static int take_options(struct fuse_service *sf, const struct fuse_args *args) {
        for (int i = 1; i < args->argc; i++) {
                const char *list = args->argv[i];
                if (strncmp(list, "-o", 2) != 0)
                        continue;
                list = list[2] ? list + 2 : i + 1 < args->argc ? args->argv[++i] : "";
                char *copy _cleanup_free_ = strdup(list), *cursor = copy, *word;
                if (!copy)
                        return -ENOMEM;
                while ((word = strsep(&cursor, ","))) {
                        int r = take_option(sf, word);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* ---- the command line ----------------------------------------------------------------------------------------------- */

/* [type name] + [the server's own words] + [the caller's words] */
static int append_words(struct fuse_service *sf, const void *image, size_t size, struct fuse_args *args) {
        struct fuse_args all = FUSE_ARGS_INIT(0, NULL);
        const char *word;
        int r;

        for (size_t i = 0; i < WORDS_MAX; i++) {
                r = service_argv_word(image, size, i, &word);
                if (r == -ENOENT)
                        break;
                if (r < 0 || fuse_opt_add_arg(&all, word) < 0) {
                        fuse_opt_free_args(&all);
                        return r < 0 ? r : -ENOMEM;
                }
                if (i > 0)
                        continue;
                (void) snprintf(sf->name, sizeof sf->name, "%s", word);
                for (int own = 1; own < args->argc; own++)
                        if (fuse_opt_add_arg(&all, args->argv[own]) < 0) {
                                fuse_opt_free_args(&all);
                                return -ENOMEM;
                        }
        }
        if (all.argc == 0)
                return -EBADMSG;
        fuse_opt_free_args(args);
        *args = all;
        return take_options(sf, args);
}

int fuse_service_append_args(struct fuse_service *sf, struct fuse_args *args) {
        struct stat st;
        void *image;
        int r;

        if (sf->argv_fd < 0)
                return -EINVAL;
        if (fstat(sf->argv_fd, &st) < 0)
                return -errno;
        if (st.st_size <= 0 || st.st_size > SERVICE_ARGV_MAX)
                return -EBADMSG;
        /* read, not mapped: the helper may not have sealed it */
        image = malloc((size_t) st.st_size);
        if (!image)
                return -ENOMEM;
        r = pread(sf->argv_fd, image, (size_t) st.st_size, 0) == st.st_size ? append_words(sf, image, (size_t) st.st_size, args) : -EBADMSG;
        free(image);
        if (r >= 0)
                sf->argv_fd = fd_close(sf->argv_fd);
        return r;
}

static int keep_mountpoint(void *data, const char *arg, int key, struct fuse_args *outargs) {
        struct fuse_cmdline_opts *opts = data;

        if (key != FUSE_OPT_KEY_NONOPT)
                return 1;
        if (opts->mountpoint) {
                fprintf(stderr, "fuse: invalid argument `%s'\n", arg);
                return -1;
        }
        opts->mountpoint = strdup(arg);
        return opts->mountpoint ? 0 : -1;
}

int fuse_service_parse_cmdline_opts(struct fuse_args *args, struct fuse_cmdline_opts *opts) {
        static const struct fuse_opt none[] = {FUSE_OPT_END};
        struct fuse_cmdline_opts kept = {0};

        /* The mount point is taken out first, or libfuse would look for it. */
        if (fuse_opt_parse(args, &kept, none, keep_mountpoint) < 0 || fuse_parse_cmdline(args, opts) < 0) {
                free(kept.mountpoint);
                return -1;
        }
        opts->mountpoint = kept.mountpoint;
        return 0;
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

/* ---- the mount ------------------------------------------------------------------------------------------------------ */

void fuse_service_expect_mount_format(struct fuse_service *sf, mode_t expected_fmt) {
        sf->expected_format = expected_fmt;
}

static int bind_session(struct fuse_service *sf, struct fuse_session *se) {
        char path[32];

        if (sf->device_fd < 0)
                return -EINVAL;
        (void) snprintf(path, sizeof path, "/dev/fd/%d", sf->device_fd);
        if (fuse_session_mount(se, path) != 0)
                return -EIO;
        (void) TAKE_FD(sf->device_fd); /* the session's now */
        return 0;
}

int fuse_service_session_mount(struct fuse_service *sf, struct fuse_session *se, mode_t expected_fmt, struct fuse_cmdline_opts *opts) {
        const ServicePacket packets[] = {
                {.command = SERVICE_COMMAND_FSOPEN},
                {.command = SERVICE_COMMAND_SOURCE, .string = *sf->name ? sf->name : "fuse"},
                {.command = SERVICE_COMMAND_MNTPT,
                 .string = opts->mountpoint ? opts->mountpoint : "",
                 .expected_format = expected_fmt ? expected_fmt : sf->expected_format},
                {.command = SERVICE_COMMAND_OPTS, .string = sf->options},
                {.command = SERVICE_COMMAND_MTAB, .string = sf->mtab},
                {.command = SERVICE_COMMAND_MOUNT, .ms_flags = sf->ms_flags},
        };
        int r;

        r = bind_session(sf, se);
        if (r < 0)
                return r;
        opts->foreground = 1; /* the service manager watches this process */
        for (size_t i = 0; i < ELEMENTSOF(packets); i++) {
                if (packets[i].string && !*packets[i].string) /* an empty list has no packet */
                        continue;
                r = command(sf, &packets[i]);
                if (r < 0)
                        return r;
        }
        return chdir("/") < 0 ? -errno : 0;
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
                free(*sfp);
        }
        *sfp = NULL;
}

int fuse_service_exit(int ret) {
        return ret == 0 ? 0 : 1;
}

#endif
