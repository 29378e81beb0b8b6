/* SPDX-License-Identifier: GPL-2.0-only */
/* A file of many extents, found where a model of straight lines says, give or take what was proven when it was made. */

#include "fused-program.h"
#include "extents/extents.h"
#include "extents/search.h"

#define SEGMENT_STEPS 24

FUSED_TABLE(segments, struct learned_segment, 64);

/* The segment that pos is in. */
_fused_inline_ struct learned_segment *find_segment(struct extents_file *file, uint64_t pos) {
        uint32_t low = file->segment, high = file->segment + file->n_segments;

        for (uint32_t i = 0; i < SEGMENT_STEPS && high - low > 1; i++) {
                uint32_t middle = low + (high - low) / 2;
                struct learned_segment *segment = fused_entry(segments, middle);
                if (!segment)
                        break;
                if (segment->from <= pos)
                        low = middle;
                else
                        high = middle;
        }
        return fused_entry(segments, low);
}

static int learned_begin(struct fused_program_call *call) {
        uint64_t since = fused_since(files);
        struct extents_file *file = fused_find(files, struct extents_file, call->nodeid);
        struct learned_segment *segment;
        uint64_t units, guess;
        uint32_t low, high;
        int verdict;

        if (!file || call->pos >= file->length)
                return FUSED_PROGRAM_FALLBACK;
        low = file->first;
        high = file->first + file->count;
        segment = file->n_segments > 0 ? find_segment(file, call->pos) : NULL;
        if (segment && segment->from <= call->pos) {
                units = (call->pos - segment->from) >> LEARNED_UNIT;
                if (units >= LEARNED_SPAN_MAX)
                        units = LEARNED_SPAN_MAX - 1;
                guess = segment->base + (units * segment->slope >> 32);
                if (guess > file->count) /* behind the last extent */
                        guess = file->count;
                if (guess > segment->error)
                        low = file->first + (uint32_t) (guess - segment->error);
                if (guess + segment->error + 2 < file->count)
                        high = file->first + (uint32_t) (guess + segment->error + 2);
                if (low > high)
                        low = file->first;
        }
        verdict = extents_answer(call, file, extents_search(call->pos, low, high, EXTENTS_STEPS));
        return fused_still(files, since, verdict);
}

static int learned_sample(struct fused_sample_call *call) {
        struct extents_file *file = fused_sample_file(files, struct extents_file, call->nodeid);
        struct learned_segment *segment = fused_entry(segments, 0);
        int regular = call->seed & 1;

        if (!file || !segment)
                return 0;
        call->file_size = extents_sample_file(call, file, 200, regular);
        if (regular && call->file_size > 0) { /* two blocks each: a straight line */
                segment->from = 0;
                segment->base = 0;
                segment->slope = (uint32_t) ((1ULL << 32) / (2 * call->block_size >> LEARNED_UNIT));
                segment->error = 1;
                file->segment = 0;
                file->n_segments = 1;
        }
        return 0;
}

FUSED_PROGRAM(learned);
FUSED_SAMPLE(learned);
