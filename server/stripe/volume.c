/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See volume.h. */

#include "stripe/volume.h"

#include <openssl/sha.h>
#include <string.h>
#include <unistd.h>

static int move_all(int fd, bool write, void *data, size_t size, uint64_t at) {
        for (size_t done = 0; done < size;) {
                ssize_t n = RET_NERRNO(write ? pwrite(fd, (char *) data + done, size - done, (off_t) (at + done))
                                             : pread(fd, (char *) data + done, size - done, (off_t) (at + done)));
                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return n == 0 ? -EIO : (int) n;
                done += (size_t) n;
        }
        return 0;
}

/* Rows begin behind the table's copies on every member, so that they are in the same place. */
static uint64_t first_row(uint32_t shift) {
        uint64_t head = (1 + 2 * STRIPE_TABLE_BLOCKS) * (uint64_t) STRIPE_BLOCK;

        return ALIGN_TO(head, 1ULL << shift) >> shift;
}

static uint64_t rows_of(uint64_t size, uint32_t shift) {
        uint64_t all = size >> shift, head = first_row(shift);

        return all > head ? all - head : 0;
}

static void sign(const void *data, size_t size, uint8_t *ret) {
        (void) SHA256(data, size, ret);
}

static bool is_signed(const void *data, size_t size, const uint8_t *own) {
        uint8_t digest[SHA256_DIGEST_LENGTH];

        (void) SHA256(data, size, digest);
        return memcmp(digest, own, sizeof digest) == 0;
}

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static const char *check_member(const StripeMember *m, const StripeMember *first, uint32_t i, uint32_t n, uint64_t size) {
        if (memcmp(m->magic, STRIPE_MAGIC, sizeof m->magic) != 0)
                return "it is no member of a striped volume";
        if (!is_signed(m, offsetof(StripeMember, own), m->own))
                return "its header is damaged";
        if (m->version != STRIPE_VERSION || m->shift < STRIPE_SHIFT_MIN || m->shift > STRIPE_SHIFT_MAX)
                return "it is of another version";
        if (m->n_members != n)
                return "the volume has another number of members";
        if (m->index != i)
                return "it is another member than its place says";
        if (memcmp(m->uuid, first->uuid, sizeof m->uuid) != 0 || m->shift != first->shift || m->n_rows != first->n_rows)
                return "it is a member of another volume";
        if (m->n_rows > rows_of(size, m->shift))
                return "it is smaller than the volume";
        return NULL;
}

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

/* Rows within the volume that no two runs share. */
static bool runs_are_sound(const StripeVolume *volume, const StripeTable *table) {
        _cleanup_free_ StripeRun *runs = sorted_runs(table);
        uint64_t end = 0;

        for (uint32_t i = 0; runs && i < table->n_runs; i++) {
                if (runs[i].n_rows == 0 || runs[i].first < end || runs[i].first > volume->n_rows || runs[i].n_rows > volume->n_rows - runs[i].first)
                        return false;
                end = runs[i].first + runs[i].n_rows;
        }
        return runs;
}

static bool name_is_sound(const StripeTable *table, uint32_t i) {
        const StripeFile *file = &table->files[i];

        if (!memchr(file->name, 0, sizeof file->name) || strchr(file->name, '/') || strcmp(file->name, ".") == 0 || strcmp(file->name, "..") == 0)
                return false;
        for (uint32_t k = 0; k < i; k++)
                if (strcmp(file->name, table->files[k].name) == 0)
                        return false;
        return true;
}

/* Everything that the table says is checked once, here: names, runs, that each is one file's, sizes within the rows. */
static bool table_is_sound(const StripeVolume *volume, const StripeTable *table) {
        uint32_t run = 0;

        if (!runs_are_sound(volume, table))
                return false;
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++) {
                const StripeFile *file = &table->files[i];
                uint64_t n_rows = 0;
                if (file->first_run != run || file->n_runs > table->n_runs - run)
                        return false;
                for (; run < file->first_run + file->n_runs; run++)
                        n_rows += table->runs[run].n_rows;
                if (file->n_rows != n_rows || (file->name[0] ? !name_is_sound(table, i) || file->size > stripe_room(volume, file) : n_rows > 0))
                        return false;
        }
        return run == table->n_runs;
}

/* What of the table is written: up to the last run. */
static size_t table_size(const StripeTable *table) {
        return offsetof(StripeTable, runs) + table->n_runs * sizeof(StripeRun);
}

static void table_digest(const StripeTable *table, uint8_t *ret) {
        (void) SHA256((const uint8_t *) &table->sequence, table_size(table) - offsetof(StripeTable, sequence), ret);
}

static bool table_is_whole(const StripeVolume *volume, const StripeTable *table) {
        uint8_t digest[SHA256_DIGEST_LENGTH];

        if (memcmp(table->magic, STRIPE_TABLE_MAGIC, sizeof table->magic) != 0 || table->n_runs > STRIPE_RUNS_MAX)
                return false;
        table_digest(table, digest);
        return memcmp(digest, table->own, sizeof digest) == 0 && memcmp(table->uuid, volume->uuid, sizeof table->uuid) == 0;
}

static int load_table(StripeVolume *volume, const char **ret_why) {
        _cleanup_free_ StripeTable *table = malloc(sizeof *table);
        bool found = false;

        if (!table)
                return -ENOMEM;
        *ret_why = "both copies of its table of files are damaged";
        for (uint32_t copy = 0; copy < 2; copy++) {
                uint64_t at = (1 + copy * STRIPE_TABLE_BLOCKS) * (uint64_t) STRIPE_BLOCK;
                int r = move_all(volume->fds[0], /* write= */ false, table, sizeof *table, at);
                if (r < 0 && r != -EIO)
                        return r;
                if (r < 0 || !table_is_whole(volume, table) || !table_is_sound(volume, table))
                        continue;
                if (!found || table->sequence > volume->table.sequence)
                        volume->table = *table;
                found = true;
        }
        return found ? 0 : -EUCLEAN;
}

int stripe_open(const int *fds, const uint64_t *sizes, uint32_t n, StripeVolume *ret, const char **ret_why) {
        StripeMember members[STRIPE_MEMBERS_MAX];
        int r;

        if (n < 2 || n > STRIPE_MEMBERS_MAX) {
                *ret_why = "a striped volume has 2 to 8 members";
                return -EINVAL;
        }
        for (uint32_t i = 0; i < n; i++) {
                *ret_why = "it cannot be read";
                r = move_all(fds[i], /* write= */ false, &members[i], sizeof members[i], 0);
                if (r < 0)
                        return r;
                *ret_why = check_member(&members[i], &members[0], i, n, sizes[i]);
                if (*ret_why)
                        return -EUCLEAN;
        }
        *ret = (StripeVolume){.n = n, .shift = members[0].shift, .n_rows = members[0].n_rows};
        memcpy(ret->fds, fds, n * sizeof *fds);
        memcpy(ret->uuid, members[0].uuid, sizeof ret->uuid);
        return load_table(ret, ret_why);
}

int stripe_create(const int *fds, const uint64_t *sizes, uint32_t n, uint32_t shift, const uint8_t uuid[16]) {
        StripeMember member = {.version = STRIPE_VERSION, .n_members = n, .shift = shift, .n_rows = UINT64_MAX};
        StripeVolume volume = {.n = n, .shift = shift};
        int r;

        if (n < 2 || n > STRIPE_MEMBERS_MAX || shift < STRIPE_SHIFT_MIN || shift > STRIPE_SHIFT_MAX)
                return -EINVAL;
        memcpy(member.magic, STRIPE_MAGIC, sizeof member.magic);
        memcpy(member.uuid, uuid, sizeof member.uuid);
        for (uint32_t i = 0; i < n; i++)
                member.n_rows = MIN_OF(member.n_rows, rows_of(sizes[i], shift));
        if (member.n_rows == 0)
                return -ENOSPC;
        memcpy(volume.fds, fds, n * sizeof *fds);
        memcpy(volume.uuid, uuid, sizeof volume.uuid);
        r = stripe_save(&volume);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < n; i++) { /* the headers last: until then it is no volume */
                uint8_t block[STRIPE_BLOCK] = {0};
                member.index = i;
                sign(&member, offsetof(StripeMember, own), member.own);
                memcpy(block, &member, sizeof member);
                r = move_all(fds[i], /* write= */ true, block, sizeof block, 0);
                if (r >= 0)
                        r = RET_NERRNO(fsync(fds[i]));
                if (r < 0)
                        return r;
        }
        return 0;
}

int stripe_save(StripeVolume *volume) {
        StripeTable *table = &volume->table;
        int r = 0;

        memcpy(table->magic, STRIPE_TABLE_MAGIC, sizeof table->magic);
        memcpy(table->uuid, volume->uuid, sizeof table->uuid);
        table->sequence++;
        table_digest(table, table->own);
        for (uint32_t i = 0; i < volume->n && r >= 0; i++) /* what the table says has data comes first */
                r = RET_NERRNO(fdatasync(volume->fds[i]));
        for (uint64_t copy = 0; copy < 2 && r >= 0; copy++) {
                r = move_all(volume->fds[0], /* write= */ true, table, table_size(table), (1 + copy * STRIPE_TABLE_BLOCKS) * STRIPE_BLOCK);
                if (r >= 0)
                        r = RET_NERRNO(fdatasync(volume->fds[0]));
        }
        return r;
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

int stripe_find(const StripeVolume *volume, const char *name) {
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++)
                if (*name && strcmp(volume->table.files[i].name, name) == 0)
                        return (int) i;
        return -ENOENT;
}

int stripe_add(StripeVolume *volume, const char *name) {
        if (strlen(name) > STRIPE_NAME_MAX)
                return -ENAMETOOLONG;
        if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return -EINVAL;
        if (stripe_find(volume, name) >= 0)
                return -EEXIST;
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++)
                if (!volume->table.files[i].name[0]) {
                        StripeFile *file = &volume->table.files[i];
                        *file = (StripeFile){.generation = file->generation + 1, .first_run = file->first_run};
                        memcpy(file->name, name, strlen(name) + 1);
                        return (int) i;
                }
        return -ENOSPC;
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
        *file = (StripeFile){.generation = file->generation, .first_run = file->first_run};
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

/* Who has been in another's way once leaves room, to both sides: files that grow in turn would have a run for each row otherwise. */
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
        return (first_row(volume->shift) + row) << volume->shift;
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

int stripe_move(const StripeVolume *volume, const StripeFile *file, bool write, uint64_t pos, void *data, uint64_t size) {
        static char zeroes[1 << 16]; /* written from only */

        for (uint64_t done = 0, n; done < size; done += n) {
                uint64_t addr, offset, skip;
                uint32_t member;
                stripe_map(volume, file, pos + done, &member, &addr, &offset);
                skip = pos + done - offset;
                n = MIN_OF(size - done, (1ULL << volume->shift) - skip);
                if (!data)
                        n = MIN_OF(n, (uint64_t) sizeof zeroes);
                int r = move_all(volume->fds[member], write, data ? (char *) data + done : zeroes, n, addr + skip);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- times ---------------------------------------------------------------------------------------------------------- */

#define NSEC 1000000000LL

int64_t stripe_time(const struct timespec *time) {
        const bool before = time->tv_sec < 0; /* towards 0 from there, or the product of the first second would not fit */
        int64_t nsec;

        if (__builtin_mul_overflow((int64_t) time->tv_sec + before, NSEC, &nsec) ||
            __builtin_add_overflow(nsec, (int64_t) time->tv_nsec - (before ? NSEC : 0), &nsec))
                return before ? INT64_MIN : INT64_MAX;
        return nsec;
}

struct timespec stripe_timespec(int64_t nsec) {
        int64_t rest = nsec % NSEC;

        return (struct timespec){.tv_sec = nsec / NSEC - (rest < 0), .tv_nsec = rest < 0 ? rest + NSEC : rest};
}
