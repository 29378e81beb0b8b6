/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names: looking up, making, moving, removing, listing. */

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mirror/mirror.h"

static void reply_entry(fuse_req_t req, Node *parent, const char *name) {
        struct fuse_entry_param entry;
        int r = node_lookup(req, parent, name, &entry);

        if (r == -ENOENT) { /* remembered as absent, for as long as names are */
                entry = (struct fuse_entry_param){.entry_timeout = mirror.timeout};
                fuse_reply_entry(req, &entry);
        } else if (r < 0)
                fuse_reply_err(req, -r);
        else if (fuse_reply_entry(req, &entry) == -ENOENT) /* interrupted: the kernel does not count it */
                node_forget(node_of(entry.ino), 1);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
        reply_entry(req, node_of(parent), name);
}

static void on_forget(fuse_req_t req, fuse_ino_t id, uint64_t n) {
        node_forget(node_of(id), n);
        fuse_reply_none(req);
}

static void on_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets) {
        for (size_t i = 0; i < count; i++)
                node_forget(node_of(forgets[i].ino), forgets[i].nlookup);
        fuse_reply_none(req);
}

static void finish_new(fuse_req_t req, int r, fuse_ino_t parent, const char *name) {
        if (r < 0)
                fuse_reply_err(req, -r);
        else
                reply_entry(req, node_of(parent), name);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) {
        finish_new(req, RET_NERRNO(mkdirat(node_of(parent)->fd, name, mode)), parent, name);
}

static void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device) {
        int r = S_ISBLK(mode) || S_ISCHR(mode) ? -EPERM : RET_NERRNO(mknodat(node_of(parent)->fd, name, mode, 0));

        finish_new(req, r, parent, name);
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name) {
        finish_new(req, RET_NERRNO(symlinkat(target, node_of(parent)->fd, name)), parent, name);
}

static void on_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t parent, const char *name) {
        _cleanup_fd_ int old_fd = -EBADF;
        char *old_name _cleanup_free_ = NULL;
        Node *node = node_of(id);
        struct stat st;
        int r = node_place(node, &old_fd, &old_name);

        if (r >= 0)
                r = RET_NERRNO(fstatat(old_fd, old_name, &st, AT_SYMLINK_NOFOLLOW));
        if (r >= 0 && (st.st_ino != node->inode || st.st_dev != node->device))
                r = -ESTALE; /* another file has its name by now */
        finish_new(req, r < 0 ? r : RET_NERRNO(linkat(old_fd, old_name, node_of(parent)->fd, name, 0)), parent, name);
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) {
        fuse_reply_err(req, unlinkat(node_of(parent)->fd, name, 0) < 0 ? errno : 0);
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name) {
        fuse_reply_err(req, unlinkat(node_of(parent)->fd, name, AT_REMOVEDIR) < 0 ? errno : 0);
}

static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name, unsigned flags) {
        Node *from = node_of(parent), *to = node_of(new_parent);
        /* no RENAME_WHITEOUT: it makes a device */
        int r = flags & ~(unsigned) (RENAME_NOREPLACE | RENAME_EXCHANGE) ? -EINVAL
                                                                         : RET_NERRNO(renameat2(from->fd, name, to->fd, new_name, flags));

        if (r >= 0)
                node_renamed(from, name, to, new_name, flags & RENAME_EXCHANGE);
        fuse_reply_err(req, -r);
}

static void on_readlink(fuse_req_t req, fuse_ino_t id) {
        char target[PATH_MAX + 1];
        ssize_t n = readlinkat(node_of(id)->fd, "", target, sizeof target);

        if (n < 0 || n == (ssize_t) sizeof target) {
                fuse_reply_err(req, n < 0 ? errno : ENAMETOOLONG);
                return;
        }
        target[n] = 0;
        fuse_reply_readlink(req, target);
}

/* ---- directories ---------------------------------------------------------------------------------------------------- */

typedef struct Directory {
        DIR *stream; /* owned */
        pthread_mutex_t lock; /* parallel readdirs of one open directory */
        struct dirent *entry; /* read, not sent yet */
        off_t offset;
} Directory;

static void directory_free(Directory *directory) {
        (void) closedir(directory->stream);
        (void) pthread_mutex_destroy(&directory->lock);
        free(directory);
}

static void on_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
        Directory *directory = calloc(1, sizeof *directory);
        int fd = directory ? node_open(node_of(id), O_RDONLY | O_DIRECTORY) : -ENOMEM;

        if (fd >= 0 && !(directory->stream = fdopendir(fd))) {
                int r = -errno;
                (void) fd_close(fd);
                fd = r;
        }
        if (fd < 0) {
                free(directory);
                fuse_reply_err(req, -fd);
                return;
        }
        (void) pthread_mutex_init(&directory->lock, NULL);
        fi->fh = (uint64_t) (uintptr_t) directory;
        if (fuse_reply_open(req, fi) == -ENOENT) /* interrupted: there will be no release */
                directory_free(directory);
}

static void on_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
        directory_free((Directory *) (uintptr_t) fi->fh);
        fuse_reply_err(req, 0);
}

/* Adds one entry to the buffer; returns its size, or 0 if there is no room. "." and ".." and whatever cannot be looked up just
 * now go without a reference. */
static size_t add_entry(fuse_req_t req, Node *parent, const struct dirent *entry, bool plus, char *buffer, size_t size) {
        struct fuse_entry_param param = {.attr = {.st_ino = entry->d_ino, .st_mode = (mode_t) entry->d_type << 12}};
        bool dot = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        size_t n;

        if (!plus) {
                n = fuse_add_direntry(req, buffer, size, entry->d_name, &param.attr, entry->d_off);
                return n > size ? 0 : n;
        }
        if (!dot && node_lookup(req, parent, entry->d_name, &param) < 0)
                param.ino = 0;
        n = fuse_add_direntry_plus(req, buffer, size, entry->d_name, &param, entry->d_off);
        if (n <= size)
                return n;
        if (param.ino)
                node_forget(node_of(param.ino), 1);
        return 0;
}

static void list(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *fi, bool plus) {
        Directory *directory = (Directory *) (uintptr_t) fi->fh;
        char *buffer _cleanup_free_ = malloc(size);
        size_t have = 0;
        int r = buffer ? 0 : -ENOMEM;

        (void) pthread_mutex_lock(&directory->lock);
        if (offset != directory->offset) {
                seekdir(directory->stream, offset);
                directory->entry = NULL;
                directory->offset = offset;
        }
        while (r >= 0) {
                if (!directory->entry) {
                        errno = 0;
                        directory->entry = readdir(directory->stream);
                        if (!directory->entry) {
                                r = -errno;
                                break;
                        }
                }
                off_t next = directory->entry->d_off;
                size_t n = add_entry(req, node_of(id), directory->entry, plus, buffer + have, size - have);
                if (n == 0)
                        break;
                have += n;
                directory->entry = NULL;
                directory->offset = next;
        }
        (void) pthread_mutex_unlock(&directory->lock);
        if (r < 0 && have == 0)
                fuse_reply_err(req, -r);
        else
                fuse_reply_buf(req, buffer, have);
}

static void on_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *fi) {
        list(req, id, size, offset, fi, /* plus= */ false);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *fi) {
        list(req, id, size, offset, fi, /* plus= */ true);
}

static void on_fsyncdir(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi) {
        int fd = dirfd(((Directory *) (uintptr_t) fi->fh)->stream);

        fuse_reply_err(req, (datasync ? fdatasync(fd) : fsync(fd)) < 0 ? errno : 0);
}

void mirror_name_operations(struct fuse_lowlevel_ops *operations) {
        operations->lookup = on_lookup;
        operations->forget = on_forget;
        operations->forget_multi = on_forget_multi;
        operations->mkdir = on_mkdir;
        operations->mknod = on_mknod;
        operations->symlink = on_symlink;
        operations->link = on_link;
        operations->unlink = on_unlink;
        operations->rmdir = on_rmdir;
        operations->rename = on_rename;
        operations->readlink = on_readlink;
        operations->opendir = on_opendir;
        operations->releasedir = on_releasedir;
        operations->readdir = on_readdir;
        operations->readdirplus = on_readdirplus;
        operations->fsyncdir = on_fsyncdir;
}
