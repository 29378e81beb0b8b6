/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between the files of libfused. */

#include <systemd/sd-bus.h>

#include "base/macro.h"
#include "client/libfused.h"

#define CLIENT_INTERFACE "org.fused1.Manager"

struct FusedClient {
        sd_bus *bus; /* owned */
};

int client_set_error(FusedError *error, int r, FusedErrorKind kind, const char *format, ...) _printf_(4, 5);
int client_new_call(FusedClient *client, const char *method, sd_bus_message **ret);
int client_call(FusedClient *client, sd_bus_message *message, uint64_t usec, sd_bus_message **ret, FusedError *error);
/* r is that of making the message: < 0 is reported. */
int client_call_simple(FusedClient *client, sd_bus_message *message, int r, uint64_t usec, FusedError *error);
int client_call_json(FusedClient *client, sd_bus_message *message, int r, uint64_t usec, json_object **ret, FusedError *error);
