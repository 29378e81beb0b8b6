/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A server that maps, for tests: one file, "data", as long as its device and in the same place; with chunk=N every two chunks of N bytes are
 * exchanged, so that requests fall apart. lie=WORD makes its mappings wrong from the middle of the file on. program=NAME asks for that program,
 * which is given the file as one run if it is `linear`; entries=N: with a table for that many files; attach: asks for its kernel form to be
 * bound, as the kernel engine does; again=N: asks for the program N times more, past the library, and gives back what it gets; poke: then
 * tries what it must not do with bpf(2). */

#define FUSE_USE_VERSION 312
#include "fused-map.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sanitizer.h"
#include "linear/linear.h"
#include "map/map.h"
#include "program/files.h"

#define BLOCK 4096U
#define ROOT FUSE_ROOT_ID
#define FILE_ID 2

typedef struct Arguments {
        char *source; /* owned */
        char *lie;    /* owned */
        char *program; /* owned */
        int poke, attach;
        unsigned again, entries;
        unsigned long chunk;
} Arguments;

static const struct fuse_opt option_rows[] = {
        {"chunk=%lu", offsetof(Arguments, chunk), 0},
        {"lie=%s", offsetof(Arguments, lie), 0},
        {"program=%s", offsetof(Arguments, program), 0},
        {"poke", offsetof(Arguments, poke), 1},
        {"attach", offsetof(Arguments, attach), 1},
        {"again=%u", offsetof(Arguments, again), 0},
        {"entries=%u", offsetof(Arguments, entries), 0},
        FUSE_OPT_END,
};

static struct {
        struct fused_map *map;
        Arguments arguments;
        uint64_t size;
        bool has_program;
} own;

static struct stat attributes_of(fuse_ino_t ino) {
        return (struct stat){
                .st_ino = ino,
                .st_mode = ino == ROOT ? S_IFDIR | 0755 : S_IFREG | 0666,
                .st_nlink = ino == ROOT ? 2 : 1,
                .st_size = ino == ROOT ? 0 : (off_t) own.size,
                .st_blksize = BLOCK,
        };
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
        const struct fuse_entry_param entry = {.ino = FILE_ID, .attr = attributes_of(FILE_ID), .attr_timeout = 60, .entry_timeout = 60};

        if (parent != ROOT || strcmp(name, "data") != 0)
                (void) fuse_reply_err(req, ENOENT);
        else
                (void) fused_map_reply_entry(own.map, req, &entry, /* mapped= */ true);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        const struct stat st = attributes_of(ino);

        (void) fused_map_reply_attr(own.map, req, &st, 60, ino == FILE_ID);
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int what, struct fuse_file_info *fi) {
        on_getattr(req, ino, fi); /* times are nobody's affair here */
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        (void) fused_map_use_program(own.map, FILE_ID, own.has_program); /* before a read can come */
        (void) fused_map_reply_open(own.map, req, fi);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi) {
        (void) fuse_reply_err(req, 0);
}

/* ---- mappings ------------------------------------------------------------------------------------------------------- */

static void lie_device(struct fused_mapping *m) {
        m->dev = 2;
}

static void lie_end(struct fused_mapping *m) {
        m->addr = own.size - m->length + BLOCK;
}

static void lie_empty(struct fused_mapping *m) {
        m->length = 0;
}

static void lie_unaligned(struct fused_mapping *m) {
        m->length -= 1;
}

static void lie_elsewhere(struct fused_mapping *m) {
        m->offset += m->length;
}

static void lie_type(struct fused_mapping *m) {
        m->type = 77;
}

static void lie_wrap(struct fused_mapping *m) {
        m->addr = UINT64_MAX - BLOCK + 1;
}

static const struct {
        const char *word;
        void (*tell)(struct fused_mapping *m);
} lies[] = {
        {"device", lie_device}, {"end", lie_end},   {"empty", lie_empty}, {"unaligned", lie_unaligned},
        {"elsewhere", lie_elsewhere}, {"type", lie_type}, {"wrap", lie_wrap},
};

static int on_begin(void *userdata, const struct fused_map_request *request, struct fused_mapping *read, struct fused_mapping *write) {
        uint64_t chunk = own.arguments.chunk ? own.arguments.chunk : own.size, n = request->pos / chunk;

        *read = (struct fused_mapping){.offset = n * chunk, .length = chunk, .addr = n * chunk, .type = FUSED_MAPPING_MAPPED, .dev = 1};
        if (own.arguments.chunk && (n ^ 1) * chunk + chunk <= own.size)
                read->addr = (n ^ 1) * chunk;
        if (read->offset + read->length > own.size)
                read->length = own.size - read->offset;
        for (size_t i = 0; own.arguments.lie && i < ELEMENTSOF(lies); i++)
                if (request->pos >= own.size / 2 && strcmp(own.arguments.lie, lies[i].word) == 0)
                        lies[i].tell(read);
        return 0;
}

/* ---- programs ------------------------------------------------------------------------------------------------------- */

/* Loading, making, looking for: none of it is a server's. The one thing that is, is tried by every lookup. */
static void poke(void) {
        for (unsigned command = 0; command < 40; command++) {
                union bpf_attr attr = {0};
                if (command != BPF_PROG_TEST_RUN && (syscall(SYS_bpf, command, &attr, sizeof attr) >= 0 || errno != EPERM))
                        fprintf(stderr, "one-file: bpf command %u: %s\n", command, strerror(errno));
        }
        fprintf(stderr, "one-file: poked\n");
}

/* What the library never does: more programs than one. */
static void load_again(const char *name, uint32_t n_entries) {
        for (unsigned i = 0; i < own.arguments.again; i++) {
                ChannelTable table = {.name = "files", .n_entries = n_entries};
                int fds[2] = {-EBADF, -EBADF}, r;
                r = channel_program(own.map->channel, name, &table, 1, fds);
                fprintf(stderr, "one-file: again: %s\n", strerror(-MIN_OF(r, 0)));
                fd_close_many(fds, 2);
                (void) usleep(300000); /* a program ends with the next grace period */
        }
}

static void attach(const char *name) {
        fprintf(stderr, "one-file: attach: %s\n", strerror(-channel_program_attach(own.map->channel)));
        fprintf(stderr, "one-file: attached %s\n", name);
}

static int on_start(void *userdata) {
        struct fused_map_table table = {.name = "files", .n_entries = own.arguments.entries ? own.arguments.entries : 4};
        struct linear_file file = {.nodeid = FILE_ID, .length = own.size, .addr = 0, .device = 1};
        FilesTable files;
        int r;

        if (!own.arguments.program)
                return 0;
        r = fused_map_attach_program(own.map, own.arguments.program, &table, 1);
        if (r >= 0 && strcmp(own.arguments.program, "linear") == 0) {
                r = files_init(&files, table.data, table.entry_size, table.n_available);
                if (r >= 0)
                        r = files_put(&files, &file);
                own.has_program = r >= 0;
        }
        if (r < 0)
                fprintf(stderr, "one-file: program %s: %s\n", own.arguments.program, strerror(-r));
        load_again(own.arguments.program, table.n_entries);
        if (own.arguments.attach)
                attach(own.arguments.program);
        if (own.arguments.poke)
                poke();
        return 0;
}

/* ---- running -------------------------------------------------------------------------------------------------------- */

static int on_word(void *data, const char *word, int key, struct fuse_args *rest) {
        Arguments *arguments = data;

        if (key != FUSE_OPT_KEY_NONOPT || arguments->source)
                return 1;
        arguments->source = strdup(word);
        return arguments->source ? 0 : -1;
}

static int receive(struct fuse_service *service, int flags) {
        int fd = -EBADF, r;

        r = fuse_service_request_file(service, own.arguments.source, flags, 0, 0);
        if (r >= 0)
                r = fuse_service_receive_file(service, own.arguments.source, &fd);
        return r < 0 ? r : fd;
}

static int run(struct fuse_service *service, struct fuse_args *args) {
        static const struct fuse_lowlevel_ops operations = {
                .lookup = on_lookup, .getattr = on_getattr, .setattr = on_setattr, .open = on_open, .fsync = on_fsync};
        static const struct fused_map_operations map_operations = {.begin = on_begin, .start = on_start};
        const struct fused_map_config config = {.block_size = BLOCK};
        _cleanup_fd_ int fd = -EBADF, direct_fd = -EBADF;
        struct fuse_cmdline_opts options = {0};
        int r;

        r = fuse_service_append_args(service, args);
        if (r < 0)
                return r;
        if (fuse_opt_parse(args, &own.arguments, option_rows, on_word) < 0 || fuse_service_parse_cmdline_opts(args, &options) < 0 ||
            !own.arguments.source)
                return -EINVAL;
        fd = receive(service, O_RDWR);
        if (fd < 0)
                return fd;
        direct_fd = receive(service, O_RDWR | O_DIRECT);
        r = fused_map_new(&own.map, service, args, &operations, sizeof operations, &map_operations, &config, NULL);
        if (r < 0)
                return r;
        r = fused_map_add_device(own.map, fd, 0);
        if (r >= 0) {
                own.size = (uint64_t) lseek(fd, 0, SEEK_END) / BLOCK * BLOCK;
                if (direct_fd >= 0)
                        (void) fused_map_add_direct(own.map, 1, direct_fd); /* image files have none */
                r = fused_map_run(own.map, &options);
        }
        fd = fd_close(fd);
        direct_fd = fd_close(direct_fd);
        fused_map_free(own.map);
        free(options.mountpoint);
        return r;
}

int main(int argc, char **argv) {
        struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
        struct fuse_service *service;
        int r;

        r = fuse_service_accept(&service);
        if (r < 0 || !fuse_service_accepted(service))
                return 1;
        r = run(service, &args);
        if (r < 0) {
                fprintf(stderr, "one-file: %s\n", strerror(-r));
                (void) fuse_service_send_goodbye(service, 1);
        }
        fuse_service_destroy(&service);
        fuse_opt_free_args(&args);
        free(own.arguments.source);
        free(own.arguments.lie);
        free(own.arguments.program);
        return fuse_service_exit(r);
}
