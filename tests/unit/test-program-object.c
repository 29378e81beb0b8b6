/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real objects, loaded and verified by this kernel, against the same source compiled as ordinary C. Both read the same tables: those of the
 * loaded program, mapped here. Loading needs root; running needs nothing, and a process that has nothing does it, too. */

#define FUSED_NATIVE
#include "fused-program.h"
#include PROGRAM_SOURCE

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/bpf.h>

#include "load.h"

#define DEVICES 3
#define BLOCK 4096U

static Loaded loaded, sample;
static uint8_t *elf;
static size_t elf_size;

static void *slurp(const char *path, size_t *ret_size) {
        FILE *f = fopen(path, "re");
        struct stat st;
        void *data;

        assert_non_null(f);
        assert_int_equal(fstat(fileno(f), &st), 0);
        data = malloc((size_t) st.st_size);
        assert_non_null(data);
        assert_int_equal(fread(data, 1, (size_t) st.st_size, f), st.st_size);
        fclose(f);
        *ret_size = (size_t) st.st_size;
        return data;
}

/* The native program's tables are those of the loaded one. */
#define BIND(table)                                             \
        do {                                                    \
                const LoadedTable *_t = load_table(&loaded, #table);  \
                assert_non_null(_t);                            \
                assert_int_equal(_t->entry_size, sizeof *(table).data); \
                (table).data = _t->data;                        \
                (table).n = _t->n_entries;                      \
        } while (0)

static unsigned n_warnings;

static int count_warnings(enum libbpf_print_level level, const char *format, va_list arguments) {
        if (level != LIBBPF_WARN)
                return 0;
        n_warnings++;
        return vfprintf(stderr, format, arguments);
}

static int load(void **state) {
        static char log[1 << 16];
        int r = load_open(elf, elf_size, LOAD_RUN, VARIANT_NONE, &loaded);

        assert_int_equal(r, 0);
        assert_int_equal(load_set_entries(&loaded, "no-such-table", 8), -ENOENT);
        assert_int_equal(load_set_entries(&loaded, "files", 33), 0);
#ifdef HAS_EXTENTS
        assert_int_equal(load_set_entries(&loaded, "extents", 5000), 0);
#endif
        r = load_load(&loaded, log, sizeof log);
        if (r < 0)
                fail_msg("%s: %s", strerror(-r), log);
        assert_int_equal(load_open(elf, elf_size, LOAD_SAMPLE, VARIANT_NONE, &sample), 0);
        assert_int_equal(load_share_tables(&sample, &loaded), 0);
        assert_int_equal(load_load(&sample, log, sizeof log), 0);
        assert_int_equal(n_warnings, 0); /* with its types, too */
        assert_int_equal(load_map_tables(&loaded), 0);
        assert_int_equal(load_table(&loaded, "files")->n_entries, 33);
        BIND(files);
        BIND(devices);
#ifdef HAS_EXTENTS
        BIND(extents);
#endif
#ifdef HAS_SEGMENTS
        BIND(segments);
#endif
        for (uint32_t i = 1; i < devices.n; i++)
                devices.data[i] = i;
        return 0;
}

static int unload(void **state) {
        load_done(&sample);
        load_done(&loaded);
        return 0;
}

static int run(int fd, void *context, size_t size, uint32_t *ret_verdict) {
        union bpf_attr attr = {.test = {.prog_fd = (uint32_t) fd, .ctx_in = (uintptr_t) context, .ctx_size_in = (uint32_t) size}};

        if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof attr.test) < 0)
                return -errno;
        *ret_verdict = attr.test.retval;
        return 0;
}

static uint64_t fill(uint64_t nodeid, uint64_t seed) {
        struct fused_sample_call call = {.nodeid = nodeid, .seed = seed, .n_devices = DEVICES, .block_size = BLOCK,
                                         .device_size = {1ULL << 26, 3ULL << 24, 1ULL << 27}};
        uint32_t ignored;

        assert_int_equal(run(sample.fd, &call, sizeof call, &ignored), 0);
        return call.file_size;
}

/* Whether both say the same; no assert, as a child asks as well. *ret: what the loaded one says. */
static bool same(uint64_t nodeid, uint64_t pos, uint32_t opflags, struct fused_program_call *ret) {
        struct fused_program_call native = {.nodeid = nodeid, .pos = pos, .count = 1, .opflags = opflags}, real = native;
        uint32_t returned = 0;

        native.verdict = (uint32_t) PROGRAM_BEGIN(&native);
        if (run(loaded.fd, &real, sizeof real, &returned) < 0 || returned != real.verdict || real.verdict != native.verdict)
                return false;
        *ret = real;
        return real.verdict != FUSED_PROGRAM_HANDLED || memcmp(&real, &native, sizeof real) == 0;
}

/* Walks the file by its mappings: they cover it without a gap, stay on their devices, and both forms agree at their ends. */
static bool walk(uint64_t nodeid, uint64_t length) {
        static const uint64_t sizes[DEVICES + 1] = {0, 1ULL << 26, 3ULL << 24, 1ULL << 27};
        struct fused_program_call call, other;

        for (uint64_t pos = 0; pos < length; pos = call.read.offset + call.read.length) {
                if (!same(nodeid, pos, 0, &call) || call.verdict != FUSED_PROGRAM_HANDLED)
                        return false;
                const struct fused_mapping *m = &call.read;
                if (m->offset != pos || m->length == 0 || m->offset % BLOCK || m->length % BLOCK || m->offset + m->length > length)
                        return false;
                if (m->type == FUSED_MAPPING_MAPPED ? m->dev < 1 || m->dev > DEVICES || m->addr % BLOCK || m->addr >= sizes[m->dev] ||
                            m->length > sizes[m->dev] - m->addr
                                                    : m->type != FUSED_MAPPING_HOLE || m->dev != 0 || m->addr != FUSED_MAPPING_ADDR_NONE)
                        return false;
                if (!same(nodeid, pos + m->length - 1, 0, &other) || memcmp(&other.read, m, sizeof *m) != 0 ||
                    !same(nodeid, pos, FUSED_MAPPING_OP_WRITE, &other))
                        return false;
                if (other.verdict != (m->type == FUSED_MAPPING_HOLE ? FUSED_PROGRAM_FALLBACK : FUSED_PROGRAM_HANDLED))
                        return false;
        }
        return same(nodeid, length, 0, &call) && call.verdict == FUSED_PROGRAM_FALLBACK && same(nodeid, UINT64_MAX, 0, &call) &&
               call.verdict == FUSED_PROGRAM_FALLBACK && same(nodeid + 1, 0, 0, &call) && call.verdict == FUSED_PROGRAM_FALLBACK &&
               same(0, 0, 0, &call);
}

static void test_samples(void **state) {
        for (uint64_t seed = 0; seed < 12; seed++) {
                uint64_t nodeid = 2 + seed * 0x100000001ULL, length = fill(nodeid, seed * 0x9e3779b97f4a7c15ULL + seed);
                struct fused_program_call call;
                assert_true(length > 0 && length % BLOCK == 0);
                assert_true(walk(nodeid, length));
                for (unsigned i = 0; i < 500; i++)
                        assert_true(same(nodeid, ((uint64_t) rand() << 24 ^ (uint64_t) rand()) % (length + length / 8), 0, &call));
                files.data[1].nodeid = 0;
                assert_true(same(nodeid, 0, 0, &call) && call.verdict == FUSED_PROGRAM_FALLBACK);
        }
}

/* No sample for devices that are too small, or none, or more than there can be: an answer, and nothing outside of the tables. */
static void test_no_sample(void **state) {
        const uint32_t counts[] = {0, 1, 8, 9, UINT32_MAX}, blocks[] = {0, 1, 512, 65536};
        uint32_t ignored;

        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
                for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++) {
                        struct fused_sample_call call = {.nodeid = 5, .seed = 77, .n_devices = counts[c], .block_size = blocks[b],
                                                         .device_size = {512, 512, 512, 512, 512, 512, 512, 512}};
                        assert_int_equal(run(sample.fd, &call, sizeof call, &ignored), 0);
                        assert_int_equal(call.file_size, 0);
                }
}

/* Tables of any content: the kernel has verified that nothing but an answer comes of it, and it is that of the native form. */
static void test_garbage(void **state) {
        struct fused_program_call call;

        for (unsigned round = 0; round < 2000; round++) {
                for (size_t i = 0; i < loaded.n_tables; i++) {
                        LoadedTable *table = &loaded.tables[i];
                        uint64_t *words = table->data;
                        size_t n = (size_t) table->entry_size * 40 / 8, all = (size_t) table->n_entries * table->entry_size / 8;
                        for (size_t w = 0; w < n && w < all; w++)
                                words[w] = rand() % 3 ? (uint64_t) rand() % 64 : (uint64_t) rand() << (rand() % 40);
                }
                *(uint64_t *) (void *) files.data = 1ULL << (rand() % 40);
                for (uint32_t i = 1; i < files.n; i++)
                        files.data[i].nodeid = 1 + i % 2;
                for (unsigned i = 0; i < 8; i++)
                        assert_true(same(1 + i % 3, (uint64_t) rand() << (rand() % 32), i & 4 ? FUSED_MAPPING_OP_WRITE : 0, &call));
        }
}

/* Wrong sizes of the context are the kernel's to refuse. */
static void test_context(void **state) {
        uint8_t page[4096] = {0};
        uint32_t ignored;

        assert_true(run(loaded.fd, page, sizeof(struct fused_program_call) - 8, &ignored) < 0);
        assert_int_equal(run(loaded.fd, page, sizeof(struct fused_program_call), &ignored), 0);
}

/* Who has no right but the descriptor: runs the program, and can do nothing else with bpf(2) that would make something. */
static int as_nobody(uint64_t nodeid, uint64_t length) {
        union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1};
        struct fused_program_call call;

        if (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0 ||
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return 2;
        if (setuid(0) == 0)
                return 3;
        if (!walk(nodeid, length))
                return 4;
        if (syscall(SYS_bpf, BPF_MAP_GET_FD_BY_ID, &(union bpf_attr){.map_id = 1}, sizeof attr) >= 0)
                return 5;
        /* its tables are shared memory: what is written here holds for the next run */
        files.data[1].nodeid = 0;
        return same(nodeid, 0, 0, &call) && call.verdict == FUSED_PROGRAM_FALLBACK ? 0 : 6;
}

static void test_unprivileged(void **state) {
        uint64_t length = fill(42, 4711);
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(as_nobody(42, length));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(files.data[1].nodeid, 0);
}

/* Headers that lead out of the file are refused before libbpf sees them. (What is inside is trusted only once the digest is right: libbpf itself
 * does not stand every damage.) */
static void test_damaged(void **state) {
        uint8_t *copy = malloc(elf_size);
        Elf64_Ehdr *header = (Elf64_Ehdr *) (void *) copy;
        Loaded other;

        assert_non_null(copy);
        for (size_t size = 0; size < sizeof *header; size++)
                assert_int_equal(load_open(elf, size, LOAD_RUN, VARIANT_NONE, &other), -ENOEXEC);
        for (unsigned i = 0; i < 10; i++) {
                memcpy(copy, elf, elf_size);
                Elf64_Shdr *sections = (Elf64_Shdr *) (void *) (copy + header->e_shoff);
                switch (i) {
                case 0: header->e_ident[0] = 0; break;
                case 1: header->e_ident[EI_CLASS] = ELFCLASS32; break;
                case 2: header->e_shoff = elf_size + 8; break;
                case 3: header->e_shoff = UINT64_MAX - 7; break;
                case 4: header->e_shoff++; break;
                case 5: header->e_shnum++; header->e_shoff = elf_size - 64; break;
                case 6: header->e_shstrndx = header->e_shnum; break;
                case 7: sections[header->e_shstrndx].sh_offset = elf_size + 1; break;
                case 8: sections[header->e_shstrndx].sh_size = UINT64_MAX; break;
                default: sections[1].sh_name = UINT32_MAX; break;
                }
                if (load_open(copy, elf_size, LOAD_RUN, VARIANT_NONE, &other) != -ENOEXEC)
                        fail_msg("damage %u was not seen", i);
        }
        free(copy);
}

int main(int argc, char *argv[]) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_samples, load, unload),
                cmocka_unit_test_setup_teardown(test_no_sample, load, unload),
                cmocka_unit_test_setup_teardown(test_garbage, load, unload),
                cmocka_unit_test_setup_teardown(test_context, load, unload),
                cmocka_unit_test_setup_teardown(test_unprivileged, load, unload),
                cmocka_unit_test(test_damaged),
        };
        int r;

        if (argc != 2)
                return 2;
        if (geteuid() != 0)
                return 77;
        libbpf_set_print(count_warnings);
        elf = slurp(argv[1], &elf_size);
        r = cmocka_run_group_tests(tests, NULL, NULL);
        free(elf);
        return r;
}
