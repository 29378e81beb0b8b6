/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusermount3, without privilege: speaks the protocol of libfuse's program of that name (a socket in $_FUSE_COMMFD, one byte and
 * the FUSE device over it) and has fused do what that one is set-user-ID root for. See fused-fusermount3(1).
 *
 *   classic      device and mount are asked for, then the device is sent
 *   --sync-init  the device is sent, a byte is waited for, then the mount is made and its status sent (4 bytes, host order)
 *   auto_unmount the process stays; when the other end of the socket is closed, it unmounts
 */

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "client/fusectl.h"
#include "client/fusermount-options.h"
#include "config.h"

#define PROCEED_MSEC 300000
#define NO_DIRECTORY NULL

typedef struct Arguments {
        bool unmount, lazy, quiet, auto_unmount, sync_init;
        const char *options;
        const char *comm_fd;
        const char *mountpoint;
} Arguments;

static int fail(const Arguments *arguments, const char *format, ...) _printf_(2, 3);
static int fail(const Arguments *arguments, const char *format, ...) {
        va_list args;

        if (arguments->quiet)
                return 1;
        va_start(args, format);
        (void) fputs("fusermount3: ", stderr);
        (void) vfprintf(stderr, format, args);
        (void) fputc('\n', stderr);
        va_end(args);
        return 1;
}

static int fail_as_told(const Arguments *arguments, FusedError *error) {
        char text[4096];

        (void) text_clean(error->message ? error->message : "failed", "", text, sizeof text);
        (void) fail(arguments, "%s%s", error->kind == FUSED_ERROR_REFUSED ? "refused: " : "", text);
        fused_error_done(error);
        return 1;
}

static int connect_to(const Arguments *arguments, FusedClient **ret) {
        FusedError error = {0};

        return fused_client_new(getenv("FUSED_RUNTIME_DIRECTORY") ?: NO_DIRECTORY, ret, &error) < 0 ? fail_as_told(arguments, &error) : 0;
}

/* ---- unmounting ----------------------------------------------------------------------------------------------------- */

static int unmount_id(FusedClient *client, uint64_t id, const Arguments *arguments) {
        FusedError error = {0};

        return fused_unmount(client, id, arguments->lazy, &error) < 0 ? fail_as_told(arguments, &error) : 0;
}

static int run_unmount(const Arguments *arguments) {
        FusedClient *client = NULL;
        FusedError error = {0};
        uint64_t id;
        int r;

        if (connect_to(arguments, &client) != 0)
                return 1;
        r = mount_at(client, arguments->mountpoint, &id, &error);
        if (r == 0)
                r = unmount_id(client, id, arguments);
        else if (error.message)
                r = fail_as_told(arguments, &error);
        else if (r == -ENXIO && umount2(arguments->mountpoint, UMOUNT_NOFOLLOW | (arguments->lazy ? MNT_DETACH : 0)) == 0)
                r = 0; /* not ours, but the caller may */
        else
                r = fail(arguments, "no mount of yours at %s", arguments->mountpoint);
        (void) fused_client_free(client);
        return r;
}

/* ---- mounting ------------------------------------------------------------------------------------------------------- */

typedef struct Session {
        const Arguments *arguments;
        FusermountOptions options;
        FusedClient *client; /* owned */
        int comm_fd;         /* inherited */
        int point_fd;        /* owned */
        char *point_name;    /* owned: absolute, for display */
        int device_fd;       /* owned */
        uint64_t id;
} Session;

static void session_done(Session *session) {
        fusermount_options_done(&session->options);
        (void) fused_client_free(session->client);
        (void) fd_close(session->point_fd);
        (void) fd_close(session->device_fd);
        free(session->point_name);
}

static int find_comm_fd(const Arguments *arguments, int *ret) {
        const char *text = arguments->comm_fd ?: getenv("_FUSE_COMMFD");
        struct stat st;
        char *end;
        long fd;

        if (!text)
                return fail(arguments, "old style mounting not supported: there is no socket to send the device to");
        fd = strtol(text, &end, 10);
        if (*end || end == text || fd < 0 || fd > INT32_MAX || fstat((int) fd, &st) < 0 || !S_ISSOCK(st.st_mode))
                return fail(arguments, "file descriptor %s is not a socket, cannot send the device to it", text);
        *ret = (int) fd;
        return fd_set_cloexec(*ret, true) < 0;
}

/* As the caller, who names it; the last component is taken as it is. */
static int open_mountpoint(Session *session) {
        const char *path = session->arguments->mountpoint;
        struct stat st;

        session->point_fd = RET_NERRNO(open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC));
        if (session->point_fd < 0 || fstat(session->point_fd, &st) < 0)
                return fail(session->arguments, "failed to access mountpoint %s: %s", path, strerror(errno));
        if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
                return fail(session->arguments, "mountpoint %s is not a directory or a regular file", path);
        session->point_name = realpath(path, NULL);
        return 0;
}

/* A type of the program's own name, if policy has one for callers' programs; else the one for all of them. */
static const char *choose_type(Session *session) {
        _cleanup_json_ json_object *types = NULL;
        FusedError error = {0};

        if (!session->options.subtype)
                return "fuse";
        if (fused_types(session->client, &types, &error) < 0) {
                fused_error_done(&error);
                return "fuse";
        }
        for (size_t i = 0; i < json_object_array_length(types); i++) {
                json_object *type = json_object_array_get_idx(types, i);
                if (strcmp(text_of(type, "name"), session->options.subtype) == 0 && strcmp(text_of(type, "hand-over"), "caller") == 0)
                        return session->options.subtype;
        }
        return "fuse";
}

static int prepare(Session *session) {
        const char *words[FUSERMOUNT_WORDS_MAX + 1];
        _cleanup_free_ char *subtype = NULL;
        FusedError error = {0};
        size_t n_words = 0, n_fds;
        int pair[2], r;
        char byte;

        for (; n_words < session->options.n_words; n_words++)
                words[n_words] = session->options.words[n_words];
        if (session->options.subtype && strlen(session->options.subtype) < 32) {
                if (asprintf(&subtype, "subtype=%s", session->options.subtype) < 0)
                        return fail(session->arguments, "out of memory");
                words[n_words++] = subtype;
        }
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return fail(session->arguments, "socketpair: %s", strerror(errno));
        _cleanup_fd_ int mine = pair[0], theirs = pair[1];
        FusedMountRequest request = {
                .type = choose_type(session),
                .source = {.fd = -1},
                .source_name = session->options.fsname ?: session->options.subtype,
                .mountpoint_fd = session->point_fd,
                .mountpoint_name = session->point_name,
                .options = words,
                .n_options = n_words,
                .prepare = true,
                .channel_fd = theirs,
        };
        r = fused_mount(session->client, &request, &session->id, NULL, &error);
        if (r < 0)
                return fail_as_told(session->arguments, &error);
        /* it was sent before the answer */
        if (fd_receive(mine, &byte, 1, &session->device_fd, 1, &n_fds, MSG_DONTWAIT) != 1 || n_fds != 1)
                return fail(session->arguments, "fused has sent no device");
        return 0;
}

static int send_device(const Session *session) {
        const char byte = 0;
        int r = fd_send(session->comm_fd, &byte, 1, &session->device_fd, 1);

        return r < 0 ? fail(session->arguments, "sending the device: %s", strerror(-r)) : 0;
}

/* The kernel's own number for what went wrong is not told; a refusal must not look like success. */
static void send_status(const Session *session, int32_t status) {
        (void) send(session->comm_fd, &status, sizeof status, MSG_NOSIGNAL);
}

static int attach(Session *session) {
        FusedError error = {0};

        if (fused_attach(session->client, session->id, NULL, &error) < 0)
                return fail_as_told(session->arguments, &error);
        return 0;
}

static int mount_classic(Session *session) {
        if (attach(session) != 0)
                return 1;
        if (send_device(session) != 0) {
                FusedError error = {0};
                (void) fused_unmount(session->client, session->id, /* lazy= */ true, &error);
                fused_error_done(&error);
                return 1;
        }
        return 0;
}

static int mount_in_two_phases(Session *session) {
        struct pollfd item = {.fd = session->comm_fd, .events = POLLIN};
        char byte;

        if (send_device(session) != 0)
                return 1;
        session->device_fd = fd_close(session->device_fd); /* the server's alone: with us holding it, its end would not be seen */
        if (poll(&item, 1, PROCEED_MSEC) <= 0 || read(session->comm_fd, &byte, 1) != 1)
                return fail(session->arguments, "nobody said that the mount may be made");
        if (attach(session) != 0) {
                send_status(session, -EPERM);
                return 1;
        }
        send_status(session, 0);
        return 0;
}

/* Stays until the library, or whoever it was inherited by, has closed its end. Signals are not what ends it: a terminal's
 * interrupt reaches the server as well, which then unmounts by itself. */
static int stay(int comm_fd) {
        sigset_t all;
        char byte;
        ssize_t n;

        (void) setsid();
        (void) chdir("/");
        (void) sigfillset(&all);
        (void) sigprocmask(SIG_BLOCK, &all, NULL);
        int null_fd = open("/dev/null", O_RDWR);
        for (int fd = 0; fd < 3 && null_fd >= 0; fd++)
                (void) dup2(null_fd, fd);
        (void) fd_close(null_fd);
        do
                n = read(comm_fd, &byte, 1); /* without a deadline: that is how long the mount lives */
        while (n > 0 || (n < 0 && errno == EINTR));
        return 0;
}

static int unmount_later(Session *session) {
        FusedError error = {0};
        FusedClient *client = NULL;
        int r;

        session->device_fd = fd_close(session->device_fd);
        session->point_fd = fd_close(session->point_fd);
        session->client = fused_client_free(session->client); /* not held open for as long as the mount lives */
        (void) stay(session->comm_fd);
        r = fused_client_new(getenv("FUSED_RUNTIME_DIRECTORY"), &client, &error);
        if (r >= 0)
                r = fused_unmount(client, session->id, /* lazy= */ true, &error); /* by number: it may have been unmounted long since */
        fused_error_done(&error);
        (void) fused_client_free(client);
        return r < 0;
}

static int run_mount(const Arguments *arguments) {
        _cleanup_(session_done) Session session = {.arguments = arguments, .point_fd = -EBADF, .device_fd = -EBADF};
        _cleanup_free_ char *bad = NULL;
        int r;

        if (find_comm_fd(arguments, &session.comm_fd) != 0)
                return 1;
        r = fusermount_options_parse(arguments->options, &session.options, &bad);
        if (r < 0)
                return r == -EPERM ? fail(arguments, "option %s is not allowed", bad) : fail(arguments, "unknown option '%s'", bad ?: "");
        if (connect_to(arguments, &session.client) != 0 || open_mountpoint(&session) != 0 || prepare(&session) != 0)
                return 1;
        if ((arguments->sync_init ? mount_in_two_phases(&session) : mount_classic(&session)) != 0)
                return 1;
        return session.options.auto_unmount ? unmount_later(&session) : 0;
}

/* The library has mounted by itself and only wants somebody to unmount after it. */
static int run_auto_unmount(const Arguments *arguments) {
        Arguments later = *arguments;
        int comm_fd;

        if (find_comm_fd(arguments, &comm_fd) != 0)
                return 1;
        (void) stay(comm_fd);
        later.lazy = later.quiet = true;
        return umount2(arguments->mountpoint, UMOUNT_NOFOLLOW | MNT_DETACH) == 0 ? 0 : run_unmount(&later);
}

static void print_help(void) {
        puts("fusermount3: [options] mountpoint\n"
             "Options:\n"
             " -h                 print help\n"
             " -V                 print version\n"
             " -o opt[,opt...]    mount options\n"
             " -u                 unmount\n"
             " -q                 quiet\n"
             " -z                 lazy unmount\n"
             "This one has no privilege: fused does the work. See fused-fusermount3(1).");
}

int main(int argc, char **argv) {
        enum { OPTION_AUTO = 256, OPTION_COMM, OPTION_SYNC };
        static const struct option options[] = {
                {"unmount", no_argument, NULL, 'u'},
                {"lazy", no_argument, NULL, 'z'},
                {"quiet", no_argument, NULL, 'q'},
                {"help", no_argument, NULL, 'h'},
                {"version", no_argument, NULL, 'V'},
                {"options", required_argument, NULL, 'o'},
                {"auto-unmount", no_argument, NULL, OPTION_AUTO},
                {"comm-fd", required_argument, NULL, OPTION_COMM},
                {"sync-init", no_argument, NULL, OPTION_SYNC},
                {0},
        };
        Arguments arguments = {0};
        int c;

        while ((c = getopt_long(argc, argv, "hVo:uzq", options, NULL)) >= 0)
                switch (c) {
                case 'u':
                        arguments.unmount = true;
                        break;
                case 'z':
                        arguments.lazy = true;
                        break;
                case 'q':
                        arguments.quiet = true;
                        break;
                case 'o':
                        arguments.options = optarg;
                        break;
                case OPTION_AUTO:
                        arguments.auto_unmount = true;
                        break;
                case OPTION_COMM:
                        arguments.comm_fd = optarg;
                        break;
                case OPTION_SYNC:
                        arguments.sync_init = true;
                        break;
                case 'V':
                        puts("fusermount3 version: 3.14.0 (fused " FUSED_VERSION ")");
                        return 0;
                case 'h':
                        print_help();
                        return 1;
                default:
                        return 1;
                }
        if (arguments.lazy && !arguments.unmount)
                return fail(&arguments, "-z can only be used with -u");
        if (optind != argc - 1)
                return fail(&arguments, optind == argc ? "missing mountpoint argument" : "extra arguments after the mountpoint");
        arguments.mountpoint = argv[optind];
        return arguments.unmount ? run_unmount(&arguments) : arguments.auto_unmount ? run_auto_unmount(&arguments) : run_mount(&arguments);
}
