/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The probes by subject, for the table in doctor.c. */

#include "client/doctor.h"

/* True if this process may mount: it is root, or has just put itself into a user namespace of its own. */
bool probe_has_mount_rights(void);

/* doctor-fuse.c */
void probe_passthrough(ProbeResult *result);
void probe_resend(ProbeResult *result);
void probe_idmapped(ProbeResult *result);
void probe_io_uring(ProbeResult *result);
void probe_max_pages(ProbeResult *result);
void probe_sync_init(ProbeResult *result);
void probe_iomap(ProbeResult *result);

/* doctor-kernel.c */
void probe_bpf(ProbeResult *result);
void probe_notification(ProbeResult *result);
void probe_landlock(ProbeResult *result);
void probe_pidfd(ProbeResult *result);
void probe_mount_api(ProbeResult *result);
void probe_idmapped_mounts(ProbeResult *result);
void probe_statmount(ProbeResult *result);
void probe_user_namespaces(ProbeResult *result);
void probe_cgroups(ProbeResult *result);
void probe_memfd_seals(ProbeResult *result);
