/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A supervisor for tests of the client: a child on the other end of a socketpair that speaks D-Bus, answers by script,
 * and writes down every call in memory that the test can read. */

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "base/fd.h"

#define SERVER_ID 7 /* of the one mount there is */

typedef struct Server { /* shared with the child */
        /* script */
        char error_name[64], error_message[512]; /* answer to everything but ListTypes and ListMounts; "" is none */
        uint64_t kernel_mount_id;
        bool kernel_mount_id_unique;
        bool refused;   /* ExplainPolicy */
        bool hang_up;   /* at the first call */
        bool read_only; /* the type "ext4" */
        bool no_mounts;
        char source[64]; /* of the mount, as the manager would send it */
        /* what came */
        char calls[4096];
} Server;

static Server *server_new(void) {
        Server *server = mmap(NULL, sizeof *server, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        assert(server != MAP_FAILED);
        strcpy(server->source, "/images/a.img");
        return server;
}

static void server_free(Server *server) {
        munmap(server, sizeof *server);
}

static void server_note(Server *server, const char *format, ...) _printf_(2, 3);
static void server_note(Server *server, const char *format, ...) {
        size_t have = strlen(server->calls);
        va_list args;

        va_start(args, format);
        (void) vsnprintf(server->calls + have, sizeof server->calls - have, format, args);
        va_end(args);
}

/* "file rw", "directory ro", "device path" */
static void server_note_fd(Server *server, int fd) {
        struct stat st;
        int flags = fcntl(fd, F_GETFL);

        assert(fstat(fd, &st) == 0 && flags >= 0);
        server_note(server, "%s %s",
                    S_ISREG(st.st_mode)   ? "file"
                    : S_ISDIR(st.st_mode) ? "directory"
                    : S_ISBLK(st.st_mode) ? "device"
                                          : "other",
                    flags & O_PATH ? "path" : (flags & O_ACCMODE) == O_RDWR ? "rw" : "ro");
}

/* Any value, as text */
static void server_note_value(Server *server, sd_bus_message *m) {
        const char *contents, *text;
        uint64_t t;
        uint32_t u;
        char type;
        int b, fd;

        assert(sd_bus_message_peek_type(m, &type, &contents) > 0);
        switch (type) {
        case 's':
                assert(sd_bus_message_read(m, "s", &text) > 0);
                server_note(server, "%s", text);
                break;
        case 'u':
                assert(sd_bus_message_read(m, "u", &u) > 0);
                server_note(server, "%u", u);
                break;
        case 't':
                assert(sd_bus_message_read(m, "t", &t) > 0);
                server_note(server, "%llu", (unsigned long long) t);
                break;
        case 'b':
                assert(sd_bus_message_read(m, "b", &b) > 0);
                server_note(server, b ? "yes" : "no");
                break;
        case 'h':
                assert(sd_bus_message_read(m, "h", &fd) > 0);
                server_note_fd(server, fd);
                break;
        case 'a':
        case 'e':
        case 'v':
                assert(sd_bus_message_enter_container(m, type, contents) > 0);
                server_note(server, type == 'a' ? "(" : "");
                for (unsigned i = 0; sd_bus_message_at_end(m, 0) == 0; i++) {
                        server_note(server, i == 0 ? "" : type == 'e' ? "=" : ",");
                        server_note_value(server, m);
                }
                server_note(server, type == 'a' ? ")" : "");
                assert(sd_bus_message_exit_container(m) >= 0);
                break;
        default:
                assert(false);
        }
}

static int server_append_mount(const Server *server, sd_bus_message *reply) {
        assert(sd_bus_message_open_container(reply, 'a', "{sv}") >= 0);
        assert(sd_bus_message_append(reply, "{sv}{sv}{sv}{sv}{sv}", "id", "t", (uint64_t) SERVER_ID, "type", "s",
                                     "ext4", "state", "s", "live", "source", "s", server->source, "mountpoint", "s",
                                     "/mnt/a") >= 0);
        assert(sd_bus_message_append(reply, "{sv}{sv}{sv}{sv}{sv}", "detached", "b", 0, "uid", "u", 0U, "server-pid",
                                     "i", 4711, "uptime-usec", "t", 3725 * USEC_PER_SEC, "kernel-mount-id", "t",
                                     server->kernel_mount_id) >= 0);
        assert(sd_bus_message_append(reply, "{sv}{sv}{sv}{sv}", "kernel-mount-id-unique", "b",
                                     server->kernel_mount_id_unique, "limits", "a{st}", 3, "memory", (uint64_t) 1024,
                                     "fds", UINT64_MAX, "start-usec", 1500 * USEC_PER_MSEC, "log", "as", 2,
                                     "first line", "second \033[31m", "slots", "a{ss}", 1, "source", "file") >= 0);
        return sd_bus_message_close_container(reply);
}

static void server_append_types(const Server *server, sd_bus_message *reply) {
        static const char *const names[] = {"ext4", "broken"};

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert(sd_bus_message_append(
                               reply, "a{sv}", 6, "name", "s", names[i], "description", "s", "a file system",
                               "disabled", "s", i == 0 ? "" : "broken.conf:3: no such key", "hand-over", "s", "fd",
                               "read-only", "b", server->read_only, "slots", "a{ss}", 1, "source", "file device") >= 0);
        assert(sd_bus_message_append(reply, "a{sv}", 6, "name", "s", "many", "description", "s", "many slots", "disabled", "s", "", "hand-over",
                                     "s", "service", "read-only", "b", true, "slots", "a{ss}", 7, "source", "device", "journal", "device", "d2",
                                     "none device", "d3", "none device", "d4", "none device", "log", "none file", "key", "file") >= 0);
}

static void server_append_explanation(const Server *server, sd_bus_message *reply) {
        assert(sd_bus_message_append(reply, "a{sv}", 7, "allowed", "b", !server->refused, "refusal", "s",
                                     server->refused ? "no-rule" : "", "text", "s", server->refused ? "no rule" : "",
                                     "place", "s", "ext4.conf:12", "hint", "s",
                                     server->refused ? "ask the administrator" : "", "options", "s", "nosuid,nodev",
                                     "limits", "a{st}", 1, "mounts", UINT64_MAX) >= 0);
}

static void server_answer(Server *server, sd_bus *bus, sd_bus_message *m) {
        const char *member = sd_bus_message_get_member(m);
        bool is_list = strcmp(member, "ListTypes") == 0 || strcmp(member, "ListMounts") == 0;
        sd_bus_message *reply;
        bool has_mountpoint;

        server_note(server, "%s", member);
        while (sd_bus_message_at_end(m, 1) == 0) {
                server_note(server, " ");
                server_note_value(server, m);
        }
        server_note(server, "\n");
        if (server->hang_up)
                _exit(0);
        if (*server->error_name && !is_list) {
                sd_bus_error error = SD_BUS_ERROR_MAKE_CONST(server->error_name, server->error_message);
                assert(sd_bus_reply_method_error(m, &error) >= 0);
                return;
        }
        has_mountpoint = strstr(server->calls, "mountpoint=") != NULL;
        assert(sd_bus_message_new_method_return(m, &reply) >= 0);
        if (strcmp(member, "Mount") == 0) {
                int fd = open("/proc", O_PATH | O_CLOEXEC);
                if (has_mountpoint)
                        assert(sd_bus_message_append(reply, "ta{sv}", (uint64_t) SERVER_ID, 0) >= 0);
                else
                        assert(sd_bus_message_append(reply, "ta{sv}", (uint64_t) SERVER_ID, 1, "mount", "h", fd) >= 0);
                (void) close(fd);
        } else if (strcmp(member, "ListMounts") == 0) {
                assert(sd_bus_message_open_container(reply, 'a', "a{sv}") >= 0);
                assert(server->no_mounts || server_append_mount(server, reply) >= 0);
                assert(sd_bus_message_close_container(reply) >= 0);
        } else if (strcmp(member, "GetMount") == 0)
                assert(server_append_mount(server, reply) >= 0);
        else if (strcmp(member, "ListTypes") == 0) {
                assert(sd_bus_message_open_container(reply, 'a', "a{sv}") >= 0);
                server_append_types(server, reply);
                assert(sd_bus_message_close_container(reply) >= 0);
        } else if (strcmp(member, "ExplainPolicy") == 0)
                server_append_explanation(server, reply);
        assert(sd_bus_send(bus, reply, NULL) >= 0);
        sd_bus_message_unref(reply);
}

static _noreturn_ void server_run(Server *server, int fd) {
        sd_bus_message *m;
        sd_id128_t id;
        sd_bus *bus;
        int r;

        assert(sd_id128_randomize(&id) >= 0 && sd_bus_new(&bus) >= 0);
        assert(sd_bus_set_fd(bus, fd, fd) >= 0 && sd_bus_set_server(bus, 1, id) >= 0);
        assert(sd_bus_negotiate_fds(bus, 1) >= 0 && sd_bus_start(bus) >= 0);
        for (;;) {
                m = NULL;
                r = sd_bus_process(bus, &m);
                if (r < 0)
                        _exit(0); /* the client has gone */
                if (m && sd_bus_message_is_method_call(m, "org.fused1.Manager", NULL))
                        server_answer(server, bus, m);
                sd_bus_message_unref(m);
                if (r == 0 && sd_bus_wait(bus, 10 * USEC_PER_SEC) <= 0)
                        _exit(0);
        }
}

/* Returns the client's end. */
static int server_start(Server *server, pid_t *ret_pid) {
        int pair[2];

        assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
        (void) fflush(NULL);
        *ret_pid = fork();
        assert(*ret_pid >= 0);
        if (*ret_pid == 0) {
                (void) close(pair[0]);
                server_run(server, pair[1]);
        }
        (void) close(pair[1]);
        return pair[0];
}
