/* connection_settings.c - limits, foreign keys, functions and names that the application puts on
 * jobq's connections or into its file: they bind the application, and never jobq. */
#include "helpers.h"

/* A file of that name, or ":memory:" for each second. */
static jobq *open_way(int way, const char **path, jobq_options options, jobq_clock **clock) {
    char name[16];
    jobq *q = NULL;
    snprintf(name, sizeof name, "%d.db", way);
    *path = way % 2 ? ":memory:" : test_path(name);
    options.clock = *clock = jobq_clock_artificial(T0);
    WORKS(jobq_open(*path, &options, &q, &err));
    return q;
}

static void close_way(jobq **q, jobq_clock *clock) {
    CHECK_CODE(jobq_close(q), JOBQ_OK);
    jobq_clock_free(clock);
}

static jobq_outcome write_and_store(jobq_run *run, void *ctx) {
    jobq *q = jobq_run_handle(run);
    sqlite3 *db = NULL;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    WORKS(jobq_enqueue(q, &(jobq_job){.kind = "child", .text = "hello", .key = "key"}, NULL, &err));
    CHECK_STR(jobq_run_info(run)->kind, "k");
    look(q, jobq_run_id(run));
    return jobq_done(run, "result", 6);
}

static jobq_outcome try_again(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_retry(run, "again");
}

/* ---- Limits ---- */

static const struct bound {
    int which, value;
} bounds[] = {{SQLITE_LIMIT_SQL_LENGTH, 100}, {SQLITE_LIMIT_EXPR_DEPTH, 1},
              {SQLITE_LIMIT_VDBE_OP, 25}, {SQLITE_LIMIT_COLUMN, 2},
              {SQLITE_LIMIT_FUNCTION_ARG, 1}, {SQLITE_LIMIT_LENGTH, 150},
              {SQLITE_LIMIT_COMPOUND_SELECT, 1}, {SQLITE_LIMIT_VARIABLE_NUMBER, 1},
              {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1}, {SQLITE_LIMIT_TRIGGER_DEPTH, 0}};

static int bind_it(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                   void *ctx) {
    const struct bound *bound = (const struct bound *)ctx;
    (void)which, (void)err;
    if (stage == JOBQ_STAGE_SETUP) sqlite3_limit(db, bound->which, bound->value);
    return 0;
}

static jobq_outcome see_the_limit(jobq_run *run, void *ctx) {
    const struct bound *bound = (const struct bound *)ctx;
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(sqlite3_limit(db, bound->which, -1), bound->value);
    write_and_store(run, NULL);
    CHECK_INT(sqlite3_limit(db, bound->which, -1), bound->value);
    return JOBQ_DONE;
}

/* Goal: limits that on_connect sets hold for handlers, and never for jobq. Method: each of them, as
 * low as it goes, on all connections; jobs with and without a transaction, retries, many at once,
 * lists and counts; and the file can be opened again. */
TEST(limits_bind_handlers_only) {
    for (int way = 0; way < 2 * (int)(sizeof bounds / sizeof bounds[0]); way++) {
        struct bound bound = bounds[way / 2];
        jobq_options options = {.workers = JOBQ_NONE, .on_connect = bind_it, .ctx = &bound};
        jobq_job many[20] = {{.kind = NULL}};
        const char *path;
        jobq_clock *clock;
        jobq *q = open_way(way, &path, options, &clock);
        REQUIRE(q != NULL);
        handle(q, "k", see_the_limit, &bound);
        handle_kind(q, (jobq_kind){.name = "child", .run = try_again, .attempts_max = 2});
        put(q, "k");
        put(q, "k");
        CHECK_INT(drain(q), 3);
        for (int i = 0; i < 20; i++) many[i].kind = "child";
        WORKS(jobq_enqueue_many(q, many, 20, NULL, &err));
        CHECK_INT(drain(q), 20);
        CHECK_INT(count_all(q).done, 2);
        if (!CHECK_CODE(stats_of(q).failed_code, JOBQ_OK)) test_note("limit %d", bound.which);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        if (way % 2 == 0) {
            options.clock = clock;
            WORKS(jobq_open(path, &options, &q, &err));
            CHECK_CODE(jobq_close(&q), JOBQ_OK);
        }
        jobq_clock_free(clock);
    }
}

/* ---- Foreign keys ---- */

static int keys_on(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                   void *ctx) {
    (void)which, (void)err, (void)ctx;
    return stage == JOBQ_STAGE_SETUP ? run_sql(db, "PRAGMA foreign_keys = ON") : 0;
}

static jobq_outcome refer_to_the_job(jobq_run *run, void *ctx) {
    int64_t *refused = (int64_t *)ctx;
    sqlite3 *db = NULL;
    char sql[100];
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(run_sql(db, "CREATE TABLE IF NOT EXISTS orders(job REFERENCES jobq_row(id))"),
              SQLITE_OK);
    snprintf(sql, sizeof sql, "INSERT INTO orders VALUES(%lld)", (long long)jobq_run_id(run));
    CHECK_INT(run_sql(db, sql), SQLITE_OK);
    WORKS(jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "other"}, NULL, &err));
    *refused += (run_sql(db, "INSERT INTO orders VALUES(123)") & 255) == SQLITE_CONSTRAINT;
    return JOBQ_DONE;
}

/* Goal: an application's table may refer to jobq's: its foreign key holds for handlers, and keeps
 * no row of jobq's from being deleted. Method: rows that go when they are done, when their time is
 * over, and by jobq_delete. */
TEST(foreign_keys_do_not_bind_jobq) {
    for (int way = 0; way < 2; way++) {
        jobq_options options = {.workers = JOBQ_NONE, .on_connect = keys_on};
        int64_t refused = 0, id;
        const char *path;
        jobq_clock *clock;
        jobq *q = open_way(way, &path, options, &clock);
        REQUIRE(q != NULL);
        handle(q, "k", refer_to_the_job, &refused);
        handle_kind(q, (jobq_kind){.name = "gone", .run = refer_to_the_job, .ctx = &refused,
                                   .keep_done_ms = JOBQ_NONE});
        handle_kind(q, (jobq_kind){.name = "short", .run = refer_to_the_job, .ctx = &refused,
                                   .keep_done_ms = JOBQ_SECOND});
        handle_kind(q, (jobq_kind){.name = "other", .run = do_nothing,
                                   .keep_done_ms = JOBQ_NONE});
        id = put(q, "k");
        put(q, "gone");
        put(q, "short");
        CHECK_INT(drain(q), 6);
        CHECK_INT(refused, 3);
        WORKS(jobq_delete(q, id, &err));
        WORKS(jobq_advance(q, JOBQ_DAY, NULL, &err));
        CHECK_INT(total(q), 0);
        CHECK_CODE(stats_of(q).failed_code, JOBQ_OK);
        close_way(&q, clock);
    }
}

/* ---- Functions ---- */

static void say_boom(sqlite3_context *context, int argc, sqlite3_value **argv) {
    (void)argc, (void)argv;
    sqlite3_result_error(context, "boom", -1);
}

static jobq_outcome take_the_names(jobq_run *run, void *ctx) {
    static const char *const names[] = {"abs", "coalesce", "max", "min", "length", "typeof",
                                        "count", "iif"};
    int *code = (int *)ctx;
    sqlite3 *db = NULL;
    jobq_error err;
    WORKS(jobq_run_db(run, &db, &err));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (int n = -1; n < 4; n++)
            sqlite3_create_function(db, names[i], n, SQLITE_UTF8, NULL, say_boom, NULL, NULL);
    *code = jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "new"}, NULL, &err);
    CHECK_CODE(*code, JOBQ_MISUSE);
    CHECK(strstr(err.text, "function") != NULL);
    return JOBQ_DONE;
}

/* Goal: a handler that puts functions in the place of SQLite's fails by itself: the file is not
 * called damaged, and the next handler does not find them. */
TEST(functions_of_a_handler_are_its_own_trouble) {
    int code = JOBQ_OK;
    const char *path;
    jobq_clock *clock;
    jobq *q = open_way(0, &path, STEP, &clock);
    REQUIRE(q != NULL);
    handle_kind(q, (jobq_kind){.name = "bad", .run = take_the_names, .ctx = &code,
                               .attempts_max = 1});
    handle(q, "k", write_and_store, NULL);
    handle(q, "child", do_nothing, NULL);
    put(q, "bad");
    put(q, "k");
    CHECK_INT(drain(q), 3);
    CHECK_CODE(code, JOBQ_MISUSE);
    CHECK_CODE(stats_of(q).failed_code, JOBQ_OK);
    CHECK(count_all(q).done >= 2);
    close_way(&q, clock);
}

/* ---- Names ---- */

static jobq_outcome rename_to(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    char sql[100];
    WORKS(jobq_run_db(run, &db, &err));
    snprintf(sql, sizeof sql, "CREATE TABLE mine(x); ALTER TABLE mine RENAME TO %s",
             (const char *)ctx);
    CHECK_INT(run_sql(db, sql), SQLITE_OK);
    CHECK(run_sql(db, "CREATE TEMP TABLE t(id); ALTER TABLE t RENAME TO jobq_row") != SQLITE_OK);
    return JOBQ_DONE;
}

/* Goal: a handler may rename its tables, but to no name that is jobq's: the file could not be
 * opened again. Method: both, then the file is opened. */
TEST(tables_get_no_name_of_jobq) {
    for (int way = 0; way < 2; way++) {
        jobq_options options = STEP;
        const char *path;
        jobq_clock *clock;
        jobq *q = open_way(way, &path, options, &clock);
        int64_t bad, good;
        REQUIRE(q != NULL);
        handle_kind(q, (jobq_kind){.name = "bad", .run = rename_to, .ctx = "jobq_mine",
                                   .attempts_max = 1});
        handle(q, "good", rename_to, "yours");
        bad = put(q, "bad");
        good = put(q, "good");
        CHECK_INT(drain(q), 2);
        CHECK_INT(state_of(q, bad), JOBQ_STATE_FAILED);
        CHECK(strstr(look(q, bad).error, "jobq_mine") != NULL);
        CHECK_INT(state_of(q, good), JOBQ_STATE_DONE);
        CHECK_CODE(stats_of(q).failed_code, JOBQ_OK);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        options.clock = clock;
        WORKS(jobq_open(path, &options, &q, &err));
        REQUIRE(q != NULL);
        close_way(&q, clock);
    }
}

/* ---- A refusal ---- */

/* Refuses the job its connection, and leaves it in disorder. */
static int wreck_and_refuse(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                            void *ctx) {
    (void)err;
    if (which != JOBQ_CONNECTION_JOB || stage != JOBQ_STAGE_SETUP) return 0;
    run_sql(db, "PRAGMA foreign_keys = ON; PRAGMA query_only = 1; BEGIN");
    sqlite3_limit(db, SQLITE_LIMIT_SQL_LENGTH, 10);
    sqlite3_commit_hook(db, veto, NULL);
    sqlite3_progress_handler(db, 1, veto, NULL);
    sqlite3_set_authorizer(db, deny, NULL);
    return *(int *)ctx;
}

static jobq_outcome begin_in_vain(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_CANT_OPEN);
    return JOBQ_DONE;
}

/* Goal: what on_connect did to a connection that it then refuses to the job is put right: in memory
 * it is the writer's, too. Method: with a refusal, and with a transaction that is left open. */
TEST(refused_connection_is_put_right) {
    for (int way = 0; way < 4; way++) {
        int answer = way < 2;
        const char *path;
        jobq_clock *clock;
        jobq *q = open_way(way, &path, (jobq_options){.workers = JOBQ_NONE, .ctx = &answer,
                                                      .on_connect = wreck_and_refuse}, &clock);
        REQUIRE(q != NULL);
        handle(q, "k", begin_in_vain, NULL);
        for (int i = 0; i < 3; i++) {
            put(q, "k");
            CHECK_INT(drain(q), 1);
        }
        CHECK_INT(count_all(q).done, 3);
        CHECK_CODE(stats_of(q).failed_code, JOBQ_OK);
        close_way(&q, clock);
    }
}

TEST_MAIN(limits_bind_handlers_only, foreign_keys_do_not_bind_jobq,
          functions_of_a_handler_are_its_own_trouble, tables_get_no_name_of_jobq,
          refused_connection_is_put_right)
