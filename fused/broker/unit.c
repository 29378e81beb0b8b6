/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Servers as systemd units. See unit.h. */

#include "broker/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/kernel.h"
#include "base/log.h"
#include "broker/spawn.h"
#include "launcher/launcher.h"
#include "launcher/unit-order.h"

struct Unit {
        Broker *broker; /* borrowed */
        int fd;         /* owned */
        pid_t pid;      /* 0: it has not said hello */
        int pidfd;      /* owned */
        uid_t uid;
        char cgroup[256];
        unit_ready_t on_ready; /* NULL: nobody waits */
        void *userdata;        /* borrowed */
        sd_event_source *io, *deadline; /* owned */
};

Unit *unit_free(Unit *unit) {
        if (!unit)
                return NULL;
        (void) sd_event_source_disable_unref(unit->io);
        (void) sd_event_source_disable_unref(unit->deadline);
        (void) fd_close(unit->fd);
        (void) fd_close(unit->pidfd);
        free(unit);
        return NULL;
}

void unit_expect(Unit *unit, unit_ready_t on_ready, void *userdata) {
        unit->on_ready = on_ready;
        unit->userdata = userdata;
}

bool unit_is_ready(const Unit *unit) {
        return unit->pid > 0;
}

bool unit_is_dead(const Unit *unit) {
        return !unit->io;
}

uid_t unit_uid(const Unit *unit) {
        return unit->uid;
}

const char *unit_cgroup(const Unit *unit) {
        return unit->cgroup;
}

static void finish(Unit *unit, int error) {
        unit_ready_t on_ready = TAKE_PTR(unit->on_ready);

        unit->deadline = sd_event_source_disable_unref(unit->deadline);
        if (error < 0)
                unit->io = sd_event_source_disable_unref(unit->io);
        if (on_ready)
                on_ready(unit, error, unit->userdata);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        finish(userdata, -ETIMEDOUT);
        return 0;
}

/* The kernel's word on which cgroup a live process is in: the line of version 2, and of systemd's own hierarchy before. */
static void read_cgroup(Unit *unit) {
        char path[32], text[4096], *line, *cursor = text;

        (void) snprintf(path, sizeof path, "%d/cgroup", unit->pid);
        if (fd_read_file_at(unit->broker->host.proc_fd, path, text, sizeof text) < 0)
                return;
        while ((line = strsep(&cursor, "\n"))) {
                const char *name = strncmp(line, "0::", 3) == 0 ? line + 3 : strstr(line, ":name=systemd:");
                if (name && *name == ':')
                        name += strlen(":name=systemd:");
                if (name && strlen(name) > 1)
                        (void) snprintf(unit->cgroup, sizeof unit->cgroup, "%s", name);
        }
}

/* Only what the kernel attached counts. The sender lives until it has an order, as it waits for that: its number is its own. */
static int take_hello(Unit *unit) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
        } control;
        UnitHello hello;
        struct iovec iov = {.iov_base = &hello, .iov_len = sizeof hello};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
        struct ucred sender = {0};
        ssize_t n;

        n = RET_NERRNO(recvmsg(unit->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
        if (n < 0)
                return (int) n;
        for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
                if (header->cmsg_level != SOL_SOCKET)
                        continue;
                if (header->cmsg_type == SCM_CREDENTIALS && header->cmsg_len == CMSG_LEN(sizeof sender))
                        memcpy(&sender, CMSG_DATA(header), sizeof sender);
                else if (header->cmsg_type == KERNEL_SCM_PIDFD && header->cmsg_len == CMSG_LEN(sizeof(int)) && unit->pidfd < 0)
                        memcpy(&unit->pidfd, CMSG_DATA(header), sizeof unit->pidfd);
        }
        if (n != sizeof hello || sender.pid <= 0)
                return n == 0 ? -ECONNRESET : -EBADMSG;
        if (unit->pidfd < 0)
                unit->pidfd = RET_NERRNO(pidfd_open(sender.pid, 0));
        if (unit->pidfd < 0)
                return unit->pidfd;
        unit->pid = sender.pid;
        unit->uid = sender.uid;
        read_cgroup(unit);
        return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Unit *unit = userdata;
        int r;

        if (unit->pid > 0) { /* it has nothing more to say: it has ended */
                unit->pid = 0;
                unit->io = sd_event_source_disable_unref(unit->io);
                return 0;
        }
        r = take_hello(unit);
        if (r == -EAGAIN)
                return 0;
        finish(unit, r);
        return 0;
}

static int open_connection(const char *type_name) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        _cleanup_fd_ int fd = -EBADF;
        const int on = 1;
        int r;

        if (snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", UNIT_SOCKET_DIRECTORY, type_name) >= (int) sizeof address.sun_path)
                return -ENAMETOOLONG;
        fd = RET_NERRNO(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (fd < 0)
                return fd;
        fd_refuse_rights(fd); /* a server has nothing to send us */
        r = RET_NERRNO(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
        if (r < 0)
                return r;
        (void) setsockopt(fd, SOL_SOCKET, KERNEL_SO_PASSPIDFD, &on, sizeof on); /* Linux 6.5; else by its number */
        r = RET_NERRNO(connect(fd, (const struct sockaddr *) &address, sizeof address));
        if (r < 0)
                return r;
        return TAKE_FD(fd);
}

int unit_connect(Broker *broker, const char *type_name, uint64_t deadline_usec, unit_ready_t on_ready, void *userdata, Unit **ret) {
        const UnitAsk ask = {.magic = UNIT_ASK_MAGIC};
        Unit *unit = calloc(1, sizeof *unit);
        int r;

        if (!unit)
                return -ENOMEM;
        *unit = (Unit){.broker = broker, .pidfd = -EBADF, .on_ready = on_ready, .userdata = userdata};
        r = unit->fd = open_connection(type_name);
        if (r >= 0)
                r = fd_send(unit->fd, &ask, sizeof ask, NULL, 0);
        if (r >= 0)
                r = sd_event_add_io(broker->event, &unit->io, unit->fd, EPOLLIN, on_io, unit);
        if (r >= 0)
                r = sd_event_add_time_relative(broker->event, &unit->deadline, CLOCK_MONOTONIC, deadline_usec, USEC_PER_MSEC, on_deadline, unit);
        if (r < 0) {
                (void) unit_free(unit);
                return r;
        }
        *ret = unit;
        return 0;
}

DEFINE_CLEANUP(Unit *, unit_freep, unit_free)

int unit_start(Unit *unit, const SpawnRequest *request, pid_t *ret_pid, int *ret_pidfd, int *ret_channel_fd) {
        bool with_agent = request->type->hand_over != POLICY_HAND_OVER_SERVICE;
        _cleanup_(unit_freep) Unit *owned = unit;
        int r;

        if (unit->pid == 0)
                return -ECONNRESET;
        r = unit_order_send(unit->fd, request, with_agent);
        if (r < 0)
                return r;
        *ret_pid = unit->pid;
        *ret_pidfd = TAKE_FD(unit->pidfd);
        *ret_channel_fd = -EBADF;
        if (!with_agent) {
                const int off = 0;
                (void) setsockopt(unit->fd, SOL_SOCKET, SO_PASSCRED, &off, sizeof off);
                (void) setsockopt(unit->fd, SOL_SOCKET, KERNEL_SO_PASSPIDFD, &off, sizeof off);
                r = fd_set_nonblock(unit->fd, false);
                if (r < 0)
                        return r;
                unit->io = sd_event_source_disable_unref(unit->io);
                *ret_channel_fd = TAKE_FD(unit->fd);
        }
        return 0;
}

bool unit_exit_status(int pidfd, int *ret_code, int *ret_status) {
        KernelPidfdInfo info = {.mask = KERNEL_PIDFD_INFO_EXIT};

        if (ioctl(pidfd, KERNEL_PIDFD_GET_INFO, &info) < 0 || !(info.mask & KERNEL_PIDFD_INFO_EXIT))
                return false;
        *ret_code = WIFEXITED(info.exit_code) ? CLD_EXITED : WCOREDUMP(info.exit_code) ? CLD_DUMPED : CLD_KILLED;
        *ret_status = WIFEXITED(info.exit_code) ? WEXITSTATUS(info.exit_code) : WTERMSIG(info.exit_code);
        return true;
}

/* Directory of a cgroup of version 2. */
static int open_cgroup(const char *cgroup) {
        static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
        char path[512];

        for (size_t i = 0; *cgroup && i < ELEMENTSOF(roots); i++)
                if (snprintf(path, sizeof path, "%s%s", roots[i], cgroup) < (int) sizeof path) {
                        int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
                        if (fd >= 0)
                                return fd;
                }
        return -ENOENT;
}

/* The number after prefix, with which the file begins. */
static uint64_t read_number(int dir_fd, const char *file, const char *prefix) {
        char text[256];

        if (dir_fd < 0 || fd_read_file_at(dir_fd, file, text, sizeof text) <= 0)
                return 0;
        return strncmp(text, prefix, strlen(prefix)) == 0 ? strtoull(text + strlen(prefix), NULL, 10) : 0;
}

void unit_open_memory(const char *cgroup, int ret_fds[3]) {
        _cleanup_fd_ int dir_fd = open_cgroup(cgroup);

        fd_fill(ret_fds, 3);
        if (dir_fd >= 0)
                cgroup_open_memory_at(dir_fd, ret_fds);
}

void unit_usage(const char *cgroup, uint64_t *ret_memory_bytes, uint32_t *ret_processes, uint64_t *ret_cpu_usec) {
        _cleanup_fd_ int dir_fd = open_cgroup(cgroup);

        *ret_memory_bytes = read_number(dir_fd, "memory.current", "");
        *ret_processes = (uint32_t) read_number(dir_fd, "pids.current", "");
        *ret_cpu_usec = read_number(dir_fd, "cpu.stat", "usage_usec ");
}
