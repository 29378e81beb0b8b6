/* SPDX-License-Identifier: LGPL-2.1-or-later OR GPL-2.0-only */
#pragma once

/* Program `linear`: each file is one run on one device. */

struct linear_file {     /* table "files" */
        uint64_t nodeid; /* 0: free; written last */
        uint64_t length; /* bytes, a multiple of the block size */
        uint64_t addr;   /* bytes */
        uint64_t device; /* its number */
};
