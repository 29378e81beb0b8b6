/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Probes of FUSE itself: the kernel says what it can do in the flags of FUSE_INIT, so one mount is made, detached, and
 * its first request read. Without privilege this happens in namespaces of its own. */

#include "client/doctor-probes.h"

#include <bpf/btf.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/kernel.h"

#define FUSE_OPCODE_INIT 26U
#define URING_SWITCH "/sys/module/fuse/parameters/enable_uring" /* Linux 6.14 */
#define IOMAP_SWITCH "/sys/module/fuse/parameters/enable_iomap" /* only where fuse-iomap is */

/* include/uapi/linux/fuse.h: bit numbers of the 64 INIT flags, with the version that brought each */
#define INIT_PASSTHROUGH 37    /* 6.9 */
#define INIT_HAS_RESEND 39     /* 6.9 */
#define INIT_ALLOW_IDMAP 40    /* 6.12 */
#define INIT_OVER_IO_URING 41  /* 6.14 */
#define INIT_MAX_PAGES 22      /* 4.20 */
#define INIT_EXT 30            /* 5.17: flags2 is there */

typedef struct InitRequest { /* struct fuse_in_header and the beginning of struct fuse_init_in */
        uint32_t len, opcode;
        uint64_t unique, nodeid;
        uint32_t uid, gid, pid, extension;
        uint32_t major, minor, max_readahead, flags, flags2;
} InitRequest;

static int open_fuse(ProbeResult *result) {
        int fd = RET_NERRNO(open("/dev/fuse", O_RDWR | O_CLOEXEC));

        if (fd < 0) {
                result->state = fd == -ENOENT ? PROBE_NO : PROBE_UNKNOWN;
                (void) snprintf(result->detail, sizeof result->detail, "cannot open /dev/fuse: %s", strerror(-fd));
        }
        return fd;
}

static int configure(int context, int fuse_fd) {
        char number[16];

        (void) snprintf(number, sizeof number, "%d", fuse_fd);
        const char *const settings[][2] = {{"fd", number}, {"rootmode", "40000"}, {"user_id", "0"}, {"group_id", "0"}};
        for (size_t i = 0; i < ELEMENTSOF(settings); i++)
                if (fsconfig(context, FSCONFIG_SET_STRING, settings[i][0], settings[i][1], 0) < 0)
                        return -errno;
        return RET_NERRNO(fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
}

/* The flags that this kernel offers, by a mount that nobody sees. */
static int read_init(ProbeResult *result, uint64_t *ret_flags, uint32_t *ret_minor) {
        _cleanup_fd_ int fuse_fd = -EBADF, context = -EBADF;
        char buffer[65536 + 4096];
        InitRequest request;
        int r;

        if (!probe_has_mount_rights()) {
                result->state = PROBE_UNKNOWN;
                (void) snprintf(result->detail, sizeof result->detail,
                                "neither root nor allowed to make a user namespace");
                return -EPERM;
        }
        fuse_fd = open_fuse(result);
        if (fuse_fd < 0)
                return fuse_fd;
        context = RET_NERRNO(fsopen("fuse", FSOPEN_CLOEXEC));
        r = context < 0 ? context : configure(context, fuse_fd);
        if (r < 0) {
                result->state = PROBE_UNKNOWN;
                (void) snprintf(result->detail, sizeof result->detail, "cannot make a mount to ask with: %s",
                                strerror(-r));
                return r;
        }
        ssize_t n = read(fuse_fd, buffer, sizeof buffer);
        if (n < (ssize_t) sizeof request)
                return -EIO;
        memcpy(&request, buffer, sizeof request);
        if (request.opcode != FUSE_OPCODE_INIT)
                return -EIO;
        *ret_minor = request.minor;
        *ret_flags = request.flags | (request.flags & (1U << INIT_EXT) ? (uint64_t) request.flags2 << 32 : 0);
        return 0;
}

static void probe_init_flag(ProbeResult *result, unsigned bit) {
        uint32_t minor = 0;
        uint64_t flags = 0;
        int r = read_init(result, &flags, &minor);

        if (r < 0) {
                if (!result->detail[0]) {
                        result->state = PROBE_UNKNOWN;
                        (void) snprintf(result->detail, sizeof result->detail, "FUSE_INIT cannot be read: %s",
                                        strerror(-r));
                }
                return;
        }
        bool offered = flags >> bit & 1;
        result->state = offered ? PROBE_YES : PROBE_NO;
        (void) snprintf(result->detail, sizeof result->detail, "FUSE 7.%u %s INIT flag %u", minor,
                        offered ? "offers" : "does not offer", bit);
}

void probe_passthrough(ProbeResult *result) {
        probe_init_flag(result, INIT_PASSTHROUGH);
}

void probe_resend(ProbeResult *result) {
        probe_init_flag(result, INIT_HAS_RESEND);
}

void probe_idmapped(ProbeResult *result) {
        probe_init_flag(result, INIT_ALLOW_IDMAP);
}

void probe_io_uring(ProbeResult *result) {
        char text[16] = "";

        probe_init_flag(result, INIT_OVER_IO_URING);
        if (result->state == PROBE_NO && fd_read_file_at(AT_FDCWD, URING_SWITCH, text, sizeof text) > 0 &&
            text[0] == 'N')
                (void) snprintf(result->detail, sizeof result->detail, "the kernel has it, switched off (%s)",
                                URING_SWITCH);
}

/* Requests above 32 pages; how many at most can be set since Linux 6.13. */
void probe_max_pages(ProbeResult *result) {
        char text[16] = "";

        probe_init_flag(result, INIT_MAX_PAGES);
        if (result->state != PROBE_YES ||
            fd_read_file_at(AT_FDCWD, "/proc/sys/fs/fuse/max_pages_limit", text, sizeof text) <= 0)
                return;
        text[strcspn(text, "\n")] = 0;
        (void) snprintf(result->detail, sizeof result->detail,
                        "up to %s pages a request (/proc/sys/fs/fuse/max_pages_limit)", text);
}

void probe_sync_init(ProbeResult *result) {
        _cleanup_fd_ int fd = open_fuse(result);

        if (fd < 0)
                return;
        int r = RET_NERRNO(ioctl(fd, FUSE_DEV_IOC_SYNC_INIT));
        result->state = r == 0 ? PROBE_YES : PROBE_NO;
        (void) snprintf(result->detail, sizeof result->detail, "FUSE_DEV_IOC_SYNC_INIT: %s",
                        r == 0 ? "accepted" : strerror(-r));
}

/* Out of tree; the steps are those by which its variants can be told apart. Bit 43 of INIT is no evidence: stock
 * kernels use it for something else. */
#define IOMAP_SUPPORT 0x8010e563UL       /* _IOR(229, 99, 16) */
#define IOMAP_SUPPORT_DRAFT 0x8010e503UL /* its first draft had number 3 */

static const char *describe_iomap_bpf(void) {
        struct btf *btf = btf__load_vmlinux_btf(), *module = NULL;
        int32_t id = -ENOENT;

        if (!btf)
                return "no BTF";
        id = btf__find_by_name_kind(btf, "fuse_iomap_bpf_ops", BTF_KIND_STRUCT);
        if (id < 0 && (module = btf__load_module_btf("fuse", btf)))
                id = btf__find_by_name_kind(module, "fuse_iomap_bpf_ops", BTF_KIND_STRUCT);
        btf__free(module);
        btf__free(btf);
        return id > 0 ? "with BPF hooks" : "without BPF hooks";
}

void probe_iomap(ProbeResult *result) {
        struct {
                uint64_t flags, padding;
        } support = {0};
        char text[16] = "";
        _cleanup_fd_ int fd = open_fuse(result);

        if (fd < 0)
                return;
        int r = RET_NERRNO(ioctl(fd, IOMAP_SUPPORT, &support));
        if (r == -ENOTTY)
                r = RET_NERRNO(ioctl(fd, IOMAP_SUPPORT_DRAFT, &support));
        bool has_switch = fd_read_file_at(AT_FDCWD, IOMAP_SWITCH, text, sizeof text) > 0;
        if (r < 0) {
                result->state = PROBE_NO;
                (void) snprintf(result->detail, sizeof result->detail, "%s (%s)",
                                r == -EOPNOTSUPP ? "configured out of this kernel" : "this kernel does not know it",
                                strerror(-r));
        } else if (!(support.flags & 1)) {
                result->state = PROBE_NO;
                (void) snprintf(result->detail, sizeof result->detail, "the kernel has it, %s",
                                has_switch && text[0] == 'N' ? "switched off (" IOMAP_SWITCH ")"
                                                             : "not for this process (CAP_SYS_RAWIO)");
        } else {
                result->state = PROBE_YES;
                (void) snprintf(result->detail, sizeof result->detail, "fuse-iomap, %s", describe_iomap_bpf());
        }
}
