/* sim_calls.h - the calls that an application and its handlers make, each put to the model too. */
#ifndef JOBQ_TEST_SIM_CALLS_H
#define JOBQ_TEST_SIM_CALLS_H

#include "sim_device.h"

/* ---- What is asked for ---- */

static inline int64_t sim_some_id(void) {
    if (sim.m.count == 0 || sim_chance(30)) return sim.m.last_id + sim_pick(3);
    return sim.m.jobs[sim_pick(sim.m.count)].id;
}

static inline struct model_spec sim_some_spec(void) {
    static const int priorities[] = {INT32_MIN, -1, 0, 0, 0, 0, 1, 7, INT32_MAX};
    struct model_spec spec;
    memset(&spec, 0, sizeof spec);
    spec.kind = sim_pick(MODEL_KINDS);
    spec.queue = sim_pick(MODEL_QUEUES);
    spec.priority = sim_chance(300) ? priorities[sim_pick(9)] : 0;
    spec.key = sim_chance(250) ? sim_pick(SIM_KEYS) : -1;
    spec.refuse = spec.key >= 0 && sim_chance(400);
    spec.payload = sim_blob();
    if (sim_chance(350)) spec.delay_ms = sim_duration();
    else if (sim_chance(150)) spec.run_at_ms = 1 + sim_pick(1000000);
    else if (sim_chance(150)) spec.run_at_ms = model_later(sim_now(), sim_duration() + 1);
    return spec;
}

/* ---- The clock is set ---- */

/* To where somebody might set it: some time or none ahead or behind, to 1970, or right. */
static inline int64_t sim_some_wall(void) {
    static const int64_t by_ms[] = {JOBQ_HOUR, -JOBQ_HOUR, JOBQ_DAY, -JOBQ_DAY, 1, -1};
    int64_t right_ms = sim.wall_ms + sim_mono(), to_ms;
    switch (sim_pick(8)) {
    case 0: return sim_pick(1000000);
    case 1: case 2: return right_ms;
    case 3: to_ms = right_ms + (sim_chance(500) ? sim_duration() : -sim_duration()); break;
    default: to_ms = sim_now() + by_ms[sim_pick(6)];
    }
    return to_ms < 0 ? 0 : to_ms;
}

/* Not while an outcome is on its way: by which time it will be written is not known then. */
static inline void sim_step_clock(void) {
    int64_t to_ms = sim_some_wall(), from_ms = sim_now(), mono_ms = sim_mono();
    if (sim_over() || (sim.run.id && !sim.run.run) || sim.offset_count == SIM_STEPS) return;
    model_step(&sim.m, from_ms, to_ms);
    if (sim.run.run && sim.run.in_tx) model_step(&sim.run.tx, from_ms, to_ms);
    jobq_clock_set(sim.clock, to_ms);
    sim.offsets[sim.offset_count++] = to_ms - mono_ms;
    sim.stepped = true;
    sim.last_ms = sim_now();
    model_set_back(&sim.m, to_ms);
    if (sim.run.run && sim.run.in_tx) model_set_back(&sim.run.tx, to_ms);
    sim.figures.steps++;
    sim.figures.steps_in_runs += sim.run.run != NULL;
    sim_say("%sthe clock is set from %" PRId64 " to %" PRId64, sim.run.run ? "    " : "", from_ms,
            to_ms);
    if (to_ms != sim_now()) sim_broken("the clock shows %" PRId64, sim_now());
}

/* ---- Writing calls ---- */

static unsigned char sim_bytes[MODEL_MANY][SIM_BYTES];

static inline jobq_job sim_job(const struct model_spec *spec, unsigned char *bytes) {
    jobq_job job;
    memset(&job, 0, sizeof job);
    sim_fill(spec->payload, bytes);
    job.kind = sim_kinds[spec->kind];
    job.queue = spec->queue == 0 && sim_chance(500) ? NULL : sim_queues[spec->queue];
    job.payload = spec->payload.size ? bytes : NULL;
    job.size = spec->payload.size;
    job.priority = spec->priority;
    job.run_at_ms = spec->run_at_ms;
    job.delay_ms = spec->delay_ms;
    job.key = spec->key < 0 ? NULL : sim_keys[spec->key];
    job.conflict = spec->refuse ? JOBQ_REFUSE : JOBQ_KEEP;
    return job;
}

static inline int sim_call_enqueue(const struct model_op *op, jobq_stored *results,
                                   jobq_error *err) {
    jobq_job jobs[MODEL_MANY];
    int code;
    for (int i = 0; i < op->count; i++) jobs[i] = sim_job(&op->specs[i], sim_bytes[i]);
    if (op->count != 1) return jobq_enqueue_many(sim.q, jobs, (size_t)op->count, results, err);
    results[0].id = 77;
    code = jobq_enqueue(sim.q, &jobs[0], &results[0].id, err);
    results[0].how = op->results[0].how; /* it does not tell */
    if (code < 0 && results[0].id != 0) sim_broken("an id although jobq_enqueue failed");
    return code;
}

static inline int sim_make_call(const struct model_op *op, jobq_stored *results, jobq_error *err) {
    switch (op->call) {
    case MODEL_ENQUEUE: return sim_call_enqueue(op, results, err);
    case MODEL_CANCEL: return jobq_cancel(sim.q, op->id, err);
    case MODEL_RETRY_NOW: return jobq_retry_now(sim.q, op->id, err);
    case MODEL_DELETE: return jobq_delete(sim.q, op->id, err);
    default:
        sim_fill(op->saved, sim_bytes[0]);
        return jobq_checkpoint(sim.run.run, sim_bytes[0], op->saved.size, err);
    }
}

static inline void sim_say_call(const struct model_op *op, int code, const jobq_stored *results) {
    static const char *const names[] = {"enqueue", "cancel", "retry_now", "delete", "checkpoint"};
    const struct model_spec *spec = &op->specs[0];
    const char *where = !sim.run.run ? "" : sim.run.in_tx ? "    in tx: " : "    in run: ";
    if (op->call == MODEL_ENQUEUE)
        sim_say("%senqueue %d, %s in %s, priority %d, run_at %" PRId64 ", delay %" PRId64
                ", key %d: %s, id %" PRId64, where, op->count, sim_kinds[spec->kind],
                sim_queues[spec->queue], spec->priority, spec->run_at_ms, spec->delay_ms, spec->key,
                jobq_code_name(code), op->count > 0 && code >= 0 ? results[0].id : 0);
    else sim_say("%s%s %" PRId64 ": %s", where, names[op->call], op->id, jobq_code_name(code));
}

/* After a death it may not be known which ids were given last. */
static inline void sim_shift_ids(struct model *world, struct model_op *op, int64_t last_id,
                                 int64_t by) {
    for (int i = 0; i < world->count; i++)
        if (world->jobs[i].id > last_id) world->jobs[i].id += by;
    for (int i = 0; i < op->count; i++)
        if (op->results[i].id > last_id) op->results[i].id += by;
    world->last_id += by;
}

/* Ids rise, and none is given again. */
static inline void sim_take_ids(struct model *world, struct model_op *op,
                                const jobq_stored *results, int64_t last_id) {
    for (int i = 0; i < op->count && sim.ids_unsure && !sim.broken; i++) {
        int64_t by = results[i].id - op->results[i].id;
        if (op->results[i].id <= last_id) continue;
        sim.ids_unsure = false;
        if (by > 0) sim_shift_ids(world, op, last_id, by);
    }
    for (int i = 0; i < op->count && !sim.broken; i++) {
        if (results[i].how == op->results[i].how && results[i].id == op->results[i].id) continue;
        /* If SQLite has ended the transaction, what is said in it means nothing. */
        if (sim.run.run && sim.run.in_tx && sim_trouble()) sim.run.tx_ended = true;
        else
            sim_broken("row %d is %d with id %" PRId64 ", should be %d with %" PRId64, i,
                       results[i].how, results[i].id, op->results[i].how, op->results[i].id);
    }
}

/* What on_event has to tell of a call that happened, and what it adds to the counters. */
static inline void sim_expect(const struct model *before, const struct model_op *op) {
    struct model_job *job = op->call == MODEL_ENQUEUE ? NULL
                          : model_find((struct model *)(uintptr_t)before, op->id);
    struct model_job told;
    for (int i = 0; i < sim.m.count && op->call == MODEL_ENQUEUE; i++) {
        if (sim.m.jobs[i].id <= before->last_id) continue;
        sim_await_event(&sim.m.jobs[i], JOBQ_STATE_NONE, JOBQ_STATE_PENDING, JOBQ_OUTCOME_NONE);
        sim.stats.enqueued++;
    }
    if (!job) return;
    told = *job;
    if (op->call == MODEL_CANCEL && job->state == JOBQ_STATE_PENDING) {
        struct model_job *now = model_find(&sim.m, op->id);
        if (now && sim.tight) now->over = true;
        sim_await_event(&told, JOBQ_STATE_PENDING, JOBQ_STATE_CANCELLED, JOBQ_OUTCOME_NONE);
        sim.stats.cancelled++;
    } else if (op->call == MODEL_RETRY_NOW) {
        told.attempt = 1;
        sim_await_event(&told, job->state, JOBQ_STATE_PENDING, JOBQ_OUTCOME_NONE);
    } else if (op->call == MODEL_DELETE) {
        sim.figures.deleted[job->state]++;
    }
}

/* The queue has stopped for good: only if the disk has given a reason. */
static inline void sim_note_latch(void) {
    jobq_stats stats;
    if (!sim_trouble_since(sim.hits_before) || jobq_stat(sim.q, &stats, NULL) != JOBQ_OK) return;
    if (stats.failed_code == sim.latched) return;
    if (sim.latched != JOBQ_OK) sim_broken("the latched reason has changed");
    sim.latched = stats.failed_code;
    sim_say("the queue has stopped: %s", jobq_code_name(sim.latched));
    if (sim.latched != JOBQ_IO && !(sim.latched == JOBQ_CORRUPT && sim.corrupt))
        sim_broken("the queue has stopped without a reason: %s", jobq_code_name(sim.latched));
}

static inline int sim_wanted(struct model *world, struct model_op *op) {
    bool in_tx = sim.run.run && sim.run.in_tx;
    int wanted;
    model_copy(world, in_tx ? &sim.run.tx : &sim.m);
    wanted = model_do(world, &sim.rules, op, sim_now());
    if (op->call == MODEL_ENQUEUE && op->count == 0) return JOBQ_OK;
    if (in_tx && op->call != MODEL_ENQUEUE) return JOBQ_MISUSE;
    sim.figures.too_big += wanted == JOBQ_TOO_BIG;
    if (wanted == JOBQ_TOO_BIG) return wanted;
    return sim.latched && !in_tx ? sim.latched : wanted;
}

/* The call happened: the world in which it has is the true one. */
static inline void sim_happened(struct model *world, struct model_op *op,
                                const jobq_stored *results) {
    static struct model before;
    bool in_tx = sim.run.run && sim.run.in_tx;
    if (op->call == MODEL_ENQUEUE)
        sim_take_ids(world, op, results, in_tx ? sim.run.tx.last_id : sim.m.last_id);
    if (in_tx) {
        model_copy(&sim.run.tx, world);
        return;
    }
    model_copy(&before, &sim.m);
    model_copy(&sim.m, world);
    sim_expect(&before, op);
    sim_remember(false);
    if (op->call != MODEL_ENQUEUE) sim_look(op->id);
    for (int i = 0; i < op->count && op->call == MODEL_ENQUEUE; i++) sim_look(op->results[i].id);
}

/* OK: it happened. An error: it did not and never will. Unknown, and only if the disk failed: one
 * of the two, and the next open will tell. */
static inline int sim_write(struct model_op *op) {
    static struct model world;
    jobq_stored results[MODEL_MANY];
    jobq_error err = {.code = 0};
    int64_t hits = sim_hits();
    int64_t settled = 0;
    int wanted, got;
    memset(results, 0, sizeof results);
    if (fault.space || fault.wal_limit) hits = -1;
    /* A transaction remembers its troubles. */
    if (sim.run.run && sim.run.in_tx) hits = sim.call_hits;
    if (op->call != MODEL_ENQUEUE || op->count > 0) settled = sim_settle_first();
    model_age(&sim.m, &sim.rules);
    sim.figures.calls++;
    wanted = sim_wanted(&world, op);
    got = sim_make_call(op, results, &err);
    sim_say_call(op, got, results);
    if (got < 0 && (err.code != got || strlen(err.text) < 8)) sim_broken("the error says nothing");
    if (got != wanted && (got >= 0 || !sim_trouble_since(hits))
        && !(sim.run.run && sim.run.in_tx && sim_trouble()))
        sim_broken("%s (%s), should be %s", jobq_code_name(got), err.text, jobq_code_name(wanted));
    if (got == JOBQ_UNKNOWN) {
        sim.figures.unknowns++;
        sim_maybe(&world);
    }
    sim_note_latch();
    if (got == JOBQ_UNKNOWN && !sim.latched) sim_broken("JOBQ_UNKNOWN, and the queue goes on");
    if (got == JOBQ_OK && !sim.broken) sim_happened(&world, op, results);
    if (settled && !sim_over()) sim_look(settled);
    sim_mind_death();
    return got;
}

static inline void sim_enqueue(int count) {
    struct model_op op;
    memset(&op, 0, sizeof op);
    op.call = MODEL_ENQUEUE;
    op.count = count;
    if (sim.m.count + count > MODEL_JOBS - 2 * MODEL_MANY) return;
    if (sim.run.run && sim.run.in_tx && sim.run.tx.count + count > MODEL_JOBS - MODEL_MANY) return;
    for (int i = 0; i < count; i++) op.specs[i] = sim_some_spec();
    /* What an outcome that is on its way does to a key is not known. */
    for (int i = 0; i < count && sim.run.id && !sim.run.run; i++) op.specs[i].key = -1;
    sim_write(&op);
}

static inline void sim_change(enum model_call call, int64_t id) {
    struct model_op op;
    memset(&op, 0, sizeof op);
    op.call = call;
    op.id = id;
    /* It may have been dropped meanwhile; but in memory a transaction sees its own jobs. */
    if (id != sim.run.id && !(sim.profile->memory && sim.run.run && sim.run.in_tx)) sim_look(id);
    if (call == MODEL_CHECKPOINT) op.saved = sim_blob();
    sim_write(&op);
}

/* ---- Looking calls ---- */

static inline void sim_read_blobs(int64_t id) {
    const struct model_job *job = model_find(&sim.m, id);
    static unsigned char bytes[SIM_BYTES];
    struct sim_eye eye;
    size_t size = 7;
    int code;
    if (!job || job->returned) return;
    sim_open_eye(&eye);
    code = jobq_get_payload(sim.q, id, bytes, sizeof bytes, &size, NULL);
    if (code == JOBQ_OK && !sim_same(job->spec.payload, bytes, size))
        sim_broken("the payload of job %" PRId64 " differs", id);
    if (code == JOBQ_OK) code = jobq_get_result(sim.q, id, bytes, sizeof bytes, &size, NULL);
    if (code == JOBQ_OK && !sim_same(job->result, bytes, size))
        sim_broken("the result of job %" PRId64 " differs", id);
    sim.figures.compared++;
    sim.figures.compared_bytes += (int64_t)job->spec.payload.size + (int64_t)job->result.size;
    if (code != JOBQ_OK && !(code == JOBQ_NOT_FOUND
                             && model_may_be_gone(job, sim.high_ms)))
        sim_broken("payload or result of job %" PRId64 ": %s", id, jobq_code_name(code));
    sim_shut_eye(&eye);
}

/* Every byte that stands in the file. */
static inline void sim_read_all(void) {
    for (int i = 0; i < sim.m.count && !sim_over(); i++) sim_read_blobs(sim.m.jobs[i].id);
}

/* A listing by state, kind and queue, or by a kind's key, has the same rows as the model. */
static inline void sim_read_some(void) {
    jobq_filter filter = {.state = JOBQ_STATE_NONE};
    int kind = sim_pick(2 * MODEL_KINDS), queue = sim_pick(2 * MODEL_QUEUES), key = -1, count;
    struct sim_eye eye;
    filter.state = (jobq_state)sim_pick(6);
    filter.kind = kind < MODEL_KINDS ? sim_kinds[kind] : NULL;
    filter.queue = queue < MODEL_QUEUES ? sim_queues[queue] : NULL;
    if (filter.kind && (!filter.state || !filter.queue)) key = sim.m.count % SIM_KEYS;
    if (key >= 0) filter.key = sim_keys[key];
    filter.rows_max = sim_chance(300) ? 1 + sim_pick(5) : 0;
    sim_open_eye(&eye);
    count = sim_list(&filter, (size_t)(1 + sim_pick(20)));
    sim_shut_eye(&eye);
    for (int i = 0; i < sim.m.count && !sim.broken; i++) {
        const struct model_job *job = &sim.m.jobs[i];
        const jobq_info *info = sim_seen(count, job->id);
        bool wanted = (!filter.state || job->state == filter.state)
                   && (!filter.kind || job->spec.kind == kind)
                   && (!filter.queue || job->spec.queue == queue)
                   && (key < 0 || job->spec.key == key);
        if (job->returned || model_may_be_gone(job, sim.high_ms)) continue;
        if (wanted != (info != NULL))
            sim_broken("job %" PRId64 " is %s in a listing by state %d, key %d", job->id,
                       info ? "wrongly" : "missing", (int)filter.state, key);
        if (info && sim_row_differs(job, info)) sim_broken("listed by state: %s", sim_why);
    }
}

static inline void sim_wait(int64_t id) {
    const struct model_job *job = model_find(&sim.m, id);
    struct sim_eye eye;
    jobq_info info;
    int code, wanted = !job ? JOBQ_NOT_FOUND : model_finished(job) ? JOBQ_OK : JOBQ_TIMEOUT;
    if (job && (job->returned || model_may_be_gone(job, sim.high_ms))) return;
    if (wanted == JOBQ_TIMEOUT && sim.latched) wanted = sim.latched;
    sim_open_eye(&eye);
    code = jobq_wait(sim.q, id, 0, &info, NULL);
    sim_shut_eye(&eye);
    if (code != wanted)
        sim_broken("jobq_wait for job %" PRId64 " is %s", id, jobq_code_name(code));
    if (code == JOBQ_OK && sim_row_differs(job, &info)) sim_broken("waited for: %s", sim_why);
}

/* When the queue has something to do next, as it tells an event loop. */
static inline void sim_check_deadline(bool idle) {
    int64_t at_ms = 0, wake_ms = model_next_wake(&sim.m, sim_now());
    bool ready = false;
    if (sim_over() || sim.latched || sim.run.id) return;
    WORKS(jobq_next_deadline(sim.q, &at_ms, &err));
    for (int i = 0; i < sim.m.count; i++)
        ready = ready || model_ready(&sim.rules, &sim.m.jobs[i], sim_now());
    if (ready && at_ms > sim_now()) sim_broken("work is ready, but the next deadline is later");
    if (at_ms > wake_ms && at_ms > sim_now())
        sim_broken("the next deadline is later than a job's time");
    if (idle && at_ms != wake_ms && !sim_trouble())
        sim_broken("the next deadline is %" PRId64 ", should be %" PRId64, at_ms, wake_ms);
    if (idle && jobq_wakes(sim.q) != (wake_ms != JOBQ_NEVER))
        sim_broken("%d wakes are pending", jobq_wakes(sim.q));
}

static inline void sim_inspect(void) {
    int64_t id = sim_some_id();
    sim.figures.calls++;
    switch (sim_pick(5)) {
    case 0: sim_look(id); break;
    case 1: sim_read_blobs(id); break;
    case 2: sim_read_some(); break;
    case 3: if (!sim.run.run) sim_wait(id); break;
    default: sim_check_deadline(false);
    }
}

#endif
