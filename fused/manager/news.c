/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals for subscribers. See news.h. */

#include "manager/news.h"

#include <signal.h>

#include "manager/bus.h"
#include "manager/peer-internal.h"

static const char *const signal_names[_NEWS_MAX] = {
        [NEWS_ADDED] = "MountAdded",
        [NEWS_CHANGED] = "MountChanged",
        [NEWS_REMOVED] = "MountRemoved",
};

static int append(sd_bus_message *message, const Mount *mount, const NewsEnd *end) {
        int r;

        r = sd_bus_message_open_container(message, 'a', "{sv}");
        if (r >= 0)
                r = bus_append_mount_entries(message, mount, NULL);
        if (r >= 0 && end) {
                r = bus_append_entry(message, "reason", "s", end->reason);
                if (r >= 0)
                        r = bus_append_entry(message, "exit", "s", bus_exit_to_string(end->exit_code));
                if (r >= 0)
                        r = bus_append_entry(message, "exit-status", "i", end->exit_status);
                if (r >= 0)
                        r = bus_append_text(message, "message", end->message);
        }
        return r < 0 ? r : sd_bus_message_close_container(message);
}

static int tell(Peer *peer, NewsKind kind, const Mount *mount, const NewsEnd *end) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r;

        r = sd_bus_message_new_signal(peer->bus, &message, BUS_OBJECT_PATH, BUS_INTERFACE, signal_names[kind]);
        if (r >= 0)
                r = append(message, mount, end);
        return r < 0 ? r : sd_bus_send(NULL, message, NULL);
}

void news_tell(Manager *manager, NewsKind kind, const Mount *mount, const NewsEnd *end) {
        for (Peer *peer = manager->control ? manager->control->peers : NULL; peer; peer = peer->next) {
                uint64_t unread = 0;

                if (!peer->subscribed || peer->doomed || !peer_may_see(peer, mount))
                        continue;
                (void) sd_bus_get_n_queued_write(peer->bus, &unread);
                if (unread >= PEER_SIGNALS_MAX || tell(peer, kind, mount, end) < 0) {
                        log_debug("uid %u: does not read its signals, closing", peer->uid);
                        peer->doomed = true; /* a gap in the news would be a lie */
                }
                peer_schedule(peer);
        }
}
