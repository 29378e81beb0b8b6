/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text that somebody else has chosen, for people to read. */

#include <stddef.h>

/* Bytes of the character that text begins with, of the size bytes that there are, whatever the locale is; 0: it is no UTF-8. */
size_t text_character(const char *text, size_t size);
/* What could steer a terminal (C0, DEL, and C1, U+0080 to U+009F), what is no UTF-8, and the characters of also, as \xNN. What does not fit is left
 * out, whole characters at a time. Returns buffer. */
const char *text_clean(const char *text, const char *also, char *buffer, size_t size);
