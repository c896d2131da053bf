/* clock.c - time in the hand: advance from wake to wake, sleeping handlers, what stalls,
 * what an event loop asks, and that the same calls give the same history.
 *
 * Finished jobs are not kept where wakes are counted, so that housekeeping adds none. */
#include "helpers.h"

#include <sched.h>

#define LEAN .keep_done_ms = JOBQ_NONE, .keep_failed_ms = JOBQ_NONE

/* ---- The clock itself ---- */

/* Goal: an artificial clock stands still, moves when told, saturates, and never goes back.
 * Method: without any queue. */
TEST(artificial_clock_moves_only_when_told) {
    jobq_clock *clock = jobq_clock_artificial(T0);
    REQUIRE(clock != NULL);
    CHECK_INT(jobq_clock_now(clock), T0);
    CHECK_INT(jobq_clock_now(clock), T0);
    jobq_clock_advance(clock, 1);
    CHECK_INT(jobq_clock_now(clock), T0 + 1);
    jobq_clock_advance(clock, 0);
    jobq_clock_advance(clock, -1);
    jobq_clock_advance(clock, INT64_MIN);
    jobq_clock_advance(clock, JOBQ_UNLIMITED); /* which is no duration */
    CHECK_INT(jobq_clock_now(clock), T0 + 1);
    jobq_clock_advance(clock, JOBQ_DAY);
    CHECK_INT(jobq_clock_now(clock), T0 + 1 + JOBQ_DAY);
    jobq_clock_advance(clock, INT64_MAX);
    CHECK_INT(jobq_clock_now(clock), INT64_MAX);
    jobq_clock_advance(clock, INT64_MAX);
    CHECK_INT(jobq_clock_now(clock), INT64_MAX);
    jobq_clock_free(clock);
}

/* Goal: clocks are independent of each other and may start anywhere. Method: 0 and 1970. */
TEST(clocks_are_independent) {
    jobq_clock *a = jobq_clock_artificial(0), *b = jobq_clock_artificial(T0);
    REQUIRE(a != NULL && b != NULL);
    jobq_clock_advance(a, 5);
    CHECK_INT(jobq_clock_now(a), 5);
    CHECK_INT(jobq_clock_now(b), T0);
    jobq_clock_free(a);
    jobq_clock_free(b);
}

/* Goal: NULL is the system's clock: milliseconds since the epoch. Method: compare with time().
 * Both are read twice around, so that a second may begin in between. */
TEST(null_is_the_systems_clock) {
    int64_t before = (int64_t)time(NULL), now = jobq_clock_now(NULL), after = (int64_t)time(NULL);
    CHECK(now / 1000 >= before - 1);
    CHECK(now / 1000 <= after + 1);
}

/* ---- Advance in step mode ---- */

/* Goal: advance visits wakes in order, each run sees its own now, and at the end the clock is
 * at the target. Method: three delayed jobs enqueued backwards. */
TEST(advance_visits_wakes_in_order) {
    fixture f;
    trace *t;
    int64_t a, b, c;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, LEAN}));
    t = trace_new(f.clock);
    handle(f.q, "k", record, t);
    c = put_in(f.q, 30000);
    b = put_in(f.q, 20000);
    a = put_in(f.q, 10000);
    CHECK_INT(advance(f.q, JOBQ_MINUTE), 3);
    CHECK_INT(fixture_elapsed(&f), JOBQ_MINUTE);
    REQUIRE_INT(t->n, 3);
    CHECK_INT(t->rows[0].id, a);
    CHECK_INT(t->rows[0].now_ms, T0 + 10000);
    CHECK_INT(t->rows[1].id, b);
    CHECK_INT(t->rows[1].now_ms, T0 + 20000);
    CHECK_INT(t->rows[2].id, c);
    CHECK_INT(t->rows[2].now_ms, T0 + 30000);
    fixture_close(&f);
    trace_free(t);
}

/* Goal: the target belongs to the span, what lies behind it does not. Method: jobs at 999,
 * 1000 and 1001 ms, advance by 1000. */
TEST(advance_includes_its_target) {
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, LEAN}));
    handle(f.q, "k", do_nothing, NULL);
    put_in(f.q, 999);
    put_in(f.q, 1000);
    put_in(f.q, 1001);
    CHECK_INT(advance(f.q, 1000), 2);
    CHECK_INT(count_all(f.q).scheduled, 1);
    CHECK_INT(advance(f.q, 1), 1);
    CHECK_INT(total(f.q), 0);
    fixture_close(&f);
}

/* Goal: fired may be left out, and a span without wakes only moves the clock. Method: a day
 * in an empty queue. */
TEST(advance_over_nothing) {
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    CHECK_INT(advance(f.q, JOBQ_DAY), 0);
    WORKS(jobq_advance(f.q, JOBQ_DAY, NULL, &err));
    CHECK_INT(fixture_elapsed(&f), 2 * JOBQ_DAY);
    WORKS(jobq_advance(f.q, 0, NULL, &err));
    CHECK_INT(fixture_elapsed(&f), 2 * JOBQ_DAY);
    fixture_close(&f);
}

/* Goal: what falls due inside the span because of what ran inside it runs too. Method: a job
 * at 10 s that is retried after 1, 2 and 4 s; one advance over a minute. */
TEST(retries_inside_the_span_run_too) {
    static const int64_t times[] = {10000, 11000, 13000, 17000};
    fixture f;
    trace *t;
    REQUIRE(fixture_open(&f, STEP));
    t = trace_new(f.clock);
    t->outcome = JOBQ_RETRY;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = record, .ctx = t, .attempts_max = 4,
                                 .jitter_percent = JOBQ_NONE});
    put_in(f.q, 10000);
    advance(f.q, JOBQ_MINUTE);
    REQUIRE_INT(t->n, 4);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(t->rows[i].now_ms, T0 + times[i]);
        CHECK_INT(t->rows[i].attempt, i + 1);
    }
    CHECK_INT(count_all(f.q).failed, 1);
    fixture_close(&f);
    trace_free(t);
}

/* Goal: 30 attempts over 18 hours in no time, in one call. Method: one advance; the last
 * attempt is at 65,295 s. */
TEST(thirty_attempts_in_one_call) {
    fixture f;
    trace *t;
    REQUIRE(fixture_open(&f, STEP));
    t = trace_new(f.clock);
    t->outcome = JOBQ_RETRY;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = record, .ctx = t,
                                 .jitter_percent = JOBQ_NONE});
    put_in(f.q, 1);
    CHECK(advance(f.q, 19 * JOBQ_HOUR) >= 30);
    REQUIRE_INT(t->n, 30);
    CHECK_INT(t->rows[29].now_ms - t->rows[0].now_ms, 65295 * JOBQ_SECOND);
    CHECK_INT(count_all(f.q).failed, 1);
    fixture_close(&f);
    trace_free(t);
}

/* Goal: advance_to_next goes to the next wake, however far, and no further; with none it says
 * so and time stands. Method: two jobs, years apart. */
TEST(advance_to_next_goes_to_the_next_wake) {
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, LEAN}));
    handle(f.q, "k", do_nothing, NULL);
    FAILS(JOBQ_NOT_FOUND, jobq_advance_to_next(f.q, &err));
    CHECK_INT(fixture_elapsed(&f), 0);
    put_in(f.q, 1000 * JOBQ_DAY);
    put_in(f.q, 5000 * JOBQ_DAY);
    WORKS(jobq_advance_to_next(f.q, &err));
    CHECK_INT(fixture_elapsed(&f), 1000 * JOBQ_DAY);
    CHECK_INT(total(f.q), 1);
    WORKS(jobq_advance_to_next(f.q, &err));
    CHECK_INT(fixture_elapsed(&f), 5000 * JOBQ_DAY);
    CHECK_INT(total(f.q), 0);
    FAILS(JOBQ_NOT_FOUND, jobq_advance_to_next(f.q, &err));
    fixture_close(&f);
}

/* Goal: advancing past the end of time stops there. Method: the largest span, with a job in the
 * last millisecond but one. */
TEST(advance_saturates) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", do_nothing, NULL);
    id = put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = INT64_MAX - 1});
    WORKS(jobq_advance(f.q, INT64_MAX - T0 - 1, NULL, &err));
    CHECK(jobq_clock_now(f.clock) >= INT64_MAX - 1);
    WORKS(jobq_advance(f.q, INT64_MAX - 1, NULL, &err));
    CHECK_INT(jobq_clock_now(f.clock), INT64_MAX);
    CHECK(state_of(f.q, id) == JOBQ_STATE_DONE || state_of(f.q, id) == JOBQ_STATE_NONE);
    fixture_close(&f);
}

/* ---- Wakes and deadlines ---- */

struct wakes_seen {
    int inside;
    int64_t deadline;
};

static jobq_outcome count_wakes(jobq_run *run, void *ctx) {
    struct wakes_seen *w = (struct wakes_seen *)ctx;
    w->inside = jobq_wakes(jobq_run_handle(run));
    w->deadline = jobq_run_deadline(run);
    return JOBQ_DONE;
}

/* Goal: scheduled jobs count as one wake together, a running handler's deadline as another.
 * Method: none, one, ten jobs; then inside a handler. */
TEST(wakes_are_counted) {
    struct wakes_seen w = {-1, 0};
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, LEAN}));
    handle(f.q, "k", do_nothing, NULL);
    handle_kind(f.q, (jobq_kind){.name = "t", .run = count_wakes, .ctx = &w,
                                 .timeout_ms = JOBQ_MINUTE});
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(jobq_wakes(f.q), 0);
    put_in(f.q, 1000);
    CHECK_INT(jobq_wakes(f.q), 1);
    for (int i = 1; i < 10; i++) put_in(f.q, 1000 * (i + 1));
    CHECK_INT(jobq_wakes(f.q), 1);
    put(f.q, "t");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(w.inside, 2);
    CHECK_INT(w.deadline, T0 + JOBQ_MINUTE);
    CHECK_INT(jobq_wakes(f.q), 1);
    advance(f.q, JOBQ_MINUTE);
    CHECK_INT(jobq_wakes(f.q), 0);
    fixture_close(&f);
}

static int64_t next_deadline(jobq *q) {
    int64_t at = -77;
    WORKS(jobq_next_deadline(q, &at, &err));
    return at;
}

/* Goal: the next deadline is never if nothing is known, the earliest time of a scheduled job,
 * and now or earlier if a job is ready. Method: each in turn. */
TEST(next_deadline_follows_the_jobs) {
    fixture f;
    int64_t soon;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, LEAN}));
    handle(f.q, "k", do_nothing, NULL);
    CHECK_INT(drain(f.q), 0); /* it may have to look before it knows that there is nothing */
    CHECK_INT(next_deadline(f.q), JOBQ_NEVER);
    put(f.q, "nobody");
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(next_deadline(f.q), JOBQ_NEVER);
    put_in(f.q, 5000);
    CHECK_INT(next_deadline(f.q), T0 + 5000);
    soon = put_in(f.q, 2000);
    CHECK_INT(next_deadline(f.q), T0 + 2000);
    put_in(f.q, 3000);
    CHECK_INT(next_deadline(f.q), T0 + 2000);
    WORKS(jobq_cancel(f.q, soon, &err));
    CHECK(next_deadline(f.q) <= T0 + 3000); /* too early is no harm, too late would be */
    put(f.q, "k");
    CHECK(next_deadline(f.q) <= T0);
    CHECK_INT(drain(f.q), 1);
    CHECK(next_deadline(f.q) > T0 && next_deadline(f.q) <= T0 + 3000);
    jobq_clock_advance(f.clock, 2000);
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(next_deadline(f.q), T0 + 3000);
    jobq_clock_advance(f.clock, 10000);
    CHECK(next_deadline(f.q) <= jobq_clock_now(f.clock));
    CHECK_INT(drain(f.q), 2);
    CHECK_INT(next_deadline(f.q), JOBQ_NEVER);
    fixture_close(&f);
}

/* Goal: who is moved because its time has come leaves the next deadline exact, at once. Method: two
 * scheduled jobs, and one step. */
TEST(next_deadline_after_a_promotion) {
    fixture f;
    int ran = 0;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", do_nothing, NULL);
    put_in(f.q, 2000);
    put_in(f.q, 5000);
    jobq_clock_advance(f.clock, 3000);
    WORKS(jobq_step(f.q, &ran, &err));
    CHECK_INT(ran, 1);
    CHECK_INT(next_deadline(f.q), T0 + 5000);
    fixture_close(&f);
}

/* Goal: the next deadline is known after reopening. Method: a scheduled job, reopen. */
TEST(next_deadline_after_reopening) {
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    put_in(f.q, 5000);
    REQUIRE(fixture_reopen(&f));
    CHECK(next_deadline(f.q) <= T0 + 5000);
    handle(f.q, "k", do_nothing, NULL);
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(next_deadline(f.q), T0 + 5000);
    WORKS(jobq_advance_to_next(f.q, &err));
    CHECK_INT(fixture_elapsed(&f), 5000);
    CHECK_INT(count_all(f.q).done, 1);
    fixture_close(&f);
}

struct bell {
    pthread_mutex_t mutex; /* guards the rest */
    int rings;
};

static void ring(void *ctx) {
    struct bell *b = (struct bell *)ctx;
    pthread_mutex_lock(&b->mutex);
    b->rings++;
    pthread_mutex_unlock(&b->mutex);
}

static int rings(struct bell *b) {
    int n;
    pthread_mutex_lock(&b->mutex);
    n = b->rings;
    pthread_mutex_unlock(&b->mutex);
    return n;
}

static void *put_from_thread(void *arg) {
    put((jobq *)arg, "k");
    return NULL;
}

/* Goal: on_wake is called when a job becomes ready and when the next deadline moves earlier,
 * by whichever thread. Method: count the calls around each. */
TEST(on_wake_tells_an_event_loop) {
    struct bell b = {PTHREAD_MUTEX_INITIALIZER, 0};
    fixture f;
    pthread_t thread;
    int n;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .on_wake = ring, .ctx = &b}));
    handle(f.q, "k", do_nothing, NULL);
    n = rings(&b);
    put_in(f.q, 5000);
    CHECK(rings(&b) > n);
    n = rings(&b);
    put_in(f.q, 1000);
    CHECK(rings(&b) > n);
    n = rings(&b);
    put(f.q, "k");
    CHECK(rings(&b) > n);
    CHECK_INT(drain(f.q), 1);
    n = rings(&b);
    thread = thread_start(put_from_thread, f.q);
    pthread_join(thread, NULL);
    CHECK(rings(&b) > n);
    CHECK_INT(drain(f.q), 1);
    put(f.q, "late");
    n = rings(&b);
    handle(f.q, "late", do_nothing, NULL); /* makes the parked job ready */
    CHECK(rings(&b) > n);
    CHECK_INT(drain(f.q), 1);
    fixture_close(&f);
}

/* Goal: next_deadline, on_wake and step are enough for a loop of the application's own: it runs
 * everything at its time. Method: a loop that only ever does what those tell. */
TEST(event_loop_of_the_applications_own) {
    enum { N = 40 };
    struct bell b = {PTHREAD_MUTEX_INITIALIZER, 0};
    uint64_t random = test_seed();
    fixture f;
    trace *t;
    int64_t at[N + 1], idle = 0;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, LEAN, .on_wake = ring,
                                            .ctx = &b}));
    t = trace_new(f.clock);
    handle(f.q, "k", record, t);
    for (int i = 1; i <= N; i++) {
        at[i] = 1 + (int64_t)(test_random(&random) % 100000);
        CHECK_INT(put_in(f.q, at[i]), i);
    }
    for (int64_t next; (next = next_deadline(f.q)) != JOBQ_NEVER;) {
        int ran = 0;
        if (next > jobq_clock_now(f.clock))
            jobq_clock_advance(f.clock, next - jobq_clock_now(f.clock));
        WORKS(jobq_step(f.q, &ran, &err));
        idle += !ran;
        REQUIRE(idle < 10); /* a loop that is told to hurry for nothing would spin */
    }
    REQUIRE_INT(t->n, N);
    for (int i = 0; i < N; i++)
        if (t->rows[i].id <= N) CHECK_INT(t->rows[i].now_ms, T0 + at[t->rows[i].id]);
    fixture_close(&f);
    trace_free(t);
}

/* ---- Step ---- */

/* Goal: step runs one job at most and says whether; its outcome is durable when it returns.
 * Method: three jobs, four steps, a look from another connection after each. */
TEST(step_runs_one_job) {
    fixture f;
    int ran = -1;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", do_nothing, NULL);
    for (int i = 0; i < 3; i++) put(f.q, "k");
    for (int i = 1; i <= 3; i++) {
        WORKS(jobq_step(f.q, &ran, &err));
        CHECK_INT(ran, 1);
        CHECK_INT(count_all(f.q).done, i);
    }
    WORKS(jobq_step(f.q, &ran, &err));
    CHECK_INT(ran, 0);
    WORKS(jobq_step(f.q, NULL, &err));
    fixture_close(&f);
}

struct two_steps {
    jobq *q;
    gate g;
    int code;
};

static void *step_in_thread(void *arg) {
    struct two_steps *s = (struct two_steps *)arg;
    s->code = jobq_step(s->q, NULL, NULL);
    return NULL;
}

/* Goal: one thread steps at a time; another one is told BUSY. Method: a thread's step stands
 * at a gate inside the handler while this one tries. */
TEST(only_one_thread_steps) {
    struct two_steps s;
    fixture f;
    pthread_t thread;
    memset(&s, 0, sizeof s);
    gate_init(&s.g);
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", stand_at_gate, &s.g);
    put(f.q, "k");
    put(f.q, "k");
    s.q = f.q;
    thread = thread_start(step_in_thread, &s);
    gate_await(&s.g, 1);
    FAILS(JOBQ_BUSY, jobq_step(f.q, NULL, &err));
    FAILS(JOBQ_BUSY, jobq_run_until_idle(f.q, NULL, &err));
    gate_open(&s.g);
    pthread_join(thread, NULL);
    CHECK_CODE(s.code, JOBQ_OK);
    CHECK_INT(count_all(f.q).done, 1);
    CHECK_INT(drain(f.q), 1);
    fixture_close(&f);
    gate_free(&s.g);
}

/* ---- Handlers that take time ---- */

struct nap {
    jobq_clock *clock;
    int64_t duration_ms, woke_ms;
    int naps;
    bool told;
};

static jobq_outcome take_a_nap(jobq_run *run, void *ctx) {
    struct nap *n = (struct nap *)ctx;
    n->naps++;
    n->told = jobq_run_sleep(run, n->duration_ms);
    n->woke_ms = jobq_clock_now(n->clock);
    return JOBQ_DONE;
}

/* Goal: in step mode a handler's sleep moves the artificial clock itself. Method: five minutes;
 * then a sleep that ends at the deadline of one minute. */
TEST(sleep_moves_the_clock_in_step_mode) {
    struct nap n = {NULL, 5 * JOBQ_MINUTE, 0, 0, true};
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    n.clock = f.clock;
    handle(f.q, "k", take_a_nap, &n);
    handle_kind(f.q, (jobq_kind){.name = "t", .run = take_a_nap, .ctx = &n,
                                 .timeout_ms = JOBQ_MINUTE});
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK(!n.told);
    CHECK_INT(n.woke_ms, T0 + 5 * JOBQ_MINUTE);
    put(f.q, "t");
    CHECK_INT(drain(f.q), 1);
    CHECK(n.told);
    CHECK_INT(n.woke_ms, T0 + 6 * JOBQ_MINUTE);
    CHECK_INT(count_all(f.q).done, 2);
    fixture_close(&f);
}

/* Goal: inside an advance in step mode a sleep counts in its time, too. Method: a job at 10 s
 * that sleeps 30 s, advance by a minute. */
TEST(sleep_inside_an_advance_in_step_mode) {
    struct nap n = {NULL, 30000, 0, 0, true};
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    n.clock = f.clock;
    handle(f.q, "k", take_a_nap, &n);
    put_in(f.q, 10000);
    advance(f.q, JOBQ_MINUTE);
    CHECK_INT(n.woke_ms, T0 + 40000);
    CHECK(!n.told);
    CHECK_INT(fixture_elapsed(&f), JOBQ_MINUTE);
    fixture_close(&f);
}

/* Goal: with a pool a sleeping handler rests, and the end of its sleep is a wake that advance
 * fires at its own time. Method: a job that sleeps 30 s, advance by a minute. */
TEST(sleep_is_a_wake_with_a_pool) {
    struct nap n = {NULL, 30000, 0, 0, true};
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2}));
    n.clock = f.clock;
    handle(f.q, "k", take_a_nap, &n);
    start(f.q);
    id = put(f.q, "k");
    advance(f.q, JOBQ_MINUTE);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    CHECK_INT(n.naps, 1);
    CHECK_INT(n.woke_ms, T0 + 30000);
    CHECK(!n.told);
    CHECK_INT(look(f.q, id).finished_at_ms, T0 + 30000);
    CHECK_INT(fixture_elapsed(&f), JOBQ_MINUTE);
    fixture_close(&f);
}

/* Goal: the deadline of a sleeping handler is a wake, too: it ends the sleep at that time.
 * Method: a sleep of an hour with a timeout of a minute. */
TEST(deadline_is_a_wake_with_a_pool) {
    struct nap n = {NULL, JOBQ_HOUR, 0, 0, false};
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
    n.clock = f.clock;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = take_a_nap, .ctx = &n,
                                 .timeout_ms = JOBQ_MINUTE});
    start(f.q);
    put(f.q, "k");
    advance(f.q, 2 * JOBQ_HOUR);
    CHECK(n.told);
    CHECK_INT(n.woke_ms, T0 + JOBQ_MINUTE);
    CHECK_INT(count_all(f.q).done, 1);
    fixture_close(&f);
}

static jobq_outcome watch_the_flag(jobq_run *run, void *ctx) {
    (void)ctx;
    while (!jobq_should_stop(run)) sched_yield();
    return JOBQ_DONE;
}

/* Goal: the deadline of a handler that only looks at its flag fires without waiting for rest,
 * which would never come. Method: a handler that spins until it is told. */
TEST(deadline_fires_without_rest) {
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = watch_the_flag,
                                 .timeout_ms = JOBQ_MINUTE});
    start(f.q);
    put(f.q, "k");
    advance(f.q, JOBQ_HOUR);
    CHECK_INT(count_all(f.q).done, 1);
    CHECK_INT(fixture_elapsed(&f), JOBQ_HOUR);
    fixture_close(&f);
}

struct patient {
    jobq_clock *clock;
    int64_t seen_ms; /* when the flag was up; 0: it was not, for as long as we looked */
    int64_t look_ms; /* real time; 0: until it is up */
};

static jobq_outcome look_for_a_while(jobq_run *run, void *ctx) {
    struct patient *p = (struct patient *)ctx;
    int64_t until_ms = jobq_clock_now(NULL) + p->look_ms;
    while (!jobq_should_stop(run)) {
        if (p->look_ms && jobq_clock_now(NULL) >= until_ms) return JOBQ_DONE;
        sched_yield();
    }
    p->seen_ms = jobq_clock_now(p->clock);
    return JOBQ_DONE;
}

/* Goal: so it is in step mode, where the handler has the thread that moves the clock: its deadline
 * comes at its time, counts as a wake, and the advance goes on from there. Method: the same
 * handler, a job behind it, an advance as far as the deadline and one beyond. */
TEST(deadline_fires_without_rest_in_step_mode) {
    struct patient p = {.look_ms = 0};
    int64_t later;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = look_for_a_while, .ctx = &p,
                                 .timeout_ms = JOBQ_MINUTE});
    p.clock = f.clock;
    handle(f.q, "later", do_nothing, NULL);
    put(f.q, "k");
    later = put_job(f.q, (jobq_job){.kind = "later", .delay_ms = 2 * JOBQ_MINUTE});
    CHECK_INT(advance(f.q, JOBQ_MINUTE), 1);
    CHECK_INT(p.seen_ms, T0 + JOBQ_MINUTE);
    CHECK_INT(fixture_elapsed(&f), JOBQ_MINUTE);
    CHECK_INT(state_of(f.q, later), JOBQ_STATE_PENDING);
    CHECK_INT(advance(f.q, JOBQ_HOUR), 1);
    CHECK_INT(look(f.q, later).finished_at_ms, T0 + 2 * JOBQ_MINUTE);
    CHECK_INT(fixture_elapsed(&f), JOBQ_MINUTE + JOBQ_HOUR);
    fixture_close(&f);
}

/* Goal: no deadline is fired to which nobody moves the clock, however long a handler looks: none
 * beyond the span of an advance, and none while jobs are only run, nor behind an advance that is
 * over. Method: 300 ms of real time in each. */
TEST(deadline_beyond_the_advance_in_step_mode) {
    struct patient p = {.look_ms = 300};
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = look_for_a_while, .ctx = &p,
                                 .timeout_ms = JOBQ_MINUTE});
    handle(f.q, "soon", do_nothing, NULL);
    put(f.q, "k");
    CHECK_INT(advance(f.q, JOBQ_MINUTE - 1), 0);
    CHECK_INT(fixture_elapsed(&f), JOBQ_MINUTE - 1);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(p.seen_ms, 0);
    CHECK_INT(fixture_elapsed(&f), JOBQ_MINUTE - 1);
    put_job(f.q, (jobq_job){.kind = "soon", .delay_ms = 1});
    WORKS(jobq_advance_to_next(f.q, &err));
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(p.seen_ms, 0);
    CHECK_INT(fixture_elapsed(&f), JOBQ_MINUTE);
    CHECK_INT(count_all(f.q).done, 4);
    fixture_close(&f);
}

/* ---- Advance with a pool ---- */

static jobq_outcome record_and_enqueue(jobq_run *run, void *ctx) {
    for (int i = 0; i < 3; i++)
        CHECK_CODE(jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "child"}, NULL, NULL),
                   JOBQ_OK);
    return record(run, ctx);
}

/* Goal: between two wakes advance waits until all that follows from the first is done. Method:
 * parents at 10, 20 and 30 s with three children each, which are due at once. */
TEST(advance_drains_the_pool_between_wakes) {
    fixture f;
    trace *t;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2, LEAN}));
    t = trace_new(f.clock);
    handle(f.q, "k", record_and_enqueue, t);
    handle(f.q, "child", record, t);
    start(f.q);
    for (int i = 1; i <= 3; i++) put_in(f.q, i * 10000);
    CHECK_INT(advance(f.q, JOBQ_MINUTE), 3);
    REQUIRE_INT(trace_count(t), 12);
    for (int i = 0; i < 12; i++) CHECK_INT(t->rows[i].now_ms, T0 + 10000 * (i / 4 + 1));
    CHECK_INT(total(f.q), 0);
    fixture_close(&f);
    trace_free(t);
}

/* Goal: retries on a pool run at their times inside one advance. Method: the default table,
 * 30 attempts, one call. */
TEST(thirty_attempts_on_a_pool) {
    fixture f;
    trace *t;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2}));
    t = trace_new(f.clock);
    t->outcome = JOBQ_RETRY;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = record, .ctx = t,
                                 .jitter_percent = JOBQ_NONE});
    start(f.q);
    put(f.q, "k");
    advance(f.q, 19 * JOBQ_HOUR);
    REQUIRE_INT(trace_count(t), 30);
    CHECK_INT(t->rows[29].now_ms, T0 + 65295 * JOBQ_SECOND);
    CHECK_INT(count_all(f.q).failed, 1);
    fixture_close(&f);
    trace_free(t);
}

/* Goal: a pool that does not come to rest stalls the clock, and goes on once it does. Method:
 * a handler at a gate, stall_ms of 50; then the gate is opened. On a slow disk the commit of the
 * next job takes longer than that, too. */
TEST(advance_stalls_when_a_handler_blocks) {
    fixture f;
    gate g;
    int64_t held, later;
    int fired = -1, code;
    gate_init(&g);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .stall_ms = 50}));
    handle(f.q, "gate", stand_at_gate, &g);
    handle(f.q, "k", do_nothing, NULL);
    start(f.q);
    held = put(f.q, "gate");
    later = put_in(f.q, 10000);
    gate_await(&g, 1);
    FAILS(JOBQ_STALLED, jobq_advance(f.q, JOBQ_MINUTE, &fired, &err));
    CHECK_INT(fixture_elapsed(&f), 0);
    CHECK_INT(fired, 0);
    CHECK_INT(state_of(f.q, later), JOBQ_STATE_PENDING);
    FAILS(JOBQ_STALLED, jobq_advance_to_next(f.q, &err));
    CHECK_INT(fixture_elapsed(&f), 0);
    gate_open(&g);
    CHECK_INT(finish(f.q, held).state, JOBQ_STATE_DONE);
    do code = jobq_advance(f.q, JOBQ_MINUTE, NULL, NULL);
    while (code == JOBQ_STALLED);
    CHECK_CODE(code, JOBQ_OK);
    CHECK_INT(state_of(f.q, later), JOBQ_STATE_DONE);
    CHECK_INT(look(f.q, later).finished_at_ms, T0 + 10000);
    fixture_close(&f);
    gate_free(&g);
}

/* Goal: one clock may serve several queues: when one advances it, the other's jobs are due as
 * well. Method: two step queues. */
TEST(one_clock_for_two_queues) {
    fixture f;
    jobq *other = NULL;
    REQUIRE(fixture_open(&f, STEP));
    WORKS(jobq_open(test_path("other.db"), &f.options, &other, &err));
    REQUIRE(other != NULL);
    handle(other, "k", do_nothing, NULL);
    put_in(other, 5000);
    CHECK_INT(drain(other), 0);
    advance(f.q, 5000);
    CHECK(next_deadline(other) <= jobq_clock_now(f.clock));
    CHECK_INT(drain(other), 1);
    CHECK_CODE(jobq_close(&other), JOBQ_OK);
    fixture_close(&f);
}

/* ---- The same history, bit for bit ---- */

struct history {
    uint64_t hash, events;
};

/* FNV-1a over the eight bytes of a number, whatever the machine's byte order. */
static void hash_number(struct history *h, uint64_t number) {
    for (int i = 0; i < 8; i++) {
        h->hash ^= number & 255;
        h->hash *= UINT64_C(0x100000001b3);
        number >>= 8;
    }
}

/* The history is (now, id, from, to, attempt, outcome) of every event, in order. */
static void hash_event(const jobq_event *event, void *ctx) {
    struct history *h = (struct history *)ctx;
    hash_number(h, (uint64_t)event->now_ms);
    hash_number(h, (uint64_t)event->id);
    hash_number(h, (uint64_t)event->from);
    hash_number(h, (uint64_t)event->to);
    hash_number(h, (uint64_t)event->attempt);
    hash_number(h, (uint64_t)event->outcome);
    h->events++;
}

struct world {
    fixture f;
    uint64_t random;
    int64_t last_id;
};

/* Does something different each time, as its own generator says. */
static jobq_outcome do_anything(jobq_run *run, void *ctx) {
    struct world *w = (struct world *)ctx;
    uint64_t r = test_random(&w->random);
    if (r % 5 == 0) jobq_clock_advance(w->f.clock, (int64_t)(r >> 8) % 3000);
    if (r % 7 == 0)
        jobq_enqueue(w->f.q, &(jobq_job){.kind = "b", .delay_ms = (int64_t)(r >> 8) % 5000},
                     &w->last_id, NULL);
    switch ((r >> 40) % 8) {
    case 0: return jobq_retry(run, "anything");
    case 1: return JOBQ_RETRY;
    case 2: return jobq_fail(run, "enough");
    case 3: return jobq_reschedule_in(run, 1 + (int64_t)(r >> 44) % 10000);
    case 4: return jobq_snooze(run, 1 + (int64_t)(r >> 44) % 1000);
    default: return JOBQ_DONE;
    }
}

static void one_operation(struct world *w) {
    static const char *const kinds[] = {"a", "b", "nobody"};
    static const char *const queues[] = {NULL, "x", "y"};
    static const char *const keys[] = {NULL, NULL, "p", "q"};
    uint64_t r = test_random(&w->random);
    int64_t id = 1 + (int64_t)((r >> 20) % 300);
    jobq *q = w->f.q;
    switch (r % 10) {
    case 0:
    case 1:
    case 2:
    case 3:
        jobq_enqueue(q, &(jobq_job){.kind = kinds[(r >> 8) % 3], .queue = queues[(r >> 10) % 3],
                                    .key = keys[(r >> 12) % 4],
                                    .priority = (int)((r >> 14) % 5),
                                    .delay_ms = (int64_t)(r >> 30) % 4000}, NULL, NULL);
        break;
    case 4: jobq_cancel(q, id, NULL); break;
    case 5: jobq_retry_now(q, id, NULL); break;
    case 6: jobq_delete(q, id, NULL); break;
    case 7: WORKS(jobq_advance(q, (int64_t)(r >> 30) % 2000, NULL, &err)); break;
    case 8: WORKS(jobq_step(q, NULL, &err)); break;
    default: WORKS(jobq_run_until_idle(q, NULL, &err)); break;
    }
}

/* Plays so many random operations and returns the hash of the history. The operations come
 * from plan, the jitter from seed. */
static struct history play(uint64_t plan, uint64_t seed, int operations) {
    struct history h = {UINT64_C(0xcbf29ce484222325), 0};
    struct world w;
    memset(&w, 0, sizeof w);
    w.random = plan;
    if (!CHECK(fixture_open(&w.f, (jobq_options){.workers = JOBQ_NONE, .seed = seed,
                                                 .durability = JOBQ_RELAXED,
                                                 .keep_done_ms = 20000,
                                                 .on_event = hash_event, .ctx = &h})))
        return h;
    handle_kind(w.f.q, (jobq_kind){.name = "a", .run = do_anything, .ctx = &w,
                                   .attempts_max = 4, .timeout_ms = 2000});
    handle_kind(w.f.q, (jobq_kind){.name = "b", .run = do_anything, .ctx = &w,
                                   .backoff_min_ms = 50, .keep_failed_ms = JOBQ_NONE});
    for (int i = 0; i < operations; i++) one_operation(&w);
    WORKS(jobq_advance(w.f.q, JOBQ_MINUTE, NULL, &err));
    fixture_remove(&w.f);
    return h;
}

/* Goal: the same calls and seed give the same history, bit for bit; another seed of the jitter
 * or another plan gives another. Method: 400 random operations in step mode, the events
 * hashed, played twice and then with each changed. */
TEST(same_seed_same_history) {
    enum { N = 400 };
    uint64_t plan = test_seed();
    struct history a = play(plan, 1, N), b = play(plan, 1, N);
    struct history other_seed = play(plan, 2, N), other_plan = play(plan + 1, 1, N);
    CHECK(a.events > N / 4);
    CHECK_INT(a.events, b.events);
    CHECK(a.hash == b.hash);
    CHECK(a.hash != other_seed.hash);
    CHECK(a.hash != other_plan.hash);
}

/* Goal: the history does not depend on when the file is reopened between the calls: jitter
 * comes from the seed, the job and its run alone. Method: a job that always fails, with and
 * without a restart after each attempt. */
TEST(history_survives_reopening) {
    int64_t at[2][6];
    for (int restart = 0; restart < 2; restart++) {
        fixture f;
        int64_t id;
        REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .seed = 5}));
        handle(f.q, "k", retry_always, NULL);
        id = put_in(f.q, 1);
        for (int i = 0; i < 6; i++) {
            WORKS(jobq_advance_to_next(f.q, &err));
            at[restart][i] = look(f.q, id).run_at_ms;
            if (!restart) continue;
            REQUIRE(fixture_reopen(&f));
            handle(f.q, "k", retry_always, NULL);
        }
        fixture_remove(&f);
    }
    for (int i = 0; i < 6; i++) CHECK_INT(at[1][i], at[0][i]);
}

/* Goal: a notice does not keep the clock from moving when no pool is there to take it. */
TEST(notified_queue_without_a_pool_advances) {
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .stall_ms = 30 * JOBQ_SECOND}));
    WORKS(jobq_notify(f.q, &err));
    advance(f.q, JOBQ_SECOND);
    CHECK_INT(fixture_elapsed(&f), JOBQ_SECOND);
    fixture_close(&f);
}

TEST_MAIN(artificial_clock_moves_only_when_told, clocks_are_independent,
          null_is_the_systems_clock, advance_visits_wakes_in_order, advance_includes_its_target,
          advance_over_nothing, retries_inside_the_span_run_too, thirty_attempts_in_one_call,
          advance_to_next_goes_to_the_next_wake, advance_saturates, wakes_are_counted,
          next_deadline_follows_the_jobs, next_deadline_after_a_promotion,
          next_deadline_after_reopening,
          on_wake_tells_an_event_loop, event_loop_of_the_applications_own, step_runs_one_job,
          only_one_thread_steps, sleep_moves_the_clock_in_step_mode,
          sleep_inside_an_advance_in_step_mode, sleep_is_a_wake_with_a_pool,
          deadline_is_a_wake_with_a_pool, deadline_fires_without_rest,
          deadline_fires_without_rest_in_step_mode, deadline_beyond_the_advance_in_step_mode,
          advance_drains_the_pool_between_wakes, thirty_attempts_on_a_pool,
          advance_stalls_when_a_handler_blocks, one_clock_for_two_queues, same_seed_same_history,
          history_survives_reopening,
          notified_queue_without_a_pool_advances)
