/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <linux/filter.h>

#include "policy/policy-table.h"

/* The filter that the policy compiler ($FUSED_POLICY, the program fused-policy) gives a type of this hand-over that
 * asks for nothing special. Returns the number of instructions written to code[POLICY_FILTER_MAX]. Ends the test on
 * failure. */
uint32_t shipped_filter(struct sock_filter *code, PolicyHandOver hand_over);
