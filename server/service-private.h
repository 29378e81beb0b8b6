/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside libfused-server: the state of the one conversation that a process has. Owned by the server through fused-server.h. */

#include "base/fd.h"
#include "wire/service.h"

#define SERVICE_OPTIONS_SIZE 4096U /* with the NUL; what a page of mount data holds */

typedef struct ServiceMount { /* what the words of the command line say about the mount */
        uint32_t ms_flags;
        bool fuseblk;
        char source[SERVICE_OPTIONS_SIZE];  /* fsname=, or "" */
        char subtype[256];                  /* subtype=, or "" */
        char options[SERVICE_OPTIONS_SIZE]; /* for the kernel, comma-separated */
        char mtab[SERVICE_OPTIONS_SIZE];    /* for the mount table */
} ServiceMount;

struct fuse_service {
        int socket_fd;  /* owned */
        int argv_fd;    /* owned until the arguments are appended */
        int device_fd;  /* owned until a session has it */
        uint32_t flags; /* ServiceHelloFlags */
        mode_t expected_format;
        char name[256]; /* the type's */
        ServiceMount mount;
        bool said_goodbye;
};

/* The conversation of this process: fuse_service_parse_cmdline_opts() is not told which. NULL before and after it. */
extern struct fuse_service *service_current;

/* A command and its simple reply: 0, the helper's refusal or an own failure as a negative errno. */
int service_command(struct fuse_service *sf, const ServicePacket *what) _must_check_;
/* One more option for the kernel. -E2BIG: there is no room. */
int service_add_option(struct fuse_service *sf, const char *word) _must_check_;
