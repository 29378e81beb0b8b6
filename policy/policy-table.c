/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The digested policy: validation once, then plain look-ups. See policy-table.h. */

#include "policy/policy-table.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"

/* ---- validation -------------------------------------------------------------------------------------------------- */

typedef struct View {
        const char *data;
        size_t size;
        const PolicyTable *table;
} View;

static bool array_fits(const View *view, PolicyArray array, size_t row_size) {
        return array.offset % 8 == 0 && array.offset >= sizeof(PolicyTable) && array.offset <= view->size &&
               array.count <= (view->size - array.offset) / row_size;
}

static const void *rows(const View *view, PolicyArray array) {
        return view->data + array.offset;
}

static bool range_fits(PolicyRange range, PolicyArray array) {
        return range.first <= array.count && range.count <= array.count - range.first;
}

/* The pool ends with a NUL, so every offset inside it begins a terminated string. */
static bool string_fits(const View *view, uint32_t offset) {
        return offset < view->table->strings.count;
}

static bool name_is_valid(const char name[static POLICY_NAME_MAX]) {
        size_t length = strnlen(name, POLICY_NAME_MAX);

        if (length == 0 || length == POLICY_NAME_MAX || name[0] == '.' || name[0] == '-' || name[0] == '_')
                return false;
        return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}

static bool slot_is_valid(const View *view, const PolicySlot *slot) {
        return name_is_valid(slot->name) && slot->sources != 0 && !(slot->sources & ~(uint32_t) _POLICY_SOURCE_ALL) &&
               slot->required <= 1 && slot->writable <= 1 && string_fits(view, slot->path) &&
               *(const char *) (view->data + view->table->strings.offset + slot->path) == '/';
}

static bool device_is_valid(const View *view, const PolicyDevice *device) {
        return device->kind < _POLICY_DEVICE_KIND_MAX && string_fits(view, device->path);
}

static bool rule_is_valid(const View *view, const PolicyRule *rule) {
        const PolicyTable *table = view->table;

        return name_is_valid(rule->name) && string_fits(view, rule->place.file) && range_fits(rule->uids, table->ids) &&
               range_fits(rule->gids, table->ids) && range_fits(rule->devices, table->devices) &&
               range_fits(rule->owners, table->ids) && string_fits(view, rule->units) && string_fits(view, rule->cgroups) &&
               !(rule->sources & ~(uint32_t) _POLICY_SOURCE_ALL) && !(rule->options & ~(uint32_t) _POLICY_OPTION_ALL) &&
               rule->administrator <= 1;
}

static bool type_is_valid(const View *view, const PolicyType *type) {
        const PolicyTable *table = view->table;

        if (!name_is_valid(type->name) || type->hand_over >= _POLICY_HAND_OVER_MAX || type->read_only > 1 || type->iomap > 1)
                return false;
        if (!string_fits(view, type->description) || !string_fits(view, type->disabled) ||
            !string_fits(view, type->place.file) || !string_fits(view, type->program) ||
            !string_fits(view, type->server_options) || !string_fits(view, type->programs) || type->device_clones > POLICY_CLONES_MAX)
                return false;
        if (!range_fits(type->arguments, table->arguments) || !range_fits(type->slots, table->slots) ||
            !range_fits(type->rules, table->rules) || !range_fits(type->files, table->files) ||
            !range_fits(type->filter, table->filters))
                return false;
        if (type->slots.count > POLICY_SLOTS_MAX || type->filter.count > POLICY_FILTER_MAX)
                return false;
        /* What a usable type cannot do without: a program and its filter, unless the caller has them. */
        bool own = type->hand_over == POLICY_HAND_OVER_CALLER;
        if (type->disabled == 0 && (own != (type->program == 0) || own != (type->filter.count == 0)))
                return false;
        return type->disabled != 0 || (type->start_usec > 0 && type->init_usec > 0 && type->stop_usec > 0 && type->max_open_files > 0);
}

#define CHECK_ROWS(view, array, Type, is_valid)                                              \
        ({                                                                                   \
                const Type *_rows = rows(view, array);                                       \
                bool _ok = true;                                                             \
                for (uint32_t _i = 0; _i < (array).count && _ok; _i++)                       \
                        _ok = is_valid(view, &_rows[_i]);                                    \
                _ok;                                                                         \
        })

static bool argument_is_valid(const View *view, const uint32_t *argument) {
        return string_fits(view, *argument);
}

static bool file_is_valid(const View *view, const PolicyFile *file) {
        return string_fits(view, file->path) &&
               *(const char *) (view->data + view->table->strings.offset + file->path) == '/' && file->flags == 0;
}

static bool user_is_valid(const View *view, const PolicyUser *user) {
        return string_fits(view, user->place.file);
}

static bool program_is_valid(const View *view, const PolicyProgram *program) {
        return name_is_valid(program->name) && string_fits(view, program->place.file) && string_fits(view, program->object) &&
               program->object != 0 && string_fits(view, program->signature) && string_fits(view, program->public_key) &&
               program->has_digest <= 1 && (program->has_digest || program->signature != 0) &&
               (program->signature == 0) == (program->public_key == 0);
}

static bool layout_is_valid(const View *view) {
        const PolicyTable *table = view->table;
        const char *strings;

        if (!array_fits(view, table->types, sizeof(PolicyType)) ||
            !array_fits(view, table->arguments, sizeof(uint32_t)) ||
            !array_fits(view, table->slots, sizeof(PolicySlot)) ||
            !array_fits(view, table->rules, sizeof(PolicyRule)) ||
            !array_fits(view, table->devices, sizeof(PolicyDevice)) ||
            !array_fits(view, table->ids, sizeof(uint32_t)) || !array_fits(view, table->files, sizeof(PolicyFile)) ||
            !array_fits(view, table->users, sizeof(PolicyUser)) ||
            !array_fits(view, table->programs, sizeof(PolicyProgram)) ||
            !array_fits(view, table->filters, sizeof(struct sock_filter)) || !array_fits(view, table->strings, 1))
                return false;
        strings = rows(view, table->strings);
        return table->types.count <= POLICY_TYPES_MAX && table->strings.count > 0 && strings[0] == 0 &&
               strings[table->strings.count - 1] == 0;
}

int policy_table_validate(const void *data, size_t size) {
        const View view = {.data = data, .size = size, .table = data};
        const PolicyTable *table = data;

        if (size < sizeof(PolicyTable) || size > POLICY_TABLE_MAX_SIZE || (uintptr_t) data % 8 != 0 ||
            table->magic != POLICY_TABLE_MAGIC || table->size != size || !layout_is_valid(&view))
                return -EBADMSG;
        if (table->uid_count == 0 || table->uid_first == 0 || table->uid_first > UINT32_MAX - table->uid_count ||
            table->max_mounts == 0 || table->spares > POLICY_SPARES_MAX || table->manager_uid == 0 ||
            table->manager_gid == 0 || table->manager_uid == UINT32_MAX || table->manager_gid == UINT32_MAX)
                return -EBADMSG; /* nothing that is started from this table may be root */
        if (!string_fits(&view, table->limits_place.file) || !range_fits(table->manager_files, table->files))
                return -EBADMSG;
        if (!CHECK_ROWS(&view, table->arguments, uint32_t, argument_is_valid) ||
            !CHECK_ROWS(&view, table->slots, PolicySlot, slot_is_valid) ||
            !CHECK_ROWS(&view, table->devices, PolicyDevice, device_is_valid) ||
            !CHECK_ROWS(&view, table->rules, PolicyRule, rule_is_valid) ||
            !CHECK_ROWS(&view, table->files, PolicyFile, file_is_valid) ||
            !CHECK_ROWS(&view, table->users, PolicyUser, user_is_valid) ||
            !CHECK_ROWS(&view, table->programs, PolicyProgram, program_is_valid) ||
            !CHECK_ROWS(&view, table->types, PolicyType, type_is_valid))
                return -EBADMSG;
        return 0;
}

/* ---- look-ups on a validated table ------------------------------------------------------------------------------- */

static const void *row(const PolicyTable *table, PolicyArray array, size_t row_size, uint32_t index) {
        assert(index < array.count);
        return (const char *) table + array.offset + (size_t) index * row_size;
}

#define ROW(table, array, Type, index) ((const Type *) row(table, (table)->array, sizeof(Type), index))

static uint32_t nth(PolicyRange range, uint32_t i) {
        assert(i < range.count);
        return range.first + i;
}

const char *policy_string(const PolicyTable *table, uint32_t offset) {
        return offset < table->strings.count ? (const char *) table + table->strings.offset + offset : "";
}

const PolicyType *policy_type(const PolicyTable *table, uint32_t index) {
        return index < table->types.count ? ROW(table, types, PolicyType, index) : NULL;
}

bool policy_has_agent(const PolicyType *type) {
        return type->hand_over == POLICY_HAND_OVER_FD || type->hand_over == POLICY_HAND_OVER_FUSERMOUNT;
}

const char *policy_hand_over_to_string(uint32_t hand_over) {
        static const char *const names[_POLICY_HAND_OVER_MAX] = {
                [POLICY_HAND_OVER_SERVICE] = "service",
                [POLICY_HAND_OVER_FD] = "fd",
                [POLICY_HAND_OVER_FUSERMOUNT] = "fusermount",
                [POLICY_HAND_OVER_CALLER] = "caller",
        };

        return hand_over < ELEMENTSOF(names) ? names[hand_over] : "";
}

const PolicyType *policy_type_by_name(const PolicyTable *table, const char *name, uint32_t *ret_index) {
        for (uint32_t i = 0; i < table->types.count; i++) {
                const PolicyType *type = policy_type(table, i);
                if (strcmp(type->name, name) == 0) {
                        if (ret_index)
                                *ret_index = i;
                        return type;
                }
        }
        return NULL;
}

const PolicySlot *policy_slot(const PolicyTable *table, const PolicyType *type, uint32_t i) {
        return ROW(table, slots, PolicySlot, nth(type->slots, i));
}

const PolicyRule *policy_rule(const PolicyTable *table, const PolicyType *type, uint32_t i) {
        return ROW(table, rules, PolicyRule, nth(type->rules, i));
}

const PolicyDevice *policy_device(const PolicyTable *table, const PolicyRule *rule, uint32_t i) {
        return ROW(table, devices, PolicyDevice, nth(rule->devices, i));
}

const char *policy_argument(const PolicyTable *table, const PolicyType *type, uint32_t i) {
        return policy_string(table, *ROW(table, arguments, uint32_t, nth(type->arguments, i)));
}

const char *policy_file(const PolicyTable *table, PolicyRange files, uint32_t i) {
        return policy_string(table, ROW(table, files, PolicyFile, nth(files, i))->path);
}

const uint32_t *policy_ids(const PolicyTable *table, PolicyRange ids) {
        return ids.count > 0 ? ROW(table, ids, uint32_t, ids.first) : NULL;
}

const void *policy_filter(const PolicyTable *table, const PolicyType *type) {
        return type->filter.count > 0 ? ROW(table, filters, struct sock_filter, type->filter.first) : NULL;
}

const PolicyProgram *policy_program(const PolicyTable *table, uint32_t i) {
        const PolicyProgram *programs = (const void *) ((const char *) table + table->programs.offset);

        return i < table->programs.count ? &programs[i] : NULL;
}

static bool word_is_listed(const char *list, const char *word) {
        size_t length = strlen(word);

        for (const char *at = list; *at;) {
                size_t n = strcspn(at, " ");
                if (n == length && n > 0 && memcmp(at, word, n) == 0)
                        return true;
                at += n;
                at += strspn(at, " ");
        }
        return false;
}

const PolicyProgram *policy_program_of_type(const PolicyTable *table, const PolicyType *type, const char *name) {
        const PolicyProgram *program;

        if (!word_is_listed(policy_string(table, type->programs), name))
                return NULL;
        for (uint32_t i = 0; (program = policy_program(table, i)); i++)
                if (strcmp(program->name, name) == 0)
                        return program;
        return NULL;
}

const PolicyLimits *policy_limits(const PolicyTable *table, uid_t uid, PolicyPlace *ret_place) {
        const PolicyLimits *limits = &table->limits;
        PolicyPlace place = table->limits_place;

        for (uint32_t i = 0; i < table->users.count; i++) {
                const PolicyUser *user = ROW(table, users, PolicyUser, i);
                if (user->uid == uid) {
                        limits = &user->limits;
                        place = user->place;
                }
        }
        if (ret_place)
                *ret_place = place;
        return limits;
}

/* ---- a mapped table ---------------------------------------------------------------------------------------------- */

struct Policy {
        unsigned n_ref;
        uint32_t generation;
        int fd; /* owned */
        void *data; /* owned mapping */
        size_t size;
};

Policy *policy_ref(Policy *policy) {
        if (policy)
                policy->n_ref++;
        return policy;
}

Policy *policy_unref(Policy *policy) {
        if (!policy || --policy->n_ref > 0)
                return NULL;
        if (policy->data)
                (void) munmap(policy->data, policy->size);
        policy->fd = fd_close(policy->fd);
        free(policy);
        return NULL;
}

static int check_seals(int fd) {
        const int needed = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
        int seals = RET_NERRNO(fcntl(fd, F_GET_SEALS));

        if (seals < 0)
                return seals == -EINVAL ? -EPERM : seals;
        return (seals & needed) == needed ? 0 : -EPERM;
}

int policy_new_from_fd(int fd, uint32_t generation, Policy **ret) {
        _cleanup_(policy_unrefp) Policy *policy = NULL;
        struct stat st;
        int r;

        r = check_seals(fd); /* what was validated must not change afterwards */
        if (r < 0)
                return r;
        r = RET_NERRNO(fstat(fd, &st));
        if (r < 0)
                return r;
        if (st.st_size < (off_t) sizeof(PolicyTable) || st.st_size > (off_t) POLICY_TABLE_MAX_SIZE)
                return -EBADMSG;
        policy = calloc(1, sizeof *policy);
        if (!policy)
                return -ENOMEM;
        *policy = (Policy){.n_ref = 1, .generation = generation, .fd = -EBADF, .size = (size_t) st.st_size};
        policy->fd = fd_dup(fd);
        if (policy->fd < 0)
                return policy->fd;
        policy->data = mmap(NULL, policy->size, PROT_READ, MAP_SHARED, policy->fd, 0);
        if (policy->data == MAP_FAILED) {
                policy->data = NULL;
                return -errno;
        }
        r = policy_table_validate(policy->data, policy->size);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(policy);
        return 0;
}

const PolicyTable *policy_table(const Policy *policy) {
        return policy->data;
}

uint32_t policy_generation(const Policy *policy) {
        return policy->generation;
}

int policy_fd(const Policy *policy) {
        return policy->fd;
}
