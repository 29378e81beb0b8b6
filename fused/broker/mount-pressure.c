/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Gives a server what tells it that memory is short: its sandbox has neither /proc nor cgroups. Descriptors to poll and to read, no more. */

#include <fcntl.h>

#include "base/fd.h"
#include "base/pressure.h"
#include "broker/mount.h"
#include "broker/spawn.h"
#include "broker/unit.h"
#include "wire/channel.h"

/* In the order of the bits of ChannelPressure. */
static uint32_t pack(const int *found, int *ret_fds, size_t *ret_n) {
        uint32_t which = 0;

        *ret_n = 0;
        for (size_t i = 0; i < CHANNEL_PRESSURE_N; i++)
                if (found[i] >= 0) {
                        which |= 1U << i;
                        ret_fds[(*ret_n)++] = found[i];
                }
        return which;
}

static int send_pressure(Mount *mount, uint64_t serial) {
        int found[CHANNEL_PRESSURE_N], fds[CHANNEL_PRESSURE_N], r;
        uint32_t which;
        size_t n;

        if (mount->second_fd < 0)
                return -ENOTCONN;
        if (mount->pressure_sent)
                return -EALREADY;
        mount->pressure_sent = true;
        fd_fill(found, ELEMENTSOF(found));
        found[0] = pressure_trigger_at(AT_FDCWD, "/proc/pressure/memory");
        if (mount->cgroup)
                cgroup_open_memory(mount->cgroup, &found[1]);
        else if (mount->is_unit)
                unit_open_memory(mount->record.cgroup, &found[1]);
        which = pack(found, fds, &n);
        r = n == 0 ? -EOPNOTSUPP : 0;
        if (r >= 0)
                mount_channel_answer(mount, CHANNEL_PRESSURE, serial, which, NULL, 0, fds, n, &r);
        fd_close_many(fds, n);
        return r;
}

/* Safe: files of the kernel's about memory, of the whole machine and of the cgroup that the server is in; it has them to
 * poll and to read, and where they can be written to the kernel takes one trigger only, which is set. */
void mount_pressure(Mount *mount, const BrokerRequest *request) {
        mount_answer(mount, request, send_pressure(mount, request->clone.channel_serial), NULL, NULL, 0);
}
