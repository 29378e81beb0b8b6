/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The control socket: real sd-bus clients and hostile ones, beside a fake broker, all in one loop. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <time.h>

#include "manager-broker.h"
#include "manager-table.h"
#include "manager/bus.h"
#include "manager/manager.h"
#include "manager/mount.h"
#include "manager/peer.h"

typedef struct World {
        sd_event *event;
        FakeBroker broker;
        Manager *manager;
        struct sockaddr_un address;
        socklen_t address_size;
        sd_bus *bus; /* a well-behaved client, connected all the time */
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
        while (sd_event_run(w->event, 1000) > 0)
                continue;
}

static void run_for(World *w, double seconds) {
        struct timespec start, t;

        clock_gettime(CLOCK_MONOTONIC, &start);
        do {
                (void) sd_event_run(w->event, 10000);
                clock_gettime(CLOCK_MONOTONIC, &t);
        } while ((double) (t.tv_sec - start.tv_sec) + (double) (t.tv_nsec - start.tv_nsec) / 1e9 < seconds);
}

static int raw_connect(World *w) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(connect(fd, (struct sockaddr *) &w->address, w->address_size), 0);
        return fd;
}

static sd_bus *bus_connect(World *w) {
        sd_bus *bus;
        int fd = raw_connect(w);

        assert_int_equal(fd_set_nonblock(fd, true), 0);
        assert_true(sd_bus_new(&bus) >= 0);
        assert_true(sd_bus_set_fd(bus, fd, fd) >= 0);
        assert_true(sd_bus_negotiate_fds(bus, true) >= 0);
        assert_true(sd_bus_start(bus) >= 0);
        assert_true(sd_bus_attach_event(bus, w->event, 0) >= 0);
        return bus;
}

static void bus_disconnect(sd_bus *bus) {
        sd_bus_close(bus);
        sd_bus_detach_event(bus);
        sd_bus_unref(bus);
}

static int setup(void **state) {
        World *w = calloc(1, sizeof *w);
        int fds[2];

        w->n_fds_before = count_fds();
        assert_int_equal(sd_event_new(&w->event), 0);
        broker_open(&w->broker);
        assert_int_equal(manager_new(w->event, w->broker.manager_fd, &w->manager), 0);
        fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        w->address.sun_family = AF_UNIX;
        assert_int_equal(bind(fds[0], (struct sockaddr *) &w->address, sizeof(sa_family_t)), 0); /* autobind: an abstract name */
        w->address_size = sizeof w->address;
        assert_int_equal(getsockname(fds[0], (struct sockaddr *) &w->address, &w->address_size), 0);
        assert_int_equal(listen(fds[0], 1024), 0);
        fds[1] = table_memfd();
        broker_event(&w->broker, BROKER_EVENT_START, 0, fds, 2);
        broker_event(&w->broker, BROKER_EVENT_ADOPTED, 0, NULL, 0);
        fd_close_many(fds, 2);
        turn(w);
        assert_non_null(w->manager->control);
        w->bus = bus_connect(w);
        turn(w);
        assert_int_equal(control_n_peers(w->manager->control), 1);
        *state = w;
        return 0;
}

static int teardown(void **state) {
        World *w = *state;

        bus_disconnect(w->bus);
        turn(w);
        assert_int_equal(control_n_peers(w->manager->control), 0);
        assert_int_equal(w->manager->n_mounts, 0);
        assert_int_equal(quota_n_users(w->manager->quota), 0);
        w->manager = manager_free(w->manager);
        broker_close(&w->broker);
        sd_event_unref(w->event);
        assert_int_equal(count_fds(), w->n_fds_before);
        free(w);
        return 0;
}

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        sd_bus_message **ret = userdata;

        *ret = sd_bus_message_ref(reply);
        return 1;
}

static sd_bus_message *new_call(sd_bus *bus, const char *member) {
        sd_bus_message *m;

        assert_true(sd_bus_message_new_method_call(bus, &m, NULL, BUS_OBJECT_PATH, BUS_INTERFACE, member) >= 0);
        return m;
}

/* Sends; *ret is set when the reply is there. Uses m up. */
static void send_call(sd_bus *bus, sd_bus_message *m, sd_bus_message **ret) {
        *ret = NULL;
        assert_true(sd_bus_call_async(bus, NULL, m, on_reply, ret, 0) >= 0);
        sd_bus_message_unref(m);
}

static sd_bus_message *ask(World *w, sd_bus_message *m) {
        sd_bus_message *reply;

        send_call(w->bus, m, &reply);
        turn(w);
        assert_non_null(reply);
        return reply;
}

static void assert_error(sd_bus_message *reply, const char *name, const char *text) {
        const sd_bus_error *error = sd_bus_message_get_error(reply);

        assert_non_null(error);
        assert_string_equal(error->name, name);
        if (text)
                assert_non_null(strstr(error->message, text));
        sd_bus_message_unref(reply);
}

/* The other client is served as ever. */
static void assert_alive(World *w) {
        sd_bus_message *reply = ask(w, new_call(w->bus, "ListTypes"));

        assert_int_equal(sd_bus_message_is_method_error(reply, NULL), 0);
        sd_bus_message_unref(reply);
}

static sd_bus_message *mount_call(World *w, sd_bus *bus, const char *type, int source) {
        sd_bus_message *m = new_call(bus, "Mount");

        if (source >= 0)
                assert_true(sd_bus_message_append(m, "sa{sv}", type, 3, "source", "h", source, "source-kind", "s",
                                                  "file", "options", "as", 1, "noatime") >= 0);
        else
                assert_true(sd_bus_message_append(m, "sa{sv}", type, 1, "source-name", "s", "x\xc3\xa4") >= 0);
        return m;
}

static void expect(World *w, BrokerOperation operation) {
        turn(w);
        assert_int_equal(broker_next(&w->broker), 1);
        assert_int_equal(w->broker.request.operation, operation);
}

static void test_lists_and_properties(void **state) {
        World *w = *state;
        sd_bus_message *m, *reply;
        const char *text;

        reply = ask(w, new_call(w->bus, "ListMounts"));
        assert_int_equal(sd_bus_message_is_method_error(reply, NULL), 0);
        assert_string_equal(sd_bus_message_get_signature(reply, true), "aa{sv}");
        sd_bus_message_unref(reply);
        reply = ask(w, new_call(w->bus, "ListTypes"));
        assert_true(sd_bus_message_enter_container(reply, 'a', "a{sv}") > 0);
        for (int i = 0; i < TABLE_N_TYPES; i++)
                assert_true(sd_bus_message_skip(reply, "a{sv}") > 0);
        assert_int_equal(sd_bus_message_at_end(reply, false), 1);
        sd_bus_message_unref(reply);

        static const char *const properties[] = {"Version", "Generation", "Limits", "Usage"};
        static const char *const types[] = {"s", "u", "a{st}", "a{st}"};
        for (size_t i = 0; i < ELEMENTSOF(properties); i++) {
                assert_true(sd_bus_message_new_method_call(w->bus, &m, NULL, BUS_OBJECT_PATH, "org.freedesktop.DBus.Properties", "Get") >= 0);
                assert_true(sd_bus_message_append(m, "ss", BUS_INTERFACE, properties[i]) >= 0);
                reply = ask(w, m);
                assert_true(sd_bus_message_enter_container(reply, 'v', types[i]) > 0);
                sd_bus_message_unref(reply);
        }
        assert_true(sd_bus_message_new_method_call(w->bus, &m, NULL, "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello") >= 0);
        reply = ask(w, m); /* what busctl begins with */
        assert_true(sd_bus_message_read(reply, "s", &text) > 0);
        sd_bus_message_unref(reply);
}

static void test_mount(void **state) {
        World *w = *state;
        sd_bus_message *m, *reply, *other;
        uint64_t id;
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        send_call(w->bus, mount_call(w, w->bus, "plain", fd), &reply);
        expect(w, BROKER_CREATE);
        assert_int_equal(w->broker.n_fds, 2); /* the client's socket, the source */
        assert_int_equal(w->broker.request.create.options, POLICY_OPTION_NOATIME);
        int type;
        assert_int_equal(getsockopt(w->broker.fds[0], SOL_SOCKET, SO_DOMAIN, &type, &(socklen_t){sizeof type}), 0);
        broker_agree(&w->broker, getuid(), false, true);
        expect(w, BROKER_SPAWN);
        broker_agree(&w->broker, getuid(), false, true);
        expect(w, BROKER_MOUNT);
        BrokerReply answer = broker_reply_for(&w->broker, 0);
        answer.record.flags = BROKER_CREATE_DETACHED;
        answer.record.uid = getuid();
        strcpy(answer.record.type_name, "plain");
        strcpy(answer.record.source_name, "im\xffg"); /* no UTF-8 */
        assert_null(reply);
        broker_send(&w->broker, &answer, &fd, 1);
        turn(w);
        assert_non_null(reply);
        assert_true(sd_bus_message_read(reply, "t", &id) > 0);
        assert_int_equal(id, 1);
        assert_true(sd_bus_message_enter_container(reply, 'a', "{sv}") > 0);
        int mount_fd;
        const char *key;
        assert_true(sd_bus_message_read(reply, "{sv}", &key, "h", &mount_fd) > 0);
        assert_string_equal(key, "mount");
        assert_true(fcntl(mount_fd, F_GETFD) >= 0);
        sd_bus_message_unref(reply);

        reply = ask(w, new_call(w->bus, "ListMounts"));
        assert_true(sd_bus_message_enter_container(reply, 'a', "a{sv}") > 0);
        assert_true(sd_bus_message_skip(reply, "a{sv}") > 0);
        sd_bus_message_unref(reply);

        m = new_call(w->bus, "GetMount");
        assert_true(sd_bus_message_append(m, "t", id) >= 0);
        send_call(w->bus, m, &reply);
        expect(w, BROKER_QUERY);
        answer = broker_reply_for(&w->broker, 0);
        answer.query.waiting = 3;
        broker_send(&w->broker, &answer, NULL, 0);
        turn(w);
        assert_int_equal(sd_bus_message_is_method_error(reply, NULL), 0);
        sd_bus_message_unref(reply);

        m = new_call(w->bus, "GetMount");
        assert_true(sd_bus_message_append(m, "t", (uint64_t) 99) >= 0);
        assert_error(ask(w, m), "org.fused1.Error.NoSuchMount", NULL);
        m = new_call(w->bus, "Unmount"); /* an id of 0 is no mount, whatever is being made */
        assert_true(sd_bus_message_append(m, "tb", (uint64_t) 0, 1) >= 0);
        assert_error(ask(w, m), "org.fused1.Error.NoSuchMount", NULL);

        m = new_call(w->bus, "Unmount");
        assert_true(sd_bus_message_append(m, "tb", id, 0) >= 0);
        send_call(w->bus, m, &other);
        expect(w, BROKER_END);
        broker_say(&w->broker, -EBUSY);
        turn(w);
        assert_error(other, "org.fused1.Error.Busy", NULL);
        m = new_call(w->bus, "Abort");
        assert_true(sd_bus_message_append(m, "t", id) >= 0);
        send_call(w->bus, m, &other);
        expect(w, BROKER_END);
        broker_say(&w->broker, 0);
        broker_event_exit(&w->broker, BROKER_EVENT_ENDED, id, BROKER_REASON_ABORTED, 0, 0);
        turn(w);
        assert_int_equal(sd_bus_message_is_method_error(other, NULL), 0);
        sd_bus_message_unref(other);
        fd_close(fd);
}

static void test_bad_calls(void **state) {
        World *w = *state;
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        sd_bus_message *m;

        m = new_call(w->bus, "Mount");
        assert_true(sd_bus_message_append(m, "sa{sv}", "plain", 1, "sauce", "s", "x") >= 0);
        assert_error(ask(w, m), SD_BUS_ERROR_INVALID_ARGS, "\"sauce\": unknown");
        m = new_call(w->bus, "Mount");
        assert_true(sd_bus_message_append(m, "sa{sv}", "plain", 1, "source", "s", "/etc/shadow") >= 0);
        assert_error(ask(w, m), SD_BUS_ERROR_INVALID_ARGS, "another type");
        m = new_call(w->bus, "Mount");
        assert_true(sd_bus_message_append(m, "sa{sv}", "plain", 2, "source", "h", fd, "source", "h", fd) >= 0);
        assert_error(ask(w, m), SD_BUS_ERROR_INVALID_ARGS, "twice");
        m = new_call(w->bus, "Mount");
        assert_true(sd_bus_message_append(m, "sa{sv}", "plain", 2, "source", "h", fd, "source-kind", "s", "socket") >= 0);
        assert_error(ask(w, m), SD_BUS_ERROR_INVALID_ARGS, "file, device or tree");
        m = new_call(w->bus, "Mount");
        assert_true(sd_bus_message_append(m, "sa{sv}", "plain", 1, "uid", "u", 0) >= 0); /* ExplainPolicy's */
        assert_error(ask(w, m), SD_BUS_ERROR_INVALID_ARGS, "unknown");
        m = new_call(w->bus, "Mount");
        assert_true(sd_bus_message_append(m, "sa{sv}", "plain", 1, "slots", "a{sh}", 1, "journal", fd) >= 0);
        assert_error(ask(w, m), "org.fused1.Error.Refused", "[slot-unknown] ");
        m = new_call(w->bus, "Mount");
        assert_true(sd_bus_message_append(m, "sa{sv}", "plain", 1, "slots", "a{sh}", 9, "a", fd, "b", fd, "c", fd, "d", fd, "e", fd, "f", fd,
                                          "g", fd, "h", fd, "i", fd) >= 0);
        assert_error(ask(w, m), SD_BUS_ERROR_INVALID_ARGS, "too many");
        m = new_call(w->bus, "Mount");
        char name[300];
        memset(name, 'n', sizeof name - 1);
        name[sizeof name - 1] = 0;
        assert_true(sd_bus_message_append(m, "sa{sv}", "plain", 1, "source-name", "s", name) >= 0);
        assert_error(ask(w, m), SD_BUS_ERROR_INVALID_ARGS, "longer");
        m = new_call(w->bus, "Mount");
        assert_true(sd_bus_message_append(m, "s", "plain") >= 0);
        assert_error(ask(w, m), SD_BUS_ERROR_INVALID_ARGS, NULL);
        m = new_call(w->bus, "Mount");
        assert_true(sd_bus_message_append(m, "sa{sv}", "none-such", 0) >= 0);
        assert_error(ask(w, m), "org.fused1.Error.Refused", "[no-such-type] ");
        assert_error(ask(w, new_call(w->bus, "Explode")), SD_BUS_ERROR_UNKNOWN_METHOD, NULL);
        assert_int_equal(broker_next(&w->broker), 0); /* the broker has heard of nothing */
        fd_close(fd);
}

static bool answer_says(sd_bus_message *reply, bool allowed, const char *refusal) {
        const char *key, *text;
        bool ok = true;
        int r, b;

        assert_int_equal(sd_bus_message_is_method_error(reply, NULL), 0);
        assert_true(sd_bus_message_enter_container(reply, 'a', "{sv}") > 0);
        while ((r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                assert_true(sd_bus_message_read(reply, "s", &key) > 0);
                if (strcmp(key, "allowed") == 0) {
                        assert_true(sd_bus_message_read(reply, "v", "b", &b) > 0);
                        ok = ok && b == allowed;
                } else if (strcmp(key, "refusal") == 0) {
                        assert_true(sd_bus_message_read(reply, "v", "s", &text) > 0);
                        ok = ok && strcmp(text, refusal) == 0;
                } else
                        assert_true(sd_bus_message_skip(reply, "v") > 0);
                assert_true(sd_bus_message_exit_container(reply) > 0);
        }
        sd_bus_message_unref(reply);
        return ok;
}

static void test_explain(void **state) {
        World *w = *state;
        sd_bus_message *m, *reply;
        BrokerReply answer;

        m = new_call(w->bus, "ExplainPolicy");
        assert_true(sd_bus_message_append(m, "sa{sv}", "none-such", 0) >= 0);
        assert_true(answer_says(ask(w, m), false, "no-such-type"));
        m = new_call(w->bus, "ExplainPolicy");
        assert_true(sd_bus_message_append(m, "sa{sv}", "off", 0) >= 0);
        assert_true(answer_says(ask(w, m), false, "type-disabled"));

        for (int i = 0; i < 2; i++) {
                m = new_call(w->bus, "ExplainPolicy");
                assert_true(sd_bus_message_append(m, "sa{sv}", "plain", 3, "uid", "u", getuid(), "gid", "u", 7, "groups", "au", 2, 8, 9) >= 0);
                send_call(w->bus, m, &reply);
                expect(w, BROKER_EXPLAIN);
                assert_int_equal(w->broker.request.explain.as_other, 1);
                assert_int_equal(w->broker.request.explain.n_groups, 2);
                assert_int_equal(w->broker.request.explain.groups[1], 9);
                answer = broker_reply_for(&w->broker, i ? -EACCES : 0);
                answer.refusal.refusal = i ? REFUSAL_NO_RULE : REFUSAL_NONE;
                answer.refusal.policy_generation = 1;
                broker_send(&w->broker, &answer, NULL, 0);
                turn(w);
                assert_true(answer_says(reply, i == 0, i ? "no-rule" : ""));
        }

        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        m = new_call(w->bus, "ExplainPolicy"); /* all slots, in the order of the type */
        assert_true(sd_bus_message_append(m, "sa{sv}", "svc", 3, "slots", "a{sh}", 1, "journal", fd, "source", "h", fd, "source-kind", "s",
                                          "device") >= 0);
        send_call(w->bus, m, &reply);
        expect(w, BROKER_EXPLAIN);
        assert_int_equal(w->broker.n_fds, 3);
        assert_int_equal(w->broker.request.explain.slots[0], BROKER_SLOT_DEVICE);
        assert_int_equal(w->broker.request.explain.slots[1], BROKER_SLOT_FILE);
        assert_int_equal(w->broker.request.explain.slots[2], BROKER_SLOT_EMPTY);
        answer = broker_reply_for(&w->broker, 0);
        broker_send(&w->broker, &answer, NULL, 0);
        turn(w);
        assert_true(answer_says(reply, true, ""));
        m = new_call(w->bus, "ExplainPolicy");
        assert_true(sd_bus_message_append(m, "sa{sv}", "svc", 1, "slots", "a{sh}", 1, "journal", fd) >= 0);
        assert_true(answer_says(ask(w, m), false, "slot-missing"));
        m = new_call(w->bus, "ExplainPolicy");
        assert_true(sd_bus_message_append(m, "sa{sv}", "svc", 2, "slots", "a{sh}", 1, "other", fd, "source", "h", fd) >= 0);
        assert_true(answer_says(ask(w, m), false, "slot-unknown"));
        fd_close(fd);
}

/* The client dies while its mount is being made. */
static void test_client_death(void **state) {
        World *w = *state;
        sd_bus_message *reply;

        for (int step = 0; step < 3; step++) {
                sd_bus *bus = bus_connect(w);
                turn(w);
                send_call(bus, mount_call(w, bus, "plain", -EBADF), &reply);
                expect(w, BROKER_CREATE);
                if (step >= 1) {
                        broker_agree(&w->broker, getuid(), false, true);
                        expect(w, BROKER_SPAWN);
                }
                if (step >= 2) {
                        broker_agree(&w->broker, getuid(), false, true);
                        expect(w, BROKER_MOUNT);
                }
                bus_disconnect(bus);
                sd_bus_message_unref(reply);
                turn(w);
                if (step == 0)
                        broker_agree(&w->broker, getuid(), false, true);
                expect(w, BROKER_END);
                assert_int_equal(w->broker.request.end.how, BROKER_END_CANCEL);
                broker_event_exit(&w->broker, BROKER_EVENT_ENDED, w->broker.next_id, BROKER_REASON_CANCELLED, 0, 0);
                turn(w);
                assert_int_equal(w->manager->n_mounts, 0);
                w->broker.stderr_fd = fd_close(w->broker.stderr_fd);
                w->broker.server_fd = fd_close(w->broker.server_fd);
        }
}

typedef struct News {
        char members[16][16];
        size_t n;
} News;

static int on_news(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        News *news = userdata;

        if (!sd_bus_message_is_signal(message, BUS_INTERFACE, NULL))
                return 0;
        assert_string_equal(sd_bus_message_get_signature(message, true), "a{sv}");
        assert_true(news->n < ELEMENTSOF(news->members));
        (void) snprintf(news->members[news->n++], sizeof news->members[0], "%s", sd_bus_message_get_member(message));
        return 1;
}

/* A mount of the well-behaved client, without a mount point. */
static uint64_t make_live(World *w) {
        sd_bus_message *reply;
        uint64_t id;

        send_call(w->bus, mount_call(w, w->bus, "plain", -EBADF), &reply);
        expect(w, BROKER_CREATE);
        broker_agree(&w->broker, getuid(), false, true);
        expect(w, BROKER_SPAWN);
        broker_agree(&w->broker, getuid(), false, true);
        expect(w, BROKER_MOUNT);
        BrokerReply answer = broker_reply_for(&w->broker, 0);
        answer.record.flags = BROKER_CREATE_DETACHED;
        answer.record.uid = getuid();
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        broker_send(&w->broker, &answer, &fd, 1);
        fd_close(fd);
        turn(w);
        assert_non_null(reply);
        assert_true(sd_bus_message_read(reply, "t", &id) > 0);
        sd_bus_message_unref(reply);
        return id;
}

static void end_mount(World *w, uint64_t id) {
        broker_event_exit(&w->broker, BROKER_EVENT_ENDED, id, BROKER_REASON_UNMOUNTED, 0, 0);
        turn(w);
        assert_int_equal(w->manager->n_mounts, 0);
        w->broker.stderr_fd = fd_close(w->broker.stderr_fd);
        w->broker.server_fd = fd_close(w->broker.server_fd);
}

static void test_news(void **state) {
        static const char *const expected[] = {"MountAdded", "MountChanged", "MountChanged", "MountRemoved"};
        World *w = *state;
        sd_bus *subscriber = bus_connect(w), *other = bus_connect(w);
        News news = {0}, none = {0};
        sd_bus_message *reply;

        assert_true(sd_bus_add_filter(subscriber, NULL, on_news, &news) >= 0);
        assert_true(sd_bus_add_filter(other, NULL, on_news, &none) >= 0);
        turn(w);
        send_call(subscriber, new_call(subscriber, "Subscribe"), &reply);
        turn(w);
        assert_int_equal(sd_bus_message_is_method_error(reply, NULL), 0);
        sd_bus_message_unref(reply);
        end_mount(w, make_live(w));
        assert_int_equal(news.n, ELEMENTSOF(expected));
        for (size_t i = 0; i < ELEMENTSOF(expected); i++)
                assert_string_equal(news.members[i], expected[i]);
        assert_int_equal(none.n, 0); /* who has not asked is not told */
        bus_disconnect(subscriber);
        bus_disconnect(other);
        turn(w);
        assert_alive(w);
}

/* QueryMounts: one answer when the broker has said all; who leaves meanwhile, and a mount that ends meanwhile, leave nothing. */
static void test_survey(void **state) {
        World *w = *state;
        uint64_t id = make_live(w);
        sd_bus_message *reply;
        sd_bus *bus;

        send_call(w->bus, new_call(w->bus, "QueryMounts"), &reply);
        expect(w, BROKER_QUERY);
        assert_int_equal(w->broker.request.mount_id, id);
        assert_null(reply);
        broker_say(&w->broker, 0);
        turn(w);
        assert_non_null(reply);
        assert_true(sd_bus_message_enter_container(reply, 'a', "a{sv}") > 0);
        assert_true(sd_bus_message_skip(reply, "a{sv}") > 0);
        assert_int_equal(sd_bus_message_at_end(reply, false), 1);
        sd_bus_message_unref(reply);

        bus = bus_connect(w);
        turn(w);
        send_call(bus, new_call(bus, "QueryMounts"), &reply);
        expect(w, BROKER_QUERY);
        bus_disconnect(bus);
        sd_bus_message_unref(reply);
        turn(w);
        broker_say(&w->broker, 0);
        turn(w);

        send_call(w->bus, new_call(w->bus, "QueryMounts"), &reply);
        expect(w, BROKER_QUERY);
        broker_event_exit(&w->broker, BROKER_EVENT_ENDED, id, BROKER_REASON_UNMOUNTED, 0, 0);
        broker_say(&w->broker, -ENOENT);
        turn(w);
        assert_non_null(reply);
        assert_true(sd_bus_message_enter_container(reply, 'a', "a{sv}") > 0);
        assert_int_equal(sd_bus_message_at_end(reply, false), 1);
        sd_bus_message_unref(reply);
        w->broker.stderr_fd = fd_close(w->broker.stderr_fd);
        w->broker.server_fd = fd_close(w->broker.server_fd);
        reply = ask(w, new_call(w->bus, "Statistics"));
        assert_int_equal(sd_bus_message_is_method_error(reply, NULL), 0);
        assert_string_equal(sd_bus_message_get_signature(reply, true), "aa{sv}a(ua{st}a{st})");
        sd_bus_message_unref(reply);
}

static void test_calls_in_flight(void **state) {
        World *w = *state;
        sd_bus_message *replies[PEER_CALLS_MAX + 1] = {NULL}, *m;
        BrokerEvent event = {.magic = BROKER_MAGIC,
                             .kind = BROKER_EVENT_ADOPT | BROKER_EVENT_BIT,
                             .record = {.mount_id = 5, .uid = getuid(), .policy_generation = 1, .live_usec = 1}};

        (void) event;
        for (size_t i = 0; i < ELEMENTSOF(replies); i++) {
                m = new_call(w->bus, "ExplainPolicy");
                assert_true(sd_bus_message_append(m, "sa{sv}", "plain", 0) >= 0);
                send_call(w->bus, m, &replies[i]);
        }
        turn(w);
        assert_error(replies[PEER_CALLS_MAX], SD_BUS_ERROR_LIMITS_EXCEEDED, NULL);
        for (size_t i = 0; i < PEER_CALLS_MAX; i++) {
                expect(w, BROKER_EXPLAIN);
                broker_say(&w->broker, -EIO);
        }
        turn(w);
        for (size_t i = 0; i < PEER_CALLS_MAX; i++)
                assert_error(replies[i], "org.fused1.Error.Failed", NULL);
}

/* ---- hostile clients ------------------------------------------------------------------------------------------------ */

static const char auth[] = "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";

static bool is_closed(int fd) {
        char buffer[4096];
        ssize_t n;

        while ((n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) > 0)
                continue;
        return n == 0 || errno == ECONNRESET;
}

static int raw_authenticated(World *w) {
        int fd = raw_connect(w);
        char buffer[512];

        assert_int_equal(send(fd, auth, sizeof auth - 1, MSG_NOSIGNAL), sizeof auth - 1);
        turn(w);
        assert_true(recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0);
        return fd;
}

/* A whole ListTypes call as bytes. */
static size_t raw_call(World *w, uint8_t *buffer, size_t size, uint32_t body) {
        static const uint8_t head[] = {'l', 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
                                       1, 1, 'o', 0, 1, 0, 0, 0, '/', 0, 0, 0, 0, 0, 0, 0,
                                       3, 1, 's', 0, 4, 0, 0, 0, 'P', 'i', 'n', 'g', 0, 0, 0, 0};
        const uint32_t fields = 29;

        memset(buffer, 0, size);
        memcpy(buffer, head, sizeof head);
        memcpy(buffer + 4, &body, 4);
        memcpy(buffer + 12, &fields, 4);
        return sizeof head;
}

static void test_garbage(void **state) {
        World *w = *state;
        static uint8_t noise[65536];
        int fd;

        memset(noise, 0xa5, sizeof noise);
        fd = raw_connect(w); /* instead of authenticating */
        (void) send(fd, noise, sizeof noise, MSG_NOSIGNAL | MSG_DONTWAIT);
        turn(w);
        assert_true(is_closed(fd));
        fd_close(fd);

        fd = raw_authenticated(w); /* instead of a message */
        (void) send(fd, noise, sizeof noise, MSG_NOSIGNAL | MSG_DONTWAIT);
        turn(w);
        assert_true(is_closed(fd));
        fd_close(fd);

        fd = raw_authenticated(w); /* a message of 100 MiB */
        raw_call(w, noise, sizeof noise, 100U << 20);
        (void) send(fd, noise, 4096, MSG_NOSIGNAL | MSG_DONTWAIT);
        turn(w);
        assert_true(is_closed(fd));
        fd_close(fd);

        fd = raw_connect(w); /* the same behind BEGIN, in one write */
        memcpy(noise, auth, sizeof auth - 1);
        raw_call(w, noise + sizeof auth - 1, 4096, 100U << 20);
        (void) send(fd, noise, 4096, MSG_NOSIGNAL | MSG_DONTWAIT);
        turn(w);
        assert_true(is_closed(fd));
        fd_close(fd);
        assert_int_equal(control_n_peers(w->manager->control), 1);
        assert_alive(w);
}

static void test_half_a_message(void **state) {
        World *w = *state;
        uint8_t call[512];
        size_t size = raw_call(w, call, sizeof call, 64);
        int half, byte, whole, silent;

        half = raw_authenticated(w);
        assert_int_equal(send(half, call, size, MSG_NOSIGNAL), size); /* the body does not come */
        byte = raw_authenticated(w);
        assert_int_equal(send(byte, call, 1, MSG_NOSIGNAL), 1);
        silent = raw_connect(w);
        whole = raw_authenticated(w); /* idle is no crime */
        turn(w);
        assert_false(is_closed(half));
        assert_false(is_closed(byte));
        assert_false(is_closed(silent));
        run_for(w, 5.3);
        assert_true(is_closed(half));
        assert_true(is_closed(byte));
        assert_true(is_closed(silent)); /* has not authenticated */
        assert_false(is_closed(whole));
        size = raw_call(w, call, sizeof call, 0);
        assert_int_equal(send(whole, call, size, MSG_NOSIGNAL), size); /* and is still served: an error, as "/" has no such method */
        turn(w);
        char answer[512];
        assert_true(recv(whole, answer, sizeof answer, MSG_DONTWAIT) > 0);
        fd_close(half);
        fd_close(byte);
        fd_close(silent);
        fd_close(whole);
        turn(w);
        assert_alive(w);
}

/* More descriptors than a message says, or more than any call names. */
static void test_descriptors(void **state) {
        World *w = *state;
        size_t before = count_fds();
        int many[253], fd, dev_null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof many)];
        } control = {0};
        uint8_t call[512];
        struct iovec iov = {.iov_base = call, .iov_len = raw_call(w, call, sizeof call, 0)};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        sd_bus_message *m;

        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof many);
        for (size_t i = 0; i < ELEMENTSOF(many); i++)
                many[i] = dev_null;
        memcpy(CMSG_DATA(header), many, sizeof many);
        fd = raw_authenticated(w);
        assert_true(sendmsg(fd, &message, MSG_NOSIGNAL) > 0);
        turn(w);
        assert_true(is_closed(fd));
        fd_close(fd);

        sd_bus *bus = bus_connect(w); /* properly declared: nine */
        turn(w);
        assert_true(sd_bus_message_new_method_call(bus, &m, NULL, BUS_OBJECT_PATH, BUS_INTERFACE, "Mount") >= 0);
        assert_true(sd_bus_message_append(m, "ahs", 9, dev_null, dev_null, dev_null, dev_null, dev_null, dev_null,
                                          dev_null, dev_null, dev_null, "x") >= 0);
        sd_bus_message *reply = NULL;
        send_call(bus, m, &reply);
        turn(w);
        assert_int_equal(control_n_peers(w->manager->control), 1);
        bus_disconnect(bus);
        sd_bus_message_unref(reply);
        fd_close(dev_null);
        assert_int_equal(count_fds(), before);
        assert_alive(w);
}

static void test_many_connections(void **state) {
        World *w = *state;
        uint32_t limit = getuid() == 0 ? PEERS_OF_ROOT_MAX : PEERS_PER_USER_MAX;
        int *fds = calloc(limit + 50, sizeof *fds);
        uint32_t n_closed = 0;

        for (uint32_t i = 0; i < limit + 50; i++) {
                fds[i] = raw_connect(w);
                if (i % 32 == 0)
                        turn(w);
        }
        turn(w);
        assert_int_equal(control_n_peers(w->manager->control), limit);
        assert_alive(w);
        for (uint32_t i = 0; i < limit + 50; i++) {
                n_closed += is_closed(fds[i]);
                fd_close(fds[i]);
        }
        assert_int_equal(n_closed, 51); /* the good client is counted */
        free(fds);
        turn(w);
        assert_int_equal(control_n_peers(w->manager->control), 1);
        for (int i = 0; i < 2000; i++) { /* one after the other */
                int fd = raw_connect(w);
                (void) send(fd, auth, (size_t) i % sizeof auth, MSG_NOSIGNAL); /* death at every step of authentication */
                fd_close(fd);
                if (i % 16 == 0)
                        turn(w);
        }
        turn(w);
        assert_int_equal(control_n_peers(w->manager->control), 1);
        assert_alive(w);
}

/* A client that asks and does not read. */
static void test_unread_replies(void **state) {
        World *w = *state;
        int fd = raw_authenticated(w), one = 1;
        uint8_t call[512];
        size_t size = raw_call(w, call, sizeof call, 0);
        int n = 0;

        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &one, sizeof one);
        for (; n < 100000; n++) {
                uint32_t serial = (uint32_t) n + 2;
                memcpy(call + 8, &serial, 4);
                if (send(fd, call, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
                        break;
                if (n % 16 == 0)
                        turn(w);
        }
        assert_true(n < 100000);
        fd_close(fd);
        turn(w);
        assert_int_equal(control_n_peers(w->manager->control), 1);
        assert_alive(w);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_lists_and_properties), T(test_mount), T(test_bad_calls), T(test_explain), T(test_client_death), T(test_calls_in_flight),
                T(test_news), T(test_survey),
                T(test_garbage), T(test_half_a_message), T(test_descriptors), T(test_many_connections), T(test_unread_replies),
        };

        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
