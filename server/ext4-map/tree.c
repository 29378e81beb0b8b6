/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories with a hash tree: the first block, and those below it, say which of the others has the names with which hashes. Names are found
 * by it, and listed in the order of their hashes, as on ext4: places would not do as positions, as names move when a block is split. A directory
 * of one block has no tree yet and will have one when it grows: it is listed like that, too. */

#include "ext4-map/names.h"

#include <string.h>

#define DEPTH_MAX 3U
#define ROOT_INFO 24U /* where it stands, behind "." and ".." */
#define POSITION_MAX ((uint64_t) INT64_MAX - (1 << 20))

typedef struct Tree {
        Directory *directory; /* borrowed */
        int version;          /* of the hash; -1: not known */
        unsigned depth;       /* nodes below the root */
        struct {
                uint32_t block;
                unsigned at; /* which entry of it was followed */
        } nodes[DEPTH_MAX + 1];
        bool shared;       /* the next leaf begins with the hash that was looked for */
        uint64_t n_leaves; /* seen: not more than there are blocks */
} Tree;

static int hash_of(const Tree *tree, const char *name, uint32_t *ret, uint32_t *ret_minor) {
        const uint32_t *seed = tree->directory->volume->fs->super->s_hash_seed;

        return ext2fs_dirhash2(tree->version, name, (int) strlen(name), NULL, 0, seed, ret, ret_minor) == 0 ? 0 : -EUCLEAN;
}

static int version_of(const struct ext2_super_block *super, unsigned version) {
        return version > EXT2_HASH_TEA ? -1 : (int) version + (super->s_flags & EXT2_FLAGS_UNSIGNED_HASH ? 3 : 0);
}

/* 1: a tree, its root is in the buffer; 0: a single block that would get one; -EAGAIN: neither. */
static int tree_open(Tree *tree, Directory *directory) {
        const struct ext2_super_block *super = directory->volume->fs->super;
        const struct ext2_dx_root_info *root = (const void *) (directory->buffer + ROOT_INFO);
        int r;

        *tree = (Tree){.directory = directory, .version = version_of(super, super->s_def_hash_version)};
        if (!(super->s_feature_compat & EXT2_FEATURE_COMPAT_DIR_INDEX))
                return -EAGAIN;
        if (!(directory->inode.i_flags & EXT2_INDEX_FL))
                return directory->n_blocks == 1 && tree->version >= 0 ? 0 : -EAGAIN;
        r = directory_read(directory, 0);
        if (r <= 0)
                return r < 0 ? r : -EAGAIN;
        tree->version = version_of(super, root->hash_version);
        tree->depth = root->indirect_levels;
        return tree->version < 0 || root->unused_flags & 1 || tree->depth >= DEPTH_MAX || root->info_length != 8 ? -EAGAIN : 1;
}

/* Its entries: the first one's hash is how many there are. -EAGAIN: it is none. */
static int read_node(Tree *tree, unsigned level, const struct ext2_dx_entry **ret) {
        Directory *directory = tree->directory;
        struct ext2_dx_countlimit *head;
        unsigned n;
        int r;

        r = directory_read(directory, tree->nodes[level].block);
        if (r <= 0)
                return r < 0 ? r : -EAGAIN;
        if (ext2fs_get_dx_countlimit(directory->volume->fs, (void *) directory->buffer, &head, NULL) != 0)
                return -EAGAIN;
        n = ext2fs_le16_to_cpu(head->count);
        *ret = (const void *) head;
        if (n == 0 || n > ext2fs_le16_to_cpu(head->limit) ||
            (size_t) ((const uint8_t *) (*ret + n) - directory->buffer) > directory->volume->block_size)
                return -EAGAIN;
        return (int) n;
}

/* The last that begins at or before this hash. */
static unsigned search_node(const struct ext2_dx_entry *entries, unsigned n, uint32_t hash) {
        unsigned low = 1, high = n;

        while (low < high) {
                unsigned middle = (low + high) / 2;
                if (ext2fs_le32_to_cpu(entries[middle].hash) > hash)
                        high = middle;
                else
                        low = middle + 1;
        }
        return low - 1;
}

/* From this level on to a leaf, which is in the buffer then: the hash's, or the first (hash: NULL). 1, or -EAGAIN. */
static int go_down(Tree *tree, unsigned level, const uint32_t *hash) {
        const struct ext2_dx_entry *entries = NULL;
        uint32_t block = 0;
        int r;

        for (; level <= tree->depth; level++) {
                r = read_node(tree, level, &entries);
                if (r < 0)
                        return r;
                if (hash) {
                        unsigned at = search_node(entries, (unsigned) r, *hash);
                        tree->nodes[level].at = at;
                        tree->shared |= at + 1 < (unsigned) r && (ext2fs_le32_to_cpu(entries[at + 1].hash) & ~1U) == (*hash & ~1U);
                } else if (tree->nodes[level].at >= (unsigned) r)
                        return -EAGAIN;
                block = ext2fs_le32_to_cpu(entries[tree->nodes[level].at].block) & 0x0fffffff;
                if (level < tree->depth)
                        tree->nodes[level + 1].block = block;
        }
        if (++tree->n_leaves > tree->directory->n_blocks)
                return -EAGAIN;
        r = directory_read(tree->directory, block);
        return r == 0 ? -EAGAIN : r;
}

/* The next leaf. *ret_hash: what it begins with. 0: there is none. */
static int go_on(Tree *tree, uint32_t *ret_hash) {
        const struct ext2_dx_entry *entries = NULL;

        for (unsigned level = tree->depth + 1; level-- > 0;) {
                int n = read_node(tree, level, &entries);
                if (n < 0)
                        return n;
                if (tree->nodes[level].at + 1 >= (unsigned) n)
                        continue;
                tree->nodes[level].at++;
                for (unsigned below = level + 1; below <= tree->depth; below++)
                        tree->nodes[below].at = 0;
                *ret_hash = ext2fs_le32_to_cpu(entries[tree->nodes[level].at].hash);
                return go_down(tree, level, NULL);
        }
        return 0;
}

int tree_find(Directory *directory, const char *name, Place *ret) {
        uint32_t hash = 0, minor, next = 0;
        Tree tree;
        int r;

        r = tree_open(&tree, directory);
        if (r <= 0)
                return r < 0 ? r : -EAGAIN;
        r = hash_of(&tree, name, &hash, &minor) < 0 ? -EAGAIN : go_down(&tree, 0, &hash);
        while (r > 0) {
                r = directory_search(directory, name, ret);
                if (r != 0 || !tree.shared)
                        return r;
                r = go_on(&tree, &next);
                tree.shared = (next & ~1U) == (hash & ~1U);
                if (r > 0 && !tree.shared)
                        return 0;
        }
        return r;
}

/* ---- listing -------------------------------------------------------------------------------------------------------- */

typedef struct Item {
        uint64_t position;
        struct ext2_dir_entry *entry;
} Item;

typedef struct Listing {
        Tree tree;
        NameVisitor visit;
        void *userdata;
        uint64_t from, next; /* next: those behind it are not used yet */
        Item *items;         /* owned: of a leaf */
} Listing;

static int compare_items(const void *a, const void *b) {
        const Item *x = a, *y = b;
        int n, m;

        if (x->position != y->position)
                return x->position < y->position ? -1 : 1;
        n = ext2fs_dirent_name_len(x->entry);
        m = ext2fs_dirent_name_len(y->entry);
        return n != m ? n - m : memcmp(x->entry->name, y->entry->name, (size_t) n);
}

static int position_of(const Tree *tree, const char *name, uint64_t *ret) {
        uint32_t hash = 0, minor = 0;

        *ret = strcmp(name, ".") == 0 ? 0 : 1;
        if (*ret == 0 || strcmp(name, "..") == 0)
                return 0;
        if (hash_of(tree, name, &hash, &minor) < 0)
                return volume_damaged(tree->directory->volume, tree->directory->ino, "a hash that is not known");
        *ret = (uint64_t) (hash >> 1) << 32 | minor;
        *ret = MAX_OF(*ret, (uint64_t) 2);
        *ret = MIN_OF(*ret, POSITION_MAX);
        return 0;
}

/* What the buffer has, in order. Names with the same hash follow each other. 1: go on; 0: enough. */
static int list_leaf(Listing *listing) {
        Directory *directory = listing->tree.directory;
        char name[EXT2_NAME_LEN + 1];
        size_t n = 0;
        int r;

        for (unsigned offset = 0; offset < directory->volume->block_size; offset += (unsigned) r) {
                r = directory_entry(directory, offset, &listing->items[n].entry, name);
                if (r < 0)
                        return r;
                if (!name[0])
                        continue;
                int q = position_of(&listing->tree, name, &listing->items[n].position);
                if (q < 0)
                        return q;
                n++;
        }
        qsort(listing->items, n, sizeof *listing->items, compare_items);
        for (size_t i = 0; i < n; i++) {
                const struct ext2_dir_entry *entry = listing->items[i].entry;
                const uint64_t position = MAX_OF(listing->items[i].position, listing->next);
                listing->next = position + 1;
                if (position < listing->from)
                        continue;
                size_t length = (size_t) ext2fs_dirent_name_len((struct ext2_dir_entry *) (uintptr_t) entry);
                memcpy(name, entry->name, length);
                name[length] = '\0';
                if (!listing->visit(listing->userdata, name, entry->inode, (unsigned) ext2fs_dirent_file_type(entry), listing->next))
                        return 0;
        }
        return 1;
}

static int list_leaves(Listing *listing) {
        const uint32_t hash = (uint32_t) (listing->from >> 32) << 1;
        uint32_t begin;
        int r = 1;

        if (listing->from < 2) { /* "." and "..": the root is in the buffer */
                r = list_leaf(listing);
                if (r <= 0)
                        return r;
        }
        listing->next = 2;
        r = go_down(&listing->tree, 0, &hash);
        while (r > 0) {
                r = list_leaf(listing);
                if (r > 0)
                        r = go_on(&listing->tree, &begin);
        }
        return r;
}

int tree_list(Directory *directory, uint64_t position, NameVisitor visit, void *userdata) {
        Listing listing = {.visit = visit, .userdata = userdata, .from = position};
        _cleanup_free_ Item *items = NULL;
        int r;

        r = tree_open(&listing.tree, directory);
        if (r < 0)
                return r;
        listing.items = items = calloc(directory->volume->block_size / 12 + 2, sizeof *items);
        if (!items)
                return -ENOMEM;
        if (r == 0) {
                r = directory_read(directory, 0);
                return r > 0 ? list_leaf(&listing) : r;
        }
        r = list_leaves(&listing);
        return r == -EAGAIN ? volume_damaged(directory->volume, directory->ino, "a broken hash tree") : r;
}

/* ---- making --------------------------------------------------------------------------------------------------------- */

static unsigned tail_size(const Volume *volume) {
        return ext2fs_has_feature_metadata_csum(volume->fs->super) ? 12 : 0;
}

/* All but "." and ".." go into the leaf, whose last entry reaches to where it did. */
static int fill_leaf(const Directory *root, Directory *leaf, unsigned from) {
        const unsigned end = root->volume->block_size - tail_size(root->volume);
        struct ext2_dir_entry *entry = NULL;
        char name[EXT2_NAME_LEN + 1];
        int length = 0;

        memcpy(leaf->buffer, root->buffer + from, end - from);
        for (unsigned offset = 0; offset < end - from; offset += (unsigned) length) {
                length = directory_entry(leaf, offset, &entry, name);
                if (length < 0)
                        return length;
        }
        if (!entry || ext2fs_set_rec_len(leaf->volume->fs, (unsigned) length + from, entry) != 0)
                return volume_damaged(leaf->volume, leaf->ino, "a broken entry of a directory");
        return directory_write(leaf);
}

static int fill_root(Directory *root, struct ext2_dir_entry *parent) {
        const unsigned size = root->volume->block_size, info = ROOT_INFO + sizeof(struct ext2_dx_root_info);
        struct ext2_dx_root_info *head = (void *) (root->buffer + ROOT_INFO);
        struct ext2_dx_entry *entries = (void *) (root->buffer + info);
        struct ext2_dx_countlimit *count = (void *) entries;

        if (ext2fs_set_rec_len(root->volume->fs, size - 12, parent) != 0)
                return -EUCLEAN;
        memset(root->buffer + ROOT_INFO, 0, size - ROOT_INFO);
        *head = (struct ext2_dx_root_info){.hash_version = root->volume->fs->super->s_def_hash_version, .info_length = 8};
        count->limit = ext2fs_cpu_to_le16((uint16_t) ((size - info - (tail_size(root->volume) ? 8 : 0)) / sizeof *entries));
        count->count = ext2fs_cpu_to_le16(1);
        entries[0].block = ext2fs_cpu_to_le32(1);
        return directory_write(root);
}

/* The names are in the leaf first, then no more in the root, and the inode says so last: what is left half done can be read. */
static int split_root(Directory *root, struct ext2_dir_entry *parent, unsigned from) {
        _cleanup_directory_ Directory leaf = {0};
        int r;

        r = volume_error(root->volume, ext2fs_expand_dir(root->volume->fs, root->ino), root->ino);
        if (r >= 0)
                r = directory_open(root->volume, root->ino, &leaf);
        if (r >= 0)
                r = directory_read(&leaf, 1);
        if (r <= 0)
                return r < 0 ? r : volume_damaged(root->volume, root->ino, "a block of a directory that is none");
        r = fill_leaf(root, &leaf, from);
        if (r >= 0)
                r = fill_root(root, parent);
        if (r < 0)
                return r;
        leaf.inode.i_flags |= EXT2_INDEX_FL;
        r = inode_write(root->volume, root->ino, &leaf.inode);
        return r < 0 ? r : 1;
}

int tree_make(Volume *volume, ext2_ino_t dir) {
        _cleanup_directory_ Directory root = {0};
        struct ext2_dir_entry *self = NULL, *parent = NULL;
        char name[2][EXT2_NAME_LEN + 1];
        Tree tree;
        int r;

        r = directory_open(volume, dir, &root);
        if (r >= 0)
                r = tree_open(&tree, &root);
        if (r != 0)
                return r == -EAGAIN || r > 0 ? 0 : r;
        r = directory_read(&root, 0);
        if (r > 0)
                r = directory_entry(&root, 0, &self, name[0]);
        if (r != 12 || strcmp(name[0], ".") != 0)
                return MIN_OF(r, 0);
        r = directory_entry(&root, 12, &parent, name[1]);
        if (r < 12 || strcmp(name[1], "..") != 0 || 12U + (unsigned) r >= volume->block_size - tail_size(volume))
                return MIN_OF(r, 0);
        return split_root(&root, parent, 12 + (unsigned) r);
}
