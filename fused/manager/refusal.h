/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The text of every refusal, in one place: "[word] what was refused: by rule FILE:LINE [Allow x]: what would help". */

#include "manager/outcome.h"
#include "manager/quota.h"
#include "wire/broker.h"

/* table is the one that refusal->place refers to; NULL if it is not known (any more). type may be NULL. */
void refusal_compose(Outcome *outcome, const PolicyTable *table, const PolicyType *type, const BrokerRefusal *refusal);
/* A refusal of the manager's own, with a detail such as the offending word; place may be NULL. */
void refusal_compose_own(Outcome *outcome, const PolicyTable *table, Refusal refusal, const PolicyPlace *place,
                         const char *format, ...) _printf_(5, 6);
void refusal_compose_quota(Outcome *outcome, const PolicyTable *table, QuotaKind kind, uint32_t used, uint32_t wanted, uint32_t limit,
                           const PolicyPlace *place);
/* "FILE:LINE", or "" if the place names none. */
void refusal_format_place(const PolicyTable *table, const PolicyPlace *place, char *buffer, size_t size);
/* The names of option bits, "allow_other,suid". */
void refusal_format_options(uint32_t options, char *buffer, size_t size);
