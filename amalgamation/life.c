/* life.c - the pool's life: start, stop, and what is left when the grace is over. */
#include "life.h"

/* ---- The phase ---- */

static const unsigned jobq__life_edges[] = {
    [JOBQ__STOPPED] = JOBQ__EDGE(JOBQ__RUNNING),
    [JOBQ__RUNNING] = JOBQ__EDGE(JOBQ__STOPPING),
    [JOBQ__STOPPING] = JOBQ__EDGE(JOBQ__STOPPED),
};

/* The one place where it changes. Whoever starts or joins the threads has it for himself. */
static void jobq__life_go(jobq *q, enum jobq__phase phase) {
    struct jobq__life *life = &q->pool.life;
    jobq__assert(jobq__os_held(&q->pool.mu));
    jobq__assert(JOBQ__LEGAL(jobq__life_edges, life->phase, phase));
    jobq__assert(phase == JOBQ__STOPPING || life->changing);
    life->phase = phase;
}

/* ---- Start ---- */

static int jobq__life_start_threads(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    struct jobq__os_thread what = {jobq__sched_main, q, q->options.stack_bytes, true};
    int i, rc;
    jobq__os_lock(&pool->mu);
    pool->sched.away = true; /* until its on_thread returns */
    jobq__os_unlock(&pool->mu);
    rc = jobq__os_thread_start(&pool->sched.thread, &what);
    if (rc != JOBQ_OK) return rc;
    jobq__os_lock(&pool->mu);
    pool->sched.started = true;
    jobq__os_unlock(&pool->mu);
    for (i = 0; i < pool->crew.count && rc == JOBQ_OK; i++) {
        struct jobq__worker *worker = &pool->crew.workers[i];
        what = (struct jobq__os_thread){jobq__pool_work, worker, what.stack_bytes, false};
        /* Before it is there, for it may end before we come to say so. */
        jobq__os_lock(&pool->mu);
        jobq__wake_worker_to(worker, JOBQ__WORKER_AWAKE);
        jobq__os_unlock(&pool->mu);
        /* Only who starts or joins touches the handle. */
        rc = jobq__os_thread_start(&worker->joins, &what);
        if (rc == JOBQ_OK) continue;
        jobq__os_lock(&pool->mu);
        jobq__wake_worker_to(worker, JOBQ__WORKER_ABSENT);
        jobq__os_unlock(&pool->mu);
    }
    return rc;
}

static int jobq__life_still_stops(jobq *q, jobq_error *err) {
    char culprit[JOBQ__CULPRIT] = "what has run is not written";
    jobq__os_lock(&q->pool.mu);
    jobq__core_culprit(q, culprit, sizeof culprit);
    jobq__os_unlock(&q->pool.mu);
    return jobq__err_set(err, JOBQ_BUSY, "the last stop has not come to its end yet: %s; call"
                         " jobq_stop again before jobq_start", culprit);
}

JOBQ__INTERNAL int jobq__life_start(jobq *q, jobq_error *err) {
    struct jobq__pool *pool = &q->pool;
    enum jobq__phase life;
    bool behind;
    int rc;
    jobq__os_lock(&pool->mu);
    /* A stop may have to tell its last events yet. */
    while (pool->life.phase == JOBQ__STOPPED && pool->life.changing)
        jobq__wake_await_quiet(q, INT64_MAX);
    life = pool->life.phase;
    behind = life == JOBQ__STOPPED && pool->ring.behind;
    if (life == JOBQ__STOPPED && !behind) {
        pool->life.claiming = pool->work.left = pool->life.changing = true;
        pool->life.epoch++;
        jobq__life_go(q, JOBQ__RUNNING);
        pool->sched.quit = false;
    }
    jobq__os_unlock(&pool->mu);
    if (behind) {
        rc = jobq__pool_in_order(q, err);
        return rc == JOBQ_OK ? jobq__life_start(q, err) : rc;
    }
    if (life == JOBQ__RUNNING) {
        jobq__owner_stay(&q->owner);
        return JOBQ_OK;
    }
    /* A close that came after this call did may be what stops it. */
    if (life == JOBQ__STOPPING && jobq__os_load(&q->closing))
        return jobq__err_set(err, JOBQ_CLOSED, NULL);
    if (life == JOBQ__STOPPING) {
        /* The handlers that outlived the grace may have returned since; outcomes that the stop
         * could not write are the new pool's to write. */
        jobq__life_stop(q, 0, 0, NULL);
        jobq__os_lock(&pool->mu);
        life = pool->life.phase;
        jobq__os_unlock(&pool->mu);
        if (life != JOBQ__STOPPING) return jobq__life_start(q, err);
        return jobq__life_still_stops(q, err);
    }
    jobq__owner_stay(&q->owner);
    rc = jobq__life_start_threads(q);
    jobq__os_lock(&pool->mu);
    pool->life.changing = false;
    jobq__wake_quiet(q);
    jobq__os_unlock(&pool->mu);
    if (rc != JOBQ_OK) {
        jobq__life_stop(q, INT64_MAX, q->baton.busy_us, NULL);
        if (rc == JOBQ_IO)
            return jobq__err_set(err, rc, "the system refuses threads with a stack of %lld bytes"
                                 " or more; give another .stack_bytes, or none",
                                 (long long)q->options.stack_bytes);
        return jobq__err_set(err, rc, "a thread could not be started: the system has no room"
                             " for %d workers and a scheduler (ulimit -u, memory; fewer .workers or"
                             " smaller .stack_bytes)", pool->crew.count);
    }
    jobq__wake_scheduler(q);
    return JOBQ_OK;
}

/* ---- Stop ---- */

/* When nobody runs handlers any more. The last commit may just be under way. */
static int jobq__life_write_last(jobq *q, int64_t until_us, int64_t write_us, jobq_error *err) {
    int64_t most_us = jobq__add(jobq__clock_mono_us(), write_us);
    return jobq__pool_give_back(q, JOBQ__MIN(until_us, most_us), JOBQ__END_US, err);
}

/* True while this stop has something to wait for: another may have finished it, and the pool may
 * even have been started again. With pool.mu held. */
static bool jobq__life_stopping(const jobq *q, int64_t epoch) {
    return q->pool.life.epoch == epoch && q->pool.life.phase == JOBQ__STOPPING;
}

/* Waits for the workers to end; false if the time is over. The grace is the handlers': a worker
 * that runs none is only about to commit, to tell of it and to end. With pool.mu held. */
static bool jobq__life_await_workers(jobq *q, int64_t until_us, int64_t epoch) {
    struct jobq__pool *pool = &q->pool;
    while (jobq__life_stopping(q, epoch)) {
        int i, workers = 0, handlers = 0;
        int64_t limit_us;
        for (i = 0; i < pool->crew.count; i++) {
            struct jobq__worker *worker = &pool->crew.workers[i];
            if (worker->state == JOBQ__WORKER_ABSENT || worker->state == JOBQ__WORKER_ENDED)
                continue;
            workers++;
            if (jobq__os_load(&worker->run.handling)) handlers++;
        }
        if (!workers) break;
        limit_us = handlers ? until_us : jobq__add(until_us, JOBQ__END_US);
        if (jobq__clock_mono_us() >= limit_us) return false;
        jobq__wake_await_quiet(q, limit_us);
    }
    return true;
}

static int jobq__life_join(jobq *q, int64_t until_us, int64_t write_us, jobq_error *err) {
    struct jobq__pool *pool = &q->pool;
    int i, rc;
    for (i = 0; i < pool->crew.count; i++)
        if (pool->crew.workers[i].state == JOBQ__WORKER_ENDED)
            jobq__os_thread_join(pool->crew.workers[i].joins);
    rc = jobq__life_write_last(q, until_us, write_us, err);
    jobq__os_lock(&pool->mu);
    for (i = 0; i < pool->crew.count; i++)
        if (pool->crew.workers[i].state == JOBQ__WORKER_ENDED)
            jobq__wake_worker_to(&pool->crew.workers[i], JOBQ__WORKER_ABSENT);
    pool->sched.quit = true;
    jobq__os_unlock(&pool->mu);
    jobq__wake_scheduler(q);
    if (pool->sched.started) jobq__os_thread_join(pool->sched.thread);
    jobq__os_lock(&pool->mu);
    pool->sched.started = false;
    jobq__life_go(q, JOBQ__STOPPED);
    /* Who waits for a job has to ask now whether anybody is left who could end that. */
    jobq__wake_waiters(q);
    jobq__os_unlock(&pool->mu);
    jobq__event_deliver(&q->events, true);
    return rc;
}

JOBQ__INTERNAL void jobq__life_raise_flags(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int i;
    pool->life.claiming = false;
    pool->step.halted = pool->step.active;
    if (pool->life.phase == JOBQ__RUNNING) jobq__life_go(q, JOBQ__STOPPING);
    for (i = 0; i < pool->crew.count; i++) {
        struct jobq__worker *worker = &pool->crew.workers[i];
        if (worker->run.entry) jobq__wake_stop(&worker->run, JOBQ__STOP_SHUTDOWN);
        jobq__wake_worker(worker);
    }
}

/* Its time is over: handlers are left behind, uncharged. */
static int jobq__life_late(jobq *q, jobq_error *err) {
    char culprit[JOBQ__CULPRIT] = "a callback (on_event, on_thread) still runs";
    bool handler;
    jobq__owner_release_all(&q->owner);
    jobq__os_lock(&q->pool.mu);
    handler = jobq__core_culprit(q, culprit, sizeof culprit);
    jobq__os_unlock(&q->pool.mu);
    if (!handler)
        return jobq__err_set(err, JOBQ_TIMEOUT, "%s; what is returned is settled", culprit);
    return jobq__err_set(err, JOBQ_TIMEOUT, "%s; what is returned is settled. A handler that takes"
                         " long has to look at jobq_should_stop", culprit);
}

/* Step mode: whoever steps gives back what it has claimed and leaves. */
static int jobq__life_halt(jobq *q, int64_t until_us, jobq_error *err) {
    struct jobq__pool *pool = &q->pool;
    bool ended;
    jobq__os_lock(&pool->mu);
    jobq__life_raise_flags(q);
    while (pool->step.halted && pool->step.active && jobq__clock_mono_us() < until_us)
        jobq__wake_await_quiet(q, until_us);
    ended = !pool->step.halted || !pool->step.active;
    jobq__os_unlock(&pool->mu);
    return ended ? JOBQ_OK : jobq__life_late(q, err);
}

/* Another thread's stop has the joining and the last outcomes to do: that is waited for as handlers
 * are, but longer only if nobody else keeps the file from it. False if the time is over. With
 * pool.mu held. */
static bool jobq__life_await_other(jobq *q, int64_t until_us, int64_t epoch) {
    struct jobq__pool *pool = &q->pool;
    while (pool->life.changing && jobq__life_stopping(q, epoch)) {
        int64_t now_us = jobq__clock_mono_us();
        int64_t more_us = jobq__os_load(&q->turn.taken) ? 0 : JOBQ__END_US;
        if (now_us >= jobq__add(until_us, more_us)) return false;
        jobq__wake_await_quiet(q, now_us + JOBQ__TURN_PAUSE_MAX_US);
    }
    return true;
}

JOBQ__INTERNAL int jobq__life_stop(jobq *q, int64_t grace_us, int64_t write_us,
                                   jobq_error *err) {
    struct jobq__pool *pool = &q->pool;
    int64_t now_us = jobq__clock_mono_us(), until_us = jobq__add(now_us, grace_us), epoch;
    bool ended = false, mine = false;
    int rc;
    jobq__os_lock(&pool->mu);
    /* Another thread may be starting or stopping: it goes first. */
    while (pool->life.changing && pool->life.phase != JOBQ__STOPPED) {
        if (pool->life.phase == JOBQ__STOPPING) break;
        jobq__wake_await_quiet(q, INT64_MAX);
    }
    if (pool->life.phase == JOBQ__STOPPED) {
        jobq__os_unlock(&pool->mu);
        rc = q->step_mode ? jobq__life_halt(q, until_us, err) : JOBQ_OK;
        return rc == JOBQ_OK ? jobq__life_write_last(q, until_us, write_us, err) : rc;
    }
    jobq__life_raise_flags(q);
    epoch = pool->life.epoch;
    jobq__os_unlock(&pool->mu);
    /* Even without a grace: a commit of our own that is under way ends soon. Another connection
     * that has the file is waited for when the last handler has returned. */
    jobq__pool_give_back(q, now_us, jobq__baton_by_job(q) ? 0 : JOBQ__END_US, NULL);
    jobq__os_lock(&pool->mu);
    /* One of those who wait joins the threads, when nobody starts them any more: a close may have
     * come in between. */
    ended = jobq__life_await_workers(q, until_us, epoch);
    while (ended && pool->life.changing && jobq__life_stopping(q, epoch))
        ended = jobq__life_await_other(q, until_us, epoch)
             && jobq__life_await_workers(q, until_us, epoch);
    if (ended && jobq__life_stopping(q, epoch)) mine = pool->life.changing = true;
    jobq__os_unlock(&pool->mu);
    if (!ended) return jobq__life_late(q, err);
    if (!mine) return jobq__life_write_last(q, until_us, write_us, err);
    rc = jobq__life_join(q, until_us, write_us, err);
    jobq__os_lock(&pool->mu);
    pool->life.changing = false;
    jobq__wake_quiet(q);
    jobq__os_unlock(&pool->mu);
    return rc;
}
