/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The server's end of the fused channel. See channel.h. */

#define FUSE_USE_VERSION 312
#include "channel.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fd.h"

#define CHANNEL_PATH "fused"

struct Channel {
        int socket_fd; /* owned */
        int files_fd;  /* owned: where backing files go; negative: none yet */
        bool no_files; /* nor will there be */
        uint64_t serial;
        pthread_mutex_t lock; /* one request at a time */
        ChannelStatistics *statistics; /* owned mapping */
};

int channel_new(struct fuse_service *sf, Channel **ret) {
        const struct timeval limit = {.tv_sec = FUSE_SERVICE_TIMEOUT_SEC};
        _cleanup_fd_ int fd = -EBADF;
        Channel *channel;
        int r;

        r = fuse_service_request_file(sf, CHANNEL_PATH, O_RDWR, 0, FUSE_SERVICE_REQUEST_FILE_QUIET);
        if (r >= 0)
                r = fuse_service_receive_file(sf, CHANNEL_PATH, &fd);
        if (r < 0)
                return r;
        if (fd < 0)
                return -EOPNOTSUPP;
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
                return -errno;
        channel = calloc(1, sizeof *channel);
        if (!channel)
                return -ENOMEM;
        *channel = (Channel){.socket_fd = TAKE_FD(fd), .files_fd = -EBADF};
        (void) pthread_mutex_init(&channel->lock, NULL);
        *ret = channel;
        return 0;
}

Channel *channel_free(Channel *channel) {
        if (!channel)
                return NULL;
        if (channel->statistics)
                (void) munmap(channel->statistics, sizeof *channel->statistics);
        (void) fd_close(channel->socket_fd);
        (void) fd_close(channel->files_fd);
        (void) pthread_mutex_destroy(&channel->lock);
        free(channel);
        return NULL;
}

/* fd: a file that the request is about, sent ahead of it over its own socket; borrowed, negative: none. fds: exactly n_fds come with a success, or at
 * most n_fds if ret_n is given. */
static int exchange(Channel *channel, ChannelRequest *request, int fd, ChannelReply *reply, int *fds, size_t n_fds, size_t *ret_n) {
        size_t n_got = 0;
        ssize_t n;
        int r;

        request->magic = CHANNEL_MAGIC;
        request->serial = ++channel->serial;
        r = fd >= 0 ? fd_send(channel->files_fd, &request->serial, sizeof request->serial, &fd, 1) : 0;
        if (r < 0) /* -EAGAIN: nobody takes them any more */
                return r == -EAGAIN ? -ENOBUFS : r;
        r = fd_send(channel->socket_fd, request, sizeof *request, NULL, 0);
        if (r < 0)
                return r == -EAGAIN ? -ETIMEDOUT : r;
        do /* an answer that came too late for its question is not the answer to this one */
                n = fd_receive(channel->socket_fd, reply, sizeof *reply, fds, n_fds, &n_got, 0);
        while (n == (ssize_t) sizeof *reply && reply->serial < request->serial && (fd_close_many(fds, n_got), true));
        if (n < 0)
                return n == -EAGAIN ? -ETIMEDOUT : (int) n;
        r = n == 0 ? -ECONNRESET : channel_reply_validate(reply, (size_t) n);
        if (r >= 0 && (reply->serial != request->serial || reply->command != request->command))
                r = -EBADMSG;
        if (r >= 0)
                r = reply->error;
        if (r >= 0 && !ret_n && n_got != n_fds)
                r = -EBADMSG;
        if (r < 0)
                fd_close_many(fds, n_got);
        else if (ret_n)
                *ret_n = n_got;
        return r;
}

static int call_some(Channel *channel, ChannelRequest *request, ChannelReply *reply, int *fds, size_t n_fds, size_t *ret_n) {
        int r;

        if (!channel)
                return -EOPNOTSUPP;
        (void) pthread_mutex_lock(&channel->lock);
        r = exchange(channel, request, -EBADF, reply, fds, n_fds, ret_n);
        (void) pthread_mutex_unlock(&channel->lock);
        return r;
}

static int call(Channel *channel, ChannelRequest *request, ChannelReply *reply, int *fds, size_t n_fds) {
        return call_some(channel, request, reply, fds, n_fds, NULL);
}

int channel_clone(Channel *channel, int *ret_fd) {
        ChannelRequest request = {.command = CHANNEL_CLONE};
        ChannelReply reply;

        return call(channel, &request, &reply, ret_fd, 1);
}

/* Under the lock. Asked for once. */
static int open_files_socket(Channel *channel) {
        ChannelRequest request = {.command = CHANNEL_BACKING_SOCKET};
        ChannelReply reply;
        int r;

        if (channel->files_fd >= 0)
                return 0;
        if (channel->no_files)
                return -EOPNOTSUPP;
        channel->no_files = true;
        r = exchange(channel, &request, -EBADF, &reply, &channel->files_fd, 1, NULL);
        if (r < 0)
                channel->files_fd = -EBADF;
        return r;
}

int channel_backing_open(Channel *channel, int fd, ChannelBacking kind, uint32_t *ret_id) {
        ChannelRequest request = {.command = CHANNEL_BACKING_OPEN, .value = kind};
        ChannelReply reply;
        int r;

        if (!channel)
                return -EOPNOTSUPP;
        (void) pthread_mutex_lock(&channel->lock);
        r = open_files_socket(channel);
        if (r >= 0)
                r = exchange(channel, &request, fd, &reply, NULL, 0, NULL);
        (void) pthread_mutex_unlock(&channel->lock);
        if (r >= 0)
                *ret_id = reply.value;
        return r;
}

int channel_backing_close(Channel *channel, uint32_t id) {
        ChannelRequest request = {.command = CHANNEL_BACKING_CLOSE, .value = id};
        ChannelReply reply;

        return call(channel, &request, &reply, NULL, 0);
}

int channel_program(Channel *channel, const char *name, ChannelTable *tables, size_t n_tables, int *ret_fds) {
        ChannelRequest request = {.command = CHANNEL_PROGRAM, .n_tables = (uint32_t) n_tables};
        ChannelReply reply;
        int r;

        if (strlen(name) >= sizeof request.name || n_tables > CHANNEL_TABLES_MAX)
                return -EINVAL;
        (void) snprintf(request.name, sizeof request.name, "%s", name);
        memcpy(request.tables, tables, n_tables * sizeof *tables);
        r = call(channel, &request, &reply, ret_fds, 1 + n_tables);
        if (r >= 0)
                memcpy(tables, reply.tables, n_tables * sizeof *tables);
        return r;
}

int channel_program_attach(Channel *channel) {
        ChannelRequest request = {.command = CHANNEL_PROGRAM_ATTACH};
        ChannelReply reply;

        return call(channel, &request, &reply, NULL, 0);
}

int channel_pressure(Channel *channel, int ret_fds[CHANNEL_PRESSURE_N]) {
        ChannelRequest request = {.command = CHANNEL_PRESSURE};
        int fds[CHANNEL_PRESSURE_N];
        ChannelReply reply = {0};
        size_t n = 0, at = 0;
        int r;

        r = call_some(channel, &request, &reply, fds, CHANNEL_PRESSURE_N, &n);
        if (r >= 0 && n != (size_t) __builtin_popcount(reply.value & ((1U << CHANNEL_PRESSURE_N) - 1))) {
                fd_close_many(fds, n);
                r = -EBADMSG;
        }
        for (size_t i = 0; i < CHANNEL_PRESSURE_N; i++)
                ret_fds[i] = r >= 0 && reply.value & 1U << i ? fds[at++] : -EBADF;
        return r;
}

/* The supervisor makes it: it takes no descriptor from a server. */
int channel_statistics(Channel *channel, ChannelStatistics **ret) {
        ChannelRequest request = {.command = CHANNEL_STATISTICS};
        _cleanup_fd_ int fd = -EBADF;
        ChannelReply reply;
        void *page;
        int r;

        if (!channel) {
                *ret = calloc(1, sizeof **ret);
                return *ret ? 0 : -ENOMEM;
        }
        r = call(channel, &request, &reply, &fd, 1);
        if (r < 0)
                return r;
        page = mmap(NULL, sizeof **ret, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (page == MAP_FAILED)
                return -errno;
        channel->statistics = *ret = page;
        return 0;
}
