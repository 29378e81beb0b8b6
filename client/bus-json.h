/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-c/json.h>
#include <systemd/sd-bus.h>

/* Reads the next complete value of a message: a{s?} becomes an object, other arrays and structs arrays, numbers numbers, variants
 * their content. Descriptors become null. The caller owns *ret. Returns 0 or negative errno. */
int bus_read_json(sd_bus_message *message, json_object **ret);
