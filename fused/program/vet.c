/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See vet.h. */

#include "program/vet.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "program/privilege.h"

#define PROGRAMS_MAX 16
#define VALUE_MAX 4096U /* bytes of a table's entry */
#define LOG_SIZE (256U << 10)
#define FOLLOWED_MAX 200000U /* instructions, by the verifier, which takes microseconds for each */
#define FORM_STRUCT "fuse_iomap_bpf_ops"

/* ---- maps and programs ---------------------------------------------------------------------------------------------- */

static int vet_map(const struct bpf_map *map, Report *report) {
        const char *name = bpf_map__name(map);
        const uint32_t value = bpf_map__value_size(map), flags = bpf_map__map_flags(map);

        if (bpf_map__type(map) != BPF_MAP_TYPE_ARRAY)
                return report_fail(report, "maps", "table %s is no array", name);
        if (bpf_map__is_internal(map) ? !strstr(name, ".rodata") : !(flags & BPF_F_MMAPABLE))
                return report_fail(report, "maps", "table %s is not one that the server can have in its memory", name);
        if (flags & ~(uint32_t) (BPF_F_MMAPABLE | (bpf_map__is_internal(map) ? BPF_F_RDONLY_PROG : 0)) || bpf_map__map_extra(map) != 0)
                return report_fail(report, "maps", "table %s has flags 0x%x, 0x%llx", name, flags, (unsigned long long) bpf_map__map_extra(map));
        if (bpf_map__key_size(map) != 4 || value == 0 || value > VALUE_MAX || bpf_map__max_entries(map) == 0)
                return report_fail(report, "maps", "table %s has entries of %u bytes, %u of them", name, value, bpf_map__max_entries(map));
        if (bpf_map__pin_path(map))
                return report_fail(report, "maps", "table %s wants to be pinned", name);
        return 0;
}

static int vet_maps(const struct bpf_object *object, uint64_t max_memory, uint64_t *ret_memory, Report *report) {
        uint64_t memory = 0;
        struct bpf_map *map;
        unsigned n = 0;

        bpf_object__for_each_map(map, object) {
                int r = vet_map(map, report);
                if (r < 0)
                        return r;
                memory += (uint64_t) ALIGN_TO(bpf_map__value_size(map), 8U) * bpf_map__max_entries(map);
                n++;
        }
        if (n > LOAD_TABLES_MAX)
                return report_fail(report, "maps", "%u tables, %d are allowed; constants (.rodata) are one", n, LOAD_TABLES_MAX);
        if (memory > max_memory)
                return report_fail(report, "memory", "its tables take %llu bytes, %llu are allowed", (unsigned long long) memory,
                                   (unsigned long long) max_memory);
        *ret_memory = memory;
        report_pass(report, "maps", "arrays of %llu bytes together", (unsigned long long) memory);
        return 0;
}

static bool ends_with(const char *text, const char *end) {
        size_t a = strlen(text), b = strlen(end);

        return a > b && strcmp(text + a - b, end) == 0;
}

static int vet_programs(const struct bpf_object *object, Report *report) {
        unsigned n_run = 0, n_fill = 0, n = 0;
        struct bpf_program *program;

        bpf_object__for_each_program(program, object) {
                const char *name = bpf_program__name(program);
                if (bpf_program__insn_cnt(program) > VET_INSTRUCTIONS_MAX)
                        return report_fail(report, "size", "%s has %zu instructions, %u are allowed", name, bpf_program__insn_cnt(program),
                                           VET_INSTRUCTIONS_MAX);
                if (bpf_program__type(program) != BPF_PROG_TYPE_SYSCALL)
                        return report_fail(report, "programs", "%s is of another type", name);
                n_run += ends_with(name, "_run");
                n_fill += ends_with(name, "_fill");
                if (!ends_with(name, "_run") && !ends_with(name, "_fill"))
                        return report_fail(report, "programs", "%s is neither the program nor its sample", name);
                if (++n > PROGRAMS_MAX)
                        return report_fail(report, "programs", "there are more than %u", PROGRAMS_MAX);
        }
        if (n_run != 1)
                return report_fail(report, "programs", "there are %u programs NAME_run, not one", n_run);
        if (n_fill != 1)
                return report_fail(report, "sample", "there is no sample (FUSED_SAMPLE): it could not be tried");
        report_pass(report, "programs", "%u, with one to run and one sample", n);
        return 0;
}

/* Of the variables in one section: structs of no type but ours, which the kernel knows by that name alone, and one for each form, which is known
 * by the end of its name. */
static int vet_variables(const struct btf *btf, const struct btf_type *section, Report *report) {
        const struct btf_var_secinfo *variables = btf_var_secinfos(section);

        for (int i = 0; i < btf_vlen(section); i++) {
                const char *name = btf__name_by_offset(btf, btf__type_by_id(btf, variables[i].type)->name_off);
                int id = btf__resolve_type(btf, variables[i].type);
                const struct btf_type *type = id > 0 ? btf__type_by_id(btf, (__u32) id) : NULL;
                if (!type || !btf_is_struct(type) || strcmp(btf__name_by_offset(btf, type->name_off), FORM_STRUCT) != 0)
                        return report_fail(report, "struct_ops", "%s is no struct " FORM_STRUCT, name);
                for (int k = 0; k < i; k++) {
                        const char *other = btf__name_by_offset(btf, btf__type_by_id(btf, variables[k].type)->name_off);
                        if (strrchr(name, '_') && ends_with(other, strrchr(name, '_')))
                                return report_fail(report, "struct_ops", "%s and %s are for the same kernels", other, name);
                }
        }
        return 0;
}

static int vet_forms(const struct btf *btf, Report *report) {
        int r = 0;

        for (__u32 id = 1; btf && id < btf__type_cnt(btf) && r >= 0; id++) {
                const struct btf_type *type = btf__type_by_id(btf, id);
                if (btf_is_datasec(type) && strstr(btf__name_by_offset(btf, type->name_off), "struct_ops"))
                        r = vet_variables(btf, type, report);
        }
        return r;
}

int vet_object(const Loaded *tables, uint64_t max_memory, uint64_t *ret_memory, Report *report) {
        int r;

        r = vet_forms(bpf_object__btf(tables->object), report);
        if (r >= 0)
                r = vet_maps(tables->object, max_memory, ret_memory, report);
        return r < 0 ? r : vet_programs(tables->object, report);
}

/* ---- loading -------------------------------------------------------------------------------------------------------- */

/* What is behind the verifier's last words. */
static bool is_no_reason(const char *line) {
        static const char *const begins[] = {"processed ", "verification time ", "stack depth ", "cur state:", "old state:"};

        for (size_t i = 0; i < ELEMENTSOF(begins); i++)
                if (strncmp(line, begins[i], strlen(begins[i])) == 0)
                        return true;
        return false;
}

/* The last line that says something; NULL: nothing was said. */
static const char *last_words(char *log) {
        char *line = NULL, *end = log + strlen(log);

        while (end > log) {
                while (end > log && end[-1] == '\n')
                        *--end = 0;
                line = strrchr(log, '\n');
                line = line ? line + 1 : log;
                if (!is_no_reason(line))
                        break;
                end = line;
        }
        return line && *line ? line : NULL;
}

/* Where the verifier has said nothing, it may not have been asked. */
static bool is_ours(int error) {
        return error == -EPERM || error == -ENOMEM || error == -EAGAIN || error == -EINTR || error == -EMFILE || error == -ENFILE;
}

static int ask_kernel(Loaded *loaded, const char *rule, const char *what, bool *ret_trusted, Report *report) {
        _cleanup_free_ char *log = calloc(1, LOG_SIZE);
        const char *words;
        int r;

        if (!log)
                return -ENOMEM;
        r = privilege_load(loaded, log, LOG_SIZE, ret_trusted);
        if (r >= 0)
                return 0;
        words = last_words(log);
        if (!words && r == -EPERM)
                return report_cannot(report, -EACCES, "loading it takes CAP_BPF and CAP_PERFMON");
        if (!words && is_ours(r))
                return r;
        return report_fail(report, rule, "%s%s", what, words ? words : strerror(-r)); /* beside words the error may be that of their number */
}

/* 0: not known, before Linux 5.16. */
static uint32_t n_followed(int program_fd) {
        struct bpf_prog_info info = {0};
        union bpf_attr attr = {.info = {.bpf_fd = (uint32_t) program_fd, .info_len = sizeof info, .info = (uintptr_t) &info}};

        return syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof attr.info) < 0 ? 0 : info.verified_insns;
}

static int vet_loaded(const struct bpf_program *program, const CodeRules *rules, bool watch_addresses, Report *report) {
        const char *name = bpf_program__name(program);
        int r;

        if (n_followed(bpf_program__fd(program)) > FOLLOWED_MAX)
                return report_fail(report, "size", "%s has the verifier follow %u instructions, %u are allowed", name,
                                   n_followed(bpf_program__fd(program)), FOLLOWED_MAX);
        r = vet_code(name, bpf_program__insns(program), bpf_program__insn_cnt(program), rules, report);
        return r < 0 || !watch_addresses ? r : vet_flow(name, bpf_program__insns(program), bpf_program__insn_cnt(program), report);
}

int vet_load(Loaded *loaded, int node_function, Report *report) {
        const CodeRules rules = {.loaded = true, .bounded = loaded->part == LOAD_FORM, .node_function = node_function};
        struct bpf_program *program;
        bool trusted = false;
        int r;

        r = ask_kernel(loaded, loaded->part == LOAD_TABLES ? "maps" : "verifier", "", &trusted, report);
        bpf_object__for_each_program(program, loaded->object)
                if (r >= 0 && bpf_program__autoload(program))
                        r = vet_loaded(program, &rules, trusted && loaded->part == LOAD_RUN, report);
        return r;
}

int vet_load_part(const void *elf, size_t size, LoadPart part, const Loaded *tables, Loaded *ret, Report *report) {
        int r;

        r = load_open(elf, size, part, VARIANT_NONE, ret);
        if (r >= 0)
                r = load_share_tables(ret, tables);
        return r < 0 ? r : vet_load(ret, 0, report);
}

/* What it writes to a table would be the state of later answers; and it is the server's memory. */
int vet_reads_only(const void *elf, size_t size, LoadPart part, Variant variant, Report *report) {
        _cleanup_(load_done) Loaded trial = LOADED_NULL;
        int r;

        r = load_open(elf, size, part, variant, &trial);
        if (r >= 0)
                r = load_protect_tables(&trial);
        return r < 0 ? r : ask_kernel(&trial, "tables", "they are for the server alone to write to: ", NULL, report);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

static int vet_parts(const void *elf, size_t size, Loaded *tables, Loaded *run, Loaded *sample, Report *report) {
        int r;

        r = vet_load(tables, 0, report);
        if (r >= 0)
                r = vet_load_part(elf, size, LOAD_RUN, tables, run, report);
        if (r >= 0)
                r = vet_load_part(elf, size, LOAD_SAMPLE, tables, sample, report);
        if (r < 0)
                return r;
        report_pass(report, "verifier", "the kernel has loaded it");
        r = vet_reads_only(elf, size, LOAD_RUN, VARIANT_NONE, report);
        if (r < 0)
                return r;
        report_pass(report, "tables", "it writes to none");
        report_pass(report, "helpers", "none but those allowed");
        return 0;
}

int vet_all(const void *elf, size_t size, const VetDevices *devices, uint64_t max_memory, uint32_t seed, Report *report) {
        _cleanup_(load_done) Loaded tables = LOADED_NULL, run = LOADED_NULL, sample = LOADED_NULL;
        uint64_t memory;
        int r;

        r = vet_file(elf, size, report);
        if (r < 0)
                return r;
        r = load_open(elf, size, LOAD_TABLES, VARIANT_NONE, &tables);
        if (r < 0)
                return r == -ENOMEM ? r : report_fail(report, "format", "libbpf cannot read it: %s", strerror(-r));
        r = vet_object(&tables, max_memory, &memory, report);
        if (r >= 0)
                r = vet_parts(elf, size, &tables, &run, &sample, report);
        return r < 0 ? r : vet_conformance(&tables, &run, &sample, devices, seed, report);
}

int vet_form(const void *elf, size_t size, Variant variant, int node_function, const Loaded *tables, Loaded *ret, Report *report) {
        int r;

        r = vet_reads_only(elf, size, LOAD_FORM, variant, report);
        if (r >= 0)
                r = load_open(elf, size, LOAD_FORM, variant, ret);
        if (r >= 0)
                r = load_share_tables(ret, tables);
        if (r >= 0)
                r = vet_load(ret, node_function, report);
        return r < 0 ? r : load_finish_ops(ret);
}
