/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The inside of fused-policy: files -> entries -> drafts -> table. Runs without privilege; what it makes is validated
 * again by whoever maps it.
 *
 *   load-files.c    finds the files of each layer, reads them with libeconf into entries
 *   load-draft.c    entries into the drafts of types and of fused.conf
 *   load-keys.c     the tables of sections and keys: what each entry means
 *   load-values.c   the words of values: sizes, times, users, devices, options
 *   load-program.c  is the program fit to be run, and which libraries does it need
 *   load-table.c    drafts into one PolicyTable
 *   server-filter.c the seccomp program of a server */

#include <stdio.h>

#include "policy/policy-table.h"

/* ---- entries ----------------------------------------------------------------------------------------------------- */

typedef struct Entry { /* one "Key=value" */
        char *file;    /* owned, as are the others */
        uint32_t line;
        char *section; /* "Allow" of "[Allow everybody]" */
        char *name;    /* "everybody", or "" */
        char *key;
        char *value;   /* "" resets a list */
} Entry;

typedef struct Entries {
        Entry *rows; /* owned */
        size_t n;
} Entries;

/* Reports a mistake as "FILE:LINE: KEY: text" on stderr, and keeps the first one of a type. */
typedef struct Mistakes {
        FILE *stream; /* borrowed: where they are printed */
        unsigned n;
        char *first;  /* owned; NULL if there was none */
} Mistakes;
void mistake(Mistakes *mistakes, const char *file, uint32_t line, const char *key, const char *format, ...)
        _printf_(5, 6);

typedef struct TypeFiles { /* the files that make one type, in the order in which they apply */
        char name[POLICY_NAME_MAX];
        char **files; /* owned strings */
        size_t n_files;
} TypeFiles;

/* directories: the layers, lowest first. Missing ones are skipped, unreadable ones reported. */
int find_types(const char *const *directories, size_t n, Mistakes *mistakes, TypeFiles **ret,
               size_t *ret_n) _must_check_;
int find_main(const char *const *directories, size_t n, Mistakes *mistakes,
              TypeFiles *ret) _must_check_; /* fused.conf */
void type_files_done(TypeFiles *files);
/* Reads all of them; a later entry of the same section, name and key replaces an earlier one. Mistakes are reported. */
int read_entries(const TypeFiles *files, Mistakes *mistakes, Entries *ret) _must_check_;
void entries_done(Entries *entries);
bool file_is_mask(const char *path); /* empty, or a link to /dev/null */

/* ---- drafts ------------------------------------------------------------------------------------------------------ */

typedef struct DraftRule {
        PolicyRule rule; /* its ranges are filled in when the table is made */
        char *file;      /* owned */
        uint32_t *uids, *gids, *owners; /* owned */
        size_t n_uids, n_gids, n_owners;
        char *units, *cgroups; /* owned; NULL: any */
        PolicyDevice *devices; /* owned; path is an index into device_paths */
        char **device_paths;   /* owned strings, one per device, "" for numbers */
        size_t n_devices;
} DraftRule;

#define DRAFT_WORDS_MAX 64
#define DRAFT_RULES_MAX 64

typedef struct DraftType {
        PolicyType type;
        char *file;          /* owned: where [Type] was found last */
        char *description, *program, *server_options, *programs; /* owned */
        char *arguments[DRAFT_WORDS_MAX]; /* owned */
        size_t n_arguments;
        char *extra_files[DRAFT_WORDS_MAX]; /* owned: Files= */
        size_t n_extra_files;
        char *credentials[DRAFT_WORDS_MAX]; /* owned: NAME:PATH each, for units */
        size_t n_credentials;
        char *slice;         /* owned: of its units; NULL: the one for all */
        char *calls[DRAFT_WORDS_MAX];     /* owned: SystemCalls=, "+name" or "-name" */
        size_t n_calls;
        PolicySlot slots[POLICY_SLOTS_MAX];
        size_t n_slots;
        DraftRule rules[DRAFT_RULES_MAX];
        size_t n_rules;
        char **libraries;    /* owned: program and libraries, absolute */
        size_t n_libraries;
        void *filter;        /* owned: struct sock_filter each */
        size_t n_filter;
        char *disabled;      /* owned: the first mistake */
} DraftType;

typedef struct DraftUser {
        PolicyUser user;
        char *file; /* owned */
} DraftUser;

typedef struct DraftProgram {
        PolicyProgram program;
        char *file, *object, *signature, *public_key; /* owned */
        bool wrong; /* a mistake was found in it */
} DraftProgram;

typedef struct DraftMain { /* fused.conf */
        uint32_t uid_first, uid_count, max_mounts, spares;
        PolicyLimits limits;
        char *limits_file; /* owned; NULL: the defaults */
        uint32_t limits_line;
        uint32_t manager_uid, manager_gid;
        DraftUser *users; /* owned */
        size_t n_users;
        DraftProgram *programs; /* owned */
        size_t n_programs;
        char **manager_files; /* owned */
        size_t n_manager_files;
} DraftMain;

/* Never fail for a mistake: a type with one is disabled, a key of fused.conf keeps its default. */
int draft_type(const TypeFiles *files, Mistakes *mistakes, DraftType *ret) _must_check_;
void draft_type_done(DraftType *draft);
int draft_main(const TypeFiles *files, Mistakes *mistakes, DraftMain *ret) _must_check_;
void draft_main_done(DraftMain *draft);

/* ---- values: 0 or -EINVAL, with *ret_problem a static text that says what would be right ------------------------- */

int parse_yes_no(const char *text, uint32_t *ret, const char **ret_problem) _must_check_;
int parse_count(const char *text, uint32_t *ret, const char **ret_problem) _must_check_; /* "unlimited" is UINT32_MAX */
int parse_total(const char *text, uint32_t *ret, const char **ret_problem) _must_check_; /* likewise, but not 0 */
int parse_processes(const char *text, uint32_t *ret, const char **ret_problem) _must_check_; /* "unlimited" is 0 */
int parse_open_files(const char *text, uint32_t *ret, const char **ret_problem) _must_check_;
int parse_spares(const char *text, uint32_t *ret, const char **ret_problem) _must_check_;
int parse_backings(const char *text, uint32_t *ret, const char **ret_problem) _must_check_;
int parse_clones(const char *text, uint32_t *ret, const char **ret_problem) _must_check_;
int parse_oom_score(const char *text, uint32_t *ret, const char **ret_problem) _must_check_;
int parse_memory_limit(const char *text, uint32_t *ret_mib, const char **ret_problem) _must_check_; /* rounded up; unlimited is UINT32_MAX */
int parse_cpu_limit(const char *text, uint32_t *ret, const char **ret_problem) _must_check_;      /* likewise */
int parse_bytes(const char *text, uint64_t *ret, const char **ret_problem) _must_check_; /* 512M, 1G */
int parse_time(const char *text, uint64_t *ret_usec, const char **ret_problem) _must_check_; /* 10s, 500ms, 2min */
int parse_percent(const char *text, uint64_t *ret, const char **ret_problem) _must_check_;
int parse_sources(const char *text, uint32_t *ret, const char **ret_problem) _must_check_;
int parse_option_names(const char *text, uint32_t *ret, const char **ret_problem) _must_check_;
int parse_user(const char *text, uint32_t *ret) _must_check_; /* name, number or "*"; -ENOENT if there is none */
int parse_owner(const char *text, uint32_t *ret) _must_check_; /* likewise, or "host" */
int parse_group(const char *text, uint32_t *ret) _must_check_;
int parse_device(const char *text, PolicyDevice *ret, char **ret_path, const char **ret_problem) _must_check_;
int check_specifiers(const char *word, const DraftType *draft, const char **ret_problem) _must_check_;
bool name_is_good(const char *name); /* of a type, slot or rule */

/* ---- programs and filters ---------------------------------------------------------------------------------------- */

/* A regular file that belongs to root, is executable, and only root can write. */
int check_program(const char *path, const char **ret_problem) _must_check_;
/* The program itself, its dynamic loader and libraries, as absolute paths: what ld.so --list says. Bounded in time. */
int list_libraries(const char *path, char ***ret, size_t *ret_n) _must_check_;

/* notify: an agent answers some calls. iomap: the server may leave its data to the kernel. calls: "+name" or "-name" on top of the built-in
 * list. -ENOENT: *ret_unknown names a call that libseccomp does not know. */
int server_filter_build(bool notify, bool iomap, char *const *calls, size_t n_calls, void **ret_filter, size_t *ret_n,
                        const char **ret_unknown) _must_check_;

/* The same lists by name, for a filter that somebody else makes: each call that is permitted, whatever its arguments; with notify,
 * what the agent answers is among them. */
typedef void (*server_filter_each_t)(void *userdata, const char *name);
void server_filter_names(bool notify, char *const *calls, size_t n_calls, server_filter_each_t each, void *userdata);

/* ---- the table --------------------------------------------------------------------------------------------------- */

int make_table(const DraftMain *main, const DraftType *types, size_t n_types, void **ret,
               size_t *ret_size) _must_check_;
