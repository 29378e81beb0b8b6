/* SPDX-License-Identifier: LGPL-2.1-or-later OR GPL-2.0-only */
#pragma once

/* Programs `extents` and `learned`: the extents of files that do not change, in a table that is searched. */

struct extents_file {     /* table "files" */
        uint64_t nodeid;  /* 0: free; written last */
        uint64_t length;  /* bytes that the extents and the holes between them make, a multiple of the block size */
        uint32_t first;   /* its extents: extents[first .. first + count), by offset, without overlap */
        uint32_t count;
        uint32_t segment; /* `learned`: its model: segments[segment .. segment + n_segments); n_segments 0: the table is searched */
        uint32_t n_segments;
};

struct extents_extent {   /* table "extents" */
        uint64_t offset;  /* in the file, bytes */
        uint64_t length;  /* bytes */
        uint64_t addr;    /* bytes: 56 bits; the device's number above them */
};
#define EXTENTS_ADDR(word) ((word) & ((1ULL << 56) - 1))
#define EXTENTS_DEVICE(word) ((uint32_t) ((word) >> 56))
#define EXTENTS_PACK(device, addr) ((uint64_t) (device) << 56 | (addr))

#define EXTENTS_STEPS 32 /* of a binary search in a table of at most 2^32 */

/* `learned`: from offset `from` on, up to the next segment, the extent that holds offset x is among
 *     base + ((x - from) >> LEARNED_UNIT) * slope / 2^32  -+  error
 * which was checked for every extent when the model was made. */
struct learned_segment { /* table "segments" */
        uint64_t from;   /* bytes */
        uint32_t base;   /* index from the file's first extent */
        uint32_t slope;  /* extents per unit, times 2^32; at most one extent per unit */
        uint32_t error;
        uint32_t reserved;
};
#define LEARNED_UNIT 9 /* log2 of bytes: the smallest block */
#define LEARNED_SPAN_MAX (1ULL << 31) /* units that one segment may reach over */
