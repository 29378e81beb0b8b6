/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counters by type: they add up, and do not grow without end. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>

#include "manager/statistics.h"

static void test_counts(void **state) {
        Statistics s = {0};

        statistics_live(&s, "ext4", 1000);
        statistics_live(&s, "ext4", 500);
        statistics_taken_over(&s, "squashfs");
        statistics_ended(&s, "ext4", BROKER_REASON_UNMOUNTED, 0, 0);
        assert_int_equal(s.n_types, 2);
        assert_int_equal(s.types[0].n_live, 2);
        assert_int_equal(s.types[0].live_usec, 1500);
        assert_int_equal(s.types[0].n_ended[BROKER_REASON_UNMOUNTED], 1);
        assert_int_equal(s.types[0].last_exit_usec, 0); /* no server ended */
        statistics_ended(&s, "ext4", BROKER_REASON_SERVER_EXIT, CLD_KILLED, SIGSEGV);
        assert_int_equal(s.types[0].n_ended[BROKER_REASON_SERVER_EXIT], 1);
        assert_int_equal(s.types[0].last_exit_status, SIGSEGV);
        assert_true(s.types[0].last_exit_usec > 0);
        statistics_ended(&s, "ext4", BROKER_REASON_ABORTED, 0, 0); /* the last that is known stays */
        assert_int_equal(s.types[0].last_exit_status, SIGSEGV);
        assert_int_equal(s.types[1].n_taken_over, 1);
        statistics_done(&s);
        assert_int_equal(s.n_types, 0);
}

static void test_bounds(void **state) {
        Statistics s = {0};
        char name[16];

        for (unsigned i = 0; i < STATISTICS_TYPES_MAX + 10; i++) {
                snprintf(name, sizeof name, "type%u", i);
                statistics_live(&s, name, 1);
        }
        assert_int_equal(s.n_types, STATISTICS_TYPES_MAX);
        statistics_live(&s, "type0", 1); /* those that are there count on */
        assert_int_equal(s.types[0].n_live, 2);
        statistics_ended(&s, "type0", (BrokerEndReason) _BROKER_REASON_MAX, 0, 0); /* no such reason */
        statistics_done(&s);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_counts),
                cmocka_unit_test(test_bounds),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
