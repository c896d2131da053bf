/* scheduler_told.c - the scheduler is told of what it cannot see: the end of a job's transaction,
 * for which it does not wait, and a job that comes before the one that it waits for.
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
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2, .stall_ms = 30 * JOBQ_SECOND}));
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

/* Goal: a job that is due earlier than all others is not missed by a scheduler that sleeps until
 * then, by the wall. Method: the system's clock, a job of tomorrow, time to fall asleep, and a job
 * of now; nothing else happens. */
TEST(earlier_job_wakes_the_scheduler) {
    jobq *q = open_pool(test_path("q.db"), 1);
    int64_t id;
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    put_in(q, JOBQ_DAY);
    test_pause_ms(50);
    id = put_in(q, 20);
    CHECK_INT(finish(q, id).state, JOBQ_STATE_DONE);
    close_queue(&q);
}

TEST_MAIN(scheduler_goes_on_after_a_transaction, earlier_job_wakes_the_scheduler)
