/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the launcher tells the agent: a sealed memfd, mapped read-only. Written by launcher/agent-spec.c, read by
 * agent.c; both are from the same build, and the writer is the trusted side.
 *
 *   +-----------+-------------------------------+--------------------------------+
 *   | AgentSpec | n_filter * struct sock_filter | strings, each with its NUL |
 *   +-----------+-------------------------------+--------------------------------+
 */

#include <stdint.h>

#define AGENT_SPEC_MAGIC 0x7a670002U
#define AGENT_SPEC_SIZE_MAX (1U << 20)
#define AGENT_SLOTS_MAX 8
#define AGENT_ARGUMENTS_MAX 66

/* The agent's descriptors. 0, 1 and 2 are the server's as well. */
#define AGENT_FUSE_FD 3 /* the FUSE device; the server has it under the same number if server_has_fuse is set */
#define AGENT_SPEC_FD 4
#define AGENT_FIRST_SLOT_FD 5

typedef struct AgentSlot {
        char path[64];     /* as the server names it */
        int32_t fd;        /* -1: empty, the path does not exist for the server */
        uint32_t writable; /* bool: fd was opened for writing */
} AgentSlot;

typedef struct AgentSpec {
        uint32_t magic;
        uint32_t size; /* of the whole memfd */
        uint32_t n_slots;
        uint32_t n_arguments; /* argv[0] is the program's path as well */
        uint32_t n_filter;    /* instructions of the server's filter, right behind this struct */
        uint32_t server_has_fuse; /* bool */
        AgentSlot slots[AGENT_SLOTS_MAX];
        uint32_t arguments[AGENT_ARGUMENTS_MAX]; /* byte offsets from the start of the spec */
} AgentSpec;
