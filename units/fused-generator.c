/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-generator: makes units of the type definitions, when systemd starts and at each daemon-reload. See systemd.generator(7)
 * and fused-units(7). By hand, to look at them:
 *
 *     fused-generator --policy DIR... OUTPUT-DIRECTORY
 */

#include <getopt.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "policy-config.h"
#include "units/type-unit.h"
#include "units-config.h"

static const char *const built_in_layers[] = FUSED_CONFIG_LAYERS; /* lowest first */

typedef struct Arguments {
        const char **directories; /* owned array of borrowed strings */
        size_t n_directories;
        const char *output; /* borrowed */
} Arguments;

static int parse_arguments(int argc, char **argv, Arguments *ret) {
        static const struct option options[] = {{"policy", required_argument, NULL, 'p'}, {0}};
        int c;

        *ret = (Arguments){.directories = calloc((size_t) argc + ELEMENTSOF(built_in_layers), sizeof *ret->directories)};
        if (!ret->directories)
                return -ENOMEM;
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (c != 'p')
                        return -EINVAL;
                ret->directories[ret->n_directories++] = optarg;
        }
        if (ret->n_directories == 0)
                for (size_t i = 0; i < ELEMENTSOF(built_in_layers); i++)
                        ret->directories[ret->n_directories++] = built_in_layers[i];
        /* systemd names three directories, of different precedence; the first is the one for this. */
        if (optind >= argc || argc - optind > 3)
                return -EINVAL;
        ret->output = argv[optind];
        return 0;
}

typedef void (*write_t)(FILE *stream, const DraftType *type, const UnitPaths *paths);

static int write_unit(const Arguments *arguments, const DraftType *type, const char *suffix, write_t write_one, const UnitPaths *paths) {
        _cleanup_free_ char *path = NULL;
        FILE *stream;

        if (asprintf(&path, "%s/fuse-service-%s%s", arguments->output, type->type.name, suffix) < 0)
                return -ENOMEM;
        stream = fopen(path, "we");
        if (!stream)
                return log_errno(-errno, "cannot write %s: %s", path, strerror(errno));
        write_one(stream, type, paths);
        bool bad = ferror(stream);
        if (fclose(stream) != 0 || bad)
                return log_errno(-EIO, "cannot write %s", path);
        return 0;
}

static int want_socket(const Arguments *arguments, const DraftType *type) {
        _cleanup_free_ char *directory = NULL, *path = NULL, *target = NULL;

        if (asprintf(&directory, "%s/sockets.target.wants", arguments->output) < 0 ||
            asprintf(&path, "%s/fuse-service-%s.socket", directory, type->type.name) < 0 ||
            asprintf(&target, "../fuse-service-%s.socket", type->type.name) < 0)
                return -ENOMEM;
        if (mkdir(directory, 0755) < 0 && errno != EEXIST)
                return log_errno(-errno, "cannot make %s: %s", directory, strerror(errno));
        if (symlink(target, path) < 0 && errno != EEXIST)
                return log_errno(-errno, "cannot make %s: %s", path, strerror(errno));
        return 0;
}

static int generate(const Arguments *arguments, const TypeFiles *files, Mistakes *mistakes) {
        static const UnitPaths paths = {.enter = FUSED_ENTER, .empty = FUSED_EMPTY, .directory = "/run/filesystems",
                                        .roots = "/run/fused-roots"};
        _cleanup_(draft_type_done) DraftType type = {0};
        const char *obstacle;
        int r;

        r = draft_type(files, mistakes, &type);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        obstacle = unit_obstacle(&type);
        if (obstacle) {
                if (*obstacle)
                        log_warning("type %s gets no unit: %s", type.type.name, obstacle);
                return 0;
        }
        r = write_unit(arguments, &type, ".socket", unit_write_socket, &paths);
        if (r >= 0)
                r = write_unit(arguments, &type, "@.service", unit_write_service, &paths);
        return r < 0 ? r : want_socket(arguments, &type);
}

static int run(const Arguments *arguments) {
        Mistakes mistakes = {.stream = stderr};
        TypeFiles *files = NULL;
        size_t n = 0;
        int r, result = 0;

        r = find_types(arguments->directories, arguments->n_directories, &mistakes, &files, &n);
        for (size_t i = 0; i < n && r >= 0; i++) { /* one that fails is no reason for the others to have none */
                int one = generate(arguments, &files[i], &mistakes);
                if (one < 0)
                        result = one;
        }
        for (size_t i = 0; i < n; i++)
                type_files_done(&files[i]);
        free(files);
        free(mistakes.first);
        return r < 0 ? r : result;
}

int main(int argc, char **argv) {
        Arguments arguments;
        int r;

        (void) umask(022);
        log_open("fused-generator", -EBADF, LOG_LEVEL_INFO);
        r = parse_arguments(argc, argv, &arguments);
        if (r < 0)
                (void) fputs("usage: fused-generator [--policy DIR]... OUTPUT-DIRECTORY\n", stderr);
        else
                r = run(&arguments);
        free(arguments.directories);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
