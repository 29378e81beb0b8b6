/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each section and key means: one table. See load.h, and fused-types(5) and fused.conf(5), which a test compares with
 * the table. */

#include <pwd.h>
#include <string.h>

#include "policy/load.h"

#define DEFAULT_UID_FIRST 0x70000000U /* far from what useradd, systemd (61184-65519, 524288-) and subuid give away */
#define DEFAULT_UID_COUNT 65536U

typedef struct Target {
        DraftType *draft;
        DraftMain *main;
        PolicySlot *slot; /* of the section's name */
        DraftRule *rule;
        DraftUser *user;
} Target;

typedef enum Where { /* what a row's offset is into */
        IN_TYPE,
        IN_DRAFT,
        IN_SLOT,
        IN_RULE,
        IN_MAIN,
        IN_USER,
} Where;

typedef struct KeyRow {
        const char *section;
        const char *key;
        /* one of these three: a value of 32 or 64 bits, or something of its own */
        int (*parse32)(const char *text, uint32_t *ret, const char **ret_problem);
        int (*parse64)(const char *text, uint64_t *ret, const char **ret_problem);
        int (*apply)(Target *target, const Entry *entry, const char **ret_problem);
        Where where;
        size_t offset;
} KeyRow;

/* ---- what is more than a number ------------------------------------------------------------------------------------- */

static int set_string(char **string, const char *value) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*string);
        *string = copy;
        return 0;
}

static void clear_words(char **words, size_t *n) {
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

static int apply_hand_over(Target *target, const Entry *entry, const char **ret_problem) {
        static const char *const names[_POLICY_HAND_OVER_MAX] = {[POLICY_HAND_OVER_SERVICE] = "service", [POLICY_HAND_OVER_FD] = "fd"};

        for (uint32_t i = 0; i < ELEMENTSOF(names); i++)
                if (strcmp(entry->value, names[i]) == 0) {
                        target->draft->type.hand_over = i;
                        return 0;
                }
        *ret_problem = "must be service or fd";
        return -EINVAL;
}

static int apply_ids(const Entry *entry, int (*parse)(const char *, uint32_t *), uint32_t **ids, size_t *n, const char **ret_problem) {
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
                        (void) snprintf(unknown, sizeof unknown, r == -ENOENT ? "there is no '%.64s' on this host; use a number, or leave it out" : "'%.64s' is no name, number or *", word);
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

static void clear_devices(DraftRule *rule) {
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

        if (sscanf(entry->value, "%lu-%lu%c", &first, &last, &rest) != 2 || first < 1000 || last < first || last >= UINT32_MAX - 1) {
                *ret_problem = "must be a range of uids such as 1879048192-1879113727, none below 1000";
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

/* ---- the tables ----------------------------------------------------------------------------------------------------- */

#define NUMBER32(section, key, parse, in, Struct, field) {section, key, .parse32 = parse, .where = in, .offset = offsetof(Struct, field)}
#define NUMBER64(section, key, parse, in, Struct, field) {section, key, .parse64 = parse, .where = in, .offset = offsetof(Struct, field)}

static const KeyRow type_rows[] = {
        {"Type", "Description", .apply = apply_description},
        {"Type", "Program", .apply = apply_program},
        {"Type", "Arguments", .apply = apply_arguments},
        {"Type", "HandOver", .apply = apply_hand_over},
        {"Type", "ServerOptions", .apply = apply_server_options},
        NUMBER32("Type", "ReadOnly", parse_yes_no, IN_TYPE, PolicyType, read_only),
        NUMBER32("Slot", "Accept", parse_sources, IN_SLOT, PolicySlot, sources),
        NUMBER32("Slot", "Required", parse_yes_no, IN_SLOT, PolicySlot, required),
        NUMBER32("Slot", "Writable", parse_yes_no, IN_SLOT, PolicySlot, writable),
        {"Sandbox", "SystemCalls", .apply = apply_system_calls},
        {"Sandbox", "Files", .apply = apply_files},
        NUMBER64("Limits", "Memory", parse_bytes, IN_TYPE, PolicyType, max_memory),
        NUMBER64("Limits", "CPU", parse_percent, IN_TYPE, PolicyType, max_cpu_percent),
        NUMBER32("Limits", "Processes", parse_processes, IN_TYPE, PolicyType, max_processes),
        NUMBER32("Limits", "OpenFiles", parse_open_files, IN_TYPE, PolicyType, max_open_files),
        NUMBER32("Limits", "OomScore", parse_oom_score, IN_TYPE, PolicyType, oom_score),
        NUMBER64("Deadlines", "Start", parse_time, IN_TYPE, PolicyType, start_usec),
        NUMBER64("Deadlines", "Init", parse_time, IN_TYPE, PolicyType, init_usec),
        NUMBER64("Deadlines", "Stop", parse_time, IN_TYPE, PolicyType, stop_usec),
        {"Allow", "Users", .apply = apply_users},
        {"Allow", "Groups", .apply = apply_groups},
        {"Allow", "Devices", .apply = apply_devices},
        NUMBER32("Allow", "Sources", parse_sources, IN_RULE, DraftRule, rule.sources),
        NUMBER32("Allow", "Options", parse_option_names, IN_RULE, DraftRule, rule.options),
        NUMBER32("Allow", "Administrator", parse_yes_no, IN_RULE, DraftRule, rule.administrator),
};

static const KeyRow main_rows[] = {
        {"Supervisor", "Uids", .apply = apply_uids},
        {"Supervisor", "ManagerUser", .apply = apply_manager_user},
        NUMBER32("Supervisor", "Spares", parse_count, IN_MAIN, DraftMain, spares),
        NUMBER32("Supervisor", "MaxMounts", parse_total, IN_MAIN, DraftMain, max_mounts),
        NUMBER32("Limits", "MaxMounts", parse_count, IN_MAIN, DraftMain, limits.max_mounts),
        NUMBER32("Limits", "MaxPending", parse_count, IN_MAIN, DraftMain, limits.max_pending),
        NUMBER32("Limits", "MaxFds", parse_count, IN_MAIN, DraftMain, limits.max_fds),
        NUMBER32("Limits", "MaxProcesses", parse_count, IN_MAIN, DraftMain, limits.max_processes),
        NUMBER32("User", "MaxMounts", parse_count, IN_USER, PolicyUser, limits.max_mounts),
        NUMBER32("User", "MaxPending", parse_count, IN_USER, PolicyUser, limits.max_pending),
        NUMBER32("User", "MaxFds", parse_count, IN_USER, PolicyUser, limits.max_fds),
        NUMBER32("User", "MaxProcesses", parse_count, IN_USER, PolicyUser, limits.max_processes),
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
        }
        return NULL;
}

static const KeyRow *find_row(const KeyRow *rows, size_t n, const Entry *entry, bool *ret_section_known) {
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

static int apply_row(const KeyRow *row, Target *target, const Entry *entry, Mistakes *mistakes) {
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
                return 0;
        }
        return r;
}

/* ---- sections with a name ------------------------------------------------------------------------------------------- */

static PolicySlot *slot_named(DraftType *draft, const char *name, const char **ret_problem) {
        for (size_t i = 0; i < draft->n_slots; i++)
                if (strcmp(draft->slots[i].name, name) == 0)
                        return &draft->slots[i];
        if (!name_is_good(name) || draft->n_slots >= POLICY_SLOTS_MAX) {
                *ret_problem = "is no good slot: [Slot NAME] with a-z 0-9 . _ -, at most 4 of them";
                return NULL;
        }
        /* "source" is always the first, whatever the order in the file. */
        size_t at = strcmp(name, "source") == 0 ? 0 : draft->n_slots;
        memmove(&draft->slots[at + 1 < POLICY_SLOTS_MAX ? at + 1 : at], &draft->slots[at], (draft->n_slots - at) * sizeof draft->slots[0]);
        draft->n_slots++;
        draft->slots[at] = (PolicySlot){.sources = POLICY_SOURCE_FILE, .required = 1};
        memcpy(draft->slots[at].name, name, strlen(name) + 1);
        return &draft->slots[at];
}

static DraftRule *rule_named(DraftType *draft, const Entry *entry, const char **ret_problem) {
        DraftRule *rule;

        for (size_t i = 0; i < draft->n_rules; i++)
                if (strcmp(draft->rules[i].rule.name, entry->name) == 0)
                        return &draft->rules[i];
        if (!name_is_good(entry->name) || draft->n_rules >= DRAFT_RULES_MAX) {
                *ret_problem = "is no good rule: [Allow NAME] with a-z 0-9 . _ -, at most 64 of them";
                return NULL;
        }
        rule = &draft->rules[draft->n_rules++];
        *rule = (DraftRule){.file = strdup(entry->file), .rule.place.line = entry->line};
        memcpy(rule->rule.name, entry->name, strlen(entry->name) + 1);
        return rule;
}

static DraftUser *user_named(DraftMain *draft, const Entry *entry, const char **ret_problem) {
        DraftUser *users;
        uint32_t uid;

        if (parse_user(entry->name, &uid) < 0 || uid == POLICY_ID_ANY) {
                *ret_problem = "is no user of this host: [User NAME] or [User NUMBER]";
                return NULL;
        }
        for (size_t i = 0; i < draft->n_users; i++)
                if (draft->users[i].user.uid == uid)
                        return &draft->users[i];
        users = reallocarray(draft->users, draft->n_users + 1, sizeof *users);
        if (!users)
                return NULL;
        draft->users = users;
        users[draft->n_users] = (DraftUser){
                .user = {.uid = uid, .limits = draft->limits, .place.line = entry->line},
                .file = strdup(entry->file),
        };
        return &users[draft->n_users++];
}

/* Sets the target's part that the section names; false with the mistake reported if it names none. */
static bool choose_section(Target *target, const Entry *entry, Mistakes *mistakes) {
        const char *text = "is not known here";
        bool ok = true;

        if (strcmp(entry->section, "Slot") == 0)
                ok = (target->slot = slot_named(target->draft, entry->name, &text));
        else if (strcmp(entry->section, "Allow") == 0)
                ok = (target->rule = rule_named(target->draft, entry, &text));
        else if (strcmp(entry->section, "User") == 0)
                ok = (target->user = user_named(target->main, entry, &text));
        else if (*entry->name) {
                ok = false;
                text = "takes no name";
        }
        if (!ok)
                mistake(mistakes, entry->file, entry->line, entry->key, "section [%s%s%s] %s", entry->section, *entry->name ? " " : "", entry->name, text);
        return ok;
}

static int apply_entries(const Entries *entries, const KeyRow *rows, size_t n_rows, Target *target, Mistakes *mistakes) {
        int r = 0;

        for (size_t i = 0; i < entries->n && r >= 0; i++) {
                const Entry *entry = &entries->rows[i];
                bool section_known;
                const KeyRow *row = find_row(rows, n_rows, entry, &section_known);
                if (!section_known)
                        mistake(mistakes, entry->file, entry->line, entry->key, "there is no section [%s]", entry->section);
                else if (!row)
                        mistake(mistakes, entry->file, entry->line, entry->key, "there is no such key in [%s]", entry->section);
                else if (choose_section(target, entry, mistakes))
                        r = apply_row(row, target, entry, mistakes);
        }
        return r;
}

/* ---- a type --------------------------------------------------------------------------------------------------------- */

void draft_type_done(DraftType *draft) {
        free(draft->file);
        free(draft->description);
        free(draft->program);
        free(draft->server_options);
        clear_words(draft->arguments, &draft->n_arguments);
        clear_words(draft->extra_files, &draft->n_extra_files);
        clear_words(draft->calls, &draft->n_calls);
        for (size_t i = 0; i < draft->n_rules; i++) {
                clear_devices(&draft->rules[i]);
                free(draft->rules[i].device_paths);
                free(draft->rules[i].devices);
                free(draft->rules[i].uids);
                free(draft->rules[i].gids);
                free(draft->rules[i].file);
        }
        if (draft->libraries)
                clear_words(draft->libraries, &draft->n_libraries);
        free(draft->libraries);
        free(draft->filter);
        free(draft->disabled);
        *draft = (DraftType){0};
}

/* What no single key can say, and what has to be looked up. */
static int complete(DraftType *draft, Mistakes *mistakes) {
        const char *file = draft->file, *text = NULL, *unknown = NULL;
        uint32_t line = draft->type.place.line;
        int r;

        if (!draft->program) {
                if (mistakes->n == 0) /* else it may be there, and be what the message was about */
                        mistake(mistakes, file, line, "Program", "is missing");
                return 0;
        }
        for (size_t i = 0; i < draft->n_arguments; i++)
                if (check_specifiers(draft->arguments[i], draft, &text) < 0)
                        mistake(mistakes, file, line, "Arguments", "%s", text);
        for (size_t i = 0; i < draft->n_rules; i++)
                if ((draft->rules[i].rule.options & (POLICY_OPTION_SUID | POLICY_OPTION_DEV)) && !draft->rules[i].rule.administrator)
                        mistake(mistakes, draft->rules[i].file, draft->rules[i].rule.place.line, "Options", "suid and dev also need Administrator=yes");
        r = check_program(draft->program, &text);
        if (r < 0) {
                mistake(mistakes, file, line, "Program", "%s %s", draft->program, text);
                return 0;
        }
        r = list_libraries(draft->program, &draft->libraries, &draft->n_libraries);
        if (r < 0) {
                mistake(mistakes, file, line, "Program", "the libraries of %s cannot be listed: %s", draft->program, strerror(-r));
                return r == -ENOMEM ? r : 0;
        }
        r = server_filter_build(draft->type.hand_over == POLICY_HAND_OVER_FD, draft->calls, draft->n_calls, &draft->filter, &draft->n_filter, &unknown);
        if (r == -ENOENT)
                mistake(mistakes, file, line, "SystemCalls", "there is no system call %s", unknown);
        else if (r < 0)
                mistake(mistakes, file, line, "SystemCalls", "no filter can be made: %s", strerror(-r));
        return r == -ENOMEM ? r : 0;
}

int draft_type(const TypeFiles *files, Mistakes *mistakes, DraftType *ret) {
        Mistakes own = {.stream = mistakes->stream};
        _cleanup_(entries_done) Entries entries = {0};
        Target target = {.draft = ret};
        int r;

        *ret = (DraftType){
                .type = {
                        .hand_over = POLICY_HAND_OVER_FD,
                        .max_open_files = 256,
                        .max_processes = 64,
                        .max_memory = 1ULL << 30,
                        .oom_score = 200,
                        .start_usec = 10 * USEC_PER_SEC,
                        .init_usec = 10 * USEC_PER_SEC,
                        .stop_usec = 20 * USEC_PER_SEC,
                },
        };
        memcpy(ret->type.name, files->name, sizeof ret->type.name);
        ret->file = strdup(files->n_files > 0 ? files->files[0] : files->name);
        if (!ret->file)
                return -ENOMEM;
        if (files->n_files == 0 || file_is_mask(files->files[0]))
                return -ENOENT; /* hidden, and its drop-ins with it */
        r = read_entries(files, &own, &entries);
        if (r < 0)
                return r;
        ret->type.place.line = 1;
        r = apply_entries(&entries, type_rows, ELEMENTSOF(type_rows), &target, &own);
        if (r >= 0)
                r = complete(ret, &own);
        ret->disabled = own.first;
        mistakes->n += own.n;
        return r >= 0 && own.n > 0 && !own.first ? -ENOMEM : r; /* without its reason the type would count as good */
}

/* ---- fused.conf ----------------------------------------------------------------------------------------------------- */

void draft_main_done(DraftMain *draft) {
        free(draft->limits_file);
        for (size_t i = 0; i < draft->n_users; i++)
                free(draft->users[i].file);
        free(draft->users);
        if (draft->manager_files)
                clear_words(draft->manager_files, &draft->n_manager_files);
        free(draft->manager_files);
        *draft = (DraftMain){0};
}

static int compare_sections(const void *a, const void *b) {
        const Entry *x = a, *y = b;

        return strcmp(x->section, y->section); /* Limits before User, which begins with a copy of them */
}

int draft_main(const TypeFiles *files, Mistakes *mistakes, DraftMain *ret) {
        _cleanup_(entries_done) Entries entries = {0};
        const struct passwd *user;
        Target target = {.main = ret};
        int r;

        *ret = (DraftMain){
                .uid_first = DEFAULT_UID_FIRST,
                .uid_count = DEFAULT_UID_COUNT,
                .max_mounts = 4096,
                .spares = 4,
                .limits = {.max_mounts = 256, .max_pending = 16, .max_fds = 4096, .max_processes = 1024},
        };
        r = read_entries(files, mistakes, &entries);
        if (r < 0)
                return r;
        if (entries.n > 0)
                qsort(entries.rows, entries.n, sizeof *entries.rows, compare_sections);
        for (size_t i = 0; i < entries.n; i++)
                if (strcmp(entries.rows[i].section, "Limits") == 0) {
                        free(ret->limits_file);
                        ret->limits_file = strdup(entries.rows[i].file);
                        ret->limits_line = entries.rows[i].line;
                }
        r = apply_entries(&entries, main_rows, ELEMENTSOF(main_rows), &target, mistakes);
        if (r < 0)
                return r;
        if (ret->manager_uid == 0 && (user = getpwnam("fused")) && user->pw_uid != 0 && user->pw_gid != 0) {
                ret->manager_uid = user->pw_uid;
                ret->manager_gid = user->pw_gid;
        }
        if (ret->manager_uid == 0) /* not installed by a package: the first uid of the range, which no server gets then */
                ret->manager_uid = ret->manager_gid = ret->uid_first;
        return 0;
}
