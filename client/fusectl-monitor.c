/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl monitor: what happens to mounts, a line each, until it is ended. */

#include <string.h>
#include <time.h>

#include "base/text.h"
#include "client/fusectl.h"

static const struct {
        const char *signal;
        const char *word;
} event_rows[] = {
        {"MountAdded", "added"},
        {"MountChanged", "changed"},
        {"MountRemoved", "removed"},
};

static const char *word_of(const char *event) {
        for (size_t i = 0; i < ELEMENTSOF(event_rows); i++)
                if (strcmp(event, event_rows[i].signal) == 0)
                        return event_rows[i].word;
        return event;
}

static void print_line(const char *word, json_object *mount) {
        char source[1024], place[1024], message[1024], buffer[1024], stamp[32];
        const char *reason = text_of(mount, "reason");
        time_t now = time(NULL);
        struct tm tm;

        (void) strftime(stamp, sizeof stamp, "%H:%M:%S", localtime_r(&now, &tm));
        (void) text_clean(text_of(mount, "source"), "", source, sizeof source);
        (void) text_clean(format_place(mount, buffer, sizeof buffer), "", place, sizeof place);
        printf("%s %-8s %s %s %s %s on %s", stamp, word, text_of(mount, "id"), text_of(mount, "type"), text_of(mount, "state"),
               *source ? source : "-", *place ? place : "-");
        if (*reason) {
                (void) text_clean(text_of(mount, "message"), "", message, sizeof message);
                printf(": %s%s%s", reason, *message ? ": " : "", message);
        }
        putchar('\n');
}

/* One object, one line; "event" is first. */
static void print_object(const char *word, json_object *mount) {
        _cleanup_json_ json_object *line = json_object_new_object();

        json_object_object_add(line, "event", json_object_new_string(word));
        json_object_object_foreach(mount, key, value)
                json_object_object_add(line, key, json_object_get(value));
        puts(json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static int print_event(const Context *context, const char *word, json_object *mount) {
        (context->json ? print_object : print_line)(word, mount);
        return fflush(stdout) != 0 ? failure("cannot write: %s", strerror(errno)) : 0;
}

/* Those that there are already, asked for after the subscription: none is missed between. */
static int print_present(Context *context) {
        _cleanup_json_ json_object *mounts = NULL;
        FusedError error = {0};
        int status = 0;

        if (fused_list(context->client, &mounts, &error) < 0)
                return report(&error);
        for (size_t i = json_object_array_length(mounts); i-- > 0 && status == 0;) /* the oldest first */
                status = print_event(context, "present", json_object_array_get_idx(mounts, i));
        if (status == 0) {
                puts(context->json ? "{\"event\":\"ready\"}" : "from now on:");
                status = fflush(stdout) != 0 ? failure("cannot write: %s", strerror(errno)) : 0;
        }
        return status;
}

int command_monitor(Context *context, int argc, char **argv) {
        FusedError error = {0};
        int status;

        if (argc != 1)
                return usage_error("monitor takes no argument");
        status = connect_to_fused(context);
        if (status != 0)
                return status;
        if (fused_subscribe(context->client, &error) < 0)
                return report(&error);
        status = print_present(context);
        while (status == 0) {
                _cleanup_json_ json_object *mount = NULL;
                char event[FUSED_EVENT_MAX];
                int r = fused_next_event(context->client, UINT64_MAX, event, &mount, &error);
                if (r < 0)
                        return report(&error);
                if (r > 0)
                        status = print_event(context, word_of(event), mount);
        }
        return status;
}
