/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The words of values in policy files. See load.h. */

#include <grp.h>
#include <pwd.h>
#include <string.h>

#include "policy/load.h"
#include "policy/options.h"

static int problem(const char *text, const char **ret_problem) {
        *ret_problem = text;
        return -EINVAL;
}

int parse_yes_no(const char *text, uint32_t *ret, const char **ret_problem) {
        if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0)
                return problem("must be yes or no", ret_problem);
        *ret = strcmp(text, "yes") == 0;
        return 0;
}

static int parse_u64(const char *text, uint64_t max, uint64_t *ret, const char **ret_end) {
        char *end;
        unsigned long long value;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        errno = 0;
        value = strtoull(text, &end, 10);
        if (errno != 0 || value > max)
                return -ERANGE;
        *ret = value;
        *ret_end = end;
        return 0;
}

int parse_count(const char *text, uint32_t *ret, const char **ret_problem) {
        uint64_t value;
        const char *end;

        if (strcmp(text, "unlimited") == 0) {
                *ret = UINT32_MAX;
                return 0;
        }
        if (parse_u64(text, UINT32_MAX - 1, &value, &end) < 0 || *end)
                return problem("must be a number, or unlimited", ret_problem);
        *ret = (uint32_t) value;
        return 0;
}

int parse_total(const char *text, uint32_t *ret, const char **ret_problem) {
        uint32_t value;

        if (parse_count(text, &value, ret_problem) < 0 || value == 0) /* *ret stays the default then */
                return problem("must be a number above 0, or unlimited", ret_problem);
        *ret = value;
        return 0;
}

static int parse_between(const char *text, uint32_t min, uint32_t max, uint32_t *ret) {
        uint64_t value;
        const char *end;

        if (parse_u64(text, max, &value, &end) < 0 || *end || value < min)
                return -EINVAL;
        *ret = (uint32_t) value;
        return 0;
}

int parse_processes(const char *text, uint32_t *ret, const char **ret_problem) {
        if (strcmp(text, "unlimited") == 0) {
                *ret = 0;
                return 0;
        }
        return parse_between(text, 1, 4194304, ret) < 0
                       ? problem("must be a number from 1 to 4194304, or unlimited", ret_problem)
                       : 0;
}

int parse_open_files(const char *text, uint32_t *ret, const char **ret_problem) {
        return parse_between(text, 8, 1048576, ret) < 0 ? problem("must be a number from 8 to 1048576", ret_problem)
                                                        : 0;
}

int parse_spares(const char *text, uint32_t *ret, const char **ret_problem) {
        return parse_between(text, 0, POLICY_SPARES_MAX, ret) < 0
                       ? problem("must be a number from 0 to 64", ret_problem)
                       : 0;
}

int parse_backings(const char *text, uint32_t *ret, const char **ret_problem) {
        return parse_between(text, 0, 1048576, ret) < 0 ? problem("must be a number from 0 to 1048576", ret_problem) : 0;
}

int parse_clones(const char *text, uint32_t *ret, const char **ret_problem) {
        return parse_between(text, 0, POLICY_CLONES_MAX, ret) < 0 ? problem("must be a number from 0 to 8", ret_problem) : 0;
}

int parse_oom_score(const char *text, uint32_t *ret, const char **ret_problem) {
        return parse_between(text, 0, 1000, ret) < 0 ? problem("must be a number from 0 to 1000", ret_problem) : 0;
}

typedef struct Unit {
        const char *name;
        uint64_t factor;
} Unit;

static int parse_with_unit(const char *text, const Unit *units, size_t n, uint64_t max, uint64_t *ret) {
        uint64_t value;
        const char *end;

        if (parse_u64(text, UINT64_MAX, &value, &end) < 0)
                return -EINVAL;
        for (size_t i = 0; i < n; i++)
                if (strcmp(end, units[i].name) == 0) {
                        if (value > max / units[i].factor)
                                return -ERANGE;
                        *ret = value * units[i].factor;
                        return 0;
                }
        return -EINVAL;
}

int parse_bytes(const char *text, uint64_t *ret, const char **ret_problem) {
        static const Unit units[] = {
                {"", 1}, {"K", 1ULL << 10}, {"M", 1ULL << 20}, {"G", 1ULL << 30}, {"T", 1ULL << 40}};

        if (strcmp(text, "unlimited") == 0) {
                *ret = 0;
                return 0;
        }
        if (parse_with_unit(text, units, ELEMENTSOF(units), INT64_MAX, ret) < 0 || *ret == 0)
                return problem("must be a number of bytes with K, M, G or T, or unlimited", ret_problem);
        return 0;
}

int parse_time(const char *text, uint64_t *ret_usec, const char **ret_problem) {
        static const Unit units[] = {
                {"ms", USEC_PER_MSEC}, {"s", USEC_PER_SEC}, {"", USEC_PER_SEC}, {"min", 60 * USEC_PER_SEC}};

        if (parse_with_unit(text, units, ELEMENTSOF(units), 3600 * USEC_PER_SEC, ret_usec) < 0 || *ret_usec == 0)
                return problem("must be a time of at most an hour, with ms, s or min", ret_problem);
        return 0;
}

int parse_percent(const char *text, uint64_t *ret, const char **ret_problem) {
        static const Unit units[] = {{"%", 1}};

        if (parse_with_unit(text, units, ELEMENTSOF(units), 1000000, ret) < 0 || *ret == 0)
                return problem("must be a percentage of one processor, such as 200%", ret_problem);
        return 0;
}

int parse_memory_limit(const char *text, uint32_t *ret_mib, const char **ret_problem) {
        uint64_t bytes;
        int r;

        if (strcmp(text, "unlimited") == 0) {
                *ret_mib = UINT32_MAX;
                return 0;
        }
        r = parse_bytes(text, &bytes, ret_problem);
        if (r < 0)
                return r;
        bytes = (bytes + (1 << 20) - 1) >> 20;
        *ret_mib = (uint32_t) MIN_OF(bytes, (uint64_t) UINT32_MAX - 1);
        return 0;
}

int parse_cpu_limit(const char *text, uint32_t *ret, const char **ret_problem) {
        uint64_t percent;
        int r;

        if (strcmp(text, "unlimited") == 0) {
                *ret = UINT32_MAX;
                return 0;
        }
        r = parse_percent(text, &percent, ret_problem);
        if (r >= 0)
                *ret = (uint32_t) percent;
        return r;
}

/* Calls add for each word of text; 0 or what add returned. */
static int for_words(const char *text, int (*add)(const char *word, uint32_t *bits), uint32_t *ret) {
        char *copy _cleanup_free_ = strdup(text), *cursor = copy, *word;

        if (!copy)
                return -ENOMEM;
        *ret = 0;
        while ((word = strsep(&cursor, " \t"))) {
                int r = *word ? add(word, ret) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_source(const char *word, uint32_t *bits) {
        static const struct {
                const char *name;
                uint32_t bit;
        } sources[] = {{"none", POLICY_SOURCE_NONE},
                       {"file", POLICY_SOURCE_FILE},
                       {"device", POLICY_SOURCE_DEVICE},
                       {"tree", POLICY_SOURCE_TREE}};

        for (size_t i = 0; i < ELEMENTSOF(sources); i++)
                if (strcmp(word, sources[i].name) == 0) {
                        *bits |= sources[i].bit;
                        return 0;
                }
        return -EINVAL;
}

int parse_sources(const char *text, uint32_t *ret, const char **ret_problem) {
        int r = for_words(text, add_source, ret);

        return r == -EINVAL || (r == 0 && *ret == 0)
                       ? problem("must be words out of file, device, tree and none", ret_problem)
                       : r;
}

static int add_option(const char *word, uint32_t *bits) {
        for (size_t i = 0; i < n_option_rows; i++)
                if (option_rows[i].set && strcmp(word, option_rows[i].name) == 0) {
                        *bits |= option_rows[i].set;
                        return 0;
                }
        return -EINVAL;
}

int parse_option_names(const char *text, uint32_t *ret, const char **ret_problem) {
        int r = for_words(text, add_option, ret);

        return r == -EINVAL ? problem("names an option that is not in fused-types(5)", ret_problem) : r;
}

static int parse_id(const char *text, uint32_t *ret) {
        const char *problem_text;

        if (strcmp(text, "*") == 0) {
                *ret = POLICY_ID_ANY;
                return 0;
        }
        if (*text >= '0' && *text <= '9')
                return parse_count(text, ret, &problem_text) < 0 ? -EINVAL : 0;
        return 1; /* a name */
}

int parse_user(const char *text, uint32_t *ret) {
        const struct passwd *entry;
        int r = parse_id(text, ret);

        if (r <= 0)
                return r;
        entry = getpwnam(text);
        if (!entry)
                return -ENOENT;
        *ret = entry->pw_uid;
        return 0;
}

int parse_owner(const char *text, uint32_t *ret) {
        if (strcmp(text, "host") == 0) {
                *ret = POLICY_ID_HOST;
                return 0;
        }
        return parse_user(text, ret);
}

int parse_group(const char *text, uint32_t *ret) {
        const struct group *entry;
        int r = parse_id(text, ret);

        if (r <= 0)
                return r;
        entry = getgrnam(text);
        if (!entry)
                return -ENOENT;
        *ret = entry->gr_gid;
        return 0;
}

static int parse_device_number(const char *text, PolicyDevice *ret) {
        uint32_t *const parts[] = {&ret->major, &ret->minor};
        const char *cursor = text;

        for (size_t i = 0; i < 2; i++) {
                if (*cursor == '*') {
                        *parts[i] = POLICY_ID_ANY;
                        cursor++;
                } else {
                        uint64_t value;
                        if (parse_u64(cursor, UINT32_MAX - 1, &value, &cursor) < 0)
                                return -EINVAL;
                        *parts[i] = (uint32_t) value;
                }
                if (*cursor++ != (i == 0 ? ':' : 0))
                        return -EINVAL;
        }
        ret->kind = POLICY_DEVICE_NUMBER;
        return 0;
}

/* "/dev/disk/by-id/usb-*", "7:*", "loop:/srv/image" */
int parse_device(const char *text, PolicyDevice *ret, char **ret_path, const char **ret_problem) {
        static const char dev[] = "/dev/", loop[] = "loop:/";
        const char *path = "", *star;

        *ret = (PolicyDevice){0};
        if (strncmp(text, dev, strlen(dev)) == 0) {
                ret->kind = POLICY_DEVICE_PATH;
                path = text + strlen(dev);
                star = strchr(path, '*');
                if (!*path || strstr(path, "..") || (star && star[1]))
                        return problem(
                                "names a device that is not below /dev, or has a '*' that is not its last character",
                                ret_problem);
        } else if (strncmp(text, loop, strlen(loop)) == 0) {
                ret->kind = POLICY_DEVICE_LOOP;
                path = text + strlen(loop) - 1;
        } else if (parse_device_number(text, ret) < 0)
                return problem("must be words such as /dev/disk/by-id/usb-*, 8:16, 7:* or loop:/srv/image",
                               ret_problem);
        *ret_path = strdup(path);
        return *ret_path ? 0 : -ENOMEM;
}

bool name_is_good(const char *name) {
        size_t length = strlen(name);

        return length > 0 && length < POLICY_NAME_MAX && strchr("._-", name[0]) == NULL &&
               strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}

static bool has_slot(const DraftType *draft, const char *name, size_t length) {
        for (size_t i = 0; i < draft->n_slots; i++)
                if (strlen(draft->slots[i].name) == length && memcmp(draft->slots[i].name, name, length) == 0)
                        return true;
        return false;
}

int check_specifiers(const char *word, const DraftType *draft, const char **ret_problem) {
        for (const char *p = strchr(word, '%'); p; p = strchr(p, '%')) {
                char c = p[1];
                if (c == 's' && !has_slot(draft, "source", strlen("source")))
                        return problem("has %s, but there is no [Slot source]", ret_problem);
                if (c == '{') {
                        const char *end = strchr(p, '}');
                        if (!end || !has_slot(draft, p + 2, (size_t) (end - p - 2)))
                                return problem("has %{NAME} with a name that is no slot of this type", ret_problem);
                        p = end + 1;
                        continue;
                }
                if (c == 0 || !strchr("sdmo%", c))
                        return problem("has an unknown specifier; they are %s, %{SLOT}, %d, %m, %o and %%",
                                       ret_problem);
                p += 2;
        }
        return 0;
}
