/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A FUSE server that does nothing: one file, whose every byte is what happens to be in a buffer. What reading it costs is what FUSE costs.
 * usage: null-server MOUNTPOINT BYTES THREADS, in the foreground, until it is unmounted */

#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/macro.h"

#define DATA_MAX (1U << 20) /* the kernel asks for no more at a time */
#define FILE_NODE 2
#define NAME "data"
#define FOREVER 86400.0

static uint64_t file_size;
static char *data;

static void init(void *userdata, struct fuse_conn_info *connection) {
        connection->want &= ~(unsigned) (FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static struct stat attributes(fuse_ino_t ino) {
        return ino == FUSE_ROOT_ID ? (struct stat){.st_ino = ino, .st_mode = S_IFDIR | 0755, .st_nlink = 2}
                                   : (struct stat){.st_ino = ino, .st_mode = S_IFREG | 0644, .st_nlink = 1, .st_size = (off_t) file_size};
}

static void lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
        const struct fuse_entry_param entry = {.ino = FILE_NODE, .attr = attributes(FILE_NODE), .attr_timeout = FOREVER, .entry_timeout = FOREVER};

        if (strcmp(name, NAME) != 0)
                (void) fuse_reply_err(req, ENOENT);
        else
                (void) fuse_reply_entry(req, &entry);
}

static void get_attributes(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        const struct stat st = attributes(ino);

        (void) fuse_reply_attr(req, &st, FOREVER);
}

static void open_file(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        (void) fuse_reply_open(req, fi);
}

static void read_file(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi) {
        const uint64_t left = (uint64_t) offset >= file_size ? 0 : file_size - (uint64_t) offset;

        (void) fuse_reply_buf(req, data, MIN_OF((uint64_t) size, left));
}

int main(int argc, char **argv) {
        static const struct fuse_lowlevel_ops operations = {.init = init, .lookup = lookup, .getattr = get_attributes, .open = open_file,
                                                            .read = read_file};
        char *words[] = {argv[0], (char[]){"-o"}, (char[]){"fsname=null"}};
        struct fuse_args args = FUSE_ARGS_INIT(3, words);
        struct fuse_loop_config *config = fuse_loop_cfg_create();
        struct fuse_session *session;
        int r;

        if (argc != 4 || !config)
                return 2;
        file_size = strtoull(argv[2], NULL, 10);
        data = mmap(NULL, 4UL * DATA_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data == MAP_FAILED)
                return 1;
        data += -(uintptr_t) data & (2 * DATA_MAX - 1); /* one huge page, as fused's servers have */
        (void) madvise(data, 2UL * DATA_MAX, MADV_HUGEPAGE);
        memset(data, 'x', DATA_MAX);
        session = fuse_session_new(&args, &operations, sizeof operations, NULL);
        if (!session || fuse_set_signal_handlers(session) != 0 || fuse_session_mount(session, argv[1]) != 0)
                return 1;
        fuse_loop_cfg_set_clone_fd(config, 1);
        fuse_loop_cfg_set_max_threads(config, (unsigned) strtoul(argv[3], NULL, 10));
        r = fuse_session_loop_mt(session, config);
        fuse_session_unmount(session);
        fuse_session_destroy(session);
        fuse_loop_cfg_destroy(config);
        return r < 0 ? 1 : 0;
}
