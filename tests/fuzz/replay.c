/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plain main() for a fuzz target: runs it over files, and over every file of the directories given. With it the corpora are
 * part of the ordinary test run, with any compiler. An empty corpus is a failure: it would test nothing. */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/macro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (16U << 20)

static void file_closep(FILE **file) {
        if (*file)
                (void) fclose(*file);
}

static int replay_file(const char *path) {
        _cleanup_(file_closep) FILE *file = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        struct stat st;

        file = fopen(path, "re");
        if (!file || fstat(fileno(file), &st) < 0 || st.st_size > INPUT_MAX) {
                fprintf(stderr, "%s: cannot be read\n", path);
                return -EIO;
        }
        /* exactly as large as the input, so that the address sanitizer sees a read past its end */
        data = malloc(st.st_size > 0 ? (size_t) st.st_size : 1);
        if (!data || fread(data, 1, (size_t) st.st_size, file) != (size_t) st.st_size)
                return -EIO;
        (void) LLVMFuzzerTestOneInput(data, (size_t) st.st_size);
        return 1;
}

static void dir_closep(DIR **dir) {
        if (*dir)
                (void) closedir(*dir);
}

static int replay_directory(const char *path) {
        _cleanup_(dir_closep) DIR *dir = opendir(path);
        int n = 0, r;

        if (!dir) {
                fprintf(stderr, "%s: cannot be read\n", path);
                return -EIO;
        }
        for (struct dirent *entry; (entry = readdir(dir));) {
                _cleanup_free_ char *name = NULL;
                if (entry->d_name[0] == '.')
                        continue;
                if (asprintf(&name, "%s/%s", path, entry->d_name) < 0)
                        return -ENOMEM;
                r = replay_file(name);
                if (r < 0)
                        return r;
                n += r;
        }
        return n;
}

int main(int argc, char **argv) {
        int n = 0, r;

        for (int i = 1; i < argc; i++) {
                struct stat st;
                if (stat(argv[i], &st) < 0) {
                        fprintf(stderr, "%s: is not there\n", argv[i]);
                        return EXIT_FAILURE;
                }
                r = S_ISDIR(st.st_mode) ? replay_directory(argv[i]) : replay_file(argv[i]);
                if (r < 0)
                        return EXIT_FAILURE;
                n += r;
        }
        printf("%d inputs\n", n);
        return n > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
