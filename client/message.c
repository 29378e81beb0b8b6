/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a program says on standard error, and the exit status that goes with it. */

#include <stdarg.h>
#include <string.h>

#include "base/text.h"
#include "client/fusectl.h"

#define MESSAGE_MAX 8192 /* longest message shown; the supervisor's are far shorter */

const char *program_name = "fusectl";

static void say(const char *format, va_list args) {
        fprintf(stderr, "%s: ", program_name);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
}

int usage_error(const char *format, ...) {
        va_list args;

        va_start(args, format);
        say(format, args);
        va_end(args);
        fprintf(stderr, "Try '%s --help'.\n", program_name);
        return EXIT_USAGE;
}

int failure(const char *format, ...) {
        va_list args;

        va_start(args, format);
        say(format, args);
        va_end(args);
        return EXIT_FAILED;
}

int report(FusedError *error) {
        static const ExitStatus status[_FUSED_ERROR_MAX] = {
                [FUSED_ERROR_NONE] = EXIT_FAILED,
                [FUSED_ERROR_FAILED] = EXIT_FAILED,
                [FUSED_ERROR_REFUSED] = EXIT_REFUSED,
                [FUSED_ERROR_NO_SUCH_MOUNT] = EXIT_NO_SUCH_MOUNT,
                [FUSED_ERROR_BUSY] = EXIT_FAILED,
                [FUSED_ERROR_SERVER_FAILED] = EXIT_FAILED,
                [FUSED_ERROR_USAGE] = EXIT_USAGE,
        };
        FusedErrorKind kind = error->kind;
        char text[MESSAGE_MAX];

        (void) text_clean(error->message ? error->message : "failed", "", text, sizeof text);
        fprintf(stderr, "%s: %s%s\n", program_name, kind == FUSED_ERROR_REFUSED ? "refused: " : "", text);
        fused_error_done(error);
        return status[kind];
}

int connect_to_fused(Context *context) {
        FusedError error = {0};

        if (context->client)
                return 0;
        return fused_client_new(context->runtime_directory, &context->client, &error) < 0 ? report(&error) : 0;
}
