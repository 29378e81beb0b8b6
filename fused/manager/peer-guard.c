/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The head of a D-Bus message (D-Bus specification, "Message Format"):
 *
 *   0 endianness 'l' or 'B' | 1 type | 2 flags | 3 version 1 | 4 body length u32 | 8 serial u32 | 12 length of fields u32
 *   16 fields: array of (code u8, variant), each on an 8-byte boundary; then padding to 8, then the body
 *
 * Only strings, object paths, signatures and u32 occur in fields. */

#include "manager/peer-guard.h"

#include <string.h>

#define HEAD_SIZE 16U
#define FIELDS_MAX 1024U
#define FIELD_UNIX_FDS 9
#define TYPE_METHOD_CALL 1

/* The fields of a call that carries descriptors, and nothing else. NULL: not looked at. */
static const struct {
        char type;
        const char *value;
        bool required;
} call_fields[] = {
        [1] = {'o', "/org/fused1", true},
        [2] = {'s', "org.fused1.Manager", true},
        [3] = {'s', NULL, true}, /* Mount or ExplainPolicy; see below */
        [6] = {'s', "org.fused1", false},
        [8] = {'g', "sa{sv}", true},
        [FIELD_UNIX_FDS] = {'u', NULL, true},
};

typedef struct Field {
        uint8_t code;
        char type;
        const char *text; /* with its NUL; NULL for numbers */
        uint32_t number;
} Field;

typedef struct Head {
        const uint8_t *data;
        size_t at, end; /* of the fields */
        bool little;
} Head;

static uint32_t get_u32(const uint8_t *p, bool little) {
        return little ? (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24 :
                        (uint32_t) p[3] | (uint32_t) p[2] << 8 | (uint32_t) p[1] << 16 | (uint32_t) p[0] << 24;
}

/* Moves to a boundary; what is skipped must be zero, as sd-bus wants it. */
static bool align(Head *head, size_t to, size_t end) {
        size_t next = ALIGN_TO(head->at, to);

        if (next > end)
                return false;
        for (; head->at < next; head->at++)
                if (head->data[head->at] != 0)
                        return false;
        return true;
}

/* A text of that length and its NUL, with no other in it. */
static bool take_text(Head *head, size_t length, Field *field) {
        if (length >= head->end - head->at)
                return false;
        field->text = (const char *) head->data + head->at;
        head->at += length + 1;
        return memchr(field->text, 0, length + 1) == field->text + length;
}

static bool take_field(Head *head, Field *field) {
        if (!align(head, 8, head->end) || head->end - head->at < 4 || head->data[head->at + 1] != 1 || head->data[head->at + 3] != 0)
                return false; /* a variant's signature: one letter */
        *field = (Field){.code = head->data[head->at], .type = (char) head->data[head->at + 2]};
        head->at += 4;
        if (field->type == 'g') {
                if (head->at >= head->end)
                        return false;
                size_t length = head->data[head->at++];
                return take_text(head, length, field);
        }
        if ((field->type != 'u' && field->type != 's' && field->type != 'o') || head->end - head->at < 4)
                return false;
        field->number = get_u32(head->data + head->at, head->little);
        head->at += 4;
        return field->type == 'u' || take_text(head, field->number, field);
}

/* Is it exactly one of the fields of our own calls? */
static bool field_is_ours(const Field *field) {
        if (field->code >= ELEMENTSOF(call_fields) || field->type != call_fields[field->code].type)
                return false;
        if (field->code == 3)
                return strcmp(field->text, "Mount") == 0 || strcmp(field->text, "ExplainPolicy") == 0;
        return !call_fields[field->code].value || strcmp(field->text, call_fields[field->code].value) == 0;
}

static bool call_is_complete(uint32_t seen) {
        for (uint32_t code = 0; code < ELEMENTSOF(call_fields); code++)
                if (call_fields[code].required && !(seen & (1U << code)))
                        return false;
        return true;
}

static bool check_fields(Head *head, const uint8_t *data, uint32_t *ret_n_fds) {
        bool ours = data[1] == TYPE_METHOD_CALL && get_u32(data + 8, head->little) != 0;
        uint32_t seen = 0, n_fds = 0;

        while (head->at < head->end) {
                Field field;
                if (!take_field(head, &field))
                        return false;
                uint32_t bit = field.code < 32 ? 1U << field.code : 0;
                ours = ours && field_is_ours(&field) && !(seen & bit);
                seen |= bit;
                if (field.code == FIELD_UNIX_FDS && field.type == 'u')
                        n_fds = MAX_OF(n_fds, field.number);
        }
        *ret_n_fds = n_fds;
        return n_fds == 0 || (n_fds <= PEER_FDS_MAX && ours && call_is_complete(seen));
}

PeerGuard peer_guard_message(const uint8_t *data, size_t size, size_t *ret_size, uint32_t *ret_n_fds) {
        uint32_t body, fields;
        Head head;

        if (size > 0 && data[0] != 'l' && data[0] != 'B')
                return PEER_GUARD_BAD;
        if (size < HEAD_SIZE)
                return PEER_GUARD_PART;
        head = (Head){.data = data, .at = HEAD_SIZE, .little = data[0] == 'l'};
        body = get_u32(data + 4, head.little);
        fields = get_u32(data + 12, head.little);
        if (data[3] != 1 || fields > FIELDS_MAX || body > PEER_MESSAGE_MAX - HEAD_SIZE - FIELDS_MAX)
                return PEER_GUARD_BAD;
        head.end = HEAD_SIZE + fields;
        *ret_size = ALIGN_TO(head.end, (size_t) 8) + body;
        if (size < *ret_size)
                return PEER_GUARD_PART;
        if (!check_fields(&head, data, ret_n_fds) || !align(&head, 8, *ret_size))
                return PEER_GUARD_BAD;
        return PEER_GUARD_WHOLE;
}

PeerGuard peer_guard_auth(const uint8_t *data, size_t size, uint32_t *ret_n_messages) {
        static const char begin[] = "BEGIN\r\n";
        const uint8_t *found = memmem(data, size, begin, sizeof begin - 1), *end = data + size;

        *ret_n_messages = 0;
        if (!found) /* the first byte of all is a NUL, which may come alone; then lines, which come whole */
                return size == 0 || (size == 1 && data[0] == 0) || data[size - 1] == '\n' ? PEER_GUARD_WHOLE : PEER_GUARD_PART;
        for (found += sizeof begin - 1; found < end;) {
                size_t message;
                uint32_t n_fds;
                PeerGuard r = peer_guard_message(found, (size_t) (end - found), &message, &n_fds);
                if (r != PEER_GUARD_WHOLE)
                        return r;
                if (n_fds > 0) /* they come with bytes that sd-bus still takes for authentication */
                        return PEER_GUARD_BAD;
                found += message;
                (*ret_n_messages)++;
        }
        return PEER_GUARD_WHOLE;
}
