/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A session's threads, requests and replies. See session.h; FUSE_INIT is in session-init.c, when threads rest in session-rest.c. */

#define FUSE_USE_VERSION 312
#include "base/clock.h"
#include "session/session-private.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define WAKE_SIGNAL SIGUSR1
#define WAKE_MSEC 20
#define BUSY_USES 256 /* of a thread's buffer, from which on it is worth 2 MiB */
#define ALONE_MANY 16 /* times that nothing was waiting, after which it is only tried... */
#define ALONE_TRY 32  /* ...this seldom */

/* ---- making --------------------------------------------------------------------------------------------------------- */

static int copy_args(const struct fuse_args *from, struct fuse_args *to) {
        for (int i = 0; i < from->argc; i++)
                if (fuse_opt_add_arg(to, from->argv[i]) != 0)
                        return -ENOMEM;
        return 0;
}

int session_thread_init(Session *session, unsigned index) {
        SessionThread *thread = &session->threads[index];
        struct fuse_lowlevel_ops operations = session->operations;
        struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
        int r;

        if (index > 0) { /* once is enough */
                operations.init = NULL;
                operations.destroy = NULL;
        }
        *thread = (SessionThread){.session = session, .index = index, .device_fd = -EBADF};
        r = copy_args(&session->args, &args); /* libfuse takes out what it understands */
        if (r >= 0)
                thread->fuse = fuse_session_new(&args, &operations, session->operations_size, session->fuse_userdata);
        fuse_opt_free_args(&args);
        if (r < 0 || !thread->fuse)
                return r < 0 ? r : -EINVAL;
        thread->memory = mmap(NULL, 4096 + REQUEST_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        thread->buffer_memory = mmap(NULL, 2 * SESSION_BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (thread->memory == MAP_FAILED || thread->buffer_memory == MAP_FAILED)
                return -ENOMEM;
        thread->buffer = thread->buffer_memory + (-(uintptr_t) thread->buffer_memory & (SESSION_BUFFER_SIZE - 1));
        thread->request = thread->memory + 4096 - REQUEST_LEAD;
        return 0;
}

static void thread_done(SessionThread *thread) {
        if (thread->slot && thread->session->hooks.free_slot)
                thread->session->hooks.free_slot(thread->slot);
        if (thread->fuse)
                fuse_session_destroy(thread->fuse); /* closes its device */
        if (thread->memory && thread->memory != MAP_FAILED)
                (void) munmap(thread->memory, 4096 + REQUEST_MAX);
        if (thread->buffer_memory && thread->buffer_memory != MAP_FAILED)
                (void) munmap(thread->buffer_memory, 2 * SESSION_BUFFER_SIZE);
}

int session_new(const struct fuse_args *args, const struct fuse_lowlevel_ops *operations, size_t size, void *userdata,
                const SessionHooks *hooks, void *hook_userdata, Session **ret) {
        Session *session = calloc(1, sizeof *session);
        int r;

        if (!session)
                return -ENOMEM;
        session->hooks = *hooks;
        session->userdata = hook_userdata;
        session->operations_size = MIN_OF(size, sizeof session->operations);
        memcpy(&session->operations, operations, session->operations_size);
        session->fuse_userdata = userdata;
        r = copy_args(args, &session->args);
        if (r >= 0) {
                session->n_threads = 1;
                r = session_thread_init(session, 0);
        }
        if (r < 0) {
                session_free(session);
                return r;
        }
        *ret = session;
        return 0;
}

Session *session_free(Session *session) {
        if (!session)
                return NULL;
        for (unsigned i = session->n_threads; i-- > 0;)
                thread_done(&session->threads[i]);
        fuse_opt_free_args(&session->args);
        free(session);
        return NULL;
}

struct fuse_session *session_fuse(Session *session) {
        return session->threads[0].fuse;
}

unsigned session_n_threads(const Session *session) {
        return session->n_threads;
}

int session_add_clone(Session *session, int fd) {
        _cleanup_fd_ int device_fd = fd;
        struct fuse_init_out ignored;
        SessionThread *thread;
        char path[32];
        int r;

        if (session->n_threads >= SESSION_THREADS_MAX)
                return -ENFILE;
        r = session_thread_init(session, session->n_threads);
        thread = &session->threads[session->n_threads];
        if (r >= 0) {
                (void) snprintf(path, sizeof path, "/dev/fd/%d", device_fd);
                r = fuse_session_mount(thread->fuse, path) == 0 ? 0 : -EIO;
        }
        if (r >= 0) {
                thread->device_fd = TAKE_FD(device_fd); /* the session's now */
                r = session_replay_init(thread, &ignored);
        }
        if (r < 0) {
                thread_done(thread);
                *thread = (SessionThread){0};
                return r;
        }
        session->n_threads++;
        return 0;
}

/* ---- requests ------------------------------------------------------------------------------------------------------- */

void session_pass_request(SessionThread *thread, const struct fuse_in_header *header, size_t size) {
        struct fuse_buf buffer = {.size = sizeof *header + size, .mem = (void *) (uintptr_t) header};

        fuse_session_process_buf(thread->fuse, &buffer);
}

void session_pass(SessionThread *thread) {
        session_pass_request(thread, (const void *) thread->request, thread->request_size - sizeof(struct fuse_in_header));
}

#define KERNEL_ERROR_MAX 511 /* with a larger one the kernel refuses the answer, and whoever asked waits for ever */

static int send_packet(SessionThread *thread, uint64_t unique, int error, const struct iovec *data, size_t n_data) {
        struct fuse_out_header header = {.unique = unique, .error = error, .len = sizeof header};
        struct iovec vectors[8] = {{&header, sizeof header}};
        ssize_t n;

        for (size_t i = 0; i < n_data && i + 1 < ELEMENTSOF(vectors); i++) {
                vectors[i + 1] = data[i];
                header.len += (uint32_t) data[i].iov_len;
        }
        n = RET_NERRNO(writev(thread->device_fd, vectors, (int) n_data + 1));
        return n < 0 ? (int) n : 0;
}

int session_reply(SessionThread *thread, uint64_t unique, int error, const struct iovec *data, size_t n_data) {
        const int told = error <= 0 && error >= -KERNEL_ERROR_MAX ? error : -EIO;

        return send_packet(thread, unique, told, data, told < 0 ? 0 : n_data);
}

int session_notify(SessionThread *thread, int code, const void *data, size_t size) {
        const struct iovec vector = {(void *) data, size};

        return send_packet(thread, 0, code, &vector, 1);
}

int session_notify_any(Session *session, int code, const void *data, size_t size) {
        return session_notify(&session->threads[0], code, data, size);
}

/* Either ends() sees this one, or this sees that they end. */
bool session_needs_others(SessionThread *thread) {
        Session *session = thread->session;

        (void) atomic_fetch_add(&session->n_needing, 1);
        if (!session->stop)
                return true;
        session_needs_nobody(thread);
        return false;
}

void session_needs_nobody(SessionThread *thread) {
        (void) atomic_fetch_sub(&thread->session->n_needing, 1);
}

int session_notify_waiting(Session *session, int code, const void *data, size_t size) {
        SessionThread *thread = &session->threads[0];
        int r;

        if (!session_needs_others(thread))
                return -ECANCELED;
        r = session_notify(thread, code, data, size);
        session_needs_nobody(thread);
        return r;
}

static bool ends(Session *session) {
        return session->stop && atomic_load(&session->n_needing) == 0;
}

void session_stop(SessionThread *thread) {
        thread->session->stop = true; /* the thread wakes the others when it sees that */
}

/* A server that is used much gets one huge page: the kernel then pins and copies it in one piece. One that is not keeps to what it touches. */
void *session_buffer(SessionThread *thread) {
        if (thread->n_uses < BUSY_USES && ++thread->n_uses == BUSY_USES) {
                (void) madvise(thread->buffer, SESSION_BUFFER_SIZE, MADV_DONTNEED);
                (void) madvise(thread->buffer, SESSION_BUFFER_SIZE, MADV_HUGEPAGE);
        }
        return thread->buffer;
}

void **session_slot(SessionThread *thread) {
        return &thread->slot;
}

/* Returns whether the hook has kept it. */
static bool dispatch(SessionThread *thread) {
        Session *session = thread->session;
        struct fuse_in_header *header = (void *) thread->request;
        SessionTaken taken;

        if (header->opcode == FUSE_INTERRUPT) /* nothing here takes long enough; it may concern another thread's request */
                return false;
        taken = session->hooks.request(session->userdata, thread, header, header + 1, thread->request_size - sizeof *header);
        if (taken != SESSION_KEPT)
                session_rest_end(session);
        if (taken == SESSION_PASS)
                session_pass(thread);
        return taken == SESSION_KEPT;
}

/* 0: a request is there. -EAGAIN: none at the moment. */
static int receive(SessionThread *thread) {
        ssize_t n = RET_NERRNO(read(thread->device_fd, thread->request, REQUEST_MAX));

        if (n == -EINTR || n == -ENOENT) /* ENOENT: the request was interrupted as it was read */
                return -EINTR;
        if (n < 0)
                return (int) n;
        if (n < (ssize_t) sizeof(struct fuse_in_header))
                return -ENODEV;
        thread->request_size = (size_t) n;
        return 0;
}

int session_serve_one(Session *session) {
        SessionThread *thread = &session->threads[0];
        int r;

        if (session->stop)
                return -ENODEV;
        do
                r = receive(thread);
        while (r == -EINTR && !session->stop);
        if (r < 0)
                return r;
        if (dispatch(thread))
                session->hooks.flush(session->userdata, thread);
        return 0;
}

static bool worth_trying(SessionThread *thread) {
        if (thread->n_alone < ALONE_MANY)
                return true;
        thread->n_alone++;
        return thread->n_alone % ALONE_TRY == 0;
}

/* A request was kept: those that are waiting behind it may be kept as well, and be done with it at the same time. Where there never
 * are any, this is not tried each time. */
static void gather(SessionThread *thread) {
        Session *session = thread->session;
        uint64_t started;
        unsigned n = 1;

        if (worth_trying(thread) && fd_set_nonblock(thread->device_fd, true) >= 0) {
                while (n < SESSION_KEPT_MAX && !session->stop) {
                        int r = receive(thread);
                        if (r == -EINTR)
                                continue;
                        if (r < 0) /* -ENODEV is found again */
                                break;
                        if (dispatch(thread))
                                n++;
                }
                (void) fd_set_nonblock(thread->device_fd, false);
                thread->n_alone = n > 1 ? 0 : thread->n_alone + 1;
        }
        started = n > 1 ? clock_nsec() : 0;
        session->hooks.flush(session->userdata, thread);
        if (n > 1)
                session_rest_begin(session, n, clock_nsec() - started);
}

static void *serve_thread(void *userdata) {
        SessionThread *thread = userdata;
        Session *session = thread->session;

        while (!ends(session) && !fuse_session_exited(thread->fuse)) {
                int r = session_rest(thread) ? -EAGAIN : receive(thread);
                if (r == -EINTR || r == -EAGAIN)
                        continue;
                if (r < 0) /* -ENODEV: unmounted */
                        break;
                if (dispatch(thread))
                        gather(thread);
        }
        session->stop = true;
        (void) pthread_kill(session->waiter, WAKE_SIGNAL);
        return NULL;
}

/* ---- serving -------------------------------------------------------------------------------------------------------- */

static void on_wake(int signal) {}

static int start_threads(Session *session, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                int r = -pthread_create(&session->threads[i].thread, NULL, serve_thread, &session->threads[i]);
                if (r < 0 && i == 0)
                        return r;
                if (r < 0)
                        break;
                session->threads[i].runs = true;
        }
        return 0;
}

/* A thread that waits in read(2) is woken by a signal, again until it has seen it and no other needs it. */
static void end_threads(Session *session) {
        session->stop = true;
        for (unsigned i = 0; i < session->n_threads; i++) {
                SessionThread *thread = &session->threads[i];
                while (thread->runs) {
                        struct timespec until;
                        (void) pthread_kill(thread->thread, WAKE_SIGNAL);
                        (void) clock_gettime(CLOCK_REALTIME, &until);
                        until.tv_nsec += WAKE_MSEC * 1000000L;
                        until.tv_sec += until.tv_nsec / 1000000000L;
                        until.tv_nsec %= 1000000000L;
                        thread->runs = pthread_timedjoin_np(thread->thread, NULL, &until) != 0;
                }
        }
}

int session_serve(Session *session, unsigned n_threads) {
        const struct sigaction wake = {.sa_handler = on_wake}, ignore = {.sa_handler = SIG_IGN};
        sigset_t ends, wakes, old;
        int r, signal = 0;

        (void) sigemptyset(&ends);
        (void) sigemptyset(&wakes);
        for (size_t i = 0; i < 3; i++)
                (void) sigaddset(&ends, (const int[]){SIGTERM, SIGINT, SIGHUP}[i]);
        (void) sigaddset(&wakes, WAKE_SIGNAL);
        (void) sigaction(SIGPIPE, &ignore, NULL);
        (void) sigaction(WAKE_SIGNAL, &wake, NULL);
        (void) pthread_sigmask(SIG_BLOCK, &ends, &old); /* inherited: only this thread takes them, below */
        session->waiter = pthread_self();
        session->n_awake = session_processors();
        r = start_threads(session, n_threads < 1 ? 1 : MIN_OF(n_threads, session->n_threads));
        if (r >= 0) {
                (void) pthread_sigmask(SIG_BLOCK, &wakes, NULL);
                (void) sigaddset(&ends, WAKE_SIGNAL);
                while (!session->stop && (r = RET_NERRNO(sigwaitinfo(&ends, NULL))) == -EINTR)
                        ;
                signal = r;
                end_threads(session);
                (void) pthread_sigmask(SIG_UNBLOCK, &wakes, NULL);
        }
        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
        return signal > 0 || session->stop ? 0 : r;
}
