/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The caller's identity. Taken from the socket for each request that acts for a caller, so that the manager cannot
 * speak for somebody who is not connected. */

#include "broker/identity.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/kernel.h"

#define GROUPS_MAX 65536 /* NGROUPS_MAX */

void identity_done(Identity *identity) {
        freep(&identity->groups);
        identity->groups = NULL;
        identity->n_groups = 0;
        identity->pidfd = fd_close(identity->pidfd);
}

static int check_address(int socket_fd, const char *control_path) {
        struct sockaddr_un address = {0};
        socklen_t length = sizeof address;
        int r;

        r = RET_NERRNO(getsockname(socket_fd, (struct sockaddr *) &address, &length));
        if (r < 0)
                return r;
        if (address.sun_family != AF_UNIX || length >= sizeof address || strcmp(address.sun_path, control_path) != 0)
                return -EPERM;
        return 0;
}

static int read_groups(int socket_fd, Identity *identity) {
        socklen_t length = 0;
        int r;

        r = RET_NERRNO(getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length));
        if (r >= 0)
                return 0; /* none */
        if (r != -ERANGE || length > GROUPS_MAX * sizeof(gid_t))
                return r;
        identity->groups = malloc(length);
        if (!identity->groups)
                return -ENOMEM;
        r = RET_NERRNO(getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, identity->groups, &length));
        if (r < 0)
                return r;
        identity->n_groups = length / sizeof(gid_t);
        return 0;
}

int identity_from_socket(int socket_fd, const char *control_path, Identity *ret) {
        _cleanup_(identity_done) Identity identity = IDENTITY_NULL;
        struct ucred credentials = {0};
        socklen_t length = sizeof credentials;
        int r;

        r = check_address(socket_fd, control_path);
        if (r < 0)
                return r;
        r = RET_NERRNO(getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length));
        if (r < 0)
                return r;
        if (credentials.uid == (uid_t) -1) /* a listening socket, or one that was never connected */
                return -EPERM;
        identity.uid = credentials.uid;
        identity.gid = credentials.gid;
        r = read_groups(socket_fd, &identity);
        if (r < 0)
                return r;

        length = sizeof identity.pidfd;
        r = RET_NERRNO(getsockopt(socket_fd, SOL_SOCKET, SO_PEERPIDFD, &identity.pidfd, &length));
        if (r < 0) {
                identity.pidfd = -EBADF;
                if (r != -ENOPROTOOPT)
                        return r; /* the caller is gone */
        }

        *ret = identity;
        identity = IDENTITY_NULL;
        return 0;
}
