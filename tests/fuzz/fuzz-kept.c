/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an earlier supervisor has left: whatever passes the check has strings that end, and enums that are in range. */

#include <stdlib.h>
#include <string.h>

#include "broker/keep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        KeptMount kept = {0};

        memcpy(&kept, data, MIN_OF(size, sizeof kept));
        if (size >= 8 && data[0] == 'k') { /* past the first gate */
                kept.magic = KEPT_MAGIC;
                kept.size = sizeof kept;
        }
        if (keep_validate(&kept, size >= sizeof kept ? sizeof kept : size) < 0)
                return 0;
        if (strlen(kept.record.type_name) >= sizeof kept.record.type_name || strlen(kept.record.cgroup) >= sizeof kept.record.cgroup ||
            strlen(kept.record.source_name) >= sizeof kept.record.source_name || kept.record.mount_id == 0)
                abort();
        for (size_t i = 0; i < POLICY_SLOTS_MAX; i++)
                if (kept.record.slots[i] >= _BROKER_SLOT_KIND_MAX)
                        abort();
        return 0;
}
