/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a call ended, for the one who made it: the word for the bus error and one line of text. */

#include "base/macro.h"

typedef enum OutcomeKind {
        OUTCOME_OK,
        OUTCOME_REFUSED,       /* by policy or quota */
        OUTCOME_NO_SUCH_MOUNT,
        OUTCOME_BUSY,
        OUTCOME_SERVER_FAILED, /* the server's fault */
        OUTCOME_FAILED,        /* a step of ours */
        OUTCOME_INVALID,       /* the call is malformed */
        OUTCOME_LIMITS,        /* too many calls */
        _OUTCOME_MAX,
        _OUTCOME_INVALID = -EINVAL,
} OutcomeKind;

typedef struct Outcome {
        OutcomeKind kind;
        uint32_t refusal; /* Refusal, for OUTCOME_REFUSED */
        char text[2048];
} Outcome;

void outcome_set(Outcome *outcome, OutcomeKind kind, const char *format, ...) _printf_(3, 4);
const char *outcome_bus_name(OutcomeKind kind);
const char *outcome_to_string(OutcomeKind kind); /* for the log's OUTCOME field */
