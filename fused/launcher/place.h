/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Putting things into a root that is being built. root_fd: the tmpfs, attached in the caller's mount namespace; "/" of
 * the caller is still the host's. Paths are absolute and come from the policy table. Called by root.c's child only. */

#include "base/macro.h"

int place_directory(int root_fd, const char *path) _must_check_;
/* A regular file without any permission: what is not answered by the agent fails with EACCES and is never read as
 * empty. */
int place_empty(int root_fd, const char *path) _must_check_;
/* A character device of the host; a missing one other than null is left out. */
int place_device(int root_fd, const char *path) _must_check_;
/* A file or directory of the host, read-only. Bound where the path leads to on the host; if the path is another name
 * for that place (libfuse.so.2 -> libfuse.so.2.9.9, /lib -> usr/lib) the same name leads there inside. Twice is once. */
int place_file(int root_fd, const char *path) _must_check_;
