/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model of `learned`: as few straight lines as a greedy walk finds. A line starts at an extent and goes on as long as one slope passes
 * within the error of every extent so far (the slopes that do form a cone, which each extent narrows). What the program will compute, in its
 * own integers, is then tried for every extent; a line that does not keep what it promised is given the error that it really has. */

#include "program/extents.h"

static uint64_t units_from(const struct learned_segment *segment, uint64_t pos) {
        uint64_t units = (pos - segment->from) >> LEARNED_UNIT;

        return units >= LEARNED_SPAN_MAX ? LEARNED_SPAN_MAX - 1 : units;
}

/* The very arithmetic of the program. */
static uint64_t guess(const struct learned_segment *segment, uint64_t pos) {
        return segment->base + (units_from(segment, pos) * segment->slope >> 32);
}

static uint32_t distance(uint64_t a, uint64_t b) {
        return (uint32_t) (a > b ? a - b : b - a);
}

/* A position is in the last extent that begins at or before it; up to `limit` (the next one's beginning) that is extent i. */
static uint32_t error_at(const struct learned_segment *segment, uint64_t begin, uint64_t limit, uint32_t i) {
        uint32_t first = distance(guess(segment, begin), i), last = distance(guess(segment, limit - 1), i);

        return MAX_OF(first, last);
}

typedef struct Cone {
        double low, high; /* slopes, in extents per unit */
} Cone;

/* Narrowed by: at x units, y extents after the start, give or take error. False: nothing is left. */
static bool narrow(Cone *cone, double x, double y, double error) {
        if (x <= 0)
                return true;
        cone->low = MAX_OF(cone->low, (y - error) / x);
        cone->high = MIN_OF(cone->high, (y + error) / x);
        return cone->low <= cone->high;
}

/* How many extents from `first` on one line can take. */
static uint32_t extend(const struct extents_extent *extents, uint32_t first, uint32_t n, uint32_t error, double *ret_slope) {
        const double span = (double) LEARNED_SPAN_MAX;
        Cone cone = {0, 1};
        uint32_t i;

        *ret_slope = 0;
        for (i = first; i < n; i++) {
                uint64_t limit = i + 1 < n ? extents[i + 1].offset : extents[i].offset + extents[i].length;
                double x0 = (double) ((extents[i].offset - extents[first].offset) >> LEARNED_UNIT);
                double x1 = (double) ((limit - 1 - extents[first].offset) >> LEARNED_UNIT), y = i - first;
                Cone next = cone;
                if (x1 >= span || !narrow(&next, x0, y, error) || !narrow(&next, x1, y, error))
                        break;
                cone = next;
                *ret_slope = (cone.low + cone.high) / 2;
        }
        return MAX_OF(i - first, 1U);
}

static int add_segment(LearnedModel *model, uint32_t *room, const struct learned_segment *segment) {
        if (model->n == *room) {
                uint32_t more = *room ? *room * 2 : 16;
                struct learned_segment *segments = reallocarray(model->segments, more, sizeof *segments);
                if (!segments)
                        return -ENOMEM;
                model->segments = segments;
                *room = more;
        }
        model->segments[model->n++] = *segment;
        model->error = MAX_OF(model->error, segment->error);
        return 0;
}

int learned_model_build(const struct extents_extent *extents, uint32_t n, uint32_t error, LearnedModel *ret) {
        LearnedModel model = {0};
        uint32_t room = 0, r = 0;

        for (uint32_t first = 0, taken; first < n; first += taken) {
                struct learned_segment segment = {.from = first == 0 ? 0 : extents[first].offset, .base = first};
                double slope;
                taken = extend(extents, first, n, error > 1 ? error - 1 : error, &slope);
                segment.slope = slope >= 1 ? UINT32_MAX : (uint32_t) (slope * 4294967296.0);
                for (uint32_t i = first; i < first + taken; i++) {
                        uint64_t limit = i + 1 < n ? extents[i + 1].offset : extents[i].offset + extents[i].length;
                        segment.error = MAX_OF(segment.error, error_at(&segment, extents[i].offset, limit, i));
                }
                if (first == 0 && extents[0].offset > 0) /* what is before the first extent: a hole, found as "before 0" */
                        segment.error = MAX_OF(segment.error, (uint32_t) guess(&segment, extents[0].offset));
                if (add_segment(&model, &room, &segment) < 0)
                        r = ENOMEM;
                else if (model.n > n / 4 + 1)
                        r = E2BIG;
                if (r > 0) {
                        learned_model_done(&model);
                        return -(int) r;
                }
        }
        *ret = model;
        return 0;
}

void learned_model_done(LearnedModel *model) {
        free(model->segments);
        *model = (LearnedModel){0};
}

uint32_t extents_steps(uint32_t n) {
        uint32_t steps = 0;

        while (steps < 32 && (uint64_t) n >> steps)
                steps++;
        return steps;
}

uint32_t learned_steps(const LearnedModel *model) {
        return extents_steps(model->n > 1 ? model->n - 1 : 0) + 1 + extents_steps(2 * model->error + 2);
}
