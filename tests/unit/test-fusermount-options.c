/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options of fusermount3: each word of libfuse's has the treatment that libfuse's own program gives it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/macro.h"
#include "client/fusermount-options.h"

static const struct {
        const char *list;
        int result;
        const char *words; /* passed on, separated by blanks; or the bad word */
        const char *fsname, *subtype;
        bool stay;
} rows[] = {
        {NULL, 0, "", NULL, NULL, false},
        {"rw,nosuid,nodev,subtype=sshfs", 0, "", NULL, "sshfs", false},
        {"ro,noexec,fsname=host:/dir,max_read=4096", 0, "ro noexec max_read=4096", "host:/dir", NULL, false},
        {"fsname=a\\,b\\\\c,auto_unmount", 0, "", "a,b\\c", NULL, true},
        {"fsname=x,fsname=y", 0, "", "y", NULL, false},
        {"fd=7,rootmode=40000,user_id=0,group_id=0,nonempty,x-anything=1", 0, "", NULL, NULL, false},
        {"suid,dev,ro", 0, "ro", NULL, NULL, false},
        {"allow_other,default_permissions", 0, "allow_other default_permissions", NULL, NULL, false},
        {"allow_root", -EPERM, "allow_root", NULL, NULL, false},
        {"blkdev", -EPERM, "blkdev", NULL, NULL, false},
        {"ro,context=x", -EINVAL, "context=x", NULL, NULL, false},
        {"rw,,nodev", -EINVAL, "", NULL, NULL, false},
        {"ro\\,suid", -EINVAL, "ro\\", NULL, NULL, false}, /* a backslash means nothing outside of the two names */
        {"roo", -EINVAL, "roo", NULL, NULL, false},
};

static void test_rows(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                FusermountOptions options = {0};
                char words[256] = "", *bad = NULL;
                int r = fusermount_options_parse(rows[i].list, &options, &bad);

                assert_int_equal(r, rows[i].result);
                if (r < 0) {
                        assert_string_equal(bad, rows[i].words);
                        free(bad);
                        continue;
                }
                for (size_t k = 0; k < options.n_words; k++) {
                        if (k > 0)
                                strcat(words, " ");
                        strcat(words, options.words[k]);
                }
                assert_string_equal(words, rows[i].words);
                assert_int_equal(options.auto_unmount, rows[i].stay);
                if (rows[i].fsname)
                        assert_string_equal(options.fsname, rows[i].fsname);
                else
                        assert_null(options.fsname);
                if (rows[i].subtype)
                        assert_string_equal(options.subtype, rows[i].subtype);
                else
                        assert_null(options.subtype);
                fusermount_options_done(&options);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
