/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The process that parses a program, once it is confined: what it needs goes, and of bpf(2) nothing else does. And its rights: CAP_BPF by
 * itself, CAP_PERFMON when it takes it. Needs root, so that what is refused is refused by the filter. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "program/confine.h"
#include "program/privilege.h"

#define COMMANDS 64 /* there are 38 so far */

typedef struct Result { /* of a child */
        int confined;
        int commands[COMMANDS]; /* negative errno */
        int wide_command;       /* one that is allowed, but for its upper half */
        int open_read, open_write, open_new, socket, fork;
        int privilege;
        bool bpf, perfmon, bpf_permitted, perfmon_permitted, other;
} Result;

static bool has(cap_t caps, cap_value_t value, cap_flag_t set) {
        cap_flag_value_t flag = CAP_CLEAR;

        return cap_get_flag(caps, value, set, &flag) == 0 && flag == CAP_SET;
}

static void look_at_rights(Result *ret) {
        cap_t caps = cap_get_proc();

        ret->bpf = has(caps, CAP_BPF, CAP_EFFECTIVE);
        ret->perfmon = has(caps, CAP_PERFMON, CAP_EFFECTIVE);
        ret->bpf_permitted = has(caps, CAP_BPF, CAP_PERMITTED);
        ret->perfmon_permitted = has(caps, CAP_PERFMON, CAP_PERMITTED);
        for (cap_value_t value = 0; value <= CAP_LAST_CAP; value++)
                if (value != CAP_BPF && value != CAP_PERFMON)
                        ret->other |= has(caps, value, CAP_EFFECTIVE) || has(caps, value, CAP_PERMITTED);
        (void) cap_free(caps);
}

static void be_confined(Result *ret) {
        ret->privilege = privilege_begin();
        ret->confined = confine_loader();
        for (unsigned command = 0; command < COMMANDS; command++) {
                union bpf_attr attr;
                memset(&attr, 0xff, sizeof attr); /* nothing that could succeed */
                ret->commands[command] = RET_NERRNO((int) syscall(SYS_bpf, command, &attr, sizeof attr));
        }
        ret->wide_command = RET_NERRNO((int) syscall(SYS_bpf, 1UL << 32 | BPF_PROG_LOAD, NULL, 0));
        ret->open_read = RET_NERRNO(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
        ret->open_write = RET_NERRNO(open("/dev/null", O_RDWR | O_CLOEXEC));
        ret->open_new = RET_NERRNO(open("/tmp/test-program-confine.none", O_RDONLY | O_CREAT | O_CLOEXEC, 0600));
        ret->socket = RET_NERRNO(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        ret->fork = RET_NERRNO(fork());
        if (ret->fork == 0)
                _exit(0);
        look_at_rights(ret);
}

static Result result;

static int set_up(void **state) {
        Result *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        int status;
        pid_t pid;

        assert_true(shared != MAP_FAILED);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                be_confined(shared);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        result = *shared;
        assert_int_equal(munmap(shared, sizeof *shared), 0);
        return 0;
}

static void test_commands(void **state) {
        static const enum bpf_cmd allowed[] = {BPF_MAP_CREATE, BPF_MAP_UPDATE_ELEM, BPF_PROG_LOAD, BPF_PROG_TEST_RUN, BPF_OBJ_GET_INFO_BY_FD,
                                               BPF_BTF_LOAD, BPF_MAP_FREEZE};

        assert_int_equal(result.confined, 0);
        for (unsigned command = 0; command < COMMANDS; command++) {
                bool is_allowed = false;
                for (size_t i = 0; i < ELEMENTSOF(allowed); i++)
                        is_allowed |= allowed[i] == command;
                int got = result.commands[command], refused = command == BPF_LINK_CREATE ? -EBADF : -EPERM;
                if (got >= 0 || (is_allowed ? got == -EPERM : got != refused))
                        fail_msg("command %u: %s", command, strerror(-got));
        }
        assert_int_equal(result.wide_command, -EPERM);
}

static void test_calls(void **state) {
        assert_true(result.open_read >= 0);
        assert_int_equal(result.open_write, -EPERM);
        assert_int_equal(result.open_new, -EPERM);
        assert_int_equal(result.socket, -EPERM);
        assert_int_equal(result.fork, -EPERM);
}

static void test_rights(void **state) {
        assert_int_equal(result.privilege, 0);
        assert_true(result.bpf && result.bpf_permitted && result.perfmon_permitted);
        assert_false(result.perfmon);
        assert_false(result.other);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_commands),
                cmocka_unit_test(test_calls),
                cmocka_unit_test(test_rights),
        };

        if (geteuid() != 0)
                return 77;
        return cmocka_run_group_tests(tests, set_up, NULL);
}
