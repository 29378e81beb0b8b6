/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mount itself: typed values into fsconfig(2) one at a time, never an option string; nosuid and nodev are attributes
 * that fsmount(2) sets at birth; attached on the pinned descriptor, never by a path. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "broker/worker.h"
#include "policy/options.h"

#define WAITING_POLL_NSEC_MIN 200000L
#define WAITING_POLL_NSEC_MAX 20000000L

static int set_string(int context, const char *key, const char *value) {
        return RET_NERRNO(fsconfig(context, FSCONFIG_SET_STRING, key, value, 0));
}

static int set_number(int context, const char *key, const char *format, unsigned value) {
        char text[32];

        (void) snprintf(text, sizeof text, format, value);
        return set_string(context, key, text);
}

/* Everything that the kernel is told about this mount. user_id and group_id are the caller's, in its user namespace (whose
 * ids the worker has taken). */
static int configure(int context, const WorkerJob *job, const WorkerGo *go, int fuse_fd, mode_t root_mode) {
        MountOptions options = {.bits = go->options, .max_read = go->max_read};
        int r;

        r = set_string(context, "source", *go->fsname ? go->fsname : job->type->name);
        if (r < 0)
                return r;
        r = set_string(context, "subtype", *go->subtype ? go->subtype : job->type->name);
        if (r < 0)
                return r;
        r = set_number(context, "fd", "%u", (unsigned) fuse_fd);
        if (r < 0)
                return r;
        r = set_number(context, "rootmode", "%o", root_mode);
        if (r < 0)
                return r;
        r = set_number(context, "user_id", "%u", getuid());
        if (r < 0)
                return r;
        r = set_number(context, "group_id", "%u", getgid());
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_option_rows; i++) {
                const OptionRow *row = &option_rows[i];
                if (!row->fsconfig || !row->set || (options.bits & row->set) != row->set)
                        continue;
                r = row->set == POLICY_OPTION_MAX_READ ? set_number(context, row->fsconfig, "%u", options.max_read) :
                                                         RET_NERRNO(fsconfig(context, FSCONFIG_SET_FLAG, row->fsconfig, NULL, 0));
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Before 6.18 the mount exists before FUSE_INIT is answered; the connection's own counter says when it has been. */
static int wait_for_init(const WorkerJob *job, uint32_t connection) {
        long pause_nsec = WAITING_POLL_NSEC_MIN;

        for (;;) { /* bounded by the broker, which kills us */
                uint32_t waiting = 0;
                int r = host_connection_waiting(job->host, connection, &waiting);
                if (r == -EOPNOTSUPP)
                        return 0; /* no fusectl on this kernel: nothing to ask */
                if (r < 0)
                        return r == -ENOENT ? -ENOTCONN : r;
                if (waiting == 0)
                        return 0;
                (void) nanosleep(&(struct timespec){.tv_nsec = pause_nsec}, NULL);
                pause_nsec = MIN_OF(pause_nsec * 2, WAITING_POLL_NSEC_MAX);
        }
}

static int root_mode_of(const WorkerJob *job, const WorkerGo *go, WorkerReport *report, mode_t *ret) {
        struct statx sx = {0};
        int r;

        *ret = go->expected_format ? go->expected_format : S_IFDIR;
        if (job->mountpoint_fd < 0)
                return 0;
        report->stage = BROKER_STAGE_MOUNTPOINT;
        r = RET_NERRNO(statx(job->mountpoint_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &sx));
        if (r < 0)
                return r;
        *ret = sx.stx_mode & S_IFMT;
        if (go->expected_format && go->expected_format != *ret)
                return S_ISDIR(go->expected_format) ? -ENOTDIR : -EISDIR;
        return 0;
}

int worker_mount(const WorkerJob *job, const WorkerGo *go, int fuse_fd, int socket_fd, WorkerReport *report, int *ret_mount_fd) {
        const MountOptions options = {.bits = go->options, .max_read = go->max_read};
        _cleanup_fd_ int context = -EBADF, mount_fd = -EBADF;
        mode_t root_mode;
        bool unique;
        int r;

        r = root_mode_of(job, go, report, &root_mode);
        if (r < 0)
                return r;
        report->stage = BROKER_STAGE_FSOPEN;
        context = RET_NERRNO(fsopen("fuse", FSOPEN_CLOEXEC));
        if (context < 0)
                return context;
        report->stage = BROKER_STAGE_FSCONFIG;
        r = configure(context, job, go, fuse_fd, root_mode);
        if (r < 0)
                return r;
        report->stage = BROKER_STAGE_SUPERBLOCK;
        r = RET_NERRNO(fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
        if (r < 0)
                return r;
        mount_fd = RET_NERRNO(fsmount(context, FSMOUNT_CLOEXEC, (unsigned) mount_options_attributes(&options)));
        if (mount_fd < 0)
                return mount_fd;
        context = fd_close(context); /* it keeps the superblock alive, too */

        r = worker_mount_facts(mount_fd, &report->kernel_mount_id, &unique, &report->connection);
        if (r < 0)
                return r;
        report->mount_id_unique = unique;
        /* Whatever happens to this process from here on, the broker knows which mount to take down. */
        report->kind = WORKER_REPORT_MOUNTED;
        r = fd_send(socket_fd, report, sizeof *report, NULL, 0);
        if (r < 0)
                return r;
        if (!report->sync_init && !go->init_later) {
                report->stage = BROKER_STAGE_INIT;
                r = wait_for_init(job, report->connection);
                if (r < 0)
                        return r;
        }
        if (job->mountpoint_fd >= 0) {
                report->stage = BROKER_STAGE_ATTACH;
                r = RET_NERRNO(move_mount(mount_fd, "", job->mountpoint_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
                if (r < 0)
                        return r;
        } else
                *ret_mount_fd = TAKE_FD(mount_fd);
        report->stage = BROKER_STAGE_NONE;
        return 0;
}
