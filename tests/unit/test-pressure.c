/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What tells a server that memory is short, over files made up, and over the machine's own. */

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/pressure.h"
#include "map/pressure.h"

#define QUIET ((const short[PRESSURE_N_POLLED]){0, 0})
#define GROUP_SAYS(revents) ((const short[PRESSURE_N_POLLED]){0, (revents)})
#define MACHINE_SAYS(revents) ((const short[PRESSURE_N_POLLED]){(revents), 0})

static char root[] = "/tmp/fused-test-XXXXXX", group[64];

static void put(const char *directory, const char *name, const char *text) {
        char path[256];

        (void) snprintf(path, sizeof path, "%s/%s", directory, name);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static int setup(void **state) {
        char command[256];

        (void) strcpy(root, "/tmp/fused-test-XXXXXX");
        if (!mkdtemp(root))
                return -1;
        (void) snprintf(group, sizeof group, "%s/group", root);
        (void) snprintf(command, sizeof command, "mkdir %s/self %s/pressure %s", root, root, group);
        if (system(command) != 0)
                return -1;
        put(root, "self/cgroup", "1:memory:/other\n0::/group\n");
        return 0;
}

static int teardown(void **state) {
        char command[64];

        (void) snprintf(command, sizeof command, "rm -rf %s", root);
        return system(command);
}

static void test_nothing_there(void **state) {
        PressureWatch watch;

        put(root, "self/cgroup", "1:memory:/other\n");
        pressure_open(&watch, root, root);
        assert_int_equal(pressure_watched(&watch), 0);
        assert_false(pressure_check(&watch, QUIET));
        pressure_close(&watch);
        pressure_open(&watch, "/nowhere", "/nowhere");
        assert_int_equal(pressure_watched(&watch), 0);
        pressure_close(&watch);
}

static void test_limit(void **state) {
        static const struct {
                const char *limit, *current;
                bool told;
        } rows[] = {
                {"max\n", "950\n", false},  {"1000\n", "100\n", false}, {"1000\n", "950\n", true}, {"1000\n", "950\n", false}, /* told already */
                {"1000\n", "965\n", true}, {"1000\n", "500\n", false}, {"1000\n", "910\n", true}, {"9223372036854771712\n", "910\n", false},
                {"\n", "910\n", false},
        };
        PressureWatch watch;

        put(group, "memory.current", "");
        put(group, "memory.max", "");
        pressure_open(&watch, root, root);
        assert_int_equal(pressure_watched(&watch), CHANNEL_PRESSURE_CURRENT | CHANNEL_PRESSURE_LIMIT);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                put(group, "memory.max", rows[i].limit);
                put(group, "memory.current", rows[i].current);
                assert_int_equal(pressure_check(&watch, QUIET), rows[i].told);
        }
        pressure_close(&watch);
}

static void test_triggers(void **state) {
        char path[128], text[64] = "";
        PressureWatch watch;

        put(group, "memory.pressure", "");
        put(root, "pressure/memory", "");
        pressure_open(&watch, root, root);
        assert_int_equal(pressure_watched(&watch), CHANNEL_PRESSURE_MACHINE | CHANNEL_PRESSURE_GROUP);
        assert_false(pressure_check(&watch, QUIET));
        assert_false(pressure_check(&watch, MACHINE_SAYS(POLLPRI))); /* the first word of each is not to be relied on */
        assert_true(pressure_check(&watch, MACHINE_SAYS(POLLPRI)));
        assert_false(pressure_check(&watch, GROUP_SAYS(POLLPRI)));
        assert_true(pressure_check(&watch, GROUP_SAYS(POLLPRI)));
        assert_false(pressure_check(&watch, GROUP_SAYS(POLLERR | POLLPRI))); /* the cgroup is gone: closed, and not polled again */
        assert_int_equal(pressure_watched(&watch), CHANNEL_PRESSURE_MACHINE);
        pressure_close(&watch);

        (void) snprintf(path, sizeof path, "%s/memory.pressure", group); /* a trigger was set, by its words and a zero */
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        assert_int_equal(fread(text, 1, sizeof text, f), sizeof "some 100000 2000000");
        assert_string_equal(text, "some 100000 2000000");
        (void) fclose(f);
}

/* No link leads the one who opens it elsewhere. */
static void test_link(void **state) {
        char path[128];

        put(root, "elsewhere", "");
        (void) snprintf(path, sizeof path, "%s/memory.pressure", group);
        assert_int_equal(symlink("../elsewhere", path), 0);
        assert_int_equal(pressure_trigger_at(AT_FDCWD, path), -ELOOP);
}

static void test_real(void **state) {
        PressureWatch watch;
        struct pollfd fds[PRESSURE_N_POLLED];

        pressure_open(&watch, "/proc", "/sys/fs/cgroup");
        for (size_t i = 0; i < PRESSURE_N_POLLED; i++)
                fds[i] = (struct pollfd){.fd = watch.fds[i], .events = PRESSURE_EVENTS};
        assert_true(poll(fds, PRESSURE_N_POLLED, 0) >= 0);
        for (size_t i = 0; i < PRESSURE_N_POLLED; i++)
                assert_int_equal(fds[i].fd >= 0 ? fds[i].revents & (POLLNVAL | POLLERR) : 0, 0);
        pressure_close(&watch);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_nothing_there, setup, teardown),
                cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_triggers, setup, teardown),
                cmocka_unit_test_setup_teardown(test_link, setup, teardown),
                cmocka_unit_test(test_real),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
