/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a mapping has to keep: the rules by which the kernel's fuse-iomap checks what a server or a program says, in its newer, stricter
 * form, so that what passes here passes there. Pure. */

#define FUSE_USE_VERSION 312
#include "fused-map.h"

#include <errno.h>

typedef struct Kind {
        bool known;
        bool has_place;  /* device and address; else neither */
        bool no_flags;
        const char *(*allowed)(bool write, bool upsert); /* NULL: always; returns what is wrong */
} Kind;

static const char *allow_pure_overwrite(bool write, bool upsert) {
        return write ? NULL : "type PURE_OVERWRITE in the read half";
}

static const char *allow_retry(bool write, bool upsert) {
        return upsert ? "type RETRY_CACHE given to the cache" : NULL;
}

static const char *allow_nocache(bool write, bool upsert) {
        return upsert ? NULL : "type NOCACHE in an answer";
}

static const Kind kinds[] = {
        [FUSED_MAPPING_HOLE] = {.known = true},
        [FUSED_MAPPING_DELALLOC] = {.known = true},
        [FUSED_MAPPING_MAPPED] = {.known = true, .has_place = true},
        [FUSED_MAPPING_UNWRITTEN] = {.known = true, .has_place = true},
        [FUSED_MAPPING_INLINE] = {.known = true},
        [FUSED_MAPPING_NOCACHE] = {.known = true, .no_flags = true, .allowed = allow_nocache},
        [FUSED_MAPPING_RETRY_CACHE] = {.known = true, .no_flags = true, .allowed = allow_retry},
        [FUSED_MAPPING_PURE_OVERWRITE] = {.known = true, .no_flags = true, .allowed = allow_pure_overwrite},
};

static const char *check_range(const struct fused_mapping *m, uint64_t pos, uint32_t block_size, uint64_t max_bytes) {
        if (m->length == 0)
                return "length 0";
        if (m->offset % block_size != 0)
                return "offset that is no multiple of the block size";
        if (m->length % block_size != 0)
                return "length that is no multiple of the block size";
        if (m->offset + m->length < m->offset)
                return "offset and length that wrap";
        if (m->offset >= max_bytes)
                return "offset past the largest file";
        if (pos != UINT64_MAX && (pos < m->offset || pos - m->offset >= m->length))
                return "range that does not contain the position asked for";
        return NULL;
}

static const char *check_place(const struct fused_mapping *m, const Kind *kind) {
        if (!kind->has_place)
                return m->dev != 0 ? "device where the type has none" : m->addr != FUSED_MAPPING_ADDR_NONE ? "address where the type has none" : NULL;
        if (m->dev == 0)
                return "no device";
        if (m->addr == FUSED_MAPPING_ADDR_NONE)
                return "no address";
        if (m->addr + m->length < m->addr)
                return "address and length that wrap";
        return NULL;
}

int fused_mapping_check(const struct fused_mapping *mapping, bool write, bool upsert, uint64_t pos, uint32_t block_size,
                        uint64_t max_bytes, const char **ret_rule) {
        const Kind *kind = mapping->type < sizeof kinds / sizeof kinds[0] ? &kinds[mapping->type] : NULL;
        const char *rule = NULL;

        if (!kind || !kind->known)
                rule = "unknown type";
        if (!rule && kind->allowed)
                rule = kind->allowed(write, upsert);
        if (!rule && mapping->flags & ~FUSED_MAPPING_F_SETTABLE)
                rule = "unknown flags";
        if (!rule && kind->no_flags && mapping->flags)
                rule = "flags where the type has none";
        if (!rule)
                rule = check_range(mapping, pos, block_size, max_bytes);
        if (!rule)
                rule = check_place(mapping, kind);
        if (ret_rule)
                *ret_rule = rule;
        return rule ? -EUCLEAN : 0;
}
