/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The worker that registers files: what a server may have registered, and what it may not. Its FUSE device is none here, so that what passes the
 * check gets ENOTTY from the kernel. Each refusal has its allowed neighbour. Needs root: it takes other ids and a device. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "broker/worker.h"
#include "wire/channel.h"

#define SERVER_UID 1879060000U
#define PASSED (-ENOTTY)

enum { SLOT_TREE, SLOT_READ_ONLY_TREE, SLOT_FILE, SLOT_DEVICE };

static char directory[] = "/tmp/test-worker-backing.XXXXXX";
static int files_fd = -EBADF, orders_fd = -EBADF; /* our ends */
static pid_t worker;
static uint64_t serial;

int host_reopen(const Host *host, int fd, int flags) {
        char path[32];

        (void) snprintf(path, sizeof path, "self/fd/%d", fd);
        return RET_NERRNO(openat(host->proc_fd, path, flags | O_CLOEXEC));
}

static int open_at(const char *name, int flags) {
        _cleanup_free_ char *path = NULL;
        int fd;

        assert_true(asprintf(&path, "%s/%s", directory, name) > 0);
        fd = open(path, flags | O_CLOEXEC, 0666);
        assert_true(fd >= 0);
        return fd;
}

static void make(const char *name) {
        int fd = open_at(name, O_RDWR | O_CREAT);

        assert_int_equal(fchmod(fd, 0666), 0);
        assert_int_equal(write(fd, "x", 1), 1);
        (void) close(fd);
}

static void make_mount(const char *name) {
        _cleanup_free_ char *path = NULL;

        assert_true(asprintf(&path, "%s/%s", directory, name) > 0);
        assert_int_equal(mkdir(path, 0755), 0);
        assert_int_equal(mount("tmpfs", path, "tmpfs", 0, "mode=755"), 0);
}

static WorkerReport receive_report(void) {
        WorkerReport report = {0};

        assert_int_equal(fd_receive(orders_fd, &report, sizeof report, NULL, 0, NULL, 0), sizeof report);
        assert_int_equal(report.kind, WORKER_REPORT_READY);
        return report;
}

static void send_file(uint64_t number, int fd) {
        assert_int_equal(fd_send(files_fd, &number, sizeof number, &fd, fd >= 0 ? 1 : 0), 0);
}

static int order(uint32_t operation, uint32_t value, uint64_t number) {
        const WorkerOrder order = {.operation = operation, .value = value, .serial = number};

        assert_int_equal(fd_send(orders_fd, &order, sizeof order, NULL, 0), 0);
        return receive_report().backing_error;
}

/* Takes fd over. */
static int offer(int fd, ChannelBacking kind) {
        assert_true(fd >= 0);
        send_file(++serial, fd);
        (void) close(fd);
        return order(BROKER_BACKING_OPEN, kind, serial);
}

static int set_up(void **state) {
        int files[2], orders[2];
        struct timeval limit = {.tv_sec = 10};
        Host host = HOST_NULL;
        WorkerJob job = {.kind = WORKER_BACKING, .host = &host, .server_uid = SERVER_UID, .read_only_trees = 1U << SLOT_READ_ONLY_TREE};

        assert_non_null(mkdtemp(directory));
        assert_int_equal(chmod(directory, 0755), 0);
        assert_int_equal(unshare(CLONE_NEWNS), 0);
        assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        make_mount("tree");
        make_mount("read-only");
        for (size_t i = 0; i < 4; i++)
                make((const char *const[]){"tree/file", "read-only/file", "image", "other"}[i]);
        _cleanup_free_ char *device = NULL, *second = NULL;
        assert_true(asprintf(&device, "%s/device", directory) > 0 && asprintf(&second, "%s/second", directory) > 0);
        assert_int_equal(mknod(device, S_IFBLK | 0600, makedev(7, 0)), 0); /* nobody reads them: whether there is a disk does not matter... */
        assert_int_equal(mknod(second, S_IFBLK | 0600, makedev(7, 1)), 0);

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, files), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders), 0);
        worker = fork();
        assert_true(worker >= 0);
        if (worker == 0) {
                (void) close(files[0]);
                (void) close(orders[0]);
                host.proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
                job.fuse_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
                job.files_fd = files[1];
                fd_fill(job.slot_fds, ELEMENTSOF(job.slot_fds));
                job.slot_fds[SLOT_TREE] = open_at("tree", O_RDONLY | O_DIRECTORY);
                job.slot_kinds[SLOT_TREE] = BROKER_SLOT_TREE;
                job.slot_fds[SLOT_READ_ONLY_TREE] = open_at("read-only", O_RDONLY | O_DIRECTORY);
                job.slot_kinds[SLOT_READ_ONLY_TREE] = BROKER_SLOT_TREE;
                job.slot_fds[SLOT_FILE] = open_at("image", O_RDWR);
                job.slot_kinds[SLOT_FILE] = BROKER_SLOT_FILE;
                job.slot_fds[SLOT_DEVICE] = open_at("device", O_PATH); /* ...nor does the worker */
                job.slot_kinds[SLOT_DEVICE] = BROKER_SLOT_DEVICE;
                worker_backing(&job, orders[1]);
                _exit(0);
        }
        (void) close(files[1]);
        (void) close(orders[1]);
        files_fd = files[0];
        orders_fd = orders[0];
        assert_int_equal(setsockopt(orders_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
        return receive_report().error;
}

static int tear_down(void **state) {
        static const char *const names[] = {"image", "other", "device", "second"};
        char path[128];
        int status;

        files_fd = fd_close(files_fd);
        orders_fd = fd_close(orders_fd); /* it ends by itself */
        assert_int_equal(waitpid(worker, &status, 0), worker);
        assert_int_equal(status, 0);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                (void) snprintf(path, sizeof path, "%s/%s", directory, names[i]);
                (void) unlink(path);
        }
        for (int i = 0; i < 2; i++) {
                (void) snprintf(path, sizeof path, "%s/%s", directory, i == 0 ? "tree" : "read-only");
                (void) umount2(path, MNT_DETACH);
                (void) rmdir(path);
        }
        return rmdir(directory);
}

static void test_below_a_tree(void **state) {
        assert_int_equal(offer(open_at("tree/file", O_RDWR), CHANNEL_BACKING_PASSTHROUGH), PASSED);
        assert_int_equal(offer(open_at("tree/file", O_RDONLY), CHANNEL_BACKING_PASSTHROUGH), -EACCES); /* the kernel would write to it */
        assert_int_equal(offer(open_at("tree/file", O_WRONLY), CHANNEL_BACKING_PASSTHROUGH), -EACCES); /* and read this one */
        assert_int_equal(offer(open_at("tree/file", O_PATH), CHANNEL_BACKING_PASSTHROUGH), -EACCES);
        assert_int_equal(offer(open_at("tree", O_RDONLY | O_DIRECTORY), CHANNEL_BACKING_PASSTHROUGH), -EINVAL);
        assert_int_equal(offer(open_at("read-only/file", O_RDONLY), CHANNEL_BACKING_PASSTHROUGH), PASSED);
        assert_int_equal(offer(open_at("read-only/file", O_PATH), CHANNEL_BACKING_PASSTHROUGH), -EACCES);
}

static void test_elsewhere(void **state) {
        assert_int_equal(offer(open_at("image", O_RDWR), CHANNEL_BACKING_PASSTHROUGH), PASSED);
        assert_int_equal(offer(open_at("image", O_RDONLY), CHANNEL_BACKING_PASSTHROUGH), -EACCES);
        assert_int_equal(offer(open_at("other", O_RDWR), CHANNEL_BACKING_PASSTHROUGH), -EACCES); /* beside the image, on its mount */
        assert_int_equal(offer(memfd_create("no file of anybody's", MFD_CLOEXEC), CHANNEL_BACKING_PASSTHROUGH), -EACCES);
        assert_int_equal(offer(open("/proc/self/mem", O_RDWR | O_CLOEXEC), CHANNEL_BACKING_PASSTHROUGH), -EACCES);
        assert_int_equal(offer(open("/dev/null", O_RDWR | O_CLOEXEC), CHANNEL_BACKING_PASSTHROUGH), -EINVAL);
        assert_int_equal(offer(open_at("tree/file", O_RDWR), (ChannelBacking) 2), -EINVAL);
}

/* Which device it is, says its number; a path descriptor has that, too, but proves nothing. */
static void test_devices(void **state) {
        assert_int_equal(offer(open_at("tree/file", O_RDWR), CHANNEL_BACKING_IOMAP), -ENOTBLK);
        assert_int_equal(offer(open_at("device", O_PATH), CHANNEL_BACKING_IOMAP), -EACCES);
        int fd = open("/dev/loop0", O_RDONLY | O_CLOEXEC), other_fd = open("/dev/loop1", O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
                assert_int_equal(offer(fd, CHANNEL_BACKING_IOMAP), PASSED);
        if (other_fd >= 0)
                assert_int_equal(offer(other_fd, CHANNEL_BACKING_IOMAP), -EACCES);
}

/* Its own file goes with each order, whatever was left over. */
static void test_order_of_messages(void **state) {
        assert_int_equal(order(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH, ++serial), -ENODATA);
        send_file(++serial, open_at("other", O_RDWR));
        send_file(++serial, -EBADF);
        assert_int_equal(offer(open_at("tree/file", O_RDWR), CHANNEL_BACKING_PASSTHROUGH), PASSED);
        send_file(++serial, open_at("tree/file", O_RDWR));
        assert_int_equal(order(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH, serial + 1), -ENODATA); /* taken out, and not used */
        assert_int_equal(order(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH, serial), -ENODATA);
        serial++;
        for (int i = 0; i < 100; i++)
                send_file(0, open_at("other", O_RDWR));
        assert_int_equal(order(BROKER_BACKING_CLOSE, 1, 0), -ENOTTY); /* and none of those is there any more: */
        assert_int_equal(order(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH, 0), -ENODATA);
        assert_int_equal(offer(open_at("tree/file", O_RDWR), CHANNEL_BACKING_PASSTHROUGH), PASSED);
}

/* More than one descriptor, or a long message, is no file of ours; what comes after it is. */
static void test_wrong_messages(void **state) {
        uint64_t numbers[2] = {++serial, 0};
        int fds[2] = {open_at("tree/file", O_RDWR), open_at("other", O_RDWR)};

        assert_int_equal(fd_send(files_fd, numbers, sizeof *numbers, fds, 2), 0);
        assert_true(order(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH, serial) < 0);
        assert_int_equal(fd_send(files_fd, numbers, sizeof numbers, fds, 1), 0);
        assert_true(order(BROKER_BACKING_OPEN, CHANNEL_BACKING_PASSTHROUGH, serial) < 0);
        fd_close_many(fds, 2);
        assert_int_equal(offer(open_at("tree/file", O_RDWR), CHANNEL_BACKING_PASSTHROUGH), PASSED);
}

static void test_rights(void **state) {
        char path[64], text[4096];
        int fd;

        (void) snprintf(path, sizeof path, "/proc/%d/status", worker);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        ssize_t n = read(fd, text, sizeof text - 1);
        (void) close(fd);
        assert_true(n > 0);
        text[n] = 0;
        (void) snprintf(path, sizeof path, "Uid:\t%u\t%u\t%u\t%u\n", SERVER_UID, SERVER_UID, SERVER_UID, SERVER_UID);
        assert_non_null(strstr(text, path));
        assert_non_null(strstr(text, "CapPrm:\t0000000000200000\n")); /* CAP_SYS_ADMIN */
        assert_non_null(strstr(text, "CapEff:\t0000000000200000\n"));
        assert_non_null(strstr(text, "Groups:\t \n"));
        assert_non_null(strstr(text, "Seccomp:\t2\n"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_below_a_tree),     cmocka_unit_test(test_elsewhere),      cmocka_unit_test(test_devices),
                cmocka_unit_test(test_order_of_messages), cmocka_unit_test(test_wrong_messages), cmocka_unit_test(test_rights),
        };
        if (geteuid() != 0) {
                puts("needs root");
                return 77;
        }
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
