/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The smallest FUSE server. See mini-fuse.h; the structs are the kernel's (linux/fuse.h). */

#include "mini-fuse.h"

#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int reply(int fd, uint64_t unique, int error, const void *data, size_t size) {
        struct fuse_out_header header = {.len = (uint32_t) (sizeof header + size), .error = -error, .unique = unique};
        struct iovec parts[] = {{&header, sizeof header}, {(void *) data, size}};

        return writev(fd, parts, size > 0 ? 2 : 1) < 0 ? -errno : 0;
}

static int answer_init(int fd, const struct fuse_in_header *in, MiniFuse how) {
        struct fuse_init_out out = {.major = how == MINI_INIT_OLD ? 6 : 7,
                                    .minor = 31,
                                    .max_readahead = 65536,
                                    .max_write = 65536,
                                    .max_background = 8};

        if (how == MINI_INIT_ERROR)
                return reply(fd, in->unique, EPERM, NULL, 0);
        return reply(fd, in->unique, 0, &out, how == MINI_INIT_SHORT ? 0 : sizeof out);
}

static int answer(int fd, const struct fuse_in_header *in) {
        struct fuse_attr_out attributes = {.attr_valid = 1, .attr = {.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2, .blksize = 4096}};
        struct fuse_statfs_out fs = {.st = {.bsize = 4096, .namelen = 255}};
        struct fuse_open_out opened = {.fh = 1};

        switch (in->opcode) {
        case FUSE_GETATTR:
                return reply(fd, in->unique, 0, &attributes, sizeof attributes);
        case FUSE_STATFS:
                return reply(fd, in->unique, 0, &fs, sizeof fs);
        case FUSE_OPENDIR:
                return reply(fd, in->unique, 0, &opened, sizeof opened);
        case FUSE_READDIR:
        case FUSE_READDIRPLUS:
        case FUSE_RELEASEDIR:
        case FUSE_ACCESS:
                return reply(fd, in->unique, 0, NULL, 0);
        case FUSE_LOOKUP:
                return reply(fd, in->unique, ENOENT, NULL, 0);
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
        case FUSE_INTERRUPT:
                return 0; /* take no answer */
        default:
                return reply(fd, in->unique, ENOSYS, NULL, 0);
        }
}

int mini_fuse_serve(int device_fd, MiniFuse how) {
        static char buffer[65536 + 4096];
        struct fuse_in_header in;

        while (how == MINI_NEVER_INIT)
                pause();
        for (;;) {
                ssize_t n = read(device_fd, buffer, sizeof buffer);
                if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
                        continue;
                if (n < (ssize_t) sizeof in)
                        return n < 0 && errno == ENODEV ? 0 : 1;
                memcpy(&in, buffer, sizeof in);
                while (how == MINI_IGNORE_INIT || (how == MINI_HANG && in.opcode != FUSE_INIT))
                        pause();
                if (in.opcode == FUSE_INIT)
                        (void) answer_init(device_fd, &in, how);
                else
                        (void) answer(device_fd, &in);
        }
}

void mini_crash(void) {
        fprintf(stderr, "about to crash\n");
        (void) signal(SIGABRT, SIG_DFL);
        (void) signal(SIGSEGV, SIG_DFL); /* what abort() comes to in pid 1 */
        abort();
}

void mini_flood_stderr(void) {
        for (unsigned i = 0; i < 20000; i++)
                fprintf(stderr, "line %u of far too many, with \x1b[31mcolours\x1b[0m and a \xff byte\n", i);
}
