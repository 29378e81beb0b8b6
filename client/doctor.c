/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl doctor: the table of probes, each run in a child of its own. */

#include "client/doctor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "client/doctor-probes.h"
#include "client/fusectl.h"

#define PROBE_MSEC 5000

const Probe doctor_probes[] = {
        {"sync-init", probe_sync_init,
         "fused waits for the connection's counter of waiting requests to see that FUSE_INIT was answered"},
        {"passthrough", probe_passthrough, "all data goes through the server"},
        {"resend", probe_resend,
         "what a crashed server had not answered is lost; this version ends its mount in any case"},
        {"io-uring", probe_io_uring, "servers read requests from /dev/fuse, as they do in this version anyway"},
        {"max-pages", probe_max_pages, "a request carries at most 32 pages, 128 KiB"},
        {"idmapped-fuse", probe_idmapped, "FUSE mounts cannot be idmapped for containers"},
        {"iomap", probe_iomap, "the server maps and moves data itself; nothing is done by the kernel"},
        {"bpf-program-run", probe_bpf, "mapping programs cannot be run: the servers map all files themselves"},
        {"seccomp-notification", probe_notification, "types with hand-over fd (ext4, squashfs) cannot be started"},
        {"landlock", probe_landlock, "a server is confined by its namespaces, empty root and seccomp alone"},
        {"pidfd", probe_pidfd, "callers are served in the host's namespaces only"},
        {"mount-api", probe_mount_api, "fused cannot mount at all"},
        {"idmapped-mounts", probe_idmapped_mounts, "directory trees (type mirror) are refused"},
        {"statmount", probe_statmount, "mounts are found by their old ids in mountinfo, which can be used again"},
        {"user-namespaces", probe_user_namespaces,
         "only the host's own users can be served; the servers' sandboxes are made by root and go on"},
        {"cgroups", probe_cgroups, "limits of memory, processors and processes are not enforced"},
        {"memfd-seals", probe_memfd_seals, "fused does not start: the policy is handed over in a sealed memfd"},
};
const size_t n_doctor_probes = ELEMENTSOF(doctor_probes);

const char *probe_state_to_string(ProbeState state) {
        static const char *const names[_PROBE_STATE_MAX] = {
                [PROBE_YES] = "yes", [PROBE_NO] = "no", [PROBE_UNKNOWN] = "unknown"};

        return names[state];
}

void probe_run(const Probe *probe, ProbeResult *ret) {
        struct pollfd p = {.events = POLLIN};
        int fds[2];
        pid_t pid;

        *ret = (ProbeResult){.state = PROBE_UNKNOWN, .detail = "the probe cannot be started"};
        if (pipe2(fds, O_CLOEXEC) < 0)
                return;
        (void) fflush(NULL);
        pid = fork();
        if (pid == 0) {
                ProbeResult result = {.state = PROBE_UNKNOWN};
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                probe->run(&result);
                _exit(write(fds[1], &result, sizeof result) != (ssize_t) sizeof result);
        }
        (void) fd_close(fds[1]);
        p.fd = fds[0];
        if (pid > 0) {
                bool ended = poll(&p, 1, PROBE_MSEC) > 0;
                if (!ended || read(fds[0], ret, sizeof *ret) != (ssize_t) sizeof *ret) {
                        ret->state = PROBE_UNKNOWN;
                        (void) snprintf(ret->detail, sizeof ret->detail, ended ? "the probe died" : "the probe hung");
                }
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
        }
        (void) fd_close(fds[0]);
}

static json_object *row_of(const Probe *probe, const ProbeResult *result) {
        json_object *row = json_object_new_object();

        json_object_object_add(row, "name", json_object_new_string(probe->name));
        json_object_object_add(row, "state", json_object_new_string(probe_state_to_string(result->state)));
        json_object_object_add(row, "detail", json_object_new_string(result->detail));
        json_object_object_add(row, "without", json_object_new_string(probe->without));
        return row;
}

int command_doctor(Context *context, int argc, char **argv) {
        _cleanup_json_ json_object *rows = json_object_new_array();

        if (argc != 1)
                return usage_error("doctor takes no argument");
        for (size_t i = 0; i < n_doctor_probes; i++) {
                ProbeResult result;
                probe_run(&doctor_probes[i], &result);
                if (context->json)
                        json_object_array_add(rows, row_of(&doctor_probes[i], &result));
                else {
                        printf("%-22s %-8s %s\n", doctor_probes[i].name, probe_state_to_string(result.state),
                               result.detail);
                        if (result.state != PROBE_YES)
                                printf("%-22s %-8s without it: %s\n", "", "", doctor_probes[i].without);
                }
        }
        if (context->json)
                print_json(rows);
        return EXIT_DONE;
}
