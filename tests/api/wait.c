/* wait.c - a wait that begins while its job ends misses nothing.
 *
 * jobq_wait looks at the table and then goes to sleep; a job that ends in between must not be
 * missed. To be there at that very moment the test has SQLite call it when a statement begins, or
 * ends, and holds the thread that waits right before its look, or behind it, until the job has
 * ended. */
#include "helpers.h"

#include <sched.h>

/* The thread that is to be held, once. */
static struct {
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    pthread_t thread;
    bool armed, held, go;
} hold = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static int hold_it(unsigned what, void *ctx, void *statement, void *detail) {
    (void)what;
    (void)ctx;
    (void)statement;
    (void)detail;
    pthread_mutex_lock(&hold.mutex);
    if (hold.armed && pthread_equal(hold.thread, pthread_self())) {
        hold.armed = false;
        hold.held = true;
        pthread_cond_broadcast(&hold.changed);
        while (!hold.go) pthread_cond_wait(&hold.changed, &hold.mutex);
    }
    pthread_mutex_unlock(&hold.mutex);
    return 0;
}

struct wait {
    jobq *q;
    int64_t id;
    jobq_info info;
    int code;
    int returned; /* atomic */
};

static void *wait_held(void *arg) {
    struct wait *w = (struct wait *)arg;
    pthread_mutex_lock(&hold.mutex);
    hold.thread = pthread_self();
    hold.armed = true;
    pthread_mutex_unlock(&hold.mutex);
    w->code = jobq_wait(w->q, w->id, JOBQ_HOUR, &w->info, NULL);
    __atomic_store_n(&w->returned, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void await_held(void) {
    pthread_mutex_lock(&hold.mutex);
    while (!hold.held) pthread_cond_wait(&hold.changed, &hold.mutex);
    pthread_mutex_unlock(&hold.mutex);
}

static void let_go(void) {
    pthread_mutex_lock(&hold.mutex);
    hold.go = true;
    pthread_cond_broadcast(&hold.changed);
    pthread_mutex_unlock(&hold.mutex);
}

/* The thread is held before its look, or behind it. */
static void end_while_it_is_held(unsigned when, int64_t keep_ms) {
    struct wait w = {.returned = 0};
    sqlite3 *reader = NULL;
    pthread_t thread;
    fixture f;
    gate g;
    hold.held = hold.go = false;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .keep_done_ms = keep_ms, .ctx = &reader,
                                            .on_connect = remember_reader}));
    /* jobq takes a trace off when it opens; later it does not look. */
    CHECK_INT(sqlite3_trace_v2(reader, when, hold_it, NULL), SQLITE_OK);
    w.q = f.q;
    w.id = start_with_one_at(&g, f.q, "k");
    thread = thread_start(wait_held, &w);
    await_held();
    gate_open(&g);
    while (stats_of(f.q).done == 0) sched_yield();
    let_go();
    while (!__atomic_load_n(&w.returned, __ATOMIC_SEQ_CST) && jobq_wakes(f.q) == 0) sched_yield();
    if (jobq_wakes(f.q) > 0) advance(f.q, 2 * JOBQ_HOUR);
    pthread_join(thread, NULL);
    CHECK_CODE(w.code, JOBQ_OK);
    CHECK_INT(w.info.state, JOBQ_STATE_DONE);
    fixture_remove(&f);
    gate_free(&g);
}

/* Goal: the end of a job is not missed by who has just seen it running. Method: as above; should
 * the wait have gone to sleep all the same, then its time comes, and it says so. */
TEST(end_between_look_and_sleep) {
    end_while_it_is_held(SQLITE_TRACE_PROFILE, 0);
}

/* Goal: nor by who is about to look, when there is nothing to be seen any more. Method: the job is
 * not kept. */
TEST(end_between_entry_and_look) {
    end_while_it_is_held(SQLITE_TRACE_STMT, 0);
    end_while_it_is_held(SQLITE_TRACE_STMT, JOBQ_NONE);
}

TEST_MAIN(end_between_look_and_sleep, end_between_entry_and_look)
