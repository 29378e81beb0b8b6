/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images of journal with patches; see tests/images. */

#include "images/fuzz.c"
