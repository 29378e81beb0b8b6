/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Preloaded by tests/tsan/run. The thread sanitizer follows a descriptor through dup3(2), but not through fcntl(F_DUPFD_CLOEXEC): what is sent
 * over the copy would not come before what is received. So each such copy is put in its own place once more, by the call that is followed. */

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

int fcntl(int fd, int command, ...);
int fcntl64(int fd, int command, ...);

static int copied(int fd, int command, int r) {
        if (r >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC))
                (void) dup3(fd, r, command == F_DUPFD_CLOEXEC ? O_CLOEXEC : 0);
        return r;
}

static int pass_on(const char *name, int fd, int command, void *argument) {
        int (*real)(int, int, ...) = (int (*)(int, int, ...)) dlsym(RTLD_NEXT, name);

        return copied(fd, command, real(fd, command, argument));
}

#define DEFINE(NAME)                                               \
        int NAME(int fd, int command, ...) {                       \
                va_list list;                                      \
                va_start(list, command);                           \
                void *argument = va_arg(list, void *);             \
                va_end(list);                                      \
                return pass_on(#NAME, fd, command, argument);      \
        }
DEFINE(fcntl)
DEFINE(fcntl64)
