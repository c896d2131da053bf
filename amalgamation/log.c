/* log.c - checkpoints: when the log is copied into the database, and how. */
#include "log.h"

JOBQ__INTERNAL int jobq__log_copy(jobq *q, int64_t until_us, bool cut, bool *all) {
    int rc = jobq__turn_begin_within(q, &q->writer, until_us);
    *all = false;
    if (rc != JOBQ_OK) return rc;
    do {
        jobq__disk_copying(q);
        rc = jobq__store_copy_log(&q->copier, false, all);
    } while (rc == JOBQ_FULL && q->disk.level == JOBQ__DISK_ROOMY && jobq__disk_full(q));
    jobq__store_rollback(&q->writer);
    if (cut || q->disk.level != JOBQ__DISK_ROOMY) rc = jobq__store_copy_log(&q->writer, true, all);
    return rc;
}

JOBQ__INTERNAL void jobq__log_copy_now(jobq *q) {
    int64_t pages = jobq__core_log_pages(q), cap;
    bool all, cut = pages > JOBQ__WAL_TRUNCATE * q->options.wal_pages;
    if (q->memory || jobq__os_load(&q->failed)) return;
    if (jobq__log_copy(q, 0, cut, &all) == JOBQ_BUSY) {
        jobq__turn_put_off(q);
        return;
    }
    if (all) {
        jobq__store_set_log_pages(&q->writer, 0);
        jobq__store_set_log_pages(&q->job, 0);
    }
    jobq__disk_copied(q);
    cap = jobq__disk_log_pages(q);
    /* Somebody reads an old state: try again when as much has been added. */
    q->wal_next = all ? cap : pages + cap;
    jobq__os_lock(&q->pool.mu);
    q->pool.stats.checkpoints++;
    q->pool.work.checkpoint = false;
    jobq__os_unlock(&q->pool.mu);
}

JOBQ__INTERNAL void jobq__log_checkpoint(jobq *q) {
    jobq__log_copy_now(q);
    jobq__disk_end(q);
}

JOBQ__INTERNAL bool jobq__log_mind(jobq *q) {
    bool scheduler;
    if (q->client || q->memory) return false;
    if (q->disk.level != JOBQ__DISK_ROOMY) {
        jobq__log_checkpoint(q);
        return false;
    }
    if (jobq__core_log_pages(q) < q->wal_next) return false;
    jobq__os_lock(&q->pool.mu);
    scheduler = q->pool.sched.started;
    /* Unless it does not come to it. */
    if (scheduler && jobq__core_log_pages(q) > 2 * q->wal_next) scheduler = false;
    if (scheduler) q->pool.work.checkpoint = true;
    jobq__os_unlock(&q->pool.mu);
    if (!scheduler) jobq__log_checkpoint(q);
    return scheduler;
}
