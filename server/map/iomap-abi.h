/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* fuse-iomap as it stands out of tree (nothing of it is in Linux 7.3): numbers and layouts of the wire. A mapping is struct fused_mapping, whose
 * record is the kernel's. Where texts of different age differ, the values are the newer ones and the older stand beside them. */

#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "fused-mapping.h"

/* The marker of kernels with it. INIT's bit 43 means fuse-iomap only beside this minor; with Linux's own, 7.46 and newer, it means something else. */
#define IOMAP_MINOR 99
#define IOMAP_INIT (1ULL << 43)

/* fuse_attr.flags. Both of the first two are needed, and count when the kernel makes the inode. */
#define IOMAP_ATTR_EXCLUSIVE 0x4U
#define IOMAP_ATTR_IOMAP 0x8U
#define IOMAP_ATTR_ATOMIC 0x10U

enum iomap_opcode {
        IOMAP_CONFIG = 4092,
        IOMAP_IOEND = 4093,
        IOMAP_BEGIN = 4094,
        IOMAP_END = 4095,
};

enum iomap_notification { /* the payload must be of the exact size */
        IOMAP_NOTIFY_DEVICE_INVALIDATE = 99,
        IOMAP_NOTIFY_UPSERT = 100,
        IOMAP_NOTIFY_INVALIDATE = 101,
};

enum iomap_config_flags { /* which fields count */
        IOMAP_CONFIG_SID = 0x1,
        IOMAP_CONFIG_UUID = 0x2,
        IOMAP_CONFIG_BLOCKSIZE = 0x4,
        IOMAP_CONFIG_MAX_LINKS = 0x8,
        IOMAP_CONFIG_TIME = 0x10,
        IOMAP_CONFIG_MAXBYTES = 0x20,
        IOMAP_CONFIG_CACHE_MAXBYTES = 0x40, /* only with it is the answer 104 bytes long */
};

typedef struct IomapConfigIn {
        uint64_t flags; /* what the kernel understands */
        int64_t maxbytes;
        uint32_t cache_maxbytes;
        uint32_t zero;
        uint64_t reserved[5];
} IomapConfigIn;

typedef struct IomapConfigOut {
        uint64_t flags;
        char s_id[32];
        uint8_t s_uuid[16];
        uint8_t s_uuid_len;
        uint8_t pad[3];
        uint32_t s_blocksize;
        uint32_t s_max_links;
        uint32_t s_time_gran;
        int64_t s_time_min;
        int64_t s_time_max;
        int64_t s_maxbytes;
        uint32_t cache_maxbytes;
        uint32_t zero;
} IomapConfigOut;
#define IOMAP_CONFIG_OUT_SHORT 96U

typedef struct IomapBeginIn {
        uint32_t opflags;
        uint32_t reserved;
        uint64_t attr_ino;
        uint64_t pos;
        uint64_t count;
} IomapBeginIn;

typedef struct IomapBeginOut {
        struct fused_mapping read;
        struct fused_mapping write;
} IomapBeginOut;

typedef struct IomapEndIn {
        uint32_t opflags;
        uint32_t reserved;
        uint64_t attr_ino;
        uint64_t pos;
        uint64_t count;
        int64_t written; /* or negative errno */
        struct fused_mapping map;
} IomapEndIn;

typedef struct IomapIoendIn {
        uint32_t flags;
        int32_t error;
        uint64_t attr_ino;
        uint64_t pos;
        uint64_t new_addr;
        uint64_t written;
        uint32_t dev;
        uint32_t pad;
} IomapIoendIn;

typedef struct IomapIoendOut {
        uint64_t newsize;
} IomapIoendOut;

typedef struct IomapRange {
        uint64_t offset;
        uint64_t length; /* 0: nothing; all ones: to the end */
} IomapRange;

typedef struct IomapNotifyDevice {
        uint32_t dev;
        uint32_t reserved;
        IomapRange range;
} IomapNotifyDevice;

typedef struct IomapNotifyUpsert {
        uint64_t nodeid;
        uint64_t attr_ino;
        struct fused_mapping read;
        struct fused_mapping write;
} IomapNotifyUpsert;

typedef struct IomapNotifyInvalidate {
        uint64_t nodeid;
        uint64_t attr_ino;
        IomapRange read;
        IomapRange write;
} IomapNotifyInvalidate;

/* ioctls of /dev/fuse */
typedef struct IomapBackingMap {
        int32_t fd;
        uint32_t flags; /* the low byte: 1, a device for mappings */
        uint64_t padding;
} IomapBackingMap;
#define IOMAP_BACKING_TYPE 1U

typedef struct IomapBackingInfo {
        uint32_t backing_id;
        uint32_t blocksize;
} IomapBackingInfo;

#define IOMAP_IOC_BACKING_OPEN _IOW(229, 1, IomapBackingMap)
#define IOMAP_IOC_SET_NOFS _IOW(229, 100, uint32_t)
#define IOMAP_IOC_SET_BLOCKSIZE _IOW(229, 102, IomapBackingInfo)
#define IOMAP_IOC_SET_BLOCKSIZE_OLD _IOW(229, 99, IomapBackingInfo)

#define IOMAP_AT(type, field, at, bytes) \
        _Static_assert(offsetof(type, field) == (at) && sizeof(((type *) 0)->field) == (bytes), #type "." #field)
_Static_assert(sizeof(struct fused_mapping) == 32, "a mapping is 32 bytes");
IOMAP_AT(struct fused_mapping, offset, 0, 8);
IOMAP_AT(struct fused_mapping, length, 8, 8);
IOMAP_AT(struct fused_mapping, addr, 16, 8);
IOMAP_AT(struct fused_mapping, type, 24, 2);
IOMAP_AT(struct fused_mapping, flags, 26, 2);
IOMAP_AT(struct fused_mapping, dev, 28, 4);
_Static_assert(sizeof(IomapConfigIn) == 64, "CONFIG's request is 64 bytes");
IOMAP_AT(IomapConfigIn, maxbytes, 8, 8);
IOMAP_AT(IomapConfigIn, cache_maxbytes, 16, 4);
IOMAP_AT(IomapConfigIn, reserved, 24, 40);
_Static_assert(sizeof(IomapConfigOut) == 104, "CONFIG's answer is at most 104 bytes");
IOMAP_AT(IomapConfigOut, s_id, 8, 32);
IOMAP_AT(IomapConfigOut, s_uuid, 40, 16);
IOMAP_AT(IomapConfigOut, s_uuid_len, 56, 1);
IOMAP_AT(IomapConfigOut, pad, 57, 3);
IOMAP_AT(IomapConfigOut, s_blocksize, 60, 4);
IOMAP_AT(IomapConfigOut, s_max_links, 64, 4);
IOMAP_AT(IomapConfigOut, s_time_gran, 68, 4);
IOMAP_AT(IomapConfigOut, s_time_min, 72, 8);
IOMAP_AT(IomapConfigOut, s_time_max, 80, 8);
IOMAP_AT(IomapConfigOut, s_maxbytes, 88, 8);
IOMAP_AT(IomapConfigOut, cache_maxbytes, IOMAP_CONFIG_OUT_SHORT, 4);
_Static_assert(sizeof(IomapBeginIn) == 32 && sizeof(IomapBeginOut) == 64, "BEGIN is 32 and 64 bytes");
IOMAP_AT(IomapBeginIn, attr_ino, 8, 8);
IOMAP_AT(IomapBeginIn, pos, 16, 8);
IOMAP_AT(IomapBeginIn, count, 24, 8);
IOMAP_AT(IomapBeginOut, write, 32, 32);
_Static_assert(sizeof(IomapEndIn) == 72, "END's request is 72 bytes");
IOMAP_AT(IomapEndIn, attr_ino, 8, 8);
IOMAP_AT(IomapEndIn, pos, 16, 8);
IOMAP_AT(IomapEndIn, count, 24, 8);
IOMAP_AT(IomapEndIn, written, 32, 8);
IOMAP_AT(IomapEndIn, map, 40, 32);
_Static_assert(sizeof(IomapIoendIn) == 48 && sizeof(IomapIoendOut) == 8, "IOEND is 48 and 8 bytes");
IOMAP_AT(IomapIoendIn, error, 4, 4);
IOMAP_AT(IomapIoendIn, attr_ino, 8, 8);
IOMAP_AT(IomapIoendIn, pos, 16, 8);
IOMAP_AT(IomapIoendIn, new_addr, 24, 8);
IOMAP_AT(IomapIoendIn, written, 32, 8);
IOMAP_AT(IomapIoendIn, dev, 40, 4);
_Static_assert(sizeof(IomapNotifyDevice) == 24 && sizeof(IomapNotifyUpsert) == 80 && sizeof(IomapNotifyInvalidate) == 48, "notifications");
IOMAP_AT(IomapNotifyDevice, range, 8, 16);
IOMAP_AT(IomapNotifyUpsert, read, 16, 32);
IOMAP_AT(IomapNotifyUpsert, write, 48, 32);
IOMAP_AT(IomapNotifyInvalidate, read, 16, 16);
IOMAP_AT(IomapNotifyInvalidate, write, 32, 16);
_Static_assert(IOMAP_IOC_BACKING_OPEN == 0x4010e501 && IOMAP_IOC_SET_NOFS == 0x4004e564, "numbers of ioctls");
_Static_assert(IOMAP_IOC_SET_BLOCKSIZE == 0x4008e566 && IOMAP_IOC_SET_BLOCKSIZE_OLD == 0x4008e563, "numbers of ioctls");
IOMAP_AT(IomapBackingMap, fd, 0, 4);
IOMAP_AT(IomapBackingMap, flags, 4, 4);
IOMAP_AT(IomapBackingMap, padding, 8, 8);
IOMAP_AT(IomapBackingInfo, backing_id, 0, 4);
IOMAP_AT(IomapBackingInfo, blocksize, 4, 4);
#undef IOMAP_AT
