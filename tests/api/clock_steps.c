/* clock_steps.c - the wall clock is set forth and back: nothing that runs, sleeps or waits notices,
 * and what is scheduled follows. And the ends of time: stalls in step mode, the last moment. The
 * clocks here are artificial; unit/clock_steps.c sets the system's. */
#include "helpers.h"

#include <sched.h>

/* Where the wall is set to, one after the other. */
static const int64_t walls_ms[] = {T0 + JOBQ_HOUR, T0 - JOBQ_HOUR, T0 + JOBQ_DAY, T0 - JOBQ_DAY,
                                   1000, T0, 0, T0 + 400 * JOBQ_DAY};
enum { WALLS = sizeof walls_ms / sizeof walls_ms[0] };

static int64_t next_deadline(jobq *q) {
    int64_t at = -77;
    WORKS(jobq_next_deadline(q, &at, &err));
    return at;
}

/* ---- The clock itself ---- */

/* Goal: a clock that was set shows that time and goes on from there, to the end of time. Method:
 * without any queue. */
TEST(a_clock_can_be_set) {
    jobq_clock *clock = jobq_clock_artificial(T0);
    REQUIRE(clock != NULL);
    jobq_clock_advance(clock, 5);
    for (int i = 0; i < WALLS; i++) {
        jobq_clock_set(clock, walls_ms[i]);
        CHECK_INT(jobq_clock_now(clock), walls_ms[i]);
        jobq_clock_advance(clock, 7);
        CHECK_INT(jobq_clock_now(clock), walls_ms[i] + 7);
    }
    jobq_clock_set(clock, -1);
    CHECK_INT(jobq_clock_now(clock), 0);
    jobq_clock_set(clock, INT64_MIN);
    CHECK_INT(jobq_clock_now(clock), 0);
    jobq_clock_set(clock, INT64_MAX);
    CHECK_INT(jobq_clock_now(clock), INT64_MAX);
    jobq_clock_advance(clock, 1);
    CHECK_INT(jobq_clock_now(clock), INT64_MAX);
    jobq_clock_advance(clock, INT64_MAX);
    jobq_clock_set(clock, 3);
    CHECK_INT(jobq_clock_now(clock), 3);
    jobq_clock_free(clock);
    jobq_clock_set(NULL, T0); /* the system's is not ours to set */
    clock = jobq_clock_artificial(-5);
    REQUIRE(clock != NULL);
    CHECK_INT(jobq_clock_now(clock), 0);
    jobq_clock_free(clock);
}

/* ---- What runs ---- */

/* Sets the clock again and again, takes 59.999 s in all, looks at its deadline, and one more. */
static jobq_outcome live_through_steps(jobq_run *run, void *ctx) {
    jobq_clock *clock = (jobq_clock *)ctx;
    int64_t left_ms = JOBQ_MINUTE;
    for (int i = 0; i < WALLS; i++) {
        jobq_clock_set(clock, walls_ms[i]);
        CHECK(!jobq_should_stop(run));
        CHECK_INT(jobq_run_deadline(run), walls_ms[i] + left_ms);
        jobq_clock_advance(clock, 1000);
        left_ms -= 1000;
        CHECK_INT(jobq_run_deadline(run), walls_ms[i] + 1000 + left_ms);
    }
    jobq_clock_advance(clock, left_ms - 1);
    CHECK(!jobq_should_stop(run));
    jobq_clock_advance(clock, 1);
    CHECK(jobq_should_stop(run));
    return JOBQ_RETRY;
}

/* Goal: steps delay no timeout and bring none forward; what a run lasted is what has passed.
 * Method: a handler that sets the clock many times; its event, and why it failed. */
TEST(a_timeout_outlives_steps) {
    event_log *log = event_log_new();
    jobq_event rows[8];
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .on_event = log_event,
                                            .ctx = log}));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = live_through_steps, .ctx = f.clock,
                                 .timeout_ms = JOBQ_MINUTE, .attempts_max = 1});
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_FAILED);
    CHECK_STR(look(f.q, id).error, "the run took longer than its timeout");
    if (CHECK_INT(events_of(log, id, rows, 8), 3)) {
        CHECK_INT(rows[2].run_ms, JOBQ_MINUTE);
        CHECK_INT(rows[2].wait_ms, 0);
    }
    fixture_close(&f);
    event_log_free(log);
}

static jobq_outcome step_a_week(jobq_run *run, void *ctx) {
    jobq_clock *clock = (jobq_clock *)ctx;
    (void)run;
    jobq_clock_set(clock, jobq_clock_now(clock) + 7 * JOBQ_DAY);
    return JOBQ_RETRY;
}

/* Goal: a short run is not taken for hours of health. Method: each attempt of two takes no time,
 * and the wall moves by a week: the second is the last. */
TEST(a_step_is_no_health) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, STEP));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = step_a_week, .ctx = f.clock,
                                 .attempts_max = 2});
    id = put(f.q, "k");
    advance(f.q, JOBQ_HOUR);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_FAILED);
    CHECK_INT(look(f.q, id).runs, 2);
    fixture_close(&f);
}

/* ---- What sleeps and waits ---- */

struct nap {
    jobq_clock *clock;
    int64_t until_ms; /* by the wall */
    int naps;         /* atomic */
    int ended;        /* atomic */
    bool told;
};

static jobq_outcome nap_after_steps(jobq_run *run, void *ctx) {
    struct nap *n = (struct nap *)ctx;
    for (int i = 0; i < WALLS; i++) {
        jobq_clock_set(n->clock, walls_ms[i]);
        n->told = jobq_run_sleep(run, 1000);
        CHECK(!n->told);
        CHECK_INT(jobq_clock_now(n->clock), walls_ms[i] + 1000);
    }
    return JOBQ_DONE;
}

/* Goal: in step mode a sleep moves the clock by its own length, wherever the wall stands, and an
 * advance over it goes as far as it was told to. */
TEST(a_sleep_outlives_steps_in_step_mode) {
    struct nap n = {NULL, 0, 0, 0, true};
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    n.clock = f.clock;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = nap_after_steps, .ctx = &n,
                                 .timeout_ms = JOBQ_HOUR});
    put_in(f.q, 1000);
    advance(f.q, JOBQ_MINUTE);
    CHECK_INT(count_all(f.q).done, 1);
    /* 1 s before it ran, WALLS s of sleep; the rest of the minute after the last step. */
    CHECK_INT(jobq_clock_now(f.clock), walls_ms[WALLS - 1] + JOBQ_MINUTE - WALLS * 1000
                                       - 1000 + 1000);
    fixture_close(&f);
}

static jobq_outcome nap_long(jobq_run *run, void *ctx) {
    struct nap *n = (struct nap *)ctx;
    __atomic_add_fetch(&n->naps, 1, __ATOMIC_SEQ_CST);
    n->told = jobq_run_sleep(run, 30000);
    __atomic_add_fetch(&n->ended, 1, __ATOMIC_SEQ_CST);
    return JOBQ_DONE;
}

static void await_at_least(int *counter, int wanted) {
    while (__atomic_load_n(counter, __ATOMIC_SEQ_CST) < wanted) sched_yield();
}

/* Goal: a sleeping handler is woken when its time has passed, neither by a step nor later for one.
 * Method: 30 s of sleep, a step before each advance; they add up to a millisecond less. */
TEST(a_sleep_outlives_steps_with_a_pool) {
    struct nap n = {NULL, 0, 0, 0, true};
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2}));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = nap_long, .ctx = &n,
                                 .timeout_ms = JOBQ_HOUR});
    start(f.q);
    id = put(f.q, "k");
    await_at_least(&n.naps, 1);
    for (int i = 0; i < WALLS; i++) {
        jobq_clock_set(f.clock, walls_ms[i]);
        CHECK_INT(advance(f.q, 1000), 0);
    }
    CHECK_INT(advance(f.q, 30000 - WALLS * 1000 - 1), 0);
    CHECK_INT(__atomic_load_n(&n.ended, __ATOMIC_SEQ_CST), 0);
    CHECK_INT(advance(f.q, 1), 1);
    CHECK_INT(finish(f.q, id).state, JOBQ_STATE_DONE);
    CHECK(!n.told);
    fixture_close(&f);
}

struct waiter {
    jobq *q;
    int64_t id;
    int code;
    int returned; /* atomic */
};

static void *wait_a_minute(void *arg) {
    struct waiter *w = (struct waiter *)arg;
    w->code = jobq_wait(w->q, w->id, JOBQ_MINUTE, NULL, NULL);
    __atomic_store_n(&w->returned, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Goal: a wait ends when its time has passed, neither by a step nor later for one. Method: as with
 * the sleep; the job never runs. */
TEST(a_wait_outlives_steps) {
    struct waiter w = {NULL, 0, 0, 0};
    pthread_t thread;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
    start(f.q);
    w.q = f.q;
    w.id = put(f.q, "nobody");
    thread = thread_start(wait_a_minute, &w);
    while (jobq_wakes(f.q) == 0) sched_yield();
    for (int i = 0; i < WALLS; i++) {
        jobq_clock_set(f.clock, walls_ms[i]);
        CHECK_INT(advance(f.q, 1000), 0);
    }
    CHECK_INT(advance(f.q, JOBQ_MINUTE - WALLS * 1000 - 1), 0);
    CHECK_INT(__atomic_load_n(&w.returned, __ATOMIC_SEQ_CST), 0);
    CHECK_INT(advance(f.q, 1), 1);
    pthread_join(thread, NULL);
    CHECK_CODE(w.code, JOBQ_TIMEOUT);
    fixture_close(&f);
}

/* ---- What is scheduled ---- */

static int64_t put_at(jobq *q, int64_t at_ms) {
    return put_job(q, (jobq_job){.kind = "k", .run_at_ms = at_ms});
}

/* Goal: a point in time follows the wall: at once when it is set past it, and when it is set back
 * not before it shows that time. An event loop is told so. Method: durations, which do not follow
 * it, are in durations.c. */
TEST(scheduled_jobs_follow_the_wall) {
    fixture f;
    trace *t;
    REQUIRE(fixture_open(&f, STEP));
    t = trace_new(f.clock);
    handle(f.q, "k", record, t);
    put_at(f.q, T0 + JOBQ_HOUR);
    put_at(f.q, T0 + 2 * JOBQ_HOUR);
    CHECK_INT(drain(f.q), 0);
    jobq_clock_set(f.clock, T0 + JOBQ_HOUR - 1);
    CHECK_INT(drain(f.q), 0);
    jobq_clock_set(f.clock, T0 + JOBQ_HOUR);
    CHECK(next_deadline(f.q) <= T0 + JOBQ_HOUR);
    CHECK_INT(drain(f.q), 1);
    jobq_clock_set(f.clock, T0 - JOBQ_DAY);
    CHECK_INT(next_deadline(f.q), T0 + 2 * JOBQ_HOUR);
    CHECK_INT(jobq_wakes(f.q), 1);
    advance(f.q, JOBQ_DAY + 2 * JOBQ_HOUR - 1);
    CHECK_INT(trace_count(t), 1);
    WORKS(jobq_advance_to_next(f.q, &err));
    REQUIRE_INT(trace_count(t), 2);
    CHECK_INT(t->rows[1].now_ms, T0 + 2 * JOBQ_HOUR);
    fixture_close(&f);
    trace_free(t);
}

/* Goal: what was made ready stays so when the clock is set back; whose time had come without
 * anybody looking waits for it again. Method: jobs of now, one that a step has promoted behind
 * them, and one of which only the clock knew. */
TEST(ready_stays_ready) {
    fixture f;
    trace *t;
    int ran = 0;
    REQUIRE(fixture_open(&f, STEP));
    t = trace_new(f.clock);
    handle(f.q, "k", record, t);
    put(f.q, "k");
    put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 1000, .priority = 9});
    jobq_clock_advance(f.clock, 1000);
    WORKS(jobq_step(f.q, &ran, &err)); /* the first runs, the second is ready */
    put_at(f.q, T0 + 2000);
    jobq_clock_advance(f.clock, 1000);
    jobq_clock_set(f.clock, T0 - JOBQ_DAY);
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(trace_count(t), 2);
    CHECK_INT(next_deadline(f.q), T0 + 2000);
    jobq_clock_set(f.clock, T0 + 2000);
    CHECK_INT(drain(f.q), 1);
    fixture_close(&f);
    trace_free(t);
}

static jobq_clock *set_by_backoff;

static int64_t set_back_and_go(int attempt, int64_t id, void *ctx) {
    (void)attempt;
    (void)id;
    (void)ctx;
    jobq_clock_set(set_by_backoff, jobq_clock_now(set_by_backoff) - JOBQ_DAY);
    return 0;
}

static jobq_outcome fail_once(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_run_attempt(run) == 1 ? JOBQ_RETRY : JOBQ_DONE;
}

/* Goal: what is due again at once is so although the clock is set back before that is written.
 * Method: a backoff of nothing that sets the clock back. */
TEST(due_at_once_is_due_at_once) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, STEP));
    set_by_backoff = f.clock;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = fail_once, .backoff = set_back_and_go});
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 2);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    fixture_close(&f);
}

struct stopped {
    gate g;
    int runs; /* atomic */
};

static jobq_outcome stop_when_told(jobq_run *run, void *ctx) {
    struct stopped *s = (struct stopped *)ctx;
    if (__atomic_add_fetch(&s->runs, 1, __ATOMIC_SEQ_CST) > 1) return JOBQ_DONE;
    gate_pass(&s->g);
    while (!jobq_should_stop(run)) sched_yield();
    return JOBQ_RETRY;
}

/* Goal: a job that a stop has interrupted is due at the next start, although the clock was set back
 * while it ran. */
TEST(interrupted_is_due) {
    struct stopped s;
    fixture f;
    int64_t id;
    memset(&s, 0, sizeof s);
    gate_init(&s.g);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
    handle(f.q, "k", stop_when_told, &s);
    start(f.q);
    id = put(f.q, "k");
    gate_await(&s.g, 1);
    gate_open(&s.g);
    jobq_clock_set(f.clock, T0 - JOBQ_DAY);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    start(f.q);
    CHECK_INT(finish(f.q, id).state, JOBQ_STATE_DONE);
    CHECK_INT(look(f.q, id).runs, 2);
    fixture_close(&f);
    gate_free(&s.g);
}

/* Goal: finished jobs are kept until the wall says so, wherever it has been meanwhile. */
TEST(housekeeping_follows_the_wall) {
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_done_ms = JOBQ_HOUR}));
    handle(f.q, "k", do_nothing, NULL);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    jobq_clock_set(f.clock, 1000);
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(count_all(f.q).done, 1);
    jobq_clock_set(f.clock, T0 + JOBQ_HOUR + 2 * JOBQ_MINUTE);
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(count_all(f.q).done, 0);
    fixture_close(&f);
}

/* ---- Who notices ---- */

/* Goal: a pool notices a step without any call, and so does every other queue of the clock. Method:
 * two pools, a job in each; nobody calls but to look. */
TEST(pools_notice_a_step) {
    fixture f;
    jobq *other = NULL;
    int64_t a, b;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
    WORKS(jobq_open(test_path("other.db"), &f.options, &other, &err));
    REQUIRE(other != NULL);
    handle(f.q, "k", do_nothing, NULL);
    handle(other, "k", do_nothing, NULL);
    start(f.q);
    start(other);
    for (int i = 1; i <= 3; i++) {
        int64_t at_ms = jobq_clock_now(f.clock) + JOBQ_DAY;
        a = put_at(f.q, at_ms);
        b = put_at(other, at_ms);
        advance(f.q, 1); /* both have gone to rest */
        advance(other, 1);
        jobq_clock_set(f.clock, T0 - i * JOBQ_HOUR);
        jobq_clock_set(f.clock, at_ms);
        /* By looking, which wakes nobody; a wait would. */
        while (state_of(f.q, a) != JOBQ_STATE_DONE) test_pause_ms(1);
        while (state_of(other, b) != JOBQ_STATE_DONE) test_pause_ms(1);
        CHECK_INT(look(f.q, a).finished_at_ms, at_ms);
        CHECK_INT(look(other, b).finished_at_ms, at_ms);
    }
    CHECK_CODE(jobq_close(&other), JOBQ_OK);
    fixture_close(&f);
}

struct setter {
    jobq_clock *clock;
    int quit; /* atomic */
};

static void *set_and_set(void *arg) {
    struct setter *s = (struct setter *)arg;
    for (int i = 0; !__atomic_load_n(&s->quit, __ATOMIC_SEQ_CST); i++) {
        jobq_clock_set(s->clock, walls_ms[i % WALLS]);
        sched_yield();
    }
    return NULL;
}

/* Goal: queues come and go while their clock is set, and every job of now runs. Method: two threads
 * set it all the time. */
TEST(queues_come_and_go_beside_steps) {
    struct setter s = {NULL, 0};
    pthread_t threads[2];
    fixture f;
    /* A day's step would take a job away that is kept for a day. */
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2, .durability = JOBQ_RELAXED,
                                            .keep_done_ms = JOBQ_NEVER}));
    s.clock = f.clock;
    for (int i = 0; i < 2; i++)
        threads[i] = thread_start(set_and_set, &s);
    for (int i = 0; i < TEST_SCALED(40); i++) {
        handle(f.q, "k", do_nothing, NULL);
        start(f.q);
        CHECK_INT(finish(f.q, put(f.q, "k")).state, JOBQ_STATE_DONE);
        REQUIRE(fixture_reopen(&f));
    }
    __atomic_store_n(&s.quit, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    fixture_close(&f);
}

/* ---- Stalls in step mode ---- */

struct loop {
    int64_t ran;
    bool chain; /* the next job is another one */
    bool enough;
};

static jobq_outcome go_on_for_ever(jobq_run *run, void *ctx) {
    struct loop *l = (struct loop *)ctx;
    l->ran++;
    if (l->enough) return JOBQ_DONE;
    if (!l->chain) return jobq_snooze(run, 0);
    put(jobq_run_handle(run), "k");
    return JOBQ_DONE;
}

/* Goal: an advance over a job that is always due again gives up after stall_ms; the clock stays
 * where it has come to, and when there is an end to it the next advance goes on. Method: a job that
 * snoozes for nothing, and one that enqueues the next. */
TEST(step_mode_stalls_too) {
    for (int chain = 0; chain < 2; chain++) {
        struct loop l = {0, chain != 0, false};
        fixture f;
        int fired = -1;
        REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .stall_ms = 50}));
        handle(f.q, "k", go_on_for_ever, &l);
        put_in(f.q, 5000);
        FAILS(JOBQ_STALLED, jobq_advance(f.q, JOBQ_MINUTE, &fired, &err));
        CHECK_INT(fixture_elapsed(&f), 5000);
        CHECK_INT(fired, 1);
        CHECK(l.ran > 0);
        FAILS(JOBQ_STALLED, jobq_advance(f.q, JOBQ_MINUTE, NULL, &err));
        CHECK_INT(fixture_elapsed(&f), 5000);
        l.enough = true;
        advance(f.q, JOBQ_MINUTE);
        CHECK_INT(fixture_elapsed(&f), 5000 + JOBQ_MINUTE);
        CHECK_INT(count_all(f.q).ready + count_all(f.q).scheduled, 0);
        fixture_remove(&f);
    }
}

static jobq_outcome take_real_time(jobq_run *run, void *ctx) {
    (void)run;
    (void)ctx;
    test_pause_ms(20);
    return JOBQ_DONE;
}

/* Goal: a handler may take longer than stall_ms, if there is rest when it returns; and
 * run_until_idle, which no clock waits for, has all the time it needs. */
TEST(long_is_not_for_ever) {
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .stall_ms = 1}));
    handle(f.q, "k", take_real_time, NULL);
    put_in(f.q, 1000);
    advance(f.q, JOBQ_MINUTE);
    CHECK_INT(count_all(f.q).done, 1);
    for (int i = 0; i < 4; i++) put(f.q, "k");
    CHECK_INT(drain(f.q), 4);
    fixture_close(&f);
}

/* ---- The ends of time ---- */

/* Goal: at the very end of time a job of now still runs, and never does not come: nothing spins,
 * nothing overflows. Method: the last three moments, by a step and by an advance, in both modes. */
TEST(never_does_not_come_at_the_end) {
    for (int i = 0; i < 12; i++) {
        fixture f;
        int64_t at_ms = INT64_MAX - i % 3, never, last, now;
        bool pool = i / 3 % 2, step = i / 6;
        REQUIRE(fixture_open(&f, (jobq_options){.workers = pool ? 1 : JOBQ_NONE}));
        handle_kind(f.q, (jobq_kind){.name = "k", .run = do_nothing, .timeout_ms = JOBQ_HOUR});
        if (pool) start(f.q);
        never = put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = JOBQ_NEVER});
        last = put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = INT64_MAX - 1});
        CHECK_INT(look(f.q, never).scheduled, true);
        if (step) jobq_clock_set(f.clock, at_ms);
        else advance(f.q, at_ms - T0);
        CHECK_INT(jobq_clock_now(f.clock), at_ms);
        now = put(f.q, "k");
        if (pool) CHECK_INT(finish(f.q, now).state, JOBQ_STATE_DONE);
        else drain(f.q);
        CHECK_INT(state_of(f.q, now), JOBQ_STATE_DONE);
        FAILS(JOBQ_BAD_TIME, jobq_enqueue(f.q, &(jobq_job){.kind = "k", .delay_ms = 5}, NULL,
                                          &err));
        advance(f.q, INT64_MAX - 1);
        CHECK_INT(state_of(f.q, last), JOBQ_STATE_DONE);
        CHECK_INT(state_of(f.q, never), JOBQ_STATE_PENDING);
        CHECK_INT(jobq_wakes(f.q), 0);
        if (!pool) CHECK_INT(next_deadline(f.q), JOBQ_NEVER);
        fixture_remove(&f);
    }
}

/* Goal: whatever a clock shows, the file that is written then is whole: it opens again, and what is
 * due by then runs. Method: steps to the ends of time and back, each written down; the doctor. */
TEST(the_end_of_time_is_written) {
    for (int i = 0; i < 8; i++) {
        int64_t far_ms = i % 2 ? INT64_MAX : INT64_C(253402300800000) + i;
        char text[256];
        fixture f;
        REQUIRE(fixture_open(&f, STEP));
        handle(f.q, "k", do_nothing, NULL);
        put_in(f.q, JOBQ_HOUR);
        jobq_clock_set(f.clock, i / 4 ? 0 : far_ms);
        put(f.q, "k");
        CHECK_INT(drain(f.q), 1);
        jobq_clock_set(f.clock, i / 4 ? far_ms : 0);
        put(f.q, "k");
        if (i / 2 % 2) CHECK_INT(drain(f.q), 1);
        CHECK_STR(fault_of(f.q, text), "");
        REQUIRE(fixture_reopen(&f));
        handle(f.q, "k", do_nothing, NULL);
        CHECK_STR(fault_of(f.q, text), "");
        drain(f.q);
        advance(f.q, JOBQ_HOUR);
        CHECK_INT(count_all(f.q).scheduled, 0);
        fixture_remove(&f);
    }
}

/* Goal: a job of the end of time is no damage to who asks the file for its own time. Method: the
 * wall is there when the last job is stored, which writes nothing else; then a client's delay. */
TEST(a_job_of_the_end_of_time) {
    fixture f;
    jobq_options options = {.role = JOBQ_CLIENT, .shared = true};
    jobq *client;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .shared = true}));
    jobq_clock_set(f.clock, INT64_MAX);
    drain(f.q);
    put(f.q, "nobody's");
    jobq_clock_set(f.clock, T0);
    options.clock = f.clock;
    client = open_queue_at(f.path, options);
    REQUIRE(client != NULL);
    put_in(client, JOBQ_HOUR);
    close_queue(&client);
    fixture_remove(&f);
}

/* ---- Times of every size ---- */

struct edges {
    jobq *q;
    jobq_clock *clock;
    uint64_t random;
    int64_t high_ms; /* the latest time that the clock has shown */
    int runs;
};

/* Times where arithmetic may go wrong, and their neighbours. */
static int64_t some_edge(struct edges *e) {
    static const int64_t edges_ms[] = {
        0, INT64_MAX, INT64_MIN, INT64_MAX / 2, INT64_MIN / 2, INT64_MAX / 1000, INT64_MIN / 1000,
        INT64_MAX - T0, INT32_MAX, INT64_C(1000) * INT32_MAX, INT64_C(1000) * UINT32_MAX, T0,
        JOBQ_DAY, 1000};
    uint64_t r = test_random(&e->random);
    int64_t at_ms = edges_ms[r % (sizeof edges_ms / sizeof edges_ms[0])];
    int by = (int)((r >> 20) % 5) - 2;
    if (by > 0 && at_ms > INT64_MAX - by) return at_ms;
    if (by < 0 && at_ms < INT64_MIN - by) return at_ms;
    return at_ms + by;
}

static int64_t some_duration(struct edges *e) {
    int64_t ms = some_edge(e);
    return ms < 0 || ms == JOBQ_UNLIMITED ? 1 : ms; /* which no duration is */
}

static void note_time(struct edges *e) {
    int64_t now_ms = jobq_clock_now(e->clock);
    CHECK(now_ms >= 0);
    if (now_ms > e->high_ms) e->high_ms = now_ms;
}

static jobq_outcome answer_with_edges(jobq_run *run, void *ctx) {
    struct edges *e = (struct edges *)ctx;
    int64_t at_ms = jobq_run_info(run)->run_at_ms;
    note_time(e);
    CHECK(at_ms <= e->high_ms && at_ms != JOBQ_NEVER);
    CHECK(jobq_run_deadline(run) >= 0);
    if (e->runs++ > 200) return JOBQ_DONE;
    switch (test_random(&e->random) % 10) {
    case 0: return jobq_reschedule_at(run, some_edge(e));
    case 1: return jobq_reschedule_in(run, some_edge(e));
    case 2: return jobq_snooze(run, some_edge(e));
    case 3: return JOBQ_RETRY;
    case 4: jobq_clock_advance(e->clock, some_edge(e)); break;
    case 5: jobq_clock_set(e->clock, some_edge(e)); break;
    case 6: jobq_run_sleep(run, some_edge(e)); break;
    default: jobq_should_stop(run);
    }
    note_time(e);
    return JOBQ_DONE;
}

static void call_with_edges(struct edges *e) {
    int64_t at_ms = 0;
    jobq_job job = {.kind = "k"};
    switch (test_random(&e->random) % 10) {
    case 0:
    case 1:
        job.run_at_ms = some_edge(e);
        jobq_enqueue(e->q, &job, NULL, NULL);
        break;
    case 2:
        job.delay_ms = some_edge(e);
        jobq_enqueue(e->q, &job, NULL, NULL);
        break;
    case 3: jobq_enqueue(e->q, &job, NULL, NULL); break;
    case 4: jobq_clock_set(e->clock, some_edge(e)); break;
    case 5: jobq_clock_advance(e->clock, some_edge(e)); break;
    case 6: jobq_advance(e->q, some_edge(e), NULL, NULL); break;
    case 7: jobq_advance_to_next(e->q, NULL); break;
    case 8: WORKS(jobq_run_until_idle(e->q, NULL, &err)); break;
    default:
        WORKS(jobq_next_deadline(e->q, &at_ms, &err));
        CHECK(jobq_wakes(e->q) >= 0);
    }
    note_time(e);
}

/* Goal: with times and durations of every size nothing overflows, nothing runs early, every call
 * comes to its end. Method: random calls with the numbers where sums overflow, in step mode; under
 * the sanitizer for undefined behaviour this sees more. */
TEST(times_of_every_size) {
    struct edges e;
    memset(&e, 0, sizeof e);
    e.random = test_seed();
    for (int i = 0; i < test_effort(40) && !test_failures(); i++) {
        jobq_options options = {.workers = JOBQ_NONE, .stall_ms = some_duration(&e)};
        jobq_kind kind = {.name = "k", .run = answer_with_edges, .ctx = &e};
        e.clock = options.clock = jobq_clock_artificial(some_edge(&e));
        options.keep_done_ms = some_duration(&e);
        kind.timeout_ms = some_duration(&e);
        kind.backoff_min_ms = kind.backoff_max_ms = some_duration(&e);
        e.high_ms = e.runs = 0;
        REQUIRE(e.clock != NULL);
        note_time(&e);
        WORKS(jobq_open(":memory:", &options, &e.q, &err));
        REQUIRE(e.q != NULL);
        handle_kind(e.q, kind);
        for (int call = 0; call < 60; call++) call_with_edges(&e);
        CHECK_CODE(jobq_close(&e.q), JOBQ_OK);
        jobq_clock_free(e.clock);
    }
}

TEST_MAIN(a_clock_can_be_set, a_timeout_outlives_steps, a_step_is_no_health,
          a_sleep_outlives_steps_in_step_mode, a_sleep_outlives_steps_with_a_pool,
          a_wait_outlives_steps, scheduled_jobs_follow_the_wall, ready_stays_ready,
          due_at_once_is_due_at_once, interrupted_is_due, housekeeping_follows_the_wall,
          pools_notice_a_step, queues_come_and_go_beside_steps, step_mode_stalls_too,
          long_is_not_for_ever, never_does_not_come_at_the_end, the_end_of_time_is_written,
          a_job_of_the_end_of_time,
          times_of_every_size)
