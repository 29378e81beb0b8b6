/* SPDX-License-Identifier: GPL-2.0-only */
/* See load.h. */

#include "load.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FLAG_LINK (1U << 13) /* BPF_F_LINK, Linux 6.4: a struct_ops map is bound by links, and not by being given its value */

#define LOG_WORDS 4 /* BPF_LOG_STATS, Linux 5.2: what is wrong, and how many instructions were followed, but not these themselves */

static bool concerns_struct_ops(const char *name) {
        if (strncmp(name, ".rel", 4) == 0)
                name += 4;
        return strcmp(name, ".struct_ops") == 0 || strncmp(name, "struct_ops/", 11) == 0;
}

/* Functions of the kernel are called by the struct_ops forms only; without those they are nobody's to look for. */
static void hide_undefined(Elf64_Sym *symbols, size_t n) {
        for (size_t i = 1; i < n; i++)
                if (symbols[i].st_shndx == SHN_UNDEF)
                        symbols[i].st_info = ELF64_ST_INFO(STB_LOCAL, ELF64_ST_TYPE(symbols[i].st_info));
}

/* libbpf (1.1) wants to find the kernel's type for every struct_ops map of an object, and each function of the kernel's that it names, also for
 * what is not to be loaded; to look for the latter in modules takes more than CAP_BPF. Where there is no fuse-iomap, those sections are
 * made to look like some that do not concern it. The headers were checked by whoever vetted the object; still, nothing outside of it
 * is touched. */
static int hide_struct_ops(uint8_t *elf, size_t size) {
        Elf64_Ehdr *header = (Elf64_Ehdr *) elf;
        Elf64_Shdr *sections;
        const char *names;
        size_t names_size;

        if (size < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 ||
            header->e_shentsize != sizeof *sections || header->e_shoff > size || header->e_shoff % 8 != 0 ||
            header->e_shnum > (size - header->e_shoff) / sizeof *sections || header->e_shstrndx >= header->e_shnum)
                return -ENOEXEC;
        sections = (Elf64_Shdr *) (elf + header->e_shoff);
        if (sections[header->e_shstrndx].sh_offset > size || sections[header->e_shstrndx].sh_size > size - sections[header->e_shstrndx].sh_offset)
                return -ENOEXEC;
        names = (const char *) elf + sections[header->e_shstrndx].sh_offset;
        names_size = sections[header->e_shstrndx].sh_size;
        for (size_t i = 0; i < header->e_shnum; i++) {
                size_t at = sections[i].sh_name;
                if (at >= names_size || !memchr(names + at, 0, names_size - at))
                        return -ENOEXEC;
                if (concerns_struct_ops(names + at))
                        sections[i].sh_type = SHT_NOTE;
                if (sections[i].sh_type == SHT_SYMTAB && sections[i].sh_offset % 8 == 0 && sections[i].sh_offset <= size &&
                    sections[i].sh_size <= size - sections[i].sh_offset)
                        hide_undefined((Elf64_Sym *) (elf + sections[i].sh_offset), sections[i].sh_size / sizeof(Elf64_Sym));
        }
        return 0;
}

/* The same for the type information: the kernel takes none that names functions of its own, which libbpf corrects only for those that it knows
 * of. A name for a number stands in their place. Without this the object loads without types: no line of it has a source then. */
static void hide_functions(struct btf *btf) {
        int number = btf__find_by_name_kind(btf, "int", BTF_KIND_INT);

        for (__u32 id = 1; btf && number > 0 && id < btf__type_cnt(btf); id++) {
                struct btf_type *type = (struct btf_type *) (uintptr_t) btf__type_by_id(btf, id); /* the object's own, and ours to change */
                const char *name = btf__name_by_offset(btf, type->name_off);
                if (btf_is_func(type) && btf_vlen(type) == BTF_FUNC_EXTERN) {
                        type->info = (__u32) BTF_KIND_TYPEDEF << 24;
                        type->type = (__u32) number;
                } else if (btf_is_datasec(type) && name && strcmp(name, ".ksyms") == 0) { /* a struct has entries of the same size */
                        type->info = (__u32) BTF_KIND_STRUCT << 24 | btf_vlen(type);
                        type->name_off = 0;
                        type->size = 4 * btf_vlen(type);
                        for (__u32 i = 0; i < btf_vlen(type); i++)
                                btf_members(type)[i] = (struct btf_member){.type = (__u32) number, .offset = 32 * i};
                }
        }
}

/* A function that the type information calls global is verified by itself, once, and its calls are not followed: some of them with loops, each
 * calling the next, run for days, where nothing can end them. As a static one it is followed from each call to its end. */
static void make_functions_static(struct btf *btf) {
        for (__u32 id = 1; btf && id < btf__type_cnt(btf); id++) {
                struct btf_type *type = (struct btf_type *) (uintptr_t) btf__type_by_id(btf, id);
                if (btf_is_func(type) && btf_vlen(type) == BTF_FUNC_GLOBAL)
                        type->info = (__u32) BTF_KIND_FUNC << 24 | BTF_FUNC_STATIC;
        }
}

static bool ends_with(const char *text, const char *end) {
        size_t a = strlen(text), b = strlen(end);

        return a >= b && strcmp(text + a - b, end) == 0;
}

/* NAME_b5, NAME_ops_b5 */
static bool is_of_form(const char *name, const char *before, const char *form) {
        char suffix[16];

        (void) snprintf(suffix, sizeof suffix, "%s%s", before, form);
        return ends_with(name, suffix);
}

static bool is_wanted(const Loaded *loaded, const struct bpf_program *program, const char *form) {
        static const char *const ends[_LOAD_PART_MAX] = {[LOAD_RUN] = "_run", [LOAD_SAMPLE] = "_fill"};
        const char *name = bpf_program__name(program), *end = ends[loaded->part];
        bool ops = bpf_program__type(program) == BPF_PROG_TYPE_STRUCT_OPS;

        return loaded->part == LOAD_FORM ? ops && is_of_form(name, "_", form) : !ops && end && ends_with(name, end);
}

static int choose_programs(Loaded *loaded, const char *form) {
        struct bpf_program *program;

        bpf_object__for_each_program(program, loaded->object) {
                int r = bpf_program__set_autoload(program, is_wanted(loaded, program, form));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int choose_maps(Loaded *loaded, const char *form) {
        struct bpf_map *map;
        unsigned n = 0;

        bpf_object__for_each_map(map, loaded->object) {
                if (bpf_map__type(map) != BPF_MAP_TYPE_STRUCT_OPS)
                        continue;
                bool wanted = loaded->part == LOAD_FORM && is_of_form(bpf_map__name(map), "_ops_", form);
                /* What libbpf 1.2 makes of a section .struct_ops.link, which 1.1 does not know. */
                int r = wanted ? bpf_map__set_map_flags(map, FLAG_LINK) : bpf_map__set_autocreate(map, false);
                if (r < 0)
                        return r;
                n += wanted;
        }
        return loaded->part != LOAD_FORM || n == 1 ? 0 : -ENOENT;
}

int load_open(const void *elf, size_t size, LoadPart part, Variant variant, Loaded *ret) {
        LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "fused"); /* else a table of constants is called by where it is in memory */
        Loaded loaded = {.part = part, .fd = -1};
        const char *form = variant_form(variant);
        int r = 0;

        if (part == LOAD_FORM && !form)
                return -EOPNOTSUPP;
        loaded.elf = malloc(size);
        if (!loaded.elf)
                return -ENOMEM;
        memcpy(loaded.elf, elf, size);
        if (part != LOAD_FORM)
                r = hide_struct_ops(loaded.elf, size);
        if (r >= 0) {
                loaded.object = bpf_object__open_mem(loaded.elf, size, &options);
                r = loaded.object ? 0 : -errno;
                if (r >= 0)
                        make_functions_static(bpf_object__btf(loaded.object));
                if (r >= 0 && part != LOAD_FORM)
                        hide_functions(bpf_object__btf(loaded.object));
        }
        if (r >= 0)
                r = choose_programs(&loaded, form);
        if (r >= 0)
                r = choose_maps(&loaded, form);
        if (r < 0) {
                load_done(&loaded);
                return r;
        }
        *ret = loaded;
        return 0;
}

int load_set_entries(Loaded *loaded, const char *table, uint32_t n_entries) {
        struct bpf_map *map = bpf_object__find_map_by_name(loaded->object, table);

        return !map ? -ENOENT : bpf_map__set_max_entries(map, n_entries);
}

static bool is_table(const struct bpf_map *map) {
        return bpf_map__type(map) != BPF_MAP_TYPE_STRUCT_OPS;
}

int load_share_tables(Loaded *loaded, const Loaded *from) {
        struct bpf_map *map;

        bpf_object__for_each_map(map, loaded->object) {
                const LoadedTable *table = is_table(map) ? load_table(from, bpf_map__name(map)) : NULL;
                int r = !is_table(map) ? 0 : table ? bpf_map__reuse_fd(map, table->fd) : -ENOENT;
                if (r < 0)
                        return r;
        }
        return 0;
}

int load_protect_tables(Loaded *loaded) {
        struct bpf_map *map;

        bpf_object__for_each_map(map, loaded->object) {
                int r = is_table(map) ? bpf_map__set_map_flags(map, bpf_map__map_flags(map) | BPF_F_RDONLY_PROG) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int collect(Loaded *loaded) {
        struct bpf_program *program;
        struct bpf_map *map;

        bpf_object__for_each_program(program, loaded->object)
                if (loaded->part != LOAD_FORM && bpf_program__autoload(program))
                        loaded->fd = bpf_program__fd(program);
        bpf_object__for_each_map(map, loaded->object) {
                if (!is_table(map)) {
                        if (bpf_map__autocreate(map))
                                loaded->fd = bpf_map__fd(map);
                        continue;
                }
                if (loaded->n_tables == LOAD_TABLES_MAX)
                        return -E2BIG;
                loaded->tables[loaded->n_tables++] = (LoadedTable){
                        .name = bpf_map__name(map),
                        .n_entries = bpf_map__max_entries(map),
                        .entry_size = (bpf_map__value_size(map) + 7) / 8 * 8,
                        .fd = bpf_map__fd(map),
                        .constant = bpf_map__is_internal(map),
                };
        }
        return loaded->part == LOAD_TABLES || loaded->fd >= 0 ? 0 : -ENOENT;
}

int load_load(Loaded *loaded, char *log, size_t log_size) {
        struct bpf_program *program;
        int r;

        if (log)
                bpf_object__for_each_program(program, loaded->object)
                        if (bpf_program__autoload(program)) {
                                bpf_program__set_log_buf(program, log, log_size);
                                bpf_program__set_log_level(program, LOG_WORDS); /* else libbpf would try twice */
                        }
        r = bpf_object__load(loaded->object);
        return r < 0 ? r : collect(loaded);
}

/* Only libbpf knows the value, in which descriptors stand for the programs. From 1.2 on it makes a link as well, here, where it cannot be for a
 * FUSE device: what counts is that the value is there. */
int load_finish_ops(Loaded *loaded) {
        struct bpf_map *map, *ops = NULL;
        struct bpf_link *link;

        bpf_object__for_each_map(map, loaded->object)
                if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS && bpf_map__autocreate(map))
                        ops = map;
        if (!ops)
                return -ENOENT;
        link = bpf_map__attach_struct_ops(ops);
        if (!link)
                return errno == EBADF ? 0 : -errno;
        if (bpf_link__fd(link) == loaded->fd) /* 1.1: it would take the value away again, which does not go with this flag */
                bpf_link__disconnect(link);
        return bpf_link__destroy(link);
}

int load_map_tables(Loaded *loaded) {
        for (size_t i = 0; i < loaded->n_tables; i++) {
                LoadedTable *table = &loaded->tables[i];
                if (table->constant)
                        continue;
                void *data = mmap(NULL, (size_t) table->n_entries * table->entry_size, PROT_READ | PROT_WRITE, MAP_SHARED, table->fd, 0);
                if (data == MAP_FAILED)
                        return -errno;
                table->data = data;
        }
        return 0;
}

const LoadedTable *load_table(const Loaded *loaded, const char *name) {
        for (size_t i = 0; i < loaded->n_tables; i++)
                if (strcmp(loaded->tables[i].name, name) == 0)
                        return &loaded->tables[i];
        return NULL;
}

void load_done(Loaded *loaded) {
        for (size_t i = 0; i < loaded->n_tables; i++)
                if (loaded->tables[i].data)
                        (void) munmap(loaded->tables[i].data, (size_t) loaded->tables[i].n_entries * loaded->tables[i].entry_size);
        bpf_object__close(loaded->object);
        free(loaded->elf);
        *loaded = LOADED_NULL;
}
