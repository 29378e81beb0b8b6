/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel engine's ioctls, over a kernel that is a table: which number, with which argument, and what is tried after which refusal. */

#define FUSE_USE_VERSION 312
#include <errno.h>
#include <linux/prctl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "map/kernel.h"

#define FUSE_FD 17
#define DISK_FD 23

/* Numbers as the description of the interface has them, and not as the library's header. */
enum {
        BACKING_OPEN = 0x4010e501,
        SET_BLOCKSIZE = 0x4008e566,
        SET_BLOCKSIZE_OLD = 0x4008e563,
        SET_NOFS = 0x4004e564,
};

typedef struct Call {
        unsigned long number; /* 0: prctl */
        uint8_t argument[16];
} Call;

static struct {
        struct {
                unsigned long number;
                int result; /* or negative errno */
        } answers[4]; /* of all other numbers: ENOTTY */
        Call calls[8];
        size_t n_calls;
        int prctl_result, supervisor_result;
        unsigned n_asked; /* the supervisor */
} kernel;

static int answer(int result) {
        if (result >= 0)
                return result;
        errno = -result;
        return -1;
}

int __wrap_ioctl(int fd, unsigned long number, ...);
int __wrap_ioctl(int fd, unsigned long number, ...) {
        Call *call = &kernel.calls[kernel.n_calls++];
        const void *argument;
        va_list words;

        assert_int_equal(fd, FUSE_FD);
        assert_in_range(kernel.n_calls, 1, ELEMENTSOF(kernel.calls));
        va_start(words, number);
        argument = va_arg(words, const void *);
        va_end(words);
        call->number = number;
        memcpy(call->argument, argument, number >> 16 & 0x3fff); /* the size is part of the number */
        for (size_t i = 0; i < ELEMENTSOF(kernel.answers); i++)
                if (kernel.answers[i].number == number)
                        return answer(kernel.answers[i].result);
        return answer(-ENOTTY);
}

int __wrap_prctl(int option, ...);
int __wrap_prctl(int option, ...) {
        assert_int_equal(option, 57); /* PR_SET_IO_FLUSHER */
        kernel.calls[kernel.n_calls++] = (Call){0};
        return answer(kernel.prctl_result);
}

/* ---- what stands beside the ioctls ---------------------------------------------------------------------------------- */

struct fuse_session *session_fuse(Session *session) {
        return NULL;
}

int fuse_session_fd(struct fuse_session *session) {
        return FUSE_FD;
}

int session_notify_any(Session *session, int code, const void *data, size_t size) {
        return code;
}

int channel_backing_open(Channel *channel, int fd, ChannelBacking kind, uint32_t *ret_id) {
        assert_int_equal(fd, DISK_FD);
        assert_int_equal(kind, CHANNEL_BACKING_IOMAP);
        kernel.n_asked++;
        *ret_id = 99;
        return kernel.supervisor_result;
}

int channel_program_attach(Channel *channel) {
        return -ENODATA;
}

/* ---- tests ---------------------------------------------------------------------------------------------------------- */

static void begin(unsigned long number, int result) {
        memset(&kernel, 0, sizeof kernel);
        kernel.answers[0].number = number;
        kernel.answers[0].result = result;
}

static void test_add_device(void **state) {
        static const uint8_t wanted[16] = {DISK_FD, 0, 0, 0, 1}; /* fd, type 1, padding */
        struct fused_map map = {.channel = NULL};
        uint32_t cookie = 0;

        begin(BACKING_OPEN, 1024);
        assert_int_equal(map_kernel_calls.add_device(&map, DISK_FD, &cookie), 0);
        assert_int_equal(cookie, 1024);
        assert_int_equal(kernel.n_calls, 1);
        assert_memory_equal(kernel.calls[0].argument, wanted, sizeof wanted);

        begin(BACKING_OPEN, -ENODEV); /* no supervisor to be asked */
        assert_int_equal(map_kernel_calls.add_device(&map, DISK_FD, &cookie), -ENODEV);
        begin(BACKING_OPEN, 0); /* no id is 0 */
        assert_int_equal(map_kernel_calls.add_device(&map, DISK_FD, &cookie), -EPROTO);
        assert_int_equal(kernel.n_asked, 0);

        map.channel = (Channel *) &map;
        begin(BACKING_OPEN, -EPERM); /* the sandbox's word */
        assert_int_equal(map_kernel_calls.add_device(&map, DISK_FD, &cookie), 0);
        assert_int_equal(cookie, 99);
        begin(BACKING_OPEN, -ENODEV);
        kernel.supervisor_result = -EACCES;
        assert_int_equal(map_kernel_calls.add_device(&map, DISK_FD, &cookie), -ENODEV); /* the kernel's own reason */
        assert_int_equal(kernel.n_asked, 1);
}

static void test_block_size(void **state) {
        static const uint8_t wanted[8] = {7, 0, 0, 0, 0, 16}; /* cookie 7, 4096 bytes */
        struct fused_map map = {0};

        begin(SET_BLOCKSIZE, 0);
        assert_int_equal(map_kernel_calls.set_block_size(&map, 7, 4096), 0);
        assert_int_equal(kernel.n_calls, 1);
        assert_memory_equal(kernel.calls[0].argument, wanted, sizeof wanted);
        begin(SET_BLOCKSIZE_OLD, 0); /* a kernel of the older patches */
        assert_int_equal(map_kernel_calls.set_block_size(&map, 7, 4096), 0);
        assert_int_equal(kernel.n_calls, 2);
        assert_int_equal(kernel.calls[0].number, SET_BLOCKSIZE);
        assert_int_equal(kernel.calls[1].number, SET_BLOCKSIZE_OLD);
        assert_memory_equal(kernel.calls[1].argument, wanted, sizeof wanted);
        begin(SET_BLOCKSIZE, -EINVAL); /* a kernel that knows it, and says no */
        kernel.answers[1].number = SET_BLOCKSIZE_OLD;
        assert_int_equal(map_kernel_calls.set_block_size(&map, 7, 4096), -EINVAL);
        assert_int_equal(kernel.n_calls, 1);
        begin(0, 0);
        assert_int_equal(map_kernel_calls.set_block_size(&map, 7, 4096), -ENOTTY);
        assert_int_equal(kernel.n_calls, 2);
}

static void test_reclaim(void **state) {
        static const uint8_t on[4] = {1};
        struct fused_map map = {0};

        begin(SET_NOFS, 0);
        assert_int_equal(map_kernel_calls.stay_out_of_reclaim(&map), 0);
        assert_int_equal(kernel.n_calls, 1);
        assert_memory_equal(kernel.calls[0].argument, on, sizeof on);
        for (unsigned i = 0; i < 2; i++) { /* what there was before */
                begin(SET_NOFS, i ? -EPERM : -ENOTTY);
                assert_int_equal(map_kernel_calls.stay_out_of_reclaim(&map), 0);
                assert_int_equal(kernel.n_calls, 2);
                assert_int_equal(kernel.calls[1].number, 0);
        }
        kernel.prctl_result = -EPERM;
        assert_int_equal(map_kernel_calls.stay_out_of_reclaim(&map), -EPERM);
}

static void test_others(void **state) {
        struct fused_map map = {0};

        begin(0, 0);
        assert_int_equal(map_kernel_calls.notify(&map, IOMAP_NOTIFY_UPSERT, NULL, 0), 100);
        assert_int_equal(map_kernel_calls.attach_program(&map), -ENODATA);
        assert_int_equal(kernel.n_calls, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_add_device), cmocka_unit_test(test_block_size), cmocka_unit_test(test_reclaim),
                                           cmocka_unit_test(test_others)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
