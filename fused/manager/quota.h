/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one accounting type: what each user holds of the supervisor. Whatever is held for a user owns a QuotaCharge, made in its
 * constructor and released in its destructor, so that the numbers cannot drift from what exists. */

#include <sys/types.h>

#include "base/macro.h"
#include "policy/authorize.h"

typedef enum QuotaKind {
        QUOTA_MOUNTS,      /* pending ones included */
        QUOTA_PENDING,     /* asked for, not live yet */
        QUOTA_FDS,         /* descriptors that the supervisor holds for mounts */
        QUOTA_PROCESSES,
        QUOTA_MEMORY,      /* MiB that servers may use */
        QUOTA_CPU,         /* percent of one processor, likewise */
        _QUOTA_POLICY_MAX, /* those above have limits in fused.conf */
        QUOTA_CONNECTIONS = _QUOTA_POLICY_MAX,
        _QUOTA_KIND_MAX,
        _QUOTA_KIND_INVALID = -EINVAL,
} QuotaKind;

typedef struct Quota Quota;
typedef struct QuotaUser QuotaUser;

typedef struct QuotaCharge {
        QuotaUser *user; /* NULL: nothing is charged */
        QuotaKind kind;
        uint32_t amount;
} QuotaCharge;
#define QUOTA_CHARGE_NULL ((QuotaCharge){0})

int quota_new(Quota **ret) _must_check_;
Quota *quota_free(Quota *quota); /* every charge must have been released */

/* Charges amount to the user unless the sum would exceed limit (UINT32_MAX: none). Returns 0, -EDQUOT or -ENOMEM;
 * *charge, which must be empty, is untouched on failure. */
int quota_charge(Quota *quota, uid_t uid, QuotaKind kind, uint32_t amount, uint32_t limit, QuotaCharge *charge) _must_check_;
void quota_charge_release(QuotaCharge *charge); /* empties it; harmless on an empty one */

uint32_t quota_usage(const Quota *quota, uid_t uid, QuotaKind kind);
size_t quota_n_users(const Quota *quota);

/* Calls it for each user to whom something is charged, until it returns < 0, which is returned. */
int quota_each_user(const Quota *quota, int (*each)(void *userdata, uid_t uid), void *userdata);

/* May this user cause one more line in the log? A user without any charge may. */
bool quota_may_log(Quota *quota, uid_t uid, uint32_t *ret_dropped);

uint32_t quota_limit(const PolicyLimits *limits, QuotaKind kind);
const char *quota_kind_to_string(QuotaKind kind);  /* as in the API: "mounts" */
const char *quota_kind_to_key(QuotaKind kind);     /* as in fused.conf: "MaxMounts" */
Refusal quota_kind_to_refusal(QuotaKind kind);
