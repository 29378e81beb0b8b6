/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The conformance run: the program's own sample is made for the devices of the mount, several times; then it is asked for positions
 * from the file's start to its end by walking from mapping to mapping, for the first and last byte of each and their neighbours, for powers
 * of two, for what is past the end, and for thousands at random, each for reading and for what changes the file. Each answer has to keep the rules of
 * mappings, lie within a device, agree with the walk in all of its range, and come in time; what may be written to is nowhere twice. A lie about a
 * position that none of these is, in a mapping whose ends are told rightly, is found with the chance that a random position hits it. Which
 * positions these are, and under which number the file is known, cannot be foreseen. */

#include "program/conform.h"

#include <inttypes.h>
#include <string.h>

#define SEEDS 8
#define STEPS_MAX 1000    /* mappings of one walk */
#define RANDOM_POSITIONS 4096ULL
#define RANDOM_AGAIN 256ULL /* for the same file under another number */
#define EMPTY_NSEC 2000     /* what running nothing takes on a slow machine; fewer positions on one that is much slower (emulated) */
#define RUN_NSEC_MAX 20000ULL /* far above what is any good, */
#define RUN_RATIO_MAX 20      /* and that many times what running nothing takes */

static const uint32_t reads[] = {FUSED_MAPPING_OP_DIRECT, FUSED_MAPPING_OP_REPORT, FUSED_MAPPING_OP_FAULT, FUSED_MAPPING_OP_NOWAIT};
static const uint32_t changes[] = {
        FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_DIRECT, FUSED_MAPPING_OP_WRITE, FUSED_MAPPING_OP_ZERO, FUSED_MAPPING_OP_UNSHARE,
        FUSED_MAPPING_OP_WRITEBACK, FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_FAULT,
        FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_DIRECT | FUSED_MAPPING_OP_OVERWRITE_ONLY,
};

static uint64_t next_random(Run *run) {
        run->state ^= run->state << 13;
        run->state ^= run->state >> 7;
        return run->state ^= run->state << 17;
}

static uint64_t end_of(const struct fused_mapping *m) {
        return m->offset + m->length;
}

static bool same_place(const struct fused_mapping *a, const struct fused_mapping *b) {
        return a->type == b->type && a->flags == b->flags && a->dev == b->dev && (!a->dev || a->addr - a->offset == b->addr - b->offset);
}

/* ---- the walk ------------------------------------------------------------------------------------------------------- */

static int walk(Run *run) {
        struct fused_mapping ignored;
        uint64_t pos = 0;
        int r;

        for (run->n_walk = 0; pos < run->size && run->n_walk < STEPS_MAX; run->n_walk++) {
                Step *step = &run->walk[run->n_walk];
                r = conform_ask(run, pos, 1, 0, &step->mapping);
                if (r < 0)
                        return r;
                if (r == 0)
                        return conform_fail(run, pos, 0, "its own sample", "no answer");
                if (run->n_walk > 0 && step->mapping.offset < end_of(&step[-1].mapping))
                        return conform_fail(run, pos, 0, "walk", "overlaps the mapping before it");
                r = conform_ask(run, pos, 1, changes[0], &ignored);
                if (r < 0)
                        return r;
                step->changes = r > 0;
                pos = end_of(&step->mapping);
        }
        return 0;
}

/* The first step of the walk that ends behind pos; NULL: none. */
static const Step *find(const Run *run, uint64_t pos) {
        size_t low = 0, high = run->n_walk;

        while (low < high) {
                size_t middle = (low + high) / 2;
                if (end_of(&run->walk[middle].mapping) <= pos)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < run->n_walk ? &run->walk[low] : NULL;
}

static int by_place(const void *a, const void *b) {
        const struct fused_mapping *x = &((const Step *) a)->mapping, *y = &((const Step *) b)->mapping;

        return x->dev != y->dev ? (x->dev < y->dev ? -1 : 1) : x->addr != y->addr ? (x->addr < y->addr ? -1 : 1) : 0;
}

/* Ranges that are only read may be shared. What may be written to belongs to one range of the file. */
static int check_places(Run *run) {
        _cleanup_free_ Step *steps = calloc(run->n_walk, sizeof *steps);
        const struct fused_mapping *any = NULL, *changed = NULL; /* that reach furthest */

        if (!steps)
                return -ENOMEM;
        memcpy(steps, run->walk, run->n_walk * sizeof *steps);
        qsort(steps, run->n_walk, sizeof *steps, by_place);
        for (size_t i = 0; i < run->n_walk; i++) {
                const struct fused_mapping *m = &steps[i].mapping, *other = steps[i].changes ? any : changed;
                if (m->dev == 0)
                        continue;
                if (other && other->dev == m->dev && m->addr < other->addr + other->length)
                        return conform_fail(run, m->offset, changes[0], "read half", "its bytes on the device are another position's, too");
                if (!any || any->dev != m->dev || m->addr + m->length > any->addr + any->length)
                        any = m;
                if (steps[i].changes && (!changed || changed->dev != m->dev || m->addr + m->length > changed->addr + changed->length))
                        changed = m;
        }
        return 0;
}

/* ---- positions ------------------------------------------------------------------------------------------------------ */

/* All of an answer's range is used, not just the position that was asked for. */
static int compare(Run *run, uint64_t pos, uint32_t opflags, const struct fused_mapping *m) {
        for (const Step *step = find(run, m->offset); step && step < run->walk + run->n_walk && step->mapping.offset < end_of(m); step++)
                if (!same_place(&step->mapping, m))
                        return conform_fail(run, pos, opflags, "read half", "not where the walk found it");
        return 0;
}

/* Where no walk has been: its ends say the same as its middle. */
static int compare_ends(Run *run, const struct fused_mapping *m) {
        const uint64_t ends[] = {m->offset, end_of(m) - 1};
        struct fused_mapping other;
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(ends) && r >= 0; i++) {
                r = conform_ask(run, ends[i], 1, 0, &other);
                if (r >= 0 && (r == 0 || !same_place(m, &other)))
                        return conform_fail(run, ends[i], 0, "read half", "not where it is found from within");
        }
        return r;
}

static int probe_read(Run *run, uint64_t pos, uint64_t count, uint32_t opflags, const Step *known, struct fused_mapping *m) {
        int r = conform_ask(run, pos, count, opflags, m);

        if (r < 0)
                return r;
        if (r == 0)
                return known && opflags == 0 ? conform_fail(run, pos, opflags, "verdict", "no answer, the walk had one") : 0;
        if (compare(run, pos, opflags, m) < 0)
                return -EPERM;
        return 1;
}

/* One position, for reading and for changes: these have to be where what is read is. */
static int probe(Run *run, uint64_t pos, uint64_t count) {
        const uint32_t other = reads[next_random(run) % ELEMENTSOF(reads)], change = changes[next_random(run) % ELEMENTSOF(changes)];
        const Step *known = find(run, pos);
        struct fused_mapping read, m;
        int r, found;

        if (known && known->mapping.offset > pos)
                known = NULL;
        found = probe_read(run, pos, count, 0, known, &read);
        if (found < 0)
                return found;
        r = found > 0 && !known ? compare_ends(run, &read) : 0;
        if (r >= 0)
                r = probe_read(run, pos, count, other, known, &m);
        if (r > 0 && (found == 0 || !same_place(&m, &read)))
                return conform_fail(run, pos, other, "read half", "another place than for reading");
        if (r >= 0)
                r = conform_ask(run, pos, count, change, &m);
        if (r > 0 && (found == 0 || !same_place(&m, &read)))
                return conform_fail(run, pos, change, "read half", "another place than for reading");
        return r > 0 ? compare(run, pos, change, &m) : r;
}

static int probe_steps(Run *run) {
        int r = 0;

        for (size_t i = 0; i < run->n_walk && r >= 0; i++) {
                const struct fused_mapping *m = &run->walk[i].mapping;
                const uint64_t positions[] = {m->offset, m->offset + 1, m->offset + m->length / 2, end_of(m) - 1};
                for (size_t k = 0; k < ELEMENTSOF(positions) && r >= 0; k++)
                        r = probe(run, positions[k], 1 + (next_random(run) & 0xfffff));
        }
        return r;
}

static int probe_others(Run *run, uint64_t n_random) {
        const uint64_t ends[] = {run->size - 1, run->size, run->size + 1, INT64_MAX, UINT64_MAX - 1, UINT64_MAX};
        int r = 0;

        for (unsigned bit = 9; bit < 64 && r >= 0; bit++)
                for (int off = -1; off <= 1 && r >= 0; off++)
                        r = probe(run, (1ULL << bit) + (uint64_t) off, 1);
        for (size_t i = 0; i < ELEMENTSOF(ends) && r >= 0; i++)
                r = probe(run, ends[i], 1);
        for (uint64_t i = 0; i < n_random && r >= 0; i++)
                r = probe(run, next_random(run) % run->size, 1 + (next_random(run) & 0xffffff));
        return r;
}

/* A node that the tables do not know is the server's. 0 is what stands in a free entry. */
static int probe_strangers(Run *run) {
        const uint64_t strangers[] = {run->node + 1, run->node ^ 1ULL << 32, next_random(run), 0};
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(strangers) && r >= 0; i++) {
                struct fused_program_call call = {.nodeid = strangers[i], .pos = 0, .count = 1};
                uint32_t verdict = 0;
                r = strangers[i] == run->node ? 0 : conform_call(run->fd, &call, sizeof call, &verdict);
                if (r >= 0 && verdict != FUSED_PROGRAM_FALLBACK)
                        r = report_fail(run->report, "conformance", "it answers for a file that is not in its tables");
        }
        return r;
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

static int fill(Run *run, const Loaded *tables, int sample_fd) {
        struct fused_sample_call sample = {
                .nodeid = run->node, .seed = run->seed, .n_devices = run->devices->n, .block_size = run->devices->block_size};
        const LoadedTable *cookies = load_table(tables, "devices");
        uint32_t ignored;
        int r;

        for (size_t i = 0; i < tables->n_tables; i++)
                if (!tables->tables[i].constant)
                        memset(tables->tables[i].data, 0, (size_t) tables->tables[i].n_entries * tables->tables[i].entry_size);
        for (uint32_t i = 1; i <= run->devices->n; i++)
                *(uint64_t *) (void *) ((char *) cookies->data + (size_t) i * cookies->entry_size) = i;
        memcpy(sample.device_size, run->devices->sizes, sizeof sample.device_size);
        r = conform_call(sample_fd, &sample, sizeof sample, &ignored);
        if (r < 0)
                return r;
        if (sample.file_size == 0)
                return report_fail(run->report, "sample", "there is none for these %u devices", run->devices->n);
        if (sample.file_size % run->devices->block_size != 0 || sample.file_size > INT64_MAX)
                return report_fail(run->report, "sample", "its file is no number of blocks");
        run->size = sample.file_size;
        run->n_window = 0; /* the time so far is ours */
        return 0;
}

/* Numbers of nodes are small with most servers, and anything with some. */
static void next_node(Run *run) {
        uint64_t before = run->node;

        do
                run->node = next_random(run) >> next_random(run) % 60;
        while (run->node == 0 || run->node == before);
}

/* again: the same under another number, in passing. */
static int run_file(Run *run, const Loaded *tables, int sample_fd, uint64_t n_random, bool again) {
        int r;

        next_node(run);
        r = fill(run, tables, sample_fd);
        if (r >= 0)
                r = walk(run);
        if (r >= 0)
                r = check_places(run);
        if (r >= 0 && !again)
                r = probe_steps(run);
        if (r >= 0)
                r = probe_others(run, again ? MIN_OF(n_random, RANDOM_AGAIN) : n_random);
        return r < 0 ? r : probe_strangers(run);
}

int vet_conformance(Loaded *tables, const Loaded *program, const Loaded *sample, const VetDevices *devices, uint32_t seed, Report *report) {
        _cleanup_free_ Step *memory = calloc(STEPS_MAX, sizeof *memory);
        const LoadedTable *cookies = load_table(tables, "devices");
        Run run = {.fd = program->fd, .devices = devices, .report = report, .base = seed, .walk = memory,
                   .state = 0x9e3779b97f4a7c15ULL * (seed + 1ULL)};
        uint64_t empty_nsec, n_random;
        int r;

        if (!memory)
                return -ENOMEM;
        if (!cookies || cookies->constant || cookies->entry_size != sizeof(uint64_t) || cookies->n_entries <= devices->n)
                return report_fail(report, "maps", "there is no table of devices");
        r = conform_measure(&empty_nsec);
        if (r < 0)
                return r;
        run.nsec_max = MAX_OF(RUN_NSEC_MAX, RUN_RATIO_MAX * empty_nsec);
        n_random = empty_nsec > EMPTY_NSEC ? RANDOM_POSITIONS * EMPTY_NSEC / empty_nsec : RANDOM_POSITIONS;
        n_random = MAX_OF(n_random, RANDOM_AGAIN);
        r = load_map_tables(tables);
        for (uint64_t i = 0; i < SEEDS && r >= 0; i++) {
                run.seed = (next_random(&run) & ~(uint64_t) (SEEDS - 1)) | i; /* samples may look at single bits of it */
                r = run_file(&run, tables, sample->fd, n_random, /* again= */ false);
                if (r >= 0)
                        r = run_file(&run, tables, sample->fd, n_random, /* again= */ true);
        }
        if (r < 0)
                return r;
        report_pass(report, "conformance", "%" PRIu64 " answers on %d sample files, %" PRIu64 " ns each (--seed %" PRIu32 ")", run.n_runs,
                    SEEDS, run.nsec / MAX_OF(run.n_timed, (uint64_t) 1), seed);
        return 0;
}
