/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: what FSYNC does, and what it answers. */

#define FUSE_USE_VERSION 312
#include <string.h>

#include "map/user.h"
#include "unit/kernel-world.h"

#define BLOCK 4096U

static unsigned n_syncs;
static int sync_error; /* of the next, which is told once */

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd) {
        n_syncs++;
        errno = TAKE_GENERIC(sync_error, int, 0);
        return errno ? -1 : 0;
}

static World *start(void) {
        static const RamfsConfig plain = {.block_size = BLOCK};

        n_syncs = 0;
        return world_new(&plain, &stock, /* devices= */ false, 0);
}

static void write_block(Model *model, const ModelInode *inode, unsigned block) {
        static const uint8_t data[BLOCK] = {1};
        const struct fuse_write_in in = {.fh = inode->fh, .offset = (uint64_t) block * BLOCK, .size = BLOCK, .flags = O_RDWR};
        struct fuse_write_out out;

        assert_int_equal(model_ask2(model, FUSE_WRITE, inode->nodeid, &in, sizeof in, data, sizeof data, &out, sizeof out), sizeof out);
        assert_int_equal(out.size, BLOCK);
}

static int sync_node(Model *model, uint32_t opcode, uint64_t nodeid) {
        const struct fuse_fsync_in in = {0};

        return (int) model_ask(model, opcode, nodeid, &in, sizeof in, NULL, 0);
}

/* What is kept and moved with others counts as well. */
static void test_kept(void **state) {
        World *world = start();
        ModelInode *inode = model_create(&world->model, "file");

        write_block(&world->model, inode, 0);
        assert_int_equal(sync_node(&world->model, FUSE_FSYNC, inode->nodeid), 0);
        assert_int_equal(n_syncs, 1);
        for (unsigned i = 0; i < RAMFS_DEVICES; i++)
                world->ramfs.map->devices[i].direct_fd = fd_dup(world->ramfs.device_fds[i]);
        for (unsigned i = 2; i < 5; i++) {
                write_block(&world->model, inode, 0); /* an overwrite */
                assert_int_equal(sync_node(&world->model, FUSE_FSYNC, inode->nodeid), 0);
                assert_int_equal(n_syncs, i);
                assert_int_equal(sync_node(&world->model, FUSE_FSYNC, inode->nodeid), 0);
                assert_int_equal(n_syncs, i);
        }
        assert_int_equal(world_free(world), 0);
}

/* A server without the operations: each time, and whatever it has written itself. */
static void test_no_operation(void **state) {
        World *world = start();
        ModelInode *inode = model_create(&world->model, "file");

        world->ramfs.map->has_fsync = false;
        for (unsigned i = 1; i < 4; i++) {
                write_block(&world->model, inode, i);
                assert_int_equal(sync_node(&world->model, FUSE_FSYNC, inode->nodeid), 0);
                assert_int_equal(n_syncs, i * RAMFS_DEVICES);
        }
        n_syncs = 0;
        for (unsigned i = 1; i < 4; i++) {
                assert_int_equal(sync_node(&world->model, FUSE_FSYNCDIR, FUSE_ROOT_ID), 0);
                assert_int_equal(n_syncs, i * RAMFS_DEVICES);
        }
        assert_int_equal(world_free(world), 0);
}

/* Whose write it was that the device could not take, nobody knows: each file of that time is told once, whoever asked first. */
static void test_errors(void **state) {
        World *world = start();
        Model *model = &world->model;
        const uint64_t a = model_create(model, "a")->nodeid, b = model_create(model, "b")->nodeid;

        for (unsigned round = 0; round < 2; round++) {
                write_block(model, model_lookup(model, "a"), round);
                sync_error = ENOSPC;
                assert_int_equal(sync_node(model, FUSE_FSYNC, b), -ENOSPC);
                const uint64_t later = model_create(model, round ? "d" : "c")->nodeid;
                assert_int_equal(sync_node(model, FUSE_FSYNC, later), 0);
                assert_int_equal(sync_node(model, FUSE_FSYNC, a), -EIO);
                assert_int_equal(sync_node(model, FUSE_FSYNC, a), 0);
                assert_int_equal(sync_node(model, FUSE_FSYNC, b), 0);
                sync_error = EIO; /* as the server finds it */
                assert_int_equal(fused_map_device_sync(world->ramfs.map, 1), -EIO);
                assert_int_equal(sync_node(model, FUSE_FSYNC, a), -EIO);
                assert_int_equal(sync_node(model, FUSE_FSYNC, b), -EIO);
                assert_int_equal(sync_node(model, FUSE_FSYNC, a), 0);
        }
        assert_int_equal(world_free(world), 0);
}

/* A sync that has failed has put nothing on the media: the next one tries again, for what was written before. */
static void test_again(void **state) {
        World *world = start();
        Model *model = &world->model;
        const uint64_t nodeid = model_create(model, "file")->nodeid;

        write_block(model, model_lookup(model, "file"), 0);
        for (unsigned i = 1; i < 4; i++) {
                sync_error = EIO;
                assert_int_equal(sync_node(model, FUSE_FSYNC, nodeid), -EIO);
                assert_int_equal(n_syncs, i);
        }
        assert_int_equal(sync_node(model, FUSE_FSYNC, nodeid), 0);
        assert_int_equal(n_syncs, 4);
        assert_int_equal(sync_node(model, FUSE_FSYNC, nodeid), 0);
        assert_int_equal(n_syncs, 4);
        assert_int_equal(world_free(world), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_kept), cmocka_unit_test(test_no_operation), cmocka_unit_test(test_errors),
                                           cmocka_unit_test(test_again)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
