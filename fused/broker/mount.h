/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One mount as the broker knows it: what it holds (descriptors, server process, cgroup, uid) and how far it is. What it is
 * for, who waits for it and what is said about it is the manager's. */

#include "broker/broker.h"
#include "broker/identity.h"
#include "broker/worker-link.h"
#include "wire/broker.h"
#include "wire/channel.h"

typedef enum MountState {
        MOUNT_CREATING, /* the worker decides and opens */
        MOUNT_CREATED,  /* it waits; nothing runs yet */
        MOUNT_SPAWNED,  /* the server runs */
        MOUNT_MOUNTING, /* the worker mounts and waits for FUSE_INIT */
        MOUNT_LIVE,
        MOUNT_ENDING,   /* everything is being given back */
        _MOUNT_STATE_MAX,
} MountState;

struct Mount {
        Broker *broker;  /* borrowed */
        Mount *next, **previous; /* Broker.mounts */
        MountState state;
        BrokerRecord record;
        Policy *policy;  /* owned reference: the generation it was made under */
        const PolicyType *type; /* in that policy */

        Identity identity;   /* owned */
        int caller_fd;       /* owned until CREATED */
        int mountpoint_fd;   /* owned; O_PATH of what is underneath, never of the served tree; not kept on autofs */
        int slot_fds[POLICY_SLOTS_MAX]; /* owned: the client's, from CREATED on what the server gets */
        int owner_pidfd;     /* owned: what the mount ends with; until CREATED the client's word for it, not looked at here */
        sd_event_source *owner_gone; /* owned */
        int abort_fd;        /* owned while live: "abort" of our connection, negative if it cannot be had */
        int fuse_fd;         /* owned: keeps the connection until we end it */
        int channel_fd;      /* owned: our end of the server's socket (hand-over service), or the client's (caller), until it has the device */
        int second_fd;       /* owned: our end of the server's second channel; answers with descriptors go out over it */
        int clone_fds[POLICY_CLONES_MAX];  /* owned: opened in the caller's user namespace, no device of any mount yet */
        int direct_fds[POLICY_SLOTS_MAX];  /* owned: devices again, opened with O_DIRECT, for types with clones */
        int stderr_fd;       /* owned: read end, kept for the next manager; never read here */
        WorkerLink *worker;  /* owned */
        WorkerLink *unmounter; /* owned */
        WorkerLink *backing_worker; /* owned: it has been sent for, and is there */
        WorkerLink *backing_ending; /* owned: it is killed, and not gone; it has the server's uid, and may wait for ever for a file system */
        bool backing_started, backing_busy, backing_asked; /* asked: a manager waits for it */
        int backing_servers_fd;  /* owned: the server's end of the worker's socket, until the worker is ready */
        uint64_t backing_channel_serial; /* of the server's request that is on its way */
        uint64_t backing_serial; /* of the request that its worker is at, if asked */
        BrokerOperation backing_operation;
        uint32_t read_only_trees; /* bits: slots whose clone nobody can write to */
        pid_t server_pid;    /* 0: none or reaped */
        int server_pidfd;    /* owned */
        sd_event_source *server_child; /* owned */
        sd_event_source *server_late;  /* owned: a unit's server has ended, and is not reaped yet */
        bool server_held_up; /* at the last look it had been killed and was not gone */
        sd_event_source *deadline;     /* owned */
        Cgroup *cgroup;      /* owned */
        Sandbox *sandbox;    /* owned: made ahead, not ordered yet */
        Unit *unit;          /* owned: connected, not ordered yet */
        bool is_unit;        /* the server is systemd's child, not ours */

        bool pressure_sent;  /* what tells that memory is short: once */

        WorkerLink *worker_program; /* owned: it loads a mapping program, or binds it */
        ChannelCommand program_command; /* which */
        bool program_asked;      /* a manager waits for it */
        bool program_loaded;
        char program_name[CHANNEL_NAME_MAX], loaded_program[CHANNEL_NAME_MAX]; /* the last that was asked for, and loaded */
        uint64_t program_serial, program_channel_serial; /* of what the worker is at */
        uint64_t loads_usec;     /* until then what was loaded so far is to be paid for by waiting */
        ProgramInstance programs[PROGRAM_INSTANCES_MAX]; /* those that may still be there */
        int ops_fd;              /* owned: the kernel's form of the program loaded last, not bound; negative: none */
        int link_fd;             /* owned: it is bound as long as this is open */

        uint64_t serial;     /* of the request that is not answered yet, if has_request */
        BrokerOperation operation;
        bool has_request;

        bool attached;       /* on mountpoint_fd, or where that was */
        bool nowhere;        /* ending: not mounted any more, only the server is waited for */
        bool graceful;       /* the server may end by itself */
        BrokerEndReason reason;
        int exit_code, exit_status;
};

/* fds as in BrokerOperation: caller, [mount point], [slots]; taken over. Answers by itself, now or later. */
void mount_create(Broker *broker, const BrokerRequest *request, int *fds);
void mount_spawn(Mount *mount, const BrokerRequest *request);
void mount_send_file(Mount *mount, const BrokerRequest *request);
void mount_channel(Mount *mount, const BrokerRequest *request); /* these two: mount-channel.c */
void mount_clone(Mount *mount, const BrokerRequest *request);
void mount_pressure(Mount *mount, const BrokerRequest *request); /* mount-pressure.c */
void mount_program(Mount *mount, const BrokerRequest *request); /* mount-program.c, with the next two */
void mount_program_attach(Mount *mount, const BrokerRequest *request);
void mount_program_end(Mount *mount);
/* Answers the server over its second channel; *ret_error: 0 or negative errno. */
void mount_channel_answer(const Mount *mount, ChannelCommand command, uint64_t serial, uint32_t value, const ChannelTable *tables, size_t n_tables,
                          const int *fds, size_t n_fds, int *ret_error);
/* Answers a request of the manager's; report may be NULL. fds: borrowed. */
void mount_answer(Mount *mount, const BrokerRequest *request, int error, const WorkerReport *report, const int *fds, size_t n_fds);
void mount_do(Mount *mount, const BrokerRequest *request);
void mount_query(Mount *mount, const BrokerRequest *request);
void mount_request_end(Mount *mount, const BrokerRequest *request);
/* mount-backing.c */
void mount_backing_socket(Mount *mount, const BrokerRequest *request);
void mount_backing(Mount *mount, const BrokerRequest *request); /* OPEN and CLOSE */
void mount_backing_end(Mount *mount);
/* Which comes first, depends on the hand-over and on the kernel. */
bool mount_may_spawn(const Mount *mount);
bool mount_may_mount(const Mount *mount);

/* Takes the mount down, whatever its state; it is gone some time later. */
void mount_end(Mount *mount, BrokerEndReason reason, bool graceful);

/* mount-server.c: starts and watches it. */
int mount_start_server(Mount *mount, uint32_t *ret_stage) _must_check_;
int mount_watch_server(Mount *mount) _must_check_;

/* A uid that no live server or spare has; the manager's own is never given away. -EUSERS: none is left. */
int mount_take_uid(Broker *broker, uint32_t *ret) _must_check_;

/* mount-end.c; for mount.c */
void mount_arm(Mount *mount, uint64_t usec);
int mount_watch_owner(Mount *mount) _must_check_;
int mount_on_server_exit(sd_event_source *source, const siginfo_t *info, void *userdata);
void mount_check_end(Mount *mount); /* it is gone if nothing of it is left */
/* Only forgets it: what it is made of stays as it is. */
void mount_release(Mount *mount);
Mount *mount_new_empty(Broker *broker);

/* The mounts that were taken down without us: called now and then. */
void mounts_check(Broker *broker);
/* The manager is gone: what is not live goes with it. */
void mounts_cancel_pending(Broker *broker);
Mount *mount_find(Broker *broker, uint64_t mount_id);
const char *mount_state_to_string(MountState state);
