/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What peer.c (connections), call.c (calls that wait), control.c (the socket) and news.c (signals) share. Nobody else includes this. */

#include "base/log.h"
#include "manager/peer.h"

struct Peer {
        Control *control;       /* borrowed */
        Peer *next, **previous; /* Control.peers */
        int fd;                 /* owned: sd-bus closes its own when the client hangs up, while we still watch it */
        int bus_fd;             /* owned until the bus has it */
        sd_bus *bus;            /* owned; NULL until the client has said something sensible: sd_bus_start() reads at once */
        sd_event_source *io, *deadline, *again; /* owned */
        QuotaCharge charge;
        uid_t uid;
        gid_t gid;
        uint64_t n_messages;
        int events;             /* that io is for */
        uint32_t n_checked;     /* messages that sd-bus may read without another look: they came with the end of authentication */
        bool authenticated;
        bool hung_up;           /* no more comes than is in the socket */
        bool subscribed;        /* gets news.c's signals */
        bool doomed;            /* freed once the loop is not inside it any more */
        Call *calls;
        size_t n_calls;
};

struct Control {
        Manager *manager; /* borrowed */
        int listen_fd;    /* owned */
        sd_event_source *io, *pause; /* owned */
        Peer *peers;      /* owned list */
        size_t n_peers;
        Call *orphans;    /* owned list: calls that somebody holds whose peer is gone */
        LogRate rate;
};

struct Call {
        Peer *peer; /* borrowed; NULL: gone */
        Call *next, **previous; /* Peer.calls or Control.orphans */
        sd_bus_message *message; /* owned: stands for the client's, with its serial but not its content */
        Mount *mount; /* borrowed: waits for this call's client */
};

/* peer.c */
void peer_free(Peer *peer);
void peer_schedule(Peer *peer); /* something was queued for it outside of its own turn */

/* call.c */
void call_orphan(Call *call, Control *control); /* its client has gone; who holds it does not know */
