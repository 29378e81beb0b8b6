/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which cgroup hierarchies the supervisor can use. See cgroup-find.h.
 *
 * In version 2 a cgroup with processes cannot hand controllers on ("no internal processes"). Where the supervisor is
 * alone in its cgroup (a unit with Delegate=) it moves into a leaf of its own and takes them; in the root cgroup the
 * rule does not hold; elsewhere (a login session) version 2 is used without limits, as the other processes are not ours
 * to move. */

#include "launcher/cgroup-find.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#define TEXT_MAX (256 * 1024) /* mountinfo of a host with some thousand mounts */

static const struct {
        CgroupController controller;
        const char *name;
} controllers[] = {
        {CGROUP_MEMORY, "memory"},
        {CGROUP_PIDS, "pids"},
        {CGROUP_CPU, "cpu"},
};

/* Is word one of the words of list (which ends at end)? */
static bool has_word(const char *list, size_t length, const char *separators, const char *word) {
        const char *end = list + length;

        while (list < end) {
                size_t n = strcspn(list, separators);
                n = MIN_OF(n, (size_t) (end - list));
                if (n == strlen(word) && memcmp(list, word, n) == 0)
                        return true;
                list += n + 1;
        }
        return false;
}

bool cgroup_own_path(const char *cgroups, const char *controller, char *path, size_t size) {
        for (const char *line = cgroups; *line;) {
                size_t length = strcspn(line, "\n");
                const char *list = memchr(line, ':', length);
                const char *own = list ? memchr(list + 1, ':', length - (size_t) (list + 1 - line)) : NULL;
                if (own) {
                        size_t list_length = (size_t) (own - list) - 1, own_length = length - (size_t) (own + 1 - line);
                        bool match = *controller ? has_word(list + 1, list_length, ",:", controller) : list_length == 0;
                        if (match && own_length < size) {
                                memcpy(path, own + 1, own_length);
                                path[own_length] = 0;
                                return true;
                        }
                }
                line += length + (line[length] != 0);
        }
        return false;
}

/* Octal escapes of mountinfo ("\040"), in place. */
static void unescape(char *text) {
        char *to = text;

        for (const char *from = text; *from; to++)
                if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] && from[3]) {
                        *to = (char) ((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
                        from += 4;
                } else
                        *to = *from++;
        *to = 0;
}

/* One line: id parent dev ROOT POINT options... - TYPE source SUPEROPTIONS */
static bool match_line(char *line, const char *controller, const char *own_path, char *directory, size_t size) {
        char *fields[5], *type, *options;

        char *separator = strstr(line, " - ");
        if (!separator)
                return false;
        *separator = 0;
        type = separator + 3;
        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                fields[i] = strsep(&line, " ");
                if (!fields[i])
                        return false;
        }
        options = strchr(type, ' ');
        if (!options)
                return false;
        *options++ = 0;
        options = strchr(options, ' ');
        if (!options)
                return false;
        options++;
        if (strcmp(type, *controller ? "cgroup" : "cgroup2") != 0)
                return false;
        if (*controller && !has_word(options, strlen(options), ",", controller))
                return false;
        unescape(fields[3]);
        unescape(fields[4]);
        /* The mount may show a part of the hierarchy only: our path has to lie in it. */
        size_t root_length = strcmp(fields[3], "/") == 0 ? 0 : strlen(fields[3]);
        if (strncmp(own_path, fields[3], root_length) != 0)
                return false;
        own_path += root_length;
        if (*own_path && *own_path != '/')
                return false;
        if (strcmp(own_path, "/") == 0)
                own_path = "";
        int n = snprintf(directory, size, "%s%s", fields[4], own_path);
        return n > 0 && (size_t) n < size && !strstr(own_path, "/..");
}

bool cgroup_directory(const char *mountinfo, const char *controller, const char *own_path, char *directory,
                      size_t size) {
        char line[4096];

        for (const char *at = mountinfo; *at;) {
                size_t length = strcspn(at, "\n");
                if (length < sizeof line) {
                        memcpy(line, at, length);
                        line[length] = 0;
                        if (match_line(line, controller, own_path, directory, size))
                                return true;
                }
                at += length + (at[length] != 0);
        }
        return false;
}

static bool file_has_word(int fd, const char *file, const char *word) {
        char text[1024];
        ssize_t n = fd_read_file_at(fd, file, text, sizeof text);

        return n > 0 && has_word(text, (size_t) n, " \n", word);
}

static bool alone_in(int fd) {
        char text[64], own[16];

        (void) snprintf(own, sizeof own, "%d\n", getpid());
        return fd_read_file_at(fd, "cgroup.procs", text, sizeof text) > 0 && strcmp(text, own) == 0;
}

static int switch_controller(int fd, char sign, const char *name) {
        char text[32];

        (void) snprintf(text, sizeof text, "%c%s", sign, name);
        return fd_write_file_at(fd, "cgroup.subtree_control", text);
}

static void move_aside(CgroupHierarchy *hierarchy) {
        if (mkdirat(hierarchy->fd, "supervisor", 0755) < 0 && errno != EEXIST)
                return;
        hierarchy->moved = fd_write_file_at(hierarchy->fd, "supervisor/cgroup.procs", "0") >= 0;
}

static void enable_controllers(int own_fd, CgroupHierarchy *hierarchy) {
        for (size_t i = 0; i < ELEMENTSOF(controllers); i++) {
                const char *name = controllers[i].name;
                int r = 0;
                if (!file_has_word(own_fd, "cgroup.controllers", name))
                        continue;
                if (!file_has_word(own_fd, "cgroup.subtree_control", name)) {
                        r = switch_controller(own_fd, '+', name);
                        if (r == -EBUSY && !hierarchy->moved && alone_in(own_fd)) {
                                move_aside(hierarchy);
                                r = switch_controller(own_fd, '+', name);
                        }
                        if (r >= 0)
                                hierarchy->enabled |= controllers[i].controller;
                }
                if (r >= 0 && switch_controller(hierarchy->fd, '+', name) >= 0)
                        hierarchy->controllers |= controllers[i].controller;
        }
}

static int add(const char *directory, const char *name, bool v2, CgroupHierarchy *ret) {
        CgroupHierarchy hierarchy = {.fd = -EBADF, .v2 = v2};
        _cleanup_fd_ int own_fd = -EBADF;
        int r;

        own_fd = RET_NERRNO(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (own_fd < 0)
                return own_fd;
        r = RET_NERRNO(mkdirat(own_fd, name, 0755));
        if (r < 0)
                return r;
        hierarchy.fd = RET_NERRNO(openat(own_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
        if (hierarchy.fd < 0)
                return hierarchy.fd;
        if (asprintf(&hierarchy.path, "%s/%s", directory, name) < 0) {
                (void) fd_close(hierarchy.fd);
                return -ENOMEM;
        }
        if (v2)
                enable_controllers(own_fd, &hierarchy);
        *ret = hierarchy;
        return 0;
}

/* One hierarchy of version 1 can have several controllers ("cpu,cpuacct"): it is added once. */
static CgroupHierarchy *find_path(CgroupHierarchy *hierarchies, size_t n, const char *directory, const char *name) {
        for (size_t i = 0; i < n; i++) {
                size_t length = strlen(directory);
                const char *path = hierarchies[i].path;
                if (strncmp(path, directory, length) == 0 && path[length] == '/' &&
                    strcmp(path + length + 1, name) == 0)
                        return &hierarchies[i];
        }
        return NULL;
}

int cgroup_find(const char *name, CgroupHierarchy *hierarchies, size_t *ret_n) {
        _cleanup_free_ char *cgroups = NULL, *mountinfo = NULL;
        char own[PATH_MAX], directory[PATH_MAX];
        size_t n = 0;

        cgroups = malloc(TEXT_MAX);
        mountinfo = malloc(TEXT_MAX);
        if (!cgroups || !mountinfo)
                return -ENOMEM;
        *ret_n = 0;
        if (fd_read_file_at(AT_FDCWD, "/proc/self/cgroup", cgroups, TEXT_MAX) < 0 ||
            fd_read_file_at(AT_FDCWD, "/proc/self/mountinfo", mountinfo, TEXT_MAX) < 0)
                return 0; /* no cgroups, or no way to tell */

        if (cgroup_own_path(cgroups, "", own, sizeof own) &&
            cgroup_directory(mountinfo, "", own, directory, sizeof directory))
                n += add(directory, name, /* v2= */ true, &hierarchies[n]) >= 0;
        for (size_t i = 0; i < ELEMENTSOF(controllers); i++) {
                CgroupHierarchy *hierarchy;
                if (n > 0 && hierarchies[0].v2 && (hierarchies[0].controllers & controllers[i].controller))
                        continue;
                if (!cgroup_own_path(cgroups, controllers[i].name, own, sizeof own) ||
                    !cgroup_directory(mountinfo, controllers[i].name, own, directory, sizeof directory))
                        continue;
                hierarchy = find_path(hierarchies, n, directory, name);
                if (!hierarchy && add(directory, name, /* v2= */ false, &hierarchies[n]) >= 0)
                        hierarchy = &hierarchies[n++];
                if (hierarchy)
                        hierarchy->controllers |= controllers[i].controller;
        }
        *ret_n = n;
        return 0;
}

static void switch_off(CgroupHierarchy *hierarchy, int own_fd) {
        for (size_t i = 0; i < ELEMENTSOF(controllers); i++) {
                if (hierarchy->controllers & controllers[i].controller)
                        (void) switch_controller(hierarchy->fd, '-', controllers[i].name);
                if (hierarchy->enabled & controllers[i].controller)
                        (void) switch_controller(own_fd, '-', controllers[i].name);
        }
}

void cgroup_leave(const char *name, CgroupHierarchy *hierarchies, size_t n) {
        for (size_t i = 0; i < n; i++) {
                CgroupHierarchy *hierarchy = &hierarchies[i];
                _cleanup_fd_ int own_fd = RET_NERRNO(openat(hierarchy->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
                /* All best effort: whatever is left is empty or in use by what could not be ended. */
                if (hierarchy->v2)
                        switch_off(hierarchy, own_fd);
                if (hierarchy->moved) {
                        if (fd_write_file_at(own_fd, "cgroup.procs", "0") >= 0)
                                (void) unlinkat(hierarchy->fd, "supervisor", AT_REMOVEDIR);
                }
                (void) unlinkat(own_fd, name, AT_REMOVEDIR);
                hierarchy->fd = fd_close(hierarchy->fd);
                free(hierarchy->path);
                hierarchy->path = NULL;
        }
}

/* Only empty directories can be removed: what serves on, taken over by the next supervisor or not, is not touched. */
static void remove_empty(int parent_fd, const char *name) {
        int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
        struct dirent *entry;

        if (!directory) {
                (void) fd_close(fd);
                return;
        }
        while ((entry = readdir(directory)))
                if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
                        (void) unlinkat(fd, entry->d_name, AT_REMOVEDIR);
        (void) closedir(directory);
        (void) unlinkat(parent_fd, name, AT_REMOVEDIR);
}

void cgroup_sweep_dead(const CgroupHierarchy *hierarchies, size_t n) {
        static const char prefix[] = "fused-";

        for (size_t i = 0; i < n; i++) {
                int fd = openat(hierarchies[i].fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
                struct dirent *entry;
                if (!directory) {
                        (void) fd_close(fd);
                        continue;
                }
                while ((entry = readdir(directory))) {
                        char *end = entry->d_name;
                        long pid = strncmp(entry->d_name, prefix, strlen(prefix)) == 0 ? strtol(entry->d_name + strlen(prefix), &end, 10) : 0;
                        if (pid > 0 && !*end && kill((pid_t) pid, 0) < 0 && errno == ESRCH)
                                remove_empty(fd, entry->d_name);
                }
                (void) closedir(directory);
        }
}
