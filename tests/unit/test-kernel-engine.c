/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel engine against the model of the kernel: the choice and what it falls back to, and the same bytes on both engines whatever is done. */

#define FUSE_USE_VERSION 312
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>

#include "unit/device-sync.h"
#include "unit/kernel-world.h"

#define BLOCK 4096U

static const RamfsConfig plain = {.block_size = BLOCK};

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
                {"a minor that nobody has described", {.minor = IOMAP_MINOR + 1, .offers = true, .config_flags = 0x7f}, {.block_size = BLOCK}, false,
                 CHANNEL_REASON_NO_IOMAP},
                {"writes as they are made", {IOMAP_IS_THERE}, {.block_size = BLOCK, .no_writeback = true}, false, CHANNEL_REASON_ASKED},
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

/* The largest file is the smaller of what the kernel has and the server wants; the library's rules go by it, too. */
static void test_largest_file(void **state) {
        static const struct {
                int64_t offered;
                uint64_t wanted, agreed;
        } rows[] = {{0, 0, INT64_MAX}, {1LL << 40, 0, 1ULL << 40}, {1LL << 40, 1ULL << 32, 1ULL << 32}, {1LL << 40, 1ULL << 41, 1ULL << 40},
                    {0, 1ULL << 32, 1ULL << 32}};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                ModelConfig config = iomap_rn;
                config.max_bytes = rows[i].offered;
                World *world = world_new(&(RamfsConfig){.block_size = BLOCK, .max_bytes = rows[i].wanted}, &config, true, 0);
                assert_int_equal(world->config_error, 0);
                assert_int_equal(world->model.max_bytes, rows[i].agreed);
                assert_int_equal(world->ramfs.map->config.max_bytes, rows[i].agreed);
                assert_int_equal(world_free(world), 0);
        }
}

/* The thread that starts all others, before the first request: what serves the kernel's writing back must not wait for it. */
static void test_reclaim(void **state) {
        World *world = world_new(&plain, &iomap_rn, true, 0);

        assert_int_equal(world->model.n_reclaim, 1);
        assert_true(pthread_equal(world->model.reclaim_thread, world->thread));
        assert_int_equal(world_free(world), 0);
        world = world_new(&plain, &stock, true, 0);
        assert_int_equal(world->model.n_reclaim, 0);
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

/* ---- the user engine ------------------------------------------------------------------------------------------------ */

static void linger(struct fused_mapping *read, struct fused_mapping *write) {
        (void) usleep(50000);
}

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

/* Whole blocks are taken out, or put in. */
static void step_shift(Model *model, Twin *twin) {
        const uint64_t n_blocks = twin->size / BLOCK, pos = random_below(n_blocks) * BLOCK, size = (1 + random_below(4)) * BLOCK;
        const bool collapse = random_below(2);

        if (collapse ? pos + size >= twin->size : pos >= twin->size || twin->size + size > FILE_MAX)
                return;
        assert_int_equal(model_fallocate(model, twin->inode, collapse ? FALLOC_FL_COLLAPSE_RANGE : FALLOC_FL_INSERT_RANGE, pos, size), 0);
        if (collapse) {
                memmove(twin->bytes + pos, twin->bytes + pos + size, FILE_MAX - pos - size);
                memset(twin->bytes + FILE_MAX - size, 0, size);
        } else {
                memmove(twin->bytes + pos + size, twin->bytes + pos, FILE_MAX - pos - size);
                memset(twin->bytes + pos, 0, size);
        }
        twin->size = collapse ? twin->size - size : twin->size + size;
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
        else if (what == 12)
                step_shift(model, twin);
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
                cmocka_unit_test(test_choice), cmocka_unit_test(test_config), cmocka_unit_test(test_largest_file),
                cmocka_unit_test(test_reclaim), cmocka_unit_test(test_devices), cmocka_unit_test(test_start_fails),
                cmocka_unit_test(test_attributes), cmocka_unit_test(test_attributes_ignored),
                cmocka_unit_test(test_attributes_ignored_unasked), cmocka_unit_test(test_changes_before_data),
                cmocka_unit_test(test_truncation_is_whole), cmocka_unit_test(test_same_bytes)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
