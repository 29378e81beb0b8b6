/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each block of an image's metadata is damaged in turn, in several ways, without and with checksums that suit the damage. After each: no crash, no
 * hang (an alarm), a refusal is EUCLEAN or the like, and where checksums vouch for the content, what is read without an error is what was
 * written. IMAGE_ROUNDS=N: so many times as long. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "images/images.h"

#define BLOCK 512U
#define WALK_SECONDS 30U
#define AREAS_MAX 8192U

enum damage { ZEROES, ONES, BIT, NUMBER, SEVERAL, OTHER_BLOCK, N_DAMAGES };
static const char *const names[] = {"zeroes", "ones", "a bit", "a number", "several numbers", "another block"};
static const uint32_t numbers[] = {0, 1, 2, 0xffff, 0x7fff, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 4096, 0x10000, 0xf30a};

static uint64_t state;
static struct {
        unsigned made, refused, partly, same;
} count;

static uint32_t rnd(uint32_t below) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return (uint32_t) (state >> 33) % below;
}

static void set_number(uint8_t *block) {
        uint32_t value = rnd(3) ? numbers[rnd(sizeof numbers / sizeof numbers[0])] : rnd(0x7fffffff);
        unsigned width = 1U << rnd(3), at = rnd(BLOCK / width) * width;

        memcpy(block + at, &value, width);
}

static void damage(const Image *image, const Area *areas, size_t n_areas, enum damage how, uint8_t *block) {
        const Area *other = &areas[rnd((uint32_t) n_areas)];

        switch (how) {
        case ZEROES: memset(block, 0, BLOCK); break;
        case ONES: memset(block, 0xff, BLOCK); break;
        case BIT: block[rnd(BLOCK)] ^= (uint8_t) (1U << rnd(8)); break;
        case NUMBER: set_number(block); break;
        case SEVERAL:
                for (unsigned i = 2 + rnd(8); i > 0; i--)
                        set_number(block);
                break;
        case OTHER_BLOCK:
                if (pread(image->fds[other->fd], block, BLOCK, (off_t) other->from) != BLOCK)
                        abort();
                break;
        case N_DAMAGES: abort();
        }
}

/* Returns whether all is well. */
static bool try_walk(const Image *image, unsigned seed, const Seen *sound, bool resealed, const char *what) {
        static Seen seen;
        bool differs = false;
        int r;

        memset(&seen, 0, sizeof seen);
        (void) alarm(WALK_SECONDS);
        r = image_walk(image, seed, &seen);
        (void) alarm(0);
        count.made++;
        if (r < 0) {
                count.refused++;
                if (r == -EUCLEAN || r == -EOPNOTSUPP || r == -EROFS || r == -EINVAL || r == -ENOMEM || r == -EIO)
                        return true;
                printf("%s: %s: refused with %s\n", image_name, what, strerror(-r));
                return false;
        }
        for (size_t i = 0; i < sound->n; i++) {
                bool fine = i < seen.n && seen.fine[i];
                differs = differs || !fine;
                if (fine && !resealed && image_is_vouched_for && sound->fine[i] && seen.digests[i] != sound->digests[i]) {
                        printf("%s: %s: object %zu reads as something else\n", image_name, what, i);
                        return false;
                }
        }
        *(differs ? &count.partly : &count.same) += 1;
        return true;
}

int main(void) {
        const char *rounds = getenv("IMAGE_ROUNDS");
        static Area areas[AREAS_MAX];
        static Seen sound, again;
        uint8_t *copies[IMAGE_FDS_MAX], block[BLOCK];
        unsigned failed = 0, seed = 0;
        size_t n_areas = 0, n;
        Image image;
        char what[160];

        image_make(&image);
        image_save(&image, copies);
        static Area whole[AREAS_MAX];
        n = image_areas(&image, whole, AREAS_MAX);
        for (size_t i = 0; i < n; i++)
                for (uint64_t at = whole[i].from; at + BLOCK <= whole[i].to && n_areas < AREAS_MAX; at += BLOCK)
                        areas[n_areas++] = (Area){whole[i].fd, at, at + BLOCK};
        if (image_walk(&image, 0, &sound) < 0 || sound.n < 3) {
                printf("%s: the sound image is refused\n", image_name);
                return 1;
        }
        image_restore(&image, copies);
        if (image_walk(&image, 0, &again) < 0 || memcmp(&sound, &again, sizeof sound) != 0) {
                printf("%s: two walks through the sound image differ\n", image_name);
                return 1;
        }
        for (unsigned round = 0; round < (rounds ? (unsigned) atoi(rounds) : 1); round++)
                for (size_t i = 0; i < n_areas; i++)
                        for (unsigned how = 0; how < N_DAMAGES; how++, seed++) {
                                bool reseal = (i + how + round) % 2; /* each block, in one round, and each damage, in two: both ways */
                                image_restore(&image, copies);
                                state = seed * 7919ULL + 1;
                                if (pread(image.fds[areas[i].fd], block, BLOCK, (off_t) areas[i].from) != BLOCK)
                                        abort();
                                damage(&image, areas, n_areas, how, block);
                                if (pwrite(image.fds[areas[i].fd], block, BLOCK, (off_t) areas[i].from) != BLOCK)
                                        abort();
                                if (reseal)
                                        image_reseal(&image);
                                (void) snprintf(what, sizeof what, "seed %u: %s at %llu of file %u%s", seed, names[how],
                                                (unsigned long long) areas[i].from, areas[i].fd, reseal ? ", checksums renewed" : "");
                                if (getenv("IMAGE_VERBOSE"))
                                        fprintf(stderr, "%s\n", what);
                                failed += !try_walk(&image, seed, &sound, reseal, what);
                        }
        printf("%s: %zu objects, %zu blocks, %u mutations: %u refused, %u partly unreadable, %u as before; %u wrong\n", image_name, sound.n, n_areas,
               count.made, count.refused, count.partly, count.same, failed);
        for (unsigned i = 0; i < image.n; i++)
                free(copies[i]);
        return failed > 0 || count.made == 0 || count.refused + count.partly == 0;
}
