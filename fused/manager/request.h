/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a client asked for: first taken out of the D-Bus message as it stands (request_parse), then put into the terms of a
 * type (request_resolve). Both are pure: nobody looks at a descriptor here, as its file system might hang; what kind of
 * thing it is, is what the client says, and the broker finds out. */

#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "manager/outcome.h"
#include "policy/options.h"
#include "wire/broker.h"

#define REQUEST_OPTIONS_MAX 64U
#define REQUEST_GROUPS_MAX 64U
#define REQUEST_FDS_MAX (BROKER_FDS_MAX - 1U) /* in one call */

typedef struct RequestSlot {
        const char *name;
        const char *kind; /* NULL: not said */
        int fd;
} RequestSlot;

/* Everything is borrowed from the message. */
typedef struct MountRequest {
        uint32_t seen; /* which properties were given, by row of the table */
        RequestSlot source; /* fd -EBADF: none */
        const char *source_name, *mountpoint_name; /* "" if not given */
        int mountpoint_fd; /* -EBADF: detached */
        int channel_fd;    /* hand-over caller: where the FUSE device goes; -EBADF: none */
        int owner_fd; /* -EBADF: none given */
        RequestSlot slots[POLICY_SLOTS_MAX];
        size_t n_slots;
        const char *options[REQUEST_OPTIONS_MAX];
        size_t n_options;

        /* ExplainPolicy */
        bool as_other;
        uint32_t uid, gid;
        uint32_t groups[REQUEST_GROUPS_MAX];
        size_t n_groups;
} MountRequest;

typedef enum RequestUse {
        REQUEST_MOUNT = 1 << 0,
        REQUEST_EXPLAIN = 1 << 1,
} RequestUse;

/* Reads an a{sv} at the message's read position. Returns 0, or -EINVAL with *outcome filled in. */
int request_parse(sd_bus_message *message, RequestUse use, MountRequest *ret, Outcome *outcome) _must_check_;

/* Source, slots, options and names in terms of the type. fds gets what
 * BROKER_CREATE carries after the caller's socket: mount point, slots in order, channel, owner (borrowed). Returns 0, -EACCES
 * (refused) or -EINVAL, with *outcome filled in. */
int request_resolve(const MountRequest *request, RequestUse use, const PolicyTable *table, const PolicyType *type, BrokerCreate *ret_create,
                    int fds[static REQUEST_FDS_MAX], size_t *ret_n_fds, Outcome *outcome) _must_check_;
