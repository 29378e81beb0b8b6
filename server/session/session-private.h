/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/fd.h"
#include "session/session.h"

/* Requests are read so that the data of a WRITE begins at a page: its header and argument go before that. */
#define REQUEST_LEAD (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define REQUEST_MAX (SESSION_DATA_MAX + 8192U)

struct SessionThread {
        Session *session;   /* borrowed */
        unsigned index;
        struct fuse_session *fuse; /* owned */
        int device_fd;      /* borrowed from fuse: closed by it */
        uint8_t *memory;    /* owned: one page, REQUEST_MAX for requests */
        uint8_t *request;   /* in memory */
        size_t request_size;
        uint8_t *buffer_memory; /* owned */
        uint8_t *buffer;    /* in buffer_memory, where a huge page can be */
        unsigned n_uses;    /* of the buffer, as far as is counted */
        void *slot;         /* the hook's */
        unsigned n_alone;   /* times in a row that no request was waiting behind one that was kept */
        pthread_t thread;
        bool runs;
};

struct Session {
        SessionHooks hooks;
        void *userdata;
        struct fuse_args args;               /* owned copy */
        struct fuse_lowlevel_ops operations; /* with init and destroy: for the first session only */
        size_t operations_size;
        void *fuse_userdata;
        SessionThread threads[SESSION_THREADS_MAX];
        unsigned n_threads;                  /* made; the first is there from the start */
        uint8_t init[256];                   /* the kernel's FUSE_INIT, for the sessions to come */
        size_t init_size;
        pthread_t waiter;                    /* in session_serve() */
        unsigned n_awake;                    /* threads that never rest: as many as there are processors */
        atomic_uint resting;                 /* session-rest.c: a futex, 1 or 0 */
        atomic_bool stop;
        atomic_uint n_needing;               /* threads that wait for what others answer: those go on until it is 0 */
};

/* Makes libfuse's session for this thread know what FUSE_INIT said, by letting it answer to a socket. *ret: its answer. */
int session_replay_init(SessionThread *thread, struct fuse_init_out *ret) _must_check_;
/* session-rest.c. Whether the thread has rested a while: look again whether it has to. */
bool session_rest(SessionThread *thread) _must_check_;
void session_rest_end(Session *session);
/* So many requests, that were kept, have taken so long. */
void session_rest_begin(Session *session, unsigned n, uint64_t nsec);
unsigned session_processors(void);
int session_thread_init(Session *session, unsigned index) _must_check_;
