/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* -o passthrough: the kernel reads and writes large files itself, where it can (Linux 6.9) and fused permits it.
 *
 * The kernel wants all opens of an inode that overlap to be of one kind, and with one backing file. So the first decides; the
 * file is registered then, and given back after the last release. What cannot be had is served in the ordinary way. */

#include "mirror/mirror.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "channel.h"
#include "session/session.h"

#define WORTHWHILE_BYTES (256U << 10) /* a smaller file is read in the time that it takes to register it */
#define SKIP_MANY 64 /* opens, unless a file is given back before */

static struct {
        pthread_mutex_t lock; /* of n_open and backing_id of all nodes; held while one is registered */
        Channel *channel;     /* owned; NULL: not wanted, or not to be had */
        bool agreed;          /* with the kernel */
        unsigned n_skip;      /* opens to go before it is tried again: there were too many */
} passthrough = {.lock = PTHREAD_MUTEX_INITIALIZER};

void passthrough_init(void *userdata, const struct fuse_init_in *in, uint64_t offered, struct fuse_init_out *out) {
        /* The file system below takes set-user-id bits and capabilities from a file that is written, as we have no capability. The kernel need
         * not ask us for them before each write. */
        out->flags |= (uint32_t) offered & FUSE_HANDLE_KILLPRIV_V2;
        if (!passthrough.channel || !(offered & ABI_PASSTHROUGH))
                return;
        out->flags |= FUSE_INIT_EXT;
        out->flags2 |= (uint32_t) (ABI_PASSTHROUGH >> 32);
        abi_set_max_stack_depth(out, 1); /* files of an overlay are not to be had, but an overlay may be made of us */
        passthrough.agreed = true;
}

int passthrough_start(struct fuse_service *service) {
        int r = channel_new(service, &passthrough.channel);

        return r == -EOPNOTSUPP ? 0 : r;
}

void passthrough_done(void) {
        passthrough.channel = channel_free(passthrough.channel);
}

/* fused wants to be shown that we may read and write what it is to register; a file on a read-only tree, that we may read. */
static uint32_t enter(Node *node, int fd, int flags) {
        _cleanup_fd_ int both_fd = -EBADF;
        int access = flags & O_ACCMODE, r;
        uint32_t id = 0;

        if (access != O_RDWR) {
                both_fd = node_open(node, O_RDWR | O_NONBLOCK);
                if (both_fd < 0 && access == O_WRONLY)
                        return 0;
        }
        r = channel_backing_open(passthrough.channel, both_fd >= 0 ? both_fd : fd, CHANNEL_BACKING_PASSTHROUGH, &id);
        if (r == -ETIMEDOUT || r == -ECONNRESET || r == -EPIPE || r == -EOPNOTSUPP || r == -EPERM || r == -ENOTCONN)
                passthrough.agreed = false; /* for good: do without */
        if (r == -EDQUOT || r == -ENOBUFS)
                passthrough.n_skip = SKIP_MANY;
        return r < 0 ? 0 : id;
}

static bool worth_asking(void) {
        if (passthrough.n_skip > 0)
                passthrough.n_skip--;
        return passthrough.agreed && passthrough.n_skip == 0;
}

static bool worthwhile(int fd, int flags) {
        struct stat st;

        return (flags & O_ACCMODE) != O_RDONLY || (fstat(fd, &st) == 0 && st.st_size >= WORTHWHILE_BYTES);
}

static uint32_t opened(Node *node, int fd, int flags) {
        uint32_t id;

        (void) pthread_mutex_lock(&passthrough.lock);
        if (node->n_open++ == 0)
                node->backing_id = worth_asking() && worthwhile(fd, flags) ? enter(node, fd, flags) : 0;
        id = node->backing_id;
        (void) pthread_mutex_unlock(&passthrough.lock);
        return id;
}

void passthrough_closed(Node *node) {
        if (!passthrough.channel)
                return;
        (void) pthread_mutex_lock(&passthrough.lock);
        if (--node->n_open == 0 && node->backing_id != 0) {
                (void) channel_backing_close(passthrough.channel, node->backing_id);
                node->backing_id = 0;
                passthrough.n_skip = 0;
        }
        (void) pthread_mutex_unlock(&passthrough.lock);
}

static bool fill(Node *node, int fd, const struct fuse_file_info *fi, struct fuse_open_out *ret) {
        uint32_t id = passthrough.channel ? opened(node, fd, fi->flags) : 0;

        if (id == 0)
                return false;
        *ret = (struct fuse_open_out){.fh = fi->fh, .open_flags = ABI_FOPEN_PASSTHROUGH};
        abi_set_backing_id(ret, id);
        return true;
}

bool passthrough_reply_open(fuse_req_t req, Node *node, int fd, const struct fuse_file_info *fi, int *ret) {
        struct fuse_open_out out;

        if (!fill(node, fd, fi, &out))
                return false;
        *ret = fuse_reply_iov(req, &(struct iovec){&out, sizeof out}, 1);
        return true;
}

/* libfuse writes the entry; only the flags of an open are what it has no words for. */
bool passthrough_reply_create(fuse_req_t req, Node *node, int fd, const struct fuse_entry_param *entry, const struct fuse_file_info *fi, int *ret) {
        char named[sizeof(struct fuse_entry_out) + 64];
        struct fuse_open_out out;

        if (!fill(node, fd, fi, &out))
                return false;
        (void) fuse_add_direntry_plus(req, named, sizeof named, "x", entry, 0);
        const struct iovec vectors[] = {{named, sizeof(struct fuse_entry_out)}, {&out, sizeof out}};
        *ret = fuse_reply_iov(req, vectors, ELEMENTSOF(vectors));
        return true;
}
