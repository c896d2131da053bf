/* commit.c - the baton and the groups: who commits, for whom, and what a failure takes along.
 *
 * Promised by the head of commit.h: one holder at a time, in the order of coming; a group takes
 * what queues meanwhile into one transaction; who waits too long is gone without a trace,
 * wherever in the line it stood; what fails alone is undone alone. The requests here are made by
 * hand: they write rows into a table of their own, and fail as they are told. The queue holds
 * nothing else. */
#include "helpers.h"
#include "unit.h"

#include <sched.h>

struct order {
    jobq *q;
    struct jobq__request request;
    pthread_t thread;
    int number, rows;    /* rows: to be written before it ends */
    int fails;           /* the code that its write returns after that, or JOBQ_OK */
    int64_t wait_us;
    int written, after;  /* how often each was called */
    int returned;        /* atomic */
    jobq_error err;
};

static struct {
    fixture f;
    int commits;         /* of the writer's connection, by SQLite's own hook */
    int order[64], count; /* numbers, as they were written; by the holder of the baton */
} place;

static int count_commit(void *ctx) {
    (void)ctx;
    place.commits++;
    return 0;
}

static bool place_open_with(jobq_options options) {
    memset(&place, 0, sizeof place);
    if (!fixture_open(&place.f, options)) return false;
    sql_run(place.f.path, "CREATE TABLE mine(n)");
    sqlite3_commit_hook(place.f.q->writer.handle, count_commit, NULL);
    return true;
}

static bool place_open(void) {
    return place_open_with(STEP);
}

static int64_t rows_of(int number) {
    char sql[64];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM mine WHERE n = %d", number);
    return sql_int(place.f.path, sql);
}

static int write_rows(jobq *q, struct jobq__request *r) {
    struct order *o = (struct order *)r->arg;
    char sql[64];
    if (place.count < 64) place.order[place.count++] = o->number;
    o->written++;
    snprintf(sql, sizeof sql, "INSERT INTO mine VALUES(%d)", o->number);
    for (int i = 0; i < o->rows; i++)
        CHECK_INT(sqlite3_exec(q->tx.db->handle, sql, NULL, NULL, NULL), SQLITE_OK);
    return o->fails;
}

static void note_after(jobq *q, struct jobq__request *r) {
    (void)q;
    ((struct order *)r->arg)->after++;
}

static void prepare(struct order *o, int number) {
    memset(o, 0, sizeof *o);
    o->q = place.f.q;
    o->number = number;
    o->rows = 2;
    o->wait_us = INT64_MAX / 4;
    o->request.write = write_rows;
    o->request.after = note_after;
    o->request.arg = o;
    o->request.atomic = true;
    o->request.err = &o->err;
}

static void *give(void *arg) {
    struct order *o = (struct order *)arg;
    jobq__commit_request_within(o->q, &o->request, o->wait_us);
    __atomic_store_n(&o->returned, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* How many stand in line; the list has to end where its tail says. */
static int in_line(jobq *q) {
    struct jobq__request **at = &q->commit.head;
    int count = 0;
    jobq__os_lock(&q->commit.mu);
    for (; *at; at = &(*at)->next) count++;
    CHECK(q->commit.tail == at);
    jobq__os_unlock(&q->commit.mu);
    return count;
}

/* Goes to the end of the line, and returns when it stands there. */
static void stand_in_line(struct order *o, void *(*what)(void *arg)) {
    int position = in_line(o->q) + 1;
    o->thread = thread_start(what, o);
    while (in_line(o->q) < position) sched_yield();
}

static void start_order(struct order *o, int number) {
    prepare(o, number);
    stand_in_line(o, give);
}

/* The baton is laid down, and all of them return. */
static void serve(struct order *line, int count) {
    jobq__commit_release(place.f.q);
    for (int i = 0; i < count; i++) pthread_join(line[i].thread, NULL);
}

static void *ask_in_job(void *arg) {
    jobq *q = (jobq *)arg;
    int64_t left_us = 1000;
    CHECK(jobq__commit_by_job(q));
    CHECK(!jobq__commit_in_job(q));
    CHECK(!jobq__commit_try(q));
    CHECK_CODE(jobq__commit_hold_within(q, 1000), JOBQ_BUSY);
    CHECK_CODE(jobq__commit_hold(q, &left_us), JOBQ_BUSY);
    CHECK_INT(left_us, 0);
    return NULL;
}

/* Goal: the baton is one, lies free when nobody has it, and its holder is known as a job's only
 * when it says so, and to its own thread only. Method: take it twice, give it back, take it
 * again. */
TEST(one_baton) {
    pthread_t thread;
    jobq *q;
    REQUIRE(place_open());
    q = place.f.q;
    CHECK(jobq__commit_try(q));
    CHECK(!jobq__commit_try(q));
    CHECK(!jobq__commit_by_job(q) && !jobq__commit_in_job(q));
    jobq__commit_set_job(q, true);
    CHECK(jobq__commit_by_job(q) && jobq__commit_in_job(q));
    thread = thread_start(ask_in_job, q);
    pthread_join(thread, NULL);
    CHECK_INT(in_line(q), 0);
    jobq__commit_release(q);
    CHECK(!jobq__commit_by_job(q) && !jobq__commit_in_job(q));
    CHECK_CODE(jobq__commit_hold_within(q, 0), JOBQ_OK);
    CHECK(!jobq__commit_by_job(q));
    jobq__commit_release(q);
    fixture_close(&place.f);
}

/* Goal: what queues while the baton is held becomes one transaction, in the order of coming, and
 * everybody hears of it. Method: a line of five behind a held baton; SQLite counts its commits. */
TEST(a_line_becomes_one_transaction) {
    enum { LINE = 5 };
    struct order line[LINE];
    REQUIRE(place_open());
    REQUIRE(jobq__commit_try(place.f.q));
    for (int i = 0; i < LINE; i++) start_order(&line[i], i);
    serve(line, LINE);
    for (int i = 0; i < LINE; i++) {
        CHECK_CODE(line[i].request.rc, JOBQ_OK);
        CHECK_INT(line[i].written, 1);
        CHECK_INT(line[i].after, 1);
        CHECK_INT(place.order[i], i);
        CHECK_INT(rows_of(i), 2);
    }
    CHECK_INT(place.commits, 1);
    fixture_close(&place.f);
}

/* Goal: what fails by itself is undone by itself, with its own code, and is not called after the
 * commit; its neighbours are committed in the same transaction. Method: the first, the middle and
 * the last of a line fail after they have written. */
TEST(a_failure_takes_nobody_along) {
    enum { LINE = 3 };
    for (int bad = 0; bad < LINE; bad++) {
        struct order line[LINE];
        REQUIRE(place_open());
        REQUIRE(jobq__commit_try(place.f.q));
        for (int i = 0; i < LINE; i++) {
            prepare(&line[i], i);
            if (i == bad) line[i].fails = JOBQ_NOT_FOUND;
            stand_in_line(&line[i], give);
        }
        serve(line, LINE);
        for (int i = 0; i < LINE; i++) {
            CHECK_CODE(line[i].request.rc, i == bad ? JOBQ_NOT_FOUND : JOBQ_OK);
            CHECK_INT(line[i].after, i != bad);
            CHECK_INT(rows_of(i), i == bad ? 0 : 2);
        }
        CHECK_INT(place.commits, 1);
        fixture_remove(&place.f);
    }
}

/* Goal: a request that cannot be undone alone costs the transaction, and the others are written
 * again: each is there once. Method: one of three has no savepoint, writes, and fails. */
TEST(a_lost_transaction_is_written_again) {
    enum { LINE = 3 };
    struct order line[LINE];
    REQUIRE(place_open());
    REQUIRE(jobq__commit_try(place.f.q));
    for (int i = 0; i < LINE; i++) {
        prepare(&line[i], i);
        line[i].fails = i == 1 ? JOBQ_NOT_FOUND : JOBQ_OK;
        line[i].request.atomic = i != 1;
        stand_in_line(&line[i], give);
    }
    serve(line, LINE);
    for (int i = 0; i < LINE; i++) {
        CHECK_CODE(line[i].request.rc, i == 1 ? JOBQ_NOT_FOUND : JOBQ_OK);
        CHECK_INT(rows_of(i), i == 1 ? 0 : 2);
        CHECK_INT(line[i].after, i != 1);
    }
    CHECK(line[0].written >= 2);
    fixture_close(&place.f);
}

/* Goal: who has waited long enough leaves the line whole, wherever it stood: nothing of it is
 * written, and who came before and after is served. Method: the first, the middle and the last of
 * three wait for a moment only; a fourth comes when it is gone. */
TEST(who_leaves_the_line_leaves_it_whole) {
    enum { LINE = 3 };
    for (int hasty = 0; hasty < LINE; hasty++) {
        struct order line[LINE + 1];
        REQUIRE(place_open());
        REQUIRE(jobq__commit_try(place.f.q));
        for (int i = 0; i < LINE; i++) {
            prepare(&line[i], i);
            if (i == hasty) line[i].wait_us = 200000;
            line[i].thread = thread_start(give, &line[i]);
            while (in_line(place.f.q) < i + 1
                   && (i < hasty || !__atomic_load_n(&line[hasty].returned, __ATOMIC_SEQ_CST)))
                sched_yield();
        }
        pthread_join(line[hasty].thread, NULL);
        CHECK_CODE(line[hasty].request.rc, JOBQ_BUSY);
        CHECK_CODE(line[hasty].err.code, JOBQ_BUSY);
        while (in_line(place.f.q) < LINE - 1) sched_yield();
        start_order(&line[LINE], LINE);
        jobq__commit_release(place.f.q);
        for (int i = 0; i <= LINE; i++) {
            if (i != hasty) pthread_join(line[i].thread, NULL);
            CHECK_INT(line[i].written, i != hasty);
            CHECK_INT(rows_of(i), i == hasty ? 0 : 2);
        }
        CHECK_INT(in_line(place.f.q), 0);
        fixture_remove(&place.f);
    }
}

static void *hold_and_note(void *arg) {
    struct order *o = (struct order *)arg;
    o->request.rc = jobq__commit_hold_within(o->q, o->wait_us);
    place.order[place.count++] = o->number;
    jobq__commit_release(o->q);
    return NULL;
}

/* Goal: who wants the baton for itself stands in the same line, and divides it into groups. Method:
 * two requests, one holder, two requests; the holder comes between two transactions. */
TEST(a_holder_divides_the_line) {
    enum { LINE = 5, HOLDER = 2 };
    struct order line[LINE];
    REQUIRE(place_open());
    REQUIRE(jobq__commit_try(place.f.q));
    for (int i = 0; i < LINE; i++) {
        prepare(&line[i], i);
        stand_in_line(&line[i], i == HOLDER ? hold_and_note : give);
    }
    serve(line, LINE);
    for (int i = 0; i < LINE; i++) {
        CHECK_CODE(line[i].request.rc, JOBQ_OK);
        CHECK_INT(place.order[i], i);
    }
    CHECK_INT(place.commits, 2);
    fixture_close(&place.f);
}

/* Goal: where commits are not synced, who wants a sync joins no group without one; others may join
 * its own. Method: the third of five wants it; so there are two transactions. */
TEST(a_sync_divides_the_line) {
    enum { LINE = 5, SYNC = 2 };
    struct order line[LINE];
    REQUIRE(place_open_with((jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED}));
    REQUIRE(jobq__commit_try(place.f.q));
    for (int i = 0; i < LINE; i++) {
        prepare(&line[i], i);
        line[i].request.sync = i == SYNC;
        stand_in_line(&line[i], give);
    }
    serve(line, LINE);
    for (int i = 0; i < LINE; i++) {
        CHECK_CODE(line[i].request.rc, JOBQ_OK);
        CHECK_INT(place.order[i], i);
    }
    CHECK_INT(place.commits, 2);
    CHECK_INT(place.f.q->commit.syncs, 0);
    fixture_close(&place.f);
}

/* Goal: no group is larger than its bound, so a leader returns. Method: more in line than that. */
TEST(a_group_has_its_bound) {
    enum { LINE = JOBQ__GROUP + 10 };
    static struct order line[LINE];
    REQUIRE(place_open());
    REQUIRE(jobq__commit_try(place.f.q));
    for (int i = 0; i < LINE; i++) start_order(&line[i], i);
    serve(line, LINE);
    for (int i = 0; i < LINE; i++) CHECK_CODE(line[i].request.rc, JOBQ_OK);
    CHECK_INT(place.commits, 2);
    CHECK_INT(sql_int(place.f.path, "SELECT count(*) FROM mine"), 2 * LINE);
    fixture_close(&place.f);
}

/* ---- Whose time it is ---- */

static void *give_by_busy_ms(void *arg) {
    struct order *o = (struct order *)arg;
    jobq__commit_request(o->q, &o->request);
    __atomic_store_n(&o->returned, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void start_by_busy_ms(struct order *o, int number) {
    prepare(o, number);
    o->thread = thread_start(give_by_busy_ms, o);
    while (in_line(o->q) < 1 && !__atomic_load_n(&o->returned, __ATOMIC_SEQ_CST)) sched_yield();
}

/* Goal: who waits by busy_ms waits for commits of its own process without a limit, and by its limit
 * for a job's transaction, also if that comes while it waits. Method: busy_ms = JOBQ_NONE, and the
 * baton in our hand: first as anybody's, who lays it down; then as a job's. */
TEST(no_time_passes_behind_our_own_commits) {
    struct order o;
    jobq *q;
    REQUIRE(place_open());
    q = place.f.q;
    q->commit.busy_us = 0;
    REQUIRE(jobq__commit_try(q));
    start_by_busy_ms(&o, 1);
    test_pause_ms(20); /* it may leave the line at any moment, and shall not */
    CHECK_INT(in_line(q), 1);
    jobq__commit_release(q);
    pthread_join(o.thread, NULL);
    CHECK_CODE(o.request.rc, JOBQ_OK);
    CHECK_INT(rows_of(1), 2);
    REQUIRE(jobq__commit_try(q));
    start_by_busy_ms(&o, 2);
    jobq__commit_set_job(q, true);
    pthread_join(o.thread, NULL);
    CHECK_CODE(o.request.rc, JOBQ_BUSY);
    CHECK(strstr(o.err.text, "job's transaction") != NULL);
    start_by_busy_ms(&o, 3);
    pthread_join(o.thread, NULL);
    CHECK_CODE(o.request.rc, JOBQ_BUSY);
    CHECK_INT(in_line(q), 0);
    jobq__commit_release(q);
    CHECK_INT(rows_of(2) + rows_of(3), 0);
    fixture_close(&place.f);
}

static int64_t others_had(jobq *q) {
    int64_t had_us;
    jobq__os_lock(&q->commit.mu);
    had_us = jobq__turn_others_had(q, jobq__clock_mono_us());
    jobq__os_unlock(&q->commit.mu);
    return had_us;
}

static void *hold_by_busy_ms(void *arg) {
    struct order *o = (struct order *)arg;
    o->request.rc = jobq__commit_hold(o->q, &o->wait_us);
    if (o->request.rc == JOBQ_OK) jobq__commit_release(o->q);
    return NULL;
}

/* Goal: what others have had the file adds up, from one of them to the next, stands still when the
 * baton is laid down, and is taken from the time of who waits. Method: two transactions of jobs,
 * and one who waits for the third. */
TEST(time_of_others_adds_up) {
    enum { SPELL_US = 5000 };
    struct order o;
    int64_t had_us;
    jobq *q;
    REQUIRE(place_open());
    q = place.f.q;
    CHECK_INT(others_had(q), 0);
    for (int i = 1; i <= 2; i++) {
        REQUIRE(jobq__commit_try(q));
        jobq__commit_set_job(q, true);
        jobq__os_sleep_us(SPELL_US);
        jobq__commit_release(q);
        CHECK(others_had(q) >= i * SPELL_US);
    }
    had_us = others_had(q);
    jobq__os_sleep_us(SPELL_US);
    CHECK_INT(others_had(q), had_us);
    REQUIRE(jobq__commit_try(q));
    CHECK_INT(others_had(q), had_us);
    prepare(&o, 1);
    o.wait_us = INT64_C(3600000000);
    o.thread = thread_start(hold_by_busy_ms, &o);
    while (in_line(q) < 1) sched_yield();
    jobq__commit_set_job(q, true);
    jobq__os_sleep_us(SPELL_US);
    jobq__commit_release(q);
    pthread_join(o.thread, NULL);
    CHECK_CODE(o.request.rc, JOBQ_OK);
    CHECK(o.wait_us <= INT64_C(3600000000) - SPELL_US);
    CHECK_INT(INT64_C(3600000000) - o.wait_us, others_had(q) - had_us);
    fixture_close(&place.f);
}

/* A job's transaction that stands behind others in the line, and stays. */
struct job_behind {
    jobq *q;
    gate gate;
};

static void *hold_as_job(void *arg) {
    struct job_behind *job = (struct job_behind *)arg;
    CHECK_CODE(jobq__commit_hold_within(job->q, INT64_MAX / 4), JOBQ_OK);
    jobq__commit_set_job(job->q, true);
    gate_pass(&job->gate);
    jobq__commit_release(job->q);
    return NULL;
}

static void *register_kind(void *arg) {
    handle((jobq *)arg, "k", do_nothing, NULL);
    return NULL;
}

/* Goal: who registers a kind waits for others by busy_ms, and not by that for each transaction that
 * it takes. Method: busy_ms is an hour; the first transaction has waited for all of it but a
 * moment when it gets the baton; then a job has that until the call has returned. */
TEST(registering_waits_for_busy_ms_once) {
    struct job_behind job;
    pthread_t registers, holds;
    jobq *q;
    REQUIRE(place_open());
    job.q = q = place.f.q;
    gate_init(&job.gate);
    q->commit.busy_us = INT64_C(3600000000);
    REQUIRE(jobq__commit_try(q));
    jobq__commit_set_job(q, true);
    registers = thread_start(register_kind, q);
    while (in_line(q) < 1) sched_yield();
    holds = thread_start(hold_as_job, &job);
    while (in_line(q) < 2) sched_yield();
    jobq__os_lock(&q->commit.mu);
    q->turn.others_had_us += q->commit.busy_us - 1000;
    jobq__os_unlock(&q->commit.mu);
    jobq__commit_release(q);
    pthread_join(registers, NULL);
    gate_open(&job.gate);
    pthread_join(holds, NULL);
    CHECK_INT(job.gate.entered, 1);
    gate_free(&job.gate);
    fixture_close(&place.f);
}

/* ---- Who was let go ---- */

/* A thread that takes the baton for itself, and writes over its stack as soon as it has it. */
struct gone {
    jobq *q;
    struct jobq__bed decoy;
    int has_it, handed_on; /* atomic */
};

static void overwrite_stack(struct gone *g) {
    struct jobq__bed *volatile stack[1024];
    for (int i = 0; i < 1024; i++) stack[i] = &g->decoy;
    __atomic_store_n(&g->has_it, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&g->handed_on, __ATOMIC_SEQ_CST)) sched_yield();
    CHECK(stack[0] == &g->decoy);
}

/* Well below what is written over. */
static void take_baton(struct gone *g) {
    volatile char above[256];
    above[0] = 0;
    CHECK_CODE(jobq__commit_hold_within(g->q, INT64_MAX / 4), JOBQ_OK);
    CHECK(!above[0]);
}

static void *hold_and_vanish(void *arg) {
    struct gone *g = (struct gone *)arg;
    take_baton(g);
    overwrite_stack(g);
    jobq__commit_release(g->q);
    return NULL;
}

/* One that opened this bed for another request may come late: who sleeps there looks again. */
static void *open_late(void *arg) {
    struct gone *g = (struct gone *)arg;
    struct jobq__bed *bed = g->q->commit.beds;
    while (!__atomic_load_n(&g->has_it, __ATOMIC_SEQ_CST)) {
        jobq__os_lock(&bed->mu);
        bed->woken = true;
        jobq__os_unlock(&bed->mu);
        jobq__os_signal(&bed->cond);
        sched_yield();
    }
    return NULL;
}

/* Goal: a request lies on the stack of its thread, which looks at it without a lock; so who hands
 * the baton on does not touch the request once that says so. Method: somebody wakes the thread all
 * the time, so it has the baton at once, and the place of its request holds another bed's
 * address. */
TEST(who_has_the_baton_may_vanish) {
    struct gone g;
    pthread_t holder, waker;
    REQUIRE(place_open());
    memset(&g, 0, sizeof g);
    g.q = place.f.q;
    REQUIRE_INT(jobq__os_mutex_init(&g.decoy.mu), 0);
    REQUIRE_INT(jobq__os_cond_init(&g.decoy.cond, JOBQ__OS_MONO), 0);
    for (int i = 0; i < 20; i++) {
        REQUIRE(jobq__commit_try(g.q));
        g.has_it = g.handed_on = 0;
        holder = thread_start(hold_and_vanish, &g);
        while (!in_line(g.q)) sched_yield();
        waker = thread_start(open_late, &g);
        jobq__commit_release(g.q);
        __atomic_store_n(&g.handed_on, 1, __ATOMIC_SEQ_CST);
        pthread_join(waker, NULL);
        pthread_join(holder, NULL);
    }
    CHECK(!g.decoy.woken);
    jobq__os_cond_fini(&g.decoy.cond);
    jobq__os_mutex_fini(&g.decoy.mu);
    fixture_close(&place.f);
}

TEST_MAIN(one_baton, a_line_becomes_one_transaction, a_failure_takes_nobody_along,
          a_lost_transaction_is_written_again, who_leaves_the_line_leaves_it_whole,
          a_holder_divides_the_line, a_sync_divides_the_line, a_group_has_its_bound,
          no_time_passes_behind_our_own_commits, time_of_others_adds_up,
          registering_waits_for_busy_ms_once,
          who_has_the_baton_may_vanish)
