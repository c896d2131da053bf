/* life.c - whole lives of a device, each drawn from one seed: calls, handlers, deaths of the
 * process and of the power, a disk that fails, clocks that are set back; a plain model beside it.
 *
 * What is promised is G1 to G10 (tests/README.md); the model (model.h) knows what that means for
 * each call, and after each call queue and model are compared (sim_check.h):
 *   G1, G2  a past that the death allows is found again, by the last call or without it
 *   G3      at the end, when nothing fails any more, every job comes to its end
 *   G4      a job starts only if the run before has ended
 *   G5      the rows that handlers wrote are those of the runs that are done, to the last
 *   G6, G7  the head of its line starts, lines take turns, never early, and on time if the clock
 *           is advanced
 *   G8      log and memory stay within bounds, and all memory comes back; a file that has emptied
 *           is small some minutes later
 *   G9      the queue stops for good only if the disk gave it a reason, and then nothing happens
 *   G10     the same seed gives the same history
 * Broken on purpose (and seen to fail): attempts that rise with the claim, a crash that charges
 * all who were claimed, a promotion a millisecond early, caches filled before the commit, no scrub
 * after a commit that failed, ids that are used again, and more.
 *
 * make sim SEED=n N=k LIFE=storm replays k lives from seed n on; without a seed it draws one. */
#include "sim_life.h"

/* ---- Tests ---- */

/* Jobs ended in every other way, too. */
static void check_ends(void) {
    for (int state = JOBQ_STATE_DONE; state <= JOBQ_STATE_CANCELLED; state++)
        CHECK(sim.figures.deleted[state] > 0 && sim.figures.pruned[state] > 0);
    CHECK(sim.figures.deleted[JOBQ_STATE_PENDING] > 0);
    CHECK_INT(sim.figures.deleted[JOBQ_STATE_RUNNING], 0);
    CHECK(sim.figures.uncharged > 0);
    CHECK(sim.figures.wishes > 0);
    CHECK(sim.figures.unknowns > 0);
}

/* Goal: G1 to G10 hold through everything that can happen to a device; every edge between states
 * is gone, and no other. Method: lives in a storm. What make sim asks for is lived here, too. */
TEST(lives) {
    const char *seed_asked = getenv("SIM_SEED"), *lives_asked = getenv("SIM_LIVES");
    const char *name = getenv("SIM_LIFE");
    uint64_t seed = seed_asked && *seed_asked ? strtoull(seed_asked, NULL, 10) : test_seed();
    int64_t lives = lives_asked ? strtoll(lives_asked, NULL, 10) : test_effort(200);
    int64_t began_ms = test_real_ms();
    double minutes;
    if (lives_asked) test_note("from seed %" PRIu64 " on, %" PRId64 " lives", seed, lives);
    sim_live_all(name && *name ? name : "storm", seed, lives);
    minutes = (double)(test_real_ms() - began_ms) / 60000;
    if (lives_asked)
        test_note("%.0f device-years, %" PRId64 " lives, %" PRId64 " calls, %.0f device-years a"
                  " minute", sim_years(), sim.figures.lives, sim.figures.calls,
                  sim_years() / minutes);
    if (lives_asked) return;
    if (lives >= 100) sim_check_edges();
    if (lives >= 100) check_ends();
    CHECK(sim_years() >= 50 || lives < 100);
    test_figure("simulated lives of a device", ">= 50 device-years (night >= 10,000), 0 violations",
                "%.0f device-years, %" PRId64 " lives, %" PRId64 " runs, %" PRId64
                " planned faults, %" PRId64 " deaths, %" PRId64 " of them power cuts, %" PRId64
                " unknown outcomes, %d edges of %d, %d violations", sim_years(), sim.figures.lives,
                sim.figures.runs, sim.figures.plans, sim.figures.deaths, sim.figures.cuts,
                sim.figures.unknowns, SIM_EDGES, SIM_EDGES, test_failures());
}

/* Goal: no step of the wall clock loses a job, starts one early or keeps one from starting, and
 * none that comes while a job runs reaches that run: its deadline, its sleeps, its length. Method:
 * short sessions, each with a clock that may have been set back, or stand in 1970; in them the
 * clock is set by an hour, a day, to 1970 and back, before calls and by handlers. */
TEST(clocks) {
    sim_live_all("clocks", test_seed(), test_effort(80));
    CHECK(sim.figures.backwards > 0 && sim.figures.steps_in_runs > 0);
    test_figure("clock steps, simulated",
                "0 lost, 0 early, 0 runs reached by a step",
                "%.0f days, %" PRId64 " sessions, the clock set back before %" PRId64
                " of them and set %" PRId64 " times in them, %" PRId64 " times during a run, %"
                PRId64 " runs, %d violations", sim_years() * 365.25, sim.figures.sessions,
                sim.figures.backwards, sim.figures.steps, sim.figures.steps_in_runs,
                sim.figures.runs, test_failures());
}

/* Goal: a file that grew and whose jobs have ended becomes small again, and not a byte of the
 * others is lost on the way, nor of a payload that is as large as may be. Method: pages of five
 * sizes; floods of large jobs that end or are deleted, minutes that pass, and then more often than
 * else a fault, a death or a power cut. After each call that made the file smaller, and after each
 * open, every payload and result is compared; at the end of a life the file's size is. */
TEST(tides) {
    const struct sim_figures *f = &sim.figures;
    int64_t lives = test_effort(60);
    sim_live_all("tides", test_seed(), lives);
    if (lives >= 60) {
        CHECK(f->shrunk_deaths > f->shrunk_cuts && f->shrunk_cuts > 0);
        CHECK(f->shrunk_troubles > 0 && f->shrunk_steps > 0);
        CHECK(f->became_small > 0 && f->too_big > 0);
        for (int i = 0; i < 5; i++) CHECK(f->page_sizes[i] > 0);
    }
    test_figure("files that grow and become small, simulated",
                "0 bytes differ, every file that has emptied is small",
                "%" PRId64 " lives, %" PRId64 " floods; %" PRId64 " commits that made a file"
                " smaller, in %" PRId64 " calls: %" PRId64 " ended with the power, %" PRId64
                " with the process, %" PRId64 " met a disk that failed or was full, %" PRId64
                " came after a step of the clock; %" PRId64 " files of megabytes became small;"
                " %" PRId64 " payloads and results compared, %" PRId64 " MB; %d violations",
                f->lives, f->floods, f->shrunk, f->shrunk_calls, f->shrunk_cuts,
                f->shrunk_deaths - f->shrunk_cuts, f->shrunk_troubles, f->shrunk_steps,
                f->became_small, f->compared, f->compared_bytes / 1000000, test_failures());
}

/* Goal: the same seed gives the same history, and in every build and with every SQLite if the disk
 * does not fail. Method: lives twice; and the hash of some calm ones, and of some in which nobody
 * sets the clock, which changes only with the simulator or with what jobq does: then it is to be
 * put here anew. How many jobs become ready at a time is a part of that, so where few do the
 * history is another. */
TEST(same_seed_same_history) {
    uint64_t calm = 0, even = 0, seed = test_seed();
    int64_t lives = 2 * test_effort(5);
    for (int64_t i = 0; i < lives; i++) {
        const struct sim_profile *profile = sim_profile_of(i % 2 ? "tides" : "storm");
        uint64_t hash = sim_live(profile, seed + (uint64_t)i);
        CHECK(sim_live(profile, seed + (uint64_t)i) == hash);
    }
    for (uint64_t i = 0; i < 20; i++) {
        calm = calm * 31 + sim_live(sim_profile_of("calm"), 1 + i);
        even = even * 31 + sim_live(sim_profile_of("even"), 1 + i);
    }
    if (!CHECK(JOBQ__BATCH < 256 || even == UINT64_C(0xfa687e0a5ace20e1)))
        test_note("without steps of the clock the hash is 0x%" PRIx64, even);
    if (!CHECK(JOBQ__BATCH < 256 || calm == UINT64_C(0xc3dc192dce1ef807)))
        test_note("the hash is 0x%" PRIx64, calm);
    test_figure("determinism", "same seed, same history, in every build",
                "%" PRId64 " lives twice: equal; 20 calm ones: 0x%016" PRIx64 ", without steps of"
                " the clock 0x%016" PRIx64, lives, calm, even);
}

/* Goal: what a seed has found once does not come back. Method: those seeds, a short life each; what
 * they found is told in sim/regress.c, too. */
TEST(seeds) {
    static const struct {
        const char *name;
        uint64_t seed;
    } rows[] = {
        {"storm", 20240230}, {"storm", 20240231}, {"storm", 20240236}, {"storm", 20240243},
        {"storm", 20240280}, {"storm", 20240350}, {"storm", 20243407},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        sim_live(sim_profile_of(rows[i].name), rows[i].seed);
}

TEST_MAIN(lives, tides, clocks, same_seed_same_history, seeds)
