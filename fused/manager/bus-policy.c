/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Types, limits and the explanation of decisions, over the bus. */

#include <stdio.h>
#include <string.h>

#include "manager/bus.h"
#include "manager/refusal.h"

#define EXPLAIN_USEC (20 * USEC_PER_SEC)

static const struct {
        uint32_t bit;
        const char *name;
} source_names[] = {
        {POLICY_SOURCE_NONE, "none"},
        {POLICY_SOURCE_FILE, "file"},
        {POLICY_SOURCE_DEVICE, "device"},
        {POLICY_SOURCE_TREE, "tree"},
};

static int append_type_slots(sd_bus_message *reply, const PolicyTable *table, const PolicyType *type) {
        int r;

        r = sd_bus_message_open_container(reply, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 's', "slots");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'v', "a{ss}");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{ss}");
        for (uint32_t i = 0; r >= 0 && i < type->slots.count; i++) {
                const PolicySlot *slot = policy_slot(table, type, i);
                char text[64] = "";
                for (size_t k = 0; k < ELEMENTSOF(source_names); k++)
                        if (slot->sources & source_names[k].bit)
                                (void) snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", *text ? " " : "", source_names[k].name);
                r = sd_bus_message_append(reply, "{ss}", slot->name, text);
        }
        for (int i = 0; i < 3 && r >= 0; i++)
                r = sd_bus_message_close_container(reply);
        return r;
}

static int append_type(sd_bus_message *reply, const PolicyTable *table, const PolicyType *type) {
        char place[512];
        int r;

        refusal_format_place(table, &type->place, place, sizeof place);
        const struct {
                const char *key, *value;
        } texts[] = {
                {"name", type->name},
                {"description", policy_string(table, type->description)},
                {"disabled", policy_string(table, type->disabled)},
                {"hand-over", policy_hand_over_to_string(type->hand_over)},
                {"program", policy_string(table, type->program)},
                {"place", place},
                {"server-options", policy_string(table, type->server_options)},
        };
        r = sd_bus_message_open_container(reply, 'a', "{sv}");
        for (size_t i = 0; i < ELEMENTSOF(texts) && r >= 0; i++)
                r = bus_append_text(reply, texts[i].key, texts[i].value);
        if (r >= 0)
                r = bus_append_entry(reply, "read-only", "b", (int) type->read_only);
        if (r >= 0)
                r = append_type_slots(reply, table, type);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int bus_append_types(sd_bus_message *reply, const PolicyTable *table) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (uint32_t i = 0; r >= 0 && i < table->types.count; i++)
                r = append_type(reply, table, policy_type(table, i));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* The types that may use it, by name. */
static int append_program_types(sd_bus_message *reply, const PolicyTable *table, const PolicyProgram *program) {
        int r;

        r = sd_bus_message_open_container(reply, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 's', "types");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'v', "as");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "s");
        for (uint32_t i = 0; r >= 0 && i < table->types.count; i++) {
                const PolicyType *type = policy_type(table, i);
                if (policy_program_of_type(table, type, program->name))
                        r = sd_bus_message_append_basic(reply, 's', type->name);
        }
        for (int i = 0; i < 3 && r >= 0; i++)
                r = sd_bus_message_close_container(reply);
        return r;
}

static int append_program(sd_bus_message *reply, const PolicyTable *table, const PolicyProgram *program) {
        char place[512], digest[65] = "";
        int r;

        refusal_format_place(table, &program->place, place, sizeof place);
        for (size_t i = 0; program->has_digest && i < sizeof program->digest; i++)
                (void) snprintf(digest + 2 * i, 3, "%02x", program->digest[i]);
        const struct {
                const char *key, *value;
        } texts[] = {
                {"name", program->name},
                {"object", policy_string(table, program->object)},
                {"sha256", digest},
                {"signature", policy_string(table, program->signature)},
                {"public-key", policy_string(table, program->public_key)},
                {"place", place},
        };
        r = sd_bus_message_open_container(reply, 'a', "{sv}");
        for (size_t i = 0; i < ELEMENTSOF(texts) && r >= 0; i++)
                r = bus_append_text(reply, texts[i].key, texts[i].value);
        if (r >= 0)
                r = append_program_types(reply, table, program);
        if (r >= 0)
                r = bus_append_entry(reply, "max-memory", "t", program->max_memory);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int bus_append_programs(sd_bus_message *reply, const PolicyTable *table) {
        const PolicyProgram *program;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (uint32_t i = 0; r >= 0 && (program = policy_program(table, i)); i++)
                r = append_program(reply, table, program);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int bus_append_limits(sd_bus_message *reply, const PolicyTable *table, uid_t uid) {
        const PolicyLimits *limits = policy_limits(table, uid, NULL);
        int r;

        r = sd_bus_message_open_container(reply, 'a', "{st}");
        for (QuotaKind kind = 0; kind < _QUOTA_POLICY_MAX && r >= 0; kind++) {
                uint32_t limit = quota_limit(limits, kind);
                r = sd_bus_message_append(reply, "{st}", quota_kind_to_string(kind), limit == UINT32_MAX ? UINT64_MAX : (uint64_t) limit);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int bus_append_usage(sd_bus_message *reply, const Quota *quota, uid_t uid) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "{st}");
        for (QuotaKind kind = 0; kind < _QUOTA_POLICY_MAX && r >= 0; kind++)
                r = sd_bus_message_append(reply, "{st}", quota_kind_to_string(kind), (uint64_t) quota_usage(quota, uid, kind));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* ---- ExplainPolicy -------------------------------------------------------------------------------------------------- */

typedef struct Explanation {
        Call *call;      /* owned by its peer's list, as every call */
        Policy *policy;  /* owned reference */
        const PolicyType *type; /* in that policy, or NULL */
        uid_t uid;       /* whom it is about */
} Explanation;

static Explanation *explanation_free(Explanation *explanation) {
        if (!explanation)
                return NULL;
        (void) policy_unref(explanation->policy);
        free(explanation);
        return NULL;
}
DEFINE_CLEANUP(Explanation *, explanation_freep, explanation_free)

static int open_dictionary(sd_bus_message *reply, const char *key) {
        int r;

        r = sd_bus_message_open_container(reply, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 's', key);
        return r < 0 ? r : sd_bus_message_open_container(reply, 'v', "a{st}");
}

static int close_dictionary(sd_bus_message *reply) {
        int r = sd_bus_message_close_container(reply);

        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* refused is NULL if it is allowed: then granted and place say with which options and by which rule. */
static int append_answer(sd_bus_message *reply, const Explanation *explanation, const Manager *manager, const Outcome *refused, uint32_t granted,
                         const PolicyPlace *place) {
        const PolicyTable *table = policy_table(explanation->policy);
        char where[512], options[256] = "";
        int r;

        refusal_format_place(table, place, where, sizeof where);
        if (!refused)
                refusal_format_options(granted, options, sizeof options);
        const struct {
                const char *key, *value;
        } texts[] = {
                {"refusal", refused ? refusal_to_string((Refusal) refused->refusal) : ""},
                {"text", refused ? refused->text : "allowed"},
                {"place", where},
                {"hint", refused ? refusal_hint((Refusal) refused->refusal) : ""},
                {"options", options},
        };

        r = sd_bus_message_open_container(reply, 'a', "{sv}");
        if (r >= 0)
                r = bus_append_entry(reply, "allowed", "b", (int) !refused);
        for (size_t i = 0; i < ELEMENTSOF(texts) && r >= 0; i++)
                r = bus_append_text(reply, texts[i].key, texts[i].value);
        if (r >= 0)
                r = open_dictionary(reply, "limits");
        if (r >= 0)
                r = bus_append_limits(reply, table, explanation->uid);
        if (r >= 0)
                r = close_dictionary(reply);
        if (r >= 0)
                r = open_dictionary(reply, "usage");
        if (r >= 0)
                r = bus_append_usage(reply, manager->quota, explanation->uid);
        if (r >= 0)
                r = close_dictionary(reply);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static void answer(const Explanation *explanation, const Outcome *refused, uint32_t granted, const PolicyPlace *place) {
        Peer *peer = call_peer(explanation->call);
        sd_bus_message *reply = NULL;
        Outcome outcome;
        int r;

        if (!peer)
                return (void) call_free(explanation->call);
        r = call_new_reply(explanation->call, &reply);
        if (r >= 0)
                r = append_answer(reply, explanation, peer_manager(peer), refused, granted, place);
        if (r < 0) {
                (void) sd_bus_message_unref(reply);
                outcome_set(&outcome, OUTCOME_FAILED, "the answer cannot be made: %s", strerror(-r));
                return call_fail(explanation->call, &outcome);
        }
        call_send(explanation->call, reply);
}

static void on_explained(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds) {
        _cleanup_(explanation_freep) Explanation *explanation = userdata;
        Outcome outcome;

        if (reply->error == 0)
                return answer(explanation, NULL, reply->refusal.options, &reply->refusal.place);
        if (reply->error == -EACCES && reply->refusal.refusal != REFUSAL_NONE) {
                refusal_compose(&outcome, policy_table(explanation->policy), explanation->type, &reply->refusal);
                return answer(explanation, &outcome, 0, &reply->refusal.place);
        }
        outcome_set(&outcome, OUTCOME_FAILED, "%s: %s", broker_stage_to_string((BrokerStage) reply->stage), strerror(-reply->error));
        call_fail(explanation->call, &outcome);
}

static int fill_request(const MountRequest *wanted, const Explanation *explanation, const Peer *peer, uint32_t type_index, BrokerRequest *request,
                        int *fds, size_t *n_fds, Outcome *outcome) {
        BrokerCreate create;
        size_t n_slots;
        int r;

        fds[0] = peer_fd(peer);
        r = request_resolve(wanted, REQUEST_EXPLAIN, policy_table(explanation->policy), explanation->type, &create, fds + 1, &n_slots, outcome);
        if (r < 0)
                return r;
        request->explain = (BrokerExplain){
                .policy_generation = policy_generation(explanation->policy),
                .type_index = type_index,
                .options = create.options,
                .as_other = wanted->as_other,
                .uid = wanted->uid,
                .gid = wanted->gid,
                .n_groups = (uint32_t) wanted->n_groups,
        };
        memcpy(request->explain.groups, wanted->groups, wanted->n_groups * sizeof wanted->groups[0]);
        memcpy(request->explain.slots, create.slots, sizeof request->explain.slots);
        *n_fds = 1 + n_slots; /* what else a request may carry is a mount's */
        return 0;
}

/* What the manager knows by itself: there is no such type, or it is disabled. Returns whether that is the answer. */
static bool answer_without_broker(const Explanation *explanation, const char *type_name) {
        const PolicyTable *table = policy_table(explanation->policy);
        const PolicyType *type = explanation->type;
        Outcome outcome;

        if (type && !type->disabled)
                return false;
        if (!type)
                refusal_compose_own(&outcome, table, REFUSAL_NO_SUCH_TYPE, NULL, "%s", type_name);
        else
                refusal_compose_own(&outcome, table, REFUSAL_TYPE_DISABLED, &type->place, "%s", policy_string(table, type->disabled));
        answer(explanation, &outcome, 0, type ? &type->place : NULL);
        return true;
}

int bus_method_explain(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(explanation_freep) Explanation *explanation = calloc(1, sizeof *explanation);
        BrokerRequest request = {0};
        const char *type_name;
        MountRequest wanted;
        Peer *peer = userdata;
        uint32_t index = 0;
        size_t n_fds = 0;
        Outcome outcome;
        int fds[1 + REQUEST_FDS_MAX], r;

        if (!explanation)
                return -ENOMEM;
        r = sd_bus_message_read_basic(message, 's', &type_name);
        if (r < 0)
                return r;
        r = request_parse(message, REQUEST_EXPLAIN, &wanted, &outcome);
        if (r < 0)
                return peer_reply_outcome(message, &outcome);
        if (wanted.as_other && wanted.uid != peer_uid(peer) && peer_uid(peer) != 0)
                return sd_bus_reply_method_errorf(message, SD_BUS_ERROR_ACCESS_DENIED, "only root may ask for somebody else");
        explanation->uid = wanted.as_other ? wanted.uid : peer_uid(peer);
        explanation->policy = policy_ref(peer_manager(peer)->policy);
        explanation->type = policy_type_by_name(policy_table(explanation->policy), type_name, &index);
        r = call_new(peer, message, &explanation->call);
        if (r < 0) {
                outcome_set(&outcome, OUTCOME_LIMITS, "too many calls wait for an answer on this connection");
                return peer_reply_outcome(message, &outcome);
        }

        if (answer_without_broker(explanation, type_name))
                return 1;
        r = fill_request(&wanted, explanation, peer, index, &request, fds, &n_fds, &outcome);
        if (r < 0) {
                if (outcome.kind == OUTCOME_REFUSED)
                        answer(explanation, &outcome, 0, &explanation->type->place);
                else
                        call_fail(explanation->call, &outcome);
                return 1;
        }
        r = broker_client_call(peer_manager(peer)->broker, &request, BROKER_EXPLAIN, fds, n_fds, EXPLAIN_USEC, on_explained, explanation, NULL);
        if (r < 0) {
                outcome_set(&outcome, OUTCOME_FAILED, "the broker cannot be asked: %s", strerror(-r));
                call_fail(explanation->call, &outcome);
                return 1;
        }
        TAKE_PTR(explanation);
        return 1;
}
