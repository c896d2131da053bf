/* api_jobs.c - enqueue, flush, cancel, retry, delete: what callers want written. */
#include "api.h"

#include <stdio.h>

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
    rc = jobq__tx_resolve(tx, JOBQ__NAME_KIND, job->kind, &row.kind, err);
    if (rc == JOBQ_OK)
        rc = jobq__tx_resolve(tx, JOBQ__NAME_QUEUE, job->queue ? job->queue : "default",
                              &row.queue, err);
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
    if (rc == JOBQ_NOT_FOUND) jobq__api_none(id, err);
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
