/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* POSIX ACLs, as far as a file system has to know them: what a new file inherits, and how an ACL and a mode say the same. The kernel checks
 * them. The format is that of the attribute system.posix_acl_*: a version, then entries of 8 bytes. */

#include "ext4-map/volume.h"

#include <string.h>

typedef struct AclEntry {
        uint16_t tag;
        uint16_t perm;
        uint32_t id;
} AclEntry;

enum { TAG_USER_OBJ = 0x01, TAG_GROUP_OBJ = 0x04, TAG_MASK = 0x10, TAG_OTHER = 0x20 };
#define ACL_VERSION 2U
#define ENTRIES_MAX 256U

static int parse(const void *value, size_t size, AclEntry *entries, size_t *ret_n) {
        uint32_t version;

        if (size < 4 || (size - 4) % sizeof *entries != 0 || (size - 4) / sizeof *entries > ENTRIES_MAX)
                return -EINVAL;
        memcpy(&version, value, 4);
        if (ext2fs_le32_to_cpu(version) != ACL_VERSION)
                return -EOPNOTSUPP;
        *ret_n = (size - 4) / sizeof *entries;
        memcpy(entries, (const char *) value + 4, size - 4);
        return 0;
}

static AclEntry *find(AclEntry *entries, size_t n, uint16_t tag) {
        for (size_t i = 0; i < n; i++)
                if (ext2fs_le16_to_cpu(entries[i].tag) == tag)
                        return &entries[i];
        return NULL;
}

static mode_t bits_of(const AclEntry *entry) {
        return entry ? ext2fs_le16_to_cpu(entry->perm) & 7U : 0;
}

static mode_t mode_of(AclEntry *entries, size_t n) {
        const AclEntry *mask = find(entries, n, TAG_MASK);

        return bits_of(find(entries, n, TAG_USER_OBJ)) << 6 | bits_of(mask ? mask : find(entries, n, TAG_GROUP_OBJ)) << 3 |
               bits_of(find(entries, n, TAG_OTHER));
}

int acl_mode(const void *value, size_t size, mode_t *mode, bool *ret_is_mode) {
        AclEntry entries[ENTRIES_MAX];
        size_t n;
        int r;

        r = parse(value, size, entries, &n);
        if (r < 0)
                return r;
        if (!find(entries, n, TAG_USER_OBJ) || !find(entries, n, TAG_GROUP_OBJ) || !find(entries, n, TAG_OTHER))
                return -EINVAL;
        *mode = (*mode & ~(mode_t) 0777) | mode_of(entries, n);
        *ret_is_mode = n == 3;
        return 0;
}

/* What a mode speaks of: the owner, the mask or, without one, the group, and others. They get the mode's bits, or lose what it does not give. */
static void apply_mode(AclEntry *entries, size_t n, mode_t mode, bool restricts) {
        AclEntry *mask = find(entries, n, TAG_MASK);
        AclEntry *const parts[] = {find(entries, n, TAG_USER_OBJ), mask ? mask : find(entries, n, TAG_GROUP_OBJ), find(entries, n, TAG_OTHER)};

        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                if (parts[i]) {
                        uint16_t bits = ext2fs_cpu_to_le16((uint16_t) (mode >> (6 - 3 * i) & 7));
                        parts[i]->perm = restricts ? parts[i]->perm & bits : bits;
                }
}

/* The access ACL: the version that value begins with, and these entries. */
static int store_entries(Volume *volume, ext2_ino_t ino, const void *value, const AclEntry *entries, size_t n) {
        char buffer[4 + ENTRIES_MAX * sizeof *entries];

        memcpy(buffer, value, 4);
        memcpy(buffer + 4, entries, n * sizeof *entries);
        return xattr_store(volume, ino, "system.posix_acl_access", buffer, 4 + n * sizeof *entries);
}

int acl_inherit(Volume *volume, ext2_ino_t dir, ext2_ino_t ino, mode_t umask, mode_t *mode) {
        AclEntry entries[ENTRIES_MAX];
        void *value = NULL;
        size_t size, n;
        int r;

        r = xattr_get(volume, dir, "system.posix_acl_default", &value, &size);
        if (r == -ENODATA || r == -EUCLEAN) {
                *mode &= ~umask;
                return r == -ENODATA ? 0 : r;
        }
        if (r < 0)
                return r;
        r = parse(value, size, entries, &n);
        if (r >= 0 && S_ISDIR(*mode))
                r = xattr_store(volume, ino, "system.posix_acl_default", value, size);
        if (r >= 0) {
                apply_mode(entries, n, *mode, /* restricts= */ true);
                *mode = (*mode & ~(mode_t) 0777) | mode_of(entries, n);
                if (n > 3)
                        r = store_entries(volume, ino, value, entries, n);
        }
        (void) ext2fs_free_mem(&value);
        return r;
}

int acl_chmod(Volume *volume, ext2_ino_t ino, mode_t mode) {
        AclEntry entries[ENTRIES_MAX];
        void *value = NULL;
        size_t size, n;
        int r;

        r = xattr_get(volume, ino, "system.posix_acl_access", &value, &size);
        if (r < 0)
                return r == -ENODATA ? 0 : r;
        r = parse(value, size, entries, &n);
        if (r >= 0) {
                apply_mode(entries, n, mode, /* restricts= */ false);
                r = store_entries(volume, ino, value, entries, n);
        }
        (void) ext2fs_free_mem(&value);
        return r;
}
