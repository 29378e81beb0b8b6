/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The thread beside those that serve: when memory is short it takes a quarter from the cache, each time; it shows the numbers of the cache; and it
 * does not touch one that is empty. */

#define FUSE_USE_VERSION 312
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "map/map.h"
#include "map/pressure.h"

#define BLOCK 4096U
#define MAPPINGS 20000U

static atomic_uint n_alarms, n_looks; /* alarms: to come */

void __wrap_pressure_open(PressureWatch *watch, const char *proc, const char *cgroup);
void __wrap_pressure_open(PressureWatch *watch, const char *proc, const char *cgroup) {
        *watch = (PressureWatch) PRESSURE_WATCH_NONE;
        watch->fds[PRESSURE_MACHINE] = fd_dup(STDERR_FILENO);
}

bool __wrap_pressure_check(PressureWatch *watch, const short revents[PRESSURE_N_POLLED]);
bool __wrap_pressure_check(PressureWatch *watch, const short revents[PRESSURE_N_POLLED]) {
        n_looks++;
        return n_alarms > 0 && n_alarms-- > 0;
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
int __real_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout) {
        return __real_poll(fds, 1, MIN_OF(timeout, 5)); /* whatever the test's descriptors say */
}

static ChannelStatistics statistics;
static struct fused_map map;
static MappingCache *cache;

static void fill(unsigned n) {
        for (uint64_t i = 0; i < n; i++) {
                const struct fused_mapping m = {.offset = i * BLOCK, .length = BLOCK, .addr = i * 2 * BLOCK, .type = FUSED_MAPPING_MAPPED, .dev = 1};
                assert_int_equal(mapping_cache_upsert(cache, &m), 0);
        }
}

/* Until it has looked twice since, and shown what it saw. */
static void wait_for_it(void) {
        const unsigned before = n_looks;

        for (unsigned i = 0; i < 5000 && (n_looks < before + 2 || n_alarms > 0); i++)
                (void) usleep(1000);
        assert_true(n_looks >= before + 2);
}

static int set_up(void **state) {
        statistics = (ChannelStatistics){0};
        map = (struct fused_map){.statistics = &statistics, .caretaker_fd = -EBADF};
        n_alarms = n_looks = 0;
        assert_int_equal(mapping_pool_new(16 << 20, BLOCK, &map.pool), 0);
        assert_int_equal(mapping_cache_new(map.pool, &cache), 0);
        assert_int_equal(map_files_new(&map.files), 0);
        return 0;
}

static int tear_down(void **state) {
        map.files = map_files_free(map.files);
        cache = mapping_cache_free(cache);
        map.pool = mapping_pool_free(map.pool);
        return 0;
}

static void test_pressure(void **state) {
        MappingPoolFacts facts, after;

        fill(MAPPINGS);
        mapping_pool_facts(map.pool, &facts);
        assert_int_equal(map_caretaker_start(&map), 0);
        wait_for_it();
        assert_int_equal(statistics.cache_mappings, MAPPINGS);
        assert_int_equal(statistics.cache_bytes, facts.bytes);
        assert_int_equal(statistics.cache_shrunk, 0);
        assert_int_equal(statistics.pressure_watched, CHANNEL_PRESSURE_MACHINE);
        for (unsigned i = 1; i <= 3; i++) {
                n_alarms = 1;
                wait_for_it();
                mapping_pool_facts(map.pool, &after);
                assert_in_range(after.bytes, facts.bytes / 2, facts.bytes / 4 * 3);
                assert_in_range(after.n_mappings, facts.n_mappings / 2, facts.n_mappings / 100 * 80);
                assert_int_equal(statistics.cache_shrunk, i);
                assert_int_equal(statistics.cache_mappings, after.n_mappings);
                facts = after;
        }
        map_caretaker_stop(&map);
}

static void test_empty(void **state) {
        assert_int_equal(map_caretaker_start(&map), 0);
        n_alarms = 3;
        wait_for_it();
        assert_int_equal(statistics.cache_shrunk, 0);
        map_caretaker_stop(&map);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {TEST(test_pressure), TEST(test_empty)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
