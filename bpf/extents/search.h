/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Searching the table of extents, for `extents` and `learned`. Includes nothing: fused-program.h and extents.h come first. */

FUSED_TABLE(files, struct extents_file, 1024);
FUSED_TABLE(extents, struct extents_extent, 1024);

/* The last extent of [low, high) that begins at or before pos, as an index + 1; low if there is none. */
_fused_inline_ uint32_t extents_search(uint64_t pos, uint32_t low, uint32_t high, uint32_t steps) {
        for (uint32_t i = 0; i < steps && low < high; i++) {
                uint32_t middle = low + (high - low) / 2;
                struct extents_extent *extent = fused_entry(extents, middle);
                if (!extent)
                        break;
                if (extent->offset <= pos)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* after: what extents_search() found. Between extents, and after the last, is a hole. */
_fused_inline_ int extents_answer(struct fused_program_call *call, struct extents_file *file, uint32_t after) {
        uint64_t start = 0, end = file->length;
        struct extents_extent *extent;

        if (after > file->first) {
                extent = fused_entry(extents, after - 1);
                if (!extent || extent->offset > call->pos)
                        return FUSED_PROGRAM_FALLBACK;
                if (call->pos - extent->offset < extent->length)
                        return fused_mapped(call, extent->offset, extent->length, EXTENTS_DEVICE(extent->addr), EXTENTS_ADDR(extent->addr));
                start = extent->offset + extent->length;
        }
        if (after < file->first + file->count) {
                extent = fused_entry(extents, after);
                if (!extent)
                        return FUSED_PROGRAM_FALLBACK;
                end = extent->offset;
        }
        return end > call->pos ? fused_hole(call, start, end - start) : FUSED_PROGRAM_FALLBACK;
}

#define EXTENTS_SAMPLE_SPAN 4 /* blocks that an extent of a sample may have */

/* A made-up file: up to `count` extents of one to four blocks, some with a hole before them, scattered over the devices: each has its own part of its
 * device, which it gets from both ends of it by turns, beginning somewhere. Regular: all alike. */
_fused_inline_ uint64_t extents_sample_file(struct fused_sample_call *call, struct extents_file *file, uint32_t count, int regular) {
        uint64_t block = call->block_size, seed = call->seed, offset = 0, parts = ~0ULL;

        if (block < 512 || call->n_devices < 1 || call->n_devices > FUSED_PROGRAM_DEVICES_MAX)
                return 0;
        for (uint32_t i = 0; i < FUSED_PROGRAM_DEVICES_MAX; i++)
                if (i < call->n_devices && call->device_size[i] / block / EXTENTS_SAMPLE_SPAN < parts)
                        parts = call->device_size[i] / block / EXTENTS_SAMPLE_SPAN;
        if (parts < 2)
                return 0;
        for (uint32_t i = 0; i < count && i < parts; i++) {
                struct extents_extent *extent = fused_entry(extents, i);
                uint64_t n = regular ? 2 : 1 + (seed >> 40 & 3), part = (i % 2 ? parts - 1 - i / 2 : i / 2) + call->seed % parts;
                if (!extent)
                        return 0;
                if (!regular && (seed >> 50 & 3) == 0)
                        offset += block * (1 + (seed >> 52 & 7));
                extent->offset = offset;
                extent->length = n * block;
                extent->addr = EXTENTS_PACK(1 + (seed >> 33) % call->n_devices, part % parts * EXTENTS_SAMPLE_SPAN * block);
                offset += extent->length;
                file->count = i + 1;
                seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        }
        file->first = 0;
        file->n_segments = 0;
        file->length = offset + (regular ? 0 : (seed >> 60) * block);
        return file->length;
}
