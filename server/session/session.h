/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A FUSE session of libfuse with more under it than libfuse knows: flags of FUSE_INIT, opcodes, replies that are newer than it, and several
 * threads with a descriptor of the device each. Everything that stands between libfuse and a newer kernel is in this folder.
 *
 * FUSE_INIT: libfuse's own answer is caught on a socket that stands in for the device while it gives it; the owner's hook changes it; then
 * it goes to the kernel. Each thread has a libfuse session of its own on its own descriptor, as a request must be answered where it was
 * read; all of them have the same operations and user data. (fuse_session_custom_io() would be the documented way to do this; libfuse 3.18.3
 * has it switched off.)
 *
 * Every request goes to the hook first, which answers it, or passes it on to libfuse, or lets that be done. */

#include <sys/uio.h>

#include "fused-server.h"
#include "session/fuse-abi.h"

typedef struct Session Session;
typedef struct SessionThread SessionThread;

#define SESSION_DATA_MAX (1U << 20) /* bytes of one READ or WRITE */
#define SESSION_BUFFER_SIZE (2U << 20) /* a huge page, and more than one READ */
#define SESSION_THREADS_MAX 16U
#define SESSION_KEPT_MAX 32U /* requests, per thread */

typedef enum SessionTaken {
        SESSION_PASS, /* libfuse's */
        SESSION_DONE,
        SESSION_KEPT, /* will be answered in flush() */
} SessionTaken;

typedef struct SessionHooks {
        /* Change the answer to FUSE_INIT. offered: all flags. The answer's size is that of the whole struct. May be NULL. */
        void (*init)(void *userdata, const struct fuse_init_in *in, uint64_t offered, struct fuse_init_out *out);
        /* FUSE_INIT has been answered, nothing else yet. A failure ends the session. May be NULL. */
        int (*started)(void *userdata);
        /* A request: header, and size bytes after it, which are gone when this returns. */
        SessionTaken (*request)(void *userdata, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size);
        /* No more requests are there at the moment, or enough were kept: answer those. */
        void (*flush)(void *userdata, SessionThread *thread);
        void (*free_slot)(void *slot); /* of session_slot() */
} SessionHooks;

/* operations, userdata: for libfuse, as for fuse_session_new(); args is copied. */
int session_new(const struct fuse_args *args, const struct fuse_lowlevel_ops *operations, size_t size, void *userdata,
                const SessionHooks *hooks, void *hook_userdata, Session **ret) _must_check_;
Session *session_free(Session *session);
/* The one to be mounted (fuse_service_session_mount). Borrowed. */
struct fuse_session *session_fuse(Session *session);
/* Further descriptors of the device, after it is mounted; takes fd over. */
int session_add_clone(Session *session, int fd) _must_check_;
/* Answers FUSE_INIT. Waits for it as long as the mount takes. */
int session_start(Session *session) _must_check_;
/* Within SessionHooks.started(): waits for one request, on the first descriptor, and does it. -ENODEV: the mount is gone, or it was stopped. */
int session_serve_one(Session *session) _must_check_;
/* Serves on all descriptors with at least one, at most n_threads threads, until the mount is gone (0) or a signal came (0). */
int session_serve(Session *session, unsigned n_threads) _must_check_;
unsigned session_n_threads(const Session *session);

/* ---- for the hook ----------------------------------------------------------------------------------------------------- */

/* Lets libfuse do the request at hand, now. */
void session_pass(SessionThread *thread);
/* Lets it do a request that this thread has read, from any thread. size: bytes after the header. */
void session_pass_request(SessionThread *thread, const struct fuse_in_header *header, size_t size);
/* Answers, from any thread. error: 0 or negative errno; what the kernel would not take for one becomes -EIO. Without an error, vectors' bytes follow
 * the header. Returns 0 or negative errno (-ENOENT: interrupted). */
int session_reply(SessionThread *thread, uint64_t unique, int error, const struct iovec *data, size_t n_data);
/* A notification: error of the header is its code. */
int session_notify(SessionThread *thread, int code, const void *data, size_t size);
/* This thread is going to wait, in the kernel, for requests that the others answer: none of them ends until session_needs_nobody(). False: they
 * are ending. */
bool session_needs_others(SessionThread *thread) _must_check_;
void session_needs_nobody(SessionThread *thread);
/* No more requests are read, by any thread: session_serve() returns 0 when those at hand are done. */
void session_stop(SessionThread *thread);
/* Memory for data, SESSION_BUFFER_SIZE, aligned to a page; the thread's, for one use at a time: what is in it may be gone at the next call. */
void *session_buffer(SessionThread *thread);
/* The hook's, one per thread, NULL at first. */
void **session_slot(SessionThread *thread);
/* The session itself notifies on thread 0's descriptor: from anywhere. */
int session_notify_any(Session *session, int code, const void *data, size_t size);
/* Likewise, by a thread that is not one of the session's, where the kernel may wait for what those answer. -ECANCELED: they are ending. */
int session_notify_waiting(Session *session, int code, const void *data, size_t size);
