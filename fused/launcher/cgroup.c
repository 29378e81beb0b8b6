/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cgroups of servers: OWN/NAME/server-UID in every hierarchy that can be used, OWN being where the supervisor was
 * started.
 *
 * Version 2 is used with whatever controllers can be switched on (none is enough for cgroup.kill), version 1 for
 * controllers that are bound there. Where they are was found by cgroup-find.c. A limit that is asked for and whose file
 * is there but refuses it is an error: a server is not started with less than its type says. */

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/pressure.h"
#include "launcher/cgroup-find.h"
#include "launcher/cgroup-mover.h"
#include "launcher/launcher.h"

#define CPU_PERIOD_USEC 100000ULL
#define MOUNT_NAME_MAX 32

typedef struct Stale Stale;
struct Stale { /* a directory that was still in use when its mount ended */
        Stale *next;
        char name[MOUNT_NAME_MAX];
};

struct CgroupTree {
        CgroupHierarchy hierarchies[CGROUP_HIERARCHIES_MAX];
        size_t n_hierarchies;
        char name[NAME_MAX + 1];
        CgroupMover *mover; /* owned; on a hybrid host */
        Stale *stale;       /* owned list */
};

struct Cgroup {
        CgroupTree *tree; /* borrowed; outlives us */
        char name[MOUNT_NAME_MAX];
        int fds[CGROUP_HIERARCHIES_MAX]; /* owned, in the order of tree->hierarchies */
        char *display;                   /* owned */
};

static void sweep(CgroupTree *tree) {
        for (Stale **link = &tree->stale; *link;) {
                Stale *stale = *link;
                bool gone = true;
                for (size_t i = 0; i < tree->n_hierarchies; i++)
                        if (unlinkat(tree->hierarchies[i].fd, stale->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                                gone = false;
                if (!gone) {
                        link = &stale->next;
                        continue;
                }
                *link = stale->next;
                free(stale);
        }
}

int cgroup_tree_new(const char *name, CgroupTree **ret) {
        CgroupTree *tree;
        int r;

        if (strlen(name) > NAME_MAX || strchr(name, '/'))
                return -EINVAL;
        tree = calloc(1, sizeof *tree);
        if (!tree)
                return -ENOMEM;
        memcpy(tree->name, name, strlen(name) + 1);
        r = cgroup_find(name, tree->hierarchies, &tree->n_hierarchies);
        if (r >= 0 && tree->n_hierarchies == 0)
                r = -EOPNOTSUPP;
        if (r >= 0 && tree->hierarchies[0].v2 && tree->n_hierarchies > 1)
                r = cgroup_mover_new(tree->hierarchies, tree->n_hierarchies, &tree->mover);
        if (r < 0) {
                (void) cgroup_tree_free(tree);
                return r;
        }
        cgroup_sweep_dead(tree->hierarchies, tree->n_hierarchies);
        *ret = tree;
        return 0;
}

CgroupTree *cgroup_tree_free(CgroupTree *tree) {
        if (!tree)
                return NULL;
        tree->mover = cgroup_mover_free(tree->mover);
        sweep(tree);
        while (tree->stale) {
                Stale *next = tree->stale->next;
                free(tree->stale);
                tree->stale = next;
        }
        cgroup_sweep_dead(tree->hierarchies, tree->n_hierarchies); /* what was taken over may have ended */
        cgroup_leave(tree->name, tree->hierarchies, tree->n_hierarchies);
        free(tree);
        return NULL;
}

/* text is written to the file if the hierarchy has it: a kernel may lack a part of a controller. */
static int set(int fd, const char *file, uint64_t value) {
        char text[32];
        int r;

        (void) snprintf(text, sizeof text, "%" PRIu64, value);
        r = fd_write_file_at(fd, file, text);
        return r == -ENOENT ? 0 : r;
}

static int set_memory(const CgroupHierarchy *hierarchy, int fd, const PolicyType *type) {
        int r;

        if (type->max_memory == 0)
                return 0;
        r = set(fd, hierarchy->v2 ? "memory.max" : "memory.limit_in_bytes", type->max_memory);
        if (r < 0 || !hierarchy->v2)
                return r;
        r = set(fd, "memory.swap.max", 0); /* a server in the swap can need memory to free memory */
        return r < 0 ? r : set(fd, "memory.oom.group", 1);
}

static int set_processes(const CgroupHierarchy *hierarchy, int fd, const PolicyType *type) {
        uint64_t agent = policy_has_agent(type);

        return type->max_processes == 0 ? 0 : set(fd, "pids.max", type->max_processes + agent);
}

static int set_cpu(const CgroupHierarchy *hierarchy, int fd, const PolicyType *type) {
        uint64_t quota = type->max_cpu_percent * CPU_PERIOD_USEC / 100;
        char text[64];
        int r;

        if (type->max_cpu_percent == 0)
                return 0;
        if (!hierarchy->v2) {
                r = set(fd, "cpu.cfs_period_us", CPU_PERIOD_USEC);
                return r < 0 ? r : set(fd, "cpu.cfs_quota_us", quota);
        }
        (void) snprintf(text, sizeof text, "%" PRIu64 " %llu", quota, CPU_PERIOD_USEC);
        r = fd_write_file_at(fd, "cpu.max", text);
        return r == -ENOENT ? 0 : r;
}

static const struct {
        CgroupController controller;
        int (*set)(const CgroupHierarchy *hierarchy, int fd, const PolicyType *type);
} limits[] = {
        {CGROUP_MEMORY, set_memory},
        {CGROUP_PIDS, set_processes},
        {CGROUP_CPU, set_cpu},
};

static int make_in(const CgroupHierarchy *hierarchy, const char *name, const PolicyType *type, int *ret_fd) {
        _cleanup_fd_ int fd = -EBADF;
        int r;

        r = RET_NERRNO(mkdirat(hierarchy->fd, name, 0755));
        if (r < 0)
                return r;
        fd = RET_NERRNO(openat(hierarchy->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
        r = fd < 0 ? fd : 0;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(limits); i++)
                if (hierarchy->controllers & limits[i].controller)
                        r = limits[i].set(hierarchy, fd, type);
        if (r < 0) {
                (void) unlinkat(hierarchy->fd, name, AT_REMOVEDIR); /* empty, and nobody else knows it */
                return r;
        }
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* What status shows: where the memory is limited, else the first. */
static const CgroupHierarchy *main_hierarchy(const CgroupTree *tree) {
        for (size_t i = 0; i < tree->n_hierarchies; i++)
                if (tree->hierarchies[i].controllers & CGROUP_MEMORY)
                        return &tree->hierarchies[i];
        return &tree->hierarchies[0];
}

int cgroup_new(CgroupTree *tree, uid_t uid, const PolicyType *type, Cgroup **ret) {
        Cgroup *cgroup;
        int r = 0;

        sweep(tree);
        cgroup = calloc(1, sizeof *cgroup);
        if (!cgroup)
                return -ENOMEM;
        cgroup->tree = tree;
        (void) snprintf(cgroup->name, sizeof cgroup->name, "server-%u", uid);
        fd_fill(cgroup->fds, ELEMENTSOF(cgroup->fds));
        if (asprintf(&cgroup->display, "%s/%s", main_hierarchy(tree)->path, cgroup->name) < 0) {
                cgroup->display = NULL;
                r = -ENOMEM;
        }
        for (size_t i = 0; r >= 0 && i < tree->n_hierarchies; i++)
                r = make_in(&tree->hierarchies[i], cgroup->name, type, &cgroup->fds[i]);
        if (r < 0) {
                (void) cgroup_free(cgroup);
                return r;
        }
        *ret = cgroup;
        return 0;
}

int cgroup_attach(Cgroup *cgroup, pid_t pid) {
        char text[16];
        int r;

        (void) snprintf(text, sizeof text, "%d", pid);
        for (size_t i = 0; i < cgroup->tree->n_hierarchies; i++) {
                r = fd_write_file_at(cgroup->fds[i], "cgroup.procs", text);
                if (r < 0)
                        return r;
        }
        return 0;
}

int cgroup_attach_born(Cgroup *cgroup, pid_t pid) {
        const CgroupTree *tree = cgroup->tree;

        /* A mover that is gone or behind with its work (EAGAIN): then we wait for the move ourselves. */
        if (tree->mover)
                return cgroup_mover_ask(tree->mover, cgroup->name) < 0 ? cgroup_attach(cgroup, pid) : 0;
        return tree->hierarchies[0].v2 ? 0 : cgroup_attach(cgroup, pid); /* born where it belongs, or all version 1 */
}

int cgroup_birth_fd(const Cgroup *cgroup) {
        return cgroup->tree->hierarchies[0].v2 ? cgroup->fds[0] : -EBADF;
}

static void kill_listed(int fd) {
        char text[4096], *rest = text;

        /* More processes than fit: they are all in the pid namespace of one of the first, and end with it. */
        if (fd_read_file_at(fd, "cgroup.procs", text, sizeof text) < 0)
                return;
        for (char *line; (line = strsep(&rest, "\n")) && *line;) {
                long pid = strtol(line, NULL, 10);
                if (pid > 1 && pid != getpid())
                        (void) kill((pid_t) pid, SIGKILL); /* gone already is as good */
        }
}

void cgroup_kill(Cgroup *cgroup) {
        if (!cgroup)
                return;
        for (size_t i = 0; i < cgroup->tree->n_hierarchies; i++)
                if (fd_write_file_at(cgroup->fds[i], "cgroup.kill", "1") >= 0) /* Linux 5.14, version 2 */
                        return;
        kill_listed(cgroup->fds[0]);
}

Cgroup *cgroup_free(Cgroup *cgroup) {
        Stale *stale;
        bool gone = true;

        if (!cgroup)
                return NULL;
        for (size_t i = 0; i < cgroup->tree->n_hierarchies; i++) {
                if (cgroup->fds[i] < 0)
                        continue; /* not made by us */
                cgroup->fds[i] = fd_close(cgroup->fds[i]);
                if (unlinkat(cgroup->tree->hierarchies[i].fd, cgroup->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                        gone = false;
        }
        stale = gone ? NULL : calloc(1, sizeof *stale);
        if (stale) { /* without memory the empty directory stays until the supervisor's own part is looked at by hand */
                memcpy(stale->name, cgroup->name, sizeof stale->name);
                stale->next = cgroup->tree->stale;
                cgroup->tree->stale = stale;
        }
        free(cgroup->display);
        free(cgroup);
        return NULL;
}

static uint64_t read_number(int fd, const char *file) {
        char text[64];

        return fd_read_file_at(fd, file, text, sizeof text) < 0 ? 0 : strtoull(text, NULL, 10);
}

static uint64_t read_cpu_usec(int fd, const CgroupHierarchy *hierarchy) {
        char text[256]; /* "usage_usec N" is the first line of several */

        if (!hierarchy->v2)
                return read_number(fd, "cpuacct.usage") / 1000; /* with the controller cpu nearly everywhere */
        return fd_read_file_at(fd, "cpu.stat", text, sizeof text) < 0 || strncmp(text, "usage_usec ", 11) != 0 ? 0 : strtoull(text + 11, NULL, 10);
}

void cgroup_usage(const Cgroup *cgroup, uint64_t *ret_memory_bytes, uint32_t *ret_processes, uint64_t *ret_cpu_usec) {
        *ret_cpu_usec = 0;
        *ret_memory_bytes = 0;
        *ret_processes = 0;
        if (!cgroup)
                return;
        for (size_t i = 0; i < cgroup->tree->n_hierarchies; i++) {
                const CgroupHierarchy *hierarchy = &cgroup->tree->hierarchies[i];
                if (hierarchy->controllers & CGROUP_MEMORY)
                        *ret_memory_bytes =
                                read_number(cgroup->fds[i], hierarchy->v2 ? "memory.current" : "memory.usage_in_bytes");
                if (*ret_cpu_usec == 0 && (hierarchy->v2 || hierarchy->controllers & CGROUP_CPU))
                        *ret_cpu_usec = read_cpu_usec(cgroup->fds[i], hierarchy);
                if (hierarchy->controllers & CGROUP_PIDS)
                        *ret_processes = (uint32_t) read_number(cgroup->fds[i], "pids.current");
        }
}

static int open_file(int dir_fd, const char *name) {
        int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

        return fd < 0 ? -EBADF : fd;
}

void cgroup_open_memory_at(int dir_fd, int ret_fds[3]) {
        ret_fds[0] = pressure_trigger_at(dir_fd, "memory.pressure");
        ret_fds[1] = open_file(dir_fd, "memory.current");
        ret_fds[2] = open_file(dir_fd, "memory.max");
}

void cgroup_open_memory(const Cgroup *cgroup, int ret_fds[3]) {
        fd_fill(ret_fds, 3);
        for (size_t i = 0; i < cgroup->tree->n_hierarchies; i++) {
                const CgroupHierarchy *hierarchy = &cgroup->tree->hierarchies[i];
                if (hierarchy->v2)
                        cgroup_open_memory_at(cgroup->fds[i], ret_fds);
                else if (hierarchy->controllers & CGROUP_MEMORY) { /* then the first, of version 2, has no such files */
                        ret_fds[1] = open_file(cgroup->fds[i], "memory.usage_in_bytes");
                        ret_fds[2] = open_file(cgroup->fds[i], "memory.limit_in_bytes");
                }
        }
}

const char *cgroup_display(const Cgroup *cgroup) {
        return cgroup ? cgroup->display : "";
}
