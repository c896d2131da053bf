/* run.c - one run of one job, as its handler sees it. */
#include "run.h"

#include <stdio.h>

/* ---- Begin and end ---- */

static void jobq__run_arm(struct jobq_run *run) {
    int64_t timeout_ms = run->entry->kind->spec.timeout_ms;
    if (timeout_ms == JOBQ_NONE) return;
    run->deadline_ms = jobq__add(run->started_ms, timeout_ms);
    jobq__wheel_add(&run->q->pool.timers.wheel, &run->deadline.timer, run->deadline_ms);
}

JOBQ__INTERNAL void jobq__run_begin(struct jobq__worker *worker, struct jobq__entry *entry) {
    struct jobq_run *run = &worker->run;
    jobq *q = run->q;
    jobq__assert(jobq__os_held(&q->pool.mu));
    run->entry = entry;
    run->id = entry->row.id;
    run->started_ms = jobq__clock_mono_ms(q->clock);
    run->deadline_ms = JOBQ_NEVER;
    run->polled_ms = -1;
    if (!q->events.call) jobq__run_arm(run);
    run->detail_of = JOBQ_OUTCOME_NONE;
    run->in_tx = run->keeps = run->joined = run->no_memory = run->too_big = false;
    run->saved_read = run->info_read = false;
    run->endless = NULL;
    run->text[0] = 0;
    jobq__os_store(&run->stop, 0);
    jobq__os_store(&run->handling, 1);
    q->pool.crew.running++;
    q->pool.stats.started++;
}

JOBQ__INTERNAL void jobq__run_end(struct jobq__worker *worker) {
    struct jobq_run *run = &worker->run;
    jobq *q = run->q;
    jobq__wheel_del(&q->pool.timers.wheel, &run->deadline.timer);
    run->entry = NULL;
    run->id = 0;
    q->pool.crew.running--;
    jobq__assert(q->pool.crew.running >= 0);
}

/* ---- The verdict ---- */

static const char jobq__run_broken[] =
    "the job's transaction was ended by the handler or by SQLite, or its hooks were replaced;"
    " what was not committed by then is gone. COMMIT and ROLLBACK are jobq's: return an outcome,"
    " or use savepoints";

static void jobq__run_end_as(struct jobq__entry *entry, int state) {
    entry->verdict.state = state;
}

/* The end of a duration, by the monotonic clock; what takes no time has an end even at the last
 * moment. */
static int64_t jobq__run_after(int64_t mono_ms, int64_t delay_ms) {
    return jobq__add(JOBQ__MIN(mono_ms, JOBQ_NEVER - 1), delay_ms);
}

/* at_ms: by the wall or, if it is the end of a duration (lasts), by the monotonic clock. */
static void jobq__run_again(struct jobq__entry *entry, int attempt, int64_t at_ms, bool lasts,
                            int64_t delay_ms, struct jobq__now now) {
    entry->verdict.state = JOBQ__WAITING;
    entry->verdict.due = at_ms <= (lasts ? now.mono_ms : now.wall_ms) && at_ms != JOBQ_NEVER;
    entry->verdict.attempt = attempt;
    entry->verdict.at_ms = at_ms;
    entry->verdict.lasts = lasts;
    entry->verdict.delay_ms = delay_ms;
}

/* A run that lasted for hours was healthy: its failure begins a new series. Measured from the start
 * of the run and against the longest delay (at least an hour); against the last one, as Galoy has
 * it, a handler that times out after some seconds would begin anew for ever. */
static bool jobq__run_was_healthy(const struct jobq__entry *entry) {
    int64_t longest_ms = JOBQ__MAX(entry->row.delay_ms, entry->kind->spec.backoff_max_ms);
    longest_ms = JOBQ__MAX(longest_ms, JOBQ__BACKOFF_MAX_MS);
    return jobq__backoff_recovered(entry->row.attempt, entry->run_ms, longest_ms);
}

/* From now on the job is to blame if the process dies, unless the queue is being stopped. */
static void jobq__run_enter(struct jobq_run *run) {
    const struct jobq__row *row = &run->entry->row;
    struct jobq__owner *owner = &run->q->owner;
    run->outer = jobq__owner_started(owner, run->worker->index, row->id, row->runs);
    /* Seen here, or else the slot is seen by who stops. */
    if (jobq__os_or(&run->stop, 0) & JOBQ__STOP_SHUTDOWN)
        jobq__owner_release(owner, run->worker->index);
}

/* The application's code, as the handler is: if the process dies in it, this job is to blame. */
static int64_t jobq__run_ask_backoff(struct jobq_run *run, int attempt) {
    const struct jobq__row *row = &run->entry->row;
    const jobq_kind *spec = &run->entry->kind->spec;
    int64_t delay_ms;
    jobq__run_enter(run);
    jobq__assert(jobq__os_may_call_out());
    jobq__os_store(&run->asking, 1);
    delay_ms = spec->backoff(attempt, row->id, spec->ctx);
    jobq__os_store(&run->asking, 0);
    jobq__owner_ended(&run->q->owner, run->worker->index, run->outer);
    return delay_ms;
}

static void jobq__run_say(struct jobq_run *run, const char *text) {
    jobq__err_copy_text(run->text, sizeof run->text, text);
}

/* A number of milliseconds that nobody can have meant: it would be 24.86 days. */
static void jobq__run_say_endless(struct jobq_run *run, const char *what) {
    char text[2 * JOBQ_TEXT_MAX];
    snprintf(text, sizeof text, "%s JOBQ_UNLIMITED, which is for counts; a duration without end is"
             " JOBQ_NEVER%s%s", what, run->text[0] ? "; and the handler: " : "", run->text);
    jobq__run_say(run, text);
}

/* Order after Galoy: maybe reset the counter, then count, then the delay of this attempt. */
static void jobq__run_failed(struct jobq_run *run, struct jobq__now now) {
    struct jobq__entry *entry = run->entry;
    const jobq_kind *spec = &entry->kind->spec;
    const struct jobq__row *row = &entry->row;
    struct jobq__backoff backoff = {spec->backoff_min_ms, spec->backoff_max_ms,
                                    spec->jitter_percent};
    int attempt = row->attempt;
    int64_t delay_ms = 0;
    if (jobq__run_was_healthy(entry)) attempt = 1;
    if (spec->attempts_max != JOBQ_UNLIMITED && attempt >= spec->attempts_max) {
        jobq__run_end_as(entry, JOBQ__FAILED);
        return;
    }
    if (spec->backoff) delay_ms = jobq__run_ask_backoff(run, attempt);
    if (delay_ms == JOBQ_UNLIMITED) jobq__run_say_endless(run, "the kind's backoff returned");
    if (!spec->backoff || delay_ms == JOBQ_UNLIMITED)
        delay_ms = jobq__backoff_delay(&backoff, attempt, run->q->options.seed, row->id, row->runs);
    if (delay_ms < 0) jobq__run_end_as(entry, JOBQ__FAILED);
    else jobq__run_again(entry, attempt < INT32_MAX ? attempt + 1 : attempt,
                         jobq__run_after(now.mono_ms, delay_ms), true, delay_ms, now);
}

static void jobq__run_decide(struct jobq_run *run, jobq_outcome outcome, struct jobq__now now) {
    struct jobq__entry *entry = run->entry;
    const struct jobq__row *row = &entry->row;
    /* Without a time: not at once, or a handler that says no more than that would spin. */
    bool bare = run->detail_of != outcome, lasts = bare || run->lasts;
    int64_t at_ms = run->at_ms;
    if (bare) at_ms = jobq__run_after(now.mono_ms, entry->kind->spec.backoff_min_ms);
    entry->verdict.outcome = outcome;
    entry->verdict.crashes = row->crashes;
    switch (outcome) {
    case JOBQ_DONE:
        jobq__run_end_as(entry, JOBQ__DONE);
        break;
    case JOBQ_FAIL:
        jobq__run_end_as(entry, JOBQ__FAILED);
        break;
    case JOBQ_CANCELLED:
        jobq__run_end_as(entry, JOBQ__CANCELLED);
        break;
    case JOBQ_SNOOZE:
    case JOBQ_STOPPED:
        jobq__run_again(entry, row->attempt, at_ms, lasts, row->delay_ms, now);
        break;
    case JOBQ_RESCHEDULE:
        entry->verdict.crashes = 0;
        jobq__run_again(entry, 1, at_ms, lasts, 0, now);
        break;
    default:
        jobq__run_failed(run, now);
    }
}

static void jobq__run_no_outcome(struct jobq_run *run, jobq_outcome outcome) {
    const char *name = jobq_code_name((int)outcome);
    char text[JOBQ_TEXT_MAX + 1], meant[100] = "";
    if (strncmp(name, "JOBQ_?", 6) != 0)
        snprintf(meant, sizeof meant, " (that is %s; %s)", name,
                 outcome ? "what is to be tried again returns jobq_retry"
                         : "what is done returns JOBQ_DONE");
    snprintf(text, sizeof text, "the handler returned a value that is no outcome of a run: %d%s",
             (int)outcome, meant);
    jobq__run_say(run, text);
}

static bool jobq__run_is_late(const struct jobq_run *run) {
    return run->deadline_ms != JOBQ_NEVER
        && jobq__add(run->started_ms, run->entry->run_ms) >= run->deadline_ms;
}

/* What the handler returned, made sense of. */
static jobq_outcome jobq__run_interpret(struct jobq_run *run, jobq_outcome outcome,
                                        int64_t now_ms) {
    /* It gave up because it was asked to, and cannot know that it was no cancel: of one that was,
     * a retry makes a job that is cancelled. */
    if (outcome == JOBQ_CANCELLED && (jobq__os_load(&run->stop) || jobq__run_is_late(run)))
        outcome = JOBQ_RETRY;
    if (outcome == JOBQ_RETRY && (jobq__os_load(&run->stop) & JOBQ__STOP_SHUTDOWN)) {
        /* Interrupted by a stop: not a failure, and its time had come, even if the wall was set
         * back since. */
        run->detail_of = JOBQ_STOPPED;
        run->at_ms = JOBQ__MIN(run->entry->row.run_at_ms, now_ms);
        run->lasts = false;
        return JOBQ_STOPPED;
    }
    if (outcome == JOBQ_DONE && run->too_big && run->detail_of == JOBQ_FAIL) return JOBQ_FAIL;
    if (run->detail_of != outcome) run->text[0] = 0;
    if (run->endless) {
        jobq__run_say_endless(run, run->endless);
        return JOBQ_RETRY;
    }
    if (outcome == JOBQ_DONE && run->no_memory) {
        jobq__run_say(run, "there was no memory to keep the result");
        return JOBQ_RETRY;
    }
    if (outcome <= JOBQ_OUTCOME_NONE || outcome >= JOBQ_CRASHED) {
        jobq__run_no_outcome(run, outcome);
        return JOBQ_RETRY;
    }
    if (outcome == JOBQ_RETRY && !run->text[0] && jobq__run_is_late(run))
        jobq__run_say(run, "the run took longer than its timeout");
    return outcome;
}

/* Without memory the message is lost, not the outcome. */
static void jobq__run_keep_text(struct jobq_run *run) {
    struct jobq__said *said = jobq__mem_new(sizeof *said);
    if (!said) return;
    said->text = jobq__mem_copy(run->text, strlen(run->text));
    run->entry->said = said;
}

/* Moves text and result to the entry, which outlives the run. */
static void jobq__run_hand_over(struct jobq_run *run, jobq_outcome outcome) {
    struct jobq__entry *entry = run->entry;
    jobq__assert(!entry->said);
    if ((outcome == JOBQ_RETRY || outcome == JOBQ_FAIL) && run->text[0]) jobq__run_keep_text(run);
    if (outcome == JOBQ_DONE && run->result && entry->kind->spec.keep_done_ms != JOBQ_NONE) {
        entry->said = run->result_said;
        run->result_said = NULL;
        entry->said->result = run->result;
        entry->said->result_size = run->result_size;
    } else {
        jobq__mem_free(run->result);
    }
    jobq__mem_free(run->result_said);
    run->result_said = NULL;
    run->result = NULL;
}

/* Tells events on the thread that runs the handler; what is left is the scheduler's. */
static void jobq__run_tell(jobq *q) {
    if (jobq__event_deliver(&q->events, q->step_mode) && !q->step_mode) jobq__wake_scheduler(q);
}

static int jobq__run_end_tx(struct jobq_run *run, bool keep, jobq_error *why) {
    jobq__os_transaction(-1);
    run->in_tx = false;
    return jobq__commit_job(run->q, run->entry, keep, why);
}

static bool jobq__run_keeps(const struct jobq_run *run, jobq_outcome outcome) {
    return outcome == JOBQ_DONE
        || (run->keeps && (outcome == JOBQ_SNOOZE || outcome == JOBQ_RESCHEDULE));
}

/* Nothing of the job's transaction is kept. Before the verdict, for backoff may write. */
static jobq_outcome jobq__run_abandon(struct jobq_run *run, jobq_outcome outcome) {
    if (jobq__run_end_tx(run, false, NULL) == JOBQ_OK) return outcome;
    jobq__run_say(run, jobq__run_broken);
    return JOBQ_RETRY;
}

static void jobq__run_not_committed(struct jobq_run *run, const char *why) {
    char words[191];
    jobq__err_copy_text(words, sizeof words, why);
    snprintf(run->text, sizeof run->text, "the job's transaction could not be committed, nothing"
             " was kept: %s", words);
}

/* The job's transaction ends with the run; false if the outcome has yet to be settled. */
static bool jobq__run_settle(struct jobq_run *run) {
    struct jobq__entry *entry = run->entry;
    jobq *q = run->q;
    struct jobq__now now;
    jobq_error why;
    int rc;
    if (run->joined) q->look_lanes = true;
    rc = jobq__run_end_tx(run, true, &why);
    if (rc == JOBQ_OK) {
        jobq__run_tell(q);
        return true;
    }
    jobq__tx_forget_said(entry);
    now = jobq__clock_read(q->clock);
    if (rc == JOBQ_MISUSE) {
        jobq__run_say(run, jobq__run_broken);
        jobq__run_decide(run, JOBQ_RETRY, now);
    } else if (rc == JOBQ__REFUSED) {
        jobq__run_not_committed(run, why.text);
        jobq__run_decide(run, JOBQ_RETRY, now);
    } else {
        /* The disk's fault, not the job's: no attempt is charged. */
        jobq__run_not_committed(run, why.text);
        run->detail_of = JOBQ_OUTCOME_NONE;
        jobq__run_decide(run, JOBQ_SNOOZE, now);
    }
    jobq__run_keep_text(run);
    return false;
}

/* Tells that it starts; the time that this takes is not the handler's. */
static void jobq__run_event(struct jobq_run *run) {
    const struct jobq__entry *entry = run->entry;
    struct jobq__told told;
    jobq_event event;
    memset(&event, 0, sizeof event);
    event.now_ms = jobq__clock_now_ms(run->q->clock);
    event.id = entry->row.id;
    event.kind = entry->kind->spec.name;
    event.queue = entry->queue ? entry->queue->text : "";
    event.key = entry->key;
    event.from = JOBQ_STATE_PENDING;
    event.to = JOBQ_STATE_RUNNING;
    event.attempt = entry->row.attempt;
    event.wait_ms = entry->wait_ms;
    jobq__event_make(&told, &event);
    jobq__event_add(&run->q->events, &told, false);
    jobq__run_tell(run->q);
    jobq__os_lock(&run->q->pool.mu);
    run->started_ms = jobq__clock_mono_ms(run->q->clock);
    jobq__run_arm(run);
    jobq__os_unlock(&run->q->pool.mu);
}

JOBQ__INTERNAL bool jobq__run_call(struct jobq__worker *worker) {
    struct jobq_run *run = &worker->run;
    struct jobq__entry *entry = run->entry;
    const jobq_kind *spec = &entry->kind->spec;
    jobq_outcome outcome;
    struct jobq__now now = {0, 0, 0};
    jobq__run_enter(run);
    entry->wait_ms = jobq__sub(run->started_ms, entry->due_ms);
    if (run->q->events.call) jobq__run_event(run);
    jobq__assert(jobq__os_may_call_out());
    outcome = spec->run(run, spec->ctx);
    jobq__os_store(&run->handling, 0);
    jobq__owner_ended(&run->q->owner, worker->index, run->outer);
    entry->run_ms = jobq__sub(jobq__clock_mono_ms(run->q->clock), run->started_ms);
    /* What is done has no next time. */
    if (outcome != JOBQ_DONE || run->no_memory || run->too_big || run->endless)
        now = jobq__clock_read(run->q->clock);
    outcome = jobq__run_interpret(run, outcome, now.wall_ms);
    if (run->in_tx && !jobq__run_keeps(run, outcome)) outcome = jobq__run_abandon(run, outcome);
    jobq__run_decide(run, outcome, now);
    jobq__run_hand_over(run, outcome);
    jobq__mem_free(run->saved);
    run->saved = NULL;
    return run->in_tx && jobq__run_settle(run);
}

/* ---- Outcomes ---- */

static void jobq__run_format(struct jobq_run *run, const char *format, va_list args) {
    char text[sizeof run->text + 1] = ""; /* one more tells whether it is cut */
    if (format) vsnprintf(text, sizeof text, format, args);
    jobq__err_copy_text(run->text, sizeof run->text, text);
}

static void jobq__run_drop_result(struct jobq_run *run) {
    jobq__mem_free(run->result);
    jobq__mem_free(run->result_said);
    run->result = NULL;
    run->result_said = NULL;
    run->result_size = 0;
    run->no_memory = run->too_big = false;
}

JOBQ_API jobq_outcome jobq_done(jobq_run *run, const void *result, size_t size) {
    jobq__run_drop_result(run);
    if (!result) size = 0;
    run->too_big = size > (size_t)run->q->options.payload_max;
    if (run->too_big)
        return jobq_fail(run, "the result of %llu bytes is larger than payload_max",
                         (unsigned long long)size);
    if (result) {
        run->result = jobq__mem_copy(result, size);
        run->result_said = jobq__mem_new(sizeof *run->result_said);
        run->result_size = size;
        run->no_memory = !run->result || !run->result_said;
    }
    return run->detail_of = JOBQ_DONE;
}

JOBQ_API jobq_outcome jobq_retry(jobq_run *run, const char *format, ...) {
    va_list args;
    va_start(args, format);
    jobq__run_format(run, format, args);
    va_end(args);
    return run->detail_of = JOBQ_RETRY;
}

JOBQ_API jobq_outcome jobq_fail(jobq_run *run, const char *format, ...) {
    va_list args;
    va_start(args, format);
    jobq__run_format(run, format, args);
    va_end(args);
    return run->detail_of = JOBQ_FAIL;
}

JOBQ_API jobq_outcome jobq_reschedule_at(jobq_run *run, int64_t at_ms) {
    run->at_ms = JOBQ__MAX(at_ms, 0);
    run->lasts = false;
    return run->detail_of = JOBQ_RESCHEDULE;
}

static void jobq__run_set_delay(struct jobq_run *run, int64_t delay_ms) {
    run->at_ms = jobq__run_after(jobq__clock_mono_ms(run->q->clock), JOBQ__MAX(delay_ms, 0));
    run->lasts = true;
}

JOBQ_API jobq_outcome jobq_reschedule_in(jobq_run *run, int64_t delay_ms) {
    if (delay_ms == JOBQ_UNLIMITED) run->endless = "jobq_reschedule_in was given";
    jobq__run_set_delay(run, delay_ms);
    return run->detail_of = JOBQ_RESCHEDULE;
}

JOBQ_API jobq_outcome jobq_snooze(jobq_run *run, int64_t delay_ms) {
    if (delay_ms == JOBQ_UNLIMITED) run->endless = "jobq_snooze was given";
    jobq__run_set_delay(run, delay_ms);
    return run->detail_of = JOBQ_SNOOZE;
}

/* ---- What the handler can know ---- */

/* In a forked child nobody is left who could stop, wake or settle the run. */
static bool jobq__run_forked(const struct jobq_run *run) {
    return jobq__owner_forked(&run->q->owner);
}

static bool jobq__run_runs(void *ctx, int64_t id) {
    (void)ctx;
    (void)id;
    return true;
}

/* For reading what stands beside the job's row, until jobq__run_looked. A memory database has one
 * connection, so looking needs the baton there. */
static int jobq__run_look(struct jobq_run *run, struct jobq__look *look) {
    jobq *q = run->q;
    look->db = q->memory ? &q->writer : &q->reader;
    look->now = jobq__core_now(q);
    look->runs = jobq__run_runs;
    look->ctx = NULL;
    if (jobq__core_in_connect(q)) return JOBQ_MISUSE;
    if (q->memory && !run->in_tx) return jobq__baton_hold_within(q, INT64_MAX);
    if (q->memory) jobq__guard_enter(look->db);
    else jobq__core_lock_reader(q);
    return JOBQ_OK;
}

static void jobq__run_looked(struct jobq_run *run, const struct jobq__look *look, int rc) {
    struct jobq__fault why = jobq__store_reason(look->db);
    if (!run->q->memory) jobq__os_unlock(&run->q->reader_mu);
    else if (run->in_tx) jobq__guard_leave(&run->q->writer);
    else jobq__baton_release(run->q);
    jobq__fail_heed(run->q, rc, &why);
}

JOBQ_API int64_t jobq_run_id(const jobq_run *run) {
    return run->entry->row.id;
}

JOBQ_API jobq *jobq_run_handle(const jobq_run *run) {
    return run->q;
}

JOBQ_API const char *jobq_run_kind(const jobq_run *run) {
    return run->entry->kind->spec.name;
}

JOBQ_API int jobq_run_attempt(const jobq_run *run) {
    return run->entry->row.attempt;
}

JOBQ_API int jobq_run_crashes(const jobq_run *run) {
    return run->entry->row.crashes;
}

JOBQ_API const void *jobq_run_payload(const jobq_run *run, size_t *size) {
    if (size) *size = run->entry->row.size;
    return run->entry->row.payload;
}

JOBQ_API int64_t jobq_run_deadline(const jobq_run *run) {
    return jobq__clock_on_wall(jobq__clock_read(run->q->clock), run->deadline_ms);
}

/* What stands beside the row; most jobs have nothing there, and then nothing is read. */
static int jobq__run_read_info(jobq_run *run, jobq_info *info) {
    const struct jobq__entry *entry = run->entry;
    bool suspect = entry->lane == run->q->suspects;
    struct jobq__look look;
    bool claimed;
    int rc;
    if (!suspect) jobq__err_copy_text(info->queue, sizeof info->queue, entry->lane->text);
    if (!suspect && !entry->row.side) return JOBQ_OK;
    rc = jobq__run_look(run, &look);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__store_info(&look, entry->row.id, info, &claimed);
    jobq__run_looked(run, &look, rc);
    return rc;
}

JOBQ_API const jobq_info *jobq_run_info(const jobq_run *run) {
    struct jobq_run *own = &run->worker->run; /* the same one */
    const struct jobq__row *row = &run->entry->row;
    jobq_info *info = &own->info;
    if (jobq__run_forked(run)) return NULL;
    if (!run->info_read) {
        memset(info, 0, sizeof *info);
        if (jobq__run_read_info(own, info) != JOBQ_OK) return NULL;
        own->info_read = true;
    }
    info->id = row->id;
    info->state = JOBQ_STATE_RUNNING;
    jobq__err_copy_text(info->kind, sizeof info->kind, run->entry->kind->spec.name);
    info->priority = row->priority;
    info->attempt = row->attempt;
    info->runs = row->runs;
    info->crashes = row->crashes;
    info->created_at_ms = row->created_at_ms;
    info->run_at_ms = row->run_at_ms;
    info->payload_size = row->size;
    return info;
}

static void jobq__run_fire_deadline(struct jobq_run *run) {
    struct jobq__pool *pool = &run->q->pool;
    jobq__clock_move(run->q->clock, run->deadline_ms);
    jobq__os_lock(&pool->mu);
    if (jobq__timer_pending(&run->deadline.timer)) pool->timers.fired++;
    jobq__wheel_del(&pool->timers.wheel, &run->deadline.timer);
    jobq__os_unlock(&pool->mu);
}

/* In step mode the handler has the thread that moves the clock. If that is to go beyond the
 * deadline, a handler that keeps looking at its flag is taken to wait for it. That its thread got
 * no time to run says nothing, so little of each pause counts. */
static bool jobq__run_awaits_deadline(struct jobq_run *run, int64_t now_ms) {
    int64_t now_us, pause_us, patient_us = 0;
    bool again = jobq__os_load64(&run->polled_ms) == now_ms;
    if (run->deadline_ms > jobq__os_load64(&run->q->pool.step.to_ms)) return false;
    now_us = jobq__clock_mono_us();
    pause_us = jobq__min(now_us - jobq__os_load64(&run->polled_us), JOBQ__PATIENCE_LOOK_US);
    if (again) patient_us = jobq__os_load64(&run->patient_us) + JOBQ__MAX(pause_us, 0);
    jobq__os_store64(&run->patient_us, patient_us);
    jobq__os_store64(&run->polled_us, now_us);
    jobq__os_store64(&run->polled_ms, now_ms);
    if (patient_us < JOBQ__PATIENCE_US) return false;
    jobq__run_fire_deadline(run);
    return true;
}

JOBQ_API bool jobq_should_stop(jobq_run *run) {
    int64_t now_ms;
    if (jobq__os_load(&run->stop) || jobq__os_load(&run->entry->cancel)) return true;
    if (jobq__run_forked(run)) return true;
    if (run->deadline_ms == JOBQ_NEVER) return false;
    now_ms = jobq__clock_mono_ms(run->q->clock);
    if (now_ms < run->deadline_ms && !jobq__run_awaits_deadline(run, now_ms)) return false;
    jobq__os_or(&run->stop, JOBQ__STOP_ASKED);
    return true;
}

/* What only the handler may call, on its thread. The thread is set before the handler begins. */
static bool jobq__run_is_ours(const struct jobq_run *run) {
    return jobq__os_thread_same(run->worker->thread, jobq__os_thread_self());
}

static int jobq__run_refuse_thread(const char *call, jobq_error *err) {
    return jobq__err_set(err, JOBQ_MISUSE, "%s is for the handler's own thread; of its helpers only"
                         " jobq_should_stop may be called", call);
}

/* ---- Sleeping ---- */

/* Until it is woken, or should stop, or its time has come. An artificial clock comes to us: advance
 * fires the wake. The system's is waited for right here, so that a sleep takes no longer because
 * the scheduler is busy. With pool.mu held. */
static void jobq__run_doze(struct jobq_run *run, int64_t until_ms) {
    jobq *q = run->q;
    int64_t until_us = jobq__to_us(JOBQ__MIN(until_ms, run->deadline_ms));
    while (run->sleeping && !jobq_should_stop(run)) {
        if (q->clock || until_us == INT64_MAX) jobq__os_wait(&run->worker->cond, &q->pool.mu);
        else if (jobq__clock_mono_us() >= until_us) break;
        else jobq__os_wait_until(&run->worker->cond, &q->pool.mu, until_us);
    }
}

JOBQ_API bool jobq_run_sleep(jobq_run *run, int64_t duration_ms) {
    jobq *q = run->q;
    struct jobq__pool *pool = &q->pool;
    int64_t until_ms = jobq__clock_after(q->clock, JOBQ__MAX(duration_ms, 0));
    if (run->in_tx || duration_ms <= 0 || jobq__run_forked(run) || jobq__core_in_connect(q)
        || !jobq__run_is_ours(run))
        return jobq_should_stop(run);
    if (duration_ms == JOBQ_UNLIMITED) {
        /* It has no other way to tell, and who sleeps in a loop is to end it. */
        run->endless = "jobq_run_sleep was given";
        jobq__os_or(&run->stop, JOBQ__STOP_ASKED);
        return true;
    }
    if (q->step_mode && q->clock) {
        /* Nobody else moves it. */
        jobq__clock_move(q->clock, JOBQ__MIN(until_ms, run->deadline_ms));
        return jobq_should_stop(run);
    }
    jobq__os_lock(&pool->mu);
    jobq__wheel_add(&pool->timers.wheel, &run->sleep.timer, until_ms);
    run->sleeping = true;
    pool->crew.sleeping++;
    jobq__wake_quiet(q);
    jobq__os_unlock(&pool->mu);
    if (q->clock) jobq__wake_scheduler(q);
    jobq__os_lock(&pool->mu);
    jobq__run_doze(run, until_ms);
    jobq__wake_run(run);
    jobq__wheel_del(&pool->timers.wheel, &run->sleep.timer);
    jobq__os_unlock(&pool->mu);
    return jobq_should_stop(run);
}

/* ---- The job's transaction ---- */

static const char jobq__run_not_begun[] = "the job's transaction did not begin";

static int jobq__run_begin_tx(struct jobq_run *run, int64_t wait_us, jobq_error *err) {
    jobq *q = run->q;
    int64_t until_us = jobq__add(jobq__clock_mono_us(), wait_us);
    jobq__store *job = jobq__core_job(q);
    int rc = jobq__os_load(&q->failed);
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
    rc = jobq__core_open_job(q, err);
    if (rc != JOBQ_OK) return rc;
    jobq__guard_begin(job);
    rc = jobq__turn_begin_within(q, job, until_us);
    if (rc != JOBQ_OK) {
        if (rc == JOBQ_BUSY) jobq__turn_busy(q, jobq__run_not_begun, err);
        else rc = jobq__store_fail(job, err);
        jobq__store_rollback(job);
        jobq__core_leave_job(q);
        return rc;
    }
    jobq__disk_begin(q);
    q->turn.begun_us = jobq__clock_mono_us();
    jobq__tx_open(&q->tx, job, JOBQ__TX_OF_JOB);
    jobq__guard_leave(job);
    return JOBQ_OK;
}

JOBQ_API int jobq_run_db(jobq_run *run, struct sqlite3 **db, jobq_error *err) {
    jobq *q;
    int rc;
    if (!run || !db) return jobq__err_set(err, JOBQ_MISUSE, "run and db must not be NULL");
    *db = NULL;
    q = run->q;
    if (jobq__run_forked(run)) return jobq__err_set(err, JOBQ_FORKED, NULL);
    if (jobq__core_in_connect(q)) return jobq__core_refuse_connect("jobq_run_db", err);
    if (!jobq__run_is_ours(run)) return jobq__run_refuse_thread("jobq_run_db", err);
    if (!run->in_tx) {
        int64_t left_us = q->baton.busy_us;
        rc = jobq__baton_hold(q, &left_us);
        if (rc == JOBQ_BUSY) return jobq__turn_busy(q, jobq__run_not_begun, err);
        if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
        rc = jobq__run_begin_tx(run, left_us, err);
        if (rc != JOBQ_OK) {
            jobq__assert(jobq__err_is_public(rc));
            jobq__baton_release(q);
            return rc;
        }
        run->in_tx = true;
        jobq__os_transaction(1);
        q->job_run = run;
        jobq__baton_set_job(q, true);
    }
    *db = jobq__store_handle(jobq__core_job(q));
    return JOBQ_OK;
}

JOBQ_API jobq_outcome jobq_keep_writes(jobq_run *run, jobq_outcome outcome) {
    run->keeps = true;
    return outcome;
}

/* ---- The checkpoint ---- */

struct jobq__run_save {
    struct jobq_run *run;
    const void *data;
    size_t size;
};

static int jobq__run_write_saved(struct jobq__tx *tx, struct jobq__request *r) {
    jobq *q = tx->q;
    const struct jobq__run_save *save = r->arg;
    const struct jobq__entry *entry = save->run->entry;
    int64_t id = entry->row.id;
    int changed = 0;
    int rc = jobq__store_extra(tx->db, id, JOBQ__EXTRA_SAVED, save->data, save->size);
    /* For who is no suspect any more: the lane of its queue. */
    if (rc == JOBQ_OK && entry->lane == q->suspects) rc = jobq__tx_know(tx, entry->row.queue);
    if (rc == JOBQ_OK)
        rc = jobq__store_forgive(tx->db, id, entry->row.runs, JOBQ__SIDE_EXTRA, &changed);
    if (rc != JOBQ_OK || changed) return rc;
    return jobq__err_set(r->err, JOBQ_NOT_FOUND, "this run of job %lld is over: another connection"
                         " has changed or deleted its row; nothing was saved", (long long)id);
}

/* Its crashes are forgiven: others that have met one need not wait for it any more. */
static void jobq__run_clear(jobq *q, struct jobq__entry *entry) {
    struct jobq__lane *lane = jobq__registry_lane(&q->names, entry->row.queue);
    if (entry->lane != q->suspects || !lane) return;
    jobq__tx_let(entry);
    entry->lane = lane;
    jobq__tx_hold(entry);
    jobq__os_lock(&q->pool.mu);
    q->pool.work.left = true;
    jobq__os_unlock(&q->pool.mu);
    jobq__wake_scheduler(q);
}

static void jobq__run_after_saved(jobq *q, struct jobq__request *r) {
    struct jobq__entry *entry = ((const struct jobq__run_save *)r->arg)->run->entry;
    entry->row.side |= JOBQ__SIDE_EXTRA;
    entry->row.crashes = 0;
    jobq__run_clear(q, entry);
}

JOBQ_API int jobq_checkpoint(jobq_run *run, const void *data, size_t size, jobq_error *err) {
    struct jobq__run_save save = {run, data, size};
    struct jobq__request request;
    jobq_error local;
    void *copy = NULL;
    int rc;
    if (!run || (!data && size))
        return jobq__err_set(err, JOBQ_MISUSE, run ? "data is NULL but has a size; NULL and 0 take"
                             " the checkpoint away" : "run must not be NULL");
    if (jobq__run_forked(run)) return jobq__err_set(err, JOBQ_FORKED, NULL);
    if (jobq__core_in_connect(run->q))
        return jobq__core_refuse_connect("jobq_checkpoint", err);
    if (!jobq__run_is_ours(run)) return jobq__run_refuse_thread("jobq_checkpoint", err);
    if (run->in_tx)
        return jobq__err_set(err, JOBQ_MISUSE, "jobq_checkpoint is not for after jobq_run_db,"
                             " whose transaction keeps others from writing; save it before that, or"
                             " the next run's state in a table of your own");
    if (size > (size_t)run->q->options.payload_max)
        return jobq__err_set(err, JOBQ_TOO_BIG, "the checkpoint has %llu bytes; payload_max is"
                             " %lld", (unsigned long long)size,
                             (long long)run->q->options.payload_max);
    if (data) copy = jobq__mem_copy(data, size);
    if (data && !copy) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    local.code = JOBQ_OK;
    memset(&request, 0, sizeof request);
    request.write = jobq__run_write_saved;
    request.adds = (int64_t)size + JOBQ__ROW_BYTES;
    request.largest = (int64_t)size;
    request.after = jobq__run_after_saved;
    request.arg = &save;
    request.atomic = true;
    request.err = &local;
    rc = jobq__commit_request(run->q, &request);
    jobq__assert(jobq__err_is_public(rc));
    if (rc != JOBQ_OK) {
        if (err) *err = local;
        jobq__mem_free(copy);
        return rc;
    }
    jobq__mem_free(run->saved);
    run->saved = copy;
    run->saved_size = size;
    run->saved_read = true;
    return JOBQ_OK;
}

static int jobq__run_read_saved(jobq_run *run) {
    struct jobq__look look;
    int rc;
    if (!(run->entry->row.side & JOBQ__SIDE_EXTRA)) return JOBQ_OK;
    if (jobq__run_forked(run)) return JOBQ_FORKED;
    rc = jobq__run_look(run, &look);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__store_saved(look.db, run->entry->row.id, &run->saved, &run->saved_size);
    jobq__run_looked(run, &look, rc);
    return rc;
}

JOBQ_API const void *jobq_run_checkpoint(jobq_run *run, size_t *size) {
    if (!run->saved_read) run->saved_read = jobq__run_read_saved(run) == JOBQ_OK;
    if (size) *size = !run->saved_read ? SIZE_MAX : run->saved ? run->saved_size : 0;
    return run->saved;
}
