/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* What a mapping program includes: see fused-mapping-program(7). An author writes one function,
 *
 *     static int NAME_begin(struct fused_program_call *call)
 *
 * which reads nodeid, pos, count and opflags of the call, and returns fused_mapped() or fused_hole(), which fill the half for reading,
 * or FUSED_PROGRAM_FALLBACK. What is written goes to where it is read from. FUSED_PROGRAM(NAME) makes all forms of it: the `syscall`
 * program that servers run by its descriptor and the supervisor tries it with, and the struct_ops programs for each variant of the
 * kernel's fuse-iomap (B1 to B5, by what the kernel hands over for the file). FUSED_SAMPLE(NAME) does the same for
 *
 *     static int NAME_sample(struct fused_sample_call *call)
 *
 * which fills the tables for one made-up file. Tables are arrays that the server has in its memory, too: it fills them, the
 * program reads them. A program sees nothing of the kernel's.
 *
 * With FUSED_NATIVE defined the same source compiles as ordinary C, for tests. */

#ifdef FUSED_NATIVE

#include <stddef.h>
#include <stdint.h>

#define SEC(name)
#define FUSED_TABLE(name, value_type, entries) \
        static struct {                        \
                value_type *data;              \
                uint32_t n;                    \
        } name __attribute__((unused))
#define fused_entry(table, index) ((index) < (table).n ? &(table).data[index] : NULL)

#else

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* a C library's <stdint.h> is not made for this machine */
typedef __u64 uint64_t;
typedef __s64 int64_t;
typedef __u32 uint32_t;
typedef __s32 int32_t;
typedef __u16 uint16_t;
typedef __u8 uint8_t;
#ifndef NULL
#define NULL ((void *) 0)
#endif

#define FUSED_TABLE(name, value_type, entries)          \
        struct {                                        \
                __uint(type, BPF_MAP_TYPE_ARRAY);       \
                __uint(map_flags, BPF_F_MMAPABLE);      \
                __uint(max_entries, entries);           \
                __type(key, uint32_t);                  \
                __type(value, value_type);              \
        } name SEC(".maps")
#define fused_entry(table, index)                          \
        ({                                                 \
                uint32_t _index = (index);                 \
                bpf_map_lookup_elem(&(table), &_index);    \
        })

#endif

#include "fused-mapping.h"

#define _fused_inline_ static inline __attribute__((always_inline, unused))

/* An index below a power of two, in a way that the kernel's verifier sees, too: a compiler that knows it to be in bounds would leave
 * the mask out. */
#define fused_index(value, power)                       \
        ({                                              \
                uint32_t _value = (uint32_t) (value);   \
                __asm__ volatile("" : "+r"(_value));    \
                _value & ((power) - 1);                 \
        })

/* Device numbers, as the server knows them (1 ..), to what mappings must call them. Filled by the library. */
FUSED_TABLE(devices, uint64_t, FUSED_PROGRAM_DEVICES_MAX + 1);

_fused_inline_ int _fused_answer(struct fused_program_call *call, uint64_t offset, uint64_t length) {
        call->read.offset = offset;
        call->read.length = length;
        call->read.flags = 0;
        return FUSED_PROGRAM_HANDLED;
}

/* The half for writing: a program allocates nothing, so what is written goes to where it is read from. */
_fused_inline_ int _fused_overwrite(struct fused_program_call *call, int verdict) {
        call->write.offset = call->read.offset;
        call->write.length = call->read.length;
        call->write.addr = FUSED_MAPPING_ADDR_NONE;
        call->write.type = FUSED_MAPPING_PURE_OVERWRITE;
        call->write.flags = 0;
        call->write.dev = 0;
        return verdict;
}

/* [offset, offset + length) of the file is at addr of that device, for reads and overwrites. All in bytes. */
_fused_inline_ int fused_mapped(struct fused_program_call *call, uint64_t offset, uint64_t length, uint32_t device, uint64_t addr) {
        uint64_t *cookie = fused_entry(devices, device);

        if (!cookie)
                return FUSED_PROGRAM_FALLBACK;
        call->read.addr = addr;
        call->read.type = FUSED_MAPPING_MAPPED;
        call->read.dev = (uint32_t) *cookie;
        return _fused_answer(call, offset, length);
}

/* Nothing is there. What wants to change the file is the server's affair. */
_fused_inline_ int fused_hole(struct fused_program_call *call, uint64_t offset, uint64_t length) {
        if (call->opflags & FUSED_MAPPING_OP_CHANGES)
                return FUSED_PROGRAM_FALLBACK;
        call->read.addr = FUSED_MAPPING_ADDR_NONE;
        call->read.type = FUSED_MAPPING_HOLE;
        call->read.dev = 0;
        return _fused_answer(call, offset, length);
}

/* ---- files by node id -------------------------------------------------------------------------------------------------- */

/* A table of files is open addressing: entry 0 is the header, slot i is entry 1 + i, a file is in one of FUSED_PROBES slots from its hash on.
 * The first field of an entry is the node id, 0 if it is free. The server writes it last; it takes a file away by setting it to 0, then
 * counts that in `changes`, and only then uses the file's entry and what belonged to it for something else. */
#define FUSED_PROBES 16

struct fused_files_header {
        uint64_t n_slots; /* a power of two */
        uint64_t changes;
};

/* What was read before it stays before it, on every machine: BPF's one barrier is an atomic operation whose result is used. */
#ifdef FUSED_NATIVE
#define _fused_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#else
#define _fused_fence()                                                          \
        ({                                                                      \
                uint64_t _word = 0, _was = __sync_fetch_and_add(&_word, 1);     \
                __asm__ volatile("" : : "r"(_was) : "memory");                  \
        })
#endif

_fused_inline_ uint32_t fused_hash(uint64_t nodeid) {
        return (uint32_t) (nodeid * 0x9e3779b97f4a7c15ULL >> 32);
}

/* Before the first look at a table: how many files have been removed from it so far. */
#define fused_since(table)                                                                             \
        ({                                                                                             \
                volatile struct fused_files_header *_header = (void *) fused_entry(table, 0);          \
                uint64_t _changes = _header ? _header->changes : 0;                                    \
                _fused_fence();                                                                        \
                _changes;                                                                              \
        })

/* The entry of that file in table, a struct that begins with uint64_t nodeid, or NULL. */
#define fused_find(table, value_type, id)                                                              \
        ({                                                                                             \
                value_type *_found = NULL;                                                             \
                struct fused_files_header *_header = (void *) fused_entry(table, 0);                   \
                if (_header) {                                                                         \
                        uint32_t _mask = (uint32_t) _header->n_slots - 1, _hash = fused_hash(id);      \
                        for (uint32_t _i = 0; _i < FUSED_PROBES; _i++) {                               \
                                value_type *_entry = fused_entry(table, 1 + ((_hash + _i) & _mask));   \
                                if (!_entry)                                                           \
                                        break;                                                         \
                                if (*(volatile uint64_t *) &_entry->nodeid == (id)) {                  \
                                        _found = _entry;                                               \
                                        break;                                                         \
                                }                                                                      \
                        }                                                                              \
                }                                                                                      \
                _fused_fence();                                                                        \
                _found;                                                                                \
        })

/* After the last look: the answer holds only if no file was removed meanwhile. Else it may have been put together from two files. */
#define fused_still(table, since, verdict)                                                             \
        ({                                                                                             \
                int _verdict = (verdict);                                                              \
                volatile struct fused_files_header *_header;                                           \
                _fused_fence();                                                                        \
                _header = (void *) fused_entry(table, 0);                                              \
                _header && _header->changes == (since) ? _verdict : FUSED_PROGRAM_FALLBACK;            \
        })

/* For samples: one slot, and the file in it. */
#define fused_sample_file(table, value_type, id)                                \
        ({                                                                      \
                struct fused_files_header *_header = (void *) fused_entry(table, 0); \
                value_type *_entry = fused_entry(table, 1);                     \
                if (_header && _entry) {                                        \
                        _header->n_slots = 1;                                   \
                        _entry->nodeid = (id);                                  \
                }                                                               \
                _entry;                                                         \
        })

/* ---- the forms of a program -------------------------------------------------------------------------------------------- */

#ifdef FUSED_NATIVE
#define _FUSED_FORM(section) static __attribute__((unused))
#define _fused_by_name_
#else
#define _FUSED_FORM(section) SEC(section)
#define _fused_by_name_ __attribute__((preserve_access_index))

#ifndef FUSED_LICENSE
#define FUSED_LICENSE "GPL" /* what the program is under, one of those that the kernel takes for compatible with it */
#endif
char _license[] SEC("license") = FUSED_LICENSE;
#endif

/* What the kernel hands over, by name only: where its members are is looked up when the program is loaded. */
struct fuse_inode {
        uint64_t nodeid;
} _fused_by_name_;
struct fuse_bpf_inode {}; /* the kernel's is empty, too; one that is only declared is another type to libbpf */
struct fuse_iomap_begin_out {
        struct fused_mapping read, write;
};
extern uint64_t fuse_bpf_inode_nodeid(struct fuse_bpf_inode *inode) __attribute__((weak)) SEC(".ksyms");

struct fuse_iomap_bpf_ops {
        int (*iomap_begin)(uint64_t *arguments);
        int fuse_fd;
        uint32_t zeropad;
        char name[16];
};

/* The author's function is part of each, as what it writes to belongs to them. */
#define _fused_form_ __attribute__((flatten))

#define _FUSED_OPS_FORM(program, variant, node_id, yes, no)                                                       \
        _FUSED_FORM("struct_ops/iomap_begin") _fused_form_ int program##_##variant(uint64_t *arguments) {         \
                struct fused_program_call call = {.pos = arguments[1], .count = arguments[2], .opflags = (uint32_t) arguments[3]}; \
                struct fuse_iomap_begin_out *out = (void *) arguments[4];                                         \
                call.nodeid = node_id;                                                                            \
                if (_fused_overwrite(&call, program##_begin(&call)) != FUSED_PROGRAM_HANDLED)                     \
                        return no;                                                                                \
                out->read.offset = call.read.offset;                                                              \
                out->read.length = call.read.length;                                                              \
                out->read.addr = call.read.addr;                                                                  \
                out->read.type = call.read.type;                                                                  \
                out->read.flags = call.read.flags;                                                                \
                out->read.dev = call.read.dev;                                                                    \
                out->write.offset = call.write.offset;                                                            \
                out->write.length = call.write.length;                                                            \
                out->write.addr = call.write.addr;                                                                \
                out->write.type = call.write.type;                                                                \
                out->write.flags = call.write.flags;                                                              \
                out->write.dev = call.write.dev;                                                                  \
                return yes;                                                                                       \
        }                                                                                                         \
        _FUSED_FORM(".struct_ops") struct fuse_iomap_bpf_ops program##_ops_##variant = {                          \
                .iomap_begin = program##_##variant, .fuse_fd = FUSED_PROGRAM_LINK_FD, .name = #program}

/* B1: 0 is handled, -ENOSYS falls back. B2: the node id as a number, from there on 1 is handled. B3, B4: struct fuse_inode. B5: a handle. */
#define FUSED_PROGRAM(program)                                                                                    \
        _FUSED_FORM("syscall") _fused_form_ int program##_run(struct fused_program_call *context) {               \
                struct fused_program_call call = {.nodeid = context->nodeid, .pos = context->pos, .count = context->count, \
                                                  .opflags = context->opflags};                                   \
                int verdict = _fused_overwrite(&call, program##_begin(&call));                                    \
                context->read = call.read;                                                                        \
                context->write = call.write;                                                                      \
                context->verdict = (uint32_t) verdict;                                                            \
                return verdict;                                                                                   \
        }                                                                                                         \
        _FUSED_OPS_FORM(program, b1, arguments[0], 0, -38);                                                       \
        _FUSED_OPS_FORM(program, b2, arguments[0], FUSED_PROGRAM_HANDLED, FUSED_PROGRAM_FALLBACK);                \
        _FUSED_OPS_FORM(program, b3, ((struct fuse_inode *) arguments[0])->nodeid, FUSED_PROGRAM_HANDLED, FUSED_PROGRAM_FALLBACK); \
        _FUSED_OPS_FORM(program, b5, fuse_bpf_inode_nodeid((void *) arguments[0]), FUSED_PROGRAM_HANDLED, FUSED_PROGRAM_FALLBACK)

#define FUSED_SAMPLE(program)                                                                                     \
        _FUSED_FORM("syscall") _fused_form_ int program##_fill(struct fused_sample_call *context) {               \
                struct fused_sample_call call = {.nodeid = context->nodeid, .seed = context->seed, .n_devices = context->n_devices, \
                                                 .block_size = context->block_size};                              \
                for (int i = 0; i < FUSED_PROGRAM_DEVICES_MAX; i++)                                               \
                        call.device_size[i] = context->device_size[i];                                            \
                program##_sample(&call);                                                                          \
                context->file_size = call.file_size;                                                              \
                return 0;                                                                                         \
        }
