/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a client can say: the head of a message as the guard sees it, and the properties of Mount and ExplainPolicy, made from
 * the input, read by request_parse() and put into the terms of a type by request_resolve().
 *
 * Input: one byte of mode; then for modes 0 and 1 raw bytes, else properties: a byte that picks one, a length byte, content. */

#include <string.h>
#include <systemd/sd-bus.h>

#include "../unit/manager-table.h"
#include "manager/peer-guard.h"
#include "manager/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Input {
        const uint8_t *data;
        size_t size;
} Input;

static uint8_t take_byte(Input *in) {
        if (in->size == 0)
                return 0;
        in->size--;
        return *in->data++;
}

/* D-Bus strings are UTF-8 without NUL: sd-bus has already refused others. */
static const char *take_text(Input *in, char *buffer) {
        size_t n = MIN_OF((size_t) take_byte(in) * 2, in->size);

        for (size_t i = 0; i < n; i++)
                buffer[i] = (char) (in->data[i] % 127 + 1);
        buffer[n] = 0;
        in->data += n;
        in->size -= n;
        return buffer;
}

static void append_property(sd_bus_message *m, Input *in) {
        static const char *const texts[] = {"source-kind", "source-name", "mountpoint-name", "sauce"};
        char name[600], other[600];
        uint8_t pick = take_byte(in);
        int fd = 0, r = 0;

        switch (pick % 10) {
        case 0:
                r = sd_bus_message_append(m, "{sv}", pick < 128 ? "source" : "mountpoint", "h", fd);
                break;
        case 1:
                r = sd_bus_message_append(m, "{sv}", texts[pick / 10 % 4], "s", take_text(in, name));
                break;
        case 2:
                r = sd_bus_message_append(m, "{sv}", "options", "as", 2, take_text(in, name), take_text(in, other));
                break;
        case 3:
                r = sd_bus_message_append(m, "{sv}", "slots", "a{sh}", 2, "journal", fd, take_text(in, name), fd);
                break;
        case 4:
                r = sd_bus_message_append(m, "{sv}", "slot-kinds", "a{ss}", 1, take_text(in, name), take_text(in, other));
                break;
        case 5:
                r = sd_bus_message_append(m, "{sv}", "groups", "au", 3, 1, 2, pick);
                break;
        case 6:
                r = sd_bus_message_append(m, "{sv}", pick < 128 ? "uid" : "gid", "u", (uint32_t) pick);
                break;
        case 7:
                r = sd_bus_message_append(m, "{sv}", take_text(in, name), "t", (uint64_t) pick);
                break;
        case 8:
                r = sd_bus_message_append(m, "{sv}", "options", "as", 4, "offset=1", "allow_other", "ro", take_text(in, name));
                break;
        case 9:
                r = sd_bus_message_append(m, "{sv}", "source-kind", "s", pick < 64 ? "file" : pick < 128 ? "device" : "tree");
                break;
        }
        (void) r;
}

static void fuzz_request(Input *in, RequestUse use) {
        static sd_bus *bus; /* never connected: messages need one to belong to */
        static TestTable table;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        MountRequest request;
        Outcome outcome;

        if (!bus) {
                table_fill(&table);
                if (sd_bus_new(&bus) < 0 || sd_bus_set_address(bus, "unix:path=/dev/null") < 0 || sd_bus_negotiate_fds(bus, true) < 0)
                        abort();
                (void) sd_bus_start(bus);
        }
        if (sd_bus_message_new(bus, &m, SD_BUS_MESSAGE_METHOD_CALL) < 0 || sd_bus_message_open_container(m, 'a', "{sv}") < 0)
                return;
        for (int i = 0; i < 12 && in->size > 0; i++)
                append_property(m, in);
        if (sd_bus_message_close_container(m) < 0 || sd_bus_message_seal(m, 1, 0) < 0 || sd_bus_message_rewind(m, true) < 0)
                return;
        if (request_parse(m, use, &request, &outcome) < 0)
                return;
        for (int i = 0; i < TABLE_N_TYPES; i++) {
                int fds[REQUEST_FDS_MAX];
                BrokerRequest broker = {.magic = BROKER_MAGIC, .operation = BROKER_CREATE};
                size_t n_fds = 0;
                if (request_resolve(&request, use, &table.table, &table.types[i], &broker.create, fds, &n_fds, &outcome) < 0)
                        continue;
                /* Whatever a client says, the broker finds it well-formed. */
                if (broker_request_validate(&broker, broker_request_size(BROKER_CREATE)) < 0 || broker_request_n_fds(&broker) != 1 + n_fds)
                        abort();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Input in = {.data = data, .size = size};

        switch (take_byte(&in) % 4) {
        case 0: {
                size_t message = 0;
                uint32_t n_fds = 0;
                if (peer_guard_message(in.data, in.size, &message, &n_fds) == PEER_GUARD_WHOLE &&
                    (message > in.size || message > PEER_MESSAGE_MAX || n_fds > PEER_FDS_MAX))
                        abort();
                break;
        }
        case 1: {
                uint32_t n_messages = 0;
                (void) peer_guard_auth(in.data, in.size, &n_messages);
                break;
        }
        case 2:
                fuzz_request(&in, REQUEST_MOUNT);
                break;
        case 3:
                fuzz_request(&in, REQUEST_EXPLAIN);
                break;
        }
        return 0;
}
