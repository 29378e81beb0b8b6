/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What outlives the supervisor, so that the next one goes on where this one ended (a restart, an upgrade, a crash):
 *
 *   RUNTIME/mounts/ID   one file per live mount, a KeptMount: what it is, and who serves it
 *   fd store            with systemd: the FUSE device, the pinned mount point, pidfds of server and owner, the server's standard
 *                       error, the link of its mapping program, and the policy that the mount was made under. systemd before 254
 *                       drops them when the service is stopped, and keeps them over a restart; the file alone is enough to find
 *                       the rest again, or to do without it
 *
 * Both are written by the broker only and are root's; still, nothing that comes back is believed: sizes, strings and enums are
 * checked, a process is taken for the server only if it began when the server did, a mount only by the kernel's number. */

#include "broker/mount.h"

#define KEPT_MAGIC 0x3474706bU /* the layout below, and that of BrokerRecord; anything else is left alone */

typedef struct KeptMount {
        uint32_t magic;
        uint32_t size;
        uint64_t server_start; /* clock ticks after boot, as in /proc/PID/stat: with the pid, one process and no other */
        uint64_t owner_start;  /* likewise */
        uint32_t is_unit;
        uint32_t attached;
        BrokerRecord record;
} KeptMount;

/* A mount has become live. Failing is logged: the mount works, but would not be found again. */
void keep_mount(Mount *mount);
/* It has ended. */
void keep_forget(const Mount *mount);
/* The supervisor ends: takes the directory away if nothing is in it. */
void keep_done(const Broker *broker);

/* Takes over what an earlier supervisor has left. Called once, with the policy loaded and before the manager starts. */
int keep_restore(Broker *broker);

/* A record from a file is as good as one from the network. 0 or -EBADMSG. Pure; fuzzed. */
int keep_validate(const KeptMount *kept, size_t size) _must_check_;

/* The control socket that systemd listens on for us, or -EBADF. To be called first: it also notes what the fd store holds. */
int keep_take_descriptors(Broker *broker);
/* Tells systemd something, if it has started us. */
void keep_notify(const char *state);
