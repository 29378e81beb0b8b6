/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state machine of a mount and its end. See mount.h; its way up is in mount-steps.c. */

#include "manager/mount.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "base/fd.h"
#include "manager/refusal.h"

#define CREATE_USEC (30 * USEC_PER_SEC) /* the broker's own limit is shorter; this one is for a broker that hangs */
#define MARGIN_USEC (5 * USEC_PER_SEC)
#define END_MARGIN_USEC (20 * USEC_PER_SEC)

struct MountWaiter {
        MountWaiter *next;
        Mount *mount;     /* borrowed */
        BrokerCall *call; /* borrowed: its BROKER_END */
        mount_outcome_t on_outcome;
        void *userdata;
};

typedef enum DeadlineKind {
        DEADLINE_FIXED, /* CREATE_USEC */
        DEADLINE_START,
        DEADLINE_KEEP,  /* the one of the state before goes on */
        DEADLINE_INIT,
        DEADLINE_NONE,  /* LIVE: a mount lives as long as it is wanted */
        DEADLINE_STOP,
} DeadlineKind;

#define TO(state) (1U << (state))

static const struct {
        const char *name; /* in the API */
        const char *step; /* in messages */
        DeadlineKind deadline;
        unsigned next;    /* states that may follow */
} state_rows[_MOUNT_STATE_MAX] = {
        [MOUNT_CREATING] = {"created", "the broker's check", DEADLINE_FIXED, TO(MOUNT_SPAWNING) | TO(MOUNT_ENDING)},
        [MOUNT_SPAWNING] = {"starting", "its start", DEADLINE_START, TO(MOUNT_TALKING) | TO(MOUNT_MOUNTING) | TO(MOUNT_ENDING)},
        [MOUNT_TALKING] = {"starting", "its mount request", DEADLINE_KEEP, TO(MOUNT_MOUNTING) | TO(MOUNT_ENDING)},
        [MOUNT_MOUNTING] = {"mounting", "its answer to FUSE_INIT", DEADLINE_INIT, TO(MOUNT_LIVE) | TO(MOUNT_ENDING)},
        [MOUNT_LIVE] = {"live", "its end", DEADLINE_NONE, TO(MOUNT_ENDING)},
        [MOUNT_ENDING] = {"ending", "its end", DEADLINE_STOP, 0},
};

const char *mount_state_to_string(MountState state) {
        return state_rows[state].name;
}

bool mount_state_may_follow(MountState from, MountState to) {
        return state_rows[from].next & TO(to);
}

const char *mount_type_name(const Mount *mount) {
        return mount->type ? mount->type->name : mount->record.type_name;
}

uint64_t boottime_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t) now.tv_sec * USEC_PER_SEC + (uint64_t) now.tv_nsec / 1000;
}

void mount_log(const Mount *mount, LogLevel level, const char *outcome, const char *text) {
        char id[24], uid[16], device[32] = "";
        uint32_t dropped;

        if (!quota_may_log(mount->manager->quota, mount->record.uid, &dropped))
                return;
        (void) snprintf(id, sizeof id, "%llu", (unsigned long long) mount->record.mount_id);
        (void) snprintf(uid, sizeof uid, "%u", mount->record.uid);
        if (mount->record.device_major || mount->record.device_minor)
                (void) snprintf(device, sizeof device, "%u:%u", mount->record.device_major, mount->record.device_minor);
        const LogField fields[] = {
                {"MOUNT", id},
                {"USER", uid},
                {"TYPE", mount_type_name(mount)},
                {"DEVICE", *device ? device : NULL},
                {"SOURCE", *mount->record.source_name ? mount->record.source_name : NULL},
                {"MOUNTPOINT", *mount->record.mountpoint_name ? mount->record.mountpoint_name : NULL},
                {"OUTCOME", outcome},
        };
        if (dropped > 0)
                log_notice("uid %s: %u messages dropped", uid, dropped);
        if (mount->record.mount_id == 0)
                log_fields(level, fields, ELEMENTSOF(fields), "mount request of uid %s: %s", uid, text);
        else
                log_fields(level, fields, ELEMENTSOF(fields), "mount %s: %s", id, text);
}

void mount_note(Mount *mount, const char *format, ...) {
        va_list args;

        va_start(args, format);
        (void) vsnprintf(mount->last_event, sizeof mount->last_event, format, args);
        va_end(args);
        mount->last_event_usec = boottime_usec();
}

Mount *mount_find(Manager *manager, uint64_t id) {
        for (Mount *mount = id ? manager->mounts : NULL; mount; mount = mount->next)
                if (mount->record.mount_id == id)
                        return mount;
        return NULL;
}

/* ---- states and deadlines ------------------------------------------------------------------------------------------- */

static void send_cancel(Mount *mount);

static double seconds(uint64_t usec) {
        return (double) usec / (double) USEC_PER_SEC;
}

static uint64_t deadline_usec(const Mount *mount, MountState state) {
        const PolicyType *type = mount->type;

        switch (state_rows[state].deadline) {
        case DEADLINE_FIXED:
                return CREATE_USEC;
        case DEADLINE_START:
                return type->start_usec;
        case DEADLINE_INIT:
                return type->init_usec + MARGIN_USEC; /* the broker's worker acts first, and knows more */
        case DEADLINE_STOP:
                return (type ? type->stop_usec : 0) + END_MARGIN_USEC;
        case DEADLINE_KEEP:
        case DEADLINE_NONE:
                break;
        }
        return 0;
}

static void on_deadline_of(Mount *mount) {
        const double limit = seconds(deadline_usec(mount, mount->state));

        switch (mount->state) {
        case MOUNT_CREATING:
                mount_fail(mount, 0, OUTCOME_FAILED, "the broker has not answered within %.1f s", limit);
                break;
        case MOUNT_SPAWNING:
                mount_fail(mount, 0, OUTCOME_SERVER_FAILED, "Start=%.1f s has passed", limit);
                break;
        case MOUNT_TALKING:
                mount_fail(mount, 0, OUTCOME_SERVER_FAILED, "Start=%.1f s has passed", seconds(mount->type->start_usec));
                break;
        case MOUNT_MOUNTING:
                mount_fail(mount, 0, OUTCOME_SERVER_FAILED, "Init=%.1f s has passed", seconds(mount->type->init_usec));
                break;
        case MOUNT_ENDING:
                if (mount->end_sent)
                        mount_log(mount, LOG_LEVEL_ERROR, "stuck", "the broker has not reported its end in time");
                send_cancel(mount);
                break;
        case MOUNT_LIVE:
        case _MOUNT_STATE_MAX:
        case _MOUNT_STATE_INVALID:
                break;
        }
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        Mount *mount = userdata;

        mount->deadline = sd_event_source_disable_unref(mount->deadline);
        on_deadline_of(mount);
        return 0;
}

static void arm(Mount *mount, uint64_t usec) {
        int r;

        mount->deadline = sd_event_source_disable_unref(mount->deadline);
        if (usec == 0)
                return;
        r = sd_event_add_time_relative(mount->manager->event, &mount->deadline, CLOCK_MONOTONIC, usec, 10 * USEC_PER_MSEC, on_deadline, mount);
        if (r < 0) /* the broker's own deadlines remain */
                (void) log_errno(r, "no deadline can be set: %s", strerror(-r));
}

void mount_enter_state(Mount *mount, MountState state) {
        assert(mount_state_may_follow(mount->state, state));

        log_debug("mount %llu: %s -> %s (%s)", (unsigned long long) mount->record.mount_id, state_rows[mount->state].name, state_rows[state].name,
                  state_rows[state].step);
        mount->state = state;
        if (state_rows[state].deadline != DEADLINE_KEEP)
                arm(mount, deadline_usec(mount, state));
}

/* ---- birth and death ------------------------------------------------------------------------------------------------ */

static const uint32_t charge_amounts[_QUOTA_POLICY_MAX] = {
        [QUOTA_MOUNTS] = 1,
        [QUOTA_PENDING] = 1,
        [QUOTA_FDS] = 5, /* mount point, namespace, FUSE device, stderr, channel; slots come on top */
        [QUOTA_PROCESSES] = 1,
};

static uint32_t charge_amount(const Mount *mount, QuotaKind kind) {
        uint32_t amount = charge_amounts[kind];

        for (size_t i = 0; kind == QUOTA_FDS && i < POLICY_SLOTS_MAX; i++)
                amount += mount->record.slots[i] != BROKER_SLOT_EMPTY;
        if (kind == QUOTA_PROCESSES && mount->type && mount->type->hand_over == POLICY_HAND_OVER_FD)
                amount++; /* the agent */
        return amount;
}

static int charge(Mount *mount, const PolicyTable *table, bool enforce, Outcome *outcome) {
        Quota *quota = mount->manager->quota;
        PolicyPlace place = {0};
        const PolicyLimits *limits = policy_limits(table, mount->record.uid, &place);

        for (QuotaKind kind = 0; kind < _QUOTA_POLICY_MAX; kind++) {
                uint32_t limit = enforce ? quota_limit(limits, kind) : UINT32_MAX, amount = charge_amount(mount, kind);
                int r;

                if (kind == QUOTA_PENDING && !enforce)
                        continue; /* adopted: live */
                r = quota_charge(quota, mount->record.uid, kind, amount, limit, &mount->charges[kind]);
                if (r == -EDQUOT)
                        refusal_compose_quota(outcome, table, kind, quota_usage(quota, mount->record.uid, kind), amount, limit, &place);
                else if (r < 0)
                        outcome_set(outcome, OUTCOME_FAILED, "out of memory");
                if (r < 0)
                        return r;
        }
        return 0;
}

static Mount *mount_new(Manager *manager) {
        Mount *mount = calloc(1, sizeof *mount);

        if (!mount)
                return NULL;
        mount->manager = manager;
        mount->next = manager->mounts;
        mount->previous = &manager->mounts;
        if (mount->next)
                mount->next->previous = &mount->next;
        manager->mounts = mount;
        manager->n_mounts++;
        return mount;
}

void mount_free(Mount *mount) {
        (void) broker_call_forget(mount->call);
        (void) broker_call_forget(mount->spawn_call);
        (void) sd_event_source_disable_unref(mount->deadline);
        mount->service = service_free(mount->service);
        mount->log = server_log_free(mount->log);
        free(mount->client);
        while (mount->waiters) {
                MountWaiter *waiter = mount->waiters;
                mount->waiters = waiter->next;
                (void) broker_call_forget(waiter->call);
                free(waiter);
        }
        for (size_t i = 0; i < ELEMENTSOF(mount->charges); i++)
                quota_charge_release(&mount->charges[i]);
        mount->policy = policy_unref(mount->policy);
        free(mount->failure);
        *mount->previous = mount->next;
        if (mount->next)
                mount->next->previous = mount->previous;
        mount->manager->n_mounts--;
        free(mount);
}

static MountWaiter *waiter_new(Mount *mount, mount_outcome_t on_outcome, void *userdata) {
        MountWaiter *waiter = calloc(1, sizeof *waiter);

        if (waiter)
                *waiter = (MountWaiter){.mount = mount, .on_outcome = on_outcome, .userdata = userdata};
        return waiter;
}

static int resolve_type(Mount *mount, const char *type_name, Outcome *outcome) {
        const PolicyTable *table = policy_table(mount->policy);
        uint32_t index;

        mount->type = policy_type_by_name(table, type_name, &index);
        if (!mount->type) {
                refusal_compose_own(outcome, table, REFUSAL_NO_SUCH_TYPE, NULL, "%s", type_name);
                return -EACCES;
        }
        mount->record.type_index = index;
        memcpy(mount->record.type_name, mount->type->name, sizeof mount->record.type_name);
        if (mount->type->disabled) {
                refusal_compose_own(outcome, table, REFUSAL_TYPE_DISABLED, &mount->type->place, "%s", policy_string(table, mount->type->disabled));
                return -EACCES;
        }
        return 0;
}

/* Everything about a new mount but its place in the list. On failure *outcome is filled in and the caller frees the mount. */
static int prepare(Mount *mount, const char *type_name, const MountRequest *request, int caller_fd, Outcome *outcome) {
        const PolicyTable *table = policy_table(mount->policy);
        int fds[2 + POLICY_SLOTS_MAX], r;
        BrokerCreate create;
        size_t n_fds;

        r = resolve_type(mount, type_name, outcome);
        if (r < 0)
                return r;
        fds[0] = caller_fd;
        r = request_resolve(request, REQUEST_MOUNT, table, mount->type, &create, fds + 1, &n_fds, outcome);
        if (r < 0)
                return r;
        create.policy_generation = policy_generation(mount->policy);
        create.type_index = mount->record.type_index;
        mount->record.policy_generation = create.policy_generation;
        mount->record.flags = create.flags;
        memcpy(mount->record.slots, create.slots, sizeof create.slots);
        memcpy(mount->record.source_name, create.source_name, sizeof create.source_name);
        memcpy(mount->record.mountpoint_name, create.mountpoint_name, sizeof create.mountpoint_name);
        if (mount->manager->n_mounts > table->max_mounts) { /* this one is counted */
                refusal_compose_own(outcome, table, REFUSAL_QUOTA_TOTAL, &table->limits_place, "[Supervisor] MaxMounts=%u", table->max_mounts);
                return -EACCES;
        }
        r = charge(mount, table, /* enforce= */ true, outcome);
        if (r < 0)
                return r;
        r = mount_step_create(mount, &create, fds, 1 + n_fds);
        if (r < 0)
                outcome_set(outcome, OUTCOME_FAILED, "the broker cannot be asked: %s", strerror(-r));
        return r;
}

int mount_start(Manager *manager, const char *type_name, const MountRequest *request, uid_t uid, int caller_fd, mount_outcome_t on_outcome, void *userdata,
                Mount **ret, Outcome *outcome) {
        Mount *mount = mount_new(manager);
        int r;

        if (!mount) {
                outcome_set(outcome, OUTCOME_FAILED, "out of memory");
                return -ENOMEM;
        }
        mount->policy = policy_ref(manager->policy);
        mount->record.uid = uid;
        mount->record.created_usec = boottime_usec();
        mount_note(mount, "requested");
        mount->client = waiter_new(mount, on_outcome, userdata);
        r = mount->client ? prepare(mount, type_name, request, caller_fd, outcome) : -ENOMEM;
        if (r < 0) {
                if (!mount->client)
                        outcome_set(outcome, OUTCOME_FAILED, "out of memory");
                mount_log(mount, LOG_LEVEL_NOTICE, outcome_to_string(outcome->kind), outcome->text);
                mount_free(mount);
                return r;
        }
        arm(mount, CREATE_USEC);
        *ret = mount;
        return 0;
}

int mount_adopt(Manager *manager, const BrokerRecord *record, int stderr_fd) {
        _cleanup_fd_ int fd = stderr_fd;
        Mount *mount = mount_new(manager);
        Outcome outcome;
        int r;

        if (!mount)
                return -ENOMEM;
        mount->record = *record;
        mount->state = MOUNT_LIVE;
        if (record->policy_generation == policy_generation(manager->policy)) {
                mount->policy = policy_ref(manager->policy);
                mount->type = policy_type(policy_table(manager->policy), record->type_index);
        }
        r = charge(mount, policy_table(manager->policy), /* enforce= */ false, &outcome);
        if (r >= 0 && fd >= 0)
                r = server_log_new(manager->event, TAKE_FD(fd), record->mount_id, mount_type_name(mount), &mount->log);
        if (r < 0) {
                mount_free(mount);
                return r;
        }
        mount_note(mount, "taken over after a restart of the manager");
        return 0;
}

/* ---- outcomes ------------------------------------------------------------------------------------------------------- */

void mount_tell_client(Mount *mount, const Outcome *outcome, int *mount_fd) {
        MountWaiter *client = TAKE_PTR(mount->client);

        if (!client)
                return;
        client->on_outcome(client->userdata, outcome, mount, mount_fd);
        free(client);
}

void mount_client_gone(Mount *mount) {
        free(TAKE_PTR(mount->client));
        mount_fail(mount, 0, OUTCOME_FAILED, "the client has gone");
}

static void remove_waiter(MountWaiter *waiter) {
        MountWaiter **link = &waiter->mount->waiters;

        while (*link != waiter)
                link = &(*link)->next;
        *link = waiter->next;
}

/* ---- the end -------------------------------------------------------------------------------------------------------- */

static void send_cancel(Mount *mount) {
        BrokerRequest request = {.mount_id = mount->record.mount_id, .end = {.how = BROKER_END_CANCEL}};
        int r;

        if (mount->record.live_usec > 0)
                request.end.how = BROKER_END_ABORT;
        mount->killed = mount->killed || !mount->has_exited;
        mount->end_sent = true;
        arm(mount, deadline_usec(mount, MOUNT_ENDING));
        r = broker_client_call(mount->manager->broker, &request, BROKER_END, NULL, 0, END_MARGIN_USEC, NULL, NULL, NULL);
        if (r < 0)
                (void) log_errno(r, "mount %llu: cannot be cancelled now: %s", (unsigned long long) mount->record.mount_id, strerror(-r));
}

void mount_fail(Mount *mount, uint64_t grace_usec, OutcomeKind kind, const char *format, ...) {
        char text[1600];
        va_list args;

        if (mount->failure || mount->state == MOUNT_LIVE || mount->state == MOUNT_ENDING)
                return;
        va_start(args, format);
        (void) vsnprintf(text, sizeof text, format, args);
        va_end(args);
        mount->failed_step = mount->state == MOUNT_TALKING && mount->service ? service_step(mount->service) : state_rows[mount->state].step;
        mount_note(mount, "%s", text);
        mount->failure = calloc(1, sizeof *mount->failure);
        if (mount->failure)
                outcome_set(mount->failure, kind, "%s", text);

        if (mount->state == MOUNT_CREATING) { /* it has no id by which it could be ended: the reply's handler goes on */
                if (mount->failure)
                        mount_tell_client(mount, mount->failure, NULL);
                return;
        }
        mount->call = broker_call_forget(mount->call);
        mount->spawn_call = broker_call_forget(mount->spawn_call);
        mount_enter_state(mount, MOUNT_ENDING);
        if (grace_usec == MOUNT_BROKER_ENDS_IT)
                mount->end_sent = true;
        else if (grace_usec > 0)
                arm(mount, grace_usec);
        else
                send_cancel(mount);
}

static void on_end_reply(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds) {
        MountWaiter *waiter = userdata;
        Mount *mount = waiter->mount;
        Outcome outcome;

        waiter->call = NULL;
        if (reply->error == 0 || reply->error == -ESHUTDOWN) { /* accepted, or ended meanwhile: the event comes */
                if (mount->state == MOUNT_LIVE) {
                        mount->end_sent = true;
                        mount_enter_state(mount, MOUNT_ENDING);
                }
                return;
        }
        if (reply->error == -EBUSY)
                outcome_set(&outcome, OUTCOME_BUSY, mount->record.flags & BROKER_CREATE_DETACHED ?
                            "mount %llu is detached: it ends when its descriptors are closed; --lazy or abort ends it now" :
                            "mount %llu is in use", (unsigned long long) mount->record.mount_id);
        else
                outcome_set(&outcome, OUTCOME_FAILED, "mount %llu cannot be taken down: %s", (unsigned long long) mount->record.mount_id, strerror(-reply->error));
        remove_waiter(waiter);
        waiter->on_outcome(waiter->userdata, &outcome, mount, NULL);
        free(waiter);
}

int mount_end(Mount *mount, BrokerEndHow how, mount_outcome_t on_outcome, void *userdata) {
        BrokerRequest request = {.mount_id = mount->record.mount_id, .end = {.how = (uint32_t) how}};
        MountWaiter *waiter = waiter_new(mount, on_outcome, userdata);
        int r;

        if (!waiter)
                return -ENOMEM;
        waiter->next = mount->waiters;
        mount->waiters = waiter;
        if (mount->state != MOUNT_LIVE) { /* not up yet, or already on its way down: the event is all there is to wait for */
                mount_fail(mount, 0, OUTCOME_FAILED, "taken down by request before it was live");
                return 0;
        }
        r = broker_client_call(mount->manager->broker, &request, BROKER_END, NULL, 0, deadline_usec(mount, MOUNT_ENDING), on_end_reply, waiter, &waiter->call);
        if (r < 0) {
                remove_waiter(waiter);
                free(waiter);
                return r;
        }
        mount_note(mount, "%s requested", how == BROKER_END_ABORT ? "abort" : how == BROKER_END_LAZY ? "lazy unmount" : "unmount");
        return 0;
}

void mount_on_server_exit(Mount *mount, int exit_code, int exit_status) {
        mount->has_exited = true;
        mount->exit_code = exit_code;
        mount->exit_status = exit_status;
        mount_note(mount, exit_code == CLD_EXITED ? "the server exited with status %d" : "the server was killed by signal %d", exit_status);
        if (mount->state == MOUNT_ENDING) {
                mount->end_sent = true; /* the broker goes on by itself */
                return;
        }
        mount_fail(mount, MOUNT_BROKER_ENDS_IT, OUTCOME_SERVER_FAILED, "it ended");
}

/* "the server of type T failed while fused waited for STEP: WHY; it exited with status N; its last words: ..." */
static void complete_failure(Mount *mount, Outcome *outcome) {
        char whose[160] = "", exit_text[64] = "", words[1024] = "";

        if (mount->failure->kind == OUTCOME_SERVER_FAILED)
                (void) snprintf(whose, sizeof whose, "the server of type %s failed while fused waited for %s: ", mount_type_name(mount), mount->failed_step);
        if (mount->has_exited && !mount->killed)
                (void) snprintf(exit_text, sizeof exit_text, mount->exit_code == CLD_EXITED ? "; it exited with status %d" : "; it was killed by signal %d",
                                mount->exit_status);
        if (mount->log) {
                server_log_drain(mount->log);
                server_log_tail(mount->log, 6, words, sizeof words);
        }
        outcome_set(outcome, mount->failure->kind, "%s%s%s%s%s", whose, mount->failure->text, exit_text, *words ? "; its last words: " : "", words);
        outcome->refusal = mount->failure->refusal;
}

void mount_on_ended(Mount *mount, BrokerEndReason reason, int exit_code, int exit_status) {
        bool was_live = mount->record.live_usec > 0;
        Outcome outcome;

        if (!mount->has_exited && exit_code != 0) {
                mount->has_exited = true;
                mount->exit_code = exit_code;
                mount->exit_status = exit_status;
        }
        if (mount->failure) {
                complete_failure(mount, &outcome);
                mount_log(mount, LOG_LEVEL_NOTICE, outcome_to_string(outcome.kind), outcome.text);
        } else {
                char text[256];
                (void) snprintf(text, sizeof text, "ended: %s%s", broker_end_reason_to_string(reason), *mount->last_event ? "; last event: " : "");
                outcome_set(&outcome, OUTCOME_FAILED, "%s%s", text, mount->last_event);
                mount_log(mount, was_live && reason == BROKER_REASON_SERVER_EXIT ? LOG_LEVEL_WARNING : LOG_LEVEL_NOTICE, broker_end_reason_to_string(reason), outcome.text);
        }
        mount_tell_client(mount, &outcome, NULL);

        Outcome ok = {.kind = OUTCOME_OK};
        while (mount->waiters) {
                MountWaiter *waiter = mount->waiters;
                mount->waiters = waiter->next;
                (void) broker_call_forget(waiter->call);
                waiter->on_outcome(waiter->userdata, &ok, mount, NULL);
                free(waiter);
        }
        mount_free(mount);
}
