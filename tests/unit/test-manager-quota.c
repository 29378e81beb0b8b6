/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The arithmetic of accounting. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "manager/quota.h"

static void test_charge_and_release(void **state) {
        Quota *quota = NULL;
        QuotaCharge a = QUOTA_CHARGE_NULL, b = QUOTA_CHARGE_NULL, c = QUOTA_CHARGE_NULL;

        assert_int_equal(quota_new(&quota), 0);
        assert_int_equal(quota_charge(quota, 1000, QUOTA_FDS, 6, 10, &a), 0);
        assert_int_equal(quota_usage(quota, 1000, QUOTA_FDS), 6);
        assert_int_equal(quota_usage(quota, 1000, QUOTA_MOUNTS), 0);
        assert_int_equal(quota_usage(quota, 1001, QUOTA_FDS), 0);
        assert_int_equal(quota_charge(quota, 1000, QUOTA_FDS, 5, 10, &b), -EDQUOT);
        assert_null(b.user);
        assert_int_equal(quota_charge(quota, 1000, QUOTA_FDS, 4, 10, &b), 0);
        assert_int_equal(quota_usage(quota, 1000, QUOTA_FDS), 10);
        assert_int_equal(quota_charge(quota, 1001, QUOTA_FDS, 10, 10, &c), 0); /* others are not concerned */
        assert_int_equal(quota_n_users(quota), 2);
        quota_charge_release(&a);
        quota_charge_release(&a); /* harmless */
        assert_int_equal(quota_usage(quota, 1000, QUOTA_FDS), 4);
        quota_charge_release(&b);
        quota_charge_release(&c);
        assert_int_equal(quota_n_users(quota), 0);
        assert_null(quota_free(quota));
}

static void test_limits(void **state) {
        Quota *quota = NULL;
        QuotaCharge a = QUOTA_CHARGE_NULL, b = QUOTA_CHARGE_NULL;

        assert_int_equal(quota_new(&quota), 0);
        assert_int_equal(quota_charge(quota, 1, QUOTA_MOUNTS, 1, 0, &a), -EDQUOT); /* a limit of nothing */
        assert_int_equal(quota_n_users(quota), 0); /* a refusal leaves nobody behind */
        assert_int_equal(quota_charge(quota, 1, QUOTA_MOUNTS, UINT32_MAX, UINT32_MAX, &a), 0); /* no limit */
        assert_int_equal(quota_charge(quota, 1, QUOTA_MOUNTS, 1, UINT32_MAX, &b), -EDQUOT); /* no wrap-around */
        quota_charge_release(&a);
        (void) quota_free(quota);
}

/* Users that share a bucket do not share an account. */
static void test_many_users(void **state) {
        Quota *quota = NULL;
        QuotaCharge charges[600];

        memset(charges, 0, sizeof charges);
        assert_int_equal(quota_new(&quota), 0);
        for (uint32_t i = 0; i < 600; i++)
                assert_int_equal(quota_charge(quota, i * 128, QUOTA_PENDING, 1 + i % 3, 3, &charges[i]), 0);
        assert_int_equal(quota_n_users(quota), 600);
        for (uint32_t i = 0; i < 600; i++)
                assert_int_equal(quota_usage(quota, i * 128, QUOTA_PENDING), 1 + i % 3);
        for (uint32_t i = 0; i < 600; i += 2)
                quota_charge_release(&charges[i]);
        for (uint32_t i = 0; i < 600; i++)
                assert_int_equal(quota_usage(quota, i * 128, QUOTA_PENDING), i % 2 ? 1 + i % 3 : 0);
        for (uint32_t i = 1; i < 600; i += 2)
                quota_charge_release(&charges[i]);
        (void) quota_free(quota);
}

static void test_log_rate(void **state) {
        QuotaCharge charge = QUOTA_CHARGE_NULL;
        Quota *quota = NULL;
        uint32_t dropped, passed = 0;

        assert_int_equal(quota_new(&quota), 0);
        assert_int_equal(quota_charge(quota, 7, QUOTA_CONNECTIONS, 1, 64, &charge), 0);
        for (int i = 0; i < 1000; i++)
                passed += quota_may_log(quota, 7, &dropped);
        assert_in_range(passed, 1, 40);
        quota_charge_release(&charge);
        (void) quota_free(quota);
}

static void test_words(void **state) {
        const PolicyLimits limits = {.max_mounts = 1, .max_pending = 2, .max_fds = 3, .max_processes = 4, .max_memory = 5, .max_cpu = 6};

        for (QuotaKind kind = 0; kind < _QUOTA_POLICY_MAX; kind++) {
                assert_int_equal(quota_limit(&limits, kind), (uint32_t) kind + 1);
                assert_non_null(quota_kind_to_string(kind));
                assert_memory_equal(quota_kind_to_key(kind), "Max", 3);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_charge_and_release),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_many_users),
                cmocka_unit_test(test_log_rate),
                cmocka_unit_test(test_words),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
