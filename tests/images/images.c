/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What makers of images share. */

#include "images/images.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static _Noreturn void give_up(const char *what) {
        perror(what);
        exit(1);
}

void image_run(const char *format, ...) {
        char command[1024];
        va_list list;

        va_start(list, format);
        (void) vsnprintf(command, sizeof command, format, list);
        va_end(list);
        if (system(command) != 0) {
                fprintf(stderr, "failed: %s\n", command);
                exit(1);
        }
}

int image_load(const char *path, uint64_t *ret_size) {
        int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("image", MFD_CLOEXEC);
        static char block[65536];
        ssize_t n;

        if (from < 0 || to < 0)
                give_up(path);
        *ret_size = 0;
        while ((n = read(from, block, sizeof block)) > 0) {
                if (write(to, block, (size_t) n) != n)
                        give_up("memfd");
                *ret_size += (uint64_t) n;
        }
        (void) close(from);
        return to;
}

void image_directory(char ret[64]) {
        (void) snprintf(ret, 64, "/tmp/fused-image.XXXXXX");
        if (!mkdtemp(ret))
                give_up(ret);
}

void image_save(const Image *image, uint8_t *copies[IMAGE_FDS_MAX]) {
        for (unsigned i = 0; i < image->n; i++) {
                copies[i] = malloc(image->sizes[i]);
                if (!copies[i] || pread(image->fds[i], copies[i], image->sizes[i], 0) != (ssize_t) image->sizes[i])
                        abort();
        }
}

void image_restore(const Image *image, uint8_t *const copies[IMAGE_FDS_MAX]) {
        for (unsigned i = 0; i < image->n; i++)
                if (ftruncate(image->fds[i], (off_t) image->sizes[i]) < 0 ||
                    pwrite(image->fds[i], copies[i], image->sizes[i], 0) != (ssize_t) image->sizes[i])
                        abort();
}

uint64_t image_mix(uint64_t digest, const void *data, size_t size) { /* FNV-1a */
        const uint8_t *p = data;

        for (size_t i = 0; i < size; i++)
                digest = (digest ^ p[i]) * 0x100000001b3ULL;
        return digest;
}
