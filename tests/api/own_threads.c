/* own_threads.c - the threads that jobq starts: told when they begin and end, with the stack that
 * was asked for. */
#include "helpers.h"

enum { WORKERS = 3, SLOTS = 8 };

struct roll {
    pthread_mutex_t mutex; /* guards what follows */
    int begun[2][SLOTS], ended[2][SLOTS], strange;
    pthread_t threads[2][SLOTS];
    jobq *q;
    int stop_code, wait_code;
};

static void call_the_roll(jobq_thread what, int index, bool begins, void *ctx) {
    struct roll *r = (struct roll *)ctx;
    pthread_mutex_lock(&r->mutex);
    if ((int)what < 0 || what > JOBQ_THREAD_SCHEDULER || index < 0 || index >= SLOTS) {
        r->strange++;
    } else if (begins) {
        r->begun[what][index]++;
        r->threads[what][index] = pthread_self();
    } else {
        r->ended[what][index]++;
        if (!pthread_equal(r->threads[what][index], pthread_self())) r->strange++;
    }
    pthread_mutex_unlock(&r->mutex);
}

static void check_roll(struct roll *r, int begun, int ended) {
    pthread_mutex_lock(&r->mutex);
    CHECK_INT(r->strange, 0);
    for (int i = 0; i < SLOTS; i++) {
        CHECK_INT(r->begun[JOBQ_THREAD_WORKER][i], i < WORKERS ? begun : 0);
        CHECK_INT(r->ended[JOBQ_THREAD_WORKER][i], i < WORKERS ? ended : 0);
        CHECK_INT(r->begun[JOBQ_THREAD_SCHEDULER][i], i < 1 ? begun : 0);
        CHECK_INT(r->ended[JOBQ_THREAD_SCHEDULER][i], i < 1 ? ended : 0);
    }
    pthread_mutex_unlock(&r->mutex);
}

/* Goal: every thread of ours tells, on itself, that it begins and ends, once for each start of the
 * pool, and a stop is over only then. Method: three workers, started and stopped twice. */
TEST(threads_are_told) {
    struct roll r = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    jobq_options options = {.workers = WORKERS, .on_thread = call_the_roll, .ctx = &r};
    jobq *q = NULL;
    WORKS(jobq_open(":memory:", &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    check_roll(&r, 0, 0);
    for (int n = 1; n <= 2; n++) {
        start(q);
        finish(q, put(q, "k"));
        WORKS(jobq_stop(q, JOBQ_NEVER, &err));
        check_roll(&r, n, n);
    }
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    check_roll(&r, 2, 2);
}

/* Goal: in step mode there are no threads to tell of. */
TEST(step_mode_has_no_threads) {
    struct roll r = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    jobq_options options = {.workers = JOBQ_NONE, .on_thread = call_the_roll, .ctx = &r};
    jobq *q = NULL;
    WORKS(jobq_open(":memory:", &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    put(q, "k");
    CHECK_INT(drain(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    for (int i = 0; i < SLOTS; i++)
        CHECK_INT(r.begun[0][i] + r.begun[1][i] + r.ended[0][i] + r.ended[1][i], 0);
}

static void call_what_waits(jobq_thread what, int index, bool begins, void *ctx) {
    struct roll *r = (struct roll *)ctx;
    (void)index;
    if (what != JOBQ_THREAD_WORKER || begins) return;
    r->stop_code = jobq_stop(r->q, JOBQ_NEVER, NULL);
    r->wait_code = jobq_wait(r->q, 1, 0, NULL, NULL);
}

/* Goal: what would wait for the very thread that calls it is a misuse. */
TEST(waiting_for_oneself_is_misuse) {
    struct roll r = {.mutex = PTHREAD_MUTEX_INITIALIZER, .stop_code = 7, .wait_code = 7};
    jobq_options options = {.workers = 1, .on_thread = call_what_waits, .ctx = &r};
    WORKS(jobq_open(":memory:", &options, &r.q, &err));
    REQUIRE(r.q != NULL);
    start(r.q);
    WORKS(jobq_stop(r.q, JOBQ_NEVER, &err));
    CHECK_CODE(r.stop_code, JOBQ_MISUSE);
    CHECK_CODE(r.wait_code, JOBQ_MISUSE);
    CHECK_CODE(jobq_close(&r.q), JOBQ_OK);
}

/* ---- The stack ---- */

static jobq_outcome use_the_stack(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    if (jobq_run_attempt(run) == 1) return jobq_retry(run, "a message of %d parts", 2);
    WORKS(jobq_checkpoint(run, "half", 4, &err));
    CHECK(jobq_run_info(run) != NULL);
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(random())",
                           NULL, NULL, NULL), SQLITE_OK);
    WORKS(jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "late"}, NULL, &err));
    return jobq_done(run, "result", 6);
}

/* Goal: the smallest stack is enough for all that jobq itself does. Method: a pool that retries,
 * commits on its handlers' threads, copies its log, and has a backlog to move. */
TEST(smallest_stack_is_enough) {
#ifdef TEST_SANITIZED
    const int64_t stack_bytes = 1024 * 1024; /* their frames are larger */
#else
    const int64_t stack_bytes = 64 * 1024;
#endif
    jobq_options options = {.workers = 2, .durability = JOBQ_RELAXED, .wal_pages = 16,
                            .stack_bytes = stack_bytes, .keep_max = 10, .busy_ms = JOBQ_MINUTE};
    int64_t ids[40];
    jobq *q = NULL;
    WORKS(jobq_open(test_path("q.db"), &options, &q, &err));
    REQUIRE(q != NULL);
    handle_kind(q, (jobq_kind){.name = "k", .run = use_the_stack, .backoff_min_ms = 1,
                               .backoff_max_ms = 1});
    for (int i = 0; i < 300; i++) put(q, "late");
    for (int i = 0; i < 40; i++) ids[i] = put_job(q, (jobq_job){.kind = "k", .priority = i % 3});
    start(q);
    for (int i = 0; i < 40; i++) CHECK_INT(finish(q, ids[i]).state, JOBQ_STATE_DONE);
    handle(q, "late", do_nothing, NULL);
    while (stats_of(q).done < 380) test_pause_ms(1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: a stack that is too small for that is refused, with the bound in words. */
TEST(stack_has_a_minimum) {
    static const int64_t wrong[] = {1, 64 * 1024 - 1, -1, JOBQ_NEVER};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        jobq_options options = {.stack_bytes = wrong[i]};
        jobq_error err = {.code = 0};
        jobq *q = NULL;
        CHECK_CODE(jobq_open(":memory:", &options, &q, &err), JOBQ_MISUSE);
        CHECK(strstr(err.text, "stack_bytes") && strstr(err.text, "65536"));
        CHECK(q == NULL);
    }
}

/* A megabyte of it, more than a small stack has. */
static jobq_outcome eat_the_stack(jobq_run *run, void *ctx) {
    volatile unsigned char bytes[1024 * 1024];
    int sum = 0;
    (void)run, (void)ctx;
    for (size_t i = 0; i < sizeof bytes; i += 512) bytes[i] = 1;
    for (size_t i = 0; i < sizeof bytes; i += 512) sum += bytes[i];
    return sum == 2048 ? JOBQ_DONE : JOBQ_FAIL;
}

static void eat(void *arg) {
    jobq_options options = {.workers = 1, .stack_bytes = *(const int64_t *)arg};
    struct sigaction plain;
    jobq *q = NULL;
    memset(&plain, 0, sizeof plain);
    plain.sa_handler = SIG_DFL;
    sigaction(SIGSEGV, &plain, NULL);
    sigaction(SIGBUS, &plain, NULL);
    WORKS(jobq_open(":memory:", &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "k", eat_the_stack, NULL);
    start(q);
    CHECK_INT(finish(q, put(q, "k")).state, JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: a handler has the stack that was asked for, and no more. Method: one that needs a megabyte,
 * with two and with a half, in processes of their own. */
TEST(handler_has_the_stack_that_was_asked_for) {
    int64_t enough = 2 * 1024 * 1024 + 65536, small = 512 * 1024;
    CHECK_INT(test_fork(eat, &enough), 0);
#ifndef TEST_SANITIZED
    CHECK(WIFSIGNALED(test_fork(eat, &small)));
#else
    (void)small;
#endif
}

/* ---- Threads that are cancelled ---- */

#ifdef PTHREAD_CANCEL_DISABLE
static void cancel_the_scheduler(jobq_thread what, int index, bool begins, void *ctx) {
    (void)index, (void)ctx;
    if (what == JOBQ_THREAD_SCHEDULER && begins) pthread_cancel(pthread_self());
}

static jobq_outcome cancel_the_worker(jobq_run *run, void *ctx) {
    (void)run, (void)ctx;
    pthread_cancel(pthread_self());
    test_pause_ms(1); /* where a thread that can be cancelled would end */
    return JOBQ_DONE;
}
#endif

/* Goal: who cancels a thread of ours ends none, and nothing stands still. Method: the scheduler is
 * cancelled as it begins and the worker in each run; jobs of which the scheduler must know. */
TEST(own_threads_cannot_be_cancelled) {
#ifdef PTHREAD_CANCEL_DISABLE
    jobq_options options = {.workers = 1, .on_thread = cancel_the_scheduler};
    jobq_job job = {.kind = "k", .delay_ms = 20};
    jobq *q = NULL;
    WORKS(jobq_open(":memory:", &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "k", cancel_the_worker, NULL);
    start(q);
    for (int i = 0; i < 3; i++) {
        int64_t id = 0;
        WORKS(jobq_enqueue(q, &job, &id, &err));
        CHECK_INT(finish(q, id).state, JOBQ_STATE_DONE);
    }
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
#else
    test_skip("this system cancels no threads");
#endif
}

TEST_MAIN(threads_are_told, own_threads_cannot_be_cancelled, step_mode_has_no_threads,
          waiting_for_oneself_is_misuse, smallest_stack_is_enough, stack_has_a_minimum,
          handler_has_the_stack_that_was_asked_for)
