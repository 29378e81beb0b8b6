/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the servers of this tree have in common as services. FUSE_USE_VERSION is defined before this header. */

#include "fused-server.h"

#include "base/macro.h"

/* All of a server between its start and its end; args are its own, without what the caller has said yet. 0 or a negative errno. */
typedef int (*ServiceRun)(struct fuse_service *service, struct fuse_args *args, void *userdata);

/* main(): takes the conversation up, runs, and says, as NAME, what has failed. Returns the exit status. */
int service_main(const char *name, int argc, char **argv, ServiceRun run, void *userdata);

/* Asks for a file or device. Returns a descriptor, the caller's, or a negative errno, which may be the supervisor's. */
int service_open(struct fuse_service *service, const char *path, int flags) _must_check_;
