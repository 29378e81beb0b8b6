/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: requests that need what the kernel has in its cache to be written back first: it does not do so by itself before it
 * asks where holes are, and not as far as a direct read past the end needs it.
 *
 * A notification that drops the file's pages makes the kernel write them, to another thread of ours, so that one thread at a time may wait in it;
 * what others bring meanwhile is left for that one to do, all requests for a file after one flush. A search for holes may take long, and
 * needs no more of the kernel: it comes after the reads, and another thread may flush during it, if one is left for what the kernel writes.
 *
 * What is written back is sent to us only while fewer than max_background requests are with us, of which a direct read that waits here is one.
 * So not all of those may wait: the flush would wait for what it keeps out. */

#define FUSE_USE_VERSION 312
#include "map/user.h"

#include <string.h>
#include <sys/sysinfo.h>

#define BATCHES_MAX 8U /* files that are flushed before those that were are searched */

struct UserDeferred {
        UserDeferred *next;
        SessionThread *thread; /* whose descriptor the answer goes to */
        UserFlushed *then;
        size_t size;
        bool is_read, is_own;  /* own: of the thread that flushes, on its stack */
        _Alignas(8) uint8_t request[sizeof(struct fuse_in_header) + 80];
};

bool user_may_flush(const struct fused_map *map) {
        return session_n_threads(map->session) >= 2;
}

/* The kernel gives a server without privilege so many, whatever it wants (max_user_bgreq of fs/fuse/inode.c), unless the administrator says
 * otherwise. */
void user_flush_init(struct fused_map *map) {
        struct sysinfo info;
        const uint64_t bytes = sysinfo(&info) < 0 ? 0 : (uint64_t) info.totalram * info.mem_unit;
        const unsigned given = (unsigned) MIN_OF(bytes / 8192 / 392, (uint64_t) USER_BACKGROUND);

        map->flush.reads_max = MAX_OF(given * 3 / 4, 1U);
}

static const struct fuse_in_header *header_of(const UserDeferred *deferred) {
        return (const void *) deferred->request;
}

/* The first that waits, and what else waits for the same file: all of it is older than the flush to come. NULL: nothing. */
static UserDeferred *take_batch(struct fused_map *map) {
        UserDeferred *batch, **end, **place;

        (void) pthread_mutex_lock(&map->flush.lock);
        batch = map->flush.first;
        if (batch) {
                map->flush.first = batch->next;
                end = &batch->next;
                for (place = &map->flush.first; *place;)
                        if (header_of(*place)->nodeid == header_of(batch)->nodeid) {
                                *end = *place;
                                *place = (*place)->next;
                                end = &(*end)->next;
                        } else
                                place = &(*place)->next;
                *end = NULL;
        }
        (void) pthread_mutex_unlock(&map->flush.lock);
        return batch;
}

/* False: the server is about to end, nobody would answer what the kernel writes. */
static bool flush(SessionThread *thread, uint64_t nodeid) {
        const struct fuse_notify_inval_inode_out notice = {.ino = nodeid, .off = 0, .len = 0};

        if (!session_needs_others(thread))
                return false;
        (void) session_notify(thread, FUSE_NOTIFY_INVAL_INODE, &notice, sizeof notice); /* -ENOENT: not in the kernel's memory any more */
        session_needs_nobody(thread);
        return true;
}

/* Those that are not answered are the kernel's to end, with the connection. */
static void finish(struct fused_map *map, SessionThread *thread, UserDeferred *deferred, bool is_flushed) {
        if (is_flushed)
                deferred->then(map, thread, deferred->thread, header_of(deferred), deferred->size);
        if (deferred->is_read)
                (void) atomic_fetch_sub(&map->flush.n_reads, 1);
        if (!deferred->is_own)
                free(deferred);
}

/* Searches are left for later, in a list with those that are there already. */
static void do_batch(struct fused_map *map, SessionThread *thread, UserDeferred *batch, UserDeferred **searches) {
        const bool is_flushed = flush(thread, header_of(batch)->nodeid);

        for (UserDeferred *deferred = batch, *next; deferred; deferred = next) {
                next = deferred->next;
                if (is_flushed && !deferred->is_read) {
                        deferred->next = *searches;
                        *searches = deferred;
                } else
                        finish(map, thread, deferred, is_flushed);
        }
}

/* 0: the caller is to flush; 1: somebody does already, or will look whether to when it has searched. own stays the caller's where it is the first
 * to be taken, which is by the caller. */
static int defer(struct fused_map *map, UserDeferred *own) {
        const bool other = map->flush.busy || map->flush.n_searching + 2 > session_n_threads(map->session);
        UserDeferred *deferred = own, **last = &map->flush.first;

        if (own->is_read && atomic_load(&map->flush.n_reads) >= map->flush.reads_max)
                return -EAGAIN;
        if (other || map->flush.first) {
                deferred = malloc(sizeof *deferred);
                if (!deferred)
                        return -ENOMEM;
                *deferred = *own;
                deferred->is_own = false;
        }
        while (*last)
                last = &(*last)->next;
        *last = deferred;
        if (own->is_read)
                (void) atomic_fetch_add(&map->flush.n_reads, 1);
        map->flush.busy |= !other;
        return other;
}

static void search_begin(struct fused_map *map) {
        (void) pthread_mutex_lock(&map->flush.lock);
        map->flush.busy = false;
        map->flush.n_searching++;
        (void) pthread_mutex_unlock(&map->flush.lock);
}

/* Whether this thread is to flush again. */
static bool search_end(struct fused_map *map) {
        bool again;

        (void) pthread_mutex_lock(&map->flush.lock);
        map->flush.n_searching--;
        again = map->flush.first && !map->flush.busy;
        map->flush.busy |= again;
        (void) pthread_mutex_unlock(&map->flush.lock);
        return again;
}

static void take_turn(struct fused_map *map, SessionThread *thread) {
        do {
                UserDeferred *searches = NULL, *batch;
                for (unsigned n = 0; (n < BATCHES_MAX || !searches) && (batch = take_batch(map)); n++)
                        do_batch(map, thread, batch, &searches);
                search_begin(map);
                for (UserDeferred *next; searches; searches = next) {
                        next = searches->next;
                        finish(map, thread, searches, /* is_flushed= */ true);
                }
        } while (search_end(map));
}

void user_after_flush(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, size_t size, UserFlushed *then) {
        UserDeferred own = {.thread = thread, .then = then, .size = size, .is_read = header->opcode == FUSE_READ, .is_own = true};
        int r;

        assert(sizeof *header + size <= sizeof own.request);
        memcpy(own.request, header, sizeof *header + size);
        (void) pthread_mutex_lock(&map->flush.lock);
        r = defer(map, &own);
        (void) pthread_mutex_unlock(&map->flush.lock);
        if (r < 0)
                (void) session_reply(thread, header->unique, r, NULL, 0);
        if (r == 0)
                take_turn(map, thread);
}
