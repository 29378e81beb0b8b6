/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls that wait for an answer. See peer.h. */

#include "manager/bus.h"
#include "manager/peer-internal.h"

/* A message of our own that has the client's serial: sd-bus makes replies and errors from it as from the original. */
static int stand_in(sd_bus *bus, sd_bus_message *original, sd_bus_message **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        uint64_t cookie;
        int r;

        r = sd_bus_message_get_cookie(original, &cookie);
        if (r < 0)
                return r;
        r = sd_bus_message_new_method_call(bus, &message, NULL, BUS_OBJECT_PATH, BUS_INTERFACE, "Call");
        if (r < 0)
                return r;
        r = sd_bus_message_seal(message, cookie, 0);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(message);
        return 0;
}

static void call_unlink(Call *call) {
        *call->previous = call->next;
        if (call->next)
                call->next->previous = call->previous;
        if (call->peer)
                call->peer->n_calls--;
}

static void call_link(Call *call, Call **list) {
        call->next = *list;
        call->previous = list;
        if (call->next)
                call->next->previous = &call->next;
        *list = call;
}

int call_new(Peer *peer, sd_bus_message *message, Call **ret) {
        Call *call;
        int r;

        if (peer->n_calls >= PEER_CALLS_MAX)
                return -EBUSY;
        call = calloc(1, sizeof *call);
        if (!call)
                return -ENOMEM;
        r = stand_in(peer->bus, message, &call->message);
        if (r < 0) {
                free(call);
                return r;
        }
        call->peer = peer;
        call_link(call, &peer->calls);
        peer->n_calls++;
        *ret = call;
        return 0;
}

Call *call_free(Call *call) {
        if (!call)
                return NULL;
        call_unlink(call);
        (void) sd_bus_message_unref(call->message);
        free(call);
        return NULL;
}

void call_orphan(Call *call, Control *control) {
        call_unlink(call);
        call->peer = NULL;
        call->message = sd_bus_message_unref(call->message);
        call_link(call, &control->orphans);
}

Peer *call_peer(const Call *call) {
        return call->peer;
}

void call_set_mount(Call *call, Mount *mount) {
        call->mount = mount;
}

int call_new_reply(Call *call, sd_bus_message **ret) {
        return call->peer ? sd_bus_message_new_method_return(call->message, ret) : -ENOTCONN;
}

void call_send(Call *call, sd_bus_message *reply) {
        Peer *peer = call->peer;

        if (peer && reply) {
                (void) sd_bus_send(peer->bus, reply, NULL); /* a client that has gone is noticed when its socket is read */
                peer_schedule(peer);
        }
        (void) sd_bus_message_unref(reply);
        (void) call_free(call);
}

int peer_reply_outcome(sd_bus_message *message, const Outcome *outcome) {
        return sd_bus_reply_method_errorf(message, outcome_bus_name(outcome->kind), "%s", outcome->text);
}

void call_fail(Call *call, const Outcome *outcome) {
        if (call->peer) {
                (void) peer_reply_outcome(call->message, outcome);
                peer_schedule(call->peer);
        }
        (void) call_free(call);
}
