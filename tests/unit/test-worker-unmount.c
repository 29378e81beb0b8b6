/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unmounting by identity, over a faked mount API: nothing is unmounted unless it is our mount at its place. The fake statx
 * says that everything is on mount 4711; the kernel's own statmount and mountinfo know no mount of the numbers used here. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../fake/fake-mount.h"
#include "base/fd.h"
#include "broker/worker.h"

/* Not faked here: the real one is not linked either. */
int host_connection_waiting(const Host *host, uint32_t connection, uint32_t *ret_waiting) {
        return -EOPNOTSUPP;
}

int host_mount_id_of_fd(const Host *host, int fd, uint64_t *ret) {
        return -EOPNOTSUPP;
}

static int run(uint64_t mount_id, bool unique, bool lazy, uint64_t ns_inode, uint64_t ns_id) {
        _cleanup_fd_ int mountpoint = memfd_create("point", MFD_CLOEXEC), proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        Host host = HOST_NULL;
        WorkerJob job = {
                .kind = WORKER_UNMOUNT, .host = &host, .mountpoint_fd = mountpoint, .owner_fd = -EBADF,
                .mount_ns_inode = ns_inode, .mount_ns_id = ns_id,
                .kernel_mount_id = mount_id, .mount_id_unique = unique, .lazy = lazy,
        };

        host.proc_fd = proc;
        return worker_unmount(&job);
}

static void test_gone_already(void **state) {
        fake_mount_reset();
        assert_int_equal(run(0x7fffffffffffULL, true, false, 0, 0), 0); /* no such mount: nothing to do, and nothing done */
        assert_int_equal(fake_mount.n_calls[FAKE_UMOUNT2], 0);
        assert_int_equal(run(999999999, false, false, 0, 0), 0);
        assert_int_equal(fake_mount.n_calls[FAKE_UMOUNT2], 0);
}

/* A real mount of this namespace stands for ours. Its parent is not 4711, so it "was moved": it must not be touched, nor
 * may what is on our mount point. */
static void test_moved_away(void **state) {
        char line[512];
        unsigned long id = 0;
        _cleanup_fd_ int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, line, sizeof line - 1);

        assert_true(n > 0);
        line[n] = 0;
        /* the last complete line of what was read: a leaf more likely than the root */
        for (char *p = line; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
                if (strchr(p, '\n'))
                        id = strtoul(p, NULL, 10);
        assert_true(id > 0);
        fake_mount_reset();
        int r = run(id, false, true, 0, 0);
        assert_true(r == -EXDEV || r == -EBUSY);
        assert_int_equal(fake_mount.n_calls[FAKE_UMOUNT2], 0);
}

static void test_namespace_first(void **state) {
        _cleanup_fd_ int fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        uint64_t inode, id;

        assert_int_equal(worker_mount_ns_identity(fd, &inode, &id), 0);
        fake_mount_reset();
        fake_mount.fail_at = 1;
        fake_mount.fail_errno = EPERM;
        assert_int_equal(run(5, true, false, inode, id), -EPERM);
        assert_int_equal(fake_mount.failed, FAKE_SETNS);
        assert_int_equal(fake_mount.n_calls[FAKE_UMOUNT2], 0);
}

/* Its last process has left, or the number of its inode is another's now. */
static void test_namespace_is_gone(void **state) {
        _cleanup_fd_ int fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        uint64_t inode, id;

        assert_int_equal(worker_mount_ns_identity(fd, &inode, &id), 0);
        fake_mount_reset();
        assert_int_equal(run(5, true, false, inode + (1ULL << 40), id), 0);
        assert_int_equal(run(5, true, false, inode, id + 1), 0);
        assert_int_equal(fake_mount.n_calls[FAKE_SETNS], 0);
        assert_int_equal(fake_mount.n_calls[FAKE_UMOUNT2], 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_gone_already),
                cmocka_unit_test(test_moved_away),
                cmocka_unit_test(test_namespace_first),
                cmocka_unit_test(test_namespace_is_gone),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
