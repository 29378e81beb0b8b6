/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that the kernel reads and writes itself for a mount (FUSE passthrough, and devices for fuse-iomap): the broker's part. It never has
 * such a file in its hands. The server sends it to a worker of this mount, over a socket of which the broker keeps no end; a file
 * whose file system hangs then hangs that worker, and nobody else. */

#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "broker/manager-link.h"
#include "broker/mount.h"

#define ORDER_USEC (5 * USEC_PER_SEC)

/* Those that its type permits, and its devices if it maps. */
static uint32_t backings_max(const Mount *mount) {
        return mount->type->max_backings + (mount->type->device_clones > 0 ? mount->type->slots.count : 0);
}

/* The manager has gone while the worker was at it: the server, who would wait for long, hears it from us. */
static void tell_server(const Mount *mount, int error, uint32_t value) {
        static const uint32_t commands[_BROKER_OPERATION_MAX] = {
                [BROKER_BACKING_SOCKET] = CHANNEL_BACKING_SOCKET,
                [BROKER_BACKING_OPEN] = CHANNEL_BACKING_OPEN,
                [BROKER_BACKING_CLOSE] = CHANNEL_BACKING_CLOSE,
        };
        const ChannelReply reply = {
                .magic = CHANNEL_MAGIC,
                .command = commands[mount->backing_operation],
                .serial = mount->backing_channel_serial,
                .error = error,
                .value = error < 0 ? 0 : value,
        };

        if (mount->second_fd >= 0)
                (void) fd_send(mount->second_fd, &reply, sizeof reply, NULL, 0); /* never waits */
}

static void answer(Mount *mount, int error, uint32_t value) {
        BrokerRequest request = {.operation = mount->backing_operation, .serial = mount->backing_serial, .mount_id = mount->record.mount_id};
        BrokerReply reply = {.error = error, .value = value, .n_backings = mount->record.n_backings};

        if (!mount->backing_asked)
                return;
        mount->backing_asked = false;
        manager_reply(mount->broker, &request, &reply, NULL, 0);
}

/* The worker is there, or not: now the server may have its end. */
static void on_ready(Mount *mount, int error) {
        _cleanup_fd_ int servers = TAKE_FD(mount->backing_servers_fd);
        uint64_t serial = mount->backing_channel_serial;

        if (error >= 0)
                mount_channel_answer(mount, CHANNEL_BACKING_SOCKET, serial, 0, NULL, 0, &servers, 1, &error);
        if (!mount->backing_asked && error < 0)
                tell_server(mount, error, 0);
        answer(mount, error, 0);
}

static int start_order(Mount *mount, BrokerOperation operation, uint32_t value, uint64_t channel_serial) {
        const WorkerOrder order = {.operation = operation, .value = value, .serial = channel_serial};
        int r;

        r = worker_link_order(mount->backing_worker, &order, ORDER_USEC);
        if (r < 0)
                return r;
        mount->backing_busy = true;
        mount->backing_operation = operation;
        return 0;
}

static void on_gone(const WorkerReport *mounted, void *userdata) {
        Mount *mount = userdata;

        mount->backing_ending = NULL;
        mount_check_end(mount);
}

/* It is the mount's until it is gone: a file system that hangs may keep a process that is killed. */
static void end_worker(Mount *mount) {
        if (!mount->backing_worker)
                return;
        mount->backing_ending = TAKE_PTR(mount->backing_worker);
        worker_link_end(mount->backing_ending, on_gone);
}

static void on_report(const WorkerReport *report, int *fds, size_t n_fds, void *userdata) {
        Mount *mount = userdata;
        int error = report->backing_error;

        if (report->error < 0) { /* it goes: what is registered stays, and no more comes */
                end_worker(mount);
                error = report->error;
        }
        if (mount->backing_servers_fd >= 0)
                return on_ready(mount, error);
        if (!mount->backing_busy) /* it has died idle */
                return;
        mount->backing_busy = false;
        log_debug("mount %llu: %s: %d, id %u", (unsigned long long) mount->record.mount_id, broker_operation_to_string(mount->backing_operation),
                  error, report->backing_id);
        bool opened = error >= 0 && mount->backing_operation == BROKER_BACKING_OPEN;
        if (opened)
                mount->record.n_backings++;
        else if (error >= 0 && mount->record.n_backings > 0)
                mount->record.n_backings--;
        if (!mount->backing_asked)
                return tell_server(mount, error, report->backing_id);
        answer(mount, error, report->backing_id);
}

static int start_worker(Mount *mount) {
        _cleanup_fd_ int servers = -EBADF, workers = -EBADF;
        WorkerJob job = {
                .kind = WORKER_BACKING,
                .user = mount->record.uid,
                .host = &mount->broker->host,
                .server_uid = mount->record.server_uid,
                .fuse_fd = mount->fuse_fd,
                .read_only_trees = mount->read_only_trees,
        };
        int pair[2], r;

        r = RET_NERRNO(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
        if (r < 0)
                return r;
        servers = pair[0];
        workers = job.files_fd = pair[1];
        fd_refuse_rights(servers); /* nothing comes back that way */
        memcpy(job.slot_fds, mount->slot_fds, sizeof job.slot_fds);
        memcpy(job.slot_kinds, mount->record.slots, sizeof job.slot_kinds);
        r = worker_link_new(mount->broker, &job, ORDER_USEC, on_report, mount, &mount->backing_worker);
        if (r < 0)
                return r;
        mount->backing_servers_fd = TAKE_FD(servers);
        return 0;
}

static int make_socket(Mount *mount) {
        int r;

        if (backings_max(mount) == 0)
                return -EOPNOTSUPP;
        if (mount->second_fd < 0 || mount->fuse_fd < 0)
                return -ENOTCONN;
        if (mount->backing_started)
                return -EALREADY;
        r = start_worker(mount);
        if (r >= 0)
                mount->backing_started = true;
        return r;
}

static void expect_answer(Mount *mount, const BrokerRequest *request) {
        mount->backing_asked = true;
        mount->backing_serial = request->serial;
        mount->backing_operation = request->operation;
        mount->backing_channel_serial = request->backing.channel_serial;
}

/* Safe: one worker for each mount whose type permits backing files. */
void mount_backing_socket(Mount *mount, const BrokerRequest *request) {
        BrokerReply reply = {.error = make_socket(mount), .n_backings = mount->record.n_backings};

        if (reply.error < 0)
                return manager_reply(mount->broker, request, &reply, NULL, 0);
        expect_answer(mount, request);
}

static int give_order(Mount *mount, const BrokerRequest *request) {
        if (!mount->backing_worker)
                return -ENOTCONN;
        if (mount->backing_busy || mount->backing_servers_fd >= 0)
                return -EBUSY;
        if (request->operation == BROKER_BACKING_OPEN && mount->record.n_backings >= backings_max(mount))
                return -EDQUOT;
        return start_order(mount, request->operation, request->backing.value, request->backing.channel_serial);
}

/* Safe: which files may be registered is checked by the worker (worker-backing.c), as the kernel does not ask with which access a file
 * was opened; how many, here. An id means nothing outside of its connection. */
void mount_backing(Mount *mount, const BrokerRequest *request) {
        BrokerReply reply = {.error = give_order(mount, request), .n_backings = mount->record.n_backings};

        if (reply.error < 0)
                return manager_reply(mount->broker, request, &reply, NULL, 0);
        expect_answer(mount, request);
}

void mount_backing_end(Mount *mount) {
        end_worker(mount);
        mount->backing_servers_fd = fd_close(mount->backing_servers_fd);
        answer(mount, -ESHUTDOWN, 0);
}
