/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libfused-server: fuse_main() for a service, on libfuse's high-level interface. See fused-server.h. A file of its own, so that a
 * server on the low-level interface does not get the high-level one linked. */

#define FUSE_USE_VERSION 312
#include <fuse.h>

#include "fused-server.h"

#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 19)

#include "base/macro.h"

/* What libfuse says in its goodbye, and returns. */
enum {
        MAIN_OPTIONS = 1,
        MAIN_NO_MOUNTPOINT = 2,
        MAIN_NO_FUSE = 3,
        MAIN_NO_MOUNT = 4,
        MAIN_NO_SIGNALS = 6,
        MAIN_NO_LOOP = 7,
        MAIN_LOOP_FAILED = 8,
};

static int loop(struct fuse_service *sf, struct fuse *fuse, const struct fuse_cmdline_opts *opts) {
        struct fuse_loop_config *config = fuse_loop_cfg_create();
        int r;

        if (!config)
                return MAIN_NO_LOOP;
        fuse_loop_cfg_set_clone_fd(config, (unsigned) opts->clone_fd);
        fuse_loop_cfg_set_idle_threads(config, opts->max_idle_threads);
        fuse_loop_cfg_set_max_threads(config, opts->max_threads);
        (void) fuse_service_send_goodbye(sf, 0); /* who does not listen any more has the mount all the same */
        fuse_service_release(sf);
        r = opts->singlethread ? fuse_loop(fuse) : fuse_loop_mt(fuse, config);
        fuse_loop_cfg_destroy(config);
        return r == 0 ? 0 : MAIN_LOOP_FAILED;
}

static int mount_and_loop(struct fuse_service *sf, struct fuse *fuse, struct fuse_cmdline_opts *opts) {
        struct fuse_session *session = fuse_get_session(fuse);
        int r;

        if (fuse_set_signal_handlers(session) != 0)
                return MAIN_NO_SIGNALS;
        r = fuse_service_session_mount(sf, session, 0, opts) < 0 ? MAIN_NO_MOUNT : loop(sf, fuse, opts);
        fuse_remove_signal_handlers(session);
        return r;
}

int fuse_service_main_real(struct fuse_service *sf, struct fuse_args *args, const struct fuse_operations *operations, size_t size, void *data) {
        struct fuse_cmdline_opts opts = {0};
        struct fuse *fuse = NULL;
        int r = 0;

        if (fuse_service_parse_cmdline_opts(args, &opts) < 0)
                r = MAIN_OPTIONS;
        else if (!opts.mountpoint)
                r = MAIN_NO_MOUNTPOINT;
        else if (!(fuse = fuse_new(args, operations, size, data)))
                r = MAIN_NO_FUSE;
        else {
                r = mount_and_loop(sf, fuse, &opts);
                fuse_destroy(fuse);
        }
        free(opts.mountpoint);
        if (r > 0)
                (void) fuse_service_send_goodbye(sf, r);
        return r;
}

#endif
