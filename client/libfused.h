/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* libfused: talks to fused over its control socket (org.fused1(5)). One connection per client object; calls block, each
 * with a bound; not thread-safe, but any number of clients may be used side by side. No global state.
 *
 * Every function returns 0 or a negative errno; on failure *error (if it is not NULL) says why, and is to be released
 * with fused_error_done(). Descriptors in requests are borrowed. Strings are UTF-8, NUL-terminated. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct FusedClient FusedClient;

typedef enum FusedErrorKind {
        FUSED_ERROR_NONE,
        FUSED_ERROR_FAILED,        /* a step failed; or no connection */
        FUSED_ERROR_REFUSED,       /* policy or quota; a mount's message begins with a word in square brackets */
        FUSED_ERROR_NO_SUCH_MOUNT,
        FUSED_ERROR_BUSY,
        FUSED_ERROR_SERVER_FAILED, /* the server ended, refused, or did not answer */
        FUSED_ERROR_USAGE,         /* the call is malformed */
        _FUSED_ERROR_MAX,
} FusedErrorKind;

typedef struct FusedError {
        FusedErrorKind kind;
        char *message; /* owned; one line */
} FusedError;
void fused_error_done(FusedError *error);

/* Connects to RUNTIME_DIRECTORY/control; NULL is /run/fused. Errors: -ENOENT, -ECONNREFUSED (nobody runs there),
 * -ETIMEDOUT. */
int fused_client_new(const char *runtime_directory, FusedClient **ret, FusedError *error);
/* Takes NULL; returns NULL. A mount that is being made is cancelled. */
FusedClient *fused_client_free(FusedClient *client);
/* On an existing connected socket, which is taken over in any case. For tests. */
int fused_client_new_from_fd(int fd, FusedClient **ret, FusedError *error);

typedef struct FusedSource {
        int fd;           /* borrowed; -1: none */
        const char *kind; /* "file", "device" or "tree"; a device may be O_PATH */
        const char *name; /* slot name; ignored for the source */
} FusedSource;

typedef struct FusedMountRequest {
        const char *type;
        FusedSource source;
        const char *source_name;     /* for display; NULL: none */
        const FusedSource *slots;
        size_t n_slots;
        int mountpoint_fd;           /* borrowed, O_PATH; -1: detached */
        const char *mountpoint_name; /* for display; NULL: none */
        const char *const *options;
        size_t n_options;
        bool prepare;                /* hand-over caller: the FUSE device goes to channel_fd; fused_attach() makes the mount */
        int channel_fd;              /* borrowed: one end of an AF_UNIX socket pair; one byte 0 comes with the device */
        int owner_pidfd;             /* borrowed; the mount ends when this process does; <= 0: none */
} FusedMountRequest;

/* Returns when the server has answered FUSE_INIT. *ret_mount_fd is the mount's descriptor (the caller owns it) if the
 * request is detached, else -1; it may be NULL if the request is not. */
int fused_mount(FusedClient *client, const FusedMountRequest *request, uint64_t *ret_id, int *ret_mount_fd,
                FusedError *error);
/* After fused_mount() with prepare, on the same client: makes the mount. It returns before FUSE_INIT is answered, unless the
 * caller's library has asked the kernel for the contrary on its device. */
int fused_attach(FusedClient *client, uint64_t id, int *ret_mount_fd, FusedError *error);
/* Returns when everything that the mount held is given back. -EBUSY: it is in use. */
int fused_unmount(FusedClient *client, uint64_t id, bool lazy, FusedError *error);
int fused_abort(FusedClient *client, uint64_t id, FusedError *error);

/* Answers as JSON, with the keys of org.fused1(5); the caller owns the object (json_object_put). */
int fused_list(FusedClient *client, json_object **ret, FusedError *error);                 /* array of objects */
int fused_get(FusedClient *client, uint64_t id, json_object **ret, FusedError *error);     /* object */
int fused_types(FusedClient *client, json_object **ret, FusedError *error);                /* array of objects */
int fused_programs(FusedClient *client, json_object **ret, FusedError *error);             /* array of objects */

/* As fused_list(), with what the supervisor must ask for: requests-waiting, memory, cpu-usec, processes, fds, log. */
int fused_query(FusedClient *client, json_object **ret, FusedError *error);
/* An object: "types" (root only; else empty) and "users" (root: all; else the caller). */
int fused_statistics(FusedClient *client, json_object **ret, FusedError *error);

/* From now on, events wait to be read: a client that leaves more than 128 unread is disconnected. */
int fused_subscribe(FusedClient *client, FusedError *error);
#define FUSED_EVENT_MAX 32
/* The next one: its name (MountAdded, MountChanged, MountRemoved) and the mount. Waits for at most usec (UINT64_MAX: for ever).
 * Returns 1; 0: none came in time, or a signal did; negative errno. */
int fused_next_event(FusedClient *client, uint64_t usec, char event[FUSED_EVENT_MAX], json_object **ret, FusedError *error);

typedef struct FusedExplainRequest {
        const char *type;
        FusedSource source;
        const FusedSource *slots;
        size_t n_slots;
        const char *const *options;
        size_t n_options;
        bool as_other; /* decide for these ids and not for the caller */
        uint32_t uid;
        uint32_t gid;
        const uint32_t *groups;
        size_t n_groups;
} FusedExplainRequest;
/* An object. */
int fused_explain(FusedClient *client, const FusedExplainRequest *request, json_object **ret, FusedError *error);

#ifdef __cplusplus
}
#endif
