/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image with patches, in any order: 4 bytes of offset, 1 of length, that many bytes. The first byte of the input is the seed of the walk; an odd
 * one has checksums renewed. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macro.h"
#include "images/images.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PATCHES_MAX 64U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static uint8_t *copies[IMAGE_FDS_MAX];
        static Image image;
        static Seen seen;
        size_t at = 1;

        if (image.n == 0) {
                image_make(&image);
                image_save(&image, copies);
        }
        if (size < 1)
                return 0;
        image_restore(&image, copies);
        for (unsigned i = 0; i < PATCHES_MAX && at + 5 < size; i++) {
                uint32_t offset;
                memcpy(&offset, data + at, sizeof offset);
                unsigned file = offset % image.n;
                size_t n = MIN_OF((size_t) data[at + 4], size - at - 5);
                uint64_t to = offset / image.n % image.sizes[file];
                n = MIN_OF(n, image.sizes[file] - to);
                if (pwrite(image.fds[file], data + at + 5, n, (off_t) to) != (ssize_t) n)
                        abort();
                at += 5 + n;
        }
        if (data[0] & 1)
                image_reseal(&image);
        memset(&seen, 0, sizeof seen);
        (void) image_walk(&image, data[0] / 2, &seen);
        return 0;
}
