/* api_wait.c - waits for a job, and says what it waits for. */
#include "api.h"

#include <stdio.h>

/* Design note.
 *
 * A wait ends by the first of: the job has ended and its event was told; the time is over (the job
 * may have ended then, and only its event be late: that is OK); the queue closes or has stopped for
 * good. A wait that another thread may end waits. One that certainly nobody can end does not: in a
 * process without another thread nobody can step, start or advance meanwhile. And an artificial
 * clock stands for a test, where nothing going on for stall_ms of real time means that nothing
 * will. Whatever ends a wait early or late says what the job waits for.
 *
 * The waiter enters the list before it looks at the table, so that an end in between is not
 * missed. In memory it looks when it has the baton, which a job's transaction may keep: it stands
 * in line as long as its own time lasts, and is told of the end there as well. */

/* True if the event of the job's end was told. The deliverer says so later, too, so nobody need ask
 * twice. With pool.mu held, before and after. */
static bool jobq__wait_told(jobq *q, const struct jobq__waiter *waiter) {
    uint64_t serial = waiter->serial;
    bool told;
    jobq__os_unlock(&q->pool.mu);
    told = jobq__event_was_told(&q->events, serial);
    jobq__os_lock(&q->pool.mu);
    return told;
}

/* ---- Does anything go on? ---- */

/* Under an artificial clock: what has changed when something goes on. */
struct jobq__wait_pulse {
    int64_t commits, started, fired, now_ms;
    bool busy;
};

/* With pool.mu held. */
static struct jobq__wait_pulse jobq__wait_feel(jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    struct jobq__wait_pulse pulse;
    pulse.commits = pool->stats.commits;
    pulse.started = pool->stats.started;
    pulse.fired = pool->timers.fired;
    pulse.now_ms = jobq__clock_now_ms(q->clock);
    pulse.busy = pool->crew.running > pool->crew.sleeping || pool->step.active
              || pool->outcomes.count || jobq__os_load(&q->baton.busy);
    return pulse;
}

static bool jobq__wait_same(const struct jobq__wait_pulse *a, const struct jobq__wait_pulse *b) {
    return !b->busy && a->commits == b->commits && a->started == b->started
        && a->fired == b->fired && a->now_ms == b->now_ms;
}

/* What a wait has seen while it sleeps, in real time. */
struct jobq__wait_watch {
    struct jobq__wait_pulse pulse; /* the last one that was felt */
    int64_t stall_us;              /* when it will have stood still for too long */
    int64_t ask_us;                /* when to ask for other threads; INT64_MAX: no need */
    int64_t pause_us;              /* how long after the last time that is */
};

/* Nobody can step, start or advance meanwhile. A thread that was joined just now may be seen for a
 * moment still, and one that is there may end, so that is asked again. With pool.mu held. */
static bool jobq__wait_in_vain(jobq *q, const struct jobq__waiter *waiter,
                               struct jobq__wait_watch *watch) {
    bool idle = (q->step_mode || q->pool.life.phase == JOBQ__STOPPED) && !waiter->ended;
    int64_t now_us = jobq__clock_mono_us();
    if (idle && watch->ask_us != INT64_MAX && now_us < watch->ask_us) return false;
    if (idle && jobq__os_alone()) return true;
    watch->pause_us = idle && watch->pause_us ? 2 * watch->pause_us : JOBQ__WAIT_ASK_US;
    watch->ask_us = idle ? now_us + watch->pause_us : INT64_MAX;
    return false;
}

/* An artificial clock comes to us: advance fires the wake. False if nothing went on for stall_ms of
 * real time. With pool.mu held. */
static bool jobq__wait_for_clock(jobq *q, struct jobq__waiter *waiter,
                                 struct jobq__wait_watch *watch) {
    struct jobq__wait_pulse pulse = jobq__wait_feel(q);
    if (waiter->ended || !jobq__wait_same(&watch->pulse, &pulse))
        watch->stall_us = jobq__add(jobq__clock_mono_us(), jobq__to_us(q->options.stall_ms));
    watch->pulse = pulse;
    if (jobq__clock_mono_us() >= watch->stall_us) return false;
    jobq__os_wait_until(&waiter->cond, &q->pool.mu, JOBQ__MIN(watch->stall_us, watch->ask_us));
    return true;
}

/* Until the waiter is told, its time is over or the queue closes. JOBQ_STALLED: nothing goes on any
 * more; JOBQ_BAD_STATE: nor can anything. With pool.mu held. */
static int jobq__wait_sleep(jobq *q, struct jobq__waiter *waiter, int64_t until_ms) {
    struct jobq__pool *pool = &q->pool;
    struct jobq__wait_watch watch = {{-1, -1, -1, -1, true}, 0, INT64_MAX, 0};
    int64_t until_us = jobq__to_us(until_ms), limit_us;
    bool asked = false;
    while (!waiter->done && !waiter->late && !jobq__os_load(&q->closing)
           && !jobq__os_load(&q->failed)) {
        if (waiter->ended && !asked) {
            asked = true;
            if (jobq__wait_told(q, waiter)) break;
            continue;
        }
        if (jobq__wait_in_vain(q, waiter, &watch)) return JOBQ_BAD_STATE;
        if (q->clock) {
            if (!jobq__wait_for_clock(q, waiter, &watch)) return JOBQ_STALLED;
            continue;
        }
        limit_us = JOBQ__MIN(until_us, watch.ask_us);
        if (limit_us == INT64_MAX) jobq__os_wait(&waiter->cond, &pool->mu);
        else if (jobq__clock_mono_us() >= until_us) break;
        else jobq__os_wait_until(&waiter->cond, &pool->mu, limit_us);
    }
    return JOBQ_OK;
}

/* ---- What does it wait for? ---- */

static void jobq__wait_why_pending(jobq *q, const jobq_info *info, char *text, size_t size) {
    int64_t left_ms = jobq__sub(info->run_at_ms, jobq__clock_now_ms(q->clock));
    char culprit[JOBQ__CULPRIT] = "";
    bool runs;
    jobq__os_lock(&q->pool.mu);
    runs = q->pool.life.phase == JOBQ__RUNNING;
    jobq__core_culprit(q, culprit, sizeof culprit);
    jobq__os_unlock(&q->pool.mu);
    if (info->parked)
        snprintf(text, size, "is parked: no handler of its kind %s is registered, see"
                 " jobq_register", info->kind);
    else if (q->step_mode)
        snprintf(text, size, "waits for another thread to call jobq_step, jobq_run_until_idle or"
                 " jobq_advance, as this queue is in step mode");
    else if (!runs)
        snprintf(text, size, "waits for jobq_start, as the pool is not started; call that before"
                 " jobq_wait");
    else if (info->run_at_ms == JOBQ_NEVER)
        snprintf(text, size, "is due never, as it was asked for; jobq_retry_now makes it due now,"
                 " jobq_cancel ends it");
    else if (left_ms > 0)
        snprintf(text, size, "is due in %lld ms, as attempt %d%s%s%s", (long long)left_ms,
                 info->attempt, q->clock ? "; only jobq_advance moves an artificial clock" : "",
                 info->error[0] ? "; its last failure: " : "", info->error);
    else
        snprintf(text, size, "is ready and waits for its turn%s%s%s",
                 info->crashes ? ", for jobs that have met a crash run one at a time" : "",
                 culprit[0] ? "; " : "", culprit);
}

/* A job's transaction keeps us from looking at the job: what is known all the same. */
static void jobq__wait_why_unseen(jobq *q, int64_t id, char *text, size_t size) {
    char culprit[JOBQ__CULPRIT] = "a job still runs";
    const struct jobq_run *run = NULL;
    int i, attempt = 0;
    jobq__os_lock(&q->pool.mu);
    jobq__core_culprit(q, culprit, sizeof culprit);
    for (i = 0; i < q->pool.crew.count; i++)
        if (q->pool.crew.workers[i].run.id == id) run = &q->pool.crew.workers[i].run;
    if (run) attempt = run->entry->row.attempt;
    jobq__os_unlock(&q->pool.mu);
    if (run)
        snprintf(text, size, "runs, as attempt %d", attempt);
    else
        snprintf(text, size, "cannot be looked at while a job's transaction (jobq_run_db) has the"
                 " only connection to \":memory:\": %s", culprit);
}

/* Fails with a beginning of the sentence; its end is what the job waits for. */
static int jobq__wait_fail(jobq *q, int64_t id, int code, const char *why, jobq_error *err) {
    char text[sizeof err->text] = "is gone";
    jobq_error told;
    jobq_info info;
    int rc;
    if (!err) return code;
    rc = jobq__look_read(q, id, 0, &info, &told);
    if (rc == JOBQ_OK) {
        if (info.state == JOBQ_STATE_PENDING) jobq__wait_why_pending(q, &info, text, sizeof text);
        else if (info.state == JOBQ_STATE_RUNNING)
            snprintf(text, sizeof text, "runs, as attempt %d", info.attempt);
        else snprintf(text, sizeof text, "is %s by now", jobq_state_name(info.state));
    } else if (rc == JOBQ_BUSY && q->memory) {
        jobq__wait_why_unseen(q, id, text, sizeof text);
    } else if (rc != JOBQ_NOT_FOUND) {
        snprintf(text, sizeof text, "cannot be looked at: %.350s", told.text);
    }
    return jobq__err_set(err, code, "%s: job %lld %.380s", why, (long long)id, text);
}

/* ---- The wait ---- */

/* What the wait has come to by now; JOBQ_OK: the job has ended. With pool.mu held. */
static int jobq__wait_code(jobq *q, const struct jobq__waiter *waiter) {
    int rc;
    jobq__assert(jobq__os_held(&q->pool.mu));
    if (waiter->ended) return JOBQ_OK;
    if (jobq__os_load(&q->closing)) return JOBQ_CLOSED;
    rc = jobq__os_load(&q->failed);
    return rc == JOBQ_OK ? JOBQ_TIMEOUT : rc;
}

/* How long a look may stand in line. No clock in the hand comes to us there: we ask for the time
 * every now and then. */
static int64_t jobq__wait_left_us(const jobq *q, int64_t until_ms) {
    int64_t left_us;
    if (q->clock) {
        left_us = jobq__to_us(jobq__sub(until_ms, jobq__clock_mono_ms(q->clock)));
        left_us = JOBQ__MIN(left_us, JOBQ__WAIT_ASK_US);
    } else {
        left_us = jobq__sub(jobq__to_us(until_ms), jobq__clock_mono_us());
    }
    return JOBQ__MAX(left_us, 0);
}

/* The look that begins a wait: as soon as it can be had, while the wait lasts. */
static int jobq__wait_look(jobq *q, const struct jobq__waiter *waiter, int64_t until_ms,
                           jobq_info *info, jobq_error *err) {
    int64_t left_us = jobq__wait_left_us(q, until_ms);
    int rc = jobq__look_read(q, waiter->id, left_us, info, err), code = JOBQ_TIMEOUT;
    while (rc == JOBQ_BUSY && code == JOBQ_TIMEOUT && left_us > 0) {
        jobq__os_lock(&q->pool.mu);
        code = jobq__wait_code(q, waiter);
        jobq__os_unlock(&q->pool.mu);
        left_us = jobq__wait_left_us(q, until_ms);
        if (code == JOBQ_TIMEOUT) rc = jobq__look_read(q, waiter->id, left_us, info, err);
    }
    return rc;
}

/* What can be known without waiting. The job may have ended, and its event be on its way yet. */
static int jobq__wait_begin(jobq *q, struct jobq__waiter *waiter, int64_t until_ms,
                            jobq_info *info, jobq_error *err) {
    uint64_t serial = 0;
    jobq_error told;
    int rc = jobq__wait_look(q, waiter, until_ms, info, &told);
    if (rc == JOBQ_OK && info->state >= JOBQ_STATE_DONE && until_ms > 0)
        serial = jobq__event_find(&q->events, waiter->id);
    jobq__os_lock(&q->pool.mu);
    if (waiter->ended && (rc == JOBQ_NOT_FOUND || rc == JOBQ_BUSY)) rc = JOBQ_OK;
    else if (rc == JOBQ_OK && info->state >= JOBQ_STATE_DONE && !waiter->ended) {
        waiter->ended = true;
        waiter->done = !serial;
        waiter->serial = serial;
        waiter->info = *info;
    }
    jobq__os_unlock(&q->pool.mu);
    if (rc != JOBQ_OK && err) *err = told;
    return rc;
}

/* OK: the job has ended. TIMEOUT, or what ended the sleep earlier: it has not. */
static int jobq__wait_for_end(jobq *q, struct jobq__waiter *waiter, int64_t until_ms,
                              jobq_info *info) {
    struct jobq__pool *pool = &q->pool;
    int rc, slept = JOBQ_OK;
    jobq__os_lock(&pool->mu);
    if (until_ms > 0 && !waiter->done) {
        jobq__wheel_add(&pool->timers.wheel, &waiter->alarm.timer, until_ms);
        jobq__os_unlock(&pool->mu);
        if (q->clock) jobq__wake_scheduler(q);
        jobq__os_lock(&pool->mu);
        slept = jobq__wait_sleep(q, waiter, until_ms);
    }
    if (waiter->ended) *info = waiter->info;
    rc = jobq__wait_code(q, waiter);
    jobq__os_unlock(&pool->mu);
    return rc == JOBQ_TIMEOUT && slept != JOBQ_OK ? slept : rc;
}

static int jobq__wait_over(jobq *q, int64_t id, int rc, jobq_error *err) {
    switch (rc) {
    case JOBQ_TIMEOUT:
        return jobq__wait_fail(q, id, rc, "the time allowed for waiting is over", err);
    case JOBQ_STALLED:
        return jobq__wait_fail(q, id, rc, "nothing went on for stall_ms of real time", err);
    case JOBQ_BAD_STATE:
        return jobq__wait_fail(q, id, rc,
                               "nobody could end this wait, for the process has no other thread",
                               err);
    default:
        return jobq__fail_say(q, rc, err);
    }
}

static int jobq__wait(jobq *q, struct jobq__waiter *waiter, int64_t timeout_ms, jobq_info *info,
                      jobq_error *err) {
    int64_t until_ms = timeout_ms ? jobq__clock_after(q->clock, timeout_ms) : 0, look_us;
    int rc = jobq__wait_begin(q, waiter, until_ms, info, err);
    if (rc == JOBQ_BUSY) {
        /* Its time has passed without a look. */
        jobq__os_lock(&q->pool.mu);
        rc = jobq__wait_code(q, waiter);
        jobq__os_unlock(&q->pool.mu);
        if (rc != JOBQ_OK) return jobq__wait_over(q, waiter->id, rc, err);
    }
    if (rc != JOBQ_OK) return rc;
    rc = jobq__wait_for_end(q, waiter, until_ms, info);
    if (rc != JOBQ_OK) return jobq__wait_over(q, waiter->id, rc, err);
    if (info->state == JOBQ_STATE_NONE)
        return jobq__err_set(err, JOBQ_NOT_FOUND, "job %lld was deleted while this call waited"
                             " for it", (long long)waiter->id);
    /* What is kept tells more than what the settling thread could say. */
    look_us = jobq__min(jobq__wait_left_us(q, until_ms), q->baton.busy_us);
    if (jobq__look_read(q, waiter->id, look_us, info, NULL) != JOBQ_OK) *info = waiter->info;
    return JOBQ_OK;
}

JOBQ_API int jobq_wait(jobq *q, int64_t id, int64_t timeout_ms, jobq_info *info,
                       jobq_error *err) {
    struct jobq__waiter waiter;
    jobq_info scratch;
    int rc = jobq__api_enter_outside(q, "jobq_wait", "let another thread wait, or look"
                                     " again later with jobq_get (a handler returns jobq_snooze"
                                     " for that)", err);
    if (rc != JOBQ_OK) return rc;
    if (timeout_ms == JOBQ_NONE) timeout_ms = 0;
    rc = jobq__config_span("timeout_ms", timeout_ms, true, err);
    if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
    memset(&waiter, 0, sizeof waiter);
    waiter.id = id;
    waiter.alarm.what = JOBQ__WAKE_WAITER;
    jobq__timer_init(&waiter.alarm.timer);
    rc = jobq__os_cond_init(&waiter.cond, JOBQ__OS_MONO);
    if (rc != JOBQ_OK) return jobq__api_leave(q, jobq__err_set(err, rc, NULL));
    jobq__event_watch(&q->events, 1);
    jobq__os_lock(&q->pool.mu);
    jobq__list_append(&q->pool.waiters, &waiter.link);
    jobq__os_unlock(&q->pool.mu);
    rc = jobq__wait(q, &waiter, timeout_ms, info ? info : &scratch, err);
    jobq__event_watch(&q->events, -1);
    jobq__os_lock(&q->pool.mu);
    jobq__list_remove(&waiter.link);
    jobq__wheel_del(&q->pool.timers.wheel, &waiter.alarm.timer);
    jobq__os_unlock(&q->pool.mu);
    jobq__os_cond_fini(&waiter.cond);
    return jobq__api_leave(q, rc);
}
