/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The FUSE side of fused-ext4-map: low-level operations over volume.h, mappings through fused-map.h. A node's id is its inode number, but for the
 * root, which FUSE calls 1. */

#define FUSE_USE_VERSION 312
#include "ext4-map/volume.h"
#include "fused-map.h"

typedef struct Server {
        Volume volume;
        struct fused_map *map;
        double timeout; /* seconds that names and attributes may be cached: nobody else changes them */
} Server;
extern Server server;

static inline ext2_ino_t ino_of(fuse_ino_t id) {
        return id == FUSE_ROOT_ID ? EXT2_ROOT_INO : (ext2_ino_t) id;
}

static inline fuse_ino_t id_of(ext2_ino_t ino) {
        return ino == EXT2_ROOT_INO ? FUSE_ROOT_ID : ino;
}

void server_lock(void);
void server_unlock(void);

/* Fills the entry of an inode and counts a lookup. Locked. */
int server_entry(ext2_ino_t ino, struct fuse_entry_param *ret) _must_check_;
void server_name_operations(struct fuse_lowlevel_ops *operations);
void server_attribute_operations(struct fuse_lowlevel_ops *operations);
void server_flag_operations(struct fuse_lowlevel_ops *operations);
extern const struct fused_map_operations server_map_operations;
extern const VolumeHooks server_hooks;
