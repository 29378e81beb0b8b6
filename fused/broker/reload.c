/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loading the policy. See reload.h. */

#include "broker/reload.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "broker/manager-link.h"
#include "broker/roots.h"
#include "broker/spares.h"

#define LOADER_MSEC 20000
#define NOBODY 65534
#define OUTPUT_FD 3
#ifdef __SANITIZE_ADDRESS__
#define LOADER_MEMORY RLIM_INFINITY /* shadow memory counts as data */
#else
#define LOADER_MEMORY (1U << 30)
#endif

static int count_strings(char *const *list) {
        int n = 0;

        while (list && list[n])
                n++;
        return n;
}

/* The child: nobody, with no capability and no descriptor but the table's, and only so much time and memory. */
static _noreturn_ void run_loader(Broker *broker, const char *program, const char *manager, int table_fd) {
        int n = count_strings(broker->policy_directories), argc = 0;
        char **arguments = calloc((size_t) n * 2 + 8, sizeof *arguments);
        char *const environment[] = {(char *) "PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *) "LANG=C.UTF-8", NULL};
        const struct rlimit processor = {30, 30}, memory = {LOADER_MEMORY, LOADER_MEMORY};
        sigset_t none;

        if (!arguments)
                _exit(1);
        arguments[argc++] = (char *) program;
        arguments[argc++] = (char *) "--output-fd";
        arguments[argc++] = (char *) "3";
        arguments[argc++] = (char *) "--manager";
        arguments[argc++] = (char *) manager;
        for (int i = 0; i < n; i++) {
                arguments[argc++] = (char *) "--policy";
                arguments[argc++] = broker->policy_directories[i];
        }
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        if (dup2(table_fd, OUTPUT_FD) < 0 || fd_set_cloexec(OUTPUT_FD, false) < 0 ||
            syscall(SYS_close_range, OUTPUT_FD + 1, ~0U, 0U) < 0 || setrlimit(RLIMIT_CPU, &processor) < 0 ||
            setrlimit(RLIMIT_DATA, &memory) < 0 || setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
            setresuid(NOBODY, NOBODY, NOBODY) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                _exit(1);
        (void) execve(program, arguments, environment);
        log_error("cannot run %s: %s", program, strerror(errno));
        _exit(1);
}

static int wait_for(pid_t pid) {
        _cleanup_fd_ int pidfd = -EBADF;
        struct pollfd p = {.events = POLLIN};
        siginfo_t info = {0};
        int r;

        pidfd = (int) RET_NERRNO(syscall(SYS_pidfd_open, pid, 0));
        p.fd = pidfd;
        do
                r = RET_NERRNO(poll(&p, 1, LOADER_MSEC));
        while (r == -EINTR);
        if (r <= 0)
                (void) kill(pid, SIGKILL);
        if (waitid(P_PID, (id_t) pid, &info, WEXITED) < 0)
                return -errno;
        if (r == 0)
                return -ETIMEDOUT;
        return info.si_code == CLD_EXITED && info.si_status == 0 ? 0 : -EPROTO;
}

static int load(Broker *broker, Policy **ret) {
        const unsigned seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
        _cleanup_free_ char *program = NULL, *manager = NULL;
        _cleanup_fd_ int fd = -EBADF;
        pid_t pid;
        int r;

        if (asprintf(&program, "%s/fused-policy", broker->libexec_directory) < 0 ||
            asprintf(&manager, "%s/fused-manager", broker->libexec_directory) < 0)
                return -ENOMEM;
        fd = RET_NERRNO(memfd_create("fused-policy", MFD_CLOEXEC | MFD_ALLOW_SEALING));
        if (fd < 0)
                return fd;
        pid = RET_NERRNO(fork());
        if (pid < 0)
                return pid;
        if (pid == 0)
                run_loader(broker, program, manager, fd);
        r = wait_for(pid);
        if (r < 0)
                return log_errno(r, "%s failed: %s", program, strerror(-r));
        r = RET_NERRNO(fcntl(fd, F_ADD_SEALS, seals));
        if (r < 0)
                return r;
        return policy_new_from_fd(fd, broker->policy ? policy_generation(broker->policy) + 1 : 1, ret);
}

int policy_reload(Broker *broker) {
        _cleanup_(policy_unrefp) Policy *policy = NULL;
        BrokerEvent event = {0};
        int fd, r;

        r = load(broker, &policy);
        if (r < 0)
                return log_errno(r, "no policy could be loaded: %s%s", strerror(-r), broker->policy ? "; the old one stays" : "");
        (void) policy_unref(broker->policy);
        broker->policy = TAKE_PTR(policy);
        spares_flush(broker); /* before the old policy goes */
        type_roots_flush(broker);
        log_info("policy %u: %u types, %u rules", policy_generation(broker->policy), policy_table(broker->policy)->types.count,
                 policy_table(broker->policy)->rules.count);

        event.policy_generation = policy_generation(broker->policy);
        fd = policy_fd(broker->policy);
        manager_event(broker, &event, BROKER_EVENT_POLICY, &fd, 1);
        return 0;
}
