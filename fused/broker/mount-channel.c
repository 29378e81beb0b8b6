/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The broker's part of a server's second channel (wire/channel.h): it makes it, and sends over it what the manager must not have.
 * The broker never reads from it. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/kernel.h"
#include "broker/mount.h"
#include "wire/channel.h"
#include "wire/service.h"

#define CHANNEL_PATH "fused"

static int make_channel(Mount *mount, int *ret_managers) {
        _cleanup_fd_ int ours = -EBADF, theirs = -EBADF, managers = -EBADF;
        char packet[SERVICE_FILE_MAX];
        int pair[2], r;
        size_t size;

        if (mount->channel_fd < 0 || mount->type->hand_over != POLICY_HAND_OVER_SERVICE)
                return -ENOTCONN;
        if (mount->second_fd >= 0)
                return -EALREADY;
        r = RET_NERRNO(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
        if (r < 0)
                return r;
        ours = pair[0];
        theirs = pair[1];
        fd_refuse_rights(ours); /* closing a file of a hostile file system may take for ever: nobody here takes any */
        r = fd_set_nonblock(ours, true); /* and with it the manager's, which is the same open file */
        if (r < 0)
                return r;
        managers = fd_dup(ours);
        if (managers < 0)
                return managers;
        size = service_build_file(packet, sizeof packet, 0, CHANNEL_PATH);
        r = fd_send(mount->channel_fd, packet, size, &theirs, 1);
        if (r < 0)
                return r;
        mount->second_fd = TAKE_FD(ours);
        *ret_managers = TAKE_FD(managers);
        return 0;
}

/* Safe: a pair of sockets between a server and the unprivileged manager, one for each mount. */
void mount_channel(Mount *mount, const BrokerRequest *request) {
        _cleanup_fd_ int managers = -EBADF;
        int r;

        r = make_channel(mount, &managers);
        mount_answer(mount, request, r, NULL, &managers, r < 0 ? 0 : 1);
}

void mount_channel_answer(const Mount *mount, ChannelCommand command, uint64_t serial, uint32_t value, const ChannelTable *tables, size_t n_tables,
                          const int *fds, size_t n_fds, int *ret_error) {
        ChannelReply reply = {.magic = CHANNEL_MAGIC, .command = command, .serial = serial, .value = value, .n_tables = (uint32_t) n_tables};

        for (size_t i = 0; i < n_tables; i++)
                reply.tables[i] = tables[i];
        *ret_error = fd_send(mount->second_fd, &reply, sizeof reply, fds, n_fds);
}

static int send_clone(Mount *mount, uint64_t serial) {
        uint32_t device = (uint32_t) mount->fuse_fd;
        int *clone = NULL, r;

        if (mount->second_fd < 0 || mount->fuse_fd < 0)
                return -ENOTCONN;
        for (size_t i = 0; i < POLICY_CLONES_MAX && !clone; i++)
                if (mount->clone_fds[i] >= 0)
                        clone = &mount->clone_fds[i];
        if (!clone)
                return -ENFILE;
        r = RET_NERRNO(ioctl(*clone, FUSE_DEV_IOC_CLONE, &device));
        if (r >= 0)
                mount_channel_answer(mount, CHANNEL_CLONE, serial, 0, NULL, 0, clone, 1, &r);
        *clone = fd_close(*clone); /* the server's alone now */
        return r;
}

/* Safe: the descriptors were opened in the caller's user namespace when the mount was made, as many as its type says; each becomes
 * one more of the very device that the server has. */
void mount_clone(Mount *mount, const BrokerRequest *request) {
        mount_answer(mount, request, send_clone(mount, request->clone.channel_serial), NULL, NULL, 0);
}
