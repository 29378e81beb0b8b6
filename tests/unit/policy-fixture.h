/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A policy table with something in every array, and a walk over all of it. For tests and the fuzz target. */

#include <string.h>

#include "policy/policy-table.h"

enum { FIXTURE_EXT4, FIXTURE_MIRROR, FIXTURE_OFF, FIXTURE_N_TYPES };
enum { FIXTURE_RULE_ROOT, FIXTURE_RULE_ALICE, FIXTURE_RULE_EVERYBODY, FIXTURE_RULE_TREES, FIXTURE_N_RULES };
enum { FIXTURE_ALICE = 1000, FIXTURE_BOB = 1001, FIXTURE_DISK = 6 };

typedef struct Fixture {
        PolicyTable table;
        PolicyType types[FIXTURE_N_TYPES];
        uint32_t arguments[2];
        PolicySlot slots[3];
        PolicyRule rules[FIXTURE_N_RULES];
        PolicyDevice devices[4];
        uint32_t ids[4];
        PolicyFile files[4];
        PolicyUser users[1];
        PolicyProgram programs[1];
        uint64_t filters[2]; /* instructions */
        char strings[512];
} Fixture;

static inline uint32_t fixture_string(Fixture *f, const char *text) {
        uint32_t at = f->table.strings.count;

        memcpy(f->strings + at, text, strlen(text) + 1);
        f->table.strings.count += (uint32_t) strlen(text) + 1;
        return at;
}

#define FIXTURE_ARRAY(member)                                                                                          \
        ((PolicyArray){.offset = offsetof(Fixture, member), .count = ELEMENTSOF(((Fixture *) NULL)->member)})

static inline void fixture_arrays(Fixture *f) {
        f->table = (PolicyTable){
                .magic = POLICY_TABLE_MAGIC,
                .size = sizeof *f,
                .uid_first = 1879048192,
                .uid_count = 65536,
                .max_mounts = 4096,
                .limits = {.max_mounts = 256, .max_pending = 16, .max_fds = 4096, .max_processes = 1024,
                           .max_memory = UINT32_MAX, .max_cpu = UINT32_MAX},
                .manager_uid = 990,
                .manager_gid = 991,
                .manager_files = {2, 2},
                .types = FIXTURE_ARRAY(types),
                .arguments = FIXTURE_ARRAY(arguments),
                .slots = FIXTURE_ARRAY(slots),
                .rules = FIXTURE_ARRAY(rules),
                .devices = FIXTURE_ARRAY(devices),
                .ids = FIXTURE_ARRAY(ids),
                .files = FIXTURE_ARRAY(files),
                .users = FIXTURE_ARRAY(users),
                .programs = FIXTURE_ARRAY(programs),
                .filters = FIXTURE_ARRAY(filters),
                .strings = {.offset = offsetof(Fixture, strings), .count = 1},
        };
}

static inline void fixture_types(Fixture *f, PolicyPlace place) {
        const PolicyType usable = {
                .description = fixture_string(f, "for tests"),
                .place = place,
                .filter = {0, 2},
                .max_open_files = 64,
                .max_processes = 16,
                .start_usec = USEC_PER_SEC,
                .init_usec = USEC_PER_SEC,
                .stop_usec = USEC_PER_SEC,
        };

        f->types[FIXTURE_EXT4] = f->types[FIXTURE_MIRROR] = usable;
        strcpy(f->types[FIXTURE_EXT4].name, "ext4");
        f->types[FIXTURE_EXT4].hand_over = POLICY_HAND_OVER_FD;
        f->types[FIXTURE_EXT4].program = fixture_string(f, "/usr/bin/fuse2fs");
        f->types[FIXTURE_EXT4].server_options = fixture_string(f, "offset=,quiet");
        f->types[FIXTURE_EXT4].arguments = (PolicyRange){0, 2};
        f->types[FIXTURE_EXT4].slots = (PolicyRange){0, 2};
        f->types[FIXTURE_EXT4].rules = (PolicyRange){FIXTURE_RULE_ROOT, 3};
        f->types[FIXTURE_EXT4].files = (PolicyRange){0, 2};
        strcpy(f->types[FIXTURE_MIRROR].name, "mirror");
        f->types[FIXTURE_MIRROR].program = fixture_string(f, "/usr/libexec/fused/fused-mirror");
        f->types[FIXTURE_MIRROR].slots = (PolicyRange){2, 1};
        f->types[FIXTURE_MIRROR].rules = (PolicyRange){FIXTURE_RULE_TREES, 1};
        f->types[FIXTURE_OFF] = (PolicyType){
                .name = "off", .place = place, .disabled = fixture_string(f, "off.conf:3: Progam: no such key")};
}

static inline void fixture_rules(Fixture *f, uint32_t file) {
        f->rules[FIXTURE_RULE_ROOT] = (PolicyRule){
                .name = "root",
                .place = {file, 10},
                .uids = {0, 1},
                .sources = POLICY_SOURCE_FILE | POLICY_SOURCE_DEVICE,
                .devices = {0, 1},
                .options = POLICY_OPTION_ALLOW_OTHER | POLICY_OPTION_SUID | POLICY_OPTION_DEV,
                .administrator = 1,
        };
        f->rules[FIXTURE_RULE_ALICE] = (PolicyRule){
                .name = "alice",
                .place = {file, 20},
                .uids = {1, 1},
                .gids = {2, 1},
                .sources = POLICY_SOURCE_FILE | POLICY_SOURCE_DEVICE,
                .devices = {1, 3},
                .options = POLICY_OPTION_ALLOW_OTHER,
        };
        f->rules[FIXTURE_RULE_EVERYBODY] = (PolicyRule){
                .name = "everybody", .place = {file, 30}, .uids = {3, 1}, .sources = POLICY_SOURCE_FILE};
        f->rules[FIXTURE_RULE_TREES] = (PolicyRule){
                .name = "trees", .place = {file, 40}, .gids = {2, 1}, .sources = POLICY_SOURCE_TREE};
        f->devices[0] = (PolicyDevice){.kind = POLICY_DEVICE_NUMBER, .major = POLICY_ID_ANY, .minor = POLICY_ID_ANY};
        f->devices[1] = (PolicyDevice){.kind = POLICY_DEVICE_PATH, .path = fixture_string(f, "disk/by-id/usb-*")};
        f->devices[2] = (PolicyDevice){.kind = POLICY_DEVICE_LOOP, .path = fixture_string(f, "/srv/a.img")};
        f->devices[3] = (PolicyDevice){.kind = POLICY_DEVICE_NUMBER, .major = 8, .minor = POLICY_ID_ANY};
        f->ids[0] = 0;
        f->ids[1] = FIXTURE_ALICE;
        f->ids[2] = FIXTURE_DISK;
        f->ids[3] = POLICY_ID_ANY;
}

static inline void fixture_fill(Fixture *f) {
        *f = (Fixture){0};
        fixture_arrays(f);
        const uint32_t file = fixture_string(f, "/etc/fused/types/ext4.conf"),
                       slash_source = fixture_string(f, "/slots/source");
        fixture_types(f, (PolicyPlace){file, 1});
        fixture_rules(f, file);
        f->arguments[0] = fixture_string(f, "%s");
        f->arguments[1] = fixture_string(f, "-o");
        f->slots[0] = (PolicySlot){.name = "source",
                                   .sources = POLICY_SOURCE_FILE | POLICY_SOURCE_DEVICE,
                                   .required = 1,
                                   .writable = 1,
                                   .path = slash_source};
        f->slots[1] = (PolicySlot){
                .name = "journal", .sources = POLICY_SOURCE_FILE, .path = fixture_string(f, "/slots/journal")};
        f->slots[2] = (PolicySlot){
                .name = "source", .sources = POLICY_SOURCE_TREE, .required = 1, .path = slash_source};
        f->files[0].path = f->types[FIXTURE_EXT4].program;
        f->files[1].path = f->files[3].path = fixture_string(f, "/lib64/ld-linux-x86-64.so.2");
        f->files[2].path = fixture_string(f, "/usr/libexec/fused/fused-manager");
        f->table.limits_place = (PolicyPlace){fixture_string(f, "/etc/fused/fused.conf"), 14};
        f->programs[0] = (PolicyProgram){.name = "stripe", .object = f->types[0].program, .has_digest = 1, .max_memory = 1 << 20};
        f->users[0] = (PolicyUser){.uid = 0,
                                   .limits = {UINT32_MAX, 256, UINT32_MAX, UINT32_MAX},
                                   .place = {f->table.limits_place.file, 20}};
}

static inline uint64_t walk_bytes(const void *data, size_t size) {
        uint64_t sum = 0;

        for (size_t i = 0; i < size; i++)
                sum += ((const unsigned char *) data)[i];
        return sum;
}

static inline uint64_t walk_place(const PolicyTable *table, PolicyPlace place) {
        return strlen(policy_string(table, place.file)) + place.line;
}

static inline uint64_t walk_type(const PolicyTable *table, const PolicyType *type) {
        uint64_t sum = strlen(type->name) + walk_place(table, type->place) +
                       strlen(policy_string(table, type->description)) + strlen(policy_string(table, type->disabled)) +
                       strlen(policy_string(table, type->program)) + strlen(policy_string(table, type->server_options));

        for (uint32_t i = 0; i < type->arguments.count; i++)
                sum += strlen(policy_argument(table, type, i));
        for (uint32_t i = 0; i < type->slots.count; i++)
                sum += strlen(policy_slot(table, type, i)->name) +
                       strlen(policy_string(table, policy_slot(table, type, i)->path));
        for (uint32_t i = 0; i < type->files.count; i++)
                sum += strlen(policy_file(table, type->files, i));
        for (uint32_t i = 0; i < type->rules.count; i++) {
                const PolicyRule *rule = policy_rule(table, type, i);
                sum += strlen(rule->name) + walk_place(table, rule->place);
                sum += rule->uids.count ? walk_bytes(policy_ids(table, rule->uids), rule->uids.count * sizeof(uint32_t))
                                        : 0;
                sum += rule->gids.count ? walk_bytes(policy_ids(table, rule->gids), rule->gids.count * sizeof(uint32_t))
                                        : 0;
                for (uint32_t k = 0; k < rule->devices.count; k++)
                        sum += strlen(policy_string(table, policy_device(table, rule, k)->path));
        }
        return sum +
               (type->filter.count ? walk_bytes(policy_filter(table, type), type->filter.count * sizeof(uint64_t)) : 0);
}

/* Reads everything that the accessors of a validated table lead to; a sanitizer sees what is out of bounds. */
static inline uint64_t walk_table(const PolicyTable *table) {
        uint64_t sum = walk_place(table, table->limits_place);
        PolicyPlace place;

        for (uint32_t i = 0; i < table->types.count; i++)
                sum += walk_type(table, policy_type(table, i));
        for (uint32_t i = 0; i < table->manager_files.count; i++)
                sum += strlen(policy_file(table, table->manager_files, i));
        for (uint32_t uid = 0; uid < 3; uid++) {
                sum += walk_bytes(policy_limits(table, uid, &place), sizeof(PolicyLimits));
                sum += walk_place(table, place);
        }
        sum += policy_type(table, table->types.count) != NULL;
        sum += policy_type_by_name(table, "mirror", NULL) != NULL;
        return sum;
}
