/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each key means: one table for types, one for fused.conf. See load-keys.h, and fused-types(5) and fused.conf(5),
 * which a test compares with the tables. */

#include "policy/load-keys.h"

#include <pwd.h>
#include <string.h>

#define OVERFLOW_ID 65534 /* what the kernel shows for ids that a namespace does not map; also nobody */

typedef enum Where { /* what a row's offset is into */
        IN_TYPE,
        IN_DRAFT,
        IN_SLOT,
        IN_RULE,
        IN_MAIN,
        IN_USER,
        IN_PROGRAM,
} Where;

struct KeyRow {
        const char *section;
        const char *key;
        /* one of these three: a value of 32 or 64 bits, or something of its own */
        int (*parse32)(const char *text, uint32_t *ret, const char **ret_problem);
        int (*parse64)(const char *text, uint64_t *ret, const char **ret_problem);
        int (*apply)(Target *target, const Entry *entry, const char **ret_problem);
        Where where;
        size_t offset;
};

/* ---- what is more than a number ---------------------------------------------------------------------------------- */

static int set_string(char **string, const char *value) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*string);
        *string = copy;
        return 0;
}

void clear_words(char **words, size_t *n) {
        for (size_t i = 0; i < *n; i++)
                free(words[i]);
        *n = 0;
}

/* Words are separated by blanks; there is no quoting. */
static int set_words(char **words, size_t *n, const char *value, const char **ret_problem) {
        char *copy _cleanup_free_ = strdup(value), *cursor = copy, *word;

        if (!copy)
                return -ENOMEM;
        clear_words(words, n);
        while ((word = strsep(&cursor, " \t"))) {
                if (!*word)
                        continue;
                if (*n >= DRAFT_WORDS_MAX) {
                        *ret_problem = "has too many words";
                        return -EINVAL;
                }
                words[*n] = strdup(word);
                if (!words[*n])
                        return -ENOMEM;
                (*n)++;
        }
        return 0;
}

static int apply_description(Target *target, const Entry *entry, const char **ret_problem) {
        return set_string(&target->draft->description, entry->value);
}

static int apply_program(Target *target, const Entry *entry, const char **ret_problem) {
        if (entry->value[0] != '/' || strstr(entry->value, "/../")) {
                *ret_problem = "must be an absolute path";
                return -EINVAL;
        }
        return set_string(&target->draft->program, entry->value);
}

static int apply_arguments(Target *target, const Entry *entry, const char **ret_problem) {
        return set_words(target->draft->arguments, &target->draft->n_arguments, entry->value, ret_problem);
}

static int apply_files(Target *target, const Entry *entry, const char **ret_problem) {
        DraftType *draft = target->draft;
        int r = set_words(draft->extra_files, &draft->n_extra_files, entry->value, ret_problem);

        for (size_t i = 0; r >= 0 && i < draft->n_extra_files; i++)
                if (draft->extra_files[i][0] != '/') {
                        *ret_problem = "must be absolute paths";
                        return -EINVAL;
                }
        return r;
}

/* NAME:PATH, as of LoadCredential= of systemd, which reads them. */
static int apply_credentials(Target *target, const Entry *entry, const char **ret_problem) {
        DraftType *draft = target->draft;
        int r = set_words(draft->credentials, &draft->n_credentials, entry->value, ret_problem);

        for (size_t i = 0; r >= 0 && i < draft->n_credentials; i++) {
                const char *word = draft->credentials[i], *colon = strchr(word, ':');
                bool plain = colon && strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == (size_t) (colon - word);
                if (!plain || colon == word || colon[1] != '/' || strpbrk(word, "%\\\"'")) {
                        *ret_problem = "must be NAME:PATH with an absolute path";
                        return -EINVAL;
                }
        }
        return r;
}

static int apply_slice(Target *target, const Entry *entry, const char **ret_problem) {
        DraftType *draft = target->draft;
        size_t length = strlen(entry->value);

        if (length < 7 || strcmp(entry->value + length - 6, ".slice") != 0 ||
            strspn(entry->value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-") != length) {
                *ret_problem = "must be the name of a slice, such as fused-servers.slice";
                return -EINVAL;
        }
        free(draft->slice);
        draft->slice = strdup(entry->value);
        return draft->slice ? 0 : -ENOMEM;
}

static int apply_system_calls(Target *target, const Entry *entry, const char **ret_problem) {
        DraftType *draft = target->draft;
        int r = set_words(draft->calls, &draft->n_calls, entry->value, ret_problem);

        for (size_t i = 0; r >= 0 && i < draft->n_calls; i++)
                if ((draft->calls[i][0] != '+' && draft->calls[i][0] != '-') || !draft->calls[i][1]) {
                        *ret_problem = "must be words such as +openat2 or -fallocate";
                        return -EINVAL;
                }
        return r;
}

static int apply_server_options(Target *target, const Entry *entry, const char **ret_problem) {
        char *words[DRAFT_WORDS_MAX], *joined = NULL;
        size_t n = 0, length = 1;
        int r;

        r = set_words(words, &n, entry->value, ret_problem);
        for (size_t i = 0; i < n; i++) {
                length += strlen(words[i]) + 1;
                if (strpbrk(words[i], ",\\") && r >= 0) {
                        *ret_problem = "must be words such as quiet or offset=";
                        r = -EINVAL;
                }
        }
        joined = calloc(1, length);
        for (size_t i = 0; i < n && joined; i++) {
                if (i > 0)
                        strcat(joined, ",");
                strcat(joined, words[i]);
        }
        clear_words(words, &n);
        if (r < 0 || !joined) {
                free(joined);
                return r < 0 ? r : -ENOMEM;
        }
        free(target->draft->server_options);
        target->draft->server_options = joined;
        return 0;
}

/* Names of [Program] sections; whether there are such is seen when a server asks. */
static int apply_programs(Target *target, const Entry *entry, const char **ret_problem) {
        size_t length = strlen(entry->value);

        if (strspn(entry->value, "abcdefghijklmnopqrstuvwxyz0123456789._- ") != length || length > 512) {
                *ret_problem = "must be names of programs";
                return -EINVAL;
        }
        return set_string(&target->draft->programs, entry->value);
}

static int set_path(char **place, const Entry *entry, const char **ret_problem) {
        if (entry->value[0] != '/' || strstr(entry->value, "/../")) {
                *ret_problem = "must be an absolute path";
                return -EINVAL;
        }
        return set_string(place, entry->value);
}

static int apply_object(Target *target, const Entry *entry, const char **ret_problem) {
        return set_path(&target->listed->object, entry, ret_problem);
}

static int apply_signature(Target *target, const Entry *entry, const char **ret_problem) {
        return set_path(&target->listed->signature, entry, ret_problem);
}

static int apply_public_key(Target *target, const Entry *entry, const char **ret_problem) {
        return set_path(&target->listed->public_key, entry, ret_problem);
}

static int apply_digest(Target *target, const Entry *entry, const char **ret_problem) {
        PolicyProgram *program = &target->listed->program;

        *ret_problem = "must be 64 hexadecimal digits";
        if (strlen(entry->value) != 2 * sizeof program->digest || strspn(entry->value, "0123456789abcdef") != 2 * sizeof program->digest)
                return -EINVAL;
        for (size_t i = 0; i < sizeof program->digest; i++) {
                char pair[3] = {entry->value[2 * i], entry->value[2 * i + 1], 0};
                program->digest[i] = (uint8_t) strtoul(pair, NULL, 16);
        }
        program->has_digest = 1;
        return 0;
}

static int apply_hand_over(Target *target, const Entry *entry, const char **ret_problem) {
        for (uint32_t i = 0; i < _POLICY_HAND_OVER_MAX; i++)
                if (strcmp(entry->value, policy_hand_over_to_string(i)) == 0) {
                        target->draft->type.hand_over = i;
                        return 0;
                }
        *ret_problem = "must be service, fd, fusermount or caller";
        return -EINVAL;
}

static int apply_ids(const Entry *entry, int (*parse)(const char *, uint32_t *), uint32_t **ids, size_t *n,
                     const char **ret_problem) {
        static char unknown[128]; /* of the last mistake; printed before the next */
        char *copy _cleanup_free_ = strdup(entry->value), *cursor = copy, *word;

        if (!copy)
                return -ENOMEM;
        *n = 0;
        while ((word = strsep(&cursor, " \t"))) {
                uint32_t *list;
                if (!*word)
                        continue;
                list = reallocarray(*ids, *n + 1, sizeof *list);
                if (!list)
                        return -ENOMEM;
                *ids = list;
                int r = parse(word, &list[*n]);
                if (r < 0) {
                        (void) snprintf(unknown, sizeof unknown,
                                        r == -ENOENT ? "there is no '%.64s' on this host; use a number, or leave it out"
                                                     : "'%.64s' is no name, number or *",
                                        word);
                        *ret_problem = unknown;
                        return -EINVAL;
                }
                (*n)++;
        }
        return 0;
}

static int apply_users(Target *target, const Entry *entry, const char **ret_problem) {
        return apply_ids(entry, parse_user, &target->rule->uids, &target->rule->n_uids, ret_problem);
}

static int apply_groups(Target *target, const Entry *entry, const char **ret_problem) {
        return apply_ids(entry, parse_group, &target->rule->gids, &target->rule->n_gids, ret_problem);
}

static int apply_owners(Target *target, const Entry *entry, const char **ret_problem) {
        return apply_ids(entry, parse_owner, &target->rule->owners, &target->rule->n_owners, ret_problem);
}

static int apply_patterns(const Entry *entry, char **patterns) {
        free(*patterns);
        *patterns = strdup(entry->value);
        return *patterns ? 0 : -ENOMEM;
}

static int apply_units(Target *target, const Entry *entry, const char **ret_problem) {
        if (strchr(entry->value, '/')) {
                *ret_problem = "are names of units, not paths; Cgroups= takes paths";
                return -EINVAL;
        }
        return apply_patterns(entry, &target->rule->units);
}

/* Each must begin at the root, or it would never match. */
static int apply_cgroups(Target *target, const Entry *entry, const char **ret_problem) {
        for (const char *p = entry->value; *p; p += strcspn(p, " \t")) {
                p += strspn(p, " \t");
                if (*p && *p != '/') {
                        *ret_problem = "are paths below the root of the cgroup tree: they begin with a slash";
                        return -EINVAL;
                }
        }
        return apply_patterns(entry, &target->rule->cgroups);
}

void clear_devices(DraftRule *rule) {
        clear_words(rule->device_paths, &rule->n_devices);
}

static int apply_devices(Target *target, const Entry *entry, const char **ret_problem) {
        char *copy _cleanup_free_ = strdup(entry->value), *cursor = copy, *word;
        DraftRule *rule = target->rule;

        if (!copy)
                return -ENOMEM;
        clear_devices(rule);
        while ((word = strsep(&cursor, " \t"))) {
                PolicyDevice *devices;
                char **paths;
                int r;
                if (!*word)
                        continue;
                devices = reallocarray(rule->devices, rule->n_devices + 1, sizeof *devices);
                if (!devices)
                        return -ENOMEM;
                rule->devices = devices;
                paths = reallocarray(rule->device_paths, rule->n_devices + 1, sizeof *paths);
                if (!paths)
                        return -ENOMEM;
                rule->device_paths = paths;
                r = parse_device(word, &devices[rule->n_devices], &paths[rule->n_devices], ret_problem);
                if (r < 0)
                        return r;
                rule->n_devices++;
        }
        return 0;
}

static int apply_uids(Target *target, const Entry *entry, const char **ret_problem) {
        unsigned long first, last;
        char rest;

        if (sscanf(entry->value, "%lu-%lu%c", &first, &last, &rest) != 2 || first < 1000 || last < first ||
            last >= UINT32_MAX - 1 || (first <= OVERFLOW_ID && last >= OVERFLOW_ID)) {
                *ret_problem =
                        "must be a range of uids such as 1879048192-1879113727, none below 1000, and without 65534";
                return -EINVAL;
        }
        target->main->uid_first = (uint32_t) first;
        target->main->uid_count = (uint32_t) (last - first + 1);
        return 0;
}

static int apply_manager_user(Target *target, const Entry *entry, const char **ret_problem) {
        const struct passwd *user = getpwnam(entry->value);

        if (!user || user->pw_uid == 0 || user->pw_gid == 0) {
                *ret_problem = "must be a user of this host, with a group, and neither of them root";
                return -EINVAL;
        }
        target->main->manager_uid = user->pw_uid;
        target->main->manager_gid = user->pw_gid;
        return 0;
}

/* ---- the tables -------------------------------------------------------------------------------------------------- */

#define NUMBER32(section, key, parse, in, Struct, field)                                                               \
        { section, key, .parse32 = parse, .where = in, .offset = offsetof(Struct, field) }
#define NUMBER64(section, key, parse, in, Struct, field)                                                               \
        { section, key, .parse64 = parse, .where = in, .offset = offsetof(Struct, field) }

static const KeyRow type_rows[] = {
        {"Type", "Description", .apply = apply_description},
        {"Type", "Program", .apply = apply_program},
        {"Type", "Arguments", .apply = apply_arguments},
        {"Type", "HandOver", .apply = apply_hand_over},
        {"Type", "ServerOptions", .apply = apply_server_options},
        {"Type", "Programs", .apply = apply_programs},
        NUMBER32("Type", "DeviceClones", parse_clones, IN_TYPE, PolicyType, device_clones),
        NUMBER32("Type", "Iomap", parse_yes_no, IN_TYPE, PolicyType, iomap),
        NUMBER32("Type", "ReadOnly", parse_yes_no, IN_TYPE, PolicyType, read_only),
        NUMBER32("Slot", "Accept", parse_sources, IN_SLOT, PolicySlot, sources),
        NUMBER32("Slot", "Required", parse_yes_no, IN_SLOT, PolicySlot, required),
        NUMBER32("Slot", "Writable", parse_yes_no, IN_SLOT, PolicySlot, writable),
        {"Sandbox", "SystemCalls", .apply = apply_system_calls},
        {"Sandbox", "Files", .apply = apply_files},
        {"Sandbox", "Credentials", .apply = apply_credentials},
        {"Sandbox", "Slice", .apply = apply_slice},
        NUMBER64("Limits", "Memory", parse_bytes, IN_TYPE, PolicyType, max_memory),
        NUMBER64("Limits", "CPU", parse_percent, IN_TYPE, PolicyType, max_cpu_percent),
        NUMBER32("Limits", "Processes", parse_processes, IN_TYPE, PolicyType, max_processes),
        NUMBER32("Limits", "OpenFiles", parse_open_files, IN_TYPE, PolicyType, max_open_files),
        NUMBER32("Limits", "BackingFiles", parse_backings, IN_TYPE, PolicyType, max_backings),
        NUMBER32("Limits", "OomScore", parse_oom_score, IN_TYPE, PolicyType, oom_score),
        NUMBER64("Deadlines", "Start", parse_time, IN_TYPE, PolicyType, start_usec),
        NUMBER64("Deadlines", "Init", parse_time, IN_TYPE, PolicyType, init_usec),
        NUMBER64("Deadlines", "Stop", parse_time, IN_TYPE, PolicyType, stop_usec),
        {"Allow", "Users", .apply = apply_users},
        {"Allow", "Groups", .apply = apply_groups},
        {"Allow", "Units", .apply = apply_units},
        {"Allow", "Cgroups", .apply = apply_cgroups},
        {"Allow", "NamespaceOwners", .apply = apply_owners},
        {"Allow", "Devices", .apply = apply_devices},
        NUMBER32("Allow", "Sources", parse_sources, IN_RULE, DraftRule, rule.sources),
        NUMBER32("Allow", "Options", parse_option_names, IN_RULE, DraftRule, rule.options),
        NUMBER32("Allow", "Administrator", parse_yes_no, IN_RULE, DraftRule, rule.administrator),
};

static const KeyRow main_rows[] = {
        {"Supervisor", "Uids", .apply = apply_uids},
        {"Supervisor", "ManagerUser", .apply = apply_manager_user},
        NUMBER32("Supervisor", "Spares", parse_spares, IN_MAIN, DraftMain, spares),
        NUMBER32("Supervisor", "MaxMounts", parse_total, IN_MAIN, DraftMain, max_mounts),
        NUMBER32("Limits", "MaxMounts", parse_count, IN_MAIN, DraftMain, limits.max_mounts),
        NUMBER32("Limits", "MaxPending", parse_count, IN_MAIN, DraftMain, limits.max_pending),
        NUMBER32("Limits", "MaxFds", parse_count, IN_MAIN, DraftMain, limits.max_fds),
        NUMBER32("Limits", "MaxProcesses", parse_count, IN_MAIN, DraftMain, limits.max_processes),
        NUMBER32("Limits", "MaxMemory", parse_memory_limit, IN_MAIN, DraftMain, limits.max_memory),
        NUMBER32("Limits", "MaxCPU", parse_cpu_limit, IN_MAIN, DraftMain, limits.max_cpu),
        NUMBER32("User", "MaxMounts", parse_count, IN_USER, PolicyUser, limits.max_mounts),
        NUMBER32("User", "MaxPending", parse_count, IN_USER, PolicyUser, limits.max_pending),
        NUMBER32("User", "MaxFds", parse_count, IN_USER, PolicyUser, limits.max_fds),
        NUMBER32("User", "MaxProcesses", parse_count, IN_USER, PolicyUser, limits.max_processes),
        NUMBER32("User", "MaxMemory", parse_memory_limit, IN_USER, PolicyUser, limits.max_memory),
        NUMBER32("User", "MaxCPU", parse_cpu_limit, IN_USER, PolicyUser, limits.max_cpu),
        {"Program", "Object", .apply = apply_object},
        {"Program", "SHA256", .apply = apply_digest},
        {"Program", "Signature", .apply = apply_signature},
        {"Program", "PublicKey", .apply = apply_public_key},
        NUMBER64("Program", "MaxMemory", parse_bytes, IN_PROGRAM, DraftProgram, program.max_memory),
};

static void *base_of(const Target *target, Where where) {
        switch (where) {
        case IN_TYPE:
                return &target->draft->type;
        case IN_DRAFT:
                return target->draft;
        case IN_SLOT:
                return target->slot;
        case IN_RULE:
                return target->rule;
        case IN_MAIN:
                return target->main;
        case IN_USER:
                return &target->user->user;
        case IN_PROGRAM:
                return target->listed;
        }
        return NULL;
}

const KeyRow *find_row(const Target *target, const Entry *entry, bool *ret_section_known) {
        const KeyRow *rows = target->main ? main_rows : type_rows;
        size_t n = target->main ? ELEMENTSOF(main_rows) : ELEMENTSOF(type_rows);

        *ret_section_known = false;
        for (size_t i = 0; i < n; i++) {
                if (strcmp(rows[i].section, entry->section) != 0)
                        continue;
                *ret_section_known = true;
                if (strcmp(rows[i].key, entry->key) == 0)
                        return &rows[i];
        }
        return NULL;
}

int apply_row(const KeyRow *row, Target *target, const Entry *entry, Mistakes *mistakes) {
        const char *text = NULL;
        int r;

        if (row->apply)
                r = row->apply(target, entry, &text);
        else {
                void *field = (char *) base_of(target, row->where) + row->offset;
                r = row->parse32 ? row->parse32(entry->value, field, &text) : row->parse64(entry->value, field, &text);
        }
        if (r == -EINVAL) {
                mistake(mistakes, entry->file, entry->line, entry->key, "%s", text ? text : "has a bad value");
                if (target->listed)
                        target->listed->wrong = true;
                return 0;
        }
        return r;
}
