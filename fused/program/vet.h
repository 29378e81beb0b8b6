/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Vetting a mapping program: what it is made of, what the kernel's verifier says, and how it behaves (conform.h). */

#include <elf.h>

#include "load.h"
#include "program/report.h"

#define VET_DEVICES_MAX 8

typedef struct VetDevices {
        uint64_t sizes[VET_DEVICES_MAX]; /* bytes */
        uint32_t n;
        uint32_t block_size;
} VetDevices;

#define VET_INSTRUCTIONS_MAX 4096U

/* One instruction of the program of that name: no helper that is not allowed, and no endless jump. */
int vet_instruction(const char *name, const struct bpf_insn *insn, Report *report) _must_check_;
/* Of the file itself, vet-ops.c: a section of struct_ops programs; what the object wants from elsewhere. */
int vet_ops_section(const char *name, const void *data, size_t size, Report *report) _must_check_;
int vet_ops_symbols(const Elf64_Sym *symbols, size_t n, const char *names, size_t names_size, Report *report) _must_check_;
/* Sections, licence, maps: of an object that is trusted, and opened but not loaded. *ret_memory: bytes that its tables will take. */
int vet_object(const void *elf, size_t size, Loaded *loaded, uint64_t max_memory, uint64_t *ret_memory, Report *report) _must_check_;
/* After it is loaded: which helpers its programs call. */
int vet_helpers(Loaded *loaded, Report *report) _must_check_;
/* Runs it: its samples for these devices, every position that matters and many others. */
int vet_conformance(Loaded *loaded, const VetDevices *devices, Report *report) _must_check_;
/* Everything up to here in order; what is loaded is unloaded again. */
int vet_all(const void *elf, size_t size, const VetDevices *devices, uint64_t max_memory, Report *report) _must_check_;
