/* scheduler.c - the scheduler thread, the wheel's actions, step and advance. */
#include "scheduler.h"
#include "door.h"

/* Never does not come, even at the end of time. */
static bool jobq__sched_due(int64_t at_ms, int64_t now_ms) {
    return at_ms <= now_ms && at_ms != JOBQ_NEVER;
}

/* ---- Wakes ---- */

/* Fires what is due; true if a scheduled job is. With pool.mu held. */
static bool jobq__sched_fire(jobq *q, struct jobq__now now) {
    struct jobq__timers *timers = &q->pool.timers;
    bool promote = !timers->due_fired
                && (jobq__sched_due(timers->due.at_ms[JOBQ__DUE_BY_WALL], now.wall_ms)
                    || jobq__sched_due(timers->due.at_ms[JOBQ__DUE_BY_OWN], now.own_ms));
    struct jobq__timer *timer;
    jobq__assert(jobq__os_held(&q->pool.mu));
    if (promote) {
        timers->due_fired = q->pool.work.left = true;
        timers->fired++;
    }
    while ((timer = jobq__wheel_expire(&timers->wheel, now.mono_ms)) != NULL) {
        struct jobq__alarm *alarm = JOBQ__CONTAINER(timer, struct jobq__alarm, timer);
        struct jobq__waiter *waiter;
        timers->fired++;
        switch (alarm->what) {
        case JOBQ__WAKE_DEADLINE:
            jobq__wake_stop(JOBQ__CONTAINER(alarm, struct jobq_run, deadline), JOBQ__STOP_ASKED);
            break;
        case JOBQ__WAKE_SLEEP:
            jobq__wake_run(JOBQ__CONTAINER(alarm, struct jobq_run, sleep));
            break;
        case JOBQ__WAKE_WAITER:
            waiter = JOBQ__CONTAINER(alarm, struct jobq__waiter, alarm);
            waiter->late = true;
            jobq__wake_waiter(q, waiter);
            break;
        }
    }
    return promote && q->pool.life.claiming;
}

JOBQ__INTERNAL bool jobq__sched_awaits_jobs(const jobq *q) {
    const struct jobq__timers *timers = &q->pool.timers;
    return !timers->due_fired && (timers->due.at_ms[JOBQ__DUE_BY_WALL] != JOBQ_NEVER
                                  || timers->due.at_ms[JOBQ__DUE_BY_OWN] != JOBQ_NEVER);
}

/* When the next wake is, by the monotonic reading. With pool.mu held. */
static int64_t jobq__sched_next_wake(const jobq *q, struct jobq__now now) {
    const struct jobq__timers *timers = &q->pool.timers;
    const int64_t *at_ms = timers->due.at_ms;
    int64_t next_ms = jobq__wheel_next(&timers->wheel);
    jobq__assert(jobq__os_held(&q->pool.mu));
    if (timers->due_fired) return next_ms;
    next_ms = jobq__min(next_ms, jobq__clock_on_mono(now, at_ms[JOBQ__DUE_BY_WALL]));
    return jobq__min(next_ms, jobq__own_on_mono(now, at_ms[JOBQ__DUE_BY_OWN]));
}

JOBQ__INTERNAL int64_t jobq__sched_next(const jobq *q, struct jobq__now now) {
    return jobq__clock_on_wall(now, jobq__sched_next_wake(q, now));
}

/* ---- Housekeeping ---- */

struct jobq__sched_prune {
    int count;
    bool more;
    int64_t next_ms;
    int64_t shrink_ms;
};

static int jobq__sched_write_prune(struct jobq__tx *tx, struct jobq__request *r) {
    jobq *q = tx->q;
    struct jobq__sched_prune *prune = r->arg;
    int most = jobq__disk_batch(q, JOBQ__PRUNE_ROWS);
    int rc = jobq__door_prune(tx, most, &prune->count);
    prune->more = prune->count >= most;
    if (rc == JOBQ_OK) rc = jobq__store_prune_next(tx->db, &prune->next_ms);
    return rc == JOBQ_OK ? jobq__disk_shrink(tx, tx->now_ms, &prune->shrink_ms) : rc;
}

/* For what nobody else's commit takes along: a busy queue on a slow disk must not keep us out for
 * ever. But rather later than a deadline that passes while a job's transaction has the baton. */
static int64_t jobq__sched_patience_us(jobq *q) {
    int64_t wait_us;
    jobq__os_lock(&q->pool.mu);
    wait_us = JOBQ__MIN(JOBQ__PRUNE_COMMITS * q->pool.rates.commit_us, JOBQ__PRUNE_WAIT_US);
    jobq__os_unlock(&q->pool.mu);
    if (jobq__baton_by_job(q)) wait_us = 0;
    return JOBQ__MAX(wait_us, JOBQ__SCHED_HOLD_US);
}

static void jobq__sched_prune(jobq *q, int64_t now_ms) {
    struct jobq__sched_prune prune = {0, false, JOBQ_NEVER, JOBQ_NEVER};
    struct jobq__request request;
    int64_t next_ms;
    memset(&request, 0, sizeof request);
    request.write = jobq__sched_write_prune;
    request.arg = &prune;
    request.atomic = request.once = true;
    /* Whoever finishes a job meanwhile may set an earlier time again. */
    jobq__os_lock(&q->pool.mu);
    q->pool.timers.prune_at_ms = JOBQ_NEVER;
    jobq__os_unlock(&q->pool.mu);
    next_ms = jobq__add(now_ms, JOBQ__PRUNE_PAUSE_MS);
    if (jobq__commit_request_within(q, &request, jobq__sched_patience_us(q)) == JOBQ_OK) {
        next_ms = prune.more ? now_ms
                : prune.next_ms == JOBQ_NEVER ? JOBQ_NEVER : JOBQ__MAX(prune.next_ms, next_ms);
        next_ms = JOBQ__MIN(next_ms, prune.shrink_ms);
    }
    jobq__os_lock(&q->pool.mu);
    q->pool.timers.prune_at_ms = JOBQ__MIN(q->pool.timers.prune_at_ms, next_ms);
    jobq__os_unlock(&q->pool.mu);
}

/* The scheduler must not wait for a job's transaction: deadlines would pass meanwhile. Whoever lays
 * the baton down tells it. */
static bool jobq__sched_hold(jobq *q, int64_t wait_us) {
    if (jobq__baton_hold_within(q, wait_us) == JOBQ_OK) return true;
    jobq__os_lock(&q->pool.mu);
    q->pool.sched.wants_baton = true;
    jobq__os_unlock(&q->pool.mu);
    /* It may have been laid down just before. */
    return jobq__baton_try(q);
}

/* Has somebody else written? That is asked by reading: a transaction follows only what was found.
 * On the writer, to which its own commits are nothing new. Under an artificial clock a step asks
 * each time, for only real time could tell when. Where the files are is asked as well: an owner
 * without work has no other moment for that. */
static void jobq__sched_poll(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int64_t now_us, version;
    bool due, changed = false;
    if (q->options.poll_ms == JOBQ_NONE) return;
    now_us = jobq__clock_mono_us();
    jobq__os_lock(&pool->mu);
    due = pool->timers.poll_at_us <= now_us || (q->step_mode && q->clock);
    jobq__os_unlock(&pool->mu);
    if (!due || !jobq__sched_hold(q, jobq__sched_patience_us(q))) return;
    /* Not before the files were looked at: shared memory that was cut short is touched once. */
    if (jobq__commit_look(q, jobq__clock_mono_us()) == JOBQ_OK) {
        changed = jobq__store_version(&q->writer, &version) != JOBQ_OK || version != q->seen;
        q->seen = version;
    }
    jobq__baton_release(q);
    jobq__os_lock(&pool->mu);
    pool->timers.poll_at_us = jobq__add(now_us, JOBQ__MIN(q->options.poll_ms, JOBQ_DAY) * 1000);
    if (changed) pool->work.foreign = pool->work.left = true;
    jobq__os_unlock(&pool->mu);
}

/* Prunes finished jobs, gives free pages back and looks for others' jobs, if it is time: all that
 * there is, or one slice, so that who has other things to do does them in between. */
static void jobq__sched_housekeeping(jobq *q, bool all) {
    struct jobq__pool *pool = &q->pool;
    bool prune;
    if (jobq__os_load(&q->failed)) return;
    do {
        int64_t now_ms, at_ms;
        jobq__os_lock(&pool->mu);
        at_ms = pool->timers.prune_at_ms;
        jobq__os_unlock(&pool->mu);
        if (at_ms == JOBQ_NEVER) break; /* nobody asks for the time */
        now_ms = jobq__clock_now_ms(q->clock);
        prune = jobq__sched_due(at_ms, now_ms);
        if (prune) jobq__sched_prune(q, now_ms);
    } while (prune && all && !jobq__os_load(&q->closing));
    jobq__sched_poll(q);
}

static void jobq__sched_commit(jobq *q) {
    if (jobq__sched_hold(q, JOBQ__SCHED_HOLD_US)) jobq__commit_lead(q);
}

static void jobq__sched_checkpoint(jobq *q) {
    if (!jobq__sched_hold(q, JOBQ__SCHED_HOLD_US)) return;
    jobq__log_checkpoint(q);
    jobq__baton_release(q);
}

/* ---- The thread ---- */

/* Tells what there is to tell. The callback may take its time, and each worker begin a long job
 * meanwhile: what is handed in by now is committed before, and what comes later by who brings
 * it. */
static bool jobq__sched_tell(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    bool commit;
    if (!jobq__event_waiting(&q->events)) return false;
    jobq__os_lock(&pool->mu);
    pool->sched.away = true;
    commit = jobq__core_commit_due(q, jobq__clock_mono_us());
    jobq__os_unlock(&pool->mu);
    if (commit) jobq__sched_commit(q);
    jobq__event_deliver(&q->events, false);
    jobq__os_lock(&pool->mu);
    pool->sched.away = false;
    jobq__os_unlock(&pool->mu);
    return true;
}

/* Does one round of work; false if there was none. With pool.mu held, before and after. */
static bool jobq__sched_round(jobq *q, int64_t now_us) {
    struct jobq__pool *pool = &q->pool;
    struct jobq__now now = jobq__core_now(q);
    bool failed = jobq__os_load(&q->failed) != JOBQ_OK, owed = pool->sched.wants_baton;
    bool promote = jobq__sched_fire(q, now);
    bool early = now_us < pool->work.retry_at_us; /* nobody could write a moment ago */
    bool commit = !owed && !early && (promote || pool->work.foreign);
    bool overdue = !owed && jobq__core_commit_due(q, now_us)
                && (now_us - pool->outcomes.since_us >= JOBQ__DEFER_US || !pool->outcomes.count);
    bool house = !owed && (jobq__sched_due(pool->timers.prune_at_ms, now.wall_ms)
                           || pool->timers.poll_at_us <= now_us);
    bool checkpoint = !owed && !early && pool->work.checkpoint;
    bool events;
    jobq__os_unlock(&pool->mu);
    if (!failed && house) jobq__sched_housekeeping(q, false);
    if (!failed && (commit || overdue)) jobq__sched_commit(q);
    if (!failed && checkpoint) jobq__sched_checkpoint(q);
    events = jobq__sched_tell(q);
    jobq__os_lock(&pool->mu);
    return (!failed && (commit || overdue || house || checkpoint)) || events;
}

/* A thread waits by one clock only, here the monotonic: it looks often enough to see a step of the
 * other, and after a time asleep how much has passed. */
static int64_t jobq__sched_left_us(jobq *q, int64_t at_ms, int64_t own_at_ms, int64_t until_us) {
    struct jobq__now now = jobq__core_now(q);
    int64_t left_ms = until_us == INT64_MAX ? JOBQ__RESUME_SEEN_MS : JOBQ__STEP_SEEN_MS;
    left_ms = jobq__min(left_ms, jobq__sub(at_ms, now.wall_ms));
    left_ms = jobq__min(left_ms, jobq__sub(own_at_ms, now.own_ms));
    return JOBQ__MAX(left_ms, 0) * 1000;
}

/* When to look again, by which clock. now_us is what the round went by: what it found too early is
 * still to come then, even if its time has passed meanwhile. Deadlines, sleeps and waits by the
 * system's clock are no concern of ours: each is waited for by the thread that has it. */
static int64_t jobq__sched_until(jobq *q, int64_t now_us, bool *wall) {
    const struct jobq__pool *pool = &q->pool;
    const struct jobq__work *work = &pool->work;
    const struct jobq__timers *timers = &pool->timers;
    int64_t until_us = timers->poll_at_us, at_ms, own_at_ms;
    bool writes = !pool->sched.wants_baton && !jobq__os_load(&q->failed);
    *wall = false;
    if (!writes) until_us = INT64_MAX;
    if (writes && pool->sched.armed) until_us = JOBQ__MIN(until_us, now_us + JOBQ__DEFER_US);
    if (writes && work->retry_at_us > now_us
        && (pool->outcomes.count || work->left || work->foreign || work->checkpoint))
        until_us = JOBQ__MIN(until_us, work->retry_at_us);
    /* An artificial clock comes to us: advance and set kick. */
    if (q->clock || !writes) return until_us;
    at_ms = timers->due_fired ? JOBQ_NEVER : timers->due.at_ms[JOBQ__DUE_BY_WALL];
    at_ms = JOBQ__MIN(at_ms, timers->prune_at_ms);
    own_at_ms = timers->due_fired ? JOBQ_NEVER : timers->due.at_ms[JOBQ__DUE_BY_OWN];
    if (at_ms == JOBQ_NEVER && own_at_ms == JOBQ_NEVER) return until_us;
    *wall = until_us == INT64_MAX && own_at_ms == JOBQ_NEVER;
    if (*wall) return jobq__min(jobq__to_us(at_ms), INT64_MAX - 1);
    return jobq__min(until_us, now_us + jobq__sched_left_us(q, at_ms, own_at_ms, until_us));
}

static void jobq__sched_sleep(jobq *q, int64_t now_us, int64_t commits) {
    struct jobq__pool *pool = &q->pool;
    struct jobq__sched *sched = &pool->sched;
    bool wall;
    int64_t until_us;
    /* Armed as long as outcomes come in: a busy pool need not signal for each batch. */
    sched->armed = pool->outcomes.count > 0 || pool->stats.commits != commits;
    until_us = jobq__sched_until(q, now_us, &wall);
    sched->tick_on_wall = wall;
    sched->waits = true;
    jobq__wake_quiet(q);
    if (until_us == INT64_MAX) jobq__os_wait(&sched->tick_mono, &pool->mu);
    else jobq__os_wait_until(wall ? &sched->tick_wall : &sched->tick_mono, &pool->mu, until_us);
    sched->tick_on_wall = false;
    sched->waits = false;
}

JOBQ__INTERNAL void jobq__sched_main(void *arg) {
    jobq *q = arg;
    struct jobq__pool *pool = &q->pool;
    int64_t now_us, commits = 0;
    jobq__core_tell_thread(q, JOBQ_THREAD_SCHEDULER, 0, true);
    jobq__os_lock(&pool->mu);
    pool->sched.away = false;
    if (q->options.poll_ms != JOBQ_NONE) pool->timers.poll_at_us = 0;
    while (!pool->sched.quit) {
        pool->sched.kicked = false;
        now_us = jobq__clock_mono_us();
        if (jobq__sched_round(q, now_us) || pool->sched.kicked || pool->sched.quit)
            continue;
        jobq__sched_sleep(q, now_us, commits);
        commits = pool->stats.commits;
    }
    jobq__os_unlock(&pool->mu);
    jobq__core_tell_thread(q, JOBQ_THREAD_SCHEDULER, 0, false);
}

/* ---- Step mode ---- */

static int jobq__sched_enter(jobq *q, jobq_error *err) {
    struct jobq__pool *pool = &q->pool;
    bool busy;
    jobq__os_lock(&pool->mu);
    busy = pool->step.active;
    if (!busy) {
        pool->step.active = true;
        pool->step.halted = jobq__os_load(&q->closing) != 0;
        pool->crew.workers[0].thread = jobq__os_thread_self();
        pool->crew.workers[0].free_us = 0;
    }
    jobq__os_unlock(&pool->mu);
    if (!busy) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_BUSY, "another thread steps this queue; one does at a time: call"
                         " again when it has returned");
}

/* From now on transactions claim, unless this is halted. */
static int jobq__sched_claim(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int rc = JOBQ_OK;
    jobq__os_lock(&pool->mu);
    while (pool->ring.behind && rc == JOBQ_OK) {
        jobq__os_unlock(&pool->mu);
        rc = jobq__pool_in_order(q, NULL);
        jobq__os_lock(&pool->mu);
    }
    if (rc == JOBQ_OK) pool->life.claiming = !pool->step.halted;
    jobq__os_unlock(&pool->mu);
    return rc;
}

static void jobq__sched_claim_no_more(jobq *q) {
    jobq__os_lock(&q->pool.mu);
    q->pool.life.claiming = false;
    jobq__os_unlock(&q->pool.mu);
}

static bool jobq__sched_halted(jobq *q) {
    bool halted;
    jobq__os_lock(&q->pool.mu);
    halted = q->pool.step.halted;
    jobq__os_unlock(&q->pool.mu);
    return halted;
}

static void jobq__sched_leave(jobq *q, bool all) {
    struct jobq__pool *pool = &q->pool;
    jobq__os_lock(&pool->mu);
    if (pool->step.halted) {
        int64_t until_us = jobq__add(jobq__clock_mono_us(), q->baton.busy_us);
        jobq__os_unlock(&pool->mu);
        jobq__pool_give_back(q, until_us, INT64_MAX, NULL);
        jobq__os_lock(&pool->mu);
    }
    pool->step.active = pool->life.claiming = false;
    jobq__wake_quiet(q);
    jobq__os_unlock(&pool->mu);
    jobq__event_deliver(&q->events, true);
    jobq__sched_housekeeping(q, all);
}

/* claiming: the next commit may claim more. */
static bool jobq__sched_run_one(jobq *q, bool claiming) {
    bool ran;
    jobq__os_lock(&q->pool.mu);
    q->pool.life.claiming = claiming && !q->pool.step.halted;
    ran = !q->pool.step.halted && jobq__pool_run_one(&q->pool.crew.workers[0]);
    jobq__os_unlock(&q->pool.mu);
    return ran;
}

/* Nothing ran: true if another commit may find something, in lanes that the last one could not look
 * at yet. */
static bool jobq__sched_again(jobq *q, int *rc) {
    bool again;
    jobq__os_lock(&q->pool.mu);
    again = q->pool.work.left && q->pool.life.claiming && !q->pool.step.halted;
    if (q->pool.work.starved) *rc = JOBQ_NO_MEMORY;
    jobq__os_unlock(&q->pool.mu);
    return again && *rc == JOBQ_OK;
}

/* One job; its outcome is durable when this returns. The pool claims when this is called. */
static int jobq__sched_one(jobq *q, int64_t *ran) {
    int rc;
    bool none;
    do {
        rc = jobq__commit_now(q);
        jobq__os_lock(&q->pool.mu);
        none = rc == JOBQ_OK && !q->pool.ring.count;
        jobq__os_unlock(&q->pool.mu);
    } while (none && jobq__sched_again(q, &rc));
    if (rc != JOBQ_OK || !jobq__sched_run_one(q, false)) return rc;
    ++*ran;
    return jobq__commit_now(q);
}

/* True if there is a job to run, and no time left for it. */
static bool jobq__sched_overtime(jobq *q, int64_t until_us) {
    bool waits;
    if (until_us == INT64_MAX || jobq__clock_mono_us() < until_us) return false;
    jobq__os_lock(&q->pool.mu);
    waits = q->pool.ring.count > 0;
    jobq__os_unlock(&q->pool.mu);
    return waits;
}

/* All jobs: each commit settles one and claims the next. One that is always due again would keep
 * us for ever: real time decides whether to give up, and nothing else. The pool claims when this is
 * called. */
static int jobq__sched_all(jobq *q, int64_t until_us, int64_t *ran) {
    int rc;
    while ((rc = jobq__commit_now(q)) == JOBQ_OK) {
        jobq__event_deliver(&q->events, true);
        if (*ran > 0 && jobq__sched_overtime(q, until_us)) {
            rc = JOBQ_STALLED;
            break;
        }
        if (jobq__sched_run_one(q, true)) ++*ran;
        else if (!jobq__sched_again(q, &rc)) break;
    }
    jobq__sched_claim_no_more(q);
    return rc;
}

static int jobq__sched_stalled(jobq *q, jobq_error *err) {
    char culprit[JOBQ__CULPRIT] = "a job is always due again";
    bool halted;
    jobq__os_lock(&q->pool.mu);
    jobq__core_culprit(q, culprit, sizeof culprit);
    halted = q->pool.step.halted;
    jobq__os_unlock(&q->pool.mu);
    if (halted)
        return jobq__err_set(err, JOBQ_STALLED, "jobq_stop has ended this call before the queue"
                             " came to rest; the next one goes on");
    return jobq__err_set(err, JOBQ_STALLED, "the queue did not come to rest within the %lld ms of"
                         " stall_ms: %s", (long long)q->options.stall_ms, culprit);
}

/* Another connection has the file: a loop that asks when to step again is to leave it some time. */
static void jobq__sched_put_off(jobq *q) {
    jobq__os_lock(&q->pool.mu);
    q->pool.work.retry_at_us = jobq__clock_mono_us() + JOBQ__TURN_PAUSE_MAX_US;
    jobq__os_unlock(&q->pool.mu);
}

/* Says so at once where housekeeping, or the pool meanwhile, has stopped the queue for good. */
static int jobq__sched_fail_if_stopped(jobq *q, jobq_error *err, int rc) {
    int failed = jobq__os_load(&q->failed);
    if (!failed || (rc != JOBQ_OK && rc != JOBQ_NOT_FOUND)) return rc;
    return jobq__fail_say(q, failed, err);
}

static int jobq__sched_fail(jobq *q, jobq_error *err, int rc) {
    static const char kept[] = "outcomes are kept and written by the next step";
    if (rc == JOBQ_BUSY) jobq__sched_put_off(q);
    if (jobq__os_load(&q->failed) == rc) return rc ? jobq__fail_say(q, rc, err) : rc;
    if (rc == JOBQ_CLOSED) return jobq__err_set(err, rc, NULL);
    if (rc == JOBQ_STALLED) return jobq__sched_stalled(q, err);
    if (rc == JOBQ_BUSY) return jobq__turn_busy(q, kept, err);
    if (rc != JOBQ_OK)
        jobq__err_set(err, rc, "%s: %.200s; %s", jobq_code_text(rc), q->files.path, kept);
    return rc;
}

JOBQ__INTERNAL int jobq__sched_step(jobq *q, bool all, int64_t *ran, jobq_error *err) {
    int rc = jobq__sched_enter(q, err);
    struct jobq__now now;
    *ran = 0;
    if (rc != JOBQ_OK) return rc;
    jobq__sched_housekeeping(q, all);
    now = jobq__core_now(q);
    jobq__os_lock(&q->pool.mu);
    jobq__sched_fire(q, now);
    jobq__os_unlock(&q->pool.mu);
    rc = jobq__sched_claim(q);
    if (rc == JOBQ_OK) rc = all ? jobq__sched_all(q, INT64_MAX, ran) : jobq__sched_one(q, ran);
    jobq__sched_leave(q, all);
    return jobq__sched_fail_if_stopped(q, err, jobq__sched_fail(q, err, rc));
}

/* ---- Advance ---- */

/* True if the next wake is the deadline of a handler that runs. With pool.mu held. */
static bool jobq__sched_deadline_next(jobq *q, int64_t target_ms) {
    const struct jobq__pool *pool = &q->pool;
    int64_t next_ms = jobq__sched_next_wake(q, jobq__core_now(q));
    int i;
    for (i = 0; i < pool->crew.count && next_ms <= target_ms; i++) {
        const struct jobq_run *run = &pool->crew.workers[i].run;
        if (jobq__timer_pending(&run->deadline.timer) && run->deadline.timer.at_ms == next_ms)
            return true;
    }
    return false;
}

static bool jobq__sched_at_rest(jobq *q) {
    struct jobq__now now = jobq__core_now(q);
    if (!jobq__pool_at_rest(q)) return false;
    /* Nobody is there to see to these unless the pool runs. */
    return !q->pool.sched.started
        || (!jobq__sched_due(jobq__sched_next_wake(q, now), now.mono_ms)
            && !jobq__sched_due(q->pool.timers.prune_at_ms, now.wall_ms));
}

static int64_t jobq__sched_stalls_us(const jobq *q) {
    return jobq__add(jobq__clock_mono_us(), jobq__to_us(q->options.stall_ms));
}

/* Waits until ring, handlers and outcomes are empty. A handler that waits for its own deadline
 * would never let it: when nothing has moved for a while, that deadline is fired all the same. */
static int jobq__sched_await_rest(jobq *q, int64_t target_ms) {
    struct jobq__pool *pool = &q->pool;
    int64_t now_us = jobq__clock_mono_us(), moved_us = now_us, started = -1;
    int64_t until_us = jobq__sched_stalls_us(q);
    int rc = JOBQ_OK;
    jobq__os_lock(&pool->mu);
    while (!jobq__sched_at_rest(q)) {
        rc = jobq__os_load(&q->closing) ? JOBQ_CLOSED : jobq__os_load(&q->failed);
        if (rc != JOBQ_OK) break;
        now_us = jobq__clock_mono_us();
        if (pool->stats.started != started) moved_us = now_us;
        started = pool->stats.started;
        if (jobq__sched_deadline_next(q, target_ms) && now_us - moved_us >= JOBQ__PATIENCE_US)
            break;
        if (now_us >= until_us) {
            rc = JOBQ_STALLED;
            break;
        }
        jobq__wake_await_quiet(q, JOBQ__MIN(until_us, now_us + JOBQ__PATIENCE_US));
    }
    jobq__os_unlock(&pool->mu);
    return rc;
}

/* Lets everything happen that is due now: on this thread in step mode, else by the pool. */
static int jobq__sched_settle(jobq *q, int64_t target_ms) {
    int64_t ran = 0;
    if (q->step_mode) {
        int rc = jobq__sched_claim(q);
        if (rc == JOBQ_OK) rc = jobq__sched_all(q, jobq__sched_stalls_us(q), &ran);
        if (rc != JOBQ_OK || !jobq__sched_halted(q)) return rc;
        return jobq__os_load(&q->closing) ? JOBQ_CLOSED : JOBQ_STALLED;
    }
    jobq__wake_scheduler(q);
    return jobq__sched_await_rest(q, target_ms);
}

/* Moves the clock to the next wake, if it is not after the target. */
static bool jobq__sched_to_wake(jobq *q, int64_t target_ms) {
    struct jobq__pool *pool = &q->pool;
    int64_t next_ms;
    jobq__os_lock(&pool->mu);
    next_ms = jobq__sched_next_wake(q, jobq__core_now(q));
    jobq__os_unlock(&pool->mu);
    if (next_ms == JOBQ_NEVER || next_ms > target_ms) return false;
    jobq__clock_move(q->clock, next_ms);
    jobq__os_lock(&pool->mu);
    if (jobq__sched_fire(q, jobq__core_now(q))) pool->work.foreign = true;
    jobq__os_unlock(&pool->mu);
    return true;
}

static int jobq__sched_advance_on(jobq *q, int64_t target_ms, bool next, jobq_error *err) {
    int rc = jobq__sched_settle(q, target_ms);
    while (rc == JOBQ_OK && jobq__sched_to_wake(q, target_ms)) {
        rc = jobq__sched_settle(q, target_ms);
        if (next) return jobq__sched_fail(q, err, rc);
    }
    if (rc != JOBQ_OK) return jobq__sched_fail(q, err, rc);
    if (next) return jobq__err_set(err, JOBQ_NOT_FOUND, "no wake is pending: nothing is scheduled,"
                                   " and no run or wait has an end");
    jobq__clock_move(q->clock, target_ms);
    return jobq__sched_fail(q, err, jobq__sched_settle(q, target_ms));
}

JOBQ__INTERNAL int jobq__sched_advance(jobq *q, int64_t target_ms, bool next, int *fired,
                                       jobq_error *err) {
    struct jobq__pool *pool = &q->pool;
    int64_t before;
    int rc = q->step_mode ? jobq__sched_enter(q, err) : JOBQ_OK;
    if (rc != JOBQ_OK) return rc;
    jobq__os_lock(&pool->mu);
    before = pool->timers.fired;
    jobq__os_unlock(&pool->mu);
    if (q->step_mode) jobq__os_store64(&pool->step.to_ms, target_ms);
    rc = jobq__sched_advance_on(q, target_ms, next, err);
    if (q->step_mode) {
        jobq__os_store64(&pool->step.to_ms, 0);
        jobq__sched_leave(q, true);
    }
    rc = jobq__sched_fail_if_stopped(q, err, rc);
    jobq__os_lock(&pool->mu);
    if (fired) *fired = (int)JOBQ__MIN(pool->timers.fired - before, INT32_MAX);
    jobq__os_unlock(&pool->mu);
    return rc;
}
