/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A worker does the part of one request that may block: it looks at descriptors that a client sent (their file systems may
 * hang), opens devices, enters the caller's namespaces, makes the mount and waits for FUSE_INIT. It is forked from the broker,
 * closes every descriptor that is not part of its job, reports over a SOCK_SEQPACKET pair and ends. The broker holds its
 * deadline and kills it when that passes. */

#include <sys/capability.h>

#include "base/fd.h"
#include "broker/device.h"
#include "broker/host.h"
#include "broker/identity.h"
#include "policy/authorize.h"
#include "program/report.h"
#include "wire/broker.h"
#include "wire/channel.h"

typedef enum WorkerKind {
        WORKER_MOUNT,   /* report PREPARED, wait for WorkerGo, mount, report LIVE */
        WORKER_EXPLAIN, /* report DONE */
        WORKER_UNMOUNT, /* report DONE */
        WORKER_BACKING, /* report READY, wait for WorkerOrder, do it, report READY, and so on until it is killed */
        WORKER_PROGRAM, /* report DONE. fds: the program, its tables, [its struct_ops map] */
        WORKER_ATTACH,  /* report DONE. fds: the link */
        _WORKER_KIND_MAX,
} WorkerKind;

#define PROGRAM_INSTANCES_MAX 4U /* that a mount may have at a time */

typedef struct ProgramInstance { /* a mapping program that was loaded for a mount */
        uint32_t mib; /* its tables' memory, 0: none */
        uint32_t table_ids[PROGRAM_TABLES_MAX];
} ProgramInstance;

/* Everything in here is borrowed from the broker's memory at the moment of the fork. */
typedef struct WorkerJob {
        WorkerKind kind;
        uid_t user; /* for whom: while it is there it counts as that user's; (uid_t) -1: nobody's, as it has to run in any case */
        const Host *host;

        /* MOUNT and EXPLAIN */
        const PolicyTable *table;
        const PolicyType *type;
        const Identity *identity;
        int caller_fd;
        int slot_fds[POLICY_SLOTS_MAX]; /* -EBADF where empty */
        uint32_t slot_kinds[POLICY_SLOTS_MAX];
        uint32_t options;
        const char *server_options;
        uid_t server_uid;
        bool await_uid; /* it is not known yet: report ALLOWED and wait for WorkerAdmit */

        int owner_fd;   /* the client's word, -EBADF: none */

        /* PROGRAM; table, type and slot_fds as above */
        const char *program_name;
        const ChannelTable *tables;
        uint32_t n_tables;
        const char *libexec_directory; /* where fused-program is */
        const ProgramInstance *instances; /* [PROGRAM_INSTANCES_MAX] of this mount so far */
        uint32_t max_mib; /* of all of them, with the new one; UINT32_MAX: no limit */

        int ops_fd; /* ATTACH, with fuse_fd */

        /* MOUNT and UNMOUNT */
        int mountpoint_fd; /* -EBADF: detached */

        /* UNMOUNT */
        uint64_t mount_ns_inode, mount_ns_id; /* 0: the broker's own */
        uint64_t kernel_mount_id;
        bool mount_id_unique;
        bool lazy;

        /* BACKING */
        int fuse_fd; /* and ATTACH */
        int files_fd;             /* what the server sends its files to */
        uint32_t read_only_trees; /* bits: slots */
} WorkerJob;

#define WORKER_FDS_MAX (2 + 2 * POLICY_SLOTS_MAX + POLICY_CLONES_MAX)
_Static_assert(WORKER_FDS_MAX <= FD_PASS_MAX, "a report goes in one message");

typedef enum WorkerReportKind {
        WORKER_REPORT_ALLOWED,  /* policy says yes; the server, and so its uid, is waited for (await_uid) */
        WORKER_REPORT_PREPARED, /* fds: FUSE device, each slot that is not empty, [the owner, if the client has not named it],
                                 * [devices with O_DIRECT], [clones] */
        WORKER_REPORT_MOUNTED,  /* the superblock exists, and which mount is about to be attached; LIVE follows */
        WORKER_REPORT_LIVE,     /* fds: the mount, if detached */
        WORKER_REPORT_DONE,
        WORKER_REPORT_READY,    /* the order is done: backing_error, backing_id */
        _WORKER_REPORT_MAX,
} WorkerReportKind;

typedef struct WorkerReport {
        uint32_t kind;
        int32_t error;      /* 0 or negative errno; -EACCES with a refusal */
        uint32_t stage;     /* BrokerStage */
        uint32_t refusal;   /* Refusal */
        PolicyPlace place;
        uint32_t options;   /* granted, or offending */
        uint32_t administrator;
        DeviceFacts device; /* of the slot "source" */
        uint32_t sync_init;
        uint32_t foreign_user_ns;
        uint32_t owner_found;    /* bool: the last fd is its pidfd */
        int32_t owner_pid;
        uint64_t mount_ns_inode; /* of the caller's mount namespace, if it is not ours */
        uint64_t mount_ns_id;
        uint32_t connection;
        uint64_t kernel_mount_id;
        uint32_t mount_id_unique;
        uint32_t on_autofs; /* bool: the mount point is an automount's */
        uint32_t direct_slots; /* bits: slots whose device was opened with O_DIRECT as well */
        uint32_t n_clones;     /* FUSE devices to become further ones of this mount's */
        int32_t backing_error; /* 0 or negative errno of the order; the worker goes on */
        uint32_t backing_id;
        uint32_t n_tables;     /* PROGRAM */
        uint32_t attachable;   /* bool: the last fd is its struct_ops map */
        uint32_t gone;         /* bits: instances of which nothing is left; also after a failure */
        ProgramInstance instance;
        ChannelTable tables[CHANNEL_TABLES_MAX];
        char rule[64];         /* refused: which check, and why; or why it is not attachable */
        char text[192];
} WorkerReport;

typedef struct WorkerAdmit {
        uint32_t server_uid;
} WorkerAdmit;

typedef struct WorkerGo {
        uint32_t options;
        uint32_t max_read;
        uint32_t expected_format;
        uint32_t init_later; /* the server gets to work after the mount call: do not wait for it */
        char fsname[BROKER_NAME_MAX];
        char subtype[POLICY_NAME_MAX]; /* "": the type's name */
} WorkerGo;

typedef struct WorkerOrder {
        uint32_t operation; /* BROKER_BACKING_OPEN or _CLOSE */
        uint32_t value;
        uint64_t serial;    /* of the message with the file */
} WorkerOrder;

/* Forks. The caller owns the pid (to reap) and the socket. */
int worker_start(const WorkerJob *job, pid_t *ret_pid, int *ret_socket) _must_check_;

/* The steps, one file each; they run in the worker. */
int worker_check(const WorkerJob *job, WorkerReport *report); /* worker-prepare.c: everything that may be refused beforehand */
int worker_prepare(const WorkerJob *job, WorkerReport *report, int *fds /* [WORKER_FDS_MAX] */, size_t *n_fds); /* worker-prepare.c */
/* worker-fuse.c, in the caller's user namespace. After the first one nobody in this process has CAP_SYS_RAWIO any more. */
int worker_open_fuse(const WorkerJob *job, WorkerReport *report, int *ret_fd) _must_check_;
void worker_open_clones(const WorkerJob *job, WorkerReport *report, int clones[POLICY_CLONES_MAX]);
typedef struct CallerFacts {
        char cgroup[1024]; /* path; "" if not known */
        bool foreign;      /* its user namespace is not ours */
        uid_t owner;       /* of its user namespace */
} CallerFacts;
/* Where the caller is, by the kernel's word, of the process that its pidfd stands for; worker-caller.c. */
int worker_caller_facts(const WorkerJob *job, CallerFacts *ret) _must_check_;
int worker_authorize(const WorkerJob *job, WorkerReport *report); /* worker-prepare.c */
int worker_mount(const WorkerJob *job, const WorkerGo *go, int fuse_fd, int socket_fd, WorkerReport *report, int *ret_mount_fd); /* worker-mount.c */
int worker_unmount(const WorkerJob *job); /* worker-unmount.c */
int worker_program(const WorkerJob *job, WorkerReport *report, int *fds /* [WORKER_FDS_MAX] */, size_t *n_fds); /* worker-program.c */
void worker_attach(const WorkerJob *job, int socket_fd); /* worker-attach.c */
/* worker-confine.c, all for good. Nobody, with these capabilities and no other: */
int worker_become_nobody(const cap_value_t *kept, size_t n) _must_check_;
int worker_give_up(cap_value_t value) _must_check_; /* one capability; not to have it is fine */
/* Nothing but these system calls, as far as this machine has them (a number below 0: not), and one command of bpf(2), or -1. EPERM else. */
int worker_confine(const int *calls, size_t n, int bpf_command) _must_check_;
int worker_clone_tree(const Host *host, int tree_fd, uid_t from_uid, gid_t from_gid, uid_t to, bool read_only,
                      int *ret_fd) _must_check_;                      /* worker-tree.c */
int worker_enter_user_ns(const WorkerJob *job, WorkerReport *report); /* worker-namespace.c; then /dev/fuse is opened, then: */
int worker_become_caller(const WorkerJob *job, WorkerReport *report); /* takes its ids, keeps CAP_SYS_ADMIN there */
int worker_take_ids(uid_t uid, gid_t gid) _must_check_; /* the same: no other right than CAP_SYS_ADMIN */
void worker_backing(const WorkerJob *job, int socket_fd); /* worker-backing.c */
int worker_enter_mount_ns(const WorkerJob *job, WorkerReport *report); /* worker-namespace.c */
/* worker-reenter.c: into the mount namespace of that identity. -ESRCH: nobody is in it. */
int worker_reenter_mount_ns(const Host *host, uint64_t inode, uint64_t id);
int worker_mount_ns_identity(int ns_fd, uint64_t *ret_inode, uint64_t *ret_id);
int worker_check_owner(const WorkerJob *job, WorkerReport *report);                 /* worker-owner.c: the one that was named */
int worker_find_owner(const WorkerJob *job, WorkerReport *report, int *ret_fd);     /* the one that goes without saying; -EBADF: none */
int worker_check_mountpoint(const WorkerJob *job, bool administrator, WorkerReport *report); /* worker-mountpoint.c */
/* The mount id (unique where the kernel has such) and device of a descriptor's mount, without asking its file system for
 * anything. The caller's ids must be in force for a FUSE mount. */
int worker_mount_facts(int fd, uint64_t *ret_id, bool *ret_unique, uint32_t *ret_dev_minor); /* worker-mountpoint.c */
static inline int worker_refuse(WorkerReport *report, Refusal refusal) {
        report->refusal = (uint32_t) refusal;
        return -EACCES;
}
