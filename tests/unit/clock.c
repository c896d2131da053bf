/* clock.c - readings of one moment are told apart, and who hears of a step of the wall.
 *
 * Promised by the head of clock.h: never stays never, whichever clock is ahead; each user of an
 * artificial clock hears of each step, and none that has left. What queues make of it is tested in
 * api/clock_steps.c. */
#include "helpers.h"
#include "unit.h"

/* Goal: a time of one clock becomes the same moment of the other, and never stays never. Method:
 * moments at which the wall is far ahead, just ahead, equal and far behind. */
TEST(never_stays_never) {
    static const struct jobq__now moments[] = {
        {T0, 0, 0}, {T0, 5, 0}, {7, 7, 0}, {0, T0, 0}, {5, INT64_MAX / 2, 0},
        {INT64_MAX - 1, 5, 0}};
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        struct jobq__now now = moments[i];
        CHECK_INT(jobq__clock_on_wall(now, JOBQ_NEVER), JOBQ_NEVER);
        CHECK_INT(jobq__clock_on_mono(now, JOBQ_NEVER), JOBQ_NEVER);
        CHECK_INT(jobq__clock_on_wall(now, now.mono_ms), now.wall_ms);
        CHECK_INT(jobq__clock_on_mono(now, now.wall_ms), now.mono_ms);
        CHECK_INT(jobq__clock_on_wall(now, now.mono_ms - 3), now.wall_ms - 3);
        CHECK_INT(jobq__clock_on_mono(now, now.wall_ms - 3), now.mono_ms - 3);
    }
}

struct listener {
    struct jobq__clock_user user;
    jobq_clock *clock;
    gate *at; /* where it stands when it hears, or NULL */
    int heard, gone; /* atomic */
};

static void hear(void *arg) {
    struct listener *l = (struct listener *)arg;
    __atomic_add_fetch(&l->heard, 1, __ATOMIC_SEQ_CST);
    if (l->at) gate_pass(l->at);
}

static void listen_to(struct listener *l, jobq_clock *clock, gate *at) {
    memset(l, 0, sizeof *l);
    l->clock = clock;
    l->at = at;
    jobq__clock_join(clock, &l->user, hear, l);
}

/* Goal: each user hears of each step that comes while it is there, once. Method: three that come
 * and go between steps; an advance is no step. */
TEST(each_step_is_heard_once) {
    jobq_clock *clock = jobq_clock_artificial(T0);
    struct listener l[3];
    REQUIRE(clock != NULL);
    for (int i = 0; i < 3; i++) {
        listen_to(&l[i], clock, NULL);
        jobq_clock_set(clock, T0 + i);
        jobq_clock_advance(clock, 5);
    }
    jobq__clock_leave(clock, &l[0].user);
    jobq_clock_set(clock, 0);
    for (int i = 0; i < 3; i++) CHECK_INT(l[i].heard, i == 0 ? 3 : 4 - i);
    for (int i = 0; i < 3; i++) jobq__clock_leave(clock, &l[i].user); /* again is as well */
    jobq_clock_set(clock, T0);
    CHECK_INT(l[1].heard, 3);
    jobq_clock_free(clock);
}

static void *set_in_thread(void *arg) {
    jobq_clock_set((jobq_clock *)arg, T0 + JOBQ_HOUR);
    return NULL;
}

static void *leave_in_thread(void *arg) {
    struct listener *l = (struct listener *)arg;
    jobq__clock_leave(l->clock, &l->user);
    __atomic_store_n(&l->gone, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Goal: who leaves while it is being told has left only when that is over: then it may vanish.
 * Method: it stands at a gate while it hears; leaving has time to return too early. */
TEST(who_leaves_has_heard) {
    jobq_clock *clock = jobq_clock_artificial(T0);
    pthread_t setting, leaving;
    struct listener l;
    gate at;
    REQUIRE(clock != NULL);
    gate_init(&at);
    listen_to(&l, clock, &at);
    setting = thread_start(set_in_thread, clock);
    gate_await(&at, 1);
    leaving = thread_start(leave_in_thread, &l);
    for (int i = 0; i < 10 && !__atomic_load_n(&l.gone, __ATOMIC_SEQ_CST); i++) test_pause_ms(5);
    CHECK(!__atomic_load_n(&l.gone, __ATOMIC_SEQ_CST));
    gate_open(&at);
    pthread_join(leaving, NULL);
    pthread_join(setting, NULL);
    jobq_clock_set(clock, T0);
    CHECK_INT(l.heard, 1);
    jobq_clock_free(clock);
    gate_free(&at);
}

TEST_MAIN(never_stays_never, each_step_is_heard_once, who_leaves_has_heard)
