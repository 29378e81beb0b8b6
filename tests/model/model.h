/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kernel's side of fuse-iomap, played over a socket pair: a server reads and writes one end as it would /dev/fuse. It negotiates, asks for
 * mappings, has the mapping cache, checks every mapping, and does the I/O of mapped files itself, on the devices' descriptors. What the real one
 * takes by ioctl comes through MapKernelCalls.
 *
 *   model.c        the connection: FUSE_INIT, CONFIG, requests   kernel-abi.h   numbers
 *   model-device.c devices, ioctls                               model-check.c  the rules
 *   model-cache.c  the mapping cache, notifications              model-map.c    BEGIN, END, IOEND
 *   model-io.c     bytes                                         model-file.c   system calls
 *
 * Two columns: the rules of the posted patches (R7) and of the later tree (RN), which are stricter. There is no page cache: a buffered write
 * is written back at once, with the requests that that makes. What the library does not use is not here: closing a device, programs that answer
 * END and IOEND. */

#include <pthread.h>

#include "map/kernel.h"
#include "model/kernel-abi.h"

typedef enum ModelColumn {
        MODEL_R7,
        MODEL_RN,
} ModelColumn;

typedef struct ModelConfig {
        ModelColumn column;
        uint32_t minor;        /* of FUSE_INIT; 99 has it */
        bool offers;           /* bit 43, whatever it means beside that minor */
        bool drops;            /* it does not look at bit 43 of the answer */
        bool ignores_attr;     /* it does not look at the attribute flags */
        uint64_t config_flags; /* what CONFIG has; 0x7f: the long answer */
        uint64_t cache_bytes;  /* per tree, whatever is agreed on; 0: what CONFIG says, else the kernel's 256 KiB */
        int64_t max_bytes;     /* the largest file that it has; 0: 2^63 - 1 */
        int add_device_error, block_size_error, attach_error;
        bool notify_by_socket; /* notifications are read, and not called */
} ModelConfig;

typedef struct ModelTree {
        struct fused_mapping *mappings; /* owned, ordered */
        size_t n, n_allocated;
        unsigned n_dropped; /* times that all of it was thrown away */
} ModelTree;

typedef struct ModelInode {
        uint64_t nodeid, ino; /* nodeid 0: a free place */
        bool iomap;
        bool dead;       /* evicted or bad: nothing is to be told of it */
        bool has_cache;  /* the object: made by the first upsert */
        bool has_writes; /* the write tree is there */
        uint64_t size, disk_size;
        uint64_t fh;     /* of the one file that is open on it */
        uint32_t open_flags; /* FOPEN_*, what its OPEN was answered */
        ModelTree reads, writes;
} ModelInode;

#define MODEL_INODES_MAX 8
#define MODEL_DEVICES_MAX 8

typedef struct ModelDevice {
        int fd; /* borrowed */
        uint32_t cookie, block_size;
        uint64_t size;
        bool readable, writable;
        bool used; /* something was read or written */
        unsigned n_invalidated;
        IomapRange invalidated; /* the last one */
} ModelDevice;

/* A file that counts as a device. */
typedef struct ModelDisk {
        dev_t dev;
        ino_t ino;
        uint64_t n_sectors;
        uint8_t *dirty; /* owned: for each sector, whether it is in the page cache only */
} ModelDisk;

typedef struct Model {
        ModelConfig config;
        int fd;                /* owned: our end */
        int server_fd;         /* the other */
        pthread_mutex_t lock;  /* inodes and devices: notifications come from the server's threads */
        struct fuse_init_out init;
        IomapConfigOut agreed; /* what CONFIG was answered */
        size_t agreed_size;
        bool iomap, configured, broken;
        uint32_t block_size;
        uint64_t max_bytes;
        ModelDevice devices[MODEL_DEVICES_MAX];
        size_t n_devices;
        ModelDisk disks[MODEL_DEVICES_MAX];
        size_t n_disks;
        uint32_t next_cookie;
        uint64_t cache_bytes; /* per tree */
        ModelInode inodes[MODEL_INODES_MAX];
        size_t n_inodes;
        uint64_t unique;
        bool no_end, no_ioend, no_syncfs; /* ENOSYS once */
        bool attached, attached_late; /* late: CONFIG had been answered */
        size_t devices_at_attach;
        pthread_t reclaim_thread; /* that has called for staying out of reclaim */
        /* The mapping program, if it is attached: true: handled. */
        bool (*program)(void *userdata, const IomapBeginIn *in, uint64_t nodeid, IomapBeginOut *out);
        void *program_userdata;
        int notify_result;     /* of the last notification */
        IomapNotifyInvalidate last_invalidate;
        unsigned n_begin, n_end, n_ioend, n_upsert, n_invalidate, n_data, n_cached, n_by_program, n_syncfs, n_inline, n_reclaim;
} Model;

void model_init(Model *model, const ModelConfig *config); /* asserts */
void model_done(Model *model);
void model_say_block_device(Model *model, int fd); /* tests run without any: this file counts as one */
void model_say_block_devices(Model *model, struct fused_map *map); /* to both, of all that the map has */
extern const MapKernelCalls model_calls; /* with the model as map->kernel_userdata */
/* FUSE_INIT, and CONFIG if it was agreed on. Returns CONFIG's error or 0. Call while the server serves. */
int model_start(Model *model);
/* The first half: sends FUSE_INIT before the server is there. */
void model_send_init(Model *model);
/* One request, answered. Returns the bytes after the header, or the error. */
ssize_t model_ask(Model *model, uint32_t opcode, uint64_t nodeid, const void *in, size_t in_size, void *out, size_t out_size);
ssize_t model_ask2(Model *model, uint32_t opcode, uint64_t nodeid, const void *in, size_t in_size, const void *data, size_t data_size,
                   void *out, size_t out_size);
ModelInode *model_create(Model *model, const char *name);
ModelInode *model_lookup(Model *model, const char *name); /* made if it is not there */
void model_forget(Model *model, ModelInode *inode);         /* its place is free again */
void model_forget_both(Model *model, ModelInode *a, ModelInode *b); /* in one request */
int model_open(Model *model, ModelInode *inode, uint32_t flags);
int model_release(Model *model, ModelInode *inode); /* as close(2) does: FLUSH, then RELEASE */
int model_unlink(Model *model, const char *name);
/* Unmounting: what is cached has been written. With fuse-iomap SYNCFS and DESTROY are answered when this returns; the server's end reads nothing
 * more after model_hang_up(). Returns the error of SYNCFS. */
int model_unmount(Model *model);
void model_hang_up(Model *model);
int model_syncfs(Model *model);
/* The two halves of model_ask(). */
void model_send(Model *model, uint32_t opcode, uint64_t nodeid, const void *in, size_t in_size);
ssize_t model_receive(Model *model, void *out, size_t out_size);
int64_t model_offered_bytes(const Model *model);
ModelDevice *model_device(Model *model, uint32_t cookie);
/* The devices' page cache: what the server does with its descriptors. */
void model_server_wrote(Model *model, int fd, uint64_t addr, uint64_t size);
void model_server_synced(Model *model, int fd);
void model_device_drop(Model *model, ModelDevice *device, uint64_t addr, uint64_t size);
int model_move(Model *model, bool write, const struct fused_mapping *m, uint64_t pos, uint8_t *data, size_t size);

/* 0 or a negative errno. pos: UINT64_MAX for an upsert. */
int model_check(const Model *model, const ModelInode *inode, const struct fused_mapping *mapping, bool write, uint64_t pos, uint32_t opflags);
int model_check_atomic(const Model *model, const IomapBeginOut *out, uint32_t opflags);
/* Whether they are there, and open for what is to be done. */
int model_check_devices(Model *model, const IomapBeginOut *out, bool changes);
int model_check_config(const Model *model, const IomapConfigOut *out, size_t size);

int model_notify(Model *model, int code, const void *data, size_t size);
void model_cache_drop(ModelInode *inode, uint64_t offset, uint64_t length);
/* Step 1 of a lookup. */
bool model_cache_ask(const Model *model, const ModelInode *inode, uint64_t pos, uint32_t opflags, IomapBeginOut *ret);
void model_tree_free(ModelTree *tree);

/* Where pos is: from and to; to is the same but for writes out of place. */
int model_map(Model *model, ModelInode *inode, uint64_t pos, uint64_t count, uint32_t opflags, struct fused_mapping *ret_from,
              struct fused_mapping *ret_to);
/* If that is to be told. written: bytes, or a negative errno. size_changed: the file has become larger. */
int model_end(Model *model, ModelInode *inode, uint64_t pos, uint64_t count, int64_t written, uint32_t opflags, const struct fused_mapping *m,
              bool size_changed);
/* Likewise; then cached mappings of the range are dropped. to: where it was written, NULL: that is not said. */
int model_ioend(Model *model, ModelInode *inode, uint64_t pos, uint64_t written, int error, uint32_t flags, const struct fused_mapping *to);

int model_read_ordinary(Model *model, ModelInode *inode, uint64_t pos, size_t size, uint8_t *data);
int model_write_ordinary(Model *model, ModelInode *inode, uint64_t pos, size_t size, const uint8_t *data);
int model_read_mapped(Model *model, ModelInode *inode, uint64_t pos, size_t size, uint8_t *data, uint32_t opflags);
int model_write_cached(Model *model, ModelInode *inode, uint64_t pos, uint64_t size, const uint8_t *data); /* NULL: zeroes, where there is data */
int model_put_blocks(Model *model, ModelInode *inode, uint64_t pos, size_t size, uint8_t *data, bool direct);

int model_read(Model *model, ModelInode *inode, uint64_t pos, size_t size, uint8_t *data, bool direct);
int model_write(Model *model, ModelInode *inode, uint64_t pos, size_t size, const uint8_t *data, bool direct);
int model_truncate(Model *model, ModelInode *inode, uint64_t size);
int model_fallocate(Model *model, ModelInode *inode, uint32_t mode, uint64_t pos, uint64_t length);
int model_copy_range(Model *model, ModelInode *from, uint64_t from_pos, ModelInode *to, uint64_t to_pos, uint64_t length); /* bytes */
int model_chown(Model *model, ModelInode *inode, uint32_t uid);
int model_fsync(Model *model, ModelInode *inode);
int model_swapon(Model *model, ModelInode *inode);
int model_swapoff(Model *model, ModelInode *inode);
