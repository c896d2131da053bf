/* idle.c - who waits and who has nothing to do leaves the processor alone.
 *
 * While the test itself sleeps, or waits inside jobq, it is counted how much of the processor the
 * process takes and how often its threads give it up on their own. A thread that spins takes all
 * there is, on a busy machine its share of it; one that wakes each millisecond gives it up hundreds
 * of times. Both are far from the few that are right. As the machine may do something in between,
 * only what three looks in a row have found counts. */
#include "helpers.h"

#include <sys/resource.h>

enum { LOOK_MS = 500, LOOKS = 3, BUSY_MS = 100, WAKES = 50 };

struct spent {
    int64_t busy_us, wakes;
};

static struct spent spent_so_far(void) {
    struct timespec busy = {0, 0};
    struct rusage usage;
    memset(&usage, 0, sizeof usage);
    CHECK_INT(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &busy), 0);
    CHECK_INT(getrusage(RUSAGE_SELF, &usage), 0);
    return (struct spent){(int64_t)busy.tv_sec * 1000000 + busy.tv_nsec / 1000, usage.ru_nvcsw};
}

/* What stands still meanwhile; it takes LOOK_MS. */
typedef void (*standstill)(void *arg);

static void look_on(void *arg) {
    (void)arg;
    test_pause_ms(LOOK_MS);
}

static void check_idle(const char *what, standstill wait, void *arg) {
    struct spent spent = {0, 0};
    for (int i = 0; i < LOOKS; i++) {
        struct spent before = spent_so_far(), after;
        wait(arg);
        after = spent_so_far();
        spent.busy_us = after.busy_us - before.busy_us;
        spent.wakes = after.wakes - before.wakes;
        if (spent.busy_us <= BUSY_MS * 1000 && spent.wakes <= WAKES) return;
    }
    CHECK(spent.busy_us <= BUSY_MS * 1000);
    CHECK(spent.wakes <= WAKES);
    test_note("%s: %" PRId64 " us of the processor, %" PRId64 " times given up, in %d ms", what,
              spent.busy_us, spent.wakes, (int)LOOK_MS);
}

/* ---- Nothing to do ---- */

/* All that need no clock in the hand, and one that does. */
enum { IN_A_FILE, IN_MEMORY, SHARED, BY_HAND, STEPPED, SORTS };

static jobq *open_sort(int sort, jobq_clock *clock) {
    char name[16];
    jobq_options options = {.durability = JOBQ_RELAXED};
    if (sort == SHARED) options.shared = true;
    if (sort == BY_HAND) options.clock = clock;
    if (sort == STEPPED) options.workers = JOBQ_NONE;
    snprintf(name, sizeof name, "%d.db", sort);
    return open_queue_at(sort == IN_MEMORY ? ":memory:" : test_path(name), options);
}

/* Goal: a queue without work does nothing at all. Method: queues of all sorts at once, pools on a
 * file, in memory, shared and under an artificial clock, and one in step mode, which have run jobs
 * and keep them. */
TEST(idle_queue_does_nothing) {
    jobq_clock *clock = jobq_clock_artificial(T0);
    jobq *queues[SORTS];
    for (int i = 0; i < SORTS; i++) {
        int64_t id = 0;
        REQUIRE((queues[i] = open_sort(i, clock)) != NULL);
        handle(queues[i], "k", do_nothing, NULL);
        if (i != STEPPED) start(queues[i]);
        for (int j = 0; j < 20; j++) id = put(queues[i], "k");
        if (i == STEPPED) CHECK_INT(drain(queues[i]), 20);
        finish(queues[i], id);
    }
    check_idle("idle queues", look_on, NULL);
    for (int i = 0; i < SORTS; i++) close_queue(&queues[i]);
    jobq_clock_free(clock);
}

/* Goal: nor does one whose jobs cannot run yet. Method: jobs that are parked, due in an hour, or to
 * be tried again then; in a pool, under either clock, and in step mode. */
TEST(jobs_that_cannot_run_wake_nobody) {
    jobq_clock *clock = jobq_clock_artificial(T0);
    jobq *queues[SORTS];
    for (int i = 0; i < SORTS; i++) {
        int64_t id;
        REQUIRE((queues[i] = open_sort(i, clock)) != NULL);
        handle_kind(queues[i], (jobq_kind){.name = "k", .run = retry_always,
                                           .backoff_min_ms = JOBQ_HOUR});
        if (i != STEPPED) start(queues[i]);
        put(queues[i], "parked");
        put_in(queues[i], JOBQ_HOUR);
        id = put(queues[i], "k");
        if (i == STEPPED) CHECK_INT(drain(queues[i]), 1);
        UNTIL(look(queues[i], id).attempt == 2);
    }
    check_idle("jobs that cannot run", look_on, NULL);
    for (int i = 0; i < SORTS; i++) close_queue(&queues[i]);
    jobq_clock_free(clock);
}

/* Goal: nor do jobs for which no worker is free. Method: each stands in a handler whose timeout is
 * far, more than can be claimed are ready; on a file and in memory. */
TEST(jobs_behind_others_wake_nobody) {
    enum { WORKERS = 2, BEHIND = 1000 };
    jobq *queues[] = {open_pool(test_path("q.db"), WORKERS), open_pool(":memory:", WORKERS)};
    gate g;
    gate_init(&g);
    for (int i = 0; i < 2; i++) {
        REQUIRE(queues[i] != NULL);
        handle_kind(queues[i], (jobq_kind){.name = "slow", .run = stand_at_gate, .ctx = &g,
                                           .timeout_ms = JOBQ_HOUR});
        handle(queues[i], "k", do_nothing, NULL);
        start(queues[i]);
        put_many(queues[i], &(jobq_job){.kind = "slow"}, WORKERS);
        gate_await(&g, WORKERS * (i + 1));
        put_many(queues[i], &(jobq_job){.kind = "k"}, BEHIND);
    }
    check_idle("jobs behind others", look_on, NULL);
    gate_open(&g);
    for (int i = 0; i < 2; i++) close_queue(&queues[i]);
    gate_free(&g);
}

/* ---- Who waits ---- */

struct patient {
    jobq *q;
    int64_t id;
};

static void wait_for_nothing(void *arg) {
    struct patient *p = (struct patient *)arg;
    CHECK_CODE(jobq_wait(p->q, p->id, LOOK_MS, NULL, NULL), JOBQ_TIMEOUT);
}

static void *wait_for_ever(void *arg) {
    struct patient *p = (struct patient *)arg;
    WORKS(jobq_wait(p->q, p->id, JOBQ_NEVER, NULL, &err));
    return NULL;
}

/* Goal: a jobq_wait sleeps until it is told or its time is over, whoever may end it. Method: a pool
 * on a file and in memory, and step mode; meanwhile other threads wait without an end, also
 * under an artificial clock. */
TEST(wait_sleeps) {
    jobq_clock *clock = jobq_clock_artificial(T0);
    struct patient patients[SORTS];
    pthread_t threads[SORTS];
    for (int i = 0; i < SORTS; i++) {
        patients[i].q = open_sort(i, clock);
        REQUIRE(patients[i].q != NULL);
        if (i != STEPPED) start(patients[i].q);
        patients[i].id = put(patients[i].q, "parked");
        threads[i] = thread_start(wait_for_ever, &patients[i]);
    }
    check_idle("jobq_wait in a file", wait_for_nothing, &patients[IN_A_FILE]);
    check_idle("jobq_wait in memory", wait_for_nothing, &patients[IN_MEMORY]);
    check_idle("jobq_wait in step mode", wait_for_nothing, &patients[STEPPED]);
    for (int i = 0; i < SORTS; i++) {
        WORKS(jobq_cancel(patients[i].q, patients[i].id, &err));
        pthread_join(threads[i], NULL);
        close_queue(&patients[i].q);
    }
    jobq_clock_free(clock);
}

/* ctx: for how long. */
static jobq_outcome sleep_in_handler(jobq_run *run, void *ctx) {
    jobq_run_sleep(run, *(const int64_t *)ctx);
    return JOBQ_DONE;
}

/* Goal: a handler in jobq_run_sleep sleeps. Method: for an hour, for ever, until a timeout that is
 * far; in a pool under either clock; a stop ends it. */
TEST(sleeping_handler_sleeps) {
    static int64_t hour = JOBQ_HOUR, for_ever = JOBQ_NEVER;
    jobq_clock *clock = jobq_clock_artificial(T0);
    jobq *queues[SORTS] = {NULL};
    for (int i = 0; i < STEPPED; i++) {
        REQUIRE((queues[i] = open_sort(i, clock)) != NULL);
        handle(queues[i], "hour", sleep_in_handler, &hour);
        handle(queues[i], "for ever", sleep_in_handler, &for_ever);
        handle_kind(queues[i], (jobq_kind){.name = "timeout", .run = sleep_in_handler,
                                           .ctx = &for_ever, .timeout_ms = JOBQ_HOUR});
        start(queues[i]);
        put(queues[i], "hour");
        put(queues[i], "for ever");
        put(queues[i], "timeout");
        UNTIL(stats_of(queues[i]).running == 3);
    }
    check_idle("jobq_run_sleep", look_on, NULL);
    for (int i = 0; i < STEPPED; i++) {
        WORKS(jobq_stop(queues[i], JOBQ_NEVER, &err));
        close_queue(&queues[i]);
    }
    jobq_clock_free(clock);
}

static void run_the_next(void *arg) {
    put((jobq *)arg, "k");
    CHECK_INT(drain((jobq *)arg), 1);
}

/* Goal: the same in step mode by the system's clock, on the thread of whoever steps. */
TEST(sleep_in_step_mode_sleeps) {
    static int64_t look_ms = LOOK_MS;
    jobq *q = open_queue_at(":memory:", STEP);
    REQUIRE(q != NULL);
    handle(q, "k", sleep_in_handler, &look_ms);
    check_idle("jobq_run_sleep in step mode", run_the_next, q);
    close_queue(&q);
}

static void stop_in_vain(void *arg) {
    CHECK_CODE(jobq_stop((jobq *)arg, LOOK_MS, NULL), JOBQ_TIMEOUT);
}

static void advance_in_vain(void *arg) {
    CHECK_CODE(jobq_advance((jobq *)arg, JOBQ_SECOND, NULL, NULL), JOBQ_STALLED);
}

/* Goal: a stop and an advance sleep while they wait for a handler that does not heed them. */
TEST(stop_and_advance_sleep) {
    jobq_clock *clock = jobq_clock_artificial(T0);
    jobq *q = open_queue_at(test_path("q.db"), (jobq_options){.workers = 2, .clock = clock,
                                                              .durability = JOBQ_RELAXED,
                                                              .stall_ms = LOOK_MS});
    gate g;
    REQUIRE(q != NULL);
    start_with_one_at(&g, q, "k");
    check_idle("jobq_advance", advance_in_vain, q);
    check_idle("jobq_stop", stop_in_vain, q);
    gate_open(&g);
    close_queue(&q);
    gate_free(&g);
    jobq_clock_free(clock);
}

static void *enqueue_in_thread(void *arg) {
    put((jobq *)arg, "parked");
    return NULL;
}

/* Goal: while a job's transaction is open who has to write sleeps until it has ended. Method: the
 * outcome of another job, a job that becomes due, and a thread that enqueues. */
TEST(who_waits_for_a_transaction_sleeps) {
    jobq *q = open_queue_at(test_path("q.db"), (jobq_options){.durability = JOBQ_RELAXED,
                                                              .busy_ms = JOBQ_HOUR});
    gate holder, other;
    pthread_t thread;
    REQUIRE(q != NULL);
    gate_init(&holder);
    handle(q, "holds", hold_the_writer, &holder);
    handle(q, "due", do_nothing, NULL);
    start_with_one_at(&other, q, "k");
    put_job(q, (jobq_job){.kind = "due", .delay_ms = LOOK_MS / 2});
    put(q, "holds");
    gate_await(&holder, 1);
    gate_open(&other);
    thread = thread_start(enqueue_in_thread, q);
    check_idle("behind a transaction", look_on, NULL);
    gate_open(&holder);
    pthread_join(thread, NULL);
    close_queue(&q);
    gate_free(&holder);
    gate_free(&other);
}

/* A call that stays inside its queue: it stands in the callback that it has made. */
struct visit {
    jobq *q;
    gate inside;
    pthread_t caller;
};

static void stand_in_callback(void *ctx) {
    gate_pass(&((struct visit *)ctx)->inside);
}

static void *enqueue_and_stand(void *arg) {
    put(((struct visit *)arg)->q, "k");
    return NULL;
}

static void *let_go_later(void *arg) {
    test_pause_ms(LOOK_MS);
    gate_open(&((struct visit *)arg)->inside);
    return NULL;
}

/* Each look closes the next queue. */
static void close_beside_a_call(void *arg) {
    struct visit **next = (struct visit **)arg, *visit = (*next)++;
    pthread_t later = thread_start(let_go_later, visit);
    close_queue(&visit->q);
    pthread_join(visit->caller, NULL);
    pthread_join(later, NULL);
}

/* Goal: a close sleeps until the last call that is inside has left. Method: in step mode a call
 * stands in on_wake. */
TEST(close_sleeps) {
    struct visit visits[LOOKS], *next = visits;
    for (int i = 0; i < LOOKS; i++) {
        gate_init(&visits[i].inside);
        visits[i].q = open_queue_at(":memory:", (jobq_options){.workers = JOBQ_NONE,
                                                               .on_wake = stand_in_callback,
                                                               .ctx = &visits[i]});
        REQUIRE(visits[i].q != NULL);
        handle(visits[i].q, "k", do_nothing, NULL);
        visits[i].caller = thread_start(enqueue_and_stand, &visits[i]);
        gate_await(&visits[i].inside, 1);
    }
    check_idle("jobq_close", close_beside_a_call, &next);
    while (next < visits + LOOKS) close_beside_a_call(&next);
    for (int i = 0; i < LOOKS; i++) gate_free(&visits[i].inside);
}

TEST_MAIN(idle_queue_does_nothing, jobs_that_cannot_run_wake_nobody, jobs_behind_others_wake_nobody,
          wait_sleeps, sleeping_handler_sleeps, sleep_in_step_mode_sleeps, stop_and_advance_sleep,
          who_waits_for_a_transaction_sleeps, close_sleeps)
