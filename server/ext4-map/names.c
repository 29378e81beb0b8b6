/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories. Reading them is ours (libext2fs would read a whole one for each name), changing them is libext2fs', which knows hash trees and
 * checksums. */

#include "ext4-map/volume.h"

#include <string.h>

#define SIZE_MAX_PLAIN (1ULL << 31) /* bytes, without the feature large_dir */
#define DX_DEPTH_MAX 3U

/* ---- reading -------------------------------------------------------------------------------------------------------- */

static int dir_read(Volume *volume, ext2_ino_t dir, Inode *ret) {
        int r = inode_read(volume, dir, ret);

        if (r < 0)
                return r;
        if (!S_ISDIR(ret->i_mode))
                return -ENOTDIR;
        if (ret->i_flags & (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL))
                return volume_damaged(volume, dir, "a directory that cannot be read");
        if (inode_size(ret) > ext2fs_blocks_count(volume->fs->super) * volume->block_size ||
            (inode_size(ret) >= SIZE_MAX_PLAIN && !ext2fs_has_feature_largedir(volume->fs->super)))
                return volume_damaged(volume, dir, "a directory of an impossible size");
        return 0;
}

/* 1: read; 0: a hole. */
static int block_read(Volume *volume, ext2_ino_t dir, Inode *inode, uint64_t block, void *buffer) {
        blk64_t place;
        int flags = 0, r;

        errcode_t error = ext2fs_bmap2(volume->fs, dir, inode_small(inode), NULL, 0, block, &flags, &place);
        if (error)
                return volume_error(volume, error, dir);
        if (place == 0 || flags & BMAP_RET_UNINIT)
                return 0;
        r = zones_check(volume, dir, place, 1);
        if (r >= 0)
                r = volume_error(volume, ext2fs_read_dir_block4(volume->fs, place, buffer, 0, dir), dir);
        return r < 0 ? r : 1;
}

/* The entry at offset of a block, checked: its length, or -EUCLEAN. */
static int entry_at(Volume *volume, ext2_ino_t dir, const uint8_t *block, unsigned offset, const struct ext2_dir_entry **ret) {
        struct ext2_dir_entry *entry = (struct ext2_dir_entry *) (uintptr_t) (block + offset);
        unsigned length;

        if (volume->block_size - offset < 8 || ext2fs_get_rec_len(volume->fs, entry, &length) != 0 || length < 8 || length % 4 != 0 ||
            length > volume->block_size - offset || (unsigned) ext2fs_dirent_name_len(entry) + 8 > length)
                return volume_damaged(volume, dir, "a broken entry of a directory");
        *ret = entry;
        return (int) length;
}

typedef struct Scan {
        NameVisitor visit;
        void *userdata;
        uint64_t from;
        bool done;
} Scan;

static int scan_block(Volume *volume, ext2_ino_t dir, uint64_t start, const uint8_t *buffer, Scan *scan) {
        const struct ext2_dir_entry *entry = NULL;
        char name[EXT2_NAME_LEN + 1];
        int length;

        for (unsigned offset = 0; offset < volume->block_size && !scan->done; offset += (unsigned) length) {
                length = entry_at(volume, dir, buffer, offset, &entry);
                if (length < 0)
                        return length;
                unsigned n = (unsigned) ext2fs_dirent_name_len(entry);
                if (entry->inode == 0 || n == 0 || start + offset < scan->from)
                        continue;
                memcpy(name, entry->name, n);
                name[n] = '\0';
                if (strlen(name) != n || memchr(name, '/', n))
                        return volume_damaged(volume, dir, "a name that is none");
                scan->done = !scan->visit(scan->userdata, name, entry->inode, (unsigned) ext2fs_dirent_file_type(entry),
                                          start + offset + (unsigned) length);
        }
        return 0;
}

int name_list(Volume *volume, ext2_ino_t dir, uint64_t position, NameVisitor visit, void *userdata) {
        _cleanup_free_ uint8_t *buffer = malloc(volume->block_size);
        Scan scan = {.visit = visit, .userdata = userdata, .from = position};
        uint64_t n;
        Inode inode;
        int r;

        if (!buffer)
                return -ENOMEM;
        r = dir_read(volume, dir, &inode);
        n = r < 0 ? 0 : inode_size(&inode) / volume->block_size;
        for (uint64_t block = position / volume->block_size; r >= 0 && block < n && !scan.done; block++) {
                r = block_read(volume, dir, &inode, block, buffer);
                if (r > 0)
                        r = scan_block(volume, dir, block * volume->block_size, buffer, &scan);
        }
        return MIN_OF(r, 0);
}

typedef struct Wanted {
        const char *name;
        ext2_ino_t ino;
        bool any; /* is there anything but "." and ".." */
} Wanted;

static bool compare_name(void *userdata, const char *name, ext2_ino_t ino, unsigned type, uint64_t next) {
        Wanted *wanted = userdata;

        if (strcmp(name, wanted->name) == 0)
                wanted->ino = ino;
        return wanted->ino == 0;
}

/* ---- hash trees ----------------------------------------------------------------------------------------------------- */

typedef struct Tree {
        Volume *volume;
        ext2_ino_t dir;
        Inode *inode;
        uint8_t *buffer;
        uint32_t hash;
        unsigned depth;
} Tree;

/* One level down: which block the hash is in. shared: the next one begins with the same hash. */
static int tree_step(Tree *tree, uint32_t *block, bool *shared) {
        struct ext2_dx_countlimit *head;
        const struct ext2_dx_entry *entries;
        unsigned n, low = 1, high;

        if (ext2fs_get_dx_countlimit(tree->volume->fs, (struct ext2_dir_entry *) (void *) tree->buffer, &head, NULL) != 0)
                return -EUCLEAN;
        n = ext2fs_le16_to_cpu(head->count);
        entries = (const void *) head;
        if (n == 0 || n > ext2fs_le16_to_cpu(head->limit) ||
            (size_t) ((const uint8_t *) (entries + n) - tree->buffer) > tree->volume->block_size)
                return -EUCLEAN;
        for (high = n; low < high;) {
                unsigned middle = (low + high) / 2;
                if (ext2fs_le32_to_cpu(entries[middle].hash) > tree->hash)
                        high = middle;
                else
                        low = middle + 1;
        }
        *block = ext2fs_le32_to_cpu(entries[low - 1].block) & 0x0fffffff;
        /* The last of a node, or one that the next shares a hash with: others would have to be looked at too. */
        *shared = low < n && (ext2fs_le32_to_cpu(entries[low].hash) & ~1U) == (tree->hash & ~1U);
        return 0;
}

/* 1: *ret says it, 0 if the name is not there; 0: the tree does not know for sure. */
static int tree_lookup(Volume *volume, ext2_ino_t dir, Inode *inode, uint8_t *buffer, const char *name, ext2_ino_t *ret) {
        Tree tree = {.volume = volume, .dir = dir, .inode = inode, .buffer = buffer};
        const struct ext2_dx_root_info *root = (const void *) (buffer + 24);
        uint32_t block, minor;
        bool shared, any_shared = false;
        int version, r;

        r = block_read(volume, dir, inode, 0, buffer);
        if (r <= 0)
                return r;
        version = root->hash_version;
        tree.depth = root->indirect_levels;
        if (version > EXT2_HASH_TEA || root->unused_flags & 1 || tree.depth >= DX_DEPTH_MAX || root->info_length != 8)
                return 0;
        if (volume->fs->super->s_flags & EXT2_FLAGS_UNSIGNED_HASH)
                version += 3;
        if (ext2fs_dirhash2(version, name, (int) strlen(name), NULL, 0, volume->fs->super->s_hash_seed, &tree.hash, &minor) != 0)
                return 0;
        for (unsigned level = 0; level <= tree.depth; level++) {
                if (tree_step(&tree, &block, &shared) < 0)
                        return 0;
                any_shared |= shared;
                r = block_read(volume, dir, inode, block, buffer);
                if (r <= 0)
                        return r;
        }
        Wanted wanted = {.name = name};
        Scan scan = {.visit = compare_name, .userdata = &wanted};
        r = scan_block(volume, dir, 0, buffer, &scan);
        *ret = wanted.ino;
        return r < 0 ? r : wanted.ino || !any_shared;
}

static int lookup_any(Volume *volume, ext2_ino_t dir, const char *name, ext2_ino_t *ret) {
        _cleanup_free_ uint8_t *buffer = malloc(volume->block_size);
        Wanted wanted = {.name = name};
        Inode inode;
        int r;

        if (!buffer)
                return -ENOMEM;
        r = dir_read(volume, dir, &inode);
        if (r < 0)
                return r;
        *ret = 0;
        if (inode.i_flags & EXT2_INDEX_FL && ext2fs_has_feature_dir_index(volume->fs->super) && name[0] != '.') {
                r = tree_lookup(volume, dir, &inode, buffer, name, ret);
                if (r > 0)
                        return *ret ? 0 : -ENOENT;
        }
        r = name_list(volume, dir, 0, compare_name, &wanted);
        *ret = wanted.ino;
        return wanted.ino ? 0 : r < 0 ? r : -ENOENT;
}

int name_lookup(Volume *volume, ext2_ino_t dir, const char *name, ext2_ino_t *ret) {
        const struct ext2_super_block *super = volume->fs->super;
        int r;

        if (strlen(name) > EXT2_NAME_LEN)
                return -ENAMETOOLONG;
        r = lookup_any(volume, dir, name, ret);
        if (r >= 0 && ((*ret < EXT2_FIRST_INODE(super) && *ret != EXT2_ROOT_INO) || *ret > super->s_inodes_count))
                return volume_damaged(volume, dir, "an entry of an inode that is none");
        return r;
}

/* ---- changing ------------------------------------------------------------------------------------------------------- */

static int type_of(mode_t mode) {
        static const uint8_t types[16] = {
                [S_IFREG >> 12] = EXT2_FT_REG_FILE, [S_IFDIR >> 12] = EXT2_FT_DIR,  [S_IFCHR >> 12] = EXT2_FT_CHRDEV,
                [S_IFBLK >> 12] = EXT2_FT_BLKDEV,
                [S_IFIFO >> 12] = EXT2_FT_FIFO,     [S_IFSOCK >> 12] = EXT2_FT_SOCK, [S_IFLNK >> 12] = EXT2_FT_SYMLINK,
        };

        return types[(mode & S_IFMT) >> 12];
}

/* If *error is that the directory is full: gives it a block more. true: try again; false: *error is what to report. */
static bool make_room(Volume *volume, ext2_ino_t dir, const Inode *inode, errcode_t *error) {
        if (*error != EXT2_ET_DIR_NO_SPACE || inode->i_flags & EXT2_INDEX_FL)
                return false;
        *error = volume_has_spare(volume) ? ext2fs_expand_dir(volume->fs, dir) : EXT2_ET_BLOCK_ALLOC_FAIL;
        return !*error;
}

int name_add(Volume *volume, ext2_ino_t dir, const char *name, ext2_ino_t ino, mode_t mode) {
        errcode_t error;
        Inode inode;
        int r;

        r = dir_read(volume, dir, &inode);
        if (r < 0)
                return r;
        volume->is_dirty = true;
        error = ext2fs_link(volume->fs, dir, name, ino, type_of(mode));
        if (make_room(volume, dir, &inode, &error))
                error = ext2fs_link(volume->fs, dir, name, ino, type_of(mode));
        return volume_error(volume, error, dir);
}

int name_remove(Volume *volume, ext2_ino_t dir, const char *name) {
        volume->is_dirty = true;
        return volume_error(volume, ext2fs_unlink(volume->fs, dir, name, 0, 0), dir);
}

typedef struct Redirect {
        const char *name;
        size_t length;
        ext2_ino_t ino;
        int type; /* 0: as it was */
        bool done;
} Redirect;

static int redirect_entry(struct ext2_dir_entry *entry, int offset, int size, char *buffer, void *userdata) {
        Redirect *redirect = userdata;

        if ((size_t) ext2fs_dirent_name_len(entry) != redirect->length || memcmp(entry->name, redirect->name, redirect->length) != 0)
                return 0;
        entry->inode = redirect->ino;
        if (redirect->type)
                ext2fs_dirent_set_file_type(entry, redirect->type);
        redirect->done = true;
        return DIRENT_CHANGED | DIRENT_ABORT;
}

int name_redirect(Volume *volume, ext2_ino_t dir, const char *name, ext2_ino_t ino, mode_t mode) {
        Redirect redirect = {.name = name, .length = strlen(name), .ino = ino};
        errcode_t error;

        if (ext2fs_has_feature_filetype(volume->fs->super))
                redirect.type = type_of(mode);
        volume->is_dirty = true;
        error = ext2fs_dir_iterate(volume->fs, dir, 0, NULL, redirect_entry, &redirect);
        if (error)
                return volume_error(volume, error, dir);
        return redirect.done ? 0 : -ENOENT;
}

static bool note_any(void *userdata, const char *name, ext2_ino_t ino, unsigned type, uint64_t next) {
        Wanted *wanted = userdata;

        wanted->any = strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
        return !wanted->any;
}

int name_dir_is_empty(Volume *volume, ext2_ino_t dir) {
        Wanted wanted = {0};
        int r = name_list(volume, dir, 0, note_any, &wanted);

        return r < 0 ? r : !wanted.any;
}
