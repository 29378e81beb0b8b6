/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state machine of a mount, beside a fake broker and a fake server: the way up, each failure, each deadline, the end. After
 * every test nothing may be charged and no descriptor may be left. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "manager-broker.h"
#include "manager-server.h"
#include "manager-table.h"
#include "manager/mount.h"

#define USER 1000U

typedef struct Result {
        unsigned n; /* how often we were told */
        Outcome outcome;
        uint64_t id;
        int mount_fd;
} Result;

typedef struct World {
        sd_event *event;
        FakeBroker broker;
        Manager *manager;
        int caller; /* stands for the caller's socket */
        size_t n_fds_before;
} World;

static size_t count_fds(void) {
        DIR *dir = opendir("/proc/self/fd");
        size_t n = 0;

        assert_non_null(dir);
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static void turn(World *w) {
        while (sd_event_run(w->event, 0) > 0)
                continue;
}

static double now(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

/* Runs the loop until the result is there or the broker is asked something, or for at most so long. Returns how long. */
static double wait_for(World *w, const Result *result, double limit) {
        double start = now();

        while (now() - start < limit && (!result || result->n == 0))
                (void) sd_event_run(w->event, 10000);
        return now() - start;
}

static int setup(void **state) {
        World *w = calloc(1, sizeof *w);
        int fds[2];

        w->n_fds_before = count_fds();
        assert_int_equal(sd_event_new(&w->event), 0);
        broker_open(&w->broker);
        assert_int_equal(manager_new(w->event, w->broker.manager_fd, &w->manager), 0);
        fds[0] = socket(AF_UNIX, SOCK_STREAM, 0); /* never listened to in here */
        fds[1] = table_memfd();
        broker_event(&w->broker, BROKER_EVENT_START, 0, fds, 2);
        fd_close_many(fds, 2);
        turn(w);
        assert_non_null(w->manager->policy);
        w->caller = open("/dev/null", O_RDONLY | O_CLOEXEC);
        *state = w;
        return 0;
}

static int teardown(void **state) {
        World *w = *state;

        assert_int_equal(w->manager->n_mounts, 0);
        assert_int_equal(quota_n_users(w->manager->quota), 0);
        w->manager = manager_free(w->manager);
        broker_close(&w->broker);
        sd_event_unref(w->event);
        w->caller = fd_close(w->caller);
        assert_int_equal(count_fds(), w->n_fds_before);
        free(w);
        return 0;
}

static void on_outcome(void *userdata, const Outcome *outcome, const Mount *mount, int *mount_fd) {
        Result *result = userdata;

        result->n++;
        result->outcome = *outcome;
        result->id = mount ? mount->record.mount_id : 0;
        result->mount_fd = mount_fd ? *mount_fd : -EBADF;
}

static MountRequest request_with_source(World *w) {
        return (MountRequest){.channel_fd = -EBADF, .source = {.name = "source", .kind = "file", .fd = w->caller},
                              .source_name = "img",
                              .mountpoint_name = "/there",
                              .mountpoint_fd = w->caller, .owner_fd = -EBADF};
}

static Mount *start(World *w, const char *type, Result *result) {
        MountRequest request = request_with_source(w);
        Outcome outcome;
        Mount *mount = NULL;

        *result = (Result){.mount_fd = -EBADF};
        assert_int_equal(mount_start(w->manager, type, &request, USER, w->caller, on_outcome, result, &mount, &outcome), 0);
        assert_int_equal(quota_usage(w->manager->quota, USER, QUOTA_PENDING), 1);
        return mount;
}

static void expect(World *w, BrokerOperation operation) {
        turn(w);
        assert_int_equal(broker_next(&w->broker), 1);
        assert_int_equal(w->broker.request.operation, operation);
}

static void expect_nothing(World *w) {
        turn(w);
        assert_int_equal(broker_next(&w->broker), 0);
}

/* Up to where the type's server has been started. */
static Mount *start_and_spawn(World *w, const char *type, bool sync_init, Result *result) {
        bool service = strcmp(type, "svc") == 0;
        Mount *mount = start(w, type, result);

        expect(w, BROKER_CREATE);
        assert_int_equal(w->broker.request.create.slots[0], BROKER_SLOT_FILE);
        assert_string_equal(w->broker.request.create.mountpoint_name, "/there");
        broker_agree(&w->broker, USER, service, sync_init);
        expect(w, BROKER_SPAWN);
        broker_agree(&w->broker, USER, service, sync_init);
        turn(w);
        return mount;
}

static void end_event(World *w, uint64_t id, BrokerEndReason reason) {
        broker_event_exit(&w->broker, BROKER_EVENT_ENDED, id, reason, 0, 0);
        turn(w);
}

/* The fake server speaks up to and including its MOUNT. */
static void speak(World *w) {
        Packet p;
        uint8_t got[512];
        int fds[1];
        size_t n;

        packet_send(w->broker.server_fd, packet_hello(&p, 1));
        expect(w, BROKER_SEND_FILE);
        broker_agree(&w->broker, USER, true, true);
        packet_send(w->broker.server_fd, packet_number(&p, "TYPE", 0));
        packet_send(w->broker.server_fd, packet_string(&p, "NAME", "img"));
        packet_send(w->broker.server_fd, packet_mountpoint(&p, 0x4000, "/mnt"));
        packet_send(w->broker.server_fd, packet_number(&p, "DOIT", 6));
        turn(w);
        while (fd_receive(w->broker.server_fd, got, sizeof got, fds, 1, &n, MSG_DONTWAIT) > 0)
                fd_close_many(fds, n);
}

static void make_live(World *w, Result *result) {
        start_and_spawn(w, "svc", true, result);
        speak(w);
        expect(w, BROKER_MOUNT);
        broker_agree(&w->broker, USER, true, true);
        turn(w);
        assert_int_equal(result->n, 1);
        assert_int_equal(result->outcome.kind, OUTCOME_OK);
}

static void test_service_and_unmount(void **state) {
        World *w = *state;
        Result result, ended = {0};

        make_live(w, &result);
        assert_int_equal(result.id, 1);
        Mount *mount = mount_find(w->manager, 1);
        assert_int_equal(mount->state, MOUNT_LIVE);
        assert_string_equal(mount_state_to_string(mount->state), "live");
        assert_null(mount->deadline);
        assert_int_equal(quota_usage(w->manager->quota, USER, QUOTA_PENDING), 0);
        assert_int_equal(quota_usage(w->manager->quota, USER, QUOTA_MOUNTS), 1);
        assert_int_equal(quota_usage(w->manager->quota, USER, QUOTA_FDS), 6);

        assert_int_equal(mount_end(mount, BROKER_END_UNMOUNT, on_outcome, &ended), 0);
        expect(w, BROKER_END);
        assert_int_equal(w->broker.request.end.how, BROKER_END_UNMOUNT);
        broker_say(&w->broker, -EBUSY);
        turn(w);
        assert_int_equal(ended.n, 1);
        assert_int_equal(ended.outcome.kind, OUTCOME_BUSY);
        assert_int_equal(mount->state, MOUNT_LIVE);

        ended.n = 0;
        assert_int_equal(mount_end(mount, BROKER_END_LAZY, on_outcome, &ended), 0);
        expect(w, BROKER_END);
        broker_say(&w->broker, 0);
        turn(w);
        assert_int_equal(mount->state, MOUNT_ENDING);
        assert_int_equal(ended.n, 0); /* only when everything is given back */
        end_event(w, 1, BROKER_REASON_UNMOUNTED);
        assert_int_equal(ended.n, 1);
        assert_int_equal(ended.outcome.kind, OUTCOME_OK);
}

static void test_fd_hand_over(void **state) {
        World *w = *state;
        Result result;

        start_and_spawn(w, "plain", true, &result);
        expect(w, BROKER_MOUNT);
        assert_string_equal(w->broker.request.mount.fsname, "plain");
        broker_agree(&w->broker, USER, false, true);
        turn(w);
        assert_int_equal(result.outcome.kind, OUTCOME_OK);
        assert_int_equal(quota_usage(w->manager->quota, USER, QUOTA_PROCESSES), 2);
        end_event(w, 1, BROKER_REASON_SERVER_EXIT);
        assert_int_equal(result.n, 1);
}

/* Before Linux 6.18: superblock, then server. */
static void test_fd_without_sync_init(void **state) {
        World *w = *state;
        Result result;

        start(w, "plain", &result);
        expect(w, BROKER_CREATE);
        broker_agree(&w->broker, USER, false, false);
        expect(w, BROKER_MOUNT);
        FakeBroker mount_request = w->broker;
        expect_nothing(w);
        broker_event(&w->broker, BROKER_EVENT_MOUNTED, 1, NULL, 0);
        expect(w, BROKER_SPAWN);
        broker_agree(&w->broker, USER, false, false);
        turn(w);
        assert_int_equal(result.n, 0);
        w->broker.request = mount_request.request;
        broker_agree(&w->broker, USER, false, false);
        turn(w);
        assert_int_equal(result.outcome.kind, OUTCOME_OK);
        end_event(w, 1, BROKER_REASON_UNMOUNTED);
}

static void test_detached(void **state) {
        World *w = *state;
        MountRequest request = request_with_source(w);
        Result result = {0};
        Outcome outcome;
        Mount *mount;

        request.mountpoint_fd = -EBADF;
        assert_int_equal(mount_start(w->manager, "plain", &request, USER, w->caller, on_outcome, &result, &mount, &outcome), 0);
        expect(w, BROKER_CREATE);
        assert_int_equal(w->broker.request.create.flags, BROKER_CREATE_DETACHED);
        assert_int_equal(w->broker.n_fds, 2); /* caller, source */
        broker_agree(&w->broker, USER, false, true);
        expect(w, BROKER_SPAWN);
        broker_agree(&w->broker, USER, false, true);
        expect(w, BROKER_MOUNT);
        BrokerReply reply = broker_reply_for(&w->broker, 0);
        reply.record.flags = BROKER_CREATE_DETACHED;
        reply.record.uid = USER;
        broker_send(&w->broker, &reply, &w->caller, 1);
        turn(w);
        assert_int_equal(result.outcome.kind, OUTCOME_OK);
        assert_true(result.mount_fd >= 0);
        assert_int_equal(fcntl(result.mount_fd, F_GETFD), -1); /* not taken by us: closed */
        end_event(w, 1, BROKER_REASON_UNMOUNTED);
}

static void test_refused_by_the_broker(void **state) {
        World *w = *state;
        Result result;

        start(w, "plain", &result);
        expect(w, BROKER_CREATE);
        BrokerReply reply = broker_reply_for(&w->broker, -EACCES);
        TestTable table;
        table_fill(&table);
        reply.refusal = (BrokerRefusal){.refusal = REFUSAL_OPTION,
                                        .place = table.rules[0].place,
                                        .policy_generation = 1,
                                        .options = POLICY_OPTION_SUID};
        broker_send(&w->broker, &reply, NULL, 0);
        turn(w);
        assert_int_equal(result.n, 1);
        assert_int_equal(result.outcome.kind, OUTCOME_REFUSED);
        assert_memory_equal(result.outcome.text, "[option] ", 9);
        assert_non_null(strstr(result.outcome.text, "(suid)"));
        assert_non_null(strstr(result.outcome.text, "/etc/fused/types/x.conf:9 [Allow everybody]"));

        start(w, "plain", &result); /* refused after it has got an id: told when everything is given back */
        expect(w, BROKER_CREATE);
        reply = broker_reply_for(&w->broker, -EACCES);
        reply.mount_id = 9;
        reply.refusal.refusal = REFUSAL_BAD_FD;
        broker_send(&w->broker, &reply, NULL, 0);
        turn(w);
        assert_int_equal(result.n, 0);
        expect_nothing(w);
        end_event(w, 9, BROKER_REASON_FAILED);
        assert_int_equal(result.outcome.kind, OUTCOME_REFUSED);
        assert_memory_equal(result.outcome.text, "[bad-fd] ", 9);
}

static void test_refused_by_the_manager(void **state) {
        static const struct {
                const char *type, *word;
                const char *option;
                bool no_source;
                OutcomeKind kind;
        } rows[] = {
                {"none-such", "[no-such-type] ", NULL, false, OUTCOME_REFUSED},
                {"off", "[type-disabled] ", NULL, false, OUTCOME_REFUSED},
                {"svc", "[slot-missing] ", NULL, true, OUTCOME_REFUSED},
                {"svc", "[option] ", "unheard-of", false, OUTCOME_REFUSED},
                {"svc", "[option] ", "quiet,suid", false, OUTCOME_REFUSED},
                {"svc", "option \"max_read=x\"", "max_read=x", false, OUTCOME_INVALID},
        };
        World *w = *state;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                MountRequest request = request_with_source(w);
                Result result = {0};
                Outcome outcome;
                Mount *mount;

                if (rows[i].no_source)
                        request.source.fd = -EBADF;
                if (rows[i].option)
                        request.options[request.n_options++] = rows[i].option;
                assert_true(mount_start(w->manager, rows[i].type, &request, USER, w->caller, on_outcome, &result, &mount, &outcome) < 0);
                assert_int_equal(outcome.kind, rows[i].kind);
                assert_memory_equal(outcome.text, rows[i].word, strlen(rows[i].word));
                assert_int_equal(result.n, 0);
                assert_int_equal(w->manager->n_mounts, 0);
        }
        expect_nothing(w);
}

static void test_quotas(void **state) {
        World *w = *state;
        MountRequest request = request_with_source(w);
        Result results[3];
        Outcome outcome;
        Mount *mount;

        start(w, "plain", &results[0]);
        assert_int_equal(mount_start(w->manager, "plain", &request, USER, w->caller, on_outcome, &results[1], &mount, &outcome), 0);
        assert_true(mount_start(w->manager, "plain", &request, USER, w->caller, on_outcome, &results[2], &mount, &outcome) < 0);
        assert_memory_equal(outcome.text, "[quota-pending] ", 16);
        assert_non_null(strstr(outcome.text, "MaxPending=2, 2 in use, 1 wanted"));
        assert_non_null(strstr(outcome.text, "/etc/fused/fused.conf:5"));
        assert_int_equal(quota_usage(w->manager->quota, USER, QUOTA_MOUNTS), 2); /* nothing of the refused one */

        results[2] = (Result){0}; /* another user is not concerned; one with a section of its own has its own limits */
        assert_int_equal(mount_start(w->manager, "plain", &request, 4242, w->caller, on_outcome, &results[2], &mount, &outcome), 0);
        for (int i = 0; i < 3; i++) {
                expect(w, BROKER_CREATE);
                broker_say(&w->broker, -ENOMEM);
        }
        turn(w);
        for (int i = 0; i < 3; i++)
                assert_int_equal(results[i].outcome.kind, OUTCOME_FAILED);

        for (int i = 0; i < 8; i++) /* half of what there is for all */
                assert_int_equal(mount_start(w->manager, "plain", &request, 4242, w->caller, on_outcome, &results[0], &mount, &outcome), 0);
        assert_true(mount_start(w->manager, "plain", &request, 4242, w->caller, on_outcome, &results[0], &mount, &outcome) < 0);
        assert_memory_equal(outcome.text, "[quota-share] ", 14);
        for (int i = 0; i < 8; i++) {
                expect(w, BROKER_CREATE);
                broker_say(&w->broker, -ENOMEM);
        }
        turn(w);
}

static void test_server_exits_at_once(void **state) {
        World *w = *state;
        Result result;

        start_and_spawn(w, "svc", true, &result);
        assert_true(write(w->broker.stderr_fd, "cannot read \x1b[31mimage\nbad magic\n", 32) > 0);
        w->broker.server_fd = fd_close(w->broker.server_fd); /* its end of the socket goes first */
        turn(w);
        expect_nothing(w); /* no CANCEL yet: its exit is about to be told */
        broker_event_exit(&w->broker, BROKER_EVENT_SERVER_EXIT, 1, 0, CLD_EXITED, 3);
        turn(w);
        broker_event_exit(&w->broker, BROKER_EVENT_ENDED, 1, BROKER_REASON_SERVER_EXIT, CLD_EXITED, 3);
        turn(w);
        assert_int_equal(result.n, 1);
        assert_int_equal(result.outcome.kind, OUTCOME_SERVER_FAILED);
        assert_non_null(strstr(result.outcome.text, "exited with status 3"));
        assert_non_null(strstr(result.outcome.text, "cannot read \\x1b[31mimage | bad magic"));
        assert_non_null(strstr(result.outcome.text, "its hello"));
}

static void test_server_crashes_while_mounting(void **state) {
        World *w = *state;
        Result result;

        start_and_spawn(w, "plain", true, &result);
        expect(w, BROKER_MOUNT);
        broker_event_exit(&w->broker, BROKER_EVENT_SERVER_EXIT, 1, 0, CLD_KILLED, SIGSEGV);
        broker_say(&w->broker, -ECANCELED);
        turn(w);
        assert_int_equal(result.n, 0);
        expect_nothing(w);
        end_event(w, 1, BROKER_REASON_SERVER_EXIT);
        assert_int_equal(result.outcome.kind, OUTCOME_SERVER_FAILED);
        assert_non_null(strstr(result.outcome.text, "killed by signal 11"));
        assert_non_null(strstr(result.outcome.text, "FUSE_INIT"));
}

static void test_violation(void **state) {
        World *w = *state;
        Result result;
        Packet p;

        start_and_spawn(w, "svc", true, &result);
        packet_send(w->broker.server_fd, packet_number(&p, "EVIL", 0));
        expect(w, BROKER_END);
        assert_int_equal(w->broker.request.end.how, BROKER_END_CANCEL);
        broker_say(&w->broker, 0);
        broker_event_exit(&w->broker, BROKER_EVENT_ENDED, 1, BROKER_REASON_CANCELLED, CLD_KILLED, SIGKILL);
        turn(w);
        assert_int_equal(result.outcome.kind, OUTCOME_SERVER_FAILED);
        assert_null(strstr(result.outcome.text, "signal")); /* that was us */
}

static void test_spawn_fails(void **state) {
        World *w = *state;
        Result result;

        start(w, "svc", &result);
        expect(w, BROKER_CREATE);
        broker_agree(&w->broker, USER, true, true);
        expect(w, BROKER_SPAWN);
        BrokerReply reply = broker_reply_for(&w->broker, -ENOSPC);
        reply.stage = BROKER_STAGE_SANDBOX;
        broker_send(&w->broker, &reply, NULL, 0);
        expect_nothing(w); /* the broker takes it down by itself */
        end_event(w, 1, BROKER_REASON_FAILED);
        assert_int_equal(result.outcome.kind, OUTCOME_FAILED);
        assert_non_null(strstr(result.outcome.text, "making the sandbox"));
}

/* A broker that sends other descriptors than it should, or none. */
static void test_spawn_without_descriptors(void **state) {
        World *w = *state;
        Result result;

        start(w, "svc", &result);
        expect(w, BROKER_CREATE);
        broker_agree(&w->broker, USER, true, true);
        expect(w, BROKER_SPAWN);
        BrokerReply reply = broker_reply_for(&w->broker, 0);
        broker_send(&w->broker, &reply, &w->caller, 1);
        expect(w, BROKER_END);
        end_event(w, 1, BROKER_REASON_CANCELLED);
        assert_int_equal(result.outcome.kind, OUTCOME_FAILED);
}

static void test_client_goes(void **state) {
        World *w = *state;
        Result result;
        Mount *mount;

        mount = start(w, "svc", &result); /* before there is an id */
        mount_client_gone(mount);
        expect(w, BROKER_CREATE);
        broker_agree(&w->broker, USER, true, true);
        expect(w, BROKER_END);
        assert_int_equal(w->broker.request.end.how, BROKER_END_CANCEL);
        broker_say(&w->broker, 0);
        end_event(w, 1, BROKER_REASON_CANCELLED);
        assert_int_equal(w->manager->n_mounts, 0);

        mount = start_and_spawn(w, "svc", true, &result); /* in the conversation */
        mount_client_gone(mount);
        expect(w, BROKER_END);
        broker_say(&w->broker, 0);
        end_event(w, 2, BROKER_REASON_CANCELLED);
        w->broker.server_fd = fd_close(w->broker.server_fd);
        w->broker.stderr_fd = fd_close(w->broker.stderr_fd);

        mount = start_and_spawn(w, "plain", true, &result); /* while it is mounted; the reply is too late */
        expect(w, BROKER_MOUNT);
        FakeBroker mount_request = w->broker;
        mount_client_gone(mount);
        expect(w, BROKER_END);
        w->broker.request = mount_request.request;
        broker_agree(&w->broker, USER, false, true);
        end_event(w, 3, BROKER_REASON_CANCELLED);
        assert_int_equal(result.n, 0); /* nobody is told anything */
}

/* Each state's deadline: a broker or server that says nothing. */
static void test_deadlines(void **state) {
        World *w = *state;
        Result result;
        double took;

        start(w, "svc", &result); /* SPAWNING: Start=0.4 s */
        expect(w, BROKER_CREATE);
        broker_agree(&w->broker, USER, true, true);
        expect(w, BROKER_SPAWN);
        took = wait_for(w, NULL, 0.6);
        expect(w, BROKER_END);
        end_event(w, 1, BROKER_REASON_CANCELLED);
        assert_int_equal(result.outcome.kind, OUTCOME_SERVER_FAILED);
        assert_true(took >= 0.4);

        start_and_spawn(w, "svc", true, &result); /* TALKING: the same deadline goes on */
        (void) wait_for(w, NULL, 0.6);
        expect(w, BROKER_END);
        end_event(w, 2, BROKER_REASON_CANCELLED);
        assert_int_equal(result.outcome.kind, OUTCOME_SERVER_FAILED);
        assert_non_null(strstr(result.outcome.text, "Start=0.4 s"));
        w->broker.server_fd = fd_close(w->broker.server_fd);
        w->broker.stderr_fd = fd_close(w->broker.stderr_fd);

        start_and_spawn(w, "svc", true, &result); /* a server that hangs up and does not exit */
        w->broker.server_fd = fd_close(w->broker.server_fd);
        turn(w);
        expect_nothing(w);
        (void) wait_for(w, NULL, 0.7);
        expect(w, BROKER_END);
        end_event(w, 3, BROKER_REASON_CANCELLED);
        assert_int_equal(result.outcome.kind, OUTCOME_SERVER_FAILED);
        w->broker.stderr_fd = fd_close(w->broker.stderr_fd);

        start_and_spawn(w, "plain", true, &result); /* MOUNTING: Init=0.3 s is the broker's to enforce */
        expect(w, BROKER_MOUNT);
        BrokerReply reply = broker_reply_for(&w->broker, -ETIMEDOUT);
        reply.stage = BROKER_STAGE_INIT;
        broker_send(&w->broker, &reply, NULL, 0);
        turn(w);
        end_event(w, 4, BROKER_REASON_DEADLINE);
        assert_int_equal(result.outcome.kind, OUTCOME_SERVER_FAILED);
        assert_non_null(strstr(result.outcome.text, "FUSE_INIT: Init=0.3 s has passed"));
        assert_int_equal(broker_next(&w->broker), 1); /* an END that comes too late is no fault */
}

/* And where the broker does not act: the manager's own, with a margin of 5 s. */
static void test_deadline_of_mounting(void **state) {
        World *w = *state;
        Result result;
        double took;

        start_and_spawn(w, "plain", true, &result);
        expect(w, BROKER_MOUNT);
        took = 0;
        while (took < 7 && broker_next(&w->broker) == 0)
                took += wait_for(w, NULL, 0.2);
        assert_int_equal(w->broker.request.operation, BROKER_END);
        assert_true(took >= 5);
        end_event(w, 1, BROKER_REASON_CANCELLED);
        assert_int_equal(result.outcome.kind, OUTCOME_SERVER_FAILED);
        assert_non_null(strstr(result.outcome.text, "Init=0.3 s"));
}

static void test_adopt(void **state) {
        World *w = *state;
        BrokerEvent event = {
                .magic = BROKER_MAGIC,
                .kind = BROKER_EVENT_ADOPT | BROKER_EVENT_BIT,
                .mount_id = 12,
                .record = {.mount_id = 12,
                           .uid = USER,
                           .policy_generation = 1,
                           .type_index = TABLE_PLAIN,
                           .type_name = "plain",
                           .live_usec = 5,
                           .slots = {BROKER_SLOT_FILE}},
        };
        Result ended = {0};
        int pipe_fds[2];

        assert_int_equal(pipe(pipe_fds), 0);
        assert_int_equal(fd_send(w->broker.fd, &event, sizeof event, pipe_fds, 1), 0);
        event.mount_id = event.record.mount_id = 13;
        event.record.policy_generation = 0; /* from a table that is not known any more */
        assert_int_equal(fd_send(w->broker.fd, &event, sizeof event, pipe_fds, 1), 0);
        turn(w);
        fd_close_many(pipe_fds, 2);
        assert_int_equal(w->manager->n_mounts, 2);
        assert_int_equal(quota_usage(w->manager->quota, USER, QUOTA_MOUNTS), 2);
        assert_int_equal(quota_usage(w->manager->quota, USER, QUOTA_PENDING), 0);
        assert_string_equal(mount_type_name(mount_find(w->manager, 13)), "plain");
        assert_int_equal(mount_end(mount_find(w->manager, 13), BROKER_END_ABORT, on_outcome, &ended), 0);
        expect(w, BROKER_END);
        assert_int_equal(w->broker.request.end.how, BROKER_END_ABORT);
        broker_say(&w->broker, 0);
        end_event(w, 13, BROKER_REASON_ABORTED);
        assert_int_equal(ended.outcome.kind, OUTCOME_OK);
        end_event(w, 12, BROKER_REASON_UNMOUNTED);
}

/* A mount is ended by two at once, and by itself meanwhile. */
static void test_end_races(void **state) {
        World *w = *state;
        Result result, first = {0}, second = {0};

        make_live(w, &result);
        Mount *mount = mount_find(w->manager, 1);
        assert_int_equal(mount_end(mount, BROKER_END_UNMOUNT, on_outcome, &first), 0);
        assert_int_equal(mount_end(mount, BROKER_END_ABORT, on_outcome, &second), 0);
        expect(w, BROKER_END);
        broker_event_exit(&w->broker, BROKER_EVENT_SERVER_EXIT, 1, 0, CLD_EXITED, 0);
        broker_say(&w->broker, -ESHUTDOWN);
        expect(w, BROKER_END);
        broker_event_exit(&w->broker, BROKER_EVENT_ENDED, 1, BROKER_REASON_SERVER_EXIT, CLD_EXITED, 0);
        broker_say(&w->broker, -ESHUTDOWN); /* after the end: belongs to nobody any more */
        turn(w);
        assert_int_equal(first.n, 1);
        assert_int_equal(second.n, 1);
        assert_int_equal(first.outcome.kind, OUTCOME_OK);
}

static void test_transitions(void **state) {
        static const bool allowed[_MOUNT_STATE_MAX][_MOUNT_STATE_MAX] = {
                [MOUNT_CREATING] = {[MOUNT_SPAWNING] = true, [MOUNT_ENDING] = true},
                [MOUNT_SPAWNING] = {[MOUNT_TALKING] = true, [MOUNT_MOUNTING] = true, [MOUNT_ENDING] = true},
                [MOUNT_TALKING] = {[MOUNT_MOUNTING] = true, [MOUNT_ENDING] = true},
                [MOUNT_MOUNTING] = {[MOUNT_LIVE] = true, [MOUNT_ENDING] = true},
                [MOUNT_LIVE] = {[MOUNT_ENDING] = true},
        };

        for (MountState from = 0; from < _MOUNT_STATE_MAX; from++)
                for (MountState to = 0; to < _MOUNT_STATE_MAX; to++)
                        assert_int_equal(mount_state_may_follow(from, to), allowed[from][to]);
}

/* More requests than the socket takes are kept, in order, with their descriptors. */
static void test_full_socket(void **state) {
        World *w = *state;
        MountRequest request = request_with_source(w);
        Result result = {0};
        Outcome outcome;
        Mount *mount;
        int small = 1;

        setsockopt(w->broker.manager_fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        for (int i = 0; i < 8; i++)
                assert_int_equal(mount_start(w->manager, "plain", &request, 4242, w->caller, on_outcome, &result, &mount, &outcome), 0);
        for (int i = 0; i < 8; i++) {
                expect(w, BROKER_CREATE);
                assert_int_equal(w->broker.n_fds, 3);
                broker_say(&w->broker, -ENOMEM);
        }
        turn(w);
        assert_int_equal(result.n, 8);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_service_and_unmount),
                T(test_fd_hand_over),
                T(test_fd_without_sync_init),
                T(test_detached),
                T(test_refused_by_the_broker),
                T(test_refused_by_the_manager),
                T(test_quotas),
                T(test_server_exits_at_once),
                T(test_server_crashes_while_mounting),
                T(test_violation),
                T(test_spawn_fails),
                T(test_spawn_without_descriptors),
                T(test_client_goes),
                T(test_deadlines),
                T(test_deadline_of_mounting),
                T(test_adopt),
                T(test_end_races),
                T(test_transitions),
                T(test_full_socket),
        };

        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
