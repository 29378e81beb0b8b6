/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The manager's system calls, as one array. */

#include "base/macro.h"

typedef enum FilterAction {
        FILTER_ALLOW,
        FILTER_DENY, /* EACCES: libraries try these and do without */
} FilterAction;

typedef struct FilterRow {
        const char *name;
        FilterAction action;
} FilterRow;
extern const FilterRow manager_filter_rows[];
extern const size_t n_manager_filter_rows;

/* Sets no_new_privs and loads the filter: whatever has no row fails with EPERM. */
int manager_filter_load(void) _must_check_;
/* Writes the program (struct sock_filter each) to fd, to be compared with the running process by a test. */
int manager_filter_export(int fd) _must_check_;
