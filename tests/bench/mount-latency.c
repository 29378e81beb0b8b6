/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mount-latency-driver DIRECTORY RUNTIME-DIRECTORY ROUNDS JSON: from the request to the answer of the first stat of a
 * file inside, for the same server under fused, under Debian's fusermount3, and started and mounted by nothing else. The
 * sides alternate in each round, so that whatever the machine does besides hits all of them.
 *
 * DIRECTORY (made by tests/bench/mount-latency) has tree/file, image (a squashfs of tree) and mnt, which belongs to nobody.
 * JSON: 0 or 1. */

#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define NOBODY 65534
#define ROUNDS_MAX 5000
#define WAIT_USEC (10 * USEC_PER_SEC)
#define PATH_SIZE 512

typedef struct Bench {
        char tree[PATH_SIZE], image[PATH_SIZE], mountpoint[PATH_SIZE], file[PATH_SIZE + 8];
        FusedClient *client;
        uint64_t id; /* of the mount that is there */
} Bench;

static void stat_file(const Bench *bench) {
        struct stat st;

        if (stat(bench->file, &st) < 0)
                bench_fail(bench->file);
}

static void mirror_fused(Bench *bench) {
        bench->id = bench_mount(bench->client, "mirror", "tree", bench->tree, bench->mountpoint);
}

static void squashfs_fused(Bench *bench) {
        bench->id = bench_mount(bench->client, "squashfs", "file", bench->image, bench->mountpoint);
}

static void end_fused(Bench *bench) {
        bench_unmount(bench->client, bench->id);
}

/* Without -f it returns once it is mounted. A user's libfuse calls the setuid fusermount3, root's mounts by itself. */
static void squashfuse(Bench *bench, uid_t uid) {
        const char *const arguments[] = {"/usr/bin/squashfuse_ll", bench->image, bench->mountpoint, NULL};

        errno = 0;
        if (bench_run(arguments, uid) != 0)
                bench_fail("squashfuse_ll");
}

static void squashfs_fusermount(Bench *bench) {
        squashfuse(bench, NOBODY);
}

static void squashfs_bare(Bench *bench) {
        squashfuse(bench, 0);
}

static void end_fusermount(Bench *bench) {
        const char *const arguments[] = {"/usr/bin/fusermount3", "-u", bench->mountpoint, NULL};

        errno = 0;
        if (bench_run(arguments, NOBODY) != 0)
                bench_fail("fusermount3 -u");
}

static void end_bare(Bench *bench) {
        if (umount2(bench->mountpoint, 0) < 0)
                bench_fail("umount");
}

typedef struct Side {
        const char *name;
        void (*mount)(Bench *bench);
        void (*end)(Bench *bench);
        bool as_nobody; /* only its own user may stat it */
        uint64_t usec[ROUNDS_MAX];
} Side;

static Side sides[] = {
        {.name = "mirror, fused", .mount = mirror_fused, .end = end_fused},
        {.name = "squashfs, fused", .mount = squashfs_fused, .end = end_fused},
        {.name = "squashfs, fusermount3", .mount = squashfs_fusermount, .end = end_fusermount, .as_nobody = true},
        {.name = "squashfs, bare", .mount = squashfs_bare, .end = end_bare},
};
enum { MIRROR_FUSED, SQUASHFS_FUSED, SQUASHFS_FUSERMOUNT, SQUASHFS_BARE };

/* All three ids must be the mount's owner's for FUSE to let one in; the capabilities are kept for the way back. */
static void become_nobody(cap_t *ret_saved) {
        *ret_saved = cap_get_proc();
        if (!*ret_saved || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
            setresuid(NOBODY, NOBODY, NOBODY) < 0)
                bench_fail("setresuid");
}

static void become_root(cap_t saved) {
        if (cap_set_proc(saved) < 0 || setresuid(0, 0, 0) < 0 || setresgid(0, 0, 0) < 0)
                bench_fail("setresuid");
        (void) cap_free(saved);
}

static void round_of(Bench *bench, Side *side, uint64_t *ret) {
        cap_t saved = NULL;
        uint64_t start;

        start = bench_usec();
        side->mount(bench);
        if (side->as_nobody)
                become_nobody(&saved);
        stat_file(bench);
        *ret = bench_usec() - start;
        if (side->as_nobody)
                become_root(saved);
        side->end(bench);
        (void) usleep(2000); /* servers that end in the background do not weigh on the next side */
}

static double ratio(size_t a, size_t b, size_t n) {
        return (double) bench_percentile(sides[a].usec, n, 50) / (double) bench_percentile(sides[b].usec, n, 50);
}

static void report_json(size_t n) {
        printf("[");
        for (size_t i = 0; i < ELEMENTSOF(sides); i++)
                printf("%s\n  {\"side\": \"%s\", \"p50\": %lu, \"p99\": %lu}", i > 0 ? "," : "", sides[i].name,
                       (unsigned long) bench_percentile(sides[i].usec, n, 50), (unsigned long) bench_percentile(sides[i].usec, n, 99));
        printf("\n]\n");
}

static void report(size_t n) {
        printf("%-24s %10s %10s   (request to first stat, microseconds, %zu rounds)\n", "", "p50", "p99", n);
        for (size_t i = 0; i < ELEMENTSOF(sides); i++)
                printf("%-24s %10lu %10lu\n", sides[i].name, (unsigned long) bench_percentile(sides[i].usec, n, 50),
                       (unsigned long) bench_percentile(sides[i].usec, n, 99));
        printf("squashfs, p50: fused %lu / fusermount3 %lu = %.2f (aim: 0.50 or less)\n",
               (unsigned long) bench_percentile(sides[SQUASHFS_FUSED].usec, n, 50),
               (unsigned long) bench_percentile(sides[SQUASHFS_FUSERMOUNT].usec, n, 50), ratio(SQUASHFS_FUSED, SQUASHFS_FUSERMOUNT, n));
        printf("squashfs, p50: fused %lu / bare %lu = %.2f\n", (unsigned long) bench_percentile(sides[SQUASHFS_FUSED].usec, n, 50),
               (unsigned long) bench_percentile(sides[SQUASHFS_BARE].usec, n, 50), ratio(SQUASHFS_FUSED, SQUASHFS_BARE, n));
        printf("mirror, p50: %.2f ms (aim: less than 3 ms)\n", (double) bench_percentile(sides[MIRROR_FUSED].usec, n, 50) / 1000);
}

int main(int argc, char **argv) {
        Bench bench = {0};

        if (argc < 5)
                return 2;
        int rounds = atoi(argv[3]);
        size_t n = rounds > 0 && rounds <= ROUNDS_MAX ? (size_t) rounds : 1;
        (void) snprintf(bench.tree, sizeof bench.tree, "%s/tree", argv[1]);
        (void) snprintf(bench.image, sizeof bench.image, "%s/image", argv[1]);
        (void) snprintf(bench.mountpoint, sizeof bench.mountpoint, "%s/mnt", argv[1]);
        (void) snprintf(bench.file, sizeof bench.file, "%s/mnt/file", argv[1]);
        bench.client = bench_connect(argv[2]);

        uint64_t warm;
        for (size_t k = 0; k < ELEMENTSOF(sides); k++)
                round_of(&bench, &sides[k], &warm);
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < ELEMENTSOF(sides); k++)
                        round_of(&bench, &sides[k], &sides[k].usec[i]);
        (strcmp(argv[4], "1") == 0 ? report_json : report)(n);
        bench.client = fused_client_free(bench.client);
        return 0;
}
