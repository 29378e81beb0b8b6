/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model's rules: for each one a mapping that is refused and its neighbour that is taken, in both columns; and that whatever the library lets
 * through, the kernel takes. */

#define FUSE_USE_VERSION 312
#include <string.h>
#include <sys/mman.h>

#include "unit/kernel-world.h"

#define BLOCK 4096ULL
#define NONE FUSED_MAPPING_ADDR_NONE
#define TOP (UINT64_MAX / BLOCK * BLOCK)

typedef struct Rule {
        const char *name;
        struct fused_mapping mapping;
        int r7, rn;       /* what each says */
        bool write, upsert, no_cache;
        uint64_t pos;
        uint32_t opflags;
} Rule;

static void make_model(Model *model, ModelInode *inode, ModelColumn column) {
        *model = (Model){.config = {.column = column, .config_flags = 0x7f}, .block_size = BLOCK, .max_bytes = 1ULL << 40, .n_devices = 2};
        model->devices[0] = (ModelDevice){.cookie = 5, .size = BLOCK * 100, .readable = true, .writable = true};
        model->devices[1] = (ModelDevice){.cookie = 6, .size = 0, .readable = true, .writable = true};
        *inode = (ModelInode){.nodeid = 2, .iomap = true, .has_cache = true};
}

#define BAD -EUCLEAN
static const Rule rules[] = {
        {"1: known type", {0, BLOCK, NONE, FUSED_MAPPING_INLINE, 0, 0}},
        {"1: unknown type", {0, BLOCK, NONE, 5, 0, 0}, BAD, BAD},
        {"1: just below the upper ones", {0, BLOCK, NONE, 252, 0, 0}, BAD, BAD},
        {"1: just above them", {0, BLOCK, NONE, 256, 0, 0}, BAD, BAD},
        {"2: all flags", {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0xff, 5}},
        {"2: one more", {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0x100, 5}, BAD, BAD},
        {"2: in the cache's types", {0, BLOCK, NONE, FUSED_MAPPING_RETRY_CACHE, 0x100, 0}, 0, BAD},
        {"3: length 0", {0, 0, 0, FUSED_MAPPING_MAPPED, 0, 5}, BAD, BAD},
        {"3: length 0 in an upsert's other half", {0, 0, NONE, FUSED_MAPPING_NOCACHE, 0, 0}, 0, BAD, .upsert = true},
        {"4: offset aligned", {BLOCK, BLOCK, NONE, FUSED_MAPPING_HOLE, 0, 0}, .pos = BLOCK},
        {"4: offset not aligned", {512, BLOCK, NONE, FUSED_MAPPING_HOLE, 0, 0}, BAD, BAD, .pos = BLOCK},
        {"4: in the cache's types", {512, BLOCK, NONE, FUSED_MAPPING_RETRY_CACHE, 0, 0}, 0, BAD, .pos = BLOCK},
        {"5: length not aligned", {0, BLOCK + 512, NONE, FUSED_MAPPING_HOLE, 0, 0}, BAD, BAD},
        {"5: in the cache's types", {0, BLOCK + 512, NONE, FUSED_MAPPING_RETRY_CACHE, 0, 0}, 0, BAD},
        {"6: range wraps", {BLOCK, TOP, NONE, FUSED_MAPPING_HOLE, 0, 0}, BAD, BAD, .pos = BLOCK},
        {"6: range to the top", {0, TOP, NONE, FUSED_MAPPING_HOLE, 0, 0}},
        {"7: begins in the largest file", {(1ULL << 40) - BLOCK, BLOCK * 9, NONE, FUSED_MAPPING_HOLE, 0, 0}, .pos = 1ULL << 40},
        {"7: begins past it", {1ULL << 40, BLOCK, NONE, FUSED_MAPPING_HOLE, 0, 0}, BAD, BAD, .pos = 1ULL << 40},
        {"7: in the cache's types", {1ULL << 40, BLOCK, NONE, FUSED_MAPPING_RETRY_CACHE, 0, 0}, 0, BAD, .pos = 1ULL << 40},
        {"8a: mapped", {0, BLOCK, BLOCK, FUSED_MAPPING_MAPPED, 0, 5}},
        {"8a: mapped nowhere", {0, BLOCK, NONE, FUSED_MAPPING_MAPPED, 0, 5}, BAD, BAD},
        {"8a: mapped on nothing", {0, BLOCK, BLOCK, FUSED_MAPPING_MAPPED, 0, 0}, BAD, BAD},
        {"8a: unwritten", {0, BLOCK, BLOCK, FUSED_MAPPING_UNWRITTEN, 0, 5}},
        {"8a: unwritten nowhere", {0, BLOCK, NONE, FUSED_MAPPING_UNWRITTEN, 0, 5}, BAD, BAD},
        {"8a: unwritten on nothing", {0, BLOCK, BLOCK, FUSED_MAPPING_UNWRITTEN, 0, 0}, BAD, BAD},
        {"8b: hole", {0, BLOCK, NONE, FUSED_MAPPING_HOLE, 0, 0}},
        {"8b: hole somewhere", {0, BLOCK, 0, FUSED_MAPPING_HOLE, 0, 0}, BAD, BAD},
        {"8b: hole on a device", {0, BLOCK, NONE, FUSED_MAPPING_HOLE, 0, 5}, BAD, BAD},
        {"8b: delayed", {0, BLOCK, NONE, FUSED_MAPPING_DELALLOC, 0, 0}},
        {"8b: delayed on a device", {0, BLOCK, NONE, FUSED_MAPPING_DELALLOC, 0, 5}, BAD, BAD},
        {"8b: inline", {0, BLOCK, NONE, FUSED_MAPPING_INLINE, 0, 0}},
        {"8b: inline somewhere", {0, BLOCK, 0, FUSED_MAPPING_INLINE, 0, 0}, BAD, BAD},
        {"8c: overwrite", {0, BLOCK, NONE, FUSED_MAPPING_PURE_OVERWRITE, 0, 0}, .write = true},
        {"8c: overwrite to be read", {0, BLOCK, NONE, FUSED_MAPPING_PURE_OVERWRITE, 0, 0}, BAD, BAD},
        {"8c: overwrite with flags", {0, BLOCK, NONE, FUSED_MAPPING_PURE_OVERWRITE, 1, 0}, 0, BAD, .write = true},
        {"8c: overwrite with a device", {0, BLOCK, NONE, FUSED_MAPPING_PURE_OVERWRITE, 0, 5}, 0, BAD, .write = true},
        {"8c: overwrite somewhere", {0, BLOCK, 0, FUSED_MAPPING_PURE_OVERWRITE, 0, 0}, 0, BAD, .write = true},
        {"8d: the cache", {0, BLOCK, NONE, FUSED_MAPPING_RETRY_CACHE, 0, 0}},
        {"8d: a cache that is not", {0, BLOCK, NONE, FUSED_MAPPING_RETRY_CACHE, 0, 0}, BAD, BAD, .no_cache = true},
        {"8d: the cache with a device", {0, BLOCK, NONE, FUSED_MAPPING_RETRY_CACHE, 0, 5}, 0, BAD},
        {"8d: the cache in an upsert", {0, BLOCK, NONE, FUSED_MAPPING_RETRY_CACHE, 0, 0}, BAD, BAD, .upsert = true},
        {"8e: left alone, in an upsert", {0, BLOCK, NONE, FUSED_MAPPING_NOCACHE, 0, 0}, .upsert = true},
        {"8e: left alone, in an answer", {0, BLOCK, NONE, FUSED_MAPPING_NOCACHE, 0, 0}, BAD, BAD},
        {"8e: left alone, with flags", {0, BLOCK, NONE, FUSED_MAPPING_NOCACHE, 1, 0}, 0, BAD, .upsert = true},
        {"9: address wraps", {0, BLOCK * 2, TOP, FUSED_MAPPING_MAPPED, 0, 5}, BAD, BAD},
        {"9: address to the top", {0, BLOCK * 2, TOP - BLOCK * 2, FUSED_MAPPING_MAPPED, 0, 5}},
        {"10: first byte", {BLOCK, BLOCK, NONE, FUSED_MAPPING_HOLE, 0, 0}, .pos = BLOCK},
        {"10: before it", {BLOCK, BLOCK, NONE, FUSED_MAPPING_HOLE, 0, 0}, BAD, BAD, .pos = BLOCK - 1},
        {"10: last byte", {BLOCK, BLOCK, NONE, FUSED_MAPPING_HOLE, 0, 0}, .pos = 2 * BLOCK - 1},
        {"10: after it", {BLOCK, BLOCK, NONE, FUSED_MAPPING_HOLE, 0, 0}, BAD, BAD, .pos = 2 * BLOCK},
        {"10: the cache elsewhere", {BLOCK, BLOCK, NONE, FUSED_MAPPING_RETRY_CACHE, 0, 0}, BAD, BAD, .pos = 0},
        {"11: the cache for an atomic write", {0, BLOCK, NONE, FUSED_MAPPING_RETRY_CACHE, 0, 0}, 0, BAD, .opflags = FUSED_MAPPING_OP_ATOMIC},
        {"11: its write half slips through", {0, BLOCK, NONE, FUSED_MAPPING_RETRY_CACHE, 0, 0}, 0, 0, .write = true,
         .opflags = FUSED_MAPPING_OP_ATOMIC},
        {"13: unknown device", {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 9}, BAD, BAD, .upsert = true},
        {"upsert: to the device's end", {0, BLOCK * 2, BLOCK * 98, FUSED_MAPPING_MAPPED, 0, 5}, .upsert = true},
        {"upsert: past it", {0, BLOCK * 2, BLOCK * 99, FUSED_MAPPING_MAPPED, 0, 5}, BAD, BAD, .upsert = true},
        {"not checked in an answer", {0, BLOCK * 2, BLOCK * 99, FUSED_MAPPING_MAPPED, 0, 5}},
        {"upsert: a device without size", {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 6}, -EINVAL, -EINVAL, .upsert = true},
};

static void test_rules(void **state) {
        for (ModelColumn column = MODEL_R7; column <= MODEL_RN; column++)
                for (size_t i = 0; i < ELEMENTSOF(rules); i++) {
                        const Rule *rule = &rules[i];
                        const uint64_t pos = rule->upsert ? UINT64_MAX : rule->pos;
                        ModelInode inode;
                        Model model;
                        make_model(&model, &inode, column);
                        inode.has_cache = !rule->no_cache;
                        int r = model_check(&model, &inode, &rule->mapping, rule->write, pos, rule->opflags);
                        if (r != (column == MODEL_R7 ? rule->r7 : rule->rn))
                                fail_msg("%s, column %d: %d", rule->name, (int) column, r);
                }
}

static void say_atomic(struct fused_mapping *read, struct fused_mapping *write) {
        read->flags |= FUSED_MAPPING_F_ATOMIC_BIO;
}

/* Rules 12 and 14 are about the operation: who may write to the device, and what an atomic write needs. */
static void test_use(void **state) {
        static const struct {
                ModelColumn column;
                int mode; /* that the devices were opened with */
                uint32_t opflags;
                uint16_t flags;
                int wanted;
        } rows[] = {
                {MODEL_R7, O_RDONLY, FUSED_MAPPING_OP_WRITE, 0, 0},
                {MODEL_RN, O_RDONLY, FUSED_MAPPING_OP_WRITE, 0, -EACCES},
                {MODEL_RN, O_RDONLY, 0, 0, 0},
                {MODEL_R7, O_WRONLY, 0, 0, 0},
                {MODEL_RN, O_WRONLY, 0, 0, -EACCES},
                {MODEL_RN, O_WRONLY, FUSED_MAPPING_OP_WRITE, 0, -EACCES},
                {MODEL_RN, O_RDWR, FUSED_MAPPING_OP_WRITE, 0, 0},
                {MODEL_R7, O_RDWR, FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_ATOMIC | FUSED_MAPPING_OP_DIRECT, 0, 0},
                {MODEL_RN, O_RDWR, FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_ATOMIC | FUSED_MAPPING_OP_DIRECT, 0, -EIO},
                {MODEL_RN, O_RDWR, FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_ATOMIC | FUSED_MAPPING_OP_DIRECT, FUSED_MAPPING_F_ATOMIC_BIO, 0},
                {MODEL_R7, O_RDWR, FUSED_MAPPING_OP_NOWAIT | FUSED_MAPPING_OP_DIRECT, 0, 0},
                {MODEL_RN, O_RDWR, FUSED_MAPPING_OP_NOWAIT | FUSED_MAPPING_OP_DIRECT, 0, -EAGAIN},
        };
        uint8_t data[BLOCK] = {0};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                World *world = world_new(&(RamfsConfig){.block_size = BLOCK}, rows[i].column == MODEL_R7 ? &iomap_r7 : &iomap_rn, true, 0);
                ModelInode *inode = model_create(&world->model, "file");
                struct fused_mapping from, to;
                assert_int_equal(model_write(&world->model, inode, 0, BLOCK, data, false), 0);
                for (size_t k = 0; k < world->model.n_devices; k++) {
                        world->model.devices[k].readable = rows[i].mode != O_WRONLY;
                        world->model.devices[k].writable = rows[i].mode != O_RDONLY;
                }
                if (rows[i].flags)
                        world->ramfs.spoil = say_atomic;
                assert_int_equal(model_map(&world->model, inode, 0, BLOCK, rows[i].opflags, &from, &to), rows[i].wanted);
                assert_int_equal(world_free(world), 0);
        }
}

/* 13 and 14, of the halves that count: what is only read has nothing to do with where it would be written to. */
static void test_devices(void **state) {
        const struct fused_mapping good = {0, BLOCK, 0, K_MAPPED, 0, 5}, other = {0, BLOCK, 0, K_MAPPED, 0, 6},
                                   unknown = {0, BLOCK, 0, K_MAPPED, 0, 9}, hole = {0, BLOCK, NONE, K_HOLE, 0, 0},
                                   same = {0, BLOCK, NONE, K_PURE_OVERWRITE, 0, 0};
        const struct {
                IomapBeginOut out;
                bool changes;
                bool readable[2], writable[2]; /* the devices 5 and 6 */
                int r7, rn;
        } rows[] = {
                {{good, same}, false, {true, true}, {false, false}, 0, 0},
                {{good, same}, false, {false, true}, {true, true}, 0, -EACCES},
                {{good, same}, true, {true, true}, {false, true}, 0, -EACCES},
                {{good, same}, true, {true, true}, {true, false}, 0, 0},
                {{good, other}, true, {true, true}, {false, true}, 0, 0}, /* read there, written here */
                {{good, other}, true, {true, true}, {true, false}, 0, -EACCES},
                {{good, other}, true, {false, true}, {true, true}, 0, -EACCES},
                {{good, other}, true, {true, false}, {true, true}, 0, -EACCES},
                {{good, other}, false, {true, false}, {false, false}, 0, 0},
                {{hole, other}, true, {false, true}, {false, true}, 0, 0},
                {{unknown, same}, false, {true, true}, {true, true}, BAD, BAD},
                {{good, unknown}, false, {true, true}, {true, true}, 0, 0},
                {{good, unknown}, true, {true, true}, {true, true}, BAD, BAD},
                {{hole, same}, true, {false, false}, {false, false}, 0, 0},
        };

        for (ModelColumn column = MODEL_R7; column <= MODEL_RN; column++)
                for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                        ModelInode inode;
                        Model model;
                        make_model(&model, &inode, column);
                        for (size_t k = 0; k < 2; k++) {
                                model.devices[k].readable = rows[i].readable[k];
                                model.devices[k].writable = rows[i].writable[k];
                        }
                        int r = model_check_devices(&model, &rows[i].out, rows[i].changes);
                        if (r != (column == MODEL_R7 ? rows[i].r7 : rows[i].rn))
                                fail_msg("row %zu, column %d: %d", i, (int) column, r);
                }
}

static void test_config_rules(void **state) {
        static const struct {
                const char *name;
                IomapConfigOut out;
                size_t size;
                int r7, rn;
        } rows[] = {
                {"nothing", {.flags = 0}, 104},
                {"short", {.flags = 0}, 96},
                {"too long", {.flags = 0}, 105, -EINVAL, -EINVAL},
                {"all flags", {.flags = 0x7f, .s_blocksize = 512, .s_time_gran = 1}, 104},
                {"unknown flag", {.flags = 0x80}, 104, -EINVAL, -EINVAL},
                {"uuid", {.s_uuid_len = 16}, 104},
                {"long uuid", {.s_uuid_len = 17}, 104, -EINVAL, -EINVAL},
                {"padding", {.pad = {0, 0, 1}}, 104, -EINVAL, -EINVAL},
                {"block size", {.flags = IOMAP_CONFIG_BLOCKSIZE, .s_blocksize = 1000}, 104, 0, -EINVAL},
                {"time", {.flags = IOMAP_CONFIG_TIME, .s_time_gran = 1000000001}, 104, 0, -EINVAL},
                {"largest file", {.flags = IOMAP_CONFIG_MAXBYTES, .s_maxbytes = -1}, 104, 0, -EINVAL},
        };

        for (ModelColumn column = MODEL_R7; column <= MODEL_RN; column++)
                for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                        ModelInode inode;
                        Model model;
                        make_model(&model, &inode, column);
                        int r = model_check_config(&model, &rows[i].out, rows[i].size);
                        if (r != (column == MODEL_R7 ? rows[i].r7 : rows[i].rn))
                                fail_msg("%s, column %d: %d", rows[i].name, (int) column, r);
                }
}

/* ---- answers of a size that the kernel does not take -------------------------------------------------------------------- */

typedef struct Answerer {
        int fd;
        uint32_t opcode; /* of the last request */
        size_t size;     /* bytes after the header that are answered to END and IOEND */
} Answerer;

/* Serves mappings of one file: all of it on device 5, and END and IOEND as it is told. */
static void *answer(void *userdata) {
        Answerer *a = userdata;
        uint8_t packet[65536];
        struct {
                struct fuse_out_header header;
                IomapBeginOut begin;
        } out;
        const struct fuse_in_header *in = (const void *) packet;

        while (read(a->fd, packet, sizeof packet) >= (ssize_t) sizeof *in) {
                out.header = (struct fuse_out_header){.unique = in->unique, .len = sizeof out.header};
                out.begin = (IomapBeginOut){.read = {0, BLOCK * 4, 0, FUSED_MAPPING_MAPPED, FUSED_MAPPING_F_SHARED, 5},
                                            .write = {0, BLOCK * 4, NONE, FUSED_MAPPING_PURE_OVERWRITE, 0, 0}};
                out.header.len += (uint32_t) (in->opcode == IOMAP_BEGIN ? sizeof out.begin : a->size);
                if (write(a->fd, &out, out.header.len) != (ssize_t) out.header.len)
                        break;
        }
        return NULL;
}

static void test_answer_sizes(void **state) {
        static const struct {
                size_t size;
                int ioend, end;
        } rows[] = {{0, -EIO, 0}, {8, 0, -EIO}, {16, -EIO, -EIO}};
        uint8_t data[BLOCK] = {0};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                ModelInode *inode;
                pthread_t thread;
                Model model;
                model_init(&model, &iomap_rn);
                Answerer answerer = {.fd = model.server_fd, .size = rows[i].size};
                _cleanup_fd_ int disk = memfd_create("disk", MFD_CLOEXEC);
                assert_int_equal(ftruncate(disk, (off_t) BLOCK * 4), 0);
                model.iomap = true;
                model.n_devices = 1;
                model.devices[0] = (ModelDevice){.fd = disk, .cookie = 5, .size = BLOCK * 4, .readable = true, .writable = true};
                model.n_inodes = 1;
                inode = &model.inodes[0];
                *inode = (ModelInode){.nodeid = 2, .ino = 2, .iomap = true, .size = BLOCK, .disk_size = BLOCK};
                assert_int_equal(pthread_create(&thread, NULL, answer, &answerer), 0);
                assert_int_equal(model_write(&model, inode, 0, BLOCK, data, true), rows[i].ioend); /* in place, shared: IOEND alone */
                model.no_ioend = true;
                assert_int_equal(model_write(&model, inode, BLOCK, BLOCK, data, false), rows[i].end); /* larger: END */
                assert_int_equal(shutdown(model.fd, SHUT_RDWR), 0);
                assert_int_equal(pthread_join(thread, NULL), 0);
                (void) fd_close(model.server_fd);
                model_done(&model);
        }
}

/* ---- notifications -------------------------------------------------------------------------------------------------- */

static void test_notification_rules(void **state) {
        const struct fused_mapping hole = {0, BLOCK, NONE, FUSED_MAPPING_HOLE, 0, 0}, alone = {0, BLOCK, NONE, FUSED_MAPPING_NOCACHE, 0, 0};

        for (ModelColumn column = MODEL_R7; column <= MODEL_RN; column++) {
                const bool strict = column == MODEL_RN;
                Model model;
                make_model(&model, &model.inodes[0], column);
                (void) pthread_mutex_init(&model.lock, NULL);
                model.inodes[0] = (ModelInode){.nodeid = 2, .ino = 12, .iomap = true};
                model.inodes[1] = (ModelInode){.nodeid = 3, .ino = 13};
                model.n_inodes = 2;
                IomapNotifyUpsert upsert = {.nodeid = 2, .attr_ino = 12, .read = hole, .write = alone};
                assert_int_equal(model_notify(&model, IOMAP_NOTIFY_UPSERT, &upsert, sizeof upsert), -EINVAL); /* not agreed on */
                model.iomap = true;
                assert_int_equal(model_notify(&model, IOMAP_NOTIFY_UPSERT, &upsert, sizeof upsert), 0);
                assert_int_equal(model_notify(&model, IOMAP_NOTIFY_UPSERT, &upsert, sizeof upsert - 8), -EINVAL);
                upsert.attr_ino = 13;
                assert_int_equal(model_notify(&model, IOMAP_NOTIFY_UPSERT, &upsert, sizeof upsert), -EINVAL);
                upsert.nodeid = 3; /* a file that is not mapped */
                assert_int_equal(model_notify(&model, IOMAP_NOTIFY_UPSERT, &upsert, sizeof upsert), strict ? -EINVAL : 0);
                model.inodes[0].dead = true;
                upsert.nodeid = 2;
                assert_int_equal(model_notify(&model, IOMAP_NOTIFY_UPSERT, &upsert, sizeof upsert), -EINVAL); /* first, that it is this one */
                upsert.attr_ino = 12;
                assert_int_equal(model_notify(&model, IOMAP_NOTIFY_UPSERT, &upsert, sizeof upsert), -EIO);
                model.inodes[0].dead = false;
                upsert.nodeid = 4;
                assert_int_equal(model_notify(&model, IOMAP_NOTIFY_UPSERT, &upsert, sizeof upsert), -ESTALE);
                const struct {
                        IomapRange range;
                        int r7, rn;
                } ranges[] = {{{0, 0}, 0, 0}, {{1, 0}, 0, 0}, {{0, UINT64_MAX}, 0, 0}, {{0, BLOCK}, 0, 0}, {{1, BLOCK}, BAD, BAD},
                              {{0, BLOCK + 1}, BAD, BAD}, {{1ULL << 40, BLOCK}, BAD, BAD}, {{BLOCK, TOP}, 0, BAD}};
                for (size_t i = 0; i < ELEMENTSOF(ranges); i++) {
                        const IomapNotifyInvalidate notice = {.nodeid = 2, .attr_ino = 12, .read = ranges[i].range, .write = ranges[i].range};
                        assert_int_equal(model_notify(&model, IOMAP_NOTIFY_INVALIDATE, &notice, sizeof notice), strict ? ranges[i].rn : ranges[i].r7);
                }
                const struct {
                        IomapNotifyDevice notice;
                        int r7, rn;
                } devices[] = {{{5, 0, {0, BLOCK}}, 0, 0}, {{0, 0, {0, BLOCK}}, -EINVAL, -EINVAL}, {{9, 0, {0, BLOCK}}, -ENODEV, -ENODEV},
                               {{5, 0, {BLOCK * 100, BLOCK}}, -EINVAL, -EINVAL}, {{5, 0, {BLOCK, UINT64_MAX}}, -EINVAL, -EINVAL},
                               {{5, 0, {BLOCK * 100, 0}}, -EINVAL, -EINVAL}, {{5, 0, {BLOCK, 0}}, 0, 0}};
                for (size_t i = 0; i < ELEMENTSOF(devices); i++)
                        assert_int_equal(model_notify(&model, IOMAP_NOTIFY_DEVICE_INVALIDATE, &devices[i].notice, sizeof devices[i].notice),
                                         strict ? devices[i].rn : devices[i].r7);
                model_tree_free(&model.inodes[0].reads);
                model_tree_free(&model.inodes[0].writes);
                model_tree_free(&model.inodes[1].reads);
                (void) pthread_mutex_destroy(&model.lock);
        }
}

/* ---- the library's rules are not wider ------------------------------------------------------------------------------ */

static uint64_t pick(unsigned *seed, const uint64_t *values, size_t n) {
        return values[(unsigned) rand_r(seed) % n];
}

static void test_library_is_stricter(void **state) {
        static const uint64_t numbers[] = {0, 1, 512, BLOCK, BLOCK * 2, BLOCK * 99, BLOCK * 100, 1ULL << 40,
                                           (1ULL << 40) - BLOCK, TOP, TOP - BLOCK, NONE};
        static const uint64_t types[] = {0, 1, 2, 3, 4, 5, 252, 253, 254, 255, 256}, flags[] = {0, 0, 1, 0xff, 0x100}, devices[] = {0, 5, 5, 9};
        unsigned seed = 1, n_good = 0;
        ModelInode inode;
        Model model;

        for (unsigned i = 0; i < 2000000; i++) {
                const struct fused_mapping m = {
                        .offset = pick(&seed, numbers, ELEMENTSOF(numbers)), .length = pick(&seed, numbers, ELEMENTSOF(numbers)),
                        .addr = pick(&seed, numbers, ELEMENTSOF(numbers)), .type = (uint16_t) pick(&seed, types, ELEMENTSOF(types)),
                        .flags = (uint16_t) pick(&seed, flags, ELEMENTSOF(flags)), .dev = (uint32_t) pick(&seed, devices, ELEMENTSOF(devices))};
                const bool write = rand_r(&seed) & 1, upsert = rand_r(&seed) & 1;
                const uint64_t pos = upsert ? UINT64_MAX : m.offset + (rand_r(&seed) & 1 ? m.length - 1 : m.length);
                const bool device_is_good = m.dev != 9 && (m.dev == 0 || (m.addr <= BLOCK * 100 && m.length <= BLOCK * 100 - m.addr));
                if (fused_mapping_check(&m, write, upsert, pos, BLOCK, 1ULL << 40, NULL) < 0 || !device_is_good)
                        continue;
                n_good++;
                for (ModelColumn column = MODEL_R7; column <= MODEL_RN; column++) {
                        make_model(&model, &inode, column);
                        int r = model_check(&model, &inode, &m, write, pos, 0);
                        if (r < 0)
                                fail_msg("column %d: %d for offset %llx length %llx addr %llx type %u flags %x dev %u write %d upsert %d",
                                         (int) column, r, (unsigned long long) m.offset, (unsigned long long) m.length, (unsigned long long) m.addr,
                                         (unsigned) m.type, (unsigned) m.flags, (unsigned) m.dev, (int) write, (int) upsert);
                }
        }
        assert_true(n_good > 1000);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rules), cmocka_unit_test(test_use), cmocka_unit_test(test_devices),
                cmocka_unit_test(test_config_rules), cmocka_unit_test(test_answer_sizes), cmocka_unit_test(test_notification_rules),
                cmocka_unit_test(test_library_is_stricter)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
