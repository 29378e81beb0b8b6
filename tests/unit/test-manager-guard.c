/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is found out about a message before sd-bus reads it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "manager/peer-guard.h"

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

static void finish(TestMessage *m, uint32_t body, bool little) {
        put_u32(m, 12, (uint32_t) (m->size - 16), little);
        m->size = ALIGN_TO(m->size, (size_t) 8);
        if (body < 1024)
                m->size += body;
}

static TestMessage start(uint32_t body, bool little) {
        TestMessage m = {.size = 16};

        m.data[0] = little ? 'l' : 'B';
        m.data[1] = 1;
        m.data[3] = 1;
        put_u32(&m, 4, body, little);
        put_u32(&m, 8, 1, little);
        return m;
}

/* A Mount call; pick replaces one of its fields by a bad one. */
typedef enum Bad { BAD_NONE, BAD_PATH, BAD_INTERFACE, BAD_MEMBER, BAD_SIGNATURE, BAD_EXTRA, BAD_TWICE, BAD_NO_PATH, _BAD_MAX } Bad;

static TestMessage mount_call(uint32_t body, uint32_t n_fds, bool little, Bad bad) {
        TestMessage m = start(body, little);

        if (bad != BAD_NO_PATH)
                add_field(&m, 1, 'o', bad == BAD_PATH ? "/org//fused1" : "/org/fused1", 0, little);
        add_field(&m, 2, 's', bad == BAD_INTERFACE ? "org..fused1" : "org.fused1.Manager", 0, little);
        add_field(&m, 3, 's', bad == BAD_MEMBER ? "Mo unt" : "Mount", 0, little);
        add_field(&m, 6, 's', "org.fused1", 0, little);
        add_field(&m, 8, 'g', bad == BAD_SIGNATURE ? "sa{sv" : "sa{sv}", 0, little);
        add_field(&m, 9, 'u', NULL, n_fds, little);
        if (bad == BAD_EXTRA)
                add_field(&m, 7, 's', "not a name", 0, little);
        if (bad == BAD_TWICE)
                add_field(&m, 1, 'o', "/org/fused1", 0, little);
        finish(&m, body, little);
        return m;
}

static PeerGuard check(const TestMessage *m, size_t size) {
        size_t message = 0;
        uint32_t n_fds = 0;
        PeerGuard r = peer_guard_message(m->data, size, &message, &n_fds);

        if (r == PEER_GUARD_WHOLE)
                assert_int_equal(message, m->size);
        return r;
}

static void test_sizes(void **state) {
        for (int little = 0; little < 2; little++) {
                TestMessage m = mount_call(0, 0, little, BAD_NONE);
                assert_int_equal(check(&m, m.size), PEER_GUARD_WHOLE);
                assert_int_equal(check(&m, m.size + 100), PEER_GUARD_WHOLE); /* the next one may be there, too */
                m = mount_call(100, 3, little, BAD_NONE);
                for (size_t size = 0; size < m.size; size++) /* every cut */
                        assert_int_equal(check(&m, size), PEER_GUARD_PART);
                assert_int_equal(check(&m, m.size), PEER_GUARD_WHOLE);
                m = mount_call(60000, 0, little, BAD_NONE);
                assert_int_equal(check(&m, m.size), PEER_GUARD_PART);
                static const uint32_t bodies[] = {65536, 128U << 20, UINT32_MAX};
                for (size_t i = 0; i < ELEMENTSOF(bodies); i++) {
                        m = mount_call(bodies[i], 0, little, BAD_NONE);
                        assert_int_equal(check(&m, m.size), PEER_GUARD_BAD);
                }
        }
}

/* What sd-bus would object to must not reach it with descriptors; without, it may judge for itself. */
static void test_descriptors(void **state) {
        TestMessage m;

        for (Bad bad = BAD_NONE; bad < _BAD_MAX; bad++) {
                m = mount_call(8, 1, true, bad);
                assert_int_equal(check(&m, m.size), bad == BAD_NONE ? PEER_GUARD_WHOLE : PEER_GUARD_BAD);
                m = mount_call(8, 0, true, bad);
                assert_int_equal(check(&m, m.size), PEER_GUARD_WHOLE);
        }
        m = mount_call(8, PEER_FDS_MAX, true, BAD_NONE);
        assert_int_equal(check(&m, m.size), PEER_GUARD_WHOLE);
        m = mount_call(8, PEER_FDS_MAX + 1, true, BAD_NONE);
        assert_int_equal(check(&m, m.size), PEER_GUARD_BAD);
        m = mount_call(8, 1, true, BAD_NONE);
        m.data[1] = 4; /* a signal */
        assert_int_equal(check(&m, m.size), PEER_GUARD_BAD);
        m = mount_call(8, 1, true, BAD_NONE);
        put_u32(&m, 8, 0, true); /* serial 0 */
        assert_int_equal(check(&m, m.size), PEER_GUARD_BAD);
        m = mount_call(8, 1, true, BAD_NONE);
        m.data[16 + 4 + 4 + 12] = 1; /* padding behind the path */
        assert_int_equal(check(&m, m.size), PEER_GUARD_BAD);
}

static void test_garbage(void **state) {
        TestMessage good = mount_call(8, 0, true, BAD_NONE), m;
        uint8_t noise[1200];
        uint32_t n_fds;
        size_t size;

        memset(noise, 0xa5, sizeof noise);
        assert_int_equal(peer_guard_message(noise, sizeof noise, &size, &n_fds), PEER_GUARD_BAD);
        assert_int_equal(peer_guard_message(noise, 1, &size, &n_fds), PEER_GUARD_BAD);
        m = good;
        m.data[3] = 2; /* protocol version */
        assert_int_equal(check(&m, m.size), PEER_GUARD_BAD);
        m = good;
        put_u32(&m, 12, 4096, true); /* fields longer than any call's */
        assert_int_equal(check(&m, m.size), PEER_GUARD_BAD);
        m = good;
        m.data[18] = 'a'; /* no field has such a type */
        assert_int_equal(check(&m, m.size), PEER_GUARD_BAD);
        m = good;
        put_u32(&m, 20, 0xfffffff0, true); /* a string longer than the message */
        assert_int_equal(check(&m, m.size), PEER_GUARD_BAD);
        m = good;
        m.data[26] = 0; /* a NUL inside of a string */
        assert_int_equal(check(&m, m.size), PEER_GUARD_BAD);
}

static void test_authentication(void **state) {
        static const char lines[] = "\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
        TestMessage m = mount_call(8, 0, true, BAD_NONE), huge = mount_call(128U << 20, 0, true, BAD_NONE), fds = mount_call(8, 1, true, BAD_NONE);
        uint8_t buffer[4096];
        size_t n = sizeof lines - 1;
        uint32_t k;

        assert_int_equal(peer_guard_auth((const uint8_t *) lines, 1, &k), PEER_GUARD_WHOLE);
        assert_int_equal(peer_guard_auth((const uint8_t *) lines, 19, &k), PEER_GUARD_WHOLE);
        assert_int_equal(peer_guard_auth((const uint8_t *) lines, n, &k), PEER_GUARD_WHOLE);
        assert_int_equal(k, 0);
        assert_int_equal(peer_guard_auth((const uint8_t *) lines, n - 4, &k), PEER_GUARD_PART); /* half a line */
        memcpy(buffer, lines, n);
        memcpy(buffer + n, m.data, m.size);
        memcpy(buffer + n + m.size, m.data, m.size);
        assert_int_equal(peer_guard_auth(buffer, n + 2 * m.size, &k), PEER_GUARD_WHOLE);
        assert_int_equal(k, 2);
        assert_int_equal(peer_guard_auth(buffer, n + 2 * m.size - 1, &k), PEER_GUARD_PART);
        assert_int_equal(peer_guard_auth(buffer, n + 10, &k), PEER_GUARD_PART);
        memcpy(buffer + n, huge.data, huge.size);
        assert_int_equal(peer_guard_auth(buffer, n + huge.size, &k), PEER_GUARD_BAD);
        memcpy(buffer + n, fds.data, fds.size);
        assert_int_equal(peer_guard_auth(buffer, n + fds.size, &k), PEER_GUARD_BAD);
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
