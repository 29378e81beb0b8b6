/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See text.h. */

#include "base/text.h"

#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

size_t text_character(const char *text, size_t size) {
        static locale_t utf8;
        mbstate_t state = {0};
        locale_t old;
        size_t n;

        if ((unsigned char) *text < 0x80)
                return 1;
        if (!utf8)
                utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t) 0);
        if (!utf8) /* then only ASCII is known to be */
                return 0;
        old = uselocale(utf8);
        n = mbrlen(text, size, &state);
        (void) uselocale(old);
        return n == (size_t) -1 || n == (size_t) -2 ? 0 : n;
}

static bool is_control(const char *text, size_t n) {
        const unsigned char *c = (const unsigned char *) text;

        return n == 1 ? *c < 0x20 || *c == 0x7f : n == 2 && c[0] == 0xc2 && c[1] < 0xa0;
}

const char *text_clean(const char *text, const char *also, char *buffer, size_t size) {
        size_t have = 0, left = strlen(text);

        while (left > 0) {
                const size_t n = text_character(text, left), taken = n ? n : 1;
                const bool plain = n && !is_control(text, n) && !strchr(also, *text);
                if (have + 4 * taken + 1 > size)
                        break;
                for (size_t i = 0; i < taken; i++)
                        have += (size_t) snprintf(buffer + have, size - have, plain ? "%c" : "\\x%02x", (unsigned char) text[i]);
                text += taken;
                left -= taken;
        }
        buffer[have] = 0;
        return buffer;
}
