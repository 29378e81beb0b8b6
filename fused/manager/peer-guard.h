/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Looks at a D-Bus message before sd-bus does.
 *
 * sd-bus allocates what a message's head says (up to 128 MiB) and takes in as many descriptors as come. And it drops a message
 * that it finds malformed without closing the descriptors that came with it (libsystemd 252, bus_socket_make_message()), so that
 * a client could use up our table. Therefore sd-bus gets to read only whole messages of a bounded size; one that carries
 * descriptors must be exactly a call of ours, in a form that sd-bus cannot object to. */

#include "base/macro.h"

#define PEER_MESSAGE_MAX (64U * 1024U) /* bytes of a whole message */
#define PEER_FDS_MAX 16U               /* more than any call names */

typedef enum PeerGuard {
        PEER_GUARD_WHOLE, /* may be read */
        PEER_GUARD_PART,  /* more must come first */
        PEER_GUARD_BAD,   /* hang up */
} PeerGuard;

/* data[0..size): what is there, from the first byte of a message. WHOLE: *ret_size and *ret_n_fds are what the message says of
 * itself. Pure; fuzzed. */
PeerGuard peer_guard_message(const uint8_t *data, size_t size, size_t *ret_size, uint32_t *ret_n_fds);
/* The same for a client that still authenticates: whole lines, and behind "BEGIN\r\n" *ret_n_messages whole messages without
 * descriptors. */
PeerGuard peer_guard_auth(const uint8_t *data, size_t size, uint32_t *ret_n_messages);
