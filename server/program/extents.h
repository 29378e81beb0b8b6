/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files for the programs `extents` and `learned`: a file's extents are put into the table "extents", for `learned` a model of them
 * into "segments", and the file into "files". Ranges of the two tables are given out first fit and come back when a file is
 * removed. One thread changes them at a time; programs may run meanwhile. */

#include "program/files.h"
#include "extents/extents.h"

typedef struct ExtentTables ExtentTables;

/* The memory is the program's tables, as fused_map_attach_program() gives them. segments NULL: for `extents`. */
int extent_tables_new(void *files, uint64_t n_files, struct extents_extent *extents, uint64_t n_extents, struct learned_segment *segments,
                      uint64_t n_segments, ExtentTables **ret) _must_check_;
ExtentTables *extent_tables_free(ExtentTables *tables);

/* extents: by offset, without overlap, within length; borrowed. length: bytes, a multiple of the block size. -ENOSPC: there is no room, the server
 * goes on answering for this file; -EEXIST; -EINVAL. */
int extent_tables_put(ExtentTables *tables, uint64_t nodeid, uint64_t length, const struct extents_extent *extents, uint32_t n) _must_check_;
void extent_tables_remove(ExtentTables *tables, uint64_t nodeid);

/* ---- the model ------------------------------------------------------------------------------------------------------ */

typedef struct LearnedModel {
        struct learned_segment *segments; /* owned */
        uint32_t n;
        uint32_t error; /* the largest */
} LearnedModel;

/* Straight lines through (offset, index) that are off by at most `error` anywhere, proven for every extent: that is tried for both ends of each,
 * between which index and line only grow. -E2BIG: more than n / 4 lines would be needed (the file is too irregular). */
int learned_model_build(const struct extents_extent *extents, uint32_t n, uint32_t error, LearnedModel *ret) _must_check_;
void learned_model_done(LearnedModel *model);
/* Steps that a search takes, with a model and without: whether it pays. */
uint32_t learned_steps(const LearnedModel *model);
uint32_t extents_steps(uint32_t n);
