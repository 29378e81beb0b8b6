/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mapping programs and backing files of a mount, the manager's part: what they may take of what its user and its type have, what is charged before,
 * during and after, and what is asked of the broker in which state. Beside a fake broker; the server is the test. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "manager-broker.h"
#include "manager-table.h"
#include "manager/mount.h"

#define USER 1000U
#define LIMIT 20U   /* MiB, of the user */
#define OF_TYPE 4U  /* of type plain's servers; those of svc have no limit */
#define FDS 5U      /* of a mount without backing files */
#define PROGRAM 8U  /* of the program's tables, by policy */

typedef struct World {
        sd_event *event;
        FakeBroker broker;
        Manager *manager;
        int server_fd; /* the server's end of the channel */
        uint64_t serial, n_adopted;
} World;

static int policy_memfd(void) {
        TestTable t;
        int fd = memfd_create("policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        table_fill(&t);
        t.table.limits.max_memory = LIMIT;
        t.table.programs = TABLE_ARRAY(&t, programs, 1);
        t.programs[0] = (PolicyProgram){.name = "linear", .has_digest = 1, .max_memory = PROGRAM << 20};
        t.programs[0].object = table_string(&t, "/lib/linear.bpf.o");
        t.types[TABLE_SVC].programs = t.types[TABLE_PLAIN].programs = table_string(&t, "linear");
        t.types[TABLE_PLAIN].max_memory = OF_TYPE << 20;
        assert_true(fd >= 0 && write(fd, &t, sizeof t) == (ssize_t) sizeof t);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
        return fd;
}

static void turn(World *w) {
        while (sd_event_run(w->event, 0) > 0)
                continue;
}

static int setup(void **state) {
        World *w = calloc(1, sizeof *w);
        int fds[2];

        assert_int_equal(sd_event_new(&w->event), 0);
        broker_open(&w->broker);
        assert_int_equal(manager_new(w->event, w->broker.manager_fd, &w->manager), 0);
        fds[0] = socket(AF_UNIX, SOCK_STREAM, 0);
        fds[1] = policy_memfd();
        broker_event(&w->broker, BROKER_EVENT_START, 0, fds, 2);
        fd_close_many(fds, 2);
        turn(w);
        assert_non_null(w->manager->policy);
        w->server_fd = -EBADF;
        *state = w;
        return 0;
}

static int teardown(void **state) {
        World *w = *state;

        for (uint64_t id = 1; id <= w->n_adopted; id++)
                broker_event_exit(&w->broker, BROKER_EVENT_ENDED, id, BROKER_REASON_UNMOUNTED, 0, 0);
        turn(w);
        assert_int_equal(w->manager->n_mounts, 0);
        assert_int_equal(quota_n_users(w->manager->quota), 0);
        w->manager = manager_free(w->manager);
        broker_close(&w->broker);
        w->server_fd = fd_close(w->server_fd);
        sd_event_unref(w->event);
        free(w);
        return 0;
}

/* A live mount of that type; its server's channel becomes the one that is spoken over. */
static uint64_t adopt(World *w, uint32_t type_index, uint32_t program_mib) {
        BrokerEvent event = {.magic = BROKER_MAGIC, .kind = BROKER_EVENT_ADOPT | BROKER_EVENT_BIT, .mount_id = ++w->n_adopted,
                             .record = {.mount_id = w->n_adopted, .uid = USER, .policy_generation = 1, .type_index = type_index,
                                        .live_usec = 5, .program_mib = program_mib}};
        int pipe_fds[2], pair[2], fds[2];

        strcpy(event.record.type_name, type_index == TABLE_SVC ? "svc" : "plain");
        assert_int_equal(pipe(pipe_fds), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        fds[0] = pipe_fds[0];
        fds[1] = pair[0];
        assert_int_equal(fd_send(w->broker.fd, &event, sizeof event, fds, 2), 0);
        (void) close(pair[0]);
        fd_close_many(pipe_fds, 2);
        (void) fd_close(w->server_fd);
        w->server_fd = pair[1];
        turn(w);
        return w->n_adopted;
}

static void ask(World *w, ChannelCommand command, const char *name) {
        ChannelRequest request = {.magic = CHANNEL_MAGIC, .command = command, .serial = ++w->serial};

        strcpy(request.name, name);
        assert_int_equal(fd_send(w->server_fd, &request, sizeof request, NULL, 0), 0);
        turn(w);
}

static void expect(World *w, BrokerOperation operation) {
        assert_int_equal(broker_next(&w->broker), 1);
        assert_int_equal(w->broker.request.operation, operation);
}

static void expect_load(World *w, uint32_t max_mib) {
        expect(w, BROKER_PROGRAM);
        assert_string_equal(w->broker.request.program.name, "linear");
        assert_int_equal(w->broker.request.program.channel_serial, w->serial);
        assert_int_equal(w->broker.request.program.max_mib, max_mib);
}

static int broker_error; /* why it cannot be asked */

int __real_broker_client_call(BrokerClient *client, BrokerRequest *request, BrokerOperation operation, const int *fds, size_t n_fds,
                              uint64_t timeout_usec, broker_reply_t on_reply, void *userdata, BrokerCall **ret_call);
int __wrap_broker_client_call(BrokerClient *client, BrokerRequest *request, BrokerOperation operation, const int *fds, size_t n_fds,
                              uint64_t timeout_usec, broker_reply_t on_reply, void *userdata, BrokerCall **ret_call);

int __wrap_broker_client_call(BrokerClient *client, BrokerRequest *request, BrokerOperation operation, const int *fds, size_t n_fds,
                              uint64_t timeout_usec, broker_reply_t on_reply, void *userdata, BrokerCall **ret_call) {
        return broker_error < 0 ? broker_error
                                : __real_broker_client_call(client, request, operation, fds, n_fds, timeout_usec, on_reply, userdata, ret_call);
}

static void say(World *w, int error, uint32_t value) {
        BrokerReply reply = broker_reply_for(&w->broker, error);

        reply.value = value;
        broker_send(&w->broker, &reply, NULL, 0);
        turn(w);
}

/* The manager's own words to the server. 1: nothing, as the broker has answered. */
static int answer(World *w) {
        ChannelReply reply;
        ssize_t n = fd_receive(w->server_fd, &reply, sizeof reply, NULL, 0, NULL, MSG_DONTWAIT);

        if (n == -EAGAIN)
                return 1;
        assert_int_equal(channel_reply_validate(&reply, (size_t) n), 0);
        assert_int_equal(reply.serial, w->serial);
        return reply.error;
}

static uint32_t in_use(const World *w) {
        return quota_usage(w->manager->quota, USER, QUOTA_MEMORY);
}

static void test_charge(void **state) {
        World *w = *state;
        uint64_t first = adopt(w, TABLE_SVC, 0);

        ask(w, CHANNEL_PROGRAM, "linear");
        expect_load(w, LIMIT);
        assert_int_equal(in_use(w), PROGRAM); /* nobody takes it meanwhile */
        say(w, 0, 5);
        assert_int_equal(answer(w), 1);
        assert_int_equal(in_use(w), 5);
        assert_string_equal(mount_find(w->manager, first)->program, "linear");
        ask(w, CHANNEL_PROGRAM, "linear"); /* another one beside it */
        expect_load(w, LIMIT);
        assert_int_equal(in_use(w), 5 + PROGRAM);
        say(w, 0, 11);
        assert_int_equal(in_use(w), 11);

        (void) adopt(w, TABLE_SVC, 3); /* its programs are from before */
        assert_int_equal(in_use(w), 14);
        ask(w, CHANNEL_PROGRAM, "linear");
        expect_load(w, LIMIT - 11);
        assert_int_equal(in_use(w), LIMIT); /* what is left, and not 11 + 3 + PROGRAM */
        say(w, -EDQUOT, 3);
        assert_int_equal(answer(w), -EDQUOT);
        assert_int_equal(in_use(w), 14);
        broker_event_exit(&w->broker, BROKER_EVENT_ENDED, first, BROKER_REASON_UNMOUNTED, 0, 0);
        turn(w);
        assert_int_equal(in_use(w), 3);
        ask(w, CHANNEL_PROGRAM, "linear");
        expect_load(w, LIMIT);
        say(w, -EPERM, 0); /* refused; and the earlier one has gone */
        assert_int_equal(answer(w), -EPERM);
        assert_int_equal(in_use(w), 0);
}

/* Nobody knows what has been loaded then: it stays at what that may take. */
static void test_no_answer(void **state) {
        World *w = *state;

        (void) adopt(w, TABLE_SVC, 2);
        ask(w, CHANNEL_PROGRAM, "linear");
        expect_load(w, LIMIT);
        say(w, -ETIMEDOUT, 0);
        assert_int_equal(answer(w), -ETIMEDOUT);
        assert_int_equal(in_use(w), 2 + PROGRAM);
        ask(w, CHANNEL_PROGRAM, "linear");
        expect_load(w, LIMIT);
        say(w, 0, 5); /* of all of them */
        assert_int_equal(in_use(w), 5);
}

static void test_of_type(void **state) {
        World *w = *state;

        (void) adopt(w, TABLE_PLAIN, 0);
        assert_int_equal(in_use(w), OF_TYPE);
        ask(w, CHANNEL_PROGRAM, "linear");
        expect_load(w, OF_TYPE);
        assert_int_equal(in_use(w), 2 * OF_TYPE);
        say(w, 0, 1);
        assert_int_equal(in_use(w), OF_TYPE + 1);
}

static void test_no_broker(void **state) {
        World *w = *state;
        uint64_t id = adopt(w, TABLE_SVC, 2);

        ask(w, CHANNEL_PROGRAM, "stripe"); /* not of this type */
        assert_int_equal(broker_next(&w->broker), 0);
        assert_int_equal(answer(w), -ENOENT);
        assert_int_equal(in_use(w), 2);
        ask(w, CHANNEL_PROGRAM, "linear");
        expect_load(w, LIMIT);
        broker_event_exit(&w->broker, BROKER_EVENT_ENDED, id, BROKER_REASON_UNMOUNTED, 0, 0);
        turn(w);
        assert_int_equal(in_use(w), 0);
        say(w, 0, 5); /* too late */
        assert_int_equal(in_use(w), 0);
}

static void expect_use(const World *w, uint32_t memory, uint32_t files, uint32_t workers) {
        assert_int_equal(in_use(w), memory);
        assert_int_equal(quota_usage(w->manager->quota, USER, QUOTA_FDS), FDS + files);
        assert_int_equal(quota_usage(w->manager->quota, USER, QUOTA_PROCESSES), 1 + workers);
}

static void say_backing(World *w, int error, uint32_t n_backings) {
        BrokerReply reply = broker_reply_for(&w->broker, error);

        reply.n_backings = n_backings;
        broker_send(&w->broker, &reply, NULL, 0);
        turn(w);
        (void) answer(w);
}

/* A worker for backing files, and each file: charged while they are there, and while they are asked for. */
static void test_backings(void **state) {
        World *w = *state;

        (void) adopt(w, TABLE_SVC, 0);
        expect_use(w, 0, 0, 0);
        ask(w, CHANNEL_BACKING_SOCKET, "");
        expect(w, BROKER_BACKING_SOCKET);
        expect_use(w, 0, 0, 1);
        say_backing(w, -EBUSY, 0); /* it could not be started */
        expect_use(w, 0, 0, 0);
        for (unsigned i = 0; i < 2; i++) { /* the second time it is there already */
                ask(w, CHANNEL_BACKING_SOCKET, "");
                expect(w, BROKER_BACKING_SOCKET);
                say_backing(w, i ? -EALREADY : 0, 0);
                expect_use(w, 0, 0, 1);
        }
        for (unsigned i = 0; i < 2; i++) {
                ask(w, CHANNEL_BACKING_OPEN, "");
                expect(w, BROKER_BACKING_OPEN);
                expect_use(w, 0, 1, 1);
                say_backing(w, i ? 0 : -EBADF, i);
                expect_use(w, 0, i, 1);
        }
        ask(w, CHANNEL_BACKING_CLOSE, "");
        expect(w, BROKER_BACKING_CLOSE);
        say_backing(w, 0, 0);
        expect_use(w, 0, 0, 1);
}

/* What is not even asked for costs nothing: the broker cannot be reached. */
static void test_not_asked(void **state) {
        static const ChannelCommand commands[] = {CHANNEL_PROGRAM, CHANNEL_BACKING_OPEN, CHANNEL_BACKING_SOCKET};
        World *w = *state;

        (void) adopt(w, TABLE_SVC, 2);
        for (unsigned with_worker = 0; with_worker < 2; with_worker++) {
                broker_error = -EPIPE;
                for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                        ask(w, commands[i], commands[i] == CHANNEL_PROGRAM ? "linear" : "");
                        assert_int_equal(answer(w), -EPIPE);
                        expect_use(w, 2, 0, with_worker);
                }
                broker_error = 0;
                ask(w, CHANNEL_BACKING_SOCKET, "");
                expect(w, BROKER_BACKING_SOCKET);
                say_backing(w, with_worker ? -EALREADY : 0, 0);
        }
}

static void test_attach(void **state) {
        static const int errors[] = {-EOPNOTSUPP, -EBUSY, -EINVAL, -EALREADY, -ENOENT, -EPERM};
        World *w = *state;
        uint64_t id = adopt(w, TABLE_SVC, 0);

        for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
                ask(w, CHANNEL_PROGRAM_ATTACH, i % 2 ? "linear" : "");
                expect(w, BROKER_ATTACH);
                assert_int_equal(w->broker.request.mount_id, id);
                assert_string_equal(w->broker.request.attach.name, i % 2 ? "linear" : "");
                assert_int_equal(w->broker.request.attach.channel_serial, w->serial);
                say(w, errors[i], 0);
                assert_int_equal(answer(w), errors[i]);
                assert_int_equal(mount_find(w->manager, id)->record.program_bound, 0);
        }
        ask(w, CHANNEL_PROGRAM_ATTACH, "");
        expect(w, BROKER_ATTACH);
        say(w, 0, 0);
        assert_int_equal(answer(w), 1);
        assert_int_equal(in_use(w), 0);
        assert_int_equal(mount_find(w->manager, id)->record.program_bound, 1);
        mount_find(w->manager, id)->state = MOUNT_ENDING;
        ask(w, CHANNEL_PROGRAM_ATTACH, "");
        assert_int_equal(broker_next(&w->broker), 0);
        assert_int_equal(answer(w), -ENOTCONN);
        mount_find(w->manager, id)->state = MOUNT_TALKING;
        ask(w, CHANNEL_PROGRAM_ATTACH, "");
        assert_int_equal(broker_next(&w->broker), 0);
        assert_int_equal(answer(w), -ENOTCONN);
        mount_find(w->manager, id)->state = MOUNT_LIVE;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_charge, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_answer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_of_type, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_broker, setup, teardown),
                cmocka_unit_test_setup_teardown(test_backings, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_asked, setup, teardown),
                cmocka_unit_test_setup_teardown(test_attach, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
