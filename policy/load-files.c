/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which files there are, and what stands in them. A file of a higher layer replaces one of the same name below it; an
 * empty one hides it. Parsing is libeconf's. Only files that root alone can change are read: whoever can write one
 * could mount. */

#include <dirent.h>
#include <libeconf.h>
#include <libeconf_ext.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "policy/load.h"

#define SUFFIX ".conf"

void mistake(Mistakes *mistakes, const char *file, uint32_t line, const char *key, const char *format, ...) {
        char text[512], place[64] = "", *whole = NULL;
        va_list args;

        va_start(args, format);
        (void) vsnprintf(text, sizeof text, format, args);
        va_end(args);
        if (line > 0)
                (void) snprintf(place, sizeof place, ":%u", line);
        if (asprintf(&whole, "%s%s: %s%s%s", file, place, key ? key : "", key ? ": " : "", text) < 0)
                return;
        if (mistakes->stream)
                fprintf(mistakes->stream, "fused-policy: %s\n", whole);
        mistakes->n++;
        if (mistakes->first)
                free(whole);
        else
                mistakes->first = whole;
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

void type_files_done(TypeFiles *files) {
        for (size_t i = 0; i < files->n_files; i++)
                free(files->files[i]);
        free(files->files);
        *files = (TypeFiles){0};
}

static const char *base_name(const char *path) {
        return strrchr(path, '/') + 1;
}

/* Adds a path; one of the same base name, which comes from a lower layer, is replaced by it in its place. */
static int add_layered(TypeFiles *files, char *path) {
        char **list;

        for (size_t i = 0; i < files->n_files; i++)
                if (strcmp(base_name(files->files[i]), base_name(path)) == 0) {
                        free(files->files[i]);
                        files->files[i] = path;
                        return 0;
                }
        list = reallocarray(files->files, files->n_files + 1, sizeof *list);
        if (!list)
                return -ENOMEM;
        files->files = list;
        files->files[files->n_files++] = path;
        return 0;
}

static int is_conf(const struct dirent *entry) {
        size_t length = strlen(entry->d_name);

        return length > strlen(SUFFIX) && entry->d_name[0] != '.' &&
               strcmp(entry->d_name + length - strlen(SUFFIX), SUFFIX) == 0;
}

static void list_free(struct dirent **list, int n) {
        for (int i = 0; i < n; i++)
                free(list[i]);
        free(list);
}

/* The *.conf of one directory, sorted, through found(). */
static int scan(const char *directory, Mistakes *mistakes,
                int (*found)(void *userdata, const char *directory, const char *name), void *userdata) {
        struct dirent **list = NULL;
        int n, r = 0;

        n = scandir(directory, &list, is_conf, alphasort);
        if (n < 0) {
                if (errno != ENOENT)
                        mistake(mistakes, directory, 0, NULL, "cannot be read: %s", strerror(errno));
                return 0;
        }
        for (int i = 0; i < n && r >= 0; i++)
                r = found(userdata, directory, list[i]->d_name);
        list_free(list, n);
        return r;
}

static int add_drop_in(void *userdata, const char *directory, const char *name) {
        char *path;
        int r;

        if (asprintf(&path, "%s/%s", directory, name) < 0)
                return -ENOMEM;
        r = add_layered(userdata, path);
        if (r < 0)
                free(path);
        return r;
}

static int compare_base_names(const void *a, const void *b) {
        return strcmp(base_name(*(char *const *) a), base_name(*(char *const *) b));
}

/* The main file (the highest layer's) first, then the drop-ins of all layers by base name. stem: "types/ext4" or
 * "fused". */
static int find_files(const char *const *directories, size_t n, const char *stem, Mistakes *mistakes,
                      TypeFiles *files) {
        TypeFiles drop_ins = {0};
        int r = 0;

        for (size_t i = 0; i < n && r >= 0; i++) {
                char *path _cleanup_free_ = NULL, *directory _cleanup_free_ = NULL;
                struct stat st;
                if (asprintf(&path, "%s/%s" SUFFIX, directories[i], stem) < 0 ||
                    asprintf(&directory, "%s/%s" SUFFIX ".d", directories[i], stem) < 0)
                        return -ENOMEM;
                if (stat(path, &st) == 0) {
                        r = add_layered(files, path);
                        if (r >= 0)
                                (void) TAKE_PTR(path);
                }
                if (r >= 0)
                        r = scan(directory, mistakes, add_drop_in, &drop_ins);
        }
        if (drop_ins.n_files > 0)
                qsort(drop_ins.files, drop_ins.n_files, sizeof *drop_ins.files, compare_base_names);
        for (size_t i = 0; i < drop_ins.n_files && r >= 0; i++) {
                char **list = reallocarray(files->files, files->n_files + 1, sizeof *list);
                if (!list) {
                        r = -ENOMEM;
                        break;
                }
                files->files = list;
                files->files[files->n_files++] = TAKE_PTR(drop_ins.files[i]);
        }
        type_files_done(&drop_ins);
        return r;
}

typedef struct TypeList {
        TypeFiles *rows;
        size_t n;
        Mistakes *mistakes;
} TypeList;

static int add_type(void *userdata, const char *directory, const char *name) {
        size_t length = strlen(name) - strlen(SUFFIX);
        TypeList *list = userdata;
        char type[256];
        TypeFiles *rows;

        (void) snprintf(type, sizeof type, "%.*s", (int) length, name);
        if (!name_is_good(type)) {
                char *path _cleanup_free_ = NULL;
                if (asprintf(&path, "%s/%s", directory, name) >= 0)
                        mistake(list->mistakes, path, 0, NULL,
                                "a type's name has at most %d characters of a-z 0-9 . _ -", POLICY_NAME_MAX - 1);
                return 0;
        }
        for (size_t i = 0; i < list->n; i++)
                if (strcmp(list->rows[i].name, type) == 0)
                        return 0;
        if (list->n >= POLICY_TYPES_MAX) {
                mistake(list->mistakes, directory, 0, NULL, "more than %d types", POLICY_TYPES_MAX);
                return 0;
        }
        rows = reallocarray(list->rows, list->n + 1, sizeof *rows);
        if (!rows)
                return -ENOMEM;
        list->rows = rows;
        rows[list->n] = (TypeFiles){0};
        memcpy(rows[list->n++].name, type, length + 1);
        return 0;
}

static int compare_types(const void *a, const void *b) {
        return strcmp(((const TypeFiles *) a)->name, ((const TypeFiles *) b)->name);
}

int find_types(const char *const *directories, size_t n, Mistakes *mistakes, TypeFiles **ret, size_t *ret_n) {
        TypeList list = {.mistakes = mistakes};
        int r = 0;

        for (size_t i = 0; i < n && r >= 0; i++) {
                char *directory _cleanup_free_ = NULL;
                if (asprintf(&directory, "%s/types", directories[i]) < 0)
                        return -ENOMEM;
                r = scan(directory, mistakes, add_type, &list);
        }
        if (list.n > 0)
                qsort(list.rows, list.n, sizeof *list.rows, compare_types);
        for (size_t i = 0; i < list.n && r >= 0; i++) {
                char stem[64];
                (void) snprintf(stem, sizeof stem, "types/%s", list.rows[i].name);
                r = find_files(directories, n, stem, mistakes, &list.rows[i]);
        }
        *ret = list.rows;
        *ret_n = list.n;
        return r;
}

int find_main(const char *const *directories, size_t n, Mistakes *mistakes, TypeFiles *ret) {
        *ret = (TypeFiles){0};
        return find_files(directories, n, "fused", mistakes, ret);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void entry_done(Entry *entry) {
        free(entry->file);
        free(entry->section);
        free(entry->name);
        free(entry->key);
        free(entry->value);
}

void entries_done(Entries *entries) {
        for (size_t i = 0; i < entries->n; i++)
                entry_done(&entries->rows[i]);
        free(entries->rows);
        *entries = (Entries){0};
}

static bool same_key(const Entry *a, const Entry *b) {
        return strcmp(a->section, b->section) == 0 && strcmp(a->name, b->name) == 0 && strcmp(a->key, b->key) == 0;
}

static int entries_add(Entries *entries, const char *file, uint32_t line, const char *group, const char *key,
                       const char *value) {
        const char *space = strchr(group, ' ');
        Entry entry = {
                .file = strdup(file),
                .line = line,
                .section = space ? strndup(group, (size_t) (space - group)) : strdup(group),
                .name = strdup(space ? space + 1 : ""),
                .key = strdup(key),
                .value = strdup(value ? value : ""),
        };
        Entry *rows;

        if (!entry.file || !entry.section || !entry.name || !entry.key || !entry.value) {
                entry_done(&entry);
                return -ENOMEM;
        }
        for (size_t i = 0; i < entries->n; i++)
                if (same_key(&entries->rows[i], &entry)) {
                        entry_done(&entries->rows[i]);
                        entries->rows[i] = entry;
                        return 0;
                }
        rows = reallocarray(entries->rows, entries->n + 1, sizeof *rows);
        if (!rows) {
                entry_done(&entry);
                return -ENOMEM;
        }
        entries->rows = rows;
        rows[entries->n++] = entry;
        return 0;
}

static void econf_closep(econf_file **file) {
        if (*file)
                econf_freeFile(*file);
}

static void econf_arrayp(char ***array) {
        if (*array)
                econf_freeArray(*array);
}

/* Calls found() for each section, and for what stands before the first one (NULL). */
static int for_groups(econf_file *parsed, int (*found)(void *userdata, econf_file *parsed, const char *group),
                      void *userdata) {
        _cleanup_(econf_arrayp) char **groups = NULL;
        size_t n = 0;
        int r;

        r = found(userdata, parsed, NULL);
        if (r < 0 || econf_getGroups(parsed, &n, &groups) != ECONF_SUCCESS)
                return r;
        for (size_t i = 0; i < n && r >= 0; i++)
                r = found(userdata, parsed, groups[i]);
        return r;
}

typedef struct Reading { /* of one file */
        const char *file;
        Mistakes *mistakes;
        Entries *entries;
        char **keys; /* owned: the names of keys in all sections */
        size_t n_keys;
} Reading;

static void reading_done(Reading *reading) {
        for (size_t i = 0; i < reading->n_keys; i++)
                free(reading->keys[i]);
        free(reading->keys);
}

static int add_key(Reading *reading, const char *key) {
        char **keys;

        for (size_t i = 0; i < reading->n_keys; i++)
                if (strcmp(reading->keys[i], key) == 0)
                        return 0;
        keys = reallocarray(reading->keys, reading->n_keys + 1, sizeof *keys);
        if (!keys)
                return -ENOMEM;
        reading->keys = keys;
        keys[reading->n_keys] = strdup(key);
        return keys[reading->n_keys++] ? 0 : -ENOMEM;
}

static int collect_keys(void *userdata, econf_file *parsed, const char *group) {
        _cleanup_(econf_arrayp) char **keys = NULL;
        size_t n = 0;
        int r = 0;

        if (econf_getKeys(parsed, group, &n, &keys) != ECONF_SUCCESS)
                return 0; /* an empty section */
        for (size_t i = 0; i < n && r >= 0; i++)
                r = add_key(userdata, keys[i]);
        return r;
}

static int read_group(void *userdata, econf_file *parsed, const char *group) {
        Reading *reading = userdata;
        int r = 0;

        for (size_t i = 0; i < reading->n_keys && r >= 0; i++) {
                const char *key = reading->keys[i];
                econf_ext_value *value = NULL;
                if (econf_getExtValue(parsed, group, key, &value) != ECONF_SUCCESS)
                        continue; /* in another section */
                bool several = value->values && value->values[0] && value->values[1];
                if (several)
                        mistake(reading->mistakes, reading->file, (uint32_t) value->line_number, key,
                                "is set twice in this section, or the next line is neither a section nor a KEY=VALUE");
                else
                        r = entries_add(reading->entries, reading->file, (uint32_t) value->line_number,
                                        group ? group : "", key,
                                        value->values && value->values[0] ? value->values[0] : "");
                econf_freeExtValue(value);
        }
        return r;
}

/* /dev/null or empty: hidden on purpose. */
static bool is_mask(const struct stat *st) {
        return S_ISCHR(st->st_mode) || (S_ISREG(st->st_mode) && st->st_size == 0);
}

bool file_is_mask(const char *path) {
        struct stat st;

        return stat(path, &st) == 0 && is_mask(&st);
}

/* NULL, or why this file is not to be trusted. */
static const char *distrust(const char *path, const char **ret_hint) {
        struct stat st;

        *ret_hint = "";
        if (stat(path, &st) < 0)
                return strerror(errno);
        if (is_mask(&st))
                return "";
        if (!S_ISREG(st.st_mode))
                return "is not a regular file";
        if (st.st_uid != 0 || (st.st_mode & 022)) {
                *ret_hint = "; chown it to root, chmod go-w";
                return "can be changed by somebody other than root";
        }
        return NULL;
}

static int read_file(const char *path, Mistakes *mistakes, Entries *entries) {
        _cleanup_(reading_done) Reading reading = {.file = path, .mistakes = mistakes, .entries = entries};
        _cleanup_(econf_closep) econf_file *parsed = NULL;
        const char *why, *hint;
        econf_err e;
        int r;

        why = distrust(path, &hint);
        if (why) {
                if (*why)
                        mistake(mistakes, path, 0, NULL, "%s%s", why, hint);
                return 0;
        }
        e = econf_readFile(&parsed, path, "=", "#");
        if (e != ECONF_SUCCESS) {
                char *file _cleanup_free_ = NULL;
                uint64_t line = 0;
                econf_errLocation(&file, &line);
                mistake(mistakes, path, (uint32_t) line, NULL, "%s", econf_errString(e));
                return 0;
        }
        /* libeconf 0.5 does not list a key whose name is also that of the line before it, in the section above. It
         * finds it when asked, so each section is asked for every name. */
        r = for_groups(parsed, collect_keys, &reading);
        return r < 0 ? r : for_groups(parsed, read_group, &reading);
}

int read_entries(const TypeFiles *files, Mistakes *mistakes, Entries *ret) {
        int r = 0;

        *ret = (Entries){0};
        /* A key that is set twice has two values then, and not just the first. */
        (void) setenv("ECONF_JOIN_SAME_ENTRIES", "1", 1);
        for (size_t i = 0; i < files->n_files && r >= 0; i++)
                r = read_file(files->files[i], mistakes, ret);
        return r;
}
