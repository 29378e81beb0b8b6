/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connections of clients. See peer.h.
 *
 * sd-bus is driven from here and not attached to the loop: before it reads, peer_guard looks at what is there, and after
 * it has read, an incomplete message gets a deadline. */

#include "manager/peer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "manager/bus.h"
#include "manager/mount.h"
#include "manager/peer-guard.h"

#define ACCEPTS_PER_TURN 16
#define MESSAGES_PER_TURN 16
#define ACCEPT_PAUSE_USEC (100 * USEC_PER_MSEC)

struct Peer {
        Control *control;       /* borrowed */
        Peer *next, **previous; /* Control.peers */
        int fd;                 /* borrowed: the bus owns it */
        sd_bus *bus;            /* owned */
        sd_event_source *io, *deadline, *again; /* owned */
        QuotaCharge charge;
        uid_t uid;
        gid_t gid;
        uint64_t n_messages;
        bool at_boundary;       /* the next byte is the first of a message */
        bool authenticated;
        bool begun;             /* its first message came together with the end of authentication */
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

Manager *peer_manager(const Peer *peer) {
        return peer->control->manager;
}

uid_t peer_uid(const Peer *peer) {
        return peer->uid;
}

gid_t peer_gid(const Peer *peer) {
        return peer->gid;
}

int peer_fd(const Peer *peer) {
        return peer->fd;
}

size_t control_n_peers(const Control *control) {
        return control->n_peers;
}

/* ---- calls ---------------------------------------------------------------------------------------------------------- */

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

/* Its client has gone; who holds it does not know. */
static void call_orphan(Call *call, Control *control) {
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

static void schedule(Peer *peer);

void call_send(Call *call, sd_bus_message *reply) {
        Peer *peer = call->peer;

        if (peer && reply) {
                (void) sd_bus_send(peer->bus, reply, NULL); /* a client that has gone is noticed when its socket is read */
                schedule(peer);
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
                schedule(call->peer);
        }
        (void) call_free(call);
}

/* ---- one connection ------------------------------------------------------------------------------------------------- */

static void peer_free(Peer *peer) {
        while (peer->calls) {
                Call *call = peer->calls;
                Mount *mount = TAKE_PTR(call->mount);
                if (mount) {
                        mount_client_gone(mount); /* it will not call back */
                        (void) call_free(call);
                } else
                        call_orphan(call, peer->control);
        }
        (void) sd_event_source_disable_unref(peer->io);
        (void) sd_event_source_disable_unref(peer->deadline);
        (void) sd_event_source_disable_unref(peer->again);
        if (peer->bus) {
                sd_bus_close(peer->bus);
                (void) sd_bus_unref(peer->bus);
        }
        quota_charge_release(&peer->charge);
        *peer->previous = peer->next;
        if (peer->next)
                peer->next->previous = peer->previous;
        peer->control->n_peers--;
        free(peer);
}

/* A descriptor flood: a connection that has left a message half-read while our table is more than half full. */
static bool descriptors_are_short(const Peer *peer) {
        struct rlimit limit;
        int threshold, fd;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return false;
        threshold = (int) MIN_OF(limit.rlim_cur / 2, (rlim_t) 1 << 20);
        fd = fcntl(peer->fd, F_DUPFD_CLOEXEC, threshold);
        if (fd >= 0)
                (void) fd_close(fd);
        return fd != threshold;
}

/* Looks at what is in the socket before sd-bus does. Returns > 0 if it may read, 0 if there is nothing, < 0 to hang up. */
static int guard(Peer *peer) {
        uint8_t head[PEER_HEAD_MAX + 256];
        ssize_t n;
        int r;

        n = RET_NERRNO(recv(peer->fd, head, sizeof head, MSG_PEEK | MSG_DONTWAIT));
        if (n == -EAGAIN)
                return 0;
        if (n < 0)
                return (int) n;
        if (n == 0)
                return 1; /* end of file: sd-bus is to see it */
        if (peer->authenticated)
                r = peer_guard_message(head, (size_t) n);
        else {
                r = peer_guard_auth(head, (size_t) n);
                peer->begun = r > 0;
        }
        return r < 0 ? r : 1;
}

static int on_late(sd_event_source *source, uint64_t usec, void *userdata) {
        Peer *peer = userdata;

        log_debug("uid %u: %s in time, closing", peer->uid, peer->authenticated ? "has not finished a message" : "has not authenticated");
        peer_free(peer);
        return 0;
}

static int arm(Peer *peer, uint64_t usec) {
        if (peer->deadline)
                return 0; /* it counts from the first byte */
        return sd_event_add_time_relative(peer->control->manager->event, &peer->deadline, CLOCK_MONOTONIC, usec, 10 * USEC_PER_MSEC, on_late, peer);
}

static uint64_t n_unread(const Peer *peer) {
        uint64_t n = 0;

        (void) sd_bus_get_n_queued_write(peer->bus, &n);
        return n;
}

/* What one call of sd_bus_process() has done to us. */
static void note_progress(Peer *peer, uint64_t n_messages, uint64_t queued, bool progress) {
        if (!peer->authenticated) {
                if (sd_bus_is_ready(peer->bus) <= 0)
                        return;
                peer->authenticated = true;
                peer->at_boundary = !peer->begun || peer->n_messages > n_messages;
                peer->deadline = sd_event_source_disable_unref(peer->deadline);
        } else if (peer->n_messages > n_messages) {
                peer->at_boundary = true;
                peer->deadline = sd_event_source_disable_unref(peer->deadline);
        } else if (progress && n_unread(peer) == queued)
                peer->at_boundary = false; /* it has read, and that was no whole message */
}

/* Lets sd-bus read and dispatch. Returns < 0 when the connection is over, > 0 if there may be more. */
static int process(Peer *peer) {
        for (int i = 0; i < MESSAGES_PER_TURN; i++) {
                uint64_t n_messages = peer->n_messages, queued = n_unread(peer);
                int r;

                if (!peer->authenticated || peer->at_boundary) {
                        r = guard(peer);
                        if (r < 0)
                                return r;
                        if (r == 0 && peer->authenticated && queued == 0)
                                return 0;
                }
                r = sd_bus_process(peer->bus, NULL);
                if (r < 0 || peer->doomed)
                        return r < 0 ? r : -ECONNRESET;
                note_progress(peer, n_messages, queued, r > 0);
                if (n_unread(peer) > PEER_REPLIES_MAX)
                        return -ENOBUFS;
                if (r == 0)
                        return 0;
        }
        return 1;
}

/* After sd-bus has had its turn: what does it wait for? */
static int watch(Peer *peer, bool more) {
        int r, events;

        events = sd_bus_get_events(peer->bus);
        if (events < 0)
                return events;
        r = sd_event_source_set_io_events(peer->io, (uint32_t) events);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(peer->again, more ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int run(Peer *peer) {
        int r, more;

        more = process(peer);
        r = more < 0 ? more : watch(peer, more > 0);
        if (r >= 0 && more == 0 && peer->authenticated && !peer->at_boundary)
                r = descriptors_are_short(peer) ? -EMFILE : arm(peer, PEER_MESSAGE_USEC);
        if (r < 0) {
                if (r != -ECONNRESET && r != -EPIPE)
                        log_debug("uid %u: connection closed: %s", peer->uid, strerror(-r));
                peer_free(peer);
        }
        return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        return run(userdata);
}

static int on_again(sd_event_source *source, void *userdata) {
        return run(userdata);
}

/* A reply was queued outside of sd_bus_process(): it may have to wait for room in the socket. */
static void schedule(Peer *peer) {
        (void) sd_event_source_set_enabled(peer->again, SD_EVENT_ONESHOT);
}

/* Sees every message first. */
static int on_message(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Peer *peer = userdata;

        peer->n_messages++;
        if (sd_bus_message_is_signal(message, "org.freedesktop.DBus.Local", "Disconnected")) {
                peer->doomed = true;
                return 1;
        }
        /* busctl and other clients of a message bus begin with Hello, and need a name for an answer. */
        if (sd_bus_message_is_method_call(message, "org.freedesktop.DBus", "Hello"))
                return sd_bus_reply_method_return(message, "s", ":1.0");
        return 0;
}

static int identify(Peer *peer) {
        struct ucred credentials;
        socklen_t size = sizeof credentials;
        int r;

        r = RET_NERRNO(getsockopt(peer->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size));
        if (r < 0)
                return r;
        peer->uid = credentials.uid;
        peer->gid = credentials.gid;
        return 0;
}

static int start_bus(Peer *peer, int fd) {
        _cleanup_fd_ int owned = fd;
        sd_id128_t id;
        int r;

        r = sd_bus_new(&peer->bus);
        if (r < 0)
                return r;
        r = sd_bus_set_fd(peer->bus, fd, fd);
        if (r < 0)
                return r;
        TAKE_FD(owned);
        r = sd_id128_randomize(&id);
        if (r < 0)
                return r;
        r = sd_bus_set_server(peer->bus, true, id);
        if (r < 0)
                return r;
        r = sd_bus_negotiate_fds(peer->bus, true);
        if (r < 0)
                return r;
        r = sd_bus_negotiate_creds(peer->bus, false, UINT64_MAX); /* nobody looks anything up in /proc */
        if (r < 0)
                return r;
        r = sd_bus_add_filter(peer->bus, NULL, on_message, peer);
        if (r < 0)
                return r;
        r = bus_add_objects(peer->bus, peer);
        if (r < 0)
                return r;
        return sd_bus_start(peer->bus);
}

static int watch_first(Peer *peer) {
        sd_event *event = peer->control->manager->event;
        int r;

        r = sd_event_add_io(event, &peer->io, peer->fd, EPOLLIN, on_io, peer);
        if (r < 0)
                return r;
        r = sd_event_add_defer(event, &peer->again, on_again, peer);
        if (r < 0)
                return r;
        return arm(peer, PEER_AUTH_USEC);
}

int control_add_peer(Control *control, int fd) {
        _cleanup_fd_ int owned = fd;
        Peer *peer = calloc(1, sizeof *peer);
        int r;

        if (!peer)
                return -ENOMEM;
        *peer = (Peer){.control = control, .fd = fd, .next = control->peers, .previous = &control->peers};
        if (peer->next)
                peer->next->previous = &peer->next;
        control->peers = peer;
        control->n_peers++;

        r = control->n_peers > PEERS_MAX ? -EUSERS : identify(peer);
        if (r >= 0)
                r = quota_charge(control->manager->quota, peer->uid, QUOTA_CONNECTIONS, 1, peer->uid == 0 ? PEERS_OF_ROOT_MAX : PEERS_PER_USER_MAX, &peer->charge);
        if (r >= 0)
                r = start_bus(peer, TAKE_FD(owned));
        if (r >= 0)
                r = watch_first(peer);
        if (r < 0)
                peer_free(peer);
        return r;
}

/* ---- the control socket --------------------------------------------------------------------------------------------- */

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata) {
        Control *control = userdata;

        control->pause = sd_event_source_disable_unref(control->pause);
        return sd_event_source_set_enabled(control->io, SD_EVENT_ON);
}

/* Nothing can be accepted now (descriptors, memory): try again soon, and do not spin meanwhile. */
static int pause_accepting(Control *control) {
        int r;

        r = sd_event_source_set_enabled(control->io, SD_EVENT_OFF);
        if (r < 0)
                return r;
        return sd_event_add_time_relative(control->manager->event, &control->pause, CLOCK_MONOTONIC, ACCEPT_PAUSE_USEC, USEC_PER_MSEC, on_pause_over, control);
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata) {
        Control *control = userdata;
        uint32_t dropped;

        for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
                int r, fd = RET_NERRNO(accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));

                if (fd == -EAGAIN)
                        return 0;
                if (fd == -ECONNABORTED || fd == -EINTR)
                        continue;
                if (fd < 0) {
                        if (log_rate_ok(&control->rate, 5, 10 * USEC_PER_SEC, &dropped))
                                log_warning("no connection can be accepted now: %s", strerror(-fd));
                        return pause_accepting(control);
                }
                r = control_add_peer(control, fd);
                if (r < 0 && log_rate_ok(&control->rate, 5, 10 * USEC_PER_SEC, &dropped))
                        log_warning("connection refused: %s", r == -EDQUOT ? "its user has too many" : r == -EUSERS ? "there are too many" : strerror(-r));
        }
        return 0;
}

int control_new(Manager *manager, int listen_fd, Control **ret) {
        _cleanup_fd_ int owned = listen_fd;
        Control *control = calloc(1, sizeof *control);
        int r;

        if (!control)
                return -ENOMEM;
        control->manager = manager;
        control->listen_fd = TAKE_FD(owned);
        r = fd_set_nonblock(control->listen_fd, true);
        if (r >= 0)
                r = sd_event_add_io(manager->event, &control->io, control->listen_fd, EPOLLIN, on_connection, control);
        if (r >= 0)
                r = sd_event_source_set_priority(control->io, SD_EVENT_PRIORITY_NORMAL + 10); /* who is here goes first */
        if (r < 0) {
                (void) control_free(control);
                return r;
        }
        *ret = control;
        return 0;
}

Control *control_free(Control *control) {
        if (!control)
                return NULL;
        while (control->peers)
                peer_free(control->peers);
        while (control->orphans)
                (void) call_free(control->orphans); /* who held them is about to go without calling back */
        (void) sd_event_source_disable_unref(control->io);
        (void) sd_event_source_disable_unref(control->pause);
        control->listen_fd = fd_close(control->listen_fd);
        free(control);
        return NULL;
}
