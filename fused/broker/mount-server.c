/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mount's server: started as our own child in a sandbox, or as a systemd unit, and watched. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "broker/mount.h"
#include "broker/roots.h"
#include "broker/spares.h"
#include "broker/unit.h"

#define REAP_USEC (50 * USEC_PER_MSEC) /* what systemd may take to reap a server before its end is reported without a status */

int mount_take_uid(Broker *broker, uint32_t *ret) {
        const PolicyTable *table = policy_table(broker->policy);

        for (uint32_t tries = 0; tries < table->uid_count; tries++) {
                uint32_t uid = table->uid_first + broker->next_uid++ % table->uid_count;
                bool taken = uid == table->manager_uid || uid == table->manager_gid || spare_has_uid(broker, uid);
                for (Mount *mount = broker->mounts; mount && !taken; mount = mount->next)
                        taken = mount->record.server_uid == uid;
                if (!taken) {
                        *ret = uid;
                        return 0;
                }
        }
        return -EUSERS;
}

static int make_channel(Mount *mount, int *ret_server_end) {
        int pair[2], r;

        if (policy_has_agent(mount->type))
                return *ret_server_end = fd_dup(mount->fuse_fd);
        r = RET_NERRNO(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
        if (r < 0)
                return r;
        fd_refuse_rights(pair[0]); /* a server has nothing to send us */
        mount->channel_fd = pair[0];
        *ret_server_end = pair[1];
        return 0;
}

static size_t list_slots(const Mount *mount, SpawnSlot *slots) {
        const PolicyTable *table = policy_table(mount->policy);

        for (uint32_t i = 0; i < mount->type->slots.count; i++) {
                const PolicySlot *slot = policy_slot(table, mount->type, i);
                slots[i] = (SpawnSlot){
                        .path = policy_string(table, slot->path),
                        .fd = mount->slot_fds[i],
                        .writable = slot->writable && !(mount->record.options & POLICY_OPTION_RO),
                        .tree = mount->record.slots[i] == BROKER_SLOT_TREE,
                };
        }
        return mount->type->slots.count;
}

/* Ends a server that cannot be watched. It is pid 1 of its namespace: SIGKILL ends all of it, and soon. A unit is systemd's
 * to reap. */
static void reap_at_once(Mount *mount) {
        siginfo_t info;

        (void) pidfd_send_signal(mount->server_pidfd, SIGKILL, NULL, 0);
        if (!mount->is_unit)
                (void) waitid(P_PIDFD, (id_t) mount->server_pidfd, &info, WEXITED);
        mount->server_pidfd = fd_close(mount->server_pidfd);
        mount->server_pid = mount->record.server_pid = 0;
}

/* Its words go to the journal; the manager gets a pipe that nobody writes to. */
static int start_unit(Mount *mount, uint32_t *ret_stage) {
        SpawnSlot slots[POLICY_SLOTS_MAX];
        int pipe_fds[2], r;

        *ret_stage = BROKER_STAGE_UNIT;
        r = RET_NERRNO(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK));
        if (r < 0)
                return r;
        mount->stderr_fd = pipe_fds[0];
        (void) fd_close(pipe_fds[1]);
        const SpawnRequest request = {
                .table = policy_table(mount->policy),
                .type = mount->type,
                .channel_fd = mount->fuse_fd,
                .agent_fd = mount->broker->agent_fd,
                .slots = slots,
                .n_slots = list_slots(mount, slots),
                .server_options = mount->record.server_options,
                .read_only = mount->record.options & POLICY_OPTION_RO,
        };
        (void) snprintf(mount->record.cgroup, sizeof mount->record.cgroup, "%s", unit_cgroup(mount->unit));
        mount->is_unit = true;
        return unit_start(TAKE_PTR(mount->unit), &request, &mount->server_pid, &mount->server_pidfd, &mount->channel_fd);
}

static int start_child(Mount *mount, uint32_t *ret_stage) {
        Broker *broker = mount->broker;
        _cleanup_fd_ int server_end = -EBADF, stderr_write = -EBADF;
        SpawnSlot slots[POLICY_SLOTS_MAX];
        int pipe_fds[2], root_fd, r;

        *ret_stage = BROKER_STAGE_SANDBOX;
        r = type_root_get(broker, mount->policy, mount->type, &root_fd);
        if (r < 0)
                return r;
        r = make_channel(mount, &server_end);
        if (r < 0)
                return r;
        r = RET_NERRNO(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK)); /* a server must not hang because nobody reads its words */
        if (r < 0)
                return r;
        mount->stderr_fd = pipe_fds[0];
        stderr_write = pipe_fds[1];
        if (broker->cgroups && !mount->cgroup) {
                *ret_stage = BROKER_STAGE_CGROUP;
                r = cgroup_new(broker->cgroups, mount->record.server_uid, mount->type, &mount->cgroup);
                if (r < 0)
                        return r;
        }
        if (mount->cgroup)
                (void) snprintf(mount->record.cgroup, sizeof mount->record.cgroup, "%s", cgroup_display(mount->cgroup));

        SpawnRequest spawn = {
                .table = policy_table(mount->policy),
                .type = mount->type,
                .root_ns_fd = root_fd,
                .uid = mount->record.server_uid,
                .host_ns_fd = broker->host.mount_ns_fd,
                .channel_fd = server_end,
                .stderr_fd = stderr_write,
                .agent_fd = broker->agent_fd,
                .slots = slots,
                .n_slots = list_slots(mount, slots),
                .server_options = mount->record.server_options,
                .read_only = mount->record.options & POLICY_OPTION_RO,
                .cgroup = mount->cgroup,
        };
        r = -EPIPE;
        if (mount->sandbox)
                r = sandbox_start(TAKE_PTR(mount->sandbox), &spawn, &mount->server_pid, &mount->server_pidfd, ret_stage);
        if (r == -EPIPE || r == -ECONNRESET) /* none was made ahead, or it has died since */
                r = spawn_server(&spawn, &mount->server_pid, &mount->server_pidfd, ret_stage);
        return r;
}

/* ---- its end -------------------------------------------------------------------------------------------------------- */

/* Somebody else's child: how it ended is known once it has been reaped, if the kernel says so at all. */
static void unit_has_ended(Mount *mount) {
        siginfo_t info = {.si_code = CLD_EXITED};

        (void) unit_exit_status(mount->server_pidfd, &info.si_code, &info.si_status);
        mount->server_late = sd_event_source_disable_unref(mount->server_late);
        (void) mount_on_server_exit(NULL, &info, mount);
}

static int on_unit_reaped(sd_event_source *source, uint64_t usec, void *userdata) {
        unit_has_ended(userdata);
        return 0;
}

static int on_unit_exit(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Mount *mount = userdata;
        int code, status, r = 0;

        if (!(revents & EPOLLHUP) && !unit_exit_status(fd, &code, &status) && !mount->server_late)
                r = sd_event_add_time_relative(mount->broker->event, &mount->server_late, CLOCK_MONOTONIC, REAP_USEC, USEC_PER_MSEC,
                                               on_unit_reaped, mount);
        else
                unit_has_ended(mount);
        if (r < 0)
                unit_has_ended(mount);
        return 0;
}

int mount_watch_server(Mount *mount) {
        if (!mount->is_unit)
                return sd_event_add_child_pidfd(mount->broker->event, &mount->server_child, mount->server_pidfd, WEXITED,
                                                mount_on_server_exit, mount);
        return sd_event_add_io(mount->broker->event, &mount->server_child, mount->server_pidfd, EPOLLIN | EPOLLET, on_unit_exit, mount);
}

int mount_start_server(Mount *mount, uint32_t *ret_stage) {
        int r;

        r = mount->unit ? start_unit(mount, ret_stage) : start_child(mount, ret_stage);
        if (r < 0)
                return r;
        mount->record.server_pid = mount->server_pid;
        *ret_stage = BROKER_STAGE_EXEC;
        r = mount_watch_server(mount);
        if (r < 0) /* nobody would be told of its end */
                reap_at_once(mount);
        return r;
}

/* Before Linux 6.18 a program that gets the device itself can only be started once there is a superblock. */
static bool mounts_first(const Mount *mount) {
        return (policy_has_agent(mount->type) && !mount->record.sync_init) || mount->type->hand_over == POLICY_HAND_OVER_CALLER;
}

bool mount_may_spawn(const Mount *mount) {
        return mount->type->hand_over != POLICY_HAND_OVER_CALLER && mount->server_pid == 0 && mounts_first(mount) == (mount->state == MOUNT_MOUNTING);
}

bool mount_may_mount(const Mount *mount) {
        return mounts_first(mount) == (mount->state == MOUNT_CREATED);
}

