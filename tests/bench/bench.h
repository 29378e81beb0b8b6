/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the benches share: a clock, children that are waited for, mounting through libfused. All of them end the program
 * with a message on failure: a bench that went wrong has no figures. */

#include <sys/types.h>

#include "base/macro.h"
#include "client/libfused.h"

uint64_t bench_usec(void);
_noreturn_ void bench_fail(const char *what);

/* Runs a program (argv, NULL-terminated; uid 0: as we are) to its end, quietly. Returns its exit status. */
int bench_run(const char *const *arguments, uid_t uid);
/* Starts it, and leaves it to the caller to wait for. */
pid_t bench_start(const char *const *arguments, uid_t uid);

FusedClient *bench_connect(const char *runtime_directory);
/* Mounts source (of that kind) on mountpoint; returns the id. */
uint64_t bench_mount(FusedClient *client, const char *type, const char *kind, const char *source, const char *mountpoint);
void bench_unmount(FusedClient *client, uint64_t id);

/* Sorts values and returns the one below which percent of them are. */
uint64_t bench_percentile(uint64_t *values, size_t n, unsigned percent);
