/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libfused-server: binding a session to the FUSE device, and asking for its mount. See fused-server.h. */

#define FUSE_USE_VERSION 312
#include "fused-server.h"

#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 19)

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service-private.h"

/* libfuse >= 3.3 takes a mount point of this form for a device that is mounted already, and mounts nothing. */
static int bind_session(struct fuse_service *sf, struct fuse_session *se) {
        char path[32];

        if (sf->device_fd < 0)
                return -EINVAL;
        (void) snprintf(path, sizeof path, "/dev/fd/%d", sf->device_fd);
        if (fuse_session_mount(se, path) != 0)
                return -EIO;
        (void) TAKE_FD(sf->device_fd); /* the session's now */
        return 0;
}

int service_add_option(struct fuse_service *sf, const char *word) {
        size_t used = strlen(sf->mount.options), needed = strlen(word) + (used > 0);

        if (used + needed >= sizeof sf->mount.options)
                return -E2BIG;
        if (used > 0)
                sf->mount.options[used++] = ',';
        memcpy(sf->mount.options + used, word, strlen(word) + 1);
        return 0;
}

static const char *source_of(const struct fuse_service *sf) {
        const char *const choices[] = {sf->mount.source, sf->mount.subtype, sf->name};

        for (size_t i = 0; i < ELEMENTSOF(choices); i++)
                if (*choices[i])
                        return choices[i];
        return "fuse";
}

/* The order is libfuse's: a helper applies the source and the options to what FSOPEN made. */
int fuse_service_session_mount(struct fuse_service *sf, struct fuse_session *se, mode_t expected_fmt, struct fuse_cmdline_opts *opts) {
        const ServicePacket packets[] = {
                {.command = SERVICE_COMMAND_FSOPEN, .fsopen_flags = sf->mount.fuseblk ? SERVICE_FSOPEN_FUSEBLK : 0},
                {.command = SERVICE_COMMAND_SOURCE, .string = source_of(sf)},
                {.command = SERVICE_COMMAND_MNTPT,
                 .string = opts->mountpoint,
                 .expected_format = expected_fmt ? expected_fmt : sf->expected_format},
                {.command = SERVICE_COMMAND_OPTS, .string = sf->mount.options},
                {.command = SERVICE_COMMAND_MTAB, .string = sf->mount.mtab},
                {.command = SERVICE_COMMAND_MOUNT, .ms_flags = sf->mount.ms_flags},
        };
        int r;

        if (!opts->mountpoint || !*opts->mountpoint)
                return -EINVAL;
        r = bind_session(sf, se);
        if (r < 0)
                return r;
        opts->foreground = 1; /* the service manager watches this process */
        for (size_t i = 0; i < ELEMENTSOF(packets); i++) {
                if (packets[i].string && !*packets[i].string) /* an empty list has no packet */
                        continue;
                r = service_command(sf, &packets[i]);
                if (r < 0)
                        return r;
        }
        return chdir("/") < 0 ? -errno : 0;
}

#endif
