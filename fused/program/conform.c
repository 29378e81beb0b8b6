/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The conformance run: the program's own sample is made for the devices of the mount, under several seeds; then it is asked for positions
 * from the file's start to its end by walking from mapping to mapping, for the first and last byte of each and their neighbours, for powers
 * of two, for what is past the end, and for thousands at random. Each answer has to keep the rules of mappings, lie within a
 * device, agree with the walk wherever both speak of a position, and come in time. A lie about a position that none of these is, in a mapping
 * whose ends are told rightly, is found with the chance that a random position hits it. */

#define FUSE_USE_VERSION 312
#include "fused-map.h"

#include <inttypes.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "program/vet.h"

#define SEEDS 8
#define STEPS_MAX 2000    /* mappings of one walk */
#define RANDOM_POSITIONS 4096
#define NODE 4711ULL
#define RUN_NSEC_MAX 100000 /* of one run, in the median: far above any that is any good */

typedef struct Run {
        Loaded *loaded;
        const VetDevices *devices;
        Report *report;
        uint64_t size;  /* of the sample's file */
        uint64_t seed;
        unsigned n_runs;
        struct fused_mapping *walk; /* owned: the mappings of the walk, in order */
        size_t n_walk;
} Run;

static int call_program(int fd, void *context, size_t size, uint32_t *ret) {
        union bpf_attr attr = {.test = {.prog_fd = (uint32_t) fd, .ctx_in = (uintptr_t) context, .ctx_size_in = (uint32_t) size}};

        if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof attr.test) < 0)
                return -errno;
        *ret = attr.test.retval;
        return 0;
}

static int fail(Run *run, uint64_t pos, const char *what, const char *why) {
        return report_fail(run->report, "conformance", "position %" PRIu64 " (seed %" PRIu64 "): %s: %s", pos, run->seed, what, why);
}

static int check_place(Run *run, uint64_t pos, const struct fused_mapping *m, bool write) {
        const char *rule = NULL;

        if (fused_mapping_check(m, write, /* upsert= */ false, pos, run->devices->block_size, INT64_MAX, &rule) >= 0 && m->dev != 0) {
                if (m->dev > run->devices->n)
                        rule = "device that the mount does not have";
                else if (m->addr > run->devices->sizes[m->dev - 1] || m->length > run->devices->sizes[m->dev - 1] - m->addr)
                        rule = "address past the end of the device";
                else if (m->addr % 512 != 0)
                        rule = "address within a sector";
        }
        if (!rule)
                return 0;
        return fail(run, pos, write ? "write half" : "read half", rule);
}

/* 1: handled, 0: it falls back. */
static int ask(Run *run, uint64_t pos, uint64_t count, uint32_t opflags, struct fused_mapping *ret) {
        struct fused_program_call call = {.nodeid = NODE, .pos = pos, .count = count, .opflags = opflags};
        uint32_t verdict = 0;
        int r;

        r = call_program(run->loaded->run_fd, &call, sizeof call, &verdict);
        if (r < 0)
                return r;
        run->n_runs++;
        if (verdict != FUSED_PROGRAM_HANDLED)
                return verdict == FUSED_PROGRAM_FALLBACK ? 0 : fail(run, pos, "verdict", "neither handled nor fall back");
        if (call.read.type == FUSED_MAPPING_RETRY_CACHE || call.read.type == FUSED_MAPPING_INLINE || call.read.type == FUSED_MAPPING_DELALLOC)
                return fail(run, pos, "read half", "a type that is not for a program");
        r = check_place(run, pos, &call.read, false);
        if (r >= 0)
                r = check_place(run, pos, &call.write, true);
        *ret = call.read;
        return r < 0 ? r : 1;
}

static int walk(Run *run) {
        uint64_t pos = 0;
        int r;

        while (pos < run->size && run->n_walk < STEPS_MAX) {
                struct fused_mapping *m = &run->walk[run->n_walk];
                r = ask(run, pos, 1, 0, m);
                if (r < 0)
                        return r;
                if (r == 0)
                        return fail(run, pos, "its own sample", "no answer");
                if (run->n_walk > 0 && m->offset < run->walk[run->n_walk - 1].offset + run->walk[run->n_walk - 1].length)
                        return fail(run, pos, "walk", "overlaps the mapping before it");
                pos = m->offset + m->length;
                run->n_walk++;
        }
        return 0;
}

static const struct fused_mapping *find(const Run *run, uint64_t pos) {
        size_t low = 0, high = run->n_walk;

        while (low < high) {
                size_t middle = (low + high) / 2;
                if (run->walk[middle].offset <= pos)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low > 0 && pos - run->walk[low - 1].offset < run->walk[low - 1].length ? &run->walk[low - 1] : NULL;
}

/* One position, for a read and for a write. */
static int probe(Run *run, uint64_t pos, uint64_t count) {
        const struct fused_mapping *known = find(run, pos);
        struct fused_mapping m;
        int r;

        r = ask(run, pos, count, 0, &m);
        if (r < 0)
                return r;
        if (r > 0 && known && (m.type != known->type || m.dev != known->dev || (m.dev && m.addr - m.offset != known->addr - known->offset)))
                return fail(run, pos, "read half", "not where the walk found it");
        if (r == 0 && known)
                return fail(run, pos, "verdict", "no answer, the walk had one");
        r = ask(run, pos, count, FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_DIRECT, &m);
        if (r > 0 && m.type == FUSED_MAPPING_HOLE)
                return fail(run, pos, "read half", "a hole for a write");
        return r < 0 ? r : 0;
}

static uint64_t next_random(uint64_t *state) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        return *state ^= *state << 17;
}

static int probe_all(Run *run) {
        uint64_t state = run->seed | 1;
        int r = 0;

        for (size_t i = 0; i < run->n_walk && r >= 0; i++) {
                uint64_t start = run->walk[i].offset, end = start + run->walk[i].length;
                const uint64_t positions[] = {start, start + 1, start + (end - start) / 2, end - 1};
                for (size_t k = 0; k < ELEMENTSOF(positions) && r >= 0; k++)
                        r = probe(run, positions[k], 1 + (next_random(&state) & 0xfffff));
        }
        for (unsigned bit = 9; bit < 64 && r >= 0; bit++)
                for (int off = -1; off <= 1 && r >= 0; off++)
                        r = probe(run, (1ULL << bit) + (uint64_t) off, 1);
        const uint64_t ends[] = {run->size - 1, run->size, run->size + 1, INT64_MAX, UINT64_MAX - 1, UINT64_MAX};
        for (size_t i = 0; i < ELEMENTSOF(ends) && r >= 0; i++)
                r = probe(run, ends[i], 1);
        for (unsigned i = 0; i < RANDOM_POSITIONS && r >= 0; i++)
                r = probe(run, next_random(&state) % run->size, 1 + (next_random(&state) & 0xffffff));
        return r;
}

/* A node that the tables do not know is the server's. */
static int probe_stranger(Run *run) {
        struct fused_program_call call = {.nodeid = NODE + 1, .pos = 0, .count = 1};
        uint32_t verdict = 0;
        int r;

        r = call_program(run->loaded->run_fd, &call, sizeof call, &verdict);
        if (r >= 0 && verdict != FUSED_PROGRAM_FALLBACK)
                r = report_fail(run->report, "conformance", "it answers for a file that is not in its tables");
        return r;
}

static int run_seed(Run *run, uint64_t *ret_nsec) {
        struct fused_sample_call sample = {
                .nodeid = NODE, .seed = run->seed, .n_devices = run->devices->n, .block_size = run->devices->block_size};
        uint64_t begin;
        uint32_t ignored;
        int r;

        memcpy(sample.device_size, run->devices->sizes, sizeof sample.device_size);
        r = call_program(run->loaded->fill_fd, &sample, sizeof sample, &ignored);
        if (r < 0)
                return r;
        if (sample.file_size == 0)
                return report_fail(run->report, "sample", "there is none for these %u devices", run->devices->n);
        if (sample.file_size % run->devices->block_size != 0 || sample.file_size > INT64_MAX)
                return report_fail(run->report, "sample", "its file has %" PRIu64 " bytes", sample.file_size);
        run->size = sample.file_size;
        run->n_walk = run->n_runs = 0;
        begin = clock_nsec();
        r = walk(run);
        if (r >= 0)
                r = probe_all(run);
        if (r >= 0)
                r = probe_stranger(run);
        *ret_nsec = (clock_nsec() - begin) / MAX_OF(run->n_runs, 1U);
        return r;
}

static void clear_tables(Loaded *loaded) {
        for (size_t i = 0; i < loaded->n_tables; i++)
                memset(loaded->tables[i].data, 0, (size_t) loaded->tables[i].n_entries * loaded->tables[i].entry_size);
}

int vet_conformance(Loaded *loaded, const VetDevices *devices, Report *report) {
        _cleanup_free_ struct fused_mapping *memory = calloc(STEPS_MAX, sizeof *memory);
        Run run = {.loaded = loaded, .devices = devices, .report = report, .walk = memory};
        LoadedTable *cookies = load_table(loaded, "devices");
        uint64_t nsec = 0, slowest = 0;
        unsigned n = 0;
        int r;

        if (!memory)
                return -ENOMEM;
        r = load_map_tables(loaded);
        if (r < 0)
                return report_fail(report, "maps", "its tables cannot be mapped: %s", strerror(-r));
        if (!cookies || cookies->n_entries <= devices->n)
                return report_fail(report, "maps", "there is no table of devices");
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
                clear_tables(loaded);
                for (uint32_t i = 1; i <= devices->n; i++)
                        *(uint64_t *) (void *) ((char *) cookies->data + (size_t) i * cookies->entry_size) = i;
                run.seed = seed * 0x9e3779b97f4a7c15ULL + seed;
                r = run_seed(&run, &nsec);
                if (r == -EPERM)
                        return r;
                if (r < 0)
                        return report_fail(report, "conformance", "it cannot be run: %s", strerror(-r));
                slowest = MAX_OF(slowest, nsec);
                n += run.n_runs;
        }
        if (slowest > RUN_NSEC_MAX)
                return report_fail(report, "time", "%" PRIu64 " ns for one answer", slowest);
        report_pass(report, "conformance", "%u answers on %d sample files, %" PRIu64 " ns each at most", n, SEEDS, slowest);
        return 0;
}
