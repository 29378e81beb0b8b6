/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the broker may do at all: one array of capabilities, one of system calls. A test compares both with the running
 * process, so that neither can drift from what is said here. */

#include <sys/capability.h>

#include "base/macro.h"

extern const cap_value_t broker_capabilities[];
extern const size_t n_broker_capabilities;
/* One of them, and this kernel has what it is for. */
bool broker_keeps(cap_value_t value);

/* Writes the broker's seccomp program (struct sock_filter each) to fd. For the test. */
int broker_filter_export(int fd) _must_check_;

/* Clears the ambient and inheritable sets, cuts permitted, effective and bounding set to broker_capabilities, sets
 * no_new_privs and loads the filter. Everything that is started later has at most this. */
int broker_drop_privilege(void) _must_check_;
