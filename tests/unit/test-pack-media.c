/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-pack, from its main() on: in which order a pack gets on the media. At no moment is there a superblock of something that is not whole. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "pack/format.h"

int tool_main(int argc, char **argv); /* its main() */

static char directory[] = "/tmp/test-pack-media.XXXXXX";
static char events[64]; /* "Z": no superblock; "D": something else; "B": the superblock; "S": all of that is on the media */
static int failing_sync = -1; /* the n-th from now on */

static void note(char event) {
        const size_t n = strlen(events);

        if (n > 0 && events[n - 1] == event)
                return;
        assert_true(n + 1 < sizeof events);
        events[n] = event;
}

ssize_t __real_pwrite64(int fd, const void *data, size_t size, off_t pos);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t pos);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t pos) {
        note(pos > 0 ? 'D' : memcmp(data, PACK_MAGIC, strlen(PACK_MAGIC)) == 0 ? 'B' : 'Z');
        return __real_pwrite64(fd, data, size, pos);
}

int __wrap_fsync(int fd);
int __wrap_fsync(int fd) {
        errno = EIO;
        if (failing_sync >= 0 && failing_sync-- == 0)
                return -1;
        note('S');
        return 0;
}

static int set_up(void **state) {
        char path[64], text[8192];

        assert_non_null(mkdtemp(directory));
        (void) snprintf(path, sizeof path, "%s/tree", directory);
        assert_int_equal(mkdir(path, 0755), 0);
        (void) snprintf(path, sizeof path, "%s/tree/file", directory);
        _cleanup_fd_ int fd = RET_NERRNO(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
        memset(text, 'x', sizeof text);
        assert_int_equal(write(fd, text, sizeof text), sizeof text);
        return 0;
}

static int tear_down(void **state) {
        char command[64];

        (void) snprintf(command, sizeof command, "rm -r %s", directory);
        return system(command);
}

static int run(bool verify) {
        char tree[64], image[64], *words[] = {(char *) "fused-pack", verify ? (char *) "verify" : tree, image, NULL};

        (void) snprintf(tree, sizeof tree, "%s/tree", directory);
        (void) snprintf(image, sizeof image, "%s/image", directory);
        memset(events, 0, sizeof events);
        return tool_main(3, words);
}

/* Over the first pack, as over anything else, another is written. */
static void test_order(void **state) {
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(run(false), 0);
                assert_string_equal(events, "ZSDSBS");
                assert_int_equal(run(true), 0);
        }
}

/* What has failed is said, and is no pack, unless all of it may be there. */
static void test_failures(void **state) {
        static const char *const expected[] = {"Z", "ZSD", "ZSDSB"};

        for (int i = 0; i < (int) ELEMENTSOF(expected); i++) {
                failing_sync = i;
                assert_int_equal(run(false), 1);
                assert_string_equal(events, expected[i]);
                assert_int_equal(run(true), i < 2);
        }
        failing_sync = -1;
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_failures)};

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
