/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One mount request, from its words to its answer: what fusectl mount and mount.fused share. */

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/fusectl.h"

void mount_arguments_done(MountArguments *arguments) {
        arguments->mountpoint_fd = fd_close(arguments->mountpoint_fd);
        arguments->owner_pidfd = fd_close(arguments->owner_pidfd);
        free(arguments->mountpoint_name);
        source_done(&arguments->opened);
        option_words_done(&arguments->options);
        slots_done(&arguments->slots);
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
                        fprintf(stderr, "%s: held by: it is mounted on %s\n", program_name, point);
        }
        if (stream)
                (void) fclose(stream);
        (void) snprintf(path, sizeof path, "/sys/dev/block/%u:%u/holders", major(device), minor(device));
        holders = opendir(path);
        for (struct dirent *entry; holders && (entry = readdir(holders));)
                if (entry->d_name[0] != '.')
                        fprintf(stderr, "%s: held by: the device %s\n", program_name, entry->d_name);
        if (holders)
                (void) closedir(holders);
}

static int report_refusal(FusedError *error, const MountArguments *arguments) {
        bool busy = error->kind == FUSED_ERROR_REFUSED && error->message && strstr(error->message, "[device-busy]");
        int status = report(error);

        if (busy && arguments->opened.device)
                print_holder(arguments->opened.device);
        for (size_t i = 0; busy && i < arguments->slots.n; i++)
                if (arguments->slots.rows[i].source.device)
                        print_holder(arguments->slots.rows[i].source.device);
        return status;
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
                fprintf(stderr, "\r%s: waiting for the server of type %s, %u s", program_name, type, s);
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

int mount_arguments_open_source(Context *context, MountArguments *arguments, bool read_only) {
        int status;

        read_only = read_only || type_is_read_only(context, arguments->type);
        status = slots_open(&arguments->options, read_only, /* any= */ false, &arguments->slots);
        return status != 0 ? status : source_open(arguments->source, read_only, /* any= */ false, &arguments->opened);
}

int mount_arguments_open_point(MountArguments *arguments) {
        if (!arguments->mountpoint)
                return 0;
        /* O_PATH without O_DIRECTORY does not set off an automount that is there. */
        arguments->mountpoint_fd = RET_NERRNO(open(arguments->mountpoint, O_PATH | O_CLOEXEC));
        if (arguments->mountpoint_fd < 0)
                return failure("cannot find the mount point %s: %s", arguments->mountpoint, strerror(-arguments->mountpoint_fd));
        arguments->mountpoint_name = realpath(arguments->mountpoint, NULL);
        return 0;
}

int mount_request(Context *context, const MountArguments *arguments, uint64_t *ret_id, int *ret_mount_fd) {
        FusedSource slots[SLOTS_MAX];
        FusedMountRequest request = {
                .type = arguments->type,
                .source = {.fd = arguments->opened.fd, .kind = arguments->opened.kind},
                .source_name = arguments->opened.name,
                .slots = slots,
                .n_slots = slots_fill(&arguments->slots, slots),
                .mountpoint_fd = arguments->mountpoint_fd,
                .mountpoint_name = arguments->mountpoint_name,
                .options = (const char *const *) arguments->options.words,
                .n_options = arguments->options.n,
                .owner_pidfd = arguments->owner_pidfd,
        };
        FusedError error = {0};
        int r;

        time_t started = time(NULL);
        pid_t progress = start_progress(arguments->type);
        r = fused_mount(context->client, &request, ret_id, ret_mount_fd, &error);
        end_progress(progress, started);
        return r < 0 ? report_refusal(&error, arguments) : 0;
}
