/* scheduler_told.c - the scheduler, which does not wait for a job's transaction, is told of its
 * end.
 *
 * A job's transaction holds the file's only writer for as long as its handler likes. The scheduler
 * waits for it only briefly, and then leaves what it has to write until it is told; were it not
 * told, no scheduled job would ever become ready again. */
#include "helpers.h"

/* Goal: after a job's transaction, however long, time goes on. Method: the scheduler is asked to
 * write while a handler holds the writer, for long enough to give up; when the handler has returned
 * a scheduled job has to run in its time. */
TEST(scheduler_goes_on_after_a_transaction) {
    fixture f;
    int64_t holding, later;
    gate g;
    gate_init(&g);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2, .stall_ms = 3 * JOBQ_SECOND}));
    handle(f.q, "hold", hold_the_writer, &g);
    handle(f.q, "k", do_nothing, NULL);
    start(f.q);
    later = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = JOBQ_MINUTE});
    holding = put(f.q, "hold");
    gate_await(&g, 1);
    WORKS(jobq_notify(f.q, &err));
    test_pause_ms(100);
    gate_open(&g);
    CHECK_INT(finish(f.q, holding).state, JOBQ_STATE_DONE);
    WORKS(jobq_advance(f.q, 2 * JOBQ_MINUTE, NULL, &err));
    CHECK_INT(state_of(f.q, later), JOBQ_STATE_DONE);
    fixture_close(&f);
    gate_free(&g);
}

TEST_MAIN(scheduler_goes_on_after_a_transaction)
