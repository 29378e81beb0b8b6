/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The server's half of libfuse's service protocol for tests: raw packets, byte by byte from the protocol's description and not
 * through our own codec. */

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"

typedef struct Packet {
        uint8_t data[70000];
        size_t size;
} Packet;

static inline void packet_u32(Packet *p, uint32_t value) {
        uint32_t be = htonl(value);

        memcpy(p->data + p->size, &be, 4);
        p->size += 4;
}

static inline void packet_u16(Packet *p, uint16_t value) {
        uint16_t be = htons(value);

        memcpy(p->data + p->size, &be, 2);
        p->size += 2;
}

static inline void packet_start(Packet *p, const char *magic) {
        memcpy(p->data, magic, 4);
        p->size = 4;
}

static inline void packet_text(Packet *p, const char *text) {
        memcpy(p->data + p->size, text, strlen(text) + 1);
        p->size += strlen(text) + 1;
}

static inline Packet *packet_hello(Packet *p, uint16_t version) {
        packet_start(p, "LAST");
        packet_u16(p, version);
        packet_u16(p, 0);
        return p;
}

static inline Packet *packet_number(Packet *p, const char *magic, uint32_t value) { /* TYPE, DOIT, BYEE */
        packet_start(p, magic);
        packet_u32(p, value);
        return p;
}

static inline Packet *packet_string(Packet *p, const char *magic, const char *text) { /* NAME, OPTS, MTAB */
        packet_start(p, magic);
        packet_text(p, text);
        return p;
}

static inline Packet *packet_open(Packet *p, const char *magic, uint32_t flags, const char *path) { /* OPEN, BDEV */
        packet_start(p, magic);
        packet_u32(p, flags);
        packet_u32(p, 0);
        packet_u32(p, 0);
        packet_u32(p, 0);
        packet_text(p, path);
        return p;
}

static inline Packet *packet_mountpoint(Packet *p, uint16_t format, const char *path) {
        packet_start(p, "MNTP");
        packet_u16(p, format);
        packet_u16(p, 0);
        packet_text(p, path);
        return p;
}

static inline int packet_send(int fd, const Packet *p) {
        return fd_send(fd, p->data, p->size, NULL, 0);
}
