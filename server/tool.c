/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See tool.h. */

#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

#define PROGRESS_USEC 1000000U
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

static bool line_open; /* of progress */

void tool_progress_end(void) {
        if (line_open)
                fputs("\r\033[K", stderr);
        line_open = false;
}

void tool_progress(const char *format, ...) {
        static uint64_t last;
        const uint64_t now = clock_usec();
        va_list arguments;

        if (last == 0)
                last = now;
        if (now - last < PROGRESS_USEC || !isatty(STDERR_FILENO))
                return;
        last = now;
        tool_progress_end();
        va_start(arguments, format);
        (void) vfprintf(stderr, format, arguments);
        va_end(arguments);
        line_open = true;
}

const char *tool_escape(const char *text, char *buffer, size_t size) {
        return text_clean(text, "\\", buffer, size);
}

int tool_complain(const char *what, const char *why, int r) {
        const size_t size = 4 * strlen(what) + 1;
        _cleanup_free_ char *text = malloc(size);

        tool_progress_end();
        fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, text ? tool_escape(what, text, size) : "?", why ? why : strerror(-r));
        return r;
}

int tool_lock(int fd, bool write, const char *name) {
        struct flock whole = {.l_type = write ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
        struct stat st;

        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fcntl(fd, F_OFD_SETLK, &whole) == 0 || (errno != EAGAIN && errno != EACCES))
                return 0; /* where there are no locks there are none */
        return tool_complain(name, "it is in use", -EBUSY);
}

void tool_json_name(json_object *object, const char *text) {
        const size_t size = strlen(text);
        _cleanup_free_ char *name = malloc(3 * size + 1), *hex = malloc(2 * size + 1);
        bool is_text = true;
        size_t have = 0;

        if (!name || !hex)
                return;
        *name = *hex = 0;
        for (size_t at = 0, n; at < size; at += n ? n : 1) {
                n = text_character(text + at, size - at);
                is_text &= n > 0;
                memcpy(name + have, n ? text + at : REPLACEMENT, n ? n : 3);
                have += n ? n : 3;
        }
        json_object_object_add(object, "name", json_object_new_string_len(name, (int) have));
        for (size_t i = 0; i < size; i++)
                (void) snprintf(hex + 2 * i, 3, "%02x", (unsigned char) text[i]);
        if (!is_text)
                json_object_object_add(object, "name-hex", json_object_new_string_len(hex, (int) (2 * size)));
}
