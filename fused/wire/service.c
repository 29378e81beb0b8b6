/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The packets of libfuse's service protocol. See service.h. */

#include "wire/service.h"

#include <endian.h>
#include <string.h>

#define MAGIC(a, b, c, d) ((uint32_t) (a) << 24 | (uint32_t) (b) << 16 | (uint32_t) (c) << 8 | (uint32_t) (d))
#define MAGIC_HELLO MAGIC('S', 'A', 'F', 'T')
#define MAGIC_HELLO_REPLY MAGIC('L', 'A', 'S', 'T')
#define MAGIC_FILE MAGIC('F', 'I', 'L', 'E')
#define MAGIC_REPLY MAGIC('R', 'E', 'P', 'L')
#define MAGIC_ARGV MAGIC('A', 'R', 'G', 'S')

/*   command   4 bytes   fixed part (all big-endian)                                        string
 *   OPEN      "OPEN"    open_flags:4 create_mode:4 request_flags:4 block_size:4             path
 *   BDEV      "BDEV"    the same                                                            path
 *   FSOPEN    "TYPE"    flags:4                                                             -
 *   SOURCE    "NAME"    -                                                                   source
 *   OPTS      "OPTS"    -                                                                   options
 *   MNTPT     "MNTP"    expected_format:2 zero:2                                            path
 *   MTAB      "MTAB"    -                                                                   options
 *   MOUNT     "DOIT"    ms_flags:4                                                          -
 *   BYE       "BYEE"    exit_code:4                                                         -     */
static const struct {
        uint32_t magic;
        size_t fixed; /* with the magic */
        bool has_string;
} command_rows[_SERVICE_COMMAND_MAX] = {
        [SERVICE_COMMAND_OPEN] = {MAGIC('O', 'P', 'E', 'N'), 20, true},
        [SERVICE_COMMAND_BDEV] = {MAGIC('B', 'D', 'E', 'V'), 20, true},
        [SERVICE_COMMAND_FSOPEN] = {MAGIC('T', 'Y', 'P', 'E'), 8, false},
        [SERVICE_COMMAND_SOURCE] = {MAGIC('N', 'A', 'M', 'E'), 4, true},
        [SERVICE_COMMAND_OPTS] = {MAGIC('O', 'P', 'T', 'S'), 4, true},
        [SERVICE_COMMAND_MNTPT] = {MAGIC('M', 'N', 'T', 'P'), 8, true},
        [SERVICE_COMMAND_MTAB] = {MAGIC('M', 'T', 'A', 'B'), 4, true},
        [SERVICE_COMMAND_MOUNT] = {MAGIC('D', 'O', 'I', 'T'), 8, false},
        [SERVICE_COMMAND_BYE] = {MAGIC('B', 'Y', 'E', 'E'), 8, false},
};

static uint32_t get32(const void *packet, size_t offset) {
        uint32_t value;

        memcpy(&value, (const char *) packet + offset, sizeof value);
        return be32toh(value);
}

static uint16_t get16(const void *packet, size_t offset) {
        uint16_t value;

        memcpy(&value, (const char *) packet + offset, sizeof value);
        return be16toh(value);
}

static void put32(void *packet, size_t offset, uint32_t value) {
        value = htobe32(value);
        memcpy((char *) packet + offset, &value, sizeof value);
}

static void put16(void *packet, size_t offset, uint16_t value) {
        value = htobe16(value);
        memcpy((char *) packet + offset, &value, sizeof value);
}

/* ---- hello ---------------------------------------------------------------------------------------------------------- */

/* hello, 12 bytes: "SAFT" min_version:2 max_version:2 flags:4 */
size_t service_build_hello(void *packet, size_t size, uint16_t min_version, uint16_t max_version, uint32_t flags) {
        if (size < SERVICE_HELLO_SIZE)
                return 0;
        put32(packet, 0, MAGIC_HELLO);
        put16(packet, 4, min_version);
        put16(packet, 6, max_version);
        put32(packet, 8, flags);
        return SERVICE_HELLO_SIZE;
}

/* The order of the checks is libfuse's: a server tells versions that it does not speak from flags that it does not know. */
int service_parse_hello(const void *packet, size_t size, uint32_t *ret_flags) {
        uint16_t min, max;

        if (size != SERVICE_HELLO_SIZE || get32(packet, 0) != MAGIC_HELLO)
                return -EBADMSG;
        min = get16(packet, 4);
        max = get16(packet, 6);
        if (min > max || max < SERVICE_VERSION || min > SERVICE_VERSION)
                return -EOPNOTSUPP;
        if (get32(packet, 8) & ~(uint32_t) _SERVICE_HELLO_ALL)
                return -EINVAL;
        *ret_flags = get32(packet, 8);
        return 0;
}

/* its answer, 8 bytes: "LAST" version:2 zero:2 */
size_t service_build_hello_reply(void *packet, size_t size, uint16_t version) {
        if (size < SERVICE_HELLO_REPLY_SIZE)
                return 0;
        put32(packet, 0, MAGIC_HELLO_REPLY);
        put16(packet, 4, version);
        put16(packet, 6, 0);
        return SERVICE_HELLO_REPLY_SIZE;
}

int service_parse_hello_reply(const void *packet, size_t size) {
        if (size != SERVICE_HELLO_REPLY_SIZE || get32(packet, 0) != MAGIC_HELLO_REPLY || get16(packet, 4) != SERVICE_VERSION || get16(packet, 6) != 0)
                return -EBADMSG;
        return 0;
}

/* ---- replies -------------------------------------------------------------------------------------------------------- */

/* FILE: "FILE" error:4 path, with one descriptor beside it if error is 0 */
size_t service_build_file(void *packet, size_t size, uint32_t error, const char *path) {
        size_t length = strlen(path) + 1;

        if (size < 8 || length > size - 8)
                return 0;
        put32(packet, 0, MAGIC_FILE);
        put32(packet, 4, error);
        memcpy((char *) packet + 8, path, length);
        return 8 + length;
}

int service_parse_file(const void *packet, size_t size, const char *path, uint32_t *ret_error) {
        size_t length = strlen(path) + 1;

        if (size != 8 + length || get32(packet, 0) != MAGIC_FILE || memcmp((const char *) packet + 8, path, length) != 0)
                return -EBADMSG;
        *ret_error = get32(packet, 4);
        return 0;
}

/* simple reply, 8 bytes: "REPL" error:4 */
size_t service_build_reply(void *packet, size_t size, uint32_t error) {
        if (size < SERVICE_REPLY_SIZE)
                return 0;
        put32(packet, 0, MAGIC_REPLY);
        put32(packet, 4, error);
        return SERVICE_REPLY_SIZE;
}

int service_parse_reply(const void *packet, size_t size, uint32_t *ret_error) {
        if (size != SERVICE_REPLY_SIZE || get32(packet, 0) != MAGIC_REPLY)
                return -EBADMSG;
        *ret_error = get32(packet, 4);
        return 0;
}

/* ---- commands ------------------------------------------------------------------------------------------------------- */

static int command_of_magic(uint32_t magic) {
        for (int i = 0; i < _SERVICE_COMMAND_MAX; i++)
                if (command_rows[i].magic == magic)
                        return i;
        return -EBADMSG;
}

static void parse_fixed(const void *packet, ServicePacket *ret) {
        switch (ret->command) {
        case SERVICE_COMMAND_OPEN:
        case SERVICE_COMMAND_BDEV:
                ret->open_flags = get32(packet, 4);
                ret->create_mode = get32(packet, 8);
                ret->request_flags = get32(packet, 12);
                ret->block_size = get32(packet, 16);
                break;
        case SERVICE_COMMAND_FSOPEN:
                ret->fsopen_flags = get32(packet, 4);
                break;
        case SERVICE_COMMAND_MNTPT:
                ret->expected_format = get16(packet, 4);
                break;
        case SERVICE_COMMAND_MOUNT:
                ret->ms_flags = get32(packet, 4);
                break;
        case SERVICE_COMMAND_BYE:
                ret->exit_code = get32(packet, 4);
                break;
        case SERVICE_COMMAND_SOURCE:
        case SERVICE_COMMAND_OPTS:
        case SERVICE_COMMAND_MTAB:
        case _SERVICE_COMMAND_MAX:
                break;
        }
}

int service_packet_parse(const void *packet, size_t size, ServicePacket *ret) {
        const char *bytes = packet;
        int command;

        if (size < 4 || size > SERVICE_PACKET_MAX)
                return -EBADMSG;
        command = command_of_magic(get32(packet, 0));
        if (command < 0)
                return command;
        *ret = (ServicePacket){.command = (ServiceCommand) command};

        size_t fixed = command_rows[command].fixed;
        if (command_rows[command].has_string) {
                if (size < fixed + 2 || bytes[size - 1] != 0) /* at least one character and the NUL */
                        return -EINVAL;
        } else if (size != fixed)
                return -EINVAL;
        if (command == SERVICE_COMMAND_MNTPT && get16(packet, 6) != 0)
                return -EINVAL;
        parse_fixed(packet, ret);
        if (command_rows[command].has_string)
                ret->string = bytes + fixed;
        return 0;
}

size_t service_build_command(void *packet, size_t size, const ServicePacket *command) {
        size_t fixed = command_rows[command->command].fixed;
        size_t length = command_rows[command->command].has_string ? strlen(command->string) + 1 : 0;

        if (size < fixed || length > size - fixed)
                return 0;
        memset(packet, 0, fixed);
        put32(packet, 0, command_rows[command->command].magic);
        switch (command->command) {
        case SERVICE_COMMAND_OPEN:
        case SERVICE_COMMAND_BDEV:
                put32(packet, 4, command->open_flags);
                put32(packet, 8, command->create_mode);
                put32(packet, 12, command->request_flags);
                put32(packet, 16, command->block_size);
                break;
        case SERVICE_COMMAND_FSOPEN:
                put32(packet, 4, command->fsopen_flags);
                break;
        case SERVICE_COMMAND_MNTPT:
                put16(packet, 4, (uint16_t) command->expected_format);
                break;
        case SERVICE_COMMAND_MOUNT:
                put32(packet, 4, command->ms_flags);
                break;
        case SERVICE_COMMAND_BYE:
                put32(packet, 4, command->exit_code);
                break;
        case SERVICE_COMMAND_SOURCE:
        case SERVICE_COMMAND_OPTS:
        case SERVICE_COMMAND_MTAB:
        case _SERVICE_COMMAND_MAX:
                break;
        }
        if (length > 0)
                memcpy((char *) packet + fixed, command->string, length);
        return fixed + length;
}

/* ---- the argv memfd ------------------------------------------------------------------------------------------------- */

/*   0        "ARGS"
 *   4        n:4
 *   8 + 8i   offset:4 of word i, from the start
 *   12 + 8i  size:4 of word i, with its NUL
 *   ...      the words; a reader follows the offsets and does not take them to be adjacent */
size_t service_argv_size(const char *const *words, size_t n) {
        size_t size = 8 + 8 * n;

        for (size_t i = 0; i < n; i++)
                size += strlen(words[i]) + 1;
        return size;
}

void service_build_argv(void *image, size_t size, const char *const *words, size_t n) {
        size_t at = 8 + 8 * n;

        assert(size == service_argv_size(words, n));
        put32(image, 0, MAGIC_ARGV);
        put32(image, 4, (uint32_t) n);
        for (size_t i = 0; i < n; i++) {
                size_t length = strlen(words[i]) + 1;
                put32(image, 8 + 8 * i, (uint32_t) at);
                put32(image, 12 + 8 * i, (uint32_t) length);
                memcpy((char *) image + at, words[i], length);
                at += length;
        }
}

int service_argv_word(const void *image, size_t size, size_t i, const char **ret) {
        uint32_t n, at, length;

        if (size < 8 || size > SERVICE_ARGV_MAX || get32(image, 0) != MAGIC_ARGV)
                return -EBADMSG;
        n = get32(image, 4);
        if (n > SERVICE_ARGV_WORDS_MAX || 8 + 8 * (size_t) n > size)
                return -EBADMSG;
        if (i >= n)
                return -ENOENT;
        at = get32(image, 8 + 8 * i);
        length = get32(image, 12 + 8 * i);
        /* At its first NUL the word ends, wherever that is; it must have one. */
        if (length == 0 || at > size || length > size - at || !memchr((const char *) image + at, 0, length))
                return -EBADMSG;
        *ret = (const char *) image + at;
        return 0;
}
