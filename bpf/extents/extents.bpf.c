/* SPDX-License-Identifier: GPL-2.0-only */
/* A file of many extents, found by binary search. */

#include "fused-program.h"
#include "extents/extents.h"
#include "extents/search.h"

static int extents_begin(struct fused_program_call *call) {
        uint64_t since = fused_since(files);
        struct extents_file *file = fused_find(files, struct extents_file, call->nodeid);
        int verdict;

        if (!file || call->pos >= file->length)
                return FUSED_PROGRAM_FALLBACK;
        verdict = extents_answer(call, file, extents_search(call->pos, file->first, file->first + file->count, EXTENTS_STEPS));
        return fused_still(files, since, verdict);
}

static int extents_sample(struct fused_sample_call *call) {
        struct extents_file *file = fused_sample_file(files, struct extents_file, call->nodeid);

        if (file)
                call->file_size = extents_sample_file(call, file, 200, /* regular= */ 0);
        return 0;
}

FUSED_PROGRAM(extents);
FUSED_SAMPLE(extents);
