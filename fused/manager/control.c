/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The control socket: accepts, within limits. See peer.h. */

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "manager/peer-internal.h"

#define ACCEPTS_PER_TURN 16
#define ACCEPT_PAUSE_USEC (100 * USEC_PER_MSEC)

size_t control_n_peers(const Control *control) {
        return control->n_peers;
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata) {
        Control *control = userdata;

        control->pause = sd_event_source_disable_unref(control->pause);
        return sd_event_source_set_enabled(control->io, SD_EVENT_ON);
}

/* Are there far more descriptors than can be accounted for? New ones get the lowest number that is free: with a quarter of the table
 * in use by nobody known, something has been lost in a library, and a new manager is better than none. */
static bool descriptors_are_lost(const Control *control) {
        size_t known = 64 + 4 * control->n_peers + 4 * control->manager->n_mounts + broker_client_n_calls(control->manager->broker) * 6;
        struct rlimit limit;
        int fd;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return false;
        known += MIN_OF(limit.rlim_cur, (rlim_t) 1 << 16) / 4;
        if (known >= limit.rlim_cur)
                return false;
        fd = fcntl(control->listen_fd, F_DUPFD_CLOEXEC, 3);
        if (fd >= 0)
                (void) fd_close(fd);
        return fd > (int) known;
}

/* Nothing can be accepted now (descriptors, memory): try again soon, and do not spin meanwhile. */
static int pause_accepting(Control *control) {
        int r;

        r = sd_event_source_set_enabled(control->io, SD_EVENT_OFF);
        if (r < 0)
                return r;
        return sd_event_add_time_relative(control->manager->event, &control->pause, CLOCK_MONOTONIC, ACCEPT_PAUSE_USEC,
                                          USEC_PER_MSEC, on_pause_over, control);
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata) {
        Control *control = userdata;
        uint32_t dropped;

        if (descriptors_are_lost(control)) {
                log_error("descriptors have been lost; giving way to a new manager");
                return sd_event_exit(control->manager->event, -EMFILE);
        }
        for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
                int r, fd = RET_NERRNO(accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));

                if (fd == -EAGAIN)
                        return 0;
                if (fd == -ECONNABORTED || fd == -EINTR)
                        continue;
                if (fd < 0) {
                        if (log_rate_ok(&control->rate, 5, 10 * USEC_PER_SEC, &dropped))
                                log_warning("no connection can be accepted now: %s", strerror(-fd));
                        return pause_accepting(control);
                }
                r = control_add_peer(control, fd);
                if (r < 0 && log_rate_ok(&control->rate, 5, 10 * USEC_PER_SEC, &dropped))
                        log_warning("connection refused: %s", r == -EDQUOT   ? "its user has too many"
                                                              : r == -EUSERS ? "there are too many"
                                                                             : strerror(-r));
        }
        return 0;
}

int control_new(Manager *manager, int listen_fd, Control **ret) {
        _cleanup_fd_ int owned = listen_fd;
        Control *control = calloc(1, sizeof *control);
        int r;

        if (!control)
                return -ENOMEM;
        control->manager = manager;
        control->listen_fd = TAKE_FD(owned);
        r = fd_set_nonblock(control->listen_fd, true);
        if (r >= 0)
                r = sd_event_add_io(manager->event, &control->io, control->listen_fd, EPOLLIN, on_connection, control);
        if (r >= 0)
                r = sd_event_source_set_priority(control->io, SD_EVENT_PRIORITY_NORMAL + 10); /* who is here goes first */
        if (r < 0) {
                (void) control_free(control);
                return r;
        }
        *ret = control;
        return 0;
}

Control *control_free(Control *control) {
        if (!control)
                return NULL;
        while (control->peers)
                peer_free(control->peers);
        while (control->orphans)
                (void) call_free(control->orphans); /* who held them is about to go without calling back */
        (void) sd_event_source_disable_unref(control->io);
        (void) sd_event_source_disable_unref(control->pause);
        control->listen_fd = fd_close(control->listen_fd);
        free(control);
        return NULL;
}
