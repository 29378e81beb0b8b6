/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counters by type. See statistics.h. */

#include "manager/statistics.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

void statistics_done(Statistics *statistics) {
        free(statistics->types);
        *statistics = (Statistics){0};
}

/* NULL: there are too many, or no memory; then nobody counts. */
static TypeStatistics *of_type(Statistics *statistics, const char *type) {
        TypeStatistics *types;

        for (size_t i = 0; i < statistics->n_types; i++)
                if (strcmp(statistics->types[i].name, type) == 0)
                        return &statistics->types[i];
        if (statistics->n_types >= STATISTICS_TYPES_MAX)
                return NULL;
        types = reallocarray(statistics->types, statistics->n_types + 1, sizeof *types);
        if (!types)
                return NULL;
        statistics->types = types;
        types += statistics->n_types++;
        *types = (TypeStatistics){0};
        (void) snprintf(types->name, sizeof types->name, "%s", type);
        return types;
}

void statistics_live(Statistics *statistics, const char *type, uint64_t usec) {
        TypeStatistics *row = of_type(statistics, type);

        if (!row)
                return;
        row->n_live++;
        row->live_usec += usec;
}

void statistics_taken_over(Statistics *statistics, const char *type) {
        TypeStatistics *row = of_type(statistics, type);

        if (row)
                row->n_taken_over++;
}

void statistics_ended(Statistics *statistics, const char *type, BrokerEndReason reason, int exit_code, int exit_status) {
        TypeStatistics *row = of_type(statistics, type);
        struct timespec now;

        if (!row || reason >= _BROKER_REASON_MAX)
                return;
        row->n_ended[reason]++;
        if (exit_code == 0)
                return;
        (void) clock_gettime(CLOCK_REALTIME, &now);
        row->last_exit_code = exit_code;
        row->last_exit_status = exit_status;
        row->last_exit_usec = (uint64_t) now.tv_sec * USEC_PER_SEC + (uint64_t) now.tv_nsec / 1000;
}
