/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What comes in over a server's second channel, for its mount: passed on to the broker. */

#include <string.h>

#include "base/fd.h"
#include "manager/mount-internal.h"

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

static int charge_worker(Mount *mount) {
        return charge(mount, QUOTA_PROCESSES, 1, /* enforce= */ true, &mount->backing_worker_charge);
}

static int charge_backing(Mount *mount) {
        return charge(mount, QUOTA_FDS, mount->record.n_backings + 1, /* enforce= */ true, &mount->backing_charge);
}

void mount_charge_backings(Mount *mount, uint32_t n) {
        mount->record.n_backings = n;
        (void) charge(mount, QUOTA_FDS, n, /* enforce= */ false, &mount->backing_charge);
}

/* ---- requests ------------------------------------------------------------------------------------------------------- */

static void ask_clone(const ChannelRequest *request, BrokerRequest *to) {
        to->clone.channel_serial = request->serial;
}

static void ask_backing(const ChannelRequest *request, BrokerRequest *to) {
        to->backing = (BrokerBacking){.channel_serial = request->serial, .value = request->value};
}

static void ask_program(const ChannelRequest *request, BrokerRequest *to) {
        to->program.channel_serial = request->serial;
        to->program.n_tables = request->n_tables;
        memcpy(to->program.name, request->name, sizeof to->program.name);
        memcpy(to->program.tables, request->tables, sizeof to->program.tables);
}

typedef struct ChannelRow {
        bool known;
        bool answer; /* by us, with a value; else the broker has answered a success */
        BrokerOperation operation;
        void (*fill)(const ChannelRequest *request, BrokerRequest *to);
        int (*charge)(Mount *mount); /* beforehand; NULL: nothing */
        bool is_backing;
} ChannelRow;

static const ChannelRow rows[_CHANNEL_COMMAND_MAX] = {
        [CHANNEL_PROGRAM] = {.known = true, .operation = BROKER_PROGRAM, .fill = ask_program},
        [CHANNEL_CLONE] = {.known = true, .operation = BROKER_CLONE, .fill = ask_clone},
        [CHANNEL_BACKING_SOCKET] = {.known = true, .operation = BROKER_BACKING_SOCKET, .fill = ask_backing, .charge = charge_worker},
        [CHANNEL_BACKING_OPEN] = {true, true, BROKER_BACKING_OPEN, ask_backing, charge_backing, .is_backing = true},
        [CHANNEL_BACKING_CLOSE] = {true, true, BROKER_BACKING_CLOSE, ask_backing, NULL, .is_backing = true},
};

static void on_answered(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds) {
        Mount *mount = userdata;
        const ChannelRow *row = &rows[mount->channel_command];

        mount->channel_call = NULL;
        if (row->is_backing) /* what was charged beforehand may not have come about */
                mount_charge_backings(mount, reply->error < 0 ? mount->record.n_backings : reply->n_backings);
        if (mount->channel_command == CHANNEL_BACKING_SOCKET && reply->error < 0 && reply->error != -EALREADY)
                quota_charge_release(&mount->backing_worker_charge);
        if (mount->channel_command == CHANNEL_PROGRAM && reply->error >= 0)
                memcpy(mount->program, mount->asked_program, sizeof mount->program);
        if (mount->channel)
                channel_done(mount->channel, reply->error, row->answer, reply->value);
}

/* Before the mount there is nothing to clone; while it goes down there is nobody to ask. */
static void hook_ask(void *userdata, const ChannelRequest *request) {
        Mount *mount = userdata;
        BrokerRequest to = {.mount_id = mount->record.mount_id};
        const ChannelRow *row = &rows[request->command];
        int r = 0;

        if (!row->known)
                r = -EOPNOTSUPP;
        else if (mount->state != MOUNT_LIVE && mount->state != MOUNT_MOUNTING)
                r = -ENOTCONN;
        if (r >= 0 && row->charge)
                r = row->charge(mount);
        if (r >= 0) {
                row->fill(request, &to);
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
