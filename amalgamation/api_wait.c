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
 * missed. */

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
    pulse.fired = pool->fired;
    pulse.now_ms = jobq__clock_now_ms(q->clock);
    pulse.busy = pool->running > pool->sleeping || pool->stepping || pool->handed_count
              || jobq__os_load(&q->commit.busy);
    return pulse;
}

static bool jobq__wait_same(const struct jobq__wait_pulse *a, const struct jobq__wait_pulse *b) {
    return !b->busy && a->commits == b->commits && a->started == b->started
        && a->fired == b->fired && a->now_ms == b->now_ms;
}

/* An artificial clock comes to us: advance fires the wake. False if nothing went on for stall_ms of
 * real time. With pool.mu held. */
static bool jobq__wait_for_clock(jobq *q, struct jobq__waiter *waiter, int64_t *until_us,
                                 struct jobq__wait_pulse *last) {
    struct jobq__wait_pulse pulse = jobq__wait_feel(q);
    if (waiter->ended || !jobq__wait_same(last, &pulse))
        *until_us = jobq__add(jobq__clock_mono_us(), jobq__to_us(q->options.stall_ms));
    *last = pulse;
    if (jobq__clock_mono_us() >= *until_us) return false;
    jobq__os_wait_until(&waiter->cond, &q->pool.mu, *until_us);
    return true;
}

/* Until the waiter is told, its time is over or the queue closes. False: nothing goes on any more.
 * With pool.mu held. */
static bool jobq__wait_sleep(jobq *q, struct jobq__waiter *waiter, int64_t until_ms) {
    struct jobq__pool *pool = &q->pool;
    struct jobq__wait_pulse pulse = {-1, -1, -1, -1, true};
    int64_t until_us = jobq__to_us(until_ms), stall_us = 0;
    bool asked = false;
    while (!waiter->done && !waiter->late && !jobq__os_load(&q->closing)
           && !jobq__os_load(&q->failed)) {
        if (waiter->ended && !asked) {
            asked = true;
            if (jobq__wait_told(q, waiter)) break;
            continue;
        }
        if (q->clock) {
            if (!jobq__wait_for_clock(q, waiter, &stall_us, &pulse)) return false;
            continue;
        }
        if (until_us == INT64_MAX) jobq__os_wait(&waiter->cond, &pool->mu);
        else if (jobq__clock_mono_us() >= until_us) break;
        else jobq__os_wait_until(&waiter->cond, &pool->mu, until_us);
    }
    return true;
}

/* ---- What does it wait for? ---- */

static void jobq__wait_why_pending(jobq *q, const jobq_info *info, char *text, size_t size) {
    int64_t left_ms = jobq__sub(info->run_at_ms, jobq__clock_now_ms(q->clock));
    char culprit[JOBQ__CULPRIT] = "";
    bool runs;
    jobq__os_lock(&q->pool.mu);
    runs = q->pool.life == JOBQ__RUNNING;
    jobq__core_culprit(q, culprit, sizeof culprit);
    jobq__os_unlock(&q->pool.mu);
    if (info->parked)
        snprintf(text, size, "is parked: no handler of its kind %s is registered, see"
                 " jobq_register", info->kind);
    else if (q->step_mode)
        snprintf(text, size, "waits for another thread to call jobq_step, jobq_run_until_idle or"
                 " jobq_advance: this queue is in step mode");
    else if (!runs)
        snprintf(text, size, "waits for jobq_start: the pool is not started");
    else if (left_ms > 0)
        snprintf(text, size, "is due in %lld ms, as attempt %d%s%s%s", (long long)left_ms,
                 info->attempt, q->clock ? "; only jobq_advance moves an artificial clock" : "",
                 info->error[0] ? "; its last failure: " : "", info->error);
    else
        snprintf(text, size, "is ready and waits for its turn%s%s", culprit[0] ? "; " : "",
                 culprit);
}

/* Fails with a beginning of the sentence; its end is what the job waits for. */
static int jobq__wait_fail(jobq *q, int64_t id, int code, const char *why, jobq_error *err) {
    char text[sizeof err->text] = "is gone";
    jobq_info info;
    if (!err) return code;
    if (jobq__jobs_read(q, id, &info, NULL) == JOBQ_OK) {
        if (info.state == JOBQ_STATE_PENDING) jobq__wait_why_pending(q, &info, text, sizeof text);
        else if (info.state == JOBQ_STATE_RUNNING)
            snprintf(text, sizeof text, "runs, as attempt %d", info.attempt);
        else snprintf(text, sizeof text, "is %s by now", jobq_state_name(info.state));
    }
    return jobq__err_set(err, code, "%s: job %lld %.380s", why, (long long)id, text);
}

/* Nobody can step, start or advance meanwhile. A thread that was joined just now may be seen for a
 * moment still. */
static bool jobq__wait_in_vain(jobq *q) {
    bool idle;
    int looks;
    jobq__os_lock(&q->pool.mu);
    idle = q->step_mode || q->pool.life == JOBQ__STOPPED;
    jobq__os_unlock(&q->pool.mu);
    for (looks = 0; idle && looks < JOBQ__LOOKS_MAX; looks++) {
        if (jobq__os_alone()) return true;
        jobq__os_sleep_us(1000);
    }
    return false;
}

/* ---- The wait ---- */

/* What can be known without waiting. The job may have ended, and its event be on its way yet. */
static int jobq__wait_begin(jobq *q, struct jobq__waiter *waiter, int64_t timeout_ms,
                            jobq_info *info, jobq_error *err) {
    uint64_t serial = 0;
    jobq_error told;
    int rc = jobq__jobs_read(q, waiter->id, info, &told);
    if (rc == JOBQ_OK && info->state >= JOBQ_STATE_DONE && timeout_ms > 0)
        serial = jobq__event_find(&q->events, waiter->id);
    jobq__os_lock(&q->pool.mu);
    if (rc == JOBQ_NOT_FOUND && waiter->ended) rc = JOBQ_OK;
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

/* OK: the job has ended. *goes_on: false if nothing else will happen. */
static int jobq__wait_for_end(jobq *q, struct jobq__waiter *waiter, int64_t timeout_ms,
                              jobq_info *info, bool *goes_on) {
    struct jobq__pool *pool = &q->pool;
    int64_t until_ms = jobq__clock_after(q->clock, timeout_ms);
    int rc;
    jobq__os_lock(&pool->mu);
    if (timeout_ms > 0 && !waiter->done) {
        jobq__wheel_add(&pool->wheel, &waiter->alarm.timer, until_ms);
        jobq__os_unlock(&pool->mu);
        if (q->clock) jobq__core_kick(q);
        jobq__os_lock(&pool->mu);
        *goes_on = jobq__wait_sleep(q, waiter, until_ms);
    }
    if (waiter->ended) *info = waiter->info;
    rc = waiter->ended ? JOBQ_OK : jobq__os_load(&q->closing) ? JOBQ_CLOSED
                                                              : jobq__os_load(&q->failed);
    if (rc == JOBQ_OK && !waiter->ended) rc = JOBQ_TIMEOUT;
    jobq__os_unlock(&pool->mu);
    return rc;
}

static int jobq__wait(jobq *q, struct jobq__waiter *waiter, int64_t timeout_ms, jobq_info *info,
                      jobq_error *err) {
    bool goes_on = true;
    int rc = jobq__wait_begin(q, waiter, timeout_ms, info, err);
    if (rc != JOBQ_OK) return rc;
    if (timeout_ms > 0 && jobq__wait_in_vain(q) && !waiter->ended)
        return jobq__wait_fail(q, waiter->id, JOBQ_BAD_STATE,
                               "this would wait for ever, for the process has no other thread",
                               err);
    rc = jobq__wait_for_end(q, waiter, timeout_ms, info, &goes_on);
    if (rc == JOBQ_TIMEOUT && !goes_on)
        return jobq__wait_fail(q, waiter->id, JOBQ_STALLED,
                               "nothing went on for stall_ms of real time", err);
    if (rc == JOBQ_TIMEOUT)
        return jobq__wait_fail(q, waiter->id, rc, "the time allowed for waiting is over", err);
    if (rc != JOBQ_OK) return jobq__core_say(q, rc, err);
    if (info->state == JOBQ_STATE_NONE)
        return jobq__err_set(err, JOBQ_NOT_FOUND, "job %lld was deleted", (long long)waiter->id);
    /* What is kept tells more than what the settling thread could say. */
    if (jobq__jobs_read(q, waiter->id, info, NULL) != JOBQ_OK) *info = waiter->info;
    return JOBQ_OK;
}

JOBQ_API int jobq_wait(jobq *q, int64_t id, int64_t timeout_ms, jobq_info *info,
                       jobq_error *err) {
    struct jobq__waiter waiter;
    jobq_info scratch;
    int rc = jobq__api_enter_outside(q, "jobq_wait", "let another thread wait, or return"
                                     " jobq_snooze from the handler and look again with jobq_get",
                                     err);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__config_span("timeout_ms", timeout_ms, err);
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
    jobq__wheel_del(&q->pool.wheel, &waiter.alarm.timer);
    jobq__os_unlock(&q->pool.mu);
    jobq__os_cond_fini(&waiter.cond);
    return jobq__api_leave(q, rc);
}
