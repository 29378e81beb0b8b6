/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* When memory is short, as the kernel tells it (PSI): for the whole machine, and for this process's cgroup, which also says how close to its limit
 * it is. A server of fused's gets the descriptors from it, another one opens what it can see. What is not there is not listened to. */

#include "wire/channel.h"

enum { PRESSURE_MACHINE, PRESSURE_GROUP, PRESSURE_CURRENT, PRESSURE_LIMIT }; /* the bits of ChannelPressure */

typedef struct PressureWatch {
        int fds[CHANNEL_PRESSURE_N]; /* owned; negative: there is none. The first two are to be polled for PRESSURE_EVENTS */
        bool heard[2];               /* a trigger has spoken before: its first word may be about what was before it, see pressure.c */
        uint64_t current_told;       /* use when it was told last */
} PressureWatch;

#define PRESSURE_WATCH_NONE { .fds = { -EBADF, -EBADF, -EBADF, -EBADF } }
#define PRESSURE_EVENTS POLLPRI
#define PRESSURE_N_POLLED 2U

/* Opens what this process can see. proc: "/proc", or a directory made up by a test; cgroup: "/sys/fs/cgroup" or such. Always leaves a watch that can
 * be asked. */
void pressure_open(PressureWatch *watch, const char *proc, const char *cgroup);
void pressure_close(PressureWatch *watch);
uint32_t pressure_watched(const PressureWatch *watch); /* sum of enum ChannelPressure */
/* revents: what poll() said of the first two; all 0: nothing, it is just time to look (every few seconds). True: give memory back. */
bool pressure_check(PressureWatch *watch, const short revents[PRESSURE_N_POLLED]);
