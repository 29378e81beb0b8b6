/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl umount, fusectl abort */

#include <getopt.h>

#include "client/fusectl.h"

int command_umount(Context *context, int argc, char **argv) {
        static const struct option options[] = {{"lazy", no_argument, NULL, 'l'}, {0}};
        FusedError error = {0};
        bool lazy = false;
        uint64_t id;
        int c, status;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (c != 'l')
                        return usage_error("umount ID|MOUNTPOINT [--lazy]");
                lazy = true;
        }
        if (argc - optind != 1)
                return usage_error("umount ID|MOUNTPOINT [--lazy]");
        status = resolve_mount(context, argv[optind], &id);
        if (status != 0)
                return status;
        return fused_unmount(context->client, id, lazy, &error) < 0 ? report(&error) : EXIT_DONE;
}

int command_abort(Context *context, int argc, char **argv) {
        FusedError error = {0};
        uint64_t id;
        int status;

        if (argc != 2 || argv[1][0] == '-')
                return usage_error("abort ID|MOUNTPOINT");
        status = resolve_mount(context, argv[1], &id);
        if (status != 0)
                return status;
        return fused_abort(context->client, id, &error) < 0 ? report(&error) : EXIT_DONE;
}
