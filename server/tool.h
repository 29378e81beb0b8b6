/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the command-line tools of the servers share: how they speak to people and to programs. Names come from images and directories that may be
 * anybody's: they are shown without what a terminal would obey. */

#include <json-c/json.h>
#include <stddef.h>

#include "base/macro.h"

/* "PROGRAM: WHAT: WHY" on the error output; why NULL: the error's text. Ends a line of progress. Returns r. */
int tool_complain(const char *what, const char *why, int r);

/* As the supervisor does with image files: one may write, or many may read. Until fd is closed. -EBUSY: it is in use, and that is said; what is not a
 * regular file is not locked. */
int tool_lock(int fd, bool write, const char *name) _must_check_;

/* A line that is written over, on the error output if that is a terminal, at most once a second. */
void tool_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void tool_progress_end(void);

/* Control characters, and what is no UTF-8, as \xNN. buffer: 4 bytes for each of text's, and 1; returns it. */
const char *tool_escape(const char *text, char *buffer, size_t size);

/* object.name = text. JSON is UTF-8, and names of files may be any bytes: where they are none, U+FFFD stands for each byte that is wrong, and
 * object.name-hex has all of them. */
void tool_json_name(json_object *object, const char *text);
