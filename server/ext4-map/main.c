/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-ext4-map: started as a service only. See volume.h and server.h. */

#include "ext4-map/server.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sanitizer.h"
#include "service.h"

#define FLUSH_SECONDS 5

Server server = {.timeout = 3600};

typedef struct Arguments {
        char *source; /* owned: the path that stands for the device */
        int read_only;
        int no_recovery; /* read-only only */
        int no_writeback;
} Arguments;

static const struct fuse_opt option_rows[] = {
        {"no_writeback", offsetof(Arguments, no_writeback), 1},
        {"norecovery", offsetof(Arguments, no_recovery), 1},
        FUSE_OPT_KEY("ro", 0),
        FUSE_OPT_KEY("rw", 1),
        FUSE_OPT_END,
};

/* The first word that is no option is the source, the second the mount point. "ro" is the mount's too, and stays. */
static int on_word(void *data, const char *word, int key, struct fuse_args *rest) {
        Arguments *arguments = data;

        if (key == 0 || key == 1)
                arguments->read_only = key == 0;
        if (key != FUSE_OPT_KEY_NONOPT || arguments->source)
                return 1;
        arguments->source = strdup(word);
        return arguments->source ? 0 : -1;
}

void server_lock(void) {
        (void) pthread_mutex_lock(&server.volume.lock);
}

void server_unlock(void) {
        (void) pthread_mutex_unlock(&server.volume.lock);
}

/* ACLs: the kernel checks them, and leaves the umask to us. */
static void on_init(void *userdata, struct fuse_conn_info *connection) {
        static const unsigned wanted[] = {FUSE_CAP_POSIX_ACL, FUSE_CAP_DONT_MASK, FUSE_CAP_READDIRPLUS,
                                          FUSE_CAP_READDIRPLUS_AUTO, FUSE_CAP_CACHE_SYMLINKS};

        if (EXT2_INODE_SIZE(server.volume.fs->super) == EXT2_GOOD_OLD_INODE_SIZE) /* seconds are all that it has room for */
                connection->time_gran = 1000000000;
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++)
                connection->want |= connection->capable & wanted[i];
}

/* ---- writing out now and then --------------------------------------------------------------------------------------- */

typedef struct Flusher {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool stop;
} Flusher;

static void *flush_thread(void *userdata) {
        Flusher *flusher = userdata;

        (void) pthread_mutex_lock(&flusher->lock);
        while (!flusher->stop) {
                struct timespec until;
                (void) clock_gettime(CLOCK_REALTIME, &until);
                until.tv_sec += FLUSH_SECONDS;
                (void) pthread_cond_timedwait(&flusher->wake, &flusher->lock, &until);
                if (flusher->stop)
                        break;
                server_lock();
                if (server.volume.is_dirty)
                        (void) volume_flush(&server.volume, /* sync= */ false);
                server_unlock();
        }
        (void) pthread_mutex_unlock(&flusher->lock);
        return NULL;
}

static int serve(struct fuse_cmdline_opts *options) {
        Flusher flusher = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
        int r;

        r = -pthread_create(&flusher.thread, NULL, flush_thread, &flusher);
        if (r < 0)
                return r;
        r = fused_map_run(server.map, options);
        (void) pthread_mutex_lock(&flusher.lock);
        flusher.stop = true;
        (void) pthread_cond_signal(&flusher.wake);
        (void) pthread_mutex_unlock(&flusher.lock);
        (void) pthread_join(flusher.thread, NULL);
        return r;
}

/* ---- */

static int make_map(struct fuse_service *service, struct fuse_args *args, const Arguments *arguments, int fd, int direct_fd) {
        struct fuse_lowlevel_ops operations = {.init = on_init};
        const struct fused_map_config config = {
                .block_size = server.volume.block_size,
                .read_only = arguments->read_only,
                .no_writeback = arguments->no_writeback,
                .max_bytes = EXTENT_BLOCKS_MAX * server.volume.block_size,
        };
        int r;

        server_name_operations(&operations);
        server_attribute_operations(&operations);
        server_flag_operations(&operations);
        r = fused_map_new(&server.map, service, args, &operations, sizeof operations, &server_map_operations, &config, NULL);
        if (r < 0)
                return r;
        r = fused_map_add_device(server.map, fd, ext2fs_blocks_count(server.volume.fs->super) * server.volume.block_size);
        if (r < 0)
                return r;
        server.volume.dev = (uint32_t) r;
        if (direct_fd >= 0)
                (void) fused_map_add_direct(server.map, server.volume.dev, direct_fd); /* else through the device's cache */
        return 0;
}

static int serve_volume(struct fuse_service *service, struct fuse_args *args, const Arguments *arguments, struct fuse_cmdline_opts *options) {
        _cleanup_fd_ int fd = -EBADF, direct_fd = -EBADF;
        const int access = arguments->read_only ? O_RDONLY : O_RDWR;
        int r;

        fd = service_open(service, arguments->source, access);
        if (fd < 0)
                return fd;
        direct_fd = service_open(service, arguments->source, access | O_DIRECT);
        r = volume_open(&server.volume, fd, arguments->no_recovery ? VOLUME_NO_RECOVERY : arguments->read_only ? VOLUME_READ : VOLUME_WRITE,
                        &server_hooks, NULL);
        if (r < 0 && server.volume.why[0])
                fprintf(stderr, "fused-ext4-map: %s\n", server.volume.why);
        if (r >= 0)
                r = make_map(service, args, arguments, fd, direct_fd);
        if (r >= 0)
                r = serve(options);
        int q = volume_close(&server.volume); /* while mappings can still be withdrawn */
        fd = fd_close(fd);
        direct_fd = fd_close(direct_fd);
        fused_map_free(server.map); /* whoever unmounts may go on */
        return r < 0 ? r : q;
}

static int run(struct fuse_service *service, struct fuse_args *args, void *userdata) {
        Arguments *arguments = userdata;
        struct fuse_cmdline_opts options = {0};
        int r;

        r = fuse_service_append_args(service, args);
        if (r < 0)
                return r;
        if (fuse_opt_parse(args, arguments, option_rows, on_word) < 0 || fuse_service_parse_cmdline_opts(args, &options) < 0)
                return -EINVAL;
        r = -EINVAL;
        if (arguments->no_recovery && !arguments->read_only) /* the kernel has to know that nothing can be written */
                fprintf(stderr, "fused-ext4-map: norecovery is for reading: mount it with -o ro,norecovery\n");
        else if (arguments->source && options.mountpoint)
                r = serve_volume(service, args, arguments, &options);
        free(options.mountpoint);
        return r;
}

int main(int argc, char **argv) {
        Arguments arguments = {0};
        int r = service_main("fused-ext4-map", argc, argv, run, &arguments);

        free(arguments.source);
        return r;
}
