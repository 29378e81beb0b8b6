/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The broker's end of a worker. A link outlives its user until the process is reaped, so that none is ever lost, not even
 * one that hangs in an uninterruptible wait. */

#include "broker/worker-link.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/log.h"

#define HANGING_MAX 32 /* of a user: many may be on their way out at a time, too */

struct WorkerLink {
        WorkerLink *next, **previous; /* Broker.workers */
        uid_t user;
        bool killed;
        pid_t pid;
        bool reaped;
        int fd; /* owned */
        worker_report_t on_report; /* NULL: cancelled or finished */
        worker_gone_t on_gone;     /* NULL: nobody waits for its end */
        void *userdata;            /* borrowed */
        sd_event_source *io, *child, *deadline; /* owned */
};

static void link_free(WorkerLink *link) {
        *link->previous = link->next;
        if (link->next)
                link->next->previous = link->previous;
        (void) sd_event_source_disable_unref(link->io);
        (void) sd_event_source_disable_unref(link->child);
        (void) sd_event_source_disable_unref(link->deadline);
        link->fd = fd_close(link->fd);
        free(link);
}

/* No more reports; the process, if it is still there, is on its way out. */
static void link_finish(WorkerLink *link) {
        link->on_report = NULL;
        link->io = sd_event_source_disable_unref(link->io);
        link->deadline = sd_event_source_disable_unref(link->deadline);
        link->killed = true;
        if (!link->reaped)
                (void) kill(link->pid, SIGKILL); /* ours and not reaped: the number cannot be anybody else's */
}

/* The callback may cancel the link, or start another: it is finished before the call. */
static void link_report_error(WorkerLink *link, int error) {
        WorkerReport report = {.kind = WORKER_REPORT_DONE, .error = error};
        worker_report_t on_report = link->on_report;
        void *userdata = link->userdata;

        link_finish(link);
        if (on_report)
                on_report(&report, NULL, 0, userdata);
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        WorkerLink *link = userdata;
        int fds[WORKER_FDS_MAX];
        WorkerReport report;
        size_t n_fds = 0;
        ssize_t n;

        n = fd_receive(fd, &report, sizeof report, fds, ELEMENTSOF(fds), &n_fds, MSG_DONTWAIT);
        if (n == -EAGAIN)
                return 0;
        if (n != (ssize_t) sizeof report || report.kind >= _WORKER_REPORT_MAX) {
                if (n > 0)
                        fd_close_many(fds, n_fds);
                link_report_error(link, -ECHILD);
                return 0;
        }

        worker_report_t on_report = link->on_report;
        void *callback_data = link->userdata;
        if (report.error < 0 || report.kind == WORKER_REPORT_LIVE || report.kind == WORKER_REPORT_DONE)
                link_finish(link);
        else if (report.kind == WORKER_REPORT_PREPARED || report.kind == WORKER_REPORT_READY)
                link->deadline = sd_event_source_disable_unref(link->deadline); /* it waits for us now */
        if (on_report)
                on_report(&report, fds, n_fds, callback_data);
        fd_close_many(fds, n_fds);
        return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        WorkerLink *link = userdata;

        log_warning("worker %d has not finished in time, killing it", link->pid);
        link_report_error(link, -ETIMEDOUT);
        return 0;
}

/* It may have made a mount, and said so, before it was killed. */
static void tell_gone(WorkerLink *link) {
        WorkerReport report, mounted;
        bool has_mounted = false;
        ssize_t n;

        do {
                int fds[WORKER_FDS_MAX];
                size_t n_fds = 0;
                n = fd_receive(link->fd, &report, sizeof report, fds, ELEMENTSOF(fds), &n_fds, MSG_DONTWAIT);
                if (n > 0)
                        fd_close_many(fds, n_fds);
                if (n == (ssize_t) sizeof report && report.kind == WORKER_REPORT_MOUNTED) {
                        mounted = report;
                        has_mounted = true;
                }
        } while (n > 0);
        link->on_gone(has_mounted ? &mounted : NULL, link->userdata);
}

static int on_exit_of_worker(sd_event_source *source, const siginfo_t *info, void *userdata) {
        WorkerLink *link = userdata;

        link->reaped = true;
        /* What it said before it ended is still in the socket: at most one report of each kind, and the end of file. */
        for (unsigned i = 0; link->io && i <= _WORKER_REPORT_MAX; i++)
                (void) on_readable(link->io, link->fd, 0, link);
        if (link->on_report)
                link_report_error(link, -ECHILD);
        if (link->on_gone)
                tell_gone(link);
        link_free(link);
        return 0;
}

static int arm(sd_event *event, WorkerLink *link, uint64_t deadline_usec) {
        link->deadline = sd_event_source_disable_unref(link->deadline);
        return sd_event_add_time_relative(event, &link->deadline, CLOCK_MONOTONIC, deadline_usec, USEC_PER_MSEC, on_deadline, link);
}

static bool has_too_many(const Broker *broker, uid_t user) {
        static LogRate rate;
        uint32_t dropped;
        unsigned n = 0;

        for (const WorkerLink *link = broker->workers; link; link = link->next)
                n += link->killed && link->user == user;
        if (user == (uid_t) -1 || n < HANGING_MAX)
                return false;
        if (log_rate_ok(&rate, 1, 10 * USEC_PER_SEC, &dropped))
                log_warning("user %u has %u workers that are killed but not gone, and gets no other", user, n);
        return true;
}

int worker_link_new(Broker *broker, const WorkerJob *job, uint64_t deadline_usec, worker_report_t on_report, void *userdata,
                    WorkerLink **ret) {
        WorkerLink *link = NULL;
        int r;

        if (has_too_many(broker, job->user))
                return -EBUSY;
        link = calloc(1, sizeof *link);
        if (!link)
                return -ENOMEM;
        *link = (WorkerLink){.fd = -EBADF, .user = job->user, .on_report = on_report, .userdata = userdata};
        r = worker_start(job, &link->pid, &link->fd);
        if (r < 0) {
                free(link);
                return r;
        }
        link->next = broker->workers;
        link->previous = &broker->workers;
        if (link->next)
                link->next->previous = &link->next;
        broker->workers = link;
        r = sd_event_add_child(broker->event, &link->child, link->pid, WEXITED, on_exit_of_worker, link);
        if (r >= 0)
                r = sd_event_add_io(broker->event, &link->io, link->fd, EPOLLIN, on_readable, link);
        if (r >= 0)
                r = arm(broker->event, link, deadline_usec);
        if (r < 0) {
                (void) kill(link->pid, SIGKILL);
                (void) waitpid(link->pid, NULL, 0);
                link->reaped = true;
                link_free(link);
                return r;
        }
        *ret = link;
        return 0;
}

int worker_link_go(WorkerLink *link, const WorkerGo *go, uint64_t deadline_usec) {
        int r;

        r = arm(sd_event_source_get_event(link->io), link, deadline_usec);
        if (r < 0)
                return r;
        return fd_send(link->fd, go, sizeof *go, NULL, 0);
}

int worker_link_order(WorkerLink *link, const WorkerOrder *order, uint64_t deadline_usec) {
        int r = arm(sd_event_source_get_event(link->io), link, deadline_usec);

        return r < 0 ? r : fd_send(link->fd, order, sizeof *order, NULL, 0);
}

int worker_link_admit(WorkerLink *link, uid_t server_uid) {
        const WorkerAdmit admit = {.server_uid = server_uid};

        return fd_send(link->fd, &admit, sizeof admit, NULL, 0);
}

void worker_link_end(WorkerLink *link, worker_gone_t on_gone) {
        link_finish(link);
        link->on_gone = on_gone;
}

WorkerLink *worker_link_cancel(WorkerLink *link) {
        if (link) {
                link_finish(link);
                link->on_gone = NULL;
        }
        return NULL;
}
