/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Well-formed D-Bus calls whose content is bad. Every call must be answered with an error of the documented names, and the
 * connection of somebody else must go on. Run by tests/integration/hostile-client.sh, as root and as a user. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "base/fd.h"
#include "hostile-client.h"

#define CALL_USEC (20 * USEC_PER_SEC)

int complain(const char *text) {
        printf("FAIL %s\n", text);
        return -EPROTO;
}

static void bus_closep(sd_bus **bus) {
        sd_bus_close_unref(*bus);
}
static void message_unrefp(sd_bus_message **message) {
        sd_bus_message_unref(*message);
}
#define _cleanup_bus_ _cleanup_(bus_closep)
#define _cleanup_message_ _cleanup_(message_unrefp)

static int bus_open(const char *path, sd_bus **ret) {
        _cleanup_bus_ sd_bus *bus = NULL;
        char address[256];
        int r;

        (void) snprintf(address, sizeof address, "unix:path=%s", path);
        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, address);
        if (r >= 0)
                r = sd_bus_negotiate_fds(bus, 1);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

static int new_call(sd_bus *bus, const char *method, sd_bus_message **ret) {
        return sd_bus_message_new_method_call(bus, ret, "org.fused1", "/org/fused1", "org.fused1.Manager", method);
}

/* The error must have one of these names. A call that breaks the limits of a message may also cost the connection. */
static int expect_error_or_end(sd_bus *bus, sd_bus_message *call, const char *what, bool end_is_fine) {
        static const char *const documented[] = {
                "org.fused1.Error.Refused", "org.fused1.Error.NoSuchMount", "org.fused1.Error.Failed", "org.fused1.Error.ServerFailed",
                "org.freedesktop.DBus.Error.InvalidArgs",
                "org.freedesktop.DBus.Error.UnknownMethod", "org.freedesktop.DBus.Error.UnknownObject",
                "org.freedesktop.DBus.Error.UnknownInterface", "org.freedesktop.DBus.Error.LimitsExceeded",
                "org.freedesktop.DBus.Error.UnknownProperty", "org.freedesktop.DBus.Error.PropertyReadOnly",
        };
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = sd_bus_call(bus, call, CALL_USEC, &error, NULL);
        bool known = false;

        for (size_t i = 0; i < ELEMENTSOF(documented) && error.name; i++)
                known |= strcmp(error.name, documented[i]) == 0;
        known |= end_is_fine && (r == -ECONNRESET || r == -ENOTCONN);
        printf("%s %s: %s: %s\n", r < 0 && known ? "ok  " : "FAIL", what, error.name ?: "no error name", error.message ?: strerror(-r));
        sd_bus_error_free(&error);
        return r < 0 && known ? 0 : -EPROTO;
}

static int expect_error(sd_bus *bus, sd_bus_message *call, const char *what) {
        return expect_error_or_end(bus, call, what, /* end_is_fine= */ false);
}

static int mount_call(sd_bus *bus, const char *type, int source_fd, const char *kind, int mountpoint_fd, sd_bus_message **ret) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r;

        r = new_call(bus, "Mount", &call);
        if (r >= 0)
                r = sd_bus_message_append(call, "s", type);
        if (r >= 0)
                r = sd_bus_message_open_container(call, 'a', "{sv}");
        if (r >= 0 && source_fd >= 0)
                r = sd_bus_message_append(call, "{sv}{sv}", "source", "h", source_fd, "source-kind", "s", kind);
        if (r >= 0 && mountpoint_fd >= 0)
                r = sd_bus_message_append(call, "{sv}", "mountpoint", "h", mountpoint_fd);
        if (r >= 0)
                r = sd_bus_message_close_container(call);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(call);
        return 0;
}

static int open_fifo(void) {
        (void) unlink("hostile-fifo");
        return mkfifo("hostile-fifo", 0600) < 0 ? -errno : open("hostile-fifo", O_RDWR | O_CLOEXEC | O_NONBLOCK);
}
static int open_socket(void) {
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}
static int open_path(void) {
        return open("image", O_PATH | O_CLOEXEC);
}
static int open_write_only(void) {
        return open("image", O_WRONLY | O_CLOEXEC);
}
static int open_directory(void) {
        return open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}
static int open_directory_path(void) {
        return open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
}
static int open_null(void) {
        return open("/dev/null", O_RDWR | O_CLOEXEC);
}
static int open_fuse(void) {
        return open("/dev/fuse", O_RDWR | O_CLOEXEC);
}
static int open_event(void) {
        return eventfd(0, EFD_CLOEXEC);
}
static int open_memfd(void) {
        return memfd_create("hostile", MFD_CLOEXEC);
}
static int open_proc(void) {
        return open("/proc/self/mem", O_RDWR | O_CLOEXEC);
}
static int open_symlink(void) {
        return open("/proc/self/exe", O_PATH | O_NOFOLLOW | O_CLOEXEC);
}
static int open_read_only(void) {
        return open("image", O_RDONLY | O_CLOEXEC);
}

static const struct {
        const char *name;
        int (*open)(void);
} descriptors[] = {
        {"a FIFO", open_fifo}, {"a socket", open_socket}, {"an O_PATH fd", open_path}, {"a write-only fd", open_write_only},
        {"a directory", open_directory}, {"an O_PATH directory", open_directory_path}, {"a character device", open_null},
        {"/dev/fuse", open_fuse}, {"an eventfd", open_event}, {"a memfd without content", open_memfd}, {"/proc/self/mem", open_proc},
        {"an O_PATH symlink", open_symlink}, {"a read-only fd", open_read_only},
};

/* Every kind of descriptor as every kind of source of a type that takes files: all are refused. A directory may be said to
 * be a tree, but ext4 takes none. */
int attack_wrong_fds(const char *path, unsigned n) {
        static const char *const kinds[] = {"file", "device", "tree", "nonsense"};
        _cleanup_bus_ sd_bus *bus = NULL;
        int failures = 0;

        if (bus_open(path, &bus) < 0)
                return complain("cannot connect");
        for (size_t i = 0; i < ELEMENTSOF(descriptors); i++)
                for (size_t k = 0; k < ELEMENTSOF(kinds); k++) {
                        _cleanup_fd_ int fd = descriptors[i].open();
                        _cleanup_message_ sd_bus_message *call = NULL;
                        char what[128];

                        if (fd < 0) {
                                /* a user may not open all of them; what cannot be opened cannot be sent */
                                printf("ok   %s: cannot be opened here\n", descriptors[i].name);
                                continue;
                        }
                        (void) snprintf(what, sizeof what, "%s as %s", descriptors[i].name, kinds[k]);
                        if (mount_call(bus, "ext4", fd, kinds[k], -1, &call) < 0 || expect_error(bus, call, what) < 0)
                                failures++;
                }
        _cleanup_message_ sd_bus_message *none = NULL;
        if (mount_call(bus, "ext4", -1, NULL, -1, &none) < 0 || expect_error(bus, none, "no source at all") < 0)
                failures++;
        return failures == 0 ? 0 : -EPROTO;
}

/* What a mount point may not be. Run by a user, to whom none of these belongs. */
int attack_foreign_mountpoints(const char *path, unsigned n) {
        static const struct {
                const char *path;
                int flags;
        } points[] = {
                {"/", O_PATH | O_DIRECTORY}, {"/etc", O_PATH | O_DIRECTORY}, {"/etc/passwd", O_PATH}, {"/proc", O_PATH | O_DIRECTORY},
                {"/proc/self", O_PATH | O_DIRECTORY}, {"/sys", O_PATH | O_DIRECTORY}, {"/dev/null", O_PATH}, {"/tmp", O_PATH | O_DIRECTORY},
                {"/proc/self/exe", O_PATH | O_NOFOLLOW}, {"/proc/self/ns/mnt", O_RDONLY},
        };
        _cleanup_bus_ sd_bus *bus = NULL;
        int failures = 0;

        if (bus_open(path, &bus) < 0)
                return complain("cannot connect");
        for (size_t i = 0; i < ELEMENTSOF(points); i++) {
                _cleanup_fd_ int fd = open(points[i].path, points[i].flags | O_CLOEXEC), image = open("image", O_RDWR | O_CLOEXEC);
                _cleanup_message_ sd_bus_message *call = NULL;

                if (fd < 0 || image < 0)
                        return complain(points[i].path);
                if (mount_call(bus, "ext4", image, "file", fd, &call) < 0 || expect_error(bus, call, points[i].path) < 0)
                        failures++;
        }
        return failures == 0 ? 0 : -EPROTO;
}

/* 250 slots, each with a descriptor, and none of them exists. */
int attack_many_fds(const char *path, unsigned n) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL;
        _cleanup_fd_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        int r;

        if (null < 0 || bus_open(path, &bus) < 0)
                return complain("cannot connect");
        r = new_call(bus, "Mount", &call);
        if (r >= 0)
                r = sd_bus_message_append(call, "s", "ext4");
        if (r >= 0)
                r = sd_bus_message_open_container(call, 'a', "{sv}");
        if (r >= 0)
                r = sd_bus_message_open_container(call, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(call, "s", "slots");
        if (r >= 0)
                r = sd_bus_message_open_container(call, 'v', "a{sh}");
        if (r >= 0)
                r = sd_bus_message_open_container(call, 'a', "{sh}");
        for (unsigned i = 0; r >= 0 && i < 250; i++) {
                char name[16];
                (void) snprintf(name, sizeof name, "slot%u", i);
                r = sd_bus_message_append(call, "{sh}", name, null);
        }
        for (unsigned i = 0; r >= 0 && i < 4; i++)
                r = sd_bus_message_close_container(call);
        if (r < 0)
                return complain("cannot make the call");
        return expect_error_or_end(bus, call, "250 slots", /* end_is_fine= */ true);
}

int attack_bad_calls(const char *path, unsigned n) {
        static const struct {
                const char *object, *interface, *method, *types;
        } calls[] = {
                {"/org/fused1", "org.fused1.Manager", "Nonsense", NULL}, {"/org/fused1", "org.fused1.Other", "Mount", NULL},
                {"/other", "org.fused1.Manager", "ListMounts", NULL}, {"/org/fused1", "org.fused1.Manager", "Mount", NULL},
                {"/org/fused1", "org.fused1.Manager", "Unmount", "s"}, {"/org/fused1", "org.fused1.Manager", "GetMount", "t"},
                {"/org/fused1", "org.fused1.Manager", "Abort", "t"}, {"/org/fused1", "org.fused1.Manager", "ListTypes", "s"},
                {"/org/fused1", "org.freedesktop.DBus.Properties", "Get", NULL},
        };
        static const char *const properties[][2] = {{"nonsense", "s"}, {"options", "s"}, {"source", "s"}, {"mountpoint-name", "u"}};
        _cleanup_bus_ sd_bus *bus = NULL;
        int failures = 0;

        if (bus_open(path, &bus) < 0)
                return complain("cannot connect");
        for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                _cleanup_message_ sd_bus_message *call = NULL;
                if (sd_bus_message_new_method_call(bus, &call, "org.fused1", calls[i].object, calls[i].interface, calls[i].method) < 0)
                        return complain("cannot make the call");
                if (calls[i].types && calls[i].types[0] == 's')
                        (void) sd_bus_message_append(call, "s", "text");
                if (calls[i].types && calls[i].types[0] == 't')
                        (void) sd_bus_message_append(call, "t", UINT64_MAX);
                failures += expect_error(bus, call, calls[i].method) < 0;
        }
        for (size_t i = 0; i < ELEMENTSOF(properties); i++) {
                _cleanup_message_ sd_bus_message *call = NULL;
                if (new_call(bus, "Mount", &call) < 0)
                        return complain("cannot make the call");
                if (properties[i][1][0] == 's')
                        (void) sd_bus_message_append(call, "sa{sv}", "ext4", 1, properties[i][0], "s", "x");
                else
                        (void) sd_bus_message_append(call, "sa{sv}", "ext4", 1, properties[i][0], "u", 1U);
                failures += expect_error(bus, call, properties[i][0]) < 0;
        }
        return failures == 0 ? 0 : -EPROTO;
}

/* A string of that length in each place that takes one; what no message may be as long as costs the connection, each of its own. */
static int long_string(const char *path, const char *text, unsigned place) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL;
        int r;

        if (bus_open(path, &bus) < 0 || new_call(bus, "Mount", &call) < 0)
                return complain("cannot make the call");
        if (place == 0)
                r = sd_bus_message_append(call, "sa{sv}", text, 0);
        else if (place == 1)
                r = sd_bus_message_append(call, "sa{sv}", "ext4", 1, "options", "as", 1, text);
        else
                r = sd_bus_message_append(call, "sa{sv}", "ext4", 1, "source-name", "s", text);
        return r < 0 ? r : expect_error_or_end(bus, call, "a long string", /* end_is_fine= */ strlen(text) > 65536);
}

int attack_long_strings(const char *path, unsigned n) {
        static const size_t sizes[] = {32, 256, 4096, 1 << 20};
        int failures = 0;

        for (size_t i = 0; i < ELEMENTSOF(sizes) * 3; i++) {
                _cleanup_free_ char *text = calloc(1, sizes[i / 3] + 1);
                if (!text)
                        return -ENOMEM;
                memset(text, 'a', sizes[i / 3]);
                failures += long_string(path, text, i % 3) < 0;
        }
        return failures == 0 ? 0 : -EPROTO;
}

/* Asks for a mount and dies, NUMBER times, each time a little later. */
int attack_die_while_mounting(const char *path, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                pid_t pid = fork();
                if (pid < 0)
                        return complain("fork");
                if (pid == 0) {
                        sd_bus *bus = NULL;
                        sd_bus_message *call = NULL;
                        int image = open("image", O_RDWR | O_CLOEXEC);
                        if (bus_open(path, &bus) >= 0 && mount_call(bus, "ext4", image, "file", -1, &call) >= 0)
                                (void) sd_bus_call(bus, call, CALL_USEC, NULL, NULL);
                        _exit(0);
                }
                (void) usleep(i * 400);
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
        }
        return 0;
}

static const struct {
        const char *name;
        attack_t attack;
} attacks[] = {
        {"silent", attack_silent}, {"garbage", attack_garbage}, {"half-authentication", attack_half_authentication},
        {"garbage-message", attack_garbage_message}, {"huge-message", attack_huge_message}, {"half-message", attack_half_message},
        {"rights", attack_rights}, {"connections", attack_connections}, {"wrong-fds", attack_wrong_fds}, {"many-fds", attack_many_fds},
        {"bad-calls", attack_bad_calls}, {"long-strings", attack_long_strings}, {"foreign-mountpoints", attack_foreign_mountpoints},
        {"die-while-mounting", attack_die_while_mounting},
};

int main(int argc, char **argv) {
        for (size_t i = 0; argc >= 3 && i < ELEMENTSOF(attacks); i++)
                if (strcmp(attacks[i].name, argv[2]) == 0)
                        return attacks[i].attack(argv[1], argc > 3 ? (unsigned) atoi(argv[3]) : 0) < 0;
        fputs("usage: hostile-client SOCKET ATTACK [NUMBER]\n", stderr);
        return 2;
}
