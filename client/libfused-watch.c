/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libfused's calls for those who watch: signals, and everything at once. See libfused.h. */

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "client/bus-json.h"
#include "client/libfused-internal.h"

#define SURVEY_USEC (60 * USEC_PER_SEC) /* the supervisor asks for each mount's numbers */

int fused_query(FusedClient *client, json_object **ret, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r = client_new_call(client, "QueryMounts", &message);

        return client_call_json(client, message, r, SURVEY_USEC, ret, error);
}

/* "types" and "users": each user an object of uid, usage and limits. */
static int read_statistics(sd_bus_message *reply, json_object *object) {
        static const char *const keys[] = {"uid", "usage", "limits"};
        json_object *types = NULL, *users = NULL, *rows = json_object_new_array();
        int r;

        if (!rows)
                return -ENOMEM;
        json_object_object_add(object, "users", rows);
        r = bus_read_json(reply, &types);
        if (r < 0)
                return r;
        json_object_object_add(object, "types", types);
        r = bus_read_json(reply, &users);
        if (r < 0)
                return r;
        for (size_t i = 0; i < json_object_array_length(users); i++) {
                json_object *user = json_object_array_get_idx(users, i), *row = json_object_new_object();
                for (size_t k = 0; k < ELEMENTSOF(keys); k++)
                        json_object_object_add(row, keys[k], json_object_get(json_object_array_get_idx(user, k)));
                json_object_array_add(rows, row);
        }
        json_object_put(users);
        return 0;
}

int fused_statistics(FusedClient *client, json_object **ret, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        json_object *object;
        int r = client_new_call(client, "Statistics", &message);

        if (r < 0)
                return client_set_error(error, r, FUSED_ERROR_FAILED, "cannot make the request: %s", strerror(-r));
        r = client_call(client, message, SURVEY_USEC, &reply, error);
        if (r < 0)
                return r;
        object = json_object_new_object();
        r = object ? read_statistics(reply, object) : -ENOMEM;
        if (r < 0) {
                json_object_put(object);
                return client_set_error(error, r, FUSED_ERROR_FAILED, "cannot read the answer: %s", strerror(-r));
        }
        *ret = object;
        return 0;
}

int fused_subscribe(FusedClient *client, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r = client_new_call(client, "Subscribe", &message);

        return client_call_simple(client, message, r, SURVEY_USEC, error);
}

static int read_event(sd_bus_message *message, char event[static FUSED_EVENT_MAX], json_object **ret) {
        int r = bus_read_json(message, ret);

        if (r >= 0)
                (void) snprintf(event, FUSED_EVENT_MAX, "%s", sd_bus_message_get_member(message));
        return r < 0 ? r : 1;
}

int fused_next_event(FusedClient *client, uint64_t usec, char event[FUSED_EVENT_MAX], json_object **ret, FusedError *error) {
        uint64_t now = clock_usec(), end = usec > UINT64_MAX - now ? UINT64_MAX : now + usec;
        int r;

        for (;;) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
                r = sd_bus_process(client->bus, &message);
                if (r >= 0 && message && sd_bus_message_is_signal(message, CLIENT_INTERFACE, NULL)) {
                        r = read_event(message, event, ret);
                        if (r > 0)
                                return 1;
                }
                if (r == 0) {
                        now = clock_usec();
                        if (now >= end)
                                return 0;
                        r = sd_bus_wait(client->bus, end == UINT64_MAX ? UINT64_MAX : end - now);
                        if (r == -EINTR)
                                return 0;
                }
                if (r < 0)
                        return client_set_error(error, r, FUSED_ERROR_FAILED, "the connection to fused has ended: %s", strerror(-r));
        }
}
