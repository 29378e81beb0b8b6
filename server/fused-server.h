/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* libfused-server: what a FUSE server needs to be started as a service, on libfuse 3.14 and later. The names and behaviour are
 * those of libfuse >= 3.19 (include/fuse_service.h there), so that a server needs one source for both; where libfuse has them
 * itself, its own are used and this header only includes theirs.
 *
 * A service gets its end of the conversation as descriptor 3 (LISTEN_FDS, LISTEN_PID), its FUSE device and its files over it,
 * and nothing else: it has no /dev, no mount point and no path to its source. One thread uses a service at a time. Functions
 * return 0 or a negative errno unless they say otherwise. A reply is waited for at most FUSE_SERVICE_TIMEOUT_SEC; then the
 * call fails with -ETIMEDOUT (libfuse waits for ever). A process has one conversation at most. What libfuse's functions do is
 * taken from its include/fuse_service.h and lib/fuse_service.c, what goes over the wire from observing them. */

#ifndef FUSE_USE_VERSION
#error "define FUSE_USE_VERSION (312 or later) before this header"
#endif

#include <fuse_lowlevel.h>

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 19)
#include <fuse_service.h>
#else

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FUSE_SERVICE_TIMEOUT_SEC 30
#define FUSE_SERVICE_API __attribute__((visibility("default")))

struct fuse_service;

/* Request flag: the helper prints nothing about a failure. */
#define FUSE_SERVICE_REQUEST_FILE_QUIET (1U << 0)

/* Takes the conversation up, if this process was started as a service: hello, then the command line and the FUSE device. *sfp
 * is always set; NULL with a return of 0 means that this is no service. Errors: -E2BIG (not exactly one descriptor), -ENOTSOCK,
 * -EAFNOSUPPORT, -ENOBUFS (the socket does not hold the longest request), -EBADMSG (a malformed packet), -EOPNOTSUPP (no common
 * version), -EINVAL (a hello flag that is not known), or the helper's own when it has no command line or device to give. */
FUSE_SERVICE_API int fuse_service_accept(struct fuse_service **sfp);

static inline bool fuse_service_accepted(struct fuse_service *sf) {
        return sf != NULL;
}

/* What the helper would grant: the option allow_other; a mount of type fuseblk. */
FUSE_SERVICE_API bool fuse_service_can_allow_other(struct fuse_service *sf);
FUSE_SERVICE_API bool fuse_service_can_fuseblk(struct fuse_service *sf);

/* Puts the caller's command line behind the server's own: argv[0] becomes the type's name. Once. args is replaced, or on
 * failure left as it was. -EBADMSG: the memfd is malformed; -E2BIG: more mount options than a mount takes. */
FUSE_SERVICE_API int fuse_service_append_args(struct fuse_service *sf, struct fuse_args *args);

/* The words of args in one line, argv[0] first: for the process's title. The caller's to free; NULL without memory. */
FUSE_SERVICE_API char *fuse_service_cmdline(int argc, char *argv[], struct fuse_args *args);

/* fuse_parse_cmdline() for a server that cannot see its mount point: the word is kept as it stands. Returns 0 or -1, as that.
 * opts->mountpoint is the caller's to free. Options that only concern the mount and that this libfuse's session would refuse
 * (x-..., nosymfollow, nodiratime) are taken out of args. */
FUSE_SERVICE_API int fuse_service_parse_cmdline_opts(struct fuse_args *args, struct fuse_cmdline_opts *opts);

/* Asks for a file or block device by its path (with fused: a slot's, "/slots/NAME"). open_flags are O_*, create_mode and
 * block_size (bytes, 0: as it is) are the helper's to honour. The answer is fetched by fuse_service_receive_file(). */
FUSE_SERVICE_API int fuse_service_request_file(struct fuse_service *sf, const char *path, int open_flags,
                                               mode_t create_mode, unsigned int request_flags);
FUSE_SERVICE_API int fuse_service_request_blockdev(struct fuse_service *sf, const char *path, int open_flags,
                                                   mode_t create_mode,
                                  unsigned int request_flags, unsigned int block_size);
/* *fdp: the descriptor, the caller's to close, close-on-exec; or the negative errno of a refusal, with a return of 0. */
FUSE_SERVICE_API int fuse_service_receive_file(struct fuse_service *sf, const char *path, int *fdp);
/* No more descriptors are accepted from the helper after this. */
FUSE_SERVICE_API int fuse_service_finish_file_requests(struct fuse_service *sf);

/* What the mount point must be: S_IFDIR, S_IFREG, or 0 for either; the default of fuse_service_session_mount(). */
FUSE_SERVICE_API void fuse_service_expect_mount_format(struct fuse_service *sf, mode_t expected_fmt);

/* Binds the session to the FUSE device and has it mounted. opts->mountpoint must be the word from the command line. Flags,
 * kernel options and source are those of the words (ro, noexec, allow_other, fsname=, ...) as they were at the last
 * fuse_service_append_args() or fuse_service_parse_cmdline_opts(). The helper's refusal is returned as its negative errno, and
 * nothing more is asked then. The device is the session's from the first moment. Changes the working directory to "/" and sets
 * opts->foreground: a service must not daemonize. The first request may arrive before this returns. */
FUSE_SERVICE_API int fuse_service_session_mount(struct fuse_service *sf, struct fuse_session *se,
                                                mode_t expected_fmt, struct fuse_cmdline_opts *opts);

/* Ends the conversation: 0, or why it failed, as a code of the server's own. Later calls do nothing. */
FUSE_SERVICE_API int fuse_service_send_goodbye(struct fuse_service *sf, int error);

/* Closes what the service holds, without a goodbye. The FUSE device stays with the session it was bound to. */
FUSE_SERVICE_API void fuse_service_release(struct fuse_service *sf);
/* The same, and frees it; *sfp becomes NULL. */
FUSE_SERVICE_API void fuse_service_destroy(struct fuse_service **sfp);

/* What to return from main(): 0, or 1 for any failure. libfuse waits 2 s here; this does not. */
FUSE_SERVICE_API int fuse_service_exit(int ret);

/* fuse_main() for a service, with <fuse.h>: parses args, mounts, says goodbye, serves until the mount is gone. Returns 0, or
 * what was also the goodbye: 1 options, 2 no mount point, 3 no fuse object, 4 not mounted, 6 no signal handlers, 7 no loop; 8
 * (the loop failed) comes after the goodbye. size is that of *operations, for servers built with older headers. */
struct fuse_operations;
FUSE_SERVICE_API int fuse_service_main_real(struct fuse_service *sf, struct fuse_args *args,
                                            const struct fuse_operations *operations, size_t size, void *data);
#define fuse_service_main(sf, args, operations, data) fuse_service_main_real(sf, args, operations, sizeof *(operations), data)

#ifdef __cplusplus
}
#endif

#endif
