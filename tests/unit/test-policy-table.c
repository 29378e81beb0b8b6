/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The policy table: whatever is out of bounds is refused, wherever it stands; what passes can be walked. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "policy-fixture.h"

typedef struct Mutation {
        const char *what;
        size_t offset;
        size_t size;    /* 1, 4 or 8 */
        uint64_t good;  /* passes: the neighbour */
        uint64_t bad;   /* is refused */
} Mutation;

#define FIELD(member, good_value, bad_value)                                                                           \
        { #member, offsetof(Fixture, member), sizeof(((Fixture *) NULL)->member), good_value, bad_value }
#define OFFSET(member) offsetof(Fixture, member)
/* An array: its offset unaligned, inside the header, beyond the end; one row more than fits. */
#define ARRAY(member, row_size)                                                                                        \
        FIELD(table.member.offset, OFFSET(member), OFFSET(member) + 4),                                                \
                FIELD(table.member.offset, OFFSET(member), sizeof(PolicyTable) - 8),                                   \
                FIELD(table.member.offset, OFFSET(member), 0),                                                         \
                FIELD(table.member.offset, OFFSET(member), sizeof(Fixture) + 8),                                       \
                FIELD(table.member.count, ELEMENTSOF(((Fixture *) NULL)->member),                                      \
                      (sizeof(Fixture) - OFFSET(member)) / (row_size) + 1),                                            \
                FIELD(table.member.count, ELEMENTSOF(((Fixture *) NULL)->member), UINT32_MAX)
#define RANGE(member, good_first, n, total)                                                                            \
        FIELD(member.first, good_first, (total) + 1), FIELD(member.first, good_first, UINT32_MAX),                     \
                FIELD(member.count, n, (total) + 1), FIELD(member.count, n, UINT32_MAX)
#define N_STRINGS 512

static const Mutation mutations[] = {
        FIELD(table.magic, POLICY_TABLE_MAGIC, POLICY_TABLE_MAGIC + 1),
        FIELD(table.size, sizeof(Fixture), sizeof(Fixture) - 8),
        FIELD(table.size, sizeof(Fixture), sizeof(Fixture) + 8),
        FIELD(table.uid_first, 1, 0), FIELD(table.uid_first, UINT32_MAX - 65536, UINT32_MAX - 65535),
        FIELD(table.uid_count, 1, 0), FIELD(table.uid_count, UINT32_MAX - 1879048192, UINT32_MAX - 1879048191),
        FIELD(table.max_mounts, 1, 0), FIELD(table.manager_uid, 1, 0),
        FIELD(table.manager_uid, UINT32_MAX - 1, UINT32_MAX), FIELD(table.manager_gid, 1, 0),
        FIELD(table.manager_gid, UINT32_MAX - 1, UINT32_MAX), FIELD(table.limits_place.file, N_STRINGS - 1, N_STRINGS),
        FIELD(table.spares, POLICY_SPARES_MAX, POLICY_SPARES_MAX + 1), RANGE(table.manager_files, 2, 2, 4),
        ARRAY(types, sizeof(PolicyType)),
        ARRAY(arguments, 4),
        ARRAY(slots, sizeof(PolicySlot)),
        ARRAY(rules, sizeof(PolicyRule)),
        ARRAY(devices, sizeof(PolicyDevice)),
        ARRAY(ids, 4),
        ARRAY(files, sizeof(PolicyFile)),
        ARRAY(users, sizeof(PolicyUser)),
        ARRAY(programs, sizeof(PolicyProgram)),
        ARRAY(filters, 8),
        FIELD(table.strings.offset, OFFSET(strings), OFFSET(strings) + 4),
        FIELD(table.strings.offset, OFFSET(strings), UINT32_MAX - 7),
        FIELD(table.strings.count, N_STRINGS, N_STRINGS + 8),
        FIELD(table.strings.count, N_STRINGS, 0),
        FIELD(strings[0], 0, 'x'),
        FIELD(strings[N_STRINGS - 1], 0, 'x'),

        FIELD(types[0].name[0], 'x', '-'), FIELD(types[0].name[0], '0', 0), FIELD(types[0].name[1], '_', 'X'),
        FIELD(types[0].name[2], '.', '/'), FIELD(types[0].description, N_STRINGS - 1, N_STRINGS),
        FIELD(types[0].disabled, N_STRINGS - 1, N_STRINGS), FIELD(types[0].place.file, N_STRINGS - 1, UINT32_MAX),
        FIELD(types[0].hand_over, POLICY_HAND_OVER_SERVICE, _POLICY_HAND_OVER_MAX), FIELD(types[0].read_only, 1, 2),
        FIELD(types[0].program, 1, 0), FIELD(types[0].program, N_STRINGS - 1, N_STRINGS),
        RANGE(types[0].arguments, 0, 2, 2), RANGE(types[0].slots, 0, 2, 3),
        RANGE(types[0].rules, 0, 3, FIXTURE_N_RULES), RANGE(types[0].files, 0, 2, 4), RANGE(types[0].filter, 0, 2, 2),
        FIELD(types[0].filter.count, 1, 0), FIELD(types[0].server_options, 0, N_STRINGS),
        FIELD(types[0].max_open_files, 1, 0), FIELD(types[0].start_usec, 1, 0), FIELD(types[0].init_usec, 1, 0),
        FIELD(types[0].stop_usec, 1, 0), FIELD(types[FIXTURE_OFF].disabled, 1, 0),

        FIELD(arguments[1], N_STRINGS - 1, N_STRINGS), FIELD(slots[0].name[0], 's', '_'), FIELD(slots[0].sources, 1, 0),
        FIELD(slots[0].sources, _POLICY_SOURCE_ALL, _POLICY_SOURCE_ALL + 1), FIELD(slots[0].required, 0, 2),
        FIELD(slots[0].writable, 0, 2), FIELD(slots[0].path, 1, 2), FIELD(slots[2].path, 1, N_STRINGS),
        FIELD(rules[0].name[0], 'r', ' '), FIELD(rules[0].place.file, 0, N_STRINGS), RANGE(rules[0].uids, 0, 1, 4),
        RANGE(rules[1].gids, 2, 1, 4), RANGE(rules[1].devices, 1, 3, 4),
        FIELD(rules[0].sources, _POLICY_SOURCE_ALL, _POLICY_SOURCE_ALL + 1),
        FIELD(rules[0].options, _POLICY_OPTION_ALL, _POLICY_OPTION_ALL + 1), FIELD(rules[0].administrator, 0, 2),
        FIELD(devices[1].kind, POLICY_DEVICE_LOOP, _POLICY_DEVICE_KIND_MAX),
        FIELD(devices[1].path, N_STRINGS - 1, N_STRINGS), FIELD(files[0].path, 1, 2),
        FIELD(files[3].path, 1, N_STRINGS), FIELD(files[0].flags, 0, 1), FIELD(users[0].place.file, 0, N_STRINGS),
        FIELD(programs[0].object, 1, N_STRINGS), FIELD(programs[0].has_digest, 1, 2), FIELD(programs[0].signature, 0, N_STRINGS),
        FIELD(types[0].programs, 0, N_STRINGS), FIELD(types[0].device_clones, POLICY_CLONES_MAX, POLICY_CLONES_MAX + 1),
};

static void put(Fixture *f, const Mutation *m, uint64_t value) {
        memcpy((char *) f + m->offset, &value, m->size); /* little end first, or all of it */
}

static Fixture *fixture_new(void) {
        Fixture *f = malloc(sizeof *f); /* not on the stack: a sanitizer sees what is read beyond it */

        assert_non_null(f);
        fixture_fill(f);
        assert_true(f->table.strings.count < N_STRINGS);
        f->table.strings.count = N_STRINGS;
        return f;
}

static void test_good(void **state) {
        Fixture *f _cleanup_free_ = fixture_new();
        uint32_t index = 99;
        PolicyPlace place;

        assert_int_equal(policy_table_validate(f, sizeof *f), 0);
        assert_true(walk_table(&f->table) > 0);
        assert_ptr_equal(policy_type_by_name(&f->table, "mirror", &index), &f->types[FIXTURE_MIRROR]);
        assert_int_equal(index, FIXTURE_MIRROR);
        assert_null(policy_type_by_name(&f->table, "mirro", NULL));
        assert_null(policy_type(&f->table, FIXTURE_N_TYPES));
        assert_string_equal(policy_string(&f->table, 0), "");
        assert_string_equal(policy_string(&f->table, UINT32_MAX), "");
        assert_string_equal(policy_argument(&f->table, &f->types[0], 1), "-o");
        assert_string_equal(policy_file(&f->table, f->table.manager_files, 0), "/usr/libexec/fused/fused-manager");
        assert_int_equal(policy_limits(&f->table, 0, &place)->max_pending, 256);
        assert_int_equal(place.line, 20);
        assert_int_equal(policy_limits(&f->table, 7, &place)->max_pending, 16);
        assert_int_equal(place.line, 14);
}

static void test_mutations(void **state) {
        Fixture *f _cleanup_free_ = fixture_new(), *copy _cleanup_free_ = fixture_new();

        if (*(const uint8_t *) &(uint16_t){1} == 0)
                skip();
        for (size_t i = 0; i < ELEMENTSOF(mutations); i++) {
                const Mutation *m = &mutations[i];
                memcpy(copy, f, sizeof *f);
                put(copy, m, m->good);
                if (policy_table_validate(copy, sizeof *copy) != 0)
                        fail_msg("%s: the good value %#llx is refused", m->what, (unsigned long long) m->good);
                memcpy(copy, f, sizeof *f);
                put(copy, m, m->bad);
                if (policy_table_validate(copy, sizeof *copy) != -EBADMSG)
                        fail_msg("%s: %#llx passes", m->what, (unsigned long long) m->bad);
        }
}

static void test_counts(void **state) {
        Fixture *f _cleanup_free_ = fixture_new();
        const size_t n = sizeof(PolicyTable) + (POLICY_TYPES_MAX + 1) * sizeof(PolicyType) + 8, size = ALIGN_TO(n, 8);
        char *many _cleanup_free_ = calloc(1, size);
        PolicyTable *table = (PolicyTable *) many;
        PolicyType *types = (PolicyType *) (many + sizeof(PolicyTable));

        /* More slots than a type may have, though the array has them. */
        f->types[0].slots = (PolicyRange){0, POLICY_SLOTS_MAX + 1};
        assert_int_equal(policy_table_validate(f, sizeof *f), -EBADMSG);

        assert_non_null(many);
        *table = f->table;
        const PolicyArray none = {.offset = (uint32_t) (size - 8)};
        table->size = (uint32_t) size;
        table->arguments = table->slots = table->rules = table->devices = table->ids = table->files = table->users = table->programs =
                table->filters = none;
        table->manager_files = (PolicyRange){0};
        table->limits_place.file = 0;
        table->strings = (PolicyArray){none.offset, 2};
        table->types = (PolicyArray){sizeof(PolicyTable), POLICY_TYPES_MAX};
        for (size_t i = 0; i <= POLICY_TYPES_MAX; i++)
                types[i] = (PolicyType){.name = "x", .disabled = 1};
        assert_int_equal(policy_table_validate(many, size), 0);
        table->types.count++;
        assert_int_equal(policy_table_validate(many, size), -EBADMSG);
}

/* Any other size than its own, with nothing behind it to read. */
static void test_sizes(void **state) {
        Fixture *f _cleanup_free_ = fixture_new();

        for (size_t size = 0; size < sizeof *f; size++) {
                void *part _cleanup_free_ = malloc(size ?: 1);
                memcpy(part, f, size);
                assert_int_equal(policy_table_validate(part, size), -EBADMSG);
                if (size >= sizeof(PolicyTable)) { /* and it says that it is so small */
                        ((PolicyTable *) part)->size = (uint32_t) size;
                        assert_int_equal(policy_table_validate(part, size), -EBADMSG);
                }
        }
        char *shifted _cleanup_free_ = malloc(sizeof *f + 8);
        memcpy(shifted + 4, f, sizeof *f);
        assert_int_equal(policy_table_validate(shifted + 4, sizeof *f), -EBADMSG);
}

/* Every word replaced by hostile values: the same answer each time, and what passes stays in bounds. */
static void test_every_word(void **state) {
        static const uint32_t values[] = {
                0, 1, 2, 3, 7, 8, 255, sizeof(PolicyTable), sizeof(Fixture), sizeof(Fixture) - 8,
                0x7fffffff, 0x80000000, UINT32_MAX - 7, UINT32_MAX,
        };
        Fixture *f _cleanup_free_ = fixture_new(), *copy _cleanup_free_ = fixture_new();
        unsigned n_passed = 0, n_refused = 0;

        for (size_t word = 0; word < sizeof *f / 4; word++)
                for (size_t i = 0; i < ELEMENTSOF(values); i++) {
                        memcpy(copy, f, sizeof *f);
                        ((uint32_t *) copy)[word] = values[i];
                        int r = policy_table_validate(copy, sizeof *copy);
                        assert_true(r == 0 || r == -EBADMSG);
                        assert_int_equal(policy_table_validate(copy, sizeof *copy), r);
                        if (r == 0)
                                (void) walk_table(&copy->table);
                        *(r == 0 ? &n_passed : &n_refused) += 1;
                }
        assert_true(n_passed > 1000 && n_refused > 1000);
}

/* The largest table, each array as long as it can be: done in linear time. */
static void test_bounded(void **state) {
        Fixture *f _cleanup_free_ = fixture_new();
        char *data _cleanup_free_ = calloc(1, POLICY_TABLE_MAX_SIZE + 8);
        PolicyTable *table = (PolicyTable *) data;
        const uint32_t at = sizeof(PolicyTable), room = POLICY_TABLE_MAX_SIZE - at;

        assert_non_null(data);
        *table = f->table;
        table->size = POLICY_TABLE_MAX_SIZE;
        table->types.count = table->slots.count = table->rules.count = table->files.count = table->programs.count = 0;
        table->manager_files = (PolicyRange){0};
        table->types.offset = table->slots.offset = table->rules.offset = table->files.offset = at;
        table->limits_place.file = 0;
        table->arguments = table->ids = (PolicyArray){at, room / 4};
        table->devices = (PolicyArray){at, room / sizeof(PolicyDevice)};
        table->users = (PolicyArray){at, room / sizeof(PolicyUser)};
        table->filters = (PolicyArray){at, room / 8};
        table->strings = (PolicyArray){at, room};
        (void) alarm(20);
        assert_int_equal(policy_table_validate(data, POLICY_TABLE_MAX_SIZE), 0);
        (void) alarm(0);
        table->size += 8;
        assert_int_equal(policy_table_validate(data, POLICY_TABLE_MAX_SIZE + 8), -EBADMSG);
}

static int memfd(const Fixture *f, size_t size, int seals) {
        int fd = memfd_create("policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, f, size), size);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

static void test_from_fd(void **state) {
        static const struct {
                int seals;
                int r;
        } rows[] = {
                {F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW, 0},
                {F_SEAL_SHRINK | F_SEAL_GROW, -EPERM},
                {F_SEAL_WRITE | F_SEAL_GROW, -EPERM},
                {F_SEAL_WRITE | F_SEAL_SHRINK, -EPERM},
                {F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW, -EPERM},
                {0, -EPERM},
        };
        Fixture *f _cleanup_free_ = fixture_new();
        Policy *policy = NULL;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                int fd = memfd(f, sizeof *f, rows[i].seals);
                assert_int_equal(policy_new_from_fd(fd, 5, &policy), rows[i].r);
                close(fd);
                if (rows[i].r < 0)
                        continue;
                /* it has its own copy of the descriptor */
                assert_true(policy_fd(policy) >= 0 && fcntl(policy_fd(policy), F_GETFD) == FD_CLOEXEC);
                assert_int_equal(policy_generation(policy), 5);
                assert_memory_equal(policy_table(policy), f, sizeof *f);
                assert_ptr_equal(policy_ref(policy), policy);
                assert_null(policy_unref(policy));
                assert_true(walk_table(policy_table(policy)) > 0);
                policy = policy_unref(policy);
        }
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_int_equal(policy_new_from_fd(null, 1, &policy), -EPERM);
        close(null);
        assert_int_equal(policy_new_from_fd(-EBADF, 1, &policy), -EBADF);
        int small = memfd(f, sizeof(PolicyTable) - 1, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
        assert_int_equal(policy_new_from_fd(small, 1, &policy), -EBADMSG);
        close(small);
        f->table.magic++;
        int bad = memfd(f, sizeof *f, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
        assert_int_equal(policy_new_from_fd(bad, 1, &policy), -EBADMSG);
        close(bad);
        assert_null(policy);
        assert_null(policy_unref(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good),    cmocka_unit_test(test_mutations),  cmocka_unit_test(test_counts),
                cmocka_unit_test(test_sizes),   cmocka_unit_test(test_every_word), cmocka_unit_test(test_bounded),
                cmocka_unit_test(test_from_fd),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
