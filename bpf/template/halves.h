/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Program `halves`: what it shares with the server. Both sides have fixed-size types already. */

struct halves_file {      /* table "files" */
        uint64_t nodeid;  /* 0: free; written last */
        uint64_t length;  /* bytes, a multiple of the block size */
        uint64_t middle;  /* where the second half begins in the file, likewise */
        uint64_t addr[2]; /* bytes, on the device of that number */
        uint32_t device[2];
};
