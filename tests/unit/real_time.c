/* real_time.c - steps under an artificial clock, while real time crawls, flies and leaps.
 *
 * jobq.c is compiled with a monotonic clock and a pause of our own: from one look at it to the next
 * real time passes as we like, as on a machine that has other things to do. What the queue does has
 * to follow from the calls. */
#include "helpers.h"

#include <time.h>

enum course { CRAWLS, FLIES, LEAPS, COURSES };

static struct {
    enum course course;
    int64_t now_us;
    uint64_t random;
} real = {CRAWLS, 1000000000, 1};

/* How long it was since the last look. */
static int64_t real_passed_us(void) {
    if (real.course == CRAWLS) return 1;
    if (real.course == FLIES) return 1000000;
    return (int64_t)(test_random(&real.random) % 20 ? test_random(&real.random) % 20
                                                    : test_random(&real.random) % 200000);
}

#ifndef JOBQ_MODULES
static int real_gettime(clockid_t id, struct timespec *at) {
    int rc = clock_gettime(id, at);
    if (id != CLOCK_MONOTONIC) return rc;
    real.now_us += real_passed_us();
    at->tv_sec = (time_t)(real.now_us / 1000000);
    at->tv_nsec = (long)(real.now_us % 1000000 * 1000);
    return 0;
}

static int real_sleep(const struct timespec *duration) {
    real.now_us += (int64_t)duration->tv_sec * 1000000 + duration->tv_nsec / 1000 + 1;
    return 0;
}

#define clock_gettime(id, at) real_gettime(id, at)
#define nanosleep(duration, left) real_sleep(duration)
#endif
#define UNIT_INCLUDES_JOBQ_C
#include "unit.h"
#undef clock_gettime
#undef nanosleep

#include "sim_life.h"

/* False, and the test is over, if the modules were compiled apart, with the system's clock. */
static bool real_time_is_ours(void) {
#ifdef JOBQ_MODULES
    (void)real_passed_us;
    test_skip("the modules have the system's clock");
    return false;
#else
    return true;
#endif
}

struct looks {
    int most, made; /* the handler looks so often at its flag; so often it did until that was up */
    bool told;
};

static jobq_outcome look_so_often(jobq_run *run, void *ctx) {
    struct looks *looks = ctx;
    while (!looks->told && looks->made < looks->most) {
        looks->told = jobq_should_stop(run);
        looks->made++;
    }
    return JOBQ_DONE;
}

/* A run within an advance far beyond its deadline. */
static struct looks look_in_an_advance(enum course course, int most) {
    struct looks looks = {most, 0, false};
    int64_t id;
    fixture f;
    real.course = course;
    if (!CHECK(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .stall_ms = JOBQ_NEVER})))
        return looks;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = look_so_often, .ctx = &looks,
                                 .timeout_ms = JOBQ_MINUTE});
    id = put(f.q, "k");
    advance(f.q, JOBQ_HOUR);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    CHECK_INT(fixture_elapsed(&f), JOBQ_HOUR);
    fixture_close(&f);
    return looks;
}

/* Goal: a handler that looks at its flag a few times and works in between does not wait for its
 * deadline, however long that takes on this machine; one that keeps looking does. Method: a second
 * of real time from one look to the next, fewer than a hundred looks and as many as it likes. */
TEST(slow_handler_waits_for_nothing) {
    struct looks looks;
    if (!real_time_is_ours()) return;
    looks = look_in_an_advance(FLIES, 99);
    CHECK(!looks.told);
    CHECK_INT(looks.made, 99);
    looks = look_in_an_advance(FLIES, 100000);
    CHECK(looks.told);
    CHECK_INT(looks.made, JOBQ__PATIENCE_US / JOBQ__PATIENCE_LOOK_US + 1);
}

/* Goal: and who looks without a pause is given its real time before. Method: a microsecond from one
 * look to the next. */
TEST(quick_handler_is_given_its_time) {
    struct looks looks;
    if (!real_time_is_ours()) return;
    looks = look_in_an_advance(CRAWLS, 1000);
    CHECK(!looks.told);
    looks = look_in_an_advance(CRAWLS, 10 * JOBQ__PATIENCE_US);
    CHECK(looks.told);
    CHECK(looks.made >= JOBQ__PATIENCE_US / 2);
}

/* Goal: the same calls have the same history, whatever real time does. Method: lives with troubles,
 * each once for every course of real time. */
TEST(real_time_has_no_say) {
    static const char *const profiles[] = {"storm", "tides", "clocks"};
    int lives = (int)test_effort(8);
    if (!real_time_is_ours()) return;
    for (int i = 0; i < 3 * lives; i++) {
        const struct sim_profile *profile = sim_profile_of(profiles[i % 3]);
        uint64_t seed = test_seed() + (uint64_t)i, hash = 0;
        for (int course = 0; course < COURSES; course++) {
            uint64_t before = hash;
            real.course = (enum course)course;
            hash = sim_live(profile, seed);
            if (course > 0 && !CHECK(hash == before))
                test_note("%s, seed %" PRIu64 ", course %d", profile->name, seed, course);
        }
    }
}

TEST_MAIN(slow_handler_waits_for_nothing, quick_handler_is_given_its_time, real_time_has_no_say)
