/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A small server that maps. See ramfs-map.h. */

#define FUSE_USE_VERSION 312
#include "model/ramfs-map.h"

#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "map/map.h"

#define FIRST_NODE 2U
#define INO_OF(node) ((node) + 1000)

static RamfsFile *file_of(Ramfs *ramfs, uint64_t nodeid) {
        return nodeid >= FIRST_NODE && nodeid - FIRST_NODE < ramfs->n_files ? &ramfs->files[nodeid - FIRST_NODE] : NULL;
}

/* ---- space ---------------------------------------------------------------------------------------------------------- */

static void make_noise(Ramfs *ramfs, const RamfsBlock *block) {
        uint8_t noise[65536];

        for (size_t i = 0; i < ramfs->config.block_size; i++)
                noise[i] = (uint8_t) (0xa5 ^ i ^ block->block);
        assert_int_equal(pwrite(ramfs->device_fds[block->dev - 1], noise, ramfs->config.block_size, (off_t) block->block * ramfs->config.block_size),
                         ramfs->config.block_size);
}

static int take(Ramfs *ramfs, RamfsState state, RamfsBlock *ret) {
        const unsigned at = (unsigned) rand_r(&ramfs->seed) % (RAMFS_DEVICES * RAMFS_BLOCKS);

        for (unsigned i = 0; i < RAMFS_DEVICES * RAMFS_BLOCKS; i++) {
                const unsigned n = (at + i) % (RAMFS_DEVICES * RAMFS_BLOCKS), dev = n / RAMFS_BLOCKS, block = n % RAMFS_BLOCKS;
                if (!ramfs->used[dev][block]) {
                        ramfs->used[dev][block] = true;
                        *ret = (RamfsBlock){.state = state, .dev = (uint8_t) (dev + 1), .block = (uint16_t) block};
                        return 0;
                }
        }
        return -ENOSPC;
}

/* Next to the one before, now and then: then there are extents of several blocks. */
static int take_near(Ramfs *ramfs, const RamfsBlock *before, RamfsState state, RamfsBlock *ret) {
        if (before && before->state != RAMFS_HOLE && before->block + 1U < RAMFS_BLOCKS && rand_r(&ramfs->seed) % 4 != 0 &&
            !ramfs->used[before->dev - 1][before->block + 1]) {
                ramfs->used[before->dev - 1][before->block + 1] = true;
                *ret = (RamfsBlock){.state = state, .dev = before->dev, .block = (uint16_t) (before->block + 1)};
                return 0;
        }
        return take(ramfs, state, ret);
}

static void give_back(Ramfs *ramfs, RamfsBlock *block) {
        if (block->state == RAMFS_HOLE)
                return;
        make_noise(ramfs, block);
        ramfs->used[block->dev - 1][block->block] = false;
        *block = (RamfsBlock){0};
}

static void free_range(Ramfs *ramfs, RamfsFile *file, uint64_t first, uint64_t end) {
        for (uint64_t i = first; i < end && i < RAMFS_BLOCKS; i++) {
                give_back(ramfs, &file->blocks[i]);
                give_back(ramfs, &file->pending[i]);
        }
}

/* ---- mapping -------------------------------------------------------------------------------------------------------- */

static bool follows(const RamfsBlock *a, const RamfsBlock *b) {
        return a->state == b->state && (a->state == RAMFS_HOLE || (a->dev == b->dev && a->block + 1 == b->block));
}

static struct fused_mapping mapping_of(const Ramfs *ramfs, const RamfsBlock *blocks, uint64_t first, uint64_t end) {
        static const uint16_t types[] = {FUSED_MAPPING_HOLE, FUSED_MAPPING_MAPPED, FUSED_MAPPING_UNWRITTEN};
        const uint32_t block_size = ramfs->config.block_size;
        uint64_t n = 1;

        while (first + n < end && follows(&blocks[first + n - 1], &blocks[first + n]))
                n++;
        return (struct fused_mapping){
                .offset = first * block_size, .length = n * block_size, .type = types[blocks[first].state], .dev = blocks[first].dev,
                .addr = blocks[first].state == RAMFS_HOLE ? FUSED_MAPPING_ADDR_NONE : (uint64_t) blocks[first].block * block_size};
}

void ramfs_where(Ramfs *ramfs, uint64_t nodeid, uint64_t pos, struct fused_mapping *ret) {
        *ret = mapping_of(ramfs, file_of(ramfs, nodeid)->blocks, pos / ramfs->config.block_size, RAMFS_BLOCKS);
}

/* Returns the first block after what belongs together. */
static int allocate(Ramfs *ramfs, RamfsFile *file, uint64_t first, uint64_t end, uint64_t *ret_end) {
        uint64_t i;

        for (i = first; i < end && file->blocks[i].state == RAMFS_HOLE; i++) {
                int r = take_near(ramfs, i > 0 ? &file->blocks[i - 1] : NULL, ramfs->config.unwritten ? RAMFS_UNWRITTEN : RAMFS_DATA,
                                  &file->blocks[i]);
                if (r < 0 && i == first)
                        return r;
                if (r < 0) /* what there was is mapped; the rest is asked for again */
                        break;
                if (i > first && !follows(&file->blocks[i - 1], &file->blocks[i])) {
                        give_back(ramfs, &file->blocks[i]);
                        break;
                }
        }
        *ret_end = i;
        return 0;
}

static int change(Ramfs *ramfs, RamfsFile *file, const struct fused_map_request *request, struct fused_mapping *read, struct fused_mapping *write) {
        const uint32_t block_size = ramfs->config.block_size, writes = FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_WRITEBACK;
        uint64_t first = request->pos / block_size, end = (request->pos + request->count + block_size - 1) / block_size;
        const bool was_hole = file->blocks[first].state == RAMFS_HOLE;
        int r;

        if (was_hole && request->opflags & writes) {
                r = allocate(ramfs, file, first, end, &end);
                if (r < 0)
                        return r;
                *read = mapping_of(ramfs, file->blocks, first, end);
                read->flags = ramfs->config.unwritten ? 0 : FUSED_MAPPING_F_NEW;
        } else
                *read = mapping_of(ramfs, file->blocks, first, end);
        if (was_hole || !ramfs->config.elsewhere || file->blocks[first].state != RAMFS_DATA)
                return 0;
        if (file->pending[first].state == RAMFS_HOLE) {
                r = take(ramfs, RAMFS_DATA, &file->pending[first]);
                if (r < 0)
                        return r;
        }
        *write = mapping_of(ramfs, file->pending, first, first + 1);
        return 0;
}

static int on_begin(void *userdata, const struct fused_map_request *request, struct fused_mapping *read, struct fused_mapping *write) {
        Ramfs *ramfs = userdata;
        RamfsFile *file = file_of(ramfs, request->nodeid);
        const uint64_t limit = (uint64_t) RAMFS_BLOCKS * ramfs->config.block_size;
        int r = 0;

        if (!file || request->ino != INO_OF(request->nodeid))
                return -EIO;
        if (request->opflags & ramfs->begin_error_op)
                return ramfs->begin_error;
        (void) pthread_mutex_lock(&ramfs->lock);
        ramfs->n_begin++;
        if (ramfs->config.inlines && request->pos < ramfs->config.block_size)
                *read = (struct fused_mapping){.length = ramfs->config.block_size, .addr = FUSED_MAPPING_ADDR_NONE, .type = FUSED_MAPPING_INLINE};
        else if (request->pos >= limit)
                *read = (struct fused_mapping){.offset = limit, .length = 1ULL << 40, .addr = FUSED_MAPPING_ADDR_NONE};
        else if (request->opflags & FUSED_MAPPING_OP_CHANGES)
                r = request->pos + request->count > limit ? -EFBIG : change(ramfs, file, request, read, write);
        else
                *read = mapping_of(ramfs, file->blocks, request->pos / ramfs->config.block_size, RAMFS_BLOCKS);
        if (r >= 0 && ramfs->spoil)
                ramfs->spoil(read, write);
        (void) pthread_mutex_unlock(&ramfs->lock);
        if (r < 0 || !ramfs->config.retries || read->flags & FUSED_MAPPING_F_NEW)
                return r;
        ramfs->upsert_error = fused_map_upsert(ramfs->map, request->nodeid, read, write->length ? write : NULL);
        if (ramfs->upsert_error >= 0 && !(request->opflags & FUSED_MAPPING_OP_CHANGES)) {
                read->type = FUSED_MAPPING_RETRY_CACHE;
                read->addr = FUSED_MAPPING_ADDR_NONE;
                read->dev = 0;
        }
        return 0;
}

static int on_end(void *userdata, const struct fused_map_request *request, int64_t written, const struct fused_mapping *mapping) {
        Ramfs *ramfs = userdata;

        ramfs->n_ends++;
        ramfs->last_end.request = *request;
        ramfs->last_end.written = written;
        ramfs->last_end.mapping = *mapping;
        return ramfs->end_error;
}

static int on_ioend(void *userdata, const struct fused_map_ioend *ioend, uint64_t *size) {
        Ramfs *ramfs = userdata;
        RamfsFile *file = file_of(ramfs, ioend->nodeid);
        const uint32_t block_size = ramfs->config.block_size;
        const uint64_t end = ioend->pos + ioend->written;

        (void) pthread_mutex_lock(&ramfs->lock);
        ramfs->n_ioends++;
        ramfs->last_ioend = *ioend;
        for (uint64_t i = ioend->pos / block_size; ioend->error == 0 && i * block_size < end; i++) {
                if (file->blocks[i].state == RAMFS_UNWRITTEN)
                        file->blocks[i].state = RAMFS_DATA;
                else if (file->pending[i].state != RAMFS_HOLE && ioend->flags & FUSED_IOEND_SHARED) {
                        give_back(ramfs, &file->blocks[i]);
                        file->blocks[i] = file->pending[i];
                        file->pending[i] = (RamfsBlock){0};
                }
        }
        if (ioend->error == 0 && end > file->size)
                file->size = end;
        *size = ramfs->ioend_size ? ramfs->ioend_size : file->size;
        (void) pthread_mutex_unlock(&ramfs->lock);
        return ramfs->ioend_error;
}

static int on_kill_privileges(void *userdata, uint64_t nodeid, unsigned how, uid_t uid, gid_t gid) {
        Ramfs *ramfs = userdata;

        ramfs->n_kills++;
        ramfs->last_kill = how;
        return ramfs->kill_error;
}

static int on_sync(void *userdata) {
        Ramfs *ramfs = userdata;

        return ramfs->sync ? ramfs->sync() : 0;
}

static int on_start(void *userdata) {
        Ramfs *ramfs = userdata;

        ramfs->n_starts++;
        (void) snprintf(ramfs->started_engine, sizeof ramfs->started_engine, "%s", fused_map_engine(ramfs->map));
        if (ramfs->config.clone_fd)
                assert_int_equal(session_add_clone(ramfs->map->session, ramfs->config.clone_fd), 0);
        return ramfs->config.start ? ramfs->config.start(ramfs) : ramfs->start_error;
}

/* ---- names and attributes ------------------------------------------------------------------------------------------- */

static void fill_stat(const Ramfs *ramfs, uint64_t nodeid, struct stat *ret) {
        *ret = (struct stat){.st_ino = INO_OF(nodeid), .st_mode = nodeid == FUSE_ROOT_ID ? S_IFDIR | 0700 : S_IFREG | 0600, .st_nlink = 1,
                             .st_blksize = (blksize_t) ramfs->config.block_size};
        if (nodeid != FUSE_ROOT_ID)
                ret->st_size = (off_t) ramfs->files[nodeid - FIRST_NODE].size;
}

static uint64_t find(const Ramfs *ramfs, const char *name) {
        for (unsigned i = 0; i < ramfs->n_files; i++)
                if (strcmp(ramfs->files[i].name, name) == 0)
                        return FIRST_NODE + i;
        return 0;
}

static void fill_entry(Ramfs *ramfs, uint64_t nodeid, struct fuse_entry_param *ret) {
        *ret = (struct fuse_entry_param){.ino = nodeid, .generation = 1};
        fill_stat(ramfs, nodeid, &ret->attr);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
        Ramfs *ramfs = fuse_req_userdata(req);
        const uint64_t nodeid = find(ramfs, name);
        struct fuse_entry_param entry;

        if (!nodeid) {
                (void) fuse_reply_err(req, ENOENT);
                return;
        }
        fill_entry(ramfs, nodeid, &entry);
        (void) fused_map_reply_entry(ramfs->map, req, &entry, true);
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi) {
        Ramfs *ramfs = fuse_req_userdata(req);
        struct fuse_entry_param entry;

        if (ramfs->n_files == RAMFS_FILES || find(ramfs, name)) {
                (void) fuse_reply_err(req, ramfs->n_files == RAMFS_FILES ? ENOSPC : EEXIST);
                return;
        }
        (void) snprintf(ramfs->files[ramfs->n_files++].name, sizeof ramfs->files[0].name, "%s", name);
        fill_entry(ramfs, FIRST_NODE + ramfs->n_files - 1, &entry);
        fi->direct_io = ramfs->config.direct_io;
        (void) fused_map_reply_create(ramfs->map, req, &entry, fi, true);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        Ramfs *ramfs = fuse_req_userdata(req);
        struct stat st;

        fill_stat(ramfs, ino, &st);
        (void) fused_map_reply_attr(ramfs->map, req, &st, 0, ino != FUSE_ROOT_ID);
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi) {
        Ramfs *ramfs = fuse_req_userdata(req);
        RamfsFile *file = file_of(ramfs, ino);
        const uint32_t block_size = ramfs->config.block_size;

        if (to_set & FUSE_SET_ATTR_SIZE) {
                (void) pthread_mutex_lock(&ramfs->lock);
                free_range(ramfs, file, ((uint64_t) attr->st_size + block_size - 1) / block_size, RAMFS_BLOCKS);
                file->size = (uint64_t) attr->st_size;
                if (file->size < sizeof file->first)
                        memset(file->first + file->size, 0, sizeof file->first - file->size);
                (void) pthread_mutex_unlock(&ramfs->lock);
                (void) fused_map_set_size(ramfs->map, ino, file->size);
        }
        on_getattr(req, ino, fi);
}

/* Whole blocks move; what is pending does so with them. */
static int shift(Ramfs *ramfs, RamfsFile *file, bool collapse, uint64_t pos, uint64_t length) {
        const uint64_t first = pos / ramfs->config.block_size, n = length / ramfs->config.block_size;
        RamfsBlock *const rows[] = {file->blocks, file->pending};

        if (pos % ramfs->config.block_size != 0 || length % ramfs->config.block_size != 0 || first + n >= RAMFS_BLOCKS)
                return -EINVAL;
        if (collapse ? pos + length >= file->size : pos >= file->size || file->size + length > (uint64_t) RAMFS_BLOCKS * ramfs->config.block_size)
                return -EINVAL;
        for (size_t i = 0; i < 2; i++) {
                RamfsBlock *at = rows[i] + first;
                const size_t n_rest = RAMFS_BLOCKS - first - n;
                for (uint64_t k = 0; k < n; k++)
                        give_back(ramfs, collapse ? at + k : rows[i] + RAMFS_BLOCKS - 1 - k);
                memmove(collapse ? at : at + n, collapse ? at + n : at, n_rest * sizeof *at);
                memset(collapse ? at + n_rest : at, 0, n * sizeof *at);
        }
        file->size = collapse ? file->size - length : file->size + length;
        return 0;
}

static void on_shift(Ramfs *ramfs, fuse_req_t req, fuse_ino_t ino, int mode, uint64_t pos, uint64_t length) {
        RamfsFile *file = file_of(ramfs, ino);

        (void) pthread_mutex_lock(&ramfs->lock);
        int r = shift(ramfs, file, mode & FALLOC_FL_COLLAPSE_RANGE, pos, length);
        (void) pthread_mutex_unlock(&ramfs->lock);
        if (r >= 0)
                r = fused_map_invalidate(ramfs->map, ino, pos, UINT64_MAX);
        if (r >= 0)
                r = fused_map_set_size(ramfs->map, ino, file->size);
        (void) fuse_reply_err(req, -r);
}

static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t pos, off_t length, struct fuse_file_info *fi) {
        Ramfs *ramfs = fuse_req_userdata(req);
        RamfsFile *file = file_of(ramfs, ino);
        const uint64_t block_size = ramfs->config.block_size, end = (uint64_t) (pos + length);
        uint64_t first = (uint64_t) pos / block_size, last = (end + block_size - 1) / block_size;
        int r = last > RAMFS_BLOCKS ? -EFBIG : 0;

        if (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) {
                on_shift(ramfs, req, ino, mode, (uint64_t) pos, (uint64_t) length);
                return;
        }
        (void) pthread_mutex_lock(&ramfs->lock);
        if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) /* whole blocks, and the rest of the last one of the file */
                free_range(ramfs, file, ((uint64_t) pos + block_size - 1) / block_size, end / block_size);
        else
                for (; r >= 0 && first < last; first++)
                        if (file->blocks[first].state == RAMFS_HOLE)
                                r = take(ramfs, RAMFS_UNWRITTEN, &file->blocks[first]);
        if (r >= 0 && !(mode & FALLOC_FL_KEEP_SIZE) && end > file->size)
                file->size = end;
        (void) pthread_mutex_unlock(&ramfs->lock);
        const uint64_t from = (uint64_t) pos / block_size * block_size;
        (void) fused_map_invalidate(ramfs->map, ino, from, last * block_size - from);
        if (r >= 0 && !(mode & FALLOC_FL_KEEP_SIZE) && end == file->size)
                (void) fused_map_set_size(ramfs->map, ino, file->size);
        (void) fuse_reply_err(req, -r);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi) {
        Ramfs *ramfs = fuse_req_userdata(req);
        struct fuse_entry_param entry;
        char buffer[1024];
        size_t used = 0;

        for (unsigned i = (unsigned) off; i < ramfs->n_files; i++) {
                fill_entry(ramfs, FIRST_NODE + i, &entry);
                size_t n = fused_map_add_direntry_plus(ramfs->map, req, buffer + used, MIN_OF(size, sizeof buffer) - used, ramfs->files[i].name,
                                                       &entry, (off_t) i + 1, true);
                if (n > MIN_OF(size, sizeof buffer) - used)
                        break;
                used += n;
        }
        (void) fuse_reply_buf(req, buffer, used);
}

/* Whole blocks that hold data, into new places. */
static int copy_block(Ramfs *ramfs, const RamfsBlock *from, RamfsBlock *to) {
        const uint32_t block_size = ramfs->config.block_size;
        _cleanup_free_ uint8_t *data = malloc(block_size);
        int r;

        give_back(ramfs, to);
        if (from->state != RAMFS_DATA)
                return 0;
        r = take(ramfs, RAMFS_DATA, to);
        if (r < 0)
                return r;
        assert_int_equal(pread(ramfs->device_fds[from->dev - 1], data, block_size, (off_t) from->block * block_size), block_size);
        assert_int_equal(pwrite(ramfs->device_fds[to->dev - 1], data, block_size, (off_t) to->block * block_size), block_size);
        return 0;
}

static void on_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_pos, struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_pos,
                               struct fuse_file_info *to_fi, size_t length, int flags) {
        Ramfs *ramfs = fuse_req_userdata(req);
        const uint32_t block_size = ramfs->config.block_size;
        RamfsFile *source = file_of(ramfs, from), *target = file_of(ramfs, to);
        int r = 0;

        (void) pthread_mutex_lock(&ramfs->lock);
        for (uint64_t i = 0; i * block_size < length && r >= 0; i++)
                r = copy_block(ramfs, &source->blocks[(uint64_t) from_pos / block_size + i], &target->blocks[(uint64_t) to_pos / block_size + i]);
        target->size = MAX_OF(target->size, (uint64_t) to_pos + length);
        (void) pthread_mutex_unlock(&ramfs->lock);
        for (uint32_t dev = 1; dev <= RAMFS_DEVICES && r >= 0; dev++)
                r = fused_map_device_sync(ramfs->map, dev);
        if (r >= 0)
                r = fused_map_invalidate(ramfs->map, to, (uint64_t) to_pos, length);
        if (r >= 0)
                (void) fuse_reply_write(req, length);
        else
                (void) fuse_reply_err(req, -r);
}

/* Of what is inline; with mappings, nothing else comes here. */
static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t pos, struct fuse_file_info *fi) {
        Ramfs *ramfs = fuse_req_userdata(req);
        RamfsFile *file = file_of(ramfs, ino);

        ramfs->last_fh = fi ? fi->fh : 0;
        (void) fuse_reply_buf(req, (const char *) file->first + pos, MIN_OF(size, sizeof file->first - (size_t) pos));
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t pos, struct fuse_file_info *fi) {
        Ramfs *ramfs = fuse_req_userdata(req);
        RamfsFile *file = file_of(ramfs, ino);

        assert_true((size_t) pos + size <= sizeof file->first);
        ramfs->last_fh = fi ? fi->fh : 0;
        memcpy(file->first + pos, data, size);
        file->size = MAX_OF(file->size, (uint64_t) pos + size);
        (void) fuse_reply_write(req, size);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        Ramfs *ramfs = fuse_req_userdata(req);

        fi->direct_io = ramfs->config.direct_io;
        (void) fused_map_reply_open(ramfs->map, req, fi);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi) {
        (void) fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops lowlevel = {.lookup = on_lookup, .create = on_create, .getattr = on_getattr, .setattr = on_setattr,
                                                  .fallocate = on_fallocate, .readdirplus = on_readdirplus, .fsync = on_fsync, .open = on_open,
                                                  .read = on_read, .write = on_write, .copy_file_range = on_copy_file_range};

void ramfs_init(Ramfs *ramfs, const RamfsConfig *config) {
        const struct fused_map_operations operations = {
                .begin = on_begin, .end = config->no_ends ? NULL : on_end, .ioend = config->no_ioends ? NULL : on_ioend, .start = on_start,
                .sync = on_sync,
                .kill_privileges = config->kills ? on_kill_privileges : NULL};
        const struct fused_map_config map_config = {.block_size = config->block_size, .cache_bytes = config->cache_bytes,
                                                   .max_bytes = config->max_bytes, .no_writeback = config->no_writeback};
        struct fuse_args args = FUSE_ARGS_INIT(0, NULL);

        *ramfs = (Ramfs){.config = *config, .seed = 7};
        (void) pthread_mutex_init(&ramfs->lock, NULL);
        assert_int_equal(fuse_opt_add_arg(&args, "ramfs-map"), 0);
        assert_int_equal(fused_map_new(&ramfs->map, NULL, &args, &lowlevel, sizeof lowlevel, &operations, &map_config, ramfs), 0);
        fuse_opt_free_args(&args);
        for (int i = 0; i < RAMFS_DEVICES; i++) {
                ramfs->device_fds[i] = memfd_create("device", MFD_CLOEXEC);
                assert_true(ramfs->device_fds[i] >= 0);
                assert_int_equal(ftruncate(ramfs->device_fds[i], (off_t) RAMFS_BLOCKS * config->block_size), 0);
                for (unsigned block = 0; block < RAMFS_BLOCKS; block++)
                        make_noise(ramfs, &(RamfsBlock){.dev = (uint8_t) (i + 1), .block = (uint16_t) block});
                assert_int_equal(fused_map_add_device(ramfs->map, ramfs->device_fds[i], 0), i + 1);
        }
}

void ramfs_done(Ramfs *ramfs) {
        fused_map_free(ramfs->map);
        for (int i = 0; i < RAMFS_DEVICES; i++)
                (void) fd_close(ramfs->device_fds[i]);
        (void) pthread_mutex_destroy(&ramfs->lock);
}
