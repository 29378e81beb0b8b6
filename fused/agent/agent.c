/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-agent: starts an unmodified server under its filter and answers for its slots until it ends.
 *
 * The launcher executes it as pid 1 of the server's pid namespace, already without privilege and inside the sandbox. It
 * gets its descriptors by number (spec.h). The server is its child, started like vfork() but with one descriptor table:
 * the listener that the filter makes in the child is thereby the agent's at once, and the child needs no call to hand
 * it over, which its filter might not let it make. The table is the child's own again from exec on.
 *
 * It reads the names from the server's memory, which Yama allows a parent (ptrace_scope 0 and 1). With 2 or 3 nobody without
 * privilege may, every call is continued, and the server finds its slots closed (EACCES).
 *
 * It waits without a deadline: how long a server may take is the supervisor's business, which ends the agent, and so
 * all. */

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, uint64_t) /* Linux 6.6 */
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1UL
#endif

#define CHILD_STACK_SIZE 65536

static const int forwarded_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};

typedef struct Start { /* shared with the child until it executes the server */
        const AgentSpec *spec;
        int program_fd;
        char *arguments[AGENT_ARGUMENTS_MAX + 1];
        int listener_fd;
        const char *failed; /* the step that failed */
        int error;
} Start;

static int map_spec(const AgentSpec **ret) {
        struct stat st;
        const AgentSpec *spec;

        if (fstat(AGENT_SPEC_FD, &st) < 0)
                return -errno;
        if (st.st_size < (off_t) sizeof *spec || st.st_size > AGENT_SPEC_SIZE_MAX)
                return -EBADMSG;
        spec = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, AGENT_SPEC_FD, 0);
        if (spec == MAP_FAILED)
                return -errno;
        if (spec->magic != AGENT_SPEC_MAGIC || spec->size != st.st_size || spec->n_slots > AGENT_SLOTS_MAX ||
            spec->n_arguments < 1 || spec->n_arguments > AGENT_ARGUMENTS_MAX || spec->n_filter < 1 ||
            spec->n_filter > BPF_MAXINSNS)
                return -EBADMSG;
        *ret = spec;
        return 0;
}

static int seccomp_listen(const AgentSpec *spec) {
        struct sock_fprog program = {
                .len = (unsigned short) spec->n_filter,
                .filter = (struct sock_filter *) (spec + 1),
        };
        /* A signal that the server handles must not repeat a call that is being answered (Linux 5.19). */
        const unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER, wait = SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        int r;

        r = RET_NERRNO((int) syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | wait, &program));
        if (r == -EINVAL)
                r = RET_NERRNO((int) syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
        return r;
}

static int child_main(void *data) {
        Start *start = data;
        sigset_t none;

        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        start->listener_fd = seccomp_listen(start->spec);
        if (start->listener_fd < 0) {
                start->error = start->listener_fd;
                start->failed = "install the filter";
                _exit(127);
        }
        (void) syscall(SYS_execveat, start->program_fd, "", start->arguments, environ, AT_EMPTY_PATH);
        start->error = -errno;
        start->failed = "execute the program";
        _exit(127);
}

static int fail(const char *what, int error) {
        (void) fprintf(stderr, "fused-agent: cannot %s: %s\n", what, strerror(-error));
        return 127;
}

/* Everything beyond 2 is the agent's alone, but for a device that the server's command line names. */
static int keep_from_server(const AgentSpec *spec) {
        int first = spec->server_has_fuse ? AGENT_FUSE_FD + 1 : AGENT_FUSE_FD;

        for (int fd = first; fd < AGENT_FIRST_SLOT_FD + AGENT_SLOTS_MAX; fd++)
                if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 && errno != EBADF)
                        return -errno;
        return 0;
}

static int watch_signals(void) {
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD);
        for (size_t i = 0; i < ELEMENTSOF(forwarded_signals); i++)
                (void) sigaddset(&set, forwarded_signals[i]);
        if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
                return -errno;
        return RET_NERRNO(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

static int start_server(Agent *agent) {
        static char stack[CHILD_STACK_SIZE] __attribute__((aligned(64)));
        static Start start;
        const AgentSpec *spec = agent->spec;

        start = (Start){.spec = spec, .listener_fd = -EBADF};
        for (uint32_t i = 0; i < spec->n_arguments; i++)
                start.arguments[i] = (char *) spec + spec->arguments[i];
        start.program_fd = open(start.arguments[0], O_PATH | O_CLOEXEC);
        if (start.program_fd < 0)
                return fail(start.arguments[0], -errno);
        agent->server_pid =
                clone(child_main, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, &start);
        if (agent->server_pid < 0)
                return fail("start the server", -errno);
        if (start.failed)
                return fail(start.failed, start.error);
        (void) close(start.program_fd);
        agent->listener_fd = start.listener_fd;
        return 0;
}

/* Reaps whatever has ended; returns true with the agent's exit status once that was the server. */
static bool reap(const Agent *agent, int *ret_status) {
        bool ended = false;
        int status;
        pid_t pid;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                if (pid != agent->server_pid)
                        continue; /* an orphan of the server's */
                ended = true;
                *ret_status = WEXITSTATUS(status);
                if (WIFSIGNALED(status)) {
                        (void) dprintf(STDERR_FILENO, "fused-agent: server killed by signal %d\n", WTERMSIG(status));
                        *ret_status = 128 + WTERMSIG(status);
                }
        }
        return ended;
}

/* Returns true once the server has ended. */
static bool take_signals(const Agent *agent, int *ret_status) {
        struct signalfd_siginfo info;

        while (read(agent->signal_fd, &info, sizeof info) == sizeof info)
                if (info.ssi_signo != SIGCHLD)
                        (void) kill(agent->server_pid, (int) info.ssi_signo);
        return reap(agent, ret_status);
}

static int run(Agent *agent) {
        struct pollfd items[] = {
                {.fd = agent->signal_fd, .events = POLLIN},
                {.fd = agent->listener_fd, .events = POLLIN},
        };
        int status = 0;

        for (;;) {
                if (ppoll(items, ELEMENTSOF(items), NULL, NULL) < 0 && errno != EINTR)
                        return 125;
                if (items[1].revents & POLLIN) {
                        if (answer_next(agent) < 0)
                                return 125;
                } else if (items[1].revents)
                        items[1].fd = -1; /* nobody is left under the filter; SIGCHLD is on its way */
                if (items[0].revents && take_signals(agent, &status))
                        return status;
        }
}

int main(void) {
        Agent agent = {.fuse = {.path = "/dev/fuse", .fd = AGENT_FUSE_FD, .writable = 1}, .listener_fd = -EBADF};
        int r;

        r = map_spec(&agent.spec);
        if (r < 0)
                return fail("read its orders", r);
        r = keep_from_server(agent.spec);
        if (r < 0)
                return fail("keep its descriptors", r);
        agent.signal_fd = watch_signals();
        if (agent.signal_fd < 0)
                return fail("watch signals", agent.signal_fd);
        r = start_server(&agent);
        if (r != 0)
                return r;
        /* Answers at once, on the same CPU; older kernels do without. */
        (void) ioctl(agent.listener_fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
        /* Same uid as the server: it must not look into the agent, wherever its own filter would let it. */
        (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        r = own_filter_install();
        if (r < 0)
                return fail("confine itself", r);
        return run(&agent);
}
