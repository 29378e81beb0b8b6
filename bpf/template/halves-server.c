/* SPDX-License-Identifier: LGPL-2.1-or-later OR GPL-2.0-only */
/* A template: a server that maps. Its one file, "data", has the device or image that is mounted as its first half, and that of the slot
 * "second" as its other one. See fused-mapping-program(7); `make` builds it, halves.conf is its type.
 *
 * It says where data is, and never sees it. What it says in on_begin() is what the program says from the table that on_start() fills; without
 * the program everything is the same, but for the time that it takes. */

#define FUSE_USE_VERSION 312
#include "fused-map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "halves.h"

#define BLOCK 4096U
#define DATA_ID (FUSE_ROOT_ID + 1)

static struct {
        struct fused_map *map;
        struct halves_file file; /* as the program is told of it */
        bool has_program;
        char *source; /* what it is called in requests: the first word of the command line */
} own = {.file.nodeid = DATA_ID};

/* ---- names and attributes: libfuse's low-level interface, with the library's own replies ------------------------------- */

static struct stat attributes_of(fuse_ino_t ino) {
        return (struct stat){
                .st_ino = ino,
                .st_mode = ino == DATA_ID ? S_IFREG | 0666 : S_IFDIR | 0755,
                .st_nlink = ino == DATA_ID ? 1 : 2,
                .st_size = ino == DATA_ID ? (off_t) own.file.length : 0,
        };
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
        const struct fuse_entry_param entry = {.ino = DATA_ID, .attr = attributes_of(DATA_ID), .attr_timeout = 60, .entry_timeout = 60};

        if (parent != FUSE_ROOT_ID || strcmp(name, "data") != 0)
                (void) fuse_reply_err(req, ENOENT);
        else
                (void) fused_map_reply_entry(own.map, req, &entry, /* mapped= */ true);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        const struct stat st = attributes_of(ino);

        (void) fused_map_reply_attr(own.map, req, &st, 60, /* mapped= */ ino == DATA_ID);
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int what, struct fuse_file_info *fi) {
        if (what & FUSE_SET_ATTR_SIZE && (uint64_t) wanted->st_size != own.file.length)
                (void) fuse_reply_err(req, EPERM); /* it is as long as its devices */
        else
                on_getattr(req, ino, fi); /* times are not kept */
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at, struct fuse_file_info *fi) {
        static const struct {
                const char *name;
                fuse_ino_t ino;
        } entries[] = {{".", FUSE_ROOT_ID}, {"..", FUSE_ROOT_ID}, {"data", DATA_ID}};
        char buffer[256];
        size_t used = 0;

        for (size_t i = (size_t) at; i < sizeof entries / sizeof entries[0]; i++) {
                const struct stat st = attributes_of(entries[i].ino);
                size_t n = fuse_add_direntry(req, buffer + used, sizeof buffer - used, entries[i].name, &st, (off_t) i + 1);
                if (used + n > size || used + n > sizeof buffer)
                        break;
                used += n;
        }
        (void) fuse_reply_buf(req, buffer, used);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        (void) fused_map_use_program(own.map, ino, own.has_program); /* before the reply: then a read may come */
        (void) fused_map_reply_open(own.map, req, fi);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi) {
        (void) fuse_reply_err(req, 0); /* the library has seen to the data, and nothing else changes */
}

/* ---- mappings ---------------------------------------------------------------------------------------------------------- */

static int on_begin(void *userdata, const struct fused_map_request *request, struct fused_mapping *read, struct fused_mapping *write) {
        const struct halves_file *file = &own.file;
        int half = request->pos >= file->middle;

        if (request->pos >= file->length)
                return -ENOSPC;
        read->offset = half ? file->middle : 0;
        read->length = half ? file->length - file->middle : file->middle;
        read->type = FUSED_MAPPING_MAPPED;
        read->dev = file->device[half];
        read->addr = file->addr[half];
        return 0;
}

static int on_start(void *userdata) {
        struct fused_map_table table = {.name = "files", .n_entries = 2}; /* the header, and one file */
        struct fused_program_files files;
        int r;

        r = fused_map_attach_program(own.map, "halves", &table, 1);
        if (r >= 0)
                r = fused_program_files_init(&files, &table);
        if (r >= 0)
                r = fused_program_files_put(&files, &own.file);
        own.has_program = r >= 0;
        if (r < 0)
                fprintf(stderr, "fused-halves: no mapping program: %s\n", strerror(-r));
        return 0; /* it is not needed */
}

/* ---- starting ---------------------------------------------------------------------------------------------------------- */

/* The words are the source, the mount point and -o with options. The first is ours to take out; the second goes on to
 * fuse_service_parse_cmdline_opts(). */
static int on_word(void *data, const char *word, int key, struct fuse_args *rest) {
        if (key != FUSE_OPT_KEY_NONOPT || own.source)
                return 1; /* somebody else's */
        own.source = strdup(word);
        return own.source ? 0 : -1;
}

static int request(struct fuse_service *service, const char *path, int flags) {
        int fd = -1, r;

        r = fuse_service_request_file(service, path, flags, 0, FUSE_SERVICE_REQUEST_FILE_QUIET);
        if (r >= 0)
                r = fuse_service_receive_file(service, path, &fd);
        return r < 0 ? r : fd;
}

/* Its descriptors stay open as long as the map has it, which is until the end. Returns its number, or a negative errno. */
static int add_device(struct fuse_service *service, const char *path, bool read_only, uint64_t *ret_size) {
        const int flags = read_only ? O_RDONLY : O_RDWR;
        int fd = request(service, path, flags), direct_fd, number;
        off_t size;

        if (fd < 0)
                return fd;
        size = lseek(fd, 0, SEEK_END);
        if (size < (off_t) BLOCK)
                return -EINVAL;
        *ret_size = (uint64_t) size / BLOCK * BLOCK;
        number = fused_map_add_device(own.map, fd, 0);
        direct_fd = number < 0 ? -1 : request(service, path, flags | O_DIRECT);
        if (direct_fd >= 0)
                (void) fused_map_add_direct(own.map, (uint32_t) number, direct_fd); /* images may have none */
        return number;
}

static int add_devices(struct fuse_service *service, bool read_only) {
        const char *const paths[] = {own.source, "/slots/second"};

        for (int i = 0; i < 2; i++) {
                uint64_t size;
                int number = add_device(service, paths[i], read_only, &size);
                if (number < 0)
                        return number;
                own.file.device[i] = (uint32_t) number;
                if (i == 0)
                        own.file.middle = size;
                own.file.length += size;
        }
        return 0;
}

/* A mount that is read-only has slots that are. */
static bool is_read_only(struct fuse_service *service) {
        int fd = request(service, own.source, O_RDWR);

        if (fd >= 0)
                (void) close(fd);
        return fd == -EROFS;
}

static int run(struct fuse_service *service, struct fuse_args *args) {
        static const struct fuse_lowlevel_ops operations = {
                .lookup = on_lookup, .getattr = on_getattr, .setattr = on_setattr, .readdir = on_readdir, .open = on_open, .fsync = on_fsync};
        static const struct fused_map_operations map_operations = {.begin = on_begin, .start = on_start};
        struct fused_map_config config = {.block_size = BLOCK};
        struct fuse_cmdline_opts options = {0};
        int r;

        r = fuse_service_append_args(service, args);
        if (r < 0)
                return r;
        if (fuse_opt_parse(args, NULL, NULL, on_word) < 0 || fuse_service_parse_cmdline_opts(args, &options) < 0 || !own.source)
                return -EINVAL;
        config.read_only = is_read_only(service);
        r = fused_map_new(&own.map, service, args, &operations, sizeof operations, &map_operations, &config, NULL);
        if (r >= 0)
                r = add_devices(service, config.read_only);
        if (r >= 0)
                r = fused_map_run(own.map, &options);
        fused_map_free(own.map);
        free(options.mountpoint);
        return r;
}

int main(int argc, char **argv) {
        struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
        struct fuse_service *service;
        int r;

        r = fuse_service_accept(&service);
        if (r < 0 || !fuse_service_accepted(service)) {
                fprintf(stderr, "fused-halves: %s\n", r < 0 ? strerror(-r) : "it is started by fused, see fused-mapping-program(7)");
                return 1;
        }
        r = run(service, &args);
        if (r < 0) {
                fprintf(stderr, "fused-halves: %s\n", strerror(-r));
                (void) fuse_service_send_goodbye(service, 1);
        }
        fuse_service_destroy(&service);
        fuse_opt_free_args(&args);
        free(own.source);
        return fuse_service_exit(r);
}
