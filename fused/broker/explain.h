/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"
#include "wire/broker.h"

/* The decision of CREATE for the caller, or for other ids, without its effects. fds: caller, [source]. */
void explain(Broker *broker, const BrokerRequest *request, int *fds);
