/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The doctor: each probe answers, leaves nothing, and one that hangs or dies is survived. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "client/doctor.h"
#include "client/fusectl.h"

static size_t count_entries(const char *path) {
        DIR *dir = opendir(path);
        size_t n = 0;

        assert_non_null(dir);
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static const Probe *probe_by_name(const char *name) {
        for (size_t i = 0; i < n_doctor_probes; i++)
                if (strcmp(doctor_probes[i].name, name) == 0)
                        return &doctor_probes[i];
        fail_msg("no probe %s", name);
        return NULL;
}

static void assert_answer(const ProbeResult *result, const char *name) {
        assert_in_range(result->state, 0, _PROBE_STATE_MAX - 1);
        if (!result->detail[0])
                fail_msg("%s says nothing", name);
        assert_null(strchr(result->detail, '\n'));
        assert_true(memchr(result->detail, 0, sizeof result->detail));
}

static void test_all_probes(void **state) {
        static char before[65536], after[65536]; /* mountinfo */
        size_t fds = count_entries("/proc/self/fd");

        if (geteuid() == 0) { /* other tests mount meanwhile */
                assert_int_equal(unshare(CLONE_NEWNS), 0);
                assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        }
        assert_true(n_doctor_probes >= 17);
        assert_true(fd_read_file_at(AT_FDCWD, "/proc/self/mountinfo", before, sizeof before) > 0);
        for (size_t i = 0; i < n_doctor_probes; i++) {
                ProbeResult result;
                probe_run(&doctor_probes[i], &result);
                print_message("%s: %s: %s\n", doctor_probes[i].name, probe_state_to_string(result.state),
                              result.detail);
                assert_answer(&result, doctor_probes[i].name);
                assert_true(strlen(doctor_probes[i].without) > 10);
                assert_null(strstr(result.detail, "the probe"));
        }
        assert_int_equal(count_entries("/proc/self/fd"), fds);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_true(fd_read_file_at(AT_FDCWD, "/proc/self/mountinfo", after, sizeof after) > 0);
        assert_string_equal(before, after);
}

/* Probes whose answer can be known here by another way. */
static void test_against_the_kernel(void **state) {
        ProbeResult result;

        probe_run(probe_by_name("memfd-seals"), &result);
        assert_int_equal(result.state, PROBE_YES); /* Linux 3.17 */
        probe_run(probe_by_name("landlock"), &result);
        long abi = syscall(444, NULL, 0, 1U /* LANDLOCK_CREATE_RULESET_VERSION */);
        assert_int_equal(result.state, abi > 0 ? PROBE_YES : PROBE_NO);
        int fd = (int) syscall(434 /* pidfd_open */, getpid(), 0);
        probe_run(probe_by_name("pidfd"), &result);
        if (fd < 0)
                assert_int_equal(result.state, PROBE_NO);
        else
                close(fd);
        if (access("/dev/fuse", F_OK) < 0) {
                probe_run(probe_by_name("passthrough"), &result);
                assert_int_not_equal(result.state, PROBE_YES);
        }
}

static void probe_that_hangs(ProbeResult *result) {
        for (;;)
                pause();
}

static void probe_that_dies(ProbeResult *result) {
        _exit(3);
}

static void probe_that_answers(ProbeResult *result) {
        result->state = PROBE_NO;
        strcpy(result->detail, "because");
}

static void test_bad_probes(void **state) {
        const Probe hangs = {"hangs", probe_that_hangs, ""}, dies = {"dies", probe_that_dies, ""},
                    answers = {"answers", probe_that_answers, ""};
        size_t fds = count_entries("/proc/self/fd");
        time_t start = time(NULL);
        ProbeResult result;

        probe_run(&hangs, &result);
        assert_int_equal(result.state, PROBE_UNKNOWN);
        assert_string_equal(result.detail, "the probe hung");
        assert_in_range(time(NULL) - start, 3, 8);
        probe_run(&dies, &result);
        assert_int_equal(result.state, PROBE_UNKNOWN);
        assert_string_equal(result.detail, "the probe died");
        probe_run(&answers, &result);
        assert_int_equal(result.state, PROBE_NO);
        assert_string_equal(result.detail, "because");
        assert_int_equal(count_entries("/proc/self/fd"), fds);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_output(void **state) {
        char *text = NULL, *argv[] = {(char *) "fusectl", (char *) "--json", (char *) "doctor", NULL};
        FILE *real = stdout;
        Context context = {0};
        size_t size;

        stdout = open_memstream(&text, &size);
        int status = fusectl_run(&context, 3, argv);
        fclose(stdout);
        stdout = real;
        assert_int_equal(status, EXIT_DONE);
        assert_null(context.client); /* needs no supervisor */
        json_object *rows = json_tokener_parse(text);
        assert_non_null(rows);
        assert_int_equal(json_object_array_length(rows), n_doctor_probes);
        for (size_t i = 0; i < n_doctor_probes; i++) {
                json_object *row = json_object_array_get_idx(rows, i);
                assert_string_equal(text_of(row, "name"), doctor_probes[i].name);
                assert_string_equal(text_of(row, "without"), doctor_probes[i].without);
                assert_true(*text_of(row, "detail"));
                const char *word = text_of(row, "state");
                assert_true(strcmp(word, "yes") == 0 || strcmp(word, "no") == 0 || strcmp(word, "unknown") == 0);
        }
        json_object_put(rows);
        free(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_all_probes),
                cmocka_unit_test(test_against_the_kernel),
                cmocka_unit_test(test_bad_probes),
                cmocka_unit_test(test_output),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
