/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Binding a mapping program to a mount's connection: a link of its struct_ops map (program/report.h), which was made by fused-program and
 * has its value. The kernel looks for the FUSE device in the process that makes the link, under the number that the value says. So this is a
 * process that has the device under that number and no other device, CAP_BPF, and seven system calls. */

#include <fcntl.h>
#include <linux/bpf.h>
#include <poll.h>
#include <seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/kernel.h"
#include "broker/worker.h"
#include "fused-mapping.h"

#define CLEAR_OF_NUMBERS 16 /* above FUSED_PROGRAM_LINK_FD */

static int confine(void) {
        static const int calls[] = {SCMP_SYS(poll),  SCMP_SYS(ppoll),        SCMP_SYS(sendmsg),
                                    SCMP_SYS(close), SCMP_SYS(rt_sigreturn), SCMP_SYS(exit_group)};

        return worker_confine(calls, ELEMENTSOF(calls), BPF_LINK_CREATE);
}

/* Kernels with fuse-iomap so far wait for a device that is not mounted yet, and go wrong if that is interrupted. poll(2) waits as well, and
 * does not. */
static int await_connection(void) {
        struct pollfd p = {.fd = FUSED_PROGRAM_LINK_FD, .events = POLLIN};
        int r = RET_NERRNO(poll(&p, 1, 0));

        return r < 0 ? r : p.revents & (POLLERR | POLLNVAL) ? -ENOTCONN : 0;
}

static int make_link(int ops_fd) {
        union bpf_attr attr = {.link_create = {.prog_fd = (uint32_t) ops_fd, .attach_type = KERNEL_BPF_STRUCT_OPS}};

        return RET_NERRNO((int) syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof attr.link_create));
}

static int attach(int fuse_fd, int ops_fd, int *ret_link_fd) {
        static const cap_value_t kept[] = {CAP_BPF};
        int r;

        r = RET_NERRNO(dup3(fuse_fd, FUSED_PROGRAM_LINK_FD, O_CLOEXEC));
        if (r >= 0)
                r = worker_become_nobody(kept, ELEMENTSOF(kept));
        if (r >= 0)
                r = confine();
        if (r >= 0)
                r = await_connection();
        if (r >= 0)
                r = make_link(ops_fd);
        if (r < 0)
                return r;
        *ret_link_fd = r;
        return 0;
}

void worker_attach(const WorkerJob *job, int socket_fd) {
        WorkerReport report = {.kind = WORKER_REPORT_DONE};
        int link_fd = -EBADF, fds[] = {socket_fd, job->fuse_fd, job->ops_fd};

        for (size_t i = 0; i < ELEMENTSOF(fds) && report.error >= 0; i++) { /* out of the way of the number */
                fds[i] = RET_NERRNO(fcntl(fds[i], F_DUPFD_CLOEXEC, CLEAR_OF_NUMBERS));
                report.error = MIN_OF(fds[i], 0);
        }
        if (report.error >= 0)
                report.error = attach(fds[1], fds[2], &link_fd);
        (void) fd_send(fds[0], &report, sizeof report, &link_fd, report.error < 0 ? 0 : 1); /* without a socket the broker sees the end of file */
}
