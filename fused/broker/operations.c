/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of operations: what the manager may ask for, and in which state of the mount. A request that has no row, does
 * not fit its row, or comes in another state is a violation: the manager is ended, the broker and the mounts go on.
 *
 * One race is nobody's fault: the mount may just have ended or be ending when the request arrives. Those get -ESHUTDOWN. */

#include "broker/operations.h"

#include <string.h>

#include "base/fd.h"
#include "broker/explain.h"
#include "broker/manager-link.h"
#include "broker/mount.h"

#define STATE(s) (1U << (s))

typedef struct OperationRow {
        unsigned states;     /* of the mount; 0: the request is for no mount */
        bool (*permitted)(const Mount *mount); /* NULL: the states say it all */
        void (*on_mount)(Mount *mount, const BrokerRequest *request);
        void (*on_broker)(Broker *broker, const BrokerRequest *request, int *fds);
} OperationRow;

static const OperationRow operation_rows[_BROKER_OPERATION_MAX] = {
        [BROKER_CREATE] = {.on_broker = mount_create},
        [BROKER_EXPLAIN] = {.on_broker = explain},
        [BROKER_SPAWN] = {.states = STATE(MOUNT_CREATED) | STATE(MOUNT_MOUNTING), .permitted = mount_may_spawn, .on_mount = mount_spawn},
        [BROKER_SEND_FILE] = {.states = STATE(MOUNT_SPAWNED) | STATE(MOUNT_MOUNTING) | STATE(MOUNT_LIVE), .on_mount = mount_send_file},
        [BROKER_MOUNT] = {.states = STATE(MOUNT_CREATED) | STATE(MOUNT_SPAWNED), .permitted = mount_may_mount, .on_mount = mount_do},
        [BROKER_END] = {.states = ~STATE(MOUNT_ENDING), .on_mount = mount_request_end},
        [BROKER_CHANNEL] = {.states = STATE(MOUNT_SPAWNED), .on_mount = mount_channel},
        [BROKER_PROGRAM] = {.states = STATE(MOUNT_SPAWNED) | STATE(MOUNT_MOUNTING) | STATE(MOUNT_LIVE), .on_mount = mount_program},
        [BROKER_ATTACH] = {.states = STATE(MOUNT_MOUNTING) | STATE(MOUNT_LIVE), .on_mount = mount_program_attach},
        [BROKER_CLONE] = {.states = STATE(MOUNT_MOUNTING) | STATE(MOUNT_LIVE), .on_mount = mount_clone},
        [BROKER_PRESSURE] = {.states = STATE(MOUNT_MOUNTING) | STATE(MOUNT_LIVE), .on_mount = mount_pressure},
        [BROKER_BACKING_SOCKET] = {.states = STATE(MOUNT_MOUNTING) | STATE(MOUNT_LIVE), .on_mount = mount_backing_socket},
        [BROKER_BACKING_OPEN] = {.states = STATE(MOUNT_MOUNTING) | STATE(MOUNT_LIVE), .on_mount = mount_backing},
        [BROKER_BACKING_CLOSE] = {.states = STATE(MOUNT_MOUNTING) | STATE(MOUNT_LIVE), .on_mount = mount_backing},
        [BROKER_QUERY] = {.states = ~STATE(MOUNT_ENDING), .on_mount = mount_query},
};

static void too_late(Broker *broker, const BrokerRequest *request) {
        BrokerReply reply = {.error = -ESHUTDOWN};

        manager_reply(broker, request, &reply, NULL, 0);
}

int operation_dispatch(Broker *broker, const BrokerRequest *request, size_t size, int *fds, size_t n_fds, const char **ret_what) {
        const OperationRow *row;
        Mount *mount = NULL;
        int r;

        r = broker_request_validate(request, size);
        if (r < 0) {
                *ret_what = "malformed request";
                return r;
        }
        if (n_fds != broker_request_n_fds(request)) {
                *ret_what = "wrong number of descriptors";
                return -EBADMSG;
        }
        row = &operation_rows[request->operation];
        if (row->on_broker) {
                row->on_broker(broker, request, fds);
                return 0;
        }

        if (request->mount_id > broker->next_mount_id) {
                *ret_what = "no such mount has ever been";
                return -EBADMSG;
        }
        mount = mount_find(broker, request->mount_id);
        if (!mount || mount->state == MOUNT_ENDING) {
                too_late(broker, request);
                return 0;
        }
        if (!(row->states & STATE(mount->state)) || (row->permitted && !row->permitted(mount))) {
                *ret_what = "operation not permitted in this state";
                return -EBADMSG;
        }
        row->on_mount(mount, request);
        return 0;
}
