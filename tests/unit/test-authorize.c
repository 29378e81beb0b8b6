/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decision: each refusal beside the request that differs in one thing and is allowed. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "policy-fixture.h"
#include "policy/authorize.h"

static const gid_t disk[] = {100, FIXTURE_DISK}, video[] = {100, 44};
static unsigned n_questions;

/* makedev(3) is no constant; for numbers below 256 this is what it gives (test_devices looks at that). */
#define NUMBER(major, minor) ((major) << 8 | (minor))
enum { stick = NUMBER(65, 1), loop = NUMBER(7, 3), sda = NUMBER(8, 0), other = NUMBER(9, 9), broken = NUMBER(66, 6) };

static int path_is_device(void *userdata, const char *path, dev_t device) {
        n_questions++;
        assert_string_equal(path, "disk/by-id/usb-*");
        return device == stick ? 1 : device == broken ? -EIO : 0;
}

static int loop_is_backed_by(void *userdata, dev_t device, const char *path) {
        n_questions++;
        assert_string_equal(path, "/srv/a.img");
        return device == loop ? 1 : device == broken ? -EIO : 0;
}

static const AuthorizeDevices devices = {.path_is_device = path_is_device, .loop_is_backed_by = loop_is_backed_by};

typedef struct Row {
        const char *what;
        int type;
        AuthorizeRequest request;
        Refusal refusal;
        uint32_t line;    /* of the rule that decided, or of the type */
        uint32_t options; /* granted, or the offending ones */
        bool administrator;
} Row;

#define RO POLICY_OPTION_RO
#define OTHER POLICY_OPTION_ALLOW_OTHER
#define DEFAULTS POLICY_OPTION_DEFAULT_PERMISSIONS
#define SUID POLICY_OPTION_SUID
#define DEV POLICY_OPTION_DEV
#define HARMLESS _POLICY_OPTION_HARMLESS
#define FROM_FILE .source = POLICY_SOURCE_FILE
#define FROM_DEVICE(d) .source = POLICY_SOURCE_DEVICE, .device = (d)
#define BOB .uid = FIXTURE_BOB, .gid = FIXTURE_BOB
#define ALICE .uid = FIXTURE_ALICE, .gid = FIXTURE_ALICE
#define IN(list) .groups = list, .n_groups = ELEMENTSOF(list)

static const Row rows[] = {
        /* who */
        {"bob's file", FIXTURE_EXT4, {BOB, FROM_FILE}, REFUSAL_NONE, 30, 0, false},
        {"bob's tree", FIXTURE_MIRROR, {BOB, .source = POLICY_SOURCE_TREE}, REFUSAL_NO_RULE, 1, 0, false},
        {"bob's tree, other groups", FIXTURE_MIRROR, {BOB, IN(video), .source = POLICY_SOURCE_TREE}, REFUSAL_NO_RULE, 1,
         0, false},
        {"bob's tree, in disk", FIXTURE_MIRROR, {BOB, IN(disk), .source = POLICY_SOURCE_TREE}, REFUSAL_NONE, 40, 0,
         false},
        {"bob's tree, disk first", FIXTURE_MIRROR,
         {.uid = FIXTURE_BOB, .gid = FIXTURE_DISK, .source = POLICY_SOURCE_TREE}, REFUSAL_NONE, 40, 0, false},
        {"uid of the number of a group", FIXTURE_MIRROR, {.uid = FIXTURE_DISK, .source = POLICY_SOURCE_TREE},
         REFUSAL_NO_RULE, 1, 0, false},
        {"root has no rule", FIXTURE_MIRROR, {.uid = 0, .source = POLICY_SOURCE_TREE}, REFUSAL_NO_RULE, 1, 0, false},
        /* kind of source */
        {"bob's device", FIXTURE_EXT4, {BOB, FROM_DEVICE(sda)}, REFUSAL_SOURCE_KIND, 30, 0, false},
        {"bob's nothing", FIXTURE_EXT4, {BOB, .source = POLICY_SOURCE_NONE}, REFUSAL_SOURCE_KIND, 30, 0, false},
        {"no kind at all", FIXTURE_EXT4, {BOB, .source = 0}, REFUSAL_SOURCE_KIND, 30, 0, false},
        {"alice's tree", FIXTURE_EXT4, {ALICE, .source = POLICY_SOURCE_TREE}, REFUSAL_SOURCE_KIND, 20, 0, false},
        {"file for a type of trees", FIXTURE_MIRROR, {BOB, IN(disk), FROM_FILE}, REFUSAL_SOURCE_KIND, 40, 0, false},
        /* device */
        {"alice's stick", FIXTURE_EXT4, {ALICE, FROM_DEVICE(stick)}, REFUSAL_NONE, 20, 0, false},
        {"alice's loop", FIXTURE_EXT4, {ALICE, FROM_DEVICE(loop)}, REFUSAL_NONE, 20, 0, false},
        {"alice's 8:0", FIXTURE_EXT4, {ALICE, FROM_DEVICE(sda)}, REFUSAL_NONE, 20, 0, false},
        {"alice's 9:9", FIXTURE_EXT4, {ALICE, FROM_DEVICE(other)}, REFUSAL_DEVICE, 20, 0, false},
        {"nobody knows", FIXTURE_EXT4, {ALICE, FROM_DEVICE(broken)}, REFUSAL_DEVICE, 20, 0, false},
        {"root's 9:9", FIXTURE_EXT4, {.uid = 0, FROM_DEVICE(other)}, REFUSAL_NONE, 10, 0, true},
        {"bob of disk, his 8:0", FIXTURE_EXT4, {BOB, IN(disk), FROM_DEVICE(sda)}, REFUSAL_NONE, 20, 0, false},
        /* option */
        {"harmless ones", FIXTURE_EXT4, {BOB, FROM_FILE, .options = HARMLESS}, REFUSAL_NONE, 30, HARMLESS, false},
        {"bob's allow_other", FIXTURE_EXT4, {BOB, FROM_FILE, .options = RO | OTHER}, REFUSAL_OPTION, 30, OTHER, false},
        {"alice's allow_other", FIXTURE_EXT4, {ALICE, FROM_FILE, .options = RO | OTHER}, REFUSAL_NONE, 20,
         RO | OTHER | DEFAULTS, false},
        {"alice's suid", FIXTURE_EXT4, {ALICE, FROM_FILE, .options = SUID | OTHER}, REFUSAL_OPTION, 20, SUID, false},
        {"alice's dev", FIXTURE_EXT4, {ALICE, FROM_FILE, .options = DEV}, REFUSAL_OPTION, 20, DEV, false},
        {"root's suid and dev", FIXTURE_EXT4, {.uid = 0, FROM_FILE, .options = SUID | DEV}, REFUSAL_NONE, 10,
         SUID | DEV, true},
        {"the device comes before the option", FIXTURE_EXT4, {ALICE, FROM_DEVICE(other), .options = SUID},
         REFUSAL_DEVICE, 20, 0, false},
        /* type */
        {"disabled", FIXTURE_OFF, {.uid = 0, FROM_FILE}, REFUSAL_TYPE_DISABLED, 1, 0, false},
};

static AuthorizeResult ask(const Fixture *f, int type, AuthorizeRequest request) {
        AuthorizeResult result;

        memset(&result, 0xff, sizeof result); /* all of it is filled in */
        assert_int_equal(policy_table_validate(f, sizeof *f), 0);
        policy_authorize(&f->table, &f->types[type], &request, &devices, &result);
        return result;
}

static void test_rows(void **state) {
        Fixture f;

        fixture_fill(&f);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                AuthorizeResult result = ask(&f, rows[i].type, rows[i].request);
                if (result.refusal != rows[i].refusal || result.place.line != rows[i].line ||
                    result.options != rows[i].options || result.administrator != rows[i].administrator)
                        fail_msg("%s: '%s' of line %u, options %#x, administrator %d", rows[i].what,
                                 refusal_to_string(result.refusal), result.place.line, result.options,
                                 result.administrator);
                assert_string_equal(policy_string(&f.table, result.place.file), "/etc/fused/types/ext4.conf");
        }
}

/* suid and dev need both: the rule names them, and it is an administrator's. */
static void test_administrator(void **state) {
        static const struct {
                uint32_t administrator, granted, asked, offending;
        } cases[] = {
                {1, SUID, SUID, 0}, {0, SUID, SUID, SUID}, {1, 0, SUID, SUID}, {1, DEV, DEV, 0}, {0, DEV, DEV, DEV},
                {1, SUID, SUID | DEV, DEV}, {0, SUID | DEV, SUID | DEV, SUID | DEV}, {0, SUID | DEV, RO, 0},
        };
        Fixture f;

        fixture_fill(&f);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                f.rules[FIXTURE_RULE_ROOT].administrator = cases[i].administrator;
                f.rules[FIXTURE_RULE_ROOT].options = cases[i].granted;
                AuthorizeResult result = ask(&f, FIXTURE_EXT4,
                                             (AuthorizeRequest){.uid = 0, FROM_FILE, .options = cases[i].asked});
                assert_int_equal(result.refusal, cases[i].offending ? REFUSAL_OPTION : REFUSAL_NONE);
                assert_int_equal(result.options, cases[i].offending ?: cases[i].asked);
        }
}

static void test_read_only(void **state) {
        Fixture f;

        fixture_fill(&f);
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){BOB, FROM_FILE}).options, 0);
        f.types[FIXTURE_EXT4].read_only = 1;
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){BOB, FROM_FILE}).options, RO);
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){BOB, FROM_FILE, .options = OTHER}).options, OTHER);
}

/* The first rule that permits all is taken; rules do not add up; the refusal is that of the rule that came furthest. */
static void test_order(void **state) {
        Fixture f;

        fixture_fill(&f);
        /* alice matches her own rule and everybody's: hers is first */
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_FILE}).place.line, 20);
        PolicyRule swapped = f.rules[FIXTURE_RULE_ALICE];
        f.rules[FIXTURE_RULE_ALICE] = f.rules[FIXTURE_RULE_EVERYBODY];
        f.rules[FIXTURE_RULE_EVERYBODY] = swapped;
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_FILE}).place.line, 30);
        /* the first that permits all, not the first that matches */
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_FILE, .options = OTHER}).place.line, 20);
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_DEVICE(stick)}).place.line, 20);
        /* everybody's lacks the kind, alice's the device: she came further, whichever is first */
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_DEVICE(other)}).place.line, 20);
        /* of two that lack the same, the first is named */
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_FILE, .options = SUID}).place.line, 30);
        /* one rule permits the option, another the source: neither permits both */
        f.rules[FIXTURE_RULE_ALICE].options = SUID | OTHER;
        f.rules[FIXTURE_RULE_ALICE].administrator = 1;
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_DEVICE(stick), .options = SUID}).refusal,
                         REFUSAL_OPTION);
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_FILE, .options = SUID}).refusal,
                         REFUSAL_NONE);
}

static void test_devices(void **state) {
        Fixture f;

        fixture_fill(&f);
        assert_int_equal(stick, makedev(65, 1));
        /* No device is looked at for somebody who may not mount from devices, or from files. */
        n_questions = 0;
        (void) ask(&f, FIXTURE_EXT4, (AuthorizeRequest){BOB, FROM_DEVICE(stick)});
        (void) ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_FILE});
        assert_int_equal(n_questions, 0);
        (void) ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_DEVICE(other)});
        assert_int_equal(n_questions, 2);
        /* Without somebody to ask, only numbers match. */
        AuthorizeRequest request = {ALICE, FROM_DEVICE(stick)};
        AuthorizeResult result;
        policy_authorize(&f.table, &f.types[FIXTURE_EXT4], &request, NULL, &result);
        assert_int_equal(result.refusal, REFUSAL_DEVICE);
        request.device = sda;
        policy_authorize(&f.table, &f.types[FIXTURE_EXT4], &request, NULL, &result);
        assert_int_equal(result.refusal, REFUSAL_NONE);
        /* An empty list permits none, not all. */
        f.rules[FIXTURE_RULE_ROOT].devices.count = 0;
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){.uid = 0, FROM_DEVICE(sda)}).refusal, REFUSAL_DEVICE);
        /* Both numbers have to match. */
        f.devices[3].minor = 1;
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_DEVICE(sda)}).refusal, REFUSAL_DEVICE);
        f.devices[3].minor = 0;
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_DEVICE(sda)}).refusal, REFUSAL_NONE);
        f.devices[3].major = 9;
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_DEVICE(sda)}).refusal, REFUSAL_DEVICE);
        f.devices[3].major = POLICY_ID_ANY;
        assert_int_equal(ask(&f, FIXTURE_EXT4, (AuthorizeRequest){ALICE, FROM_DEVICE(sda)}).refusal, REFUSAL_NONE);
}

/* Every refusal has a word of its own, a text and a hint. */
static void test_words(void **state) {
        for (int i = REFUSAL_NONE + 1; i < _REFUSAL_MAX; i++) {
                const char *word = refusal_to_string((Refusal) i);
                assert_true(strlen(word) > 0 && strlen(refusal_text((Refusal) i)) > 10 &&
                            strlen(refusal_hint((Refusal) i)) > 10);
                assert_int_equal(strspn(word, "abcdefghijklmnopqrstuvwxyz-"), strlen(word));
                for (int k = 0; k < i; k++)
                        assert_string_not_equal(word, refusal_to_string((Refusal) k));
                assert_int_equal(refusal_is_quota((Refusal) i), strncmp(word, "quota-", 6) == 0);
        }
        assert_string_equal(refusal_to_string(REFUSAL_NONE), "");
        assert_string_equal(refusal_to_string(_REFUSAL_INVALID), "no-rule");
        assert_string_equal(refusal_to_string(_REFUSAL_MAX), "no-rule");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),  cmocka_unit_test(test_administrator), cmocka_unit_test(test_read_only),
                cmocka_unit_test(test_order), cmocka_unit_test(test_devices),       cmocka_unit_test(test_words),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
