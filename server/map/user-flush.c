/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: requests that need what the kernel has in its cache to be written back first: it does not do so by itself before it
 * asks where holes are, and not as far as a direct read past the end needs it.
 *
 * A notification that drops the file's pages makes the kernel write them, to another thread of ours, so that one thread at a time may wait in it;
 * what others bring meanwhile is left for that one to do. */

#define FUSE_USE_VERSION 312
#include "map/user.h"

#include <string.h>

struct UserDeferred {
        UserDeferred *next;
        SessionThread *thread; /* whose descriptor the answer goes to */
        UserFlushed *then;
        size_t size;
        _Alignas(8) uint8_t request[sizeof(struct fuse_in_header) + 80];
};

bool user_may_flush(const struct fused_map *map) {
        return map->statistics->n_threads >= 2;
}

static void flush_then(struct fused_map *map, SessionThread *thread, SessionThread *origin, const struct fuse_in_header *header, size_t size,
                       UserFlushed *then) {
        const struct fuse_notify_inval_inode_out notice = {.ino = header->nodeid, .off = 0, .len = 0};

        (void) session_notify(thread, FUSE_NOTIFY_INVAL_INODE, &notice, sizeof notice); /* -ENOENT: not in the kernel's memory any more */
        then(map, thread, origin, header, size);
}

static UserDeferred *next_deferred(struct fused_map *map) {
        UserDeferred *deferred;

        (void) pthread_mutex_lock(&map->flush.lock);
        deferred = map->flush.first;
        if (deferred)
                map->flush.first = deferred->next;
        else
                map->flush.busy = false;
        (void) pthread_mutex_unlock(&map->flush.lock);
        return deferred;
}

/* True: somebody else will do it. */
static bool defer(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, size_t size, UserFlushed *then) {
        UserDeferred *deferred, **last;
        bool busy;

        (void) pthread_mutex_lock(&map->flush.lock);
        busy = map->flush.busy;
        map->flush.busy = true;
        if (busy) {
                deferred = calloc(1, sizeof *deferred);
                if (deferred && sizeof *header + size <= sizeof deferred->request) {
                        *deferred = (UserDeferred){.thread = thread, .then = then, .size = size};
                        memcpy(deferred->request, header, sizeof *header + size);
                        for (last = &map->flush.first; *last; last = &(*last)->next)
                                ;
                        *last = deferred;
                } else {
                        free(deferred);
                        (void) session_reply(thread, header->unique, -ENOMEM, NULL, 0);
                }
        }
        (void) pthread_mutex_unlock(&map->flush.lock);
        return busy;
}

void user_after_flush(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, size_t size, UserFlushed *then) {
        UserDeferred *deferred;

        if (defer(map, thread, header, size, then))
                return;
        flush_then(map, thread, thread, header, size, then);
        while ((deferred = next_deferred(map))) {
                flush_then(map, thread, deferred->thread, (void *) deferred->request, deferred->size, deferred->then);
                free(deferred);
        }
}
