/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Escape attempts by way of the network, mounts and the kernel's wider interfaces. See rows.h. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/reboot.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/acct.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/quota.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/macro.h"
#include "rows.h"

#ifndef LOADER
#define LOADER "/lib64/ld-linux-x86-64.so.2"
#endif

static const struct sockaddr_in somewhere = {.sin_family = AF_INET, .sin_port = 0x3500 /* 53 */, .sin_addr = {0x01010101}};

int act_connect_inet(void) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        return fd < 0 ? -errno : RET_NERRNO(connect(fd, (const struct sockaddr *) &somewhere, sizeof somewhere));
}

int act_send_udp(void) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        return fd < 0 ? -errno :
                        RET_NERRNO((int) sendto(fd, "x", 1, 0, (const struct sockaddr *) &somewhere, sizeof somewhere));
}

static int connect_unix(const char *name, bool abstract) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t length = strlen(name);
        int fd;

        if (length + 1 > sizeof address.sun_path)
                return 0; /* a test that cannot try must not pass */
        memcpy(address.sun_path + abstract, name, length);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        return fd < 0 ? -errno :
                        RET_NERRNO(connect(fd, (struct sockaddr *) &address,
                                           (socklen_t) (offsetof(struct sockaddr_un, sun_path) + length + 1)));
}

int act_connect_abstract(void) {
        return connect_unix(escape_abstract, /* abstract= */ true);
}

int act_connect_control_socket(void) {
        return connect_unix("/run/fused/control", /* abstract= */ false);
}

int act_bind_netlink(void) {
        const struct sockaddr_nl address = {.nl_family = AF_NETLINK};
        int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

        return fd < 0 ? -errno : RET_NERRNO(bind(fd, (const struct sockaddr *) &address, sizeof address));
}

int act_open_raw_packets(void) {
        return RET_NERRNO(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
}

int act_mount_tmpfs(void) {
        return RET_NERRNO(mount("none", "/mnt", "tmpfs", 0, NULL));
}

int act_mount_proc(void) {
        return RET_NERRNO(mount("proc", "/mnt", "proc", 0, NULL));
}

int act_mount_fuse_elsewhere(void) {
        return RET_NERRNO(mount("none", "/usr", "fuse.x", 0, "fd=3,rootmode=40000,user_id=0,group_id=0"));
}

int act_remount_root_writable(void) {
        return RET_NERRNO(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
}

int act_bind_mount(void) {
        return RET_NERRNO(mount("/usr", "/mnt", NULL, MS_BIND, NULL));
}

int act_unmount_root(void) {
        return RET_NERRNO(umount2("/", MNT_DETACH));
}

int act_unmount_library(void) {
        return RET_NERRNO(umount2(LOADER, MNT_DETACH));
}

int act_pivot_root(void) {
        return RET_NERRNO((int) syscall(SYS_pivot_root, ".", "."));
}

int act_change_root(void) {
        return RET_NERRNO(chroot("/mnt"));
}

int act_clone_tree(void) {
        return RET_NERRNO(open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}

int act_open_file_system(void) {
        return RET_NERRNO(fsopen("tmpfs", FSOPEN_CLOEXEC));
}

int act_set_mount_attributes(void) {
        struct mount_attr writable = {.attr_clr = MOUNT_ATTR_RDONLY};

        return RET_NERRNO(mount_setattr(AT_FDCWD, "/", 0, &writable, sizeof writable));
}

int act_create_bpf_map(void) {
        union bpf_attr attribute = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

        return RET_NERRNO((int) syscall(SYS_bpf, BPF_MAP_CREATE, &attribute, sizeof attribute));
}

int act_set_up_io_uring(void) {
        struct io_uring_params parameters = {0};

        return RET_NERRNO((int) syscall(SYS_io_uring_setup, 1, &parameters));
}

int act_open_perf_event(void) {
        struct perf_event_attr attribute = {
                .type = PERF_TYPE_SOFTWARE,
                .size = sizeof attribute,
                .config = PERF_COUNT_SW_CPU_CLOCK,
        };

        return RET_NERRNO((int) syscall(SYS_perf_event_open, &attribute, 0, -1, -1, 0));
}

int act_open_userfaultfd(void) {
        return RET_NERRNO((int) syscall(SYS_userfaultfd, O_CLOEXEC));
}

int act_open_fanotify(void) {
        return RET_NERRNO(fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_CLOEXEC, O_RDONLY));
}

int act_load_module(void) {
        return RET_NERRNO((int) syscall(SYS_init_module, "x", 1UL, ""));
}

int act_unload_module(void) {
        return RET_NERRNO((int) syscall(SYS_delete_module, "fused_no_such_module", O_NONBLOCK));
}

int act_load_kernel(void) {
        return RET_NERRNO((int) syscall(SYS_kexec_load, 0UL, 0UL, NULL, 0UL));
}

int act_reboot(void) {
        return RET_NERRNO((int) syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_CAD_OFF, NULL));
}

int act_swap_on(void) {
        return RET_NERRNO(swapon("/dev/zero", 0));
}

int act_read_kernel_log(void) {
        char buffer[64];

        return RET_NERRNO(klogctl(3 /* read all */, buffer, sizeof buffer));
}

int act_set_clock(void) {
        const struct timeval then = {.tv_sec = 1};

        return RET_NERRNO(settimeofday(&then, NULL));
}

int act_set_host_name(void) {
        return RET_NERRNO(sethostname("escaped", 7));
}

int act_port_access(void) {
#ifdef SYS_iopl
        return RET_NERRNO((int) syscall(SYS_iopl, 3));
#else
        return -ENOSYS;
#endif
}

int act_inject_terminal_input(void) {
        return RET_NERRNO(ioctl(STDIN_FILENO, TIOCSTI, "x"));
}

int act_process_accounting(void) {
        return RET_NERRNO(acct(NULL));
}

int act_disk_quota(void) {
        return RET_NERRNO(quotactl(QCMD(Q_SYNC, USRQUOTA), "/dev/zero", 0, NULL));
}
