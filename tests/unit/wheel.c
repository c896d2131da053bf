/* wheel.c - the timing wheel against a model that cannot be wrong, and its corners by hand. */

/* Goal: a timer comes out exactly once, never before its time, never forgotten, in order of time
 * and of adding, whatever the distances and however the clock jumps, forwards or back.
 * Method: the same random operations go to the wheel and to a plain array that is searched from end
 * to end; every answer must agree. The rest are single cases that are easier to read. */

#include "test.h"
#include "unit.h"

#define YEAR (365 * JOBQ_DAY)

static struct jobq__wheel wheel; /* some 11 KiB: not on the stack, and anew in every test */

/* Whether the next timer to come out at now_ms is this one; NULL for none. */
static bool comes(int64_t now_ms, const struct jobq__timer *timer) {
    return jobq__wheel_expire(&wheel, now_ms) == timer;
}

/* Goal: a timer comes at its millisecond, once. Method: one timer, looked at before, then and
 * after. */
TEST(fires_at_its_millisecond_and_once) {
    struct jobq__timer timer = {{NULL, NULL}, 0};
    jobq__wheel_init(&wheel, 1000);
    CHECK(!jobq__timer_pending(&timer));
    CHECK_INT(jobq__wheel_next(&wheel), JOBQ_NEVER);
    jobq__wheel_add(&wheel, &timer, 5000);
    CHECK(jobq__timer_pending(&timer));
    CHECK_INT(jobq__wheel_next(&wheel), 5000);
    CHECK_INT(jobq__wheel_count(&wheel), 1);
    CHECK(comes(4999, NULL));
    CHECK(comes(5000, &timer));
    CHECK(comes(5000, NULL));
    CHECK(!jobq__timer_pending(&timer));
    CHECK_INT(timer.at_ms, 5000);
    CHECK_INT(jobq__wheel_count(&wheel), 0);
    CHECK_INT(jobq__wheel_next(&wheel), JOBQ_NEVER);
}

/* Goal: what is set for the past is due at once, in order of time. Method: three such, one before
 * 1970. */
TEST(a_time_that_has_passed_is_due_at_once) {
    struct jobq__timer timers[3];
    int i;
    for (i = 0; i < 3; ++i) jobq__timer_init(&timers[i]);
    jobq__wheel_init(&wheel, 1000);
    jobq__wheel_add(&wheel, &timers[0], 1000);
    jobq__wheel_add(&wheel, &timers[1], 7);
    jobq__wheel_add(&wheel, &timers[2], -5);
    CHECK_INT(jobq__wheel_next(&wheel), -5);
    CHECK(comes(1000, &timers[2]));
    CHECK(comes(1000, &timers[1]));
    CHECK(comes(1000, &timers[0]));
    CHECK(comes(1000, NULL));
}

/* Goal: equal times come out in order of adding. Method: they are added while the cursor stands
 * at different distances, so that they travel through different levels. */
TEST(equal_times_come_in_order_of_adding) {
    static const int64_t cursors_ms[] = {0, 1, 70000, 899999, 999000, 999936, 999999, 1000000};
    struct jobq__timer timers[24];
    size_t i, k;
    jobq__wheel_init(&wheel, 0);
    for (i = 0; i < 24; ++i) jobq__timer_init(&timers[i]);
    for (k = 0; k < 8; ++k) {
        if (cursors_ms[k] < 1000000) CHECK(comes(cursors_ms[k], NULL));
        for (i = 0; i < 3; ++i) jobq__wheel_add(&wheel, &timers[3 * k + i], 1000000);
    }
    jobq__wheel_add(&wheel, &timers[0], 1000000); /* moved to its own time: now the last */
    for (i = 1; i < 24; ++i) CHECK(comes(1000000, &timers[i]));
    CHECK(comes(1000000, &timers[0]));
    CHECK(comes(1000000, NULL));
}

/* Goal: who is set again has his new time only. Method: one timer, moved far away, near, to never
 * and into the past. */
TEST(moving_a_pending_timer) {
    struct jobq__timer timer = {{NULL, NULL}, 0};
    jobq__wheel_init(&wheel, 0);
    jobq__wheel_add(&wheel, &timer, 100);
    jobq__wheel_add(&wheel, &timer, 50 * YEAR);
    CHECK_INT(jobq__wheel_count(&wheel), 1);
    CHECK(comes(YEAR, NULL));
    jobq__wheel_add(&wheel, &timer, YEAR + 1);
    CHECK_INT(jobq__wheel_next(&wheel), YEAR + 1);
    CHECK(comes(YEAR, NULL));
    jobq__wheel_add(&wheel, &timer, JOBQ_NEVER);
    CHECK_INT(jobq__wheel_count(&wheel), 0);
    jobq__wheel_add(&wheel, &timer, 3);
    CHECK(comes(YEAR, &timer));
    CHECK(comes(YEAR, NULL));
}

/* Goal: who is deleted does not come, from wherever he is, and nobody else is missed. Method: a
 * timer of every level, deleted twice, and one that stays. */
TEST(deleting_from_every_place) {
    static const int64_t places_ms[] = {5, 1000, 1001, 1063, 5000, INT64_C(1) << 62, JOBQ_NEVER};
    struct jobq__timer timers[7], other = {{NULL, NULL}, 0};
    size_t i;
    jobq__wheel_init(&wheel, 1000);
    jobq__wheel_del(&wheel, &other); /* not pending: nothing happens */
    jobq__wheel_add(&wheel, &other, 6000);
    for (i = 0; i < 7; ++i) {
        jobq__timer_init(&timers[i]);
        jobq__wheel_add(&wheel, &timers[i], places_ms[i]);
    }
    CHECK_INT(jobq__wheel_count(&wheel), 7);
    for (i = 0; i < 7; ++i) {
        CHECK_INT(jobq__wheel_next(&wheel), i < 5 ? places_ms[i] : 6000);
        jobq__wheel_del(&wheel, &timers[i]);
        jobq__wheel_del(&wheel, &timers[i]);
        CHECK(!jobq__timer_pending(&timers[i]));
    }
    CHECK_INT(jobq__wheel_count(&wheel), 1);
    CHECK(comes(INT64_MAX, &other));
    CHECK(comes(INT64_MAX, NULL));
}

/* Goal: JOBQ_NEVER does not come, and the last millisecond of all does. Method: the clock goes to
 * the end of time and back. */
TEST(never_does_not_come) {
    struct jobq__timer never = {{NULL, NULL}, 0}, last = {{NULL, NULL}, 0};
    jobq__wheel_init(&wheel, 0);
    jobq__wheel_add(&wheel, &never, JOBQ_NEVER);
    CHECK(jobq__timer_pending(&never));
    CHECK_INT(jobq__wheel_count(&wheel), 0);
    CHECK_INT(jobq__wheel_next(&wheel), JOBQ_NEVER);
    jobq__wheel_add(&wheel, &last, INT64_MAX - 1);
    CHECK_INT(jobq__wheel_next(&wheel), INT64_MAX - 1);
    CHECK(comes(INT64_MAX - 2, NULL));
    CHECK(comes(INT64_MAX, &last));
    CHECK(comes(INT64_MAX, NULL));
    jobq__wheel_add(&wheel, &last, INT64_MAX - 1); /* the cursor is at the end of time */
    CHECK(comes(INT64_MAX - 2, NULL));
    CHECK(comes(INT64_MAX - 1, &last));
    CHECK(jobq__timer_pending(&never));
    jobq__wheel_del(&wheel, &never);
    CHECK(!jobq__timer_pending(&never));
}

/* Goal: a clock that is set back loses nothing and makes nothing early. Method: it runs a year
 * ahead, timers are set there, then somebody sets it right. */
TEST(a_clock_that_steps_back) {
    struct jobq__timer soon = {{NULL, NULL}, 0}, late = {{NULL, NULL}, 0};
    struct jobq__timer before = {{NULL, NULL}, 0}, again = {{NULL, NULL}, 0};
    const int64_t right_ms = 50 * YEAR, wrong_ms = 51 * YEAR;
    jobq__wheel_init(&wheel, right_ms);
    jobq__wheel_add(&wheel, &before, right_ms + 2 * YEAR);
    CHECK(comes(wrong_ms, NULL));
    jobq__wheel_add(&wheel, &late, wrong_ms + 10);
    CHECK(comes(right_ms, NULL));
    jobq__wheel_add(&wheel, &soon, right_ms + 10);
    jobq__wheel_add(&wheel, &again, right_ms + 5);
    CHECK_INT(jobq__wheel_next(&wheel), right_ms + 5);
    CHECK(comes(right_ms + 4, NULL));
    CHECK(comes(right_ms + 5, &again));
    CHECK(comes(right_ms + 5, NULL));
    CHECK(comes(right_ms - YEAR, NULL)); /* and back once more */
    CHECK(comes(-1, NULL));
    jobq__wheel_add(&wheel, &again, right_ms + 10);
    CHECK(comes(right_ms + 9, NULL));
    CHECK(comes(right_ms + 10, &soon));
    CHECK(comes(right_ms + 10, &again));
    CHECK(comes(wrong_ms + 9, NULL));
    CHECK(comes(wrong_ms + 10, &late));
    CHECK(comes(right_ms + 2 * YEAR - 1, NULL));
    CHECK(comes(right_ms + 2 * YEAR, &before));
    CHECK_INT(jobq__wheel_count(&wheel), 0);
}

/* Goal: what was due, and not taken, when the clock stepped back, is due no longer. Method: three
 * timers, two such steps. */
TEST(a_step_back_between_two_calls) {
    struct jobq__timer timers[3];
    int i;
    jobq__wheel_init(&wheel, 0);
    for (i = 0; i < 3; ++i) {
        jobq__timer_init(&timers[i]);
        jobq__wheel_add(&wheel, &timers[i], 100 * (i + 1));
    }
    CHECK(comes(1000, &timers[0]));
    CHECK(comes(199, NULL));
    CHECK_INT(jobq__wheel_next(&wheel), 200);
    CHECK(comes(200, &timers[1]));
    CHECK(comes(299, NULL));
    CHECK(comes(300, &timers[2]));
}

/* Goal: times below zero are times. Method: a clock of 1969, and one of the beginning of time. */
TEST(a_clock_before_1970) {
    struct jobq__timer timer = {{NULL, NULL}, 0}, other = {{NULL, NULL}, 0};
    jobq__wheel_init(&wheel, -YEAR);
    jobq__wheel_add(&wheel, &timer, -10);
    CHECK(comes(-11, NULL));
    CHECK(comes(-10, &timer));
    jobq__wheel_add(&wheel, &timer, 10);
    CHECK(comes(-10, NULL));
    CHECK(comes(9, NULL));
    CHECK(comes(10, &timer));
    jobq__wheel_init(&wheel, INT64_MIN);
    jobq__wheel_add(&wheel, &other, 3);
    jobq__wheel_add(&wheel, &timer, -5);
    CHECK_INT(jobq__wheel_next(&wheel), -5);
    CHECK(comes(-5, &timer));
    CHECK(comes(2, NULL));
    CHECK(comes(3, &other));
}

/* Goal: a handler's timer may be set again while the due ones are being taken out. Method: of
 * three that are due one is set anew, one deleted. */
TEST(adding_and_deleting_between_two_calls) {
    struct jobq__timer timers[3];
    int i;
    jobq__wheel_init(&wheel, 0);
    for (i = 0; i < 3; ++i) {
        jobq__timer_init(&timers[i]);
        jobq__wheel_add(&wheel, &timers[i], 10);
    }
    CHECK(comes(20, &timers[0]));
    jobq__wheel_add(&wheel, &timers[0], 15);
    jobq__wheel_del(&wheel, &timers[1]);
    CHECK(comes(20, &timers[2]));
    jobq__wheel_add(&wheel, &timers[2], 21);
    CHECK(comes(20, &timers[0]));
    CHECK(comes(20, NULL));
    CHECK(comes(21, &timers[2]));
}

/* One timer across the border of a digit: it waits until at_ms and not a millisecond longer. */
static void cross(int64_t from_ms, int64_t at_ms) {
    struct jobq__timer timer = {{NULL, NULL}, 0};
    jobq__wheel_init(&wheel, from_ms);
    jobq__wheel_add(&wheel, &timer, at_ms);
    CHECK_INT(jobq__wheel_next(&wheel), at_ms);
    if (at_ms > from_ms) CHECK(comes(at_ms - 1, NULL));
    CHECK(comes(at_ms, &timer));
    CHECK_INT(jobq__wheel_count(&wheel), 0);
}

/* Goal: no border of a digit keeps a timer back, or lets it go early. Method: from around every
 * power of two to around every greater one. */
TEST(borders_of_the_digits) {
    int low, high, from, to;
    for (low = 1; low <= 62; ++low) {
        for (high = low; high <= 62; ++high) {
            for (from = -1; from <= 1; ++from) {
                for (to = -1; to <= 1; ++to) {
                    cross((INT64_C(1) << low) + from, (INT64_C(1) << high) + to);
                }
            }
        }
    }
}

static int compare_us(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static int64_t real_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Goal: a jump costs by its timers, not by its milliseconds: else this would not end before the
 * reader does. Method: 60 timers over ten years; half of the jumps may be as slow as the machine
 * likes. */
TEST(jumps_of_ten_years) {
    enum { TIMERS = 60 };
    static struct jobq__timer timers[TIMERS];
    int jumps = TEST_SCALED(2000);
    static int64_t took_us[2000];
    int64_t now_ms = 50 * YEAR;
    int jump, i;
    jobq__wheel_init(&wheel, now_ms);
    for (jump = 0; jump < jumps; ++jump) {
        int64_t start_us;
        for (i = 0; i < TIMERS; ++i) {
            jobq__wheel_add(&wheel, &timers[i], now_ms + 1 + (INT64_C(1) << i) % (10 * YEAR));
        }
        now_ms += 10 * YEAR;
        start_us = real_us();
        for (i = 0; i < TIMERS; ++i) REQUIRE(jobq__wheel_expire(&wheel, now_ms) != NULL);
        REQUIRE(jobq__wheel_expire(&wheel, now_ms) == NULL);
        took_us[jump] = real_us() - start_us;
    }
    qsort(took_us, (size_t)jumps, sizeof took_us[0], compare_us);
    CHECK(took_us[jumps / 2] <= 5000);
    test_figure("timing wheel", "<= 5 ms", "a jump over ten years and 60 timers: %" PRId64 " us",
                took_us[jumps / 2]);
}

/* ---- The model: every timer in an array, searched from end to end. ---- */

enum { MODEL_TIMERS = 48, MODEL_ROUNDS = 4000, MODEL_STEPS = 100 };

static struct jobq__timer nodes[MODEL_TIMERS];
static struct {
    bool pending;
    int64_t at_ms, order;
} model[MODEL_TIMERS];
static int64_t model_order, model_now_ms, model_latest_ms;
static uint64_t random_state;

static int random_below(int n) {
    return (int)((test_random(&random_state) >> 33) % (uint64_t)n);
}

/* Zero to 2^62, every order of magnitude as likely as the others. */
static int64_t random_span(int bits_max) {
    return (int64_t)(test_random(&random_state) >> 1 >> (63 - random_below(bits_max + 1)));
}

/* The model's first timer by time and order of adding, JOBQ_NEVER left out; -1 if there is none. */
static int model_first(void) {
    int i, first = -1;
    for (i = 0; i < MODEL_TIMERS; ++i) {
        if (!model[i].pending || model[i].at_ms == JOBQ_NEVER) continue;
        if (first < 0 || model[i].at_ms < model[first].at_ms ||
            (model[i].at_ms == model[first].at_ms && model[i].order < model[first].order)) {
            first = i;
        }
    }
    return first;
}

static int model_count(void) {
    int i, count = 0;
    for (i = 0; i < MODEL_TIMERS; ++i) {
        count += model[i].pending && model[i].at_ms != JOBQ_NEVER;
    }
    return count;
}

/* Takes one timer out of both at model_now_ms; false if nothing is due or they disagree. */
static bool model_expire_one(void) {
    int first = model_first();
    bool due = first >= 0 && model[first].at_ms <= model_now_ms;
    struct jobq__timer *timer = jobq__wheel_expire(&wheel, model_now_ms);
    model_latest_ms = model_now_ms > model_latest_ms ? model_now_ms : model_latest_ms;
    CHECK(timer == (due ? &nodes[first] : NULL));
    if (!due || timer == NULL) return false;
    CHECK(timer->at_ms <= model_now_ms && !jobq__timer_pending(timer));
    model[first].pending = false;
    return timer == &nodes[first];
}

static int64_t random_time(int bits_max) {
    int kind = random_below(20);
    int other = random_below(MODEL_TIMERS);
    if (kind == 0) return JOBQ_NEVER;
    if (kind <= 3) return model[other].at_ms; /* equal times, also those of the past */
    if (kind == 4) return jobq__sub(model_now_ms, random_span(bits_max));
    if (kind == 5) return jobq__add(model_latest_ms, random_span(8));
    if (kind <= 9) return jobq__add(model_now_ms, random_below(200));
    return jobq__add(model_now_ms, random_span(bits_max));
}

static void model_add(int i, int64_t at_ms) {
    jobq__wheel_add(&wheel, &nodes[i], at_ms);
    model[i].pending = true;
    model[i].at_ms = at_ms;
    model[i].order = model_order++;
}

/* Moves the clock: a little, far, just before or exactly to the next wake, or back. */
static void model_move(int bits_max) {
    int kind = random_below(12);
    int first = model_first();
    if (kind <= 3) {
        model_now_ms = jobq__add(model_now_ms, random_below(100));
    } else if (kind <= 5) {
        model_now_ms = jobq__add(model_now_ms, random_span(bits_max));
    } else if (kind <= 9 && first >= 0) {
        model_now_ms = jobq__sub(model[first].at_ms, kind == 6);
    } else if (kind == 10) {
        model_now_ms = jobq__sub(model_now_ms, random_span(bits_max));
    }
    if (model_now_ms < 0) model_now_ms = 0;
}

static void model_step(int bits_max) {
    int i = random_below(MODEL_TIMERS);
    int kind = random_below(10);
    int budget = random_below(4) != 0 ? MODEL_TIMERS : random_below(3);
    if (kind <= 4) {
        model_add(i, random_time(bits_max));
    } else if (kind == 5) {
        jobq__wheel_del(&wheel, &nodes[i]);
        model[i].pending = false;
    } else {
        model_move(bits_max);
        while (budget-- > 0 && model_expire_one()) continue;
    }
}

static void model_compare(void) {
    int i = random_below(MODEL_TIMERS);
    int first = model_first();
    CHECK_INT(jobq__wheel_next(&wheel), first < 0 ? JOBQ_NEVER : model[first].at_ms);
    CHECK_INT(jobq__wheel_count(&wheel), model_count());
    CHECK(jobq__timer_pending(&nodes[i]) == model[i].pending);
}

/* Walks from wake to wake until nothing is left, so that nothing can have been lost. */
static void model_drain(void) {
    while (jobq__wheel_next(&wheel) != JOBQ_NEVER) {
        model_now_ms = jobq__wheel_next(&wheel);
        REQUIRE(model_expire_one());
    }
    CHECK_INT(jobq__wheel_count(&wheel), 0);
    CHECK_INT(model_count(), 0);
}

static void model_begin(int bits_max) {
    int i;
    memset(model, 0, sizeof model);
    for (i = 0; i < MODEL_TIMERS; ++i) jobq__timer_init(&nodes[i]);
    model_now_ms = model_latest_ms = random_span(bits_max);
    jobq__wheel_init(&wheel, model_now_ms);
}

/* Goal: the wheel answers as a list does. Method: random operations on both, from TEST_SEED. The
 * first disagreement ends it, the rest would only be its echo. */
TEST(agrees_with_a_sorted_list) {
    int64_t rounds = test_effort(MODEL_ROUNDS), round;
    int step;
    random_state = test_seed();
    for (round = 0; round < rounds && test_failures() == 0; ++round) {
        int bits_max = 4 + random_below(59); /* up to 62 */
        model_begin(bits_max);
        for (step = 0; step < MODEL_STEPS && test_failures() == 0; ++step) {
            model_step(bits_max);
            model_compare();
        }
        model_drain();
    }
    test_figure("timing wheel", "0 early, 0 lost", "%" PRId64 " operations against a sorted list,"
                " spans to 2^62 ms", round * MODEL_STEPS);
}

TEST_MAIN(fires_at_its_millisecond_and_once,
          a_time_that_has_passed_is_due_at_once,
          equal_times_come_in_order_of_adding,
          moving_a_pending_timer,
          deleting_from_every_place,
          never_does_not_come,
          a_clock_that_steps_back,
          a_step_back_between_two_calls,
          a_clock_before_1970,
          adding_and_deleting_between_two_calls,
          borders_of_the_digits,
          jumps_of_ten_years,
          agrees_with_a_sorted_list)
