/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The option list that libfuse gives to fusermount3: what is passed on to fused, what is dropped, and what is refused. The words
 * and their treatment are those of libfuse's util/fusermount.c at 3.14 to 3.19. */

#include <stdbool.h>
#include <stddef.h>

#define FUSERMOUNT_WORDS_MAX 32

typedef struct FusermountOptions {
        char *words[FUSERMOUNT_WORDS_MAX]; /* owned: for fused */
        size_t n_words;
        char *fsname;   /* owned; NULL: not given */
        char *subtype;  /* owned; NULL: not given */
        bool auto_unmount;
} FusermountOptions;

/* 0; -EINVAL: *ret_bad is the word that is not known, -EPERM: one that is known and not permitted (owned by the caller). */
int fusermount_options_parse(const char *list, FusermountOptions *ret, char **ret_bad);
void fusermount_options_done(FusermountOptions *options);
