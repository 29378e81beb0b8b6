/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See arguments.h. */

#include "program/arguments.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/macro.h"

#define DEFAULT_BLOCK 4096U
#define DEFAULT_DEVICE (1ULL << 30)
#define DEFAULT_MEMORY (64ULL << 20)

/* A number, with a unit; 0 is none. Returns what is wrong with it, or NULL. */
static const char *parse_size(const char *text, uint64_t max, uint64_t *ret) {
        static const char units[] = "KMGT", wanted[] = "a number of bytes is wanted, with K, M, G or T behind it or none";
        const char *unit;
        uint64_t value;
        unsigned shift;
        char *end;

        errno = 0;
        value = strtoull(text, &end, 10);
        unit = *end ? strchr(units, *end) : units - 1;
        if (end == text || *text == '-' || value == 0 || !unit || (*end && end[1]))
                return wanted;
        shift = 10 * (unsigned) (unit - units + 1);
        if (errno || value > max >> shift)
                return "that is more than there can be";
        *ret = value << shift;
        return NULL;
}

static const char *take_device(Arguments *a, const char *text) {
        return a->devices.n == VET_DEVICES_MAX ? "there are eight already" : parse_size(text, INT64_MAX, &a->devices.sizes[a->devices.n++]);
}

static const char *take_block(Arguments *a, const char *text) {
        uint64_t size = 0;

        if (parse_size(text, UINT32_MAX, &size) || size < 512 || size > 65536 || (size & (size - 1)))
                return "a power of two from 512 to 64K is wanted";
        a->devices.block_size = (uint32_t) size;
        return NULL;
}

static const char *take_memory(Arguments *a, const char *text) {
        return parse_size(text, INT64_MAX, &a->max_memory);
}

static const char *take_quota(Arguments *a, const char *text) {
        a->quota = 0;
        return strcmp(text, "0") == 0 ? NULL : parse_size(text, UINT64_MAX, &a->quota);
}

static const char *take_digest(Arguments *a, const char *text) {
        a->sha256 = text;
        return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64 ? NULL : "64 hexadecimal digits in small letters are wanted";
}

static const char *take_seed(Arguments *a, const char *text) {
        char *end;

        errno = 0;
        unsigned long long seed = strtoull(text, &end, 10);
        if (errno || end == text || *end || *text == '-' || seed > UINT32_MAX)
                return "a number is wanted, as a report has it";
        a->seed = (uint32_t) seed;
        a->has_seed = true;
        return NULL;
}

static const char *take_table(Arguments *a, const char *text) {
        const char *equals = strchr(text, '=');
        uint64_t n = 0;

        if (!equals || a->n_tables == CHANNEL_TABLES_MAX || (size_t) (equals - text) >= sizeof a->tables[0].name)
                return "NAME=ENTRIES is wanted";
        if (strcmp(equals + 1, "0") != 0 && parse_size(equals + 1, UINT32_MAX, &n))
                return "a number of entries is wanted";
        memcpy(a->tables[a->n_tables].name, text, (size_t) (equals - text));
        a->tables[a->n_tables++].n_entries = (uint32_t) n;
        return NULL;
}

static const char *take_json(Arguments *a, const char *text) {
        a->json = true;
        return NULL;
}

static const char *take_signed(Arguments *a, const char *text) {
        a->signed_object = true;
        return NULL;
}

static const char *take_ops(Arguments *a, const char *text) {
        a->ops = true;
        return NULL;
}

static const struct {
        const char *name;
        int argument; /* as getopt_long has it */
        const char *(*take)(Arguments *a, const char *text); /* returns what is wrong with it, or NULL */
        const char *help; /* NULL: for the supervisor, not for people */
} rows[] = {
        {"device", required_argument, take_device, "--device SIZE    a device of that size, up to 8 of them; default: two of 1G"},
        {"block", required_argument, take_block, "--block SIZE     blocks of that size; default: 4K"},
        {"memory", required_argument, take_memory, "--memory SIZE    what its tables may take; default: 64M"},
        {"sha256", required_argument, take_digest, "--sha256 HEX     what the object has to have as its digest"},
        {"seed", required_argument, take_seed, "--seed NUMBER    the same random positions as in the report with that number"},
        {"json", no_argument, take_json, "--json           for programs"},
        {"signed", no_argument, take_signed, NULL},
        {"table", required_argument, take_table, NULL},
        {"ops", no_argument, take_ops, NULL},
        {"quota", required_argument, take_quota, NULL},
};

static void print_usage(FILE *stream, const char *self) {
        (void) fprintf(stream, "usage: %s verify [OPTION]... FILE\n", self);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (rows[i].help)
                        (void) fprintf(stream, "  %s\n", rows[i].help);
}

static int take_options(int argc, char **argv, const char *self, Arguments *a) {
        struct option options[ELEMENTSOF(rows) + 2] = {{"help", no_argument, NULL, ELEMENTSOF(rows)}};
        int c;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                options[1 + i] = (struct option){rows[i].name, rows[i].argument, NULL, (int) i};
        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (c == (int) ELEMENTSOF(rows)) {
                        print_usage(stdout, self);
                        return 1;
                }
                const char *wrong = c == '?' ? "" : rows[c].take(a, optarg);
                if (wrong && *wrong) /* else getopt has said it */
                        (void) fprintf(stderr, "%s: --%s %s: %s\n", self, rows[c].name, optarg ? optarg : "", wrong);
                if (wrong)
                        return -EINVAL;
        }
        return 0;
}

int arguments_parse(int argc, char **argv, Arguments *ret) {
        const char *self = argv[0];
        Arguments a = {.self = self, .devices.block_size = DEFAULT_BLOCK, .max_memory = DEFAULT_MEMORY, .quota = UINT64_MAX};
        int r;

        if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
                print_usage(stdout, self);
                return 1;
        }
        if (argc < 2 || (strcmp(argv[1], "verify") != 0 && strcmp(argv[1], "load") != 0)) {
                print_usage(stderr, self);
                return -EINVAL;
        }
        a.load = strcmp(argv[1], "load") == 0;
        argv[1] = argv[0]; /* getopt begins what it says with it */
        r = take_options(argc - 1, argv + 1, self, &a);
        if (r != 0)
                return r;
        if (a.devices.n == 0) /* none said: some */
                for (; a.devices.n < 2; a.devices.n++)
                        a.devices.sizes[a.devices.n] = DEFAULT_DEVICE;
        if (!a.load && optind != argc - 2) {
                (void) fprintf(stderr, "%s: %s\n", self, optind < argc - 2 ? "one file at a time" : "which file?");
                return -EINVAL;
        }
        a.file = a.load ? NULL : argv[1 + optind];
        *ret = a;
        return 0;
}
