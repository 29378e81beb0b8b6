/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See channel.h. One request at a time: while the broker is at it, nothing is read. */

#include "manager/channel.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

#define REQUESTS_MAX 400U /* in an interval; then it is not read until the next one */
#define INTERVAL_USEC (100 * USEC_PER_MSEC)

struct Channel {
        int fd; /* owned */
        sd_event_source *io; /* owned */
        const ChannelHooks *hooks;
        void *userdata;
        ChannelRequest request; /* the one that is on its way */
        bool busy, ended;
        uint32_t n_requests; /* since interval_usec, CLOCK_MONOTONIC */
        uint64_t interval_usec;
        sd_event_source *pause; /* owned: it has asked too often */
        ChannelStatistics *page; /* owned mapping: the server writes to it */
};

static void end(Channel *channel, const char *why) {
        if (channel->ended)
                return;
        channel->ended = true;
        channel->io = sd_event_source_disable_unref(channel->io);
        channel->pause = sd_event_source_disable_unref(channel->pause);
        channel->fd = fd_close(channel->fd);
        channel->hooks->ended(channel->userdata, why);
}

static void answer(Channel *channel, int error, uint32_t value, const int *fd) {
        const ChannelReply reply = {.magic = CHANNEL_MAGIC,
                                    .command = channel->request.command,
                                    .serial = channel->request.serial,
                                    .error = error,
                                    .value = value};
        int r;

        r = fd_send(channel->fd, &reply, sizeof reply, fd, fd ? 1 : 0);
        if (r < 0)
                end(channel, r == -EAGAIN ? "it does not read its answers" : NULL);
}

/* ---- the page of counters ------------------------------------------------------------------------------------------- */

/* Made here and not by the server, which then has nothing to send us; it cannot be made smaller under our eyes. */
static int make_page(Channel *channel, int *ret_fd) {
        const ChannelStatistics empty = {.magic = CHANNEL_STATISTICS_MAGIC};
        _cleanup_fd_ int fd = -EBADF;
        void *page;

        fd = RET_NERRNO(memfd_create("statistics", MFD_CLOEXEC | MFD_ALLOW_SEALING));
        if (fd < 0)
                return fd;
        ssize_t n = RET_NERRNO(write(fd, &empty, sizeof empty));
        if (n != (ssize_t) sizeof empty)
                return n < 0 ? (int) n : -EIO;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return -errno;
        page = mmap(NULL, sizeof *channel->page, PROT_READ, MAP_SHARED, fd, 0);
        if (page == MAP_FAILED)
                return -errno;
        channel->page = page;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

static void on_statistics(Channel *channel) {
        _cleanup_fd_ int fd = -EBADF;
        int r;

        r = channel->page ? -EALREADY : make_page(channel, &fd);
        answer(channel, r, 0, r < 0 ? NULL : &fd);
}

bool channel_statistics(const Channel *channel, ChannelStatistics *ret) {
        if (!channel || !channel->page)
                return false;
        memcpy(ret, channel->page, sizeof *ret); /* it may change meanwhile: they are numbers to look at */
        return true;
}

static const char *const engine_names[_CHANNEL_ENGINE_MAX] = {
        [CHANNEL_ENGINE_NONE] = "none",
        [CHANNEL_ENGINE_USER] = "user",
        [CHANNEL_ENGINE_KERNEL] = "kernel",
};

static const char *const reason_names[_CHANNEL_REASON_MAX] = {
        [CHANNEL_REASON_NONE] = "",
        [CHANNEL_REASON_NO_IOMAP] = "the kernel has no fuse-iomap",
        [CHANNEL_REASON_SWITCHED_OFF] = "fuse-iomap is switched off",
        [CHANNEL_REASON_NOT_DEVICES] = "sources are not block devices",
        [CHANNEL_REASON_BLOCK_SIZE] = "the kernel cannot map blocks of this size",
        [CHANNEL_REASON_ASKED] = "it was asked for",
        [CHANNEL_REASON_FAILED] = "registering the devices failed",
};

const char *channel_engine_to_string(uint32_t engine) {
        return engine < _CHANNEL_ENGINE_MAX ? engine_names[engine] : "unknown";
}

const char *channel_reason_to_string(uint32_t reason) {
        return reason < _CHANNEL_REASON_MAX ? reason_names[reason] : "unknown";
}

/* ---- requests ------------------------------------------------------------------------------------------------------- */

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata) {
        Channel *channel = userdata;

        channel->pause = sd_event_source_disable_unref(channel->pause);
        (void) sd_event_source_set_io_events(channel->io, channel->busy ? 0 : EPOLLIN);
        return 0;
}

/* Backing files come and go with every open file: that many may be asked for, but nobody keeps the manager from others. */
static void count_request(Channel *channel) {
        sd_event *event = sd_event_source_get_event(channel->io);
        uint64_t now = 0;

        (void) sd_event_now(event, CLOCK_MONOTONIC, &now);
        if (now - channel->interval_usec >= INTERVAL_USEC) {
                channel->interval_usec = now;
                channel->n_requests = 0;
        }
        if (++channel->n_requests < REQUESTS_MAX || channel->pause)
                return;
        (void) sd_event_source_set_io_events(channel->io, 0);
        if (sd_event_add_time(event, &channel->pause, CLOCK_MONOTONIC, channel->interval_usec + INTERVAL_USEC, 0, on_pause_over, channel) < 0)
                (void) sd_event_source_set_io_events(channel->io, EPOLLIN);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Channel *channel = userdata;
        ssize_t n;

        n = fd_receive(fd, &channel->request, sizeof channel->request, NULL, 0, NULL, MSG_DONTWAIT);
        if (n == -EAGAIN)
                return 0;
        if (n == 0 || n == -ECONNRESET) {
                end(channel, NULL);
                return 0;
        }
        if (n < 0 || channel_request_validate(&channel->request, (size_t) n) < 0) {
                end(channel, "it sent something that is no request");
                return 0;
        }
        count_request(channel);
        if (channel->request.command == CHANNEL_STATISTICS) {
                on_statistics(channel);
                return 0;
        }
        channel->busy = true;
        (void) sd_event_source_set_io_events(channel->io, 0);
        channel->hooks->ask(channel->userdata, &channel->request);
        return 0;
}

void channel_done(Channel *channel, int error, bool answer_it, uint32_t value) {
        if (!channel->busy || channel->ended)
                return;
        channel->busy = false;
        (void) sd_event_source_set_io_events(channel->io, channel->pause ? 0 : EPOLLIN);
        if (error < 0 || answer_it)
                answer(channel, error, value, NULL);
}

int channel_new(sd_event *event, int socket_fd, const ChannelHooks *hooks, void *userdata, Channel **ret) {
        _cleanup_fd_ int owned = socket_fd;
        Channel *channel = calloc(1, sizeof *channel);
        int r;

        if (!channel)
                return -ENOMEM;
        *channel = (Channel){.fd = TAKE_FD(owned), .hooks = hooks, .userdata = userdata};
        r = sd_event_add_io(event, &channel->io, channel->fd, EPOLLIN, on_io, channel);
        if (r < 0) {
                (void) channel_free(channel);
                return r;
        }
        *ret = channel;
        return 0;
}

Channel *channel_free(Channel *channel) {
        if (!channel)
                return NULL;
        (void) sd_event_source_disable_unref(channel->io);
        (void) sd_event_source_disable_unref(channel->pause);
        channel->fd = fd_close(channel->fd);
        if (channel->page)
                (void) munmap(channel->page, sizeof *channel->page);
        free(channel);
        return NULL;
}
