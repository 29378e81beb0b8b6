/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Gives the order to a fuse-service-TYPE@ unit whose program is the list of escape attempts, as the broker would, and waits for
 * its end. What it says is in its journal. Usage: unit-escape TYPE PROGRAM service|fd ABSTRACT-SOCKET-NAME; FUSED_AGENT,
 * FUSED_POLICY as for test-escape. */

#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "launcher/unit-order.h"

#define END_MSEC 60000

/* Somebody outside who must not be reached. */
static void listen_abstract(const char *name) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s", name);
        if (fd < 0 || bind(fd, (struct sockaddr *) &address, (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(name) + 2)) < 0 ||
            listen(fd, 5) < 0)
                err(1, "abstract socket");
}

static int connect_to_unit(const char *type) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        const UnitAsk ask = {.magic = UNIT_ASK_MAGIC};
        UnitHello hello;
        int fd, r;

        (void) snprintf(address.sun_path, sizeof address.sun_path, "/run/filesystems/%s", type);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof address) < 0)
                err(1, "%s", address.sun_path);
        r = fd_send(fd, &ask, sizeof ask, NULL, 0);
        if (r < 0 || fd_receive(fd, &hello, sizeof hello, NULL, 0, NULL, 0) != sizeof hello || hello.magic != UNIT_HELLO_MAGIC)
                errx(1, "the unit does not say hello");
        return fd;
}

int main(int argc, char **argv) {
        PolicyHandOver hand_over;
        HarnessRun run;
        int fd, r;

        if (argc != 5)
                errx(2, "usage: unit-escape TYPE PROGRAM service|fd NAME");
        harness_need_root();
        hand_over = strcmp(argv[3], "fd") == 0 ? POLICY_HAND_OVER_FD : POLICY_HAND_OVER_SERVICE;
        listen_abstract(argv[4]);
        harness_begin(&run, argv[2], hand_over, HARNESS_FILTER_SHIPPED);
        harness_slot(&run, "empty", -EBADF, false, false);
        harness_argument(&run, argv[4]);
        if (run.channel_fd < 0)
                run.channel_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        fd = connect_to_unit(argv[1]);
        SpawnRequest request = {
                .table = &run.table->head,
                .type = &run.table->type,
                .channel_fd = run.channel_fd,
                .agent_fd = run.agent_fd,
                .slots = run.slots,
                .n_slots = run.n_slots,
                .server_options = "",
        };
        r = unit_order_send(fd, &request, hand_over == POLICY_HAND_OVER_FD);
        if (r < 0)
                errx(1, "the order cannot be given: %s", strerror(-r));
        struct pollfd item = {.fd = fd, .events = POLLIN};
        if (poll(&item, 1, END_MSEC) <= 0) /* end of file: it has ended, or has given the connection up for the agent */
                errx(1, "it has not ended");
        harness_end(&run);
        return 0;
}
