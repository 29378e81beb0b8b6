/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* D-Bus values as JSON, so that a table and its --json come from the same data. See bus-json.h. */

#include "client/bus-json.h"

#include <string.h>

#include "base/macro.h"

#define DEPTH_MAX 8

static int read_value(sd_bus_message *message, unsigned depth, json_object **ret);

static int read_basic(sd_bus_message *message, char type, json_object **ret) {
        union {
                uint8_t y;
                int b;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                double d;
                const char *s;
                int h;
        } value;
        int r;

        r = sd_bus_message_read_basic(message, type, &value);
        if (r < 0)
                return r;
        switch (type) {
        case 'b':
                *ret = json_object_new_boolean(value.b);
                break;
        case 'y':
                *ret = json_object_new_int(value.y);
                break;
        case 'n':
                *ret = json_object_new_int(value.n);
                break;
        case 'q':
                *ret = json_object_new_int(value.q);
                break;
        case 'i':
                *ret = json_object_new_int(value.i);
                break;
        case 'u':
                *ret = json_object_new_int64(value.u);
                break;
        case 'x':
                *ret = json_object_new_int64(value.x);
                break;
        case 't':
                *ret = json_object_new_uint64(value.t);
                break;
        case 'd':
                *ret = json_object_new_double(value.d);
                break;
        case 'h':
                *ret = NULL;
                return 0;
        default:
                *ret = json_object_new_string(value.s);
        }
        return *ret ? 0 : -ENOMEM;
}

static int read_entries(sd_bus_message *message, const char *contents, unsigned depth, json_object *object) {
        int r;

        while ((r = sd_bus_message_enter_container(message, 'e', contents)) > 0) {
                json_object *value = NULL;
                const char *key;
                r = sd_bus_message_read_basic(message, 's', &key);
                if (r >= 0)
                        r = read_value(message, depth + 1, &value);
                if (r >= 0 && json_object_object_add(object, key, value) < 0)
                        r = -ENOMEM;
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
                if (r < 0)
                        return r;
        }
        return r;
}

static int read_array(sd_bus_message *message, const char *contents, unsigned depth, json_object **ret) {
        bool is_object = contents[0] == '{' && contents[1] == 's';
        json_object *array = is_object ? json_object_new_object() : json_object_new_array();
        int r;

        if (!array)
                return -ENOMEM;
        r = sd_bus_message_enter_container(message, 'a', contents);
        if (r >= 0 && is_object) {
                char *inner _cleanup_free_ = strndup(contents + 1, strlen(contents) - 2);
                r = inner ? read_entries(message, inner, depth, array) : -ENOMEM;
        }
        while (r >= 0 && !is_object && (r = sd_bus_message_at_end(message, 0)) == 0) {
                json_object *value = NULL;
                r = read_value(message, depth + 1, &value);
                if (r >= 0 && json_object_array_add(array, value) < 0)
                        r = -ENOMEM;
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(message);
        if (r < 0) {
                (void) json_object_put(array);
                return r;
        }
        *ret = array;
        return 0;
}

static int read_struct(sd_bus_message *message, const char *contents, unsigned depth, json_object **ret) {
        json_object *array = json_object_new_array();
        int r;

        if (!array)
                return -ENOMEM;
        r = sd_bus_message_enter_container(message, 'r', contents);
        while (r >= 0 && (r = sd_bus_message_at_end(message, 0)) == 0) {
                json_object *value = NULL;
                r = read_value(message, depth + 1, &value);
                if (r >= 0 && json_object_array_add(array, value) < 0)
                        r = -ENOMEM;
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(message);
        if (r < 0) {
                (void) json_object_put(array);
                return r;
        }
        *ret = array;
        return 0;
}

static int read_value(sd_bus_message *message, unsigned depth, json_object **ret) {
        const char *contents;
        char type;
        int r;

        if (depth > DEPTH_MAX)
                return -EBADMSG;
        r = sd_bus_message_peek_type(message, &type, &contents);
        if (r <= 0)
                return r < 0 ? r : -ENODATA;
        if (type == 'a')
                return read_array(message, contents, depth, ret);
        if (type == 'r')
                return read_struct(message, contents, depth, ret);
        if (type != 'v')
                return strchr("ybnqiuxtdsogh", type) ? read_basic(message, type, ret) : -EBADMSG;
        r = sd_bus_message_enter_container(message, 'v', contents);
        if (r >= 0)
                r = read_value(message, depth + 1, ret);
        return r < 0 ? r : sd_bus_message_exit_container(message);
}

int bus_read_json(sd_bus_message *message, json_object **ret) {
        return read_value(message, 0, ret);
}
