/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See fill.h. */

#include "stripe/fill.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "tool.h"

#define PIECE (1U << 20)

/* What is behind the end in the last block is zero, as the server expects it. */
static int pad(const StripeVolume *volume, const StripeFile *file) {
        return stripe_move(volume, file, /* write= */ true, file->size, NULL, ALIGN_TO(file->size, (uint64_t) STRIPE_BLOCK) - file->size);
}

int fill_file(StripeVolume *volume, uint32_t i, int fd, uint64_t size, const char *name, uint64_t total, uint64_t *done) {
        _cleanup_free_ char *piece = malloc(PIECE);
        StripeFile *file = &volume->table.files[i];
        int r = piece ? 0 : -ENOMEM;

        if (r >= 0 && size != UINT64_MAX)
                r = stripe_reserve(volume, i, size, /* apart= */ false);
        while (r >= 0 && file->size < size) {
                ssize_t n = RET_NERRNO(read(fd, piece, (size_t) MIN_OF((uint64_t) PIECE, size - file->size)));
                if (n == -EINTR)
                        continue;
                if (n == 0 && size != UINT64_MAX)
                        return tool_complain(name, "it became shorter while it was read", -EIO);
                if (n <= 0) {
                        r = (int) n;
                        break;
                }
                if (size == UINT64_MAX)
                        r = stripe_reserve(volume, i, file->size + (uint64_t) n, /* apart= */ false);
                if (r >= 0)
                        r = stripe_move(volume, file, /* write= */ true, file->size, piece, (uint64_t) n);
                if (r >= 0) {
                        file->size += (uint64_t) n;
                        *done += (uint64_t) n;
                        if (total > 0)
                                tool_progress("%3llu %% of %llu MiB", (unsigned long long) (*done * 100 / total), (unsigned long long) (total >> 20));
                }
        }
        if (r >= 0)
                r = pad(volume, file);
        return r < 0 ? tool_complain(name, NULL, r) : 0;
}

/* ---- directories ---------------------------------------------------------------------------------------------------- */

typedef struct Source {
        int directory_fd; /* owned */
        struct dirent **names; /* owned, in the order of their names */
        int n;
        uint64_t bytes;
} Source;

static void source_done(Source *source) {
        for (int i = 0; i < source->n; i++)
                free(source->names[i]);
        free(source->names);
        (void) fd_close(source->directory_fd);
}

static int is_no_dot(const struct dirent *entry) {
        return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* Adds the file without its data. */
static int announce(StripeVolume *volume, Source *source, const char *name) {
        struct stat st;
        int i;

        if (fstatat(source->directory_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return tool_complain(name, NULL, -errno);
        if (!S_ISREG(st.st_mode))
                return tool_complain(name, "it is no regular file; a striped volume has no others, and no directories", -EINVAL);
        i = stripe_add(volume, name);
        if (i < 0)
                return tool_complain(name, i == -ENOSPC ? "a striped volume has at most 500 files" : NULL, i);
        volume->table.files[i].mode = st.st_mode & 07777;
        volume->table.files[i].uid = st.st_uid;
        volume->table.files[i].gid = st.st_gid;
        volume->table.files[i].mtime = stripe_time(&st.st_mtim);
        source->bytes += (uint64_t) st.st_size;
        i = stripe_reserve(volume, (uint32_t) i, (uint64_t) st.st_size, /* apart= */ false);
        return i < 0 ? tool_complain(name, "there is no room for it", i) : 0;
}

static int copy(StripeVolume *volume, const Source *source, const char *name, uint64_t *done) {
        _cleanup_fd_ int fd = -EBADF;
        struct stat st;
        int i = stripe_find(volume, name);

        if (i < 0)
                return tool_complain(name, NULL, i);
        fd = RET_NERRNO(openat(source->directory_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
        if (fd < 0)
                return tool_complain(name, NULL, fd);
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return tool_complain(name, "it has changed", -EIO);
        return fill_file(volume, (uint32_t) i, fd, (uint64_t) st.st_size, name, source->bytes, done);
}

int fill_directory(StripeVolume *volume, const char *directory, uint32_t *ret_n, uint64_t *ret_bytes) {
        _cleanup_(source_done) Source source = {.directory_fd = -EBADF};
        uint64_t done = 0;
        int r = 0;

        source.directory_fd = RET_NERRNO(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (source.directory_fd < 0)
                return tool_complain(directory, NULL, source.directory_fd);
        source.n = scandirat(source.directory_fd, ".", &source.names, is_no_dot, alphasort);
        if (source.n < 0) {
                source.n = 0;
                return tool_complain(directory, NULL, -errno);
        }
        for (int i = 0; i < source.n && r >= 0; i++)
                r = announce(volume, &source, source.names[i]->d_name);
        for (int i = 0; i < source.n && r >= 0; i++)
                r = copy(volume, &source, source.names[i]->d_name, &done);
        tool_progress_end();
        *ret_n = (uint32_t) source.n;
        *ret_bytes = done;
        return r;
}
