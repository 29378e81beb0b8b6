/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A session over a socket pair whose other end plays the kernel: FUSE_INIT as libfuse and the hook answer it together, requests passed on, taken
 * and kept, clones, the end. */

#define FUSE_USE_VERSION 312
#include "session/session-private.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"

typedef struct World {
        Session *session;
        int kernel; /* our end */
        unsigned n_init, n_getattr, n_flush, n_kept;
        uint64_t offered;
        uint64_t kept[8];
} World;

static World world;

static void on_fuse_init(void *userdata, struct fuse_conn_info *connection) {
        world.n_init++;
        connection->want &= ~(unsigned) FUSE_CAP_READDIRPLUS;
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        const struct stat st = {.st_ino = ino, .st_mode = S_IFDIR | 0700};

        world.n_getattr++;
        (void) fuse_reply_attr(req, &st, 1);
}

static void hook_init(void *userdata, const struct fuse_init_in *in, uint64_t offered, struct fuse_init_out *out) {
        World *w = userdata;

        w->offered = offered;
        out->flags2 |= (uint32_t) (ABI_PASSTHROUGH >> 32);
        out->flags |= FUSE_INIT_EXT;
        abi_set_max_stack_depth(out, 1);
}

static SessionTaken hook_request(void *userdata, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size) {
        World *w = userdata;

        if (header->opcode == FUSE_STATFS) {
                (void) session_reply(thread, header->unique, -ENOSYS, NULL, 0);
                return SESSION_DONE;
        }
        if (header->opcode == FUSE_GETXATTR) {
                int error;
                memcpy(&error, argument, sizeof error);
                (void) session_reply(thread, header->unique, error, NULL, 0);
                return SESSION_DONE;
        }
        if (header->opcode != FUSE_READ)
                return SESSION_PASS;
        w->kept[w->n_kept++] = header->unique;
        return SESSION_KEPT;
}

static void hook_flush(void *userdata, SessionThread *thread) {
        World *w = userdata;
        char data[] = "data";
        const struct iovec vector = {data, 4};

        w->n_flush++;
        for (unsigned i = 0; i < w->n_kept; i++)
                (void) session_reply(thread, w->kept[i], 0, &vector, 1);
        w->n_kept = 0;
}

static const SessionHooks hooks = {.init = hook_init, .request = hook_request, .flush = hook_flush};

static void ask(uint32_t opcode, uint64_t unique, const void *argument, size_t size) {
        char packet[256] = {0};
        const struct fuse_in_header header = {.len = (uint32_t) (sizeof header + size), .opcode = opcode, .unique = unique, .nodeid = 1};

        memcpy(packet, &header, sizeof header);
        if (size > 0)
                memcpy(packet + sizeof header, argument, size);
        assert_int_equal(send(world.kernel, packet, header.len, 0), header.len);
}

static ssize_t answer(struct fuse_out_header *header, void *data, size_t size) {
        char packet[1024];
        ssize_t n = recv(world.kernel, packet, sizeof packet, 0);

        assert_true(n >= (ssize_t) sizeof *header);
        memcpy(header, packet, sizeof *header);
        assert_int_equal(header->len, n);
        memcpy(data, packet + sizeof *header, (size_t) n - sizeof *header < size ? (size_t) n - sizeof *header : size);
        return n - (ssize_t) sizeof *header;
}

static void start(void) {
        static const struct fuse_lowlevel_ops operations = {.init = on_fuse_init, .getattr = on_getattr};
        const struct fuse_init_in in = {.major = 7, .minor = 45, .max_readahead = 131072,
                                        .flags = ~(1U << 31), .flags2 = ~0U};
        struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
        struct fuse_out_header header;
        struct fuse_init_out out;
        char path[32];
        int pair[2];

        world = (World){0};
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        world.kernel = pair[0];
        assert_int_equal(fuse_opt_add_arg(&args, "test"), 0);
        assert_int_equal(session_new(&args, &operations, sizeof operations, NULL, &hooks, &world, &world.session), 0);
        fuse_opt_free_args(&args);
        (void) snprintf(path, sizeof path, "/dev/fd/%d", pair[1]);
        assert_int_equal(fuse_session_mount(session_fuse(world.session), path), 0);
        ask(FUSE_INIT, 2, &in, sizeof in);
        assert_int_equal(session_start(world.session), 0);
        assert_int_equal(answer(&header, &out, sizeof out), sizeof out);
        assert_int_equal(header.unique, 2);
        assert_int_equal(header.error, 0);
        assert_int_equal(out.major, 7);
        assert_true(out.max_write >= 131072);
        assert_false(out.flags & FUSE_DO_READDIRPLUS); /* what the server said to libfuse counts... */
        assert_true(out.flags2 & (uint32_t) (ABI_PASSTHROUGH >> 32)); /* ...and what libfuse does not know is there */
        assert_int_equal(abi_max_stack_depth(&out), 1);
        assert_true(world.offered & ABI_PASSTHROUGH);
        assert_int_equal(world.n_init, 1);
        char rest;
        assert_int_equal(recv(world.kernel, &rest, 1, MSG_DONTWAIT), -1); /* there is no second answer */
}

static void *serve(void *userdata) {
        return (void *) (intptr_t) session_serve(world.session, 1);
}

static void stop(pthread_t thread) {
        void *result;

        (void) shutdown(world.kernel, SHUT_RDWR); /* the session reads an end, as of a mount that is gone */
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_int_equal((intptr_t) result, 0);
        world.session = session_free(world.session);
        (void) fd_close(world.kernel);
}

static void test_requests(void **state) {
        const struct fuse_getattr_in in = {0};
        const struct fuse_read_in read_in = {.size = 4};
        struct fuse_out_header header;
        struct fuse_attr_out attr;
        pthread_t thread;
        char data[8];

        start();
        assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
        ask(FUSE_GETATTR, 4, &in, sizeof in); /* libfuse's */
        assert_int_equal(answer(&header, &attr, sizeof attr), sizeof attr);
        assert_int_equal(header.unique, 4);
        assert_int_equal(attr.attr.ino, 1);
        assert_int_equal(world.n_getattr, 1);
        ask(FUSE_STATFS, 6, NULL, 0); /* ours */
        assert_int_equal(answer(&header, data, sizeof data), 0);
        assert_int_equal(header.error, -ENOSYS);
        ask(FUSE_INTERRUPT, 7, &in, 8); /* nobody's */
        for (uint64_t i = 0; i < 3; i++) /* kept, and all answered */
                ask(FUSE_READ, 10 + i, &read_in, sizeof read_in);
        for (uint64_t i = 0; i < 3; i++) {
                assert_int_equal(answer(&header, data, sizeof data), 4);
                assert_int_equal(header.unique, 10 + i);
                assert_memory_equal(data, "data", 4);
        }
        assert_true(world.n_flush >= 1 && world.n_flush <= 3);
        stop(thread);
}

/* Another descriptor, another session of libfuse, which knows what was agreed and tells the server nothing again. */
static void test_clone(void **state) {
        pthread_t thread;
        int pair[2];

        start();
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(session_add_clone(world.session, pair[1]), 0);
        assert_int_equal(session_n_threads(world.session), 2);
        assert_int_equal(world.n_init, 1);
        char rest;
        assert_int_equal(recv(pair[0], &rest, 1, MSG_DONTWAIT), -1); /* the kernel hears nothing of it */
        assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
        stop(thread);
        (void) fd_close(pair[0]);
}

/* The kernel knows errors up to 511; with any other it would refuse the answer, and nobody be told. */
static void test_errors(void **state) {
        static const struct {
                int error, told;
        } rows[] = {{0, 0}, {-1, -1}, {-ENOTSUP, -ENOTSUP}, {-511, -511}, {-512, -EIO}, {-600, -EIO}, {INT32_MIN, -EIO},
                     {1, -EIO}, {EIO, -EIO}};
        struct fuse_out_header header;
        pthread_t thread;
        char data[8];

        start();
        assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                ask(FUSE_GETXATTR, 10 + i, &rows[i].error, sizeof rows[i].error);
                assert_int_equal(answer(&header, data, sizeof data), 0);
                assert_int_equal(header.error, rows[i].told);
        }
        assert_int_equal(session_notify(&world.session->threads[0], FUSE_NOTIFY_INVAL_INODE, data, sizeof data), 0);
        assert_int_equal(answer(&header, data, sizeof data), sizeof data);
        assert_int_equal(header.unique, 0);
        assert_int_equal(header.error, FUSE_NOTIFY_INVAL_INODE); /* its code */
        stop(thread);
}

static void test_bad_init(void **state) {
        static const struct fuse_lowlevel_ops operations = {.init = on_fuse_init};
        struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
        char path[32];
        int pair[2];

        world = (World){0};
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        world.kernel = pair[0];
        assert_int_equal(fuse_opt_add_arg(&args, "test"), 0);
        assert_int_equal(session_new(&args, &operations, sizeof operations, NULL, &hooks, &world, &world.session), 0);
        fuse_opt_free_args(&args);
        (void) snprintf(path, sizeof path, "/dev/fd/%d", pair[1]);
        assert_int_equal(fuse_session_mount(session_fuse(world.session), path), 0);
        ask(FUSE_GETATTR, 2, path, 16);
        assert_int_equal(session_start(world.session), -EPROTO);
        world.session = session_free(world.session);
        (void) fd_close(world.kernel);
}

/* Threads beyond the processors rest while small requests are answered at once, and never longer than a moment. */
static void test_rest(void **state) {
        Session *session = calloc(1, sizeof *session);

        session->n_threads = 3;
        session->n_awake = 2;
        for (unsigned i = 0; i < 3; i++)
                session->threads[i] = (SessionThread){.session = session, .index = i};
        assert_false(session_rest(&session->threads[2]));
        session_rest_begin(session, 4, 4 * 1000000); /* a slow device */
        assert_false(session_rest(&session->threads[2]));
        session_rest_begin(session, 4, 4 * 1000);
        assert_false(session_rest(&session->threads[0]));
        assert_false(session_rest(&session->threads[1]));
        assert_true(session_rest(&session->threads[2])); /* for a moment: it may be needed */
        assert_false(session_rest(&session->threads[2]));
        session_rest_begin(session, 4, 4 * 1000);
        session_rest_end(session); /* another kind of request */
        assert_false(session_rest(&session->threads[2]));
        session->n_awake = 3; /* processors enough */
        session_rest_begin(session, 4, 4 * 1000);
        session->n_awake = 2;
        assert_false(session_rest(&session->threads[2]));
        assert_in_range(session_processors(), 1, 100000);
        free(session);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_requests), cmocka_unit_test(test_clone), cmocka_unit_test(test_errors),
                                           cmocka_unit_test(test_bad_init), cmocka_unit_test(test_rest)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
