/* SPDX-License-Identifier: LGPL-2.1-or-later OR GPL-2.0-only */
#pragma once

/* Program `stripe`: chunk k of a file is in row k / n of device k % n. */

struct stripe_file {      /* table "files" */
        uint64_t nodeid;  /* 0: free; written last */
        uint64_t length;  /* bytes that have a place, a multiple of the block size */
        uint32_t shift;   /* log2 of the chunk's size in bytes */
        uint32_t n;       /* devices, 1 to FUSED_PROGRAM_DEVICES_MAX; not written to be something else while the file is in the table */
        uint64_t first[FUSED_PROGRAM_DEVICES_MAX]; /* where row 0 begins on each, bytes */
        uint8_t device[FUSED_PROGRAM_DEVICES_MAX]; /* their numbers */
};
