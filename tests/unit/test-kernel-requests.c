/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel engine against the model of the kernel: what is asked and told, one by one: requests and their sizes, mappings that are refused, the
 * whole mount, notifications. */

#define FUSE_USE_VERSION 312
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>

#include "unit/device-sync.h"
#include "unit/kernel-world.h"

#define BLOCK 4096U

static const RamfsConfig plain = {.block_size = BLOCK};

/* ---- requests ------------------------------------------------------------------------------------------------------- */

static struct fused_mapping spoiled_read, spoiled_write;
static bool spoils_write;
static void spoil(struct fused_mapping *read, struct fused_mapping *write) {
        *read = spoiled_read;
        if (spoils_write)
                *write = spoiled_write;
}

/* None of these reaches the kernel, and the next operation is not the worse for it. */
static void test_bad_mappings(void **state) {
        const uint64_t none = FUSED_MAPPING_ADDR_NONE, size = (uint64_t) RAMFS_BLOCKS * BLOCK;
        const struct {
                struct fused_mapping read, write;
                bool has_write, caches, is_good;
                uint32_t opflags;
        } rows[] = {
                {.read = {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 3}}, /* device */
                {.read = {0, BLOCK, size, FUSED_MAPPING_MAPPED, 0, 1}}, /* past its end */
                {.read = {0, BLOCK * 2, size - BLOCK, FUSED_MAPPING_MAPPED, 0, 1}},
                {.read = {0, BLOCK, 100, FUSED_MAPPING_MAPPED, 0, 1}}, /* within a sector */
                {.read = {BLOCK, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}}, /* not there */
                {.read = {0, 0, none, FUSED_MAPPING_HOLE, 0, 0}},
                {.read = {0, BLOCK, none, 77, 0, 0}},
                {.read = {0, BLOCK, none, FUSED_MAPPING_NOCACHE, 0, 0}},
                {.read = {0, BLOCK, none, FUSED_MAPPING_RETRY_CACHE, 0, 0}}, /* nothing is cached */
                {.read = {0, BLOCK, none, FUSED_MAPPING_HOLE, 0, 0}, .opflags = FUSED_MAPPING_OP_WRITE},
                {.read = {0, BLOCK, none, FUSED_MAPPING_DELALLOC, 0, 0}, .opflags = FUSED_MAPPING_OP_WRITEBACK},
                {.read = {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}, .write = {0, 100, 0, FUSED_MAPPING_MAPPED, 0, 1}, .has_write = true},
                {.read = {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}, .write = {0, BLOCK, none, FUSED_MAPPING_HOLE, 0, 0}, .has_write = true,
                 .opflags = FUSED_MAPPING_OP_WRITE},
                {.read = {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0x100, 1}},
                /* What would look for what is there already need not find a place. */
                {.read = {0, BLOCK, none, FUSED_MAPPING_HOLE, 0, 0}, .is_good = true,
                 .opflags = FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_OVERWRITE_ONLY},
                {.read = {0, BLOCK, none, FUSED_MAPPING_HOLE, 0, 0}, .opflags = FUSED_MAPPING_OP_ZERO, .is_good = true},
                {.read = {0, BLOCK, none, FUSED_MAPPING_HOLE, 0, 0}, .opflags = FUSED_MAPPING_OP_UNSHARE, .is_good = true},
                {.read = {0, BLOCK, none, FUSED_MAPPING_DELALLOC, 0, 0}, .opflags = FUSED_MAPPING_OP_WRITE, .is_good = true},
                {.read = {0, BLOCK, none, FUSED_MAPPING_DELALLOC, 0, 0}, .opflags = FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_DIRECT},
                /* With something in the cache it may be asked, but not by what does not go by it. */
                {.read = {0, BLOCK, none, FUSED_MAPPING_RETRY_CACHE, 0, 0}, .caches = true, .is_good = true},
                {.read = {0, BLOCK, none, FUSED_MAPPING_RETRY_CACHE, 0, 0}, .caches = true,
                 .opflags = FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_DIRECT | FUSED_MAPPING_OP_ATOMIC},
                {.read = {0, BLOCK, none, FUSED_MAPPING_RETRY_CACHE, 0, 0}, .caches = true, .opflags = FUSED_MAPPING_OP_SWAPFILE},
                {.read = {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}, .write = {0, BLOCK, none, FUSED_MAPPING_RETRY_CACHE, 0, 0}, .has_write = true,
                 .caches = true, .opflags = FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_DIRECT | FUSED_MAPPING_OP_ATOMIC},
        };
        World *world = world_new(&plain, &iomap_r7, true, 0);
        ModelInode *inode = model_create(&world->model, "file");
        const struct fused_mapping hole = {0, BLOCK, none, FUSED_MAPPING_HOLE, 0, 0};
        uint8_t byte = 'b', back = 0;
        unsigned n_bad = 0;
        IomapBeginOut out;

        world->ramfs.spoil = spoil;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const IomapBeginIn in = {.attr_ino = inode->ino, .count = BLOCK, .opflags = rows[i].opflags};
                spoiled_read = rows[i].read;
                spoiled_write = rows[i].write;
                spoils_write = rows[i].has_write;
                if (rows[i].caches)
                        assert_int_equal(fused_map_upsert(world->ramfs.map, inode->nodeid, &hole, NULL), 0);
                const ssize_t r = model_ask(&world->model, IOMAP_BEGIN, inode->nodeid, &in, sizeof in, &out, sizeof out);
                if (r != (rows[i].is_good ? (ssize_t) sizeof out : -EUCLEAN))
                        fail_msg("row %zu: %zd", i, r);
                n_bad += !rows[i].is_good;
                assert_int_equal(world->ramfs.map->statistics->bad_mappings, n_bad);
        }
        assert_int_equal(world->ramfs.map->n_complaints, n_bad); /* of which the first was written down */
        world->ramfs.spoil = NULL;
        assert_int_equal(model_write(&world->model, inode, 0, 1, &byte, false), 0);
        assert_int_equal(model_read(&world->model, inode, 0, 1, &back, false), 0);
        assert_int_equal(back, byte);
        assert_int_equal(world_free(world), 0);
}

static void test_sizes(void **state) {
        World *world = world_new(&plain, &iomap_r7, true, 0);
        ModelInode *inode = model_create(&world->model, "file");
        uint8_t in[128] = {0}, out[128];

        for (uint32_t opcode = IOMAP_IOEND; opcode <= IOMAP_END; opcode++)
                for (size_t size = 0; size < 72; size += 8)
                        if (size < (opcode == IOMAP_BEGIN ? sizeof(IomapBeginIn) : opcode == IOMAP_END ? sizeof(IomapEndIn) : sizeof(IomapIoendIn)))
                                assert_int_equal(model_ask(&world->model, opcode, inode->nodeid, in, size, out, sizeof out), -EIO);
        in[24] = 1; /* count */
        assert_int_equal(model_ask(&world->model, IOMAP_BEGIN, inode->nodeid, in, 48, out, sizeof out), 64); /* longer: newer */
        assert_int_equal(model_ask(&world->model, IOMAP_BEGIN, inode->nodeid + 9, in, 32, out, sizeof out), -ESTALE);
        assert_int_equal(model_ask(&world->model, IOMAP_CONFIG, 0, in, 64, out, sizeof out), -ENOSYS); /* once is enough */
        assert_int_equal(world_free(world), 0);
}

/* ---- the whole mount ------------------------------------------------------------------------------------------------ */

/* The data is on its way when FSYNC comes: each device is to have it on its media. */
static void test_fsync(void **state) {
        World *world = world_new(&plain, &iomap_rn, true, 0);
        ModelInode *inode = model_create(&world->model, "file");

        n_syncs = 0;
        assert_int_equal(model_fsync(&world->model, inode), 0);
        assert_int_equal(n_syncs, RAMFS_DEVICES);
        assert_int_equal(synced_fds[0], world->ramfs.device_fds[0]);
        assert_int_equal(synced_fds[1], world->ramfs.device_fds[1]);
        sync_error = -EIO;
        assert_int_equal(model_fsync(&world->model, inode), -EIO);
        sync_error = 0;
        assert_int_equal(model_fsync(&world->model, inode), 0);
        assert_int_equal(world_free(world), 0);
}

static int sync_result;
static unsigned n_asked_to_sync, synced_before;
static int count_sync(void) {
        n_asked_to_sync++;
        synced_before = n_syncs;
        return sync_result;
}

/* syncfs(2): what the server knows, then the devices, each; on both engines, as a kernel to which CONFIG was refused sends it, too. */
static void test_syncfs(void **state) {
        ModelConfig refuses = iomap_rn;

        refuses.add_device_error = -ENOSPC;
        for (unsigned i = 0; i < 2; i++) {
                World *world = world_new(&plain, i ? &refuses : &iomap_r7, true, 0);
                Model *model = &world->model;
                assert_string_equal(world->ramfs.started_engine, i ? "user" : "kernel");
                world->ramfs.sync = count_sync;
                n_syncs = n_asked_to_sync = synced_before = 0;
                sync_result = 0;
                assert_int_equal(model_syncfs(model), 0);
                assert_false(model->no_syncfs);
                assert_int_equal(n_asked_to_sync, 1);
                assert_int_equal(synced_before, 0);
                assert_int_equal(n_syncs, RAMFS_DEVICES);
                assert_int_not_equal(synced_fds[0], synced_fds[1]);
                sync_error = -EIO;
                assert_int_equal(model_syncfs(model), -EIO);
                sync_error = 0;
                sync_result = -ENOSPC;
                assert_int_equal(model_syncfs(model), -ENOSPC);
                assert_true(n_syncs > RAMFS_DEVICES * 2); /* the devices' turn comes all the same */
                world->ramfs.map->operations.sync = NULL;
                n_syncs = 0;
                assert_int_equal(model_syncfs(model), 0);
                assert_int_equal(n_syncs, RAMFS_DEVICES);
                assert_int_equal(world_free(world), 0);
        }
}

static void linger(struct fused_mapping *read, struct fused_mapping *write) {
        (void) usleep(50000);
}

/* Who unmounts waits until the server lets go of the mount, and until everything that its threads are at is done. On both engines, and before CONFIG
 * as well. */
static void test_destroy(void **state) {
        ModelConfig refuses = iomap_rn;
        IomapBeginOut out;
        void *result;

        refuses.add_device_error = -ENOSPC;
        for (unsigned i = 0; i < 2; i++) {
                int pair[2];
                assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
                World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .clone_fd = pair[1]}, i ? &refuses : &iomap_r7, true, 0);
                Model *model = &world->model;
                ModelInode *inode = model_create(model, "file");
                const IomapBeginIn in = {.attr_ino = inode->ino, .count = 1};
                world->ramfs.spoil = linger;
                const int ours = model->fd;
                model->fd = pair[0];
                model_send(model, i ? FUSE_GETATTR : IOMAP_BEGIN, inode->nodeid, &in, sizeof in);
                const uint64_t unique = model->unique;
                (void) usleep(10000);
                model->fd = ours;
                model_send(model, FUSE_DESTROY, 0, NULL, 0);
                assert_int_equal(pthread_join(world->thread, &result), 0);
                assert_int_equal((int) (intptr_t) result, 0);
                assert_int_equal(recv(model->fd, &out, sizeof out, MSG_DONTWAIT), -1);
                assert_true(recv(pair[0], &out, sizeof out, MSG_DONTWAIT) > 0); /* of what had come before */
                assert_int_equal(((const struct fuse_out_header *) (const void *) &out)->unique, unique);
                const int direct = fd_dup(world->ramfs.device_fds[0]);
                world->ramfs.map->devices[0].direct_fd = direct;
                ramfs_done(&world->ramfs);
                assert_int_equal(model_receive(model, NULL, 0), 0);
                assert_int_equal(fcntl(direct, F_GETFD), -1);
                (void) fd_close(pair[0]);
                model_done(model);
                free(world);
        }
}

/* Unmounted before it was used. */
static void test_destroy_early(void **state) {
        const struct fuse_init_in in = {.major = 7, .minor = IOMAP_MINOR, .flags = FUSE_INIT_EXT, .flags2 = IOMAP_INIT >> 32};
        World *world = calloc(1, sizeof *world);
        struct fuse_init_out out;
        void *result;
        char path[32];

        assert_non_null(world);
        ramfs_init(&world->ramfs, &plain);
        model_init(&world->model, &iomap_r7);
        world->ramfs.map->kernel_calls = &model_calls;
        world->ramfs.map->kernel_userdata = &world->model;
        model_say_block_devices(&world->model, world->ramfs.map);
        (void) snprintf(path, sizeof path, "/dev/fd/%d", world->model.server_fd);
        assert_int_equal(fuse_session_mount(fused_map_session(world->ramfs.map), path), 0);
        assert_int_equal(pthread_create(&world->thread, NULL, world_serve, world), 0);
        assert_true(model_ask(&world->model, FUSE_INIT, 0, &in, sizeof in, &out, sizeof out) > 0);
        assert_int_equal(world->ramfs.map->statistics->engine, CHANNEL_ENGINE_NONE); /* nobody has decided */
        model_send(&world->model, FUSE_DESTROY, 0, NULL, 0);
        assert_int_equal(pthread_join(world->thread, &result), 0);
        assert_int_equal((int) (intptr_t) result, 0);
        assert_int_equal(world->ramfs.n_starts, 0);
        ramfs_done(&world->ramfs);
        assert_int_equal(model_receive(&world->model, NULL, 0), 0);
        model_done(&world->model);
        free(world);
}

/* ---- notifications -------------------------------------------------------------------------------------------------- */

static void try_notifications(const ModelConfig *column, bool by_socket) {
        ModelConfig config = *column;
        struct fused_mapping read = {0, BLOCK * 4, BLOCK, FUSED_MAPPING_MAPPED, 0, 2}, hole = {0, BLOCK, FUSED_MAPPING_ADDR_NONE, 0, 0, 0};
        World *world;
        IomapBeginOut out;

        config.notify_by_socket = by_socket;
        world = world_new(&plain, &config, true, 0);
        Model *model = &world->model;
        struct fused_map *map = world->ramfs.map;
        ModelInode *inode = model_create(model, "file");
        const uint64_t node = inode->nodeid;
        assert_int_equal(fused_map_upsert(map, node, &read, NULL), 0);
        assert_int_equal(model_fsync(model, inode), 0); /* what came before is read by then */
        assert_int_equal(model->n_upsert, 1);
        assert_int_equal(model->notify_result, 0);
        assert_true(model_cache_ask(model, inode, BLOCK * 3, 0, &out));
        assert_int_equal(out.read.addr, BLOCK);
        assert_int_equal(out.read.dev, fused_map_cookie(map, 2));
        assert_false(inode->has_writes);
        assert_int_equal(fused_map_invalidate(map, node, BLOCK + 1, 10), 0); /* a whole block, then */
        assert_int_equal(fused_map_upsert(map, node, NULL, &hole), 0);
        assert_int_equal(fused_map_device_invalidate(map, 1, BLOCK, BLOCK), 0);
        assert_int_equal(model_fsync(model, inode), 0);
        assert_true(model_cache_ask(model, inode, 0, 0, &out));
        assert_false(model_cache_ask(model, inode, BLOCK, 0, &out));
        assert_true(model_cache_ask(model, inode, BLOCK * 2, 0, &out));
        assert_int_equal(out.read.addr, BLOCK * 3);
        assert_true(inode->has_writes);
        assert_int_equal(model->devices[0].n_invalidated, 1);
        assert_int_equal(fused_map_invalidate(map, node, BLOCK * 2, UINT64_MAX), 0);
        assert_int_equal(model_fsync(model, inode), 0);
        assert_false(model_cache_ask(model, inode, BLOCK * 2, 0, &out));
        assert_int_equal(model->notify_result, 0);
        assert_int_equal(fused_map_upsert(map, 99, &read, NULL), -ESTALE);
        read.dev = 3; /* not this mount's: does not get as far as the kernel */
        assert_int_equal(fused_map_upsert(map, node, &read, NULL), -EUCLEAN);
        assert_int_equal(fused_map_upsert(map, node, NULL, NULL), 0);
        assert_int_equal(model_fsync(model, inode), 0);
        assert_int_equal(model->n_upsert, 2);
        assert_int_equal(world_free(world), 0);
}

static void test_notifications(void **state) {
        for (unsigned i = 0; i < 4; i++)
                try_notifications(i & 1 ? &iomap_rn : &iomap_r7, i & 2);
}

/* "Ask the cache": once it has been told, reads need the server no more. */
static void test_retry(void **state) {
        World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .retries = true}, &iomap_rn, true, 0);
        Model *model = &world->model;
        ModelInode *inode = model_create(model, "file");
        uint8_t data[BLOCK * 8], back[BLOCK * 8];

        memset(data, 'r', sizeof data);
        assert_int_equal(model_write(model, inode, 0, sizeof data, data, false), 0);
        assert_int_equal(model_read(model, inode, 0, sizeof back, back, false), 0);
        assert_memory_equal(data, back, sizeof data);
        assert_int_equal(world->ramfs.upsert_error, 0);
        const unsigned asked = model->n_begin;
        for (unsigned i = 0; i < 10; i++)
                assert_int_equal(model_read(model, inode, 0, sizeof back, back, true), 0);
        assert_int_equal(model->n_begin, asked);
        assert_true(model->n_cached >= 10);
        assert_int_equal(world_free(world), 0);
}

/* A tree above its limit is thrown away, and everything goes on. The limit is the server's where the kernel understands that. */
static void test_cache_limit(void **state) {
        static const struct {
                uint64_t wanted, understood, limit;
                unsigned n_dropped;
        } rows[] = {{256, 0x7f, 256, 2}, {100, 0x7f, 256, 2}, {512, 0x7f, 512, 1}, {256, 0x3f, 256 << 10, 0}, {1 << 30, 0x7f, 2 << 20, 0}};

        for (size_t row = 0; row < ELEMENTSOF(rows); row++) {
                ModelConfig config = iomap_r7;
                config.config_flags = rows[row].understood;
                World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .cache_bytes = rows[row].wanted}, &config, true, 0);
                ModelInode *inode = model_create(&world->model, "file");
                assert_int_equal(world->model.cache_bytes, rows[row].limit);
                for (uint64_t i = 0; i < 20; i++) {
                        const struct fused_mapping read = {i * 2 * BLOCK, BLOCK, i * BLOCK, FUSED_MAPPING_MAPPED, 0, 1};
                        assert_int_equal(fused_map_upsert(world->ramfs.map, inode->nodeid, &read, NULL), 0);
                }
                assert_int_equal(inode->reads.n_dropped, rows[row].n_dropped);
                assert_int_equal(world_free(world), 0);
        }
}

/* The kernel may have given an inode up that the server still knows: that is the one upsert's error, and nobody else's. */
static void test_dead_inode(void **state) {
        const struct fused_mapping read = {0, BLOCK, BLOCK, FUSED_MAPPING_MAPPED, 0, 1};
        World *world = world_new(&plain, &iomap_rn, true, 0);
        ModelInode *dead = model_create(&world->model, "dead"), *file = model_create(&world->model, "file");
        uint8_t data[BLOCK] = {1};

        dead->dead = true;
        assert_int_equal(fused_map_upsert(world->ramfs.map, dead->nodeid, &read, NULL), -EIO);
        assert_false(dead->has_cache);
        assert_int_equal(fused_map_invalidate(world->ramfs.map, dead->nodeid, 0, BLOCK), -EIO);
        assert_int_equal(fused_map_upsert(world->ramfs.map, file->nodeid, &read, NULL), 0);
        assert_int_equal(fused_map_invalidate(world->ramfs.map, file->nodeid, 0, BLOCK), 0);
        assert_int_equal(model_write(&world->model, file, 0, BLOCK, data, true), 0);
        assert_int_equal(world_free(world), 0);
}

/* Ranges at the edges of what can be said: what goes to the kernel is a range that it takes, or nothing. */
static void test_ranges(void **state) {
        const uint64_t max = 1ULL << 32;
        const struct {
                uint64_t offset, length;
                bool told;
                uint64_t told_offset, told_length;
        } rows[] = {
                {0, 0, false},
                {BLOCK + 1, 0, false},
                {max, BLOCK, false},
                {max + BLOCK, UINT64_MAX, false},
                {UINT64_MAX - 10, 5, false},
                {0, 1, true, 0, BLOCK},
                {BLOCK - 1, 2, true, 0, BLOCK * 2},
                {BLOCK, BLOCK, true, BLOCK, BLOCK},
                {max - BLOCK, BLOCK, true, max - BLOCK, BLOCK},
                {max - 1, 2, true, max - BLOCK, UINT64_MAX}, /* past the largest file: to the end */
                {BLOCK, UINT64_MAX, true, BLOCK, UINT64_MAX},
                {BLOCK * 3, UINT64_MAX - BLOCK, true, BLOCK * 3, UINT64_MAX}, /* would wrap */
                {BLOCK * 3, UINT64_MAX - BLOCK * 3 + 2, true, BLOCK * 3, UINT64_MAX},
        };
        const struct {
                uint64_t addr, length;
                bool told;
        } devices[] = {{0, 0, false}, {BLOCK, 0, false}, {BLOCK, BLOCK, true}, {BLOCK * 7, 512, true}};

        for (unsigned newer = 0; newer < 2; newer++) {
                World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .max_bytes = max}, newer ? &iomap_rn : &iomap_r7, true, 0);
                Model *model = &world->model;
                ModelInode *inode = model_create(model, "file");
                for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                        const unsigned before = model->n_invalidate;
                        assert_int_equal(fused_map_invalidate(world->ramfs.map, inode->nodeid, rows[i].offset, rows[i].length), 0);
                        if (model->n_invalidate - before != rows[i].told)
                                fail_msg("row %zu", i);
                        if (!rows[i].told)
                                continue;
                        assert_int_equal(model->last_invalidate.read.offset, rows[i].told_offset);
                        assert_true(model->last_invalidate.read.length == rows[i].told_length);
                        assert_memory_equal(&model->last_invalidate.write, &model->last_invalidate.read, sizeof(IomapRange));
                }
                for (size_t i = 0; i < ELEMENTSOF(devices); i++) {
                        const unsigned before = model->devices[1].n_invalidated;
                        assert_int_equal(fused_map_device_invalidate(world->ramfs.map, 2, devices[i].addr, devices[i].length), 0);
                        assert_int_equal(model->devices[1].n_invalidated - before, devices[i].told);
                        if (!devices[i].told)
                                continue;
                        assert_int_equal(model->devices[1].invalidated.offset, devices[i].addr);
                        assert_int_equal(model->devices[1].invalidated.length, devices[i].length);
                }
                assert_int_equal(fused_map_device_invalidate(world->ramfs.map, 3, 0, BLOCK), -ENODEV);
                inode->nodeid = 0; /* the kernel has forgotten it, and FORGET is on its way: nothing of it is cached */
                assert_int_equal(fused_map_invalidate(world->ramfs.map, 2, 0, BLOCK), 0);
                assert_int_equal(world_free(world), 0);
        }
}

/* Both halves are looked at before the kernel is told of either. */
static void test_upsert_halves(void **state) {
        const struct fused_mapping good = {0, BLOCK, BLOCK, FUSED_MAPPING_MAPPED, 0, 1},
                                   elsewhere = {0, BLOCK, BLOCK * 2, FUSED_MAPPING_MAPPED, 0, 2},
                                   bad = {0, BLOCK, BLOCK, FUSED_MAPPING_MAPPED, 0, 3},
                                   same = {0, BLOCK, FUSED_MAPPING_ADDR_NONE, FUSED_MAPPING_PURE_OVERWRITE, 0, 0};
        const struct {
                const struct fused_mapping *read, *write;
                bool is_good;
        } rows[] = {{&good, &elsewhere, true}, {&good, &same, true}, {NULL, &elsewhere, true}, {&good, NULL, true}, {&bad, &elsewhere, false},
                    {&good, &bad, false}, {NULL, &bad, false}, {&bad, NULL, false}, {&same, NULL, false}};
        World *world = world_new(&plain, &iomap_r7, true, 0);
        ModelInode *inode = model_create(&world->model, "file");

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const unsigned before = world->model.n_upsert;
                const int r = fused_map_upsert(world->ramfs.map, inode->nodeid, rows[i].read, rows[i].write);
                if (r != (rows[i].is_good ? 0 : -EUCLEAN) || world->model.n_upsert - before != rows[i].is_good)
                        fail_msg("row %zu: %d", i, r);
        }
        assert_int_equal(world_free(world), 0);
}

static World *world_that_retries;
static void retry_write_half(struct fused_mapping *read, struct fused_mapping *write) {
        assert_int_equal(fused_map_upsert(world_that_retries->ramfs.map, 2, read, NULL), 0);
        *write = (struct fused_mapping){read->offset, read->length, FUSED_MAPPING_ADDR_NONE, FUSED_MAPPING_RETRY_CACHE, 0, 0};
}

/* "Ask the cache" in the write half alone, which older kernels do not look for. */
static void test_retry_write_half(void **state) {
        for (unsigned newer = 0; newer < 2; newer++) {
                World *world = world_that_retries = world_new(&plain, newer ? &iomap_rn : &iomap_r7, true, 0);
                Model *model = &world->model;
                ModelInode *inode = model_create(model, "file");
                struct fused_mapping from, to;
                uint8_t data[BLOCK] = {1};
                assert_int_equal(model_write(model, inode, 0, BLOCK, data, true), 0);
                world->ramfs.spoil = retry_write_half;
                const unsigned cached = model->n_cached, begun = model->n_begin;
                assert_int_equal(model_map(model, inode, 0, BLOCK, FUSED_MAPPING_OP_WRITE, &from, &to), 0);
                assert_int_equal(to.type, FUSED_MAPPING_MAPPED);
                assert_int_equal(model->n_begin, begun + 1);
                assert_int_equal(model_map(model, inode, 0, BLOCK, FUSED_MAPPING_OP_WRITE, &from, &to), 0);
                assert_int_equal(model->n_cached, cached + 1);
                assert_int_equal(world_free(world), 0);
        }
}

/* Files that the kernel has forgotten, several at once, are unknown to the library as well. */
static void test_forget(void **state) {
        const struct fused_mapping read = {0, BLOCK, BLOCK, FUSED_MAPPING_MAPPED, 0, 1};
        World *world = world_new(&plain, &iomap_r7, true, 0);
        ModelInode *files[] = {model_create(&world->model, "a"), model_create(&world->model, "b"), model_create(&world->model, "c")};
        const uint64_t nodes[] = {files[0]->nodeid, files[1]->nodeid, files[2]->nodeid};

        for (size_t i = 0; i < ELEMENTSOF(nodes); i++)
                assert_int_equal(fused_map_upsert(world->ramfs.map, nodes[i], &read, NULL), 0);
        model_forget_both(&world->model, files[0], files[1]);
        assert_int_equal(model_fsync(&world->model, files[2]), 0); /* what came before is done by then */
        for (size_t i = 0; i < ELEMENTSOF(nodes); i++)
                assert_int_equal(fused_map_upsert(world->ramfs.map, nodes[i], &read, NULL), i == 2 ? 0 : -ESTALE);
        assert_int_equal(world->model.n_upsert, 4);
        assert_int_equal(world_free(world), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bad_mappings), cmocka_unit_test(test_sizes), cmocka_unit_test(test_fsync),
                cmocka_unit_test(test_syncfs), cmocka_unit_test(test_destroy), cmocka_unit_test(test_destroy_early),
                cmocka_unit_test(test_notifications), cmocka_unit_test(test_retry), cmocka_unit_test(test_cache_limit),
                cmocka_unit_test(test_dead_inode), cmocka_unit_test(test_ranges), cmocka_unit_test(test_upsert_halves),
                cmocka_unit_test(test_retry_write_half), cmocka_unit_test(test_forget)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
