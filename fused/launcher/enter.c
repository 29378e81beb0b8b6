/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-enter: the first program of a fuse-service-TYPE@ unit. systemd has made its sandbox; this adds what systemd has no
 * option for (the exact filter, Landlock), arranges the descriptors that the broker sends, and executes the server or
 * its agent. It has no privilege of any kind. See unit-order.h.
 *
 *   fused-enter PROGRAM [ARGUMENT...]     what to execute if another mount helper is at the other end of descriptor 3
 */

#include <fcntl.h>
#include <linux/filter.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/spec.h"
#include "base/fd.h"
#include "launcher/launcher.h"
#include "launcher/unit-order.h"

#define CONNECTION_FD 3

typedef struct Entry {
        UnitOrder order;
        const AgentSpec *spec; /* mapped */
        int spec_fd, fuse_fd, agent_fd;
        int slots[UNIT_SLOTS_MAX]; /* -EBADF: empty */
        LandlockTree trees[UNIT_SLOTS_MAX];
        size_t n_trees;
        int program_fd;
} Entry;

static int fail(const char *what, int error) {
        (void) fprintf(stderr, "fused-enter: cannot %s: %s\n", what, strerror(-error));
        return 127;
}

/* libfuse's hello stays in the socket: it is for the server. Returns > 0 if it is that, 0 if it is fused. */
static int look_who_asks(void) {
        uint32_t magic = 0;
        ssize_t n;

        n = RET_NERRNO(recv(CONNECTION_FD, &magic, sizeof magic, MSG_PEEK)); /* bounded by the other end: it speaks or hangs up */
        if (n < 0)
                return (int) n;
        if (n < (ssize_t) sizeof magic)
                return -ECONNRESET;
        return magic != UNIT_ASK_MAGIC;
}

static int take_order(Entry *entry) {
        int fds[UNIT_ORDER_FDS_MAX], next = 0;
        UnitHello hello = {.magic = UNIT_HELLO_MAGIC};
        UnitOrder *order = &entry->order;
        size_t n_fds = 0;
        UnitAsk ask;
        ssize_t n;
        int r;

        n = fd_receive(CONNECTION_FD, &ask, sizeof ask, NULL, 0, NULL, 0);
        if (n != sizeof ask)
                return n < 0 ? (int) n : -EBADMSG;
        r = fd_send(CONNECTION_FD, &hello, sizeof hello, NULL, 0);
        if (r < 0)
                return r;
        n = fd_receive(CONNECTION_FD, order, sizeof *order, fds, ELEMENTSOF(fds), &n_fds, 0);
        if (n == 0)
                return -ECANCELED; /* it was started ahead, and nobody needed it */
        if (n != sizeof *order || order->magic != UNIT_ORDER_MAGIC || order->n_slots > UNIT_SLOTS_MAX)
                return n < 0 ? (int) n : -EBADMSG;
        if (n_fds != 1 + 2 * (order->with_agent != 0) + (size_t) __builtin_popcount(order->present & ((1U << order->n_slots) - 1)))
                return -EBADMSG;
        entry->spec_fd = fds[next++];
        if (order->with_agent) {
                entry->fuse_fd = fds[next++];
                entry->agent_fd = fds[next++];
        }
        for (uint32_t i = 0; i < order->n_slots; i++)
                entry->slots[i] = order->present >> i & 1 ? fds[next++] : -EBADF;
        return 0;
}

static int map_spec(Entry *entry) {
        struct stat st;
        AgentSpec *spec;

        if (fstat(entry->spec_fd, &st) < 0)
                return -errno;
        if (st.st_size < (off_t) sizeof *spec || st.st_size > AGENT_SPEC_SIZE_MAX)
                return -EBADMSG;
        spec = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, entry->spec_fd, 0);
        if (spec == MAP_FAILED)
                return -errno;
        entry->spec = spec;
        if (spec->magic != AGENT_SPEC_MAGIC || spec->n_arguments < 1 || spec->n_arguments > AGENT_ARGUMENTS_MAX || spec->n_filter > BPF_MAXINSNS)
                return -EBADMSG;
        return 0;
}

/* 0-2 are the unit's. 3 is the connection, or the FUSE device for an agent, which also gets its spec and the slots; a
 * server with a connection asks for those there. What stands behind goes at exec. */
static int place(Entry *entry) {
        int fds[AGENT_FIRST_SLOT_FD + 2 * UNIT_SLOTS_MAX + 1], r;
        bool with_agent = entry->order.with_agent;
        size_t n = 0, n_inherited;

        for (; n < CONNECTION_FD; n++)
                fds[n] = (int) n;
        fds[n++] = with_agent ? entry->fuse_fd : CONNECTION_FD;
        if (with_agent)
                fds[n++] = entry->spec_fd;
        n_inherited = n;
        for (uint32_t i = 0; i < entry->order.n_slots; i++) {
                bool tree = entry->order.trees >> i & 1;
                if (entry->slots[i] < 0 || (!with_agent && !tree))
                        continue;
                if (tree)
                        entry->trees[entry->n_trees++] = (LandlockTree){.fd = (int) n, .writable = entry->order.writable >> i & 1};
                fds[n++] = entry->slots[i];
        }
        if (with_agent)
                n_inherited = n;
        r = with_agent ? entry->agent_fd : RET_NERRNO(open((const char *) entry->spec + entry->spec->arguments[0], O_PATH | O_CLOEXEC));
        if (r < 0)
                return r;
        entry->program_fd = (int) n;
        fds[n++] = r;
        r = child_place_fds(fds, n);
        for (size_t i = n_inherited; r >= 0 && i < n; i++)
                r = fd_set_cloexec((int) i, true);
        return r;
}

static int landlock(Entry *entry) {
        return landlock_confine(entry->program_fd, entry->trees, entry->n_trees, /* isolate= */ true,
                                (const char *) entry->spec + entry->spec->arguments[0]);
}

/* The agent installs the server's filter itself, to get the listener, and one of its own. */
static int filter(Entry *entry) {
        return entry->order.with_agent ? 0 : confine_filter((const struct sock_filter *) (entry->spec + 1), entry->spec->n_filter);
}

static int execute(Entry *entry) {
        static const char *const agent_arguments[] = {"fused-agent", NULL};
        char *words[AGENT_ARGUMENTS_MAX + 1] = {NULL};
        char credentials[256];
        const char *environment[8];
        size_t n = 0;

        environment[n++] = entry->order.with_agent ? "PATH=" FUSED_SANDBOX_BIN ":/usr/bin:/bin" : "PATH=/usr/bin:/bin";
        environment[n++] = "LANG=C.UTF-8";
        if (!entry->order.with_agent) {
                environment[n++] = "LISTEN_FDS=1";
                static char pid[32];
                (void) snprintf(pid, sizeof pid, "LISTEN_PID=%d", getpid());
                environment[n++] = pid;
        }
        if (getenv("CREDENTIALS_DIRECTORY") &&
            snprintf(credentials, sizeof credentials, "CREDENTIALS_DIRECTORY=%s", getenv("CREDENTIALS_DIRECTORY")) < (int) sizeof credentials)
                environment[n++] = credentials;
        environment[n] = NULL;
        for (uint32_t i = 0; i < entry->spec->n_arguments; i++)
                words[i] = (char *) entry->spec + entry->spec->arguments[i];
        return RET_NERRNO((int) syscall(SYS_execveat, entry->program_fd, "", entry->order.with_agent ? (const void *) agent_arguments : words,
                                        environment, AT_EMPTY_PATH));
}

static const struct {
        const char *name;
        int (*run)(Entry *entry);
} steps[] = {
        {"get an order", take_order},
        {"read the order", map_spec},
        {"arrange descriptors and open the program", place},
        {"enter the Landlock domain", landlock},
        {"install the system call filter", filter},
        {"execute the program", execute},
};

int main(int argc, char **argv) {
        Entry entry = {.spec_fd = -EBADF, .fuse_fd = -EBADF, .agent_fd = -EBADF, .program_fd = -EBADF};
        int r;

        if (argc < 2) {
                (void) fputs("fused-enter: to be started by a unit; see fused-units(7)\n", stderr);
                return 2;
        }
        r = look_who_asks();
        if (r < 0)
                return fail("hear who asks", r);
        if (r > 0) {
                (void) execv(argv[1], argv + 1);
                return fail("execute the program", -errno);
        }
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                r = steps[i].run(&entry);
                if (r == -ECANCELED)
                        return 0;
                if (r < 0)
                        return fail(steps[i].name, r);
        }
        return 127;
}
