/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mount itself over a faked mount API: what the kernel is told, that every call may fail without a descriptor being
 * left, and that nosuid and nodev are there unless an administrator took them away. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../fake/fake-mount.h"
#include "base/fd.h"
#include "broker/worker.h"

int host_connection_waiting(const Host *host, uint32_t connection, uint32_t *ret_waiting) {
        static unsigned calls;
        assert_int_equal(connection, 42);
        *ret_waiting = ++calls % 3; /* 1, 2, 0: answered at the third look */
        return 0;
}

static const PolicyType type = {.name = "demo"};

static int run(uint32_t options, bool sync_init, bool detached, int *ret_fd) {
        _cleanup_fd_ int fuse = memfd_create("fuse", 0), mountpoint = detached ? -EBADF : memfd_create("point", 0);
        Host host = HOST_NULL;
        WorkerJob job = {.kind = WORKER_MOUNT, .host = &host, .type = &type, .mountpoint_fd = mountpoint};
        WorkerGo go = {.options = options, .max_read = 65536, .fsname = "image"};
        WorkerReport report = {.sync_init = sync_init}, said;
        int pair[2], r;

        *ret_fd = -EBADF;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        r = worker_mount(&job, &go, fuse, pair[0], &report, ret_fd);
        /* the superblock is reported before FUSE_INIT is waited for, and before the mount is attached */
        if (recv(pair[1], &said, sizeof said, MSG_DONTWAIT) == sizeof said) {
                assert_int_equal(said.kind, WORKER_REPORT_MOUNTED);
                assert_int_equal(said.connection, 42);
        } else
                assert_true(r < 0 && sync_init);
        assert_int_equal(recv(pair[1], &said, sizeof said, MSG_DONTWAIT), -1);
        fd_close_many(pair, 2);
        return r;
}

static void test_order(void **state) {
        int fd;

        fake_mount_reset();
        assert_int_equal(run(POLICY_OPTION_RO | POLICY_OPTION_ALLOW_OTHER | POLICY_OPTION_DEFAULT_PERMISSIONS |
                                     POLICY_OPTION_MAX_READ,
                             true, false, &fd),
                         0);
        assert_int_equal(fd, -EBADF);
        assert_ptr_equal(strstr(fake_mount.log, "statx\nfsopen fuse\nsource=image\nsubtype=demo\nfd="), fake_mount.log);
        assert_non_null(strstr(fake_mount.log, "rootmode=40000\n"));
        assert_non_null(strstr(fake_mount.log, "flag allow_other\n"));
        assert_non_null(strstr(fake_mount.log, "flag default_permissions\n"));
        assert_non_null(strstr(fake_mount.log, "max_read=65536\n"));
        assert_non_null(strstr(fake_mount.log, "create\nfsmount\n"));
        assert_non_null(strstr(fake_mount.log, "move_mount '' ''\n")); /* by descriptors alone */
        assert_true(fake_mount.attributes & MOUNT_ATTR_NOSUID);
        assert_true(fake_mount.attributes & MOUNT_ATTR_NODEV);
        assert_true(fake_mount.attributes & MOUNT_ATTR_RDONLY);
}

static void test_suid_and_dev_are_the_administrators(void **state) {
        int fd;

        fake_mount_reset();
        assert_int_equal(run(0, true, false, &fd), 0);
        assert_int_equal(fake_mount.attributes & (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
        fake_mount_reset();
        assert_int_equal(run(POLICY_OPTION_SUID, true, false, &fd), 0);
        assert_int_equal(fake_mount.attributes & (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV), MOUNT_ATTR_NODEV);
}

static void test_detached_is_handed_over(void **state) {
        int fd;

        fake_mount_reset();
        assert_int_equal(run(0, true, true, &fd), 0);
        assert_true(fd >= 0);
        assert_int_equal(fake_mount.n_calls[FAKE_MOVE_MOUNT], 0);
        fd_close(fd);
}

static void test_waits_for_init_without_sync_init(void **state) {
        int fd;

        fake_mount_reset();
        assert_int_equal(run(0, false, false, &fd), 0);
        assert_int_equal(fake_mount.n_calls[FAKE_MOVE_MOUNT], 1);
}

static void test_every_call_may_fail(void **state) {
        unsigned n_calls, seen[_FAKE_CALL_MAX] = {0};
        int fd;

        fake_mount_reset();
        assert_int_equal(run(POLICY_OPTION_ALLOW_OTHER, true, false, &fd), 0);
        n_calls = fake_mount.n_total;
        assert_true(n_calls >= 12);
        for (unsigned i = 1; i <= n_calls; i++) {
                size_t before = count_fds();
                fake_mount_reset();
                fake_mount.fail_at = i;
                fake_mount.fail_errno = ENOMEM;
                assert_int_equal(run(POLICY_OPTION_ALLOW_OTHER, true, false, &fd), -ENOMEM);
                assert_int_equal(fake_mount.n_total, i); /* nothing is tried after a failure */
                assert_int_equal(fd, -EBADF);
                assert_int_equal(count_fds(), before);
                seen[fake_mount.failed]++;
        }
        assert_true(seen[FAKE_FSOPEN] && seen[FAKE_FSCONFIG] && seen[FAKE_FSMOUNT] && seen[FAKE_MOVE_MOUNT]);
}

static void test_format_of_the_mount_point(void **state) {
        _cleanup_fd_ int mountpoint = memfd_create("point", 0);
        Host host = HOST_NULL;
        WorkerJob job = {.kind = WORKER_MOUNT, .host = &host, .type = &type, .mountpoint_fd = mountpoint};
        WorkerGo go = {.expected_format = S_IFDIR};
        WorkerReport report = {.sync_init = true};
        int fd = -EBADF, pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        fake_mount_reset();
        fake_mount.statx_mode = S_IFREG | 0644;
        assert_int_equal(worker_mount(&job, &go, 9, pair[0], &report, &fd), -ENOTDIR);
        go.expected_format = S_IFREG;
        assert_int_equal(worker_mount(&job, &go, 9, pair[0], &report, &fd), 0);
        assert_non_null(strstr(fake_mount.log, "rootmode=100000\n"));
        fake_mount.statx_mode = S_IFDIR | 0755;
        assert_int_equal(worker_mount(&job, &go, 9, pair[0], &report, &fd), -EISDIR);
        fd_close_many(pair, 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_suid_and_dev_are_the_administrators),
                cmocka_unit_test(test_detached_is_handed_over),
                cmocka_unit_test(test_waits_for_init_without_sync_init),
                cmocka_unit_test(test_every_call_may_fail),
                cmocka_unit_test(test_format_of_the_mount_point),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
