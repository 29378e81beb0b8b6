/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An object as it stands in its file: which sections, what code, what it wants from elsewhere, under which licence. */

#include <elf.h>
#include <string.h>

#include "program/vet.h"

#define RELOCATIONS_MAX 1024U /* bytes: some 60; the header's forms have one */

/* Everything else that an ELF file may hold is not for a mapping program: other program types, other kinds of data. */
static const char *const allowed_sections[] = {
        "", ".text", "syscall", "struct_ops/iomap_begin", "struct_ops/iomap_end", "struct_ops/iomap_ioend", ".struct_ops", "license", ".maps",
        ".ksyms", ".rodata", ".rodata.str1.1", ".symtab", ".strtab", ".shstrtab", ".BTF", ".BTF.ext", ".llvm_addrsig",
};

/* Those that the kernel takes for compatible with the GPL. */
static const char *const licences[] = {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"};

static bool is_one_of(const char *const *list, size_t n, const char *text) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(text, list[i]) == 0)
                        return true;
        return false;
}

static bool section_is_allowed(const char *name) {
        if (strncmp(name, ".rel", 4) == 0 && name[4] != 'a')
                name += 4;
        return strncmp(name, ".debug_", 7) == 0 || is_one_of(allowed_sections, ELEMENTSOF(allowed_sections), name);
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

/* What it calls by name and does not have: libbpf would look for it among the kernel's functions and variables. */
static int vet_symbols(const Elf *elf, const Elf64_Shdr *section, Report *report) {
        const Elf64_Sym *symbols = (const void *) (elf->data + section->sh_offset);
        const size_t n = section->sh_size / sizeof *symbols;

        if (section->sh_link >= elf->n || !lies_within(elf, &elf->sections[section->sh_link]) || section->sh_offset % 8 != 0)
                return report_fail(report, "format", "its symbols reach out of the file");
        const Elf64_Shdr *names = &elf->sections[section->sh_link];
        for (size_t i = 1; i < n; i++) {
                const char *name = (const char *) elf->data + names->sh_offset + symbols[i].st_name;
                if (symbols[i].st_shndx != SHN_UNDEF)
                        continue;
                if (symbols[i].st_name >= names->sh_size || !memchr(name, 0, names->sh_size - symbols[i].st_name))
                        return report_fail(report, "format", "a symbol's name reaches out of the file");
                if (strcmp(name, VARIANT_NODE_FUNCTION) != 0)
                        return report_fail(report, "helpers", "it wants %s, which is the kernel's", name);
        }
        return 0;
}

/* What the forms for struct_ops execute is looked at more closely: the kernel's verifier comes later, or not at all. */
static int vet_code_section(const Elf *elf, const Elf64_Shdr *section, const char *name, Report *report) {
        const CodeRules rules = {.bounded = strcmp(name, "syscall") != 0};

        if (section->sh_size % sizeof(struct bpf_insn) != 0 || section->sh_offset % _Alignof(struct bpf_insn) != 0)
                return report_fail(report, "format", "section %s has no whole instructions", name);
        return vet_code(name, (const void *) (elf->data + section->sh_offset), section->sh_size / sizeof(struct bpf_insn), &rules, report);
}

/* The beginning of section .BTF.ext, of which libbpf has no definition for others. */
typedef struct TypesHeader {
        uint16_t magic;
        uint8_t version, flags;
        uint32_t header_size;
        uint32_t functions_at, functions_size, lines_at, lines_size;
        uint32_t relocations_at, relocations_size;
} TypesHeader;

/* Members of the kernel's structs. For each libbpf goes through all types of the kernel, which takes a millisecond. */
static int vet_relocations(const Elf *elf, const Elf64_Shdr *section, Report *report) {
        TypesHeader header = {0};

        if (section->sh_size >= sizeof header) /* one without relocations may be shorter */
                memcpy(&header, elf->data + section->sh_offset, sizeof header);
        if (header.header_size >= sizeof header && header.relocations_size > RELOCATIONS_MAX)
                return report_fail(report, "sections", "it names members of the kernel's structs, in %u bytes; %u are allowed",
                                   header.relocations_size, RELOCATIONS_MAX);
        return 0;
}

static int vet_content(const Elf *elf, const Elf64_Shdr *section, const char *name, Report *report) {
        if (strcmp(name, ".BTF.ext") == 0)
                return vet_relocations(elf, section, report);
        if (section->sh_type == SHT_SYMTAB)
                return vet_symbols(elf, section, report);
        if (section->sh_type == SHT_PROGBITS && section->sh_flags & SHF_EXECINSTR)
                return vet_code_section(elf, section, name, report);
        return 0;
}

static int vet_licence(const Elf *elf, const Elf64_Shdr *section, Report *report) {
        const char *text = section ? (const char *) elf->data + section->sh_offset : "";

        if (!section || !memchr(text, 0, section->sh_size) || !is_one_of(licences, ELEMENTSOF(licences), text))
                return report_fail(report, "licence", "it is not GPL, as the kernel wants it");
        report_pass(report, "licence", "%s", text);
        return 0;
}

int vet_file(const void *data, size_t size, Report *report) {
        const Elf64_Shdr *licence = NULL;
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
                if (!section_is_allowed(name) || section->sh_type == SHT_NOBITS)
                        return report_fail(report, "sections", "section %s is not for a mapping program", name);
                r = vet_content(&elf, section, name, report);
                if (r < 0)
                        return r;
                if (strcmp(name, "license") == 0) {
                        if (licence)
                                return report_fail(report, "licence", "there are two");
                        licence = section;
                }
        }
        report_pass(report, "sections", "%zu, all of them allowed", elf.n);
        return vet_licence(&elf, licence, report);
}
