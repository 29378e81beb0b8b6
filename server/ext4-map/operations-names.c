/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FUSE: names. */

#include "ext4-map/server.h"

#include <dirent.h>
#include <string.h>

static bool is_mapped(const struct fuse_entry_param *entry) {
        return S_ISREG(entry->attr.st_mode);
}

int server_entry(ext2_ino_t ino, struct fuse_entry_param *ret) {
        Volume *volume = &server.volume;
        Inode inode;
        Node *node;
        int r;

        r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        *ret = (struct fuse_entry_param){
                .ino = id_of(ino), .generation = inode.i_generation, .attr_timeout = server.timeout, .entry_timeout = server.timeout};
        if (inode.i_mode == 0 || inode.i_links_count == 0 || (inode.i_mode & S_IFMT) == 0)
                return volume_damaged(volume, ino, "a name of an inode that is free");
        r = inode_stat(volume, ino, &inode, &ret->attr);
        if (r < 0)
                return r;
        node = node_get(volume, ino);
        if (!node)
                return -ENOMEM;
        node->n_lookup++;
        return 0;
}

static void forget_one(ext2_ino_t ino, uint64_t n) {
        server_lock();
        node_forget(&server.volume, ino, n);
        server_unlock();
}

/* A name was found or made: answered unlocked. */
static void reply_entry(fuse_req_t req, int r, const struct fuse_entry_param *entry) {
        if (r < 0)
                (void) fuse_reply_err(req, -r);
        else if (fused_map_reply_entry(server.map, req, entry, is_mapped(entry)) < 0) /* interrupted: the kernel does not count it */
                forget_one(ino_of(entry->ino), 1);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
        struct fuse_entry_param entry;
        ext2_ino_t ino;
        int r;

        server_lock();
        r = name_lookup(&server.volume, ino_of(parent), name, &ino);
        if (r >= 0)
                r = server_entry(ino, &entry);
        server_unlock();
        if (r == -ENOENT) { /* remembered as absent */
                entry = (struct fuse_entry_param){.entry_timeout = server.timeout};
                (void) fused_map_reply_entry(server.map, req, &entry, /* mapped= */ false);
        } else
                reply_entry(req, r, &entry);
}

static void on_forget(fuse_req_t req, fuse_ino_t id, uint64_t n) {
        forget_one(ino_of(id), n);
        fuse_reply_none(req);
}

static void on_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets) {
        server_lock();
        for (size_t i = 0; i < count; i++)
                node_forget(&server.volume, ino_of(forgets[i].ino), forgets[i].nlookup);
        server_unlock();
        fuse_reply_none(req);
}

/* ---- making --------------------------------------------------------------------------------------------------------- */

static Maker maker_of(fuse_req_t req, mode_t mode, dev_t device) {
        const struct fuse_ctx *caller = fuse_req_ctx(req);

        return (Maker){.uid = caller->uid, .gid = caller->gid, .mode = mode, .umask = caller->umask, .rdev = device};
}

static void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device) {
        const Maker maker = maker_of(req, mode, device);
        struct fuse_entry_param entry;
        ext2_ino_t ino;
        int r;

        server_lock();
        r = make_node(&server.volume, ino_of(parent), name, &maker, &ino);
        if (r >= 0)
                r = server_entry(ino, &entry);
        server_unlock();
        reply_entry(req, r, &entry);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) {
        const Maker maker = maker_of(req, mode | S_IFDIR, 0);
        struct fuse_entry_param entry;
        ext2_ino_t ino;
        int r;

        server_lock();
        r = make_directory(&server.volume, ino_of(parent), name, &maker, &ino);
        if (r >= 0)
                r = server_entry(ino, &entry);
        server_unlock();
        reply_entry(req, r, &entry);
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name) {
        const Maker maker = maker_of(req, S_IFLNK | 0777, 0);
        struct fuse_entry_param entry;
        ext2_ino_t ino;
        int r;

        server_lock();
        r = make_symlink(&server.volume, ino_of(parent), name, target, &maker, &ino);
        if (r >= 0)
                r = server_entry(ino, &entry);
        server_unlock();
        reply_entry(req, r, &entry);
}

static void on_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t parent, const char *name) {
        struct fuse_entry_param entry;
        int r;

        server_lock();
        r = make_link(&server.volume, ino_of(id), ino_of(parent), name);
        if (r >= 0)
                r = server_entry(ino_of(id), &entry);
        server_unlock();
        reply_entry(req, r, &entry);
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi) {
        const Maker maker = maker_of(req, mode | S_IFREG, 0);
        struct fuse_entry_param entry;
        ext2_ino_t ino;
        int r;

        server_lock();
        r = make_node(&server.volume, ino_of(parent), name, &maker, &ino);
        if (r >= 0)
                r = server_entry(ino, &entry);
        if (r >= 0 && (fi->flags & O_ACCMODE) != O_RDONLY)
                node_get(&server.volume, ino)->n_writers++;
        server_unlock();
        if (r < 0)
                (void) fuse_reply_err(req, -r);
        else if (fused_map_reply_create(server.map, req, &entry, fi, /* mapped= */ true) < 0)
                forget_one(ino, 1);
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) {
        server_lock();
        int r = make_unlink(&server.volume, ino_of(parent), name, /* directory= */ false);
        server_unlock();
        (void) fuse_reply_err(req, -r);
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name) {
        server_lock();
        int r = make_unlink(&server.volume, ino_of(parent), name, /* directory= */ true);
        server_unlock();
        (void) fuse_reply_err(req, -r);
}

static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name, unsigned flags) {
        server_lock();
        int r = make_rename(&server.volume, ino_of(parent), name, ino_of(new_parent), new_name, flags);
        server_unlock();
        (void) fuse_reply_err(req, -r);
}

static void on_readlink(fuse_req_t req, fuse_ino_t id) {
        char target[65536];

        server_lock();
        int r = make_readlink(&server.volume, ino_of(id), target, sizeof target);
        server_unlock();
        if (r < 0)
                (void) fuse_reply_err(req, -r);
        else
                (void) fuse_reply_readlink(req, target);
}

/* ---- listing -------------------------------------------------------------------------------------------------------- */

typedef struct Listing {
        fuse_req_t req;
        char *buffer; /* owned */
        size_t size, used;
        bool plus;
} Listing;

static mode_t mode_of_type(unsigned type) {
        static const mode_t modes[] = {[EXT2_FT_REG_FILE] = S_IFREG, [EXT2_FT_DIR] = S_IFDIR, [EXT2_FT_CHRDEV] = S_IFCHR, [EXT2_FT_BLKDEV] = S_IFBLK,
                                       [EXT2_FT_FIFO] = S_IFIFO,     [EXT2_FT_SOCK] = S_IFSOCK, [EXT2_FT_SYMLINK] = S_IFLNK};

        return type < ELEMENTSOF(modes) ? modes[type] : 0;
}

static bool list_name(void *userdata, const char *name, ext2_ino_t ino, unsigned type, uint64_t next) {
        Listing *listing = userdata;
        const struct stat st = {.st_ino = ino, .st_mode = mode_of_type(type)};
        size_t n = fuse_add_direntry(listing->req, listing->buffer + listing->used, listing->size - listing->used, name, &st, (off_t) next);

        if (n > listing->size - listing->used)
                return false;
        listing->used += n;
        return true;
}

/* Only what fits is a lookup; "." and ".." are none, and a name that cannot be shown has to be looked up to hear why. */
static bool list_entry(void *userdata, const char *name, ext2_ino_t ino, unsigned type, uint64_t next) {
        const struct ext2_super_block *super = server.volume.fs->super;
        Listing *listing = userdata;
        struct fuse_entry_param entry = {.attr = {.st_ino = ino, .st_mode = mode_of_type(type)}};
        bool looked_up = false;

        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && ino >= EXT2_FIRST_INODE(super) && ino <= super->s_inodes_count) {
                looked_up = server_entry(ino, &entry) >= 0;
                if (!looked_up)
                        entry = (struct fuse_entry_param){.attr = {.st_ino = ino, .st_mode = mode_of_type(type)}};
        }
        size_t n = fused_map_add_direntry_plus(server.map, listing->req, listing->buffer + listing->used, listing->size - listing->used, name, &entry,
                                               (off_t) next, looked_up && is_mapped(&entry));
        if (n > listing->size - listing->used) {
                if (looked_up)
                        node_forget(&server.volume, ino, 1);
                return false;
        }
        listing->used += n;
        return true;
}

static void list(fuse_req_t req, fuse_ino_t id, size_t size, off_t position, bool plus) {
        Listing listing = {.req = req, .size = size, .buffer = malloc(size), .plus = plus};
        int r = listing.buffer ? 0 : -ENOMEM;

        if (r >= 0) {
                server_lock();
                r = name_list(&server.volume, ino_of(id), (uint64_t) position, plus ? list_entry : list_name, &listing);
                server_unlock();
        }
        if (r < 0 && listing.used == 0)
                (void) fuse_reply_err(req, -r);
        else
                (void) fuse_reply_buf(req, listing.buffer, listing.used);
        free(listing.buffer);
}

static void on_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t position, struct fuse_file_info *fi) {
        list(req, id, size, position, /* plus= */ false);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t position, struct fuse_file_info *fi) {
        list(req, id, size, position, /* plus= */ true);
}

void server_name_operations(struct fuse_lowlevel_ops *operations) {
        operations->lookup = on_lookup;
        operations->forget = on_forget;
        operations->forget_multi = on_forget_multi;
        operations->mknod = on_mknod;
        operations->mkdir = on_mkdir;
        operations->symlink = on_symlink;
        operations->link = on_link;
        operations->create = on_create;
        operations->unlink = on_unlink;
        operations->rmdir = on_rmdir;
        operations->rename = on_rename;
        operations->readlink = on_readlink;
        operations->readdir = on_readdir;
        operations->readdirplus = on_readdirplus;
}
