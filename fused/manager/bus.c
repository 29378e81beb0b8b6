/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The methods of org.fused1.Manager but ExplainPolicy. See bus.h. Methods that must ask the broker set the call aside and
 * answer from a callback; everything is checked against the identity of the peer. */

#include "manager/bus.h"

#include <string.h>

#include "base/fd.h"
#include "base/log.h"

#define QUERY_USEC (10 * USEC_PER_SEC)

static int refuse(sd_bus_message *message, OutcomeKind kind, const char *text) {
        Outcome outcome;

        outcome_set(&outcome, kind, "%s", text);
        return peer_reply_outcome(message, &outcome);
}

/* Sets the message aside. Returns 0, or > 0 after having answered that it cannot. */
static int set_aside(Peer *peer, sd_bus_message *message, Call **ret) {
        int r = call_new(peer, message, ret);

        if (r >= 0)
                return 0;
        (void) refuse(message, r == -EBUSY ? OUTCOME_LIMITS : OUTCOME_FAILED,
                      r == -EBUSY ? "too many calls wait for an answer on this connection" : strerror(-r));
        return 1;
}

/* ---- Mount ---------------------------------------------------------------------------------------------------------- */

static int append_mount_result(sd_bus_message *reply, uint64_t id, int mount_fd) {
        int r;

        r = sd_bus_message_append(reply, "t", id);
        if (r < 0)
                return r;
        return mount_fd < 0 ? sd_bus_message_append(reply, "a{sv}", 0) : sd_bus_message_append(reply, "a{sv}", 1, "mount", "h", mount_fd);
}

static void on_mount_outcome(void *userdata, const Outcome *outcome, const Mount *mount, int *mount_fd) {
        sd_bus_message *reply = NULL;
        Call *call = userdata;
        int r;

        call_set_mount(call, NULL);
        if (outcome->kind != OUTCOME_OK)
                return call_fail(call, outcome);
        r = call_new_reply(call, &reply);
        if (r >= 0)
                r = append_mount_result(reply, mount->record.mount_id, mount_fd && mount->record.flags & BROKER_CREATE_DETACHED ? *mount_fd : -EBADF);
        if (r < 0) {
                Outcome failed;
                (void) sd_bus_message_unref(reply);
                outcome_set(&failed, OUTCOME_FAILED, "mounted, but the answer cannot be made: %s", strerror(-r));
                return call_fail(call, &failed);
        }
        call_send(call, reply);
}

static int method_mount(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Peer *peer = userdata;
        MountRequest request;
        const char *type_name;
        Outcome outcome;
        Mount *mount;
        Call *call;
        int r;

        r = sd_bus_message_read_basic(message, 's', &type_name);
        if (r < 0)
                return r;
        r = request_parse(message, REQUEST_MOUNT, &request, &outcome);
        if (r < 0)
                return peer_reply_outcome(message, &outcome);
        r = set_aside(peer, message, &call);
        if (r > 0)
                return r;
        r = mount_start(peer_manager(peer), type_name, &request, peer_uid(peer), peer_fd(peer), on_mount_outcome, call, &mount, &outcome);
        if (r < 0)
                call_fail(call, &outcome);
        else {
                call_set_mount(call, mount);
                mount->prepared_by = request.channel_fd >= 0 ? peer : NULL;
        }
        return 1;
}

/* ---- Unmount, Abort ------------------------------------------------------------------------------------------------- */

/* The mount of that id if the peer may know of it; else answers, and returns NULL. */
static Mount *own_mount(Peer *peer, sd_bus_message *message, uint64_t id) {
        Mount *mount = mount_find(peer_manager(peer), id);
        Outcome outcome;

        if (mount && peer_may_see(peer, mount))
                return mount;
        outcome_set(&outcome, OUTCOME_NO_SUCH_MOUNT, "no mount of yours has the id %llu", (unsigned long long) id);
        (void) peer_reply_outcome(message, &outcome);
        return NULL;
}

static int method_attach(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Peer *peer = userdata;
        Outcome outcome;
        uint64_t id;
        Mount *mount;
        Call *call;
        int r;

        r = sd_bus_message_read(message, "t", &id);
        if (r < 0)
                return r;
        mount = own_mount(peer, message, id);
        if (!mount)
                return 1;
        if (!mount_is_prepared(mount) || mount->prepared_by != peer)
                return refuse(message, OUTCOME_INVALID, "this mount is not one that this connection has prepared");
        r = set_aside(peer, message, &call);
        if (r > 0)
                return r;
        r = mount_attach(mount, on_mount_outcome, call, &outcome);
        if (r < 0)
                call_fail(call, &outcome);
        else
                call_set_mount(call, mount);
        return 1;
}

static void on_end_outcome(void *userdata, const Outcome *outcome, const Mount *mount, int *mount_fd) {
        sd_bus_message *reply = NULL;
        Call *call = userdata;

        if (outcome->kind != OUTCOME_OK)
                return call_fail(call, outcome);
        if (call_new_reply(call, &reply) < 0)
                return (void) call_free(call); /* nobody is there to hear it */
        call_send(call, reply);
}

static int end(sd_bus_message *message, Peer *peer, uint64_t id, BrokerEndHow how) {
        Mount *mount = own_mount(peer, message, id);
        Outcome outcome;
        Call *call;
        int r;

        if (!mount)
                return 1;
        r = set_aside(peer, message, &call);
        if (r > 0)
                return r;
        r = mount_end(mount, how, on_end_outcome, call);
        if (r < 0) {
                outcome_set(&outcome, OUTCOME_FAILED, "the broker cannot be asked: %s", strerror(-r));
                call_fail(call, &outcome);
        }
        return 1;
}

static int method_unmount(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        uint64_t id;
        int lazy, r;

        r = sd_bus_message_read(message, "tb", &id, &lazy);
        return r < 0 ? r : end(message, userdata, id, lazy ? BROKER_END_LAZY : BROKER_END_UNMOUNT);
}

static int method_abort(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        uint64_t id;
        int r;

        r = sd_bus_message_read(message, "t", &id);
        return r < 0 ? r : end(message, userdata, id, BROKER_END_ABORT);
}

/* ---- lists ---------------------------------------------------------------------------------------------------------- */

static int method_subscribe(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        peer_subscribe(userdata);
        return sd_bus_reply_method_return(message, NULL);
}

static int append_own_mounts(sd_bus_message *reply, const Peer *peer) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        if (r < 0)
                return r;
        for (const Mount *mount = peer_manager(peer)->mounts; mount; mount = mount->next) {
                if (mount->record.mount_id == 0 || !peer_may_see(peer, mount))
                        continue;
                r = bus_append_mount(reply, mount, NULL);
                if (r < 0)
                        return r;
        }
        return sd_bus_message_close_container(reply);
}

static int method_list_mounts(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = append_own_mounts(reply, userdata);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_list_types(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = bus_append_types(reply, policy_table(peer_manager(userdata)->policy));
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_list_programs(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = bus_append_programs(reply, policy_table(peer_manager(userdata)->policy));
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static void on_query(void *userdata, const BrokerReply *query, int *fds, size_t n_fds) {
        Call *call = userdata;
        Peer *peer = call_peer(call);
        sd_bus_message *reply = NULL;
        Outcome outcome;
        int r;

        if (!peer)
                return (void) call_free(call);
        const Mount *mount = mount_find(peer_manager(peer), query->mount_id);
        if (!mount) {
                outcome_set(&outcome, OUTCOME_NO_SUCH_MOUNT, "mount %llu has just ended", (unsigned long long) query->mount_id);
                return call_fail(call, &outcome);
        }
        r = call_new_reply(call, &reply);
        if (r >= 0)
                r = bus_append_mount(reply, mount, query->error == 0 ? &query->query : NULL);
        if (r < 0) {
                (void) sd_bus_message_unref(reply);
                outcome_set(&outcome, OUTCOME_FAILED, "the answer cannot be made: %s", strerror(-r));
                return call_fail(call, &outcome);
        }
        call_send(call, reply);
}

static int method_get_mount(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Peer *peer = userdata;
        BrokerRequest request = {0};
        Mount *mount;
        Call *call;
        int r;

        r = sd_bus_message_read(message, "t", &request.mount_id);
        if (r < 0)
                return r;
        mount = own_mount(peer, message, request.mount_id);
        if (!mount)
                return 1;
        r = set_aside(peer, message, &call);
        if (r > 0)
                return r;
        r = broker_client_call(peer_manager(peer)->broker, &request, BROKER_QUERY, NULL, 0, QUERY_USEC, on_query, call, NULL);
        if (r < 0) {
                Outcome outcome;
                outcome_set(&outcome, OUTCOME_FAILED, "the broker cannot be asked: %s", strerror(-r));
                call_fail(call, &outcome);
        }
        return 1;
}

/* ---- properties ----------------------------------------------------------------------------------------------------- */

static int property_get_version(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply, void *userdata,
                                sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", FUSED_VERSION);
}

static int property_get_generation(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply, void *userdata,
                                   sd_bus_error *error) {
        return sd_bus_message_append(reply, "u", policy_generation(peer_manager(userdata)->policy));
}

static int property_get_limits(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply, void *userdata,
                               sd_bus_error *error) {
        return bus_append_limits(reply, policy_table(peer_manager(userdata)->policy), peer_uid(userdata));
}

static int property_get_usage(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply, void *userdata,
                              sd_bus_error *error) {
        return bus_append_usage(reply, peer_manager(userdata)->quota, peer_uid(userdata));
}

/* Unprivileged means: sd-bus does not ask for the sender's capabilities; who may do what is decided above. */
static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Mount", SD_BUS_ARGS("s", type, "a{sv}", properties), SD_BUS_RESULT("t", id, "a{sv}", result), method_mount,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Attach", SD_BUS_ARGS("t", id), SD_BUS_RESULT("t", id, "a{sv}", result), method_attach, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Unmount", SD_BUS_ARGS("t", id, "b", lazy), SD_BUS_NO_RESULT, method_unmount, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Abort", SD_BUS_ARGS("t", id), SD_BUS_NO_RESULT, method_abort, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListMounts", SD_BUS_NO_ARGS, SD_BUS_RESULT("aa{sv}", mounts), method_list_mounts, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("QueryMounts", SD_BUS_NO_ARGS, SD_BUS_RESULT("aa{sv}", mounts), bus_method_query_mounts,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Statistics", SD_BUS_NO_ARGS, SD_BUS_RESULT("aa{sv}", types, "a(ua{st}a{st})", users), bus_method_statistics,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Subscribe", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_subscribe, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetMount", SD_BUS_ARGS("t", id), SD_BUS_RESULT("a{sv}", mount), method_get_mount, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListTypes", SD_BUS_NO_ARGS, SD_BUS_RESULT("aa{sv}", types), method_list_types, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListPrograms", SD_BUS_NO_ARGS, SD_BUS_RESULT("aa{sv}", programs), method_list_programs, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ExplainPolicy", SD_BUS_ARGS("s", type, "a{sv}", properties), SD_BUS_RESULT("a{sv}", answer), bus_method_explain,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("MountAdded", SD_BUS_ARGS("a{sv}", mount), 0),
        SD_BUS_SIGNAL_WITH_ARGS("MountChanged", SD_BUS_ARGS("a{sv}", mount), 0),
        SD_BUS_SIGNAL_WITH_ARGS("MountRemoved", SD_BUS_ARGS("a{sv}", mount), 0),
        SD_BUS_PROPERTY("Version", "s", property_get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Generation", "u", property_get_generation, 0, 0),
        SD_BUS_PROPERTY("Limits", "a{st}", property_get_limits, 0, 0),
        SD_BUS_PROPERTY("Usage", "a{st}", property_get_usage, 0, 0),
        SD_BUS_VTABLE_END,
};

int bus_add_objects(sd_bus *bus, Peer *peer) {
        return sd_bus_add_object_vtable(bus, NULL, BUS_OBJECT_PATH, BUS_INTERFACE, manager_vtable, peer);
}
