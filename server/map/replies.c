/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replies with what libfuse 3.14 has no words for: attribute flags, flags of an open. Layouts are those of linux/fuse.h. */

#define FUSE_USE_VERSION 312
#include "map/map.h"

#include <string.h>
#include <sys/uio.h>

static void split_time(double seconds, uint64_t *ret_sec, uint32_t *ret_nsec) {
        double whole = seconds <= 0 ? 0 : seconds >= (double) INT64_MAX ? (double) (INT64_MAX / 2) : seconds;

        *ret_sec = (uint64_t) whole;
        *ret_nsec = (uint32_t) ((whole - (double) *ret_sec) * 1e9);
}

/* While the kernel writes back by itself, it knows a file's size better than the server. */
static void fill_attr(const struct fused_map *map, const struct stat *st, uint64_t ino, bool mapped, struct fuse_attr *ret) {
        *ret = (struct fuse_attr){
                .ino = st->st_ino ? st->st_ino : ino,
                .size = (uint64_t) st->st_size,
                .blocks = (uint64_t) st->st_blocks,
                .atime = (uint64_t) st->st_atim.tv_sec,
                .mtime = (uint64_t) st->st_mtim.tv_sec,
                .ctime = (uint64_t) st->st_ctim.tv_sec,
                .atimensec = (uint32_t) st->st_atim.tv_nsec,
                .mtimensec = (uint32_t) st->st_mtim.tv_nsec,
                .ctimensec = (uint32_t) st->st_ctim.tv_nsec,
                .mode = st->st_mode,
                .nlink = (uint32_t) st->st_nlink,
                .uid = st->st_uid,
                .gid = st->st_gid,
                .rdev = (uint32_t) st->st_rdev,
                .blksize = (uint32_t) st->st_blksize,
                .flags = mapped ? map->engine->attr_flags : 0,
        };
}

static int fill_entry(struct fused_map *map, const struct fuse_entry_param *entry, bool mapped, struct fuse_entry_out *ret) {
        *ret = (struct fuse_entry_out){.nodeid = entry->ino, .generation = entry->generation};
        split_time(entry->entry_timeout, &ret->entry_valid, &ret->entry_valid_nsec);
        split_time(entry->attr_timeout, &ret->attr_valid, &ret->attr_valid_nsec);
        fill_attr(map, &entry->attr, entry->ino, mapped, &ret->attr);
        if (!mapped || entry->ino == 0)
                return 0;
        return map_file_lookup(map->files, entry->ino, ret->attr.ino, (uint64_t) entry->attr.st_size, map_sync_errors(map));
}

static int reply(fuse_req_t req, const void *first, size_t n_first, const void *second, size_t n_second) {
        const struct iovec vectors[] = {{(void *) (uintptr_t) first, n_first}, {(void *) (uintptr_t) second, n_second}};

        return fuse_reply_iov(req, vectors, second ? 2 : 1);
}

static void fill_open(struct fused_map *map, const struct fuse_file_info *fi, struct fuse_open_out *ret) {
        *ret = (struct fuse_open_out){.fh = fi->fh};
        map->engine->open(map, fi, ret);
}

/* A lookup that could not be sent was none. */
static int undo_lookup(struct fused_map *map, uint64_t nodeid, bool mapped, int r) {
        if (r < 0 && mapped)
                map_file_forget(map->files, nodeid, 1);
        return r;
}

int fused_map_reply_entry(struct fused_map *map, fuse_req_t req, const struct fuse_entry_param *entry, bool mapped) {
        struct fuse_entry_out out;
        int r;

        r = fill_entry(map, entry, mapped, &out);
        if (r < 0)
                return fuse_reply_err(req, -r);
        return undo_lookup(map, entry->ino, mapped, reply(req, &out, sizeof out, NULL, 0));
}

int fused_map_reply_create(struct fused_map *map, fuse_req_t req, const struct fuse_entry_param *entry,
                           const struct fuse_file_info *fi, bool mapped) {
        struct fuse_entry_out out;
        struct fuse_open_out open;
        int r;

        r = fill_entry(map, entry, mapped, &out);
        if (r < 0)
                return fuse_reply_err(req, -r);
        fill_open(map, fi, &open);
        return undo_lookup(map, entry->ino, mapped, reply(req, &out, sizeof out, &open, sizeof open));
}

_Thread_local MapHeldAttr *map_held_attr;

int fused_map_reply_attr(struct fused_map *map, fuse_req_t req, const struct stat *st, double timeout, bool mapped) {
        MapHeldAttr *held = map_held_attr, own, *attr = held && !held->req ? held : &own;

        *attr = (MapHeldAttr){.req = req};
        split_time(timeout, &attr->out.attr_valid, &attr->out.attr_valid_nsec);
        fill_attr(map, st, (uint64_t) st->st_ino, mapped, &attr->out.attr);
        return attr == held ? 0 : map_send_attr(attr);
}

int map_send_attr(const MapHeldAttr *attr) {
        return reply(attr->req, &attr->out, sizeof attr->out, NULL, 0);
}

int fused_map_reply_open(struct fused_map *map, fuse_req_t req, const struct fuse_file_info *fi) {
        struct fuse_open_out out;

        fill_open(map, fi, &out);
        return reply(req, &out, sizeof out, NULL, 0);
}

/* struct fuse_direntplus: the entry, then the name, padded to 8 bytes. Only an entry that fits is a lookup. "." and ".." are none. */
size_t fused_map_add_direntry_plus(struct fused_map *map, fuse_req_t req, char *buffer, size_t size, const char *name,
                                   const struct fuse_entry_param *entry, off_t off, bool mapped) {
        size_t needed = fuse_add_direntry_plus(req, NULL, 0, name, entry, off);
        struct fuse_entry_out out;

        if (needed > size)
                return needed;
        (void) fuse_add_direntry_plus(req, buffer, size, name, entry, off);
        if (mapped && entry->ino != 0) {
                if (fill_entry(map, entry, mapped, &out) < 0)
                        return size + 1; /* comes with the next call */
                memcpy(buffer, &out, sizeof out);
        }
        return needed;
}
