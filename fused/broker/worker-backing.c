/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The worker that registers a mount's backing files with the kernel. It lives as long as the mount, and is the only process of fused's
 * that ever receives a descriptor from a server.
 *
 * The kernel opens the file behind a registered descriptor anew for each open of the FUSE file, with that open's access, and never
 * looks at what the registered descriptor itself was opened for; and it reads and writes with the ids and capabilities of whoever registered it.
 * So this process has the server's own ids and no capability but the one that the call asks for, and checks what the server
 * has proven that it may do:
 *
 *   a regular file below a tree of this mount: opened for reading and writing, or for reading if that tree is read-only
 *   a regular file that is a slot's: opened for reading and writing
 *   a block device (fuse-iomap): one of this mount's slots
 *
 * O_PATH proves nothing. What is registered is an O_PATH descriptor where the kernel takes one: it keeps nobody from executing the file. */

#include <fcntl.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/kernel.h"
#include "broker/worker.h"
#include "wire/channel.h"

#define LEFTOVERS_MAX 4096 /* messages of requests that were refused on their way to us */

typedef struct Slot {
        uint32_t kind; /* BrokerSlotKind */
        bool read_only;
        struct statx facts;
} Slot;

typedef struct Backing {
        const WorkerJob *job;
        Slot slots[POLICY_SLOTS_MAX];
} Backing;

/* Asks no file system. */
static int look_at(int fd, struct statx *ret) {
        int r = RET_NERRNO(statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
                                 STATX_TYPE | STATX_INO | STATX_MNT_ID | STATX_MNT_ID_UNIQUE, ret));

        return r < 0 ? r : ret->stx_mask & (STATX_MNT_ID | STATX_MNT_ID_UNIQUE) ? 0 : -EOPNOTSUPP;
}

static bool is_same_file(const struct statx *a, const struct statx *b) {
        return a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor && a->stx_ino == b->stx_ino;
}

static int may_pass(const Backing *backing, const struct statx *file, int access) {
        if (!S_ISREG(file->stx_mode))
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(backing->slots); i++) {
                const Slot *slot = &backing->slots[i];
                if (slot->facts.stx_mnt_id != file->stx_mnt_id)
                        continue;
                if (slot->kind == BROKER_SLOT_TREE && (access == O_RDWR || (access == O_RDONLY && slot->read_only)))
                        return 0;
                if (slot->kind == BROKER_SLOT_FILE && access == O_RDWR && is_same_file(&slot->facts, file))
                        return 0;
        }
        return -EACCES;
}

static int may_map(const Backing *backing, const struct statx *file) {
        if (!S_ISBLK(file->stx_mode))
                return -ENOTBLK;
        for (size_t i = 0; i < ELEMENTSOF(backing->slots); i++)
                if (backing->slots[i].kind == BROKER_SLOT_DEVICE && backing->slots[i].facts.stx_rdev_major == file->stx_rdev_major &&
                    backing->slots[i].facts.stx_rdev_minor == file->stx_rdev_minor)
                        return 0;
        return -EACCES;
}

static int check(const Backing *backing, int fd, uint32_t kind) {
        struct statx file = {0};
        int flags, r;

        flags = RET_NERRNO(fcntl(fd, F_GETFL));
        if (flags < 0)
                return flags;
        if (flags & O_PATH)
                return -EACCES;
        r = look_at(fd, &file);
        if (r < 0)
                return r;
        switch (kind) {
        case CHANNEL_BACKING_PASSTHROUGH:
                return may_pass(backing, &file, flags & O_ACCMODE);
        case CHANNEL_BACKING_IOMAP:
                return may_map(backing, &file);
        default:
                return -EINVAL;
        }
}

static int call_kernel(const Backing *backing, int fd, uint32_t kind) {
        const KernelBackingMap map = {.fd = fd, .flags = kind};

        return RET_NERRNO(ioctl(backing->job->fuse_fd, KERNEL_BACKING_OPEN, &map));
}

static int enter(const Backing *backing, int fd, uint32_t kind) {
        _cleanup_fd_ int path_fd = -EBADF;
        int r = -EBADF;

        if (kind == CHANNEL_BACKING_PASSTHROUGH)
                path_fd = host_reopen(backing->job->host, fd, O_PATH);
        if (path_fd >= 0)
                r = call_kernel(backing, path_fd, kind);
        return r == -EBADF || r == -EOPNOTSUPP ? call_kernel(backing, fd, kind) : r; /* not of a path before Linux 6.16 */
}

/* The file of this request; what is before it belongs to requests that nobody has asked us about. serial 0: just that. */
static int take_file(int files_fd, uint64_t serial, int *ret_fd) {
        for (unsigned i = 0; i < LEFTOVERS_MAX; i++) {
                _cleanup_fd_ int fd = -EBADF;
                uint64_t number = 0;
                size_t n_fds = 0;
                ssize_t n = fd_receive(files_fd, &number, sizeof number, &fd, 1, &n_fds, MSG_DONTWAIT);
                if (n == -EAGAIN)
                        return -ENODATA;
                if (n == 0 || n == -ECONNRESET)
                        return -EPIPE;
                if (n == (ssize_t) sizeof number && number == serial && n_fds == 1 && serial != 0) {
                        *ret_fd = TAKE_FD(fd);
                        return 0;
                }
        }
        return -ENOBUFS;
}

static int open_backing(const Backing *backing, const WorkerOrder *order) {
        _cleanup_fd_ int fd = -EBADF;
        int r;

        r = take_file(backing->job->files_fd, order->serial, &fd);
        if (r >= 0)
                r = check(backing, fd, order->value);
        return r < 0 ? r : enter(backing, fd, order->value);
}

static int close_backing(const Backing *backing, const WorkerOrder *order) {
        int ignored = -EBADF;

        (void) take_file(backing->job->files_fd, 0, &ignored); /* nothing is under way now */
        return RET_NERRNO(ioctl(backing->job->fuse_fd, KERNEL_BACKING_CLOSE, &order->value));
}

static int confine(void) {
        static const int calls[] = {SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(statx),        SCMP_SYS(fcntl),     SCMP_SYS(openat),
                                    SCMP_SYS(ioctl),   SCMP_SYS(close),   SCMP_SYS(rt_sigreturn), SCMP_SYS(exit_group)};

        return worker_confine(calls, ELEMENTSOF(calls), /* bpf_command= */ -1);
}

static int prepare(Backing *backing) {
        const WorkerJob *job = backing->job;
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(backing->slots) && r >= 0; i++) {
                if (job->slot_fds[i] < 0)
                        continue;
                backing->slots[i].kind = job->slot_kinds[i];
                backing->slots[i].read_only = job->read_only_trees & 1U << i;
                r = look_at(job->slot_fds[i], &backing->slots[i].facts);
                (void) fd_close(job->slot_fds[i]); /* a device is not to stay claimed by us */
        }
        if (r >= 0)
                r = worker_take_ids(job->server_uid, job->server_uid);
        return r < 0 ? r : confine();
}

void worker_backing(const WorkerJob *job, int socket_fd) {
        WorkerReport report = {.kind = WORKER_REPORT_READY};
        Backing backing = {.job = job};
        WorkerOrder order;

        report.error = prepare(&backing);
        while (fd_send(socket_fd, &report, sizeof report, NULL, 0) >= 0 && report.error >= 0) {
                if (fd_receive(socket_fd, &order, sizeof order, NULL, 0, NULL, 0) != (ssize_t) sizeof order)
                        return; /* the mount has ended */
                int r = order.operation == BROKER_BACKING_OPEN ? open_backing(&backing, &order) : close_backing(&backing, &order);
                report.backing_error = r < 0 ? r : 0;
                report.backing_id = r < 0 ? 0 : (uint32_t) r;
        }
}
