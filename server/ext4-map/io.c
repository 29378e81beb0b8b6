/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libext2fs' way to the device: plain reads and writes on a descriptor, through the page cache of the device. There is no path in the
 * sandbox; the "name" that is opened stands for the volume. File data does not come this way. */

#include "ext4-map/volume.h"

#include <string.h>
#include <unistd.h>

typedef struct Io {
        const Volume *volume; /* borrowed */
        bool writable;
} Io;

static errcode_t io_open(const char *name, int flags, io_channel *ret) {
        io_channel channel = calloc(1, sizeof *channel);
        Io *io = calloc(1, sizeof *io);

        if (!channel || !io) {
                free(channel);
                free(io);
                return EXT2_ET_NO_MEMORY;
        }
        io->volume = (const Volume *) (uintptr_t) strtoull(name, NULL, 16);
        io->writable = flags & IO_FLAG_RW;
        *channel = (struct struct_io_channel){.magic = EXT2_ET_MAGIC_IO_CHANNEL,
                                              .manager = &volume_io_manager,
                                              .name = strdup(name),
                                              .block_size = 1024,
                                              .refcount = 1,
                                              .private_data = io};
        *ret = channel;
        return 0;
}

static errcode_t io_close(io_channel channel) {
        if (--channel->refcount > 0)
                return 0;
        free(channel->private_data);
        free(channel->name);
        free(channel);
        return 0;
}

static errcode_t io_set_blksize(io_channel channel, int block_size) {
        channel->block_size = block_size;
        return 0;
}

/* count: blocks, or bytes if it is negative. */
static errcode_t place(io_channel channel, unsigned long long block, int count, off_t *ret_offset, size_t *ret_size) {
        uint64_t offset;

        if (__builtin_mul_overflow(block, (uint64_t) channel->block_size, &offset) || offset > INT64_MAX / 2)
                return EXT2_ET_SHORT_READ;
        *ret_offset = (off_t) offset;
        *ret_size = count < 0 ? (size_t) -(int64_t) count : (size_t) count * (size_t) channel->block_size;
        return 0;
}

int volume_read(const Volume *volume, uint64_t offset, size_t size, void *ret) {
        for (size_t done = 0; done < size;) {
                ssize_t n = RET_NERRNO(pread(volume->fd, (uint8_t *) ret + done, size - done, (off_t) (offset + done)));
                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? (int) n : -ENODATA;
                done += (size_t) n;
        }
        return recovery_read(volume, offset, size, ret);
}

static errcode_t io_read(io_channel channel, unsigned long long block, int count, void *data) {
        const Io *io = channel->private_data;
        size_t size = 0;
        off_t offset = 0;
        int r;

        errcode_t error = place(channel, block, count, &offset, &size);
        if (error)
                return error;
        r = volume_read(io->volume, (uint64_t) offset, size, data);
        if (r >= 0)
                return 0;
        memset(data, 0, size); /* nothing of an earlier use stays in it */
        return r == -ENODATA ? EXT2_ET_SHORT_READ : -r;
}

static errcode_t write_bytes(const Io *io, const char *data, size_t size, off_t offset) {
        if (!io->writable)
                return EROFS;
        for (size_t done = 0; done < size;) {
                ssize_t n = pwrite(io->volume->fd, data + done, size - done, offset + (off_t) done);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? errno : EIO;
                done += (size_t) n;
        }
        return 0;
}

static errcode_t io_write(io_channel channel, unsigned long long block, int count, const void *data) {
        size_t size = 0;
        off_t offset;

        errcode_t error = place(channel, block, count, &offset, &size);
        return error ? error : write_bytes(channel->private_data, data, size, offset);
}

static errcode_t io_read_narrow(io_channel channel, unsigned long block, int count, void *data) {
        return io_read(channel, block, count, data);
}

static errcode_t io_write_narrow(io_channel channel, unsigned long block, int count, const void *data) {
        return io_write(channel, block, count, data);
}

static errcode_t io_write_byte(io_channel channel, unsigned long offset, int size, const void *data) {
        return write_bytes(channel->private_data, data, (size_t) size, (off_t) offset);
}

static errcode_t io_flush(io_channel channel) {
        const Io *io = channel->private_data;

        return !io->writable || fdatasync(io->volume->fd) == 0 ? 0 : errno;
}

struct struct_io_manager volume_io_manager = {
        .magic = EXT2_ET_MAGIC_IO_MANAGER,
        .name = "a descriptor",
        .open = io_open,
        .close = io_close,
        .set_blksize = io_set_blksize,
        .read_blk = io_read_narrow,
        .write_blk = io_write_narrow,
        .flush = io_flush,
        .write_byte = io_write_byte,
        .read_blk64 = io_read,
        .write_blk64 = io_write,
};
