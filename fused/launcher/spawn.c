/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts one server: the parent's half (namespaces, id maps, cgroup) and the table of steps of the child's half.
 *
 * The parent steps into the type's root for the one clone3() and back. The child waits until its ids are mapped and
 * its cgroup is set, then takes everything from itself, row by row, and executes the server or its agent. */

#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/spec.h"
#include "base/fd.h"
#include "launcher/launcher.h"
#include "wire/broker.h"

#define DEFAULT_OPEN_FILES 1024
/* What the agent holds beside the server's descriptors is no part of the server's limit. */
#define AGENT_OPEN_FILES 16
#define SERVER_NAMESPACES                                                                                             \
        (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
#define FDS_MAX (AGENT_FIRST_SLOT_FD + 2 * AGENT_SLOTS_MAX + 1)

typedef struct Child { /* what the child's steps work on; the child's own copy */
        const SpawnRequest *request;     /* borrowed */
        const SpawnArguments *arguments; /* borrowed */
        int go_fd;                       /* read end: a byte means go */
        int spec_fd;                     /* the agent's, or -EBADF */
        int fds[FDS_MAX];                /* index = final number */
        size_t n_fds;
        int program_fd;
        LandlockTree trees[AGENT_SLOTS_MAX];
        size_t n_trees;
} Child;

static bool with_agent(const Child *child) {
        return child->request->type->hand_over == POLICY_HAND_OVER_FD;
}

static int child_wait_go(Child *child) {
        char byte;
        ssize_t n;

        do
                n = RET_NERRNO(read(child->go_fd, &byte, 1)); /* bounded by the parent: it writes, kills us or ends */
        while (n == -EINTR);
        return n < 0 ? (int) n : n == 1 ? 0 : -ECANCELED;
}

static int child_leave_cgroups(Child *child) {
        return RET_NERRNO(unshare(CLONE_NEWCGROUP)); /* what we are in by now becomes the root of what we see */
}

/* The slot's descriptor is for the agent, or for a Landlock rule; a server with a channel asks for it there. */
static void add_slot(Child *child, const SpawnSlot *slot) {
        if (slot->fd < 0 || (!with_agent(child) && !slot->tree))
                return;
        if (slot->tree)
                child->trees[child->n_trees++] = (LandlockTree){.fd = (int) child->n_fds, .writable = slot->writable};
        child->fds[child->n_fds++] = slot->fd;
}

/* 0-2 and the channel (the FUSE device, with an agent) are inherited; with an agent also spec and slots. What stands
 * behind, for the steps below, goes at exec. */
static int child_place(Child *child) {
        const SpawnRequest *request = child->request;
        size_t n_inherited;
        int r;

        child->fds[0] = RET_NERRNO(open("/dev/null", O_RDONLY | O_CLOEXEC | O_NOCTTY));
        if (child->fds[0] < 0)
                return child->fds[0];
        child->fds[1] = child->fds[2] = request->stderr_fd;
        child->fds[SPAWN_FUSE_FD] = request->channel_fd;
        child->n_fds = SPAWN_FUSE_FD + 1;
        if (with_agent(child))
                child->fds[child->n_fds++] = child->spec_fd;
        n_inherited = child->n_fds;
        for (size_t i = 0; i < request->n_slots; i++)
                add_slot(child, &request->slots[i]);
        if (with_agent(child))
                n_inherited = child->n_fds;

        r = with_agent(child) ? request->agent_fd : RET_NERRNO(open(child->arguments->words[0], O_PATH | O_CLOEXEC));
        if (r < 0)
                return r;
        child->program_fd = (int) child->n_fds;
        child->fds[child->n_fds++] = r;

        r = child_place_fds(child->fds, child->n_fds);
        for (size_t i = n_inherited; r >= 0 && i < child->n_fds; i++)
                r = fd_set_cloexec((int) i, true);
        return r;
}

static int child_detach(Child *child) {
        (void) umask(077);
        if (setsid() < 0) /* no terminal */
                return -errno;
        return RET_NERRNO(chdir("/"));
}

static int child_limits(Child *child) {
        const PolicyType *type = child->request->type;
        ConfineLimits limits = {
                .open_files = type->max_open_files ?: DEFAULT_OPEN_FILES,
                .processes = type->max_processes,
        };

        if (with_agent(child)) {
                limits.open_files += AGENT_OPEN_FILES;
                limits.processes += limits.processes > 0;
        }
        return confine_limits(&limits);
}

static int child_identity(Child *child) {
        return confine_identity(child->request->uid, child->request->uid);
}

static int child_landlock(Child *child) {
        return landlock_confine(child->program_fd, child->trees, child->n_trees, /* isolate= */ true);
}

static int child_filter(Child *child) {
        const SpawnRequest *request = child->request;

        if (with_agent(child))
                return 0; /* the agent installs it in the server, to get the listener, and one of its own in itself */
        return confine_filter(policy_filter(request->table, request->type), request->type->filter.count);
}

static int child_exec(Child *child) {
        static const char *const environment[] = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "LISTEN_FDS=1", "LISTEN_PID=1",
                                                  NULL};
        static const char *const agent_environment[] = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", NULL};
        static const char *const agent_arguments[] = {"fused-agent", NULL};

        const void *words = with_agent(child) ? (const void *) agent_arguments : child->arguments->words;
        const void *variables = with_agent(child) ? agent_environment : environment;

        return RET_NERRNO((int) syscall(SYS_execveat, child->program_fd, "", words, variables, AT_EMPTY_PATH));
}

static const struct {
        const char *name;
        int (*run)(Child *child);
} steps[] = {
        {"wait for its ids", child_wait_go},
        {"enter a cgroup namespace", child_leave_cgroups},
        {"arrange descriptors and open the program", child_place},
        {"leave the session", child_detach},
        {"set limits", child_limits},
        {"give up privilege", child_identity},
        {"enter the Landlock domain", child_landlock},
        {"install the system call filter", child_filter},
        {"execute the program", child_exec},
};

static _noreturn_ void child_run(Child *child) {
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                int r = steps[i].run(child);
                if (r < 0) {
                        /* Before descriptors are arranged, 2 is still the broker's own: then nothing is said in its
                         * name. */
                        if (child->program_fd >= 0)
                                (void) dprintf(STDERR_FILENO, "fused: cannot %s (%s): %s\n", steps[i].name,
                                               child->arguments->words[0], strerror(-r));
                        else
                                (void) dprintf(child->request->stderr_fd, "fused: cannot %s (%s): %s\n", steps[i].name,
                                               child->arguments->words[0], strerror(-r));
                        _exit(127);
                }
        }
        _exit(127);
}

/* --- the parent's half --- */

/* Children inherit it, and a server that waits for its own writeback to free memory would wait for ever. Not permitted
 * without CAP_SYS_RESOURCE: then it is as with any other FUSE server. */
static void set_io_flusher(bool on) {
        (void) prctl(PR_SET_IO_FLUSHER, on, 0, 0, 0);
}

static pid_t clone_in_root(const SpawnRequest *request, int *ret_pidfd) {
        pid_t pid;
        int r;

        r = RET_NERRNO(setns(request->root_ns_fd, CLONE_NEWNS));
        if (r < 0)
                return r;
        set_io_flusher(true);
        pid = child_clone(SERVER_NAMESPACES, request->cgroup ? cgroup_birth_fd(request->cgroup) : -EBADF, ret_pidfd);
        if (pid == 0)
                return 0;
        set_io_flusher(false);
        if (setns(request->host_ns_fd, CLONE_NEWNS) < 0)
                abort(); /* a broker in a server's root must not go on */
        return pid;
}

static int write_proc(pid_t pid, const char *file, const char *text) {
        char path[64];

        (void) snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
        return fd_write_file_at(AT_FDCWD, path, text);
}

/* One uid and gid, each as itself: nothing else exists in the server's user namespace, not even root. */
static int map_ids(pid_t pid, uid_t uid) {
        char map[64];
        int r;

        (void) snprintf(map, sizeof map, "%u %u 1", uid, uid);
        r = write_proc(pid, "setgroups", "deny");
        if (r < 0)
                return r;
        r = write_proc(pid, "uid_map", map);
        return r < 0 ? r : write_proc(pid, "gid_map", map);
}

static int admit(const SpawnRequest *request, pid_t pid, int go_fd, uint32_t *ret_stage) {
        char score[16];
        int r;

        *ret_stage = BROKER_STAGE_SANDBOX;
        r = map_ids(pid, request->uid);
        if (r < 0)
                return r;
        (void) snprintf(score, sizeof score, "%d", (int) request->type->oom_score);
        (void) write_proc(pid, "oom_score_adj", score); /* lowering takes CAP_SYS_RESOURCE; a wish, not a wall */
        if (request->cgroup) {
                *ret_stage = BROKER_STAGE_CGROUP;
                r = cgroup_attach_born(request->cgroup, pid);
                if (r < 0)
                        return r;
        }
        *ret_stage = BROKER_STAGE_EXEC;
        return RET_NERRNO(write(go_fd, "", 1)) == 1 ? 0 : -EPIPE;
}

int spawn_server(const SpawnRequest *request, pid_t *ret_pid, int *ret_pidfd, uint32_t *ret_stage) {
        _cleanup_(spawn_arguments_done) SpawnArguments arguments = {0};
        _cleanup_fd_ int go_read = -EBADF, go_write = -EBADF, spec_fd = -EBADF, pidfd = -EBADF;
        int pair[2], r;
        pid_t pid;

        *ret_stage = BROKER_STAGE_SANDBOX;
        if (request->n_slots > AGENT_SLOTS_MAX)
                return -E2BIG;
        r = spawn_arguments_expand(request, &arguments);
        if (r < 0)
                return r;
        if (request->type->hand_over == POLICY_HAND_OVER_FD) {
                r = spawn_agent_spec(request, &arguments, AGENT_FIRST_SLOT_FD, &spec_fd);
                if (r < 0)
                        return r;
        }
        r = RET_NERRNO(pipe2(pair, O_CLOEXEC));
        if (r < 0)
                return r;
        go_read = pair[0];
        go_write = pair[1];
        /* Supplementary groups would be inherited, and cannot be dropped where setgroups is denied. The broker needs
         * none. */
        if (getgroups(0, NULL) > 0) {
                r = RET_NERRNO(setgroups(0, NULL));
                if (r < 0)
                        return r;
        }

        Child child = {
                .request = request,
                .arguments = &arguments,
                .go_fd = go_read,
                .spec_fd = spec_fd,
                .program_fd = -EBADF,
        };
        for (size_t i = 0; i < ELEMENTSOF(child.fds); i++)
                child.fds[i] = -EBADF;
        pid = clone_in_root(request, &pidfd);
        if (pid < 0)
                return (int) pid;
        if (pid == 0) {
                (void) fd_close(go_write); /* else the broker's death would not be an end of file */
                child_run(&child);
        }
        r = admit(request, pid, go_write, ret_stage);
        if (r < 0) {
                child_kill_reap(pid, pidfd);
                return r;
        }
        *ret_pid = pid;
        *ret_pidfd = TAKE_FD(pidfd);
        return 0;
}
