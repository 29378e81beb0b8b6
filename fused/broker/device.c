/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Block devices. See device.h. */

#include "broker/device.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"

#define DIRECTORY_ENTRIES_MAX 16384

/* An administrator's name below /dev. udev's links stay below /dev; a link that leaves it is not followed. */
static int name_is_device(int directory_fd, const char *name, dev_t device) {
        struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
        _cleanup_fd_ int fd = -EBADF;
        struct stat st;

        fd = (int) RET_NERRNO(syscall(SYS_openat2, directory_fd, name, &how, sizeof how));
        if (fd < 0)
                return fd == -ENOENT || fd == -ENOTDIR ? 0 : fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        return S_ISBLK(st.st_mode) && st.st_rdev == device;
}

static void directory_closep(DIR **directory) {
        if (*directory)
                (void) closedir(*directory);
}

/* "disk/by-id/usb-*": any entry of disk/by-id that begins so and leads to the device. */
static int prefix_is_device(int dev_fd, const char *pattern, dev_t device) {
        _cleanup_(directory_closep) DIR *directory = NULL;
        _cleanup_free_ char *path = strndup(pattern, strlen(pattern) - 1);
        _cleanup_fd_ int fd = -EBADF;
        struct dirent *entry;

        if (!path)
                return -ENOMEM;
        char *slash = strrchr(path, '/');
        const char *prefix = slash ? slash + 1 : path;
        if (slash)
                *slash = 0;
        fd = RET_NERRNO(openat(dev_fd, slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
        if (fd < 0)
                return fd;
        directory = fdopendir(fd);
        if (!directory)
                return -errno;
        (void) TAKE_FD(fd); /* the stream's now */

        for (size_t i = 0; i < DIRECTORY_ENTRIES_MAX && (entry = readdir(directory)); i++) {
                if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
                        continue;
                if (entry->d_type != DT_BLK && entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN)
                        continue;
                _cleanup_free_ char *name = NULL;
                if (asprintf(&name, "%s%s%s", slash ? path : "", slash ? "/" : "", entry->d_name) < 0)
                        return -ENOMEM;
                if (name_is_device(dev_fd, name, device) > 0)
                        return 1;
        }
        return 0;
}

int device_path_matches(void *userdata, const char *path_below_dev, dev_t device) {
        const DeviceQuestion *question = userdata;
        size_t length = strlen(path_below_dev);

        if (length > 0 && path_below_dev[length - 1] == '*')
                return prefix_is_device(question->host->dev_fd, path_below_dev, device);
        return name_is_device(question->host->dev_fd, path_below_dev, device);
}

int device_loop_matches(void *userdata, dev_t device, const char *path) {
        const DeviceQuestion *question = userdata;
        _cleanup_fd_ int fd = -EBADF;
        struct loop_info64 info;
        struct stat st;

        if (major(device) != LOOP_MAJOR)
                return 0;
        fd = host_reopen(question->host, question->node_fd, O_RDONLY | O_NONBLOCK);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISBLK(st.st_mode) || st.st_rdev != device)
                return 0;
        if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
                return errno == ENXIO ? 0 : -errno;
        if (stat(path, &st) < 0) /* an absolute path of an administrator's file */
                return -errno;
        return info.lo_inode == st.st_ino && info.lo_device == st.st_dev;
}

static int refuse(Refusal refusal, Refusal *ret_refusal) {
        *ret_refusal = refusal;
        return -EACCES;
}

int device_open(const Host *host, int node_fd, bool writable, int *ret_fd, DeviceFacts *facts, Refusal *ret_refusal) {
        _cleanup_fd_ int fd = -EBADF;
        struct stat node, st;
        int read_only = 0;

        *ret_refusal = REFUSAL_NONE;
        if (fstat(node_fd, &node) < 0)
                return -errno;
        if (!S_ISBLK(node.st_mode))
                return refuse(REFUSAL_BAD_FD, ret_refusal);
        facts->major = major(node.st_rdev);
        facts->minor = minor(node.st_rdev);

        fd = host_reopen(host, node_fd, (writable ? O_RDWR : O_RDONLY) | O_EXCL);
        if (fd == -EBUSY)
                return refuse(REFUSAL_DEVICE_BUSY, ret_refusal);
        if (fd == -EROFS)
                return refuse(REFUSAL_DEVICE_READ_ONLY, ret_refusal);
        if (fd == -ENOMEDIUM || fd == -ENXIO)
                return refuse(REFUSAL_DEVICE_EMPTY, ret_refusal);
        if (fd < 0)
                return fd;
        /* The node cannot have been exchanged (we hold its inode), but a stacked driver could hand us something else. */
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISBLK(st.st_mode) || st.st_rdev != node.st_rdev)
                return -ENODEV;

        /* O_EXCL excludes only those who ask for it; flock those who follow the convention of udev and of other mounters. */
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? refuse(REFUSAL_DEVICE_BUSY, ret_refusal) : -errno;
        if (ioctl(fd, BLKGETSIZE64, &facts->size) < 0 || ioctl(fd, BLKROGET, &read_only) < 0)
                return -errno;
        if (facts->size == 0)
                return refuse(REFUSAL_DEVICE_EMPTY, ret_refusal);
        if (writable && read_only)
                return refuse(REFUSAL_DEVICE_READ_ONLY, ret_refusal);
        *ret_fd = TAKE_FD(fd);
        return 0;
}
