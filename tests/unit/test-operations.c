/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The broker's one door: each operation in each state of a mount is either carried out, told that it comes too late, or a
 * violation; nothing else reaches a handler. The handlers are fakes that count. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>

#include "base/fd.h"
#include "broker/explain.h"
#include "broker/manager-link.h"
#include "broker/mount.h"
#include "broker/operations.h"

static unsigned n_handled;
static int last_error;
static unsigned n_replies;
static Mount *the_mount;

void mount_create(Broker *broker, const BrokerRequest *request, int *fds) { n_handled++; }
void explain(Broker *broker, const BrokerRequest *request, int *fds) { n_handled++; }
void mount_spawn(Mount *mount, const BrokerRequest *request) { n_handled++; }
void mount_send_file(Mount *mount, const BrokerRequest *request) { n_handled++; }
void mount_channel(Mount *mount, const BrokerRequest *request) { n_handled++; }
void mount_program(Mount *mount, const BrokerRequest *request) { n_handled++; }
void mount_program_attach(Mount *mount, const BrokerRequest *request) { n_handled++; }
void mount_clone(Mount *mount, const BrokerRequest *request) { n_handled++; }
void mount_pressure(Mount *mount, const BrokerRequest *request) { n_handled++; }
void mount_backing_socket(Mount *mount, const BrokerRequest *request) { n_handled++; }
void mount_backing(Mount *mount, const BrokerRequest *request) { n_handled++; }
void mount_do(Mount *mount, const BrokerRequest *request) { n_handled++; }
void mount_query(Mount *mount, const BrokerRequest *request) { n_handled++; }
void mount_request_end(Mount *mount, const BrokerRequest *request) { n_handled++; }

static bool mounts_first; /* hand-over fd on a kernel without synchronous INIT: the superblock, then the server */
bool mount_may_spawn(const Mount *mount) { return mounts_first == (mount->state == MOUNT_MOUNTING); }
bool mount_may_mount(const Mount *mount) { return mounts_first == (mount->state == MOUNT_CREATED); }

void manager_reply(Broker *broker, const BrokerRequest *request, BrokerReply *reply, const int *fds, size_t n_fds) {
        n_replies++;
        last_error = reply->error;
}

Mount *mount_find(Broker *broker, uint64_t mount_id) {
        return the_mount && the_mount->record.mount_id == mount_id ? the_mount : NULL;
}

static BrokerRequest request_of(BrokerOperation operation) {
        BrokerRequest request = {.magic = BROKER_MAGIC, .operation = operation, .serial = 1};

        if (operation != BROKER_CREATE && operation != BROKER_EXPLAIN)
                request.mount_id = 7;
        if (operation == BROKER_SEND_FILE) {
                strcpy(request.send_file.path, "fusedev");
                request.send_file.path_size = 8;
        }
        return request;
}

static int dispatch(const BrokerRequest *request, size_t size, size_t n_fds) {
        Broker broker = {.next_mount_id = 7};
        int fds[BROKER_FDS_MAX];
        const char *what = NULL;
        int r;

        n_handled = n_replies = 0;
        fd_fill(fds, ELEMENTSOF(fds));
        r = operation_dispatch(&broker, request, size, fds, n_fds, &what);
        assert_true((r < 0) == (what != NULL));
        return r;
}

static int dispatch_good(BrokerOperation operation) {
        BrokerRequest request = request_of(operation);

        return dispatch(&request, broker_request_size(operation), broker_request_n_fds(&request));
}

/* The table of DESIGN's "state in which each is permitted", written a second time and independently. */
static const char *const permitted[_BROKER_OPERATION_MAX][2] = {
        /* creating created spawned mounting live; and the same for mounts_first */
        [BROKER_SPAWN] = {"-x---", "---x-"},
        [BROKER_SEND_FILE] = {"--xxx", "--xxx"},
        [BROKER_MOUNT] = {"--x--", "-x---"},
        [BROKER_END] = {"xxxxx", "xxxxx"},
        [BROKER_QUERY] = {"xxxxx", "xxxxx"},
        [BROKER_CHANNEL] = {"--x--", "--x--"},
        [BROKER_PROGRAM] = {"--xxx", "--xxx"},
        [BROKER_ATTACH] = {"---xx", "---xx"},
        [BROKER_CLONE] = {"---xx", "---xx"},
        [BROKER_PRESSURE] = {"---xx", "---xx"},
        [BROKER_BACKING_SOCKET] = {"---xx", "---xx"},
        [BROKER_BACKING_OPEN] = {"---xx", "---xx"},
        [BROKER_BACKING_CLOSE] = {"---xx", "---xx"},
};

static void test_each_operation_in_each_state(void **state) {
        for (int i = 0; i < 2 * _BROKER_OPERATION_MAX; i++) {
                int operation = i / 2;
                mounts_first = i % 2;
                if (!permitted[operation][0])
                        continue;
                for (int s = MOUNT_CREATING; s < MOUNT_ENDING; s++) {
                        Mount mount = {.state = (MountState) s, .record.mount_id = 7};
                        the_mount = &mount;
                        if (permitted[operation][i % 2][s] == 'x') {
                                assert_int_equal(dispatch_good((BrokerOperation) operation), 0);
                                assert_int_equal(n_handled, 1);
                        } else {
                                assert_int_equal(dispatch_good((BrokerOperation) operation), -EBADMSG);
                                assert_int_equal(n_handled, 0);
                        }
                }
        }
        mounts_first = false;
}

static void test_too_late_is_no_violation(void **state) {
        Mount mount = {.state = MOUNT_ENDING, .record.mount_id = 7};

        for (int gone = 0; gone < 2; gone++) {
                the_mount = gone ? NULL : &mount;
                for (int operation = 0; operation < _BROKER_OPERATION_MAX; operation++) {
                        if (!permitted[operation][0])
                                continue;
                        assert_int_equal(dispatch_good((BrokerOperation) operation), 0);
                        assert_int_equal(n_handled, 0);
                        assert_int_equal(n_replies, 1);
                        assert_int_equal(last_error, -ESHUTDOWN);
                }
        }
}

static void test_shape(void **state) {
        Mount mount = {.state = MOUNT_SPAWNED, .record.mount_id = 7};
        BrokerRequest request;
        size_t size;

        the_mount = &mount;
        for (int operation = 0; operation < _BROKER_OPERATION_MAX; operation++) {
                request = request_of((BrokerOperation) operation);
                size = broker_request_size((uint32_t) operation);
                size_t n_fds = broker_request_n_fds(&request);
                assert_int_equal(dispatch(&request, size - 1, n_fds), -EBADMSG);
                assert_int_equal(dispatch(&request, size + 1, n_fds), -EBADMSG);
                assert_int_equal(dispatch(&request, size, n_fds + 1), -EBADMSG);
                request.magic++;
                assert_int_equal(dispatch(&request, size, n_fds), -EBADMSG);
        }
        request = request_of(BROKER_QUERY);
        request.operation = _BROKER_OPERATION_MAX;
        assert_int_equal(dispatch(&request, broker_request_size(BROKER_QUERY), 0), -EBADMSG);
        request = request_of(BROKER_QUERY);
        request.mount_id = 8; /* never given out */
        assert_int_equal(dispatch(&request, broker_request_size(BROKER_QUERY), 0), -EBADMSG);
        request = request_of(BROKER_ATTACH);
        memset(request.attach.name, 'x', sizeof request.attach.name);
        assert_int_equal(dispatch(&request, broker_request_size(BROKER_ATTACH), 0), -EBADMSG);
        request = request_of(BROKER_MOUNT);
        memset(request.mount.fsname, 'x', sizeof request.mount.fsname); /* no NUL */
        assert_int_equal(dispatch(&request, broker_request_size(BROKER_MOUNT), 0), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_operation_in_each_state),
                cmocka_unit_test(test_too_late_is_no_violation),
                cmocka_unit_test(test_shape),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
