/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl top: what the mounts use, again and again. */

#include <getopt.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/fusectl.h"

#define DELAY_MIN 0.1
#define DELAY_MAX 3600.0

typedef struct Top {
        double delay; /* s */
        unsigned rounds; /* 0: without end */
} Top;

static const char *format_cpu(json_object *row, char *buffer, size_t size) {
        json_object *value;

        if (!json_object_object_get_ex(row, "cpu-percent", &value))
                return "";
        (void) snprintf(buffer, size, "%.1f", json_object_get_double(value));
        return buffer;
}

/* "cpu-percent" from what has been used since the round before, or since the mount is live. *used: what had been used then, by id;
 * replaced by what has been used now. */
static void add_cpu(json_object *mounts, json_object **used, uint64_t elapsed_usec) {
        json_object *now = json_object_new_object(), *old;

        for (size_t i = 0; i < json_object_array_length(mounts); i++) {
                json_object *mount = json_object_array_get_idx(mounts, i);
                uint64_t usec = number_of(mount, "cpu-usec"), since = 0, elapsed = number_of(mount, "uptime-usec");

                if (usec == 0 || elapsed == 0) /* not known on this host, or not live */
                        continue;
                if (*used && json_object_object_get_ex(*used, text_of(mount, "id"), &old)) {
                        since = json_object_get_uint64(old);
                        elapsed = elapsed_usec;
                }
                double percent = usec > since ? 100.0 * (double) (usec - since) / (double) elapsed : 0;
                json_object_object_add(mount, "cpu-percent", json_object_new_double(percent));
                json_object_object_add(now, text_of(mount, "id"), json_object_new_uint64(usec));
        }
        json_putp(used);
        *used = now;
}

static int by_cpu(const void *a, const void *b) {
        json_object *rows[] = {*(json_object *const *) a, *(json_object *const *) b}, *value;
        double cpu[2] = {0};

        for (size_t i = 0; i < 2; i++)
                if (json_object_object_get_ex(rows[i], "cpu-percent", &value))
                        cpu[i] = json_object_get_double(value);
        if (cpu[0] != cpu[1])
                return cpu[0] < cpu[1] ? 1 : -1;
        uint64_t id[] = {number_of(rows[0], "id"), number_of(rows[1], "id")};
        return id[0] < id[1] ? -1 : id[0] > id[1];
}

static void print_top(const Context *context, json_object *mounts) {
        static const Column columns[] = {
                {"ID", "id"},
                {"TYPE", "type"},
                {"USER", "uid", format_user},
                {"STATE", "state"},
                {"WAITING", "requests-waiting"},
                {"MEMORY", "memory", format_memory},
                {"CPU%", "cpu-percent", format_cpu},
                {"PROCS", "processes"},
                {"UPTIME", "uptime-usec", format_uptime},
                {"SOURCE", "source"},
                {"MOUNTPOINT", "mountpoint", format_place},
        };
        char buffer[32];
        time_t now = time(NULL);
        struct tm tm;

        if (context->json) {
                puts(json_object_to_json_string_ext(mounts, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
                return;
        }
        if (isatty(STDOUT_FILENO))
                fputs("\033[H\033[2J", stdout);
        (void) strftime(buffer, sizeof buffer, "%H:%M:%S", localtime_r(&now, &tm));
        printf("fused %s: %zu mounts\n", buffer, json_object_array_length(mounts));
        print_table(mounts, columns, ELEMENTSOF(columns));
}

static int parse(int argc, char **argv, Top *ret) {
        static const struct option options[] = {{"rounds", required_argument, NULL, 'n'}, {"delay", required_argument, NULL, 'd'}, {0}};
        char *end;
        int c;

        while ((c = getopt_long(argc, argv, "n:d:", options, NULL)) >= 0)
                switch (c) {
                case 'n': {
                        unsigned long n = strtoul(optarg, &end, 10);
                        if (*optarg < '0' || *optarg > '9' || *end || n == 0 || n > UINT32_MAX)
                                return usage_error("-n takes a number from 1 on, not '%s'", optarg);
                        ret->rounds = (unsigned) n;
                        break;
                }
                case 'd':
                        ret->delay = strtod(optarg, &end);
                        if (end == optarg || *end || !(ret->delay >= DELAY_MIN && ret->delay <= DELAY_MAX))
                                return usage_error("-d takes seconds from %.1f to %.0f, not '%s'", DELAY_MIN, DELAY_MAX, optarg);
                        break;
                default:
                        return usage_error("top [-n ROUNDS] [-d SECONDS]");
                }
        return optind == argc ? 0 : usage_error("top [-n ROUNDS] [-d SECONDS]");
}

int command_top(Context *context, int argc, char **argv) {
        _cleanup_json_ json_object *used = NULL;
        FusedError error = {0};
        Top top = {.delay = 1};
        uint64_t at = 0;
        int status;

        status = parse(argc, argv, &top);
        if (status == 0)
                status = connect_to_fused(context);
        if (status != 0)
                return status;
        for (unsigned i = 0; top.rounds == 0 || i < top.rounds; i++) {
                _cleanup_json_ json_object *mounts = NULL;
                if (i > 0) {
                        struct timespec pause = {.tv_sec = (time_t) top.delay};
                        pause.tv_nsec = (long) ((top.delay - (double) pause.tv_sec) * 1e9);
                        (void) nanosleep(&pause, NULL);
                }
                if (fused_query(context->client, &mounts, &error) < 0)
                        return report(&error);
                uint64_t now = clock_usec();
                add_cpu(mounts, &used, now - at);
                json_object_array_sort(mounts, by_cpu);
                print_top(context, mounts);
                at = now;
                if (fflush(stdout) != 0)
                        return failure("cannot write: %s", strerror(errno));
        }
        return EXIT_DONE;
}
