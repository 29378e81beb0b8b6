/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Is this a record of a mount that an earlier supervisor wrote? See keep.h. */

#include <string.h>

#include "broker/keep.h"

static bool is_terminated(const char *text, size_t size) {
        return memchr(text, 0, size);
}

int keep_validate(const KeptMount *kept, size_t size) {
        const BrokerRecord *record = &kept->record;

        if (size != sizeof *kept || kept->magic != KEPT_MAGIC || kept->size != sizeof *kept)
                return -EBADMSG;
        if (record->mount_id == 0 || record->live_usec == 0 || record->server_pid < 0 || record->owner_pid < 0 || record->kernel_mount_id == 0 ||
            (record->flags & ~(uint32_t) _BROKER_CREATE_FLAGS_ALL) || (record->options & ~(uint32_t) _POLICY_OPTION_ALL))
                return -EBADMSG;
        for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                if (record->slots[i] >= _BROKER_SLOT_KIND_MAX)
                        return -EBADMSG;
        if (!is_terminated(record->type_name, sizeof record->type_name) || !is_terminated(record->cgroup, sizeof record->cgroup) ||
            !is_terminated(record->source_name, sizeof record->source_name) ||
            !is_terminated(record->mountpoint_name, sizeof record->mountpoint_name) ||
            !is_terminated(record->server_options, sizeof record->server_options))
                return -EBADMSG;
        return 0;
}
