/* wait.c - a wait that begins while its job ends misses nothing.
 *
 * jobq_wait looks at the table and then goes to sleep; a job that ends in between must not be
 * missed. To be there at that very moment the test has SQLite call it when a statement ends, and
 * holds the thread that waits right behind its look until the job has ended. */
#include "helpers.h"

#include <sched.h>

/* The thread that is to be held, once. */
static struct {
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    pthread_t thread;
    bool armed, held, go;
} hold = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static int on_statement_end(unsigned what, void *ctx, void *statement, void *detail) {
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

/* jobq takes a trace off when it opens; later it does not look. */
static sqlite3 *reader;

static int remember_reader(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                           void *ctx) {
    (void)stage;
    (void)err;
    (void)ctx;
    if (which == JOBQ_CONNECTION_READER) reader = db;
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

/* Goal: the end of a job is not missed by who has just seen it running. Method: as above; should
 * the wait have gone to sleep all the same, then its time comes, and it says so. */
TEST(end_between_look_and_sleep) {
    struct wait w = {.returned = 0};
    pthread_t thread;
    fixture f;
    gate g;
    gate_init(&g);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .on_connect = remember_reader}));
    CHECK_INT(sqlite3_trace_v2(reader, SQLITE_TRACE_PROFILE, on_statement_end, NULL), SQLITE_OK);
    handle(f.q, "k", stand_at_gate, &g);
    start(f.q);
    w.q = f.q;
    w.id = put(f.q, "k");
    gate_await(&g, 1);
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
    fixture_close(&f);
    gate_free(&g);
}

TEST_MAIN(end_between_look_and_sleep)
