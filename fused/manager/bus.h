/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* org.fused1.Manager as man/org.fused1.5.scd has it: the methods and properties, each in terms of the calls of mount.h and
 * broker-client.h. */

#include <systemd/sd-bus.h>

#include "manager/mount.h"
#include "manager/peer.h"

#define BUS_OBJECT_PATH "/org/fused1"
#define BUS_INTERFACE "org.fused1.Manager"

int bus_add_objects(sd_bus *bus, Peer *peer) _must_check_;

/* bus-mount.c: one a{sv} per mount; query is NULL where only what is known without asking is wanted. */
int bus_append_mount(sd_bus_message *reply, const Mount *mount, const BrokerQueryReply *query) _must_check_;
/* its entries alone, for who has more to say in the same dictionary */
int bus_append_mount_entries(sd_bus_message *reply, const Mount *mount, const BrokerQueryReply *query) _must_check_;
/* bus-query.c */
int bus_method_query_mounts(sd_bus_message *message, void *userdata, sd_bus_error *error);
int bus_method_statistics(sd_bus_message *message, void *userdata, sd_bus_error *error);
const char *bus_exit_to_string(int exit_code); /* of CLD_*: "exited", "killed", "" */
/* bus-policy.c */
int bus_append_types(sd_bus_message *reply, const PolicyTable *table) _must_check_;
int bus_append_programs(sd_bus_message *reply, const PolicyTable *table) _must_check_;
int bus_append_limits(sd_bus_message *reply, const PolicyTable *table, uid_t uid) _must_check_;
int bus_append_usage(sd_bus_message *reply, const Quota *quota, uid_t uid) _must_check_;
int bus_method_explain(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* {key: <value>} of a dictionary a{sv} */
int bus_append_entry(sd_bus_message *reply, const char *key, const char *type, ...) _must_check_;
/* Text from a client or server: what D-Bus does not carry (no UTF-8) is escaped. */
int bus_append_text(sd_bus_message *reply, const char *key, const char *text) _must_check_;
