/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The policy table: what the policy files say, digested.
 *
 * fused-policy (unprivileged, started by the broker at start and on SIGHUP) reads the files and writes this table into
 * a memfd; the broker seals and validates it once (policy_table_validate) and both broker and manager map it read-only.
 * Neither of them ever parses a configuration file.
 *
 * Layout: one PolicyTable, followed by the arrays that it names by byte offset. Every array is 8-byte aligned, every
 * string is a byte offset into the string pool and is NUL-terminated inside it; offset 0 is the empty string. Rows name
 * other rows by (first, count) in the global array of their kind. All integers are in host order: writer and readers
 * are one machine.
 *
 *   +--------------+-------+-----------+-------+-------+---------+-----------+-------+-------+----------+---------+---------+
 *   | PolicyTable  | types | arguments | slots | rules | devices | ids (u32) | files | users | programs | filters | strings |
 *   +--------------+-------+-----------+-------+-------+---------+-----------+-------+-------+----------+---------+---------+
 */

#include <sys/types.h>

#include "base/macro.h"

#define POLICY_TABLE_MAGIC 0x33656c6261546675ULL
#define POLICY_TABLE_MAX_SIZE (16U << 20)
#define POLICY_NAME_MAX 32         /* type, slot and rule names, with the NUL: [a-z0-9][a-z0-9._-]* */
#define POLICY_TYPES_MAX 256
#define POLICY_SPARES_MAX 64U
#define POLICY_CLONES_MAX 8U     /* further descriptors of the FUSE device for one server */
#define POLICY_SLOTS_MAX 8         /* per type; slot 0 is always "source" if the type takes a source */
#define POLICY_FILTER_MAX 4096     /* instructions, the kernel's BPF_MAXINSNS */
#define POLICY_ID_ANY UINT32_MAX   /* "*" in Users= or Groups=, and "any" for major or minor */
#define POLICY_ID_HOST (UINT32_MAX - 1) /* "host" in NamespaceOwners=: the supervisor's own user namespace, whoever owns it */

typedef enum PolicyHandOver {
        POLICY_HAND_OVER_SERVICE, /* libfuse >= 3.19 service protocol on fd 3 */
        POLICY_HAND_OVER_FD,      /* an unmodified libfuse program; the agent answers for its slots */
        POLICY_HAND_OVER_FUSERMOUNT, /* likewise, for one that runs fusermount3: the sandbox has one that answers */
        POLICY_HAND_OVER_CALLER,  /* the caller's own program, which gets the FUSE device; fused starts nothing */
        _POLICY_HAND_OVER_MAX,
        _POLICY_HAND_OVER_INVALID = -EINVAL,
} PolicyHandOver;

/* What may be bound to a slot (bits). */
typedef enum PolicySource {
        POLICY_SOURCE_NONE = 1 << 0,   /* nothing: the slot stays empty */
        POLICY_SOURCE_FILE = 1 << 1,   /* a regular file that the client opened */
        POLICY_SOURCE_DEVICE = 1 << 2, /* a block device that the broker opens */
        POLICY_SOURCE_TREE = 1 << 3,   /* a directory that the client opened; the server gets an idmapped clone */
        _POLICY_SOURCE_ALL = (1 << 4) - 1,
} PolicySource;

/* Mount options, as bits. The option table (policy/options.h) says what each means for the kernel. */
typedef enum PolicyOption {
        POLICY_OPTION_RO = 1 << 0,
        POLICY_OPTION_NOEXEC = 1 << 1,
        POLICY_OPTION_SYNC = 1 << 2,
        POLICY_OPTION_DIRSYNC = 1 << 3,
        POLICY_OPTION_NOATIME = 1 << 4,
        POLICY_OPTION_NODIRATIME = 1 << 5,
        POLICY_OPTION_NOSYMFOLLOW = 1 << 6,
        POLICY_OPTION_DEFAULT_PERMISSIONS = 1 << 7,
        POLICY_OPTION_ALLOW_OTHER = 1 << 8,
        POLICY_OPTION_MAX_READ = 1 << 9,
        POLICY_OPTION_BLKSIZE = 1 << 10,
        POLICY_OPTION_SUID = 1 << 11, /* only where the rule says Administrator=yes */
        POLICY_OPTION_DEV = 1 << 12,  /* likewise */
        _POLICY_OPTION_ALL = (1 << 13) - 1,
        /* what every rule grants without naming it */
        _POLICY_OPTION_HARMLESS = (1 << 8) - 1 + POLICY_OPTION_MAX_READ + POLICY_OPTION_BLKSIZE,
} PolicyOption;

typedef struct PolicyArray {
        uint32_t offset; /* bytes from the start of the table */
        uint32_t count;  /* rows (bytes for the string pool, instructions for the filters) */
} PolicyArray;

typedef struct PolicyRange {
        uint32_t first;
        uint32_t count;
} PolicyRange;

/* Where something was said: for messages, and for `fusectl policy explain`. */
typedef struct PolicyPlace {
        uint32_t file; /* string */
        uint32_t line;
} PolicyPlace;

/* What one user may hold at a time. UINT32_MAX is "no limit". */
typedef struct PolicyLimits {
        uint32_t max_mounts;
        uint32_t max_pending;
        uint32_t max_fds;
        uint32_t max_processes;
        uint32_t max_memory; /* MiB: the sum of Memory= of the types of live servers */
        uint32_t max_cpu;    /* percent of one processor: the sum of their CPU= */
} PolicyLimits;

typedef struct PolicyUser { /* a [User NAME] section of fused.conf */
        uint32_t uid;
        uint32_t reserved;
        PolicyLimits limits;
        PolicyPlace place;
} PolicyUser;

typedef struct PolicySlot { /* a [Slot NAME] section */
        char name[POLICY_NAME_MAX];
        uint32_t sources;  /* PolicySource bits accepted */
        uint32_t required; /* bool: without it the mount is refused; else it may stay empty */
        uint32_t writable; /* bool: fd is O_RDWR unless the mount is read-only */
        uint32_t path;     /* string: the path that stands for it inside the sandbox, "/slots/NAME" */
} PolicySlot;

typedef struct PolicyProgram { /* a [Program NAME] section of fused.conf: a mapping program that servers may ask for */
        char name[POLICY_NAME_MAX];
        PolicyPlace place;
        uint32_t object;     /* string: absolute path of the object */
        uint32_t signature;  /* string: of a detached Ed25519 signature, "": none */
        uint32_t public_key; /* string: of the key, PEM; with a signature */
        uint32_t has_digest; /* bool; a digest or a signature there is */
        uint8_t digest[32];  /* SHA-256 of the object */
        uint64_t max_memory; /* bytes: of its tables together */
} PolicyProgram;

typedef enum PolicyDeviceKind {
        POLICY_DEVICE_PATH,    /* a stable name below /dev: matches the device it leads to at the moment of asking */
        POLICY_DEVICE_NUMBER,  /* major:minor, each may be ANY */
        POLICY_DEVICE_LOOP,    /* a loop device whose backing file is this path */
        _POLICY_DEVICE_KIND_MAX,
} PolicyDeviceKind;

typedef struct PolicyDevice {
        uint32_t kind;
        uint32_t path; /* string; for PATH relative to /dev; a trailing "*" in the last component matches any rest */
        uint32_t major;
        uint32_t minor;
} PolicyDevice;

typedef struct PolicyRule { /* an [Allow NAME] section: who may mount this type, on what, with which options */
        char name[POLICY_NAME_MAX];
        PolicyPlace place;
        PolicyRange uids;    /* into ids; ANY matches everybody */
        PolicyRange gids;    /* into ids; a user matches if uids or gids match */
        uint32_t sources;    /* PolicySource bits of the slot "source" */
        uint32_t options;    /* PolicyOption bits granted beyond the harmless ones are included here */
        PolicyRange devices; /* which devices, if sources has DEVICE; an empty range means none */
        uint32_t administrator; /* bool: suid and dev may be granted, foreign mount points are allowed */
        uint32_t units;      /* string: patterns, separated by blanks, of which one must match a part of the caller's cgroup; "": any */
        uint32_t cgroups;    /* string: likewise, of which one must match its path, or the path of a cgroup above it */
        uint32_t reserved;
        PolicyRange owners;  /* into ids: who must own the caller's user namespace; empty: anybody */
} PolicyRule;

typedef struct PolicyFile { /* a file in the sandbox root, bound read-only from the same path of the host */
        uint32_t path; /* string, absolute */
        uint32_t flags; /* 0 */
} PolicyFile;

typedef struct PolicyType {
        char name[POLICY_NAME_MAX];
        uint32_t description; /* string */
        uint32_t disabled; /* string: why this type is not available, naming file, line and key; 0 = it is available */
        PolicyPlace place;
        uint32_t hand_over;
        uint32_t read_only;   /* bool: ro is always added */
        uint32_t program;     /* string: absolute path */
        PolicyRange arguments; /* into arguments (string offsets): argv[1..]; a word may hold the specifiers below */
        PolicyRange slots;
        PolicyRange rules;
        PolicyRange files;    /* program, its libraries, Files= */
        PolicyRange filter;   /* into filters: the server's seccomp program (struct sock_filter, 8 bytes each) */
        uint32_t server_options; /* string: comma-separated options passed on to the program; "name" or "name=" */
        uint32_t max_open_files;
        uint32_t max_processes;  /* 0 = no limit */
        uint32_t oom_score;
        uint32_t programs;       /* string: names of mapping programs that the server may ask for, separated by blanks */
        uint32_t device_clones;  /* further descriptors of the FUSE device that the server may ask for, one per thread */
        uint32_t max_backings;   /* files that the server may have registered with the kernel at a time */
        uint32_t iomap;          /* bool: the kernel may be asked to map this type's files itself */
        uint64_t max_memory;     /* bytes, 0 = no limit */
        uint64_t max_cpu_percent;/* 0 = no limit */
        uint64_t start_usec;     /* request -> the server has asked for the mount (service) or runs (fd) */
        uint64_t init_usec;      /* mount -> FUSE_INIT answered */
        uint64_t stop_usec;      /* unmount -> the server has exited; then it is killed */
} PolicyType;

/* Specifiers in arguments: %s the path of slot "source"; %{NAME} the path of slot NAME; %d "/dev/fd/N" of the mounted
 * FUSE device (libfuse >= 3.3); %m "/mnt", an empty directory: for programs (libfuse 2) that open /dev/fuse and call
 * mount(2) themselves, which the agent answers; %o the comma-separated options for the program ("ro" or "rw" first); %%
 * a percent sign. A word that is just "%o" never vanishes. */

typedef struct PolicyTable {
        uint64_t magic;
        uint32_t size;       /* of the whole table */
        uint32_t uid_first;  /* uids for servers, one per mount */
        uint32_t uid_count;
        uint32_t max_mounts; /* of the whole supervisor */
        PolicyLimits limits; /* of a user without a [User] section */
        PolicyPlace limits_place;
        uint32_t manager_uid;
        uint32_t manager_gid;
        uint32_t spares;     /* sandboxes made ahead, of all types together */
        uint32_t reserved;
        PolicyRange manager_files; /* the manager's program and libraries, into files */
        PolicyArray types;
        PolicyArray arguments;
        PolicyArray slots;
        PolicyArray rules;
        PolicyArray devices;
        PolicyArray ids;
        PolicyArray files;
        PolicyArray users;
        PolicyArray programs;
        PolicyArray filters;
        PolicyArray strings;
} PolicyTable;

/* Checks that data[0..size) is a table in which every offset, range, enum and string is in bounds, so that the
 * accessors below need no further check. Pure; fuzzed. Returns 0 or -EBADMSG. */
int policy_table_validate(const void *data, size_t size) _must_check_;

/* Accessors on a validated table; they return pointers into it (borrowed, as long as the mapping lives). */
bool policy_has_agent(const PolicyType *type); /* hand-over fd or fusermount: an agent stands beside the server */
const char *policy_hand_over_to_string(uint32_t hand_over); /* as in HandOver= */
const char *policy_string(const PolicyTable *table, uint32_t offset);
const PolicyType *policy_type(const PolicyTable *table, uint32_t index); /* NULL if out of range */
const PolicyType *policy_type_by_name(const PolicyTable *table, const char *name,
                                      uint32_t *ret_index); /* NULL if none */
const PolicySlot *policy_slot(const PolicyTable *table, const PolicyType *type, uint32_t i);
const PolicyRule *policy_rule(const PolicyTable *table, const PolicyType *type, uint32_t i);
const PolicyDevice *policy_device(const PolicyTable *table, const PolicyRule *rule, uint32_t i);
const char *policy_argument(const PolicyTable *table, const PolicyType *type, uint32_t i);
const char *policy_file(const PolicyTable *table, PolicyRange files, uint32_t i);
const uint32_t *policy_ids(const PolicyTable *table, PolicyRange ids);
const void *policy_filter(const PolicyTable *table, const PolicyType *type); /* type->filter.count instructions */
const PolicyProgram *policy_program(const PolicyTable *table, uint32_t i); /* NULL if out of range */
/* The program of that name, if the type may use it; else NULL. */
const PolicyProgram *policy_program_of_type(const PolicyTable *table, const PolicyType *type, const char *name);
const PolicyLimits *policy_limits(const PolicyTable *table, uid_t uid, PolicyPlace *ret_place);

/* A mapped table, shared by reference between the current generation and the mounts that were made under it. */
typedef struct Policy Policy;
/* Maps fd (sealed against writing and shrinking; checked: -EPERM if not), validates. Borrows fd and keeps an own copy.
 */
int policy_new_from_fd(int fd, uint32_t generation, Policy **ret) _must_check_;
Policy *policy_ref(Policy *policy);
Policy *policy_unref(Policy *policy); /* returns NULL */
const PolicyTable *policy_table(const Policy *policy);
uint32_t policy_generation(const Policy *policy);
int policy_fd(const Policy *policy); /* borrowed */
DEFINE_CLEANUP(Policy *, policy_unrefp, policy_unref)
