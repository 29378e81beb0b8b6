/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the three files of a mount share: mount.c (states, birth), mount-steps.c (its way up), mount-end.c (outcomes and its way
 * down). Nobody else includes this. */

#include "manager/mount.h"

struct MountWaiter {
        MountWaiter *next;
        Mount *mount;     /* borrowed */
        BrokerCall *call; /* borrowed: its BROKER_END */
        mount_outcome_t on_outcome;
        void *userdata;
};

MountWaiter *mount_waiter_new(Mount *mount, mount_outcome_t on_outcome, void *userdata);
void mount_arm(Mount *mount, uint64_t usec); /* the state's deadline, anew; 0: none */
uint64_t mount_deadline_usec(const Mount *mount, MountState state);
const char *mount_step(const Mount *mount); /* what is waited for, for messages */
void mount_send_cancel(Mount *mount);
/* mount-channel.c */
void mount_open_channel(Mount *mount); /* the server wants it: service_file_sent() follows */
int mount_take_channel(Mount *mount, int fd) _must_check_; /* takes fd over */
void mount_drop_channel(Mount *mount);
void mount_charge_programs(Mount *mount, uint32_t mib); /* likewise: their tables take that */
void mount_charge_backings(Mount *mount, uint32_t n); /* there are that many, whatever the limit is */
#define MOUNT_END_MARGIN_USEC (20 * USEC_PER_SEC)
