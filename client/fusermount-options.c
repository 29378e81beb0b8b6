/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options of fusermount3. See fusermount-options.h. */

#include "client/fusermount-options.h"

#include <stdio.h>
#include <string.h>

#include "base/macro.h"

typedef enum Treatment {
        PASS,    /* to fused, as it stands */
        DROP,    /* the default, or nothing that fused has a say in */
        WARN,    /* dropped with a message: not for ordinary users */
        REFUSE,  /* known, and not permitted */
        FSNAME,
        SUBTYPE,
        STAY,    /* auto_unmount */
} Treatment;

static const struct {
        const char *word; /* one that ends in "=" stands for all words that begin so, one that ends in "-" as well */
        Treatment treatment;
} rows[] = {
        {"x-", DROP},
        {"fsname=", FSNAME},
        {"subtype=", SUBTYPE},
        {"blkdev", REFUSE},
        {"auto_unmount", STAY},
        {"nonempty", DROP},
        {"fd=", DROP},
        {"rootmode=", DROP},
        {"user_id=", DROP},
        {"group_id=", DROP},
        {"allow_other", PASS},
        {"allow_root", REFUSE},
        {"default_permissions", PASS},
        {"max_read=", PASS},
        {"blksize=", PASS},
        {"ro", PASS},
        {"rw", DROP},
        {"suid", WARN},
        {"nosuid", DROP},
        {"dev", WARN},
        {"nodev", DROP},
        {"exec", DROP},
        {"noexec", PASS},
        {"async", DROP},
        {"sync", PASS},
        {"dirsync", PASS},
        {"noatime", PASS},
        {"nodiratime", PASS},
        {"norelatime", DROP},
        {"nostrictatime", DROP},
        {"symfollow", DROP},
        {"nosymfollow", PASS},
        /* up to 3.18 */
        {"atime", DROP},
        {"diratime", DROP},
        {"relatime", DROP},
        {"strictatime", DROP},
        {"lazytime", DROP},
        {"nolazytime", DROP},
        {"large_read", DROP},
};

static bool row_matches(const char *row, const char *word) {
        size_t length = strlen(row);
        bool open = row[length - 1] == '=' || row[length - 1] == '-';

        return open ? strncmp(row, word, length) == 0 : strcmp(row, word) == 0;
}

void fusermount_options_done(FusermountOptions *options) {
        for (size_t i = 0; i < options->n_words; i++)
                free(options->words[i]);
        free(options->fsname);
        free(options->subtype);
        *options = (FusermountOptions){0};
}

/* Only in these two a backslash takes the meaning from the next character, a comma above all. */
static bool may_escape(const char *text) {
        return strncmp(text, "fsname=", 7) == 0 || strncmp(text, "subtype=", 8) == 0;
}

/* Takes one word off *list, without its escapes. */
static char *next_word(const char **list) {
        const char *p = *list;
        bool escapes = may_escape(p);
        char *word = malloc(strlen(p) + 1);
        size_t n = 0;

        for (; word && *p && *p != ','; p++) {
                if (escapes && *p == '\\' && p[1])
                        p++;
                word[n++] = *p;
        }
        if (word)
                word[n] = 0;
        *list = *p == ',' ? p + 1 : p;
        return word;
}

static int keep(char **place, const char *value) {
        free(*place);
        *place = strdup(value);
        return *place ? 0 : -ENOMEM;
}

static int treat(const char *word, FusermountOptions *options) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                if (!row_matches(rows[i].word, word))
                        continue;
                const char *value = word + strlen(rows[i].word);
                switch (rows[i].treatment) {
                case PASS:
                        if (options->n_words == ELEMENTSOF(options->words))
                                return -E2BIG;
                        options->words[options->n_words] = strdup(word);
                        return options->words[options->n_words] ? (options->n_words++, 0) : -ENOMEM;
                case DROP:
                        return 0;
                case WARN:
                        (void) fprintf(stderr, "fusermount3: unsafe option %s ignored\n", word);
                        return 0;
                case REFUSE:
                        return -EPERM;
                case FSNAME:
                        return keep(&options->fsname, value);
                case SUBTYPE:
                        return keep(&options->subtype, value);
                case STAY:
                        options->auto_unmount = true;
                        return 0;
                }
        }
        return -EINVAL;
}

int fusermount_options_parse(const char *list, FusermountOptions *ret, char **ret_bad) {
        FusermountOptions options = {0};
        int r = 0;

        *ret_bad = NULL;
        while (r >= 0 && list && *list) {
                char *word = next_word(&list);
                r = word ? treat(word, &options) : -ENOMEM;
                if (r < 0)
                        *ret_bad = word;
                else
                        free(word);
        }
        if (r < 0) {
                fusermount_options_done(&options);
                return r;
        }
        *ret = options;
        return 0;
}
