/* api_jobs.c - enqueue, cancel, retry, delete, look inside, time. */
#include "api.h"

#include <stdio.h>

static int jobq__jobs_none(int64_t id, jobq_error *err) {
    return jobq__err_set(err, JOBQ_NOT_FOUND, "there is no job %lld: it never was, was deleted, or"
                         " has ended and is not kept any more (keep_done_ms, keep_failed_ms)",
                         (long long)id);
}

/* ---- Enqueue ---- */

struct jobq__enqueue {
    const jobq_job *jobs;
    size_t count;
    jobq_stored *rows;          /* or NULL */
    bool many;                  /* errors name the row */
};

static int jobq__jobs_write_key(struct jobq__tx *tx, const jobq_job *job, int64_t kind,
                                struct jobq__row *row, int64_t *existing) {
    bool taken, stored;
    int rc = jobq__store_key_find(tx->db, kind, job->key, existing, &stored);
    /* The last rows of this very call may not have been written yet. */
    if (rc == JOBQ_OK && *existing && !stored
        && (*existing > tx->last_id || *existing <= tx->last_id - tx->rows_count))
        rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_KEY, *existing);
    if (rc != JOBQ_OK || *existing) return rc;
    row->side = JOBQ__SIDE_EXTRA | JOBQ__SIDE_KEY;
    /* The id that tx_add is about to give. */
    rc = jobq__store_key_add(tx->db, kind, job->key, tx->last_id + 1, &taken);
    return taken ? JOBQ__AGAIN : rc;
}

static int64_t jobq__jobs_run_at(const struct jobq__tx *tx, const jobq_job *job) {
    if (job->delay_ms) return jobq__add(tx->now_ms, job->delay_ms);
    return job->run_at_ms ? job->run_at_ms : tx->now_ms;
}

static int jobq__jobs_tell_new(struct jobq__tx *tx, const struct jobq__row *row, const char *key) {
    jobq *q = tx->q;
    jobq_event event;
    if (!q->events.call) return JOBQ_OK;
    memset(&event, 0, sizeof event);
    event.now_ms = tx->now_ms;
    event.id = row->id;
    event.to = JOBQ_STATE_PENDING;
    event.attempt = 1;
    return jobq__tx_change(tx, &event, row, key, NULL);
}

/* Says which row of a bulk call an error is about. */
static void jobq__jobs_at_row(const struct jobq__enqueue *enqueue, size_t i, jobq_error *err) {
    char text[sizeof err->text];
    if (!enqueue->many) return;
    jobq__err_copy_text(text, sizeof text, err->text);
    snprintf(err->text, sizeof err->text, "row %llu: %.450s", (unsigned long long)i, text);
    jobq__err_at(err, i);
}

/* The key is taken. An earlier row of the same call is not stored either when the call fails. */
static int jobq__jobs_refuse(const struct jobq__tx *tx, const jobq_job *job, int64_t first,
                             int64_t existing, jobq_error *err) {
    if (existing > first && existing <= tx->last_id)
        return jobq__err_set(err, JOBQ_EXISTS, "an earlier row of this call has the key %s",
                             job->key);
    jobq__err_set(err, JOBQ_EXISTS, "job %lld has the key %s; store this when that one has ended,"
                  " or let it do for both (JOBQ_KEEP)", (long long)existing, job->key);
    jobq__err_id(err, existing);
    return JOBQ_EXISTS;
}

/* *existing: 0, or the job that has the key; nothing is stored then. */
static int jobq__jobs_write_one(struct jobq__tx *tx, const jobq_job *job, int64_t *id,
                                int64_t *existing, jobq_error *err) {
    struct jobq__row row;
    int rc;
    memset(&row, 0, sizeof row);
    *existing = 0;
    rc = jobq__tx_resolve(tx, job->kind, &row.kind, err);
    if (rc == JOBQ_OK)
        rc = jobq__tx_resolve(tx, job->queue ? job->queue : "default", &row.queue, err);
    if (rc == JOBQ_OK && job->key) rc = jobq__jobs_write_key(tx, job, row.kind, &row, existing);
    if (rc != JOBQ_OK || *existing) return rc;
    row.priority = job->priority;
    row.run_at_ms = jobq__jobs_run_at(tx, job);
    row.payload = job->text ? job->text : job->payload;
    row.size = jobq__config_job_size(job);
    rc = jobq__tx_add(tx, &row);
    *id = row.id;
    return rc == JOBQ_OK ? jobq__jobs_tell_new(tx, &row, job->key) : rc;
}

static int jobq__jobs_write_row(struct jobq__tx *tx, const jobq_job *job, jobq_stored *row,
                                int64_t first, jobq_error *err) {
    int64_t id = 0, existing;
    int rc = jobq__jobs_write_one(tx, job, &id, &existing, err);
    if (rc != JOBQ_OK) return rc;
    if (existing && job->conflict == JOBQ_REFUSE)
        return jobq__jobs_refuse(tx, job, first, existing, err);
    if (existing) tx->add.kept++;
    row->id = existing ? existing : id;
    row->how = existing ? JOBQ_KEPT : JOBQ_NEW;
    return JOBQ_OK;
}

static int jobq__jobs_write_all(struct jobq__tx *tx, struct jobq__request *r) {
    const struct jobq__enqueue *enqueue = r->arg;
    int64_t first = tx->last_id;
    jobq_error told;
    jobq_stored scratch;
    size_t i;
    told.code = JOBQ_OK;
    for (i = 0; i < enqueue->count; i++) {
        jobq_stored *row = enqueue->rows ? &enqueue->rows[i] : &scratch;
        int rc = jobq__jobs_write_row(tx, &enqueue->jobs[i], row, first, &told);
        if (rc == JOBQ_OK) continue;
        if (told.code == rc && r->err) {
            *r->err = told;
            jobq__jobs_at_row(enqueue, i, r->err);
        }
        return rc;
    }
    return jobq__door_flush(tx);
}

/* Checks the jobs, and says in the request what they take. */
static int jobq__jobs_check_all(jobq *q, const struct jobq__enqueue *enqueue,
                                struct jobq__request *request, jobq_error *err) {
    int64_t now_ms = jobq__clock_now_ms(q->clock);
    const jobq_job *jobs = enqueue->jobs;
    jobq_error row;
    size_t i;
    request->atomic = enqueue->count > 1;
    for (i = 0; i < enqueue->count; i++) {
        int64_t size;
        int rc = jobq__config_job(&q->options, &jobs[i], now_ms, &row);
        if (rc != JOBQ_OK) {
            jobq__jobs_at_row(enqueue, i, &row);
            if (err) *err = row;
            return rc;
        }
        size = (int64_t)jobq__config_job_size(&jobs[i]);
        request->atomic = request->atomic || jobs[i].key;
        request->adds = jobq__add(request->adds, size + JOBQ__ROW_BYTES);
        request->largest = JOBQ__MAX(request->largest, size);
    }
    return JOBQ_OK;
}

static int jobq__jobs_enqueue(jobq *q, struct jobq__enqueue enqueue, jobq_error *err) {
    struct jobq__request request;
    int rc;
    memset(&request, 0, sizeof request);
    rc = jobq__jobs_check_all(q, &enqueue, &request, err);
    if (rc != JOBQ_OK || !enqueue.count) return rc;
    request.write = jobq__jobs_write_all;
    request.arg = &enqueue;
    return jobq__api_request(q, &request, NULL, err);
}

JOBQ_API int jobq_enqueue(jobq *q, const jobq_job *job, int64_t *id, jobq_error *err) {
    jobq_stored stored = {0, 0};
    int rc = jobq__api_enter(q, "jobq_enqueue", err);
    if (id) *id = 0;
    if (rc != JOBQ_OK) return rc;
    if (!job) return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "the job is NULL"));
    rc = jobq__jobs_enqueue(q, (struct jobq__enqueue){job, 1, &stored, false}, err);
    if (id && rc == JOBQ_OK) *id = stored.id;
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_enqueue_many(jobq *q, const jobq_job *jobs, size_t count, jobq_stored *rows,
                               jobq_error *err) {
    bool too_many = count > SIZE_MAX / sizeof *jobs;
    int rc;
    if (rows && count && !too_many) memset(rows, 0, count * sizeof *rows);
    rc = jobq__api_enter(q, "jobq_enqueue_many", err);
    if (rc != JOBQ_OK) return rc;
    if (too_many)
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "count is %llu, which"
                                                 " is beyond all memory",
                                                 (unsigned long long)count));
    if (!jobs && count)
        rc = jobq__err_set(err, JOBQ_MISUSE, "jobs is NULL but count is not 0");
    else
        rc = jobq__jobs_enqueue(q, (struct jobq__enqueue){jobs, count, rows, true}, err);
    if (rc != JOBQ_OK && rows && count) memset(rows, 0, count * sizeof *rows);
    return jobq__api_leave(q, rc);
}

static int jobq__jobs_write_flush(struct jobq__tx *tx, struct jobq__request *r) {
    (void)r;
    return jobq__store_sync(tx->db);
}

JOBQ_API int jobq_flush(jobq *q, jobq_error *err) {
    struct jobq__request request;
    int rc = jobq__api_enter(q, "jobq_flush", err);
    if (rc != JOBQ_OK) return rc;
    memset(&request, 0, sizeof request);
    request.write = jobq__jobs_write_flush;
    request.sync = true;
    if (q->options.durability == JOBQ_RELAXED || jobq__os_load(&q->failed))
        rc = jobq__api_request(q, &request, "jobq_flush", err);
    return jobq__api_leave(q, rc);
}

/* ---- Change ---- */

static int jobq__jobs_alter(jobq *q, const char *call, int64_t id,
                            int (*write)(struct jobq__tx *tx, struct jobq__request *r),
                            void (*after)(jobq *q, struct jobq__request *r), jobq_error *err) {
    struct jobq__alter alter = {id, NULL};
    struct jobq__request request;
    int rc = jobq__api_enter_owner(q, call, err);
    if (rc != JOBQ_OK) return rc;
    memset(&request, 0, sizeof request);
    request.write = write;
    request.after = after;
    request.arg = &alter;
    request.atomic = true;
    rc = jobq__api_request(q, &request, call, err);
    if (rc == JOBQ_NOT_FOUND) jobq__jobs_none(id, err);
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_cancel(jobq *q, int64_t id, jobq_error *err) {
    return jobq__jobs_alter(q, "jobq_cancel", id, jobq__alter_cancel,
                            jobq__alter_cancelled, err);
}

JOBQ_API int jobq_retry_now(jobq *q, int64_t id, jobq_error *err) {
    return jobq__jobs_alter(q, "jobq_retry_now", id, jobq__alter_retry, NULL, err);
}

JOBQ_API int jobq_delete(jobq *q, int64_t id, jobq_error *err) {
    return jobq__jobs_alter(q, "jobq_delete", id, jobq__alter_delete,
                            jobq__alter_deleted, err);
}

/* ---- Look inside ---- */

static bool jobq__jobs_runs(void *ctx, int64_t id) {
    return jobq__owner_runs(&((jobq *)ctx)->owner, id);
}

/* A memory database has one connection, so looking needs the baton there. *left_us: how long others
 * may have it meanwhile. */
static int jobq__jobs_look(jobq *q, struct jobq__look *look, int64_t *left_us, jobq_error *err) {
    int rc;
    look->ctx = q;
    look->runs = jobq__jobs_runs;
    look->now_ms = jobq__clock_now_ms(q->clock);
    look->db = q->memory ? &q->writer : &q->reader;
    /* Its handler holds it, and sees what it has written. */
    if (q->memory && !jobq__baton_in_job(q)) {
        rc = jobq__baton_hold(q, left_us);
        if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "nothing was read", err);
        return rc == JOBQ_OK ? rc : jobq__fail_say(q, rc, err);
    }
    if (q->memory) jobq__guard_enter(look->db);
    else jobq__core_look(q);
    return JOBQ_OK;
}

static int jobq__jobs_looked(jobq *q, struct jobq__look *look, int rc, jobq_error *err) {
    struct jobq__fault why = jobq__store_reason(look->db);
    if (rc != JOBQ_OK && rc != JOBQ_NOT_FOUND) rc = jobq__store_fail(look->db, err);
    if (!q->memory) jobq__os_unlock(&q->reader_mu);
    else if (jobq__baton_in_job(q)) jobq__guard_leave(look->db);
    else jobq__baton_release(q);
    jobq__fail_heed(q, rc, &why);
    return rc;
}

static int jobq__jobs_read_row(jobq *q, int64_t id, int64_t *left_us, jobq_info *info,
                               bool *claimed, jobq_error *err) {
    struct jobq__look look;
    int rc = jobq__jobs_look(q, &look, left_us, err);
    if (rc != JOBQ_OK) return rc;
    return jobq__jobs_looked(q, &look, jobq__store_info(&look, id, info, claimed), err);
}

JOBQ__INTERNAL int jobq__jobs_read(jobq *q, int64_t id, int64_t wait_us, jobq_info *info,
                                   jobq_error *err) {
    enum jobq__whereabouts where = JOBQ__NOWHERE;
    bool claimed;
    int rc, tries = 0;
    do {
        if (tries > 0) jobq__os_yield();
        claimed = false;
        rc = jobq__jobs_read_row(q, id, &wait_us, info, &claimed, err);
        if (claimed && !q->client) where = jobq__alter_find(q, id);
    } while (claimed && !q->client && where == JOBQ__NOWHERE && tries++ < JOBQ__LOOKS_MAX);
    if (claimed && where == JOBQ__RUNS) {
        info->state = JOBQ_STATE_RUNNING;
        info->runs++;
    }
    if (rc == JOBQ_NOT_FOUND) jobq__jobs_none(id, err);
    return rc;
}

JOBQ_API int jobq_get(jobq *q, int64_t id, jobq_info *info, jobq_error *err) {
    int rc = jobq__api_enter(q, "jobq_get", err);
    if (rc != JOBQ_OK) return rc;
    if (!info) rc = jobq__err_set(err, JOBQ_MISUSE, "info must not be NULL");
    else rc = jobq__jobs_read(q, id, q->baton.busy_us, info, err);
    return jobq__api_leave(q, rc);
}

static int jobq__jobs_blob(jobq *q, const char *call, int64_t id, bool result, void *buffer,
                           size_t capacity, size_t *size, jobq_error *err) {
    struct jobq__look look;
    size_t whole = 0;
    int64_t left_us;
    int rc = jobq__api_enter(q, call, err);
    if (size) *size = 0;
    if (rc != JOBQ_OK) return rc;
    if (!buffer && capacity)
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "buffer must not be NULL"));
    left_us = q->baton.busy_us;
    rc = jobq__jobs_look(q, &look, &left_us, err);
    if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
    rc = jobq__store_blob(&look, id, result, buffer, capacity, &whole);
    rc = jobq__jobs_looked(q, &look, rc, err);
    if (rc == JOBQ_NOT_FOUND) jobq__jobs_none(id, err);
    if (size) *size = whole;
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_get_payload(jobq *q, int64_t id, void *buffer, size_t capacity, size_t *size,
                              jobq_error *err) {
    return jobq__jobs_blob(q, "jobq_get_payload", id, false, buffer, capacity, size, err);
}

JOBQ_API int jobq_get_result(jobq *q, int64_t id, void *buffer, size_t capacity, size_t *size,
                             jobq_error *err) {
    return jobq__jobs_blob(q, "jobq_get_result", id, true, buffer, capacity, size, err);
}

static int jobq__jobs_check_list(const jobq_filter *filter, const jobq_cursor *cursor,
                                 const jobq_info *infos, size_t capacity, const size_t *count,
                                 jobq_error *err) {
    int rc = JOBQ_OK;
    if (!cursor || !count || (!infos && capacity))
        return jobq__err_set(err, JOBQ_MISUSE, "cursor, infos and count must not be NULL");
    if (!capacity)
        return jobq__err_set(err, JOBQ_MISUSE, "capacity must not be 0");
    if ((int)filter->state < JOBQ_STATE_NONE || filter->state > JOBQ_STATE_CANCELLED)
        return jobq__err_set(err, JOBQ_MISUSE, "state is %d, none of jobq_state",
                             (int)filter->state);
    if (!jobq__store_cursor_valid(cursor))
        return jobq__err_set(err, JOBQ_MISUSE, "the cursor was not zeroed before the first call");
    if (filter->rows_max < 0)
        return jobq__err_set(err, JOBQ_MISUSE, "rows_max is %lld; it is a number of rows, and 0 the"
                             " default", (long long)filter->rows_max);
    if (filter->kind) rc = jobq__config_name("the filter's kind", filter->kind, JOBQ_NAME_MAX, err);
    if (rc == JOBQ_OK && filter->queue)
        rc = jobq__config_name("the filter's queue", filter->queue, JOBQ_NAME_MAX, err);
    return rc;
}

/* Between two slices of a long look. A lock goes to whoever runs when it is let go, and those who
 * wait for it do not. */
static void jobq__jobs_let_look(jobq *q) {
    if (jobq__os_load(&q->lookers)) jobq__os_sleep_us(JOBQ__LOOK_PAUSE_US);
}

static int jobq__jobs_list(jobq *q, const jobq_filter *filter, jobq_cursor *cursor,
                           jobq_info *infos, size_t capacity, size_t *count, jobq_error *err) {
    int64_t left_us = q->baton.busy_us;
    int64_t left = filter->rows_max ? filter->rows_max : JOBQ__ROWS_MAX;
    jobq_filter slice = *filter;
    struct jobq__look look;
    for (;;) {
        size_t more = 0;
        int rc = jobq__jobs_look(q, &look, &left_us, err);
        if (rc != JOBQ_OK) return rc;
        slice.rows_max = JOBQ__MIN(left, JOBQ__LIST_ROWS);
        rc = jobq__store_list(&look, &slice, cursor, infos + *count, capacity - *count, &more);
        rc = jobq__jobs_looked(q, &look, rc, err);
        *count += more;
        left -= slice.rows_max;
        if (rc != JOBQ_OK || cursor->done || *count == capacity || left <= 0) return rc;
        jobq__jobs_let_look(q);
    }
}

JOBQ_API int jobq_list(jobq *q, const jobq_filter *filter, jobq_cursor *cursor, jobq_info *infos,
                       size_t capacity, size_t *count, jobq_error *err) {
    static const jobq_filter everything;
    jobq_cursor before;
    int rc = jobq__api_enter(q, "jobq_list", err);
    if (count) *count = 0;
    if (rc != JOBQ_OK) return rc;
    if (!filter) filter = &everything;
    rc = jobq__jobs_check_list(filter, cursor, infos, capacity, count, err);
    if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
    before = *cursor;
    rc = jobq__jobs_list(q, filter, cursor, infos, capacity, count, err);
    if (rc != JOBQ_OK) {
        *cursor = before;
        *count = 0;
    }
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_count(jobq *q, jobq_counts *counts, jobq_error *err) {
    struct jobq__look look;
    int64_t after = 0, left_us;
    bool done = false;
    int rc = jobq__api_enter(q, "jobq_count", err);
    if (rc != JOBQ_OK) return rc;
    if (!counts)
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "counts must not be NULL"));
    memset(counts, 0, sizeof *counts);
    left_us = q->baton.busy_us;
    while (rc == JOBQ_OK && !done) {
        rc = jobq__jobs_look(q, &look, &left_us, err);
        if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
        rc = jobq__store_count(&look, &after, counts, &done);
        rc = jobq__jobs_looked(q, &look, rc, err);
        if (!done) jobq__jobs_let_look(q);
    }
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_stat(jobq *q, jobq_stats *stats, jobq_error *err) {
    struct jobq__pool *pool;
    int rc = jobq__api_enter(q, "jobq_stat", err);
    if (rc != JOBQ_OK) return rc;
    if (!stats)
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "stats must not be NULL"));
    pool = &q->pool;
    jobq__os_lock(&pool->mu);
    *stats = pool->stats;
    stats->running = pool->crew.running;
    stats->claimed = pool->ring.count;
    stats->started_now = pool->life.phase == JOBQ__RUNNING;
    jobq__os_unlock(&pool->mu);
    stats->workers = q->step_mode ? 0 : q->pool.crew.count;
    stats->failed_code = jobq__os_load(&q->failed);
    return jobq__api_leave(q, JOBQ_OK);
}

/* ---- Time ---- */

static int jobq__jobs_advance(jobq *q, const char *call, int64_t duration_ms, bool next,
                              int *fired, jobq_error *err) {
    int rc = jobq__api_enter_outside(q, call, "what is due runs after you have returned, and"
                                     " jobq_run_sleep lets a handler's time pass", err);
    if (fired) *fired = 0;
    if (rc != JOBQ_OK) return rc;
    if (!q->clock)
        rc = jobq__err_set(err, JOBQ_MISUSE, "the system's clock cannot be advanced; open the queue"
                           " with .clock = jobq_clock_artificial(...)");
    else
        rc = jobq__config_span("duration_ms", duration_ms, false, err);
    if (rc == JOBQ_OK && duration_ms == JOBQ_NEVER && !next)
        rc = jobq__err_set(err, JOBQ_BAD_TIME, "duration_ms is JOBQ_NEVER, and there is no time"
                           " after that; jobq_advance_to_next goes as far as there is something to"
                           " do");
    if (rc == JOBQ_OK)
        rc = jobq__sched_advance(q, jobq__add(jobq__clock_mono_ms(q->clock), duration_ms), next,
                                 fired, err);
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_advance(jobq *q, int64_t duration_ms, int *fired, jobq_error *err) {
    return jobq__jobs_advance(q, "jobq_advance", duration_ms, false, fired, err);
}

JOBQ_API int jobq_advance_to_next(jobq *q, jobq_error *err) {
    return jobq__jobs_advance(q, "jobq_advance_to_next", JOBQ_NEVER, true, NULL, err);
}

JOBQ_API int jobq_wakes(jobq *q) {
    int count;
    if (jobq__api_enter(q, "jobq_wakes", NULL) != JOBQ_OK) return 0;
    jobq__os_lock(&q->pool.mu);
    count = jobq__wheel_count(&q->pool.timers.wheel);
    if (q->pool.timers.due_at_ms != JOBQ_NEVER && !q->pool.timers.due_fired) count++;
    jobq__os_unlock(&q->pool.mu);
    jobq__api_leave(q, JOBQ_OK);
    return count;
}

static int jobq__jobs_step(jobq *q, const char *call, bool all, int64_t *ran, jobq_error *err) {
    int rc = jobq__api_enter_outside(q, call, "what you store here runs after you have returned",
                                     err);
    *ran = 0;
    if (rc != JOBQ_OK) return rc;
    if (!q->step_mode)
        rc = jobq__err_set(err, JOBQ_MISUSE, "only a queue with workers = JOBQ_NONE is stepped;"
                           " this one has %d: jobq_start has them run the jobs",
                           q->options.workers);
    else
        rc = jobq__sched_step(q, all, ran, err);
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_step(jobq *q, int *ran, jobq_error *err) {
    int64_t count = 0;
    int rc = jobq__jobs_step(q, "jobq_step", false, &count, err);
    if (ran) *ran = (int)count;
    return rc;
}

JOBQ_API int jobq_run_until_idle(jobq *q, int64_t *ran, jobq_error *err) {
    int64_t count = 0;
    int rc = jobq__jobs_step(q, "jobq_run_until_idle", true, &count, err);
    if (ran) *ran = count;
    return rc;
}

/* What the wall shows at a moment of real time, or has shown by then. */
static int64_t jobq__jobs_on_wall(struct jobq__now now, int64_t at_us) {
    int64_t left_us = jobq__sub(at_us, jobq__clock_mono_us());
    if (at_us == INT64_MAX) return JOBQ_NEVER;
    return jobq__add(now.wall_ms, (JOBQ__MAX(left_us, 0) + 999) / 1000);
}

JOBQ_API int jobq_next_deadline(jobq *q, int64_t *at_ms, jobq_error *err) {
    struct jobq__pool *pool;
    struct jobq__now now;
    int64_t poll_us, prune_ms, retry_us;
    int rc = jobq__api_enter_owner(q, "jobq_next_deadline", err);
    if (rc != JOBQ_OK) return rc;
    if (!at_ms)
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "at_ms must not be NULL"));
    pool = &q->pool;
    now = jobq__clock_read(q->clock);
    jobq__os_lock(&pool->mu);
    *at_ms = jobq__sched_next(q, now);
    retry_us = pool->ring.count || pool->outcomes.count || pool->work.left || pool->work.foreign
             ? pool->work.retry_at_us : INT64_MAX;
    poll_us = pool->timers.poll_at_us;
    prune_ms = pool->timers.prune_at_ms;
    jobq__os_unlock(&pool->mu);
    /* What is real time, or no wake, is nothing that an artificial clock could be moved to. */
    if (!q->clock)
        *at_ms = JOBQ__MIN(JOBQ__MIN(*at_ms, prune_ms),
                           jobq__jobs_on_wall(now, JOBQ__MIN(poll_us, retry_us)));
    else if (retry_us != INT64_MAX)
        *at_ms = JOBQ__MIN(*at_ms, now.wall_ms);
    if (jobq__os_load(&q->failed)) *at_ms = JOBQ_NEVER;
    return jobq__api_leave(q, JOBQ_OK);
}
