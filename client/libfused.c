/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libfused over sd-bus, peer to peer. See libfused.h. */

#include "client/libfused.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>

#include "base/fd.h"
#include "client/bus-json.h"
#include "client/libfused-internal.h"

#define OBJECT "/org/fused1"
#define CALL_USEC (30 * USEC_PER_SEC)
#define MOUNT_USEC (600 * USEC_PER_SEC) /* the manager's own deadlines are far shorter, but a type may set them */

static const struct {
        const char *name;
        FusedErrorKind kind;
} error_rows[] = {
        {"org.fused1.Error.Refused", FUSED_ERROR_REFUSED},
        {"org.fused1.Error.NoSuchMount", FUSED_ERROR_NO_SUCH_MOUNT},
        {"org.fused1.Error.Busy", FUSED_ERROR_BUSY},
        {"org.fused1.Error.ServerFailed", FUSED_ERROR_SERVER_FAILED},
        {"org.freedesktop.DBus.Error.InvalidArgs", FUSED_ERROR_USAGE},
        {"org.freedesktop.DBus.Error.LimitsExceeded", FUSED_ERROR_REFUSED},
        {"org.freedesktop.DBus.Error.AccessDenied", FUSED_ERROR_REFUSED},
};

void fused_error_done(FusedError *error) {
        free(error->message);
        *error = (FusedError){0};
}

int client_set_error(FusedError *error, int r, FusedErrorKind kind, const char *format, ...) {
        va_list args;

        if (!error)
                return r;
        fused_error_done(error);
        error->kind = kind;
        va_start(args, format);
        if (vasprintf(&error->message, format, args) < 0)
                error->message = NULL;
        va_end(args);
        return r;
}

/* sd-bus names its own failures by errno, and these when a connection ends or an answer does not come. */
static bool is_local_error(const sd_bus_error *bus_error) {
        static const char system_prefix[] = "System.Error.";

        return !sd_bus_error_is_set(bus_error) || strncmp(bus_error->name, system_prefix, strlen(system_prefix)) == 0 ||
               sd_bus_error_has_name(bus_error, SD_BUS_ERROR_NO_REPLY) ||
               sd_bus_error_has_name(bus_error, SD_BUS_ERROR_TIMEOUT) ||
               sd_bus_error_has_name(bus_error, SD_BUS_ERROR_DISCONNECTED);
}

static int set_bus_error(FusedError *error, int r, const sd_bus_error *bus_error) {
        if (is_local_error(bus_error))
                return client_set_error(error, r, FUSED_ERROR_FAILED, "fused does not answer: %s", strerror(-r));
        const char *message = bus_error->message ? bus_error->message : bus_error->name;
        for (size_t i = 0; i < ELEMENTSOF(error_rows); i++)
                if (sd_bus_error_has_name(bus_error, error_rows[i].name))
                        return client_set_error(error, r, error_rows[i].kind, "%s", message);
        return client_set_error(error, r, FUSED_ERROR_FAILED, "%s", message);
}

/* ---- connection -------------------------------------------------------------------------------------------------- */

FusedClient *fused_client_free(FusedClient *client) {
        if (!client)
                return NULL;
        (void) sd_bus_flush_close_unref(client->bus);
        free(client);
        return NULL;
}
DEFINE_CLEANUP(FusedClient *, client_freep, fused_client_free)

int fused_client_new_from_fd(int fd, FusedClient **ret, FusedError *error) {
        _cleanup_(client_freep) FusedClient *client = NULL;
        _cleanup_fd_ int owned = fd;
        int r;

        client = calloc(1, sizeof *client);
        if (!client)
                return client_set_error(error, -ENOMEM, FUSED_ERROR_FAILED, "out of memory");
        r = sd_bus_new(&client->bus);
        if (r >= 0)
                r = sd_bus_set_fd(client->bus, owned, owned);
        if (r >= 0) {
                (void) TAKE_FD(owned); /* the bus's now */
                r = sd_bus_negotiate_fds(client->bus, true);
        }
        if (r >= 0)
                r = sd_bus_start(client->bus);
        if (r < 0)
                return client_set_error(error, r, FUSED_ERROR_FAILED, "cannot talk to fused: %s", strerror(-r));
        *ret = TAKE_PTR(client);
        return 0;
}

int fused_client_new(const char *runtime_directory, FusedClient **ret, FusedError *error) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        _cleanup_fd_ int fd = -EBADF;
        int n, r;

        n = snprintf(address.sun_path, sizeof address.sun_path, "%s/control",
                     runtime_directory ? runtime_directory : "/run/fused");
        if (n < 0 || (size_t) n >= sizeof address.sun_path)
                return client_set_error(error, -ENAMETOOLONG, FUSED_ERROR_USAGE, "%s is too long a name", runtime_directory);
        fd = RET_NERRNO(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (fd < 0)
                return client_set_error(error, fd, FUSED_ERROR_FAILED, "no socket: %s", strerror(-fd));
        const struct timeval limit = {.tv_sec = CALL_USEC / USEC_PER_SEC};
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* bounds connect(2) as well */
        r = RET_NERRNO(connect(fd, (const struct sockaddr *) &address, sizeof address));
        if (r < 0)
                return client_set_error(error, r, FUSED_ERROR_FAILED, "cannot connect to %s: %s (is fused running?)",
                                 address.sun_path, strerror(-r));
        r = fd_set_nonblock(fd, true);
        if (r < 0)
                return client_set_error(error, r, FUSED_ERROR_FAILED, "cannot use the connection: %s", strerror(-r));
        return fused_client_new_from_fd(TAKE_FD(fd), ret, error);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

int client_new_call(FusedClient *client, const char *method, sd_bus_message **ret) {
        return sd_bus_message_new_method_call(client->bus, ret, "org.fused1", OBJECT, CLIENT_INTERFACE, method);
}

int client_call(FusedClient *client, sd_bus_message *message, uint64_t usec, sd_bus_message **ret, FusedError *error) {
        _cleanup_(sd_bus_error_free) sd_bus_error bus_error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call(client->bus, message, usec, &bus_error, ret);
        return r < 0 ? set_bus_error(error, r, &bus_error) : 0;
}

static int append_fd(sd_bus_message *message, const char *key, int fd) {
        return fd < 0 ? 0 : sd_bus_message_append(message, "{sv}", key, "h", fd);
}

static int append_text(sd_bus_message *message, const char *key, const char *text) {
        return !text ? 0 : sd_bus_message_append(message, "{sv}", key, "s", text);
}

static int append_options(sd_bus_message *message, const char *const *options, size_t n) {
        int r;

        if (n == 0)
                return 0;
        r = sd_bus_message_open_container(message, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(message, "s", "options");
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'v', "as");
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'a', "s");
        for (size_t i = 0; i < n && r >= 0; i++)
                r = sd_bus_message_append(message, "s", options[i]);
        for (unsigned i = 0; i < 3 && r >= 0; i++)
                r = sd_bus_message_close_container(message);
        return r;
}

/* "slots" a{sh} and "slot-kinds" a{ss} */
static int append_slots(sd_bus_message *message, const FusedSource *slots, size_t n, bool kinds) {
        const char *type = kinds ? "{ss}" : "{sh}", *array = kinds ? "a{ss}" : "a{sh}";
        int r;

        if (n == 0)
                return 0;
        r = sd_bus_message_open_container(message, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(message, "s", kinds ? "slot-kinds" : "slots");
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'v', array);
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'a', type);
        for (size_t i = 0; i < n && r >= 0; i++)
                r = kinds ? sd_bus_message_append(message, "{ss}", slots[i].name, slots[i].kind) :
                            sd_bus_message_append(message, "{sh}", slots[i].name, slots[i].fd);
        for (unsigned i = 0; i < 3 && r >= 0; i++)
                r = sd_bus_message_close_container(message);
        return r;
}

static int append_all_slots(sd_bus_message *message, const FusedSource *slots, size_t n) {
        int r = append_slots(message, slots, n, /* kinds= */ false);

        return r < 0 ? r : append_slots(message, slots, n, /* kinds= */ true);
}

static int append_source(sd_bus_message *message, const FusedSource *source) {
        int r;

        if (source->fd < 0)
                return 0;
        r = append_fd(message, "source", source->fd);
        return r < 0 ? r : append_text(message, "source-kind", source->kind);
}

static int build_mount(FusedClient *client, const FusedMountRequest *request, sd_bus_message **ret) {
        int r;

        r = client_new_call(client, "Mount", ret);
        if (r >= 0)
                r = sd_bus_message_append(*ret, "s", request->type);
        if (r >= 0)
                r = sd_bus_message_open_container(*ret, 'a', "{sv}");
        if (r >= 0)
                r = append_source(*ret, &request->source);
        if (r >= 0)
                r = append_text(*ret, "source-name", request->source_name);
        if (r >= 0)
                r = append_all_slots(*ret, request->slots, request->n_slots);
        if (r >= 0)
                r = append_fd(*ret, "mountpoint", request->mountpoint_fd);
        if (r >= 0)
                r = append_text(*ret, "mountpoint-name", request->mountpoint_name);
        if (r >= 0 && request->prepare)
                r = append_fd(*ret, "channel", request->channel_fd);
        if (r >= 0)
                r = append_fd(*ret, "owner", request->owner_pidfd > 0 ? request->owner_pidfd : -1);
        if (r >= 0)
                r = append_options(*ret, request->options, request->n_options);
        return r < 0 ? r : sd_bus_message_close_container(*ret);
}

/* The result's "mount" (h), of which the message owns the descriptor. */
static int read_mount_fd(sd_bus_message *reply, int *ret_fd) {
        int r;

        r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                const char *key;
                int fd;
                r = sd_bus_message_read(reply, "s", &key);
                if (r < 0)
                        return r;
                if (strcmp(key, "mount") == 0) {
                        r = sd_bus_message_read(reply, "v", "h", &fd);
                        if (r >= 0)
                                r = *ret_fd = fd_dup(fd);
                } else
                        r = sd_bus_message_skip(reply, "v");
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(reply);
                if (r < 0)
                        return r;
        }
        return r;
}

/* Takes over the message, or r < 0 if it could not be made. */
static int call_for_mount(FusedClient *client, sd_bus_message *made, int r, bool wants_fd, uint64_t *ret_id, int *ret_mount_fd, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = made, *reply = NULL;
        _cleanup_fd_ int fd = -EBADF;
        uint64_t id;

        if (r < 0)
                return client_set_error(error, r, FUSED_ERROR_FAILED, "cannot make the request: %s", strerror(-r));
        r = client_call(client, message, MOUNT_USEC, &reply, error);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "t", &id);
        if (r >= 0)
                r = read_mount_fd(reply, &fd);
        if (r >= 0 && wants_fd && fd < 0)
                r = -EBADMSG;
        if (r < 0)
                return client_set_error(error, r, FUSED_ERROR_FAILED, "cannot read the answer: %s", strerror(-r));
        *ret_id = id;
        if (ret_mount_fd)
                *ret_mount_fd = fd >= 0 ? TAKE_FD(fd) : -1;
        return 0;
}

int fused_mount(FusedClient *client, const FusedMountRequest *request, uint64_t *ret_id, int *ret_mount_fd,
                FusedError *error) {
        sd_bus_message *message = NULL;
        int r;

        r = build_mount(client, request, &message);
        return call_for_mount(client, message, r, request->mountpoint_fd < 0 && !request->prepare, ret_id, ret_mount_fd, error);
}

int fused_attach(FusedClient *client, uint64_t id, int *ret_mount_fd, FusedError *error) {
        sd_bus_message *message = NULL;
        int r;

        r = client_new_call(client, "Attach", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "t", id);
        return call_for_mount(client, message, r, /* wants_fd= */ false, &id, ret_mount_fd, error);
}

int client_call_simple(FusedClient *client, sd_bus_message *message, int r, uint64_t usec, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        return r < 0 ? client_set_error(error, r, FUSED_ERROR_FAILED, "cannot make the request: %s", strerror(-r))
                     : client_call(client, message, usec, &reply, error);
}

int fused_unmount(FusedClient *client, uint64_t id, bool lazy, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r;

        r = client_new_call(client, "Unmount", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "tb", id, (int) lazy);
        return client_call_simple(client, message, r, MOUNT_USEC, error);
}

int fused_abort(FusedClient *client, uint64_t id, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r;

        r = client_new_call(client, "Abort", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "t", id);
        return client_call_simple(client, message, r, MOUNT_USEC, error);
}

int client_call_json(FusedClient *client, sd_bus_message *message, int r, uint64_t usec, json_object **ret, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        if (r < 0)
                return client_set_error(error, r, FUSED_ERROR_FAILED, "cannot make the request: %s", strerror(-r));
        r = client_call(client, message, usec, &reply, error);
        if (r < 0)
                return r;
        r = bus_read_json(reply, ret);
        return r < 0 ? client_set_error(error, r, FUSED_ERROR_FAILED, "cannot read the answer: %s", strerror(-r)) : 0;
}

int fused_list(FusedClient *client, json_object **ret, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r = client_new_call(client, "ListMounts", &message);

        return client_call_json(client, message, r, CALL_USEC, ret, error);
}

int fused_get(FusedClient *client, uint64_t id, json_object **ret, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r;

        r = client_new_call(client, "GetMount", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "t", id);
        return client_call_json(client, message, r, CALL_USEC, ret, error);
}

int fused_types(FusedClient *client, json_object **ret, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r = client_new_call(client, "ListTypes", &message);

        return client_call_json(client, message, r, CALL_USEC, ret, error);
}

int fused_programs(FusedClient *client, json_object **ret, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r = client_new_call(client, "ListPrograms", &message);

        return client_call_json(client, message, r, CALL_USEC, ret, error);
}

static int append_other(sd_bus_message *message, const FusedExplainRequest *request) {
        int r;

        if (!request->as_other)
                return 0;
        r = sd_bus_message_append(message, "{sv}{sv}", "uid", "u", request->uid, "gid", "u", request->gid);
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(message, "s", "groups");
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'v', "au");
        if (r >= 0)
                r = sd_bus_message_append_array(message, 'u', request->groups,
                                                request->n_groups * sizeof *request->groups);
        for (unsigned i = 0; i < 2 && r >= 0; i++)
                r = sd_bus_message_close_container(message);
        return r;
}

int fused_explain(FusedClient *client, const FusedExplainRequest *request, json_object **ret, FusedError *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r;

        r = client_new_call(client, "ExplainPolicy", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "s", request->type);
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'a', "{sv}");
        if (r >= 0)
                r = append_source(message, &request->source);
        if (r >= 0)
                r = append_all_slots(message, request->slots, request->n_slots);
        if (r >= 0)
                r = append_options(message, request->options, request->n_options);
        if (r >= 0)
                r = append_other(message, request);
        if (r >= 0)
                r = sd_bus_message_close_container(message);
        return client_call_json(client, message, r, CALL_USEC, ret, error);
}
