/* retry.c - what becomes of a run: backoff and its jitter, exhausted attempts, outcomes
 * with more to say, deadlines, retention, results, checkpoints.
 *
 * All in step mode under the artificial clock: hours pass in no time and every delay is
 * known to the millisecond. */
#include "helpers.h"

#include "amalgamation/limits.h"

/* Runs the job's next attempt, wherever it lies, and returns what is known afterwards. */
static jobq_info next_attempt(fixture *f, int64_t id) {
    if (look(f->q, id).scheduled) {
        WORKS(jobq_advance_to_next(f->q, &err));
    } else {
        WORKS(jobq_step(f->q, NULL, &err));
    }
    return look(f->q, id);
}

/* ---- Backoff ---- */

/* Goal: the default schedule without jitter: 1, 2, 4 .. 2048 s, then an hour each time, 30
 * attempts, 65,295 s from the first failure to the last. Method: run it all, each delay. */
TEST(default_backoff_table) {
    fixture f;
    int64_t id, delay = JOBQ_SECOND;
    jobq_info info;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = retry_always,
                                             .jitter_percent = JOBQ_NONE}, &id));
    for (int n = 1; n < 30; n++) {
        info = next_attempt(&f, id);
        CHECK_INT(info.state, JOBQ_STATE_PENDING);
        CHECK_INT(info.attempt, n + 1);
        CHECK_INT(info.runs, n);
        CHECK_INT(info.run_at_ms - jobq_clock_now(f.clock), delay);
        delay = 2 * delay > JOBQ_HOUR ? JOBQ_HOUR : 2 * delay;
    }
    info = next_attempt(&f, id);
    CHECK_INT(info.state, JOBQ_STATE_FAILED);
    CHECK_INT(info.attempt, 30);
    CHECK_INT(info.runs, 30);
    CHECK_INT(fixture_elapsed(&f), 65295 * JOBQ_SECOND);
    CHECK_INT(info.finished_at_ms, T0 + 65295 * JOBQ_SECOND);
    fixture_close(&f);
}

/* Goal: the same table as events tell it: 29 retries and the end. Method: one advance over the
 * whole day; now of each settled run. */
TEST(backoff_told_by_events) {
    event_log *log = event_log_new();
    fixture f;
    jobq_event rows[64];
    int64_t id, due = 0, delay = JOBQ_SECOND;
    size_t n, settled = 0;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .on_event = log_event,
                                            .ctx = log}));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = retry_always, .jitter_percent = JOBQ_NONE});
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    advance(f.q, JOBQ_DAY);
    n = events_of(log, id, rows, 64);
    REQUIRE(n <= 64);
    for (size_t i = 0; i < n; i++) {
        if (rows[i].outcome == JOBQ_OUTCOME_NONE) continue;
        CHECK_INT(rows[i].now_ms, T0 + due);
        settled++;
        due += delay;
        delay = 2 * delay > JOBQ_HOUR ? JOBQ_HOUR : 2 * delay;
    }
    CHECK_INT(settled, 30);
    CHECK_INT(rows[n - 1].to, JOBQ_STATE_FAILED);
    fixture_close(&f);
    event_log_free(log);
}

/* Goal: a kind's own minimum and maximum hold. Method: 70 ms to 500 ms, six attempts. */
TEST(backoff_of_a_kind) {
    static const int64_t delays[] = {70, 140, 280, 500, 500, 500};
    fixture f;
    int64_t id;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = retry_always, .backoff_min_ms = 70,
                                             .backoff_max_ms = 500,
                                             .jitter_percent = JOBQ_NONE}, &id));
    for (int n = 0; n < 6; n++) {
        jobq_info info = next_attempt(&f, id);
        CHECK_INT(info.run_at_ms - jobq_clock_now(f.clock), delays[n]);
    }
    fixture_close(&f);
}

/* Writes the first n delays of a job that always fails, with this seed. */
static void delays_of(uint64_t seed, int percent, int64_t *delays, int n) {
    fixture f;
    int64_t id;
    memset(delays, 0, (size_t)n * sizeof *delays);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .seed = seed}));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = retry_always,
                                 .backoff_min_ms = 1000, .backoff_max_ms = 60000,
                                 .jitter_percent = percent});
    id = put(f.q, "k");
    for (int i = 0; i < n; i++) {
        jobq_info info = next_attempt(&f, id);
        delays[i] = info.run_at_ms - jobq_clock_now(f.clock);
    }
    fixture_remove(&f);
}

/* Checks that delays keep within percent around 1, 2, 4 .. 60 s, and that some differ from
 * the middle. */
static void check_jitter(const int64_t *delays, int n, int percent) {
    int64_t middle = 1000;
    int moved = 0;
    for (int i = 0; i < n; i++) {
        int64_t high = middle + middle * percent / 100;
        CHECK(delays[i] >= middle - middle * percent / 100);
        CHECK(delays[i] <= (high < 60000 ? high : 60000));
        moved += delays[i] != middle;
        middle = 2 * middle < 60000 ? 2 * middle : 60000;
    }
    CHECK(moved > 0);
}

/* Goal: the default jitter keeps within 20 % and below the maximum, and another percentage
 * within that. Method: 20 delays under several seeds. */
TEST(jitter_keeps_its_bounds) {
    int64_t delays[20];
    for (uint64_t seed = 0; seed < 5; seed++) {
        delays_of(seed, 0, delays, 20);
        check_jitter(delays, 20, 20);
        delays_of(seed, 50, delays, 20);
        check_jitter(delays, 20, 50);
    }
}

/* Goal: the same seed gives the same delays, another one others. Method: two runs and a
 * third. */
TEST(jitter_comes_from_the_seed) {
    int64_t a[10], b[10], c[10];
    delays_of(7, 0, a, 10);
    delays_of(7, 0, b, 10);
    delays_of(8, 0, c, 10);
    for (int i = 0; i < 10; i++) CHECK_INT(a[i], b[i]);
    CHECK(memcmp(a, c, sizeof a) != 0);
}

/* Goal: jitter depends on the job, so that jobs that failed together do not return together.
 * Method: 20 jobs failing at once have several different times. */
TEST(jitter_spreads_jobs) {
    fixture f;
    int64_t ids[20];
    int different = 0;
    REQUIRE(fixture_open(&f, STEP));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = retry_always,
                                 .backoff_min_ms = JOBQ_HOUR, .backoff_max_ms = JOBQ_DAY});
    for (int i = 0; i < 20; i++) ids[i] = put(f.q, "k");
    CHECK_INT(drain(f.q), 20);
    for (int i = 1; i < 20; i++)
        different += look(f.q, ids[i]).run_at_ms != look(f.q, ids[0]).run_at_ms;
    CHECK(different >= 10);
    fixture_close(&f);
}

/* ---- A backoff of the application's own ---- */

struct own_backoff {
    int64_t id;
    int calls, last_attempt, fail_from;
};

static int64_t seven_seconds_each(int attempt, int64_t id, void *ctx) {
    struct own_backoff *b = (struct own_backoff *)ctx;
    b->calls++;
    b->last_attempt = attempt;
    b->id = id;
    return attempt >= b->fail_from ? -1 : attempt * 7000;
}

static jobq_outcome retry_with_message(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_retry(run, "attempt %d was no good", jobq_run_attempt(run));
}

/* Goal: the callback gives the delay, knows attempt and id, and a negative number fails the
 * job for good, with its message. Method: three delays, then -1. */
TEST(backoff_callback_decides) {
    struct own_backoff b = {0, 0, 0, 4};
    fixture f;
    int64_t id;
    jobq_info info;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = retry_with_message, .ctx = &b,
                                             .jitter_percent = JOBQ_NONE,
                                             .backoff = seven_seconds_each}, &id));
    for (int n = 1; n <= 3; n++) {
        info = next_attempt(&f, id);
        CHECK_INT(info.run_at_ms - jobq_clock_now(f.clock), n * 7000);
        CHECK_INT(b.calls, n);
        CHECK_INT(b.last_attempt, n);
        CHECK_INT(b.id, id);
    }
    info = next_attempt(&f, id);
    CHECK_INT(info.state, JOBQ_STATE_FAILED);
    CHECK_INT(info.attempt, 4);
    CHECK_STR(info.error, "attempt 4 was no good");
    fixture_close(&f);
}

static int64_t at_once(int attempt, int64_t id, void *ctx) {
    (void)attempt;
    (void)id;
    (void)ctx;
    return 0;
}

/* Goal: a delay of zero is due at once. Method: five attempts in one drain. */
TEST(backoff_of_zero_is_due_at_once) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = retry_always, .attempts_max = 5,
                                             .backoff = at_once}, &id));
    CHECK_INT(drain(f.q), 5);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_FAILED);
    CHECK_INT(fixture_elapsed(&f), 0);
    fixture_close(&f);
}

/* ---- Attempts ---- */

/* Goal: after attempts_max attempts the job has failed with the last message and is kept.
 * Method: three attempts, each with a message that tells which. */
TEST(exhausted_job_fails_with_its_message) {
    fixture f;
    int64_t id;
    jobq_info info;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = retry_with_message, .attempts_max = 3}, &id));
    info = next_attempt(&f, id);
    CHECK_STR(info.error, "attempt 1 was no good");
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    next_attempt(&f, id);
    info = next_attempt(&f, id);
    CHECK_INT(info.state, JOBQ_STATE_FAILED);
    CHECK_STR(info.error, "attempt 3 was no good");
    CHECK_INT(info.attempt, 3);
    CHECK_INT(info.finished_at_ms, jobq_clock_now(f.clock));
    advance(f.q, JOBQ_HOUR);
    CHECK_INT(look(f.q, id).runs, 3);
    fixture_close(&f);
}

/* Goal: a single attempt means no retry. Method: attempts_max 1. */
TEST(single_attempt) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = retry_always, .attempts_max = 1}, &id));
    CHECK_INT(next_attempt(&f, id).state, JOBQ_STATE_FAILED);
    fixture_close(&f);
}

/* What a handler that takes JOBQ_UNLIMITED for a duration does with it. */
struct unlimited {
    int way;
    bool told_to_stop;
};

static jobq_outcome give_unlimited(jobq_run *run, void *ctx) {
    struct unlimited *u = (struct unlimited *)ctx;
    switch (u->way) {
    case 0: return jobq_snooze(run, JOBQ_UNLIMITED);
    case 1: return jobq_reschedule_in(run, JOBQ_UNLIMITED);
    case 2:
        jobq_snooze(run, JOBQ_UNLIMITED);
        return JOBQ_SNOOZE;
    case 3:
        u->told_to_stop = jobq_run_sleep(run, JOBQ_UNLIMITED) && jobq_should_stop(run);
        return jobq_done(run, "result", 6);
    default: return jobq_retry(run, "no paper");
    }
}

static int64_t wait_unlimited(int attempt, int64_t id, void *ctx) {
    (void)attempt, (void)id, (void)ctx;
    return JOBQ_UNLIMITED;
}

/* Goal: JOBQ_UNLIMITED is no duration, and not one of 24 days either: where a handler or a kind's
 * backoff gives it, the run is a failed attempt that says so. Method: each call; no time passes,
 * and the next attempt is due as after any failure. */
TEST(unlimited_is_no_duration) {
    static const char *const words[] = {
        "jobq_snooze was given JOBQ_UNLIMITED", "jobq_reschedule_in was given JOBQ_UNLIMITED",
        "jobq_snooze was given JOBQ_UNLIMITED", "jobq_run_sleep was given JOBQ_UNLIMITED",
        "the kind's backoff returned JOBQ_UNLIMITED"};
    for (int way = 0; way < 5; way++) {
        struct unlimited u = {way, false};
        fixture f;
        int64_t id;
        jobq_info info;
        jobq_kind kind = {.run = give_unlimited, .ctx = &u, .attempts_max = 2};
        if (way == 4) kind.backoff = wait_unlimited;
        REQUIRE(fixture_open_job(&f, kind, &id));
        CHECK_INT(drain(f.q), 1);
        CHECK_INT(jobq_clock_now(f.clock), T0);
        info = look(f.q, id);
        CHECK_INT(info.state, JOBQ_STATE_PENDING);
        CHECK_INT(info.attempt, 2);
        CHECK(info.run_at_ms > T0 && info.run_at_ms < T0 + JOBQ_MINUTE);
        if (!CHECK(strstr(info.error, words[way])) || !CHECK(strstr(info.error, "JOBQ_NEVER")))
            test_note("%s", info.error);
        CHECK(way != 4 || strstr(info.error, "no paper"));
        CHECK_INT(u.told_to_stop, way == 3);
        advance(f.q, JOBQ_MINUTE);
        info = look(f.q, id);
        CHECK_INT(info.state, JOBQ_STATE_FAILED);
        CHECK_INT((int64_t)info.result_size, 0);
        CHECK(strstr(info.error, way == 4 ? "no paper" : words[way]));
        handle(f.q, "other", do_nothing, NULL);
        put(f.q, "other"); /* by the same worker */
        CHECK_INT(drain(f.q), 1);
        CHECK_INT(count_all(f.q).done, 1);
        fixture_remove(&f);
    }
}

/* Goal: JOBQ_UNLIMITED attempts never end. Method: 200 of them, one hour apart at last. */
TEST(unlimited_attempts) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE,
                                            .durability = JOBQ_RELAXED}));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = retry_always, .attempts_max = JOBQ_UNLIMITED,
                                 .jitter_percent = JOBQ_NONE});
    id = put(f.q, "k");
    for (int n = 1; n <= 200; n++) CHECK_INT(next_attempt(&f, id).attempt, n + 1);
    CHECK_INT(look(f.q, id).run_at_ms - jobq_clock_now(f.clock), JOBQ_HOUR);
    fixture_close(&f);
}

static jobq_outcome succeed_as_third(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_run_attempt(run) < 3 ? jobq_retry(run, "not yet") : JOBQ_DONE;
}

/* Goal: a job that succeeds at last is done. Method: the third attempt. */
TEST(retried_job_may_succeed) {
    fixture f;
    int64_t id;
    jobq_info info;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = succeed_as_third}, &id));
    drain(f.q);
    advance(f.q, JOBQ_MINUTE);
    info = look(f.q, id);
    CHECK_INT(info.state, JOBQ_STATE_DONE);
    CHECK_INT(info.attempt, 3);
    CHECK_INT(info.runs, 3);
    fixture_close(&f);
}

/* Goal: the attempt is kept over reopening. Method: two failures, reopen, the third. */
TEST(attempts_are_kept_over_reopening) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = succeed_as_third}, &id));
    next_attempt(&f, id);
    next_attempt(&f, id);
    REQUIRE(fixture_reopen(&f));
    handle(f.q, "k", succeed_as_third, NULL);
    CHECK_INT(look(f.q, id).attempt, 3);
    CHECK_STR(look(f.q, id).error, "not yet");
    CHECK_INT(next_attempt(&f, id).state, JOBQ_STATE_DONE);
    fixture_close(&f);
}

/* ---- Failing for good, and messages ---- */

static jobq_outcome fail_with_message(jobq_run *run, void *ctx) {
    return jobq_fail(run, "gave up: %s", (const char *)ctx);
}

/* Goal: failing for good takes no second attempt and keeps the message. Method: with text and
 * without. */
TEST(failing_for_good) {
    fixture f;
    int64_t with_text, without;
    jobq_info info;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "text", fail_with_message, (void *)(uintptr_t) "no such user");
    handle(f.q, "bare", fail_always, NULL);
    with_text = put(f.q, "text");
    without = put(f.q, "bare");
    CHECK_INT(drain(f.q), 2);
    info = look(f.q, with_text);
    CHECK_INT(info.state, JOBQ_STATE_FAILED);
    CHECK_INT(info.attempt, 1);
    CHECK_STR(info.error, "gave up: no such user");
    CHECK_INT(state_of(f.q, without), JOBQ_STATE_FAILED);
    fixture_close(&f);
}

/* Goal: a long message is cut at JOBQ_TEXT_MAX bytes. Method: 1000 letters. */
TEST(long_message_is_cut) {
    char text[1001];
    fixture f;
    jobq_info info;
    memset(text, 'm', 1000);
    text[1000] = '\0';
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", fail_with_message, text);
    info = look(f.q, put(f.q, "k"));
    CHECK_INT(drain(f.q), 1);
    info = look(f.q, info.id);
    CHECK_INT(strlen(info.error), JOBQ_TEXT_MAX);
    CHECK(strncmp(info.error, "gave up: mmm", 12) == 0);
    fixture_close(&f);
}

static jobq_outcome say_nothing(jobq_run *run, void *ctx) {
    return *(const int *)ctx ? jobq_retry(run, NULL) : jobq_fail(run, NULL);
}

/* Goal: the format may be NULL. Method: both functions. */
TEST(message_may_be_null) {
    static const int choices[] = {1, 0};
    fixture f;
    int64_t a, b;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "retry", say_nothing, (void *)(uintptr_t)&choices[0]);
    handle(f.q, "fail", say_nothing, (void *)(uintptr_t)&choices[1]);
    a = put(f.q, "retry");
    b = put(f.q, "fail");
    CHECK_INT(drain(f.q), 2);
    CHECK_INT(look(f.q, a).attempt, 2);
    CHECK_INT(state_of(f.q, b), JOBQ_STATE_FAILED);
    fixture_close(&f);
}

static jobq_outcome change_its_mind(jobq_run *run, void *ctx) {
    (void)ctx;
    jobq_fail(run, "first thought");
    jobq_done(run, "result", 6);
    return jobq_retry(run, "second thought");
}

/* Goal: of several outcomes with more to say the last one counts. Method: three calls. */
TEST(last_detail_counts) {
    fixture f;
    jobq_info info;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", change_its_mind, NULL);
    info = next_attempt(&f, put(f.q, "k"));
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK_INT(info.attempt, 2);
    CHECK_STR(info.error, "second thought");
    CHECK_INT(info.result_size, 0);
    fixture_close(&f);
}

/* Goal: an outcome that is none cannot lose a job: it counts as a failure and says so. Method:
 * numbers that no handler may return. */
TEST(unknown_outcome_is_a_failure) {
    static jobq_outcome strange[] = {JOBQ_OUTCOME_NONE, JOBQ_CRASHED, (jobq_outcome)8,
                                     (jobq_outcome)99};
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        fixture f;
        jobq_info info;
        REQUIRE(fixture_open(&f, STEP));
        handle(f.q, "k", answer, &strange[i]);
        info = next_attempt(&f, put(f.q, "k"));
        CHECK(info.state == JOBQ_STATE_FAILED ||
              (info.state == JOBQ_STATE_PENDING && info.attempt == 2));
        if (!CHECK(strchr(info.error, ' ') != NULL)) test_note("outcome %d", (int)strange[i]);
        fixture_remove(&f);
    }
}

/* ---- Reschedule and snooze ---- */

/* What a handler does in its nth run, from 1. */
struct plan {
    int runs;
    jobq_outcome (*run_at[8])(jobq_run *run);
};

static jobq_outcome follow_plan(jobq_run *run, void *ctx) {
    struct plan *p = (struct plan *)ctx;
    int n = p->runs++;
    return CHECK(n < 8 && p->run_at[n] != NULL) ? p->run_at[n](run) : JOBQ_FAIL;
}

static jobq_outcome plan_retry(jobq_run *run) {
    return jobq_retry(run, "planned");
}
static jobq_outcome plan_done(jobq_run *run) {
    (void)run;
    return JOBQ_DONE;
}
static jobq_outcome plan_in_10_minutes(jobq_run *run) {
    return jobq_reschedule_in(run, 10 * JOBQ_MINUTE);
}
static jobq_outcome plan_at_noon(jobq_run *run) {
    return jobq_reschedule_at(run, T0 + 12 * JOBQ_HOUR);
}
static jobq_outcome plan_at_the_epoch(jobq_run *run) {
    return jobq_reschedule_at(run, 1);
}
static jobq_outcome plan_snooze_30_s(jobq_run *run) {
    return jobq_snooze(run, 30 * JOBQ_SECOND);
}

/* Goal: reschedule-in is no failure: the job comes again after that time as attempt 1. Method:
 * two failures, a reschedule, then done. */
TEST(reschedule_in_resets_the_attempt) {
    struct plan p = {0, {plan_retry, plan_retry, plan_in_10_minutes, plan_done}};
    fixture f;
    int64_t id;
    jobq_info info;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = follow_plan, .ctx = &p}, &id));
    next_attempt(&f, id);
    CHECK_INT(next_attempt(&f, id).attempt, 3);
    info = next_attempt(&f, id);
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK(info.scheduled);
    CHECK_INT(info.attempt, 1);
    CHECK_INT(info.runs, 3);
    CHECK_INT(info.run_at_ms, jobq_clock_now(f.clock) + 10 * JOBQ_MINUTE);
    info = next_attempt(&f, id);
    CHECK_INT(info.state, JOBQ_STATE_DONE);
    CHECK_INT(info.runs, 4);
    fixture_close(&f);
}

/* Goal: reschedule-at names the time, and one in the past means at once. Method: noon, then
 * the epoch. */
TEST(reschedule_at_names_the_time) {
    struct plan p = {0, {plan_retry, plan_at_noon, plan_at_the_epoch, plan_done}};
    fixture f;
    int64_t id;
    jobq_info info;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = follow_plan, .ctx = &p}, &id));
    next_attempt(&f, id);
    info = next_attempt(&f, id);
    CHECK_INT(info.run_at_ms, T0 + 12 * JOBQ_HOUR);
    CHECK_INT(info.attempt, 1);
    WORKS(jobq_advance(f.q, 12 * JOBQ_HOUR, NULL, &err));
    drain(f.q);
    info = look(f.q, id);
    CHECK_INT(info.state, JOBQ_STATE_DONE);
    CHECK_INT(info.runs, 4);
    fixture_close(&f);
}

static jobq_outcome bare_reschedule(jobq_run *run) {
    (void)run;
    return JOBQ_RESCHEDULE;
}

static jobq_outcome bare_snooze(jobq_run *run) {
    (void)run;
    return JOBQ_SNOOZE;
}

static jobq_outcome snooze_by_nothing(jobq_run *run) {
    return jobq_snooze(run, 0);
}

/* Goal: without a time a job waits for backoff_min_ms, so that it cannot spin; a reschedule is
 * attempt 1, a snooze keeps it. Said with a time of nothing, it is due at once. Method: one failure
 * before, each of them, the default and a minimum of the kind's own. */
TEST(bare_outcome_waits_for_the_backoff) {
    static const struct {
        jobq_outcome (*step)(jobq_run *run);
        int attempt;
        int64_t min_ms, wait_ms;
    } rows[] = {{bare_reschedule, 1, 0, JOBQ_SECOND},
                {bare_snooze, 2, 0, JOBQ_SECOND},
                {bare_reschedule, 1, 7 * JOBQ_SECOND, 7 * JOBQ_SECOND},
                {bare_snooze, 2, 7 * JOBQ_SECOND, 7 * JOBQ_SECOND},
                {snooze_by_nothing, 2, 7 * JOBQ_SECOND, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct plan p = {0, {plan_retry, NULL, plan_done}};
        fixture f;
        int64_t id;
        jobq_info info;
        p.run_at[1] = rows[i].step;
        REQUIRE(fixture_open_job(&f, (jobq_kind){.run = follow_plan, .ctx = &p,
                                                 .backoff_min_ms = rows[i].min_ms}, &id));
        next_attempt(&f, id);
        jobq_clock_advance(f.clock, JOBQ_MINUTE);
        WORKS(jobq_step(f.q, NULL, &err));
        info = look(f.q, id);
        CHECK_INT(info.attempt, rows[i].attempt);
        CHECK_INT(info.run_at_ms, jobq_clock_now(f.clock) + rows[i].wait_ms);
        CHECK_INT(drain(f.q), rows[i].wait_ms ? 0 : 1);
        advance(f.q, rows[i].wait_ms);
        CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
        fixture_remove(&f);
    }
}

/* Goal: snooze is no failure and keeps the attempt. Method: a failure, two snoozes, done. */
TEST(snooze_keeps_the_attempt) {
    struct plan p = {0, {plan_retry, plan_snooze_30_s, plan_snooze_30_s, plan_done}};
    fixture f;
    int64_t id;
    jobq_info info;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = follow_plan, .ctx = &p}, &id));
    next_attempt(&f, id);
    for (int i = 0; i < 2; i++) {
        info = next_attempt(&f, id);
        CHECK_INT(info.attempt, 2);
        CHECK_INT(info.runs, i + 2);
        CHECK_INT(info.run_at_ms, jobq_clock_now(f.clock) + 30 * JOBQ_SECOND);
    }
    info = next_attempt(&f, id);
    CHECK_INT(info.state, JOBQ_STATE_DONE);
    CHECK_INT(info.attempt, 2);
    fixture_close(&f);
}

/* Goal: snoozing does not use up attempts. Method: attempts_max 1 and three snoozes. */
TEST(snooze_uses_no_attempt) {
    struct plan p = {0, {plan_snooze_30_s, plan_snooze_30_s, plan_snooze_30_s, plan_done}};
    fixture f;
    int64_t id;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = follow_plan, .ctx = &p,
                                             .attempts_max = 1}, &id));
    for (int i = 0; i < 3; i++) CHECK_INT(next_attempt(&f, id).attempt, 1);
    CHECK_INT(next_attempt(&f, id).state, JOBQ_STATE_DONE);
    fixture_close(&f);
}

/* ---- The counter starts anew after health ---- */

struct late_failure {
    jobq_clock *clock;
    int64_t late_ms; /* how long the third run takes before it fails */
};

static jobq_outcome fail_third_late(jobq_run *run, void *ctx) {
    struct late_failure *l = (struct late_failure *)ctx;
    if (jobq_run_attempt(run) == 3) jobq_clock_advance(l->clock, l->late_ms);
    return JOBQ_RETRY;
}

static jobq_info after_a_late_failure(int64_t late_ms, int64_t *delay_ms) {
    struct late_failure l = {NULL, late_ms};
    fixture f;
    int64_t id;
    jobq_info info;
    memset(&info, 0, sizeof info);
    if (!CHECK(fixture_open(&f, STEP))) return info;
    l.clock = f.clock;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = fail_third_late, .ctx = &l,
                                 .jitter_percent = JOBQ_NONE});
    id = put(f.q, "k");
    next_attempt(&f, id); /* attempt 1: then 1 s */
    next_attempt(&f, id); /* attempt 2: then 2 s */
    info = next_attempt(&f, id);
    *delay_ms = info.run_at_ms - jobq_clock_now(f.clock);
    fixture_remove(&f);
    return info;
}

/* Goal: a failure of a run that lasted more than 3 times the longest backoff counts as the first
 * again; up to 3 times it does not. Method: the third run takes 3 h, or 1 ms more. */
TEST(counter_starts_anew_after_health) {
    int64_t delay = 0;
    CHECK_INT(after_a_late_failure(3 * JOBQ_HOUR, &delay).attempt, 4);
    CHECK_INT(delay, 4000);
    CHECK_INT(after_a_late_failure(3 * JOBQ_HOUR + 1, &delay).attempt, 2);
    CHECK_INT(delay, 1000);
}

static jobq_outcome fail_slowly(jobq_run *run, void *ctx) {
    (void)run;
    jobq_clock_advance((jobq_clock *)ctx, 30 * JOBQ_SECOND);
    return JOBQ_RETRY;
}

/* Goal: attempts run out for a handler that takes much longer than the delays between them.
 * Method: a timeout of half a minute on every attempt, with the default delays. */
TEST(slow_failures_come_to_an_end) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", fail_slowly, f.clock);
    id = put(f.q, "k");
    WORKS(jobq_advance(f.q, 30 * JOBQ_DAY / 10, NULL, &err));
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_FAILED);
    CHECK_INT(look(f.q, id).runs, 30);
    fixture_close(&f);
}

/* ---- Deadlines ---- */

struct deadline_seen {
    jobq_clock *clock;
    int64_t deadline;
    bool at_start, before, after, still;
};

static jobq_outcome outlive_the_deadline(jobq_run *run, void *ctx) {
    struct deadline_seen *d = (struct deadline_seen *)ctx;
    d->deadline = jobq_run_deadline(run);
    d->at_start = jobq_should_stop(run);
    jobq_clock_advance(d->clock, 4999);
    d->before = jobq_should_stop(run);
    jobq_clock_advance(d->clock, 2);
    d->after = jobq_should_stop(run);
    d->still = jobq_should_stop(run);
    return JOBQ_RETRY;
}

/* Goal: past its deadline a run is told to stop, and what it returns still counts. Method: a
 * timeout of 5 s, the handler moves the clock over it. */
TEST(deadline_is_seen_by_should_stop) {
    struct deadline_seen d;
    fixture f;
    jobq_info info;
    memset(&d, 0, sizeof d);
    REQUIRE(fixture_open(&f, STEP));
    d.clock = f.clock;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = outlive_the_deadline, .ctx = &d,
                                 .timeout_ms = 5000});
    info = next_attempt(&f, put(f.q, "k"));
    CHECK_INT(d.deadline, T0 + 5000);
    CHECK(!d.at_start && !d.before);
    CHECK(d.after && d.still);
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK_INT(info.attempt, 2);
    fixture_close(&f);
}

/* Sleeps as long as it may, and says that it gave up. */
static jobq_outcome give_up(jobq_run *run, void *ctx) {
    int64_t cancel = *(int64_t *)ctx;
    if (cancel == jobq_run_id(run)) jobq_cancel(jobq_run_handle(run), cancel, NULL);
    if (cancel >= 0) jobq_run_sleep(run, JOBQ_HOUR);
    return JOBQ_CANCELLED;
}

/* Goal: who is asked to stop and says that he was cancelled, though nobody has, has failed as by
 * any other timeout; one who was, or whom nobody asked, is cancelled. */
TEST(giving_up_at_a_timeout) {
    int64_t cancel = 0, id;
    jobq_info info;
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = give_up, .ctx = &cancel, .timeout_ms = 5000});
    id = put(f.q, "k");
    info = next_attempt(&f, id);
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK_INT(info.attempt, 2);
    CHECK_STR(info.error, "the run took longer than its timeout");
    cancel = id;
    info = next_attempt(&f, id);
    CHECK_INT(info.state, JOBQ_STATE_CANCELLED);
    cancel = -1;
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_CANCELLED);
    fixture_close(&f);
}

/* Goal: without a timeout there is no deadline. Method: the same five seconds pass. */
TEST(no_timeout_no_deadline) {
    struct deadline_seen d;
    fixture f;
    memset(&d, 0, sizeof d);
    REQUIRE(fixture_open(&f, STEP));
    d.clock = f.clock;
    handle(f.q, "k", outlive_the_deadline, &d);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(d.deadline, JOBQ_NEVER);
    CHECK(!d.after);
    fixture_close(&f);
}

static jobq_outcome late_but_done(jobq_run *run, void *ctx) {
    jobq_clock_advance((jobq_clock *)ctx, JOBQ_HOUR);
    CHECK(jobq_should_stop(run));
    return JOBQ_DONE;
}

/* Goal: late work is still work: done stands after the deadline. Method: an hour late. */
TEST(done_after_the_deadline_stands) {
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = late_but_done, .ctx = f.clock,
                                 .timeout_ms = 1});
    CHECK_INT(next_attempt(&f, put(f.q, "k")).state, JOBQ_STATE_DONE);
    fixture_close(&f);
}

/* Goal: each attempt has a deadline of its own, from its own start. Method: two attempts. */
TEST(deadline_counts_from_each_start) {
    struct deadline_seen d;
    fixture f;
    int64_t id, began;
    memset(&d, 0, sizeof d);
    REQUIRE(fixture_open(&f, STEP));
    d.clock = f.clock;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = outlive_the_deadline, .ctx = &d,
                                 .timeout_ms = 5000});
    id = put(f.q, "k");
    next_attempt(&f, id);
    began = look(f.q, id).run_at_ms;
    next_attempt(&f, id);
    CHECK_INT(d.deadline, began + 5000);
    CHECK(!d.at_start && !d.before && d.after);
    fixture_close(&f);
}

struct told_slowly {
    jobq_clock *clock;
    bool at_start;
    int64_t deadline, run_ms;
};

static void tell_slowly(const jobq_event *event, void *ctx) {
    struct told_slowly *t = (struct told_slowly *)ctx;
    if (event->to == JOBQ_STATE_RUNNING) jobq_clock_advance(t->clock, 6000);
    else if (event->from == JOBQ_STATE_RUNNING) t->run_ms = event->run_ms;
}

static jobq_outcome look_at_the_deadline(jobq_run *run, void *ctx) {
    struct told_slowly *t = (struct told_slowly *)ctx;
    t->at_start = jobq_should_stop(run);
    t->deadline = jobq_run_deadline(run);
    jobq_clock_advance(t->clock, 1000);
    return JOBQ_DONE;
}

/* Goal: the time that it takes to tell of a start is not the handler's: neither its timeout nor its
 * run_ms counts it. Method: on_event lets more than the timeout pass. */
TEST(deadline_counts_from_the_handler) {
    struct told_slowly t = {jobq_clock_artificial(T0), true, 0, 0};
    jobq *q = open_queue_at(test_path("q.db"),
                            (jobq_options){.workers = JOBQ_NONE, .clock = t.clock,
                                           .on_event = tell_slowly, .ctx = &t});
    REQUIRE(q != NULL);
    handle_kind(q, (jobq_kind){.name = "k", .run = look_at_the_deadline, .ctx = &t,
                               .timeout_ms = 5000});
    put(q, "k");
    CHECK_INT(drain(q), 1);
    CHECK(!t.at_start);
    CHECK_INT(t.deadline, T0 + 6000 + 5000);
    CHECK_INT(t.run_ms, 1000);
    close_queue(&q);
    jobq_clock_free(t.clock);
}

/* ---- Retention ---- */

/* Checks that a job with this outcome is there while it is kept and not afterwards. */
static void check_kept(jobq_options options, jobq_outcome outcome, int64_t keep_ms) {
    fixture f;
    int64_t id;
    options.workers = JOBQ_NONE;
    REQUIRE(fixture_open(&f, options));
    handle(f.q, "k", answer, &outcome);
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    advance(f.q, keep_ms - JOBQ_MINUTE);
    CHECK(state_of(f.q, id) == JOBQ_STATE_DONE || state_of(f.q, id) == JOBQ_STATE_FAILED);
    advance(f.q, keep_ms + JOBQ_HOUR);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_NONE);
    FAILS(JOBQ_NOT_FOUND, jobq_delete(f.q, id, &err));
    CHECK_INT(total(f.q), 0);
    fixture_remove(&f);
}

/* Goal: finished jobs are kept as long as the options say and then vanish, the newest one
 * too. Method: the defaults of 24 hours and 7 days, and one hour. */
TEST(finished_jobs_are_kept_and_vanish) {
    check_kept((jobq_options){0}, JOBQ_DONE, 24 * JOBQ_HOUR);
    check_kept((jobq_options){0}, JOBQ_FAIL, 7 * JOBQ_DAY);
    check_kept((jobq_options){.keep_done_ms = JOBQ_HOUR}, JOBQ_DONE, JOBQ_HOUR);
    check_kept((jobq_options){.keep_failed_ms = JOBQ_HOUR}, JOBQ_FAIL, JOBQ_HOUR);
}

/* Goal: a cancelled job is kept like a done one. Method: one hour. */
TEST(cancelled_jobs_are_kept_like_done_ones) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_done_ms = JOBQ_HOUR}));
    id = put(f.q, "k");
    WORKS(jobq_cancel(f.q, id, &err));
    advance(f.q, 59 * JOBQ_MINUTE);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_CANCELLED);
    advance(f.q, 2 * JOBQ_HOUR);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_NONE);
    fixture_close(&f);
}

/* Goal: JOBQ_NONE keeps nothing, done or failed. Method: three of each, then count. */
TEST(nothing_is_kept_with_none) {
    fixture f;
    int64_t last = 0;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_done_ms = JOBQ_NONE,
                                            .keep_failed_ms = JOBQ_NONE}));
    handle(f.q, "done", do_nothing, NULL);
    handle(f.q, "fail", fail_always, NULL);
    for (int i = 0; i < 6; i++) last = put(f.q, i % 2 ? "done" : "fail");
    CHECK_INT(drain(f.q), 6);
    CHECK_INT(total(f.q), 0);
    for (int64_t id = 1; id <= last; id++) CHECK_INT(state_of(f.q, id), JOBQ_STATE_NONE);
    CHECK_INT(stats_of(f.q).done, 3);
    CHECK_INT(stats_of(f.q).failed, 3);
    fixture_close(&f);
}

/* Goal: a kind's own retention counts before the queue's. Method: the queue keeps nothing,
 * one kind does; and the other way round. */
TEST(retention_of_a_kind) {
    fixture f;
    int64_t kept, dropped, failed;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_done_ms = JOBQ_NONE}));
    handle_kind(f.q, (jobq_kind){.name = "keep", .run = do_nothing, .keep_done_ms = JOBQ_HOUR});
    handle_kind(f.q, (jobq_kind){.name = "drop", .run = do_nothing});
    handle_kind(f.q, (jobq_kind){.name = "fail", .run = fail_always, .keep_failed_ms = JOBQ_NONE});
    kept = put(f.q, "keep");
    dropped = put(f.q, "drop");
    failed = put(f.q, "fail");
    CHECK_INT(drain(f.q), 3);
    CHECK_INT(state_of(f.q, kept), JOBQ_STATE_DONE);
    CHECK_INT(state_of(f.q, dropped), JOBQ_STATE_NONE);
    CHECK_INT(state_of(f.q, failed), JOBQ_STATE_NONE);
    advance(f.q, 3 * JOBQ_HOUR);
    CHECK_INT(state_of(f.q, kept), JOBQ_STATE_NONE);
    fixture_close(&f);
}

/* Goal: keep_max bounds the finished jobs, the newest stay. Method: 20 done jobs, 5 kept. */
TEST(keep_max_bounds_finished_jobs) {
    fixture f;
    int64_t ids[20];
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_max = 5}));
    handle(f.q, "k", do_nothing, NULL);
    for (int i = 0; i < 20; i++) ids[i] = put(f.q, "k");
    CHECK_INT(drain(f.q), 20);
    advance(f.q, JOBQ_HOUR);
    CHECK_INT(total(f.q), 5);
    for (int i = 15; i < 20; i++) CHECK_INT(state_of(f.q, ids[i]), JOBQ_STATE_DONE);
    CHECK_INT(state_of(f.q, ids[0]), JOBQ_STATE_NONE);
    fixture_close(&f);
}

/* Goal: pruning takes finished jobs only and manages more than one slice. Method: 1200 done
 * jobs grow old beside one that is scheduled and one that is parked. */
TEST(pruning_leaves_unfinished_jobs) {
    enum { N = 1200 };
    fixture f;
    int64_t later, parked;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_done_ms = JOBQ_HOUR,
                                            .durability = JOBQ_RELAXED}));
    handle(f.q, "k", do_nothing, NULL);
    put_many(f.q, &(jobq_job){.kind = "k"}, N);
    CHECK_INT(drain(f.q), N);
    later = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 90 * JOBQ_DAY});
    parked = put(f.q, "nobody");
    CHECK_INT(count_all(f.q).done, N);
    advance(f.q, JOBQ_DAY);
    CHECK_INT(total(f.q), 2);
    CHECK_INT(state_of(f.q, later), JOBQ_STATE_PENDING);
    CHECK_INT(state_of(f.q, parked), JOBQ_STATE_PENDING);
    fixture_close(&f);
}

/* Goal: however many jobs have grown old, a step that runs none drops some of them and returns; a
 * call that works until nothing is due drops them all. Method: the clock alone is moved on; a step
 * takes one slice before and one after. */
TEST(step_prunes_in_slices) {
    enum { SLICE = JOBQ__PRUNE_ROWS, N = 4 * SLICE + 100 };
    fixture f;
    int ran = 0;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_done_ms = JOBQ_HOUR,
                                            .durability = JOBQ_RELAXED}));
    handle(f.q, "k", do_nothing, NULL);
    put_many(f.q, &(jobq_job){.kind = "k"}, N);
    CHECK_INT(drain(f.q), N);
    jobq_clock_advance(f.clock, JOBQ_DAY);
    WORKS(jobq_step(f.q, &ran, &err));
    CHECK_INT(ran, 0);
    CHECK_INT(count_all(f.q).done, N - 2 * SLICE);
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(count_all(f.q).done, 0);
    fixture_close(&f);
}

/* ---- Results and checkpoints ---- */

static jobq_outcome done_with_result(jobq_run *run, void *ctx) {
    char result[] = "re\0sult";
    jobq_outcome outcome = jobq_done(run, result, 7);
    (void)ctx;
    memset(result, 'x', sizeof result);
    return outcome;
}

/* Goal: a result is stored as bytes and read back, also after reopening. Method: seven bytes
 * with a NUL; the handler's buffer is gone. */
TEST(result_is_stored) {
    fixture f;
    int64_t id;
    char back[16];
    size_t size = 0;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = done_with_result}, &id));
    CHECK_INT(next_attempt(&f, id).result_size, 7);
    for (int i = 0; i < 2; i++) {
        WORKS(jobq_get_result(f.q, id, back, sizeof back, &size, &err));
        CHECK_INT(size, 7);
        CHECK_MEM(back, "re\0sult", 7);
        if (i == 0) REQUIRE(fixture_reopen(&f));
    }
    fixture_close(&f);
}

struct steps {
    int runs, failures;
    char seen[3][16];
    size_t sizes[3];
    bool null[3];
};

/* Reads the checkpoint, saves another, reads that, and fails until the third run. */
static jobq_outcome work_in_steps(jobq_run *run, void *ctx) {
    struct steps *s = (struct steps *)ctx;
    int n = s->runs++;
    char text[] = "step 1";
    size_t size = 99;
    const void *old = jobq_run_checkpoint(run, &size);
    if (!CHECK(n < 3)) return JOBQ_FAIL;
    s->null[n] = old == NULL;
    s->sizes[n] = old ? size : 0;
    if (old && size < sizeof s->seen[n]) memcpy(s->seen[n], old, size);
    if (n == 2) return JOBQ_DONE;
    text[5] = (char)('1' + n);
    WORKS(jobq_checkpoint(run, text, 6, &err));
    old = jobq_run_checkpoint(run, &size);
    if (!old || size != 6 || memcmp(old, text, 6) != 0) s->failures++;
    return JOBQ_RETRY;
}

/* Goal: what one attempt saves the next one finds, the last save only, also after reopening.
 * Method: three attempts, reopen before the third. */
TEST(checkpoint_is_found_by_the_next_attempt) {
    struct steps s;
    fixture f;
    int64_t id;
    memset(&s, 0, sizeof s);
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = work_in_steps, .ctx = &s}, &id));
    next_attempt(&f, id);
    next_attempt(&f, id);
    REQUIRE(fixture_reopen(&f));
    handle(f.q, "k", work_in_steps, &s);
    CHECK_INT(next_attempt(&f, id).state, JOBQ_STATE_DONE);
    CHECK_INT(s.runs, 3);
    CHECK_INT(s.failures, 0);
    CHECK(s.null[0]);
    CHECK_STR(s.seen[1], "step 1");
    CHECK_INT(s.sizes[1], 6);
    CHECK_STR(s.seen[2], "step 2");
    fixture_close(&f);
}

static jobq_outcome save_too_much(jobq_run *run, void *ctx) {
    static const char bytes[101];
    size_t size = 0;
    const void *kept;
    (void)ctx;
    WORKS(jobq_checkpoint(run, "good", 4, &err));
    FAILS(JOBQ_TOO_BIG, jobq_checkpoint(run, bytes, sizeof bytes, &err));
    FAILS(JOBQ_MISUSE, jobq_checkpoint(run, NULL, 3, &err));
    kept = jobq_run_checkpoint(run, &size);
    CHECK_INT(size, 4);
    CHECK_MEM(kept, "good", 4);
    WORKS(jobq_checkpoint(run, bytes, 100, &err));
    return JOBQ_DONE;
}

/* Goal: a checkpoint has the limit of a payload; one that is refused changes nothing. Method:
 * a limit of 100 bytes. */
TEST(checkpoint_has_a_limit) {
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .payload_max = 100}));
    handle(f.q, "k", save_too_much, NULL);
    CHECK_INT(next_attempt(&f, put(f.q, "k")).state, JOBQ_STATE_DONE);
    fixture_close(&f);
}

static jobq_outcome no_checkpoint_of_others(jobq_run *run, void *ctx) {
    size_t size = 0;
    int *strangers = (int *)ctx;
    if (jobq_run_checkpoint(run, &size)) ++*strangers;
    WORKS(jobq_checkpoint(run, "mine", 4, &err));
    return JOBQ_DONE;
}

/* Goal: a checkpoint belongs to its job alone. Method: three jobs of one kind in turn. */
TEST(checkpoint_belongs_to_its_job) {
    fixture f;
    int strangers = 0;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", no_checkpoint_of_others, &strangers);
    for (int i = 0; i < 3; i++) put(f.q, "k");
    CHECK_INT(drain(f.q), 3);
    CHECK_INT(strangers, 0);
    fixture_close(&f);
}

struct unreadable {
    sqlite3 *reader;
    int failures;
};

static jobq_outcome read_what_cannot_be_read(jobq_run *run, void *ctx) {
    struct unreadable *u = (struct unreadable *)ctx;
    const void *kept;
    size_t size = 99;
    if (jobq_run_attempt(run) == 1) {
        WORKS(jobq_checkpoint(run, "half done", 9, &err));
        return JOBQ_RETRY;
    }
    sqlite3_progress_handler(u->reader, 1, veto, NULL);
    for (int i = 0; i < 2; i++) {
        kept = jobq_run_checkpoint(run, &size);
        u->failures += !kept && size == SIZE_MAX;
    }
    CHECK(jobq_run_checkpoint(run, NULL) == NULL);
    sqlite3_progress_handler(u->reader, 0, NULL, NULL);
    kept = jobq_run_checkpoint(run, &size);
    CHECK_INT(size, 9);
    if (CHECK(kept != NULL)) CHECK_MEM(kept, "half done", 9);
    return JOBQ_DONE;
}

/* Goal: a checkpoint that cannot be read is not told as none, and is found by who asks again.
 * Method: SQLite refuses the reader's statements for a while. */
TEST(checkpoint_that_cannot_be_read) {
    struct unreadable u = {NULL, 0};
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .on_connect = remember_reader,
                                            .ctx = &u.reader}));
    handle(f.q, "k", read_what_cannot_be_read, &u);
    id = put(f.q, "k");
    next_attempt(&f, id);
    CHECK_INT(next_attempt(&f, id).state, JOBQ_STATE_DONE);
    CHECK_INT(u.failures, 2);
    fixture_close(&f);
}

/* Saves what its payload says, after it has told whether it has found something. */
struct finder {
    const char *save; /* NULL: nothing; "-": NULL */
    size_t size;
    jobq_outcome outcome;
    bool found;
    size_t found_size;
};

static jobq_outcome find_and_save(jobq_run *run, void *ctx) {
    struct finder *f = (struct finder *)ctx;
    bool forget = f->save && strcmp(f->save, "-") == 0;
    f->found_size = 99;
    f->found = jobq_run_checkpoint(run, &f->found_size) != NULL;
    if (f->save) WORKS(jobq_checkpoint(run, forget ? NULL : f->save, f->size, &err));
    if (f->save) {
        size_t size = 99;
        CHECK((jobq_run_checkpoint(run, &size) != NULL) == !forget);
        CHECK_INT(size, f->size);
    }
    return f->outcome;
}

/* One attempt that saves, and what the next one finds, after what came in between. */
static void check_found(const char *save, size_t size, jobq_outcome outcome, bool revived,
                        bool reopened, bool found) {
    struct finder s = {save, size, outcome, true, 7};
    fixture f;
    int64_t id;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = find_and_save, .ctx = &s}, &id));
    CHECK_INT(drain(f.q), 1);
    CHECK(!s.found);
    CHECK_INT(s.found_size, 0);
    if (reopened) REQUIRE(fixture_reopen(&f));
    if (reopened) handle(f.q, "k", find_and_save, &s);
    if (revived) WORKS(jobq_retry_now(f.q, id, &err));
    s.save = NULL;
    s.outcome = JOBQ_DONE;
    advance(f.q, JOBQ_MINUTE);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    if (!CHECK_INT(s.found, found)) test_note("outcome %d, revived %d", (int)outcome, revived);
    CHECK_INT(s.found_size, found ? size : 0);
    fixture_remove(&f);
}

/* Goal: a new round begins without the checkpoint of the one before; a retry and a snooze go on
 * with it. Method: each outcome, and retry_now of a job in each state that it may be in. */
TEST(checkpoint_ends_with_its_round) {
    for (int reopened = 0; reopened < 2; reopened++) {
        check_found("half", 4, JOBQ_RETRY, false, reopened, true);
        check_found("half", 4, JOBQ_SNOOZE, false, reopened, true);
        check_found("half", 4, JOBQ_RESCHEDULE, false, reopened, false);
        check_found("half", 4, JOBQ_RETRY, true, reopened, false);
        check_found("half", 4, JOBQ_FAIL, true, reopened, false);
        check_found("half", 4, JOBQ_CANCELLED, true, reopened, false);
    }
}

/* Goal: NULL takes the checkpoint away; nothing at all, but not NULL, is one. Method: both, read in
 * the same run and in the next attempt. */
TEST(checkpoint_may_be_empty_or_taken_away) {
    check_found("", 0, JOBQ_RETRY, false, false, true);
    check_found("-", 0, JOBQ_RETRY, false, false, false);
}

TEST_MAIN(default_backoff_table, backoff_told_by_events, backoff_of_a_kind,
          jitter_keeps_its_bounds, jitter_comes_from_the_seed, jitter_spreads_jobs,
          backoff_callback_decides, backoff_of_zero_is_due_at_once,
          exhausted_job_fails_with_its_message, single_attempt, unlimited_attempts,
          retried_job_may_succeed, attempts_are_kept_over_reopening, failing_for_good,
          long_message_is_cut, message_may_be_null, last_detail_counts,
          unknown_outcome_is_a_failure, reschedule_in_resets_the_attempt,
          reschedule_at_names_the_time, bare_outcome_waits_for_the_backoff,
          snooze_keeps_the_attempt, unlimited_is_no_duration,
          snooze_uses_no_attempt, counter_starts_anew_after_health,
          slow_failures_come_to_an_end,
          deadline_is_seen_by_should_stop,
          giving_up_at_a_timeout, no_timeout_no_deadline, done_after_the_deadline_stands,
          deadline_counts_from_each_start,
          deadline_counts_from_the_handler, finished_jobs_are_kept_and_vanish,
          cancelled_jobs_are_kept_like_done_ones, nothing_is_kept_with_none, retention_of_a_kind,
          keep_max_bounds_finished_jobs, pruning_leaves_unfinished_jobs, step_prunes_in_slices,
          result_is_stored,
          checkpoint_is_found_by_the_next_attempt, checkpoint_has_a_limit,
          checkpoint_belongs_to_its_job,
          checkpoint_that_cannot_be_read, checkpoint_ends_with_its_round,
          checkpoint_may_be_empty_or_taken_away)
