/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks of what goes over the fused channel. See channel.h. */

#include "wire/channel.h"

#include <string.h>

static bool tables_are_fine(const ChannelTable *tables, uint32_t n) {
        if (n > CHANNEL_TABLES_MAX)
                return false;
        for (uint32_t i = 0; i < n; i++)
                if (!memchr(tables[i].name, 0, sizeof tables[i].name))
                        return false;
        return true;
}

int channel_request_validate(const void *message, size_t size) {
        const ChannelRequest *request = message;

        if (size != sizeof *request || request->magic != CHANNEL_MAGIC || request->command >= _CHANNEL_COMMAND_MAX)
                return -EBADMSG;
        if (!memchr(request->name, 0, sizeof request->name) || !tables_are_fine(request->tables, request->n_tables))
                return -EBADMSG;
        return 0;
}

int channel_reply_validate(const void *message, size_t size) {
        const ChannelReply *reply = message;

        if (size != sizeof *reply || reply->magic != CHANNEL_MAGIC || reply->command >= _CHANNEL_COMMAND_MAX || reply->error > 0)
                return -EBADMSG;
        return tables_are_fine(reply->tables, reply->n_tables) ? 0 : -EBADMSG;
}
