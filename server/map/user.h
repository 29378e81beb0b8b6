/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside the user engine: the library moves the data between devices and kernel.
 *
 *   user.c        which request is whose; LSEEK, SETATTR, FALLOCATE, FSYNC   user-read.c, user-write.c   READ and WRITE
 *   user-batch.c  several small READs and WRITEs at the same time
 *   user-device.c moving bytes from and to devices                           user-zero.c  zeroing parts of blocks
 *   user-aio.c    the kernel's asynchronous I/O
 *   user-flush.c  requests that need the kernel to write back first
 *   user-attributes.c what a write changes beside the data
 */

#include <linux/aio_abi.h>

#include "map/map.h"

#define SEGMENTS_MAX 128 /* moved at once */
#define USER_BACKGROUND 64U /* direct reads, and what the kernel reads ahead and writes back, that are with us at the same time */

/* A piece of a request that lies together on a device. Not owned. */
typedef struct Segment {
        MapDevice *device;
        uint64_t addr;   /* bytes */
        uint64_t length; /* bytes */
        uint8_t *data;
} Segment;

typedef struct SegmentList {
        Segment segments[SEGMENTS_MAX];
        size_t n;
        bool write;
} SegmentList;

/* Appends, joining what lies together on device and in memory; moves what is there when the list is full. */
int segments_add(SegmentList *list, MapDevice *device, uint64_t addr, uint8_t *data, uint64_t length) _must_check_;
/* Moves everything, several pieces at the same time, and empties the list. -EIO: the device gave or took less. */
int segments_move(SegmentList *list) _must_check_;
int device_move(MapDevice *device, bool write, uint64_t addr, uint8_t *data, uint64_t length) _must_check_;
/* Several pieces at the same time, at most SEGMENTS_MAX; moved() is told of each as it is done, 0 or negative errno. */
typedef void (*SegmentMoved)(void *userdata, size_t i, int result);
void segments_move_each(const Segment *segments, const bool *writes, size_t n, SegmentMoved moved, void *userdata);
void device_written(MapDevice *device);
int device_sync(MapDevice *device) _must_check_; /* what was written, and has been answered, is on the media */
int device_sync_all(MapDevice *device) _must_check_; /* and what the server has written itself */
int devices_sync(struct fused_map *map, bool all) _must_check_; /* either of these, for all devices */
bool device_is_direct(const MapDevice *device, bool write, uint64_t length);

/* user-aio.c; each thread has a context of its own. */
bool aio_ready(void); /* false: there is none to be had */
long aio_submit(struct iocb **blocks, long n) _must_check_; /* how many, or negative errno */
long aio_wait(struct io_event *events, long n);             /* at least one, at most n */
bool aio_spin_pays(void);                    /* has waiting awake been worth it lately? false also if there is no context */
void aio_wait_awake(struct io_event *ret);   /* for one, if aio_spin_pays() */

/* Several small requests at the same time: user-batch.c. Keeps this one if it is a READ or WRITE of whole sectors in one mapping that needs
 * nobody's word afterwards. */
bool batch_keep(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size);
void batch_flush(struct fused_map *map, SessionThread *thread); /* moves and answers what was kept */
void batch_free(void *slot);

void user_answer_init(struct fused_map *map, const struct fuse_init_in *in, uint64_t offered, struct fuse_init_out *out);
/* Does then() when the kernel has written back what it caches of the file: now, or later in another thread. thread: the one that runs; origin:
 * the one whose request it is. size: bytes after header, at most 80. A READ is refused with EAGAIN while too many wait. */
typedef void UserFlushed(struct fused_map *map, SessionThread *thread, SessionThread *origin, const struct fuse_in_header *header, size_t size);
void user_after_flush(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, size_t size, UserFlushed *then);
void user_flush_init(struct fused_map *map);
bool user_may_flush(const struct fused_map *map); /* false: there is no other thread that could take what the kernel writes */

void user_read(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const struct fuse_read_in *in);
void user_write(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const struct fuse_write_in *in, uint8_t *data);
/* After a write past the kernel's write-back cache. */
void user_modified(struct fused_map *map, MapFile *file);
/* Has the server take privileges from a file, if it is for that; how: FUSED_KILL_*. 0 or negative errno. */
int user_kill_privileges(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, unsigned how) _must_check_;
bool user_write_kills(const struct fused_map *map, MapFile *file, const struct fuse_write_in *in); /* has this WRITE something to take away? */
int user_write_kill(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, MapFile *file,
                    const struct fuse_write_in *in) _must_check_;
/* ret_written, if wanted: how much from pos on is written and told, also if the rest has failed. 1: the server has it inline. */
int user_write_range(struct fused_map *map, MapFile *file, uint64_t pos, uint64_t size, uint8_t *data, uint32_t opflags,
                     uint64_t *ret_written) _must_check_;
/* Zeroes [from, to) where there is data, within one block; the caller has the file's exclusive lock. */
int user_zero(struct fused_map *map, MapFile *file, uint64_t from, uint64_t to) _must_check_;
/* Reads whole blocks; holes become zeroes. Nothing is looked at but the mappings. 1: the server has them inline. */
int user_read_range(struct fused_map *map, MapFile *file, uint64_t pos, uint64_t size, uint8_t *data, uint32_t opflags) _must_check_;
