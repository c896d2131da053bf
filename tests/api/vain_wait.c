/* vain_wait.c - a wait that nobody can end, or nobody has ended, says what it waits for.
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

TEST_MAIN(lone_thread_does_not_wait_in_vain, time_out_says_what_the_job_waits_for,
          clock_that_stands_still_ends_a_wait, busy_handler_is_no_stall)
