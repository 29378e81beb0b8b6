/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel engine against the model of the kernel: how I/O ends, and what the server hears of it; what goes other ways than by mappings. */

#define FUSE_USE_VERSION 312
#include <string.h>
#include <sys/mman.h>

#include "unit/kernel-world.h"

#define BLOCK 4096U

static const RamfsConfig plain = {.block_size = BLOCK};

/* ---- ends ----------------------------------------------------------------------------------------------------------- */

/* As a disk that has gone bad: it can be read. */
static void refuse_writes(Model *model, bool refuse) {
        static int writable[MODEL_DEVICES_MAX];
        char path[32];

        for (size_t i = 0; i < model->n_devices; i++) {
                ModelDevice *device = &model->devices[i];
                if (!refuse) {
                        (void) fd_close(device->fd);
                        device->fd = writable[i];
                        continue;
                }
                writable[i] = device->fd;
                (void) snprintf(path, sizeof path, "/proc/self/fd/%d", device->fd);
                device->fd = open(path, O_RDONLY | O_CLOEXEC);
                assert_true(device->fd >= 0);
        }
}

/* A plain overwrite costs no IOEND, an append one; END comes for a change of size; devices have the server's numbers again. */
static void test_ends(void **state) {
        World *world = world_new(&plain, &iomap_r7, true, 0);
        Model *model = &world->model;
        ModelInode *inode = model_create(model, "file");
        uint8_t data[BLOCK];

        memset(data, 1, sizeof data);
        assert_int_equal(model_write(model, inode, 0, sizeof data, data, false), 0);
        assert_int_equal(model->n_ioend, 1);
        assert_int_equal(model->n_end, 1);
        assert_int_equal(world->ramfs.n_ends, 1);
        assert_in_range(world->ramfs.last_end.mapping.dev, 1, RAMFS_DEVICES);
        assert_int_equal(world->ramfs.files[0].size, BLOCK);
        assert_int_equal(inode->disk_size, BLOCK);
        assert_int_equal(fused_map_size(world->ramfs.map, inode->nodeid), BLOCK);
        assert_int_equal(model_write(model, inode, 10, 100, data, false), 0);
        assert_int_equal(model_write(model, inode, 0, sizeof data, data, true), 0);
        assert_int_equal(model->n_ioend, 1);
        assert_int_equal(model->n_end, 1);
        assert_int_equal(world->ramfs.map->statistics->answered_by_server, model->n_begin);

        /* A write that failed: the server hears of it, and nothing became larger. */
        const IomapIoendIn in = {.flags = FUSED_IOEND_APPEND, .error = -EIO, .attr_ino = inode->ino, .pos = BLOCK, .written = BLOCK, .dev = 5};
        IomapIoendOut out = {0};
        const unsigned told = world->ramfs.n_ioends;
        assert_int_equal(model_ask(model, IOMAP_IOEND, inode->nodeid, &in, sizeof in, &out, sizeof out), sizeof out);
        assert_int_equal(out.newsize, BLOCK);
        assert_int_equal(world->ramfs.n_ioends, told + 1);
        assert_int_equal(world->ramfs.files[0].size, BLOCK);
        assert_int_equal(world_free(world), 0);

        /* One that the device refuses, though a plain overwrite, and one of new space, which stays unwritten. */
        for (unsigned direct = 0; direct < 2; direct++) {
                world = world_new(&(RamfsConfig){.block_size = BLOCK, .unwritten = true}, &iomap_rn, true, 0);
                inode = model_create(&world->model, "file");
                uint8_t back[BLOCK];
                assert_int_equal(model_write(&world->model, inode, 0, BLOCK, data, direct), 0);
                assert_int_equal(world->ramfs.n_ioends, 1);
                refuse_writes(&world->model, true);
                assert_int_equal(model_write(&world->model, inode, 0, BLOCK, data, direct), -EIO);
                assert_int_equal(world->ramfs.n_ioends, 2);
                assert_int_equal(world->ramfs.last_ioend.error, -EIO);
                assert_int_equal(model_write(&world->model, inode, BLOCK, BLOCK, data, direct), -EIO);
                assert_int_equal(world->ramfs.n_ioends, 3);
                assert_int_equal(world->ramfs.files[0].size, BLOCK);
                assert_int_equal(world->ramfs.files[0].blocks[1].state, RAMFS_UNWRITTEN);
                assert_int_equal(fused_map_size(world->ramfs.map, inode->nodeid), BLOCK);
                refuse_writes(&world->model, false);
                assert_int_equal(model_read(&world->model, inode, 0, BLOCK, back, true), 0);
                assert_memory_equal(data, back, BLOCK);
                assert_int_equal(model_write(&world->model, inode, BLOCK, BLOCK, data, direct), 0);
                assert_int_equal(world->ramfs.last_ioend.error, 0);
                assert_int_equal(world->ramfs.files[0].size, 2 * BLOCK);
                assert_int_equal(world_free(world), 0);
        }

        world = world_new(&(RamfsConfig){.block_size = BLOCK, .no_ends = true}, &iomap_r7, true, 0);
        inode = model_create(&world->model, "file");
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(model_write(&world->model, inode, (uint64_t) i * BLOCK, sizeof data, data, false), 0);
        assert_int_equal(world->model.n_end, 1); /* once, and never again */
        assert_int_equal(world_free(world), 0);
}

/* What the server is told of each: the operation, what was done, and where, by its own numbers of devices. */
static void test_end_facts(void **state) {
        uint8_t data[BLOCK];

        memset(data, 1, sizeof data);
        for (unsigned direct = 0; direct < 2; direct++) {
                World *world = world_new(&plain, direct ? &iomap_rn : &iomap_r7, true, 0);
                Ramfs *ramfs = &world->ramfs;
                ModelInode *inode = model_create(&world->model, "file");
                unsigned seen = 0;
                for (uint64_t i = 0; i < 16; i++) {
                        struct fused_mapping where;
                        assert_int_equal(model_write(&world->model, inode, i * BLOCK, BLOCK, data, direct), 0);
                        ramfs_where(ramfs, inode->nodeid, i * BLOCK, &where);
                        seen |= 1U << where.dev;
                        assert_int_equal(ramfs->last_ioend.pos, i * BLOCK);
                        assert_int_equal(ramfs->last_ioend.written, BLOCK);
                        assert_int_equal(ramfs->last_ioend.error, 0);
                        assert_int_equal(ramfs->last_ioend.flags, FUSED_IOEND_APPEND | (direct ? FUSED_IOEND_DIRECT : FUSED_IOEND_WRITEBACK));
                        assert_int_equal(ramfs->last_ioend.dev, direct ? 0 : where.dev);
                        assert_true(ramfs->last_ioend.new_addr == FUSED_MAPPING_ADDR_NONE);
                        if (direct)
                                continue;
                        assert_int_equal(ramfs->last_end.request.nodeid, inode->nodeid);
                        assert_int_equal(ramfs->last_end.request.ino, inode->ino);
                        assert_int_equal(ramfs->last_end.request.pos, i * BLOCK);
                        assert_int_equal(ramfs->last_end.request.count, BLOCK);
                        assert_int_equal(ramfs->last_end.request.opflags, FUSED_MAPPING_OP_WRITE);
                        assert_int_equal(ramfs->last_end.written, BLOCK);
                        assert_int_equal(ramfs->last_end.mapping.dev, where.dev);
                        assert_int_equal(ramfs->last_end.mapping.addr, where.addr);
                        assert_int_equal(ramfs->last_end.mapping.flags, FUSED_MAPPING_F_NEW | FUSED_MAPPING_F_SIZE_CHANGED);
                }
                assert_int_equal(seen, 6); /* both devices */
                assert_int_equal(world->model.n_end, direct ? 0 : 16); /* what is direct changes the size when it is done */
                assert_int_equal(world_free(world), 0);
        }
}

static void want_end(struct fused_mapping *read, struct fused_mapping *write) {
        read->flags |= FUSED_MAPPING_F_WANT_END;
}

/* END also where nothing was amiss, if the server wants it, and of what was short. */
static void test_wanted_ends(void **state) {
        World *world = world_new(&plain, &iomap_rn, true, 0);
        Model *model = &world->model;
        ModelInode *inode = model_create(model, "file");
        uint8_t data[BLOCK] = {1};

        assert_int_equal(model_write(model, inode, 0, BLOCK, data, true), 0);
        assert_int_equal(model_read(model, inode, 0, BLOCK, data, true), 0);
        assert_int_equal(model->n_end, 0);
        world->ramfs.spoil = want_end;
        assert_int_equal(model_read(model, inode, 0, 100, data, true), 0);
        assert_int_equal(model->n_end, 1);
        assert_int_equal(world->ramfs.last_end.request.opflags, FUSED_MAPPING_OP_DIRECT);
        assert_int_equal(world->ramfs.last_end.written, 100);
        world->ramfs.spoil = NULL;
        for (size_t i = 0; i < model->n_devices; i++)
                model->devices[i].size = 0; /* gone */
        assert_int_equal(model_write(model, inode, 10, 100, data, false), -EIO);
        assert_int_equal(model->n_end, 2);
        assert_int_equal(world->ramfs.last_end.request.count, 100);
        assert_int_equal(world->ramfs.last_end.written, 0);
        assert_int_equal(world_free(world), 0);
}

/* What the server says to the end of a write is the write's own error. */
static void test_end_errors(void **state) {
        World *world = world_new(&plain, &iomap_rn, true, 0);
        ModelInode *inode = model_create(&world->model, "file");
        uint8_t data[BLOCK] = {1};

        world->ramfs.end_error = -EDQUOT;
        assert_int_equal(model_write(&world->model, inode, 0, BLOCK, data, false), -EDQUOT);
        world->ramfs.end_error = 7; /* no error */
        assert_int_equal(model_write(&world->model, inode, inode->size, BLOCK, data, false), 0);
        world->ramfs.end_error = 0;
        world->ramfs.ioend_error = -EDQUOT;
        for (unsigned direct = 0; direct < 2; direct++)
                assert_int_equal(model_write(&world->model, inode, inode->size, BLOCK, data, direct), -EDQUOT);
        world->ramfs.ioend_error = 0;
        assert_int_equal(model_write(&world->model, inode, 0, BLOCK, data, false), 0);
        assert_int_equal(world_free(world), 0);
}

/* The size that the kernel is to take is never less than it was, and what has failed makes nothing larger. Older kernels take it as it is. */
static void test_sizes_said(void **state) {
        static const struct {
                int error;
                uint64_t said, newsize;
        } rows[] = {{0, 100, BLOCK}, {0, BLOCK * 3, BLOCK * 3}, {-EIO, BLOCK * 9, BLOCK * 3}, {-EIO, 100, BLOCK * 3}, {0, BLOCK * 2, BLOCK * 3}};
        World *world = world_new(&plain, &iomap_r7, true, 0);
        ModelInode *inode = model_create(&world->model, "file");
        uint8_t data[BLOCK] = {1};

        assert_int_equal(model_write(&world->model, inode, 0, BLOCK, data, true), 0);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const IomapIoendIn in = {.flags = FUSED_IOEND_APPEND, .error = rows[i].error, .attr_ino = inode->ino, .pos = 0, .written = BLOCK,
                                         .new_addr = 8, .dev = world->model.devices[1].cookie};
                IomapIoendOut out = {0};
                world->ramfs.ioend_size = rows[i].said;
                assert_int_equal(model_ask(&world->model, IOMAP_IOEND, inode->nodeid, &in, sizeof in, &out, sizeof out), sizeof out);
                assert_int_equal(out.newsize, rows[i].newsize);
                assert_int_equal(fused_map_size(world->ramfs.map, inode->nodeid), rows[i].newsize);
                assert_int_equal(world->ramfs.last_ioend.written, rows[i].error ? 0 : BLOCK);
                assert_int_equal(world->ramfs.last_ioend.dev, 2);
        }
        assert_int_equal(world_free(world), 0);
}

/* A server that wants to hear of no end is not asked again, but for the end of a swap file. */
static void test_no_ioends(void **state) {
        for (unsigned newer = 0; newer < 2; newer++) {
                World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .no_ioends = true}, newer ? &iomap_rn : &iomap_r7, true, 0);
                ModelInode *inode = model_create(&world->model, "file");
                uint8_t data[BLOCK] = {1};
                for (unsigned i = 0; i < 3; i++)
                        assert_int_equal(model_write(&world->model, inode, (uint64_t) i * BLOCK, BLOCK, data, i & 1), 0);
                assert_int_equal(world->model.n_ioend, 1);
                assert_int_equal(inode->disk_size, BLOCK * 3);
                assert_int_equal(model_swapoff(&world->model, inode), 0);
                assert_int_equal(world->model.n_ioend, newer ? 2 : 1);
                assert_int_equal(world_free(world), 0);
        }
}

/* Writeback that finds no place: what was cached is lost, and the server hears of it. */
static void test_discarded(void **state) {
        World *world = world_new(&plain, &iomap_rn, true, 0);
        ModelInode *inode = model_create(&world->model, "file");
        uint8_t data[BLOCK] = {1};

        world->ramfs.begin_error = -ENOSPC;
        world->ramfs.begin_error_op = FUSED_MAPPING_OP_WRITEBACK;
        assert_int_equal(model_write(&world->model, inode, 0, BLOCK, data, false), -ENOSPC);
        assert_int_equal(world->ramfs.last_ioend.error, -ENOSPC);
        assert_int_equal(world->ramfs.last_ioend.dev, 0);
        assert_int_equal(world->ramfs.last_ioend.flags & FUSED_IOEND_WRITEBACK, 0);
        assert_int_equal(fused_map_size(world->ramfs.map, inode->nodeid), 0);
        assert_int_equal(world_free(world), 0);
}

/* A swap file is whole, or none; the server hears when it is one no more, in both cases. */
static void test_swap(void **state) {
        World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .retries = true}, &iomap_rn, true, 0);
        ModelInode *inode = model_create(&world->model, "file");
        uint8_t data[BLOCK * 4] = {1};

        world->ramfs.config.retries = false; /* the cache is not for these */
        assert_int_equal(model_write(&world->model, inode, 0, sizeof data, data, true), 0);
        const unsigned begun = world->ramfs.n_begin;
        assert_int_equal(model_swapon(&world->model, inode), 0);
        assert_true(world->ramfs.n_begin > begun);
        assert_int_equal(model_swapoff(&world->model, inode), 0);
        assert_int_equal(world->ramfs.last_ioend.flags, FUSED_IOEND_SWAPOFF);
        assert_int_equal(world->ramfs.last_ioend.error, 0);
        assert_int_equal(model_truncate(&world->model, inode, BLOCK * 9), 0);
        assert_int_equal(model_swapon(&world->model, inode), -EINVAL);
        assert_int_equal(world->ramfs.last_ioend.flags, FUSED_IOEND_SWAPOFF);
        assert_int_equal(world->ramfs.last_ioend.error, -EINVAL);
        assert_int_equal(world_free(world), 0);
}

/* ---- ways around ---------------------------------------------------------------------------------------------------- */

/* What is in the server's own records goes by READ and WRITE, of no open file; the file is mapped all the same. */
static void test_inline(void **state) {
        for (unsigned newer = 0; newer < 2; newer++) {
                World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .inlines = true}, newer ? &iomap_rn : &iomap_r7, true, 0);
                Model *model = &world->model;
                ModelInode *inode = model_create(model, "file");
                uint8_t data[BLOCK * 2], back[BLOCK * 2];
                memset(data, 'i', sizeof data);
                assert_int_equal(model_write(model, inode, 0, 3000, data, false), 0);
                assert_int_equal(model_write(model, inode, 100, sizeof data - 100, data, false), 0); /* past it, too */
                assert_int_equal(world->ramfs.last_fh, 0);
                assert_int_equal(inode->size, sizeof data);
                assert_int_equal(world->ramfs.files[0].size, sizeof data);
                assert_memory_equal(world->ramfs.files[0].first, data, BLOCK);
                assert_int_equal(model_read(model, inode, 0, sizeof back, back, false), 0);
                assert_memory_equal(back, data, sizeof back);
                assert_int_equal(model_truncate(model, inode, 50), 0);
                assert_int_equal(model_truncate(model, inode, 200), 0);
                memset(data + 50, 0, 150);
                assert_int_equal(model_read(model, inode, 0, 200, back, true), 0);
                assert_memory_equal(back, data, 200);
                assert_true(model->n_inline > 0);
                assert_int_equal(world->ramfs.map->n_complaints, 0); /* it is not taken for one that the kernel does not map */
                assert_int_equal(world_free(world), 0);
        }
}

/* Direct I/O that the server does not want goes through the cache, if it may. */
static void test_direct(void **state) {
        for (unsigned forced = 0; forced < 2; forced++) {
                World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .direct_io = forced}, &iomap_rn, true, 0);
                Model *model = &world->model;
                ModelInode *inode = model_create(model, "file");
                uint8_t data[BLOCK] = {7}, back[BLOCK];
                assert_int_equal(inode->open_flags, forced ? FOPEN_DIRECT_IO : FOPEN_KEEP_CACHE);
                assert_int_equal(model_open(model, inode, O_RDWR), 0);
                assert_int_equal(inode->open_flags, forced ? FOPEN_DIRECT_IO : FOPEN_KEEP_CACHE);
                assert_int_equal(model_write(model, inode, 0, BLOCK, data, false), 0);
                assert_int_equal(world->ramfs.last_ioend.flags & FUSED_IOEND_DIRECT, forced ? FUSED_IOEND_DIRECT : 0);
                world->ramfs.begin_error = -ENOSYS;
                world->ramfs.begin_error_op = FUSED_MAPPING_OP_DIRECT;
                assert_int_equal(model_write(model, inode, BLOCK, BLOCK, data, true), forced ? -EIO : 0);
                assert_int_equal(model_read(model, inode, 0, BLOCK, back, true), forced ? -EIO : 0);
                world->ramfs.begin_error_op = 0;
                assert_int_equal(model_read(model, inode, 0, BLOCK, back, true), 0);
                assert_memory_equal(back, data, BLOCK);
                assert_int_equal(world_free(world), 0);
        }
}

static void test_open_truncates(void **state) {
        World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .retries = true}, &iomap_rn, true, 0);
        Model *model = &world->model;
        ModelInode *inode = model_create(model, "file");
        uint8_t data[BLOCK * 2], zeroes[BLOCK * 2] = {0};

        memset(data, 't', sizeof data);
        assert_int_equal(model_write(model, inode, 0, sizeof data, data, true), 0);
        assert_int_equal(model_read(model, inode, 0, sizeof data, data, true), 0); /* into the cache */
        assert_false(model->init.flags & FUSE_ATOMIC_O_TRUNC);
        assert_int_equal(model_open(model, inode, O_RDWR | O_TRUNC), 0);
        assert_int_equal(inode->size, 0);
        assert_int_equal(world->ramfs.files[0].size, 0);
        assert_int_equal(model_truncate(model, inode, sizeof data), 0);
        assert_int_equal(model_read(model, inode, 0, sizeof data, data, true), 0);
        assert_memory_equal(data, zeroes, sizeof data);
        assert_int_equal(world_free(world), 0);
}

static void test_copy(void **state) {
        World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .retries = true}, &iomap_rn, true, 0);
        Model *model = &world->model;
        ModelInode *from = model_create(model, "from"), *to = model_create(model, "to");
        uint8_t data[BLOCK * 4], back[BLOCK * 2];

        for (size_t i = 0; i < sizeof data; i++)
                data[i] = (uint8_t) (i / 100);
        assert_int_equal(model_write(model, from, 0, sizeof data, data, true), 0);
        memset(back, 'o', sizeof back);
        assert_int_equal(model_write(model, to, 0, sizeof back, back, true), 0);
        assert_int_equal(model_read(model, to, 0, sizeof back, back, true), 0); /* into the cache */
        assert_int_equal(model_copy_range(model, from, BLOCK, to, 0, BLOCK * 2), BLOCK * 2);
        assert_int_equal(model_read(model, to, 0, sizeof back, back, true), 0);
        assert_memory_equal(back, data + BLOCK, sizeof back);
        assert_int_equal(world_free(world), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ends), cmocka_unit_test(test_end_facts), cmocka_unit_test(test_wanted_ends),
                cmocka_unit_test(test_end_errors), cmocka_unit_test(test_sizes_said), cmocka_unit_test(test_no_ioends),
                cmocka_unit_test(test_discarded), cmocka_unit_test(test_swap), cmocka_unit_test(test_inline), cmocka_unit_test(test_direct),
                cmocka_unit_test(test_open_truncates), cmocka_unit_test(test_copy)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
