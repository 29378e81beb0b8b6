/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* Runs fused-policy, an unprivileged program that reads the policy files, and takes its table: at start, and on SIGHUP. Blocks
 * for at most 20 s. The broker itself never parses a file. On failure the table in force stays. */
int policy_reload(Broker *broker) _must_check_;
