/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inodes: read, written, shown, freed; and the table of those that are in use. */

#include "ext4-map/volume.h"

#include <string.h>
#include <sys/sysmacros.h>

/* ---- times ---------------------------------------------------------------------------------------------------------- */

/* Two bits of the extra word widen the seconds, thirty are nanoseconds. Inodes of 128 bytes have none. */
static bool has_extra(const Inode *inode, size_t end) {
        return inode->i_extra_isize >= end - EXT2_GOOD_OLD_INODE_SIZE;
}
#define HAS(inode, field) has_extra(inode, offsetof(Inode, field) + sizeof (inode)->field)

static struct timespec decode(uint32_t seconds, uint32_t extra) {
        uint32_t nanoseconds = extra >> 2;

        return (struct timespec){.tv_sec = (int32_t) seconds + ((time_t) (extra & 3) << 32), .tv_nsec = nanoseconds < 1000000000 ? nanoseconds : 0};
}

static uint32_t encode_extra(const struct timespec *t) {
        return (uint32_t) (((t->tv_sec - (int32_t) t->tv_sec) >> 32) & 3) | (uint32_t) t->tv_nsec << 2;
}

/* The nearest that can be stored: without an extra word, times end where 31 bits do. */
static struct timespec fit(const struct timespec *t, bool wide) {
        const time_t min = INT32_MIN, max = wide ? INT32_MAX + (3LL << 32) : INT32_MAX;

        if (t->tv_sec > min && t->tv_sec < max)
                return *t;
        return (struct timespec){.tv_sec = t->tv_sec >= max ? max : min};
}

#define SET_TIME(inode, field, to)                                          \
        ({                                                                  \
                const bool _wide = HAS(inode, field##_extra);               \
                const struct timespec _t = fit(to, _wide);                  \
                (inode)->field = (uint32_t) _t.tv_sec;                      \
                if (_wide)                                                  \
                        (inode)->field##_extra = encode_extra(&_t);         \
        })

void inode_set_time(Inode *inode, InodeTime which, const struct timespec *to) {
        switch (which) {
        case INODE_ATIME:
                SET_TIME(inode, i_atime, to);
                break;
        case INODE_MTIME:
                SET_TIME(inode, i_mtime, to);
                break;
        case INODE_CTIME:
                SET_TIME(inode, i_ctime, to);
                break;
        case INODE_CRTIME:
                if (HAS(inode, i_crtime_extra))
                        SET_TIME(inode, i_crtime, to);
                break;
        }
}

/* The kernel's times, those of files whose writes it caches too, are of its coarse clock: by a finer one, what was written later would seem older. */
void inode_now(struct timespec *ret) {
        (void) clock_gettime(CLOCK_REALTIME_COARSE, ret);
}

void inode_touch(Inode *inode, unsigned which) {
        struct timespec now;

        inode_now(&now);
        for (unsigned bit = INODE_ATIME; bit <= INODE_CRTIME; bit <<= 1)
                if (which & bit)
                        inode_set_time(inode, (InodeTime) bit, &now);
}

/* ---- inodes --------------------------------------------------------------------------------------------------------- */

int inode_read(Volume *volume, ext2_ino_t ino, Inode *ret) {
        memset(ret, 0, sizeof *ret);
        return volume_error(volume, ext2fs_read_inode_full(volume->fs, ino, inode_small(ret), sizeof *ret), ino);
}

int inode_write(Volume *volume, ext2_ino_t ino, Inode *inode) {
        volume->is_dirty = true;
        return volume_error(volume, ext2fs_write_inode_full(volume->fs, ino, inode_small(inode), sizeof *inode), ino);
}

int inode_changed(Volume *volume, ext2_ino_t ino, unsigned times) {
        Inode inode;
        int r;

        r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        inode_touch(&inode, times);
        return inode_write(volume, ino, &inode);
}

uid_t inode_owner(const Inode *inode) {
        return (uid_t) inode->i_uid | (uid_t) inode->osd2.linux2.l_i_uid_high << 16;
}

gid_t inode_group(const Inode *inode) {
        return (gid_t) inode->i_gid | (gid_t) inode->osd2.linux2.l_i_gid_high << 16;
}

void inode_set_owner(Inode *inode, uid_t uid, gid_t gid) {
        inode->i_uid = (uint16_t) uid;
        inode->osd2.linux2.l_i_uid_high = (uint16_t) (uid >> 16);
        inode->i_gid = (uint16_t) gid;
        inode->osd2.linux2.l_i_gid_high = (uint16_t) (gid >> 16);
}

uint64_t inode_size(const Inode *inode) {
        return S_ISREG(inode->i_mode) || S_ISDIR(inode->i_mode) ? (uint64_t) inode->i_size_high << 32 | inode->i_size : inode->i_size;
}

static dev_t device_of(const Inode *inode) {
        uint32_t old = inode->i_block[0], new = inode->i_block[1];

        if (!S_ISBLK(inode->i_mode) && !S_ISCHR(inode->i_mode))
                return 0;
        return old ? makedev(old >> 8 & 0xff, old & 0xff) : makedev((new & 0xfff00) >> 8, (new & 0xff) | (new >> 12 & 0xfff00));
}

int inode_stat(Volume *volume, ext2_ino_t ino, const Inode *inode, struct stat *ret) {
        uint64_t blocks = inode->i_blocks;

        if (ext2fs_has_feature_huge_file(volume->fs->super)) {
                blocks |= (uint64_t) inode->osd2.linux2.l_i_blocks_hi << 32;
                if (inode->i_flags & EXT4_HUGE_FILE_FL)
                        blocks *= volume->block_size / 512;
        }
        if (inode_size(inode) > INT64_MAX)
                return volume_damaged(volume, ino, "an impossible size");
        *ret = (struct stat){
                .st_ino = ino,
                .st_mode = inode->i_mode,
                .st_nlink = inode->i_links_count,
                .st_uid = inode_owner(inode),
                .st_gid = inode_group(inode),
                .st_rdev = device_of(inode),
                .st_size = (off_t) inode_size(inode),
                .st_blksize = (blksize_t) volume->block_size,
                .st_blocks = (blkcnt_t) blocks,
                .st_atim = decode(inode->i_atime, HAS(inode, i_atime_extra) ? inode->i_atime_extra : 0),
                .st_mtim = decode(inode->i_mtime, HAS(inode, i_mtime_extra) ? inode->i_mtime_extra : 0),
                .st_ctim = decode(inode->i_ctime, HAS(inode, i_ctime_extra) ? inode->i_ctime_extra : 0),
        };
        return 0;
}

int inode_free(Volume *volume, ext2_ino_t ino) {
        bool has_blocks;
        Inode inode;
        int r;

        if (volume->read_only)
                return 0;
        r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        if (inode.i_links_count > 0)
                return 0;
        has_blocks = ext2fs_inode_has_valid_blocks2(volume->fs, inode_small(&inode));
        if (has_blocks)
                r = space_cut(volume, ino, &inode, 0, UINT64_MAX);
        if (r < 0)
                return r; /* e2fsck finds it: it has no name */
        if (ext2fs_file_acl_block(volume->fs, inode_small(&inode)))
                r = volume_error(volume, ext2fs_free_ext_attr(volume->fs, ino, &inode), ino);
        if (r < 0)
                return r;
        inode.i_dtime = (uint32_t) time(NULL);
        r = inode_write(volume, ino, &inode);
        ext2fs_inode_alloc_stats2(volume->fs, ino, -1, S_ISDIR(inode.i_mode));
        volume_inode_bitmap_changed(volume, ino);
        volume_tell_freed(volume);
        return r;
}

/* ---- nodes ---------------------------------------------------------------------------------------------------------- */

Node *node_find(Volume *volume, ext2_ino_t ino) {
        return (Node *) hash_find(&volume->nodes, ino);
}

Node *node_get(Volume *volume, ext2_ino_t ino) {
        Node *node = node_find(volume, ino);

        if (node)
                return node;
        node = calloc(1, sizeof *node);
        if (!node)
                return NULL;
        *node = (Node){.link.key = ino, .ino = ino};
        if (hash_add(&volume->nodes, &node->link) >= 0)
                return node;
        free(node);
        return NULL;
}

int node_outstanding(Node *node) {
        if (!node->outstanding)
                node->outstanding = calloc(1, sizeof *node->outstanding);
        return node->outstanding ? 0 : -ENOMEM;
}

static void outstanding_free(Outstanding *outstanding) {
        if (!outstanding)
                return;
        ranges_done(&outstanding->ahead);
        ranges_done(&outstanding->written);
        ranges_done(&outstanding->fresh);
        free(outstanding);
}

void node_tidy(Node *node) {
        const Outstanding *it = node->outstanding;

        if (!it || it->ahead.n > 0 || it->written.n > 0 || it->fresh.n > 0)
                return;
        outstanding_free(node->outstanding);
        node->outstanding = NULL;
}

static void node_drop(Volume *volume, Node *node) {
        (void) data_trim(volume, node);
        (void) node_settle(volume, node, NULL);
        (void) data_drop_fresh(volume, node);
        hash_remove(&volume->nodes, &node->link);
        if (node->unlinked && inode_free(volume, node->ino) < 0)
                volume_log(volume, "inode %u could not be given back", (unsigned) node->ino);
        data_keep_ahead(volume, node, 0, UINT64_MAX);
        outstanding_free(node->outstanding);
        free(node);
}

void node_forget(Volume *volume, ext2_ino_t ino, uint64_t n) {
        Node *node = node_find(volume, ino);

        if (!node)
                return;
        node->n_lookup -= MIN_OF(n, node->n_lookup);
        if (node->n_lookup == 0)
                node_drop(volume, node);
}

void node_forget_all(Volume *volume) {
        size_t cursor = 0;

        for (HashLink *link; (link = hash_any(&volume->nodes, &cursor));)
                node_drop(volume, (Node *) link);
}

int node_settle(Volume *volume, Node *node, Inode *inode) {
        Ranges *written = node->outstanding ? &node->outstanding->written : NULL;
        Inode own;
        int r = 0;

        if (!written || written->n == 0)
                return 0;
        if (!inode) {
                r = inode_read(volume, node->ino, &own);
                inode = &own;
        }
        while (r >= 0 && written->n > 0) {
                Range range = written->items[0];
                r = extents_convert(volume, node->ino, inode, range.first, range.last);
                if (r >= 0)
                        ranges_remove(written, range.first, range.last);
        }
        return r;
}
