/* core.c - struct jobq: the few questions that every room asks. */
#include "core.h"

#include <stdio.h>

JOBQ__INTERNAL int jobq__core_own_of_file(const jobq *q, jobq__store *db, struct jobq__now *now) {
    int64_t offset_ms, at_ms;
    int rc = q->client ? jobq__store_own_time(db, &offset_ms, &at_ms) : JOBQ_OK;
    if (rc == JOBQ_OK && q->client) now->own_ms = jobq__own_at(now->wall_ms, offset_ms, at_ms);
    return rc;
}

JOBQ__INTERNAL bool jobq__core_in_handler(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    jobq__thread self = jobq__os_thread_self();
    bool inside = false;
    int i;
    jobq__os_lock(&pool->mu);
    for (i = 0; i < pool->crew.count && !inside; i++) {
        const struct jobq__worker *worker = &pool->crew.workers[i];
        inside = worker->run.entry && jobq__os_thread_same(worker->thread, self);
    }
    jobq__os_unlock(&pool->mu);
    return inside;
}

JOBQ__INTERNAL bool jobq__core_in_callback(const jobq *q) {
    return jobq__os_in_call(&q->events);
}

/* Its calls are q's own, the others' are the events': those may be made from handlers, too. */
JOBQ__INTERNAL bool jobq__core_in_connect(const jobq *q) {
    return jobq__os_in_call(q);
}

JOBQ__INTERNAL int jobq__core_refuse_connect(const char *call, jobq_error *err) {
    return jobq__err_set(err, JOBQ_MISUSE, "on_connect may not call %s: the queue waits for it with"
                         " the file in hand; it has the connection for what it does, and jobs are"
                         " for before or after jobq_run_db", call);
}

JOBQ__INTERNAL const char *jobq__core_where(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    jobq__thread self = jobq__os_thread_self();
    const char *name = jobq__os_call_name(), *where = NULL;
    int i;
    jobq__os_lock(&pool->mu);
    for (i = 0; i < pool->crew.count && !where; i++) {
        const struct jobq__worker *worker = &pool->crew.workers[i];
        if (!worker->run.entry || !jobq__os_thread_same(worker->thread, self)) continue;
        where = name ? name : jobq__os_load(&worker->run.handling) ? "a handler"
                                                                   : "a kind's backoff";
    }
    jobq__os_unlock(&pool->mu);
    if (!where && jobq__core_in_callback(q)) where = name ? name : "a callback";
    return where;
}

JOBQ__INTERNAL bool jobq__core_culprit(const jobq *q, char *text, size_t size) {
    const struct jobq__pool *pool = &q->pool;
    const struct jobq_run *first = NULL, *asks = NULL;
    int i, others = 0;
    jobq__assert(jobq__os_held(&pool->mu));
    for (i = 0; i < pool->crew.count; i++) {
        const struct jobq_run *run = &pool->crew.workers[i].run;
        if (!run->entry) continue;
        if (jobq__os_load(&run->asking)) asks = run;
        if (!jobq__os_load(&run->handling)) continue;
        if (first) others++;
        else first = run;
    }
    if (!first && asks)
        snprintf(text, size, "the backoff of kind %s still runs, for job %lld",
                 asks->entry->kind->spec.name, (long long)asks->id);
    if (!first) return false;
    if (others)
        snprintf(text, size, "job %lld of kind %s (and %d more) still runs", (long long)first->id,
                 first->entry->kind->spec.name, others);
    else
        snprintf(text, size, "job %lld of kind %s still runs", (long long)first->id,
                 first->entry->kind->spec.name);
    return true;
}

JOBQ__INTERNAL void jobq__core_tell_thread(jobq *q, jobq_thread what, int index, bool begins) {
    struct jobq__os_call call;
    if (!q->options.on_thread) return;
    jobq__os_call_begin(&call, &q->events, "on_thread");
    q->options.on_thread(what, index, begins, q->options.ctx);
    jobq__os_call_end(&call);
}

JOBQ__INTERNAL void jobq__core_lock_reader(jobq *q) {
    jobq__os_add(&q->lookers, 1);
    jobq__os_lock(&q->reader_mu);
    jobq__os_add(&q->lookers, -1);
}

JOBQ__INTERNAL bool jobq__core_commit_due(const jobq *q, int64_t now_us) {
    const struct jobq__pool *pool = &q->pool;
    jobq__assert(jobq__os_held(&pool->mu));
    if (now_us < pool->work.retry_at_us || jobq__os_load(&q->failed)) return false;
    if (pool->outcomes.count >= JOBQ__BATCH) return true;
    if (pool->outcomes.count && pool->sched.away) return true;
    if (pool->outcomes.count && now_us - pool->outcomes.since_us >= JOBQ__DEFER_US) return true;
    if (pool->ring.count) return false;
    if (pool->work.left && pool->life.claiming) return true;
    return pool->outcomes.count && !pool->rates.stream;
}

static struct jobq__store_options jobq__core_options(const jobq *q) {
    struct jobq__store_options options = {q->options.durability, 0, q->client,
                                          q->options.on_connect, q->options.ctx, q};
    int64_t busy_us = q->baton.busy_us;
    /* Who has the file for itself keeps it until it ends. */
    if (q->client && jobq__owner_has_it_all(&q->owner))
        busy_us = JOBQ__MIN(busy_us, JOBQ__KNOCK_US);
    options.until_us = jobq__add(jobq__clock_mono_us(), busy_us);
    return options;
}

JOBQ__INTERNAL int jobq__core_connect(jobq *q, jobq__store *db, enum jobq__use use,
                                      jobq_error *err) {
    struct jobq__store_options options = jobq__core_options(q);
    int rc = jobq__store_open(db, q->files.path, q->vfs, use, &options, err);
    if (rc != JOBQ_OK || (!jobq__store_moved(db) && !jobq__files_moved(&q->files)
                          && !jobq__files_another(&q->files)))
        return rc;
    jobq__store_own(db, false);
    jobq__store_close(db);
    return jobq__err_set(err, JOBQ_MOVED, "%.250s, its -wal or its -shm is not the file any more"
                         " that the queue was opened with; put it back, or close the queue",
                         q->files.path);
}

JOBQ__INTERNAL int jobq__core_setup(jobq *q, jobq__store *db, enum jobq__use use,
                                    jobq_error *err) {
    struct jobq__store_options options = jobq__core_options(q);
    return jobq__store_set_up(db, use, &options, err);
}

JOBQ__INTERNAL int jobq__core_join_in(jobq *q, jobq__store *db, enum jobq__use use,
                                      jobq_error *err) {
    int rc = jobq__core_connect(q, db, use, err);
    if (rc == JOBQ_OK) rc = jobq__core_setup(q, db, use, err);
    if (rc != JOBQ_OK) jobq__store_close(db);
    return rc;
}

/* In memory it is the writer's, which is hardened between jobs, and cannot be opened anew. */
static int jobq__core_share_job(jobq *q, jobq_error *err) {
    int rc = JOBQ_OK;
    if (q->shares_job && !jobq__guard_has_temp(&q->writer)) return rc;
    jobq__store_harden(&q->writer, false);
    if (jobq__guard_has_temp(&q->writer)) jobq__guard_drop_temp(&q->writer);
    rc = jobq__core_setup(q, &q->writer, JOBQ__STORE_JOB, err);
    q->shares_job = rc == JOBQ_OK;
    if (rc == JOBQ_OK) jobq__guard_set(&q->writer);
    jobq__store_harden(&q->writer, true);
    if (rc != JOBQ_OK) jobq__guard_drop_temp(&q->writer); /* it goes on without */
    return rc;
}

JOBQ__INTERNAL int jobq__core_open_job(jobq *q, jobq_error *err) {
    int rc;
    if (q->memory) return jobq__core_share_job(q, err);
    if (jobq__store_is_open(&q->job)) return JOBQ_OK;
    rc = jobq__core_join_in(q, &q->job, JOBQ__STORE_JOB, err);
    if (rc == JOBQ_OK) jobq__guard_set(&q->job);
    return rc;
}

JOBQ__INTERNAL int jobq__core_log_pages(const jobq *q) {
    int pages = jobq__store_log_pages(&q->writer), of_job = jobq__store_log_pages(&q->job);
    return JOBQ__MAX(pages, of_job);
}

JOBQ__INTERNAL void jobq__core_leave_job(jobq *q) {
    if (jobq__guard_restore(jobq__core_job(q), q->memory) || q->memory) return;
    /* What it knows of the log is still so. */
    jobq__store_set_log_pages(&q->writer, jobq__core_log_pages(q));
    jobq__store_close(&q->job);
}
