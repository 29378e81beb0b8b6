/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Escape attempts by way of other processes, ids and limits. See rows.h. */

#include <grp.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/macro.h"
#include "rows.h"

/* pid 1 is the server's own pid namespace's, and our own kind: so 1, our parent and we are left out. */
int act_signal_other_process(void) {
        for (pid_t pid = 2; pid < 4000; pid++)
                if (pid != getpid() && pid != getppid() && kill(pid, 0) == 0)
                        return 0;
        return -ESRCH;
}

/* Runs act on a child that waits to be killed. */
static int with_child(int (*act)(pid_t child)) {
        pid_t child = fork();
        int r;

        if (child == 0) {
                (void) pause();
                _exit(0);
        }
        if (child < 0)
                return -errno;
        r = act(child);
        (void) kill(child, SIGKILL);
        (void) waitpid(child, NULL, 0);
        return r;
}

static int signal_child(pid_t child) {
        return RET_NERRNO(kill(child, SIGCONT));
}

int act_signal_own_child(void) {
        return with_child(signal_child);
}

static int trace(pid_t pid) {
        return RET_NERRNO((int) ptrace(PTRACE_SEIZE, pid, NULL, NULL));
}

int act_ptrace_init(void) {
        return trace(1);
}

int act_ptrace_own_child(void) {
        return with_child(trace);
}

int act_read_init_memory(void) {
        char buffer[8];
        struct iovec local = {.iov_base = buffer, .iov_len = sizeof buffer};
        struct iovec remote = {.iov_base = &local, .iov_len = sizeof buffer};

        return RET_NERRNO((int) process_vm_readv(1, &local, 1, &remote, 1, 0));
}

int act_take_fd_of_init(void) {
        int pidfd = (int) syscall(SYS_pidfd_open, 1, 0);

        return pidfd < 0 ? -errno : RET_NERRNO((int) syscall(SYS_pidfd_getfd, pidfd, 3, 0));
}

int act_compare_with_init(void) {
        return RET_NERRNO((int) syscall(SYS_kcmp, getpid(), 1, KCMP_FILES, 0, 0));
}

int act_add_key(void) {
        return RET_NERRNO((int) syscall(SYS_add_key, "user", "fused-escape", "x", 1, -2 /* process keyring */));
}

int act_search_session_keyring(void) {
        return RET_NERRNO((int) syscall(SYS_keyctl, 0 /* get id */, -3 /* session keyring */, 1));
}

int act_unshare_user(void) {
        return RET_NERRNO(unshare(CLONE_NEWUSER));
}

int act_unshare_mount(void) {
        return RET_NERRNO(unshare(CLONE_NEWNS));
}

int act_unshare_pid(void) {
        return RET_NERRNO(unshare(CLONE_NEWPID));
}

int act_unshare_net(void) {
        return RET_NERRNO(unshare(CLONE_NEWNET));
}

static int reap_clone(long pid) {
        if (pid == 0)
                _exit(0);
        if (pid < 0)
                return -errno;
        (void) waitpid((pid_t) pid, NULL, 0);
        return 0;
}

int act_clone_new_user(void) {
        return reap_clone(syscall(SYS_clone, (unsigned long) CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
}

int act_clone3_new_user(void) {
        struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};

        return reap_clone(syscall(SYS_clone3, &args, sizeof args));
}

int act_join_namespaces_of_init(void) {
        int pidfd = (int) syscall(SYS_pidfd_open, 1, 0);

        return pidfd < 0 ? -errno : RET_NERRNO(setns(pidfd, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID));
}

/* The raw calls: libc's would go to all threads. */
int act_become_root(void) {
        return RET_NERRNO((int) syscall(SYS_setresuid, 0, 0, 0));
}

int act_become_root_group(void) {
        return RET_NERRNO((int) syscall(SYS_setresgid, 0, 0, 0));
}

int act_become_neighbour(void) {
        return RET_NERRNO((int) syscall(SYS_setresuid, getuid() + 1, getuid() + 1, getuid() + 1));
}

int act_set_groups(void) {
        gid_t group = getgid();

        return RET_NERRNO((int) syscall(SYS_setgroups, 1, &group));
}

int act_raise_capability(void) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{.effective = 1 << CAP_KILL, .permitted = 1 << CAP_KILL}};

        return RET_NERRNO((int) syscall(SYS_capset, &header, data));
}

int act_raise_ambient_capability(void) {
        return RET_NERRNO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
}

int act_unlock_securebits(void) {
        return RET_NERRNO(prctl(PR_SET_SECUREBITS, 0, 0, 0, 0));
}

int act_clear_no_new_privs(void) {
        return RET_NERRNO(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

static int raise_limit(__rlimit_resource_t resource) {
        const struct rlimit unlimited = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};

        return RET_NERRNO(setrlimit(resource, &unlimited));
}

int act_allow_core_dumps(void) {
        return raise_limit(RLIMIT_CORE);
}

int act_raise_open_files(void) {
        return raise_limit(RLIMIT_NOFILE);
}

int act_realtime_priority(void) {
        const struct sched_param parameters = {.sched_priority = 1};

        return RET_NERRNO(sched_setscheduler(0, SCHED_FIFO, &parameters));
}

int act_raise_priority(void) {
        return RET_NERRNO(setpriority(PRIO_PROCESS, 0, -10));
}

static void *thread_main(void *data) {
        *(int *) data = 1;
        return NULL;
}

int act_start_thread(void) {
        pthread_t thread;
        int ran = 0, r;

        r = pthread_create(&thread, NULL, thread_main, &ran);
        if (r != 0)
                return -r;
        r = pthread_join(thread, NULL);
        return r != 0 ? -r : ran ? 0 : -EIO;
}

int act_start_process(void) {
        pid_t pid = fork();
        int status;

        if (pid == 0)
                _exit(7);
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
                return -errno;
        return WEXITSTATUS(status) == 7 ? 0 : -EIO;
}

int act_use_pipe(void) {
        int fds[2];
        char byte;

        if (pipe(fds) < 0 || write(fds[1], "x", 1) != 1 || read(fds[0], &byte, 1) != 1)
                return -errno;
        return 0;
}

int act_read_clock(void) {
        struct timespec now;

        return RET_NERRNO((int) syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now));
}
