/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: requests that wait until the kernel has written back what it caches, which takes as long as the test wants. Two threads, or
 * three: one on the model's socket, the others on some that stand for clones of the device. */

#define FUSE_USE_VERSION 312
#include <semaphore.h>
#include <signal.h>
#include <string.h>

#include "map/user.h"
#include "unit/kernel-world.h"

#define BLOCK 4096U
#define FIRST_UNIQUE 1000U

int __wrap_channel_clone(Channel *channel, int *ret_fd);
int __wrap_session_notify(SessionThread *thread, int code, const void *data, size_t size);

static int clone_fd = -EBADF, second_fd = -EBADF; /* our ends */
static bool no_clones, two_clones;
static sem_t flushes, gate;   /* one for each that has begun; one for each that may end */
static uint64_t flushed[16];  /* nodes */
static unsigned n_flushed;

int __wrap_channel_clone(Channel *channel, int *ret_fd) {
        int pair[2], *ours = clone_fd < 0 ? &clone_fd : &second_fd;

        if (no_clones || *ours >= 0 || (ours == &second_fd && !two_clones))
                return -ENFILE;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        *ours = pair[0];
        *ret_fd = pair[1];
        return 0;
}

int __wrap_session_notify(SessionThread *thread, int code, const void *data, size_t size) {
        const struct fuse_notify_inval_inode_out *notice = data;

        assert_int_equal(code, FUSE_NOTIFY_INVAL_INODE);
        flushed[n_flushed++ % ELEMENTSOF(flushed)] = notice->ino;
        (void) sem_post(&flushes);
        (void) sem_wait(&gate);
        return 0;
}

static World *start(void) {
        static const RamfsConfig plain = {.block_size = BLOCK};
        World *world;

        (void) sem_init(&flushes, 0, 0);
        (void) sem_init(&gate, 0, 0);
        n_flushed = 0;
        world = world_new(&plain, &stock, /* devices= */ false, 0);
        assert_int_equal(clone_fd >= 0, !no_clones); /* before FUSE_INIT is answered */
        return world;
}

static void stop(World *world) {
        assert_int_equal(world_free(world), 0);
        clone_fd = fd_close(clone_fd);
        second_fd = fd_close(second_fd);
}

static void let_pass(unsigned n) {
        for (unsigned i = 0; i < n; i++)
                (void) sem_post(&gate);
}

static void ask(int fd, uint32_t opcode, uint64_t unique, uint64_t nodeid, const void *in, size_t size) {
        char packet[256];
        const struct fuse_in_header header = {.len = (uint32_t) (sizeof header + size), .opcode = opcode, .unique = unique, .nodeid = nodeid};

        memcpy(packet, &header, sizeof header);
        memcpy(packet + sizeof header, in, size);
        assert_int_equal(send(fd, packet, header.len, 0), header.len);
}

/* Past the end, with O_DIRECT. */
static void ask_read(int fd, uint64_t unique, uint64_t nodeid) {
        const struct fuse_read_in in = {.size = BLOCK, .read_flags = FUSE_READ_LOCKOWNER, .flags = O_RDWR | O_DIRECT};

        ask(fd, FUSE_READ, unique, nodeid, &in, sizeof in);
}

static void ask_hole(int fd, uint64_t unique, uint64_t nodeid) {
        const struct fuse_lseek_in in = {.whence = SEEK_HOLE};

        ask(fd, FUSE_LSEEK, unique, nodeid, &in, sizeof in);
}

static void expect(int fd, uint64_t unique, int error) {
        char packet[256];
        struct fuse_out_header header;

        assert_true(recv(fd, packet, sizeof packet, 0) >= (ssize_t) sizeof header);
        memcpy(&header, packet, sizeof header);
        assert_int_equal(header.unique, unique);
        assert_int_equal(header.error, error);
}

/* Everything that was sent there has been read. */
static void expect_read(int fd, uint64_t nodeid) {
        const struct fuse_getattr_in in = {0};

        ask(fd, FUSE_GETATTR, 999, nodeid, &in, sizeof in);
        expect(fd, 999, 0);
}

static void expect_silence(int fd) {
        char packet[256];

        assert_int_equal(recv(fd, packet, sizeof packet, MSG_DONTWAIT), -1);
}

/* As many reads as cannot do harm wait; the others are told at once. One flush answers all that were there before it. */
static void test_reads(void **state) {
        World *world = start();
        const unsigned most = world->ramfs.map->flush.reads_max;
        ModelInode *inode = model_create(&world->model, "file");
        const int fd = world->model.fd;

        assert_in_range(most, 1, USER_BACKGROUND - 1);
        for (unsigned round = 0; round < 2; round++) { /* nothing is left of the first */
                ask_read(clone_fd, FIRST_UNIQUE, inode->nodeid);
                (void) sem_wait(&flushes);
                for (unsigned i = 1; i < most + 3; i++)
                        ask_read(fd, FIRST_UNIQUE + i, inode->nodeid);
                for (unsigned i = most; i < most + 3; i++)
                        expect(fd, FIRST_UNIQUE + i, -EAGAIN);
                ask_hole(fd, 1, inode->nodeid); /* nothing of the kernel's waits for it */
                expect_read(fd, inode->nodeid);
                expect_silence(clone_fd);
                let_pass(2);
                expect(clone_fd, FIRST_UNIQUE, 0);
                for (unsigned i = 1; i < most; i++)
                        expect(fd, FIRST_UNIQUE + i, 0);
                expect(fd, 1, -ENXIO);
                assert_int_equal(n_flushed, 2 * (round + 1));
                (void) sem_wait(&flushes);
        }
        stop(world);
}

/* What came while a flush was under way may be about what was written meanwhile; and each file is flushed for itself. */
static void test_files(void **state) {
        World *world = start();
        const uint64_t a = model_create(&world->model, "a")->nodeid, b = model_create(&world->model, "b")->nodeid;
        const int fd = world->model.fd;

        ask_read(clone_fd, 10, a);
        (void) sem_wait(&flushes);
        ask_read(fd, 11, b);
        ask_read(fd, 12, a);
        ask_read(fd, 13, b);
        ask_hole(fd, 14, a);
        expect_read(fd, a);
        let_pass(1);
        expect(clone_fd, 10, 0);
        (void) sem_wait(&flushes);
        expect_silence(fd);
        let_pass(1);
        expect(fd, 11, 0);
        expect(fd, 13, 0);
        (void) sem_wait(&flushes);
        expect_silence(fd);
        let_pass(1);
        expect(fd, 12, 0);
        expect(fd, 14, -ENXIO);
        assert_int_equal(n_flushed, 3);
        assert_int_equal(flushed[0], a);
        assert_int_equal(flushed[1], b);
        assert_int_equal(flushed[2], a);
        stop(world);
}

/* A search takes long: other files' reads do not wait for it, while a thread is left for what the kernel writes back. */
static void test_search(void **state) {
        two_clones = true;
        World *world = start();
        const uint64_t a = model_create(&world->model, "a")->nodeid, b = model_create(&world->model, "b")->nodeid;
        MapFile *file = map_file_get(world->ramfs.map->files, a);
        const int fd = world->model.fd;

        assert_int_equal(pthread_rwlock_wrlock(&file->io), 0);
        ask_hole(clone_fd, 10, a);
        (void) sem_wait(&flushes);
        ask_read(fd, 11, b); /* of a time when nobody else flushes */
        expect_read(fd, b);
        let_pass(2);
        (void) sem_wait(&flushes);
        expect(fd, 11, 0);
        for (unsigned i = 0; i < 20; i++) {
                ask_read(fd, 12 + i, b);
                (void) sem_wait(&flushes);
                let_pass(1);
                expect(fd, 12 + i, 0);
        }
        ask_hole(fd, 40, a);
        (void) sem_wait(&flushes);
        let_pass(1);
        (void) usleep(50000); /* both of them search */
        ask_read(second_fd, 41, b);
        expect_read(second_fd, b);
        expect_silence(clone_fd);
        expect_silence(fd);
        assert_int_equal(n_flushed, 23);
        (void) pthread_rwlock_unlock(&file->io);
        expect(clone_fd, 10, -ENXIO);
        expect(fd, 40, -ENXIO);
        (void) sem_wait(&flushes);
        let_pass(1);
        expect(second_fd, 41, 0);
        map_file_unref(file);
        stop(world);
        two_clones = false;
}

/* The kernel has something to write back in every mode but one: without its write-back cache, what was written by mmap(2). */
static void test_seek(void **state) {
        World *world = start();
        const uint64_t nodeid = model_create(&world->model, "file")->nodeid;

        let_pass(2);
        ask_hole(clone_fd, 10, nodeid);
        expect(clone_fd, 10, -ENXIO);
        assert_int_equal(n_flushed, 1);
        world->ramfs.map->config.no_writeback = true;
        ask_hole(clone_fd, 11, nodeid);
        expect(clone_fd, 11, -ENXIO);
        assert_int_equal(n_flushed, 2);
        world->ramfs.map->config.read_only = true;
        ask_hole(clone_fd, 12, nodeid);
        expect(clone_fd, 12, -ENXIO);
        assert_int_equal(n_flushed, 2);
        stop(world);
}

/* Without a second thread nothing can be written back while one waits for it: nothing is kept, then. */
static void test_alone(void **state) {
        World *world = start();

        assert_true(world->model.init.flags & FUSE_WRITEBACK_CACHE);
        stop(world);
        no_clones = true;
        world = start();
        const uint64_t nodeid = model_create(&world->model, "file")->nodeid;
        assert_false(world->model.init.flags & FUSE_WRITEBACK_CACHE);
        ask_read(world->model.fd, 10, nodeid);
        expect(world->model.fd, 10, 0);
        ask_hole(world->model.fd, 11, nodeid);
        expect(world->model.fd, 11, -ENOSYS);
        assert_int_equal(n_flushed, 0);
        no_clones = false;
        stop(world);
}

/* A server that is told to end does so when the flush has: what the kernel writes is answered until then. No other is begun. */
static void test_end(void **state) {
        World *world = start();
        const uint64_t a = model_create(&world->model, "a")->nodeid, b = model_create(&world->model, "b")->nodeid;
        const int fd = world->model.fd;

        ask_read(clone_fd, 10, a);
        (void) sem_wait(&flushes);
        assert_int_equal(pthread_kill(world->thread, SIGTERM), 0);
        for (unsigned i = 0; i < 30; i++) {
                expect_read(fd, a);
                (void) usleep(10000);
        }
        ask_read(fd, 11, b);
        expect_read(fd, b);
        let_pass(2);
        expect(clone_fd, 10, 0);
        stop(world);
        assert_int_equal(n_flushed, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads), cmocka_unit_test(test_files), cmocka_unit_test(test_seek),
                                           cmocka_unit_test(test_alone), cmocka_unit_test(test_end), cmocka_unit_test(test_search)};
        sigset_t ends;

        (void) sigemptyset(&ends);
        (void) sigaddset(&ends, SIGTERM);
        (void) pthread_sigmask(SIG_BLOCK, &ends, NULL); /* the session waits for it */
        return cmocka_run_group_tests(tests, NULL, NULL);
}
