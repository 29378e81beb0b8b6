/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mapping programs of a mount, the broker's part: what may be loaded and bound, what is held for it, and that it is held no longer than it should
 * be. Workers, the manager and the server's channel are fakes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "broker/keep.h"
#include "broker/manager-link.h"
#include "broker/mount.h"

#define SERIAL 5U
#define CHANNEL_SERIAL 9U

/* ---- fakes ---------------------------------------------------------------------------------------------------------- */

struct WorkerLink {
        WorkerJob job;
        worker_report_t on_report;
        void *userdata;
};
static WorkerLink the_link;
static unsigned n_workers, n_cancelled, n_replies, n_kept;
static int worker_error;
static uint64_t last_deadline;
static BrokerReply last_reply;
static uint32_t last_operation;
static int server_fd = -EBADF; /* its end of the channel */

int worker_link_new(Broker *broker, const WorkerJob *job, uint64_t deadline_usec, worker_report_t on_report, void *userdata, WorkerLink **ret) {
        if (worker_error < 0)
                return worker_error;
        last_deadline = deadline_usec;
        the_link = (WorkerLink){.job = *job, .on_report = on_report, .userdata = userdata};
        n_workers++;
        *ret = &the_link;
        return 0;
}

WorkerLink *worker_link_cancel(WorkerLink *link) {
        n_cancelled += link != NULL;
        return NULL;
}

void manager_reply(Broker *broker, const BrokerRequest *request, BrokerReply *reply, const int *fds, size_t n_fds) {
        n_replies++;
        last_reply = *reply;
        last_operation = request->operation;
        assert_int_equal(request->serial, SERIAL);
}

void keep_mount(Mount *mount) {
        n_kept++;
}

const PolicyTable *policy_table(const Policy *policy) {
        return NULL;
}

const PolicyProgram *policy_program_of_type(const PolicyTable *table, const PolicyType *type, const char *name) {
        static const PolicyProgram program;

        return strcmp(name, "linear") == 0 || strcmp(name, "stripe") == 0 ? &program : NULL;
}

/* As in mount-channel.c. */
void mount_channel_answer(const Mount *mount, ChannelCommand command, uint64_t serial, uint32_t value, const ChannelTable *tables, size_t n_tables,
                          const int *fds, size_t n_fds, int *ret_error) {
        ChannelReply reply = {.magic = CHANNEL_MAGIC, .command = command, .serial = serial, .value = value, .n_tables = (uint32_t) n_tables};

        *ret_error = fd_send(mount->second_fd, &reply, sizeof reply, fds, n_fds);
}

/* ---- a mount -------------------------------------------------------------------------------------------------------- */

static PolicyType type;
static Broker broker;
static Mount mount;

static int new_file(void) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static bool is_open(int fd) {
        return fcntl(fd, F_GETFD) >= 0;
}

static int set_up(void **state) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        server_fd = pair[1];
        type = (PolicyType){.iomap = 1, .start_usec = 10 * USEC_PER_SEC, .init_usec = 10 * USEC_PER_SEC};
        mount = (Mount){.broker = &broker, .state = MOUNT_LIVE, .type = &type, .second_fd = pair[0], .fuse_fd = new_file(),
                        .ops_fd = -EBADF, .link_fd = -EBADF, .record.mount_id = 3};
        for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                mount.slot_fds[i] = -EBADF;
        n_workers = n_cancelled = n_replies = n_kept = 0;
        worker_error = 0;
        return 0;
}

static int tear_down(void **state) {
        mount_program_end(&mount);
        assert_int_equal(mount.ops_fd, -EBADF);
        assert_int_equal(mount.link_fd, -EBADF);
        mount.fuse_fd = fd_close(mount.fuse_fd);
        mount.second_fd = fd_close(mount.second_fd);
        server_fd = fd_close(server_fd);
        return 0;
}

/* What the server has got: the number of descriptors, or a negative errno; -EAGAIN: nothing. */
static int servers_answer(ChannelReply *ret) {
        int fds[PROGRAM_FDS_MAX];
        size_t n_fds = 0;
        ssize_t n = fd_receive(server_fd, ret, sizeof *ret, fds, ELEMENTSOF(fds), &n_fds, MSG_DONTWAIT);

        if (n < 0)
                return (int) n;
        fd_close_many(fds, n_fds);
        assert_int_equal(ret->serial, CHANNEL_SERIAL);
        return ret->error < 0 ? ret->error : (int) n_fds;
}

static void ask_load(const char *name, uint32_t max_mib) {
        BrokerRequest request = {.operation = BROKER_PROGRAM, .serial = SERIAL, .mount_id = 3,
                                 .program = {.channel_serial = CHANNEL_SERIAL, .max_mib = max_mib, .n_tables = 1}};

        strcpy(request.program.name, name);
        mount_program(&mount, &request);
}

static void ask_attach(const char *name) {
        BrokerRequest request = {.operation = BROKER_ATTACH, .serial = SERIAL, .mount_id = 3, .attach = {.channel_serial = CHANNEL_SERIAL}};

        strcpy(request.attach.name, name);
        mount_program_attach(&mount, &request);
}

/* The worker's end of it; n_fds descriptors come with it. Returns the last. */
static int report(WorkerReport said, size_t n_fds) {
        int fds[PROGRAM_FDS_MAX], last = -EBADF;

        said.kind = WORKER_REPORT_DONE;
        for (size_t i = 0; i < n_fds; i++)
                last = fds[i] = new_file();
        the_link.on_report(&said, fds, n_fds, the_link.userdata);
        fd_close_many(fds, n_fds); /* as worker-link.c does */
        return last;
}

/* Returns the struct_ops map's number in here. */
static int load(const char *name, uint32_t mib, bool attachable) {
        ChannelReply reply;

        ask_load(name, UINT32_MAX);
        int last = report((WorkerReport){.n_tables = 1, .attachable = attachable, .instance = {.mib = mib, .table_ids = {1}}}, 2 + attachable);
        assert_int_equal(last_reply.error, 0);
        assert_int_equal(servers_answer(&reply), 2);
        assert_int_equal(reply.value, attachable);
        n_replies = 0;
        return last;
}

static void refused_to_attach(const char *name, int error) {
        unsigned before = n_workers;
        ChannelReply reply;

        n_replies = 0;
        ask_attach(name);
        assert_int_equal(n_workers, before);
        assert_int_equal(n_replies, 1);
        assert_int_equal(last_reply.error, error);
        assert_int_equal(servers_answer(&reply), -EAGAIN); /* the manager tells it */
        n_replies = 0;
}

/* ---- binding -------------------------------------------------------------------------------------------------------- */

static void test_attach(void **state) {
        ChannelReply reply;
        int ops, link;

        ops = load("linear", 1, true);
        assert_true(is_open(ops));
        assert_int_equal(mount.ops_fd, ops);
        ask_attach("");
        assert_int_equal(the_link.job.kind, WORKER_ATTACH);
        assert_int_equal(the_link.job.fuse_fd, mount.fuse_fd);
        assert_int_equal(the_link.job.ops_fd, ops);
        assert_int_equal(n_replies, 0);
        link = report((WorkerReport){0}, 1);
        assert_int_equal(last_reply.error, 0);
        assert_int_equal(last_operation, BROKER_ATTACH);
        assert_int_equal(servers_answer(&reply), 0);
        assert_int_equal(reply.command, CHANNEL_PROGRAM_ATTACH);
        assert_true(is_open(link));
        assert_false(is_open(ops)); /* the link has it */
        assert_true(n_kept > 0);
        assert_true(mount.record.program_bound);

        refused_to_attach("", -EALREADY);
        assert_true(is_open(link));
        ops = load("stripe", 1, true); /* another one does not take its place */
        assert_false(is_open(ops));
        assert_true(is_open(link));
        refused_to_attach("", -EALREADY);
        mount_program_end(&mount);
        assert_false(is_open(link));
}

static void test_attach_what(void **state) {
        refused_to_attach("", -ENOENT); /* nothing is loaded */
        ask_load("foreign", UINT32_MAX);
        assert_int_equal(last_reply.error, -ENOENT);
        refused_to_attach("foreign", -ENOENT);
        (void) load("linear", 1, false);
        refused_to_attach("linear", -EOPNOTSUPP); /* the kernel has no form of it */
        (void) load("linear", 1, true);
        refused_to_attach("stripe", -EPERM); /* listed for the type, but it is not what was loaded */
        type.iomap = 0;
        refused_to_attach("linear", -EOPNOTSUPP);
        type.iomap = 1;
        int second = TAKE_FD(mount.second_fd);
        refused_to_attach("linear", -ENOTCONN);
        mount.second_fd = second;
        int fuse = TAKE_FD(mount.fuse_fd);
        refused_to_attach("linear", -ENOTCONN);
        mount.fuse_fd = fuse;
        worker_error = -EAGAIN;
        refused_to_attach("linear", -EAGAIN);
        worker_error = 0;
        ask_attach("linear");
        assert_int_equal(n_replies, 0);
        refused_to_attach("linear", -EBUSY); /* while the first is under way */
        ask_load("linear", UINT32_MAX);
        assert_int_equal(last_reply.error, -EBUSY);
        int link = report((WorkerReport){0}, 1);
        assert_int_equal(last_reply.error, 0);
        assert_int_equal(last_operation, BROKER_ATTACH); /* the first's own */
        assert_true(is_open(link));
}

/* What is bound is what was loaded last, and no more than that is held. */
static void test_attach_last(void **state) {
        int first = load("linear", 1, true), second = load("stripe", 1, true);

        assert_false(is_open(first));
        assert_int_equal(mount.ops_fd, second);
        (void) load("linear", 1, false);
        assert_false(is_open(second));
        assert_int_equal(mount.ops_fd, -EBADF);
        refused_to_attach("linear", -EOPNOTSUPP);
        refused_to_attach("stripe", -EPERM);
}

/* Whatever the kernel says: nothing is held, and it may be tried again. */
static void test_attach_fails(void **state) {
        static const int errors[] = {-EBUSY, -EINVAL, -EBADF, -EOPNOTSUPP, -ETIMEDOUT, -ECHILD, -ENOTCONN};
        int ops = load("linear", 1, true);
        ChannelReply reply;

        for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
                ask_attach("linear");
                (void) report((WorkerReport){.error = errors[i]}, 0);
                assert_int_equal(last_reply.error, errors[i]);
                assert_int_equal(servers_answer(&reply), -EAGAIN);
                assert_int_equal(mount.link_fd, -EBADF);
                assert_true(is_open(ops));
        }
        ask_attach("linear");
        (void) report((WorkerReport){0}, 0); /* a success without its link */
        assert_int_equal(last_reply.error, -EPROTO);
        ask_attach("linear");
        assert_true(is_open(report((WorkerReport){0}, 1)));
}

static void test_end_meanwhile(void **state) {
        int ops = load("linear", 1, true);

        ask_attach("");
        mount_program_end(&mount);
        assert_int_equal(n_cancelled, 1);
        assert_int_equal(n_replies, 1);
        assert_int_equal(last_reply.error, -ESHUTDOWN);
        assert_int_equal(last_operation, BROKER_ATTACH);
        assert_false(is_open(ops));
        mount_program_end(&mount);
        assert_int_equal(n_replies, 1);
}

/* Then the broker tells the server what the manager would have told it. */
static void test_manager_goes(void **state) {
        ChannelReply reply;

        (void) load("linear", 1, true);
        ask_attach("");
        mount.program_asked = false; /* mounts_cancel_pending() */
        (void) report((WorkerReport){.error = -EINVAL}, 0);
        assert_int_equal(n_replies, 0);
        assert_int_equal(servers_answer(&reply), -EINVAL);
        assert_int_equal(reply.command, CHANNEL_PROGRAM_ATTACH);
        ask_load("stripe", UINT32_MAX);
        mount.program_asked = false;
        (void) report((WorkerReport){.error = -EPERM}, 0);
        assert_int_equal(servers_answer(&reply), -EPERM);
        assert_int_equal(reply.command, CHANNEL_PROGRAM);
        ask_attach("linear");
        mount.program_asked = false;
        (void) report((WorkerReport){0}, 1); /* a success is told in any case, and once */
        assert_int_equal(servers_answer(&reply), 0);
        assert_int_equal(servers_answer(&reply), -EAGAIN);
        assert_int_equal(n_replies, 0);
}

/* ---- memory --------------------------------------------------------------------------------------------------------- */

static void test_memory(void **state) {
        (void) load("linear", 5, false);
        assert_int_equal(last_reply.value, 5);
        (void) load("linear", 3, false);
        assert_int_equal(last_reply.value, 8);
        assert_int_equal(mount.record.program_mib, 8);
        assert_true(n_kept > 0);
        ask_load("linear", 20);
        assert_int_equal(the_link.job.max_mib, 20);
        unsigned gone = 0;
        for (unsigned i = 0; i < PROGRAM_INSTANCES_MAX; i++)
                if (the_link.job.instances[i].mib == 5)
                        gone |= 1U << i;
        /* Not this one; but an earlier one has gone. */
        (void) report((WorkerReport){.error = -EDQUOT, .gone = gone, .rule = "quota", .text = "too large"}, 0);
        assert_int_equal(last_reply.error, -EDQUOT);
        assert_int_equal(last_reply.value, 3);
        for (unsigned i = 1; i < PROGRAM_INSTANCES_MAX; i++)
                (void) load("linear", 1, false);
        assert_int_equal(mount.record.program_mib, 6);
        ask_load("linear", UINT32_MAX);
        (void) report((WorkerReport){.error = -ENFILE}, 0);
        assert_int_equal(last_reply.error, -ENFILE);
        assert_int_equal(last_reply.value, 6);
}

/* ---- time ----------------------------------------------------------------------------------------------------------- */

/* While the server's own deadline runs, the program's is so much shorter that the mount goes on without. */
static void test_deadline(void **state) {
        static const struct {
                MountState state;
                unsigned start, init, deadline; /* seconds */
        } rows[] = {
                {MOUNT_LIVE, 1, 1, 15},  {MOUNT_MOUNTING, 10, 10, 5},  {MOUNT_SPAWNED, 4, 10, 2},
                {MOUNT_MOUNTING, 10, 6, 3}, {MOUNT_MOUNTING, 600, 600, 15},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                mount.state = rows[i].state;
                type.start_usec = rows[i].start * USEC_PER_SEC;
                type.init_usec = rows[i].init * USEC_PER_SEC;
                ask_load("linear", UINT32_MAX);
                assert_int_equal(last_deadline, rows[i].deadline * USEC_PER_SEC);
                (void) report((WorkerReport){.error = -ETIMEDOUT}, 0);
                assert_int_equal(last_reply.error, -ETIMEDOUT);
        }
}

/* Eight at once, and then none for a while, whatever came of them. */
static void test_too_often(void **state) {
        for (unsigned i = 0; i < 8; i++) {
                ask_load("linear", UINT32_MAX);
                (void) report((WorkerReport){.error = -EPERM}, 0);
                assert_int_equal(last_reply.error, -EPERM);
        }
        ask_load("linear", UINT32_MAX);
        assert_int_equal(last_reply.error, -EBUSY);
        assert_int_equal(n_workers, 8);
        mount.loads_usec -= 10 * USEC_PER_SEC; /* as if that had passed */
        ask_load("linear", UINT32_MAX);
        assert_int_equal(n_workers, 9);
        (void) report((WorkerReport){.error = -EPERM}, 0);
        ask_load("linear", UINT32_MAX);
        assert_int_equal(last_reply.error, -EBUSY);
        ask_load("foreign", UINT32_MAX); /* nothing is started for that, and nothing counted */
        assert_int_equal(last_reply.error, -ENOENT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_attach, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_attach_what, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_attach_last, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_attach_fails, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_end_meanwhile, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_manager_goes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_memory, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_deadline, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_too_often, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
