/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-stripe: makes striped volumes, puts files into them and shows what is in them. */

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "stripe/volume.h"

typedef struct Members {
        int fds[STRIPE_MEMBERS_MAX]; /* owned */
        uint64_t sizes[STRIPE_MEMBERS_MAX];
        uint32_t n;
} Members;

static void members_done(Members *m) {
        fd_close_many(m->fds, m->n);
}

static int complain(const char *what, int r) {
        fprintf(stderr, "fused-stripe: %s: %s\n", what, strerror(-r));
        return r;
}

/* A device that somebody else has is busy. */
static int members_open(char *const *paths, int n, int flags, Members *ret) {
        if (n < 2 || n > (int) STRIPE_MEMBERS_MAX) {
                fprintf(stderr, "fused-stripe: a volume has 2 to %u devices\n", STRIPE_MEMBERS_MAX);
                return -EINVAL;
        }
        for (int i = 0; i < n; i++) {
                struct stat st;
                int fd;
                if (stat(paths[i], &st) < 0)
                        return complain(paths[i], -errno);
                fd = RET_NERRNO(open(paths[i], flags | O_CLOEXEC | (S_ISBLK(st.st_mode) ? O_EXCL : 0)));
                if (fd < 0)
                        return complain(paths[i], fd);
                ret->fds[ret->n] = fd;
                ret->sizes[ret->n++] = (uint64_t) st.st_size;
                if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &ret->sizes[i]) < 0)
                        return complain(paths[i], -errno);
        }
        return 0;
}

static int volume_open(const Members *m, StripeVolume *ret) {
        const char *why;
        int r = stripe_open(m->fds, m->sizes, m->n, ret, &why);

        if (r < 0)
                fprintf(stderr, "fused-stripe: %s\n", why);
        return r;
}

static int parse_chunk(const char *text, uint32_t *ret) {
        char *end;
        unsigned long long size = strtoull(text, &end, 10);

        size <<= *end == 'K' ? 10 : *end == 'M' ? 20 : 0;
        for (uint32_t shift = STRIPE_SHIFT_MIN; shift <= STRIPE_SHIFT_MAX; shift++)
                if (size == 1ULL << shift) {
                        *ret = shift;
                        return 0;
                }
        fputs("fused-stripe: a chunk is a power of two from 4K to 64M\n", stderr);
        return -EINVAL;
}

/* ---- subcommands ---------------------------------------------------------------------------------------------------- */

static int create(char **words, int n) {
        _cleanup_(members_done) Members m = {0};
        uint32_t shift = 16;
        uint8_t uuid[16];
        int r;

        if (n >= 2 && strcmp(words[0], "--chunk") == 0) {
                if (parse_chunk(words[1], &shift) < 0)
                        return -EINVAL;
                words += 2;
                n -= 2;
        }
        r = members_open(words, n, O_RDWR, &m);
        if (r >= 0 && getrandom(uuid, sizeof uuid, 0) != (ssize_t) sizeof uuid)
                r = -EIO;
        if (r < 0)
                return r;
        r = stripe_create(m.fds, m.sizes, m.n, shift, uuid);
        return r < 0 ? complain("the volume cannot be made", r) : 0;
}

static int copy_in(StripeVolume *volume, uint32_t i) {
        _cleanup_free_ char *chunk = malloc(1 << 20);
        StripeFile *file = &volume->table.files[i];

        if (!chunk)
                return -ENOMEM;
        for (;;) {
                ssize_t n = RET_NERRNO(read(STDIN_FILENO, chunk, 1 << 20));
                int r;
                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return (int) n;
                r = stripe_reserve(volume, i, file->size + (uint64_t) n);
                if (r >= 0)
                        r = stripe_move(volume, file, /* write= */ true, file->size, chunk, (uint64_t) n);
                if (r < 0)
                        return r;
                file->size += (uint64_t) n;
        }
}

/* What is behind the end in the last block is zero, as the server expects it. */
static int pad(StripeVolume *volume, uint32_t i) {
        StripeFile *file = &volume->table.files[i];

        return stripe_move(volume, file, /* write= */ true, file->size, NULL, ALIGN_TO(file->size, (uint64_t) STRIPE_BLOCK) - file->size);
}

static int add(char **words, int n) {
        _cleanup_(members_done) Members m = {0};
        static StripeVolume volume;
        struct timespec now;
        int i, r;

        r = n > 2 ? members_open(words + 1, n - 1, O_RDWR, &m) : -EINVAL;
        if (r >= 0)
                r = volume_open(&m, &volume);
        if (r < 0)
                return r;
        i = stripe_add(&volume, words[0]);
        if (i < 0)
                return complain(words[0], i);
        (void) clock_gettime(CLOCK_REALTIME, &now);
        volume.table.files[i].mode = 0644;
        volume.table.files[i].mtime = now.tv_sec * 1000000000LL + now.tv_nsec;
        r = copy_in(&volume, (uint32_t) i);
        if (r >= 0)
                r = pad(&volume, (uint32_t) i);
        for (uint32_t k = 0; k < m.n && r >= 0; k++)
                r = RET_NERRNO(fsync(m.fds[k]));
        if (r >= 0)
                r = stripe_save(&volume);
        return r < 0 ? complain(words[0], r) : 0;
}

static int list(char **words, int n) {
        _cleanup_(members_done) Members m = {0};
        static StripeVolume volume;
        uint64_t used = 0;
        int r;

        r = members_open(words, n, O_RDONLY, &m);
        if (r >= 0)
                r = volume_open(&m, &volume);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++) {
                const StripeFile *file = &volume.table.files[i];
                if (!file->name[0])
                        continue;
                used += file->n_rows;
                printf("%12llu  rows %llu+%llu  %s\n", (unsigned long long) file->size, (unsigned long long) file->first,
                       (unsigned long long) file->n_rows, file->name);
        }
        printf("%u members, chunks of %u KiB, %llu of %llu rows used\n", volume.n, 1U << (volume.shift - 10), (unsigned long long) used,
               (unsigned long long) volume.n_rows);
        return 0;
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                int (*run)(char **words, int n);
        } commands[] = {{"create", create}, {"add", add}, {"list", list}, {"check", list}};

        for (size_t i = 0; argc > 2 && i < ELEMENTSOF(commands); i++)
                if (strcmp(argv[1], commands[i].name) == 0)
                        return commands[i].run(argv + 2, argc - 2) < 0 ? 1 : 0;
        fputs("usage: fused-stripe create [--chunk SIZE] DEVICE DEVICE...\n       fused-stripe add NAME DEVICE DEVICE... <DATA\n"
              "       fused-stripe list|check DEVICE DEVICE...\n", stderr);
        return 2;
}
