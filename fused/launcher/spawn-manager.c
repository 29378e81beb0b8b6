/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts the manager: the broker's unprivileged half. It keeps the user and pid namespaces, as it has to see callers'
 * ids, and gets an empty root, its own uid and no capability. Its filter it installs itself. See spawn.h. */

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "launcher/launcher.h"

#define FDS_MAX 24 /* 0-2, what the broker passes, the program */

static int place(const SpawnManager *request, int *ret_program_fd) {
        int fds[FDS_MAX] = {-EBADF, STDOUT_FILENO, STDERR_FILENO};
        size_t n = 3;
        int r;

        fds[0] = RET_NERRNO(open("/dev/null", O_RDONLY | O_CLOEXEC | O_NOCTTY));
        if (fds[0] < 0)
                return fds[0];
        for (size_t i = 0; i < request->n_fds; i++)
                fds[n++] = request->fds[i];
        fds[n] = RET_NERRNO(open(request->program, O_PATH | O_CLOEXEC));
        if (fds[n] < 0)
                return fds[n];
        r = child_place_fds(fds, n + 1);
        if (r < 0)
                return r;
        *ret_program_fd = (int) n;
        return fd_set_cloexec((int) n, true);
}

static int confine(const SpawnManager *request, pid_t parent, int program_fd) {
        const ConfineLimits limits = {.open_files = UINT64_MAX}; /* as the broker has it: it counts for all users */
        int r;

        (void) umask(077);
        if (setsid() < 0)
                return -errno;
        r = RET_NERRNO(chdir("/"));
        if (r < 0)
                return r;
        r = confine_limits(&limits);
        if (r < 0)
                return r;
        r = RET_NERRNO((int) syscall(SYS_setgroups, 0, NULL));
        if (r < 0)
                return r;
        r = confine_identity(request->uid, request->gid);
        if (r < 0)
                return r;
        /* After the change of uid, which clears it. */
        r = RET_NERRNO(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
        if (r < 0)
                return r;
        if (getppid() != parent)
                return -EOWNERDEAD;
        return landlock_confine(program_fd, NULL, 0, /* isolate= */ false, NULL);
}

static int run(const SpawnManager *request, pid_t parent) {
        const char *environment[] = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", NULL, NULL};
        char level[64];
        const char *wanted = getenv("FUSED_LOG_LEVEL");
        int program_fd = -EBADF, r;

        if (wanted && snprintf(level, sizeof level, "FUSED_LOG_LEVEL=%s", wanted) < (int) sizeof level)
                environment[2] = level;
        r = place(request, &program_fd);
        if (r < 0)
                return r;
        r = confine(request, parent, program_fd);
        if (r < 0)
                return r;
        return RET_NERRNO((int) syscall(SYS_execveat, program_fd, "", request->arguments, environment, AT_EMPTY_PATH));
}

int spawn_manager(const SpawnManager *request, pid_t *ret_pid, int *ret_pidfd) {
        _cleanup_fd_ int pidfd = -EBADF;
        pid_t parent = getpid(), pid;
        int r;

        if (request->n_fds + 4 > FDS_MAX)
                return -E2BIG;
        r = RET_NERRNO(setns(request->root_ns_fd, CLONE_NEWNS));
        if (r < 0)
                return r;
        pid = child_clone(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS, -EBADF, &pidfd);
        if (pid == 0) {
                r = run(request, parent);
                (void) dprintf(STDERR_FILENO, "fused: cannot start %s: %s\n", request->program, strerror(-r));
                _exit(127);
        }
        if (setns(request->host_ns_fd, CLONE_NEWNS) < 0)
                abort(); /* a broker in the manager's root must not go on */
        if (pid < 0)
                return (int) pid;
        *ret_pid = pid;
        *ret_pidfd = TAKE_FD(pidfd);
        return 0;
}
