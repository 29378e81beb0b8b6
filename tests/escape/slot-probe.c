/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A server that knows nothing of fused and uses its slots by path, as the agent must let it. Static. One line for each
 * check that fails; "N checks, M failed" at the end. First argument: "checks" (with the slots source (rw, 8192 bytes
 * "0123..."), readonly, empty, and device if the second is "device"), "wait" (until SIGTERM, then exit 42), "crash",
 * "exit", "identity" (what the manager must be: prints one line), "trees" (three directories come over descriptor 3: a
 * writable slot, a read-only one and one that is no slot). */

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/macro.h"

#define SOURCE "/slots/source"
#define READONLY "/slots/readonly"
#define EMPTY "/slots/empty"
#define DEVICE "/slots/device"

static unsigned n_checks, n_failed;

static void check(const char *what, int result, int expected) {
        n_checks++;
        if (result == expected)
                return;
        n_failed++;
        printf("FAILED %s: %d, expected %d\n", what, result, expected);
}
/* The call's errno (negative), or 0 for any success. */
#define RESULT(call) ({ long _result = (long) (call); _result < 0 ? -errno : 0; })
#define CHECK(call, expected) check(#call, RESULT(call), expected)
#define CHECK_TRUE(condition) check(#condition, !!(condition), 1)

static void check_open(void) {
        char buffer[16];
        int fd = open(SOURCE, O_RDWR | O_CLOEXEC), other;

        CHECK(fd, 0);
        CHECK_TRUE(fcntl(fd, F_GETFD) == FD_CLOEXEC);
        CHECK_TRUE(pread(fd, buffer, 10, 0) == 10 && memcmp(buffer, "0123456789", 10) == 0);
        CHECK_TRUE(pwrite(fd, "written", 7, 4096) == 7);
        CHECK_TRUE(lseek(fd, 100, SEEK_SET) == 100);
        other = openat(AT_FDCWD, SOURCE, O_RDONLY);
        CHECK(other, 0);
        CHECK_TRUE(fcntl(other, F_GETFD) == 0);
        CHECK_TRUE(lseek(other, 0, SEEK_CUR) == 0);
        CHECK_TRUE(pread(other, buffer, 7, 4096) == 7 && memcmp(buffer, "written", 7) == 0);
        CHECK(flock(fd, LOCK_EX | LOCK_NB), 0);
        CHECK(flock(other, LOCK_EX | LOCK_NB), 0); /* the same open file: one owner of the lock */
        CHECK(fsync(fd), 0);
        CHECK_TRUE(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
        CHECK(open(SOURCE, O_RDWR | O_EXCL), 0);
        CHECK(open(SOURCE, O_RDWR | O_DIRECT), 0);
        CHECK(open(SOURCE, O_RDWR | O_SYNC), 0);
        CHECK(open(SOURCE, O_RDWR | O_CREAT, 0600), 0);
        CHECK(open(SOURCE, O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
        CHECK(open(SOURCE, O_WRONLY | O_APPEND), -EINVAL);
        CHECK(open(SOURCE, O_RDONLY | O_DIRECTORY), -ENOTDIR);
        CHECK(open(READONLY, O_RDONLY), 0);
        CHECK(open(READONLY, O_RDWR), -EROFS);
        CHECK(open(READONLY, O_RDONLY | O_TRUNC), -EROFS);
        CHECK(open(EMPTY, O_RDONLY), -ENOENT);
        CHECK(open("/slots/other", O_RDONLY), -ENOENT);
}

static void check_names(void) {
        struct stat st;

        CHECK(open("//slots/./source", O_RDONLY), 0);
        CHECK(open("/mnt/../slots//source", O_RDONLY), 0);
        CHECK(open("slots/source", O_RDONLY), 0); /* from "/", where we are */
        CHECK(open("/slots/source/", O_RDONLY), 0);
        CHECK(open("/slots/sourc", O_RDONLY), -ENOENT);
        CHECK(open("/slots/source/x", O_RDONLY), -ENOTDIR);
        CHECK(open("", O_RDONLY), -ENOENT);
        CHECK(open((const char *) 1, O_RDONLY), -EFAULT);
        /* By another way than its path it is a file that nobody may open, never one that reads as empty. */
        CHECK(chdir("/slots"), 0);
        CHECK(open("source", O_RDONLY), -EACCES);
        CHECK(chdir("/"), 0);
        CHECK(fstatat(open("/mnt", O_RDONLY), "", &st, AT_EMPTY_PATH), 0);
        CHECK_TRUE(S_ISDIR(st.st_mode));
}

static void check_stat(void) {
        struct statx stx;
        struct stat st;

        CHECK(stat(SOURCE, &st), 0);
        CHECK_TRUE(S_ISREG(st.st_mode) && st.st_size == 8192);
        CHECK(lstat(SOURCE, &st), 0);
        CHECK_TRUE(S_ISREG(st.st_mode) && st.st_size == 8192);
        CHECK(fstatat(AT_FDCWD, SOURCE, &st, AT_SYMLINK_NOFOLLOW), 0);
        CHECK_TRUE(st.st_size == 8192);
        CHECK(statx(AT_FDCWD, SOURCE, 0, STATX_BASIC_STATS, &stx), 0);
        CHECK_TRUE(stx.stx_size == 8192);
        CHECK(stat(EMPTY, &st), -ENOENT);
        CHECK(stat(SOURCE, (struct stat *) 8), -EFAULT);
        CHECK(stat("/dev/fuse", &st), 0);
        CHECK(stat("/mnt", &st), 0);
        CHECK_TRUE(S_ISDIR(st.st_mode));
}

static void check_access(void) {
        char buffer[64];

        CHECK(access(SOURCE, R_OK | W_OK), 0);
        CHECK(access(SOURCE, X_OK), -EACCES);
        CHECK(access(READONLY, R_OK), 0);
        CHECK(access(READONLY, W_OK), -EROFS);
        CHECK(access(EMPTY, F_OK), -ENOENT);
        CHECK(faccessat(AT_FDCWD, SOURCE, W_OK, AT_EACCESS), 0);
        CHECK(readlink(SOURCE, buffer, sizeof buffer), -EINVAL);
        CHECK(readlinkat(AT_FDCWD, SOURCE, buffer, sizeof buffer), -EINVAL);
        CHECK(readlink("/mnt", buffer, sizeof buffer), -EINVAL);
}

static void check_mount(void) {
        CHECK(umount2("/mnt", MNT_DETACH), -EPERM); /* nothing is mounted yet, as far as we are told */
        CHECK(mount("x", "/mnt", "ext4", 0, NULL), -EPERM);
        CHECK(mount("x", "/slots", "fuse.x", 0, NULL), -EPERM);
        CHECK(mount("x", NULL, "fuse.x", 0, NULL), -EPERM);
        CHECK(mount("x", "/mnt", "fuse.x", 0, "fd=3"), 0);
        CHECK(mount("x", "/mnt", "fuse.x", 0, "fd=3"), -EPERM);
        CHECK(umount2("/", MNT_DETACH), -EPERM);
        CHECK(umount2("/mnt", MNT_DETACH), 0);
        CHECK(umount2("/mnt", MNT_DETACH), -EPERM);
}

static void *open_often(void *data) {
        for (size_t i = 0; i < 200; i++) {
                int fd = open(SOURCE, O_RDONLY);
                if (fd < 0)
                        *(int *) data = -errno;
                else
                        (void) close(fd);
        }
        return NULL;
}

static void check_threads(void) {
        pthread_t threads[4];
        int results[4] = {0};

        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                CHECK_TRUE(pthread_create(&threads[i], NULL, open_often, &results[i]) == 0);
        for (size_t i = 0; i < ELEMENTSOF(threads); i++) {
                CHECK_TRUE(pthread_join(threads[i], NULL) == 0);
                check("open in a thread", results[i], 0);
        }
}

static void check_device(void) {
        uint64_t size = 0;
        struct stat st;
        int fd = open(DEVICE, O_RDWR | O_EXCL);

        CHECK(fd, 0);
        CHECK(stat(DEVICE, &st), 0);
        CHECK_TRUE(S_ISBLK(st.st_mode) && major(st.st_rdev) == 7);
        CHECK(ioctl(fd, BLKGETSIZE64, &size), 0);
        CHECK_TRUE(size == 1 << 20);
        CHECK(ioctl(fd, BLKFLSBUF, 0), -EACCES); /* CAP_SYS_ADMIN, which nobody has here */
}

static int receive_fd(void) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        char byte;
        struct iovec iov = {.iov_base = &byte, .iov_len = 1};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control};
        int fd;

        if (recvmsg(3, &message, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&message))
                return -1;
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
        return fd;
}

/* The directories' own permissions allow everybody everything: what is refused here, Landlock refuses. */
static void check_trees(void) {
        int writable = receive_fd(), readonly = receive_fd(), stranger = receive_fd();

        CHECK(writable, 0);
        CHECK(readonly, 0);
        CHECK(stranger, 0);
        CHECK(openat(writable, "old", O_RDWR | O_TRUNC), 0);
        CHECK(openat(writable, "new", O_RDWR | O_CREAT, 0600), 0);
        CHECK(mkdirat(writable, "folder", 0700), 0);
        CHECK(renameat(writable, "new", writable, "folder/newer"), 0);
        CHECK(unlinkat(writable, "folder/newer", 0), 0);
        CHECK(unlinkat(writable, "folder", AT_REMOVEDIR), 0);
        CHECK(mknodat(writable, "device", S_IFCHR | 0600, makedev(1, 3)), -EACCES);
        CHECK(openat(writable, "..", O_RDONLY | O_DIRECTORY), 0); /* of a detached mount: the directory itself */
        CHECK(openat(writable, "../../../etc/passwd", O_RDONLY), -ENOENT);
        CHECK(openat(readonly, "old", O_RDONLY), 0);
        CHECK(openat(readonly, "old", O_RDWR), -EACCES);
        CHECK(openat(readonly, "new", O_RDWR | O_CREAT, 0600), -EACCES);
        CHECK(openat(stranger, "old", O_RDONLY), -EACCES);
        CHECK(openat(stranger, "new", O_RDWR | O_CREAT, 0600), -EACCES);
}

static int count_interfaces(void) {
        struct if_nameindex *names = if_nameindex();
        int n = 0;

        while (names && names[n].if_index)
                n++;
        if_freenameindex(names);
        return n;
}

/* uid, gid, groups, any capability, no_new_privs, session leader, the descriptors that are open, entries of the root. */
static void print_identity(void) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
        DIR *root;

        (void) syscall(SYS_capget, &header, data);
        printf("uid=%u gid=%u groups=%d capabilities=%d no_new_privs=%d leader=%d etc=%d interfaces=%d fds=", getuid(), getgid(),
               getgroups(0, NULL), (data[0].permitted | data[1].permitted | data[0].effective) != 0,
               prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), getsid(0) == getpid(), access("/etc", F_OK) == 0, count_interfaces());
        for (int fd = 0; fd < 1024; fd++)
                if (fcntl(fd, F_GETFD) >= 0)
                        printf("%d,", fd);
        root = opendir("/");
        printf(" root=%d\n", root != NULL);
}

static void on_term(int number) {
        _exit(42);
}

int main(int argc, char **argv) {
        const char *mode = argc > 1 ? argv[1] : "checks";

        setvbuf(stdout, NULL, _IOLBF, 0);
        if (strcmp(mode, "wait") == 0) {
                (void) signal(SIGTERM, on_term);
                printf("waiting\n");
                (void) alarm(20);
                for (;;)
                        (void) pause();
        }
        if (strcmp(mode, "identity") == 0) {
                print_identity();
                (void) alarm(20);
                for (;;)
                        (void) pause();
        }
        if (strcmp(mode, "trees") == 0) {
                check_trees();
                printf("%u checks, %u failed\n", n_checks, n_failed);
                return n_failed > 0;
        }
        if (strcmp(mode, "crash") == 0)
                abort();
        if (strcmp(mode, "exit") == 0)
                return 7;
        check_open();
        check_names();
        check_stat();
        check_access();
        check_mount();
        check_threads();
        if (argc > 2 && strcmp(argv[2], "device") == 0)
                check_device();
        printf("%u checks, %u failed\n", n_checks, n_failed);
        return n_failed > 0;
}
