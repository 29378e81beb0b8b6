/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl mount */

#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "client/fusectl.h"

#define MOUNT_FD 3 /* of the command of --detached */

static int parse(int argc, char **argv, MountArguments *ret) {
        static const struct option options[] = {
                {"detached", no_argument, NULL, 'd'}, {"options", required_argument, NULL, 'o'},
                {"owner", required_argument, NULL, 'O'}, {0}};
        bool detached = false;
        int c, n, status;

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
                case 'O':
                        status = mount_arguments_open_owner(ret, optarg);
                        if (status != 0)
                                return status;
                        break;
                default:
                        return usage_error("mount TYPE SOURCE MOUNTPOINT [-o OPT,...] [--owner WHO]");
                }
        if (n - optind != (detached ? 2 : 3))
                return usage_error(detached ? "mount TYPE SOURCE --detached [-o OPT,...] [--owner WHO] -- COMMAND..."
                                            : "mount TYPE SOURCE MOUNTPOINT [-o OPT,...] [--owner WHO]");
        if (detached != (n < argc) || (detached && n + 1 >= argc))
                return usage_error("--detached needs a COMMAND after '--', and only it takes one");
        ret->type = argv[optind];
        ret->source = argv[optind + 1];
        ret->mountpoint = detached ? NULL : argv[optind + 2];
        ret->command = detached ? argv + n + 1 : NULL;
        return 0;
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

int command_mount(Context *context, int argc, char **argv) {
        _cleanup_(mount_arguments_done) MountArguments arguments = MOUNT_ARGUMENTS_NULL;
        _cleanup_fd_ int mount_fd = -EBADF;
        uint64_t id;
        int status;

        status = parse(argc, argv, &arguments);
        if (status == 0)
                status = connect_to_fused(context);
        if (status == 0)
                status = mount_arguments_open_source(context, &arguments, option_words_have(&arguments.options, "ro"));
        if (status == 0)
                status = mount_arguments_open_point(&arguments);
        if (status == 0)
                status = mount_request(context, &arguments, &id, &mount_fd);
        if (status != 0)
                return status;
        if (arguments.command)
                return run_command(arguments.command, mount_fd);
        if (context->json)
                printf("{ \"id\": %llu }\n", (unsigned long long) id);
        else
                printf("%llu\n", (unsigned long long) id);
        return EXIT_DONE;
}
