/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The worker that has a mapping program loaded: which files of the policy's it takes, and what the process may do that it starts in the place of
 * fused-program. That process is this program once more, which says what it finds. Needs root. */

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "broker/worker.h"
#include "program/report.h"

#define NOBODY 65534U
#define SOMEBODY 1234U
#define ONLY_BPF_AND_PERFMON 0xc000000000ULL
#define REPORT_FD 4

/* ---- in the place of fused-program -------------------------------------------------------------------------------------- */

static unsigned long long status_of(const char *word) {
        _cleanup_fd_ int fd = RET_NERRNO(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
        char text[4096] = "";
        const char *at = read(fd, text, sizeof text - 1) > 0 ? strstr(text, word) : NULL;

        return at ? strtoull(at + strlen(word), NULL, 16) : ~0ULL;
}

static unsigned long long limit_of(__rlimit_resource_t resource) {
        struct rlimit limit;

        (void) getrlimit(resource, &limit);
        return limit.rlim_max == limit.rlim_cur ? (unsigned long long) limit.rlim_max : ~0ULL - 1;
}

static unsigned long long open_fds(void) {
        unsigned long long mask = 0;

        for (int fd = 0; fd < 64; fd++)
                mask |= fcntl(fd, F_GETFD) >= 0 ? 1ULL << fd : 0;
        return mask >> 3; /* but for the first ones, which are whose they were */
}

static int pretend(int argc, char **argv) {
        ProgramReport report = {.magic = PROGRAM_REPORT_MAGIC};
        int signal = 0;

        for (int i = 0; i < argc; i++)
                if (strncmp(argv[i], "wait=", 5) == 0)
                        for (;;)
                                (void) pause();
        (void) prctl(PR_GET_PDEATHSIG, &signal, 0, 0, 0);
        (void) snprintf(report.text, sizeof report.text,
                        "%u %u %d caps %llx %llx new %d limits %llu %llu %llu %llu %llu signal %d fds %llx", geteuid(),
                        getegid(), getgroups(0, NULL), status_of("CapPrm:"), status_of("CapEff:"), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
                        limit_of(RLIMIT_CPU), limit_of(RLIMIT_NOFILE), limit_of(RLIMIT_FSIZE), limit_of(RLIMIT_CORE), limit_of(RLIMIT_DATA), signal,
                        open_fds());
        report.error = -EPERM; /* so no descriptor has to come along */
        (void) fd_send(REPORT_FD, &report, sizeof report, NULL, 0);
        _exit(0);
}

/* ---- the policy --------------------------------------------------------------------------------------------------------- */

static char directory[] = "/tmp/test-worker-program.XXXXXX";
static PolicyProgram program;
static PolicyType type;
static ProgramInstance instances[PROGRAM_INSTANCES_MAX];
static WorkerReport report;

enum { OBJECT = 1, SIGNATURE, KEY };

const char *policy_string(const PolicyTable *table, uint32_t offset) {
        static char path[64];

        (void) snprintf(path, sizeof path, "%s/file%u", directory, offset);
        return path;
}

const PolicyProgram *policy_program_of_type(const PolicyTable *table, const PolicyType *which, const char *name) {
        return strcmp(name, "listed") == 0 ? &program : NULL;
}

static void make_file(uint32_t number, uid_t owner, mode_t mode) {
        _cleanup_fd_ int fd = -EBADF;
        const char *path = policy_string(NULL, number);

        if (unlink(path) < 0)
                (void) rmdir(path);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(fchown(fd, owner, owner), 0);
        assert_int_equal(fchmod(fd, mode), 0);
}

static int load(const char *name, const ChannelTable *tables, uint32_t n_tables) {
        Host host = HOST_NULL;
        _cleanup_fd_ int dev = RET_NERRNO(open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC));
        WorkerJob job = {.kind = WORKER_PROGRAM, .host = &host, .type = &type, .program_name = name, .tables = tables, .n_tables = n_tables,
                         .libexec_directory = directory, .instances = instances, .max_mib = UINT32_MAX};
        int fds[WORKER_FDS_MAX];
        size_t n_fds;

        host.dev_fd = dev;
        fd_fill(job.slot_fds, ELEMENTSOF(job.slot_fds));
        report = (WorkerReport){0};
        int r = worker_program(&job, &report, fds, &n_fds);
        assert_int_equal(n_fds, 0);
        return r;
}

static void expect_started(void) {
        assert_int_equal(load("listed", NULL, 0), -EPERM);
        assert_string_equal(report.rule, "");
        assert_true(strncmp(report.text, "65534 ", 6) == 0);
        while (waitpid(-1, NULL, 0) > 0)
                continue;
}

static void expect_refused(void) {
        assert_int_equal(load("listed", NULL, 0), -EPERM);
        assert_string_equal(report.rule, "object");
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing was started */
}

static int set_up(void **state) {
        _cleanup_fd_ int from = RET_NERRNO(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), to = -EBADF;
        char path[64];
        struct stat st;

        assert_non_null(mkdtemp(directory));
        assert_int_equal(chmod(directory, 0755), 0);
        (void) snprintf(path, sizeof path, "%s/fused-program", directory);
        to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
        assert_true(from >= 0 && to >= 0 && fstat(from, &st) == 0);
        for (ssize_t n = 1; n > 0;)
                n = sendfile(to, from, NULL, (size_t) st.st_size);
        assert_int_equal(fchmod(to, 0755), 0);
        return 0;
}

static int tear_down(void **state) {
        for (uint32_t i = OBJECT; i <= KEY; i++)
                (void) unlink(policy_string(NULL, i));
        char path[64];
        (void) snprintf(path, sizeof path, "%s/fused-program", directory);
        (void) unlink(path);
        assert_int_equal(rmdir(directory), 0);
        return 0;
}

static void sign(bool is_signed) {
        program = (PolicyProgram){.object = OBJECT, .signature = is_signed ? SIGNATURE : 0, .public_key = is_signed ? KEY : 0,
                                  .has_digest = !is_signed, .max_memory = 1 << 20};
        for (uint32_t i = OBJECT; i <= KEY; i++)
                make_file(i, 0, 0644);
}

/* ---- tests -------------------------------------------------------------------------------------------------------------- */

/* Of root's files that only root can change, and of no others, for the object as for its signature and the key. */
static void test_files(void **state) {
        static const struct {
                uid_t owner;
                mode_t mode;
                bool taken;
        } rows[] = {{0, 0644, true}, {0, 0600, true}, {0, 0755, true}, {0, 0444, true}, {SOMEBODY, 0644, false}, {SOMEBODY, 0444, false},
                    {0, 0664, false}, {0, 0646, false}, {0, 0666, false}, {0, 0620, false}, {0, 0602, false}};

        for (int is_signed = 0; is_signed < 2; is_signed++)
                for (uint32_t number = OBJECT; number <= (is_signed ? KEY : OBJECT); number++)
                        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                                sign(is_signed);
                                make_file(number, rows[i].owner, rows[i].mode);
                                if (rows[i].taken)
                                        expect_started();
                                else
                                        expect_refused();
                        }
}

/* Nor what is no file, and nobody waits for a writer of a pipe. */
static void test_no_files(void **state) {
        for (uint32_t number = OBJECT; number <= KEY; number++) {
                sign(true);
                const char *path = policy_string(NULL, number);
                assert_int_equal(unlink(path), 0);
                expect_refused();
                assert_int_equal(mkdir(path, 0755), 0);
                expect_refused();
                assert_int_equal(rmdir(path), 0);
                assert_int_equal(mkfifo(path, 0644), 0);
                expect_refused();
                assert_int_equal(unlink(path), 0);
                assert_int_equal(symlink("/dev/null", path), 0);
                expect_refused();
                assert_int_equal(unlink(path), 0);
        }
        sign(false);
        assert_int_equal(load("unlisted", NULL, 0), -ENOENT);
        expect_started();
}

/* Nobody, with what loading takes and nothing else, within limits, and with the four descriptors that it is given. */
static void test_rights(void **state) {
        char expected[192];
        const unsigned long long data =
#ifdef __SANITIZE_ADDRESS__
                limit_of(RLIMIT_DATA);
#else
                512ULL << 20;
#endif

        sign(false);
        (void) snprintf(expected, sizeof expected, "%u %u 0 caps %llx %llx new 1 limits 20 64 0 0 %llu signal %d fds f", NOBODY, NOBODY,
                        ONLY_BPF_AND_PERFMON, ONLY_BPF_AND_PERFMON, data, SIGKILL);
        expect_started();
        assert_string_equal(report.text, expected);
}

/* Its only child, or -1. */
static pid_t child_of(pid_t pid) {
        char path[64], text[32] = "";

        (void) snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int) pid, (int) pid);
        _cleanup_fd_ int fd = RET_NERRNO(open(path, O_RDONLY | O_CLOEXEC));
        return fd >= 0 && read(fd, text, sizeof text - 1) > 0 ? (pid_t) atoi(text) : -1;
}

static bool is_pretending(pid_t pid) {
        char path[64], text[512] = "";

        (void) snprintf(path, sizeof path, "/proc/%d/cmdline", (int) pid);
        _cleanup_fd_ int fd = RET_NERRNO(open(path, O_RDONLY | O_CLOEXEC));
        return fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strcmp(text, "fused-program") == 0;
}

/* A worker that is killed at its deadline takes along what it has started. */
static void test_ends_with_worker(void **state) {
        const ChannelTable table = {.name = "wait"};
        pid_t worker, started = -1;

        sign(false);
        assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
        worker = fork();
        assert_true(worker >= 0);
        if (worker == 0) {
                (void) load("listed", &table, 1);
                _exit(0);
        }
        for (unsigned i = 0; i < 1000 && !is_pretending(started); i++) {
                (void) usleep(10000);
                started = child_of(worker);
        }
        assert_true(started > 0 && is_pretending(started));
        _cleanup_fd_ int pidfd = (int) syscall(SYS_pidfd_open, started, 0);
        struct pollfd ended = {.fd = pidfd, .events = POLLIN};
        assert_int_equal(poll(&ended, 1, 100), 0);
        assert_int_equal(kill(worker, SIGKILL), 0);
        bool has_ended = poll(&ended, 1, 5000) == 1;
        (void) kill(started, SIGKILL);
        while (waitpid(-1, NULL, 0) > 0)
                continue;
        assert_true(has_ended);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_files), cmocka_unit_test(test_no_files), cmocka_unit_test(test_rights),
                                           cmocka_unit_test(test_ends_with_worker)};

        if (strcmp(argv[0], "fused-program") == 0)
                return pretend(argc, argv);
        if (geteuid() != 0)
                return 77;
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
