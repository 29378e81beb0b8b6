/* SPDX-License-Identifier: GPL-2.0-only */
/* See variant.h. */

#include "variant.h"

#include <stddef.h>
#include <string.h>

static const struct {
        const char *name, *form;
} rows[_VARIANT_MAX] = {
        [VARIANT_NONE] = {"none", NULL},
        [VARIANT_B0] = {"b0", NULL},
        [VARIANT_B1] = {"b1", "b1"},
        [VARIANT_B2] = {"b2", "b2"},
        [VARIANT_B3] = {"b3", "b3"},
        [VARIANT_B4] = {"b4", "b3"},
        [VARIANT_B5] = {"b5", "b5"},
        [VARIANT_UNKNOWN] = {"unknown", NULL},
};

const char *variant_to_string(Variant variant) {
        return rows[variant].name;
}

const char *variant_form(Variant variant) {
        return rows[variant].form;
}

static const struct btf_type *skip_names(const struct btf *btf, __u32 id) {
        const struct btf_type *type = btf__type_by_id(btf, id);

        while (type && (btf_is_mod(type) || btf_is_typedef(type)))
                type = btf__type_by_id(btf, type->type);
        return type;
}

static const struct btf_type *member_prototype(const struct btf *btf, const struct btf_type *ops, const char *name) {
        const struct btf_member *members = btf_members(ops);
        const struct btf_type *type;

        for (int i = 0; i < btf_vlen(ops); i++)
                if (strcmp(btf__name_by_offset(btf, members[i].name_off), name) == 0) {
                        type = skip_names(btf, members[i].type);
                        if (type && btf_is_ptr(type))
                                type = skip_names(btf, type->type);
                        return type && btf_is_func_proto(type) ? type : NULL;
                }
        return NULL;
}

/* The name of the struct that the first argument points to; NULL: no pointer to a struct. */
static const char *handle_name(const struct btf *btf, const struct btf_type *handle) {
        if (!handle || !btf_is_ptr(handle))
                return NULL;
        handle = skip_names(btf, handle->type);
        return handle && (btf_is_struct(handle) || btf_is_fwd(handle)) ? btf__name_by_offset(btf, handle->name_off) : NULL;
}

Variant variant_of(const struct btf *btf) {
        const struct btf_type *prototype, *handle, *returned;
        const char *name;
        int id;

        id = btf__find_by_name_kind(btf, "fuse_iomap_bpf_ops", BTF_KIND_STRUCT);
        if (id < 0)
                return btf__find_by_name_kind(btf, "fuse_bpf_ops", BTF_KIND_STRUCT) >= 0 ? VARIANT_B0 : VARIANT_NONE;
        prototype = member_prototype(btf, btf__type_by_id(btf, (__u32) id), "iomap_begin");
        if (!prototype || btf_vlen(prototype) != 5) /* file, pos, count, opflags, out */
                return VARIANT_UNKNOWN;
        handle = skip_names(btf, btf_params(prototype)[0].type);
        returned = skip_names(btf, prototype->type);
        if (handle && btf_is_int(handle))
                return returned && btf_is_any_enum(returned) ? VARIANT_B2 : returned && btf_is_int(returned) ? VARIANT_B1 : VARIANT_UNKNOWN;
        name = handle_name(btf, handle);
        if (name && strcmp(name, "fuse_inode") == 0)
                return btf__find_by_name_kind(btf, "fuse_bpf_iomap_upsert_mappings", BTF_KIND_FUNC) >= 0 ? VARIANT_B4 : VARIANT_B3;
        if (name && strcmp(name, "fuse_bpf_inode") == 0 && btf__find_by_name_kind(btf, VARIANT_NODE_FUNCTION, BTF_KIND_FUNC) >= 0)
                return VARIANT_B5;
        return VARIANT_UNKNOWN;
}

Variant variant_of_kernel(int *ret_node_function) {
        struct btf *base = btf__load_vmlinux_btf(), *module = NULL;
        Variant variant;
        int id;

        if (!base)
                return VARIANT_NONE;
        variant = variant_of(base);
        if (variant == VARIANT_NONE) {
                module = btf__load_module_btf("fuse", base);
                if (module)
                        variant = variant_of(module);
        }
        id = btf__find_by_name_kind(module ? module : base, VARIANT_NODE_FUNCTION, BTF_KIND_FUNC);
        if (ret_node_function)
                *ret_node_function = id > 0 ? id : 0;
        btf__free(module);
        btf__free(base);
        return variant;
}
