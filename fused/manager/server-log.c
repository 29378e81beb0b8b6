/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reader of a server's stderr. See server-log.h. Bytes are made printable before they are kept. */

#include "manager/server-log.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

#define LINE_MAX_BYTES 240U
#define READS_PER_TURN 4 /* a server that floods must not keep the loop to itself */
#define LOG_BURST 50U
#define LOG_INTERVAL_USEC (10 * USEC_PER_SEC)

struct ServerLog {
        int fd; /* owned, -EBADF after end of file */
        sd_event_source *io; /* owned */
        uint64_t mount_id;
        char *type_name; /* owned */
        char *lines[SERVER_LOG_LINES]; /* owned ring */
        size_t first, n_lines, n_bytes;
        char line[LINE_MAX_BYTES]; /* the one that is not complete */
        size_t line_length;
        LogRate rate;
};

static void drop_oldest(ServerLog *log) {
        char **oldest = &log->lines[log->first];

        log->n_bytes -= strlen(*oldest) + 1;
        free(TAKE_PTR(*oldest));
        log->first = (log->first + 1) % SERVER_LOG_LINES;
        log->n_lines--;
}

static void tell(ServerLog *log, const char *text) {
        char id[24];
        uint32_t dropped = 0;

        if (!log_rate_ok(&log->rate, LOG_BURST, LOG_INTERVAL_USEC, &dropped))
                return;
        (void) snprintf(id, sizeof id, "%llu", (unsigned long long) log->mount_id);
        const LogField fields[] = {{"MOUNT", id}, {"TYPE", log->type_name}};
        if (dropped > 0)
                log_fields(LOG_LEVEL_INFO, fields, ELEMENTSOF(fields), "mount %s: %u lines of its server dropped", id, dropped);
        log_fields(LOG_LEVEL_INFO, fields, ELEMENTSOF(fields), "mount %s: server: %s", id, text);
}

static void keep(ServerLog *log, const char *line) {
        char *copy = strdup(line);

        if (!copy)
                return; /* it is in the log at least */
        size_t size = strlen(copy) + 1;
        while (log->n_lines > 0 && (log->n_lines >= SERVER_LOG_LINES || log->n_bytes + size > SERVER_LOG_BYTES))
                drop_oldest(log);
        log->lines[(log->first + log->n_lines) % SERVER_LOG_LINES] = copy;
        log->n_lines++;
        log->n_bytes += size;
}

static void end_line(ServerLog *log) {
        if (log->line_length == 0)
                return;
        log->line[log->line_length] = 0;
        log->line_length = 0;
        tell(log, log->line);
        keep(log, log->line);
}

static void append(ServerLog *log, const char *data, size_t size) {
        for (size_t i = 0; i < size; i++) {
                unsigned char c = (unsigned char) data[i];
                if (c == '\n') {
                        end_line(log);
                        continue;
                }
                bool plain = (c >= 0x20 && c < 0x7f && c != '\\') || c == '\t';
                if (log->line_length + 5 > sizeof log->line)
                        end_line(log);
                if (plain)
                        log->line[log->line_length++] = c == '\t' ? ' ' : (char) c;
                else
                        log->line_length += (size_t) snprintf(log->line + log->line_length, 5, "\\x%02x", c);
        }
}

static void at_end(ServerLog *log) {
        end_line(log);
        log->io = sd_event_source_disable_unref(log->io);
        log->fd = fd_close(log->fd);
}

/* Returns whether there may be more. */
static bool read_some(ServerLog *log) {
        char buffer[2048];
        ssize_t n;

        if (log->fd < 0)
                return false;
        n = RET_NERRNO(read(log->fd, buffer, sizeof buffer));
        if (n == -EAGAIN || n == -EINTR)
                return false;
        if (n <= 0) {
                at_end(log);
                return false;
        }
        append(log, buffer, (size_t) n);
        return true;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        for (int i = 0; i < READS_PER_TURN && read_some(userdata); i++)
                continue;
        return 0;
}

int server_log_new(sd_event *event, int fd, uint64_t mount_id, const char *type_name, ServerLog **ret) {
        _cleanup_fd_ int owned = fd;
        ServerLog *log = calloc(1, sizeof *log);
        int r;

        if (!log)
                return -ENOMEM;
        log->fd = TAKE_FD(owned);
        log->mount_id = mount_id;
        log->type_name = strdup(type_name);
        r = log->type_name ? fd_set_nonblock(log->fd, true) : -ENOMEM;
        if (r >= 0)
                r = sd_event_add_io(event, &log->io, log->fd, EPOLLIN, on_io, log);
        if (r >= 0)
                r = sd_event_source_set_priority(log->io, SD_EVENT_PRIORITY_IDLE); /* words come after deeds */
        if (r < 0) {
                (void) server_log_free(log);
                return r;
        }
        *ret = log;
        return 0;
}

ServerLog *server_log_free(ServerLog *log) {
        if (!log)
                return NULL;
        (void) sd_event_source_disable_unref(log->io);
        log->fd = fd_close(log->fd);
        while (log->n_lines > 0)
                drop_oldest(log);
        free(log->type_name);
        free(log);
        return NULL;
}

void server_log_drain(ServerLog *log) {
        for (int i = 0; i < 64 && read_some(log); i++) /* a pipe holds 64 KiB; a server that is gone writes no more */
                continue;
        end_line(log);
}

void server_log_note(ServerLog *log, const char *text) {
        char line[512];

        (void) snprintf(line, sizeof line, "fused: %s", text);
        if (log)
                keep(log, line);
}

const char *server_log_line(const ServerLog *log, size_t i) {
        return log && i < log->n_lines ? log->lines[(log->first + i) % SERVER_LOG_LINES] : NULL;
}

void server_log_tail(const ServerLog *log, size_t n, char *buffer, size_t size) {
        size_t have = 0, skip;

        buffer[0] = 0;
        if (!log)
                return;
        skip = log->n_lines > n ? log->n_lines - n : 0;
        for (size_t i = skip; i < log->n_lines && have < size; i++)
                have += (size_t) snprintf(buffer + have, size - have, "%s%s", have ? " | " : "", server_log_line(log, i));
}
