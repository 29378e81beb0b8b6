/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QueryMounts and Statistics: for those who watch many mounts at a time. */

#include <signal.h>
#include <string.h>

#include "manager/bus.h"
#include "policy/policy-table.h"

#define QUERY_USEC (10 * USEC_PER_SEC)
#define QUERIES_AT_A_TIME 16U /* of one call: the broker has others to serve between them */

/* ---- QueryMounts ---------------------------------------------------------------------------------------------------- */

/* Owned by its call and the broker's answers that are on their way; frees itself with the last. */
typedef struct Survey {
        Manager *manager;
        Call *call;            /* owned */
        sd_bus_message *reply; /* owned, being filled; NULL: failed */
        uint64_t *ids;         /* owned */
        size_t n_ids, next;
        size_t n_asked;        /* on their way */
} Survey;

static void on_row(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds);

static void survey_free(Survey *survey) {
        (void) sd_bus_message_unref(survey->reply);
        free(survey->ids);
        free(survey);
}

static void finish(Survey *survey) {
        Outcome outcome;
        int r = survey->reply ? sd_bus_message_close_container(survey->reply) : -ENOMEM;

        if (r >= 0)
                call_send(survey->call, TAKE_PTR(survey->reply));
        else {
                outcome_set(&outcome, OUTCOME_FAILED, "the answer cannot be made: %s", strerror(-r));
                call_fail(survey->call, &outcome);
        }
        survey_free(survey);
}

static void append_row(Survey *survey, const Mount *mount, const BrokerQueryReply *query) {
        if (survey->reply && bus_append_mount(survey->reply, mount, query) < 0)
                survey->reply = sd_bus_message_unref(survey->reply);
}

/* Asks for as many as may be on their way; the survey may be gone afterwards. */
static void advance(Survey *survey) {
        const bool wanted = call_peer(survey->call) && survey->reply;

        while (wanted && survey->next < survey->n_ids && survey->n_asked < QUERIES_AT_A_TIME) {
                BrokerRequest request = {.mount_id = survey->ids[survey->next++]};
                const Mount *mount = mount_find(survey->manager, request.mount_id);
                if (!mount)
                        continue; /* ended meanwhile */
                if (broker_client_call(survey->manager->broker, &request, BROKER_QUERY, NULL, 0, QUERY_USEC, on_row, survey, NULL) < 0)
                        append_row(survey, mount, NULL);
                else
                        survey->n_asked++;
        }
        if (survey->n_asked == 0)
                finish(survey);
}

static void on_row(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds) {
        Survey *survey = userdata;
        const Mount *mount = mount_find(survey->manager, reply->mount_id);

        survey->n_asked--;
        if (mount && call_peer(survey->call))
                append_row(survey, mount, reply->error == 0 ? &reply->query : NULL);
        advance(survey);
}

static int begin(Survey *survey, const Peer *peer) {
        size_t n = 0;
        int r;

        survey->manager = peer_manager(peer);
        survey->ids = calloc(survey->manager->n_mounts + 1, sizeof *survey->ids);
        if (!survey->ids)
                return -ENOMEM;
        for (const Mount *mount = survey->manager->mounts; mount; mount = mount->next)
                if (mount->record.mount_id != 0 && peer_may_see(peer, mount))
                        survey->ids[n++] = mount->record.mount_id;
        survey->n_ids = n;
        r = call_new_reply(survey->call, &survey->reply);
        return r < 0 ? r : sd_bus_message_open_container(survey->reply, 'a', "a{sv}");
}

int bus_method_query_mounts(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Survey *survey = calloc(1, sizeof *survey);
        Peer *peer = userdata;
        Outcome outcome;
        int r;

        if (!survey)
                return -ENOMEM;
        r = call_new(peer, message, &survey->call);
        if (r < 0) {
                survey_free(survey);
                outcome_set(&outcome, OUTCOME_LIMITS, "too many calls wait for an answer on this connection");
                return peer_reply_outcome(message, &outcome);
        }
        r = begin(survey, peer);
        if (r < 0)
                survey->reply = sd_bus_message_unref(survey->reply);
        advance(survey);
        return 1;
}

/* ---- Statistics ----------------------------------------------------------------------------------------------------- */

const char *bus_exit_to_string(int exit_code) {
        return exit_code == 0 ? "" : exit_code == CLD_EXITED ? "exited" : "killed";
}

static int append_reasons(sd_bus_message *reply, const TypeStatistics *type) {
        int r;

        r = sd_bus_message_open_container(reply, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 's', "ended");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'v', "a{st}");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{st}");
        for (unsigned i = 0; i < _BROKER_REASON_MAX && r >= 0; i++)
                r = sd_bus_message_append(reply, "{st}", broker_end_reason_to_string((BrokerEndReason) i), type->n_ended[i]);
        for (int i = 0; i < 3 && r >= 0; i++)
                r = sd_bus_message_close_container(reply);
        return r;
}

static int append_type(sd_bus_message *reply, const TypeStatistics *type) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "{sv}");
        if (r >= 0)
                r = bus_append_entry(reply, "name", "s", type->name);
        if (r >= 0)
                r = bus_append_entry(reply, "mounted", "t", type->n_live);
        if (r >= 0)
                r = bus_append_entry(reply, "mounted-usec", "t", type->live_usec);
        if (r >= 0)
                r = bus_append_entry(reply, "taken-over", "t", type->n_taken_over);
        if (r >= 0)
                r = append_reasons(reply, type);
        if (r >= 0)
                r = bus_append_entry(reply, "last-exit", "s", bus_exit_to_string(type->last_exit_code));
        if (r >= 0)
                r = bus_append_entry(reply, "last-exit-status", "i", type->last_exit_status);
        if (r >= 0)
                r = bus_append_entry(reply, "last-exit-usec", "t", type->last_exit_usec);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_types(sd_bus_message *reply, const Statistics *statistics) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (size_t i = 0; i < statistics->n_types && r >= 0; i++)
                r = append_type(reply, &statistics->types[i]);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

typedef struct UserRows {
        sd_bus_message *reply;
        Manager *manager;
} UserRows;

/* a{sv} with dictionaries that other files append as values of their own */
static int append_user(void *userdata, uid_t uid) {
        sd_bus_message *reply = ((UserRows *) userdata)->reply;
        Manager *manager = ((UserRows *) userdata)->manager;
        int r;

        r = sd_bus_message_open_container(reply, 'r', "ua{st}a{st}");
        if (r >= 0)
                r = sd_bus_message_append(reply, "u", uid);
        if (r >= 0)
                r = bus_append_usage(reply, manager->quota, uid);
        if (r >= 0)
                r = bus_append_limits(reply, policy_table(manager->policy), uid);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* Everything for root; others see themselves: how much is mounted by whom is nobody else's to know. */
int bus_method_statistics(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const Peer *peer = userdata;
        Manager *manager = peer_manager(peer);
        static const Statistics none = {0};
        bool all = peer_uid(peer) == 0;
        UserRows rows = {.manager = manager};
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        rows.reply = reply;
        if (r >= 0)
                r = append_types(reply, all ? &manager->statistics : &none);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ua{st}a{st})");
        if (r >= 0)
                r = all ? quota_each_user(manager->quota, append_user, &rows) : append_user(&rows, peer_uid(peer));
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
