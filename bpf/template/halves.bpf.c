/* SPDX-License-Identifier: GPL-2.0-only */
/* A template: a file in two pieces, each somewhere on a device. See fused-mapping-program(7); `make` builds it. */

#include "fused-program.h"
#include "halves.h"

FUSED_TABLE(files, struct halves_file, 1024); /* the server may ask for another number of entries */

static int halves_begin(struct fused_program_call *call) {
        uint64_t since = fused_since(files);
        struct halves_file *file = fused_find(files, struct halves_file, call->nodeid);
        int verdict;

        if (!file || call->pos >= file->length)
                return FUSED_PROGRAM_FALLBACK;
        if (call->pos < file->middle)
                verdict = fused_mapped(call, 0, file->middle, file->device[0], file->addr[0]);
        else
                verdict = fused_mapped(call, file->middle, file->length - file->middle, file->device[1], file->addr[1]);
        return fused_still(files, since, verdict);
}

static int halves_sample(struct fused_sample_call *call) {
        struct halves_file *file = fused_sample_file(files, struct halves_file, call->nodeid);
        uint64_t block = call->block_size, blocks, last;

        if (!file || call->n_devices < 1 || call->n_devices > FUSED_PROGRAM_DEVICES_MAX || block < 512)
                return 0;
        last = fused_index(call->n_devices - 1, FUSED_PROGRAM_DEVICES_MAX);
        blocks = call->device_size[0] / block;
        if (blocks > call->device_size[last] / block)
                blocks = call->device_size[last] / block;
        if (blocks < 4)
                return 0;
        blocks /= 2;
        file->middle = (1 + call->seed % (blocks - 1)) * block;
        file->length = 2 * blocks * block;
        file->device[0] = 1;
        file->device[1] = (uint32_t) last + 1;
        file->addr[0] = 0;
        file->addr[1] = last == 0 ? file->middle : 0;
        if (last != 0)
                file->length = file->middle + blocks * block;
        call->file_size = file->length;
        return 0;
}

FUSED_PROGRAM(halves);
FUSED_SAMPLE(halves);
