/* api_jobs.c - enqueue, flush, cancel, retry, delete: what callers want written. */
#include "api.h"

/* ---- Enqueue ---- */

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
            jobq__tx_at_row(enqueue, i, &row);
            if (err) *err = row;
            return rc;
        }
        size = (int64_t)jobq__tx_job_size(&jobs[i]);
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
    request.write = jobq__tx_enqueue;
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
