/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Looks at the head of a D-Bus message before sd-bus does. sd-bus would allocate what the head says (up to 128 MiB) and take
 * in as many descriptors as come; here a client that asks for more than any of our calls needs is found out first. */

#include "base/macro.h"

#define PEER_MESSAGE_MAX (64U * 1024U) /* bytes of a whole message */
#define PEER_HEAD_MAX 1024U            /* bytes of header fields that are looked through */
#define PEER_FDS_MAX 8U                /* more than any call names */

/* data[0..size): what is there of a message, from its first byte. Returns 0 if it may be read, -EBADMSG if it is no D-Bus
 * message, -E2BIG if it is too large or carries too many descriptors. Pure; fuzzed. */
int peer_guard_message(const uint8_t *data, size_t size) _must_check_;
/* The same for a client that still authenticates: it writes whole lines; a message may follow "BEGIN\r\n" at once. Returns 1 if
 * one does and may be read, 0 if none does, else as above. */
int peer_guard_auth(const uint8_t *data, size_t size) _must_check_;
