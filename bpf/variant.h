/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Which of the interfaces that fuse-iomap has had for BPF this kernel has, told from its type information: by the struct
 * fuse_iomap_bpf_ops and what its iomap_begin takes and returns. Functions of a like name do not count: a stock kernel has
 * some that begin with fuse_iomap and are something else. */

#include <bpf/btf.h>

#define VARIANT_NODE_FUNCTION "fuse_bpf_inode_nodeid" /* the one function of the kernel's that a form calls */

typedef enum Variant {
        VARIANT_NONE, /* no fuse-iomap, or one without BPF */
        VARIANT_B0,   /* one for all mounts (struct fuse_bpf_ops): not used */
        VARIANT_B1,   /* node id as a number, returns an errno */
        VARIANT_B2,   /* node id as a number, returns an enum */
        VARIANT_B3,   /* struct fuse_inode */
        VARIANT_B4,   /* the same, and functions for the cache */
        VARIANT_B5,   /* an opaque handle, and a function for its node id */
        VARIANT_UNKNOWN, /* newer than all of these */
        _VARIANT_MAX,
} Variant;

Variant variant_of(const struct btf *btf);
/* Of the running kernel: of the module fuse if it is one. *ret_node_function (may be NULL): the number by which a loaded program calls
 * VARIANT_NODE_FUNCTION, 0: there is none. */
Variant variant_of_kernel(int *ret_node_function);
const char *variant_to_string(Variant variant);
/* The suffix of a program's struct_ops form and map for it: "b1", "b2", "b3", "b5"; NULL: no form fits. */
const char *variant_form(Variant variant);
