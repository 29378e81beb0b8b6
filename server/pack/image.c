/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See image.h. The only place that reads a pack's records. */

#include "pack/image.h"

#include <openssl/sha.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "records are read as they stand: this takes a little-endian machine"
#endif

static int read_all(int fd, void *data, size_t size, uint64_t at) {
        for (size_t done = 0; done < size;) {
                ssize_t n = RET_NERRNO(pread(fd, (char *) data + done, size - done, (off_t) (at + done)));
                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return n == 0 ? -EUCLEAN : (int) n;
                done += (size_t) n;
        }
        return 0;
}

uint64_t pack_digest(const void *block) {
        uint8_t digest[SHA256_DIGEST_LENGTH];
        uint64_t word;

        (void) SHA256(block, PACK_BLOCK, digest);
        memcpy(&word, digest, sizeof word);
        return word;
}

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static bool table_fits(const PackTable *table, size_t row, uint64_t size) {
        return table->offset % 8 == 0 && table->offset <= size && table->count <= (size - table->offset) / row;
}

static const char *check_super(const PackSuper *super, uint64_t device_size) {
        uint8_t digest[SHA256_DIGEST_LENGTH];
        uint64_t size;

        if (memcmp(super->magic, PACK_MAGIC, sizeof super->magic) != 0)
                return "it is no pack";
        (void) SHA256((const uint8_t *) super, offsetof(PackSuper, own), digest);
        if (memcmp(digest, super->own, sizeof digest) != 0)
                return "its superblock is damaged";
        if (super->version != PACK_VERSION || super->block_size != PACK_BLOCK)
                return "it is of another version";
        if (super->n_blocks > device_size / PACK_BLOCK)
                return "the device is smaller than it";
        if (super->metadata_blocks > PACK_METADATA_MAX / PACK_BLOCK)
                return "it has more than 768 MiB of metadata";
        size = super->metadata_blocks * PACK_BLOCK;
        if (super->metadata_blocks == 0 || super->metadata_block >= super->n_blocks ||
            super->metadata_blocks > super->n_blocks - super->metadata_block || super->digests_block >= super->n_blocks ||
            super->metadata_blocks * PACK_DIGEST > (super->n_blocks - super->digests_block) * PACK_BLOCK)
                return "its metadata is outside of it";
        if (!table_fits(&super->inodes, sizeof(PackInode), size) || !table_fits(&super->extents, sizeof(PackExtent), size) ||
            !table_fits(&super->entries, sizeof(PackEntry), size) || !table_fits(&super->strings, 1, size) || super->inodes.count == 0 ||
            super->inodes.count > UINT32_MAX)
                return "its tables are outside of its metadata";
        return NULL;
}

static int load(int fd, PackImage *image, const char **ret_why) {
        const PackSuper *super = &image->super;
        uint8_t digest[SHA256_DIGEST_LENGTH];
        size_t n = (size_t) super->metadata_blocks;
        int r;

        image->metadata = malloc(n * PACK_BLOCK);
        image->digests = malloc(n * PACK_DIGEST);
        image->checked = calloc(n, 1);
        if (!image->metadata || !image->digests || !image->checked)
                return -ENOMEM;
        *ret_why = "it cannot be read";
        r = read_all(fd, image->digests, n * PACK_DIGEST, super->digests_block * PACK_BLOCK);
        if (r >= 0)
                r = read_all(fd, image->metadata, n * PACK_BLOCK, super->metadata_block * PACK_BLOCK);
        if (r < 0)
                return r;
        (void) SHA256(image->digests, n * PACK_DIGEST, digest);
        if (memcmp(digest, super->root, sizeof digest) != 0) {
                *ret_why = "its table of digests is damaged";
                return -EUCLEAN;
        }
        return 0;
}

int pack_open(int fd, uint64_t size, PackImage *ret, const char **ret_why) {
        PackImage image = {.device_size = size};
        int r;

        *ret_why = "it cannot be read";
        if (size < PACK_BLOCK) {
                *ret_why = "it is no pack";
                return -EUCLEAN;
        }
        r = read_all(fd, &image.super, sizeof image.super, 0);
        if (r < 0)
                return r;
        *ret_why = check_super(&image.super, size);
        if (*ret_why)
                return -EUCLEAN;
        r = load(fd, &image, ret_why);
        if (r < 0) {
                pack_close(&image);
                return r;
        }
        *ret = image;
        return 0;
}

void pack_close(PackImage *image) {
        free(image->metadata);
        free(image->digests);
        free((void *) image->checked);
        *image = (PackImage){0};
}

/* ---- records -------------------------------------------------------------------------------------------------------- */

/* Threads may check the same block at the same time: they come to the same word. */
static bool block_is_sound(PackImage *image, uint64_t block) {
        uint8_t state = atomic_load_explicit(&image->checked[block], memory_order_relaxed);
        uint64_t expected;

        if (state == 0) {
                memcpy(&expected, image->digests + block * PACK_DIGEST, sizeof expected);
                state = pack_digest(image->metadata + block * PACK_BLOCK) == expected ? 1 : 2;
                atomic_store_explicit(&image->checked[block], state, memory_order_relaxed);
        }
        return state == 1;
}

/* size bytes of the area, all of it checked; borrowed. */
static int area(PackImage *image, uint64_t offset, uint64_t size, const void **ret) {
        uint64_t all = image->super.metadata_blocks * PACK_BLOCK;

        if (offset > all || size > all - offset)
                return -EUCLEAN;
        for (uint64_t block = offset / PACK_BLOCK; size > 0 && block <= (offset + size - 1) / PACK_BLOCK; block++)
                if (!block_is_sound(image, block))
                        return -EUCLEAN;
        *ret = image->metadata + offset;
        return 0;
}

static int row(PackImage *image, const PackTable *table, size_t size, uint64_t i, void *ret) {
        const void *data;
        int r;

        if (i >= table->count)
                return -EUCLEAN;
        r = area(image, table->offset + i * size, size, &data);
        if (r >= 0)
                memcpy(ret, data, size);
        return r;
}

static bool range_fits(uint64_t first, uint64_t count, const PackTable *table) {
        return first <= table->count && count <= table->count - first;
}

int pack_inode(PackImage *image, uint64_t number, PackInode *ret) {
        const PackSuper *super = &image->super;
        const PackTable *table;
        PackInode inode;
        int r;

        if (number == 0)
                return -ENOENT;
        r = row(image, &super->inodes, sizeof inode, number - 1, &inode);
        if (r < 0)
                return r;
        table = S_ISREG(inode.mode) ? &super->extents : S_ISDIR(inode.mode) ? &super->entries : S_ISLNK(inode.mode) ? &super->strings : NULL;
        if (table ? !range_fits(inode.first, inode.count, table) : inode.count != 0)
                return -EUCLEAN;
        if (!range_fits(inode.xattrs, inode.xattrs_size, &super->strings) || inode.size > INT64_MAX || inode.mtime_nsec > 999999999 ||
            (S_ISLNK(inode.mode) && inode.size != inode.count) || (number == 1 && !S_ISDIR(inode.mode)))
                return -EUCLEAN;
        *ret = inode;
        return 0;
}

int pack_extent(PackImage *image, const PackInode *inode, uint64_t i, PackExtent *ret) {
        uint64_t end = image->super.metadata_block * PACK_BLOCK, size = ALIGN_TO(inode->size, (uint64_t) PACK_BLOCK);
        PackExtent extent;
        int r;

        if (i >= inode->count)
                return -EUCLEAN;
        r = row(image, &image->super.extents, sizeof extent, inode->first + i, &extent);
        if (r < 0)
                return r;
        if ((extent.offset | extent.length | extent.addr) % PACK_BLOCK != 0 || extent.length == 0 || extent.offset > size ||
            extent.length > size - extent.offset || extent.addr < PACK_BLOCK || extent.addr > end || extent.length > end - extent.addr)
                return -EUCLEAN;
        *ret = extent;
        return 0;
}

int pack_find_extent(PackImage *image, const PackInode *inode, uint64_t pos, uint64_t *ret) {
        uint64_t low = 0, high = inode->count;
        PackExtent extent;

        while (low < high) {
                uint64_t middle = low + (high - low) / 2;
                int r = pack_extent(image, inode, middle, &extent);
                if (r < 0)
                        return r;
                if (extent.offset <= pos)
                        low = middle + 1;
                else
                        high = middle;
        }
        *ret = low;
        return 0;
}

int pack_string(PackImage *image, uint64_t offset, uint64_t size, const char **ret) {
        const void *data;
        int r;

        if (!range_fits(offset, size, &image->super.strings))
                return -EUCLEAN;
        r = area(image, image->super.strings.offset + offset, size, &data);
        if (r >= 0)
                *ret = data;
        return r;
}

static bool name_is_fine(const char *name, uint32_t length) {
        return length > 0 && length <= PACK_NAME_MAX && !memchr(name, '/', length) && !memchr(name, 0, length) &&
               !(length == 1 && name[0] == '.') && !(length == 2 && name[0] == '.' && name[1] == '.');
}

int pack_entry(PackImage *image, const PackInode *inode, uint64_t i, PackEntry *ret, const char **ret_name) {
        PackEntry entry;
        const char *name;
        int r;

        if (i >= inode->count)
                return -EUCLEAN;
        r = row(image, &image->super.entries, sizeof entry, inode->first + i, &entry);
        if (r >= 0)
                r = pack_string(image, entry.name, entry.length, &name);
        if (r >= 0 && (!name_is_fine(name, entry.length) || entry.inode < 2 || entry.inode > image->super.inodes.count))
                r = -EUCLEAN;
        if (r < 0)
                return r;
        *ret = entry;
        *ret_name = name;
        return 0;
}

int pack_lookup(PackImage *image, const PackInode *inode, const char *name, uint32_t *ret) {
        size_t length = strlen(name);
        uint64_t low = 0, high = inode->count;

        while (low < high) {
                uint64_t middle = low + (high - low) / 2;
                const char *other;
                PackEntry entry;
                int c, r = pack_entry(image, inode, middle, &entry, &other);
                if (r < 0)
                        return r;
                c = memcmp(other, name, MIN_OF((size_t) entry.length, length));
                if (c == 0)
                        c = (entry.length > length) - (entry.length < length);
                if (c == 0) {
                        *ret = entry.inode;
                        return 0;
                }
                if (c < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return -ENOENT;
}
