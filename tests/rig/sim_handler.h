/* sim_handler.h - what the simulated jobs do, and what has to be true when one of them starts. */
#ifndef JOBQ_TEST_SIM_HANDLER_H
#define JOBQ_TEST_SIM_HANDLER_H

#include "sim_calls.h"

/* What a handler returns, with its detail. */
struct sim_answer {
    jobq_outcome outcome;
    int64_t at_ms;  /* JOBQ_SNOOZE, JOBQ_RESCHEDULE */
    int error;      /* as model_job.error */
    struct model_blob result;
    bool bare;      /* JOBQ_SNOOZE, JOBQ_RESCHEDULE without a time: at_ms is what that comes to */
    bool keeps;     /* its writes, if one of them */
};

/* ---- A start ---- */

/* The clock is where the application or a handler has left it, or jobq_advance has moved it to the
 * next wake, and then nobody was ready before. */
static inline void sim_check_clock(int64_t now_ms) {
    if (now_ms == sim.last_ms) return;
    if (!sim.advancing) sim_broken("the clock has moved by itself");
    for (int i = 0; i < sim.m.count; i++)
        if (model_ready(&sim.rules, &sim.m.jobs[i], now_ms - 1))
            sim_broken("the clock was moved from %" PRId64 " to %" PRId64 ", past job %" PRId64
                       ", due at %" PRId64, sim.last_ms, now_ms, sim.m.jobs[i].id,
                       sim.m.jobs[i].run_at_ms);
}

/* Lines take turns: over steps none with work is passed by many times. Within one run_until_idle
 * what a handler enqueues may go first, and a commit that failed may have had a turn in vain. */
static inline void sim_check_turn(const struct model_job *job, int64_t now_ms) {
    for (int line = 0; line <= MODEL_QUEUES; line++) {
        bool waits = line != model_line(job) && model_head(&sim.m, &sim.rules, line, now_ms);
        if (!waits || sim_trouble()) sim.passed[line] = 0;
        else if (sim.stepping) sim.passed[line]++;
        if (sim.passed[line] > MODEL_QUEUES + 2)
            sim_broken("line %d was passed by %d times", line, sim.passed[line]);
    }
}

static inline void sim_check_start(const struct model_job *job, int64_t id, int64_t now_ms) {
    const struct model_job *head;
    if (!job) {
        sim_broken("job %" PRId64 " starts, but does not exist", id);
        return;
    }
    head = model_head(&sim.m, &sim.rules, model_line(job), now_ms);
    if (job->state != JOBQ_STATE_PENDING)
        sim_broken("job %" PRId64 " starts, but it is %s", id, jobq_state_name(job->state));
    else if (!model_its_time(job, now_ms) && !job->due_unsure)
        sim_broken("job %" PRId64 " starts %" PRId64 " ms early", id, job->run_at_ms - now_ms);
    else if (!sim.rules.kinds[job->spec.kind].handled)
        sim_broken("job %" PRId64 " starts, but its kind has no handler", id);
    else if (model_doomed(&sim.rules, job))
        sim_broken("job %" PRId64 " starts after %d crashes", id, job->crashes);
    else if (head && model_before(head, job) && (job->crashes == 0 || sim.stepping) && !sim.tight)
        /* On a full disk few are made ready at a time, by run time, and others start meanwhile. */
        sim_broken("job %" PRId64 " starts before job %" PRId64, id, head->id);
    else sim_check_turn(job, now_ms);
}

/* A death has left open which of its checkpoints a job finds; it is one of them all the same. */
static inline void sim_adopt_saved(struct model_job *job, const void *saved, size_t size) {
    job->saved_unsure = false;
    job->has_saved = saved != NULL;
    job->saved.size = (uint32_t)size;
    if (size >= sizeof job->saved) memcpy(&job->saved, saved, sizeof job->saved);
    if (!sim_same(job->saved, saved, size))
        sim_broken("the checkpoint of job %" PRId64 " is none of its own", job->id);
}

/* What the clock will show when so much has passed. */
static inline int64_t sim_on_wall(int64_t at_ms) {
    return at_ms == JOBQ_NEVER ? at_ms : at_ms + sim.offsets[sim.offset_count - 1];
}

/* What the run says of itself. */
static inline void sim_check_run(struct model_job *job, jobq_run *run) {
    const struct model_kind *kind = &sim.rules.kinds[job->spec.kind];
    int64_t deadline_ms = kind->timeout_ms == JOBQ_NONE ? JOBQ_NEVER
                        : model_later(job->started_ms, kind->timeout_ms);
    size_t size = 7, saved_size = 7;
    const void *payload = jobq_run_payload(run, &size);
    const void *saved;
    struct sim_eye eye;
    sim_open_eye(&eye);
    saved = jobq_run_checkpoint(run, &saved_size);
    sim_shut_eye(&eye);
    sim.run.deadline_ms = deadline_ms;
    if (jobq_run_attempt(run) != job->attempt || jobq_run_crashes(run) != job->crashes
        || jobq_run_deadline(run) != sim_on_wall(deadline_ms) || jobq_run_handle(run) != sim.q
        || strcmp(jobq_run_kind(run), sim_kinds[job->spec.kind]) != 0)
        sim_broken("the run of job %" PRId64 " says: attempt %d, crashes %d, deadline %" PRId64,
                   job->id, jobq_run_attempt(run), jobq_run_crashes(run), jobq_run_deadline(run));
    if (!sim_same(job->spec.payload, payload, size))
        sim_broken("the payload of job %" PRId64 " differs", job->id);
    if (job->saved_unsure) sim_adopt_saved(job, saved, saved_size);
    else if (job->has_saved ? !saved || !sim_same(job->saved, saved, saved_size)
                            : saved || saved_size)
        sim_broken("the checkpoint of job %" PRId64 " differs", job->id);
    if (jobq_should_stop(run)) sim_broken("job %" PRId64 " should stop at once", job->id);
}

static inline void sim_begin_run(jobq_run *run) {
    int64_t id = jobq_run_id(run), now_ms = sim_now();
    struct model_job *job;
    sim_look_back(id);
    if (sim.run.id && !sim_over())
        sim_broken("job %" PRId64 " starts, but the outcome of %" PRId64 " is not on the disk", id,
                   sim.run.id);
    sim_check_clock(now_ms);
    if (!sim_over()) sim_remember(false);
    sim_promote(now_ms, JOBQ__BATCH);
    job = model_find(&sim.m, id);
    sim_check_start(job, id, now_ms);
    if (sim_over()) return;
    model_start(job, sim_mono());
    sim_await_event(job, JOBQ_STATE_PENDING, JOBQ_STATE_RUNNING, JOBQ_OUTCOME_NONE);
    sim_hear();
    job = model_find(&sim.m, id); /* others may be gone by what was heard */
    memset(&sim.run, 0, offsetof(struct sim_run_state, tx));
    sim.run.id = id;
    sim.run.run = run;
    sim.run.hits = sim.call_hits;
    sim.stats.started++;
    sim.figures.runs++;
    sim.call_runs++;
    sim_say("  run of job %" PRId64 " in %s, attempt %d, crashes %d, at %" PRId64, id,
            sim_queues[job->spec.queue], job->attempt, job->crashes, now_ms);
    sim_remember(false);
    sim_check_run(job, run);
}

/* ---- The transaction of a job ---- */

static inline void sim_write_effect(sqlite3 *db) {
    char sql[96];
    int64_t n = (int64_t)(test_random(&sim.random) >> 16);
    int rc;
    snprintf(sql, sizeof sql, "INSERT INTO effect VALUES(%" PRId64 ")", n);
    rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    sim_say("    in tx: a row: %d", rc);
    if (rc != SQLITE_OK) {
        if (!sim_trouble()) sim_broken("%s", sqlite3_errmsg(db));
        return;
    }
    sim.run.effects++;
    sim.run.effect_sum += (uint64_t)n;
}

/* A handler that does what it must not. */
static inline void sim_end_tx(sqlite3 *db) {
    bool commit = sim_chance(500);
    sim_say("    in tx: %s", commit ? "COMMIT" : "ROLLBACK");
    sqlite3_exec(db, commit ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL);
    sim.run.tx_ended = true;
    if (sim_chance(500)) sqlite3_exec(db, "INSERT INTO effect VALUES(5)", NULL, NULL, NULL);
}

/* False if there is no transaction to be had. */
static inline bool sim_use_db(void) {
    jobq_error err = {.code = 0};
    sqlite3 *db = NULL;
    int code = jobq_run_db(sim.run.run, &db, &err);
    sim_say("    jobq_run_db: %s", jobq_code_name(code));
    sim_note_latch();
    sim_mind_death();
    if (code != JOBQ_OK) {
        if (!sim_trouble() && code != sim.latched)
            sim_broken("jobq_run_db is %s: %s", jobq_code_name(code), err.text);
        return false;
    }
    sim.run.in_tx = sim.wrote = true;
    model_copy(&sim.run.tx, &sim.m);
    if (sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS effect(n INTEGER)", NULL, NULL, NULL)
        && !sim_trouble()) sim_broken("%s", sqlite3_errmsg(db));
    /* Nobody else can look into memory. */
    if (sim.profile->memory) sim_count_effects(db);
    for (int i = sim_pick(3); i >= 0 && !sim_over(); i--) {
        if (sim_chance(350)) sim_enqueue(1 + sim_pick(2));
        sim_write_effect(db);
        if (sim_chance(60)) sim_change(MODEL_CANCEL, sim_some_id());
    }
    if (sim_chance(30)) sim_end_tx(db);
    sim_mind_death();
    return true;
}

/* ---- What a handler does ---- */

static inline void sim_sleep(void) {
    int64_t now_ms = sim_mono(), duration_ms = sim_duration() / 8;
    int64_t until_ms = model_later(now_ms, duration_ms);
    const struct model_job *job = model_find(&sim.m, sim.run.id);
    bool stop = jobq_run_sleep(sim.run.run, duration_ms);
    if (until_ms > sim.run.deadline_ms) until_ms = sim.run.deadline_ms;
    if (until_ms < now_ms || sim.run.in_tx) until_ms = now_ms;
    sim_say("    sleeps %" PRId64 " ms", duration_ms);
    if (sim_mono() != until_ms) sim_broken("a sleep has moved the clock to %" PRId64, sim_now());
    if (stop != (job->cancel || sim_mono() >= sim.run.deadline_ms))
        sim_broken("after a sleep, should_stop is %d", stop);
}

/* None of these may be called by a handler. */
static inline void sim_forbidden(void) {
    jobq *q = sim.q;
    int code, ran;
    switch (sim_pick(5)) {
    case 0: code = jobq_step(sim.q, &ran, NULL); break;
    case 1: code = jobq_advance(sim.q, 1, NULL, NULL); break;
    case 2: code = jobq_wait(sim.q, sim.run.id, 0, NULL, NULL); break;
    case 3: code = jobq_stop(sim.q, 0, NULL); break;
    default: code = jobq_close(&q);
    }
    if (code != JOBQ_MISUSE || !q) sim_broken("a handler may step, wait, stop or close");
}

static inline int64_t sim_self_or_other(void) {
    return sim_chance(500) ? sim.run.id : sim_some_id();
}

static inline void sim_act(void) {
    if (sim_chance(sim.profile->steps)) sim_step_clock();
    switch (sim_pick(14)) {
    case 0: case 1:
        jobq_clock_advance(sim.clock, sim_duration());
        sim_say("    takes until %" PRId64, sim_now());
        break;
    case 2: sim_sleep(); break;
    case 3: sim_change(MODEL_CHECKPOINT, sim.run.id); break;
    case 4: case 5: sim_enqueue(1); break;
    case 6: sim_enqueue(sim_pick(5)); break;
    case 7: sim_change(MODEL_CANCEL, sim_self_or_other()); break;
    case 8: sim_change(MODEL_RETRY_NOW, sim_self_or_other()); break;
    case 9: sim_change(MODEL_DELETE, sim_self_or_other()); break;
    case 10: sim_forbidden(); break;
    case 11: sim_check_all(false); break;
    case 12: sim_inspect(); break;
    default: sim_look(sim.run.id);
    }
    if (sim_bad_luck(sim.profile->deaths / 3)) {
        jobq_mark_exit();
        sim.leaving = true;
        sim_say("    says that it is leaving");
    }
    if (sim_bad_luck(sim.profile->deaths)) sim_die(sim.logging && sim_chance(500));
}

static inline int64_t sim_bare_at(void) {
    const struct model_job *job = model_find(&sim.m, sim.run.id);
    return model_later(sim_now(), job ? sim.rules.kinds[job->spec.kind].min_ms : 0);
}

static inline struct sim_answer sim_some_answer(void) {
    static const jobq_outcome outcomes[] = {JOBQ_DONE, JOBQ_DONE, JOBQ_DONE, JOBQ_DONE, JOBQ_RETRY,
        JOBQ_RETRY, JOBQ_RETRY, JOBQ_FAIL, JOBQ_SNOOZE, JOBQ_RESCHEDULE, JOBQ_CANCELLED};
    struct sim_answer a;
    memset(&a, 0, sizeof a);
    a.outcome = outcomes[sim_pick(11)];
    if (sim_chance(15)) a.outcome = (jobq_outcome)(sim_chance(500) ? 99 : JOBQ_CRASHED);
    a.at_ms = sim_chance(300) ? sim_now() : model_later(sim_now(), sim_duration());
    if (a.outcome == JOBQ_RESCHEDULE && sim_chance(100)) a.at_ms = sim_pick(1000000);
    a.bare = (a.outcome == JOBQ_SNOOZE || a.outcome == JOBQ_RESCHEDULE) && sim_chance(250);
    if (a.bare) a.at_ms = sim_bare_at();
    a.keeps = sim_chance(500);
    if (sim_chance(700)) a.error = MODEL_SAID + sim_pick(1000);
    if (sim_chance(400)) a.result = sim_blob();
    if (a.result.size > sim.rules.payload_max) a.result.size = (uint32_t)sim.rules.payload_max;
    return a;
}

/* A kind's handler; what its jobs do is drawn, unless a test has a script. */
static inline struct sim_answer sim_improvise(void) {
    struct sim_answer a;
    for (int i = sim_pick(4); i > 0 && !sim_over(); i--) sim_act();
    a = sim_some_answer();
    if (!sim_over() && sim_chance(300) && !sim_use_db() && !sim_over()) {
        a.outcome = JOBQ_RETRY;
        a.error = MODEL_SAID;
        a.bare = false;
    }
    return a;
}

static struct sim_answer (*sim_script)(void) = sim_improvise;

/* ---- The end of a run ---- */

/* It says for how long, or it says when. */
static inline bool sim_lasts(const struct sim_answer *a) {
    return a->outcome != JOBQ_RESCHEDULE || a->bare || (a->at_ms >= sim_now() && a->at_ms % 2);
}

static inline void sim_add_verdict(jobq_outcome outcome, int64_t at_ms, bool lasts, int error) {
    struct model_verdict *v = &sim.run.may[sim.run.may_count++];
    model_judge(&sim.rules, model_find(&sim.m, sim.run.id), outcome, at_ms, lasts, v);
    v->error = error;
}

/* What the answer comes to; if the disk is in trouble a transaction may come to something else. */
static inline void sim_judge(const struct sim_answer *a) {
    const struct model_job *job = model_find(&sim.m, sim.run.id);
    const struct model_kind *kind = &sim.rules.kinds[job->spec.kind];
    bool late = sim_mono() >= sim.run.deadline_ms;
    /* Who is asked to stop cannot tell why, and says that he was cancelled. */
    bool asked = a->outcome == JOBQ_CANCELLED && (job->cancel || late);
    jobq_outcome outcome = asked ? JOBQ_RETRY : a->outcome;
    bool nonsense = outcome >= JOBQ_CRASHED;
    bool failed = (outcome == JOBQ_RETRY && !asked) || outcome == JOBQ_FAIL;
    int error = nonsense ? MODEL_NONSENSE : failed ? a->error : MODEL_SILENT;
    if (outcome == JOBQ_RETRY && !error && late) error = MODEL_LATE;
    sim.run.may_count = 0;
    if (!sim.run.tx_ended) {
        sim_add_verdict(nonsense ? JOBQ_RETRY : outcome, a->at_ms, sim_lasts(a), error);
        if (a->outcome == JOBQ_DONE && kind->keep_done_ms != JOBQ_NONE)
            sim.run.may[0].result = a->result;
        sim.run.may[0].kept = outcome == JOBQ_DONE
            || (a->keeps && (outcome == JOBQ_SNOOZE || outcome == JOBQ_RESCHEDULE));
        sim.run.may[0].effects = sim.run.may[0].kept ? sim.run.effects : 0;
        sim.run.may[0].effect_sum = sim.run.may[0].kept ? sim.run.effect_sum : 0;
    }
    if (!sim.run.in_tx) return;
    sim_add_verdict(JOBQ_RETRY, 0, true, MODEL_ENDED);
    sim_add_verdict(JOBQ_SNOOZE, model_later(sim_now(), kind->min_ms), true, MODEL_DISK);
}

static inline void sim_end_run(const struct sim_answer *a) {
    struct model_job *job = model_find(&sim.m, sim.run.id);
    struct model_job *in_tx = sim.run.in_tx ? model_find(&sim.run.tx, sim.run.id) : NULL;
    if (sim_chance(200) && jobq_should_stop(sim.run.run)
                           != (job->cancel || sim_mono() >= sim.run.deadline_ms))
        sim_broken("should_stop is wrong");
    job->returned = true;
    job->returned_ms = sim.last_ms = sim_now();
    job->ran_ms = sim_mono() - job->started_ms;
    sim_judge(a);
    if (in_tx) *in_tx = *job;
    sim_say("  job %" PRId64 " returns %s, error %d, at %" PRId64, job->id,
            jobq_outcome_name(a->outcome), a->error, a->at_ms);
    sim.run.run = NULL;
}

/* Says it to jobq: plainly, or with its detail. */
static inline jobq_outcome sim_tell(jobq_run *run, const struct sim_answer *a) {
    if (a->bare) return a->outcome;
    switch (a->outcome) {
    case JOBQ_DONE:
        sim_fill(a->result, sim_bytes[0]);
        return jobq_done(run, a->result.size ? sim_bytes[0] : NULL, a->result.size);
    case JOBQ_RETRY: return a->error ? jobq_retry(run, "no luck %d", a->error) : JOBQ_RETRY;
    case JOBQ_FAIL: return a->error ? jobq_fail(run, "no luck %d", a->error) : JOBQ_FAIL;
    case JOBQ_SNOOZE: return jobq_snooze(run, a->at_ms - sim_now());
    case JOBQ_RESCHEDULE:
        return sim_lasts(a) ? jobq_reschedule_in(run, a->at_ms - sim_now())
                            : jobq_reschedule_at(run, a->at_ms);
    default: return a->outcome;
    }
}

static inline jobq_outcome sim_run(jobq_run *run, void *ctx) {
    static const struct sim_answer done = {JOBQ_DONE, 0, 0, {0, 0}, false, false};
    struct sim_answer a = done;
    (void)ctx;
    if (sim_over()) return JOBQ_DONE;
    sim_begin_run(run);
    if (!sim_over() && sim.call_runs < 25) a = sim_script();
    if (sim_over()) return JOBQ_DONE;
    sim_end_run(&a);
    return a.keeps ? jobq_keep_writes(run, sim_tell(run, &a)) : sim_tell(run, &a);
}

#endif
