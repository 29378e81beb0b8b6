/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The order to a unit: the broker's side. See unit-order.h; the unit's side is enter.c. */

#include "launcher/unit-order.h"

#include "agent/spec.h"
#include "base/fd.h"
#include "launcher/launcher.h"

static size_t make_order(const SpawnRequest *request, bool with_agent, int spec_fd, UnitOrder *order, int *fds) {
        size_t n = 0;

        *order = (UnitOrder){.magic = UNIT_ORDER_MAGIC, .with_agent = with_agent, .n_slots = (uint32_t) request->n_slots};
        fds[n++] = spec_fd;
        if (with_agent) {
                fds[n++] = request->channel_fd;
                fds[n++] = request->agent_fd;
        }
        for (size_t i = 0; i < request->n_slots; i++) {
                const SpawnSlot *slot = &request->slots[i];
                order->writable |= (uint32_t) slot->writable << i;
                order->trees |= (uint32_t) slot->tree << i;
                if (slot->fd < 0)
                        continue;
                order->present |= 1U << i;
                fds[n++] = slot->fd;
        }
        return n;
}

int unit_order_send(int fd, const SpawnRequest *request, bool with_agent) {
        _cleanup_(spawn_arguments_done) SpawnArguments arguments = {0};
        _cleanup_fd_ int spec_fd = -EBADF;
        int fds[UNIT_ORDER_FDS_MAX], r;
        UnitOrder order;
        size_t n_fds;

        if (request->n_slots > UNIT_SLOTS_MAX)
                return -E2BIG;
        r = spawn_arguments_expand(request, &arguments);
        if (r >= 0)
                r = spawn_agent_spec(request, &arguments, AGENT_FIRST_SLOT_FD, &spec_fd);
        if (r < 0)
                return r;
        n_fds = make_order(request, with_agent, spec_fd, &order, fds);
        return fd_send(fd, &order, sizeof order, fds, n_fds);
}
