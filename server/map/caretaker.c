/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A thread beside those that serve: shows the cache's numbers, takes memory back from it when the system is short of it, and has the kernel
 * forget files. */

#define FUSE_USE_VERSION 312
#include "map/map.h"
#include "map/pressure.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOK_MSEC 1000
#define PRUNE_MAX 512U /* files that the kernel is asked to forget at once */

/* The kernel remembers files as long as it has memory, which may be more than the server may use: that has some 300 bytes for each of them. What
 * is open, or otherwise used, the kernel keeps. */
static void forget_some(struct fused_map *map, size_t n) {
        _Alignas(AbiPrune) uint8_t memory[sizeof(AbiPrune) + PRUNE_MAX * sizeof(uint64_t)] = {0};
        AbiPrune *prune = (AbiPrune *) memory;

        for (size_t done = 0; done < n && map->files_max > 0; done += prune->count) {
                prune->count = (uint32_t) map_files_idle(map->files, prune->nodeids, MIN_OF(n - done, (size_t) PRUNE_MAX));
                if (prune->count == 0)
                        break;
                int r = session_notify_waiting(map->session, ABI_NOTIFY_PRUNE, prune, sizeof *prune + prune->count * sizeof(uint64_t));
                if (r == -EINVAL)
                        map->files_max = 0; /* an older kernel */
                if (r < 0)
                        break;
        }
}

/* A quarter goes at a time: what is used comes back soon, what is not stays away. */
static void give_back(struct fused_map *map) {
        MappingPoolFacts facts;

        forget_some(map, map_files_count(map->files) / 4);
        mapping_pool_facts(map->pool, &facts);
        if (facts.n_mappings == 0)
                return;
        (void) mapping_pool_shrink(map->pool, facts.bytes / 4 * 3);
        map->statistics->cache_shrunk++;
}

static void *take_care(void *userdata) {
        struct fused_map *map = userdata;
        PressureWatch watch = PRESSURE_WATCH_NONE;
        size_t n;

        if (channel_pressure(map->channel, watch.fds) < 0) /* a sandbox has neither of these: fused has to give us its own */
                pressure_open(&watch, "/proc", "/sys/fs/cgroup");
        for (;;) {
                map->statistics->pressure_watched = pressure_watched(&watch);
                struct pollfd fds[1 + PRESSURE_N_POLLED] = {{.fd = map->caretaker_fd, .events = POLLIN},
                                                            {.fd = watch.fds[PRESSURE_MACHINE], .events = PRESSURE_EVENTS},
                                                            {.fd = watch.fds[PRESSURE_GROUP], .events = PRESSURE_EVENTS}};
                (void) poll(fds, ELEMENTSOF(fds), LOOK_MSEC);
                if (fds[0].revents)
                        break;
                if (pressure_check(&watch, (const short[]){fds[1].revents, fds[2].revents}))
                        give_back(map);
                n = map->files_max > 0 ? map_files_count(map->files) : 0;
                if (n > map->files_max)
                        forget_some(map, n - map->files_max / 8 * 7);
                map_show_cache(map);
        }
        pressure_close(&watch);
        return NULL;
}

int map_caretaker_start(struct fused_map *map) {
        int r;

        map->caretaker_fd = RET_NERRNO(eventfd(0, EFD_CLOEXEC));
        if (map->caretaker_fd < 0)
                return map->caretaker_fd;
        r = -pthread_create(&map->caretaker, NULL, take_care, map);
        if (r < 0)
                map->caretaker_fd = fd_close(map->caretaker_fd);
        return r;
}

void map_caretaker_stop(struct fused_map *map) {
        const uint64_t one = 1;

        if (map->caretaker_fd < 0)
                return;
        (void) write(map->caretaker_fd, &one, sizeof one);
        (void) pthread_join(map->caretaker, NULL);
        map->caretaker_fd = fd_close(map->caretaker_fd);
}
