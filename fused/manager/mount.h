/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One mount as the manager knows it: who asked, how far it is, who waits for it, what is charged for it. What it holds in the
 * kernel is the broker's.
 *
 * A mount is owned by the manager's list from mount_start() until the broker says that it has ENDED (or never was); it frees
 * itself then. Whoever waits for it is told exactly once, or never if it has said that it does not wait any more. */

#include <systemd/sd-event.h>

#include "base/log.h"
#include "manager/channel.h"
#include "manager/manager.h"
#include "manager/outcome.h"
#include "manager/quota.h"
#include "manager/request.h"
#include "manager/server-log.h"
#include "manager/service.h"

typedef enum MountState {
        MOUNT_CREATING, /* BROKER_CREATE is on its way; there is no id yet */
        MOUNT_SPAWNING, /* BROKER_SPAWN is on its way */
        MOUNT_TALKING,  /* hand-over service: the server has not asked for the mount yet */
        MOUNT_MOUNTING, /* BROKER_MOUNT is on its way, FUSE_INIT not answered */
        MOUNT_LIVE,
        MOUNT_ENDING,   /* the broker takes it down, or will be told to */
        _MOUNT_STATE_MAX,
        _MOUNT_STATE_INVALID = -EINVAL,
} MountState;

typedef struct MountWaiter MountWaiter;

/* mount is NULL if there never was one; it may be freed after the callback. mount_fd: of a detached mount, the callee's to take. */
typedef void (*mount_outcome_t)(void *userdata, const Outcome *outcome, const Mount *mount, int *mount_fd);

struct Mount {
        Manager *manager;        /* borrowed */
        Mount *next, **previous; /* Manager.mounts */
        MountState state;
        BrokerRecord record;     /* what the broker last said; mount_id is 0 in CREATING */
        Policy *policy;          /* owned reference; NULL if its generation is not known any more (adopted) */
        const PolicyType *type;  /* in that policy, or NULL */
        QuotaCharge charges[_QUOTA_POLICY_MAX];

        sd_event_source *deadline; /* owned: of the state */
        BrokerCall *call;        /* borrowed: the step that is on its way */
        BrokerCall *spawn_call;  /* borrowed: SPAWN, which may be on its way beside MOUNT */
        Service *service;        /* owned: the conversation with the server */
        Channel *channel;        /* owned: the server's second channel, if it has asked for it */
        BrokerCall *channel_call; /* borrowed: what is asked for over it */
        uint32_t channel_command; /* likewise */
        char asked_program[CHANNEL_NAME_MAX]; /* likewise, if that is PROGRAM */
        char program[CHANNEL_NAME_MAX]; /* loaded for the server; "" if there is none, or nobody knows any more */
        QuotaCharge backing_charge, backing_worker_charge;
        QuotaCharge program_charge; /* MiB of its programs' tables; while one is loaded, as much as it may take */
        uint32_t program_max_mib;   /* of what is asked for now */
        ServerLog *log;          /* owned */
        MountWaiter *client;     /* owned: who asked for the mount, until it is live */
        const void *prepared_by; /* hand-over caller, until it is live: the connection without which it is cancelled; not to be followed */
        MountWaiter *waiters;    /* owned: who waits for its end */

        Outcome *failure;        /* owned: why it will not become live */
        const char *failed_step; /* static */
        bool announced;          /* subscribers have heard of it */
        bool end_sent;           /* the broker knows that it is to end */
        bool killed;             /* by us: its exit status says nothing */
        bool has_exited;
        int exit_code, exit_status;

        char last_event[128];
        uint64_t last_event_usec; /* CLOCK_BOOTTIME */
};

/* Hand-over caller: the device has been sent, and the caller's program is ready for it. The outcome is told as by mount_start(). */
int mount_attach(Mount *mount, mount_outcome_t on_outcome, void *userdata, Outcome *outcome);
bool mount_is_prepared(const Mount *mount);
/* A connection has gone: what was only prepared on it is cancelled. */
void mounts_forget_connection(Manager *manager, const void *connection);

/* Decides what the manager can decide, charges, and asks the broker. caller_fd and the request's descriptors are borrowed.
 * On failure *outcome says why and the callback is not called. */
int mount_start(Manager *manager, const char *type_name, const MountRequest *request, uid_t uid, int caller_fd,
                mount_outcome_t on_outcome, void *userdata, Mount **ret, Outcome *outcome) _must_check_;
/* The client that waits for it to become live has gone: it is cancelled. */
void mount_client_gone(Mount *mount);
/* Takes it down. The callback comes once it has ended, or says why not. 0 or negative errno (then it does not come). */
int mount_end(Mount *mount, BrokerEndHow how, mount_outcome_t on_outcome, void *userdata) _must_check_;
/* A live mount from before the restart. Takes stderr_fd and channel_fd (of the server's second channel, or negative) over. */
int mount_adopt(Manager *manager, const BrokerRecord *record, int stderr_fd, int channel_fd) _must_check_;
void mount_free(Mount *mount); /* tells nobody */

/* Events of the broker. */
void mount_on_server_exit(Mount *mount, int exit_code, int exit_status);
void mount_on_mounted(Mount *mount);
void mount_on_ended(Mount *mount, BrokerEndReason reason, int exit_code, int exit_status); /* frees it */

Mount *mount_find(Manager *manager, uint64_t id);
const char *mount_state_to_string(MountState state); /* as in the API */
bool mount_state_may_follow(MountState from, MountState to);
const char *mount_type_name(const Mount *mount);

/* Between mount.c, mount-steps.c and mount-end.c: */
void mount_enter_state(Mount *mount, MountState state);
/* It will not become live (the first reason counts). grace_usec: wait so long for its exit status before it is killed;
 * MOUNT_BROKER_ENDS_IT: the broker has begun to take it down by itself. */
#define MOUNT_BROKER_ENDS_IT UINT64_MAX
void mount_fail(Mount *mount, uint64_t grace_usec, OutcomeKind kind, const char *format, ...) _printf_(4, 5);
void mount_note(Mount *mount, const char *format, ...) _printf_(2, 3); /* last event */
void mount_tell_client(Mount *mount, const Outcome *outcome, int *mount_fd);
void mount_log(const Mount *mount, LogLevel level, const char *outcome, const char *text); /* rate-limited per user */
int mount_step_create(Mount *mount, const BrokerCreate *create, const int *fds, size_t n_fds) _must_check_;
