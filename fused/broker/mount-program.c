/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PROGRAM: a mapping program for a mount's server, see worker-program.c; ATTACH: bound to the mount's connection, see worker-attach.c. What the
 * kernel has of it for this mount is held here: the struct_ops map of the program loaded last, until it is bound, and then the link, whose end
 * is the end of the binding. */

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/message-id.h"
#include "broker/keep.h"
#include "broker/manager-link.h"
#include "broker/mount.h"

#define PROGRAM_USEC (15 * USEC_PER_SEC) /* vetting and loading; the server waits for 30 s */
#define LOADS_AT_ONCE 8U
#define LOAD_AGAIN_USEC (10 * USEC_PER_SEC)
#define ATTACH_USEC (5 * USEC_PER_SEC)

/* A manager that has asked hears how it went, and tells the server of a failure. If it has gone meanwhile, that is for us to do. */
static void answer(Mount *mount, int error) {
        const ChannelCommand command = mount->program_command;
        BrokerRequest request = {.operation = command == CHANNEL_PROGRAM ? BROKER_PROGRAM : BROKER_ATTACH,
                                 .serial = mount->program_serial,
                                 .mount_id = mount->record.mount_id};
        BrokerReply reply = {.error = error, .value = mount->record.program_mib};
        const ChannelReply to_server = {.magic = CHANNEL_MAGIC, .command = command, .serial = mount->program_channel_serial, .error = error};

        if (mount->program_asked)
                manager_reply(mount->broker, &request, &reply, NULL, 0);
        else if (error < 0 && mount->second_fd >= 0)
                (void) fd_send(mount->second_fd, &to_server, sizeof to_server, NULL, 0); /* never waits */
        mount->program_asked = false;
}

static void keep_if_live(Mount *mount) {
        if (mount->state == MOUNT_LIVE)
                keep_mount(mount);
}

/* result 0: a worker is under way, and answers. Negative: why there is none; an earlier request may be waiting still. */
static void started(Mount *mount, const BrokerRequest *request, ChannelCommand command, uint64_t channel_serial, int result) {
        BrokerReply refusal = {.error = result, .value = mount->record.program_mib};

        if (result < 0)
                return manager_reply(mount->broker, request, &refusal, NULL, 0);
        mount->program_command = command;
        mount->program_serial = request->serial;
        mount->program_channel_serial = channel_serial;
        mount->program_asked = true;
}

/* ---- loading -------------------------------------------------------------------------------------------------------- */

/* Never -ENFILE: the worker has counted. */
static int note_instance(Mount *mount, const WorkerReport *report) {
        ProgramInstance *place = NULL;
        uint32_t before = mount->record.program_mib;

        mount->record.program_mib = 0;
        for (unsigned i = 0; i < PROGRAM_INSTANCES_MAX; i++) {
                if (report->gone & 1U << i)
                        mount->programs[i] = (ProgramInstance){0};
                if (mount->programs[i].mib == 0)
                        place = &mount->programs[i];
        }
        if (report->error >= 0 && place)
                *place = report->instance;
        for (unsigned i = 0; i < PROGRAM_INSTANCES_MAX; i++)
                mount->record.program_mib += mount->programs[i].mib;
        if (mount->record.program_mib != before)
                keep_if_live(mount);
        return report->error >= 0 && !place ? -ENFILE : 0;
}

static void log_failure(const Mount *mount, const WorkerReport *report) {
        unsigned long long id = mount->record.mount_id;

        if (report->error == -EPERM || report->error == -EDQUOT)
                log_event(LOG_LEVEL_WARNING, MESSAGE_PROGRAM_REFUSED, "mount %llu: program %s is refused: %.64s: %.190s", id, mount->program_name,
                          report->rule, report->text);
        else if (report->error < 0)
                log_warning("mount %llu: program %s could not be loaded: %s", id, mount->program_name, strerror(-report->error));
        else if (*report->rule)
                log_warning("mount %llu: the kernel cannot run program %s by itself: %.190s", id, mount->program_name, report->text);
}

static void on_loaded(const WorkerReport *report, int *fds, size_t n_fds, void *userdata) {
        Mount *mount = userdata;
        int r = report->error;

        mount->worker_program = NULL;
        log_failure(mount, report);
        if (r >= 0 && n_fds != 1 + (size_t) report->n_tables + report->attachable)
                r = -EPROTO;
        int noted = note_instance(mount, report);
        if (r >= 0)
                r = noted;
        if (r >= 0)
                mount_channel_answer(mount, CHANNEL_PROGRAM, mount->program_channel_serial, report->attachable, report->tables, report->n_tables,
                                     fds, n_fds - report->attachable, &r);
        if (r >= 0 && mount->link_fd < 0) {
                mount->ops_fd = fd_close(mount->ops_fd);
                if (report->attachable)
                        mount->ops_fd = TAKE_FD(fds[n_fds - 1]);
                mount->program_loaded = true;
                memcpy(mount->loaded_program, mount->program_name, sizeof mount->loaded_program);
        }
        answer(mount, r);
}

/* A server that is not live yet has its own deadline: one that waits too long for a program would end the mount, and nobody would know why. */
static uint64_t load_usec(const Mount *mount) {
        const uint64_t deadline = MIN_OF(mount->type->start_usec, mount->type->init_usec);

        return mount->state == MOUNT_LIVE ? PROGRAM_USEC : MIN_OF(PROGRAM_USEC, deadline / 2);
}

/* Vetting takes processor time that counts against no limit of the server's, so it is rationed: eight at once, then one in ten seconds. */
static bool may_load(Mount *mount, uint64_t now) {
        const uint64_t paid = MAX_OF(mount->loads_usec, now) + LOAD_AGAIN_USEC;

        if (paid > now + LOADS_AT_ONCE * LOAD_AGAIN_USEC)
                return false;
        mount->loads_usec = paid;
        return true;
}

static int start_load(Mount *mount, const BrokerProgram *wanted) {
        WorkerJob job = {
                .kind = WORKER_PROGRAM,
                .user = mount->record.uid,
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
                .instances = mount->programs,
                .max_mib = wanted->max_mib,
        };

        if (mount->worker_program)
                return -EBUSY;
        if (mount->second_fd < 0)
                return -ENOTCONN;
        if (!policy_program_of_type(job.table, job.type, wanted->name))
                return -ENOENT;
        if (!may_load(mount, clock_usec()))
                return -EBUSY;
        memcpy(job.slot_fds, mount->slot_fds, sizeof job.slot_fds);
        memcpy(mount->program_name, wanted->name, sizeof mount->program_name);
        return worker_link_new(mount->broker, &job, load_usec(mount), on_loaded, mount, &mount->worker_program);
}

/* Safe: what is loaded is listed by the policy for this type, by digest or signature, and vetted by an unprivileged process but
 * for the right to load; the server's words are a name of that list, names of tables, and numbers within the program's limit of
 * memory. One at a time for a mount, and not many. */
void mount_program(Mount *mount, const BrokerRequest *request) {
        started(mount, request, CHANNEL_PROGRAM, request->program.channel_serial, start_load(mount, &request->program));
}

/* ---- binding -------------------------------------------------------------------------------------------------------- */

static void on_attached(const WorkerReport *report, int *fds, size_t n_fds, void *userdata) {
        Mount *mount = userdata;
        int r = report->error;

        mount->worker_program = NULL;
        if (r >= 0 && n_fds != 1)
                r = -EPROTO;
        if (r >= 0)
                mount_channel_answer(mount, CHANNEL_PROGRAM_ATTACH, mount->program_channel_serial, 0, NULL, 0, NULL, 0, &r);
        if (r >= 0) {
                mount->link_fd = TAKE_FD(fds[0]);
                mount->record.program_bound = true;
                mount->ops_fd = fd_close(mount->ops_fd); /* the link keeps the map, and a map cannot be bound twice */
                keep_if_live(mount);
                log_debug("mount %llu: program %s is bound to its connection", (unsigned long long) mount->record.mount_id, mount->loaded_program);
        } else
                log_warning("mount %llu: program %s could not be bound to its connection: %s", (unsigned long long) mount->record.mount_id,
                            mount->loaded_program, strerror(-r));
        answer(mount, r);
}

static int start_attach(Mount *mount, const BrokerAttach *wanted) {
        const WorkerJob job = {
                .kind = WORKER_ATTACH,
                .user = mount->record.uid,
                .host = &mount->broker->host,
                .fuse_fd = mount->fuse_fd,
                .ops_fd = mount->ops_fd,
        };

        if (mount->link_fd >= 0)
                return -EALREADY;
        if (mount->worker_program)
                return -EBUSY;
        if (!mount->program_loaded)
                return -ENOENT;
        if (*wanted->name && strcmp(wanted->name, mount->loaded_program) != 0)
                return -EPERM;
        if (mount->ops_fd < 0 || !mount->type->iomap)
                return -EOPNOTSUPP;
        if (mount->second_fd < 0 || mount->fuse_fd < 0)
                return -ENOTCONN;
        return worker_link_new(mount->broker, &job, ATTACH_USEC, on_attached, mount, &mount->worker_program);
}

/* Safe: what is bound was loaded for this mount by the rules above, and the worker has no other FUSE device than this mount's. A program
 * can name devices only that are registered with the connection, and the kernel checks what it says. */
void mount_program_attach(Mount *mount, const BrokerRequest *request) {
        started(mount, request, CHANNEL_PROGRAM_ATTACH, request->attach.channel_serial, start_attach(mount, &request->attach));
}

/* With the mount; the kernel waits for what is under way in the program, which is short. */
void mount_program_end(Mount *mount) {
        mount->worker_program = worker_link_cancel(mount->worker_program);
        if (mount->program_asked)
                answer(mount, -ESHUTDOWN);
        mount->link_fd = fd_close(mount->link_fd);
        mount->ops_fd = fd_close(mount->ops_fd);
}
