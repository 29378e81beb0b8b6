/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Clients: the control socket, one peer-to-peer sd-bus connection per client, and the calls that wait for an answer.
 *
 * A peer ends when its client hangs up, breaks the rules, does not authenticate in time, or leaves its replies unread; it ends
 * alone. A call outlives its peer, as somebody else may hold it: then its reply goes nowhere. */

#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "manager/manager.h"
#include "manager/outcome.h"

#define PEERS_MAX 4096U
#define PEERS_PER_USER_MAX 64U
#define PEERS_OF_ROOT_MAX 256U
#define PEER_CALLS_MAX 16U       /* in flight per connection */
#define PEER_REPLIES_MAX 32U     /* that the client has not read */
#define PEER_SIGNALS_MAX 128U    /* that a subscriber has not read */
#define PEER_SIGNALS_BUFFER (256 * 1024) /* of its socket, beside them */
#define PEER_AUTH_USEC (5 * USEC_PER_SEC)
#define PEER_MESSAGE_USEC (5 * USEC_PER_SEC) /* from the first byte of a message to its last */

typedef struct Peer Peer;
typedef struct Call Call;

/* Takes listen_fd over. */
int control_new(Manager *manager, int listen_fd, Control **ret) _must_check_;
Control *control_free(Control *control);
size_t control_n_peers(const Control *control);
/* A client's connection, as if accepted (for tests); takes fd over. */
int control_add_peer(Control *control, int fd) _must_check_;

Manager *peer_manager(const Peer *peer);
uid_t peer_uid(const Peer *peer); /* as the kernel had it at connect; the broker asks the kernel again */
gid_t peer_gid(const Peer *peer);
int peer_fd(const Peer *peer);    /* borrowed */
bool peer_may_see(const Peer *peer, const Mount *mount); /* it is its owner's, or root's */
void peer_subscribe(Peer *peer);  /* it wants news.h's signals */

/* Sets the message aside for a later answer, without what it carries: its descriptors go back with the message. */
int call_new(Peer *peer, sd_bus_message *message, Call **ret) _must_check_; /* -EBUSY: too many */
Call *call_free(Call *call);
Peer *call_peer(const Call *call); /* NULL: gone */
void call_set_mount(Call *call, Mount *mount); /* cancelled if the client goes; NULL: no more */
int call_new_reply(Call *call, sd_bus_message **ret) _must_check_; /* -ENOTCONN: the client has gone */
void call_send(Call *call, sd_bus_message *reply); /* both are used up */
void call_fail(Call *call, const Outcome *outcome); /* the call is used up */
int peer_reply_outcome(sd_bus_message *message, const Outcome *outcome); /* at once */
