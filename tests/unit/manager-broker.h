/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A broker for tests: the other end of the manager's socket, in the same thread. It records requests and says what the test
 * wants said. */

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "wire/broker.h"

typedef struct FakeBroker {
        int fd;
        int manager_fd; /* for manager_new() */
        BrokerRequest request; /* the last one */
        int fds[16];
        size_t n_fds;
        uint64_t next_id;
        int server_fd;  /* the server's end of the service socket, after SPAWN */
        int stderr_fd;  /* write end, after SPAWN */
} FakeBroker;

static inline void broker_open(FakeBroker *b) {
        int pair[2];

        memset(b, 0, sizeof *b);
        b->server_fd = b->stderr_fd = -EBADF;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                abort();
        b->fd = pair[0];
        b->manager_fd = pair[1];
}

static inline void broker_drop_fds(FakeBroker *b) {
        fd_close_many(b->fds, b->n_fds);
        b->n_fds = 0;
}

static inline void broker_close(FakeBroker *b) {
        broker_drop_fds(b);
        b->fd = fd_close(b->fd);
        b->server_fd = fd_close(b->server_fd);
        b->stderr_fd = fd_close(b->stderr_fd);
}

/* The next request, if there is one: 1, else 0. It must be well-formed. */
static inline int broker_next(FakeBroker *b) {
        ssize_t n;

        broker_drop_fds(b);
        n = fd_receive(b->fd, &b->request, sizeof b->request, b->fds, ELEMENTSOF(b->fds), &b->n_fds, MSG_DONTWAIT);
        if (n == -EAGAIN)
                return 0;
        if (n < 0 || broker_request_validate(&b->request, (size_t) n) < 0 || broker_request_n_fds(&b->request) != b->n_fds)
                abort();
        return 1;
}

static inline BrokerReply broker_reply_for(const FakeBroker *b, int error) {
        BrokerReply reply = {.magic = BROKER_MAGIC,
                             .operation = b->request.operation,
                             .serial = b->request.serial,
                             .mount_id = b->request.mount_id,
                             .error = error};

        return reply;
}

static inline void broker_send(FakeBroker *b, const BrokerReply *reply, const int *fds, size_t n_fds) {
        if (fd_send(b->fd, reply, sizeof *reply, fds, n_fds) < 0)
                abort();
}

static inline void broker_say(FakeBroker *b, int error) {
        BrokerReply reply = broker_reply_for(b, error);

        broker_send(b, &reply, NULL, 0);
}

static inline void broker_event(FakeBroker *b, BrokerEventKind kind, uint64_t id, const int *fds, size_t n_fds) {
        BrokerEvent event = {.magic = BROKER_MAGIC, .kind = (uint32_t) kind | BROKER_EVENT_BIT, .mount_id = id, .policy_generation = 1};

        if (fd_send(b->fd, &event, sizeof event, fds, n_fds) < 0)
                abort();
}

static inline void broker_event_exit(FakeBroker *b, BrokerEventKind kind, uint64_t id, BrokerEndReason reason, int code, int status) {
        BrokerEvent event = {.magic = BROKER_MAGIC,
                             .kind = (uint32_t) kind | BROKER_EVENT_BIT,
                             .mount_id = id,
                             .reason = reason,
                             .exit_code = code,
                             .exit_status = status};

        if (fd_send(b->fd, &event, sizeof event, NULL, 0) < 0)
                abort();
}

/* What a well-meaning broker answers to CREATE, SPAWN, MOUNT. */
static inline void broker_agree(FakeBroker *b, uid_t uid, bool service, bool sync_init) {
        BrokerReply reply = broker_reply_for(b, 0);
        int fds[2], n = 0, pipe_fds[2], pair[2];

        if (b->request.operation == BROKER_CREATE) {
                reply.mount_id = ++b->next_id;
                reply.record.options = b->request.create.options;
                memcpy(reply.record.slots, b->request.create.slots, sizeof reply.record.slots);
                memcpy(reply.record.server_options, b->request.create.server_options, sizeof reply.record.server_options);
                reply.record.flags = b->request.create.flags;
                strcpy(reply.record.type_name, service ? "svc" : "plain");
        }
        reply.record.mount_id = reply.mount_id;
        reply.record.uid = uid;
        reply.record.sync_init = sync_init;
        reply.record.policy_generation = 1;
        if (b->request.operation == BROKER_SPAWN) {
                if (pipe(pipe_fds) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                        abort();
                reply.record.server_pid = 4711;
                b->stderr_fd = pipe_fds[1];
                b->server_fd = pair[1];
                fds[n++] = pipe_fds[0];
                if (service)
                        fds[n++] = pair[0];
                broker_send(b, &reply, fds, (size_t) n);
                close(pipe_fds[0]);
                close(pair[0]);
                return;
        }
        if (b->request.operation == BROKER_MOUNT) {
                reply.record.kernel_mount_id = 77;
                reply.record.live_usec = 1000;
                reply.record.options = b->request.mount.options;
        }
        broker_send(b, &reply, NULL, 0);
}
