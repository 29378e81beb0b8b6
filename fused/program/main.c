/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-program: vets mapping programs, and loads them for the supervisor.
 *
 *     fused-program verify [OPTION]... FILE     for people (fusectl program verify)
 *     fused-program load ...                    started by a worker of the broker, with descriptors 3 (object), 4 (where the report goes),
 *         5 and 6 (signature and key, or /dev/null). --ops: with its struct_ops form, if the kernel has fuse-iomap; --quota BYTES: for its
 *         tables, beside --memory, which is a property of the program
 *
 * In the second form it is nobody, with CAP_BPF and CAP_PERFMON and nothing else, and parses no byte of an object that the policy's digest
 * or signature has not vouched for. In the first it is who calls it, with no other capability and under the same filter. */

#include <fcntl.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sanitizer.h"
#include "program/arguments.h"
#include "program/confine.h"
#include "program/privilege.h"
#include "program/trust.h"
#include "program/vet.h"

#define OBJECT_FD 3
#define REPORT_FD 4
#define SIGNATURE_FD 5
#define KEY_FD 6

#define EXIT_USAGE 2
#define EXIT_REFUSED 3

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list arguments) {
        return 0; /* the report has the kernel's own words */
}

/* Whoever knows it could write a program that lies wherever it is not asked. */
static int choose_seed(Arguments *a) {
        if (a->has_seed)
                return 0;
        return getrandom(&a->seed, sizeof a->seed, 0) == (ssize_t) sizeof a->seed ? 0 : -EIO;
}

/* ---- verify --------------------------------------------------------------------------------------------------------- */

static int verify(const Arguments *a) {
        Report report = {.stream = stdout, .json = a->json};
        _cleanup_free_ void *object = NULL;
        _cleanup_fd_ int fd = -EBADF;
        size_t size;
        int r;

        fd = RET_NERRNO(open(a->file, O_RDONLY | O_CLOEXEC));
        report_begin(&report, a->file);
        r = fd < 0 ? fd : privilege_begin();
        if (r >= 0)
                r = confine_loader();
        if (r >= 0)
                r = trust_read(fd, OBJECT_MAX, &object, &size, &report);
        if (r >= 0 && a->sha256)
                r = trust_check(&(Trust){.sha256 = a->sha256, .signature_fd = -EBADF}, object, size, &report);
        if (r >= 0)
                r = vet_all(object, size, &a->devices, a->max_memory, a->seed, &report);
        report_end(&report, r);
        if (!report_why_not(&report, r))
                return r < 0 ? EXIT_REFUSED : EXIT_SUCCESS;
        (void) fflush(stdout);
        (void) fprintf(stderr, "%s: %s could not be tried: %s\n", a->self, a->file, report_why_not(&report, r));
        return EXIT_FAILURE;
}

/* ---- load ----------------------------------------------------------------------------------------------------------- */

typedef struct Given { /* what a server gets */
        Loaded tables, run, form; /* owned */
} Given;

static void given_done(Given *given) {
        load_done(&given->form);
        load_done(&given->run);
        load_done(&given->tables);
}

static int set_tables(const Arguments *a, Loaded *loaded, Report *report) {
        for (uint32_t i = 0; i < a->n_tables; i++) {
                int r = a->tables[i].n_entries > 0 ? load_set_entries(loaded, a->tables[i].name, a->tables[i].n_entries) : 0;
                if (r < 0)
                        return report_fail(report, "tables", "it has no table %s", a->tables[i].name);
        }
        return 0;
}

/* A fresh one, with the tables that the server wants, which are empty. Without a sample, which could write to them. */
static int load_run(const Arguments *a, const void *object, size_t size, Given *given, uint64_t *ret_bytes, Report *report) {
        int r;

        r = load_open(object, size, LOAD_TABLES, VARIANT_NONE, &given->tables);
        if (r >= 0)
                r = set_tables(a, &given->tables, report);
        if (r >= 0)
                r = vet_object(&given->tables, a->max_memory, ret_bytes, report);
        if (r < 0)
                return r;
        if (*ret_bytes > a->quota) {
                (void) report_fail(report, "quota", "its tables take %" PRIu64 " bytes, %" PRIu64 " are left", *ret_bytes, a->quota);
                return -EDQUOT;
        }
        r = vet_load(&given->tables, 0, report);
        return r < 0 ? r : vet_load_part(object, size, LOAD_RUN, &given->tables, &given->run, report);
}

/* A kernel that does not take the form that fits it is no reason to be without the program: it is run by its descriptor then. */
static bool load_form(const void *object, size_t size, Given *given, ProgramReport *ret) {
        int node_function, r;
        Variant variant = variant_of_kernel(&node_function);
        Report own = {0};

        if (variant == VARIANT_NONE)
                return false;
        r = vet_form(object, size, variant, node_function, &given->tables, &given->form, &own);
        if (r >= 0)
                return true;
        (void) snprintf(ret->rule, sizeof ret->rule, "struct_ops");
        (void) snprintf(ret->text, sizeof ret->text, "form %s: %.150s", variant_to_string(variant), *own.text ? own.text : strerror(-r));
        return false;
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

static int load_for_server(const Arguments *a, const void *object, size_t size, Given *given, ProgramReport *ret, int *fds, Report *report) {
        int r;

        r = load_run(a, object, size, given, &ret->bytes, report);
        if (r < 0)
                return r;
        ret->attachable = a->ops && load_form(object, size, given, ret);
        fds[0] = given->run.fd;
        for (uint32_t i = 0; i < a->n_tables; i++) {
                const LoadedTable *table = load_table(&given->tables, a->tables[i].name);
                if (!table || table->constant)
                        return report_fail(report, "tables", "it has no table %s", a->tables[i].name);
                ret->tables[i] = a->tables[i];
                ret->tables[i].n_entries = table->n_entries;
                ret->tables[i].entry_size = table->entry_size;
                fds[1 + i] = table->fd;
        }
        ret->n_tables = a->n_tables;
        if (ret->attachable)
                fds[1 + a->n_tables] = given->form.fd;
        return note_ids(&given->tables, ret);
}

static int load_checked(const Arguments *a, Given *given, ProgramReport *ret, int *fds, Report *report) {
        const Trust trust = {.sha256 = a->sha256, .signature_fd = a->signed_object ? SIGNATURE_FD : -EBADF, .key_fd = KEY_FD};
        _cleanup_free_ void *object = NULL;
        size_t size;
        int r;

        r = privilege_begin();
        if (r >= 0)
                r = confine_loader();
        if (r >= 0)
                r = trust_read(OBJECT_FD, OBJECT_MAX, &object, &size, report);
        if (r >= 0)
                r = trust_check(&trust, object, size, report);
        if (r >= 0)
                r = vet_all(object, size, &a->devices, a->max_memory, a->seed, report);
        return r < 0 ? r : load_for_server(a, object, size, given, ret, fds, report);
}

static int load(const Arguments *a) {
        _cleanup_(given_done) Given given = {LOADED_NULL, LOADED_NULL, LOADED_NULL};
        ProgramReport message = {.magic = PROGRAM_REPORT_MAGIC};
        int fds[PROGRAM_FDS_MAX], r;
        Report report = {0};

        r = load_checked(a, &given, &message, fds, &report);
        message.error = r == -EPERM && !*report.rule ? -EACCES : MIN_OF(r, 0); /* EPERM is for what was refused */
        if (r < 0) {
                memcpy(message.rule, report.rule, sizeof message.rule);
                memcpy(message.text, report.text, sizeof message.text);
        }
        return fd_send(REPORT_FD, &message, sizeof message, fds, r < 0 ? 0 : 1 + (size_t) a->n_tables + message.attachable) < 0;
}

int main(int argc, char **argv) {
        Arguments a;
        int r;

        libbpf_set_print(print_libbpf);
        r = arguments_parse(argc, argv, &a);
        if (r != 0)
                return r < 0 ? EXIT_USAGE : EXIT_SUCCESS;
        if (choose_seed(&a) < 0)
                return EXIT_FAILURE;
        return a.load ? load(&a) : verify(&a);
}
