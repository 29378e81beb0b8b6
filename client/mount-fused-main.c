/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The program mount.fused. */

#include "client/mount-fused.h"

int main(int argc, char **argv) {
        return mount_fused_run(argc, argv);
}
