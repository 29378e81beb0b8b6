/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pressure-watch CGROUP-ROOT SECONDS: waits as the thread beside a mapping server does, on the real machine. Prints "waiting" when it does, then
 * "told" or "quiet"; "none" where the kernel has no such trigger for us. */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "map/pressure.h"

int main(int argc, char **argv) {
        PressureWatch watch = PRESSURE_WATCH_NONE;
        bool told = false;

        if (argc != 3)
                return 2;
        if (pressure_open(&watch, "/proc", argv[1]) < 0 || watch.fd < 0) {
                puts("none");
                return 0;
        }
        puts("waiting");
        (void) fflush(stdout);
        for (long left = strtol(argv[2], NULL, 10); left > 0 && !told; left--) {
                struct pollfd fd = {.fd = watch.fd, .events = watch.events};
                int n = poll(&fd, 1, 1000);
                told = pressure_check(&watch, n > 0 ? fd.revents : 0);
        }
        puts(told ? "told" : "quiet");
        pressure_close(&watch);
        return 0;
}
