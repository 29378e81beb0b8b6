/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model of the kernel: the connection. See model.h. */

#define FUSE_USE_VERSION 312
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/model.h"

#define PACKET_MAX (160U << 10)
#define WAIT_SECONDS 20
#define CACHE_DEFAULT (256U << 10) /* per tree */
#define CACHE_MIN 256U
#define CACHE_MAX (2U << 20)

void model_init(Model *model, const ModelConfig *config) {
        const struct timeval limit = {.tv_sec = WAIT_SECONDS};
        int pair[2];

        *model = (Model){.config = *config, .unique = 2, .block_size = 4096, .max_bytes = INT64_MAX,
                         .next_cookie = config->column == MODEL_R7 ? 5 : 1}; /* never what a server counts on */
        model->cache_bytes = config->cache_bytes ? config->cache_bytes : CACHE_DEFAULT;
        (void) pthread_mutex_init(&model->lock, NULL);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
        model->fd = pair[0];
        model->server_fd = pair[1];
}

void model_done(Model *model) {
        for (size_t i = 0; i < model->n_inodes; i++) {
                model_tree_free(&model->inodes[i].reads);
                model_tree_free(&model->inodes[i].writes);
        }
        for (size_t i = 0; i < model->n_disks; i++)
                free(model->disks[i].dirty);
        (void) fd_close(model->fd);
        (void) pthread_mutex_destroy(&model->lock);
}

/* ---- requests ------------------------------------------------------------------------------------------------------- */

static void send_request(Model *model, uint32_t opcode, uint64_t nodeid, const void *in, size_t in_size, const void *data, size_t data_size) {
        struct fuse_in_header header = {
                .len = (uint32_t) (sizeof header + in_size + data_size), .opcode = opcode, .unique = model->unique += 2, .nodeid = nodeid};
        struct iovec vectors[] = {{&header, sizeof header}, {(void *) (uintptr_t) in, in_size}, {(void *) (uintptr_t) data, data_size}};
        const struct msghdr message = {.msg_iov = vectors, .msg_iovlen = ELEMENTSOF(vectors)};

        assert_int_equal(sendmsg(model->fd, &message, MSG_NOSIGNAL), header.len);
}

void model_send(Model *model, uint32_t opcode, uint64_t nodeid, const void *in, size_t in_size) {
        send_request(model, opcode, nodeid, in, in_size, NULL, 0);
}

/* Notifications come between. */
ssize_t model_receive(Model *model, void *out, size_t out_size) {
        static uint8_t packet[PACKET_MAX];
        struct fuse_out_header header;
        ssize_t n;

        for (;;) {
                n = recv(model->fd, packet, sizeof packet, 0);
                assert_true(n >= (ssize_t) sizeof header);
                memcpy(&header, packet, sizeof header);
                assert_int_equal(header.len, n);
                if (header.unique != 0)
                        break;
                model->notify_result = model_notify(model, header.error, packet + sizeof header, (size_t) n - sizeof header);
        }
        assert_int_equal(header.unique, model->unique);
        n -= (ssize_t) sizeof header;
        assert_true(header.error <= 0 && header.error > -512);
        if (header.error < 0) {
                assert_int_equal(n, 0);
                return header.error;
        }
        if (out_size > 0)
                memcpy(out, packet + sizeof header, MIN_OF((size_t) n, out_size));
        return n;
}

ssize_t model_ask2(Model *model, uint32_t opcode, uint64_t nodeid, const void *in, size_t in_size, const void *data, size_t data_size,
                   void *out, size_t out_size) {
        send_request(model, opcode, nodeid, in, in_size, data, data_size);
        return model_receive(model, out, out_size);
}

ssize_t model_ask(Model *model, uint32_t opcode, uint64_t nodeid, const void *in, size_t in_size, void *out, size_t out_size) {
        return model_ask2(model, opcode, nodeid, in, in_size, NULL, 0, out, out_size);
}

/* ---- FUSE_INIT, CONFIG ---------------------------------------------------------------------------------------------- */

void model_send_init(Model *model) {
        uint64_t flags = 0x7ff7fffffffULL; /* all that Linux has, up to bit 42, but the reserved one */

        if (model->config.offers)
                flags |= K_INIT_IOMAP;
        const struct fuse_init_in in = {
                .major = 7, .minor = model->config.minor, .max_readahead = 131072, .flags = (uint32_t) flags, .flags2 = (uint32_t) (flags >> 32)};
        send_request(model, FUSE_INIT, 0, &in, sizeof in, NULL, 0);
}

int64_t model_offered_bytes(const Model *model) {
        return model->config.max_bytes ? model->config.max_bytes : INT64_MAX;
}

static int send_config(Model *model) {
        const IomapConfigIn in = {.flags = model->config.config_flags, .maxbytes = model_offered_bytes(model), .cache_maxbytes = CACHE_DEFAULT};
        ssize_t n = model_ask(model, K_CONFIG, 0, &in, sizeof in, &model->agreed, sizeof model->agreed);
        int r;

        if (n == -ENOSYS) {
                model->configured = true;
                return 0;
        }
        r = n < 0 ? (int) n : model_check_config(model, &model->agreed, (size_t) n);
        if (r < 0) {
                model->broken = true;
                return r;
        }
        model->agreed_size = (size_t) n;
        if (model->agreed.flags & K_CONFIG_BLOCKSIZE)
                model->block_size = model->agreed.s_blocksize;
        if (model->agreed.flags & K_CONFIG_MAXBYTES)
                model->max_bytes = (uint64_t) model->agreed.s_maxbytes;
        if (model->agreed.flags & K_CONFIG_CACHE_MAXBYTES && model->agreed.cache_maxbytes > 0 && model->config.cache_bytes == 0)
                model->cache_bytes = MIN_OF(model->agreed.cache_maxbytes, CACHE_MAX);
        model->cache_bytes = MAX_OF(model->cache_bytes, (uint64_t) CACHE_MIN);
        model->configured = true;
        return 0;
}

int model_start(Model *model) {
        ssize_t n = model_receive(model, &model->init, sizeof model->init);

        assert_int_equal(n, sizeof model->init);
        assert_int_equal(model->init.major, 7);
        /* With Linux's own minor the bit is another feature's, which this server has not. */
        if (model->config.minor != K_MINOR)
                assert_false(abi_init_flags(model->init.flags, model->init.flags2) & K_INIT_IOMAP);
        model->iomap = model->config.minor == K_MINOR && model->config.offers && !model->config.drops &&
                       abi_init_flags(model->init.flags, model->init.flags2) & K_INIT_IOMAP;
        return model->iomap ? send_config(model) : 0;
}

/* ---- inodes --------------------------------------------------------------------------------------------------------- */

/* The flags count when an inode is made, and only both of them, and only if the server has answered with the new minor. */
static ModelInode *instantiate(Model *model, const struct fuse_entry_out *entry) {
        const uint32_t both = K_ATTR_EXCLUSIVE | K_ATTR_IOMAP;
        ModelInode *inode;
        size_t at = model->n_inodes;

        assert_true(entry->nodeid != 0);
        for (size_t i = 0; i < model->n_inodes; i++) {
                if (model->inodes[i].nodeid == entry->nodeid)
                        return &model->inodes[i];
                if (model->inodes[i].nodeid == 0)
                        at = i;
        }
        assert_true(at < MODEL_INODES_MAX);
        (void) pthread_mutex_lock(&model->lock);
        model->n_inodes = MAX_OF(model->n_inodes, at + 1);
        inode = &model->inodes[at];
        *inode = (ModelInode){
                .nodeid = entry->nodeid, .ino = entry->attr.ino, .size = entry->attr.size, .disk_size = entry->attr.size,
                .iomap = model->iomap && !model->config.ignores_attr && model->init.minor >= K_MINOR && S_ISREG(entry->attr.mode) &&
                         (entry->attr.flags & both) == both,
        };
        (void) pthread_mutex_unlock(&model->lock);
        return inode;
}

/* Of an answer to OPEN or CREATE. */
static void opened(ModelInode *inode, const struct fuse_open_out *out) {
        assert_false(inode->iomap && out->open_flags & (ABI_FOPEN_PASSTHROUGH | FOPEN_STREAM | FOPEN_NONSEEKABLE)); /* would be refused */
        inode->fh = out->fh;
        inode->open_flags = out->open_flags;
}

ModelInode *model_create(Model *model, const char *name) {
        const struct fuse_create_in in = {.flags = O_RDWR, .mode = S_IFREG | 0600};
        ModelInode *inode;
        struct {
                struct fuse_entry_out entry;
                struct fuse_open_out open;
        } out;

        assert_int_equal(model_ask2(model, FUSE_CREATE, FUSE_ROOT_ID, &in, sizeof in, name, strlen(name) + 1, &out, sizeof out), sizeof out);
        inode = instantiate(model, &out.entry);
        opened(inode, &out.open);
        return inode;
}

ModelInode *model_lookup(Model *model, const char *name) {
        struct fuse_entry_out out;

        assert_int_equal(model_ask(model, FUSE_LOOKUP, FUSE_ROOT_ID, name, strlen(name) + 1, &out, sizeof out), sizeof out);
        return instantiate(model, &out);
}

static void evict(Model *model, ModelInode *inode) {
        (void) pthread_mutex_lock(&model->lock);
        model_tree_free(&inode->reads);
        model_tree_free(&inode->writes);
        *inode = (ModelInode){0};
        (void) pthread_mutex_unlock(&model->lock);
}

void model_forget(Model *model, ModelInode *inode) {
        const struct fuse_forget_in in = {.nlookup = 1};
        const uint64_t nodeid = inode->nodeid;

        evict(model, inode);
        send_request(model, FUSE_FORGET, nodeid, &in, sizeof in, NULL, 0);
}

void model_forget_both(Model *model, ModelInode *a, ModelInode *b) {
        const struct {
                struct fuse_batch_forget_in batch;
                struct fuse_forget_one ones[2];
        } in = {{.count = 2}, {{.nodeid = a->nodeid, .nlookup = 1}, {.nodeid = b->nodeid, .nlookup = 1}}};

        evict(model, a);
        evict(model, b);
        send_request(model, FUSE_BATCH_FORGET, 0, &in, sizeof in, NULL, 0);
}

/* Truncation is part of it only if that was agreed on. */
int model_open(Model *model, ModelInode *inode, uint32_t flags) {
        const bool at_once = model->init.flags & FUSE_ATOMIC_O_TRUNC;
        const struct fuse_open_in in = {.flags = at_once ? flags : flags & ~(uint32_t) O_TRUNC};
        struct fuse_open_out out;
        ssize_t n = model_ask(model, FUSE_OPEN, inode->nodeid, &in, sizeof in, &out, sizeof out);

        if (n < 0)
                return (int) n;
        assert_int_equal(n, sizeof out);
        opened(inode, &out);
        if (!(flags & O_TRUNC))
                return 0;
        if (!at_once)
                return model_truncate(model, inode, 0);
        inode->size = inode->disk_size = 0;
        (void) pthread_mutex_lock(&model->lock);
        model_cache_drop(inode, 0, UINT64_MAX);
        (void) pthread_mutex_unlock(&model->lock);
        return 0;
}

int model_release(Model *model, ModelInode *inode) {
        const struct fuse_flush_in flush = {.fh = inode->fh};
        const struct fuse_release_in release = {.fh = inode->fh, .flags = O_RDWR};
        ssize_t n = model_ask(model, FUSE_FLUSH, inode->nodeid, &flush, sizeof flush, NULL, 0);

        if (n < 0 && n != -ENOSYS)
                return (int) n;
        return (int) model_ask(model, FUSE_RELEASE, inode->nodeid, &release, sizeof release, NULL, 0);
}

int model_unlink(Model *model, const char *name) {
        return (int) model_ask(model, FUSE_UNLINK, FUSE_ROOT_ID, name, strlen(name) + 1, NULL, 0);
}

/* A file system that knows nothing of it is in sync; it is not asked again. */
int model_syncfs(Model *model) {
        const struct fuse_syncfs_in in = {0};
        ssize_t n;

        if (!model->iomap || model->no_syncfs)
                return 0;
        model->n_syncfs++;
        n = model_ask(model, FUSE_SYNCFS, FUSE_ROOT_ID, &in, sizeof in, NULL, 0);
        model->no_syncfs = n == -ENOSYS;
        return n == -ENOSYS ? 0 : n > 0 ? -EIO : (int) n;
}

int model_unmount(Model *model) {
        int r = model_syncfs(model);

        if (model->iomap) /* else nobody waits */
                assert_int_equal(model_ask(model, FUSE_DESTROY, 0, NULL, 0, NULL, 0), 0);
        return r;
}

void model_hang_up(Model *model) {
        (void) shutdown(model->fd, SHUT_RDWR);
}
