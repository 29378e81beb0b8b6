/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Damaged images for the servers that map: a small image of a format, what in it is metadata, and a walk through all that the server's code
 * can be asked about it. mutate.c damages each block of it in turn; the fuzz targets patch it. One format is linked into each program. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_FDS_MAX 2U
#define SEEN_MAX 256U

typedef struct Image { /* memory files */
        unsigned n;
        int fds[IMAGE_FDS_MAX];
        uint64_t sizes[IMAGE_FDS_MAX];
} Image;

typedef struct Area { /* bytes [from, to) of one of them */
        unsigned fd;
        uint64_t from, to;
} Area;

typedef struct Seen { /* objects, each the same from one walk to the next */
        size_t n;
        bool fine[SEEN_MAX];       /* without an error */
        uint64_t digests[SEEN_MAX]; /* of everything that was said of it */
} Seen;

extern const char *const image_name;
extern const bool image_is_vouched_for; /* by checksums: damage without new ones must not pass for content */
void image_make(Image *ret);           /* or ends the process */
size_t image_areas(const Image *image, Area *ret, size_t n_max);
/* Opens, looks at everything, and where it is a format that is written, changes things; the seed varies what. Returns 0 or why it was refused. */
int image_walk(const Image *image, unsigned seed, Seen *seen);
void image_reseal(const Image *image); /* checksums that suit what is there now, as far as they can be found */

/* For image_make(): runs a command made of format, or ends the process. */
__attribute__((format(printf, 1, 2))) void image_run(const char *format, ...);
int image_load(const char *path, uint64_t *ret_size); /* into a memory file */
void image_directory(char ret[64]);                   /* a new one */
/* The content of all of them, to damage and to come back to. copies: one for each, owned by the caller. */
void image_save(const Image *image, uint8_t *copies[IMAGE_FDS_MAX]);
void image_restore(const Image *image, uint8_t *const copies[IMAGE_FDS_MAX]);
uint64_t image_mix(uint64_t digest, const void *data, size_t size);
