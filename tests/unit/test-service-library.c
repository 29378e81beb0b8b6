/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libfused-server against a scripted helper: the server is a forked child with its conversation as descriptor 3, the helper is
 * the test. Without root: what stands for the FUSE device is /dev/null, and nothing is really mounted. */

#define FUSE_USE_VERSION 312
#include <fuse.h>

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "fused-server.h"
#include "wire/service.h"

#define BYTES(literal) (literal), sizeof(literal) - 1
#define IMAGE "/tmp/libfuse-exp/img"
#define MOUNTPOINT "/tmp/libfuse-exp/mnt"
#define WAIT_MSEC 10000
#define CHILD_BROKEN 250 /* exit status of a check in the child that does not hold */

typedef struct Peer { /* the helper's end and the server behind it */
        int fd;
        pid_t pid;
} Peer;

typedef int (*Server)(void); /* runs in the child; returns the exit status */

static Peer start(Server server) {
        int fds[2];
        Peer peer;

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        peer.pid = fork();
        assert_true(peer.pid >= 0);
        if (peer.pid == 0) {
                char pid[16];
                int mine = fcntl(fds[1], F_DUPFD, 10);
                (void) fd_close(fds[0]);
                (void) dup2(mine, 3); /* from 10 up: fds[] may have been 3 */
                (void) fd_close(mine);
                (void) snprintf(pid, sizeof pid, "%d", getpid());
                (void) setenv("LISTEN_PID", pid, 1);
                (void) setenv("LISTEN_FDS", "1", 1);
                _exit(server());
        }
        (void) fd_close(fds[1]);
        peer.fd = fds[0];
        return peer;
}

static void put(const Peer *peer, const void *packet, size_t size, int fd) {
        assert_int_equal(fd_send(peer->fd, packet, size, &fd, fd >= 0 ? 1 : 0), 0);
}

static ssize_t get(const Peer *peer, char *packet, size_t size) {
        struct pollfd ready = {.fd = peer->fd, .events = POLLIN};

        assert_int_equal(poll(&ready, 1, WAIT_MSEC), 1);
        return recv(peer->fd, packet, size, 0);
}

static void expect(const Peer *peer, const char *packet, size_t size) {
        char got[SERVICE_OPEN_MAX];
        ssize_t n = get(peer, got, sizeof got);

        assert_int_equal(n, size);
        assert_memory_equal(got, packet, size);
}

static void expect_end(const Peer *peer) {
        char got[64];
        ssize_t n = get(peer, got, sizeof got);

        assert_true(n == 0 || (n < 0 && errno == ECONNRESET)); /* reset: it did not read what was sent last */
}

static void expect_status(Peer *peer, int status) {
        int got = 0;

        (void) fd_close(peer->fd);
        assert_int_equal(waitpid(peer->pid, &got, 0), peer->pid);
        assert_true(WIFEXITED(got));
        assert_int_equal(WEXITSTATUS(got), status);
}

static void reply(const Peer *peer, uint32_t error) {
        char packet[SERVICE_REPLY_SIZE];

        put(peer, packet, service_build_reply(packet, sizeof packet, error), -EBADF);
}

static void send_arguments(const Peer *peer, const char *const *words, size_t n) {
        size_t size = service_argv_size(words, n);
        char *image _cleanup_free_ = malloc(size);
        _cleanup_fd_ int fd = memfd_create("argv", MFD_CLOEXEC);

        assert_non_null(image);
        service_build_argv(image, size, words, n);
        assert_int_equal(write(fd, image, size), size);
        put(peer, BYTES("FILE\0\0\0\0argv\0"), fd);
}

static void greet(const Peer *peer, const char *const *words, size_t n) {
        _cleanup_fd_ int device = open("/dev/null", O_RDWR | O_CLOEXEC);

        put(peer, BYTES("SAFT\0\1\0\1\0\0\0\3"), -EBADF);
        expect(peer, BYTES("LAST\0\1\0\0"));
        send_arguments(peer, words, n);
        put(peer, BYTES("FILE\0\0\0\0fusedev\0"), device);
}
#define GREET(peer, ...)                                                   \
        do {                                                               \
                const char *const words_[] = {__VA_ARGS__};                \
                greet((peer), words_, ELEMENTSOF(words_));                 \
        } while (0)

static void check(bool holds, int line) {
        if (!holds) {
                fprintf(stderr, "in the child: line %d\n", line);
                _exit(CHILD_BROKEN);
        }
}
#define CHECK(expression) check((expression), __LINE__)

/* ---- a whole mount -------------------------------------------------------------------------------------------------- */

static int skip_source(void *data, const char *word, int key, struct fuse_args *rest) {
        bool *seen = data;

        if (key != FUSE_OPT_KEY_NONOPT || *seen)
                return 1;
        *seen = true;
        return 0;
}

static int whole_server(void) {
        static const struct fuse_lowlevel_ops operations;
        char *own[] = {(char *) "server", NULL};
        struct fuse_args args = FUSE_ARGS_INIT(1, own);
        struct fuse_cmdline_opts opts;
        struct fuse_service *service;
        bool seen = false;
        int fd = -EBADF, r;

        CHECK(fuse_service_accept(&service) == 0 && fuse_service_accepted(service));
        CHECK(fuse_service_can_allow_other(service) && fuse_service_can_fuseblk(service));
        CHECK(fuse_service_append_args(service, &args) == 0);
        CHECK(fuse_service_append_args(service, &args) == -EINVAL); /* once */
        CHECK(fuse_opt_parse(&args, &seen, NULL, skip_source) == 0);
        CHECK(fuse_service_parse_cmdline_opts(&args, &opts) == 0);
        CHECK(strcmp(opts.mountpoint, MOUNTPOINT) == 0);
        CHECK(fuse_service_request_file(service, IMAGE, O_RDONLY | O_EXCL, 0, 4) == -EINVAL); /* no such request flag */
        CHECK(fuse_service_request_file(service, IMAGE, O_RDONLY | O_EXCL, 0, 0) == 0);
        CHECK(fuse_service_receive_file(service, IMAGE, &fd) == 0);
        CHECK(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
        CHECK(fuse_service_finish_file_requests(service) == 0);
        struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);
        CHECK(session);
        r = fuse_service_session_mount(service, session, S_IFDIR, &opts);
        CHECK(fuse_service_send_goodbye(service, r < 0 ? 1 : 0) == 0);
        CHECK(fuse_service_send_goodbye(service, 7) == 0); /* not said again */
        CHECK(r < 0 || opts.foreground);
        fuse_session_destroy(session);
        fuse_service_destroy(&service);
        CHECK(!service);
        fuse_opt_free_args(&args);
        free(opts.mountpoint);
        (void) fd_close(fd);
        return -r;
}

static void give_image(const Peer *peer) {
        _cleanup_fd_ int image = open("/dev/null", O_RDONLY | O_CLOEXEC);

        expect(peer, BYTES("OPEN\0\0\0\200\0\0\0\0\0\0\0\0\0\0\0\0" IMAGE "\0"));
        put(peer, BYTES("FILE\0\0\0\0" IMAGE "\0"), image);
}

/* The packets are those that libfuse's own service_ll sends for these words. */
static void test_whole_mount(void **state) {
        Peer peer = start(whole_server);

        GREET(&peer, "service_ll", IMAGE, MOUNTPOINT, "-o", "ro,allow_other,x-demo=1");
        give_image(&peer);
        expect(&peer, BYTES("TYPE\0\0\0\0"));
        reply(&peer, 0);
        expect(&peer, BYTES("NAMEservice_ll\0"));
        reply(&peer, 0);
        expect(&peer, BYTES("MNTP\100\0\0\0" MOUNTPOINT "\0"));
        reply(&peer, 0);
        expect(&peer, BYTES("OPTSallow_other\0"));
        reply(&peer, 0);
        expect(&peer, BYTES("MTABx-demo=1\0"));
        reply(&peer, 0);
        expect(&peer, BYTES("DOIT\0\0\0\7"));
        reply(&peer, 0);
        expect(&peer, BYTES("BYEE\0\0\0\0"));
        expect_end(&peer);
        expect_status(&peer, 0);
}

static void test_refused_mount(void **state) {
        Peer peer = start(whole_server);

        GREET(&peer, "x", IMAGE, MOUNTPOINT);
        give_image(&peer);
        expect(&peer, BYTES("TYPE\0\0\0\0"));
        reply(&peer, 0);
        expect(&peer, BYTES("NAMEx\0"));
        reply(&peer, 0);
        expect(&peer, BYTES("MNTP\100\0\0\0" MOUNTPOINT "\0"));
        reply(&peer, ENOTDIR);
        expect(&peer, BYTES("BYEE\0\0\0\1")); /* and no MOUNT before it */
        expect_status(&peer, ENOTDIR);
}

static void test_helper_dies(void **state) {
        Peer peer = start(whole_server);

        GREET(&peer, "x", IMAGE, MOUNTPOINT);
        give_image(&peer);
        expect(&peer, BYTES("TYPE\0\0\0\0"));
        (void) shutdown(peer.fd, SHUT_WR); /* it can still hear the goodbye */
        expect(&peer, BYTES("BYEE\0\0\0\1"));
        expect_status(&peer, EBADMSG);
}

/* ---- hello ---------------------------------------------------------------------------------------------------------- */

static int accepting_server(void) {
        struct fuse_service *service = (void *) 1;
        int r = fuse_service_accept(&service);

        CHECK(r == 0 ? service != NULL : service == NULL);
        fuse_service_destroy(&service);
        return -r;
}

static void test_refused_hello(void **state) {
        static const struct {
                const char *packet;
                size_t size;
                int status;
        } rows[] = {
                {BYTES("SAFT\0\1\0\1\0\0\0"), EBADMSG},          {BYTES("SAFT\0\1\0\1\0\0\0\0x"), EBADMSG},
                {BYTES("LAST\0\1\0\1\0\0\0\0"), EBADMSG},        {BYTES("SAFT\0\2\0\3\0\0\0\0"), EOPNOTSUPP},
                {BYTES("SAFT\0\0\0\0\0\0\0\0"), EOPNOTSUPP},     {BYTES("SAFT\0\2\0\1\0\0\0\0"), EOPNOTSUPP},
                {BYTES("SAFT\0\1\0\1\0\0\0\4"), EINVAL},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Peer peer = start(accepting_server);
                put(&peer, rows[i].packet, rows[i].size, -EBADF);
                expect_end(&peer); /* without an answer */
                expect_status(&peer, rows[i].status);
        }
}

static void test_first_files(void **state) {
        _cleanup_fd_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        static const struct {
                const char *packet;
                size_t size;
                bool with_fd;
                int status;
        } rows[] = {
                {BYTES("FILE\0\0\0\15argv\0"), false, EACCES}, /* the helper's refusal */
                {BYTES("FILE\0\0\0\0argv\0"), false, ENOENT},  /* neither a file nor an error */
                {BYTES("FILE\0\0\0\0fusedev\0"), true, EBADMSG}, /* not in this order */
                {BYTES("REPL\0\0\0\0"), false, EBADMSG},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Peer peer = start(accepting_server);
                put(&peer, BYTES("SAFT\0\1\0\1\0\0\0\0"), -EBADF);
                expect(&peer, BYTES("LAST\0\1\0\0"));
                put(&peer, rows[i].packet, rows[i].size, rows[i].with_fd ? null : -EBADF);
                expect_end(&peer);
                expect_status(&peer, rows[i].status);
        }
}

static int not_for_us(void) {
        struct fuse_service *service = (void *) 1;

        (void) setenv("LISTEN_PID", "1", 1);
        CHECK(fuse_service_accept(&service) == 0 && !fuse_service_accepted(service));
        (void) unsetenv("LISTEN_PID");
        CHECK(fuse_service_accept(&service) == 0 && !fuse_service_accepted(service));
        return 0;
}

static int set_own_pid(void) {
        char pid[16];

        (void) snprintf(pid, sizeof pid, "%d", getpid());
        return setenv("LISTEN_PID", pid, 1);
}

static int odd_number(void) {
        static const struct {
                const char *n;
                int r;
        } rows[] = {{"0", 0}, {"2", -E2BIG}, {"-1", 0}, {"x", 0}, {"", 0}, {"1x", 0}, {"99999999999", 0}};
        struct fuse_service *service;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CHECK(set_own_pid() == 0 && setenv("LISTEN_FDS", rows[i].n, 1) == 0);
                CHECK(fuse_service_accept(&service) == rows[i].r && !service);
        }
        return 0;
}

static int odd_descriptor(void) {
        struct fuse_service *service;
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        CHECK(dup2(fd, 3) == 3);
        CHECK(fuse_service_accept(&service) == -ENOTSOCK && !service);
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        CHECK(fd >= 0 && dup2(fd, 3) == 3);
        CHECK(fuse_service_accept(&service) == -EAFNOSUPPORT && !service);
        return 0;
}

static void test_no_service(void **state) {
        const Server servers[] = {not_for_us, odd_number, odd_descriptor};

        for (size_t i = 0; i < ELEMENTSOF(servers); i++) {
                Peer peer = start(servers[i]);
                expect_status(&peer, 0);
        }
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

static int n_open(void) {
        int n = 0;

        for (int fd = 0; fd < 64; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static int file_server(void) {
        struct fuse_service *service;
        int fd = -EBADF, before, r;

        CHECK(fuse_service_accept(&service) == 0);
        before = n_open();
        CHECK(fuse_service_request_blockdev(service, "/b", O_RDWR | O_EXCL, 0, FUSE_SERVICE_REQUEST_FILE_QUIET, 4096) == 0);
        r = fuse_service_receive_file(service, "/b", &fd);
        CHECK(n_open() == before + (fd >= 0)); /* nothing else is held */
        fuse_service_destroy(&service);
        return r < 0 ? -r : fd < 0 ? 100 - fd : 0;
}

static void test_file_answers(void **state) {
        _cleanup_fd_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        const int two[] = {null, null};
        static const struct {
                const char *packet;
                size_t size;
                unsigned n_fds;
                int status; /* of receive_file(), or 100 and that of the file */
        } rows[] = {
                {BYTES("FILE\0\0\0\0/b\0"), 1, 0},
                {BYTES("FILE\0\0\0\36/b\0"), 0, 100 + EROFS},
                {BYTES("FILE\0\0\0\36/b\0"), 1, 100 + EROFS}, /* a descriptor beside an error is closed */
                {BYTES("FILE\0\0\0\0/b\0"), 0, 100 + ENOENT},
                {BYTES("FILE\377\377\377\377/b\0"), 0, 100 + EIO},
                {BYTES("FILE\0\0\0\0/b\0"), 2, EBADMSG},
                {BYTES("FILE\0\0\0\0/c\0"), 1, EBADMSG},
                {BYTES("FILE\0\0\0\26?\0"), 0, EBADMSG},
                {BYTES("FILE\0\0\0\0/b"), 1, EBADMSG},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Peer peer = start(file_server);
                GREET(&peer, "x");
                expect(&peer, BYTES("BDEV\0\0\0\202\0\0\0\0\0\0\0\1\0\0\20\0/b\0"));
                assert_int_equal(fd_send(peer.fd, rows[i].packet, rows[i].size, two, rows[i].n_fds), 0);
                expect_status(&peer, rows[i].status);
        }
}

static int impatient_server(void) {
        const struct timeval limit = {.tv_usec = 20000}; /* instead of the half minute */
        struct fuse_service *service;
        int fd = -EBADF, r;

        CHECK(fuse_service_accept(&service) == 0);
        CHECK(setsockopt(3, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
        r = fuse_service_receive_file(service, "/b", &fd);
        fuse_service_destroy(&service);
        return -r;
}

static void test_silent_helper(void **state) {
        Peer peer = start(impatient_server);

        GREET(&peer, "x");
        expect_end(&peer);
        expect_status(&peer, ETIMEDOUT);
}

/* ---- the command line ----------------------------------------------------------------------------------------------- */

static int words_server(void) {
        char *own[] = {(char *) "server", (char *) "-o", (char *) "max_threads=3", NULL};
        const char *const wanted[] = {"foo", "-o", "max_threads=3", "/img", "/mnt", "-o", "ro"};
        struct fuse_args args = FUSE_ARGS_INIT(3, own);
        struct fuse_cmdline_opts opts;
        struct fuse_service *service;

        CHECK(fuse_service_accept(&service) == 0);
        CHECK(fuse_service_append_args(service, &args) == 0);
        CHECK(args.argc == (int) ELEMENTSOF(wanted));
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++)
                CHECK(strcmp(args.argv[i], wanted[i]) == 0);
        char *line = fuse_service_cmdline(1, own, &args);
        CHECK(line && strcmp(line, "server -o max_threads=3 /img /mnt -o ro") == 0);
        free(line);
        CHECK(fuse_service_parse_cmdline_opts(&args, &opts) == -1); /* two words: which is the mount point? */
        fuse_service_destroy(&service);
        fuse_opt_free_args(&args);
        return 0;
}

static void test_words(void **state) {
        Peer peer = start(words_server);

        GREET(&peer, "foo", "/img", "/mnt", "-o", "ro");
        expect_status(&peer, 0);
}

static int malformed_server(void) {
        char *own[] = {(char *) "server", (char *) "word", NULL};
        struct fuse_args args = FUSE_ARGS_INIT(2, own);
        struct fuse_service *service;
        int r;

        CHECK(fuse_service_accept(&service) == 0);
        r = fuse_service_append_args(service, &args);
        CHECK(r < 0 && args.argc == 2 && args.argv == own); /* untouched */
        fuse_service_destroy(&service);
        return -r;
}

static void test_malformed_words(void **state) {
        static const struct {
                const char *image;
                size_t size;
        } rows[] = {{"", 0},
                    {BYTES("ARGS")},
                    {BYTES("ARGX\0\0\0\0")},
                    {BYTES("ARGS\0\0\0\0")}, /* not even the type's name */
                    {BYTES("ARGS\0\0\0\1\0\0\0\20\0\0\0\3ab")},
                    {BYTES("ARGS\0\0\0\2\0\0\0\30\0\0\0\2\377\377\377\0\0\0\0\2a\0")}};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_fd_ int fd = memfd_create("argv", MFD_CLOEXEC), device = open("/dev/null", O_RDWR | O_CLOEXEC);
                Peer peer = start(malformed_server);
                assert_int_equal(write(fd, rows[i].image, rows[i].size), rows[i].size);
                put(&peer, BYTES("SAFT\0\1\0\1\0\0\0\0"), -EBADF);
                expect(&peer, BYTES("LAST\0\1\0\0"));
                put(&peer, BYTES("FILE\0\0\0\0argv\0"), fd);
                put(&peer, BYTES("FILE\0\0\0\0fusedev\0"), device);
                expect_status(&peer, EBADMSG);
        }
}

/* ---- the high-level interface, and what the options become ---------------------------------------------------------- */

static int main_server(void) {
        static const struct fuse_operations operations;
        char *own[] = {(char *) "server", NULL};
        struct fuse_args args = FUSE_ARGS_INIT(1, own);
        struct fuse_service *service;
        int r;

        CHECK(fuse_service_accept(&service) == 0);
        CHECK(fuse_service_append_args(service, &args) == 0);
        fuse_service_expect_mount_format(service, S_IFREG);
        r = fuse_service_main(service, &args, &operations, NULL);
        CHECK(fuse_service_exit(r) == (r != 0));
        fuse_service_destroy(&service);
        fuse_opt_free_args(&args);
        return r;
}

static void test_options(void **state) {
        static const struct {
                const char *words, *type, *name, *options, *mtab;
                uint32_t ms_flags;
        } rows[] = {
                {"rw", "TYPE\0\0\0\0", "NAMEfoo", NULL, NULL, 6},
                {"dev,suid", "TYPE\0\0\0\0", "NAMEfoo", NULL, NULL, 0},
                {"ro,noexec,dirsync,noatime,nodiratime,nosymfollow,dev,suid", "TYPE\0\0\0\0", "NAMEfoo", NULL, NULL, 0xd89},
                {"sync,async,ro,rw", "TYPE\0\0\0\0", "NAMEfoo", NULL, NULL, 6},
                {"fsname=myimg,default_permissions", "TYPE\0\0\0\0", "NAMEmyimg", "OPTSdefault_permissions", NULL, 6},
                {"fsname=a\\,b", "TYPE\0\0\0\0", "NAMEa,b", NULL, NULL, 6}, /* libfuse's escape */
                {"subtype=bar", "TYPE\0\0\0\0", "NAMEbar", NULL, NULL, 6},
                {"blkdev,fsname=/dev/x,blksize=512", "TYPE\0\0\0\1", "NAME/dev/x", "OPTSblksize=512", NULL, 6},
                {"max_read=4096,x-a,allow_root,x-b=1,user=me", "TYPE\0\0\0\0", "NAMEfoo", "OPTSmax_read=4096,allow_other",
                 "MTABx-a,x-b=1,user=me", 6},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Peer peer = start(main_server);
                char mount[8] = {'D', 'O', 'I', 'T', 0, 0, (char) (rows[i].ms_flags >> 8), (char) rows[i].ms_flags};
                GREET(&peer, "foo", "/mnt", "-o", rows[i].words);
                expect(&peer, rows[i].type, 8);
                reply(&peer, 0);
                expect(&peer, rows[i].name, strlen(rows[i].name) + 1);
                reply(&peer, 0);
                expect(&peer, BYTES("MNTP\200\0\0\0/mnt\0"));
                reply(&peer, 0);
                if (rows[i].options) {
                        expect(&peer, rows[i].options, strlen(rows[i].options) + 1);
                        reply(&peer, 0);
                }
                if (rows[i].mtab) {
                        expect(&peer, rows[i].mtab, strlen(rows[i].mtab) + 1);
                        reply(&peer, 0);
                }
                expect(&peer, mount, sizeof mount);
                reply(&peer, EBUSY);
                expect(&peer, BYTES("BYEE\0\0\0\4"));
                expect_status(&peer, 4);
        }
}

static void test_main_failures(void **state) {
        Peer peer = start(main_server);

        GREET(&peer, "foo");
        expect(&peer, BYTES("BYEE\0\0\0\2")); /* no mount point */
        expect_status(&peer, 2);
        peer = start(main_server);
        GREET(&peer, "foo", "/mnt", "/other");
        expect(&peer, BYTES("BYEE\0\0\0\1"));
        expect_status(&peer, 1);
        peer = start(main_server);
        GREET(&peer, "foo", "/mnt", "-o", "relatime"); /* an option that nobody knows */
        expect(&peer, BYTES("BYEE\0\0\0\3"));
        expect_status(&peer, 3);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_whole_mount),   cmocka_unit_test(test_refused_mount),
                cmocka_unit_test(test_helper_dies),   cmocka_unit_test(test_refused_hello),
                cmocka_unit_test(test_first_files),   cmocka_unit_test(test_no_service),
                cmocka_unit_test(test_file_answers),  cmocka_unit_test(test_silent_helper),
                cmocka_unit_test(test_words),         cmocka_unit_test(test_malformed_words),
                cmocka_unit_test(test_options),       cmocka_unit_test(test_main_failures),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
