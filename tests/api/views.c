/* views.c - the file as SQL sees it: views whose columns stay, and the keys and names in the tables
 * that other programs search. */
#include "schema_1.h"

#define STEP_BY_STEP ((jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED})

/* ---- Views ---- */

/* The names of a statement's columns, each with a blank behind it. */
static void columns_of(const char *path, const char *sql, char *text, size_t size) {
    sqlite3 *db = sql_open(path);
    sqlite3_stmt *statement = NULL;
    text[0] = 0;
    if (CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK)) {
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            size_t used = strlen(text);
            snprintf(text + used, size - used, "%s ", sqlite3_column_name(statement, i));
        }
    } else {
        test_note("%s: %s", sql, sqlite3_errmsg(db));
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

#define TOLD "priority attempt runs crashes created_at_ms run_at_ms finished_at_ms kept_until_ms " \
    "job_group job_key error payload_size result_size "
#define COUNTED "ready scheduled blocked claimed done failed cancelled "

/* Goal: what somebody's SQL reads today it can read tomorrow: no column goes, moves or is called
 * otherwise, and none has a name that is a word of SQL. Method: the names, in order; new ones may
 * only come behind these. */
TEST(columns_stay) {
    static const struct { const char *view, *columns; } views[] = {
        {"jobq_jobs", "id kind queue state waits_for " TOLD},
        {"jobq_dead", "id kind queue state waits_for " TOLD},
        {"jobq_queues", "queue " COUNTED},
        {"jobq_kinds", "kind " COUNTED},
        {"jobq_rules", "what name layer running_max rate rate_ms burst weight reserved job_order "
                       "ageing_ms strict paused set_by set_at_ms until_ms "},
    };
    fixture f;
    REQUIRE(fixture_open(&f, STEP_BY_STEP));
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
        char sql[64], columns[400];
        snprintf(sql, sizeof sql, "SELECT * FROM %s", views[i].view);
        columns_of(f.path, sql, columns, sizeof columns);
        if (!CHECK(strncmp(columns, views[i].columns, strlen(views[i].columns)) == 0))
            test_note("%s: %s", views[i].view, columns);
    }
    fixture_close(&f);
}

static jobq_outcome end_as_told(jobq_run *run, void *ctx) {
    const char *payload = (const char *)jobq_run_payload(run, NULL);
    (void)ctx;
    if (*payload == 'f') return jobq_fail(run, "no");
    if (*payload == 's') return jobq_snooze(run, JOBQ_HOUR);
    return jobq_done(run, "result", 6);
}

/* One job of each sort; the kind that nobody handles is parked. */
static void put_one_of_each(fixture *f) {
    static char large[9000];
    int64_t id;
    handle(f->q, "mail", end_as_told, NULL);
    put_job(f->q, (jobq_job){.kind = "mail", .text = "done", .key = "a key"});
    put_job(f->q, (jobq_job){.kind = "mail", .text = "failed", .priority = -5});
    put_job(f->q, (jobq_job){.kind = "mail", .text = "snoozes"});
    put_job(f->q, (jobq_job){.kind = "later", .payload = large, .size = sizeof large});
    id = put_job(f->q, (jobq_job){.kind = "mail", .text = "cancelled", .queue = "slow"});
    WORKS(jobq_cancel(f->q, id, &err));
    CHECK_INT(drain(f->q), 3);
    put_job(f->q, (jobq_job){.kind = "mail", .text = "ready", .queue = "slow"});
}

static void check_text(const char *path, const char *sql, const char *wanted) {
    char text[300];
    sql_text(path, sql, text, sizeof text);
    if (!CHECK_STR(text, wanted)) test_note("%s", sql);
}

/* Goal: views tell of each job what jobq_get tells of it, in words. Method: one of each sort. */
TEST(jobs_are_told_in_words) {
    static const struct { const char *about, *told; } jobs[] = {
        {"id = 1", "mail default done - 0 1 1 a key - 4 6"},
        {"id = 2", "mail default failed - -5 1 1 - no 6 0"},
        {"id = 3", "mail default pending time 0 1 1 - - 7 0"},
        {"id = 4", "later default pending handler 0 1 0 - - 9000 0"},
        {"id = 5", "mail slow cancelled - 0 1 0 - - 9 0"},
        {"id = 6", "mail slow pending turn 0 1 0 - - 5 0"},
    };
    fixture f;
    REQUIRE(fixture_open(&f, STEP_BY_STEP));
    put_one_of_each(&f);
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
        char sql[400];
        snprintf(sql, sizeof sql, "SELECT kind || ' ' || queue || ' ' || state || ' ' ||"
                 " coalesce(waits_for, '-') || ' ' || priority || ' ' || attempt || ' ' || runs"
                 " || ' ' || coalesce(job_key, '-') || ' ' || coalesce(error, '-') || ' ' ||"
                 " payload_size || ' ' || result_size FROM jobq_jobs WHERE %s", jobs[i].about);
        check_text(f.path, sql, jobs[i].told);
    }
    check_text(f.path, "SELECT group_concat(id || ' ' || error) FROM jobq_dead", "2 no");
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_jobs WHERE created_at_ms <> 0"
                              " AND (finished_at_ms IS NULL) = (state = 'pending')"), 6);
    sql_run(f.path, "DELETE FROM jobq_name WHERE name = 'later'");
    check_text(f.path, "SELECT substr(kind, 1, 5) FROM jobq_jobs WHERE id = 4", "lost:");
    fixture_close(&f);
}

static jobq_outcome read_own_row(jobq_run *run, void *ctx) {
    check_text((const char *)ctx, "SELECT state || ' ' || runs || ' ' || coalesce(waits_for, '-')"
               " FROM jobq_jobs", "claimed 1 -");
    check_text((const char *)ctx, "SELECT claimed FROM jobq_kinds", "1");
    CHECK_INT(look(jobq_run_handle(run), jobq_run_id(run)).state, JOBQ_STATE_RUNNING);
    return JOBQ_DONE;
}

/* Goal: of a job that was handed out the file knows that it is claimed, not whether it runs, and no
 * view says more. Method: a handler reads its own row. */
TEST(claimed_is_all_that_is_known) {
    fixture f;
    REQUIRE(fixture_open(&f, STEP_BY_STEP));
    handle(f.q, "mail", read_own_row, (void *)f.path);
    put_job(f.q, (jobq_job){.kind = "mail"});
    CHECK_INT(drain(f.q), 1);
    fixture_close(&f);
}

/* Goal: when a job is due is told by the wall as it goes now, and what never is stays so. Method:
 * durations with and without an end; the clock is set back and forth. */
TEST(due_by_the_wall) {
    static const int64_t steps[] = {-JOBQ_DAY, JOBQ_DAY};
    for (int i = 0; i < 2; i++) {
        fixture f;
        REQUIRE(fixture_open(&f, STEP_BY_STEP));
        put_job(f.q, (jobq_job){.kind = "mail", .delay_ms = JOBQ_HOUR});
        put_job(f.q, (jobq_job){.kind = "mail", .delay_ms = JOBQ_NEVER});
        CHECK_INT(drain(f.q), 0);
        jobq_clock_set(f.clock, T0 + steps[i]);
        CHECK_INT(drain(f.q), 0);
        for (int64_t id = 1; id <= 2; id++) {
            char sql[80];
            snprintf(sql, sizeof sql, "SELECT run_at_ms FROM jobq_jobs WHERE id = %" PRId64, id);
            CHECK_INT(sql_int(f.path, sql), look(f.q, id).run_at_ms);
        }
        CHECK_INT(look(f.q, 2).run_at_ms, JOBQ_NEVER);
        fixture_close(&f);
    }
}

/* Goal: queues and kinds are told with the numbers of their jobs. Method: the same jobs, against
 * words and sums. */
TEST(queues_and_kinds_are_counted) {
    fixture f;
    REQUIRE(fixture_open(&f, STEP_BY_STEP));
    put_one_of_each(&f);
    check_text(f.path, "SELECT group_concat(queue || ' ' || ready || ' ' || scheduled || ' ' ||"
               " blocked || ' ' || claimed || ' ' || done || ' ' || failed || ' ' || cancelled)"
               " FROM (SELECT * FROM jobq_queues ORDER BY queue)",
               "default 0 1 1 0 1 1 0,slow 1 0 0 0 0 0 1");
    check_text(f.path, "SELECT group_concat(kind || ' ' || ready || ' ' || scheduled || ' ' ||"
               " blocked || ' ' || claimed || ' ' || done || ' ' || failed || ' ' || cancelled)"
               " FROM (SELECT * FROM jobq_kinds ORDER BY kind)",
               "later 0 0 1 0 0 0 0,mail 1 1 0 0 1 1 1");
    fixture_close(&f);
}

/* Columns between bars, a semicolon behind each row. */
static int append_row(void *ctx, int count, char **values, char **names) {
    char *text = (char *)ctx;
    size_t used = strlen(text);
    (void)names;
    for (int i = 0; i < count; i++, used = strlen(text))
        snprintf(text + used, 400 - used, "%s%s", values[i] ? values[i] : "-",
                 i == count - 1 ? ";" : "|");
    return 0;
}

/* Goal: what README tells an operator to ask can be asked, by who may only read, and answers that.
 * Method: its own text; one job of each sort, and some that are due later. */
TEST(queries_of_the_readme) {
    size_t size = 0;
    char *readme = bytes_of(in_tree("README.md"), &size), told[400] = "", *message = NULL, *end;
    char *queries = readme ? strstr(readme, "```sql\n") : NULL;
    sqlite3 *db = NULL;
    fixture f;
    if (!queries) test_give_up("README.md has no queries");
    queries += strlen("```sql\n");
    end = strstr(queries, "```");
    if (!end) test_give_up("the queries of README.md have no end");
    *end = '\0';
    REQUIRE(fixture_open(&f, STEP_BY_STEP));
    put_one_of_each(&f);
    jobq_clock_set(f.clock, T0 + JOBQ_SECOND);
    put_many(f.q, &(jobq_job){.kind = "mail", .text = "ready", .queue = "slow"}, 11);
    CHECK_INT(sqlite3_open_v2(f.path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    CHECK_INT(sqlite3_exec(db, queries, append_row, told, &message), SQLITE_OK);
    if (message) test_note("%s", message);
    CHECK_STR(told, "mail|1;slow|6|1700000000000;pending|turn|1|1700000001000|-;");
    sqlite3_free(message);
    sqlite3_close(db);
    free(readme);
    fixture_close(&f);
}

/* ---- Keys ---- */

/* Goal: who had a key is found by it for as long as the job is kept, and one job at most has it
 * now. Method: the same key again and again; jobs that end, are tried again, deleted and pruned. */
TEST(keys_of_ended_jobs) {
    const jobq_job job = {.kind = "mail", .text = "done", .key = "same"};
    int64_t ids[4];
    fixture f;
    REQUIRE(fixture_open(&f, STEP_BY_STEP));
    handle(f.q, "mail", end_as_told, NULL);
    for (int i = 0; i < 4; i++) {
        jobq_job one = job;
        if (i == 1) one.text = "fails";
        ids[i] = put_job(f.q, one);
        check_text(f.path, "SELECT group_concat(job) FROM jobq_key WHERE held",
                   (const char *[]){"1", "2", "3", "4"}[i]);
        if (i < 3) CHECK_INT(drain(f.q), 1);
    }
    check_text(f.path, "SELECT count(*) || ' ' || sum(held) FROM jobq_key WHERE key = 'same'",
               "4 1");
    FAILS(JOBQ_EXISTS, jobq_retry_now(f.q, ids[1], &err));
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(sql_int(f.path, "SELECT sum(held) FROM jobq_key"), 0);
    WORKS(jobq_retry_now(f.q, ids[1], &err));
    check_text(f.path, "SELECT group_concat(job) FROM jobq_key WHERE held", "2");
    CHECK_INT(put_job(f.q, job), ids[1]);
    WORKS(jobq_delete(f.q, ids[1], &err));
    WORKS(jobq_delete(f.q, ids[0], &err));
    check_text(f.path, "SELECT count(*) || ' ' || sum(held) FROM jobq_key", "2 0");
    advance(f.q, 3 * JOBQ_DAY);
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_key"), 0);
    fixture_close(&f);
}

/* ---- Names ---- */

/* Goal: a kind and a queue of one name are two things with two numbers, and no number is given
 * twice. Method: both; then a name is taken away by hand, as one that nothing uses will be. */
TEST(names_have_numbers_of_their_own) {
    int64_t last;
    fixture f;
    REQUIRE(fixture_open(&f, STEP_BY_STEP));
    put_job(f.q, (jobq_job){.kind = "same", .queue = "same"});
    check_text(f.path, "SELECT group_concat(what || ' ' || name) FROM"
                       " (SELECT * FROM jobq_name WHERE id > 1 ORDER BY what)", "1 same,2 same");
    put_job(f.q, (jobq_job){.kind = "last", .queue = "same"});
    last = sql_int(f.path, "SELECT max(id) FROM jobq_name");
    WORKS(jobq_delete(f.q, 2, &err));
    sql_run(f.path, "DELETE FROM jobq_name WHERE name = 'last'");
    REQUIRE(fixture_reopen(&f));
    put_job(f.q, (jobq_job){.kind = "new", .queue = "same"});
    CHECK_INT(sql_int(f.path, "SELECT id FROM jobq_name WHERE name = 'new'"), last + 1);
    CHECK_STR(look(f.q, 1).kind, "same");
    CHECK_STR(look(f.q, 1).queue, "same");
    fixture_close(&f);
}

TEST_MAIN(columns_stay, jobs_are_told_in_words, claimed_is_all_that_is_known, due_by_the_wall,
          queues_and_kinds_are_counted, queries_of_the_readme, keys_of_ended_jobs,
          names_have_numbers_of_their_own)
