/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the running kernel can do, found out by trying. Each probe runs in a child with a deadline and leaves nothing
 * behind. */

#include "base/macro.h"

typedef enum ProbeState {
        PROBE_YES,
        PROBE_NO,
        PROBE_UNKNOWN, /* cannot be told from here: mostly for want of privilege */
        _PROBE_STATE_MAX,
} ProbeState;

typedef struct ProbeResult {
        ProbeState state;
        char detail[160];
} ProbeResult;

typedef struct Probe {
        const char *name;
        void (*run)(ProbeResult *result); /* in the child */
        const char *without; /* what fused does without it */
} Probe;
extern const Probe doctor_probes[];
extern const size_t n_doctor_probes;

const char *probe_state_to_string(ProbeState state);
/* Runs one in a child for at most 5 s. */
void probe_run(const Probe *probe, ProbeResult *ret);
