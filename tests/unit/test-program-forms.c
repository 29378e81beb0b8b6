/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The struct_ops forms of a program against the type information of kernels that have fuse-iomap, in each of its variants (iomap-btf.h): libbpf
 * finds its type, members, fields and functions, and gets as far as asking the kernel for the map, which this kernel refuses. A form that does
 * not fit fails before that. `--write VARIANT FILE` makes such type information for integration tests. Needs root. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "iomap-btf.h"
#include "load.h"

#define KERNEL_BTF "/sys/kernel/btf/vmlinux"

static uint8_t elf[1 << 20];
static size_t elf_size;
static char words[1 << 16]; /* libbpf's warnings */

static int note(enum libbpf_print_level level, const char *format, va_list arguments) {
        size_t n = strlen(words);

        return level == LIBBPF_WARN ? vsnprintf(words + n, sizeof words - n, format, arguments) : 0;
}

static void try(Variant variant) {
        char path[] = "/tmp/test-program-forms.XXXXXX";
        char asked_for[64];
        Loaded loaded;
        int fd = mkstemp(path), r;

        assert_true(fd >= 0);
        (void) close(fd);
        assert_int_equal(iomap_btf_write(variant, path), 0);
        assert_int_equal(mount(path, KERNEL_BTF, NULL, MS_BIND, NULL), 0);
        words[0] = 0;
        assert_string_equal(variant_to_string(variant_of_kernel(NULL)), variant_to_string(variant));
        assert_int_equal(load_open(elf, elf_size, LOAD_FORM, variant, &loaded), 0);
        r = load_load(&loaded, NULL, 0);
        (void) snprintf(asked_for, sizeof asked_for, "_ops_%s': failed to create: ", variant_form(variant));
        bool asked = strstr(words, asked_for) != NULL;
        load_done(&loaded);
        assert_int_equal(umount2(KERNEL_BTF, MNT_DETACH), 0);
        (void) unlink(path);
        assert_true(r < 0);
        if (!asked)
                fail_msg("%s: %s", variant_to_string(variant), words);
}

static void test_fits(void **state) {
        static const Variant variants[] = {VARIANT_B1, VARIANT_B2, VARIANT_B3, VARIANT_B4, VARIANT_B5};

        for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++)
                try(variants[i]);
}

/* Without the type nothing is asked of the kernel. */
static void test_no_type(void **state) {
        Loaded loaded;

        words[0] = 0;
        assert_int_equal(variant_of_kernel(NULL), VARIANT_NONE);
        assert_int_equal(load_open(elf, elf_size, LOAD_FORM, VARIANT_B5, &loaded), 0);
        assert_true(load_load(&loaded, NULL, 0) < 0);
        assert_null(strstr(words, "failed to create: "));
        load_done(&loaded);
}

static int write_one(const char *variant, const char *path) {
        for (Variant v = 0; v < _VARIANT_MAX; v++)
                if (strcmp(variant_to_string(v), variant) == 0)
                        return iomap_btf_write(v, path) < 0;
        return 2;
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_no_type),
                cmocka_unit_test(test_fits),
        };
        FILE *file;

        if (argc == 4 && strcmp(argv[1], "--write") == 0)
                return write_one(argv[2], argv[3]);
        file = argc == 2 ? fopen(argv[1], "re") : NULL;
        if (!file)
                return 2;
        elf_size = fread(elf, 1, sizeof elf, file);
        (void) fclose(file);
        if (geteuid() != 0)
                return 77;
        (void) libbpf_set_print(note);
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
