/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Starts a program through spawn_server() with a policy table made by hand, and collects what it says. For root's
 * tests. */

#include <linux/filter.h>
#include <sys/types.h>

#include "broker/spawn.h"

#define HARNESS_UID 1879048192U /* the first of the shipped range */
#define HARNESS_OUTPUT_MAX (256 * 1024)
#define HARNESS_SKIP 77

/* A policy table with one type in it; arrays of a fixed size behind the header. */
typedef struct HandTable {
        PolicyTable head;
        PolicyType type;
        uint32_t arguments[16] __attribute__((aligned(8)));
        PolicySlot slots[POLICY_SLOTS_MAX] __attribute__((aligned(8)));
        PolicyFile files[64] __attribute__((aligned(8)));
        struct sock_filter filters[POLICY_FILTER_MAX] __attribute__((aligned(8)));
        char strings[32768] __attribute__((aligned(8)));
        uint32_t strings_used;
} HandTable;

typedef enum HarnessFilter {
        HARNESS_FILTER_OPEN, /* everything allowed but what the agent is notified of: shows what the other walls do alone */
        HARNESS_FILTER_SHIPPED, /* what the policy compiler makes of a type without SystemCalls= */
} HarnessFilter;

typedef struct HarnessRun {
        HandTable *table;   /* owned */
        int root_ns_fd;     /* owned */
        int host_ns_fd;     /* owned */
        int agent_fd;       /* owned */
        int channel_fd;     /* owned: goes to the server */
        int far_channel_fd; /* owned: the other end, hand-over service */
        int output_fd;      /* owned: read end of its stderr */
        SpawnSlot slots[POLICY_SLOTS_MAX];
        size_t n_slots;
        Cgroup *cgroup;     /* borrowed */
        bool read_only;
        const char *server_options;
        pid_t pid;
        int pidfd;          /* owned */
} HarnessRun;

/* Exits with HARNESS_SKIP (or fails, if FUSED_MUST_WORK is set) where not root, or without what is named. */
void harness_need_root(void);
_noreturn_ void harness_skip(const char *why);

/* program is placed in the root with its libraries. All of these abort the test with a message on failure. */
void harness_begin(HarnessRun *run, const char *program, PolicyHandOver hand_over, HarnessFilter filter);
void harness_argument(HarnessRun *run, const char *word);
void harness_file(HarnessRun *run, const char *path);
void harness_slot(HarnessRun *run, const char *name, int fd, bool writable, bool tree); /* fd is borrowed */
void harness_start(HarnessRun *run); /* builds the root if there is none yet, and spawns */
/* Reads until end of file; then reaps. Returns the wait status. output is NUL-terminated. */
int harness_finish(HarnessRun *run, char *output, size_t size, unsigned seconds);
void harness_end(HarnessRun *run); /* kills what is left, closes all */
