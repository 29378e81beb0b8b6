/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the subcommands of fusectl share. */

#include <stdio.h>

#include "base/fd.h"
#include "client/libfused.h"

typedef enum ExitStatus { /* fixed: other programs rely on it */
        EXIT_DONE = 0,
        EXIT_FAILED = 1,
        EXIT_USAGE = 2,
        EXIT_REFUSED = 3,
        EXIT_NO_SUCH_MOUNT = 4,
} ExitStatus;

typedef struct Context {
        const char *runtime_directory; /* NULL: the default */
        bool json;
        FusedClient *client; /* owned; connected at first use */
} Context;

/* argv[0] is the subcommand's name. Returns the exit status. */
typedef int (*subcommand_t)(Context *context, int argc, char **argv);
int command_mount(Context *context, int argc, char **argv);
int command_umount(Context *context, int argc, char **argv);
int command_abort(Context *context, int argc, char **argv);
int command_list(Context *context, int argc, char **argv);
int command_status(Context *context, int argc, char **argv);
int command_types(Context *context, int argc, char **argv);
int command_policy(Context *context, int argc, char **argv);
int command_program(Context *context, int argc, char **argv);
int command_monitor(Context *context, int argc, char **argv);
int command_top(Context *context, int argc, char **argv);
int command_metrics(Context *context, int argc, char **argv);
int command_cdi(Context *context, int argc, char **argv);
int command_doctor(Context *context, int argc, char **argv);

/* message.c: messages begin with this name; "fusectl" unless a program says otherwise */
extern const char *program_name;
int report(FusedError *error);                           /* prints it, releases it, returns its exit status */
int usage_error(const char *format, ...) _printf_(1, 2); /* EXIT_USAGE */
int failure(const char *format, ...) _printf_(1, 2);     /* EXIT_FAILED */
int connect_to_fused(Context *context);                  /* 0, or an exit status after a message */

/* fusectl.c */
/* The whole command line. Returns the exit status; context->client stays open for the caller to free. */
int fusectl_run(Context *context, int argc, char **argv);

/* source.c: what the caller names, opened with the caller's own rights */
typedef struct Source {
        int fd;           /* owned; -EBADF: none */
        const char *kind; /* static */
        char *name;       /* owned: absolute path for display, NULL: none */
        dev_t device;     /* of a block device */
} Source;
#define SOURCE_NULL ((Source){.fd = -EBADF})
void source_done(Source *source);
/* path "none" is no source. read_only: open files for reading only. any: what cannot be opened is passed by O_PATH (for
 * questions only). 0, or an exit status after a message. */
int source_open(const char *path, bool read_only, bool any, Source *ret);

/* resolve.c */
/* ID or MOUNTPOINT: 0 and *ret_id, or an exit status after a message. */
/* The mount at a path, by identity: 0; -ENXIO: none of ours; other errors, those of fused with *error. */
int mount_at(FusedClient *client, const char *path, uint64_t *ret_id, FusedError *error);
int resolve_mount(Context *context, const char *word, uint64_t *ret_id);

/* option-words.c: -o words, possibly repeated */
typedef struct OptionWords {
        char **words; /* owned */
        size_t n;
} OptionWords;
void option_words_done(OptionWords *options);
int option_words_add(OptionWords *options, const char *list); /* comma-separated */
bool option_words_have(const OptionWords *options, const char *word);

/* slots.c: -o slot.NAME=PATH */
#define SLOTS_MAX 8
typedef struct Slots {
        struct {
                char *name; /* owned */
                Source source;
        } rows[SLOTS_MAX];
        size_t n;
} Slots;
void slots_done(Slots *slots);
/* Takes them out of the words and opens them as source_open() does. 0, or an exit status after a message. */
int slots_open(OptionWords *words, bool read_only, bool any, Slots *ret);
size_t slots_fill(const Slots *slots, FusedSource ret[SLOTS_MAX]); /* borrowed; returns how many */

/* mounting.c: one mount request */
typedef struct MountArguments {
        const char *type, *source;
        const char *mountpoint; /* NULL: detached */
        char **command;         /* fusectl mount --detached; else NULL */
        OptionWords options;
        Source opened;          /* the source */
        int mountpoint_fd;      /* owned */
        char *mountpoint_name;  /* owned */
        int owner_pidfd;        /* owned; what the mount ends with */
        Slots slots;
} MountArguments;
#define MOUNT_ARGUMENTS_NULL ((MountArguments){.opened = SOURCE_NULL, .mountpoint_fd = -EBADF, .owner_pidfd = -EBADF})
void mount_arguments_done(MountArguments *arguments);
/* The client must be connected. 0, or an exit status after a message. */
int mount_arguments_open_source(Context *context, MountArguments *arguments, bool read_only); /* and slots */
int mount_arguments_open_point(MountArguments *arguments);
int mount_arguments_open_owner(MountArguments *arguments, const char *word); /* owner.c: PID, session or parent */
int mount_request(Context *context, const MountArguments *arguments, uint64_t *ret_id, int *ret_mount_fd);

/* table.c */
typedef struct Column {
        const char *title;
        const char *key;
        const char *(*format)(json_object *row, char *buffer, size_t size); /* NULL: the key's value as it is */
} Column;
void print_table(json_object *rows, const Column *columns, size_t n_columns);
void print_fields(json_object *object, const Column *columns, size_t n_columns); /* "title: value" lines */
void print_json(json_object *object);
/* The members of the object at key in one line: "mounts=64 fds=none". */
const char *format_members(json_object *row, const char *key, char *buffer, size_t size);
const char *format_place(json_object *row, char *buffer, size_t size); /* of a mount: its mount point */
const char *text_of(json_object *object, const char *key); /* "" if absent */
uint64_t number_of(json_object *object, const char *key);
bool is_true(json_object *object, const char *key);
const char *format_memory(json_object *row, char *buffer, size_t size);
const char *format_uptime(json_object *row, char *buffer, size_t size);
const char *format_user(json_object *row, char *buffer, size_t size);
void json_putp(json_object **object);
#define _cleanup_json_ _cleanup_(json_putp)
