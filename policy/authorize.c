/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decision. Default: no. A rule must match the user, the kind of source, the device, and grant every option that is
 * not harmless; among the rules that do not, the one that came furthest gives the reason. See authorize.h. */

#include "policy/authorize.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

typedef struct RefusalRow {
        const char *word;
        const char *text;
        const char *hint;
} RefusalRow;

static const RefusalRow refusal_rows[_REFUSAL_MAX] = {
        [REFUSAL_NONE] = {"", "allowed", ""},
        [REFUSAL_NO_SUCH_TYPE] = {"no-such-type", "there is no such type",
                "'fusectl types' lists those that there are"},
        [REFUSAL_TYPE_DISABLED] = {"type-disabled", "the definition of this type has a mistake",
                "correct the file and send fused a SIGHUP"},
        [REFUSAL_NO_RULE] = {"no-rule", "no rule allows this user to mount this type",
                "an [Allow] section of the type that names the user or one of its groups"},
        [REFUSAL_CALLER] = {"caller", "this user may not mount this type from where it is",
                "ask from a unit, cgroup or user namespace that Units=, Cgroups= or NamespaceOwners= of a rule names, or another rule"},
        [REFUSAL_SOURCE_KIND] = {"source-kind", "this kind of source is not allowed here",
                "another kind of source, or Accept= of the slot and Sources= of a rule for this user that name it"},
        [REFUSAL_DEVICE] = {"device", "this device is not allowed for this user",
                "a rule for this user whose Devices= matches the device"},
        [REFUSAL_OPTION] = {"option", "a mount option is not allowed",
                "leave the option out, or Options= of a rule for this user that names it (suid and dev also need "
                "Administrator=yes)"},
        [REFUSAL_SLOT_MISSING] = {"slot-missing", "something that this type needs was not given",
                "give a source, or bind the slot with -o slot.NAME=PATH; 'fusectl types' shows the slots"},
        [REFUSAL_SLOT_UNKNOWN] = {"slot-unknown", "this type has no such slot",
                "'fusectl types' shows the slots of the type"},
        [REFUSAL_DEVICE_BUSY] = {"device-busy", "the device is in use", "unmount or close what holds it"},
        [REFUSAL_DEVICE_READ_ONLY] = {"device-read-only", "the device cannot be written", "mount with -o ro"},
        [REFUSAL_DEVICE_EMPTY] = {"device-empty", "the device has no medium", "insert or attach one"},
        [REFUSAL_FILE_BUSY] = {"file-busy", "the file is in use by another mount or program",
                "unmount or close what uses it, or mount it with -o ro in all places"},
        [REFUSAL_BAD_FD] = {"bad-fd", "a descriptor is not what it should be",
                "pass a regular file opened for reading and writing (for reading with ro), a directory opened for "
                "reading, or a block device"},
        [REFUSAL_MOUNTPOINT] = {"mountpoint", "the mount point is not the caller's own directory or file",
                "a directory that you own"},
        [REFUSAL_MOUNTPOINT_FS] = {"mountpoint-fs", "fused does not mount on this kind of file system",
                "a mount point on a disk file system or tmpfs, or --detached"},
        [REFUSAL_NAMESPACE] = {"namespace", "the caller's namespaces cannot be used",
                "map the caller's user and group in its user namespace; on kernels before 6.5 call from the host's "
                "namespaces"},
        [REFUSAL_TREE] = {"tree", "the file system of this directory cannot be handed over",
                "a directory on a file system with idmapped mounts (ext4, xfs, btrfs, tmpfs since Linux 6.3)"},
        [REFUSAL_OWNER] = {"owner", "a mount cannot end with that process",
                "a live process of the same user"},
        [REFUSAL_QUOTA_MOUNTS] = {"quota-mounts", "too many mounts",
                "unmount something, or raise MaxMounts= in fused.conf"},
        [REFUSAL_QUOTA_PENDING] = {"quota-pending", "too many mounts are being made at the same time",
                "wait for them, or raise MaxPending= in fused.conf"},
        [REFUSAL_QUOTA_FDS] = {"quota-fds", "too many descriptors are held",
                "unmount something, or raise MaxFds= in fused.conf"},
        [REFUSAL_QUOTA_PROCESSES] = {"quota-processes", "too many server processes",
                "unmount something, or raise MaxProcesses= in fused.conf"},
        [REFUSAL_QUOTA_MEMORY] = {"quota-memory", "the servers may use too much memory together",
                "unmount something, raise MaxMemory= in fused.conf, or lower Memory= of the type"},
        [REFUSAL_QUOTA_CPU] = {"quota-cpu", "the servers may use too much processor time together",
                "unmount something, raise MaxCPU= in fused.conf, or lower CPU= of the type"},
        [REFUSAL_QUOTA_SHARE] = {"quota-share", "more than a fair share of all mounts",
                "unmount something, or raise MaxMounts= of [Supervisor] in fused.conf"},
        [REFUSAL_QUOTA_TOTAL] = {"quota-total", "the supervisor has no room for another mount",
                "raise MaxMounts= or Uids= in the section [Supervisor] of fused.conf"},
};

static const RefusalRow *refusal_row(Refusal refusal) {
        return (size_t) refusal < ELEMENTSOF(refusal_rows) ? &refusal_rows[refusal] : &refusal_rows[REFUSAL_NO_RULE];
}

const char *refusal_to_string(Refusal refusal) {
        return refusal_row(refusal)->word;
}

const char *refusal_text(Refusal refusal) {
        return refusal_row(refusal)->text;
}

const char *refusal_hint(Refusal refusal) {
        return refusal_row(refusal)->hint;
}

bool refusal_is_quota(Refusal refusal) {
        return refusal >= REFUSAL_QUOTA_MOUNTS && refusal <= REFUSAL_QUOTA_TOTAL;
}

static bool id_listed(const PolicyTable *table, PolicyRange ids, uint32_t id) {
        const uint32_t *list = policy_ids(table, ids);

        for (uint32_t i = 0; i < ids.count; i++)
                if (list[i] == id || list[i] == POLICY_ID_ANY)
                        return true;
        return false;
}

/* The words of a list, each with the patterns of fnmatch(3); cgroup is NULL if it is not known. */
static bool cgroup_matches(const char *patterns, const char *cgroup, bool by_part) {
        char words[1024], path[1024], *cursor = words, *word;

        if (!cgroup || snprintf(words, sizeof words, "%s", patterns) >= (int) sizeof words ||
            snprintf(path, sizeof path, "%s", cgroup) >= (int) sizeof path)
                return false;
        while ((word = strsep(&cursor, " \t"))) {
                char copy[sizeof path], *rest = copy, *part;
                if (!*word)
                        continue;
                if (!by_part && (fnmatch(word, path, FNM_PATHNAME | FNM_LEADING_DIR) == 0 || strcmp(word, "/") == 0))
                        return true;
                memcpy(copy, path, sizeof copy);
                while (by_part && (part = strsep(&rest, "/")))
                        if (*part && fnmatch(word, part, 0) == 0)
                                return true;
        }
        return false;
}

static bool owner_matches(const PolicyTable *table, const PolicyRule *rule, const AuthorizeRequest *request) {
        const uint32_t *list = policy_ids(table, rule->owners);

        for (uint32_t i = 0; i < rule->owners.count; i++)
                if (list[i] == POLICY_ID_HOST ? !request->foreign : request->foreign && (list[i] == request->owner || list[i] == POLICY_ID_ANY))
                        return true;
        return rule->owners.count == 0;
}

/* Where the caller is, beside who it is. An administrator is one of the host's. */
static bool place_matches(const PolicyTable *table, const PolicyRule *rule, const AuthorizeRequest *request) {
        const char *units = policy_string(table, rule->units), *cgroups = policy_string(table, rule->cgroups);

        if (rule->administrator && request->foreign)
                return false;
        if (*units && !cgroup_matches(units, request->cgroup, /* by_part= */ true))
                return false;
        if (*cgroups && !cgroup_matches(cgroups, request->cgroup, /* by_part= */ false))
                return false;
        return owner_matches(table, rule, request);
}

static bool user_matches(const PolicyTable *table, const PolicyRule *rule, const AuthorizeRequest *request) {
        /* The root of a container that has the host's number for it: what is said of root does not mean that one. */
        if (request->foreign && request->uid == 0)
                return id_listed(table, rule->uids, POLICY_ID_ANY) || id_listed(table, rule->gids, POLICY_ID_ANY);
        if (id_listed(table, rule->uids, request->uid) || id_listed(table, rule->gids, request->gid))
                return true;
        for (size_t i = 0; i < request->n_groups; i++)
                if (id_listed(table, rule->gids, request->groups[i]))
                        return true;
        return false;
}

static bool device_matches(const PolicyTable *table, const PolicyDevice *device, dev_t wanted,
                           const AuthorizeDevices *devices) {
        switch ((PolicyDeviceKind) device->kind) {
        case POLICY_DEVICE_NUMBER:
                return (device->major == POLICY_ID_ANY || device->major == major(wanted)) &&
                       (device->minor == POLICY_ID_ANY || device->minor == minor(wanted));
        case POLICY_DEVICE_PATH:
                return devices &&
                       devices->path_is_device(devices->userdata, policy_string(table, device->path), wanted) > 0;
        case POLICY_DEVICE_LOOP:
                return devices &&
                       devices->loop_is_backed_by(devices->userdata, wanted, policy_string(table, device->path)) > 0;
        case _POLICY_DEVICE_KIND_MAX:
                break;
        }
        return false;
}

static bool any_device_matches(const PolicyTable *table, const PolicyRule *rule, dev_t wanted,
                               const AuthorizeDevices *devices) {
        for (uint32_t i = 0; i < rule->devices.count; i++)
                if (device_matches(table, policy_device(table, rule, i), wanted, devices))
                        return true;
        return false;
}

/* What this rule says; a rule of an administrator grants suid and dev only if it names them as well. */
static Refusal apply_rule(const PolicyTable *table, const PolicyRule *rule, const AuthorizeRequest *request,
                          const AuthorizeDevices *devices, uint32_t options, uint32_t *ret_offending) {
        const uint32_t administrators = POLICY_OPTION_SUID | POLICY_OPTION_DEV;
        uint32_t granted = rule->options | _POLICY_OPTION_HARMLESS;

        if (!user_matches(table, rule, request))
                return REFUSAL_NO_RULE;
        if (!place_matches(table, rule, request))
                return REFUSAL_CALLER;
        if (!(rule->sources & request->source))
                return REFUSAL_SOURCE_KIND;
        if (request->source == POLICY_SOURCE_DEVICE && !any_device_matches(table, rule, request->device, devices))
                return REFUSAL_DEVICE;
        if (!rule->administrator)
                granted &= ~administrators;
        *ret_offending = options & ~granted;
        return *ret_offending ? REFUSAL_OPTION : REFUSAL_NONE;
}

void policy_authorize(const PolicyTable *table, const PolicyType *type, const AuthorizeRequest *request,
                      const AuthorizeDevices *devices, AuthorizeResult *ret) {
        uint32_t options = request->options;

        /* Others' access is then checked by the kernel, not by the server's good will. */
        if (options & POLICY_OPTION_ALLOW_OTHER)
                options |= POLICY_OPTION_DEFAULT_PERMISSIONS;
        if (type->read_only)
                options |= POLICY_OPTION_RO;
        *ret = (AuthorizeResult){.refusal = REFUSAL_NO_RULE, .place = type->place};
        if (type->disabled) {
                ret->refusal = REFUSAL_TYPE_DISABLED;
                return;
        }
        /* The refusals of rules are ordered by how far the request came: no-rule < caller < source-kind < device < option. */
        for (uint32_t i = 0; i < type->rules.count; i++) {
                const PolicyRule *rule = policy_rule(table, type, i);
                uint32_t offending = 0;
                Refusal refusal = apply_rule(table, rule, request, devices, options, &offending);

                if (refusal == REFUSAL_NONE) {
                        *ret = (AuthorizeResult){
                                .place = rule->place, .options = options, .administrator = rule->administrator};
                        return;
                }
                if (refusal > ret->refusal)
                        *ret = (AuthorizeResult){.refusal = refusal, .place = rule->place, .options = offending};
        }
}
