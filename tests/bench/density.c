/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* density-driver DIRECTORY RUNTIME-DIRECTORY BROKER-PID MANAGER-PID JSON COUNT...: that many mounts of the mirror at once: the time
 * of the last one, of a list, and the memory of broker, manager and servers (PSS, from smaps_rollup). DIRECTORY has tree/file. */

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define MOUNTS_MAX 4000

static unsigned long memory_kib(pid_t pid, const char *key) {
        char path[64], line[256];
        unsigned long value = 0;

        (void) snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
        FILE *file = fopen(path, "re");
        if (!file)
                return 0;
        while (fgets(line, sizeof line, file))
                if (strncmp(line, key, strlen(key)) == 0)
                        value = strtoul(line + strlen(key), NULL, 10);
        (void) fclose(file);
        return value;
}

static unsigned long servers_pss(json_object *list) {
        unsigned long sum = 0;

        for (size_t i = 0; i < json_object_array_length(list); i++) {
                json_object *pid;
                if (json_object_object_get_ex(json_object_array_get_idx(list, i), "server-pid", &pid))
                        sum += memory_kib(json_object_get_int(pid), "Pss:");
        }
        return sum;
}

static void measure(FusedClient *client, const char *directory, size_t n, pid_t broker, pid_t manager, bool json, bool first) {
        static uint64_t ids[MOUNTS_MAX];
        uint64_t start, last = 0, all = bench_usec(), listed;
        char tree[512], mountpoint[512];
        json_object *list = NULL;

        (void) snprintf(tree, sizeof tree, "%s/tree", directory);
        for (size_t i = 0; i < n; i++) {
                (void) snprintf(mountpoint, sizeof mountpoint, "%s/mnt/%zu", directory, i);
                (void) mkdir(mountpoint, 0755);
                start = bench_usec();
                ids[i] = bench_mount(client, "mirror", "tree", tree, mountpoint);
                last = bench_usec() - start;
        }
        all = bench_usec() - all;
        start = bench_usec();
        if (fused_list(client, &list, NULL) < 0)
                bench_fail("list");
        listed = bench_usec() - start;
        if (json_object_array_length(list) != n)
                bench_fail("the list has another number of mounts");
        unsigned long pss = memory_kib(broker, "Pss:") + memory_kib(manager, "Pss:");
        if (json)
                printf("%s\n  {\"mounts\": %zu, \"last-usec\": %lu, \"mean-usec\": %lu, \"list-usec\": %lu, \"pss-kib\": %lu, "
                       "\"server-pss-kib\": %.1f}",
                       first ? "" : ",", n, (unsigned long) last, (unsigned long) (all / n), (unsigned long) listed, pss,
                       (double) servers_pss(list) / (double) n);
        else
                printf("%7zu %12lu %12lu %10lu %10lu %10lu %10lu %12.1f\n", n, (unsigned long) last, (unsigned long) (all / n),
                       (unsigned long) listed, memory_kib(broker, "Rss:"), memory_kib(manager, "Rss:"), pss,
                       (double) servers_pss(list) / (double) n);
        (void) fflush(stdout);
        (void) json_object_put(list);
        for (size_t i = 0; i < n; i++) {
                bench_unmount(client, ids[i]);
                (void) snprintf(mountpoint, sizeof mountpoint, "%s/mnt/%zu", directory, i);
                (void) rmdir(mountpoint);
        }
}

int main(int argc, char **argv) {
        if (argc < 7)
                return 2;
        bool json = strcmp(argv[5], "1") == 0;
        FusedClient *client = bench_connect(argv[2]);
        if (json)
                printf("[");
        else
                printf("%7s %12s %12s %10s %10s %10s %10s %12s\n", "mounts", "last, usec", "mean, usec", "list, usec",
                       "broker RSS", "mgr RSS", "both PSS", "server PSS");
        for (int i = 6; i < argc; i++) {
                size_t n = (size_t) atoi(argv[i]);
                if (n == 0 || n > MOUNTS_MAX)
                        return 2;
                measure(client, argv[1], n, atoi(argv[3]), atoi(argv[4]), json, i == 6);
        }
        if (json)
                printf("\n]\n");
        client = fused_client_free(client);
        return 0;
}
