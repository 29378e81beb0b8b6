/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Puts data into files of a striped volume; for the tool. Messages go to the standard error output, each with the name that it is about. The
 * table is the caller's to save: until then nothing of it has happened. */

#include "stripe/volume.h"

/* Copies fd's bytes to the new file i up to its end, or `size` bytes of it, UINT64_MAX: not known. total, done: for showing progress in a terminal,
 * bytes; 0: none is shown. */
int fill_file(StripeVolume *volume, uint32_t i, int fd, uint64_t size, const char *name, uint64_t total, uint64_t *done) _must_check_;
/* Every regular file of a directory, with mode, owner and time. Anything else in it, a name that is there already or too long, or too little room
 * is refused before a byte is written. *ret_n, *ret_bytes: what was copied. */
int fill_directory(StripeVolume *volume, const char *directory, uint32_t *ret_n, uint64_t *ret_bytes) _must_check_;
