/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A{sv} to MountRequest to BrokerCreate. See request.h. */

#include "manager/request.h"

#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "manager/refusal.h"

typedef struct PropertyRow {
        const char *name;
        const char *signature;
        unsigned uses; /* RequestUse bits */
        int (*read)(sd_bus_message *message, MountRequest *request);
} PropertyRow;

static int read_source(sd_bus_message *message, MountRequest *request) {
        return sd_bus_message_read_basic(message, 'h', &request->source.fd);
}

static int read_source_kind(sd_bus_message *message, MountRequest *request) {
        return sd_bus_message_read_basic(message, 's', &request->source.kind);
}

static int read_name(sd_bus_message *message, const char **ret) {
        int r = sd_bus_message_read_basic(message, 's', ret);

        return r >= 0 && strlen(*ret) >= BROKER_NAME_MAX ? -ENAMETOOLONG : r;
}

static int read_source_name(sd_bus_message *message, MountRequest *request) {
        return read_name(message, &request->source_name);
}

static int read_mountpoint(sd_bus_message *message, MountRequest *request) {
        return sd_bus_message_read_basic(message, 'h', &request->mountpoint_fd);
}

static int read_channel(sd_bus_message *message, MountRequest *request) {
        return sd_bus_message_read_basic(message, 'h', &request->channel_fd);
}

static int read_mountpoint_name(sd_bus_message *message, MountRequest *request) {
        return read_name(message, &request->mountpoint_name);
}

static int read_owner(sd_bus_message *message, MountRequest *request) {
        return sd_bus_message_read_basic(message, 'h', &request->owner_fd);
}

/* The entry of that name, made if there is none yet: slots and slot-kinds come in any order. */
static RequestSlot *slot_named(MountRequest *request, const char *name) {
        for (size_t i = 0; i < request->n_slots; i++)
                if (strcmp(request->slots[i].name, name) == 0)
                        return &request->slots[i];
        if (request->n_slots >= ELEMENTSOF(request->slots))
                return NULL;
        request->slots[request->n_slots] = (RequestSlot){.name = name, .fd = -EBADF};
        return &request->slots[request->n_slots++];
}

static int read_slots(sd_bus_message *message, MountRequest *request) {
        const char *name;
        int r, fd;

        r = sd_bus_message_enter_container(message, 'a', "{sh}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(message, "{sh}", &name, &fd)) > 0) {
                RequestSlot *slot = slot_named(request, name);
                if (!slot)
                        return -E2BIG;
                if (slot->fd >= 0)
                        return -EEXIST;
                slot->fd = fd;
        }
        return r < 0 ? r : sd_bus_message_exit_container(message);
}

static int read_slot_kinds(sd_bus_message *message, MountRequest *request) {
        const char *name, *kind;
        int r;

        r = sd_bus_message_enter_container(message, 'a', "{ss}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(message, "{ss}", &name, &kind)) > 0) {
                RequestSlot *slot = slot_named(request, name);
                if (!slot)
                        return -E2BIG;
                if (slot->kind)
                        return -EEXIST;
                slot->kind = kind;
        }
        return r < 0 ? r : sd_bus_message_exit_container(message);
}

static int read_options(sd_bus_message *message, MountRequest *request) {
        const char *word;
        int r;

        r = sd_bus_message_enter_container(message, 'a', "s");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read_basic(message, 's', &word)) > 0) {
                if (request->n_options >= ELEMENTSOF(request->options))
                        return -E2BIG;
                request->options[request->n_options++] = word;
        }
        return r < 0 ? r : sd_bus_message_exit_container(message);
}

static int read_uid(sd_bus_message *message, MountRequest *request) {
        request->as_other = true;
        return sd_bus_message_read_basic(message, 'u', &request->uid);
}

static int read_gid(sd_bus_message *message, MountRequest *request) {
        return sd_bus_message_read_basic(message, 'u', &request->gid);
}

static int read_groups(sd_bus_message *message, MountRequest *request) {
        const uint32_t *groups;
        size_t size;
        int r;

        r = sd_bus_message_read_array(message, 'u', (const void **) &groups, &size);
        if (r < 0)
                return r;
        if (size > sizeof request->groups)
                return -E2BIG;
        if (size > 0)
                memcpy(request->groups, groups, size);
        request->n_groups = size / sizeof *groups;
        return 0;
}

static const PropertyRow property_rows[] = {
        {"source", "h", REQUEST_MOUNT | REQUEST_EXPLAIN, read_source},
        {"source-kind", "s", REQUEST_MOUNT | REQUEST_EXPLAIN, read_source_kind},
        {"source-name", "s", REQUEST_MOUNT, read_source_name},
        {"slots", "a{sh}", REQUEST_MOUNT | REQUEST_EXPLAIN, read_slots},
        {"slot-kinds", "a{ss}", REQUEST_MOUNT | REQUEST_EXPLAIN, read_slot_kinds},
        {"mountpoint", "h", REQUEST_MOUNT, read_mountpoint},
        {"channel", "h", REQUEST_MOUNT, read_channel},
        {"mountpoint-name", "s", REQUEST_MOUNT, read_mountpoint_name},
        {"owner", "h", REQUEST_MOUNT, read_owner},
        {"options", "as", REQUEST_MOUNT | REQUEST_EXPLAIN, read_options},
        {"uid", "u", REQUEST_EXPLAIN, read_uid},
        {"gid", "u", REQUEST_EXPLAIN, read_gid},
        {"groups", "au", REQUEST_EXPLAIN, read_groups},
};

static int invalid(Outcome *outcome, const char *name, const char *what) {
        char safe[128];

        log_escape(name, safe, sizeof safe);
        outcome_set(outcome, OUTCOME_INVALID, "property \"%s\": %s", safe, what);
        return -EINVAL;
}

static int read_property(sd_bus_message *message, RequestUse use, const char *name, MountRequest *request, Outcome *outcome) {
        for (size_t i = 0; i < ELEMENTSOF(property_rows); i++) {
                const PropertyRow *row = &property_rows[i];
                int r;

                if (strcmp(row->name, name) != 0 || !(row->uses & use))
                        continue;
                if (request->seen & (1U << i))
                        return invalid(outcome, name, "given twice");
                request->seen |= 1U << i;
                r = sd_bus_message_enter_container(message, 'v', row->signature);
                if (r < 0)
                        return invalid(outcome, name, "has another type than documented");
                r = row->read(message, request);
                if (r == -E2BIG)
                        return invalid(outcome, name, "too many entries");
                if (r == -EEXIST)
                        return invalid(outcome, name, "an entry is given twice");
                if (r == -ENAMETOOLONG)
                        return invalid(outcome, name, "longer than 255 bytes");
                if (r < 0 || sd_bus_message_exit_container(message) < 0)
                        return invalid(outcome, name, "malformed");
                return 0;
        }
        return invalid(outcome, name, "unknown");
}

int request_parse(sd_bus_message *message, RequestUse use, MountRequest *ret, Outcome *outcome) {
        const char *name;
        int r;

        *ret = (MountRequest){.source = {.name = "source", .fd = -EBADF}, .source_name = "", .mountpoint_name = "",
                               .mountpoint_fd = -EBADF, .channel_fd = -EBADF, .owner_fd = -EBADF};
        r = sd_bus_message_enter_container(message, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
                r = sd_bus_message_read_basic(message, 's', &name);
                if (r < 0)
                        break;
                r = read_property(message, use, name, ret, outcome);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(message);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(message);
        if (r < 0) {
                outcome_set(outcome, OUTCOME_INVALID, "the properties are malformed");
                return -EINVAL;
        }
        for (size_t i = 0; i < ret->n_slots; i++)
                if (ret->slots[i].fd < 0)
                        return invalid(outcome, "slot-kinds", "names a slot that \"slots\" does not have");
        return 0;
}

/* ---- in terms of a type --------------------------------------------------------------------------------------------- */

static const struct {
        const char *word;
        BrokerSlotKind kind;
} kind_rows[] = {
        {"file", BROKER_SLOT_FILE},
        {"device", BROKER_SLOT_DEVICE},
        {"tree", BROKER_SLOT_TREE},
};

static int kind_of(const RequestSlot *slot, uint32_t *ret) {
        const char *word = slot->kind ? slot->kind : "file";

        if (slot->fd < 0) {
                *ret = BROKER_SLOT_EMPTY;
                return 0;
        }
        for (size_t i = 0; i < ELEMENTSOF(kind_rows); i++)
                if (strcmp(word, kind_rows[i].word) == 0) {
                        *ret = kind_rows[i].kind;
                        return 0;
                }
        return -EINVAL;
}

static int find_slot(const PolicyTable *table, const PolicyType *type, const char *name) {
        for (uint32_t i = 0; i < type->slots.count; i++)
                if (strcmp(policy_slot(table, type, i)->name, name) == 0)
                        return (int) i;
        return -ENOENT;
}

static int bind_slot(const RequestSlot *slot, const PolicyTable *table, const PolicyType *type, BrokerCreate *create,
                     int *slot_fds, Outcome *outcome) {
        uint32_t kind;
        int i;

        if (kind_of(slot, &kind) < 0)
                return invalid(outcome, slot->name, "its kind must be file, device or tree");
        if (kind == BROKER_SLOT_EMPTY)
                return 0;
        i = find_slot(table, type, slot->name);
        if (i < 0) {
                refusal_compose_own(outcome, table, REFUSAL_SLOT_UNKNOWN, &type->place, "%s", slot->name);
                return -EACCES;
        }
        if (slot_fds[i] >= 0)
                return invalid(outcome, slot->name, "given as source and as slot");
        slot_fds[i] = slot->fd;
        create->slots[i] = kind;
        return 0;
}

static int bind_slots(const MountRequest *request, const PolicyTable *table, const PolicyType *type,
                      BrokerCreate *create, int *slot_fds, Outcome *outcome) {
        int r;

        r = bind_slot(&request->source, table, type, create, slot_fds, outcome);
        if (r < 0)
                return r;
        for (size_t i = 0; i < request->n_slots; i++) {
                r = bind_slot(&request->slots[i], table, type, create, slot_fds, outcome);
                if (r < 0)
                        return r;
        }
        for (uint32_t i = 0; i < type->slots.count; i++) {
                const PolicySlot *slot = policy_slot(table, type, i);
                if (slot->required && slot_fds[i] < 0) {
                        refusal_compose_own(outcome, table, REFUSAL_SLOT_MISSING, &type->place, "%s", slot->name);
                        return -EACCES;
                }
        }
        return 0;
}

/* Words become one comma-separated argument of the server: no comma, no quoting, nothing unprintable. */
static bool word_is_plain(const char *word) {
        size_t length = strlen(word);

        for (size_t i = 0; i < length; i++)
                if (word[i] <= 0x20 || word[i] >= 0x7f || strchr(",\\\"'", word[i]))
                        return false;
        return length > 0;
}

static int add_server_option(const char *word, const PolicyTable *table, const PolicyType *type, BrokerCreate *create, Outcome *outcome) {
        size_t have = strlen(create->server_options);
        int n;

        if (!word_is_plain(word) || !server_option_is_listed(policy_string(table, type->server_options), word)) {
                refusal_compose_own(outcome, table, REFUSAL_OPTION, &type->place, "%s", word);
                return -EACCES;
        }
        n = snprintf(create->server_options + have, sizeof create->server_options - have, "%s%s", have ? "," : "", word);
        if ((size_t) n >= sizeof create->server_options - have)
                return invalid(outcome, "options", "too long together");
        return 0;
}

/* What the caller's own program calls itself; the broker checks it. There is no other server that options could be for. */
static bool take_subtype(const char *word, BrokerCreate *create) {
        static const char key[] = "subtype=";
        const char *value = word + strlen(key);

        if (strncmp(word, key, strlen(key)) != 0 || strlen(value) >= POLICY_NAME_MAX)
                return false;
        (void) snprintf(create->server_options, sizeof create->server_options, "%s", value);
        return true;
}

static int resolve_options(const MountRequest *request, const PolicyTable *table, const PolicyType *type, BrokerCreate *create, Outcome *outcome) {
        MountOptions options = {0};
        int r;

        for (size_t i = 0; i < request->n_options; i++) {
                r = mount_options_parse_word(request->options[i], &options);
                if (r < 0) {
                        char safe[128];
                        log_escape(request->options[i], safe, sizeof safe);
                        outcome_set(outcome, OUTCOME_INVALID, "option \"%s\" has a bad value", safe);
                        return -EINVAL;
                }
                if (r > 0)
                        continue;
                if (type->hand_over == POLICY_HAND_OVER_CALLER && take_subtype(request->options[i], create))
                        continue;
                r = add_server_option(request->options[i], table, type, create, outcome);
                if (r < 0)
                        return r;
        }
        create->options = options.bits;
        create->max_read = options.max_read;
        create->blksize = options.blksize;
        return 0;
}

int request_resolve(const MountRequest *request, RequestUse use, const PolicyTable *table, const PolicyType *type, BrokerCreate *ret_create,
                    int fds[static REQUEST_FDS_MAX], size_t *ret_n_fds, Outcome *outcome) {
        int slot_fds[POLICY_SLOTS_MAX], r;
        BrokerCreate create = {0};
        size_t n = 0;

        fd_fill(slot_fds, ELEMENTSOF(slot_fds));
        if (use == REQUEST_MOUNT && (request->channel_fd >= 0) != (type->hand_over == POLICY_HAND_OVER_CALLER))
                return invalid(outcome, "channel", "goes with a type of HandOver=caller, and only with such");
        r = bind_slots(request, table, type, &create, slot_fds, outcome);
        if (r < 0)
                return r;
        r = resolve_options(request, table, type, &create, outcome);
        if (r < 0)
                return r;
        (void) snprintf(create.source_name, sizeof create.source_name, "%s", request->source_name);
        (void) snprintf(create.mountpoint_name, sizeof create.mountpoint_name, "%s", request->mountpoint_name);
        if (request->mountpoint_fd >= 0)
                fds[n++] = request->mountpoint_fd;
        else
                create.flags |= BROKER_CREATE_DETACHED;
        for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                if (slot_fds[i] >= 0)
                        fds[n++] = slot_fds[i];
        if (request->channel_fd >= 0) {
                fds[n++] = request->channel_fd;
                create.flags |= BROKER_CREATE_CHANNEL;
        }
        if (request->owner_fd >= 0) {
                fds[n++] = request->owner_fd;
                create.flags |= BROKER_CREATE_OWNER;
        }
        *ret_n_fds = n;
        *ret_create = create;
        return 0;
}
