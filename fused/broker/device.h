/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Block devices: which one a policy row means, and opening one exclusively. All of it may block (a dead disk, a network file
 * system behind a loop device), so it runs in a mount's worker. */

#include <sys/types.h>

#include "broker/host.h"
#include "policy/authorize.h"

/* node_fd: any descriptor of the device node, O_PATH included. */
typedef struct DeviceQuestion {
        const Host *host; /* borrowed */
        int node_fd;      /* borrowed */
} DeviceQuestion;

/* The callbacks of policy_authorize(); userdata is a DeviceQuestion. */
int device_path_matches(void *userdata, const char *path_below_dev, dev_t device);
int device_loop_matches(void *userdata, dev_t device, const char *path);

typedef struct DeviceFacts {
        uint32_t major;
        uint32_t minor;
        uint64_t size; /* bytes */
} DeviceFacts;

/* Opens the device behind node_fd exclusively (O_EXCL and flock). On success *ret_fd is owned by the caller and *facts is
 * filled. Otherwise *ret_refusal says which of DEVICE_BUSY, DEVICE_READ_ONLY, DEVICE_EMPTY it is and -EACCES is returned, or
 * it is REFUSAL_NONE and another negative errno is. *facts has the numbers in any case. */
int device_open(const Host *host, int node_fd, bool writable, int *ret_fd, DeviceFacts *facts, Refusal *ret_refusal) _must_check_;
