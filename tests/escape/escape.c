/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A "server" that tries everything it must not be able to do, and the neighbours that it must: one line for each row of
 * rows.h, "NAME: allowed" or "NAME: denied ERRNO", then "end". Static, so that it needs no library. Arguments: the name
 * of an abstract socket that somebody outside listens on. */

#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macro.h"
#include "rows.h"

const char *escape_program;
const char *escape_abstract;

static const struct {
        const char *name;
        int (*act)(void);
} rows[] = {
#define ROW(name, shipped, open) {#name, act_##name},
        ESCAPE_ROWS(ROW)
#undef ROW
};

static void run_row(size_t i) {
        int status, r;
        pid_t pid;

        (void) fflush(stdout);
        pid = fork();
        if (pid == 0) {
                (void) alarm(5); /* ends it if it hangs */
                r = rows[i].act();
                if (r < 0)
                        printf("%s: denied %s\n", rows[i].name, strerrorname_np(-r) ?: "?");
                else
                        printf("%s: allowed\n", rows[i].name);
                (void) fflush(stdout);
                _exit(0);
        }
        if (pid < 0)
                printf("%s: fork failed: %m\n", rows[i].name);
        else if (waitpid(pid, &status, 0) != pid)
                printf("%s: wait failed: %m\n", rows[i].name);
        else if (WIFSIGNALED(status))
                printf("%s: %s\n", rows[i].name, WTERMSIG(status) == SIGSYS ? "denied SIGSYS" : "killed");
}

/* Who we are, in the words of the kernel; -1 where the filter does not let one ask. */
static void print_identity(void) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{~0U, ~0U, ~0U}, {~0U, ~0U, ~0U}};
        int bounding = 0;

        (void) syscall(SYS_capget, &header, data);
        for (unsigned long capability = 0; capability < 64; capability++)
                bounding += prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1;
        printf("identity: pid=%d uid=%u euid=%u gid=%u groups=%d effective=%x%08x permitted=%x%08x bounding=%d "
               "no_new_privs=%d seccomp=%d dumpable=%d\n",
               getpid(), getuid(), geteuid(), getgid(), getgroups(0, NULL), data[1].effective, data[0].effective,
               data[1].permitted, data[0].permitted, bounding, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
               prctl(PR_GET_SECCOMP, 0, 0, 0, 0), prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
}

int main(int argc, char **argv) {
        escape_program = argv[0];
        escape_abstract = argc > 1 ? argv[1] : "none";
        print_identity();
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                run_row(i);
        printf("end\n");
        return 0;
}
