/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mount's way down. There is one: whatever the reason, the mount is detached, the connection dropped, the server ended and
 * reaped, and only then is everything given back and the end reported.
 *
 *   mount_end() -> the worker that mounts, if it still does, is killed and reaped, so that nothing it does can come later
 *   -> detach (worker) -> drop connection -> server exits, or is killed at its deadline -> mount_free()
 *
 * The worker for backing files is killed at the beginning. It may hang in a file system of the user's choosing: then the mount, with
 * the uid and all that it is charged with, stays until that lets go. */

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/log.h"
#include "broker/keep.h"
#include "broker/manager-link.h"
#include "broker/mount.h"
#include "broker/spares.h"
#include "broker/unit.h"

#define UNMOUNT_USEC (10 * USEC_PER_SEC)
#define KILL_AGAIN_USEC (5 * USEC_PER_SEC)

static void end_server(Mount *mount);
static void detach(Mount *mount);

/* The kernel has shut the connection down: the last reference to the superblock is gone, or it was aborted. */
static bool is_disconnected(const Mount *mount) {
        struct pollfd p = {.fd = mount->fuse_fd};
        uint32_t waiting;

        if (mount->fuse_fd < 0) /* lost over a restart */
                return host_connection_waiting(&mount->broker->host, mount->record.connection, &waiting) == -ENOENT;
        return poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

static void abort_connection(const Mount *mount) {
        if (mount->abort_fd >= 0)
                (void) write(mount->abort_fd, "1", 1); /* nothing happens if it is gone */
}

static void kill_server(Mount *mount) {
        if (mount->server_pidfd >= 0)
                (void) pidfd_send_signal(mount->server_pidfd, SIGKILL, NULL, 0);
        if (mount->cgroup)
                cgroup_kill(mount->cgroup);
}

/* sd-event asks once when the pidfd says that the server has ended. While a debugger has the server the answer is "not yet",
 * and it never asks again. */
static bool ended_unseen(Mount *mount) {
        siginfo_t info = {0};

        if (mount->is_unit || mount->server_pidfd < 0)
                return false;
        if (waitid(P_PIDFD, (id_t) mount->server_pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
                return false;
        (void) mount_on_server_exit(NULL, &info, mount);
        return true;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        Mount *mount = userdata;
        unsigned long long id = mount->record.mount_id;

        mount->deadline = sd_event_source_disable_unref(mount->deadline);
        if (mount->state == MOUNT_ENDING && ended_unseen(mount))
                return 0;
        if (mount->state != MOUNT_ENDING) {
                log_warning("mount %llu: nothing has happened in state %s, taking it down", id, mount_state_to_string(mount->state));
                mount_end(mount, BROKER_REASON_DEADLINE, /* graceful= */ false);
                return 0;
        }
        if (mount->state == MOUNT_ENDING && !mount->nowhere) {
                log_error("mount %llu: a worker is killed but not gone", id);
                mount->worker = worker_link_cancel(mount->worker);
                mount->unmounter = worker_link_cancel(mount->unmounter);
                detach(mount);
                return 0;
        }
        if (mount->server_pid == 0) { /* nothing helps but the end of that file system */
                log_warning("mount %llu: the worker for its backing files is killed but not gone, as a file system hangs", id);
                return 0;
        }
        if (mount->graceful)
                log_warning("mount %llu: server %d has not ended in time, killing it", id, mount->server_pid);
        else
                log_error("mount %llu: server %d is killed but not gone", id, mount->server_pid);
        mount->graceful = false;
        if (mount->record.live_usec > 0)
                abort_connection(mount); /* frees who waits for it */
        kill_server(mount);
        mount_arm(mount, KILL_AGAIN_USEC);
        return 0;
}

void mount_arm(Mount *mount, uint64_t usec) {
        int r;

        mount->deadline = sd_event_source_disable_unref(mount->deadline);
        r = sd_event_add_time_relative(mount->broker->event, &mount->deadline, CLOCK_MONOTONIC, usec, USEC_PER_MSEC, on_deadline, mount);
        if (r < 0)
                log_error("mount %llu: no deadline can be set: %s", (unsigned long long) mount->record.mount_id, strerror(-r));
}

void mount_release(Mount *mount) {
        Broker *broker = mount->broker;

        mount->worker = worker_link_cancel(mount->worker);
        mount->unmounter = worker_link_cancel(mount->unmounter);
        mount->backing_worker = worker_link_cancel(mount->backing_worker);
        mount->backing_ending = worker_link_cancel(mount->backing_ending);
        mount_program_end(mount);
        (void) sd_event_source_disable_unref(mount->server_child);
        (void) sd_event_source_disable_unref(mount->server_late);
        (void) sd_event_source_disable_unref(mount->deadline);
        (void) sd_event_source_disable_unref(mount->owner_gone);
        spare_give_back(mount);
        mount->cgroup = cgroup_free(mount->cgroup);
        identity_done(&mount->identity);
        int *const held[] = {&mount->caller_fd, &mount->mountpoint_fd, &mount->owner_pidfd, &mount->fuse_fd, &mount->abort_fd,
                             &mount->channel_fd, &mount->second_fd, &mount->backing_servers_fd, &mount->stderr_fd, &mount->server_pidfd};
        for (size_t i = 0; i < ELEMENTSOF(held); i++)
                *held[i] = fd_close(*held[i]);
        fd_close_many(mount->slot_fds, POLICY_SLOTS_MAX);
        fd_close_many(mount->direct_fds, POLICY_SLOTS_MAX);
        fd_close_many(mount->clone_fds, POLICY_CLONES_MAX);
        mount->policy = policy_unref(mount->policy);

        *mount->previous = mount->next;
        if (mount->next)
                mount->next->previous = mount->previous;
        broker->n_mounts--;
        free(mount);
}

/* Gives everything back. The end is reported after that, so that who waits for it finds nothing left. */
static void mount_free(Mount *mount) {
        Broker *broker = mount->broker;
        BrokerEvent event = {
                .mount_id = mount->record.mount_id,
                .reason = mount->reason,
                .exit_code = mount->exit_code,
                .exit_status = mount->exit_status,
        };

        keep_forget(mount);
        mount_release(mount);
        manager_event(broker, &event, BROKER_EVENT_ENDED, NULL, 0);
        if (broker->stopping && (broker->n_mounts == 0 || broker->units))
                broker_stopped(broker);
}

void mount_check_end(Mount *mount) {
        if (mount->state == MOUNT_ENDING && mount->nowhere && mount->server_pid == 0 && !mount->backing_ending)
                mount_free(mount);
}

static void on_detached(const WorkerReport *report, int *fds, size_t n_fds, void *userdata) {
        Mount *mount = userdata;

        mount->unmounter = NULL;
        if (report->error < 0)
                log_warning("mount %llu: could not be detached from %s: %s", (unsigned long long) mount->record.mount_id,
                            mount->record.mount_ns_inode ? "its namespace" : "its mount point", strerror(-report->error));
        mount->attached = false;
        end_server(mount);
}

static int start_unmount(Mount *mount, bool lazy, worker_report_t on_report) {
        WorkerJob job = {
                .kind = WORKER_UNMOUNT,
                .user = (uid_t) -1,
                .host = &mount->broker->host,
                .mountpoint_fd = mount->mountpoint_fd,
                .owner_fd = -EBADF,
                .mount_ns_inode = mount->record.mount_ns_inode,
                .mount_ns_id = mount->record.mount_ns_id,
                .kernel_mount_id = mount->record.kernel_mount_id,
                .mount_id_unique = mount->record.mount_id_unique,
                .lazy = lazy,
        };

        int r = worker_link_new(mount->broker, &job, UNMOUNT_USEC, on_report, mount, &mount->unmounter);

        if (r == -ENOMEM || r == -EAGAIN) /* a mount would be left behind: it is worth a second try */
                r = worker_link_new(mount->broker, &job, UNMOUNT_USEC, on_report, mount, &mount->unmounter);
        return r;
}

/* The mount is nowhere any more (or never was). */
static void end_server(Mount *mount) {
        mount->nowhere = true;
        mount_program_end(mount);
        mount->fuse_fd = fd_close(mount->fuse_fd);
        if (mount->server_pid > 0 && mount->graceful)
                mount_arm(mount, mount->type->stop_usec);
        else {
                if (mount->server_pid > 0) /* else a sandbox that was not used may be in its cgroup, for the next mount */
                        kill_server(mount);
                mount_arm(mount, KILL_AGAIN_USEC);
        }
        mount_check_end(mount);
}

static void detach(Mount *mount) {
        if (mount->worker || mount->unmounter)
                return; /* not yet */
        mount->deadline = sd_event_source_disable_unref(mount->deadline); /* the worker has its own */
        if (mount->attached && start_unmount(mount, /* lazy= */ true, on_detached) >= 0)
                return;
        end_server(mount);
}

static void on_worker_gone(const WorkerReport *mounted, void *userdata) {
        Mount *mount = userdata;

        mount->worker = NULL;
        if (mounted) {
                mount->record.connection = mounted->connection;
                mount->record.kernel_mount_id = mounted->kernel_mount_id;
                mount->record.mount_id_unique = mounted->mount_id_unique;
                mount->attached = mount->mountpoint_fd >= 0;
        }
        detach(mount);
}

static void on_unmounter_gone(const WorkerReport *mounted, void *userdata) {
        Mount *mount = userdata;

        mount->unmounter = NULL;
        detach(mount);
}

void mount_end(Mount *mount, BrokerEndReason reason, bool graceful) {
        BrokerRequest request = {.operation = mount->operation, .serial = mount->serial, .mount_id = mount->record.mount_id};
        BrokerReply reply = {.error = mount->operation == BROKER_END ? 0 : -ECANCELED, .record = mount->record}; /* who wants its end gets it */
        bool was_live = mount->state == MOUNT_LIVE, was_mounting = mount->state == MOUNT_MOUNTING;

        if (mount->state == MOUNT_ENDING)
                return;
        mount->state = MOUNT_ENDING;
        mount_backing_end(mount); /* it has the FUSE device */
        mount->reason = reason;
        mount->graceful = graceful;
        mount_arm(mount, UNMOUNT_USEC);
        if (was_mounting && mount->worker)
                worker_link_end(mount->worker, on_worker_gone);
        else
                mount->worker = worker_link_cancel(mount->worker);
        if (mount->unmounter)
                worker_link_end(mount->unmounter, on_unmounter_gone);
        if (mount->unit)
                unit_expect(mount->unit, NULL, NULL);
        if (mount->has_request) {
                mount->has_request = false;
                manager_reply(mount->broker, &request, &reply, NULL, 0);
        }
        if (was_live && !graceful)
                abort_connection(mount);
        detach(mount);
}

int mount_on_server_exit(sd_event_source *source, const siginfo_t *info, void *userdata) {
        Mount *mount = userdata;
        BrokerEvent event = {.mount_id = mount->record.mount_id, .exit_code = info->si_code, .exit_status = info->si_status};

        mount->exit_code = info->si_code;
        mount->exit_status = info->si_status;
        mount->server_pid = 0;
        mount->server_child = sd_event_source_disable_unref(mount->server_child); /* it watches the descriptor */
        mount->server_pidfd = fd_close(mount->server_pidfd);
        manager_event(mount->broker, &event, BROKER_EVENT_SERVER_EXIT, NULL, 0);

        if (mount->state == MOUNT_LIVE && mount->unmounter)
                return 0; /* it left because it is being unmounted; the worker's report comes next and decides */
        if (mount->state != MOUNT_ENDING) {
                bool unmounted = mount->state == MOUNT_LIVE && is_disconnected(mount);
                mount_end(mount, unmounted ? BROKER_REASON_UNMOUNTED : BROKER_REASON_SERVER_EXIT, /* graceful= */ false);
        } else
                mount_check_end(mount); /* else it is freed once it is detached */
        return 0;
}

static int on_owner_gone(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Mount *mount = userdata;

        mount->owner_gone = sd_event_source_disable_unref(mount->owner_gone);
        log_info("mount %llu: process %d, with which it was to end, has ended", (unsigned long long) mount->record.mount_id,
                 mount->record.owner_pid);
        mount_end(mount, BROKER_REASON_OWNER_GONE, /* graceful= */ mount->state == MOUNT_LIVE);
        return 0;
}

int mount_watch_owner(Mount *mount) {
        if (mount->owner_pidfd < 0)
                return 0;
        return sd_event_add_io(mount->broker->event, &mount->owner_gone, mount->owner_pidfd, EPOLLIN, on_owner_gone, mount);
}

static void on_unmounted(const WorkerReport *report, int *fds, size_t n_fds, void *userdata) {
        Mount *mount = userdata;
        BrokerRequest request = {.operation = BROKER_END, .serial = mount->serial, .mount_id = mount->record.mount_id};
        BrokerReply reply = {.error = report->error, .record = mount->record};

        mount->unmounter = NULL;
        mount->has_request = false;
        manager_reply(mount->broker, &request, &reply, NULL, 0);
        if (report->error < 0) {
                if (mount->server_pid == 0 && mount->type->hand_over != POLICY_HAND_OVER_CALLER) /* it has ended meanwhile */
                        mount_end(mount, BROKER_REASON_SERVER_EXIT, /* graceful= */ false);
                return; /* busy: everything is as it was */
        }
        mount->attached = false;
        mount_end(mount, BROKER_REASON_UNMOUNTED, /* graceful= */ true);
}

/* Safe: it can only take down what fused itself has made, by identity; nothing of the host is named. */
void mount_request_end(Mount *mount, const BrokerRequest *request) {
        BrokerEndHow how = request->end.how;
        BrokerReply reply = {.record = mount->record};
        bool live = mount->state == MOUNT_LIVE;

        if ((how == BROKER_END_UNMOUNT || how == BROKER_END_LAZY) && live && mount->attached && !mount->unmounter) {
                reply.error = start_unmount(mount, how == BROKER_END_LAZY, on_unmounted);
                if (reply.error >= 0) {
                        mount->serial = request->serial;
                        mount->operation = BROKER_END;
                        mount->has_request = true;
                        return;
                }
        } else if (how == BROKER_END_UNMOUNT && live && (mount->unmounter || !is_disconnected(mount)))
                reply.error = -EBUSY; /* detached: its holders end it; or somebody else is at it */
        manager_reply(mount->broker, request, &reply, NULL, 0);
        if (reply.error < 0)
                return;
        mount_end(mount,
                  how == BROKER_END_CANCEL  ? BROKER_REASON_CANCELLED
                  : how == BROKER_END_ABORT ? BROKER_REASON_ABORTED
                                            : BROKER_REASON_UNMOUNTED,
                  /* graceful= */ how == BROKER_END_UNMOUNT && live);
}

/* A server may die while one of its threads waits, in the kernel, for a request that its other threads were to answer. The kernel calls such
 * a process neither gone nor readable on its pidfd (from Linux 6.15 on not even on that of its first thread), and the descriptors that its threads
 * share stay open. So it is looked for; the end of the connection frees it. */
static bool is_held_up(Mount *mount) {
        struct pollfd p = {.fd = mount->server_pidfd, .events = POLLIN};
        const bool before = mount->server_held_up;

        mount->server_held_up = mount->server_pid > 0 && poll(&p, 1, 0) == 0 && host_process_is_held_up(&mount->broker->host, mount->server_pid);
        return before && mount->server_held_up; /* it may have been on its way at the first look */
}

void mounts_check(Broker *broker) {
        for (Mount *mount = broker->mounts, *next; mount; mount = next) {
                next = mount->next;
                if (mount->state != MOUNT_LIVE || mount->unmounter)
                        continue;
                if (is_disconnected(mount))
                        mount_end(mount, BROKER_REASON_UNMOUNTED, /* graceful= */ true);
                else if (is_held_up(mount)) {
                        log_warning("mount %llu: server %d has been killed and waits for itself, ending the connection",
                                    (unsigned long long) mount->record.mount_id, mount->server_pid);
                        mount_end(mount, BROKER_REASON_SERVER_EXIT, /* graceful= */ false);
                }
        }
}

void mounts_cancel_pending(Broker *broker) {
        for (Mount *mount = broker->mounts, *next; mount; mount = next) {
                next = mount->next;
                mount->has_request = mount->backing_asked = mount->program_asked = false; /* nobody is there to hear it */
                if (mount->state != MOUNT_LIVE)
                        mount_end(mount, BROKER_REASON_CANCELLED, /* graceful= */ false);
        }
}
