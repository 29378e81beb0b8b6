/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Nodes: which inodes the kernel knows, and how each is reached. See mirror.h. */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mirror/mirror.h"

#define CROWDED_WAITS 100 /* of a millisecond each */

Mirror mirror = {.lock = PTHREAD_MUTEX_INITIALIZER,
                 .crowded = PTHREAD_COND_INITIALIZER,
                 .crowded_pause = PTHREAD_COND_INITIALIZER,
                 .root = {.fd = -EBADF, .open_fd = -EBADF},
                 .timeout = 1.0};

Node *node_of(fuse_ino_t id) {
        return id == FUSE_ROOT_ID ? &mirror.root : (Node *) (uintptr_t) id;
}

fuse_ino_t node_id(const Node *node) {
        return node == &mirror.root ? FUSE_ROOT_ID : (fuse_ino_t) (uintptr_t) node;
}

static Node **bucket_of(dev_t device, ino_t inode) {
        uint64_t hash = (inode * 0x9e3779b97f4a7c15ULL) ^ (device * 0xc2b2ae3d27d4eb4fULL);

        return &mirror.buckets[(hash >> 40) % NODE_BUCKETS];
}

/* ---- under the lock ------------------------------------------------------------------------------------------------- */

static void unlink_age(Node *node) {
        if (node->older)
                node->older->newer = node->newer;
        else if (mirror.oldest == node)
                mirror.oldest = node->newer;
        if (node->newer)
                node->newer->older = node->older;
        else if (mirror.newest == node)
                mirror.newest = node->older;
        node->older = node->newer = NULL;
}

static void make_newest(Node *node) {
        unlink_age(node);
        node->older = mirror.newest;
        if (mirror.newest)
                mirror.newest->newer = node;
        mirror.newest = node;
        if (!mirror.oldest)
                mirror.oldest = node;
}

static void node_put(Node *node);

static void node_destroy(Node *node) {
        Node **link = bucket_of(node->device, node->inode);

        while (*link != node)
                link = &(*link)->next;
        *link = node->next;
        unlink_age(node);
        mirror.n_nodes--;
        if (node->parent)
                node_put(node->parent);
        (void) fd_close(node->fd);
        free(node->name);
        free(node);
}

static void node_put(Node *node) {
        assert(node->n_ref > 0);
        if (--node->n_ref == 0 && node->n_lookup == 0 && node != &mirror.root)
                node_destroy(node);
}

static int set_place(Node *node, Node *parent, const char *name) {
        char *copy = strdup(name);
        Node *old = node->parent;

        if (!copy)
                return -ENOMEM;
        free(node->name);
        node->name = copy;
        parent->n_ref++;
        node->parent = parent;
        if (old)
                node_put(old);
        return 0;
}

/* fd is taken over. */
static int insert(int fd, const struct stat *st, Node *parent, const char *name, Node **ret) {
        Node **bucket = bucket_of(st->st_dev, st->st_ino), *node;
        int r;

        for (node = *bucket; node; node = node->next)
                if (node->inode == st->st_ino && node->device == st->st_dev)
                        break;
        if (node)
                (void) fd_close(fd); /* the one that is there serves as well */
        else {
                node = calloc(1, sizeof *node);
                if (!node) {
                        (void) fd_close(fd);
                        return -ENOMEM;
                }
                *node = (Node){.fd = fd, .open_fd = -EBADF, .device = st->st_dev, .inode = st->st_ino, .next = *bucket};
                *bucket = node;
                mirror.n_nodes++;
        }
        node->n_ref++; /* while its place is set */
        r = set_place(node, parent, name);
        if (r >= 0)
                node->n_lookup++;
        node->n_ref--;
        if (r < 0) {
                if (node->n_ref == 0 && node->n_lookup == 0)
                        node_destroy(node);
                return r;
        }
        make_newest(node);
        if (mirror.n_nodes > mirror.n_nodes_high)
                (void) pthread_cond_signal(&mirror.crowded);
        *ret = node;
        return 0;
}

/* ---- without it ----------------------------------------------------------------------------------------------------- */

/* When descriptors run out, the trimming thread is making room. */
int node_open_at(int directory_fd, const char *name, int flags, mode_t mode) {
        int fd;

        for (unsigned i = 0; i < CROWDED_WAITS; i++) {
                fd = RET_NERRNO(openat(directory_fd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, mode));
                if (fd != -EMFILE)
                        return fd;
                (void) pthread_cond_signal(&mirror.crowded);
                (void) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
        return -ENFILE;
}

int node_lookup(fuse_req_t req, Node *parent, const char *name, struct fuse_entry_param *entry) {
        _cleanup_fd_ int fd = -EBADF;
        struct stat st;
        Node *node;
        int r;

        if (strchr(name, '/') || strcmp(name, "..") == 0 || strcmp(name, ".") == 0)
                return -EINVAL; /* the kernel sends neither; nobody leaves the tree by them */
        fd = node_open_at(parent->fd, name, O_PATH, 0);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        (void) pthread_mutex_lock(&mirror.lock);
        r = insert(TAKE_FD(fd), &st, parent, name, &node);
        (void) pthread_mutex_unlock(&mirror.lock);
        if (r < 0)
                return r;
        show_owner(req, &st);
        *entry = (struct fuse_entry_param){.ino = node_id(node), .attr = st, .attr_timeout = mirror.timeout, .entry_timeout = mirror.timeout};
        return 0;
}

void node_forget(Node *node, uint64_t n) {
        (void) pthread_mutex_lock(&mirror.lock);
        if (node != &mirror.root) {
                assert(node->n_lookup >= n);
                node->n_lookup -= n;
                if (node->n_lookup == 0 && node->n_ref == 0)
                        node_destroy(node);
        }
        (void) pthread_mutex_unlock(&mirror.lock);
}

int node_place(Node *node, int *ret_parent_fd, char **ret_name) {
        int r = -ESTALE;

        (void) pthread_mutex_lock(&mirror.lock);
        if (node->parent) {
                *ret_name = strdup(node->name);
                *ret_parent_fd = *ret_name ? fd_dup(node->parent->fd) : -ENOMEM;
                r = MIN_OF(*ret_parent_fd, 0);
        }
        (void) pthread_mutex_unlock(&mirror.lock);
        return r; /* a name without a descriptor is freed by the caller's cleanup */
}

bool node_is(int fd, const Node *node) {
        struct stat st;

        return fstat(fd, &st) == 0 && st.st_ino == node->inode && st.st_dev == node->device;
}

int node_open(Node *node, int flags) {
        _cleanup_fd_ int parent_fd = -EBADF, fd = -EBADF;
        char *name _cleanup_free_ = NULL;
        int r;

        if (node == &mirror.root || (flags & O_DIRECTORY))
                return node_open_at(node->fd, ".", flags, 0);
        r = node_place(node, &parent_fd, &name);
        if (r < 0)
                return r;
        /* Nothing is done to the file before it is known to be the one: another may have its name by now. */
        fd = node_open_at(parent_fd, name, flags & ~(O_CREAT | O_EXCL | O_TRUNC), 0);
        if (fd < 0)
                return fd == -ENOENT ? -ESTALE : fd;
        if (!node_is(fd, node))
                return -ESTALE;
        if (flags & O_TRUNC) {
                r = RET_NERRNO(ftruncate(fd, 0));
                if (r < 0)
                        return r;
        }
        return TAKE_FD(fd);
}

void node_opened(Node *node, int fd) {
        (void) pthread_mutex_lock(&mirror.lock);
        node->open_fd = fd;
        (void) pthread_mutex_unlock(&mirror.lock);
}

void node_closing(Node *node, int fd) {
        (void) pthread_mutex_lock(&mirror.lock);
        if (node->open_fd == fd)
                node->open_fd = -EBADF;
        (void) pthread_mutex_unlock(&mirror.lock);
}

int node_open_any(Node *node, int flags) {
        int fd = node_open(node, flags);

        if (fd != -ESTALE)
                return fd;
        (void) pthread_mutex_lock(&mirror.lock); /* until it is duplicated, it may not be closed */
        if (node->open_fd >= 0)
                fd = fd_dup(node->open_fd);
        (void) pthread_mutex_unlock(&mirror.lock);
        return fd;
}

static Node *find_child(const Node *parent, const char *name) {
        for (Node *node = mirror.newest; node; node = node->older)
                if (node->parent == parent && strcmp(node->name, name) == 0)
                        return node;
        return NULL;
}

void node_renamed(Node *old_parent, const char *old_name, Node *new_parent, const char *new_name, bool exchange) {
        (void) pthread_mutex_lock(&mirror.lock);
        Node *moved = find_child(old_parent, old_name), *other = exchange ? find_child(new_parent, new_name) : NULL;
        if (moved)
                (void) set_place(moved, new_parent, new_name); /* without memory it gets ESTALE until it is looked up again */
        if (other)
                (void) set_place(other, old_parent, old_name);
        (void) pthread_mutex_unlock(&mirror.lock);
}

/* Asks the kernel to drop names, oldest first; it then forgets the inodes that nobody uses. Never under the lock, and never in a
 * request: the kernel may be waiting for one while it does so. */
void *node_trim_thread(void *unused) {
        size_t n_asked = 0;

        (void) pthread_mutex_lock(&mirror.lock);
        while (!mirror.stopping) {
                if (mirror.n_nodes <= mirror.n_nodes_high || !mirror.oldest) {
                        n_asked = 0;
                        (void) pthread_cond_wait(&mirror.crowded, &mirror.lock);
                        continue;
                }
                /* Once round, then a pause: what is in use cannot be forgotten, and asking again at once would only spin. */
                if (n_asked++ >= mirror.n_nodes) {
                        struct timespec until;
                        n_asked = 0;
                        (void) clock_gettime(CLOCK_REALTIME, &until);
                        until.tv_sec++;
                        (void) pthread_cond_timedwait(&mirror.crowded_pause, &mirror.lock, &until);
                        continue;
                }
                Node *node = mirror.oldest;
                fuse_ino_t parent = node->parent ? node_id(node->parent) : FUSE_ROOT_ID;
                char *name = node->name ? strdup(node->name) : NULL;
                make_newest(node);
                (void) pthread_mutex_unlock(&mirror.lock);
                if (name)
                        (void) fuse_lowlevel_notify_inval_entry(mirror.session, parent, name, strlen(name));
                free(name);
                (void) pthread_mutex_lock(&mirror.lock);
        }
        (void) pthread_mutex_unlock(&mirror.lock);
        return NULL;
}
