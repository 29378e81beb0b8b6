/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a server may ask for, command by command. Numbers of errors follow libfuse's helper, so that servers written for it
 * find what they know; where that helper leaves it to policy, the answer here is no.
 *
 * Whatever the server names, it gets only what the request bound to its slots; whatever it asks of the mount can only
 * restrict what was granted. */

#include "manager/service-commands.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ---- OPEN, BDEV ----------------------------------------------------------------------------------------------------- */

/* Slots exist: nothing is created, cut, or opened as a mere name. Other flags are the opener's affair and have no effect. */
static bool open_flags_are_bad(uint32_t flags) {
        return flags & (O_CREAT | O_TRUNC | O_PATH | O_APPEND) || (flags & O_TMPFILE) == O_TMPFILE || (flags & O_ACCMODE) == O_ACCMODE;
}

/* The bound slot of that path, or -1. */
static int slot_of_path(const Service *service, const char *path) {
        const ServiceParameters *p = &service->parameters;

        for (uint32_t i = 0; i < p->type->slots.count; i++)
                if (p->slots[i] != BROKER_SLOT_EMPTY && strcmp(policy_string(p->table, policy_slot(p->table, p->type, i)->path), path) == 0)
                        return (int) i;
        return -1;
}

static void on_open(Service *service, const ServicePacket *packet) {
        bool block_device = packet->command == SERVICE_COMMAND_BDEV;
        int i;

        if (strlen(packet->string) >= SERVICE_PATH_MAX) /* could not be echoed */
                return service_reply_file(service, -EINVAL, "?");
        i = slot_of_path(service, packet->string);
        if (packet->request_flags & ~SERVICE_OPEN_QUIET)
                return service_reply_file(service, -EINVAL, packet->string);
        if (strcmp(packet->string, SERVICE_RESERVED_PATH) == 0)
                return service_open_channel(service, packet->string);
        if (i < 0 || open_flags_are_bad(packet->open_flags)) {
                service->n_refused++;
                return service_reply_file(service, -EACCES, packet->string);
        }
        if (block_device && service->parameters.slots[i] != BROKER_SLOT_DEVICE)
                return service_reply_file(service, -ENOTBLK, packet->string);
        /* BDEV's block size is not set: it would outlast the mount, for everybody. */
        service_send_file(service, 1 + (uint32_t) i, packet->open_flags & (O_ACCMODE | O_DIRECT), packet->string);
}

/* ---- what the mount is to be ---------------------------------------------------------------------------------------- */

static int on_fsopen(Service *service, const ServicePacket *packet) {
        if (packet->fsopen_flags & ~SERVICE_FSOPEN_FUSEBLK)
                return -EINVAL;
        return packet->fsopen_flags & SERVICE_FSOPEN_FUSEBLK ? -EPERM : 0; /* the kernel would open the device by a path */
}

static int on_source(Service *service, const ServicePacket *packet) {
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:+@-";
        size_t length = strlen(packet->string);

        if (length >= sizeof service->wanted.fsname || strspn(packet->string, allowed) != length)
                return -EINVAL;
        memcpy(service->wanted.fsname, packet->string, length + 1);
        return 0;
}

static int on_mountpoint(Service *service, const ServicePacket *packet) {
        if (packet->expected_format != 0 && packet->expected_format != S_IFDIR && packet->expected_format != S_IFREG)
                return -EINVAL;
        if (strcmp(packet->string, SERVICE_MOUNTPOINT) != 0)
                return -EINVAL;
        service->wanted.expected_format = packet->expected_format;
        return 0;
}

/* Adds what restricts, refuses what was not granted. */
static int add_options(Service *service, const MountOptions *options) {
        const uint32_t widening = POLICY_OPTION_ALLOW_OTHER | POLICY_OPTION_SUID | POLICY_OPTION_DEV;

        if (options->bits & widening & ~service->parameters.granted.bits)
                return -EPERM;
        service->wanted.options |= options->bits & ~widening;
        if (options->bits & POLICY_OPTION_MAX_READ)
                service->wanted.max_read = service->wanted.max_read ? MIN_OF(service->wanted.max_read, options->max_read) : options->max_read;
        if (options->bits & POLICY_OPTION_BLKSIZE)
                service->wanted.blksize = options->blksize;
        return 0;
}

static int on_options(Service *service, const ServicePacket *packet) {
        char text[BROKER_OPTIONS_MAX], *rest = text, *word;
        MountOptions options = {0};

        if (strlen(packet->string) >= sizeof text)
                return -EINVAL;
        (void) snprintf(text, sizeof text, "%s", packet->string);
        while ((word = strsep(&rest, ",")))
                if (mount_options_parse_word(word, &options) != 1)
                        return -EINVAL; /* "fd=0", "user_id=0": the mount's own parameters are nobody's to say */
        return add_options(service, &options);
}

/* There has been no mtab for a long time. */
static int on_mtab(Service *service, const ServicePacket *packet) {
        return 0;
}

static void on_mount(Service *service, const ServicePacket *packet) {
        const unsigned needed = SERVICE_DONE_FSOPEN | SERVICE_DONE_SOURCE | SERVICE_DONE_MOUNTPOINT;
        MountOptions options = {0};
        int r;

        if ((service->done & needed) != needed)
                return service_reply(service, -EINVAL);
        r = mount_options_from_ms_flags(packet->ms_flags, &options);
        if (r >= 0)
                r = add_options(service, &options);
        if (r < 0)
                return service_reply(service, r);
        service_ask_for_mount(service);
}

/* ---- the table ------------------------------------------------------------------------------------------------------ */

typedef struct CommandRow {
        unsigned once;   /* the bit that a success sets; given twice: EINVAL */
        unsigned needs;  /* bits that must be set before */
        int (*set)(Service *service, const ServicePacket *packet); /* answered with its result */
        void (*act)(Service *service, const ServicePacket *packet); /* answers by itself */
} CommandRow;

static const CommandRow command_rows[_SERVICE_COMMAND_MAX] = {
        [SERVICE_COMMAND_OPEN] = {.act = on_open},
        [SERVICE_COMMAND_BDEV] = {.act = on_open},
        [SERVICE_COMMAND_FSOPEN] = {.once = SERVICE_DONE_FSOPEN, .set = on_fsopen},
        [SERVICE_COMMAND_SOURCE] = {.once = SERVICE_DONE_SOURCE, .needs = SERVICE_DONE_FSOPEN, .set = on_source},
        [SERVICE_COMMAND_OPTS] = {.once = SERVICE_DONE_OPTIONS, .needs = SERVICE_DONE_FSOPEN, .set = on_options},
        [SERVICE_COMMAND_MNTPT] = {.once = SERVICE_DONE_MOUNTPOINT, .set = on_mountpoint},
        [SERVICE_COMMAND_MTAB] = {.once = SERVICE_DONE_MTAB, .set = on_mtab},
        [SERVICE_COMMAND_MOUNT] = {.act = on_mount},
};

static bool is_open(ServiceCommand command) {
        return command == SERVICE_COMMAND_OPEN || command == SERVICE_COMMAND_BDEV;
}

void service_on_command(Service *service, const uint8_t *data, size_t size) {
        ServicePacket packet;
        int r;

        r = service_packet_parse(data, size, &packet);
        if (r == -EBADMSG)
                return service_fail(service, /* gone= */ false, "it sent a packet that is none of the protocol's");
        if (packet.command == SERVICE_COMMAND_BYE)
                return service_goodbye(service, r < 0 ? 1 : packet.exit_code);
        if (service->state != SERVICE_COMMANDS)
                return service_fail(service, /* gone= */ false, "it went on asking after its mount request");
        if (r < 0) { /* a known command, malformed */
                if (is_open(packet.command))
                        return service_reply_file(service, -EINVAL, "?");
                return service_reply(service, -EINVAL);
        }

        const CommandRow *row = &command_rows[packet.command];
        if (row->act)
                return row->act(service, &packet);
        if (service->done & row->once || (service->done & row->needs) != row->needs)
                return service_reply(service, -EINVAL);
        r = row->set(service, &packet);
        if (r >= 0)
                service->done |= row->once;
        service_reply(service, r);
}
