/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused, the broker: options, start, loop, end. See fused(8). */

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/message-id.h"
#include "base/sanitizer.h"
#include "broker/broker.h"
#include "broker/keep.h"
#include "broker/manager-link.h"
#include "broker/mount.h"
#include "broker/privilege.h"
#include "broker/reload.h"
#include "broker/roots.h"
#include "broker/spares.h"
#include "broker/unit.h"
#include "config.h"

#define HEALTH_USEC (2 * USEC_PER_SEC)
#define STOP_USEC (45 * USEC_PER_SEC) /* for all servers to end, then they are left to the kernel */
#define CONTROL_BACKLOG 512

typedef struct Arguments {
        const char *runtime_directory;
        const char *libexec_directory;
        bool units;
        char **policy_directories; /* owned, NULL-terminated */
        size_t n_policy_directories;
        bool done; /* --help, --version */
} Arguments;

static void arguments_done(Arguments *arguments) {
        for (size_t i = 0; i < arguments->n_policy_directories; i++)
                free(arguments->policy_directories[i]);
        free(arguments->policy_directories);
}

static void print_help(void) {
        puts("fused [OPTION]...\n\n"
             "The privileged supervisor of unprivileged FUSE servers. See fused(8).\n\n"
             "  --runtime-directory DIR  where the control socket is made (default " FUSED_RUNTIME_DIRECTORY ")\n"
             "  --policy DIR             read policy from DIR instead of the built-in places; may be repeated, the later wins\n"
             "  --launcher WHICH         auto, embedded or systemd (default auto)\n"
             "  --libexec-directory DIR  where fused-manager, fused-policy and fused-agent are (for development)\n"
             "  --help, --version");
}

static int usage(const char *text, const char *value) {
        fprintf(stderr, "fused: %s%s\nTry 'fused --help'.\n", text, value);
        return -EINVAL;
}

static int add_policy_directory(Arguments *arguments, const char *directory) {
        char **list, *path;

        path = realpath(directory, NULL);
        if (!path) {
                fprintf(stderr, "fused: --policy %s: %s\n", directory, strerror(errno));
                return -errno;
        }
        list = reallocarray(arguments->policy_directories, arguments->n_policy_directories + 2, sizeof *list);
        if (!list) {
                free(path);
                return -ENOMEM;
        }
        list[arguments->n_policy_directories++] = path;
        list[arguments->n_policy_directories] = NULL;
        arguments->policy_directories = list;
        return 0;
}

/* systemd is pid 1, and the generator has made sockets for types. */
static bool units_are_there(void) {
        return sd_booted() > 0 && access(UNIT_SOCKET_DIRECTORY, F_OK) == 0;
}

static int parse_arguments(int argc, char **argv, Arguments *arguments) {
        enum { OPTION_RUNTIME = 256, OPTION_POLICY, OPTION_LAUNCHER, OPTION_LIBEXEC, OPTION_HELP, OPTION_VERSION };
        static const struct option options[] = {
                {"runtime-directory", required_argument, NULL, OPTION_RUNTIME},
                {"policy", required_argument, NULL, OPTION_POLICY},
                {"launcher", required_argument, NULL, OPTION_LAUNCHER},
                {"libexec-directory", required_argument, NULL, OPTION_LIBEXEC},
                {"help", no_argument, NULL, OPTION_HELP},
                {"version", no_argument, NULL, OPTION_VERSION},
                {0},
        };
        const char *launcher = "auto";
        int c, r;

        *arguments = (Arguments){.runtime_directory = FUSED_RUNTIME_DIRECTORY, .libexec_directory = FUSED_LIBEXEC_DIRECTORY};
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case OPTION_RUNTIME:
                        arguments->runtime_directory = optarg;
                        break;
                case OPTION_POLICY:
                        r = add_policy_directory(arguments, optarg);
                        if (r < 0)
                                return r;
                        break;
                case OPTION_LAUNCHER:
                        if (strcmp(optarg, "auto") != 0 && strcmp(optarg, "embedded") != 0 && strcmp(optarg, "systemd") != 0)
                                return usage("--launcher wants auto, embedded or systemd, not ", optarg);
                        launcher = optarg;
                        break;
                case OPTION_LIBEXEC:
                        arguments->libexec_directory = optarg;
                        break;
                case OPTION_HELP:
                        print_help();
                        arguments->done = true;
                        return 0;
                case OPTION_VERSION:
                        puts("fused " FUSED_VERSION);
                        arguments->done = true;
                        return 0;
                default:
                        return usage("see the message above", "");
                }
        arguments->units = strcmp(launcher, "systemd") == 0 || (strcmp(launcher, "auto") == 0 && units_are_there());
        return optind == argc ? 0 : usage("unexpected argument ", argv[optind]);
}

/* 0, 1 and 2 must be something, or a later descriptor ends up as our standard error. */
static int open_standard_fds(void) {
        for (int fd = 0; fd < 3; fd++)
                if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
                        return -EBADF;
        return 0;
}

static void raise_limits(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                (void) setrlimit(RLIMIT_NOFILE, &limit);
        }
}

/* The directory is root's alone to write; its lock says that a supervisor lives there. */
static int open_runtime_directory(Broker *broker, const char *path) {
        _cleanup_fd_ int fd = -EBADF;
        struct stat st;

        if (mkdir(path, 0755) < 0 && errno != EEXIST)
                return log_errno(-errno, "cannot make %s: %s", path, strerror(errno));
        broker->runtime_directory = realpath(path, NULL);
        fd = RET_NERRNO(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!broker->runtime_directory || fd < 0)
                return log_errno(-errno, "cannot open %s: %s", path, strerror(errno));
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_uid != 0 || (st.st_mode & 022))
                return log_errno(-EPERM, "%s must belong to root and be writable by nobody else", path);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return log_errno(-errno, "another fused runs in %s; use another --runtime-directory", path);
        broker->lock_fd = TAKE_FD(fd);
        return 0;
}

static int listen_on_control(Broker *broker) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int r;

        if (asprintf(&broker->control_path, "%s/control", broker->runtime_directory) < 0)
                return -ENOMEM;
        if (strlen(broker->control_path) >= sizeof address.sun_path)
                return log_errno(-ENAMETOOLONG, "%s is too long for a socket", broker->control_path);
        strcpy(address.sun_path, broker->control_path);
        if (broker->control_fd >= 0)
                return 0; /* systemd listens */
        if (unlink(broker->control_path) < 0 && errno != ENOENT)
                return log_errno(-errno, "cannot remove the old %s: %s", broker->control_path, strerror(errno));

        broker->control_fd = RET_NERRNO(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (broker->control_fd < 0)
                return broker->control_fd;
        mode_t mask = umask(0111); /* everybody may connect; who may do what is policy */
        r = RET_NERRNO(bind(broker->control_fd, (const struct sockaddr *) &address, sizeof address));
        (void) umask(mask);
        if (r < 0)
                return log_errno(r, "cannot bind %s: %s", broker->control_path, strerror(-r));
        return RET_NERRNO(listen(broker->control_fd, CONTROL_BACKLOG));
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        keep_notify("RELOADING=1");
        (void) policy_reload(userdata); /* it has logged what is wrong; the old table stays */
        keep_notify("READY=1");
        return 0;
}

static int on_stop_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        Broker *broker = userdata;

        log_error("%zu mounts are not gone in time, leaving them", broker->n_mounts);
        return sd_event_exit(broker->event, 1);
}

/* Servers that are units go on without us, and so do their mounts: what is being made or taken down is waited for. */
void broker_stopped(Broker *broker) {
        for (const Mount *mount = broker->mounts; mount; mount = mount->next)
                if (!broker->units || mount->state != MOUNT_LIVE)
                        return;
        (void) sd_event_exit(broker->event, 0);
}

/* The end of the supervisor is the end of its mounts where their servers are its children: nobody else would look after them. */
static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        Broker *broker = userdata;

        if (broker->stopping)
                return 0;
        log_info("stopping, %zu mounts%s", broker->n_mounts, broker->units ? " stay" : "");
        keep_notify("STOPPING=1");
        broker->stopping = true;
        spares_flush(broker);
        for (Mount *mount = broker->mounts, *next; mount; mount = next) {
                next = mount->next;
                if (!broker->units || mount->state != MOUNT_LIVE)
                        mount_end(mount, BROKER_REASON_UNMOUNTED, /* graceful= */ mount->state == MOUNT_LIVE);
        }
        broker_stopped(broker);
        return sd_event_add_time_relative(broker->event, NULL, CLOCK_MONOTONIC, STOP_USEC, 0, on_stop_deadline, broker);
}

static int on_health(sd_event_source *source, uint64_t usec, void *userdata) {
        Broker *broker = userdata;

        mounts_check(broker);
        (void) sd_event_source_set_time_relative(source, HEALTH_USEC);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int watch_signals(Broker *broker) {
        sigset_t set;
        int r;

        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD);
        (void) sigaddset(&set, SIGHUP);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGINT);
        r = RET_NERRNO(sigprocmask(SIG_BLOCK, &set, NULL));
        if (r < 0)
                return r;
        r = sd_event_add_signal(broker->event, NULL, SIGHUP, on_reload, broker);
        if (r < 0)
                return r;
        r = sd_event_add_signal(broker->event, NULL, SIGTERM, on_stop, broker);
        if (r < 0)
                return r;
        r = sd_event_add_signal(broker->event, NULL, SIGINT, on_stop, broker);
        if (r < 0)
                return r;
        return sd_event_add_time_relative(broker->event, &broker->health, CLOCK_MONOTONIC, HEALTH_USEC, 0, on_health, broker);
}

static int open_agent(Broker *broker) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/fused-agent", broker->libexec_directory) < 0)
                return -ENOMEM;
        broker->agent_fd = RET_NERRNO(open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW));
        if (broker->agent_fd < 0)
                return log_errno(broker->agent_fd, "cannot open %s: %s", path, strerror(-broker->agent_fd));
        return 0;
}

static void open_cgroups(Broker *broker) {
        char name[32];
        int r;

        (void) snprintf(name, sizeof name, "fused-%d", getpid());
        r = cgroup_tree_new(name, &broker->cgroups);
        if (r < 0)
                log_warning("no cgroup hierarchy can be used (%s): limits of memory, processors and processes are not enforced", strerror(-r));
}

static int broker_start(Broker *broker, Arguments *arguments) {
        int r;

        broker->policy_directories = arguments->policy_directories;
        broker->units = arguments->units;
        broker->libexec_directory = realpath(arguments->libexec_directory, NULL);
        if (!broker->libexec_directory)
                return log_errno(-errno, "cannot find %s: %s", arguments->libexec_directory, strerror(errno));
        raise_limits();
        r = sd_event_new(&broker->event);
        if (r < 0)
                return r;
        r = watch_signals(broker);
        if (r < 0)
                return log_errno(r, "cannot watch signals: %s", strerror(-r));
        r = open_runtime_directory(broker, arguments->runtime_directory);
        if (r < 0)
                return r;
        r = host_open(&broker->host);
        if (r < 0)
                return r;
        r = open_agent(broker);
        if (r < 0)
                return r;
        if (!broker->units)
                open_cgroups(broker);
        r = broker_drop_privilege();
        if (r < 0)
                return log_errno(r, "cannot drop privilege: %s", strerror(-r));
        r = policy_reload(broker);
        if (r < 0)
                return r;
        r = manager_root_make(broker);
        if (r < 0)
                return log_errno(r, "cannot make the manager's root: %s", strerror(-r));
        r = keep_restore(broker);
        if (r < 0)
                return r;
        r = listen_on_control(broker);
        if (r < 0)
                return r;
        broker->manager = manager_link_new(broker);
        if (!broker->manager)
                return -ENOMEM;
        r = manager_link_start(broker->manager);
        if (r < 0)
                return r;
        keep_notify("READY=1");
        (void) sd_event_set_watchdog(broker->event, true); /* if systemd asks for it */
        return 0;
}

static void broker_done(Broker *broker) {
        while (broker->mounts)
                mount_release(broker->mounts);
        broker->manager = manager_link_free(broker->manager);
        if (broker->control_fd >= 0 && !broker->control_is_given)
                (void) unlink(broker->control_path);
        keep_done(broker);
        spares_flush(broker);
        type_roots_flush(broker);
        broker->policy = policy_unref(broker->policy);
        broker->cgroups = cgroup_tree_free(broker->cgroups);
        host_done(&broker->host);
        int *const held[] = {&broker->control_fd, &broker->journal_fd, &broker->lock_fd, &broker->manager_root_fd, &broker->agent_fd};
        for (size_t i = 0; i < ELEMENTSOF(held); i++)
                *held[i] = fd_close(*held[i]);
        (void) sd_event_source_disable_unref(broker->health);
        (void) sd_event_unref(broker->event);
        free(broker->runtime_directory);
        free(broker->control_path);
        free(broker->libexec_directory);
}

static LogLevel level_from_environment(void) {
        static const char *const names[] = {"error", "warning", "notice", "info", "debug"};
        const char *value = getenv("FUSED_LOG_LEVEL");

        for (size_t i = 0; value && i < ELEMENTSOF(names); i++)
                if (strcmp(value, names[i]) == 0)
                        return LOG_LEVEL_ERROR + (LogLevel) i;
        return LOG_LEVEL_INFO;
}

int main(int argc, char **argv) {
        _cleanup_(arguments_done) Arguments arguments = {0};
        Broker broker = {
                .host = HOST_NULL,
                .control_fd = -EBADF,
                .journal_fd = -EBADF,
                .lock_fd = -EBADF,
                .manager_root_fd = -EBADF,
                .agent_fd = -EBADF,
        };
        int r;

        if (open_standard_fds() < 0)
                return 1;
        r = parse_arguments(argc, argv, &arguments);
        if (r < 0)
                return 2;
        if (arguments.done)
                return 0;
        if (getuid() != 0) {
                fputs("fused: must be started by root (its servers and its manager are not)\n", stderr);
                return 1;
        }
        (void) umask(022);
        broker.control_fd = keep_take_descriptors(&broker);
        broker.control_is_given = broker.control_fd >= 0;
        broker.journal_fd = getenv("JOURNAL_STREAM") ? log_connect_journal() : -EBADF;
        log_open("fused", broker.journal_fd, level_from_environment());

        r = broker_start(&broker, &arguments);
        if (r >= 0) {
                log_event(LOG_LEVEL_NOTICE, MESSAGE_READY, "ready on %s", broker.control_path);
                r = sd_event_loop(broker.event);
        }
        broker_done(&broker);
        return r == 0 ? 0 : 1;
}
