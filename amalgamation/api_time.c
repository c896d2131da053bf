/* api_time.c - advance, step, run until idle: for who has no threads, or a clock of his. */
#include "api.h"

/* Design note.
 *
 * Checks, and one step into scheduler.c, which fires what is due and runs what is ready on the
 * caller's thread. Nothing here changes a job. */

static int jobq__time_advance(jobq *q, const char *call, int64_t duration_ms, bool next,
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
    return jobq__time_advance(q, "jobq_advance", duration_ms, false, fired, err);
}

JOBQ_API int jobq_advance_to_next(jobq *q, jobq_error *err) {
    return jobq__time_advance(q, "jobq_advance_to_next", JOBQ_NEVER, true, NULL, err);
}

JOBQ_API int jobq_wakes(jobq *q) {
    int count;
    if (jobq__api_enter(q, "jobq_wakes", NULL) != JOBQ_OK) return 0;
    jobq__os_lock(&q->pool.mu);
    count = jobq__wheel_count(&q->pool.timers.wheel);
    if (jobq__sched_awaits_jobs(q)) count++;
    jobq__os_unlock(&q->pool.mu);
    jobq__api_leave(q, JOBQ_OK);
    return count;
}

static int jobq__time_step(jobq *q, const char *call, bool all, int64_t *ran, jobq_error *err) {
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
    int rc = jobq__time_step(q, "jobq_step", false, &count, err);
    if (ran) *ran = (int)count;
    return rc;
}

JOBQ_API int jobq_run_until_idle(jobq *q, int64_t *ran, jobq_error *err) {
    int64_t count = 0;
    int rc = jobq__time_step(q, "jobq_run_until_idle", true, &count, err);
    if (ran) *ran = count;
    return rc;
}

/* What the wall shows at a moment of real time, or has shown by then. */
static int64_t jobq__time_on_wall(struct jobq__now now, int64_t at_us) {
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
    now = jobq__core_now(q);
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
                           jobq__time_on_wall(now, JOBQ__MIN(poll_us, retry_us)));
    else if (retry_us != INT64_MAX)
        *at_ms = JOBQ__MIN(*at_ms, now.wall_ms);
    if (jobq__os_load(&q->failed)) *at_ms = JOBQ_NEVER;
    return jobq__api_leave(q, JOBQ_OK);
}
