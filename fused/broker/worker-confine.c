/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What makes a worker, or what it starts, less than the broker: ids, capabilities, system calls. Which of them is each worker's own affair. */

#include <grp.h>
#include <linux/bpf.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "broker/worker.h"

#define NOBODY 65534

static void caps_freep(cap_t *caps) {
        if (*caps)
                (void) cap_free(*caps);
}

static int keep_capabilities(const cap_value_t *kept, size_t n) {
        _cleanup_(caps_freep) cap_t caps = cap_init();
        static const cap_flag_t sets[] = {CAP_PERMITTED, CAP_EFFECTIVE, CAP_INHERITABLE};

        if (!caps)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(sets); i++)
                if (cap_set_flag(caps, sets[i], (int) n, kept, CAP_SET) < 0)
                        return -errno;
        if (cap_set_proc(caps) < 0)
                return -errno;
        for (size_t i = 0; i < n; i++)
                if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0) < 0)
                        return -errno;
        return 0;
}

int worker_give_up(cap_value_t value) {
        _cleanup_(caps_freep) cap_t caps = cap_get_proc();
        static const cap_flag_t sets[] = {CAP_PERMITTED, CAP_EFFECTIVE, CAP_INHERITABLE};

        if (!caps)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(sets); i++)
                if (cap_set_flag(caps, sets[i], 1, &value, CAP_CLEAR) < 0)
                        return -errno;
        return RET_NERRNO(cap_set_proc(caps));
}

int worker_become_nobody(const cap_value_t *kept, size_t n) {
        if (setgroups(0, NULL) < 0 || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
            setresuid(NOBODY, NOBODY, NOBODY) < 0)
                return -errno;
        int r = keep_capabilities(kept, n);
        return r < 0 ? r : RET_NERRNO(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void filter_freep(scmp_filter_ctx *filter) {
        if (*filter)
                seccomp_release(*filter);
}

int worker_confine(const int *calls, size_t n, int bpf_command) {
        _cleanup_(filter_freep) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
        int r = filter ? 0 : -ENOMEM;

        for (size_t i = 0; i < n && r >= 0; i++)
                if (calls[i] >= 0)
                        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
        if (r >= 0 && bpf_command >= 0)
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(bpf), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) bpf_command));
        return r < 0 ? r : seccomp_load(filter);
}
