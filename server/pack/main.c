/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-pack-server: serves a pack, read-only. Names and attributes are read from the image, where a file's data is goes into a mapping program's
 * tables while the file is open; without a program, into the mapping cache. */

#define FUSE_USE_VERSION 312
#include "fused-map.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sanitizer.h"
#include "pack/image.h"
#include "program/extents.h"
#include "service.h"

#define TIMEOUT 86400.0 /* nothing ever changes */
#define PREPOPULATE_MAX 256 /* extents that go into the cache at open, where there is no program */
#define FILES 1024
#define EXTENTS 65536
#define SEGMENTS 4096

static struct {
        struct fused_map *map;
        PackImage image;
        ExtentTables *tables; /* owned; NULL: no program */
        pthread_mutex_t lock; /* of the tables and the counts */
        uint32_t *opens;      /* owned, by inode */
        char *source;         /* owned */
} own = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void fill_stat(uint64_t number, const PackInode *inode, struct stat *ret) {
        *ret = (struct stat){
                .st_ino = number,
                .st_mode = inode->mode,
                .st_nlink = inode->n_links,
                .st_uid = inode->uid,
                .st_gid = inode->gid,
                .st_rdev = inode->rdev,
                .st_size = (off_t) inode->size,
                .st_blksize = PACK_BLOCK,
                .st_blocks = (blkcnt_t) (inode->stored / 512), /* fewer than its size: cp(1) and tar(1) look for holes */
                .st_mtim = {.tv_sec = inode->mtime, .tv_nsec = inode->mtime_nsec},
        };
        ret->st_atim = ret->st_ctim = ret->st_mtim;
}

static int fill_entry(uint64_t number, struct fuse_entry_param *ret) {
        PackInode inode;
        int r = pack_inode(&own.image, number, &inode);

        if (r < 0)
                return r;
        *ret = (struct fuse_entry_param){.ino = number, .attr_timeout = TIMEOUT, .entry_timeout = TIMEOUT};
        fill_stat(number, &inode, &ret->attr);
        return 0;
}

/* ---- names ---------------------------------------------------------------------------------------------------------- */

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
        struct fuse_entry_param entry;
        PackInode inode;
        uint32_t number;
        int r;

        r = pack_inode(&own.image, parent, &inode);
        if (r >= 0)
                r = S_ISDIR(inode.mode) ? pack_lookup(&own.image, &inode, name, &number) : -ENOTDIR;
        if (r >= 0)
                r = fill_entry(number, &entry);
        if (r < 0)
                (void) fuse_reply_err(req, -r);
        else
                (void) fused_map_reply_entry(own.map, req, &entry, S_ISREG(entry.attr.st_mode));
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        PackInode inode;
        struct stat st;
        int r = pack_inode(&own.image, ino, &inode);

        if (r < 0) {
                (void) fuse_reply_err(req, -r);
                return;
        }
        fill_stat(ino, &inode, &st);
        (void) fused_map_reply_attr(own.map, req, &st, TIMEOUT, S_ISREG(inode.mode));
}

static void on_readlink(fuse_req_t req, fuse_ino_t ino) {
        char target[4096];
        const char *text;
        PackInode inode;
        int r = pack_inode(&own.image, ino, &inode);

        if (r >= 0)
                r = S_ISLNK(inode.mode) && inode.count < sizeof target ? pack_string(&own.image, inode.first, inode.count, &text) : -EINVAL;
        if (r < 0) {
                (void) fuse_reply_err(req, -r);
                return;
        }
        memcpy(target, text, inode.count);
        target[inode.count] = 0;
        (void) fuse_reply_readlink(req, target);
}

/* Position 0 is ".", 1 "..", then the entries. A name whose inode is damaged is listed, and fails when it is looked up; entries that are
 * damaged themselves fail the listing where they begin. */
static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus) {
        _cleanup_free_ char *buffer = malloc(size);
        PackInode inode;
        size_t used = 0;
        int r = pack_inode(&own.image, ino, &inode);

        if (r < 0 || !S_ISDIR(inode.mode) || !buffer) {
                (void) fuse_reply_err(req, r < 0 ? -r : !buffer ? ENOMEM : ENOTDIR);
                return;
        }
        for (uint64_t i = (uint64_t) off; i < inode.count + 2; i++) {
                struct fuse_entry_param entry = {.attr = {.st_ino = i == 0 ? ino : inode.parent, .st_mode = S_IFDIR}};
                char name[PACK_NAME_MAX + 1];
                PackEntry row;
                const char *text;
                size_t n;
                (void) snprintf(name, sizeof name, "%s", i == 0 ? "." : "..");
                if (i >= 2) {
                        r = pack_entry(&own.image, &inode, i - 2, &row, &text);
                        if (r < 0)
                                break;
                        if (fill_entry(row.inode, &entry) < 0)
                                entry = (struct fuse_entry_param){.attr.st_ino = row.inode};
                        memcpy(name, text, row.length);
                        name[row.length] = 0;
                }
                n = !plus ? fuse_add_direntry(req, buffer + used, size - used, name, &entry.attr, (off_t) i + 1)
                          : fused_map_add_direntry_plus(own.map, req, buffer + used, size - used, name, &entry, (off_t) i + 1,
                                                        S_ISREG(entry.attr.st_mode));
                if (n > size - used)
                        break;
                used += n;
        }
        if (r < 0 && used == 0)
                (void) fuse_reply_err(req, -r);
        else
                (void) fuse_reply_buf(req, buffer, used);
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi) {
        list(req, ino, size, off, /* plus= */ false);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi) {
        list(req, ino, size, off, /* plus= */ true);
}

static void on_statfs(fuse_req_t req, fuse_ino_t ino) {
        const struct statvfs st = {
                .f_bsize = PACK_BLOCK, .f_frsize = PACK_BLOCK, .f_blocks = own.image.super.n_blocks, .f_files = own.image.super.inodes.count,
                .f_namemax = PACK_NAME_MAX, .f_flag = ST_RDONLY};

        (void) fuse_reply_statfs(req, &st);
}

/* ---- extended attributes -------------------------------------------------------------------------------------------- */

/* The next of them at *at. 0: there are no more. */
static int next_xattr(const PackInode *inode, uint64_t *at, const char **ret_name, PackXattr *ret) {
        const char *data;
        int r;

        if (*at >= inode->xattrs_size)
                return 0;
        if (inode->xattrs_size - *at < sizeof *ret)
                return -EUCLEAN;
        r = pack_string(&own.image, inode->xattrs + *at, sizeof *ret, &data);
        if (r < 0)
                return r;
        memcpy(ret, data, sizeof *ret);
        *at += sizeof *ret;
        if (ret->name_size == 0 || ret->name_size > PACK_NAME_MAX || (uint64_t) ret->name_size + ret->value_size > inode->xattrs_size - *at)
                return -EUCLEAN;
        r = pack_string(&own.image, inode->xattrs + *at, (uint64_t) ret->name_size + ret->value_size, ret_name);
        *at += (uint64_t) ret->name_size + ret->value_size;
        return r < 0 ? r : 1;
}

static void reply_bytes(fuse_req_t req, const char *data, size_t used, size_t size) {
        if (size == 0)
                (void) fuse_reply_xattr(req, used);
        else if (used > size)
                (void) fuse_reply_err(req, ERANGE);
        else
                (void) fuse_reply_buf(req, data, used);
}

static void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size) {
        uint64_t at = 0;
        const char *text;
        PackInode inode;
        PackXattr x;
        int r = pack_inode(&own.image, ino, &inode);

        while (r >= 0 && (r = next_xattr(&inode, &at, &text, &x)) > 0)
                if (x.name_size == strlen(name) && memcmp(text, name, x.name_size) == 0)
                        return reply_bytes(req, text + x.name_size, x.value_size, size);
        (void) fuse_reply_err(req, r < 0 ? -r : ENODATA);
}

static void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size) {
        char names[65536];
        uint64_t at = 0;
        const char *text;
        size_t used = 0;
        PackInode inode;
        PackXattr x;
        int r = pack_inode(&own.image, ino, &inode);

        while (r >= 0 && (r = next_xattr(&inode, &at, &text, &x)) > 0 && used + x.name_size + 1 <= sizeof names) {
                memcpy(names + used, text, x.name_size);
                names[used + x.name_size] = 0;
                used += x.name_size + 1U;
        }
        if (r < 0)
                (void) fuse_reply_err(req, -r);
        else
                reply_bytes(req, names, used, size);
}

/* ---- data ----------------------------------------------------------------------------------------------------------- */

static int on_begin(void *userdata, const struct fused_map_request *request, struct fused_mapping *read, struct fused_mapping *write) {
        uint64_t after, start = 0, end;
        PackExtent extent;
        PackInode inode;
        int r;

        r = pack_inode(&own.image, request->nodeid, &inode);
        if (r >= 0)
                r = pack_find_extent(&own.image, &inode, request->pos, &after);
        if (r < 0)
                return r;
        if (request->opflags & FUSED_MAPPING_OP_CHANGES)
                return -EROFS;
        if (after > 0) {
                r = pack_extent(&own.image, &inode, after - 1, &extent);
                if (r < 0)
                        return r;
                start = extent.offset + extent.length;
                if (request->pos < start) {
                        *read = (struct fused_mapping){.offset = extent.offset, .length = extent.length, .addr = extent.addr,
                                                       .type = FUSED_MAPPING_MAPPED, .dev = 1};
                        return 0;
                }
        }
        end = MAX_OF(ALIGN_TO(inode.size, (uint64_t) PACK_BLOCK), request->pos / PACK_BLOCK * PACK_BLOCK + PACK_BLOCK);
        if (after < inode.count) {
                r = pack_extent(&own.image, &inode, after, &extent);
                if (r < 0)
                        return r;
                end = extent.offset;
        }
        *read = (struct fused_mapping){.offset = start, .length = end - start, .addr = FUSED_MAPPING_ADDR_NONE, .type = FUSED_MAPPING_HOLE};
        return 0;
}

static int on_start(void *userdata) {
        struct fused_map_table tables[] = {
                {.name = "files", .n_entries = FILES + 1}, {.name = "extents", .n_entries = EXTENTS}, {.name = "segments", .n_entries = SEGMENTS}};
        int r;

        r = fused_map_attach_program(own.map, "learned", tables, ELEMENTSOF(tables));
        if (r >= 0)
                r = extent_tables_new(tables[0].data, tables[0].n_available, tables[1].data, tables[1].n_available, tables[2].data,
                                      tables[2].n_available, &own.tables);
        if (r < 0 && r != -EOPNOTSUPP)
                fprintf(stderr, "fused-pack-server: no mapping program: %s\n", strerror(-r));
        return 0;
}

/* Into the program's tables, or the cache; if neither has room, on_begin() goes on answering. */
static int announce(uint64_t number, const PackInode *inode) {
        _cleanup_free_ struct extents_extent *extents = NULL;
        PackExtent extent;
        int r = 0;

        if (inode->count > EXTENTS || (!own.tables && inode->count > PREPOPULATE_MAX))
                return 0;
        extents = calloc(inode->count + 1, sizeof *extents);
        if (!extents)
                return -ENOMEM;
        for (uint64_t i = 0; i < inode->count && r >= 0; i++) {
                r = pack_extent(&own.image, inode, i, &extent);
                if (r < 0)
                        return r;
                extents[i] = (struct extents_extent){.offset = extent.offset, .length = extent.length, .addr = EXTENTS_PACK(1, extent.addr)};
                const struct fused_mapping mapping = {
                        .offset = extent.offset, .length = extent.length, .addr = extent.addr, .type = FUSED_MAPPING_MAPPED, .dev = 1};
                if (!own.tables)
                        (void) fused_map_upsert(own.map, number, &mapping, NULL);
        }
        if (own.tables && extent_tables_put(own.tables, number, ALIGN_TO(inode->size, (uint64_t) PACK_BLOCK), extents, (uint32_t) inode->count) >= 0)
                (void) fused_map_use_program(own.map, number, true);
        return 0;
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        PackInode inode;
        int r = pack_inode(&own.image, ino, &inode);

        if (r >= 0 && (fi->flags & O_ACCMODE) != O_RDONLY)
                r = -EROFS;
        if (r >= 0) {
                (void) pthread_mutex_lock(&own.lock);
                if (own.opens[ino - 1]++ == 0)
                        r = announce(ino, &inode);
                if (r < 0)
                        own.opens[ino - 1]--;
                (void) pthread_mutex_unlock(&own.lock);
        }
        if (r < 0)
                (void) fuse_reply_err(req, -r);
        else
                (void) fused_map_reply_open(own.map, req, fi);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        (void) pthread_mutex_lock(&own.lock);
        if (ino - 1 < own.image.super.inodes.count && own.opens[ino - 1] > 0 && --own.opens[ino - 1] == 0 && own.tables) {
                (void) fused_map_use_program(own.map, ino, false);
                extent_tables_remove(own.tables, ino);
        }
        (void) pthread_mutex_unlock(&own.lock);
        (void) fuse_reply_err(req, 0);
}

/* ---- running -------------------------------------------------------------------------------------------------------- */

static int on_word(void *data, const char *word, int key, struct fuse_args *rest) {
        if (key != FUSE_OPT_KEY_NONOPT || own.source)
                return 1;
        own.source = strdup(word);
        return own.source ? 0 : -1;
}

static int open_image(int fd) {
        uint64_t size;
        const char *why;
        int r;

        r = fd_size(fd, &size);
        if (r < 0)
                return r;
        r = pack_open(fd, size, &own.image, &why);
        if (r < 0) {
                fprintf(stderr, "fused-pack-server: %s\n", why);
                return r;
        }
        own.opens = calloc(own.image.super.inodes.count, sizeof *own.opens);
        return own.opens ? 0 : -ENOMEM;
}

static int run(struct fuse_service *service, struct fuse_args *args, void *userdata) {
        static const struct fuse_lowlevel_ops operations = {
                .lookup = on_lookup, .getattr = on_getattr, .readlink = on_readlink, .readdir = on_readdir, .readdirplus = on_readdirplus,
                .statfs = on_statfs, .getxattr = on_getxattr, .listxattr = on_listxattr, .open = on_open, .release = on_release};
        static const struct fused_map_operations map_operations = {.begin = on_begin, .start = on_start};
        const struct fused_map_config config = {.block_size = PACK_BLOCK, .read_only = true};
        _cleanup_fd_ int fd = -EBADF, direct_fd = -EBADF;
        struct fuse_cmdline_opts options = {0};
        int r;

        r = fuse_service_append_args(service, args);
        if (r < 0)
                return r;
        if (fuse_opt_parse(args, NULL, NULL, on_word) < 0 || fuse_service_parse_cmdline_opts(args, &options) < 0 || !own.source)
                return -EINVAL;
        fd = service_open(service, own.source, O_RDONLY);
        if (fd < 0)
                return fd;
        direct_fd = service_open(service, own.source, O_RDONLY | O_DIRECT);
        r = open_image(fd);
        if (r >= 0)
                r = fused_map_new(&own.map, service, args, &operations, sizeof operations, &map_operations, &config, NULL);
        if (r >= 0)
                r = fused_map_add_device(own.map, fd, 0);
        if (r >= 0) {
                if (direct_fd >= 0)
                        (void) fused_map_add_direct(own.map, 1, direct_fd);
                r = fused_map_run(own.map, &options);
        }
        pack_close(&own.image);
        fd = fd_close(fd);
        direct_fd = fd_close(direct_fd);
        fused_map_free(own.map); /* whoever unmounts may go on */
        own.tables = extent_tables_free(own.tables);
        free(own.opens);
        free(options.mountpoint);
        return r;
}

int main(int argc, char **argv) {
        int r = service_main("fused-pack-server", argc, argv, run, NULL);

        free(own.source);
        return r;
}
