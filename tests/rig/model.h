/* model.h - a queue as jobq.h describes it, in one array and plain loops: the oracle of tests/sim.
 *
 * Nothing here knows how jobq works inside: there are no lanes, rings, groups or files. A struct
 * model is what a queue file says; it is copied whole where more than one future is possible. A
 * call is put to it by model_do, which answers with the code that jobq owes and applies the call.
 * A run goes through model_start, model_return (the handler has returned, the outcome may not be
 * on the disk yet) and model_settle. model_recover is what opening does after a death.
 *
 * What jobq.h leaves open stays open here:
 *   run_at_ms to run_at_max_ms   a retry is due somewhere within the jitter until it was looked at
 *   model_may_be_gone            a finished job whose time is over may be there still
 *   crashes >= crashes_max       such a job fails when its turn comes
 *   due                          its time has come, by an earlier clock that may have been set back
 *                                since; a job is never early again
 *   due_unsure                   it has come, but perhaps the queue has not made it ready: it had
 *                                not looked when the clock was set back, or others were before it
 *
 * Two times: wall is what a clock shows and what stands in a file, monotonic is what passes; when a
 * clock is set only the first changes. What waits for a duration (lasts) waits for the second: its
 * run_at_ms is when the wall will show that, and moves with each step. */
#ifndef JOBQ_TEST_MODEL_H
#define JOBQ_TEST_MODEL_H

#include "test.h"

enum { MODEL_JOBS = 160, MODEL_KINDS = 5, MODEL_QUEUES = 3, MODEL_MANY = 12 };

/* A kind with the defaults filled in. */
struct model_kind {
    bool handled; /* registered in this session, */
    bool unsure;  /* but who was parked for want of it may be so still */
    int attempts_max, crashes_max, jitter_percent;
    int64_t min_ms, max_ms, timeout_ms, keep_done_ms, keep_failed_ms;
    bool own_backoff;
};

struct model_rules {
    struct model_kind kinds[MODEL_KINDS];
    int64_t keep_done_ms, keep_failed_ms, keep_max, payload_max;
    bool charge_reboots;
};

/* Bytes that can be made again: a size, and what they are made from. */
struct model_blob {
    uint32_t size, seed;
};

struct model_spec {
    int kind, queue, priority;
    int key; /* or -1 */
    bool refuse; /* conflict */
    int64_t run_at_ms, delay_ms;
    struct model_blob payload;
};

/* Messages; from MODEL_SAID on they are the handler's own. */
enum { MODEL_SILENT, MODEL_CRASHED, MODEL_LATE, MODEL_ENDED, MODEL_DISK, MODEL_NONSENSE,
       MODEL_SAID };

/* What becomes of a run. */
struct model_verdict {
    jobq_outcome outcome;
    jobq_state state;
    int attempt, crashes, error, effects;
    bool kept;            /* what the handler wrote, if it had a transaction */
    uint64_t effect_sum;
    int64_t run_at_ms, run_at_max_ms;
    bool lasts;
    struct model_blob result;
};

struct model_job {
    int64_t id;
    struct model_spec spec;
    jobq_state state;
    bool due, due_unsure; /* its time has come, */
    bool early; /* and the clock has shown an earlier one since */
    bool over; /* it is one too many of those that are kept */
    int attempt, runs, crashes, error;
    int64_t created_ms, run_at_ms, run_at_max_ms;
    bool lasts;         /* it waits for a duration, */
    int64_t length_ms;  /* that takes at most so long */
    int64_t finished_ms, finished_max_ms, keep_ms; /* terminal: between these two; how long kept */
    struct model_blob result, saved;
    bool has_saved, saved_unsure;
    /* While it runs, and until its outcome is on the disk. */
    bool returned, cancel;
    int64_t started_ms, ran_ms;  /* monotonic */
    int64_t returned_ms;
    struct model_verdict verdict;
};

struct model {
    int64_t last_id;      /* the highest of all committed jobs, ever */
    int64_t kept;         /* jobs kept out for their keys since the queue was opened */
    int64_t effects;      /* rows that jobs have written in their transactions */
    uint64_t effect_sum;  /* of the numbers in them */
    int count;
    struct model_job jobs[MODEL_JOBS];
};

/* ---- Small questions ---- */

static inline int64_t model_later(int64_t at_ms, int64_t by_ms) {
    return by_ms > INT64_MAX - at_ms ? INT64_MAX : at_ms + by_ms;
}

static inline struct model_job *model_find(struct model *m, int64_t id) {
    for (int i = 0; i < m->count; i++)
        if (m->jobs[i].id == id) return &m->jobs[i];
    return NULL;
}

static inline bool model_finished(const struct model_job *job) {
    return job->state >= JOBQ_STATE_DONE;
}

static inline void model_remove(struct model *m, struct model_job *job) {
    *job = m->jobs[--m->count];
}

/* Only what is used of it. */
static inline void model_copy(struct model *to, const struct model *from) {
    memcpy(to, from, offsetof(struct model, jobs) + (size_t)from->count * sizeof from->jobs[0]);
}

/* The unfinished job that has this key. */
static inline struct model_job *model_holder(struct model *m, int kind, int key,
                                             const struct model_job *but) {
    for (int i = 0; i < m->count; i++) {
        struct model_job *job = &m->jobs[i];
        if (job == but || key < 0 || model_finished(job)) continue;
        if (job->spec.kind == kind && job->spec.key == key) return job;
    }
    return NULL;
}

/* As far as their times are known. */
static inline bool model_before(const struct model_job *a, const struct model_job *b) {
    if (a->spec.priority != b->spec.priority) return a->spec.priority < b->spec.priority;
    if (a->run_at_max_ms != b->run_at_ms || a->run_at_ms != b->run_at_max_ms)
        return a->run_at_max_ms < b->run_at_ms;
    return a->id < b->id;
}

/* Suspects stand in a line of their own, whatever their queue. */
static inline int model_line(const struct model_job *job) {
    return job->crashes > 0 ? MODEL_QUEUES : job->spec.queue;
}

static inline bool model_doomed(const struct model_rules *rules, const struct model_job *job) {
    const struct model_kind *kind = &rules->kinds[job->spec.kind];
    return job->state == JOBQ_STATE_PENDING && job->crashes > 0
        && kind->crashes_max != JOBQ_UNLIMITED && job->crashes >= kind->crashes_max;
}

static inline bool model_its_time(const struct model_job *job, int64_t now_ms) {
    return job->state == JOBQ_STATE_PENDING && (job->due || job->run_at_max_ms <= now_ms)
        && job->run_at_ms != JOBQ_NEVER;
}

/* It could be started now. */
static inline bool model_ready(const struct model_rules *rules, const struct model_job *job,
                               int64_t now_ms) {
    return model_its_time(job, now_ms) && rules->kinds[job->spec.kind].handled
        && !model_doomed(rules, job);
}

/* The one that has to start next in a line; NULL if none was certainly made ready. */
static inline struct model_job *model_head(struct model *m, const struct model_rules *rules,
                                           int line, int64_t now_ms) {
    struct model_job *head = NULL;
    for (int i = 0; i < m->count; i++) {
        struct model_job *job = &m->jobs[i];
        if (model_line(job) != line || !model_ready(rules, job, now_ms) || !job->due) continue;
        if (rules->kinds[job->spec.kind].unsure) continue;
        if (!head || model_before(job, head)) head = job;
    }
    return head;
}

/* When a clock that shows now_ms has to stop next on its way. */
static inline int64_t model_next_wake(const struct model *m, int64_t now_ms) {
    int64_t next_ms = JOBQ_NEVER;
    for (int i = 0; i < m->count; i++) {
        const struct model_job *job = &m->jobs[i];
        if (job->state != JOBQ_STATE_PENDING || job->due || job->run_at_ms <= now_ms) continue;
        if (job->due_unsure) continue;
        if (job->run_at_ms < next_ms) next_ms = job->run_at_ms;
    }
    return next_ms;
}

/* The clock shows now_ms, perhaps an earlier time than before. */
static inline void model_set_back(struct model *m, int64_t now_ms) {
    for (int i = 0; i < m->count; i++) {
        struct model_job *job = &m->jobs[i];
        if ((job->due || job->due_unsure) && job->run_at_max_ms > now_ms) job->early = true;
    }
}

/* The clock is about to be set: who was due by it is so still if the queue has looked. Who waits
 * for a duration is as far from its end as before, and if it has come, then it has; what is told of
 * it depends on whether the queue has looked. */
static inline void model_step(struct model *m, int64_t now_ms, int64_t to_ms) {
    int64_t by_ms = to_ms - now_ms;
    for (int i = 0; i < m->count; i++) {
        struct model_job *job = &m->jobs[i];
        bool come = job->run_at_ms <= now_ms;
        if (job->state != JOBQ_STATE_PENDING || job->due) continue;
        if (come) job->due_unsure = true;
        if (!job->lasts) continue;
        if (!come || by_ms < 0) job->run_at_ms += by_ms;
        if (job->run_at_ms < 0) job->run_at_ms = 0; /* as it is told */
        if (!come || by_ms > 0) job->run_at_max_ms += by_ms;
        if (!come && job->returned_ms >= 0) job->returned_ms += by_ms;
        if (come && by_ms) job->returned_ms = -1;
    }
}

/* The queue is opened by a clock that shows now_ms; before, it showed at most from_ms, and was set
 * meanwhile or not. Nobody knows what it has written of that. A duration takes no longer from here
 * on than its own length; nor is it shorter than what was left of it, if no step is unknown. */
static inline void model_reopen(struct model *m, int64_t from_ms, bool stepped, int64_t now_ms) {
    for (int i = 0; i < m->count; i++) {
        struct model_job *job = &m->jobs[i];
        int64_t left_ms = job->run_at_ms - from_ms, least_ms = stepped ? 0 : now_ms + left_ms;
        if (job->state != JOBQ_STATE_PENDING || !job->lasts) continue;
        if (least_ms < job->run_at_ms) job->run_at_ms = least_ms;
        if (model_later(now_ms, job->length_ms) > job->run_at_max_ms)
            job->run_at_max_ms = model_later(now_ms, job->length_ms);
        job->returned_ms = -1;
    }
}

/* How many may become ready before this one, by run time. */
static inline int model_due_before(const struct model *m, const struct model_job *job,
                                   int64_t now_ms) {
    int count = 0;
    for (int i = 0; i < m->count; i++) {
        const struct model_job *other = &m->jobs[i];
        if (other->state != JOBQ_STATE_PENDING || other->due || other->run_at_ms > now_ms) continue;
        count += other->run_at_ms < job->run_at_max_ms
              || (other->run_at_ms == job->run_at_max_ms && other->id < job->id);
    }
    return count;
}

/* The queue has looked at what is due, and has made at least the first few of it ready. */
static inline void model_promote(struct model *m, int64_t now_ms, int few) {
    struct model_job *ready[MODEL_JOBS];
    int count = 0;
    for (int i = 0; i < m->count; i++) {
        struct model_job *job = &m->jobs[i];
        if (job->due || !model_its_time(job, now_ms)) continue;
        if (model_due_before(m, job, now_ms) < few) ready[count++] = job;
        else job->due_unsure = true;
    }
    while (count > 0) ready[--count]->due = true;
}

/* ---- The end of a job ---- */

static inline int64_t model_keep_until(const struct model_job *job) {
    if (job->keep_ms == JOBQ_NEVER) return JOBQ_NEVER;
    return model_later(job->finished_ms, job->keep_ms);
}

/* Which finished jobs are more than are to be kept; they may be dropped from now on. */
static inline void model_age(struct model *m, const struct model_rules *rules) {
    for (int i = 0; i < m->count; i++) {
        struct model_job *job = &m->jobs[i];
        int64_t kept_longer = 0;
        if (!model_finished(job) || rules->keep_max == INT64_MAX) continue;
        for (int j = 0; j < m->count; j++) {
            const struct model_job *other = &m->jobs[j];
            if (j == i || !model_finished(other)) continue;
            if (model_keep_until(other) >= model_keep_until(job)) kept_longer++;
        }
        job->over = job->over || kept_longer >= rules->keep_max;
    }
}

/* high_ms is the latest time that the queue has seen. */
static inline bool model_may_be_gone(const struct model_job *job, int64_t high_ms) {
    return model_finished(job) && (job->over || model_keep_until(job) <= high_ms);
}

static inline void model_end(struct model *m, const struct model_rules *rules,
                             struct model_job *job, jobq_state state, int64_t now_ms) {
    const struct model_kind *kind = &rules->kinds[job->spec.kind];
    int64_t done_ms = kind->handled ? kind->keep_done_ms : rules->keep_done_ms;
    int64_t failed_ms = kind->handled ? kind->keep_failed_ms : rules->keep_failed_ms;
    job->state = state;
    job->due = job->due_unsure = job->over = false;
    job->finished_ms = job->finished_max_ms = now_ms;
    job->keep_ms = state == JOBQ_STATE_FAILED ? failed_ms : done_ms;
    if (job->keep_ms == JOBQ_NONE) model_remove(m, job);
}

/* A job that has crashed too often was seen to. */
static inline void model_give_up(struct model *m, const struct model_rules *rules,
                                 struct model_job *job, int64_t from_ms, int64_t to_ms) {
    int count = m->count;
    job->error = MODEL_CRASHED;
    model_end(m, rules, job, JOBQ_STATE_FAILED, from_ms);
    if (m->count == count) job->finished_max_ms = to_ms;
}

/* ---- Calls ---- */

enum model_call { MODEL_ENQUEUE, MODEL_CANCEL, MODEL_RETRY_NOW, MODEL_DELETE, MODEL_CHECKPOINT };

struct model_op {
    enum model_call call;
    int64_t id;                        /* of the job that it is about */
    int count;                         /* MODEL_ENQUEUE: so many */
    struct model_spec specs[MODEL_MANY];
    jobq_stored results[MODEL_MANY];   /* the ids are those that come next */
    struct model_blob saved;
};

/* One row that is refused refuses them all. */
static inline int model_enqueue(struct model *m, struct model_op *op, int64_t now_ms) {
    for (int i = 0; i < op->count; i++) {
        const struct model_spec *spec = &op->specs[i];
        const struct model_job *holder = model_holder(m, spec->kind, spec->key, NULL);
        struct model_job *job = &m->jobs[m->count];
        op->results[i].how = holder ? JOBQ_KEPT : JOBQ_NEW;
        op->results[i].id = holder ? holder->id : m->last_id + 1;
        if (holder && spec->refuse) return JOBQ_EXISTS;
        m->kept += holder != NULL;
        if (holder) continue;
        m->count++;
        memset(job, 0, sizeof *job);
        job->id = ++m->last_id;
        job->spec = *spec;
        job->state = JOBQ_STATE_PENDING;
        job->attempt = 1;
        job->created_ms = now_ms;
        job->run_at_ms = spec->run_at_ms ? spec->run_at_ms : model_later(now_ms, spec->delay_ms);
        job->run_at_max_ms = job->run_at_ms;
        job->lasts = spec->delay_ms && job->run_at_ms != JOBQ_NEVER;
        job->length_ms = spec->delay_ms;
        job->due = model_its_time(job, now_ms);
    }
    return JOBQ_OK;
}

static inline int model_cancel(struct model *m, const struct model_rules *rules,
                               struct model_job *job, int64_t now_ms) {
    if (model_finished(job)) return JOBQ_BAD_STATE;
    if (job->state == JOBQ_STATE_RUNNING) job->cancel = true;
    else model_end(m, rules, job, JOBQ_STATE_CANCELLED, now_ms);
    return JOBQ_OK;
}

static inline int model_retry_now(struct model *m, struct model_job *job, int64_t now_ms) {
    if (job->state == JOBQ_STATE_DONE || job->state == JOBQ_STATE_RUNNING) return JOBQ_BAD_STATE;
    if (model_its_time(job, now_ms)) return JOBQ_BAD_STATE;
    if (model_holder(m, job->spec.kind, job->spec.key, job)) return JOBQ_EXISTS;
    job->state = JOBQ_STATE_PENDING;
    job->due = true;
    job->early = false;
    job->attempt = 1;
    job->crashes = 0;
    job->has_saved = job->saved_unsure = false;
    job->run_at_ms = job->run_at_max_ms = now_ms;
    job->lasts = false;
    job->finished_ms = job->finished_max_ms = 0;
    return JOBQ_OK;
}

static inline bool model_too_big(const struct model_rules *rules, const struct model_op *op) {
    bool too_big = op->call == MODEL_CHECKPOINT && op->saved.size > rules->payload_max;
    for (int i = 0; i < op->count && op->call == MODEL_ENQUEUE; i++)
        too_big = too_big || op->specs[i].payload.size > rules->payload_max;
    return too_big;
}

static inline int model_do(struct model *m, const struct model_rules *rules, struct model_op *op,
                           int64_t now_ms) {
    struct model_job *job = op->call == MODEL_ENQUEUE ? NULL : model_find(m, op->id);
    if (model_too_big(rules, op)) return JOBQ_TOO_BIG;
    if (op->call == MODEL_ENQUEUE) return model_enqueue(m, op, now_ms);
    if (!job) return JOBQ_NOT_FOUND;
    switch (op->call) {
    case MODEL_CANCEL: return model_cancel(m, rules, job, now_ms);
    case MODEL_RETRY_NOW: return model_retry_now(m, job, now_ms);
    case MODEL_DELETE:
        if (job->state == JOBQ_STATE_RUNNING) return JOBQ_BUSY;
        model_remove(m, job);
        return JOBQ_OK;
    default:
        job->saved = op->saved;
        job->has_saved = true;
        job->saved_unsure = false;
        job->crashes = 0;
        return JOBQ_OK;
    }
}

/* ---- A run ---- */

/* now_ms is monotonic. */
static inline void model_start(struct model_job *job, int64_t now_ms) {
    job->state = JOBQ_STATE_RUNNING;
    job->due = job->due_unsure = job->returned = job->cancel = job->lasts = false;
    job->runs++;
    job->started_ms = now_ms;
}

/* What kinds with a backoff of their own use; negative now and then. */
static inline int64_t model_own_backoff(int attempt, int64_t id) {
    int64_t mixed = (attempt * INT64_C(7919) + id * 104729) % 9973;
    return mixed % 13 == 0 ? -1 : mixed * mixed % 600000;
}

/* Delay after failing attempt n: min(max, min * 2^min(n-1, 30)), give or take the jitter, again at
 * most max. */
static inline void model_backoff(const struct model_kind *kind, int attempt, int64_t *low_ms,
                                 int64_t *high_ms) {
    int64_t delay_ms = kind->min_ms < kind->max_ms ? kind->min_ms : kind->max_ms, spread_ms;
    for (int i = 1; i < attempt && i <= 30; i++)
        delay_ms = delay_ms > kind->max_ms / 2 ? kind->max_ms : delay_ms * 2;
    spread_ms = delay_ms / 100 * kind->jitter_percent + delay_ms % 100 * kind->jitter_percent / 100;
    *low_ms = delay_ms - spread_ms;
    *high_ms = model_later(delay_ms, spread_ms);
    if (*high_ms > kind->max_ms) *high_ms = kind->max_ms;
}

static inline void model_failed(const struct model_rules *rules, const struct model_job *job,
                                struct model_verdict *v) {
    const struct model_kind *kind = &rules->kinds[job->spec.kind];
    int64_t healthy_ms = kind->max_ms > JOBQ_HOUR ? kind->max_ms : JOBQ_HOUR, low_ms, high_ms;
    int attempt = job->attempt;
    if (job->ran_ms > 3 * healthy_ms) attempt = 1;
    v->state = JOBQ_STATE_FAILED;
    if (kind->attempts_max != JOBQ_UNLIMITED && attempt >= kind->attempts_max) return;
    model_backoff(kind, attempt, &low_ms, &high_ms);
    if (kind->own_backoff) low_ms = high_ms = model_own_backoff(attempt, job->id);
    if (low_ms < 0) return;
    v->state = JOBQ_STATE_PENDING;
    v->attempt = attempt + 1;
    v->run_at_ms = model_later(job->returned_ms, low_ms);
    v->run_at_max_ms = model_later(job->returned_ms, high_ms);
    v->lasts = true;
}

/* The handler has returned; at_ms is what it said with JOBQ_SNOOZE and JOBQ_RESCHEDULE, the end of
 * a duration (lasts) or a point in time. */
static inline void model_judge(const struct model_rules *rules, const struct model_job *job,
                               jobq_outcome outcome, int64_t at_ms, bool lasts,
                               struct model_verdict *v) {
    memset(v, 0, sizeof *v);
    v->outcome = outcome;
    v->attempt = outcome == JOBQ_RESCHEDULE ? 1 : job->attempt;
    v->crashes = outcome == JOBQ_RESCHEDULE ? 0 : job->crashes;
    v->run_at_ms = v->run_at_max_ms = at_ms;
    v->lasts = lasts;
    switch (outcome) {
    case JOBQ_DONE: v->state = JOBQ_STATE_DONE; break;
    case JOBQ_FAIL: v->state = JOBQ_STATE_FAILED; break;
    case JOBQ_CANCELLED: v->state = JOBQ_STATE_CANCELLED; break;
    case JOBQ_SNOOZE: case JOBQ_RESCHEDULE: v->state = JOBQ_STATE_PENDING; break;
    default: model_failed(rules, job, v);
    }
}

/* The outcome is on the disk. A job that was cancelled meanwhile ends, unless it is done or has
 * failed for good. Afterwards job may be another, or none. */
static inline void model_settle(struct model *m, const struct model_rules *rules,
                                struct model_job *job, int64_t now_ms) {
    struct model_verdict v = job->verdict;
    if (job->cancel && v.outcome != JOBQ_DONE && v.outcome != JOBQ_FAIL)
        v.state = JOBQ_STATE_CANCELLED;
    job->returned = job->cancel = false;
    if (v.error) job->error = v.error;
    if (v.state == JOBQ_STATE_DONE) job->result = v.result;
    m->effects += v.effects;
    m->effect_sum += v.effect_sum;
    if (v.state != JOBQ_STATE_PENDING) {
        model_end(m, rules, job, v.state, now_ms);
        return;
    }
    if (v.outcome == JOBQ_RESCHEDULE) job->has_saved = job->saved_unsure = false;
    job->state = v.state;
    job->attempt = v.attempt;
    job->crashes = v.crashes;
    job->run_at_ms = v.run_at_ms;
    job->run_at_max_ms = v.run_at_max_ms;
    job->lasts = v.lasts && v.run_at_max_ms != JOBQ_NEVER;
    job->length_ms = v.run_at_max_ms - job->returned_ms;
    job->early = false;
    job->due = model_its_time(job, now_ms);
}

/* ---- Death and recovery ---- */

/* How the process before ended. */
enum model_death {
    MODEL_DIED,   /* the process alone */
    MODEL_LEFT,   /* it had said that it was leaving */
    MODEL_REBOOT  /* the power with it */
};

/* id and runs: the run that it is known to have died in, or 0. A start of which nothing is known
 * any more, or whose handler had returned, does not count. Who was to be cancelled is: between the
 * two times, and nobody is charged. */
static inline void model_recover(struct model *m, const struct model_rules *rules,
                                 enum model_death death, int64_t id, int runs, int64_t from_ms,
                                 int64_t to_ms) {
    for (int i = m->count - 1; i >= 0; i--) {
        struct model_job *job = &m->jobs[i];
        int count = m->count;
        if (job->state != JOBQ_STATE_RUNNING) continue;
        if (job->cancel) {
            job->returned = job->cancel = false;
            model_end(m, rules, job, JOBQ_STATE_CANCELLED, from_ms);
            if (m->count == count) job->finished_max_ms = to_ms;
            continue;
        }
        if (job->id != id || job->runs != runs) job->runs--;
        else if (death == MODEL_DIED || (death == MODEL_REBOOT && rules->charge_reboots))
            job->crashes++;
        job->state = JOBQ_STATE_PENDING;
        job->due = true;
        job->lasts = false;
        job->returned = job->cancel = false;
    }
}

#endif
