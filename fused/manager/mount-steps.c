/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mount's way up: CREATE, SPAWN, the conversation with the server, MOUNT. Each step begins in the handler of the one before. */

#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "manager/mount-internal.h"
#include "manager/refusal.h"

#define REPLY_MARGIN_USEC (30 * USEC_PER_SEC) /* beyond the state's own deadline, which acts first */
#define EXIT_GRACE_USEC (500 * USEC_PER_MSEC) /* a server that hung up is about to exit: its status says more */

static void on_created(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds);
static void on_spawned(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds);
static void on_mounted(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds);
static void ask_for_plain_mount(Mount *mount);
static void await_attach(Mount *mount);

int mount_step_create(Mount *mount, const BrokerCreate *create, const int *fds, size_t n_fds) {
        BrokerRequest request = {.create = *create};

        return broker_client_call(mount->manager->broker, &request, BROKER_CREATE, fds, n_fds, 2 * REPLY_MARGIN_USEC,
                                  on_created, mount, &mount->call);
}

/* The words for a step of the broker that failed. */
static void compose_broker_failure(const Mount *mount, const BrokerReply *reply, Outcome *outcome) {
        bool refused = reply->error == -EACCES && reply->refusal.refusal != REFUSAL_NONE;
        const PolicyTable *table = mount->policy && reply->refusal.policy_generation == policy_generation(mount->policy)
                                           ? policy_table(mount->policy)
                                           : NULL;

        if (refused)
                refusal_compose(outcome, table, mount->type, &reply->refusal);
        else if (reply->error == -ESTALE)
                outcome_set(outcome, OUTCOME_FAILED, "the policy has changed meanwhile; try again");
        else if (reply->error == -ETIMEDOUT && reply->stage == BROKER_STAGE_INIT)
                outcome_set(outcome, OUTCOME_SERVER_FAILED, "Init=%.1f s has passed", (double) mount->type->init_usec / (double) USEC_PER_SEC);
        else if (reply->stage == BROKER_STAGE_NONE)
                outcome_set(outcome, OUTCOME_FAILED, "%s: %s",
                            broker_operation_to_string((BrokerOperation) reply->operation), strerror(-reply->error));
        else
                outcome_set(outcome, OUTCOME_FAILED, "%s: %s", broker_stage_to_string((BrokerStage) reply->stage), strerror(-reply->error));
}

/* CREATE came to nothing. If it got as far as an id, everything is given back only with the ENDED event. */
static void creation_failed(Mount *mount, const BrokerReply *reply) {
        Outcome outcome;

        compose_broker_failure(mount, reply, &outcome);
        if (reply->mount_id != 0 && reply->error != -ETIMEDOUT) {
                mount->record.mount_id = reply->mount_id;
                if (mount->failure) /* who asked has been told or has gone */
                        mount_enter_state(mount, MOUNT_ENDING);
                else {
                        mount_enter_state(mount, MOUNT_SPAWNING); /* for a moment: what fails with an id waits for its end */
                        mount_fail(mount, MOUNT_BROKER_ENDS_IT, outcome.kind, "%s", outcome.text);
                }
                mount->end_sent = true;
                return;
        }
        mount_log(mount, LOG_LEVEL_NOTICE, outcome_to_string(outcome.kind), outcome.text);
        mount_tell_client(mount, &outcome, NULL);
        mount_free(mount);
}

/* Where the kernel answers FUSE_INIT asynchronously (before Linux 6.18), a program that gets the device itself is started only
 * once there is a superblock: it would read too early. */
static bool mounts_first(const Mount *mount) {
        return policy_has_agent(mount->type) && !mount->record.sync_init;
}

static void ask_for_server(Mount *mount) {
        BrokerRequest request = {.mount_id = mount->record.mount_id};
        int r;

        r = broker_client_call(mount->manager->broker, &request, BROKER_SPAWN, NULL, 0,
                               mount->type->start_usec + REPLY_MARGIN_USEC, on_spawned, mount, &mount->spawn_call);
        if (r < 0)
                mount_fail(mount, 0, OUTCOME_FAILED, "the broker cannot be asked: %s", strerror(-r));
}

/* ---- hand-over caller ----------------------------------------------------------------------------------------------- */

/* The caller has its device; what it does with that before it wants the mount is its own affair, for so long as Start= says. */
static void await_attach(Mount *mount) {
        Outcome outcome;

        mount_enter_state(mount, MOUNT_TALKING);
        mount_note(mount, "the device was sent");
        outcome_set(&outcome, OUTCOME_OK, "prepared");
        mount_tell_client(mount, &outcome, NULL);
}

bool mount_is_prepared(const Mount *mount) {
        return mount->state == MOUNT_TALKING && mount->type && mount->type->hand_over == POLICY_HAND_OVER_CALLER && !mount->client;
}

int mount_attach(Mount *mount, mount_outcome_t on_outcome, void *userdata, Outcome *outcome) {
        mount->client = mount_waiter_new(mount, on_outcome, userdata);
        if (!mount->client) {
                outcome_set(outcome, OUTCOME_FAILED, "out of memory");
                return -ENOMEM;
        }
        ask_for_plain_mount(mount);
        return 0;
}

void mounts_forget_connection(Manager *manager, const void *connection) {
        for (Mount *mount = manager->mounts, *next; mount; mount = next) {
                next = mount->next;
                if (mount->prepared_by != connection)
                        continue;
                mount->prepared_by = NULL;
                if (mount_is_prepared(mount))
                        mount_fail(mount, 0, OUTCOME_FAILED, "the client has gone");
        }
}

static void on_created(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds) {
        Mount *mount = userdata;

        mount->call = NULL;
        if (reply->error < 0)
                return creation_failed(mount, reply);
        mount->record = reply->record;
        mount->record.mount_id = reply->mount_id;
        mount_note(mount, "created");
        mount_enter_state(mount, MOUNT_SPAWNING);
        if (mount->failure) { /* given up while it had no id */
                free(TAKE_PTR(mount->failure));
                return mount_fail(mount, 0, OUTCOME_FAILED, "given up before it was made");
        }
        if (mount->type->hand_over == POLICY_HAND_OVER_CALLER)
                return await_attach(mount);
        if (mounts_first(mount))
                ask_for_plain_mount(mount);
        else
                ask_for_server(mount);
}

/* ---- MOUNT ---------------------------------------------------------------------------------------------------------- */

/* What the kernel may show as a mount's source; the broker has the same rule. */
static bool name_is_plain(const char *name) {
        return *name && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:+@-") == strlen(name);
}

/* What the kernel shows as the source, so that mount(8), findmnt(8) and fstab see what was asked for: the client's name for it, if
 * the kernel's tables can show it as it is. A server that was told fsname= knows better. */
static void choose_source(const Mount *mount, BrokerMount *wanted) {
        const char *name = mount->record.source_name;

        if (*wanted->fsname && strstr(mount->record.server_options, "fsname="))
                return;
        if (name_is_plain(name))
                (void) snprintf(wanted->fsname, sizeof wanted->fsname, "%s", name);
        else if (!*wanted->fsname)
                (void) snprintf(wanted->fsname, sizeof wanted->fsname, "%s", mount_type_name(mount));
}

static void ask_for_mount(Mount *mount, const BrokerMount *wanted) {
        BrokerRequest request = {.mount_id = mount->record.mount_id, .mount = *wanted};
        int r;

        choose_source(mount, &request.mount);
        mount_note(mount, "mounting");
        mount_enter_state(mount, MOUNT_MOUNTING);
        r = broker_client_call(mount->manager->broker, &request, BROKER_MOUNT, NULL, 0,
                               mount->type->init_usec + REPLY_MARGIN_USEC, on_mounted, mount, &mount->call);
        if (r < 0)
                mount_fail(mount, 0, OUTCOME_FAILED, "the broker cannot be asked: %s", strerror(-r));
}

/* Hand-over fd and caller: the server has no say in it. */
static void ask_for_plain_mount(Mount *mount) {
        BrokerMount wanted = {.options = mount->record.options, .max_read = mount->record.max_read, .blksize = mount->record.blksize};

        if (mount->type->hand_over == POLICY_HAND_OVER_CALLER) {
                (void) snprintf(wanted.subtype, sizeof wanted.subtype, "%.*s", (int) sizeof wanted.subtype - 1, mount->record.server_options);
                if (!name_is_plain(wanted.subtype) || policy_type_by_name(policy_table(mount->policy), wanted.subtype, NULL))
                        wanted.subtype[0] = 0; /* it cannot be shown, or would pass for one of our types */
        }
        ask_for_mount(mount, &wanted);
}

static void on_mounted(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds) {
        Mount *mount = userdata;
        bool detached = mount->record.flags & BROKER_CREATE_DETACHED;
        Outcome outcome;

        mount->call = NULL;
        if (mount->service)
                service_mounted(mount->service, reply->error); /* calls nothing back at once */
        if (reply->error < 0) {
                if (reply->error == -ECANCELED && mount->has_exited)
                        return; /* its end is being told by other events */
                compose_broker_failure(mount, reply, &outcome);
                mount_fail(mount, reply->error == -EINVAL || reply->error == -EPERM || reply->error == -ETIMEDOUT ? 0 : MOUNT_BROKER_ENDS_IT,
                           outcome.kind, "%s", outcome.text);
                return;
        }
        if (n_fds != detached)
                return mount_fail(mount, 0, OUTCOME_FAILED, "the broker sent %zu descriptors", n_fds);
        mount->record = reply->record;
        mount->record.mount_id = reply->mount_id;
        if (mount->record.live_usec == 0)
                mount->record.live_usec = boottime_usec();
        quota_charge_release(&mount->charges[QUOTA_PENDING]);
        mount->prepared_by = NULL;
        mount_enter_state(mount, MOUNT_LIVE);
        statistics_live(&mount->manager->statistics, mount_type_name(mount), mount->record.live_usec - mount->record.created_usec);
        mount_note(mount, "mounted");
        mount_log(mount, LOG_LEVEL_NOTICE, "mounted", detached ? "mounted, detached" : "mounted");
        outcome_set(&outcome, OUTCOME_OK, "mounted");
        mount_tell_client(mount, &outcome, fds);
}

void mount_on_mounted(Mount *mount) {
        if (mount->state != MOUNT_MOUNTING)
                return;
        if (mount->service)
                service_superblock_made(mount->service);
        else if (!mount->log && !mount->spawn_call && mounts_first(mount))
                ask_for_server(mount);
}

/* ---- the conversation ----------------------------------------------------------------------------------------------- */

static void on_file_sent(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds) {
        Mount *mount = userdata;

        mount->call = NULL;
        if (mount->service)
                service_file_sent(mount->service, reply->error);
}

static void hook_send_file(void *userdata, const BrokerSendFile *file) {
        Mount *mount = userdata;
        BrokerRequest request = {.mount_id = mount->record.mount_id, .send_file = *file};
        int r;

        r = broker_client_call(mount->manager->broker, &request, BROKER_SEND_FILE, NULL, 0,
                               mount->type->start_usec + REPLY_MARGIN_USEC, on_file_sent, mount, &mount->call);
        if (r < 0)
                mount_fail(mount, 0, OUTCOME_FAILED, "the broker cannot be asked: %s", strerror(-r));
}

static void hook_mount(void *userdata, const BrokerMount *wanted) {
        ask_for_mount(userdata, wanted);
}

static void hook_failed(void *userdata, bool gone, const char *why) {
        mount_fail(userdata, gone ? EXIT_GRACE_USEC : 0, OUTCOME_SERVER_FAILED, "%s", why);
}

static void hook_finished(void *userdata) {
        Mount *mount = userdata;

        mount->service = service_free(mount->service);
}

static void hook_open_channel(void *userdata) {
        mount_open_channel(userdata);
}

static const ServiceHooks service_hooks = {
        .send_file = hook_send_file,
        .open_channel = hook_open_channel,
        .mount = hook_mount,
        .failed = hook_failed,
        .finished = hook_finished,
};

static MountOptions granted_options(const Mount *mount) {
        return (MountOptions){.bits = mount->record.options, .max_read = mount->record.max_read, .blksize = mount->record.blksize};
}

static int start_conversation(Mount *mount, int socket_fd) {
        ServiceParameters parameters = {
                .table = policy_table(mount->policy),
                .type = mount->type,
                .server_options = mount->record.server_options,
                .granted = granted_options(mount),
                .owner_uid = mount->record.uid,
                .owner_gid = mount->record.gid,
                .owner_known = !mount->record.foreign_namespace,
                .sync_init = mount->record.sync_init,
        };

        memcpy(parameters.slots, mount->record.slots, sizeof parameters.slots);
        mount_enter_state(mount, MOUNT_TALKING);
        return service_new(mount->manager->event, socket_fd, &parameters, &service_hooks, mount, &mount->service);
}

/* ---- SPAWN ---------------------------------------------------------------------------------------------------------- */

static void on_spawned(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds) {
        Mount *mount = userdata;
        bool service = mount->type->hand_over == POLICY_HAND_OVER_SERVICE;
        Outcome outcome;
        int r;

        mount->spawn_call = NULL;
        if (reply->error < 0) {
                compose_broker_failure(mount, reply, &outcome);
                return mount_fail(mount, reply->error == -ETIMEDOUT ? 0 : MOUNT_BROKER_ENDS_IT, outcome.kind, "%s", outcome.text);
        }
        if (n_fds != 1 + (size_t) service)
                return mount_fail(mount, 0, OUTCOME_FAILED, "the broker sent %zu descriptors", n_fds);
        mount->record.server_pid = reply->record.server_pid;
        mount->record.server_uid = reply->record.server_uid;
        memcpy(mount->record.cgroup, reply->record.cgroup, sizeof mount->record.cgroup);
        mount_note(mount, "server started");
        r = server_log_new(mount->manager->event, TAKE_FD(fds[0]), mount->record.mount_id, mount_type_name(mount), &mount->log);
        if (r >= 0 && service)
                r = start_conversation(mount, TAKE_FD(fds[1]));
        if (r < 0)
                return mount_fail(mount, 0, OUTCOME_FAILED, "its descriptors cannot be watched: %s", strerror(-r));
        if (!service && mount->state == MOUNT_SPAWNING)
                ask_for_plain_mount(mount);
}
