/* fault_slow.c - a disk whose syncs take long: what may wait is done all the same. */
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

/* Goal: finished jobs are dropped in time although somebody writes at every moment. Method: a job
 * that is kept for a minute, and a producer who is at it for a while; then some minutes pass. */
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
    REQUIRE_INT(pthread_create(&thread, NULL, produce, &p), 0);
    while (stats_of(f.q).enqueued < 30) test_pause_ms(1);
    while (rc == JOBQ_OK && minutes++ < 4) {
        jobq_clock_advance(f.clock, 2 * JOBQ_MINUTE);
        WORKS(jobq_notify(f.q, &err));
        test_pause_ms(100);
        rc = jobq_get(f.q, 1, &info, NULL);
    }
    CHECK_CODE(rc, JOBQ_NOT_FOUND);
    pthread_mutex_lock(&p.mutex);
    p.end = true;
    pthread_mutex_unlock(&p.mutex);
    pthread_join(thread, NULL);
    fault_log_end(&log);
    fixture_close(&f);
    fault_log_free(&log);
}

TEST_MAIN(pruning_finds_its_turn)
