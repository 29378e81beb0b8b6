/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Debian's own servers under the agent, on a mount that was made for them: fuse2fs (libfuse 2: opens /dev/fuse and
 * calls mount(2)) on an ext4 image, read-write; squashfuse_ll (libfuse 3: /dev/fd/N) on a squashfs image. Needs root,
 * /dev/fuse and
 * the programs. Usage: test-images ext4|squashfs open|shipped */

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"

#define CONTENT_SIZE (3 << 20)

static char directory[] = "/tmp/fused-images-XXXXXX";
static char mountpoint[64], image[64];
static char output[HARNESS_OUTPUT_MAX];
static unsigned char content[CONTENT_SIZE], back[CONTENT_SIZE];
static HarnessRun run;

static void clean_up(void) {
        (void) umount2(mountpoint, MNT_FORCE | MNT_DETACH);
        harness_end(&run);
        (void) rmdir(mountpoint);
        (void) unlink(image);
        (void) rmdir(directory);
}

static void on_alarm(int number) {
        static const char text[] = "test-images: timeout\n";

        (void) !write(STDERR_FILENO, text, sizeof text - 1);
        (void) umount2(mountpoint, MNT_FORCE | MNT_DETACH);
        if (run.pid > 0)
                (void) kill(run.pid, SIGKILL);
        _exit(1);
}

static _noreturn_ void fail(const char *what) {
        warn("%s", what);
        if (run.pid > 0) {
                (void) umount2(mountpoint, MNT_FORCE | MNT_DETACH);
                (void) kill(run.pid, SIGKILL);
                (void) harness_finish(&run, output, sizeof output, 10);
                warnx("the server said: %s", output);
        }
        clean_up();
        exit(1);
}

static void command(const char *format, const char *argument) {
        char line[256];
        int status;

        (void) snprintf(line, sizeof line, format, argument);
        status = system(line);
        if (status != 0) {
                warnx("%s: status %#x", line, status);
                errno = 0;
                fail("a tool failed");
        }
}

/* What the broker's worker does: a superblock on the device, attached before the server runs. */
static int make_mount(bool read_only) {
        _cleanup_fd_ int fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), fs_fd = -EBADF, mount_fd = -EBADF;
        char number[16];

        if (fuse_fd < 0)
                fail("/dev/fuse");
        (void) snprintf(number, sizeof number, "%d", fuse_fd);
        const char *const settings[][2] = {{"source", "test"}, {"subtype", "test"}, {"fd", number}, {"rootmode", "40000"},
                                           {"user_id", "0"}, {"group_id", "0"}};
        fs_fd = fsopen("fuse", FSOPEN_CLOEXEC);
        for (size_t i = 0; i < ELEMENTSOF(settings); i++)
                if (fsconfig(fs_fd, FSCONFIG_SET_STRING, settings[i][0], settings[i][1], 0) < 0)
                        fail(settings[i][0]);
        if (fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                fail("superblock");
        mount_fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0));
        if (mount_fd < 0 || move_mount(mount_fd, "", AT_FDCWD, mountpoint, MOVE_MOUNT_F_EMPTY_PATH) < 0)
                fail("attach");
        return TAKE_FD(fuse_fd);
}

static void write_content(const char *path) {
        _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        if (fd < 0 || write(fd, content, sizeof content) != (ssize_t) sizeof content || fsync(fd) < 0)
                fail(path);
}

static void compare_content(const char *path) {
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t have = 0;

        while (fd >= 0 && have < sizeof back) {
                ssize_t n = read(fd, back + have, sizeof back - have);
                if (n <= 0)
                        break;
                have += (size_t) n;
        }
        if (have != sizeof back || memcmp(content, back, sizeof back) != 0)
                fail(path);
}

static const char *in(const char *parent, const char *name) {
        static char path[4][128];
        static unsigned next;
        char *buffer = path[next++ % 4];

        (void) snprintf(buffer, sizeof path[0], "%s/%s", parent, name);
        return buffer;
}

static void use_read_write(void) {
        struct statvfs vfs;

        write_content(in(mountpoint, "first"));
        compare_content(in(mountpoint, "first"));
        if (mkdir(in(mountpoint, "folder"), 0755) < 0 || rename(in(mountpoint, "first"), in(mountpoint, "folder/second")) < 0)
                fail("rename");
        compare_content(in(mountpoint, "folder/second"));
        if (access(in(mountpoint, "first"), F_OK) == 0 || statvfs(mountpoint, &vfs) < 0 || vfs.f_blocks == 0)
                fail("look again");
}

static void finish(void) {
        int status;

        if (umount2(mountpoint, 0) < 0)
                fail("umount");
        status = harness_finish(&run, output, sizeof output, 20);
        if (status != 0) {
                warnx("the server ended with %#x and said: %s", status, output);
                errno = 0;
                fail("exit");
        }
}

static void run_ext4(HarnessFilter filter) {
        _cleanup_fd_ int image_fd = -EBADF;

        command("truncate -s 32M %s", image);
        command("/sbin/mkfs.ext4 -q %s", image);
        image_fd = open(image, O_RDWR | O_CLOEXEC);
        harness_begin(&run, "/usr/bin/fuse2fs", POLICY_HAND_OVER_FD, filter);
        harness_slot(&run, "source", image_fd, true, false);
        const char *const words[] = {"%s", "%m", "-f", "-o", "%o,fakeroot"};
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                harness_argument(&run, words[i]);
        run.channel_fd = make_mount(/* read_only= */ false);
        harness_start(&run);
        use_read_write();
        finish();
        command("/sbin/e2fsck -fn %s >/dev/null 2>&1", image);
        /* The kernel's word is not needed: the image itself, by another reader */
        (void) setenv("IMAGE", image, 1);
        command("/sbin/debugfs -R 'dump /folder/second %s/dump' \"$IMAGE\" 2>/dev/null", directory);
        compare_content(in(directory, "dump"));
        (void) unlink(in(directory, "dump"));
}

static void run_squashfs(HarnessFilter filter) {
        _cleanup_fd_ int image_fd = -EBADF;

        if (mkdir(in(directory, "tree"), 0755) < 0)
                fail("tree");
        write_content(in(directory, "tree/file"));
        (void) setenv("IMAGE", image, 1);
        command("/usr/bin/mksquashfs %s/tree \"$IMAGE\" -quiet -no-progress >/dev/null", directory);
        command("rm -r %s/tree", directory);
        image_fd = open(image, O_RDONLY | O_CLOEXEC);
        harness_begin(&run, "/usr/bin/squashfuse_ll", POLICY_HAND_OVER_FD, filter);
        harness_slot(&run, "source", image_fd, false, false);
        const char *const words[] = {"-f", "%s", "%d"};
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                harness_argument(&run, words[i]);
        run.channel_fd = make_mount(/* read_only= */ true);
        harness_start(&run);
        compare_content(in(mountpoint, "file"));
        if (open(in(mountpoint, "new"), O_WRONLY | O_CREAT, 0600) >= 0)
                fail("created a file on a read-only mount");
        finish();
}

/* Before anything is made that would have to be removed again. */
static void need(const char *kind) {
        static const char *const ext4[] = {"/dev/fuse", "/usr/bin/fuse2fs", "/sbin/mkfs.ext4", "/sbin/debugfs"};
        static const char *const squashfs[] = {"/dev/fuse", "/usr/bin/squashfuse_ll", "/usr/bin/mksquashfs", "/usr/bin/rm"};
        const char *const *paths = strcmp(kind, "ext4") == 0 ? ext4 : squashfs;

        harness_need_root();
        for (size_t i = 0; i < ELEMENTSOF(ext4); i++)
                if (access(paths[i], F_OK) < 0)
                        harness_skip(paths[i]);
}

int main(int argc, char **argv) {
        if (argc != 3)
                errx(2, "usage: test-images ext4|squashfs open|shipped");
        need(argv[1]);
        HarnessFilter filter = strcmp(argv[2], "shipped") == 0 ? HARNESS_FILTER_SHIPPED : HARNESS_FILTER_OPEN;
        for (size_t i = 0; i < sizeof content; i++)
                content[i] = (unsigned char) (i * 2654435761U >> 13);
        if (!mkdtemp(directory))
                err(1, "mkdtemp");
        (void) snprintf(mountpoint, sizeof mountpoint, "%s/mnt", directory);
        (void) snprintf(image, sizeof image, "%s/image", directory);
        if (mkdir(mountpoint, 0755) < 0)
                err(1, "%s", mountpoint);
        (void) signal(SIGALRM, on_alarm);
        (void) alarm(60);
        if (strcmp(argv[1], "ext4") == 0)
                run_ext4(filter);
        else
                run_squashfs(filter);
        printf("ok: %s\n%s", argv[1], output);
        clean_up();
        return 0;
}
