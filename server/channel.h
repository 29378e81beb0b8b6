/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The server's end of the fused channel (wire/channel.h). One thread at a time per call, calls are serialized inside. Each waits at most
 * FUSE_SERVICE_TIMEOUT_SEC. Descriptors returned are the caller's; those given are borrowed. */

#include "fused-server.h"
#include "wire/channel.h"

typedef struct Channel Channel;

/* Asks the helper for it. Before fuse_service_finish_file_requests(). -EOPNOTSUPP: the helper has none. */
int channel_new(struct fuse_service *sf, Channel **ret) _must_check_;
Channel *channel_free(Channel *channel);

int channel_clone(Channel *channel, int *ret_fd) _must_check_;
int channel_backing_open(Channel *channel, int fd, ChannelBacking kind, uint32_t *ret_id) _must_check_;
int channel_backing_close(Channel *channel, uint32_t id) _must_check_;
/* tables: asked for, and what came of it. fds: the program's, then one for each table. */
int channel_program(Channel *channel, const char *name, ChannelTable *tables, size_t n_tables, int *ret_fds) _must_check_;
/* What tells that memory is short, in the order of enum ChannelPressure's bits; -EBADF where there is none. The caller's. */
int channel_pressure(Channel *channel, int ret_fds[CHANNEL_PRESSURE_N]) _must_check_;
int channel_program_attach(Channel *channel) _must_check_;
/* Makes the shared page and offers it; the channel's, freed with it. Without a channel (NULL) it is private memory. */
int channel_statistics(Channel *channel, ChannelStatistics **ret) _must_check_;
