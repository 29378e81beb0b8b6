/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The filter of a server, in force in a child: what is allowed works, what is denied gives EPERM, what nobody has heard
 * of ENOSYS, and what the agent is to answer arrives at a listener. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy/load.h"
#include "policy/notified.h"

typedef struct Filter {
        void *code; /* owned */
        size_t n;
} Filter;

static Filter build(bool notify, bool iomap, const char *calls) {
        char *copy _cleanup_free_ = strdup(calls), *cursor = copy, *words[8], *word;
        const char *unknown = NULL;
        Filter filter = {0};
        size_t n = 0;

        while ((word = strsep(&cursor, " ")))
                if (*word)
                        words[n++] = word;
        assert_int_equal(server_filter_build(notify, iomap, words, n, &filter.code, &filter.n, &unknown), 0);
        assert_true(filter.n > 50 && filter.n <= POLICY_FILTER_MAX);
        return filter;
}

static int install(const Filter *filter, unsigned flags) {
        struct sock_fprog program = {.len = (unsigned short) filter->n, .filter = filter->code};

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -1;
        return (int) syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* Runs check(userdata) in a child under the filter. Its text, if it is not NULL, says what went wrong. */
static void run(const Filter *filter, const char *(*check)(const void *userdata), const void *userdata) {
        char text[256] = "";
        int fds[2], status;
        pid_t pid;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                (void) alarm(20);
                const char *problem = install(filter, 0) < 0 ? "the filter cannot be loaded" : check(userdata);
                if (problem)
                        (void) write(fds[1], problem, strlen(problem));
                _exit(problem ? 1 : 0);
        }
        close(fds[1]);
        (void) read(fds[0], text, sizeof text - 1);
        close(fds[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                fail_msg("status %#x: %s", status, text);
}

typedef struct Call {
        const char *name;
        long number;
        long arguments[6];
        int error; /* 0: it succeeds */
} Call;

#define CALL(name) #name, SYS_##name

static const char *check_calls(const void *userdata) {
        static char text[128];

        for (const Call *call = userdata; call->name; call++) {
                const long *a = call->arguments;
                errno = 0;
                long r = syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
                int error = r < 0 ? errno : 0;
                if (error != call->error) {
                        (void) snprintf(text, sizeof text, "%s: %s, not %s", call->name, strerrorname_np(error),
                                        strerrorname_np(call->error));
                        return text;
                }
        }
        return NULL;
}

static struct {
        char buffer[16];
        int pair[2];
} scratch;
#define AT_HOME (long) "/"

/* Arguments are such that the kernel would succeed, or fail with another error than EPERM and ENOSYS. */
static const Call allowed[] = {
        {CALL(getpid), {0}, 0},
        {CALL(read), {-1}, EBADF},
        {CALL(write), {-1}, EBADF},
        {CALL(openat), {-1, (long) "x"}, EBADF},
        {CALL(openat2), {-1, (long) "x", 0, 0}, EINVAL},
        {CALL(close), {-1}, EBADF},
        {CALL(statx), {-1, (long) "x", 0, 0, 0}, EBADF},
        {CALL(mkdirat), {-1, (long) "x", 0}, EBADF},
        {CALL(renameat2), {-1, (long) "x", -1, (long) "y", 0}, EBADF},
        {CALL(fsetxattr), {-1, (long) "user.x", 0, 0, 0}, EBADF},
        {CALL(fallocate), {-1, 0, 0, 1}, EBADF},
        {CALL(copy_file_range), {-1, 0, -1, 0, 1, 0}, EBADF},
        {CALL(splice), {-1, 0, -1, 0, 1, 0}, EBADF},
        {CALL(socketpair), {AF_UNIX, SOCK_SEQPACKET, 0, (long) scratch.pair}, 0},
        {CALL(sendmsg), {-1, 0, 0}, EBADF},
        {CALL(recvmsg), {-1, 0, 0}, EBADF},
        {CALL(epoll_create1), {0}, 0},
        {CALL(getrandom), {(long) scratch.buffer, 16, 0}, 0},
        {CALL(kill), {-1, -1}, EINVAL},
        {CALL(fsync), {-1}, EBADF},
        {CALL(landlock_create_ruleset), {0, 1, 0}, EFAULT},
        {NULL},
};

static const Call denied[] = {
        {CALL(mount), {AT_HOME, AT_HOME, 0, 0x1000 /* MS_BIND */, 0}, EPERM},
        {CALL(umount2), {AT_HOME, 0}, EPERM},
        {CALL(pivot_root), {AT_HOME, AT_HOME}, EPERM},
        {CALL(chroot), {AT_HOME}, EPERM},
        {CALL(fsopen), {(long) "tmpfs", 0}, EPERM},
        {CALL(fsconfig), {-1}, EPERM},
        {CALL(fsmount), {-1}, EPERM},
        {CALL(move_mount), {-1}, EPERM},
        {CALL(open_tree), {-100, AT_HOME, 0}, EPERM},
        {CALL(mount_setattr), {-1}, EPERM},
        {CALL(unshare), {CLONE_NEWUSER}, EPERM},
        {CALL(unshare), {0}, EPERM},
        {CALL(setns), {-1, 0}, EPERM},
        {CALL(ptrace), {0}, EPERM},
        {CALL(process_vm_readv), {1}, EPERM},
        {CALL(pidfd_getfd), {-1}, EPERM},
        {CALL(bpf), {-1}, EPERM},
        {CALL(perf_event_open), {0}, EPERM},
        {CALL(userfaultfd), {0}, EPERM},
        {CALL(io_uring_setup), {1, 0}, EPERM},
        {CALL(io_uring_enter), {-1}, EPERM},
        {CALL(reboot), {0}, EPERM},
        {CALL(keyctl), {0, -3}, EPERM},
        {CALL(add_key), {0}, EPERM},
        {CALL(socket), {AF_UNIX, SOCK_STREAM, 0}, EPERM},
        {CALL(socket), {AF_INET, SOCK_DGRAM, 0}, EPERM},
        {CALL(connect), {-1}, EPERM},
        {CALL(bind), {-1}, EPERM},
        {CALL(setuid), {0}, EPERM},
        {CALL(setresgid), {-1, -1, -1}, EPERM},
        {CALL(setgroups), {0}, EPERM},
        {CALL(capset), {0}, EPERM},
        {CALL(execve), {(long) "/bin/true", 0, 0}, EPERM},
        {CALL(seccomp), {2, 0, 0}, EPERM},
        {CALL(personality), {-1}, EPERM},
        {CALL(open_by_handle_at), {-1}, EPERM},
        {NULL},
};

static const Call unknown[] = {
        {"number 2000", 2000, {0}, ENOSYS},
        {CALL(clone3), {0, 0}, ENOSYS},
        {CALL(clone3), {-1, 88}, ENOSYS},
        {CALL(pkey_alloc), {0, 0}, ENOSYS},
        {CALL(shmget), {0, 4096, 01600}, ENOSYS},
        {CALL(msgget), {0, 01600}, ENOSYS},
        {CALL(inotify_init1), {0}, ENOSYS},
        {CALL(memfd_secret), {0}, ENOSYS},
        {NULL},
};

static const Call arguments[] = {
        {"prctl name", SYS_prctl, {PR_SET_NAME, (long) "x"}, 0},
        {"prctl dumpable", SYS_prctl, {PR_GET_DUMPABLE}, 0},
        {"prctl seccomp", SYS_prctl, {PR_SET_SECCOMP, 2, 0}, ENOSYS},
        {"prctl keepcaps", SYS_prctl, {PR_SET_KEEPCAPS, 1}, ENOSYS},
        {"prctl bounding set", SYS_prctl, {PR_CAPBSET_DROP, 0}, ENOSYS},
        {"prctl ambient", SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0}, ENOSYS},
        {"prctl mm", SYS_prctl, {PR_SET_MM, PR_SET_MM_BRK, 0, 0, 0}, ENOSYS},
        {"ioctl FIONREAD", SYS_ioctl, {-1, FIONREAD, 0}, EBADF},
        {"ioctl TCGETS", SYS_ioctl, {-1, TCGETS, 0}, EBADF},
        {"ioctl TIOCSTI", SYS_ioctl, {-1, TIOCSTI, 0}, ENOSYS},
        {"ioctl TIOCSTI with a high half", SYS_ioctl, {-1, (long) (0x100000000UL | TIOCSTI), 0}, ENOSYS},
        {"ioctl TIOCLINUX", SYS_ioctl, {-1, TIOCLINUX, 0}, ENOSYS},
        {"ioctl LOOP_SET_FD", SYS_ioctl, {-1, 0x4C00, 0}, ENOSYS},
        {"ioctl BLKRRPART", SYS_ioctl, {-1, 0x125F, 0}, ENOSYS},
        {"execveat of a descriptor", SYS_execveat, {-1, (long) "", 0, 0, AT_EMPTY_PATH}, EBADF},
        {"execveat of a path", SYS_execveat, {-100, (long) "/bin/true", 0, 0, 0}, ENOSYS},
        {"clone NEWNS", SYS_clone, {CLONE_NEWNS | SIGCHLD}, EPERM},
        {"clone NEWCGROUP", SYS_clone, {CLONE_NEWCGROUP | SIGCHLD}, EPERM},
        {"clone NEWUTS", SYS_clone, {CLONE_NEWUTS | SIGCHLD}, EPERM},
        {"clone NEWIPC", SYS_clone, {CLONE_NEWIPC | SIGCHLD}, EPERM},
        {"clone NEWUSER", SYS_clone, {CLONE_NEWUSER | SIGCHLD}, EPERM},
        {"clone NEWPID", SYS_clone, {CLONE_NEWPID | SIGCHLD}, EPERM},
        {"clone NEWNET", SYS_clone, {CLONE_NEWNET | SIGCHLD}, EPERM},
        {"clone NEWUSER NEWNS", SYS_clone, {CLONE_NEWUSER | CLONE_NEWNS | SIGCHLD}, EPERM},
        {NULL},
};

static void test_calls(void **state) {
        static const Call *const lists[] = {allowed, denied, unknown, arguments};
        Filter filter = build(false, false, "");

        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                run(&filter, check_calls, lists[i]);
        free(filter.code);
}

/* ---- programs go on working -------------------------------------------------------------------------------------- */

static void *thread(void *userdata) {
        *(int *) userdata = 42;
        return userdata;
}

static const char *check_threads_and_children(const void *userdata) {
        pthread_t id;
        int value = 0, status = 0;
        pid_t pid;

        if (pthread_create(&id, NULL, thread, &value) != 0) /* glibc tries clone3 first */
                return "no thread";
        if (pthread_join(id, NULL) != 0 || value != 42)
                return "the thread did not run";
        pid = fork();
        if (pid == 0)
                _exit(7);
        if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
                return "no child";
        return NULL;
}

/* What the launcher does, and what the dynamic loader and libc do after it. */
static const char *check_exec(const void *userdata) {
        char *const words[] = {(char *) "true", NULL}, *const environment[] = {NULL};
        int fd = open("/bin/true", O_RDONLY | O_CLOEXEC), status = 0;
        pid_t pid;

        if (fd < 0)
                return "/bin/true cannot be opened";
        pid = fork();
        if (pid == 0) {
                (void) syscall(SYS_execveat, fd, "", words, environment, AT_EMPTY_PATH);
                _exit(126);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
                return "no child";
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : "/bin/true does not run";
}

static void test_programs(void **state) {
        Filter filter = build(false, false, "");

        run(&filter, check_threads_and_children, NULL);
        run(&filter, check_exec, NULL);
        free(filter.code);
}

/* ---- SystemCalls= ------------------------------------------------------------------------------------------------ */

static void test_changes(void **state) {
        static const struct {
                const char *calls;
                Call checks[4];
        } rows[] = {
                {"-kill +inotify_init1",
                 {{CALL(kill), {-1, -1}, ENOSYS}, {CALL(inotify_init1), {0}, 0}, {CALL(tkill), {-1, 0}, EINVAL}}},
                {"+socket", {{CALL(socket), {AF_UNIX, SOCK_STREAM, 0}, 0}, {CALL(connect), {-1}, EPERM}}},
                {"-socket", {{CALL(socket), {AF_UNIX, SOCK_STREAM, 0}, EPERM}}},
                {"-kill +kill", {{CALL(kill), {-1, -1}, EINVAL}}},
                {"+inotify_init1 -inotify_init1", {{CALL(inotify_init1), {0}, ENOSYS}}},
                /* Those whose arguments are checked: all arguments, or none. */
                {"+ioctl +prctl",
                 {{"ioctl BLKRRPART", SYS_ioctl, {-1, 0x125F, 0}, EBADF},
                  {"prctl keepcaps", SYS_prctl, {PR_SET_KEEPCAPS, 0}, 0}}},
                {"-ioctl -prctl -clone",
                 {{"ioctl FIONREAD", SYS_ioctl, {-1, FIONREAD, 0}, ENOSYS},
                  {"prctl name", SYS_prctl, {PR_SET_NAME, (long) "x"}, ENOSYS},
                  {"clone", SYS_clone, {SIGCHLD}, ENOSYS}}},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Filter filter = build(false, false, rows[i].calls);
                run(&filter, check_calls, rows[i].checks);
                free(filter.code);
        }
}

/* ---- Iomap= ------------------------------------------------------------------------------------------------------ */

/* Of the kernel's fuse-iomap a server calls what it may without privilege, and only if its type may have that at all. What registers devices is
 * the broker's affair. */
static void test_iomap(void **state) {
        static const unsigned long numbers[] = {0x4008e566, 0x4008e563, 0x4004e564};
        static const Call never[] = {
                {"ioctl ADD_IOMAP", SYS_ioctl, {-1, 0xe565, 0}, ENOSYS},
                {"ioctl ADD_IOMAP, as it was", SYS_ioctl, {-1, 0xe563, 0}, ENOSYS},
                {"ioctl BACKING_OPEN", SYS_ioctl, {-1, 0x4010e501, 0}, ENOSYS},
                {"prctl io flusher", SYS_prctl, {PR_SET_IO_FLUSHER, 1}, ENOSYS},
                {NULL},
        };

        for (unsigned iomap = 0; iomap < 2; iomap++) {
                static const char *const calls[] = {"", "+ioctl", "-ioctl"};
                const int errors[] = {iomap ? EBADF : ENOSYS, EBADF, ENOSYS}; /* what a type says goes first */
                for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                        Call checks[ELEMENTSOF(numbers) + 1] = {0};
                        for (size_t k = 0; k < ELEMENTSOF(numbers); k++)
                                checks[k] = (Call){"ioctl of fuse-iomap", SYS_ioctl, {-1, (long) numbers[k], 0}, errors[i]};
                        Filter filter = build(false, iomap, calls[i]);
                        run(&filter, check_calls, checks);
                        if (i == 0)
                                run(&filter, check_calls, never);
                        free(filter.code);
                }
        }
}

static void test_unknown_name(void **state) {
        char *words[] = {(char *) "+getpid", (char *) "-no_such_call"};
        const char *name = NULL;
        Filter filter = {0};

        assert_int_equal(server_filter_build(false, false, words, 2, &filter.code, &filter.n, &name), -ENOENT);
        assert_string_equal(name, "no_such_call");
        assert_null(filter.code);
}

static void test_deterministic(void **state) {
        Filter a = build(true, true, "+socket -kill"), b = build(true, true, "+socket -kill");

        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.code, b.code, a.n * sizeof(struct sock_filter));
        free(a.code);
        free(b.code);
}

/* ---- hand-over fd: the agent answers ----------------------------------------------------------------------------- */

static _Atomic int listener;

/* Stands for the agent: a thread from before the filter, which answers every call with an error that the kernel would
 * not give. */
static void *answer(void *userdata) {
        while (atomic_load(&listener) == 0)
                (void) sched_yield();
        for (;;) {
                struct seccomp_notif call = {0};
                if (ioctl(atomic_load(&listener), SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
                        continue;
                struct seccomp_notif_resp response = {.id = call.id, .error = -EUCLEAN};
                (void) ioctl(atomic_load(&listener), SECCOMP_IOCTL_NOTIF_SEND, &response);
        }
        return NULL;
}

static const char *check_notified(const Filter *filter) {
        static const Call calls[] = {
#define ROW(name, directory, path) {CALL(name), {0}, EUCLEAN},
                NOTIFIED_SYSCALLS(ROW)
#undef ROW
                        {CALL(openat2), {-100, AT_HOME, 0, 0}, ENOSYS},
                {CALL(getpid), {0}, 0},
                {CALL(fstat), {-1, 0}, EBADF},
                {CALL(pivot_root), {AT_HOME, AT_HOME}, EPERM},
                {CALL(socket), {AF_UNIX, SOCK_STREAM, 0}, EPERM},
                {"number 2000", 2000, {0}, ENOSYS},
                {NULL},
        };
        pthread_t id;
        int fd;

        if (pthread_create(&id, NULL, answer, NULL) != 0)
                return "no thread";
        fd = install(filter, SECCOMP_FILTER_FLAG_NEW_LISTENER);
        if (fd < 0)
                return "the filter cannot be loaded";
        atomic_store(&listener, fd);
        return check_calls(calls);
}

static void test_notified(void **state) {
        static const char *const changes[] = {"", "+openat -openat +mount -stat"}; /* they cannot be changed */

        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                Filter filter = build(true, false, changes[i]);
                char text[256] = "";
                int fds[2], status;
                assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
                pid_t pid = fork();
                assert_true(pid >= 0);
                if (pid == 0) {
                        (void) alarm(20);
                        const char *problem = check_notified(&filter);
                        if (problem)
                                (void) write(fds[1], problem, strlen(problem));
                        _exit(problem ? 1 : 0);
                }
                close(fds[1]);
                (void) read(fds[0], text, sizeof text - 1);
                close(fds[0]);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                        fail_msg("status %#x: %s", status, text);
                free(filter.code);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_calls),         cmocka_unit_test(test_programs),
                cmocka_unit_test(test_changes),       cmocka_unit_test(test_unknown_name),
                cmocka_unit_test(test_iomap),
                cmocka_unit_test(test_deterministic), cmocka_unit_test(test_notified),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
