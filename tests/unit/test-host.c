/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the broker reads of other processes: those that have been killed and are not gone, in a /proc of the test's and in the kernel's. */

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "broker/host.h"

#define PID 77

typedef struct Task {
        const char *name;
        char state;
        const char *pending;
} Task;

static void write_status(int proc_fd, const char *path, const Task *task) {
        _cleanup_fd_ int fd = openat(proc_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(dprintf(fd, "Name:\t%s\nUmask:\t0022\nState:\t%c (word)\nTgid:\t77\nSigPnd:\t%s\nShdPnd:\t0000000000000000\n",
                            task->name, task->state, task->pending) > 0);
}

/* The first is the process's. */
static bool ask(const Task *tasks, size_t n) {
        char directory[] = "/tmp/fused-test-XXXXXX", path[64];
        Host host = HOST_NULL;
        bool result;

        assert_non_null(mkdtemp(directory));
        host.proc_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(mkdirat(host.proc_fd, "77", 0700), 0);
        assert_int_equal(mkdirat(host.proc_fd, "77/task", 0700), 0);
        write_status(host.proc_fd, "77/status", &tasks[0]);
        for (size_t i = 0; i < n; i++) {
                (void) snprintf(path, sizeof path, "77/task/%zu", PID + i);
                assert_int_equal(mkdirat(host.proc_fd, path, 0700), 0);
                (void) snprintf(path, sizeof path, "77/task/%zu/status", PID + i);
                write_status(host.proc_fd, path, &tasks[i]);
        }
        result = host_process_is_held_up(&host, PID);
        (void) fd_close(host.proc_fd);
        (void) snprintf(path, sizeof path, "rm -r %s", directory);
        assert_int_equal(system(path), 0);
        return result;
}

#define NONE "0000000000000000"
#define KILLED "0000000000000100"

static void test_tasks(void **state) {
        static const struct {
                Task tasks[3];
                size_t n;
                bool held_up;
        } rows[] = {
                {{{"server", 'Z', NONE}, {"server", 'D', KILLED}}, 2, true},
                {{{"server", 'D', KILLED}}, 1, true},
                {{{"server", 'Z', NONE}, {"server", 'Z', NONE}, {"server", 'D', "0000000000004100"}}, 3, true},
                {{{"server", 'S', NONE}}, 1, false},
                {{{"server", 'D', NONE}}, 1, false},
                {{{"server", 'D', "0000000000004000"}}, 1, false},            /* SIGTERM */
                {{{"server", 'Z', NONE}, {"server", 'S', NONE}}, 2, false},   /* its first thread has left, the others go on */
                {{{"server", 'Z', NONE}, {"server", 'D', KILLED}, {"server", 'R', NONE}}, 3, false}, /* it writes its core */
                {{{"State:\tZ", 'S', NONE}}, 1, false},
                {{{"SigPnd:\t0000000000000100", 'S', NONE}}, 1, false},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (ask(rows[i].tasks, rows[i].n) != rows[i].held_up)
                        fail_msg("row %zu", i);
}

static void *live(void *userdata) {
        (void) pause();
        return NULL;
}

static void test_kernels(void **state) {
        Host host = HOST_NULL;
        int status;

        host.proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (unsigned leaves = 0; leaves < 2; leaves++) {
                pid_t pid = fork();
                if (pid == 0) {
                        pthread_t thread;
                        if (pthread_create(&thread, NULL, live, NULL) == 0 && leaves)
                                (void) syscall(SYS_exit, 0);
                        (void) pause();
                        _exit(1);
                }
                (void) usleep(50000);
                assert_false(host_process_is_held_up(&host, pid));
                assert_int_equal(kill(pid, SIGSTOP), 0);
                (void) usleep(10000);
                assert_false(host_process_is_held_up(&host, pid));
                assert_int_equal(kill(pid, SIGKILL), 0);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_false(host_process_is_held_up(&host, pid));
        }
        (void) fd_close(host.proc_fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_tasks), cmocka_unit_test(test_kernels)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
