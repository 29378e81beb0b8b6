/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What has happened since the manager began, by type: for those who watch the whole (Statistics, fusectl metrics). Nothing is kept
 * per user or mount, and no more types than a policy may have. */

#include <sys/types.h>

#include "base/macro.h"
#include "wire/broker.h"

#define STATISTICS_TYPES_MAX 256U /* more come to be in use when policy is reloaded again and again: those are not counted */

typedef struct TypeStatistics {
        char name[POLICY_NAME_MAX];
        uint64_t n_live;     /* became live */
        uint64_t live_usec;  /* from request to live, all of them together */
        uint64_t n_ended[_BROKER_REASON_MAX];
        uint64_t n_taken_over; /* live when this manager began */
        int last_exit_code, last_exit_status; /* CLD_*; 0: none yet */
        uint64_t last_exit_usec;              /* CLOCK_REALTIME */
} TypeStatistics;

typedef struct Statistics {
        TypeStatistics *types; /* owned */
        size_t n_types;
} Statistics;

void statistics_done(Statistics *statistics);
void statistics_live(Statistics *statistics, const char *type, uint64_t usec);
void statistics_taken_over(Statistics *statistics, const char *type);
/* exit_code 0: no server ran, or how it ended is not known */
void statistics_ended(Statistics *statistics, const char *type, BrokerEndReason reason, int exit_code, int exit_status);
