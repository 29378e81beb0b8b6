/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See bench.h. */

#include "bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

uint64_t bench_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

void bench_fail(const char *what) {
        fprintf(stderr, "bench: %s: %s\n", what, errno != 0 ? strerror(errno) : "failed");
        exit(EXIT_FAILURE);
}

pid_t bench_start(const char *const *arguments, uid_t uid) {
        pid_t pid = fork();

        if (pid < 0)
                bench_fail("fork");
        if (pid == 0) {
                int null = open("/dev/null", O_RDWR | O_CLOEXEC);
                (void) dup2(null, STDOUT_FILENO);
                if (uid != 0 && (setregid(uid, uid) < 0 || setreuid(uid, uid) < 0))
                        _exit(126);
                (void) execv(arguments[0], (char *const *) arguments);
                _exit(127);
        }
        return pid;
}

int bench_run(const char *const *arguments, uid_t uid) {
        int status;

        if (waitpid(bench_start(arguments, uid), &status, 0) < 0)
                bench_fail("waitpid");
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void error_fail(const char *what, const FusedError *error) {
        fprintf(stderr, "bench: %s: %s\n", what, error->message ?: "no message");
        exit(EXIT_FAILURE);
}

FusedClient *bench_connect(const char *runtime_directory) {
        FusedClient *client = NULL;
        FusedError error = {0};

        if (fused_client_new(runtime_directory, &client, &error) < 0)
                error_fail("connect", &error);
        return client;
}

uint64_t bench_mount(FusedClient *client, const char *type, const char *kind, const char *source, const char *mountpoint) {
        bool tree = strcmp(kind, "tree") == 0;
        _cleanup_fd_ int source_fd = open(source, (tree ? O_RDONLY | O_DIRECTORY : O_RDWR) | O_CLOEXEC);
        _cleanup_fd_ int mountpoint_fd = open(mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
        FusedMountRequest request = {
                .type = type,
                .source = {.fd = source_fd, .kind = kind},
                .source_name = source,
                .mountpoint_fd = mountpoint_fd,
                .mountpoint_name = mountpoint,
        };
        FusedError error = {0};
        uint64_t id = 0;

        if (source_fd < 0 || mountpoint_fd < 0)
                bench_fail(source);
        if (fused_mount(client, &request, &id, NULL, &error) < 0)
                error_fail("mount", &error);
        return id;
}

void bench_unmount(FusedClient *client, uint64_t id) {
        FusedError error = {0};

        if (fused_unmount(client, id, /* lazy= */ false, &error) < 0)
                error_fail("unmount", &error);
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return (x > y) - (x < y);
}

uint64_t bench_percentile(uint64_t *values, size_t n, unsigned percent) {
        qsort(values, n, sizeof *values, compare);
        size_t i = n * percent / 100;
        return values[i < n ? i : n - 1];
}
