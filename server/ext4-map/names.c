/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories. Names are found, taken away and given to other inodes here (libext2fs would read a whole directory for each); adding them is
 * libext2fs', which knows how hash trees grow. */

#include "ext4-map/names.h"

#include <string.h>

#define SIZE_MAX_PLAIN (1ULL << 31) /* bytes, without the feature large_dir */

/* ---- reading -------------------------------------------------------------------------------------------------------- */

static int dir_check(Volume *volume, ext2_ino_t dir, const Inode *inode) {
        if (!S_ISDIR(inode->i_mode))
                return -ENOTDIR;
        if (inode->i_flags & (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL))
                return volume_damaged(volume, dir, "a directory that cannot be read");
        if (inode_size(inode) > ext2fs_blocks_count(volume->fs->super) * volume->block_size ||
            (inode_size(inode) >= SIZE_MAX_PLAIN && !ext2fs_has_feature_largedir(volume->fs->super)))
                return volume_damaged(volume, dir, "a directory of an impossible size");
        return 0;
}

int directory_open(Volume *volume, ext2_ino_t ino, Directory *ret) {
        int r;

        *ret = (Directory){.volume = volume, .ino = ino};
        r = inode_read(volume, ino, &ret->inode);
        if (r >= 0)
                r = dir_check(volume, ino, &ret->inode);
        if (r < 0)
                return r;
        ret->n_blocks = inode_size(&ret->inode) / volume->block_size;
        ret->buffer = malloc(volume->block_size);
        return ret->buffer ? 0 : -ENOMEM;
}

void directory_done(Directory *directory) {
        free(directory->buffer);
}

int directory_read(Directory *directory, uint64_t block) {
        Volume *volume = directory->volume;
        int flags = 0, r;

        errcode_t error =
                ext2fs_bmap2(volume->fs, directory->ino, inode_small(&directory->inode), NULL, 0, block, &flags, &directory->place);
        if (error)
                return volume_error(volume, error, directory->ino);
        if (directory->place == 0 || flags & BMAP_RET_UNINIT)
                return 0;
        r = zones_check(volume, directory->ino, directory->place, 1);
        if (r >= 0)
                r = volume_error(volume, ext2fs_read_dir_block4(volume->fs, directory->place, directory->buffer, 0, directory->ino), directory->ino);
        return r < 0 ? r : 1;
}

int directory_write(Directory *directory) {
        Volume *volume = directory->volume;

        volume->is_dirty = true;
        return volume_error(volume, ext2fs_write_dir_block4(volume->fs, directory->place, directory->buffer, 0, directory->ino), directory->ino);
}

int directory_entry(const Directory *directory, unsigned offset, struct ext2_dir_entry **ret, char name[EXT2_NAME_LEN + 1]) {
        struct ext2_dir_entry *entry = (void *) (directory->buffer + offset);
        Volume *volume = directory->volume;
        unsigned length, n;

        if (volume->block_size - offset < 8 || ext2fs_get_rec_len(volume->fs, entry, &length) != 0 || length < 8 || length % 4 != 0 ||
            length > volume->block_size - offset || (unsigned) ext2fs_dirent_name_len(entry) + 8 > length)
                return volume_damaged(volume, directory->ino, "a broken entry of a directory");
        n = entry->inode ? (unsigned) ext2fs_dirent_name_len(entry) : 0;
        memcpy(name, entry->name, n);
        name[n] = '\0';
        if (strlen(name) != n || memchr(name, '/', n))
                return volume_damaged(volume, directory->ino, "a name that is none");
        *ret = entry;
        return (int) length;
}

int directory_search(const Directory *directory, const char *name, Place *ret) {
        char there[EXT2_NAME_LEN + 1];
        int length;

        *ret = (Place){0};
        for (unsigned offset = 0; offset < directory->volume->block_size; offset += (unsigned) length) {
                ret->before = ret->entry;
                length = directory_entry(directory, offset, &ret->entry, there);
                if (length < 0 || strcmp(there, name) == 0)
                        return length < 0 ? length : 1;
        }
        return 0;
}

/* Looks in each block. 1: there; 0: not there. */
static int find(Directory *directory, const char *name, Place *ret) {
        int r = -EAGAIN;

        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
                r = tree_find(directory, name, ret);
        if (r != -EAGAIN)
                return r;
        r = 0;
        for (uint64_t block = 0; r == 0 && block < directory->n_blocks; block++) {
                r = directory_read(directory, block);
                if (r > 0)
                        r = directory_search(directory, name, ret);
        }
        return r;
}

/* Opens the directory and finds the name. */
static int open_at(Volume *volume, ext2_ino_t dir, const char *name, Directory *ret, Place *ret_place) {
        int r = directory_open(volume, dir, ret);

        if (r >= 0)
                r = find(ret, name, ret_place);
        return r != 0 ? MIN_OF(r, 0) : -ENOENT;
}

/* Positions are places, where names stay. */
static int list_block(Directory *directory, uint64_t start, uint64_t from, NameVisitor visit, void *userdata) {
        struct ext2_dir_entry *entry = NULL;
        char name[EXT2_NAME_LEN + 1];
        int length;

        for (unsigned offset = 0; offset < directory->volume->block_size; offset += (unsigned) length) {
                length = directory_entry(directory, offset, &entry, name);
                if (length < 0)
                        return length;
                if (name[0] && start + offset >= from &&
                    !visit(userdata, name, entry->inode, (unsigned) ext2fs_dirent_file_type(entry), start + offset + (unsigned) length))
                        return 0;
        }
        return 1;
}

int name_list(Volume *volume, ext2_ino_t dir, uint64_t position, NameVisitor visit, void *userdata) {
        _cleanup_directory_ Directory directory = {0};
        int r;

        r = directory_open(volume, dir, &directory);
        if (r < 0)
                return r;
        r = tree_list(&directory, position, visit, userdata);
        if (r != -EAGAIN)
                return MIN_OF(r, 0);
        r = 1;
        for (uint64_t block = position / volume->block_size; r > 0 && block < directory.n_blocks; block++) {
                r = directory_read(&directory, block);
                if (r > 0)
                        r = list_block(&directory, block * volume->block_size, position, visit, userdata);
                else if (r == 0)
                        r = 1;
        }
        return MIN_OF(r, 0);
}

int name_lookup(Volume *volume, ext2_ino_t dir, const char *name, ext2_ino_t *ret) {
        const struct ext2_super_block *super = volume->fs->super;
        _cleanup_directory_ Directory directory = {0};
        Place place;
        int r;

        if (strlen(name) > EXT2_NAME_LEN)
                return -ENAMETOOLONG;
        r = open_at(volume, dir, name, &directory, &place);
        if (r < 0)
                return r;
        *ret = place.entry->inode;
        if ((*ret < EXT2_FIRST_INODE(super) && *ret != EXT2_ROOT_INO) || *ret > super->s_inodes_count)
                return volume_damaged(volume, dir, "an entry of an inode that is none");
        return 0;
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
        if (volume_has_spare(volume)) {
                int r = tree_make(volume, dir);
                *error = r < 0 ? -r : r > 0 ? 0 : ext2fs_expand_dir(volume->fs, dir);
        } else
                *error = EXT2_ET_BLOCK_ALLOC_FAIL;
        return !*error;
}

int name_add(Volume *volume, ext2_ino_t dir, const char *name, ext2_ino_t ino, mode_t mode) {
        errcode_t error;
        Inode inode;
        int r;

        r = inode_read(volume, dir, &inode);
        if (r >= 0)
                r = dir_check(volume, dir, &inode);
        if (r < 0)
                return r;
        volume->is_dirty = true;
        error = ext2fs_link(volume->fs, dir, name, ino, type_of(mode));
        if (make_room(volume, dir, &inode, &error))
                error = ext2fs_link(volume->fs, dir, name, ino, type_of(mode));
        return volume_error(volume, error, dir);
}

/* What stands before it takes its room; the first of a block is just not there any more. */
int name_remove(Volume *volume, ext2_ino_t dir, const char *name) {
        _cleanup_directory_ Directory directory = {0};
        unsigned length, before;
        Place place;
        int r;

        r = open_at(volume, dir, name, &directory, &place);
        if (r < 0)
                return r;
        if (!place.before)
                place.entry->inode = 0;
        else if (ext2fs_get_rec_len(volume->fs, place.entry, &length) != 0 || ext2fs_get_rec_len(volume->fs, place.before, &before) != 0 ||
                 ext2fs_set_rec_len(volume->fs, before + length, place.before) != 0)
                return volume_damaged(volume, dir, "a broken entry of a directory");
        return directory_write(&directory);
}

int name_redirect(Volume *volume, ext2_ino_t dir, const char *name, ext2_ino_t ino, mode_t mode) {
        _cleanup_directory_ Directory directory = {0};
        Place place;
        int r;

        r = open_at(volume, dir, name, &directory, &place);
        if (r < 0)
                return r;
        place.entry->inode = ino;
        if (ext2fs_has_feature_filetype(volume->fs->super))
                ext2fs_dirent_set_file_type(place.entry, type_of(mode));
        return directory_write(&directory);
}

static bool note_any(void *userdata, const char *name, ext2_ino_t ino, unsigned type, uint64_t next) {
        bool *any = userdata;

        *any = strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
        return !*any;
}

int name_dir_is_empty(Volume *volume, ext2_ino_t dir) {
        bool any = false;
        int r = name_list(volume, dir, 0, note_any, &any);

        return r < 0 ? r : !any;
}
