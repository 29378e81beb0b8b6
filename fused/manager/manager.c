/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The manager: what the broker's events mean. See manager.h. */

#include "manager/manager.h"

#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "manager/mount.h"
#include "manager/peer.h"

/* START: fds are the control socket, the policy table, and where there is one the journal's socket. */
static int on_start(Manager *manager, const BrokerEvent *event, int *fds, size_t n_fds) {
        int r;

        if (manager->control || n_fds < 2 || n_fds > 3)
                return -EBADMSG;
        if (n_fds == 3) {
                manager->journal_fd = TAKE_FD(fds[2]);
                log_open("fused-manager", manager->journal_fd, log_level());
        }
        r = policy_new_from_fd(fds[1], event->policy_generation, &manager->policy);
        if (r < 0)
                return r;
        manager->listen_fd = TAKE_FD(fds[0]);
        return 0;
}

/* Every mount is known: clients may come in. Until then they wait in the socket's queue. */
static int on_adopted(Manager *manager) {
        if (manager->control || manager->listen_fd < 0)
                return -EBADMSG;
        return control_new(manager, TAKE_FD(manager->listen_fd), &manager->control);
}

static int on_adopt(Manager *manager, const BrokerEvent *event, int *fds, size_t n_fds) {
        if (!manager->policy || manager->control || n_fds > 2 || event->record.mount_id == 0)
                return -EBADMSG;
        return mount_adopt(manager, &event->record, n_fds >= 1 ? TAKE_FD(fds[0]) : -EBADF, n_fds == 2 ? TAKE_FD(fds[1]) : -EBADF);
}

/* Live mounts keep the table that they were made under by their own reference. */
static int on_policy(Manager *manager, const BrokerEvent *event, int *fds, size_t n_fds) {
        Policy *policy;
        int r;

        if (!manager->policy || n_fds != 1)
                return -EBADMSG;
        r = policy_new_from_fd(fds[0], event->policy_generation, &policy);
        if (r < 0)
                return r;
        (void) policy_unref(manager->policy);
        manager->policy = policy;
        log_info("policy generation %u is in force", event->policy_generation);
        return 0;
}

static int dispatch(Manager *manager, const BrokerEvent *event, int *fds, size_t n_fds) {
        BrokerEventKind kind = event->kind & ~BROKER_EVENT_BIT;
        Mount *mount = mount_find(manager, event->mount_id);

        switch (kind) {
        case BROKER_EVENT_START:
                return on_start(manager, event, fds, n_fds);
        case BROKER_EVENT_ADOPT:
                return on_adopt(manager, event, fds, n_fds);
        case BROKER_EVENT_ADOPTED:
                return on_adopted(manager);
        case BROKER_EVENT_POLICY:
                return on_policy(manager, event, fds, n_fds);
        case BROKER_EVENT_SERVER_EXIT:
                if (mount)
                        mount_on_server_exit(mount, event->exit_code, event->exit_status);
                return 0;
        case BROKER_EVENT_MOUNTED:
                if (mount)
                        mount_on_mounted(mount);
                return 0;
        case BROKER_EVENT_ENDED: /* also of mounts whose CREATE failed, which we may not know */
                if (mount)
                        mount_on_ended(mount, (BrokerEndReason) event->reason, event->exit_code, event->exit_status);
                return 0;
        case _BROKER_EVENT_MAX:
                break;
        }
        return -EBADMSG;
}

static void on_event(void *userdata, const BrokerEvent *event, int *fds, size_t n_fds) {
        Manager *manager = userdata;
        int r = dispatch(manager, event, fds, n_fds);

        if (r < 0) {
                log_error("event %u of the broker cannot be followed: %s", event->kind & ~BROKER_EVENT_BIT, strerror(-r));
                (void) sd_event_exit(manager->event, r);
        }
}

/* The broker has gone, or is not to be understood. It starts a new manager if it lives. */
static void on_lost(void *userdata, int error) {
        Manager *manager = userdata;

        if (error != -ECONNRESET)
                log_error("the broker cannot be understood: %s", strerror(-error));
        (void) sd_event_exit(manager->event, error == -ECONNRESET ? 0 : error);
}

int manager_new(sd_event *event, int broker_fd, Manager **ret) {
        _cleanup_fd_ int owned = broker_fd;
        Manager *manager = calloc(1, sizeof *manager);
        int r;

        if (!manager)
                return -ENOMEM;
        *manager = (Manager){.event = sd_event_ref(event), .journal_fd = -EBADF, .listen_fd = -EBADF};
        r = quota_new(&manager->quota);
        if (r >= 0)
                r = broker_client_new(event, TAKE_FD(owned), on_event, on_lost, manager, &manager->broker);
        if (r < 0) {
                (void) manager_free(manager);
                return r;
        }
        *ret = manager;
        return 0;
}

Manager *manager_free(Manager *manager) {
        if (!manager)
                return NULL;
        manager->control = control_free(manager->control); /* clients first: their mounts are told to end */
        while (manager->mounts)
                mount_free(manager->mounts);
        manager->broker = broker_client_free(manager->broker);
        manager->quota = quota_free(manager->quota);
        manager->policy = policy_unref(manager->policy);
        statistics_done(&manager->statistics);
        manager->listen_fd = fd_close(manager->listen_fd);
        manager->journal_fd = fd_close(manager->journal_fd);
        (void) sd_event_unref(manager->event);
        free(manager);
        return NULL;
}
