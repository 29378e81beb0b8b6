/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: WRITE to what is not the file's own place for good, kept with others or not; what the server hears of it; and what a
 * write does to the end of a file and to its privileges. */

#define FUSE_USE_VERSION 312
#include <poll.h>
#include <string.h>

#include "unit/kernel-world.h"

#define BLOCK 4096U

static uint8_t data[2 * BLOCK];

static World *start(const RamfsConfig *config) {
        memset(data, 'd', sizeof data);
        return world_new(config, &stock, /* devices= */ false, 0);
}

/* What is small is kept, and moved with others, from now on. */
static void make_direct(World *world) {
        for (unsigned i = 0; i < RAMFS_DEVICES; i++)
                world->ramfs.map->devices[i].direct_fd = fd_dup(world->ramfs.device_fds[i]);
}

static void send_write(Model *model, const ModelInode *inode, uint64_t pos, uint32_t size, uint32_t flags) {
        struct {
                struct fuse_write_in in;
                uint8_t data[sizeof data];
        } request = {.in = {.fh = inode->fh, .offset = pos, .size = size, .write_flags = flags, .flags = O_RDWR}};

        memcpy(request.data, data, size);
        model_send(model, FUSE_WRITE, inode->nodeid, &request, sizeof request.in + size);
}

/* The count, or the error. */
static int64_t receive_write(Model *model) {
        struct fuse_write_out out = {0};
        ssize_t n = model_receive(model, &out, sizeof out);

        return n < 0 ? n : out.size;
}

static int64_t ask_write(Model *model, const ModelInode *inode, uint64_t pos, uint32_t size, uint32_t flags) {
        send_write(model, inode, pos, size, flags);
        return receive_write(model);
}

static uint8_t device_byte(World *world, const ModelInode *inode, uint64_t pos) {
        struct fused_mapping place;
        uint8_t byte;

        ramfs_where(&world->ramfs, inode->nodeid, pos / BLOCK * BLOCK, &place);
        assert_int_equal(pread(world->ramfs.device_fds[place.dev - 1], &byte, 1, (off_t) (place.addr + pos % BLOCK)), 1);
        return byte;
}

/* What the cache calls shared belongs to others as well: the server says where a write goes. */
static void test_shared(void **state) {
        for (int direct = 0; direct < 2; direct++) {
                World *world = start(&(RamfsConfig){.block_size = BLOCK, .elsewhere = true});
                ModelInode *inode = model_create(&world->model, "file");
                struct fused_mapping before, after;
                if (direct)
                        make_direct(world);
                assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), BLOCK);
                ramfs_where(&world->ramfs, inode->nodeid, 0, &before);
                before.length = BLOCK;
                before.flags = FUSED_MAPPING_F_SHARED;
                assert_int_equal(fused_map_upsert(world->ramfs.map, inode->nodeid, &before, NULL), 0);
                const unsigned n_begin = world->ramfs.n_begin, n_ioends = world->ramfs.n_ioends;
                assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), BLOCK);
                assert_true(world->ramfs.n_begin > n_begin);
                assert_int_equal(world->ramfs.n_ioends, n_ioends + 1);
                assert_true(world->ramfs.last_ioend.flags & FUSED_IOEND_SHARED);
                ramfs_where(&world->ramfs, inode->nodeid, 0, &after);
                assert_true(after.dev != before.dev || after.addr != before.addr);
                (void) world_free(world);
        }
}

/* Kept with others is only what goes where the file's data is: the server hears of what does not. */
static void test_kept_elsewhere(void **state) {
        World *world = start(&(RamfsConfig){.block_size = BLOCK, .elsewhere = true});
        ModelInode *inode = model_create(&world->model, "file");

        make_direct(world);
        for (unsigned i = 1; i < 4; i++) {
                assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), BLOCK);
                assert_int_equal(world->ramfs.n_ioends, i);
                assert_int_equal(!(world->ramfs.last_ioend.flags & FUSED_IOEND_SHARED), i == 1);
        }
        (void) world_free(world);
}

static void want_end(struct fused_mapping *read, struct fused_mapping *write) {
        read->flags |= FUSED_MAPPING_F_WANT_END;
}

/* So it is with what the server wants to hear the end of. */
static void test_kept_with_flags(void **state) {
        World *world = start(&(RamfsConfig){.block_size = BLOCK});
        ModelInode *inode = model_create(&world->model, "file");

        make_direct(world);
        assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), BLOCK);
        unsigned n_ends = world->ramfs.n_ends;
        assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), BLOCK);
        assert_int_equal(world->ramfs.n_ends, n_ends);
        world->ramfs.spoil = want_end;
        assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), BLOCK);
        assert_int_equal(world->ramfs.n_ends, n_ends + 1);
        (void) world_free(world);
}

/* And with what the server has not yet on its devices as the file's, as long as the file may be already. */
static void test_kept_past_disk_size(void **state) {
        World *world = start(&(RamfsConfig){.block_size = BLOCK});
        ModelInode *inode = model_create(&world->model, "file");

        make_direct(world);
        world->ramfs.ioend_size = BLOCK;
        assert_int_equal(ask_write(&world->model, inode, 0, 2 * BLOCK, 0), 2 * BLOCK);
        unsigned n_ioends = world->ramfs.n_ioends;
        assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), BLOCK);
        assert_int_equal(world->ramfs.n_ioends, n_ioends);
        assert_int_equal(ask_write(&world->model, inode, BLOCK, BLOCK, 0), BLOCK);
        assert_int_equal(world->ramfs.n_ioends, n_ioends + 1);
        assert_true(world->ramfs.last_ioend.flags & FUSED_IOEND_APPEND);
        (void) world_free(world);
}

/* A device that takes nothing: the server hears that nothing was written. */
static void test_failed(void **state) {
        for (int unwritten = 0; unwritten < 2; unwritten++) {
                World *world = start(&(RamfsConfig){.block_size = BLOCK, .unwritten = unwritten});
                ModelInode *inode = model_create(&world->model, "file");
                _cleanup_fd_ int nothing = RET_NERRNO(open("/dev/null", O_RDONLY | O_CLOEXEC));
                for (unsigned i = 0; i < RAMFS_DEVICES; i++)
                        world->ramfs.map->devices[i].fd = nothing;
                assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), -EBADF);
                assert_int_equal(world->ramfs.n_ioends, 1);
                assert_int_equal(world->ramfs.last_ioend.error, -EBADF);
                assert_int_equal(world->ramfs.last_ioend.written, 0);
                assert_int_equal(world->ramfs.files[0].size, 0);
                for (unsigned i = 0; i < RAMFS_DEVICES; i++)
                        world->ramfs.map->devices[i].fd = world->ramfs.device_fds[i];
                (void) world_free(world);
        }
}

/* What was learned of a range is forgotten by whole blocks: what is left of one would be an answer that nobody gave. */
static void test_forgotten(void **state) {
        World *world = start(&(RamfsConfig){.block_size = BLOCK, .unwritten = true});
        ModelInode *inode = model_create(&world->model, "file");
        struct fused_mapping mapping = {.length = 4 * BLOCK, .addr = 16 * BLOCK, .type = FUSED_MAPPING_UNWRITTEN, .dev = 1}, known;
        MapFile *file = map_file_get(world->ramfs.map->files, inode->nodeid);

        assert_int_equal(fused_map_upsert(world->ramfs.map, inode->nodeid, &mapping, NULL), 0);
        assert_int_equal(ask_write(&world->model, inode, 0, 5000, 0), 5000);
        for (uint64_t pos = 0; pos < mapping.length; pos += 500)
                assert_int_equal(mapping_cache_lookup(file->read_cache, pos, &known), pos >= 2 * BLOCK);
        map_file_unref(file);
        (void) world_free(world);
}

/* Past the end of a file its last block is zero on the device, whatever was there. */
static void test_rest_of_block(void **state) {
        World *world = start(&(RamfsConfig){.block_size = BLOCK});
        ModelInode *inode = model_create(&world->model, "file");
        struct fused_mapping place;

        assert_int_equal(ask_write(&world->model, inode, 0, 100, 0), 100);
        ramfs_where(&world->ramfs, inode->nodeid, 0, &place);
        assert_int_equal(pwrite(world->ramfs.device_fds[place.dev - 1], "noise", 5, (off_t) place.addr + 200), 5);
        assert_int_equal(ask_write(&world->model, inode, 50, 10, 0), 10);
        assert_int_equal(device_byte(world, inode, 99), 'd');
        for (uint64_t i = 100; i < 300; i++)
                assert_int_equal(device_byte(world, inode, i), 0);
        (void) world_free(world);
}

/* A write that begins behind an end within a block has that block zeroed, so it waits until nobody else is at the file; so does one of a part of
 * a block. Whole blocks within the file, or right at its end, wait for nobody. */
static void test_who_waits(void **state) {
        static const struct {
                uint64_t size, pos;
                uint32_t length;
                bool waits;
        } rows[] = {{100, BLOCK, BLOCK, true}, {100, 0, BLOCK, false}, {BLOCK, BLOCK, BLOCK, false}, {BLOCK, 10, 10, true}};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                World *world = start(&(RamfsConfig){.block_size = BLOCK});
                ModelInode *inode = model_create(&world->model, "file");
                struct pollfd answered = {.fd = world->model.fd, .events = POLLIN};
                assert_int_equal(ask_write(&world->model, inode, 0, (uint32_t) rows[i].size, 0), rows[i].size);
                MapFile *file = map_file_get(world->ramfs.map->files, inode->nodeid);
                assert_int_equal(pthread_rwlock_rdlock(&file->io), 0); /* as a write has that is under way */
                send_write(&world->model, inode, rows[i].pos, rows[i].length, 0);
                assert_int_equal(poll(&answered, 1, rows[i].waits ? 100 : 10000), !rows[i].waits);
                assert_int_equal(pthread_rwlock_unlock(&file->io), 0);
                assert_int_equal(receive_write(&world->model), rows[i].length);
                map_file_unref(file);
                (void) world_free(world);
        }
}

static int64_t seek(World *world, const ModelInode *inode, uint64_t pos, uint32_t whence) {
        const struct fuse_lseek_in in = {.fh = inode->fh, .offset = pos, .whence = whence};
        struct fuse_lseek_out out;
        ssize_t n = model_ask(&world->model, FUSE_LSEEK, inode->nodeid, &in, sizeof in, &out, sizeof out);

        return n < 0 ? n : (int64_t) out.offset;
}

/* The hole at the end begins where the file ends, not where its last block does. */
static void test_seek(void **state) {
        World *world = start(&(RamfsConfig){.block_size = BLOCK, .no_writeback = true});
        ModelInode *inode = model_create(&world->model, "file");

        assert_int_equal(ask_write(&world->model, inode, 0, 5000, 0), 5000);
        world->ramfs.map->config.read_only = true; /* so it is not asked to flush first */
        for (uint64_t pos = 0; pos < 5000; pos += 999) {
                assert_int_equal(seek(world, inode, pos, SEEK_HOLE), 5000);
                assert_int_equal(seek(world, inode, pos, SEEK_DATA), pos);
        }
        assert_int_equal(seek(world, inode, 5000, SEEK_HOLE), -ENXIO);
        assert_int_equal(seek(world, inode, 5000, SEEK_DATA), -ENXIO);
        world->ramfs.map->config.read_only = false;
        (void) world_free(world);
}

static unsigned n_modified;

static void modified(void *userdata, uint64_t nodeid) {
        n_modified++;
}

/* Who writes past the kernel's cache has the file's times set, by the server; who writes back has set them before. */
static void test_times(void **state) {
        for (int direct = 0; direct < 2; direct++) {
                World *world = start(&(RamfsConfig){.block_size = BLOCK});
                ModelInode *inode = model_create(&world->model, "file");
                world->ramfs.map->operations.modified = modified;
                n_modified = 0;
                assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), BLOCK);
                assert_int_equal(n_modified, 1);
                if (direct)
                        make_direct(world);
                (void) usleep(50000); /* longer than a tick */
                assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, FUSE_WRITE_CACHE), BLOCK);
                assert_int_equal(n_modified, 1);
                assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), BLOCK);
                assert_int_equal(n_modified, 2);
                (void) world_free(world);
        }
}

static void set_xattr(World *world, const ModelInode *inode) {
        struct {
                struct fuse_setxattr_in in;
                char words[32];
        } request = {.in = {.size = 1}, .words = "security.capability\0x"};

        (void) model_ask(&world->model, FUSE_SETXATTR, inode->nodeid, &request, sizeof request, NULL, 0); /* ENOSYS: this server has none */
}

/* That a file has no capability is known after one was taken away, until somebody may have set another; not if taking it away failed. */
static void test_capability(void **state) {
        World *world = start(&(RamfsConfig){.block_size = BLOCK, .kills = true});
        ModelInode *inode = model_create(&world->model, "file");
        Ramfs *ramfs = &world->ramfs;

        ramfs->kill_error = -EIO;
        for (unsigned i = 1; i < 3; i++) {
                assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), -EIO);
                assert_int_equal(ramfs->n_kills, i);
                assert_int_equal(ramfs->files[0].size, 0);
        }
        ramfs->kill_error = 0;
        for (unsigned i = 3; i < 5; i++) {
                assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), BLOCK);
                assert_int_equal(ramfs->n_kills, i);
                assert_int_equal(ramfs->last_kill, FUSED_KILL_CAPABILITY);
                assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), BLOCK);
                assert_int_equal(ramfs->n_kills, i);
                set_xattr(world, inode);
        }
        assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, FUSE_WRITE_CACHE), BLOCK); /* of which the kernel has taken care */
        assert_int_equal(ramfs->n_kills, 4);
        (void) world_free(world);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_shared), cmocka_unit_test(test_kept_elsewhere), cmocka_unit_test(test_kept_with_flags),
                cmocka_unit_test(test_kept_past_disk_size), cmocka_unit_test(test_failed), cmocka_unit_test(test_forgotten),
                cmocka_unit_test(test_rest_of_block), cmocka_unit_test(test_who_waits), cmocka_unit_test(test_seek), cmocka_unit_test(test_times),
                cmocka_unit_test(test_capability)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
