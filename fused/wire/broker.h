/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What broker and manager say to each other: fixed-size structs over one SOCK_SEQPACKET pair, host byte order, each with
 * a fixed number of descriptors. The manager asks (BrokerRequest), the broker answers each request exactly once
 * (BrokerReply, same serial, not necessarily in order) and tells what happened (BrokerEvent).
 *
 * The manager is not trusted: the table in broker/operations.c says which operation is permitted in which state of a
 * mount; anything else, any other size or number of descriptors, any string without its NUL ends the manager. Strings in
 * here are opaque to the broker: shown in logs after escaping, handed to the unprivileged server, or kept for the next manager.
 *
 * The caller's identity is never the manager's word: requests that act for a caller carry the caller's connected control
 * socket as their first descriptor, and the broker asks the kernel (SO_PEERCRED, SO_PEERGROUPS, SO_PEERPIDFD).
 */

#include "base/macro.h"
#include "policy/policy-table.h"
#include "wire/channel.h"

#define BROKER_MAGIC 0x42a80005U /* the low half is the version */

typedef enum BrokerOperation {
        BROKER_CREATE,    /* new mount: identity, policy, device, /dev/fuse. fds: caller, [mount point], [slot fds in order], [channel], [owner] */
        BROKER_SPAWN,     /* start the server. Reply fds: stderr (read end), for hand-over service also its socket */
        BROKER_SEND_FILE, /* send a FILE packet with the FUSE device or a slot's fd to the server (hand-over service) */
        BROKER_MOUNT,     /* fsopen..fsmount, wait for FUSE_INIT, attach. Reply: once live. Reply fd: mount, if detached */
        BROKER_END,       /* unmount, abort or cancel; everything is given back. Event ENDED follows a success */
        BROKER_QUERY,     /* numbers for status */
        BROKER_CHANNEL,   /* make the server's second channel and send it its end. Reply fd: the manager's (hand-over service) */
        BROKER_CLONE,     /* send another descriptor of the FUSE device over that channel, as its answer. -ENFILE: no more for the type */
        BROKER_BACKING_SOCKET, /* start the mount's worker for backing files; its socket goes to the server as its answer */
        BROKER_BACKING_OPEN,   /* register the file that the server has sent to that worker. Reply: value. -EDQUOT: no more for this type */
        BROKER_BACKING_CLOSE,  /* value: the id */
        BROKER_PROGRAM,   /* load a mapping program that the type may use, and send it over that channel. -ENOENT: there is none of that
                           * name for the type; -EPERM: it is refused; -EDQUOT: its tables are larger than asked for. Reply: value */
        BROKER_ATTACH,    /* bind the program loaded last to the mount's connection. -EPERM: that is another; -EOPNOTSUPP: the kernel has no form
                           * of it; -EALREADY: one is bound */
        BROKER_PRESSURE,  /* send what tells that memory is short over that channel, as its answer. -EALREADY: once; -EOPNOTSUPP: nothing does */
        BROKER_EXPLAIN,   /* the decision of CREATE without its effects. fds: caller, [slot fds in order] */
        _BROKER_OPERATION_MAX,
        _BROKER_OPERATION_INVALID = -EINVAL,
} BrokerOperation;

typedef enum BrokerSlotKind {
        BROKER_SLOT_EMPTY,
        BROKER_SLOT_FILE,   /* regular file, opened by the client */
        BROKER_SLOT_DEVICE, /* block device, an O_PATH (or any) fd of its node: the broker opens it itself */
        BROKER_SLOT_TREE,   /* directory */
        _BROKER_SLOT_KIND_MAX,
} BrokerSlotKind;

typedef enum BrokerCreateFlags {
        BROKER_CREATE_DETACHED = 1 << 0, /* no mount point: the mount fd goes to the client */
        BROKER_CREATE_CHANNEL = 1 << 1,  /* hand-over caller: the fd after the slots is a socket of the client's, to which the device goes */
        BROKER_CREATE_OWNER = 1 << 2,    /* the last fd is the pidfd of the process that the mount ends with */
        _BROKER_CREATE_FLAGS_ALL = 7,
} BrokerCreateFlags;

#define BROKER_FDS_MAX (4 + POLICY_SLOTS_MAX) /* of a request */

#define BROKER_NAME_MAX 256
#define BROKER_OPTIONS_MAX 1024

typedef struct BrokerCreate {
        uint32_t policy_generation; /* of the table that type_index refers to; another than the current: -ESTALE */
        uint32_t type_index;
        uint32_t flags;
        uint32_t options;  /* PolicyOption bits asked for */
        uint32_t max_read;
        uint32_t blksize;
        uint32_t slots[POLICY_SLOTS_MAX]; /* BrokerSlotKind; each but EMPTY has one fd, in this order, after the mount point */
        char source_name[BROKER_NAME_MAX];     /* for display only */
        char mountpoint_name[BROKER_NAME_MAX]; /* for display only */
        char server_options[BROKER_OPTIONS_MAX]; /* words that the type's ServerOptions= lists; the broker checks again */
} BrokerCreate;

typedef struct BrokerSendFile {
        uint32_t what;  /* 0 = FUSE device, 1 + i = slot i */
        uint32_t open_flags; /* access mode asked for: O_RDONLY, O_WRONLY or O_RDWR; more than the slot has: -EROFS. O_DIRECT: a device's
                              * second descriptor, if the type has any; else the flag is ignored */
        uint32_t path_size; /* with the NUL; the path is echoed to the server byte by byte */
        char path[4096];
} BrokerSendFile;

typedef struct BrokerMount {
        uint32_t options; /* PolicyOption bits; may only add restrictions to what CREATE granted, else -EPERM */
        uint32_t max_read;
        uint32_t blksize;
        uint32_t expected_format; /* 0, S_IFDIR or S_IFREG: what the server expects the mount point to be */
        char fsname[BROKER_NAME_MAX]; /* mount source shown by the kernel: [A-Za-z0-9_./:+@-]+, checked by the broker */
        char subtype[POLICY_NAME_MAX]; /* hand-over caller only: "fuse.SUBTYPE" instead of the type's name; "" for that */
} BrokerMount;

typedef struct BrokerClone {
        uint64_t channel_serial; /* of the server's request, echoed to it */
} BrokerClone; /* and PRESSURE */

typedef struct BrokerBacking {
        uint64_t channel_serial; /* of the server's request: what its message to the worker begins with */
        uint32_t value;          /* OPEN: ChannelBacking; CLOSE: the id */
        uint32_t reserved;
} BrokerBacking;

typedef struct BrokerProgram {
        uint64_t channel_serial;
        char name[CHANNEL_NAME_MAX];
        uint32_t n_tables;
        uint32_t max_mib; /* of its tables, and those of the mount's other programs that are still there. UINT32_MAX: what the policy allows each */
        ChannelTable tables[CHANNEL_TABLES_MAX]; /* names and numbers of entries wanted */
} BrokerProgram;

typedef struct BrokerAttach {
        uint64_t channel_serial;
        char name[CHANNEL_NAME_MAX]; /* of the program that is meant, or "" */
} BrokerAttach;

typedef enum BrokerEndHow {
        BROKER_END_UNMOUNT, /* umount; -EBUSY leaves everything as it was */
        BROKER_END_LAZY,    /* detach now; the server goes when the last user has left or after the stop deadline */
        BROKER_END_ABORT,   /* abort the connection: blocked callers get ECONNABORTED; then detach and kill */
        BROKER_END_CANCEL,  /* a mount that is not live yet: kill and give back */
        _BROKER_END_MAX,
} BrokerEndHow;

typedef struct BrokerEnd {
        uint32_t how;
        uint32_t reserved;
} BrokerEnd;

typedef struct BrokerExplain {
        uint32_t policy_generation;
        uint32_t type_index;
        uint32_t options;
        uint32_t slots[POLICY_SLOTS_MAX]; /* as of BrokerCreate, after the caller */
        uint32_t as_other; /* bool: decide for the ids below and not for the caller */
        uint32_t uid;
        uint32_t gid;
        uint32_t n_groups;
        uint32_t groups[64];
} BrokerExplain;

typedef struct BrokerRequest {
        uint32_t magic;
        uint32_t operation;
        uint64_t serial;   /* chosen by the manager, echoed */
        uint64_t mount_id; /* 0 for CREATE and EXPLAIN */
        union {
                BrokerCreate create;
                BrokerSendFile send_file;
                BrokerMount mount;
                BrokerEnd end;
                BrokerClone clone;
                BrokerBacking backing;
                BrokerProgram program;
                BrokerAttach attach;
                BrokerExplain explain;
        };
} BrokerRequest;

/* What a live mount is, for the manager and, after a restart, for the next manager. */
typedef struct BrokerRecord {
        uint64_t mount_id;
        uint64_t created_usec;   /* CLOCK_BOOTTIME */
        uint64_t live_usec;      /* CLOCK_BOOTTIME, 0 before */
        uint64_t kernel_mount_id;/* STATX_MNT_ID_UNIQUE where the kernel has it, else the old mount id; 0 before */
        uint32_t mount_id_unique;/* bool: which of the two */
        uint32_t connection;     /* minor of st_dev: /sys/fs/fuse/connections/N */
        uint32_t policy_generation;
        uint32_t type_index;     /* in that generation */
        char type_name[POLICY_NAME_MAX];
        uint32_t uid;            /* caller */
        uint32_t gid;
        uint32_t flags;          /* BrokerCreateFlags */
        uint32_t options;        /* PolicyOption bits in force */
        uint32_t max_read;
        uint32_t blksize;
        uint32_t slots[POLICY_SLOTS_MAX];
        uint32_t device_major;   /* of the source, if it is a device */
        uint32_t device_minor;
        uint64_t device_size;
        int32_t server_pid;      /* in the broker's pid namespace; for display only */
        uint32_t server_uid;
        uint32_t sync_init;      /* bool: FUSE_INIT is answered inside the mount call; reply to the server's MOUNT first */
        uint32_t foreign_namespace; /* bool: the caller's user namespace is not the broker's */
        uint64_t mount_ns_inode; /* of the caller's mount namespace, 0: the broker's. Only a name: nothing keeps it alive */
        uint64_t mount_ns_id;    /* never given twice; 0 before Linux 6.11 */
        int32_t owner_pid;       /* what the mount ends with, in the broker's pid namespace, 0: nothing; for display only */
        uint32_t n_backings;     /* files registered with the kernel at the moment */
        uint32_t program_mib;    /* that tables of its mapping programs take */
        uint32_t program_bound;  /* bool: the kernel runs one of them */
        char cgroup[128];        /* display: where limits are held, "" if nowhere */
        char source_name[BROKER_NAME_MAX];
        char mountpoint_name[BROKER_NAME_MAX];
        char server_options[BROKER_OPTIONS_MAX];
} BrokerRecord;

/* Why something was refused: which rule, and the numbers for the message. */
typedef struct BrokerRefusal {
        uint32_t refusal; /* Refusal, policy/authorize.h */
        PolicyPlace place; /* string offset in the table of policy_generation */
        uint32_t policy_generation;
        uint32_t options; /* for REFUSAL_OPTION */
        uint32_t device_major;
        uint32_t device_minor;
        uint64_t holder;  /* id of the fused mount that holds the device, 0 if it is somebody else */
} BrokerRefusal;

typedef struct BrokerQueryReply {
        uint32_t waiting;      /* requests that the kernel has not got an answer for */
        uint32_t n_fds;        /* descriptors that the broker holds for this mount */
        uint64_t memory_bytes; /* of the server's cgroup, 0 if not known */
        uint32_t n_processes;  /* likewise */
        uint32_t reserved;
        uint64_t cpu_usec;     /* likewise: used since its start */
} BrokerQueryReply;

typedef struct BrokerReply {
        uint32_t magic;
        uint32_t operation; /* of the request; a reply has bit 31 clear, an event has it set */
        uint64_t serial;
        uint64_t mount_id;
        int32_t error;      /* 0 or negative errno; -EACCES means refused, see refusal */
        uint32_t stage;     /* BrokerStage at which a CREATE, SPAWN or MOUNT failed, for the message */
        BrokerRefusal refusal;
        union {
                BrokerRecord record; /* CREATE, SPAWN, MOUNT */
                BrokerQueryReply query;
        };
        uint32_t value;     /* BACKING_OPEN: the kernel's id; PROGRAM: MiB that tables of the mount's programs take now, also after a failure */
        uint32_t n_backings;/* BACKING_OPEN, BACKING_CLOSE: how many there are now */
} BrokerReply;

typedef enum BrokerStage {
        BROKER_STAGE_NONE,
        BROKER_STAGE_IDENTITY,
        BROKER_STAGE_SOURCE,
        BROKER_STAGE_MOUNTPOINT,
        BROKER_STAGE_FUSE_DEVICE,
        BROKER_STAGE_SANDBOX,
        BROKER_STAGE_UNIT,       /* systemd has no such unit, or it did not come up */
        BROKER_STAGE_CGROUP,
        BROKER_STAGE_EXEC,
        BROKER_STAGE_FSOPEN,
        BROKER_STAGE_FSCONFIG,
        BROKER_STAGE_SUPERBLOCK, /* the kernel refused to create it, or FUSE_INIT failed inside */
        BROKER_STAGE_INIT,       /* FUSE_INIT was not answered in time, or refused */
        BROKER_STAGE_ATTACH,
        _BROKER_STAGE_MAX,
} BrokerStage;

typedef enum BrokerEventKind {
        BROKER_EVENT_START,      /* first message to a new manager. fds: listening control socket, policy table, [journal] */
        BROKER_EVENT_ADOPT,      /* a live mount from before. fds: stderr, [the server's second channel] */
        BROKER_EVENT_ADOPTED,    /* no more of them */
        BROKER_EVENT_POLICY,     /* a new table. fds: policy table */
        BROKER_EVENT_SERVER_EXIT,/* the server process has ended; the broker is already taking the mount down */
        BROKER_EVENT_ENDED,      /* everything that the mount held is given back; its id will not come again */
        BROKER_EVENT_MOUNTED,    /* the superblock exists, FUSE_INIT is not answered yet: without sync_init, a server with
                                  * hand-over service waits for the manager's word on this before it reads its device */
        _BROKER_EVENT_MAX,
} BrokerEventKind;

#define BROKER_EVENT_BIT 0x80000000U

typedef enum BrokerEndReason {
        BROKER_REASON_UNMOUNTED,   /* by request, or with umount(8), or the last reference to a detached mount is gone */
        BROKER_REASON_SERVER_EXIT, /* the server ended by itself while mounted, or before */
        BROKER_REASON_ABORTED,
        BROKER_REASON_CANCELLED,   /* by the manager, before it was live */
        BROKER_REASON_FAILED,      /* a step of CREATE, SPAWN or MOUNT failed */
        BROKER_REASON_DEADLINE,    /* a deadline of the type passed */
        BROKER_REASON_OWNER_GONE,  /* the process that it was to end with has ended */
        _BROKER_REASON_MAX,
} BrokerEndReason;

typedef struct BrokerEvent {
        uint32_t magic;
        uint32_t kind;    /* BrokerEventKind | BROKER_EVENT_BIT: at the same place as BrokerReply.operation */
        uint64_t mount_id;
        uint32_t policy_generation; /* START, POLICY */
        uint32_t reason;     /* ENDED: BrokerEndReason */
        int32_t exit_code;   /* SERVER_EXIT, ENDED: CLD_EXITED.., 0 if it never ran */
        int32_t exit_status; /* exit status or signal */
        BrokerRecord record; /* ADOPT */
} BrokerEvent;

/* The exact size of a request of this operation, 0 for an unknown one. */
size_t broker_request_size(uint32_t operation);
/* Checks what can be checked without state: magic, size, enums, bits, terminated strings. 0 or -EBADMSG. Pure; fuzzed. */
int broker_request_validate(const BrokerRequest *request, size_t size) _must_check_;
/* How many descriptors a valid request must carry. */
size_t broker_request_n_fds(const BrokerRequest *request);
/* The same for what the manager receives. */
int broker_reply_validate(const void *message, size_t size, bool *ret_is_event) _must_check_;

const char *broker_operation_to_string(BrokerOperation operation);
const char *broker_stage_to_string(BrokerStage stage);
const char *broker_end_reason_to_string(BrokerEndReason reason);
