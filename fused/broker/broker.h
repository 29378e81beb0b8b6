/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The broker's one state struct. Single-threaded; lives as long as the process. */

#include <systemd/sd-event.h>

#include "broker/host.h"
#include "broker/spawn.h"
#include "policy/policy-table.h"

typedef struct ManagerLink ManagerLink;
typedef struct Mount Mount;
typedef struct TypeRoot TypeRoot;
typedef struct Spare Spare;
typedef struct Unit Unit;
typedef struct WorkerLink WorkerLink;

#define BROKER_MOUNTS_MAX 65536 /* what uids are reserved for at most; the table's max_mounts is the usual limit */

typedef struct Broker {
        sd_event *event;      /* owned */
        Host host;
        char *runtime_directory; /* owned, absolute */
        char *control_path;   /* owned: RUNTIME/control */
        bool control_is_given; /* by systemd: not ours to remove */
        int control_fd;       /* owned: the listening control socket, kept over the manager's restarts */
        int journal_fd;       /* owned or -EBADF */
        int lock_fd;          /* owned: flock on the runtime directory */
        char *libexec_directory; /* owned */
        char **policy_directories; /* owned strings, NULL-terminated; NULL: the built-in layers */

        Policy *policy;       /* owned: the current generation */
        TypeRoot *roots;      /* owned list: sandbox roots of type and generation */
        Spare *spares;        /* owned list, last used first */
        sd_event_source *spare_timer; /* owned */
        int manager_root_fd;  /* owned */
        int agent_fd;         /* owned: O_PATH of fused-agent */
        CgroupTree *cgroups;  /* owned, NULL where no hierarchy can be used */

        ManagerLink *manager; /* owned */
        WorkerLink *workers;  /* list of all that are not reaped; each frees itself then */
        Mount *mounts;        /* owned list */
        size_t n_mounts;
        uint64_t next_mount_id;
        uint32_t next_uid;    /* offset in the uid range, round robin */
        bool units;           /* servers are systemd units, not our children */
        bool stopping;
        uint64_t stop_usec;   /* when stopping began */
        sd_event_source *health; /* owned: looks for mounts that were taken down from outside */
} Broker;

/* One mount less while the supervisor stops: ends the loop if it was the last that is waited for. */
void broker_stopped(Broker *broker);
