/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-pack: writes a tree to a device or file, once; verifies what was written. */

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "pack/image.h"
#include "pack/tree.h"
#include "tool.h"

static void show_progress(const Tree *tree) {
        tool_progress("%llu files, %llu MiB", (unsigned long long) tree->n_files, (unsigned long long) (tree->data_bytes >> 20));
}

/* ---- writing -------------------------------------------------------------------------------------------------------- */

static int write_at(int fd, const void *data, size_t size, uint64_t at) {
        for (size_t done = 0; done < size;) {
                ssize_t n = RET_NERRNO(pwrite(fd, (const char *) data + done, size - done, (off_t) (at + done)));
                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return n == 0 ? -ENOSPC : (int) n;
                done += (size_t) n;
        }
        return 0;
}

static PackTable place(const Rows *rows, uint64_t *at) {
        PackTable table = {.offset = *at, .count = rows->count};

        *at = ALIGN_TO(*at + rows->count * rows->size, 8ULL);
        return table;
}

static int write_metadata(const Tree *tree, int fd, uint64_t device_size, PackSuper *super, const char **ret_why) {
        const struct {
                const Rows *rows;
                PackTable *table;
        } parts[] = {{&tree->inodes, &super->inodes}, {&tree->extents, &super->extents}, {&tree->entries, &super->entries},
                     {&tree->strings, &super->strings}};
        _cleanup_free_ uint8_t *area = NULL, *digests = NULL;
        uint64_t at = 0, n, digest_blocks;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                *parts[i].table = place(parts[i].rows, &at);
        n = MAX_OF(ALIGN_TO(at, (uint64_t) PACK_BLOCK) / PACK_BLOCK, 1ULL);
        digest_blocks = ALIGN_TO(n * PACK_DIGEST, (uint64_t) PACK_BLOCK) / PACK_BLOCK;
        super->metadata_block = tree->next_addr / PACK_BLOCK;
        super->metadata_blocks = n;
        super->digests_block = super->metadata_block + n;
        super->n_blocks = super->digests_block + digest_blocks;
        if (n > PACK_METADATA_MAX / PACK_BLOCK) {
                *ret_why = "it would have more than 768 MiB of metadata";
                return -EFBIG;
        }
        if (super->n_blocks > device_size / PACK_BLOCK)
                return -ENOSPC;
        area = calloc(n, PACK_BLOCK);
        digests = calloc(digest_blocks, PACK_BLOCK);
        if (!area || !digests)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                if (parts[i].rows->count > 0)
                        memcpy(area + parts[i].table->offset, parts[i].rows->data, parts[i].rows->count * parts[i].rows->size);
        for (uint64_t i = 0; i < n; i++) {
                uint64_t digest = pack_digest(area + i * PACK_BLOCK);
                memcpy(digests + i * PACK_DIGEST, &digest, sizeof digest);
        }
        (void) SHA256(digests, n * PACK_DIGEST, super->root);
        r = write_at(fd, area, n * PACK_BLOCK, super->metadata_block * PACK_BLOCK);
        return r < 0 ? r : write_at(fd, digests, digest_blocks * PACK_BLOCK, super->digests_block * PACK_BLOCK);
}

/* The superblock comes last, when everything that it vouches for is on the media. */
static int write_pack(Tree *tree, int fd, uint64_t device_size, const char **ret_why) {
        PackSuper super = {.version = PACK_VERSION, .block_size = PACK_BLOCK, .data_bytes = tree->data_bytes};
        uint8_t block[PACK_BLOCK] = {0};
        int r;

        memcpy(super.magic, PACK_MAGIC, sizeof super.magic);
        r = write_metadata(tree, fd, device_size, &super, ret_why);
        if (r >= 0)
                r = RET_NERRNO(fsync(fd));
        if (r < 0)
                return r;
        (void) SHA256((const uint8_t *) &super, offsetof(PackSuper, own), super.own);
        memcpy(block, &super, sizeof super);
        r = write_at(fd, block, sizeof block, 0);
        return r < 0 ? r : RET_NERRNO(fsync(fd));
}

static int pack(const char *directory, const char *device, bool json) {
        static const uint8_t nothing[PACK_BLOCK];
        _cleanup_fd_ int from = RET_NERRNO(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)), to = -EBADF;
        _cleanup_(tree_done) Tree tree = {.progress = show_progress};
        const char *why = NULL;
        struct stat st;
        int r;

        if (from < 0)
                return tool_complain(directory, NULL, from);
        bool is_device = stat(device, &st) == 0 && S_ISBLK(st.st_mode);
        to = RET_NERRNO(open(device, O_RDWR | O_CLOEXEC | (is_device ? O_EXCL : O_CREAT), 0644)); /* a device that is mounted is busy */
        if (to < 0)
                return tool_complain(device, NULL, to);
        r = tool_lock(to, /* write= */ true, device);
        if (r < 0)
                return r;
        r = fd_size(to, &tree.device_size);
        if (r >= 0 && !is_device)
                r = RET_NERRNO(ftruncate(to, 0));
        tree.device_fd = to;
        if (fstat(to, &st) == 0 && S_ISREG(st.st_mode)) {
                tree.is_file = true;
                tree.device_size = INT64_MAX; /* it grows */
                tree.device = st.st_dev;
                tree.inode = st.st_ino;
        }
        if (r >= 0)
                r = write_at(to, nothing, sizeof nothing, 0); /* what was there before is no pack any more */
        if (r >= 0)
                r = RET_NERRNO(fsync(to)); /* nor after a crash, when some of its data is another's */
        if (r < 0)
                return tool_complain(device, NULL, r);
        r = tree_pack(&tree, from);
        tool_progress_end();
        if (r < 0)
                return r;
        r = write_pack(&tree, to, tree.device_size, &why);
        if (r < 0)
                return tool_complain(device, why, r);
        printf(json ? "{\"files\": %llu, \"bytes\": %llu, \"extents\": %llu}\n" : "%llu files, %llu bytes of data, %llu extents\n",
               (unsigned long long) tree.n_files, (unsigned long long) tree.data_bytes, (unsigned long long) tree.extents.count);
        return 0;
}

/* ---- verifying ------------------------------------------------------------------------------------------------------ */

typedef struct Verify {
        PackImage image;
        int fd;
        unsigned n_bad;
        uint64_t n_read; /* bytes */
        struct {         /* what no inode has had yet: each record is one inode's, and each block */
                uint64_t extents, entries, strings, data;
        } left;
        char chunk[1 << 20];
} Verify;

static void bad(Verify *v, uint64_t number, const char *what) {
        tool_progress_end();
        fprintf(stderr, "fused-pack: inode %llu: %s\n", (unsigned long long) number, what);
        v->n_bad++;
}

/* Whatever a pack says, verifying it takes no longer than what it has room for. */
static bool take(Verify *v, uint64_t number, uint64_t n, uint64_t *left, const char *what) {
        if (n > *left) {
                bad(v, number, what);
                return false;
        }
        *left -= n;
        return true;
}

DEFINE_CLEANUP(EVP_MD_CTX *, contextp, EVP_MD_CTX_free)

static int digest_data(Verify *v, EVP_MD_CTX *context, uint64_t addr, uint64_t size) {
        while (size > 0) {
                ssize_t n = RET_NERRNO(pread(v->fd, v->chunk, (size_t) MIN_OF((uint64_t) sizeof v->chunk, size), (off_t) addr));
                if (n <= 0)
                        return n < 0 ? (int) n : -EIO;
                (void) EVP_DigestUpdate(context, v->chunk, (size_t) n);
                v->n_read += (uint64_t) n;
                tool_progress("%llu MiB", (unsigned long long) (v->n_read >> 20));
                addr += (uint64_t) n;
                size -= (uint64_t) n;
        }
        return 0;
}

static void verify_file(Verify *v, uint64_t number, const PackInode *inode) {
        _cleanup_(contextp) EVP_MD_CTX *context = EVP_MD_CTX_new();
        uint8_t digest[32];
        uint64_t at = 0, stored = 0;
        PackExtent extent;

        if (!context || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
                return bad(v, number, "out of memory");
        if (!take(v, number, inode->count, &v->left.extents, "it has extents of other files"))
                return;
        for (uint64_t i = 0; i < inode->count; i++) {
                if (pack_extent(&v->image, inode, i, &extent) < 0 || extent.offset < at)
                        return bad(v, number, "its extents are damaged");
                if (!take(v, number, extent.length, &v->left.data, "it has data of other files"))
                        return;
                if (digest_data(v, context, extent.addr, MIN_OF(extent.length, inode->size - extent.offset)) < 0)
                        return bad(v, number, "its data cannot be read");
                at = extent.offset + extent.length;
                stored += extent.length;
        }
        if (stored != inode->stored)
                return bad(v, number, "its extents are not all it has");
        if (EVP_DigestFinal_ex(context, digest, NULL) != 1 || memcmp(digest, inode->sha256, sizeof digest) != 0)
                bad(v, number, "its data is damaged");
}

static void verify_inode(Verify *v, uint64_t number) {
        PackInode inode;
        PackEntry entry;
        const char *text;

        if (pack_inode(&v->image, number, &inode) < 0)
                return bad(v, number, "is damaged");
        if (!take(v, number, inode.xattrs_size, &v->left.strings, "it has extended attributes of other files"))
                return;
        if (pack_string(&v->image, inode.xattrs, inode.xattrs_size, &text) < 0)
                bad(v, number, "its extended attributes are damaged");
        if (S_ISREG(inode.mode))
                return verify_file(v, number, &inode);
        if (S_ISDIR(inode.mode) && !take(v, number, inode.count, &v->left.entries, "it has entries of other directories"))
                return;
        for (uint64_t i = 0; S_ISDIR(inode.mode) && i < inode.count; i++)
                if (pack_entry(&v->image, &inode, i, &entry, &text) < 0)
                        return bad(v, number, "its entries are damaged");
        if (S_ISLNK(inode.mode) && pack_string(&v->image, inode.first, inode.count, &text) < 0)
                bad(v, number, "its target is damaged");
}

static int verify(const char *device, bool json) {
        static Verify v;
        _cleanup_fd_ int fd = RET_NERRNO(open(device, O_RDONLY | O_CLOEXEC));
        uint64_t size;
        const char *why;
        int r;

        if (fd < 0)
                return tool_complain(device, NULL, fd);
        v.fd = fd;
        r = tool_lock(fd, /* write= */ false, device);
        if (r < 0)
                return r;
        r = fd_size(fd, &size);
        if (r < 0)
                return tool_complain(device, NULL, r);
        r = pack_open(fd, size, &v.image, &why);
        if (r < 0) {
                fprintf(stderr, "fused-pack: %s: %s\n", device, why);
                return r;
        }
        v.left.extents = v.image.super.extents.count;
        v.left.entries = v.image.super.entries.count;
        v.left.strings = v.image.super.strings.count;
        v.left.data = v.image.super.metadata_block * PACK_BLOCK;
        for (uint64_t number = 1; number <= v.image.super.inodes.count; number++)
                verify_inode(&v, number);
        tool_progress_end();
        printf(json ? "{\"inodes\": %llu, \"damaged\": %u}\n" : "%llu inodes, %u damaged\n",
               (unsigned long long) v.image.super.inodes.count, v.n_bad);
        pack_close(&v.image);
        return v.n_bad > 0 ? -EUCLEAN : 0;
}

int main(int argc, char **argv) {
        bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
        char **words = argv + json;

        if (argc - json == 3 && strcmp(words[1], "verify") == 0)
                return verify(words[2], json) < 0 ? 1 : 0;
        if (argc - json == 3 && words[1][0] != '-')
                return pack(words[1], words[2], json) < 0 ? 1 : 0;
        fputs("usage: fused-pack [--json] DIRECTORY DEVICE|FILE\n       fused-pack [--json] verify DEVICE|FILE\n", stderr);
        return 2;
}
