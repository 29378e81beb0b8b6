/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connections of clients. See peer.h.
 *
 * sd-bus is driven from here and not attached to the loop: before it reads, peer_guard looks at what is there. A message that is
 * not whole stays in the socket, with a deadline; as the socket is watched for edges, it does not keep the loop busy. */

#include "manager/peer.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "manager/bus.h"
#include "manager/mount.h"
#include "manager/peer-guard.h"
#include "manager/peer-internal.h"

#define MESSAGES_PER_TURN 16

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

bool peer_may_see(const Peer *peer, const Mount *mount) {
        return peer->uid == 0 || peer->uid == mount->record.uid;
}

void peer_subscribe(Peer *peer) {
        const int size = PEER_SIGNALS_BUFFER; /* sd-bus asks for megabytes, which a client that does not read would keep */

        (void) setsockopt(peer->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        peer->subscribed = true;
}

void peer_free(Peer *peer) {
        while (peer->calls) {
                Call *call = peer->calls;
                Mount *mount = TAKE_PTR(call->mount);
                if (mount) {
                        mount_client_gone(mount); /* it will not call back */
                        (void) call_free(call);
                } else
                        call_orphan(call, peer->control);
        }
        mounts_forget_connection(peer->control->manager, peer);
        (void) sd_event_source_disable_unref(peer->io);
        (void) sd_event_source_disable_unref(peer->deadline);
        (void) sd_event_source_disable_unref(peer->again);
        if (peer->bus) {
                sd_bus_close(peer->bus);
                (void) sd_bus_unref(peer->bus);
        }
        peer->bus_fd = fd_close(peer->bus_fd);
        peer->fd = fd_close(peer->fd);
        quota_charge_release(&peer->charge);
        *peer->previous = peer->next;
        if (peer->next)
                peer->next->previous = peer->previous;
        peer->control->n_peers--;
        free(peer);
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

static uint8_t peek_buffer[PEER_MESSAGE_MAX]; /* one thread; nobody keeps a pointer into it */

/* What is in the socket, at most size bytes of it, left there; and how many descriptors come with these bytes. */
static ssize_t peek(const Peer *peer, size_t size, size_t *ret_n_fds) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * 253)]; /* SCM_MAX_FD */
        } control;
        struct iovec iov = {.iov_base = peek_buffer, .iov_len = size};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
        size_t n_fds = 0;
        ssize_t n;

        n = RET_NERRNO(recvmsg(peer->fd, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
        if (n < 0)
                return n;
        for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
                if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
                        continue;
                int fds[253];
                size_t k = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                memcpy(fds, CMSG_DATA(header), k * sizeof(int));
                fd_close_many(fds, k); /* copies: the message's own are still in the socket */
                n_fds += k;
        }
        if (message.msg_flags & MSG_CTRUNC)
                return -EMFILE;
        *ret_n_fds = n_fds;
        return n;
}

typedef enum Glance {
        GLANCE_WAIT,  /* there is something, but not enough */
        GLANCE_EMPTY,
        GLANCE_READ,  /* sd-bus may read one message, or what there is of authentication */
        GLANCE_END,   /* sd-bus is to see the end of file */
} Glance;

/* Looks at what is in the socket before sd-bus does. A Glance, or negative errno to hang up. */
static int guard(Peer *peer) {
        uint32_t declared = 0;
        size_t n_fds, size;
        PeerGuard verdict;
        ssize_t n;

        n = RET_NERRNO(recv(peer->fd, peek_buffer, sizeof peek_buffer, MSG_PEEK | MSG_DONTWAIT));
        if (n == -EAGAIN)
                return GLANCE_EMPTY;
        if (n <= 0)
                return n < 0 ? (int) n : peer->bus ? GLANCE_END : -ECONNRESET;
        size = (size_t) n;
        verdict = peer->authenticated ? peer_guard_message(peek_buffer, size, &size, &declared)
                                      : peer_guard_auth(peek_buffer, size, &peer->n_checked);
        if (verdict == PEER_GUARD_BAD)
                return -EBADMSG;
        if (verdict == PEER_GUARD_PART) {
                int r = peer->hung_up ? -ECONNRESET : size < sizeof peek_buffer ? arm(peer, PEER_MESSAGE_USEC) : -E2BIG;
                return r < 0 ? r : GLANCE_WAIT;
        }
        n = peek(peer, size, &n_fds);
        if (n < 0)
                return (int) n;
        return (size_t) n == size && n_fds == declared ? GLANCE_READ : -EBADMSG;
}

static uint64_t n_unread(const Peer *peer) {
        uint64_t n = 0;

        if (peer->bus)
                (void) sd_bus_get_n_queued_write(peer->bus, &n);
        return n;
}

static int start_bus(Peer *peer);

/* A step of authentication. The guard sees every byte of it before sd-bus does. */
static int authenticate(Peer *peer) {
        int r, glance;

        glance = guard(peer);
        if (glance < 0)
                return glance;
        if (!peer->bus)
                return glance == GLANCE_READ ? start_bus(peer) : 0;
        if (glance == GLANCE_WAIT)
                return 0;
        r = sd_bus_process(peer->bus, NULL);
        if (r < 0 || peer->doomed)
                return r < 0 ? r : -ECONNRESET;
        if (sd_bus_is_ready(peer->bus) > 0) {
                peer->authenticated = true;
                peer->deadline = sd_event_source_disable_unref(peer->deadline);
                return 1; /* messages may have come with the end of it */
        }
        return r;
}

/* One message. Returns > 0 if there may be more, 0 if nothing can be read now. */
static int process_one(Peer *peer) {
        uint64_t n_messages = peer->n_messages, queued = n_unread(peer);
        int r, glance = GLANCE_READ;

        if (peer->doomed)
                return -ECONNRESET;
        if (!peer->authenticated)
                return authenticate(peer);
        if (peer->n_checked == 0) {
                glance = guard(peer);
                if (glance < 0)
                        return glance;
                if (glance < GLANCE_READ && queued == 0)
                        return 0;
        }
        r = sd_bus_process(peer->bus, NULL);
        if (r < 0 || peer->doomed)
                return r < 0 ? r : -ECONNRESET;
        if (peer->n_messages > n_messages) {
                peer->deadline = sd_event_source_disable_unref(peer->deadline);
                peer->n_checked -= peer->n_checked > 0;
        } else if (glance == GLANCE_READ && n_unread(peer) == queued)
                return -EBADMSG; /* there was a whole message, and sd-bus has thrown it away */
        return r;
}

/* Returns < 0 when the connection is over, > 0 if there may be more. */
static int process(Peer *peer) {
        for (int i = 0; i < MESSAGES_PER_TURN; i++) {
                int r = process_one(peer);
                if (r <= 0)
                        return r;
                if (n_unread(peer) > PEER_REPLIES_MAX + (peer->subscribed ? PEER_SIGNALS_MAX : 0))
                        return -ENOBUFS;
        }
        return 1;
}

/* After sd-bus has had its turn: what does it wait for? */
static int watch(Peer *peer, bool more) {
        int r, events;

        if (!peer->bus)
                return 0;
        events = sd_bus_get_events(peer->bus);
        if (events < 0)
                return events;
        if (events != peer->events) { /* setting them is an edge by itself */
                r = sd_event_source_set_io_events(peer->io, (uint32_t) events | EPOLLET);
                if (r < 0)
                        return r;
                peer->events = events;
        }
        return sd_event_source_set_enabled(peer->again, more ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int run(Peer *peer) {
        int r, more;

        more = process(peer);
        r = more < 0 ? more : watch(peer, more > 0);
        if (r < 0) {
                if (r != -ECONNRESET && r != -EPIPE)
                        log_debug("uid %u: connection closed: %s", peer->uid, strerror(-r));
                peer_free(peer);
        }
        return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Peer *peer = userdata;

        peer->hung_up = revents & (EPOLLHUP | EPOLLERR);
        return run(peer);
}

static int on_again(sd_event_source *source, void *userdata) {
        return run(userdata);
}

/* A reply was queued outside of sd_bus_process(): it may have to wait for room in the socket. */
void peer_schedule(Peer *peer) {
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

static int start_bus(Peer *peer) {
        sd_id128_t id;
        int r;

        r = sd_bus_new(&peer->bus);
        if (r < 0)
                return r;
        r = sd_bus_set_fd(peer->bus, peer->bus_fd, peer->bus_fd);
        if (r < 0)
                return r;
        (void) TAKE_FD(peer->bus_fd);
        r = sd_id128_randomize(&id);
        if (r < 0)
                return r;
        r = sd_bus_set_server(peer->bus, true, id);
        if (r < 0)
                return r;
        r = sd_bus_negotiate_fds(peer->bus, true);
        if (r < 0)
                return r;
        r = sd_bus_negotiate_creds(peer->bus, false, _SD_BUS_CREDS_ALL); /* nobody looks anything up in /proc */
        if (r < 0)
                return r;
        r = sd_bus_add_filter(peer->bus, NULL, on_message, peer);
        if (r < 0)
                return r;
        r = bus_add_objects(peer->bus, peer);
        if (r < 0)
                return r;
        r = sd_bus_start(peer->bus);
        return r < 0 ? r : 1;
}

static int watch_first(Peer *peer) {
        sd_event *event = peer->control->manager->event;
        int r;

        r = sd_event_add_io(event, &peer->io, peer->fd, EPOLLIN | EPOLLET, on_io, peer);
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
        *peer = (Peer){.control = control, .fd = -EBADF, .bus_fd = -EBADF, .events = EPOLLIN, .next = control->peers, .previous = &control->peers};
        if (peer->next)
                peer->next->previous = &peer->next;
        control->peers = peer;
        control->n_peers++;

        r = control->n_peers > PEERS_MAX ? -EUSERS : fd_dup(owned);
        if (r >= 0) {
                peer->fd = r;
                r = identify(peer);
        }
        if (r >= 0)
                r = quota_charge(control->manager->quota, peer->uid, QUOTA_CONNECTIONS, 1,
                                 peer->uid == 0 ? PEERS_OF_ROOT_MAX : PEERS_PER_USER_MAX, &peer->charge);
        if (r >= 0) {
                peer->bus_fd = TAKE_FD(owned);
                r = watch_first(peer);
        }
        if (r < 0)
                peer_free(peer);
        return r;
}
