/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The conversation with a server of hand-over `service`: libfuse's service protocol, this side in the mount helper's role.
 * Everything the server says is untrusted: packets are checked one by one against what is allowed now, slots are the only
 * things that it can open, and no word of it reaches a privileged process but as a checked number or a restricted name.
 *
 *   HELLO -> COMMANDS (OPEN, BDEV)* FSOPEN SOURCE MNTPT [OPTS] [MTAB] -> MOUNT -> ANSWERED -> BYE
 *
 * Whoever owns it makes the descriptors travel (BROKER_SEND_FILE) and makes the mount, through the hooks. One hook at a time is
 * on its way; meanwhile no packet is read. */

#include <systemd/sd-event.h>

#include "policy/options.h"
#include "wire/broker.h"

#define SERVICE_PACKETS_MAX 64U /* in one conversation */

typedef struct Service Service;

typedef struct ServiceHooks {
        /* Let the broker send this file; service_file_sent() follows, now or later. */
        void (*send_file)(void *userdata, const BrokerSendFile *file);
        /* The server wants its second channel: let the broker make it; service_file_sent() follows, now or later. */
        void (*open_channel)(void *userdata);
        /* The server wants the mount; service_mounted() follows, now or later. */
        void (*mount)(void *userdata, const BrokerMount *mount);
        /* The server broke the rules, said that it failed, or has gone before it was mounted. The service is dead, not freed. */
        void (*failed)(void *userdata, bool gone, const char *why);
        /* It is mounted, has said goodbye or gone: nothing more will come. The hook may free the service. */
        void (*finished)(void *userdata);
} ServiceHooks;

typedef struct ServiceParameters {
        const PolicyTable *table; /* these three outlive the service */
        const PolicyType *type;
        const char *server_options;
        uint32_t slots[POLICY_SLOTS_MAX]; /* BrokerSlotKind */
        MountOptions granted;
        uid_t owner_uid;  /* the caller, for a server that says by ServerOptions=owner= that it wants to know... */
        gid_t owner_gid;
        bool owner_known; /* ...and whose ids mean the same to it: not from another user namespace */
        bool sync_init; /* FUSE_INIT is answered inside the mount call: MOUNT is answered before it */
} ServiceParameters;

/* Takes socket_fd over, says hello. */
int service_new(sd_event *event, int socket_fd, const ServiceParameters *parameters, const ServiceHooks *hooks,
                void *userdata, Service **ret) _must_check_;
Service *service_free(Service *service);

void service_file_sent(Service *service, int error);    /* 0 or negative errno */
void service_superblock_made(Service *service);         /* without sync_init: the server may go on to answer FUSE_INIT */
void service_mounted(Service *service, int error);      /* the whole mount is made, or not */

/* What it waits for, as words for messages: "its hello", "its mount request". */
const char *service_step(const Service *service);
uint32_t service_n_refused(const Service *service); /* files asked for that are no slots */
