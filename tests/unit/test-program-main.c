/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-program, from its main() on: before it reads the first byte of an object it has given up its rights and is confined, whoever has called
 * it. Needs root, so that what is refused is refused by that. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "program/trust.h"

int program_main(int argc, char **argv); /* its main() */

typedef struct Seen { /* shared with the child */
        bool reads;      /* it has come so far */
        int filter;      /* PR_GET_SECCOMP: 2, if there is one */
        int raise;       /* of a capability that it has had */
        int open_write, open_read, socket;
} Seen;
static Seen *seen;

int __wrap_trust_read(int fd, size_t max, void **ret, size_t *ret_size, Report *report);
int __wrap_trust_read(int fd, size_t max, void **ret, size_t *ret_size, Report *report) {
        char text[4096] = "";
        const char *filter;

        seen->open_read = RET_NERRNO(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
        if (seen->open_read >= 0 && read(seen->open_read, text, sizeof text - 1) > 0 && (filter = strstr(text, "Seccomp:\t")))
                seen->filter = filter[9] - '0';
        seen->open_write = RET_NERRNO(open("/dev/null", O_RDWR | O_CLOEXEC));
        seen->socket = RET_NERRNO(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        seen->raise = strstr(text, "CapPrm:\t000000c000000000\n") ? -EPERM : 0;
        seen->reads = true;
        return -ENODATA;
}

static int set_up(void **state) {
        seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(seen != MAP_FAILED);
        memset(seen, 0, sizeof *seen);
        return 0;
}

static int tear_down(void **state) {
        return munmap(seen, sizeof *seen);
}

static void run(int argc, const char **argv) {
        int status, pair[2];
        pid_t pid;

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                (void) dup3(open("/dev/null", O_RDWR | O_CLOEXEC), STDOUT_FILENO, 0);
                (void) dup3(STDOUT_FILENO, STDERR_FILENO, 0);
                if (dup3(fcntl(pair[1], F_DUPFD_CLOEXEC, 16), 4, O_CLOEXEC) < 0)
                        _exit(1);
                (void) program_main(argc, (char **) (uintptr_t) argv);
                _exit(0);
        }
        fd_close_many(pair, 2);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static void expect_confined(void) {
        assert_true(seen->reads);
        assert_int_equal(seen->filter, 2);
        assert_int_equal(seen->raise, -EPERM);
        assert_true(seen->open_read >= 0); /* BTF of the kernel is read that way */
        assert_int_equal(seen->open_write, -EPERM);
        assert_int_equal(seen->socket, -EPERM);
}

static void test_load(void **state) {
        const char *words[] = {"fused-program", "load", "--memory", "1048576", "--quota", "1048576", NULL};

        run((int) ELEMENTSOF(words) - 1, words);
        expect_confined();
}

static void test_verify(void **state) {
        const char *words[] = {"fused-program", "verify", "/dev/null", NULL};

        run((int) ELEMENTSOF(words) - 1, words);
        expect_confined();
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_load, set_up, tear_down),
                                           cmocka_unit_test_setup_teardown(test_verify, set_up, tear_down)};

        if (geteuid() != 0)
                return 77;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
