/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Texts of refusals and other outcomes. See refusal.h and outcome.h. */

#include "manager/refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "policy/options.h"

static const struct {
        const char *bus_name;
        const char *word;
} outcome_rows[_OUTCOME_MAX] = {
        [OUTCOME_OK] = {NULL, "ok"},
        [OUTCOME_REFUSED] = {"org.fused1.Error.Refused", "refused"},
        [OUTCOME_NO_SUCH_MOUNT] = {"org.fused1.Error.NoSuchMount", "no-such-mount"},
        [OUTCOME_BUSY] = {"org.fused1.Error.Busy", "busy"},
        [OUTCOME_SERVER_FAILED] = {"org.fused1.Error.ServerFailed", "server-failed"},
        [OUTCOME_FAILED] = {"org.fused1.Error.Failed", "failed"},
        [OUTCOME_INVALID] = {"org.freedesktop.DBus.Error.InvalidArgs", "invalid"},
        [OUTCOME_LIMITS] = {"org.freedesktop.DBus.Error.LimitsExceeded", "limits"},
};

const char *outcome_bus_name(OutcomeKind kind) {
        return outcome_rows[kind].bus_name;
}

const char *outcome_to_string(OutcomeKind kind) {
        return outcome_rows[kind].word;
}

void outcome_set(Outcome *outcome, OutcomeKind kind, const char *format, ...) {
        va_list args;

        outcome->kind = kind;
        outcome->refusal = REFUSAL_NONE;
        va_start(args, format);
        (void) vsnprintf(outcome->text, sizeof outcome->text, format, args);
        va_end(args);
}

void refusal_format_place(const PolicyTable *table, const PolicyPlace *place, char *buffer, size_t size) {
        buffer[0] = 0;
        if (table && place && place->file != 0 && place->file < table->strings.count)
                (void) snprintf(buffer, size, "%s:%u", policy_string(table, place->file), place->line);
}

void refusal_format_options(uint32_t options, char *buffer, size_t size) {
        size_t have = 0;

        buffer[0] = 0;
        for (size_t i = 0; i < n_option_rows && have < size; i++) {
                const OptionRow *row = &option_rows[i];
                bool single = row->set && !(row->set & (row->set - 1));
                /* allow_other sets two bits, the first of which has a row of its own */
                uint32_t bits = single ? row->set : row->set & POLICY_OPTION_ALLOW_OTHER;
                if (!bits || !(options & bits))
                        continue;
                options &= ~bits;
                have += (size_t) snprintf(buffer + have, size - have, "%s%.*s", have ? "," : "", (int) strcspn(row->name, "="), row->name);
        }
}

/* The [Allow NAME] section that begins at this place. */
static const PolicyRule *rule_at(const PolicyTable *table, const PolicyType *type, const PolicyPlace *place) {
        for (uint32_t i = 0; table && type && i < type->rules.count; i++) {
                const PolicyRule *rule = policy_rule(table, type, i);
                if (rule->place.file == place->file && rule->place.line == place->line)
                        return rule;
        }
        return NULL;
}

/* "[word] what (detail): by rule FILE:LINE [Allow x]: hint" */
static void compose(Outcome *outcome, const PolicyTable *table, const PolicyType *type, Refusal refusal,
                    const PolicyPlace *place, const char *detail) {
        const PolicyRule *rule = place ? rule_at(table, type, place) : NULL;
        char where[512], safe[512];

        log_escape(detail, safe, sizeof safe);
        refusal_format_place(table, place, where, sizeof where);
        outcome_set(outcome, OUTCOME_REFUSED, "[%s] %s%s%s%s: %s%s%s%s%s: %s", refusal_to_string(refusal), refusal_text(refusal),
                    *safe ? " (" : "", safe, *safe ? ")" : "",
                    *where ? "by rule " : "by fused itself", where, rule ? " [Allow " : "", rule ? rule->name : "", rule ? "]" : "",
                    refusal_hint(refusal));
        outcome->refusal = (uint32_t) refusal;
}

void refusal_compose(Outcome *outcome, const PolicyTable *table, const PolicyType *type, const BrokerRefusal *refusal) {
        Refusal word = refusal->refusal > REFUSAL_NONE && refusal->refusal < _REFUSAL_MAX ? (Refusal) refusal->refusal : REFUSAL_NO_RULE;
        char detail[512] = "", options[256];

        if (word == REFUSAL_OPTION) {
                refusal_format_options(refusal->options, options, sizeof options);
                (void) snprintf(detail, sizeof detail, "%s", options);
        } else if (word == REFUSAL_TYPE_DISABLED && table && type)
                (void) snprintf(detail, sizeof detail, "%s", policy_string(table, type->disabled));
        else if (word == REFUSAL_DEVICE_BUSY && refusal->holder)
                (void) snprintf(detail, sizeof detail, "device %u:%u is held by fused mount %llu", refusal->device_major, refusal->device_minor,
                                (unsigned long long) refusal->holder);
        else if (refusal->device_major || refusal->device_minor)
                (void) snprintf(detail, sizeof detail, "device %u:%u", refusal->device_major, refusal->device_minor);
        compose(outcome, table, type, word, &refusal->place, detail);
}

void refusal_compose_own(Outcome *outcome, const PolicyTable *table, Refusal refusal, const PolicyPlace *place, const char *format, ...) {
        char detail[512];
        va_list args;

        va_start(args, format);
        (void) vsnprintf(detail, sizeof detail, format, args);
        va_end(args);
        compose(outcome, table, NULL, refusal, place, detail);
}

void refusal_compose_quota(Outcome *outcome, const PolicyTable *table, QuotaKind kind, uint32_t used, uint32_t wanted, uint32_t limit,
                           const PolicyPlace *place) {
        refusal_compose_own(outcome, table, quota_kind_to_refusal(kind), place, "%s=%u, %u in use, %u wanted", quota_kind_to_key(kind), limit,
                            used, wanted);
}
