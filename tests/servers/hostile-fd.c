/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A server of hand-over fd that misbehaves: hostile-fd BEHAVIOUR /dev/fd/N [SLOT]. --list prints the behaviours. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "mini-fuse.h"

/* What it cannot open it says; then it serves. A host file that it can open is a hole: it exits instead. */
static int try_open(const char *path) {
        int fd = open(path, O_RDONLY);

        fprintf(stderr, "open %s: %s\n", path, fd < 0 ? strerror(errno) : "opened");
        return fd < 0 ? 0 : 66;
}

static int open_shadow(void) {
        return try_open("/etc/shadow");
}

static int open_through_slot(void) {
        return try_open("/slots/../etc/shadow") + try_open("/slots/source/../../etc/shadow") + try_open("/proc/self/fd/3");
}

static int open_truncating(void) {
        int fd = open("/slots/source", O_RDWR | O_CREAT | O_TRUNC, 0666);

        fprintf(stderr, "open with O_TRUNC: %s\n", fd < 0 ? strerror(errno) : "opened");
        return 0;
}

static int mount_elsewhere(void) {
        int r = mount("none", "/slots", "tmpfs", 0, NULL);

        fprintf(stderr, "mount: %s\n", r < 0 ? strerror(errno) : "mounted");
        return r < 0 ? 0 : 66;
}

static int exit_now(void) {
        fprintf(stderr, "I do not want to\n");
        return 7;
}

static int crash_now(void) {
        mini_crash();
}

static int kill_parent(void) {
        /* the agent, pid 1 of this namespace: it must survive what comes from inside; what it hands on to us we ignore */
        const int handed_on[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

        for (size_t i = 0; i < ELEMENTSOF(handed_on); i++)
                (void) signal(handed_on[i], SIG_IGN);
        for (int i = 1; i < 32; i++)
                (void) kill(1, i);
        return 0;
}

static int flood(void) {
        mini_flood_stderr();
        return 0;
}

static const struct {
        const char *name;
        int (*first)(void); /* a status other than 0 ends it */
        MiniFuse serve;
} behaviours[] = {
        {"good", NULL, MINI_GOOD},
        {"never-init", NULL, MINI_NEVER_INIT},
        {"ignore-init", NULL, MINI_IGNORE_INIT},
        {"init-error", NULL, MINI_INIT_ERROR},
        {"init-short", NULL, MINI_INIT_SHORT},
        {"init-old", NULL, MINI_INIT_OLD},
        {"exit", exit_now, MINI_GOOD},
        {"crash", crash_now, MINI_GOOD},
        {"open:/etc/shadow", open_shadow, MINI_GOOD},
        {"open:slot-dotdot", open_through_slot, MINI_GOOD},
        {"open:truncate", open_truncating, MINI_GOOD},
        {"open:mount", mount_elsewhere, MINI_GOOD},
        {"open:kill-agent", kill_parent, MINI_GOOD},
        {"flood-stderr", flood, MINI_GOOD},
        {"hang-after-init", NULL, MINI_HANG},
};

int main(int argc, char **argv) {
        int fd, status;

        if (argc == 2 && strcmp(argv[1], "--list") == 0) {
                for (size_t i = 0; i < ELEMENTSOF(behaviours); i++)
                        puts(behaviours[i].name);
                return 0;
        }
        if (argc < 3 || sscanf(argv[2], "/dev/fd/%d", &fd) != 1)
                return 2;
        for (size_t i = 0; i < ELEMENTSOF(behaviours); i++)
                if (strcmp(argv[1], behaviours[i].name) == 0) {
                        status = behaviours[i].first ? behaviours[i].first() : 0;
                        return status ? status : mini_fuse_serve(fd, behaviours[i].serve);
                }
        return 2;
}
