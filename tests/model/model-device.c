/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model of the kernel: devices, and the ioctls about them; what is moved between them and memory. See model.h.
 *
 * The kernel moves the data of files past the devices' page cache. What the server has written to its descriptor stays in there until it is
 * synchronised or dropped: the kernel would read what was there before, and be written over later. So it must not be there. Tests that see the
 * server's writes say so here. */

#define FUSE_USE_VERSION 312
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/model.h"

#define SECTOR 512U

/* ---- which files count as devices ----------------------------------------------------------------------------------- */

void model_say_block_device(Model *model, int fd) {
        struct stat st;

        assert_int_equal(fstat(fd, &st), 0);
        assert_true(model->n_disks < MODEL_DEVICES_MAX);
        model->disks[model->n_disks] = (ModelDisk){.dev = st.st_dev, .ino = st.st_ino, .n_sectors = (uint64_t) st.st_size / SECTOR};
        model->disks[model->n_disks].dirty = calloc(1, model->disks[model->n_disks].n_sectors + 1);
        assert_non_null(model->disks[model->n_disks].dirty);
        model->n_disks++;
}

void model_say_block_devices(Model *model, struct fused_map *map) {
        for (uint32_t i = 0; i < map->n_devices; i++) {
                map->devices[i].is_block = true;
                model_say_block_device(model, map->devices[i].fd);
        }
}

static ModelDisk *disk_of(Model *model, int fd) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return NULL;
        for (size_t i = 0; i < model->n_disks; i++)
                if (model->disks[i].dev == st.st_dev && model->disks[i].ino == st.st_ino)
                        return &model->disks[i];
        return NULL;
}

/* ---- their page cache ----------------------------------------------------------------------------------------------- */

static void mark(ModelDisk *disk, uint64_t addr, uint64_t size, bool dirty) {
        const uint64_t first = MIN_OF(addr / SECTOR, disk->n_sectors), end = MIN_OF((addr + size + SECTOR - 1) / SECTOR, disk->n_sectors);

        memset(disk->dirty + first, dirty, MAX_OF(end, first) - first);
}

void model_server_wrote(Model *model, int fd, uint64_t addr, uint64_t size) {
        (void) pthread_mutex_lock(&model->lock);
        ModelDisk *disk = disk_of(model, fd);
        if (disk && !(fcntl(fd, F_GETFL) & O_DIRECT))
                mark(disk, addr, size, true);
        (void) pthread_mutex_unlock(&model->lock);
}

void model_server_synced(Model *model, int fd) {
        (void) pthread_mutex_lock(&model->lock);
        ModelDisk *disk = disk_of(model, fd);
        if (disk)
                mark(disk, 0, disk->n_sectors * SECTOR, false);
        (void) pthread_mutex_unlock(&model->lock);
}

void model_device_drop(Model *model, ModelDevice *device, uint64_t addr, uint64_t size) {
        ModelDisk *disk = disk_of(model, device->fd);

        if (disk)
                mark(disk, addr, MIN_OF(size, device->size - addr), false);
}

static void check_clean(Model *model, const ModelDevice *device, uint64_t addr, uint64_t size) {
        const ModelDisk *disk = disk_of(model, device->fd);

        (void) pthread_mutex_lock(&model->lock);
        for (uint64_t i = addr / SECTOR; disk && i < (addr + size) / SECTOR; i++)
                if (disk->dirty[i])
                        fail_msg("the device's cache holds something that the server has written at %llu", (unsigned long long) i * SECTOR);
        (void) pthread_mutex_unlock(&model->lock);
}

/* By the bare system call: nobody's wrapper takes it for the server's. */
int model_move(Model *model, bool write, const struct fused_mapping *m, uint64_t pos, uint8_t *data, size_t size) {
        ModelDevice *device = model_device(model, m->dev);
        const uint64_t addr = m->addr + (pos - m->offset);

        if (addr > device->size || size > device->size - addr) /* as the block layer would */
                return -EIO;
        device->used = true;
        check_clean(model, device, addr, size);
        return syscall(write ? SYS_pwrite64 : SYS_pread64, device->fd, data, size, addr) == (long) size ? 0 : -EIO;
}

/* ---- ioctls --------------------------------------------------------------------------------------------------------- */

ModelDevice *model_device(Model *model, uint32_t cookie) {
        for (size_t i = 0; i < model->n_devices; i++)
                if (model->devices[i].cookie == cookie && cookie != 0)
                        return &model->devices[i];
        return NULL;
}

/* In the kernel's order. The same device twice is two cookies. */
static int add_device(struct fused_map *map, int fd, uint32_t *ret_cookie) {
        Model *model = map->kernel_userdata;
        struct stat st;
        int flags;

        if (!model->iomap || model->config.add_device_error)
                return model->iomap ? model->config.add_device_error : -EPERM;
        flags = fcntl(fd, F_GETFL);
        if (flags < 0)
                return -EBADF;
        if (flags & O_PATH && model->config.column == MODEL_RN)
                return -EBADF;
        assert_false(flags & O_PATH); /* the older kernel does not look, and goes wrong */
        assert_int_equal(fstat(fd, &st), 0);
        if (!disk_of(model, fd))
                return -ENODEV;
        if (model->n_devices == MODEL_DEVICES_MAX)
                return -ENOSPC;
        *ret_cookie = model->next_cookie++;
        model->devices[model->n_devices++] = (ModelDevice){.fd = fd, .cookie = *ret_cookie, .size = (uint64_t) st.st_size,
                                                           .readable = (flags & O_ACCMODE) != O_WRONLY, .writable = (flags & O_ACCMODE) != O_RDONLY};
        return 0;
}

/* What is cached is written and dropped, so it is to be done before anything is moved. Larger than a page or no power of two: not a block size. */
static int set_block_size(struct fused_map *map, uint32_t cookie, uint32_t size) {
        Model *model = map->kernel_userdata;
        ModelDevice *device = model_device(model, cookie);

        if (!model->iomap || model->config.block_size_error)
                return model->iomap ? model->config.block_size_error : -EOPNOTSUPP;
        if (!device)
                return -ENOENT;
        if (size < SECTOR || size > 4096 || size & (size - 1))
                return -EINVAL;
        assert_false(device->used);
        device->block_size = size;
        model_server_synced(model, device->fd);
        return 0;
}

/* This thread, and those that it starts: all that come to serve. */
static int stay_out_of_reclaim(struct fused_map *map) {
        Model *model = map->kernel_userdata;

        assert_false(model->configured);
        assert_int_equal(model->n_devices, 0);
        model->reclaim_thread = pthread_self();
        model->n_reclaim++;
        return 0;
}

static int notify(struct fused_map *map, int code, const void *data, size_t size) {
        Model *model = map->kernel_userdata;

        return model->config.notify_by_socket ? map_kernel_calls.notify(map, code, data, size) : model_notify(model, code, data, size);
}

/* One for a connection, and for a connection that has agreed. */
static int attach_program(struct fused_map *map) {
        Model *model = map->kernel_userdata;

        if (model->config.attach_error)
                return model->config.attach_error;
        if (!model->iomap)
                return -EOPNOTSUPP;
        if (model->attached)
                return -EBUSY;
        model->attached = true;
        model->devices_at_attach = model->n_devices;
        model->attached_late = model->configured;
        return 0;
}

const MapKernelCalls model_calls = {.add_device = add_device, .set_block_size = set_block_size, .stay_out_of_reclaim = stay_out_of_reclaim,
                                    .notify = notify, .attach_program = attach_program};
