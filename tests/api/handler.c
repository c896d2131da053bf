/* handler.c - what a handler is given, and what is kept of what it says: promises of the
 * header about the memory that it sees and the words that it leaves. */
#include "helpers.h"

#define RELAXED_STEP ((jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED})

static bool aligned(const void *at) {
    return (uintptr_t)at % 8 == 0;
}

/* ---- Memory ---- */

enum { SIZE_MAX_TRIED = 150 };

static jobq_outcome look_at_bytes(jobq_run *run, void *ctx) {
    size_t size = 77, saved_size = 77;
    const unsigned char *bytes = (const unsigned char *)jobq_run_payload(run, &size);
    const void *saved;
    (void)ctx;
    CHECK(bytes != NULL && aligned(bytes));
    CHECK_INT(bytes[size], 0);
    for (size_t i = 0; i < size; i++)
        if (!CHECK_INT(bytes[i], (unsigned char)(size + i))) break;
    if (jobq_run_attempt(run) == 1) {
        CHECK(jobq_run_checkpoint(run, &saved_size) == NULL);
        CHECK_INT(saved_size, 0);
        CHECK_CODE(jobq_checkpoint(run, bytes, size, NULL), JOBQ_OK);
    }
    saved = jobq_run_checkpoint(run, &saved_size);
    CHECK(saved != NULL && aligned(saved));
    if (CHECK_INT(saved_size, size)) CHECK_MEM(saved, bytes, size);
    return jobq_run_attempt(run) == 1 ? JOBQ_RETRY : JOBQ_DONE;
}

/* Goal: payload and checkpoint are aligned to 8 bytes, and whole, and a zero follows the payload.
 * Method: every small size, none too, so that memory is used again for shorter and for longer ones;
 * in a file and in memory; two attempts. */
TEST(bytes_are_aligned_and_whole) {
    static const char *const places[] = {":memory:", "q.db"};
    for (int place = 0; place < 2; place++) {
        jobq_options options = RELAXED_STEP;
        unsigned char bytes[SIZE_MAX_TRIED];
        jobq *q = NULL;
        options.clock = jobq_clock_artificial(T0);
        WORKS(jobq_open(place ? test_path(places[1]) : places[0], &options, &q, &err));
        REQUIRE(q != NULL);
        handle(q, "k", look_at_bytes, NULL);
        for (size_t n = 1; n <= SIZE_MAX_TRIED; n++) {
            size_t size = n % 2 ? n : SIZE_MAX_TRIED + 1 - n;
            for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)(size + i);
            put_job(q, (jobq_job){.kind = "k", .payload = bytes, .size = size});
        }
        put(q, "k");
        put_job(q, (jobq_job){.kind = "k", .text = ""});
        CHECK_INT(drain(q), SIZE_MAX_TRIED + 2);
        advance(q, JOBQ_MINUTE);
        CHECK_INT(count_all(q).done, SIZE_MAX_TRIED + 2);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        jobq_clock_free(options.clock);
    }
}

/* What a run tells of its job; in the job's transaction, if there is one, and once more after. */
static jobq_outcome tell_of_itself(jobq_run *run, void *ctx) {
    const jobq_info *want = (const jobq_info *)ctx, *info = jobq_run_info(run);
    if (!CHECK(info != NULL)) return JOBQ_FAIL;
    CHECK(jobq_run_info(run) == info);
    CHECK_INT(info->id, jobq_run_id(run));
    CHECK_INT(info->state, JOBQ_STATE_RUNNING);
    CHECK_STR(info->kind, "k");
    CHECK_STR(info->queue, want->queue);
    CHECK_STR(info->key, want->key);
    CHECK_STR(info->error, jobq_run_attempt(run) == 1 ? "" : "once");
    CHECK_INT(info->priority, want->priority);
    CHECK_INT(info->attempt, jobq_run_attempt(run));
    CHECK_INT(info->runs, jobq_run_attempt(run));
    CHECK_INT(info->crashes, 0);
    CHECK_INT(info->created_at_ms, T0);
    CHECK_INT(info->run_at_ms, T0 + (jobq_run_attempt(run) == 1 ? 5 : 5 + JOBQ_SECOND));
    CHECK_INT(info->finished_at_ms, 0);
    CHECK_INT(info->payload_size, want->payload_size);
    CHECK_INT(info->result_size, 0);
    return jobq_run_attempt(run) == 1 ? jobq_retry(run, "once") : JOBQ_DONE;
}

/* Goal: a handler can know its job's queue, key and all the rest. Method: jobs with and without a
 * key and a queue of their own, two attempts each, in a file and in memory. */
TEST(run_tells_of_its_job) {
    for (int n = 0; n < 8; n++) {
        jobq_options options = RELAXED_STEP;
        jobq_info want = {.priority = n - 3, .payload_size = (size_t)n};
        jobq *q = NULL;
        int64_t id;
        options.clock = jobq_clock_artificial(T0);
        WORKS(jobq_open(n & 1 ? test_path("q.db") : ":memory:", &options, &q, &err));
        REQUIRE(q != NULL);
        snprintf(want.queue, sizeof want.queue, "%s", n & 2 ? "mine" : "default");
        if (n & 4) snprintf(want.key, sizeof want.key, "user 42");
        handle_kind(q, (jobq_kind){.name = "k", .run = tell_of_itself, .ctx = &want,
                                   .jitter_percent = JOBQ_NONE});
        id = put_job(q, (jobq_job){.kind = "k", .queue = n & 2 ? "mine" : NULL,
                                   .key = n & 4 ? want.key : NULL, .priority = n - 3,
                                   .payload = n ? "payload" : NULL, .size = (size_t)n,
                                   .delay_ms = 5});
        advance(q, JOBQ_MINUTE);
        CHECK_INT(look(q, id).runs, 2);
        CHECK_INT(state_of(q, id), JOBQ_STATE_DONE);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        jobq_clock_free(options.clock);
    }
}

static jobq_outcome return_bytes(jobq_run *run, void *ctx) {
    static const char bytes[101];
    return jobq_done(run, bytes, *(const size_t *)ctx);
}

static jobq_outcome return_bytes_unheeded(jobq_run *run, void *ctx) {
    return_bytes(run, ctx);
    return JOBQ_DONE;
}

/* Goal: a result has the limit of a payload; with a larger one the job fails for good and says why,
 * also where the handler does not return what it was told. Method: a limit of 100 bytes, and one
 * more. */
TEST(large_result_fails_the_job) {
    for (int i = 0; i < 4; i++) {
        size_t size = i % 2 ? 101 : 100;
        jobq_options options = RELAXED_STEP;
        jobq_info info;
        fixture f;
        int64_t id;
        options.payload_max = 100;
        REQUIRE(fixture_open(&f, options));
        handle(f.q, "k", i < 2 ? return_bytes : return_bytes_unheeded, &size);
        id = put(f.q, "k");
        CHECK_INT(drain(f.q), 1);
        info = look(f.q, id);
        CHECK_INT(info.state, size > 100 ? JOBQ_STATE_FAILED : JOBQ_STATE_DONE);
        CHECK_INT(info.result_size, size > 100 ? 0 : 100);
        CHECK_STR(info.error, size > 100 ? "the result of 101 bytes is larger than payload_max"
                                         : "");
        fixture_remove(&f);
    }
}

static jobq_outcome sleep_too_long(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_run_sleep(run, JOBQ_DAY) && jobq_should_stop(run) ? JOBQ_DONE : JOBQ_FAIL;
}

/* Goal: a sleep ends with the deadline of its run. Method: the system's clock, a pool where nothing
 * else happens, a sleep of a day; the watchdog is the limit. */
TEST(sleep_ends_with_the_deadline) {
    jobq *q = open_pool(test_path("q.db"), 1);
    REQUIRE(q != NULL);
    handle_kind(q, (jobq_kind){.name = "k", .run = sleep_too_long, .timeout_ms = 20});
    start(q);
    CHECK_INT(finish(q, put(q, "k")).state, JOBQ_STATE_DONE);
    close_queue(&q);
}

struct helper {
    jobq_run *run;
    jobq_error db, checkpoint;
    bool slept, stop, began;
};

static void *help(void *arg) {
    struct helper *h = (struct helper *)arg;
    sqlite3 *db = NULL;
    h->stop = jobq_should_stop(h->run);
    jobq_run_db(h->run, &db, &h->db);
    h->began = db != NULL;
    jobq_checkpoint(h->run, "a", 1, &h->checkpoint);
    h->slept = jobq_run_sleep(h->run, JOBQ_DAY);
    return NULL;
}

static jobq_outcome have_help(jobq_run *run, void *ctx) {
    struct helper *h = (struct helper *)ctx;
    h->run = run;
    pthread_join(thread_start(help, h), NULL);
    /* Neither is it in a transaction now, nor is anything saved. */
    CHECK(jobq_run_checkpoint(run, NULL) == NULL);
    CHECK_CODE(jobq_checkpoint(run, "b", 1, NULL), JOBQ_OK);
    return JOBQ_DONE;
}

/* Goal: what belongs to the handler's thread is refused on another, with a sentence; only
 * jobq_should_stop may be called there. Method: a helper that the handler waits for, in step mode
 * and with a pool, whose sleep would last for a day. */
TEST(helpers_of_a_handler_are_refused) {
    for (int workers = JOBQ_NONE; workers <= 1; workers += 2) {
        struct helper h;
        fixture f;
        memset(&h, 0, sizeof h);
        REQUIRE(fixture_open(&f, (jobq_options){.workers = workers}));
        handle(f.q, "k", have_help, &h);
        put(f.q, "k");
        if (workers == 1) start(f.q);
        advance(f.q, 1);
        CHECK_INT(count_all(f.q).done, 1);
        CHECK(!h.stop && !h.slept && !h.began);
        CHECK_INT(h.db.code, JOBQ_MISUSE);
        CHECK(strstr(h.db.text, "jobq_run_db is for the handler's own thread") != NULL);
        CHECK_INT(h.checkpoint.code, JOBQ_MISUSE);
        CHECK(strstr(h.checkpoint.text, "jobq_checkpoint is for") != NULL);
        CHECK_INT(fixture_elapsed(&f), 1);
        fixture_remove(&f);
    }
}

/* ---- Words ---- */

struct words {
    jobq_outcome said, returned;
};

static jobq_outcome say_one_thing(jobq_run *run, void *ctx) {
    const struct words *w = (const struct words *)ctx;
    if (w->said == JOBQ_RETRY) jobq_retry(run, "said with retry");
    if (w->said == JOBQ_FAIL) jobq_fail(run, "said with fail");
    if (w->said == JOBQ_DONE) jobq_done(run, "said with done", 14);
    if (w->said == JOBQ_SNOOZE) jobq_snooze(run, JOBQ_DAY);
    if (w->said == JOBQ_RESCHEDULE) jobq_reschedule_in(run, JOBQ_DAY);
    return w->returned;
}

/* Goal: the detail belongs to the outcome that it was said with: what the handler returns without
 * saying more has none. Method: each outcome said, each returned. */
TEST(detail_of_another_outcome_is_dropped) {
    static const jobq_outcome all[] = {JOBQ_DONE, JOBQ_RETRY, JOBQ_FAIL, JOBQ_RESCHEDULE,
                                       JOBQ_SNOOZE, JOBQ_CANCELLED};
    enum { ALL = sizeof all / sizeof all[0] };
    struct words w;
    fixture f;
    REQUIRE(fixture_open(&f, RELAXED_STEP));
    handle(f.q, "k", say_one_thing, &w);
    for (int n = 0; n < ALL * ALL; n++) {
        bool same = n / ALL == n % ALL;
        int before = test_failures();
        int64_t id = put(f.q, "k");
        jobq_info info;
        w = (struct words){all[n / ALL], all[n % ALL]};
        WORKS(jobq_step(f.q, NULL, &err));
        info = look(f.q, id);
        CHECK_STR(info.error, !same                       ? ""
                              : w.said == JOBQ_RETRY ? "said with retry"
                              : w.said == JOBQ_FAIL  ? "said with fail"
                                                     : "");
        if (w.returned == JOBQ_RESCHEDULE || w.returned == JOBQ_SNOOZE)
            CHECK_INT(info.run_at_ms, T0 + (same ? JOBQ_DAY : JOBQ_SECOND));
        if (test_failures() > before)
            test_note("said %s, returned %s", jobq_outcome_name(w.said),
                      jobq_outcome_name(w.returned));
        WORKS(jobq_delete(f.q, id, &err));
    }
    fixture_close(&f);
}

/* ---- Time ---- */

static jobq_outcome take_an_hour(jobq_run *run, void *ctx) {
    jobq_clock *clock = (jobq_clock *)ctx;
    int64_t before = jobq_clock_now(clock);
    jobq_clock_advance(clock, JOBQ_HOUR);
    CHECK_INT(jobq_clock_now(clock), before + JOBQ_HOUR);
    CHECK(jobq_should_stop(run));
    jobq_run_sleep(run, JOBQ_MINUTE); /* its deadline is long over */
    CHECK_INT(jobq_clock_now(clock), before + JOBQ_HOUR);
    return JOBQ_DONE;
}

/* Goal: time that a handler has taken is taken: nobody sets the clock back, neither its own
 * deadline nor the advance that it stands in, whose target has passed meanwhile. Method: a handler
 * that takes an hour inside an advance of two minutes. */
TEST(handler_may_move_the_clock) {
    fixture f;
    REQUIRE(fixture_open(&f, RELAXED_STEP));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = take_an_hour, .ctx = f.clock,
                                 .timeout_ms = JOBQ_SECOND});
    put_job(f.q, (jobq_job){.kind = "k", .delay_ms = JOBQ_MINUTE});
    put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 2 * JOBQ_MINUTE});
    advance(f.q, 2 * JOBQ_MINUTE);
    CHECK_INT(fixture_elapsed(&f), JOBQ_MINUTE + 2 * JOBQ_HOUR);
    CHECK_INT(count_all(f.q).done, 2);
    fixture_close(&f);
}

/* ---- The transaction ---- */

/* Ends the job's transaction, by a word or by an error, and begins another that looks the same. */
static jobq_outcome imitate(jobq_run *run, void *ctx) {
    static const char again[] = "INSERT OR ROLLBACK INTO note VALUES('before')";
    bool by_error = *(const bool *)ctx;
    sqlite3 *db = NULL;
    if (jobq_run_attempt(run) > 1) return JOBQ_DONE;
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_FAIL;
    CHECK_INT(run_sql(db, again), SQLITE_OK);
    if (by_error) CHECK_INT(run_sql(db, again) & 0xff, SQLITE_CONSTRAINT);
    else CHECK_INT(run_sql(db, "ROLLBACK"), SQLITE_AUTH);
    if (!by_error) CHECK_INT(run_sql(db, "BEGIN IMMEDIATE"), SQLITE_AUTH);
    CHECK_INT(run_sql(db, "SAVEPOINT jobq_run; INSERT INTO note VALUES('after')"), SQLITE_OK);
    return JOBQ_DONE;
}

static void check_imitation(bool by_error) {
    jobq_options options = RELAXED_STEP;
    fixture f;
    jobq_info info;
    int64_t id;
    sql_run(test_path("q.db"), "CREATE TABLE note(text UNIQUE)");
    options.join = true;
    REQUIRE(fixture_open(&f, options));
    handle(f.q, "k", imitate, &by_error);
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    info = look(f.q, id);
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK_INT(info.attempt, 2);
    CHECK(strstr(info.error, "transaction") != NULL);
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM note"), 0);
    advance(f.q, JOBQ_MINUTE);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    fixture_remove(&f);
}

/* Goal: a transaction that is not jobq's own is never committed as if it were, however much it
 * looks like it. Method: a handler that rolls back, or meets an error by which SQLite does, and
 * begins anew with the same savepoint. */
TEST(imitated_transaction_keeps_nothing) {
    check_imitation(false);
    check_imitation(true);
}

TEST_MAIN(bytes_are_aligned_and_whole, run_tells_of_its_job,
          helpers_of_a_handler_are_refused, large_result_fails_the_job,
          sleep_ends_with_the_deadline, detail_of_another_outcome_is_dropped,
          handler_may_move_the_clock, imitated_transaction_keeps_nothing)
