/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl: options, subcommands, exit statuses, messages. See fusectl(1). */

#include "client/fusectl.h"

#include <getopt.h>
#include <string.h>

#include "config.h"

static const struct {
        const char *name;
        subcommand_t run;
        const char *arguments;
        const char *text;
} subcommands[] = {
        {"mount", command_mount, "TYPE SOURCE MOUNTPOINT [-o OPT,...]", "mount; prints the mount's id"},
        {"mount", command_mount, "TYPE SOURCE --detached [-o OPT,...] -- COMMAND...",
         "run COMMAND with the mount as its fd 3"},
        {"umount", command_umount, "ID|MOUNTPOINT [--lazy]", "unmount"},
        {"list", command_list, "[--detail]", "the mounts that you may see"},
        {"top", command_top, "[-n ROUNDS] [-d SECONDS]", "what the mounts use, each second"},
        {"monitor", command_monitor, "", "what happens to the mounts that you may see, as it happens"},
        {"metrics", command_metrics, "[--output FILE]", "numbers in the text format of Prometheus"},
        {"status", command_status, "ID|MOUNTPOINT", "everything about one mount"},
        {"abort", command_abort, "ID|MOUNTPOINT", "end a mount whose server hangs"},
        {"types", command_types, "", "what can be mounted"},
        {"policy", command_policy, "explain TYPE SOURCE [-o OPT,...] [--user NAME]",
         "why it would be allowed or refused"},
        {"program", command_program, "list", "the mapping programs that the policy lists"},
        {"program", command_program, "show NAME", "everything about one of them"},
        {"program", command_program, "verify FILE [--device SIZE]...", "put one to the checks that it has to pass"},
        {"cdi", command_cdi, "", "what a container needs, for its engine (Container Device Interface)"},
        {"doctor", command_doctor, "", "what this kernel can do, and what fused does without it"},
};

static void print_help(void) {
        puts("fusectl [--runtime-directory DIR] [--json] COMMAND\n\nCommands:");
        for (size_t i = 0; i < ELEMENTSOF(subcommands); i++)
                printf("  %s %s\n      %s\n", subcommands[i].name, subcommands[i].arguments, subcommands[i].text);
        puts("\nExit status: 0 done, 1 failed, 2 usage, 3 refused by policy or quota, 4 no such mount."
             "\nSee fusectl(1).");
}

static int print_command_help(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(subcommands); i++)
                if (strcmp(name, subcommands[i].name) == 0)
                        printf("fusectl %s %s\n    %s\n", name, subcommands[i].arguments, subcommands[i].text);
        return EXIT_DONE;
}

static int run(Context *context, int argc, char **argv) {
        for (size_t i = 0; i < ELEMENTSOF(subcommands); i++)
                if (strcmp(argv[0], subcommands[i].name) == 0) {
                        if (argc == 2 && strcmp(argv[1], "--help") == 0)
                                return print_command_help(argv[0]);
                        optind = 0; /* the subcommand's own options, from the start */
                        return subcommands[i].run(context, argc, argv);
                }
        return usage_error("there is no command '%s'", argv[0]);
}

/* --json may also stand behind the command; what follows "--" is somebody else's. Returns how many words are left. */
static int take_json(Context *context, int argc, char **argv) {
        int n = 0;
        bool ours = true;

        for (int i = 0; i < argc; i++) {
                ours = ours && strcmp(argv[i], "--") != 0;
                if (ours && i > 0 && strcmp(argv[i], "--json") == 0)
                        context->json = true;
                else
                        argv[n++] = argv[i];
        }
        argv[n] = NULL;
        return n;
}

int fusectl_run(Context *context, int argc, char **argv) {
        static const struct option options[] = {
                {"runtime-directory", required_argument, NULL, 'r'},
                {"json", no_argument, NULL, 'j'},
                {"help", no_argument, NULL, 'h'},
                {"version", no_argument, NULL, 'v'},
                {0},
        };
        int c, status;

        optind = 0;
        while ((c = getopt_long(argc, argv, "+h", options, NULL)) >= 0)
                switch (c) {
                case 'r':
                        context->runtime_directory = optarg;
                        break;
                case 'j':
                        context->json = true;
                        break;
                case 'h':
                        print_help();
                        return EXIT_DONE;
                case 'v':
                        puts("fusectl " FUSED_VERSION);
                        return EXIT_DONE;
                default:
                        fputs("Try 'fusectl --help'.\n", stderr);
                        return EXIT_USAGE;
                }
        if (optind >= argc)
                return usage_error("a command is missing");
        argv += optind;
        argc = take_json(context, argc - optind, argv);
        status = run(context, argc, argv);
        if (fflush(stdout) != 0 && status == EXIT_DONE)
                status = failure("cannot write: %s", strerror(errno));
        return status;
}
