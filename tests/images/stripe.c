/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A striped volume of two members. */

#include "images/images.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stripe/volume.h"

#define MEMBER_SIZE (3U << 20)
#define FILE_SIZE 300000U

const char *const image_name = "stripe";
const bool image_is_vouched_for = true;
static StripeVolume volume;
static StripeTable made; /* as it was */

void image_make(Image *ret) {
        static const uint8_t uuid[16] = "fused, a stripe";
        StripeWhy why;
        char name[16];

        ret->n = 2;
        for (unsigned i = 0; i < 2; i++) {
                ret->fds[i] = memfd_create("member", MFD_CLOEXEC);
                ret->sizes[i] = MEMBER_SIZE;
                if (ret->fds[i] < 0 || ftruncate(ret->fds[i], MEMBER_SIZE) < 0)
                        abort();
        }
        if (stripe_create(ret->fds, ret->sizes, 2, 14, uuid) < 0 || stripe_open(ret->fds, ret->sizes, 2, &volume, &why) < 0)
                abort();
        for (unsigned i = 0; i < 8; i++) {
                (void) snprintf(name, sizeof name, "file %u", i);
                int file = stripe_add(&volume, name);
                if (file < 0 || stripe_reserve(&volume, (uint32_t) file, FILE_SIZE / 2, false) < 0)
                        abort();
        }
        for (uint32_t file = 0; file < 8; file++) { /* two runs and two gaps each */
                if (stripe_reserve(&volume, file, FILE_SIZE, false) < 0 || volume.table.files[file].n_runs != 1 + (file < 7))
                        abort();
                if (stripe_resize(&volume, file, FILE_SIZE) < 0 || stripe_written(&volume, file, 0, 8192) < 0 ||
                    stripe_written(&volume, file, 40960 + file * STRIPE_BLOCK, 100) < 0 || volume.table.files[file].n_gaps != 2)
                        abort();
                volume.table.files[file].mode = 0644;
        }
        if (stripe_save(&volume) < 0)
                abort();
        made = volume.table;
}

/* All of it: the headers, and both copies of the table. */
size_t image_areas(const Image *image, Area *ret, size_t n_max) {
        if (n_max < 2)
                return 0;
        ret[0] = (Area){0, 0, STRIPE_BLOCK * (1 + 2 * STRIPE_TABLE_BLOCKS)};
        ret[1] = (Area){1, 0, STRIPE_BLOCK};
        return 2;
}

static off_t table_at(unsigned copy) {
        return (off_t) STRIPE_BLOCK * (1 + (off_t) copy * STRIPE_TABLE_BLOCKS);
}

void image_reseal(const Image *image) {
        static StripeTable table;
        StripeMember member;

        for (unsigned i = 0; i < 2; i++)
                if (pread(image->fds[i], &member, sizeof member, 0) == sizeof member) {
                        SHA256((const uint8_t *) &member, offsetof(StripeMember, own), member.own);
                        (void) !pwrite(image->fds[i], &member, sizeof member, 0);
                }
        for (unsigned i = 0; i < 2; i++) { /* one that is damaged takes the other one's place as well */
                if (pread(image->fds[0], &table, sizeof table, table_at(i)) != sizeof table ||
                    (memcmp(&table, &made, offsetof(StripeTable, runs) + made.n_runs * sizeof(StripeRun)) == 0 &&
                     memcmp(table.gaps, made.gaps, made.n_gaps * sizeof(StripeGap)) == 0))
                        continue;
                size_t size = offsetof(StripeTable, runs) + MIN_OF(table.n_runs, STRIPE_RUNS_MAX) * sizeof(StripeRun);
                SHA256((const uint8_t *) table.gaps, MIN_OF(table.n_gaps, STRIPE_GAPS_MAX) * sizeof(StripeGap), table.gaps_own);
                SHA256((const uint8_t *) &table.sequence, size - offsetof(StripeTable, sequence), table.own);
                for (unsigned k = 0; k < 2; k++)
                        (void) !pwrite(image->fds[0], &table, sizeof table, table_at(k));
                return;
        }
}

/* What the table says of a file must lead nowhere outside the members. */
static void look_at(const Image *image, const StripeFile *file) {
        static uint8_t data[65536];
        uint64_t addr, offset, room = stripe_room(&volume, file), from, to, at = 0;
        bool written = false;
        uint32_t member;

        assert(strnlen(file->name, sizeof file->name) < sizeof file->name);
        for (uint64_t pos = 0; pos < MIN_OF(room, 1ULL << 20); pos += 16384) {
                stripe_map(&volume, file, pos, &member, &addr, &offset);
                assert(member < volume.n && offset <= pos && pos - offset < 1ULL << volume.shift);
                assert(addr <= image->sizes[member] && (1ULL << volume.shift) <= image->sizes[member] - addr);
        }
        for (unsigned i = 0; at < file->size; at = to, i++) { /* gaps and what is written, in turn or gap after gap */
                bool now = stripe_is_written(&volume, file, at, &from, &to);
                assert(from == at && to > at && !(i > 0 && written && now) && i <= 2 * STRIPE_GAPS_MAX);
                written = now;
        }
        if (room > 0)
                assert(stripe_move(&volume, file, /* write= */ false, 0, data, MIN_OF(room, sizeof data)) >= 0);
}

int image_walk(const Image *image, unsigned seed, Seen *seen) {
        StripeWhy why;
        int r;

        r = stripe_open(image->fds, image->sizes, 2, &volume, &why);
        if (r < 0)
                return r;
        seen->n = SEEN_MAX;
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++) {
                const StripeFile *file = &volume.table.files[i];
                if (file->name[0])
                        look_at(image, file);
                if (i < SEEN_MAX) {
                        seen->fine[i] = true;
                        seen->digests[i] = image_mix(image_mix(0, file, sizeof *file), &volume.table.runs[file->first_run],
                                                     file->n_runs * sizeof(StripeRun));
                        seen->digests[i] = image_mix(seen->digests[i], &volume.table.gaps[file->first_gap], file->n_gaps * sizeof(StripeGap));
                }
        }
        r = stripe_add(&volume, "one more");
        if (r >= 0 && stripe_reserve(&volume, (uint32_t) r, 1 + seed % 2000000, seed & 1) >= 0) {
                if (stripe_resize(&volume, (uint32_t) r, 1 + seed % 2000000) >= 0)
                        (void) !stripe_written(&volume, (uint32_t) r, seed % 1000000, 1 + seed % 10000);
                look_at(image, &volume.table.files[r]);
                r = stripe_save(&volume);
        }
        return 0;
}
