/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The inside of a conversation, shared by service.c (who reads, answers and knows the states) and service-commands.c (what each
 * command may be). Nobody else includes this. */

#include <stdarg.h>

#include "manager/service.h"
#include "wire/service.h"

#define SERVICE_MOUNTPOINT "/mnt" /* the word that stands for the mount point; the server has no path to it */
#define SERVICE_RESERVED_PATH "fused" /* the second channel: wire/channel.h */

typedef enum ServiceState {
        SERVICE_HELLO,    /* said; its answer is waited for */
        SERVICE_SENDING,  /* the broker hands a file over */
        SERVICE_COMMANDS, /* it is the server's turn */
        SERVICE_ASKED,    /* it has asked for the mount, or said goodbye: no packet is read */
        SERVICE_ANSWERED, /* it may go on to its loop; only a goodbye is left to say */
        SERVICE_DEAD,
        _SERVICE_STATE_MAX,
        _SERVICE_STATE_INVALID = -EINVAL,
} ServiceState;

/* Commands that come once (bits). */
typedef enum ServiceDone {
        SERVICE_DONE_FSOPEN = 1 << 0,
        SERVICE_DONE_SOURCE = 1 << 1,
        SERVICE_DONE_MOUNTPOINT = 1 << 2,
        SERVICE_DONE_OPTIONS = 1 << 3,
        SERVICE_DONE_MTAB = 1 << 4,
} ServiceDone;

struct Service {
        int fd; /* owned */
        sd_event_source *io; /* owned */
        ServiceParameters parameters; /* what it points to is borrowed */
        const ServiceHooks *hooks;
        void *userdata;
        ServiceState state;
        ServiceState failed_state; /* DEAD: where it died */
        unsigned done;      /* ServiceDone bits */
        BrokerMount wanted; /* what the commands have made of it so far */
        bool mounted, said_goodbye;
        bool sending_device;
        char sending[64];   /* path of the file that is on its way: a slot's, or "fusedev" */
        uint32_t n_packets, n_refused;
};

/* service.c */
void service_enter_state(Service *service, ServiceState state);
void service_fail(Service *service, bool gone, const char *format, ...) _printf_(3, 4);
void service_reply(Service *service, int error); /* 0 or negative errno */
void service_reply_file(Service *service, int error, const char *path);
void service_send_file(Service *service, uint32_t what, uint32_t open_flags, const char *path);
void service_open_channel(Service *service, const char *path);
void service_ask_for_mount(Service *service);
void service_goodbye(Service *service, uint32_t code);

/* service-commands.c: one packet of the server */
void service_on_command(Service *service, const uint8_t *data, size_t size);
