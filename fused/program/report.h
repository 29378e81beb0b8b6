/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What fused-program says of a program: check after check, and what came of it. */

#include <stdio.h>

#include "base/macro.h"
#include "wire/channel.h"

/* One message to whoever started it, with the descriptors: the program's, then its tables' in the order asked for. */
typedef struct ProgramReport {
        uint32_t magic;
        int32_t error; /* 0 or negative errno: -EPERM: refused; else it could not be tried */
        uint32_t n_tables;
        uint32_t attached; /* bool: its struct_ops form is bound to the connection */
        ChannelTable tables[CHANNEL_TABLES_MAX];
        char rule[64];  /* refused: which check */
        char text[192]; /* and why */
} ProgramReport;
#define PROGRAM_REPORT_MAGIC 0x50524731U

/* Lines for people and machines: each check as it is made. */
typedef struct Report {
        FILE *stream; /* borrowed; NULL: nothing is printed */
        bool json;
        unsigned n;   /* lines so far */
        char rule[64], text[192]; /* of the first failure; "" if there is none */
} Report;

void report_begin(Report *report, const char *name);
void report_pass(Report *report, const char *rule, const char *format, ...) _printf_(3, 4);
/* Returns -EPERM. The first one counts. */
int report_fail(Report *report, const char *rule, const char *format, ...) _printf_(3, 4);
void report_end(Report *report);
