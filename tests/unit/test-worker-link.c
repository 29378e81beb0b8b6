/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The broker's end of workers: how many of a user's may be killed and not gone. Workers are fakes: children that wait to be killed, and are
 * gone for the broker when its event loop has run. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "broker/worker-link.h"

#define HANGING_MAX 32
#define ALICE 1001
#define BOB 1002
#define LONG (60 * USEC_PER_SEC)

static Broker broker;
static unsigned n_gone, n_reports;

int worker_start(const WorkerJob *job, pid_t *ret_pid, int *ret_socket) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        *ret_pid = fork();
        assert_true(*ret_pid >= 0);
        if (*ret_pid == 0)
                for (;;)
                        (void) pause();
        (void) close(pair[1]);
        *ret_socket = pair[0];
        return 0;
}

static void on_report(const WorkerReport *report, int *fds, size_t n_fds, void *userdata) {
        n_reports++;
}

static void on_gone(const WorkerReport *mounted, void *userdata) {
        assert_null(mounted);
        assert_ptr_equal(userdata, &broker);
        n_gone++;
}

static int start(uid_t user, WorkerLink **ret) {
        const WorkerJob job = {.user = user};

        return worker_link_new(&broker, &job, LONG, on_report, &broker, ret);
}

static void run(void) {
        while (sd_event_run(broker.event, 300000) > 0) /* until nothing comes any more */
                ;
}

static int set_up(void **state) {
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD);
        assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
        broker = (Broker){0};
        n_gone = n_reports = 0;
        return sd_event_new(&broker.event) < 0;
}

static int tear_down(void **state) {
        run();
        assert_null(broker.workers);
        broker.event = sd_event_unref(broker.event);
        return waitpid(-1, NULL, WNOHANG) >= 0; /* no child is left */
}

static void test_hanging(void **state) {
        WorkerLink *link, *alive;

        assert_int_equal(start(ALICE, &alive), 0); /* one that is not killed does not count */
        for (unsigned i = 0; i < HANGING_MAX; i++) {
                assert_int_equal(start(ALICE, &link), 0);
                assert_null(worker_link_cancel(link));
        }
        assert_int_equal(start(ALICE, &link), -EBUSY);
        assert_int_equal(start(BOB, &link), 0);
        assert_null(worker_link_cancel(link));
        assert_int_equal(start((uid_t) -1, &link), 0); /* what has to be, as unmounting */
        assert_null(worker_link_cancel(link));
        run();
        assert_int_equal(start(ALICE, &link), 0);
        assert_null(worker_link_cancel(link));
        assert_null(worker_link_cancel(alive));
        assert_int_equal(n_reports, 0);
}

static void test_end(void **state) {
        WorkerLink *link;

        assert_int_equal(start(ALICE, &link), 0);
        worker_link_end(link, on_gone);
        assert_int_equal(n_gone, 0);
        run();
        assert_int_equal(n_gone, 1);
        assert_int_equal(n_reports, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_hanging, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_end, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
