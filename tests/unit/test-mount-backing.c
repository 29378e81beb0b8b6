/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Backing files of a mount, the broker's part: one worker for each mount, one order at a time, as many files as the type permits, and what becomes
 * of all that when the worker dies. Workers, the manager and the server's channel are fakes. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/log.h"
#include "broker/manager-link.h"
#include "broker/mount.h"
#include "unit/rights.h"

#define SERIAL 5U
#define CHANNEL_SERIAL 9U
#define FILES_MAX 3U

/* ---- fakes ---------------------------------------------------------------------------------------------------------- */

struct WorkerLink {
        worker_report_t on_report;
        void *userdata;
        worker_gone_t on_gone; /* it is killed */
        int files_fd;          /* owned: where it reads files from */
};
static WorkerLink the_link;
static unsigned n_workers, n_orders, n_replies, n_checks;
static int worker_error;
static BrokerReply last_reply;
static int server_fd = -EBADF; /* its end of the channel */

int worker_link_new(Broker *broker, const WorkerJob *job, uint64_t deadline_usec, worker_report_t on_report, void *userdata, WorkerLink **ret) {
        if (worker_error < 0)
                return worker_error;
        the_link = (WorkerLink){.on_report = on_report, .userdata = userdata, .files_fd = fd_dup(job->files_fd)};
        n_workers++;
        *ret = &the_link;
        return 0;
}

int worker_link_order(WorkerLink *link, const WorkerOrder *order, uint64_t deadline_usec) {
        assert_ptr_equal(link, &the_link);
        assert_int_equal(order->serial, CHANNEL_SERIAL);
        n_orders++;
        return 0;
}

void worker_link_end(WorkerLink *link, worker_gone_t on_gone) {
        assert_ptr_equal(link, &the_link);
        assert_null(link->on_gone); /* once */
        link->on_gone = on_gone;
}

void manager_reply(Broker *broker, const BrokerRequest *request, BrokerReply *reply, const int *fds, size_t n_fds) {
        n_replies++;
        last_reply = *reply;
        assert_int_equal(request->serial, SERIAL);
}

void mount_check_end(Mount *mount) {
        n_checks++;
}

const char *broker_operation_to_string(BrokerOperation operation) {
        return "operation";
}

void mount_channel_answer(const Mount *mount, ChannelCommand command, uint64_t serial, uint32_t value, const ChannelTable *tables, size_t n_tables,
                          const int *fds, size_t n_fds, int *ret_error) {
        ChannelReply reply = {.magic = CHANNEL_MAGIC, .command = command, .serial = serial, .value = value};

        *ret_error = fd_send(mount->second_fd, &reply, sizeof reply, fds, n_fds);
}

/* ---- a mount -------------------------------------------------------------------------------------------------------- */

static PolicyType type;
static Broker broker;
static Mount mount;

static int set_up(void **state) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        server_fd = pair[1];
        type = (PolicyType){.max_backings = FILES_MAX};
        mount = (Mount){.broker = &broker, .state = MOUNT_LIVE, .type = &type, .second_fd = pair[0], .fuse_fd = 0, .backing_servers_fd = -EBADF,
                        .record.mount_id = 3};
        fd_fill(mount.slot_fds, ELEMENTSOF(mount.slot_fds));
        the_link = (WorkerLink){.files_fd = -EBADF};
        n_workers = n_orders = n_replies = n_checks = 0;
        worker_error = 0;
        return 0;
}

static int tear_down(void **state) {
        mount_backing_end(&mount);
        assert_int_equal(mount.backing_servers_fd, -EBADF);
        assert_null(mount.backing_worker);
        if (the_link.on_gone)
                the_link.on_gone(NULL, the_link.userdata);
        assert_null(mount.backing_ending);
        the_link.files_fd = fd_close(the_link.files_fd);
        mount.second_fd = fd_close(mount.second_fd);
        server_fd = fd_close(server_fd);
        return 0;
}

static void ask(BrokerOperation operation, uint32_t value) {
        const BrokerRequest request = {.operation = operation, .serial = SERIAL, .mount_id = 3,
                                       .backing = {.channel_serial = CHANNEL_SERIAL, .value = value}};

        n_replies = 0;
        if (operation == BROKER_BACKING_SOCKET)
                mount_backing_socket(&mount, &request);
        else
                mount_backing(&mount, &request);
}

/* What the worker says. */
static void report(int error, int backing_error, uint32_t id) {
        const WorkerReport said = {.error = error, .backing_error = backing_error, .backing_id = id};

        the_link.on_report(&said, NULL, 0, the_link.userdata);
}

/* What the server has got over its channel: its error, with its descriptor; 1: nothing. */
static int servers_answer(int *ret_fd) {
        ChannelReply reply;
        size_t n_fds = 0;
        int fd = -EBADF;
        ssize_t n = fd_receive(server_fd, &reply, sizeof reply, &fd, 1, &n_fds, MSG_DONTWAIT);

        if (n == -EAGAIN)
                return 1;
        assert_int_equal(n, sizeof reply);
        assert_int_equal(reply.serial, CHANNEL_SERIAL);
        if (ret_fd)
                *ret_fd = fd;
        else
                (void) fd_close(fd);
        return reply.error;
}

static void expect_reply(int error, uint32_t n_backings) {
        assert_int_equal(n_replies, 1);
        assert_int_equal(last_reply.error, error);
        assert_int_equal(last_reply.n_backings, n_backings);
}

/* Returns the server's end of the socket for files. */
static int open_socket(void) {
        int fd = -EBADF;

        ask(BROKER_BACKING_SOCKET, 0);
        assert_int_equal(n_replies, 0);
        assert_int_equal(servers_answer(NULL), 1); /* not before the worker is there */
        report(0, 0, 0);
        assert_int_equal(servers_answer(&fd), 0);
        assert_true(fd >= 0);
        expect_reply(0, 0);
        return fd;
}

static void register_file(uint32_t id, uint32_t n_backings) {
        ask(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH);
        assert_int_equal(n_replies, 0);
        report(0, 0, id);
        expect_reply(0, n_backings);
        assert_int_equal(last_reply.value, id);
}

static void test_one_socket(void **state) {
        _cleanup_fd_ int servers = open_socket();

        ask(BROKER_BACKING_SOCKET, 0);
        expect_reply(-EALREADY, 0);
        assert_int_equal(n_workers, 1);
}

/* Files go to the worker that way; the worker, which has one in its hands, sends none. */
static void test_one_way(void **state) {
        _cleanup_fd_ int servers = open_socket(), got = -EBADF;
        uint64_t number = 1;
        size_t n_fds;

        assert_int_equal(fd_send(servers, &number, sizeof number, &servers, 1), 0);
        assert_int_equal(fd_receive(the_link.files_fd, &number, sizeof number, &got, 1, &n_fds, MSG_DONTWAIT), sizeof number);
        assert_int_equal(n_fds, 1);
        int r = fd_send(the_link.files_fd, &number, sizeof number, &got, 1);
        if (kernel_refuses_rights())
                assert_int_equal(r, -EPERM);
}

static void test_limit(void **state) {
        _cleanup_fd_ int servers = open_socket();

        for (uint32_t i = 1; i <= FILES_MAX; i++)
                register_file(10 + i, i);
        ask(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH);
        expect_reply(-EDQUOT, FILES_MAX);
        ask(BROKER_BACKING_CLOSE, 11);
        report(0, 0, 0);
        expect_reply(0, FILES_MAX - 1);
        register_file(20, FILES_MAX);
}

static void test_one_at_a_time(void **state) {
        _cleanup_fd_ int servers = open_socket();

        ask(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH);
        ask(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH);
        expect_reply(-EBUSY, 0);
        assert_int_equal(n_orders, 1);
}

/* What the kernel would not register is not counted, and the worker goes on. */
static void test_refused(void **state) {
        _cleanup_fd_ int servers = open_socket();

        ask(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH);
        report(0, -ELOOP, 0);
        expect_reply(-ELOOP, 0);
        register_file(11, 1);
        ask(BROKER_BACKING_CLOSE, 12);
        report(0, -ENOENT, 0);
        expect_reply(-ENOENT, 1);
}

/* At an order, or between two: what is registered stays, and no more comes. */
static void test_dead(void **state) {
        for (int busy = 0; busy < 2; busy++) {
                _cleanup_fd_ int servers = open_socket();
                register_file(11, 1);
                if (busy)
                        ask(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH);
                report(-ECHILD, 0, 0);
                if (busy)
                        expect_reply(-ECHILD, 1);
                assert_non_null(the_link.on_gone);
                assert_int_equal(mount.record.n_backings, 1);
                for (unsigned i = 0; i < 2; i++) {
                        ask(i ? BROKER_BACKING_CLOSE : BROKER_BACKING_OPEN, 11);
                        expect_reply(-ENOTCONN, 1);
                }
                assert_int_equal(n_orders, 1 + (unsigned) busy);
                ask(BROKER_BACKING_SOCKET, 0);
                expect_reply(-EALREADY, 1);
                assert_ptr_equal(mount.backing_ending, &the_link); /* the mount does not end before it */
                the_link.on_gone(NULL, the_link.userdata);
                assert_null(mount.backing_ending);
                assert_int_equal(n_checks, 1);
                the_link.on_gone = NULL;
                (void) tear_down(state);
                (void) set_up(state);
        }
}

/* Before it was ready: nobody has got the socket. */
static void test_dead_early(void **state) {
        ask(BROKER_BACKING_SOCKET, 0);
        report(-ETIMEDOUT, 0, 0);
        expect_reply(-ETIMEDOUT, 0);
        assert_int_equal(mount.backing_servers_fd, -EBADF);
        assert_int_equal(servers_answer(NULL), 1);
        assert_non_null(the_link.on_gone);
        ask(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH);
        expect_reply(-ENOTCONN, 0);
}

/* The mount ends while somebody waits. */
static void test_end_meanwhile(void **state) {
        ask(BROKER_BACKING_SOCKET, 0);
        mount_backing_end(&mount);
        expect_reply(-ESHUTDOWN, 0);
        assert_int_equal(mount.backing_servers_fd, -EBADF);
        assert_non_null(the_link.on_gone);
        mount_backing_end(&mount);
        assert_int_equal(n_replies, 1);
}

/* One that could not be started may be asked for again. */
static void test_not_started(void **state) {
        worker_error = -EBUSY;
        ask(BROKER_BACKING_SOCKET, 0);
        expect_reply(-EBUSY, 0);
        assert_int_equal(mount.backing_servers_fd, -EBADF);
        worker_error = 0;
        _cleanup_fd_ int servers = open_socket();
        type.max_backings = 0;
        ask(BROKER_BACKING_SOCKET, 0);
        expect_reply(-EOPNOTSUPP, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {TEST(test_one_socket), TEST(test_one_way), TEST(test_limit), TEST(test_one_at_a_time), TEST(test_refused),
                                           TEST(test_dead), TEST(test_dead_early), TEST(test_end_meanwhile), TEST(test_not_started)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
