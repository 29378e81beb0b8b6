/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between load-draft.c, which walks the entries of a definition, and load-keys.c, which knows what each key means. */

#include "policy/load.h"

typedef struct KeyRow KeyRow;

/* What the entries are applied to: either draft or main is set, and the part of it that the entry's section names. All
 * borrowed. */
typedef struct Target {
        DraftType *draft;
        DraftMain *main;
        PolicySlot *slot;
        DraftRule *rule;
        DraftUser *user;
        DraftProgram *listed;
} Target;

/* NULL if there is no such key in this section; *ret_section_known says whether there is such a section. */
const KeyRow *find_row(const Target *target, const Entry *entry, bool *ret_section_known);
/* A bad value is a mistake and reported; the target is as it was, or half set in a type that is disabled by it. */
int apply_row(const KeyRow *row, Target *target, const Entry *entry, Mistakes *mistakes) _must_check_;

void clear_words(char **words, size_t *n); /* owned strings; the array itself stays */
void clear_devices(DraftRule *rule);
