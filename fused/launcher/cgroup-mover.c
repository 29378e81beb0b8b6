/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Moves servers into their version 1 cgroups. See cgroup-mover.h. */

#include "launcher/cgroup-mover.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "launcher/launcher.h"

#define PASSES_MAX 64 /* each moves all that are there; what is moved has its children born in the right place */

struct CgroupMover {
        int socket_fd; /* owned */
        pid_t pid;     /* our child */
        int pidfd;     /* owned */
};

typedef struct Order {
        char name[32];
} Order;

/* Moves those of the list who are not in to_fd yet; returns how many that were. */
static size_t move_listed(char *listed, int to_fd) {
        char present[8192] = "";
        size_t n = 0;

        if (fd_read_file_at(to_fd, "cgroup.procs", present, sizeof present) < 0)
                return 0;
        for (char *line; (line = strsep(&listed, "\n")) && *line;) {
                char own_line[16];
                (void) snprintf(own_line, sizeof own_line, "%s\n", line);
                const char *found = strstr(present, own_line);
                if (found && (found == present || found[-1] == '\n'))
                        continue;
                n += fd_write_file_at(to_fd, "cgroup.procs", line) >= 0; /* ESRCH: it has ended */
        }
        return n;
}

static void move(const CgroupHierarchy *hierarchies, size_t n, const char *name) {
        int fds[CGROUP_HIERARCHIES_MAX];
        char listed[8192];
        size_t moved = 1;

        for (size_t i = 0; i < n; i++)
                fds[i] = openat(hierarchies[i].fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        for (size_t pass = 0; moved > 0 && pass < PASSES_MAX; pass++) {
                moved = 0;
                for (size_t i = 1; i < n; i++)
                        if (fds[0] >= 0 && fds[i] >= 0 &&
                            fd_read_file_at(fds[0], "cgroup.procs", listed, sizeof listed) > 0)
                                moved += move_listed(listed, fds[i]);
        }
        fd_close_many(fds, n);
}

static _noreturn_ void run(const CgroupHierarchy *hierarchies, size_t n, int socket_fd, pid_t parent) {
        int keep[3 + 1 + CGROUP_HIERARCHIES_MAX] = {-EBADF, -EBADF, STDERR_FILENO, socket_fd};
        CgroupHierarchy own[CGROUP_HIERARCHIES_MAX];
        Order order;

        for (size_t i = 0; i < n; i++) {
                own[i] = (CgroupHierarchy){.fd = 4 + (int) i};
                keep[4 + i] = hierarchies[i].fd;
        }
        if (child_place_fds(keep, 4 + n) < 0 || confine_identity(0, 0) < 0 ||
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
                _exit(1);
        /* Waits for orders for as long as the broker is there; each read ends with its socket. */
        while (fd_receive(3, &order, sizeof order, NULL, 0, NULL, 0) == sizeof order) {
                order.name[sizeof order.name - 1] = 0;
                move(own, n, order.name);
        }
        _exit(0);
}

int cgroup_mover_new(const CgroupHierarchy *hierarchies, size_t n, CgroupMover **ret) {
        _cleanup_fd_ int ours = -EBADF, theirs = -EBADF;
        _cleanup_free_ CgroupMover *mover = NULL;
        pid_t parent = getpid();
        int pair[2], r;

        mover = calloc(1, sizeof *mover);
        if (!mover)
                return -ENOMEM;
        r = RET_NERRNO(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
        if (r < 0)
                return r;
        ours = pair[0];
        theirs = pair[1];
        r = fd_set_nonblock(ours, true);
        if (r < 0)
                return r;
        mover->pid = child_clone(0, -EBADF, &mover->pidfd);
        if (mover->pid < 0)
                return mover->pid;
        if (mover->pid == 0)
                run(hierarchies, n, theirs, parent);
        mover->socket_fd = TAKE_FD(ours);
        *ret = TAKE_PTR(mover);
        return 0;
}

CgroupMover *cgroup_mover_free(CgroupMover *mover) {
        if (!mover)
                return NULL;
        child_kill_reap(mover->pid, mover->pidfd);
        mover->pidfd = fd_close(mover->pidfd);
        mover->socket_fd = fd_close(mover->socket_fd);
        free(mover);
        return NULL;
}

int cgroup_mover_ask(CgroupMover *mover, const char *name) {
        Order order = {0};

        if (strlen(name) >= sizeof order.name)
                return -EINVAL;
        memcpy(order.name, name, strlen(name));
        return fd_send(mover->socket_fd, &order, sizeof order, NULL, 0);
}
