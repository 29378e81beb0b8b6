/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-mirror: started as a service only. See mirror.h. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "mirror/mirror.h"
#include "service.h"
#include "session/session.h"

#define THREADS_MAX 8
#define FILES_RESERVED 64 /* descriptors that are no nodes: open files, the session's */

typedef struct Arguments {
        char *source; /* owned: the path that stands for the tree */
        char *owner;  /* owned */
        double timeout;
        int passthrough;
} Arguments;

static const struct fuse_opt option_rows[] = {
        {"owner=%s", offsetof(Arguments, owner), 0},
        {"timeout=%lf", offsetof(Arguments, timeout), 0},
        {"passthrough", offsetof(Arguments, passthrough), 1},
        FUSE_OPT_END,
};

/* The first word that is no option is the source, the second the mount point. */
static int on_word(void *data, const char *word, int key, struct fuse_args *rest) {
        Arguments *arguments = data;

        if (key != FUSE_OPT_KEY_NONOPT || arguments->source)
                return 1;
        arguments->source = strdup(word);
        return arguments->source ? 0 : -1;
}

static void on_init(void *userdata, struct fuse_conn_info *connection) {
        if (connection->capable & FUSE_CAP_SPLICE_WRITE)
                connection->want |= FUSE_CAP_SPLICE_WRITE;
        if (connection->capable & FUSE_CAP_SPLICE_READ)
                connection->want |= FUSE_CAP_SPLICE_READ;
        if (connection->capable & FUSE_CAP_ATOMIC_O_TRUNC)
                connection->want |= FUSE_CAP_ATOMIC_O_TRUNC;
}

static int receive_files(struct fuse_service *service, const char *path, bool passthrough) {
        struct stat st;
        int fd, r;

        fd = service_open(service, path, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fd;
        mirror.root.fd = fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        mirror.root.device = st.st_dev;
        mirror.root.inode = st.st_ino;
        mirror.root.n_ref = 1;
        if (!S_ISDIR(st.st_mode))
                return -ENOTDIR;
        r = passthrough ? passthrough_start(service) : 0;
        return r < 0 ? r : fuse_service_finish_file_requests(service);
}

static void prepare(const Arguments *arguments) {
        struct rlimit limit = {0};

        (void) getrlimit(RLIMIT_NOFILE, &limit);
        mirror.n_nodes_high = limit.rlim_cur > 4 * FILES_RESERVED ? (size_t) (limit.rlim_cur - FILES_RESERVED) / 4 * 3 : FILES_RESERVED;
        mirror.own_uid = geteuid();
        mirror.own_gid = getegid();
        mirror.timeout = arguments->timeout;
        mirror.has_owner = arguments->owner && sscanf(arguments->owner, "%u:%u", &mirror.owner_uid, &mirror.owner_gid) == 2;
        (void) umask(0); /* the kernel has applied the caller's */
}

static int serve(struct fuse_session *session) {
        struct fuse_loop_config *config = fuse_loop_cfg_create();
        pthread_t trimmer;
        int r;

        if (!config)
                return -ENOMEM;
        fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
        fuse_loop_cfg_set_idle_threads(config, THREADS_MAX);
        mirror.session = session;
        r = -pthread_create(&trimmer, NULL, node_trim_thread, NULL);
        if (r < 0) {
                fuse_loop_cfg_destroy(config);
                return r;
        }
        r = fuse_session_loop_mt(session, config);
        fuse_loop_cfg_destroy(config);
        (void) pthread_mutex_lock(&mirror.lock);
        mirror.stopping = true;
        (void) pthread_cond_signal(&mirror.crowded);
        (void) pthread_cond_signal(&mirror.crowded_pause);
        (void) pthread_mutex_unlock(&mirror.lock);
        (void) pthread_join(trimmer, NULL);
        return r > 0 ? 0 : r; /* a signal is an orderly end */
}

static int run(struct fuse_service *service, struct fuse_args *args, void *userdata) {
        Arguments *arguments = userdata;
        struct fuse_lowlevel_ops operations = {.init = on_init};
        struct fuse_cmdline_opts options = {0};
        const SessionHooks hooks = {.init = passthrough_init};
        struct fuse_session *session = NULL;
        Session *whole = NULL; /* FUSE_INIT has more in it than libfuse knows; the rest is libfuse's own loop */
        int r;

        r = fuse_service_append_args(service, args);
        if (r < 0)
                return r;
        if (fuse_opt_parse(args, arguments, option_rows, on_word) < 0 || fuse_service_parse_cmdline_opts(args, &options) < 0)
                return -EINVAL;
        prepare(arguments);
        r = arguments->source && options.mountpoint ? receive_files(service, arguments->source, arguments->passthrough) : -EINVAL;
        if (r >= 0) {
                mirror_name_operations(&operations);
                mirror_attribute_operations(&operations);
                mirror_data_operations(&operations);
                r = session_new(args, &operations, sizeof operations, NULL, &hooks, NULL, &whole);
        }
        if (r >= 0)
                session = session_fuse(whole);
        if (r >= 0)
                r = fuse_set_signal_handlers(session) == 0 ? fuse_service_session_mount(service, session, S_IFDIR, &options) : -EIO;
        free(options.mountpoint);
        if (r >= 0) {
                (void) fuse_service_send_goodbye(service, 0);
                r = session_start(whole);
                if (r >= 0)
                        r = serve(session);
                fuse_remove_signal_handlers(session);
        }
        (void) session_free(whole);
        passthrough_done();
        return r;
}

int main(int argc, char **argv) {
        Arguments arguments = {.timeout = 1.0};
        int r = service_main("fused-mirror", argc, argv, run, &arguments);

        free(arguments.source);
        free(arguments.owner);
        mirror.root.fd = fd_close(mirror.root.fd);
        return r;
}
