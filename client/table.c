/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tables and fields for people, from the same JSON that --json prints. Control characters are shown escaped. */

#include <pwd.h>
#include <string.h>

#include "base/text.h"
#include "client/fusectl.h"

#define CELL_MAX 512
#define COLUMNS_MAX 16

void json_putp(json_object **object) {
        if (*object)
                (void) json_object_put(*object);
}

const char *text_of(json_object *object, const char *key) {
        json_object *value;

        return json_object_object_get_ex(object, key, &value) && value ? json_object_get_string(value) : "";
}

uint64_t number_of(json_object *object, const char *key) {
        json_object *value;

        return json_object_object_get_ex(object, key, &value) ? json_object_get_uint64(value) : 0;
}

bool is_true(json_object *object, const char *key) {
        json_object *value;

        return json_object_object_get_ex(object, key, &value) && json_object_get_boolean(value);
}

const char *format_memory(json_object *row, char *buffer, size_t size) {
        uint64_t kib = number_of(row, "memory") / 1024;

        if (kib == 0)
                return "";
        if (kib < 10240)
                (void) snprintf(buffer, size, "%lluK", (unsigned long long) kib);
        else
                (void) snprintf(buffer, size, "%lluM", (unsigned long long) (kib / 1024));
        return buffer;
}

const char *format_uptime(json_object *row, char *buffer, size_t size) {
        uint64_t s = number_of(row, "uptime-usec") / USEC_PER_SEC;

        if (s < 60)
                (void) snprintf(buffer, size, "%us", (unsigned) s);
        else if (s < 3600)
                (void) snprintf(buffer, size, "%um %us", (unsigned) (s / 60), (unsigned) (s % 60));
        else if (s < 86400)
                (void) snprintf(buffer, size, "%uh %um", (unsigned) (s / 3600), (unsigned) (s / 60 % 60));
        else
                (void) snprintf(buffer, size, "%ud %uh", (unsigned) (s / 86400), (unsigned) (s / 3600 % 24));
        return buffer;
}

const char *format_user(json_object *row, char *buffer, size_t size) {
        const struct passwd *user = getpwuid((uid_t) number_of(row, "uid"));

        (void) snprintf(buffer, size, "%s", user ? user->pw_name : text_of(row, "uid"));
        return buffer;
}

const char *format_place(json_object *row, char *buffer, size_t size) {
        return is_true(row, "detached") ? "(detached)" : text_of(row, "mountpoint");
}

/* One member: "fds=none", "start=10s" for start-usec. */
static int print_member(char *buffer, size_t size, const char *name, json_object *value) {
        static const char usec[] = "-usec";
        size_t length = strlen(name);

        if (!json_object_is_type(value, json_type_int))
                return snprintf(buffer, size, "%s=%s", name, json_object_get_string(value));
        if (json_object_get_uint64(value) == UINT64_MAX)
                return snprintf(buffer, size, "%s=none", name);
        if (length > strlen(usec) && strcmp(name + length - strlen(usec), usec) == 0)
                return snprintf(buffer, size, "%.*s=%gs", (int) (length - strlen(usec)), name,
                                (double) json_object_get_uint64(value) / (double) USEC_PER_SEC);
        return snprintf(buffer, size, "%s=%s", name, json_object_get_string(value));
}

const char *format_members(json_object *row, const char *key, char *buffer, size_t size) {
        json_object *object;
        size_t have = 0;

        buffer[0] = 0;
        if (!json_object_object_get_ex(row, key, &object) || !json_object_is_type(object, json_type_object))
                return buffer;
        json_object_object_foreach(object, name, value) {
                if (have > 0 && have + 1 < size)
                        buffer[have++] = ' ';
                if (have < size)
                        have += (size_t) print_member(buffer + have, size - have, name, value);
        }
        return buffer;
}

static void cell_of(json_object *row, const Column *column, char cell[static CELL_MAX]) {
        char buffer[CELL_MAX];
        const char *text = column->format ? column->format(row, buffer, sizeof buffer) : text_of(row, column->key);

        (void) text_clean(text, "", cell, CELL_MAX);
        if (!*cell)
                strcpy(cell, "-");
}

void print_table(json_object *rows, const Column *columns, size_t n_columns) {
        size_t width[COLUMNS_MAX], n_rows = json_object_array_length(rows);
        char cell[CELL_MAX];

        assert(n_columns <= COLUMNS_MAX);
        for (size_t c = 0; c < n_columns; c++) {
                width[c] = strlen(columns[c].title);
                for (size_t i = 0; i < n_rows; i++) {
                        cell_of(json_object_array_get_idx(rows, i), &columns[c], cell);
                        width[c] = MAX_OF(width[c], strlen(cell));
                }
        }
        for (size_t i = 0; i <= n_rows; i++)
                for (size_t c = 0; c < n_columns; c++) {
                        const char *text = columns[c].title;
                        if (i > 0) {
                                cell_of(json_object_array_get_idx(rows, i - 1), &columns[c], cell);
                                text = cell;
                        }
                        if (c + 1 < n_columns)
                                printf("%-*s  ", (int) width[c], text);
                        else
                                printf("%s\n", text);
                }
}

void print_fields(json_object *object, const Column *columns, size_t n_columns) {
        char cell[CELL_MAX];
        size_t width = 0;

        for (size_t c = 0; c < n_columns; c++)
                width = MAX_OF(width, strlen(columns[c].title));
        for (size_t c = 0; c < n_columns; c++) {
                cell_of(object, &columns[c], cell);
                printf("%*s: %s\n", (int) width, columns[c].title, cell);
        }
}

void print_json(json_object *object) {
        if (json_object_is_type(object, json_type_array) && json_object_array_length(object) == 0) {
                puts("[]"); /* json-c would take two lines */
                return;
        }
        puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                            JSON_C_TO_STRING_NOSLASHESCAPE));
}
