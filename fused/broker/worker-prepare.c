/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What happens before there is a mount: decide, open what is to be opened, enter the caller's namespaces, open the FUSE
 * device there. The first refusal ends it; nothing of what was opened outlives the worker unless it was reported. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "broker/worker.h"
#include "policy/options.h"

static const uint32_t source_of_kind[_BROKER_SLOT_KIND_MAX] = {
        [BROKER_SLOT_EMPTY] = POLICY_SOURCE_NONE,
        [BROKER_SLOT_FILE] = POLICY_SOURCE_FILE,
        [BROKER_SLOT_DEVICE] = POLICY_SOURCE_DEVICE,
        [BROKER_SLOT_TREE] = POLICY_SOURCE_TREE,
};

static const mode_t format_of_kind[_BROKER_SLOT_KIND_MAX] = {
        [BROKER_SLOT_FILE] = S_IFREG,
        [BROKER_SLOT_DEVICE] = S_IFBLK,
        [BROKER_SLOT_TREE] = S_IFDIR,
};

/* The type's slots against what the request binds to them. */
static int check_slots(const WorkerJob *job, WorkerReport *report) {
        for (uint32_t i = 0; i < POLICY_SLOTS_MAX; i++) {
                uint32_t source = source_of_kind[job->slot_kinds[i]];
                if (i >= job->type->slots.count) {
                        if (source != POLICY_SOURCE_NONE)
                                return worker_refuse(report, REFUSAL_SLOT_UNKNOWN);
                        continue;
                }
                const PolicySlot *slot = policy_slot(job->table, job->type, i);
                if (source == POLICY_SOURCE_NONE) {
                        if (slot->required)
                                return worker_refuse(report, REFUSAL_SLOT_MISSING);
                } else if (!(slot->sources & source))
                        return worker_refuse(report, REFUSAL_SOURCE_KIND);
        }
        return 0;
}

static int decide_slot(const WorkerJob *job, const CallerFacts *facts, uint32_t i, WorkerReport *report) {
        DeviceQuestion question = {.host = job->host, .node_fd = job->slot_fds[i]};
        const AuthorizeDevices devices = {
                .path_is_device = device_path_matches,
                .loop_is_backed_by = device_loop_matches,
                .userdata = &question,
        };
        AuthorizeRequest request = {
                .uid = job->identity->uid,
                .gid = job->identity->gid,
                .groups = job->identity->groups,
                .n_groups = job->identity->n_groups,
                .source = source_of_kind[job->slot_kinds[i]],
                .options = job->options,
                .cgroup = *facts->cgroup ? facts->cgroup : NULL,
                .foreign = facts->foreign,
                .owner = facts->owner,
        };
        AuthorizeResult result = {0};
        struct stat st = {0};

        if (job->slot_kinds[i] != BROKER_SLOT_EMPTY) {
                if (fstat(job->slot_fds[i], &st) < 0)
                        return -errno;
                if ((st.st_mode & S_IFMT) != format_of_kind[job->slot_kinds[i]])
                        return worker_refuse(report, REFUSAL_BAD_FD);
                request.device = st.st_rdev;
        }
        policy_authorize(job->table, job->type, &request, &devices, &result);
        report->place = result.place;
        report->options = result.options;
        report->administrator = result.administrator;
        if (request.source == POLICY_SOURCE_DEVICE) {
                report->device.major = major(st.st_rdev);
                report->device.minor = minor(st.st_rdev);
        }
        return result.refusal == REFUSAL_NONE ? 0 : worker_refuse(report, result.refusal);
}

int worker_authorize(const WorkerJob *job, WorkerReport *report) {
        CallerFacts facts;
        int r;

        report->stage = BROKER_STAGE_SOURCE;
        report->place = job->type->place;
        if (job->type->disabled)
                return worker_refuse(report, REFUSAL_TYPE_DISABLED);
        r = check_slots(job, report);
        if (r < 0)
                return r;
        r = worker_caller_facts(job, &facts);
        if (r < 0) {
                report->stage = BROKER_STAGE_IDENTITY;
                return r;
        }
        /* Backwards, so that the answer that is reported is that of the source (slot 0). */
        for (uint32_t i = POLICY_SLOTS_MAX; i-- > 0;) {
                if (i > 0 && job->slot_kinds[i] == BROKER_SLOT_EMPTY)
                        continue;
                r = decide_slot(job, &facts, i, report);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The manager has sorted the words already; a word that the type does not list must not reach its program. */
static int check_server_options(const WorkerJob *job, WorkerReport *report) {
        char words[BROKER_OPTIONS_MAX], *cursor = words, *word;

        if (job->type->hand_over == POLICY_HAND_OVER_CALLER)
                return 0; /* there is no server of ours to get them */
        (void) snprintf(words, sizeof words, "%s", job->server_options);
        while ((word = strsep(&cursor, ",")))
                if (*word && !server_option_is_listed(policy_string(job->table, job->type->server_options), word))
                        return worker_refuse(report, REFUSAL_OPTION);
        return 0;
}

/* A file that the client opened: with the access that the server will need, and no more. */
static int open_file(const WorkerJob *job, int fd, bool writable, WorkerReport *report, int *ret_fd) {
        int flags;

        flags = RET_NERRNO(fcntl(fd, F_GETFL));
        if (flags < 0)
                return flags;
        if ((flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY)
                return worker_refuse(report, REFUSAL_BAD_FD);
        if (writable) {
                if ((flags & O_ACCMODE) != O_RDWR)
                        return worker_refuse(report, REFUSAL_BAD_FD);
                return *ret_fd = fd_dup(fd);
        }
        if ((flags & O_ACCMODE) == O_RDWR)
                return *ret_fd = host_reopen(job->host, fd, O_RDONLY); /* less than the caller has */
        return *ret_fd = fd_dup(fd);
}

/* One may write it, or many may read it, as with devices. A lock of the open file (F_OFD_SETLK) lasts as long as that, in whichever
 * process it is; to take one for writing takes a file that may be written, so that who can only read an image keeps nobody from
 * reading it. Where there are no locks there are none. */
static int take_file(const WorkerJob *job, int fd, bool writable, WorkerReport *report, int *ret_fd) {
        struct flock whole = {.l_type = writable ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
        int r;

        r = open_file(job, fd, writable, report, ret_fd);
        if (r < 0)
                return r;
        if (fcntl(*ret_fd, F_OFD_SETLK, &whole) < 0 && (errno == EAGAIN || errno == EACCES))
                return worker_refuse(report, REFUSAL_FILE_BUSY);
        return 0;
}

static int take_tree(const WorkerJob *job, int fd, bool writable, WorkerReport *report, int *ret_fd) {
        int flags, r;

        flags = RET_NERRNO(fcntl(fd, F_GETFL));
        if (flags < 0)
                return flags;
        if (flags & O_PATH) /* proves nothing: the caller must have been able to read it */
                return worker_refuse(report, REFUSAL_BAD_FD);
        r = worker_clone_tree(job->host, fd, job->identity->uid, job->identity->gid, job->server_uid, !writable, ret_fd);
        return r == -EINVAL || r == -EPERM ? worker_refuse(report, REFUSAL_TREE) : r;
}

static int open_slot(const WorkerJob *job, uint32_t i, WorkerReport *report, int *ret_fd) {
        const PolicySlot *slot = policy_slot(job->table, job->type, i);
        bool writable = slot->writable && !(report->options & POLICY_OPTION_RO);
        Refusal refusal = REFUSAL_NONE;
        int r;

        report->stage = BROKER_STAGE_SOURCE;
        switch ((BrokerSlotKind) job->slot_kinds[i]) {
        case BROKER_SLOT_FILE:
                return take_file(job, job->slot_fds[i], writable, report, ret_fd);
        case BROKER_SLOT_TREE:
                return take_tree(job, job->slot_fds[i], writable, report, ret_fd);
        case BROKER_SLOT_DEVICE: {
                DeviceFacts facts = {0};
                r = device_open(job->host, job->slot_fds[i], writable, ret_fd, &facts, &refusal);
                if (i == 0 || r < 0)
                        report->device = facts;
                return r == -EACCES && refusal != REFUSAL_NONE ? worker_refuse(report, refusal) : r;
        }
        case BROKER_SLOT_EMPTY:
        case _BROKER_SLOT_KIND_MAX:
                break;
        }
        return -EINVAL;
}

/* What is open when a later step fails is closed by the end of the worker. */
static int open_slots(const WorkerJob *job, bool trees, WorkerReport *report, int slots[POLICY_SLOTS_MAX]) {
        int r;

        for (uint32_t i = 0; i < POLICY_SLOTS_MAX; i++) {
                if (job->slot_kinds[i] == BROKER_SLOT_EMPTY || (job->slot_kinds[i] == BROKER_SLOT_TREE) != trees)
                        continue;
                r = open_slot(job, i, report, &slots[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* For servers that map: devices again, without the page cache; a failure of this is no failure of the mount. */
static void open_direct(const WorkerJob *job, const int slots[POLICY_SLOTS_MAX], WorkerReport *report, int direct[POLICY_SLOTS_MAX]) {
        for (uint32_t i = 0; i < POLICY_SLOTS_MAX; i++) {
                if (job->type->device_clones == 0 || job->slot_kinds[i] != BROKER_SLOT_DEVICE || slots[i] < 0)
                        continue;
                direct[i] = host_reopen(job->host, slots[i], (fcntl(slots[i], F_GETFL) & O_ACCMODE) | O_DIRECT);
                if (direct[i] >= 0)
                        report->direct_slots |= 1U << i;
        }
}

int worker_check(const WorkerJob *job, WorkerReport *report) {
        int r;

        r = worker_authorize(job, report);
        if (r < 0)
                return r;
        r = check_server_options(job, report);
        if (r < 0)
                return r;
        r = worker_check_owner(job, report);
        if (r < 0)
                return r;
        return worker_check_mountpoint(job, report->administrator, report);
}

int worker_prepare(const WorkerJob *job, WorkerReport *report, int *fds, size_t *n_fds) {
        _cleanup_fd_ int owner_fd = -EBADF;
        int r;

        *n_fds = 0;
        /* Devices are opened with the host's rights and in its namespaces; trees are cloned in the caller's mount namespace.
         * The descriptors are reported in the order of the slots. */
        int slots[POLICY_SLOTS_MAX], direct[POLICY_SLOTS_MAX], clones[POLICY_CLONES_MAX];
        fd_fill(slots, ELEMENTSOF(slots));
        fd_fill(direct, ELEMENTSOF(direct));
        r = open_slots(job, /* trees= */ false, report, slots);
        if (r < 0)
                return r;
        open_direct(job, slots, report, direct);
        r = worker_find_owner(job, report, &owner_fd);
        if (r < 0)
                return r;
        r = worker_enter_mount_ns(job, report);
        if (r < 0)
                return r;
        r = open_slots(job, /* trees= */ true, report, slots);
        if (r < 0)
                return r;
        /* In the caller's user namespace, as the kernel demands, but with our own right to the device node. */
        r = worker_enter_user_ns(job, report);
        if (r < 0)
                return r;
        r = worker_open_fuse(job, report, &fds[0]);
        if (r < 0)
                return r;
        worker_open_clones(job, report, clones);
        r = worker_become_caller(job, report);
        if (r < 0)
                return r;
        *n_fds = 1;
        for (uint32_t i = 0; i < POLICY_SLOTS_MAX; i++)
                if (slots[i] >= 0)
                        fds[(*n_fds)++] = slots[i];
        if (owner_fd >= 0)
                fds[(*n_fds)++] = TAKE_FD(owner_fd);
        for (uint32_t i = 0; i < POLICY_SLOTS_MAX; i++)
                if (direct[i] >= 0)
                        fds[(*n_fds)++] = direct[i];
        for (uint32_t i = 0; i < report->n_clones; i++)
                fds[(*n_fds)++] = clones[i];
        report->stage = BROKER_STAGE_NONE;
        return 0;
}
