/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The shipped filter, got the way the broker gets it: from the policy compiler, run on a type file. See
 * harness-filter.h. */

#include "harness-filter.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"

static void write_type(const char *directory, PolicyHandOver hand_over) {
        char path[256];
        FILE *file;

        (void) snprintf(path, sizeof path, "%s/types", directory);
        if (mkdir(path, 0755) < 0)
                err(1, "harness: %s", path);
        (void) snprintf(path, sizeof path, "%s/types/test.conf", directory);
        file = fopen(path, "we");
        if (!file)
                err(1, "harness: %s", path);
        (void) fprintf(file,
                       "[Type]\nDescription=a test\nProgram=/usr/bin/env\nHandOver=%s\n\n"
                       "[Slot source]\nAccept=file none\nRequired=no\n\n"
                       "[Allow everybody]\nUsers=*\nSources=file none\n",
                       hand_over == POLICY_HAND_OVER_FD ? "fd" : "service");
        if (fclose(file) != 0)
                err(1, "harness: %s", path);
}

static void compile(const char *program, const char *directory, int output_fd) {
        char number[16];
        int status;
        pid_t pid = fork();

        if (pid < 0)
                err(1, "harness: fork");
        if (pid == 0) {
                if (fd_set_cloexec(output_fd, false) < 0)
                        _exit(126);
                (void) snprintf(number, sizeof number, "%d", output_fd);
                (void) execl(program, program, "--output-fd", number, "--policy", directory, "--manager", "/usr/bin/env", NULL);
                err(127, "harness: %s", program);
        }
        if (waitpid(pid, &status, 0) != pid || status != 0)
                errx(1, "harness: %s failed with status %#x", program, status);
}

uint32_t shipped_filter(struct sock_filter *code, PolicyHandOver hand_over) {
        char directory[] = "/tmp/fused-filter-XXXXXX", path[64];
        const char *program = getenv("FUSED_POLICY");
        _cleanup_fd_ int fd = -EBADF;
        const PolicyTable *table;
        const PolicyType *type;
        struct stat st;

        if (!program || access(program, X_OK) < 0)
                harness_skip("$FUSED_POLICY does not name the policy compiler");
        if (!mkdtemp(directory) || chmod(directory, 0755) < 0)
                err(1, "harness: mkdtemp");
        write_type(directory, hand_over);
        fd = memfd_create("table", MFD_CLOEXEC);
        if (fd < 0)
                err(1, "harness: memfd");
        compile(program, directory, fd);
        (void) snprintf(path, sizeof path, "%s/types/test.conf", directory);
        (void) unlink(path);
        (void) snprintf(path, sizeof path, "%s/types", directory);
        (void) rmdir(path);
        (void) rmdir(directory);

        if (fstat(fd, &st) < 0)
                err(1, "harness: fstat");
        table = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (table == MAP_FAILED || policy_table_validate(table, (size_t) st.st_size) < 0)
                errx(1, "harness: the policy compiler wrote no table");
        type = policy_type_by_name(table, "test", NULL);
        if (!type || type->disabled || type->filter.count == 0)
                errx(1, "harness: the test type is disabled: %s", type ? policy_string(table, type->disabled) : "missing");
        uint32_t n = type->filter.count;
        memcpy(code, policy_filter(table, type), n * sizeof *code);
        (void) munmap((void *) table, (size_t) st.st_size);
        return n;
}
