/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See extents.h. */

#include "program/extents.h"

#include <string.h>

#define MODEL_ERROR 8 /* tried first; a longer search costs less than a second line */
#define PAYS_STEPS 3  /* fewer than `extents` takes, or the table is searched */

typedef struct Range { /* free entries of a table, by first */
        uint32_t first, count;
} Range;

typedef struct Space {
        Range *ranges; /* owned */
        size_t n, room;
} Space;

struct ExtentTables {
        FilesTable files;
        struct extents_extent *extents;   /* borrowed */
        struct learned_segment *segments; /* borrowed, or NULL */
        Space extent_space, segment_space;
};

/* ---- room ----------------------------------------------------------------------------------------------------------- */

static int space_insert(Space *space, size_t at, Range range) {
        if (space->n == space->room) {
                size_t more = space->room ? space->room * 2 : 16;
                Range *ranges = reallocarray(space->ranges, more, sizeof *ranges);
                if (!ranges)
                        return -ENOMEM;
                space->ranges = ranges;
                space->room = more;
        }
        memmove(&space->ranges[at + 1], &space->ranges[at], (space->n - at) * sizeof range);
        space->ranges[at] = range;
        space->n++;
        return 0;
}

static void space_delete(Space *space, size_t at) {
        memmove(&space->ranges[at], &space->ranges[at + 1], (space->n - at - 1) * sizeof space->ranges[0]);
        space->n--;
}

static int space_take(Space *space, uint32_t count, uint32_t *ret) {
        for (size_t i = 0; i < space->n; i++) {
                Range *range = &space->ranges[i];
                if (range->count < count)
                        continue;
                *ret = range->first;
                range->first += count;
                range->count -= count;
                if (range->count == 0)
                        space_delete(space, i);
                return 0;
        }
        return -ENOSPC;
}

/* Without memory to note it the room is lost, which costs no more than room. */
static void space_give(Space *space, uint32_t first, uint32_t count) {
        size_t i = 0;

        if (count == 0)
                return;
        while (i < space->n && space->ranges[i].first < first)
                i++;
        bool before = i > 0 && space->ranges[i - 1].first + space->ranges[i - 1].count == first;
        bool after = i < space->n && first + count == space->ranges[i].first;
        if (before) {
                space->ranges[i - 1].count += count;
                if (after) {
                        space->ranges[i - 1].count += space->ranges[i].count;
                        space_delete(space, i);
                }
        } else if (after) {
                space->ranges[i].first = first;
                space->ranges[i].count += count;
        } else
                (void) space_insert(space, i, (Range){first, count});
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

int extent_tables_new(void *files, uint64_t n_files, struct extents_extent *extents, uint64_t n_extents, struct learned_segment *segments,
                      uint64_t n_segments, ExtentTables **ret) {
        ExtentTables *tables = calloc(1, sizeof *tables);
        int r;

        if (!tables)
                return -ENOMEM;
        tables->extents = extents;
        tables->segments = segments;
        r = files_init(&tables->files, files, sizeof(struct extents_file), n_files);
        if (r >= 0)
                r = space_insert(&tables->extent_space, 0, (Range){0, (uint32_t) MIN_OF(n_extents, (uint64_t) UINT32_MAX)});
        if (r >= 0 && segments)
                r = space_insert(&tables->segment_space, 0, (Range){0, (uint32_t) MIN_OF(n_segments, (uint64_t) UINT32_MAX)});
        if (r < 0) {
                extent_tables_free(tables);
                return r;
        }
        *ret = tables;
        return 0;
}

ExtentTables *extent_tables_free(ExtentTables *tables) {
        if (tables) {
                free(tables->extent_space.ranges);
                free(tables->segment_space.ranges);
                free(tables);
        }
        return NULL;
}

static bool are_sound(const struct extents_extent *extents, uint32_t n, uint64_t length) {
        uint64_t end = 0;

        for (uint32_t i = 0; i < n; i++) {
                if (extents[i].length == 0 || extents[i].offset < end || extents[i].offset + extents[i].length < extents[i].offset ||
                    EXTENTS_DEVICE(extents[i].addr) == 0)
                        return false;
                end = extents[i].offset + extents[i].length;
        }
        return end <= length;
}

/* A model where it pays; else none, which is no failure. */
static void add_model(ExtentTables *tables, const struct extents_extent *extents, uint32_t n, struct extents_file *file) {
        LearnedModel model = {0};

        if (!tables->segments || n < 16 || learned_model_build(extents, n, MODEL_ERROR, &model) < 0)
                return;
        if (learned_steps(&model) + PAYS_STEPS <= extents_steps(n) && space_take(&tables->segment_space, model.n, &file->segment) >= 0) {
                memcpy(&tables->segments[file->segment], model.segments, model.n * sizeof model.segments[0]);
                file->n_segments = model.n;
        }
        learned_model_done(&model);
}

int extent_tables_put(ExtentTables *tables, uint64_t nodeid, uint64_t length, const struct extents_extent *extents, uint32_t n) {
        struct extents_file file = {.nodeid = nodeid, .length = length, .count = n};
        int r;

        if (nodeid == 0 || !are_sound(extents, n, length))
                return -EINVAL;
        if (files_get(&tables->files, nodeid))
                return -EEXIST;
        r = n > 0 ? space_take(&tables->extent_space, n, &file.first) : 0;
        if (r < 0)
                return r;
        if (n > 0)
                memcpy(&tables->extents[file.first], extents, n * sizeof extents[0]);
        add_model(tables, extents, n, &file);
        r = files_put(&tables->files, &file);
        if (r < 0) {
                space_give(&tables->extent_space, file.first, n);
                space_give(&tables->segment_space, file.segment, file.n_segments);
        }
        return r;
}

void extent_tables_remove(ExtentTables *tables, uint64_t nodeid) {
        const struct extents_file *file = files_get(&tables->files, nodeid);
        struct extents_file gone;

        if (!file)
                return;
        gone = *file;
        files_remove(&tables->files, nodeid);
        space_give(&tables->extent_space, gone.first, gone.count);
        space_give(&tables->segment_space, gone.segment, gone.n_segments);
}
