/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sandboxes made ahead. See spares.h. */

#include "broker/spares.h"

#include <string.h>

#include "base/log.h"
#include "broker/roots.h"
#include "broker/unit.h"

#define WAIT_USEC (20 * USEC_PER_MSEC) /* after a mount: not in the way of the next one of a burst */

struct Spare {
        Spare *next;
        Policy *policy; /* owned reference */
        const PolicyType *type;
        uint32_t uid;
        Cgroup *cgroup;   /* owned */
        Sandbox *sandbox; /* owned */
        Unit *unit;       /* owned; neither: wanted, not made yet */
};

static void spare_free(Spare *spare) {
        spare->sandbox = sandbox_free(spare->sandbox);
        spare->unit = unit_free(spare->unit);
        spare->cgroup = cgroup_free(spare->cgroup);
        spare->policy = policy_unref(spare->policy);
        free(spare);
}

static Spare **find(Broker *broker, const Policy *policy, const PolicyType *type) {
        Spare **link = &broker->spares;

        while (*link && ((*link)->policy != policy || (*link)->type != type))
                link = &(*link)->next;
        return link;
}

bool spare_has_uid(const Broker *broker, uint32_t uid) {
        for (const Spare *spare = broker->spares; spare; spare = spare->next)
                if (spare->sandbox && spare->uid == uid)
                        return true;
        return false;
}

static bool is_ready(const Spare *spare) {
        return spare->sandbox || (spare->unit && unit_is_ready(spare->unit));
}

bool spare_take(Broker *broker, Mount *mount) {
        Spare **link = find(broker, mount->policy, mount->type), *spare = *link;

        if (!spare || !is_ready(spare))
                return false;
        *link = spare->next;
        mount->record.server_uid = spare->unit ? unit_uid(spare->unit) : spare->uid;
        mount->unit = TAKE_PTR(spare->unit);
        mount->cgroup = TAKE_PTR(spare->cgroup);
        mount->sandbox = TAKE_PTR(spare->sandbox);
        spare_free(spare);
        return true;
}

/* The least lately used ones are at the end of the list. */
static void drop_surplus(Broker *broker) {
        uint32_t n = 0, limit = broker->stopping ? 0 : policy_table(broker->policy)->spares;
        Spare **link = &broker->spares;

        while (*link)
                if (n++ < limit)
                        link = &(*link)->next;
                else {
                        Spare *spare = *link;
                        *link = spare->next;
                        spare_free(spare);
                }
}

static Spare *spare_new(Broker *broker, Policy *policy, const PolicyType *type) {
        Spare *spare = calloc(1, sizeof *spare);

        if (!spare)
                return NULL;
        *spare = (Spare){.next = broker->spares, .policy = policy_ref(policy), .type = type};
        broker->spares = spare;
        return spare;
}

void spare_give_back(Mount *mount) {
        Broker *broker = mount->broker;
        Spare *spare = NULL;
        bool unused = mount->sandbox || (mount->unit && unit_is_ready(mount->unit));

        if (unused && mount->policy == broker->policy && !*find(broker, mount->policy, mount->type))
                spare = spare_new(broker, mount->policy, mount->type);
        if (spare) {
                spare->uid = mount->record.server_uid;
                spare->cgroup = TAKE_PTR(mount->cgroup);
                spare->sandbox = TAKE_PTR(mount->sandbox);
                spare->unit = TAKE_PTR(mount->unit);
                if (spare->unit)
                        unit_expect(spare->unit, NULL, NULL);
                drop_surplus(broker);
        }
        mount->sandbox = sandbox_free(mount->sandbox);
        mount->unit = unit_free(mount->unit);
}

static int fill(Broker *broker, Spare *spare) {
        uint32_t stage;
        int root_fd, r;

        if (broker->units)
                return unit_connect(broker, spare->type->name, spare->type->start_usec, NULL, NULL, &spare->unit);
        r = type_root_get(broker, spare->policy, spare->type, &root_fd);
        if (r < 0)
                return r;
        r = mount_take_uid(broker, &spare->uid);
        if (r < 0)
                return r;
        if (broker->cgroups) {
                r = cgroup_new(broker->cgroups, spare->uid, spare->type, &spare->cgroup);
                if (r < 0)
                        return r;
        }
        const SpawnRequest request = {
                .table = policy_table(spare->policy),
                .type = spare->type,
                .root_ns_fd = root_fd,
                .uid = spare->uid,
                .host_ns_fd = broker->host.mount_ns_fd,
                .cgroup = spare->cgroup,
        };
        return sandbox_new(&request, &spare->sandbox, &stage);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata) {
        Broker *broker = userdata;
        int r;

        broker->spare_timer = sd_event_source_disable_unref(broker->spare_timer);
        drop_surplus(broker);
        for (Spare *spare = broker->spares; spare; spare = spare->next)
                if (!spare->sandbox && !spare->unit && (r = fill(broker, spare)) < 0) {
                        /* No spare then: the next mount makes its own, and reports what is wrong. */
                        log_debug("no spare sandbox of type %s: %s", spare->type->name, strerror(-r));
                        Spare **link = find(broker, spare->policy, spare->type);
                        *link = spare->next;
                        spare_free(spare);
                        break;
                }
        return 0;
}

void spare_wanted(Broker *broker, Policy *policy, const PolicyType *type) {
        Spare **link = find(broker, policy, type), *spare = *link;

        if (policy != broker->policy || policy_table(policy)->spares == 0 || broker->stopping)
                return;
        if (spare) { /* to the front */
                *link = spare->next;
                spare->next = broker->spares;
                broker->spares = spare;
                if (spare->unit && unit_is_dead(spare->unit))
                        spare->unit = unit_free(spare->unit);
                if (spare->sandbox || spare->unit)
                        return;
        } else if (!spare_new(broker, policy, type))
                return;
        broker->spare_timer = sd_event_source_disable_unref(broker->spare_timer);
        (void) sd_event_add_time_relative(broker->event, &broker->spare_timer, CLOCK_MONOTONIC, WAIT_USEC, USEC_PER_MSEC, on_time, broker);
}

void spares_flush(Broker *broker) {
        broker->spare_timer = sd_event_source_disable_unref(broker->spare_timer);
        while (broker->spares) {
                Spare *spare = broker->spares;
                broker->spares = spare->next;
                spare_free(spare);
        }
}
