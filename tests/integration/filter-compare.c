/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* filter-compare BROKER-PID MANAGER-PID: compares the running processes with the arrays that they were made from.
 *
 * Seccomp programs are read back from the kernel with PTRACE_SECCOMP_GET_FILTER and compared instruction by instruction;
 * the number of filters must be just ours more than this process has. Capabilities come from /proc/PID/status. */

#include <linux/filter.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "broker/privilege.h"
#include "manager/filter.h"

#ifndef PTRACE_SECCOMP_GET_FILTER
#define PTRACE_SECCOMP_GET_FILTER 0x420c /* Linux 4.4 */
#endif
#define PROGRAM_MAX 4096

typedef struct Program {
        struct sock_filter instructions[PROGRAM_MAX];
        size_t n;
} Program;

static int failures;

static void check(bool good, const char *what) {
        printf("%s %s\n", good ? "ok  " : "FAIL", what);
        failures += !good;
}

static int read_exported(int (*export)(int fd), Program *ret) {
        _cleanup_fd_ int fd = memfd_create("filter", MFD_CLOEXEC);
        ssize_t n;

        if (fd < 0 || export(fd) < 0)
                return -EIO;
        n = pread(fd, ret->instructions, sizeof ret->instructions, 0);
        if (n <= 0)
                return -EIO;
        ret->n = (size_t) n / sizeof ret->instructions[0];
        return 0;
}

static bool read_status(pid_t pid, const char *key, int base, unsigned long long *ret) {
        char path[64], line[256];
        bool found = false;

        (void) snprintf(path, sizeof path, "/proc/%d/status", pid);
        FILE *file = fopen(path, "re");
        if (!file)
                return false;
        while (!found && fgets(line, sizeof line, file))
                if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':') {
                        *ret = strtoull(line + strlen(key) + 1, NULL, base);
                        found = true;
                }
        (void) fclose(file);
        return found;
}

/* Whether the newest filter of the process is this program. */
static bool has_filter(pid_t pid, const Program *want, unsigned long long newest) {
        static Program have;
        long n;
        int status;

        if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0 ||
            waitpid(pid, &status, __WALL) != pid) {
                perror("ptrace");
                return false;
        }
        n = ptrace((enum __ptrace_request) PTRACE_SECCOMP_GET_FILTER, pid, (void *) (uintptr_t) newest, have.instructions);
        if (n < 0)
                perror("PTRACE_SECCOMP_GET_FILTER");
        (void) ptrace(PTRACE_DETACH, pid, NULL, NULL);
        return n == (long) want->n && memcmp(have.instructions, want->instructions, want->n * sizeof want->instructions[0]) == 0;
}

static void check_filter(const char *name, pid_t pid, int (*export)(int fd), unsigned long long own_filters) {
        static Program want;
        unsigned long long n = 0, mode = 0, inherited = 0;
        char text[128];

        (void) read_status(getpid(), "Seccomp_filters", 10, &inherited);
        (void) snprintf(text, sizeof text, "%s: seccomp mode 2", name);
        check(read_status(pid, "Seccomp", 10, &mode) && mode == 2, text);
        (void) snprintf(text, sizeof text, "%s: %llu filters of its own", name, own_filters);
        check(read_status(pid, "Seccomp_filters", 10, &n) && n == inherited + own_filters, text);
        (void) snprintf(text, sizeof text, "%s: the newest filter is what its array says", name);
        check(read_exported(export, &want) == 0 && has_filter(pid, &want, n - 1), text);
        unsigned long long no_new_privs = 0;
        (void) snprintf(text, sizeof text, "%s: no_new_privs", name);
        check(read_status(pid, "NoNewPrivs", 10, &no_new_privs) && no_new_privs == 1, text);
}

static void check_set(const char *name, pid_t pid, const char *key, unsigned long long want) {
        unsigned long long have = ~0ULL;
        char text[160];

        (void) read_status(pid, key, 16, &have);
        (void) snprintf(text, sizeof text, "%s: %s is %llx, expected %llx", name, key, have, want);
        check(have == want, text);
}

int main(int argc, char **argv) {
        unsigned long long kept = 0, bounding = 0, permitted = 0;

        if (argc != 3)
                return 2;
        pid_t broker = atoi(argv[1]), manager = atoi(argv[2]);
        for (size_t i = 0; i < n_broker_capabilities; i++)
                if (broker_keeps(broker_capabilities[i]))
                        kept |= 1ULL << broker_capabilities[i];
        if (!read_status(getpid(), "CapBnd", 16, &bounding) || !read_status(getpid(), "CapPrm", 16, &permitted))
                return 1;

        check(n_broker_capabilities > 0 && n_broker_capabilities <= 13, "broker: the array is short");
        check_set("broker", broker, "CapBnd", kept & bounding);
        check_set("broker", broker, "CapPrm", kept & permitted);
        check_set("broker", broker, "CapEff", kept & permitted);
        check_set("broker", broker, "CapInh", 0);
        check_set("broker", broker, "CapAmb", 0);
        check_filter("broker", broker, broker_filter_export, 1);
        static const char *const sets[] = {"CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"};
        for (size_t i = 0; i < ELEMENTSOF(sets); i++)
                check_set("manager", manager, sets[i], 0);
        check_filter("manager", manager, manager_filter_export, 2);
        return failures == 0 ? 0 : 1;
}
