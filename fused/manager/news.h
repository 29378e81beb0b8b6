/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Signals to the clients that have called Subscribe: what happens to mounts that they may see. */

#include "manager/mount.h"

typedef enum NewsKind {
        NEWS_ADDED,
        NEWS_CHANGED,
        NEWS_REMOVED,
        _NEWS_MAX,
} NewsKind;

/* How a mount ended; all borrowed. */
typedef struct NewsEnd {
        const char *reason;
        int exit_code, exit_status; /* exit_code 0: nothing is known */
        const char *message;
} NewsEnd;

/* end: with NEWS_REMOVED, else NULL. Frees no peer and no mount: a client that does not read is closed in its next turn. */
void news_tell(Manager *manager, NewsKind kind, const Mount *mount, const NewsEnd *end);
