/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel engine against the model of the kernel: the choice and what it falls back to, requests and their sizes, notifications, programs,
 * and the same bytes on both engines whatever is done. */

#define FUSE_USE_VERSION 312
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>

#include "unit/kernel-world.h"

#define BLOCK 4096U

static const RamfsConfig plain = {.block_size = BLOCK};

/* The devices' own memory, emptied by fdatasync(2). */
static unsigned n_syncs;
static int synced_fds[4]; /* the last ones */
static int sync_error;

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd) {
        synced_fds[n_syncs++ % ELEMENTSOF(synced_fds)] = fd;
        errno = -sync_error;
        return sync_error ? -1 : 0;
}

/* ---- the choice ----------------------------------------------------------------------------------------------------- */

#define IOMAP_IS_THERE .minor = IOMAP_MINOR, .offers = true, .config_flags = 0x7f

static void test_choice(void **state) {
        static const struct {
                const char *name;
                ModelConfig config;
                RamfsConfig ramfs;
                bool no_devices;
                ChannelEngineReason reason;
        } rows[] = {
                {"older", {IOMAP_IS_THERE}, {.block_size = BLOCK}, false, CHANNEL_REASON_NONE},
                {"newer", {.column = MODEL_RN, IOMAP_IS_THERE}, {.block_size = 512}, false, CHANNEL_REASON_NONE},
                {"short CONFIG", {.minor = IOMAP_MINOR, .offers = true, .config_flags = 0x3f}, {.block_size = BLOCK}, false, CHANNEL_REASON_NONE},
                {"CONFIG without block size", {.minor = IOMAP_MINOR, .offers = true, .config_flags = 0x20}, {.block_size = BLOCK}, false,
                 CHANNEL_REASON_NONE},
                {"and blocks that need it", {.minor = IOMAP_MINOR, .offers = true, .config_flags = 0x20}, {.block_size = 1024}, false,
                 CHANNEL_REASON_BLOCK_SIZE},
                {"Linux 7.46, whose bit 43 is another's", {.minor = 46, .offers = true}, {.block_size = BLOCK}, false, CHANNEL_REASON_NO_IOMAP},
                {"Linux before", {.minor = 38}, {.block_size = BLOCK}, false, CHANNEL_REASON_NO_IOMAP},
                {"not for this mount", {.minor = IOMAP_MINOR}, {.block_size = BLOCK}, false, CHANNEL_REASON_SWITCHED_OFF},
                {"dropped", {.minor = IOMAP_MINOR, .offers = true, .drops = true}, {.block_size = BLOCK}, false, CHANNEL_REASON_SWITCHED_OFF},
                {"image files", {IOMAP_IS_THERE}, {.block_size = BLOCK}, true, CHANNEL_REASON_NOT_DEVICES},
                {"large blocks", {IOMAP_IS_THERE}, {.block_size = 8192}, false, CHANNEL_REASON_BLOCK_SIZE},
                {"device refused", {IOMAP_IS_THERE, .add_device_error = -ENOSPC}, {.block_size = BLOCK}, false,
                 CHANNEL_REASON_FAILED},
                {"block size refused", {IOMAP_IS_THERE, .block_size_error = -EINVAL}, {.block_size = BLOCK},
                 false, CHANNEL_REASON_FAILED},
        };
        uint8_t data[BLOCK * 2], back[BLOCK * 2];

        memset(data, 'x', sizeof data);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                World *world = world_new(&rows[i].ramfs, &rows[i].config, !rows[i].no_devices, 0);
                const bool kernel = rows[i].reason == CHANNEL_REASON_NONE;
                assert_int_equal(world->config_error, 0);
                ModelInode *inode = model_create(&world->model, "file"); /* it works either way */
                assert_int_equal(inode->iomap, kernel);
                assert_int_equal(model_write(&world->model, inode, 100, sizeof data - 100, data, false), 0);
                assert_int_equal(model_read(&world->model, inode, 100, sizeof data - 100, back, false), 0);
                assert_memory_equal(data, back, sizeof data - 100);
                assert_int_equal(world->model.n_data > 0, !kernel);
                assert_int_equal(world->model.n_begin > 0, kernel);
                assert_int_equal(world->ramfs.n_starts, 1);
                assert_string_equal(world->ramfs.started_engine, kernel ? "kernel" : "user");
                assert_string_equal(fused_map_engine(world->ramfs.map), world->ramfs.started_engine);
                if (world->ramfs.map->statistics->reason != rows[i].reason)
                        fail_msg("%s: reason %u", rows[i].name, world->ramfs.map->statistics->reason);
                assert_int_equal(world->ramfs.map->statistics->engine, kernel ? CHANNEL_ENGINE_KERNEL : CHANNEL_ENGINE_USER);
                assert_int_equal(world_free(world), 0);
        }
}

static void test_config(void **state) {
        World *world = world_new(&(RamfsConfig){.block_size = 1024}, &iomap_rn, true, 0);
        Model *model = &world->model;

        assert_int_equal(model->init.minor, IOMAP_MINOR);
        assert_true(model->init.flags & FUSE_INIT_EXT);
        assert_int_equal(model->agreed_size, 104);
        assert_int_equal(model->block_size, 1024);
        assert_int_equal(model->max_bytes, INT64_MAX);
        assert_int_equal(model->agreed.cache_maxbytes, 2 << 20);
        assert_int_equal(model->n_devices, RAMFS_DEVICES);
        for (uint32_t i = 0; i < RAMFS_DEVICES; i++) {
                assert_int_equal(model->devices[i].block_size, 1024);
                assert_int_equal(fused_map_cookie(world->ramfs.map, i + 1), model->devices[i].cookie);
        }
        assert_int_equal(world_free(world), 0);
        world = world_new(&plain, &(ModelConfig){.minor = IOMAP_MINOR, .offers = true, .config_flags = 0x3f}, true, 0);
        assert_int_equal(world->model.agreed_size, 96);
        assert_int_equal(world_free(world), 0);
}

/* What may be a device of a mount, in the kernel's order of refusals. */
static void test_devices(void **state) {
        _cleanup_fd_ int file = memfd_create("file", MFD_CLOEXEC), disk = memfd_create("disk", MFD_CLOEXEC);
        char path[32];

        assert_int_equal(ftruncate(disk, BLOCK), 0);
        for (unsigned column = 0; column < 2; column++) {
                World *world = world_new(&plain, column ? &iomap_rn : &iomap_r7, true, 0);
                Model *model = &world->model;
                uint32_t cookie = 0, other = 0;
                assert_int_equal(model_calls.add_device(world->ramfs.map, 9999, &cookie), -EBADF);
                assert_int_equal(model_calls.add_device(world->ramfs.map, file, &cookie), -ENODEV);
                model_say_block_device(model, disk);
                if (column) {
                        (void) snprintf(path, sizeof path, "/proc/self/fd/%d", disk);
                        _cleanup_fd_ int name = open(path, O_PATH | O_CLOEXEC);
                        assert_int_equal(model_calls.add_device(world->ramfs.map, name, &cookie), -EBADF);
                }
                assert_int_equal(model_calls.add_device(world->ramfs.map, disk, &cookie), 0);
                assert_int_equal(model_calls.add_device(world->ramfs.map, disk, &other), 0); /* twice is two */
                assert_int_not_equal(cookie, other);
                assert_int_equal(model_device(model, other)->size, BLOCK);
                while (model->n_devices < MODEL_DEVICES_MAX)
                        assert_int_equal(model_calls.add_device(world->ramfs.map, disk, &cookie), 0);
                assert_int_equal(model_calls.add_device(world->ramfs.map, disk, &cookie), -ENOSPC);
                model->iomap = false;
                assert_int_equal(model_calls.add_device(world->ramfs.map, disk, &cookie), -EPERM);
                assert_int_equal(world_free(world), 0);
        }
}

/* A server that cannot start fails the mount, on either engine. */
static void test_start_fails(void **state) {
        World *world = world_new(&plain, &iomap_r7, true, -ENOMEDIUM);

        assert_int_equal(world->config_error, -ENOMEDIUM);
        assert_true(world->model.broken);
        assert_int_equal(world_free(world), -ENOMEDIUM);
        world = world_new(&plain, &stock, true, -ENOMEDIUM);
        assert_int_equal(world_free(world), -ENOMEDIUM);
}

/* The flags of attributes are in all replies that make an inode, and both of them. */
static void test_attributes(void **state) {
        World *world = world_new(&plain, &iomap_r7, true, 0);
        const struct fuse_getattr_in in = {0};
        const struct fuse_read_in list = {.size = 1024};
        struct fuse_direntplus plus;
        struct fuse_entry_out entry;
        struct fuse_attr_out attr;
        ModelInode *inode = model_create(&world->model, "file");

        assert_true(inode->iomap);
        assert_int_equal(model_ask(&world->model, FUSE_LOOKUP, FUSE_ROOT_ID, "file", 5, &entry, sizeof entry), sizeof entry);
        assert_int_equal(entry.attr.flags & 0xc, 0xc);
        assert_int_equal(model_ask(&world->model, FUSE_GETATTR, inode->nodeid, &in, sizeof in, &attr, sizeof attr), sizeof attr);
        assert_int_equal(attr.attr.flags & 0xc, 0xc);
        assert_int_equal(model_ask(&world->model, FUSE_GETATTR, FUSE_ROOT_ID, &in, sizeof in, &attr, sizeof attr), sizeof attr);
        assert_int_equal(attr.attr.flags & 0xc, 0);
        assert_true(model_ask(&world->model, FUSE_READDIRPLUS, FUSE_ROOT_ID, &list, sizeof list, &plus, sizeof plus) >= (ssize_t) sizeof plus);
        assert_int_equal(plus.entry_out.nodeid, inode->nodeid);
        assert_int_equal(plus.entry_out.attr.flags & 0xc, 0xc);
        assert_int_equal(world_free(world), 0);
}

/* A kernel that agreed on everything and then does not know the attribute flags: files are the user engine's. */
static void test_attributes_ignored(void **state) {
        ModelConfig config = iomap_rn;
        uint8_t data[3000], back[3000];
        World *world;

        config.ignores_attr = true;
        world = world_new(&plain, &config, true, 0);
        memset(data, 'y', sizeof data);
        ModelInode *inode = model_create(&world->model, "file");
        assert_false(inode->iomap);
        assert_int_equal(model_write(&world->model, inode, 5000, sizeof data, data, false), 0);
        assert_int_equal(model_truncate(&world->model, inode, 6000), 0);
        assert_int_equal(model_truncate(&world->model, inode, 9000), 0); /* the end of the block is zeroed by somebody */
        assert_int_equal(model_read(&world->model, inode, 5000, sizeof back, back, false), 0);
        memset(data + 1000, 0, 2000);
        assert_memory_equal(data, back, sizeof data);
        assert_int_equal(world_free(world), 0);
}

/* And files that it has not read or written since it knows them: the end of a block that is cut off or punched must not be read again. */
static void test_attributes_ignored_unasked(void **state) {
        ModelConfig config = iomap_rn;
        uint8_t data[BLOCK], wanted[BLOCK], back[BLOCK];

        config.ignores_attr = true;
        memset(data, 'y', sizeof data);
        for (unsigned punch = 0; punch < 2; punch++) {
                World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .kills = true}, &config, true, 0);
                Model *model = &world->model;
                ModelInode *inode = model_create(model, "file");
                assert_int_equal(model_write(model, inode, 0, sizeof data, data, false), 0);
                model_forget(model, inode);
                inode = model_lookup(model, "file");
                world->ramfs.n_kills = 0;
                assert_int_equal(model_chown(model, inode, 1), 0);
                assert_int_equal(world->ramfs.n_kills, 1);
                assert_int_equal(world->ramfs.last_kill, FUSED_KILL_SET_ID);
                if (punch)
                        assert_int_equal(model_fallocate(model, inode, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 900), 0);
                else {
                        assert_int_equal(model_truncate(model, inode, 100), 0);
                        assert_int_equal(model_truncate(model, inode, sizeof data), 0);
                }
                assert_int_equal(model_read(model, inode, 0, sizeof back, back, false), 0);
                memcpy(wanted, data, sizeof wanted);
                memset(wanted + 100, 0, punch ? 900 : sizeof wanted - 100);
                assert_memory_equal(back, wanted, sizeof wanted);
                assert_int_equal(world_free(world), 0);
        }
}

/* A kernel that moves data need not have asked yet either. What the server may have zeroed for it is on the device before it looks there, and once
 * it has asked, or a mapping was given to it, the server zeroes nothing. */
static void test_changes_before_data(void **state) {
        uint8_t data[BLOCK], wanted[BLOCK], back[BLOCK];

        memset(data, 'z', sizeof data);
        for (unsigned how = 0; how < 3; how++) {
                World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .kills = true}, how & 1 ? &iomap_rn : &iomap_r7, true, 0);
                Model *model = &world->model;
                struct fused_map *map = world->ramfs.map;
                ModelInode *inode = model_create(model, "file");
                struct fused_mapping where;
                assert_int_equal(model_write(model, inode, 0, sizeof data, data, false), 0);
                ramfs_where(&world->ramfs, inode->nodeid, 0, &where);
                map->kernel_moves = false; /* as if another mount had written it */
                if (how == 1)
                        assert_int_equal(model_read(model, inode, 0, sizeof back, back, false), 0);
                if (how == 2)
                        assert_int_equal(fused_map_upsert(map, inode->nodeid, &where, NULL), 0);
                n_syncs = 0;
                const unsigned begun = world->ramfs.n_begin;
                assert_int_equal(model_fallocate(model, inode, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 900), 0);
                assert_int_equal(n_syncs > 0, how == 0);
                for (unsigned i = 0; i < 2; i++)
                        assert_true(map->devices[i].n_written == map->devices[i].n_synced);
                assert_true(world->ramfs.n_begin > begun);
                memcpy(wanted, data, sizeof wanted);
                memset(wanted + 100, 0, 900);
                assert_int_equal(model_read(model, inode, 0, sizeof back, back, true), 0);
                assert_memory_equal(back, wanted, sizeof wanted);
                assert_int_equal(model_truncate(model, inode, 2000), 0);
                assert_int_equal(model_truncate(model, inode, sizeof data), 0);
                assert_int_equal(n_syncs > 0, how == 0);
                assert_int_equal(model_chown(model, inode, 1), 0);
                assert_int_equal(world->ramfs.n_kills, 0); /* the kernel does that for files, with the mode */
                assert_int_equal(model_chown(model, &(ModelInode){.nodeid = FUSE_ROOT_ID}, 1), 0);
                assert_int_equal(world->ramfs.n_kills, 1);
                assert_int_equal(model->n_data, 0);
                memset(wanted + 2000, 0, sizeof wanted - 2000);
                assert_int_equal(model_read(model, inode, 0, sizeof back, back, true), 0);
                assert_memory_equal(back, wanted, sizeof wanted);
                assert_int_equal(world_free(world), 0);
        }
}

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
                bool has_write;
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
        };
        World *world = world_new(&plain, &iomap_r7, true, 0);
        ModelInode *inode = model_create(&world->model, "file");
        uint8_t byte = 'b', back = 0;
        IomapBeginOut out;

        world->ramfs.spoil = spoil;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const IomapBeginIn in = {.attr_ino = inode->ino, .count = BLOCK, .opflags = rows[i].opflags};
                spoiled_read = rows[i].read;
                spoiled_write = rows[i].write;
                spoils_write = rows[i].has_write;
                assert_int_equal(model_ask(&world->model, IOMAP_BEGIN, inode->nodeid, &in, sizeof in, &out, sizeof out), -EUCLEAN);
                assert_int_equal(world->ramfs.map->statistics->bad_mappings, i + 1);
        }
        assert_int_equal(world->ramfs.map->n_complaints, ELEMENTSOF(rows)); /* of which the first was written down */
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
        assert_in_range(world->ramfs.last_end_dev, 1, RAMFS_DEVICES);
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
                assert_int_equal(world->ramfs.last_error, -EIO);
                assert_int_equal(model_write(&world->model, inode, BLOCK, BLOCK, data, direct), -EIO);
                assert_int_equal(world->ramfs.n_ioends, 3);
                assert_int_equal(world->ramfs.files[0].size, BLOCK);
                assert_int_equal(world->ramfs.files[0].blocks[1].state, RAMFS_UNWRITTEN);
                assert_int_equal(fused_map_size(world->ramfs.map, inode->nodeid), BLOCK);
                refuse_writes(&world->model, false);
                assert_int_equal(model_read(&world->model, inode, 0, BLOCK, back, true), 0);
                assert_memory_equal(data, back, BLOCK);
                assert_int_equal(model_write(&world->model, inode, BLOCK, BLOCK, data, direct), 0);
                assert_int_equal(world->ramfs.last_error, 0);
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

/* ---- the user engine ------------------------------------------------------------------------------------------------ */

/* When a truncation is answered, nothing of it is outstanding: the file may be unlinked, and its blocks be somebody else's. */
static void test_truncation_is_whole(void **state) {
        World *world = world_new(&plain, &stock, true, 0);
        ModelInode *inode = model_create(&world->model, "file");
        uint8_t data[BLOCK], zeroes[BLOCK] = {0}, back[BLOCK];
        struct fused_mapping where;

        memset(data, 'x', sizeof data);
        assert_int_equal(model_write(&world->model, inode, 0, sizeof data, data, true), 0);
        ramfs_where(&world->ramfs, inode->nodeid, 0, &where);
        world->ramfs.spoil = linger;
        assert_int_equal(model_truncate(&world->model, inode, 100), 0);
        assert_int_equal(pread(world->ramfs.device_fds[where.dev - 1], back, sizeof back, (off_t) where.addr), sizeof back);
        world->ramfs.spoil = NULL;
        assert_memory_equal(back, data, 100);
        assert_memory_equal(back + 100, zeroes, sizeof back - 100);
        assert_int_equal(world_free(world), 0);
}

/* ---- programs ------------------------------------------------------------------------------------------------------- */

/* As struct_ops would: it knows even blocks, and leaves the others to the server. */
static bool run_program(void *userdata, const IomapBeginIn *in, uint64_t nodeid, IomapBeginOut *out) {
        World *world = userdata;

        if (in->opflags & FUSED_MAPPING_OP_CHANGES || in->pos / BLOCK % 2 != 0)
                return false;
        ramfs_where(&world->ramfs, nodeid, in->pos, &out->read);
        out->read.length = BLOCK;
        out->read.offset = in->pos / BLOCK * BLOCK;
        if (out->read.dev)
                out->read.dev = fused_map_cookie(world->ramfs.map, out->read.dev);
        out->write = (struct fused_mapping){out->read.offset, BLOCK, FUSED_MAPPING_ADDR_NONE, FUSED_MAPPING_PURE_OVERWRITE, 0, 0};
        return true;
}

static void test_program(void **state) {
        World *world = world_new(&plain, &iomap_rn, true, 0);
        Model *model = &world->model;
        ModelInode *inode = model_create(model, "file");
        uint8_t data[BLOCK * 4], back[BLOCK * 4];

        model->attached = true;
        model->program = run_program;
        model->program_userdata = world;
        for (size_t i = 0; i < sizeof data; i++)
                data[i] = (uint8_t) (i / 7);
        assert_int_equal(model_write(model, inode, 0, sizeof data, data, true), 0);
        const uint64_t before = world->ramfs.map->statistics->answered_by_server;
        for (uint64_t pos = 0; pos < sizeof back; pos += BLOCK)
                assert_int_equal(model_read(model, inode, pos, BLOCK, back + pos, true), 0);
        assert_memory_equal(data, back, sizeof data);
        assert_int_equal(model->n_by_program, 2);
        assert_int_equal(world->ramfs.map->statistics->answered_by_server, before + 2);
        assert_int_equal(world_free(world), 0);
}

/* ---- the same bytes ------------------------------------------------------------------------------------------------- */

#define FILE_MAX (BLOCK * 60U)

typedef struct Twin {
        ModelInode *inode;
        uint64_t size;
        uint8_t bytes[FILE_MAX];
} Twin;

static unsigned seed;

static uint64_t random_below(uint64_t limit) {
        return limit ? (uint64_t) rand_r(&seed) % limit : 0;
}

static void twin_check(Model *model, Twin *twin, uint64_t pos, uint64_t size, unsigned step) {
        static uint8_t back[FILE_MAX];
        int r = size > 0 ? model_read(model, twin->inode, pos, size, back, random_below(2)) : 0;

        if (r < 0 || memcmp(back, twin->bytes + pos, size) != 0) {
                uint64_t i = 0;
                while (r >= 0 && back[i] == twin->bytes[pos + i])
                        i++;
                fail_msg("node %llu, step %u: reading %llu at %llu: error %d, first difference at %llu: %#x for %#x",
                         (unsigned long long) twin->inode->nodeid, step, (unsigned long long) size,
                         (unsigned long long) pos, r, (unsigned long long) (pos + i), back[i], twin->bytes[pos + i]);
        }
}

static void twin_resize(Twin *twin, uint64_t size) {
        if (size < twin->size)
                memset(twin->bytes + size, 0, twin->size - size);
        twin->size = size;
}

static void step_write(Model *model, Twin *twin, bool append) {
        uint64_t pos = append ? twin->size : random_below(FILE_MAX), size = 1 + random_below(BLOCK * 5);
        const bool aligned = random_below(2);

        if (aligned) {
                pos = pos / BLOCK * BLOCK;
                size = ALIGN_TO(size, (uint64_t) BLOCK);
        }
        if (pos + size > FILE_MAX)
                return;
        for (uint64_t i = 0; i < size; i++)
                twin->bytes[pos + i] = (uint8_t) (1 + random_below(255));
        assert_int_equal(model_write(model, twin->inode, pos, size, twin->bytes + pos, aligned && random_below(2)), 0);
        twin->size = MAX_OF(twin->size, pos + size);
}

static void step_fallocate(Model *model, Twin *twin) {
        static const uint32_t modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                         FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                         FALLOC_FL_ZERO_RANGE};
        const uint32_t mode = modes[random_below(ELEMENTSOF(modes))];
        const uint64_t pos = random_below(FILE_MAX - BLOCK * 6), size = 1 + random_below(BLOCK * 6);

        assert_int_equal(model_fallocate(model, twin->inode, mode, pos, size), 0);
        if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
                memset(twin->bytes + pos, 0, size); /* past the end they are zero anyway */
        if (!(mode & FALLOC_FL_KEEP_SIZE))
                twin->size = MAX_OF(twin->size, pos + size);
}

static void step(Model *model, Twin *twin, unsigned number) {
        const uint64_t what = random_below(16), pos = random_below(twin->size);

        if (what < 6)
                step_write(model, twin, what == 5);
        else if (what < 8) {
                const uint64_t size = random_below(2) ? random_below(FILE_MAX) : twin->size - random_below(twin->size);
                assert_int_equal(model_truncate(model, twin->inode, size), 0);
                twin_resize(twin, size);
        } else if (what < 11)
                step_fallocate(model, twin);
        else if (what == 11)
                assert_int_equal(model_fsync(model, twin->inode), 0);
        else
                twin_check(model, twin, pos, random_below(twin->size - pos), number);
}

static void run_twins(const RamfsConfig *ramfs, const ModelConfig *config, unsigned n_steps) {
        static Twin twins[3];
        World *world = world_new(ramfs, config, true, 0);
        Model *model = &world->model;
        char name[8];

        memset(twins, 0, sizeof twins);
        for (unsigned i = 0; i < ELEMENTSOF(twins); i++) {
                (void) snprintf(name, sizeof name, "file%u", i);
                twins[i].inode = model_create(model, name);
                assert_int_equal(twins[i].inode->iomap, config->minor == IOMAP_MINOR);
        }
        for (unsigned i = 0; i < n_steps; i++)
                step(model, &twins[random_below(ELEMENTSOF(twins))], i);
        for (unsigned i = 0; i < ELEMENTSOF(twins); i++) {
                twin_check(model, &twins[i], 0, twins[i].size, n_steps);
                assert_int_equal(twins[i].inode->size, twins[i].size);
                assert_int_equal(world->ramfs.files[i].size, twins[i].size); /* the server has been told of every change */
                model_forget(model, twins[i].inode);
        }
        assert_int_equal(world->ramfs.map->statistics->bad_mappings, 0);
        assert_int_equal(world_free(world), 0);
}

static void test_same_bytes(void **state) {
        static const ModelConfig *const columns[] = {&iomap_r7, &iomap_rn, &stock};
        const char *wanted = getenv("KERNEL_ENGINE_STEPS"); /* more of them by hand */
        const unsigned n_steps = wanted ? (unsigned) strtoul(wanted, NULL, 10) : 400;

        for (unsigned i = 0; i < ELEMENTSOF(columns); i++)
                for (unsigned j = 0; j < 16; j++) {
                        const RamfsConfig config = {.block_size = j & 8 ? 512 : BLOCK, .unwritten = j & 1, .elsewhere = j & 2, .retries = j & 4};
                        seed = j + 1; /* the same steps on each */
                        run_twins(&config, columns[i], n_steps);
                }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_choice), cmocka_unit_test(test_config), cmocka_unit_test(test_devices), cmocka_unit_test(test_start_fails),
                cmocka_unit_test(test_attributes),
                cmocka_unit_test(test_attributes_ignored), cmocka_unit_test(test_attributes_ignored_unasked),
                cmocka_unit_test(test_changes_before_data), cmocka_unit_test(test_bad_mappings), cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_syncfs), cmocka_unit_test(test_destroy), cmocka_unit_test(test_destroy_early),
                cmocka_unit_test(test_ends), cmocka_unit_test(test_notifications), cmocka_unit_test(test_retry),
                cmocka_unit_test(test_cache_limit), cmocka_unit_test(test_dead_inode), cmocka_unit_test(test_truncation_is_whole),
                cmocka_unit_test(test_program), cmocka_unit_test(test_same_bytes)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
