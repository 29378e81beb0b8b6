/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See service.h. */

#define FUSE_USE_VERSION 312
#include "service.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int service_main(const char *name, int argc, char **argv, ServiceRun run, void *userdata) {
        struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
        struct fuse_service *service;
        int r;

        r = fuse_service_accept(&service);
        if (r < 0 || !fuse_service_accepted(service)) {
                fprintf(stderr, "%s: %s\n", name, r < 0 ? strerror(-r) : "not started as a service; see fused(8)");
                return 1;
        }
        r = run(service, &args, userdata);
        if (r < 0) {
                fprintf(stderr, "%s: %s\n", name, strerror(-r));
                (void) fuse_service_send_goodbye(service, 1);
        }
        fuse_service_destroy(&service);
        fuse_opt_free_args(&args);
        return fuse_service_exit(r);
}

/* The supervisor need not say what was refused: some of it is only asked for in case it can be had, and of the rest the server tells. */
int service_open(struct fuse_service *service, const char *path, int flags) {
        int fd = -EBADF, r;

        r = fuse_service_request_file(service, path, flags, 0, FUSE_SERVICE_REQUEST_FILE_QUIET);
        if (r >= 0)
                r = fuse_service_receive_file(service, path, &fd);
        return r < 0 ? r : fd;
}
