/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Escape attempts by way of files. See rows.h. */

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/macro.h"
#include "rows.h"

#ifndef LOADER
#define LOADER "/lib64/ld-linux-x86-64.so.2"
#endif

static int try_open(const char *path, int flags) {
        int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0600);

        return fd < 0 ? -errno : 0;
}

int act_open_shadow(void) {
        return try_open("/etc/shadow", O_RDONLY);
}

int act_open_passwd(void) {
        return try_open("/etc/passwd", O_RDONLY);
}

int act_open_proc_status(void) {
        return try_open("/proc/self/status", O_RDONLY);
}

int act_open_proc_init_memory(void) {
        return try_open("/proc/1/mem", O_RDWR);
}

int act_open_sys(void) {
        return try_open("/sys/kernel", O_RDONLY | O_DIRECTORY);
}

int act_open_run(void) {
        return try_open("/run", O_RDONLY | O_DIRECTORY);
}

/* Works (that is: fails the test) if the root holds anything but what it was made of. */
int act_find_foreign_root_entry(void) {
        static const char *const expected[] = {".", "..", "dev", "lib", "lib64", "mnt", "slots", "usr"};
        size_t own = strcspn(escape_program + 1, "/");
        DIR *root = opendir("/");
        bool foreign = false;
        size_t n = 0;

        if (!root)
                return 0; /* it has to be readable: else this proves nothing */
        for (struct dirent *entry; (entry = readdir(root)); n++) {
                bool known = strlen(entry->d_name) == own && strncmp(entry->d_name, escape_program + 1, own) == 0;
                for (size_t i = 0; i < ELEMENTSOF(expected); i++)
                        known = known || strcmp(entry->d_name, expected[i]) == 0;
                foreign = foreign || !known;
        }
        return foreign || n < 4 ? 0 : -ENOENT;
}

int act_climb_out_of_root(void) {
        for (size_t i = 0; i < 20; i++)
                if (chdir("..") < 0)
                        return -errno;
        return try_open("etc/passwd", O_RDONLY);
}

int act_open_by_handle(void) {
        union {
                struct file_handle handle;
                char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
        } buffer = {.handle = {.handle_bytes = MAX_HANDLE_SZ}};
        int mount_id, fd;

        if (name_to_handle_at(AT_FDCWD, "/", &buffer.handle, &mount_id, 0) < 0)
                return -errno;
        fd = open_by_handle_at(AT_FDCWD, &buffer.handle, O_RDONLY);
        return fd < 0 ? -errno : 0;
}

int act_open_library(void) {
        return try_open(LOADER, O_RDONLY);
}

int act_read_urandom(void) {
        int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
        char byte;

        return fd < 0 || read(fd, &byte, 1) != 1 ? -errno : 0;
}

int act_write_null(void) {
        int fd = open("/dev/null", O_WRONLY | O_TRUNC | O_CLOEXEC);

        return fd < 0 || write(fd, "x", 1) != 1 ? -errno : 0;
}

int act_chmod_null(void) {
        return RET_NERRNO(chmod("/dev/null", 0600));
}

int act_open_memory_device(void) {
        return try_open("/dev/mem", O_RDONLY);
}

int act_open_kernel_log(void) {
        return try_open("/dev/kmsg", O_RDONLY);
}

int act_open_loop_control(void) {
        return try_open("/dev/loop-control", O_RDWR);
}

int act_open_terminal(void) {
        return try_open("/dev/tty", O_RDWR);
}

int act_create_in_root(void) {
        return try_open("/new", O_WRONLY | O_CREAT);
}

int act_create_in_mnt(void) {
        return try_open("/mnt/new", O_WRONLY | O_CREAT);
}

int act_create_in_dev(void) {
        return try_open("/dev/new", O_WRONLY | O_CREAT);
}

int act_make_directory(void) {
        return RET_NERRNO(mkdir("/mnt/new", 0700));
}

int act_make_device_node(void) {
        return RET_NERRNO(mknod("/mnt/new", S_IFBLK | 0600, makedev(7, 0)));
}

int act_make_fifo(void) {
        return RET_NERRNO(mknod("/mnt/new", S_IFIFO | 0600, 0));
}

int act_write_own_program(void) {
        return try_open(escape_program, O_WRONLY);
}

int act_unlink_own_program(void) {
        return RET_NERRNO(unlink(escape_program));
}

int act_chmod_own_program(void) {
        return RET_NERRNO(chmod(escape_program, 0777));
}

int act_write_library(void) {
        return try_open(LOADER, O_RDWR);
}

int act_open_empty_slot(void) {
        return try_open("/slots/empty", O_RDONLY);
}

/* Anything beyond standard descriptors and the one that the hand-over has (3). */
int act_use_inherited_fd(void) {
        for (int fd = 4; fd < 1024; fd++)
                if (fcntl(fd, F_GETFD) >= 0)
                        return 0;
        return -EBADF;
}

int act_use_expected_fd(void) {
        for (int fd = 0; fd < 3; fd++)
                if (fcntl(fd, F_GETFD) < 0)
                        return -errno;
        return 0;
}

int act_run_shell(void) {
        static const char *const shells[] = {"/bin/sh", "/usr/bin/sh", "/bin/busybox", "/usr/bin/env", LOADER};
        int r = -ENOENT;

        /* The loader is there, and may be executed if the filter says so: it finds nothing to load but itself. */
        for (size_t i = 0; i + 1 < ELEMENTSOF(shells); i++)
                r = RET_NERRNO(execl(shells[i], shells[i], NULL));
        return r;
}

int act_anonymous_memory(void) {
        void *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return memory == MAP_FAILED ? -errno : 0;
}
