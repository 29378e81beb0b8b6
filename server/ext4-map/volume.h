/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* fused-ext4-map: ext2, ext3 and ext4 with the names by libext2fs and the data by mapping. This is the file system below FUSE: it
 * knows nothing of sessions, so that tests can drive it on images.
 *
 *   volume.c    opening, features, write-out     extents.c  extent trees: find, insert, convert, cut
 *   io.c        libext2fs' way to the device     blocks.c   files without extents
 *   zones.c     what no file's data may be in    data.c      begin and ioend
 *   inode.c     inodes and the node table        space.c    sizes, fallocate
 *   names.c     directories                      tree.c      hash trees in them
 *   make.c      making, linking, renaming
 *   xattr.c     extended attributes, ACLs        journal*.c, recovery.c  after a crash: journal.h
 *   operations*.c, main.c   the FUSE side
 *
 * libext2fs has no locks: everything here is called with volume->lock held, unless said otherwise. Functions return 0 or a negative errno; a
 * damaged structure is -EUCLEAN, and noted in the superblock. */

#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include <et/com_err.h>
#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>

#include "base/hash.h"
#include "fused-mapping.h"

typedef struct Volume Volume;
typedef struct Journal Journal;
typedef struct Node Node;
typedef struct ext2_inode_large Inode;

typedef struct Range { /* blocks; first > last: none */
        uint64_t first, last;
} Range;

typedef struct Ranges {
        Range *items; /* owned */
        size_t n, n_allocated;
} Ranges;

typedef struct Outstanding { /* of a file that is written to */
        Ranges ahead;   /* allocated ahead of writes: given back when nobody writes any more */
        Ranges written; /* unwritten on the device still, but data is there */
        Ranges fresh;   /* without extents: new, and not written to yet; reads find a hole */
} Outstanding;

/* An inode that is looked up, or has something that is not on the device yet. As there may be very many of them, they are small. */
struct Node {
        HashLink link;            /* in Volume.nodes, by ino */
        uint64_t n_lookup;        /* the kernel's */
        Outstanding *outstanding; /* owned; NULL: nothing is */
        ext2_ino_t ino;
        unsigned n_writers : 30;  /* opens for writing */
        unsigned unlinked : 1;    /* has no name: is freed with its last lookup */
        unsigned walked : 1;      /* its tree has been looked through: no loops */
};

typedef struct VolumeHooks { /* all may be NULL */
        /* A mapping is known; its range is known no more; these blocks, of whatever, are free. */
        void (*upsert)(void *userdata, ext2_ino_t ino, const struct fused_mapping *mapping);
        void (*invalidate)(void *userdata, ext2_ino_t ino, uint64_t offset, uint64_t length);
        void (*freed)(void *userdata, uint64_t addr, uint64_t length);
        void (*log)(void *userdata, const char *line);
} VolumeHooks;

#define EXTENT_BLOCKS_MAX ((1ULL << 32) - 1) /* of one file */

struct Volume {
        pthread_mutex_t lock;
        int fd; /* borrowed */
        bool read_only;
        bool was_unclean; /* when it was opened: stays so, e2fsck has work to do */
        bool has_errors;  /* noted in the superblock */
        bool is_dirty;    /* something is not on the device */
        VolumeHooks hooks;
        void *userdata;
        uint32_t dev;     /* for mappings */
        ext2_filsys fs;   /* owned */
        uint32_t block_size;
        uint64_t device_size;
        uint8_t *dirty_groups; /* owned: bit 0 its block bitmap, bit 1 its inode bitmap */
        uint8_t *descriptors;  /* owned: of the groups, as they are on the device */
        Ranges zones;     /* sorted */
        Range just_freed; /* to be told to hooks.freed */
        uint64_t n_ahead; /* blocks in all nodes' ahead */
        HashTable nodes; /* their links; owned */
        Journal *journal; /* owned: read-only, has blocks that count instead of what is in their places; NULL: none */
        bool journal_failed; /* it said that the kernel had met an error */
        bool has_unreadable; /* recovery_map() has met data that is nowhere as it is to be, and said so */
        char why[256];    /* why it cannot be opened, in words */
};

/* ---- volume.c ------------------------------------------------------------------------------------------------------- */

typedef enum VolumeAccess {
        VOLUME_WRITE,       /* a journal that needs it is replayed */
        VOLUME_READ,        /* nothing is written: such a journal is looked at with each block */
        VOLUME_NO_RECOVERY, /* nor is it looked at */
} VolumeAccess;
/* fd is borrowed. On failure volume->why says more. volume_close() in either case. */
int volume_open(Volume *volume, int fd, VolumeAccess access, const VolumeHooks *hooks, void *userdata) _must_check_;
int volume_close(Volume *volume);
/* Bitmaps, descriptors and superblock, and what nodes have not written yet, go to the device's cache; sync: to its media. */
int volume_flush(Volume *volume, bool sync);
/* Turns what libext2fs returns into a negative errno; damage is noted. */
int volume_error(Volume *volume, errcode_t error, ext2_ino_t ino);
int volume_damaged(Volume *volume, ext2_ino_t ino, const char *what); /* -EUCLEAN */
void volume_inode_bitmap_changed(Volume *volume, ext2_ino_t ino);
void volume_use_blocks(Volume *volume, uint64_t block, uint64_t n, bool use);
void volume_tell_freed(Volume *volume);
uint64_t volume_free_blocks(const Volume *volume); /* for data: without what is reserved */
bool volume_has_spare(const Volume *volume); /* for names and attributes: more is free than extent trees may need */
_printf_(2, 3) void volume_log(Volume *volume, const char *format, ...);

extern struct struct_io_manager volume_io_manager; /* io.c; the name that is opened is the volume's address, in hexadecimal */
int volume_read(const Volume *volume, uint64_t offset, size_t size, void *ret) _must_check_; /* bytes; -ENODATA: past the end */
const char *volume_why_not(const struct ext2_super_block *super, bool read_only, char *buffer, size_t size); /* features.c; NULL: fine */

/* ---- ranges, zones -------------------------------------------------------------------------------------------------- */

int ranges_add(Ranges *ranges, uint64_t first, uint64_t last) _must_check_; /* joins neighbours */
void ranges_remove(Ranges *ranges, uint64_t first, uint64_t last);
bool ranges_overlap(const Ranges *ranges, uint64_t first, uint64_t last, Range *ret);
void ranges_done(Ranges *ranges);
int zones_find(Volume *volume) _must_check_;
/* -EUCLEAN: out of the file system, or inside its own tables. */
int zones_check(Volume *volume, ext2_ino_t ino, uint64_t block, uint64_t n);

/* ---- recovery.c ----------------------------------------------------------------------------------------------------- */

/* The file system is open as far as its journal goes, and is to be opened anew afterwards. 0, or negative errno with volume->why. */
int recovery_run(Volume *volume) _must_check_;
void recovery_done(Volume *volume);
/* Puts what the journal has of this range over what was read from the device. */
int recovery_read(const Volume *volume, uint64_t offset, size_t size, uint8_t *data) _must_check_;

/* ---- inode.c -------------------------------------------------------------------------------------------------------- */

Node *node_find(Volume *volume, ext2_ino_t ino); /* NULL: none */
Node *node_get(Volume *volume, ext2_ino_t ino);  /* makes one; NULL: no memory */
void node_forget(Volume *volume, ext2_ino_t ino, uint64_t n);
void node_forget_all(Volume *volume);
int node_outstanding(Node *node) _must_check_; /* makes room for it */
void node_tidy(Node *node);                     /* gives that room back if nothing is in it */
int node_settle(Volume *volume, Node *node, Inode *inode); /* puts what is outstanding into the tree */
int inode_read(Volume *volume, ext2_ino_t ino, Inode *ret) _must_check_;
int inode_write(Volume *volume, ext2_ino_t ino, Inode *inode) _must_check_;
int inode_stat(Volume *volume, ext2_ino_t ino, const Inode *inode, struct stat *ret);
/* Gives back everything of an inode that has no name. */
int inode_free(Volume *volume, ext2_ino_t ino);
typedef enum InodeTime { INODE_ATIME = 1, INODE_MTIME = 2, INODE_CTIME = 4, INODE_CRTIME = 8 } InodeTime;
void inode_now(struct timespec *ret);
void inode_touch(Inode *inode, unsigned which); /* to now */
void inode_set_time(Inode *inode, InodeTime which, const struct timespec *to);
int inode_changed(Volume *volume, ext2_ino_t ino, unsigned times); /* reads, touches, writes */
void inode_set_owner(Inode *inode, uid_t uid, gid_t gid);
uid_t inode_owner(const Inode *inode);
gid_t inode_group(const Inode *inode);
uint64_t inode_size(const Inode *inode);
static inline struct ext2_inode *inode_small(Inode *inode) {
        return (struct ext2_inode *) inode;
}
/* -EPERM: it must stay as it is. */
static inline int inode_check_fixed(const Inode *inode) {
        return inode->i_flags & (EXT2_IMMUTABLE_FL | EXT2_APPEND_FL) ? -EPERM : 0;
}
static inline bool inode_is_regular(const Inode *inode) {
        return S_ISREG(inode->i_mode);
}

/* ---- extents.c, blocks.c -------------------------------------------------------------------------------------------- */

typedef struct Run {
        uint64_t block;  /* in the file */
        uint64_t n;      /* blocks; a hole's reaches to what comes next */
        uint64_t place;  /* on the device; 0: a hole */
        bool unwritten;
} Run;

/* The run that contains this block. each (may be NULL) is called for it and for further ones from the same part of the tree. */
typedef void (*RunVisitor)(void *userdata, const Run *run);
int extents_find(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, Run *ret, RunVisitor each, void *userdata) _must_check_;
/* Fills a part of a hole from its first block on with unwritten space: *ret_n blocks, 1 to n. */
int extents_fill(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, uint64_t n, uint64_t *ret_n) _must_check_;
int extents_convert(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t first, uint64_t last) _must_check_;
int extents_cut(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t first, uint64_t last) _must_check_;
int extents_walk(Volume *volume, ext2_ino_t ino, Inode *inode, RunVisitor each, void *userdata) _must_check_; /* refuses loops */

int blocks_find(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, uint64_t n_max, Run *ret) _must_check_;
int blocks_fill(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, uint64_t n, uint64_t *ret_n) _must_check_;
int blocks_cut(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t first, uint64_t last) _must_check_;
int blocks_walk(Volume *volume, ext2_ino_t ino, Inode *inode) _must_check_;
uint64_t blocks_max(const Volume *volume); /* of one file */
/* Calls each for every run of a file of either kind, up to this block. */
int runs_walk(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t n_blocks, RunVisitor each, void *userdata) _must_check_;

/* Where this block of the run is read: there, or in the journal. The run then begins with it. */
int recovery_map(Volume *volume, ext2_ino_t ino, uint64_t block, Run *run) _must_check_;

static inline bool inode_has_extents(const Inode *inode) {
        return inode->i_flags & EXT4_EXTENTS_FL;
}

/* ---- data.c, space.c ------------------------------------------------------------------------------------------------- */

int data_begin(Volume *volume, ext2_ino_t ino, uint64_t pos, uint64_t count, uint32_t opflags, struct fused_mapping *ret) _must_check_;
int data_end(Volume *volume, ext2_ino_t ino, uint64_t pos, int64_t written) _must_check_;
int data_ioend(Volume *volume, ext2_ino_t ino, uint64_t pos, uint64_t written, uint32_t flags, int error, uint64_t *ret_size) _must_check_;
/* Gives back what was allocated ahead of the writes of this file and not written to; of all files. No write is under way. */
int data_trim(Volume *volume, Node *node);
/* What is allocated ahead there is to stay, or is gone already. */
void data_keep_ahead(Volume *volume, Node *node, uint64_t first, uint64_t last);
/* Cuts out what was allocated for writes that have failed: it holds what somebody else had there. */
int data_drop_fresh(Volume *volume, Node *node);
void data_trim_all(Volume *volume); /* nobody writes any more */
int data_walk_once(Volume *volume, Node *node, Inode *inode) _must_check_;

int space_set_size(Volume *volume, ext2_ino_t ino, uint64_t size) _must_check_;
/* What space_allocate() would refuse by itself, having changed nothing. */
int space_check(Volume *volume, ext2_ino_t ino, int mode, uint64_t end) _must_check_;
int space_allocate(Volume *volume, ext2_ino_t ino, int mode, uint64_t pos, uint64_t count, uint64_t *ret_size) _must_check_;
int space_cut(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t first, uint64_t last) _must_check_;

/* ---- names.c, make.c ------------------------------------------------------------------------------------------------ */

int name_lookup(Volume *volume, ext2_ino_t dir, const char *name, ext2_ino_t *ret) _must_check_;
/* Calls visit for each entry from this position on, until it returns false. next: where to go on. */
typedef bool (*NameVisitor)(void *userdata, const char *name, ext2_ino_t ino, unsigned type, uint64_t next);
int name_list(Volume *volume, ext2_ino_t dir, uint64_t position, NameVisitor visit, void *userdata) _must_check_;
int name_add(Volume *volume, ext2_ino_t dir, const char *name, ext2_ino_t ino, mode_t mode) _must_check_;
int name_remove(Volume *volume, ext2_ino_t dir, const char *name) _must_check_;
int name_redirect(Volume *volume, ext2_ino_t dir, const char *name, ext2_ino_t ino, mode_t mode) _must_check_; /* "..", too */
int name_dir_is_empty(Volume *volume, ext2_ino_t dir) _must_check_; /* 1: it is */

typedef struct Maker { /* who makes it, and how */
        uid_t uid;
        gid_t gid;
        mode_t mode;
        mode_t umask;
        dev_t rdev;
} Maker;
int make_node(Volume *volume, ext2_ino_t dir, const char *name, const Maker *maker, ext2_ino_t *ret) _must_check_;
int make_directory(Volume *volume, ext2_ino_t dir, const char *name, const Maker *maker, ext2_ino_t *ret) _must_check_;
int make_symlink(Volume *volume, ext2_ino_t dir, const char *name, const char *target, const Maker *maker, ext2_ino_t *ret) _must_check_;
int make_link(Volume *volume, ext2_ino_t ino, ext2_ino_t dir, const char *name) _must_check_;
int make_unlink(Volume *volume, ext2_ino_t dir, const char *name, bool directory) _must_check_;
int make_rename(Volume *volume, ext2_ino_t from_dir, const char *from, ext2_ino_t to_dir, const char *to, unsigned flags) _must_check_;
int make_readlink(Volume *volume, ext2_ino_t ino, char *ret, size_t size) _must_check_;

/* ---- xattr.c, acl.c ------------------------------------------------------------------------------------------------- */

int xattr_get(Volume *volume, ext2_ino_t ino, const char *name, void **ret, size_t *ret_size) _must_check_; /* freed with ext2fs_free_mem() */
/* uid, gid: of who sets it. */
int xattr_set(Volume *volume, ext2_ino_t ino, const char *name, const void *value, size_t size, int flags, uid_t uid, gid_t gid) _must_check_;
int xattr_remove(Volume *volume, ext2_ino_t ino, const char *name) _must_check_;
/* Whatever may be done to the file: */
int xattr_store(Volume *volume, ext2_ino_t ino, const char *name, const void *value, size_t size) _must_check_;
int xattr_drop(Volume *volume, ext2_ino_t ino, const char *name) _must_check_; /* 1: it was there */
int xattr_list(Volume *volume, ext2_ino_t ino, bool privileged, char **ret, size_t *ret_size) _must_check_; /* freed with free() */
/* A new file below dir: what the directory's default ACL and the umask make of *mode; the ACLs are stored in ino. */
int acl_inherit(Volume *volume, ext2_ino_t dir, ext2_ino_t ino, mode_t umask, mode_t *mode) _must_check_;
/* setfacl: *mode becomes what the ACL says; *ret_is_mode: it says no more than that. */
int acl_mode(const void *value, size_t size, mode_t *mode, bool *ret_is_mode) _must_check_;
/* chmod: the ACL of the file, if it has one, says the same as this mode. */
int acl_chmod(Volume *volume, ext2_ino_t ino, mode_t mode) _must_check_;
