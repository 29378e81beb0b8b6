/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-policy: reads the policy files and writes the table. Started by the broker, as nobody; also by hand, to check:
 *
 *     fused-policy --policy DIR --manager /usr/libexec/fused/fused-manager
 */

#include <getopt.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sanitizer.h"
#include "policy/load.h"
#include "policy-config.h"

static const char *const built_in_layers[] = FUSED_CONFIG_LAYERS; /* lowest first */

typedef struct Arguments {
        int output_fd; /* -1: only check */
        const char *manager;
        const char **directories; /* owned array of borrowed strings */
        size_t n_directories;
} Arguments;

static int parse_arguments(int argc, char **argv, Arguments *ret) {
        static const struct option options[] = {
                {"output-fd", required_argument, NULL, 'o'},
                {"policy", required_argument, NULL, 'p'},
                {"manager", required_argument, NULL, 'm'},
                {0},
        };
        int c;

        *ret = (Arguments){
                .output_fd = -1,
                .directories = calloc((size_t) argc + ELEMENTSOF(built_in_layers), sizeof *ret->directories)};
        if (!ret->directories)
                return -ENOMEM;
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'o':
                        ret->output_fd = atoi(optarg);
                        break;
                case 'p':
                        ret->directories[ret->n_directories++] = optarg;
                        break;
                case 'm':
                        ret->manager = optarg;
                        break;
                default:
                        return -EINVAL;
                }
        if (ret->n_directories == 0)
                for (size_t i = 0; i < ELEMENTSOF(built_in_layers); i++)
                        ret->directories[ret->n_directories++] = built_in_layers[i];
        return optind == argc && ret->manager ? 0 : -EINVAL;
}

static int write_all(int fd, const char *data, size_t size) {
        while (size > 0) {
                ssize_t n = RET_NERRNO(write(fd, data, size));
                if (n == -EINTR)
                        continue;
                if (n < 0)
                        return (int) n;
                data += n;
                size -= (size_t) n;
        }
        return 0;
}

typedef struct Types {
        DraftType *rows; /* owned */
        size_t n;
} Types;

static void types_done(Types *types) {
        for (size_t i = 0; i < types->n; i++)
                draft_type_done(&types->rows[i]);
        free(types->rows);
}

static int read_types(const Arguments *arguments, Mistakes *mistakes, Types *types) {
        TypeFiles *files = NULL;
        size_t n = 0;
        int r;

        r = find_types(arguments->directories, arguments->n_directories, mistakes, &files, &n);
        types->rows = calloc(n + 1, sizeof *types->rows);
        if (!types->rows)
                r = -ENOMEM;
        for (size_t i = 0; i < n && r >= 0; i++) {
                r = draft_type(&files[i], mistakes, &types->rows[types->n]);
                if (r == -ENOENT) {
                        draft_type_done(&types->rows[types->n]);
                        r = 0;
                } else
                        types->n++;
        }
        for (size_t i = 0; i < n; i++)
                type_files_done(&files[i]);
        free(files);
        return r;
}

static int run(const Arguments *arguments) {
        _cleanup_(draft_main_done) DraftMain main_draft = {0};
        _cleanup_(type_files_done) TypeFiles main_files = {0};
        _cleanup_(types_done) Types types = {0};
        Mistakes mistakes = {.stream = stderr};
        _cleanup_free_ void *table = NULL;
        size_t size;
        int r;

        r = find_main(arguments->directories, arguments->n_directories, &mistakes, &main_files);
        if (r >= 0)
                r = draft_main(&main_files, &mistakes, &main_draft);
        if (r >= 0)
                r = list_libraries(arguments->manager, &main_draft.manager_files, &main_draft.n_manager_files);
        if (r == -EACCES || r == -ENOENT)
                fprintf(stderr, "fused-policy: %s: %s (its directories must be searchable by everybody)\n",
                        arguments->manager, strerror(-r));
        if (r >= 0)
                r = read_types(arguments, &mistakes, &types);
        free(mistakes.first);
        if (r >= 0)
                r = make_table(&main_draft, types.rows, types.n, &table, &size);
        if (r >= 0)
                r = policy_table_validate(table, size); /* what the broker will ask as well */
        if (r >= 0 && arguments->output_fd >= 0)
                r = write_all(arguments->output_fd, table, size);
        else if (r >= 0)
                printf("%zu types, %u mistakes\n", types.n, mistakes.n);
        return r;
}

int main(int argc, char **argv) {
        Arguments arguments;
        int r;

        /* Other processes of nobody must neither trace this one nor find the table below its /proc/PID/fd. The
         * installed file cannot be read by nobody, for the same reason: so that it holds from the first instruction. */
        (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        r = parse_arguments(argc, argv, &arguments);
        if (r >= 0 && arguments.output_fd >= 0)
                r = fd_set_cloexec(arguments.output_fd, true); /* not for the dynamic loader that lists libraries */
        if (r < 0)
                fputs("usage: fused-policy [--output-fd N] [--policy DIR]... --manager PROGRAM\n", stderr);
        else {
                r = run(&arguments);
                if (r < 0)
                        fprintf(stderr, "fused-policy: %s\n", strerror(-r));
        }
        free(arguments.directories);
        return r < 0 ? 1 : 0;
}
