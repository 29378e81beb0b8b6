/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* For a process that loads programs for the supervisor: from here on it may use memory, its descriptors and bpf(2), and open what libbpf
 * reads of the kernel's types; nothing else. */
int confine_loader(void) _must_check_;
