/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl cdi: the description of what a container needs, for engines that know the Container Device Interface. The text is that of
 * the installed file, which has the default places. */

#include <string.h>

#include "client/fusectl.h"

static const char text[] = {
#include "cdi-text.h"
};

/* "@NAME@" -> the value, as the inside of a JSON string. */
static void print_value(const char *value) {
        _cleanup_json_ json_object *string = json_object_new_string(value);
        const char *quoted = json_object_to_json_string_ext(string, JSON_C_TO_STRING_NOSLASHESCAPE);

        printf("%.*s", (int) strlen(quoted) - 2, quoted + 1);
}

int command_cdi(Context *context, int argc, char **argv) {
        const struct {
                const char *name;
                const char *value;
        } values[] = {
                {"@RUNTIME_DIRECTORY@", context->runtime_directory ? context->runtime_directory : "/run/fused"},
                {"@FUSERMOUNT@", FUSED_FUSERMOUNT},
        };

        if (argc != 1)
                return usage_error("cdi takes no argument");
        for (const char *p = text; p < text + sizeof text && *p;) {
                size_t i;
                for (i = 0; i < ELEMENTSOF(values); i++)
                        if (strncmp(p, values[i].name, strlen(values[i].name)) == 0)
                                break;
                if (i == ELEMENTSOF(values)) {
                        putchar(*p++);
                        continue;
                }
                print_value(values[i].value);
                p += strlen(values[i].name);
        }
        return EXIT_DONE;
}
