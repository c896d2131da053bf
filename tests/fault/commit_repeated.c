/* commit_repeated.c - a commit group that is repeated: what a request saw the first time may be
 * gone.
 *
 * When the commit of a group fails the outcomes are written first, by themselves, and then each
 * request alone. Jobs that ran at the first attempt have ended by the second, and the memory that
 * stood for them stands for others. Here the disk holds the first attempt up until that is so. */
#include "fault_vfs.h"
#include "helpers.h"

struct repeated {
    jobq *q;
    gate running, holding, innocent;
    struct fault_log log;
    bool armed;  /* under the disk's lock: the next write is that of the group */
    int cancel_code, put_code;
    bool asked;  /* the innocent job was asked to stop */
};

static jobq_outcome run_until_let_go(jobq_run *run, void *ctx) {
    (void)run;
    gate_pass(&((struct repeated *)ctx)->running);
    return JOBQ_RETRY;
}

/* Keeps the writer, so that the requests of others come together in one group. */
static jobq_outcome keep_the_writer(jobq_run *run, void *ctx) {
    struct repeated *r = (struct repeated *)ctx;
    sqlite3 *db;
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_FAIL;
    gate_pass(&r->holding);
    fault_plan(FAULT_WAL_WRITE, ".x", SQLITE_FULL);
    pthread_mutex_lock(&fault.mutex);
    r->armed = true;
    pthread_mutex_unlock(&fault.mutex);
    return JOBQ_FAIL;
}

static jobq_outcome stand_innocent(jobq_run *run, void *ctx) {
    struct repeated *r = (struct repeated *)ctx;
    gate_pass(&r->innocent);
    r->asked = jobq_should_stop(run);
    return JOBQ_RETRY;
}

/* The first write of the group waits until the job that it wants to cancel has ended. */
static void let_it_end(void *arg, int now) {
    struct repeated *r = (struct repeated *)arg;
    (void)now;
    if (!r->armed) return;
    r->armed = false;
    gate_open(&r->running);
    while (stats_of(r->q).running > 0) test_pause_ms(1);
}

static void *cancel_it(void *arg) {
    struct repeated *r = (struct repeated *)arg;
    r->cancel_code = jobq_cancel(r->q, 1, NULL);
    return NULL;
}

static void *put_another(void *arg) {
    struct repeated *r = (struct repeated *)arg;
    r->put_code = jobq_enqueue(r->q, &(jobq_job){.kind = "innocent"}, NULL, NULL);
    return NULL;
}

/* Starts a call that has to wait for the writer, and gives it the time to queue up. */
static pthread_t queue_up(void *(*call)(void *arg), struct repeated *r) {
    pthread_t thread;
    thread = thread_start(call, r);
    test_pause_ms(50);
    return thread;
}

/* Goal: a cancel whose group is repeated reaches its own job and no other. Method: the job ends
 * between the two attempts, and the job that is stored by the same group takes its place. */
TEST(repeated_cancel_reaches_no_other_job) {
    struct repeated r = {.cancel_code = JOBQ_IO, .put_code = JOBQ_IO};
    pthread_t putter, canceller;
    fixture f;
    fault_begin();
    gate_init(&r.running);
    gate_init(&r.holding);
    gate_init(&r.innocent);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2}));
    r.q = f.q;
    handle(f.q, "running", run_until_let_go, &r);
    handle(f.q, "holding", keep_the_writer, &r);
    handle(f.q, "innocent", stand_innocent, &r);
    fault_log_begin(&r.log, test_path("q.db"));
    fault_log_watch(&r.log, let_it_end, &r);
    start(f.q);
    put(f.q, "running");
    gate_await(&r.running, 1);
    put(f.q, "holding");
    gate_await(&r.holding, 1);
    putter = queue_up(put_another, &r);
    canceller = queue_up(cancel_it, &r);
    gate_open(&r.holding);
    pthread_join(putter, NULL);
    pthread_join(canceller, NULL);
    fault_log_end(&r.log);
    CHECK_INT(fault_hits(FAULT_WAL_WRITE), 1);
    CHECK_CODE(r.put_code, JOBQ_OK);
    CHECK_CODE(r.cancel_code, JOBQ_OK);
    CHECK_INT(state_of(f.q, 1), JOBQ_STATE_CANCELLED);
    gate_open(&r.innocent);
    while (look(f.q, 3).state != JOBQ_STATE_CANCELLED && look(f.q, 3).attempt < 2)
        test_pause_ms(1);
    CHECK(!r.asked);
    CHECK_INT(state_of(f.q, 3), JOBQ_STATE_PENDING);
    fixture_close(&f);
    fault_log_free(&r.log);
    gate_free(&r.running);
    gate_free(&r.holding);
    gate_free(&r.innocent);
}

TEST_MAIN(repeated_cancel_reaches_no_other_job)
