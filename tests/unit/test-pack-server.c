/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-pack-server: what it does when files are opened and closed. The program's tables have room for one file at a time, so it shows whether one
 * that nobody has open any more gives its room back. The library and libfuse's replies are fakes; the pack is made by the tool. */

#define FUSE_USE_VERSION 312
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "fused-map.h"
#include "program/extents.h"

int server_main(int argc, char **argv); /* its main() */

/* ---- in the place of libraries -------------------------------------------------------------------------------------- */

static char directory[] = "/tmp/test-pack-server.XXXXXX";
static struct fuse_lowlevel_ops ops;
static struct fused_map_config config;
static void (*body)(void); /* the test, in the midst of it all */
static struct extents_file files[17];
static struct extents_extent extents[1]; /* room for one */
static struct learned_segment segments[16];
static bool has_program, read_only;
static unsigned n_upserts;
static bool uses[16];     /* the program, by node id */
static int last_error;    /* of a reply; 1: the reply to an open file */
static uint64_t last_ino; /* of the entry that was looked up */

int fuse_service_accept(struct fuse_service **sfp) {
        *sfp = (struct fuse_service *) (uintptr_t) 1;
        return 0;
}
int fuse_service_append_args(struct fuse_service *sf, struct fuse_args *args) {
        return 0;
}
int fuse_service_parse_cmdline_opts(struct fuse_args *args, struct fuse_cmdline_opts *opts) {
        return 0;
}
int fuse_service_request_file(struct fuse_service *sf, const char *path, int open_flags, mode_t mode, unsigned flags) {
        read_only = (open_flags & O_ACCMODE) == O_RDONLY;
        return open_flags & O_DIRECT ? -EOPNOTSUPP : 0;
}
int fuse_service_receive_file(struct fuse_service *sf, const char *path, int *fdp) {
        char image[64];

        (void) snprintf(image, sizeof image, "%s/image", directory);
        *fdp = RET_NERRNO(open(image, O_RDONLY | O_CLOEXEC));
        return 0;
}
int fuse_service_send_goodbye(struct fuse_service *sf, int error) {
        return 0;
}
void fuse_service_destroy(struct fuse_service **sfp) {
        *sfp = NULL;
}
int fuse_service_exit(int ret) {
        return ret;
}
int fused_map_new(struct fused_map **ret, struct fuse_service *sf, struct fuse_args *args, const struct fuse_lowlevel_ops *lowlevel, size_t size,
                  const struct fused_map_operations *operations, const struct fused_map_config *its_config, void *userdata) {
        ops = *lowlevel;
        config = *its_config;
        *ret = (struct fused_map *) (uintptr_t) 1;
        return operations->start(userdata);
}
int fused_map_add_device(struct fused_map *map, int fd, uint64_t size) {
        return 1;
}
int fused_map_add_direct(struct fused_map *map, uint32_t dev, int fd) {
        return 0;
}
int fused_map_run(struct fused_map *map, struct fuse_cmdline_opts *opts) {
        body();
        return 0;
}
void fused_map_free(struct fused_map *map) {
}
int fused_map_attach_program(struct fused_map *map, const char *name, struct fused_map_table *tables, size_t n_tables) {
        if (!has_program)
                return -EOPNOTSUPP;
        assert_int_equal(n_tables, 3);
        tables[0].data = memset(files, 0, sizeof files);
        tables[0].n_available = ELEMENTSOF(files);
        tables[1].data = extents;
        tables[1].n_available = ELEMENTSOF(extents);
        tables[2].data = segments;
        tables[2].n_available = ELEMENTSOF(segments);
        return 0;
}
int fused_map_use_program(struct fused_map *map, uint64_t nodeid, bool use) {
        assert_true(nodeid < ELEMENTSOF(uses));
        uses[nodeid] = use;
        return 0;
}
int fused_map_upsert(struct fused_map *map, uint64_t nodeid, const struct fused_mapping *read, const struct fused_mapping *write) {
        n_upserts++;
        return 0;
}
int fused_map_reply_open(struct fused_map *map, fuse_req_t req, const struct fuse_file_info *fi) {
        last_error = 1;
        return 0;
}
int fused_map_reply_entry(struct fused_map *map, fuse_req_t req, const struct fuse_entry_param *entry, bool mapped) {
        last_ino = entry->ino;
        return 0;
}
int fused_map_reply_attr(struct fused_map *map, fuse_req_t req, const struct stat *attr, double timeout, bool mapped) {
        return 0;
}
size_t fused_map_add_direntry_plus(struct fused_map *map, fuse_req_t req, char *buf, size_t size, const char *name,
                                   const struct fuse_entry_param *entry, off_t off, bool mapped) {
        return 0;
}
int fuse_reply_err(fuse_req_t req, int error) {
        last_error = -error;
        return 0;
}

/* ---- a pack of three files ------------------------------------------------------------------------------------------ */

static int set_up(void **state) {
        char command[512];

        assert_non_null(mkdtemp(directory));
        (void) snprintf(command, sizeof command, "cd %s && mkdir tree && for i in a b c; do echo $i >tree/$i; done && " TOOL " tree image >/dev/null",
                        directory);
        return system(command);
}

static int tear_down(void **state) {
        char command[64];

        (void) snprintf(command, sizeof command, "rm -r %s", directory);
        return system(command);
}

/* In a process of its own: the server's variables are for one life. */
static void serve(bool with_program, void (*what)(void)) {
        char *words[] = {(char *) "fused-pack-server", (char *) "source", NULL};
        int status;

        has_program = with_program;
        body = what;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(server_main(2, words) != 0 || !read_only || !config.read_only);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static uint64_t look_up(const char *name) {
        last_ino = 0;
        ops.lookup(NULL, FUSE_ROOT_ID, name);
        assert_true(last_ino > FUSE_ROOT_ID);
        return last_ino;
}

static int open_file(uint64_t ino, int flags) {
        struct fuse_file_info fi = {.flags = flags};

        ops.open(NULL, ino, &fi);
        return last_error;
}

static void release(uint64_t ino) {
        struct fuse_file_info fi = {0};

        ops.release(NULL, ino, &fi);
        assert_int_equal(last_error, 0);
}

static void room_body(void) {
        const uint64_t a = look_up("a"), b = look_up("b"), c = look_up("c");

        assert_int_equal(open_file(a, O_RDONLY), 1);
        assert_true(uses[a]);
        assert_int_equal(open_file(a, O_RDONLY), 1);
        assert_int_equal(open_file(b, O_RDONLY), 1);
        assert_false(uses[b]); /* there is no room: the server answers */
        release(a);
        assert_true(uses[a]); /* somebody has it open */
        assert_int_equal(open_file(c, O_RDONLY), 1);
        assert_false(uses[c]);
        release(a);
        assert_false(uses[a]);
        release(b);
        release(c);
        for (unsigned i = 0; i < 3; i++) {
                const uint64_t next[] = {c, b, a};
                assert_int_equal(open_file(next[i], O_RDONLY), 1);
                assert_true(uses[next[i]]);
                release(next[i]);
                assert_false(uses[next[i]]);
        }
        assert_int_equal(n_upserts, 0);
}

static void test_room(void **state) {
        serve(true, room_body);
}

static void write_body(void) {
        static const int flags[] = {O_WRONLY, O_RDWR, O_WRONLY | O_TRUNC, O_RDWR | O_APPEND};
        const uint64_t a = look_up("a"), b = look_up("b");

        for (size_t i = 0; i < ELEMENTSOF(flags); i++) {
                assert_int_equal(open_file(a, flags[i]), -EROFS);
                assert_false(uses[a]);
        }
        assert_int_equal(open_file(b, O_RDONLY), 1); /* those have taken no room */
        assert_int_equal(uses[b], has_program);
        release(b);
        assert_int_equal(open_file(1000, O_RDONLY), -EUCLEAN);
        assert_int_equal(open_file(a, O_RDONLY), 1);
        release(a);
        assert_int_equal(n_upserts, has_program ? 0 : 2); /* without a program: into the cache */
}

static void test_write(void **state) {
        serve(true, write_body);
        serve(false, write_body);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_room), cmocka_unit_test(test_write)};

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
