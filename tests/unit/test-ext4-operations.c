/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ext4-map's operations on attributes and open files: what FSYNC waits for, what an open that was interrupted leaves, and what may be done to files
 * that are not to change. The library and libfuse's replies are fakes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ext4-map/server.h"

Server server;

/* ---- in the place of libraries -------------------------------------------------------------------------------------- */

static int last_error; /* of a reply; 1: another reply */
static int open_error, device_error;
static unsigned n_device_syncs, n_unsynced; /* writes */

void server_lock(void) {
        (void) pthread_mutex_lock(&server.volume.lock);
}
void server_unlock(void) {
        (void) pthread_mutex_unlock(&server.volume.lock);
}
int fuse_reply_err(fuse_req_t req, int error) {
        last_error = -error;
        return 0;
}
int fused_map_reply_attr(struct fused_map *map, fuse_req_t req, const struct stat *attr, double timeout, bool mapped) {
        last_error = 1;
        return 0;
}
int fused_map_reply_open(struct fused_map *map, fuse_req_t req, const struct fuse_file_info *fi) {
        last_error = 1;
        return open_error;
}
int fused_map_device_sync(struct fused_map *map, uint32_t dev) {
        n_device_syncs++;
        n_unsynced = 0;
        return device_error;
}
int fused_map_set_size(struct fused_map *map, uint64_t nodeid, uint64_t size) {
        return 0;
}
uint64_t fused_map_size(struct fused_map *map, uint64_t nodeid) {
        return UINT64_MAX;
}
int fused_map_upsert(struct fused_map *map, uint64_t nodeid, const struct fused_mapping *read, const struct fused_mapping *write) {
        return 0;
}
int fused_map_invalidate(struct fused_map *map, uint64_t nodeid, uint64_t offset, uint64_t length) {
        return 0;
}
int fused_map_device_invalidate(struct fused_map *map, uint32_t dev, uint64_t addr, uint64_t length) {
        return 0;
}
uint32_t fused_kill_set_id(uint32_t mode, gid_t file_gid, uid_t uid, gid_t gid) {
        return 0;
}

ssize_t __real_pwrite64(int fd, const void *data, size_t size, off_t pos);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t pos);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t pos) {
        n_unsynced++;
        return __real_pwrite64(fd, data, size, pos);
}

/* ---- a file system with a file -------------------------------------------------------------------------------------- */

static struct fuse_lowlevel_ops ops;
static char path[64];
static int device_fd;
static ext2_ino_t ino;

static int set_up(void **state) {
        static const VolumeHooks hooks = {0};
        const Maker maker = {.mode = S_IFREG | 0644};
        char command[256];

        strcpy(path, "/tmp/test-ext4-operations.XXXXXX");
        device_fd = mkstemp(path);
        assert_true(device_fd >= 0 && ftruncate(device_fd, 16 << 20) == 0);
        (void) snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F -b 4096 %s >/dev/null 2>&1", path);
        assert_int_equal(system(command), 0);
        assert_int_equal(volume_open(&server.volume, device_fd, VOLUME_WRITE, &hooks, NULL), 0);
        server_attribute_operations(&ops);
        assert_int_equal(make_node(&server.volume, EXT2_ROOT_INO, "file", &maker, &ino), 0);
        n_device_syncs = n_unsynced = 0;
        open_error = device_error = 0;
        return 0;
}

static int tear_down(void **state) {
        assert_int_equal(volume_close(&server.volume), 0);
        (void) close(device_fd);
        return unlink(path);
}

static void set_flags(uint32_t flags) {
        Inode inode;

        assert_int_equal(inode_read(&server.volume, ino, &inode), 0);
        inode.i_flags = (inode.i_flags & ~(uint32_t) (EXT2_IMMUTABLE_FL | EXT2_APPEND_FL)) | flags;
        assert_int_equal(inode_write(&server.volume, ino, &inode), 0);
}

static unsigned n_writers(void) {
        const Node *node = node_find(&server.volume, ino);

        return node ? node->n_writers : 0;
}

static int open_file(int flags) {
        struct fuse_file_info fi = {.flags = flags};

        ops.open(NULL, id_of(ino), &fi);
        return last_error;
}

static int release(int flags) {
        struct fuse_file_info fi = {.flags = flags};

        ops.release(NULL, id_of(ino), &fi);
        return last_error;
}

static int set_attributes(int which, mode_t mode) {
        struct stat to = {.st_mode = mode};

        ops.setattr(NULL, id_of(ino), &to, which, NULL);
        return last_error;
}

static int sync_file(void) {
        ops.fsync(NULL, id_of(ino), false, NULL);
        return last_error;
}

/* ---- tests ---------------------------------------------------------------------------------------------------------- */

/* The metadata is written first, and then on the device, with whatever was written before. */
static void test_fsync(void **state) {
        assert_true(server.volume.is_dirty);
        assert_int_equal(sync_file(), 0);
        assert_false(server.volume.is_dirty);
        assert_int_equal(n_device_syncs, 1);
        assert_int_equal(n_unsynced, 0);
        assert_int_equal(set_attributes(FUSE_SET_ATTR_MODE, 0600), 1);
        device_error = -EIO;
        assert_int_equal(sync_file(), -EIO);
        device_error = 0;
        assert_int_equal(sync_file(), 0);
        assert_int_equal(n_device_syncs, 3);
        assert_int_equal(n_unsynced, 0);
}

/* No RELEASE comes for an open whose caller has gone: nobody writes to the file then. */
static void test_interrupted(void **state) {
        assert_int_equal(open_file(O_RDWR), 1);
        assert_int_equal(n_writers(), 1);
        open_error = -ENOENT;
        for (unsigned i = 0; i < 3; i++) {
                (void) open_file(O_WRONLY);
                assert_int_equal(n_writers(), 1);
        }
        open_error = 0;
        assert_int_equal(open_file(O_RDONLY), 1);
        assert_int_equal(n_writers(), 1);
        assert_int_equal(release(O_RDONLY), 0);
        assert_int_equal(n_writers(), 1);
        assert_int_equal(release(O_RDWR), 0);
        assert_int_equal(n_writers(), 0);
}

/* As with ext4 in the kernel, of a file that is immutable or only to be appended to. */
static void test_flags(void **state) {
        static const struct {
                uint32_t flags;
                int open_flags, expected;
        } opens[] = {{0, O_RDWR, 1},
                     {EXT2_IMMUTABLE_FL, O_RDWR, -EPERM},
                     {EXT2_IMMUTABLE_FL, O_WRONLY | O_APPEND, -EPERM},
                     {EXT2_IMMUTABLE_FL, O_RDONLY, 1},
                     {EXT2_APPEND_FL, O_WRONLY, -EPERM},
                     {EXT2_APPEND_FL, O_WRONLY | O_APPEND, 1},
                     {EXT2_APPEND_FL, O_RDONLY, 1}};
        static const int changes[] = {FUSE_SET_ATTR_MODE, FUSE_SET_ATTR_UID, FUSE_SET_ATTR_SIZE, FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_MTIME_NOW};

        for (size_t i = 0; i < ELEMENTSOF(opens); i++) {
                set_flags(opens[i].flags);
                assert_int_equal(open_file(opens[i].open_flags), opens[i].expected);
                if (opens[i].expected == 1)
                        assert_int_equal(release(opens[i].open_flags), 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(changes); i++)
                for (unsigned k = 0; k < 3; k++) {
                        static const uint32_t flags[] = {0, EXT2_IMMUTABLE_FL, EXT2_APPEND_FL};
                        set_flags(flags[k]);
                        assert_int_equal(set_attributes(changes[i], 0640), k ? -EPERM : 1);
                        assert_int_equal(set_attributes(FUSE_SET_ATTR_ATIME_NOW, 0), flags[k] == EXT2_IMMUTABLE_FL ? -EPERM : 1);
                }
        set_flags(0);
        server.volume.read_only = true;
        assert_int_equal(set_attributes(FUSE_SET_ATTR_MODE, 0640), -EROFS);
        assert_int_equal(open_file(O_WRONLY), -EROFS);
        assert_int_equal(open_file(O_RDONLY), 1);
        server.volume.read_only = false;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {TEST(test_fsync), TEST(test_interrupted), TEST(test_flags)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
