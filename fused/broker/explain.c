/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* EXPLAIN: the same code that decides for CREATE, run in a worker, its answer reported and nothing done. */

#include "broker/explain.h"

#include <string.h>

#include "base/fd.h"
#include "broker/manager-link.h"
#include "broker/worker-link.h"

#define EXPLAIN_USEC (10 * USEC_PER_SEC)
#define EXPLAINS_MAX 64 /* at a time; the manager limits each user to far less */

typedef struct Explain {
        Broker *broker; /* borrowed */
        Policy *policy; /* owned reference */
        uint64_t serial;
        WorkerLink *worker; /* owned */
} Explain;

static unsigned n_explains;

static void on_report(const WorkerReport *report, int *fds, size_t n_fds, void *userdata) {
        Explain *task = userdata;
        BrokerRequest request = {.operation = BROKER_EXPLAIN, .serial = task->serial};
        BrokerReply reply = {
                .error = report->error,
                .stage = report->stage,
                .refusal = {
                        .refusal = report->refusal,
                        .place = report->place,
                        .policy_generation = policy_generation(task->policy),
                        .options = report->options,
                        .device_major = report->device.major,
                        .device_minor = report->device.minor,
                },
        };

        reply.record.options = report->options;
        manager_reply(task->broker, &request, &reply, NULL, 0);
        task->policy = policy_unref(task->policy);
        free(task);
        n_explains--;
}

static int start(Broker *broker, const BrokerRequest *request, const PolicyType *type, int *fds) {
        const BrokerExplain *wanted = &request->explain;
        _cleanup_(identity_done) Identity identity = IDENTITY_NULL;
        _cleanup_free_ Explain *task = NULL;
        int r;

        if (n_explains >= EXPLAINS_MAX)
                return -EBUSY;
        r = identity_from_socket(fds[0], broker->control_path, &identity);
        if (r < 0)
                return r;
        const uid_t caller = identity.uid;
        if (wanted->as_other) { /* only an answer: policy files are no secret */
                freep(&identity.groups);
                identity.groups = calloc(wanted->n_groups + 1, sizeof *identity.groups);
                if (!identity.groups)
                        return -ENOMEM;
                memcpy(identity.groups, wanted->groups, wanted->n_groups * sizeof *identity.groups);
                identity.n_groups = wanted->n_groups;
                identity.uid = wanted->uid;
                identity.gid = wanted->gid;
        }

        WorkerJob job = {
                .kind = WORKER_EXPLAIN,
                .user = caller,
                .host = &broker->host,
                .table = policy_table(broker->policy),
                .type = type,
                .identity = &identity,
                .caller_fd = fds[0],
                .options = wanted->options,
                .mountpoint_fd = -EBADF,
                .owner_fd = -EBADF,
        };
        fd_fill(job.slot_fds, ELEMENTSOF(job.slot_fds));
        memcpy(job.slot_kinds, wanted->slots, sizeof job.slot_kinds);
        for (size_t i = 0, n = 1; i < POLICY_SLOTS_MAX; i++)
                if (wanted->slots[i] != BROKER_SLOT_EMPTY)
                        job.slot_fds[i] = fds[n++];
        task = calloc(1, sizeof *task);
        if (!task)
                return -ENOMEM;
        *task = (Explain){.broker = broker, .serial = request->serial};
        r = worker_link_new(broker, &job, EXPLAIN_USEC, on_report, task, &task->worker);
        if (r < 0)
                return r;
        task->policy = policy_ref(broker->policy);
        n_explains++;
        (void) TAKE_PTR(task); /* the callback's now */
        return 0;
}

/* Safe: the worker only looks; what it looks at is the caller's descriptor and the administrator's names. */
void explain(Broker *broker, const BrokerRequest *request, int *fds) {
        const PolicyType *type = policy_type(policy_table(broker->policy), request->explain.type_index);
        BrokerReply reply = {0};

        if (request->explain.policy_generation != policy_generation(broker->policy) || !type)
                reply.error = -ESTALE;
        else
                reply.error = start(broker, request, type, fds);
        if (reply.error < 0)
                manager_reply(broker, request, &reply, NULL, 0);
}
