/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The program fusectl; all of it but this is a library, so that tests can run it beside a server of their own. */

#include "client/fusectl.h"

int main(int argc, char **argv) {
        Context context = {0};
        int status = fusectl_run(&context, argc, argv);

        context.client = fused_client_free(context.client);
        return status;
}
