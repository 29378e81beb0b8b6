/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Drafts into the one table that broker and manager map. See policy-table.h for its layout. */

#include <linux/filter.h>
#include <string.h>

#include "policy/load.h"

typedef struct Rows { /* one array of the table while it grows */
        char *data; /* owned */
        uint32_t count;
        size_t row_size;
} Rows;

typedef struct Builder {
        PolicyTable table;
        Rows types, arguments, slots, rules, devices, ids, files, users, programs, filters, strings;
} Builder;

static void rows_done(Builder *b) {
        Rows *const all[] = {&b->types, &b->arguments, &b->slots, &b->rules,   &b->devices,
                             &b->ids,   &b->files,     &b->users, &b->programs, &b->filters, &b->strings};

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                free(all[i]->data);
}

static int push(Rows *rows, const void *data, size_t n) {
        char *grown;

        if (n == 0)
                return 0;
        if (n > POLICY_TABLE_MAX_SIZE / rows->row_size - rows->count)
                return -E2BIG;
        grown = realloc(rows->data, (rows->count + n) * rows->row_size);
        if (!grown)
                return -ENOMEM;
        rows->data = grown;
        memcpy(grown + (size_t) rows->count * rows->row_size, data, n * rows->row_size);
        rows->count += (uint32_t) n;
        return 0;
}

/* Equal strings are stored once: the libraries of all types are mostly the same. */
static int push_string(Builder *b, const char *text, uint32_t *ret) {
        size_t length = text ? strlen(text) : 0;

        *ret = 0;
        if (length == 0)
                return 0;
        for (uint32_t at = 0; at < b->strings.count; at += (uint32_t) strlen(b->strings.data + at) + 1)
                if (strcmp(b->strings.data + at, text) == 0) {
                        *ret = at;
                        return 0;
                }
        *ret = b->strings.count;
        return push(&b->strings, text, length + 1);
}

static int push_files(Builder *b, char *const *paths, size_t n) {
        for (size_t i = 0; i < n; i++) {
                PolicyFile file = {0};
                int r = push_string(b, paths[i], &file.path);
                if (r >= 0)
                        r = push(&b->files, &file, 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int push_rule(Builder *b, const DraftRule *draft) {
        PolicyRule rule = draft->rule;
        int r;

        r = push_string(b, draft->file, &rule.place.file);
        if (r < 0)
                return r;
        rule.uids = (PolicyRange){b->ids.count, (uint32_t) draft->n_uids};
        r = push(&b->ids, draft->uids, draft->n_uids);
        if (r < 0)
                return r;
        rule.gids = (PolicyRange){b->ids.count, (uint32_t) draft->n_gids};
        r = push(&b->ids, draft->gids, draft->n_gids);
        if (r < 0)
                return r;
        rule.owners = (PolicyRange){b->ids.count, (uint32_t) draft->n_owners};
        r = push(&b->ids, draft->owners, draft->n_owners);
        if (r >= 0)
                r = push_string(b, draft->units ?: "", &rule.units);
        if (r >= 0)
                r = push_string(b, draft->cgroups ?: "", &rule.cgroups);
        if (r < 0)
                return r;
        rule.devices = (PolicyRange){b->devices.count, (uint32_t) draft->n_devices};
        for (size_t i = 0; i < draft->n_devices; i++) {
                PolicyDevice device = draft->devices[i];
                r = push_string(b, draft->device_paths[i], &device.path);
                if (r >= 0)
                        r = push(&b->devices, &device, 1);
                if (r < 0)
                        return r;
        }
        return push(&b->rules, &rule, 1);
}

static int push_slots(Builder *b, const DraftType *draft) {
        for (size_t i = 0; i < draft->n_slots; i++) {
                PolicySlot slot = draft->slots[i];
                if (slot.sources & POLICY_SOURCE_NONE) /* it says itself that it may stay empty */
                        slot.required = 0;
                char path[POLICY_NAME_MAX + 16];
                (void) snprintf(path, sizeof path, "/slots/%s", slot.name);
                int r = push_string(b, path, &slot.path);
                if (r >= 0)
                        r = push(&b->slots, &slot, 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A type with a mistake keeps its name, place and reason; nothing else of it can be used. */
static int push_disabled(Builder *b, const DraftType *draft, PolicyType *type) {
        *type = (PolicyType){.place = type->place, .description = type->description};
        memcpy(type->name, draft->type.name, sizeof type->name);
        return push_string(b, draft->disabled, &type->disabled);
}

static int push_type(Builder *b, const DraftType *draft) {
        PolicyType type = draft->type;
        int r;

        r = push_string(b, draft->file, &type.place.file);
        if (r >= 0)
                r = push_string(b, draft->description, &type.description);
        if (r < 0)
                return r;
        if (draft->disabled) {
                r = push_disabled(b, draft, &type);
                return r < 0 ? r : push(&b->types, &type, 1);
        }
        r = push_string(b, draft->program, &type.program);
        if (r >= 0)
                r = push_string(b, draft->server_options, &type.server_options);
        if (r >= 0)
                r = push_string(b, draft->programs, &type.programs);
        type.arguments = (PolicyRange){b->arguments.count, (uint32_t) draft->n_arguments};
        for (size_t i = 0; i < draft->n_arguments && r >= 0; i++) {
                uint32_t argument;
                r = push_string(b, draft->arguments[i], &argument);
                if (r >= 0)
                        r = push(&b->arguments, &argument, 1);
        }
        type.slots = (PolicyRange){b->slots.count, (uint32_t) draft->n_slots};
        if (r >= 0)
                r = push_slots(b, draft);
        type.rules = (PolicyRange){b->rules.count, (uint32_t) draft->n_rules};
        for (size_t i = 0; i < draft->n_rules && r >= 0; i++)
                r = push_rule(b, &draft->rules[i]);
        type.files = (PolicyRange){b->files.count, (uint32_t) (draft->n_libraries + draft->n_extra_files)};
        if (r >= 0)
                r = push_files(b, draft->libraries, draft->n_libraries);
        if (r >= 0)
                r = push_files(b, draft->extra_files, draft->n_extra_files);
        type.filter = (PolicyRange){b->filters.count, (uint32_t) draft->n_filter};
        if (r >= 0)
                r = push(&b->filters, draft->filter, draft->n_filter);
        return r < 0 ? r : push(&b->types, &type, 1);
}

static int push_users(Builder *b, const DraftMain *draft) {
        for (size_t i = 0; i < draft->n_users; i++) {
                PolicyUser user = draft->users[i].user;
                int r = push_string(b, draft->users[i].file, &user.place.file);
                if (r >= 0)
                        r = push(&b->users, &user, 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int push_programs(Builder *b, const DraftMain *draft) {
        for (size_t i = 0; i < draft->n_programs; i++) {
                const DraftProgram *from = &draft->programs[i];
                PolicyProgram program = from->program;
                int r = 0;
                if (from->wrong) /* said already; what asks for it finds that there is none */
                        continue;
                r = push_string(b, from->file, &program.place.file);
                if (r >= 0)
                        r = push_string(b, from->object, &program.object);
                if (r >= 0)
                        r = push_string(b, from->signature, &program.signature);
                if (r >= 0)
                        r = push_string(b, from->public_key, &program.public_key);
                if (r >= 0)
                        r = push(&b->programs, &program, 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int lay_out(Builder *b, void **ret, size_t *ret_size) {
        const struct {
                const Rows *rows;
                PolicyArray *array;
        } parts[] = {
                {&b->types, &b->table.types},     {&b->arguments, &b->table.arguments},
                {&b->slots, &b->table.slots},     {&b->rules, &b->table.rules},
                {&b->devices, &b->table.devices}, {&b->ids, &b->table.ids},
                {&b->files, &b->table.files},     {&b->users, &b->table.users},
                {&b->programs, &b->table.programs},
                {&b->filters, &b->table.filters}, {&b->strings, &b->table.strings},
        };
        size_t size = ALIGN_TO(sizeof(PolicyTable), 8);
        char *data;

        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                *parts[i].array = (PolicyArray){(uint32_t) size, parts[i].rows->count};
                size = ALIGN_TO(size + (size_t) parts[i].rows->count * parts[i].rows->row_size, 8);
        }
        if (size > POLICY_TABLE_MAX_SIZE)
                return -E2BIG;
        data = calloc(1, size);
        if (!data)
                return -ENOMEM;
        b->table.size = (uint32_t) size;
        memcpy(data, &b->table, sizeof b->table);
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                if (parts[i].rows->count > 0)
                        memcpy(data + parts[i].array->offset, parts[i].rows->data,
                               (size_t) parts[i].rows->count * parts[i].rows->row_size);
        *ret = data;
        *ret_size = size;
        return 0;
}

int make_table(const DraftMain *main, const DraftType *types, size_t n_types, void **ret, size_t *ret_size) {
        _cleanup_(rows_done) Builder b = {
                .table = {
                        .magic = POLICY_TABLE_MAGIC,
                        .uid_first = main->uid_first,
                        .uid_count = main->uid_count,
                        .max_mounts = main->max_mounts,
                        .spares = main->spares,
                        .limits = main->limits,
                        .limits_place.line = main->limits_line,
                        .manager_uid = main->manager_uid,
                        .manager_gid = main->manager_gid,
                },
                .types.row_size = sizeof(PolicyType),
                .arguments.row_size = sizeof(uint32_t),
                .slots.row_size = sizeof(PolicySlot),
                .rules.row_size = sizeof(PolicyRule),
                .devices.row_size = sizeof(PolicyDevice),
                .ids.row_size = sizeof(uint32_t),
                .files.row_size = sizeof(PolicyFile),
                .users.row_size = sizeof(PolicyUser),
                .programs.row_size = sizeof(PolicyProgram),
                .filters.row_size = sizeof(struct sock_filter),
                .strings.row_size = 1,
        };
        int r;

        r = push(&b.strings, "", 1); /* offset 0 is the empty string */
        if (r >= 0)
                r = push_string(&b, main->limits_file ? main->limits_file : "(built in)", &b.table.limits_place.file);
        b.table.manager_files = (PolicyRange){0, (uint32_t) main->n_manager_files};
        if (r >= 0)
                r = push_files(&b, main->manager_files, main->n_manager_files);
        if (r >= 0)
                r = push_users(&b, main);
        if (r >= 0)
                r = push_programs(&b, main);
        for (size_t i = 0; i < n_types && r >= 0; i++)
                r = push_type(&b, &types[i]);
        return r < 0 ? r : lay_out(&b, ret, ret_size);
}
