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

static void run_some(jobq *q, int n) {
    for (int i = 0; i < n; i++) put(q, "k");
    UNTIL(count_all(q).done >= n);
}

/* Goal: no outcome waits for a callback. Method: one caller stores job after job, so that outcomes
 * wait for its commits to take them along; all are on the disk while the callback stands. */
TEST(outcomes_do_not_wait_for_a_callback) {
    fixture f;
    struct listener l;
    REQUIRE(listener_open(&l, &f));
    while_telling(&l, f.q, run_some, JOBS);
    listener_close(&l, &f);
}

/* ---- One worker, whose next job is long ---- */

struct quick_and_long {
    gate quick, callback, slow;
};

static void stand_in_callback(const jobq_event *event, void *ctx) {
    if (event->id == 1) gate_pass(&((struct quick_and_long *)ctx)->callback);
}

/* Goal: no outcome waits for a callback and a long job. Method: the callback stands with the event
 * of a job that nobody handles; the only worker runs a quick job and then a long one. When that has
 * begun the quick one is done in the file. */
TEST(outcome_is_written_before_a_long_job) {
    jobq_job jobs[2] = {{.kind = "quick"}, {.kind = "long"}};
    jobq_stored stored[2];
    struct quick_and_long l;
    fixture f;
    gate_init(&l.quick);
    gate_init(&l.callback);
    gate_init(&l.slow);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .on_event = stand_in_callback, .ctx = &l,
                                            .durability = JOBQ_RELAXED}));
    handle(f.q, "quick", stand_at_gate, &l.quick);
    handle(f.q, "long", stand_at_gate, &l.slow);
    start(f.q);
    put(f.q, "nobody's");
    gate_await(&l.callback, 1);
    WORKS(jobq_enqueue_many(f.q, jobs, 2, stored, &err));
    gate_await(&l.quick, 1);
    gate_open(&l.quick);
    gate_await(&l.slow, 1);
    CHECK_INT(state_of(f.q, stored[0].id), JOBQ_STATE_DONE);
    gate_open(&l.callback);
    gate_open(&l.slow);
    CHECK_INT(finish(f.q, stored[1].id).state, JOBQ_STATE_DONE);
    fixture_remove(&f);
    gate_free(&l.quick);
    gate_free(&l.callback);
    gate_free(&l.slow);
}

/* Goal: an outcome that could not be written waits for the file, and not for a callback as well.
 * Method: the callback stands, another connection writes when the only job ends, and lets go a
 * while later; the worker, which idles by then, has to come again by itself. */
TEST(outcome_waits_for_the_file_and_not_for_a_callback) {
    struct quick_and_long l;
    sqlite3 *db;
    fixture f;
    int64_t id;
    gate_init(&l.quick);
    gate_init(&l.callback);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .on_event = stand_in_callback, .ctx = &l,
                                            .durability = JOBQ_RELAXED, .shared = true}));
    handle(f.q, "quick", stand_at_gate, &l.quick);
    start(f.q);
    put(f.q, "nobody's");
    gate_await(&l.callback, 1);
    id = put(f.q, "quick");
    gate_await(&l.quick, 1);
    db = take_the_file(f.path);
    gate_open(&l.quick);
    until_nothing_runs(f.q);
    test_pause_ms(20);
    give_the_file_back(&db);
    UNTIL(state_of(f.q, id) == JOBQ_STATE_DONE);
    gate_open(&l.callback);
    fixture_remove(&f);
    gate_free(&l.quick);
    gate_free(&l.callback);
}

static void stand_as_it_begins(jobq_thread what, int index, bool begins, void *ctx) {
    (void)index;
    if (what != JOBQ_THREAD_SCHEDULER || !begins) return;
    gate_pass(&((struct quick_and_long *)ctx)->callback);
}

/* Goal: no outcome waits for on_thread and a long job. Method: as with a callback, but the
 * scheduler stands in on_thread as it begins. */
TEST(outcome_is_written_before_the_scheduler_begins) {
    jobq_job jobs[2] = {{.kind = "quick"}, {.kind = "long"}};
    jobq_stored stored[2];
    struct quick_and_long l;
    fixture f;
    gate_init(&l.callback);
    gate_init(&l.slow);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .on_thread = stand_as_it_begins,
                                            .ctx = &l, .durability = JOBQ_RELAXED}));
    handle(f.q, "quick", do_nothing, NULL);
    handle(f.q, "long", stand_at_gate, &l.slow);
    WORKS(jobq_enqueue_many(f.q, jobs, 2, stored, &err));
    start(f.q);
    gate_await(&l.callback, 1);
    gate_await(&l.slow, 1);
    UNTIL(state_of(f.q, stored[0].id) == JOBQ_STATE_DONE);
    gate_open(&l.callback);
    gate_open(&l.slow);
    CHECK_INT(finish(f.q, stored[1].id).state, JOBQ_STATE_DONE);
    fixture_remove(&f);
    gate_free(&l.callback);
    gate_free(&l.slow);
}

/* ---- Many events ---- */

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
        threads[i] = thread_start(put_mine, &r[i]);
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
    thread = thread_start(put_into_a, &c);
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
    thread = thread_start(put_the_first, f.q);
    gate_await(&l.gate, 1);
    start(f.q);
    while (state_of(f.q, 1) != JOBQ_STATE_DONE) test_pause_ms(1);
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

/* ---- What an event tells ---- */

static jobq_outcome fail_with_words(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_run_attempt(run) == 1 ? jobq_retry(run, "smtp said %d", 450)
                                      : jobq_fail(run, "smtp said %d", 550);
}

/* All events of a job name its kind, queue and key; the failures their message, others none. */
static void check_words(event_log *log, int64_t id, const char *queue, const char *key) {
    static const char *const messages[] = {"", "", "smtp said 450", "", "smtp said 550"};
    jobq_event told[5];
    if (!CHECK_INT(events_of(log, id, told, 5), 5)) return;
    for (int i = 0; i < 5; i++) {
        CHECK_STR(told[i].kind, "k");
        CHECK_STR(told[i].queue, queue);
        CHECK_STR(told[i].key, key);
        CHECK_STR(told[i].message, messages[i]);
    }
}

static void fail_with_a_log(int workers, int64_t keep_failed_ms) {
    event_log *log = event_log_new();
    int64_t keyed, plain;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = workers, .keep_failed_ms = keep_failed_ms,
                                            .on_event = log_event, .ctx = log}));
    handle(f.q, "k", fail_with_words, NULL);
    if (workers != JOBQ_NONE) start(f.q);
    keyed = put_job(f.q, (jobq_job){.kind = "k", .queue = "mail", .key = "user 42"});
    plain = put(f.q, "k");
    advance(f.q, JOBQ_MINUTE);
    if (workers != JOBQ_NONE) WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    check_words(log, keyed, "mail", "user 42");
    check_words(log, plain, "default", "");
    fixture_remove(&f);
    event_log_free(log);
}

/* Goal: an event tells queue, key and the message of a failure, also of a job that is not kept.
 * Method: a retry and a failure, in step mode and in a pool, kept and not. */
TEST(event_tells_queue_key_and_message) {
    fail_with_a_log(JOBQ_NONE, 0);
    fail_with_a_log(JOBQ_NONE, JOBQ_NONE);
    fail_with_a_log(2, 0);
    fail_with_a_log(2, JOBQ_NONE);
}

/* Goal: what a caller does to a job that waits is told with its queue and key, too; and so is what
 * a restart finds. Method: cancel and retry, kept and not, of a queue opened anew. */
TEST(events_of_callers_tell_queue_and_key) {
    event_log *log = event_log_new();
    jobq_event told[4];
    int64_t id, dropped;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .on_event = log_event,
                                            .ctx = log}));
    id = put_job(f.q, (jobq_job){.kind = "k", .queue = "mail", .key = "a"});
    f.options.keep_done_ms = JOBQ_NONE;
    WORKS(jobq_cancel(f.q, id, &err));
    CHECK_INT(events_of(log, id, told, 4), 2);
    CHECK_STR(told[1].queue, "mail");
    CHECK_STR(told[1].key, "a");
    REQUIRE(fixture_reopen(&f));
    WORKS(jobq_retry_now(f.q, id, &err));
    dropped = put_job(f.q, (jobq_job){.kind = "k", .queue = "mail", .key = "b"});
    WORKS(jobq_cancel(f.q, dropped, &err));
    CHECK_INT(events_of(log, id, told, 4), 3);
    CHECK_STR(told[2].kind, "k");
    CHECK_STR(told[2].queue, "mail");
    CHECK_STR(told[2].key, "a");
    CHECK_INT(events_of(log, dropped, told, 4), 2);
    CHECK_STR(told[1].queue, "mail");
    CHECK_STR(told[1].key, "b");
    CHECK_STR(told[1].message, "");
    fixture_close(&f);
    event_log_free(log);
}

static jobq_outcome retry_when_told(jobq_run *run, void *ctx) {
    gate_pass((gate *)ctx);
    return jobq_should_stop(run) ? jobq_retry(run, "told to stop") : JOBQ_DONE;
}

/* Goal: what a stop interrupts is told as that, not as something that the handler never said.
 * Method: a handler that gives up when told to. */
TEST(stopped_run_is_told_as_stopped) {
    event_log *log = event_log_new();
    jobq_event told[4];
    int64_t id;
    gate g;
    fixture f;
    gate_init(&g);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .on_event = log_event, .ctx = log}));
    handle(f.q, "k", retry_when_told, &g);
    start(f.q);
    id = put(f.q, "k");
    gate_await(&g, 1);
    FAILS(JOBQ_TIMEOUT, jobq_stop(f.q, JOBQ_NONE, &err));
    gate_open(&g);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    CHECK_INT(events_of(log, id, told, 4), 3);
    CHECK_INT(told[2].outcome, JOBQ_STOPPED);
    CHECK_INT(told[2].to, JOBQ_STATE_PENDING);
    CHECK_INT(told[2].attempt, 1);
    CHECK_INT(stats_of(f.q).retried, 0);
    fixture_close(&f);
    event_log_free(log);
    gate_free(&g);
}

/* ---- The end is told before the wait is over ---- */

struct watcher {
    gate gate;             /* where the callback stands with the event of a job's end */
    int told;              /* atomic: it has returned */
    jobq *q;
    int64_t id, timeout_ms;
    int code, told_first;  /* of jobq_wait; whether the event was told by then */
    jobq_info info;
};

static void watch(const jobq_event *event, void *ctx) {
    struct watcher *w = (struct watcher *)ctx;
    if (event->to < JOBQ_STATE_DONE) return;
    gate_pass(&w->gate);
    __atomic_store_n(&w->told, 1, __ATOMIC_SEQ_CST);
}

static void *watch_the_end(void *arg) {
    struct watcher *w = (struct watcher *)arg;
    w->code = jobq_wait(w->q, w->id, w->timeout_ms, &w->info, NULL);
    w->told_first = __atomic_load_n(&w->told, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Waits for a job, from before it runs or from when it has ended, while its event stands at the
 * gate; it is let go after a while, or only when the wait is over. */
static void wait_and_listen(struct watcher *w, bool late, bool let_go) {
    pthread_t waiter;
    memset(w, 0, sizeof *w);
    gate_init(&w->gate);
    REQUIRE_CODE(jobq_open(test_path("q.db"), &(jobq_options){.workers = 1, .on_event = watch,
                           .ctx = w, .durability = JOBQ_RELAXED}, &w->q, NULL), JOBQ_OK);
    handle(w->q, "k", do_nothing, NULL);
    w->timeout_ms = let_go ? JOBQ_HOUR : 20;
    w->id = put(w->q, "k");
    if (late) start(w->q);
    if (late) gate_await(&w->gate, 1);
    waiter = thread_start(watch_the_end, w);
    if (!late) start(w->q);
    gate_await(&w->gate, 1);
    if (let_go) test_pause_ms(30); /* for a wait that does not wait for the event */
    else pthread_join(waiter, NULL);
    gate_open(&w->gate);
    if (let_go) pthread_join(waiter, NULL);
    close_queue(&w->q);
    gate_free(&w->gate);
}

/* Goal: whoever waits for a job has heard of its end when jobq_wait returns. Method: the callback
 * stands with that event while a wait is on, or begins. */
TEST(end_is_told_before_the_wait_is_over) {
    for (int late = 0; late < 2; late++) {
        struct watcher w;
        wait_and_listen(&w, late == 1, true);
        CHECK_CODE(w.code, JOBQ_OK);
        CHECK_INT(w.info.state, JOBQ_STATE_DONE);
        CHECK_INT(w.told_first, 1);
    }
}

/* A job whose end is told behind another one's. */
struct second {
    jobq *q;
    int64_t id;
    gate runs, first, own; /* where it runs, and where the callback stands with either end */
    int returned;          /* atomic: the wait for it */
    int code;
};

static void stand_with_each_end(const jobq_event *event, void *ctx) {
    struct second *s = (struct second *)ctx;
    if (event->to >= JOBQ_STATE_DONE) gate_pass(event->id == s->id ? &s->own : &s->first);
}

static void *wait_for_the_second(void *arg) {
    struct second *s = (struct second *)arg;
    s->code = jobq_wait(s->q, s->id, JOBQ_HOUR, NULL, NULL);
    __atomic_store_n(&s->returned, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Goal: a wait is not over because the end of another job was told. Method: both have ended; the
 * callback stands with the one event, and then with the other. */
TEST(wait_is_not_over_with_the_end_of_another) {
    struct second s = {.returned = 0};
    pthread_t waiter;
    gate_init(&s.runs);
    gate_init(&s.first);
    gate_init(&s.own);
    s.q = open_queue_at(test_path("q.db"), (jobq_options){.workers = 2, .ctx = &s,
                                                          .on_event = stand_with_each_end});
    REQUIRE(s.q != NULL);
    handle(s.q, "first", do_nothing, NULL);
    handle(s.q, "second", stand_at_gate, &s.runs);
    put(s.q, "first");
    s.id = put(s.q, "second");
    waiter = thread_start(wait_for_the_second, &s);
    start(s.q);
    gate_await(&s.first, 1);
    gate_open(&s.runs);
    while (stats_of(s.q).done < 2) {
        put(s.q, "nobody"); /* a commit, for the scheduler may stand in the callback */
        test_pause_ms(1);
    }
    gate_open(&s.first);
    gate_await(&s.own, 1);
    test_pause_ms(30); /* for a wait that is over too early */
    CHECK(!__atomic_load_n(&s.returned, __ATOMIC_SEQ_CST));
    gate_open(&s.own);
    pthread_join(waiter, NULL);
    CHECK_CODE(s.code, JOBQ_OK);
    close_queue(&s.q);
    gate_free(&s.runs);
    gate_free(&s.first);
    gate_free(&s.own);
}

/* Goal: a callback that does not come back holds nobody longer than he would wait: the job has
 * ended and the answer says so. Method: the same, but the callback is let go after the wait. */
TEST(waiting_for_an_event_ends_with_the_time) {
    struct watcher w;
    wait_and_listen(&w, true, false);
    CHECK_CODE(w.code, JOBQ_OK);
    CHECK_INT(w.info.state, JOBQ_STATE_DONE);
    CHECK_INT(w.told_first, 0);
}

enum { BATCH = 1000, BATCHES = 20 };

struct producer {
    jobq *q;
    int stored; /* atomic: batches */
};

static void *store_batches(void *arg) {
    struct producer *p = (struct producer *)arg;
    for (int i = 0; i < BATCHES; i++) {
        put_many(p->q, &(jobq_job){.kind = "k", .delay_ms = JOBQ_DAY}, BATCH);
        __atomic_add_fetch(&p->stored, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

/* Goal: while a callback is far behind a caller that stores more and more waits before it returns,
 * so the list of events has a bound; then it goes on. Method: the callback stands at its gate while
 * a thread stores five times as much as the list may hold. */
TEST(callers_wait_for_a_slow_callback) {
    struct listener l;
    struct producer p = {NULL, 0};
    pthread_t thread;
    fixture f;
    REQUIRE(listener_open(&l, &f));
    p.q = f.q;
    put_in(f.q, JOBQ_DAY);
    put_in(f.q, JOBQ_DAY);
    gate_await(&l.gate, 1);
    thread = thread_start(store_batches, &p);
    while (__atomic_load_n(&p.stored, __ATOMIC_SEQ_CST) < 4) test_pause_ms(1);
    for (int i = 0; i < 50; i++) {
        test_pause_ms(10);
        if (!CHECK(__atomic_load_n(&p.stored, __ATOMIC_SEQ_CST) <= 5)) break;
    }
    gate_open(&l.gate);
    pthread_join(thread, NULL);
    CHECK_INT(total(f.q), BATCHES * BATCH + 2);
    listener_close(&l, &f);
}

TEST_MAIN(callers_wait_for_a_slow_callback, outcomes_do_not_wait_for_a_callback,
          outcome_is_written_before_a_long_job, outcome_waits_for_the_file_and_not_for_a_callback,
          outcome_is_written_before_the_scheduler_begins,
          waiting_events_keep_their_order, no_event_is_lost, a_caller_hears_its_own_events,
          callbacks_of_two_queues_call_each_other, events_of_a_callback_are_told,
          events_of_a_start_are_told_before_it, job_with_the_writer_waits_for_no_callback,
          pool_tells_what_a_caller_leaves, event_tells_queue_key_and_message,
          events_of_callers_tell_queue_and_key, stopped_run_is_told_as_stopped,
          end_is_told_before_the_wait_is_over, wait_is_not_over_with_the_end_of_another,
          waiting_for_an_event_ends_with_the_time)
