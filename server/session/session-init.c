/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FUSE_INIT: who answers what. See session.h. */

#define FUSE_USE_VERSION 312
#include "session/session-private.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

typedef struct InitAnswer {
        struct fuse_out_header header;
        struct fuse_init_out out;
} InitAnswer;

/* libfuse writes to the number of its descriptor, which is a socket's while it does. */
int session_replay_init(SessionThread *thread, struct fuse_init_out *ret) {
        _cleanup_fd_ int ours = -EBADF, theirs = -EBADF, device = -EBADF;
        struct fuse_buf buffer = {.size = thread->session->init_size, .mem = thread->session->init};
        InitAnswer answer = {0};
        int pair[2], r;
        ssize_t n;

        r = RET_NERRNO(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
        if (r < 0)
                return r;
        ours = pair[0];
        theirs = pair[1];
        device = fd_dup(thread->device_fd);
        if (device < 0)
                return device;
        r = RET_NERRNO(dup3(theirs, thread->device_fd, O_CLOEXEC));
        if (r < 0)
                return r;
        fuse_session_process_buf(thread->fuse, &buffer);
        r = RET_NERRNO(dup3(device, thread->device_fd, O_CLOEXEC));
        if (r < 0)
                return r;
        n = RET_NERRNO(recv(ours, &answer, sizeof answer, MSG_DONTWAIT));
        if (n < 0)
                return (int) n;
        if (answer.header.error < 0)
                return answer.header.error;
        if ((size_t) n < sizeof answer.header + FUSE_COMPAT_22_INIT_OUT_SIZE)
                return -EPROTO;
        *ret = answer.out;
        return 0;
}

/* Not more than the newest interface that libfuse speaks has: what it does not know is the hook's affair. */
static int receive_init(Session *session) {
        SessionThread *thread = &session->threads[0];
        struct fuse_in_header header;
        ssize_t n;

        do
                n = RET_NERRNO(read(thread->device_fd, thread->request, REQUEST_MAX));
        while (n == -EINTR && !session->stop);
        if (n < 0)
                return (int) n;
        memcpy(&header, thread->request, MIN_OF(sizeof header, (size_t) n));
        if ((size_t) n < sizeof header + 16 || (size_t) n > sizeof session->init || header.opcode != FUSE_INIT || header.len != (size_t) n)
                return -EPROTO;
        memcpy(session->init, thread->request, (size_t) n);
        session->init_size = (size_t) n;
        return 0;
}

int session_start(Session *session) {
        SessionThread *thread = &session->threads[0];
        struct fuse_in_header header;
        struct fuse_init_out out = {0};
        struct fuse_init_in in = {0};
        int r;

        thread->device_fd = fuse_session_fd(thread->fuse);
        r = receive_init(session);
        if (r >= 0)
                r = session_replay_init(thread, &out);
        if (r < 0)
                return r;
        memcpy(&header, session->init, sizeof header);
        memcpy(&in, session->init + sizeof header, MIN_OF(sizeof in, session->init_size - sizeof header));
        if (session->hooks.init)
                session->hooks.init(session->userdata, &in, abi_init_flags(in.flags, in.flags2), &out);
        const struct iovec vector = {&out, sizeof out};
        r = session_reply(thread, header.unique, 0, &vector, 1);
        if (r >= 0 && session->hooks.started)
                r = session->hooks.started(session->userdata);
        return r;
}
