/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mount options: words, MS_ flags, attributes and text say the same, and nosuid and nodev are there unless they were
 * lifted. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "policy/options.h"

/* What fuse(4), mount(2) and fsmount(2) call each word: written down a second time, on purpose. */
static const struct {
        const char *word;
        uint32_t set, clear;
        unsigned long ms_flag;
        uint64_t attribute;
        const char *fsconfig;
} expected[] = {
        {"ro", POLICY_OPTION_RO, 0, MS_RDONLY, MOUNT_ATTR_RDONLY, "ro"},
        {"rw", 0, POLICY_OPTION_RO, 0, 0, NULL},
        {"noexec", POLICY_OPTION_NOEXEC, 0, MS_NOEXEC, MOUNT_ATTR_NOEXEC, NULL},
        {"exec", 0, POLICY_OPTION_NOEXEC, 0, 0, NULL},
        {"sync", POLICY_OPTION_SYNC, 0, MS_SYNCHRONOUS, 0, "sync"},
        {"async", 0, POLICY_OPTION_SYNC, 0, 0, NULL},
        {"dirsync", POLICY_OPTION_DIRSYNC, 0, MS_DIRSYNC, 0, "dirsync"},
        {"noatime", POLICY_OPTION_NOATIME, 0, MS_NOATIME, MOUNT_ATTR_NOATIME, NULL},
        {"atime", 0, POLICY_OPTION_NOATIME, 0, 0, NULL},
        {"nodiratime", POLICY_OPTION_NODIRATIME, 0, MS_NODIRATIME, MOUNT_ATTR_NODIRATIME, NULL},
        {"diratime", 0, POLICY_OPTION_NODIRATIME, 0, 0, NULL},
        {"nosymfollow", POLICY_OPTION_NOSYMFOLLOW, 0, 256 /* MS_NOSYMFOLLOW, 5.10 */,
         0x00200000 /* MOUNT_ATTR_NOSYMFOLLOW, 5.14 */, NULL},
        {"symfollow", 0, POLICY_OPTION_NOSYMFOLLOW, 0, 0, NULL},
        {"default_permissions", POLICY_OPTION_DEFAULT_PERMISSIONS, 0, 0, 0, "default_permissions"},
        {"allow_other", POLICY_OPTION_ALLOW_OTHER, 0, 0, 0, "allow_other"},
        {"max_read=8192", POLICY_OPTION_MAX_READ, 0, 0, 0, "max_read"},
        {"blksize=4096", POLICY_OPTION_BLKSIZE, 0, 0, 0, NULL},
        {"suid", POLICY_OPTION_SUID, 0, 0, 0, NULL},
        {"nosuid", 0, POLICY_OPTION_SUID, 0, 0, NULL},
        {"dev", POLICY_OPTION_DEV, 0, 0, 0, NULL},
        {"nodev", 0, POLICY_OPTION_DEV, 0, 0, NULL},
};

static void test_table(void **state) {
        uint32_t all = 0;

        assert_int_equal(n_option_rows, ELEMENTSOF(expected));
        for (size_t i = 0; i < n_option_rows; i++) {
                const OptionRow *row = &option_rows[i];
                assert_int_equal(strncmp(row->name, expected[i].word, strlen(row->name)), 0);
                assert_int_equal(row->set, expected[i].set);
                assert_int_equal(row->clear, expected[i].clear);
                assert_int_equal(row->ms_flag, expected[i].ms_flag);
                assert_int_equal(row->attribute, expected[i].attribute);
                assert_int_equal(!row->fsconfig, !expected[i].fsconfig);
                if (row->fsconfig)
                        assert_string_equal(row->fsconfig, expected[i].fsconfig);
                all |= row->set;
        }
        assert_int_equal(all, _POLICY_OPTION_ALL);
        /* What every rule grants takes no right from anybody: */
        assert_int_equal(_POLICY_OPTION_HARMLESS,
                         _POLICY_OPTION_ALL & ~(POLICY_OPTION_ALLOW_OTHER | POLICY_OPTION_SUID | POLICY_OPTION_DEV));
}

static void test_words(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                MountOptions none = {0}, all = {.bits = _POLICY_OPTION_ALL};
                assert_int_equal(mount_options_parse_word(expected[i].word, &none), 1);
                assert_int_equal(none.bits, expected[i].set);
                assert_int_equal(mount_options_parse_word(expected[i].word, &all), 1);
                assert_int_equal(all.bits, _POLICY_OPTION_ALL & ~expected[i].clear);
        }
        MountOptions options = {0}; /* the later one counts */
        assert_int_equal(mount_options_parse_word("ro", &options), 1);
        assert_int_equal(mount_options_parse_word("rw", &options), 1);
        assert_int_equal(options.bits, 0);
        assert_int_equal(mount_options_parse_word("rw", &options), 1);
        assert_int_equal(mount_options_parse_word("ro", &options), 1);
        assert_int_equal(options.bits, POLICY_OPTION_RO);
}

static void test_unknown_words(void **state) {
        static const char *const words[] = {
                "",          "r",          "roo",      "RO",        " ro",      "ro ",
                "ro=1",      "rw=",        "max_read", "blksize",   "fd=3",     "rootmode=40000",
                "user_id=0", "group_id=0", "fsname=x", "subtype=x", "relatime", "strictatime",
                "lazytime",  "mand",       "remount",  "bind"};

        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                MountOptions options = {.bits = POLICY_OPTION_NOEXEC};
                assert_int_equal(mount_options_parse_word(words[i], &options), 0);
                assert_int_equal(options.bits, POLICY_OPTION_NOEXEC);
        }
}

static void test_values(void **state) {
        static const struct {
                const char *word;
                int r;
                uint32_t max_read, blksize;
        } rows[] = {
                {"max_read=4096", 1, 4096, 0},
                {"max_read=4095", -EINVAL, 0, 0},
                {"max_read=1073741824", 1, 1U << 30, 0},
                {"max_read=1073741825", -EINVAL, 0, 0},
                {"max_read=", -EINVAL, 0, 0},
                {"max_read= 8192", -EINVAL, 0, 0},
                {"max_read=+8192", -EINVAL, 0, 0},
                {"max_read=-8192", -EINVAL, 0, 0},
                {"max_read=8192k", -EINVAL, 0, 0},
                {"max_read=0x2000", -EINVAL, 0, 0},
                {"max_read=18446744073709559808", -EINVAL, 0, 0},
                {"max_read=4294971392", -EINVAL, 0, 0},
                {"blksize=512", 1, 0, 512},
                {"blksize=511", -EINVAL, 0, 0},
                {"blksize=65536", 1, 0, 65536},
                {"blksize=65537", -EINVAL, 0, 0},
                {"blksize=0", -EINVAL, 0, 0},
                {"blksize=", -EINVAL, 0, 0},
                {"blksize=4096,suid", -EINVAL, 0, 0},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                MountOptions options = {0};
                assert_int_equal(mount_options_parse_word(rows[i].word, &options), rows[i].r);
                assert_int_equal(options.max_read, rows[i].max_read);
                assert_int_equal(options.blksize, rows[i].blksize);
                assert_int_equal(options.bits, (rows[i].max_read ? POLICY_OPTION_MAX_READ : 0) |
                                                       (rows[i].blksize ? POLICY_OPTION_BLKSIZE : 0));
        }
}

static bool has_word(const char *text, const char *word) {
        size_t length = strlen(word);

        for (const char *p = text; p; p = strchr(p, ','), p = p ? p + 1 : NULL)
                if (strncmp(p, word, length) == 0 && (p[length] == ',' || p[length] == 0))
                        return true;
        return false;
}

/* All sets of options: the text says each of them, and reads back as the same set. */
static void test_every_set(void **state) {
        for (uint32_t bits = 0; bits <= _POLICY_OPTION_ALL; bits++) {
                MountOptions options = {.bits = bits, .max_read = 1U << 30, .blksize = 65536}, again = {0};
                char text[256], copy[256], *cursor = copy, *word;
                uint64_t attributes = mount_options_attributes(&options);

                mount_options_format(&options, text, sizeof text);
                assert_true(strlen(text) < sizeof text - 1);
                assert_int_equal(has_word(text, "nosuid"), !(bits & POLICY_OPTION_SUID));
                assert_int_equal(has_word(text, "nodev"), !(bits & POLICY_OPTION_DEV));
                assert_int_equal(!!(attributes & MOUNT_ATTR_NOSUID), !(bits & POLICY_OPTION_SUID));
                assert_int_equal(!!(attributes & MOUNT_ATTR_NODEV), !(bits & POLICY_OPTION_DEV));
                assert_int_equal(!!(attributes & MOUNT_ATTR_RDONLY), !!(bits & POLICY_OPTION_RO));
                assert_int_equal(has_word(text, "ro"), !!(bits & POLICY_OPTION_RO));
                strcpy(copy, text);
                while ((word = strsep(&cursor, ",")))
                        assert_int_equal(mount_options_parse_word(word, &again), 1);
                assert_int_equal(again.bits, bits);
                assert_int_equal(again.max_read, bits & POLICY_OPTION_MAX_READ ? options.max_read : 0);
                assert_int_equal(again.blksize, bits & POLICY_OPTION_BLKSIZE ? options.blksize : 0);
        }
}

static void test_plain_mount(void **state) {
        MountOptions options = {0};
        char text[256];

        mount_options_format(&options, text, sizeof text);
        assert_string_equal(text, "rw,nosuid,nodev");
        assert_int_equal(mount_options_attributes(&options), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
}

static void test_ms_flags(void **state) {
        unsigned long known = MS_NOSUID | MS_NODEV;

        for (size_t i = 0; i < ELEMENTSOF(expected); i++)
                known |= expected[i].ms_flag;
        for (unsigned bit = 0; bit < 32; bit++) {
                uint32_t flag = 1U << bit;
                MountOptions options = {0};
                int r = mount_options_from_ms_flags(flag | MS_NOSUID | MS_NODEV, &options);
                assert_int_equal(r, known & flag ? 0 : -EINVAL);
                uint32_t bits = 0;
                for (size_t i = 0; i < ELEMENTSOF(expected); i++)
                        if (expected[i].ms_flag == flag)
                                bits = expected[i].set;
                assert_int_equal(options.bits, bits);
        }
        MountOptions options = {.bits = POLICY_OPTION_ALLOW_OTHER};
        /* no MS_NOSUID: it asks for suid */
        assert_int_equal(mount_options_from_ms_flags(MS_NODEV | MS_RDONLY, &options), 0);
        assert_int_equal(options.bits, POLICY_OPTION_ALLOW_OTHER | POLICY_OPTION_RO | POLICY_OPTION_SUID);
        options.bits = 0;
        assert_int_equal(mount_options_from_ms_flags(0, &options), 0);
        assert_int_equal(options.bits, POLICY_OPTION_SUID | POLICY_OPTION_DEV);
}

static void test_server_options(void **state) {
        static const struct {
                const char *listed, *word;
                bool is_listed;
        } rows[] = {
                {"offset=,quiet", "offset=4096", true},
                {"offset=,quiet", "offset=", true},
                {"offset=,quiet", "offset", false},
                {"offset=,quiet", "quiet", true},
                {"offset=,quiet", "quiet=1", false},
                {"offset=,quiet", "quie", false},
                {"offset=,quiet", "quieter", false},
                {"offset=,quiet", "xoffset=1", false},
                {"offset=,quiet", "", false},
                {"offset=,quiet", "offset=1,allow_root", false},
                {"offset=,quiet", "offset=1\\,x", false},
                {"offset=,quiet", "offset=,quiet", false},
                {"", "quiet", false},
                {"", "", false},
                {",,quiet", "quiet", true},
                {",,quiet", "", false},
                {"quiet,", "", false},
                {"a,b,c", "b", true},
                {"a,b,c", "a,b", false},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (server_option_is_listed(rows[i].listed, rows[i].word) != rows[i].is_listed)
                        fail_msg("'%s' in '%s'", rows[i].word, rows[i].listed);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table),         cmocka_unit_test(test_words),
                cmocka_unit_test(test_unknown_words), cmocka_unit_test(test_values),
                cmocka_unit_test(test_every_set),     cmocka_unit_test(test_plain_mount),
                cmocka_unit_test(test_ms_flags),      cmocka_unit_test(test_server_options),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
