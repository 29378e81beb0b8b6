/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a file system may have: which features are served, which make it read-only, and the names of those that are refused. */

#include "ext4-map/volume.h"

typedef struct Feature {
        uint32_t bit;
        const char *name;
} Feature;

static const Feature incompat_refused[] = {
        {EXT2_FEATURE_INCOMPAT_COMPRESSION, "compression"},
        {EXT3_FEATURE_INCOMPAT_JOURNAL_DEV, "journal_dev (it is a journal and no file system)"},
        {EXT4_FEATURE_INCOMPAT_MMP, "mmp (multiple mount protection)"},
        {EXT4_FEATURE_INCOMPAT_EA_INODE, "ea_inode"},
        {EXT4_FEATURE_INCOMPAT_DIRDATA, "dirdata"},
        {EXT4_FEATURE_INCOMPAT_INLINE_DATA, "inline_data"},
        {EXT4_FEATURE_INCOMPAT_ENCRYPT, "encrypt"},
        {EXT4_FEATURE_INCOMPAT_CASEFOLD, "casefold"},
};
#define INCOMPAT_SERVED                                                                                                        \
        (EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER | EXT2_FEATURE_INCOMPAT_META_BG | EXT3_FEATURE_INCOMPAT_EXTENTS | \
         EXT4_FEATURE_INCOMPAT_64BIT | EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT4_FEATURE_INCOMPAT_CSUM_SEED | EXT4_FEATURE_INCOMPAT_LARGEDIR)

static const Feature compat_read_only[] = {
        {EXT4_FEATURE_RO_COMPAT_HAS_SNAPSHOT, "snapshot"},
        {EXT4_FEATURE_RO_COMPAT_QUOTA, "quota"},
        {EXT4_FEATURE_RO_COMPAT_BIGALLOC, "bigalloc"},
        {EXT4_FEATURE_RO_COMPAT_REPLICA, "replica"},
        {EXT4_FEATURE_RO_COMPAT_READONLY, "read-only"},
        {EXT4_FEATURE_RO_COMPAT_PROJECT, "project"},
        {EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS, "shared_blocks"},
        {EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT, "orphan_present (run e2fsck -fy)"},
};
#define RO_COMPAT_SERVED                                                                                                   \
        (EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE | EXT4_FEATURE_RO_COMPAT_HUGE_FILE | \
         EXT4_FEATURE_RO_COMPAT_GDT_CSUM | EXT4_FEATURE_RO_COMPAT_DIR_NLINK | EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE | \
         EXT4_FEATURE_RO_COMPAT_METADATA_CSUM)

static const char *name_of(const Feature *rows, size_t n, uint32_t bits, char *unknown, size_t size) {
        for (size_t i = 0; i < n; i++)
                if (bits & rows[i].bit)
                        return rows[i].name;
        (void) snprintf(unknown, size, "0x%x", bits);
        return unknown;
}

const char *volume_why_not(const struct ext2_super_block *super, bool read_only, char *buffer, size_t size) {
        uint32_t incompat = ext2fs_le32_to_cpu(super->s_feature_incompat) & ~(uint32_t) INCOMPAT_SERVED;
        uint32_t ro_compat = ext2fs_le32_to_cpu(super->s_feature_ro_compat) & ~(uint32_t) RO_COMPAT_SERVED;
        const char *refused = NULL;
        char unknown[16];

        if (ext2fs_le16_to_cpu(super->s_magic) != EXT2_SUPER_MAGIC)
                return "not an ext2, ext3 or ext4 file system";
        if (incompat)
                refused = name_of(incompat_refused, ELEMENTSOF(incompat_refused), incompat, unknown, sizeof unknown);
        else if (ro_compat & EXT4_FEATURE_RO_COMPAT_VERITY)
                refused = "verity"; /* readable, but nobody would check a file's digests */
        if (refused) {
                (void) snprintf(buffer, size, "feature %s cannot be mapped", refused);
                return buffer;
        }
        if (ro_compat && !read_only) {
                (void) snprintf(buffer, size, "feature %s cannot be written: mount it with -o ro",
                                name_of(compat_read_only, ELEMENTSOF(compat_read_only), ro_compat, unknown, sizeof unknown));
                return buffer;
        }
        return NULL;
}
