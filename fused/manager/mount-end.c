/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Outcomes of a mount, and its way down. See mount.h. */

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "manager/mount-internal.h"
#include "manager/news.h"

void mount_tell_client(Mount *mount, const Outcome *outcome, int *mount_fd) {
        MountWaiter *client = TAKE_PTR(mount->client);

        if (!client)
                return;
        client->on_outcome(client->userdata, outcome, mount, mount_fd);
        free(client);
}

void mount_client_gone(Mount *mount) {
        free(TAKE_PTR(mount->client));
        mount_fail(mount, 0, OUTCOME_FAILED, "the client has gone");
}

static void remove_waiter(MountWaiter *waiter) {
        MountWaiter **link = &waiter->mount->waiters;

        while (*link != waiter)
                link = &(*link)->next;
        *link = waiter->next;
}

/* ---- the end -------------------------------------------------------------------------------------------------------- */

void mount_send_cancel(Mount *mount) {
        BrokerRequest request = {.mount_id = mount->record.mount_id, .end = {.how = BROKER_END_CANCEL}};
        int r;

        if (mount->record.live_usec > 0)
                request.end.how = BROKER_END_ABORT;
        mount->killed = mount->killed || !mount->has_exited;
        mount->end_sent = true;
        mount_arm(mount, mount_deadline_usec(mount, MOUNT_ENDING));
        r = broker_client_call(mount->manager->broker, &request, BROKER_END, NULL, 0, MOUNT_END_MARGIN_USEC, NULL, NULL, NULL);
        if (r < 0)
                (void) log_errno(r, "mount %llu: cannot be cancelled now: %s", (unsigned long long) mount->record.mount_id, strerror(-r));
}

void mount_fail(Mount *mount, uint64_t grace_usec, OutcomeKind kind, const char *format, ...) {
        char text[1600];
        va_list args;

        if (mount->failure || mount->state == MOUNT_LIVE || mount->state == MOUNT_ENDING)
                return;
        va_start(args, format);
        (void) vsnprintf(text, sizeof text, format, args);
        va_end(args);
        mount->failed_step = mount_step(mount);
        mount_note(mount, "%s", text);
        mount->failure = calloc(1, sizeof *mount->failure);
        if (mount->failure)
                outcome_set(mount->failure, kind, "%s", text);

        if (mount->state == MOUNT_CREATING) { /* it has no id by which it could be ended: the reply's handler goes on */
                if (mount->failure)
                        mount_tell_client(mount, mount->failure, NULL);
                return;
        }
        mount->call = broker_call_forget(mount->call);
        mount->spawn_call = broker_call_forget(mount->spawn_call);
        mount_enter_state(mount, MOUNT_ENDING);
        if (grace_usec == MOUNT_BROKER_ENDS_IT)
                mount->end_sent = true;
        else if (grace_usec > 0)
                mount_arm(mount, grace_usec);
        else
                mount_send_cancel(mount);
}

static void on_end_reply(void *userdata, const BrokerReply *reply, int *fds, size_t n_fds) {
        MountWaiter *waiter = userdata;
        Mount *mount = waiter->mount;
        Outcome outcome;

        waiter->call = NULL;
        if (reply->error == 0 || reply->error == -ESHUTDOWN) { /* accepted, or ended meanwhile: the event comes */
                if (mount->state == MOUNT_LIVE) {
                        mount->end_sent = true;
                        mount_enter_state(mount, MOUNT_ENDING);
                }
                return;
        }
        if (reply->error == -EBUSY)
                outcome_set(&outcome, OUTCOME_BUSY, mount->record.flags & BROKER_CREATE_DETACHED ?
                            "mount %llu is detached: it ends when its descriptors are closed; --lazy or abort ends it now" :
                            "mount %llu is in use", (unsigned long long) mount->record.mount_id);
        else
                outcome_set(&outcome, OUTCOME_FAILED, "mount %llu cannot be taken down: %s",
                            (unsigned long long) mount->record.mount_id, strerror(-reply->error));
        remove_waiter(waiter);
        waiter->on_outcome(waiter->userdata, &outcome, mount, NULL);
        free(waiter);
}

int mount_end(Mount *mount, BrokerEndHow how, mount_outcome_t on_outcome, void *userdata) {
        BrokerRequest request = {.mount_id = mount->record.mount_id, .end = {.how = (uint32_t) how}};
        MountWaiter *waiter = mount_waiter_new(mount, on_outcome, userdata);
        int r;

        if (!waiter)
                return -ENOMEM;
        waiter->next = mount->waiters;
        mount->waiters = waiter;
        if (mount->state != MOUNT_LIVE) { /* not up yet, or already on its way down: the event is all there is to wait for */
                mount_fail(mount, 0, OUTCOME_FAILED, "taken down by request before it was live");
                return 0;
        }
        r = broker_client_call(mount->manager->broker, &request, BROKER_END, NULL, 0,
                               mount_deadline_usec(mount, MOUNT_ENDING), on_end_reply, waiter, &waiter->call);
        if (r < 0) {
                remove_waiter(waiter);
                free(waiter);
                return r;
        }
        mount_note(mount, "%s requested", how == BROKER_END_ABORT ? "abort" : how == BROKER_END_LAZY ? "lazy unmount" : "unmount");
        return 0;
}

void mount_on_server_exit(Mount *mount, int exit_code, int exit_status) {
        mount->has_exited = true;
        mount->exit_code = exit_code;
        mount->exit_status = exit_status;
        mount_note(mount, exit_code == CLD_EXITED ? "the server exited with status %d" : "the server was killed by signal %d", exit_status);
        if (mount->state == MOUNT_ENDING) {
                mount->end_sent = true; /* the broker goes on by itself */
                return;
        }
        mount_fail(mount, MOUNT_BROKER_ENDS_IT, OUTCOME_SERVER_FAILED, "it ended");
}

/* "the server of type T failed while fused waited for STEP: WHY; it exited with status N; its last words: ..." */
static void complete_failure(Mount *mount, Outcome *outcome) {
        char whose[160] = "", exit_text[64] = "", words[1024] = "";

        if (mount->failure->kind == OUTCOME_SERVER_FAILED)
                (void) snprintf(whose, sizeof whose,
                                "the server of type %s failed while fused waited for %s: ", mount_type_name(mount),
                                mount->failed_step);
        if (mount->has_exited && !mount->killed)
                (void) snprintf(exit_text, sizeof exit_text,
                                mount->exit_code == CLD_EXITED ? "; it exited with status %d"
                                                               : "; it was killed by signal %d",
                                mount->exit_status);
        if (mount->log) {
                server_log_drain(mount->log);
                server_log_tail(mount->log, 6, words, sizeof words);
        }
        outcome_set(outcome, mount->failure->kind, "%s%s%s%s%s", whose, mount->failure->text, exit_text, *words ? "; its last words: " : "", words);
        outcome->refusal = mount->failure->refusal;
}

void mount_on_ended(Mount *mount, BrokerEndReason reason, int exit_code, int exit_status) {
        bool was_live = mount->record.live_usec > 0;
        Outcome outcome;

        if (!mount->has_exited && exit_code != 0) {
                mount->has_exited = true;
                mount->exit_code = exit_code;
                mount->exit_status = exit_status;
        }
        if (mount->failure) {
                complete_failure(mount, &outcome);
                mount_log(mount, LOG_LEVEL_NOTICE, outcome_to_string(outcome.kind), outcome.text);
        } else {
                char text[256];
                (void) snprintf(text, sizeof text, "ended: %s%s", broker_end_reason_to_string(reason), *mount->last_event ? "; last event: " : "");
                outcome_set(&outcome, OUTCOME_FAILED, "%s%s", text, mount->last_event);
                mount_log(mount, was_live && reason == BROKER_REASON_SERVER_EXIT ? LOG_LEVEL_WARNING : LOG_LEVEL_NOTICE,
                          broker_end_reason_to_string(reason), outcome.text);
        }
        statistics_ended(&mount->manager->statistics, mount_type_name(mount), reason, mount->has_exited ? mount->exit_code : 0, mount->exit_status);
        const NewsEnd end = {
                .reason = broker_end_reason_to_string(reason),
                .exit_code = mount->has_exited ? mount->exit_code : 0,
                .exit_status = mount->exit_status,
                .message = mount->failure ? outcome.text : mount->last_event,
        };
        if (mount->announced)
                news_tell(mount->manager, NEWS_REMOVED, mount, &end);
        mount_tell_client(mount, &outcome, NULL);

        Outcome ok = {.kind = OUTCOME_OK};
        while (mount->waiters) {
                MountWaiter *waiter = mount->waiters;
                mount->waiters = waiter->next;
                (void) broker_call_forget(waiter->call);
                waiter->on_outcome(waiter->userdata, &ok, mount, NULL);
                free(waiter);
        }
        mount_free(mount);
}
