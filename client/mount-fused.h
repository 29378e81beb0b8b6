/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* mount.fused, all of it but main(). */

#include "client/fusectl.h"

/* Returns an exit code of mount(8). */
int mount_fused_run(int argc, char **argv);
