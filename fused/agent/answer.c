/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The answers to a server's notified system calls: one row for each of policy/notified.h.
 *
 * A call that names a slot is answered with the slot; mount(2) and umount2(2) are answered or refused; everything else
 * is continued, so that the sandbox decides as if nobody had looked. Nothing is decided by what the server's memory
 * holds: it can change after it was read, but a continued call can reach no more than the sandbox allows, and a slot is
 * the server's anyway.
 *
 * What a slot is not: a second open file. All opens of a slot share one file offset (set to 0 at each open) and one set
 * of flags; O_DIRECT, O_SYNC and O_DSYNC are taken as asked for but stay as the client opened the file. */

#include <fcntl.h>
#include <linux/audit.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent/agent.h"
#include "policy/notified.h"

#define PAGE_MIN 4096U

/* Calls that this architecture does not have get a number that no notification carries. */
#ifndef __NR_open
#define __NR_open (-1)
#define __NR_stat (-2)
#define __NR_lstat (-3)
#define __NR_access (-4)
#define __NR_readlink (-5)
#endif

typedef struct Call {
        Agent *agent;
        const struct seccomp_notif *notification;
        const uint64_t *arguments;
        const AgentSlot *slot; /* NULL in mount and umount2 */
        const char *path;      /* normalised */
} Call;

static bool still_valid(const Call *call) {
        uint64_t id = call->notification->id;

        return ioctl(call->agent->listener_fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

static void respond(const Call *call, int error, uint32_t flags) {
        struct seccomp_notif_resp response = {.id = call->notification->id, .error = error, .flags = flags};

        (void) ioctl(call->agent->listener_fd, SECCOMP_IOCTL_NOTIF_SEND, &response); /* ENOENT: the caller is gone */
}

static void respond_continue(const Call *call) {
        respond(call, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

/* Reads a string of the server's. Page by page, as it may end just before one that is not mapped. */
static bool read_string(const Call *call, uint64_t address, char *text, size_t size) {
        size_t have = 0;

        while (have < size) {
                size_t part = MIN_OF(size - have, (size_t) (PAGE_MIN - (address + have) % PAGE_MIN));
                struct iovec local = {.iov_base = text + have, .iov_len = part};
                struct iovec remote = {.iov_base = (void *) (uintptr_t) (address + have), .iov_len = part};
                ssize_t n = process_vm_readv((pid_t) call->notification->pid, &local, 1, &remote, 1, 0);
                if (n <= 0)
                        return false;
                if (memchr(text + have, 0, (size_t) n))
                        return still_valid(call); /* else the pid may have been somebody else's by then */
                have += (size_t) n;
        }
        return false;
}

static void write_result(const Call *call, uint64_t address, const void *data, size_t size) {
        struct iovec local = {.iov_base = (void *) data, .iov_len = size};
        struct iovec remote = {.iov_base = (void *) (uintptr_t) address, .iov_len = size};

        if (!still_valid(call))
                return;
        ssize_t n = process_vm_writev((pid_t) call->notification->pid, &local, 1, &remote, 1, 0);
        respond(call, n == (ssize_t) size ? 0 : -EFAULT, 0);
}

/* --- open --- */

static void hand_fd(const Call *call, uint32_t fd_flags) {
        struct seccomp_notif_addfd add = {
                .id = call->notification->id,
                .flags = SECCOMP_ADDFD_FLAG_SEND, /* Linux 5.14: the descriptor is the answer, in one step */
                .srcfd = (uint32_t) call->slot->fd,
                .newfd_flags = fd_flags,
        };

        if (ioctl(call->agent->listener_fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0)
                respond(call, -errno, 0); /* EMFILE: the server's own limit */
}

static int check_open(const Call *call, int flags) {
        const AgentSlot *slot = call->slot;
        bool to_write = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
        struct stat st;

        if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
                return -EEXIST;
        if (slot->fd < 0)
                return -ENOENT;
        if ((flags & O_TMPFILE) == O_TMPFILE)
                return -EOPNOTSUPP;
        if (to_write && !slot->writable)
                return -EROFS;
        if (flags & O_APPEND)
                return -EINVAL; /* would be for all who share the open file */
        if (fstat(slot->fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return to_write ? -EISDIR : 0;
        if (flags & O_DIRECTORY)
                return -ENOTDIR;
        if (S_ISREG(st.st_mode) && (flags & O_TRUNC) && ftruncate(slot->fd, 0) < 0)
                return -errno;
        return 0;
}

static void open_slot(const Call *call, int flags) {
        int r = check_open(call, flags);

        if (r < 0) {
                respond(call, r, 0);
                return;
        }
        (void) lseek(call->slot->fd, 0, SEEK_SET); /* a fresh open starts there; devices without offset do not mind */
        hand_fd(call, flags & O_CLOEXEC);
}

static void answer_open(const Call *call) {
        open_slot(call, (int) call->arguments[1]);
}

static void answer_openat(const Call *call) {
        open_slot(call, (int) call->arguments[2]);
}

/* --- stat --- */

static void stat_slot(const Call *call, uint64_t address) {
        struct stat st; /* libc's is the kernel's on 64-bit architectures */

        if (call->slot->fd < 0)
                respond(call, -ENOENT, 0);
        else if (fstat(call->slot->fd, &st) < 0)
                respond(call, -errno, 0);
        else
                write_result(call, address, &st, sizeof st);
}

static void answer_stat(const Call *call) {
        stat_slot(call, call->arguments[1]);
}

static void answer_lstat(const Call *call) {
        stat_slot(call, call->arguments[1]);
}

static void answer_newfstatat(const Call *call) {
        stat_slot(call, call->arguments[2]);
}

static void answer_statx(const Call *call) {
        struct statx stx;

        if (call->slot->fd < 0)
                respond(call, -ENOENT, 0);
        else if (statx(call->slot->fd, "", AT_EMPTY_PATH, (unsigned) call->arguments[3], &stx) < 0)
                respond(call, -errno, 0);
        else
                write_result(call, call->arguments[4], &stx, sizeof stx);
}

/* --- access --- */

static void access_slot(const Call *call, int mode) {
        struct stat st;
        int r = 0;

        if (call->slot->fd < 0)
                r = -ENOENT;
        else if (fstat(call->slot->fd, &st) < 0)
                r = -errno;
        else if ((mode & W_OK) && !call->slot->writable)
                r = -EROFS;
        else if ((mode & X_OK) && !S_ISDIR(st.st_mode))
                r = -EACCES;
        respond(call, r, 0);
}

static void answer_access(const Call *call) {
        access_slot(call, (int) call->arguments[1]);
}

static void answer_faccessat(const Call *call) {
        access_slot(call, (int) call->arguments[2]);
}

static void answer_faccessat2(const Call *call) {
        access_slot(call, (int) call->arguments[2]);
}

/* --- readlink --- */

static void answer_readlink(const Call *call) {
        respond(call, call->slot->fd < 0 ? -ENOENT : -EINVAL, 0);
}

static void answer_readlinkat(const Call *call) {
        answer_readlink(call);
}

/* --- mount --- */

/* The mount exists already, made by the supervisor with options of its own: the server's call has no effect but to let
 * it go on. Once, as there is one mount. */
static void answer_mount(const Call *call) {
        char type[16] = "";
        bool is_fuse = read_string(call, call->arguments[2], type, sizeof type) && strncmp(type, "fuse", 4) == 0;

        if (!is_fuse || call->agent->mount_claimed || strcmp(call->path, "/mnt") != 0) {
                respond(call, -EPERM, 0);
                return;
        }
        call->agent->mount_claimed = true;
        respond(call, 0, 0);
}

/* libfuse unmounts when it ends; without a 0 it would go on to run fusermount. */
static void answer_umount2(const Call *call) {
        bool ours = call->agent->mount_claimed && strcmp(call->path, "/mnt") == 0;

        if (ours)
                call->agent->mount_claimed = false;
        respond(call, ours ? 0 : -EPERM, 0);
}

/* --- the table --- */

static const struct Row {
        int number;
        int directory_argument; /* -1: none */
        int path_argument;
        void (*answer)(const Call *call);
} rows[] = {
#define ROW(name, directory, path) {__NR_##name, directory, path, answer_##name},
        NOTIFIED_SYSCALLS(ROW)
#undef ROW
};

/* True with call->path and call->slot set if the row's path could be read and is not relative to some directory. */
static bool resolve(Call *call, const struct Row *row, char *normal, size_t size) {
        char path[AGENT_PATH_MAX];

        if (!read_string(call, call->arguments[row->path_argument], path, sizeof path))
                return false;
        if (path[0] == 0)
                return false; /* AT_EMPTY_PATH, or ENOENT */
        bool by_fd = row->directory_argument >= 0 && (int) call->arguments[row->directory_argument] != AT_FDCWD;
        if (path[0] != '/' && by_fd)
                return false;
        if (!path_normalise(path, normal, size))
                return false;
        call->path = normal;
        call->slot = slot_find(call->agent, normal);
        return true;
}

static void answer(Agent *agent, const struct seccomp_notif *notification) {
        Call call = {
                .agent = agent,
                .notification = notification,
                .arguments = (const uint64_t *) notification->data.args,
        };
        char normal[AGENT_PATH_MAX];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const struct Row *row = &rows[i];
                if (row->number != notification->data.nr)
                        continue;
                bool resolved = resolve(&call, row, normal, sizeof normal);
                if (row->answer == answer_mount || row->answer == answer_umount2) {
                        if (resolved)
                                row->answer(&call);
                        else
                                respond(&call, -EPERM, 0);
                } else if (resolved && call.slot)
                        row->answer(&call);
                else
                        respond_continue(&call);
                return;
        }
        respond(&call, -ENOSYS, 0); /* the filter notifies of something that is not in the list */
}

int answer_next(Agent *agent) {
        /* The kernel's struct may be larger than the one known here: room for it, and the kernel wants it zeroed. */
        union {
                struct seccomp_notif notification;
                unsigned char room[1024];
        } buffer = {.room = {0}};

        if (ioctl(agent->listener_fd, SECCOMP_IOCTL_NOTIF_RECV, &buffer.notification) < 0)
                return errno == ENOENT || errno == EINTR ? 0 : -errno; /* the caller was killed meanwhile */
        answer(agent, &buffer.notification);
        return 0;
}
