/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long from spawn_server() until the program's first instruction has had its say: slot-probe "exit" as the program,
 * measured to the end of its output (which includes its exit). Usage: bench-spawn PROGRAM COUNT [service|fd] [cgroup] */

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"

static int64_t now_nsec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int compare(const void *a, const void *b) {
        int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

        return x < y ? -1 : x > y;
}

static void print(const char *what, int64_t *samples, size_t n) {
        qsort(samples, n, sizeof *samples, compare);
        printf("%-34s p50 %7.3f ms   p99 %7.3f ms\n", what, (double) samples[n / 2] / 1e6, (double) samples[n * 99 / 100] / 1e6);
}

int main(int argc, char **argv) {
        int64_t returned[1000], spoken[1000], ended[1000];
        CgroupTree *tree = NULL;
        HarnessRun run;
        char output[1024];
        size_t n = argc > 2 ? (size_t) atoi(argv[2]) : 100;
        int r;

        harness_need_root();
        if (argc < 2 || n < 1 || n > ELEMENTSOF(ended))
                errx(2, "usage: bench-spawn PROGRAM COUNT [service|fd] [cgroup]");
        harness_begin(&run, argv[1], argc > 3 && strcmp(argv[3], "fd") == 0 ? POLICY_HAND_OVER_FD : POLICY_HAND_OVER_SERVICE,
                      HARNESS_FILTER_OPEN);
        harness_argument(&run, "wait");
        run.table->type.max_memory = 64 << 20;
        if (argc > 4) {
                r = cgroup_tree_new("fused-bench", &tree);
                if (r < 0)
                        errx(1, "cgroups: %s", strerror(-r));
        }
        for (size_t i = 0; i < n; i++) {
                if (tree) {
                        r = cgroup_new(tree, i, &run.table->type, &run.cgroup);
                        if (r < 0)
                                errx(1, "cgroup: %s", strerror(-r));
                }
                if (i == 0) { /* the root is made once */
                        harness_start(&run);
                        (void) kill(run.pid, SIGKILL);
                        (void) harness_finish(&run, output, sizeof output, 10);
                }
                run.pidfd = fd_close(run.pidfd);
                run.output_fd = fd_close(run.output_fd);
                int64_t start = now_nsec();
                harness_start(&run);
                returned[i] = now_nsec() - start;
                if (read(run.output_fd, output, 1) != 1)
                        errx(1, "no word from the program");
                spoken[i] = now_nsec() - start;
                int64_t stop = now_nsec();
                (void) kill(run.pid, SIGKILL);
                (void) harness_finish(&run, output, sizeof output, 10);
                ended[i] = now_nsec() - stop;
                run.cgroup = cgroup_free(run.cgroup);
        }
        print("spawn_server() returns after", returned, n);
        print("the program speaks after", spoken, n);
        print("SIGKILL to end of file and reaped", ended, n);
        harness_end(&run);
        (void) cgroup_tree_free(tree);
        return 0;
}
