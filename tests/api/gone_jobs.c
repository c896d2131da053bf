/* gone_jobs.c - a job that is gone leaves nothing behind.
 *
 * A job can have more than its row: a key, a message, a result, a checkpoint stand in tables of
 * their own. However the job goes - dropped at its end, pruned when its time is over, deleted in
 * any state - they go with it; else a queue that runs for years would fill its disk with what no
 * call can see. */
#include "helpers.h"

#include <sched.h>

#define RELAXED_STEP ((jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED})

enum { KEYS = 2, OUTCOMES = 5 };
static const jobq_outcome outcomes[OUTCOMES] = {JOBQ_DONE, JOBQ_RETRY, JOBQ_FAIL, JOBQ_CANCELLED,
                                                JOBQ_SNOOZE};

/* The payload is an outcome, and at the first attempt also whether to save a checkpoint. */
struct wish {
    jobq_outcome outcome;
    bool save;
};

static jobq_outcome grant(jobq_run *run, void *ctx) {
    struct wish wish;
    (void)ctx;
    memcpy(&wish, jobq_run_payload(run, NULL), sizeof wish);
    if (wish.save) CHECK_CODE(jobq_checkpoint(run, "halfway", 7, NULL), JOBQ_OK);
    switch (wish.outcome) {
    case JOBQ_DONE: return jobq_done(run, "a result", 8);
    case JOBQ_RETRY: return jobq_retry(run, "not yet");
    case JOBQ_FAIL: return jobq_fail(run, "never");
    case JOBQ_SNOOZE: return jobq_snooze(run, JOBQ_MINUTE);
    default: return wish.outcome;
    }
}

/* Every outcome, with a key and without, with a checkpoint and without. */
enum { JOBS = OUTCOMES * KEYS * 2 };

static void put_all(jobq *q, int64_t *ids) {
    for (int n = 0; n < JOBS; n++) {
        struct wish wish = {outcomes[n % OUTCOMES], n / OUTCOMES % 2 == 1};
        char key[16];
        snprintf(key, sizeof key, "key %d", n);
        ids[n] = put_job(q, (jobq_job){.kind = "k", .payload = &wish, .size = sizeof wish,
                                       .key = n < JOBS / 2 ? key : NULL});
    }
}

static void check_tables_empty(const char *path) {
    CHECK_INT(sql_int(path, "SELECT count(*) FROM jobq_row"), 0);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM jobq_extra"), 0);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM jobq_key"), 0);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM jobq_payload"), 0);
}

static bool open_with(fixture *f, jobq_kind kind) {
    if (!fixture_open(f, RELAXED_STEP)) return false;
    kind.name = "k";
    kind.run = grant;
    kind.jitter_percent = JOBQ_NONE;
    handle_kind(f->q, kind);
    return true;
}

/* Those that wait for another try; they end as cancelled. */
static void cancel_the_rest(jobq *q, const int64_t *ids) {
    for (int n = 0; n < JOBS; n++)
        if (state_of(q, ids[n]) == JOBQ_STATE_PENDING) WORKS(jobq_cancel(q, ids[n], &err));
}

/* Goal: jobs that are not kept leave nothing. Method: two attempts of all, then cancel. */
TEST(dropped_jobs_leave_nothing) {
    int64_t ids[JOBS];
    fixture f;
    REQUIRE(open_with(&f, (jobq_kind){.attempts_max = 3, .keep_done_ms = JOBQ_NONE,
                                      .keep_failed_ms = JOBQ_NONE}));
    put_all(f.q, ids);
    drain(f.q);
    advance(f.q, JOBQ_SECOND);
    cancel_the_rest(f.q, ids);
    CHECK_INT(total(f.q), 0);
    check_tables_empty(f.path);
    fixture_close(&f);
}

/* Goal: jobs that were kept leave nothing when their time is over, and nothing sooner. Method: the
 * same, kept for an hour; one second before its end all of them are there. */
TEST(pruned_jobs_leave_nothing) {
    int64_t ids[JOBS];
    fixture f;
    REQUIRE(open_with(&f, (jobq_kind){.attempts_max = 3, .keep_done_ms = JOBQ_HOUR,
                                      .keep_failed_ms = JOBQ_HOUR}));
    put_all(f.q, ids);
    drain(f.q);
    cancel_the_rest(f.q, ids);
    advance(f.q, JOBQ_HOUR - JOBQ_SECOND);
    CHECK_INT(total(f.q), JOBS);
    advance(f.q, JOBQ_SECOND + 2 * JOBQ_MINUTE);
    CHECK_INT(total(f.q), 0);
    check_tables_empty(f.path);
    fixture_close(&f);
}

/* Goal: no finished job goes a millisecond before its time, even when others go. Method: jobs end
 * one after the other within a second; housekeeping comes when the time of the first
 * is over, and all the others have to stay. */
TEST(no_job_is_pruned_too_early) {
    enum { COUNT = 20, APART_MS = 50 };
    struct wish done = {JOBQ_DONE, false};
    fixture f;
    REQUIRE(open_with(&f, (jobq_kind){.keep_done_ms = JOBQ_HOUR}));
    for (int n = 0; n < COUNT; n++) {
        put_job(f.q, (jobq_job){.kind = "k", .payload = &done, .size = sizeof done});
        drain(f.q);
        advance(f.q, APART_MS);
    }
    advance(f.q, JOBQ_HOUR - COUNT * APART_MS - 1);
    CHECK_INT(total(f.q), COUNT);
    advance(f.q, 1);
    CHECK_INT(total(f.q), COUNT - 1);
    advance(f.q, JOBQ_MINUTE + JOBQ_SECOND);
    CHECK_INT(total(f.q), 0);
    fixture_close(&f);
}

/* Goal: deleted jobs leave nothing, whatever they had come to. Method: delete all before the first
 * attempt, or after it. */
TEST(deleted_jobs_leave_nothing) {
    for (int attempts = 0; attempts < 2; attempts++) {
        int64_t ids[JOBS];
        fixture f;
        REQUIRE(open_with(&f, (jobq_kind){.attempts_max = 3}));
        put_all(f.q, ids);
        if (attempts) drain(f.q);
        for (int n = 0; n < JOBS; n++) WORKS(jobq_delete(f.q, ids[n], &err));
        CHECK_INT(total(f.q), 0);
        check_tables_empty(f.path);
        fixture_remove(&f);
    }
}

/* Goal: neighbours that are settled together leave no more than one that ends alone. Method: four
 * jobs with consecutive ids, each with a key; dropped at once, or kept. */
TEST(neighbours_leave_nothing) {
    enum { NEIGHBOURS = 4 };
    static const int64_t keep_ms[] = {JOBQ_NONE, JOBQ_HOUR};
    for (int n = 0; n < 2; n++) {
        jobq_job jobs[NEIGHBOURS] = {{.kind = "k", .key = "a"}, {.kind = "k", .key = "b"},
                                     {.kind = "k", .key = "c"}, {.kind = "k", .key = "d"}};
        fixture f;
        gate g;
        gate_init(&g);
        REQUIRE(fixture_open(&f, (jobq_options){.workers = NEIGHBOURS, .shared = true,
                                                .busy_ms = 5}));
        handle_kind(f.q, (jobq_kind){.name = "k", .run = stand_at_gate, .ctx = &g,
                                     .keep_done_ms = keep_ms[n]});
        start(f.q);
        WORKS(jobq_enqueue_many(f.q, jobs, NEIGHBOURS, NULL, &err));
        settle_together(&f, &g, NEIGHBOURS, "");
        WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
        CHECK_INT(stats_of(f.q).done, NEIGHBOURS);
        if (keep_ms[n] == JOBQ_NONE) check_tables_empty(f.path);
        CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_key WHERE held"), 0);
        for (int i = 0; i < NEIGHBOURS; i++)
            CHECK_CODE(jobq_enqueue(f.q, &jobs[i], NULL, NULL), JOBQ_OK);
        fixture_remove(&f);
        gate_free(&g);
    }
}

TEST_MAIN(dropped_jobs_leave_nothing, pruned_jobs_leave_nothing, no_job_is_pruned_too_early,
          deleted_jobs_leave_nothing, neighbours_leave_nothing)
