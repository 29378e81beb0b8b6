/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks of the messages between broker and manager. See broker.h; everything here is pure. */

#include "wire/broker.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define REQUEST_HEADER offsetof(BrokerRequest, create)

static const struct {
        const char *name;
        size_t size; /* of the operation's own part */
} operation_rows[_BROKER_OPERATION_MAX] = {
        [BROKER_CREATE] = {"create", sizeof(BrokerCreate)},
        [BROKER_SPAWN] = {"spawn", 0},
        [BROKER_SEND_FILE] = {"send-file", sizeof(BrokerSendFile)},
        [BROKER_MOUNT] = {"mount", sizeof(BrokerMount)},
        [BROKER_END] = {"end", sizeof(BrokerEnd)},
        [BROKER_QUERY] = {"query", 0},
        [BROKER_CHANNEL] = {"channel", 0},
        [BROKER_PROGRAM] = {"program", sizeof(BrokerProgram)},
        [BROKER_ATTACH] = {"attach", sizeof(BrokerAttach)},
        [BROKER_CLONE] = {"clone", sizeof(BrokerClone)},
        [BROKER_BACKING_SOCKET] = {"backing-socket", sizeof(BrokerBacking)},
        [BROKER_BACKING_OPEN] = {"backing-open", sizeof(BrokerBacking)},
        [BROKER_BACKING_CLOSE] = {"backing-close", sizeof(BrokerBacking)},
        [BROKER_PRESSURE] = {"pressure", sizeof(BrokerClone)},
        [BROKER_EXPLAIN] = {"explain", sizeof(BrokerExplain)},
};

static const char *const stage_names[_BROKER_STAGE_MAX] = {
        [BROKER_STAGE_NONE] = "none",
        [BROKER_STAGE_IDENTITY] = "identifying the caller",
        [BROKER_STAGE_SOURCE] = "opening the source",
        [BROKER_STAGE_MOUNTPOINT] = "checking the mount point",
        [BROKER_STAGE_FUSE_DEVICE] = "opening /dev/fuse",
        [BROKER_STAGE_SANDBOX] = "making the sandbox",
        [BROKER_STAGE_UNIT] = "starting the server's unit",
        [BROKER_STAGE_CGROUP] = "making the cgroup",
        [BROKER_STAGE_EXEC] = "starting the server",
        [BROKER_STAGE_FSOPEN] = "opening a file system context",
        [BROKER_STAGE_FSCONFIG] = "setting mount options",
        [BROKER_STAGE_SUPERBLOCK] = "creating the superblock",
        [BROKER_STAGE_INIT] = "waiting for FUSE_INIT",
        [BROKER_STAGE_ATTACH] = "attaching the mount",
};

static const char *const reason_names[_BROKER_REASON_MAX] = {
        [BROKER_REASON_UNMOUNTED] = "unmounted",
        [BROKER_REASON_SERVER_EXIT] = "server-exit",
        [BROKER_REASON_ABORTED] = "aborted",
        [BROKER_REASON_CANCELLED] = "cancelled",
        [BROKER_REASON_FAILED] = "failed",
        [BROKER_REASON_DEADLINE] = "deadline",
        [BROKER_REASON_OWNER_GONE] = "owner-gone",
};

#define STRING_OF(table, i) ((size_t) (i) < ELEMENTSOF(table) && (table)[i] ? (table)[i] : "unknown")

const char *broker_operation_to_string(BrokerOperation operation) {
        return (size_t) operation < ELEMENTSOF(operation_rows) ? operation_rows[operation].name : "unknown";
}

const char *broker_stage_to_string(BrokerStage stage) {
        return STRING_OF(stage_names, stage);
}

const char *broker_end_reason_to_string(BrokerEndReason reason) {
        return STRING_OF(reason_names, reason);
}

size_t broker_request_size(uint32_t operation) {
        return operation < _BROKER_OPERATION_MAX ? REQUEST_HEADER + operation_rows[operation].size : 0;
}

#define IS_STRING(array) (memchr(array, 0, sizeof(array)) != NULL)

static bool slots_are_valid(const uint32_t slots[POLICY_SLOTS_MAX]) {
        for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                if (slots[i] >= _BROKER_SLOT_KIND_MAX)
                        return false;
        return true;
}

static size_t count_slots(const uint32_t slots[POLICY_SLOTS_MAX]) {
        size_t n = 0;

        for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                n += slots[i] != BROKER_SLOT_EMPTY;
        return n;
}

static bool create_is_valid(const BrokerCreate *create) {
        return slots_are_valid(create->slots) && !(create->flags & ~(uint32_t) _BROKER_CREATE_FLAGS_ALL) &&
               !(create->options & ~(uint32_t) _POLICY_OPTION_ALL) &&
               IS_STRING(create->source_name) && IS_STRING(create->mountpoint_name) && IS_STRING(create->server_options);
}

static bool send_file_is_valid(const BrokerSendFile *send) {
        return send->what <= POLICY_SLOTS_MAX && (send->open_flags & ~(uint32_t) O_DIRECT) <= O_RDWR &&
               send->path_size >= 2 && send->path_size <= sizeof send->path &&
               memchr(send->path, 0, sizeof send->path) == send->path + send->path_size - 1;
}

static bool mount_is_valid(const BrokerMount *mount) {
        return !(mount->options & ~(uint32_t) _POLICY_OPTION_ALL) &&
               (mount->expected_format == 0 || mount->expected_format == S_IFDIR || mount->expected_format == S_IFREG) &&
               IS_STRING(mount->fsname) && IS_STRING(mount->subtype);
}

static bool explain_is_valid(const BrokerExplain *explain) {
        return !(explain->options & ~(uint32_t) _POLICY_OPTION_ALL) && slots_are_valid(explain->slots) &&
               explain->as_other <= 1 && explain->n_groups <= ELEMENTSOF(explain->groups);
}

static bool program_is_valid(const BrokerProgram *program) {
        if (!IS_STRING(program->name) || program->n_tables > CHANNEL_TABLES_MAX)
                return false;
        for (uint32_t i = 0; i < program->n_tables; i++)
                if (!IS_STRING(program->tables[i].name) || !*program->tables[i].name ||
                    strspn(program->tables[i].name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(program->tables[i].name))
                        return false;
        return true;
}

int broker_request_validate(const BrokerRequest *request, size_t size) {
        bool ok = true;

        if (size < REQUEST_HEADER || request->magic != BROKER_MAGIC || request->operation >= _BROKER_OPERATION_MAX ||
            size != broker_request_size(request->operation))
                return -EBADMSG;

        bool has_mount = request->operation != BROKER_CREATE && request->operation != BROKER_EXPLAIN;
        if (has_mount != (request->mount_id != 0))
                return -EBADMSG;

        switch ((BrokerOperation) request->operation) {
        case BROKER_CREATE:
                ok = create_is_valid(&request->create);
                break;
        case BROKER_SEND_FILE:
                ok = send_file_is_valid(&request->send_file);
                break;
        case BROKER_MOUNT:
                ok = mount_is_valid(&request->mount);
                break;
        case BROKER_END:
                ok = request->end.how < _BROKER_END_MAX;
                break;
        case BROKER_EXPLAIN:
                ok = explain_is_valid(&request->explain);
                break;
        case BROKER_PROGRAM:
                ok = program_is_valid(&request->program);
                break;
        case BROKER_ATTACH:
                ok = IS_STRING(request->attach.name);
                break;
        case BROKER_SPAWN:
        case BROKER_QUERY:
        case BROKER_CHANNEL:
        case BROKER_CLONE:
        case BROKER_PRESSURE:
        case BROKER_BACKING_SOCKET:
        case BROKER_BACKING_OPEN: /* what is in value is for the kernel to say */
        case BROKER_BACKING_CLOSE:
        case _BROKER_OPERATION_MAX:
        case _BROKER_OPERATION_INVALID:
                break;
        }
        return ok ? 0 : -EBADMSG;
}

size_t broker_request_n_fds(const BrokerRequest *request) {
        if (request->operation == BROKER_EXPLAIN)
                return 1 + count_slots(request->explain.slots);
        if (request->operation != BROKER_CREATE)
                return 0;
        return 1 + !(request->create.flags & BROKER_CREATE_DETACHED) + count_slots(request->create.slots) +
               !!(request->create.flags & BROKER_CREATE_CHANNEL) + !!(request->create.flags & BROKER_CREATE_OWNER);
}

static bool record_is_valid(const BrokerRecord *record) {
        return IS_STRING(record->type_name) && IS_STRING(record->cgroup) && IS_STRING(record->source_name) &&
               IS_STRING(record->mountpoint_name) && IS_STRING(record->server_options);
}

int broker_reply_validate(const void *message, size_t size, bool *ret_is_event) {
        const BrokerReply *reply = message;
        const BrokerEvent *event = message;

        if (size < 2 * sizeof(uint32_t) || reply->magic != BROKER_MAGIC)
                return -EBADMSG;
        if (reply->operation & BROKER_EVENT_BIT) {
                if (size != sizeof(BrokerEvent) || (event->kind & ~BROKER_EVENT_BIT) >= _BROKER_EVENT_MAX ||
                    event->reason >= _BROKER_REASON_MAX || !record_is_valid(&event->record))
                        return -EBADMSG;
                *ret_is_event = true;
                return 0;
        }
        if (size != sizeof(BrokerReply) || reply->operation >= _BROKER_OPERATION_MAX || reply->stage >= _BROKER_STAGE_MAX ||
            (reply->operation != BROKER_QUERY && !record_is_valid(&reply->record)))
                return -EBADMSG;
        *ret_is_event = false;
        return 0;
}
