/* pool.c - workers: take, run, hand in. */
#include "pool.h"

/* ---- One job ---- */

static void jobq__pool_hand_in(jobq *q, struct jobq__entry *entry, int64_t now_us) {
    struct jobq__pool *pool = &q->pool;
    if (!pool->outcomes.count++) {
        pool->outcomes.since_us = now_us;
        /* The scheduler takes care of it if nobody else does within a millisecond; while it is
         * armed it looks again by itself. */
        if (!pool->sched.armed && pool->sched.started) {
            pool->sched.armed = true;
            jobq__wake_scheduler_locked(q);
        }
    }
    jobq__list_append(&pool->outcomes.list, &entry->link);
}

JOBQ__INTERNAL bool jobq__pool_run_one(struct jobq__worker *worker) {
    jobq *q = worker->run.q;
    struct jobq__pool *pool = &q->pool;
    struct jobq__entry *entry = jobq__ring_take(&pool->ring);
    int64_t from_us, now_us;
    bool settled;
    if (!entry) return false;
    jobq__run_begin(worker, entry);
    from_us = worker->free_us;
    jobq__wake_claimer(q);
    jobq__os_unlock(&pool->mu);
    settled = jobq__run_call(worker);
    now_us = jobq__clock_mono_us();
    jobq__os_lock(&pool->mu);
    jobq__run_end(worker);
    if (!settled) jobq__pool_hand_in(q, entry, now_us);
    pool->rates.job_ns += ((now_us - from_us) * 1000 - pool->rates.job_ns) / 8;
    worker->free_us = now_us;
    return true;
}

/* ---- Workers ---- */

/* Outcomes that wait for company are the scheduler's to mind, but it may stand in a callback: until
 * when an idle worker leaves them to it. With pool.mu held. */
static int64_t jobq__pool_minds(const jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    if (!pool->outcomes.count || pool->sched.waits || jobq__os_load(&q->baton.busy)
        || jobq__os_load(&q->failed)) return INT64_MAX;
    return JOBQ__MAX(pool->outcomes.since_us + JOBQ__DEFER_US, pool->work.retry_at_us);
}

static void jobq__pool_sleep(struct jobq__worker *worker) {
    jobq *q = worker->run.q;
    struct jobq__pool *pool = &q->pool;
    int64_t until_us = jobq__pool_minds(q);
    jobq__list_insert(pool->crew.idle.next, &worker->link);
    jobq__wake_worker_to(worker, JOBQ__WORKER_IDLE);
    jobq__wake_quiet(q);
    while (worker->state == JOBQ__WORKER_IDLE && pool->life.phase == JOBQ__RUNNING
           && jobq__clock_mono_us() < until_us)
        if (until_us == INT64_MAX) jobq__os_wait(&worker->cond, &pool->mu);
        else jobq__os_wait_until(&worker->cond, &pool->mu, until_us);
    jobq__list_remove(&worker->link);
    jobq__wake_worker_to(worker, JOBQ__WORKER_AWAKE);
    worker->free_us = jobq__clock_mono_us();
}

/* Commits if that is due and the baton is free. With pool.mu held, before and after. */
static bool jobq__pool_commit(struct jobq__worker *worker) {
    jobq *q = worker->run.q;
    struct jobq__pool *pool = &q->pool;
    bool led;
    if (jobq__os_load(&q->baton.busy) || !jobq__core_commit_due(q, worker->free_us)) return false;
    jobq__os_unlock(&pool->mu);
    led = jobq__baton_try(q);
    if (led) {
        jobq__commit_lead(q);
        if (jobq__event_deliver(&q->events, false)) jobq__wake_scheduler(q);
        jobq__event_throttle(&q->events);
        worker->free_us = jobq__clock_mono_us();
    }
    jobq__os_lock(&pool->mu);
    return led;
}

JOBQ__INTERNAL void jobq__pool_work(void *arg) {
    struct jobq__worker *worker = arg;
    jobq *q = worker->run.q;
    struct jobq__pool *pool = &q->pool;
    jobq__core_tell_thread(q, JOBQ_THREAD_WORKER, worker->index, true);
    jobq__os_lock(&pool->mu);
    worker->thread = jobq__os_thread_self();
    worker->free_us = jobq__clock_mono_us();
    while (pool->life.phase == JOBQ__RUNNING) {
        /* That lets go of the lock, and a stop may have come in between. */
        if (jobq__pool_commit(worker) || pool->life.phase != JOBQ__RUNNING) continue;
        if (!jobq__os_load(&q->failed) && jobq__pool_run_one(worker)) continue;
        /* Under the lock, so that who lays the baton down either is seen here or sees us idle. */
        worker->free_us = jobq__clock_mono_us();
        if (!jobq__os_load(&q->baton.busy) && jobq__core_commit_due(q, worker->free_us)) continue;
        jobq__pool_sleep(worker);
    }
    jobq__os_unlock(&pool->mu);
    jobq__core_tell_thread(q, JOBQ_THREAD_WORKER, worker->index, false);
    jobq__os_lock(&pool->mu);
    jobq__wake_worker_to(worker, JOBQ__WORKER_ENDED);
    jobq__wake_quiet(q);
    jobq__os_unlock(&pool->mu);
}

JOBQ__INTERNAL bool jobq__pool_at_rest(const jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    jobq__assert(jobq__os_held(&pool->mu));
    if (pool->outcomes.count || pool->crew.running > pool->crew.sleeping) return false;
    if (pool->sched.started && (!pool->sched.waits || pool->sched.kicked))
        return false;
    if (jobq__os_load(&q->baton.busy)) return false;
    if (pool->work.foreign && pool->sched.started) return false; /* else the next start looks */
    /* When every worker waits for the clock, what is left has to wait as well. */
    if (pool->crew.count && pool->crew.sleeping == pool->crew.count) return true;
    return !pool->ring.count && !(pool->work.left && pool->life.claiming);
}

/* ---- Open and close ---- */

static void jobq__pool_init_worker(jobq *q, struct jobq__worker *worker, int index) {
    worker->index = index;
    worker->run.q = q;
    worker->run.worker = worker;
    worker->run.deadline.what = JOBQ__WAKE_DEADLINE;
    worker->run.sleep.what = JOBQ__WAKE_SLEEP;
    jobq__timer_init(&worker->run.deadline.timer);
    jobq__timer_init(&worker->run.sleep.timer);
    jobq__list_init(&worker->link);
}

static int jobq__pool_init_workers(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int count = q->step_mode ? 1 : q->client ? 0 : q->options.workers;
    int i, rc = JOBQ_OK;
    pool->crew.workers = jobq__mem_new(sizeof *pool->crew.workers * (size_t)JOBQ__MAX(count, 1));
    if (!pool->crew.workers) return JOBQ_NO_MEMORY;
    for (i = 0; i < count && rc == JOBQ_OK; i++) {
        jobq__pool_init_worker(q, &pool->crew.workers[i], i);
        rc = jobq__os_cond_init(&pool->crew.workers[i].cond, JOBQ__OS_MONO);
        if (rc == JOBQ_OK) pool->crew.count++;
    }
    return rc;
}

JOBQ__INTERNAL int jobq__pool_init(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int rc;
    jobq__ring_init(&pool->ring);
    jobq__list_init(&pool->outcomes.list);
    jobq__list_init(&pool->crew.idle);
    jobq__list_init(&pool->waiters);
    jobq__wheel_init(&pool->timers.wheel, 0);
    pool->timers.due = q->due;
    pool->timers.prune_at_ms = JOBQ_NEVER;
    /* The scheduler begins with a look; in step mode the first step does. */
    pool->timers.poll_at_us = q->step_mode && q->options.poll_ms != JOBQ_NONE ? 0 : INT64_MAX;
    pool->rates.job_ns = JOBQ__RING_WINDOW_US * 1000; /* unknown yet: a small ring */
    rc = jobq__os_mutex_init(&pool->mu);
    if (rc == JOBQ_OK) rc = jobq__os_cond_init(&pool->rest.quiet, JOBQ__OS_MONO);
    if (rc == JOBQ_OK) rc = jobq__os_cond_init(&pool->sched.tick_mono, JOBQ__OS_MONO);
    if (rc == JOBQ_OK) rc = jobq__os_cond_init(&pool->sched.tick_wall, JOBQ__OS_WALL);
    if (rc == JOBQ_OK) rc = jobq__pool_init_workers(q);
    return rc;
}

JOBQ__INTERNAL void jobq__pool_fini(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int i;
    for (i = 0; i < pool->crew.count; i++) jobq__os_cond_fini(&pool->crew.workers[i].cond);
    jobq__mem_free(pool->crew.workers);
    jobq__os_cond_fini(&pool->sched.tick_wall);
    jobq__os_cond_fini(&pool->sched.tick_mono);
    jobq__os_cond_fini(&pool->rest.quiet);
    jobq__os_mutex_fini(&pool->mu);
}

/* ---- What is claimed goes back, what has run is written ---- */

/* Unless somebody claims again since it was asked for. */
static int jobq__pool_write_back(struct jobq__tx *tx, struct jobq__request *r) {
    jobq *q = tx->q;
    bool claiming;
    (void)r;
    jobq__os_lock(&q->pool.mu);
    claiming = q->pool.life.claiming;
    jobq__os_unlock(&q->pool.mu);
    return claiming ? JOBQ_OK : jobq__tx_give_back(tx);
}

/* Outcomes that are not on the disk, and, if claims, jobs that are claimed and have not started.
 * One that a transaction is about to settle counts: it may fail. None if somebody claims again: the
 * pool was started, or another thread steps, and sees to them. */
static int jobq__pool_left(jobq *q, bool claims) {
    const struct jobq__link *link;
    int left = 0;
    jobq__os_lock(&q->pool.mu);
    if (!q->pool.life.claiming) {
        left = q->pool.outcomes.count + (claims ? q->pool.ring.count : 0);
        for (link = q->tx.settled.next; link != &q->tx.settled; link = link->next) left++;
    }
    jobq__os_unlock(&q->pool.mu);
    return left;
}

static int jobq__pool_unwritten(jobq *q, int left, int rc, jobq_error *err) {
    const char *many = left == 1 ? " of a job that has run is" : "s of jobs that have run are";
    int failed = jobq__os_load(&q->failed);
    jobq_error why;
    if (failed && err) {
        jobq__fail_say(q, failed, &why);
        jobq__err_set(err, rc, "%d outcome%s not on the disk, and %s again when the queue is opened"
                      " next: %.370s", left, many, left == 1 ? "it runs" : "they run", why.text);
        err->sqlite_code = why.sqlite_code;
        err->os_code = why.os_code;
    }
    if (failed) return rc;
    return jobq__err_set(err, rc, "%d outcome%s not on the disk yet (%s); nothing is lost:"
                         " jobq_stop again, or jobq_start, writes what is left", left, many,
                         rc != JOBQ_BUSY ? jobq_code_text(rc)
                         : jobq__os_load(&q->turn.taken) ? "another connection writes to the file"
                                                         : "the time was over");
}

/* On a full disk one transaction takes some of them only. With nothing to write the file is not
 * asked for; but a transaction under way may claim still, so its end is waited for. */
static int jobq__pool_write_left(jobq *q, int64_t until_us, int64_t least_us) {
    struct jobq__request request;
    int left = jobq__pool_left(q, true) + jobq__os_load(&q->baton.busy), rc = JOBQ_OK;
    int64_t now_us = jobq__clock_mono_us();
    int64_t end_us = jobq__max(until_us, jobq__add(now_us, least_us));
    memset(&request, 0, sizeof request);
    request.write = jobq__pool_write_back;
    request.atomic = true;
    while (left > 0 && rc == JOBQ_OK) {
        int64_t limit_us = jobq__os_load(&q->turn.taken) ? until_us : end_us;
        request.until_us = until_us;
        rc = jobq__commit_request_within(q, &request, JOBQ__MAX(limit_us - now_us, 0));
        left = jobq__pool_left(q, true);
        now_us = jobq__clock_mono_us();
        if (left > 0 && rc == JOBQ_OK && now_us >= end_us) rc = JOBQ_BUSY;
    }
    return rc;
}

JOBQ__INTERNAL int jobq__pool_give_back(jobq *q, int64_t until_us, int64_t least_us,
                                        jobq_error *err) {
    int rc = jobq__pool_write_left(q, until_us, least_us), left = jobq__pool_left(q, false);
    return left && rc != JOBQ_OK ? jobq__pool_unwritten(q, left, rc, err) : JOBQ_OK;
}

/* How many jobs of the ring have to go back before anybody may claim. */
static int jobq__pool_behind(jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    int count;
    jobq__os_lock(&q->pool.mu);
    count = pool->ring.behind && !pool->life.claiming ? pool->ring.count : 0;
    jobq__os_unlock(&q->pool.mu);
    return count;
}

JOBQ__INTERNAL int jobq__pool_in_order(jobq *q, jobq_error *err) {
    int64_t until_us = jobq__add(jobq__clock_mono_us(), q->baton.busy_us);
    int rc = jobq__pool_write_left(q, until_us, INT64_MAX), count = jobq__pool_behind(q);
    if (!count) return JOBQ_OK;
    jobq__assert(rc != JOBQ_OK);
    if (rc == jobq__os_load(&q->failed)) return jobq__fail_say(q, rc, err);
    if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "nothing was started", err);
    return jobq__err_set(err, rc, "%s: %.200s; others may have to start before the %d jobs that the"
                         " last stop has left claimed, so these go back first; call again",
                         jobq_code_text(rc), q->files.path, count);
}
