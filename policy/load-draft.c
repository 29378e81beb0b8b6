/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Entries into drafts: which slot, rule or user a section is about, the defaults, and what no single key can say. */

#include <pwd.h>
#include <string.h>

#include "policy-config.h"
#include "policy/load-keys.h"

#define DEFAULT_UID_FIRST 0x70000000U /* far from what useradd, systemd (61184-65519, 524288-) and subuid give away */
#define DEFAULT_UID_COUNT 65536U
#define DEFAULT_PROGRAM_MEMORY (64ULL << 20)

/* ---- sections with a name ---------------------------------------------------------------------------------------- */

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
        memmove(&draft->slots[at + 1 < POLICY_SLOTS_MAX ? at + 1 : at], &draft->slots[at],
                (draft->n_slots - at) * sizeof draft->slots[0]);
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

static DraftProgram *program_named(DraftMain *draft, const Entry *entry, const char **ret_problem) {
        DraftProgram *programs;

        if (!name_is_good(entry->name)) {
                *ret_problem = "is no good program: [Program NAME] with a-z 0-9 . _ -";
                return NULL;
        }
        for (size_t i = 0; i < draft->n_programs; i++)
                if (strcmp(draft->programs[i].program.name, entry->name) == 0)
                        return &draft->programs[i];
        programs = reallocarray(draft->programs, draft->n_programs + 1, sizeof *programs);
        if (!programs)
                return NULL;
        draft->programs = programs;
        programs[draft->n_programs] = (DraftProgram){.file = strdup(entry->file),
                                                     .program = {.place.line = entry->line, .max_memory = DEFAULT_PROGRAM_MEMORY}};
        memcpy(programs[draft->n_programs].program.name, entry->name, strlen(entry->name) + 1);
        return &programs[draft->n_programs++];
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
        else if (strcmp(entry->section, "Program") == 0)
                ok = (target->listed = program_named(target->main, entry, &text));
        else if (*entry->name) {
                ok = false;
                text = "takes no name";
        }
        if (!ok)
                mistake(mistakes, entry->file, entry->line, entry->key, "section [%s%s%s] %s", entry->section,
                        *entry->name ? " " : "", entry->name, text);
        return ok;
}

static int apply_entries(const Entries *entries, Target *target, Mistakes *mistakes) {
        int r = 0;

        for (size_t i = 0; i < entries->n && r >= 0; i++) {
                const Entry *entry = &entries->rows[i];
                bool section_known;
                const KeyRow *row = find_row(target, entry, &section_known);
                if (!section_known)
                        mistake(mistakes, entry->file, entry->line, entry->key, "there is no section [%s]",
                                entry->section);
                else if (!row)
                        mistake(mistakes, entry->file, entry->line, entry->key, "there is no such key in [%s]",
                                entry->section);
                else if (choose_section(target, entry, mistakes))
                        r = apply_row(row, target, entry, mistakes);
        }
        return r;
}

/* ---- a type ------------------------------------------------------------------------------------------------------ */

void draft_type_done(DraftType *draft) {
        free(draft->file);
        free(draft->description);
        free(draft->program);
        free(draft->server_options);
        free(draft->programs);
        clear_words(draft->arguments, &draft->n_arguments);
        clear_words(draft->extra_files, &draft->n_extra_files);
        clear_words(draft->calls, &draft->n_calls);
        clear_words(draft->credentials, &draft->n_credentials);
        free(draft->slice);
        for (size_t i = 0; i < draft->n_rules; i++) {
                clear_devices(&draft->rules[i]);
                free(draft->rules[i].device_paths);
                free(draft->rules[i].owners);
                free(draft->rules[i].units);
                free(draft->rules[i].cgroups);
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

typedef struct KeyPlace { /* borrowed */
        const char *file;
        uint32_t line;
} KeyPlace;

/* Where a key was set, to name that line; where the definition begins if nowhere. */
static KeyPlace place_of(const Entries *entries, const DraftType *draft, const char *section, const char *name,
                         const char *key) {
        for (size_t i = 0; i < entries->n; i++) {
                const Entry *entry = &entries->rows[i];
                if (strcmp(entry->section, section) == 0 && strcmp(entry->name, name) == 0 &&
                    strcmp(entry->key, key) == 0)
                        return (KeyPlace){entry->file, entry->line};
        }
        return (KeyPlace){draft->file, draft->type.place.line};
}

/* What needs more than one key. */
static void compare_keys(const DraftType *draft, const Entries *entries, Mistakes *mistakes) {
        const uint32_t administrators = POLICY_OPTION_SUID | POLICY_OPTION_DEV;
        const char *text = NULL;

        for (size_t i = 0; i < draft->n_arguments; i++)
                if (check_specifiers(draft->arguments[i], draft, &text) < 0) {
                        KeyPlace place = place_of(entries, draft, "Type", "", "Arguments");
                        mistake(mistakes, place.file, place.line, "Arguments", "%s", text);
                }
        for (size_t i = 0; i < draft->n_rules; i++) {
                const PolicyRule *rule = &draft->rules[i].rule;
                if ((rule->options & administrators) && !rule->administrator) {
                        KeyPlace place = place_of(entries, draft, "Allow", rule->name, "Options");
                        mistake(mistakes, place.file, place.line, "Options",
                                "suid and dev also need Administrator=yes");
                }
        }
}

/* It has to be able to run the one program, which is in its root. */
static int add_fusermount(DraftType *draft) {
        if (draft->n_calls >= ELEMENTSOF(draft->calls) || draft->n_extra_files >= ELEMENTSOF(draft->extra_files))
                return 0; /* no room: its own lists are as long as they may be */
        draft->calls[draft->n_calls] = strdup("+execve");
        draft->extra_files[draft->n_extra_files] = strdup(FUSED_SANDBOX_BIN "/fusermount3");
        if (!draft->calls[draft->n_calls++] || !draft->extra_files[draft->n_extra_files++])
                return -ENOMEM;
        return 0;
}

/* The program, its libraries and its filter: what has to be looked up. */
static int look_up(DraftType *draft, const Entries *entries, Mistakes *mistakes) {
        const KeyPlace program = place_of(entries, draft, "Type", "", "Program");
        const KeyPlace calls = place_of(entries, draft, "Sandbox", "", "SystemCalls");
        const bool notify = policy_has_agent(&draft->type);
        const char *text = NULL, *unknown = NULL;
        int r;

        r = check_program(draft->program, &text);
        if (r < 0) {
                mistake(mistakes, program.file, program.line, "Program", "%s %s", draft->program, text);
                return 0;
        }
        r = list_libraries(draft->program, &draft->libraries, &draft->n_libraries);
        if (r < 0) {
                mistake(mistakes, program.file, program.line, "Program", "the libraries of %s cannot be listed: %s",
                        draft->program, strerror(-r));
                return r == -ENOMEM ? r : 0;
        }
        if (draft->programs && draft->n_calls < ELEMENTSOF(draft->calls)) { /* to run them, and nothing else: server-filter.c */
                draft->calls[draft->n_calls] = strdup("+bpf");
                if (!draft->calls[draft->n_calls++])
                        return -ENOMEM;
        }
        if (draft->type.hand_over == POLICY_HAND_OVER_FUSERMOUNT) {
                r = add_fusermount(draft);
                if (r < 0)
                        return r;
        }
        r = server_filter_build(notify, draft->type.iomap != 0, draft->calls, draft->n_calls, &draft->filter, &draft->n_filter, &unknown);
        if (r == -ENOENT)
                mistake(mistakes, calls.file, calls.line, "SystemCalls", "there is no system call %s", unknown);
        else if (r < 0)
                mistake(mistakes, calls.file, calls.line, "SystemCalls", "no filter can be made: %s", strerror(-r));
        return r == -ENOMEM ? r : 0;
}

static int complete(DraftType *draft, const Entries *entries, Mistakes *mistakes) {
        if (draft->type.hand_over == POLICY_HAND_OVER_CALLER) {
                if (draft->program || draft->n_slots > 0)
                        mistake(mistakes, draft->file, draft->type.place.line, "HandOver",
                                "caller goes with neither Program= nor slots: the caller's own program is the server");
                return 0;
        }
        if (!draft->program) {
                if (mistakes->n == 0) /* else it may be there, and be what the message was about */
                        mistake(mistakes, draft->file, draft->type.place.line, "Program", "is missing");
                return 0;
        }
        compare_keys(draft, entries, mistakes);
        return look_up(draft, entries, mistakes);
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
        r = apply_entries(&entries, &target, &own);
        if (r >= 0)
                r = complete(ret, &entries, &own);
        ret->disabled = own.first;
        mistakes->n += own.n;
        return r >= 0 && own.n > 0 && !own.first ? -ENOMEM : r; /* without its reason the type would count as good */
}

/* ---- fused.conf -------------------------------------------------------------------------------------------------- */

void draft_main_done(DraftMain *draft) {
        free(draft->limits_file);
        for (size_t i = 0; i < draft->n_users; i++)
                free(draft->users[i].file);
        free(draft->users);
        for (size_t i = 0; i < draft->n_programs; i++) {
                free(draft->programs[i].file);
                free(draft->programs[i].object);
                free(draft->programs[i].signature);
                free(draft->programs[i].public_key);
        }
        free(draft->programs);
        if (draft->manager_files)
                clear_words(draft->manager_files, &draft->n_manager_files);
        free(draft->manager_files);
        *draft = (DraftMain){0};
}

/* Where [Limits] was said last: in the file that comes last of those that have it. */
static void place_limits(const TypeFiles *files, const Entries *entries, DraftMain *ret) {
        for (size_t f = 0; f < files->n_files; f++)
                for (size_t i = 0; i < entries->n; i++)
                        if (strcmp(entries->rows[i].section, "Limits") == 0 && strcmp(entries->rows[i].file, files->files[f]) == 0) {
                                free(ret->limits_file);
                                ret->limits_file = strdup(files->files[f]);
                                ret->limits_line = entries->rows[i].line;
                        }
}

/* What is wrong with a [Program] that no single key can say. */
static void check_programs(DraftMain *draft, Mistakes *mistakes) {
        for (size_t i = 0; i < draft->n_programs; i++) {
                DraftProgram *program = &draft->programs[i];
                const char *text = !program->object ? "Object= is missing"
                                   : !program->program.has_digest && !program->signature ? "it needs SHA256= or Signature="
                                   : !program->signature != !program->public_key ? "Signature= and PublicKey= go together" : NULL;
                if (!text || program->wrong)
                        continue;
                mistake(mistakes, program->file, program->program.place.line, NULL, "[Program %s]: %s", program->program.name, text);
                program->wrong = true;
        }
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
                .limits = {.max_mounts = 256, .max_pending = 16, .max_fds = 4096, .max_processes = 1024,
                           .max_memory = UINT32_MAX, .max_cpu = UINT32_MAX},
        };
        r = read_entries(files, mistakes, &entries);
        if (r < 0)
                return r;
        if (entries.n > 0)
                qsort(entries.rows, entries.n, sizeof *entries.rows, compare_sections);
        place_limits(files, &entries, ret);
        r = apply_entries(&entries, &target, mistakes);
        if (r < 0)
                return r;
        check_programs(ret, mistakes);
        if (ret->manager_uid == 0 && (user = getpwnam("fused")) && user->pw_uid != 0 && user->pw_gid != 0) {
                ret->manager_uid = user->pw_uid;
                ret->manager_gid = user->pw_gid;
        }
        /* Not installed by a package: the first uid of the range, which no server gets then. */
        if (ret->manager_uid == 0)
                ret->manager_uid = ret->manager_gid = ret->uid_first;
        return 0;
}
