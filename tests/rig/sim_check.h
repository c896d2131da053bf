/* sim_check.h - is the queue as the model has it? Row by row, in all listings, in counters, in what
 * on_event tells, in the application's own table, in what is used of memory and log. */
#ifndef JOBQ_TEST_SIM_CHECK_H
#define JOBQ_TEST_SIM_CHECK_H

#include "sim.h"

#include "amalgamation/limits.h"

static const char *const sim_kinds[MODEL_KINDS] = {"mail", "thumb", "sync", "pay", "late"};
static const char *const sim_queues[MODEL_QUEUES] = {"default", "slow", "urgent"};
static const char *const sim_keys[] = {"a", "b", "alice@example.com", "\xc3\xa9t\xc3\xa9"};
enum { SIM_KEYS = 4 };

/* ---- One row ---- */

static char sim_why[256];

#define SIM_DIFFER(got, wanted) \
    do { \
        if ((int64_t)(got) == (int64_t)(wanted)) break; \
        snprintf(sim_why, sizeof sim_why, "job %" PRId64 ": %s is %" PRId64 ", should be %" \
                 PRId64, job->id, #got, (int64_t)(got), (int64_t)(wanted)); \
        return true; \
    } while (0)

#define SIM_DIFFER_TEXT(got, wanted) \
    do { \
        if (strcmp(got, wanted) == 0) break; \
        snprintf(sim_why, sizeof sim_why, "job %" PRId64 ": %s is \"%.60s\", should be \"%.60s\"", \
                 job->id, #got, got, wanted); \
        return true; \
    } while (0)

#define SIM_WITHIN(got, low, high) \
    do { \
        if ((got) >= (low) && (got) <= (high)) break; \
        snprintf(sim_why, sizeof sim_why, "job %" PRId64 ": %s is %" PRId64 ", should be %" PRId64 \
                 " to %" PRId64, job->id, #got, (int64_t)(got), (int64_t)(low), (int64_t)(high)); \
        return true; \
    } while (0)

static inline bool sim_error_differs(const struct model_job *job, const jobq_info *info) {
    static const char *const begins[] = {"", "crashed", "the run took longer than its timeout",
        "the job's transaction was ended", "the job's transaction could not be committed",
        "the handler returned a value that is no outcome"};
    char wanted[64];
    if (job->error < MODEL_SAID) snprintf(wanted, sizeof wanted, "%s", begins[job->error]);
    else snprintf(wanted, sizeof wanted, "no luck %d", job->error);
    if (job->error == MODEL_SILENT) SIM_DIFFER_TEXT(info->error, "");
    if (strncmp(info->error, wanted, strlen(wanted)) != 0) SIM_DIFFER_TEXT(info->error, wanted);
    return false;
}

/* What the time makes of a pending job. */
static inline bool sim_turn_differs(const struct model_job *job, const jobq_info *info) {
    int64_t now_ms = sim_now();
    bool pending = job->state == JOBQ_STATE_PENDING;
    const struct model_kind *kind = &sim.rules.kinds[job->spec.kind];
    if (!pending || job->due || info->run_at_ms <= now_ms) SIM_DIFFER(info->scheduled, false);
    else if (info->run_at_ms > sim.high_ms) SIM_DIFFER(info->scheduled, true);
    if (!pending || info->scheduled || (kind->handled && !kind->unsure))
        SIM_DIFFER(info->parked, false);
    return false;
}

static inline bool sim_row_differs(const struct model_job *job, const jobq_info *info) {
    const struct model_spec *spec = &job->spec;
    SIM_DIFFER(info->state, job->state);
    SIM_DIFFER_TEXT(info->kind, sim_kinds[spec->kind]);
    SIM_DIFFER_TEXT(info->queue, sim_queues[spec->queue]);
    SIM_DIFFER_TEXT(info->key, spec->key < 0 ? "" : sim_keys[spec->key]);
    SIM_DIFFER(info->priority, spec->priority);
    SIM_DIFFER(info->attempt, job->attempt);
    SIM_DIFFER(info->runs, job->runs);
    SIM_DIFFER(info->crashes, job->crashes);
    SIM_DIFFER(info->created_at_ms, job->created_ms);
    SIM_DIFFER(info->payload_size, spec->payload.size);
    SIM_DIFFER(info->result_size, job->result.size);
    SIM_WITHIN(info->run_at_ms, job->run_at_ms, job->run_at_max_ms);
    if (model_finished(job))
        SIM_WITHIN(info->finished_at_ms, job->finished_ms, job->finished_max_ms);
    else SIM_DIFFER(info->finished_at_ms, 0);
    return sim_error_differs(job, info) || sim_turn_differs(job, info);
}

/* The jitter is a matter of seed, id and run only: a run that a power cut took away comes to the
 * same delay again. */
static inline void sim_note_delay(const struct model_job *job, int64_t delay_ms) {
    size_t at = (size_t)job->id % (sizeof sim.delays / sizeof sim.delays[0]);
    if (sim.delays[at].id == job->id && sim.delays[at].created_ms == job->created_ms
        && sim.delays[at].runs == job->runs && sim.delays[at].attempt == job->attempt
        && sim.delays[at].delay_ms != delay_ms)
        sim_broken("job %" PRId64 ": the delay after run %d was %" PRId64 " ms, now it is %" PRId64,
                   job->id, job->runs, sim.delays[at].delay_ms, delay_ms);
    sim.delays[at].id = job->id;
    sim.delays[at].created_ms = job->created_ms;
    sim.delays[at].runs = job->runs;
    sim.delays[at].attempt = job->attempt;
    sim.delays[at].delay_ms = delay_ms;
}

/* The queue has looked: a transaction makes a batch ready, and on a full disk perhaps less. */
static inline void sim_promote(int64_t now_ms, int batch) {
    if (sim.tight) model_step(&sim.m, now_ms, now_ms);
    else model_promote(&sim.m, now_ms, batch);
}

/* What was open is known now. */
static inline void sim_adopt(struct model_job *job, const jobq_info *info) {
    if (job->run_at_ms != job->run_at_max_ms && job->returned_ms >= 0)
        sim_note_delay(job, info->run_at_ms - job->returned_ms);
    job->run_at_ms = job->run_at_max_ms = info->run_at_ms;
    if (model_finished(job)) job->finished_ms = job->finished_max_ms = info->finished_at_ms;
    /* By an earlier clock, then. */
    if (job->state == JOBQ_STATE_PENDING && !info->scheduled && info->run_at_ms > sim_now())
        job->due = job->early = true;
    job->due_unsure = false;
}

/* ---- The run whose outcome may be on the disk ---- */

static inline void sim_await_event(const struct model_job *job, jobq_state from, jobq_state to,
                                   jobq_outcome outcome) {
    struct sim_awaited *a = &sim.awaited[sim.awaited_count];
    bool settled = from == JOBQ_STATE_RUNNING && outcome != JOBQ_CRASHED;
    if (sim.awaited_count == SIM_AWAITED) {
        sim_broken("%d events have not come", sim.awaited_count);
        return;
    }
    memset(a, 0, sizeof *a);
    a->id = job->id;
    a->from = from;
    a->to = to;
    a->attempt = job->attempt;
    a->outcome = outcome;
    a->started_ms = settled || to == JOBQ_STATE_RUNNING ? job->started_ms : -1;
    a->run_at_ms = job->run_at_ms;
    a->run_at_max_ms = job->run_at_max_ms;
    a->early = job->early;
    if (settled) a->run_ms = job->ran_ms;
    sim.awaited_count++;
}

static inline void sim_count_end(jobq_state state, jobq_outcome outcome) {
    if (state == JOBQ_STATE_DONE) sim.stats.done++;
    else if (state == JOBQ_STATE_FAILED) sim.stats.failed++;
    else if (state == JOBQ_STATE_CANCELLED) sim.stats.cancelled++;
    else if (outcome == JOBQ_RETRY) sim.stats.retried++;
}

/* A cancel is heeded by all but done and failed for good. */
static inline jobq_state sim_end_state(const struct model_job *job,
                                       const struct model_verdict *v) {
    bool stands = v->outcome == JOBQ_DONE || v->outcome == JOBQ_FAIL;
    return job->cancel && !stands ? JOBQ_STATE_CANCELLED : v->state;
}

/* The outcome is on the disk: the world moves on. */
static inline void sim_settled(const struct model *world, const struct model_job *before,
                               const struct model_verdict *v) {
    jobq_state state = sim_end_state(before, v);
    jobq_outcome outcome = state == JOBQ_STATE_CANCELLED ? JOBQ_CANCELLED : v->outcome;
    sim_await_event(before, JOBQ_STATE_RUNNING, state, outcome);
    sim_count_end(state, outcome);
    sim.figures.effects += v->effects;
    for (int i = 0; sim.run.in_tx && v->kept && i < sim.run.tx.count; i++) {
        if (sim.run.tx.jobs[i].id <= sim.m.last_id) continue;
        sim_await_event(&sim.run.tx.jobs[i], JOBQ_STATE_NONE, JOBQ_STATE_PENDING,
                        JOBQ_OUTCOME_NONE);
        sim.stats.enqueued++;
    }
    model_copy(&sim.m, world);
    sim.run.id = 0;
}

/* A finished job was dropped, after its time. */
static inline void sim_drop(struct model *world, struct model_job *job) {
    sim.figures.pruned[job->state]++;
    if (sim.logging && sim.ghost_count < SIM_GHOSTS) sim.ghosts[sim.ghost_count++] = *job;
    model_remove(world, job);
}

/* What is kept no longer leaves no row behind, but an event. */
static inline bool sim_told_otherwise(int64_t id, jobq_state state) {
    for (int i = sim.event_at; i < sim.event_count; i++)
        if (sim.events[i].id == id && sim.events[i].from == JOBQ_STATE_RUNNING
            && sim.events[i].to != state) return true;
    return false;
}

/* Tries one outcome: is the row as it leaves it? On the way to the disk the time may have moved,
 * but only if the disk failed. */
static inline bool sim_fits(const struct model_verdict *v, const jobq_info *info, bool late) {
    struct model *world = &sim.scratch[0];
    struct model_job *job, before;
    bool in_tx = sim.run.in_tx && v->kept;
    model_copy(world, in_tx ? &sim.run.tx : &sim.m);
    job = model_find(world, sim.run.id);
    job->verdict = *v;
    before = *job;
    model_settle(world, &sim.rules, job, late ? sim.low_ms : job->returned_ms);
    model_age(world, &sim.rules);
    job = model_find(world, before.id);
    if (job && sim.tight && job->state != JOBQ_STATE_FAILED) job->over = true;
    /* On a full disk no message is stored while every byte is needed. */
    if (job && info && sim.tight && sim_error_differs(job, info)) job->error = before.error;
    if (late && job) job->finished_max_ms = job->finished_ms ? sim.top_ms : 0;
    if (job && !info && !model_may_be_gone(job, sim.high_ms)) return false;
    if (info && (!job || sim_row_differs(job, info))) return false;
    if (!info && sim_told_otherwise(before.id, sim_end_state(&before, v))) return false;
    if (job && info) sim_adopt(job, info);
    else if (job) sim_drop(world, job);
    sim_settled(world, &before, v);
    return true;
}

/* An outcome that a failed call has left is on the disk before the next one happens, if nothing is
 * planned to go wrong with it. The job's id, or 0. */
static inline int64_t sim_settle_first(void) {
    struct model *world = &sim.scratch[0];
    struct model_job *job, before;
    if (!sim.run.id || sim.run.run || sim.run.may_count != 1 || sim.latched || sim_planned())
        return 0;
    model_copy(world, &sim.m);
    job = model_find(world, sim.run.id);
    job->verdict = sim.run.may[0];
    before = *job;
    model_settle(world, &sim.rules, job, sim_now());
    job = model_find(world, before.id);
    if (job && sim.tight && job->state != JOBQ_STATE_FAILED) job->over = true;
    sim_settled(world, &before, &sim.run.may[0]);
    return before.id;
}

/* The handler has returned. Without trouble its outcome is on the disk, and nothing else. */
static inline void sim_resolve(const jobq_info *info) {
    struct model_job *job = model_find(&sim.m, sim.run.id);
    bool trouble = sim_trouble_since(sim.run.hits);
    char first[sizeof sim_why];
    if (info && info->state == JOBQ_STATE_RUNNING && (trouble || sim.latched)) {
        if (sim_row_differs(job, info)) sim_broken("not settled: %s", sim_why);
        return;
    }
    sim_why[0] = 0;
    for (int i = 0; i < sim.run.may_count; i++) {
        if (i > 0 && !trouble) break;
        if (sim_fits(&sim.run.may[i], info, false)) return;
        if (i == 0) memcpy(first, sim_why, sizeof first);
        if (trouble && sim_fits(&sim.run.may[i], info, true)) return;
    }
    if (info) sim_broken("after its run, %s", first);
    else sim_broken("after its run job %" PRId64 " is gone", job->id);
}

/* ---- Looking ---- */

static inline void sim_gone(struct model_job *job) {
    model_age(&sim.m, &sim.rules);
    if (!model_may_be_gone(job, sim.high_ms)) {
        sim_broken("job %" PRId64 " (%s) is lost", job->id, jobq_state_name(job->state));
        return;
    }
    sim_drop(&sim.m, job);
}

/* A job that has crashed too often was given up by a commit of which nothing was told yet. */
static inline struct model_job *sim_note_end(struct model_job *job, const jobq_info *info) {
    int64_t id = job ? job->id : 0;
    if (!job || !model_doomed(&sim.rules, job) || !sim.rules.kinds[job->spec.kind].handled)
        return job;
    if (info && info->state != JOBQ_STATE_FAILED) return job;
    sim_await_event(job, JOBQ_STATE_PENDING, JOBQ_STATE_FAILED, JOBQ_CRASHED);
    sim.stats.failed++;
    model_give_up(&sim.m, &sim.rules, job, sim.low_ms, sim.top_ms);
    return model_find(&sim.m, id);
}

static inline void sim_look_at(int64_t id, bool runs_again) {
    struct model_job *job = model_find(&sim.m, id);
    struct sim_eye eye;
    jobq_error err;
    jobq_info info;
    int code;
    if (sim_over()) return;
    sim_open_eye(&eye);
    code = jobq_get(sim.q, id, &info, &err);
    sim_shut_eye(&eye);
    if (code == JOBQ_OK && runs_again && info.state == JOBQ_STATE_RUNNING) {
        info.state = JOBQ_STATE_PENDING;
        info.runs--;
    }
    job = sim_note_end(job, code == JOBQ_OK ? &info : NULL);
    if (code != JOBQ_OK && code != JOBQ_NOT_FOUND)
        sim_broken("jobq_get is %s: %s", jobq_code_name(code), err.text);
    else if (!job && code == JOBQ_OK)
        sim_broken("job %" PRId64 " is there and should not", id);
    else if (job && job->returned)
        sim_resolve(code == JOBQ_OK ? &info : NULL);
    else if (job && code == JOBQ_NOT_FOUND)
        sim_gone(job);
    else if (job && sim_row_differs(job, &info))
        sim_broken("%s", sim_why);
    else if (job)
        sim_adopt(job, &info);
}

static inline void sim_look(int64_t id) {
    sim_look_at(id, false);
}

/* The job of the last run, if its outcome was not seen yet; starting: the one that starts now. */
static inline void sim_look_back(int64_t starting) {
    if (sim.run.id && !sim.run.run) sim_look_at(sim.run.id, sim.run.id == starting);
}

/* ---- Events ---- */

static inline void sim_on_event(const jobq_event *event, void *ctx) {
    uint64_t parts[6];
    (void)ctx;
    if (sim.dead) return;
    parts[0] = (uint64_t)event->now_ms;
    parts[1] = (uint64_t)event->id;
    parts[2] = (uint64_t)event->from;
    parts[3] = (uint64_t)event->to;
    parts[4] = (uint64_t)event->attempt;
    parts[5] = (uint64_t)event->outcome;
    for (int i = 0; i < 6; i++) {
        sim.hash += parts[i];
        test_random(&sim.hash);
        sim.hash ^= sim.hash >> 29;
        sim.hash *= UINT64_C(0x9fb21c651e98df25);
    }
    if (sim.event_count < SIM_EVENTS) sim.events[sim.event_count++] = *event;
    else sim_broken("more than %d events of one call", SIM_EVENTS);
}

static inline void sim_on_wake(void *ctx) {
    (void)ctx;
    sim.wakes++;
}

/* The one thing that nobody asked for: a job that has crashed too often fails when it is met. */
static inline bool sim_hear_end(const jobq_event *event) {
    struct model_job *job = model_find(&sim.m, event->id);
    if (event->from != JOBQ_STATE_PENDING || event->outcome != JOBQ_CRASHED) return false;
    if (!job || !model_doomed(&sim.rules, job) || !sim.rules.kinds[job->spec.kind].handled)
        return false;
    if (event->to != JOBQ_STATE_FAILED || event->attempt != job->attempt) return false;
    model_give_up(&sim.m, &sim.rules, job, event->now_ms, event->now_ms);
    sim.stats.failed++;
    return true;
}

/* From due to started: by the clock's wall until it was claimed, by what has passed from then on.
 * When that was is not known, only what the clock may have shown. */
static inline bool sim_waited(const struct sim_awaited *a, int64_t wait_ms) {
    if (a->started_ms < 0) return wait_ms == 0;
    for (int i = 0; i < sim.offset_count; i++) {
        int64_t since_ms = a->started_ms + sim.offsets[i] - a->run_at_ms;
        if (wait_ms <= since_ms && wait_ms >= since_ms - (a->run_at_max_ms - a->run_at_ms))
            return true;
        if (!a->early || wait_ms < since_ms) continue;
        if (wait_ms >= 0 && wait_ms <= a->started_ms) return true;
    }
    return false;
}

static inline bool sim_hear_awaited(const jobq_event *event) {
    for (int i = 0; i < sim.awaited_count; i++) {
        const struct sim_awaited *a = &sim.awaited[i];
        if (a->id != event->id) continue;
        if (a->from != event->from || a->to != event->to || a->attempt != event->attempt
            || a->outcome != event->outcome || !sim_waited(a, event->wait_ms)
            || a->run_ms != event->run_ms) return false;
        sim.awaited_count--;
        memmove(&sim.awaited[i], &sim.awaited[i + 1],
                (size_t)(sim.awaited_count - i) * sizeof sim.awaited[0]);
        return true;
    }
    return false;
}

/* Of the worlds that fit some had a job that was to be cancelled, and others not; it is not kept,
 * so that only this event tells. */
static inline bool sim_hear_wish(const jobq_event *event) {
    return sim.wishes_unsure && event->from == JOBQ_STATE_RUNNING
        && event->to == JOBQ_STATE_CANCELLED && event->wait_ms == 0 && event->run_ms == 0;
}

static inline void sim_hear_one(const jobq_event *event) {
    const struct model_job *job = model_find(&sim.m, event->id);
    if (sim.stepped ? event->now_ms < sim.low_ms || event->now_ms > sim.top_ms
                    : event->now_ms < sim.event_ms || event->now_ms > sim_now())
        sim_broken("an event of %" PRId64 " after one of %" PRId64, event->now_ms, sim.event_ms);
    sim.event_ms = event->now_ms;
    if (job && strcmp(event->kind, sim_kinds[job->spec.kind]) != 0)
        sim_broken("an event of job %" PRId64 " names the kind %s", event->id, event->kind);
    if (!sim_hear_awaited(event) && !sim_hear_end(event) && !sim_hear_wish(event))
        sim_broken("an event that should not be: job %" PRId64 ", %s to %s, attempt %d, outcome %s,"
                   " waited %" PRId64 " ms, ran %" PRId64 " ms", event->id,
                   jobq_state_name(event->from), jobq_state_name(event->to), event->attempt,
                   jobq_outcome_name(event->outcome), event->wait_ms, event->run_ms);
    sim.figures.edges[event->from][event->to][event->outcome]++;
    if (event->outcome == JOBQ_CRASHED) sim.figures.crashes++;
}

static inline void sim_hear(void) {
    while (sim.event_at < sim.event_count && !sim_over())
        sim_hear_one(&sim.events[sim.event_at++]);
    sim.event_at = sim.event_count = 0;
}

/* Everything that was committed was told. */
static inline void sim_hear_all(void) {
    const struct sim_awaited *a = &sim.awaited[0];
    sim_hear();
    if (sim.crash_events_unsure) sim.awaited_count = 0;
    while (sim.wishes_unsure && sim.awaited_count > 0 && a->to == JOBQ_STATE_CANCELLED)
        memmove(&sim.awaited[0], &sim.awaited[1],
                (size_t)--sim.awaited_count * sizeof sim.awaited[0]);
    sim.crash_events_unsure = sim.wishes_unsure = false;
    if (!sim_over() && sim.awaited_count > 0)
        sim_broken("no event: job %" PRId64 ", %s to %s, attempt %d", a->id,
                   jobq_state_name(a->from), jobq_state_name(a->to), a->attempt);
}

/* ---- All rows ---- */

static jobq_info sim_infos[MODEL_JOBS + 8];

/* All rows that match, in the order of the listing; -1 if it fails. */
static inline int sim_list(const jobq_filter *filter, size_t page) {
    jobq_cursor cursor = {.done = false};
    size_t count = 0, n = 0;
    jobq_error err;
    int code = JOBQ_OK;
    while (!cursor.done && code == JOBQ_OK && count < MODEL_JOBS + 8) {
        size_t room = MODEL_JOBS + 8 - count;
        code = jobq_list(sim.q, filter, &cursor, &sim_infos[count], page < room ? page : room, &n,
                         &err);
        count += n;
    }
    if (code == JOBQ_OK) return (int)count;
    sim_broken("jobq_list is %s: %s", jobq_code_name(code), err.text);
    return -1;
}

static inline const jobq_info *sim_seen(int count, int64_t id) {
    for (int i = 0; i < count; i++)
        if (sim_infos[i].id == id) return &sim_infos[i];
    return NULL;
}

/* After a call that says that nothing is left to do: who has no handler is parked. */
static inline void sim_check_rest(const struct model_job *job, const jobq_info *info) {
    if (model_ready(&sim.rules, job, sim_now()))
        sim_broken("job %" PRId64 " is ready, but the queue says that it is idle", job->id);
    if (model_its_time(job, sim_now()) && !sim.rules.kinds[job->spec.kind].handled && !info->parked)
        sim_broken("job %" PRId64 " has no handler and is not parked", job->id);
    if (model_doomed(&sim.rules, job) && info->run_at_ms <= sim_now()
        && sim.rules.kinds[job->spec.kind].handled)
        sim_broken("job %" PRId64 " has crashed too often and was not given up", job->id);
}

static inline void sim_check_rows(bool idle) {
    int count = sim_list(NULL, sim_chance(500) ? 200 : (size_t)(1 + sim_pick(9)));
    for (int i = 0; i + 1 < count; i++)
        if (sim_infos[i].id >= sim_infos[i + 1].id) sim_broken("the listing is not by id");
    for (int i = 0; i < count && !sim.broken; i++)
        if (!model_find(&sim.m, sim_infos[i].id))
            sim_broken("job %" PRId64 " is listed and should not", sim_infos[i].id);
    for (int i = sim.m.count - 1; i >= 0 && !sim.broken; i--) {
        struct model_job *job = &sim.m.jobs[i];
        const jobq_info *info = sim_seen(count, job->id);
        if (job->returned) continue;
        job = sim_note_end(job, info);
        if (job && !info) sim_gone(job);
        if (!job || !info) continue;
        if (sim_row_differs(job, info)) sim_broken("listed: %s", sim_why);
        sim_adopt(job, info);
        if (idle) sim_check_rest(job, info);
    }
}

static inline void sim_check_counts(void) {
    jobq_counts c;
    int64_t ended[6] = {0}, live, running = 0, scheduled = 0;
    WORKS(jobq_count(sim.q, &c, &err));
    for (int i = 0; i < sim.m.count; i++) {
        const struct model_job *job = &sim.m.jobs[i];
        ended[job->state]++;
        if (job->state != JOBQ_STATE_PENDING || job->due) continue;
        if (job->run_at_ms > sim.high_ms) scheduled++;
    }
    live = ended[JOBQ_STATE_PENDING];
    running = ended[JOBQ_STATE_RUNNING];
    if (c.done != ended[JOBQ_STATE_DONE] || c.failed != ended[JOBQ_STATE_FAILED]
        || c.cancelled != ended[JOBQ_STATE_CANCELLED] || c.running != running
        || c.ready + c.scheduled + c.parked != live || c.scheduled < scheduled)
        sim_broken("counted: ready %" PRId64 ", scheduled %" PRId64 ", parked %" PRId64
                   ", running %" PRId64 ", done %" PRId64 ", failed %" PRId64
                   ", cancelled %" PRId64 "; should be pending %" PRId64 " (scheduled at least %"
                   PRId64 "), running %" PRId64 ", done %" PRId64 ", failed %" PRId64
                   ", cancelled %" PRId64, c.ready, c.scheduled, c.parked, c.running, c.done,
                   c.failed, c.cancelled, live, scheduled, running, ended[JOBQ_STATE_DONE],
                   ended[JOBQ_STATE_FAILED], ended[JOBQ_STATE_CANCELLED]);
}

/* ---- The application's own rows ---- */

/* Their number and the sum of what stands in them; an own connection that leaves the log alone. */
static inline void sim_add_effects(sqlite3 *db, int64_t *count, uint64_t *sum) {
    sqlite3_stmt *s = NULL;
    *count = 0;
    *sum = 0;
    if (sqlite3_prepare_v2(db, "SELECT n FROM effect", -1, &s, NULL) == SQLITE_OK)
        while (sqlite3_step(s) == SQLITE_ROW) {
            ++*count;
            *sum += (uint64_t)sqlite3_column_int64(s, 0);
        }
    sqlite3_finalize(s);
}

static inline void sim_check_counters(sqlite3 *db) {
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db, MISCOUNTED, -1, &s, NULL) == SQLITE_OK
        && sqlite3_step(s) == SQLITE_ROW && sqlite3_column_int64(s, 0) != 0)
        sim_broken("%d counters are not what the rows come to", sqlite3_column_int(s, 0));
    sqlite3_finalize(s);
}

static inline void sim_read_effects(int64_t *count, uint64_t *sum) {
    sqlite3 *db = NULL;
    *count = 0;
    *sum = 0;
    if (!sim.wrote) return;
    CHECK_INT(sqlite3_open_v2(sim.path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sim_add_effects(db, count, sum);
    sim_check_counters(db);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
}

static inline void sim_compare_effects(int64_t count, uint64_t sum) {
    if (count != sim.m.effects || sum != sim.m.effect_sum)
        sim_broken("%" PRId64 " rows of handlers are in the file, should be %" PRId64
                   ", or not these", count, sim.m.effects);
}

static inline void sim_count_effects(sqlite3 *db) {
    int64_t count;
    uint64_t sum;
    sim_add_effects(db, &count, &sum);
    sim_compare_effects(count, sum);
}

static inline void sim_check_effects(void) {
    int64_t count;
    uint64_t sum;
    if (sim.profile->memory) return;
    sim_read_effects(&count, &sum);
    sim_compare_effects(count, sum);
}

/* ---- Counters and bounds ---- */

#define SIM_STAT(field) \
    if (stats.field != sim.stats.field) \
        sim_broken("stats." #field " is %" PRId64 ", should be %" PRId64, (int64_t)stats.field, \
                   (int64_t)sim.stats.field)

static inline void sim_check_stats(void) {
    jobq_stats stats;
    int64_t page = sim.options.page_size ? sim.options.page_size : 4096;
    int64_t cap = 2 * sim.options.wal_pages + 300;
    /* One commit may have as much as one call, and a page that moves is in the log as well. */
    if (sim.profile->tides) cap += 3 * MODEL_MANY * (sim.options.payload_max / page + 2);
    WORKS(jobq_stat(sim.q, &stats, &err));
    sim.stats.kept = sim.m.kept;
    SIM_STAT(kept);
    SIM_STAT(enqueued);
    SIM_STAT(started);
    SIM_STAT(done);
    SIM_STAT(retried);
    SIM_STAT(failed);
    SIM_STAT(cancelled);
    SIM_STAT(crashed);
    SIM_STAT(lost_outcomes);
    if (stats.running != (sim.run.run != NULL)) sim_broken("stats.running is %d", stats.running);
    if (stats.failed_code != sim.latched)
        sim_broken("stats.failed_code is %s", jobq_code_name(stats.failed_code));
    if (sqlite3_memory_used() > 24 * 1024 * 1024)
        sim_broken("SQLite uses %" PRId64 " bytes", (int64_t)sqlite3_memory_used());
    if (sim.profile->memory || sim_trouble_since(sim.hits_before)) return;
    /* A log that a dead process has left is seen to when something is written. */
    if (stats.wal_pages > cap || (stats.checkpoints > 0 && fault_wal_size() > cap * (page + 24)))
        sim_broken("the log has %" PRId64 " pages, %" PRId64 " bytes; a checkpoint is due at %d",
                   stats.wal_pages, fault_wal_size(), sim.options.wal_pages);
}

/* Everything that can be compared. */
static inline void sim_check_all(bool idle) {
    struct sim_eye eye;
    if (sim_over()) return;
    sim_open_eye(&eye);
    sim_check_rows(idle);
    if (!sim.broken && !sim.run.id) sim_check_counts();
    if (!sim.broken && !sim.run.id) sim_check_effects();
    sim_shut_eye(&eye);
}

#endif
