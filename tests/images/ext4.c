/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ext4 without checksums for metadata: damage is believed, as far as the server believes anything. Extents in two levels, block maps, an
 * index of a directory, attributes within and outside of inodes. */

#include "images/images.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ext4-map/volume.h"

#define ALWAYS "c5f0a9de-6b1e-4ac3-9d1c-0f5d6d1c7a11" /* the same image each time, so that kept inputs mean what they meant */
#define NAMES_MAX 96U
#define VISITS_MAX 160U
#define DEPTH_MAX 5

const char *const image_name = "ext4";
const bool image_is_vouched_for = false;

typedef struct Names {
        ext2_ino_t inodes[NAMES_MAX];
        size_t n;
} Names;

typedef struct Walk {
        Volume *volume;
        Seen *seen;
        unsigned visits;
} Walk;

void image_make(Image *ret) {
        char directory[64], path[80];

        image_directory(directory);
        image_run("cd %s && mkdir -p tree/dir/sub tree/many && seq 2000 >tree/dir/text &&"
                  " ln tree/dir/text tree/hard && ln -s dir/text tree/soft &&"
                  " ln -s \"$(printf 'long%%.0s' $(seq 40))\" tree/slow && mkfifo tree/pipe &&"
                  " for i in $(seq 70); do : >tree/many/a-name-that-is-long-enough-to-fill-blocks-$i; done &&"
                  " for i in $(seq 30); do printf x | dd of=tree/dir/islands bs=1024 seek=$((i * 5)) conv=notrunc status=none; done &&"
                  " (setfattr -n user.large -v \"$(printf 'v%%.0s' $(seq 400))\" tree/dir/text 2>/dev/null || true) &&"
                  " mke2fs -q -F -t ext4 -b 1024 -N 160 -O ^metadata_csum,^has_journal,^resize_inode,^64bit -U " ALWAYS " -E hash_seed=" ALWAYS
                  " -d tree image 2M >/dev/null 2>&1", directory);
        (void) snprintf(path, sizeof path, "%s/image", directory);
        ret->n = 1;
        ret->fds[0] = image_load(path, &ret->sizes[0]);
        image_run("rm -rf %s", directory);
}

size_t image_areas(const Image *image, Area *ret, size_t n_max) {
        static const char zeroes[512];
        char sector[512];
        size_t n = 0;

        for (uint64_t at = 1024; at < image->sizes[0] && n < n_max; at += sizeof sector) /* what is not empty */
                if (pread(image->fds[0], sector, sizeof sector, (off_t) at) == sizeof sector && memcmp(sector, zeroes, sizeof sector) != 0)
                        ret[n++] = (Area){0, at, at + sizeof sector};
        return n;
}

void image_reseal(const Image *image) {}

static bool take_name(void *userdata, const char *name, ext2_ino_t ino, unsigned type, uint64_t next) {
        Names *names = userdata;

        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && names->n < NAMES_MAX)
                names->inodes[names->n++] = ino;
        return true;
}

static void write_to_file(Volume *volume, ext2_ino_t ino) {
        struct fused_mapping mapping = {0};
        uint64_t size;

        if (data_begin(volume, ino, 8192, 4096, FUSED_MAPPING_OP_WRITE, &mapping) >= 0)
                (void) !data_ioend(volume, ino, 8192, 4096, FUSED_IOEND_UNWRITTEN | FUSED_IOEND_APPEND, 0, &size);
        (void) !space_allocate(volume, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 65536, &size);
        (void) !space_allocate(volume, ino, 0, 1 << 18, 65536, &size);
        (void) !space_set_size(volume, ino, 5000);
        (void) !xattr_set(volume, ino, "user.q", "v", 1, 0, 0, 0);
        (void) !acl_chmod(volume, ino, 0640);
}

static void write_to_directory(Volume *volume, ext2_ino_t ino) {
        Maker maker = {.mode = S_IFREG | 0644};
        ext2_ino_t made;

        (void) !make_node(volume, ino, "new", &maker, &made);
        maker.mode = S_IFDIR | 0755;
        (void) !make_directory(volume, ino, "new directory", &maker, &made);
        (void) !make_rename(volume, ino, "new", ino, "other", 0);
        (void) !make_unlink(volume, ino, "other", false);
        (void) !make_unlink(volume, ino, "new directory", true);
}

static void map_file(Volume *volume, ext2_ino_t ino) {
        struct fused_mapping mapping = {0};
        uint64_t pos = 0;

        for (unsigned i = 0; i < 400 && pos < 1ULL << 32; i++) {
                if (data_begin(volume, ino, pos, 4096, 0, &mapping) < 0)
                        return;
                assert(mapping.length > 0 && mapping.offset <= pos && mapping.offset + mapping.length > pos);
                pos = mapping.offset + mapping.length;
        }
}

static void visit(Walk *walk, ext2_ino_t ino, int depth) {
        Volume *volume = walk->volume;
        char target[4096], *names = NULL;
        Names list = {.n = 0};
        struct stat st;
        Inode inode;
        size_t n;

        if (walk->visits++ >= VISITS_MAX || depth > DEPTH_MAX || (ino < 11 && ino != EXT2_ROOT_INO) || ino > volume->fs->super->s_inodes_count)
                return;
        if (inode_read(volume, ino, &inode) < 0 || inode_stat(volume, ino, &inode, &st) < 0)
                return;
        if (walk->seen->n < SEEN_MAX) {
                walk->seen->fine[walk->seen->n] = true;
                walk->seen->digests[walk->seen->n++] = image_mix(ino, &st.st_size, sizeof st.st_size);
        }
        (void) !xattr_list(volume, ino, true, &names, &n);
        free(names);
        if (S_ISLNK(inode.i_mode))
                (void) !make_readlink(volume, ino, target, sizeof target);
        if (S_ISREG(inode.i_mode)) {
                map_file(volume, ino);
                if (!volume->read_only)
                        write_to_file(volume, ino);
        }
        if (S_ISDIR(inode.i_mode)) {
                (void) !name_list(volume, ino, 0, take_name, &list);
                for (size_t i = 0; i < list.n; i++)
                        visit(walk, list.inodes[i], depth + 1);
                if (!volume->read_only)
                        write_to_directory(volume, ino);
        }
}

int image_walk(const Image *image, unsigned seed, Seen *seen) {
        static const VolumeHooks hooks;
        static Volume volume;
        int r;

        memset(&volume, 0, sizeof volume);
        r = volume_open(&volume, image->fds[0], seed % 3 == 1 ? VOLUME_READ : VOLUME_WRITE, &hooks, NULL);
        if (r >= 0) {
                Walk walk = {.volume = &volume, .seen = seen};
                visit(&walk, EXT2_ROOT_INO, 0);
                if (!volume.read_only)
                        (void) !volume_flush(&volume, false);
        }
        (void) volume_close(&volume);
        return r;
}
