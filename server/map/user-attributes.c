/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: what a write changes of a file beside its data: its times, and the privileges it gives to who executes it. */

#define FUSE_USE_VERSION 312
#include "map/user.h"

#include <sys/stat.h>
#include <time.h>

/* Times of change have the resolution of the kernel's clock tick, as those of file systems in the kernel: the server, which takes a lock and writes
 * an inode, is told once per tick. */
void user_modified(struct fused_map *map, MapFile *file) {
        struct timespec now;
        uint64_t tick;

        if (!map->operations.modified)
                return;
        (void) clock_gettime(CLOCK_REALTIME_COARSE, &now);
        tick = (uint64_t) now.tv_sec * 1000000000U + (uint64_t) now.tv_nsec;
        if (atomic_exchange_explicit(&file->modified, tick, memory_order_relaxed) != tick)
                map->operations.modified(map->userdata, file->nodeid);
}

uint32_t fused_kill_set_id(uint32_t mode, gid_t file_gid, uid_t uid, gid_t gid) {
        bool group = mode & S_IXGRP || (uid != 0 && gid != file_gid);

        return mode & (S_ISUID | (group ? S_ISGID : 0));
}

/* With FUSE_HANDLE_KILLPRIV_V2 the kernel asks for this with the requests that call for it, and keeps in mind that a file has no
 * security.capability; without, it asks for that attribute before every buffered write. It does not know that the mode has changed until it
 * is told, before anybody learns that the write is done. */
int user_kill_privileges(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, unsigned how) {
        const struct fuse_notify_inval_inode_out notice = {.ino = header->nodeid, .off = -1}; /* attributes only */
        int r;

        if (!map->operations.kill_privileges || map->config.read_only)
                return 0;
        r = map->operations.kill_privileges(map->userdata, header->nodeid, how, header->uid, header->gid);
        if (r > 0)
                (void) session_notify(thread, FUSE_NOTIFY_INVAL_INODE, &notice, sizeof notice);
        return MIN_OF(r, 0);
}

/* The kernel removes capabilities before it writes to its cache, but not before what goes past it. */
static unsigned kill_how(const struct fused_map *map, MapFile *file, const struct fuse_write_in *in) {
        const bool capability = map->operations.kill_privileges && !(in->write_flags & FUSE_WRITE_CACHE) && !atomic_load(&file->no_capability);

        return (in->write_flags & FUSE_WRITE_KILL_SUIDGID ? FUSED_KILL_SET_ID : 0) | (capability ? FUSED_KILL_CAPABILITY : 0);
}

bool user_write_kills(const struct fused_map *map, MapFile *file, const struct fuse_write_in *in) {
        return kill_how(map, file, in) != 0;
}

int user_write_kill(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, MapFile *file,
                    const struct fuse_write_in *in) {
        const unsigned how = kill_how(map, file, in);

        if (!how)
                return 0;
        if (how & FUSED_KILL_CAPABILITY)
                file->no_capability = true; /* first: whoever sets one at the same time takes this back afterwards */
        int r = user_kill_privileges(map, thread, header, how);
        if (r < 0 && how & FUSED_KILL_CAPABILITY)
                file->no_capability = false;
        return r;
}
