/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What tables a mapping program may have: each thing that is wrong with one of a sound program is refused, and its neighbour is not. Nothing is
 * loaded; the objects are arguments. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "program/vet.h"

#define MEMORY (64ULL << 20)

static uint8_t elf[1 << 20];
static size_t elf_size;

static void pin(struct bpf_map *map) {
        assert_int_equal(bpf_map__set_pin_path(map, "/sys/fs/bpf/test-program-maps"), 0);
}
static void make_hash(struct bpf_map *map) {
        assert_int_equal(bpf_map__set_type(map, BPF_MAP_TYPE_HASH), 0);
}
static void make_percpu(struct bpf_map *map) {
        assert_int_equal(bpf_map__set_type(map, BPF_MAP_TYPE_PERCPU_ARRAY), 0);
}
static void hide(struct bpf_map *map) { /* the server could not fill it */
        assert_int_equal(bpf_map__set_map_flags(map, 0), 0);
}
static void add_flag(struct bpf_map *map) {
        assert_int_equal(bpf_map__set_map_flags(map, BPF_F_MMAPABLE | BPF_F_INNER_MAP), 0);
}
static void add_extra(struct bpf_map *map) {
        assert_int_equal(bpf_map__set_map_extra(map, 1), 0);
}
static void widen_key(struct bpf_map *map) {
        assert_int_equal(bpf_map__set_key_size(map, 8), 0);
}
static void widen_value(struct bpf_map *map) {
        assert_int_equal(bpf_map__set_value_size(map, 4097), 0);
}
static void empty(struct bpf_map *map) {
        assert_int_equal(bpf_map__set_max_entries(map, 0), 0);
}
static void enlarge(struct bpf_map *map) {
        assert_int_equal(bpf_map__set_max_entries(map, (uint32_t) (MEMORY / ALIGN_TO(bpf_map__value_size(map), 8U)) + 1), 0);
}
static void keep(struct bpf_map *map) {
}
static void shrink(struct bpf_map *map) {
        assert_int_equal(bpf_map__set_max_entries(map, 2), 0);
}

static int vet(void (*change)(struct bpf_map *map), uint64_t max_memory, uint64_t *ret_memory, Report *report) {
        Loaded tables = LOADED_NULL;

        *report = (Report){0};
        assert_int_equal(load_open(elf, elf_size, LOAD_TABLES, VARIANT_NONE, &tables), 0);
        struct bpf_map *map = bpf_object__find_map_by_name(tables.object, "extents");
        assert_non_null(map);
        change(map);
        int r = vet_object(&tables, max_memory, ret_memory, report);
        load_done(&tables);
        return r;
}

static void test_tables(void **state) {
        static const struct {
                void (*change)(struct bpf_map *map);
                const char *rule; /* NULL: none */
        } rows[] = {{keep, NULL}, {shrink, NULL}, {pin, "maps"}, {make_hash, "maps"}, {make_percpu, "maps"}, {hide, "maps"}, {add_flag, "maps"},
                    {add_extra, "maps"}, {widen_key, "maps"}, {widen_value, "maps"}, {empty, "maps"}, {enlarge, "memory"}};
        uint64_t memory;
        Report report;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                int r = vet(rows[i].change, MEMORY, &memory, &report);
                if (r != (rows[i].rule ? -EPERM : 0) || strcmp(report.rule, rows[i].rule ? rows[i].rule : "") != 0)
                        fail_msg("row %zu: %d, %s: %s", i, r, report.rule, report.text);
        }
}

/* To the byte. */
static void test_memory(void **state) {
        uint64_t memory, again;
        Report report;

        assert_int_equal(vet(keep, MEMORY, &memory, &report), 0);
        assert_int_equal(vet(keep, memory, &again, &report), 0);
        assert_int_equal(again, memory);
        assert_int_equal(vet(keep, memory - 1, &again, &report), -EPERM);
        assert_string_equal(report.rule, "memory");
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_tables), cmocka_unit_test(test_memory)};

        if (argc != 2)
                return 2;
        _cleanup_fd_ int fd = RET_NERRNO(open(argv[1], O_RDONLY | O_CLOEXEC));
        ssize_t n = fd < 0 ? 0 : read(fd, elf, sizeof elf);
        elf_size = (size_t) MAX_OF(n, 0);
        (void) libbpf_set_print(NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
