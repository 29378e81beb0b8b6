/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The manager process: started, listened to, restarted. A request that is not permitted, or malformed, ends it. */

#include "broker/broker.h"
#include "wire/broker.h"

ManagerLink *manager_link_new(Broker *broker);
ManagerLink *manager_link_free(ManagerLink *link); /* kills and reaps; NULL-safe; returns NULL */
int manager_link_start(ManagerLink *link) _must_check_;
pid_t manager_link_pid(const ManagerLink *link); /* 0 if none runs */

/* Replies and events; fds are borrowed. Without a running manager they are dropped: the next one gets ADOPT. */
void manager_reply(Broker *broker, const BrokerRequest *request, BrokerReply *reply, const int *fds, size_t n_fds);
void manager_event(Broker *broker, BrokerEvent *event, BrokerEventKind kind, const int *fds, size_t n_fds);

/* It broke the rules: logged, killed, restarted; live mounts stay. */
void manager_violation(Broker *broker, const char *what);
