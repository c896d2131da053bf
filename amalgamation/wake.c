/* wake.c - who sleeps, on what, and who wakes it. */
#include "wake.h"

/* ---- Workers ---- */

static const unsigned jobq__wake_worker_edges[] = {
    [JOBQ__WORKER_ABSENT] = JOBQ__EDGE(JOBQ__WORKER_AWAKE),
    [JOBQ__WORKER_AWAKE] = JOBQ__EDGE(JOBQ__WORKER_IDLE) | JOBQ__EDGE(JOBQ__WORKER_ENDED)
                         | JOBQ__EDGE(JOBQ__WORKER_ABSENT),
    [JOBQ__WORKER_IDLE] = JOBQ__EDGE(JOBQ__WORKER_WOKEN) | JOBQ__EDGE(JOBQ__WORKER_AWAKE),
    [JOBQ__WORKER_WOKEN] = JOBQ__EDGE(JOBQ__WORKER_AWAKE),
    [JOBQ__WORKER_ENDED] = JOBQ__EDGE(JOBQ__WORKER_ABSENT),
};

JOBQ__INTERNAL void jobq__wake_worker_to(struct jobq__worker *worker, enum jobq__worker_state to) {
    jobq__assert(jobq__os_held(&worker->run.q->pool.mu));
    jobq__assert(JOBQ__LEGAL(jobq__wake_worker_edges, worker->state, to));
    jobq__assert((to == JOBQ__WORKER_IDLE) != jobq__list_empty(&worker->link));
    worker->state = to;
}

/* The last to idle, as it is woken; NULL: none does. */
static struct jobq__worker *jobq__wake_idle(jobq *q) {
    struct jobq__link *link = jobq__list_pop(&q->pool.crew.idle);
    struct jobq__worker *worker = link ? JOBQ__CONTAINER(link, struct jobq__worker, link) : NULL;
    jobq__assert(jobq__os_held(&q->pool.mu));
    if (worker) jobq__wake_worker_to(worker, JOBQ__WORKER_WOKEN);
    return worker;
}

JOBQ__INTERNAL void jobq__wake_worker(struct jobq__worker *worker) {
    jobq__assert(jobq__os_held(&worker->run.q->pool.mu));
    jobq__os_signal(&worker->cond);
}

JOBQ__INTERNAL void jobq__wake_workers(jobq *q, int jobs, struct jobq__wakes *later) {
    struct jobq__worker *worker;
    while (jobs-- > 0 && (worker = jobq__wake_idle(q)) != NULL) {
        /* One that was woken may sleep again by the next of several transactions. */
        if (!later || later->count == JOBQ_WORKERS_MAX) jobq__os_signal(&worker->cond);
        else later->workers[later->count++] = worker;
    }
}

JOBQ__INTERNAL void jobq__wake_claimer(jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    bool left = !pool->ring.count && pool->work.left && pool->life.claiming;
    if (left && !jobq__os_load(&q->baton.busy)) jobq__wake_workers(q, 1, NULL);
}

JOBQ__INTERNAL void jobq__wake_for_baton(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    jobq__os_lock(&pool->mu);
    if (pool->sched.wants_baton) jobq__wake_scheduler_locked(q);
    pool->sched.wants_baton = false;
    /* Nobody asks for the time without need. */
    if (!jobq__list_empty(&pool->crew.idle) && jobq__core_commit_due(q, jobq__clock_mono_us()))
        jobq__wake_workers(q, 1, NULL);
    jobq__wake_quiet(q);
    jobq__os_unlock(&pool->mu);
}

/* ---- Handlers that sleep ---- */

JOBQ__INTERNAL void jobq__wake_run(struct jobq_run *run) {
    jobq__assert(jobq__os_held(&run->q->pool.mu));
    if (!run->sleeping) return;
    run->sleeping = false;
    run->q->pool.crew.sleeping--;
    jobq__os_signal(&run->worker->cond);
}

JOBQ__INTERNAL void jobq__wake_stop(struct jobq_run *run, int32_t why) {
    jobq__assert(jobq__os_held(&run->q->pool.mu));
    jobq__os_or(&run->stop, why);
    jobq__wake_run(run);
}

/* ---- The scheduler ---- */

JOBQ__INTERNAL void jobq__wake_scheduler_locked(jobq *q) {
    struct jobq__sched *sched = &q->pool.sched;
    jobq__assert(jobq__os_held(&q->pool.mu));
    sched->kicked = true;
    jobq__os_signal(sched->tick_on_wall ? &sched->tick_wall : &sched->tick_mono);
}

JOBQ__INTERNAL void jobq__wake_scheduler(jobq *q) {
    jobq__os_lock(&q->pool.mu);
    jobq__wake_scheduler_locked(q);
    jobq__os_unlock(&q->pool.mu);
}

/* ---- Who waits for the pool, or for a job ---- */

JOBQ__INTERNAL void jobq__wake_quiet(jobq *q) {
    jobq__assert(jobq__os_held(&q->pool.mu));
    if (q->pool.rest.watchers) jobq__os_broadcast(&q->pool.rest.quiet);
}

JOBQ__INTERNAL void jobq__wake_await_quiet(jobq *q, int64_t until_us) {
    struct jobq__rest *rest = &q->pool.rest;
    rest->watchers++;
    if (until_us == INT64_MAX) jobq__os_wait(&rest->quiet, &q->pool.mu);
    else jobq__os_wait_until(&rest->quiet, &q->pool.mu, until_us);
    rest->watchers--;
}

JOBQ__INTERNAL void jobq__wake_waiter(jobq *q, struct jobq__waiter *waiter) {
    jobq__assert(jobq__os_held(&q->pool.mu));
    (void)q;
    jobq__os_signal(&waiter->cond);
}

JOBQ__INTERNAL void jobq__wake_waiters(jobq *q) {
    struct jobq__link *link;
    for (link = q->pool.waiters.next; link != &q->pool.waiters; link = link->next)
        jobq__wake_waiter(q, JOBQ__CONTAINER(link, struct jobq__waiter, link));
}

JOBQ__INTERNAL void jobq__wake_told(void *arg, uint64_t told) {
    jobq *q = arg;
    struct jobq__link *link;
    jobq__os_lock(&q->pool.mu);
    for (link = q->pool.waiters.next; link != &q->pool.waiters; link = link->next) {
        struct jobq__waiter *waiter = JOBQ__CONTAINER(link, struct jobq__waiter, link);
        if (!waiter->ended || waiter->done || waiter->serial > told) continue;
        waiter->done = true;
        jobq__wake_waiter(q, waiter);
    }
    jobq__os_unlock(&q->pool.mu);
}

/* ---- Outside all locks ---- */

JOBQ__INTERNAL void jobq__wake_loop(jobq *q) {
    struct jobq__os_call call;
    if (!q->step_mode || !q->options.on_wake) return;
    jobq__os_call_begin(&call, &q->events, "on_wake");
    q->options.on_wake(q->options.ctx);
    jobq__os_call_end(&call);
}

JOBQ__INTERNAL void jobq__wake_perform(jobq *q, const struct jobq__wakes *wakes) {
    int i;
    for (i = 0; i < wakes->count; i++) jobq__os_signal(&wakes->workers[i]->cond);
    if (wakes->scheduler && !q->step_mode) jobq__wake_scheduler(q);
    if (wakes->loop) jobq__wake_loop(q);
}
