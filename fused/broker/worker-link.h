/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The broker's end of a worker: its report, its deadline, its death. */

#include "broker/broker.h"
#include "broker/worker.h"

typedef struct WorkerLink WorkerLink;

/* Called once per report. report->error is -ETIMEDOUT when the deadline passed and -ECHILD when the worker died without the
 * report that was due; in both cases, and after any report with an error, the link is finished and is not to be used again.
 * fds are the callee's to take (TAKE_FD each); what it leaves is closed. */
/* The process has ended. mounted: its report of that kind, if it has made one that nobody has been told of; else NULL. */
typedef void (*worker_gone_t)(const WorkerReport *mounted, void *userdata);
typedef void (*worker_report_t)(const WorkerReport *report, int *fds, size_t n_fds, void *userdata);

/* -EBUSY: too many of that user's have been killed and are not gone, as they hang in file systems of the user's choosing. */
int worker_link_new(Broker *broker, const WorkerJob *job, uint64_t deadline_usec, worker_report_t on_report, void *userdata,
                    WorkerLink **ret) _must_check_;
/* After ALLOWED: the server's uid. */
int worker_link_admit(WorkerLink *link, uid_t server_uid) _must_check_;
/* Lets a prepared worker go on, with a new deadline. */
int worker_link_go(WorkerLink *link, const WorkerGo *go, uint64_t deadline_usec) _must_check_;
/* The same for one that does orders; READY follows. */
int worker_link_order(WorkerLink *link, const WorkerOrder *order, uint64_t deadline_usec) _must_check_;
/* Kills it. No more reports; once the process is gone on_gone is called, and the link is no more. Also within a report. */
void worker_link_end(WorkerLink *link, worker_gone_t on_gone);
/* Kills it if it still runs and forgets the callback; the process is reaped in the background. Takes NULL, returns NULL. */
WorkerLink *worker_link_cancel(WorkerLink *link);
