/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The caller's identity comes from a connection to the control socket, and from nothing else. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "broker/identity.h"

static char directory[] = "/tmp/fused-test-XXXXXX";
static char path[64];

static int make_pair(const char *name, int *ret_client, int *ret_listener) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        strncpy(address.sun_path, name, sizeof address.sun_path - 1);
        *ret_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        *ret_client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(*ret_listener, (struct sockaddr *) &address, sizeof address), 0);
        assert_int_equal(listen(*ret_listener, 1), 0);
        assert_int_equal(connect(*ret_client, (struct sockaddr *) &address, sizeof address), 0);
        return accept4(*ret_listener, NULL, NULL, SOCK_CLOEXEC);
}

static void test_control_connection(void **state) {
        _cleanup_(identity_done) Identity identity = IDENTITY_NULL;
        _cleanup_fd_ int client = -EBADF, listener = -EBADF, server = -EBADF;

        server = make_pair(path, &client, &listener);
        assert_int_equal(identity_from_socket(server, path, &identity), 0);
        assert_int_equal(identity.uid, getuid());
        assert_int_equal(identity.gid, getgid());
        assert_int_equal(identity.n_groups, getgroups(0, NULL));
        /* the neighbour: the very same connection is refused when the control socket is another */
        assert_int_equal(identity_from_socket(server, "/run/other/control", &identity), -EPERM);
        /* and the listening socket itself is nobody's connection */
        assert_true(identity_from_socket(client, path, &identity) < 0);
        unlink(path);
}

static void test_forged(void **state) {
        Identity identity = IDENTITY_NULL;
        _cleanup_fd_ int file = open(path, 0), a = -EBADF, b = -EBADF;
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        a = pair[0];
        b = pair[1];
        assert_int_equal(identity_from_socket(a, path, &identity), -EPERM);
        assert_int_equal(identity_from_socket(STDERR_FILENO + 100, path, &identity), -EBADF);
        _cleanup_fd_ int inet = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (inet >= 0)
                assert_int_equal(identity_from_socket(inet, path, &identity), -EPERM);
        int pipe_fds[2];
        assert_int_equal(pipe(pipe_fds), 0);
        assert_int_equal(identity_from_socket(pipe_fds[0], path, &identity), -ENOTSOCK);
        fd_close_many(pipe_fds, 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_control_connection),
                cmocka_unit_test(test_forged),
        };
        int r;

        assert_non_null(mkdtemp(directory));
        snprintf(path, sizeof path, "%s/control", directory);
        r = cmocka_run_group_tests(tests, NULL, NULL);
        rmdir(directory);
        return r;
}
