/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The manager's end of the conversation with the broker: requests with a serial, each answered once or given up at its
 * deadline; events as they come. */

#include <systemd/sd-event.h>

#include "wire/broker.h"

typedef struct BrokerClient BrokerClient;
typedef struct BrokerCall BrokerCall; /* a request that is not answered yet; owned by the client */

/* fds[0..n_fds) are the callee's to take (TAKE_FD); what it leaves is closed after it returns. A request that the broker did not
 * answer in time gets a reply of ours with error -ETIMEDOUT. The call is gone when this is called. */
typedef void (*broker_reply_t)(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds);
typedef void (*broker_event_t)(void *userdata, const BrokerEvent *event, int *fds, size_t n_fds);
/* The broker is gone or does not keep to the format: the manager has no reason to live on. */
typedef void (*broker_lost_t)(void *userdata, int error);

#define BROKER_CLIENT_FDS_MAX 4 /* the most that any message to us carries */

/* Takes socket_fd over. */
int broker_client_new(sd_event *event, int socket_fd, broker_event_t on_event, broker_lost_t on_lost, void *userdata,
                      BrokerClient **ret) _must_check_;
BrokerClient *broker_client_free(BrokerClient *client);

/* Fills in magic, operation and serial; fds are borrowed (duplicated if the socket is full). *ret_call may be NULL. */
int broker_client_call(BrokerClient *client, BrokerRequest *request, BrokerOperation operation, const int *fds, size_t n_fds, uint64_t timeout_usec,
                       broker_reply_t on_reply, void *userdata, BrokerCall **ret_call) _must_check_;
/* Nobody waits for this one any more; its reply, with descriptors, will be dropped. NULL-safe; returns NULL. */
BrokerCall *broker_call_forget(BrokerCall *call);
size_t broker_client_n_calls(const BrokerClient *client);
