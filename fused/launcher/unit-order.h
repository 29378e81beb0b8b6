/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is said on the connection of a fuse-service-TYPE@ unit before the server itself speaks, in packets of fixed size,
 * host byte order. The broker connects to /run/filesystems/TYPE, systemd accepts and starts the unit with its sandbox, and
 * fused-enter (enter.c) is its first program:
 *
 *   broker -> unit   UnitAsk    who is there?
 *   unit -> broker   UnitHello  nothing but its credentials, which the kernel attaches: pid, pidfd, uid
 *   broker -> unit   UnitOrder  now, or later for a unit that was started ahead; with descriptors
 *
 * After the order the connection is the server's (hand-over service: libfuse's protocol begins with the broker's side), or
 * is closed (hand-over fd). Another mount helper, such as libfuse's fuservicemount3, begins with libfuse's hello at once:
 * fused-enter then gets out of its way.
 */

#include "broker/spawn.h"

#define UNIT_ASK_MAGIC 0x75a50001U
#define UNIT_HELLO_MAGIC 0x75a50002U
#define UNIT_ORDER_MAGIC 0x75a50003U
#define UNIT_SLOTS_MAX 8

typedef struct UnitAsk {
        uint32_t magic;
        uint32_t reserved;
} UnitAsk;

typedef struct UnitHello {
        uint32_t magic;
        uint32_t reserved;
} UnitHello;

/* Descriptors: the spec (agent/spec.h: command line and filter); with an agent also the FUSE device and the agent's
 * program; then the slots that are present. */
typedef struct UnitOrder {
        uint32_t magic;
        uint32_t with_agent; /* bool: hand-over by descriptor */
        uint32_t n_slots;
        uint32_t present, writable, trees; /* bits, by slot */
} UnitOrder;
#define UNIT_ORDER_FDS_MAX (3 + UNIT_SLOTS_MAX)

/* Everything of the request but what the unit has already (root, ids, limits). The descriptors stay the caller's. */
int unit_order_send(int fd, const SpawnRequest *request, bool with_agent) _must_check_;
