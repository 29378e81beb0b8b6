/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl program: what the policy lists, and the checks that it is put to. */

#include <string.h>
#include <unistd.h>

#include "client/fusectl.h"
#include "config.h"

#define SYNTAX                                                                                      \
        "program list | program show NAME | program verify FILE [--device SIZE]... [--block SIZE] " \
        "[--memory SIZE] [--sha256 HEX] [--seed NUMBER]"

static const char *format_trust(json_object *row, char *buffer, size_t size) {
        const bool digest = *text_of(row, "sha256"), signature = *text_of(row, "signature");

        (void) snprintf(buffer, size, "%s%s%s", digest ? "digest" : "", digest && signature ? ", " : "", signature ? "signature" : "");
        return buffer;
}

static const char *format_types(json_object *row, char *buffer, size_t size) {
        json_object *types;
        size_t used = 0;

        *buffer = 0;
        if (!json_object_object_get_ex(row, "types", &types) || !json_object_is_type(types, json_type_array))
                return buffer;
        for (size_t i = 0; i < json_object_array_length(types) && used < size; i++)
                used += (size_t) snprintf(buffer + used, size - used, "%s%s", i > 0 ? " " : "",
                                          json_object_get_string(json_object_array_get_idx(types, i)));
        return buffer;
}

static int get(Context *context, json_object **ret) {
        FusedError error = {0};
        int status = connect_to_fused(context);

        if (status == 0 && fused_programs(context->client, ret, &error) < 0)
                status = report(&error);
        return status;
}

static int list(Context *context) {
        static const Column columns[] = {
                {"PROGRAM", "name"}, {"TYPES", "types", format_types}, {"BY", "sha256", format_trust}, {"MAX-MEMORY", "max-memory"},
                {"OBJECT", "object"}};
        _cleanup_json_ json_object *programs = NULL;
        int status = get(context, &programs);

        if (status != 0)
                return status;
        if (context->json)
                print_json(programs);
        else
                print_table(programs, columns, ELEMENTSOF(columns));
        return EXIT_DONE;
}

static int show(Context *context, const char *name) {
        static const Column columns[] = {
                {"program", "name"},      {"types", "types", format_types},           {"object", "object"},         {"sha256", "sha256"},
                {"signature", "signature"}, {"public key", "public-key"}, {"max memory", "max-memory"}, {"place", "place"}};
        _cleanup_json_ json_object *programs = NULL;
        int status = get(context, &programs);

        if (status != 0)
                return status;
        for (size_t i = 0; i < json_object_array_length(programs); i++) {
                json_object *program = json_object_array_get_idx(programs, i);
                if (strcmp(text_of(program, "name"), name) != 0)
                        continue;
                if (context->json)
                        print_json(program);
                else
                        print_fields(program, columns, ELEMENTSOF(columns));
                return EXIT_DONE;
        }
        return failure("the policy lists no program '%s'; see fusectl program list", name);
}

/* The supervisor's own checks, by the program that makes them for it, with the rights of whoever asks: to load takes CAP_BPF and CAP_PERFMON. */
static int verify(Context *context, int argc, char **argv) {
        char **words = calloc((size_t) argc + 4, sizeof *words);
        int n = 0;

        if (!words)
                return failure("out of memory");
        words[n++] = (char *) "fusectl program"; /* as which it speaks of itself */
        words[n++] = (char *) "verify";
        if (context->json)
                words[n++] = (char *) "--json";
        for (int i = 2; i < argc; i++)
                words[n++] = argv[i];
        (void) fflush(stdout);
        (void) execv(FUSED_LIBEXEC_DIRECTORY "/fused-program", words);
        free(words);
        return failure("cannot run %s: %s", FUSED_LIBEXEC_DIRECTORY "/fused-program", strerror(errno));
}

int command_program(Context *context, int argc, char **argv) {
        if (argc == 2 && strcmp(argv[1], "list") == 0)
                return list(context);
        if (argc == 3 && strcmp(argv[1], "show") == 0)
                return show(context, argv[2]);
        if (argc >= 3 && strcmp(argv[1], "verify") == 0)
                return verify(context, argc, argv);
        return usage_error(SYNTAX);
}
