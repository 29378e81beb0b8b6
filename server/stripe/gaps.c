/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Gaps: what of a file was never written. See volume.h. */

#include "stripe/volume-private.h"

#include <string.h>

static uint64_t end_of(const StripeGap *gap) {
        return gap->offset + gap->length;
}

static uint64_t blocks_end(const StripeFile *file) { /* where its last block ends */
        return ALIGN_TO(file->size, (uint64_t) STRIPE_BLOCK);
}

bool stripe_gaps_are_sound(const StripeTable *table, const StripeFile *file) {
        uint64_t end = 0;

        for (uint32_t k = 0; k < file->n_gaps; k++) {
                const StripeGap *gap = &table->gaps[file->first_gap + k];
                if ((gap->offset | gap->length) % STRIPE_BLOCK != 0 || gap->length == 0 || gap->offset < end || gap->offset > blocks_end(file) ||
                    gap->length > blocks_end(file) - gap->offset)
                        return false;
                end = end_of(gap);
        }
        return true;
}

/* The first gap of the file that ends behind pos; n_gaps if there is none. */
static uint32_t find_gap(const StripeVolume *volume, const StripeFile *file, uint64_t pos) {
        const StripeGap *gaps = &volume->table.gaps[file->first_gap];
        uint32_t low = 0, high = file->n_gaps;

        while (low < high) {
                uint32_t middle = low + (high - low) / 2;
                if (end_of(&gaps[middle]) <= pos)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* n more gaps of file i before its gap k, or (n < 0) fewer from there on. */
static void shift_gaps(StripeVolume *volume, uint32_t i, uint32_t k, int n) {
        StripeTable *table = &volume->table;
        uint32_t from = table->files[i].first_gap + k + (uint32_t) (n < 0 ? -n : 0), to = table->files[i].first_gap + k + (uint32_t) (n > 0 ? n : 0);

        memmove(&table->gaps[to], &table->gaps[from], (table->n_gaps - from) * sizeof *table->gaps);
        table->n_gaps += (uint32_t) n;
        table->files[i].n_gaps += (uint32_t) n;
        for (uint32_t other = i + 1; other < STRIPE_FILES_MAX; other++)
                table->files[other].first_gap += (uint32_t) n;
}

/* [from, to) is a gap no more. */
static int cut(StripeVolume *volume, uint32_t i, uint64_t from, uint64_t to) {
        const StripeFile *file = &volume->table.files[i];
        uint32_t k = find_gap(volume, file, from);
        StripeGap *gaps = &volume->table.gaps[file->first_gap];
        int n = 0;

        if (k < file->n_gaps && gaps[k].offset < from) {
                const uint64_t end = end_of(&gaps[k]);
                if (end > to && volume->table.n_gaps == STRIPE_GAPS_MAX)
                        return -ENOSPC;
                gaps[k].length = from - gaps[k].offset;
                k++;
                if (end > to) {
                        shift_gaps(volume, i, k, 1);
                        gaps[k] = (StripeGap){.offset = to, .length = end - to};
                        return 0;
                }
        }
        while (k + (uint32_t) n < file->n_gaps && end_of(&gaps[k + (uint32_t) n]) <= to)
                n++;
        shift_gaps(volume, i, k, -n);
        if (k < file->n_gaps && gaps[k].offset < to)
                gaps[k] = (StripeGap){.offset = to, .length = end_of(&gaps[k]) - to};
        return 0;
}

/* [from, to) is one: behind all that there are. */
static int append(StripeVolume *volume, uint32_t i, uint64_t from, uint64_t to) {
        const StripeFile *file = &volume->table.files[i];
        StripeGap *gaps = &volume->table.gaps[file->first_gap];

        if (from == to)
                return 0;
        if (file->n_gaps > 0 && end_of(&gaps[file->n_gaps - 1]) == from) {
                gaps[file->n_gaps - 1].length += to - from;
                return 0;
        }
        if (volume->table.n_gaps == STRIPE_GAPS_MAX)
                return -ENOSPC;
        shift_gaps(volume, i, file->n_gaps, 1);
        gaps[file->n_gaps - 1] = (StripeGap){.offset = from, .length = to - from};
        return 0;
}

int stripe_written(StripeVolume *volume, uint32_t i, uint64_t pos, uint64_t size) {
        StripeFile *file = &volume->table.files[i];
        const uint64_t from = pos / STRIPE_BLOCK * STRIPE_BLOCK, to = ALIGN_TO(pos + size, (uint64_t) STRIPE_BLOCK);
        int r;

        if (size == 0)
                return 0;
        r = from > blocks_end(file) ? append(volume, i, blocks_end(file), from) : cut(volume, i, from, to);
        if (r >= 0)
                file->size = MAX_OF(file->size, pos + size);
        return r;
}

int stripe_resize(StripeVolume *volume, uint32_t i, uint64_t size) {
        StripeFile *file = &volume->table.files[i];
        const uint64_t before = blocks_end(file), after = ALIGN_TO(size, (uint64_t) STRIPE_BLOCK);
        int r;

        r = after > before ? append(volume, i, before, after) : cut(volume, i, after, before);
        if (r >= 0)
                file->size = size;
        return r;
}

bool stripe_is_written(const StripeVolume *volume, const StripeFile *file, uint64_t pos, uint64_t *ret_from, uint64_t *ret_to) {
        const StripeGap *gaps = &volume->table.gaps[file->first_gap];
        const uint32_t k = find_gap(volume, file, pos);
        bool in_gap = k < file->n_gaps && gaps[k].offset <= pos;

        if (pos >= blocks_end(file)) {
                *ret_from = blocks_end(file);
                *ret_to = UINT64_MAX / STRIPE_BLOCK * STRIPE_BLOCK;
                return false;
        }
        *ret_from = in_gap ? gaps[k].offset : k > 0 ? end_of(&gaps[k - 1]) : 0;
        *ret_to = in_gap ? end_of(&gaps[k]) : k < file->n_gaps ? gaps[k].offset : blocks_end(file);
        return !in_gap;
}
