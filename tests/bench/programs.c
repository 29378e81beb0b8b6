/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* programs-driver OBJECTS ROUNDS JSON SIZE...: nanoseconds per run of a mapping program by its descriptor.
 *
 * First beside what any run costs: getppid(2), and an empty program with the same context. Then files of SIZE extents, four kinds of them, and
 * random positions: the programs `extents` and `learned`, and the mapping cache, which is in the same process and needs no system call. Sides
 * take turns; medians of the rounds. Every answer is compared with the layout once before. */

#include <bpf/bpf.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "load.h"
#include "map/cache.h"
#include "program/extents.h"
#include "program/privilege.h"

#define BLOCK 4096ULL
#define N_POSITIONS 16384U
#define ROUNDS_MAX 15U
#define DEVICE_SIZE (1ULL << 50)

typedef enum Kind { CONTIGUOUS, REGULAR, FRAGMENTED, ADVERSARIAL, N_KINDS } Kind;
static const char *const kind_names[N_KINDS] = {"contiguous", "regular", "fragmented", "adversarial"};

typedef struct Side {
        const char *name;
        int fd; /* -EBADF: no program */
        MappingCache *cache;
        double ns[ROUNDS_MAX];
} Side;

static struct {
        const char *objects;
        unsigned rounds;
        bool json, any_row;
        uint64_t random;
} bench = {.random = 88172645463325252};

static _noreturn_ void fail(const char *what) {
        fprintf(stderr, "programs: %s\n", what);
        exit(1);
}

static uint64_t rnd(void) { /* xorshift64* */
        bench.random ^= bench.random >> 12;
        bench.random ^= bench.random << 25;
        bench.random ^= bench.random >> 27;
        return bench.random * UINT64_C(2685821657736338717);
}

static double now(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

static bool run(int fd, void *context, size_t size) {
        union bpf_attr attr = {.test = {.prog_fd = (uint32_t) fd, .ctx_in = (uintptr_t) context, .ctx_size_in = (uint32_t) size}};

        return syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof attr.test) == 0 && attr.test.retval == FUSED_PROGRAM_HANDLED;
}

static double median(double *values, unsigned n) {
        for (unsigned i = 1; i < n; i++)
                for (unsigned j = i; j > 0 && values[j - 1] > values[j]; j--) {
                        double value = values[j];
                        values[j] = values[j - 1];
                        values[j - 1] = value;
                }
        return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* ---- measuring ------------------------------------------------------------------------------------------------------ */

static double one_round(const Side *side, uint64_t nodeid, const uint64_t *positions) {
        double start = now();

        for (unsigned i = 0; i < N_POSITIONS; i++) {
                struct fused_program_call call = {.nodeid = nodeid, .pos = positions[i], .count = 1};
                struct fused_mapping found;
                if (side->cache ? !mapping_cache_lookup(side->cache, positions[i], &found)
                                : side->fd >= 0 ? !run(side->fd, &call, sizeof call) : syscall(SYS_getppid) < 0)
                        fail("no answer where there was one");
        }
        return (now() - start) / N_POSITIONS;
}

static void measure(Side *sides, size_t n, uint64_t nodeid, const uint64_t *positions) {
        for (unsigned round = 0; round <= bench.rounds; round++) /* the first one warms up, and is overwritten by the last */
                for (size_t i = 0; i < n; i++)
                        sides[i].ns[round % bench.rounds] = one_round(&sides[i], nodeid, positions);
}

static void print_row(const char *file, uint32_t n, const LearnedModel *model, Side *sides, size_t n_sides) {
        double base = 0;

        if (bench.json)
                printf("%s\n  {\"file\": \"%s\", \"extents\": %" PRIu32 ", \"lines\": %" PRIu32 ", \"error\": %" PRIu32 ", \"ns\": {",
                       bench.any_row ? "," : "[", file, n, model->n, model->error);
        else
                printf("%-12s %9" PRIu32 " %7" PRIu32 " %5" PRIu32, file, n, model->n, model->error);
        bench.any_row = true;
        for (size_t i = 0; i < n_sides; i++) {
                double ns = median(sides[i].ns, bench.rounds);
                if (i == 0)
                        base = ns;
                if (bench.json)
                        printf("%s\"%s\": %.1f", i > 0 ? ", " : "", sides[i].name, ns);
                else
                        printf("  %s %.0f", sides[i].name, ns);
                if (!bench.json && i > 0)
                        printf(" (%.2fx)", ns / base);
        }
        printf(bench.json ? "}}" : "\n");
        fflush(stdout);
}

/* ---- programs ------------------------------------------------------------------------------------------------------- */

static void open_part(const char *name, LoadPart part, Loaded *ret) {
        _cleanup_free_ char *path = NULL, *elf = malloc(1 << 20);
        FILE *f = asprintf(&path, "%s/%s.bpf.o", bench.objects, name) < 0 ? NULL : fopen(path, "re");
        size_t size;

        if (!f || !elf)
                fail("cannot read an object");
        size = fread(elf, 1, 1 << 20, f);
        fclose(f);
        if (load_open(elf, size, part, VARIANT_NONE, ret) < 0)
                fail("cannot read a program");
}

/* As for a server: with the rights that it is loaded with there, on which what the kernel makes of it depends. */
static void load(const char *name, uint32_t n_extents, uint32_t n_segments, Loaded *ret) {
        open_part(name, LOAD_RUN, ret);
        if (load_set_entries(ret, "files", 3) < 0 || (n_extents > 0 && load_set_entries(ret, "extents", n_extents) < 0) ||
            (n_segments > 0 && load_set_entries(ret, "segments", n_segments) < 0) || privilege_load(ret, NULL, 0, NULL) < 0 ||
            load_map_tables(ret) < 0)
                fail("cannot load a program");
        for (uint64_t i = 1; i <= FUSED_PROGRAM_DEVICES_MAX; i++)
                ((uint64_t *) load_table(ret, "devices")->data)[i] = i;
}

static int load_empty(void) {
        const struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = FUSED_PROGRAM_HANDLED},
                                        {.code = BPF_JMP | BPF_EXIT}};
        LIBBPF_OPTS(bpf_prog_load_opts, options, .prog_flags = BPF_F_SLEEPABLE);
        int fd = bpf_prog_load(BPF_PROG_TYPE_SYSCALL, "empty", "GPL", code, ELEMENTSOF(code), &options);

        if (fd < 0)
                fail("cannot load an empty program");
        return fd;
}

static void fill_sample(const char *name, const Loaded *loaded, uint64_t *positions) {
        Loaded sample;
        struct fused_sample_call call = {.nodeid = 1, .seed = 5, .n_devices = 4, .block_size = BLOCK,
                                         .device_size = {DEVICE_SIZE, DEVICE_SIZE, DEVICE_SIZE, DEVICE_SIZE}};
        union bpf_attr attr = {.test = {.ctx_in = (uintptr_t) &call, .ctx_size_in = sizeof call}};

        open_part(name, LOAD_SAMPLE, &sample);
        if (load_share_tables(&sample, loaded) < 0 || privilege_load(&sample, NULL, 0, NULL) < 0)
                fail("cannot load a sample");
        attr.test.prog_fd = (uint32_t) sample.fd;
        if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof attr.test) < 0 || call.file_size == 0)
                fail("no sample");
        load_done(&sample);
        for (unsigned i = 0; i < N_POSITIONS; i++)
                positions[i] = rnd() % call.file_size;
}

static void bench_floor(void) {
        static uint64_t positions[N_POSITIONS];
        static const char *const names[] = {"linear", "stripe"};

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_fd_ int empty = load_empty();
                Loaded loaded;
                load(names[i], 0, 0, &loaded);
                Side sides[] = {{"getppid", -EBADF}, {"empty", empty}, {names[i], loaded.fd}};
                fill_sample(names[i], &loaded, positions);
                measure(sides, ELEMENTSOF(sides), 1, positions);
                print_row(names[i], 1, &(LearnedModel){0}, sides, ELEMENTSOF(sides));
                load_done(&loaded);
        }
}

/* ---- files of many extents ------------------------------------------------------------------------------------------ */

/* contiguous: as a fresh file system lays a large file out, 128 MiB a piece; regular: all of one length; fragmented: 1 to 64 blocks;
 * adversarial: runs of tiny extents and of huge ones take turns, each longer than what one line may be off by. */
static uint64_t piece(Kind kind, uint32_t i) {
        switch (kind) {
        case CONTIGUOUS:
                return 32768;
        case REGULAR:
                return 16;
        case FRAGMENTED:
                return 1 + rnd() % 64;
        case ADVERSARIAL:
                return (i / 40) % 2 ? 1 : 1000 + rnd() % 3000;
        case N_KINDS:
                break;
        }
        return 1;
}

static uint64_t make(Kind kind, uint32_t n, struct extents_extent *extents) {
        uint64_t offset = 0;

        for (uint32_t i = 0; i < n; i++) {
                uint64_t length = piece(kind, i) * BLOCK;
                extents[i] = (struct extents_extent){offset, length, EXTENTS_PACK(1 + rnd() % 3, rnd() % (DEVICE_SIZE / BLOCK) * BLOCK)};
                offset += length;
        }
        return offset;
}

static MappingCache *fill_cache(MappingPool *pool, const struct extents_extent *extents, uint32_t n) {
        MappingCache *cache = NULL;

        if (mapping_cache_new(pool, &cache) < 0)
                fail("no cache");
        for (uint32_t i = 0; i < n; i++)
                if (mapping_cache_upsert(cache, &(struct fused_mapping){.offset = extents[i].offset, .length = extents[i].length,
                                                                        .addr = EXTENTS_ADDR(extents[i].addr), .type = FUSED_MAPPING_MAPPED,
                                                                        .dev = EXTENTS_DEVICE(extents[i].addr)}) < 0)
                        fail("the cache refuses an extent");
        return cache;
}

/* Positions that fall into each extent alike; each is asked for once, and the answer compared. */
static void pick(const Side *sides, size_t n_sides, const struct extents_extent *extents, uint32_t n, uint64_t *positions) {
        for (unsigned i = 0; i < N_POSITIONS; i++) {
                const struct extents_extent *e = &extents[rnd() % n];
                positions[i] = e->offset + rnd() % e->length;
                for (size_t s = 0; s < n_sides; s++) {
                        struct fused_program_call call = {.nodeid = 1, .pos = positions[i], .count = 1};
                        if (sides[s].cache ? !mapping_cache_lookup(sides[s].cache, positions[i], &call.read)
                                           : !run(sides[s].fd, &call, sizeof call))
                                fail("no answer");
                        if (call.read.offset > positions[i] || positions[i] - call.read.offset >= call.read.length ||
                            call.read.addr - call.read.offset != EXTENTS_ADDR(e->addr) - e->offset || call.read.dev != EXTENTS_DEVICE(e->addr))
                                fail("a wrong answer");
                }
        }
}

static void put(Loaded *loaded, const struct extents_extent *extents, uint32_t n, uint64_t length, ExtentTables **ret) {
        const LoadedTable *files = load_table(loaded, "files"), *segments = load_table(loaded, "segments");
        const LoadedTable *table = load_table(loaded, "extents");

        if (extent_tables_new(files->data, files->n_entries, table->data, table->n_entries, segments ? segments->data : NULL,
                              segments ? segments->n_entries : 0, ret) < 0 || extent_tables_put(*ret, 1, length, extents, n) < 0)
                fail("cannot fill the tables");
}

static void bench_file(Kind kind, uint32_t n) {
        static uint64_t positions[N_POSITIONS];
        struct extents_extent *extents = calloc(n, sizeof *extents);
        _cleanup_fd_ int empty = load_empty();
        ExtentTables *plain_tables, *learned_tables;
        Loaded plain, learned;
        MappingPool *pool = NULL;
        LearnedModel model = {0};
        const struct extents_file *file;
        uint64_t length;

        if (!extents || mapping_pool_new(1ULL << 32, BLOCK, &pool) < 0)
                fail("no memory");
        length = make(kind, n, extents);
        load("extents", n, 0, &plain);
        load("learned", n, n / 4 + 2, &learned);
        put(&plain, extents, n, length, &plain_tables);
        put(&learned, extents, n, length, &learned_tables);
        file = (const struct extents_file *) load_table(&learned, "files")->data + 1;
        file += file->nodeid == 1 ? 0 : 1;
        model.n = file->nodeid == 1 ? file->n_segments : 0;
        for (uint32_t i = 0; i < model.n; i++)
                model.error = MAX_OF(model.error, ((struct learned_segment *) load_table(&learned, "segments")->data)[file->segment + i].error);
        Side sides[] = {{"extents", plain.fd}, {"learned", learned.fd}, {"empty", empty}, {"cache", -EBADF, fill_cache(pool, extents, n)}};
        pick(sides, 2, extents, n, positions);
        pick(&sides[3], 1, extents, n, positions);
        measure(sides, ELEMENTSOF(sides), 1, positions);
        print_row(kind_names[kind], n, &model, sides, ELEMENTSOF(sides));
        mapping_cache_free(sides[3].cache);
        mapping_pool_free(pool);
        extent_tables_free(plain_tables);
        extent_tables_free(learned_tables);
        load_done(&plain);
        load_done(&learned);
        free(extents);
}

static int quiet(enum libbpf_print_level level, const char *format, va_list arguments) {
        return level == LIBBPF_WARN ? vfprintf(stderr, format, arguments) : 0;
}

int main(int argc, char *argv[]) {
        if (argc < 5)
                fail("usage: programs-driver OBJECTS ROUNDS JSON SIZE...");
        libbpf_set_print(quiet);
        bench.objects = argv[1];
        bench.rounds = (unsigned) strtoul(argv[2], NULL, 10);
        bench.json = argv[3][0] == '1';
        if (bench.rounds < 1 || bench.rounds > ROUNDS_MAX)
                fail("1 to 15 rounds");
        if (!bench.json)
                printf("%-12s %9s %7s %5s  ns per run (beside the first)\n", "file", "extents", "lines", "error");
        bench_floor();
        for (int i = 4; i < argc; i++)
                for (Kind kind = 0; kind < N_KINDS; kind++)
                        bench_file(kind, (uint32_t) strtoul(argv[i], NULL, 10));
        if (bench.json)
                printf("\n]\n");
        return 0;
}
