/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Trees that are packed: what of them is kept, and what is said of what cannot be. Extended attributes are made up here. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "pack/tree.h"

ssize_t __wrap_flistxattr(int fd, char *list, size_t size);
ssize_t __wrap_fgetxattr(int fd, const char *name, void *value, size_t size);

static char directory[64];
static char said[1 << 16]; /* on the error output */
static struct {
        const char *list; /* names, each with a NUL; the last is empty */
        int list_error, value_error; /* errno */
        size_t value_size;
} xattrs;

static size_t list_size(void) {
        const char *end = xattrs.list;

        while (end && *end)
                end += strlen(end) + 1;
        return end ? (size_t) (end - xattrs.list) : 0;
}

ssize_t __wrap_flistxattr(int fd, char *list, size_t size) {
        errno = xattrs.list_error;
        if (xattrs.list_error)
                return -1;
        assert_true(size >= list_size());
        if (xattrs.list)
                memcpy(list, xattrs.list, list_size());
        return (ssize_t) list_size();
}

ssize_t __wrap_fgetxattr(int fd, const char *name, void *value, size_t size) {
        errno = xattrs.value_error;
        if (xattrs.value_error)
                return -1;
        assert_true(strncmp(name, "user.", 5) == 0 && size >= xattrs.value_size);
        memset(value, name[5], xattrs.value_size);
        return (ssize_t) xattrs.value_size;
}

/* What tree_pack() returns; what it has said is in `said`. */
static int pack(Tree *tree) {
        _cleanup_fd_ int from = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), to = memfd_create("pack", MFD_CLOEXEC),
                         words = memfd_create("words", MFD_CLOEXEC), saved = fd_dup(STDERR_FILENO);
        int r;

        assert_true(from >= 0 && to >= 0 && words >= 0 && saved >= 0);
        *tree = (Tree){.device_fd = to, .device_size = INT64_MAX};
        (void) fflush(stderr);
        assert_true(dup2(words, STDERR_FILENO) >= 0);
        r = tree_pack(tree, from);
        (void) fflush(stderr);
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        memset(said, 0, sizeof said);
        assert_true(pread(words, said, sizeof said - 1, 0) >= 0);
        return r;
}

static int set_up(void **state) {
        memset(&xattrs, 0, sizeof xattrs);
        (void) snprintf(directory, sizeof directory, "/tmp/fused-pack-tree.XXXXXX");
        return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state) {
        char command[96];

        (void) snprintf(command, sizeof command, "rm -rf %s", directory);
        return system(command);
}

static void make_file(const char *name) {
        char path[128];

        (void) snprintf(path, sizeof path, "%s/%s", directory, name);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_true(fd >= 0 && write(fd, "x", 1) == 1);
        (void) close(fd);
}

/* ---- extended attributes -------------------------------------------------------------------------------------------- */

static void test_xattr_order(void **state) {
        static const char *const lists[] = {"user.b\0security.x\0user.a\0user.ab\0", "user.ab\0user.a\0trusted.t\0user.b\0"};
        Tree trees[2];

        make_file("file");
        xattrs.value_size = 3;
        for (size_t i = 0; i < ELEMENTSOF(trees); i++) {
                xattrs.list = lists[i];
                assert_int_equal(pack(&trees[i]), 0);
                assert_string_equal(said, "");
        }
        assert_int_equal(trees[0].strings.count, trees[1].strings.count);
        assert_memory_equal(trees[0].strings.data, trees[1].strings.data, trees[0].strings.count);
        assert_non_null(memmem(trees[0].strings.data, trees[0].strings.count, "user.aaaa", 9));
        assert_null(memmem(trees[0].strings.data, trees[0].strings.count, "security", 8));
        tree_done(&trees[0]);
        tree_done(&trees[1]);
}

static void test_xattr_sizes(void **state) {
        static const uint32_t sizes[] = {0, 1, 65535, 65536};
        Tree tree;

        make_file("file");
        xattrs.list = "user.a\0";
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                const PackXattr expected = {.name_size = 6, .value_size = sizes[i]};
                xattrs.value_size = sizes[i];
                assert_int_equal(pack(&tree), 0);
                const PackInode *file = (PackInode *) tree.inodes.data + 1;
                assert_int_equal(file->xattrs_size, sizeof expected + 6 + sizes[i]);
                assert_memory_equal((char *) tree.strings.data + file->xattrs, &expected, sizeof expected);
                tree_done(&tree);
        }
}

static void test_xattr_errors(void **state) {
        static const struct {
                int list, value, r;
                const char *said;
        } rows[] = {
                {EOPNOTSUPP, 0, 0, ""},
                {0, ENODATA, 0, ""}, /* gone meanwhile */
                {0, EIO, -EIO, "file: its attribute user.\\x1b: Input/output error\n"},
                {0, EACCES, -EACCES, "file: its attribute user.\\x1b: Permission denied\n"},
                {EIO, 0, -EIO, "file: its attributes cannot be listed\n"},
        };
        Tree tree;

        make_file("file");
        xattrs.list = "user.\033\0";
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                xattrs.list_error = rows[i].list;
                xattrs.value_error = rows[i].value;
                assert_int_equal(pack(&tree), rows[i].r);
                assert_string_equal(*said ? strstr(said, "file: ") : "", rows[i].said);
                tree_done(&tree);
        }
}

/* ---- depth ---------------------------------------------------------------------------------------------------------- */

/* So many directories in one another, with names that make a long path. */
static void make_deep(unsigned n) {
        int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char name[101];

        memset(name, 'd', sizeof name - 1);
        name[sizeof name - 1] = 0;
        for (unsigned i = 0; i < n; i++) {
                (void) mkdirat(fd, name, 0755);
                int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_true(next >= 0);
                (void) close(fd);
                fd = next;
        }
        (void) close(fd);
}

static void test_depth(void **state) {
        static const char words[] = "d: it is more than 128 directories deep\n";
        const char *path;
        Tree tree;

        make_deep(128);
        assert_int_equal(pack(&tree), 0);
        assert_int_equal(tree.inodes.count, 129);
        tree_done(&tree);
        make_deep(129);
        assert_int_equal(pack(&tree), -ELOOP);
        path = strstr(said, ": ") + 2;
        assert_string_equal(said + strlen(said) - strlen(words), words);
        assert_int_equal(strchr(path, ':') - path, 129 * 101 - 1); /* all of it, once */
        assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
        tree_done(&tree);
}

/* Of what is below, too, it is said once, and of the top. */
static void test_places(void **state) {
        Tree tree;
        char path[128];

        (void) snprintf(path, sizeof path, "%s/a", directory);
        assert_int_equal(mkdir(path, 0755), 0);
        make_file("a/file");
        xattrs.list_error = EIO;
        assert_int_equal(pack(&tree), -EIO);
        assert_string_equal(strstr(said, ": "), ": a/file: its attributes cannot be listed\n");
        tree_done(&tree);
        (void) tear_down(NULL);
        assert_int_equal(mkdir(directory, 0755), 0);
        assert_int_equal(pack(&tree), -EIO);
        assert_string_equal(strstr(said, ": "), ": .: its attributes cannot be listed\n");
        tree_done(&tree);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        static const struct CMUnitTest tests[] = {
                TEST(test_xattr_order), TEST(test_xattr_sizes), TEST(test_xattr_errors), TEST(test_depth), TEST(test_places),
        };

        return cmocka_run_group_tests_name("pack-tree", tests, NULL, NULL);
}
