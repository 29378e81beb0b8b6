/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl list, fusectl types */

#include <string.h>

#include "client/fusectl.h"

int command_list(Context *context, int argc, char **argv) {
        bool detail = argc == 2 && strcmp(argv[1], "--detail") == 0;
        static const Column more_columns[] = {
                {"ID", "id"},
                {"TYPE", "type"},
                {"STATE", "state"},
                {"USER", "uid", format_user},
                {"PID", "server-pid"},
                {"WAITING", "requests-waiting"},
                {"MEMORY", "memory", format_memory},
                {"PROCS", "processes"},
                {"UPTIME", "uptime-usec", format_uptime},
                {"SOURCE", "source"},
                {"MOUNTPOINT", "mountpoint", format_place},
        };
        static const Column columns[] = {
                {"ID", "id"},          {"TYPE", "type"},
                {"STATE", "state"},    {"USER", "uid", format_user},
                {"PID", "server-pid"}, {"UPTIME", "uptime-usec", format_uptime},
                {"SOURCE", "source"},  {"MOUNTPOINT", "mountpoint", format_place},
        };
        _cleanup_json_ json_object *mounts = NULL;
        FusedError error = {0};
        int status;

        if (argc != 1 && !detail)
                return usage_error("list [--detail]");
        status = connect_to_fused(context);
        if (status != 0)
                return status;
        if ((detail ? fused_query : fused_list)(context->client, &mounts, &error) < 0)
                return report(&error);
        if (context->json)
                print_json(mounts);
        else if (detail)
                print_table(mounts, more_columns, ELEMENTSOF(more_columns));
        else
                print_table(mounts, columns, ELEMENTSOF(columns));
        return EXIT_DONE;
}

#define NONE "none " /* what a slot accepts, if it may be left out */

static size_t add_slots(char *buffer, size_t size, size_t have, const char *first, const char *last, unsigned n, const char *accepts) {
        bool optional = strncmp(accepts, NONE, sizeof NONE - 1) == 0;

        if (n == 0 || have >= size)
                return have;
        return have + (size_t) snprintf(buffer + have, size - have, "%s%s%s%s%s: %s%s", have ? "; " : "", optional ? "[" : "", first,
                                        n == 1 ? "" : n == 2 ? ", " : " .. ", n == 1 ? "" : last,
                                        accepts + (optional ? sizeof NONE - 1 : 0), optional ? "]" : "");
}

/* Slots that accept the same and follow each other are written once; those that may be left out, in brackets. */
static const char *format_slots(json_object *row, char *buffer, size_t size) {
        const char *first = "", *last = "", *accepts = "";
        json_object *slots;
        size_t have = 0;
        unsigned n = 0;

        buffer[0] = 0;
        if (!json_object_object_get_ex(row, "slots", &slots))
                return buffer;
        json_object_object_foreach(slots, name, value) {
                const char *text = json_object_get_string(value);
                if (n > 0 && strcmp(text, accepts) == 0) {
                        n++;
                        last = name;
                        continue;
                }
                have = add_slots(buffer, size, have, first, last, n, accepts);
                first = last = name;
                accepts = text;
                n = 1;
        }
        (void) add_slots(buffer, size, have, first, last, n, accepts);
        return buffer;
}

static const char *format_description(json_object *row, char *buffer, size_t size) {
        const char *disabled = text_of(row, "disabled");

        (void) snprintf(buffer, size, "%s%s", *disabled ? "DISABLED: " : "",
                        *disabled ? disabled : text_of(row, "description"));
        return buffer;
}

static const char *format_access(json_object *row, char *buffer, size_t size) {
        return is_true(row, "read-only") ? "ro" : "rw";
}

int command_types(Context *context, int argc, char **argv) {
        static const Column columns[] = {
                {"TYPE", "name"},
                {"ACCESS", "read-only", format_access},
                {"HAND-OVER", "hand-over"},
                {"SLOTS", "slots", format_slots},
                {"DESCRIPTION", "description", format_description},
        };
        _cleanup_json_ json_object *types = NULL;
        FusedError error = {0};
        int status;

        if (argc != 1)
                return usage_error("types takes no argument");
        status = connect_to_fused(context);
        if (status != 0)
                return status;
        if (fused_types(context->client, &types, &error) < 0)
                return report(&error);
        if (context->json)
                print_json(types);
        else
                print_table(types, columns, ELEMENTSOF(columns));
        return EXIT_DONE;
}
