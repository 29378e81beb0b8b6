/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which slot a path stands for. */

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "agent/agent.h"

static void test_normalise(void **state) {
        static const char *const pairs[][2] = {
                {"/slots/source", "/slots/source"}, {"slots/source", "/slots/source"}, {"//slots///source/", "/slots/source"},
                {"/./slots/./source/.", "/slots/source"}, {"/mnt/../slots/source", "/slots/source"}, {"/", "/"}, {"", "/"},
                {"/..", "/"}, {"../../slots/source", "/slots/source"}, {"/a/b/../../..", "/"}, {"/a/...", "/a/..."},
                {"/.hidden/..x", "/.hidden/..x"},
        };
        char normal[AGENT_PATH_MAX];

        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                assert_true(path_normalise(pairs[i][0], normal, sizeof normal));
                assert_string_equal(normal, pairs[i][1]);
        }
}

static void test_too_long(void **state) {
        char normal[8];

        assert_true(path_normalise("/abcdef", normal, sizeof normal));
        assert_string_equal(normal, "/abcdef");
        assert_false(path_normalise("/abcdefg", normal, sizeof normal));
        assert_false(path_normalise("/ab/cdefg", normal, sizeof normal));
        assert_true(path_normalise("/ab/../cdefg", normal, sizeof normal)); /* fits at every step */
}

static void test_find(void **state) {
        const AgentSpec spec = {
                .n_slots = 2,
                .slots = {{.path = "/slots/source", .fd = 5}, {.path = "/slots/log", .fd = -1}, {.path = "/beyond"}},
        };
        const Agent agent = {.spec = &spec, .fuse = {.path = "/dev/fuse", .fd = 3}};

        assert_ptr_equal(slot_find(&agent, "/slots/source"), &spec.slots[0]);
        assert_ptr_equal(slot_find(&agent, "/slots/log"), &spec.slots[1]);
        assert_ptr_equal(slot_find(&agent, "/dev/fuse"), &agent.fuse);
        assert_null(slot_find(&agent, "/beyond"));
        assert_null(slot_find(&agent, "/slots"));
        assert_null(slot_find(&agent, "/slots/source2"));
        assert_null(slot_find(&agent, "/"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_normalise),
                cmocka_unit_test(test_too_long),
                cmocka_unit_test(test_find),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
