/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Open files and their data. Moved by libfuse between the FUSE device and the file, spliced where it can. */

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mirror/mirror.h"

static void reply_open(fuse_req_t req, Node *node, int fd, struct fuse_file_info *fi) {
        int r;

        fi->fh = (uint64_t) fd;
        fi->direct_io = (fi->flags & O_DIRECT) != 0;
        node_opened(node, fd); /* before the reply: its release may follow at once */
        if (!passthrough_reply_open(req, node, fd, fi, &r))
                r = fuse_reply_open(req, fi);
        if (r == -ENOENT) { /* interrupted: there will be no release */
                passthrough_closed(node);
                node_closing(node, fd);
                (void) fd_close(fd);
        }
}

/* Blocking again: O_NONBLOCK was there against FIFOs. O_APPEND is the kernel's affair, which sends positions. */
static int settle(int fd) {
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        r = fd_set_nonblock(fd, false);
        return r;
}

static void on_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
        _cleanup_fd_ int fd = node_open(node_of(id), fi->flags & ~(O_NOFOLLOW | O_APPEND | O_DIRECT));
        int r = fd < 0 ? fd : settle(fd);

        if (r < 0)
                fuse_reply_err(req, -r);
        else
                reply_open(req, node_of(id), TAKE_FD(fd), fi);
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi) {
        _cleanup_fd_ int fd = -EBADF;
        struct fuse_entry_param entry;
        Node *directory = node_of(parent);
        int r;

        fd = node_open_at(directory->fd, name, (fi->flags & ~(O_APPEND | O_DIRECT)) | O_CREAT, mode);
        r = fd < 0 ? fd : settle(fd);
        if (r >= 0)
                r = node_lookup(req, directory, name, &entry);
        if (r >= 0 && !node_is(fd, node_of(entry.ino))) { /* exchanged between the two */
                node_forget(node_of(entry.ino), 1);
                r = -ESTALE;
        }
        if (r < 0) {
                fuse_reply_err(req, -r);
                return;
        }
        fi->fh = (uint64_t) fd;
        fi->direct_io = (fi->flags & O_DIRECT) != 0;
        node_opened(node_of(entry.ino), fd);
        if (!passthrough_reply_create(req, node_of(entry.ino), fd, &entry, fi, &r))
                r = fuse_reply_create(req, &entry, fi);
        if (r == -ENOENT) {
                passthrough_closed(node_of(entry.ino));
                node_closing(node_of(entry.ino), fd);
                node_forget(node_of(entry.ino), 1);
        } else
                (void) TAKE_FD(fd); /* until its release, which may be over by now */
}

static void on_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t position, struct fuse_file_info *fi) {
        struct fuse_bufvec buffer = FUSE_BUFVEC_INIT(size);

        buffer.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
        buffer.buf[0].fd = (int) fi->fh;
        buffer.buf[0].pos = position;
        fuse_reply_data(req, &buffer, FUSE_BUF_SPLICE_MOVE);
}

static void on_write_buf(fuse_req_t req, fuse_ino_t id, struct fuse_bufvec *from, off_t position, struct fuse_file_info *fi) {
        struct fuse_bufvec to = FUSE_BUFVEC_INIT(fuse_buf_size(from));

        to.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
        to.buf[0].fd = (int) fi->fh;
        to.buf[0].pos = position;
        ssize_t n = fuse_buf_copy(&to, from, 0);
        if (n < 0)
                fuse_reply_err(req, (int) -n);
        else
                fuse_reply_write(req, (size_t) n);
}

/* An error that the file system below keeps until the file is closed shows in a descriptor that is closed now. */
static void on_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
        int fd = fd_dup((int) fi->fh);

        if (fd == -EMFILE) /* none free: close() shall not fail for that, and fsync() tells as well */
                fuse_reply_err(req, 0);
        else
                fuse_reply_err(req, fd < 0 ? -fd : close(fd) < 0 ? errno : 0);
}

static void on_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
        passthrough_closed(node_of(id));
        node_closing(node_of(id), (int) fi->fh);
        (void) fd_close((int) fi->fh);
        fuse_reply_err(req, 0);
}

static void on_fsync(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi) {
        fuse_reply_err(req, (datasync ? fdatasync((int) fi->fh) : fsync((int) fi->fh)) < 0 ? errno : 0);
}

static void on_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t offset, off_t length, struct fuse_file_info *fi) {
        fuse_reply_err(req, fallocate((int) fi->fh, mode, offset, length) < 0 ? errno : 0);
}

static void on_lseek(fuse_req_t req, fuse_ino_t id, off_t offset, int whence, struct fuse_file_info *fi) {
        off_t r = lseek((int) fi->fh, offset, whence);

        if (r < 0)
                fuse_reply_err(req, errno);
        else
                fuse_reply_lseek(req, r);
}

static void on_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_offset,
                               struct fuse_file_info *to_fi, size_t length, int flags) {
        ssize_t n = copy_file_range((int) from_fi->fh, &from_offset, (int) to_fi->fh, &to_offset, length, (unsigned) flags);

        if (n < 0)
                fuse_reply_err(req, errno);
        else
                fuse_reply_write(req, (size_t) n);
}

void mirror_data_operations(struct fuse_lowlevel_ops *operations) {
        operations->open = on_open;
        operations->create = on_create;
        operations->read = on_read;
        operations->write_buf = on_write_buf;
        operations->flush = on_flush;
        operations->release = on_release;
        operations->fsync = on_fsync;
        operations->fallocate = on_fallocate;
        operations->lseek = on_lseek;
        operations->copy_file_range = on_copy_file_range;
}
