/* events.c - events come one at a time, in order, and none is lost while a callback is slow.
 *
 * While a pool runs its threads tell the events, one of them at a time, and no caller waits for
 * that. So a callback that stands at a gate holds back all events that come meanwhile, and the list
 * of them grows as long as the test likes. */
#include "helpers.h"

#include <sched.h>

enum { ALONE = 20, JOBS = 100 };

struct listener {
    gate gate;
    int64_t slow_id;       /* the first event of this job stands at the gate */
    pthread_mutex_t mutex; /* guards what follows */
    int inside, inside_max;
    event_log *log;
};

static void listen(const jobq_event *event, void *ctx) {
    struct listener *l = (struct listener *)ctx;
    bool wait;
    pthread_mutex_lock(&l->mutex);
    if (++l->inside > l->inside_max) l->inside_max = l->inside;
    wait = event->id == l->slow_id;
    if (wait) l->slow_id = 0;
    pthread_mutex_unlock(&l->mutex);
    log_event(event, l->log);
    if (wait) gate_pass(&l->gate);
    pthread_mutex_lock(&l->mutex);
    l->inside--;
    pthread_mutex_unlock(&l->mutex);
}

static bool listener_open(struct listener *l, fixture *f) {
    memset(l, 0, sizeof *l);
    gate_init(&l->gate);
    pthread_mutex_init(&l->mutex, NULL);
    l->slow_id = 2;
    l->log = event_log_new();
    if (!fixture_open(f, (jobq_options){.workers = 1, .on_event = listen, .ctx = l,
                                        .durability = JOBQ_RELAXED})) return false;
    handle(f->q, "k", do_nothing, NULL);
    start(f->q);
    return true;
}

static void listener_close(struct listener *l, fixture *f) {
    fixture_remove(f);
    event_log_free(l->log);
    pthread_mutex_destroy(&l->mutex);
    gate_free(&l->gate);
}

/* Calls act while the callback stands with the event of a second job, which nobody handles; when it
 * returns all events are told. */
static void while_telling(struct listener *l, jobq *q, void (*act)(jobq *q, int n), int n) {
    put(q, "first");
    put(q, "second");
    gate_await(&l->gate, 1);
    act(q, n);
    CHECK_INT(l->log->n, 2);
    gate_open(&l->gate);
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    CHECK_INT(l->inside_max, 1);
}

/* A few alone; one event was told before, so the list has to grow while its first place is free. */
static void put_batches(jobq *q, int n) {
    static jobq_job jobs[100];
    for (int i = 0; i < ALONE; i++) put(q, "other");
    for (int i = 0; i < 100; i++) jobs[i].kind = "other";
    while (n-- > 0) WORKS(jobq_enqueue_many(q, jobs, 100, NULL, &err));
}

/* Goal: events that wait are told in the order of their commits. Method: many batches while the
 * callback is slow; the ids have to rise. */
TEST(waiting_events_keep_their_order) {
    enum { BATCHES = 10 };
    struct listener l;
    fixture f;
    REQUIRE(listener_open(&l, &f));
    while_telling(&l, f.q, put_batches, BATCHES);
    CHECK_INT(l.log->n, 2 + ALONE + 100 * BATCHES);
    for (size_t i = 1; i < l.log->n; i++)
        if (!CHECK_INT(l.log->rows[i].id, l.log->rows[i - 1].id + 1)) break;
    listener_close(&l, &f);
}

/* One job after the other. Not by jobq_wait: an outcome may wait for the scheduler, which tells. */
static void run_jobs(jobq *q, int n) {
    for (int i = 0; i < n; i++) put(q, "other");
    for (int i = 1; i <= JOBS; i++) {
        jobq_stats s;
        put(q, "k");
        do {
            sched_yield();
            s = stats_of(q);
        } while (s.started < i || s.running > 0);
    }
}

/* Goal: no event is lost, whichever is the one for which the list has to grow. Method: jobs are
 * stored, started and settled while the callback is slow, after a few others that shift them. */
TEST(no_event_is_lost) {
    for (int n = 0; n < 3; n++) {
        struct listener l;
        fixture f;
        REQUIRE(listener_open(&l, &f));
        while_telling(&l, f.q, run_jobs, n);
        CHECK_INT(l.log->n, 2 + n + 3 * JOBS);
        for (int id = 3 + n; id < 3 + n + JOBS; id++) {
            jobq_event told[3];
            if (!CHECK_INT(events_of(l.log, id, told, 3), 3)) continue;
            CHECK_INT(told[0].to, JOBQ_STATE_PENDING);
            CHECK_INT(told[1].to, JOBQ_STATE_RUNNING);
            CHECK_INT(told[2].to, JOBQ_STATE_DONE);
        }
        listener_close(&l, &f);
    }
}

/* ---- Callers that tell: step mode ---- */

struct caller {
    jobq *q;
    pthread_t other;
    pthread_mutex_t mutex; /* guards told */
    int told;
};

static void *put_one(void *arg) {
    put(((struct caller *)arg)->q, "k");
    return NULL;
}

static int told(struct caller *c) {
    int n;
    pthread_mutex_lock(&c->mutex);
    n = c->told;
    pthread_mutex_unlock(&c->mutex);
    return n;
}

/* The first event lasts until another thread has stored a job. */
static void tell_both(const jobq_event *event, void *ctx) {
    struct caller *c = (struct caller *)ctx;
    if (event->id == 1 && CHECK_INT(pthread_create(&c->other, NULL, put_one, c), 0))
        while (stats_of(c->q).enqueued < 2) test_pause_ms(1);
    pthread_mutex_lock(&c->mutex);
    c->told++;
    pthread_mutex_unlock(&c->mutex);
}

/* Goal: in step mode the event of a caller is told when its call returns, although another tells
 * just then and that one's telling has an end. Method: a job is stored while the callback has the
 * event of another. */
TEST(a_caller_hears_its_own_events) {
    struct caller c = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    jobq_options options = {.workers = JOBQ_NONE, .on_event = tell_both, .ctx = &c};
    REQUIRE_CODE(jobq_open(test_path("q.db"), &options, &c.q, NULL), JOBQ_OK);
    put(c.q, "k");
    pthread_join(c.other, NULL);
    CHECK_INT(told(&c), 2);
    CHECK_CODE(jobq_close(&c.q), JOBQ_OK);
    pthread_mutex_destroy(&c.mutex);
}

/* Two queues, one for each of two threads; the events of one are passed on to the other. */
struct relay {
    jobq *q, *to;
    gate *both;
    pthread_mutex_t mutex; /* guards told */
    int told;
};

static void pass_on(const jobq_event *event, void *ctx) {
    struct relay *r = (struct relay *)ctx;
    bool mine = strcmp(event->kind, "mine") == 0;
    if (mine) {
        gate_pass(r->both);
        put(r->to, "theirs");
    }
    pthread_mutex_lock(&r->mutex);
    r->told++;
    pthread_mutex_unlock(&r->mutex);
}

static void *put_mine(void *arg) {
    put(((struct relay *)arg)->q, "mine");
    return NULL;
}

/* Goal: callbacks that call each other's queue do not wait for each other. Method: both are inside
 * when the first of them calls; the events of both have to be told, and no call stay away. */
TEST(callbacks_of_two_queues_call_each_other) {
    struct relay r[2];
    pthread_t threads[2];
    gate both;
    gate_init(&both);
    for (int i = 0; i < 2; i++) {
        r[i] = (struct relay){.both = &both, .mutex = PTHREAD_MUTEX_INITIALIZER};
        WORKS(jobq_open(test_path(i ? "one.db" : "two.db"), &(jobq_options){.workers = JOBQ_NONE,
                        .on_event = pass_on, .ctx = &r[i]}, &r[i].q, &err));
        REQUIRE(r[i].q != NULL);
    }
    for (int i = 0; i < 2; i++) r[i].to = r[!i].q;
    for (int i = 0; i < 2; i++)
        REQUIRE_INT(pthread_create(&threads[i], NULL, put_mine, &r[i]), 0);
    gate_await(&both, 2);
    gate_open(&both);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) CHECK_CODE(jobq_close(&r[i].q), JOBQ_OK);
    for (int i = 0; i < 2; i++) CHECK_INT(r[i].told, 2);
    gate_free(&both);
}

struct canceller {
    jobq *q;
    int cancelled;
};

static void cancel_the_first(const jobq_event *event, void *ctx) {
    struct canceller *c = (struct canceller *)ctx;
    if (event->to == JOBQ_STATE_CANCELLED) c->cancelled++;
    if (event->id == 2 && event->from == JOBQ_STATE_NONE) WORKS(jobq_cancel(c->q, 1, &err));
}

/* Goal: what a callback does is told as well, before the call that brought it about returns. */
TEST(events_of_a_callback_are_told) {
    struct canceller c = {NULL, 0};
    jobq_options options = {.workers = JOBQ_NONE, .on_event = cancel_the_first, .ctx = &c};
    WORKS(jobq_open(test_path("q.db"), &options, &c.q, &err));
    REQUIRE(c.q != NULL);
    put(c.q, "k");
    put(c.q, "k");
    CHECK_INT(c.cancelled, 1);
    CHECK_CODE(jobq_close(&c.q), JOBQ_OK);
}

struct sentry {
    jobq *q;
    int64_t child;
    bool told, told_in_time;
};

static void store_at_start(const jobq_event *event, void *ctx) {
    struct sentry *s = (struct sentry *)ctx;
    if (event->to == JOBQ_STATE_RUNNING && !s->child) s->child = put(s->q, "other");
    else if (event->id == s->child) s->told = true;
}

static jobq_outcome note_what_was_told(jobq_run *run, void *ctx) {
    struct sentry *s = (struct sentry *)ctx;
    (void)run;
    s->told_in_time = s->told;
    return JOBQ_DONE;
}

/* Goal: the same of the event of a start: not only when the handler has returned. */
TEST(events_of_a_start_are_told_before_it) {
    struct sentry s = {NULL, 0, false, false};
    jobq_options options = {.workers = JOBQ_NONE, .on_event = store_at_start, .ctx = &s};
    WORKS(jobq_open(test_path("q.db"), &options, &s.q, &err));
    REQUIRE(s.q != NULL);
    handle(s.q, "k", note_what_was_told, &s);
    put(s.q, "k");
    CHECK_INT(drain(s.q), 1);
    CHECK(s.told_in_time);
    CHECK_CODE(jobq_close(&s.q), JOBQ_OK);
}

/* Queue a, whose callback writes to b, and a job of b in its transaction, which writes to a. */
struct crossing {
    jobq *a, *b;
    gate callback, job;
    bool first;
    int code_of_a, code_of_b;
};

static void write_to_b(const jobq_event *event, void *ctx) {
    struct crossing *c = (struct crossing *)ctx;
    (void)event;
    if (!c->first) return;
    c->first = false;
    gate_pass(&c->callback);
    c->code_of_b = jobq_enqueue(c->b, &(jobq_job){.kind = "other"}, NULL, NULL);
}

static jobq_outcome write_to_a(jobq_run *run, void *ctx) {
    struct crossing *c = (struct crossing *)ctx;
    sqlite3 *db;
    CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK);
    gate_pass(&c->job);
    c->code_of_a = jobq_enqueue(c->a, &(jobq_job){.kind = "other"}, NULL, NULL);
    return JOBQ_DONE;
}

static void *put_into_a(void *arg) {
    put(((struct crossing *)arg)->a, "k");
    return NULL;
}

/* Goal: a job that holds its queue's writer does not wait for the callback of another queue, which
 * may wait for that writer. Method: both are where they hold something before they go on. */
TEST(job_with_the_writer_waits_for_no_callback) {
    struct crossing c = {.first = true, .code_of_a = JOBQ_IO, .code_of_b = JOBQ_IO};
    jobq_options a = {.on_event = write_to_b, .ctx = &c}, b = {.workers = 1, .busy_ms = 2000};
    pthread_t thread;
    gate_init(&c.callback);
    gate_init(&c.job);
    WORKS(jobq_open(test_path("a.db"), &a, &c.a, &err));
    WORKS(jobq_open(test_path("b.db"), &b, &c.b, &err));
    REQUIRE(c.a != NULL && c.b != NULL);
    handle(c.b, "k", write_to_a, &c);
    start(c.b);
    put(c.b, "k");
    gate_await(&c.job, 1);
    REQUIRE_INT(pthread_create(&thread, NULL, put_into_a, &c), 0);
    gate_await(&c.callback, 1);
    gate_open(&c.job);
    test_pause_ms(10); /* for the job to be in its call */
    gate_open(&c.callback);
    finish(c.b, 1);
    pthread_join(thread, NULL);
    CHECK_CODE(c.code_of_a, JOBQ_OK);
    CHECK_CODE(c.code_of_b, JOBQ_OK);
    close_queue(&c.b);
    close_queue(&c.a);
    gate_free(&c.callback);
    gate_free(&c.job);
}

/* ---- Callers, and then a pool ---- */

/* The event of the new job stands at the gate. */
static void stand_with_the_first(const jobq_event *event, void *ctx) {
    struct listener *l = (struct listener *)ctx;
    if (event->from == JOBQ_STATE_NONE) gate_pass(&l->gate);
    log_event(event, l->log);
}

static void *put_the_first(void *arg) {
    put((jobq *)arg, "k");
    return NULL;
}

/* Goal: events of a pool that was started while a caller told its own are told although the pool is
 * idle by then. Method: the job is done while the callback stands with its first event. */
TEST(pool_tells_what_a_caller_leaves) {
    struct listener l = {.log = event_log_new()};
    pthread_t thread;
    fixture f;
    size_t n = 0;
    gate_init(&l.gate);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .on_event = stand_with_the_first,
                                            .ctx = &l}));
    handle(f.q, "k", do_nothing, NULL);
    REQUIRE_INT(pthread_create(&thread, NULL, put_the_first, f.q), 0);
    gate_await(&l.gate, 1);
    start(f.q);
    finish(f.q, 1);
    test_pause_ms(20); /* for the scheduler to fall asleep */
    gate_open(&l.gate);
    pthread_join(thread, NULL);
    while (n < 3) {
        test_pause_ms(1);
        n = events_of(l.log, 1, NULL, 0);
    }
    fixture_remove(&f);
    event_log_free(l.log);
    gate_free(&l.gate);
}

TEST_MAIN(waiting_events_keep_their_order, no_event_is_lost, a_caller_hears_its_own_events,
          callbacks_of_two_queues_call_each_other, events_of_a_callback_are_told,
          events_of_a_start_are_told_before_it, job_with_the_writer_waits_for_no_callback,
          pool_tells_what_a_caller_leaves)
