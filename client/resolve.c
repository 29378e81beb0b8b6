/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ID or MOUNTPOINT. A mount point is looked up by the identity of the mount that is there, not by its name, and without
 * asking its file system: a server that hangs must not hang us. */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/kernel.h"
#include "client/fusectl.h"

#ifndef AT_HANDLE_MNT_ID_UNIQUE
#define AT_HANDLE_MNT_ID_UNIQUE 0x001 /* Linux 6.12: the mount id is 64 bits wide and never used again */
#endif

typedef struct MountIds {
        uint64_t unique; /* 0: not known */
        uint64_t old;
} MountIds;

static uint64_t unique_by_statx(int fd) {
        struct statx sx = {0};

        /* Somebody else's FUSE mount refuses this even to root. */
        if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_MNT_ID_UNIQUE, &sx) < 0)
                return 0;
        return sx.stx_mask & STATX_MNT_ID_UNIQUE ? sx.stx_mnt_id : 0;
}

static uint64_t unique_by_handle(int fd) {
        union {
                struct file_handle handle;
                char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
        } buffer = {.handle.handle_bytes = MAX_HANDLE_SZ};
        uint64_t id = 0;

        if (name_to_handle_at(fd, "", &buffer.handle, (int *) &id, AT_EMPTY_PATH | AT_HANDLE_MNT_ID_UNIQUE) < 0)
                return 0;
        return id;
}

static uint64_t old_by_fdinfo(int fd) {
        char path[32], text[1024], *field;

        (void) snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
        if (fd_read_file_at(AT_FDCWD, path, text, sizeof text) < 0)
                return 0;
        field = strstr(text, "mnt_id:");
        return field ? strtoull(field + strlen("mnt_id:"), NULL, 10) : 0;
}

static int ids_of_path(const char *path, MountIds *ret) {
        _cleanup_fd_ int fd = RET_NERRNO(open(path, O_PATH | O_CLOEXEC));

        if (fd < 0)
                return fd;
        ret->unique = unique_by_statx(fd);
        if (ret->unique == 0)
                ret->unique = unique_by_handle(fd);
        ret->old = old_by_fdinfo(fd);
        return 0;
}

static bool matches(json_object *mount, const MountIds *ids) {
        uint64_t id = number_of(mount, "kernel-mount-id");

        return id != 0 && id == (is_true(mount, "kernel-mount-id-unique") ? ids->unique : ids->old);
}

int mount_at(FusedClient *client, const char *path, uint64_t *ret_id, FusedError *error) {
        _cleanup_json_ json_object *mounts = NULL;
        MountIds ids = {0};
        int r;

        r = ids_of_path(path, &ids);
        if (r < 0)
                return r;
        r = fused_list(client, &mounts, error);
        if (r < 0)
                return r;
        for (size_t i = 0; i < json_object_array_length(mounts); i++) {
                json_object *mount = json_object_array_get_idx(mounts, i);
                if (matches(mount, &ids)) {
                        *ret_id = number_of(mount, "id");
                        return 0;
                }
        }
        return -ENXIO;
}

int resolve_mount(Context *context, const char *word, uint64_t *ret_id) {
        FusedError error = {0};
        char *end;
        int r;

        r = connect_to_fused(context);
        if (r != 0)
                return r;
        if (*word >= '0' && *word <= '9') {
                errno = 0;
                *ret_id = strtoull(word, &end, 10);
                if (errno == 0 && !*end)
                        return 0;
        }
        r = mount_at(context->client, word, ret_id, &error);
        if (r == 0)
                return 0;
        if (error.message)
                return report(&error);
        if (r == -ENXIO)
                fprintf(stderr, "fusectl: no mount of yours at %s; 'fusectl list' shows those that there are\n", word);
        else
                fprintf(stderr, "fusectl: no mount at %s: %s\n", word, strerror(-r));
        return EXIT_NO_SUCH_MOUNT;
}
