/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replies that are lookups: what could not be sent was none, and leaves no file behind that the kernel does not know. */

#define FUSE_USE_VERSION 312
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "map/map.h"

#define NODE 7U

static struct fused_map map = {.engine = &map_user_engine, .config.block_size = 4096};
static int send_error;

int fuse_reply_iov(fuse_req_t req, const struct iovec *iov, int count) {
        return send_error;
}

static bool is_known(void) {
        _cleanup_file_ MapFile *file = map_file_get(map.files, NODE);

        return file;
}

static int reply_entry(bool mapped) {
        const struct fuse_entry_param entry = {.ino = NODE, .attr = {.st_ino = NODE, .st_mode = S_IFREG | 0644}};

        return fused_map_reply_entry(&map, NULL, &entry, mapped);
}

static int reply_create(bool mapped) {
        const struct fuse_entry_param entry = {.ino = NODE, .attr = {.st_ino = NODE, .st_mode = S_IFREG | 0644}};
        const struct fuse_file_info fi = {0};

        return fused_map_reply_create(&map, NULL, &entry, &fi, mapped);
}

static void check(int (*send)(bool mapped)) {
        send_error = -ENOENT; /* the caller was interrupted */
        assert_int_equal(send(true), -ENOENT);
        assert_false(is_known());
        send_error = 0;
        assert_int_equal(send(false), 0);
        assert_false(is_known());
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(send(true), 0);
        send_error = -ENOENT;
        assert_int_equal(send(true), -ENOENT);
        assert_int_equal(send(false), -ENOENT); /* nothing was counted for it */
        map_file_forget(map.files, NODE, 1);
        assert_true(is_known());
        map_file_forget(map.files, NODE, 1);
        assert_false(is_known());
}

static void test_replies(void **state) {
        assert_int_equal(map_files_new(&map.files), 0);
        check(reply_entry);
        check(reply_create);
        map.files = map_files_free(map.files);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_replies)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
