/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A real server, from its main() on, over the model of the kernel: random operations, with the bytes compared to what they should be, on both
 * columns of the kernel engine and on the user engine in turn, over the same devices. Each mount is a process of its own and finds
 * what the one before has left. The linker puts the functions below in the place of those that speak with the supervisor. */

#define FUSE_USE_VERSION 312
#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/model.h"
#include "unit/lone-server.h"

#define BLOCK 4096U
#define FILE_MAX (BLOCK * 60U)
#define FILES 5
#define DEVICES_MAX 3

typedef struct Kind {
        const char *name;
        const char *make[2]; /* commands, with the directory; one each round */
        const char *check;   /* after each mount */
        unsigned n_devices;
        bool read_only;
        bool allocates;      /* has fallocate(2) */
} Kind;

static const Kind kinds[] = {
        {"stripe",
         {"cd %s && truncate -s 8M device0 device1 && " TOOL " create --chunk 16K device0 device1",
          "cd %s && truncate -s 8M device0 device1 device2 && " TOOL " create --chunk 4K device0 device1 device2"},
         "cd %s && " TOOL " check device* >/dev/null", 3},
        {"pack",
         {"cd %s && mkdir tree && for i in 0 1 2 3 4; do cp twin$i tree/file$i; done && " TOOL " tree device0",
          "cd %s && mkdir tree && for i in 0 1 2 3 4; do cp twin$i tree/file$i; done && " TOOL " tree device0"},
         TOOL " verify %s/device0 >/dev/null", 1, .read_only = true},
        {"ext4",
         {"PATH=$PATH:/usr/sbin:/sbin; cd %s && mkfs.ext4 -q -F -b 4096 device0 24M >/dev/null 2>&1",
          "PATH=$PATH:/usr/sbin:/sbin; cd %s && mkfs.ext4 -q -F -b 1024 device0 16M >/dev/null 2>&1"},
         "PATH=$PATH:/usr/sbin:/sbin; e2fsck -fn %s/device0 >/dev/null 2>&1", 1, .allocates = true},
};

typedef struct Twin {
        bool exists;
        uint64_t size;
        uint8_t bytes[FILE_MAX]; /* zero from size on */
} Twin;

static const Kind *kind;
static Twin *twins; /* shared with the processes that mount; the second half as it was when everything was last synchronised */
static unsigned seed, step_number, n_written;
static ModelInode *inodes[FILES];
static Model model;

static uint64_t random_below(uint64_t limit) {
        return limit ? (uint64_t) rand_r(&seed) % limit : 0;
}

/* ---- in the place of the supervisor --------------------------------------------------------------------------------- */

int __wrap_fused_map_new(struct fused_map **ret, struct fuse_service *sf, struct fuse_args *args, const struct fuse_lowlevel_ops *lowlevel,
                         size_t size, const struct fused_map_operations *operations, const struct fused_map_config *config, void *userdata) {
        return __real_fused_map_new(ret, NULL, args, lowlevel, size, operations, config, userdata);
}

int __wrap_fused_map_run(struct fused_map *map, struct fuse_cmdline_opts *opts) {
        char path[32];

        map->kernel_calls = &model_calls;
        map->kernel_userdata = &model;
        model_say_block_devices(&model, map);
        (void) snprintf(path, sizeof path, "/dev/fd/%d", model.server_fd);
        assert_int_equal(fuse_session_mount(fused_map_session(map), path), 0);
        return fused_map_serve(map);
}

/* ---- what the server writes itself -------------------------------------------------------------------------------------- */

ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t pos);
ssize_t __real_pwrite64(int fd, const void *data, size_t size, off_t pos);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t pos) {
        const ssize_t n = __real_pwrite64(fd, data, size, pos);

        if (n > 0)
                model_server_wrote(&model, fd, (uint64_t) pos, (uint64_t) n);
        return n;
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd) {
        model_server_synced(&model, fd);
        return 0;
}

int __wrap_fsync(int fd);
int __wrap_fsync(int fd) {
        return __wrap_fdatasync(fd);
}

/* ---- one file ------------------------------------------------------------------------------------------------------- */

static void check_bytes(unsigned i, uint64_t pos, uint64_t size) {
        static uint8_t back[FILE_MAX];
        uint64_t at = 0;
        int r = size > 0 ? model_read(&model, inodes[i], pos, size, back, random_below(2)) : 0;

        while (r >= 0 && at < size && back[at] == twins[i].bytes[pos + at])
                at++;
        if (r < 0 || at < size)
                fail_msg("%s: file%u, step %u: reading %llu at %llu: error %d, first difference at %llu: %#x for %#x", kind->name, i, step_number,
                         (unsigned long long) size, (unsigned long long) pos, r, (unsigned long long) (pos + at), back[at],
                         twins[i].bytes[pos + at]);
}

/* As FIEMAP and SEEK_HOLE go through a file: where nothing is said to be, nothing has been written. */
static void check_report(unsigned i) {
        struct fused_mapping from, to;
        uint64_t end;

        for (uint64_t pos = 0; inodes[i]->iomap && pos < twins[i].size; pos = end) {
                assert_int_equal(model_map(&model, inodes[i], pos, twins[i].size - pos, FUSED_MAPPING_OP_REPORT, &from, &to), 0);
                end = MIN_OF(from.offset + from.length, twins[i].size);
                for (uint64_t at = pos; from.type != FUSED_MAPPING_MAPPED && at < end; at++)
                        if (twins[i].bytes[at] != 0)
                                fail_msg("%s: file%u, step %u: type %u with data at %llu", kind->name, i, step_number, (unsigned) from.type,
                                         (unsigned long long) at);
        }
}

static const char *name_of(unsigned i) {
        static char name[16];

        (void) snprintf(name, sizeof name, "file%u", i);
        return name;
}

static void step_write(unsigned i) {
        const bool aligned = random_below(2);
        static uint8_t data[BLOCK * 7];
        Twin *twin = &twins[i];
        uint64_t pos = random_below(6) == 0 ? twin->size : random_below(FILE_MAX), size = 1 + random_below(BLOCK * 6);

        if (aligned) {
                pos = pos / BLOCK * BLOCK;
                size = ALIGN_TO(size, (uint64_t) BLOCK);
        }
        if (pos + size > FILE_MAX)
                return;
        for (uint64_t k = 0; k < size; k++)
                data[k] = (uint8_t) (1 + random_below(255));
        assert_int_equal(model_write(&model, inodes[i], pos, size, data, aligned && random_below(2)), 0);
        n_written++;
        memcpy(twin->bytes + pos, data, size);
        twin->size = MAX_OF(twin->size, pos + size);
}

static void step_truncate(unsigned i) {
        const uint64_t how = random_below(4), size = how == 0 ? 0 : how == 1 ? random_below(FILE_MAX) : twins[i].size - random_below(twins[i].size);

        assert_int_equal(model_truncate(&model, inodes[i], size), 0);
        if (size < twins[i].size)
                memset(twins[i].bytes + size, 0, twins[i].size - size);
        twins[i].size = size;
}

/* Zeroing and unsharing what is not there: it stays so. */
static void check_hole(unsigned i) {
        static const uint32_t flags[] = {FUSED_MAPPING_OP_ZERO, FUSED_MAPPING_OP_UNSHARE};
        const uint64_t pos = ALIGN_TO(twins[i].size, (uint64_t) BLOCK) + random_below(BLOCK * 3);
        struct fused_mapping from, to;

        for (size_t k = 0; inodes[i]->iomap && k < ELEMENTSOF(flags); k++) {
                assert_int_equal(model_map(&model, inodes[i], pos, 1 + random_below(BLOCK * 6), flags[k], &from, &to), 0);
                assert_int_equal(from.type, FUSED_MAPPING_HOLE);
                assert_int_equal(to.type, FUSED_MAPPING_HOLE);
        }
}

static void step_fallocate(unsigned i) {
        static const uint32_t modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                         FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};
        const uint32_t mode = modes[random_below(ELEMENTSOF(modes))];
        const uint64_t pos = random_below(FILE_MAX - BLOCK * 6), size = 1 + random_below(BLOCK * 6);
        int r = model_fallocate(&model, inodes[i], mode, pos, size);

        if (!kind->allocates) {
                assert_true(r == -ENOSYS || r == -EOPNOTSUPP);
                check_hole(i);
                return;
        }
        assert_int_equal(r, 0);
        if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
                memset(twins[i].bytes + pos, 0, size);
        if (!(mode & FALLOC_FL_KEEP_SIZE))
                twins[i].size = MAX_OF(twins[i].size, pos + size);
}

static void forget(unsigned i) {
        model_forget(&model, inodes[i]);
        inodes[i] = NULL;
}

static void step_unlink(unsigned i) {
        const bool first = random_below(2); /* while it is open */

        if (first) {
                assert_int_equal(model_unlink(&model, name_of(i)), 0);
                step_write(i);
                check_bytes(i, 0, twins[i].size);
        }
        assert_int_equal(model_release(&model, inodes[i]), 0);
        if (!first)
                assert_int_equal(model_unlink(&model, name_of(i)), 0);
        forget(i);
        twins[i] = (Twin){0};
}

/* The kernel may forget a file at any time, and finds it again as the server has recorded it. */
static void step_again(unsigned i) {
        assert_int_equal(model_release(&model, inodes[i]), 0);
        if (random_below(2)) {
                forget(i);
                inodes[i] = model_lookup(&model, name_of(i));
                assert_int_equal(inodes[i]->size, twins[i].size);
        }
        assert_int_equal(model_open(&model, inodes[i], kind->read_only ? O_RDONLY : O_RDWR), 0);
        check_report(i);
}

static void step(void) {
        const unsigned i = (unsigned) random_below(FILES);
        const uint64_t what = random_below(32), pos = random_below(twins[i].size);

        if (!twins[i].exists) {
                inodes[i] = model_create(&model, name_of(i));
                twins[i].exists = true;
        } else if (kind->read_only ? what < 4 : what == 0)
                step_again(i);
        else if (kind->read_only || what > 22)
                check_bytes(i, pos, random_below(twins[i].size - pos + 1));
        else if (what < 12)
                step_write(i);
        else if (what < 16)
                step_truncate(i);
        else if (what < 21)
                step_fallocate(i);
        else if (what == 21)
                assert_int_equal(model_fsync(&model, inodes[i]), 0);
        else
                step_unlink(i);
}

/* ---- the end -------------------------------------------------------------------------------------------------------- */

static int run_command(const char *format) {
        char command[512];

        (void) snprintf(command, sizeof command, format, lone_directory);
        return system(command);
}

/* Whoever unmounts may take the devices for something else at once: they are whole, and nobody has them open. */
static void check_released(void) {
        char path[64], target[128];

        for (int fd = 3; fd < 256; fd++) {
                (void) snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
                const ssize_t n = readlink(path, target, sizeof target - 1);
                target[MAX_OF(n, (ssize_t) 0)] = 0;
                if (strncmp(target, lone_directory, strlen(lone_directory)) == 0)
                        fail_msg("%s: %s is open after the mount's end", kind->name, target);
        }
        assert_int_equal(run_command(kind->check), 0);
}

/* ---- one mount ------------------------------------------------------------------------------------------------------ */

static void *serve(void *userdata) {
        static char *argv[] = {(char *) "server", (char *) "/slots/source", (char *) "/mnt", NULL};

        return (void *) (intptr_t) server_main(ELEMENTSOF(argv) - 1, argv);
}

static const ModelConfig columns[] = {
        {.column = MODEL_R7, .minor = IOMAP_MINOR, .offers = true, .config_flags = 0x7f},
        {.column = MODEL_RN, .minor = IOMAP_MINOR, .offers = true, .config_flags = 0x7f},
        {.minor = 46, .offers = true}, /* no fuse-iomap: the user engine */
        {.column = MODEL_RN, .minor = IOMAP_MINOR, .offers = true, .config_flags = 0x7f, .cache_bytes = 256, .notify_by_socket = true},
};

static unsigned column_number;

static void find_files(bool iomap) {
        for (unsigned i = 0; i < FILES; i++) {
                if (!twins[i].exists)
                        continue;
                inodes[i] = model_lookup(&model, name_of(i));
                assert_int_equal(inodes[i]->iomap, iomap);
                assert_int_equal(inodes[i]->size, twins[i].size);
                assert_int_equal(model_open(&model, inodes[i], kind->read_only ? O_RDONLY : O_RDWR), 0);
                check_bytes(i, 0, twins[i].size);
                check_report(i);
        }
}

/* An empty file where another has grown to: what is recorded of the two is still sound. */
static void grow_over(void) {
        static uint8_t data[BLOCK * 40];
        ModelInode *grows = model_create(&model, "grows"), *emptied = model_create(&model, "emptied");

        assert_int_equal(model_write(&model, grows, 0, BLOCK, data, false), 0);
        assert_int_equal(model_write(&model, emptied, 0, BLOCK, data, false), 0);
        assert_int_equal(model_truncate(&model, emptied, 0), 0);
        assert_int_equal(model_write(&model, grows, 0, sizeof data, data, false), 0);
        assert_int_equal(model_release(&model, emptied), 0);
        assert_int_equal(model_release(&model, grows), 0);
}

/* All that is known is on the devices: a copy of them, taken while the server goes on, has it; mount_copy() looks. */
static void sync_and_copy(void) {
        assert_int_equal(model_syncfs(&model), 0);
        assert_int_equal(run_command("cd %s && rm -rf copy && mkdir copy && cp device* copy"), 0);
        memcpy(twins + FILES, twins, FILES * sizeof *twins);
}

static void begin_mount(pthread_t *thread, const ModelConfig *config) {
        model_init(&model, config);
        model_send_init(&model);
        lone_direct = config->minor == IOMAP_MINOR;
        assert_int_equal(pthread_create(thread, NULL, serve, NULL), 0);
        assert_int_equal(model_start(&model), 0);
        find_files(config->minor == IOMAP_MINOR);
}

static void end_mount(pthread_t thread) {
        void *result;

        assert_int_equal(model.notify_result, 0);
        assert_int_equal(model_unmount(&model), 0);
        assert_false(model.no_syncfs);
        if (model.iomap)
                check_released(); /* though the server has not ended yet */
        model_hang_up(&model);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_int_equal((int) (intptr_t) result, 0);
        model_done(&model);
}

static void mount_copy(void **state) {
        pthread_t thread;

        strcat(lone_directory, "/copy");
        twins += FILES;
        begin_mount(&thread, &columns[column_number]);
        for (unsigned i = 0; i < FILES; i++)
                if (twins[i].exists)
                        assert_int_equal(model_release(&model, inodes[i]), 0);
        end_mount(thread);
}

static void run_mount(void **state) {
        const char *wanted = getenv("KERNEL_SERVERS_STEPS"); /* more of them by hand */
        const unsigned n_steps = wanted ? (unsigned) strtoul(wanted, NULL, 10) : 400;
        const ModelConfig *config = &columns[column_number];
        const bool iomap = config->minor == IOMAP_MINOR;
        pthread_t thread;

        begin_mount(&thread, config);
        if (!kind->read_only && column_number == 0)
                grow_over();
        for (step_number = 0; step_number < n_steps; step_number++) {
                if (step_number == n_steps / 2 && iomap && !kind->read_only)
                        sync_and_copy();
                step();
        }
        for (unsigned i = 0; i < FILES; i++) {
                if (!twins[i].exists)
                        continue;
                check_bytes(i, 0, twins[i].size);
                check_report(i);
                assert_int_equal(model_release(&model, inodes[i]), 0);
        }
        assert_int_equal(model.n_data > 0, !iomap); /* on the kernel engine no byte goes through the server */
        assert_int_equal(model.n_begin + model.n_upsert > 0, iomap);
        assert_true(kind->read_only || n_written > n_steps / 8);
        end_mount(thread);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------- */

static void make_twins(void) {
        char path[96];

        for (unsigned i = 0; i < FILES; i++) {
                twins[i] = (Twin){0};
                (void) snprintf(path, sizeof path, "%s/twin%u", lone_directory, i);
                FILE *file = fopen(path, "we");
                assert_non_null(file);
                if (kind->read_only) {
                        twins[i].exists = true;
                        twins[i].size = i == 0 ? 0 : i == 1 ? 100 : 1 + random_below(FILE_MAX);
                        for (uint64_t k = 0; k < twins[i].size; k++) /* with holes */
                                twins[i].bytes[k] = (uint8_t) (k / (BLOCK * 3) % 3 == 1 ? 0 : 1 + random_below(255));
                }
                assert_int_equal(fwrite(twins[i].bytes, 1, twins[i].size, file), twins[i].size);
                assert_int_equal(fclose(file), 0);
        }
}

/* In a process of its own. */
static int run_child(const struct CMUnitTest *test) {
        int status;

        (void) fflush(NULL);
        pid_t pid = fork();
        if (pid == 0)
                exit(_cmocka_run_group_tests(kind->name, test, 1, NULL, NULL));
        return pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}

static int run_round(unsigned round) {
        static const struct CMUnitTest mount = cmocka_unit_test(run_mount), copy = cmocka_unit_test(mount_copy);
        int failed = 0;

        (void) snprintf(lone_directory, sizeof lone_directory, "/tmp/kernel-servers-XXXXXX");
        if (!mkdtemp(lone_directory))
                return 1;
        make_twins();
        failed = run_command(kind->make[round]) != 0;
        for (column_number = 0; column_number < ELEMENTSOF(columns) && !failed; column_number++) {
                seed = round * 10 + column_number + 1;
                failed = run_child(&mount);
                if (!failed && columns[column_number].minor == IOMAP_MINOR && !kind->read_only)
                        failed = run_child(&copy);
                if (!failed && run_command(kind->check) != 0) {
                        fprintf(stderr, "%s: what is left after column %u is damaged\n", kind->name, column_number);
                        failed = 1;
                }
        }
        (void) run_command(failed && getenv("KERNEL_SERVERS_KEEP") ? "echo kept: %s" : "rm -r %s");
        return failed;
}

int main(void) {
        int failed = 0;

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (strcmp(kinds[i].name, SERVER) == 0)
                        kind = &kinds[i];
        twins = mmap(NULL, 2 * FILES * sizeof *twins, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (!kind || twins == MAP_FAILED)
                return 1;
        for (unsigned round = 0; round < ELEMENTSOF(kind->make) && !failed; round++)
                failed = run_round(round);
        return failed;
}
