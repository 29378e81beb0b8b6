/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Logging: to stderr as one line, or to the journal's native protocol over a connected datagram socket that was opened
 * beforehand (a sandboxed process cannot open it). Everything that a client or server chose is escaped. */

#include "base/macro.h"

typedef enum LogLevel {
        LOG_LEVEL_ERROR = 3, /* an administrator must act */
        LOG_LEVEL_WARNING = 4, /* fused coped */
        LOG_LEVEL_NOTICE = 5, /* mounted, unmounted, refused */
        LOG_LEVEL_INFO = 6,
        LOG_LEVEL_DEBUG = 7,
} LogLevel;

/* name: "fused", "fused-manager". level from $FUSED_LOG_LEVEL (name or number) in the broker; kept for children. */
void log_open(const char *name, int journal_fd /* borrowed; -EBADF: stderr only */, LogLevel level);
LogLevel log_level(void);
/* Connects to /run/systemd/journal/socket; the caller owns the fd; -ENOENT where there is no journal. */
int log_connect_journal(void) _must_check_;

/* One extra field of a structured record; value is escaped for stderr and passed whole to the journal. NULL value: left out. */
typedef struct LogField {
        const char *key; /* [A-Z0-9_]+ */
        const char *value;
} LogField;

void log_fields(LogLevel level, const LogField *fields, size_t n_fields, const char *format, ...) _printf_(4, 5);
/* With a MESSAGE_ID= (base/message-id.h). */
#define log_event(level, id, ...) log_fields(level, &(const LogField){"MESSAGE_ID", id}, 1, __VA_ARGS__)
#define log_error(...) log_fields(LOG_LEVEL_ERROR, NULL, 0, __VA_ARGS__)
#define log_warning(...) log_fields(LOG_LEVEL_WARNING, NULL, 0, __VA_ARGS__)
#define log_notice(...) log_fields(LOG_LEVEL_NOTICE, NULL, 0, __VA_ARGS__)
#define log_info(...) log_fields(LOG_LEVEL_INFO, NULL, 0, __VA_ARGS__)
#define log_debug(...) log_fields(LOG_LEVEL_DEBUG, NULL, 0, __VA_ARGS__)
/* Logs and returns the negative errno, for "return log_errno(r, ...)". */
#define log_errno(r, ...)                              \
        ({                                             \
                int _e = (r);                          \
                log_fields(LOG_LEVEL_ERROR, NULL, 0, __VA_ARGS__); \
                _e;                                    \
        })

/* Copies text with control bytes, quotes, backslashes and non-ASCII as \xHH; always terminates; cuts with "...". */
void log_escape(const char *text, char *buffer, size_t size);

/* A bucket for lines that a client can cause: at most burst in interval_usec; returns false for those to drop, and
 * *ret_dropped is the number dropped before one that may pass again. */
typedef struct LogRate {
        uint64_t window_usec;
        uint32_t n;
        uint32_t dropped;
} LogRate;
bool log_rate_ok(LogRate *rate, uint32_t burst, uint64_t interval_usec, uint32_t *ret_dropped);
