/* api_look.c - get, list, count, stat, payload, result: looks that change nothing. */
#include "api.h"

/* Design note.
 *
 * A look reads the last committed state on the reader's connection, beside whoever writes; in
 * memory, where there is one connection only, with the baton, and inside a job's transaction what
 * that has written. Between look_begin and look_end the connection is this thread's, and no
 * callback runs. A listing goes in slices, and lets others have it in between, so it tells
 * of no single moment.
 *
 * What a claimed row really is, runs, waits in the ring or has just ended, only the pool knows:
 * look_read asks it, and reads again if the row has changed in between. */

static bool jobq__look_runs(void *ctx, int64_t id) {
    return jobq__owner_runs(&((jobq *)ctx)->owner, id);
}

static int jobq__look_end(jobq *q, struct jobq__look *look, int rc, jobq_error *err) {
    struct jobq__fault why = jobq__store_reason(look->db);
    if (rc != JOBQ_OK && rc != JOBQ_NOT_FOUND) rc = jobq__store_fail(look->db, err);
    if (!q->memory) jobq__os_unlock(&q->reader_mu);
    else if (jobq__baton_in_job(q)) jobq__guard_leave(look->db);
    else jobq__baton_release(q);
    jobq__fail_heed(q, rc, &why);
    return rc;
}

/* A memory database has one connection, so looking needs the baton there. *left_us: how long others
 * may have it meanwhile. */
static int jobq__look_begin(jobq *q, struct jobq__look *look, int64_t *left_us, jobq_error *err) {
    int rc;
    look->ctx = q;
    look->runs = jobq__look_runs;
    look->now = jobq__core_now(q);
    look->db = q->memory ? &q->writer : &q->reader;
    /* Its handler holds it, and sees what it has written. */
    if (q->memory && !jobq__baton_in_job(q)) {
        rc = jobq__baton_hold(q, left_us);
        if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "nothing was read", err);
        return rc == JOBQ_OK ? rc : jobq__fail_say(q, rc, err);
    }
    if (q->memory) jobq__guard_enter(look->db);
    else jobq__core_lock_reader(q);
    rc = jobq__core_own_of_file(q, look->db, &look->now);
    return rc == JOBQ_OK ? rc : jobq__look_end(q, look, rc, err);
}

static int jobq__look_read_row(jobq *q, int64_t id, int64_t *left_us, jobq_info *info,
                               bool *claimed, jobq_error *err) {
    struct jobq__look look;
    int rc = jobq__look_begin(q, &look, left_us, err);
    if (rc != JOBQ_OK) return rc;
    return jobq__look_end(q, &look, jobq__store_info(&look, id, info, claimed), err);
}

JOBQ__INTERNAL int jobq__look_read(jobq *q, int64_t id, int64_t wait_us, jobq_info *info,
                                   jobq_error *err) {
    enum jobq__whereabouts where = JOBQ__NOWHERE;
    bool claimed;
    int rc, tries = 0;
    do {
        if (tries > 0) jobq__os_yield();
        claimed = false;
        rc = jobq__look_read_row(q, id, &wait_us, info, &claimed, err);
        if (claimed && !q->client) where = jobq__alter_find(q, id);
    } while (claimed && !q->client && where == JOBQ__NOWHERE && tries++ < JOBQ__LOOKS_MAX);
    if (claimed && where == JOBQ__RUNS) {
        info->state = JOBQ_STATE_RUNNING;
        info->runs++;
    }
    if (rc == JOBQ_NOT_FOUND) jobq__api_none(id, err);
    return rc;
}

JOBQ_API int jobq_get(jobq *q, int64_t id, jobq_info *info, jobq_error *err) {
    int rc = jobq__api_enter(q, "jobq_get", err);
    if (rc != JOBQ_OK) return rc;
    if (!info) rc = jobq__err_set(err, JOBQ_MISUSE, "info must not be NULL");
    else rc = jobq__look_read(q, id, q->baton.busy_us, info, err);
    return jobq__api_leave(q, rc);
}

static int jobq__look_blob(jobq *q, const char *call, int64_t id, bool result, void *buffer,
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
    rc = jobq__look_begin(q, &look, &left_us, err);
    if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
    rc = jobq__store_blob(&look, id, result, buffer, capacity, &whole);
    rc = jobq__look_end(q, &look, rc, err);
    if (rc == JOBQ_NOT_FOUND) jobq__api_none(id, err);
    if (size) *size = whole;
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_get_payload(jobq *q, int64_t id, void *buffer, size_t capacity, size_t *size,
                              jobq_error *err) {
    return jobq__look_blob(q, "jobq_get_payload", id, false, buffer, capacity, size, err);
}

JOBQ_API int jobq_get_result(jobq *q, int64_t id, void *buffer, size_t capacity, size_t *size,
                             jobq_error *err) {
    return jobq__look_blob(q, "jobq_get_result", id, true, buffer, capacity, size, err);
}

static int jobq__look_check_names(const jobq_filter *filter, jobq_error *err) {
    int rc = JOBQ_OK;
    if (filter->key && !filter->kind)
        return jobq__err_set(err, JOBQ_MISUSE, "key is set, but kind is not; a key is one among"
                             " jobs of a kind: set .kind, too");
    if (filter->kind) rc = jobq__config_name("the filter's kind", filter->kind, JOBQ_NAME_MAX, err);
    if (rc == JOBQ_OK && filter->queue)
        rc = jobq__config_name("the filter's queue", filter->queue, JOBQ_NAME_MAX, err);
    if (rc == JOBQ_OK && filter->key)
        rc = jobq__config_name("the filter's key", filter->key, JOBQ_KEY_MAX, err);
    return rc;
}

static int jobq__look_check_list(const jobq_filter *filter, const jobq_cursor *cursor,
                                 const jobq_info *infos, size_t capacity, const size_t *count,
                                 jobq_error *err) {
    if (!cursor || !count || (!infos && capacity))
        return jobq__err_set(err, JOBQ_MISUSE, "cursor, infos and count must not be NULL");
    if (!capacity)
        return jobq__err_set(err, JOBQ_MISUSE, "capacity must not be 0");
    if ((int)filter->state < JOBQ_STATE_NONE || filter->state > JOBQ_STATE_CANCELLED)
        return jobq__err_set(err, JOBQ_MISUSE, "state is %d, none of jobq_state",
                             (int)filter->state);
    if (!jobq__store_cursor_valid(cursor, filter))
        return jobq__err_set(err, JOBQ_MISUSE, "the cursor was not zeroed before the first call");
    if (filter->rows_max < 0)
        return jobq__err_set(err, JOBQ_MISUSE, "rows_max is %lld; it is a number of rows, and 0 the"
                             " default", (long long)filter->rows_max);
    return jobq__look_check_names(filter, err);
}

/* Between two slices of a long look. A lock goes to whoever runs when it is let go, and those who
 * wait for it do not. */
static void jobq__look_yield(jobq *q) {
    if (jobq__os_load(&q->lookers)) jobq__os_sleep_us(JOBQ__LOOK_PAUSE_US);
}

static int jobq__look_list(jobq *q, const jobq_filter *filter, jobq_cursor *cursor,
                           jobq_info *infos, size_t capacity, size_t *count, jobq_error *err) {
    int64_t left_us = q->baton.busy_us;
    int64_t left = filter->rows_max ? filter->rows_max : JOBQ__ROWS_MAX;
    jobq_filter slice = *filter;
    struct jobq__look look;
    for (;;) {
        size_t more = 0;
        int rc = jobq__look_begin(q, &look, &left_us, err);
        if (rc != JOBQ_OK) return rc;
        slice.rows_max = JOBQ__MIN(left, JOBQ__LIST_ROWS);
        rc = jobq__store_list(&look, &slice, cursor, infos + *count, capacity - *count, &more);
        rc = jobq__look_end(q, &look, rc, err);
        *count += more;
        left -= slice.rows_max;
        if (rc != JOBQ_OK || cursor->done || *count == capacity || left <= 0) return rc;
        jobq__look_yield(q);
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
    rc = jobq__look_check_list(filter, cursor, infos, capacity, count, err);
    if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
    before = *cursor;
    rc = jobq__look_list(q, filter, cursor, infos, capacity, count, err);
    if (rc != JOBQ_OK) {
        *cursor = before;
        *count = 0;
    }
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_count(jobq *q, jobq_counts *counts, jobq_error *err) {
    struct jobq__look look;
    int64_t left_us;
    int rc = jobq__api_enter(q, "jobq_count", err);
    if (rc != JOBQ_OK) return rc;
    if (!counts)
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "counts must not be NULL"));
    memset(counts, 0, sizeof *counts);
    left_us = q->baton.busy_us;
    rc = jobq__look_begin(q, &look, &left_us, err);
    if (rc == JOBQ_OK) rc = jobq__look_end(q, &look, jobq__store_count(&look, counts), err);
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
