/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A type's definition as unit files: the same sandbox that fused/launcher makes, in systemd's words. What systemd has no word
 * for (Landlock, calls permitted with certain arguments only) fused-enter adds inside the unit. See fused-units(7). */

#include <stdio.h>

#include "policy/load.h"

typedef struct UnitPaths {
        const char *enter;  /* fused-enter */
        const char *empty;  /* an empty file, bound where a slot's path has to exist */
        const char *directory; /* of the sockets */
        const char *roots;  /* directory of root directories, one for each type, empty on the host */
} UnitPaths;

/* A type that can be a unit: enabled, with a program, and with no path that unit files cannot hold. NULL, or a static text that
 * says what is in the way ("": nothing that anybody has to know). */
const char *unit_obstacle(const DraftType *type);

void unit_write_socket(FILE *stream, const DraftType *type, const UnitPaths *paths);
void unit_write_service(FILE *stream, const DraftType *type, const UnitPaths *paths);
