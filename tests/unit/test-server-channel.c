/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The server's end of the fused channel: which answer belongs to which question, and what becomes of the descriptors that come with one that is
 * not taken. The other end is the test; the answers are there before the question. */

#define FUSE_USE_VERSION 312
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "channel.h"

static int supervisor_fd = -EBADF, servers_fd = -EBADF;
static Channel *channel;
static uint64_t serial; /* of the next question */

int fuse_service_request_file(struct fuse_service *sf, const char *path, int open_flags, mode_t mode, unsigned flags) {
        assert_string_equal(path, "fused");
        return 0;
}

int fuse_service_receive_file(struct fuse_service *sf, const char *path, int *fdp) {
        *fdp = TAKE_FD(servers_fd);
        return 0;
}

static int set_up(void **state) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        supervisor_fd = pair[0];
        servers_fd = pair[1];
        serial = 1;
        assert_int_equal(channel_new(NULL, &channel), 0);
        return 0;
}

static int tear_down(void **state) {
        channel = channel_free(channel);
        supervisor_fd = fd_close(supervisor_fd);
        return 0;
}

static unsigned n_open(void) {
        DIR *directory = opendir("/proc/self/fd");
        unsigned n = 0;

        assert_non_null(directory);
        while (readdir(directory))
                n++;
        (void) closedir(directory);
        return n;
}

/* value: what is in the answer besides. */
static void say(ChannelCommand command, uint64_t number, int error, uint32_t value, size_t n_fds) {
        const ChannelReply reply = {.magic = CHANNEL_MAGIC, .command = command, .serial = number, .error = error, .value = value};
        _cleanup_fd_ int fd = RET_NERRNO(open("/dev/null", O_RDONLY | O_CLOEXEC));
        const int fds[] = {fd, fd, fd, fd};

        assert_true(fd >= 0 && n_fds <= ELEMENTSOF(fds));
        assert_int_equal(fd_send(supervisor_fd, &reply, sizeof reply, fds, n_fds), 0);
}

/* Whatever it is, it leaves nothing open. */
static int clone_fails(void) {
        const unsigned before = n_open();
        int fd = -EBADF, r = channel_clone(channel, &fd);

        serial++;
        assert_true(r < 0);
        assert_int_equal(n_open(), before);
        return r;
}

static void test_answer(void **state) {
        const unsigned before = n_open();
        int fd = -EBADF;

        for (unsigned i = 0; i < 3; i++) {
                say(CHANNEL_CLONE, serial++, 0, 0, 1);
                assert_int_equal(channel_clone(channel, &fd), 0);
                assert_int_equal(n_open(), before + 1);
                fd = fd_close(fd);
        }
}

/* The question was given up before: what comes is not the answer to the present one, and what comes with it is nobody's. */
static void test_late(void **state) {
        const unsigned before = n_open();
        uint32_t id = 0;
        int fd = -EBADF;

        say(CHANNEL_BACKING_CLOSE, serial++, -EIO, 0, 0);
        assert_int_equal(channel_backing_close(channel, 1), -EIO);
        say(CHANNEL_CLONE, serial - 1, 0, 0, 1);
        say(CHANNEL_CLONE, serial - 1, -EIO, 0, 0);
        say(CHANNEL_CLONE, serial++, 0, 0, 1);
        assert_int_equal(channel_clone(channel, &fd), 0);
        assert_int_equal(n_open(), before + 1);
        fd = fd_close(fd);
        say(CHANNEL_BACKING_SOCKET, serial++, -EOPNOTSUPP, 0, 0);
        assert_int_equal(channel_backing_open(channel, STDIN_FILENO, CHANNEL_BACKING_PASSTHROUGH, &id), -EOPNOTSUPP);
        assert_int_equal(id, 0);
        assert_int_equal(n_open(), before);
}

/* One that was not asked yet, or was something else. */
static void test_not_the_answer(void **state) {
        say(CHANNEL_CLONE, serial + 1, 0, 0, 1);
        assert_int_equal(clone_fails(), -EBADMSG);
        say(CHANNEL_STATISTICS, serial, 0, 0, 1);
        assert_int_equal(clone_fails(), -EBADMSG);
}

/* With descriptors, whoever sends them, and with too few. */
static void test_refusals(void **state) {
        say(CHANNEL_CLONE, serial, -ENFILE, 0, 1);
        assert_int_equal(clone_fails(), -ENFILE);
        say(CHANNEL_CLONE, serial, -ENFILE, 0, 0);
        assert_int_equal(clone_fails(), -ENFILE);
        say(CHANNEL_CLONE, serial, 0, 0, 0);
        assert_int_equal(clone_fails(), -EBADMSG);
        supervisor_fd = fd_close(supervisor_fd);
        assert_true(clone_fails() < 0);
}

/* Of a program and its tables all come or none. */
static void test_program(void **state) {
        const unsigned before = n_open();
        ChannelTable tables[2] = {{.name = "a"}, {.name = "b"}};
        int fds[3];

        say(CHANNEL_PROGRAM, serial++, 0, 0, 2);
        assert_int_equal(channel_program(channel, "linear", tables, 2, fds), -EBADMSG);
        assert_int_equal(n_open(), before);
        say(CHANNEL_PROGRAM, serial++, -EDQUOT, 0, 3);
        assert_int_equal(channel_program(channel, "linear", tables, 2, fds), -EDQUOT);
        assert_int_equal(n_open(), before);
}

/* Here some may be missing, and the answer says which. */
static void test_pressure(void **state) {
        static const struct {
                uint32_t which;
                size_t n;
                int error, expected;
        } rows[] = {{0xf, 4, 0, 0}, {0x1, 1, 0, 0}, {0xe, 3, 0, 0}, {0x5, 2, 0, 0}, {0x1, 2, 0, -EBADMSG}, {0xf, 3, 0, -EBADMSG},
                    {0x0, 1, 0, -EBADMSG}, {0x0, 0, -EALREADY, -EALREADY}, {0x3, 2, -EALREADY, -EALREADY}};
        const unsigned before = n_open();

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                int fds[CHANNEL_PRESSURE_N];
                say(CHANNEL_PRESSURE, serial++, rows[i].error, rows[i].which, rows[i].n);
                assert_int_equal(channel_pressure(channel, fds), rows[i].expected);
                assert_int_equal(n_open(), before + (rows[i].expected == 0 ? rows[i].n : 0));
                for (unsigned k = 0; k < CHANNEL_PRESSURE_N; k++) {
                        assert_int_equal(fds[k] >= 0, rows[i].expected == 0 && rows[i].which & 1U << k);
                        (void) fd_close(fds[k]);
                }
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {TEST(test_answer), TEST(test_late), TEST(test_not_the_answer), TEST(test_refusals), TEST(test_program),
                                           TEST(test_pressure)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
