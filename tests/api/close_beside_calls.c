/* close_beside_calls.c - close lets nobody in any more, and goes only when everybody is out.
 *
 * A call that is inside when close begins uses memory that close is about to free. Here a call is
 * held inside for as long as the test likes: in step mode it wakes the foreign loop itself, by a
 * callback that stands at a gate. */
#include "helpers.h"

#include <sched.h>

struct door {
    jobq *q;
    gate *gate;
    pthread_mutex_t mutex; /* guards what follows */
    bool closed;
};

static void stand_in_callback(void *ctx) {
    gate_pass(((struct door *)ctx)->gate);
}

static void *enqueue_once(void *arg) {
    struct door *d = (struct door *)arg;
    int64_t id = 0;
    CHECK_CODE(jobq_enqueue(d->q, &(jobq_job){.kind = "k"}, &id, NULL), JOBQ_OK);
    CHECK(id > 0);
    return NULL;
}

static void *close_it(void *arg) {
    struct door *d = (struct door *)arg;
    jobq *q = d->q;
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    pthread_mutex_lock(&d->mutex);
    d->closed = true;
    pthread_mutex_unlock(&d->mutex);
    return NULL;
}

static bool is_closed(struct door *d) {
    bool closed;
    pthread_mutex_lock(&d->mutex);
    closed = d->closed;
    pthread_mutex_unlock(&d->mutex);
    return closed;
}

/* Goal: close waits for a call that is inside, and the call returns what it would have. Method: a
 * thread is held inside jobq_enqueue, another closes; after a while that is long enough for a close
 * that does not wait it must not have returned. The first is let go, then both return. */
TEST(close_waits_for_calls) {
    struct door d = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    pthread_t inside, closer;
    jobq_stats stats;
    const char *path = test_path("q.db");
    gate g;
    gate_init(&g);
    d.gate = &g;
    WORKS(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE, .on_wake = stand_in_callback,
                                          .ctx = &d}, &d.q, &err));
    REQUIRE(d.q != NULL);
    handle(d.q, "k", do_nothing, NULL);
    inside = thread_start(enqueue_once, &d);
    gate_await(&g, 1);
    closer = thread_start(close_it, &d);
    while (!is_closed(&d) && jobq_stat(d.q, &stats, NULL) == JOBQ_OK) sched_yield();
    for (int i = 0; i < 20 && !is_closed(&d); i++) test_pause_ms(5);
    REQUIRE(!is_closed(&d));
    CHECK_CODE(jobq_enqueue(d.q, &(jobq_job){.kind = "k"}, NULL, NULL), JOBQ_CLOSED);
    gate_open(&g);
    pthread_join(inside, NULL);
    pthread_join(closer, NULL);
    CHECK(is_closed(&d));
    CHECK_INT(sql_int(path, "SELECT count(*) FROM jobq_row"), 1);
    gate_free(&g);
}

TEST_MAIN(close_waits_for_calls)
