/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The units of a type: the facts of its definition are in them, quoted as systemd wants it, and nothing that cannot be. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "units/type-unit.h"

static const UnitPaths paths = {.enter = "/usr/libexec/fused/fused-enter", .empty = "/usr/lib/fused/empty",
                                .directory = "/run/filesystems", .roots = "/run/roots"};

static char *libraries[] = {(char *) "/usr/bin/server", (char *) "/lib64/ld.so"};

static DraftType sample(PolicyHandOver hand_over) {
        return (DraftType){
                .type = {.name = "sample", .hand_over = hand_over, .max_open_files = 100, .max_processes = 7, .oom_score = 300,
                         .max_memory = 64 << 20, .max_cpu_percent = 150, .start_usec = 3000000, .stop_usec = 4000000},
                .program = (char *) "/usr/bin/server",
                .arguments = {(char *) "-o", (char *) "%o,x=$HOME\"", (char *) "%s", (char *) "100%%"},
                .n_arguments = 4,
                .libraries = libraries,
                .n_libraries = 2,
                .slots = {{.name = "source"}},
                .n_slots = 1,
                .calls = {(char *) "+getpriority", (char *) "-kill", (char *) "+mount"},
                .n_calls = 3,
        };
}

static char *text_of(const DraftType *type, void (*write_one)(FILE *stream, const DraftType *type, const UnitPaths *paths)) {
        size_t size;
        char *text = NULL;
        FILE *stream = open_memstream(&text, &size);

        assert_non_null(stream);
        write_one(stream, type, &paths);
        assert_int_equal(fclose(stream), 0);
        return text;
}

static bool has_line(const char *text, const char *line) {
        size_t length = strlen(line);

        for (const char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
                if (strncmp(p, line, length) == 0 && (p[length] == '\n' || !p[length]))
                        return true;
        return false;
}

static void test_service(void **state) {
        static const char *const lines[] = {
                "ExecStart=/usr/libexec/fused/fused-enter \"/usr/bin/server\" \"-o\" \"rw,x=$$HOME\\\"\" \"/slots/source\" \"100%%\"",
                "DynamicUser=yes", "PrivateUsers=yes", "PrivateNetwork=yes", "NoNewPrivileges=yes", "CapabilityBoundingSet=",
                "RestrictNamespaces=yes",
                "RootDirectory=/run/roots/sample", "BindReadOnlyPaths=/usr/bin/server", "BindReadOnlyPaths=/lib64/ld.so",
                "BindReadOnlyPaths=/usr/lib/fused/empty:/slots/source", "MemoryMax=67108864", "CPUQuota=150%", "TasksMax=7", "LimitNOFILE=100",
                "OOMScoreAdjust=300", "TimeoutStopSec=4000000us", "Slice=fused-servers.slice", "SystemCallFilter=getpriority",
                "SystemCallFilter=mount", "SystemCallFilter=read", "SystemCallErrorNumber=ENOSYS", "CollectMode=inactive-or-failed",
        };
        static const char *const absent[] = {"SystemCallFilter=kill", "SystemCallFilter=ptrace", "SystemCallFilter=bpf",
                                             "SystemCallFilter=unshare",
                                             "SystemCallFilter=process_vm_readv process_vm_writev"};
        DraftType type = sample(POLICY_HAND_OVER_SERVICE);
        _cleanup_free_ char *text = text_of(&type, unit_write_service);

        assert_null(unit_obstacle(&type));
        for (size_t i = 0; i < ELEMENTSOF(lines); i++)
                if (!has_line(text, lines[i]))
                        fail_msg("not there: %s", lines[i]);
        for (size_t i = 0; i < ELEMENTSOF(absent); i++)
                if (has_line(text, absent[i]))
                        fail_msg("there: %s", absent[i]);
}

/* The agent is one more process, has descriptors of its own, and answers calls that must get as far as it. */
static void test_agent(void **state) {
        DraftType type = sample(POLICY_HAND_OVER_FD);
        _cleanup_free_ char *text = NULL;

        type.n_calls = 0;
        type.slice = (char *) "special.slice";
        text = text_of(&type, unit_write_service);
        assert_true(has_line(text, "TasksMax=8") && has_line(text, "LimitNOFILE=116") && has_line(text, "Slice=special.slice"));
        assert_true(has_line(text, "SystemCallFilter=openat") && has_line(text, "SystemCallFilter=mount") &&
                    has_line(text, "SystemCallFilter=process_vm_readv process_vm_writev"));
        assert_false(has_line(text, "SystemCallFilter=openat2"));
}

static void test_socket(void **state) {
        DraftType type = sample(POLICY_HAND_OVER_FD);
        _cleanup_free_ char *text = text_of(&type, unit_write_socket);
        static const char *const lines[] = {"ListenSequentialPacket=/run/filesystems/sample", "Accept=yes", "SocketMode=0600", "MaxConnections=65536",
                                            "TriggerLimitIntervalSec=0", "RemoveOnStop=yes"};

        for (size_t i = 0; i < ELEMENTSOF(lines); i++)
                assert_true(has_line(text, lines[i]));
}

static void test_obstacles(void **state) {
        DraftType type = sample(POLICY_HAND_OVER_FD);
        char *bad[] = {(char *) "/usr/lib/with space.so"};

        type.disabled = (char *) "x.conf:1: wrong";
        assert_non_null(unit_obstacle(&type));
        type = sample(POLICY_HAND_OVER_CALLER);
        assert_string_equal(unit_obstacle(&type), "");
        type = sample(POLICY_HAND_OVER_FD);
        type.libraries = bad;
        type.n_libraries = 1;
        assert_non_null(unit_obstacle(&type));
        type = sample(POLICY_HAND_OVER_FD);
        type.extra_files[0] = (char *) "/etc/a:/etc/shadow"; /* would be a mapping of two paths */
        type.n_extra_files = 1;
        assert_non_null(unit_obstacle(&type));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_service),
                cmocka_unit_test(test_agent),
                cmocka_unit_test(test_socket),
                cmocka_unit_test(test_obstacles),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
