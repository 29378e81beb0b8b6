/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See volume.h: the headers, the table, its names. */

#include "stripe/volume-private.h"

#include <openssl/sha.h>
#include <string.h>
#include <unistd.h>

int stripe_move_bytes(int fd, bool write, void *data, size_t size, uint64_t at) {
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

uint64_t stripe_first_row(uint32_t shift) {
        uint64_t head = (1 + 2 * STRIPE_TABLE_BLOCKS) * (uint64_t) STRIPE_BLOCK;

        return ALIGN_TO(head, 1ULL << shift) >> shift;
}

static uint64_t rows_of(uint64_t size, uint32_t shift) {
        uint64_t all = size >> shift, head = stripe_first_row(shift);

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

static bool name_is_sound(const StripeTable *table, uint32_t i) {
        const StripeFile *file = &table->files[i];

        if (!memchr(file->name, 0, sizeof file->name) || strchr(file->name, '/') || strcmp(file->name, ".") == 0 || strcmp(file->name, "..") == 0)
                return false;
        for (uint32_t k = 0; k < i; k++)
                if (!file->removed && !table->files[k].removed && strcmp(file->name, table->files[k].name) == 0)
                        return false;
        return file->removed <= 1;
}

/* Everything in the table is checked here, once: names, runs and gaps, that no two files share any, and that sizes are within the rows. */
static bool table_is_sound(const StripeVolume *volume, const StripeTable *table) {
        uint32_t run = 0, gap = 0;

        if (!stripe_runs_are_sound(volume, table))
                return false;
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++) {
                const StripeFile *file = &table->files[i];
                uint64_t n_rows = 0;
                if (file->first_run != run || file->n_runs > table->n_runs - run || file->first_gap != gap || file->n_gaps > table->n_gaps - gap)
                        return false;
                gap += file->n_gaps;
                for (; run < file->first_run + file->n_runs; run++)
                        n_rows += table->runs[run].n_rows;
                if (file->n_rows != n_rows || file->size > stripe_room(volume, file) || !stripe_gaps_are_sound(table, file) ||
                    (file->name[0] ? !name_is_sound(table, i) : n_rows > 0 || file->removed))
                        return false;
        }
        return run == table->n_runs && gap == table->n_gaps;
}

/* What of the table is written: up to the last run, and the gaps. */
static size_t table_size(const StripeTable *table) {
        return offsetof(StripeTable, runs) + table->n_runs * sizeof(StripeRun);
}

static void table_digests(const StripeTable *table, uint8_t *ret, uint8_t *ret_gaps) {
        (void) SHA256((const uint8_t *) table->gaps, table->n_gaps * sizeof *table->gaps, ret_gaps);
        (void) SHA256((const uint8_t *) &table->sequence, table_size(table) - offsetof(StripeTable, sequence), ret);
}

static bool table_is_whole(const StripeVolume *volume, const StripeTable *table) {
        uint8_t digest[SHA256_DIGEST_LENGTH], gaps[SHA256_DIGEST_LENGTH];

        if (memcmp(table->magic, STRIPE_TABLE_MAGIC, sizeof table->magic) != 0 || table->n_runs > STRIPE_RUNS_MAX || table->n_gaps > STRIPE_GAPS_MAX)
                return false;
        table_digests(table, digest, gaps);
        return memcmp(digest, table->own, sizeof digest) == 0 && memcmp(gaps, table->gaps_own, sizeof gaps) == 0 &&
               memcmp(table->uuid, volume->uuid, sizeof table->uuid) == 0;
}

static int load_table(StripeVolume *volume, StripeWhy *ret_why) {
        _cleanup_free_ StripeTable *table = malloc(sizeof *table);
        bool found = false;

        if (!table)
                return -ENOMEM;
        *ret_why = (StripeWhy){.words = "both copies of its table of files are damaged"};
        for (uint32_t copy = 0; copy < 2; copy++) {
                uint64_t at = (1 + copy * STRIPE_TABLE_BLOCKS) * (uint64_t) STRIPE_BLOCK;
                int r = stripe_move_bytes(volume->fds[0], /* write= */ false, table, sizeof *table, at);
                if (r < 0 && r != -EIO)
                        return r;
                if (r < 0 || !table_is_whole(volume, table) || !table_is_sound(volume, table)) {
                        volume->n_damaged++;
                        continue;
                }
                if (!found || table->sequence > volume->table.sequence)
                        volume->table = *table;
                found = true;
        }
        return found ? 0 : -EUCLEAN;
}

int stripe_open(const int *fds, const uint64_t *sizes, uint32_t n, StripeVolume *ret, StripeWhy *ret_why) {
        StripeMember members[STRIPE_MEMBERS_MAX];
        int r;

        if (n < 2 || n > STRIPE_MEMBERS_MAX) {
                *ret_why = (StripeWhy){.words = "a striped volume has 2 to 8 members"};
                return -EINVAL;
        }
        for (uint32_t i = 0; i < n; i++) {
                *ret_why = (StripeWhy){.words = "it cannot be read", .member = i};
                r = stripe_move_bytes(fds[i], /* write= */ false, &members[i], sizeof members[i], 0);
                if (r < 0)
                        return r;
                ret_why->words = check_member(&members[i], &members[0], i, n, sizes[i]);
                if (ret_why->words)
                        return -EUCLEAN;
        }
        *ret = (StripeVolume){.n = n, .shift = members[0].shift, .n_rows = members[0].n_rows};
        memcpy(ret->fds, fds, n * sizeof *fds);
        memcpy(ret->uuid, members[0].uuid, sizeof ret->uuid);
        r = load_table(ret, ret_why);
        for (uint32_t i = 0; i < STRIPE_FILES_MAX && r >= 0; i++)
                if (ret->table.files[i].removed)
                        stripe_remove(ret, i);
        return r;
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
                r = stripe_move_bytes(fds[i], /* write= */ true, block, sizeof block, 0);
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
        table_digests(table, table->own, table->gaps_own);
        for (uint32_t i = 0; i < volume->n && r >= 0; i++) /* data first, then the table that says it is there */
                r = RET_NERRNO(fdatasync(volume->fds[i]));
        for (uint64_t copy = 0; copy < 2 && r >= 0; copy++) {
                const uint64_t at = (1 + copy * STRIPE_TABLE_BLOCKS) * STRIPE_BLOCK;
                r = stripe_move_bytes(volume->fds[0], /* write= */ true, table, table_size(table), at);
                if (r >= 0)
                        r = stripe_move_bytes(volume->fds[0], /* write= */ true, table->gaps, table->n_gaps * sizeof *table->gaps,
                                              at + offsetof(StripeTable, gaps));
                if (r >= 0)
                        r = RET_NERRNO(fdatasync(volume->fds[0]));
        }
        return r;
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

int stripe_find(const StripeVolume *volume, const char *name) {
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++)
                if (*name && !volume->table.files[i].removed && strcmp(volume->table.files[i].name, name) == 0)
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
                        *file = (StripeFile){.generation = file->generation + 1, .first_run = file->first_run, .first_gap = file->first_gap};
                        memcpy(file->name, name, strlen(name) + 1);
                        return (int) i;
                }
        return -ENOSPC;
}

/* ---- times ---------------------------------------------------------------------------------------------------------- */

#define NSEC 1000000000LL

int64_t stripe_time(const struct timespec *time) {
        const bool before = time->tv_sec < 0; /* rounded towards 0: else the first second that fits would overflow */
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
