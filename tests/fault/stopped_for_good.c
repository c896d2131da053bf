/* stopped_for_good.c - a queue that has stopped for good says so to everybody, and gives one
 * reason.
 *
 * When the disk fails in such a way that nobody can know what is on it, the queue latches: nothing
 * is written any more. fault/commit_fails.c shows that every later call is refused; here are those
 * who wait already, and what comes after the first reason. */
#include "fault_vfs.h"
#include "helpers.h"

#include <sched.h>

#define POOL ((jobq_options){.workers = 2, .shared = true, .busy_ms = 5})
#define SHARED_STEP ((jobq_options){.workers = JOBQ_NONE, .shared = true, .busy_ms = 5})

/* The disk dies under an enqueue, whose COMMIT then neither holds nor can be scrubbed. */
static void break_queue(jobq *q) {
    fault_plan(FAULT_WAL_SYNC, "X", SQLITE_IOERR_FSYNC);
    FAILS(JOBQ_UNKNOWN, jobq_enqueue(q, &(jobq_job){.kind = "k"}, NULL, &err));
    fault_off();
    CHECK_INT(stats_of(q).failed_code, JOBQ_IO);
}

/* ---- Who waits ---- */

/* Goal: who waits for a job hears that it will not end. Method: threads wait under a clock that
 * stands, so nothing but the latch can wake them; the disk dies while the job stands at a gate. */
TEST(waiters_hear_of_it) {
    enum { WAITERS = 4 };
    struct job_waiter waiters[WAITERS];
    fixture f;
    int64_t id;
    gate g;
    gate_init(&g);
    fault_begin();
    REQUIRE(fixture_open(&f, POOL));
    handle(f.q, "k", stand_at_gate, &g);
    start(f.q);
    id = put(f.q, "k");
    gate_await(&g, 1);
    start_job_waiters(waiters, WAITERS, f.q, id);
    break_queue(f.q);
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(waiters[i].thread, NULL);
        CHECK_CODE(waiters[i].code, JOBQ_IO);
    }
    gate_open(&g);
    fixture_close(&f);
    gate_free(&g);
}

/* ---- What comes after ---- */

/* Goal: the first reason stays, for it is the one to be repaired. Method: after the disk has failed
 * a read finds the file damaged. */
TEST(first_reason_stays) {
    fixture f;
    int64_t id;
    int code;
    fault_begin();
    REQUIRE(fixture_open(&f, SHARED_STEP));
    id = put(f.q, "k");
    break_queue(f.q);
    fault_plan(FAULT_WAL_READ, "x*", SQLITE_CORRUPT);
    code = jobq_get(f.q, id, &(jobq_info){.id = 0}, NULL);
    CHECK(fault_hits(FAULT_WAL_READ) > 0);
    CHECK_CODE(code, JOBQ_CORRUPT);
    fault_off();
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_IO);
    FAILS(JOBQ_IO, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    fixture_close(&f);
}

/* Goal: damage found by a mere look stops the queue as well. Method: the same read, first. */
TEST(damage_that_a_look_finds) {
    fixture f;
    int64_t id;
    fault_begin();
    REQUIRE(fixture_open(&f, SHARED_STEP));
    id = put(f.q, "k");
    fault_plan(FAULT_WAL_READ, "x*", SQLITE_CORRUPT);
    FAILS(JOBQ_CORRUPT, jobq_get(f.q, id, &(jobq_info){.id = 0}, &err));
    fault_off();
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_CORRUPT);
    FAILS(JOBQ_CORRUPT, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    fixture_close(&f);
}

TEST_MAIN(waiters_hear_of_it, first_reason_stays, damage_that_a_look_finds)
