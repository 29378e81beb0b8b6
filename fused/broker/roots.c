/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sandbox roots by type. A mount of an older generation that is still starting gets one of its own again. */

#include "broker/roots.h"

#include "base/fd.h"

struct TypeRoot {
        TypeRoot *next;
        Policy *policy; /* owned reference */
        const PolicyType *type;
        int ns_fd;      /* owned */
};

void type_roots_flush(Broker *broker) {
        while (broker->roots) {
                TypeRoot *root = broker->roots;
                broker->roots = root->next;
                root->ns_fd = fd_close(root->ns_fd);
                root->policy = policy_unref(root->policy);
                free(root);
        }
}

static int build(const PolicyTable *table, PolicyRange files, const PolicyType *type, int *ret_fd) {
        _cleanup_free_ const char **paths = NULL;
        const char *slots[POLICY_SLOTS_MAX];
        size_t n_slots = 0;

        paths = calloc(files.count + 1, sizeof *paths);
        if (!paths)
                return -ENOMEM;
        for (uint32_t i = 0; i < files.count; i++)
                paths[i] = policy_file(table, files, i);
        if (type)
                for (n_slots = 0; n_slots < type->slots.count; n_slots++)
                        slots[n_slots] = policy_string(table, policy_slot(table, type, (uint32_t) n_slots)->path);
        return sandbox_root_new(paths, files.count, slots, n_slots, ret_fd);
}

int type_root_get(Broker *broker, Policy *policy, const PolicyType *type, int *ret_fd) {
        TypeRoot *root;
        int r;

        for (root = broker->roots; root; root = root->next)
                if (root->policy == policy && root->type == type) {
                        *ret_fd = root->ns_fd;
                        return 0;
                }
        root = calloc(1, sizeof *root);
        if (!root)
                return -ENOMEM;
        r = build(policy_table(policy), type->files, type, &root->ns_fd);
        if (r < 0) {
                free(root);
                return r;
        }
        root->policy = policy_ref(policy);
        root->type = type;
        root->next = broker->roots;
        broker->roots = root;
        *ret_fd = root->ns_fd;
        return 0;
}

int manager_root_make(Broker *broker) {
        const PolicyTable *table = policy_table(broker->policy);
        int fd, r;

        r = build(table, table->manager_files, NULL, &fd);
        if (r < 0)
                return r;
        (void) fd_close(broker->manager_root_fd);
        broker->manager_root_fd = fd;
        return 0;
}
