/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The agent at work: slots by path, signals and exit statuses, with slot-probe as the server. Needs root.
 * Usage: test-slots SLOT-PROBE */

#include <err.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"

static unsigned wrong;
static char output[HARNESS_OUTPUT_MAX];

static void expect(bool ok, const char *what, int status) {
        printf("%s %s (status %#x)\n%s", ok ? "ok" : "WRONG", what, status, ok ? "" : output);
        wrong += !ok;
}

static int make_file(const char *content, off_t size) {
        char path[] = "/tmp/fused-slot-XXXXXX";
        int fd = mkostemp(path, O_CLOEXEC);

        if (fd < 0 || unlink(path) < 0 || ftruncate(fd, size) < 0 || pwrite(fd, content, strlen(content), 0) < 0)
                err(1, "%s", path);
        return fd;
}

/* A loop device over fd; goes away with the last descriptor. -1 where there are none. */
static int make_loop(int backing_fd) {
        _cleanup_fd_ int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        struct loop_config config = {.fd = (uint32_t) backing_fd, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
        char path[32];

        for (unsigned tries = 0; control_fd >= 0 && tries < 5; tries++) {
                int number = ioctl(control_fd, LOOP_CTL_GET_FREE);
                if (number < 0)
                        return -EBADF;
                (void) snprintf(path, sizeof path, "/dev/loop%d", number);
                int fd = open(path, O_RDWR | O_CLOEXEC);
                if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0)
                        return fd;
                fd_close(fd); /* somebody else was faster */
        }
        return -EBADF;
}

static void test_checks(const char *probe, HarnessFilter filter, const char *name) {
        HarnessRun run;
        _cleanup_fd_ int source = make_file("0123456789", 8192), readonly = make_file("r", 1), reader = -EBADF;
        _cleanup_fd_ int backing = make_file("", 1 << 20), device = -EBADF;
        char path[64];

        (void) snprintf(path, sizeof path, "/proc/self/fd/%d", readonly);
        reader = open(path, O_RDONLY | O_CLOEXEC);
        device = make_loop(backing);
        if (device < 0)
                printf("no loop devices here: without the checks of one\n");
        harness_begin(&run, probe, POLICY_HAND_OVER_FD, filter);
        harness_slot(&run, "source", source, true, false);
        harness_slot(&run, "readonly", reader, false, false);
        harness_slot(&run, "empty", -EBADF, false, false);
        if (device >= 0)
                harness_slot(&run, "device", device, true, false);
        harness_argument(&run, "checks");
        harness_argument(&run, device >= 0 ? "device" : "none");
        harness_start(&run);
        int status = harness_finish(&run, output, sizeof output, 30);
        expect(status == 0 && strstr(output, " 0 failed"), name, status);
        harness_end(&run);
}

/* A detached copy of the mount at a new directory with a file in it, as the worker makes it for a tree slot. */
static int make_tree(char *path) {
        int fd, file_fd;

        if (!mkdtemp(path) || chmod(path, 0777) < 0)
                err(1, "%s", path);
        fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        file_fd = openat(fd, "old", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0 || file_fd < 0 || fchmod(file_fd, 0666) < 0)
                err(1, "%s", path);
        (void) close(file_fd);
        return fd;
}

static bool has_landlock(void) {
        return syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* version */) > 0;
}

static void test_trees(const char *probe) {
        char paths[3][32] = {"/tmp/fused-tree-a-XXXXXX", "/tmp/fused-tree-b-XXXXXX", "/tmp/fused-tree-c-XXXXXX"};
        HarnessRun run;
        int fds[3], r = 0;

        if (!has_landlock()) {
                printf("no Landlock here: without the checks of trees\n");
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = make_tree(paths[i]);
        harness_begin(&run, probe, POLICY_HAND_OVER_SERVICE, HARNESS_FILTER_OPEN);
        harness_slot(&run, "source", fds[0], true, true);
        harness_slot(&run, "readonly", fds[1], false, true);
        harness_argument(&run, "trees");
        harness_start(&run);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(fds); i++)
                r = fd_send(run.far_channel_fd, "x", 1, &fds[i], 1);
        int status = harness_finish(&run, output, sizeof output, 30);
        expect(r == 0 && status == 0 && strstr(output, " 0 failed"), "trees, and nothing beside them", status);
        harness_end(&run);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                (void) unlinkat(fds[i], "old", 0);
                (void) fd_close(fds[i]);
                (void) rmdir(paths[i]);
        }
}

static void start_mode(HarnessRun *run, const char *probe, const char *mode) {
        harness_begin(run, probe, POLICY_HAND_OVER_FD, HARNESS_FILTER_OPEN);
        harness_argument(run, mode);
        harness_start(run);
}

static void test_exit(const char *probe) {
        HarnessRun run;

        start_mode(&run, probe, "exit");
        int status = harness_finish(&run, output, sizeof output, 10);
        expect(WIFEXITED(status) && WEXITSTATUS(status) == 7, "the server's exit status is the agent's", status);
        harness_end(&run);
}

static void test_crash(const char *probe) {
        HarnessRun run;

        start_mode(&run, probe, "crash");
        int status = harness_finish(&run, output, sizeof output, 10);
        expect(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGABRT &&
                       strstr(output, "fused-agent: server killed by signal 6\n"), "a crash is told", status);
        harness_end(&run);
}

static void test_terminate(const char *probe) {
        HarnessRun run;
        char line[16] = "";

        start_mode(&run, probe, "wait");
        if (read(run.output_fd, line, 8) != 8 || strcmp(line, "waiting\n") != 0)
                errx(1, "the server did not start: %s", line);
        (void) kill(run.pid, SIGTERM);
        int status = harness_finish(&run, output, sizeof output, 10);
        expect(WIFEXITED(status) && WEXITSTATUS(status) == 42, "SIGTERM goes on to the server", status);
        harness_end(&run);
}

static void test_kill(const char *probe) {
        HarnessRun run;
        char line[16] = "";

        start_mode(&run, probe, "wait");
        if (read(run.output_fd, line, 8) != 8)
                errx(1, "the server did not start");
        (void) kill(run.pid, SIGKILL);
        int status = harness_finish(&run, output, sizeof output, 10); /* its end of file needs the server's death */
        expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the server ends with the agent", status);
        harness_end(&run);
}

/* The manager has its own way in: started here as the broker would, by a process that then dies. */
static void start_manager(const char *probe, int output_fd, int report_fd) {
        const char *const arguments[] = {"manager", "identity", NULL}, *const files[] = {probe};
        SpawnManager request = {.program = probe, .arguments = arguments, .uid = HARNESS_UID, .gid = HARNESS_UID + 1, .n_fds = 2};
        int fds[] = {output_fd, report_fd}, pidfd;
        pid_t pid;
        int r;

        request.fds = fds;
        request.host_ns_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        r = sandbox_root_new(files, 1, NULL, 0, &request.root_ns_fd);
        if (r >= 0 && dup2(output_fd, STDOUT_FILENO) == STDOUT_FILENO)
                r = spawn_manager(&request, &pid, &pidfd);
        if (r < 0)
                _exit(1);
        (void) pause(); /* until the test kills us */
        _exit(0);
}

static void test_manager(const char *probe) {
        char expected[256];
        int pair[2], status;
        ssize_t n;
        pid_t broker;

        if (pipe2(pair, O_CLOEXEC) < 0)
                err(1, "pipe2");
        broker = fork();
        if (broker == 0)
                start_manager(probe, pair[1], pair[0]);
        (void) close(pair[1]);
        n = read(pair[0], output, sizeof output - 1);
        output[n > 0 ? n : 0] = 0;
        (void) snprintf(expected, sizeof expected,
                        "uid=%u gid=%u groups=0 capabilities=0 no_new_privs=1 leader=1 etc=0 interfaces=1 fds=0,1,2,3,4, root=1\n",
                        HARNESS_UID, HARNESS_UID + 1);
        (void) kill(broker, SIGKILL);
        (void) waitpid(broker, &status, 0);
        expect(strcmp(output, expected) == 0, "the manager has nothing but what it is given", 0);
        /* It holds both ends of the pipe: end of file comes with its death, which comes with the broker's. */
        struct pollfd item = {.fd = pair[0], .events = POLLIN};
        expect(poll(&item, 1, 5000) == 1 && read(pair[0], output, 1) == 0, "the manager ends with the broker", status);
        (void) close(pair[0]);
}

static void test_missing_program(void) {
        HarnessRun run;

        harness_begin(&run, "/usr/bin/env", POLICY_HAND_OVER_SERVICE, HARNESS_FILTER_OPEN);
        run.table->type.program = run.table->strings_used;
        run.table->strings_used += (uint32_t) snprintf(run.table->strings + run.table->strings_used, 64, "/no/such/program") + 1;
        harness_start(&run);
        int status = harness_finish(&run, output, sizeof output, 10);
        expect(WIFEXITED(status) && WEXITSTATUS(status) == 127 && strstr(output, "/no/such/program"),
               "a program that is not there is named", status);
        harness_end(&run);
}

int main(int argc, char **argv) {
        if (argc != 2)
                errx(2, "usage: test-slots SLOT-PROBE");
        harness_need_root();
        test_checks(argv[1], HARNESS_FILTER_OPEN, "slots by path");
        test_trees(argv[1]);
        test_exit(argv[1]);
        test_crash(argv[1]);
        test_terminate(argv[1]);
        test_kill(argv[1]);
        test_missing_program();
        test_manager(argv[1]);
        if (getenv("FUSED_POLICY"))
                test_checks(argv[1], HARNESS_FILTER_SHIPPED, "slots by path, with the shipped filter");
        return wrong > 0;
}
