/* lifecycle.c - start, stop and close: in any order, from anywhere, with jobs in hand.
 *
 * Handlers that have to stand still stand at a gate (helpers.h) or wait for their stop flag;
 * nothing here depends on how long anything takes. Where a call races with close, a handler
 * at a gate keeps close from returning until every caller has seen JOBQ_CLOSED, because a
 * handle must not be used after that. */
#include "helpers.h"

#include <sched.h>

enum { ORDERS = 600, REST = 50, CALLERS = 5 };

/* ---- Any order ---- */

/* Goal: stop before start, start twice, stop twice and start again are all well. Method:
 * in that order, with a job that proves that the pool runs. */
TEST(stop_and_start_in_any_order) {
    jobq *q = open_pool(test_path("q.db"), 2);
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    WORKS(jobq_stop(q, 0, &err));
    WORKS(jobq_stop(q, JOBQ_NONE, &err));
    start(q);
    start(q);
    CHECK(stats_of(q).started_now);
    CHECK_INT(finish(q, put(q, "k")).state, JOBQ_STATE_DONE);
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    WORKS(jobq_stop(q, 0, &err));
    CHECK(!stats_of(q).started_now);
    start(q);
    CHECK_INT(finish(q, put(q, "k")).state, JOBQ_STATE_DONE);
    close_queue(&q);
}

/* Goal: close works on a queue that was never started, is running, or was stopped; it
 * clears the handle, and a second time is misuse. Method: each once. */
TEST(close_without_stop_and_twice) {
    for (int stage = 0; stage < 3; stage++) {
        jobq *q = open_pool(test_path("q.db"), 2);
        REQUIRE(q != NULL);
        handle(q, "k", do_nothing, NULL);
        put(q, "k");
        if (stage > 0) start(q);
        if (stage > 1) WORKS(jobq_stop(q, 0, &err));
        close_queue(&q);
        CHECK(q == NULL);
        CHECK_CODE(jobq_close(&q), JOBQ_MISUSE);
    }
    CHECK_CODE(jobq_close(NULL), JOBQ_MISUSE);
}

/* Goal: no order of start, stop, enqueue and close hangs, fails or loses a job. Method: a
 * seeded walk with a model of whether the pool runs; in the end everything runs. */
TEST(random_orders) {
    static int64_t ids[ORDERS];
    uint64_t random = test_seed();
    int steps = TEST_SCALED(ORDERS), jobs = 0;
    bool started = false;
    jobq *q = open_pool(test_path("q.db"), 3);
    REQUIRE(q != NULL);
    test_note("TEST_SEED=%" PRIu64, test_seed());
    handle(q, "k", do_nothing, NULL);
    while (steps-- > 0 && test_failures() == 0) {
        switch (test_random(&random) % 8) {
        case 0: case 1: start(q); started = true; break;
        case 2: WORKS(jobq_stop(q, JOBQ_NEVER, &err)); started = false; break;
        case 3: WORKS(jobq_stop(q, 0, &err)); started = false; break;
        case 4:
            close_queue(&q);
            q = open_pool(test_path("q.db"), 1 + (int)(test_random(&random) % 4));
            REQUIRE(q != NULL);
            handle(q, "k", do_nothing, NULL);
            started = false;
            break;
        default: ids[jobs++] = put(q, "k");
        }
        CHECK_INT(stats_of(q).started_now, started);
    }
    start(q);
    for (int i = 0; i < jobs; i++) CHECK_INT(finish(q, ids[i]).state, JOBQ_STATE_DONE);
    CHECK_INT(count_all(q).done, jobs);
    close_queue(&q);
}

/* Goal: what is left at a stop runs after the next start. Method: jobs and stops in turn,
 * then wait for all of them. */
TEST(the_rest_runs_after_the_next_start) {
    int64_t ids[REST];
    jobq *q = open_pool(test_path("q.db"), 2);
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    for (int i = 0; i < REST; i++) {
        ids[i] = put(q, "k");
        if (i % 5 == 0) start(q);
        if (i % 5 == 2) WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    }
    start(q);
    for (int i = 0; i < REST; i++) {
        jobq_info info = finish(q, ids[i]);
        CHECK_INT(info.state, JOBQ_STATE_DONE);
        CHECK_INT(info.runs, 1);
    }
    close_queue(&q);
}

/* ---- Jobs in hand ---- */

/* Waits for its stop flag, says that it returns, and is done. */
struct patient {
    gate entered;
    bool returned;
    jobq_outcome outcome;
    int attempts[8], n;
};

static jobq_outcome wait_for_the_flag(jobq_run *run, void *ctx) {
    struct patient *p = (struct patient *)ctx;
    pthread_mutex_lock(&p->entered.mutex);
    if (p->n < 8) p->attempts[p->n++] = jobq_run_attempt(run);
    pthread_mutex_unlock(&p->entered.mutex);
    gate_pass(&p->entered);
    CHECK(jobq_run_sleep(run, JOBQ_DAY));
    CHECK(jobq_should_stop(run));
    __atomic_store_n(&p->returned, true, __ATOMIC_SEQ_CST);
    return p->outcome == JOBQ_RETRY ? jobq_retry(run, "told to stop") : p->outcome;
}

static void patient_init(struct patient *p, jobq_outcome outcome) {
    memset(p, 0, sizeof *p);
    gate_init(&p->entered);
    gate_open(&p->entered);
    p->outcome = outcome;
}

static bool has_returned(struct patient *p) {
    return __atomic_load_n(&p->returned, __ATOMIC_SEQ_CST);
}

/* Goal: close raises the stop flag, wakes a sleeping handler, waits for it, and its outcome
 * is kept. Method: close beside a handler that sleeps for a day; open again and look. */
TEST(close_waits_for_handlers) {
    struct patient p;
    jobq *q = open_pool(test_path("q.db"), 2);
    int64_t id;
    REQUIRE(q != NULL);
    patient_init(&p, JOBQ_DONE);
    handle(q, "k", wait_for_the_flag, &p);
    id = put(q, "k");
    start(q);
    gate_await(&p.entered, 1);
    CHECK(!has_returned(&p));
    close_queue(&q);
    CHECK(has_returned(&p));
    q = open_pool(test_path("q.db"), 2);
    REQUIRE(q != NULL);
    CHECK_INT(state_of(q, id), JOBQ_STATE_DONE);
    close_queue(&q);
    gate_free(&p.entered);
}

/* Goal: a retry that was told to stop keeps its attempt and is due at once. Method: stop
 * beside such a handler, look, start again, where it runs as attempt 1 once more. */
TEST(stopped_retry_keeps_its_attempt) {
    struct patient p;
    jobq *q = open_pool(test_path("q.db"), 1);
    jobq_info info;
    int64_t id;
    REQUIRE(q != NULL);
    patient_init(&p, JOBQ_RETRY);
    handle(q, "k", wait_for_the_flag, &p);
    id = put(q, "k");
    for (int round = 1; round <= 3; round++) {
        start(q);
        gate_await(&p.entered, round);
        WORKS(jobq_stop(q, JOBQ_NEVER, &err));
        info = look(q, id);
        CHECK_INT(info.state, JOBQ_STATE_PENDING);
        CHECK(!info.scheduled);
        CHECK_INT(info.attempt, 1);
        CHECK_INT(info.runs, round);
        CHECK_INT(info.crashes, 0);
        CHECK_INT(p.attempts[round - 1], 1);
    }
    close_queue(&q);
    gate_free(&p.entered);
}

/* Goal: a stop whose grace is over says so; the handler goes on, start is refused as long,
 * and its outcome is still settled. Method: no grace, and a short one, beside a handler at a
 * gate; then open the gate, wait, stop and start again. */
TEST(stop_without_grace) {
    gate g;
    jobq *q = open_pool(test_path("q.db"), 2);
    int64_t id;
    REQUIRE(q != NULL);
    id = start_with_one_at(&g, q, "k");
    FAILS(JOBQ_TIMEOUT, jobq_stop(q, JOBQ_NONE, &err));
    FAILS(JOBQ_TIMEOUT, jobq_stop(q, 10, &err));
    FAILS(JOBQ_BUSY, jobq_start(q, &err));
    CHECK_INT(state_of(q, id), JOBQ_STATE_RUNNING);
    gate_open(&g);
    CHECK_INT(finish(q, id).state, JOBQ_STATE_DONE);
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    CHECK_INT(state_of(q, id), JOBQ_STATE_DONE);
    CHECK_INT(stats_of(q).running, 0);
    CHECK_INT(stats_of(q).lost_outcomes, 0);
    start(q);
    CHECK_INT(finish(q, put(q, "k")).state, JOBQ_STATE_DONE);
    close_queue(&q);
    gate_free(&g);
}

/* Goal: close after a stop that timed out waits for the handler and settles its outcome.
 * Method: the gate is opened only when close has begun. */
TEST(close_after_expired_stop) {
    gate g;
    pthread_t thread;
    jobq *q = open_pool(test_path("q.db"), 1);
    struct gatekeeper keeper = {q, &g};
    int64_t id;
    REQUIRE(q != NULL);
    id = start_with_one_at(&g, q, "k");
    FAILS(JOBQ_TIMEOUT, jobq_stop(q, JOBQ_NONE, &err));
    thread = thread_start(open_when_closing, &keeper);
    close_queue(&q);
    pthread_join(thread, NULL);
    q = open_pool(test_path("q.db"), 1);
    REQUIRE(q != NULL);
    CHECK_INT(state_of(q, id), JOBQ_STATE_DONE);
    CHECK_INT(look(q, id).crashes, 0);
    close_queue(&q);
    gate_free(&g);
}

/* Goal: the grace of a stop is real time, whatever the queue's clock does. Method: an
 * artificial clock that stands, a handler at a gate, a grace of 10 ms. */
TEST(grace_is_real_time) {
    gate g;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
    start_with_one_at(&g, f.q, "k");
    FAILS(JOBQ_TIMEOUT, jobq_stop(f.q, 10, &err));
    CHECK_INT(fixture_elapsed(&f), 0);
    gate_open(&g);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    fixture_close(&f);
    gate_free(&g);
}

/* Goal: several threads may stop at once and all of them return. Method: four stops beside
 * a handler that waits for its flag. */
TEST(stop_from_several_threads) {
    struct patient p;
    pthread_t threads[4];
    jobq *q = open_pool(test_path("q.db"), 2);
    REQUIRE(q != NULL);
    patient_init(&p, JOBQ_DONE);
    handle(q, "k", wait_for_the_flag, &p);
    put(q, "k");
    start(q);
    gate_await(&p.entered, 1);
    for (int i = 0; i < 4; i++)
        threads[i] = thread_start(stop_in_thread, q);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    CHECK(has_returned(&p));
    CHECK(!stats_of(q).started_now);
    close_queue(&q);
    gate_free(&p.entered);
}

/* ---- What was claimed ---- */

static void check_given_back(jobq *q, const jobq_stored *results) {
    for (int i = 1; i <= REST; i++) {
        jobq_info info = look(q, results[i].id);
        CHECK_INT(info.state, JOBQ_STATE_PENDING);
        CHECK_INT(info.attempt, 1);
        CHECK_INT(info.runs, 0);
        CHECK_INT(info.crashes, 0);
    }
}

/* Goal: a stop gives back what was claimed and not started: pending, nothing charged, and
 * still so in the file. Method: one worker at a gate, fifty jobs behind it, stop, reopen. */
TEST(claimed_jobs_are_given_back) {
    gate g;
    jobq_job jobs[REST + 1];
    jobq_stored results[REST + 1];
    jobq *q = open_pool(test_path("q.db"), 1);
    REQUIRE(q != NULL);
    gate_init(&g);
    handle(q, "k", stand_at_gate, &g);
    for (int i = 0; i <= REST; i++) jobs[i] = (jobq_job){.kind = "k"};
    WORKS(jobq_enqueue_many(q, jobs, REST + 1, results, &err));
    start(q);
    gate_await(&g, 1);
    CHECK_INT(state_of(q, results[0].id), JOBQ_STATE_RUNNING);
    FAILS(JOBQ_TIMEOUT, jobq_stop(q, JOBQ_NONE, &err));
    CHECK_INT(stats_of(q).claimed, 0);
    check_given_back(q, results);
    gate_open(&g);
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    CHECK_INT(count_all(q).ready, REST);
    CHECK_INT(count_all(q).done, 1);
    close_queue(&q);
    q = open_pool(test_path("q.db"), 1);
    REQUIRE(q != NULL);
    check_given_back(q, results);
    handle(q, "k", stand_at_gate, &g);
    start(q);
    for (int i = 0; i <= REST; i++) CHECK_INT(finish(q, results[i].id).runs, 1);
    close_queue(&q);
    gate_free(&g);
}

/* ---- Events and counts ---- */

/* Checks that the events of a job go from nothing to done, each from where the last ended. */
static void check_history(event_log *log, int64_t id) {
    jobq_event rows[8];
    size_t n = events_of(log, id, rows, 8);
    int news = 0, dones = 0;
    CHECK(n >= 2 && n <= 8);
    for (size_t i = 0; i < n && i < 8; i++) {
        news += rows[i].from == JOBQ_STATE_NONE;
        dones += rows[i].to == JOBQ_STATE_DONE;
    }
    CHECK_INT(news, 1);
    CHECK_INT(dones, 1);
    CHECK_INT(rows[0].from, JOBQ_STATE_NONE);
    if (n <= 8 && n > 0) CHECK_INT(rows[n - 1].to, JOBQ_STATE_DONE);
}

/* Goal: at rest after a stop, events, statistics and counts say the same; what is enqueued
 * while stopped is told later and in order. Method: jobs before, between and after stops. */
TEST(events_and_counts_after_stop) {
    event_log *log = event_log_new();
    jobq_options options = {.workers = 2, .on_event = log_event, .ctx = log};
    int64_t ids[3];
    jobq *q = NULL;
    WORKS(jobq_open(test_path("q.db"), &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    ids[0] = put(q, "k");
    start(q);
    ids[1] = put(q, "k");
    finish(q, ids[0]);
    finish(q, ids[1]);
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    check_history(log, ids[0]);
    check_history(log, ids[1]);
    ids[2] = put(q, "k");
    CHECK_INT(count_all(q).ready, 1);
    CHECK_INT(count_all(q).done, 2);
    CHECK_INT(stats_of(q).done, 2);
    CHECK_INT(stats_of(q).enqueued, 3);
    start(q);
    finish(q, ids[2]);
    close_queue(&q);
    for (int i = 0; i < 3; i++) check_history(log, ids[i]);
    event_log_free(log);
}

/* ---- Calls that race with close ---- */

struct caller {
    jobq *q;
    int which;
    int64_t held, done; /* jobs: one at the gate, one finished */
    int64_t last;       /* the last id that was acknowledged */
    int64_t oks;
    gate *ready, *closed;
};

static int read_something(jobq *q, int64_t id, int64_t turn) {
    jobq_info infos[4];
    jobq_filter any = {.state = JOBQ_STATE_NONE};
    jobq_cursor cursor = {.done = false};
    jobq_counts counts;
    jobq_stats stats;
    char bytes[4];
    size_t count;
    switch (turn % 6) {
    case 0: return jobq_get(q, id, &infos[0], NULL);
    case 1: return jobq_list(q, &any, &cursor, infos, 4, &count, NULL);
    case 2: return jobq_count(q, &counts, NULL);
    case 3: return jobq_stat(q, &stats, NULL);
    case 4: return jobq_get_payload(q, id, bytes, sizeof bytes, &count, NULL);
    default: return jobq_wait(q, id, 0, NULL, NULL);
    }
}

static int call_something(struct caller *c) {
    jobq_job jobs[3] = {{.kind = "later"}, {.kind = "later"}, {.kind = "later"}};
    jobq_stored results[3];
    int64_t at;
    int code;
    switch (c->which) {
    case 0: return jobq_enqueue(c->q, &jobs[0], &c->last, NULL);
    case 1:
        code = jobq_enqueue_many(c->q, jobs, 3, results, NULL);
        if (code == JOBQ_OK) c->last = results[2].id;
        return code;
    case 2: return read_something(c->q, c->done, c->oks);
    case 3:
        if (c->oks % 4 == 0) return jobq_start(c->q, NULL);
        if (c->oks % 4 == 1) return jobq_flush(c->q, NULL);
        if (c->oks % 4 == 2) return jobq_next_deadline(c->q, &at, NULL);
        return jobq_notify(c->q, NULL);
    default: /* one call that only close can end */
        gate_pass(c->ready);
        return jobq_wait(c->q, c->held, JOBQ_NEVER, NULL, NULL);
    }
}

static void *call_until_closed(void *arg) {
    struct caller *c = (struct caller *)arg;
    int64_t last = 0;
    int code;
    while ((code = call_something(c)) == JOBQ_OK) {
        last = c->last;
        if (++c->oks == 10) gate_pass(c->ready);
    }
    c->last = last;
    CHECK_CODE(code, JOBQ_CLOSED);
    gate_pass(c->closed);
    return NULL;
}

/* Keeps close from returning until every caller has seen that it goes on. */
static jobq_outcome wait_for_callers(jobq_run *run, void *ctx) {
    struct caller *any = (struct caller *)ctx;
    gate_pass(any->ready);
    gate_await(any->closed, CALLERS);
    CHECK(jobq_should_stop(run));
    return JOBQ_DONE;
}

static void init_callers(struct caller *callers, jobq *q, gate *ready, gate *closed) {
    gate_init(ready);
    gate_init(closed);
    gate_open(ready);
    gate_open(closed);
    for (int i = 0; i < CALLERS; i++)
        callers[i] = (struct caller){.q = q, .which = i, .ready = ready, .closed = closed};
}

static void prepare_callers(struct caller *callers, jobq *q) {
    int64_t done, held;
    handle(q, "now", do_nothing, NULL);
    handle(q, "held", wait_for_callers, &callers[0]);
    start(q);
    done = put(q, "now");
    finish(q, done);
    held = put(q, "held");
    for (int i = 0; i < CALLERS; i++) callers[i].done = done, callers[i].held = held;
}

/* Goal: calls that race with close get JOBQ_OK or JOBQ_CLOSED and nothing else, also the one
 * that waits for ever, and what got OK is in the file. Method: five threads call until they
 * see CLOSED, and a handler keeps close waiting until all of them have. */
TEST(calls_racing_with_close) {
    for (int round = TEST_SCALED(8); round > 0; round--) {
        struct caller callers[CALLERS];
        pthread_t threads[CALLERS];
        gate ready, closed;
        jobq *q = open_pool(test_path("q.db"), 2);
        int64_t before;
        REQUIRE(q != NULL);
        before = total(q);
        init_callers(callers, q, &ready, &closed);
        prepare_callers(callers, q);
        for (int i = 0; i < CALLERS; i++)
            threads[i] = thread_start(call_until_closed, &callers[i]);
        gate_await(&ready, CALLERS + 1);
        close_queue(&q);
        for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
        q = open_pool(test_path("q.db"), 2);
        REQUIRE(q != NULL);
        CHECK_INT(state_of(q, callers[0].held), JOBQ_STATE_DONE);
        CHECK_INT(total(q), before + 2 + callers[0].oks + 3 * callers[1].oks);
        for (int i = 0; i < 2; i++) CHECK_INT(state_of(q, callers[i].last), JOBQ_STATE_PENDING);
        close_queue(&q);
        gate_free(&ready);
        gate_free(&closed);
    }
}

/* ---- The application's own handle ---- */

struct application {
    jobq *q;
    int code;
};

static jobq_outcome use_the_handle_late(jobq_run *run, void *ctx) {
    struct application *app = (struct application *)ctx;
    jobq_stats stats;
    while (!jobq_should_stop(run)) test_pause_ms(1);
    test_pause_ms(1);
    app->code = jobq_stat(app->q, &stats, NULL);
    return JOBQ_DONE;
}

/* Goal: handlers may read the variable that the application closes through until the last of them
 * has ended. Method: a handler that outlasts the beginning of close calls through it. */
TEST(handlers_may_use_the_handle_until_they_end) {
    struct application app = {NULL, JOBQ_OK};
    app.q = open_pool(test_path("q.db"), 1);
    REQUIRE(app.q != NULL);
    handle(app.q, "k", use_the_handle_late, &app);
    start(app.q);
    put(app.q, "k");
    while (stats_of(app.q).running == 0) test_pause_ms(1);
    CHECK_CODE(jobq_close(&app.q), JOBQ_OK);
    CHECK(app.q == NULL);
    CHECK_CODE(app.code, JOBQ_CLOSED);
}

struct closer {
    jobq **q;
    int code;
};

static void *close_the_same(void *arg) {
    struct closer *c = (struct closer *)arg;
    do c->code = jobq_close(c->q);
    while (c->code == JOBQ_CLOSED);
    return NULL;
}

/* Goal: of several who close the same handle one does, the others are told so, whenever they come.
 * Method: four threads that try until it is gone, a queue in memory, which is closed quickly; the
 * sanitizers look on. */
TEST(several_may_close_one_handle) {
    enum { CLOSERS = 4 };
    for (int round = TEST_SCALED(200); round > 0; round--) {
        pthread_t threads[CLOSERS];
        struct closer closers[CLOSERS];
        jobq *q = NULL;
        int closed = 0;
        WORKS(jobq_open(":memory:", &(jobq_options){.workers = JOBQ_NONE}, &q, &err));
        for (int i = 0; i < CLOSERS; i++) {
            closers[i] = (struct closer){&q, JOBQ_IO};
            threads[i] = thread_start(close_the_same, &closers[i]);
        }
        for (int i = 0; i < CLOSERS; i++) {
            pthread_join(threads[i], NULL);
            if (closers[i].code == JOBQ_OK) closed++;
            else CHECK_CODE(closers[i].code, JOBQ_MISUSE);
        }
        CHECK_INT(closed, 1);
        CHECK(q == NULL);
    }
}

TEST_MAIN(stop_and_start_in_any_order, close_without_stop_and_twice, random_orders,
          the_rest_runs_after_the_next_start, close_waits_for_handlers,
          stopped_retry_keeps_its_attempt, stop_without_grace, close_after_expired_stop,
          grace_is_real_time, stop_from_several_threads, claimed_jobs_are_given_back,
          events_and_counts_after_stop, calls_racing_with_close,
          handlers_may_use_the_handle_until_they_end, several_may_close_one_handle)
