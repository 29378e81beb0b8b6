/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Logging. See log.h. */

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

static struct {
        const char *name;
        int journal_fd;
        LogLevel level;
} log_state = {.name = "fused", .journal_fd = -EBADF, .level = LOG_LEVEL_INFO};

void log_open(const char *name, int journal_fd, LogLevel level) {
        log_state.name = name;
        log_state.journal_fd = journal_fd;
        log_state.level = level;
}

LogLevel log_level(void) {
        return log_state.level;
}

int log_connect_journal(void) {
        static const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};
        _cleanup_fd_ int fd = -EBADF;
        int r;

        fd = RET_NERRNO(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (fd < 0)
                return fd;
        r = RET_NERRNO(connect(fd, (const struct sockaddr *) &address, sizeof address));
        if (r < 0)
                return r;
        return TAKE_FD(fd);
}

void log_escape(const char *text, char *buffer, size_t size) {
        size_t have = 0;

        assert(size >= 8);
        for (; *text; text++) {
                unsigned char c = (unsigned char) *text;
                bool plain = c >= 0x20 && c < 0x7f && c != '\\' && c != '"';
                if (have + (plain ? 1 : 4) + 4 > size) { /* "..." and the NUL always fit */
                        memcpy(buffer + have, "...", 3);
                        have += 3;
                        break;
                }
                if (plain)
                        buffer[have++] = (char) c;
                else
                        have += (size_t) snprintf(buffer + have, 5, "\\x%02x", c);
        }
        buffer[have] = 0;
}

/* Appends "KEY=value\n", or the journal's binary form (KEY\n, 64-bit little-endian length, bytes, \n) if the value has a newline.
 * https://systemd.io/JOURNAL_NATIVE_PROTOCOL */
static size_t append_field(char *buffer, size_t have, size_t size, const char *key, const char *value) {
        size_t key_length = strlen(key), length = strlen(value);

        if (key_length + length + 16 > size - have)
                return have;
        memcpy(buffer + have, key, key_length);
        have += key_length;
        if (strchr(value, '\n')) {
                buffer[have++] = '\n';
                for (size_t i = 0; i < 8; i++)
                        buffer[have++] = (char) ((uint64_t) length >> (8 * i));
        } else
                buffer[have++] = '=';
        memcpy(buffer + have, value, length);
        have += length;
        buffer[have++] = '\n';
        return have;
}

static bool send_to_journal(LogLevel level, const LogField *fields, size_t n_fields, const char *text) {
        char record[8192], priority[4];
        size_t have = 0;

        if (log_state.journal_fd < 0)
                return false;
        (void) snprintf(priority, sizeof priority, "%d", (int) level);
        have = append_field(record, have, sizeof record, "PRIORITY", priority);
        have = append_field(record, have, sizeof record, "SYSLOG_IDENTIFIER", log_state.name);
        have = append_field(record, have, sizeof record, "MESSAGE", text);
        for (size_t i = 0; i < n_fields; i++)
                if (fields[i].value)
                        have = append_field(record, have, sizeof record, fields[i].key, fields[i].value);
        return send(log_state.journal_fd, record, have, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

void log_fields(LogLevel level, const LogField *fields, size_t n_fields, const char *format, ...) {
        char text[2048], line[4096], value[512];
        int saved = errno, length;
        va_list args;

        if (level > log_state.level)
                return;
        va_start(args, format);
        (void) vsnprintf(text, sizeof text, format, args);
        va_end(args);

        if (!send_to_journal(level, fields, n_fields, text)) {
                /* The <N> prefix is what systemd reads levels from when stderr is a journal stream. */
                length = snprintf(line, sizeof line, "%s%s: %s", getenv("JOURNAL_STREAM") ? (char[]){'<', (char) ('0' + level), '>', 0} : "",
                                  log_state.name, text);
                for (size_t i = 0; i < n_fields && length < (int) sizeof line - 600; i++) {
                        if (!fields[i].value || strcmp(fields[i].key, "MESSAGE_ID") == 0) /* for machines */
                                continue;
                        log_escape(fields[i].value, value, sizeof value);
                        length += snprintf(line + length, sizeof line - (size_t) length, " %s=\"%s\"", fields[i].key, value);
                }
                if (length > (int) sizeof line - 2)
                        length = (int) sizeof line - 2;
                line[length++] = '\n';
                ssize_t n = write(STDERR_FILENO, line, (size_t) length);
                (void) n; /* nobody to tell */
        }
        errno = saved;
}

bool log_rate_ok(LogRate *rate, uint32_t burst, uint64_t interval_usec, uint32_t *ret_dropped) {
        const uint64_t usec = clock_usec();

        if (rate->window_usec == 0 || usec - rate->window_usec >= interval_usec) {
                rate->window_usec = usec;
                rate->n = 0;
        }
        if (rate->n >= burst) {
                rate->dropped++;
                return false;
        }
        rate->n++;
        *ret_dropped = rate->dropped;
        rate->dropped = 0;
        return true;
}
