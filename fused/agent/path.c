/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which slot a path stands for. Pure; see agent.h. */

#include <string.h>

#include "agent/agent.h"

/* Removes the last component of normal[0..length). */
static size_t go_up(const char *normal, size_t length) {
        while (length > 0 && normal[length - 1] != '/')
                length--;
        return length > 0 ? length - 1 : 0;
}

bool path_normalise(const char *path, char *normal, size_t size) {
        size_t length = 0;

        while (*path) {
                size_t n = strcspn(path, "/");
                if (n == 2 && memcmp(path, "..", 2) == 0)
                        length = go_up(normal, length);
                else if (n > 0 && !(n == 1 && path[0] == '.')) {
                        if (length + 1 + n + 1 > size)
                                return false;
                        normal[length++] = '/';
                        memcpy(normal + length, path, n);
                        length += n;
                }
                path += n + (path[n] == '/');
        }
        if (length == 0) {
                if (size < 2)
                        return false;
                normal[length++] = '/';
        }
        normal[length] = 0;
        return true;
}

const AgentSlot *slot_find(const Agent *agent, const char *normal) {
        for (uint32_t i = 0; i < agent->spec->n_slots; i++)
                if (strcmp(agent->spec->slots[i].path, normal) == 0)
                        return &agent->spec->slots[i];
        return strcmp(agent->fuse.path, normal) == 0 ? &agent->fuse : NULL;
}
