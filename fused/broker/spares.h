/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sandboxes made ahead: one of each type that was mounted lately, so that the next mount of that type need not wait for
 * namespaces. A spare has run nothing, holds nothing of anybody, and is charged to nobody; fused.conf says how many there may
 * be (Spares=, 0 for none). */

#include "broker/broker.h"
#include "broker/mount.h"

/* Gives the mount a spare of its type, with uid and cgroup, if there is one. */
bool spare_take(Broker *broker, Mount *mount);
/* Takes back what a mount that was refused did not use; else it is ended. */
void spare_give_back(Mount *mount);
/* A mount of this type has become live: soon, another may be asked for. */
void spare_wanted(Broker *broker, Policy *policy, const PolicyType *type);
bool spare_has_uid(const Broker *broker, uint32_t uid);
void spares_flush(Broker *broker);
