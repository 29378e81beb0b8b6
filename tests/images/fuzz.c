/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image with patches, in any order: 4 bytes of offset, 1 of length, that many bytes. Offsets count the bytes of the metadata; with the highest bit
 * set, those of the files. The first byte of the input is the seed of the walk; an odd one has checksums renewed. With the old ones, where they vouch
 * for the content, what is read without an error has to be what was written. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macro.h"
#include "images/images.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PATCHES_MAX 64U
#define AREAS_MAX 8192U

static uint8_t *copies[IMAGE_FDS_MAX];
static Area areas[AREAS_MAX];
static uint64_t area_bytes;
static size_t n_areas;
static Image image;
static Seen sound;

static void prepare(void) {
        image_make(&image);
        image_save(&image, copies);
        n_areas = image_areas(&image, areas, AREAS_MAX);
        for (size_t i = 0; i < n_areas; i++)
                area_bytes += areas[i].to - areas[i].from;
        if (area_bytes == 0 || image_walk(&image, 0, &sound) < 0)
                abort();
}

static Area place(uint32_t offset) { /* from there to the end of what it is in */
        uint64_t at = (offset & INT32_MAX) % area_bytes;
        unsigned file = offset % image.n;

        if (offset & ~(uint32_t) INT32_MAX)
                return (Area){file, (offset & INT32_MAX) / image.n % image.sizes[file], image.sizes[file]};
        for (const Area *area = areas;; at -= area->to - area->from, area++)
                if (at < area->to - area->from)
                        return (Area){area->fd, area->from + at, image.sizes[area->fd]};
}

static void patch(const uint8_t *data, size_t size) {
        size_t at = 0;

        for (unsigned i = 0; i < PATCHES_MAX && at + 5 < size; i++) {
                uint32_t offset;
                memcpy(&offset, data + at, sizeof offset);
                size_t n = MIN_OF((size_t) data[at + 4], size - at - 5);
                Area area = place(offset);
                n = MIN_OF(n, area.to - area.from);
                if (pwrite(image.fds[area.fd], data + at + 5, n, (off_t) area.from) != (ssize_t) n)
                        abort();
                at += 5 + n;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static Seen seen;
        bool reseal;

        if (n_areas == 0)
                prepare();
        if (size < 1)
                return 0;
        reseal = data[0] & 1;
        image_restore(&image, copies);
        patch(data + 1, size - 1);
        if (reseal)
                image_reseal(&image);
        memset(&seen, 0, sizeof seen);
        if (image_walk(&image, data[0] / 2, &seen) < 0 || reseal || !image_is_vouched_for)
                return 0;
        for (size_t i = 0; i < seen.n; i++)
                if (seen.fine[i] && (i >= sound.n || (sound.fine[i] && seen.digests[i] != sound.digests[i])))
                        abort();
        return 0;
}
