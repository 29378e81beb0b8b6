/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A server's second channel, the broker's part: one for each mount, over which nobody here takes a descriptor; and what goes out over it: copies of
 * the device, and what tells that memory is short. The broker is left with none of these. The manager and the server are the test. */

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
#include "base/pressure.h"
#include "broker/mount.h"
#include "broker/spawn.h"
#include "broker/unit.h"
#include "unit/rights.h"

#define SERIAL 7U

/* ---- fakes ---------------------------------------------------------------------------------------------------------- */

static int last_error, managers_fd = -EBADF;
static unsigned n_answers;
static int clone_error;
static unsigned n_cgroup_files; /* 0 to 3 */
static bool has_trigger;

void mount_answer(Mount *mount, const BrokerRequest *request, int error, const WorkerReport *report, const int *fds, size_t n_fds) {
        n_answers++;
        last_error = error;
        if (n_fds > 0)
                managers_fd = fd_dup(fds[0]);
}

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...) {
        errno = -clone_error;
        return clone_error ? -1 : 0;
}

static int new_file(void) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

int pressure_trigger_at(int dir_fd, const char *path) {
        return has_trigger ? new_file() : -ENOENT;
}

void cgroup_open_memory(const Cgroup *cgroup, int ret_fds[3]) {
        for (unsigned i = 0; i < n_cgroup_files; i++)
                ret_fds[i] = new_file();
}

void unit_open_memory(const char *cgroup, int ret_fds[3]) {
        cgroup_open_memory(NULL, ret_fds);
}

/* ---- a mount -------------------------------------------------------------------------------------------------------- */

static PolicyType type;
static Mount mount;
static int server_fd; /* its end of the first channel */

static unsigned n_open(void) {
        DIR *directory = opendir("/proc/self/fd");
        unsigned n = 0;

        assert_non_null(directory);
        while (readdir(directory))
                n++;
        (void) closedir(directory);
        return n;
}

static int set_up(void **state) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        server_fd = pair[1];
        type = (PolicyType){.hand_over = POLICY_HAND_OVER_SERVICE};
        mount = (Mount){.type = &type, .channel_fd = pair[0], .second_fd = -EBADF, .fuse_fd = new_file(), .is_unit = true};
        fd_fill(mount.clone_fds, ELEMENTSOF(mount.clone_fds));
        n_answers = n_cgroup_files = 0;
        clone_error = 0;
        has_trigger = false;
        return 0;
}

static int tear_down(void **state) {
        mount.channel_fd = fd_close(mount.channel_fd);
        mount.second_fd = fd_close(mount.second_fd);
        mount.fuse_fd = fd_close(mount.fuse_fd);
        fd_close_many(mount.clone_fds, ELEMENTSOF(mount.clone_fds));
        managers_fd = fd_close(managers_fd);
        server_fd = fd_close(server_fd);
        return 0;
}

/* Returns the server's end. */
static int open_channel(void) {
        const BrokerRequest request = {.operation = BROKER_CHANNEL};
        char packet[256];
        size_t n_fds = 0;
        int fd = -EBADF;

        mount_channel(&mount, &request);
        assert_int_equal(last_error, 0);
        assert_true(fd_receive(server_fd, packet, sizeof packet, &fd, 1, &n_fds, MSG_DONTWAIT) > 0);
        assert_int_equal(n_fds, 1);
        return fd;
}

static int ask(void (*operation)(Mount *mount, const BrokerRequest *request)) {
        const BrokerRequest request = {.clone.channel_serial = SERIAL};

        n_answers = 0;
        operation(&mount, &request);
        assert_int_equal(n_answers, 1);
        return last_error;
}

/* How many descriptors the server has got with an answer to that; they are closed. */
static size_t take(int fd, ChannelCommand command, ChannelReply *ret) {
        int fds[CHANNEL_PRESSURE_N];
        size_t n_fds = 0;

        assert_int_equal(fd_receive(fd, ret, sizeof *ret, fds, ELEMENTSOF(fds), &n_fds, MSG_DONTWAIT), sizeof *ret);
        assert_int_equal(channel_reply_validate(ret, sizeof *ret), 0);
        assert_int_equal(ret->command, command);
        assert_int_equal(ret->serial, SERIAL);
        fd_close_many(fds, n_fds);
        return n_fds;
}

/* What the server sends is read by the manager; with a descriptor it is not even taken, where the kernel can do that. */
static void test_no_descriptors(void **state) {
        const ChannelRequest request = {.magic = CHANNEL_MAGIC, .command = CHANNEL_CLONE, .serial = 1};
        _cleanup_fd_ int servers = open_channel();
        ChannelRequest got;

        assert_int_equal(fd_send(servers, &request, sizeof request, NULL, 0), 0);
        assert_int_equal(fd_receive(managers_fd, &got, sizeof got, NULL, 0, NULL, MSG_DONTWAIT), sizeof got);
        assert_memory_equal(&got, &request, sizeof got);
        assert_true(fcntl(mount.second_fd, F_GETFL) & O_NONBLOCK); /* nobody here waits for a server */
        assert_true(fcntl(managers_fd, F_GETFL) & O_NONBLOCK);
        if (kernel_refuses_rights())
                assert_int_equal(fd_send(servers, &request, sizeof request, &servers, 1), -EPERM);
}

static void test_one(void **state) {
        _cleanup_fd_ int servers = open_channel();
        const int second_fd = mount.second_fd;
        const unsigned before = n_open();

        assert_int_equal(ask(mount_channel), -EALREADY);
        assert_int_equal(mount.second_fd, second_fd);
        assert_int_equal(n_open(), before);
}

static void test_not_this_type(void **state) {
        const unsigned before = n_open();

        type.hand_over = POLICY_HAND_OVER_FD;
        assert_int_equal(ask(mount_channel), -ENOTCONN);
        type.hand_over = POLICY_HAND_OVER_SERVICE;
        server_fd = fd_close(server_fd); /* it has gone */
        assert_true(ask(mount_channel) < 0);
        assert_int_equal(mount.second_fd, -EBADF);
        assert_int_equal(n_open(), before - 1);
}

/* As many as its type says, each once, and none stays here. */
static void test_clones(void **state) {
        _cleanup_fd_ int servers = open_channel();
        ChannelReply reply;

        mount.clone_fds[0] = new_file();
        mount.clone_fds[1] = new_file();
        const unsigned before = n_open();
        for (unsigned i = 1; i <= 2; i++) {
                assert_int_equal(ask(mount_clone), 0);
                assert_int_equal(take(servers, CHANNEL_CLONE, &reply), 1);
                assert_int_equal(n_open(), before - i);
        }
        assert_int_equal(ask(mount_clone), -ENFILE);
        mount.clone_fds[0] = new_file();
        clone_error = -EINVAL;
        assert_int_equal(ask(mount_clone), -EINVAL);
        assert_int_equal(n_open(), before - 2);
}

/* Once: a trigger of the kernel's is to be had again only when all who have it have closed it, and there are not many. */
static void test_pressure(void **state) {
        static const struct {
                bool trigger;
                unsigned n_cgroup_files;
                int expected;
                uint32_t which;
        } rows[] = {{true, 3, 0, 0xf}, {true, 0, 0, 0x1}, {false, 3, 0, 0xe}, {false, 1, 0, 0x2}, {false, 0, -EOPNOTSUPP, 0}};
        _cleanup_fd_ int servers = open_channel();
        const unsigned before = n_open();
        ChannelReply reply;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                mount.pressure_sent = false;
                has_trigger = rows[i].trigger;
                n_cgroup_files = rows[i].n_cgroup_files;
                assert_int_equal(ask(mount_pressure), rows[i].expected);
                if (rows[i].expected == 0) {
                        assert_int_equal(take(servers, CHANNEL_PRESSURE, &reply), __builtin_popcount(rows[i].which));
                        assert_int_equal(reply.value, rows[i].which);
                }
                assert_int_equal(n_open(), before);
                has_trigger = true;
                assert_int_equal(ask(mount_pressure), -EALREADY);
                assert_int_equal(n_open(), before);
        }
}

/* Without a channel there is nobody to send anything to. */
static void test_no_channel(void **state) {
        const unsigned before = n_open();

        has_trigger = true;
        assert_int_equal(ask(mount_pressure), -ENOTCONN);
        assert_int_equal(ask(mount_clone), -ENOTCONN);
        assert_int_equal(n_open(), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {TEST(test_no_descriptors), TEST(test_one), TEST(test_not_this_type), TEST(test_clones),
                                           TEST(test_pressure), TEST(test_no_channel)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
