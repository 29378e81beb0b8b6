/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one door into the broker. */

#include "broker/broker.h"
#include "wire/broker.h"

/* One message of the manager, as received. fds[0..n_fds) are closed unless an operation takes them over. Returns 0, or -EBADMSG
 * with *ret_what for a violation, after which the caller ends the manager. */
int operation_dispatch(Broker *broker, const BrokerRequest *request, size_t size, int *fds, size_t n_fds, const char **ret_what) _must_check_;
