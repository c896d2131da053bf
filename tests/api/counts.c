/* counts.c - jobq_count and the counters in the file: exact, whatever happened.
 *
 * Promised by jobq.h: the numbers are exact, of one moment, and do not take longer because there
 * are more jobs; a listing of jobs that there are none of ends at once. Promised by tx_count.c:
 * what the counters hold is what counting its rows comes to. */
#include "helpers.h"

enum { MANY = 1500 };

static const char *file_path(void) { return test_path("counts.db"); }

static jobq_outcome half_fail(jobq_run *run, void *ctx) {
    (void)ctx;
    switch (jobq_run_id(run) % 4) {
    case 0: return JOBQ_DONE;
    case 1: return jobq_fail(run, "no");
    case 2: return jobq_retry(run, "later");
    default: return jobq_snooze(run, JOBQ_HOUR);
    }
}

static jobq_outcome succeed(jobq_run *run, void *ctx) {
    (void)run;
    (void)ctx;
    return JOBQ_DONE;
}

static void open_it(jobq **q, jobq_clock *clock, int64_t keep_ms) {
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED, .clock = clock,
                            .keep_done_ms = keep_ms, .keep_failed_ms = keep_ms};
    WORKS(jobq_open(file_path(), &options, q, &err));
    REQUIRE(*q != NULL);
    handle(*q, "k", half_fail, NULL);
    handle(*q, "l", half_fail, NULL);
    handle(*q, "done", succeed, NULL);
}

/* The same numbers from the rows; claimed ones have not started in step mode. */
static void compare(jobq *q, int64_t now_ms) {
    char due[160];
    jobq_counts c = count_all(q);
    const char *path = file_path();
    snprintf(due, sizeof due, "SELECT count(*) FROM jobq_row WHERE state = 0 AND lane IN (-1, 0)"
             " AND run_at <= %" PRId64, now_ms);
    int64_t late = sql_int(path, due);
    CHECK_INT(c.scheduled, sql_int(path, "SELECT count(*) FROM jobq_row WHERE state = 0"
                                   " AND lane IN (-1, 0)") - late);
    CHECK_INT(c.ready, late + sql_int(path, "SELECT count(*) FROM jobq_row WHERE state = 1"
                                      " OR (state = 0 AND lane > 0)"));
    CHECK_INT(c.parked, sql_int(path, "SELECT count(*) FROM jobq_row WHERE state = 0"
                                " AND lane < -1"));
    CHECK_INT(c.running, 0);
    CHECK_INT(c.done, sql_int(path, "SELECT count(*) FROM jobq_row WHERE state = 2"));
    CHECK_INT(c.failed, sql_int(path, "SELECT count(*) FROM jobq_row WHERE state = 3"));
    CHECK_INT(c.cancelled, sql_int(path, "SELECT count(*) FROM jobq_row WHERE state = 4"));
    CHECK_INT(sql_int(path, MISCOUNTED), 0);
}

static void store_many(jobq *q, int count, const char *kind, const char *queue, int64_t delay_ms) {
    static jobq_job jobs[MANY];
    for (int i = 0; i < count; i++)
        jobs[i] = (jobq_job){.kind = kind, .queue = queue, .delay_ms = i % 3 ? 0 : delay_ms};
    WORKS(jobq_enqueue_many(q, jobs, (size_t)count, NULL, &err));
}

/* Goal: the counters agree with the rows after each kind of change, of jobs that are counted and of
 * jobs that are not yet. Method: many jobs of two kinds and queues, one without a handler; each
 * call; then SQL counts the rows. */
TEST(every_change_is_counted) {
    jobq_clock *clock = jobq_clock_artificial(1000 * JOBQ_HOUR);
    int64_t now_ms = jobq_clock_now(clock), id = 0, ran;
    jobq *q;
    open_it(&q, clock, JOBQ_DAY);
    compare(q, now_ms);
    store_many(q, 500, "k", "a", JOBQ_MINUTE);
    compare(q, now_ms);
    store_many(q, 300, "nobody", "b", 0);
    store_many(q, 20, "l", "b", JOBQ_MINUTE);
    store_many(q, 200, "done", "b", 0);
    for (int i = 0; i < 5; i++)
        WORKS(jobq_enqueue(q, &(jobq_job){.kind = "l", .priority = -i}, &id, &err));
    compare(q, now_ms);
    WORKS(jobq_run_until_idle(q, &ran, &err));
    compare(q, now_ms);
    for (int64_t job = 1; job <= id; job += 7) jobq_cancel(q, job, NULL);
    compare(q, now_ms);
    for (int64_t job = 1; job <= id; job += 5) jobq_retry_now(q, job, NULL);
    compare(q, now_ms);
    for (int64_t job = 2; job <= id; job += 11) jobq_delete(q, job, NULL);
    compare(q, now_ms);
    WORKS(jobq_advance(q, JOBQ_MINUTE, NULL, &err));
    compare(q, now_ms + JOBQ_MINUTE);
    handle(q, "nobody", half_fail, NULL);
    compare(q, now_ms + JOBQ_MINUTE);
    WORKS(jobq_run_until_idle(q, &ran, &err));
    compare(q, now_ms + JOBQ_MINUTE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    open_it(&q, clock, JOBQ_DAY);
    compare(q, now_ms + JOBQ_MINUTE);
    WORKS(jobq_advance(q, 3 * JOBQ_DAY, NULL, &err));
    compare(q, now_ms + JOBQ_MINUTE + 3 * JOBQ_DAY);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
}

static int64_t uncounted(void) {
    return sql_int(file_path(), "SELECT max(id) - (SELECT counted FROM jobq_claims) FROM jobq_row");
}

static void store_singles(jobq *q, int count) {
    for (int i = 0; i < count; i++)
        WORKS(jobq_enqueue(q, &(jobq_job){.kind = i % 7 ? "k" : "nobody", .delay_ms = i % 2}, NULL,
                           &err));
}

/* Goal: jobs that came one by one are counted in the end, so that few are left to be read. Method:
 * many single ones, of which some change meanwhile. */
TEST(single_ones_are_counted) {
    jobq_clock *clock = jobq_clock_artificial(1000 * JOBQ_HOUR);
    int64_t ran;
    jobq *q;
    open_it(&q, clock, JOBQ_DAY);
    store_singles(q, 400);
    WORKS(jobq_run_until_idle(q, &ran, &err));
    for (int64_t id = 1; id < 400; id += 3) jobq_cancel(q, id, NULL);
    store_singles(q, 900);
    CHECK(uncounted() <= 1000);
    compare(q, jobq_clock_now(clock));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
}

/* Goal: counting costs no page where one job at a time ends and the next is claimed: the counters
 * stand beside the claims row, which is written anyway. Method: pages of the log, of jobs that are
 * counted; besides that page a job writes those of its row, of its place in line and, where it
 * came last, of one before. */
TEST(counters_want_no_page) {
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED,
                            .wal_pages = 1000000, .keep_done_ms = JOBQ_NONE};
    int64_t pages, before;
    fixture f;
    REQUIRE(fixture_open(&f, options));
    handle(f.q, "k", succeed, NULL);
    put_many(f.q, &(jobq_job){.kind = "k"}, 3 * MANY);
    CHECK_INT(sql_int(f.path, "SELECT sum(one > 1) FROM jobq_claims"), 1);
    WORKS(jobq_step(f.q, NULL, &err));
    before = stats_of(f.q).commits;
    pages = stats_of(f.q).wal_pages;
    while (stats_of(f.q).done < 500) WORKS(jobq_step(f.q, NULL, &err));
    CHECK_INT(stats_of(f.q).checkpoints, 0);
    before = stats_of(f.q).commits - before;
    pages = stats_of(f.q).wal_pages - pages;
    if (!CHECK(pages <= 3 * before)) test_note("%" PRId64 " in %" PRId64, pages, before);
    fixture_remove(&f);
}

/* Goal: jobs that were not counted when the file was opened are, when there are too many. Method:
 * reopen before that; those of before are read then, a slice at a time. */
TEST(found_uncounted) {
    jobq_clock *clock = jobq_clock_artificial(1000 * JOBQ_HOUR);
    int64_t ran;
    jobq *q;
    open_it(&q, clock, JOBQ_DAY);
    store_singles(q, 700);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    open_it(&q, clock, JOBQ_DAY);
    store_singles(q, 700);
    WORKS(jobq_run_until_idle(q, &ran, &err));
    CHECK(uncounted() <= 1000);
    compare(q, jobq_clock_now(clock));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
}

/* Goal: where most ids are of jobs that are gone, the others are counted without a step for each
 * of them. Method: the highest id is set to a large one, as after many years; one commit. */
TEST(gone_ids_take_no_time) {
    jobq_clock *clock = jobq_clock_artificial(1000 * JOBQ_HOUR);
    sqlite3 *db;
    jobq *q;
    open_it(&q, clock, JOBQ_DAY);
    store_singles(q, 200);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    db = sql_open(file_path());
    CHECK_INT(run_sql(db, "UPDATE jobq_claims SET last_id = 1000000000000"), SQLITE_OK);
    sqlite3_close(db);
    open_it(&q, clock, JOBQ_DAY);
    WORKS(jobq_cancel(q, 5, &err));
    CHECK(sql_int(file_path(), "SELECT counted FROM jobq_claims") >= INT64_C(1000000000000));
    compare(q, jobq_clock_now(clock));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
}

/* Goal: what a client stores is in the numbers at once, whoever asks, and in the counters when it
 * is counted. Method: both store by turns until it is; the client's last ones are above the
 * owner's. */
TEST(jobs_of_clients_are_counted) {
    jobq_clock *clock = jobq_clock_artificial(1000 * JOBQ_HOUR);
    jobq_options options = {.role = JOBQ_CLIENT, .clock = clock, .shared = true};
    jobq_options owner = {.workers = JOBQ_NONE, .clock = clock, .shared = true};
    jobq *q, *client;
    WORKS(jobq_open(file_path(), &owner, &q, &err));
    REQUIRE(q != NULL);
    WORKS(jobq_open(file_path(), &options, &client, &err));
    REQUIRE(client != NULL);
    for (int turn = 0; turn < 4; turn++) {
        store_many(q, 200, "k", "a", JOBQ_MINUTE);
        store_many(client, 150, "k", "a", JOBQ_MINUTE);
        compare(client, jobq_clock_now(clock));
        compare(q, jobq_clock_now(clock));
    }
    store_many(q, 10, "k", "b", 0);
    WORKS(jobq_run_until_idle(q, NULL, &err));
    CHECK(uncounted() <= 1000);
    store_many(client, 1100, "k", "a", JOBQ_MINUTE);
    WORKS(jobq_cancel(q, sql_int(file_path(), "SELECT max(id) FROM jobq_row"), &err));
    store_many(q, 10, "k", "b", 0);
    compare(q, jobq_clock_now(clock));
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
}

/* Goal: jobs of a client that the owner has run are no less counted. Method: few enough that they
 * are not counted yet; then so many of the owner's that all are. */
TEST(jobs_of_clients_that_ran_are_counted) {
    jobq_clock *clock = jobq_clock_artificial(1000 * JOBQ_HOUR);
    jobq_options options = {.role = JOBQ_CLIENT, .clock = clock, .shared = true};
    jobq_options owner = {.workers = JOBQ_NONE, .clock = clock, .shared = true,
                          .keep_done_ms = JOBQ_DAY};
    jobq *q, *client;
    WORKS(jobq_open(file_path(), &owner, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "done", succeed, NULL);
    WORKS(jobq_open(file_path(), &options, &client, &err));
    REQUIRE(client != NULL);
    store_many(q, 1200, "nobody", "b", 0);
    WORKS(jobq_run_until_idle(q, NULL, &err));
    store_many(client, 300, "done", "a", 0);
    WORKS(jobq_run_until_idle(q, NULL, &err));
    for (int i = 0; i < 4; i++) store_many(q, 225, "nobody", "b", 0);
#ifndef JOBQ_SMALL /* there it takes 500 transactions more */
    CHECK(sql_int(file_path(), "SELECT counted FROM jobq_claims") > 2000);
#endif
    compare(q, jobq_clock_now(clock));
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
}

static jobq_outcome store_and_undo(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    if (!db) return JOBQ_FAIL;
    CHECK_INT(run_sql(db, "SAVEPOINT mine"), SQLITE_OK);
    store_many(jobq_run_handle(run), 5, "nobody", "a", 0);
    CHECK_INT(run_sql(db, "ROLLBACK TO mine"), SQLITE_OK);
    store_many(jobq_run_handle(run), 2, "nobody", "a", 0);
    CHECK_INT(run_sql(db, "RELEASE mine"), SQLITE_OK);
    return JOBQ_DONE;
}

/* Goal: jobs that a handler stores in its transaction and takes back are never counted. Method:
 * such a handler among jobs that are not counted yet; then so many that they are. */
TEST(what_a_handler_undoes_is_not_counted) {
    jobq_clock *clock = jobq_clock_artificial(1000 * JOBQ_HOUR);
    int64_t ran;
    jobq *q;
    open_it(&q, clock, JOBQ_DAY);
    handle(q, "undo", store_and_undo, NULL);
    store_singles(q, 100);
    WORKS(jobq_enqueue(q, &(jobq_job){.kind = "undo"}, NULL, &err));
    WORKS(jobq_run_until_idle(q, &ran, &err));
    compare(q, jobq_clock_now(clock));
    store_many(q, 1200, "nobody", "a", 0);
    CHECK(sql_int(file_path(), "SELECT counted FROM jobq_claims") > 0);
    compare(q, jobq_clock_now(clock));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
}

/* Goal: keep_max counts what has ended, and no more goes than is too much. Method: more than that
 * end, among them such that are not counted yet. */
TEST(no_more_are_kept_than_asked) {
    jobq_clock *clock = jobq_clock_artificial(1000 * JOBQ_HOUR);
    jobq_options options = {.workers = JOBQ_NONE, .clock = clock, .keep_max = 100};
    int64_t ran;
    jobq *q;
    WORKS(jobq_open(file_path(), &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "k", half_fail, NULL);
    store_many(q, 600, "k", "a", 0);
    for (int i = 0; i < 20; i++)
        WORKS(jobq_enqueue(q, &(jobq_job){.kind = "k"}, NULL, &err));
    WORKS(jobq_run_until_idle(q, &ran, &err));
    WORKS(jobq_advance(q, 2 * JOBQ_MINUTE, NULL, &err));
    jobq_counts c = count_all(q);
    CHECK_INT(c.done + c.failed + c.cancelled, 100);
    compare(q, jobq_clock_now(clock));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
}

/* Goal: who goes because his time is over is not counted among those that are too many. Method: 700
 * may be kept, for an hour; when that is over, 600 others have just ended. */
TEST(who_is_pruned_is_not_too_many) {
    jobq_clock *clock = jobq_clock_artificial(1000 * JOBQ_HOUR);
    jobq_options options = {.workers = JOBQ_NONE, .clock = clock, .keep_max = 700,
                            .keep_done_ms = JOBQ_HOUR};
    jobq *q = NULL;
    WORKS(jobq_open(file_path(), &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "k", succeed, NULL);
    store_many(q, 1200, "k", "a", 0);
    WORKS(jobq_run_until_idle(q, NULL, &err));
    for (int i = 0; i < 59; i++) WORKS(jobq_advance(q, JOBQ_MINUTE, NULL, &err));
    WORKS(jobq_advance(q, 50 * JOBQ_SECOND, NULL, &err));
    CHECK_INT(count_all(q).done, 700);
    store_many(q, 600, "k", "a", 0);
    WORKS(jobq_run_until_idle(q, NULL, &err));
    CHECK_INT(count_all(q).done, 1300);
    for (int i = 0; i < 5; i++) WORKS(jobq_advance(q, JOBQ_MINUTE, NULL, &err));
    CHECK_INT(count_all(q).done, 600);
    compare(q, jobq_clock_now(clock));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
}

static int one_more(void *ctx) {
    ++*(int64_t *)ctx;
    return 0;
}

/* The first page of such jobs. */
static size_t first_page(jobq *q, jobq_filter filter, jobq_cursor *cursor) {
    static jobq_info infos[50];
    size_t count = 0;
    *cursor = (jobq_cursor){.done = false};
    WORKS(jobq_list(q, &filter, cursor, infos, 50, &count, &err));
    return count;
}

struct steps {
    int64_t count, no_kind, no_queue, no_state, no_such, no_key, key; /* of SQLite's machine */
};

/* What a look costs beside so many jobs that are counted. */
static void measure(int jobs, struct steps *steps) {
    jobq_clock *clock = jobq_clock_artificial(1000 * JOBQ_HOUR);
    sqlite3 *reader = NULL;
    jobq_options options = {.workers = JOBQ_NONE, .clock = clock, .on_connect = remember_reader,
                            .ctx = &reader};
    const jobq_filter filters[] = {{.kind = "nobody"}, {.queue = "elsewhere"},
                                   {.kind = "k", .state = JOBQ_STATE_DONE},
                                   {.kind = "l", .queue = "a", .state = JOBQ_STATE_PENDING},
                                   {.kind = "k", .key = "y"}, {.kind = "k", .key = "x"}};
    int64_t *costs[] = {&steps->no_kind, &steps->no_queue, &steps->no_state, &steps->no_such,
                        &steps->no_key, &steps->key};
    jobq_cursor cursor;
    jobq *q;
    memset(steps, 0, sizeof *steps);
    WORKS(jobq_open(file_path(), &options, &q, &err));
    REQUIRE(q != NULL && reader != NULL);
    store_many(q, 1, "l", "b", JOBQ_HOUR);
    put_job(q, (jobq_job){.kind = "k", .queue = "a", .key = "x"});
    for (int stored = 0; stored < jobs; stored += MANY) store_many(q, MANY, "k", "a", JOBQ_HOUR);
    CHECK_INT(uncounted(), 0);
    CHECK_INT(count_all(q).ready + count_all(q).scheduled + count_all(q).parked, jobs + 2);
    sqlite3_progress_handler(reader, 1, one_more, &steps->count);
    count_all(q);
    for (int i = 0; i < 6; i++) {
        sqlite3_progress_handler(reader, 1, one_more, costs[i]);
        CHECK_INT(first_page(q, filters[i], &cursor), i == 5);
        CHECK(cursor.done);
    }
    sqlite3_progress_handler(reader, 0, NULL, NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
    unlink(file_path());
    unlink(test_path("counts.db-jobq"));
}

/* Goal: counting, finding that there are no such jobs, and finding those of a key, takes as much
 * beside many jobs as beside few. Method: the steps of SQLite's machine, with the same pairs of
 * queue and kind. */
TEST(looks_do_not_grow) {
    struct steps few, many;
    measure(MANY, &few);
    measure(8 * MANY, &many);
    CHECK(few.count > 0 && many.count <= few.count + 50);
    CHECK(few.no_kind > 0 && many.no_kind <= few.no_kind + 50);
    CHECK(few.no_queue > 0 && many.no_queue <= few.no_queue + 50);
    CHECK(few.no_state > 0 && many.no_state <= few.no_state + 50);
    CHECK(few.no_such > 0 && many.no_such <= few.no_such + 50);
    CHECK(few.no_key > 0 && many.no_key <= few.no_key + 50);
    CHECK(few.key > few.no_key && many.key <= few.key + 50);
}

/* Goal: a listing ends at once only where there is really nothing. Method: jobs that are counted
 * and jobs that are not, of each state; each filter against what SQL finds. */
TEST(nothing_is_nothing) {
    jobq_clock *clock = jobq_clock_artificial(1000 * JOBQ_HOUR);
    static const char *const kinds[] = {"k", "l", "done", "nobody", "never", NULL};
    static const char *const queues[] = {"a", "b", "default", "never", NULL};
    jobq *q;
    open_it(&q, clock, JOBQ_DAY);
    for (int round = 0; round < 2; round++) {
        store_many(q, round ? 7 : 40, "k", "a", JOBQ_HOUR);
        store_many(q, round ? 1 : 1200, "nobody", "b", 0);
        store_many(q, round ? 3 : 20, "done", "a", 0);
        WORKS(jobq_run_until_idle(q, NULL, &err));
        for (int state = JOBQ_STATE_NONE; state <= (int)JOBQ_STATE_CANCELLED; state++)
            for (int kind = 0; kind < 6; kind++)
                for (int queue = 0; queue < 5; queue++) {
                    static jobq_info infos[2000];
                    jobq_filter filter = {.state = (jobq_state)state, .kind = kinds[kind],
                                          .queue = queues[queue]};
                    static const char *const states[] = {"0, 1, 2, 3, 4", "0, 1", "9", "2", "3",
                                                         "4"};
                    jobq_cursor cursor = {.done = false};
                    size_t count = 0;
                    char sql[400];
                    snprintf(sql, sizeof sql, "SELECT count(*) FROM jobq_jobs v JOIN jobq_row r"
                             " ON r.id = v.id WHERE r.state IN (%s) AND v.kind = coalesce(%s%s%s,"
                             " v.kind) AND v.queue = coalesce(%s%s%s, v.queue)", states[state],
                             filter.kind ? "'" : "", filter.kind ? filter.kind : "NULL",
                             filter.kind ? "'" : "", filter.queue ? "'" : "",
                             filter.queue ? filter.queue : "NULL", filter.queue ? "'" : "");
                    WORKS(jobq_list(q, &filter, &cursor, infos, 2000, &count, &err));
                    CHECK(cursor.done || count == 2000);
                    CHECK_INT(count, sql_int(file_path(), sql));
                }
    }
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
}

/* Goal: the same with a pool, whose transactions claim and settle many at a time, with neighbours
 * by one statement. Method: jobs by the thousand and one by one meanwhile; when all have ended,
 * and when it was stopped in the middle. */
TEST(a_pool_counts) {
    jobq_options options = {.workers = 3, .durability = JOBQ_RELAXED, .keep_done_ms = JOBQ_DAY};
    jobq *q;
    WORKS(jobq_open(file_path(), &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "done", succeed, NULL);
    handle_kind(q, (jobq_kind){.name = "k", .run = half_fail, .keep_done_ms = JOBQ_NONE});
    WORKS(jobq_start(q, &err));
    for (int round = 0; round < 3; round++) {
        store_many(q, 1200, round % 2 ? "k" : "done", round ? "a" : "b", JOBQ_HOUR);
        for (int i = 0; i < 30; i++)
            WORKS(jobq_enqueue(q, &(jobq_job){.kind = "done", .priority = -i}, NULL, &err));
    }
    WORKS(jobq_stop(q, 0, &err));
    CHECK_INT(sql_int(file_path(), MISCOUNTED), 0);
    WORKS(jobq_start(q, &err));
    UNTIL(count_all(q).ready + count_all(q).running == 0);
    WORKS(jobq_stop(q, 0, &err));
    compare(q, 0);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

TEST_MAIN(every_change_is_counted, a_pool_counts, single_ones_are_counted, counters_want_no_page,
          found_uncounted, gone_ids_take_no_time, jobs_of_clients_are_counted,
          jobs_of_clients_that_ran_are_counted, what_a_handler_undoes_is_not_counted,
          no_more_are_kept_than_asked, who_is_pruned_is_not_too_many,
          looks_do_not_grow, nothing_is_nothing)
