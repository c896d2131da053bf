/* stop_in_step_mode.c - step mode: stop and close beside a thread that steps.
 *
 * There are no workers to stop, but a thread that runs jobs by itself is one for as long as it does
 * so. Handlers here end only when they are asked to: what is not asked hangs. */
#include "helpers.h"

struct stepper {
    jobq *q;
    gate gate;     /* where the handler stands first */
    int runs;      /* by the thread that steps */
    bool patient;  /* the handler returns when its gate is open; else when it is asked to */
    int code;      /* what the call returned */
    int64_t ran;
};

static jobq_outcome run_until_asked(jobq_run *run, void *ctx) {
    struct stepper *s = (struct stepper *)ctx;
    s->runs++;
    gate_pass(&s->gate);
    while (!s->patient && !jobq_should_stop(run)) test_pause_ms(1);
    return JOBQ_DONE;
}

static void *advance_far(void *arg) {
    struct stepper *s = (struct stepper *)arg;
    s->code = jobq_advance(s->q, JOBQ_HOUR, NULL, NULL);
    return NULL;
}

static void *run_all(void *arg) {
    struct stepper *s = (struct stepper *)arg;
    s->code = jobq_run_until_idle(s->q, &s->ran, NULL);
    return NULL;
}

/* Opens, stores so many jobs, each due a second after the other, and lets a thread run them, whose
 * first handler then stands at the gate. */
static bool stepper_begin(struct stepper *s, fixture *f, int jobs, int64_t delay_ms,
                          void *(*call)(void *arg), pthread_t *thread) {
    memset(s, 0, sizeof *s);
    gate_init(&s->gate);
    if (!fixture_open(f, (jobq_options){.workers = JOBQ_NONE})) return false;
    s->q = f->q;
    handle(f->q, "k", run_until_asked, s);
    for (int i = 0; i < jobs; i++)
        WORKS(jobq_enqueue(f->q, &(jobq_job){.kind = "k", .delay_ms = i * delay_ms}, NULL, &err));
    *thread = thread_start(call, s);
    gate_await(&s->gate, 1);
    return true;
}

static void stepper_end(struct stepper *s, fixture *f) {
    if (!f->q) jobq_clock_free(f->clock);
    else fixture_close(f);
    gate_free(&s->gate);
}

/* Goal: close ends an advance, after the job that runs. Method: more jobs are due in its span. */
TEST(close_ends_an_advance) {
    struct stepper s;
    pthread_t thread;
    fixture f;
    if (!stepper_begin(&s, &f, 3, JOBQ_SECOND, advance_far, &thread)) return;
    gate_open(&s.gate);
    CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
    pthread_join(thread, NULL);
    CHECK_CODE(s.code, JOBQ_CLOSED);
    CHECK_INT(s.runs, 1);
    CHECK(fixture_elapsed(&f) < JOBQ_HOUR);
    stepper_end(&s, &f);
}

/* Goal: stop ends it, too, and when it has returned nothing runs any more, and nothing is claimed.
 * What is left runs when somebody steps again. */
TEST(stop_ends_an_advance) {
    struct stepper s;
    pthread_t thread;
    fixture f;
    if (!stepper_begin(&s, &f, 3, JOBQ_SECOND, advance_far, &thread)) return;
    gate_open(&s.gate);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    CHECK_INT(s.runs, 1);
    pthread_join(thread, NULL);
    CHECK_CODE(s.code, JOBQ_STALLED);
    s.patient = true;
    CHECK_INT(advance(f.q, JOBQ_HOUR) > 0, 1);
    CHECK_INT(s.runs, 3);
    stepper_end(&s, &f);
}

/* Goal: the same of jobq_run_until_idle. */
TEST(stop_ends_a_run_until_idle) {
    struct stepper s;
    pthread_t thread;
    fixture f;
    if (!stepper_begin(&s, &f, 5, 0, run_all, &thread)) return;
    gate_open(&s.gate);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    CHECK_INT(s.runs, 1);
    CHECK_INT(stats_of(f.q).claimed, 0);
    pthread_join(thread, NULL);
    CHECK_CODE(s.code, JOBQ_OK);
    CHECK_INT(s.ran, 1);
    CHECK_INT(count_all(f.q).ready, 4);
    s.patient = true;
    CHECK_INT(drain(f.q), 4);
    stepper_end(&s, &f);
}

static void *stop_at_once(void *arg) {
    FAILS(JOBQ_TIMEOUT, jobq_stop(((struct stepper *)arg)->q, JOBQ_NONE, &err));
    return NULL;
}

static void stop_when_done(const jobq_event *event, void *ctx) {
    struct stepper *s = (struct stepper *)ctx;
    pthread_t thread;
    if (event->to != JOBQ_STATE_DONE || s->runs > 1) return;
    thread = thread_start(stop_at_once, s);
    pthread_join(thread, NULL);
}

/* Goal: a stop that comes between two jobs finds the next one claimed and gives it back. Method: it
 * comes while the end of the first is told. */
TEST(stop_between_two_jobs) {
    struct stepper s = {.patient = true};
    fixture f;
    gate_init(&s.gate);
    gate_open(&s.gate);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .on_event = stop_when_done,
                                            .ctx = &s}));
    s.q = f.q;
    handle(f.q, "k", run_until_asked, &s);
    put(f.q, "k");
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(s.runs, 1);
    CHECK_INT(stats_of(f.q).claimed, 0);
    CHECK_INT(drain(f.q), 1);
    stepper_end(&s, &f);
}

/* Goal: the grace holds for a thread that steps as for a worker. */
TEST(stop_has_a_grace_in_step_mode) {
    struct stepper s;
    pthread_t thread;
    fixture f;
    if (!stepper_begin(&s, &f, 2, 0, run_all, &thread)) return;
    s.patient = true;
    FAILS(JOBQ_TIMEOUT, jobq_stop(f.q, JOBQ_NONE, &err));
    gate_open(&s.gate);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    pthread_join(thread, NULL);
    CHECK_INT(s.ran, 1);
    CHECK_INT(count_all(f.q).done, 1);
    CHECK_INT(count_all(f.q).ready, 1);
    stepper_end(&s, &f);
}

static jobq_outcome sleep_and_run_until_asked(jobq_run *run, void *ctx) {
    struct stepper *s = (struct stepper *)ctx;
    gate_pass(&s->gate);
    jobq_run_sleep(run, JOBQ_SECOND);
    return run_until_asked(run, ctx);
}

/* Goal: close ends an advance of a pool, too. Method: a handler that sleeps until the advance wakes
 * it, and then waits to be asked: once the clock has moved the call is inside. */
TEST(close_ends_an_advance_of_a_pool) {
    struct stepper s = {.q = NULL};
    pthread_t thread;
    fixture f;
    gate_init(&s.gate);
    gate_open(&s.gate);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .stall_ms = JOBQ_DAY}));
    s.q = f.q;
    handle(f.q, "k", sleep_and_run_until_asked, &s);
    put(f.q, "k");
    put(f.q, "k");
    start(f.q);
    gate_await(&s.gate, 1);
    thread = thread_start(advance_far, &s);
    while (fixture_elapsed(&f) == 0) test_pause_ms(1);
    CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
    pthread_join(thread, NULL);
    CHECK_CODE(s.code, JOBQ_CLOSED);
    CHECK_INT(s.runs, 1);
    stepper_end(&s, &f);
}

TEST_MAIN(close_ends_an_advance, stop_ends_an_advance, stop_ends_a_run_until_idle,
          stop_between_two_jobs, stop_has_a_grace_in_step_mode, close_ends_an_advance_of_a_pool)
