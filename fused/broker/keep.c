/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What outlives the supervisor. See keep.h. */

#include "broker/keep.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/message-id.h"

#define DIRECTORY "mounts"
#define STORE_NAME_MAX 64

/* What is stored of a mount, by name: "m12.fuse". */
static const struct {
        const char *name;
        size_t offset; /* of an int in Mount */
} parts[] = {
        {"fuse", offsetof(Mount, fuse_fd)},
        {"point", offsetof(Mount, mountpoint_fd)},
        {"server", offsetof(Mount, server_pidfd)},
        {"stderr", offsetof(Mount, stderr_fd)},
        {"owner", offsetof(Mount, owner_pidfd)},
        {"link", offsetof(Mount, link_fd)}, /* a mapping program stays bound */
};

static int *part_of(Mount *mount, size_t i) {
        return (int *) ((char *) mount + parts[i].offset);
}

/* ---- the fd store --------------------------------------------------------------------------------------------------- */

typedef struct Stored {
        struct Stored *next;
        int fd; /* owned */
        char name[STORE_NAME_MAX];
} Stored;

static Stored *stored; /* owned: what systemd gave us at start and nobody has taken yet */

void keep_notify(const char *state) {
        (void) sd_notify(0, state); /* nothing without $NOTIFY_SOCKET */
}

static void store_fd(const char *name, int fd) {
        char state[STORE_NAME_MAX + 32];
        int r;

        (void) snprintf(state, sizeof state, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
        r = sd_pid_notify_with_fds(0, 0, state, &fd, 1);
        if (r < 0)
                log_warning("%s cannot be put into the fd store: %s", name, strerror(-r));
}

static void unstore_fd(const char *name) {
        char state[STORE_NAME_MAX + 32];

        (void) snprintf(state, sizeof state, "FDSTOREREMOVE=1\nFDNAME=%s", name);
        keep_notify(state);
}

static int take_stored(const char *name) {
        for (Stored **link = &stored; *link; link = &(*link)->next)
                if (strcmp((*link)->name, name) == 0) {
                        Stored *found = *link;
                        int fd = found->fd;
                        *link = found->next;
                        free(found);
                        return fd;
                }
        return -EBADF;
}

/* What belongs to no mount that is left: out of the store with it. */
static void drop_stored(void) {
        while (stored) {
                Stored *rest = stored;
                stored = rest->next;
                log_debug("%s is not needed any more", rest->name);
                unstore_fd(rest->name);
                (void) fd_close(rest->fd);
                free(rest);
        }
}

static void note_stored(const char *name, int fd) {
        Stored *item = calloc(1, sizeof *item);

        if (!item || strlen(name) >= sizeof item->name || fd_set_cloexec(fd, true) < 0) {
                (void) fd_close(fd);
                free(item);
                return;
        }
        *item = (Stored){.next = stored, .fd = fd};
        strcpy(item->name, name);
        stored = item;
}

int keep_take_descriptors(Broker *broker) {
        char **names = NULL;
        int n, control_fd = -EBADF;

        n = sd_listen_fds_with_names(/* unset_environment= */ true, &names);
        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;
                if (strcmp(names[i], "control") == 0 && control_fd < 0 && sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) > 0) {
                        control_fd = fd;
                        (void) fd_set_cloexec(fd, true);
                } else
                        note_stored(names[i], fd);
                free(names[i]);
        }
        free(names);
        return control_fd;
}

/* ---- state files ---------------------------------------------------------------------------------------------------- */

static int directory_open(const Broker *broker) {
        if (mkdirat(broker->lock_fd, DIRECTORY, 0700) < 0 && errno != EEXIST)
                return -errno;
        return RET_NERRNO(openat(broker->lock_fd, DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
}

/* Field 22 of /proc/PID/stat; the name in field 2 may contain anything, and ends at the last parenthesis. */
static uint64_t start_of_process(const Broker *broker, pid_t pid) {
        char path[32], text[1024], *field;

        (void) snprintf(path, sizeof path, "%d/stat", pid);
        if (fd_read_file_at(broker->host.proc_fd, path, text, sizeof text) < 0)
                return 0;
        field = strrchr(text, ')');
        for (int i = 2; field && i < 22; i++)
                field = strchr(field + 1, ' ');
        return field ? strtoull(field + 1, NULL, 10) : 0;
}

static int write_state(const Mount *mount, const KeptMount *kept) {
        _cleanup_fd_ int directory_fd = -EBADF, fd = -EBADF;
        char name[32], new_name[40];

        directory_fd = directory_open(mount->broker);
        if (directory_fd < 0)
                return directory_fd;
        (void) snprintf(name, sizeof name, "%llu", (unsigned long long) kept->record.mount_id);
        (void) snprintf(new_name, sizeof new_name, "%s.new", name);
        fd = RET_NERRNO(openat(directory_fd, new_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (fd < 0)
                return fd;
        if (write(fd, kept, sizeof *kept) != (ssize_t) sizeof *kept)
                return -EIO;
        return RET_NERRNO(renameat(directory_fd, new_name, directory_fd, name));
}

static void part_name(char name[static STORE_NAME_MAX], uint64_t mount_id, const char *part) {
        (void) snprintf(name, STORE_NAME_MAX, "m%llu.%s", (unsigned long long) mount_id, part);
}

static void policy_name(char name[static STORE_NAME_MAX], uint32_t generation) {
        (void) snprintf(name, STORE_NAME_MAX, "policy.%u", generation);
}

void keep_mount(Mount *mount) {
        KeptMount kept = {
                .magic = KEPT_MAGIC,
                .size = sizeof kept,
                .server_start = mount->server_pid > 0 ? start_of_process(mount->broker, mount->server_pid) : 0,
                .owner_start = mount->owner_pidfd >= 0 ? start_of_process(mount->broker, mount->record.owner_pid) : 0,
                .is_unit = mount->is_unit,
                .attached = mount->attached,
                .record = mount->record,
        };
        char name[STORE_NAME_MAX];
        int r;

        r = write_state(mount, &kept);
        if (r < 0)
                log_warning("mount %llu: cannot be kept over a restart: %s", (unsigned long long) mount->record.mount_id, strerror(-r));
        if (!getenv("NOTIFY_SOCKET"))
                return;
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                if (*part_of(mount, i) >= 0) {
                        part_name(name, mount->record.mount_id, parts[i].name);
                        store_fd(name, *part_of(mount, i));
                }
        policy_name(name, mount->record.policy_generation);
        store_fd(name, policy_fd(mount->policy)); /* systemd sees that it has it already */
}

void keep_forget(const Mount *mount) {
        char name[STORE_NAME_MAX];

        if (mount->record.live_usec == 0)
                return;
        (void) snprintf(name, sizeof name, DIRECTORY "/%llu", (unsigned long long) mount->record.mount_id);
        (void) unlinkat(mount->broker->lock_fd, name, 0);
        if (!getenv("NOTIFY_SOCKET"))
                return;
        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                part_name(name, mount->record.mount_id, parts[i].name);
                unstore_fd(name);
        }
}

void keep_done(const Broker *broker) {
        if (broker->lock_fd >= 0)
                (void) unlinkat(broker->lock_fd, DIRECTORY, AT_REMOVEDIR);
}

/* ---- the way back --------------------------------------------------------------------------------------------------- */

static int read_state(int directory_fd, const char *name, KeptMount *kept) {
        _cleanup_fd_ int fd = -EBADF;
        char rest;
        ssize_t n;

        fd = RET_NERRNO(openat(directory_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
        if (fd < 0)
                return fd;
        n = RET_NERRNO(read(fd, kept, sizeof *kept));
        if (n < 0)
                return (int) n;
        return read(fd, &rest, 1) == 0 ? keep_validate(kept, (size_t) n) : -EBADMSG;
}

/* The generation that it was made under, if systemd kept it; else a type of the same name as it is now. */
static int find_policy(Broker *broker, Mount *mount) {
        char name[STORE_NAME_MAX];

        for (const Mount *other = broker->mounts; other && !mount->policy; other = other->next)
                if (other->policy && policy_generation(other->policy) == mount->record.policy_generation)
                        mount->policy = policy_ref(other->policy);
        if (!mount->policy) {
                policy_name(name, mount->record.policy_generation);
                _cleanup_fd_ int fd = take_stored(name);
                if (fd >= 0)
                        (void) policy_new_from_fd(fd, mount->record.policy_generation, &mount->policy);
        }
        if (mount->policy)
                mount->type = policy_type(policy_table(mount->policy), mount->record.type_index);
        if (mount->type && strcmp(mount->type->name, mount->record.type_name) == 0)
                return 0;
        (void) policy_unref(mount->policy);
        mount->policy = policy_ref(broker->policy);
        mount->record.policy_generation = policy_generation(broker->policy);
        mount->type = policy_type_by_name(policy_table(broker->policy), mount->record.type_name, &mount->record.type_index);
        return mount->type ? 0 : -ENOENT;
}

/* A pid is only a number: it is the server's if the process behind it began when the server did. */
static int find_server(Mount *mount, const KeptMount *kept) {
        Broker *broker = mount->broker;

        if (mount->server_pidfd >= 0 && !host_fd_is_pidfd(&broker->host, mount->server_pidfd))
                mount->server_pidfd = fd_close(mount->server_pidfd);
        if (mount->server_pidfd < 0 && kept->record.server_pid > 0)
                mount->server_pidfd = RET_NERRNO(pidfd_open(kept->record.server_pid, 0));
        if (mount->server_pidfd < 0)
                return kept->record.server_pid > 0 ? -ESRCH : 0;
        if (start_of_process(broker, kept->record.server_pid) != kept->server_start)
                return -ESRCH;
        mount->server_pid = kept->record.server_pid;
        mount->is_unit = true; /* whoever started it, it is not our child */
        return mount_watch_server(mount);
}

/* -ESRCH: the mount should have ended with it, but nobody was there. */
static int find_owner(Mount *mount, const KeptMount *kept) {
        Broker *broker = mount->broker;

        if (mount->owner_pidfd >= 0 && !host_fd_is_pidfd(&broker->host, mount->owner_pidfd))
                mount->owner_pidfd = fd_close(mount->owner_pidfd);
        if (kept->record.owner_pid == 0)
                return 0;
        if (mount->owner_pidfd < 0) {
                mount->owner_pidfd = RET_NERRNO(pidfd_open(kept->record.owner_pid, 0));
                if (mount->owner_pidfd < 0 || start_of_process(broker, kept->record.owner_pid) != kept->owner_start)
                        return -ESRCH;
        }
        return mount_watch_owner(mount);
}

static int adopt(Broker *broker, const KeptMount *kept) {
        unsigned long long id = kept->record.mount_id;
        Mount *mount;
        int r;

        if (mount_find(broker, id))
                return -EEXIST;
        mount = mount_new_empty(broker);
        if (!mount)
                return -ENOMEM;
        mount->record = kept->record;
        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                char name[STORE_NAME_MAX];
                part_name(name, id, parts[i].name);
                *part_of(mount, i) = take_stored(name);
        }
        broker->next_mount_id = MAX_OF(broker->next_mount_id, kept->record.mount_id);
        mount->state = MOUNT_LIVE;
        mount->attached = kept->attached;
        r = find_policy(broker, mount);
        if (r < 0) {
                log_warning("mount %llu of type %s was left by an earlier supervisor and cannot be taken over: %s", id, kept->record.type_name,
                            strerror(-r));
                mount_release(mount);
                return r;
        }
        mount->record.program_bound = mount->link_fd >= 0; /* without the store it ended with the supervisor */
        mount->abort_fd = host_connection_open_abort(&broker->host, mount->record.connection, mount->fuse_fd);
        r = find_server(mount, kept);
        char number[24];
        (void) snprintf(number, sizeof number, "%llu", id);
        const LogField fields[] = {{"MESSAGE_ID", MESSAGE_TAKEN_OVER}, {"MOUNT", number}};
        log_fields(LOG_LEVEL_INFO, fields, ELEMENTSOF(fields), "mount %llu: taken over from an earlier supervisor%s", id,
                   r < 0 ? ", but its server has ended" : "");
        if (r < 0)
                mount_end(mount, BROKER_REASON_SERVER_EXIT, /* graceful= */ false);
        else if (find_owner(mount, kept) < 0)
                mount_end(mount, BROKER_REASON_OWNER_GONE, /* graceful= */ true);
        return 0;
}

int keep_restore(Broker *broker) {
        int directory_fd = directory_open(broker);
        const struct dirent *entry;
        DIR *directory;
        KeptMount kept;

        directory = directory_fd >= 0 ? fdopendir(directory_fd) : NULL;
        if (!directory) {
                int r = directory_fd < 0 ? directory_fd : -errno;
                (void) fd_close(directory_fd);
                return log_errno(r, "cannot read what an earlier supervisor has left: %s", strerror(-r));
        }
        while ((entry = readdir(directory))) {
                if (entry->d_name[0] == '.')
                        continue;
                int r = read_state(dirfd(directory), entry->d_name, &kept);
                if (r < 0) /* another version's, or half written */
                        log_warning("%s/" DIRECTORY "/%s is not understood, its mount stays as it is", broker->runtime_directory, entry->d_name);
                else
                        r = adopt(broker, &kept);
                if (r < 0)
                        (void) unlinkat(dirfd(directory), entry->d_name, 0);
        }
        (void) closedir(directory);
        drop_stored();
        return 0;
}
