/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reap SECONDS COMMAND...: runs one test and knows every process that it started.
 *
 * As the subreaper of all of them it inherits what the test leaves behind. After the command has ended, what is not gone
 * within GRACE_MSEC is named on stderr, ended by pid, and makes the result EXIT_LEFT. Exit status otherwise: the command's,
 * or EXIT_LATE if it had to be ended at its deadline. */

#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/macro.h"

#define EXIT_LATE 124
#define EXIT_LEFT 97
#define GRACE_MSEC 3000
#define POLL_MSEC 20
#define PROCESSES_MAX 8192

typedef struct Process {
        pid_t pid;
        pid_t parent;
        char state;
        char name[32];
        bool ours;
} Process;

static Process processes[PROCESSES_MAX];
static size_t n_processes;

static uint64_t now_msec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

static void pause_msec(unsigned msec) {
        (void) nanosleep(&(struct timespec){.tv_nsec = (long) msec * 1000000}, NULL);
}

static bool read_process(const char *pid, Process *ret) {
        char path[64], line[512];
        size_t n;

        (void) snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
        FILE *file = fopen(path, "re");
        if (!file)
                return false;
        n = fread(line, 1, sizeof line - 1, file);
        (void) fclose(file);
        line[n] = '\0';
        const char *open = strchr(line, '('), *end = strrchr(line, ')');
        if (!open || !end)
                return false;
        *ret = (Process){.pid = atoi(pid)};
        (void) snprintf(ret->name, sizeof ret->name, "%.*s", (int) (end - open - 1), open + 1);
        return sscanf(end + 1, " %c %d", &ret->state, &ret->parent) == 2;
}

/* Takes a picture of all processes and marks our descendants. Returns how many there are, zombies included. */
static size_t find_descendants(void) {
        size_t found = 0;
        bool more = true;
        DIR *dir = opendir("/proc");

        n_processes = 0;
        if (!dir)
                return 0;
        for (struct dirent *entry; (entry = readdir(dir)) && n_processes < PROCESSES_MAX;)
                if (isdigit((unsigned char) entry->d_name[0]) && read_process(entry->d_name, &processes[n_processes]))
                        n_processes++;
        (void) closedir(dir);

        while (more) {
                more = false;
                for (size_t i = 0; i < n_processes; i++) {
                        if (processes[i].ours)
                                continue;
                        bool ours = processes[i].parent == getpid();
                        for (size_t k = 0; k < n_processes && !ours; k++)
                                ours = processes[k].ours && processes[k].pid == processes[i].parent;
                        if (ours) {
                                processes[i].ours = more = true;
                                found++;
                        }
                }
        }
        return found;
}

static void end_descendants(int signal_number) {
        (void) find_descendants();
        for (size_t i = 0; i < n_processes; i++)
                if (processes[i].ours)
                        (void) kill(processes[i].pid, signal_number);
}

/* Reaps until main_pid is there (then its status) or the time is over. With main_pid 0: until nobody is left. */
static bool reap_until(pid_t main_pid, uint64_t deadline, int *ret_status) {
        for (;;) {
                int status;
                pid_t pid = waitpid(-1, &status, WNOHANG);
                if (pid < 0)
                        return main_pid == 0;
                if (pid > 0 && pid == main_pid) {
                        *ret_status = status;
                        return true;
                }
                if (pid > 0)
                        continue;
                if (now_msec() >= deadline)
                        return false;
                pause_msec(POLL_MSEC);
        }
}

static bool end_leftovers(void) {
        int status;

        if (reap_until(0, now_msec() + GRACE_MSEC, &status))
                return false;
        (void) find_descendants();
        for (size_t i = 0; i < n_processes; i++)
                if (processes[i].ours && processes[i].state != 'Z')
                        fprintf(stderr, "LEFT BEHIND: process %d (%s), state %c, parent %d\n", processes[i].pid, processes[i].name,
                                processes[i].state, processes[i].parent);
        for (int i = 0; i < 50; i++) {
                end_descendants(SIGKILL);
                if (reap_until(0, now_msec() + 200, &status))
                        break;
        }
        return true;
}

int main(int argc, char **argv) {
        int status = 0;
        bool late = false;

        if (argc < 3 || atoi(argv[1]) <= 0) {
                fputs("usage: reap SECONDS COMMAND...\n", stderr);
                return 2;
        }
        if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
                return 1;
        pid_t pid = fork();
        if (pid < 0)
                return 1;
        if (pid == 0) {
                (void) setsid();
                (void) execvp(argv[2], argv + 2);
                perror(argv[2]);
                _exit(127);
        }
        if (!reap_until(pid, now_msec() + (uint64_t) atoi(argv[1]) * 1000, &status)) {
                late = true;
                fprintf(stderr, "TIMEOUT after %s s\n", argv[1]);
                (void) kill(pid, SIGTERM); /* its exit trap cleans up */
                if (!reap_until(pid, now_msec() + 10000, &status))
                        end_descendants(SIGKILL);
        }
        if (end_leftovers() && !late)
                return EXIT_LEFT;
        if (late)
                return EXIT_LATE;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
