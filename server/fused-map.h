/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* libfused-server: servers that map. Such a server says where the data of a file is, with extents on devices, and does not
 * move it. The same server runs on two engines and is not told which (fused_map_engine() is for messages only):
 *
 *   user    any kernel: the library answers READ and WRITE, moving the data between the devices and the kernel
 *   kernel  a kernel with fuse-iomap: the kernel asks for mappings and does the I/O
 *
 * Lookup order, as in the kernel: 1. the mapping cache, 2. the mapping program, if one is attached and knows the file, 3. the
 * server's begin(). Whatever comes from 2 and 3 is checked against the rules of fused_mapping_check() and the size of the devices; one that
 * breaks them fails that one operation with EUCLEAN, and is logged once.
 *
 * Everything that libfuse does for a server, this keeps: names, attributes, locks go to the fuse_lowlevel_ops that are given to
 * fused_map_new(), called in several threads at once. LSEEK of mapped files never reaches them, READ and WRITE only where the mapping is INLINE
 * (a server that writes so tells the new size by fused_map_set_size()). FSYNC and FLUSH do, after all data of the file is on its devices' way
 * (fsync: and on the devices' media; the server adds its metadata). Where there is no operation for FSYNC or FSYNCDIR, the library answers, when all
 * that was written to the devices' descriptors is on the media. FALLOCATE and SETATTR with a size do, while no I/O is under way in that
 * file; SETATTR is to be answered before its operation returns, in the same thread. fused-map(3) is the manual.
 *
 * Functions return 0 (or what they say) or a negative errno. Descriptors given are borrowed unless said otherwise. All functions but
 * _new, _free, _add_device and _run may be called from any thread, also from within callbacks. Facts of the interface are
 * those of the kernel's fuse-iomap (struct fuse_iomap_begin_out and its rules). */

#include <stdbool.h>
#include <stdint.h>

#include "fused-mapping.h"
#include "fused-server.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fused_map;

struct fused_map_request {
        uint64_t nodeid;  /* as given in fuse_entry_param.ino */
        uint64_t ino;     /* as given in st_ino */
        uint64_t pos;     /* bytes */
        uint64_t count;   /* bytes, not 0 */
        uint32_t opflags; /* enum fused_mapping_operation */
};

struct fused_map_ioend {
        uint64_t nodeid;
        uint64_t ino;
        uint64_t pos;      /* bytes */
        uint64_t written;  /* bytes that reached the device */
        uint64_t new_addr; /* bytes; FUSED_MAPPING_ADDR_NONE where it is not known (direct I/O in the kernel) */
        uint32_t dev;      /* 0 likewise */
        uint32_t flags;    /* enum fused_ioend_flags */
        int error;         /* 0 or negative errno: the I/O failed */
};

enum {
        FUSED_KILL_SET_ID = 1 << 0,     /* clear the bits that fused_kill_set_id() says */
        FUSED_KILL_CAPABILITY = 1 << 1, /* remove the attribute security.capability */
};

struct fused_map_operations {
        /* Where is [pos, pos + count)? Fill *read with a mapping that contains pos (it may begin before and end after the range), and
         * *write likewise; *write is PURE_OVERWRITE for the same range when this is called, so it need not be touched unless writes go
         * elsewhere than reads. Before an operation in FUSED_MAPPING_OP_CHANGES the server allocates what is missing, as
         * MAPPED with F_NEW or as UNWRITTEN; a hole left there fails the write with EUCLEAN. Called from several threads at once. The
         * negative errno returned is the operation's error. */
        int (*begin)(void *userdata, const struct fused_map_request *request, struct fused_mapping *read, struct fused_mapping *write);
        /* After a file write that was short, or changed the size, or whose mapping had F_WANT_END. written: bytes or negative errno.
         * May be NULL. */
        int (*end)(void *userdata, const struct fused_map_request *request, int64_t written, const struct fused_mapping *mapping);
        /* Data is on the device, or failed: convert unwritten extents, remap out-of-place writes, raise the size. *size: what the server has
         * recorded as the file's size now, in bytes, at least what it was. Called where flags has SHARED, UNWRITTEN or APPEND, or error
         * is set; never for plain overwrites. May be NULL if none of those can happen. */
        int (*ioend)(void *userdata, const struct fused_map_ioend *ioend, uint64_t *size);
        /* A file was written to other than through the kernel's write-back cache, by the user engine: its times of change are the server's to
         * set. May be NULL. */
        void (*modified)(void *userdata, uint64_t nodeid);
        /* A write, a change of size or of owner takes away what the file gives to who executes it; how: FUSED_KILL_*. uid, gid: of who does it.
         * Returns 1 if that changed something, 0, or negative errno. nodeid may be no regular file: nothing is to be done then. Without this
         * operation the kernel sees to what it can, which costs a GETXATTR with every buffered write if the server has extended attributes.
         * May be NULL. */
        int (*kill_privileges)(void *userdata, uint64_t nodeid, unsigned how, uid_t uid, gid_t gid);
        /* What the server's fallocate would say to this, by mode and range; nothing changes. Asked by the user engine, which zeroes parts of blocks
         * before the server is called: what will be refused must not have changed anything. 0 or negative errno. May be NULL. */
        int (*fallocate_check)(void *userdata, uint64_t nodeid, int mode, uint64_t pos, uint64_t length);
        /* syncfs(2): what the server knows and has not written yet goes to its devices' descriptors; the library then sees to it that their
         * media hold everything. 0 or negative errno. May be NULL: nothing is kept back. */
        int (*sync)(void *userdata);
        /* The engine is decided and devices have their cookies; no request has been answered yet. Programs are attached here. May be NULL. */
        int (*start)(void *userdata);
};

struct fused_map_config {
        uint32_t block_size;  /* bytes, a power of two, 512 to 65536: the unit of all mappings */
        bool read_only;       /* no write is ever asked for */
        bool no_writeback;    /* writes come as they are made, not when the kernel's page cache lets go of them; also where there is one thread */
        unsigned threads;     /* at most this many, and 16; 0: 4; each but the first only if the supervisor gives it a descriptor */
        uint64_t max_bytes;   /* the largest size of a file, 0: 2^63 - 1 */
        uint64_t cache_bytes; /* memory for the mapping cache of all files, 0: 32 MiB */
};

/* sf and userdata are borrowed; args, lowlevel, operations and config are copied. args: for fuse_session_new(). lowlevel: the server's; its init()
 * is called with what libfuse knows of the connection, its destroy() by fused_map_free(). userdata: for operations, and what fuse_req_userdata()
 * returns. The engine's choice is made in _run. -EINVAL: no begin(), or a block size that cannot be; -ENOMEM. */
FUSE_SERVICE_API int fused_map_new(struct fused_map **ret, struct fuse_service *sf, struct fuse_args *args,
                                   const struct fuse_lowlevel_ops *lowlevel, size_t lowlevel_size,
                                   const struct fused_map_operations *operations, const struct fused_map_config *config, void *userdata);
/* NULL is fine. Where the kernel does the I/O itself, umount(2) waits for this, in the belief that the devices are free then: write
 * everything and close their descriptors before. Until then mappings may be withdrawn. */
FUSE_SERVICE_API void fused_map_free(struct fused_map *map);

/* A device (or image file) that mappings may name. fd: borrowed, must stay open until _run has returned; opened for writing unless the
 * map is read-only. size: usable bytes, 0: ask the descriptor. Returns its number, from 1 on: what begin() puts into fused_mapping.dev in
 * either engine. */
FUSE_SERVICE_API int fused_map_add_device(struct fused_map *map, int fd, uint64_t size);

/* The same device opened once more, with O_DIRECT: data then goes past the device's own page cache, and is cached once. fd is borrowed, a copy
 * is kept. -EOPNOTSUPP: no O_DIRECT on it, or blocks smaller than a page, which need one cache for data and metadata: nothing is lost but speed. */
FUSE_SERVICE_API int fused_map_add_direct(struct fused_map *map, uint32_t dev, int fd);

/* Mounts (fuse_service_session_mount, goodbye) and serves until the mount is gone or a signal ends it. mountpoint as in
 * fuse_cmdline_opts, from the command line. Returns 0 or negative errno. */
FUSE_SERVICE_API int fused_map_run(struct fused_map *map, struct fuse_cmdline_opts *opts);

/* For programs that mount by themselves (tests): bind fused_map_session(), which is borrowed, to a mounted device with fuse_session_mount(), then
 * serve. sf may be NULL in fused_map_new() then. */
FUSE_SERVICE_API struct fuse_session *fused_map_session(struct fused_map *map);
FUSE_SERVICE_API int fused_map_serve(struct fused_map *map);

/* ---- replies of the server's low-level operations -------------------------------------------------------------------- */

/* In place of fuse_reply_entry(), fuse_reply_create() and fuse_add_direntry_plus(): mapped says that this regular file's data is
 * reached by mappings. The node is known to the library from then until the kernel has forgotten it. Each counts as one lookup, as there; one that
 * fails is none, and the server takes back what it has counted itself. A file's mappedness must not change while the kernel knows it. st_size
 * is the size it has for the library until a write or fused_map_set_size(). */
FUSE_SERVICE_API int fused_map_reply_entry(struct fused_map *map, fuse_req_t req, const struct fuse_entry_param *entry, bool mapped);
FUSE_SERVICE_API int fused_map_reply_create(struct fused_map *map, fuse_req_t req, const struct fuse_entry_param *entry,
                                            const struct fuse_file_info *fi, bool mapped);
FUSE_SERVICE_API size_t fused_map_add_direntry_plus(struct fused_map *map, fuse_req_t req, char *buffer, size_t size, const char *name,
                                                    const struct fuse_entry_param *entry, off_t off, bool mapped);
/* In place of fuse_reply_attr(). */
FUSE_SERVICE_API int fused_map_reply_attr(struct fused_map *map, fuse_req_t req, const struct stat *st, double timeout, bool mapped);
/* In place of fuse_reply_open(): with the flags that suit the engine. */
FUSE_SERVICE_API int fused_map_reply_open(struct fused_map *map, fuse_req_t req, const struct fuse_file_info *fi);

/* ---- the mapping cache ------------------------------------------------------------------------------------------------ */

/* Remembers mappings of a file, replacing what was known of their ranges. NULL: that side stays. Without a write side, writes go where
 * reads come from. -ESTALE: the kernel does not know nodeid; -EUCLEAN: a mapping breaks the rules, or has F_NEW, which nothing would take away
 * when data is there; -EINVAL: its address is no multiple of the block size (begin() may say such places); -ENOMEM: nothing is known of the range. */
FUSE_SERVICE_API int fused_map_upsert(struct fused_map *map, uint64_t nodeid, const struct fused_mapping *read,
                                      const struct fused_mapping *write);
/* Forgets what is known of the range, both sides. length UINT64_MAX: to the end. 0 also where the kernel does not know nodeid, like the next. */
FUSE_SERVICE_API int fused_map_invalidate(struct fused_map *map, uint64_t nodeid, uint64_t offset, uint64_t length);
/* After the server has set a file's size (SETATTR, FALLOCATE, truncation by open): forgets mappings from there on. */
FUSE_SERVICE_API int fused_map_set_size(struct fused_map *map, uint64_t nodeid, uint64_t size);
/* The server has freed blocks on the device that held its own metadata, and may give them to a file. -ENODEV, like the next. */
FUSE_SERVICE_API int fused_map_device_invalidate(struct fused_map *map, uint32_t dev, uint64_t addr, uint64_t length);
/* fsync for what the server has written to the device's descriptor itself: the media hold it. It is for metadata, and for data of files, which is not
 * to be mapped before: a kernel that reads and writes by mappings goes past the device's page cache. */
FUSE_SERVICE_API int fused_map_device_sync(struct fused_map *map, uint32_t dev);

/* ---- programs --------------------------------------------------------------------------------------------------------- */

struct fused_map_table { /* one of the program's tables, as the server fills it */
        const char *name;     /* the map's name in the program's object */
        uint32_t n_entries;   /* asked for, 0: what the object says */
        void *data;           /* out: mapped memory, the map's; as long as the fused_map lives */
        uint64_t entry_size;  /* out: distance of entries in bytes */
        uint64_t n_available; /* out: entries */
};

/* Asks the supervisor to load and vet the program that its policy lists under this name for this type, with these tables, and
 * uses it from now on for every file that has_program was said for. One program per mount. -EOPNOTSUPP: the supervisor has no such channel;
 * -ENOENT: no such program, or not for this type; -EPERM: refused, the supervisor's log says why; -EBUSY: asked for too often;
 * -EALREADY. */
FUSE_SERVICE_API int fused_map_attach_program(struct fused_map *map, const char *name, struct fused_map_table *tables, size_t n_tables);
/* The program's tables know (or do not know any more) this file: it is asked before the server. */
FUSE_SERVICE_API int fused_map_use_program(struct fused_map *map, uint64_t nodeid, bool use);

/* A program's table of files by node id (fused-mapping-program(7)), as the server fills it; the program may read meanwhile. One thread changes a
 * table at a time. */
struct fused_program_files {
        void *data;
        uint64_t entry_size;
        uint64_t n_slots;
};
/* table: as attached. -EINVAL: its entries are no files, or fewer than 2. */
FUSE_SERVICE_API int fused_program_files_init(struct fused_program_files *files, const struct fused_map_table *table);
/* entry: a whole one, its first 8 bytes the node id, not 0. Replaces that file's. -ENOSPC: no place; the server answers for this file. */
FUSE_SERVICE_API int fused_program_files_put(struct fused_program_files *files, const void *entry);
/* When this has returned, what belonged to the file in other tables may be used again. Not there is fine. */
FUSE_SERVICE_API void fused_program_files_remove(struct fused_program_files *files, uint64_t nodeid);

/* For FUSED_KILL_SET_ID: which bits of a file's mode go when uid, gid change it: set-user-id; and set-group-id where the group may execute, or
 * uid is not 0 and gid not file_gid (as in the kernel, setattr_should_drop_suidgid() in fs/attr.c, which also knows further groups). */
FUSE_SERVICE_API uint32_t fused_kill_set_id(uint32_t mode, gid_t file_gid, uid_t uid, gid_t gid);

/* ---- facts ------------------------------------------------------------------------------------------------------------ */

FUSE_SERVICE_API const char *fused_map_engine(const struct fused_map *map); /* "user" or "kernel" */
FUSE_SERVICE_API uint64_t fused_map_size(struct fused_map *map, uint64_t nodeid); /* of a mapped file, as the library knows it; 0: it does not */
FUSE_SERVICE_API uint32_t fused_map_cookie(const struct fused_map *map, uint32_t dev); /* what a program's tables call device dev; 0: no such */

/* The rules that a mapping has to keep, as in the kernel: 0, or -EUCLEAN with *ret_rule (may be NULL) saying which in words. write:
 * it is the write half; pos: it has to contain this position, UINT64_MAX: none. upsert: NOCACHE is allowed, RETRY_CACHE is not. */
FUSE_SERVICE_API int fused_mapping_check(const struct fused_mapping *mapping, bool write, bool upsert, uint64_t pos, uint32_t block_size,
                                         uint64_t max_bytes, const char **ret_rule);

#ifdef __cplusplus
}
#endif
