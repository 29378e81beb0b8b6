/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images of ext4 with patches; see tests/images. */

#include "images/fuzz.c"
