/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What fused-program says of a program: check after check, and what came of it. */

#include <stdio.h>

#include "base/macro.h"
#include "wire/channel.h"

#define PROGRAM_TABLES_MAX 9 /* of an object, with what the compiler makes */
#define PROGRAM_FDS_MAX (2 + CHANNEL_TABLES_MAX)

/* One message to whoever started it, with the descriptors: the program's, then its tables' in the order asked for, then, if attachable, that of the
 * struct_ops map, which has its value and waits for a link. */
typedef struct ProgramReport {
        uint32_t magic;
        int32_t error; /* 0 or negative errno: -EPERM: refused; -EDQUOT: its tables are larger than is left; else it could not be tried */
        uint32_t n_tables;
        uint32_t attachable; /* bool: there is a struct_ops form of it for this kernel */
        ChannelTable tables[CHANNEL_TABLES_MAX];
        uint64_t bytes; /* of all its tables */
        uint32_t table_ids[PROGRAM_TABLES_MAX]; /* the kernel's numbers of all of them, 0: none; while one is there, so is its memory */
        uint32_t reserved;
        char rule[64];  /* refused: which check; or "struct_ops": why it is not attachable where the kernel has fuse-iomap */
        char text[192]; /* and why */
} ProgramReport;
#define PROGRAM_REPORT_MAGIC 0x50524732U

/* Lines for people and machines: each check as it is made. */
typedef struct Report {
        FILE *stream; /* borrowed; NULL: nothing is printed */
        bool json;
        unsigned n;   /* lines so far */
        char rule[64], text[192]; /* of the first failure; rule "" if there is none, text then may say why it could not be tried */
} Report;

void report_begin(Report *report, const char *name);
void report_pass(Report *report, const char *rule, const char *format, ...) _printf_(3, 4);
/* Returns -EPERM. The first one counts. */
int report_fail(Report *report, const char *rule, const char *format, ...) _printf_(3, 4);
/* It could not be tried, and why: returns error, which is not -EPERM. */
int report_cannot(Report *report, int error, const char *format, ...) _printf_(3, 4);
/* result: of all checks. Why it could not be tried; NULL: it was, and a check has failed, or none. */
const char *report_why_not(const Report *report, int result);
/* The verdict, if there is one. */
void report_end(Report *report, int result);
