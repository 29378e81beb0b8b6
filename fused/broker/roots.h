/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The sandbox roots of types, built at first use and kept for the current generation of the policy. */

#include "broker/broker.h"

/* *ret_fd is borrowed: valid until the next reload. */
int type_root_get(Broker *broker, Policy *policy, const PolicyType *type, int *ret_fd) _must_check_;
void type_roots_flush(Broker *broker);
int manager_root_make(Broker *broker) _must_check_;
