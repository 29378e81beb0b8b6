/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-stripe: makes striped volumes, puts files into them and shows what is in them. */

#include <fcntl.h>
#include <json-c/json.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "stripe/fill.h"
#include "tool.h"

typedef struct Members {
        int fds[STRIPE_MEMBERS_MAX]; /* owned */
        struct stat stats[STRIPE_MEMBERS_MAX];
        uint64_t sizes[STRIPE_MEMBERS_MAX];
        char *const *paths; /* borrowed */
        uint32_t n;
} Members;

static void members_done(Members *m) {
        fd_close_many(m->fds, m->n);
}

/* Two names of the same file, or two nodes of the same device. */
static bool is_same(const struct stat *a, const struct stat *b) {
        if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
                return a->st_rdev == b->st_rdev;
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* What somebody else has is busy. */
static int members_open(char *const *paths, int n, int flags, Members *ret) {
        if (n < 2 || n > (int) STRIPE_MEMBERS_MAX) {
                fprintf(stderr, "fused-stripe: a volume has 2 to %u devices\n", STRIPE_MEMBERS_MAX);
                return -EINVAL;
        }
        ret->paths = paths;
        for (int i = 0; i < n; i++) {
                struct stat *st = &ret->stats[i];
                int fd;
                if (stat(paths[i], st) < 0)
                        return tool_complain(paths[i], NULL, -errno);
                for (int k = 0; k < i; k++)
                        if (is_same(st, &ret->stats[k]))
                                return tool_complain(paths[i], "it is given twice", -EINVAL);
                fd = RET_NERRNO(open(paths[i], flags | O_CLOEXEC | (S_ISBLK(st->st_mode) ? O_EXCL : 0)));
                if (fd < 0)
                        return tool_complain(paths[i], NULL, fd);
                ret->fds[ret->n] = fd;
                ret->sizes[ret->n++] = (uint64_t) st->st_size;
                if (tool_lock(fd, flags == O_RDWR, paths[i]) < 0)
                        return -EBUSY;
                if (S_ISBLK(st->st_mode) && ioctl(fd, BLKGETSIZE64, &ret->sizes[i]) < 0)
                        return tool_complain(paths[i], NULL, -errno);
        }
        return 0;
}

static int volume_open(const Members *m, StripeVolume *ret) {
        StripeWhy why;
        int r = stripe_open(m->fds, m->sizes, m->n, ret, &why);

        return r < 0 ? tool_complain(m->paths[why.member], why.words, r) : 0;
}

static int parse_chunk(const char *text, uint32_t *ret) {
        const char *unit = text + strspn(text, "0123456789");
        const unsigned up = strcmp(unit, "M") == 0 ? 20 : strcmp(unit, "K") == 0 ? 10 : 0;
        unsigned long long size = strtoull(text, NULL, 10);

        for (uint32_t shift = STRIPE_SHIFT_MIN; shift <= STRIPE_SHIFT_MAX && unit > text && (up > 0 || !*unit); shift++)
                if (size << up >> up == size && size << up == 1ULL << shift) {
                        *ret = shift;
                        return 0;
                }
        fputs("fused-stripe: a chunk is a power of two from 4K to 64M\n", stderr);
        return -EINVAL;
}

/* Everything that was written, then the table that says so. */
static int volume_save(const Members *m, StripeVolume *volume) {
        int r = 0;

        for (uint32_t k = 0; k < m->n && r >= 0; k++)
                r = RET_NERRNO(fsync(m->fds[k]));
        if (r >= 0)
                r = stripe_save(volume);
        return r < 0 ? tool_complain("the table of files cannot be written", NULL, r) : 0;
}

/* ---- subcommands ---------------------------------------------------------------------------------------------------- */

typedef struct Options {
        bool json;
        uint32_t shift;
} Options;

static int create(char **words, int n, const Options *options) {
        _cleanup_(members_done) Members m = {0};
        uint8_t uuid[16];
        int r;

        r = members_open(words, n, O_RDWR, &m);
        if (r >= 0 && getrandom(uuid, sizeof uuid, 0) != (ssize_t) sizeof uuid)
                r = -EIO;
        if (r < 0)
                return r;
        r = stripe_create(m.fds, m.sizes, m.n, options->shift, uuid);
        return r < 0 ? tool_complain("the volume cannot be made", NULL, r) : 0;
}

static int add(char **words, int n, const Options *options) {
        _cleanup_(members_done) Members m = {0};
        static StripeVolume volume;
        uint64_t size = UINT64_MAX, done = 0;
        struct timespec now;
        struct stat st;
        int i, r;

        r = members_open(words + 1, n - 1, O_RDWR, &m);
        if (r >= 0)
                r = volume_open(&m, &volume);
        if (r < 0)
                return r;
        i = stripe_add(&volume, words[0]);
        if (i < 0)
                return tool_complain(words[0], NULL, i);
        (void) clock_gettime(CLOCK_REALTIME, &now);
        volume.table.files[i].mode = 0644;
        volume.table.files[i].mtime = stripe_time(&now);
        if (fstat(STDIN_FILENO, &st) >= 0 && S_ISREG(st.st_mode) && lseek(STDIN_FILENO, 0, SEEK_CUR) == 0)
                size = (uint64_t) st.st_size;
        r = fill_file(&volume, (uint32_t) i, STDIN_FILENO, size, words[0], size == UINT64_MAX ? 0 : size, &done);
        return r < 0 ? r : volume_save(&m, &volume);
}

static int fill(char **words, int n, const Options *options) {
        _cleanup_(members_done) Members m = {0};
        static StripeVolume volume;
        uint64_t bytes;
        uint32_t count;
        int r;

        r = members_open(words + 1, n - 1, O_RDWR, &m);
        if (r >= 0)
                r = volume_open(&m, &volume);
        if (r >= 0)
                r = fill_directory(&volume, words[0], &count, &bytes);
        if (r >= 0)
                r = volume_save(&m, &volume);
        if (r >= 0)
                printf(options->json ? "{\"files\": %u, \"bytes\": %llu}\n" : "%u files, %llu bytes\n", count, (unsigned long long) bytes);
        return r;
}

static json_object *file_to_json(const StripeVolume *volume, const StripeFile *file) {
        json_object *object = json_object_new_object(), *runs = json_object_new_array();

        tool_json_name(object, file->name);
        json_object_object_add(object, "size", json_object_new_uint64(file->size));
        json_object_object_add(object, "generation", json_object_new_uint64(file->generation));
        for (uint32_t i = 0; i < file->n_runs; i++) {
                json_object *run = json_object_new_object();
                json_object_object_add(run, "first", json_object_new_uint64(volume->table.runs[file->first_run + i].first));
                json_object_object_add(run, "rows", json_object_new_uint64(volume->table.runs[file->first_run + i].n_rows));
                (void) json_object_array_add(runs, run);
        }
        json_object_object_add(object, "runs", runs);
        json_object_object_add(object, "gaps", json_object_new_uint64(file->n_gaps));
        return object;
}

static void print_json(const StripeVolume *volume, uint64_t used) {
        json_object *object = json_object_new_object(), *files = json_object_new_array();

        json_object_object_add(object, "members", json_object_new_uint64(volume->n));
        json_object_object_add(object, "chunk", json_object_new_uint64(1ULL << volume->shift));
        json_object_object_add(object, "first-row-offset", json_object_new_uint64(stripe_row_addr(volume, 0)));
        json_object_object_add(object, "rows", json_object_new_uint64(volume->n_rows));
        json_object_object_add(object, "rows-used", json_object_new_uint64(used));
        json_object_object_add(object, "damaged-copies", json_object_new_uint64(volume->n_damaged));
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++)
                if (volume->table.files[i].name[0])
                        (void) json_object_array_add(files, file_to_json(volume, &volume->table.files[i]));
        json_object_object_add(object, "files", files);
        puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
        (void) json_object_put(object);
}

static void print_table(const StripeVolume *volume, uint64_t used) {
        char name[4 * STRIPE_NAME_MAX + 1];

        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++) {
                const StripeFile *file = &volume->table.files[i];
                if (!file->name[0])
                        continue;
                printf("%12llu  rows ", (unsigned long long) file->size);
                for (uint32_t k = 0; k < file->n_runs; k++) {
                        const StripeRun *run = &volume->table.runs[file->first_run + k];
                        printf("%s%llu+%llu", k > 0 ? "," : "", (unsigned long long) run->first, (unsigned long long) run->n_rows);
                }
                printf("%s  %s\n", file->n_runs > 0 ? "" : "none", tool_escape(file->name, name, sizeof name));
        }
        printf("%u members, chunks of %u KiB, %llu of %llu rows used\n", volume->n, 1U << (volume->shift - 10), (unsigned long long) used,
               (unsigned long long) volume->n_rows);
}

static int show(char **words, int n, const Options *options, bool check) {
        _cleanup_(members_done) Members m = {0};
        static StripeVolume volume;
        uint64_t used = 0;
        int r;

        r = members_open(words, n, O_RDONLY, &m);
        if (r >= 0)
                r = volume_open(&m, &volume);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++)
                used += volume.table.files[i].n_rows;
        (options->json ? print_json : print_table)(&volume, used);
        if (!check || volume.n_damaged == 0)
                return 0;
        return tool_complain(words[0], "one copy of its table of files is damaged; this is the other", -EUCLEAN);
}

static int list(char **words, int n, const Options *options) {
        return show(words, n, options, /* check= */ false);
}

static int check(char **words, int n, const Options *options) {
        return show(words, n, options, /* check= */ true);
}

static int usage(void) {
        fputs("usage: fused-stripe create [--chunk SIZE] DEVICE DEVICE...\n       fused-stripe add NAME DEVICE DEVICE... <DATA\n"
              "       fused-stripe fill [--json] DIRECTORY DEVICE DEVICE...\n       fused-stripe list|check [--json] DEVICE DEVICE...\n", stderr);
        return 2;
}

int main(int argc, char **argv) {
        static const struct {
                const char *name, *option;
                int n_names; /* words before the devices */
                int (*run)(char **words, int n, const Options *options);
        } commands[] = {
                {"create", "--chunk", 0, create}, {"add", NULL, 1, add}, {"fill", "--json", 1, fill},
                {"list", "--json", 0, list}, {"check", "--json", 0, check},
        };
        Options options = {.shift = 16};

        for (size_t i = 0; argc > 2 && i < ELEMENTSOF(commands); i++) {
                int at = 2;
                if (strcmp(argv[1], commands[i].name) != 0)
                        continue;
                if (commands[i].option && strcmp(argv[at], commands[i].option) == 0) {
                        options.json = commands[i].run != create;
                        if (!options.json && (at + 1 == argc || parse_chunk(argv[++at], &options.shift) < 0))
                                return 2;
                        at++;
                }
                if (argc - at <= commands[i].n_names)
                        return usage();
                return commands[i].run(argv + at, argc - at, &options) < 0 ? 1 : 0;
        }
        return usage();
}
