/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PROGRAM: a mapping program for a mount's server. See worker-program.c. */

#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/message-id.h"
#include "broker/mount.h"

#define PROGRAM_USEC (15 * USEC_PER_SEC) /* vetting and loading; the server waits for 30 s */

static void on_report(const WorkerReport *report, int *fds, size_t n_fds, void *userdata) {
        Mount *mount = userdata;
        BrokerRequest request = {.operation = BROKER_PROGRAM, .serial = mount->program_serial, .mount_id = mount->record.mount_id};
        int r = report->error;

        mount->programmer = NULL;
        if (r == -EPERM)
                log_event(LOG_LEVEL_WARNING, MESSAGE_PROGRAM_REFUSED, "mount %llu: program %s is refused: %.64s: %.190s",
                          (unsigned long long) mount->record.mount_id, mount->program_name, report->rule, report->text);
        else if (r < 0)
                log_warning("mount %llu: program %s could not be loaded: %s", (unsigned long long) mount->record.mount_id,
                            mount->program_name, strerror(-r));
        if (r >= 0 && n_fds != 1 + (size_t) report->n_tables)
                r = -EPROTO;
        if (r >= 0)
                mount_channel_answer(mount, CHANNEL_PROGRAM, mount->program_channel_serial, 0, report->tables, report->n_tables, fds, n_fds, &r);
        mount_answer(mount, &request, r, NULL, NULL, 0);
}

static int start(Mount *mount, const BrokerProgram *wanted) {
        WorkerJob job = {
                .kind = WORKER_PROGRAM,
                .host = &mount->broker->host,
                .table = policy_table(mount->policy),
                .type = mount->type,
                .caller_fd = -EBADF,
                .owner_fd = -EBADF,
                .mountpoint_fd = -EBADF,
                .program_name = mount->program_name,
                .tables = wanted->tables,
                .n_tables = wanted->n_tables,
                .libexec_directory = mount->broker->libexec_directory,
        };

        if (mount->programmer)
                return -EBUSY;
        if (mount->second_fd < 0)
                return -ENOTCONN;
        if (!policy_program_of_type(job.table, job.type, wanted->name))
                return -ENOENT;
        memcpy(job.slot_fds, mount->slot_fds, sizeof job.slot_fds);
        memcpy(mount->program_name, wanted->name, sizeof mount->program_name);
        mount->program_channel_serial = wanted->channel_serial;
        return worker_link_new(mount->broker, &job, PROGRAM_USEC, on_report, mount, &mount->programmer);
}

/* Safe: what is loaded is listed by the policy for this type, by digest or signature, and vetted by an unprivileged process but
 * for the right to load; the server's words are a name of that list, names of tables, and numbers within the program's limit of
 * memory. One at a time for a mount. */
void mount_program(Mount *mount, const BrokerRequest *request) {
        int r;

        r = start(mount, &request->program);
        if (r < 0)
                return mount_answer(mount, request, r, NULL, NULL, 0);
        mount->program_serial = request->serial;
}
