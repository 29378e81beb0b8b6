/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What one answer has to keep: the rules of mappings, the devices of the mount, what is not for programs, and the time it may take. */

#include <inttypes.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "program/conform.h"

#define WINDOW 256         /* runs whose time is taken together */
#define SLOW_MAX 4         /* windows one after another */
#define SECTOR 512

/* Nothing is allocated by a program, and nothing written out of place. */
#define FLAGS_ALLOWED (FUSED_MAPPING_F_MERGED | FUSED_MAPPING_F_BOUNDARY | FUSED_MAPPING_F_ATOMIC_BIO | FUSED_MAPPING_F_WANT_END)

int conform_call(int fd, void *context, size_t size, uint32_t *ret) {
        union bpf_attr attr = {.test = {.prog_fd = (uint32_t) fd, .ctx_in = (uintptr_t) context, .ctx_size_in = (uint32_t) size}};

        if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof attr.test) < 0)
                return -errno;
        *ret = attr.test.retval;
        return 0;
}

int conform_fail(Run *run, uint64_t pos, uint32_t opflags, const char *what, const char *why) {
        return report_fail(run->report, "conformance", "position %" PRIu64 ", operation 0x%x: %s: %s (node %" PRIu64 ", sample %" PRIu64
                           ", --seed %" PRIu32 ")", pos, opflags, what, why, run->node, run->seed, run->base);
}

/* Of the processor: who else is busy on this machine does not make a program slow. */
static uint64_t processor_nsec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        return (uint64_t) now.tv_sec * 1000000000U + (uint64_t) now.tv_nsec;
}

int conform_measure(uint64_t *ret_nsec) {
        static const struct bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
        union bpf_attr attr = {
                .prog_type = BPF_PROG_TYPE_SYSCALL,
                .insn_cnt = ELEMENTSOF(insns),
                .insns = (uintptr_t) insns,
                .license = (uintptr_t) "GPL",
                .prog_flags = BPF_F_SLEEPABLE,
        };
        _cleanup_fd_ int fd = RET_NERRNO((int) syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr));
        int r = MIN_OF(fd, 0);

        *ret_nsec = UINT64_MAX;
        for (unsigned window = 0; window < SLOW_MAX && r >= 0; window++) { /* the best of some: a machine may be slow for a moment */
                uint64_t begin = processor_nsec();
                for (unsigned i = 0; i < WINDOW && r >= 0; i++) {
                        struct fused_program_call call = {0};
                        uint32_t ignored;
                        r = conform_call(fd, &call, sizeof call, &ignored);
                }
                *ret_nsec = MIN_OF(*ret_nsec, (processor_nsec() - begin) / WINDOW);
        }
        return r;
}

/* Soon enough that a slow one is refused, and not waited for. */
static int count_run(Run *run) {
        uint64_t nsec;

        run->n_runs++;
        if (run->n_window++ == 0)
                run->window_begin = processor_nsec();
        if (run->n_window <= WINDOW)
                return 0;
        nsec = processor_nsec() - run->window_begin;
        run->n_window = 0;
        run->n_timed += WINDOW;
        run->nsec += nsec;
        run->n_slow = nsec > WINDOW * run->nsec_max ? run->n_slow + 1 : 0;
        if (run->n_slow < SLOW_MAX)
                return 0;
        return report_fail(run->report, "time", "%" PRIu64 " ns of the processor for an answer, %" PRIu64 " are allowed", nsec / WINDOW,
                           run->nsec_max);
}

static const char *check_half(const Run *run, uint64_t pos, const struct fused_mapping *m, bool write) {
        const VetDevices *devices = run->devices;
        const char *rule = NULL;

        if (fused_mapping_check(m, write, /* upsert= */ false, pos, devices->block_size, INT64_MAX, &rule) < 0 || m->dev == 0)
                return rule;
        if (m->dev > devices->n)
                return "device that the mount does not have";
        if (m->addr > devices->sizes[m->dev - 1] || m->length > devices->sizes[m->dev - 1] - m->addr)
                return "address past the end of the device";
        return m->addr % SECTOR != 0 ? "address within a sector" : NULL;
}

static const char *check_read(const Run *run, uint64_t pos, uint32_t opflags, const struct fused_mapping *m) {
        if (m->type == FUSED_MAPPING_RETRY_CACHE || m->type == FUSED_MAPPING_INLINE || m->type == FUSED_MAPPING_DELALLOC)
                return "a type that is not for a program";
        if (m->flags & ~FLAGS_ALLOWED)
                return "flags that are not for a program";
        if (m->type == FUSED_MAPPING_HOLE && opflags & FUSED_MAPPING_OP_CHANGES)
                return "a hole for a change";
        return check_half(run, pos, m, /* write= */ false);
}

static const char *check_write(const Run *run, uint64_t pos, const struct fused_mapping *m) {
        const char *rule = check_half(run, pos, m, /* write= */ true);

        return rule ? rule : m->type != FUSED_MAPPING_PURE_OVERWRITE ? "it writes elsewhere than it reads" : NULL;
}

int conform_ask(Run *run, uint64_t pos, uint64_t count, uint32_t opflags, struct fused_mapping *ret) {
        struct fused_program_call call = {.nodeid = run->node, .pos = pos, .count = count, .opflags = opflags};
        uint32_t verdict = 0;
        const char *rule;
        int r;

        r = conform_call(run->fd, &call, sizeof call, &verdict);
        if (r >= 0)
                r = count_run(run);
        if (r < 0 || verdict == FUSED_PROGRAM_FALLBACK)
                return r;
        if (verdict != FUSED_PROGRAM_HANDLED)
                return conform_fail(run, pos, opflags, "verdict", "neither handled nor fall back");
        rule = check_read(run, pos, opflags, &call.read);
        if (rule)
                return conform_fail(run, pos, opflags, "read half", rule);
        rule = check_write(run, pos, &call.write);
        if (rule)
                return conform_fail(run, pos, opflags, "write half", rule);
        *ret = call.read;
        return 1;
}
