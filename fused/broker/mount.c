/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mount's way up: CREATE, SPAWN, SEND_FILE, MOUNT. Its way down is in mount-end.c. Each operation says why it is safe for a
 * caller that is not trusted. */

#include "broker/mount.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "broker/keep.h"
#include "broker/manager-link.h"
#include "broker/spares.h"
#include "broker/unit.h"
#include "policy/options.h"
#include "wire/service.h"

#define PREPARE_USEC (10 * USEC_PER_SEC) /* a worker's first half: what a client's file systems and devices may take */
#define MARGIN_USEC (5 * USEC_PER_SEC)   /* beyond what the manager allows for its own steps; it should act first */

static const char *const state_names[_MOUNT_STATE_MAX] = {
        [MOUNT_CREATING] = "creating",
        [MOUNT_CREATED] = "created",
        [MOUNT_SPAWNED] = "spawned",
        [MOUNT_MOUNTING] = "mounting",
        [MOUNT_LIVE] = "live",
        [MOUNT_ENDING] = "ending",
};

const char *mount_state_to_string(MountState state) {
        return state_names[state];
}

static uint64_t boottime_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t) now.tv_sec * USEC_PER_SEC + (uint64_t) now.tv_nsec / 1000;
}

static void enter_state(Mount *mount, MountState state) {
        log_debug("mount %llu: %s -> %s", (unsigned long long) mount->record.mount_id, state_names[mount->state], state_names[state]);
        mount->state = state;
}

Mount *mount_find(Broker *broker, uint64_t mount_id) {
        for (Mount *mount = broker->mounts; mount; mount = mount->next)
                if (mount->record.mount_id == mount_id)
                        return mount;
        return NULL;
}

void mount_answer(Mount *mount, const BrokerRequest *request, int error, const WorkerReport *report, const int *fds, size_t n_fds) {
        BrokerReply reply = {.error = error, .mount_id = mount->record.mount_id, .record = mount->record};

        if (report) {
                reply.stage = report->stage;
                reply.refusal = (BrokerRefusal){
                        .refusal = report->refusal,
                        .place = report->place,
                        .policy_generation = mount->record.policy_generation,
                        .options = report->options,
                        .device_major = report->device.major,
                        .device_minor = report->device.minor,
                };
        }
        if (reply.refusal.refusal == REFUSAL_DEVICE_BUSY)
                for (Mount *other = mount->broker->mounts; other; other = other->next)
                        if (other != mount && other->record.device_size > 0 && other->record.device_major == reply.refusal.device_major &&
                            other->record.device_minor == reply.refusal.device_minor)
                                reply.refusal.holder = other->record.mount_id;
        manager_reply(mount->broker, request, &reply, fds, n_fds);
}

/* The request that was put off (CREATE and MOUNT are, while their worker is at it). */
static void answer(Mount *mount, int error, const WorkerReport *report, const int *fds, size_t n_fds) {
        BrokerRequest request = {.operation = mount->operation, .serial = mount->serial, .mount_id = mount->record.mount_id};

        if (!mount->has_request)
                return;
        mount->has_request = false;
        mount_answer(mount, &request, error, report, fds, n_fds);
}

/* Answers with the failure and takes the mount down. */
static void fail(Mount *mount, int error, const WorkerReport *report) {
        answer(mount, error, report, NULL, 0);
        mount_end(mount, error == -ETIMEDOUT ? BROKER_REASON_DEADLINE : BROKER_REASON_FAILED, /* graceful= */ false);
}

static void expect_answer(Mount *mount, const BrokerRequest *request) {
        mount->serial = request->serial;
        mount->operation = request->operation;
        mount->has_request = true;
}

/* ---- CREATE --------------------------------------------------------------------------------------------------------- */

Mount *mount_new_empty(Broker *broker) {
        Mount *mount = calloc(1, sizeof *mount);

        if (!mount)
                return NULL;
        mount->broker = broker;
        mount->identity = IDENTITY_NULL;
        mount->caller_fd = mount->mountpoint_fd = mount->owner_pidfd = mount->fuse_fd = mount->abort_fd = -EBADF;
        mount->ops_fd = mount->link_fd = -EBADF;
        mount->channel_fd = mount->second_fd = mount->backing_servers_fd = mount->stderr_fd = mount->server_pidfd = -EBADF;
        fd_fill(mount->clone_fds, ELEMENTSOF(mount->clone_fds));
        fd_fill(mount->slot_fds, ELEMENTSOF(mount->slot_fds));
        fd_fill(mount->direct_fds, ELEMENTSOF(mount->direct_fds));
        mount->next = broker->mounts;
        mount->previous = &broker->mounts;
        if (mount->next)
                mount->next->previous = &mount->next;
        broker->mounts = mount;
        broker->n_mounts++;
        return mount;
}

static Mount *mount_new(Broker *broker, const BrokerRequest *request, const PolicyType *type) {
        const BrokerCreate *create = &request->create;
        Mount *mount = mount_new_empty(broker);

        if (!mount)
                return NULL;
        mount->policy = policy_ref(broker->policy);
        mount->type = type;
        mount->record = (BrokerRecord){
                .mount_id = ++broker->next_mount_id,
                .created_usec = boottime_usec(),
                .policy_generation = create->policy_generation,
                .type_index = create->type_index,
                .flags = create->flags,
                .options = create->options | (type->read_only ? POLICY_OPTION_RO : 0),
                .max_read = create->max_read,
                .blksize = create->blksize,
        };
        memcpy(mount->record.type_name, type->name, sizeof mount->record.type_name);
        memcpy(mount->record.slots, create->slots, sizeof mount->record.slots);
        memcpy(mount->record.source_name, create->source_name, sizeof create->source_name);
        memcpy(mount->record.mountpoint_name, create->mountpoint_name, sizeof create->mountpoint_name);
        memcpy(mount->record.server_options, create->server_options, sizeof create->server_options);
        return mount;
}

static void on_report(const WorkerReport *report, int *fds, size_t n_fds, void *userdata);

static int start_mount_worker(Mount *mount) {
        WorkerJob job = {
                .kind = WORKER_MOUNT,
                .user = mount->identity.uid,
                .host = &mount->broker->host,
                .table = policy_table(mount->policy),
                .type = mount->type,
                .identity = &mount->identity,
                .caller_fd = mount->caller_fd,
                .options = mount->record.options,
                .server_options = mount->record.server_options,
                .server_uid = mount->record.server_uid,
                .await_uid = mount->broker->units && !mount->unit && mount->type->hand_over != POLICY_HAND_OVER_CALLER,
                .mountpoint_fd = mount->mountpoint_fd,
                .owner_fd = mount->owner_pidfd,
        };

        memcpy(job.slot_fds, mount->slot_fds, sizeof job.slot_fds);
        memcpy(job.slot_kinds, mount->record.slots, sizeof job.slot_kinds);
        return worker_link_new(mount->broker, &job, PREPARE_USEC, on_report, mount, &mount->worker);
}

static void refuse_create(Broker *broker, const BrokerRequest *request, int error, Refusal refusal) {
        BrokerReply reply = {
                .error = error,
                .stage = BROKER_STAGE_IDENTITY,
                .refusal = {.refusal = (uint32_t) refusal, .policy_generation = policy_generation(broker->policy)},
        };
        manager_reply(broker, request, &reply, NULL, 0);
}

static void take_descriptors(Mount *mount, const BrokerCreate *create, int *fds) {
        size_t n = 0;

        mount->caller_fd = TAKE_FD(fds[n]);
        n++;
        if (!(create->flags & BROKER_CREATE_DETACHED)) {
                mount->mountpoint_fd = TAKE_FD(fds[n]);
                n++;
        }
        for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                if (create->slots[i] != BROKER_SLOT_EMPTY) {
                        mount->slot_fds[i] = TAKE_FD(fds[n]);
                        n++;
                }
        if (create->flags & BROKER_CREATE_CHANNEL) {
                mount->channel_fd = TAKE_FD(fds[n]);
                n++;
        }
        if (create->flags & BROKER_CREATE_OWNER)
                mount->owner_pidfd = TAKE_FD(fds[n]);
}

/* Safe: who asks is read from the socket; every descriptor is looked at by a worker that may hang instead of us; the source
 * and mount point are what the client could open itself, or a device that policy grants to this very user; names and
 * server options are only kept. Race: none, nothing is looked up by a path. */
void mount_create(Broker *broker, const BrokerRequest *request, int *fds) {
        const BrokerCreate *create = &request->create;
        const PolicyTable *table = policy_table(broker->policy);
        const PolicyType *type = NULL;
        int r;

        if (create->policy_generation != policy_generation(broker->policy))
                return refuse_create(broker, request, -ESTALE, REFUSAL_NONE);
        type = policy_type(table, create->type_index);
        if (!type)
                return refuse_create(broker, request, -EACCES, REFUSAL_NO_SUCH_TYPE);
        if (broker->n_mounts >= table->max_mounts || broker->stopping)
                return refuse_create(broker, request, -EACCES, REFUSAL_QUOTA_TOTAL);

        Mount *mount = mount_new(broker, request, type);
        if (!mount)
                return refuse_create(broker, request, -ENOMEM, REFUSAL_NONE);
        expect_answer(mount, request);
        take_descriptors(mount, create, fds);

        WorkerReport report = {.stage = BROKER_STAGE_IDENTITY};
        if ((type->hand_over == POLICY_HAND_OVER_CALLER) != (mount->channel_fd >= 0))
                return fail(mount, -EINVAL, &report);
        r = identity_from_socket(mount->caller_fd, broker->control_path, &mount->identity);
        if (r < 0)
                return fail(mount, r, &report);
        mount->record.uid = mount->identity.uid;
        mount->record.gid = mount->identity.gid;
        bool has_uid = type->hand_over == POLICY_HAND_OVER_CALLER || spare_take(broker, mount) || broker->units;
        r = has_uid ? 0 : mount_take_uid(broker, &mount->record.server_uid);
        if (r < 0) {
                report.refusal = REFUSAL_QUOTA_TOTAL;
                return fail(mount, -EACCES, &report);
        }
        r = start_mount_worker(mount);
        if (r < 0)
                return fail(mount, r, &report);
}

/* The unit is there, and so the uid that what it gets is made for. */
static void on_unit_ready(Unit *unit, int error, void *userdata) {
        WorkerReport report = {.stage = BROKER_STAGE_UNIT};
        Mount *mount = userdata;

        if (error >= 0) {
                mount->record.server_uid = unit_uid(unit);
                error = worker_link_admit(mount->worker, unit_uid(unit));
        }
        if (error < 0)
                fail(mount, error, &report);
}

static void on_allowed(Mount *mount) {
        WorkerReport report = {.stage = BROKER_STAGE_UNIT};
        int r;

        r = unit_connect(mount->broker, mount->type->name, mount->type->start_usec, on_unit_ready, mount, &mount->unit);
        if (r == -ENOENT || r == -ECONNREFUSED)
                log_error("nobody listens on %s/%s: 'systemctl daemon-reload', then 'systemctl start fuse-service-%s.socket'", UNIT_SOCKET_DIRECTORY,
                          mount->type->name, mount->type->name);
        if (r < 0)
                fail(mount, r, &report);
}

/* As fusermount3 does: one byte, and the device. Nothing is read, and nothing waited for. */
static int give_device(Mount *mount) {
        int domain = 0, r;
        socklen_t size = sizeof domain;
        const char byte = 0;

        r = RET_NERRNO(getsockopt(mount->channel_fd, SOL_SOCKET, SO_DOMAIN, &domain, &size)); /* asks no file system */
        if (r < 0 || domain != AF_UNIX)
                return r < 0 ? r : -EINVAL;
        r = fd_send_now(mount->channel_fd, &byte, sizeof byte, mount->fuse_fd);
        mount->channel_fd = fd_close(mount->channel_fd);
        return r;
}

static void on_prepared(Mount *mount, const WorkerReport *report, int *fds, size_t n_fds) {
        size_t n = 0;
        int r;

        mount->caller_fd = fd_close(mount->caller_fd);
        identity_done(&mount->identity); /* the pidfd has done its work; ids are in the record */
        mount->fuse_fd = TAKE_FD(fds[n]);
        n++;
        for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                if (mount->record.slots[i] != BROKER_SLOT_EMPTY) {
                        (void) fd_close(mount->slot_fds[i]); /* the client's, replaced by what the server is to get */
                        mount->slot_fds[i] = TAKE_FD(fds[n]);
                        n++;
                }
        if (report->owner_found) {
                mount->owner_pidfd = TAKE_FD(fds[n]);
                n++;
        }
        for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                if (report->direct_slots & 1U << i) {
                        mount->direct_fds[i] = TAKE_FD(fds[n]);
                        n++;
                }
        for (size_t i = 0; i < report->n_clones; i++) {
                mount->clone_fds[i] = TAKE_FD(fds[n]);
                n++;
        }
        for (uint32_t i = 0; i < mount->type->slots.count; i++) /* as the worker has opened it, whatever is added to the options later */
                if (!policy_slot(policy_table(mount->policy), mount->type, i)->writable || (report->options & POLICY_OPTION_RO))
                        mount->read_only_trees |= 1U << i;
        mount->record.options = report->options;
        mount->record.sync_init = report->sync_init;
        mount->record.foreign_namespace = report->foreign_user_ns;
        mount->record.mount_ns_inode = report->mount_ns_inode;
        mount->record.mount_ns_id = report->mount_ns_id;
        mount->record.owner_pid = report->owner_pid;
        mount->record.device_major = report->device.major;
        mount->record.device_minor = report->device.minor;
        mount->record.device_size = report->device.size;
        if (mount->type->hand_over == POLICY_HAND_OVER_CALLER) {
                WorkerReport failure = {.stage = BROKER_STAGE_FUSE_DEVICE};
                r = give_device(mount);
                if (r < 0)
                        return fail(mount, r, &failure);
        }
        enter_state(mount, MOUNT_CREATED);
        mount_arm(mount, mount->type->start_usec + MARGIN_USEC);
        r = mount_watch_owner(mount);
        if (r < 0)
                return fail(mount, r, report);
        answer(mount, 0, report, NULL, 0);
}

static void on_live(Mount *mount, const WorkerReport *report, int *fds, size_t n_fds) {
        mount->worker = NULL; /* it has ended itself */
        mount->record.connection = report->connection;
        mount->record.kernel_mount_id = report->kernel_mount_id;
        mount->record.mount_id_unique = report->mount_id_unique;
        mount->record.live_usec = boottime_usec();
        mount->abort_fd = host_connection_open_abort(&mount->broker->host, report->connection, mount->fuse_fd);
        mount->attached = mount->mountpoint_fd >= 0;
        if (report->on_autofs && report->mount_id_unique && mount->record.mount_ns_inode == 0)
                mount->mountpoint_fd = fd_close(mount->mountpoint_fd); /* it would be in use for ever: never idle; see worker-unmount.c */
        mount->deadline = sd_event_source_disable_unref(mount->deadline);
        if (mount->type->hand_over == POLICY_HAND_OVER_CALLER)
                mount->fuse_fd = fd_close(mount->fuse_fd); /* the connection is to end with the caller's program */
        enter_state(mount, MOUNT_LIVE);
        keep_mount(mount);
        if (mount->type->hand_over != POLICY_HAND_OVER_CALLER)
                spare_wanted(mount->broker, mount->policy, mount->type);
        answer(mount, 0, report, fds, n_fds);
}

/* There is a superblock. Without synchronous INIT it comes first: a server that reads its device before that gets an error. */
static void on_mounted(Mount *mount, const WorkerReport *report) {
        BrokerEvent event = {.mount_id = mount->record.mount_id, .record = mount->record};

        mount->record.connection = report->connection;
        mount->record.kernel_mount_id = report->kernel_mount_id;
        mount->record.mount_id_unique = report->mount_id_unique;
        mount->attached = mount->mountpoint_fd >= 0; /* or will be, at any moment */
        if (!mount->record.sync_init)
                manager_event(mount->broker, &event, BROKER_EVENT_MOUNTED, NULL, 0);
}

static void on_report(const WorkerReport *report, int *fds, size_t n_fds, void *userdata) {
        Mount *mount = userdata;
        size_t n_slots = 0;

        if (report->error < 0) {
                WorkerReport failure = *report;
                if (failure.stage == BROKER_STAGE_NONE) /* it was killed, and could not say itself where it was */
                        failure.stage = mount->state == MOUNT_MOUNTING ? BROKER_STAGE_INIT : BROKER_STAGE_SOURCE;
                if (mount->state != MOUNT_MOUNTING) /* else its end is waited for */
                        mount->worker = NULL;
                return fail(mount, report->error, &failure);
        }
        for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                n_slots += mount->record.slots[i] != BROKER_SLOT_EMPTY;
        if (report->kind == WORKER_REPORT_ALLOWED && mount->state == MOUNT_CREATING && !mount->unit && n_fds == 0)
                return on_allowed(mount);
        if (report->kind == WORKER_REPORT_PREPARED && mount->state == MOUNT_CREATING &&
            n_fds == 1 + n_slots + !!report->owner_found + (size_t) __builtin_popcount(report->direct_slots) + report->n_clones)
                return on_prepared(mount, report, fds, n_fds);
        if (report->kind == WORKER_REPORT_LIVE && mount->state == MOUNT_MOUNTING && n_fds == (mount->mountpoint_fd < 0))
                return on_live(mount, report, fds, n_fds);
        if (report->kind == WORKER_REPORT_MOUNTED && mount->state == MOUNT_MOUNTING && n_fds == 0)
                return on_mounted(mount, report);
        assert(!"a worker reports out of turn");
}

/* ---- SPAWN ---------------------------------------------------------------------------------------------------------- */

/* Safe: what is run, as whom and in which sandbox is the type's, nothing of it the caller's but the listed server options,
 * which become one argument of a program without any privilege. */
void mount_spawn(Mount *mount, const BrokerRequest *request) {
        WorkerReport report = {0};
        int fds[2], r;

        r = mount_start_server(mount, &report.stage);
        if (r < 0) {
                mount_answer(mount, request, r, &report, NULL, 0);
                return mount_end(mount, BROKER_REASON_FAILED, /* graceful= */ false);
        }
        if (mount->state == MOUNT_CREATED)
                enter_state(mount, MOUNT_SPAWNED);
        fds[0] = mount->stderr_fd;
        fds[1] = mount->channel_fd;
        mount_answer(mount, request, 0, NULL, fds, mount->channel_fd >= 0 ? 2 : 1);
}

/* ---- SEND_FILE ------------------------------------------------------------------------------------------------------ */

static int send_file(Mount *mount, const BrokerSendFile *send) {
        char packet[SERVICE_FILE_MAX];
        const PolicySlot *slot;
        int fd = mount->fuse_fd;
        size_t size;

        if (mount->channel_fd < 0)
                return -ENOTCONN;
        if (send->what > 0) {
                uint32_t i = send->what - 1;
                if (i >= mount->type->slots.count || mount->slot_fds[i] < 0)
                        return -ENOENT;
                slot = policy_slot(policy_table(mount->policy), mount->type, i);
                if ((send->open_flags & O_ACCMODE) != O_RDONLY && (!slot->writable || (mount->record.options & POLICY_OPTION_RO)))
                        return -EROFS;
                fd = send->open_flags & O_DIRECT && mount->direct_fds[i] >= 0 ? mount->direct_fds[i] : mount->slot_fds[i];
        }
        size = service_build_file(packet, sizeof packet, 0, send->path);
        if (size == 0)
                return -ENAMETOOLONG;
        return fd_send(mount->channel_fd, packet, size, &fd, 1);
}

/* Safe: only the FUSE device of this mount and its slots can be sent, and only to its own server; the path is echoed, not
 * looked up. This is here so that the manager never holds a device. */
void mount_send_file(Mount *mount, const BrokerRequest *request) {
        mount_answer(mount, request, send_file(mount, &request->send_file), NULL, NULL, 0);
}

/* ---- MOUNT ---------------------------------------------------------------------------------------------------------- */

static bool fsname_is_valid(const char *name) {
        return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:+@-") == strlen(name);
}

/* What a program of the caller's says it is. It cannot pass for a type of ours: those have servers of their own. */
static bool subtype_is_valid(const Mount *mount, const char *name) {
        return !*name || (mount->type->hand_over == POLICY_HAND_OVER_CALLER && !strchr(name, '/') && fsname_is_valid(name) &&
                          !policy_type_by_name(policy_table(mount->policy), name, NULL));
}

/* Options of restriction may be added, those that widen only what CREATE has granted. */
static bool options_within(uint32_t wanted, uint32_t granted) {
        const uint32_t widening = POLICY_OPTION_ALLOW_OTHER | POLICY_OPTION_SUID | POLICY_OPTION_DEV;
        const uint32_t restricting = POLICY_OPTION_RO | POLICY_OPTION_NOEXEC | POLICY_OPTION_NOSYMFOLLOW | POLICY_OPTION_DEFAULT_PERMISSIONS;

        return !(wanted & widening & ~granted) && !(granted & restricting & ~wanted);
}

/* Safe: options are bits that CREATE granted; the mount goes onto the descriptor that was checked then, or to the client as a
 * descriptor; the superblock belongs to the caller's user namespace. */
void mount_do(Mount *mount, const BrokerRequest *request) {
        const BrokerMount *wanted = &request->mount;
        WorkerReport report = {.stage = BROKER_STAGE_FSCONFIG};
        WorkerGo go = {
                .options = wanted->options,
                .max_read = wanted->max_read,
                .expected_format = wanted->expected_format,
                .init_later = mount->type->hand_over == POLICY_HAND_OVER_CALLER,
        };
        int r;

        if (!fsname_is_valid(wanted->fsname) || !subtype_is_valid(mount, wanted->subtype))
                return mount_answer(mount, request, -EINVAL, &report, NULL, 0);
        if (!options_within(wanted->options, mount->record.options))
                return mount_answer(mount, request, -EPERM, &report, NULL, 0);
        expect_answer(mount, request);
        memcpy(go.fsname, wanted->fsname, sizeof go.fsname);
        memcpy(go.subtype, wanted->subtype, sizeof go.subtype);
        mount->record.options = wanted->options;
        mount->record.max_read = wanted->max_read;
        mount->record.blksize = wanted->blksize;

        enter_state(mount, MOUNT_MOUNTING);
        mount->deadline = sd_event_source_disable_unref(mount->deadline); /* the worker's own takes over */
        r = worker_link_go(mount->worker, &go, mount->type->init_usec);
        if (r < 0)
                return fail(mount, r, &report);
}

/* ---- QUERY ---------------------------------------------------------------------------------------------------------- */

void mount_query(Mount *mount, const BrokerRequest *request) {
        BrokerReply reply = {0};
        const int held[] = {mount->mountpoint_fd, mount->owner_pidfd, mount->fuse_fd, mount->abort_fd,
                            mount->channel_fd, mount->second_fd, mount->stderr_fd, mount->server_pidfd};

        if (mount->state == MOUNT_LIVE)
                (void) host_connection_waiting(&mount->broker->host, mount->record.connection, &reply.query.waiting);
        for (size_t i = 0; i < ELEMENTSOF(held); i++)
                reply.query.n_fds += held[i] >= 0;
        for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                reply.query.n_fds += (mount->slot_fds[i] >= 0) + (mount->direct_fds[i] >= 0);
        for (size_t i = 0; i < POLICY_CLONES_MAX; i++)
                reply.query.n_fds += mount->clone_fds[i] >= 0;
        if (mount->cgroup)
                cgroup_usage(mount->cgroup, &reply.query.memory_bytes, &reply.query.n_processes, &reply.query.cpu_usec);
        else if (mount->is_unit)
                unit_usage(mount->record.cgroup, &reply.query.memory_bytes, &reply.query.n_processes, &reply.query.cpu_usec);
        manager_reply(mount->broker, request, &reply, NULL, 0);
}
