/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which rights fused-program asks the kernel with. What the verifier lets a program do depends on them: with CAP_PERFMON it may keep addresses
 * of the kernel in its tables, compare and answer with them, and goes without what keeps the processor from reading ahead past a check. */

#include "base/macro.h"
#include "load.h"

/* CAP_BPF and CAP_PERFMON are all that this process may ever have again, and the first all that it has. Without them: what there is. */
int privilege_begin(void) _must_check_;
/* load_load(), with what that part takes; *ret_trusted: with CAP_PERFMON, so that addresses were not watched. */
int privilege_load(Loaded *loaded, char *log, size_t log_size, bool *ret_trusted) _must_check_;
