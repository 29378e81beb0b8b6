/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ext4-map's file system on its device: what of it is on the media when, how it is marked while it is in use, what no file's data may be in, and
 * what is told of blocks that come and go. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ext4-map/volume.h"

#define BLOCK 4096U

static int device_fd;
static unsigned n_syncs, n_unsynced; /* writes */
static int write_error, sync_error;

ssize_t __real_pwrite64(int fd, const void *data, size_t size, off_t pos);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t pos);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t pos) {
        errno = write_error;
        if (write_error)
                return -1;
        assert_int_equal(fd, device_fd);
        n_unsynced++;
        return __real_pwrite64(fd, data, size, pos);
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd) {
        errno = sync_error;
        if (sync_error)
                return -1;
        assert_int_equal(fd, device_fd);
        n_syncs++;
        n_unsynced = 0;
        return 0;
}

/* ---- an image ----------------------------------------------------------------------------------------------------------- */

static Volume volume;
static char path[64];
static unsigned n_invalidated, n_freed;
static uint64_t invalidated_from, invalidated_length, freed_bytes;

static void on_invalidate(void *userdata, ext2_ino_t ino, uint64_t offset, uint64_t length) {
        n_invalidated++;
        invalidated_from = offset;
        invalidated_length = length;
}

static void on_freed(void *userdata, uint64_t addr, uint64_t length) {
        n_freed++;
        freed_bytes += length;
}

static void open_volume(VolumeAccess access) {
        static const VolumeHooks hooks = {.invalidate = on_invalidate, .freed = on_freed};

        assert_int_equal(volume_open(&volume, device_fd, access, &hooks, NULL), 0);
        volume.dev = 1;
}

static void make_image(const char *options) {
        char command[256];

        strcpy(path, "/tmp/test-ext4-media.XXXXXX");
        device_fd = mkstemp(path);
        assert_true(device_fd >= 0 && ftruncate(device_fd, 32 << 20) == 0);
        (void) snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F -b 4096 %s %s >/dev/null 2>&1", options, path);
        assert_int_equal(system(command), 0);
}

static int check_image(void) {
        char command[256];

        (void) snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin e2fsck -fn %s >/dev/null 2>&1", path);
        return system(command);
}

static void remove_image(void) {
        (void) close(device_fd);
        (void) unlink(path);
}

static ext2_ino_t make_file(const char *name) {
        const Maker maker = {.mode = S_IFREG | 0644};
        ext2_ino_t ino;

        assert_int_equal(make_node(&volume, EXT2_ROOT_INO, name, &maker, &ino), 0);
        return ino;
}

/* Blocks [first, first + n), as the library does; returns the first mapping. */
static struct fused_mapping write_blocks(ext2_ino_t ino, uint64_t first, uint64_t n) {
        struct fused_mapping m, ret = {0};
        uint64_t size;

        for (uint64_t block = first, part; block < first + n; block += part) {
                assert_int_equal(data_begin(&volume, ino, block * BLOCK, (first + n - block) * BLOCK, FUSED_MAPPING_OP_WRITE, &m), 0);
                part = MIN_OF((m.offset + m.length) / BLOCK, first + n) - block;
                ret = block == first ? m : ret;
                uint32_t flags = FUSED_IOEND_APPEND | (m.type == FUSED_MAPPING_UNWRITTEN ? FUSED_IOEND_UNWRITTEN : 0);
                assert_int_equal(data_ioend(&volume, ino, block * BLOCK, part * BLOCK, flags, 0, &size), 0);
                assert_int_equal(data_end(&volume, ino, block * BLOCK, (int64_t) (part * BLOCK)), 0);
        }
        return ret;
}

static void append(ext2_ino_t ino, uint64_t n) {
        (void) write_blocks(ino, 0, n);
}

/* On the device, whatever is in memory. */
static bool is_marked_clean(void) {
        uint8_t state[2];

        assert_int_equal(pread(device_fd, state, sizeof state, 1024 + (off_t) offsetof(struct ext2_super_block, s_state)), sizeof state);
        return state[0] & EXT2_VALID_FS;
}

static void mark(bool clean) {
        char command[256];

        (void) snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin debugfs -w -R 'ssv state %d' %s >/dev/null 2>&1", clean, path);
        assert_int_equal(system(command), 0);
        assert_int_equal(is_marked_clean(), clean);
}

/* ---- tests -------------------------------------------------------------------------------------------------------------- */

/* Whoever finds it after a crash is told by the superblock: from before the first change, until all is on the media. */
static void test_mark(void **state) {
        make_image("");
        assert_true(is_marked_clean());
        open_volume(VOLUME_READ);
        assert_true(is_marked_clean());
        assert_int_equal(volume_close(&volume), 0);
        n_syncs = 0;
        open_volume(VOLUME_WRITE);
        assert_false(is_marked_clean());
        assert_true(n_syncs > 0);
        assert_int_equal(n_unsynced, 0);
        append(make_file("file"), 3);
        assert_int_equal(volume_flush(&volume, /* sync= */ true), 0);
        assert_false(is_marked_clean());
        assert_int_equal(volume_close(&volume), 0);
        assert_true(is_marked_clean());
        assert_int_equal(n_unsynced, 0);
        mark(false); /* somebody else has left it so: it is not for us to say that it is fine */
        open_volume(VOLUME_WRITE);
        assert_int_equal(volume_close(&volume), 0);
        assert_false(is_marked_clean());
        mark(true);
        assert_int_equal(check_image(), 0);
        remove_image();
}

/* After a flush that syncs, all that was written is on the media; after one that has failed there is still something to write. */
static void test_flush(void **state) {
        make_image("");
        open_volume(VOLUME_WRITE);
        append(make_file("first"), 2);
        assert_true(volume.is_dirty);
        n_syncs = 0;
        assert_int_equal(volume_flush(&volume, /* sync= */ false), 0);
        assert_false(volume.is_dirty);
        assert_int_equal(n_syncs, 0);
        assert_true(n_unsynced > 0);
        assert_int_equal(volume_flush(&volume, /* sync= */ true), 0);
        assert_int_equal(n_syncs, 1);
        assert_int_equal(n_unsynced, 0);
        sync_error = EIO;
        assert_int_equal(volume_flush(&volume, /* sync= */ true), -EIO);
        sync_error = 0;
        append(make_file("second"), 2);
        write_error = ENOSPC;
        for (unsigned i = 0; i < 2; i++) {
                assert_true(volume_flush(&volume, /* sync= */ false) < 0);
                assert_true(volume.is_dirty);
        }
        write_error = 0;
        assert_int_equal(volume_flush(&volume, /* sync= */ true), 0);
        assert_false(volume.is_dirty);
        assert_int_equal(volume_close(&volume), 0);
        remove_image();
}

static int map_to(ext2_ino_t ino, blk64_t place) {
        struct fused_mapping m;

        assert_int_equal(ext2fs_bmap2(volume.fs, ino, NULL, NULL, BMAP_SET, 0, NULL, &place), 0);
        int r = data_begin(&volume, ino, 0, BLOCK, 0, &m);
        if (r >= 0) {
                assert_int_equal(m.type, FUSED_MAPPING_MAPPED);
                assert_int_equal(m.addr, place * BLOCK);
        }
        return r;
}

/* A damaged file may say that its data is in any block. It is not, if that is one of the file system's own. */
static void test_zones(void **state) {
        static const char *const options[] = {"-O extents", "-O ^extents,^64bit"};

        for (size_t k = 0; k < ELEMENTSOF(options); k++) {
                make_image(options[k]);
                open_volume(VOLUME_WRITE);
                ext2_filsys fs = volume.fs;
                ext2_ino_t ino = make_file("file"), other = make_file("other");
                blk64_t journal[2], mine, free_block;
                append(ino, 1);
                append(other, 1);
                assert_int_equal(volume_flush(&volume, /* sync= */ false), 0);
                assert_int_equal(ext2fs_bmap2(fs, ino, NULL, NULL, 0, 0, NULL, &mine), 0);
                assert_int_equal(ext2fs_bmap2(fs, EXT2_JOURNAL_INO, NULL, NULL, 0, 0, NULL, &journal[0]), 0);
                assert_int_equal(ext2fs_bmap2(fs, EXT2_JOURNAL_INO, NULL, NULL, 0, 500, NULL, &journal[1]), 0);
                assert_int_equal(ext2fs_new_block2(fs, 0, NULL, &free_block), 0);
                const blk64_t refused[] = {1, ext2fs_block_bitmap_loc(fs, 0), ext2fs_inode_bitmap_loc(fs, 0), ext2fs_inode_table_loc(fs, 0),
                                           ext2fs_inode_table_loc(fs, 0) + fs->inode_blocks_per_group - 1, journal[0], journal[1],
                                           ext2fs_blocks_count(fs->super), ext2fs_blocks_count(fs->super) + 1000};
                for (size_t i = 0; i < ELEMENTSOF(refused); i++) {
                        volume.has_errors = false;
                        assert_int_equal(map_to(ino, refused[i]), -EUCLEAN);
                        assert_true(volume.has_errors);
                        assert_int_equal(map_to(ino, mine), 0);
                }
                assert_int_equal(map_to(ino, free_block), 0); /* whose it is, e2fsck finds out */
                assert_int_equal(map_to(ino, mine), 0);
                (void) volume_close(&volume);
                remove_image();
        }
}

/* The cache may know a hole where something is now; and who keeps pages of the device hears that blocks are free. */
static void test_told(void **state) {
        static const char *const options[] = {"-O extents", "-O ^extents,^64bit"};

        for (size_t k = 0; k < ELEMENTSOF(options); k++) {
                struct fused_mapping m;
                make_image(options[k]);
                open_volume(VOLUME_WRITE);
                ext2_ino_t ino = make_file("file");
                assert_int_equal(space_set_size(&volume, ino, 100 * BLOCK), 0);
                assert_int_equal(data_begin(&volume, ino, 10 * BLOCK, BLOCK, 0, &m), 0);
                assert_int_equal(m.type, FUSED_MAPPING_HOLE);
                n_invalidated = n_freed = 0;
                freed_bytes = 0;
                m = write_blocks(ino, 10, 1);
                assert_int_equal(m.offset, 10 * BLOCK);
                if (k == 1) { /* what takes a hole's place in a tree is told itself */
                        assert_int_equal(n_invalidated, 1);
                        assert_int_equal(invalidated_from, m.offset);
                        assert_int_equal(invalidated_length, m.length);
                }
                (void) write_blocks(ino, 11, 4);
                assert_int_equal(volume_flush(&volume, /* sync= */ false), 0);
                assert_int_equal(space_set_size(&volume, ino, 0), 0);
                volume_tell_freed(&volume);
                assert_true(n_freed > 0);
                assert_true(freed_bytes >= 5 * BLOCK);
                assert_int_equal(volume_close(&volume), 0);
                assert_int_equal(check_image(), 0);
                remove_image();
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_mark), cmocka_unit_test(test_flush), cmocka_unit_test(test_zones),
                                           cmocka_unit_test(test_told)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
