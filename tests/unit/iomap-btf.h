/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The type information of a kernel that has fuse-iomap: that of this one, and what each variant of fuse-iomap adds. Bound over
 * /sys/kernel/btf/vmlinux it makes libbpf go the whole way up to the kernel, which knows nothing of it and refuses. */

#include <stdio.h>
#include <unistd.h>

#include <bpf/btf.h>

#include "variant.h"

static int iomap_handle(struct btf *btf, Variant variant, int u64) {
        if (variant == VARIANT_B1 || variant == VARIANT_B2)
                return u64;
        int type = btf__add_struct(btf, variant == VARIANT_B5 ? "fuse_bpf_inode" : "fuse_inode", variant == VARIANT_B5 ? 0 : 16);
        if (variant != VARIANT_B5) /* not where a program's author thinks that it is */
                (void) btf__add_field(btf, "nodeid", u64, 64, 0);
        return btf__add_ptr(btf, type);
}

static void iomap_add_function(struct btf *btf, int handle, int u64, const char *name) {
        int prototype = btf__add_func_proto(btf, u64);

        (void) btf__add_func_param(btf, "inode", handle);
        (void) btf__add_func(btf, name, BTF_FUNC_STATIC, prototype);
}

static int iomap_out(struct btf *btf, int u64, int u32) {
        int u16 = btf__add_int(btf, "unsigned short of iomap", 2, 0), record = btf__add_struct(btf, "fuse_iomap_io", 32);

        (void) btf__add_field(btf, "offset", u64, 0, 0);
        (void) btf__add_field(btf, "length", u64, 64, 0);
        (void) btf__add_field(btf, "addr", u64, 128, 0);
        (void) btf__add_field(btf, "type", u16, 192, 0);
        (void) btf__add_field(btf, "flags", u16, 208, 0);
        (void) btf__add_field(btf, "dev", u32, 224, 0);
        int out = btf__add_struct(btf, "fuse_iomap_begin_out", 64);
        (void) btf__add_field(btf, "read", record, 0, 0);
        (void) btf__add_field(btf, "write", record, 256, 0);
        return btf__add_ptr(btf, out);
}

/* 0, or a negative errno. */
static int iomap_btf_write(Variant variant, const char *path) {
        struct btf *btf = btf__parse("/sys/kernel/btf/vmlinux", NULL);
        int u64, u32, s32, letter, returned, handle, out, begin, ops, common;

        if (!btf)
                return -1;
        u64 = btf__add_int(btf, "u64 of iomap", 8, 0);
        u32 = btf__add_int(btf, "u32 of iomap", 4, 0);
        s32 = btf__add_int(btf, "s32 of iomap", 4, BTF_INT_SIGNED);
        letter = btf__add_int(btf, "letter of iomap", 1, BTF_INT_CHAR);
        returned = s32;
        if (variant != VARIANT_B1) {
                returned = btf__add_enum(btf, "fuse_iomap_bpf_ret", 4);
                (void) btf__add_enum_value(btf, "FIB_FALLBACK", 0);
                (void) btf__add_enum_value(btf, "FIB_HANDLED", 1);
        }
        handle = iomap_handle(btf, variant, u64);
        if (variant == VARIANT_B4 || variant == VARIANT_B5)
                iomap_add_function(btf, handle, u64, "fuse_bpf_iomap_upsert_mappings");
        if (variant == VARIANT_B5)
                iomap_add_function(btf, handle, u64, "fuse_bpf_inode_nodeid");
        out = iomap_out(btf, u64, u32);
        begin = btf__add_func_proto(btf, returned);
        (void) btf__add_func_param(btf, "handle", handle);
        (void) btf__add_func_param(btf, "pos", u64);
        (void) btf__add_func_param(btf, "count", u64);
        (void) btf__add_func_param(btf, "opflags", u32);
        (void) btf__add_func_param(btf, "out", out);
        begin = btf__add_ptr(btf, begin);
        int name = btf__add_array(btf, u32, letter, 16);
        ops = btf__add_struct(btf, "fuse_iomap_bpf_ops", 56);
        (void) btf__add_field(btf, "iomap_begin", begin, 0, 0);
        (void) btf__add_field(btf, "iomap_end", begin, 64, 0); /* what these take does not matter here */
        (void) btf__add_field(btf, "iomap_ioend", begin, 128, 0);
        (void) btf__add_field(btf, "fuse_fd", s32, 192, 0);
        (void) btf__add_field(btf, "zeropad", u32, 224, 0);
        (void) btf__add_field(btf, "name", name, 256, 0);
        (void) btf__add_field(btf, "fc", btf__add_ptr(btf, 0), 384, 0);
        common = btf__find_by_name_kind(btf, "bpf_struct_ops_common_value", BTF_KIND_STRUCT);
        (void) btf__add_struct(btf, "bpf_struct_ops_fuse_iomap_bpf_ops", 128);
        (void) btf__add_field(btf, "common", common, 0, 0);
        (void) btf__add_field(btf, "data", ops, 512, 0);

        __u32 size = 0;
        const void *data = btf__raw_data(btf, &size);
        FILE *file = fopen(path, "we");
        int r = common > 0 && data && file && fwrite(data, 1, size, file) == size ? 0 : -1;
        if (file && fclose(file) != 0)
                r = -1;
        btf__free(btf);
        return r;
}
