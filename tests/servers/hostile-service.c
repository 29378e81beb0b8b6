/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A server of hand-over service that misbehaves: hostile-service BEHAVIOUR. --list prints the behaviours. It speaks raw packets
 * by itself: a library would not let it be wrong. */

#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "base/fd.h"
#include "mini-fuse.h"

#define CONVERSATION 3
#define PACKET_MAX 70000

typedef enum Step { /* in the order of a good conversation */
        STEP_HELLO,
        STEP_OPEN,
        STEP_TYPE,
        STEP_NAME,
        STEP_MNTP,
        STEP_OPTS,
        STEP_DOIT,
        STEP_BYE,
        STEP_SERVE,
        _STEP_MAX,
} Step;

typedef enum Wrong { /* what is done instead of, or in, a step */
        WRONG_NOTHING,
        WRONG_SILENT,
        WRONG_EXIT,
        WRONG_CRASH,
        WRONG_MAGIC,
        WRONG_SHORT,
        WRONG_LONG,
        WRONG_REPEAT,
        WRONG_HUGE,
        WRONG_FD,
        WRONG_NO_NUL,
        WRONG_EMPTY,
        WRONG_FLOOD,
        WRONG_SKIP,
        WRONG_FIRST, /* instead of everything before it */
} Wrong;

typedef struct Behaviour {
        const char *name;
        Step step;
        Wrong wrong;
        /* other words for good packets; NULL or 0: the good ones */
        const char *path, *fsname, *mountpoint, *options;
        uint32_t open_flags, ms_flags, bye, format;
        bool has_ms_flags;
        MiniFuse serve;
        bool flood_stderr;
} Behaviour;

#define MS(flags) .has_ms_flags = true, .ms_flags = flags
static const Behaviour behaviours[] = {
        {"good"},
        {"flood-stderr", .flood_stderr = true},
        {"silent:HELLO", STEP_HELLO, WRONG_SILENT}, {"silent:OPEN", STEP_OPEN, WRONG_SILENT}, {"silent:TYPE", STEP_TYPE, WRONG_SILENT},
        {"silent:NAME", STEP_NAME, WRONG_SILENT}, {"silent:MNTP", STEP_MNTP, WRONG_SILENT}, {"silent:DOIT", STEP_DOIT, WRONG_SILENT},
        {"silent:SERVE", STEP_SERVE, WRONG_SILENT},
        {"exit:HELLO", STEP_HELLO, WRONG_EXIT}, {"exit:OPEN", STEP_OPEN, WRONG_EXIT}, {"exit:TYPE", STEP_TYPE, WRONG_EXIT},
        {"exit:NAME", STEP_NAME, WRONG_EXIT}, {"exit:MNTP", STEP_MNTP, WRONG_EXIT}, {"exit:DOIT", STEP_DOIT, WRONG_EXIT},
        {"exit:BYE", STEP_BYE, WRONG_EXIT}, {"exit:SERVE", STEP_SERVE, WRONG_EXIT},
        {"crash:HELLO", STEP_HELLO, WRONG_CRASH}, {"crash:OPEN", STEP_OPEN, WRONG_CRASH}, {"crash:DOIT", STEP_DOIT, WRONG_CRASH},
        {"crash:SERVE", STEP_SERVE, WRONG_CRASH},
        {"magic:HELLO", STEP_HELLO, WRONG_MAGIC}, {"magic:OPEN", STEP_OPEN, WRONG_MAGIC}, {"magic:TYPE", STEP_TYPE, WRONG_MAGIC},
        {"magic:DOIT", STEP_DOIT, WRONG_MAGIC},
        {"short:HELLO", STEP_HELLO, WRONG_SHORT}, {"short:OPEN", STEP_OPEN, WRONG_SHORT}, {"short:TYPE", STEP_TYPE, WRONG_SHORT},
        {"short:NAME", STEP_NAME, WRONG_SHORT}, {"short:MNTP", STEP_MNTP, WRONG_SHORT}, {"short:DOIT", STEP_DOIT, WRONG_SHORT},
        {"long:HELLO", STEP_HELLO, WRONG_LONG}, {"long:TYPE", STEP_TYPE, WRONG_LONG}, {"long:DOIT", STEP_DOIT, WRONG_LONG},
        {"huge:OPEN", STEP_OPEN, WRONG_HUGE}, {"huge:NAME", STEP_NAME, WRONG_HUGE},
        {"repeat:HELLO", STEP_HELLO, WRONG_REPEAT}, {"repeat:TYPE", STEP_TYPE, WRONG_REPEAT}, {"repeat:NAME", STEP_NAME, WRONG_REPEAT},
        {"repeat:MNTP", STEP_MNTP, WRONG_REPEAT}, {"repeat:OPTS", STEP_OPTS, WRONG_REPEAT},
        {"skip:HELLO", STEP_HELLO, WRONG_SKIP}, {"skip:TYPE", STEP_TYPE, WRONG_SKIP}, {"skip:NAME", STEP_NAME, WRONG_SKIP},
        {"skip:MNTP", STEP_MNTP, WRONG_SKIP},
        {"first:DOIT", STEP_DOIT, WRONG_FIRST}, {"first:NAME", STEP_NAME, WRONG_FIRST}, {"first:BYE", STEP_BYE, WRONG_FIRST},
        {"no-nul:OPEN", STEP_OPEN, WRONG_NO_NUL}, {"no-nul:NAME", STEP_NAME, WRONG_NO_NUL}, {"empty:NAME", STEP_NAME, WRONG_EMPTY},
        {"empty-packet", STEP_TYPE, WRONG_EMPTY},
        {"send-fd:HELLO", STEP_HELLO, WRONG_FD}, {"send-fd:OPEN", STEP_OPEN, WRONG_FD}, {"send-fd:DOIT", STEP_DOIT, WRONG_FD},
        {"flood-packets", STEP_OPEN, WRONG_FLOOD},
        {"path:/etc/shadow", .path = "/etc/shadow"}, {"path:dotdot", .path = "/slots/../etc/shadow"}, {"path:device", .path = "/dev/sda"},
        {"path:fused", .path = "fused"}, {"path:empty-slot", .path = "/slots/journal"},
        {"flags:O_CREAT", .open_flags = O_RDWR | O_CREAT}, {"flags:O_TRUNC", .open_flags = O_RDWR | O_TRUNC}, {"flags:O_PATH", .open_flags = O_PATH},
        {"ms:suid", MS(MS_NODEV)}, {"ms:dev", MS(MS_NOSUID)}, {"ms:none", MS(0)}, {"ms:bind", MS(MS_NOSUID | MS_NODEV | MS_BIND)},
        {"ms:remount", MS(MS_NOSUID | MS_NODEV | MS_REMOUNT)}, {"ms:0x80000000", MS(0x80000000U | MS_NOSUID | MS_NODEV)},
        {"opts:allow_other", .options = "allow_other"}, {"opts:fd", .options = "fd=0"}, {"opts:user_id", .options = "default_permissions,user_id=0"},
        {"opts:context", .options = "context=system_u:object_r:etc_t"}, {"opts:empty-word", .options = "default_permissions,,"},
        {"source:space", .fsname = "a b"}, {"source:newline", .fsname = "x\n/dev/sda / ext4"},
        {"mountpoint:/etc", .mountpoint = "/etc"}, {"mountpoint:slot", .mountpoint = "/slots/source"}, {"format:file", .format = S_IFREG},
        {"format:socket", .format = S_IFSOCK},
        {"bye:1", .bye = 1}, {"bye:256", .bye = 256},
        {"no-init", .serve = MINI_NEVER_INIT}, {"ignore-init", .serve = MINI_IGNORE_INIT}, {"bad-init", .serve = MINI_INIT_ERROR},
        {"short-init", .serve = MINI_INIT_SHORT}, {"old-init", .serve = MINI_INIT_OLD},
        {"hang-after-init", .serve = MINI_HANG},
};

typedef struct Packet {
        char bytes[PACKET_MAX];
        size_t size;
} Packet;

static void put(Packet *packet, const void *data, size_t size) {
        memcpy(packet->bytes + packet->size, data, size);
        packet->size += size;
}

static void put32(Packet *packet, uint32_t value) {
        value = htobe32(value);
        put(packet, &value, sizeof value);
}

static void put16(Packet *packet, uint16_t value) {
        value = htobe16(value);
        put(packet, &value, sizeof value);
}

static void build(const Behaviour *b, Step step, Packet *packet) {
        static const char magics[_STEP_MAX][5] = {"LAST", "OPEN", "TYPE", "NAME", "MNTP", "OPTS", "DOIT", "BYEE", ""};
        const char *strings[_STEP_MAX] = {
                [STEP_OPEN] = b->path ? b->path : "/slots/source",
                [STEP_NAME] = b->fsname ? b->fsname : "hostile",
                [STEP_MNTP] = b->mountpoint ? b->mountpoint : "/mnt",
                [STEP_OPTS] = b->options ? b->options : "default_permissions",
        };
        const uint32_t words[_STEP_MAX] = {
                [STEP_OPEN] = b->open_flags ? b->open_flags : O_RDWR,
                [STEP_DOIT] = b->has_ms_flags ? b->ms_flags : MS_NOSUID | MS_NODEV,
                [STEP_BYE] = b->bye,
        };

        packet->size = 0;
        put(packet, magics[step], 4);
        if (step == STEP_HELLO) {
                put16(packet, 1);
                put16(packet, 0);
        } else if (step == STEP_MNTP) {
                put16(packet, (uint16_t) (b->format ? b->format : S_IFDIR));
                put16(packet, 0);
        } else if (step == STEP_OPEN || step == STEP_TYPE || step == STEP_DOIT || step == STEP_BYE)
                put32(packet, words[step]);
        if (step == STEP_OPEN)
                for (unsigned i = 0; i < 3; i++)
                        put32(packet, 0);
        if (strings[step])
                put(packet, strings[step], strlen(strings[step]) + 1);
}

static void spoil(const Behaviour *b, Step step, Packet *packet) {
        if (step != b->step)
                return;
        if (b->wrong == WRONG_MAGIC)
                memcpy(packet->bytes, "EVIL", 4);
        else if (b->wrong == WRONG_SHORT)
                packet->size = 6;
        else if (b->wrong == WRONG_LONG)
                put(packet, "xxxx", 4);
        else if (b->wrong == WRONG_HUGE) {
                memset(packet->bytes + packet->size - 1, 'x', 65536);
                packet->size = 65540;
        } else if (b->wrong == WRONG_NO_NUL)
                packet->bytes[packet->size - 1] = 'x';
        else if (b->wrong == WRONG_EMPTY)
                packet->size = step == STEP_NAME ? 5 : 0;
}

static void transmit(const Behaviour *b, Step step, const Packet *packet) {
        int fd = STDIN_FILENO;
        bool with_fd = step == b->step && b->wrong == WRONG_FD;
        unsigned n = step == b->step && b->wrong == WRONG_FLOOD ? 1000 : step == b->step && b->wrong == WRONG_REPEAT ? 2 : 1;

        if (packet->size == 0 && step == b->step && b->wrong == WRONG_EMPTY) {
                (void) send(CONVERSATION, "", 0, MSG_NOSIGNAL | MSG_EOR);
                return;
        }
        for (unsigned i = 0; i < n; i++) {
                int r = fd_send(CONVERSATION, packet->bytes, packet->size, &fd, with_fd ? 1 : 0);
                if (r < 0) {
                        fprintf(stderr, "send: %s\n", strerror(-r));
                        _exit(3);
                }
        }
}

static uint32_t error_of(const char *packet, ssize_t n) {
        uint32_t error;

        if (n < 8)
                return 0;
        memcpy(&error, packet + 4, sizeof error);
        return be32toh(error);
}

/* Waits for what H sends; a refusal of anything but a file ends the server, as it would a real one. */
static void await(const char *what, bool may_fail, int *ret_fd) {
        static char packet[PACKET_MAX];
        int fd = -EBADF;
        ssize_t n;

        n = fd_receive(CONVERSATION, packet, sizeof packet, &fd, 1, NULL, 0);
        if (n <= 0) {
                fprintf(stderr, "%s: %s\n", what, n == 0 ? "the other side hung up" : strerror((int) -n));
                _exit(4);
        }
        if (error_of(packet, n) != 0 && strcmp(what, "hello") != 0) {
                fprintf(stderr, "%s: refused: %s\n", what, strerror((int) error_of(packet, n)));
                if (!may_fail)
                        _exit(5);
        }
        if (ret_fd)
                *ret_fd = fd;
        else
                (void) fd_close(fd);
}

static void before(const Behaviour *b, Step step) {
        if (step != b->step)
                return;
        while (b->wrong == WRONG_SILENT)
                pause();
        if (b->wrong == WRONG_EXIT) {
                fprintf(stderr, "no more\n");
                _exit(9);
        }
        if (b->wrong == WRONG_CRASH)
                mini_crash();
}

static int converse(const Behaviour *b) {
        static const char *const names[_STEP_MAX] = {"HELLO", "OPEN", "TYPE", "NAME", "MNTP", "OPTS", "DOIT", "BYE", "SERVE"};
        static Packet packet;
        int device = -EBADF;

        await("hello", false, NULL);
        for (Step step = STEP_HELLO; step < STEP_SERVE; step++) {
                if (b->wrong == WRONG_FIRST && step < b->step && step != STEP_HELLO)
                        continue;
                before(b, step);
                if (step == b->step && b->wrong == WRONG_SKIP)
                        continue;
                build(b, step, &packet);
                spoil(b, step, &packet);
                transmit(b, step, &packet);
                if (step == STEP_BYE)
                        break;
                if (step == STEP_HELLO) {
                        await("argv", false, NULL);
                        await("fusedev", false, &device);
                } else
                        await(names[step], step == STEP_OPEN && b->step != STEP_OPEN, NULL); /* a real one goes on without a file */
                if (step == b->step && b->wrong == WRONG_REPEAT && step != STEP_HELLO)
                        await("repeated", false, NULL);
        }
        (void) shutdown(CONVERSATION, SHUT_RDWR);
        (void) fd_close(CONVERSATION);
        before(b, STEP_SERVE);
        if (b->bye % 256 != 0 || b->bye == 256)
                return 1;
        return mini_fuse_serve(device, b->serve);
}

int main(int argc, char **argv) {
        if (argc == 2 && strcmp(argv[1], "--list") == 0) {
                for (size_t i = 0; i < ELEMENTSOF(behaviours); i++)
                        puts(behaviours[i].name);
                return 0;
        }
        for (size_t i = 0; argc >= 2 && i < ELEMENTSOF(behaviours); i++)
                if (strcmp(argv[1], behaviours[i].name) == 0) {
                        if (behaviours[i].flood_stderr)
                                mini_flood_stderr();
                        return converse(&behaviours[i]);
                }
        fprintf(stderr, "hostile-service: no such behaviour\n");
        return 2;
}
