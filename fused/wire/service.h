/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The packets of libfuse's service protocol (libfuse >= 3.19, lib/fuse_service.c and util/mount_service.c), both directions.
 * Pure functions: bytes in, values out. One SOCK_SEQPACKET packet is one message; all integers are big-endian; the first four
 * bytes are a magic of four letters; strings end with a NUL that is the packet's last byte. Numbers that the kernel defines
 * (open flags, MS_*, errno) travel as the host's values.
 *
 * H is the mount helper (here: fused), S the server. */

#include "base/macro.h"

#define SERVICE_VERSION 1U
#define SERVICE_PACKET_MAX 65536U  /* H accepts 4 to this many bytes */
#define SERVICE_PATH_MAX 4096U     /* with the NUL */
#define SERVICE_HELLO_SIZE 12U
#define SERVICE_HELLO_REPLY_SIZE 8U
#define SERVICE_REPLY_SIZE 8U
#define SERVICE_FILE_MAX (8U + SERVICE_PATH_MAX)
#define SERVICE_OPEN_MAX (20U + SERVICE_PATH_MAX)
#define SERVICE_ARGV_MAX (1U << 20) /* of the memfd, as a reader accepts it */
#define SERVICE_ARGV_WORDS_MAX 1024U

typedef enum ServiceHelloFlags {
        SERVICE_HELLO_ALLOW_OTHER = 1 << 0, /* H would accept allow_other */
        SERVICE_HELLO_FUSEBLK = 1 << 1,     /* H would accept fuseblk */
        _SERVICE_HELLO_ALL = 3,
} ServiceHelloFlags;

#define SERVICE_OPEN_QUIET 1U    /* request_flags of OPEN and BDEV: no diagnostics */
#define SERVICE_FSOPEN_FUSEBLK 1U

typedef enum ServiceCommand {
        SERVICE_COMMAND_OPEN,
        SERVICE_COMMAND_BDEV,
        SERVICE_COMMAND_FSOPEN,
        SERVICE_COMMAND_SOURCE,
        SERVICE_COMMAND_OPTS,
        SERVICE_COMMAND_MNTPT,
        SERVICE_COMMAND_MTAB,
        SERVICE_COMMAND_MOUNT,
        SERVICE_COMMAND_BYE,
        _SERVICE_COMMAND_MAX,
} ServiceCommand;

typedef struct ServicePacket {
        ServiceCommand command;
        const char *string;      /* borrowed from the packet: path, source, options; NULL for commands without */
        uint32_t open_flags;     /* OPEN, BDEV */
        uint32_t create_mode;
        uint32_t request_flags;
        uint32_t block_size;     /* BDEV */
        uint32_t fsopen_flags;   /* FSOPEN */
        uint32_t expected_format;/* MNTPT: 0, S_IFDIR, S_IFREG, or whatever the server sent */
        uint32_t ms_flags;       /* MOUNT */
        uint32_t exit_code;      /* BYE */
} ServicePacket;

/* ---- H's side ------------------------------------------------------------------------------------------------------- */

/* The builders return the packet's size, or 0 if it does not fit into size bytes. */
size_t service_build_hello(void *packet, size_t size, uint16_t min_version, uint16_t max_version, uint32_t flags);
size_t service_build_file(void *packet, size_t size, uint32_t error, const char *path);
size_t service_build_reply(void *packet, size_t size, uint32_t error);
/* 0 or -EBADMSG: size, magic, version 1, padding. */
int service_parse_hello_reply(const void *packet, size_t size) _must_check_;
/* A command of S. 0; -EINVAL for a known command that is malformed (*ret has the command and nothing else); -EBADMSG for a
 * magic that is none of the protocol's. Values are not judged. */
int service_packet_parse(const void *packet, size_t size, ServicePacket *ret) _must_check_;
/* The memfd that carries the command line. */
size_t service_argv_size(const char *const *words, size_t n);
void service_build_argv(void *image, size_t size, const char *const *words, size_t n); /* size from service_argv_size() */

/* ---- S's side ------------------------------------------------------------------------------------------------------- */

/* 0; -EBADMSG (size, magic); -EOPNOTSUPP (versions); -EINVAL (a flag that version 1 does not know). */
int service_parse_hello(const void *packet, size_t size, uint32_t *ret_flags) _must_check_;
/* A FILE packet for this path: 0 and *ret_error (0 or errno), or -EBADMSG. */
int service_parse_file(const void *packet, size_t size, const char *path, uint32_t *ret_error) _must_check_;
int service_parse_reply(const void *packet, size_t size, uint32_t *ret_error) _must_check_;
size_t service_build_hello_reply(void *packet, size_t size, uint16_t version);
/* Any command; fields that the command does not have are ignored. */
size_t service_build_command(void *packet, size_t size, const ServicePacket *command);
/* Entry i of an argv image as a borrowed string. 0, -ENOENT past the last, -EBADMSG for a bad image. */
int service_argv_word(const void *image, size_t size, size_t i, const char **ret) _must_check_;
