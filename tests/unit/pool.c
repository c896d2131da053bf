/* pool.c - stops, their rings on a full disk, and a scheduler that goes to tell events.
 *
 * A stop that comes to its end when another thread has ended it already, and started the pool anew,
 * has nothing to give back: what is claimed is the new pool's. On a full disk a stop gives back
 * slice by slice, and the order holds again once there is room. A scheduler that calls a callback
 * is away for as long as that likes, and leaves no outcome behind that counts on it. */
#include "helpers.h"
#include "unit.h"

static void *give_back_in_thread(void *arg) {
    WORKS(jobq__pool_give_back((jobq *)arg, INT64_MAX, JOBQ__END_US, &err));
    return NULL;
}

static bool somebody_asks(jobq *q) {
    bool asks;
    jobq__os_lock(&q->baton.mu);
    asks = q->baton.head != NULL;
    jobq__os_unlock(&q->baton.mu);
    return asks;
}

/* Goal: such a stop leaves at once, whatever the pool has claimed. Method: a pool whose one worker
 * stands in a handler, with jobs behind that; what is given back is claimed again each time, so who
 * waits for an end of it waits for ever. */
TEST(what_a_running_pool_has_claimed_is_its_own) {
    pthread_t stopper;
    fixture f;
    gate g;
    gate_init(&g);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
    handle(f.q, "k", stand_at_gate, &g);
    for (int i = 0; i < 3; i++) put(f.q, "k");
    start(f.q);
    gate_await(&g, 1);
    while (stats_of(f.q).claimed < 1) test_pause_ms(1);
    WORKS(jobq__pool_give_back(f.q, INT64_MAX, JOBQ__END_US, &err));
    CHECK(stats_of(f.q).claimed > 0);
    /* Beside a commit, whose end such a stop waits for. */
    UNTIL(jobq__baton_try(f.q));
    stopper = thread_start(give_back_in_thread, f.q);
    UNTIL(somebody_asks(f.q));
    jobq__baton_release(f.q);
    pthread_join(stopper, NULL);
    CHECK(stats_of(f.q).claimed > 0);
    CHECK(stats_of(f.q).started_now);
    gate_open(&g);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    CHECK_INT(stats_of(f.q).claimed, 0);
    fixture_close(&f);
    gate_free(&g);
}

enum { TOLD = 77 }; /* the id of the event that waits */

static struct {
    jobq *q;
    jobq_state state; /* of the job that has run */
    int told;
} seen;

static void look_and_quit(const jobq_event *event, void *ctx) {
    (void)ctx;
    if (event->id != TOLD) return;
    seen.told++;
    seen.state = state_of(seen.q, 1);
    jobq__os_lock(&seen.q->pool.mu);
    seen.q->pool.sched.quit = true;
    jobq__os_unlock(&seen.q->pool.mu);
}

/* This thread is all of the pool's. */
static void play_the_pool(jobq *q, bool plays) {
    struct jobq__pool *pool = &q->pool;
    jobq__os_lock(&pool->mu);
    pool->life.phase = plays ? JOBQ__RUNNING : JOBQ__STOPPED;
    pool->life.claiming = pool->sched.started = plays;
    pool->sched.quit = false;
    pool->crew.workers[0].state = plays ? JOBQ__WORKER_AWAKE : JOBQ__WORKER_ABSENT;
    jobq__os_unlock(&pool->mu);
}

/* A job is claimed and run, and its outcome handed in. */
static void run_by_hand(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    CHECK_CODE(jobq__commit_now(q), JOBQ_OK);
    jobq__os_lock(&pool->mu);
    CHECK(jobq__pool_run_one(&pool->crew.workers[0]));
    CHECK_INT(pool->outcomes.count, 1);
    pool->outcomes.since_us = INT64_MAX / 2; /* it is not overdue, and will not be */
    jobq__os_unlock(&pool->mu);
}

/* Goal: what was handed in a moment ago is committed before the scheduler goes to tell events: the
 * workers may all have begun long jobs by then. Method: the scheduler's own loop, on this thread,
 * with an outcome and an event; the callback looks at the job, and ends the loop. */
TEST(nothing_is_left_behind_by_who_goes_to_tell) {
    jobq_event event = {.id = TOLD, .kind = "k", .queue = "", .key = "", .message = ""};
    struct jobq__told told;
    fixture f;
    memset(&seen, 0, sizeof seen);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .on_event = look_and_quit}));
    seen.q = f.q;
    handle(f.q, "k", do_nothing, NULL);
    CHECK_INT(put(f.q, "k"), 1);
    play_the_pool(f.q, true);
    run_by_hand(f.q);
    jobq__event_make(&told, &event);
    CHECK(jobq__event_add(&f.q->events, &told, false) > 0);
    jobq__sched_main(f.q);
    CHECK_INT(seen.told, 1);
    CHECK_INT(seen.state, JOBQ_STATE_DONE);
    play_the_pool(f.q, false);
    fixture_close(&f);
}

static int ring_of(jobq *q) {
    int count;
    jobq__os_lock(&q->pool.mu);
    count = q->pool.ring.count;
    jobq__os_unlock(&q->pool.mu);
    return count;
}

/* True if the next transaction would keep the ring in order, which takes out of it whatever comes
 * later than a job that has to wait. With the baton. */
static bool keeps_order(jobq *q, bool claiming, int level) {
    bool claimed;
    jobq__os_lock(&q->pool.mu);
    claimed = q->pool.life.claiming;
    q->pool.life.claiming = claiming;
    jobq__os_unlock(&q->pool.mu);
    q->disk.level = level;
    q->disk.held = 0; /* so that a slice of a tight disk is one job */
    jobq__tx_reset(&q->tx);
    q->disk.level = JOBQ__DISK_ROOMY;
    jobq__os_lock(&q->pool.mu);
    q->pool.life.claiming = claimed;
    if (claimed) q->pool.ring.behind = false; /* it never was */
    jobq__os_unlock(&q->pool.mu);
    return q->tx.ordered;
}

/* Workers that stand at the gate, a ring behind them, and the baton. */
static bool stand_before_a_ring(fixture *f, gate *g) {
    gate_init(g);
    if (!fixture_open(f, (jobq_options){.workers = 4})) return false;
    handle(f->q, "k", stand_at_gate, g);
    for (int i = 0; i < 20; i++) put(f->q, "k");
    start(f->q);
    gate_await(g, 4);
    put(f->q, "k"); /* its commit fills the ring, and nobody takes out of it */
    UNTIL(ring_of(f->q) > 1);
    UNTIL(jobq__baton_try(f->q));
    return true;
}

static void end_of_a_stop(fixture *f, gate *g) {
    gate_open(g);
    WORKS(jobq_stop(f->q, JOBQ_NEVER, &err));
    fixture_close(f);
    gate_free(g);
}

/* Goal: a stop on a full disk gives back slice by slice: no transaction takes more out of the ring
 * than it may write. Method: a ring that is longer than a slice, with room and without. */
TEST(ring_of_a_stop_on_a_full_disk) {
    fixture f;
    gate g;
    REQUIRE(stand_before_a_ring(&f, &g));
    CHECK(keeps_order(f.q, true, JOBQ__DISK_ROOMY));
    CHECK(keeps_order(f.q, true, JOBQ__DISK_TIGHT));
    CHECK(keeps_order(f.q, false, JOBQ__DISK_ROOMY));
    CHECK(!keeps_order(f.q, false, JOBQ__DISK_TIGHT));
    jobq__tx_reset(&f.q->tx);
    jobq__baton_release(f.q);
    end_of_a_stop(&f, &g);
}

/* The same behind a stop that has not given it back, on a disk where it is longer than a slice. */
static bool stand_behind_a_stop(fixture *f, gate *g) {
    if (!stand_before_a_ring(f, g)) return false;
    CHECK(!keeps_order(f->q, false, JOBQ__DISK_TIGHT));
    f->q->disk.level = JOBQ__DISK_TIGHT;
    jobq__os_lock(&f->q->pool.mu);
    f->q->pool.life.claiming = false;
    jobq__os_unlock(&f->q->pool.mu);
    jobq__tx_reset(&f->q->tx);
    return true;
}

/* Goal: a job that is stored because there is room again starts in its order, too. Method: an
 * urgent one, behind such a stop. */
TEST(room_again_within_a_transaction) {
    fixture f;
    gate g;
    REQUIRE(stand_behind_a_stop(&f, &g));
    jobq__baton_release(f.q);
    put_job(f.q, (jobq_job){.kind = "k", .priority = -1});
    CHECK_INT(f.q->disk.level, JOBQ__DISK_ROOMY);
    CHECK_INT(ring_of(f.q), 0);
    end_of_a_stop(&f, &g);
}

static int write_nothing(struct jobq__tx *tx, struct jobq__request *request) {
    (void)tx;
    (void)request;
    return JOBQ_OK;
}

static void *ask_for_too_much(void *arg) {
    struct jobq__request request;
    memset(&request, 0, sizeof request);
    request.write = write_nothing;
    request.adds = 1;
    request.largest = INT64_C(1) << 60;
    CHECK_CODE(jobq__commit_request((jobq *)arg, &request), JOBQ_FULL);
    return NULL;
}

static void *put_urgent(void *arg) {
    put_job((jobq *)arg, (jobq_job){.kind = "k", .priority = -1});
    return NULL;
}

static bool two_ask(jobq *q) {
    bool two;
    jobq__os_lock(&q->baton.mu);
    two = q->baton.head && q->baton.head->next;
    jobq__os_unlock(&q->baton.mu);
    return two;
}

/* Goal: so does one whose transaction found the room for another, which was too large for it all
 * the same. Method: both in one group. */
TEST(room_again_but_not_for_all) {
    pthread_t large, urgent;
    fixture f;
    gate g;
    REQUIRE(stand_behind_a_stop(&f, &g));
    large = thread_start(ask_for_too_much, f.q);
    UNTIL(somebody_asks(f.q));
    urgent = thread_start(put_urgent, f.q);
    UNTIL(two_ask(f.q));
    jobq__baton_release(f.q);
    pthread_join(large, NULL);
    pthread_join(urgent, NULL);
    CHECK_INT(f.q->disk.level, JOBQ__DISK_ROOMY);
    CHECK_INT(ring_of(f.q), 0);
    end_of_a_stop(&f, &g);
}

/* What is ready in the table comes after all of its lane in the ring. With the baton. */
static bool table_comes_after(jobq *q) {
    const struct jobq__lane *lane =
        JOBQ__CONTAINER(q->pool.ring.lanes.next, const struct jobq__lane, turn);
    jobq__walk *walk = jobq__store_walk_lane(&q->writer, lane->id, 1);
    struct jobq__row row;
    bool more = false, after;
    CHECK_CODE(jobq__store_next(&q->writer, walk, &row, &more), JOBQ_OK);
    after = more && jobq__ring_compare(&jobq__ring_last(lane)->row, &row) < 0;
    jobq__store_end(walk);
    return after;
}

/* Goal: what a stop on a full disk has left in the ring when it was cut short starts before what it
 * has given back, as it stood before. Method: one slice of a stop, which is one job; and the
 * next, if that leaves any. */
TEST(stop_that_is_cut_short_keeps_the_order) {
    fixture f;
    gate g;
    int ring;
    REQUIRE(stand_behind_a_stop(&f, &g));
    ring = ring_of(f.q);
    CHECK(ring > 1);
    for (int slice = 1; slice <= 2 && slice < ring; slice++) {
        f.q->disk.level = JOBQ__DISK_TIGHT;
        f.q->disk.held = 0;
        jobq__baton_release(f.q);
        WORKS(jobq__pool_give_back(f.q, 0, 0, &err));
        UNTIL(jobq__baton_try(f.q));
        CHECK_INT(ring_of(f.q), ring - slice);
        CHECK(table_comes_after(f.q));
    }
    jobq__baton_release(f.q);
    end_of_a_stop(&f, &g);
}

/* Goal: a transaction that keeps the order goes on doing so: it may have claimed. Method: a stop
 * that begins meanwhile, with an empty ring. */
TEST(room_again_changes_no_order) {
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 4}));
    UNTIL(jobq__baton_try(f.q));
    CHECK(keeps_order(f.q, true, JOBQ__DISK_ROOMY));
    jobq__tx_roomy(&f.q->tx);
    CHECK(f.q->tx.ordered);
    jobq__tx_reset(&f.q->tx);
    CHECK(!f.q->tx.ordered);
    jobq__baton_release(f.q);
    fixture_close(&f);
}

/* Until the next transaction is over a slice is one job. */
static void fill_the_disk(jobq *q) {
    UNTIL(jobq__baton_try(q));
    q->disk.level = JOBQ__DISK_TIGHT;
    q->disk.held = 0;
    jobq__baton_release(q);
}

static void claim_some(jobq *q, bool claims) {
    jobq__os_lock(&q->pool.mu);
    q->pool.life.claiming = q->pool.step.active = claims;
    jobq__os_unlock(&q->pool.mu);
    if (claims) CHECK_CODE(jobq__commit_now(q), JOBQ_OK);
}

struct left_ring {
    fixture f;
    trace *t;
    int64_t jobs[3], urgent; /* in the order in which they start, and before all of them */
};

static bool begin_left_ring(struct left_ring *l, int workers) {
    if (!fixture_open(&l->f, (jobq_options){.workers = workers, .busy_ms = JOBQ_NONE}))
        return false;
    l->t = trace_new(l->f.clock);
    handle(l->f.q, "k", record, l->t);
    l->urgent = put_job(l->f.q, (jobq_job){.kind = "k", .priority = -9, .delay_ms = JOBQ_HOUR});
    return true;
}

/* The disk is full, a stop has left two jobs in the ring, which is more than a slice, and then an
 * urgent one is made ready by a call. */
static void make_urgent_ready(struct left_ring *l) {
    CHECK_INT(ring_of(l->f.q), 2);
    fill_the_disk(l->f.q);
    WORKS(jobq_retry_now(l->f.q, l->urgent, &err));
    CHECK_INT(ring_of(l->f.q), 2);
}

/* The urgent one starts first, then the others in their order. */
static void end_left_ring(struct left_ring *l, int jobs) {
    REQUIRE_INT(l->t->n, 1 + jobs);
    CHECK_INT(l->t->rows[0].id, l->urgent);
    for (int i = 0; i < jobs; i++) CHECK_INT(l->t->rows[1 + i].id, l->jobs[i]);
    fixture_close(&l->f);
    trace_free(l->t);
}

static bool leave_a_ring(struct left_ring *l) {
    if (!begin_left_ring(l, 1)) return false;
    for (int i = 0; i < 2; i++) l->jobs[i] = put(l->f.q, "k");
    play_the_pool(l->f.q, true);
    CHECK_CODE(jobq__commit_now(l->f.q), JOBQ_OK);
    play_the_pool(l->f.q, false);
    l->jobs[2] = put(l->f.q, "k");
    make_urgent_ready(l);
    return true;
}

/* Goal: a job that becomes ready behind a stop that was cut short on a full disk starts in its
 * order: what that stop has left in the ring goes back before the next start. Method: one worker,
 * and the trace of its runs. */
TEST(start_behind_a_stop_that_was_cut_short) {
    struct left_ring l;
    REQUIRE(leave_a_ring(&l));
    start(l.f.q);
    for (int i = 0; i < 3; i++) finish(l.f.q, l.jobs[i]);
    end_left_ring(&l, 3);
}

/* Goal: a start that cannot give it back starts nothing, and says why. Method: another connection
 * has the file; the next start is in order. */
TEST(start_that_cannot_put_the_ring_in_order) {
    struct left_ring l;
    sqlite3 *db;
    REQUIRE(leave_a_ring(&l));
    db = take_the_file(l.f.path);
    FAILS(JOBQ_BUSY, jobq_start(l.f.q, &err));
    CHECK(!stats_of(l.f.q).started_now);
    CHECK_INT(ring_of(l.f.q), 2);
    give_the_file_back(&db);
    start(l.f.q);
    for (int i = 0; i < 3; i++) finish(l.f.q, l.jobs[i]);
    end_left_ring(&l, 3);
}

/* Goal: the same for who steps. Method: of the two in the ring the second was claimed out of turn;
 * another connection has the file at first. */
TEST(step_behind_a_stop_that_was_cut_short) {
    struct left_ring l;
    sqlite3 *db;
    REQUIRE(begin_left_ring(&l, JOBQ_NONE));
    l.jobs[1] = put(l.f.q, "k");
    claim_some(l.f.q, true);
    l.jobs[0] = put_job(l.f.q, (jobq_job){.kind = "k", .priority = -1});
    claim_some(l.f.q, false);
    make_urgent_ready(&l);
    db = take_the_file(l.f.path);
    FAILS(JOBQ_BUSY, jobq_step(l.f.q, NULL, &err));
    CHECK_INT(l.t->n, 0);
    give_the_file_back(&db);
    CHECK_INT(drain(l.f.q), 3);
    end_left_ring(&l, 2);
}

TEST_MAIN(what_a_running_pool_has_claimed_is_its_own, ring_of_a_stop_on_a_full_disk,
          room_again_within_a_transaction, room_again_but_not_for_all, room_again_changes_no_order,
          stop_that_is_cut_short_keeps_the_order,
          start_behind_a_stop_that_was_cut_short, start_that_cannot_put_the_ring_in_order,
          step_behind_a_stop_that_was_cut_short,
          nothing_is_left_behind_by_who_goes_to_tell)
