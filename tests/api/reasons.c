/* reasons.c - what is refused says of which job or call that is, why, and what to do instead. */
#include "helpers.h"

/* The record has the code, and its sentence all of the words, which are separated by bars. */
static void check_says(const jobq_error *told, int wanted, const char *words, int line) {
    char copy[256];
    bool all = true;
    snprintf(copy, sizeof copy, "%s", words);
    for (char *word = strtok(copy, "|"); word; word = strtok(NULL, "|"))
        all = all && strstr(told->text, word);
    test_check(told->code == wanted && all, __FILE__, line, words);
    if (told->code != wanted || !all) test_note("%s: %s", jobq_code_name(told->code), told->text);
}

#define SAYS(wanted, words, call) \
    do { \
        jobq_error err = {.code = 0}; \
        CHECK_CODE((call), wanted); \
        check_says(&err, wanted, words, __LINE__); \
    } while (0)

/* ---- The state of a job ---- */

static jobq_outcome refuse_itself(jobq_run *run, void *ctx) {
    jobq *q = jobq_run_handle(run);
    int64_t id = jobq_run_id(run);
    (void)ctx;
    SAYS(JOBQ_BAD_STATE, "job 1 of kind self is running already", jobq_retry_now(q, id, &err));
    SAYS(JOBQ_BUSY, "job 1 of kind self is running|jobq_cancel", jobq_delete(q, id, &err));
    return JOBQ_DONE;
}

/* Goal: a call that a job's state forbids names the job and its state. Method: each state that one
 * of them is refused in, in step mode and with jobs that wait in the ring. */
TEST(state_is_named) {
    int64_t parked, due, ringed;
    gate g;
    jobq *q;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    handle(f.q, "self", refuse_itself, NULL);
    put(f.q, "self");
    due = put(f.q, "self");
    SAYS(JOBQ_BAD_STATE, "job 2 of kind self is due already", jobq_retry_now(f.q, due, &err));
    WORKS(jobq_cancel(f.q, due, &err));
    SAYS(JOBQ_BAD_STATE, "job 2 of kind self is cancelled already", jobq_cancel(f.q, due, &err));
    parked = put(f.q, "typo");
    CHECK_INT(drain(f.q), 1);
    SAYS(JOBQ_BAD_STATE, "job 1 of kind self is done already", jobq_cancel(f.q, 1, &err));
    SAYS(JOBQ_BAD_STATE, "job 1 of kind self is done already|store another",
         jobq_retry_now(f.q, 1, &err));
    SAYS(JOBQ_BAD_STATE, "job 3 of kind typo is parked|jobq_register",
         jobq_retry_now(f.q, parked, &err));
    fixture_close(&f);
    q = open_pool(test_path("pool.db"), 1);
    REQUIRE(q != NULL);
    start_with_one_at(&g, q, "slow");
    ringed = put(q, "slow");
    SAYS(JOBQ_BAD_STATE, "job 2 of kind slow is due already", jobq_retry_now(q, ringed, &err));
    SAYS(JOBQ_BAD_STATE, "job 1 of kind slow is running already", jobq_retry_now(q, 1, &err));
    gate_open(&g);
    close_queue(&q);
    gate_free(&g);
}

/* ---- Where a call comes from ---- */

static struct {
    jobq *q;
    bool told, woken, asked;
    jobq_error err;
} inside;

/* What was said into inside.err. */
static void says_nothing_of(const char *word, int code) {
    CHECK(code != JOBQ_OK && !strstr(inside.err.text, word));
}

static jobq_outcome call_what_waits(jobq_run *run, void *ctx) {
    jobq *q = jobq_run_handle(run);
    int64_t ran;
    (void)ctx;
    SAYS(JOBQ_MISUSE, "a handler may not call jobq_wait|jobq_snooze",
         jobq_wait(q, 1, JOBQ_NEVER, NULL, &err));
    SAYS(JOBQ_MISUSE, "a handler may not call jobq_step, which would wait until it returns|longjmp"
         "|after you have returned",
         jobq_step(q, NULL, &err));
    SAYS(JOBQ_MISUSE, "a handler may not call jobq_run_until_idle|after you have returned",
         jobq_run_until_idle(q, &ran, &err));
    SAYS(JOBQ_MISUSE, "a handler may not call jobq_advance|jobq_run_sleep",
         jobq_advance(q, 1, NULL, &err));
    SAYS(JOBQ_MISUSE, "a handler may not call jobq_stop|another thread",
         jobq_stop(q, 0, &err));
    SAYS(JOBQ_MISUSE, "a handler may not call jobq_start|another", jobq_start(q, &err));
    return JOBQ_RETRY;
}

static int64_t stop_in_backoff(int attempt, int64_t id, void *ctx) {
    (void)attempt, (void)id, (void)ctx;
    inside.asked = true;
    SAYS(JOBQ_MISUSE, "a kind's backoff may not call jobq_stop", jobq_stop(inside.q, 0, &err));
    return JOBQ_HOUR;
}

static void stop_in_event(const jobq_event *event, void *ctx) {
    (void)event, (void)ctx;
    if (!inside.q) return;
    inside.told = true;
    SAYS(JOBQ_MISUSE, "on_event may not call jobq_stop", jobq_stop(inside.q, 0, &err));
}

static void step_in_wake(void *ctx) {
    (void)ctx;
    if (!inside.q) return;
    inside.woken = true;
    SAYS(JOBQ_MISUSE, "on_wake may not call jobq_step", jobq_step(inside.q, NULL, &err));
    says_nothing_of("longjmp", jobq_step(inside.q, NULL, &inside.err));
}

static int wait_in_connect(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                           void *ctx) {
    (void)db, (void)stage, (void)err, (void)ctx;
    if (which == JOBQ_CONNECTION_JOB)
        SAYS(JOBQ_MISUSE, "on_connect may not call jobq_wait",
             jobq_wait(inside.q, 1, 0, NULL, &err));
    return 0;
}

static jobq_outcome connect_only(jobq_run *run, void *ctx) {
    sqlite3 *db;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    return JOBQ_DONE;
}

/* Goal: who calls what would wait for it is told where it is and what else to do. Method: step
 * mode; from a handler, its backoff, and each callback that runs while the queue is open. */
TEST(place_is_named) {
    fixture f;
    memset(&inside, 0, sizeof inside);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .on_event = stop_in_event,
                                            .on_wake = step_in_wake,
                                            .on_connect = wait_in_connect}));
    inside.q = f.q;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = call_what_waits,
                                 .backoff = stop_in_backoff});
    handle(f.q, "connects", connect_only, NULL);
    put(f.q, "k");
    put(f.q, "connects");
    CHECK_INT(drain(f.q), 2);
    CHECK(inside.told && inside.woken && inside.asked);
    inside.q = NULL;
    fixture_close(&f);
}

static void stop_from_thread_hook(jobq_thread what, int index, bool begins, void *ctx) {
    (void)what, (void)index, (void)begins, (void)ctx;
    SAYS(JOBQ_MISUSE, "on_thread may not call jobq_stop", jobq_stop(inside.q, 0, &err));
}

/* Goal: the same in the pool's threads. */
TEST(thread_hook_is_named) {
    jobq_options options = {.workers = 2, .on_thread = stop_from_thread_hook};
    WORKS(jobq_open(":memory:", &options, &inside.q, &err));
    REQUIRE(inside.q != NULL);
    start(inside.q);
    WORKS(jobq_stop(inside.q, JOBQ_NEVER, &err));
    close_queue(&inside.q);
}

/* ---- Who keeps us waiting ---- */

/* Goal: a stop, an advance and a wait that are kept waiting name the job whose handler runs.
 * Method: a pool with handlers at a gate, under an artificial clock with little patience. */
TEST(culprit_is_named) {
    jobq_options options = {.workers = 3, .stall_ms = 20};
    int64_t waits;
    fixture f;
    gate g;
    REQUIRE(fixture_open(&f, options));
    start_with_one_at(&g, f.q, "slow");
    SAYS(JOBQ_STALLED, "20 ms|job 1 of kind slow still runs", jobq_advance(f.q, 1, NULL, &err));
    put(f.q, "slow");
    put(f.q, "slow");
    gate_await(&g, 3);
    waits = put(f.q, "slow");
    SAYS(JOBQ_TIMEOUT, "job 4 is ready|of kind slow (and 2 more) still runs",
         jobq_wait(f.q, waits, 0, NULL, &err));
    SAYS(JOBQ_TIMEOUT, "of kind slow (and 2 more) still runs|jobq_should_stop",
         jobq_stop(f.q, JOBQ_NONE, &err));
    SAYS(JOBQ_BUSY, "of kind slow (and 2 more) still runs|jobq_stop again",
         jobq_start(f.q, &err));
    gate_open(&g);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    fixture_close(&f);
    gate_free(&g);
}

static int64_t stand_in_backoff(int attempt, int64_t id, void *ctx) {
    (void)attempt, (void)id;
    gate_pass((gate *)ctx);
    return JOBQ_DAY;
}

/* Goal: the same of a kind's backoff, which is no callback of the queue. Method: as above, but the
 * handler has failed, and its backoff stands at the gate. */
TEST(backoff_is_named_as_culprit) {
    jobq_options options = {.workers = 1, .stall_ms = 20};
    int64_t waits;
    fixture f;
    gate g;
    REQUIRE(fixture_open(&f, options));
    gate_init(&g);
    handle_kind(f.q, (jobq_kind){.name = "slow", .run = retry_always, .ctx = &g,
                                 .backoff = stand_in_backoff});
    put(f.q, "slow");
    start(f.q);
    gate_await(&g, 1);
    SAYS(JOBQ_STALLED, "20 ms|the backoff of kind slow still runs, for job 1",
         jobq_advance(f.q, 1, NULL, &err));
    waits = put(f.q, "slow");
    SAYS(JOBQ_TIMEOUT, "job 2 is ready|the backoff of kind slow still runs",
         jobq_wait(f.q, waits, 0, NULL, &err));
    SAYS(JOBQ_TIMEOUT, "the backoff of kind slow still runs", jobq_stop(f.q, JOBQ_NONE, &err));
    SAYS(JOBQ_BUSY, "the backoff of kind slow still runs|jobq_stop again",
         jobq_start(f.q, &err));
    gate_open(&g);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    fixture_close(&f);
    gate_free(&g);
}

static jobq_outcome snooze_for_ever(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_snooze(run, 0);
}

/* Goal: where no handler runs, none is blamed. Method: a job that is always due again. */
TEST(nobody_is_blamed) {
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .stall_ms = 20}));
    handle(f.q, "k", snooze_for_ever, NULL);
    put(f.q, "k");
    SAYS(JOBQ_STALLED, "always due again", jobq_advance(f.q, 1, NULL, &err));
    fixture_close(&f);
}

/* ---- Options and paths ---- */

/* Goal: what is easily mistaken is said to be. Method: a mode without its leading 0, and one that
 * is none in any notation; a client of memory; a file without a queue. */
TEST(slip_is_named) {
    jobq_options options = {.mode = 640}, client = {.role = JOBQ_CLIENT, .shared = true};
    const char *path = test_path("other.db");
    jobq *q = NULL;
    SAYS(JOBQ_MISUSE, "mode is 01200 (written without the leading 0?)",
         jobq_open(path, &options, &q, &err));
    options.mode = 0777;
    SAYS(JOBQ_MISUSE, "mode is 0777;", jobq_open(path, &options, &q, &err));
    SAYS(JOBQ_NOT_FOUND, ":memory:|path of a file", jobq_open(":memory:", &client, &q, &err));
    sql_run(path, "CREATE TABLE mine(n)");
    SAYS(JOBQ_NOT_FOUND, "no queue in |other.db; its owner makes one",
         jobq_open(path, &client, &q, &err));
}

static int refuse_without_words(sqlite3 *db, jobq_connection which, jobq_stage stage,
                                jobq_error *err, void *ctx) {
    (void)db, (void)which, (void)stage, (void)err, (void)ctx;
    return 5;
}

/* Goal: who refuses a connection and says nothing is told what he has answered. */
TEST(silent_refusal_is_named) {
    jobq_options options = {.on_connect = refuse_without_words};
    jobq *q = NULL;
    SAYS(JOBQ_CANT_OPEN, "returned 5|err->text", jobq_open(":memory:", &options, &q, &err));
}

/* Goal: what else a value may be is said where it is out of range. Method: each that has more than
 * a range. */
TEST(special_values_are_named) {
    fixture f;
    jobq *q = NULL;
    SAYS(JOBQ_MISUSE, "workers is 121|or 0 for the default|JOBQ_NONE",
         jobq_open(":memory:", &(jobq_options){.workers = 121}, &q, &err));
    SAYS(JOBQ_MISUSE, "reserve_bytes is 1;|JOBQ_NONE",
         jobq_open(":memory:", &(jobq_options){.reserve_bytes = 1}, &q, &err));
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    SAYS(JOBQ_MISUSE, "attempts_max is -1|or JOBQ_UNLIMITED",
         jobq_register(f.q, &(jobq_kind){.name = "k", .run = do_nothing, .attempts_max = -1},
                       &err));
    SAYS(JOBQ_BAD_TIME, "grace_ms is -7|JOBQ_NONE", jobq_stop(f.q, -7, &err));
    SAYS(JOBQ_BAD_TIME, "timeout_ms is -100|JOBQ_NONE", jobq_wait(f.q, 1, -100, NULL, &err));
    fixture_close(&f);
}

/* Goal: a client is told what it can do instead, which is another thing for each call. Method: all
 * that are the owner's. */
TEST(client_is_told_its_way) {
    jobq_options options = {.role = JOBQ_CLIENT, .shared = true};
    jobq_kind kind = {.name = "k", .run = do_nothing};
    jobq *client = NULL;
    fixture f;
    int64_t at_ms;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .shared = true}));
    options.clock = f.clock;
    put(f.q, "k");
    WORKS(jobq_open(f.path, &options, &client, &err));
    REQUIRE(client != NULL);
    SAYS(JOBQ_MISUSE, "jobq_register is for the owner|parked", jobq_register(client, &kind, &err));
    SAYS(JOBQ_MISUSE, "jobq_start is for the owner|run where", jobq_start(client, &err));
    SAYS(JOBQ_MISUSE, "jobq_stop is for the owner|jobq_close",
         jobq_stop(client, JOBQ_NONE, &err));
    SAYS(JOBQ_MISUSE, "jobq_notify is for the owner|.shared = true|poll_ms",
         jobq_notify(client, &err));
    SAYS(JOBQ_MISUSE, "jobq_cancel is for the owner|enqueue a job",
         jobq_cancel(client, 1, &err));
    SAYS(JOBQ_MISUSE, "jobq_retry_now is for the owner|enqueue a job",
         jobq_retry_now(client, 1, &err));
    SAYS(JOBQ_MISUSE, "jobq_delete is for the owner|enqueue a job",
         jobq_delete(client, 1, &err));
    SAYS(JOBQ_MISUSE, "jobq_wait is for the owner|again with jobq_get",
         jobq_wait(client, 1, 0, NULL, &err));
    SAYS(JOBQ_MISUSE, "jobq_step is for the owner|jobq_get", jobq_step(client, NULL, &err));
    SAYS(JOBQ_MISUSE, "jobq_run_until_idle is for the owner|jobq_get",
         jobq_run_until_idle(client, NULL, &err));
    SAYS(JOBQ_MISUSE, "jobq_advance is for the owner|jobq_clock_advance",
         jobq_advance(client, 1, NULL, &err));
    SAYS(JOBQ_MISUSE, "jobq_advance_to_next is for the owner|jobq_clock_advance",
         jobq_advance_to_next(client, &err));
    SAYS(JOBQ_MISUSE, "jobq_next_deadline is for the owner|need not ask",
         jobq_next_deadline(client, &at_ms, &err));
    close_queue(&client);
    fixture_close(&f);
}

/* Goal: a job that is due never is told of as that, and time is not moved to where it ends. Method:
 * each way to ask for it; then it is wanted after all. */
TEST(never_is_named) {
    fixture f;
    int64_t ids[2] = {0};
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
    handle(f.q, "k", do_nothing, NULL);
    start(f.q);
    WORKS(jobq_enqueue(f.q, &(jobq_job){.kind = "k", .run_at_ms = JOBQ_NEVER}, &ids[0], &err));
    WORKS(jobq_enqueue(f.q, &(jobq_job){.kind = "k", .delay_ms = JOBQ_NEVER}, &ids[1], &err));
    SAYS(JOBQ_BAD_TIME, "duration_ms is JOBQ_NEVER|jobq_advance_to_next",
         jobq_advance(f.q, JOBQ_NEVER, NULL, &err));
    CHECK_INT(jobq_clock_now(f.clock), T0);
    for (int i = 0; i < 2; i++) {
        SAYS(JOBQ_TIMEOUT, "is due never|jobq_retry_now|jobq_cancel",
             jobq_wait(f.q, ids[i], 0, NULL, &err));
        WORKS(jobq_retry_now(f.q, ids[i], &err));
        finish(f.q, ids[i]);
    }
    fixture_close(&f);
}

/* Returns what its payload says. */
static jobq_outcome answer_number(jobq_run *run, void *ctx) {
    (void)ctx;
    return (jobq_outcome)atoi((const char *)jobq_run_payload(run, NULL));
}

static jobq_outcome answer_ok(jobq_run *run, void *ctx) {
    (void)ctx;
    SAYS(JOBQ_MISUSE, "data is NULL but has a size", jobq_checkpoint(run, NULL, 5, &err));
    return (jobq_outcome)JOBQ_OK;
}

/* Goal: a file that is no queue of ours is told by its path, with what is wrong in it and what to
 * do. Method: each way to be another's. */
TEST(foreign_file_is_named) {
    static const struct { int code; const char *sql, *words; } files[] = {
        {JOBQ_FOREIGN, "CREATE TABLE mine(n)", "mine.db holds tables of another|.join = true"},
        {JOBQ_FOREIGN, "CREATE TABLE jobq_meta(n)", "jobq_meta in |mine.db|use another file"},
        {JOBQ_FOREIGN, "CREATE TABLE jobq_meta(key, value)",
         "mine.db does not name a schema|use another file"},
        {JOBQ_FOREIGN, "CREATE TABLE jobq_meta(key, value);"
                       "INSERT INTO jobq_meta VALUES('schema', 1)",
         "the table jobq_meta in |mine.db is not as jobq makes it|drop it"},
        {JOBQ_NEWER, "CREATE TABLE jobq_meta(key, value);"
                     "INSERT INTO jobq_meta VALUES('schema', 99)",
         "mine.db has schema 99|this one, " JOBQ_VERSION "|use a newer jobq"}};
    const char *path = test_path("mine.db");
    jobq *q = NULL;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        sql_run(path, files[i].sql);
        SAYS(files[i].code, files[i].words, jobq_open(path, NULL, &q, &err));
        remove(path);
    }
    WORKS(jobq_open(path, NULL, &q, &err));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    sql_run(path, "DROP VIEW jobq_queues");
    SAYS(JOBQ_FOREIGN, "jobq_queues is missing in |mine.db|restore a copy",
         jobq_open(path, NULL, &q, &err));
    sql_run(path, "DROP INDEX jobq_finished");
    SAYS(JOBQ_FOREIGN, "jobq_finished is missing in |mine.db", jobq_open(path, NULL, &q, &err));
    sql_run(path, "DROP TABLE jobq_key");
    SAYS(JOBQ_FOREIGN, "jobq_key is missing in |mine.db", jobq_open(path, NULL, &q, &err));
    sql_run(path, "CREATE TRIGGER mine AFTER INSERT ON jobq_row BEGIN SELECT 1; END");
    SAYS(JOBQ_FOREIGN, "the trigger mine in |mine.db|drop it", jobq_open(path, NULL, &q, &err));
    sql_run(test_path("beside.db"), "CREATE TABLE jobq_claims(n)");
    SAYS(JOBQ_FOREIGN, "jobq_* is in the way in |beside.db|another file",
         jobq_open(test_path("beside.db"), &(jobq_options){.join = true}, &q, &err));
}

/* Goal: a value that is none of those that may be is told. */
TEST(value_is_named) {
    jobq_options role = {.role = (jobq_role)7}, durability = {.durability = (jobq_durability)9};
    char name[JOBQ_NAME_MAX + 2];
    fixture f;
    jobq *q = NULL;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    SAYS(JOBQ_MISUSE, "role is 7", jobq_open(":memory:", &role, &q, &err));
    SAYS(JOBQ_MISUSE, "durability is 9", jobq_open(":memory:", &durability, &q, &err));
    SAYS(JOBQ_MISUSE, "page_size is 1000;",
         jobq_open(":memory:", &(jobq_options){.page_size = 1000}, &q, &err));
    SAYS(JOBQ_MISUSE, "path|:memory:", jobq_open("", NULL, &q, &err));
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2}));
    SAYS(JOBQ_MISUSE, "the kind k has no handler|.run",
         jobq_register(f.q, &(jobq_kind){.name = "k"}, &err));
    handle(f.q, "k", do_nothing, NULL);
    SAYS(JOBQ_MISUSE, "k is registered already, until",
         jobq_register(f.q, &(jobq_kind){.name = "k", .run = do_nothing}, &err));
    SAYS(JOBQ_BAD_NAME, "64 bytes: nnnnnnnn", jobq_enqueue(f.q, &(jobq_job){.kind = name}, NULL,
                                                           &err));
    SAYS(JOBQ_MISUSE, "conflict is 5",
         jobq_enqueue(f.q, &(jobq_job){.kind = "k", .conflict = (jobq_conflict)5}, NULL, &err));
    SAYS(JOBQ_MISUSE, "a size, 3; set .payload",
         jobq_enqueue(f.q, &(jobq_job){.kind = "k", .size = 3}, NULL, &err));
    SAYS(JOBQ_BAD_TIME, "run_at_ms is -4;",
         jobq_enqueue(f.q, &(jobq_job){.kind = "k", .run_at_ms = -4}, NULL, &err));
    SAYS(JOBQ_BAD_TIME, "delay_ms, 9223372036854775806, reaches|JOBQ_NEVER",
         jobq_enqueue(f.q, &(jobq_job){.kind = "k", .delay_ms = JOBQ_NEVER - 1}, NULL, &err));
    SAYS(JOBQ_MISUSE, "this one has 2: jobq_start", jobq_step(f.q, NULL, &err));
    SAYS(JOBQ_NOT_FOUND, "no wake is pending: nothing is scheduled",
         jobq_advance_to_next(f.q, &err));
    fixture_close(&f);
    SAYS(JOBQ_MISUSE, "NULL: it was not opened", jobq_enqueue(NULL, NULL, NULL, &err));
}

static jobq_outcome call_too_late(jobq_run *run, void *ctx) {
    jobq *q = jobq_run_handle(run);
    sqlite3 *db = NULL;
    char large[101] = "";
    (void)ctx;
    SAYS(JOBQ_TOO_BIG, "the checkpoint has 101 bytes; payload_max is 100",
         jobq_checkpoint(run, large, sizeof large, &err));
    WORKS(jobq_run_db(run, &db, &err));
    SAYS(JOBQ_MISUSE, "after jobq_run_db|may not call jobq_cancel|before that",
         jobq_cancel(q, 5, &err));
    SAYS(JOBQ_MISUSE, "may not call jobq_register|before that",
         jobq_register(q, &(jobq_kind){.name = "n", .run = do_nothing}, &err));
    SAYS(JOBQ_MISUSE, "may not call jobq_flush|before that", jobq_flush(q, &err));
    SAYS(JOBQ_MISUSE, "jobq_checkpoint is not for after jobq_run_db|save it before",
         jobq_checkpoint(run, "x", 1, &err));
    return JOBQ_DONE;
}

/* Goal: what a job's transaction does not allow says which call that was, and when to make it. */
TEST(late_call_is_named) {
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED, .payload_max = 100};
    fixture f;
    REQUIRE(fixture_open(&f, options));
    handle(f.q, "k", call_too_late, NULL);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    fixture_close(&f);
}

static jobq_outcome find_it_locked(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL, *other = NULL;
    CHECK_INT(sqlite3_open((const char *)ctx, &other), SQLITE_OK);
    CHECK_INT(run_sql(other, "BEGIN IMMEDIATE"), SQLITE_OK);
    SAYS(JOBQ_BUSY, "own on this thread?) held|q.db|1 ms of busy_ms|did not begin: call again",
         jobq_run_db(run, &db, &err));
    sqlite3_close(other);
    return JOBQ_DONE;
}

/* Goal: who finds the file taken is told which file that is, by whom, for how long he has waited,
 * and what to do; nothing of jobs where none is meant. */
TEST(taken_file_is_named) {
    jobq_options options = {.workers = JOBQ_NONE, .busy_ms = 1};
    sqlite3 *other = NULL;
    jobq *q = NULL;
    fixture f;
    REQUIRE(fixture_open(&f, options));
    handle(f.q, "k", find_it_locked, (void *)(intptr_t)f.path);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    REQUIRE_INT(sqlite3_open(f.path, &other), SQLITE_OK);
    REQUIRE_INT(run_sql(other, "BEGIN IMMEDIATE"), SQLITE_OK);
    SAYS(JOBQ_BUSY, "held|q.db|1 ms of busy_ms|call again",
         jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    SAYS(JOBQ_BUSY, "held|q.db|1 ms of busy_ms|written by the next step: call again",
         jobq_step(f.q, NULL, &err));
    sqlite3_close(other);
    fixture_close(&f);
    REQUIRE_INT(sqlite3_open(f.path, &other), SQLITE_OK);
    REQUIRE_INT(run_sql(other, "BEGIN IMMEDIATE"), SQLITE_OK);
    SAYS(JOBQ_BUSY, "held|q.db|1 ms of busy_ms|was not opened: call again",
         jobq_open(f.path, &options, &q, &err));
    options.busy_ms = JOBQ_NONE;
    SAYS(JOBQ_BUSY, "held|q.db|no call waits|was not opened: call again",
         jobq_open(f.path, &options, &q, &err));
    sqlite3_close(other);
}

/* Goal: a handler that returns a code hears which, and what it meant to return; who refuses a key
 * or looks for a job that is not there, what to do. */
TEST(way_out_is_named) {
    fixture f;
    int64_t id;
    jobq_job job = {.kind = "k", .key = "x", .conflict = JOBQ_REFUSE};
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    handle(f.q, "k", answer_ok, NULL);
    WORKS(jobq_enqueue(f.q, &job, &id, &err));
    SAYS(JOBQ_EXISTS, "job 1 has the key x|JOBQ_KEEP", jobq_enqueue(f.q, &job, NULL, &err));
    CHECK_INT(drain(f.q), 1);
    CHECK(strstr(look(f.q, id).error, "no outcome of a run: 0 (that is JOBQ_OK; what is done"));
    handle(f.q, "number", answer_number, NULL);
    id = put_job(f.q, (jobq_job){.kind = "number", .text = "-8"});
    put_job(f.q, (jobq_job){.kind = "number", .text = "-999"});
    CHECK_INT(drain(f.q), 2);
    CHECK(strstr(look(f.q, id).error, "-8 (that is JOBQ_BUSY; what is to be tried again"));
    CHECK(strstr(look(f.q, id + 1).error, "no outcome of a run: -999"));
    CHECK(!strchr(look(f.q, id + 1).error, '('));
    SAYS(JOBQ_NOT_FOUND, "there is no job 5: |not kept any more", jobq_cancel(f.q, 5, &err));
    SAYS(JOBQ_MISUSE, "both set", jobq_enqueue(f.q, &(jobq_job){.kind = "k", .run_at_ms = 1,
                                               .delay_ms = 1}, NULL, &err));
    fixture_close(&f);
}

TEST_MAIN(state_is_named, silent_refusal_is_named, special_values_are_named,
          client_is_told_its_way, never_is_named, way_out_is_named, place_is_named,
          foreign_file_is_named, value_is_named, late_call_is_named, taken_file_is_named,
          thread_hook_is_named, culprit_is_named, backoff_is_named_as_culprit, nobody_is_blamed,
          slip_is_named)
