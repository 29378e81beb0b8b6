/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The FUSE side of a striped volume: names, attributes, opens. */

#include "stripe/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT 3600.0

static int fill_stat(fuse_ino_t ino, struct stat *ret) {
        const StripeFile *file = server_file(ino);

        *ret = (struct stat){.st_ino = ino, .st_blksize = STRIPE_BLOCK};
        if (ino == ROOT) {
                ret->st_mode = S_IFDIR | 0755;
                ret->st_nlink = 2;
                ret->st_uid = server.uid;
                ret->st_gid = server.gid;
                return 0;
        }
        if (!file)
                return -ENOENT;
        ret->st_mode = S_IFREG | (file->mode & 07777);
        ret->st_nlink = !file->removed;
        ret->st_uid = file->uid;
        ret->st_gid = file->gid;
        ret->st_size = (off_t) file->size;
        ret->st_blocks = (blkcnt_t) (stripe_room(&server.volume, file) / 512);
        ret->st_mtim = stripe_timespec(file->mtime);
        ret->st_atim = ret->st_ctim = ret->st_mtim;
        return 0;
}

/* With the lock. Files that begin to be known begin with what is on the device. */
static void reply_entry(fuse_req_t req, uint32_t i, struct fuse_file_info *fi) {
        struct fuse_entry_param entry = {.ino = i + 2, .generation = server.volume.table.files[i].generation, .attr_timeout = TIMEOUT,
                                         .entry_timeout = TIMEOUT};

        (void) fill_stat(entry.ino, &entry.attr);
        if (fi)
                (void) fused_map_reply_create(server.map, req, &entry, fi, /* mapped= */ true);
        else
                (void) fused_map_reply_entry(server.map, req, &entry, /* mapped= */ true);
        server_tell_program(i);
}

/* ---- names and attributes ------------------------------------------------------------------------------------------- */

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
        (void) pthread_mutex_lock(&server.lock);
        int i = parent == ROOT ? stripe_find(&server.volume, name) : -ENOTDIR;
        if (i < 0)
                (void) fuse_reply_err(req, -i);
        else
                reply_entry(req, (uint32_t) i, NULL);
        (void) pthread_mutex_unlock(&server.lock);
}

static void reply_attr(fuse_req_t req, fuse_ino_t ino) {
        struct stat st;
        int r = fill_stat(ino, &st);

        if (r < 0)
                (void) fuse_reply_err(req, -r);
        else
                (void) fused_map_reply_attr(server.map, req, &st, TIMEOUT, ino != ROOT);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        (void) pthread_mutex_lock(&server.lock);
        reply_attr(req, ino);
        (void) pthread_mutex_unlock(&server.lock);
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int what, struct fuse_file_info *fi) {
        StripeFile *file;
        int r = 0;

        (void) pthread_mutex_lock(&server.lock);
        file = server_file(ino);
        if (!file)
                r = -EPERM; /* the directory has no place for it */
        if (r >= 0 && what & FUSE_SET_ATTR_SIZE)
                r = server_set_size(ino, (uint64_t) wanted->st_size);
        if (r >= 0) {
                if (what & FUSE_SET_ATTR_MODE)
                        file->mode = wanted->st_mode & 07777;
                if (what & FUSE_SET_ATTR_UID)
                        file->uid = wanted->st_uid;
                if (what & FUSE_SET_ATTR_GID)
                        file->gid = wanted->st_gid;
                if (what & FUSE_SET_ATTR_MTIME)
                        file->mtime = what & FUSE_SET_ATTR_MTIME_NOW ? server_now() : stripe_time(&wanted->st_mtim);
                server_changed((uint32_t) ino - 2);
                reply_attr(req, ino);
        } else
                (void) fuse_reply_err(req, -r);
        (void) pthread_mutex_unlock(&server.lock);
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi) {
        _cleanup_free_ char *buffer = malloc(size);
        size_t used = 0, n;
        struct stat st;

        if (ino != ROOT || !buffer) {
                (void) fuse_reply_err(req, ino != ROOT ? ENOTDIR : ENOMEM);
                return;
        }
        (void) pthread_mutex_lock(&server.lock);
        for (uint64_t i = (uint64_t) off; i < STRIPE_FILES_MAX + 2; i++) {
                const char *name = i == 0 ? "." : i == 1 ? ".." : server.volume.table.files[i - 2].name;
                if (!*name || (i >= 2 && server.volume.table.files[i - 2].removed))
                        continue;
                (void) fill_stat(i < 2 ? ROOT : i, &st);
                n = fuse_add_direntry(req, buffer + used, size - used, name, &st, (off_t) i + 1);
                if (n > size - used)
                        break;
                used += n;
        }
        (void) pthread_mutex_unlock(&server.lock);
        (void) fuse_reply_buf(req, buffer, used);
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi) {
        const struct fuse_ctx *ctx = fuse_req_ctx(req);

        (void) pthread_mutex_lock(&server.lock);
        int i = parent == ROOT ? stripe_add(&server.volume, name) : -ENOTDIR;
        if (i < 0)
                (void) fuse_reply_err(req, -i);
        else {
                StripeFile *file = &server.volume.table.files[i];
                file->mode = mode & 07777;
                file->uid = ctx->uid;
                file->gid = ctx->gid;
                file->mtime = server_now();
                server.opens[i] = 1;
                server.n_opens++;
                server_changed((uint32_t) i);
                reply_entry(req, (uint32_t) i, fi);
                (void) fused_map_set_size(server.map, (uint64_t) i + 2, 0); /* the number may have been another file's */
        }
        (void) pthread_mutex_unlock(&server.lock);
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) {
        (void) pthread_mutex_lock(&server.lock);
        int i = parent == ROOT ? stripe_find(&server.volume, name) : -ENOTDIR;
        while (i >= 0 && server.filling == (uint32_t) i + 2) {
                server_wait_filled((fuse_ino_t) i + 2);
                i = stripe_find(&server.volume, name);
        }
        if (i >= 0)
                i = server_remove((uint32_t) i);
        (void) pthread_mutex_unlock(&server.lock);
        (void) fuse_reply_err(req, i < 0 ? -i : 0);
}

static void on_statfs(fuse_req_t req, fuse_ino_t ino) {
        struct statvfs st = {
                .f_bsize = STRIPE_BLOCK, .f_frsize = 1UL << server.volume.shift, .f_files = STRIPE_FILES_MAX, .f_namemax = STRIPE_NAME_MAX};
        uint64_t used = 0;

        (void) pthread_mutex_lock(&server.lock);
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++) {
                used += server.volume.table.files[i].n_rows;
                st.f_ffree += !server.volume.table.files[i].name[0];
        }
        st.f_blocks = server.volume.n_rows * server.volume.n;
        st.f_bfree = st.f_bavail = (server.volume.n_rows - used) * server.volume.n;
        (void) pthread_mutex_unlock(&server.lock);
        (void) fuse_reply_statfs(req, &st);
}

/* ---- opens ---------------------------------------------------------------------------------------------------------- */

/* close(2) waits for it and is told what has come of it; so does whoever closes a file that was only read, if another has changed it. */
static void on_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        (void) fuse_reply_err(req, -server_save_file(ino));
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi) {
        (void) fuse_reply_err(req, -server_save_file(ino));
}

static void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi) {
        (void) fuse_reply_err(req, -server_save());
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        bool found;

        (void) pthread_mutex_lock(&server.lock);
        found = server_file(ino);
        if (found) {
                server.opens[ino - 2]++;
                server.n_opens++;
        }
        (void) pthread_mutex_unlock(&server.lock);
        if (found)
                (void) fused_map_reply_open(server.map, req, fi);
        else
                (void) fuse_reply_err(req, ESTALE);
}

/* There may be changes since it was closed: by a mapping. */
static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        int r = 0;

        (void) pthread_mutex_lock(&server.lock);
        if (server_file(ino) && server.opens[ino - 2] > 0) {
                server.opens[ino - 2]--;
                server.n_opens--;
                r = server_closed(ino);
        }
        (void) pthread_mutex_unlock(&server.lock);
        if (r >= 0)
                r = server_save_file(ino);
        if (r < 0)
                fprintf(stderr, "fused-stripe-server: the table of files could not be written: %s\n", strerror(-r));
        (void) fuse_reply_err(req, 0);
}

void server_name_operations(struct fuse_lowlevel_ops *operations) {
        operations->lookup = on_lookup;
        operations->getattr = on_getattr;
        operations->setattr = on_setattr;
        operations->readdir = on_readdir;
        operations->create = on_create;
        operations->unlink = on_unlink;
        operations->statfs = on_statfs;
        operations->open = on_open;
        operations->release = on_release;
        operations->flush = on_flush;
        operations->fsync = on_fsync;
        operations->fsyncdir = on_fsyncdir;
}
