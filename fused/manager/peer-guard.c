/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The head of a D-Bus message (D-Bus specification, "Message Format"):
 *
 *   0 endianness 'l' or 'B' | 1 type | 2 flags | 3 version 1 | 4 body length u32 | 8 serial u32 | 12 length of fields u32
 *   16 fields: array of (code u8, variant), each on an 8-byte boundary; then padding to 8, then the body
 *
 * Field 9 is UNIX_FDS, a variant of type "u": 01 'u' 00, then the number on a 4-byte boundary. Others are skipped by the
 * length of their type: only strings, object paths, signatures and u32 occur in a header. */

#include "manager/peer-guard.h"

#include <string.h>

#define HEAD_SIZE 16U
#define FIELD_UNIX_FDS 9

static uint32_t get_u32(const uint8_t *p, bool little) {
        return little ? (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24 :
                        (uint32_t) p[3] | (uint32_t) p[2] << 8 | (uint32_t) p[1] << 16 | (uint32_t) p[0] << 24;
}

/* The number in field UNIX_FDS, 0 if there is none. */
static int find_n_fds(const uint8_t *data, size_t end, bool little, uint32_t *ret) {
        size_t at = HEAD_SIZE;

        *ret = 0;
        while (at < end) {
                at = ALIGN_TO(at, 8);
                if (at >= end)
                        break;
                if (end - at < 4 || data[at + 1] != 1 || data[at + 3] != 0)
                        return -EBADMSG; /* every field's variant has a type of one letter */
                uint8_t code = data[at], type = data[at + 2];
                at += 4;
                if (type == 'u' || type == 's' || type == 'o') {
                        if (end - at < 4)
                                return -EBADMSG;
                        uint32_t number = get_u32(data + at, little);
                        at += 4;
                        if (type == 'u' && code == FIELD_UNIX_FDS)
                                *ret = MAX_OF(*ret, number);
                        if (type != 'u') {
                                if (number >= end - at)
                                        return -EBADMSG;
                                at += number + 1;
                        }
                } else if (type == 'g') {
                        if (end - at < 2 || data[at] >= end - at - 1)
                                return -EBADMSG;
                        at += (size_t) data[at] + 2;
                } else
                        return -EBADMSG;
        }
        return 0;
}

int peer_guard_message(const uint8_t *data, size_t size) {
        uint32_t body, fields, n_fds;
        bool little;
        int r;

        if (size < HEAD_SIZE) /* no client writes so little of a message at a time but to see what happens */
                return -EBADMSG;
        if ((data[0] != 'l' && data[0] != 'B') || data[3] != 1)
                return -EBADMSG;
        little = data[0] == 'l';
        body = get_u32(data + 4, little);
        fields = get_u32(data + 12, little);
        if (fields > PEER_HEAD_MAX - HEAD_SIZE || body > PEER_MESSAGE_MAX - PEER_HEAD_MAX)
                return -E2BIG;
        if (size < HEAD_SIZE + fields)
                return -EBADMSG;
        r = find_n_fds(data, HEAD_SIZE + fields, little, &n_fds);
        if (r < 0)
                return r;
        return n_fds > PEER_FDS_MAX ? -E2BIG : 0;
}

int peer_guard_auth(const uint8_t *data, size_t size) {
        static const char begin[] = "BEGIN\r\n";
        const uint8_t *found = memmem(data, size, begin, sizeof begin - 1);
        int r;

        if (!found) /* the first byte of all is a NUL, which may come alone */
                return size == 0 || (size == 1 && data[0] == 0) || data[size - 1] == '\n' ? 0 : -EBADMSG;
        found += sizeof begin - 1;
        if (found == data + size)
                return 0;
        r = peer_guard_message(found, size - (size_t) (found - data));
        return r < 0 ? r : 1;
}
