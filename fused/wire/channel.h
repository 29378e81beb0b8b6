/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The second channel between a server and fused, for what libfuse's service protocol has no words for. A server gets it by
 * opening the path "fused" (hand-over service); another mount helper has none. One SOCK_SEQPACKET pair: the server has one end, the
 * manager reads the other, the broker keeps a copy of that end for answers that carry descriptors the manager must not have. One
 * request at a time; each is answered exactly once. The server sends no descriptors here: closing a file of a hostile file
 * system may take for ever. Host byte order: both ends are one machine. Sizes and numbers of
 * descriptors are exact; anything else ends the channel, and not the mount. */

#include "base/macro.h"

#define CHANNEL_MAGIC 0x43460001U /* the low half is the version */
#define CHANNEL_TABLES_MAX 8
#define CHANNEL_NAME_MAX 32

typedef enum ChannelCommand {
        CHANNEL_CLONE,         /* another descriptor of the FUSE device. Reply fds: it. -ENFILE: no more for this type */
        CHANNEL_STATISTICS,    /* Reply fds: a sealed memfd of sizeof(ChannelStatistics), which the server writes to from then on */
        CHANNEL_BACKING_OPEN,  /* value: enum ChannelBacking. Reply value: the kernel's id. The file has been sent over the socket of
                                * BACKING_SOCKET before, in a message of this request's serial (8 bytes) and the one descriptor */
        CHANNEL_BACKING_CLOSE, /* value: the id */
        CHANNEL_PROGRAM,       /* load the program of that name with these tables. Reply fds: program, then each table in the order asked;
                                * value: 1 if the kernel has a form of it to bind to a connection. -EDQUOT: its tables are more than may be */
        CHANNEL_PROGRAM_ATTACH,/* bind that form of the program loaded last to this mount's connection, until its end (kernel engine). -ENOENT: none
                                * is loaded; -EPERM: name is another's (it may be empty); -EOPNOTSUPP: the kernel has no form; -EALREADY */
        CHANNEL_BACKING_SOCKET,/* Reply fds: a SOCK_SEQPACKET socket for files, whose other end only a worker of this mount has. -EALREADY: once */
        CHANNEL_PRESSURE,      /* Reply fds: what tells that memory is short; value: which, the sum of enum ChannelPressure, in the order of the
                                * bits. -EALREADY: once; -EOPNOTSUPP: the host tells nothing */
        _CHANNEL_COMMAND_MAX,
} ChannelCommand;

typedef enum ChannelBacking {
        CHANNEL_BACKING_PASSTHROUGH = 0, /* numbers of the kernel's struct fuse_backing_map */
        CHANNEL_BACKING_IOMAP = 1,
} ChannelBacking;

typedef enum ChannelPressure {
        CHANNEL_PRESSURE_MACHINE = 1 << 0, /* a trigger that is set (base/pressure.h), to be polled for POLLPRI */
        CHANNEL_PRESSURE_GROUP = 1 << 1,   /* likewise, of the server's cgroup */
        CHANNEL_PRESSURE_CURRENT = 1 << 2, /* bytes that this cgroup uses, as a text, for reading at offset 0 */
        CHANNEL_PRESSURE_LIMIT = 1 << 3,   /* that it may use, likewise; "max": no limit */
} ChannelPressure;
#define CHANNEL_PRESSURE_N 4U

typedef struct ChannelTable {
        char name[16];       /* of a BPF map, with the NUL */
        uint32_t n_entries;  /* asked for, 0: as in the object; reply: what it has */
        uint32_t entry_size; /* reply: bytes from entry to entry in its memory */
} ChannelTable;

typedef struct ChannelRequest {
        uint32_t magic;
        uint32_t command;
        uint64_t serial; /* echoed */
        uint32_t value;
        uint32_t n_tables; /* PROGRAM */
        char name[CHANNEL_NAME_MAX]; /* PROGRAM, PROGRAM_ATTACH: as in the policy, with the NUL */
        ChannelTable tables[CHANNEL_TABLES_MAX];
} ChannelRequest;

typedef struct ChannelReply {
        uint32_t magic;
        uint32_t command;
        uint64_t serial;
        int32_t error; /* 0 or negative errno */
        uint32_t value;
        uint32_t n_tables;
        uint32_t reserved;
        ChannelTable tables[CHANNEL_TABLES_MAX];
} ChannelReply;

typedef enum ChannelEngine {
        CHANNEL_ENGINE_NONE,   /* the server maps nothing */
        CHANNEL_ENGINE_USER,
        CHANNEL_ENGINE_KERNEL,
        _CHANNEL_ENGINE_MAX,
} ChannelEngine;

typedef enum ChannelEngineReason { /* why not the kernel's */
        CHANNEL_REASON_NONE,           /* it is the kernel's */
        CHANNEL_REASON_NO_IOMAP,       /* the kernel has no fuse-iomap */
        CHANNEL_REASON_SWITCHED_OFF,   /* it has, but it is switched off or not allowed */
        CHANNEL_REASON_NOT_DEVICES,    /* sources are no block devices */
        CHANNEL_REASON_BLOCK_SIZE,     /* blocks larger than a page, or of a size that the kernel cannot be told */
        CHANNEL_REASON_ASKED,          /* the server or the request wanted the user engine */
        CHANNEL_REASON_FAILED,         /* registering the devices failed */
        _CHANNEL_REASON_MAX,
} ChannelEngineReason;

#define CHANNEL_STATISTICS_MAGIC 0x73747366U

/* Counters in memory that server and manager share: the server writes (relaxed atomics), the manager reads and believes nothing:
 * numbers are shown, out-of-range enums are shown as unknown. */
typedef struct ChannelStatistics {
        uint32_t magic;
        uint32_t engine;  /* ChannelEngine */
        uint32_t reason;  /* ChannelEngineReason */
        uint32_t n_threads;
        uint64_t answered_by_cache;
        uint64_t answered_by_program;
        uint64_t answered_by_server;
        uint64_t bad_mappings;  /* refused, of program and server */
        uint64_t cache_bytes;
        uint64_t cache_limit;
        uint64_t cache_mappings;
        uint64_t cache_evicted; /* mappings */
        uint64_t bytes_read;    /* from devices, user engine */
        uint64_t bytes_written;
        uint64_t cache_shrunk;     /* times, because memory was short */
        uint64_t pressure_watched; /* ChannelPressure: what tells it */
        uint64_t reserved[2];
} ChannelStatistics;

/* 0, or -EBADMSG: magic, size, enums, terminated strings. Pure; fuzzed. */
int channel_request_validate(const void *message, size_t size) _must_check_;
int channel_reply_validate(const void *message, size_t size) _must_check_;
