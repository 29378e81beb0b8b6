/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which devices a server that maps may name: no larger than they are, and past the page cache only in blocks of a page or more. */

#define FUSE_USE_VERSION 312
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "map/map.h"

#define SIZE 65536U

static struct fused_map map;
static int file_fd, direct_fd;

int __wrap_fcntl64(int fd, int command, ...);
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...) {
        va_list arguments;

        va_start(arguments, command);
        int value = va_arg(arguments, int);
        va_end(arguments);
        int r = __real_fcntl64(fd, command, value);
        return r >= 0 && command == F_GETFL && fd == direct_fd ? r | O_DIRECT : r; /* not every file system can do it */
}

static int set_up(void **state) {
        map = (struct fused_map){.config.block_size = 4096};
        file_fd = memfd_create("device", MFD_CLOEXEC);
        direct_fd = memfd_create("direct", MFD_CLOEXEC);
        assert_true(file_fd >= 0 && direct_fd >= 0 && ftruncate(file_fd, SIZE) == 0);
        return 0;
}

static int tear_down(void **state) {
        for (uint32_t i = 0; i < map.n_devices; i++)
                map.devices[i].direct_fd = fd_close(map.devices[i].direct_fd);
        file_fd = fd_close(file_fd);
        direct_fd = fd_close(direct_fd);
        return 0;
}

static void test_size(void **state) {
        static const struct {
                uint64_t said;
                int expected;
                uint64_t size;
        } rows[] = {{0, 1, SIZE}, {SIZE, 2, SIZE}, {4096, 3, 4096}, {SIZE + 1, -EINVAL, 0}, {UINT64_MAX, -EINVAL, 0}, {SIZE - 1, 4, SIZE - 1}};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                uint32_t before = map.n_devices;
                assert_int_equal(fused_map_add_device(&map, file_fd, rows[i].said), rows[i].expected);
                assert_int_equal(map.n_devices, before + (rows[i].expected > 0));
                if (rows[i].expected > 0)
                        assert_int_equal(map.devices[before].size, rows[i].size);
        }
}

static void test_number(void **state) {
        int pipe_fds[2];

        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        assert_int_equal(fused_map_add_device(&map, pipe_fds[0], 0), -EINVAL);
        fd_close_many(pipe_fds, 2);
        assert_int_equal(fused_map_add_device(&map, -1, 0), -EBADF);
        for (int i = 1; i <= (int) MAP_DEVICES_MAX; i++)
                assert_int_equal(fused_map_add_device(&map, file_fd, 0), i);
        assert_int_equal(fused_map_add_device(&map, file_fd, 0), -ENOSPC);
}

static void test_direct(void **state) {
        static const uint32_t sizes[] = {512, 1024, 2048, 4096, 65536};

        assert_int_equal(fused_map_add_device(&map, file_fd, 0), 1);
        assert_int_equal(fused_map_add_direct(&map, 1, file_fd), -EOPNOTSUPP); /* it is none */
        assert_int_equal(fused_map_add_direct(&map, 2, direct_fd), -EINVAL);
        assert_int_equal(fused_map_add_direct(&map, 0, direct_fd), -EINVAL);
        assert_int_equal(fused_map_add_direct(&map, 1, -1), -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                map.config.block_size = sizes[i];
                assert_int_equal(fused_map_add_direct(&map, 1, direct_fd), sizes[i] < 4096 ? -EOPNOTSUPP : 0);
                assert_int_equal(map.devices[0].direct_fd >= 0, sizes[i] >= 4096);
                map.devices[0].direct_fd = fd_close(map.devices[0].direct_fd);
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {TEST(test_size), TEST(test_number), TEST(test_direct)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
