/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The worker process: its birth, its descriptors, its conversation. See worker.h. */

#include "broker/worker.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

static int compare_fds(const void *a, const void *b) {
        return *(const int *) a - *(const int *) b;
}

/* The broker's other descriptors must not live on in here: above all FUSE devices of other mounts, which would keep their
 * connections alive after their servers have died. */
static void close_all_except(int *keep, size_t n) {
        unsigned next = 3;

        qsort(keep, n, sizeof *keep, compare_fds);
        for (size_t i = 0; i < n; i++) {
                if (keep[i] < 3)
                        continue;
                if ((unsigned) keep[i] > next)
                        (void) syscall(SYS_close_range, next, (unsigned) keep[i] - 1, 0U);
                next = (unsigned) keep[i] + 1;
        }
        (void) syscall(SYS_close_range, next, ~0U, 0U);
}

static void keep_only_own(const WorkerJob *job, int socket_fd) {
        int keep[12 + POLICY_SLOTS_MAX];
        size_t n = 0;

        keep[n++] = socket_fd;
        keep[n++] = job->host->proc_fd;
        if (job->kind == WORKER_BACKING) {
                keep[n++] = job->fuse_fd;
                keep[n++] = job->files_fd;
                for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                        keep[n++] = job->slot_fds[i];
                return close_all_except(keep, n);
        }
        if (job->kind == WORKER_ATTACH) {
                keep[n++] = job->fuse_fd;
                keep[n++] = job->ops_fd;
                return close_all_except(keep, n);
        }
        keep[n++] = job->host->dev_fd;
        keep[n++] = job->host->fusectl_fd;
        keep[n++] = job->mountpoint_fd;
        if (job->kind != WORKER_UNMOUNT) {
                keep[n++] = job->caller_fd;
                keep[n++] = job->owner_fd;
                if (job->identity)
                        keep[n++] = job->identity->pidfd;
                for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                        keep[n++] = job->slot_fds[i];
        }
        close_all_except(keep, n);
}

/* A refusal is cheap: no server is started for it. */
static int await_uid(WorkerJob *job, int socket_fd, WorkerReport *report) {
        WorkerAdmit admit;
        ssize_t n;
        int r;

        report->kind = WORKER_REPORT_ALLOWED;
        r = fd_send(socket_fd, report, sizeof *report, NULL, 0);
        if (r < 0)
                return r;
        n = fd_receive(socket_fd, &admit, sizeof admit, NULL, 0, NULL, 0);
        if (n != (ssize_t) sizeof admit)
                _exit(0); /* cancelled */
        report->kind = WORKER_REPORT_PREPARED;
        job->server_uid = admit.server_uid;
        return 0;
}

static void run_mount(const WorkerJob *job, int socket_fd) {
        WorkerReport report = {.kind = WORKER_REPORT_PREPARED};
        int fds[WORKER_FDS_MAX], mount_fd = -EBADF;
        WorkerJob own = *job;
        size_t n_fds = 0;
        WorkerGo go;

        report.error = worker_check(job, &report);
        if (report.error == 0 && job->await_uid)
                report.error = await_uid(&own, socket_fd, &report);
        if (report.error == 0)
                report.error = worker_prepare(&own, &report, fds, &n_fds);
        if (fd_send(socket_fd, &report, sizeof report, fds, report.error == 0 ? n_fds : 0) < 0 || report.error < 0)
                return;
        /* The slots are the broker's now. A server that dies must not find its device still claimed by us. */
        for (size_t i = 1; i < n_fds; i++)
                fds[i] = fd_close(fds[i]);

        if (fd_receive(socket_fd, &go, sizeof go, NULL, 0, NULL, 0) != (ssize_t) sizeof go)
                return; /* cancelled */
        report.error = worker_mount(job, &go, fds[0], socket_fd, &report, &mount_fd);
        report.kind = WORKER_REPORT_LIVE;
        bool pass = report.error == 0 && mount_fd >= 0;
        (void) fd_send(socket_fd, &report, sizeof report, &mount_fd, pass ? 1 : 0); /* the broker sees the end of file */
}

static void run_one(const WorkerJob *job, int socket_fd) {
        WorkerReport report = {.kind = WORKER_REPORT_DONE};
        int fds[WORKER_FDS_MAX];
        size_t n_fds = 0;

        switch (job->kind) {
        case WORKER_EXPLAIN:
                report.error = worker_authorize(job, &report);
                break;
        case WORKER_UNMOUNT:
                report.error = worker_unmount(job);
                break;
        case WORKER_PROGRAM:
                report.error = worker_program(job, &report, fds, &n_fds);
                break;
        case WORKER_MOUNT:
        case WORKER_BACKING:
        case WORKER_ATTACH:
        case _WORKER_KIND_MAX:
                break;
        }
        (void) fd_send(socket_fd, &report, sizeof report, fds, report.error < 0 ? 0 : n_fds);
}

static void (*const run_rows[_WORKER_KIND_MAX])(const WorkerJob *job, int socket_fd) = {
        [WORKER_MOUNT] = run_mount,
        [WORKER_EXPLAIN] = run_one,
        [WORKER_UNMOUNT] = run_one,
        [WORKER_PROGRAM] = run_one,
        [WORKER_BACKING] = worker_backing,
        [WORKER_ATTACH] = worker_attach,
};

int worker_start(const WorkerJob *job, pid_t *ret_pid, int *ret_socket) {
        _cleanup_fd_ int ours = -EBADF;
        int pair[2], r;
        pid_t pid;

        r = RET_NERRNO(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
        if (r < 0)
                return r;
        ours = pair[0];
        _cleanup_fd_ int theirs = pair[1];

        pid = RET_NERRNO(fork());
        if (pid < 0)
                return pid;
        if (pid == 0) {
                sigset_t none;
                (void) sigemptyset(&none);
                (void) sigprocmask(SIG_SETMASK, &none, NULL); /* the broker's loop blocks what it reads by signalfd */
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                keep_only_own(job, theirs);
                run_rows[job->kind](job, theirs);
                _exit(0);
        }
        *ret_pid = pid;
        *ret_socket = TAKE_FD(ours);
        return 0;
}
