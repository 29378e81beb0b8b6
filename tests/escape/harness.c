/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts a program through spawn_server() with a policy table made by hand. See harness.h. */

#include "harness.h"

#include <err.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness-filter.h"
#include "policy/notified.h"

#ifndef LOADER
#define LOADER "/lib64/ld-linux-x86-64.so.2"
#endif

void harness_skip(const char *why) {
        printf("skipped: %s\n", why);
        exit(getenv("FUSED_MUST_WORK") ? EXIT_FAILURE : HARNESS_SKIP);
}

void harness_need_root(void) {
        if (geteuid() != 0)
                harness_skip("needs root");
}

static uint32_t add_string(HandTable *table, const char *text) {
        uint32_t at = table->strings_used, length = (uint32_t) strlen(text) + 1;

        if (length > sizeof table->strings - at)
                errx(1, "harness: too many strings");
        memcpy(table->strings + at, text, length);
        table->strings_used += length;
        return at;
}

void harness_file(HarnessRun *run, const char *path) {
        HandTable *table = run->table;

        if (table->type.files.count == ELEMENTSOF(table->files))
                errx(1, "harness: too many files");
        table->files[table->type.files.count++].path = add_string(table, path);
}

void harness_argument(HarnessRun *run, const char *word) {
        HandTable *table = run->table;

        if (table->type.arguments.count == ELEMENTSOF(table->arguments))
                errx(1, "harness: too many arguments");
        table->arguments[table->type.arguments.count++] = add_string(table, word);
}

void harness_slot(HarnessRun *run, const char *name, int fd, bool writable, bool tree) {
        HandTable *table = run->table;
        char path[64];
        PolicySlot *slot;

        if (run->n_slots == ELEMENTSOF(run->slots))
                errx(1, "harness: too many slots");
        slot = &table->slots[table->type.slots.count++];
        (void) snprintf(slot->name, sizeof slot->name, "%s", name);
        (void) snprintf(path, sizeof path, "/slots/%s", name);
        slot->path = add_string(table, path);
        run->slots[run->n_slots++] =
                (SpawnSlot){.path = table->strings + slot->path, .fd = fd, .writable = writable, .tree = tree};
}

/* The dynamic loader itself says what it would load. */
static void add_libraries(HarnessRun *run, const char *program) {
        char command[4200], line[4200];
        FILE *list;

        (void) snprintf(command, sizeof command, LOADER " --list '%s' 2>/dev/null", program);
        list = popen(command, "re");
        if (!list)
                err(1, "harness: popen");
        harness_file(run, LOADER);
        while (fgets(line, sizeof line, list)) {
                char *path = strchr(line, '/');
                if (path && strncmp(path, LOADER, strlen(LOADER)) != 0) {
                        path[strcspn(path, " \n")] = 0;
                        harness_file(run, path);
                }
        }
        (void) pclose(list); /* a static program has no list: status 1 */
}

/* Everything is allowed; with an agent the notified calls are notified. */
static uint32_t open_filter(struct sock_filter *code, PolicyHandOver hand_over) {
        static const uint32_t notified[] = {
#define NUMBER(name, directory, path) __NR_##name,
                NOTIFIED_SYSCALLS(NUMBER)
#undef NUMBER
        };
        uint32_t n = 0;

        code[n++] = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        for (size_t i = 0; hand_over == POLICY_HAND_OVER_FD && i < ELEMENTSOF(notified); i++) {
                code[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, notified[i], 0, 1);
                code[n++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
        }
        code[n++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        return n;
}

static PolicyArray array_at(const HandTable *table, const void *rows, uint32_t count) {
        return (PolicyArray){.offset = (uint32_t) ((const char *) rows - (const char *) table), .count = count};
}

void harness_begin(HarnessRun *run, const char *program, PolicyHandOver hand_over, HarnessFilter filter) {
        const char *agent = getenv("FUSED_AGENT");
        HandTable *table = calloc(1, sizeof *table);
        int pair[2];

        if (!table)
                err(1, "harness");
        *run = (HarnessRun){.table = table, .root_ns_fd = -EBADF, .channel_fd = -EBADF, .far_channel_fd = -EBADF,
                            .output_fd = -EBADF, .pidfd = -EBADF, .server_options = ""};
        table->head.magic = POLICY_TABLE_MAGIC;
        table->head.size = sizeof *table;
        table->head.types = array_at(table, &table->type, 1);
        table->head.arguments = array_at(table, table->arguments, ELEMENTSOF(table->arguments));
        table->head.slots = array_at(table, table->slots, ELEMENTSOF(table->slots));
        table->head.files = array_at(table, table->files, ELEMENTSOF(table->files));
        table->head.filters = array_at(table, table->filters, ELEMENTSOF(table->filters));
        table->head.strings = array_at(table, table->strings, sizeof table->strings);
        table->strings_used = 1;
        (void) snprintf(table->type.name, sizeof table->type.name, "test");
        table->type.hand_over = hand_over;
        table->type.program = add_string(table, program);
        table->type.max_open_files = 64;
        table->type.max_processes = 32;
        table->type.filter.count = filter == HARNESS_FILTER_OPEN ? open_filter(table->filters, hand_over) :
                                                                   shipped_filter(table->filters, hand_over);
        harness_file(run, program);
        add_libraries(run, program);

        run->host_ns_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        run->agent_fd = agent ? open(agent, O_PATH | O_CLOEXEC) : -EBADF;
        if (run->host_ns_fd < 0 || (hand_over == POLICY_HAND_OVER_FD && run->agent_fd < 0))
                errx(1, "harness: FUSED_AGENT has to name the agent");
        if (hand_over == POLICY_HAND_OVER_SERVICE) {
                if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                        err(1, "harness: socketpair");
                run->channel_fd = pair[0];
                run->far_channel_fd = pair[1];
        }
}

static void build_root(HarnessRun *run) {
        const HandTable *table = run->table;
        const char *files[ELEMENTSOF(table->files)], *slots[POLICY_SLOTS_MAX];
        int r;

        for (uint32_t i = 0; i < table->type.files.count; i++)
                files[i] = table->strings + table->files[i].path;
        for (size_t i = 0; i < run->n_slots; i++)
                slots[i] = run->slots[i].path;
        r = sandbox_root_new(files, table->type.files.count, slots, run->n_slots, &run->root_ns_fd);
        if (r < 0)
                errx(1, "harness: sandbox_root_new: %s", strerror(-r));
}

void harness_start(HarnessRun *run) {
        uint32_t stage = UINT32_MAX;
        int pair[2], r;

        if (run->root_ns_fd < 0)
                build_root(run);
        if (run->channel_fd < 0) { /* hand-over fd, and the test has no mount: any descriptor will do */
                run->channel_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
                if (run->channel_fd < 0)
                        err(1, "harness: /dev/null");
        }
        if (pipe2(pair, O_CLOEXEC) < 0)
                err(1, "harness: pipe2");
        run->output_fd = pair[0];
        SpawnRequest request = {
                .table = &run->table->head,
                .type = &run->table->type,
                .root_ns_fd = run->root_ns_fd,
                .uid = HARNESS_UID,
                .host_ns_fd = run->host_ns_fd,
                .channel_fd = run->channel_fd,
                .stderr_fd = pair[1],
                .agent_fd = run->agent_fd,
                .slots = run->slots,
                .n_slots = run->n_slots,
                .server_options = run->server_options,
                .read_only = run->read_only,
                .cgroup = run->cgroup,
        };
        r = spawn_server(&request, &run->pid, &run->pidfd, &stage);
        (void) close(pair[1]);
        if (r < 0)
                errx(1, "harness: spawn_server: %s at stage %u", strerror(-r), stage);
        run->channel_fd = fd_close(run->channel_fd);
}

static int64_t left_msec(const struct timespec *end) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (end->tv_sec - now.tv_sec) * 1000 + (end->tv_nsec - now.tv_nsec) / 1000000;
}

int harness_finish(HarnessRun *run, char *output, size_t size, unsigned seconds) {
        struct timespec end;
        size_t have = 0;
        int status = -1;

        (void) clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += seconds;
        for (;;) {
                struct pollfd item = {.fd = run->output_fd, .events = POLLIN};
                int64_t left = left_msec(&end);
                if (left <= 0 || poll(&item, 1, (int) left) <= 0) {
                        output[have] = 0;
                        (void) kill(run->pid, SIGKILL);
                        (void) waitpid(run->pid, NULL, 0);
                        run->pid = 0;
                        errx(1, "harness: still running after %u s; it said:\n%s", seconds, output);
                }
                ssize_t n = read(run->output_fd, output + have, size - 1 - have);
                if (n <= 0 || have + (size_t) n >= size - 1) {
                        have += n > 0 ? (size_t) n : 0;
                        break;
                }
                have += (size_t) n;
        }
        output[have] = 0;
        if (waitpid(run->pid, &status, 0) != run->pid) /* its output has ended with it */
                err(1, "harness: waitpid");
        run->pid = 0;
        return status;
}

void harness_end(HarnessRun *run) {
        if (run->pid > 0) {
                (void) kill(run->pid, SIGKILL);
                (void) waitpid(run->pid, NULL, 0);
        }
        int *fds[] = {&run->root_ns_fd, &run->host_ns_fd, &run->agent_fd, &run->channel_fd, &run->far_channel_fd,
                      &run->output_fd, &run->pidfd};
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                *fds[i] = fd_close(*fds[i]);
        free(run->table);
        *run = (HarnessRun){0};
}
