/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a child takes from itself between clone and exec. See launcher.h for the order. */

#include <linux/capability.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher/launcher.h"

/* Limits that are the same for every server. */
static const struct {
        __rlimit_resource_t resource;
        rlim_t limit;
} fixed_limits[] = {
        {RLIMIT_CORE, 0}, /* a core file would hold the users' data */
        {RLIMIT_MEMLOCK, 64 * 1024},
        {RLIMIT_MSGQUEUE, 0},
        {RLIMIT_SIGPENDING, 256},
        {RLIMIT_NICE, 0},
        {RLIMIT_RTPRIO, 0},
};

/* Limits are only lowered: raising needs CAP_SYS_RESOURCE over the whole machine, and is nobody's business here. */
static int limit_lower(__rlimit_resource_t resource, rlim_t limit) {
        struct rlimit old;
        int r;

        r = RET_NERRNO(getrlimit(resource, &old));
        if (r < 0)
                return r;
        limit = MIN_OF(limit, old.rlim_max);
        return RET_NERRNO(setrlimit(resource, &(struct rlimit){.rlim_cur = limit, .rlim_max = limit}));
}

int confine_limits(const ConfineLimits *limits) {
        int r;

        for (size_t i = 0; i < ELEMENTSOF(fixed_limits); i++) {
                r = limit_lower(fixed_limits[i].resource, fixed_limits[i].limit);
                if (r < 0)
                        return r;
        }
        r = limit_lower(RLIMIT_NOFILE, limits->open_files);
        if (r < 0 || limits->processes == 0)
                return r;
        return limit_lower(RLIMIT_NPROC, limits->processes); /* counted per uid, and the uid is this server's alone */
}

static int drop_bounding_set(void) {
        int r;

        for (unsigned long capability = 0;; capability++) {
                r = RET_NERRNO(prctl(PR_CAPBSET_READ, capability, 0, 0, 0));
                if (r == -EINVAL)
                        return 0; /* one past the last that this kernel knows */
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                r = RET_NERRNO(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0));
                if (r < 0)
                        return r;
        }
}

static int drop_capability_sets(void) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
        int r;

        r = RET_NERRNO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
        if (r < 0)
                return r;
        return RET_NERRNO((int) syscall(SYS_capset, &header, none));
}

int confine_identity(uid_t uid, gid_t gid) {
        int r;

        r = drop_bounding_set();
        if (r < 0)
                return r;
        r = RET_NERRNO(prctl(PR_SET_SECUREBITS,
                             SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                     SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                                     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
                             0, 0, 0));
        if (r < 0)
                return r;
        /* The raw calls: there is one thread, and libc's must not wake anything up in a forked child. */
        r = RET_NERRNO((int) syscall(SYS_setresgid, gid, gid, gid));
        if (r < 0)
                return r;
        r = RET_NERRNO((int) syscall(SYS_setresuid, uid, uid, uid));
        if (r < 0)
                return r;
        /* In a user namespace without uid 0 the kernel leaves the sets alone when the uid changes: so explicitly. */
        r = drop_capability_sets();
        if (r < 0)
                return r;
        return RET_NERRNO(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

int confine_filter(const struct sock_filter *filter, size_t n) {
        struct sock_fprog program = {.len = (unsigned short) n, .filter = (struct sock_filter *) filter};

        if (n == 0 || n > POLICY_FILTER_MAX)
                return -EINVAL;
        return RET_NERRNO((int) syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}
