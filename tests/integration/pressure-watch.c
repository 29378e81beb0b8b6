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
        pressure_open(&watch, "/proc", argv[1]);
        if (!(pressure_watched(&watch) & (CHANNEL_PRESSURE_MACHINE | CHANNEL_PRESSURE_GROUP))) {
                puts("none");
                return 0;
        }
        puts("waiting");
        (void) fflush(stdout);
        for (long left = strtol(argv[2], NULL, 10); left > 0 && !told; left--) {
                struct pollfd fds[PRESSURE_N_POLLED];
                for (size_t i = 0; i < PRESSURE_N_POLLED; i++)
                        fds[i] = (struct pollfd){.fd = watch.fds[i], .events = PRESSURE_EVENTS};
                (void) poll(fds, PRESSURE_N_POLLED, 1000);
                told = pressure_check(&watch, (const short[]){fds[0].revents, fds[1].revents});
        }
        puts(told ? "told" : "quiet");
        pressure_close(&watch);
        return 0;
}
