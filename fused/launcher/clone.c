/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making children and ending them. See launcher.h. */

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "launcher/launcher.h"

#define KILL_REAP_USEC (5 * USEC_PER_SEC)

pid_t child_clone(uint64_t flags, int cgroup_fd, int *ret_pidfd) {
        int pidfd = -EBADF;
        struct clone_args args = {
                .flags = flags | CLONE_PIDFD | (cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
                .pidfd = (uint64_t) (uintptr_t) &pidfd,
                .exit_signal = SIGCHLD,
                .cgroup = cgroup_fd >= 0 ? (uint64_t) cgroup_fd : 0,
        };
        long pid = RET_NERRNO(syscall(SYS_clone3, &args, sizeof args));

        if (pid > 0)
                *ret_pidfd = pidfd;
        return (pid_t) pid;
}

int wait_readable(int fd, uint64_t timeout_usec) {
        const uint64_t end = clock_usec() + timeout_usec;
        struct pollfd item = {.fd = fd, .events = POLLIN};
        int r;

        do { /* a signal takes nothing from the deadline and adds nothing to it */
                uint64_t now = clock_usec(), left = end > now ? end - now : 0;
                struct timespec timeout = {
                        .tv_sec = (time_t) (left / USEC_PER_SEC),
                        .tv_nsec = (long) (left % USEC_PER_SEC) * 1000,
                };
                r = RET_NERRNO(ppoll(&item, 1, &timeout, NULL));
        } while (r == -EINTR);
        if (r < 0)
                return r;
        return r == 0 ? -ETIMEDOUT : 0;
}

void child_kill_reap(pid_t pid, int pidfd) {
        if (pid <= 0)
                return;
        (void) syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        /* A killed process can still be held up in the kernel; then it stays a zombie of ours rather than hang us. */
        if (wait_readable(pidfd, KILL_REAP_USEC) == 0)
                (void) waitpid(pid, NULL, WNOHANG);
}

int child_place_fds(int *fds, size_t n) {
        int r;

        /* First out of the way of the final numbers, then down. */
        for (size_t i = 0; i < n; i++)
                if (fds[i] >= 0) {
                        fds[i] = RET_NERRNO(fcntl(fds[i], F_DUPFD_CLOEXEC, (int) n));
                        if (fds[i] < 0)
                                return fds[i];
                }
        for (size_t i = 0; i < n; i++) {
                r = RET_NERRNO(fds[i] >= 0 ? dup2(fds[i], (int) i) : close((int) i));
                if (r < 0 && r != -EBADF)
                        return r;
        }
        return RET_NERRNO((int) syscall(SYS_close_range, (unsigned) n, ~0U, 0));
}
