/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The agent stands beside an unmodified server (hand-over fd) inside its sandbox, with the server's own uid and nothing
 * more than the slots: it answers the few calls by which the server names them. See agent.c. */

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/types.h>

#include "agent/spec.h"
#include "base/macro.h"

typedef struct Agent {
        const AgentSpec *spec; /* mapped, read-only */
        AgentSlot fuse;        /* "/dev/fuse" */
        int listener_fd;
        int signal_fd;
        pid_t server_pid;
        bool mount_claimed;    /* the server believes that it has mounted */
} Agent;

/* --- path.c --- */

#define AGENT_PATH_MAX 4096
/* Makes path absolute (a relative one counts from "/", where every server starts) and takes out "//", "." and "..";
 * the root has no links but /lib and the like. Returns false if it does not fit. */
bool path_normalise(const char *path, char *normal, size_t size);
/* The slot of a normalised path, the FUSE device among them; NULL if it is none. */
const AgentSlot *slot_find(const Agent *agent, const char *normal);

/* --- answer.c --- */

/* Takes one notification from the listener and answers it. Returns negative errno only if the listener is unusable. */
int answer_next(Agent *agent) _must_check_;

/* --- own-filter.c --- */

/* From here on the agent can do what answer.c and the loop do, and nothing else. */
int own_filter_install(void) _must_check_;
