/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the broker may do, and all that it starts: refused acts, each beside an allowed neighbour, in a child that has given up the rest. Needs
 * root. */

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "broker/privilege.h"

#define SOMEBODY 1234U

static char directory[] = "/tmp/test-broker-privilege.XXXXXX";

/* ---- acts; each returns 0 or a negative errno --------------------------------------------------------------------------- */

static int make_device(void) {
        return RET_NERRNO(mknod("device", S_IFCHR | 0600, makedev(1, 3)));
}
static int make_fifo(void) {
        return RET_NERRNO(mknod("fifo", S_IFIFO | 0600, 0));
}
static int change_mode_of_theirs(void) {
        return RET_NERRNO(chmod("theirs", 0644));
}
static int change_mode_of_ours(void) {
        return RET_NERRNO(chmod("ours", 0644));
}
static int read_theirs(void) { /* device nodes, for people who may */
        _cleanup_fd_ int fd = RET_NERRNO(open("theirs", O_RDWR | O_CLOEXEC));

        return MIN_OF(fd, 0);
}
static int be_nicer(void) {
        return RET_NERRNO(setpriority(PRIO_PROCESS, 0, -5));
}
static int be_less_nice(void) {
        return RET_NERRNO(setpriority(PRIO_PROCESS, 0, 19));
}
static int take_module_right(void) {
        cap_t caps = cap_get_proc();
        const cap_value_t value = CAP_SYS_MODULE;
        int r = cap_set_flag(caps, CAP_PERMITTED, 1, &value, CAP_SET) < 0 ? -errno : RET_NERRNO(cap_set_proc(caps));

        (void) cap_free(caps);
        return r;
}
static int drop_admin_right(void) {
        cap_t caps = cap_get_proc();
        const cap_value_t value = CAP_SYS_ADMIN;
        int r = cap_set_flag(caps, CAP_EFFECTIVE, 1, &value, CAP_CLEAR) < 0 ? -errno : RET_NERRNO(cap_set_proc(caps));

        (void) cap_free(caps);
        return r;
}
static int trace(void) {
        return RET_NERRNO((int) syscall(SYS_ptrace, 0, 0, 0, 0));
}
static int read_memory(void) {
        char from = 'x', to = 0;
        const struct iovec a = {&to, 1}, b = {&from, 1};

        return MIN_OF(RET_NERRNO((int) process_vm_readv(getpid(), &a, 1, &b, 1, 0)), 0);
}
static int set_up_ring(void) {
        return RET_NERRNO((int) syscall(SYS_io_uring_setup, 1, NULL));
}
static int set_up_aio(void) {
        unsigned long context = 0;

        return RET_NERRNO((int) syscall(SYS_io_setup, 1, &context));
}
static int load_module(void) {
        return RET_NERRNO((int) syscall(SYS_init_module, "", 0, ""));
}
static int new_namespace(void) {
        return RET_NERRNO(unshare(CLONE_NEWNS));
}
static int use_keys(void) {
        return RET_NERRNO((int) syscall(SYS_keyctl, 0, 0, 0, 0, 0));
}
static int set_clock(void) {
        return RET_NERRNO((int) syscall(SYS_clock_settime, 0, NULL));
}
static int open_by_handle(void) {
        return RET_NERRNO((int) syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
}
static int watch_performance(void) {
        return RET_NERRNO((int) syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
}
static int new_kernel(void) {
        return RET_NERRNO((int) syscall(SYS_kexec_load, 0, 0, NULL, 0));
}
static int start_over(void) {
        return RET_NERRNO((int) syscall(SYS_reboot, 0, 0, 0, NULL)); /* without its magic numbers it does nothing anyway */
}
static int become_somebody(void) {
        return RET_NERRNO(setresuid(SOMEBODY, SOMEBODY, SOMEBODY));
}

static const struct {
        const char *name;
        int (*act)(void);
        int expected;
} rows[] = {
        {"make a device", make_device, -EPERM},
        {"make a fifo", make_fifo, 0},
        {"change the mode of somebody's file", change_mode_of_theirs, -EPERM},
        {"change the mode of one's own", change_mode_of_ours, 0},
        {"open somebody's file", read_theirs, 0},
        {"be favoured", be_nicer, -EACCES},
        {"be put back", be_less_nice, 0},
        {"take a right", take_module_right, -EPERM},
        {"trace", trace, -ENOSYS},
        {"read memory as the agent does", read_memory, 0},
        {"set up a ring", set_up_ring, -ENOSYS},
        {"set up asynchronous I/O", set_up_aio, 0},
        {"load a module", load_module, -ENOSYS},
        {"use keys", use_keys, -ENOSYS},
        {"set the clock", set_clock, -ENOSYS},
        {"open by handle", open_by_handle, -ENOSYS},
        {"watch performance", watch_performance, -ENOSYS},
        {"load a kernel", new_kernel, -ENOSYS},
        {"start over", start_over, -ENOSYS},
        {"make a namespace", new_namespace, 0},
        {"drop a right", drop_admin_right, 0}, /* the rest is with less */
        {"make a namespace without it", new_namespace, -EPERM},
        {"become somebody", become_somebody, 0},
        {"open somebody else's file then", read_theirs, 0}, /* it is their own by now */
};

typedef struct Result { /* of the child */
        int dropped;
        int got[ELEMENTSOF(rows)];
        bool bound[CAP_LAST_CAP + 1];
        int no_new_privileges;
} Result;
static Result *result;

static int make_file(const char *name, uid_t owner) {
        _cleanup_fd_ int fd = RET_NERRNO(open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600));

        return fd < 0 ? fd : RET_NERRNO(fchown(fd, owner, owner));
}

static int set_up(void **state) {
        int status;

        result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(result != MAP_FAILED);
        assert_non_null(mkdtemp(directory));
        assert_int_equal(chmod(directory, 0755), 0);
        assert_int_equal(chdir(directory), 0);
        assert_int_equal(make_file("ours", 0), 0);
        assert_int_equal(make_file("theirs", SOMEBODY), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                result->dropped = broker_drop_privilege();
                for (cap_value_t value = 0; value <= CAP_LAST_CAP; value++)
                        result->bound[value] = prctl(PR_CAPBSET_READ, value, 0, 0, 0) == 1;
                result->no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
                for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                        result->got[i] = rows[i].act();
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        return 0;
}

static int tear_down(void **state) {
        static const char *const names[] = {"ours", "theirs", "fifo", "device"};

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                (void) unlink(names[i]);
        assert_int_equal(chdir("/"), 0);
        assert_int_equal(rmdir(directory), 0);
        return munmap(result, sizeof *result);
}

static void test_acts(void **state) {
        assert_int_equal(result->dropped, 0);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (result->got[i] != rows[i].expected)
                        fail_msg("%s: %d, and not %d", rows[i].name, result->got[i], rows[i].expected);
}

/* Nothing that is started later has more, whatever its file says. */
static void test_bounds(void **state) {
        static const cap_value_t kept[] = {CAP_SYS_ADMIN, CAP_SETUID, CAP_DAC_OVERRIDE, CAP_BPF};
        static const cap_value_t gone[] = {CAP_SYS_MODULE, CAP_NET_ADMIN, CAP_MKNOD, CAP_SYS_TIME, CAP_SYS_BOOT, CAP_FOWNER, CAP_DAC_READ_SEARCH};

        assert_int_equal(result->no_new_privileges, 1);
        for (size_t i = 0; i < ELEMENTSOF(kept); i++)
                assert_true(result->bound[kept[i]]);
        for (size_t i = 0; i < ELEMENTSOF(gone); i++)
                assert_false(result->bound[gone[i]]);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_acts), cmocka_unit_test(test_bounds)};

        if (geteuid() != 0)
                return 77;
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
