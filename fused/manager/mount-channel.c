/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What comes in over a server's second channel, for its mount: passed on to the broker. */

#include <string.h>

#include "base/fd.h"
#include "manager/mount-internal.h"

#define ANSWER_USEC (20 * USEC_PER_SEC) /* before the server gives up: FUSE_SERVICE_TIMEOUT_SEC */

static void on_answered(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds) {
        Mount *mount = userdata;

        mount->channel_call = NULL;
        if (mount->channel)
                channel_done(mount->channel, reply->error, /* answer= */ false, 0);
}

static void ask_clone(Mount *mount, const ChannelRequest *request, BrokerRequest *to) {
        to->clone.channel_serial = request->serial;
}

typedef struct ChannelRow {
        bool known;
        BrokerOperation operation;
        void (*fill)(Mount *mount, const ChannelRequest *request, BrokerRequest *to);
} ChannelRow;

static const ChannelRow rows[_CHANNEL_COMMAND_MAX] = {
        [CHANNEL_CLONE] = {.known = true, .operation = BROKER_CLONE, .fill = ask_clone},
};

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
        if (r >= 0) {
                row->fill(mount, request, &to);
                r = broker_client_call(mount->manager->broker, &to, row->operation, NULL, 0, ANSWER_USEC, on_answered, mount, &mount->channel_call);
        }
        if (r < 0)
                channel_done(mount->channel, r, /* answer= */ true, 0);
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
