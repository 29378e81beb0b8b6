/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An image made by mke2fs and opened by ext4-map's volume, without FUSE; e2fsck has the last word. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ext4-map/volume.h"

#define IMAGE_BYTES (64ULL << 20)

typedef struct Fixture {
        Volume volume;
        char path[64];
        int fd;
        uint64_t state; /* of the random numbers */
        ext2_ino_t ino;
} Fixture;

static inline uint32_t random_below(Fixture *f, uint32_t n) {
        f->state = f->state * 6364136223846793005ULL + 1442695040888963407ULL;
        return (uint32_t) (f->state >> 33) % n;
}

static inline int run_command(const char *format, ...) {
        char command[1024];
        va_list arguments;

        (void) strcpy(command, "PATH=$PATH:/usr/sbin:/sbin; ");
        va_start(arguments, format);
        (void) vsnprintf(command + strlen(command), sizeof command - strlen(command), format, arguments);
        va_end(arguments);
        int status = system(command);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void say(void *userdata, const char *line) {
        fprintf(stderr, "%s\n", line);
}

static inline void open_volume(Fixture *f, VolumeAccess access) {
        const VolumeHooks hooks = {.log = say};

        f->fd = open(f->path, O_RDWR | O_CLOEXEC);
        assert_true(f->fd >= 0);
        assert_int_equal(volume_open(&f->volume, f->fd, access, &hooks, NULL), 0);
        f->volume.dev = 1;
}

static inline void close_volume(Fixture *f) {
        assert_int_equal(volume_close(&f->volume), 0);
        (void) close(f->fd);
}

static inline void open_image_of(Fixture *f, uint64_t size, const char *options) {
        (void) snprintf(f->path, sizeof f->path, "/tmp/test-ext4-map.XXXXXX");
        f->fd = mkstemp(f->path);
        assert_true(f->fd >= 0);
        assert_int_equal(ftruncate(f->fd, (off_t) size), 0);
        (void) close(f->fd);
        assert_int_equal(run_command("mke2fs -q -F -t ext4 %s %s >/dev/null 2>&1", options, f->path), 0);
        f->state = 1;
        open_volume(f, VOLUME_WRITE);
}

static inline void open_image(Fixture *f, const char *options) {
        open_image_of(f, IMAGE_BYTES, options);
}

static inline void close_image(Fixture *f) {
        close_volume(f);
        assert_int_equal(run_command("e2fsck -fn %s", f->path), 0);
        (void) unlink(f->path);
}
