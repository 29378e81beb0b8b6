/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The messages of a server's second channel: each rule by a message that breaks just that one. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "wire/channel.h"

static ChannelRequest good_request(void) {
        ChannelRequest request = {.magic = CHANNEL_MAGIC, .command = CHANNEL_PROGRAM, .serial = 7, .n_tables = CHANNEL_TABLES_MAX, .name = "linear"};

        for (size_t i = 0; i < CHANNEL_TABLES_MAX; i++)
                strcpy(request.tables[i].name, "table");
        return request;
}

static ChannelReply good_reply(void) {
        return (ChannelReply){.magic = CHANNEL_MAGIC, .command = CHANNEL_PROGRAM, .serial = 7, .error = -ENOENT, .n_tables = 1,
                              .tables = {{.name = "table"}}};
}

static int check_request(const ChannelRequest *request) {
        return channel_request_validate(request, sizeof *request);
}

static int check_reply(const ChannelReply *reply) {
        return channel_reply_validate(reply, sizeof *reply);
}

static void test_request(void **state) {
        ChannelRequest request = good_request();

        assert_int_equal(check_request(&request), 0);
        for (uint32_t command = 0; command < _CHANNEL_COMMAND_MAX; command++) {
                request.command = command;
                assert_int_equal(check_request(&request), 0);
        }
        request.command = _CHANNEL_COMMAND_MAX;
        assert_int_equal(check_request(&request), -EBADMSG);

        request = good_request();
        assert_int_equal(channel_request_validate(&request, sizeof request - 1), -EBADMSG);
        assert_int_equal(channel_request_validate(&request, sizeof request + 1), -EBADMSG);
        assert_int_equal(channel_request_validate(&request, 0), -EBADMSG);
        request.magic++;
        assert_int_equal(check_request(&request), -EBADMSG);
        request = good_request();
        request.n_tables++;
        assert_int_equal(check_request(&request), -EBADMSG);
        request = good_request();
        memset(request.name, 'x', sizeof request.name); /* no NUL */
        assert_int_equal(check_request(&request), -EBADMSG);
        request = good_request();
        memset(request.tables[CHANNEL_TABLES_MAX - 1].name, 'x', sizeof request.tables->name);
        assert_int_equal(check_request(&request), -EBADMSG);
        request.n_tables--; /* nobody looks at that one now */
        assert_int_equal(check_request(&request), 0);
}

static void test_reply(void **state) {
        ChannelReply reply = good_reply();

        assert_int_equal(check_reply(&reply), 0);
        reply.error = 1;
        assert_int_equal(check_reply(&reply), -EBADMSG);
        reply = good_reply();
        assert_int_equal(channel_reply_validate(&reply, sizeof reply - 1), -EBADMSG);
        assert_int_equal(channel_reply_validate(&reply, sizeof reply + 1), -EBADMSG);
        reply.magic++;
        assert_int_equal(check_reply(&reply), -EBADMSG);
        reply = good_reply();
        reply.command = _CHANNEL_COMMAND_MAX;
        assert_int_equal(check_reply(&reply), -EBADMSG);
        reply = good_reply();
        reply.n_tables = CHANNEL_TABLES_MAX + 1;
        assert_int_equal(check_reply(&reply), -EBADMSG);
        reply = good_reply();
        memset(reply.tables[0].name, 'x', sizeof reply.tables->name);
        assert_int_equal(check_reply(&reply), -EBADMSG);
}

/* Servers are built apart from the supervisor: what they exchange may not move. */
static void test_layout(void **state) {
        assert_int_equal(sizeof(ChannelTable), 24);
        assert_int_equal(sizeof(ChannelRequest), 56 + 8 * 24);
        assert_int_equal(offsetof(ChannelRequest, serial), 8);
        assert_int_equal(offsetof(ChannelRequest, name), 24);
        assert_int_equal(sizeof(ChannelReply), 32 + 8 * 24);
        assert_int_equal(offsetof(ChannelReply, error), 16);
        assert_int_equal(sizeof(ChannelStatistics), 128);
        assert_int_equal(CHANNEL_BACKING_SOCKET, 6);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_request),
                cmocka_unit_test(test_reply),
                cmocka_unit_test(test_layout),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
