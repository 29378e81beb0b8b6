/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A small policy table for tests, as fused-policy would write it: user 0 and everybody, types "svc" (hand-over service,
 * slots source and journal), "plain" (hand-over fd, slot source optional) and "off" (disabled). */

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "policy/policy-table.h"

enum { TABLE_SVC, TABLE_PLAIN, TABLE_OFF, TABLE_N_TYPES };

typedef struct TestTable {
        PolicyTable table;
        PolicyType types[TABLE_N_TYPES];
        PolicySlot slots[3];
        PolicyRule rules[1];
        PolicyUser users[1];
        PolicyProgram programs[1];
        uint32_t ids[2];
        uint64_t filters[1]; /* one instruction: a usable type has a filter */
        char strings[512];
} TestTable;

static inline uint32_t table_string(TestTable *t, const char *text) {
        uint32_t at = t->table.strings.count;

        memcpy(t->strings + at, text, strlen(text) + 1);
        t->table.strings.count += (uint32_t) strlen(text) + 1;
        return at;
}

static inline PolicySlot table_slot(TestTable *t, const char *name, const char *path, uint32_t sources, bool required) {
        PolicySlot slot = {.sources = sources, .required = required, .writable = true, .path = table_string(t, path)};

        strcpy(slot.name, name);
        return slot;
}

#define TABLE_ARRAY(t, member, n) ((PolicyArray){.offset = offsetof(TestTable, member), .count = (n)})

static inline PolicyType table_type(TestTable *t, const char *name, PolicyHandOver hand_over) {
        PolicyType type = {
                .hand_over = hand_over,
                .place = {table_string(t, "/etc/fused/types/x.conf"), 2},
                .program = table_string(t, "/bin/true"),
                .rules = {0, 1},
                .filter = {0, 1},
                .server_options = table_string(t, "offset=,quiet"),
                .max_open_files = 64,
                .max_processes = 16,
                .start_usec = 400 * USEC_PER_MSEC,
                .init_usec = 300 * USEC_PER_MSEC,
                .stop_usec = 200 * USEC_PER_MSEC,
        };

        strcpy(type.name, name);
        type.description = table_string(t, "for tests");
        return type;
}

static inline void table_fill(TestTable *t) {
        *t = (TestTable){.table = {
                .magic = POLICY_TABLE_MAGIC,
                .size = sizeof *t,
                .uid_first = 1879048192,
                .uid_count = 65536,
                .max_mounts = 16,
                .limits = {.max_mounts = 4, .max_pending = 2, .max_fds = 64, .max_processes = 16,
                           .max_memory = UINT32_MAX, .max_cpu = UINT32_MAX},
                .manager_uid = 1879048192,
                .manager_gid = 1879048192,
                .types = TABLE_ARRAY(t, types, TABLE_N_TYPES),
                .slots = TABLE_ARRAY(t, slots, 3),
                .rules = TABLE_ARRAY(t, rules, 1),
                .users = TABLE_ARRAY(t, users, 1),
                .programs = TABLE_ARRAY(t, programs, 0),
                .ids = TABLE_ARRAY(t, ids, 2),
                .filters = TABLE_ARRAY(t, filters, 1),
                .strings = {.offset = offsetof(TestTable, strings), .count = 1},
        }};
        const uint32_t empty = offsetof(TestTable, strings);
        t->table.arguments.offset = t->table.devices.offset = t->table.files.offset = empty;
        t->table.limits_place = (PolicyPlace){table_string(t, "/etc/fused/fused.conf"), 5};
        t->slots[0] = table_slot(t, "source", "/slots/source", POLICY_SOURCE_FILE | POLICY_SOURCE_DEVICE, true);
        t->slots[1] = table_slot(t, "journal", "/slots/journal", POLICY_SOURCE_FILE | POLICY_SOURCE_NONE, false);
        t->slots[2] = table_slot(t, "source", "/slots/source", POLICY_SOURCE_FILE | POLICY_SOURCE_NONE, false);
        t->types[TABLE_SVC] = table_type(t, "svc", POLICY_HAND_OVER_SERVICE);
        t->types[TABLE_SVC].slots = (PolicyRange){0, 2};
        t->types[TABLE_PLAIN] = table_type(t, "plain", POLICY_HAND_OVER_FD);
        t->types[TABLE_PLAIN].slots = (PolicyRange){2, 1};
        t->types[TABLE_OFF] = table_type(t, "off", POLICY_HAND_OVER_FD);
        t->types[TABLE_OFF].disabled = table_string(t, "x.conf:3: Progam: unknown key");
        t->ids[0] = POLICY_ID_ANY;
        t->rules[0] = (PolicyRule){.name = "everybody", .place = {t->types[0].place.file, 9}, .uids = {0, 1}, .sources = _POLICY_SOURCE_ALL,
                                   .options = _POLICY_OPTION_HARMLESS};
        t->users[0] = (PolicyUser){.uid = 4242,
                                   .limits = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
                                   .place = {t->table.limits_place.file, 12}};
}

/* A sealed memfd with the table; the caller owns it. */
static inline int table_memfd(void) {
        TestTable t;
        int fd = memfd_create("policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        table_fill(&t);
        if (fd < 0 || write(fd, &t, sizeof t) != (ssize_t) sizeof t ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                abort();
        return fd;
}
