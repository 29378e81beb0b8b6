/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mount options: the one table, and the translations that are made from it. See options.h. */

#include "policy/options.h"

#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#define DEFAULT_FLAGS (MS_NOSUID | MS_NODEV) /* have no option bit of their own: their absence has */

const OptionRow option_rows[] = {
        {.name = "ro", .set = POLICY_OPTION_RO, .ms_flag = MS_RDONLY, .fsconfig = "ro", .attribute = MOUNT_ATTR_RDONLY},
        {.name = "rw", .clear = POLICY_OPTION_RO},
        {.name = "noexec", .set = POLICY_OPTION_NOEXEC, .ms_flag = MS_NOEXEC, .attribute = MOUNT_ATTR_NOEXEC},
        {.name = "exec", .clear = POLICY_OPTION_NOEXEC},
        {.name = "sync", .set = POLICY_OPTION_SYNC, .ms_flag = MS_SYNCHRONOUS, .fsconfig = "sync"},
        {.name = "async", .clear = POLICY_OPTION_SYNC},
        {.name = "dirsync", .set = POLICY_OPTION_DIRSYNC, .ms_flag = MS_DIRSYNC, .fsconfig = "dirsync"},
        {.name = "noatime", .set = POLICY_OPTION_NOATIME, .ms_flag = MS_NOATIME, .attribute = MOUNT_ATTR_NOATIME},
        {.name = "atime", .clear = POLICY_OPTION_NOATIME},
        {.name = "nodiratime",
         .set = POLICY_OPTION_NODIRATIME,
         .ms_flag = MS_NODIRATIME,
         .attribute = MOUNT_ATTR_NODIRATIME},
        {.name = "diratime", .clear = POLICY_OPTION_NODIRATIME},
        {.name = "nosymfollow",
         .set = POLICY_OPTION_NOSYMFOLLOW,
         .ms_flag = MS_NOSYMFOLLOW,
         .attribute = MOUNT_ATTR_NOSYMFOLLOW},
        {.name = "symfollow", .clear = POLICY_OPTION_NOSYMFOLLOW},
        {.name = "default_permissions", .set = POLICY_OPTION_DEFAULT_PERMISSIONS, .fsconfig = "default_permissions"},
        {.name = "allow_other", .set = POLICY_OPTION_ALLOW_OTHER, .fsconfig = "allow_other"},
        {.name = "max_read=", .set = POLICY_OPTION_MAX_READ, .fsconfig = "max_read"},
        {.name = "blksize=", .set = POLICY_OPTION_BLKSIZE},
        {.name = "suid", .set = POLICY_OPTION_SUID},
        {.name = "nosuid", .clear = POLICY_OPTION_SUID},
        {.name = "dev", .set = POLICY_OPTION_DEV},
        {.name = "nodev", .clear = POLICY_OPTION_DEV},
};
const size_t n_option_rows = ELEMENTSOF(option_rows);

/* Where a number is stored, and what it may be. */
static const struct {
        uint32_t bit;
        size_t offset;
        uint32_t min, max;
} value_rows[] = {
        /* the kernel raises less than a page to one */
        {POLICY_OPTION_MAX_READ, offsetof(MountOptions, max_read), 4096, 1U << 30},
        {POLICY_OPTION_BLKSIZE, offsetof(MountOptions, blksize), 512, 65536},
};

static int parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *ret) {
        char *end;
        unsigned long value;

        if (*text < '0' || *text > '9') /* strtoul takes blanks and signs */
                return -EINVAL;
        errno = 0;
        value = strtoul(text, &end, 10);
        if (errno != 0 || *end || value < min || value > max)
                return -EINVAL;
        *ret = (uint32_t) value;
        return 0;
}

static int set_value(const OptionRow *row, const char *text, MountOptions *options) {
        for (size_t i = 0; i < ELEMENTSOF(value_rows); i++)
                if (value_rows[i].bit == row->set)
                        return parse_number(text, value_rows[i].min, value_rows[i].max,
                                            (uint32_t *) ((char *) options + value_rows[i].offset));
        return -EINVAL;
}

int mount_options_parse_word(const char *word, MountOptions *options) {
        for (size_t i = 0; i < n_option_rows; i++) {
                const OptionRow *row = &option_rows[i];
                size_t length = strlen(row->name);
                bool has_value = row->name[length - 1] == '=';
                int r;

                if (has_value ? strncmp(word, row->name, length) != 0 : strcmp(word, row->name) != 0)
                        continue;
                if (has_value) {
                        r = set_value(row, word + length, options);
                        if (r < 0)
                                return r;
                }
                options->bits = (options->bits & ~row->clear) | row->set;
                return 1;
        }
        return 0;
}

int mount_options_from_ms_flags(uint32_t ms_flags, MountOptions *options) {
        uint32_t rest = ms_flags & ~(uint32_t) DEFAULT_FLAGS, bits = 0;

        for (size_t i = 0; i < n_option_rows; i++)
                if (option_rows[i].ms_flag && (rest & option_rows[i].ms_flag)) {
                        bits |= option_rows[i].set;
                        rest &= ~(uint32_t) option_rows[i].ms_flag;
                }
        if (rest)
                return -EINVAL;
        if (!(ms_flags & MS_NOSUID))
                bits |= POLICY_OPTION_SUID;
        if (!(ms_flags & MS_NODEV))
                bits |= POLICY_OPTION_DEV;
        options->bits |= bits;
        return 0;
}

void mount_options_format(const MountOptions *options, char *buffer, size_t size) {
        size_t have;

        assert(size >= 256); /* all of the table's words together are shorter */
        have = (size_t) snprintf(buffer, size, "%s%s%s", options->bits & POLICY_OPTION_RO ? "ro" : "rw",
                                 options->bits & POLICY_OPTION_SUID ? "" : ",nosuid",
                                 options->bits & POLICY_OPTION_DEV ? "" : ",nodev");
        for (size_t i = 0; i < n_option_rows; i++) {
                const OptionRow *row = &option_rows[i];
                if (!row->set || row->set == POLICY_OPTION_RO || !(options->bits & row->set))
                        continue;
                have += (size_t) snprintf(buffer + have, size - have, ",%s", row->name);
                if (row->set == POLICY_OPTION_MAX_READ || row->set == POLICY_OPTION_BLKSIZE)
                        have += (size_t) snprintf(buffer + have, size - have, "%u",
                                                  row->set == POLICY_OPTION_MAX_READ ? options->max_read
                                                                                     : options->blksize);
        }
}

uint64_t mount_options_attributes(const MountOptions *options) {
        uint64_t attributes = 0;

        for (size_t i = 0; i < n_option_rows; i++)
                if (option_rows[i].set && (options->bits & option_rows[i].set))
                        attributes |= option_rows[i].attribute;
        if (!(options->bits & POLICY_OPTION_SUID))
                attributes |= MOUNT_ATTR_NOSUID;
        if (!(options->bits & POLICY_OPTION_DEV))
                attributes |= MOUNT_ATTR_NODEV;
        return attributes;
}

bool server_option_is_listed(const char *server_options, const char *word) {
        while (*server_options) {
                size_t length = strcspn(server_options, ",");
                bool has_value = length > 0 && server_options[length - 1] == '=';
                bool matches = has_value ? strncmp(word, server_options, length) == 0
                                         : strlen(word) == length && memcmp(word, server_options, length) == 0;

                if (length > 0 && matches)
                        return !strpbrk(word, ",\\"); /* one word stays one word for whoever splits it again */
                server_options += length;
                if (*server_options == ',')
                        server_options++;
        }
        return false;
}
