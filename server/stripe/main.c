/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-stripe-server: serves a striped volume. Where a file's chunks are is computed, by the mapping program `stripe`, in its first run of
 * rows, which is most often all of it; the server answers for the rest, and gives growing files their rows. Names are those of one directory. */

#include "stripe/server.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sanitizer.h"
#include "service.h"

typedef struct Arguments {
        char *source; /* owned: the path that stands for the first device */
        char *owner;  /* owned */
        int no_writeback;
} Arguments;

static const struct fuse_opt option_rows[] = {
        {"owner=%s", offsetof(Arguments, owner), 0},
        {"no_writeback", offsetof(Arguments, no_writeback), 1},
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

typedef struct Devices {
        int fds[STRIPE_MEMBERS_MAX], direct_fds[STRIPE_MEMBERS_MAX]; /* owned */
        uint64_t sizes[STRIPE_MEMBERS_MAX];
        uint32_t n;
        bool read_only;
} Devices;

static void devices_done(Devices *devices) {
        fd_close_many(devices->fds, devices->n);
        fd_close_many(devices->direct_fds, devices->n);
        devices->n = 0;
}

static int receive_devices(struct fuse_service *service, const char *source, Devices *ret) {
        for (uint32_t i = 0; i < STRIPE_MEMBERS_MAX; i++) {
                char path[32];
                const char *name = i == 0 ? source : path;
                int fd, r;
                (void) snprintf(path, sizeof path, "/slots/device%u", i);
                fd = service_open(service, name, O_RDWR);
                if (fd == -EROFS) {
                        ret->read_only = true;
                        fd = service_open(service, name, O_RDONLY);
                }
                if (fd < 0)
                        return i >= 2 ? 0 : fd;
                ret->fds[i] = fd;
                ret->direct_fds[i] = service_open(service, name, (ret->read_only ? O_RDONLY : O_RDWR) | O_DIRECT);
                ret->n++;
                r = fd_size(fd, &ret->sizes[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int open_volume(const Devices *devices) {
        StripeWhy why = {.words = ""};
        int r = stripe_open(devices->fds, devices->sizes, devices->n, &server.volume, &why);

        if (r < 0 && why.member > 0) /* by the name of its slot */
                fprintf(stderr, "fused-stripe-server: device%u: %s\n", why.member, why.words);
        else if (r < 0)
                fprintf(stderr, "fused-stripe-server: source: %s\n", why.words);
        server.dirty = r >= 0 && server.volume.n_damaged > 0 && !devices->read_only;
        for (uint32_t i = 0; i < STRIPE_FILES_MAX && r >= 0 && !devices->read_only; i++) /* rows for writes that have failed */
                r = server_reserve(i, ALIGN_TO(server.volume.table.files[i].size, (uint64_t) STRIPE_BLOCK));
        return r;
}

static int run(struct fuse_service *service, struct fuse_args *args, void *userdata) {
        struct fuse_lowlevel_ops operations = {0};
        Arguments *arguments = userdata;
        struct fused_map_config config = {.block_size = STRIPE_BLOCK};
        _cleanup_(devices_done) Devices devices = {0};
        struct fuse_cmdline_opts options = {0};
        int r;

        server_name_operations(&operations);
        r = fuse_service_append_args(service, args);
        if (r < 0)
                return r;
        if (fuse_opt_parse(args, arguments, option_rows, on_word) < 0 || fuse_service_parse_cmdline_opts(args, &options) < 0 || !arguments->source)
                return -EINVAL;
        if (arguments->owner && sscanf(arguments->owner, "%u:%u", &server.uid, &server.gid) != 2)
                return -EINVAL;
        r = receive_devices(service, arguments->source, &devices);
        if (r >= 0)
                r = open_volume(&devices);
        config.read_only = devices.read_only;
        config.no_writeback = arguments->no_writeback;
        if (r >= 0)
                r = fused_map_new(&server.map, service, args, &operations, sizeof operations, &server_map_operations, &config, NULL);
        for (uint32_t i = 0; i < devices.n && r >= 0; i++) {
                r = fused_map_add_device(server.map, devices.fds[i], 0);
                if (r >= 0 && devices.direct_fds[i] >= 0)
                        (void) fused_map_add_direct(server.map, i + 1, devices.direct_fds[i]);
        }
        if (r >= 0)
                r = fused_map_run(server.map, &options);
        if (server.map && !devices.read_only && server_save() < 0)
                fprintf(stderr, "fused-stripe-server: the table of files could not be written\n");
        devices_done(&devices);
        fused_map_free(server.map); /* whoever unmounts may go on */
        free(options.mountpoint);
        return r;
}

int main(int argc, char **argv) {
        Arguments arguments = {0};
        int r = service_main("fused-stripe-server", argc, argv, run, &arguments);

        free(arguments.source);
        free(arguments.owner);
        return r;
}
