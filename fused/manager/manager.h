/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The manager's one state struct. Single-threaded; lives as long as the process (or a test). */

#include <systemd/sd-event.h>

#include "manager/broker-client.h"
#include "manager/quota.h"
#include "manager/statistics.h"
#include "policy/policy-table.h"

typedef struct Mount Mount;
typedef struct Control Control;

typedef struct Manager {
        sd_event *event;      /* owned reference */
        BrokerClient *broker; /* owned */
        Quota *quota;         /* owned */
        Policy *policy;       /* owned reference: the current generation; NULL before START */
        Control *control;     /* owned; NULL before ADOPTED */
        Mount *mounts;        /* owned list */
        size_t n_mounts;
        Statistics statistics; /* owned */
        int listen_fd;        /* owned until ADOPTED: the control socket, not looked at before every mount is known */
        int journal_fd;       /* owned or -EBADF */
} Manager;

/* Takes broker_fd over; everything else comes in BROKER_EVENT_START. */
int manager_new(sd_event *event, int broker_fd, Manager **ret) _must_check_;
Manager *manager_free(Manager *manager);

uint64_t boottime_usec(void);
