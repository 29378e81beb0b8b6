/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ext4-map's inodes, below FUSE: extended attributes, ACLs, times. */

#include <sys/xattr.h>

#include "unit/ext4-image.h"

static const Maker maker = {.mode = S_IFREG | 0644, .uid = 1000, .gid = 1000};

static int get(Fixture *f, const char *name, char *ret, size_t n) {
        void *value = NULL;
        size_t size;
        int r;

        r = xattr_get(&f->volume, f->ino, name, &value, &size);
        if (r < 0)
                return r;
        assert_true(size < n);
        memcpy(ret, value, size);
        ret[size] = '\0';
        (void) ext2fs_free_mem(&value);
        return (int) size;
}

static int set(Fixture *f, const char *name, const char *value, int flags) {
        return xattr_set(&f->volume, f->ino, name, value, strlen(value), flags, 1000, 1000);
}

static size_t list(Fixture *f) {
        char *names = NULL;
        size_t n;

        assert_int_equal(xattr_list(&f->volume, f->ino, true, &names, &n), 0);
        free(names);
        return n;
}

/* What a mode says, as an ACL. */
static size_t plain_acl(char *ret) {
        static const uint8_t bytes[] = {2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255};

        memcpy(ret, bytes, sizeof bytes);
        return sizeof bytes;
}

/* A file system of before there were attributes: it has none, is not damaged for that, and gets them with the first. */
static void test_no_feature(void **state) {
        static const char *const options[] = {"-O ^ext_attr", "-O none -r 0 -b 1024"};
        char value[64], acl[64];

        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                Fixture *f = calloc(1, sizeof *f);
                open_image(f, options[i]);
                struct ext2_super_block *super = f->volume.fs->super;
                assert_false(ext2fs_has_feature_xattr(super));
                assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, "file", &maker, &f->ino), 0);
                assert_int_equal(get(f, "user.a", value, sizeof value), -ENODATA);
                assert_int_equal(list(f), 0);
                assert_int_equal(xattr_remove(&f->volume, f->ino, "user.a"), -ENODATA);
                assert_int_equal(xattr_remove(&f->volume, f->ino, "system.posix_acl_access"), 0);
                assert_int_equal(xattr_drop(&f->volume, f->ino, "security.capability"), 0);
                assert_int_equal(acl_chmod(&f->volume, f->ino, 0600), 0);
                assert_int_equal(set(f, "user.a", "x", XATTR_REPLACE), -ENODATA);
                assert_int_equal(xattr_set(&f->volume, f->ino, "system.posix_acl_access", acl, plain_acl(acl), 0, 1000, 1000), 0);
                assert_false(ext2fs_has_feature_xattr(super));
                assert_int_equal(set(f, "user.a", "value", 0), 0);
                assert_true(ext2fs_has_feature_xattr(super));
                assert_int_equal(set(f, "user.a", "value", XATTR_CREATE), -EEXIST);
                assert_false(f->volume.has_errors);
                assert_int_equal(super->s_error_count, 0);
                close_volume(f);
                open_volume(f, VOLUME_WRITE);
                assert_true(ext2fs_has_feature_xattr(f->volume.fs->super));
                assert_int_equal(get(f, "user.a", value, sizeof value), 5);
                assert_string_equal(value, "value");
                assert_int_equal(xattr_remove(&f->volume, f->ino, "user.a"), 0);
                assert_int_equal(xattr_remove(&f->volume, f->ino, "user.a"), -ENODATA);
                close_image(f);
                free(f);
        }
}

static void test_names(void **state) {
        static const struct {
                const char *name;
                int r;
        } rows[] = {
                {"user.a", 0},        {"trusted.a", 0},    {"security.a", 0},         {"user..", 0},
                {"user.", -EINVAL},   {"trusted.", -EINVAL}, {"security.", -EINVAL}, {"user", -EOPNOTSUPP},
                {"system.a", -EOPNOTSUPP}, {"system.", -EOPNOTSUPP}, {"", -EOPNOTSUPP}, {"other.a", -EOPNOTSUPP},
                {"system.posix_acl_accessx", -EOPNOTSUPP}, {"system.posix_acl_default.a", -EOPNOTSUPP},
        };
        Fixture *f = calloc(1, sizeof *f);
        char value[64];

        open_image(f, "");
        assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, "file", &maker, &f->ino), 0);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                assert_int_equal(set(f, rows[i].name, "x", 0), rows[i].r);
                assert_int_equal(get(f, rows[i].name, value, sizeof value), rows[i].r < 0 ? rows[i].r : 1);
                assert_int_equal(xattr_remove(&f->volume, f->ino, rows[i].name), rows[i].r);
        }
        assert_int_equal(list(f), 0);
        close_image(f);
        free(f);
}

/* Times that are given here fit between those that the kernel gives. */
static void test_clock(void **state) {
        for (int i = 0; i < 1000; i++) {
                struct timespec before, after;
                Inode inode = {.i_extra_isize = sizeof inode - EXT2_GOOD_OLD_INODE_SIZE};
                (void) clock_gettime(CLOCK_REALTIME_COARSE, &before);
                inode_touch(&inode, INODE_MTIME);
                (void) clock_gettime(CLOCK_REALTIME_COARSE, &after);
                const struct timespec is = {.tv_sec = (time_t) inode.i_mtime, .tv_nsec = inode.i_mtime_extra >> 2};
                assert_true(is.tv_sec > before.tv_sec || (is.tv_sec == before.tv_sec && is.tv_nsec >= before.tv_nsec));
                assert_true(is.tv_sec < after.tv_sec || (is.tv_sec == after.tv_sec && is.tv_nsec <= after.tv_nsec));
        }
}

/* Times that cannot be stored become the nearest that can. */
static void test_far_times(void **state) {
        static const int64_t first = INT32_MIN, last = INT32_MAX, far = 15032385535;
        static const struct {
                int64_t is, wide, narrow;
                long ns;
        } rows[] = {
                {0, 0, 0, 5},
                {-1, -1, -1, 5},
                {first, first, first, 0},
                {first - 1, first, first, 0},
                {INT64_MIN, first, first, 0},
                {last, last, last, 5},
                {last + 1, last + 1, last, 5},
                {far - 1, far - 1, last, 5},
                {far, far, last, 0},
                {far + 1, far, last, 0},
                {INT64_MAX, far, last, 0},
        };
        Fixture *f = calloc(1, sizeof *f);

        open_image(f, "");
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const struct timespec t = {.tv_sec = rows[i].is, .tv_nsec = 5};
                Inode wide = {.i_mode = S_IFREG, .i_extra_isize = sizeof wide - EXT2_GOOD_OLD_INODE_SIZE}, narrow = {.i_mode = S_IFREG};
                struct stat st;
                inode_set_time(&wide, INODE_MTIME, &t);
                assert_int_equal(inode_stat(&f->volume, 12, &wide, &st), 0);
                assert_int_equal(st.st_mtim.tv_sec, rows[i].wide);
                assert_int_equal(st.st_mtim.tv_nsec, rows[i].ns);
                inode_set_time(&narrow, INODE_MTIME, &t);
                assert_int_equal(inode_stat(&f->volume, 12, &narrow, &st), 0);
                assert_int_equal(st.st_mtim.tv_sec, rows[i].narrow);
                assert_int_equal(st.st_mtim.tv_nsec, 0);
        }
        close_image(f);
        free(f);
}

static uint32_t flags_of(Fixture *f, ext2_ino_t ino) {
        Inode inode;

        assert_int_equal(inode_read(&f->volume, ino, &inode), 0);
        return inode.i_flags & ~(uint32_t) EXT4_EXTENTS_FL;
}

/* What a directory hands down. */
static void test_inherited_flags(void **state) {
        const Maker directory = {.mode = S_IFDIR | 0755}, fifo = {.mode = S_IFIFO | 0644};
        const uint32_t any = EXT2_NODUMP_FL | EXT2_NOATIME_FL, file = any | EXT2_SYNC_FL, dir_only = EXT2_DIRSYNC_FL, own = EXT2_TOPDIR_FL;
        Fixture *f = calloc(1, sizeof *f);
        ext2_ino_t dir, ino;
        Inode inode;

        open_image(f, "");
        assert_int_equal(make_directory(&f->volume, EXT2_ROOT_INO, "d", &directory, &dir), 0);
        assert_int_equal(flags_of(f, dir), 0);
        assert_int_equal(inode_read(&f->volume, dir, &inode), 0);
        inode.i_flags |= file | dir_only | own;
        assert_int_equal(inode_write(&f->volume, dir, &inode), 0);
        assert_int_equal(make_node(&f->volume, dir, "file", &maker, &ino), 0);
        assert_int_equal(flags_of(f, ino), file);
        assert_int_equal(make_node(&f->volume, dir, "fifo", &fifo, &ino), 0);
        assert_int_equal(flags_of(f, ino), any);
        assert_int_equal(make_symlink(&f->volume, dir, "link", "target", &maker, &ino), 0);
        assert_int_equal(flags_of(f, ino), any);
        assert_int_equal(make_directory(&f->volume, dir, "directory", &directory, &ino), 0);
        assert_int_equal(flags_of(f, ino), file | dir_only);
        close_image(f);
        free(f);
}

static uint64_t n_free(const Fixture *f) {
        return ext2fs_free_blocks_count(f->volume.fs->super);
}

/* A new directory whose inherited ACL finds no room is not there afterwards. */
static void test_inherit_full(void **state) {
        Fixture *f = calloc(1, sizeof *f);
        uint8_t acl[4 + 24 * 8] = {2};
        const Maker owner = {.mode = S_IFDIR | 0755};
        char name[32], target[200];
        ext2_ino_t dir, ino;
        Inode before, after;
        void *value = NULL;
        size_t size;
        int n = 0;

        for (uint8_t i = 0; i < 24; i++) {
                const uint8_t tags[] = {1, 2, 4, 16, 32}, tag = tags[i == 0 ? 0 : i < 21 ? 1 : i - 19U];
                const uint8_t entry[] = {tag, 0, 7, 0, tag == 2 ? i : 255, tag == 2 ? 4 : 255, tag == 2 ? 0 : 255, tag == 2 ? 0 : 255};
                memcpy(acl + 4 + 8 * i, entry, sizeof entry);
        }
        memset(target, 'x', sizeof target);
        target[sizeof target - 1] = '\0';
        open_image_of(f, 3 << 20, "-b 1024 -m 0 -I 128 -N 3000 -O ^extents,^64bit,^resize_inode,^has_journal");
        assert_int_equal(make_directory(&f->volume, EXT2_ROOT_INO, "parent", &owner, &dir), 0);
        assert_int_equal(xattr_set(&f->volume, dir, "system.posix_acl_default", acl, sizeof acl, 0, 0, 0), 0);
        while (n_free(f) > 1) {
                (void) snprintf(name, sizeof name, "%d", n++);
                assert_int_equal(make_symlink(&f->volume, EXT2_ROOT_INO, name, target, &owner, &ino), 0);
        }
        assert_int_equal(inode_read(&f->volume, dir, &before), 0);
        assert_int_equal(make_directory(&f->volume, dir, "new", &owner, &ino), -ENOSPC);
        assert_int_equal(name_lookup(&f->volume, dir, "new", &ino), -ENOENT);
        assert_int_equal(inode_read(&f->volume, dir, &after), 0);
        assert_int_equal(after.i_links_count, before.i_links_count);
        assert_int_equal(n_free(f), 1);
        assert_int_equal(make_symlink(&f->volume, dir, "link", target, &owner, &ino), 0);
        assert_int_equal(make_symlink(&f->volume, dir, "link2", target, &owner, &ino), -ENOSPC);
        assert_int_equal(make_unlink(&f->volume, dir, "link", false), 0);
        assert_int_equal(make_unlink(&f->volume, EXT2_ROOT_INO, "7", false), 0);
        assert_int_equal(make_unlink(&f->volume, EXT2_ROOT_INO, "8", false), 0);
        assert_int_equal(make_directory(&f->volume, dir, "new", &owner, &ino), 0); /* it, and both ACLs in a block */
        assert_int_equal(xattr_get(&f->volume, ino, "system.posix_acl_access", &value, &size), 0);
        assert_int_equal(size, sizeof acl);
        (void) ext2fs_free_mem(&value);
        assert_int_equal(inode_read(&f->volume, dir, &after), 0);
        assert_int_equal(after.i_links_count, before.i_links_count + 1);
        close_image(f);
        free(f);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_feature), cmocka_unit_test(test_names), cmocka_unit_test(test_clock),
                                             cmocka_unit_test(test_inherit_full), cmocka_unit_test(test_far_times),
                                             cmocka_unit_test(test_inherited_flags)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
