/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts one server: the parent's half (namespaces, id maps, cgroup) and the table of steps of the child's half.
 *
 * The parent steps into the type's root for the one clone3() and back. The child closes what is the broker's and waits for
 * its order, which comes when its ids are mapped and its cgroup is set: now, or, for a sandbox that was made ahead, when a
 * mount of its type is asked for. Then it takes everything from itself, row by row, and executes the server or its agent. */

#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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

struct Sandbox {
        pid_t pid;
        int pidfd;    /* owned */
        int order_fd; /* owned */
};

/* What a sandbox is told, as one message. Its descriptors: channel, stderr, [agent, its spec], then the slots that are there. */
typedef struct Order {
        uint32_t read_only;
        uint32_t n_slots;
        uint32_t present, writable, trees; /* bits, by slot */
        char slots[AGENT_SLOTS_MAX][POLICY_NAME_MAX + 16]; /* paths */
        char server_options[BROKER_OPTIONS_MAX];
} Order;
#define ORDER_FDS_MAX (4 + AGENT_SLOTS_MAX)

typedef struct Child { /* what the child's steps work on; the child's own copy */
        SpawnRequest own;                /* as ordered; what does not come with the order is the parent's from before the fork */
        const SpawnRequest *request;     /* &own */
        SpawnSlot slots[AGENT_SLOTS_MAX];
        Order order;
        SpawnArguments own_arguments;
        const SpawnArguments *arguments; /* &own_arguments */
        int order_fd;
        int spec_fd;                     /* the agent's, or -EBADF */
        int fds[FDS_MAX];                /* index = final number */
        size_t n_fds;
        int program_fd;
        LandlockTree trees[AGENT_SLOTS_MAX];
        size_t n_trees;
} Child;

static bool with_agent(const Child *child) {
        return policy_has_agent(child->request->type);
}

/* Nothing of the broker's may live on in a sandbox that waits: above all no FUSE device of another mount. */
static int child_forget(Child *child) {
        int fds[] = {-EBADF, -EBADF, -EBADF, child->order_fd};
        int r;

        r = child_place_fds(fds, ELEMENTSOF(fds));
        child->order_fd = ELEMENTSOF(fds) - 1;
        return r < 0 ? r : fd_set_cloexec(child->order_fd, true);
}

static int child_wait_order(Child *child) {
        SpawnRequest *own = &child->own;
        int fds[ORDER_FDS_MAX], next = 0;
        size_t n_fds = 0;
        ssize_t n;

        /* bounded by the parent: it orders, kills us or ends, which is an end of file here */
        n = fd_receive(child->order_fd, &child->order, sizeof child->order, fds, ELEMENTSOF(fds), &n_fds, 0);
        if (n < 0)
                return (int) n;
        if (n != sizeof child->order || child->order.n_slots > AGENT_SLOTS_MAX)
                return -ECANCELED;
        own->channel_fd = fds[next++];
        own->stderr_fd = fds[next++];
        if (with_agent(child)) {
                own->agent_fd = fds[next++];
                child->spec_fd = fds[next++];
        }
        for (uint32_t i = 0; i < child->order.n_slots; i++)
                child->slots[i] = (SpawnSlot){
                        .path = child->order.slots[i],
                        .fd = child->order.present >> i & 1 ? fds[next++] : -EBADF,
                        .writable = child->order.writable >> i & 1,
                        .tree = child->order.trees >> i & 1,
                };
        own->slots = child->slots;
        own->n_slots = child->order.n_slots;
        own->server_options = child->order.server_options;
        own->read_only = child->order.read_only;
        return n_fds == (size_t) next ? spawn_arguments_expand(own, &child->own_arguments) : -EBADMSG;
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
        return landlock_confine(child->program_fd, child->trees, child->n_trees, /* isolate= */ true, NULL);
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
        static const char *const agent_environment[] = {"PATH=" FUSED_SANDBOX_BIN ":/usr/bin:/bin", "LANG=C.UTF-8", NULL};
        static const char *const agent_arguments[] = {"fused-agent", NULL};

        const void *words = with_agent(child) ? (const void *) agent_arguments : child->arguments->words;
        const void *variables = with_agent(child) ? agent_environment : environment;

        return RET_NERRNO((int) syscall(SYS_execveat, child->program_fd, "", words, variables, AT_EMPTY_PATH));
}

static const struct {
        const char *name;
        int (*run)(Child *child);
} steps[] = {
        {"forget what is the broker's", child_forget},
        {"wait for its order", child_wait_order},
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
                        /* Before descriptors are arranged, 2 is nothing; before the order came, there is nobody to tell. */
                        int fd = child->program_fd >= 0 ? STDERR_FILENO : child->own.stderr_fd;
                        if (fd >= 0)
                                (void) dprintf(fd, "fused: cannot %s (%s): %s\n", steps[i].name,
                                               policy_string(child->own.table, child->own.type->program), strerror(-r));
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

/* Ids and limits: what only the parent may set, before the child may go on. */
static int admit(const SpawnRequest *request, pid_t pid, uint32_t *ret_stage) {
        char score[16];
        int r;

        *ret_stage = BROKER_STAGE_SANDBOX;
        r = map_ids(pid, request->uid);
        if (r < 0)
                return r;
        (void) snprintf(score, sizeof score, "%d", (int) request->type->oom_score);
        (void) write_proc(pid, "oom_score_adj", score); /* lowering takes CAP_SYS_RESOURCE; a wish, not a wall */
        if (!request->cgroup)
                return 0;
        *ret_stage = BROKER_STAGE_CGROUP;
        return cgroup_attach_born(request->cgroup, pid);
}

Sandbox *sandbox_free(Sandbox *sandbox) {
        if (!sandbox)
                return NULL;
        child_kill_reap(sandbox->pid, sandbox->pidfd);
        (void) fd_close(sandbox->pidfd);
        (void) fd_close(sandbox->order_fd);
        free(sandbox);
        return NULL;
}
DEFINE_CLEANUP(Sandbox *, sandbox_freep, sandbox_free)

int sandbox_new(const SpawnRequest *request, Sandbox **ret, uint32_t *ret_stage) {
        _cleanup_(sandbox_freep) Sandbox *sandbox = NULL;
        _cleanup_fd_ int theirs = -EBADF;
        int pair[2], r;

        *ret_stage = BROKER_STAGE_SANDBOX;
        sandbox = calloc(1, sizeof *sandbox);
        if (!sandbox)
                return -ENOMEM;
        *sandbox = (Sandbox){.pid = -1, .pidfd = -EBADF, .order_fd = -EBADF};
        r = RET_NERRNO(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
        if (r < 0)
                return r;
        sandbox->order_fd = pair[0];
        theirs = pair[1];
        /* Supplementary groups would be inherited, and cannot be dropped where setgroups is denied. The broker needs
         * none. */
        if (getgroups(0, NULL) > 0) {
                r = RET_NERRNO(setgroups(0, NULL));
                if (r < 0)
                        return r;
        }

        sandbox->pid = clone_in_root(request, &sandbox->pidfd);
        if (sandbox->pid < 0)
                return (int) sandbox->pid;
        if (sandbox->pid == 0) {
                Child child = {.own = *request, .order_fd = theirs, .spec_fd = -EBADF, .program_fd = -EBADF};
                child.own.stderr_fd = -EBADF;
                child.request = &child.own;
                child.arguments = &child.own_arguments;
                for (size_t i = 0; i < ELEMENTSOF(child.fds); i++)
                        child.fds[i] = -EBADF;
                child_run(&child);
        }
        r = admit(request, sandbox->pid, ret_stage);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(sandbox);
        return 0;
}

static int make_order(const SpawnRequest *request, Order *order, int *fds, size_t *n_fds, int spec_fd) {
        *order = (Order){.read_only = request->read_only, .n_slots = (uint32_t) request->n_slots};
        if (snprintf(order->server_options, sizeof order->server_options, "%s", request->server_options ?: "") >= (int) sizeof order->server_options)
                return -E2BIG;
        *n_fds = 0;
        fds[(*n_fds)++] = request->channel_fd;
        fds[(*n_fds)++] = request->stderr_fd;
        if (spec_fd >= 0) {
                fds[(*n_fds)++] = request->agent_fd;
                fds[(*n_fds)++] = spec_fd;
        }
        for (size_t i = 0; i < request->n_slots; i++) {
                const SpawnSlot *slot = &request->slots[i];
                if (snprintf(order->slots[i], sizeof order->slots[i], "%s", slot->path) >= (int) sizeof order->slots[i])
                        return -E2BIG;
                order->writable |= (uint32_t) slot->writable << i;
                order->trees |= (uint32_t) slot->tree << i;
                if (slot->fd < 0)
                        continue;
                order->present |= 1U << i;
                fds[(*n_fds)++] = slot->fd;
        }
        return 0;
}

int sandbox_start(Sandbox *sandbox, const SpawnRequest *request, pid_t *ret_pid, int *ret_pidfd, uint32_t *ret_stage) {
        _cleanup_(sandbox_freep) Sandbox *owned = sandbox;
        _cleanup_(spawn_arguments_done) SpawnArguments arguments = {0};
        _cleanup_fd_ int spec_fd = -EBADF;
        int fds[ORDER_FDS_MAX], r;
        size_t n_fds;
        Order order;

        *ret_stage = BROKER_STAGE_EXEC;
        if (request->n_slots > AGENT_SLOTS_MAX)
                return -E2BIG;
        if (policy_has_agent(request->type)) {
                r = spawn_arguments_expand(request, &arguments);
                if (r >= 0)
                        r = spawn_agent_spec(request, &arguments, AGENT_FIRST_SLOT_FD, &spec_fd);
                if (r < 0)
                        return r;
        }
        r = make_order(request, &order, fds, &n_fds, spec_fd);
        if (r < 0)
                return r;
        r = fd_send(owned->order_fd, &order, sizeof order, fds, n_fds);
        if (r < 0)
                return r;
        *ret_pid = owned->pid;
        *ret_pidfd = TAKE_FD(owned->pidfd);
        owned->pid = -1; /* the caller's to reap now */
        return 0;
}

int spawn_server(const SpawnRequest *request, pid_t *ret_pid, int *ret_pidfd, uint32_t *ret_stage) {
        Sandbox *sandbox;
        int r;

        r = sandbox_new(request, &sandbox, ret_stage);
        return r < 0 ? r : sandbox_start(sandbox, request, ret_pid, ret_pidfd, ret_stage);
}
