/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A helper process that moves servers into their version 1 cgroups, beside a host's version 2.
 *
 * Why: a server is born in its version 2 cgroup, but version 1 only knows moving, and each move waits for an RCU grace
 * period of about 10 ms (cgroup_threadgroup_rwsem), three times what the whole sandbox takes. So on such a "hybrid"
 * host the move happens while the server starts: for that long its limits are the rlimits, among them the number of
 * processes. The version 2 cgroup says who belongs to it, so that a child it forked meanwhile is moved as well.
 *
 * One process for the supervisor's life, without capabilities; it ends with its socket. */

#include "launcher/cgroup-find.h"

typedef struct CgroupMover CgroupMover;

/* hierarchies: borrowed, for as long as the mover lives; hierarchies[0] is version 2. */
int cgroup_mover_new(const CgroupHierarchy *hierarchies, size_t n, CgroupMover **ret) _must_check_;
CgroupMover *cgroup_mover_free(CgroupMover *mover); /* ends and reaps it; returns NULL */
/* Everything in the directory "name" of version 2 is to go to "name" of the others. Does not wait. */
int cgroup_mover_ask(CgroupMover *mover, const char *name) _must_check_;
