/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a server says over its second channel, and what comes back: what is let through must be safe to use without another look. */

#include <string.h>

#include "wire/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tables(const ChannelTable *tables, uint32_t n) {
        assert(n <= CHANNEL_TABLES_MAX);
        for (uint32_t i = 0; i < n; i++)
                assert(strnlen(tables[i].name, sizeof tables[i].name) < sizeof tables[i].name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static union {
                ChannelRequest request;
                ChannelReply reply;
        } message;

        memset(&message, 0xaa, sizeof message); /* nothing may be read behind the end */
        memcpy(&message, data, MIN_OF(size, sizeof message));
        if (size > sizeof message)
                return 0;
        if (channel_request_validate(&message, size) == 0) {
                const ChannelRequest *request = &message.request;
                assert(size == sizeof *request && request->command < _CHANNEL_COMMAND_MAX);
                assert(strnlen(request->name, sizeof request->name) < sizeof request->name);
                check_tables(request->tables, request->n_tables);
        }
        if (channel_reply_validate(&message, size) == 0) {
                const ChannelReply *reply = &message.reply;
                assert(size == sizeof *reply && reply->command < _CHANNEL_COMMAND_MAX && reply->error <= 0);
                check_tables(reply->tables, reply->n_tables);
        }
        return 0;
}
