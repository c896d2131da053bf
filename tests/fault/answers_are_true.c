/* answers_are_true.c - what is told is what has happened, and it is told once.
 *
 * Waiters, events and counters hear of a commit only after it. So here commits fail, in the middle
 * or at their end, and are repeated, and meanwhile and afterwards everything that is told is held
 * against the table. */
#include "fault_vfs.h"
#include "helpers.h"

#include <sched.h>

#define SHARED_STEP ((jobq_options){.workers = JOBQ_NONE, .shared = true, .busy_ms = 5})
#define POOL ((jobq_options){.workers = 1, .shared = true, .busy_ms = 5})

static bool open_telling(fixture *f, jobq_options options, event_log *events) {
    fault_begin();
    options.on_event = log_event;
    options.ctx = events;
    return fixture_open(f, options);
}

static size_t count_events(event_log *events, int64_t id) {
    jobq_event scratch[1];
    return events_of(events, id, scratch, 1);
}

/* ---- An outcome ---- */

enum { WAITERS = 4, FAILURES = 8 };

/* Goal: nobody hears of an outcome whose commit has failed, and when it succeeds everybody hears of
 * it once. Method: the disk is full for so many commits; threads wait for the job, under a clock
 * that stands. */
TEST(outcome_is_told_after_its_commit) {
    event_log *events = event_log_new();
    struct job_waiter waiters[WAITERS];
    jobq_stats s;
    fixture f;
    int64_t id;
    gate g;
    gate_init(&g);
    REQUIRE(open_telling(&f, POOL, events));
    handle(f.q, "k", stand_at_gate, &g);
    start(f.q);
    id = put(f.q, "k");
    gate_await(&g, 1);
    start_job_waiters(waiters, WAITERS, f.q, id);
    fault_plan(FAULT_WAL_WRITE, "x*", SQLITE_FULL);
    gate_open(&g);
    fault_await(FAULT_WAL_WRITE, FAILURES);
    CHECK_INT(jobq_wakes(f.q), WAITERS);
    CHECK_INT(count_events(events, id), 2); /* new, started */
    CHECK_INT(stats_of(f.q).done, 0);
    fault_off();
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(waiters[i].thread, NULL);
        CHECK_CODE(waiters[i].code, JOBQ_OK);
        CHECK_INT(waiters[i].info.state, JOBQ_STATE_DONE);
    }
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    s = stats_of(f.q);
    CHECK_INT(s.done, 1);
    CHECK_INT(s.started, 1);
    CHECK_INT(s.lost_outcomes, 0);
    CHECK_INT(count_events(events, id), 3);
    fixture_close(&f);
    gate_free(&g);
    event_log_free(events);
}

/* ---- New jobs ---- */

/* A job, then a batch; true if a call of the disk failed. */
static bool store_under_fault(fixture *f, enum fault_what what, int n, int code) {
    jobq_job jobs[3] = {{.kind = "k"}, {.kind = "k", .key = "one"}, {.kind = "new"}};
    bool hit;
    fault_nth(what, n, "x", code);
    jobq_enqueue(f->q, &(jobq_job){.kind = "k"}, NULL, NULL);
    jobq_enqueue_many(f->q, jobs, 3, NULL, NULL);
    hit = fault_hits(what) > 0;
    fault_off();
    return hit;
}

/* Goal: a job is counted and told if and only if it is stored, once, however often its transaction
 * was repeated. Method: the n-th write or sync of the log fails under a job and a batch. */
TEST(new_jobs_are_told_once) {
    static const struct {
        enum fault_what what;
        int code;
    } kinds[] = {{FAULT_WAL_WRITE, SQLITE_FULL}, {FAULT_WAL_WRITE, SQLITE_IOERR_WRITE},
                 {FAULT_WAL_SYNC, SQLITE_IOERR_FSYNC}};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (int n = 1; n < 100; n++) {
            event_log *events = event_log_new();
            jobq_stats s;
            int64_t jobs;
            fixture f;
            bool hit;
            REQUIRE(open_telling(&f, SHARED_STEP, events));
            handle(f.q, "k", do_nothing, NULL);
            put(f.q, "k");
            hit = store_under_fault(&f, kinds[k].what, n, kinds[k].code);
            s = stats_of(f.q);
            jobs = total(f.q);
            if (!CHECK_INT(s.enqueued, jobs) || !CHECK_INT(events->n, jobs))
                test_note("call %d of kind %d", n, (int)kinds[k].what);
            fixture_close(&f);
            event_log_free(events);
            if (!hit) break;
        }
    }
}

/* ---- Changes ---- */

/* Goal: a change that failed has changed nothing: a job that had been claimed is claimed again, and
 * runs. Method: one job stands at a gate, a second is claimed behind it; cancel and delete it on a
 * full disk. */
TEST(failed_change_leaves_the_job_claimed) {
    event_log *events = event_log_new();
    jobq_job jobs[2] = {{.kind = "k"}, {.kind = "k"}};
    jobq_stored results[2];
    fixture f;
    gate g;
    gate_init(&g);
    REQUIRE(open_telling(&f, POOL, events));
    handle(f.q, "k", stand_at_gate, &g);
    start(f.q);
    WORKS(jobq_enqueue_many(f.q, jobs, 2, results, &err));
    gate_await(&g, 1);
    CHECK_INT(stats_of(f.q).claimed, 1);
    fault_plan(FAULT_WAL_WRITE, "x*", SQLITE_FULL);
    FAILS(JOBQ_FULL, jobq_cancel(f.q, results[1].id, &err));
    CHECK_INT(stats_of(f.q).claimed, 1);
    FAILS(JOBQ_FULL, jobq_delete(f.q, results[1].id, &err));
    CHECK_INT(stats_of(f.q).claimed, 1);
    fault_off();
    CHECK_INT(state_of(f.q, results[1].id), JOBQ_STATE_PENDING);
    gate_open(&g);
    for (int i = 0; i < 2; i++) CHECK_INT(finish(f.q, results[i].id).state, JOBQ_STATE_DONE);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    CHECK_INT(stats_of(f.q).cancelled, 0);
    CHECK_INT(count_events(events, results[1].id), 3);
    fixture_close(&f);
    gate_free(&g);
    event_log_free(events);
}

/* ---- What must not come back ---- */

/* Goal: when a RELAXED queue says that a job was not stored it has seen to it: what it wrote in
 * place of the failed commit is synced, so not even a power cut brings the job back. Method: the
 * n-th write fails; whenever one did the log was synced, though RELAXED commits are not. */
TEST(refusal_is_synced) {
    jobq_options options = SHARED_STEP;
    fixture f;
    bool hit = true;
    options.durability = JOBQ_RELAXED;
    for (int n = 1; n < 100 && hit; n++) {
        fault_begin();
        REQUIRE(fixture_open(&f, options));
        put(f.q, "k");
        fault_off();
        fault_nth(FAULT_WAL_WRITE, n, "x", SQLITE_IOERR_WRITE);
        jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, NULL);
        hit = fault_hits(FAULT_WAL_WRITE) > 0;
        CHECK_INT(fault_calls(FAULT_WAL_SYNC) > 0, hit);
        fault_off();
        CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
        fixture_close(&f);
    }
}

TEST_MAIN(outcome_is_told_after_its_commit, new_jobs_are_told_once,
          failed_change_leaves_the_job_claimed, refusal_is_synced)
