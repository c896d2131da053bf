/* fail.c - what stops a queue for good, and what its calls say from then on. */
#include "fail.h"

JOBQ__INTERNAL void jobq__fail_latch(jobq *q, int code, const struct jobq__fault *why) {
    jobq__os_lock(&q->pool.mu);
    if (jobq__os_load(&q->failed) == JOBQ_OK) {
        if (why) q->fault = *why;
        jobq__os_store(&q->failed, code);
    }
    /* Who waits for something to happen waits in vain. */
    jobq__wake_waiters(q);
    jobq__wake_quiet(q);
    jobq__os_unlock(&q->pool.mu);
}

JOBQ__INTERNAL void jobq__fail_heed(jobq *q, int rc, const struct jobq__fault *why) {
    if (rc == JOBQ_CORRUPT || rc == JOBQ_NOT_A_DB) jobq__fail_latch(q, JOBQ_CORRUPT, why);
}

JOBQ__INTERNAL int jobq__fail_say(jobq *q, int rc, jobq_error *err) {
    static const char way_out[] = "the queue has stopped: see to the disk, and open it again";
    struct jobq__fault why;
    int failed;
    jobq__os_lock(&q->pool.mu);
    why = q->fault;
    failed = jobq__os_load(&q->failed);
    jobq__os_unlock(&q->pool.mu);
    if (rc == JOBQ_MOVED)
        return jobq__err_set(err, rc, "%.250s or what stands beside it (-wal, -shm, -jobq) was"
                             " moved, replaced, cut short or deleted: nothing more is written; put"
                             " back what can be (a -shm need not), and open the queue again",
                             q->files.path);
    if (why.sqlite_code && (rc == failed || rc == JOBQ_UNKNOWN))
        return jobq__store_tell(&why, rc, q->files.path, failed == JOBQ_IO ? way_out : NULL, err);
    return jobq__err_set(err, rc, "%s: %.250s", jobq_code_text(rc), q->files.path);
}
