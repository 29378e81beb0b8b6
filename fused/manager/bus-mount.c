/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mount as a dictionary: one row per key, in the order of man/org.fused1.5.scd. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "manager/bus.h"
#include "policy/options.h"

int bus_append_entry(sd_bus_message *reply, const char *key, const char *type, ...) {
        va_list args;
        int r;

        r = sd_bus_message_open_container(reply, 'e', "sv");
        if (r < 0)
                return r;
        r = sd_bus_message_append_basic(reply, 's', key);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(reply, 'v', type);
        if (r < 0)
                return r;
        va_start(args, type);
        r = sd_bus_message_appendv(reply, type, args);
        va_end(args);
        if (r < 0)
                return r;
        r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* Clients' names are bytes; D-Bus strings are UTF-8. Rather than judge what is good UTF-8, anything but ASCII is escaped. */
static const char *printable(const char *text, char *buffer, size_t size) {
        for (const char *p = text; *p; p++)
                if (*p < 0x20 || *p >= 0x7f) { /* char is signed or not: bytes above 0x7f are caught either way */
                        log_escape(text, buffer, size);
                        return buffer;
                }
        return text;
}

int bus_append_text(sd_bus_message *reply, const char *key, const char *text) {
        char buffer[4 * BROKER_NAME_MAX + 8];

        return bus_append_entry(reply, key, "s", printable(text, buffer, sizeof buffer));
}

typedef struct MountView {
        const Mount *mount;
        const BrokerRecord *record; /* the mount's */
        const BrokerQueryReply *query; /* or NULL */
} MountView;

typedef int (*append_t)(sd_bus_message *reply, const char *key, const MountView *view);

#define ENTRY_OF(name, type, value)                                                             \
        static int append_##name(sd_bus_message *reply, const char *key, const MountView *v) { \
                return bus_append_entry(reply, key, type, value);                               \
        }
#define TEXT_OF(name, value)                                                                    \
        static int append_##name(sd_bus_message *reply, const char *key, const MountView *v) { \
                return bus_append_text(reply, key, value);                                      \
        }

ENTRY_OF(id, "t", v->record->mount_id)
TEXT_OF(type, mount_type_name(v->mount))
TEXT_OF(state, mount_state_to_string(v->mount->state))
TEXT_OF(source, v->record->source_name)
TEXT_OF(mountpoint, v->record->mountpoint_name)
ENTRY_OF(detached, "b", (int) (v->record->flags & BROKER_CREATE_DETACHED))
ENTRY_OF(uid, "u", v->record->uid)
ENTRY_OF(gid, "u", v->record->gid)
TEXT_OF(program, v->mount->program)
ENTRY_OF(program_memory, "t", (uint64_t) v->record->program_mib << 20)
ENTRY_OF(program_in_kernel, "b", (int) (v->record->program_bound != 0))
TEXT_OF(server_options, v->record->server_options)
ENTRY_OF(created, "t", v->record->created_usec)
ENTRY_OF(live, "t", v->record->live_usec)
ENTRY_OF(kernel_mount_id, "t", v->record->kernel_mount_id)
ENTRY_OF(kernel_mount_id_unique, "b", (int) v->record->mount_id_unique)
ENTRY_OF(connection, "u", v->record->connection)
ENTRY_OF(server_pid, "i", v->record->server_pid)
ENTRY_OF(server_uid, "u", v->record->server_uid)
ENTRY_OF(backing_files, "u", v->record->n_backings)
ENTRY_OF(owner_pid, "i", v->record->owner_pid)
TEXT_OF(cgroup, v->record->cgroup)
ENTRY_OF(device_size, "t", v->record->device_size)
TEXT_OF(last_event, v->mount->last_event)
ENTRY_OF(last_event_usec, "t", v->mount->last_event_usec)

static int append_options(sd_bus_message *reply, const char *key, const MountView *v) {
        const MountOptions options = {.bits = v->record->options, .max_read = v->record->max_read, .blksize = v->record->blksize};
        char text[512];

        mount_options_format(&options, text, sizeof text);
        return bus_append_text(reply, key, text);
}

static int append_uptime(sd_bus_message *reply, const char *key, const MountView *v) {
        uint64_t now = boottime_usec(), since = v->record->live_usec;

        return bus_append_entry(reply, key, "t", since > 0 && now > since ? now - since : (uint64_t) 0);
}

static int append_slots(sd_bus_message *reply, const char *key, const MountView *v) {
        static const char *const kinds[_BROKER_SLOT_KIND_MAX] = {
                [BROKER_SLOT_EMPTY] = "empty",
                [BROKER_SLOT_FILE] = "file",
                [BROKER_SLOT_DEVICE] = "device",
                [BROKER_SLOT_TREE] = "tree",
        };
        const PolicyType *type = v->mount->type;
        int r;

        r = sd_bus_message_open_container(reply, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 's', key);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'v', "a{ss}");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{ss}");
        for (uint32_t i = 0; r >= 0 && type && i < type->slots.count; i++) {
                uint32_t kind = v->record->slots[i];
                r = sd_bus_message_append(reply, "{ss}", policy_slot(policy_table(v->mount->policy), type, i)->name,
                                          kind < _BROKER_SLOT_KIND_MAX ? kinds[kind] : "unknown");
        }
        for (int i = 0; i < 3 && r >= 0; i++)
                r = sd_bus_message_close_container(reply);
        return r;
}

static int append_device(sd_bus_message *reply, const char *key, const MountView *v) {
        char text[32] = "";

        if (v->record->device_major || v->record->device_minor)
                (void) snprintf(text, sizeof text, "%u:%u", v->record->device_major, v->record->device_minor);
        return bus_append_entry(reply, key, "s", text);
}

static int append_limits(sd_bus_message *reply, const char *key, const MountView *v) {
        const PolicyType *type = v->mount->type;

        if (!type)
                return bus_append_entry(reply, key, "a{st}", 0);
        return bus_append_entry(reply, key, "a{st}", 9, "memory", type->max_memory, "processes", (uint64_t) type->max_processes,
                                "open-files", (uint64_t) type->max_open_files, "backing-files", (uint64_t) type->max_backings,
                                "cpu-percent", type->max_cpu_percent, "oom-score", (uint64_t) type->oom_score,
                                "start-usec", type->start_usec, "init-usec", type->init_usec, "stop-usec", type->stop_usec);
}

static int append_hand_over(sd_bus_message *reply, const char *key, const MountView *v) {
        const PolicyType *type = v->mount->type;

        return bus_append_entry(reply, key, "s", !type ? "" : policy_hand_over_to_string(type->hand_over));
}

/* What a server that maps counts: its own words, for show. Empty for the rest. */
static int append_mapping(sd_bus_message *reply, const char *key, const MountView *v) {
        ChannelStatistics s;

        if (!channel_statistics(v->mount->channel, &s) || s.engine == CHANNEL_ENGINE_NONE)
                return bus_append_entry(reply, key, "a{st}", 0);
        return bus_append_entry(reply, key, "a{st}", 13, "answered-by-cache", s.answered_by_cache, "answered-by-program", s.answered_by_program,
                                "answered-by-server", s.answered_by_server, "bad-mappings", s.bad_mappings, "cache-bytes", s.cache_bytes,
                                "cache-limit", s.cache_limit, "cache-mappings", s.cache_mappings, "cache-evicted", s.cache_evicted,
                                "bytes-read", s.bytes_read, "bytes-written", s.bytes_written, "threads", (uint64_t) s.n_threads,
                                "cache-shrunk", s.cache_shrunk, "pressure-watched", s.pressure_watched);
}

static int append_engine(sd_bus_message *reply, const char *key, const MountView *v) {
        ChannelStatistics s;
        bool maps = channel_statistics(v->mount->channel, &s) && s.engine != CHANNEL_ENGINE_NONE;

        return bus_append_entry(reply, key, "s", maps ? channel_engine_to_string(s.engine) : "");
}

static int append_engine_reason(sd_bus_message *reply, const char *key, const MountView *v) {
        ChannelStatistics s;
        bool maps = channel_statistics(v->mount->channel, &s) && s.engine != CHANNEL_ENGINE_NONE;

        return bus_append_entry(reply, key, "s", maps ? channel_reason_to_string(s.reason) : "");
}

static const struct {
        const char *key;
        append_t append;
} mount_rows[] = {
        {"id", append_id},
        {"type", append_type},
        {"state", append_state},
        {"source", append_source},
        {"mountpoint", append_mountpoint},
        {"detached", append_detached},
        {"uid", append_uid},
        {"gid", append_gid},
        {"options", append_options},
        {"server-options", append_server_options},
        {"created-usec", append_created},
        {"live-usec", append_live},
        {"uptime-usec", append_uptime},
        {"kernel-mount-id", append_kernel_mount_id},
        {"kernel-mount-id-unique", append_kernel_mount_id_unique},
        {"connection", append_connection},
        {"server-pid", append_server_pid},
        {"server-uid", append_server_uid},
        {"owner-pid", append_owner_pid},
        {"cgroup", append_cgroup},
        {"slots", append_slots},
        {"device", append_device},
        {"device-size", append_device_size},
        {"limits", append_limits},
        {"hand-over", append_hand_over},
        {"engine", append_engine},
        {"engine-reason", append_engine_reason},
        {"program", append_program},
        {"program-memory", append_program_memory},
        {"program-in-kernel", append_program_in_kernel},
        {"mapping", append_mapping},
        {"backing-files", append_backing_files},
        {"last-event", append_last_event},
        {"last-event-usec", append_last_event_usec},
};

ENTRY_OF(waiting, "u", v->query->waiting)
ENTRY_OF(memory, "t", v->query->memory_bytes)
ENTRY_OF(processes, "u", v->query->n_processes)
ENTRY_OF(fds, "u", v->query->n_fds)
ENTRY_OF(cpu, "t", v->query->cpu_usec)

static int append_log(sd_bus_message *reply, const char *key, const MountView *v) {
        const char *line;
        int r;

        r = sd_bus_message_open_container(reply, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 's', key);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'v', "as");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "s");
        for (size_t i = 0; r >= 0 && (line = server_log_line(v->mount->log, i)); i++)
                r = sd_bus_message_append_basic(reply, 's', line);
        for (int i = 0; i < 3 && r >= 0; i++)
                r = sd_bus_message_close_container(reply);
        return r;
}

/* Only in GetMount: the broker is asked for them. */
static const struct {
        const char *key;
        append_t append;
} query_rows[] = {
        {"requests-waiting", append_waiting},
        {"memory", append_memory},
        {"cpu-usec", append_cpu},
        {"processes", append_processes},
        {"fds", append_fds},
        {"log", append_log},
};

int bus_append_mount_entries(sd_bus_message *reply, const Mount *mount, const BrokerQueryReply *query) {
        const MountView view = {.mount = mount, .record = &mount->record, .query = query};
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(mount_rows) && r >= 0; i++)
                r = mount_rows[i].append(reply, mount_rows[i].key, &view);
        for (size_t i = 0; query && i < ELEMENTSOF(query_rows) && r >= 0; i++)
                r = query_rows[i].append(reply, query_rows[i].key, &view);
        return r;
}

int bus_append_mount(sd_bus_message *reply, const Mount *mount, const BrokerQueryReply *query) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "{sv}");
        if (r >= 0)
                r = bus_append_mount_entries(reply, mount, query);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}
