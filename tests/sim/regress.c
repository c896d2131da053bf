/* regress.c - defects that the simulator found, each with a short test that it stays away.
 *
 * A seed replays a life only as long as neither the simulator nor the queue changes; what a seed
 * has found is therefore told here again in a few calls. Step mode, artificial clock. */
#include "fault_vfs.h"
#include "helpers.h"

#define STEP ((jobq_options){.workers = JOBQ_NONE})

/* Closes, and opens again with a clock that shows at_ms. */
static bool reopen_at(fixture *f, int64_t at_ms) {
    CHECK_CODE(jobq_close(&f->q), JOBQ_OK);
    jobq_clock_free(f->clock);
    f->clock = f->options.clock = jobq_clock_artificial(at_ms);
    return CHECK_CODE(jobq_open(f->path, &f->options, &f->q, NULL), JOBQ_OK);
}

static void check_ids(const trace *t, const int64_t *ids, size_t n) {
    REQUIRE_INT(t->n, n);
    for (size_t i = 0; i < n; i++) CHECK_INT(t->rows[i].id, ids[i]);
}

/* ---- Time ---- */

/* Goal: a job whose time has come, and which was parked for want of a handler, is ready once the
 * kind is registered, even if the clock was set back. Method: park it in 2023, boot in 1970. */
TEST(parked_job_outlives_a_clock_set_back) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, STEP));
    id = put(f.q, "k");
    drain(f.q);
    CHECK(look(f.q, id).parked);
    REQUIRE(reopen_at(&f, 1000));
    handle(f.q, "k", do_nothing, NULL);
    CHECK(!look(f.q, id).scheduled);
    CHECK_INT(drain(f.q), 1);
    fixture_close(&f);
}

/* Goal: a job whose time has come is due, and retry_now says so, before anybody has looked.
 * Method: the clock moves past its time, and nothing steps. */
TEST(due_is_due_before_a_step) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", do_nothing, NULL);
    id = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 1000});
    jobq_clock_advance(f.clock, 5000);
    CHECK(!look(f.q, id).scheduled);
    FAILS(JOBQ_BAD_STATE, jobq_retry_now(f.q, id, &err));
    CHECK_INT(look(f.q, id).run_at_ms, T0 + 1000);
    fixture_close(&f);
}

/* ---- After an open ---- */

/* Goal: one step runs a job that is due. Method: its queue has no other job, so the process has
 * not heard of that queue since it was opened. */
TEST(first_step_runs_what_is_due) {
    fixture f;
    int ran = 0;
    REQUIRE(fixture_open(&f, STEP));
    put_job(f.q, (jobq_job){.kind = "k", .queue = "other", .delay_ms = 1000});
    REQUIRE(reopen_at(&f, T0 + 5000));
    handle(f.q, "k", do_nothing, NULL);
    WORKS(jobq_step(f.q, &ran, &err));
    CHECK_INT(ran, 1);
    fixture_close(&f);
}

/* Goal: an event names the kind of its job. Method: cancel and revive a job of a kind that nobody
 * has used since the queue was opened. */
TEST(event_names_a_kind_not_heard_of) {
    fixture f;
    event_log *log = event_log_new();
    jobq_event rows[4];
    int64_t id;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .on_event = log_event,
                                            .ctx = log}));
    id = put(f.q, "rare");
    REQUIRE(reopen_at(&f, T0));
    WORKS(jobq_cancel(f.q, id, &err));
    WORKS(jobq_retry_now(f.q, id, &err));
    if (CHECK_INT(events_of(log, id, rows, 4), 3)) {
        CHECK_STR(rows[1].kind, "rare");
        CHECK_STR(rows[2].kind, "rare");
    }
    fixture_close(&f);
    event_log_free(log);
}

/* ---- Order ---- */

static jobq_outcome record_and_put_b(jobq_run *run, void *ctx) {
    static bool done;
    bool first = jobq_run_id(run) == 1;
    if (first) done = false;
    if (!done) WORKS(jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "k", .queue = "b"},
                                  NULL, &err));
    done = true;
    return record(run, ctx);
}

/* Goal: a job that a handler enqueues does not go before one that has been due for long. Method:
 * that one is in a queue of which nobody has heard since the open. */
TEST(order_holds_in_a_queue_not_heard_of) {
    static const int64_t ids[] = {1, 2, 3};
    fixture f;
    trace *t;
    REQUIRE(fixture_open(&f, STEP));
    put_job(f.q, (jobq_job){.kind = "k", .queue = "a"});
    put_job(f.q, (jobq_job){.kind = "k", .queue = "b", .delay_ms = 1000});
    REQUIRE(reopen_at(&f, T0 + 5000));
    t = trace_new(f.clock);
    handle(f.q, "k", record_and_put_b, t);
    CHECK_INT(drain(f.q), 3);
    check_ids(t, ids, 3);
    fixture_close(&f);
    trace_free(t);
}

/* The first run enqueues a job, and then the disk is full. */
static jobq_outcome record_and_fill_disk(jobq_run *run, void *ctx) {
    if (jobq_run_id(run) == 1) {
        WORKS(jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "k"}, NULL, &err));
        fault_plan(FAULT_WAL_WRITE, "x*", SQLITE_FULL);
    }
    return record(run, ctx);
}

/* Goal: the most urgent job starts first after a call that failed, too. Method: run_until_idle
 * fails when the next job is claimed already; then a more urgent one comes. */
TEST(order_holds_after_a_call_that_failed) {
    static const int64_t ids[] = {1, 3, 2};
    fixture f;
    trace *t;
    fault_begin();
    REQUIRE(fixture_open(&f, STEP));
    t = trace_new(f.clock);
    handle(f.q, "k", record_and_fill_disk, t);
    put(f.q, "k");
    FAILS_SOMEHOW(jobq_run_until_idle(f.q, NULL, &err));
    fault_off();
    put_job(f.q, (jobq_job){.kind = "k", .priority = -1});
    CHECK_INT(drain(f.q), 2);
    check_ids(t, ids, 3);
    fixture_close(&f);
    trace_free(t);
}

/* ---- Looking inside ---- */

/* Enqueues a job, which is claimed at once, and in its transaction one that goes before it. */
static jobq_outcome look_from_inside(jobq_run *run, void *ctx) {
    jobq *q = jobq_run_handle(run);
    int64_t id = 0;
    jobq_info info;
    sqlite3 *db;
    (void)ctx;
    if (jobq_run_id(run) != 1) return JOBQ_DONE;
    WORKS(jobq_enqueue(q, &(jobq_job){.kind = "k", .queue = "b", .priority = 9}, &id, &err));
    WORKS(jobq_run_db(run, &db, &err));
    WORKS(jobq_enqueue(q, &(jobq_job){.kind = "k", .queue = "b"}, NULL, &err));
    info = look(q, id);
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK_INT(info.runs, 0);
    return JOBQ_DONE;
}

/* Goal: what is claimed and has not started is pending, whatever becomes of it. Method: a job's
 * transaction has taken it out of turn, and is not committed yet. */
TEST(claimed_in_vain_is_pending) {
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", look_from_inside, NULL);
    put_job(f.q, (jobq_job){.kind = "k", .queue = "b"});
    CHECK_INT(drain(f.q), 3);
    fixture_close(&f);
}

/* ---- The disk ---- */

/* Goal: a queue that is open has a log, whatever went wrong when it was made; without one a power
 * cut may take what was acknowledged. Method: two calls of each kind fail at the first opens. */
TEST(there_is_a_log_after_a_bad_start) {
    static const char *const plans[] = {"x", ".x", "..x", "xx", "x.x", "x..x", "x...x"};
    enum { PLANS = sizeof plans / sizeof plans[0] };
    for (int i = 0; i < FAULT_ANY * PLANS; i++) {
        const char *path = test_path("q.db");
        jobq_options options = STEP;
        char mode[16];
        jobq *q = NULL;
        fault_begin();
        fault_plan((enum fault_what)(i / PLANS), plans[i % PLANS], SQLITE_IOERR);
        for (int tries = 0; tries < 5 && !q; tries++) jobq_open(path, &options, &q, NULL);
        fault_off();
        REQUIRE(q != NULL);
        put(q, "k");
        sql_text(path, "PRAGMA journal_mode", mode, sizeof mode);
        if (!CHECK_STR(mode, "wal")) test_note("kind %d, %s", i / PLANS, plans[i % PLANS]);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        fault_remove(path);
    }
}

TEST_MAIN(parked_job_outlives_a_clock_set_back, due_is_due_before_a_step,
          first_step_runs_what_is_due, event_names_a_kind_not_heard_of,
          order_holds_in_a_queue_not_heard_of, order_holds_after_a_call_that_failed,
          claimed_in_vain_is_pending, there_is_a_log_after_a_bad_start)
