/* backoff.c - the retry delay: the table, the jitter, the extremes, the counter's reset. */

/* Goal: the published schedule to the millisecond, a jitter that is fair, bounded and the same
 * everywhere, and no argument that overflows.
 * Method: tables and sums that were worked out by hand, and counting over many hashes. */

#include "test.h"
#include "unit.h"

static const struct jobq__backoff usual = {JOBQ_SECOND, JOBQ_HOUR, 20};
static const struct jobq__backoff exact = {JOBQ_SECOND, JOBQ_HOUR, 0};

/* Goal: doubled from a second to an hour, as published: 29 delays of 65,295 s. Method: the table,
 * worked out by hand. */
TEST(the_usual_schedule_without_jitter) {
    int64_t sum_ms = 0;
    int attempt;
    for (attempt = 1; attempt <= 29; ++attempt) {
        int64_t expected_s = attempt <= 12 ? INT64_C(1) << (attempt - 1) : 3600;
        int64_t delay_ms = jobq__backoff_delay(&exact, attempt, 7, attempt, attempt);
        CHECK_INT(delay_ms, expected_s * JOBQ_SECOND);
        sum_ms += delay_ms;
    }
    CHECK_INT(sum_ms, 65295000);
}

/* Goal: without jitter neither seed, id nor run count. Method: a thousand of them. */
TEST(no_jitter_asks_no_hash) {
    int64_t id;
    for (id = 0; id < 1000; ++id) {
        CHECK_INT(jobq__backoff_delay(&exact, 5, (uint64_t)id * 99, id, (int)id), 16000);
    }
}

/* Goal: the jitter uses its whole range, and no more. Method: the least and the most of 2000
 * jobs, at every attempt below the cap. */
TEST(jitter_stays_in_its_bounds_and_reaches_them) {
    int attempt;
    for (attempt = 1; attempt <= 12; ++attempt) {
        int64_t base_ms = JOBQ_SECOND << (attempt - 1), spread_ms = base_ms / 5;
        int64_t least_ms = INT64_MAX, most_ms = 0, id;
        for (id = 1; id <= 2000; ++id) {
            int64_t delay_ms = jobq__backoff_delay(&usual, attempt, 1, id, attempt);
            CHECK(delay_ms >= base_ms - spread_ms && delay_ms <= base_ms + spread_ms);
            least_ms = JOBQ__MIN(least_ms, delay_ms);
            most_ms = JOBQ__MAX(most_ms, delay_ms);
        }
        CHECK(least_ms < base_ms - spread_ms + spread_ms / 50);
        CHECK(most_ms > base_ms + spread_ms - spread_ms / 50);
    }
}

/* Goal: every value of the range comes as often as any other. Method: 5 values, 100,000 draws:
 * 20,000 each, with a standard deviation of 126. The ids, the runs and the seeds are counted up,
 * which is what real ones do. */
TEST(every_millisecond_is_equally_likely) {
    static const struct jobq__backoff small = {10, 1000, 25}; /* 8 to 12 */
    int vary, value;
    for (vary = 0; vary < 3; ++vary) {
        int seen[5] = {0};
        int i;
        for (i = 0; i < 100000; ++i) {
            uint64_t seed = vary == 0 ? (uint64_t)i : 42;
            int64_t delay_ms =
                jobq__backoff_delay(&small, 1, seed, vary == 1 ? i : 3, vary == 2 ? i : 1);
            REQUIRE(delay_ms >= 8 && delay_ms <= 12);
            ++seen[delay_ms - 8];
        }
        for (value = 0; value < 5; ++value) CHECK(seen[value] > 19300 && seen[value] < 20700);
    }
}

/* Goal: so it is in a range near 2^64. Method: a remainder of 2^64 by two thirds of it would
 * favour the lower half of the numbers. */
TEST(a_vast_range_is_as_fair_as_a_small_one) {
    const int64_t third = (int64_t)(UINT64_MAX / 3);
    const struct jobq__backoff vast = {third, third, 100};
    int64_t id, low = 0;
    for (id = 0; id < 10000; ++id) low += jobq__backoff_delay(&vast, 1, 3, id, 1) < third / 2;
    CHECK(low > 2300 && low < 2700); /* a quarter; unfair would be a third */
}

/* Goal: neighbours do not move together. Method: the signs of their jitters agree in half of the
 * cases. */
TEST(neighbours_have_nothing_in_common) {
    int by_id = 0, by_run = 0, by_seed = 0, i;
    for (i = 1; i <= 10000; ++i) {
        bool here = jobq__backoff_delay(&usual, 8, 5, i, 1) > 128000;
        by_id += here == (jobq__backoff_delay(&usual, 8, 5, i + 1, 1) > 128000);
        by_run += here == (jobq__backoff_delay(&usual, 8, 5, i, 2) > 128000);
        by_seed += here == (jobq__backoff_delay(&usual, 8, 6, i, 1) > 128000);
    }
    CHECK(by_id > 4700 && by_id < 5300);
    CHECK(by_run > 4700 && by_run < 5300);
    CHECK(by_seed > 4700 && by_seed < 5300);
}

/* Goal: nothing but the arguments counts. Method: each delay is asked for twice, among others. */
TEST(the_same_arguments_give_the_same_delay) {
    int64_t id;
    int runs;
    for (id = -3; id < 100; ++id) {
        for (runs = 0; runs < 30; ++runs) {
            int64_t delay_ms = jobq__backoff_delay(&usual, 9, 77, id, runs);
            CHECK_INT(jobq__backoff_delay(&usual, 9, 77, id, runs), delay_ms);
        }
    }
}

/* Goal: a recorded history is replayed by later versions and on other machines: these never
 * change. Method: four delays that were written down. */
TEST(the_formula_is_pinned) {
    CHECK_INT(jobq__backoff_delay(&usual, 1, 0, 1, 1), 1017);
    CHECK_INT(jobq__backoff_delay(&usual, 4, 0, 1, 4), 8085);
    CHECK_INT(jobq__backoff_delay(&usual, 12, 20240229, 1000000007, 12), 1747500);
    CHECK_INT(jobq__backoff_delay(&usual, 30, UINT64_MAX, INT64_MAX, INT32_MAX - 1), 3154911);
}

/* Goal: no delay is longer than the longest. Method: 10,000 jobs at the cap, half of which would
 * be. */
TEST(at_the_cap_jitter_only_shortens) {
    int64_t id, at_cap = 0;
    for (id = 1; id <= 10000; ++id) {
        int64_t delay_ms = jobq__backoff_delay(&usual, 20, 9, id, 20);
        CHECK(delay_ms >= JOBQ_HOUR * 8 / 10 && delay_ms <= JOBQ_HOUR);
        at_cap += delay_ms == JOBQ_HOUR;
    }
    CHECK(at_cap > 4700 && at_cap < 5300); /* what would have been longer */
}

/* Goal: the jitter goes both ways from the first delay on. Method: a hundred first delays. */
TEST(the_first_delay_may_be_less_than_min) {
    int64_t id, shorter = 0;
    for (id = 1; id <= 100; ++id) shorter += jobq__backoff_delay(&usual, 1, 9, id, 1) < JOBQ_SECOND;
    CHECK(shorter > 20 && shorter < 80);
}

/* Goal: no argument overflows, and each result lies where the rule puts it. Method: the longest
 * delays, attempts without end, bounds of zero, bounds that cross. */
TEST(extremes) {
    const struct jobq__backoff longest = {INT64_MAX, INT64_MAX, 100};
    const struct jobq__backoff growing = {1, INT64_MAX, 0};
    const struct jobq__backoff nothing = {0, 0, 100}, none = {0, JOBQ_HOUR, 100};
    const struct jobq__backoff crossed = {100, 50, 0};
    const struct jobq__backoff large = {INT64_MAX >> 30, INT64_MAX, 0};
    int64_t id, above_half = 0;
    CHECK_INT(jobq__backoff_delay(&exact, INT32_MAX, 0, 0, 0), JOBQ_HOUR);
    CHECK_INT(jobq__backoff_delay(&growing, 31, 0, 0, 0), INT64_C(1) << 30);
    CHECK_INT(jobq__backoff_delay(&growing, 32, 0, 0, 0), INT64_C(1) << 30);
    CHECK_INT(jobq__backoff_delay(&growing, INT32_MAX, 0, 0, 0), INT64_C(1) << 30);
    CHECK_INT(jobq__backoff_delay(&large, 31, 0, 0, 0), INT64_MAX >> 30 << 30);
    CHECK_INT(jobq__backoff_delay(&nothing, 30, 1, 2, 3), 0);
    CHECK_INT(jobq__backoff_delay(&none, INT32_MAX, 1, 2, 3), 0);
    CHECK_INT(jobq__backoff_delay(&crossed, 1, 1, 2, 3), 50);
    for (id = 0; id < 1000; ++id) {
        int64_t delay_ms = jobq__backoff_delay(&longest, INT32_MAX, (uint64_t)id, -id, INT32_MIN);
        CHECK(delay_ms >= 0);
        above_half += delay_ms > INT64_MAX / 2;
    }
    CHECK(above_half > 680 && above_half < 820); /* half of them are clamped, a quarter lie below */
}

/* Goal: every whole percentage is rounded down, as delay * percent / 100 would be. Method: all
 * percentages of many small delays. */
TEST(jitter_of_small_delays_is_rounded_down) {
    struct jobq__backoff backoff = {0, 1000, 0};
    int64_t id;
    for (backoff.min_ms = 0; backoff.min_ms <= 210; backoff.min_ms += 7) {
        for (backoff.jitter_percent = 0; backoff.jitter_percent <= 100; ++backoff.jitter_percent) {
            int64_t spread_ms = backoff.min_ms * backoff.jitter_percent / 100;
            for (id = 0; id < 20; ++id) {
                int64_t delay_ms = jobq__backoff_delay(&backoff, 1, 1, id, 1);
                CHECK(delay_ms >= backoff.min_ms - spread_ms);
                CHECK(delay_ms <= backoff.min_ms + spread_ms);
            }
        }
    }
}

/* Goal: the counter begins anew after a run that was good for more than three times its last
 * delay, at whatever numbers. Method: both sides of the border, and the extremes. */
TEST(a_late_failure_resets_the_counter) {
    CHECK(!jobq__backoff_recovered(2, 3000, 1000)); /* three times: not yet */
    CHECK(jobq__backoff_recovered(2, 3001, 1000));
    CHECK(!jobq__backoff_recovered(1, INT64_MAX, 0)); /* the first has nothing to forget */
    CHECK(!jobq__backoff_recovered(2, 0, 0));
    CHECK(jobq__backoff_recovered(2, 1, 0));
    CHECK(jobq__backoff_recovered(INT32_MAX, INT64_MAX, JOBQ_HOUR));
    CHECK(!jobq__backoff_recovered(2, INT64_MAX, INT64_MAX));
    CHECK(!jobq__backoff_recovered(2, INT64_MAX, INT64_MAX / 3 + 1));
    CHECK(jobq__backoff_recovered(2, INT64_MAX, INT64_MAX / 3 - 1));
    CHECK(!jobq__backoff_recovered(2, 0, INT64_MAX));
}

/* ---- Against arithmetic that cannot overflow: four digits of 32 bits, lowest first ---- */

struct wide {
    uint64_t digit[4];
};

static struct wide wide_from(int64_t n) {
    struct wide w = {{(uint64_t)n & UINT32_MAX, (uint64_t)n >> 32, 0, 0}};
    return w;
}

static struct wide wide_times(struct wide w, uint64_t n) {
    uint64_t carry = 0;
    for (int i = 0; i < 4; i++) {
        carry += w.digit[i] * n;
        w.digit[i] = carry & UINT32_MAX;
        carry >>= 32;
    }
    return w;
}

static struct wide wide_over_100(struct wide w) {
    uint64_t rest = 0;
    for (int i = 3; i >= 0; i--) {
        rest = rest << 32 | w.digit[i];
        w.digit[i] = rest / 100;
        rest %= 100;
    }
    return w;
}

/* The smaller one, so it fits. */
static int64_t wide_or(struct wide w, int64_t most) {
    uint64_t low = w.digit[1] << 32 | w.digit[0];
    return w.digit[2] || w.digit[3] || low > (uint64_t)most ? most : (int64_t)low;
}

static int64_t random_of_any_size(uint64_t *state) {
    return (int64_t)(test_random(state) >> 1 >> (test_random(state) % 63));
}

static bool delay_is_exact(uint64_t *state) {
    struct jobq__backoff b;
    int attempt = test_random(state) % 4 ? 1 + (int)(test_random(state) % 40) : INT32_MAX;
    struct wide wide;
    int64_t base_ms, spread_ms, least_ms, most_ms, delay_ms;
    b.min_ms = random_of_any_size(state);
    b.max_ms = random_of_any_size(state);
    b.jitter_percent = (int)(test_random(state) % 101);
    wide = wide_from(b.min_ms);
    for (int n = 1; n < attempt && n <= 30; n++) wide = wide_times(wide, 2);
    base_ms = wide_or(wide, b.max_ms);
    spread_ms = wide_or(wide_over_100(wide_times(wide_from(base_ms), (uint64_t)b.jitter_percent)),
                        base_ms);
    least_ms = base_ms - spread_ms;
    most_ms = spread_ms < b.max_ms - base_ms ? base_ms + spread_ms : b.max_ms;
    delay_ms = jobq__backoff_delay(&b, attempt, test_random(state),
                                   (int64_t)test_random(state), (int)test_random(state));
    if (CHECK(delay_ms >= least_ms && delay_ms <= most_ms)) return true;
    test_note("min %" PRId64 ", max %" PRId64 ", attempt %d, jitter %d: %" PRId64, b.min_ms,
              b.max_ms, attempt, b.jitter_percent, delay_ms);
    return false;
}

/* Goal: every delay lies in the range that exact arithmetic gives. Method: random numbers of
 * every size, from TEST_SEED. */
TEST(agrees_with_exact_arithmetic) {
    uint64_t state = test_seed();
    int64_t draws = test_effort(1000000), n = 0;
    while (n < draws && delay_is_exact(&state)) n++;
    test_figure("retry delays", "0 differences", "%" PRId64 " delays against exact arithmetic,"
                " %" PRId64 " differ", n, draws - n);
}

TEST_MAIN(the_usual_schedule_without_jitter,
          no_jitter_asks_no_hash,
          jitter_stays_in_its_bounds_and_reaches_them,
          every_millisecond_is_equally_likely,
          a_vast_range_is_as_fair_as_a_small_one,
          neighbours_have_nothing_in_common,
          the_same_arguments_give_the_same_delay,
          the_formula_is_pinned,
          at_the_cap_jitter_only_shortens,
          the_first_delay_may_be_less_than_min,
          extremes,
          jitter_of_small_delays_is_rounded_down,
          a_late_failure_resets_the_counter,
          agrees_with_exact_arithmetic)
