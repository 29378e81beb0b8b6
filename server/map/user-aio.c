/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: the kernel's asynchronous I/O, a context for each thread, and waiting for it awake.
 *
 * A device in memory answers sooner than a processor that has gone to sleep wakes up (a virtual one above all, which leaves the machine for
 * it). So a thread that has sent a small request looks for the answer for a moment before it sleeps, in the ring that the kernel shares
 * with it. Where that finds nothing it soon stops: then it is tried again only now and then. */

#define FUSE_USE_VERSION 312
#include "base/clock.h"
#include "map/user.h"

#include <sys/syscall.h>
#include <unistd.h>

#define RING_MAGIC 0xa10a10a1U
#define SPIN_NSEC 20000
#define LOOKS 32       /* between two looks at the clock */
#define CREDIT_MAX 16  /* a miss costs... */
#define CREDIT_MISS 4  /* ...as much as so many hits bring */
#define PAUSE 1024     /* requests, after which it is tried again */

/* Kernel: struct aio_ring of fs/aio.c, mapped at the address that is the context's id. The kernel moves tail, who takes events moves head. */
typedef struct Ring {
        unsigned id, nr;
        _Atomic unsigned head, tail;
        unsigned magic, compat_features, incompat_features, header_length;
        struct io_event events[];
} Ring;

static __thread aio_context_t context; /* for the life of the thread */
static __thread int context_error;
static __thread int credit;   /* below 0: so many requests until the next try */

bool aio_ready(void) {
        if (!context && !context_error)
                context_error = RET_NERRNO((int) syscall(SYS_io_setup, SEGMENTS_MAX, &context));
        return context != 0;
}

long aio_submit(struct iocb **blocks, long n) {
        return RET_NERRNO(syscall(SYS_io_submit, context, n, blocks));
}

long aio_wait(struct io_event *events, long n) {
        long r;

        do
                r = RET_NERRNO(syscall(SYS_io_getevents, context, 1L, n, events, NULL));
        while (r == -EINTR);
        if (r < 0)
                abort(); /* memory is lent to the kernel, and nothing tells when it is done with it */
        return r;
}

static void pause_processor(void) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
}

static bool take(Ring *ring, struct io_event *ret) {
        unsigned head = atomic_load_explicit(&ring->head, memory_order_relaxed);

        if (head == atomic_load_explicit(&ring->tail, memory_order_acquire))
                return false;
        *ret = ring->events[head];
        atomic_store_explicit(&ring->head, (head + 1) % ring->nr, memory_order_release);
        return true;
}

bool aio_spin_pays(void) {
        Ring *ring;

        if (credit < 0 && ++credit < 0)
                return false;
        if (!aio_ready())
                return false;
        ring = (Ring *) (uintptr_t) context;
        return ring->magic == RING_MAGIC && ring->incompat_features == 0 && ring->header_length == offsetof(Ring, events);
}

void aio_wait_awake(struct io_event *ret) {
        Ring *ring = (Ring *) (uintptr_t) context;
        const uint64_t until = clock_nsec() + SPIN_NSEC;

        do
                for (unsigned i = 0; i < LOOKS; i++) {
                        if (take(ring, ret)) {
                                credit = MIN_OF(credit + 1, CREDIT_MAX);
                                return;
                        }
                        pause_processor();
                }
        while (clock_nsec() < until);
        credit -= CREDIT_MISS;
        if (credit < 0)
                credit = -PAUSE;
        (void) aio_wait(ret, 1);
}
