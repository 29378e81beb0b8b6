/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether an object is the one that the policy means: before a byte of it is parsed. By libcrypto. */

#include "program/report.h"

typedef struct Trust {
        const char *sha256;  /* 64 hexadecimal digits, or NULL */
        int signature_fd;    /* 64 bytes, detached Ed25519 over the whole object; negative: none */
        int key_fd;          /* PEM, with a signature */
} Trust;

#define OBJECT_MAX (1U << 20) /* bytes */

/* Reads a whole regular file once. The memory is the caller's to free. */
int trust_read(int fd, size_t max, void **ret, size_t *ret_size, Report *report) _must_check_;
/* Everything that is given has to hold. 0, -EPERM (reported), or negative errno. */
int trust_check(const Trust *trust, const void *object, size_t size, Report *report) _must_check_;
