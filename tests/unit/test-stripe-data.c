/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mappings of the server of striped volumes, without the library: what of a file may be read, in whatever order writes end, fail or are heard of
 * no more. The devices are full of S, which nobody has written into a file here. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "stripe/server.h"

#define SHIFT 14U
#define BLOCK ((uint64_t) STRIPE_BLOCK)
#define CHUNK (1ULL << SHIFT)
#define MEMBER_SIZE (24U << 20)
#define NODE 2 /* of the first file */

static int fds[2];
static uint64_t sizes[2] = {MEMBER_SIZE, MEMBER_SIZE};
static struct stripe_file table[1049]; /* of the program */

/* ---- in the place of the library ------------------------------------------------------------------------------------ */

int fused_map_set_size(struct fused_map *map, uint64_t nodeid, uint64_t size) {
        return 0;
}

int fused_map_use_program(struct fused_map *map, uint64_t nodeid, bool use) {
        return 0;
}

int fused_map_attach_program(struct fused_map *map, const char *name, struct fused_map_table *tables, size_t n_tables) {
        tables[0].data = table;
        tables[0].entry_size = sizeof *table;
        tables[0].n_available = ELEMENTSOF(table);
        return 0;
}

uint32_t fused_kill_set_id(uint32_t mode, gid_t file_gid, uid_t uid, gid_t gid) {
        return 0;
}

/* As the library does for a WRITE: asks where each piece is. Writes what there is, if data is given. Returns the last error. */
static int begin(uint64_t pos, uint64_t size, const void *data, uint32_t opflags) {
        for (uint64_t at = pos; at < pos + size;) {
                const struct fused_map_request request = {.nodeid = NODE, .pos = at, .count = pos + size - at, .opflags = opflags};
                struct fused_mapping read = {0}, write = {0};
                int r = server_map_operations.begin(NULL, &request, &read, &write);
                if (r < 0)
                        return r;
                assert_true(read.offset <= at && at < read.offset + read.length && read.dev >= 1);
                assert_true(read.type == FUSED_MAPPING_MAPPED || read.type == FUSED_MAPPING_UNWRITTEN);
                const uint64_t n = MIN_OF(pos + size, read.offset + read.length) - at;
                if (data)
                        assert_int_equal(pwrite(fds[read.dev - 1], (const char *) data + (at - pos), n, (off_t) (read.addr + at - read.offset)), n);
                at += n;
        }
        return 0;
}

static int begin_write(uint64_t pos, uint64_t size, const void *data) {
        return begin(pos, size, data, FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_DIRECT);
}

static int end_write(uint64_t pos, uint64_t size, int error) {
        const struct fused_map_ioend ioend = {
                .nodeid = NODE, .pos = pos, .written = error ? 0 : size, .flags = FUSED_IOEND_UNWRITTEN, .error = error};
        uint64_t now = 0;

        return server_map_operations.ioend(NULL, &ioend, &now);
}

static void write_it(uint64_t pos, uint64_t size, char letter) {
        _cleanup_free_ char *data = malloc(size);

        memset(data, letter, size);
        assert_int_equal(begin_write(pos, size, data), 0);
        assert_int_equal(end_write(pos, size, 0), 0);
}

static char read_block(uint64_t pos, uint16_t *ret_type) {
        const struct fused_map_request request = {.nodeid = NODE, .pos = pos, .count = BLOCK};
        struct fused_mapping read = {0}, write = {0};
        char block[STRIPE_BLOCK] = {0};

        assert_int_equal(server_map_operations.begin(NULL, &request, &read, &write), 0);
        if (read.type == FUSED_MAPPING_MAPPED)
                assert_int_equal(pread(fds[read.dev - 1], block, BLOCK, (off_t) (read.addr + pos - read.offset)), BLOCK);
        for (size_t i = 1; i < BLOCK; i++)
                assert_int_equal(block[i], block[0]);
        if (ret_type)
                *ret_type = read.type;
        return block[0];
}

/* The program's answers are the file's own, too. */
static void check(uint64_t from, uint64_t to, char letter) {
        const struct stripe_file *known = files_get(&server.files, NODE);

        for (uint64_t pos = from; pos < to; pos += BLOCK) {
                uint16_t type;
                assert_int_equal(read_block(pos, &type), letter);
                assert_true(type == FUSED_MAPPING_MAPPED || !known || pos >= known->length);
        }
}

static void open_again(void) {
        StripeWhy why;

        assert_int_equal(stripe_open(fds, sizes, 2, &server.volume, &why), 0);
        server.n_handed = 0;
        files_remove(&server.files, NODE);
}

/* As if the server had been killed: whatever was stored last is what there is. */
static void crash(void) {
        assert_int_equal(server_save(), 0);
        open_again();
}

static int set_up(void **state) {
        static const uint8_t uuid[16] = "a volume of test";
        static char block[1 << 20];

        memset(block, 'S', sizeof block);
        for (uint32_t i = 0; i < 2; i++) {
                fds[i] = memfd_create("member", MFD_CLOEXEC);
                for (uint64_t at = 0; at < MEMBER_SIZE; at += sizeof block)
                        assert_int_equal(pwrite(fds[i], block, sizeof block, (off_t) at), sizeof block);
        }
        assert_int_equal(stripe_create(fds, sizes, 2, SHIFT, uuid), 0);
        if (!server.has_program)
                assert_int_equal(server_map_operations.start(NULL), 0);
        open_again();
        assert_int_equal(stripe_add(&server.volume, "file"), NODE - 2);
        return 0;
}

static int tear_down(void **state) {
        (void) close(fds[0]);
        (void) close(fds[1]);
        return 0;
}

/* ---- what may happen to writes -------------------------------------------------------------------------------------- */

static void test_out_of_order(void **state) {
        assert_int_equal(begin_write(0, 4 * CHUNK, NULL), 0); /* takes its time */
        write_it(4 * CHUNK, 4 * CHUNK, 'B');
        check(0, 4 * CHUNK, 0);
        check(4 * CHUNK, 8 * CHUNK, 'B');
        crash();
        assert_int_equal(server.volume.table.files[0].size, 8 * CHUNK);
        check(0, 4 * CHUNK, 0);
        check(4 * CHUNK, 8 * CHUNK, 'B');
        write_it(0, 4 * CHUNK, 'A');
        crash();
        check(0, 4 * CHUNK, 'A');
        assert_int_equal(server.volume.table.n_gaps, 0);
}

static void test_failed(void **state) {
        write_it(0, CHUNK, 'A');
        assert_int_equal(begin_write(CHUNK, 3 * CHUNK, NULL), 0);
        assert_int_equal(end_write(CHUNK, CHUNK, -EIO), -EIO);
        assert_int_equal(server.volume.table.files[0].size, CHUNK);
        check(CHUNK, 4 * CHUNK, 0);
        write_it(3 * CHUNK, CHUNK, 'C'); /* within what was never heard of again */
        check(CHUNK, 3 * CHUNK, 0);
        crash();
        check(0, CHUNK, 'A');
        check(CHUNK, 3 * CHUNK, 0);
        check(3 * CHUNK, 4 * CHUNK, 'C');
        write_it(2 * CHUNK, CHUNK, 'B');
        crash();
        check(CHUNK, 2 * CHUNK, 0);
        check(2 * CHUNK, 3 * CHUNK, 'B');
}

static void test_parts(void **state) {
        write_it(10 * CHUNK, 100, 'A'); /* with the rest of the block, as the library does */
        assert_int_equal(server.volume.table.files[0].size, 10 * CHUNK + 100);
        check(0, 10 * CHUNK, 0);
        crash();
        check(0, 10 * CHUNK, 0);
        assert_int_equal(server_set_size(NODE, 5 * CHUNK + 1), 0);
        assert_int_equal(server_set_size(NODE, 20 * CHUNK), 0);
        check(0, 20 * CHUNK, 0);
        write_it(7 * CHUNK, 13 * CHUNK, 'B');
        crash();
        check(0, 7 * CHUNK, 0);
        check(7 * CHUNK, 20 * CHUNK, 'B');
        assert_int_equal(server.volume.table.n_gaps, 1);
}

/* ---- a table that cannot be stored ---------------------------------------------------------------------------------- */

/* Rows stay whose they were, so that nobody else can write into them; afterwards it works. */
static void test_not_stored(void **state) {
        const uint64_t size = server.volume.n_rows * 2 * CHUNK;
        _cleanup_free_ StripeTable *before = malloc(sizeof *before);
        _cleanup_fd_ int read_only = -EBADF;
        char path[32];

        (void) snprintf(path, sizeof path, "/proc/self/fd/%d", fds[0]);
        read_only = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(before && read_only >= 0);
        write_it(0, size, 'A');
        assert_int_equal(stripe_add(&server.volume, "other"), NODE - 1);
        crash();
        for (unsigned cut = 0; cut < 2; cut++) {
                *before = server.volume.table;
                server.volume.fds[0] = read_only;
                assert_int_equal(cut ? server_set_size(NODE, CHUNK) : server_remove(NODE - 2), -EBADF);
                assert_memory_equal(server.volume.table.files, before->files, sizeof before->files);
                assert_int_equal(server_reserve(NODE - 1, 1), -ENOSPC);
                check(0, size, 'A');
                server.volume.fds[0] = fds[0];
                assert_true(server.volume.table.sequence > before->sequence);
        }
        assert_int_equal(server_set_size(NODE, CHUNK), 0);
        assert_int_equal(server_reserve(NODE - 1, 1), 0);
        assert_int_equal(server_remove(NODE - 2), 0);
        assert_int_equal(server_reserve(NODE - 1, size), 0);
}

/* What is open is there without its name: until it is closed, or the server has gone. */
static void test_removed(void **state) {
        const uint64_t size = server.volume.n_rows * 2 * CHUNK;

        for (unsigned by_crash = 0; by_crash < 2; by_crash++) {
                write_it(0, size, 'A');
                server.opens[NODE - 2] = 2;
                assert_int_equal(server_remove(NODE - 2), 0);
                assert_int_equal(stripe_find(&server.volume, "file"), -ENOENT);
                assert_int_equal(stripe_add(&server.volume, "file"), NODE - 1);
                write_it(CHUNK, CHUNK, 'B');
                check(0, CHUNK, 'A');
                check(CHUNK, 2 * CHUNK, 'B');
                assert_int_equal(server_reserve(NODE - 1, 1), -ENOSPC);
                server.opens[NODE - 2]--;
                assert_int_equal(server_closed(NODE), 0);
                assert_non_null(server_file(NODE));
                server.opens[NODE - 2]--;
                if (by_crash)
                        crash();
                else
                        assert_int_equal(server_closed(NODE), 0);
                assert_null(server_file(NODE));
                assert_int_equal(server_reserve(NODE - 1, size), 0);
                assert_int_equal(server_remove(NODE - 1), 0);
                assert_int_equal(stripe_add(&server.volume, "file"), NODE - 2);
        }
}

/* ---- more gaps than there is room for ------------------------------------------------------------------------------- */

static void test_many(void **state) {
        const unsigned n = STRIPE_GAPS_MAX + 500;

        for (unsigned k = 0; k < n; k++)
                write_it((2 * k + 1) * BLOCK, BLOCK, 'A');
        assert_true(server.volume.table.n_gaps <= STRIPE_GAPS_MAX && server.volume.table.n_gaps > STRIPE_GAPS_MAX - 8);
        for (unsigned round = 0; round < 2; round++) {
                for (unsigned k = 0; k < n; k++) {
                        check(2 * k * BLOCK, (2 * k + 1) * BLOCK, 0);
                        check((2 * k + 1) * BLOCK, (2 * k + 2) * BLOCK, 'A');
                }
                crash();
        }
}

/* A gap that a write is on its way into is not filled: with what the write has put there it would be gone. */
static void test_not_over_writes(void **state) {
        const unsigned n = STRIPE_GAPS_MAX + 100;
        char data[STRIPE_BLOCK];

        memset(data, 'W', sizeof data);
        write_it((2 * n + 1) * BLOCK, BLOCK, 'E');
        assert_int_equal(begin_write(0, BLOCK, data), 0);
        assert_int_equal(begin_write(50 * BLOCK, BLOCK, data), 0);
        for (unsigned k = 0; k < n; k++)
                write_it((2 * k + 1) * BLOCK, BLOCK, 'A');
        assert_int_equal(end_write(0, BLOCK, 0), 0);
        assert_int_equal(end_write(50 * BLOCK, BLOCK, 0), 0);
        check(0, BLOCK, 'W');
        check(50 * BLOCK, 51 * BLOCK, 'W');
        check(2 * BLOCK, 3 * BLOCK, 0);
        assert_int_equal(server.n_handed, 0);
}

/* Writes are on their way into each gap: then there is nothing to fill, until one of them has ended. */
static void test_all_handed(void **state) {
        unsigned k = 0;
        int r = 0;

        assert_int_equal(server_set_size(NODE, 2 * (STRIPE_GAPS_MAX + 1) * BLOCK), 0);
        for (; r == 0 && k < STRIPE_GAPS_MAX; k++)
                r = begin_write((2 * k + 1) * BLOCK, BLOCK, NULL);
        assert_int_equal(r, -ENOSPC);
        assert_int_equal(server.volume.table.n_gaps, 1);
        assert_int_equal(end_write(BLOCK, BLOCK, 0), 0);
        assert_int_equal(server_set_size(NODE, 100 * BLOCK), 0); /* nothing is under way in a file that is cut */
        assert_int_equal(server.n_handed, 0);
        write_it(70 * BLOCK, BLOCK, 'A');
        check(0, BLOCK, 0);
        check(70 * BLOCK, 71 * BLOCK, 'A');
}

/* What goes into the kernel's cache, in the kernel engine: nothing is on its way, and there is rows' room for it when it is written back. */
static void test_cached(void **state) {
        assert_int_equal(begin(5 * BLOCK, BLOCK, NULL, FUSED_MAPPING_OP_WRITE), 0);
        assert_int_equal(server.n_handed, 0);
        assert_int_equal(server.volume.table.files[0].n_rows, 1);
        assert_int_equal(server.volume.table.files[0].size, 0);
        assert_int_equal(begin(5 * BLOCK, BLOCK, NULL, FUSED_MAPPING_OP_WRITEBACK), 0);
        assert_int_equal(server.n_handed, 1);
        assert_int_equal(end_write(5 * BLOCK, BLOCK, 0), 0);
        assert_int_equal(server.n_handed, 0);
}

static void test_hand_back(void **state) {
        server_hand_out(0, 10, 20);
        server_hand_out(0, 20, 30); /* one */
        server_hand_out(1, 10, 20);
        assert_int_equal(server.n_handed, 2);
        server_hand_back(0, 15, 25); /* two pieces of it */
        assert_int_equal(server.n_handed, 3);
        server_hand_back(0, 0, 12);
        server_hand_back(0, 28, 40);
        assert_int_equal(server.n_handed, 3);
        server_hand_back(0, 12, 15);
        assert_int_equal(server.n_handed, 2);
        server_hand_back(0, 0, UINT64_MAX);
        server_hand_back(1, 10, 20);
        assert_int_equal(server.n_handed, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        static const struct CMUnitTest tests[] = {
                TEST(test_out_of_order), TEST(test_failed), TEST(test_parts), TEST(test_not_stored), TEST(test_removed),
                TEST(test_many), TEST(test_not_over_writes), TEST(test_cached), TEST(test_all_handed),
                TEST(test_hand_back),
        };

        return cmocka_run_group_tests_name("stripe-data", tests, NULL, NULL);
}
