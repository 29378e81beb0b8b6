/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Landlock: the second wall behind the empty root. Own system calls, as libc has none. See launcher.h. */

#include <dirent.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "launcher/launcher.h"

/* include/uapi/linux/landlock.h: what Debian 12's headers (Linux 6.1, ABI 2) lack */
#define ACCESS_FS_TRUNCATE (1ULL << 14)   /* ABI 3, Linux 6.2 */
#define ACCESS_FS_IOCTL_DEV (1ULL << 15)  /* ABI 5, Linux 6.10 */
#define ACCESS_NET_BIND_TCP (1ULL << 0)   /* ABI 4, Linux 6.7 */
#define ACCESS_NET_CONNECT_TCP (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0) /* ABI 6, Linux 6.12 */
#define SCOPE_SIGNAL (1ULL << 1)

typedef struct RulesetAttribute { /* struct landlock_ruleset_attr of ABI 6 */
        uint64_t handled_access_fs;
        uint64_t handled_access_net;
        uint64_t scoped;
} RulesetAttribute;

#define ACCESS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ACCESS_FS_ABI_1 ((1ULL << 13) - 1)
/* What a server may do below a tree it was given for writing; never device nodes, never ioctls on devices. */
#define ACCESS_WRITABLE_TREE \
        (ACCESS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
         LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | \
         LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER | ACCESS_FS_TRUNCATE)

/* What each ABI added; the size is what a kernel of that ABI knows of the struct. */
static const struct {
        int abi;
        uint64_t fs;
        uint64_t net;
        uint64_t scoped;
        size_t size;
} abis[] = {
        {1, ACCESS_FS_ABI_1, 0, 0, offsetof(RulesetAttribute, handled_access_net)},
        {2, LANDLOCK_ACCESS_FS_REFER, 0, 0, offsetof(RulesetAttribute, handled_access_net)},
        {3, ACCESS_FS_TRUNCATE, 0, 0, offsetof(RulesetAttribute, handled_access_net)},
        {4, 0, ACCESS_NET_BIND_TCP | ACCESS_NET_CONNECT_TCP, 0, offsetof(RulesetAttribute, scoped)},
        {5, ACCESS_FS_IOCTL_DEV, 0, 0, offsetof(RulesetAttribute, scoped)},
        {6, 0, 0, SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL, sizeof(RulesetAttribute)},
};

static int add_rule(int ruleset_fd, int fd, uint64_t access) {
        struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};

        return RET_NERRNO((int) syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
}

/* What systemd cannot do without when it makes a unit's root, unless the program itself is in there. */
static bool is_hidden(const char *name, const char *program) {
        static const char *const hidden[] = {"proc", "sys", "run", "tmp", "var"};

        for (size_t i = 0; i < ELEMENTSOF(hidden); i++)
                if (strcmp(hidden[i], name) == 0)
                        return strcspn(program + 1, "/") != strlen(name) || strncmp(program + 1, name, strlen(name)) != 0;
        return false;
}

static int add_entry(int ruleset_fd, int root_fd, const char *name) {
        _cleanup_fd_ int fd = -EBADF;
        struct stat st;

        fd = openat(root_fd, name, O_PATH | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return 0; /* what cannot be opened needs no permission */
        return add_rule(ruleset_fd, fd, (S_ISDIR(st.st_mode) ? ACCESS_READ : LANDLOCK_ACCESS_FS_READ_FILE) | LANDLOCK_ACCESS_FS_EXECUTE);
}

/* A rule holds for all that is below: where something is to be hidden, each of the others gets one. */
static int add_root(int ruleset_fd, const char *unit_program) {
        struct dirent *entry;
        bool any = false;
        DIR *root;
        int r = 0;

        root = opendir("/");
        if (!root)
                return -errno;
        while (unit_program && !any && (entry = readdir(root)))
                any = is_hidden(entry->d_name, unit_program);
        if (!any)
                r = add_rule(ruleset_fd, dirfd(root), ACCESS_READ | LANDLOCK_ACCESS_FS_EXECUTE);
        rewinddir(root);
        while (any && r >= 0 && (entry = readdir(root)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && !is_hidden(entry->d_name, unit_program))
                        r = add_entry(ruleset_fd, dirfd(root), entry->d_name);
        (void) closedir(root);
        return r;
}

static int add_rules(int ruleset_fd, uint64_t handled, int program_fd, const LandlockTree *trees, size_t n_trees, const char *unit_program) {
        _cleanup_fd_ int device_fd = -EBADF;
        int r;

        r = add_root(ruleset_fd, unit_program);
        if (r < 0)
                return r;
        /* null and full may be written to; "> /dev/null" also truncates */
        device_fd = RET_NERRNO(open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (device_fd < 0)
                return device_fd;
        r = add_rule(ruleset_fd, device_fd,
                     handled & (ACCESS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_FS_TRUNCATE));
        if (r < 0)
                return r;
        if (program_fd >= 0) {
                r = add_rule(ruleset_fd, program_fd, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < n_trees; i++) {
                uint64_t access = trees[i].writable ? ACCESS_WRITABLE_TREE : ACCESS_READ;
                r = add_rule(ruleset_fd, trees[i].fd, handled & access);
                if (r < 0)
                        return r;
        }
        return 0;
}

int landlock_confine(int program_fd, const LandlockTree *trees, size_t n_trees, bool isolate, const char *unit_program) {
        RulesetAttribute attribute = {0};
        _cleanup_fd_ int ruleset_fd = -EBADF;
        size_t size = 0;
        int abi, r;

        abi = RET_NERRNO((int) syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION));
        if (abi == -ENOSYS || abi == -EOPNOTSUPP)
                return 0; /* not built in, or not enabled; any other failure is no reason to go without */
        if (abi < 0)
                return abi;
        for (size_t i = 0; i < ELEMENTSOF(abis) && abis[i].abi <= abi; i++) {
                attribute.handled_access_fs |= abis[i].fs;
                attribute.handled_access_net |= abis[i].net;
                attribute.scoped |= isolate ? abis[i].scoped : 0;
                size = abis[i].size;
        }
        ruleset_fd = RET_NERRNO((int) syscall(SYS_landlock_create_ruleset, &attribute, size, 0));
        if (ruleset_fd < 0)
                return ruleset_fd;
        r = add_rules(ruleset_fd, attribute.handled_access_fs, program_fd, trees, n_trees, unit_program);
        if (r < 0)
                return r;
        return RET_NERRNO((int) syscall(SYS_landlock_restrict_self, ruleset_fd, 0));
}
