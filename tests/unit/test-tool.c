/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the servers' tools show names that are anybody's. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tool.h"

static const struct {
        const char *text, *shown, *json; /* json: the object */
} rows[] = {
        {"", "", "{\"name\":\"\"}"},
        {"plain name", "plain name", "{\"name\":\"plain name\"}"},
        {"gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x90\xa7", "gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x90\xa7",
         "{\"name\":\"gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x90\xa7\"}"},
        {"a\nb\x1b[2J\x7f", "a\\x0ab\\x1b[2J\\x7f", "{\"name\":\"a\\nb\\u001b[2J\x7f\"}"},
        {"\xc2\x9b" "2J", "\\xc2\\x9b2J", "{\"name\":\"\xc2\x9b" "2J\"}"}, /* a command in one character */
        {"back\\slash", "back\\x5cslash", "{\"name\":\"back\\\\slash\"}"},
        {"x\xffy", "x\\xffy", "{\"name\":\"x\xef\xbf\xbdy\",\"name-hex\":\"78ff79\"}"},
        {"\xc3", "\\xc3", "{\"name\":\"\xef\xbf\xbd\",\"name-hex\":\"c3\"}"},                                  /* cut off */
        {"\xc0\xaf", "\\xc0\\xaf", "{\"name\":\"\xef\xbf\xbd\xef\xbf\xbd\",\"name-hex\":\"c0af\"}"},           /* too long a form */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80", "{\"name\":\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\",\"name-hex\":\"eda080\"}"}, /* half of a pair */
};

static void test_names(void **state) {
        char buffer[256];

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                json_object *object = json_object_new_object();
                assert_string_equal(tool_escape(rows[i].text, buffer, sizeof buffer), rows[i].shown);
                tool_json_name(object, rows[i].text);
                assert_string_equal(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN), rows[i].json);
                json_object_put(object);
        }
}

/* What does not fit is left out, whole characters at a time. */
static void test_room(void **state) {
        char buffer[16];

        memset(buffer, 'x', sizeof buffer);
        assert_string_equal(tool_escape("\xff\xff\xff\xff", buffer, 13), "\\xff\\xff\\xff");
        assert_int_equal(buffer[13], 'x');
        assert_string_equal(tool_escape("abc", buffer, 1), "");
}

static void test_complain(void **state) {
        assert_int_equal(tool_complain("a\x1b[0m", NULL, -5), -5);
        assert_int_equal(tool_complain("b", "why", -1), -1);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_room), cmocka_unit_test(test_complain)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
