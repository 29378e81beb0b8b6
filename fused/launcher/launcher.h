/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the launcher share; broker/spawn.h is the interface to everybody else. */

#include <linux/filter.h>
#include <sys/types.h>

#include "broker/spawn.h"

/* --- clone.c --- */

/* fork() by clone3(2) with namespace flags; also gives the pidfd (close-on-exec). cgroup_fd: where the child is born
 * (v2), or -EBADF. The caller is single-threaded and shares no memory with the child. Returns 0 in the child. */
pid_t child_clone(uint64_t flags, int cgroup_fd, int *ret_pidfd) _must_check_;
/* SIGKILL and reap; bounded. Both arguments as child_clone() gave them. Closes nothing. */
void child_kill_reap(pid_t pid, int pidfd);
/* Waits until fd is readable. 0, -ETIMEDOUT or negative errno. */
int wait_readable(int fd, uint64_t timeout_usec) _must_check_;
/* Makes fds[i] descriptor number i of this process and closes all others. fds are consumed; -EBADF leaves a gap. */
int child_place_fds(int *fds, size_t n) _must_check_;

/* --- arguments.c: the specifiers of policy-table.h, expanded --- */

#define SPAWN_ARGUMENTS_MAX 64
#define SPAWN_FUSE_FD 3 /* the FUSE device in the server's process, for %d, if it asks for it */
#define SPAWN_MOUNT_PATH "/mnt"
typedef struct SpawnArguments {
        char *words[SPAWN_ARGUMENTS_MAX + 2]; /* owned; words[0] is the program, NULL-terminated */
        size_t n_words;
        bool names_fuse_fd; /* %d occurs: the server inherits the FUSE device */
} SpawnArguments;
int spawn_arguments_expand(const SpawnRequest *request, SpawnArguments *ret) _must_check_;
void spawn_arguments_done(SpawnArguments *arguments);

/* --- agent-spec.c: what the agent is told, as a sealed memfd --- */

/* first_slot_fd: the descriptor number of the first slot that is not empty; the others follow. */
int spawn_agent_spec(const SpawnRequest *request, const SpawnArguments *arguments, int first_slot_fd,
                     int *ret_fd) _must_check_;

/* --- cgroup.c, for spawn.c --- */

int cgroup_birth_fd(const Cgroup *cgroup); /* v2 directory for CLONE_INTO_CGROUP (borrowed), or -EBADF */
/* The hierarchies that birth does not cover; maybe a little later, see cgroup-mover.h. */
int cgroup_attach_born(Cgroup *cgroup, pid_t pid) _must_check_;

/* --- confine.c: run in the child, in this order; what each takes away cannot come back --- */

typedef struct ConfineLimits {
        uint64_t open_files;
        uint64_t processes; /* 0 = as inherited */
} ConfineLimits;
int confine_limits(const ConfineLimits *limits) _must_check_;
/* Bounding set, ids, capability sets, securebits, no_new_privs. */
int confine_identity(uid_t uid, gid_t gid) _must_check_;
int confine_filter(const struct sock_filter *filter, size_t n) _must_check_;

/* --- landlock.c --- */

typedef struct LandlockTree {
        int fd; /* borrowed */
        bool writable;
} LandlockTree;
/* Read and execute below the root (and the program behind program_fd, which may lie outside), the trees through their
 * descriptors, nothing else; no TCP; with isolate also no signals or abstract sockets out of the domain. Where the
 * kernel has no Landlock this is 0: it is the second wall.
 * unit_program: the server's path if systemd has made the root, which then has entries that are to be hidden; else NULL. */
int landlock_confine(int program_fd, const LandlockTree *trees, size_t n_trees, bool isolate, const char *unit_program) _must_check_;
