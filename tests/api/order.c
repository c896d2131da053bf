/* order.c - which job starts next: priority, time, id; queues in turn; parked kinds; and
 * what holds for a pool that has prefetched.
 *
 * In step mode the order is exact and is read from a trace of the runs. With a pool a gate
 * holds the workers inside handlers while jobs are queued, so nothing depends on timing. */
#include "helpers.h"

#include "amalgamation/limits.h"

#include <sched.h>

static bool open_trace(fixture *f, trace **t, jobq_options options) {
    if (!fixture_open(f, options)) return false;
    *t = trace_new(f->clock);
    handle(f->q, "k", record, *t);
    return true;
}

static void close_trace(fixture *f, trace *t) {
    fixture_close(f);
    trace_free(t);
}

static int64_t put_urgent(jobq *q, int priority) {
    return put_job(q, (jobq_job){.kind = "k", .priority = priority});
}

/* Runs everything and checks the order of the runs, from the first. */
static void check_order(jobq *q, trace *t, const int64_t *ids, size_t n) {
    CHECK_INT(drain(q), n);
    REQUIRE_INT(t->n, n);
    for (size_t i = 0; i < n; i++) {
        if (CHECK_INT(t->rows[i].id, ids[i])) continue;
        test_note("at place %d, the rest is not told", (int)i);
        return;
    }
}

/* ---- One queue ---- */

/* Enqueues the jobs in this order, and checks that they run in that one. */
static void check_runs(const jobq_job *jobs, const size_t *order, size_t n) {
    fixture f;
    trace *t;
    int64_t ids[16], wanted[16];
    REQUIRE(open_trace(&f, &t, STEP));
    for (size_t i = 0; i < n; i++) {
        jobq_job job = jobs[i];
        job.kind = "k";
        ids[i] = put_job(f.q, job);
    }
    for (size_t i = 0; i < n; i++) wanted[i] = ids[order[i]];
    check_order(f.q, t, wanted, n);
    close_trace(&f, t);
}

/* Goal: jobs of one priority and time run in the order of their ids. Method: ten. */
TEST(equal_jobs_run_in_order_of_id) {
    static const jobq_job jobs[10];
    static const size_t order[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    check_runs(jobs, order, 10);
}

/* Goal: lower numbers are more urgent, over the whole range of int. Method: seven priorities
 * enqueued in another order. */
TEST(lower_priority_numbers_run_first) {
    static const jobq_job jobs[] = {{.priority = 5}, {.priority = INT32_MAX}, {.priority = 0},
                                    {.priority = -1}, {.priority = 1}, {.priority = INT32_MIN},
                                    {.priority = -100}};
    static const size_t order[] = {5, 6, 3, 2, 4, 0, 1};
    check_runs(jobs, order, 7);
}

/* Goal: within a priority the earlier time runs first, and the lower id among equal times.
 * Method: past and present times, enqueued backwards. */
TEST(earlier_times_run_first) {
    static const jobq_job jobs[] = {{.run_at_ms = T0 - 1}, {.run_at_ms = T0 - 500},
                                    {.run_at_ms = T0 - 2}, {.run_at_ms = T0 - 500},
                                    {.run_at_ms = 1}};
    static const size_t order[] = {4, 1, 3, 2, 0};
    check_runs(jobs, order, 5);
}

/* Goal: priority counts before time. Method: an urgent job of now against a lesser one that
 * has been due for long. */
TEST(priority_counts_before_time) {
    static const jobq_job jobs[] = {{.priority = 1, .run_at_ms = 1},
                                    {.priority = 0, .run_at_ms = T0}};
    static const size_t order[] = {1, 0};
    check_runs(jobs, order, 2);
}

struct model_job {
    int64_t id, run_at;
    int priority;
};

static int compare_jobs(const void *a, const void *b) {
    const struct model_job *x = (const struct model_job *)a, *y = (const struct model_job *)b;
    if (x->priority != y->priority) return x->priority < y->priority ? -1 : 1;
    if (x->run_at != y->run_at) return x->run_at < y->run_at ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Goal: the whole order, (priority, run_at, id). Method: 300 random jobs, all due, against a
 * sort of the same. */
TEST(random_jobs_run_in_order) {
    enum { N = 300 };
    static struct model_job jobs[N];
    static int64_t ids[N];
    uint64_t random = test_seed();
    fixture f;
    trace *t;
    REQUIRE(open_trace(&f, &t, STEP));
    for (int i = 0; i < N; i++) {
        jobs[i].priority = (int)(test_random(&random) % 7) - 3;
        jobs[i].run_at = T0 - (int64_t)(test_random(&random) % 20);
        jobs[i].id = put_job(f.q, (jobq_job){.kind = "k", .priority = jobs[i].priority,
                                             .run_at_ms = jobs[i].run_at});
    }
    qsort(jobs, N, sizeof jobs[0], compare_jobs);
    for (int i = 0; i < N; i++) ids[i] = jobs[i].id;
    check_order(f.q, t, ids, N);
    close_trace(&f, t);
}

/* Goal: an urgent job that comes later overtakes what is waiting. Method: step once, enqueue
 * it, step again. */
TEST(urgent_job_overtakes) {
    fixture f;
    trace *t;
    int64_t a, b, urgent;
    REQUIRE(open_trace(&f, &t, STEP));
    a = put_urgent(f.q, 5);
    b = put_urgent(f.q, 5);
    put_urgent(f.q, 5);
    WORKS(jobq_step(f.q, NULL, &err));
    urgent = put_urgent(f.q, 4);
    WORKS(jobq_step(f.q, NULL, &err));
    WORKS(jobq_step(f.q, NULL, &err));
    REQUIRE_INT(t->n, 3);
    CHECK_INT(t->rows[0].id, a);
    CHECK_INT(t->rows[1].id, urgent);
    CHECK_INT(t->rows[2].id, b);
    close_trace(&f, t);
}

static jobq_outcome record_and_raise(jobq_run *run, void *ctx) {
    trace *t = (trace *)ctx;
    if (t->n == 0) put_urgent(jobq_run_handle(run), -1);
    return record(run, t);
}

/* Goal: the same when the urgent job comes from a handler in the middle of a drain, where each
 * commit claims the next job. Method: the first handler enqueues it. */
TEST(urgent_job_from_a_handler_overtakes) {
    fixture f;
    trace *t;
    int64_t ids[5];
    REQUIRE(fixture_open(&f, STEP));
    t = trace_new(f.clock);
    handle(f.q, "k", record_and_raise, t);
    for (int i = 0; i < 4; i++) ids[i == 0 ? 0 : i + 1] = put_urgent(f.q, 3);
    CHECK_INT(drain(f.q), 5);
    REQUIRE_INT(t->n, 5);
    ids[1] = t->rows[1].id;
    CHECK(ids[1] > ids[4]);
    for (int i = 0; i < 5; i++) CHECK_INT(t->rows[i].id, ids[i]);
    close_trace(&f, t);
}

static jobq_outcome record_and_follow(jobq_run *run, void *ctx) {
    trace *t = (trace *)ctx;
    if (t->n == 0) put_urgent(jobq_run_handle(run), 3);
    return record(run, t);
}

/* Goal: an equal job from there starts last, though the window of claimed jobs has room for it at
 * that moment, and not all that are older are in it. Method: 20 more than fit; the first handler
 * stores it. */
TEST(equal_job_from_a_handler_comes_last) {
    enum { N = JOBQ__RING + 20 };
    fixture f;
    trace *t;
    int64_t ids[N];
    REQUIRE(fixture_open(&f, STEP));
    t = trace_new(f.clock);
    handle(f.q, "k", record_and_follow, t);
    for (int i = 0; i < N; i++) ids[i] = put_urgent(f.q, 3);
    CHECK_INT(drain(f.q), N + 1);
    REQUIRE_INT(t->n, N + 1);
    for (int i = 0; i < N; i++) CHECK_INT(t->rows[i].id, ids[i]);
    CHECK(t->rows[N].id > ids[N - 1]);
    close_trace(&f, t);
}

/* ---- Time ---- */

/* Goal: no job runs before its time, not by one millisecond. Method: 50 random times; each
 * run's own now must be its run_at. */
TEST(jobs_run_at_their_time) {
    enum { N = 50 };
    int64_t at[N], ids[N];
    uint64_t random = test_seed();
    fixture f;
    trace *t;
    REQUIRE(open_trace(&f, &t, STEP));
    for (int i = 0; i < N; i++) {
        at[i] = T0 + 1 + (int64_t)(test_random(&random) % 10000);
        ids[i] = put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = at[i]});
    }
    CHECK_INT(drain(f.q), 0);
    advance(f.q, 20000);
    REQUIRE_INT(t->n, N);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            if (t->rows[i].id == ids[j]) CHECK_INT(t->rows[i].now_ms, at[j]);
    close_trace(&f, t);
}

/* Goal: what becomes due at the same moment is ordered by priority. Method: as many scheduled jobs
 * as are made ready together, three at most, one time; the most urgent is stored last. */
TEST(jobs_due_together_run_by_priority) {
    fixture f;
    trace *t;
    enum { N = JOBQ__MIN(3, JOBQ__BATCH) };
    int64_t ids[N];
    REQUIRE(open_trace(&f, &t, STEP));
    for (int i = N - 1; i >= 0; i--)
        ids[i] = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 1000, .priority = 7 * i - 4});
    advance(f.q, 1000);
    REQUIRE_INT(t->n, N);
    for (int i = 0; i < N; i++) CHECK_INT(t->rows[i].id, ids[i]);
    close_trace(&f, t);
}

/* Goal: a scheduled job takes its place among those that are ready when its time has come.
 * Method: move the clock past its time without running anything, then drain. */
TEST(scheduled_job_is_ordered_when_due) {
    fixture f;
    trace *t;
    int64_t ids[4];
    REQUIRE(open_trace(&f, &t, STEP));
    ids[2] = put_urgent(f.q, 5);
    ids[0] = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 1000, .priority = 1});
    ids[3] = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 500, .priority = 5});
    ids[1] = put_urgent(f.q, 4);
    jobq_clock_advance(f.clock, 1000);
    check_order(f.q, t, ids, 4);
    close_trace(&f, t);
}

/* Goal: many jobs that are overdue at once all run, in their order. Method: 700 scheduled
 * jobs, more than one transaction promotes, the clock moved past them all. */
TEST(many_overdue_jobs_all_run) {
    enum { N = 700 };
    static int64_t ids[N];
    fixture f;
    trace *t;
    REQUIRE(open_trace(&f, &t, (jobq_options){.workers = JOBQ_NONE,
                                              .durability = JOBQ_RELAXED}));
    for (int i = 0; i < N; i++)
        ids[i] = put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = T0 + 1 + i});
    jobq_clock_advance(f.clock, JOBQ_HOUR);
    check_order(f.q, t, ids, N);
    close_trace(&f, t);
}

/* ---- Several queues ---- */

/* Goal: queues with ready jobs take turns, so that a long one does not starve a short one.
 * Method: 20 jobs in one queue, then 3 in each of two others: those are done within 10 runs. */
TEST(queues_take_turns) {
    fixture f;
    trace *t;
    int64_t late[6], ahead = 0;
    REQUIRE(open_trace(&f, &t, STEP));
    for (int i = 0; i < 20; i++) put_job(f.q, (jobq_job){.kind = "k", .queue = "long"});
    for (int i = 0; i < 3; i++) {
        late[2 * i] = put_job(f.q, (jobq_job){.kind = "k", .queue = "b"});
        late[2 * i + 1] = put_job(f.q, (jobq_job){.kind = "k", .queue = "c"});
    }
    CHECK_INT(drain(f.q), 26);
    REQUIRE_INT(t->n, 26);
    for (int i = 0; i < 10; i++)
        for (int j = 0; j < 6; j++) ahead += t->rows[i].id == late[j];
    CHECK_INT(ahead, 6);
    close_trace(&f, t);
}

/* Goal: each queue keeps its own order while they take turns. Method: two queues with mixed
 * priorities; pick each queue's runs out of the trace. */
TEST(each_queue_keeps_its_order) {
    static const int priorities[] = {2, 0, 1, 0};
    static const size_t order[] = {1, 3, 2, 0};
    static const char *const queues[] = {"a", "b"};
    fixture f;
    trace *t;
    int64_t ids[2][4];
    REQUIRE(open_trace(&f, &t, STEP));
    for (int i = 0; i < 4; i++)
        for (int w = 0; w < 2; w++)
            ids[w][i] = put_job(f.q, (jobq_job){.kind = "k", .queue = queues[w],
                                                .priority = priorities[i]});
    CHECK_INT(drain(f.q), 8);
    for (int w = 0; w < 2; w++) {
        size_t place = 0;
        for (size_t i = 0; i < t->n; i++) {
            bool mine = false;
            for (int j = 0; j < 4; j++) mine = mine || t->rows[i].id == ids[w][j];
            if (mine && place < 4) CHECK_INT(t->rows[i].id, ids[w][order[place++]]);
        }
        CHECK_INT(place, 4);
    }
    close_trace(&f, t);
}

/* Goal: queues do not weigh against each other by priority: a queue of lesser jobs still has
 * its turns. Method: ten urgent jobs in one, one lesser job in another. */
TEST(urgent_queue_does_not_starve_another) {
    fixture f;
    trace *t;
    int64_t lesser, at = -1;
    REQUIRE(open_trace(&f, &t, STEP));
    for (int i = 0; i < 10; i++)
        put_job(f.q, (jobq_job){.kind = "k", .queue = "urgent", .priority = -9});
    lesser = put_job(f.q, (jobq_job){.kind = "k", .queue = "lesser", .priority = 9});
    CHECK_INT(drain(f.q), 11);
    for (size_t i = 0; i < t->n; i++)
        if (t->rows[i].id == lesser) at = (int64_t)i;
    CHECK(at >= 0 && at <= 1);
    close_trace(&f, t);
}

/* ---- Parked kinds ---- */

/* Goal: jobs of a kind without a handler are parked and hinder nobody, even when they are the
 * most urgent. Method: 300 of them in front of one job. */
TEST(parked_jobs_do_not_block) {
    fixture f;
    trace *t;
    jobq_job jobs[300];
    jobq_stored r[300];
    int64_t id;
    REQUIRE(open_trace(&f, &t, STEP));
    for (int i = 0; i < 300; i++) jobs[i] = (jobq_job){.kind = "nobody", .priority = -5};
    WORKS(jobq_enqueue_many(f.q, jobs, 300, r, &err));
    id = put(f.q, "k");
    check_order(f.q, t, &id, 1);
    CHECK_INT(count_all(f.q).parked, 300);
    CHECK(look(f.q, r[0].id).parked);
    CHECK_INT(state_of(f.q, r[0].id), JOBQ_STATE_PENDING);
    CHECK_INT(look(f.q, r[0].id).runs, 0);
    close_trace(&f, t);
}

/* Goal: registering the kind makes its parked jobs ready, in their order. Method: 50 of them,
 * with priorities that go backwards. */
TEST(parked_jobs_run_after_register) {
    enum { N = 50 };
    fixture f;
    trace *t;
    int64_t ids[N];
    REQUIRE(open_trace(&f, &t, STEP));
    for (int i = 0; i < N; i++)
        ids[N - 1 - i] = put_job(f.q, (jobq_job){.kind = "late", .priority = N - i});
    CHECK_INT(count_all(f.q).parked, N);
    CHECK_INT(drain(f.q), 0);
    handle(f.q, "late", record, t);
    CHECK_INT(count_all(f.q).parked, 0);
    CHECK(!look(f.q, ids[0]).parked);
    CHECK_INT(look(f.q, ids[0]).attempt, 1);
    check_order(f.q, t, ids, N);
    close_trace(&f, t);
}

/* Goal: however many were parked, all of them run after register. Method: 1500, more than one
 * slice in which an engine may move them. */
TEST(many_parked_jobs_run_after_register) {
    enum { N = 1500 };
    fixture f;
    trace *t;
    REQUIRE(open_trace(&f, &t, (jobq_options){.workers = JOBQ_NONE,
                                              .durability = JOBQ_RELAXED}));
    put_many(f.q, &(jobq_job){.kind = "late"}, N);
    CHECK_INT(drain(f.q), 0);
    handle(f.q, "late", record, t);
    CHECK_INT(drain(f.q), N);
    CHECK_INT(count_all(f.q).done, N);
    CHECK_INT(t->n, N);
    close_trace(&f, t);
}

/* Goal: jobs stored while another program's owner had the handler run with this one's.
 * Method: enqueue and close, reopen, register the kind only then. */
TEST(parked_after_reopening) {
    fixture f;
    trace *t;
    int64_t id;
    REQUIRE(open_trace(&f, &t, STEP));
    id = put(f.q, "k");
    REQUIRE(fixture_reopen(&f));
    CHECK_INT(drain(f.q), 0);
    CHECK(look(f.q, id).parked);
    handle(f.q, "k", record, t);
    CHECK(!look(f.q, id).parked);
    check_order(f.q, t, &id, 1);
    close_trace(&f, t);
}

/* Goal: a scheduled job whose kind has no handler is parked when its time has come and runs
 * after register. Method: advance past its time, register, drain. */
TEST(scheduled_job_of_a_parked_kind) {
    fixture f;
    trace *t;
    int64_t id;
    REQUIRE(open_trace(&f, &t, STEP));
    id = put_job(f.q, (jobq_job){.kind = "late", .delay_ms = 1000});
    advance(f.q, 5000);
    CHECK(look(f.q, id).parked);
    CHECK_INT(t->n, 0);
    handle(f.q, "late", record, t);
    check_order(f.q, t, &id, 1);
    close_trace(&f, t);
}

/* Goal: a pool runs parked jobs as soon as their kind is registered. Method: register while
 * the pool stands idle, wait. */
TEST(pool_runs_parked_jobs_after_register) {
    fixture f;
    int64_t ids[20];
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2}));
    start(f.q);
    for (int i = 0; i < 20; i++) ids[i] = put(f.q, "late");
    CHECK_INT(count_all(f.q).parked, 20);
    handle(f.q, "late", do_nothing, NULL);
    for (int i = 0; i < 20; i++) CHECK_INT(finish(f.q, ids[i]).state, JOBQ_STATE_DONE);
    fixture_close(&f);
}

/* ---- With a pool ---- */

enum { BACKLOG = 1000 };

/* Queues a thousand lesser jobs in one batch. */
static void put_backlog(jobq *q) {
    put_many(q, &(jobq_job){.kind = "k", .priority = 10}, BACKLOG);
}

/* One worker of the pool stands at the gate. */
static bool open_trace_at_gate(fixture *f, trace **t, gate *g, jobq_options options) {
    if (!open_trace(f, t, options)) return false;
    start_with_one_at(g, f->q, "gate");
    return true;
}

static void close_trace_at_gate(fixture *f, trace *t, gate *g) {
    close_trace(f, t);
    gate_free(g);
}

/* Where in the trace a job stands, or -1. */
static int64_t place_of(trace *t, int64_t id) {
    int64_t place = -1;
    pthread_mutex_lock(&t->mutex);
    for (size_t i = 0; place < 0 && i < t->n; i++)
        if (t->rows[i].id == id) place = (int64_t)i;
    pthread_mutex_unlock(&t->mutex);
    return place;
}

/* Goal: with one worker an urgent job starts next, whatever has been prefetched. Method: the
 * worker stands at a gate, a thousand lesser jobs are queued, then the urgent one. */
TEST(urgent_job_starts_next_with_one_worker) {
    fixture f;
    trace *t;
    gate g;
    int64_t urgent;
    REQUIRE(open_trace_at_gate(&f, &t, &g, (jobq_options){.workers = 1}));
    put_backlog(f.q);
    urgent = put_urgent(f.q, 1);
    gate_open(&g);
    finish(f.q, urgent);
    CHECK_INT(place_of(t, urgent), 0);
    while (count_all(f.q).done < BACKLOG + 2) sched_yield();
    CHECK_INT(trace_count(t), BACKLOG + 1);
    close_trace_at_gate(&f, t, &g);
}

/* Goal: the same for a job that becomes due by the clock. Method: as before, but the urgent
 * job is scheduled and its time comes while the worker stands at the gate. */
TEST(due_job_starts_next_with_one_worker) {
    fixture f;
    trace *t;
    gate g;
    int64_t urgent;
    REQUIRE(open_trace_at_gate(&f, &t, &g, (jobq_options){.workers = 1}));
    urgent = put_job(f.q, (jobq_job){.kind = "k", .priority = 1, .delay_ms = 10});
    put_backlog(f.q);
    jobq_clock_advance(f.clock, 10);
    put_urgent(f.q, 11); /* a commit, which promotes what is due */
    gate_open(&g);
    finish(f.q, urgent);
    CHECK(place_of(t, urgent) >= 0 && place_of(t, urgent) <= 1);
    close_trace_at_gate(&f, t, &g);
}

/* A gate through which handlers are let one at a time, so that starts come one after another
 * even with several workers, and the trace is the order of the starts. */
struct turnstile {
    trace *t;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    int entered, permits;
};

static jobq_outcome pass_turnstile(jobq_run *run, void *ctx) {
    struct turnstile *s = (struct turnstile *)ctx;
    pthread_mutex_lock(&s->mutex);
    record(run, s->t);
    s->entered++;
    pthread_cond_broadcast(&s->changed);
    while (s->permits == 0) pthread_cond_wait(&s->changed, &s->mutex);
    s->permits--;
    pthread_mutex_unlock(&s->mutex);
    return JOBQ_DONE;
}

/* Lets so many handlers go on, and waits until so many have come, ever. */
static void turn(struct turnstile *s, int permits, int entered) {
    pthread_mutex_lock(&s->mutex);
    s->permits += permits;
    pthread_cond_broadcast(&s->changed);
    while (s->entered < entered) pthread_cond_wait(&s->changed, &s->mutex);
    pthread_mutex_unlock(&s->mutex);
}

/* Goal: with W workers at most W-1 later jobs are started before an urgent one, counted from
 * the return of its enqueue. Method: two workers stand inside a turnstile, a thousand lesser
 * jobs are queued, then ten urgent ones; the handlers are let go one at a time. */
TEST(urgent_jobs_are_overtaken_by_one_at_most) {
    enum { URGENT = 10 };
    struct turnstile s = {NULL, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    fixture f;
    int64_t urgent[URGENT];
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2, .durability = JOBQ_RELAXED}));
    s.t = trace_new(f.clock);
    handle(f.q, "k", pass_turnstile, &s);
    start(f.q);
    put_urgent(f.q, 0);
    put_urgent(f.q, 0);
    turn(&s, 0, 2);
    put_backlog(f.q);
    for (int i = 0; i < URGENT; i++) urgent[i] = put_urgent(f.q, 1);
    for (int i = 1; i <= URGENT + 2; i++) turn(&s, 1, 2 + i);
    for (int i = 0; i < URGENT; i++) {
        int64_t place = place_of(s.t, urgent[i]) - 2;
        CHECK(place >= 0 && place <= i + 1);
    }
    turn(&s, BACKLOG + URGENT + 2, 0);
    while (count_all(f.q).done < BACKLOG + URGENT + 2) sched_yield();
    fixture_close(&f);
    trace_free(s.t);
}

/* Goal: with one worker the order of a pool is exact too. Method: random priorities queued
 * behind a gate, against a sort. */
TEST(one_worker_keeps_the_order) {
    enum { N = 400 };
    static struct model_job jobs[N];
    uint64_t random = test_seed();
    fixture f;
    trace *t;
    gate g;
    REQUIRE(open_trace_at_gate(&f, &t, &g, (jobq_options){.workers = 1,
                                                          .durability = JOBQ_RELAXED}));
    for (int i = 0; i < N; i++) {
        jobs[i].priority = (int)(test_random(&random) % 9) - 4;
        jobs[i].run_at = T0;
        jobs[i].id = put_urgent(f.q, jobs[i].priority);
    }
    gate_open(&g);
    for (int i = 0; i < N; i++) finish(f.q, jobs[i].id);
    qsort(jobs, N, sizeof jobs[0], compare_jobs);
    REQUIRE_INT(trace_count(t), N);
    for (int i = 0; i < N; i++) CHECK_INT(t->rows[i].id, jobs[i].id);
    close_trace_at_gate(&f, t, &g);
}

/* Goal: a job that is queued while a worker is busy is started by another one, not kept for
 * the busy one. Method: of two workers one stands at the gate, 50 jobs finish meanwhile. */
TEST(busy_worker_keeps_no_job_back) {
    fixture f;
    trace *t;
    gate g;
    int64_t ids[50], held;
    REQUIRE(open_trace(&f, &t, (jobq_options){.workers = 2}));
    held = start_with_one_at(&g, f.q, "gate");
    for (int i = 0; i < 50; i++) ids[i] = put(f.q, "k");
    for (int i = 0; i < 50; i++) CHECK_INT(finish(f.q, ids[i]).state, JOBQ_STATE_DONE);
    CHECK_INT(state_of(f.q, held), JOBQ_STATE_RUNNING);
    gate_open(&g);
    CHECK_INT(finish(f.q, held).state, JOBQ_STATE_DONE);
    close_trace_at_gate(&f, t, &g);
}

/* ---- After a crash ---- */

struct suspicion {
    int64_t ids[2];
    int shorts;     /* runs of the short one */
    int seen[2];    /* of those, before the checkpoint and after it */
};

static jobq_outcome run_short(jobq_run *run, void *ctx) {
    (void)run;
    __atomic_add_fetch(&((struct suspicion *)ctx)->shorts, 1, __ATOMIC_SEQ_CST);
    return JOBQ_DONE;
}

static jobq_outcome run_long(jobq_run *run, void *ctx) {
    struct suspicion *s = (struct suspicion *)ctx;
    CHECK_INT(jobq_run_crashes(run), 1);
    jobq_run_sleep(run, JOBQ_MINUTE);
    s->seen[0] = __atomic_load_n(&s->shorts, __ATOMIC_SEQ_CST);
    CHECK_CODE(jobq_checkpoint(run, "half", 4, NULL), JOBQ_OK);
    CHECK_STR(jobq_run_info(run)->queue, "side");
    jobq_run_sleep(run, JOBQ_MINUTE);
    s->seen[1] = __atomic_load_n(&s->shorts, __ATOMIC_SEQ_CST);
    return JOBQ_DONE;
}

/* Goal: a job that has met a crash waits for another such one, and says so, but not for one whose
 * checkpoint has forgiven its crashes. Method: two of them, marked in the file; the first saves a
 * checkpoint between two sleeps and goes on, with an idle worker beside it. */
TEST(checkpoint_lets_the_next_suspect_run) {
    struct suspicion s;
    jobq_error told = {.code = 0};
    fixture f;
    memset(&s, 0, sizeof s);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 3}));
    s.ids[0] = put_job(f.q, (jobq_job){.kind = "long", .queue = "side", .priority = -1});
    s.ids[1] = put(f.q, "short");
    CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
    sql_run(f.path, "UPDATE jobq_row SET runs = 1, crashes = 1, lane = 1");
    WORKS(jobq_open(f.path, &f.options, &f.q, &err));
    REQUIRE(f.q != NULL);
    handle(f.q, "long", run_long, &s);
    handle(f.q, "short", run_short, &s);
    start(f.q);
    advance(f.q, JOBQ_MINUTE - 1);
    CHECK_CODE(jobq_wait(f.q, s.ids[1], 0, NULL, &told), JOBQ_TIMEOUT);
    if (!CHECK(strstr(told.text, "have met a crash run one at a time") != NULL))
        test_note("%s", told.text);
    advance(f.q, JOBQ_HOUR);
    CHECK_INT(s.seen[0], 0);
    CHECK_INT(s.seen[1], 1);
    CHECK_INT(count_all(f.q).done, 2);
    CHECK_INT(look(f.q, s.ids[0]).crashes, 0);
    fixture_close(&f);
}

TEST_MAIN(equal_jobs_run_in_order_of_id, lower_priority_numbers_run_first,
          earlier_times_run_first, priority_counts_before_time, random_jobs_run_in_order,
          urgent_job_overtakes, urgent_job_from_a_handler_overtakes,
          equal_job_from_a_handler_comes_last, jobs_run_at_their_time,
          jobs_due_together_run_by_priority, scheduled_job_is_ordered_when_due,
          many_overdue_jobs_all_run, queues_take_turns, each_queue_keeps_its_order,
          urgent_queue_does_not_starve_another, parked_jobs_do_not_block,
          parked_jobs_run_after_register, many_parked_jobs_run_after_register,
          parked_after_reopening, scheduled_job_of_a_parked_kind,
          pool_runs_parked_jobs_after_register, urgent_job_starts_next_with_one_worker,
          due_job_starts_next_with_one_worker, urgent_jobs_are_overtaken_by_one_at_most,
          one_worker_keeps_the_order, busy_worker_keeps_no_job_back,
          checkpoint_lets_the_next_suspect_run)
