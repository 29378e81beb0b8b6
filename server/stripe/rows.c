/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rows of a volume: whose they are, and where they lie. See volume.h. */

#include "stripe/volume-private.h"

#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int compare_runs(const void *a, const void *b) {
        const StripeRun *x = a, *y = b;

        return x->first < y->first ? -1 : x->first > y->first;
}

/* All runs by place. The caller frees. */
static StripeRun *sorted_runs(const StripeTable *table) {
        StripeRun *runs = calloc(table->n_runs + 1, sizeof *runs);

        if (runs && table->n_runs > 0) {
                memcpy(runs, table->runs, table->n_runs * sizeof *runs);
                qsort(runs, table->n_runs, sizeof *runs, compare_runs);
        }
        return runs;
}

bool stripe_runs_are_sound(const StripeVolume *volume, const StripeTable *table) {
        _cleanup_free_ StripeRun *runs = sorted_runs(table);
        uint64_t end = 0;

        for (uint32_t i = 0; runs && i < table->n_runs; i++) {
                if (runs[i].n_rows == 0 || runs[i].first < end || runs[i].first > volume->n_rows || runs[i].n_rows > volume->n_rows - runs[i].first)
                        return false;
                end = runs[i].first + runs[i].n_rows;
        }
        return runs;
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

static StripeRun *run_of(StripeVolume *volume, const StripeFile *file, uint32_t k) {
        return &volume->table.runs[file->first_run + k];
}

/* One more run of file i, or (n = -1) one less, which are its last. */
static void shift_runs(StripeVolume *volume, uint32_t i, int n) {
        StripeTable *table = &volume->table;
        uint32_t end = table->files[i].first_run + table->files[i].n_runs, to = end + (uint32_t) n;

        memmove(&table->runs[to], &table->runs[end], (table->n_runs - end) * sizeof *table->runs);
        table->n_runs += (uint32_t) n;
        table->files[i].n_runs += (uint32_t) n;
        for (uint32_t k = i + 1; k < STRIPE_FILES_MAX; k++)
                table->files[k].first_run += (uint32_t) n;
}

static void give_back(StripeVolume *volume, uint32_t i, uint64_t n_rows) {
        StripeFile *file = &volume->table.files[i];

        while (file->n_rows > n_rows) {
                StripeRun *last = run_of(volume, file, file->n_runs - 1);
                uint64_t n = MIN_OF(last->n_rows, file->n_rows - n_rows);
                last->n_rows -= n;
                file->n_rows -= n;
                if (last->n_rows == 0)
                        shift_runs(volume, i, -1);
        }
}

void stripe_remove(StripeVolume *volume, uint32_t i) {
        StripeFile *file = &volume->table.files[i];

        give_back(volume, i, 0);
        (void) !stripe_resize(volume, i, 0); /* cannot fail */
        *file = (StripeFile){.generation = file->generation, .first_run = file->first_run, .first_gap = file->first_gap};
}

/* How many rows from `row` on are nobody's. */
static uint64_t free_from(const StripeVolume *volume, uint64_t row) {
        uint64_t end = volume->n_rows;

        for (uint32_t i = 0; i < volume->table.n_runs; i++) {
                const StripeRun *run = &volume->table.runs[i];
                if (run->first + run->n_rows > row)
                        end = MIN_OF(end, run->first);
        }
        return end > row ? end - row : 0;
}

/* Where most rows are free. */
static int widest_gap(const StripeVolume *volume, StripeRun *ret) {
        _cleanup_free_ StripeRun *runs = sorted_runs(&volume->table);
        uint64_t end = 0;

        if (!runs)
                return -ENOMEM;
        *ret = (StripeRun){0};
        runs[volume->table.n_runs] = (StripeRun){.first = volume->n_rows};
        for (uint32_t i = 0; i <= volume->table.n_runs; i++) {
                if (runs[i].first - end > ret->n_rows)
                        *ret = (StripeRun){.first = end, .n_rows = runs[i].first - end};
                end = runs[i].first + runs[i].n_rows;
        }
        return ret->n_rows > 0 ? 0 : -ENOSPC;
}

/* A file that another one was in the way of leaves room on both sides from then on: files that grow in turn would get a run for each row else. */
static int add_run(StripeVolume *volume, uint32_t i, uint64_t wanted, bool apart) {
        StripeFile *file = &volume->table.files[i];
        StripeRun gap;
        int r;

        if (volume->table.n_runs == STRIPE_RUNS_MAX)
                return -ENOSPC;
        r = widest_gap(volume, &gap);
        if (r < 0)
                return r;
        if (wanted < gap.n_rows && gap.first > 0 && apart)
                gap.first += (gap.n_rows - wanted) / 2;
        gap.n_rows = MIN_OF(gap.n_rows, wanted);
        shift_runs(volume, i, 1);
        *run_of(volume, file, file->n_runs - 1) = gap;
        file->n_rows += gap.n_rows;
        return 0;
}

static bool extend_last(StripeVolume *volume, StripeFile *file, uint64_t wanted) {
        StripeRun *last = file->n_runs > 0 ? run_of(volume, file, file->n_runs - 1) : NULL;
        uint64_t n = last ? MIN_OF(wanted, free_from(volume, last->first + last->n_rows)) : 0;

        if (n == 0)
                return false;
        last->n_rows += n;
        file->n_rows += n;
        return true;
}

int stripe_reserve(StripeVolume *volume, uint32_t i, uint64_t bytes, bool apart) {
        StripeFile *file = &volume->table.files[i];
        uint64_t row = (uint64_t) volume->n << volume->shift, needed = bytes / row + (bytes % row != 0), before = file->n_rows, used = 0;
        int r;

        give_back(volume, i, needed);
        for (uint32_t k = 0; k < STRIPE_FILES_MAX; k++)
                used += volume->table.files[k].n_rows;
        if (needed > file->n_rows && needed - file->n_rows > volume->n_rows - used)
                return -ENOSPC;
        while (file->n_rows < needed) {
                if (extend_last(volume, file, needed - file->n_rows))
                        continue;
                r = add_run(volume, i, needed - file->n_rows, apart || before > 0);
                if (r < 0) {
                        give_back(volume, i, before);
                        return r;
                }
        }
        return 0;
}

/* ---- places --------------------------------------------------------------------------------------------------------- */

uint64_t stripe_row_addr(const StripeVolume *volume, uint64_t row) {
        return (stripe_first_row(volume->shift) + row) << volume->shift;
}

void stripe_first_run(const StripeVolume *volume, const StripeFile *file, uint64_t *ret_addr, uint64_t *ret_bytes) {
        const StripeRun nothing = {0}, *run = file->n_runs > 0 ? &volume->table.runs[file->first_run] : &nothing;

        *ret_addr = stripe_row_addr(volume, run->first);
        *ret_bytes = (run->n_rows * volume->n) << volume->shift;
}

void stripe_map(const StripeVolume *volume, const StripeFile *file, uint64_t pos, uint32_t *ret_member, uint64_t *ret_addr, uint64_t *ret_offset) {
        uint64_t chunk = pos >> volume->shift, row = chunk / volume->n;
        const StripeRun *run = &volume->table.runs[file->first_run];

        assert(row < file->n_rows);
        for (; row >= run->n_rows; run++)
                row -= run->n_rows;
        *ret_member = (uint32_t) (chunk % volume->n);
        *ret_addr = stripe_row_addr(volume, run->first + row);
        *ret_offset = chunk << volume->shift;
}

static char zeroes[1 << 16]; /* never written to */

int stripe_zero(const StripeVolume *volume, uint32_t member, uint64_t addr, uint64_t size) {
        const uint64_t range[] = {addr, size};
        int r = 0;

        if (ioctl(volume->fds[member], BLKZEROOUT, range) == 0) /* most devices can do so without being sent any */
                return 0;
        for (uint64_t done = 0, n; done < size && r >= 0; done += n) {
                n = MIN_OF(size - done, (uint64_t) sizeof zeroes);
                r = stripe_move_bytes(volume->fds[member], /* write= */ true, zeroes, n, addr + done);
        }
        return r < 0 ? r : RET_NERRNO(fdatasync(volume->fds[member])); /* data goes past the page cache, where they may be */
}

int stripe_move(const StripeVolume *volume, const StripeFile *file, bool write, uint64_t pos, void *data, uint64_t size) {
        for (uint64_t done = 0, n; done < size; done += n) {
                uint64_t addr, offset, skip;
                uint32_t member;
                stripe_map(volume, file, pos + done, &member, &addr, &offset);
                skip = pos + done - offset;
                n = MIN_OF(size - done, (1ULL << volume->shift) - skip);
                if (!data)
                        n = MIN_OF(n, (uint64_t) sizeof zeroes);
                int r = stripe_move_bytes(volume->fds[member], write, data ? (char *) data + done : zeroes, n, addr + skip);
                if (r < 0)
                        return r;
        }
        return 0;
}
