/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is found out about a message before sd-bus reads it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "manager/peer-guard.h"

/* A method call of org.freedesktop.DBus.Peer.Ping on "/", little endian; the fields in the order path, member, fds. */
typedef struct TestMessage {
        uint8_t data[2048];
        size_t size;
} TestMessage;

static void put_u32(TestMessage *m, size_t at, uint32_t value, bool little) {
        for (int i = 0; i < 4; i++)
                m->data[at + (size_t) i] = (uint8_t) (value >> (little ? 8 * i : 24 - 8 * i));
}

static void add_field(TestMessage *m, uint8_t code, char type, const char *text, uint32_t number, bool little) {
        m->size = ALIGN_TO(m->size, (size_t) 8);
        m->data[m->size] = code;
        m->data[m->size + 1] = 1;
        m->data[m->size + 2] = (uint8_t) type;
        m->size += 4;
        if (type == 'g') {
                m->data[m->size] = (uint8_t) strlen(text);
                memcpy(m->data + m->size + 1, text, strlen(text) + 1);
                m->size += strlen(text) + 2;
                return;
        }
        put_u32(m, m->size, text ? (uint32_t) strlen(text) : number, little);
        m->size += 4;
        if (text) {
                memcpy(m->data + m->size, text, strlen(text) + 1);
                m->size += strlen(text) + 1;
        }
}

static TestMessage message(uint32_t body, uint32_t n_fds, bool little) {
        TestMessage m = {.size = 16};

        m.data[0] = little ? 'l' : 'B';
        m.data[1] = 1;
        m.data[3] = 1;
        put_u32(&m, 4, body, little);
        put_u32(&m, 8, 1, little);
        add_field(&m, 1, 'o', "/", 0, little);
        add_field(&m, 3, 's', "Ping", 0, little);
        add_field(&m, 8, 'g', "sa{sv}", 0, little);
        add_field(&m, 9, 'u', NULL, n_fds, little);
        put_u32(&m, 12, (uint32_t) (m.size - 16), little);
        return m;
}

static void test_sizes(void **state) {
        for (int little = 0; little < 2; little++) {
                TestMessage m = message(0, 0, little);
                assert_int_equal(peer_guard_message(m.data, m.size), 0);
                m = message(60000, 3, little);
                assert_int_equal(peer_guard_message(m.data, m.size), 0);
                m = message(65536, 0, little);
                assert_int_equal(peer_guard_message(m.data, m.size), -E2BIG);
                m = message(128U << 20, 0, little);
                assert_int_equal(peer_guard_message(m.data, m.size), -E2BIG);
                m = message(UINT32_MAX, 0, little);
                assert_int_equal(peer_guard_message(m.data, m.size), -E2BIG);
        }
}

static void test_descriptors(void **state) {
        TestMessage m = message(8, PEER_FDS_MAX, true);

        assert_int_equal(peer_guard_message(m.data, m.size), 0);
        m = message(8, PEER_FDS_MAX + 1, true);
        assert_int_equal(peer_guard_message(m.data, m.size), -E2BIG);
        m = message(8, 253, false);
        assert_int_equal(peer_guard_message(m.data, m.size), -E2BIG);
}

static void test_garbage(void **state) {
        TestMessage good = message(8, 0, true), m;
        uint8_t noise[1200];

        for (size_t size = 0; size < good.size; size++) /* every cut */
                assert_int_equal(peer_guard_message(good.data, size), -EBADMSG);
        memset(noise, 0xa5, sizeof noise);
        assert_int_equal(peer_guard_message(noise, sizeof noise), -EBADMSG);
        m = good;
        m.data[3] = 2; /* protocol version */
        assert_int_equal(peer_guard_message(m.data, m.size), -EBADMSG);
        m = good;
        put_u32(&m, 12, 4096, true); /* fields longer than what is looked through */
        assert_int_equal(peer_guard_message(m.data, m.size), -E2BIG);
        m = good;
        m.data[18] = 'a'; /* no field has such a type */
        assert_int_equal(peer_guard_message(m.data, m.size), -EBADMSG);
        m = good;
        put_u32(&m, 20, 0xfffffff0, true); /* a string longer than the message */
        assert_int_equal(peer_guard_message(m.data, m.size), -EBADMSG);
}

static void test_authentication(void **state) {
        static const char lines[] = "\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
        TestMessage m = message(8, 0, true), huge = message(128U << 20, 0, true);
        uint8_t buffer[4096];
        size_t n = sizeof lines - 1;

        assert_int_equal(peer_guard_auth((const uint8_t *) lines, 1), 0);
        assert_int_equal(peer_guard_auth((const uint8_t *) lines, 19), 0);
        assert_int_equal(peer_guard_auth((const uint8_t *) lines, n), 0);
        assert_int_equal(peer_guard_auth((const uint8_t *) lines, n - 4), -EBADMSG); /* half a line */
        memcpy(buffer, lines, n);
        memcpy(buffer + n, m.data, m.size);
        assert_int_equal(peer_guard_auth(buffer, n + m.size), 1);
        memcpy(buffer + n, huge.data, huge.size);
        assert_int_equal(peer_guard_auth(buffer, n + huge.size), -E2BIG);
        assert_int_equal(peer_guard_auth(buffer, n + 10), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_descriptors),
                cmocka_unit_test(test_garbage),
                cmocka_unit_test(test_authentication),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
