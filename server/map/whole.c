/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests about the whole mount. The kernel sends them where it has fuse-iomap, whichever engine it is then: SYNCFS, and DESTROY, for whose answer
 * umount(2) waits. That is given when the server has written everything and closed its devices: by fused_map_free(). */

#define FUSE_USE_VERSION 312
#include "map/user.h"

/* First what the server knows, then the devices' own memory, with all data in it: who has written that is not known here. */
static SessionTaken on_syncfs(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header) {
        int r, q;

        map->engine->flush(map, thread);
        r = map->operations.sync ? map->operations.sync(map->userdata) : 0;
        q = devices_sync(map, /* all= */ true);
        (void) session_reply(thread, header->unique, r < 0 ? r : q, NULL, 0);
        return SESSION_DONE;
}

/* Nothing comes after it, and what other threads are at is done before fused_map_serve() returns. */
static SessionTaken on_destroy(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header) {
        map->destroy.unique = header->unique;
        map->destroy.thread = thread;
        session_stop(thread);
        return SESSION_DONE;
}

SessionTaken map_whole_request(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header) {
        switch (header->opcode) {
        case FUSE_SYNCFS:
                return on_syncfs(map, thread, header);
        case FUSE_DESTROY:
                return on_destroy(map, thread, header);
        default:
                return SESSION_PASS;
        }
}

void map_whole_answer(struct fused_map *map) {
        if (map->destroy.thread)
                (void) session_reply(map->destroy.thread, map->destroy.unique, 0, NULL, 0);
        map->destroy.thread = NULL;
}
