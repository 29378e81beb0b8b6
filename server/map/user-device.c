/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine's way to devices: one piece by pread(2) or pwrite(2), several at the same time by io_submit(2).
 *
 * Data goes past the page cache of the device where it can (O_DIRECT): it is cached once, in the file's own pages. That asks for
 * blocks of a page or more, as a page of the device's cache that holds data and the server's metadata would be written
 * back whole over what went past it. With smaller blocks, and for image files, everything goes through the page cache. */

#define FUSE_USE_VERSION 312
#include "map/user.h"

#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread aio_context_t context; /* the kernel's, for the life of the thread */
static __thread int context_error;

bool device_is_direct(const MapDevice *device, bool write, uint64_t length) {
        return device->direct_fd >= 0;
}

static int device_fd(const MapDevice *device, const Segment *segment, bool write) {
        bool aligned = ((segment->addr | segment->length | (uintptr_t) segment->data) & (device->sector - 1)) == 0;

        return aligned && device_is_direct(device, write, segment->length) ? device->direct_fd : device->fd;
}

static int move_one(const Segment *segment, bool write) {
        int fd = device_fd(segment->device, segment, write);
        uint64_t done = 0;

        while (done < segment->length) {
                ssize_t n = RET_NERRNO(write ? pwrite(fd, segment->data + done, segment->length - done, (off_t) (segment->addr + done))
                                             : pread(fd, segment->data + done, segment->length - done, (off_t) (segment->addr + done)));
                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return n == 0 ? -EIO : (int) n; /* the device has become smaller */
                done += (uint64_t) n;
        }
        return 0;
}

static bool have_context(void) {
        if (!context && !context_error)
                context_error = RET_NERRNO((int) syscall(SYS_io_setup, SEGMENTS_MAX, &context));
        return context != 0;
}

static long submit(const Segment *segments, const bool *writes, size_t n, struct iocb *blocks) {
        struct iocb *pointers[SEGMENTS_MAX];
        long submitted = 0;

        for (size_t i = 0; i < n; i++) {
                const Segment *s = &segments[i];
                blocks[i] = (struct iocb){
                        .aio_data = i,
                        .aio_lio_opcode = writes[i] ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
                        .aio_fildes = (uint32_t) device_fd(s->device, s, writes[i]),
                        .aio_buf = (uintptr_t) s->data,
                        .aio_nbytes = s->length,
                        .aio_offset = (int64_t) s->addr,
                };
                pointers[i] = &blocks[i];
        }
        while ((size_t) submitted < n) {
                long r = RET_NERRNO(syscall(SYS_io_submit, context, (long) n - submitted, pointers + submitted));
                if (r <= 0)
                        break;
                submitted += r;
        }
        return submitted;
}

/* A piece that came back short is done again by hand, which finds out why; so is what the kernel has no room for. */
void segments_move_each(const Segment *segments, const bool *writes, size_t n, SegmentMoved moved, void *userdata) {
        struct iocb blocks[SEGMENTS_MAX];
        struct io_event events[SEGMENTS_MAX];
        long submitted, done = 0;

        submitted = n > 1 && have_context() ? submit(segments, writes, n, blocks) : 0;
        while (done < submitted) {
                long got = RET_NERRNO(syscall(SYS_io_getevents, context, 1L, submitted - done, events, NULL));
                if (got == -EINTR)
                        continue;
                if (got < 0)
                        abort(); /* memory is lent to the kernel, and nothing tells when it is done with it */
                for (long i = 0; i < got; i++) {
                        const Segment *s = &segments[events[i].data];
                        int r = events[i].res == (int64_t) s->length ? 0 : events[i].res < 0 ? (int) events[i].res
                                                                                         : move_one(s, writes[events[i].data]);
                        moved(userdata, events[i].data, r);
                }
                done += got;
        }
        for (size_t i = (size_t) submitted; i < n; i++)
                moved(userdata, i, move_one(&segments[i], writes[i]));
}

static void keep_first_error(void *userdata, size_t i, int result) {
        int *r = userdata;

        if (*r >= 0)
                *r = result;
}

int segments_move(SegmentList *list) {
        bool writes[SEGMENTS_MAX];
        size_t n = list->n;
        int r = 0;

        list->n = 0;
        if (list->write)
                for (size_t i = 0; i < n; i++)
                        atomic_store_explicit(&list->segments[i].device->dirty, true, memory_order_relaxed);
        if (n == 1)
                return move_one(&list->segments[0], list->write);
        for (size_t i = 0; i < n; i++)
                writes[i] = list->write;
        segments_move_each(list->segments, writes, n, keep_first_error, &r);
        return r;
}

int segments_add(SegmentList *list, MapDevice *device, uint64_t addr, uint8_t *data, uint64_t length) {
        Segment *last = list->n > 0 ? &list->segments[list->n - 1] : NULL;

        if (last && last->device == device && last->addr + last->length == addr && last->data + last->length == data) {
                last->length += length;
                return 0;
        }
        if (list->n == SEGMENTS_MAX) {
                int r = segments_move(list);
                if (r < 0)
                        return r;
        }
        list->segments[list->n++] = (Segment){.device = device, .addr = addr, .length = length, .data = data};
        return 0;
}

int device_move(MapDevice *device, bool write, uint64_t addr, uint8_t *data, uint64_t length) {
        SegmentList list = {.write = write, .n = 1, .segments = {{.device = device, .addr = addr, .length = length, .data = data}}};

        return segments_move(&list);
}

int device_sync(MapDevice *device) {
        int r = 0;

        if (atomic_exchange(&device->dirty, false))
                r = RET_NERRNO(fdatasync(device->fd)); /* whichever descriptor wrote */
        if (r < 0)
                device->dirty = true;
        return r;
}
