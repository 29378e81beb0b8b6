/* SPDX-License-Identifier: GPL-2.0-only */
/* A file that is interleaved over several devices, chunk by chunk. */

#include "fused-program.h"
#include "stripe/stripe.h"

FUSED_TABLE(files, struct stripe_file, 1024);

static int stripe_begin(struct fused_program_call *call) {
        uint64_t since = fused_since(files);
        struct stripe_file *file = fused_find(files, struct stripe_file, call->nodeid);
        uint64_t chunk, offset, length, row;
        uint32_t shift, n, i;

        if (!file || call->pos >= file->length)
                return FUSED_PROGRAM_FALLBACK;
        shift = file->shift & 63;
        n = file->n;
        if (n < 1 || n > FUSED_PROGRAM_DEVICES_MAX)
                return FUSED_PROGRAM_FALLBACK;
        chunk = call->pos >> shift;
        row = chunk / n;
        i = fused_index(chunk % n, FUSED_PROGRAM_DEVICES_MAX);
        offset = chunk << shift;
        length = 1ULL << shift;
        if (length > file->length - offset)
                length = file->length - offset;
        return fused_still(files, since, fused_mapped(call, offset, length, file->device[i], file->first[i] + (row << shift)));
}

static int stripe_sample(struct fused_sample_call *call) {
        struct stripe_file *file = fused_sample_file(files, struct stripe_file, call->nodeid);
        uint64_t least = ~0ULL, rows;
        uint32_t shift, n = call->n_devices;

        if (!file || n < 1 || n > FUSED_PROGRAM_DEVICES_MAX || call->block_size < 512)
                return 0;
        shift = 16 + (uint32_t) (call->seed & 3); /* 64 KiB is as large as a block gets */
        for (uint32_t i = 0; i < FUSED_PROGRAM_DEVICES_MAX; i++) {
                if (i < n && call->device_size[i] < least)
                        least = call->device_size[i];
                file->device[i] = (uint8_t) (i + 1);
                file->first[i] = ((call->seed >> (8 + i)) & 3) << shift;
        }
        rows = least >> shift;
        if (rows < 5)
                return 0;
        file->shift = shift;
        file->n = n;
        file->length = ((rows - 3) * n) << shift;
        call->file_size = file->length;
        return 0;
}

FUSED_PROGRAM(stripe);
FUSED_SAMPLE(stripe);
