/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A file system opened, written out and closed, and what is done about damage. Nothing is written to the journal: while it is mounted for
 * writing the file system is marked as not clean, like an ext2 one. */

#include "ext4-map/volume.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define INODES_CACHED 64
#define BITMAPS_MAX (32ULL << 20) /* bytes that may be spent on them, whatever is in them */
#define DIRTY_BLOCKS 1U
#define DIRTY_INODES 2U

void volume_log(Volume *volume, const char *format, ...) {
        char line[256];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(line, sizeof line, format, arguments);
        va_end(arguments);
        if (volume->hooks.log)
                volume->hooks.log(volume->userdata, line);
}

/* ---- errors --------------------------------------------------------------------------------------------------------- */

static void note_error(Volume *volume, ext2_ino_t ino) {
        struct ext2_super_block *super = volume->fs ? volume->fs->super : NULL;
        uint32_t now = (uint32_t) time(NULL);

        volume->has_errors = true;
        if (!super || volume->read_only)
                return;
        if (super->s_error_count == 0) {
                super->s_first_error_time = now;
                super->s_first_error_ino = ino;
        }
        super->s_error_count++;
        super->s_last_error_time = now;
        super->s_last_error_ino = ino;
        super->s_state |= EXT2_ERROR_FS;
        ext2fs_mark_super_dirty(volume->fs);
        volume->is_dirty = true;
}

int volume_damaged(Volume *volume, ext2_ino_t ino, const char *what) {
        if (!volume->has_errors)
                volume_log(volume, "the file system is damaged: inode %u: %s; run e2fsck -f", (unsigned) ino, what);
        note_error(volume, ino);
        return -EUCLEAN;
}

int volume_error(Volume *volume, errcode_t error, ext2_ino_t ino) {
        static const struct {
                errcode_t error;
                int number;
        } rows[] = {
                {EXT2_ET_NO_MEMORY, ENOMEM},
                {EXT2_ET_BLOCK_ALLOC_FAIL, ENOSPC},
                {EXT2_ET_INODE_ALLOC_FAIL, ENOSPC},
                {EXT2_ET_DIR_NO_SPACE, ENOSPC},
                {EXT2_ET_EA_NO_SPACE, ENOSPC},
                {EXT2_ET_DIR_EXISTS, EEXIST},
                {EXT2_ET_FILE_NOT_FOUND, ENOENT},
                {EXT2_ET_EA_KEY_NOT_FOUND, ENODATA},
                {EXT2_ET_FILE_TOO_BIG, EFBIG},
                {EXT2_ET_RO_FILSYS, EROFS},
                {EXT2_ET_FILE_RO, EROFS},
                {EXT2_ET_INVALID_ARGUMENT, EINVAL},
                {EXT2_ET_SYMLINK_LOOP, ELOOP},
                {EXT2_ET_NO_DIRECTORY, ENOTDIR},
        };

        if (error == 0)
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (rows[i].error == error)
                        return -rows[i].number;
        if (error > 0 && error < 4096) /* the system's own */
                return -(int) error;
        return volume_damaged(volume, ino, error_message(error));
}

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static int device_size(int fd, uint64_t *ret) {
        off_t end = lseek(fd, 0, SEEK_END);

        if (end < 0)
                return -errno;
        *ret = (uint64_t) end;
        return 0;
}

static int refuse(Volume *volume, int r, const char *why) {
        (void) snprintf(volume->why, sizeof volume->why, "%s", why);
        return r;
}

/* Before libext2fs sees it: features, and a size that bounds what it allocates. */
static int check_super(Volume *volume) {
        struct ext2_super_block super;
        char text[128];
        uint64_t blocks;
        uint32_t log_size;
        const char *why;
        int r;

        r = volume_read(volume, SUPERBLOCK_OFFSET, sizeof super, &super);
        if (r < 0)
                return r == -ENODATA ? refuse(volume, -EUCLEAN, "not an ext2, ext3 or ext4 file system: too small") : r;
        why = volume_why_not(&super, volume->read_only, text, sizeof text);
        if (why)
                return refuse(volume, ext2fs_le16_to_cpu(super.s_magic) == EXT2_SUPER_MAGIC ? -EOPNOTSUPP : -EUCLEAN, why);
        log_size = ext2fs_le32_to_cpu(super.s_log_block_size);
        if (log_size > 6)
                return refuse(volume, -EUCLEAN, "block size out of range");
        blocks = ext2fs_le32_to_cpu(super.s_blocks_count);
        if (ext2fs_le32_to_cpu(super.s_feature_incompat) & EXT4_FEATURE_INCOMPAT_64BIT)
                blocks |= (uint64_t) ext2fs_le32_to_cpu(super.s_blocks_count_hi) << 32;
        if (blocks > volume->device_size >> (10 + log_size))
                return refuse(volume, -EUCLEAN, "the file system is larger than its device");
        if (ext2fs_le32_to_cpu(super.s_blocks_per_group) < 8 || ext2fs_le32_to_cpu(super.s_inodes_per_group) == 0)
                return refuse(volume, -EUCLEAN, "groups of nothing");
        if (ext2fs_le16_to_cpu(super.s_state) & EXT2_ERROR_FS && !volume->read_only)
                return refuse(volume, -EUCLEAN, "errors have been found in it earlier: run e2fsck -fy, or mount it with -o ro");
        return 0;
}

static void on_block(ext2_filsys fs, blk64_t block, int in_use);
static void on_blocks(ext2_filsys fs, blk64_t block, blk_t n, int in_use);

/* As far as inodes can be read; what else is there may be as a crash has left it. */
static int open_fs(Volume *volume, bool writable) {
        const int flags = EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP | (writable ? EXT2_FLAG_RW : 0);
        char name[32];
        errcode_t error;

        (void) snprintf(name, sizeof name, "%" PRIxPTR, (uintptr_t) volume);
        error = ext2fs_open2(name, NULL, flags, 0, 0, &volume_io_manager, &volume->fs);
        if (error) {
                volume->fs = NULL;
                return refuse(volume, error < 4096 ? -(int) error : -EUCLEAN, error_message(error));
        }
        volume->fs->priv_data = volume;
        volume->block_size = volume->fs->blocksize;
        volume->fs->flags |= EXT2_FLAG_MASTER_SB_ONLY; /* copies are for e2fsck, which refreshes them */
        return 0;
}

/* A bit for each block and inode, if these are few enough; else a tree of what is in use, which is as large as that is scattered. */
static int bitmap_type(struct ext2_super_block *super) {
        const uint64_t bytes = ext2fs_blocks_count(super) / 8 + super->s_inodes_count / 8;

        return bytes > BITMAPS_MAX ? EXT2FS_BMAP64_RBTREE : EXT2FS_BMAP64_BITARRAY;
}

static int open_rest(Volume *volume) {
        errcode_t error = ext2fs_check_desc(volume->fs);

        volume->fs->default_bitmap_type = bitmap_type(volume->fs->super);

        if (!error)
                error = ext2fs_create_inode_cache(volume->fs, INODES_CACHED);
        if (!error && !volume->read_only)
                error = ext2fs_read_bitmaps(volume->fs);
        if (error)
                return refuse(volume, volume_error(volume, error, 0), error_message(error));
        ext2fs_set_block_alloc_stats_callback(volume->fs, on_block, NULL);
        ext2fs_set_block_alloc_stats_range_callback(volume->fs, on_blocks, NULL);
        return 0;
}

static void close_fs(Volume *volume) {
        if (volume->fs)
                ext2fs_free(volume->fs);
        volume->fs = NULL;
}

/* The superblock is one of the blocks that a journal may have another content for: it is looked at anew. */
static int recover(Volume *volume) {
        const uint32_t block_size = volume->block_size;
        int r = recovery_run(volume);

        close_fs(volume);
        if (r >= 0)
                r = check_super(volume);
        if (r >= 0)
                r = open_fs(volume, !volume->read_only);
        if (r >= 0 && volume->block_size != block_size)
                r = refuse(volume, -EUCLEAN, "the journal says that blocks are of another size");
        if (r >= 0 && !volume->read_only)
                ext2fs_clear_feature_journal_needs_recovery(volume->fs->super);
        if (r >= 0 && volume->journal_failed) {
                note_error(volume, 0);
                (void) ext2fs_flush(volume->fs);
                r = refuse(volume, -EUCLEAN, "the journal says that errors were found: run e2fsck -fy, or mount it with -o ro");
        }
        return r;
}

static int begin_writing(Volume *volume) {
        struct ext2_super_block *super = volume->fs->super;
        const size_t size = (size_t) volume->fs->desc_blocks * volume->block_size;

        volume->descriptors = malloc(size);
        if (!volume->descriptors)
                return -ENOMEM;
        memcpy(volume->descriptors, volume->fs->group_desc, size);
        volume->was_unclean = !(super->s_state & EXT2_VALID_FS);
        if (volume->was_unclean)
                volume_log(volume, "it was not unmounted cleanly, and stays marked so: run e2fsck -f");
        if (super->s_last_orphan)
                volume_log(volume, "it has files without a name that e2fsck -f gives back");
        super->s_mnt_count++;
        super->s_mtime = (uint32_t) time(NULL);
        super->s_state &= (uint16_t) ~EXT2_VALID_FS;
        ext2fs_mark_super_dirty(volume->fs);
        return volume_flush(volume, /* sync= */ true);
}

int volume_open(Volume *volume, int fd, VolumeAccess access, const VolumeHooks *hooks, void *userdata) {
        bool needs_recovery;
        int r;

        *volume = (Volume){.fd = fd, .read_only = access != VOLUME_WRITE, .hooks = *hooks, .userdata = userdata, .just_freed = {1, 0}};
        (void) pthread_mutex_init(&volume->lock, NULL);
        initialize_ext2_error_table();
        r = device_size(fd, &volume->device_size);
        if (r >= 0)
                r = check_super(volume);
        if (r >= 0)
                r = open_fs(volume, !volume->read_only);
        needs_recovery = r >= 0 && ext2fs_has_feature_journal_needs_recovery(volume->fs->super);
        if (needs_recovery && access != VOLUME_NO_RECOVERY)
                r = recover(volume);
        else if (needs_recovery)
                volume_log(volume, "the journal is not looked at: what was written last may be missing");
        if (r >= 0)
                r = open_rest(volume);
        if (r >= 0)
                volume->dirty_groups = calloc(volume->fs->group_desc_count + 1, 1);
        if (r >= 0)
                r = volume->dirty_groups ? zones_find(volume) : -ENOMEM;
        if (r >= 0 && !volume->read_only)
                r = begin_writing(volume);
        return r;
}

/* ---- writing out ---------------------------------------------------------------------------------------------------- */

static void group_changed(Volume *volume, dgrp_t group, uint8_t what) {
        if (volume->dirty_groups && group < volume->fs->group_desc_count)
                volume->dirty_groups[group] |= what;
        volume->is_dirty = true;
}

void volume_inode_bitmap_changed(Volume *volume, ext2_ino_t ino) {
        group_changed(volume, ext2fs_group_of_ino(volume->fs, ino), DIRTY_INODES);
}

static void note_blocks(Volume *volume, uint64_t block, uint64_t n, int in_use) {
        Range *freed = &volume->just_freed;

        for (dgrp_t group = ext2fs_group_of_blk2(volume->fs, block); group <= ext2fs_group_of_blk2(volume->fs, block + n - 1); group++)
                group_changed(volume, group, DIRTY_BLOCKS);
        if (in_use > 0 || !volume->hooks.freed)
                return;
        if (freed->first <= freed->last && block == freed->last + 1)
                freed->last += n;
        else {
                volume_tell_freed(volume);
                *freed = (Range){block, block + n - 1};
        }
}

static void on_block(ext2_filsys fs, blk64_t block, int in_use) {
        note_blocks(fs->priv_data, block, 1, in_use);
}

/* Up to 1.47.0 this comes with what is left of the range at the end: nothing, behind it. libext2fs itself takes single blocks this way. */
static void on_blocks(ext2_filsys fs, blk64_t block, blk_t n, int in_use) {
        group_changed(fs->priv_data, ext2fs_group_of_blk2(fs, n == 0 && block > 0 ? block - 1 : block), DIRTY_BLOCKS);
}

void volume_use_blocks(Volume *volume, uint64_t block, uint64_t n, bool use) {
        ext2fs_block_alloc_stats_range(volume->fs, block, (blk_t) n, use ? +1 : -1);
        note_blocks(volume, block, n, use ? +1 : -1);
}

void volume_tell_freed(Volume *volume) {
        Range freed = volume->just_freed;

        volume->just_freed = (Range){1, 0};
        if (freed.first <= freed.last && volume->hooks.freed)
                volume->hooks.freed(volume->userdata, freed.first * volume->block_size, (freed.last - freed.first + 1) * volume->block_size);
}

static errcode_t write_block_bitmap(Volume *volume, dgrp_t group, char *buffer) {
        ext2_filsys fs = volume->fs;
        uint32_t n = EXT2_CLUSTERS_PER_GROUP(fs->super), valid = n;
        errcode_t error;

        if (ext2fs_bg_flags_test(fs, group, EXT2_BG_BLOCK_UNINIT))
                return 0;
        if (group == fs->group_desc_count - 1) {
                uint64_t rest = (ext2fs_blocks_count(fs->super) - fs->super->s_first_data_block) % EXT2_BLOCKS_PER_GROUP(fs->super);
                valid = rest ? (uint32_t) rest : n;
        }
        memset(buffer, 0xff, fs->blocksize);
        error = ext2fs_get_block_bitmap_range2(fs->block_map, ext2fs_group_first_block2(fs, group), valid, buffer);
        for (uint32_t i = valid; i < n && i % 8 != 0; i++) /* the last byte's rest came as zeroes */
                ext2fs_set_bit(i, buffer);
        if (!error)
                error = ext2fs_block_bitmap_csum_set(fs, group, buffer, (int) (n / 8));
        ext2fs_group_desc_csum_set(fs, group);
        return error ? error : io_channel_write_blk64(fs->io, ext2fs_block_bitmap_loc(fs, group), 1, buffer);
}

static errcode_t write_inode_bitmap(Volume *volume, dgrp_t group, char *buffer) {
        ext2_filsys fs = volume->fs;
        uint32_t n = EXT2_INODES_PER_GROUP(fs->super);
        errcode_t error;

        if (ext2fs_bg_flags_test(fs, group, EXT2_BG_INODE_UNINIT))
                return 0;
        memset(buffer, 0xff, fs->blocksize);
        error = ext2fs_get_inode_bitmap_range2(fs->inode_map, (uint64_t) group * n + 1, n, buffer);
        if (!error)
                error = ext2fs_inode_bitmap_csum_set(fs, group, buffer, (int) (n / 8));
        ext2fs_group_desc_csum_set(fs, group);
        return error ? error : io_channel_write_blk64(fs->io, ext2fs_inode_bitmap_loc(fs, group), 1, buffer);
}

/* Those of groups that have changed: libext2fs would write all. */
static int write_bitmaps(Volume *volume) {
        _cleanup_free_ char *buffer = malloc(volume->block_size);
        errcode_t error = buffer ? 0 : EXT2_ET_NO_MEMORY;

        for (dgrp_t group = 0; !error && volume->dirty_groups && group < volume->fs->group_desc_count; group++) {
                if (volume->dirty_groups[group] & DIRTY_BLOCKS)
                        error = write_block_bitmap(volume, group, buffer);
                if (!error && volume->dirty_groups[group] & DIRTY_INODES)
                        error = write_inode_bitmap(volume, group, buffer);
                if (!error)
                        volume->dirty_groups[group] = 0;
        }
        if (error)
                return volume_error(volume, error, 0);
        volume->fs->flags &= ~(EXT2_FLAG_BB_DIRTY | EXT2_FLAG_IB_DIRTY);
        return 0;
}

static int settle_nodes(Volume *volume) {
        int r = 0;

        HASH_EACH(link, &volume->nodes) {
                int q = node_settle(volume, (Node *) link, NULL);
                node_tidy((Node *) link);
                r = r < 0 ? r : q;
        }
        return r;
}

/* Those blocks of descriptors that have changed, and the superblock. libext2fs would write all, however little has changed: megabytes for each
 * fsync of a large file system. Where it has to turn their bytes around, it still does. */
static int write_descriptors(Volume *volume) {
        ext2_filsys fs = volume->fs;
        const bool own = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
        errcode_t error = 0;

        for (uint64_t i = 0; own && !error && i < fs->desc_blocks; i++) {
                const uint8_t *is = (const uint8_t *) fs->group_desc + i * fs->blocksize;
                uint8_t *was = volume->descriptors + i * fs->blocksize;
                if (memcmp(is, was, fs->blocksize) == 0)
                        continue;
                error = io_channel_write_blk64(fs->io, ext2fs_descriptor_block_loc2(fs, fs->super->s_first_data_block, (dgrp_t) i), 1, is);
                if (!error)
                        memcpy(was, is, fs->blocksize);
        }
        if (!error) {
                fs->flags |= own ? EXT2_FLAG_SUPER_ONLY : 0;
                error = ext2fs_flush2(fs, EXT2_FLAG_FLUSH_NO_SYNC);
                fs->flags &= ~EXT2_FLAG_SUPER_ONLY;
        }
        return volume_error(volume, error, 0);
}

int volume_flush(Volume *volume, bool sync) {
        int r;

        if (volume->read_only || !volume->fs)
                return 0;
        r = settle_nodes(volume);
        if (volume->fs->flags & (EXT2_FLAG_DIRTY | EXT2_FLAG_CHANGED | EXT2_FLAG_BB_DIRTY | EXT2_FLAG_IB_DIRTY)) {
                int p = write_bitmaps(volume), q = write_descriptors(volume);
                r = r < 0 ? r : p < 0 ? p : q;
        }
        if (r >= 0)
                volume->is_dirty = false;
        if (sync) {
                int q = RET_NERRNO(fdatasync(volume->fd));
                r = r < 0 ? r : q;
        }
        return r;
}

int volume_close(Volume *volume) {
        int r = 0;

        if (volume->fs && volume->dirty_groups && volume->zones.n > 0 && (volume->read_only || volume->descriptors)) { /* it was open */
                data_trim_all(volume);
                r = settle_nodes(volume);
                node_forget_all(volume);
                if (!volume->read_only) {
                        if (!volume->was_unclean)
                                volume->fs->super->s_state |= EXT2_VALID_FS;
                        if (volume->has_errors)
                                volume->fs->super->s_state |= EXT2_ERROR_FS;
                        ext2fs_mark_super_dirty(volume->fs);
                        int q = volume_flush(volume, /* sync= */ true);
                        r = r < 0 ? r : q;
                }
        }
        node_forget_all(volume);
        close_fs(volume);
        recovery_done(volume);
        ranges_done(&volume->zones);
        free(volume->dirty_groups);
        volume->dirty_groups = NULL;
        free(volume->descriptors);
        volume->descriptors = NULL;
        (void) pthread_mutex_destroy(&volume->lock);
        return r;
}

/* What extent trees may come to need: space that was allocated has a block for each of its extents when it is written to here and there, and what
 * is written must not be lost for want of one. At worst each block is an extent, and leaves are half full. */
static uint64_t tree_blocks(const Volume *volume) {
        uint64_t n = ext2fs_blocks_count(volume->fs->super), in_leaf = volume->block_size / sizeof(struct ext3_extent) / 2 - 1;

        return ext2fs_has_feature_extents(volume->fs->super) ? n / in_leaf + n / in_leaf / in_leaf + 8 : MIN_OF(n / 256, (uint64_t) 64);
}

/* What is kept for the superuser stays free: tables of directories and files may still need to grow, and who writes is not known when data comes
 * from the kernel's cache. */
uint64_t volume_free_blocks(const Volume *volume) {
        uint64_t n = ext2fs_free_blocks_count(volume->fs->super);
        uint64_t kept = MAX_OF((uint64_t) ext2fs_r_blocks_count(volume->fs->super), tree_blocks(volume));

        return n > kept ? n - kept : 0;
}

bool volume_has_spare(const Volume *volume) {
        return !ext2fs_has_feature_extents(volume->fs->super) || ext2fs_free_blocks_count(volume->fs->super) > tree_blocks(volume);
}
