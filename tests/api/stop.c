/* stop.c - a stop and the handlers that do not heed it.
 *
 * A stop waits for handlers as long as its grace says, and for nothing else; what returns later is
 * settled as if it had been in time; a start is refused as long as such a handler runs, and not a
 * moment longer. Handlers stand at gates (helpers.h), so that they are late exactly as long as the
 * test wants. See also api/lifecycle.c. */
#include "helpers.h"

#include <sched.h>

enum { ROUNDS = 200, GRACE_MS = 50, BY_FAR_MS = 4000 };

/* ---- The grace ---- */

/* Goal: beside a handler that does not heed its flag a stop returns when its grace is over: not
 * before, and not much later. Method: a handler at a gate, a grace of 50 ms, real time. */
TEST(grace_is_kept) {
    gate g;
    int64_t began_ms, took_ms;
    jobq *q = open_pool(test_path("q.db"), 2);
    REQUIRE(q != NULL);
    start_with_one_at(&g, q, "k");
    began_ms = test_real_ms();
    FAILS(JOBQ_TIMEOUT, jobq_stop(q, GRACE_MS, &err));
    took_ms = test_real_ms() - began_ms;
    CHECK(took_ms >= GRACE_MS - 1); /* each of the two readings is rounded */
    CHECK(took_ms < BY_FAR_MS);
    gate_open(&g);
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    close_queue(&q);
    gate_free(&g);
}

/* Goal: no grace is needed where no handler runs, and a start may follow at once. Method: an
 * idle pool, and one whose last job has just been settled, are stopped without grace. */
TEST(stop_without_grace_of_an_idle_pool) {
    jobq *q = open_pool(test_path("q.db"), 2);
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    for (int round = TEST_SCALED(ROUNDS); round > 0 && test_failures() == 0; round--) {
        start(q);
        if (round % 2) CHECK_INT(finish(q, put(q, "k")).state, JOBQ_STATE_DONE);
        WORKS(jobq_stop(q, JOBQ_NONE, &err));
        CHECK(!stats_of(q).started_now);
        WORKS(jobq_stop(q, JOBQ_NONE, &err));
    }
    close_queue(&q);
}

static void gate_shut(gate *g) {
    pthread_mutex_lock(&g->mutex);
    g->open = false;
    pthread_mutex_unlock(&g->mutex);
}

static jobq_outcome write_late(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    gate_pass((gate *)ctx);
    return JOBQ_DONE;
}

/* Goal: once the job of a handler that outlived its stop is settled, nothing of that stop is in
 * the way of the next start. Method: the handler is in its transaction, which settles the job
 * before the handler's thread has ended; start as soon as the wait for the job is over. */
TEST(start_after_a_late_transaction) {
    gate g;
    jobq *q = open_pool(test_path("q.db"), 2);
    REQUIRE(q != NULL);
    gate_init(&g);
    handle(q, "k", write_late, &g);
    for (int round = 1; round <= TEST_SCALED(ROUNDS) && test_failures() == 0; round++) {
        int64_t id = put(q, "k");
        start(q);
        gate_await(&g, round);
        FAILS(JOBQ_TIMEOUT, jobq_stop(q, JOBQ_NONE, &err));
        gate_open(&g);
        CHECK_INT(finish(q, id).state, JOBQ_STATE_DONE);
        start(q);
        WORKS(jobq_stop(q, JOBQ_NEVER, &err));
        CHECK_INT(stats_of(q).lost_outcomes, 0);
        gate_shut(&g);
    }
    close_queue(&q);
    gate_free(&g);
}

/* Stands at the gate whatever its flag says, and then returns what it is told to. */
struct latecomer {
    gate *g;
    jobq_outcome outcome;
};

static jobq_outcome come_late(jobq_run *run, void *ctx) {
    const struct latecomer *late = (const struct latecomer *)ctx;
    gate_pass(late->g);
    CHECK(jobq_should_stop(run));
    if (late->outcome == JOBQ_SNOOZE) return jobq_snooze(run, JOBQ_HOUR);
    if (late->outcome == JOBQ_RESCHEDULE) return jobq_reschedule_in(run, JOBQ_HOUR);
    return late->outcome;
}

/* Goal: whatever a handler returns that did not heed its flag is settled as if it had been in
 * time, but that a retry is no failure, nor to give up. Method: one handler for each outcome, all
 * at a gate while the queue is stopped without grace. */
TEST(late_results_are_settled) {
    static const jobq_outcome outcomes[] = {JOBQ_DONE, JOBQ_FAIL, JOBQ_CANCELLED, JOBQ_RETRY,
                                            JOBQ_SNOOZE, JOBQ_RESCHEDULE};
    enum { COUNT = sizeof outcomes / sizeof outcomes[0], ENDED = 2 };
    struct latecomer late[COUNT];
    int64_t ids[COUNT];
    gate g;
    jobq *q = open_pool(test_path("q.db"), COUNT);
    REQUIRE(q != NULL);
    gate_init(&g);
    for (int i = 0; i < COUNT; i++) {
        char name[8];
        snprintf(name, sizeof name, "k%d", i);
        late[i] = (struct latecomer){.g = &g, .outcome = outcomes[i]};
        handle(q, name, come_late, &late[i]);
        ids[i] = put(q, name);
    }
    start(q);
    gate_await(&g, COUNT);
    FAILS(JOBQ_TIMEOUT, jobq_stop(q, JOBQ_NONE, &err));
    gate_open(&g);
    for (int i = 0; i < ENDED; i++) CHECK_INT(finish(q, ids[i]).state, JOBQ_STATE_DONE + i);
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    for (int i = ENDED; i < COUNT; i++) {
        jobq_info info = look(q, ids[i]);
        CHECK_INT(info.state, JOBQ_STATE_PENDING);
        CHECK_INT(info.attempt, 1);
        CHECK_INT(info.runs, 1);
        CHECK_INT(info.scheduled, outcomes[i] != JOBQ_RETRY && outcomes[i] != JOBQ_CANCELLED);
    }
    CHECK_INT(stats_of(q).lost_outcomes, 0);
    close_queue(&q);
    gate_free(&g);
}

/* Goal: a close beside a stop that waits for a handler waits for both, and both succeed. Method:
 * nobody but the stop lets the pool look stopped, so then it is inside; the handler's gate is
 * opened when the queue is closing. */
TEST(close_beside_a_stop_that_waits) {
    gate g;
    pthread_t stopper, opener;
    jobq *q = open_pool(test_path("q.db"), 2);
    struct gatekeeper keeper = {q, &g};
    int64_t id;
    REQUIRE(q != NULL);
    id = start_with_one_at(&g, q, "k");
    stopper = thread_start(stop_in_thread, q);
    while (stats_of(q).started_now) sched_yield();
    opener = thread_start(open_when_closing, &keeper);
    close_queue(&q);
    pthread_join(stopper, NULL);
    pthread_join(opener, NULL);
    q = open_pool(test_path("q.db"), 2);
    REQUIRE(q != NULL);
    CHECK_INT(state_of(q, id), JOBQ_STATE_DONE);
    close_queue(&q);
    gate_free(&g);
}

/* ---- The last event ---- */

/* A stop that tells an event at its very end, when the pool has stopped already. */
struct teller {
    jobq *q;
    gate asleep, told; /* where its handler and its callback stand */
    bool stopping;     /* the thread inside jobq_stop; guarded by told.mutex */
    pthread_t stopper; /* likewise */
    bool caught;       /* likewise: the callback has been called by that thread */
};

static void stand_on_the_stopper(const jobq_event *event, void *ctx) {
    struct teller *t = (struct teller *)ctx;
    bool caught;
    if (event->to != JOBQ_STATE_DONE) return;
    pthread_mutex_lock(&t->told.mutex);
    caught = t->stopping && pthread_equal(t->stopper, pthread_self());
    if (caught) t->caught = true;
    pthread_mutex_unlock(&t->told.mutex);
    if (caught) gate_pass(&t->told);
}

static void *stop_and_tell(void *arg) {
    struct teller *t = (struct teller *)arg;
    pthread_mutex_lock(&t->told.mutex);
    t->stopping = true;
    t->stopper = pthread_self();
    pthread_mutex_unlock(&t->told.mutex);
    CHECK_CODE(jobq_stop(t->q, JOBQ_NEVER, NULL), JOBQ_OK);
    gate_pass(&t->told); /* it may have been another thread that told */
    return NULL;
}

static jobq_outcome sleep_until_stopped(jobq_run *run, void *ctx) {
    gate_pass((gate *)ctx);
    CHECK(jobq_run_sleep(run, JOBQ_DAY));
    return JOBQ_DONE;
}

static void *start_meanwhile(void *arg) {
    CHECK_CODE(jobq_start((jobq *)arg, NULL), JOBQ_OK);
    return NULL;
}

/* Starts beside the callback and returns how much work that has been: milliseconds of processor
 * time after the thread could have had thirty of them. */
static int64_t cost_of_starting(struct teller *t) {
    struct timespec used = {0, 0};
    clockid_t clock;
    pthread_t starter;
    starter = thread_start(start_meanwhile, t->q);
    test_pause_ms(30);
    CHECK(pthread_getcpuclockid(starter, &clock) == 0 && clock_gettime(clock, &used) == 0);
    gate_open(&t->told);
    pthread_join(starter, NULL);
    CHECK(stats_of(t->q).started_now);
    return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

static bool start_beside_one_stop(void) {
    struct teller t = {.q = NULL};
    jobq_options options = {.workers = 1, .on_event = stand_on_the_stopper, .ctx = &t};
    pthread_t stopper;
    gate_init(&t.asleep);
    gate_init(&t.told);
    gate_open(&t.asleep);
    WORKS(jobq_open(":memory:", &options, &t.q, &err));
    handle(t.q, "k", sleep_until_stopped, &t.asleep);
    put(t.q, "k");
    start(t.q);
    gate_await(&t.asleep, 1);
    stopper = thread_start(stop_and_tell, &t);
    gate_await(&t.told, 1);
    if (t.caught) CHECK(cost_of_starting(&t) < 15);
    gate_open(&t.told);
    pthread_join(stopper, NULL);
    close_queue(&t.q);
    gate_free(&t.told);
    gate_free(&t.asleep);
    return t.caught;
}

/* Goal: a start that has to wait until a stop has told its last event sleeps meanwhile. Method:
 * the stop settles the job of a handler that woke up by it, and so tells of it, mostly, on its own
 * thread: tried until it was so three times. */
TEST(start_beside_a_stop_that_tells) {
    int caught = 0, rounds = 0;
    while (caught < 3 && rounds++ < 200 && test_failures() == 0) caught += start_beside_one_stop();
    CHECK_INT(caught, 3);
}

TEST_MAIN(grace_is_kept, stop_without_grace_of_an_idle_pool, start_after_a_late_transaction,
          late_results_are_settled, close_beside_a_stop_that_waits, start_beside_a_stop_that_tells)
