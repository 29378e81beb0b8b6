/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one decision: may this caller mount this type on this source with these options? Used by the broker to enforce
 * and to explain; pure but for the two device questions, which go through a vtable so that tests need no device. */

#include "policy/policy-table.h"

typedef enum Refusal {
        REFUSAL_NONE,
        REFUSAL_NO_SUCH_TYPE,     /* no type of that name */
        REFUSAL_TYPE_DISABLED,    /* its definition has a mistake; detail in PolicyType.disabled */
        REFUSAL_NO_RULE,          /* the type has no [Allow] section for this user at all */
        REFUSAL_CALLER,           /* there is a rule for this user, but not in this unit, cgroup or user namespace */
        REFUSAL_SOURCE_KIND,      /* this user may mount the type, but not from this kind of source */
        REFUSAL_DEVICE,           /* this user may mount the type from devices, but not from this one */
        REFUSAL_OPTION,           /* an option that no matching rule grants; AuthorizeResult.options has the bits */
        REFUSAL_SLOT_MISSING,     /* a required slot is empty */
        REFUSAL_SLOT_UNKNOWN,     /* the request names a slot that the type does not have */
        REFUSAL_DEVICE_BUSY,      /* held exclusively by somebody else, or mounted */
        REFUSAL_DEVICE_READ_ONLY, /* the device cannot be written and the mount is not ro */
        REFUSAL_DEVICE_EMPTY,     /* size 0: no medium */
        REFUSAL_FILE_BUSY,        /* an image that is written by another mount, or locked by a program; or read, and is to be written */
        REFUSAL_BAD_FD,           /* wrong kind of fd: not a regular file, O_PATH, no write access, ... */
        REFUSAL_MOUNTPOINT,       /* not a directory or file, or not the caller's own */
        REFUSAL_MOUNTPOINT_FS,    /* on a file system where fused does not mount (FUSE, procfs, sysfs, cgroup) */
        REFUSAL_NAMESPACE,    /* the caller's namespaces cannot be used (ids not mapped, or not known on this kernel) */
        REFUSAL_TREE,         /* the tree's file system cannot be idmapped */
        REFUSAL_OWNER,        /* not a live process of the caller's user, or not a pidfd at all */
        REFUSAL_QUOTA_MOUNTS, /* per-user limits */
        REFUSAL_QUOTA_PENDING,
        REFUSAL_QUOTA_FDS,
        REFUSAL_QUOTA_PROCESSES,
        REFUSAL_QUOTA_MEMORY,
        REFUSAL_QUOTA_CPU,
        REFUSAL_QUOTA_SHARE, /* of what there is for everybody */
        REFUSAL_QUOTA_TOTAL, /* the supervisor's own limit, or no uid left for a server */
        _REFUSAL_MAX,
        _REFUSAL_INVALID = -EINVAL,
} Refusal;

const char *refusal_to_string(Refusal refusal);   /* "no-rule": stable, for D-Bus and JSON */
const char *refusal_text(Refusal refusal);        /* one sentence: what was refused */
const char *refusal_hint(Refusal refusal);        /* one sentence: what would help */
bool refusal_is_quota(Refusal refusal);

typedef struct AuthorizeRequest {
        uid_t uid;
        gid_t gid;
        const gid_t *groups; /* borrowed */
        size_t n_groups;
        uint32_t source;     /* one PolicySource bit, for the slot "source" */
        dev_t device;        /* if source == POLICY_SOURCE_DEVICE */
        uint32_t options;    /* PolicyOption bits asked for */
        const char *cgroup;  /* path of the caller's cgroup; NULL: not known, which matches no pattern */
        bool foreign;        /* the caller is not in the supervisor's own user namespace: its root is nobody special */
        uid_t owner;         /* of the caller's user namespace */
} AuthorizeRequest;

typedef struct AuthorizeResult {
        Refusal refusal;
        PolicyPlace place;   /* the rule that allowed, or the one that came closest, or the type's own place */
        uint32_t options;    /* granted options, or for REFUSAL_OPTION the offending bits */
        bool administrator;
} AuthorizeResult;

typedef struct AuthorizeDevices {
        /* Both return 1 (the same device), 0 (another, or none there) or negative errno (treated as "another"). */
        int (*path_is_device)(void *userdata, const char *path_below_dev, dev_t device);
        int (*loop_is_backed_by)(void *userdata, dev_t device, const char *path);
        void *userdata;
} AuthorizeDevices;

/* Always fills *ret. Options: allow_other implies default_permissions; a type's read_only adds ro. */
void policy_authorize(const PolicyTable *table, const PolicyType *type, const AuthorizeRequest *request,
                      const AuthorizeDevices *devices, AuthorizeResult *ret);
