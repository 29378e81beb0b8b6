/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kernel's FUSE interface, and what Debian 12's header (7.38) does not have of it, with the version that brought it
 * (include/uapi/linux/fuse.h). A kernel without one does not offer its flag in FUSE_INIT. */

#include <linux/fuse.h>
#include <sys/ioctl.h>

#include "base/macro.h"

#define ABI_DIRECT_IO_ALLOW_MMAP (1ULL << 36) /* 7.39 */
#define ABI_PASSTHROUGH (1ULL << 37)          /* 7.40 */
#define ABI_NOTIFY_PRUNE 9                    /* 7.45, Linux 6.18: others refuse it with EINVAL */
#define ABI_FOPEN_PASSTHROUGH (1U << 7)       /* 7.40: fuse_open_out.backing_id is valid */

/* struct fuse_init_out of 7.40 has max_stack_depth in the first of the unused words, struct fuse_open_out backing_id where padding was. By
 * their places: headers that have them call them by their names. */
static inline void abi_set_max_stack_depth(struct fuse_init_out *out, uint32_t depth) {
        __builtin_memcpy((char *) out + 36, &depth, sizeof depth);
}

static inline uint32_t abi_max_stack_depth(const struct fuse_init_out *out) {
        uint32_t depth;

        __builtin_memcpy(&depth, (const char *) out + 36, sizeof depth);
        return depth;
}

static inline void abi_set_backing_id(struct fuse_open_out *out, uint32_t id) {
        __builtin_memcpy((char *) out + 12, &id, sizeof id);
}

/* struct fuse_notify_prune_out, and what follows it: nodes that the kernel is to forget if nobody uses them. */
typedef struct AbiPrune {
        uint32_t count, padding;
        uint64_t spare;
        uint64_t nodeids[];
} AbiPrune;

#ifndef FUSE_DEV_IOC_MAGIC
#define FUSE_DEV_IOC_MAGIC 229
#endif

/* Flags of a FUSE_INIT request or answer: the second word counts only with FUSE_INIT_EXT. */
static inline uint64_t abi_init_flags(uint32_t flags, uint32_t flags2) {
        return flags | (flags & FUSE_INIT_EXT ? (uint64_t) flags2 << 32 : 0);
}
