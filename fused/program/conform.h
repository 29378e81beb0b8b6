/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asking a program, between the conformance run (conform.c), which chooses the questions, and what one answer has to keep (conform-ask.c). */

#define FUSE_USE_VERSION 312
#include "fused-map.h"
#include "program/vet.h"

typedef struct Step { /* of a walk through the file */
        struct fused_mapping mapping;
        bool changes; /* it answers for what changes the file, too */
} Step;

typedef struct Run {
        int fd;                    /* borrowed: the program */
        const VetDevices *devices; /* borrowed */
        Report *report;            /* borrowed */
        uint32_t base;             /* what is random comes from it */
        uint64_t state;            /* of the random numbers */
        uint64_t node, seed, size; /* of the sample's file */
        Step *walk;                /* owned by the run: in order */
        size_t n_walk;
        uint64_t n_runs, n_window, window_begin; /* runs: all, and in this window of them, whose time is taken together */
        uint64_t n_timed, nsec;    /* those of all windows, and what they took of the processor */
        uint64_t nsec_max;         /* that one may take */
        unsigned n_slow;           /* windows one after another */
} Run;

/* How long an empty program takes on this machine, in nanoseconds. */
int conform_measure(uint64_t *ret_nsec) _must_check_;
/* Runs a program once. */
int conform_call(int fd, void *context, size_t size, uint32_t *ret) _must_check_;
/* Reports that it has answered wrongly. */
int conform_fail(Run *run, uint64_t pos, uint32_t opflags, const char *what, const char *why);
/* One question. 1: answered, by the rules for a single answer; 0: it falls back. */
int conform_ask(Run *run, uint64_t pos, uint64_t count, uint32_t opflags, struct fused_mapping *ret) _must_check_;
