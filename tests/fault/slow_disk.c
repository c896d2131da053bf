/* slow_disk.c - a disk that takes long: what may wait for the writer is done all the same. */
#include "fault_vfs.h"
#include "helpers.h"

struct producer {
    jobq *q;
    pthread_mutex_t mutex; /* guards what follows */
    bool end;
};

/* So long takes every write and every sync. */
static void take_time(void *arg, int now) {
    (void)arg;
    (void)now;
    test_pause_ms(5);
}

static bool producer_ended(struct producer *p) {
    bool end;
    pthread_mutex_lock(&p->mutex);
    end = p->end;
    pthread_mutex_unlock(&p->mutex);
    return end;
}

static void *produce(void *arg) {
    struct producer *p = (struct producer *)arg;
    while (!producer_ended(p)) put(p->q, "k");
    return NULL;
}

static void end_of_production(struct producer *p, pthread_t *threads, int count) {
    pthread_mutex_lock(&p->mutex);
    p->end = true;
    pthread_mutex_unlock(&p->mutex);
    while (count-- > 0) pthread_join(threads[count], NULL);
}

/* Goal: finished jobs are dropped although somebody writes at every moment. Method: a job that is
 * kept for a minute, and a producer who is at it for a while; then many minutes pass. */
TEST(pruning_finds_its_turn) {
    struct producer p = {NULL, PTHREAD_MUTEX_INITIALIZER, false};
    pthread_t thread;
    struct fault_log log;
    jobq_info info;
    int minutes = 0, rc = JOBQ_OK;
    fixture f;
    fault_begin();
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .keep_done_ms = JOBQ_MINUTE}));
    p.q = f.q;
    handle(f.q, "k", do_nothing, NULL);
    start(f.q);
    put(f.q, "k");
    finish(f.q, 1);
    fault_log_begin(&log, test_path("q.db"));
    fault_log_watch(&log, take_time, NULL);
    thread = thread_start(produce, &p);
    while (stats_of(f.q).enqueued < 30) test_pause_ms(1);
    while (rc == JOBQ_OK && minutes++ < 100) {
        jobq_clock_advance(f.clock, 2 * JOBQ_MINUTE);
        WORKS(jobq_notify(f.q, &err));
        test_pause_ms(100);
        rc = jobq_get(f.q, 1, &info, NULL);
    }
    CHECK_CODE(rc, JOBQ_NOT_FOUND);
    end_of_production(&p, &thread, 1);
    fault_log_end(&log);
    fixture_close(&f);
    fault_log_free(&log);
}

/* Goal: the owner looks for a client's jobs although its own threads write at every moment. Method:
 * so many producers that one of them always has the writer next; the client's jobs, one after the
 * other, have to run while they go on. Each takes a handful of commits; by chance alone it would
 * take hundreds. */
TEST(polling_finds_its_turn) {
    enum { PRODUCERS = 8, ROUNDS = 8, COMMITS = 300 };
    struct producer p = {NULL, PTHREAD_MUTEX_INITIALIZER, false};
    jobq_options options = {.workers = 1, .shared = true, .poll_ms = 20};
    pthread_t threads[PRODUCERS];
    struct fault_log log;
    jobq *client;
    int64_t id, until;
    fault_begin();
    p.q = open_queue_at(test_path("q.db"), options);
    REQUIRE(p.q != NULL);
    options.role = JOBQ_CLIENT;
    client = open_queue_at(test_path("q.db"), options);
    REQUIRE(client != NULL);
    handle(p.q, "k", do_nothing, NULL);
    handle(p.q, "client", do_nothing, NULL);
    start(p.q);
    fault_log_begin(&log, test_path("q.db"));
    fault_log_watch(&log, take_time, NULL);
    for (int i = 0; i < PRODUCERS; i++) threads[i] = thread_start(produce, &p);
    while (stats_of(p.q).enqueued < 30) test_pause_ms(1);
    until = stats_of(p.q).commits + COMMITS;
    for (int i = 0; i < ROUNDS && test_failures() == 0; i++) {
        id = put_job(client, (jobq_job){.kind = "client", .priority = -9});
        while (state_of(p.q, id) != JOBQ_STATE_DONE && stats_of(p.q).commits < until)
            test_pause_ms(1);
        CHECK_INT(state_of(p.q, id), JOBQ_STATE_DONE);
    }
    end_of_production(&p, threads, PRODUCERS);
    fault_log_end(&log);
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
    close_queue(&p.q);
    fault_log_free(&log);
}

struct writer {
    jobq *q;
    gate running, writing;
    bool armed; /* under the disk's lock */
};

static void stand_in_write(void *arg, int now) {
    struct writer *w = (struct writer *)arg;
    bool stand = w->armed;
    (void)now;
    w->armed = false;
    if (stand) gate_pass(&w->writing);
}

static void *write_one(void *arg) {
    put(((struct writer *)arg)->q, "other");
    return NULL;
}

static void *let_it_write(void *arg) {
    test_pause_ms(50);
    gate_open(&((struct writer *)arg)->writing);
    return NULL;
}

static jobq_outcome run_until_stopped(jobq_run *run, void *ctx) {
    gate_pass(&((struct writer *)ctx)->running);
    while (!jobq_should_stop(run)) test_pause_ms(1);
    return JOBQ_DONE;
}

/* Goal: a stop gives back and settles all, though no call may wait for the writer (busy_ms =
 * JOBQ_NONE). Method: another thread's commit stands in a write until the stop has waited for a
 * while; a stop that does not wait returns before, with jobs still claimed. */
TEST(stop_waits_for_a_commit) {
    struct writer w = {.q = NULL};
    struct fault_log log;
    pthread_t threads[2];
    fixture f;
    fault_begin();
    gate_init(&w.running);
    gate_init(&w.writing);
    gate_open(&w.running);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .busy_ms = JOBQ_NONE}));
    w.q = f.q;
    handle(f.q, "k", run_until_stopped, &w);
    for (int i = 0; i < 3; i++) put(f.q, "k");
    fault_log_begin(&log, test_path("q.db"));
    fault_log_watch(&log, stand_in_write, &w);
    start(f.q);
    gate_await(&w.running, 1);
    while (stats_of(f.q).claimed < 1) test_pause_ms(1);
    pthread_mutex_lock(&fault.mutex);
    w.armed = true;
    pthread_mutex_unlock(&fault.mutex);
    threads[0] = thread_start(write_one, &w);
    gate_await(&w.writing, 1);
    threads[1] = thread_start(let_it_write, &w);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    CHECK_INT(stats_of(f.q).claimed, 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    CHECK_INT(count_all(f.q).done, 1);
    fault_log_end(&log);
    fixture_close(&f);
    fault_log_free(&log);
    gate_free(&w.running);
    gate_free(&w.writing);
}

/* ---- A file that becomes small ---- */

/* Goal: a pool that gives a large file back can be stopped at once, and does what else is due in
 * between. Method: 24 MiB that are free, in slices that take long; two of them, then a stop; most
 * of the file is still there. */
TEST(stop_comes_between_slices) {
    enum { MIB = 1 << 20, SIZE = 24 };
    static const char payload[MIB];
    int64_t before;
    struct fault_log log;
    fixture f;
    fault_begin();
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
    for (int i = 0; i < SIZE; i++)
        put_job(f.q, (jobq_job){.kind = "k", .payload = payload, .size = sizeof payload});
    for (int64_t id = 1; id <= SIZE; id++) WORKS(jobq_delete(f.q, id, &err));
    REQUIRE(fixture_reopen(&f));
    fault_log_begin(&log, f.path);
    fault_log_watch(&log, take_time, NULL);
    before = fault_shrunk();
    start(f.q);
    /* Of the first look, which begins the time, the test does not hear. */
    for (int64_t i = 0; fault_shrunk() < before + 2; i++) {
        if (i % 64 == 0) jobq_clock_set(f.clock, T0 + (2 + i) * JOBQ_MINUTE);
        test_pause_ms(1);
    }
    CHECK_CODE(jobq_stop(f.q, 0, NULL), JOBQ_OK);
    CHECK(fault_shrunk() < before + 2 * SIZE);
    fault_log_end(&log);
    fixture_close(&f);
    fault_log_free(&log);
}

TEST_MAIN(pruning_finds_its_turn, polling_finds_its_turn, stop_waits_for_a_commit,
          stop_comes_between_slices)
