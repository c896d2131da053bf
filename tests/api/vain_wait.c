/* vain_wait.c - a wait that nobody can end, or nobody has ended, says what it waits for, in its own
 * time.
 *
 * The first test has to be alone in its process, so no test before it may start a thread. */
#include "helpers.h"

#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 32))
#include <sys/single_threaded.h>
#define ALONE (__libc_single_threaded != 0)
#else
#define ALONE false
#endif

/* The wait ends with that code, and its sentence has these words. */
static void wait_says(int wanted, jobq *q, int64_t id, int64_t timeout_ms, const char *words) {
    jobq_error told = {.code = 0};
    CHECK_CODE(jobq_wait(q, id, timeout_ms, NULL, &told), wanted);
    CHECK_INT(told.code, wanted);
    if (!CHECK(strstr(told.text, words) != NULL)) test_note("%s", told.text);
}

/* Goal: in a process with one thread a wait that only another thread could end comes back at once.
 * Method: step mode, and a pool that is not started; where it cannot be known, time ends it. */
TEST(lone_thread_does_not_wait_in_vain) {
    bool alone = ALONE;
    int wanted = alone ? JOBQ_BAD_STATE : JOBQ_TIMEOUT;
    int64_t timeout_ms = alone ? JOBQ_NEVER : 5;
    jobq *step = NULL, *pool = NULL;
    struct stat tasks;
    int64_t id;
    WORKS(jobq_open(":memory:", &(jobq_options){.workers = JOBQ_NONE}, &step, &err));
    WORKS(jobq_open(":memory:", NULL, &pool, &err));
    REQUIRE(step && pool);
    handle(step, "k", do_nothing, NULL);
    handle(pool, "k", do_nothing, NULL);
    id = put(step, "k");
    wait_says(wanted, step, id, timeout_ms, "step mode");
    wait_says(JOBQ_TIMEOUT, step, id, 0, "step mode");
    CHECK_INT(drain(step), 1);
    WORKS(jobq_wait(step, id, JOBQ_NEVER, NULL, &err));
    id = put(pool, "k");
    wait_says(wanted, pool, id, timeout_ms, "jobq_start");
    start(pool);
    WORKS(jobq_wait(pool, id, JOBQ_NEVER, NULL, &err));
    WORKS(jobq_stop(pool, JOBQ_NEVER, &err));
    /* The pool's threads are gone again; the C library does not say so. A sanitizer has one of its
     * own, which is no secret to the system. */
    id = put(pool, "k");
    if (alone && stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink == 3)
        wait_says(JOBQ_BAD_STATE, pool, id, JOBQ_NEVER, "jobq_start");
    close_queue(&step);
    close_queue(&pool);
}

static jobq_outcome fail_once(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_run_attempt(run) == 1 ? jobq_retry(run, "smtp said 450") : JOBQ_DONE;
}

/* Goal: when the time is over the sentence says what the job waits for. Method: a pool with a job
 * that is parked, one that is due later, one that waits for its retry and one that runs. */
TEST(time_out_says_what_the_job_waits_for) {
    jobq_kind kind = {.name = "once", .run = fail_once, .backoff_min_ms = JOBQ_HOUR};
    jobq *q = open_pool(test_path("q.db"), 2);
    int64_t parked, later, again, runs;
    gate g;
    REQUIRE(q != NULL);
    gate_init(&g);
    handle(q, "slow", stand_at_gate, &g);
    handle_kind(q, kind);
    start(q);
    parked = put(q, "typo");
    later = put_job(q, (jobq_job){.kind = "slow", .delay_ms = JOBQ_HOUR});
    again = put(q, "once");
    runs = put(q, "slow");
    gate_await(&g, 1);
    while (!look(q, again).error[0]) test_pause_ms(1);
    wait_says(JOBQ_TIMEOUT, q, parked, 2, "typo");
    wait_says(JOBQ_TIMEOUT, q, parked, 2, "parked");
    wait_says(JOBQ_TIMEOUT, q, later, 2, "due in");
    wait_says(JOBQ_TIMEOUT, q, again, 2, "smtp said 450");
    wait_says(JOBQ_TIMEOUT, q, runs, 2, "runs");
    wait_says(JOBQ_TIMEOUT, q, parked, 0, "parked");
    gate_open(&g);
    close_queue(&q);
    gate_free(&g);
}

static void *stand_by(void *arg) {
    gate_pass((gate *)arg);
    return NULL;
}

static void *open_later(void *arg) {
    test_pause_ms(60);
    gate_open((gate *)arg);
    return NULL;
}

/* Goal: under an artificial clock that nobody moves a wait does not hang: it says so after stall_ms
 * of real time. Method: a job due later; one that is parked; in step mode, too. */
TEST(clock_that_stands_still_ends_a_wait) {
    for (int step = 0; step < 2; step++) {
        int64_t later, parked;
        gate g;
        pthread_t other;
        fixture f;
        gate_init(&g);
        REQUIRE(fixture_open(&f, (jobq_options){.workers = step ? JOBQ_NONE : 2, .stall_ms = 30}));
        handle(f.q, "k", do_nothing, NULL);
        /* Somebody who might step or advance, and does not. */
        REQUIRE(pthread_create(&other, NULL, stand_by, &g) == 0);
        if (!step) start(f.q);
        parked = put(f.q, "typo");
        later = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = JOBQ_HOUR});
        wait_says(JOBQ_STALLED, f.q, parked, JOBQ_NEVER, "parked");
        wait_says(JOBQ_STALLED, f.q, later, JOBQ_DAY, step ? "step" : "jobq_advance");
        gate_open(&g);
        pthread_join(other, NULL);
        gate_free(&g);
        fixture_remove(&f);
    }
}

/* Goal: a wait is not given up while a handler is busy, however long. Method: one that stands at a
 * gate for many times stall_ms. */
TEST(busy_handler_is_no_stall) {
    jobq_info info;
    pthread_t opener;
    int64_t id;
    gate g;
    fixture f;
    gate_init(&g);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .stall_ms = 5}));
    handle(f.q, "k", stand_at_gate, &g);
    start(f.q);
    id = put(f.q, "k");
    gate_await(&g, 1);
    REQUIRE(pthread_create(&opener, NULL, open_later, &g) == 0);
    WORKS(jobq_wait(f.q, id, JOBQ_NEVER, &info, &err));
    CHECK_INT(info.state, JOBQ_STATE_DONE);
    pthread_join(opener, NULL);
    fixture_close(&f);
    gate_free(&g);
}

struct steps {
    jobq *q;
    int end; /* atomic */
};

static void *step_on_and_on(void *arg) {
    struct steps *s = (struct steps *)arg;
    while (!__atomic_load_n(&s->end, __ATOMIC_SEQ_CST)) {
        if (jobq_wakes(s->q) > 0) drain(s->q);
        sched_yield();
    }
    return NULL;
}

/* Goal: where there is another thread that steps, a wait ends when its job does and not some
 * milliseconds later. Method: the shortest of many waits for jobs that are run when somebody waits:
 * if he rests before he listens there is no short one. */
TEST(wait_ends_when_its_job_does) {
    enum { WAITS = 200, SHORT_MS = 4 };
    struct steps s = {.end = 0};
    int64_t shortest_ms = INT64_MAX;
    pthread_t other;
    WORKS(jobq_open(":memory:", &(jobq_options){.workers = JOBQ_NONE}, &s.q, &err));
    REQUIRE(s.q != NULL);
    handle(s.q, "k", do_nothing, NULL);
    other = thread_start(step_on_and_on, &s);
    for (int i = 0; i < WAITS && shortest_ms >= SHORT_MS; i++) {
        int64_t id = put(s.q, "k"), took_ms = -test_real_ms();
        WORKS(jobq_wait(s.q, id, JOBQ_HOUR, NULL, &err));
        took_ms += test_real_ms();
        if (took_ms < shortest_ms) shortest_ms = took_ms;
    }
    if (!CHECK(shortest_ms < SHORT_MS)) test_note("%d ms", (int)shortest_ms);
    __atomic_store_n(&s.end, 1, __ATOMIC_SEQ_CST);
    pthread_join(other, NULL);
    close_queue(&s.q);
}

static void *stop_later(void *arg) {
    test_pause_ms(30);
    WORKS(jobq_stop((jobq *)arg, JOBQ_NEVER, &err));
    return NULL;
}

/* Goal: a wait that others could have ended when it began ends when nobody is left who could.
 * Method: the thread that stops the pool is the last one beside us, and ends. */
TEST(wait_that_everybody_leaves_is_in_vain) {
    jobq *q = NULL;
    pthread_t other;
    struct stat tasks;
    int64_t id;
    /* A sanitizer has a thread of its own, and not every system tells how many there are. */
    if (stat("/proc/self/task", &tasks) != 0 || tasks.st_nlink != 3) {
        test_skip("not the only thread, or the system does not tell");
        return;
    }
    WORKS(jobq_open(":memory:", &(jobq_options){.workers = 1}, &q, &err));
    REQUIRE(q != NULL);
    id = put(q, "typo");
    start(q);
    other = thread_start(stop_later, q);
    /* Without end: one that ends asks once more, and then finds out by itself. */
    wait_says(JOBQ_BAD_STATE, q, id, JOBQ_NEVER, "parked");
    pthread_join(other, NULL);
    close_queue(&q);
}

/* ---- In memory, beside a job's transaction ---- */

/* A wait in another thread. */
struct memory_wait {
    pthread_t thread;
    jobq *q;
    int64_t id;
    jobq_info info;
    int code;
    int returned; /* atomic */
};

static void *wait_for_ever(void *arg) {
    struct memory_wait *w = (struct memory_wait *)arg;
    w->code = jobq_wait(w->q, w->id, JOBQ_NEVER, &w->info, NULL);
    return NULL;
}

static const int64_t busy_limits[] = {JOBQ_NONE, JOBQ_DAY};

/* Goal: a wait in memory ends in its own time although a job's transaction has the only connection,
 * and says what it waits for, whatever busy_ms is. Method: the job of that transaction, one that is
 * due later, one that is not there; with a time, and without. */
TEST(memory_wait_keeps_its_own_time) {
    for (int i = 0; i < 2; i++) {
        jobq_options options = {.workers = 1, .busy_ms = busy_limits[i]};
        jobq *q = NULL;
        int64_t holds, later;
        gate g;
        gate_init(&g);
        WORKS(jobq_open(":memory:", &options, &q, &err));
        REQUIRE(q != NULL);
        handle(q, "hold", hold_the_writer, &g);
        later = put_job(q, (jobq_job){.kind = "hold", .delay_ms = JOBQ_HOUR});
        start(q);
        holds = put(q, "hold");
        gate_await(&g, 1);
        for (int64_t timeout_ms = 0; timeout_ms <= 2; timeout_ms += 2) {
            wait_says(JOBQ_TIMEOUT, q, holds, timeout_ms, "runs, as attempt 1");
            wait_says(JOBQ_TIMEOUT, q, later, timeout_ms, "of kind hold still runs");
            wait_says(JOBQ_TIMEOUT, q, later, timeout_ms, "jobq_run_db");
            wait_says(JOBQ_TIMEOUT, q, later + 1000, timeout_ms, "jobq_run_db");
        }
        gate_open(&g);
        CHECK_INT(finish(q, holds).state, JOBQ_STATE_DONE);
        wait_says(JOBQ_TIMEOUT, q, later, 2, "due in");
        close_queue(&q);
        gate_free(&g);
    }
}

/* Goal: and it goes on until its job ends, has ended, or is seen not to be there. Method: three
 * threads begin to wait beside the transaction, and then that ends. */
TEST(memory_wait_goes_on_beside_a_transaction) {
    for (int i = 0; i < 2; i++) {
        jobq_options options = {.workers = 1, .busy_ms = busy_limits[i]};
        struct memory_wait waits[3];
        jobq *q = NULL;
        int64_t ids[3];
        gate g;
        gate_init(&g);
        WORKS(jobq_open(":memory:", &options, &q, &err));
        REQUIRE(q != NULL);
        handle(q, "hold", hold_the_writer, &g);
        handle(q, "k", do_nothing, NULL);
        start(q);
        ids[0] = put(q, "k");
        finish(q, ids[0]);
        ids[1] = put(q, "hold");
        ids[2] = ids[1] + 1000;
        gate_await(&g, 1);
        for (int n = 0; n < 3; n++) {
            waits[n] = (struct memory_wait){.q = q, .id = ids[n], .code = 12345};
            waits[n].thread = thread_start(wait_for_ever, &waits[n]);
        }
        test_pause_ms(10); /* either way they have to succeed; mostly they wait by then */
        gate_open(&g);
        for (int n = 0; n < 3; n++) pthread_join(waits[n].thread, NULL);
        for (int n = 0; n < 2; n++) {
            CHECK_CODE(waits[n].code, JOBQ_OK);
            CHECK_INT(waits[n].info.state, JOBQ_STATE_DONE);
            CHECK_STR(waits[n].info.kind, n ? "hold" : "k");
        }
        CHECK_CODE(waits[2].code, JOBQ_NOT_FOUND);
        close_queue(&q);
        gate_free(&g);
    }
}

static void *wait_a_minute(void *arg) {
    struct memory_wait *w = (struct memory_wait *)arg;
    w->code = jobq_wait(w->q, w->id, JOBQ_MINUTE, NULL, NULL);
    __atomic_store_n(&w->returned, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Goal: under an artificial clock the time of such a wait is the clock's; it is over when that has
 * been moved, though the transaction goes on. Method: the clock is moved until the wait has ended,
 * by a minute each time, for the wait may not have begun before. */
TEST(memory_wait_goes_by_the_clock_in_hand) {
    jobq_clock *clock = jobq_clock_artificial(T0);
    jobq_options options = {.workers = 1, .busy_ms = JOBQ_DAY, .clock = clock};
    struct memory_wait w = {.code = 12345};
    gate g;
    gate_init(&g);
    WORKS(jobq_open(":memory:", &options, &w.q, &err));
    REQUIRE(w.q != NULL);
    handle(w.q, "hold", hold_the_writer, &g);
    w.id = put(w.q, "hold");
    start(w.q);
    gate_await(&g, 1);
    w.thread = thread_start(wait_a_minute, &w);
    while (!__atomic_load_n(&w.returned, __ATOMIC_SEQ_CST)) {
        jobq_clock_advance(clock, JOBQ_MINUTE);
        test_pause_ms(1);
    }
    pthread_join(w.thread, NULL);
    CHECK_CODE(w.code, JOBQ_TIMEOUT);
    gate_open(&g);
    close_queue(&w.q);
    jobq_clock_free(clock);
    gate_free(&g);
}

TEST_MAIN(lone_thread_does_not_wait_in_vain, time_out_says_what_the_job_waits_for,
          clock_that_stands_still_ends_a_wait, busy_handler_is_no_stall,
          wait_ends_when_its_job_does, wait_that_everybody_leaves_is_in_vain,
          memory_wait_keeps_its_own_time, memory_wait_goes_on_beside_a_transaction,
          memory_wait_goes_by_the_clock_in_hand)
