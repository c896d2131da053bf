/* wish.c - a running job that was to be cancelled, and the process ends before its handler does.
 *
 * Promised: what jobq_cancel has acknowledged outlives the process. At the next open the job is
 * cancelled: it does not run again, its key is free, nobody is charged, on_event hears of it. A job
 * that is done before that stays done, and one that failed for good stays failed; told to begin
 * anew, it is like any other. Broken on purpose: the process ends in each way beside the handler.
 * Counted: starts, by the handlers themselves. */
#include "crash_lives.h"

/* Stays until the process ends. */
static jobq_outcome run_stubborn(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    if (play.cured) return JOBQ_DONE;
    pipe_say(play.started);
    pipe_hear(play.never);
    return JOBQ_DONE;
}

/* Does as it likes although it is to be cancelled; at later starts it dies. */
static jobq_outcome run_through(jobq_run *run, void *ctx) {
    if (count_start(run) > 1) play.die();
    CHECK_CODE(jobq_cancel(jobq_run_handle(run), jobq_run_id(run), NULL), JOBQ_OK);
    CHECK_CODE(jobq_cancel(jobq_run_handle(run), jobq_run_id(run), NULL), JOBQ_OK);
    CHECK(jobq_should_stop(run));
    return *(const jobq_outcome *)ctx;
}

static jobq_outcome fails = JOBQ_FAIL, done = JOBQ_DONE, retries = JOBQ_RETRY;

static const jobq_kind kinds[] = {
    {.name = "good", .run = run_good},
    {.name = "stubborn", .run = run_stubborn},
    {.name = "fails", .run = run_through, .ctx = &fails},
    {.name = "done", .run = run_through, .ctx = &done},
    {.name = "retries", .run = run_through, .ctx = &retries},
};

static void begin_with(int workers) {
    begin(workers, kinds, sizeof kinds / sizeof kinds[0]);
}

/* ---- The process ends ---- */

/* How it ends when the wish is written down: in each way to die, and in the ways to leave. */
static int stop_first;

static void cancel_and_end(void *arg) {
    jobq *q = start_queue();
    (void)arg;
    REQUIRE(q != NULL);
    hear(play.started, HOLDERS);
    WORKS(jobq_cancel(q, stage->ids[1], &err));
    WORKS(jobq_cancel(q, stage->ids[1], &err));
    CHECK_INT(state_of(q, stage->ids[1]), JOBQ_STATE_RUNNING);
    if (stop_first) CHECK_CODE(jobq_stop(q, JOBQ_NONE, NULL), JOBQ_TIMEOUT);
    if (test_failures() > 0) _exit(1);
    play.die();
}

/* Opens the queue with somebody who hears of what recovery has done, and takes the key. */
static void take_the_key(void *arg) {
    event_log *log = event_log_new();
    jobq_options options = {.workers = JOBQ_NONE, .on_event = log_event, .ctx = log};
    jobq_job later = play.job[1];
    jobq_event rows[4];
    jobq *q = NULL;
    (void)arg;
    be_a_child();
    numbers[HOLDERS] = HOLDERS;
    later.payload = &numbers[HOLDERS];
    WORKS(jobq_open(play.path, &options, &q, &err));
    REQUIRE(q != NULL);
    WORKS(jobq_enqueue(q, &later, NULL, &err));
    CHECK_INT(events_of(log, stage->ids[1], rows, 4), 1);
    CHECK_INT(rows[0].from, JOBQ_STATE_RUNNING);
    CHECK_INT(rows[0].to, JOBQ_STATE_CANCELLED);
    CHECK_INT(rows[0].outcome, JOBQ_CANCELLED);
    CHECK_INT(stats_of(q).cancelled, 1);
    close_queue(&q);
    event_log_free(log);
}

static void die_by_leaving(void) {
    exit(7);
}

static void wish_outlives(void (*die)(void), int stops) {
    begin_with(HOLDERS);
    play.die = die;
    stop_first = stops;
    add("stubborn", 0, HOLDERS);
    play.job[1].key = "only";
    fill_queue();
    CHECK(died(live_through(cancel_and_end, NULL)));
    CHECK_INT(test_fork(take_the_key, NULL), 0);
    look_at_all();
    CHECK_INT(stage->infos[1].state, JOBQ_STATE_CANCELLED);
    CHECK_INT(stage->infos[1].crashes, 0);
    CHECK_INT(stage->infos[1].runs, 1);
    CHECK(stage->infos[1].finished_at_ms > 0);
    CHECK_INT(stage->infos[0].state, JOBQ_STATE_PENDING);
    live_cured();
    CHECK_INT(stage->starts[1], 1);
    CHECK_INT(stage->infos[1].state, JOBQ_STATE_CANCELLED);
    check_done(0, 1, 1);
    check_done(2, HOLDERS, 1);
    CHECK_INT(sql_int(play.path, "SELECT count(*) FROM jobq_row WHERE side & 4"), 0);
    end();
}

/* Goal: a wish that was acknowledged is carried out by the next open, however the process ends:
 * killed, dying of itself, leaving by exit(), after a stop whose grace was over. */
TEST(wish_outlives_the_process) {
    for (size_t i = 0; i < WAYS; i++) wish_outlives(ways[i], 0);
    wish_outlives(die_by_leaving, 0);
    wish_outlives(die_kill, 1);
    wish_outlives(die_by_leaving, 1);
}

/* ---- The handler ends first ---- */

/* Looks at what an outcome came to, then says that it is to begin anew, and dies in it. */
static void begin_anew(void *arg) {
    jobq *q = start_queue();
    (void)arg;
    REQUIRE(q != NULL);
    for (int n = 0; n < play.jobs; n++)
        CHECK_CODE(jobq_wait(q, stage->ids[n], JOBQ_NEVER, NULL, NULL), JOBQ_OK);
    CHECK_INT(state_of(q, stage->ids[0]), JOBQ_STATE_FAILED);
    CHECK_INT(state_of(q, stage->ids[1]), JOBQ_STATE_DONE);
    CHECK_INT(state_of(q, stage->ids[2]), JOBQ_STATE_CANCELLED);
    if (test_failures() > 0) _exit(1);
    WORKS(jobq_retry_now(q, stage->ids[0], &err));
    pipe_hear(play.never);
}

/* Goal: a wish ends with the run that it was for. Method: a job that fails for good although it was
 * to be cancelled is told to begin anew and dies with its process: it is charged, not cancelled. */
TEST(wish_ends_with_its_run) {
    begin_with(1);
    add("fails", 0, 1);
    add("done", 0, 1);
    add("retries", 0, 1);
    fill_queue();
    CHECK(died(live_through(begin_anew, NULL)));
    CHECK_INT(sql_int(play.path, "SELECT count(*) FROM jobq_row WHERE side & 4"), 0);
    look_at_all();
    check_waiting(0, 1, 1);
    CHECK_INT(stage->infos[1].state, JOBQ_STATE_DONE);
    CHECK_INT(stage->infos[2].state, JOBQ_STATE_CANCELLED);
    end();
}

struct settled {
    gate g;
    jobq_outcome outcome;
};

static jobq_outcome say_at_the_gate(jobq_run *run, void *ctx) {
    struct settled *s = (struct settled *)ctx;
    (void)run;
    gate_pass(&s->g);
    return s->outcome;
}

static void settle_with_wishes(jobq_outcome outcome, jobq_state state) {
    enum { NEIGHBOURS = 4 };
    struct settled s = {.outcome = outcome};
    fixture f;
    gate_init(&s.g);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = NEIGHBOURS, .shared = true,
                                            .busy_ms = 5}));
    handle(f.q, "k", say_at_the_gate, &s);
    start(f.q);
    put_many(f.q, &(jobq_job){.kind = "k"}, NEIGHBOURS);
    gate_await(&s.g, NEIGHBOURS);
    for (int64_t id = 1; id <= NEIGHBOURS; id++) WORKS(jobq_cancel(f.q, id, &err));
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_row WHERE side & 4"), NEIGHBOURS);
    settle_together(&f, &s.g, NEIGHBOURS, "");
    for (int64_t id = 1; id <= NEIGHBOURS; id++) CHECK_INT(finish(f.q, id).state, state);
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_row WHERE side & 4"), 0);
    fixture_remove(&f);
    gate_free(&s.g);
}

/* Goal: nor does a wish outlive its run when many are settled together. Method: neighbours, all to
 * be cancelled, whose outcomes are handed in while another connection has the file. */
TEST(wish_ends_with_its_neighbours) {
    settle_with_wishes(JOBQ_DONE, JOBQ_STATE_DONE);
    settle_with_wishes(JOBQ_FAIL, JOBQ_STATE_FAILED);
    settle_with_wishes(JOBQ_RETRY, JOBQ_STATE_CANCELLED);
    settle_with_wishes(JOBQ_CANCELLED, JOBQ_STATE_CANCELLED);
}

TEST_MAIN(wish_outlives_the_process, wish_ends_with_its_run, wish_ends_with_its_neighbours)
