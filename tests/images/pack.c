/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pack. The reader is asked for every record; data is vouched for by `fused-pack verify` only. */

#include "images/images.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pack/image.h"

const char *const image_name = "pack";
const bool image_is_vouched_for = true;

void image_make(Image *ret) {
        char directory[64];

        image_directory(directory);
        image_run("cd %s && mkdir -p tree/a/b tree/empty &&"
                  " for i in 1 2 3 4 5 6 7 8 9 10 11 12; do head -c $((i * 3000)) /dev/zero | tr '\\0' $i >tree/a/f$i; done &&"
                  " ln tree/a/f3 tree/a/b/hard && ln -s ../a/f1 tree/a/b/soft && mkfifo tree/pipe &&"
                  " truncate -s 1M tree/a/sparse && echo end >>tree/a/sparse &&"
                  " (setfattr -n user.one -v 1 tree/a/f1 2>/dev/null || true) &&"
                  " truncate -s 1M image && " PACK_TOOL " tree image >/dev/null 2>&1", directory);
        char path[80];
        (void) snprintf(path, sizeof path, "%s/image", directory);
        ret->n = 1;
        ret->fds[0] = image_load(path, &ret->sizes[0]);
        image_run("rm -rf %s", directory);
}

static bool super_is_possible(const PackSuper *s, uint64_t size) {
        return s->metadata_block < size / PACK_BLOCK && s->metadata_blocks <= size / PACK_BLOCK - s->metadata_block &&
               s->digests_block < size / PACK_BLOCK && s->metadata_blocks * PACK_DIGEST <= size - s->digests_block * PACK_BLOCK;
}

size_t image_areas(const Image *image, Area *ret, size_t n_max) {
        PackSuper s;

        if (pread(image->fds[0], &s, sizeof s, 0) != sizeof s || n_max < 3)
                return 0;
        ret[0] = (Area){0, 0, 512};
        ret[1] = (Area){0, s.metadata_block * PACK_BLOCK, (s.metadata_block + s.metadata_blocks) * PACK_BLOCK};
        ret[2] = (Area){0, s.digests_block * PACK_BLOCK, s.digests_block * PACK_BLOCK + ALIGN_TO(s.metadata_blocks * PACK_DIGEST, 512)};
        return 3;
}

void image_reseal(const Image *image) {
        uint8_t block[PACK_BLOCK], digest[32];
        PackSuper s;

        if (pread(image->fds[0], &s, sizeof s, 0) != sizeof s)
                return;
        if (super_is_possible(&s, image->sizes[0]) && s.metadata_blocks > 0) {
                uint8_t *digests = calloc(s.metadata_blocks, PACK_DIGEST);
                for (uint64_t i = 0; digests && i < s.metadata_blocks; i++) {
                        if (pread(image->fds[0], block, sizeof block, (off_t) ((s.metadata_block + i) * PACK_BLOCK)) != sizeof block)
                                break;
                        SHA256(block, sizeof block, digest);
                        memcpy(digests + i * PACK_DIGEST, digest, PACK_DIGEST);
                }
                if (digests && pwrite(image->fds[0], digests, s.metadata_blocks * PACK_DIGEST, (off_t) (s.digests_block * PACK_BLOCK)) > 0)
                        SHA256(digests, s.metadata_blocks * PACK_DIGEST, s.root);
                free(digests);
        }
        SHA256((const uint8_t *) &s, offsetof(PackSuper, own), s.own);
        (void) !pwrite(image->fds[0], &s, sizeof s, 0);
}

static bool look_at_regular(PackImage *image, const PackInode *inode, uint64_t *digest) {
        uint64_t found;

        for (uint64_t i = 0; i < inode->count; i++) {
                PackExtent extent;
                if (pack_extent(image, inode, i, &extent) < 0)
                        return false;
                assert(extent.addr <= image->device_size && extent.length <= image->device_size - extent.addr);
                *digest = image_mix(*digest, &extent, sizeof extent);
        }
        for (unsigned i = 0; i < 40; i++)
                if (pack_find_extent(image, inode, inode->size / 40 * i, &found) >= 0)
                        assert(found <= inode->count);
        return true;
}

static bool look_at_directory(PackImage *image, const PackInode *inode, uint64_t *digest) {
        for (uint64_t i = 0; i < inode->count; i++) {
                const char *name;
                char copy[256];
                PackEntry entry;
                uint32_t number;
                if (pack_entry(image, inode, i, &entry, &name) < 0)
                        return false;
                *digest = image_mix(image_mix(*digest, &entry.inode, sizeof entry.inode), name, entry.length);
                memcpy(copy, name, entry.length);
                copy[entry.length] = 0;
                (void) !pack_lookup(image, inode, copy, &number);
        }
        return true;
}

static bool look_at(PackImage *image, uint64_t number, uint64_t *digest) {
        const char *text;
        PackInode inode;

        if (pack_inode(image, number, &inode) < 0)
                return false;
        *digest = image_mix(*digest, &inode, sizeof inode);
        if (pack_string(image, inode.xattrs, inode.xattrs_size, &text) < 0)
                return false;
        *digest = image_mix(*digest, text, inode.xattrs_size);
        if (S_ISREG(inode.mode))
                return look_at_regular(image, &inode, digest);
        if (S_ISDIR(inode.mode))
                return look_at_directory(image, &inode, digest);
        if (S_ISLNK(inode.mode)) {
                if (pack_string(image, inode.first, inode.count, &text) < 0)
                        return false;
                *digest = image_mix(*digest, text, inode.count);
        }
        return true;
}

int image_walk(const Image *image, unsigned seed, Seen *seen) {
        const char *why;
        PackImage pack;
        int r;

        r = pack_open(image->fds[0], image->sizes[0], &pack, &why);
        if (r < 0)
                return r;
        seen->n = MIN_OF(pack.super.inodes.count, (uint64_t) SEEN_MAX);
        for (uint64_t i = 0; i < seen->n; i++)
                seen->fine[i] = look_at(&pack, i + 1, &seen->digests[i]);
        pack_close(&pack);
        return 0;
}
