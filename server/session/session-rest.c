/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* More threads than processors are good for requests that take long, and bad for small ones from a device that answers at once: each of them wakes
 * another thread, which finds just that one, where fewer threads would find many and have them moved together. So while there are such,
 * the threads beyond one for each processor rest: until another kind of request comes, or for a moment at most, as those that are awake
 * may have come to wait for something. */

#define FUSE_USE_VERSION 312
#include "session/session-private.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FAST_NSEC 20000
#define REST_NSEC 5000000

unsigned session_processors(void) {
        cpu_set_t set;

        return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned) CPU_COUNT(&set) : SESSION_THREADS_MAX;
}

void session_rest_end(Session *session) {
        if (atomic_load_explicit(&session->resting, memory_order_relaxed) == 0)
                return;
        atomic_store(&session->resting, 0);
        (void) syscall(SYS_futex, &session->resting, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void session_rest_begin(Session *session, unsigned n, uint64_t nsec) {
        if (nsec / n < FAST_NSEC && session->n_awake < session->n_threads && atomic_load_explicit(&session->resting, memory_order_relaxed) == 0)
                atomic_store(&session->resting, 1);
}

bool session_rest(SessionThread *thread) {
        static const struct timespec limit = {.tv_nsec = REST_NSEC};
        Session *session = thread->session;
        int r;

        if (thread->index < session->n_awake || atomic_load(&session->resting) == 0)
                return false;
        r = RET_NERRNO((int) syscall(SYS_futex, &session->resting, FUTEX_WAIT_PRIVATE, 1U, &limit, NULL, 0));
        if (r < 0 && r != -EAGAIN && r != -EINTR) /* -ETIMEDOUT */
                session_rest_end(session);
        return true;
}
