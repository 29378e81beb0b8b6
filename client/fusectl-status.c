/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl status */

#include <string.h>
#include <time.h>

#include "base/text.h"
#include "client/fusectl.h"

static const char *format_slots(json_object *row, char *buffer, size_t size) {
        return format_members(row, "slots", buffer, size);
}

static const char *format_limits(json_object *row, char *buffer, size_t size) {
        return format_members(row, "limits", buffer, size);
}

static const char *format_server(json_object *row, char *buffer, size_t size) {
        (void) snprintf(buffer, size, "pid %s, uid %s", text_of(row, "server-pid"), text_of(row, "server-uid"));
        return buffer;
}

static const char *format_owner(json_object *row, char *buffer, size_t size) {
        if (number_of(row, "owner-pid") == 0)
                return "";
        (void) snprintf(buffer, size, "process %s", text_of(row, "owner-pid"));
        return buffer;
}

static const char *format_usage(json_object *row, char *buffer, size_t size) {
        (void) snprintf(buffer, size, "%llu KiB, %s processes", (unsigned long long) (number_of(row, "memory") / 1024),
                        text_of(row, "processes"));
        return buffer;
}

static const char *format_device(json_object *row, char *buffer, size_t size) {
        if (!*text_of(row, "device"))
                return "";
        (void) snprintf(buffer, size, "%s, %llu bytes, held exclusively", text_of(row, "device"),
                        (unsigned long long) number_of(row, "device-size"));
        return buffer;
}

static const char *format_engine(json_object *row, char *buffer, size_t size) {
        const char *reason = text_of(row, "engine-reason");

        (void) snprintf(buffer, size, "%s%s%s", text_of(row, "engine"), *reason ? ": " : "", reason);
        return buffer;
}

static const char *format_program(json_object *row, char *buffer, size_t size) {
        const char *name = text_of(row, "program");
        json_object *in_kernel;
        bool runs_it = json_object_object_get_ex(row, "program-in-kernel", &in_kernel) && json_object_get_boolean(in_kernel);
        uint64_t bytes = number_of(row, "program-memory");

        if (bytes == 0 && !*name)
                return "";
        (void) snprintf(buffer, size, "%s%s, tables of %llu MiB", *name ? name : "not known any more", runs_it ? ", run by the kernel" : "",
                        (unsigned long long) bytes >> 20);
        return buffer;
}

static unsigned long long mapping_number(json_object *row, const char *key) {
        json_object *mapping;

        return json_object_object_get_ex(row, "mapping", &mapping) ? (unsigned long long) number_of(mapping, key) : 0;
}

static const char *format_lookups(json_object *row, char *buffer, size_t size) {
        if (!*text_of(row, "engine"))
                return "";
        (void) snprintf(buffer, size, "%llu by the cache, %llu by the program, %llu by the server, %llu refused",
                        mapping_number(row, "answered-by-cache"), mapping_number(row, "answered-by-program"),
                        mapping_number(row, "answered-by-server"), mapping_number(row, "bad-mappings"));
        return buffer;
}

/* The sum is org.fused1(5)'s: 1 the machine, 2 the server's cgroup, 8 that cgroup's limit. */
static const char *format_pressure(json_object *row, char *buffer, size_t size) {
        static const char *const words[] = {"nobody tells of memory pressure", "the machine", "its cgroup", "the machine and its cgroup"};
        unsigned watched = (unsigned) mapping_number(row, "pressure-watched");
        unsigned index = (watched & 1) | (watched & (2 | 8) ? 2 : 0);

        if (index == 0)
                (void) snprintf(buffer, size, "; %s", words[0]);
        else
                (void) snprintf(buffer, size, "; shrunk %llu times for want of memory (of %s)", mapping_number(row, "cache-shrunk"), words[index]);
        return buffer;
}

static const char *format_cache(json_object *row, char *buffer, size_t size) {
        char pressure[128];

        if (!*text_of(row, "engine"))
                return "";
        (void) snprintf(buffer, size, "%llu mappings, %llu of %llu KiB, %llu evicted%s", mapping_number(row, "cache-mappings"),
                        mapping_number(row, "cache-bytes") / 1024, mapping_number(row, "cache-limit") / 1024,
                        mapping_number(row, "cache-evicted"), format_pressure(row, pressure, sizeof pressure));
        return buffer;
}

static const char *format_event(json_object *row, char *buffer, size_t size) {
        struct timespec now;
        uint64_t at = number_of(row, "last-event-usec");

        (void) clock_gettime(CLOCK_BOOTTIME, &now);
        uint64_t usec = (uint64_t) now.tv_sec * USEC_PER_SEC + (uint64_t) now.tv_nsec / 1000;
        (void) snprintf(buffer, size, "%s, %llu s ago", text_of(row, "last-event"),
                        (unsigned long long) (usec > at ? (usec - at) / USEC_PER_SEC : 0));
        return buffer;
}

static void print_log(json_object *mount) {
        json_object *lines;
        char line[512];

        if (!json_object_object_get_ex(mount, "log", &lines) || json_object_array_length(lines) == 0)
                return;
        puts("last words of the server:");
        for (size_t i = 0; i < json_object_array_length(lines); i++) {
                (void) text_clean(json_object_get_string(json_object_array_get_idx(lines, i)), "", line, sizeof line);
                printf("  %s\n", line);
        }
}

int command_status(Context *context, int argc, char **argv) {
        static const Column columns[] = {
                {"mount", "id"},
                {"type", "type"},
                {"state", "state"},
                {"source", "source"},
                {"device", "device", format_device},
                {"mount point", "mountpoint", format_place},
                {"user", "uid", format_user},
                {"options", "options"},
                {"server options", "server-options"},
                {"slots", "slots", format_slots},
                {"hand-over", "hand-over"},
                {"server", "server-pid", format_server},
                {"ends with", "owner-pid", format_owner},
                {"cgroup", "cgroup"},
                {"in use", "memory", format_usage},
                {"limits", "limits", format_limits},
                {"uptime", "uptime-usec", format_uptime},
                {"connection", "connection"},
                {"requests waiting", "requests-waiting"},
                {"kernel mount id", "kernel-mount-id"},
                {"descriptors", "fds"},
                {"engine", "engine", format_engine},
                {"program", "program", format_program},
                {"lookups", "mapping", format_lookups},
                {"mapping cache", "mapping", format_cache},
                {"backing files", "backing-files"},
                {"last event", "last-event", format_event},
        };
        _cleanup_json_ json_object *mount = NULL;
        FusedError error = {0};
        uint64_t id;
        int status;

        if (argc != 2 || argv[1][0] == '-')
                return usage_error("status ID|MOUNTPOINT");
        status = resolve_mount(context, argv[1], &id);
        if (status != 0)
                return status;
        if (fused_get(context->client, id, &mount, &error) < 0)
                return report(&error);
        if (context->json) {
                print_json(mount);
                return EXIT_DONE;
        }
        print_fields(mount, columns, ELEMENTSOF(columns));
        print_log(mount);
        return EXIT_DONE;
}
