/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A striped volume on its media: in which order what it stores gets there, and which of two tables counts. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "stripe/volume.h"

#define MEMBERS 3U
#define SHIFT 12U
#define TABLE_SIZE (STRIPE_TABLE_BLOCKS * STRIPE_BLOCK)
#define TABLE_AT(copy) ((1 + (copy) * STRIPE_TABLE_BLOCKS) * STRIPE_BLOCK)

static StripeVolume volume, again;
static int fds[MEMBERS];
static uint64_t sizes[MEMBERS];
static char events[256]; /* "A", "B": the copies of the table; "H0", ...: headers; "S0", ...: all that was written to that member is on it */
static int failing_sync = -1; /* the n-th from now on */

/* ---- the media ---------------------------------------------------------------------------------------------------------- */

static unsigned member_of(int fd) {
        for (unsigned i = 0; i < MEMBERS; i++)
                if (fds[i] == fd)
                        return i;
        fail();
        return 0;
}

static void note(const char *event) {
        const size_t used = strlen(events), n = strlen(event);

        if (used >= n && strcmp(events + used - n, event) == 0) /* it comes in pieces */
                return;
        assert_true(used + n + 2 < sizeof events);
        (void) snprintf(events + used, sizeof events - used, "%s%s", used ? " " : "", event);
}

ssize_t __real_pwrite64(int fd, const void *data, size_t size, off_t pos);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t pos);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t pos) {
        char event[8] = "?";

        if (pos == 0)
                (void) snprintf(event, sizeof event, "H%u", member_of(fd));
        else if (member_of(fd) == 0 && pos < TABLE_AT(2))
                (void) snprintf(event, sizeof event, "%s", pos < TABLE_AT(1) ? "A" : "B");
        note(event);
        return __real_pwrite64(fd, data, size, pos);
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd) {
        char event[8];

        errno = EIO;
        if (failing_sync >= 0 && failing_sync-- == 0)
                return -1;
        (void) snprintf(event, sizeof event, "S%u", member_of(fd));
        note(event);
        return 0;
}

int __wrap_fsync(int fd);
int __wrap_fsync(int fd) {
        return __wrap_fdatasync(fd);
}

/* ---- a volume ----------------------------------------------------------------------------------------------------------- */

static const uint8_t uuid[16] = "a volume of test";

static int set_up(void **state) {
        StripeWhy why;

        failing_sync = -1;
        for (uint32_t i = 0; i < MEMBERS; i++) {
                sizes[i] = TABLE_AT(2) + (100U << SHIFT);
                fds[i] = memfd_create("member", MFD_CLOEXEC);
                assert_true(fds[i] >= 0 && ftruncate(fds[i], (off_t) sizes[i]) == 0);
        }
        events[0] = 0;
        assert_int_equal(stripe_create(fds, sizes, MEMBERS, SHIFT, uuid), 0);
        assert_string_equal(events, "S0 S1 S2 A S0 B S0 H0 S0 H1 S1 H2 S2"); /* until the headers are there it is no volume */
        assert_int_equal(stripe_open(fds, sizes, MEMBERS, &volume, &why), 0);
        events[0] = 0;
        return 0;
}

static int tear_down(void **state) {
        for (uint32_t i = 0; i < MEMBERS; i++)
                (void) close(fds[i]);
        return 0;
}

/* The data that a table speaks of is there before it, and one copy is whole before the other is touched. */
static void test_order(void **state) {
        assert_true(stripe_add(&volume, "file") >= 0);
        assert_int_equal(stripe_save(&volume), 0);
        assert_string_equal(events, "S0 S1 S2 A S0 B S0");
}

/* Whatever fails on the way, nothing goes on that relies on it. */
static void test_failures(void **state) {
        static const char *const expected[] = {"", "S0", "S0 S1", "S0 S1 S2 A", "S0 S1 S2 A S0 B"};

        for (int i = 0; i < (int) ELEMENTSOF(expected); i++) {
                events[0] = 0;
                failing_sync = i;
                assert_int_equal(stripe_save(&volume), -EIO);
                assert_string_equal(events, expected[i]);
        }
        failing_sync = -1;
        assert_int_equal(stripe_save(&volume), 0);
}

static void move_copy(bool write, uint64_t copy, void *data) {
        const off_t at = (off_t) TABLE_AT(copy);

        assert_int_equal(write ? __real_pwrite64(fds[0], data, TABLE_SIZE, at) : pread(fds[0], data, TABLE_SIZE, at), TABLE_SIZE);
}

static const char *name_on_media(void) {
        StripeWhy why;

        assert_int_equal(stripe_open(fds, sizes, MEMBERS, &again, &why), 0);
        return again.table.files[0].name;
}

/* After a crash between the two copies the one that was written last counts, wherever it is, unless it is damaged. */
static void test_newer(void **state) {
        static uint8_t older[TABLE_SIZE], newer[TABLE_SIZE];

        for (uint64_t at = 0; at < 2; at++) { /* where the newer one is */
                assert_true(stripe_add(&volume, "older") >= 0);
                assert_int_equal(stripe_save(&volume), 0);
                move_copy(false, 0, older);
                strcpy(volume.table.files[0].name, "newer");
                assert_int_equal(stripe_save(&volume), 0);
                move_copy(false, 0, newer);
                move_copy(true, at, newer);
                move_copy(true, 1 - at, older);
                assert_string_equal(name_on_media(), "newer");
                assert_int_equal(again.n_damaged, 0);
                newer[100] ^= 1;
                move_copy(true, at, newer);
                assert_string_equal(name_on_media(), "older");
                assert_int_equal(again.n_damaged, 1);
                stripe_remove(&volume, 0);
        }
}

/* And what is stored next is newer than both. */
static void test_newer_still(void **state) {
        assert_true(stripe_add(&volume, "first") >= 0);
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(stripe_save(&volume), 0);
                (void) name_on_media();
                assert_int_equal(again.table.sequence, volume.table.sequence);
                volume = again;
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {TEST(test_order), TEST(test_failures), TEST(test_newer), TEST(test_newer_still)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
