/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The structs between broker and manager: what is let through must be safe to use without another look. */

#include <string.h>

#include "wire/broker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_string(const char *text, size_t size) {
        assert(strnlen(text, size) < size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static BrokerRequest request;
        static union {
                BrokerReply reply;
                BrokerEvent event;
        } message;
        bool is_event;

        memset(&request, 0xaa, sizeof request); /* nothing may be read behind the end */
        memcpy(&request, data, MIN_OF(size, sizeof request));
        if (size <= sizeof request && broker_request_validate(&request, size) == 0) {
                assert(size == broker_request_size(request.operation));
                assert(broker_request_n_fds(&request) <= BROKER_FDS_MAX);
                if (request.operation == BROKER_CREATE) {
                        check_string(request.create.server_options, sizeof request.create.server_options);
                        check_string(request.create.mountpoint_name, sizeof request.create.mountpoint_name);
                } else if (request.operation == BROKER_SEND_FILE)
                        assert(strlen(request.send_file.path) + 1 == request.send_file.path_size);
                else if (request.operation == BROKER_MOUNT)
                        check_string(request.mount.fsname, sizeof request.mount.fsname);
                else if (request.operation == BROKER_EXPLAIN)
                        assert(request.explain.n_groups <= ELEMENTSOF(request.explain.groups));
        }

        memset(&message, 0xaa, sizeof message);
        memcpy(&message, data, MIN_OF(size, sizeof message));
        if (size <= sizeof message && broker_reply_validate(&message, size, &is_event) == 0) {
                if (is_event)
                        check_string(message.event.record.source_name, sizeof message.event.record.source_name);
                else if (message.reply.operation != BROKER_QUERY)
                        check_string(message.reply.record.mountpoint_name, sizeof message.reply.record.mountpoint_name);
        }
        return 0;
}
