/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table as somebody who has taken over fused-policy might write it: what passes the validation is walked by every
 * accessor, and decided on.
 *
 * Input: 'R' and a table; or something else and patches of a good one, six bytes each: offset (2), value (4). Both
 * survive a change of the layout better than a stored table. */

#include <string.h>

#include "../unit/policy-fixture.h"
#include "policy/authorize.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int path_is_device(void *userdata, const char *path, dev_t device) {
        return strlen(path) == 1;
}

static int loop_is_backed_by(void *userdata, dev_t device, const char *path) {
        return strlen(path) == 1;
}

static void decide(const PolicyTable *table, const PolicyType *type) {
        static const gid_t groups[] = {6, 100};
        const AuthorizeDevices devices = {.path_is_device = path_is_device, .loop_is_backed_by = loop_is_backed_by};

        for (uint32_t source = 1; source < _POLICY_SOURCE_ALL; source <<= 1)
                for (uint32_t uid = 0; uid < 3; uid++) {
                        const AuthorizeRequest request = {
                                .uid = uid * 500,
                                .gid = uid,
                                .groups = groups,
                                .n_groups = ELEMENTSOF(groups),
                                .source = source,
                                .device = 0x800,
                                .options = uid ? POLICY_OPTION_ALLOW_OTHER : _POLICY_OPTION_ALL,
                        };
                        AuthorizeResult result;
                        policy_authorize(table, type, &request, &devices, &result);
                        bool lifted = result.options & (POLICY_OPTION_SUID | POLICY_OPTION_DEV);
                        if ((type->disabled && result.refusal != REFUSAL_TYPE_DISABLED) ||
                            (result.refusal == REFUSAL_NONE && lifted && !result.administrator))
                                abort();
                        (void) walk_place(table, result.place);
                }
}

static void check(const void *table, size_t size) {
        if (policy_table_validate(table, size) < 0)
                return;
        (void) walk_table(table);
        for (uint32_t i = 0; i < ((const PolicyTable *) table)->types.count; i++)
                decide(table, policy_type(table, i));
}

static void check_patched(const uint8_t *data, size_t size) {
        Fixture *f _cleanup_free_ = malloc(sizeof *f);

        if (!f)
                return;
        fixture_fill(f);
        for (; size >= 6; data += 6, size -= 6) {
                uint16_t offset;
                memcpy(&offset, data, sizeof offset);
                memcpy((char *) f + offset % (sizeof *f - 3), data + 2, 4);
        }
        check(f, sizeof *f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size > 0 && data[0] == 'R') {
                void *copy _cleanup_free_ = malloc(size); /* aligned, and no larger than the input */
                if (!copy)
                        return 0;
                memcpy(copy, data + 1, size - 1);
                check(copy, size - 1);
        } else if (size > 0)
                check_patched(data + 1, size - 1);
        return 0;
}
