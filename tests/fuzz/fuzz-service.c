/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The packets of the service protocol, from both sides. What is parsed and built again must be the same bytes. */

#include <string.h>

#include "wire/service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void helper_side(const uint8_t *data, size_t size) {
        static char again[SERVICE_PACKET_MAX];
        ServicePacket packet;

        (void) service_parse_hello_reply(data, size);
        if (service_packet_parse(data, size, &packet) < 0)
                return;
        assert(size >= 4 && size <= SERVICE_PACKET_MAX);
        if (packet.string) /* an embedded NUL ends it for every reader */
                assert(packet.string > (const char *) data && packet.string + strlen(packet.string) < (const char *) data + size);
        size_t n = service_build_command(again, sizeof again, &packet);
        assert(n > 0 && n <= size);
        if (n == size && packet.command != SERVICE_COMMAND_MNTPT)
                assert(memcmp(again, data, size) == 0);
}

static void server_side(const uint8_t *data, size_t size) {
        const char *word;
        uint32_t value;

        if (service_parse_hello(data, size, &value) == 0)
                assert(!(value & ~(uint32_t) _SERVICE_HELLO_ALL));
        (void) service_parse_file(data, size, "argv", &value);
        (void) service_parse_reply(data, size, &value);
        for (size_t i = 0; i < SERVICE_ARGV_WORDS_MAX && service_argv_word(data, size, i, &word) == 0; i++)
                assert((const uint8_t *) word + strlen(word) < data + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        helper_side(data, size);
        server_side(data, size);
        return 0;
}
