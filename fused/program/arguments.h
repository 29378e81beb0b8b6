/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The command line of fused-program. */

#include "program/vet.h"
#include "wire/channel.h"

typedef struct Arguments {
        bool load; /* else verify */
        bool json, signed_object, ops, has_seed;
        const char *self, *file; /* borrowed, as all texts */
        const char *sha256;
        VetDevices devices;
        uint64_t max_memory, quota;
        uint32_t seed;
        ChannelTable tables[CHANNEL_TABLES_MAX];
        uint32_t n_tables;
} Arguments;

/* argv: from the name of the program on; what is wrong with them is said on standard error. 0; 1: help was asked for, and given; or -EINVAL. */
int arguments_parse(int argc, char **argv, Arguments *ret) _must_check_;
