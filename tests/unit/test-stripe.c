/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rows of a striped volume: files that grow, shrink, come and go in turn, against a naive map of who has which row. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "stripe/volume.h"

#define SHIFT 12U
#define ROWS_MAX 9000U

static StripeVolume volume, again;
static int fds[STRIPE_MEMBERS_MAX];
static uint64_t sizes[STRIPE_MEMBERS_MAX];
static unsigned seed;

static uint64_t random_below(uint64_t limit) {
        return limit ? (uint64_t) rand_r(&seed) % limit : 0;
}

static void make(uint32_t n, uint64_t n_rows) {
        static const uint8_t uuid[16] = "a volume of test";
        StripeWhy why;

        for (uint32_t i = 0; i < n; i++) {
                sizes[i] = (1 + 2 * STRIPE_TABLE_BLOCKS) * STRIPE_BLOCK + (n_rows << SHIFT);
                fds[i] = memfd_create("member", MFD_CLOEXEC);
                assert_true(fds[i] >= 0 && ftruncate(fds[i], (off_t) sizes[i]) == 0);
        }
        assert_int_equal(stripe_create(fds, sizes, n, SHIFT, uuid), 0);
        assert_int_equal(stripe_open(fds, sizes, n, &volume, &why), 0);
        assert_int_equal(volume.n_rows, n_rows);
}

static void unmake(void) {
        for (uint32_t i = 0; i < volume.n; i++)
                (void) close(fds[i]);
}

/* What is written is what is read, and is sound. */
static void save(void) {
        StripeWhy why;

        assert_int_equal(stripe_save(&volume), 0);
        assert_int_equal(stripe_open(fds, sizes, volume.n, &again, &why), 0);
        assert_memory_equal(again.table.files, volume.table.files, sizeof volume.table.files);
        assert_int_equal(again.table.n_runs, volume.table.n_runs);
        assert_memory_equal(again.table.runs, volume.table.runs, volume.table.n_runs * sizeof *volume.table.runs);
        assert_int_equal(again.table.n_gaps, volume.table.n_gaps);
        assert_memory_equal(again.table.gaps, volume.table.gaps, volume.table.n_gaps * sizeof *volume.table.gaps);
}

static uint64_t rows_used(void) {
        uint64_t used = 0;

        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++)
                used += volume.table.files[i].n_rows;
        return used;
}

/* Each row that a file's positions lead to is its own; and the first run is where positions in it lead to. */
static void check_rows(void) {
        static uint32_t owners[ROWS_MAX];
        uint64_t addr, offset, first, room, head = (1 + 2 * STRIPE_TABLE_BLOCKS) * STRIPE_BLOCK;
        uint32_t member;

        memset(owners, 0, sizeof owners);
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++) {
                const StripeFile *file = &volume.table.files[i];
                stripe_first_run(&volume, file, &first, &room);
                for (uint64_t chunk = 0; chunk < file->n_rows * volume.n; chunk++) {
                        const uint64_t pos = chunk << SHIFT;
                        stripe_map(&volume, file, pos + random_below(1 << SHIFT), &member, &addr, &offset);
                        assert_int_equal(member, chunk % volume.n);
                        assert_int_equal(offset, pos);
                        uint64_t row = (addr - head) >> SHIFT;
                        assert_true(addr >= head && row < volume.n_rows);
                        if (pos < room)
                                assert_int_equal(addr, first + (chunk / volume.n << SHIFT));
                        if (member == 0)
                                assert_int_equal(owners[row], 0);
                        else
                                assert_int_equal(owners[row], i + 1);
                        owners[row] = i + 1;
                }
        }
}

static uint32_t add(unsigned number) {
        char name[16];

        (void) snprintf(name, sizeof name, "file %u", number);
        int i = stripe_add(&volume, name);
        assert_true(i >= 0);
        return (uint32_t) i;
}

static int resize(uint32_t i, uint64_t n_rows, bool apart) {
        return stripe_reserve(&volume, i, (n_rows * volume.n) << SHIFT, apart);
}

/* Files that grow in turn, by a row each, fill the volume to its last row, and have few runs each. */
static void grow_in_turn(unsigned n_files, uint64_t n_rows, bool apart, uint32_t max_runs) {
        make(2, n_rows);
        for (unsigned i = 0; i < n_files; i++)
                assert_int_equal(add(i), i);
        for (uint64_t row = 0; row < n_rows; row++) {
                const StripeFile *file = &volume.table.files[row % n_files];
                assert_int_equal(resize((uint32_t) (row % n_files), file->n_rows + 1, apart), 0);
        }
        assert_int_equal(rows_used(), n_rows);
        assert_int_equal(resize(0, volume.table.files[0].n_rows + 1, apart), -ENOSPC);
        assert_int_equal(rows_used(), n_rows);
        printf("%u files, %llu rows, %s: %u runs\n", n_files, (unsigned long long) n_rows, apart ? "apart" : "close", volume.table.n_runs);
        assert_true(volume.table.n_runs <= max_runs);
        check_rows();
        save();
        unmake();
}

static void test_growth(void **state) {
        grow_in_turn(1, 8000, false, 1);
        grow_in_turn(2, 8000, false, 40);
        grow_in_turn(2, 8000, true, 40);
        grow_in_turn(10, 9000, false, 200);
        grow_in_turn(500, 9000, false, STRIPE_RUNS_MAX);
        grow_in_turn(500, 9000, true, STRIPE_RUNS_MAX);
}

/* Beginning close together, one file is one run; what another leaves is used. */
static void test_pieces(void **state) {
        make(3, 100);
        for (uint32_t i = 0; i < 10; i++)
                assert_int_equal(resize(add(i), 10, false), 0);
        for (uint32_t i = 0; i < 10; i++)
                assert_int_equal(volume.table.files[i].n_runs, 1);
        for (uint32_t i = 1; i < 10; i += 2)
                stripe_remove(&volume, i);
        assert_int_equal(resize(4, 61, false), -ENOSPC);
        assert_int_equal(volume.table.files[4].n_rows, 10);
        assert_int_equal(volume.table.files[4].n_runs, 1);
        assert_int_equal(resize(4, 60, false), 0);
        assert_int_equal(volume.table.files[4].n_runs, 5);
        check_rows();
        save();
        assert_int_equal(resize(4, 25, false), 0);
        assert_int_equal(volume.table.files[4].n_runs, 2);
        check_rows();
        assert_int_equal(resize(4, 0, false), 0);
        assert_int_equal(volume.table.files[4].n_runs, 0);
        save();
        unmake();
}

/* The array of runs is full: an error, and nothing of what was asked for stays. */
static void test_runs_full(void **state) {
        make(2, 9000);
        for (uint32_t i = 0; i < 2; i++)
                assert_int_equal(add(i), i);
        for (uint64_t row = 0; row < 9000; row += 2) { /* as if by another's hand: the worst there is */
                StripeTable *table = &volume.table;
                if (table->n_runs == STRIPE_RUNS_MAX)
                        break;
                table->runs[table->n_runs++] = (StripeRun){.first = row, .n_rows = 1};
                table->files[0].n_runs++;
                table->files[0].n_rows++;
                for (uint32_t k = 1; k < STRIPE_FILES_MAX; k++)
                        table->files[k].first_run++;
        }
        save();
        assert_int_equal(resize(1, 1, false), -ENOSPC);
        assert_int_equal(volume.table.files[1].n_rows, 0);
        assert_int_equal(resize(0, STRIPE_RUNS_MAX - 1, false), 0);
        assert_int_equal(resize(1, 9000 - STRIPE_RUNS_MAX + 1, false), -ENOSPC);
        assert_int_equal(volume.table.files[1].n_rows, 0);
        assert_int_equal(volume.table.n_runs, STRIPE_RUNS_MAX - 1);
        assert_int_equal(resize(1, 700, false), 0); /* behind the last */
        save();
        unmake();
}

static void test_random(void **state) {
        const uint64_t n_rows = 3000;

        for (unsigned round = 0; round < 4; round++) {
                seed = round + 1;
                make(2 + round * 2, n_rows);
                for (unsigned step = 0; step < 4000; step++) {
                        const uint32_t i = (uint32_t) random_below(40);
                        StripeFile *file = &volume.table.files[i];
                        const uint64_t wanted = random_below(3) ? file->n_rows + random_below(20) : random_below(n_rows / 10), before = file->n_rows,
                                       used = rows_used();
                        int r = 0;
                        if (!file->name[0])
                                (void) add(step);
                        else if (random_below(30) == 0)
                                stripe_remove(&volume, i);
                        else {
                                r = resize(i, wanted, random_below(2));
                                assert_int_equal(r, wanted > before && wanted - before > n_rows - used ? -ENOSPC : 0);
                                assert_int_equal(file->n_rows, r < 0 ? before : wanted);
                        }
                        if (step % 100 == 0) {
                                check_rows();
                                save();
                        }
                }
                unmake();
        }
}

/* ---- gaps ----------------------------------------------------------------------------------------------------------- */

#define GAP_FILES 6U
#define GAP_BLOCKS 700U

static bool own[GAP_FILES][GAP_BLOCKS + 1]; /* which blocks were written */

static void check_gaps(void) {
        uint32_t n_gaps = 0;

        for (uint32_t i = 0; i < GAP_FILES; i++) {
                const StripeFile *file = &volume.table.files[i];
                const uint64_t n = ALIGN_TO(file->size, (uint64_t) STRIPE_BLOCK) / STRIPE_BLOCK;
                uint64_t from, to;
                assert_int_equal(file->first_gap, n_gaps);
                n_gaps += file->n_gaps;
                for (uint64_t block = 0; block < n; block++) {
                        const uint64_t pos = block * STRIPE_BLOCK + random_below(STRIPE_BLOCK);
                        assert_int_equal(stripe_is_written(&volume, file, pos, &from, &to), own[i][block]);
                        assert_true(from <= block * STRIPE_BLOCK && to > block * STRIPE_BLOCK && to <= n * STRIPE_BLOCK);
                        for (uint64_t k = from / STRIPE_BLOCK; k < to / STRIPE_BLOCK; k++)
                                assert_int_equal(own[i][k], own[i][block]);
                        assert_true(from == 0 || own[i][from / STRIPE_BLOCK - 1] != own[i][block]);
                        assert_true(to == n * STRIPE_BLOCK || own[i][to / STRIPE_BLOCK] != own[i][block]);
                }
                assert_false(stripe_is_written(&volume, file, n * STRIPE_BLOCK, &from, &to));
                assert_int_equal(from, n * STRIPE_BLOCK);
        }
        assert_int_equal(n_gaps, volume.table.n_gaps);
}

static void test_gaps(void **state) {
        uint64_t limit = GAP_BLOCKS * STRIPE_BLOCK;

        seed = 1;
        memset(own, 0, sizeof own);
        make(2, GAP_FILES * GAP_BLOCKS / 2 + 10);
        for (uint32_t i = 0; i < GAP_FILES; i++)
                assert_int_equal(resize(add(i), GAP_BLOCKS / 2, false), 0);
        for (unsigned step = 0; step < 20000; step++) {
                const uint32_t i = (uint32_t) random_below(GAP_FILES);
                const uint64_t pos = random_below(limit), size = 1 + random_below(MIN_OF(limit - pos, 1 + random_below(9 * STRIPE_BLOCK))),
                               before = volume.table.files[i].size;
                if (random_below(200) == 0) {
                        assert_int_equal(stripe_resize(&volume, i, pos), 0);
                        assert_int_equal(volume.table.files[i].size, pos);
                        for (uint64_t k = ALIGN_TO(pos, (uint64_t) STRIPE_BLOCK) / STRIPE_BLOCK; k < GAP_BLOCKS; k++)
                                own[i][k] = false;
                } else {
                        assert_int_equal(stripe_written(&volume, i, pos, size), 0);
                        assert_int_equal(volume.table.files[i].size, MAX_OF(before, pos + size));
                        for (uint64_t k = pos / STRIPE_BLOCK; k <= (pos + size - 1) / STRIPE_BLOCK; k++)
                                own[i][k] = true;
                }
                if (step % 100 == 0) {
                        check_gaps();
                        save();
                }
        }
        stripe_remove(&volume, 2);
        memset(own[2], 0, sizeof own[2]);
        check_gaps();
        save();
        unmake();
}

/* The array of gaps is full: what would take one more fails, and changes nothing; what takes none goes on. */
static void test_gaps_full(void **state) {
        const uint64_t size = 2 * (STRIPE_GAPS_MAX + 2) * STRIPE_BLOCK;
        static StripeTable before;

        make(2, 9000);
        assert_int_equal(resize(add(0), size / 2 / STRIPE_BLOCK + 20, false), 0);
        assert_int_equal(resize(add(1), 20, false), 0);
        assert_int_equal(stripe_resize(&volume, 0, size), 0);
        for (uint64_t k = 1; k < STRIPE_GAPS_MAX; k++)
                assert_int_equal(stripe_written(&volume, 0, 2 * k * STRIPE_BLOCK, 10), 0);
        assert_int_equal(volume.table.n_gaps, STRIPE_GAPS_MAX);
        save();
        before = volume.table;
        assert_int_equal(stripe_written(&volume, 0, size - 2 * STRIPE_BLOCK, 1), -ENOSPC);
        assert_int_equal(stripe_written(&volume, 1, 5 * STRIPE_BLOCK, 1), -ENOSPC);
        assert_int_equal(stripe_resize(&volume, 1, 1), -ENOSPC);
        assert_memory_equal(&volume.table, &before, sizeof before);
        assert_int_equal(stripe_resize(&volume, 0, size + STRIPE_BLOCK), 0); /* its last gap is longer */
        assert_int_equal(stripe_written(&volume, 0, 3 * STRIPE_BLOCK, STRIPE_BLOCK), 0);
        assert_int_equal(stripe_written(&volume, 1, 5 * STRIPE_BLOCK, 1), 0);
        assert_int_equal(stripe_resize(&volume, 0, 10 * STRIPE_BLOCK), 0);
        save();
        unmake();
}

/* A place that is used again is another file's by its generation, also after the volume has been opened anew. */
static void test_generations(void **state) {
        StripeWhy why;

        make(2, 10);
        for (unsigned k = 1; k < 5; k++) {
                assert_int_equal(add(k), 0);
                assert_int_equal(volume.table.files[0].generation, k);
                stripe_remove(&volume, 0);
                save();
                assert_int_equal(stripe_open(fds, sizes, 2, &volume, &why), 0);
        }
        unmake();
}

/* A file that was removed while it was open is in nobody's way, and goes when the volume is opened anew. */
static void test_removed(void **state) {
        StripeWhy why;

        make(2, 10);
        assert_int_equal(resize(add(0), 6, false), 0);
        assert_int_equal(stripe_resize(&volume, 0, 40000), 0);
        assert_int_equal(stripe_written(&volume, 0, 30000, 10), 0);
        volume.table.files[0].removed = 1;
        assert_int_equal(stripe_find(&volume, "file 0"), -ENOENT);
        assert_int_equal(add(0), 1); /* the same name */
        assert_int_equal(resize(1, 5, false), -ENOSPC);
        assert_int_equal(stripe_save(&volume), 0);
        assert_int_equal(stripe_open(fds, sizes, 2, &volume, &why), 0);
        assert_int_equal(stripe_find(&volume, "file 0"), 1);
        assert_int_equal(rows_used() + volume.table.n_gaps + volume.table.n_runs, 0);
        assert_int_equal(resize(add(2), 10, false), 0);
        assert_int_equal(volume.table.files[0].generation, 2);
        save();
        unmake();
}

static void test_times(void **state) {
        static const struct {
                struct timespec time;
                int64_t nsec;
        } cases[] = {
                {{0, 0}, 0}, {{1, 5}, 1000000005}, {{-1, 999999999}, -1}, {{-1, 0}, -1000000000}, {{-2, 500000000}, -1500000000},
                {{9223372036, 854775807}, INT64_MAX}, {{-9223372037, 145224193}, -INT64_MAX},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct timespec time = stripe_timespec(cases[i].nsec);
                assert_int_equal(stripe_time(&cases[i].time), cases[i].nsec);
                assert_int_equal(time.tv_sec, cases[i].time.tv_sec);
                assert_int_equal(time.tv_nsec, cases[i].time.tv_nsec);
        }
        assert_int_equal(stripe_time(&(struct timespec){.tv_sec = 1LL << 40}), INT64_MAX);
        assert_int_equal(stripe_time(&(struct timespec){.tv_sec = -(1LL << 40)}), INT64_MIN);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_growth), cmocka_unit_test(test_pieces), cmocka_unit_test(test_runs_full), cmocka_unit_test(test_random),
                cmocka_unit_test(test_gaps), cmocka_unit_test(test_gaps_full),
                cmocka_unit_test(test_generations), cmocka_unit_test(test_removed), cmocka_unit_test(test_times),
        };

        return cmocka_run_group_tests_name("stripe", tests, NULL, NULL);
}
