/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mapping program for a mount: the worker opens what the policy names, and starts fused-program as nobody with CAP_BPF and CAP_PERFMON,
 * which vets it for the sizes of this mount's devices, loads it, and sends back descriptors. The worker looks at no byte of the object. */

#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "broker/worker.h"
#include "program/report.h"

#define ARGUMENTS_MAX (20 + 2 * (POLICY_SLOTS_MAX + CHANNEL_TABLES_MAX))

static int refuse(WorkerReport *report, const char *rule, const char *text) {
        (void) snprintf(report->rule, sizeof report->rule, "%s", rule);
        (void) snprintf(report->text, sizeof report->text, "%s", text);
        return -EPERM;
}

/* An administrator's file, by the policy's absolute path: root's, and nobody else's to change. */
static int open_listed(const char *path, WorkerReport *report, int *ret_fd) {
        _cleanup_fd_ int fd = -EBADF;
        struct stat st;

        fd = RET_NERRNO(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
        if (fd < 0)
                return refuse(report, "object", fd == -ENOENT ? "the file that the policy names is not there"
                                                              : "the file that the policy names cannot be opened");
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_uid != 0 || st.st_mode & (S_IWGRP | S_IWOTH))
                return refuse(report, "object", "the file that the policy names is not root's alone to change");
        *ret_fd = TAKE_FD(fd);
        return 0;
}

static uint64_t size_of(int fd) { /* 0: not known */
        uint64_t size = 0;

        return fd_size(fd, &size) < 0 ? 0 : size;
}

/* ---- the child ------------------------------------------------------------------------------------------------------ */

static int limit(void) {
        static const struct {
                __rlimit_resource_t resource;
                rlim_t value;
        } limits[] = {
                {RLIMIT_CPU, 20}, {RLIMIT_NOFILE, 64}, {RLIMIT_FSIZE, 0}, {RLIMIT_CORE, 0},
#ifndef __SANITIZE_ADDRESS__ /* shadow memory counts as data */
                {RLIMIT_DATA, 512 << 20},
#endif
        };

        for (size_t i = 0; i < ELEMENTSOF(limits); i++) {
                const struct rlimit l = {limits[i].value, limits[i].value};
                if (setrlimit(limits[i].resource, &l) < 0)
                        return -errno;
        }
        return 0;
}

/* fds: object, report, signature, key, to become 3 to 6. */
static _noreturn_ void run_child(const char *directory, char **arguments, const int fds[4]) {
        static const cap_value_t kept[] = {CAP_BPF, CAP_PERFMON};
        char *const environment[] = {(char *) "LANG=C.UTF-8", NULL};
        char program[PATH_MAX];
        int copies[4];

        (void) snprintf(program, sizeof program, "%s/fused-program", directory);
        for (size_t i = 0; i < 4; i++) { /* above the numbers that they are to have */
                copies[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 16);
                if (copies[i] < 0)
                        _exit(1);
        }
        for (int i = 0; i < 4; i++)
                if (dup3(copies[i], 3 + i, 0) < 0)
                        _exit(1);
        if (syscall(SYS_close_range, 7, ~0U, 0U) < 0 || limit() < 0 || worker_become_nobody(kept, ELEMENTSOF(kept)) < 0 ||
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                _exit(1);
        (void) execve(program, arguments, environment);
        _exit(1);
}

/* ---- the mount's other programs --------------------------------------------------------------------------------------- */

/* Whoever still holds a table, in whatever way, keeps its memory in use. The kernel uses a number again only after all others. */
static bool is_there(const ProgramInstance *instance) {
        for (size_t i = 0; i < ELEMENTSOF(instance->table_ids); i++) {
                union bpf_attr attr = {.map_id = instance->table_ids[i]};
                if (attr.map_id == 0)
                        continue;
                int fd = RET_NERRNO((int) syscall(SYS_bpf, BPF_MAP_GET_FD_BY_ID, &attr, sizeof attr));
                if (fd != -ENOENT) {
                        (void) fd_close(fd);
                        return true;
                }
        }
        return false;
}

/* What is left for another one. -ENFILE: there are enough. */
static int count_others(const WorkerJob *job, WorkerReport *report, uint64_t *ret_quota) {
        uint64_t used = 0;
        unsigned n = 0;

        for (unsigned i = 0; i < PROGRAM_INSTANCES_MAX; i++) {
                const ProgramInstance *instance = &job->instances[i];
                if (instance->mib == 0)
                        continue;
                if (is_there(instance)) {
                        used += instance->mib;
                        n++;
                } else
                        report->gone |= 1U << i;
        }
        *ret_quota = job->max_mib == UINT32_MAX ? UINT64_MAX : job->max_mib > used ? (job->max_mib - used) << 20 : 0;
        return n < PROGRAM_INSTANCES_MAX ? 0 : -ENFILE;
}

/* ---- the worker ----------------------------------------------------------------------------------------------------- */

typedef struct Words {
        char *list[ARGUMENTS_MAX + 1];
        char memory[4096];
        size_t n, used;
} Words;

_printf_(2, 3) static void add_word(Words *words, const char *format, ...) {
        size_t room = sizeof words->memory - words->used;
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vsnprintf(words->memory + words->used, room, format, arguments);
        va_end(arguments);
        assert(n >= 0 && (size_t) n < room && words->n < ARGUMENTS_MAX);
        words->list[words->n++] = words->memory + words->used;
        words->used += (size_t) n + 1;
}

static void make_words(const WorkerJob *job, const PolicyProgram *program, uint64_t quota, Words *words) {
        add_word(words, "fused-program");
        add_word(words, "load");
        if (program->has_digest) {
                char hex[65];
                for (size_t i = 0; i < sizeof program->digest; i++)
                        (void) snprintf(hex + 2 * i, 3, "%02x", program->digest[i]);
                add_word(words, "--sha256");
                add_word(words, "%s", hex);
        }
        if (program->signature)
                add_word(words, "--signed");
        add_word(words, "--memory");
        add_word(words, "%llu", (unsigned long long) program->max_memory);
        add_word(words, "--quota");
        add_word(words, "%llu", (unsigned long long) quota);
        if (job->type->iomap)
                add_word(words, "--ops");
        for (size_t i = 0; i < POLICY_SLOTS_MAX; i++) {
                uint64_t size = job->slot_fds[i] >= 0 ? size_of(job->slot_fds[i]) : 0;
                if (size == 0)
                        continue;
                add_word(words, "--device");
                add_word(words, "%llu", (unsigned long long) size);
        }
        for (uint32_t i = 0; i < job->n_tables; i++) {
                add_word(words, "--table");
                add_word(words, "%s=%u", job->tables[i].name, job->tables[i].n_entries);
        }
}

static int open_files(const WorkerJob *job, const PolicyProgram *program, WorkerReport *report, int fds[4]) {
        int r;

        r = open_listed(policy_string(job->table, program->object), report, &fds[0]);
        if (r >= 0 && program->signature)
                r = open_listed(policy_string(job->table, program->signature), report, &fds[2]);
        if (r >= 0 && program->signature)
                r = open_listed(policy_string(job->table, program->public_key), report, &fds[3]);
        for (size_t i = 2; i < 4 && r >= 0; i++)
                if (fds[i] < 0)
                        fds[i] = RET_NERRNO(openat(job->host->dev_fd, "null", O_RDONLY | O_CLOEXEC));
        return r < 0 ? r : fds[2] < 0 ? fds[2] : fds[3] < 0 ? fds[3] : 0;
}

_Static_assert(PROGRAM_FDS_MAX <= WORKER_FDS_MAX, "what comes from fused-program goes on");

static int receive(int fd, WorkerReport *report, int *fds, size_t *n_fds) {
        ProgramReport message;
        ssize_t n;

        n = fd_receive(fd, &message, sizeof message, fds, PROGRAM_FDS_MAX, n_fds, 0);
        if (n != (ssize_t) sizeof message || message.magic != PROGRAM_REPORT_MAGIC || message.n_tables > CHANNEL_TABLES_MAX || message.error > 0 ||
            message.attachable > 1 || *n_fds != (message.error < 0 ? 0 : 1 + (size_t) message.n_tables + message.attachable)) {
                fd_close_many(fds, *n_fds);
                *n_fds = 0;
                return n < 0 ? (int) n : -ECHILD; /* it has died */
        }
        message.rule[sizeof message.rule - 1] = message.text[sizeof message.text - 1] = 0;
        memcpy(report->rule, message.rule, sizeof report->rule);
        memcpy(report->text, message.text, sizeof report->text);
        memcpy(report->tables, message.tables, sizeof report->tables);
        report->n_tables = message.n_tables;
        report->attachable = message.attachable;
        report->instance.mib = mib_of(message.bytes);
        memcpy(report->instance.table_ids, message.table_ids, sizeof report->instance.table_ids);
        return message.error;
}

int worker_program(const WorkerJob *job, WorkerReport *report, int *fds, size_t *n_fds) {
        const PolicyProgram *program = policy_program_of_type(job->table, job->type, job->program_name);
        int given[4] = {-EBADF, -EBADF, -EBADF, -EBADF}, pair[2], r;
        _cleanup_fd_ int ours = -EBADF;
        Words words = {0};
        uint64_t quota;
        pid_t pid;

        *n_fds = 0;
        if (!program)
                return -ENOENT;
        r = count_others(job, report, &quota);
        if (r >= 0)
                r = open_files(job, program, report, given);
        if (r < 0)
                return r;
        r = RET_NERRNO(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
        if (r < 0)
                return r;
        ours = pair[0];
        given[1] = pair[1];
        make_words(job, program, quota, &words);
        pid = RET_NERRNO(fork());
        if (pid < 0)
                return pid;
        if (pid == 0)
                run_child(job->libexec_directory, words.list, given);
        fd_close_many(given, 4); /* then the end of the child is the end of the socket */
        return receive(ours, report, fds, n_fds);
}
