/* clock_steps.c - the system's clock is set while real threads run, sleep and wait by it.
 *
 * Nobody sets the clock of this machine: jobq.c is compiled with a clock_gettime of our own, which
 * adds a shift to the wall, and with a pthread_cond_timedwait that does for the wall what the
 * system does: a wait until a time of the wall ends when the wall shows it, however it came to.
 * The monotonic clock is the real one. What is checked is that nothing ends early; and that nothing
 * ends late, with room for a slow machine, for a step is an hour at least. */
#include "helpers.h"

#include <time.h>

/* ---- The clock in our hands ---- */

static int64_t shift_s;      /* atomic */
static int32_t signals_sent; /* atomic */

static int shifted_gettime(clockid_t id, struct timespec *t) {
    int rc = clock_gettime(id, t);
    if (id == CLOCK_REALTIME) t->tv_sec += (time_t)__atomic_load_n(&shift_s, __ATOMIC_SEQ_CST);
    return rc;
}

static int64_t as_us(const struct timespec *t) {
    return (int64_t)t->tv_sec * 1000000 + t->tv_nsec / 1000;
}

/* Looks at the wall every few milliseconds. A signal that meets nobody in between is seen by its
 * count. */
static int shifted_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                             const struct timespec *at, bool wall) {
    int32_t sent = __atomic_load_n(&signals_sent, __ATOMIC_SEQ_CST);
    struct timespec now, slice;
    int rc;
    if (!wall) return pthread_cond_timedwait(cond, mutex, at);
    for (;;) {
        shifted_gettime(CLOCK_REALTIME, &now);
        if (as_us(&now) >= as_us(at)) return ETIMEDOUT;
        clock_gettime(CLOCK_REALTIME, &slice);
        slice.tv_nsec += 5000000;
        slice.tv_sec += slice.tv_nsec / 1000000000;
        slice.tv_nsec %= 1000000000;
        rc = pthread_cond_timedwait(cond, mutex, &slice);
        if (rc != ETIMEDOUT || sent != __atomic_load_n(&signals_sent, __ATOMIC_SEQ_CST)) return 0;
    }
}

static int counted_signal(pthread_cond_t *cond) {
    __atomic_add_fetch(&signals_sent, 1, __ATOMIC_SEQ_CST);
    return pthread_cond_signal(cond);
}

#define clock_gettime(id, t) shifted_gettime(id, t)
#define pthread_cond_signal(cond) counted_signal(cond)
#define pthread_cond_timedwait(cond, mutex, at) \
    shifted_timedwait(cond, mutex, at, \
                      ((const struct jobq__cond *)(const void *)(cond))->time == JOBQ__OS_WALL)
#include "../../jobq.c"
#undef clock_gettime
#undef pthread_cond_signal
#undef pthread_cond_timedwait

/* ---- What happens in real time ---- */

/* Long enough that the step comes in between on most machines; where it does not nothing is missed
 * but a chance to fail. */
enum { STEP_MS = 150, LONG_MS = 450, LATE_MS = 60000 };

static const int64_t steps_s[] = {3600, -3600, 86400, -86400};
enum { STEPS = sizeof steps_s / sizeof steps_s[0], TO_1970 = STEPS, AND_BACK, ALL_STEPS };

static int64_t early, late, measured;

static int64_t real_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return as_us(&t);
}

/* Since from_us, if that is neither too short nor an hour too long. */
static void check_lasted(const char *what, int64_t from_us, int64_t wanted_ms) {
    int64_t lasted_us = real_us() - from_us;
    __atomic_add_fetch(&measured, 1, __ATOMIC_SEQ_CST);
    if (!CHECK(lasted_us >= wanted_ms * 1000)) __atomic_add_fetch(&early, 1, __ATOMIC_SEQ_CST);
    if (!CHECK(lasted_us < LATE_MS * 1000)) __atomic_add_fetch(&late, 1, __ATOMIC_SEQ_CST);
    if (lasted_us < wanted_ms * 1000 || lasted_us >= LATE_MS * 1000)
        test_note("%s took %" PRId64 " us", what, lasted_us);
}

static void set_clock(int step) {
    int64_t s = __atomic_load_n(&shift_s, __ATOMIC_SEQ_CST);
    if (step < STEPS) s += steps_s[step];
    else if (step == TO_1970) s -= jobq_clock_now(NULL) / 1000 - 1000;
    else s = 0;
    __atomic_store_n(&shift_s, s, __ATOMIC_SEQ_CST);
}

static void *set_clock_soon(void *arg) {
    test_pause_ms(STEP_MS);
    set_clock(*(const int *)arg);
    return NULL;
}

/* ---- Handlers ---- */

static jobq_outcome sleep_long(jobq_run *run, void *ctx) {
    int64_t from_us = real_us();
    (void)ctx;
    CHECK(!jobq_run_sleep(run, LONG_MS));
    check_lasted("a sleep", from_us, LONG_MS);
    CHECK(!jobq_should_stop(run));
    return JOBQ_DONE;
}

/* A timeout counts from there, which is before the handler begins. */
static int64_t begin_of_run_us(const jobq_run *run) {
    return run->started_ms * 1000;
}

static jobq_outcome watch_deadline(jobq_run *run, void *ctx) {
    (void)ctx;
    while (!jobq_should_stop(run)) test_pause_ms(1);
    check_lasted("a timeout", begin_of_run_us(run), LONG_MS);
    return JOBQ_RETRY;
}

static jobq_outcome oversleep_deadline(jobq_run *run, void *ctx) {
    (void)ctx;
    CHECK(jobq_run_sleep(run, JOBQ_DAY));
    check_lasted("a timeout asleep", begin_of_run_us(run), LONG_MS);
    return JOBQ_RETRY;
}

/* Does not hear that it should stop. */
static jobq_outcome work_on(jobq_run *run, void *ctx) {
    (void)run;
    gate_pass((gate *)ctx);
    return JOBQ_DONE;
}

/* ---- Tests ---- */

struct play {
    jobq *q;
    gate g;
    int64_t slept, timed, overslept, deaf;
};

static void begin_play(struct play *p, int64_t poll_ms) {
    memset(p, 0, sizeof *p);
    gate_init(&p->g);
    WORKS(jobq_open(test_path("q.db"), &(jobq_options){.workers = 4, .poll_ms = poll_ms,
                                                       .keep_done_ms = JOBQ_HOUR}, &p->q, &err));
    handle_kind(p->q, (jobq_kind){.name = "sleeps", .run = sleep_long, .timeout_ms = JOBQ_HOUR});
    handle_kind(p->q, (jobq_kind){.name = "looks", .run = watch_deadline, .timeout_ms = LONG_MS,
                                  .attempts_max = 1});
    handle_kind(p->q, (jobq_kind){.name = "oversleeps", .run = oversleep_deadline,
                                  .timeout_ms = LONG_MS, .attempts_max = 1});
    handle(p->q, "deaf", work_on, &p->g);
    handle(p->q, "quick", do_nothing, NULL);
    start(p->q);
}

static void end_play(struct play *p) {
    CHECK_CODE(jobq_close(&p->q), JOBQ_OK);
    __atomic_store_n(&shift_s, 0, __ATOMIC_SEQ_CST);
    gate_free(&p->g);
    unlink(test_path("q.db"));
}

static void check_late(const struct play *p, int64_t id) {
    jobq_info info = finish(p->q, id);
    CHECK_INT(info.state, JOBQ_STATE_FAILED);
    CHECK_STR(info.error, "the run took longer than its timeout");
}

/* A sleep, two timeouts and a wait at once; the clock is set under them. */
static void play_runs(struct play *p, int *step) {
    pthread_t thread;
    int64_t from_us, parked = put(p->q, "nobody");
    thread = thread_start(set_clock_soon, step);
    p->slept = put(p->q, "sleeps");
    p->timed = put(p->q, "looks");
    p->overslept = put(p->q, "oversleeps");
    from_us = real_us();
    CHECK_CODE(jobq_wait(p->q, parked, LONG_MS, NULL, NULL), JOBQ_TIMEOUT);
    check_lasted("a wait", from_us, LONG_MS);
    CHECK_INT(finish(p->q, p->slept).state, JOBQ_STATE_DONE);
    check_late(p, p->timed);
    check_late(p, p->overslept);
    pthread_join(thread, NULL);
}

/* The grace of a stop; the clock is set in it. */
static void play_stop(struct play *p, int *step) {
    pthread_t thread;
    int64_t from_us;
    p->deaf = put(p->q, "deaf");
    gate_await(&p->g, 1);
    thread = thread_start(set_clock_soon, step);
    from_us = real_us();
    CHECK_CODE(jobq_stop(p->q, LONG_MS, NULL), JOBQ_TIMEOUT);
    check_lasted("a stop", from_us, LONG_MS);
    pthread_join(thread, NULL);
    gate_open(&p->g);
    WORKS(jobq_stop(p->q, JOBQ_NEVER, &err));
    CHECK_INT(state_of(p->q, p->deaf), JOBQ_STATE_DONE);
}

/* Goal: a step of the system's clock fails no run, ends no sleep early or late, times out no wait,
 * delays no timeout and changes no grace. Method: by an hour and a day, forth and back, to 1970 and
 * back to now. */
TEST(steps_reach_nothing_that_runs) {
    for (int i = 0; i < ALL_STEPS; i++) {
        struct play p;
        int step = i == AND_BACK ? TO_1970 : i, next = AND_BACK;
        begin_play(&p, 0);
        if (i == AND_BACK) set_clock(step);
        play_runs(&p, i == AND_BACK ? &next : &step);
        play_stop(&p, i == AND_BACK ? &step : &next);
        end_play(&p);
    }
    test_figure("clock steps, real threads",
                "0 runs failed, no sleep, wait, timeout or grace early or late",
                "the system's clock set by +-1 h, +-1 day, to 1970 and back, under %" PRId64
                " sleeps, waits, timeouts and graces: %" PRId64 " early, %" PRId64 " late",
                measured, early, late);
}

/* Sets the clock back by an hour before a job's time has come: then it has to wait, as long as we
 * look; if this took too long it has run, and nothing is to be said. */
static void check_waits_again(struct play *p) {
    int64_t from_us = real_us(), id;
    bool in_time;
    id = put_job(p->q, (jobq_job){.kind = "quick", .run_at_ms = jobq_clock_now(NULL) + 1000});
    set_clock(1);
    in_time = real_us() - from_us < 900000;
    test_pause_ms(1300);
    if (in_time) CHECK_INT(state_of(p->q, id), JOBQ_STATE_PENDING);
    if (in_time) CHECK(look(p->q, id).scheduled);
    set_clock(0);
    CHECK_INT(finish(p->q, id).state, JOBQ_STATE_DONE);
}

/* Goal: a point in time follows the wall: at once when it is set past its time, not before it
 * when it is set back; and so does housekeeping. With polling, too, when the scheduler waits by the
 * monotonic clock. Method: as said, by an hour, while nobody calls. */
TEST(what_is_scheduled_follows_the_wall) {
    for (int polls = 0; polls < 2; polls++) {
        struct play p;
        int64_t id, from_us;
        begin_play(&p, polls ? JOBQ_HOUR : 0);
        id = put_job(p.q, (jobq_job){.kind = "quick",
                                     .run_at_ms = jobq_clock_now(NULL) + 30 * JOBQ_MINUTE});
        test_pause_ms(50); /* the scheduler has gone to sleep, mostly */
        from_us = real_us();
        set_clock(0);
        WORKS(jobq_wait(p.q, id, 30 * JOBQ_SECOND, NULL, &err));
        check_lasted("a job that a step made due", from_us, 0);
        if (test_failures()) return; /* nothing follows the wall, and we would wait for ever */
        check_waits_again(&p);
        from_us = real_us();
        set_clock(2);
        UNTIL(count_all(p.q).done == 0);
        check_lasted("housekeeping that a step made due", from_us, 0);
        end_play(&p);
    }
}

struct delayed {
    int64_t ran_us; /* atomic */
};

static jobq_outcome note_when(jobq_run *run, void *ctx) {
    (void)run;
    __atomic_store_n(&((struct delayed *)ctx)->ran_us, real_us(), __ATOMIC_SEQ_CST);
    return JOBQ_DONE;
}

/* Goal: a delay ends when so much has passed, wherever the clock is set meanwhile, and whether the
 * scheduler sleeps then or polls. Method: a pool that idles, each step; times are whole
 * milliseconds of two clocks, so a few of them are nothing. */
TEST(steps_reach_no_delay) {
    for (int i = 0; i < 2 * AND_BACK; i++) {
        struct delayed d = {0};
        jobq *q = NULL;
        int64_t from_us, id;
        WORKS(jobq_open(test_path("d.db"), &(jobq_options){.workers = 1, .keep_done_ms = JOBQ_NEVER,
                                                           .poll_ms = i % 2 ? JOBQ_HOUR : 0}, &q,
                        &err));
        REQUIRE(q != NULL);
        handle(q, "k", note_when, &d);
        start(q);
        from_us = real_us();
        id = put_in(q, LONG_MS);
        test_pause_ms(STEP_MS);
        set_clock(i / 2);
        UNTIL(__atomic_load_n(&d.ran_us, __ATOMIC_SEQ_CST));
        CHECK(d.ran_us - from_us >= (LONG_MS - 5) * 1000);
        CHECK_INT(finish(q, id).state, JOBQ_STATE_DONE);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        __atomic_store_n(&shift_s, 0, __ATOMIC_SEQ_CST);
        if (test_failures()) return;
    }
}

/* Goal: in step mode a sleep by the system's clock is as little reached. */
TEST(steps_reach_no_sleep_in_step_mode) {
    pthread_t thread;
    for (int step = 0; step < 2; step++) {
        jobq *q = NULL;
        WORKS(jobq_open(test_path("s.db"), &(jobq_options){.workers = JOBQ_NONE}, &q, &err));
        REQUIRE(q != NULL);
        handle(q, "k", sleep_long, NULL);
        put(q, "k");
        thread = thread_start(set_clock_soon, &step);
        CHECK_INT(drain(q), 1);
        pthread_join(thread, NULL);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    __atomic_store_n(&shift_s, 0, __ATOMIC_SEQ_CST);
}

struct far_wait {
    struct jobq__mutex mu;
    struct jobq__cond cond;
    int64_t at_us;
    bool told;
    int early; /* returns that nobody had asked for */
};

static void *wait_far(void *arg) {
    struct far_wait *w = (struct far_wait *)arg;
    jobq__os_lock(&w->mu);
    while (!w->told) {
        jobq__os_wait_until(&w->cond, &w->mu, w->at_us);
        if (!w->told) w->early++;
    }
    jobq__os_unlock(&w->mu);
    return NULL;
}

/* Goal: a wait of the system for a far future neither fails nor returns at once, whatever the size
 * of its time_t. Method: the last moment of all, by both clocks; a signal ends it. */
TEST(far_futures_are_waited_for) {
    static const int64_t ats_us[] = {INT64_MAX, INT64_MAX - 1, INT64_C(4102444800000000),
                                     INT64_C(2208988800000000)};
    for (int i = 0; i < 8; i++) {
        struct far_wait w;
        pthread_t thread;
        memset(&w, 0, sizeof w);
        w.at_us = ats_us[i / 2];
        REQUIRE_CODE(jobq__os_mutex_init(&w.mu), JOBQ_OK);
        REQUIRE_CODE(jobq__os_cond_init(&w.cond, i % 2 ? JOBQ__OS_WALL : JOBQ__OS_MONO), JOBQ_OK);
        thread = thread_start(wait_far, &w);
        test_pause_ms(20);
        jobq__os_lock(&w.mu);
        w.told = true;
        jobq__os_signal(&w.cond);
        jobq__os_unlock(&w.mu);
        pthread_join(thread, NULL);
        CHECK(w.early < 10); /* the system may wake anybody, but not again and again */
        jobq__os_cond_fini(&w.cond);
        jobq__os_mutex_fini(&w.mu);
    }
}

TEST_MAIN(steps_reach_nothing_that_runs, what_is_scheduled_follows_the_wall,
          steps_reach_no_delay, steps_reach_no_sleep_in_step_mode, far_futures_are_waited_for)
