/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside the mapping library: one mount. See fused-map.h for what it does for a server.
 *
 *   map.c       making, mounting, the choice of the engine      lookup.c   cache, then program, then server, each checked
 *   file.c      mapped files, by node id                        rules.c    what a mapping has to keep
 *   replies.c   entries, attributes, opens                      program.c  running a mapping program by its descriptor
 *   caretaker.c  every second: numbers to be shown, memory pressure   whole.c   requests about the whole mount
 *   user*.c     the user engine                                 kernel*.c  the kernel engine
 */

#include <pthread.h>
#include <stdatomic.h>

#include "base/fd.h"
#include "base/hash.h"
#include "channel.h"
#include "fused-map.h"
#include "map/cache.h"
#include "session/session.h"

typedef struct MapEngine MapEngine;
typedef struct MapFile MapFile;
typedef struct MapFiles MapFiles;
typedef struct MapProgram MapProgram;
typedef struct MapKernelCalls MapKernelCalls;

#define MAP_DEVICES_MAX FUSED_PROGRAM_DEVICES_MAX

typedef struct MapDevice {
        int fd;             /* borrowed: the server's, buffered */
        int direct_fd;      /* owned: another open file of the same with O_DIRECT, or -EBADF */
        uint64_t size;      /* bytes */
        uint32_t sector;    /* bytes: what direct I/O must be aligned to */
        uint32_t cookie;    /* the kernel engine's; else its number */
        bool is_block;
        _Atomic uint64_t n_written; /* writes that have ended; user engine: before they are answered */
        pthread_mutex_t sync_lock;
        uint64_t n_synced;  /* of them, when the last fdatasync(2) that has succeeded began; under the lock */
        atomic_uint n_errors; /* failed ones: the kernel tells each failure once, and not whose data it was */
} MapDevice;

typedef struct UserDeferred UserDeferred;

struct fused_map {
        struct fuse_service *service; /* borrowed */
        struct fused_map_operations operations;
        struct fused_map_config config;
        void *userdata;
        bool has_fallocate, has_fsync, has_fsyncdir; /* of the server's low-level operations */
        const MapEngine *engine;
        void *engine_data;            /* owned by the engine */
        Session *session;             /* owned */
        Channel *channel;             /* owned; NULL: the helper has none */
        ChannelStatistics *statistics; /* the channel's, or private */
        MapDevice devices[MAP_DEVICES_MAX]; /* number - 1 */
        uint32_t n_devices;
        MapFiles *files;              /* owned */
        size_t files_max;             /* from here on the kernel is asked to forget some; 0: it does not take that */
        MappingPool *pool;            /* owned */
        MapProgram *program;          /* owned; set once, before requests are served */
        bool program_attached;        /* the kernel runs it */
        const MapKernelCalls *kernel_calls; /* kernel.h */
        void *kernel_userdata;        /* whoever has put other calls there */
        bool decided;                 /* the engine is for good, and shown */
        atomic_bool kernel_moves;     /* kernel engine: the kernel has asked where data is, or taken it in: it moves data itself */
        int start_error;              /* what start() has said then */
        atomic_uint n_complaints;
        bool has_started;             /* start() was called before FUSE_INIT was answered */
        bool writes_back;             /* user engine: the kernel keeps what is written, and knows sizes better */
        struct { /* whole.c */
                SessionThread *thread; /* NULL: nobody waits for it */
                uint64_t unique;
        } destroy;
        struct { /* user engine: user-flush.c */
                pthread_mutex_t lock;
                UserDeferred *first;  /* owned: requests that wait for their turn */
                bool busy;            /* a thread waits for the kernel, and does what waits afterwards */
                unsigned n_searching; /* threads that have flushed, and look when they are done whether anybody does */
                atomic_uint n_reads;  /* READs that wait, or are done after the flush under way */
                unsigned reads_max;   /* at most; the next is told to try again */
        } flush;
        pthread_t caretaker;
        int caretaker_fd;             /* owned: readable when it is to end; negative: it does not run */
};

/* What the engines do differently. All hooks may be called from several threads. */
struct MapEngine {
        const char *name;
        ChannelEngine number;
        uint32_t attr_flags; /* in fuse_attr.flags of a mapped file */
        /* Change what FUSE_INIT is answered with. */
        void (*init)(struct fused_map *map, const struct fuse_init_in *in, uint64_t offered, struct fuse_init_out *out);
        /* FUSE_INIT is answered; calls operations.start() when devices have their cookies. */
        int (*started)(struct fused_map *map);
        SessionTaken (*request)(struct fused_map *map, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size);
        void (*flush)(struct fused_map *map, SessionThread *thread);
        void (*open)(struct fused_map *map, const struct fuse_file_info *fi, struct fuse_open_out *out);
        int (*upsert)(struct fused_map *map, MapFile *file, const struct fused_mapping *read, const struct fused_mapping *write);
        int (*invalidate)(struct fused_map *map, MapFile *file, uint64_t offset, uint64_t length);
        int (*set_size)(struct fused_map *map, MapFile *file, uint64_t size);
        int (*device_invalidate)(struct fused_map *map, MapDevice *device, uint64_t addr, uint64_t length);
        void (*done)(struct fused_map *map);
};
extern const MapEngine map_user_engine;
extern const MapEngine map_kernel_engine;
void map_decide(struct fused_map *map, const MapEngine *engine, ChannelEngineReason reason);
/* Why the kernel engine is out of the question after what FUSE_INIT says, or NONE. */
ChannelEngineReason map_kernel_refusal(const struct fused_map *map, const struct fuse_init_in *in, uint64_t offered);

/* ---- files ---------------------------------------------------------------------------------------------------------- */

struct MapFile {
        HashLink link;       /* in the table of files, by nodeid */
        uint64_t nodeid, ino;
        uint64_t n_lookup;   /* the kernel's, under that table's lock */
        atomic_uint n_ref;   /* 1 for the table, 1 for each user */
        _Atomic uint64_t size;      /* as the kernel sees it */
        _Atomic uint64_t disk_size; /* as the server has recorded it */
        _Atomic uint64_t modified;  /* user engine: the clock's tick, in ns, in which the server was last told of a write; 0: tell it */
        _Atomic(MappingCache *) read_cache;  /* made by an upsert; given up, both at once, under cache_lock and io */
        _Atomic(MappingCache *) write_cache; /* none: writes go where reads come from */
        atomic_uint errors_seen; /* of those of all devices, by this file's fsync */
        _Atomic uint32_t sides; /* counts up before and after both of them are changed together: odd meanwhile */
        pthread_mutex_t cache_lock; /* of who changes what is cached of this file */
        pthread_rwlock_t io; /* shared: whole blocks are moved, the cache is asked; exclusive: parts of blocks, truncation, allocation by request */
        atomic_bool has_program;
        atomic_bool no_capability; /* user engine: the server has been asked to remove security.capability, nobody has set it since */
        atomic_bool kernel_caches; /* kernel engine: it has taken a mapping of this file into its cache */
        atomic_bool ordinary;      /* kernel engine: the kernel takes it for a file that is not mapped */
};

int map_files_new(MapFiles **ret) _must_check_;
MapFiles *map_files_free(MapFiles *files);
/* One more lookup of this node; it is made if it is not there. size and n_errors (map_sync_errors()) count only then. */
int map_file_lookup(MapFiles *files, uint64_t nodeid, uint64_t ino, uint64_t size, unsigned n_errors) _must_check_;
void map_file_forget(MapFiles *files, uint64_t nodeid, uint64_t n_lookup);
MappingGiveUp map_files_give_up; /* userdata: MapFiles */
size_t map_files_count(MapFiles *files);
/* At most n that no request is at, in turn; returns how many. For one thread. */
size_t map_files_idle(MapFiles *files, uint64_t *ret, size_t n);
MapFile *map_file_get(MapFiles *files, uint64_t nodeid); /* a reference, or NULL */
MapFile *map_file_unref(MapFile *file);
DEFINE_CLEANUP(MapFile *, map_file_unrefp, map_file_unref)
#define _cleanup_file_ _cleanup_(map_file_unrefp)

/* ---- lookup --------------------------------------------------------------------------------------------------------- */

/* Where pos is: *ret_read and, for what changes the file, *ret_write (PURE_OVERWRITE if it is the same place). Checked. */
int map_lookup(struct fused_map *map, MapFile *file, uint64_t pos, uint64_t count, uint32_t opflags,
               struct fused_mapping *ret_read, struct fused_mapping *ret_write) _must_check_;
/* Rules and devices, for what is to be put into a cache; either half may be NULL. Counts and logs (once) what breaks them. */
int map_check_upsert(struct fused_map *map, const MapFile *file, const struct fused_mapping *read, const struct fused_mapping *write) _must_check_;
/* The same without the cache. */
int map_ask(struct fused_map *map, MapFile *file, const struct fused_map_request *request, struct fused_mapping *ret_read,
            struct fused_mapping *ret_write) _must_check_;
/* Counts, logs the first, returns -EUCLEAN. */
int map_complain(struct fused_map *map, const MapFile *file, const struct fused_mapping *mapping, const char *who, const char *rule) _must_check_;
MapDevice *map_device(struct fused_map *map, uint32_t number); /* NULL: none */
uint32_t map_number(const struct fused_map *map, uint32_t cookie); /* 0 for 0; UINT32_MAX: no such device */
unsigned map_sync_errors(const struct fused_map *map); /* so many times so far could a device not be synced */
void map_raise(_Atomic uint64_t *size, uint64_t to); /* never less than it was */
int map_ioend(struct fused_map *map, MapFile *file, uint64_t pos, uint64_t written, uint32_t flags, int error,
              const struct fused_mapping *mapping) _must_check_;
int map_upsert_cache(struct fused_map *map, MapFile *file, const struct fused_mapping *read, const struct fused_mapping *write) _must_check_;
void map_show_cache(struct fused_map *map); /* its numbers, in the page that the supervisor shows */

/* ---- replies -------------------------------------------------------------------------------------------------------- */

/* While a thread has set this, fused_map_reply_attr() keeps the answer here instead of sending it. */
typedef struct MapHeldAttr {
        fuse_req_t req; /* NULL: none yet */
        struct fuse_attr_out out;
} MapHeldAttr;
extern _Thread_local MapHeldAttr *map_held_attr;
int map_send_attr(const MapHeldAttr *attr);

/* ---- the whole mount ------------------------------------------------------------------------------------------------ */

/* SESSION_PASS: it is none of these. */
SessionTaken map_whole_request(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header);
void map_whole_answer(struct fused_map *map); /* to who waits for the end of the mount */

/* ---- programs ------------------------------------------------------------------------------------------------------- */

/* True: handled, and call holds both halves. */
bool map_program_run(MapProgram *program, struct fused_program_call *call);
MapProgram *map_program_free(MapProgram *program);

static inline void map_count(uint64_t *counter, uint64_t n) { /* shared with whoever shows it */
        (void) __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

int map_caretaker_start(struct fused_map *map) _must_check_;
void map_caretaker_stop(struct fused_map *map);

_printf_(2, 3) void map_log(struct fused_map *map, const char *format, ...);
