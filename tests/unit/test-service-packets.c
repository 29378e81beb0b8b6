/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The packets of libfuse's service protocol, byte for byte: the bytes are those that libfuse's own programs exchanged. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "wire/service.h"

#define BYTES(text) (text), (sizeof(text) - 1)

static void test_helper_builds(void **state) {
        char packet[64];
        size_t n;

        n = service_build_hello(packet, sizeof packet, 1, 1, 3);
        assert_int_equal(n, SERVICE_HELLO_SIZE);
        assert_memory_equal(packet, "SAFT\0\1\0\1\0\0\0\3", n);
        n = service_build_file(packet, sizeof packet, 0, "fusedev");
        assert_int_equal(n, 16);
        assert_memory_equal(packet, "FILE\0\0\0\0fusedev\0", n);
        n = service_build_file(packet, sizeof packet, 13, "/img");
        assert_memory_equal(packet, "FILE\0\0\0\15/img\0", n);
        n = service_build_reply(packet, sizeof packet, 22);
        assert_int_equal(n, SERVICE_REPLY_SIZE);
        assert_memory_equal(packet, "REPL\0\0\0\26", n);
        assert_int_equal(service_build_file(packet, 10, 0, "argv"), 0); /* does not fit */
}

static void test_helper_parses(void **state) {
        ServicePacket packet;

        assert_int_equal(service_packet_parse(BYTES("OPEN\0\0\0\200\0\0\0\0\0\0\0\0\0\0\0\0/tmp/img\0"), &packet), 0);
        assert_int_equal(packet.command, SERVICE_COMMAND_OPEN);
        assert_int_equal(packet.open_flags, O_EXCL);
        assert_string_equal(packet.string, "/tmp/img");
        assert_int_equal(service_packet_parse(BYTES("BDEV\0\0\0\202\0\0\0\0\0\0\0\0\0\0\20\0/b\0"), &packet), 0);
        assert_int_equal(packet.block_size, 4096);
        assert_int_equal(service_packet_parse(BYTES("TYPE\0\0\0\0"), &packet), 0);
        assert_int_equal(service_packet_parse(BYTES("NAMEservice_ll\0"), &packet), 0);
        assert_string_equal(packet.string, "service_ll");
        assert_int_equal(service_packet_parse(BYTES("MNTP\100\0\0\0/mnt\0"), &packet), 0);
        assert_int_equal(packet.expected_format, S_IFDIR);
        assert_int_equal(service_packet_parse(BYTES("DOIT\0\0\0\7"), &packet), 0);
        assert_int_equal(packet.ms_flags, 7);
        assert_int_equal(service_packet_parse(BYTES("BYEE\0\0\0\1"), &packet), 0);
        assert_int_equal(packet.exit_code, 1);
}

static void test_helper_refuses(void **state) {
        ServicePacket packet;

        assert_int_equal(service_packet_parse(BYTES("EVIL\0\0\0\0"), &packet), -EBADMSG);
        assert_int_equal(service_packet_parse(BYTES("TYP"), &packet), -EBADMSG);
        assert_int_equal(service_packet_parse(BYTES("TYPE\0\0\0"), &packet), -EINVAL);
        assert_int_equal(service_packet_parse(BYTES("TYPE\0\0\0\0x"), &packet), -EINVAL);
        assert_int_equal(service_packet_parse(BYTES("NAMEabc"), &packet), -EINVAL); /* no NUL */
        assert_int_equal(service_packet_parse(BYTES("NAME\0"), &packet), -EINVAL);  /* empty */
        assert_int_equal(packet.command, SERVICE_COMMAND_SOURCE);
        assert_int_equal(service_packet_parse(BYTES("MNTP\100\0\0\1/mnt\0"), &packet), -EINVAL); /* padding */
        assert_int_equal(service_packet_parse(BYTES("OPEN\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), &packet), -EINVAL);
        assert_int_equal(service_parse_hello_reply(BYTES("LAST\0\1\0\0")), 0);
        assert_int_equal(service_parse_hello_reply(BYTES("LAST\0\2\0\0")), -EBADMSG);
        assert_int_equal(service_parse_hello_reply(BYTES("LAST\0\1\0\1")), -EBADMSG);
        assert_int_equal(service_parse_hello_reply(BYTES("LAST\0\1\0\0\0")), -EBADMSG);
}

/* The order of a server's checks is libfuse's. */
static void test_server_hello(void **state) {
        uint32_t flags = 0;

        assert_int_equal(service_parse_hello(BYTES("SAFT\0\1\0\1\0\0\0\3"), &flags), 0);
        assert_int_equal(flags, 3);
        assert_int_equal(service_parse_hello(BYTES("SAFT\0\1\0\2\0\0\0\0"), &flags), 0); /* a wider range is fine */
        assert_int_equal(service_parse_hello(BYTES("SAFT\0\2\0\3\0\0\0\0"), &flags), -EOPNOTSUPP);
        assert_int_equal(service_parse_hello(BYTES("SAFT\0\0\0\0\0\0\0\0"), &flags), -EOPNOTSUPP);
        assert_int_equal(service_parse_hello(BYTES("SAFT\0\2\0\1\0\0\0\0"), &flags), -EOPNOTSUPP);
        assert_int_equal(service_parse_hello(BYTES("SAFT\0\1\0\1\0\0\0\4"), &flags), -EINVAL);
        assert_int_equal(service_parse_hello(BYTES("SAFT\0\1\0\1\0\0\0\0\0"), &flags), -EBADMSG);
        assert_int_equal(service_parse_hello(BYTES("SAFT\0\1\0\1\0\0\0"), &flags), -EBADMSG);
}

static void test_server_replies(void **state) {
        uint32_t error = 0;

        assert_int_equal(service_parse_file(BYTES("FILE\0\0\0\36/img\0"), "/img", &error), 0);
        assert_int_equal(error, EROFS);
        assert_int_equal(service_parse_file(BYTES("FILE\0\0\0\0?\0"), "/img", &error), -EBADMSG); /* another path */
        assert_int_equal(service_parse_file(BYTES("FILE\0\0\0\0/im\0"), "/img", &error), -EBADMSG);
        assert_int_equal(service_parse_reply(BYTES("REPL\0\0\0\1"), &error), 0);
        assert_int_equal(error, EPERM);
        assert_int_equal(service_parse_reply(BYTES("REPL\0\0\0"), &error), -EBADMSG);
}

/* What one side builds, the other reads. */
static void test_round_trip(void **state) {
        const ServicePacket packets[] = {
                {.command = SERVICE_COMMAND_OPEN, .string = "/slots/source", .open_flags = O_RDWR | O_EXCL, .request_flags = 1},
                {.command = SERVICE_COMMAND_FSOPEN, .fsopen_flags = 1},
                {.command = SERVICE_COMMAND_SOURCE, .string = "x"},
                {.command = SERVICE_COMMAND_OPTS, .string = "allow_other,max_read=4096"},
                {.command = SERVICE_COMMAND_MNTPT, .string = "/mnt", .expected_format = S_IFREG},
                {.command = SERVICE_COMMAND_MTAB, .string = "x-a"},
                {.command = SERVICE_COMMAND_MOUNT, .ms_flags = 0xd89},
                {.command = SERVICE_COMMAND_BYE, .exit_code = 256},
        };
        char packet[128];

        for (size_t i = 0; i < ELEMENTSOF(packets); i++) {
                ServicePacket read;
                size_t n = service_build_command(packet, sizeof packet, &packets[i]);
                assert_true(n > 0);
                assert_int_equal(service_packet_parse(packet, n, &read), 0);
                assert_int_equal(read.command, packets[i].command);
                assert_int_equal(read.open_flags, packets[i].open_flags);
                assert_int_equal(read.ms_flags, packets[i].ms_flags);
                assert_int_equal(read.expected_format, packets[i].expected_format);
                assert_int_equal(read.exit_code, packets[i].exit_code);
                if (packets[i].string)
                        assert_string_equal(read.string, packets[i].string);
        }
}

static void test_argv(void **state) {
        const char *const words[] = {"foo", "/img", "-o", "ro"};
        const char *word;
        char image[128];
        size_t size = service_argv_size(words, 4);

        service_build_argv(image, size, words, 4);
        assert_memory_equal(image, "ARGS\0\0\0\4\0\0\0\50\0\0\0\4", 16);
        for (size_t i = 0; i < 4; i++) {
                assert_int_equal(service_argv_word(image, size, i, &word), 0);
                assert_string_equal(word, words[i]);
        }
        assert_int_equal(service_argv_word(image, size, 4, &word), -ENOENT);
        assert_int_equal(service_argv_word(image, size - 1, 3, &word), -EBADMSG); /* the last NUL is gone */
        assert_int_equal(service_argv_word(image, 12, 0, &word), -EBADMSG);
        memcpy(image + 8, "\377\377\377\360", 4);
        assert_int_equal(service_argv_word(image, size, 0, &word), -EBADMSG);
        memcpy(image, "ARGX", 4);
        assert_int_equal(service_argv_word(image, size, 1, &word), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_helper_builds), cmocka_unit_test(test_helper_parses),
                cmocka_unit_test(test_helper_refuses), cmocka_unit_test(test_server_hello),
                cmocka_unit_test(test_server_replies), cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_argv),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
