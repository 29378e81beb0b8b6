/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A table has room for a fixed number of gaps, and a write into the middle of one makes two of it. When it is full, the shortest gap is filled with
 * zeroes, on the devices, without the lock. Never one that a write may be on its way into, as filling could overwrite what it writes: such writes
 * are remembered here from when they are told their place until they succeed. One that fails stays until the file is made shorter or removed, as
 * the library does not say how much of it reached the devices. */

#include "stripe/server.h"

static void take_away(uint32_t k) {
        server.handed[k] = server.handed[--server.n_handed];
}

void server_hand_out(uint32_t i, uint64_t from, uint64_t to) {
        for (uint32_t k = 0; k < server.n_handed; k++) {
                Handed *known = &server.handed[k];
                if (known->i == i && from <= known->to && to >= known->from) {
                        known->from = MIN_OF(known->from, from);
                        known->to = MAX_OF(known->to, to);
                        return;
                }
        }
        assert(server.n_handed < STRIPE_GAPS_MAX);
        server.handed[server.n_handed++] = (Handed){.i = i, .from = from, .to = to};
}

void server_hand_back(uint32_t i, uint64_t from, uint64_t to) {
        for (uint32_t k = server.n_handed; k-- > 0;) {
                Handed *known = &server.handed[k];
                if (known->i != i || from >= known->to || to <= known->from)
                        continue;
                if (from <= known->from && to >= known->to)
                        take_away(k);
                else if (from <= known->from)
                        known->from = to;
                else if (to >= known->to)
                        known->to = from;
                else if (server.n_handed < STRIPE_GAPS_MAX) { /* else the whole stays remembered */
                        server.handed[server.n_handed++] = (Handed){.i = i, .from = to, .to = known->to};
                        known->to = from;
                }
        }
}

static bool is_handed(uint32_t i, const StripeGap *gap) {
        for (uint32_t k = 0; k < server.n_handed; k++)
                if (server.handed[k].i == i && server.handed[k].from < gap->offset + gap->length && server.handed[k].to > gap->offset)
                        return true;
        return false;
}

static int find_shortest(uint32_t *ret_i, StripeGap *ret) {
        const StripeTable *table = &server.volume.table;
        bool found = false;

        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++)
                for (uint32_t k = 0; k < table->files[i].n_gaps; k++) {
                        const StripeGap *gap = &table->gaps[table->files[i].first_gap + k];
                        if ((found && gap->length >= ret->length) || is_handed(i, gap))
                                continue;
                        *ret = *gap;
                        *ret_i = i;
                        found = true;
                }
        return found ? 0 : -ENOSPC;
}

/* Chunk by chunk: where each is, is looked up with the lock. */
static int fill(uint32_t i, const StripeGap *gap) {
        const uint64_t end = gap->offset + gap->length, chunk = 1ULL << server.volume.shift;
        int r = 0;

        for (uint64_t at = gap->offset, n; at < end && r >= 0; at += n) {
                uint64_t addr, offset;
                uint32_t member;
                stripe_map(&server.volume, &server.volume.table.files[i], at, &member, &addr, &offset);
                n = MIN_OF(end, offset + chunk) - at;
                (void) pthread_mutex_unlock(&server.lock);
                r = stripe_zero(&server.volume, member, addr + (at - offset), n);
                (void) pthread_mutex_lock(&server.lock);
        }
        return r;
}

static int fill_shortest(void) {
        StripeGap gap;
        uint32_t i;
        int r;

        r = find_shortest(&i, &gap);
        if (r < 0)
                return r;
        server.filling = i + 2;
        r = fill(i, &gap);
        server.filling = 0;
        (void) pthread_cond_broadcast(&server.filled);
        if (r >= 0) /* it may end behind the file */
                r = stripe_written(&server.volume, i, gap.offset, MIN_OF(gap.length, server.volume.table.files[i].size - gap.offset));
        server_tell_program(i);
        server_changed(i);
        return r;
}

void server_wait_filled(fuse_ino_t ino) {
        while (server.filling == ino)
                (void) pthread_cond_wait(&server.filled, &server.lock);
}

int server_gap_room(fuse_ino_t ino) {
        int r = 0;

        for (;;) {
                server_wait_filled(ino);
                if (server.volume.table.n_gaps + server.n_handed < STRIPE_GAPS_MAX)
                        return 0;
                if (server.filling)
                        server_wait_filled(server.filling);
                else
                        r = fill_shortest();
                if (r < 0)
                        return r;
        }
}
