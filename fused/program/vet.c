/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See vet.h. */

#include "program/vet.h"

#include <elf.h>
#include <linux/bpf.h>
#include <string.h>

#define PROGRAMS_MAX 16
#define VALUE_MAX 4096U /* bytes of a table's entry */
#define LOG_SIZE (256U << 10)
#define JUMP_UNTIL_TIRED (BPF_JMP | 0xe0) /* may_goto, Linux 6.8: a loop of up to 8 million rounds that the verifier does not follow */

/* ---- sections and licence ------------------------------------------------------------------------------------------- */

/* Everything else that an ELF file may hold is not for a mapping program: other program types, other kinds of data. */
static const char *const allowed_sections[] = {
        "", ".text", "syscall", "struct_ops/iomap_begin", "struct_ops/iomap_end", "struct_ops/iomap_ioend", ".struct_ops", "license", ".maps",
        ".ksyms", ".rodata", ".rodata.str1.1", ".symtab", ".strtab", ".shstrtab", ".BTF", ".BTF.ext", ".llvm_addrsig",
};

static bool section_is_allowed(const char *name) {
        if (strncmp(name, ".rel", 4) == 0 && name[4] != 'a')
                name += 4;
        if (strncmp(name, ".debug_", 7) == 0)
                return true;
        for (size_t i = 0; i < ELEMENTSOF(allowed_sections); i++)
                if (strcmp(name, allowed_sections[i]) == 0)
                        return true;
        return false;
}

typedef struct Elf {
        const uint8_t *data;
        size_t size;
        const Elf64_Shdr *sections;
        size_t n;
        const char *names;
        size_t names_size;
} Elf;

static bool lies_within(const Elf *elf, const Elf64_Shdr *section) {
        return section->sh_offset <= elf->size && section->sh_size <= elf->size - section->sh_offset;
}

static int elf_read(const void *data, size_t size, Elf *ret) {
        const Elf64_Ehdr *header = data;
        Elf elf = {.data = data, .size = size};

        if (size < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 ||
            header->e_machine != EM_BPF || header->e_shentsize != sizeof *elf.sections || header->e_shoff > size || header->e_shoff % 8 != 0 ||
            header->e_shnum > (size - header->e_shoff) / sizeof *elf.sections || header->e_shstrndx >= header->e_shnum)
                return -EBADMSG;
        elf.sections = (const void *) ((const uint8_t *) data + header->e_shoff);
        elf.n = header->e_shnum;
        if (!lies_within(&elf, &elf.sections[header->e_shstrndx]))
                return -EBADMSG;
        elf.names = (const char *) data + elf.sections[header->e_shstrndx].sh_offset;
        elf.names_size = elf.sections[header->e_shstrndx].sh_size;
        *ret = elf;
        return 0;
}

/* What stands under the name: for struct_ops programs the kernel's verifier comes later, or not at all. */
static int vet_content(const Elf *elf, const Elf64_Shdr *section, const char *name, Report *report) {
        const void *data = elf->data + section->sh_offset;

        if (section->sh_type == SHT_PROGBITS && (strncmp(name, "struct_ops/", 11) == 0 || strcmp(name, ".text") == 0))
                return vet_ops_section(name, data, section->sh_size, report);
        if (section->sh_type == SHT_SYMTAB) {
                if (section->sh_link >= elf->n || !lies_within(elf, &elf->sections[section->sh_link]) || section->sh_offset % 8 != 0)
                        return report_fail(report, "format", "its symbols reach out of the file");
                const Elf64_Shdr *names = &elf->sections[section->sh_link];
                return vet_ops_symbols(data, section->sh_size / sizeof(Elf64_Sym), (const char *) elf->data + names->sh_offset, names->sh_size,
                                       report);
        }
        return 0;
}

static int vet_sections(const void *data, size_t size, Report *report) {
        const char *licence = NULL;
        size_t n_licence = 0;
        Elf elf;
        int r;

        if (elf_read(data, size, &elf) < 0)
                return report_fail(report, "format", "it is no ELF object for BPF");
        for (size_t i = 0; i < elf.n; i++) {
                const Elf64_Shdr *section = &elf.sections[i];
                if (section->sh_name >= elf.names_size || !memchr(elf.names + section->sh_name, 0, elf.names_size - section->sh_name) ||
                    (section->sh_type != SHT_NOBITS && !lies_within(&elf, section)))
                        return report_fail(report, "format", "section %zu reaches out of the file", i);
                const char *name = elf.names + section->sh_name;
                if (!section_is_allowed(name))
                        return report_fail(report, "sections", "section %s is not for a mapping program", name);
                r = vet_content(&elf, section, name, report);
                if (r < 0)
                        return r;
                if (strcmp(name, "license") == 0) {
                        licence = (const char *) elf.data + section->sh_offset;
                        n_licence = section->sh_size;
                }
        }
        report_pass(report, "sections", "%zu, all of them allowed", elf.n);
        if (!licence || n_licence < 4 || strncmp(licence, "GPL", 3) != 0)
                return report_fail(report, "licence", "it is not GPL, as the kernel wants it");
        report_pass(report, "licence", "%.*s", (int) strnlen(licence, n_licence), licence);
        return 0;
}

/* ---- maps and programs ---------------------------------------------------------------------------------------------- */

static int vet_map(const struct bpf_map *map, uint64_t *memory, Report *report) {
        const char *name = bpf_map__name(map);
        uint32_t value = bpf_map__value_size(map);

        if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
                return 0;
        if (bpf_map__type(map) != BPF_MAP_TYPE_ARRAY)
                return report_fail(report, "maps", "table %s is no array", name);
        if (bpf_map__is_internal(map) ? !strstr(name, ".rodata") : !(bpf_map__map_flags(map) & BPF_F_MMAPABLE))
                return report_fail(report, "maps", "table %s is not one that the server can have in its memory", name);
        if (bpf_map__map_flags(map) & ~(uint32_t) (BPF_F_MMAPABLE | BPF_F_RDONLY_PROG))
                return report_fail(report, "maps", "table %s has flags 0x%x", name, bpf_map__map_flags(map));
        if (bpf_map__key_size(map) != 4 || value == 0 || value > VALUE_MAX || bpf_map__max_entries(map) == 0)
                return report_fail(report, "maps", "table %s has entries of %u bytes, %u of them", name, value, bpf_map__max_entries(map));
        if (bpf_map__pin_path(map))
                return report_fail(report, "maps", "table %s wants to be pinned", name);
        *memory += (uint64_t) ALIGN_TO(value, 8U) * bpf_map__max_entries(map);
        return 0;
}

static bool ends_with(const char *text, const char *end) {
        size_t a = strlen(text), b = strlen(end);

        return a > b && strcmp(text + a - b, end) == 0;
}

int vet_object(const void *elf, size_t size, Loaded *loaded, uint64_t max_memory, uint64_t *ret_memory, Report *report) {
        unsigned n_run = 0, n_fill = 0, n = 0;
        struct bpf_program *program;
        uint64_t memory = 0;
        struct bpf_map *map;
        int r;

        bpf_object__for_each_map(map, loaded->object) {
                r = vet_map(map, &memory, report);
                if (r < 0)
                        return r;
        }
        if (memory > max_memory)
                return report_fail(report, "memory", "its tables take %llu bytes, %llu are allowed", (unsigned long long) memory,
                                   (unsigned long long) max_memory);
        *ret_memory = memory;
        report_pass(report, "maps", "arrays of %llu bytes together", (unsigned long long) memory);
        bpf_object__for_each_program(program, loaded->object) {
                const char *name = bpf_program__name(program);
                if (bpf_program__insn_cnt(program) > VET_INSTRUCTIONS_MAX)
                        return report_fail(report, "size", "%s has %zu instructions, %u are allowed", name, bpf_program__insn_cnt(program),
                                           VET_INSTRUCTIONS_MAX);
                if (bpf_program__type(program) == BPF_PROG_TYPE_SYSCALL) {
                        n_run += ends_with(name, "_run");
                        n_fill += ends_with(name, "_fill");
                        if (!ends_with(name, "_run") && !ends_with(name, "_fill"))
                                return report_fail(report, "programs", "%s is neither the program nor its sample", name);
                } else if (bpf_program__type(program) != BPF_PROG_TYPE_STRUCT_OPS)
                        return report_fail(report, "programs", "%s is of another type", name);
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

/* ---- helpers -------------------------------------------------------------------------------------------------------- */

/* What a mapping program needs. No reading of kernel memory, no system calls from BPF, no printing, no time to tell by; and no loops by
 * helper, which nested run for days where nothing can end them. The verifier follows plain loops to their end, so those are short. */
static const struct {
        uint32_t id;
        const char *name;
} helpers[] = {
        {BPF_FUNC_map_lookup_elem, "map_lookup_elem"},
};

static bool helper_is_allowed(uint32_t id) {
        for (size_t i = 0; i < ELEMENTSOF(helpers); i++)
                if (helpers[i].id == id)
                        return true;
        return false;
}

int vet_instruction(const char *name, const struct bpf_insn *insn, Report *report) {
        if (insn->code == JUMP_UNTIL_TIRED)
                return report_fail(report, "helpers", "%s loops until the kernel has enough of it", name);
        if (insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == 0 && !helper_is_allowed((uint32_t) insn->imm))
                return report_fail(report, "helpers", "%s calls helper %d, which is not allowed", name, insn->imm);
        return 0;
}

static int vet_instructions(const struct bpf_program *program, Report *report) {
        const struct bpf_insn *insns = bpf_program__insns(program);

        if (bpf_program__insn_cnt(program) > VET_INSTRUCTIONS_MAX) /* with the functions that it calls, which are known only now */
                return report_fail(report, "size", "%s has %zu instructions, %u are allowed", bpf_program__name(program),
                                   bpf_program__insn_cnt(program), VET_INSTRUCTIONS_MAX);
        for (size_t i = 0; i < bpf_program__insn_cnt(program); i++) {
                int r = vet_instruction(bpf_program__name(program), &insns[i], report);
                if (r < 0)
                        return r;
                if (insns[i].code == (BPF_JMP | BPF_CALL) && insns[i].src_reg != 0 && insns[i].src_reg != BPF_PSEUDO_CALL)
                        return report_fail(report, "helpers", "%s calls a function of the kernel", bpf_program__name(program));
        }
        return 0;
}

int vet_helpers(Loaded *loaded, Report *report) {
        struct bpf_program *program;
        int r;

        bpf_object__for_each_program(program, loaded->object) {
                if (bpf_program__type(program) != BPF_PROG_TYPE_SYSCALL)
                        continue;
                r = vet_instructions(program, report);
                if (r < 0)
                        return r;
        }
        report_pass(report, "helpers", "none but those allowed");
        return 0;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

/* The last line that says something. */
static void last_words(char *log, const char **ret) {
        char *line = NULL, *end = log + strlen(log);

        while (end > log) {
                while (end > log && end[-1] == '\n')
                        *--end = 0;
                line = strrchr(log, '\n');
                line = line ? line + 1 : log;
                if (strncmp(line, "processed ", 10) != 0)
                        break;
                end = line;
        }
        *ret = line && *line ? line : "no reason given";
}

static int vet_load(Loaded *loaded, Report *report) {
        _cleanup_free_ char *log = calloc(1, LOG_SIZE);
        const char *words;
        int r;

        if (!log)
                return -ENOMEM;
        r = load_load(loaded, log, LOG_SIZE);
        if (r < 0) {
                last_words(log, &words);
                return report_fail(report, "verifier", "%s: %s", strerror(-r), words);
        }
        report_pass(report, "verifier", "the kernel has loaded it");
        return 0;
}

int vet_all(const void *elf, size_t size, const VetDevices *devices, uint64_t max_memory, Report *report) {
        _cleanup_(load_done) Loaded loaded = {.run_fd = -1, .fill_fd = -1, .ops_fd = -1};
        uint64_t memory;
        int r;

        r = vet_sections(elf, size, report);
        if (r < 0)
                return r;
        r = load_open(elf, size, VARIANT_NONE, &loaded);
        if (r < 0)
                return report_fail(report, "format", "libbpf cannot read it: %s", strerror(-r));
        r = vet_object(elf, size, &loaded, max_memory, &memory, report);
        if (r >= 0)
                r = vet_load(&loaded, report);
        if (r >= 0)
                r = vet_helpers(&loaded, report);
        return r < 0 ? r : vet_conformance(&loaded, devices, report);
}
