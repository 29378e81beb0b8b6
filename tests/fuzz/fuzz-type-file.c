/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A type definition with one drop-in, and the same as fused.conf: whatever stands in them, there is a table, and it is
 * valid. Only root's files are read, so as another user this ends at their owner.
 *
 * Input: a file; behind the line "====" another one. What would look at programs, start the dynamic loader or compile a
 * filter is replaced by what is below: the linker takes it instead of the library's. */

#include <linux/filter.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/load.h"

#define INPUT_MAX 8192

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int check_program(const char *path, const char **ret_problem) {
        *ret_problem = "is refused by the fuzz target";
        return strstr(path, "refused") ? -EINVAL : 0;
}

int list_libraries(const char *path, char ***ret, size_t *ret_n) {
        *ret_n = 0;
        *ret = calloc(1, sizeof **ret);
        if (!*ret || !((*ret)[0] = strdup(path)))
                return -ENOMEM;
        *ret_n = 1;
        return 0;
}

int server_filter_build(bool notify, bool iomap, char *const *calls, size_t n_calls, void **ret_filter, size_t *ret_n,
                        const char **ret_unknown) {
        for (size_t i = 0; i < n_calls; i++)
                if (calls[i][1] == '_') {
                        *ret_unknown = calls[i] + 1;
                        return -ENOENT;
                }
        *ret_filter = calloc(1, sizeof(struct sock_filter));
        *ret_n = 1;
        return *ret_filter ? 0 : -ENOMEM;
}

/* A file of its own for each process; rewritten for each input. */
static void write_file(int fd, const uint8_t *data, size_t size) {
        if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t) size)
                abort();
}

static void check(const TypeFiles *files, FILE *stream) {
        Mistakes mistakes = {.stream = stream};
        void *table _cleanup_free_ = NULL;
        DraftType type = {0};
        DraftMain main = {0};
        size_t size;
        int r;

        r = draft_type(files, &mistakes, &type);
        if (r < 0 && r != -ENOENT)
                abort();
        const size_t n_types = r == 0;
        if (draft_main(files, &mistakes, &main) < 0)
                abort();
        if (make_table(&main, &type, n_types, &table, &size) < 0 || policy_table_validate(table, size) < 0)
                abort();
        if (n_types > 0 && !policy_type_by_name(table, "fuzz", NULL))
                abort();
        free(mistakes.first);
        draft_type_done(&type);
        draft_main_done(&main);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char separator[] = "\n====\n";
        static int fds[2] = {-1, -1};
        static char paths[2][32];
        static FILE *null;
        char *names[2] = {paths[0], paths[1]};
        const uint8_t *second;
        size_t n;

        if (size > INPUT_MAX)
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(fds) && fds[i] < 0; i++) {
                fds[i] = memfd_create("type", MFD_CLOEXEC);
                if (fds[i] < 0 || fchmod(fds[i], 0600) < 0)
                        abort();
                (void) snprintf(paths[i], sizeof paths[i], "/proc/self/fd/%d", fds[i]);
        }
        if (!null)
                null = fopen("/dev/null", "we");
        second = memmem(data, size, separator, strlen(separator));
        n = second ? (size_t) (second - data) : size;
        write_file(fds[0], data, n);
        if (second)
                write_file(fds[1], second + strlen(separator), size - n - strlen(separator));
        check(&(TypeFiles){.name = "fuzz", .files = names, .n_files = second ? 2 : 1}, null);
        return 0;
}
