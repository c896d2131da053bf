/* commit.c - the groups: one transaction for a line of requests, and what a failure takes along.
 *
 * Promised by the head of commit.h: a group takes what queues meanwhile into one transaction; what
 * fails alone is undone alone. */
#include "line.h"

/* Transactions of so many in line, if nothing but the bound of a group divides them. */
static int groups_of(int line) {
    return (line + JOBQ__GROUP - 1) / JOBQ__GROUP;
}

/* Goal: what queues while the baton is held becomes one transaction, in the order of coming, and
 * everybody hears of it. Method: a line of five behind a held baton; SQLite counts its commits. */
TEST(a_line_becomes_one_transaction) {
    enum { LINE = 5 };
    struct order line[LINE];
    REQUIRE(place_open());
    REQUIRE(jobq__baton_try(place.f.q));
    for (int i = 0; i < LINE; i++) start_order(&line[i], i);
    serve(line, LINE);
    for (int i = 0; i < LINE; i++) {
        CHECK_CODE(line[i].request.rc, JOBQ_OK);
        CHECK_INT(line[i].written, 1);
        CHECK_INT(line[i].after, 1);
        CHECK_INT(place.order[i], i);
        CHECK_INT(rows_of(i), 2);
    }
    CHECK_INT(place.commits, groups_of(LINE));
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
        REQUIRE(jobq__baton_try(place.f.q));
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
        CHECK_INT(place.commits, groups_of(LINE));
        fixture_remove(&place.f);
    }
}

/* Goal: a request that cannot be undone alone costs the transaction, and the others are written
 * again: each is there once. Method: one of three has no savepoint, writes, and fails. */
TEST(a_lost_transaction_is_written_again) {
    enum { LINE = 3 };
    struct order line[LINE];
    REQUIRE(place_open());
    REQUIRE(jobq__baton_try(place.f.q));
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

/* Goal: where commits are not synced, who wants a sync joins no group without one; others may join
 * its own. Method: the third of five wants it; so there are two transactions. */
TEST(a_sync_divides_the_line) {
    enum { LINE = 5, SYNC = 2 };
    struct order line[LINE];
    REQUIRE(place_open_with((jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED}));
    REQUIRE(jobq__baton_try(place.f.q));
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
    CHECK_INT(place.commits, groups_of(SYNC) + groups_of(LINE - SYNC));
    CHECK_INT(place.f.q->baton.syncs, 0);
    fixture_close(&place.f);
}

/* Goal: no group is larger than its bound, so a leader returns. Method: more in line than that. */
TEST(a_group_has_its_bound) {
    enum { LINE = JOBQ__GROUP + 10 };
    static struct order line[LINE];
    REQUIRE(place_open());
    REQUIRE(jobq__baton_try(place.f.q));
    for (int i = 0; i < LINE; i++) start_order(&line[i], i);
    serve(line, LINE);
    for (int i = 0; i < LINE; i++) CHECK_CODE(line[i].request.rc, JOBQ_OK);
    CHECK_INT(place.commits, groups_of(LINE));
    CHECK_INT(sql_int(place.f.path, "SELECT count(*) FROM mine"), 2 * LINE);
    fixture_close(&place.f);
}

/* A job's transaction that stands behind others in the line, and stays. */
struct job_behind {
    jobq *q;
    gate gate;
};

static void *hold_as_job(void *arg) {
    struct job_behind *job = (struct job_behind *)arg;
    CHECK_CODE(jobq__baton_hold_within(job->q, INT64_MAX / 4), JOBQ_OK);
    jobq__baton_set_job(job->q, true);
    gate_pass(&job->gate);
    jobq__baton_release(job->q);
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
    q->baton.busy_us = INT64_C(3600000000);
    REQUIRE(jobq__baton_try(q));
    jobq__baton_set_job(q, true);
    registers = thread_start(register_kind, q);
    while (in_line(q) < 1) sched_yield();
    holds = thread_start(hold_as_job, &job);
    while (in_line(q) < 2) sched_yield();
    jobq__os_lock(&q->baton.mu);
    q->turn.others_had_us += q->baton.busy_us - 1000;
    jobq__os_unlock(&q->baton.mu);
    jobq__baton_release(q);
    pthread_join(registers, NULL);
    gate_open(&job.gate);
    pthread_join(holds, NULL);
    CHECK_INT(job.gate.entered, 1);
    gate_free(&job.gate);
    fixture_close(&place.f);
}

TEST_MAIN(a_line_becomes_one_transaction, a_failure_takes_nobody_along,
          a_lost_transaction_is_written_again, a_sync_divides_the_line, a_group_has_its_bound,
          registering_waits_for_busy_ms_once)
