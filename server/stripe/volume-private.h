/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of volume.h share. */

#include "stripe/volume.h"

int stripe_move_bytes(int fd, bool write, void *data, size_t size, uint64_t at) _must_check_; /* -EIO: there are fewer */
/* Rows begin behind the table's copies on every member, so that they are in the same place. */
uint64_t stripe_first_row(uint32_t shift);
/* Rows within the volume that no two runs share. */
bool stripe_runs_are_sound(const StripeVolume *volume, const StripeTable *table);
/* Whole blocks of the file, in order; the table's arrays hold them. */
bool stripe_gaps_are_sound(const StripeTable *table, const StripeFile *file);
