/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The helper's role in libfuse's service protocol. See service.h; the packets are in wire/service.h, what a server may ask for
 * is in service-commands.c. */

#include "manager/service.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "manager/service-commands.h"

static const struct {
        const char *step; /* what is waited for */
        bool reads;       /* packets are read in this state */
} state_rows[_SERVICE_STATE_MAX] = {
        [SERVICE_HELLO] = {"its hello", true},
        [SERVICE_SENDING] = {"a file to be handed over", false},
        [SERVICE_COMMANDS] = {"its mount request", true},
        [SERVICE_ASKED] = {"the mount", false},
        [SERVICE_ANSWERED] = {"its goodbye", true},
        [SERVICE_DEAD] = {"its end", false},
};

const char *service_step(const Service *service) {
        return state_rows[service->state == SERVICE_DEAD ? service->failed_state : service->state].step;
}

uint32_t service_n_refused(const Service *service) {
        return service->n_refused;
}

void service_enter_state(Service *service, ServiceState state) {
        service->state = state;
        if (service->io)
                (void) sd_event_source_set_enabled(service->io, state_rows[state].reads ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* No packet of it is read any more. The owner is told once, and frees it some time. */
void service_fail(Service *service, bool gone, const char *format, ...) {
        char why[256];
        va_list args;

        if (service->state == SERVICE_DEAD)
                return;
        va_start(args, format);
        (void) vsnprintf(why, sizeof why, format, args);
        va_end(args);
        service->failed_state = service->state;
        service_enter_state(service, SERVICE_DEAD);
        service->fd = fd_close(service->fd);
        service->hooks->failed(service->userdata, gone, why);
}

/* A socket that is full holds dozens of answers that the server has not read. */
static void send_packet(Service *service, const void *packet, size_t size, const int *fd) {
        int r;

        r = size > 0 ? fd_send(service->fd, packet, size, fd, fd ? 1 : 0) : -ENAMETOOLONG;
        if (r == -EAGAIN)
                service_fail(service, /* gone= */ false, "it does not read its answers");
        else if (r == -EPIPE || r == -ECONNRESET)
                service_fail(service, /* gone= */ true, "it closed its connection");
        else if (r < 0)
                service_fail(service, /* gone= */ false, "it cannot be answered: %s", strerror(-r));
}

void service_reply(Service *service, int error) {
        uint8_t packet[SERVICE_REPLY_SIZE];

        send_packet(service, packet, service_build_reply(packet, sizeof packet, (uint32_t) -error), NULL);
}

void service_reply_file(Service *service, int error, const char *path) {
        uint8_t packet[SERVICE_FILE_MAX];

        send_packet(service, packet, service_build_file(packet, sizeof packet, (uint32_t) -error, path), NULL);
}

/* ---- hello, argv, fusedev ------------------------------------------------------------------------------------------- */

/* What the server is told as its command line: the type's name (its argv[0]), the path of the slot "source" if it is bound,
 * the word for the mount point, and -o with the options that are the server's. */
static int make_argv(const Service *service, int *ret_fd) {
        const ServiceParameters *parameters = &service->parameters;
        char options[BROKER_OPTIONS_MAX + 64];
        const char *words[5];
        _cleanup_free_ void *image = NULL;
        _cleanup_fd_ int fd = -EBADF;
        size_t n = 0, size;

        words[n++] = parameters->type->name;
        if (parameters->type->slots.count > 0 && parameters->slots[0] != BROKER_SLOT_EMPTY)
                words[n++] = policy_string(parameters->table, policy_slot(parameters->table, parameters->type, 0)->path);
        words[n++] = SERVICE_MOUNTPOINT;
        (void) snprintf(options, sizeof options, "%s%s%s", parameters->granted.bits & POLICY_OPTION_RO ? "ro" : "rw",
                        *parameters->server_options ? "," : "", parameters->server_options);
        if (parameters->owner_known && server_option_is_listed(policy_string(parameters->table, parameters->type->server_options), "owner=")) {
                size_t have = strlen(options);
                (void) snprintf(options + have, sizeof options - have, ",owner=%u:%u", parameters->owner_uid, parameters->owner_gid);
        }
        words[n++] = "-o";
        words[n++] = options;

        size = service_argv_size(words, n);
        image = malloc(size);
        if (!image)
                return -ENOMEM;
        service_build_argv(image, size, words, n);
        fd = RET_NERRNO(memfd_create("fuse service argv", MFD_CLOEXEC | MFD_ALLOW_SEALING));
        if (fd < 0)
                return fd;
        ssize_t written = RET_NERRNO(write(fd, image, size));
        if (written != (ssize_t) size)
                return written < 0 ? (int) written : -EIO;
        int r = RET_NERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
        if (r < 0)
                return r;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

static void send_argv(Service *service) {
        uint8_t packet[SERVICE_FILE_MAX];
        _cleanup_fd_ int fd = -EBADF;
        int r;

        r = make_argv(service, &fd);
        if (r < 0)
                return service_fail(service, /* gone= */ false, "its arguments cannot be made: %s", strerror(-r));
        send_packet(service, packet, service_build_file(packet, sizeof packet, 0, "argv"), &fd);
}

/* Hands the FUSE device or a slot over, through the broker, which has it. */
void service_send_file(Service *service, uint32_t what, uint32_t open_flags, const char *path) {
        BrokerSendFile file = {.what = what, .open_flags = open_flags, .path_size = (uint32_t) strlen(path) + 1};

        assert(file.path_size <= sizeof file.path);
        memcpy(file.path, path, file.path_size);
        service->sending_device = what == 0;
        (void) snprintf(service->sending, sizeof service->sending, "%s", path);
        service_enter_state(service, SERVICE_SENDING);
        service->hooks->send_file(service->userdata, &file);
}

void service_open_channel(Service *service, const char *path) {
        service->sending_device = false;
        (void) snprintf(service->sending, sizeof service->sending, "%s", path);
        service_enter_state(service, SERVICE_SENDING);
        service->hooks->open_channel(service->userdata);
}

void service_file_sent(Service *service, int error) {
        if (service->state != SERVICE_SENDING)
                return;
        service_enter_state(service, SERVICE_COMMANDS);
        if (error >= 0)
                return;
        if (service->sending_device || error == -EPIPE || error == -ECONNRESET)
                return service_fail(service, /* gone= */ error == -EPIPE || error == -ECONNRESET,
                                    "%s cannot be handed over: %s", service->sending, strerror(-error));
        service_reply_file(service, error, service->sending); /* EROFS: servers try again, read-only */
}

static void on_hello(Service *service, const uint8_t *packet, size_t size) {
        if (service_parse_hello_reply(packet, size) < 0)
                return service_fail(service, /* gone= */ false, "its hello is malformed or of another version");
        send_argv(service);
        if (service->state != SERVICE_DEAD)
                service_send_file(service, 0, O_RDWR, "fusedev");
}

/* ---- the mount ------------------------------------------------------------------------------------------------------ */

/* With synchronous INIT the server must be in its loop when the mount call waits for it: it is answered before the mount is
 * made, and an error is told by ending it. Else it must not read its device before there is a superblock. */
void service_ask_for_mount(Service *service) {
        service_enter_state(service, SERVICE_ASKED);
        if (service->parameters.sync_init)
                service_superblock_made(service);
        if (service->state != SERVICE_DEAD)
                service->hooks->mount(service->userdata, &service->wanted);
}

void service_superblock_made(Service *service) {
        if (service->state != SERVICE_ASKED || service->said_goodbye) /* it has had its answer, and may have hung up */
                return;
        service_reply(service, 0);
        if (service->state != SERVICE_DEAD)
                service_enter_state(service, SERVICE_ANSWERED);
}

void service_mounted(Service *service, int error) {
        if (error < 0) {
                if (service->state == SERVICE_ASKED && !service->said_goodbye)
                        service_reply(service, error);
                service_enter_state(service, SERVICE_DEAD);
                return;
        }
        service_superblock_made(service);
        service->mounted = true;
        if (service->said_goodbye)
                service->hooks->finished(service->userdata);
}

/* ---- reading -------------------------------------------------------------------------------------------------------- */

static void on_gone(Service *service) {
        if (service->said_goodbye || service->mounted) {
                service_enter_state(service, SERVICE_DEAD);
                if (service->mounted)
                        service->hooks->finished(service->userdata);
                return;
        }
        service_fail(service, /* gone= */ true, "it closed its connection");
}

void service_goodbye(Service *service, uint32_t code) {
        if (service->mounted)
                return service->hooks->finished(service->userdata);
        if (code != 0)
                return service_fail(service, /* gone= */ true, "it said goodbye with code %u", code);
        if (service->state != SERVICE_ANSWERED)
                return service_fail(service, /* gone= */ true, "it said goodbye without a mount");
        service->said_goodbye = true;
        service_enter_state(service, SERVICE_ASKED); /* no packet of it is read any more; the mount goes on */
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        static uint8_t packet[SERVICE_PACKET_MAX]; /* one thread, and nobody keeps a pointer into it */
        Service *service = userdata;
        ssize_t n;

        n = fd_receive(fd, packet, sizeof packet, NULL, 0, NULL, MSG_DONTWAIT);
        if (n == -EAGAIN)
                return 0;
        if (n == -EBADMSG)
                service_fail(service, /* gone= */ false, "it sent a descriptor, or a packet that is too long");
        else if (n <= 0)
                on_gone(service);
        else if (++service->n_packets > SERVICE_PACKETS_MAX)
                service_fail(service, /* gone= */ false, "it sent more than %u packets", SERVICE_PACKETS_MAX);
        else if (service->state == SERVICE_HELLO)
                on_hello(service, packet, (size_t) n);
        else
                service_on_command(service, packet, (size_t) n);
        return 0;
}

int service_new(sd_event *event, int socket_fd, const ServiceParameters *parameters, const ServiceHooks *hooks, void *userdata, Service **ret) {
        _cleanup_fd_ int owned = socket_fd;
        Service *service = calloc(1, sizeof *service);
        uint8_t packet[SERVICE_HELLO_SIZE];
        uint32_t flags;
        int r;

        if (!service)
                return -ENOMEM;
        *service = (Service){.fd = TAKE_FD(owned), .parameters = *parameters, .hooks = hooks, .userdata = userdata};
        service->wanted = (BrokerMount){.options = parameters->granted.bits,
                                        .max_read = parameters->granted.max_read,
                                        .blksize = parameters->granted.blksize};
        fd_refuse_rights(service->fd);
        flags = parameters->granted.bits & POLICY_OPTION_ALLOW_OTHER ? SERVICE_HELLO_ALLOW_OTHER : 0;
        r = fd_set_nonblock(service->fd, true);
        if (r >= 0)
                r = sd_event_add_io(event, &service->io, service->fd, EPOLLIN, on_io, service);
        if (r >= 0)
                r = fd_send(service->fd, packet, service_build_hello(packet, sizeof packet, SERVICE_VERSION, SERVICE_VERSION, flags), NULL, 0);
        if (r == -EPIPE || r == -ECONNRESET)
                r = 0; /* it has ended already: its exit is about to be told */
        if (r < 0) {
                (void) service_free(service);
                return r;
        }
        *ret = service;
        return 0;
}

Service *service_free(Service *service) {
        if (!service)
                return NULL;
        (void) sd_event_source_disable_unref(service->io);
        service->fd = fd_close(service->fd);
        free(service);
        return NULL;
}
