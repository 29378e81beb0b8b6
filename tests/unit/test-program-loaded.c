/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A struct_ops program once more after libbpf has given it to the kernel: the functions that it calls have numbers then, and members of the
 * kernel's structs are where they are. No kernel here has fuse-iomap; these are programs for TCP, which nobody uses. Needs root. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "program/vet.h"

static uint8_t plain[1 << 20], calling[1 << 20];
static size_t plain_size, calling_size;

static size_t slurp(const char *path, uint8_t *ret) {
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd >= 0 ? read(fd, ret, 1 << 20) : -1;

        return n > 0 ? (size_t) n : 0;
}

static int load(const uint8_t *elf, size_t size, const char *function, Report *report) {
        struct btf *btf = btf__load_vmlinux_btf();
        Loaded loaded = LOADED_NULL;
        int id = function ? btf__find_by_name_kind(btf, function, BTF_KIND_FUNC) : 0, r;

        assert_true(id >= 0);
        btf__free(btf);
        r = load_open(elf, size, LOAD_FORM, VARIANT_B5, &loaded);
        assert_int_equal(r, 0);
        r = vet_load(&loaded, id, report);
        load_done(&loaded);
        return r;
}

static void test_plain(void **state) {
        Report report = {0};

        assert_int_equal(load(plain, plain_size, NULL, &report), 0);
        assert_string_equal(report.rule, "");
}

/* It is one function that may be called, not any. The second one writes to a member that is past what a form may write to: in the file, that
 * member is the first of its struct. */
static void test_calling(void **state) {
        Report report = {0};

        assert_int_equal(load(calling, calling_size, NULL, &report), -EPERM);
        assert_string_equal(report.rule, "helpers");
        report = (Report){0};
        assert_int_equal(load(calling, calling_size, "tcp_reno_undo_cwnd", &report), -EPERM);
        assert_string_equal(report.rule, "helpers");
        report = (Report){0};
        assert_int_equal(load(calling, calling_size, "tcp_reno_ssthresh", &report), -EPERM);
        assert_string_equal(report.rule, "struct_ops");
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_plain),
                cmocka_unit_test(test_calling),
        };

        if (argc != 3)
                return 2;
        if (geteuid() != 0)
                return 77;
        plain_size = slurp(argv[1], plain);
        calling_size = slurp(argv[2], calling);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
