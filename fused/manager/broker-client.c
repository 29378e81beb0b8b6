/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests to the broker. See broker-client.h.
 *
 * A forgotten or expired call stays in the list until its reply comes, so that descriptors in it are closed and a reply
 * that belongs to nothing is still noticed as a fault. */

#include "manager/broker-client.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"

struct BrokerCall {
        BrokerClient *client; /* borrowed */
        BrokerCall *next;     /* BrokerClient.calls, oldest first */
        uint64_t serial;
        broker_reply_t on_reply; /* NULL: nobody waits */
        void *userdata;
        sd_event_source *deadline; /* owned */
        BrokerRequest *unsent;     /* owned; NULL once it is on its way */
        int fds[BROKER_FDS_MAX]; /* owned, of unsent */
        size_t n_fds;
        uint32_t operation;
        uint64_t mount_id;
};

struct BrokerClient {
        sd_event *event; /* owned reference */
        int fd;          /* owned */
        sd_event_source *io; /* owned */
        broker_event_t on_event;
        broker_lost_t on_lost;
        void *userdata;
        BrokerCall *calls, **last; /* owned list */
        size_t n_calls;
        uint64_t serial;
};

static void call_free(BrokerCall *call) {
        (void) sd_event_source_disable_unref(call->deadline);
        fd_close_many(call->fds, call->n_fds);
        free(call->unsent);
        free(call);
}

/* Takes the call out of the list; the caller frees it. */
static BrokerCall *take_call(BrokerClient *client, uint64_t serial) {
        for (BrokerCall **link = &client->calls; *link; link = &(*link)->next) {
                BrokerCall *call = *link;
                if (call->serial != serial)
                        continue;
                *link = call->next;
                if (client->last == &call->next)
                        client->last = link;
                client->n_calls--;
                return call;
        }
        return NULL;
}

static int flush(BrokerClient *client) {
        bool full = false;

        for (BrokerCall *call = client->calls; call && !full; call = call->next) {
                if (!call->unsent)
                        continue;
                int r = fd_send(client->fd, call->unsent, broker_request_size(call->operation), call->fds, call->n_fds);
                if (r == -EAGAIN)
                        full = true;
                else if (r < 0)
                        return r;
                else {
                        fd_close_many(call->fds, call->n_fds);
                        call->n_fds = 0;
                        free(call->unsent);
                        call->unsent = NULL;
                }
        }
        return sd_event_source_set_io_events(client->io, full ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void deliver(BrokerClient *client, BrokerCall *call, const BrokerReply *reply, int *fds, size_t n_fds) {
        broker_reply_t on_reply = call->on_reply;
        void *userdata = call->userdata;

        call_free(call); /* before the callback, which may free the client */
        if (on_reply)
                on_reply(userdata, reply, fds, n_fds);
}

/* Returns -EBADMSG for what a sound broker never sends. */
static int dispatch(BrokerClient *client, const void *message, size_t size, int *fds, size_t n_fds) {
        const BrokerReply *reply = message;
        bool is_event;
        int r;

        r = broker_reply_validate(message, size, &is_event);
        if (r < 0)
                return r;
        if (is_event) {
                client->on_event(client->userdata, message, fds, n_fds);
                return 0;
        }
        BrokerCall *call = take_call(client, reply->serial);
        if (!call)
                return -EBADMSG;
        if (call->operation != reply->operation || (call->mount_id && call->mount_id != reply->mount_id)) {
                call_free(call);
                return -EBADMSG;
        }
        deliver(client, call, reply, fds, n_fds);
        return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        BrokerClient *client = userdata;
        union {
                BrokerReply reply;
                BrokerEvent event;
        } message;
        int fds[BROKER_CLIENT_FDS_MAX], r;
        size_t n_fds = 0;
        ssize_t n;

        if (revents & EPOLLOUT) {
                r = flush(client);
                if (r < 0) {
                        client->on_lost(client->userdata, r);
                        return 0;
                }
        }
        if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                return 0;
        n = fd_receive(fd, &message, sizeof message, fds, ELEMENTSOF(fds), &n_fds, MSG_DONTWAIT);
        if (n == -EAGAIN)
                return 0;
        if (n <= 0) {
                client->on_lost(client->userdata, n < 0 ? (int) n : -ECONNRESET);
                return 0;
        }

        /* The callbacks may free the client: what is needed afterwards is saved here. */
        broker_lost_t on_lost = client->on_lost;
        void *lost_userdata = client->userdata;
        r = dispatch(client, &message, (size_t) n, fds, n_fds);
        fd_close_many(fds, n_fds);
        if (r < 0)
                on_lost(lost_userdata, r);
        return 0;
}

int broker_client_new(sd_event *event, int socket_fd, broker_event_t on_event, broker_lost_t on_lost, void *userdata, BrokerClient **ret) {
        BrokerClient *client = calloc(1, sizeof *client);
        int r;

        if (!client) {
                (void) fd_close(socket_fd);
                return -ENOMEM;
        }
        *client = (BrokerClient){.event = sd_event_ref(event), .fd = socket_fd, .on_event = on_event, .on_lost = on_lost, .userdata = userdata};
        client->last = &client->calls;
        r = fd_set_nonblock(socket_fd, true);
        if (r >= 0)
                r = sd_event_add_io(event, &client->io, socket_fd, EPOLLIN, on_io, client);
        if (r < 0) {
                (void) broker_client_free(client);
                return r;
        }
        *ret = client;
        return 0;
}

BrokerClient *broker_client_free(BrokerClient *client) {
        if (!client)
                return NULL;
        while (client->calls) {
                BrokerCall *call = client->calls;
                client->calls = call->next;
                call_free(call);
        }
        (void) sd_event_source_disable_unref(client->io);
        client->fd = fd_close(client->fd);
        (void) sd_event_unref(client->event);
        free(client);
        return NULL;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        BrokerCall *call = userdata;
        BrokerReply reply = {.magic = BROKER_MAGIC,
                             .operation = call->operation,
                             .serial = call->serial,
                             .mount_id = call->mount_id,
                             .error = -ETIMEDOUT};
        broker_reply_t on_reply = call->on_reply;

        call->deadline = sd_event_source_disable_unref(call->deadline);
        call->on_reply = NULL; /* it stays in the list for its late reply */
        if (on_reply)
                on_reply(call->userdata, &reply, NULL, 0);
        return 0;
}

/* Makes own copies of what cannot be sent now. */
static int keep_unsent(BrokerCall *call, const BrokerRequest *request, const int *fds, size_t n_fds) {
        size_t size = broker_request_size(call->operation);

        call->unsent = malloc(size);
        if (!call->unsent)
                return -ENOMEM;
        memcpy(call->unsent, request, size);
        for (size_t i = 0; i < n_fds; i++) {
                int fd = fd_dup(fds[i]);
                if (fd < 0)
                        return fd;
                call->fds[call->n_fds++] = fd;
        }
        return sd_event_source_set_io_events(call->client->io, EPOLLIN | EPOLLOUT);
}

int broker_client_call(BrokerClient *client, BrokerRequest *request, BrokerOperation operation, const int *fds, size_t n_fds, uint64_t timeout_usec,
                       broker_reply_t on_reply, void *userdata, BrokerCall **ret_call) {
        BrokerCall *call = calloc(1, sizeof *call);
        bool queue = false;
        int r;

        assert(n_fds <= ELEMENTSOF(call->fds));
        if (!call)
                return -ENOMEM;
        request->magic = BROKER_MAGIC;
        request->operation = operation;
        request->serial = ++client->serial;
        assert(broker_request_validate(request, broker_request_size(operation)) == 0);
        *call = (BrokerCall){.client = client, .serial = request->serial, .on_reply = on_reply, .userdata = userdata,
                             .operation = operation, .mount_id = request->mount_id};

        for (const BrokerCall *other = client->calls; other && !queue; other = other->next)
                queue = other->unsent; /* requests keep their order */
        r = sd_event_add_time_relative(client->event, &call->deadline, CLOCK_MONOTONIC, timeout_usec, 50 * USEC_PER_MSEC, on_deadline, call);
        if (r >= 0)
                r = queue ? -EAGAIN : fd_send(client->fd, request, broker_request_size(operation), fds, n_fds);
        if (r == -EAGAIN)
                r = keep_unsent(call, request, fds, n_fds);
        if (r < 0) {
                call_free(call);
                return r;
        }
        *client->last = call;
        client->last = &call->next;
        client->n_calls++;
        if (ret_call)
                *ret_call = call;
        return 0;
}

BrokerCall *broker_call_forget(BrokerCall *call) {
        if (call) {
                call->on_reply = NULL;
                call->deadline = sd_event_source_disable_unref(call->deadline);
        }
        return NULL;
}

size_t broker_client_n_calls(const BrokerClient *client) {
        return client->n_calls;
}
