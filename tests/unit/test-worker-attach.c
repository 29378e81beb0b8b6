/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Struct_ops on the kernel that is there. It has no fuse-iomap, but struct_ops of another type (tcp_congestion_ops): an object of that kind
 * is loaded by the code that loads mapping programs, in a process confined as fused-program is, and bound by the worker that binds them. Only
 * what the kernel does with the FUSE device then is not seen here. Needs root. Nothing is left behind, not even when it fails: a link
 * ends with its descriptor. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/kernel.h"
#include "broker/worker.h"
#include "load.h"
#include "program/confine.h"

#define AVAILABLE "/proc/sys/net/ipv4/tcp_available_congestion_control"
#define ONLY_CAP_BPF "CapEff:\t0000008000000000"

static char directory[] = "/tmp/test-worker-attach.XXXXXX";
static uint8_t elf[1 << 20];
static size_t elf_size;
static char name[16]; /* of what TCP would call it: another one for each process that runs this */
static int mounted_fd = -EBADF;
static pid_t waiting; /* a worker that waits for ever, whatever comes of its test */

/* ---- loading, as fused-program ------------------------------------------------------------------------------------------ */

static void run_loader(int fd, bool finish) {
        static const cap_value_t kept[] = {CAP_BPF, CAP_PERFMON};
        Loaded loaded = LOADED_NULL;
        int r;

        r = worker_become_nobody(kept, ELEMENTSOF(kept));
        if (r >= 0)
                r = confine_loader();
        if (r >= 0)
                r = load_open(elf, elf_size, LOAD_FORM, VARIANT_B5, &loaded);
        if (r >= 0)
                r = load_load(&loaded, NULL, 0);
        if (r >= 0 && finish)
                r = load_finish_ops(&loaded);
        (void) fd_send(fd, &r, sizeof r, &loaded.fd, r < 0 ? 0 : 1);
        load_done(&loaded);
        _exit(0);
}

/* The struct_ops map; its process is gone, so that nothing else holds it. */
static int load_ops(bool finish) {
        int pair[2], ops = -EBADF, r = -EIO, status;
        size_t n = 0;

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                run_loader(pair[1], finish);
        (void) close(pair[1]);
        assert_int_equal(fd_receive(pair[0], &r, sizeof r, &ops, 1, &n, 0), sizeof r);
        assert_int_equal(r, 0);
        assert_int_equal(n, 1);
        (void) close(pair[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        return ops;
}

static bool is_available(void) {
        char text[4096] = "";
        _cleanup_fd_ int fd = open(AVAILABLE, O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
        return strstr(text, name) != NULL;
}

/* A link's end takes a moment. */
static void assert_gone(void) {
        for (unsigned i = 0; i < 300 && is_available(); i++)
                (void) usleep(10000);
        assert_false(is_available());
}

/* ---- binding, by the worker --------------------------------------------------------------------------------------------- */

static pid_t start_worker(int fuse_fd, int ops_fd, int *ret_socket) {
        const Host host = HOST_NULL;
        const WorkerJob job = {.kind = WORKER_ATTACH, .host = &host, .fuse_fd = fuse_fd, .ops_fd = ops_fd};
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                worker_attach(&job, pair[1]);
                _exit(0);
        }
        (void) close(pair[1]);
        *ret_socket = pair[0];
        return pid;
}

static int attach(int fuse_fd, int ops_fd, int *ret_link) {
        WorkerReport report = {0};
        int fd, link = -EBADF, status;
        size_t n = 0;
        pid_t pid = start_worker(fuse_fd, ops_fd, &fd);

        assert_int_equal(fd_receive(fd, &report, sizeof report, &link, 1, &n, 0), sizeof report);
        (void) close(fd);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0); /* not by its filter */
        assert_int_equal(report.kind, WORKER_REPORT_DONE);
        assert_int_equal(n, report.error >= 0);
        if (report.error >= 0)
                *ret_link = link;
        return report.error;
}

static void test_link(void **state) {
        int ops = load_ops(/* finish= */ true), link = -EBADF, second = -EBADF;

        assert_false(is_available()); /* having a value is not being bound */
        assert_int_equal(attach(mounted_fd, ops, &link), 0);
        assert_true(is_available());
        assert_int_equal(attach(mounted_fd, ops, &second), -EEXIST);
        (void) close(ops);
        assert_true(is_available()); /* the link has it */
        (void) close(link);
        assert_gone();
}

static void test_no_link(void **state) {
        int ops = load_ops(true), empty = load_ops(/* finish= */ false), link = -EBADF;
        int fresh = open("/dev/fuse", O_RDWR | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);

        assert_int_equal(attach(fresh, ops, &link), -ENOTCONN); /* not mounted */
        assert_int_equal(attach(mounted_fd, empty, &link), -EINVAL); /* has no value */
        assert_int_equal(attach(mounted_fd, null, &link), -EINVAL);  /* no map */
        assert_int_equal(attach(-EBADF, ops, &link), -EBADF);
        assert_false(is_available());
        (void) close(ops);
        (void) close(empty);
        (void) close(fresh);
        (void) close(null);
}

/* A device that is to be mounted with a synchronous FUSE_INIT is waited for, where that can be interrupted: meanwhile one sees what the worker is. */
static void test_waits_confined(void **state) {
        int fresh = open("/dev/fuse", O_RDWR | O_CLOEXEC), fd, status;
        char path[64], text[8192] = "";
        pid_t pid;

        if (ioctl(fresh, FUSE_DEV_IOC_SYNC_INIT) < 0) {
                print_message("this kernel has no synchronous FUSE_INIT\n");
                (void) close(fresh);
                return;
        }
        int ops = load_ops(true);
        waiting = pid = start_worker(fresh, ops, &fd);
        (void) snprintf(path, sizeof path, "/proc/%d/status", pid);
        for (unsigned i = 0; i < 300 && !strstr(text, "Seccomp:\t2"); i++) {
                (void) usleep(10000);
                _cleanup_fd_ int proc = open(path, O_RDONLY | O_CLOEXEC);
                ssize_t n = read(proc, text, sizeof text - 1);
                text[MAX_OF(n, (ssize_t) 0)] = 0;
        }
        assert_non_null(strstr(text, "Seccomp:\t2"));
        assert_non_null(strstr(text, "Uid:\t65534\t65534\t65534\t65534"));
        assert_non_null(strstr(text, "Gid:\t65534\t65534\t65534\t65534"));
        assert_non_null(strstr(text, ONLY_CAP_BPF));
        assert_non_null(strstr(text, "NoNewPrivs:\t1"));
        (void) usleep(100000);
        assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
        assert_false(is_available());
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid); /* or the test's time is up */
        waiting = 0;
        assert_false(is_available());
        (void) close(fd);
        (void) close(ops);
        (void) close(fresh);
}

/* ---- the world ------------------------------------------------------------------------------------------------------ */

static int set_up(void **state) {
        char options[64], *place;

        assert_int_equal(unshare(CLONE_NEWNS), 0);
        assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        assert_non_null(mkdtemp(directory));
        mounted_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        (void) snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", mounted_fd);
        assert_int_equal(mount("test", directory, "fuse", 0, options), 0);
        (void) snprintf(name, sizeof name, "fused_%05d", getpid() % 100000);
        place = memmem(elf, elf_size, "fused_00000", 11);
        assert_non_null(place);
        memcpy(place, name, 11);
        return 0;
}

static int tear_down(void **state) {
        if (waiting > 0) { /* not reaped: the number is its own */
                (void) kill(waiting, SIGKILL);
                (void) waitpid(waiting, NULL, 0);
        }
        (void) umount2(directory, MNT_DETACH);
        mounted_fd = fd_close(mounted_fd);
        (void) rmdir(directory);
        return 0;
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_link),
                cmocka_unit_test(test_no_link),
                cmocka_unit_test(test_waits_confined),
        };
        _cleanup_fd_ int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -EBADF;
        ssize_t n = fd >= 0 ? read(fd, elf, sizeof elf) : -1;

        if (geteuid() != 0)
                return 77;
        if (n <= 0)
                return 1;
        elf_size = (size_t) n;
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
