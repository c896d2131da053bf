/* check.c - what has to hold after each commit of a debug build is asserted, and the assertions
 * bite.
 *
 * The suite keeps these invariants in every test of `make debug` (check.h). Here the memory of an
 * owner is made wrong by hand, each time in a child that has to die of it at its next commit. */
#if !defined JOBQ_MODULES && !defined JOBQ_DEBUG /* the modules are compiled already, as release */
#define JOBQ_DEBUG
#endif
#define UNIT_INCLUDES_JOBQ_C
#include "helpers.h"
#include "unit.h"

#include <sys/resource.h>

static fixture f;

/* One job waits for a point in time, one for a duration, one is ready. */
static bool begin(void) {
    if (!fixture_open(&f, STEP)) return false;
    handle(f.q, "k", do_nothing, NULL);
    put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = T0 + JOBQ_HOUR});
    put_in(f.q, JOBQ_HOUR);
    put(f.q, "k");
    return true;
}

static void commit_something(void) {
    put(f.q, "k");
}

/* ---- What is wrong ---- */

static void time_by_the_wall_is_late(void) {
    f.q->due.at_ms[JOBQ__DUE_BY_WALL]++;
    commit_something();
}

static void time_by_own_time_is_late(void) {
    f.q->due.at_ms[JOBQ__DUE_BY_OWN]++;
    commit_something();
}

static void time_is_not_known(void) {
    f.q->due.at_ms[JOBQ__DUE_BY_OWN] = JOBQ_NEVER;
    commit_something();
}

static void lane_is_not_known(void) {
    jobq__list_remove(f.q->ready.next);
    put_in(f.q, JOBQ_HOUR);
}

static void claims_while_others_go_first(void) {
    jobq__os_lock(&f.q->pool.mu);
    f.q->pool.ring.behind = true;
    f.q->pool.life.claiming = f.q->pool.step.active = true;
    jobq__os_unlock(&f.q->pool.mu);
    commit_something();
}

/* ---- Children ---- */

/* Its last words are expected: nobody needs to read them. */
static void commit_in_child(void *wrong) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);
    if (!freopen("/dev/null", "w", stderr)) _exit(3);
    if (!begin()) _exit(4);
    (*(void (**)(void))wrong)();
}

/* Goal: an owner that remembers something wrong dies of it at its next commit. Method: each in a
 * child of its own, with a queue of its own, which has to end by SIGABRT. */
TEST(what_is_remembered_wrong_is_fatal) {
    static void (*const wrongs[])(void) = {time_by_the_wall_is_late, time_by_own_time_is_late,
                                           time_is_not_known, lane_is_not_known,
                                           claims_while_others_go_first};
#ifdef JOBQ_DEBUG
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        void (*wrong)(void) = wrongs[i];
        int status = test_fork(commit_in_child, (void *)&wrong);
        if (!CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT))
            test_note("%d: status %d", (int)i, status);
        REQUIRE(begin());
        fixture_remove(&f);
    }
#else
    (void)wrongs;
    (void)commit_in_child;
    test_skip("not a debug build");
#endif
}

/* Goal: a time that is known too early is not: a look finds nothing then. Method: both. */
TEST(time_may_be_early) {
    REQUIRE(begin());
    f.q->due.at_ms[JOBQ__DUE_BY_WALL]--;
    f.q->due.at_ms[JOBQ__DUE_BY_OWN]--;
    commit_something();
    CHECK_INT(drain(f.q), 2);
    advance(f.q, JOBQ_HOUR);
    CHECK_INT(count_all(f.q).done, 4);
    fixture_close(&f);
}

/* Goal: whatever comes to wait for its time, and goes from there, the first of each lane is known.
 * Method: the later ones come first; one of them is cancelled, one deleted, one tried at once. */
TEST(first_of_each_lane_is_known) {
    int64_t ids[6];
    REQUIRE(begin());
    for (int i = 0; i < 6; i++) {
        int64_t in_ms = (30 - i) * JOBQ_MINUTE;
        ids[i] = i % 2 ? put_in(f.q, in_ms)
                       : put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = T0 + in_ms});
    }
    WORKS(jobq_cancel(f.q, ids[5], &err));
    WORKS(jobq_delete(f.q, ids[4], &err));
    WORKS(jobq_retry_now(f.q, ids[3], &err));
    CHECK_INT(drain(f.q), 2);
    advance(f.q, JOBQ_HOUR);
    CHECK_INT(count_all(f.q).done, 7);
    fixture_close(&f);
}

TEST_MAIN(what_is_remembered_wrong_is_fatal, time_may_be_early, first_of_each_lane_is_known)
