/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* For a process that loads programs: from here on it may use memory, its descriptors and those commands of bpf(2) that load, and read what libbpf
 * reads of the kernel's types; nothing else. */
int confine_loader(void) _must_check_;
