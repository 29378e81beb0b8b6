/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl mount */

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/fusectl.h"

#define SLOTS_MAX 4
#define SLOT_PREFIX "slot."
#define MOUNT_FD 3 /* of the command of --detached */

typedef struct MountArguments {
        const char *type, *source, *mountpoint;
        char **command; /* NULL: attach */
        OptionWords options;
        struct {
                char *name; /* owned */
                Source source;
        } slots[SLOTS_MAX];
        size_t n_slots;
} MountArguments;

static void arguments_done(MountArguments *arguments) {
        option_words_done(&arguments->options);
        for (size_t i = 0; i < arguments->n_slots; i++) {
                free(arguments->slots[i].name);
                source_done(&arguments->slots[i].source);
        }
}

static int parse(int argc, char **argv, MountArguments *ret) {
        static const struct option options[] = {
                {"detached", no_argument, NULL, 'd'}, {"options", required_argument, NULL, 'o'}, {0}};
        bool detached = false;
        int c, n;

        /* The command after "--" is not ours to look at. */
        for (n = 1; n < argc && strcmp(argv[n], "--") != 0; n++)
                ;
        while ((c = getopt_long(n, argv, "o:", options, NULL)) >= 0)
                switch (c) {
                case 'o':
                        if (option_words_add(&ret->options, optarg) < 0)
                                return failure("out of memory");
                        break;
                case 'd':
                        detached = true;
                        break;
                default:
                        return usage_error("mount TYPE SOURCE MOUNTPOINT [-o OPT,...]");
                }
        if (n - optind != (detached ? 2 : 3))
                return usage_error(detached ? "mount TYPE SOURCE --detached -- COMMAND..."
                                            : "mount TYPE SOURCE MOUNTPOINT [-o OPT,...]");
        if (detached != (n < argc) || (detached && n + 1 >= argc))
                return usage_error("--detached needs a COMMAND after '--', and only it takes one");
        ret->type = argv[optind];
        ret->source = argv[optind + 1];
        ret->mountpoint = detached ? NULL : argv[optind + 2];
        ret->command = detached ? argv + n + 1 : NULL;
        return 0;
}

/* "slot.NAME=PATH" is ours; the other words go on. */
static int take_slots(MountArguments *arguments, bool read_only) {
        size_t kept = 0;
        int status = 0;

        for (size_t i = 0; i < arguments->options.n; i++) {
                char *word = arguments->options.words[i], *equals = strchr(word, '=');
                if (strncmp(word, SLOT_PREFIX, strlen(SLOT_PREFIX)) != 0 || !equals) {
                        arguments->options.words[kept++] = word;
                        continue;
                }
                if (status == 0 && arguments->n_slots >= SLOTS_MAX)
                        status = usage_error("at most %d slots", SLOTS_MAX);
                if (status == 0) {
                        *equals = 0;
                        status = source_open(equals + 1, read_only, /* any= */ false,
                                             &arguments->slots[arguments->n_slots].source);
                        arguments->slots[arguments->n_slots++].name = strdup(word + strlen(SLOT_PREFIX));
                }
                free(word);
        }
        arguments->options.n = kept;
        return status;
}

/* Who holds a device, as far as the caller may know: a mount of the kernel, or a device on top of it. */
static void print_holder(dev_t device) {
        char path[64], line[4096];
        FILE *stream = fopen("/proc/self/mountinfo", "re");
        DIR *holders;

        while (stream && fgets(line, sizeof line, stream)) {
                unsigned maj, min;
                char point[1024];
                if (sscanf(line, "%*u %*u %u:%u %*s %1023s", &maj, &min, point) == 3 && makedev(maj, min) == device)
                        fprintf(stderr, "fusectl: held by: it is mounted on %s\n", point);
        }
        if (stream)
                (void) fclose(stream);
        (void) snprintf(path, sizeof path, "/sys/dev/block/%u:%u/holders", major(device), minor(device));
        holders = opendir(path);
        for (struct dirent *entry; holders && (entry = readdir(holders));)
                if (entry->d_name[0] != '.')
                        fprintf(stderr, "fusectl: held by: the device %s\n", entry->d_name);
        if (holders)
                (void) closedir(holders);
}

static int report_refusal(FusedError *error, const MountArguments *arguments, const Source *source) {
        bool busy = error->kind == FUSED_ERROR_REFUSED && error->message && strstr(error->message, "[device-busy]");
        int status = report(error);

        if (busy && source->device)
                print_holder(source->device);
        for (size_t i = 0; busy && i < arguments->n_slots; i++)
                if (arguments->slots[i].source.device)
                        print_holder(arguments->slots[i].source.device);
        return status;
}

/* A mount that takes long says so, for somebody who watches; the process ends with us. */
static pid_t start_progress(const char *type) {
        pid_t pid;

        if (!isatty(STDERR_FILENO))
                return -1;
        pid = fork();
        if (pid != 0)
                return pid;
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                _exit(0);
        for (unsigned s = 1;; s++) {
                (void) sleep(1);
                fprintf(stderr, "\rfusectl: waiting for the server of type %s, %u s", type, s);
        }
}

static void end_progress(pid_t pid, time_t started) {
        if (pid <= 0)
                return;
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        if (time(NULL) > started) /* it may have written */
                fputs("\r\033[K", stderr);
}

static int run_command(char **command, int mount_fd) {
        if (mount_fd == MOUNT_FD) {
                if (fd_set_cloexec(mount_fd, false) < 0)
                        return failure("cannot pass the mount on: %s", strerror(errno));
        } else if (dup2(mount_fd, MOUNT_FD) < 0)
                return failure("cannot pass the mount on: %s", strerror(errno));
        (void) execvp(command[0], command);
        return failure("cannot run %s: %s", command[0], strerror(errno));
}

static int do_mount(Context *context, const MountArguments *arguments, const Source *source, int mountpoint_fd,
                    const char *mountpoint_name) {
        FusedSource slots[SLOTS_MAX];
        FusedMountRequest request = {
                .type = arguments->type,
                .source = {.fd = source->fd, .kind = source->kind},
                .source_name = source->name,
                .slots = slots,
                .n_slots = arguments->n_slots,
                .mountpoint_fd = mountpoint_fd,
                .mountpoint_name = mountpoint_name,
                .options = (const char *const *) arguments->options.words,
                .n_options = arguments->options.n,
        };
        FusedError error = {0};
        int mount_fd = -1, r;
        uint64_t id;

        for (size_t i = 0; i < arguments->n_slots; i++)
                slots[i] = (FusedSource){arguments->slots[i].source.fd, arguments->slots[i].source.kind,
                                         arguments->slots[i].name};
        time_t started = time(NULL);
        pid_t progress = start_progress(arguments->type);
        r = fused_mount(context->client, &request, &id, &mount_fd, &error);
        end_progress(progress, started);
        if (r < 0)
                return report_refusal(&error, arguments, source);
        if (arguments->command)
                return run_command(arguments->command, mount_fd);
        if (context->json)
                printf("{ \"id\": %llu }\n", (unsigned long long) id);
        else
                printf("%llu\n", (unsigned long long) id);
        return EXIT_DONE;
}

/* So that an image that one may only read can be mounted with a type that only reads. No answer is no. */
static bool type_is_read_only(Context *context, const char *name) {
        _cleanup_json_ json_object *types = NULL;

        if (fused_types(context->client, &types, NULL) < 0)
                return false;
        for (size_t i = 0; i < json_object_array_length(types); i++) {
                json_object *type = json_object_array_get_idx(types, i);
                if (strcmp(text_of(type, "name"), name) == 0)
                        return is_true(type, "read-only");
        }
        return false;
}

int command_mount(Context *context, int argc, char **argv) {
        _cleanup_(arguments_done) MountArguments arguments = {0};
        _cleanup_(source_done) Source source = SOURCE_NULL;
        char *mountpoint_name _cleanup_free_ = NULL;
        _cleanup_fd_ int mountpoint_fd = -EBADF;
        bool read_only;
        int status;

        status = parse(argc, argv, &arguments);
        if (status != 0)
                return status;
        status = connect_to_fused(context);
        if (status != 0)
                return status;
        read_only = option_words_have(&arguments.options, "ro") || type_is_read_only(context, arguments.type);
        status = take_slots(&arguments, read_only);
        if (status != 0)
                return status;
        status = source_open(arguments.source, read_only, /* any= */ false, &source);
        if (status != 0)
                return status;
        if (arguments.mountpoint) {
                mountpoint_fd = RET_NERRNO(open(arguments.mountpoint, O_PATH | O_CLOEXEC));
                if (mountpoint_fd < 0)
                        return failure("cannot find the mount point %s: %s", arguments.mountpoint,
                                       strerror(-mountpoint_fd));
                mountpoint_name = realpath(arguments.mountpoint, NULL);
        }
        return do_mount(context, &arguments, &source, mountpoint_fd, mountpoint_name);
}
