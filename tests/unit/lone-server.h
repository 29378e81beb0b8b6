/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A server that maps, from its main() on, in a test's own process: what speaks with the supervisor is put in its place by the linker (--wrap).
 * What the server asks for as /slots/source and /slots/NAME are the files device0 and NAME in lone_directory. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "map/map.h"

int server_main(int argc, char **argv); /* its main() */

int __wrap_fuse_service_accept(struct fuse_service **sfp);
int __wrap_fuse_service_append_args(struct fuse_service *sf, struct fuse_args *args);
int __wrap_fuse_service_request_file(struct fuse_service *sf, const char *path, int open_flags, mode_t mode, unsigned flags);
int __wrap_fuse_service_receive_file(struct fuse_service *sf, const char *path, int *fdp);
int __wrap_fuse_service_send_goodbye(struct fuse_service *sf, int error);
void __wrap_fuse_service_destroy(struct fuse_service **sfp);
int __wrap_fuse_service_exit(int ret);
int __wrap_fused_map_run(struct fused_map *map, struct fuse_cmdline_opts *opts);
int __wrap_fused_map_new(struct fused_map **ret, struct fuse_service *sf, struct fuse_args *args, const struct fuse_lowlevel_ops *lowlevel,
                         size_t size, const struct fused_map_operations *operations, const struct fused_map_config *config, void *userdata);
int __real_fused_map_new(struct fused_map **ret, struct fuse_service *sf, struct fuse_args *args, const struct fuse_lowlevel_ops *lowlevel,
                         size_t size, const struct fused_map_operations *operations, const struct fused_map_config *config, void *userdata);

static char lone_directory[64];
static bool lone_direct; /* whether it gets descriptors for O_DIRECT */
static int lone_flags;   /* of the file that it asked for last */

int __wrap_fuse_service_accept(struct fuse_service **sfp) {
        static char something;

        *sfp = (struct fuse_service *) &something;
        return 0;
}

int __wrap_fuse_service_append_args(struct fuse_service *sf, struct fuse_args *args) {
        return 0;
}

int __wrap_fuse_service_request_file(struct fuse_service *sf, const char *path, int open_flags, mode_t mode, unsigned flags) {
        lone_flags = open_flags;
        return open_flags & O_DIRECT && !lone_direct ? -EOPNOTSUPP : 0;
}

int __wrap_fuse_service_receive_file(struct fuse_service *sf, const char *path, int *fdp) {
        const char *name = strrchr(path, '/') + 1;
        char file[128];

        (void) snprintf(file, sizeof file, "%s/%s", lone_directory, strcmp(name, "source") == 0 ? "device0" : name);
        *fdp = RET_NERRNO(open(file, lone_flags | O_CLOEXEC));
        return 0;
}

int __wrap_fuse_service_send_goodbye(struct fuse_service *sf, int error) {
        return 0;
}

void __wrap_fuse_service_destroy(struct fuse_service **sfp) {
        *sfp = NULL;
}

int __wrap_fuse_service_exit(int ret) {
        return ret;
}
