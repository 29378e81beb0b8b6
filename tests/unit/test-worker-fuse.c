/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening the FUSE device: which ioctls it gets for which type and caller, and that CAP_SYS_RAWIO is there for those and gone afterwards. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "broker/worker.h"

/* Numbers as the description of the interface has them. */
enum {
        SYNC_INIT = 0xe503,
        ADD_IOMAP = 0xe565,
        ADD_IOMAP_OLD = 0xe563,
};

static struct {
        int add_error, old_error; /* what the kernel says */
        unsigned long calls[4];
        size_t n_calls;
        bool without_right; /* one of them was tried without the capability */
} kernel;

static bool has_rawio(void) {
        cap_flag_value_t permitted = CAP_CLEAR, effective = CAP_CLEAR;
        cap_t caps = cap_get_proc();
        bool has = cap_get_flag(caps, CAP_SYS_RAWIO, CAP_PERMITTED, &permitted) == 0 &&
                   cap_get_flag(caps, CAP_SYS_RAWIO, CAP_EFFECTIVE, &effective) == 0 && (permitted == CAP_SET || effective == CAP_SET);

        (void) cap_free(caps);
        return has;
}

int __wrap_ioctl(int fd, unsigned long number, ...);
int __wrap_ioctl(int fd, unsigned long number, ...) {
        int error = number == ADD_IOMAP ? kernel.add_error : number == ADD_IOMAP_OLD ? kernel.old_error : 0;

        if (number == SYNC_INIT)
                return 0;
        kernel.calls[kernel.n_calls++ % ELEMENTSOF(kernel.calls)] = number;
        kernel.without_right |= !has_rawio();
        errno = error;
        return error ? -1 : 0;
}

typedef struct Row {
        const char *name;
        uint32_t iomap; /* what the type says */
        bool foreign;   /* the caller is in another user namespace */
        int add_error, old_error;
        unsigned long calls[3];
} Row;

static const Row rows[] = {
        {"no", .iomap = 0},
        {"yes", .iomap = 1, .calls = {ADD_IOMAP}},
        {"another user namespace", .iomap = 1, .foreign = true},
        {"no, and another user namespace", .iomap = 0, .foreign = true},
        {"switched off", .iomap = 1, .add_error = EPERM, .calls = {ADD_IOMAP}},
        {"configured out", .iomap = 1, .add_error = EOPNOTSUPP, .calls = {ADD_IOMAP}},
        {"an older kernel", .iomap = 1, .add_error = ENOTTY, .calls = {ADD_IOMAP, ADD_IOMAP_OLD}},
        {"none", .iomap = 1, .add_error = ENOTTY, .old_error = ENOTTY, .calls = {ADD_IOMAP, ADD_IOMAP_OLD}},
};

/* In a child: what is given up is gone. */
static const char *try(const Row *row, int directory) {
        const PolicyType type = {.name = "demo", .iomap = row->iomap};
        Host host = HOST_NULL;
        WorkerJob job = {.host = &host, .type = &type};
        WorkerReport report = {.foreign_user_ns = row->foreign};
        const bool had = has_rawio();
        int fd = -EBADF;

        host.dev_fd = directory;
        kernel.add_error = row->add_error;
        kernel.old_error = row->old_error;
        if (worker_open_fuse(&job, &report, &fd) < 0 || fd < 0)
                return "it fails";
        for (size_t i = 0; i < ELEMENTSOF(row->calls); i++)
                if (kernel.calls[i] != row->calls[i])
                        return "other calls";
        if (had && kernel.without_right)
                return "tried without the right to it";
        return has_rawio() ? "the right is still there" : NULL;
}

static void test_marking(void **state) {
        char path[] = "/tmp/test-worker-fuse.XXXXXX";
        int status;

        assert_non_null(mkdtemp(path));
        _cleanup_fd_ int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_fd_ int node = openat(directory, "fuse", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(node >= 0);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                pid_t pid = fork();
                assert_true(pid >= 0);
                if (pid == 0) {
                        const char *problem = try(&rows[i], directory);
                        if (problem)
                                dprintf(STDERR_FILENO, "%s: %s\n", rows[i].name, problem);
                        _exit(problem != NULL);
                }
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_int_equal(status, 0);
        }
        assert_int_equal(unlinkat(directory, "fuse", 0), 0);
        assert_int_equal(rmdir(path), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_marking)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
