/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine's way to devices: one piece by pread(2) or pwrite(2), several at the same time by io_submit(2).
 * The kernel is asked once for what lies together on a device, even where its memory does not.
 *
 * Data goes past the page cache of the device where it can (O_DIRECT): it is cached once, in the file's own pages. That asks for
 * blocks of a page or more, as a page of the device's cache that holds data and the server's metadata would be written
 * back whole over what went past it. With smaller blocks, and for image files, everything goes through the page cache. */

#define FUSE_USE_VERSION 312
#include "map/user.h"

#include <sys/uio.h>
#include <unistd.h>

#define AWAKE_MAX 16384 /* bytes: what takes longer to copy is not waited for awake */

bool device_is_direct(const MapDevice *device, bool write, uint64_t length) {
        return device->direct_fd >= 0;
}

static int device_fd(const MapDevice *device, const Segment *segment, bool write) {
        bool aligned = ((segment->addr | segment->length | (uintptr_t) segment->data) & (device->sector - 1)) == 0;

        return aligned && device_is_direct(device, write, segment->length) ? device->direct_fd : device->fd;
}

/* Sleeps, and asks for nothing but this: also while other requests of this thread are under way. */
static int move_plain(const Segment *segment, bool write) {
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

/* Segments that follow each other on one device, wherever their memory is: one request to the kernel. */
typedef struct Piece {
        size_t first, n; /* of the segments */
        uint64_t length; /* bytes */
        int fd;
        bool write;
} Piece;

static long submit(const Segment *segments, const struct iovec *vectors, const Piece *pieces, size_t n, struct iocb *blocks) {
        static const uint16_t opcodes[2][2] = {{IOCB_CMD_PREAD, IOCB_CMD_PREADV}, {IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV}};
        struct iocb *pointers[SEGMENTS_MAX];
        long submitted = 0;

        for (size_t i = 0; i < n; i++) {
                const Piece *p = &pieces[i];
                bool many = p->n > 1;
                blocks[i] = (struct iocb){
                        .aio_data = i,
                        .aio_lio_opcode = opcodes[p->write][many],
                        .aio_fildes = (uint32_t) p->fd,
                        .aio_buf = many ? (uintptr_t) &vectors[p->first] : (uintptr_t) segments[p->first].data,
                        .aio_nbytes = many ? p->n : p->length,
                        .aio_offset = (int64_t) segments[p->first].addr,
                };
                pointers[i] = &blocks[i];
        }
        while ((size_t) submitted < n) {
                long r = aio_submit(pointers + submitted, (long) n - submitted);
                if (r <= 0)
                        break;
                submitted += r;
        }
        return submitted;
}

/* Whether all of it is done; if not, who asks again finds out why. */
static bool move_awake(const Segment *segment, bool write) {
        const Piece piece = {.n = 1, .length = segment->length, .fd = segment->device->direct_fd, .write = write};
        struct io_event event;
        struct iocb block;

        if (submit(segment, NULL, &piece, 1, &block) != 1)
                return false;
        aio_wait_awake(&event);
        return event.res == (int64_t) segment->length;
}

/* With nothing else under way. */
static int move_one(const Segment *segment, bool write) {
        const bool direct = device_fd(segment->device, segment, write) == segment->device->direct_fd;

        return direct && segment->length <= AWAKE_MAX && aio_spin_pays() && move_awake(segment, write) ? 0 : move_plain(segment, write);
}

/* A piece that came back short is done again by hand, which finds out why; so is what the kernel has no room for. */
static void pieces_move(const Segment *segments, const struct iovec *vectors, const Piece *pieces, size_t n, SegmentMoved moved, void *userdata) {
        struct iocb blocks[SEGMENTS_MAX];
        struct io_event events[SEGMENTS_MAX];
        long submitted, done = 0;

        submitted = n > 1 && aio_ready() ? submit(segments, vectors, pieces, n, blocks) : 0;
        while (done < submitted) {
                long got = aio_wait(events, submitted - done);
                for (long i = 0; i < got; i++) {
                        const Piece *p = &pieces[events[i].data];
                        const int64_t got_bytes = events[i].res;
                        const bool is_short = got_bytes >= 0 && got_bytes != (int64_t) p->length;
                        for (size_t k = p->first; k < p->first + p->n; k++)
                                moved(userdata, k, is_short ? move_plain(&segments[k], p->write) : (int) MIN_OF(got_bytes, (int64_t) 0));
                }
                done += got;
        }
        for (size_t i = (size_t) submitted; i < n; i++)
                for (size_t k = pieces[i].first; k < pieces[i].first + pieces[i].n; k++)
                        moved(userdata, k, move_one(&segments[k], pieces[i].write)); /* nothing is under way any more */
}

void segments_move_each(const Segment *segments, const bool *writes, size_t n, SegmentMoved moved, void *userdata) {
        Piece pieces[SEGMENTS_MAX];

        for (size_t i = 0; i < n; i++)
                pieces[i] = (Piece){.first = i, .n = 1, .length = segments[i].length, .fd = device_fd(segments[i].device, &segments[i], writes[i]),
                                    .write = writes[i]};
        pieces_move(segments, NULL, pieces, n, moved, userdata);
}

static void keep_first_error(void *userdata, size_t i, int result) {
        int *r = userdata;

        if (*r >= 0)
                *r = result;
}

/* Which of the last pieces, as many as a mount has devices, ends where this one begins; n: none. */
static size_t find_piece(const Piece *pieces, const uint64_t *ends, size_t n, int fd, uint64_t addr) {
        for (size_t k = n; k-- > 0 && n - k <= MAP_DEVICES_MAX;)
                if (pieces[k].fd == fd && ends[k] == addr)
                        return k;
        return n;
}

/* Puts those into one piece that follow each other on their device, though not in the list: the chunks of a striped file do. Returns the number of
 * pieces; sorted and vectors hold the segments piece by piece. */
static size_t segments_gather(const SegmentList *list, Segment *sorted, struct iovec *vectors, Piece *pieces) {
        size_t piece_of[SEGMENTS_MAX], at[SEGMENTS_MAX], n = 0;
        uint64_t ends[SEGMENTS_MAX];

        for (size_t i = 0; i < list->n; i++) {
                const Segment *s = &list->segments[i];
                const int fd = device_fd(s->device, s, list->write);
                size_t k = piece_of[i] = find_piece(pieces, ends, n, fd, s->addr);
                if (k == n)
                        pieces[n++] = (Piece){.fd = fd, .write = list->write};
                pieces[k].n++;
                pieces[k].length += s->length;
                ends[k] = s->addr + s->length;
        }
        for (size_t k = 0; k < n; k++)
                at[k] = pieces[k].first = k == 0 ? 0 : pieces[k - 1].first + pieces[k - 1].n;
        for (size_t i = 0; i < list->n; i++) {
                const size_t to = at[piece_of[i]]++;
                sorted[to] = list->segments[i];
                vectors[to] = (struct iovec){sorted[to].data, sorted[to].length};
        }
        return n;
}

int segments_move(SegmentList *list) {
        Segment sorted[SEGMENTS_MAX];
        struct iovec vectors[SEGMENTS_MAX];
        Piece pieces[SEGMENTS_MAX];
        size_t n;
        int r = 0;

        if (list->n == 1)
                r = move_one(&list->segments[0], list->write);
        else {
                n = segments_gather(list, sorted, vectors, pieces);
                pieces_move(sorted, vectors, pieces, n, keep_first_error, &r);
        }
        if (list->write)
                for (size_t i = 0; i < list->n; i++)
                        if (i == 0 || list->segments[i].device != list->segments[i - 1].device)
                                device_written(list->segments[i].device);
        list->n = 0;
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

/* Counted when it has ended, and before it is answered: a sync that has begun earlier may have come too early for it. */
void device_written(MapDevice *device) {
        (void) atomic_fetch_add_explicit(&device->n_written, 1, memory_order_release);
}

static int sync_device(MapDevice *device, bool all) {
        uint64_t n_written;
        int r = 0;

        (void) pthread_mutex_lock(&device->sync_lock);
        n_written = atomic_load_explicit(&device->n_written, memory_order_acquire);
        if (all || n_written != device->n_synced) {
                r = RET_NERRNO(fdatasync(device->fd)); /* whichever descriptor wrote */
                if (r >= 0)
                        device->n_synced = n_written;
                else
                        (void) atomic_fetch_add(&device->n_errors, 1);
        }
        (void) pthread_mutex_unlock(&device->sync_lock);
        return r;
}

/* Who comes while another is at it waits for that one's end, and for another sync only if something was written since that one began. */
int device_sync(MapDevice *device) {
        return sync_device(device, /* all= */ false);
}

int device_sync_all(MapDevice *device) {
        return sync_device(device, /* all= */ true);
}

int devices_sync(struct fused_map *map, bool all) {
        int r = 0;

        for (uint32_t i = 0; i < map->n_devices && r >= 0 && !map->config.read_only; i++)
                r = sync_device(&map->devices[i], all);
        return r;
}
