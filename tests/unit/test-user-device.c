/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine's way to devices: requests in many pieces, over several devices, of which some end too early; and syncs beside them. */

#define FUSE_USE_VERSION 312
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "map/user.h"

#define N_DEVICES 3
#define CHUNK 4096U
#define SIZE (CHUNK * 400U) /* of the request: more chunks than a list has segments */
#define DEVICE_SIZE (2 * SIZE)

/* The kernel's answers one at a time, as they come from devices that are not equally fast. Who waits for one awake must have
 * no other under way: it would get that one's. */
static long under_way;

/* What takes long: it has begun, and may end. */
static bool write_waits, sync_waits;
static sem_t begun, go;
static unsigned n_syncs;

long __real_aio_submit(struct iocb **blocks, long n);
long __real_aio_wait(struct io_event *events, long n);
void __real_aio_wait_awake(struct io_event *ret);
long __wrap_aio_submit(struct iocb **blocks, long n);
long __wrap_aio_wait(struct io_event *events, long n);
void __wrap_aio_wait_awake(struct io_event *ret);

long __wrap_aio_submit(struct iocb **blocks, long n) {
        long r = __real_aio_submit(blocks, n);

        under_way += MAX_OF(r, 0L);
        return r;
}

long __wrap_aio_wait(struct io_event *events, long n) {
        under_way--;
        if (write_waits) {
                (void) sem_post(&begun);
                (void) sem_wait(&go);
        }
        return __real_aio_wait(events, 1);
}

void __wrap_aio_wait_awake(struct io_event *ret) {
        assert_int_equal(under_way--, 1);
        __real_aio_wait_awake(ret);
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd) {
        n_syncs++;
        if (sync_waits) {
                (void) sem_post(&begun);
                (void) sem_wait(&go);
        }
        return 0;
}

static MapDevice devices[N_DEVICES];
static uint8_t memory[SIZE] __attribute__((aligned(CHUNK)));
static uint8_t on_device[N_DEVICES][DEVICE_SIZE];

static int setup(void **state) {
        for (unsigned i = 0; i < N_DEVICES; i++) {
                devices[i] = (MapDevice){.fd = memfd_create("device", MFD_CLOEXEC), .direct_fd = -EBADF, .size = DEVICE_SIZE, .sector = 512};
                for (unsigned k = 0; k < DEVICE_SIZE; k++)
                        on_device[i][k] = (uint8_t) (random() >> 4);
                assert_int_equal(pwrite(devices[i].fd, on_device[i], DEVICE_SIZE, 0), DEVICE_SIZE);
        }
        return 0;
}

static int teardown(void **state) {
        for (unsigned i = 0; i < N_DEVICES; i++) {
                devices[i].fd = fd_close(devices[i].fd);
                devices[i].direct_fd = fd_close(devices[i].direct_fd);
        }
        return 0;
}

/* Where chunk i is. */
typedef struct Place {
        unsigned device;
        uint64_t addr;
} Place;
typedef Place Layout(unsigned i);

static Place striped(unsigned i) {
        return (Place){i % N_DEVICES, (uint64_t) (i / N_DEVICES) * CHUNK};
}
static Place backwards(unsigned i) { /* nothing follows anything */
        return (Place){0, DEVICE_SIZE - (i + 1ULL) * CHUNK};
}
static Place interleaved(unsigned i) { /* several runs of one device, in turn: more than there are pieces that grow */
        return (Place){i & 1, (uint64_t) (i % 20) * CHUNK * 40 + (uint64_t) (i / 20) * CHUNK};
}
static Place together(unsigned i) {
        return (Place){2, (uint64_t) i * CHUNK};
}
static Place apart(unsigned i) { /* one device, and its even chunks before the odd ones */
        return (Place){1, (uint64_t) (i / 2) * CHUNK + (i & 1 ? SIZE : 0)};
}

static Layout *const layouts[] = {striped, backwards, interleaved, together, apart};

static int move(Layout *layout, bool write, unsigned first, unsigned n) {
        SegmentList list = {.write = write};
        int r = 0;

        for (unsigned i = first; i < first + n && r >= 0; i++) {
                Place place = layout(i);
                r = segments_add(&list, &devices[place.device], place.addr, memory + (size_t) (i - first) * CHUNK, CHUNK);
        }
        return r < 0 ? r : segments_move(&list);
}

static void test_read(void **state) {
        for (size_t l = 0; l < ELEMENTSOF(layouts); l++)
                for (unsigned n = 0; n <= SIZE / CHUNK; n = n < 10 ? n + 1 : n + 39) {
                        memset(memory, 0, sizeof memory);
                        assert_int_equal(move(layouts[l], false, 7, n < SIZE / CHUNK - 7 ? n : SIZE / CHUNK - 7), 0);
                        for (unsigned i = 0; i < n && i < SIZE / CHUNK - 7; i++) {
                                Place place = layouts[l](7 + i);
                                assert_memory_equal(memory + (size_t) i * CHUNK, on_device[place.device] + place.addr, CHUNK);
                        }
                }
}

static void test_write(void **state) {
        static uint8_t got[DEVICE_SIZE];

        for (size_t l = 0; l < ELEMENTSOF(layouts); l++) {
                for (size_t i = 0; i < sizeof memory; i++)
                        memory[i] = (uint8_t) (random() >> 4);
                for (unsigned i = 0; i < SIZE / CHUNK; i++) {
                        Place place = layouts[l](i);
                        memcpy(on_device[place.device] + place.addr, memory + (size_t) i * CHUNK, CHUNK);
                }
                assert_int_equal(move(layouts[l], true, 0, SIZE / CHUNK), 0);
                for (unsigned i = 0; i < N_DEVICES; i++) {
                        assert_int_equal(pread(devices[i].fd, got, DEVICE_SIZE, 0), DEVICE_SIZE);
                        assert_memory_equal(got, on_device[i], DEVICE_SIZE);
                }
        }
        assert_true(devices[2].n_written > 0);
}

/* A device that has become smaller: the request fails, and what other devices hold is there. */
static void test_short(void **state) {
        assert_int_equal(ftruncate(devices[1].fd, 5 * CHUNK + 100), 0);
        memset(memory, 0, sizeof memory);
        assert_int_equal(move(striped, false, 0, 60), -EIO);
        for (unsigned i = 0; i < 60; i++) {
                Place place = striped(i);
                if (place.device != 1 || place.addr < 5 * (uint64_t) CHUNK)
                        assert_memory_equal(memory + (size_t) i * CHUNK, on_device[place.device] + place.addr, CHUNK);
        }
        assert_int_equal(move(striped, false, 0, 15), 0); /* the neighbours that end before it */
}

/* The same past the page cache: what is asked for once more is not taken for what is still under way. */
static void test_short_direct(void **state) {
        for (unsigned i = 0; i < N_DEVICES; i++)
                devices[i].direct_fd = fcntl(devices[i].fd, F_DUPFD_CLOEXEC, 3);
        for (unsigned i = 0; i < 20; i++) /* so that waiting awake pays */
                assert_int_equal(move(together, false, i, 1), 0);
        test_short(state);
}

/* A device that says no: its own error. */
static void test_error(void **state) {
        int old = devices[1].fd;

        devices[1].fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        assert_int_equal(move(striped, true, 0, 60), -EBADF);
        (void) fd_close(devices[1].fd);
        devices[1].fd = old;
        assert_int_equal(move(striped, true, 0, 60), 0);
}

/* ---- syncs ---------------------------------------------------------------------------------------------------------- */

static _Atomic unsigned n_synced;

static void *sync_device(void *userdata) {
        assert_int_equal(device_sync(&devices[0]), 0);
        n_synced++;
        return NULL;
}

static void *write_device(void *userdata) {
        assert_int_equal(move(backwards, true, 0, 2), 0);
        return NULL;
}

static pthread_t begin(void *(*what)(void *)) {
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, what, NULL), 0);
        return thread;
}

static int setup_sync(void **state) {
        (void) sem_init(&begun, 0, 0);
        (void) sem_init(&go, 0, 0);
        n_syncs = n_synced = 0;
        return setup(state);
}

static void test_sync(void **state) {
        assert_int_equal(device_sync(&devices[0]), 0);
        assert_int_equal(n_syncs, 0);
        for (unsigned i = 1; i < 4; i++) {
                (void) write_device(NULL);
                assert_int_equal(device_sync(&devices[0]), 0);
                assert_int_equal(device_sync(&devices[0]), 0);
                assert_int_equal(n_syncs, i);
        }
}

/* Who finds another at it is done when that one is, and not before. */
static void test_sync_together(void **state) {
        pthread_t first, second;

        (void) write_device(NULL);
        sync_waits = true;
        first = begin(sync_device);
        (void) sem_wait(&begun);
        second = begin(sync_device);
        (void) usleep(50000);
        assert_int_equal(n_synced, 0);
        sync_waits = false;
        (void) sem_post(&go);
        (void) pthread_join(first, NULL);
        (void) pthread_join(second, NULL);
        assert_int_equal(n_synced, 2);
        assert_int_equal(n_syncs, 1);
}

/* What was written while another was at it may not be on the media then. */
static void test_sync_behind(void **state) {
        pthread_t first, second;

        (void) write_device(NULL);
        sync_waits = true;
        first = begin(sync_device);
        (void) sem_wait(&begun);
        (void) write_device(NULL);
        second = begin(sync_device);
        (void) sem_post(&go);
        (void) sem_wait(&begun);
        assert_int_equal(n_syncs, 2);
        sync_waits = false;
        (void) sem_post(&go);
        (void) pthread_join(first, NULL);
        (void) pthread_join(second, NULL);
        assert_int_equal(n_syncs, 2);
}

/* A sync for somebody else during a write is none for that write. */
static void test_sync_during_write(void **state) {
        pthread_t writer;

        write_waits = true;
        writer = begin(write_device);
        (void) sem_wait(&begun);
        assert_int_equal(device_sync(&devices[0]), 0);
        write_waits = false;
        (void) sem_post(&go);
        (void) pthread_join(writer, NULL);
        n_syncs = 0;
        assert_int_equal(device_sync(&devices[0]), 0);
        assert_int_equal(n_syncs, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_read, setup, teardown),
                cmocka_unit_test_setup_teardown(test_write, setup, teardown),
                cmocka_unit_test_setup_teardown(test_short, setup, teardown),
                cmocka_unit_test_setup_teardown(test_short_direct, setup, teardown),
                cmocka_unit_test_setup_teardown(test_error, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sync, setup_sync, teardown),
                cmocka_unit_test_setup_teardown(test_sync_together, setup_sync, teardown),
                cmocka_unit_test_setup_teardown(test_sync_behind, setup_sync, teardown),
                cmocka_unit_test_setup_teardown(test_sync_during_write, setup_sync, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
