/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What comes in over a server's second channel, for its mount: passed on to the broker. */

#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "manager/mount-internal.h"
#include "manager/refusal.h"

#define ANSWER_USEC (20 * USEC_PER_SEC) /* before the server gives up: FUSE_SERVICE_TIMEOUT_SEC */

/* ---- what it costs its user ----------------------------------------------------------------------------------------- */

/* A backing file is a file that the kernel holds open for the user, as our descriptors are. */
static int charge(Mount *mount, QuotaKind kind, uint32_t amount, bool enforce, QuotaCharge *charge) {
        const PolicyLimits *limits = policy_limits(policy_table(mount->manager->policy), mount->record.uid, NULL);
        uint32_t before = charge->user ? charge->amount : 0;
        int r = 0;

        if (amount == before)
                return 0;
        quota_charge_release(charge);
        if (amount > 0)
                r = quota_charge(mount->manager->quota, mount->record.uid, kind, amount, enforce ? quota_limit(limits, kind) : UINT32_MAX, charge);
        if (r < 0 && before > 0)
                (void) quota_charge(mount->manager->quota, mount->record.uid, kind, before, UINT32_MAX, charge);
        return r;
}

static int charge_worker(Mount *mount, const ChannelRequest *request) {
        return charge(mount, QUOTA_PROCESSES, 1, /* enforce= */ true, &mount->backing_worker_charge);
}

static int charge_backing(Mount *mount, const ChannelRequest *request) {
        return charge(mount, QUOTA_FDS, mount->record.n_backings + 1, /* enforce= */ true, &mount->backing_charge);
}

void mount_charge_backings(Mount *mount, uint32_t n) {
        mount->record.n_backings = n;
        (void) charge(mount, QUOTA_FDS, n, /* enforce= */ false, &mount->backing_charge);
}

void mount_charge_programs(Mount *mount, uint32_t mib) {
        mount->record.program_mib = mib;
        (void) charge(mount, QUOTA_MEMORY, mib, /* enforce= */ false, &mount->program_charge);
}

/* The tables of all the mount's programs may take what its user has left, and no more than its type's servers. How much these take is known
 * when they are loaded, by a process that is told not to go beyond this; until then the program's own limit is charged, or what is left, so that
 * nobody else takes it meanwhile. What the mount's earlier programs took may have been given back: the broker finds that out. */
static int charge_program(Mount *mount, const ChannelRequest *request) {
        const PolicyTable *table = policy_table(mount->manager->policy);
        const PolicyProgram *program = mount->type ? policy_program_of_type(policy_table(mount->policy), mount->type, request->name) : NULL;
        const uint32_t limit = quota_limit(policy_limits(table, mount->record.uid, NULL), QUOTA_MEMORY), own = mount->record.program_mib;
        const uint32_t charged = mount->program_charge.user ? mount->program_charge.amount : 0;
        const uint32_t others = quota_usage(mount->manager->quota, mount->record.uid, QUOTA_MEMORY) - charged;
        uint32_t max = limit == UINT32_MAX ? UINT32_MAX : limit - MIN_OF(limit, others), meanwhile;

        if (mount->type && mount->type->max_memory > 0)
                max = MIN_OF(max, mib_of(mount->type->max_memory));
        mount->program_max_mib = max;
        if (!program) /* of a policy that is not known any more: the broker knows it */
                return mount->type ? -ENOENT : 0;
        meanwhile = MIN_OF(max, own + mib_of(program->max_memory));
        return charge(mount, QUOTA_MEMORY, MAX_OF(own, meanwhile), /* enforce= */ false, &mount->program_charge);
}

/* Which limit it was: the server hears only that there was one. */
static void say_quota(Mount *mount) {
        const PolicyTable *table = policy_table(mount->manager->policy);
        PolicyPlace place = {0};
        const uint32_t limit = quota_limit(policy_limits(table, mount->record.uid, &place), QUOTA_MEMORY);
        const uint32_t used = quota_usage(mount->manager->quota, mount->record.uid, QUOTA_MEMORY);
        const bool types = mount->type && mount->type->max_memory > 0 && mib_of(mount->type->max_memory) <= mount->program_max_mib;
        char where[256], text[512];

        refusal_format_place(types ? policy_table(mount->policy) : table, types ? &mount->type->place : &place, where, sizeof where);
        if (types)
                (void) snprintf(text, sizeof text, "program %s: its tables are larger than Memory=%uM of type %s leaves (%s)", mount->asked_program,
                                mib_of(mount->type->max_memory), mount->type->name, where);
        else
                (void) snprintf(text, sizeof text, "program %s: its tables are larger than MaxMemory=%uM leaves, %uM in use (%s)",
                                mount->asked_program, limit, used, where);
        server_log_note(mount->log, text);
        mount_log(mount, LOG_LEVEL_NOTICE, "program", text);
}

/* ---- requests ------------------------------------------------------------------------------------------------------- */

static void ask_clone(const Mount *mount, const ChannelRequest *request, BrokerRequest *to) {
        to->clone.channel_serial = request->serial;
}

static void ask_backing(const Mount *mount, const ChannelRequest *request, BrokerRequest *to) {
        to->backing = (BrokerBacking){.channel_serial = request->serial, .value = request->value};
}

static void ask_program(const Mount *mount, const ChannelRequest *request, BrokerRequest *to) {
        to->program.channel_serial = request->serial;
        to->program.n_tables = request->n_tables;
        to->program.max_mib = mount->program_max_mib;
        memcpy(to->program.name, request->name, sizeof to->program.name);
        memcpy(to->program.tables, request->tables, sizeof to->program.tables);
}

static void ask_attach(const Mount *mount, const ChannelRequest *request, BrokerRequest *to) {
        to->attach.channel_serial = request->serial;
        memcpy(to->attach.name, request->name, sizeof to->attach.name);
}

typedef struct ChannelRow {
        bool known;
        bool answer; /* by us, with a value; else the broker has answered a success */
        BrokerOperation operation;
        void (*fill)(const Mount *mount, const ChannelRequest *request, BrokerRequest *to);
        int (*charge)(Mount *mount, const ChannelRequest *request);    /* beforehand; NULL: nothing */
        void (*answered)(Mount *mount, const BrokerReply *reply);      /* NULL: it changes nothing here */
} ChannelRow;

/* What was charged beforehand may not have come about. */
static void answered_backing(Mount *mount, const BrokerReply *reply) {
        mount_charge_backings(mount, reply->error < 0 ? mount->record.n_backings : reply->n_backings);
}

static void answered_backing_socket(Mount *mount, const BrokerReply *reply) {
        if (reply->error < 0 && reply->error != -EALREADY)
                quota_charge_release(&mount->backing_worker_charge);
}

static void answered_program(Mount *mount, const BrokerReply *reply) {
        if (reply->error != -ETIMEDOUT) /* nobody knows then: it stays at what it may be */
                mount_charge_programs(mount, reply->value);
        if (reply->error == -EDQUOT)
                say_quota(mount);
        if (reply->error >= 0)
                memcpy(mount->program, mount->asked_program, sizeof mount->program);
}

static void answered_attach(Mount *mount, const BrokerReply *reply) {
        if (reply->error >= 0)
                mount->record.program_bound = true;
}

static const ChannelRow rows[_CHANNEL_COMMAND_MAX] = {
        [CHANNEL_PROGRAM] = {true, false, BROKER_PROGRAM, ask_program, charge_program, answered_program},
        [CHANNEL_PROGRAM_ATTACH] = {true, false, BROKER_ATTACH, ask_attach, NULL, answered_attach},
        [CHANNEL_CLONE] = {true, false, BROKER_CLONE, ask_clone, NULL, NULL},
        [CHANNEL_PRESSURE] = {true, false, BROKER_PRESSURE, ask_clone, NULL, NULL},
        [CHANNEL_BACKING_SOCKET] = {true, false, BROKER_BACKING_SOCKET, ask_backing, charge_worker, answered_backing_socket},
        [CHANNEL_BACKING_OPEN] = {true, true, BROKER_BACKING_OPEN, ask_backing, charge_backing, answered_backing},
        [CHANNEL_BACKING_CLOSE] = {true, true, BROKER_BACKING_CLOSE, ask_backing, NULL, answered_backing},
};

static void on_answered(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds) {
        Mount *mount = userdata;
        const ChannelRow *row = &rows[mount->channel_command];

        mount->channel_call = NULL;
        if (row->answered)
                row->answered(mount, reply);
        if (mount->channel)
                channel_done(mount->channel, reply->error, row->answer, reply->value);
}

/* Before the mount there is nothing to clone; while it goes down there is nobody to ask. */
static void hook_ask(void *userdata, const ChannelRequest *request) {
        Mount *mount = userdata;
        BrokerRequest to = {.mount_id = mount->record.mount_id};
        const ChannelRow *row = &rows[request->command];
        const bool had_worker = mount->backing_worker_charge.user;
        int r = 0;

        if (!row->known)
                r = -EOPNOTSUPP;
        else if (mount->state != MOUNT_LIVE && mount->state != MOUNT_MOUNTING)
                r = -ENOTCONN;
        if (r >= 0 && row->charge)
                r = row->charge(mount, request);
        if (r >= 0) {
                row->fill(mount, request, &to);
                to.magic = BROKER_MAGIC;
                to.operation = row->operation;
                if (broker_request_validate(&to, broker_request_size(row->operation)) < 0) /* its own words, which the broker would not forgive us */
                        r = -EINVAL;
        }
        if (r >= 0) {
                mount->channel_command = request->command;
                memcpy(mount->asked_program, request->name, sizeof mount->asked_program);
                r = broker_client_call(mount->manager->broker, &to, row->operation, NULL, 0, ANSWER_USEC, on_answered, mount, &mount->channel_call);
        }
        if (r < 0) {
                mount_charge_backings(mount, mount->record.n_backings);
                mount_charge_programs(mount, mount->record.program_mib);
                if (!had_worker)
                        quota_charge_release(&mount->backing_worker_charge);
                channel_done(mount->channel, r, /* answer= */ true, 0);
        }
}

static void hook_ended(void *userdata, const char *why) {
        Mount *mount = userdata;

        if (why)
                mount_log(mount, LOG_LEVEL_NOTICE, "channel", why);
}

static const ChannelHooks channel_hooks = {.ask = hook_ask, .ended = hook_ended};

int mount_take_channel(Mount *mount, int fd) {
        return channel_new(mount->manager->event, fd, &channel_hooks, mount, &mount->channel);
}

void mount_drop_channel(Mount *mount) {
        mount->channel_call = broker_call_forget(mount->channel_call);
        mount->channel = channel_free(mount->channel);
}

static void on_opened(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds) {
        Mount *mount = userdata;
        int r = reply->error;

        mount->call = NULL;
        if (r >= 0)
                r = n_fds == 1 ? mount_take_channel(mount, TAKE_FD(fds[0])) : -EPROTO;
        if (mount->service)
                service_file_sent(mount->service, reply->error);
        if (r < 0 && reply->error >= 0)
                mount_fail(mount, 0, OUTCOME_FAILED, "its channel cannot be watched: %s", strerror(-r));
}

void mount_open_channel(Mount *mount) {
        BrokerRequest request = {.mount_id = mount->record.mount_id};
        int r;

        r = broker_client_call(mount->manager->broker, &request, BROKER_CHANNEL, NULL, 0, ANSWER_USEC, on_opened, mount, &mount->call);
        if (r < 0)
                mount_fail(mount, 0, OUTCOME_FAILED, "the broker cannot be asked: %s", strerror(-r));
}
