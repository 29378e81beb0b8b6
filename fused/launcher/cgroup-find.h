/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which cgroup hierarchies the supervisor can use, and its own directory in each. Used by cgroup.c only. */

#include "base/macro.h"

typedef enum CgroupController {
        CGROUP_MEMORY = 1 << 0,
        CGROUP_PIDS = 1 << 1,
        CGROUP_CPU = 1 << 2,
} CgroupController;

#define CGROUP_HIERARCHIES_MAX 4 /* version 2, and at most one of version 1 for each controller */

typedef struct CgroupHierarchy {
        int fd;               /* owned: OWN/NAME */
        char *path;           /* owned: the same, for display */
        bool v2;
        uint32_t controllers; /* CgroupController bits that can be used here */
        bool moved;           /* the supervisor itself went into NAME/supervisor, to make room for controllers */
        uint32_t enabled;     /* controllers that we switched on in OWN, to be switched off again */
} CgroupHierarchy;

/* Makes OWN/NAME in each usable hierarchy; version 2, if there, is the first. An unusable one is left out; only a lack
 * of memory and the like is an error. */
int cgroup_find(const char *name, CgroupHierarchy *hierarchies, size_t *ret_n) _must_check_;
/* Undoes it; directories that are in use stay. */
void cgroup_leave(const char *name, CgroupHierarchy *hierarchies, size_t n);

/* Takes away what supervisors that were killed have left beside ours: "fused-PID" of a process that is no more, as far as
 * nobody is in there. */
void cgroup_sweep_dead(const CgroupHierarchy *hierarchies, size_t n);

/* --- pure parts, for the unit test --- */

/* The path in /proc/self/cgroup for a controller ("memory"), or version 2 for "". Returns false if there is none. */
bool cgroup_own_path(const char *cgroups, const char *controller, char *path, size_t size);
/* The directory of that path below the mount that /proc/self/mountinfo has for it. */
bool cgroup_directory(const char *mountinfo, const char *controller, const char *own_path, char *directory,
                      size_t size);
