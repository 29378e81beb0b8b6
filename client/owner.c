/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The process that a mount is to end with. */

#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "client/fusectl.h"

/* 0 if it is none that we know by name. */
static pid_t named_pid(const char *word) {
        if (strcmp(word, "session") == 0)
                return getsid(0);
        return strcmp(word, "parent") == 0 ? getppid() : 0;
}

int mount_arguments_open_owner(MountArguments *arguments, const char *word) {
        pid_t pid = named_pid(word);
        bool named = pid > 0;
        char *end = NULL;

        if (!named) {
                long number = strtol(word, &end, 10);
                if (number <= 0 || number > INT32_MAX || !*word || *end)
                        return usage_error("--owner needs a process id, 'session' or 'parent'");
                pid = (pid_t) number;
        }
        arguments->owner_pidfd = fd_close(arguments->owner_pidfd);
        arguments->owner_pidfd = RET_NERRNO(pidfd_open(pid, 0));
        if (arguments->owner_pidfd < 0)
                return failure("cannot open process %d (--owner %s): %s", pid, word, strerror(-arguments->owner_pidfd));
        if (named && named_pid(word) != pid) /* it ended, and the number may be another's */
                return failure("the process of --owner %s has ended", word);
        return 0;
}
