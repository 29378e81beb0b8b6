/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What one server writes to its stderr: the last lines are kept for messages and status, all of it goes to the log, escaped
 * and rate-limited. */

#include <systemd/sd-event.h>

#include "base/macro.h"

#define SERVER_LOG_LINES 20U
#define SERVER_LOG_BYTES 4096U

typedef struct ServerLog ServerLog;

/* Takes fd (read end of a pipe) over. mount_id and type_name are for the log; type_name is copied. */
int server_log_new(sd_event *event, int fd, uint64_t mount_id, const char *type_name, ServerLog **ret) _must_check_;
ServerLog *server_log_free(ServerLog *log);

/* Reads what is there now, without waiting. */
void server_log_drain(ServerLog *log);
/* A line of ours among those of the server, in status only; printable ASCII. */
void server_log_note(ServerLog *log, const char *text);
/* The i-th of the kept lines, oldest first; NULL if there are not so many. Printable ASCII. Borrowed. */
const char *server_log_line(const ServerLog *log, size_t i);
/* The last n lines joined by " | ". */
void server_log_tail(const ServerLog *log, size_t n, char *buffer, size_t size);
