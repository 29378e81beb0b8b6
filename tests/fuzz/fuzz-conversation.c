/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a server can say: packets, fed to a conversation in the manager. Input: per packet two bytes of length (big-endian),
 * then the packet. Checked throughout: only bound slots are ever handed over, and no mount is asked for with more than was
 * granted. */

#include <string.h>
#include <sys/socket.h>

#include "../unit/manager-table.h"
#include "base/fd.h"
#include "manager/service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct World {
        Service *service;
        bool over;
} World;

#define GRANTED (POLICY_OPTION_RO | POLICY_OPTION_ALLOW_OTHER | POLICY_OPTION_DEFAULT_PERMISSIONS)

static void hook_send_file(void *userdata, const BrokerSendFile *file) {
        World *w = userdata;
        BrokerRequest request = {.magic = BROKER_MAGIC, .operation = BROKER_SEND_FILE, .mount_id = 1, .send_file = *file};

        if (file->what > 1 || broker_request_validate(&request, broker_request_size(BROKER_SEND_FILE)) < 0)
                abort(); /* slot 1 is empty */
        service_file_sent(w->service, file->what ? -EROFS : 0);
}

static void hook_mount(void *userdata, const BrokerMount *mount) {
        World *w = userdata;
        BrokerRequest request = {.magic = BROKER_MAGIC, .operation = BROKER_MOUNT, .mount_id = 1, .mount = *mount};

        if (broker_request_validate(&request, broker_request_size(BROKER_MOUNT)) < 0 || (mount->options & GRANTED) != GRANTED ||
            mount->options & (POLICY_OPTION_SUID | POLICY_OPTION_DEV))
                abort();
        service_mounted(w->service, mount->options & POLICY_OPTION_SYNC ? -EBUSY : 0);
}

static void hook_failed(void *userdata, bool gone, const char *why) {
        World *w = userdata;

        w->over = true;
}

static void hook_finished(void *userdata) {
        World *w = userdata;

        w->over = true;
        w->service = service_free(w->service);
}

static void hook_open_channel(void *userdata) {
        World *w = userdata;

        service_file_sent(w->service, -EALREADY);
}

static const ServiceHooks hooks = {hook_send_file, hook_open_channel, hook_mount, hook_failed, hook_finished};

static void drain(int fd) {
        uint8_t buffer[8192];
        int fds[1];
        size_t n_fds = 0;

        while (fd_receive(fd, buffer, sizeof buffer, fds, 1, &n_fds, MSG_DONTWAIT) > 0)
                fd_close_many(fds, n_fds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_fd_ int server = -EBADF;
        static TestTable table;
        ServiceParameters parameters = {.server_options = "quiet", .slots = {BROKER_SLOT_FILE}, .granted = {.bits = GRANTED}, .sync_init = size % 2};
        World w = {0};
        int pair[2];

        table_fill(&table);
        parameters.table = &table.table;
        parameters.type = &table.types[TABLE_SVC];
        if (sd_event_new(&event) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                abort();
        server = pair[1];
        if (service_new(event, pair[0], &parameters, &hooks, &w, &w.service) < 0)
                abort();
        while (size >= 2 && !w.over) {
                size_t n = MIN_OF((size_t) data[0] << 8 | data[1], size - 2);
                data += 2;
                size -= 2;
                if (n > 0 && send(server, data, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                        break;
                data += n;
                size -= n;
                while (sd_event_run(event, 0) > 0)
                        continue;
                drain(server);
        }
        server = fd_close(server);
        while (sd_event_run(event, 0) > 0)
                continue;
        w.service = service_free(w.service);
        return 0;
}
