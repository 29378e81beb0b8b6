/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* fused-mirror: a directory tree again. It is handed the tree as a descriptor (an idmapped clone, on which the caller's files are
 * its own) and has no other way to any file: no /proc, no root but its sandbox.
 *
 * A node is one inode that the kernel knows, held by an O_PATH descriptor, so that it stays itself when its name is gone. To
 * open it, its parent and last name are used and the result is compared. Descriptors are limited (OpenFiles= of the type): above
 * three quarters of the limit the kernel is asked to forget the names that were looked up longest ago. */

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>

#include "base/fd.h"

typedef struct Node {
        int fd;            /* owned: O_PATH */
        int open_fd;       /* borrowed from whoever opened it last, or -EBADF: a way to it when its name is gone */
        dev_t device;
        ino_t inode;
        uint64_t n_lookup; /* references that the kernel holds */
        unsigned n_ref;    /* ours: children, and requests that are using it */
        struct Node *parent; /* a reference; NULL for the root */
        char *name;        /* owned: last name in parent; NULL for the root */
        struct Node *next; /* of the hash chain */
        struct Node *older, *newer; /* by last lookup */
        unsigned n_open;   /* with -o passthrough, see passthrough.c: opens that are not released yet */
        uint32_t backing_id; /* likewise: 0: ordinary */
} Node;

#define NODE_BUCKETS 4096

typedef struct Mirror {
        pthread_mutex_t lock; /* of everything about nodes but the root's constants */
        pthread_cond_t crowded, crowded_pause;
        Node root;
        Node *buckets[NODE_BUCKETS];
        Node *oldest, *newest;
        size_t n_nodes, n_nodes_high;
        struct fuse_session *session;
        bool stopping;
        bool has_owner;       /* -o owner=UID:GID: whose files they are; else the user who asks */
        uid_t own_uid, owner_uid;
        gid_t own_gid, owner_gid;
        double timeout;       /* seconds that names and attributes may be cached */
} Mirror;
extern Mirror mirror;

/* node.c */
Node *node_of(fuse_ino_t id);
fuse_ino_t node_id(const Node *node);
/* Looks a name up and counts a reference for the kernel. Fills the entry. 0 or negative errno. */
int node_lookup(fuse_req_t req, Node *parent, const char *name, struct fuse_entry_param *entry) _must_check_;
void node_forget(Node *node, uint64_t n);
/* Opens it by parent and name; -ESTALE if that is another file by now. The caller owns the descriptor. */
int node_open(Node *node, int flags) _must_check_;
/* The same for what needs no rights of its own (mode, times, extended attributes): a file that is open is reached without its
 * name too. */
int node_open_any(Node *node, int flags) _must_check_;
/* A file was opened; is about to be closed. */
void node_opened(Node *node, int fd);
void node_closing(Node *node, int fd);
/* openat() that waits a little when descriptors run out; never follows a link, never blocks on a FIFO. */
int node_open_at(int directory_fd, const char *name, int flags, mode_t mode) _must_check_;
bool node_is(int fd, const Node *node); /* the same file */
/* Its parent's descriptor and its name, for calls that take a path; both are the caller's. */
int node_place(Node *node, int *ret_parent_fd, char **ret_name) _must_check_;
void node_renamed(Node *old_parent, const char *old_name, Node *new_parent, const char *new_name, bool exchange);
void *node_trim_thread(void *unused);

/* passthrough.c: all without effect unless passthrough_start() was called. _start: while files are requested. _init: a hook of the session. */
struct fuse_init_in;
struct fuse_init_out;
struct fuse_service;
int passthrough_start(struct fuse_service *service) _must_check_;
void passthrough_done(void);
void passthrough_init(void *userdata, const struct fuse_init_in *in, uint64_t offered, struct fuse_init_out *out);
/* Replies if the kernel shall do this file's I/O: *ret is what libfuse's reply function says. To be called for each open, and
 * passthrough_closed() for each release or failed reply. */
bool passthrough_reply_open(fuse_req_t req, Node *node, int fd, const struct fuse_file_info *fi, int *ret);
bool passthrough_reply_create(fuse_req_t req, Node *node, int fd, const struct fuse_entry_param *entry, const struct fuse_file_info *fi, int *ret);
void passthrough_closed(Node *node);

/* attributes.c */
void show_owner(fuse_req_t req, struct stat *st);

void mirror_data_operations(struct fuse_lowlevel_ops *operations);
void mirror_name_operations(struct fuse_lowlevel_ops *operations);
void mirror_attribute_operations(struct fuse_lowlevel_ops *operations);
