/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The manager's filter: refused acts, each beside an allowed neighbour, in a child that has loaded it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "manager/filter.h"

/* Runs one check per bit in a child under the filter; the exit status says which failed first. */
static int in_child(void) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return 1;
        if (manager_filter_load() < 0)
                return 2;
        if (open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES)
                return 3;
        if (syscall(SYS_openat2, AT_FDCWD, "/", NULL, 0) >= 0 || errno != EACCES)
                return 4;
        if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || errno != EACCES)
                return 5;
        static const long refused[] = {SYS_execve, SYS_fork, SYS_ptrace, SYS_mount, SYS_umount2, SYS_setuid, SYS_kill, SYS_bpf, SYS_keyctl,
                                       SYS_io_uring_setup, SYS_unshare, SYS_setns, SYS_chroot, SYS_unlink, SYS_process_vm_readv, SYS_seccomp};
        for (size_t i = 0; i < ELEMENTSOF(refused); i++)
#ifdef __SANITIZE_ADDRESS__
                if (refused[i] != SYS_ptrace && refused[i] != SYS_fork)
#endif
                        if (syscall(refused[i], 0, 0, 0, 0, 0) != -1 || errno != EPERM)
                                return 10 + (int) i;
        if (fd_send(pair[0], "x", 1, &pair[1], 1) < 0) /* descriptors travel */
                return 6;
        char c;
        int fd = -EBADF;
        size_t n = 0;
        if (fd_receive(pair[1], &c, 1, &fd, 1, &n, 0) != 1 || n != 1)
                return 7;
        if (memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING) < 0)
                return 8;
        free(malloc(10 << 20));
        return 0;
}

static void test_in_a_child(void **state) {
        pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(in_child());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_rows(void **state) {
        for (size_t i = 0; i < n_manager_filter_rows; i++)
                for (size_t k = 0; k < i; k++)
                        assert_string_not_equal(manager_filter_rows[i].name, manager_filter_rows[k].name);
}

static void test_export(void **state) {
        int fd = memfd_create("filter", MFD_CLOEXEC);
        struct stat st;

        assert_int_equal(manager_filter_export(fd), 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_true(st.st_size > 8 * 10 && st.st_size % 8 == 0);
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_in_a_child),
                cmocka_unit_test(test_rows),
                cmocka_unit_test(test_export),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
