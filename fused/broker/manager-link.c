/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The manager's process and socket. See manager-link.h.
 *
 * Messages that do not fit into the socket wait in a queue; a manager that does not read for so long that the queue is full
 * is as broken as one that breaks the rules. */

#include "broker/manager-link.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/message-id.h"
#include "broker/mount.h"
#include "broker/operations.h"

#define QUEUE_MAX 16384
#define RESTART_USEC_MIN (100 * USEC_PER_MSEC)
#define RESTART_USEC_MAX (10 * USEC_PER_SEC)
#define STEADY_USEC (30 * USEC_PER_SEC) /* a manager that has run so long starts with a clean record */

typedef struct Message {
        struct Message *next;
        size_t size;
        int fds[4]; /* owned */
        size_t n_fds;
        union {
                BrokerReply reply;
                BrokerEvent event;
        };
} Message;

struct ManagerLink {
        Broker *broker; /* borrowed */
        pid_t pid;      /* 0: none runs */
        int pidfd;      /* owned */
        int fd;         /* owned */
        sd_event_source *io, *child, *restart; /* owned */
        Message *first, **last; /* owned queue */
        size_t n_queued;
        uint64_t started_usec, delay_usec;
};

static void queue_clear(ManagerLink *link) {
        while (link->first) {
                Message *message = link->first;
                link->first = message->next;
                fd_close_many(message->fds, message->n_fds);
                free(message);
        }
        link->last = &link->first;
        link->n_queued = 0;
}

ManagerLink *manager_link_new(Broker *broker) {
        ManagerLink *link = calloc(1, sizeof *link);

        if (link)
                *link = (ManagerLink){.broker = broker, .fd = -EBADF, .pidfd = -EBADF, .last = &link->first, .delay_usec = RESTART_USEC_MIN};
        return link;
}

/* Ends the conversation; the process is killed and reaped by its child source. */
static void hang_up(ManagerLink *link) {
        link->io = sd_event_source_disable_unref(link->io);
        link->fd = fd_close(link->fd);
        queue_clear(link);
        if (link->pid > 0)
                (void) kill(link->pid, SIGKILL); /* ours, not reaped */
}

ManagerLink *manager_link_free(ManagerLink *link) {
        if (!link)
                return NULL;
        hang_up(link);
        (void) sd_event_source_disable_unref(link->child);
        (void) sd_event_source_disable_unref(link->restart);
        if (link->pid > 0)
                (void) waitpid(link->pid, NULL, 0);
        link->pidfd = fd_close(link->pidfd);
        free(link);
        return NULL;
}

pid_t manager_link_pid(const ManagerLink *link) {
        return link ? link->pid : 0;
}

static int send_message(int fd, const Message *message) {
        return fd_send(fd, &message->reply, message->size, message->fds, message->n_fds);
}

static int flush(ManagerLink *link) {
        while (link->first) {
                Message *message = link->first;
                int r = send_message(link->fd, message);
                if (r == -EAGAIN)
                        break;
                if (r < 0)
                        return r;
                link->first = message->next;
                if (!link->first)
                        link->last = &link->first;
                link->n_queued--;
                fd_close_many(message->fds, message->n_fds);
                free(message);
        }
        return sd_event_source_set_io_events(link->io, link->first ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void enqueue(Broker *broker, const void *data, size_t size, const int *fds, size_t n_fds) {
        ManagerLink *link = broker->manager;
        Message *message;

        if (!link || link->fd < 0)
                return;
        if (link->n_queued >= QUEUE_MAX)
                return manager_violation(broker, "does not read");
        message = calloc(1, sizeof *message);
        if (!message)
                return manager_violation(broker, "out of memory");
        assert(n_fds <= ELEMENTSOF(message->fds));
        memcpy(&message->reply, data, size);
        message->size = size;
        for (size_t i = 0; i < n_fds; i++) {
                message->fds[i] = fd_dup(fds[i]);
                message->n_fds = i + 1;
                if (message->fds[i] < 0) {
                        fd_close_many(message->fds, message->n_fds);
                        free(message);
                        return manager_violation(broker, "no descriptor left for its message");
                }
        }
        *link->last = message;
        link->last = &message->next;
        link->n_queued++;
        if (flush(link) < 0)
                manager_violation(broker, "its socket is broken");
}

void manager_reply(Broker *broker, const BrokerRequest *request, BrokerReply *reply, const int *fds, size_t n_fds) {
        reply->magic = BROKER_MAGIC;
        reply->operation = request->operation;
        reply->serial = request->serial;
        if (reply->mount_id == 0)
                reply->mount_id = request->mount_id;
        enqueue(broker, reply, sizeof *reply, fds, n_fds);
}

void manager_event(Broker *broker, BrokerEvent *event, BrokerEventKind kind, const int *fds, size_t n_fds) {
        event->magic = BROKER_MAGIC;
        event->kind = (uint32_t) kind | BROKER_EVENT_BIT;
        enqueue(broker, event, sizeof *event, fds, n_fds);
}

void manager_violation(Broker *broker, const char *what) {
        log_error("manager %d broke the rules (%s), ending it", manager_link_pid(broker->manager), what);
        hang_up(broker->manager);
}

static int on_message(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        ManagerLink *link = userdata;
        Broker *broker = link->broker;
        const char *what = "unknown";
        int fds[BROKER_FDS_MAX];
        BrokerRequest request;
        size_t n_fds = 0;
        ssize_t n;

        if (revents & EPOLLOUT && flush(link) < 0) {
                manager_violation(broker, "its socket is broken");
                return 0;
        }
        if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                return 0;
        n = fd_receive(fd, &request, sizeof request, fds, ELEMENTSOF(fds), &n_fds, MSG_DONTWAIT);
        if (n == -EAGAIN)
                return 0;
        if (n == -EBADMSG) {
                manager_violation(broker, "oversized request or too many descriptors");
                return 0;
        }
        if (n <= 0) { /* it has gone, or is going: the child source sees to the rest */
                hang_up(link);
                return 0;
        }
        if (operation_dispatch(broker, &request, (size_t) n, fds, n_fds, &what) < 0)
                manager_violation(broker, what);
        fd_close_many(fds, n_fds);
        return 0;
}

static int on_restart(sd_event_source *source, uint64_t usec, void *userdata) {
        ManagerLink *link = userdata;

        link->restart = sd_event_source_disable_unref(link->restart);
        if (manager_link_start(link) < 0) {
                link->delay_usec = MIN_OF(link->delay_usec * 2, RESTART_USEC_MAX);
                (void) sd_event_add_time_relative(link->broker->event, &link->restart, CLOCK_MONOTONIC, link->delay_usec, 0, on_restart, link);
        }
        return 0;
}

static int on_manager_exit(sd_event_source *source, const siginfo_t *info, void *userdata) {
        ManagerLink *link = userdata;
        Broker *broker = link->broker;

        link->pid = 0;
        link->pidfd = fd_close(link->pidfd);
        link->child = sd_event_source_disable_unref(link->child);
        hang_up(link);
        if (broker->stopping)
                return 0;
        log_event(LOG_LEVEL_WARNING, MESSAGE_MANAGER_ENDED,
                  "manager has ended (%s %d), %zu mounts stay; starting another", info->si_code == CLD_EXITED ? "status" : "signal",
                    info->si_status, broker->n_mounts);
        mounts_cancel_pending(broker);
        if (clock_usec() - link->started_usec > STEADY_USEC)
                link->delay_usec = RESTART_USEC_MIN;
        (void) sd_event_add_time_relative(broker->event, &link->restart, CLOCK_MONOTONIC, link->delay_usec, 0, on_restart, link);
        link->delay_usec = MIN_OF(link->delay_usec * 2, RESTART_USEC_MAX);
        return 0;
}

/* What a new manager has to know: its socket, the policy, and the mounts that an earlier one made. */
static void introduce(ManagerLink *link) {
        Broker *broker = link->broker;
        BrokerEvent start = {.policy_generation = policy_generation(broker->policy)}, adopted = {0};
        const int fds[] = {broker->control_fd, policy_fd(broker->policy), broker->journal_fd};

        manager_event(broker, &start, BROKER_EVENT_START, fds, broker->journal_fd >= 0 ? 3 : 2);
        for (Mount *mount = broker->mounts; mount; mount = mount->next)
                if (mount->state == MOUNT_LIVE) {
                        BrokerEvent event = {.mount_id = mount->record.mount_id, .record = mount->record};
                        const int kept[] = {mount->stderr_fd, mount->second_fd};
                        manager_event(broker, &event, BROKER_EVENT_ADOPT, kept, mount->stderr_fd < 0 ? 0 : mount->second_fd < 0 ? 1 : 2);
                }
        manager_event(broker, &adopted, BROKER_EVENT_ADOPTED, NULL, 0);
}

int manager_link_start(ManagerLink *link) {
        Broker *broker = link->broker;
        const PolicyTable *table = policy_table(broker->policy);
        _cleanup_free_ char *program = NULL;
        _cleanup_fd_ int theirs = -EBADF;
        int pair[2], r;

        if (asprintf(&program, "%s/fused-manager", broker->libexec_directory) < 0)
                return -ENOMEM;
        r = RET_NERRNO(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
        if (r < 0)
                return r;
        link->fd = pair[0];
        theirs = pair[1];
        r = fd_set_nonblock(link->fd, true);
        if (r < 0)
                return r;

        const char *const arguments[] = {"fused-manager", NULL};
        SpawnManager spawn = {
                .program = program,
                .arguments = arguments,
                .root_ns_fd = broker->manager_root_fd,
                .host_ns_fd = broker->host.mount_ns_fd,
                .uid = table->manager_uid,
                .gid = table->manager_gid,
                .fds = &theirs,
                .n_fds = 1,
        };
        r = spawn_manager(&spawn, &link->pid, &link->pidfd);
        if (r < 0) {
                link->fd = fd_close(link->fd);
                return log_errno(r, "cannot start %s: %s", program, strerror(-r));
        }
        link->started_usec = clock_usec();
        r = sd_event_add_child(broker->event, &link->child, link->pid, WEXITED, on_manager_exit, link);
        if (r >= 0)
                r = sd_event_add_io(broker->event, &link->io, link->fd, EPOLLIN, on_message, link);
        if (r < 0)
                return log_errno(r, "cannot watch the manager: %s", strerror(-r));
        log_info("manager %d started as uid %u", link->pid, table->manager_uid);
        introduce(link);
        return 0;
}
