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

/* A file that is empty keeps the place it had, where another may be by now. */
static bool overlap(const StripeFile *a, const StripeFile *b) {
        return a->n_rows > 0 && b->n_rows > 0 && a->first < b->first + b->n_rows && b->first < a->first + a->n_rows;
}

/* Everything that the table says is checked once, here: names, rows within the volume that no two files share, sizes within the rows. */
static bool table_is_sound(const StripeVolume *volume, const StripeTable *table) {
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++) {
                const StripeFile *file = &table->files[i];
                if (!file->name[0])
                        continue;
                if (!memchr(file->name, 0, sizeof file->name) || strchr(file->name, '/') || strcmp(file->name, ".") == 0 ||
                    strcmp(file->name, "..") == 0 || file->first > volume->n_rows || file->n_rows > volume->n_rows - file->first ||
                    file->size > stripe_room(volume, file))
                        return false;
                for (uint32_t k = 0; k < i; k++) {
                        const StripeFile *other = &table->files[k];
                        if (other->name[0] && (strcmp(file->name, other->name) == 0 || overlap(file, other)))
                                return false;
                }
        }
        return true;
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
                if (r < 0 || memcmp(table->magic, STRIPE_TABLE_MAGIC, sizeof table->magic) != 0 ||
                    !is_signed(table, offsetof(StripeTable, own), table->own) ||
                    memcmp(table->uuid, volume->uuid, sizeof table->uuid) != 0 || !table_is_sound(volume, table))
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
                *ret_why = "a striped volume has 2 to 4 members";
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
        sign(table, offsetof(StripeTable, own), table->own);
        for (uint32_t i = 0; i < volume->n && r >= 0; i++) /* what the table says has data comes first */
                r = RET_NERRNO(fdatasync(volume->fds[i]));
        for (uint64_t copy = 0; copy < 2 && r >= 0; copy++) {
                r = move_all(volume->fds[0], /* write= */ true, table, sizeof *table, (1 + copy * STRIPE_TABLE_BLOCKS) * STRIPE_BLOCK);
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
                        volume->table.files[i] = (StripeFile){0};
                        memcpy(volume->table.files[i].name, name, strlen(name) + 1);
                        return (int) i;
                }
        return -ENOSPC;
}

/* How many rows from `row` on are nobody's but `self`'s. */
static uint64_t free_from(const StripeVolume *volume, uint64_t row, const StripeFile *self) {
        uint64_t end = volume->n_rows;

        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++) {
                const StripeFile *file = &volume->table.files[i];
                if (!file->name[0] || file->n_rows == 0 || file == self || file->first + file->n_rows <= row)
                        continue;
                end = MIN_OF(end, file->first);
        }
        return end > row ? end - row : 0;
}

/* A file without rows begins where most are free. */
static void choose_place(const StripeVolume *volume, StripeFile *file) {
        uint64_t best = free_from(volume, 0, file), first = 0;

        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++) {
                const StripeFile *other = &volume->table.files[i];
                uint64_t row = other->first + other->n_rows, n;
                if (!other->name[0] || other == file)
                        continue;
                n = free_from(volume, row, file);
                if (n > best) {
                        best = n;
                        first = row;
                }
        }
        file->first = first;
}

int stripe_reserve(StripeVolume *volume, uint32_t i, uint64_t bytes) {
        StripeFile *file = &volume->table.files[i];
        uint64_t row = (uint64_t) volume->n << volume->shift, needed = bytes / row + (bytes % row != 0);

        if (needed > volume->n_rows)
                return -ENOSPC;
        if (file->n_rows == 0 && needed > 0)
                choose_place(volume, file);
        if (needed > file->n_rows && needed > free_from(volume, file->first, file))
                return -ENOSPC;
        file->n_rows = needed;
        return 0;
}

uint64_t stripe_first_addr(const StripeVolume *volume, const StripeFile *file) {
        return (first_row(volume->shift) + file->first) << volume->shift;
}

void stripe_map(const StripeVolume *volume, const StripeFile *file, uint64_t pos, uint32_t *ret_member, uint64_t *ret_addr, uint64_t *ret_offset) {
        uint64_t chunk = pos >> volume->shift;

        *ret_member = (uint32_t) (chunk % volume->n);
        *ret_addr = stripe_first_addr(volume, file) + ((chunk / volume->n) << volume->shift);
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
