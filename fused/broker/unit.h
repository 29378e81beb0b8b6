/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Servers as systemd units: the other launcher. Connecting to /run/filesystems/TYPE makes systemd start an instance of
 * fuse-service-TYPE@.service, with the sandbox that units/fused-generator made of the type's definition; what is said on the
 * connection is in launcher/unit-order.h. The server is systemd's child: it is known by the pidfd that the kernel attaches
 * to its hello, and what becomes of its cgroup is systemd's business. */

#include "broker/broker.h"

#define UNIT_SOCKET_DIRECTORY "/run/filesystems"

/* error: 0, or why there will be no server. Called once, never from inside unit_connect(). */
typedef void (*unit_ready_t)(Unit *unit, int error, void *userdata);

/* Returns at once. Errors: -ENOENT or -ECONNREFUSED (no such unit, or systemd does not listen), -EAGAIN (its queue is full). */
int unit_connect(Broker *broker, const char *type_name, uint64_t deadline_usec, unit_ready_t on_ready, void *userdata, Unit **ret) _must_check_;
Unit *unit_free(Unit *unit); /* one without an order ends by itself; NULL-safe; returns NULL */
void unit_expect(Unit *unit, unit_ready_t on_ready, void *userdata); /* changes who is told */

bool unit_is_ready(const Unit *unit);
bool unit_is_dead(const Unit *unit); /* it will never be ready (again) */
uid_t unit_uid(const Unit *unit);
const char *unit_cgroup(const Unit *unit); /* its path below the cgroup root, whose last part is the unit's name; "" if not known */

/* Gives the order; the unit is used up in any case. On success *ret_pidfd and, for hand-over service, *ret_channel_fd (else
 * -EBADF) are the caller's. -EPIPE, -ECONNRESET: it has died meanwhile. */
int unit_start(Unit *unit, const SpawnRequest *request, pid_t *ret_pid, int *ret_pidfd, int *ret_channel_fd) _must_check_;

/* How a process that is nobody's child here has ended, from its pidfd (Linux 6.15): false if that is not known (yet). */
bool unit_exit_status(int pidfd, int *ret_code, int *ret_status);
/* As cgroup_open_memory(), for a cgroup path. */
void unit_open_memory(const char *cgroup, int ret_fds[3]);
/* memory.current, pids.current and cpu.stat of a cgroup path; 0 where not known. */
void unit_usage(const char *cgroup, uint64_t *ret_memory_bytes, uint32_t *ret_processes, uint64_t *ret_cpu_usec);
