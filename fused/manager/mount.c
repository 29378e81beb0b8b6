/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state machine of a mount, and its birth. See mount.h; its way up is in mount-steps.c, its way down in mount-end.c. */

#include "manager/mount-internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/fd.h"
#include "base/message-id.h"
#include "manager/news.h"
#include "manager/refusal.h"

#define CREATE_USEC (30 * USEC_PER_SEC) /* the broker's own limit is shorter; this one is for a broker that hangs */
#define MARGIN_USEC (5 * USEC_PER_SEC)

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

/* By the word for the outcome: those of outcome_to_string() and broker_end_reason_to_string(). */
static const char *message_id(const char *outcome) {
        static const struct {
                const char *outcome, *id;
        } rows[] = {
                {"mounted", MESSAGE_MOUNTED},
                {"refused", MESSAGE_REFUSED},
                {"limits", MESSAGE_REFUSED},
                {"unmounted", MESSAGE_ENDED},
                {"aborted", MESSAGE_ENDED},
                {"cancelled", MESSAGE_ENDED},
                {"owner-gone", MESSAGE_ENDED},
                {"server-exit", MESSAGE_SERVER_ENDED},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (strcmp(rows[i].outcome, outcome) == 0)
                        return rows[i].id;
        return MESSAGE_FAILED;
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
                {"MESSAGE_ID", message_id(outcome)},
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

static double seconds(uint64_t usec) {
        return (double) usec / (double) USEC_PER_SEC;
}

uint64_t mount_deadline_usec(const Mount *mount, MountState state) {
        const PolicyType *type = mount->type;

        switch (state_rows[state].deadline) {
        case DEADLINE_FIXED:
                return CREATE_USEC;
        case DEADLINE_START:
                return type->start_usec;
        case DEADLINE_INIT:
                return type->init_usec + MARGIN_USEC; /* the broker's worker acts first, and knows more */
        case DEADLINE_STOP:
                return (type ? type->stop_usec : 0) + MOUNT_END_MARGIN_USEC;
        case DEADLINE_KEEP:
        case DEADLINE_NONE:
                break;
        }
        return 0;
}

static void on_deadline_of(Mount *mount) {
        const double limit = seconds(mount_deadline_usec(mount, mount->state));

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
                mount_send_cancel(mount);
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

void mount_arm(Mount *mount, uint64_t usec) {
        int r;

        mount->deadline = sd_event_source_disable_unref(mount->deadline);
        if (usec == 0)
                return;
        r = sd_event_add_time_relative(mount->manager->event, &mount->deadline, CLOCK_MONOTONIC, usec, 10 * USEC_PER_MSEC, on_deadline, mount);
        if (r < 0) /* the broker's own deadlines remain */
                (void) log_errno(r, "no deadline can be set: %s", strerror(-r));
}

const char *mount_step(const Mount *mount) {
        return mount->state == MOUNT_TALKING && mount->service ? service_step(mount->service) : state_rows[mount->state].step;
}

void mount_enter_state(Mount *mount, MountState state) {
        assert(mount_state_may_follow(mount->state, state));

        log_debug("mount %llu: %s -> %s (%s)", (unsigned long long) mount->record.mount_id, state_rows[mount->state].name, state_rows[state].name,
                  state_rows[state].step);
        const bool same = mount->announced && strcmp(state_rows[mount->state].name, state_rows[state].name) == 0;
        mount->state = state;
        if (mount->record.mount_id != 0 && !same) {
                news_tell(mount->manager, mount->announced ? NEWS_CHANGED : NEWS_ADDED, mount, NULL);
                mount->announced = true;
        }
        if (state_rows[state].deadline != DEADLINE_KEEP)
                mount_arm(mount, mount_deadline_usec(mount, state));
}

/* ---- birth and death ------------------------------------------------------------------------------------------------ */

static const uint32_t charge_amounts[_QUOTA_POLICY_MAX] = {
        [QUOTA_MOUNTS] = 1,
        [QUOTA_PENDING] = 1,
        [QUOTA_FDS] = 5, /* mount point, owner, FUSE device, stderr, channel; slots and what mapping needs come on top */
        [QUOTA_PROCESSES] = 1,
};

static uint32_t charge_amount(const Mount *mount, QuotaKind kind) {
        uint32_t amount = charge_amounts[kind];

        for (size_t i = 0; kind == QUOTA_FDS && i < POLICY_SLOTS_MAX; i++)
                amount += mount->record.slots[i] != BROKER_SLOT_EMPTY;
        if (kind == QUOTA_FDS && mount->type && mount->type->device_clones > 0)
                amount += 1 + mount->type->device_clones + mount->type->slots.count; /* second channel, clones, devices again */
        if (kind == QUOTA_PROCESSES && mount->type && policy_has_agent(mount->type))
                amount++; /* the agent */
        if (kind == QUOTA_PROCESSES && mount->type && mount->type->hand_over == POLICY_HAND_OVER_CALLER)
                amount = 0; /* it is the caller's own */
        bool has_server = mount->type && mount->type->hand_over != POLICY_HAND_OVER_CALLER;
        if (kind == QUOTA_MEMORY && has_server)
                amount = mib_of(mount->type->max_memory);
        if (kind == QUOTA_CPU && has_server)
                amount = (uint32_t) MIN_OF(mount->type->max_cpu_percent, (uint64_t) UINT32_MAX / 2);
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
        mount_drop_channel(mount);
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
        quota_charge_release(&mount->backing_charge);
        quota_charge_release(&mount->backing_worker_charge);
        quota_charge_release(&mount->program_charge);
        mount->policy = policy_unref(mount->policy);
        free(mount->failure);
        *mount->previous = mount->next;
        if (mount->next)
                mount->next->previous = mount->previous;
        mount->manager->n_mounts--;
        free(mount);
}

MountWaiter *mount_waiter_new(Mount *mount, mount_outcome_t on_outcome, void *userdata) {
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

/* Nobody but root takes the last of what is there for everybody: a user may hold at most half of what the others have left, so
 * that whatever one takes, as much is left for the rest. */
static int check_share(const Mount *mount, const PolicyTable *table, Outcome *outcome) {
        uint32_t own = quota_usage(mount->manager->quota, mount->record.uid, QUOTA_MOUNTS);
        uint64_t others = mount->manager->n_mounts - 1 - MIN_OF((size_t) own, mount->manager->n_mounts - 1), share;

        if (mount->record.uid == 0 || table->max_mounts == UINT32_MAX)
                return 0;
        share = (table->max_mounts - MIN_OF(others, (uint64_t) table->max_mounts) + 1) / 2;
        if (own + 1 <= share)
                return 0;
        refusal_compose_own(outcome, table, REFUSAL_QUOTA_SHARE, &table->limits_place,
                            "%u in use, a share is %llu of [Supervisor] MaxMounts=%u now", own, (unsigned long long) share, table->max_mounts);
        return -EACCES;
}

/* Everything about a new mount but its place in the list. On failure *outcome is filled in and the caller frees the mount. */
static int prepare(Mount *mount, const char *type_name, const MountRequest *request, int caller_fd, Outcome *outcome) {
        const PolicyTable *table = policy_table(mount->policy);
        int fds[BROKER_FDS_MAX], r;
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
        r = check_share(mount, table, outcome);
        if (r < 0)
                return r;
        r = charge(mount, table, /* enforce= */ true, outcome);
        if (r < 0)
                return r;
        r = mount_step_create(mount, &create, fds, 1 + n_fds);
        if (r < 0)
                outcome_set(outcome, OUTCOME_FAILED, "the broker cannot be asked: %s", strerror(-r));
        return r;
}

int mount_start(Manager *manager, const char *type_name, const MountRequest *request, uid_t uid, int caller_fd,
                mount_outcome_t on_outcome, void *userdata, Mount **ret, Outcome *outcome) {
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
        mount->client = mount_waiter_new(mount, on_outcome, userdata);
        r = mount->client ? prepare(mount, type_name, request, caller_fd, outcome) : -ENOMEM;
        if (r < 0) {
                if (!mount->client)
                        outcome_set(outcome, OUTCOME_FAILED, "out of memory");
                mount_log(mount, LOG_LEVEL_NOTICE, outcome_to_string(outcome->kind), outcome->text);
                mount_free(mount);
                return r;
        }
        mount_arm(mount, CREATE_USEC);
        *ret = mount;
        return 0;
}

int mount_adopt(Manager *manager, const BrokerRecord *record, int stderr_fd, int channel_fd) {
        _cleanup_fd_ int fd = stderr_fd, channel = channel_fd;
        Mount *mount = mount_new(manager);
        Outcome outcome;
        int r;

        if (!mount)
                return -ENOMEM;
        mount->record = *record;
        mount->state = MOUNT_LIVE;
        mount->announced = true; /* there are no subscribers yet, and it is in their first list */
        if (record->policy_generation == policy_generation(manager->policy)) {
                mount->policy = policy_ref(manager->policy);
                mount->type = policy_type(policy_table(manager->policy), record->type_index);
        }
        r = charge(mount, policy_table(manager->policy), /* enforce= */ false, &outcome);
        if (r >= 0 && fd >= 0)
                r = server_log_new(manager->event, TAKE_FD(fd), record->mount_id, mount_type_name(mount), &mount->log);
        mount_charge_backings(mount, record->n_backings);
        mount_charge_programs(mount, record->program_mib);
        if (r >= 0 && channel >= 0)
                r = mount_take_channel(mount, TAKE_FD(channel));
        if (r < 0) {
                mount_free(mount);
                return r;
        }
        statistics_taken_over(&manager->statistics, mount_type_name(mount));
        mount_note(mount, "taken over after a restart of the manager");
        return 0;
}
