/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The manager's end of a server's second channel (wire/channel.h). What the server says here is untrusted; a message that breaks the rules
 * ends the channel and nothing else: the server goes on without. No descriptor is ever taken from a server. */

#include <systemd/sd-event.h>

#include "wire/channel.h"

typedef struct Channel Channel;

typedef struct ChannelHooks {
        /* A request that the broker has to see to. channel_done() follows, now or later. */
        void (*ask)(void *userdata, const ChannelRequest *request);
        /* It has ended, by the server or because of it. Not freed. */
        void (*ended)(void *userdata, const char *why); /* NULL: in good order */
} ChannelHooks;

/* Takes socket_fd over. */
int channel_new(sd_event *event, int socket_fd, const ChannelHooks *hooks, void *userdata, Channel **ret) _must_check_;
Channel *channel_free(Channel *channel);
/* The request that was asked about: error is told to the server; after a success the broker has answered already, or, if answer is set, value is
 * what is answered. */
void channel_done(Channel *channel, int error, bool answer, uint32_t value);
/* What the server counts, copied; false if it has not asked for the page. */
bool channel_statistics(const Channel *channel, ChannelStatistics *ret);

const char *channel_engine_to_string(uint32_t engine);
const char *channel_reason_to_string(uint32_t reason); /* "": none */
