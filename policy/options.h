/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Mount options: one table from the words of users and servers to typed values, so that no option string ever reaches a
 * privileged process. Used by the manager (clients' and servers' words) and, for the numbers, by the broker. */

#include "policy/policy-table.h"

typedef struct MountOptions {
        uint32_t bits;     /* PolicyOption */
        uint32_t max_read; /* bytes, if the bit is set */
        uint32_t blksize;  /* bytes, if the bit is set */
} MountOptions;

typedef struct OptionRow {
        const char *name;   /* "noatime", or "max_read=" for one with a value */
        uint32_t set;       /* bits it sets */
        uint32_t clear;     /* bits it clears ("rw", "atime") */
        unsigned long ms_flag; /* MS_* of the service protocol's MOUNT packet, 0 if none */
        const char *fsconfig; /* key for fsconfig(2), NULL if it is a mount attribute or superblock flag */
        uint64_t attribute;   /* MOUNT_ATTR_* for fsmount(2), 0 if none */
} OptionRow;
extern const OptionRow option_rows[];
extern const size_t n_option_rows;

/* Parses one word. Returns 1 if it was known, 0 if it is not in the table (then it may be an option for the server),
 * -EINVAL if its value is bad. */
int mount_options_parse_word(const char *word, MountOptions *options) _must_check_;
/* MS_* bits to option bits; 0 or -EINVAL for a bit outside the table. NOSUID and NODEV are accepted and have no bit;
 * their absence sets POLICY_OPTION_SUID and POLICY_OPTION_DEV. */
int mount_options_from_ms_flags(uint32_t ms_flags, MountOptions *options) _must_check_;
/* "ro,noatime,..." of the bits, with "nosuid,nodev" where they are in force; truncates never (buffer >= 256). */
void mount_options_format(const MountOptions *options, char *buffer, size_t size);
/* MOUNT_ATTR_* for fsmount(2): NOSUID and NODEV unless the bits say otherwise. */
uint64_t mount_options_attributes(const MountOptions *options);
/* A word that a type's ServerOptions= lists ("offset=" matches "offset=4096", "quiet" matches just itself). */
bool server_option_is_listed(const char *server_options, const char *word);
