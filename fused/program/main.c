/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-program: vets mapping programs, and loads them for the supervisor.
 *
 *     fused-program verify [--json] [--name NAME] [--device SIZE]... [--block SIZE] FILE     for people (fusectl program verify)
 *     fused-program load ...                                                             started by a worker of the broker, with
 *         descriptors 3 (object), 4 (where the report goes), 5 and 6 (signature and key, or /dev/null)
 *
 * --ops: with its struct_ops form, if the kernel has fuse-iomap; --quota BYTES: for its tables, beside --memory, which is a property of the program.
 *
 * In the second form it is nobody, with CAP_BPF and CAP_PERFMON and nothing else, and parses no byte of an object that the policy's digest
 * or signature has not vouched for. */

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "program/confine.h"
#include "program/trust.h"
#include "program/vet.h"

#define OBJECT_FD 3
#define REPORT_FD 4
#define SIGNATURE_FD 5
#define KEY_FD 6
#define DEFAULT_DEVICE (1ULL << 30)
#define DEFAULT_MEMORY (64ULL << 20)

typedef struct Arguments {
        bool load, json, signed_object, ops;
        const char *name, *file, *sha256;
        VetDevices devices;
        uint64_t max_memory, quota;
        ChannelTable tables[CHANNEL_TABLES_MAX];
        uint32_t n_tables;
} Arguments;

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list arguments) {
        return 0; /* the report has the kernel's own words */
}

static int parse_size(const char *text, uint64_t *ret) {
        static const char units[] = "KMGT";
        const char *unit;
        char *end;

        errno = 0;
        *ret = strtoull(text, &end, 10);
        if (errno || end == text || *ret == 0)
                return -EINVAL;
        if (*end == 0)
                return 0;
        unit = strchr(units, *end);
        if (!unit || end[1])
                return -EINVAL;
        *ret <<= 10 * (unit - units + 1);
        return 0;
}

static int add_table(Arguments *a, const char *text) {
        const char *equals = strchr(text, '=');
        uint64_t n = 0;

        if (!equals || a->n_tables == CHANNEL_TABLES_MAX || (size_t) (equals - text) >= sizeof a->tables[0].name)
                return -EINVAL;
        if (strcmp(equals + 1, "0") != 0 && (parse_size(equals + 1, &n) < 0 || n > UINT32_MAX))
                return -EINVAL;
        memcpy(a->tables[a->n_tables].name, text, (size_t) (equals - text));
        a->tables[a->n_tables++].n_entries = (uint32_t) n;
        return 0;
}

static int parse(int argc, char **argv, Arguments *a) {
        static const struct option options[] = {
                {"json", no_argument, NULL, 'j'}, {"name", required_argument, NULL, 'n'}, {"device", required_argument, NULL, 'd'},
                {"block", required_argument, NULL, 'b'}, {"sha256", required_argument, NULL, 's'}, {"signed", no_argument, NULL, 'S'},
                {"memory", required_argument, NULL, 'm'}, {"table", required_argument, NULL, 't'},
                {"ops", no_argument, NULL, 'o'}, {"quota", required_argument, NULL, 'q'}, {0},
        };
        uint64_t size;
        int c, r = 0;

        while (r >= 0 && (c = getopt_long(argc, argv, "", options, NULL)) != -1)
                switch (c) {
                case 'j': a->json = true; break;
                case 'n': a->name = optarg; break;
                case 's': a->sha256 = optarg; break;
                case 'S': a->signed_object = true; break;
                case 'm': r = parse_size(optarg, &a->max_memory); break;
                case 'o': a->ops = true; break;
                case 'q': r = strcmp(optarg, "0") == 0 ? (int) (a->quota = 0) : parse_size(optarg, &a->quota); break;
                case 't': r = add_table(a, optarg); break;
                case 'b':
                        r = parse_size(optarg, &size);
                        a->devices.block_size = (uint32_t) size;
                        break;
                case 'd':
                        r = a->devices.n < VET_DEVICES_MAX ? parse_size(optarg, &a->devices.sizes[a->devices.n]) : -EINVAL;
                        a->devices.n++;
                        break;
                default: r = -EINVAL;
                }
        if (a->devices.block_size < 512 || a->devices.block_size > 65536 || (a->devices.block_size & (a->devices.block_size - 1)))
                r = -EINVAL;
        if (a->devices.n == 0) /* none said: some */
                for (; a->devices.n < 2; a->devices.n++)
                        a->devices.sizes[a->devices.n] = DEFAULT_DEVICE;
        if (r >= 0 && !a->load)
                r = optind == argc - 1 ? 0 : -EINVAL;
        a->file = argv[optind];
        return r;
}

/* ---- verify --------------------------------------------------------------------------------------------------------- */

static int verify(const Arguments *a) {
        Report report = {.stream = stdout, .json = a->json};
        _cleanup_free_ void *object = NULL;
        _cleanup_fd_ int fd = -EBADF;
        size_t size;
        int r;

        fd = RET_NERRNO(open(a->file, O_RDONLY | O_CLOEXEC));
        if (fd < 0) {
                fprintf(stderr, "fused-program: %s: %s\n", a->file, strerror(-fd));
                return 1;
        }
        report_begin(&report, a->file);
        r = trust_read(fd, OBJECT_MAX, &object, &size, &report);
        if (r >= 0 && a->sha256)
                r = trust_check(&(Trust){.sha256 = a->sha256, .signature_fd = -EBADF}, object, size, &report);
        if (r >= 0)
                r = vet_all(object, size, &a->devices, a->max_memory, &report);
        report_end(&report);
        if (r < 0 && !*report.rule)
                fprintf(stderr, "fused-program: %s\n", strerror(-r));
        return r < 0 ? 3 : 0;
}

/* ---- load ----------------------------------------------------------------------------------------------------------- */

static int set_tables(const Arguments *a, Loaded *loaded, Report *report) {
        for (uint32_t i = 0; i < a->n_tables; i++) {
                int r = a->tables[i].n_entries > 0 ? load_set_entries(loaded, a->tables[i].name, a->tables[i].n_entries) : 0;
                if (r < 0)
                        return report_fail(report, "tables", "it has no table %s", a->tables[i].name);
        }
        return 0;
}

static int load_variant(const Arguments *a, const void *object, size_t size, Variant variant, Loaded *loaded, uint64_t *ret_bytes, Report *report) {
        int r;

        r = load_open(object, size, variant, loaded);
        if (r >= 0)
                r = set_tables(a, loaded, report);
        if (r >= 0)
                r = vet_object(object, size, loaded, a->max_memory, ret_bytes, report);
        if (r < 0)
                return r;
        if (*ret_bytes > a->quota) {
                (void) report_fail(report, "quota", "its tables take %" PRIu64 " bytes, %" PRIu64 " are left", *ret_bytes, a->quota);
                return -EDQUOT;
        }
        return load_load(loaded, NULL, 0);
}

/* With the form that fits the kernel. A kernel that does not take it is no reason to be without the program: it is run by its descriptor then. */
static int load_with_ops(const Arguments *a, const void *object, size_t size, Loaded *loaded, ProgramReport *ret) {
        Variant variant = variant_of_kernel();
        Report own = {0};
        int r;

        if (variant == VARIANT_NONE)
                return -EOPNOTSUPP;
        r = variant_form(variant) ? load_variant(a, object, size, variant, loaded, &ret->bytes, &own) : -EOPNOTSUPP;
        if (r >= 0)
                r = load_finish_ops(loaded);
        if (r >= 0)
                return 0;
        load_done(loaded);
        (void) snprintf(ret->rule, sizeof ret->rule, "struct_ops");
        (void) snprintf(ret->text, sizeof ret->text, "form %s: %.150s", variant_to_string(variant), *own.text ? own.text : strerror(-r));
        return r;
}

static int note_ids(const Loaded *loaded, ProgramReport *ret) {
        _Static_assert(PROGRAM_TABLES_MAX > LOAD_TABLES_MAX, "they fit");
        for (size_t i = 0; i < loaded->n_tables; i++) {
                struct bpf_map_info info = {0};
                union bpf_attr attr = {.info = {.bpf_fd = (uint32_t) loaded->tables[i].fd, .info_len = sizeof info, .info = (uintptr_t) &info}};
                if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof attr.info) < 0)
                        return -errno;
                ret->table_ids[i] = info.id;
        }
        return 0;
}

/* A fresh one for the server, with the tables that it wants, which are empty. */
static int load_for_server(const Arguments *a, const void *object, size_t size, Loaded *loaded, ProgramReport *ret, int *fds, Report *report) {
        int r;

        r = a->ops ? load_with_ops(a, object, size, loaded, ret) : -EOPNOTSUPP;
        ret->attachable = r >= 0;
        if (r < 0)
                r = load_variant(a, object, size, VARIANT_NONE, loaded, &ret->bytes, report);
        if (r < 0)
                return r;
        fds[0] = loaded->run_fd;
        for (uint32_t i = 0; i < a->n_tables; i++) {
                const LoadedTable *table = load_table(loaded, a->tables[i].name);
                if (!table)
                        return report_fail(report, "tables", "it has no table %s", a->tables[i].name);
                ret->tables[i] = a->tables[i];
                ret->tables[i].n_entries = table->n_entries;
                ret->tables[i].entry_size = table->entry_size;
                fds[1 + i] = table->fd;
        }
        ret->n_tables = a->n_tables;
        if (ret->attachable)
                fds[1 + a->n_tables] = loaded->ops_fd;
        return note_ids(loaded, ret);
}

static int load_checked(const Arguments *a, Loaded *loaded, ProgramReport *ret, int *fds, Report *report) {
        const Trust trust = {.sha256 = a->sha256, .signature_fd = a->signed_object ? SIGNATURE_FD : -EBADF, .key_fd = KEY_FD};
        _cleanup_free_ void *object = NULL;
        size_t size;
        int r;

        r = confine_loader();
        if (r >= 0)
                r = trust_read(OBJECT_FD, OBJECT_MAX, &object, &size, report);
        if (r >= 0)
                r = trust_check(&trust, object, size, report);
        if (r >= 0)
                r = vet_all(object, size, &a->devices, a->max_memory, report);
        return r < 0 ? r : load_for_server(a, object, size, loaded, ret, fds, report);
}

static int load(const Arguments *a) {
        _cleanup_(load_done) Loaded loaded = {.run_fd = -1, .fill_fd = -1, .ops_fd = -1};
        ProgramReport message = {.magic = PROGRAM_REPORT_MAGIC};
        int fds[PROGRAM_FDS_MAX], r;
        Report report = {0};

        r = load_checked(a, &loaded, &message, fds, &report);
        message.error = r < 0 ? r : 0;
        if (r < 0) {
                memcpy(message.rule, report.rule, sizeof message.rule);
                memcpy(message.text, report.text, sizeof message.text);
        }
        return fd_send(REPORT_FD, &message, sizeof message, fds, r < 0 ? 0 : 1 + (size_t) a->n_tables + message.attachable) < 0;
}

int main(int argc, char **argv) {
        Arguments a = {.devices.block_size = 4096, .max_memory = DEFAULT_MEMORY, .quota = UINT64_MAX};

        libbpf_set_print(print_libbpf);
        if (argc >= 2 && (strcmp(argv[1], "verify") == 0 || strcmp(argv[1], "load") == 0)) {
                a.load = strcmp(argv[1], "load") == 0;
                if (parse(argc - 1, argv + 1, &a) >= 0)
                        return a.load ? load(&a) : verify(&a);
        }
        fputs("usage: fused-program verify [--json] [--sha256 HEX] [--device SIZE]... [--block SIZE] [--memory SIZE] FILE\n", stderr);
        return 2;
}
