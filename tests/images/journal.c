/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A journal of ext4 that is to be replayed, with checksums: whatever is damaged in it, what a file has afterwards is what it had after one of the
 * transactions, or the file system is refused and nothing on it has changed. */

#include "images/images.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ext4-map/journal.h"

#define BLOCK 1024U
#define BLOCKS 8U
#define LOG_BLOCKS 24U /* of the journal, that may be damaged: more than are used */
#define MAGIC 0xc0     /* stands for a block that is full of the journal's magic number */

const char *const image_name = "journal";
const bool image_is_vouched_for = false; /* the walk itself compares */

/* What the blocks of the file are full of, after each transaction: the second takes back what the first has for block 0. */
static const uint8_t states[][BLOCKS] = {
        {9, 9, 9, 9, 9, 9, 9, 9}, {1, 1, 1, 1, 9, 9, 9, 9}, {9, 1, 1, 1, 9, 9, 9, 9}, {9, 1, 2, 2, 9, 9, 9, 9}, {9, 1, 2, 2, MAGIC, 3, 9, 9}};

/* debugfs replaces what the journal had, and writes transactions as it is told. */
void image_make(Image *ret) {
        char directory[64], path[80];

        image_directory(directory);
        image_run("cd %s && mkdir tree && head -c %u /dev/zero >zeroes && tr '\\0' '\\11' <zeroes >tree/data &&"
                  " mke2fs -q -F -t ext4 -b %u -O ^resize_inode -J size=1 -d tree image 4M >/dev/null 2>&1 &&"
                  " head -c 4096 zeroes | tr '\\0' '\\1' >one && head -c 2048 zeroes | tr '\\0' '\\2' >two &&"
                  " { for i in $(seq 256); do printf '\\300\\073\\071\\230'; done; head -c 1024 zeroes | tr '\\0' '\\3'; } >three &&"
                  " set -- $(debugfs -R 'blocks data' image 2>/dev/null) &&"
                  " printf '%%s\\n' 'jo -c -v 3' \"jw -b $1,$2,$3,$4 one\" \"jw -r $1 /dev/null\" \"jw -b $3,$4 two\""
                  " \"jw -b $5,$6 three\" jc >commands &&"
                  " debugfs -w -f commands image >/dev/null 2>&1",
                  directory, BLOCKS * BLOCK, BLOCK);
        (void) snprintf(path, sizeof path, "%s/image", directory);
        ret->n = 1;
        ret->fds[0] = image_load(path, &ret->sizes[0]);
        image_run("rm -rf %s", directory);
}

static Volume *open_image(const Image *image, VolumeAccess access, int *ret) {
        static const VolumeHooks hooks;
        static Volume volume;

        memset(&volume, 0, sizeof volume);
        *ret = volume_open(&volume, image->fds[0], access, &hooks, NULL);
        return &volume;
}

size_t image_areas(const Image *image, Area *ret, size_t n_max) {
        ext2_ino_t ino;
        Inode inode;
        size_t n = 0;
        Run run;
        int r;

        Volume *volume = open_image(image, VOLUME_READ, &r);
        assert(r >= 0 && volume->journal && volume->journal->n_blocks == 5);
        ino = volume->fs->super->s_journal_inum;
        assert(inode_read(volume, ino, &inode) >= 0);
        for (; n < LOG_BLOCKS && n < n_max; n++) {
                assert(extents_find(volume, ino, &inode, n, &run, NULL, NULL) >= 0 && run.place != 0);
                const uint64_t at = (run.place + (n - run.block)) * BLOCK;
                ret[n] = (Area){0, at, at + BLOCK};
        }
        (void) volume_close(volume);
        return n;
}

void image_reseal(const Image *image) {}

static uint64_t digest(const Image *image) {
        static uint8_t data[8 << 20];

        assert(image->sizes[0] <= sizeof data && pread(image->fds[0], data, image->sizes[0], 0) == (ssize_t) image->sizes[0]);
        return image_mix(0, data, image->sizes[0]);
}

/* What a block of the file is full of, by way of its mapping; negative errno. */
static int content(Volume *volume, ext2_ino_t ino, unsigned i) {
        static const uint8_t magic[] = {0xc0, 0x3b, 0x39, 0x98};
        struct fused_mapping mapping;
        uint8_t block[BLOCK];
        int r;

        r = data_begin(volume, ino, (uint64_t) i * BLOCK, BLOCK, 0, &mapping);
        if (r < 0)
                return r;
        assert(mapping.type == FUSED_MAPPING_MAPPED);
        assert(pread(volume->fd, block, BLOCK, (off_t) (mapping.addr + (i * BLOCK - mapping.offset))) == BLOCK);
        for (size_t k = 0; k < BLOCK; k++)
                assert(block[k] == (block[0] == MAGIC ? magic[k % 4] : block[0]));
        return block[0];
}

static void check_content(Volume *volume, Seen *seen) {
        unsigned possible = (1U << (sizeof states / sizeof states[0])) - 1;
        ext2_ino_t ino = 0;
        int r;

        assert(name_lookup(volume, EXT2_ROOT_INO, "data", &ino) >= 0);
        for (unsigned i = 0; i < BLOCKS; i++) {
                r = content(volume, ino, i);
                assert(r >= 0 || (r == -EIO && volume->read_only)); /* where it says so itself: it is the one that is escaped */
                for (size_t k = 0; k < sizeof states / sizeof states[0]; k++)
                        if (states[k][i] != (r < 0 ? MAGIC : r))
                                possible &= ~(1U << k);
                seen->fine[seen->n] = true;
                seen->digests[seen->n++] = (uint64_t) r;
        }
        assert(possible != 0);
}

int image_walk(const Image *image, unsigned seed, Seen *seen) {
        const VolumeAccess access = seed % 2 == 1 ? VOLUME_READ : VOLUME_WRITE;
        const uint64_t before = digest(image);
        int r;

        Volume *volume = open_image(image, access, &r);
        if (r >= 0)
                check_content(volume, seen);
        (void) volume_close(volume);
        assert((r >= 0 && access == VOLUME_WRITE) || digest(image) == before);
        if (r < 0 || access == VOLUME_READ)
                return r;
        volume = open_image(image, VOLUME_READ, &r); /* and it stays so */
        assert(r >= 0 && !volume->journal);
        Seen again = {.n = 0};
        check_content(volume, &again);
        assert(memcmp(seen->digests, again.digests, sizeof again.digests) == 0);
        (void) volume_close(volume);
        return 0;
}
