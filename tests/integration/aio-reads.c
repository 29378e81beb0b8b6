/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* aio-reads FILE DEPTH: makes FILE with 64 MiB of data that nobody has written back, a hole, and a last page at 1 GiB; then reads DEPTH pages of
 * the hole with O_DIRECT at the same time. Those that are to be tried again are, one by one. Prints how many that were; status 1: not the
 * zeroes of a hole; 2: no answer within 20 seconds. */

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/macro.h"

#define PAGE 4096U
#define DIRTY (64L << 20)
#define HOLE (512L << 20)
#define LAST (1L << 30)
#define DEPTH_MAX 256U
#define WAIT_SECONDS 20

static int make_file(int fd) {
        static char data[1 << 20];

        memset(data, 'x', sizeof data);
        for (off_t pos = 0; pos < DIRTY; pos += (off_t) sizeof data)
                if (pwrite(fd, data, sizeof data, pos) != (ssize_t) sizeof data)
                        return -errno;
        return pwrite(fd, data, PAGE, LAST) == PAGE ? 0 : -errno;
}

/* results: of each. */
static int read_all(int fd, uint8_t *memory, long n, long *results) {
        const struct timespec limit = {.tv_sec = WAIT_SECONDS};
        struct iocb blocks[DEPTH_MAX], *pointers[DEPTH_MAX];
        struct io_event events[DEPTH_MAX];
        aio_context_t context = 0;
        long done = 0, got;

        if (syscall(SYS_io_setup, DEPTH_MAX, &context) < 0)
                return -errno;
        for (long i = 0; i < n; i++) {
                blocks[i] = (struct iocb){.aio_data = (uint64_t) i, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t) fd,
                                          .aio_buf = (uintptr_t) memory + (uintptr_t) i * PAGE, .aio_nbytes = PAGE, .aio_offset = HOLE + i * PAGE};
                pointers[i] = &blocks[i];
        }
        while (done < n) {
                long r = syscall(SYS_io_submit, context, n - done, pointers + done);
                if (r <= 0)
                        return -errno;
                done += r;
        }
        got = syscall(SYS_io_getevents, context, n, n, events, &limit);
        for (long i = 0; i < got; i++)
                results[events[i].data] = events[i].res;
        return got == n ? 0 : -ETIMEDOUT;
}

static unsigned try_again(int fd, uint8_t *memory, long n, long *results) {
        unsigned again = 0;

        for (long i = 0; i < n; i++)
                if (results[i] == -EAGAIN) {
                        results[i] = RET_NERRNO(pread(fd, memory + i * PAGE, PAGE, HOLE + i * PAGE));
                        again++;
                }
        return again;
}

int main(int argc, char **argv) {
        static _Alignas(PAGE) uint8_t memory[DEPTH_MAX * PAGE];
        static const uint8_t zeroes[PAGE];
        long n = argc == 3 ? strtol(argv[2], NULL, 10) : 0, results[DEPTH_MAX] = {0};
        int fd, direct_fd, r;

        if (n < 1 || n > (long) DEPTH_MAX)
                return 3;
        memset(memory, 'y', sizeof memory);
        fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        direct_fd = open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
        r = fd < 0 || direct_fd < 0 ? -errno : make_file(fd);
        if (r >= 0)
                r = read_all(direct_fd, memory, n, results);
        if (r < 0) {
                fprintf(stderr, "aio-reads: %s\n", strerror(-r));
                _exit(r == -ETIMEDOUT ? 2 : 3); /* not waiting for what is under way */
        }
        printf("%u\n", try_again(direct_fd, memory, n, results));
        for (long i = 0; i < n; i++)
                if (results[i] != PAGE || memcmp(memory + i * PAGE, zeroes, PAGE) != 0) {
                        fprintf(stderr, "aio-reads: read %ld: %ld\n", i, results[i]);
                        return 1;
                }
        return 0;
}
