/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Vetting a mapping program: what it is made of, what the kernel's verifier says, and how it behaves. Each returns 0, -EPERM (refused, and
 * reported), or another negative errno: it could not be tried. */

#include <linux/bpf.h>

#include "load.h"
#include "program/report.h"

#define VET_DEVICES_MAX 8
#define VET_INSTRUCTIONS_MAX 4096U

typedef struct VetDevices {
        uint64_t sizes[VET_DEVICES_MAX]; /* bytes */
        uint32_t n;
        uint32_t block_size;
} VetDevices;

typedef struct CodeRules {
        bool loaded;       /* not as in the file any more */
        bool bounded;      /* it may be a struct_ops program's, or called by one */
        int node_function; /* loaded: the number of the one function of the kernel's that it may call, 0: none */
} CodeRules;

/* vet-file.c: sections, code, symbols, licence. Nothing that another program has parsed. */
int vet_file(const void *elf, size_t size, Report *report) _must_check_;
/* vet-code.c: what a program is made of. */
int vet_code(const char *name, const struct bpf_insn *insns, size_t n, const CodeRules *rules, Report *report) _must_check_;
/* vet-flow.c: that no address comes out of one that was loaded, of which the kernel has said that it keeps within its bounds. */
int vet_flow(const char *name, const struct bpf_insn *insns, size_t n, Report *report) _must_check_;

/* vet.c. Of an object, opened as LOAD_TABLES: tables, programs, forms. *ret_memory: bytes that its tables will take. */
int vet_object(const Loaded *tables, uint64_t max_memory, uint64_t *ret_memory, Report *report) _must_check_;
/* Any part, opened: has the kernel load it, and looks at what was loaded. */
int vet_load(Loaded *loaded, int node_function, Report *report) _must_check_;
/* Another part over tables that are loaded already. */
int vet_load_part(const void *elf, size_t size, LoadPart part, const Loaded *tables, Loaded *ret, Report *report) _must_check_;
/* The same over tables that it cannot write to; only to see whether that goes. */
int vet_reads_only(const void *elf, size_t size, LoadPart part, Variant variant, Report *report) _must_check_;
/* Everything but the forms, in order; what is loaded is unloaded again. seed: of what is random in it. */
int vet_all(const void *elf, size_t size, const VetDevices *devices, uint64_t max_memory, uint32_t seed, Report *report) _must_check_;
/* vet.c: the form for this variant, over these tables, with its value. */
int vet_form(const void *elf, size_t size, Variant variant, int node_function, const Loaded *tables, Loaded *ret, Report *report) _must_check_;

/* conform.c. Runs it: samples for these devices, every position that matters and many others. */
int vet_conformance(Loaded *tables, const Loaded *run, const Loaded *sample, const VetDevices *devices, uint32_t seed,
                    Report *report) _must_check_;
