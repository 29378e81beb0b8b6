/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Accounting per user. See quota.h. A user exists here as long as something is charged to it. */

#include "manager/quota.h"

#include "base/log.h"

#define N_BUCKETS 256U /* uids are consecutive more often than not: the low bits spread them well */
#define LOG_BURST 20U
#define LOG_INTERVAL_USEC (10 * USEC_PER_SEC)

struct QuotaUser {
        Quota *quota; /* borrowed */
        QuotaUser *next; /* in its bucket */
        uid_t uid;
        uint32_t usage[_QUOTA_KIND_MAX];
        uint32_t n_charges;
};

struct Quota {
        QuotaUser *buckets[N_BUCKETS]; /* owned */
        LogRate log_rates[N_BUCKETS];  /* not in QuotaUser: who connects anew for each call has a new one each time */
        size_t n_users;
};

static const struct {
        const char *name;
        const char *key;
        Refusal refusal;
        size_t offset; /* in PolicyLimits */
} kind_rows[_QUOTA_KIND_MAX] = {
        [QUOTA_MOUNTS] = {"mounts", "MaxMounts", REFUSAL_QUOTA_MOUNTS, offsetof(PolicyLimits, max_mounts)},
        [QUOTA_PENDING] = {"pending", "MaxPending", REFUSAL_QUOTA_PENDING, offsetof(PolicyLimits, max_pending)},
        [QUOTA_FDS] = {"fds", "MaxFds", REFUSAL_QUOTA_FDS, offsetof(PolicyLimits, max_fds)},
        [QUOTA_PROCESSES] = {"processes", "MaxProcesses", REFUSAL_QUOTA_PROCESSES, offsetof(PolicyLimits, max_processes)},
        [QUOTA_MEMORY] = {"memory-mib", "MaxMemory", REFUSAL_QUOTA_MEMORY, offsetof(PolicyLimits, max_memory)},
        [QUOTA_CPU] = {"cpu-percent", "MaxCPU", REFUSAL_QUOTA_CPU, offsetof(PolicyLimits, max_cpu)},
        [QUOTA_CONNECTIONS] = {"connections", NULL, REFUSAL_QUOTA_TOTAL, 0},
};

int quota_new(Quota **ret) {
        Quota *quota = calloc(1, sizeof *quota);

        if (!quota)
                return -ENOMEM;
        *ret = quota;
        return 0;
}

Quota *quota_free(Quota *quota) {
        if (!quota)
                return NULL;
        assert(quota->n_users == 0);
        free(quota);
        return NULL;
}

static QuotaUser *find_user(const Quota *quota, uid_t uid) {
        for (QuotaUser *user = quota->buckets[uid % N_BUCKETS]; user; user = user->next)
                if (user->uid == uid)
                        return user;
        return NULL;
}

static QuotaUser *get_user(Quota *quota, uid_t uid) {
        QuotaUser *user = find_user(quota, uid);

        if (user)
                return user;
        user = calloc(1, sizeof *user);
        if (!user)
                return NULL;
        user->quota = quota;
        user->uid = uid;
        user->next = quota->buckets[uid % N_BUCKETS];
        quota->buckets[uid % N_BUCKETS] = user;
        quota->n_users++;
        return user;
}

static void drop_user_if_idle(QuotaUser *user) {
        QuotaUser **link = &user->quota->buckets[user->uid % N_BUCKETS];

        if (user->n_charges > 0)
                return;
        while (*link != user)
                link = &(*link)->next;
        *link = user->next;
        user->quota->n_users--;
        free(user);
}

int quota_charge(Quota *quota, uid_t uid, QuotaKind kind, uint32_t amount, uint32_t limit, QuotaCharge *charge) {
        const QuotaUser *known = find_user(quota, uid);
        uint32_t used = known ? known->usage[kind] : 0;

        assert(!charge->user);

        if (amount > UINT32_MAX - used || (limit != UINT32_MAX && used + amount > limit))
                return -EDQUOT;
        QuotaUser *user = get_user(quota, uid);
        if (!user)
                return -ENOMEM;
        user->usage[kind] += amount;
        user->n_charges++;
        *charge = (QuotaCharge){.user = user, .kind = kind, .amount = amount};
        return 0;
}

void quota_charge_release(QuotaCharge *charge) {
        QuotaUser *user = charge->user;

        if (!user)
                return;
        assert(user->usage[charge->kind] >= charge->amount && user->n_charges > 0);
        user->usage[charge->kind] -= charge->amount;
        user->n_charges--;
        *charge = QUOTA_CHARGE_NULL;
        drop_user_if_idle(user);
}

uint32_t quota_usage(const Quota *quota, uid_t uid, QuotaKind kind) {
        const QuotaUser *user = find_user(quota, uid);

        return user ? user->usage[kind] : 0;
}

size_t quota_n_users(const Quota *quota) {
        return quota->n_users;
}

int quota_each_user(const Quota *quota, int (*each)(void *userdata, uid_t uid), void *userdata) {
        for (size_t i = 0; i < N_BUCKETS; i++)
                for (const QuotaUser *user = quota->buckets[i]; user; user = user->next) {
                        int r = each(userdata, user->uid);
                        if (r < 0)
                                return r;
                }
        return 0;
}

bool quota_may_log(Quota *quota, uid_t uid, uint32_t *ret_dropped) {
        *ret_dropped = 0;
        return log_rate_ok(&quota->log_rates[uid % N_BUCKETS], LOG_BURST, LOG_INTERVAL_USEC, ret_dropped);
}

uint32_t quota_limit(const PolicyLimits *limits, QuotaKind kind) {
        assert(kind >= 0 && kind < _QUOTA_POLICY_MAX);
        return *(const uint32_t *) ((const char *) limits + kind_rows[kind].offset);
}

const char *quota_kind_to_string(QuotaKind kind) {
        return kind_rows[kind].name;
}

const char *quota_kind_to_key(QuotaKind kind) {
        return kind_rows[kind].key;
}

Refusal quota_kind_to_refusal(QuotaKind kind) {
        return kind_rows[kind].refusal;
}
