/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A server that gets its device as go-fuse and others do: it runs fusermount3, found by PATH, with one end of a socket pair, and
 * receives the descriptor at the other. runs-fusermount classic|sync|other MOUNTPOINT; "other" tries to run something else. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "mini-fuse.h"

static int run_fusermount(const char *mountpoint, bool two_phases, int *ret_fd) {
        char number[16], byte = 0;
        int pair[2], status;
        int32_t answer = -1;
        size_t n_fds;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
                return -errno;
        (void) snprintf(number, sizeof number, "%d", pair[1]);
        pid = fork();
        if (pid == 0) {
                (void) setenv("_FUSE_COMMFD", number, 1);
                (void) close(pair[0]);
                if (two_phases)
                        (void) execlp("fusermount3", "fusermount3", "--sync-init", "-o", "rw", "--", mountpoint, NULL);
                else
                        (void) execlp("fusermount3", "fusermount3", "-o", "rw,fsname=x", "--", mountpoint, NULL);
                perror("fusermount3");
                _exit(1);
        }
        (void) close(pair[1]);
        if (fd_receive(pair[0], &byte, 1, ret_fd, 1, &n_fds, 0) != 1 || n_fds != 1)
                return -ENXIO;
        if (two_phases && (write(pair[0], "x", 1) != 1 || read(pair[0], &answer, sizeof answer) != sizeof answer || answer != 0))
                return -EPROTO;
        (void) close(pair[0]);
        if (waitpid(pid, &status, 0) != pid || status != 0)
                return -ECHILD;
        return 0;
}

int main(int argc, char **argv) {
        int fd = -EBADF, r;

        if (argc != 3)
                return 2;
        if (strcmp(argv[1], "other") == 0) {
                (void) execl("/bin/sh", "sh", "-c", "exit 0", NULL);
                perror("sh");
                return 9;
        }
        r = run_fusermount(argv[2], strcmp(argv[1], "sync") == 0, &fd);
        if (r < 0) {
                (void) fprintf(stderr, "no device: %s\n", strerror(-r));
                return 1;
        }
        r = mini_fuse_serve(fd, MINI_GOOD);
        /* what such programs do at their end */
        (void) execlp("fusermount3", "fusermount3", "-u", argv[2], NULL);
        return r;
}
