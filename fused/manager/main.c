/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-manager: started by the broker with its socket as fd 3 and nothing else; confines itself, then runs the loop. */

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/sanitizer.h"
#include "manager/filter.h"
#include "manager/manager.h"

#define BROKER_FD 3
#define START_USEC (20 * USEC_PER_SEC)

DEFINE_CLEANUP(Manager *, manager_freep, manager_free)

static int on_start_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        const Manager *manager = userdata;

        if (manager->control)
                return 0;
        log_error("the broker has not said what to do");
        return sd_event_exit(manager->event, -ETIMEDOUT);
}

/* Clients, servers and their pipes are many; the soft limit is made for select(2), which is not used here. */
static void raise_descriptor_limit(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit); /* with the old one fewer fit in, that is all */
}

static LogLevel level_from_environment(void) {
        static const char *const names[] = {
                [LOG_LEVEL_ERROR] = "error",
                [LOG_LEVEL_WARNING] = "warning",
                [LOG_LEVEL_NOTICE] = "notice",
                [LOG_LEVEL_INFO] = "info",
                [LOG_LEVEL_DEBUG] = "debug",
        };
        const char *value = getenv("FUSED_LOG_LEVEL");

        for (size_t i = LOG_LEVEL_ERROR; value && i < ELEMENTSOF(names); i++)
                if (strcmp(value, names[i]) == 0 || (value[0] == '0' + (char) i && !value[1]))
                        return (LogLevel) i;
        return LOG_LEVEL_INFO;
}

static int run(void) {
        _cleanup_(manager_freep) Manager *manager = NULL;
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        int type, r;
        socklen_t size = sizeof type;

        log_open("fused-manager", -EBADF, level_from_environment());
        if (getsockopt(BROKER_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET) {
                log_error("to be started by fused only");
                return -EINVAL;
        }
        (void) signal(SIGPIPE, SIG_IGN);
        raise_descriptor_limit();
        r = manager_filter_load();
        if (r < 0)
                return log_errno(r, "the seccomp filter cannot be loaded: %s", strerror(-r));
        r = fd_set_cloexec(BROKER_FD, true);
        if (r < 0)
                return r;
        r = sd_event_new(&event);
        if (r < 0)
                return log_errno(r, "no event loop: %s", strerror(-r));
        r = manager_new(event, BROKER_FD, &manager);
        if (r >= 0)
                r = sd_event_add_time_relative(event, NULL, CLOCK_MONOTONIC, START_USEC, 0, on_start_deadline, manager);
        if (r < 0)
                return log_errno(r, "cannot start: %s", strerror(-r));
        return sd_event_loop(event);
}

int main(int argc, char **argv) {
        if (argc != 1) {
                (void) fprintf(stderr, "%s: takes no arguments; it is started by fused(8)\n", argv[0]);
                return 2;
        }
        return run() < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
