/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mount API, faked. See fake-mount.h. */

#include "fake-mount.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

FakeMount fake_mount;

void fake_mount_reset(void) {
        fake_mount = (FakeMount){.statx_mode = S_IFDIR | 0755};
}

size_t count_fds(void) {
        DIR *directory = opendir("/proc/self/fd");
        size_t n = 0;

        assert(directory);
        while (readdir(directory))
                n++;
        closedir(directory);
        return n;
}

static int enter(FakeCall call, const char *format, ...) _printf_(2, 3);
static int enter(FakeCall call, const char *format, ...) {
        size_t have = strlen(fake_mount.log);
        va_list args;

        va_start(args, format);
        (void) vsnprintf(fake_mount.log + have, sizeof fake_mount.log - have, format, args);
        va_end(args);
        fake_mount.n_calls[call]++;
        if (++fake_mount.n_total == fake_mount.fail_at) {
                fake_mount.failed = call;
                errno = fake_mount.fail_errno;
                return -1;
        }
        return 0;
}

static int new_fd(void) {
        return memfd_create("fake", MFD_CLOEXEC);
}

int fsopen(const char *name, unsigned flags) {
        return enter(FAKE_FSOPEN, "fsopen %s\n", name) < 0 ? -1 : new_fd();
}

int fsconfig(int fd, unsigned command, const char *key, const void *value, int aux) {
        if (command == FSCONFIG_CMD_CREATE)
                return enter(FAKE_FSCONFIG, "create\n");
        if (command == FSCONFIG_SET_FLAG)
                return enter(FAKE_FSCONFIG, "flag %s\n", key);
        return enter(FAKE_FSCONFIG, "%s=%s\n", key, (const char *) value);
}

int fsmount(int fd, unsigned flags, unsigned attributes) {
        fake_mount.attributes = attributes;
        return enter(FAKE_FSMOUNT, "fsmount\n") < 0 ? -1 : new_fd();
}

int move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
        return enter(FAKE_MOVE_MOUNT, "move_mount '%s' '%s'\n", from, to);
}

int open_tree(int fd, const char *path, unsigned flags) {
        return enter(FAKE_OPEN_TREE, "open_tree\n") < 0 ? -1 : new_fd();
}

int mount_setattr(int fd, const char *path, unsigned flags, struct mount_attr *attr, size_t size) {
        fake_mount.attributes = (unsigned) attr->attr_set;
        return enter(FAKE_MOUNT_SETATTR, "mount_setattr\n");
}

int umount2(const char *path, int flags) {
        return enter(FAKE_UMOUNT2, "umount2 %d\n", flags);
}

int setns(int fd, int type) {
        return enter(FAKE_SETNS, "setns %x\n", (unsigned) type);
}

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict buffer) {
        memset(buffer, 0, sizeof *buffer);
        buffer->stx_mode = (uint16_t) fake_mount.statx_mode;
        buffer->stx_uid = fake_mount.statx_uid;
        buffer->stx_mask = mask;
        buffer->stx_mnt_id = 4711;
        buffer->stx_dev_minor = 42;
        return enter(FAKE_STATX, "statx\n");
}
