/* change.c - cancel, retry now, delete, wait: in every state of a job, with the codes of
 * what is not allowed.
 *
 * Handlers in step mode change their own job while it runs; a pool is used where another
 * thread has to. A stop flag is awaited with jobq_run_sleep, never by time. */
#include "helpers.h"

#include <sched.h>

/* A queue with one job in every state but running. */
struct zoo {
    fixture f;
    int64_t ready, scheduled, waiting, parked, done, failed, cancelled;
};

static bool zoo_open(struct zoo *z) {
    if (!fixture_open(&z->f, STEP)) return false;
    handle(z->f.q, "done", do_nothing, NULL);
    handle(z->f.q, "fail", fail_always, NULL);
    handle(z->f.q, "retry", retry_always, NULL);
    z->done = put(z->f.q, "done");
    z->failed = put(z->f.q, "fail");
    z->waiting = put(z->f.q, "retry");
    CHECK_INT(drain(z->f.q), 3);
    z->cancelled = put(z->f.q, "done");
    WORKS(jobq_cancel(z->f.q, z->cancelled, &err));
    z->ready = put(z->f.q, "done");
    z->scheduled = put_job(z->f.q, (jobq_job){.kind = "done", .delay_ms = JOBQ_HOUR});
    z->parked = put(z->f.q, "nobody");
    return true;
}

/* ---- Cancel ---- */

static void check_cancelled(jobq *q, int64_t id) {
    jobq_info info;
    WORKS(jobq_cancel(q, id, &err));
    info = look(q, id);
    CHECK_INT(info.state, JOBQ_STATE_CANCELLED);
    CHECK_INT(info.finished_at_ms, T0);
    CHECK(!info.parked && !info.scheduled);
}

/* Goal: whatever is pending is cancelled at once and never runs. Method: ready, scheduled,
 * waiting for a retry, parked; then a day passes and the kind is registered. */
TEST(cancel_pending_jobs) {
    struct zoo z;
    REQUIRE(zoo_open(&z));
    check_cancelled(z.f.q, z.ready);
    check_cancelled(z.f.q, z.scheduled);
    check_cancelled(z.f.q, z.waiting);
    check_cancelled(z.f.q, z.parked);
    CHECK_INT(count_all(z.f.q).cancelled, 5);
    handle(z.f.q, "nobody", do_nothing, NULL);
    advance(z.f.q, 2 * JOBQ_HOUR);
    CHECK_INT(drain(z.f.q), 0);
    CHECK_INT(count_all(z.f.q).cancelled, 5);
    CHECK_INT(look(z.f.q, z.ready).runs, 0);
    fixture_close(&z.f);
}

/* Goal: what is terminal cannot be cancelled, and stays what it was. Method: done, failed, and
 * cancelled twice. */
TEST(cancel_terminal_jobs_is_refused) {
    struct zoo z;
    REQUIRE(zoo_open(&z));
    FAILS(JOBQ_BAD_STATE, jobq_cancel(z.f.q, z.done, &err));
    FAILS(JOBQ_BAD_STATE, jobq_cancel(z.f.q, z.failed, &err));
    FAILS(JOBQ_BAD_STATE, jobq_cancel(z.f.q, z.cancelled, &err));
    CHECK_INT(state_of(z.f.q, z.done), JOBQ_STATE_DONE);
    CHECK_INT(state_of(z.f.q, z.failed), JOBQ_STATE_FAILED);
    CHECK_INT(state_of(z.f.q, z.cancelled), JOBQ_STATE_CANCELLED);
    fixture_close(&z.f);
}

struct own_cancel {
    jobq_outcome outcome;
    bool before, after;
    int codes[2];
};

static jobq_outcome cancel_itself(jobq_run *run, void *ctx) {
    struct own_cancel *c = (struct own_cancel *)ctx;
    jobq *q = jobq_run_handle(run);
    c->before = jobq_should_stop(run);
    c->codes[0] = jobq_cancel(q, jobq_run_id(run), NULL);
    c->after = jobq_should_stop(run);
    c->codes[1] = jobq_cancel(q, jobq_run_id(run), NULL); /* not terminal yet: allowed */
    CHECK_INT(state_of(q, jobq_run_id(run)), JOBQ_STATE_RUNNING);
    return c->outcome;
}

/* Goal: cancel of a running job raises its stop flag; done and failed stand, everything else
 * becomes cancelled. Method: a handler cancels its own job and returns each outcome. */
TEST(cancel_running_job_and_each_outcome) {
    static const struct {
        jobq_outcome outcome;
        jobq_state state;
    } cases[] = {{JOBQ_DONE, JOBQ_STATE_DONE},
                 {JOBQ_FAIL, JOBQ_STATE_FAILED},
                 {JOBQ_RETRY, JOBQ_STATE_CANCELLED},
                 {JOBQ_RESCHEDULE, JOBQ_STATE_CANCELLED},
                 {JOBQ_SNOOZE, JOBQ_STATE_CANCELLED},
                 {JOBQ_CANCELLED, JOBQ_STATE_CANCELLED}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct own_cancel c = {cases[i].outcome, true, false, {1, 1}};
        fixture f;
        int64_t id;
        REQUIRE(fixture_open_job(&f, (jobq_kind){.run = cancel_itself, .ctx = &c}, &id));
        CHECK_INT(drain(f.q), 1);
        CHECK(!c.before);
        CHECK(c.after);
        CHECK_CODE(c.codes[0], JOBQ_OK);
        CHECK_CODE(c.codes[1], JOBQ_OK);
        if (!CHECK_INT(state_of(f.q, id), cases[i].state)) test_note("case %d", (int)i);
        fixture_remove(&f);
    }
}

struct sleeper {
    gate g;
    jobq_outcome outcome;
    bool told;
};

/* Comes to the gate, which is open, and then waits for its stop flag. */
static jobq_outcome sleep_until_stopped(jobq_run *run, void *ctx) {
    struct sleeper *s = (struct sleeper *)ctx;
    gate_pass(&s->g);
    s->told = jobq_run_sleep(run, JOBQ_DAY) && jobq_should_stop(run);
    return s->outcome;
}

static void sleeper_init(struct sleeper *s, jobq_outcome outcome) {
    memset(s, 0, sizeof *s);
    gate_init(&s->g);
    gate_open(&s->g);
    s->outcome = outcome;
}

/* Goal: the same from another thread: the handler sees the flag and ends its sleep. Method: a
 * pool of one; retry becomes cancelled, done stays done. */
TEST(cancel_reaches_a_sleeping_handler) {
    static const jobq_outcome outcomes[] = {JOBQ_RETRY, JOBQ_DONE};
    static const jobq_state states[] = {JOBQ_STATE_CANCELLED, JOBQ_STATE_DONE};
    for (int i = 0; i < 2; i++) {
        struct sleeper s;
        fixture f;
        int64_t id;
        sleeper_init(&s, outcomes[i]);
        REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
        handle(f.q, "k", sleep_until_stopped, &s);
        start(f.q);
        id = put(f.q, "k");
        gate_await(&s.g, 1);
        WORKS(jobq_cancel(f.q, id, &err));
        CHECK_INT(finish(f.q, id).state, states[i]);
        CHECK(s.told);
        CHECK_INT(fixture_elapsed(&f), 0);
        fixture_remove(&f);
        gate_free(&s.g);
    }
}

enum { BACKLOG = 50 };

/* Jobs that a pool has prefetched, behind its only worker, which stands at a gate. */
struct backlog {
    fixture f;
    trace *t;
    gate g;
    int64_t held, ids[BACKLOG];
};

static bool backlog_open(struct backlog *b) {
    if (!fixture_open(&b->f, (jobq_options){.workers = 1})) return false;
    b->t = trace_new(b->f.clock);
    handle(b->f.q, "k", record, b->t);
    b->held = start_with_one_at(&b->g, b->f.q, "gate");
    for (int i = 0; i < BACKLOG; i++) b->ids[i] = put(b->f.q, "k");
    return true;
}

/* None of them is to have run when the worker has gone on, and the next one runs. */
static void backlog_end(struct backlog *b) {
    gate_open(&b->g);
    finish(b->f.q, b->held);
    CHECK_INT(finish(b->f.q, put(b->f.q, "k")).state, JOBQ_STATE_DONE);
    CHECK_INT(trace_count(b->t), 1);
    fixture_close(&b->f);
    gate_free(&b->g);
    trace_free(b->t);
}

/* Goal: jobs that a pool has prefetched are pending and can be cancelled. Method: all of a backlog
 * are; none of them runs. */
TEST(cancel_prefetched_jobs) {
    struct backlog b;
    REQUIRE(backlog_open(&b));
    for (int i = 0; i < BACKLOG; i++) {
        CHECK_INT(state_of(b.f.q, b.ids[i]), JOBQ_STATE_PENDING);
        WORKS(jobq_cancel(b.f.q, b.ids[i], &err));
        CHECK_INT(state_of(b.f.q, b.ids[i]), JOBQ_STATE_CANCELLED);
    }
    backlog_end(&b);
}

/* ---- Retry now ---- */

/* Goal: failed, cancelled and scheduled jobs become due at once as attempt 1. Method: one of
 * each; a job between two attempts counts as scheduled. */
TEST(retry_now_makes_due) {
    struct zoo z;
    int64_t ids[4];
    REQUIRE(zoo_open(&z));
    ids[0] = z.failed;
    ids[1] = z.cancelled;
    ids[2] = z.scheduled;
    ids[3] = z.waiting;
    for (int i = 0; i < 4; i++) {
        jobq_info info;
        WORKS(jobq_retry_now(z.f.q, ids[i], &err));
        info = look(z.f.q, ids[i]);
        CHECK_INT(info.state, JOBQ_STATE_PENDING);
        CHECK(!info.scheduled);
        CHECK_INT(info.attempt, 1);
        CHECK_INT(info.crashes, 0);
        CHECK_INT(info.finished_at_ms, 0);
        CHECK(info.run_at_ms <= T0);
    }
    CHECK_INT(drain(z.f.q), 5); /* and the one that was ready */
    CHECK_INT(state_of(z.f.q, z.cancelled), JOBQ_STATE_DONE);
    CHECK_INT(state_of(z.f.q, z.scheduled), JOBQ_STATE_DONE);
    CHECK_INT(look(z.f.q, z.failed).runs, 2);
    CHECK_INT(look(z.f.q, z.waiting).attempt, 2);
    CHECK_INT(fixture_elapsed(&z.f), 0);
    fixture_close(&z.f);
}

/* Goal: done jobs and those that are due already are left alone. Method: both. */
TEST(retry_now_is_refused_for_done_and_due) {
    struct zoo z;
    REQUIRE(zoo_open(&z));
    FAILS(JOBQ_BAD_STATE, jobq_retry_now(z.f.q, z.done, &err));
    FAILS(JOBQ_BAD_STATE, jobq_retry_now(z.f.q, z.ready, &err));
    CHECK_INT(state_of(z.f.q, z.done), JOBQ_STATE_DONE);
    CHECK_INT(drain(z.f.q), 1);
    fixture_close(&z.f);
}

struct own_change {
    int (*call)(jobq *q, int64_t id, jobq_error *err);
    int code;
};

static jobq_outcome change_itself(jobq_run *run, void *ctx) {
    struct own_change *c = (struct own_change *)ctx;
    c->code = c->call(jobq_run_handle(run), jobq_run_id(run), NULL);
    return JOBQ_DONE;
}

/* Opens; a job whose handler calls this for itself is told that code, and is done all the same. */
static bool run_changing_itself(fixture *f, int (*call)(jobq *q, int64_t id, jobq_error *err),
                                int code, int64_t *id) {
    struct own_change c = {call, 1};
    if (!fixture_open_job(f, (jobq_kind){.run = change_itself, .ctx = &c}, id)) return false;
    CHECK_INT(drain(f->q), 1);
    CHECK_CODE(c.code, code);
    CHECK_INT(state_of(f->q, *id), JOBQ_STATE_DONE);
    return true;
}

/* Goal: a running job cannot be made to run. Method: its own handler tries. */
TEST(retry_now_is_refused_for_running) {
    fixture f;
    int64_t id;
    REQUIRE(run_changing_itself(&f, jobq_retry_now, JOBQ_BAD_STATE, &id));
    fixture_close(&f);
}

/* A job with the key "x", which has failed. */
static bool open_with_failed_key(fixture *f, int64_t *id) {
    if (!fixture_open(f, STEP)) return false;
    handle(f->q, "k", fail_always, NULL);
    *id = put_job(f->q, (jobq_job){.kind = "k", .key = "x"});
    return CHECK_INT(drain(f->q), 1);
}

/* Goal: if the key was taken meanwhile nothing happens and it is said so. Method: a failed job
 * with a key, another job with the same; then that one goes. */
TEST(retry_now_with_a_taken_key) {
    fixture f;
    jobq_error told = {.code = 0};
    int64_t first, second;
    REQUIRE(open_with_failed_key(&f, &first));
    second = put_job(f.q, (jobq_job){.kind = "k", .key = "x", .delay_ms = JOBQ_HOUR});
    FAILS(JOBQ_EXISTS, jobq_retry_now(f.q, first, &err));
    CHECK_CODE(jobq_retry_now(f.q, first, &told), JOBQ_EXISTS);
    CHECK_INT(told.id, second);
    CHECK_INT(state_of(f.q, first), JOBQ_STATE_FAILED);
    CHECK_INT(drain(f.q), 0);
    WORKS(jobq_delete(f.q, second, &err));
    WORKS(jobq_retry_now(f.q, first, &err));
    CHECK_INT(state_of(f.q, first), JOBQ_STATE_PENDING);
    CHECK_STR(look(f.q, first).key, "x");
    fixture_close(&f);
}

/* Goal: a job that was brought back holds its key again. Method: enqueue the same key. */
TEST(retry_now_takes_the_key_back) {
    fixture f;
    int64_t first, id = 0;
    REQUIRE(open_with_failed_key(&f, &first));
    WORKS(jobq_retry_now(f.q, first, &err));
    CHECK_CODE(jobq_enqueue(f.q, &(jobq_job){.kind = "k", .key = "x"}, &id, NULL), JOBQ_OK);
    CHECK_INT(id, first);
    CHECK_INT(drain(f.q), 1);
    CHECK_CODE(jobq_enqueue(f.q, &(jobq_job){.kind = "k", .key = "x"}, &id, NULL), JOBQ_OK);
    CHECK(id > first);
    fixture_close(&f);
}

/* Goal: the attempts start anew: a job that was exhausted has all of them again. Method: two
 * attempts, failed; retry now; two more. */
TEST(retry_now_gives_all_attempts_again) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = retry_always, .attempts_max = 2}, &id));
    for (int i = 1; i <= 2; i++) {
        CHECK_INT(drain(f.q), 1);
        advance(f.q, JOBQ_MINUTE);
        CHECK_INT(state_of(f.q, id), JOBQ_STATE_FAILED);
        CHECK_INT(look(f.q, id).runs, 2 * i);
        if (i == 1) WORKS(jobq_retry_now(f.q, id, &err));
    }
    fixture_close(&f);
}

/* Goal: a pool runs at once what was brought back. Method: a job of tomorrow, waited for. */
TEST(retry_now_wakes_the_pool) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2}));
    handle(f.q, "k", do_nothing, NULL);
    start(f.q);
    id = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = JOBQ_DAY});
    WORKS(jobq_retry_now(f.q, id, &err));
    CHECK_INT(finish(f.q, id).state, JOBQ_STATE_DONE);
    fixture_close(&f);
}

/* ---- Delete ---- */

/* Goal: a job in any state but running is forgotten, and the rest stays. Method: each of the
 * zoo, one after another; each is not found afterwards. */
TEST(delete_in_every_state) {
    struct zoo z;
    int64_t ids[7];
    REQUIRE(zoo_open(&z));
    ids[0] = z.ready;
    ids[1] = z.parked;
    ids[2] = z.done;
    ids[3] = z.failed;
    ids[4] = z.cancelled;
    ids[5] = z.scheduled;
    ids[6] = z.waiting;
    for (int i = 0; i < 7; i++) {
        CHECK_INT(total(z.f.q), 7 - i);
        WORKS(jobq_delete(z.f.q, ids[i], &err));
        CHECK_INT(state_of(z.f.q, ids[i]), JOBQ_STATE_NONE);
        FAILS(JOBQ_NOT_FOUND, jobq_delete(z.f.q, ids[i], &err));
    }
    CHECK_INT(total(z.f.q), 0);
    advance(z.f.q, JOBQ_DAY);
    CHECK_INT(drain(z.f.q), 0);
    fixture_close(&z.f);
}

/* Goal: a running job is not deleted from under its handler. Method: its own handler tries;
 * afterwards it can be. */
TEST(delete_running_is_busy) {
    fixture f;
    int64_t id;
    REQUIRE(run_changing_itself(&f, jobq_delete, JOBQ_BUSY, &id));
    WORKS(jobq_delete(f.q, id, &err));
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_NONE);
    fixture_close(&f);
}

/* Goal: prefetched jobs can be deleted and do not run. Method: as for cancel. */
TEST(delete_prefetched_jobs) {
    struct backlog b;
    REQUIRE(backlog_open(&b));
    FAILS(JOBQ_BUSY, jobq_delete(b.f.q, b.held, &err));
    for (int i = 0; i < BACKLOG; i++) WORKS(jobq_delete(b.f.q, b.ids[i], &err));
    CHECK_INT(total(b.f.q), 1);
    backlog_end(&b);
}

/* Goal: changes are durable. Method: cancel, retry now and delete, then reopen. */
TEST(changes_are_kept_over_reopening) {
    struct zoo z;
    REQUIRE(zoo_open(&z));
    WORKS(jobq_cancel(z.f.q, z.ready, &err));
    WORKS(jobq_retry_now(z.f.q, z.failed, &err));
    WORKS(jobq_delete(z.f.q, z.done, &err));
    REQUIRE(fixture_reopen(&z.f));
    CHECK_INT(state_of(z.f.q, z.ready), JOBQ_STATE_CANCELLED);
    CHECK_INT(state_of(z.f.q, z.failed), JOBQ_STATE_PENDING);
    CHECK_INT(look(z.f.q, z.failed).attempt, 1);
    CHECK_INT(state_of(z.f.q, z.done), JOBQ_STATE_NONE);
    CHECK_INT(total(z.f.q), 6);
    fixture_close(&z.f);
}

/* ---- Wait ---- */

static void check_wait(jobq *q, int64_t id, jobq_state state) {
    jobq_info info, now;
    memset(&info, 0, sizeof info);
    WORKS(jobq_wait(q, id, 0, &info, &err));
    CHECK_INT(info.id, id);
    CHECK_INT(info.state, state);
    now = look(q, id);
    CHECK_INT(info.attempt, now.attempt);
    CHECK_INT(info.finished_at_ms, now.finished_at_ms);
    CHECK_STR(info.kind, now.kind);
    WORKS(jobq_wait(q, id, JOBQ_NEVER, NULL, &err));
}

/* Goal: a job that is terminal is told at once, in step mode too. Method: one of each, with
 * no time to wait and with all of it. */
TEST(wait_for_terminal_jobs_returns_at_once) {
    struct zoo z;
    REQUIRE(zoo_open(&z));
    check_wait(z.f.q, z.done, JOBQ_STATE_DONE);
    check_wait(z.f.q, z.failed, JOBQ_STATE_FAILED);
    check_wait(z.f.q, z.cancelled, JOBQ_STATE_CANCELLED);
    fixture_close(&z.f);
}

/* Goal: with a timeout of 0 wait only looks. Method: jobs that are not terminal. */
TEST(wait_without_time_only_looks) {
    struct zoo z;
    REQUIRE(zoo_open(&z));
    FAILS(JOBQ_TIMEOUT, jobq_wait(z.f.q, z.ready, 0, NULL, &err));
    FAILS(JOBQ_TIMEOUT, jobq_wait(z.f.q, z.scheduled, 0, NULL, &err));
    FAILS(JOBQ_TIMEOUT, jobq_wait(z.f.q, z.parked, 0, NULL, &err));
    CHECK_INT(drain(z.f.q), 1);
    fixture_close(&z.f);
}

/* Goal: what is gone is not found. Method: deleted, and finished but not kept. */
TEST(wait_for_what_is_gone_is_not_found) {
    fixture f;
    int64_t deleted, dropped;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_done_ms = JOBQ_NONE}));
    handle(f.q, "k", do_nothing, NULL);
    deleted = put(f.q, "k");
    dropped = put(f.q, "k");
    WORKS(jobq_delete(f.q, deleted, &err));
    CHECK_INT(drain(f.q), 1);
    FAILS(JOBQ_NOT_FOUND, jobq_wait(f.q, deleted, JOBQ_NEVER, NULL, &err));
    FAILS(JOBQ_NOT_FOUND, jobq_wait(f.q, dropped, JOBQ_NEVER, NULL, &err));
    fixture_close(&f);
}

/* A thread that waits for a job; done is set when it returns. */
struct waiter {
    jobq *q;
    int64_t id, timeout_ms;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    bool done;
    int code;
    jobq_info info;
};

static void *wait_in_thread(void *arg) {
    struct waiter *w = (struct waiter *)arg;
    jobq_info info;
    int code;
    memset(&info, 0, sizeof info);
    code = jobq_wait(w->q, w->id, w->timeout_ms, &info, NULL);
    pthread_mutex_lock(&w->mutex);
    w->code = code;
    w->info = info;
    w->done = true;
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

static void waiter_begin(struct waiter *w, jobq *q, int64_t id, int64_t timeout_ms) {
    memset(w, 0, sizeof *w);
    pthread_mutex_init(&w->mutex, NULL);
    w->q = q;
    w->id = id;
    w->timeout_ms = timeout_ms;
    w->thread = thread_start(wait_in_thread, w);
}

/* Their timeouts show as wakes. */
static void await_waiters(jobq *q, int count) {
    while (jobq_wakes(q) < count) sched_yield();
}

static bool waiter_is_done(struct waiter *w) {
    bool done;
    pthread_mutex_lock(&w->mutex);
    done = w->done;
    pthread_mutex_unlock(&w->mutex);
    return done;
}

static void waiter_end(struct waiter *w) {
    pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->mutex);
}

/* Goal: the timeout is of the queue's clock: it ends when that has moved, and not before.
 * Method: a thread waits a minute for a parked job; this one advances by seconds until it has
 * returned, which takes at least sixty. */
TEST(wait_times_out_by_the_artificial_clock) {
    static const int workers[] = {1, JOBQ_NONE};
    for (int i = 0; i < 2; i++) {
        struct waiter w;
        fixture f;
        REQUIRE(fixture_open(&f, (jobq_options){.workers = workers[i]}));
        if (workers[i] == 1) start(f.q);
        waiter_begin(&w, f.q, put(f.q, "parked"), JOBQ_MINUTE);
        while (!waiter_is_done(&w)) {
            advance(f.q, JOBQ_SECOND);
            sched_yield();
        }
        waiter_end(&w);
        CHECK_CODE(w.code, JOBQ_TIMEOUT);
        CHECK(fixture_elapsed(&f) >= JOBQ_MINUTE);
        fixture_remove(&f);
    }
}

/* Goal: in step mode a thread waits while another one steps. Method: step once the waiter
 * is inside. */
TEST(wait_while_another_thread_steps) {
    struct waiter w;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_done_ms = JOBQ_NEVER}));
    handle(f.q, "k", do_nothing, NULL);
    waiter_begin(&w, f.q, put(f.q, "k"), JOBQ_DAY);
    await_waiters(f.q, 1);
    CHECK_INT(drain(f.q), 1);
    waiter_end(&w);
    CHECK_CODE(w.code, JOBQ_OK);
    CHECK_INT(w.info.state, JOBQ_STATE_DONE);
    CHECK_STR(w.info.kind, "k");
    CHECK_INT(fixture_elapsed(&f), 0);
    fixture_close(&f);
}

/* Goal: who waits for a job that is not kept is told its end: id, state, attempt and error.
 * Method: the waiter is inside before the job runs; it fails and is dropped. */
TEST(wait_for_a_job_that_is_not_kept) {
    struct waiter w;
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_failed_ms = JOBQ_NONE}));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = fail_always});
    id = put(f.q, "k");
    waiter_begin(&w, f.q, id, JOBQ_DAY);
    await_waiters(f.q, 1);
    CHECK_INT(drain(f.q), 1);
    waiter_end(&w);
    CHECK_CODE(w.code, JOBQ_OK);
    CHECK_INT(w.info.id, id);
    CHECK_INT(w.info.state, JOBQ_STATE_FAILED);
    CHECK_INT(w.info.attempt, 1);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_NONE);
    fixture_close(&f);
}

/* Goal: cancel and delete end a wait as well. Method: one waiter for each, inside before. */
TEST(wait_ends_with_cancel_and_delete) {
    struct waiter a, b;
    fixture f;
    int64_t cancelled, deleted;
    REQUIRE(fixture_open(&f, STEP));
    cancelled = put(f.q, "parked");
    deleted = put(f.q, "parked");
    waiter_begin(&a, f.q, cancelled, JOBQ_DAY);
    waiter_begin(&b, f.q, deleted, 2 * JOBQ_DAY);
    await_waiters(f.q, 2);
    WORKS(jobq_cancel(f.q, cancelled, &err));
    waiter_end(&a);
    CHECK_CODE(a.code, JOBQ_OK);
    CHECK_INT(a.info.state, JOBQ_STATE_CANCELLED);
    WORKS(jobq_delete(f.q, deleted, &err));
    waiter_end(&b);
    CHECK_CODE(b.code, JOBQ_NOT_FOUND);
    fixture_close(&f);
}

/* Goal: many threads may wait for one job and for different ones. Method: ten waiters on a
 * pool whose worker stands at a gate. */
TEST(many_threads_wait) {
    struct waiter w[10];
    fixture f;
    gate g;
    int64_t ids[5];
    gate_init(&g);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
    handle(f.q, "k", stand_at_gate, &g);
    start(f.q);
    for (int i = 0; i < 5; i++) ids[i] = put(f.q, "k");
    for (int i = 0; i < 10; i++) waiter_begin(&w[i], f.q, ids[i % 5], JOBQ_HOUR);
    await_waiters(f.q, 10);
    gate_open(&g);
    for (int i = 0; i < 10; i++) {
        waiter_end(&w[i]);
        CHECK_CODE(w[i].code, JOBQ_OK);
        CHECK_INT(w[i].info.id, ids[i % 5]);
        CHECK_INT(w[i].info.state, JOBQ_STATE_DONE);
    }
    fixture_close(&f);
    gate_free(&g);
}

TEST_MAIN(cancel_pending_jobs, cancel_terminal_jobs_is_refused,
          cancel_running_job_and_each_outcome, cancel_reaches_a_sleeping_handler,
          cancel_prefetched_jobs, retry_now_makes_due, retry_now_is_refused_for_done_and_due,
          retry_now_is_refused_for_running, retry_now_with_a_taken_key,
          retry_now_takes_the_key_back, retry_now_gives_all_attempts_again,
          retry_now_wakes_the_pool, delete_in_every_state, delete_running_is_busy,
          delete_prefetched_jobs, changes_are_kept_over_reopening,
          wait_for_terminal_jobs_returns_at_once, wait_without_time_only_looks,
          wait_for_what_is_gone_is_not_found, wait_times_out_by_the_artificial_clock,
          wait_while_another_thread_steps, wait_for_a_job_that_is_not_kept,
          wait_ends_with_cancel_and_delete, many_threads_wait)
