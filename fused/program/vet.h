/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Vetting a mapping program: what it is made of, what the kernel's verifier says, and how it behaves (conform.h). */

#include "load.h"
#include "program/report.h"

#define VET_DEVICES_MAX 8

typedef struct VetDevices {
        uint64_t sizes[VET_DEVICES_MAX]; /* bytes */
        uint32_t n;
        uint32_t block_size;
} VetDevices;

/* Sections, licence, maps: of an object that is trusted, and opened but not loaded. */
int vet_object(const void *elf, size_t size, Loaded *loaded, uint64_t max_memory, Report *report) _must_check_;
/* After it is loaded: which helpers its programs call. */
int vet_helpers(Loaded *loaded, Report *report) _must_check_;
/* Runs it: its samples for these devices, every position that matters and many others. */
int vet_conformance(Loaded *loaded, const VetDevices *devices, Report *report) _must_check_;
/* Everything up to here in order; what is loaded is unloaded again. */
int vet_all(const void *elf, size_t size, const VetDevices *devices, uint64_t max_memory, Report *report) _must_check_;
