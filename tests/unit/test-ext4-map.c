/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file system below fused-ext4-map on an image, without FUSE: space is filled, converted and cut at random beside a model of the file, and
 * the mappings have to agree with it; e2fsck has the last word. */

#include <linux/falloc.h>
#include <malloc.h>

#include "unit/ext4-image.h"

#define BLOCKS 2048U

enum { HOLE, UNWRITTEN, DATA };

static uint8_t model[BLOCKS]; /* what the file has there */

/* Every block's mapping against the model. */
static void compare(Fixture *f) {
        uint64_t size = f->volume.block_size;
        struct fused_mapping m;

        for (uint64_t block = 0; block < BLOCKS; block = (m.offset + m.length) / size) {
                assert_int_equal(data_begin(&f->volume, f->ino, block * size, size, 0, &m), 0);
                assert_true(m.offset <= block * size && m.offset + m.length > block * size);
                for (uint64_t i = block; i < BLOCKS && i < (m.offset + m.length) / size; i++) {
                        int is = m.type == FUSED_MAPPING_HOLE ? HOLE : m.type == FUSED_MAPPING_UNWRITTEN ? UNWRITTEN : DATA;
                        if (is != model[i])
                                fail_msg("block %u is %d and should be %d", (unsigned) i, is, model[i]);
                }
        }
}

static void set(Fixture *f, uint64_t first, uint64_t last, bool only_holes, uint8_t to) {
        for (uint64_t i = first; i <= last && i < BLOCKS; i++)
                if (!only_holes || model[i] == HOLE)
                        model[i] = to;
}

static void write_blocks(Fixture *f, uint64_t first, uint64_t last) {
        uint64_t size = f->volume.block_size, file_size;
        struct fused_mapping m;

        for (uint64_t block = first; block <= last; block = (m.offset + m.length) / size) {
                assert_int_equal(data_begin(&f->volume, f->ino, block * size, (last - block + 1) * size, FUSED_MAPPING_OP_WRITE, &m), 0);
                assert_true(m.type == FUSED_MAPPING_MAPPED || m.type == FUSED_MAPPING_UNWRITTEN);
                uint64_t end = MIN_OF((m.offset + m.length) / size, last + 1);
                uint32_t flags = FUSED_IOEND_APPEND | (m.type == FUSED_MAPPING_UNWRITTEN ? FUSED_IOEND_UNWRITTEN : 0);
                assert_int_equal(data_ioend(&f->volume, f->ino, block * size, (end - block) * size, flags, 0, &file_size), 0);
                assert_int_equal(data_end(&f->volume, f->ino, block * size, (int64_t) ((end - block) * size)), 0);
        }
        set(f, first, last, false, DATA);
}

static void step(Fixture *f, bool has_extents) {
        uint64_t first = random_below(f, BLOCKS), last = MIN_OF(first + random_below(f, random_below(f, 4) ? 8 : 300), BLOCKS - 1ULL);
        uint64_t size = f->volume.block_size, file_size, pos = first * size, n = (last - first + 1) * size;

        switch (random_below(f, has_extents ? 6 : 4)) {
        case 0:
        case 1:
                return write_blocks(f, first, last);
        case 2:
                assert_int_equal(space_allocate(&f->volume, f->ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos, n, &file_size), 0);
                return set(f, first, last, false, HOLE);
        case 3:
                if (random_below(f, 10))
                        return;
                assert_int_equal(space_set_size(&f->volume, f->ino, pos), 0);
                return set(f, first, BLOCKS - 1, false, HOLE);
        case 4:
                assert_int_equal(space_allocate(&f->volume, f->ino, 0, pos, n, &file_size), 0);
                return set(f, first, last, true, UNWRITTEN);
        default:
                assert_int_equal(space_allocate(&f->volume, f->ino, FALLOC_FL_ZERO_RANGE, pos, n, &file_size), 0);
                return set(f, first, last, false, UNWRITTEN);
        }
}

static void exercise(const char *options, bool has_extents) {
        const Maker maker = {.mode = S_IFREG | 0644};
        Fixture *f = calloc(1, sizeof *f);

        open_image(f, options);
        memset(model, HOLE, sizeof model);
        assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, "file", &maker, &f->ino), 0);
        for (int i = 0; i < 3000; i++) {
                step(f, has_extents);
                if (i % 50 == 0)
                        compare(f);
                if (i % 211 == 0)
                        assert_int_equal(volume_flush(&f->volume, false), 0);
        }
        compare(f);
        close_image(f);
        free(f);
}

static void test_extents(void **state) {
        exercise("-b 4096", true);
}

static void test_extents_1k(void **state) {
        exercise("-b 1024", true);
}

static void test_blocks(void **state) {
        exercise("-b 1024 -O ^extents,^64bit,^flex_bg,^metadata_csum", false);
}

/* Names: many of them, in a directory that the kernel could have given a hash tree. */
static void test_names(void **state) {
        const Maker maker = {.mode = S_IFREG | 0644};
        Fixture *f = calloc(1, sizeof *f);
        char name[64];
        ext2_ino_t ino;

        open_image(f, "-b 1024 -N 3000");
        for (int i = 0; i < 1500; i++) {
                (void) snprintf(name, sizeof name, "name-%d-of-some-length", i);
                assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, name, &maker, &ino), 0);
        }
        assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, name, &maker, &ino), -EEXIST);
        for (int i = 0; i < 1500; i += 2) {
                (void) snprintf(name, sizeof name, "name-%d-of-some-length", i);
                assert_int_equal(make_unlink(&f->volume, EXT2_ROOT_INO, name, false), 0);
                assert_int_equal(name_lookup(&f->volume, EXT2_ROOT_INO, name, &ino), -ENOENT);
        }
        close_image(f);
        free(f);
}

#define N_NAMES 30000

typedef struct Seen {
        Fixture *f;
        ext2_ino_t dir;
        uint8_t times[N_NAMES];
        uint64_t next;
        int n, n_made; /* in this call; in all */
} Seen;

static bool note_name(void *userdata, const char *name, ext2_ino_t ino, unsigned type, uint64_t next) {
        Seen *seen = userdata;
        int i;

        if (sscanf(name, "name-%d", &i) == 1 && i < N_NAMES)
                seen->times[i]++;
        assert_true(next > seen->next && next <= INT64_MAX);
        seen->next = next;
        return ++seen->n < 40;
}

/* Lists in pieces, and makes names in between: whoever was there before is seen once. */
static void list_growing(Seen *seen, int n_there) {
        const Maker maker = {.mode = S_IFREG | 0644};
        char name[64];
        ext2_ino_t ino;

        memset(seen->times, 0, sizeof seen->times);
        seen->next = 0;
        do {
                seen->n = 0;
                assert_int_equal(name_list(&seen->f->volume, seen->dir, seen->next, note_name, seen), 0);
                for (int i = 0; i < 20 && seen->n_made < N_NAMES; i++) {
                        (void) snprintf(name, sizeof name, "name-%d-of-some-length", seen->n_made++);
                        assert_int_equal(make_node(&seen->f->volume, seen->dir, name, &maker, &ino), 0);
                }
        } while (seen->n > 0);
        for (int i = 0; i < N_NAMES; i++)
                if (i < n_there ? seen->times[i] != 1 : seen->times[i] > 1)
                        fail_msg("%d was seen %d times, of %d", i, seen->times[i], n_there);
}

/* A directory gets a tree when it grows: names are found in it without looking through all, and are listed once, whatever moves meanwhile. */
static void test_tree(void **state) {
        static const char *const options[] = {"-b 1024 -N 33000", "-b 4096 -N 33000 -O ^metadata_csum,^64bit"};
        const Maker maker = {.mode = S_IFDIR | 0755};

        for (size_t k = 0; k < ELEMENTSOF(options); k++) {
                Fixture *f = calloc(1, sizeof *f);
                Seen *seen = calloc(1, sizeof *seen);
                char name[64];
                Inode inode;
                ext2_ino_t ino;
                open_image(f, options[k]);
                *seen = (Seen){.f = f};
                assert_int_equal(make_directory(&f->volume, EXT2_ROOT_INO, "directory", &maker, &seen->dir), 0);
                const clock_t start = clock();
                for (int n = 0; seen->n_made < N_NAMES; n = seen->n_made)
                        list_growing(seen, n);
                list_growing(seen, N_NAMES);
                assert_int_equal(inode_read(&f->volume, seen->dir, &inode), 0);
                assert_true(inode.i_flags & EXT2_INDEX_FL);
                for (int i = 0; i < N_NAMES; i += 1 + i % 3) {
                        (void) snprintf(name, sizeof name, "name-%d-of-some-length", i);
                        assert_int_equal(name_lookup(&f->volume, seen->dir, name, &ino), 0);
                        assert_int_equal(i % 2 ? make_unlink(&f->volume, seen->dir, name, false)
                                               : make_rename(&f->volume, seen->dir, name, seen->dir, name + 1, 0), 0);
                        assert_int_equal(name_lookup(&f->volume, seen->dir, name, &ino), -ENOENT);
                        assert_int_equal(name_lookup(&f->volume, seen->dir, name + 1, &ino), i % 2 ? -ENOENT : 0);
                }
                assert_true(clock() - start < 20 * CLOCKS_PER_SEC);
                close_image(f);
                free(seen);
                free(f);
        }
}

/* What a full file system says, and that it is whole afterwards. */
static void test_full(void **state) {
        const Maker maker = {.mode = S_IFREG | 0644};
        Fixture *f = calloc(1, sizeof *f);
        struct fused_mapping m;
        uint64_t block = 0, size;
        int r = 0;

        open_image(f, "-b 4096 -m 0");
        assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, "file", &maker, &f->ino), 0);
        while (r >= 0 && block < 100000) {
                r = data_begin(&f->volume, f->ino, block * 4096, 4096 * 10, FUSED_MAPPING_OP_WRITE, &m);
                if (r >= 0)
                        r = data_ioend(&f->volume, f->ino, block * 4096, 4096, FUSED_IOEND_UNWRITTEN | FUSED_IOEND_APPEND, 0, &size);
                block += 2; /* holes in between: a large tree */
        }
        assert_int_equal(r, -ENOSPC);
        assert_true(block > 5000);
        assert_int_equal(make_unlink(&f->volume, EXT2_ROOT_INO, "file", false), 0);
        assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, "file", &maker, &f->ino), 0);
        assert_int_equal(data_begin(&f->volume, f->ino, 0, 4096, FUSED_MAPPING_OP_WRITE, &m), 0);
        close_image(f);
        free(f);
}

/* Space that was allocated can be written to wherever one likes, and the last free block does not go into data or names. */
static void test_scattered(void **state) {
        static const char *const options[] = {"-b 4096 -m 0", "-b 1024 -m 0 -N 2000"};
        const Maker maker = {.mode = S_IFREG | 0644};

        for (size_t k = 0; k < ELEMENTSOF(options); k++) {
                Fixture *f = calloc(1, sizeof *f);
                struct fused_mapping m;
                uint64_t size = 0, step = 1 << 20, end = 0;
                ext2_ino_t ino;
                char name[300];
                int r = 0;

                open_image(f, options[k]);
                uint64_t block_size = f->volume.block_size;
                assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, "file", &maker, &f->ino), 0);
                for (; step >= block_size; step /= 2)
                        while (space_allocate(&f->volume, f->ino, 0, end, step, &size) >= 0)
                                end += step;
                for (int i = 0; i < 1000 && r >= 0; i++) { /* names take what they may */
                        (void) snprintf(name, sizeof name, "%0*d", 250, i);
                        r = make_directory(&f->volume, EXT2_ROOT_INO, name, &maker, &ino);
                }
                assert_int_equal(r, -ENOSPC);
                assert_true(end / block_size > 5000);
                for (uint64_t i = 0, n = (end / block_size + 1) / 2; i < n; i++) {
                        uint64_t at = i * 7919 % n * 2 * block_size; /* each of them once, in no order */
                        assert_true(n % 7919 != 0);
                        assert_int_equal(data_begin(&f->volume, f->ino, at, block_size, FUSED_MAPPING_OP_WRITE, &m), 0);
                        assert_int_equal(m.type, FUSED_MAPPING_UNWRITTEN);
                        assert_int_equal(data_ioend(&f->volume, f->ino, at, block_size, FUSED_IOEND_UNWRITTEN, 0, &size), 0);
                }
                assert_int_equal(volume_flush(&f->volume, /* sync= */ true), 0);
                for (uint64_t at = 0; at < end; at += block_size) {
                        assert_int_equal(data_begin(&f->volume, f->ino, at, block_size, 0, &m), 0);
                        assert_int_equal(m.type, at / block_size % 2 == 0 ? FUSED_MAPPING_MAPPED : FUSED_MAPPING_UNWRITTEN);
                }
                close_image(f);
                free(f);
        }
}

/* A tree that was looked at once costs little; what a writer needs is given back when it is on the device. */
static void test_node(void **state) {
        const Maker maker = {.mode = S_IFREG | 0644};
        Fixture *f = calloc(1, sizeof *f);

        assert_true(sizeof(Node) <= 40);
        open_image(f, "-b 4096");
        assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, "file", &maker, &f->ino), 0);
        Node *node = node_get(&f->volume, f->ino);
        assert_null(node->outstanding);
        node->n_writers = 1;
        node->n_lookup = 1;
        write_blocks(f, 0, 3);
        assert_non_null(node->outstanding);
        assert_int_equal(volume_flush(&f->volume, /* sync= */ false), 0);
        assert_non_null(node->outstanding); /* what is ahead */
        node->n_writers = 0;
        assert_int_equal(data_trim(&f->volume, node), 0);
        assert_int_equal(volume_flush(&f->volume, /* sync= */ false), 0);
        assert_null(node->outstanding);
        memset(model, HOLE, sizeof model);
        set(f, 0, 3, false, DATA);
        compare(f);
        assert_null(node->outstanding);
        close_image(f);
        free(f);
}

static void append(Fixture *f, uint64_t pos, uint64_t n) {
        struct fused_mapping m;
        uint64_t size;

        assert_int_equal(data_begin(&f->volume, f->ino, pos, n, FUSED_MAPPING_OP_WRITE, &m), 0);
        assert_int_equal(data_ioend(&f->volume, f->ino, pos, n, FUSED_IOEND_UNWRITTEN | FUSED_IOEND_APPEND, 0, &size), 0);
        assert_int_equal(size, pos + n);
}

/* Space ahead of an append is given back when nobody writes any more, wherever the end is by then; writes here and there get none. */
static void test_ahead(void **state) {
        const Maker maker = {.mode = S_IFREG | 0644};
        Fixture *f = calloc(1, sizeof *f);
        uint64_t before, size = 0, pos = 0;

        open_image(f, "-b 4096 -m 0");
        assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, "file", &maker, &f->ino), 0);
        Node *node = node_get(&f->volume, f->ino);
        node->n_writers = 1;
        before = volume_free_blocks(&f->volume);
        append(f, 0, 4096);
        assert_true(f->volume.n_ahead > 100); /* some of it is there... */
        for (pos = 4096; pos < 40 * 4096; pos += 4096)
                append(f, pos, 4096); /* ...and used */
        assert_true(before - volume_free_blocks(&f->volume) < 512);
        assert_int_equal(space_allocate(&f->volume, f->ino, 0, 100 * 4096, 4096, &size), 0); /* asked for: stays */
        append(f, 200 * 4096, 4096);
        assert_int_equal(space_set_size(&f->volume, f->ino, 1ULL << 34), 0); /* what is ahead is below the end now */
        for (uint64_t i = 0; i < 1000; i++)
                append(f, (1ULL << 34) + (i << 30), 4096); /* 4 MB of data */
        assert_true(f->volume.n_ahead <= volume_free_blocks(&f->volume) / 24);
        assert_int_equal(data_trim(&f->volume, node), 0);
        assert_int_equal(f->volume.n_ahead, 0);
        assert_true(before - volume_free_blocks(&f->volume) <= 1042 + 8); /* and blocks of the tree */
        assert_true(before - volume_free_blocks(&f->volume) >= 1042);
        close_image(f);
        free(f);
}

/* A hole that is to reach past the largest size of a file reaches to it. */
static void test_punch_far(void **state) {
        static const char *const options[] = {"-b 4096", "-b 1024 -O ^extents,^64bit"};
        static const uint64_t lengths[] = {1ULL << 36, 1ULL << 45, 1ULL << 60, INT64_MAX - 8192};
        const Maker maker = {.mode = S_IFREG | 0644};

        for (size_t k = 0; k < ELEMENTSOF(options); k++) {
                Fixture *f = calloc(1, sizeof *f);
                open_image(f, options[k]);
                for (size_t i = 0; i < ELEMENTSOF(lengths); i++) {
                        uint64_t size = 0, before, block = f->volume.block_size;
                        char name[16];
                        (void) snprintf(name, sizeof name, "file%zu", i);
                        assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, name, &maker, &f->ino), 0);
                        memset(model, HOLE, sizeof model);
                        write_blocks(f, 0, 50);
                        assert_int_equal(volume_flush(&f->volume, /* sync= */ false), 0);
                        before = volume_free_blocks(&f->volume);
                        assert_int_equal(space_allocate(&f->volume, f->ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, lengths[i], &size), 0);
                        assert_int_equal(size, 51 * block);
                        set(f, 8192 / block, BLOCKS - 1, false, HOLE);
                        compare(f);
                        assert_true(volume_free_blocks(&f->volume) - before >= 51 - 8192 / block);
                        size = 0;
                        assert_int_equal(space_allocate(&f->volume, f->ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1ULL << 60, 4096, &size), 0);
                        assert_int_equal(size, 51 * block);
                        assert_true(space_allocate(&f->volume, f->ino, 0, 1ULL << 60, 4096, &size) < 0);
                }
                close_image(f);
                free(f);
        }
}

/* A hole of a file without extents is passed over as what it is, not block by block. */
static void test_sparse_blocks(void **state) {
        static const char *const options[] = {"-b 4096 -O ^extents,^64bit", "-b 1024 -O ^extents,^64bit"};
        static const uint64_t sizes[] = {1ULL << 42, 1ULL << 34};
        const Maker maker = {.mode = S_IFREG | 0644};

        for (size_t k = 0; k < ELEMENTSOF(options); k++) {
                Fixture *f = calloc(1, sizeof *f);
                struct fused_mapping m;
                uint64_t size = 0, end = sizes[k], n = 0;
                open_image(f, options[k]);
                assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, "file", &maker, &f->ino), 0);
                uint64_t block = f->volume.block_size, data[] = {5 * block, 300 * block, 40000 * block, end / 2, end - block};
                for (size_t i = 0; i < ELEMENTSOF(data); i++)
                        write_blocks(f, data[i] / block, data[i] / block);
                const clock_t start = clock();
                for (uint64_t pos = 0, i = 0; pos < end; pos = m.offset + m.length, n++) {
                        assert_int_equal(data_begin(&f->volume, f->ino, pos, block, 0, &m), 0);
                        assert_int_equal(m.offset, pos);
                        assert_int_equal(m.type, pos == data[i] ? FUSED_MAPPING_MAPPED : FUSED_MAPPING_HOLE);
                        i += pos == data[i];
                        assert_true(i == ELEMENTSOF(data) || m.offset + m.length <= data[i] || pos == data[i - 1]);
                }
                assert_true(n < 2000);
                n = end - 7 * block;
                assert_int_equal(space_allocate(&f->volume, f->ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 6 * block, n, &size), 0);
                assert_int_equal(data_begin(&f->volume, f->ino, data[3], block, 0, &m), 0);
                assert_int_equal(m.type, FUSED_MAPPING_HOLE);
                assert_int_equal(data_begin(&f->volume, f->ino, data[4], block, 0, &m), 0);
                assert_int_equal(m.type, FUSED_MAPPING_MAPPED);
                assert_true(clock() - start < 3 * CLOCKS_PER_SEC);
                close_image(f);
                free(f);
        }
}

static uint64_t n_written(void) { /* bytes, by this process; 0: not told */
        FILE *file = fopen("/proc/self/io", "re");
        unsigned long long n = 0;

        if (!file)
                return 0;
        (void) fscanf(file, "rchar: %*u wchar: %llu", &n);
        (void) fclose(file);
        return n;
}

/* A large file system costs memory for what is in it, and writes for what has changed, not for its size. */
static void test_large(void **state) {
        const Maker maker = {.mode = S_IFREG | 0644};
        Fixture *f = calloc(1, sizeof *f);
        const struct mallinfo2 before = mallinfo2();

        open_image_of(f, 4ULL << 40, "-b 4096 -N 200000 -O ^resize_inode -J size=4"); /* 128 MiB of bits */
        memset(model, HOLE, sizeof model);
        assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, "file", &maker, &f->ino), 0);
        for (int i = 0; i < 200; i++) {
                step(f, /* has_extents= */ true);
                compare(f);
                if (i % 50 == 0)
                        assert_int_equal(volume_flush(&f->volume, false), 0);
        }
        assert_int_equal(volume_flush(&f->volume, false), 0);
        const uint64_t written = n_written();
        assert_int_equal(inode_changed(&f->volume, f->ino, INODE_MTIME), 0);
        assert_int_equal(volume_flush(&f->volume, false), 0);
        assert_in_range(n_written() - written, 0, 100000); /* of 2 MiB of descriptors */
        const struct mallinfo2 after = mallinfo2();
        assert_true(after.uordblks + after.hblkhd < before.uordblks + before.hblkhd + (32 << 20));
        close_image(f);
        free(f);
}

/* While it may be written to it is marked as not clean, on the device. */
static void test_marked(void **state) {
        const Maker maker = {.mode = S_IFREG | 0644};
        Fixture *f = calloc(1, sizeof *f);

        open_image(f, "");
        for (int i = 0; i < 2; i++) {
                assert_int_equal(run_command("dumpe2fs -h %s 2>/dev/null | grep -q 'state: *not clean'", f->path), 0);
                assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, i ? "a" : "b", &maker, &f->ino), 0);
                assert_int_equal(volume_flush(&f->volume, /* sync= */ true), 0);
                assert_false(f->volume.is_dirty);
                assert_int_equal(run_command("dumpe2fs -h %s 2>/dev/null | grep -q 'state: *not clean'", f->path), 0);
                close_volume(f);
                assert_int_equal(run_command("dumpe2fs -h %s 2>/dev/null | grep -q 'state: *clean'", f->path), 0);
                open_volume(f, VOLUME_WRITE);
        }
        close_image(f);
        free(f);
}

static void note_freed(void *userdata, uint64_t addr, uint64_t length) {
        Ranges *freed = userdata;

        assert_int_equal(ranges_add(freed, addr, addr + length - 1), 0);
}

/* Whoever may know a mapping to blocks that are free now hears of it. */
static void test_freed(void **state) {
        static const char *const options[] = {"-b 4096", "-b 1024 -O ^extents,^64bit"};
        const Maker maker = {.mode = S_IFREG | 0644};

        for (size_t k = 0; k < ELEMENTSOF(options); k++) {
                Fixture *f = calloc(1, sizeof *f);
                Ranges freed = {0};
                struct fused_mapping m;
                uint64_t size;
                open_image(f, options[k]);
                f->volume.hooks.freed = note_freed;
                f->volume.userdata = &freed;
                const uint64_t block = f->volume.block_size;
                for (int how = 0; how < 3; how++) {
                        assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, "file", &maker, &f->ino), 0);
                        write_blocks(f, 3, 5);
                        assert_int_equal(volume_flush(&f->volume, /* sync= */ false), 0);
                        assert_int_equal(data_begin(&f->volume, f->ino, 4 * block, block, 0, &m), 0);
                        assert_int_equal(m.type, FUSED_MAPPING_MAPPED);
                        const uint64_t addr = m.addr + 4 * block - m.offset;
                        assert_false(ranges_overlap(&freed, addr, addr, NULL));
                        const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
                        if (how == 0)
                                assert_int_equal(space_set_size(&f->volume, f->ino, 4 * block), 0);
                        else if (how == 1)
                                assert_int_equal(space_allocate(&f->volume, f->ino, punch, 4 * block, block, &size), 0);
                        assert_false(ranges_overlap(&freed, addr - block, addr - block, NULL));
                        assert_true(ranges_overlap(&freed, addr, addr + block - 1, NULL) == (how < 2));
                        assert_int_equal(make_unlink(&f->volume, EXT2_ROOT_INO, "file", false), 0);
                        assert_true(ranges_overlap(&freed, addr - block, addr - block, NULL));
                        assert_true(ranges_overlap(&freed, addr, addr + block - 1, NULL));
                        node_forget_all(&f->volume);
                        ranges_done(&freed);
                }
                close_image(f);
                ranges_done(&freed);
                free(f);
        }
}

/* An extent that leads into the journal is not data. */
static void test_journal_zone(void **state) {
        const Maker maker = {.mode = S_IFREG | 0644};
        Fixture *f = calloc(1, sizeof *f);
        struct fused_mapping m;
        blk64_t place;
        Inode inode;

        open_image(f, "-b 4096");
        for (int i = 0; i < 2; i++) { /* a block that nobody has, and the journal's */
                assert_int_equal(make_node(&f->volume, EXT2_ROOT_INO, i ? "a" : "b", &maker, &f->ino), 0);
                assert_int_equal(inode_read(&f->volume, f->ino, &inode), 0);
                struct ext3_extent_header *header = (void *) inode.i_block;
                struct ext3_extent *extent = (void *) (header + 1);
                if (i == 0)
                        assert_int_equal(ext2fs_new_block2(f->volume.fs, 0, NULL, &place), 0);
                else
                        assert_int_equal(ext2fs_bmap2(f->volume.fs, EXT2_JOURNAL_INO, NULL, NULL, 0, 7, NULL, &place), 0);
                header->eh_entries = ext2fs_cpu_to_le16(1);
                *extent = (struct ext3_extent){.ee_len = ext2fs_cpu_to_le16(1), .ee_start = ext2fs_cpu_to_le32((uint32_t) place)};
                assert_int_equal(inode_write(&f->volume, f->ino, &inode), 0);
                assert_int_equal(data_begin(&f->volume, f->ino, 0, 4096, 0, &m), i ? -EUCLEAN : 0);
        }
        close_volume(f);
        (void) unlink(f->path);
        free(f);
}

static void test_refused(void **state) {
        static const struct {
                const char *options, *word;
        } rows[] = {{"-O inline_data", "inline_data"}, {"-O encrypt", "encrypt"}, {"-O casefold", "casefold"}, {"-O bigalloc", "bigalloc"},
                    {"-O mmp", "mmp"},                 {"-O quota", "quota"},     {"-O ea_inode", "ea_inode"}};
        const VolumeHooks hooks = {0};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char path[] = "/tmp/test-ext4-map.XXXXXX";
                Volume volume;
                int fd = mkstemp(path);
                assert_int_equal(ftruncate(fd, IMAGE_BYTES), 0);
                assert_int_equal(run_command("mkfs.ext4 -q -F %s %s >/dev/null 2>&1", rows[i].options, path), 0);
                assert_int_equal(volume_open(&volume, fd, VOLUME_WRITE, &hooks, NULL), -EOPNOTSUPP);
                assert_non_null(strstr(volume.why, rows[i].word));
                (void) volume_close(&volume);
                (void) close(fd);
                (void) unlink(path);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_extents), cmocka_unit_test(test_extents_1k), cmocka_unit_test(test_blocks),
                cmocka_unit_test(test_names),   cmocka_unit_test(test_full),       cmocka_unit_test(test_scattered),
                cmocka_unit_test(test_ahead),   cmocka_unit_test(test_punch_far),  cmocka_unit_test(test_refused),
                cmocka_unit_test(test_large),    cmocka_unit_test(test_sparse_blocks), cmocka_unit_test(test_tree),
                cmocka_unit_test(test_marked),   cmocka_unit_test(test_freed),      cmocka_unit_test(test_journal_zone),
                cmocka_unit_test(test_node),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
