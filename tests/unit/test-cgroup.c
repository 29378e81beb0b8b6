/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the cgroups are, from texts; and as root, where there are any, that limits and members really get there. */

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "launcher/cgroup-find.h"
#include "launcher/launcher.h"

static const char hybrid[] = "9:name=systemd:/init\n4:memory:/jobs/a b\n3:cpu,cpuacct:/\n0::/box\n";
static const char hybrid_mounts[] =
        "30 25 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
        "31 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "32 25 0:29 / /sys/fs/cgroup/systemd rw - cgroup none rw,name=systemd\n"
        "33 25 0:30 / /sys/fs/cgroup/unified\\040two rw master:1 - cgroup2 cgroup2 rw,nsdelegate\n"
        "34 25 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";
static const char container_mounts[] = "40 1 0:27 /docker/123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";

static void test_own_path(void **state) {
        char path[64];

        assert_true(cgroup_own_path(hybrid, "memory", path, sizeof path));
        assert_string_equal(path, "/jobs/a b");
        assert_true(cgroup_own_path(hybrid, "cpu", path, sizeof path));
        assert_string_equal(path, "/");
        assert_true(cgroup_own_path(hybrid, "", path, sizeof path));
        assert_string_equal(path, "/box");
        assert_false(cgroup_own_path(hybrid, "pids", path, sizeof path));
        assert_false(cgroup_own_path(hybrid, "cpuset", path, sizeof path));
        assert_false(cgroup_own_path(hybrid, "memory", path, 5));
        assert_false(cgroup_own_path("", "memory", path, sizeof path));
        assert_false(cgroup_own_path("garbage\n:\n::", "memory", path, sizeof path));
}

static void test_directory(void **state) {
        char directory[64];

        assert_true(cgroup_directory(hybrid_mounts, "memory", "/jobs/a b", directory, sizeof directory));
        assert_string_equal(directory, "/sys/fs/cgroup/memory/jobs/a b");
        assert_true(cgroup_directory(hybrid_mounts, "cpu", "/", directory, sizeof directory));
        assert_string_equal(directory, "/sys/fs/cgroup/cpu,cpuacct");
        assert_true(cgroup_directory(hybrid_mounts, "", "/box", directory, sizeof directory));
        assert_string_equal(directory, "/sys/fs/cgroup/unified two/box");
        assert_false(cgroup_directory(hybrid_mounts, "pids", "/", directory, sizeof directory));
        assert_false(cgroup_directory(hybrid_mounts, "memory", "/jobs", directory, 10));
        /* a mount that shows a part only */
        assert_true(cgroup_directory(container_mounts, "memory", "/docker/123/x", directory, sizeof directory));
        assert_string_equal(directory, "/sys/fs/cgroup/memory/x");
        assert_true(cgroup_directory(container_mounts, "memory", "/docker/123", directory, sizeof directory));
        assert_string_equal(directory, "/sys/fs/cgroup/memory");
        assert_false(cgroup_directory(container_mounts, "memory", "/docker/1234", directory, sizeof directory));
        assert_false(cgroup_directory(container_mounts, "memory", "/docker/123/../4", directory, sizeof directory));
        assert_false(cgroup_directory("1 2 3\n- - -\n", "memory", "/", directory, sizeof directory));
}

/* Waits up to a second, as a move may come later (cgroup-mover.h). */
static bool has_process(const char *directory, pid_t pid) {
        char path[4200], text[256], line[32];

        (void) snprintf(path, sizeof path, "%s/cgroup.procs", directory);
        (void) snprintf(line, sizeof line, "%d\n", pid);
        for (unsigned i = 0; i < 100; i++) {
                if (fd_read_file_at(AT_FDCWD, path, text, sizeof text) >= 0 && strcmp(text, line) == 0)
                        return true;
                (void) nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        }
        return false;
}

/* The value of the first of the files (version 2, version 1) that the directory has; 0 if none. */
static uint64_t limit_in(const char *directory, const char *v2, const char *v1) {
        char path[4200], text[64];

        (void) snprintf(path, sizeof path, "%s/%s", directory, v2);
        if (fd_read_file_at(AT_FDCWD, path, text, sizeof text) >= 0)
                return strtoull(text, NULL, 10);
        (void) snprintf(path, sizeof path, "%s/%s", directory, v1);
        return fd_read_file_at(AT_FDCWD, path, text, sizeof text) >= 0 ? strtoull(text, NULL, 10) : 0;
}

static CgroupTree *tree; /* removed by the teardown if the test fails half way */
static Cgroup *cgroup;

static int remove_real(void **state) {
        cgroup_kill(cgroup);
        (void) nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* a v1 directory is in use until its last task is gone */
        cgroup = cgroup_free(cgroup);
        tree = cgroup_tree_free(tree);
        return 0;
}

static void test_real(void **state) {
        PolicyType type = {.max_memory = 32 << 20, .max_processes = 5, .max_cpu_percent = 50};
        uint64_t memory, cpu_usec;
        uint32_t n_processes;
        char name[32], directory[4096];
        int pidfd, status;

        (void) snprintf(name, sizeof name, "fused-test-%d", getpid());
        if (geteuid() != 0 || cgroup_tree_new(name, &tree) < 0)
                skip();
        assert_int_equal(cgroup_new(tree, 17, &type, &cgroup), 0);
        (void) snprintf(directory, sizeof directory, "%s", cgroup_display(cgroup));
        assert_non_null(strstr(directory, "/server-17"));
        assert_int_equal(access(directory, F_OK), 0);
        memory = limit_in(directory, "memory.max", "memory.limit_in_bytes");
        assert_true(memory == 0 /* no controller here */ || memory == 32 << 20);
        assert_int_equal(cgroup_new(tree, 17, &type, &(Cgroup *){NULL}), -EEXIST); /* an id is used once... */
        assert_int_equal(access(directory, F_OK), 0);                               /* and its first user keeps it */
        pid_t pid = child_clone(0, cgroup_birth_fd(cgroup), &pidfd);
        if (pid == 0) {
                (void) pause();
                _exit(0);
        }
        assert_true(pid > 0);
        assert_int_equal(cgroup_attach_born(cgroup, pid), 0);
        assert_true(has_process(directory, pid));
        cgroup_usage(cgroup, &memory, &n_processes, &cpu_usec);
        assert_true(n_processes <= 1); /* 0 where no hierarchy has the controller */
        cgroup_kill(cgroup);
        assert_int_equal(wait_readable(pidfd, USEC_PER_SEC), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        (void) fd_close(pidfd);
        cgroup = cgroup_free(cgroup);
        tree = cgroup_tree_free(tree);
        assert_int_equal(access(directory, F_OK), -1);
        *strrchr(directory, '/') = 0;
        assert_int_equal(access(directory, F_OK), -1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_own_path),
                cmocka_unit_test(test_directory),
                cmocka_unit_test_teardown(test_real, remove_real),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
