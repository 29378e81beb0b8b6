/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The embedded launcher: starts one server in its sandbox. Runs in the broker with its privileges; everything that a
 * server must not have is taken away in the child before it executes anything. */

#include "base/macro.h"
#include "policy/policy-table.h"

/* A type's root: a mount namespace whose root is a read-only tmpfs with the program, its libraries, empty files
 * standing for the slots (/slots/NAME), /mnt, and /dev with null, zero, full, random and urandom. Built once per type
 * and policy generation, in a child; each server gets a private copy by clone3(CLONE_NEWNS) from inside it, so a start
 * costs no mount call, and no foreign mount (a served FUSE tree above all) is ever copied into a sandbox. files: the
 * files to bind read-only from the same paths of the host. slots: paths of placeholder files. Returns 0 and the
 * namespace's fd (the caller owns it) or negative errno. Bounded: 5 s, then -ETIMEDOUT. */
int sandbox_root_new(const char *const *files, size_t n_files, const char *const *slots, size_t n_slots,
                     int *ret_ns_fd) _must_check_;

/* cgroups of one server: limits are set where a hierarchy (v2, or v1 controllers) can be used. */
typedef struct Cgroup Cgroup;
typedef struct CgroupTree CgroupTree; /* the supervisor's own part of each usable hierarchy */
/* name: unique per supervisor, e.g. "fused-4711". -EOPNOTSUPP where there is no hierarchy that can be used. On a host with
 * controllers of both versions it starts a helper process (launcher/cgroup-mover.h), ended by cgroup_tree_free(). */
int cgroup_tree_new(const char *name, CgroupTree **ret) _must_check_;
CgroupTree *cgroup_tree_free(CgroupTree *tree); /* removes the directories, which must be empty; returns NULL */
int cgroup_new(CgroupTree *tree, uid_t uid, const PolicyType *type, Cgroup **ret) _must_check_;
int cgroup_attach(Cgroup *cgroup, pid_t pid) _must_check_;
void cgroup_kill(Cgroup *cgroup);          /* everything in it, without waiting */
Cgroup *cgroup_free(Cgroup *cgroup);       /* removes; NULL-safe; if processes are left it is tried again later */
void cgroup_usage(const Cgroup *cgroup, uint64_t *ret_memory_bytes, uint32_t *ret_processes, uint64_t *ret_cpu_usec); /* 0 where not known */
/* [0] a trigger for its memory pressure (base/pressure.h), [1] the file of what it uses, [2] that of its limit; negative where there is none. The
 * caller's. _at: of the cgroup of version 2 whose directory this is. */
void cgroup_open_memory(const Cgroup *cgroup, int ret_fds[3]);
void cgroup_open_memory_at(int dir_fd, int ret_fds[3]);
const char *cgroup_display(const Cgroup *cgroup); /* path for status, "" if none */

typedef struct SpawnSlot {
        const char *path; /* "/slots/NAME", or "/dev/fuse" for the device itself; borrowed */
        int fd;           /* borrowed, -EBADF: the slot is empty */
        bool writable;    /* fd was opened O_RDWR */
        bool tree;        /* a directory: gets a Landlock rule, as its files are reached through the fd */
} SpawnSlot;

typedef struct SpawnRequest {
        const PolicyTable *table;
        const PolicyType *type;
        int root_ns_fd;    /* from sandbox_root_new() */
        uid_t uid;         /* the server's own, on the host and inside its user namespace; gid is the same number */
        int host_ns_fd;    /* the mount namespace that the broker itself is in, to return to */
        int channel_fd;    /* hand-over service: the server's end of the socket, becomes fd 3; fd: the FUSE device */
        int stderr_fd;     /* write end of a pipe: becomes 1 and 2 */
        int agent_fd;      /* the agent's program file, O_PATH, for hand-over fd; static: the root need not have it */
        const SpawnSlot *slots;
        size_t n_slots;
        const char *server_options; /* for %o; "" if none */
        bool read_only;             /* "ro" for %o */
        Cgroup *cgroup;             /* may be NULL */
} SpawnRequest;

/* Returns 0, the server's pid (or the agent's, which is its parent) in the broker's pid namespace and a pidfd that the
 * caller owns. The child is the caller's to reap. On failure nothing is left and *ret_stage (BrokerStage) says where.
 * Returns after the child has got its ids and cgroup, not after exec: a failing exec ends the child with status 127 and
 * a line on its stderr.
 *
 * Drops the calling process's supplementary groups, which a child could not drop by itself.
 *
 * Hand-over service: the child is the server, pid 1 of its namespace; environment LISTEN_FDS=1, LISTEN_PID=1, PATH,
 * LANG. As pid 1 it is not ended by a signal that it does not handle, SIGKILL from here aside: abort() shows as
 * SIGSEGV. Hand-over fd: the child is the agent, the server its child. SIGTERM, SIGINT, SIGHUP and SIGQUIT to it go on
 * to the server. It exits with the server's exit status; where a signal killed the server, with 128 + the signal after
 * the line "fused-agent: server killed by signal N" on stderr. Ending the agent ends the server. */
int spawn_server(const SpawnRequest *request, pid_t *ret_pid, int *ret_pidfd, uint32_t *ret_stage) _must_check_;

/* The same in two steps, so that the first can be done ahead, while nobody waits. sandbox_new() looks at table, type,
 * root_ns_fd, host_ns_fd, uid and cgroup of the request only (they must be the same in the second step); the child has its
 * namespaces, ids and cgroup, holds no descriptor of the caller's but the one by which it is ordered, and waits. It ends
 * with the caller. sandbox_start() consumes the sandbox in any case; -EPIPE and -ECONNRESET: it had died meanwhile. */
typedef struct Sandbox Sandbox;
int sandbox_new(const SpawnRequest *request, Sandbox **ret, uint32_t *ret_stage) _must_check_;
int sandbox_start(Sandbox *sandbox, const SpawnRequest *request, pid_t *ret_pid, int *ret_pidfd, uint32_t *ret_stage) _must_check_;
Sandbox *sandbox_free(Sandbox *sandbox); /* kills and reaps; NULL-safe; returns NULL */

/* The manager: its own uid, no capability, an empty root with just its program and libraries, own net, ipc and uts
 * namespaces (not user: it must see callers' uids), no_new_privs; its seccomp filter it installs itself. fds[0..n_fds)
 * become 3, 4, ...; stdin is /dev/null, stdout and stderr stay the broker's. Ends with the broker (PDEATHSIG). */
typedef struct SpawnManager {
        const char *program; /* absolute, also inside the root */
        const char *const *arguments; /* argv, NULL-terminated */
        int root_ns_fd;
        int host_ns_fd;
        uid_t uid;
        gid_t gid;
        const int *fds; /* borrowed */
        size_t n_fds;
} SpawnManager;
int spawn_manager(const SpawnManager *request, pid_t *ret_pid, int *ret_pidfd) _must_check_;
