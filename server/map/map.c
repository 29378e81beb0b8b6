/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One mount of a server that maps: made, mounted, served, freed. See fused-map.h and map.h. */

#define FUSE_USE_VERSION 312
#include "map/kernel.h"
#include "map/user.h"
#include "service-private.h"

#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CACHE_BYTES_DEFAULT (32ULL << 20)
#define THREADS_DEFAULT 4U
#define FILES_MAX 1000000U
#define MAX_READ "max_read=262144"

void map_log(struct fused_map *map, const char *format, ...) {
        char line[512];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(line, sizeof line, format, arguments);
        va_end(arguments);
        fprintf(stderr, "fused-map: %s\n", line);
}

/* ---- hooks of the session ------------------------------------------------------------------------------------------- */

static unsigned threads_wanted(const struct fused_map *map) {
        return MIN_OF(map->config.threads ? map->config.threads : THREADS_DEFAULT, SESSION_THREADS_MAX);
}

static void add_clones(struct fused_map *map, unsigned n_threads) {
        while (session_n_threads(map->session) < n_threads) {
                int fd, r = channel_clone(map->channel, &fd);
                if (r >= 0)
                        r = session_add_clone(map->session, fd);
                if (r < 0)
                        break; /* -ENFILE: no more for this type */
        }
        map->statistics->n_threads = session_n_threads(map->session);
}

void map_decide(struct fused_map *map, const MapEngine *engine, ChannelEngineReason reason) {
        map->engine = engine;
        map->decided = true;
        map->statistics->engine = engine->number;
        map->statistics->reason = reason;
}

/* Whether there will be a second thread decides what can be agreed on; further ones come later, so that the mount need not wait for them. If the
 * kernel engine is possible, the kernel has the last word on it. */
static void on_init(void *userdata, const struct fuse_init_in *in, uint64_t offered, struct fuse_init_out *out) {
        struct fused_map *map = userdata;
        ChannelEngineReason reason = map_kernel_refusal(map, in, offered);

        add_clones(map, MIN_OF(threads_wanted(map), 2U));
        if (reason == CHANNEL_REASON_NONE)
                map->engine = &map_kernel_engine;
        else
                map_decide(map, &map_user_engine, reason);
        map->engine->init(map, in, offered, out);
}

static int on_started(void *userdata) {
        struct fused_map *map = userdata;

        return map->engine->started(map);
}

static SessionTaken on_request(void *userdata, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size) {
        struct fused_map *map = userdata;
        SessionTaken taken = map_whole_request(map, thread, header);

        return taken != SESSION_PASS ? taken : map->engine->request(map, thread, header, argument, size);
}

static void on_flush(void *userdata, SessionThread *thread) {
        struct fused_map *map = userdata;

        map->engine->flush(map, thread);
}

static const SessionHooks session_hooks = {
        .init = on_init, .started = on_started, .request = on_request, .flush = on_flush, .free_slot = batch_free};

/* ---- making --------------------------------------------------------------------------------------------------------- */

static int check_config(const struct fused_map_config *config) {
        uint32_t size = config->block_size;

        return size < 512 || size > 65536 || size & (size - 1) ? -EINVAL : 0;
}

/* The server's operations are called with what it gave, in a session of ours. */
static int make_parts(struct fused_map *map, const struct fuse_args *args, const struct fuse_lowlevel_ops *lowlevel, size_t size) {
        int r;

        if (map->service) {
                r = channel_new(map->service, &map->channel);
                if (r < 0)
                        map->channel = NULL; /* another helper than fused */
        }
        r = channel_statistics(map->channel, &map->statistics);
        if (r >= 0)
                r = map_files_new(&map->files);
        if (r >= 0)
                r = mapping_pool_new(map->config.cache_bytes, map->config.block_size, &map->pool);
        if (r >= 0)
                mapping_pool_set_give_up(map->pool, map_files_give_up, map->files);
        if (r >= 0)
                r = session_new(args, lowlevel, size, map->userdata, &session_hooks, map, &map->session);
        return r;
}

#define HAS(field) (lowlevel_size > offsetof(struct fuse_lowlevel_ops, field) && lowlevel->field)

int fused_map_new(struct fused_map **ret, struct fuse_service *sf, struct fuse_args *args, const struct fuse_lowlevel_ops *lowlevel,
                  size_t lowlevel_size, const struct fused_map_operations *operations, const struct fused_map_config *config, void *userdata) {
        struct fused_map *map;
        int r;

        r = check_config(config);
        if (r < 0 || !operations->begin)
                return r < 0 ? r : -EINVAL;
        map = calloc(1, sizeof *map);
        if (!map)
                return -ENOMEM;
        *map = (struct fused_map){
                .service = sf, .operations = *operations, .config = *config, .userdata = userdata, .engine = &map_user_engine, .files_max = FILES_MAX,
                .has_fallocate = HAS(fallocate), .has_fsync = HAS(fsync), .has_fsyncdir = HAS(fsyncdir),
                .kernel_calls = &map_kernel_calls, .caretaker_fd = -EBADF, .flush.lock = PTHREAD_MUTEX_INITIALIZER};
        if (map->config.max_bytes == 0)
                map->config.max_bytes = INT64_MAX;
        if (map->config.cache_bytes == 0)
                map->config.cache_bytes = CACHE_BYTES_DEFAULT;
        r = make_parts(map, args, lowlevel, lowlevel_size);
        if (r < 0) {
                fused_map_free(map);
                return r;
        }
        *ret = map;
        return 0;
}

void fused_map_free(struct fused_map *map) {
        if (!map)
                return;
        for (uint32_t i = 0; i < map->n_devices; i++)
                map->devices[i].direct_fd = fd_close(map->devices[i].direct_fd);
        map_whole_answer(map);
        map->session = session_free(map->session);
        if (map->engine->done)
                map->engine->done(map);
        map->program = map_program_free(map->program);
        map->files = map_files_free(map->files);
        map->pool = mapping_pool_free(map->pool);
        if (!map->channel)
                free(map->statistics);
        map->channel = channel_free(map->channel);
        free(map);
}

/* ---- devices -------------------------------------------------------------------------------------------------------- */

static int ask_size(int fd, bool *ret_is_block, uint32_t *ret_sector, uint64_t *ret) {
        uint32_t sector = 512;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        *ret_is_block = S_ISBLK(st.st_mode);
        *ret = (uint64_t) st.st_size;
        if (*ret_is_block && (ioctl(fd, BLKGETSIZE64, ret) < 0 || ioctl(fd, BLKSSZGET, &sector) < 0))
                return -errno;
        *ret_sector = sector;
        return S_ISBLK(st.st_mode) || S_ISREG(st.st_mode) ? 0 : -EINVAL;
}

int fused_map_add_device(struct fused_map *map, int fd, uint64_t size) {
        MapDevice device = {.fd = fd, .direct_fd = -EBADF, .sync_lock = PTHREAD_MUTEX_INITIALIZER};
        int r;

        if (map->n_devices == MAP_DEVICES_MAX)
                return -ENOSPC;
        r = ask_size(fd, &device.is_block, &device.sector, &device.size);
        if (r < 0)
                return r;
        if (size > device.size)
                return -EINVAL;
        if (size > 0)
                device.size = size;
        device.cookie = map->n_devices + 1;
        map->devices[map->n_devices++] = device;
        return (int) map->n_devices;
}

int fused_map_add_direct(struct fused_map *map, uint32_t dev, int fd) {
        MapDevice *device = map_device(map, dev);
        int flags = fcntl(fd, F_GETFL);

        if (!device || flags < 0)
                return -EINVAL;
        if (!(flags & O_DIRECT) || map->config.block_size < 4096) /* see user-device.c */
                return -EOPNOTSUPP;
        device->direct_fd = fd_dup(fd);
        return device->direct_fd < 0 ? device->direct_fd : 0;
}

/* ---- serving -------------------------------------------------------------------------------------------------------- */

int fused_map_serve(struct fused_map *map) {
        int r = session_start(map->session);

        if (r < 0)
                return r;
        add_clones(map, threads_wanted(map));
        r = map_caretaker_start(map);
        if (r < 0)
                return r;
        r = session_serve(map->session, session_n_threads(map->session));
        map_caretaker_stop(map);
        return r;
}

/* The kernel splits a large direct read into requests of this size, which several threads answer at the same time; that is worth more
 * than fewer requests. Where libfuse keeps the mount options to itself, they are as the caller gave them. */
static void limit_reads(struct fused_map *map) {
#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 19)
        if (!strstr(map->service->mount.options, "max_read="))
                (void) service_add_option(map->service, MAX_READ);
#endif
}

int fused_map_run(struct fused_map *map, struct fuse_cmdline_opts *opts) {
        int r;

        limit_reads(map);
        (void) fuse_service_finish_file_requests(map->service);
        r = fuse_service_session_mount(map->service, session_fuse(map->session), S_IFDIR, opts);
        if (r < 0)
                return r;
        (void) fuse_service_send_goodbye(map->service, 0);
        return fused_map_serve(map);
}

struct fuse_session *fused_map_session(struct fused_map *map) {
        return session_fuse(map->session);
}

/* ---- what servers say and ask --------------------------------------------------------------------------------------- */

int fused_map_upsert(struct fused_map *map, uint64_t nodeid, const struct fused_mapping *read, const struct fused_mapping *write) {
        _cleanup_file_ MapFile *file = map_file_get(map->files, nodeid);

        return file ? map->engine->upsert(map, file, read, write) : -ESTALE;
}

int fused_map_invalidate(struct fused_map *map, uint64_t nodeid, uint64_t offset, uint64_t length) {
        _cleanup_file_ MapFile *file = map_file_get(map->files, nodeid);

        return file ? map->engine->invalidate(map, file, offset, length) : 0;
}

int fused_map_set_size(struct fused_map *map, uint64_t nodeid, uint64_t size) {
        _cleanup_file_ MapFile *file = map_file_get(map->files, nodeid);

        return file ? map->engine->set_size(map, file, size) : 0;
}

int fused_map_device_invalidate(struct fused_map *map, uint32_t dev, uint64_t addr, uint64_t length) {
        MapDevice *device = map_device(map, dev);

        return device ? map->engine->device_invalidate(map, device, addr, length) : -ENODEV;
}

int fused_map_device_sync(struct fused_map *map, uint32_t dev) {
        MapDevice *device = map_device(map, dev);

        return device ? device_sync_all(device) : -ENODEV;
}

const char *fused_map_engine(const struct fused_map *map) {
        return map->engine->name;
}

uint64_t fused_map_size(struct fused_map *map, uint64_t nodeid) {
        _cleanup_file_ MapFile *file = map_file_get(map->files, nodeid);

        return file ? file->size : 0;
}

uint32_t fused_map_cookie(const struct fused_map *map, uint32_t dev) {
        return dev >= 1 && dev <= map->n_devices ? map->devices[dev - 1].cookie : 0;
}
