/* SPDX-License-Identifier: GPL-2.0-only */
/* A file that is one run on one device. */

#include "fused-program.h"
#include "linear/linear.h"

FUSED_TABLE(files, struct linear_file, 1024);

static int linear_begin(struct fused_program_call *call) {
        uint64_t since = fused_since(files);
        struct linear_file *file = fused_find(files, struct linear_file, call->nodeid);

        if (!file || call->pos >= file->length)
                return FUSED_PROGRAM_FALLBACK;
        return fused_still(files, since, fused_mapped(call, 0, file->length, (uint32_t) file->device, file->addr));
}

static int linear_sample(struct fused_sample_call *call) {
        struct linear_file *file = fused_sample_file(files, struct linear_file, call->nodeid);
        uint64_t block = call->block_size, blocks, skip;

        if (!file || call->n_devices < 1 || block < 512)
                return 0;
        blocks = call->device_size[0] / block;
        if (blocks < 2)
                return 0;
        skip = call->seed % (blocks / 2);
        file->addr = skip * block;
        file->length = (blocks - skip) * block;
        file->device = 1;
        call->file_size = file->length;
        return 0;
}

FUSED_PROGRAM(linear);
FUSED_SAMPLE(linear);
