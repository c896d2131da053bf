/* model.c - random calls of the whole API against a plain model, on a disk that works: 0
 * differences. What is compared, and how a difference is told, stands in sim_check.h.
 *
 * Goal: each call does what jobq.h says, whatever was called before. Method: in memory, where a
 * call costs little, and in a file, where handlers have transactions and the queue is closed and
 * opened again. Broken on purpose: see sim/life.c; this finds what needs no fault, in less time. */
#include "sim_life.h"

static void call(const char *name, int64_t calls) {
    uint64_t seed = test_seed();
    memset(&sim.figures, 0, sizeof sim.figures);
    sim.broken = false;
    while (sim.figures.calls < calls && !sim.broken) sim_live(sim_profile_of(name), seed++);
    /* A few calls need not have met what they are for. */
    while (strcmp(name, "moon") == 0 && !sim.figures.shrunk && sim.figures.calls < 8000
           && !sim.broken)
        sim_live(sim_profile_of(name), seed++);
}

/* Goal: no difference, in memory. Method: see above. */
TEST(calls_in_memory) {
    call("memory", test_effort(60000));
    CHECK_INT(sim.figures.opens_failed + sim.figures.deaths, 0);
    CHECK(sim.figures.effects > 0);
    test_figure("random calls against a model, in memory", "0 differences",
                "%" PRId64 " calls, %" PRId64 " runs, %d differences", sim.figures.calls,
                sim.figures.runs, test_failures());
}

/* Goal: no difference, in a file. Method: see above. */
TEST(calls_in_a_file) {
    call("steady", test_effort(40000));
    CHECK_INT(sim.figures.opens_failed + sim.figures.deaths, 0);
    CHECK(sim.figures.effects > 0);
    test_figure("random calls against a model, in a file", "0 differences",
                "%" PRId64 " calls, %" PRId64 " runs, %" PRId64 " rows of handlers, %d differences",
                sim.figures.calls, sim.figures.runs, sim.figures.effects, test_failures());
}

/* Goal: payloads as large as may be, in a file that grows to megabytes and becomes small again, are
 * what they were, byte for byte. */
TEST(calls_in_a_file_that_shrinks) {
    call("moon", test_effort(8000));
    CHECK_INT(sim.figures.opens_failed + sim.figures.deaths, 0);
    CHECK(sim.figures.shrunk > 0);
    test_figure("random calls against a model, in a file that shrinks", "0 differences",
                "%" PRId64 " calls, %" PRId64 " runs, %" PRId64 " commits that made it smaller, %"
                PRId64 " payloads and results compared, %d differences", sim.figures.calls,
                sim.figures.runs, sim.figures.shrunk, sim.figures.compared, test_failures());
}

TEST_MAIN(calls_in_memory, calls_in_a_file, calls_in_a_file_that_shrinks)
