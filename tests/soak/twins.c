/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* twins FILE TWIN --seconds N [--seed N] [--size BYTES] [--without WORD]... [--read-only]
 *
 * Random operations on a file, the same on its twin in another file system; both must answer alike, byte for byte: results, error
 * numbers, what is read, sizes. In the manner of fsx. At the first difference the seed, the step and the last operations are printed, status 1.
 * At the end one line: operations, bytes. The file may exist before, with the twin's content. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ONCE_MAX (256U << 10) /* bytes of one operation */
#define BLOCK 4096U
#define LOG_LINES 24U

static struct {
        const char *paths[2];
        int fds[2], direct[2];
        uint64_t seed, state, step, size_max, bytes;
        unsigned long without; /* bits of the table below */
        bool read_only;
        uint8_t *data[2], *fresh;
        char log[LOG_LINES][96];
} own = {.fds = {-1, -1}, .direct = {-1, -1}, .size_max = 8U << 20};

static uint64_t rnd(uint64_t below) {
        own.state ^= own.state >> 12;
        own.state ^= own.state << 25;
        own.state ^= own.state >> 27;
        return own.state * UINT64_C(2685821657736338717) % below;
}

__attribute__((noreturn, format(printf, 1, 2))) static void differ(const char *format, ...) {
        va_list list;

        fprintf(stderr, "%s: step %llu of seed %llu: ", own.paths[0], (unsigned long long) own.step, (unsigned long long) own.seed);
        va_start(list, format);
        vfprintf(stderr, format, list);
        va_end(list);
        fprintf(stderr, "\nthe last operations:\n");
        for (uint64_t i = own.step >= LOG_LINES ? own.step - LOG_LINES + 1 : 0; i <= own.step; i++)
                fprintf(stderr, "  %s\n", own.log[i % LOG_LINES]);
        exit(1);
}

static void note(const char *what, uint64_t pos, uint64_t n, int mode) {
        (void) snprintf(own.log[own.step % LOG_LINES], sizeof own.log[0], "%llu %s [%llu, %llu) mode %d", (unsigned long long) own.step, what,
                        (unsigned long long) pos, (unsigned long long) (pos + n), mode);
}

static void same(int64_t a, int ea, int64_t b, int eb) {
        if (a != b || (a < 0 && ea != eb))
                differ("result %lld (%s), the twin has %lld (%s)", (long long) a, a < 0 ? strerror(ea) : "", (long long) b,
                       b < 0 ? strerror(eb) : "");
}

#define BOTH(call)                            \
        ({                                    \
                int64_t _r[2];                \
                int _e[2];                    \
                for (int i = 0; i < 2; i++) { \
                        errno = 0;            \
                        _r[i] = (call);       \
                        _e[i] = errno;        \
                }                             \
                same(_r[0], _e[0], _r[1], _e[1]); \
                _r[0];                        \
        })

static uint64_t file_size(void) {
        struct stat st[2];

        for (int i = 0; i < 2; i++)
                if (fstat(own.fds[i], &st[i]) < 0)
                        differ("fstat: %s", strerror(errno));
        if (st[0].st_size != st[1].st_size)
                differ("size %lld, the twin has %lld", (long long) st[0].st_size, (long long) st[1].st_size);
        return (uint64_t) st[1].st_size;
}

static void same_bytes(const char *how, uint64_t pos, uint64_t n) {
        if (memcmp(own.data[0], own.data[1], n) == 0)
                return;
        for (uint64_t i = 0; i < n; i++)
                if (own.data[0][i] != own.data[1][i])
                        differ("%s: byte %llu is %02x, the twin has %02x", how, (unsigned long long) (pos + i), own.data[0][i], own.data[1][i]);
}

static void fill(uint8_t *data, uint64_t n) {
        for (uint64_t i = 0; i < n; i += 8) {
                uint64_t word = rnd(UINT64_MAX);
                memcpy(data + i, &word, 8); /* the buffers are longer by as much */
        }
}

/* ---- operations ----------------------------------------------------------------------------------------------------- */

static void do_read(uint64_t pos, uint64_t n) {
        int64_t r = BOTH(pread(own.fds[i], own.data[i], n, (off_t) pos));

        if (r > 0)
                same_bytes("read", pos, (uint64_t) r);
}

static void do_read_direct(uint64_t pos, uint64_t n) {
        pos &= ~(uint64_t) (BLOCK - 1);
        n = n / BLOCK * BLOCK + BLOCK;
        if (fsync(own.fds[0]) < 0) /* what only the page cache knows, a size for example, is not known past it */
                differ("fsync: %s", strerror(errno));
        int64_t r = BOTH(pread(i == 0 ? own.direct[0] : own.fds[1], own.data[i], n, (off_t) pos));
        if (r > 0)
                same_bytes("direct read", pos, (uint64_t) r);
}

static void do_map_read(uint64_t pos, uint64_t n) {
        uint64_t size = file_size();
        void *maps[2];

        if (pos >= size)
                return;
        n = n < size - pos ? n : size - pos;
        for (int i = 0; i < 2; i++) {
                maps[i] = mmap(NULL, size, PROT_READ, MAP_SHARED, own.fds[i], 0);
                if (maps[i] == MAP_FAILED)
                        differ("mmap: %s", strerror(errno));
                memcpy(own.data[i], (uint8_t *) maps[i] + pos, n);
                (void) munmap(maps[i], size);
        }
        same_bytes("mapped", pos, n);
}

static void do_seek(uint64_t pos, uint64_t n) { /* what is called a hole reads as zeroes; where holes are is each one's own affair */
        off_t hole = lseek(own.fds[0], (off_t) pos, SEEK_HOLE), data;
        uint64_t size = file_size();

        if (hole < 0) {
                if (pos < size || errno != ENXIO)
                        differ("SEEK_HOLE at %llu: %s", (unsigned long long) pos, strerror(errno));
                return;
        }
        data = lseek(own.fds[0], hole, SEEK_DATA);
        if (data < 0)
                data = (off_t) size;
        n = (uint64_t) (data - hole) < ONCE_MAX ? (uint64_t) (data - hole) : ONCE_MAX;
        if (n == 0 || pread(own.fds[1], own.data[1], n, hole) != (ssize_t) n)
                return;
        memset(own.data[0], 0, n);
        same_bytes("a hole", (uint64_t) hole, n);
}

static void do_write(uint64_t pos, uint64_t n) {
        fill(own.fresh, n);
        (void) BOTH(pwrite(own.fds[i], own.fresh, n, (off_t) pos));
}

static void do_append(uint64_t pos, uint64_t n) {
        pos = file_size();
        n = n % 40000 + 1;
        if (pos + n <= own.size_max)
                do_write(pos, n);
}

static void do_write_direct(uint64_t pos, uint64_t n) {
        pos &= ~(uint64_t) (BLOCK - 1);
        n = n / BLOCK * BLOCK + BLOCK;
        if (pos + n > own.size_max)
                return;
        fill(own.fresh, n);
        (void) BOTH(pwrite(i == 0 ? own.direct[0] : own.fds[1], own.fresh, n, (off_t) pos));
}

static void do_map_write(uint64_t pos, uint64_t n) {
        uint64_t size = file_size();

        if (pos >= size)
                return;
        n = n < size - pos ? n : size - pos;
        fill(own.fresh, n);
        for (int i = 0; i < 2; i++) {
                uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, own.fds[i], 0);
                if (map == MAP_FAILED)
                        differ("mmap: %s", strerror(errno));
                memcpy(map + pos, own.fresh, n);
                if (own.step % 3 == 0)
                        (void) msync(map, size, MS_SYNC);
                (void) munmap(map, size);
        }
}

static void do_truncate(uint64_t pos, uint64_t n) {
        (void) BOTH(ftruncate(own.fds[i], (off_t) pos));
}

static void fallocate_both(uint64_t pos, uint64_t n, int mode) {
        note("fallocate", pos, n, mode);
        (void) BOTH(fallocate(own.fds[i], mode, (off_t) pos, (off_t) n));
}

static void do_allocate(uint64_t pos, uint64_t n) { fallocate_both(pos, n, (int) (n & FALLOC_FL_KEEP_SIZE)); }
static void do_punch(uint64_t pos, uint64_t n) { fallocate_both(pos, n, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE); }
static void do_zero(uint64_t pos, uint64_t n) { fallocate_both(pos, n, FALLOC_FL_ZERO_RANGE | (int) (n & FALLOC_FL_KEEP_SIZE)); }
static void do_sync(uint64_t pos, uint64_t n) { (void) BOTH(n & 1 ? fsync(own.fds[i]) : fdatasync(own.fds[i])); }

static void do_open(uint64_t pos, uint64_t n) {
        for (int i = 0; i < 2; i++) {
                int access = own.read_only ? O_RDONLY : O_RDWR | O_CREAT;
                if (own.fds[i] >= 0)
                        (void) close(own.fds[i]);
                if (own.direct[i] >= 0)
                        (void) close(own.direct[i]);
                own.fds[i] = open(own.paths[i], access | O_CLOEXEC, 0644);
                own.direct[i] = i == 0 ? open(own.paths[i], (own.read_only ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC) : -1;
                if (own.fds[i] < 0 || (i == 0 && own.direct[i] < 0))
                        differ("open %s: %s", own.paths[i], strerror(errno));
        }
}

static void do_forget(uint64_t pos, uint64_t n) { /* what is clean leaves the page cache */
        (void) posix_fadvise(own.fds[0], 0, 0, POSIX_FADV_DONTNEED);
}

static void do_all(uint64_t pos, uint64_t n) {
        uint64_t size = file_size();

        for (pos = 0; pos < size; pos += ONCE_MAX)
                do_read(pos, ONCE_MAX);
}

static const struct {
        const char *word;
        unsigned weight;
        bool writes;
        void (*run)(uint64_t pos, uint64_t n);
} operations[] = {
        {"read", 250, false, do_read},          {"direct-read", 60, false, do_read_direct},   {"map-read", 60, false, do_map_read},
        {"seek", 40, false, do_seek},           {"open", 10, false, do_open},                 {"forget", 10, false, do_forget},
        {"all", 2, false, do_all},              {"write", 250, true, do_write},               {"append", 60, true, do_append},
        {"direct-write", 60, true, do_write_direct}, {"map-write", 60, true, do_map_write},   {"truncate", 50, true, do_truncate},
        {"allocate", 40, true, do_allocate},    {"punch", 50, true, do_punch},                {"zero", 40, true, do_zero},
        {"sync", 10, true, do_sync},
};
#define N_OPERATIONS (sizeof operations / sizeof operations[0])

static void step(void) {
        uint64_t size, pos, n, total = 0, pick;
        size_t i;

        for (i = 0; i < N_OPERATIONS; i++)
                total += own.without >> i & 1 ? 0 : operations[i].weight;
        pick = rnd(total);
        for (i = 0; own.without >> i & 1 || pick >= operations[i].weight; i++)
                pick -= own.without >> i & 1 ? 0 : operations[i].weight;
        size = own.read_only ? file_size() : own.size_max;
        pos = rnd(size + 1);
        n = 1 + rnd(rnd(4) == 0 ? ONCE_MAX - BLOCK : 20000); /* most are small */
        if (rnd(3) == 0)
                pos &= ~(uint64_t) (BLOCK - 1);
        if (pos >= size)
                pos = 0;
        n = n < size - pos ? n : size - pos;
        if (n == 0)
                return;
        note(operations[i].word, pos, n, 0);
        operations[i].run(pos, n);
        own.bytes += n;
        (void) file_size();
}

static int without(const char *word) {
        for (size_t i = 0; i < N_OPERATIONS; i++)
                if (strcmp(word, operations[i].word) == 0) {
                        own.without |= 1UL << i;
                        return 0;
                }
        return -1;
}

int main(int argc, char **argv) {
        static const struct option options[] = {{"seconds", required_argument, NULL, 't'}, {"seed", required_argument, NULL, 's'},
                                                {"size", required_argument, NULL, 'n'},    {"without", required_argument, NULL, 'w'},
                                                {"read-only", no_argument, NULL, 'r'}, {0}};
        struct timespec now, begin;
        double seconds = 10;
        int c;

        (void) clock_gettime(CLOCK_MONOTONIC, &begin);
        own.seed = (uint64_t) begin.tv_nsec;
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 't': seconds = atof(optarg); break;
                case 's': own.seed = strtoull(optarg, NULL, 10); break;
                case 'n': own.size_max = strtoull(optarg, NULL, 10); break;
                case 'r': own.read_only = true; break;
                case 'w':
                        if (without(optarg) == 0)
                                break;
                        fprintf(stderr, "twins: no operation is called %s\n", optarg);
                        return 2;
                default: return 2;
                }
        if (argc - optind != 2 || own.size_max < BLOCK) {
                fprintf(stderr, "usage: twins FILE TWIN --seconds N [--seed N] [--size BYTES] [--without WORD]... [--read-only]\n");
                return 2;
        }
        for (int i = 0; i < 2; i++) {
                own.paths[i] = argv[optind + i];
                own.data[i] = aligned_alloc(BLOCK, ONCE_MAX + 2 * BLOCK);
        }
        own.fresh = aligned_alloc(BLOCK, ONCE_MAX + 2 * BLOCK);
        for (size_t i = 0; own.read_only && i < N_OPERATIONS; i++)
                own.without |= (unsigned long) operations[i].writes << i;
        own.state = own.seed | 1;
        if (!own.data[0] || !own.data[1] || !own.fresh)
                return 1;
        do_open(0, 0);
        do {
                for (int i = 0; i < 16; i++, own.step++)
                        step();
                (void) clock_gettime(CLOCK_MONOTONIC, &now);
        } while ((double) (now.tv_sec - begin.tv_sec) + (double) (now.tv_nsec - begin.tv_nsec) / 1e9 < seconds);
        do_all(0, 0);
        if (!own.read_only && fsync(own.fds[0]) < 0)
                differ("fsync: %s", strerror(errno));
        printf("%llu %llu\n", (unsigned long long) own.step, (unsigned long long) own.bytes);
        return 0;
}
