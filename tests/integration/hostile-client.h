/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The attacks of hostile-client: bytes (hostile-client.c) and well-formed calls with bad content (hostile-calls.c). Each
 * returns 0 if the supervisor did right, else complain()'s value. n is the number from the command line. */

#include "base/macro.h"

int complain(const char *text); /* prints, returns -EPROTO */
int raw_connect(const char *path) _must_check_; /* the caller owns the fd */

typedef int (*attack_t)(const char *path, unsigned n);
int attack_silent(const char *path, unsigned n);
int attack_garbage(const char *path, unsigned n);
int attack_half_authentication(const char *path, unsigned n);
int attack_garbage_message(const char *path, unsigned n);
int attack_huge_message(const char *path, unsigned n);
int attack_half_message(const char *path, unsigned n);
int attack_rights(const char *path, unsigned n);
int attack_connections(const char *path, unsigned n);

int attack_wrong_fds(const char *path, unsigned n);
int attack_many_fds(const char *path, unsigned n);
int attack_bad_calls(const char *path, unsigned n);
int attack_long_strings(const char *path, unsigned n);
int attack_foreign_mountpoints(const char *path, unsigned n);
int attack_die_while_mounting(const char *path, unsigned n);
