/* pool.c - a stop beside a pool that was started again.
 *
 * A stop that comes to its end when another thread has ended it already, and started the pool anew,
 * has nothing to give back: what is claimed is the new pool's. */
#include "helpers.h"
#include "unit.h"

/* Goal: such a stop leaves at once, whatever the pool has claimed. Method: a pool whose one worker
 * stands in a handler, with jobs behind that; what is given back is claimed again each time, so who
 * waits for an end of it waits for ever. */
TEST(what_a_running_pool_has_claimed_is_its_own) {
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
    CHECK(stats_of(f.q).started_now);
    gate_open(&g);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    CHECK_INT(stats_of(f.q).claimed, 0);
    fixture_close(&f);
    gate_free(&g);
}

TEST_MAIN(what_a_running_pool_has_claimed_is_its_own)
