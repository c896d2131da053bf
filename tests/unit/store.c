/* store.c - the claims row's text, and how SQLite means to run the engine's statements. */

#include "helpers.h"
#include "unit.h"

/* ---- The claims row ---- */

/* Packs ids in a row, as a transaction does; returns the bytes written. */
static size_t pack_all(const int64_t *ids, size_t count, unsigned char *to) {
    size_t size = 0;
    int64_t previous = 0;
    for (size_t i = 0; i < count; i++) {
        size_t used = jobq__store_pack(to + size, previous, ids[i]);
        CHECK(used >= 1 && used <= JOBQ__PACK_MAX);
        size += used;
        previous = ids[i];
    }
    return size;
}

/* Reads them again from a block of exactly that size, so that a sanitizer sees a step too far. */
static void unpack_all(const int64_t *ids, size_t count, const unsigned char *text, size_t size) {
    unsigned char *copy = (unsigned char *)malloc(size ? size : 1);
    size_t at = 0;
    int64_t id = 0;
    if (!copy) test_give_up("no memory");
    memcpy(copy, text, size);
    for (size_t i = 0; i < count; i++) {
        size_t used = jobq__store_unpack(copy + at, size - at, &id);
        if (!CHECK(used > 0) || !CHECK_INT(id, ids[i])) break;
        at += used;
    }
    CHECK_INT(at, size);
    CHECK_INT(jobq__store_unpack(copy + at, size - at, &id), 0);
    free(copy);
}

static const int64_t extremes[] = {0, 1, -1, 2, 63, 64, 65, -64, -65, 127, 128, 8191, 8192, 16383,
                                   16384, INT32_MAX, INT32_MIN, INT64_C(1) << 53, INT64_MAX - 1,
                                   INT64_MAX, INT64_MIN, INT64_MIN + 1};
#define EXTREMES (sizeof extremes / sizeof extremes[0])

/* Goal: every step from one id to another survives. Method: each pair of extremes. */
TEST(pack_extremes) {
    unsigned char text[3 * JOBQ__PACK_MAX];
    for (size_t i = 0; i < EXTREMES; i++) {
        for (size_t j = 0; j < EXTREMES; j++) {
            int64_t ids[2];
            ids[0] = extremes[i];
            ids[1] = extremes[j];
            unpack_all(ids, 2, text, pack_all(ids, 2, text));
        }
    }
}

/* Goal: any set of ids survives. Method: random ids of random magnitude, in any order. */
TEST(pack_random_ids) {
    enum { COUNT = 600 };
    static int64_t ids[COUNT];
    static unsigned char text[COUNT * JOBQ__PACK_MAX];
    uint64_t state = test_seed();
    for (int round = 0; round < TEST_SCALED(400); round++) {
        size_t count = (size_t)(test_random(&state) % COUNT);
        for (size_t i = 0; i < count; i++)
            ids[i] = (int64_t)(test_random(&state) >> test_random(&state) % 64);
        unpack_all(ids, count, text, pack_all(ids, count, text));
    }
}

/* Goal: the usual row is short and what the file holds never changes. Method: bytes worked out by
 * hand, and a row of consecutive ids. */
TEST(pack_is_short_and_pinned) {
    static const unsigned char pinned[] = {0x02, 0x80, 0x01, 0x01, 0x01};
    const int64_t few[] = {1, 65, 64, 63};
    int64_t ids[512];
    unsigned char text[512 * JOBQ__PACK_MAX];
    CHECK_INT(pack_all(few, 4, text), sizeof pinned);
    CHECK_MEM(text, pinned, sizeof pinned);
    for (int i = 0; i < 512; i++) ids[i] = INT64_C(1000000000000) + i;
    CHECK(pack_all(ids, 512, text) <= 511 + JOBQ__PACK_MAX);
}

/* Goal: a text that ends too early is told apart. Method: every proper beginning of one id. */
TEST(unpack_text_cut_off) {
    for (size_t i = 0; i < EXTREMES; i++) {
        unsigned char text[JOBQ__PACK_MAX];
        size_t size = jobq__store_pack(text, 0, extremes[i]);
        for (size_t cut = 0; cut < size; cut++) {
            unsigned char *copy = (unsigned char *)malloc(cut ? cut : 1);
            int64_t id = 42;
            if (!copy) test_give_up("no memory");
            memcpy(copy, text, cut);
            CHECK_INT(jobq__store_unpack(copy, cut, &id), 0);
            CHECK_INT(id, 42);
            free(copy);
        }
    }
}

/* Goal: bytes that no pack has written do no harm. Method: endless continuation, and noise: never
 * more is read than there is, and the walk comes to an end. */
TEST(unpack_noise) {
    unsigned char text[64];
    uint64_t state = test_seed();
    int64_t id = 0;
    memset(text, 0xff, sizeof text);
    CHECK_INT(jobq__store_unpack(text, sizeof text, &id), 0);
    memset(text, 0x80, sizeof text);
    CHECK_INT(jobq__store_unpack(text, sizeof text, &id), 0);
    for (int round = 0; round < TEST_SCALED(100000); round++) {
        size_t size = (size_t)(test_random(&state) % sizeof text), at = 0, used;
        unsigned char *copy = (unsigned char *)malloc(size ? size : 1);
        if (!copy) test_give_up("no memory");
        for (size_t i = 0; i < size; i++) copy[i] = (unsigned char)test_random(&state);
        while ((used = jobq__store_unpack(copy + at, size - at, &id)) > 0) {
            if (!CHECK(used <= size - at && used <= JOBQ__PACK_MAX)) break;
            at += used;
        }
        free(copy);
    }
}

/* ---- A queue's file ---- */

static const char *make_queue(void) {
    const char *path = test_path("q.db");
    jobq *q = NULL;
    CHECK_CODE(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE}, &q, NULL), JOBQ_OK);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    return path;
}

static sqlite3 *look_into(const char *path) {
    sqlite3 *db = NULL;
    if (!CHECK_INT(sqlite3_open(path, &db), SQLITE_OK)) test_note("%s", sqlite3_errmsg(db));
    return db;
}

static int64_t number_of(sqlite3 *db, const char *sql) {
    sqlite3_stmt *statement = NULL;
    int64_t number = -1;
    if (CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK)
        && CHECK_INT(sqlite3_step(statement), SQLITE_ROW))
        number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

static void sql_on(sqlite3 *db, const char *sql) {
    if (!CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK))
        test_note("%s: %s", sql, sqlite3_errmsg(db));
}

/* Goal: a damaged claims row is called damage. Method: texts that no pack has written, then open:
 * JOBQ_CORRUPT, with a sentence, and the row is left as it was. */
TEST(damaged_claims_row_is_corrupt) {
    static const char *const texts[] = {"x'80'", "x'0280'", "x'ffffffffffffffffffff02'"};
    const char *path = make_queue();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        jobq_error err = {.code = 0};
        jobq *q = NULL;
        sqlite3 *db = look_into(path);
        char sql[96];
        snprintf(sql, sizeof sql, "UPDATE jobq_claims SET ids = %s", texts[i]);
        sql_on(db, sql);
        sqlite3_close(db);
        CHECK_CODE(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE}, &q, &err), JOBQ_CORRUPT);
        CHECK_INT(err.code, JOBQ_CORRUPT);
        CHECK(q == NULL);
        if (q) jobq_close(&q);
    }
}

/* ---- Plans ---- */

static const struct {
    const char *name, *text;
} statements[] = {
#define STATEMENT(name, text) {#name, text},
    JOBQ__SQL_LIST(STATEMENT)
#undef STATEMENT
};

/* What may walk a whole table, and why. */
static bool may_scan(const char *name, const char *step) {
    static const char *const walks[] = {
        "NAME_COUNT",  /* names: at most JOBQ_NAMES_MAX, when one is added */
    };
    if (strstr(step, "CONSTANT ROW")) return true;
    if (strstr(step, "VALUES CLAUSE")) return true; /* the rows that are inserted */
    if (strstr(step, "(subquery")) return true; /* the rows of an arm, which has its own steps */
    if (strstr(step, "jobq_claims")) return true; /* one row, and one for each queue and kind */
    for (size_t i = 0; i < sizeof walks / sizeof walks[0]; i++)
        if (strcmp(walks[i], name) == 0) return true;
    return false;
}

/* ranges: the statement is for a range of ids. */
static bool plan_step_fits(const char *name, bool ranges, const char *step) {
    bool scans = strncmp(step, "SCAN", 4) == 0 && !may_scan(name, step);
    bool sorts = strstr(step, "TEMP B-TREE") != NULL;
    bool automatic = strstr(step, "AUTOMATIC") != NULL;
    bool open_end = ranges && !strstr(step, "(rowid>? AND rowid<?)");
    if (CHECK(!scans && !sorts && !automatic && !open_end)) return true;
    test_note("%s: %s", name, step);
    return false;
}

/* As it is prepared; to be freed. */
static char *whole_of(const char *text) {
    char *whole = sqlite3_mprintf(text, JOBQ__TEXT_PARTS);
    if (!whole) test_give_up("no memory");
    return whole;
}

/* Checks every step of a statement's plan; what is no query has none. */
static void check_plan(sqlite3 *db, const char *name, const char *text) {
    bool ranges = strstr(text, "id BETWEEN ?1 AND ?2") != NULL;
    sqlite3_stmt *statement = NULL;
    char *whole = whole_of(text);
    char *sql = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", whole);
    sqlite3_free(whole);
    if (!sql) test_give_up("no memory");
    if (CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK)) {
        while (sqlite3_step(statement) == SQLITE_ROW)
            plan_step_fits(name, ranges, (const char *)sqlite3_column_text(statement, 3));
    } else {
        test_note("%s: %s", name, sqlite3_errmsg(db));
    }
    sqlite3_finalize(statement);
    sqlite3_free(sql);
}

static void check_plans(sqlite3 *db) {
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        const char *text = statements[i].text;
        if (strncmp(text, "PRAGMA", 6) == 0) continue;
        check_plan(db, statements[i].name, text);
    }
}

/* Goal: no statement that runs again and again walks a table or sorts. Method: SQLite's own plans
 * of all of them, on a database that jobq has made. */
TEST(plans_in_a_new_file) {
    sqlite3 *db = look_into(make_queue());
    check_plans(db);
    sqlite3_close(db);
}

/* Goal: the jobs of a key are found among its rows only, each by a search: by all of the key's
 * index, in its order. Method: which searches SQLite means to do, and that nothing is sorted. */
TEST(keys_are_found_by_searches) {
    static const char *const wanted[] = {
        "u USING PRIMARY KEY (kind=? AND key=? AND held=? AND job>?)",
        "j USING INTEGER PRIMARY KEY (rowid=?)"};
    sqlite3 *db = look_into(make_queue());
    int found[2] = {0, 0};
    sqlite3_stmt *statement = NULL;
    char *whole = whole_of(statements[JOBQ__SQL_INFO_KEY].text);
    char *sql = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", whole);
    CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    while (statement && sqlite3_step(statement) == SQLITE_ROW)
        for (int i = 0; i < 2; i++)
            found[i] += strstr((const char *)sqlite3_column_text(statement, 3), wanted[i]) != NULL;
    CHECK_INT(found[0], 2); /* those that are held, and those that are not */
    CHECK_INT(found[1], 2);
    sqlite3_finalize(statement);
    sqlite3_free(sql);
    sqlite3_free(whole);
    sqlite3_close(db);
}

/* True if the statement opens that index to write. */
static bool writes_index(sqlite3 *db, enum jobq__sql which, const char *index) {
    sqlite3_stmt *statement = NULL;
    char *sql = sqlite3_mprintf("EXPLAIN %s", statements[which].text);
    char root[128];
    int64_t page;
    bool writes = false;
    if (!sql) test_give_up("no memory");
    snprintf(root, sizeof root, "SELECT rootpage FROM sqlite_master WHERE name = '%s'", index);
    page = number_of(db, root);
    CHECK(page > 1);
    CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    while (statement && sqlite3_step(statement) == SQLITE_ROW) {
        const char *step = (const char *)sqlite3_column_text(statement, 1);
        if (!strcmp(step, "OpenWrite") && sqlite3_column_int64(statement, 3) == page) writes = true;
    }
    sqlite3_finalize(statement);
    sqlite3_free(sql);
    return writes;
}

/* Goal: a claim asks no index but that of waiting jobs. Method: which indexes SQLite opens for it;
 * and for the end of a job that is kept. */
TEST(claims_leave_what_has_ended_alone) {
    sqlite3 *db = look_into(make_queue());
    CHECK(writes_index(db, JOBQ__SQL_CLAIM, "jobq_live"));
    CHECK(writes_index(db, JOBQ__SQL_CLAIM_ONE, "jobq_live"));
    CHECK(!writes_index(db, JOBQ__SQL_CLAIM, "jobq_finished"));
    CHECK(!writes_index(db, JOBQ__SQL_CLAIM_ONE, "jobq_finished"));
    CHECK(writes_index(db, JOBQ__SQL_FINISH_RUNS, "jobq_finished"));
    sqlite3_close(db);
}

/* Rows of every kind: mostly finished, some ready, scheduled and parked. */
#define FILL \
    "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)" \
    " INSERT INTO jobq_row(id, state, lane, ord, run_at, kind, queue, priority, attempt, runs," \
    " crashes, delay_ms, created_at, side, finished_at, prune_at, payload)" \
    " SELECT i, CASE WHEN i % 10 THEN 2 ELSE 0 END," \
    " CASE WHEN i % 10 THEN NULL ELSE (i / 10) % 4 - 1 END, 0, i, 2, 3, 0, 1, 1, 0, 0, i," \
    " i % 2, CASE WHEN i % 10 THEN i END, CASE WHEN i % 10 THEN i + 1000 END, x'00' FROM n"

/* Goal: an application that runs ANALYZE on a joined file changes no plan for the worse. Method:
 * the same on a filled and analysed database. */
TEST(plans_after_analyze) {
    sqlite3 *db = look_into(make_queue());
    sql_on(db, "INSERT INTO jobq_name VALUES(2, 2, 0, 'kind'), (3, 1, 0, 'queue'),"
               " (4, 1, 0, 'other')");
    sql_on(db, FILL);
    sql_on(db, "INSERT INTO jobq_extra(job, key) SELECT id, id FROM jobq_row WHERE side");
    sql_on(db, "INSERT INTO jobq_key(kind, key, held, job) SELECT 2, id, state = 0, id"
               " FROM jobq_row WHERE side");
    sql_on(db, "ANALYZE; ANALYZE sqlite_master");
    check_plans(db);
    sqlite3_close(db);
}

/* ---- Statistics ---- */

enum { FEW = 8 };

/* A table of the application's and so many jobs of each sort, one of two with a row beside it, and
 * what is said of them: by ANALYZE, or by hand for a SQLite with more of them. */
static void fill_and_analyze(const char *path, int waiting, int finished) {
    char sql[700];
    sqlite3 *db = look_into(path);
    snprintf(sql, sizeof sql,
             "DELETE FROM jobq_row; DELETE FROM jobq_extra; CREATE TABLE IF NOT EXISTS app(x);"
             " CREATE INDEX IF NOT EXISTS app_x ON app(x); INSERT INTO app VALUES(1), (2);"
             " WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO jobq_row(id, state, lane, ord, run_at, kind, queue, priority, attempt,"
             " runs, crashes, delay_ms, side, finished_at, prune_at)"
             " SELECT i, iif(i <= %d, 0, 2), iif(i <= %d, 0, NULL), 0, 9e12, 2, 3, 0, 1, 0, 0, 0,"
             " i %% 2, iif(i <= %d, NULL, 9), iif(i <= %d, NULL, 9e12) FROM n WHERE i <= %d",
             waiting + finished + 1, waiting, waiting, waiting, waiting, waiting + finished);
    sql_on(db, sql);
    sql_on(db, "INSERT INTO jobq_extra(job, key) SELECT id, id FROM jobq_row WHERE side");
    sql_on(db, "ANALYZE");
    CHECK(!waiting || number_of(db, "SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'jobq_row'"));
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
}

#define OF_JOBQ "SELECT count(*) FROM sqlite_stat1 WHERE tbl LIKE 'jobq%'"
#define OF_APP "SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'app'"

/* Goal: what ANALYZE has said of a queue that was short then does no harm to any statement once the
 * queue was opened, and what it has said of other tables stays. Method: the plans after 0 to 8
 * waiting and as many finished jobs. */
TEST(statistics_of_a_short_queue_go) {
    const char *path = make_queue();
    for (int waiting = 0; waiting <= FEW; waiting++) {
        for (int finished = 0; finished <= FEW; finished++) {
            sqlite3 *db;
            fill_and_analyze(path, waiting, finished);
            make_queue();
            db = look_into(path);
            CHECK_INT(number_of(db, OF_JOBQ), 0);
            CHECK_INT(number_of(db, OF_APP), 1);
            check_plans(db);
            sqlite3_close(db);
            if (test_failures()) {
                test_note("after %d waiting, %d finished", waiting, finished);
                return;
            }
        }
    }
}

static void run_one(fixture *f) {
    int ran = 0;
    put(f->q, "k");
    WORKS(jobq_step(f->q, &ran, &err));
    CHECK_INT(ran, 1);
}

/* Each of them as it knows the file now. */
static void check_connections(fixture *f) {
    jobq_info info;
    WORKS(jobq_get(f->q, 1, &info, &err));
    check_plans(f->q->writer.handle);
    check_plans(f->q->reader.handle);
}

static jobq_outcome check_its_connection(jobq_run *run, void *ctx) {
    jobq *q = (jobq *)ctx;
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    q->job.speaks = true; /* what jobq says the authorizer lets pass */
    check_plan(db, "DROP_RUNS", statements[JOBQ__SQL_DROP_RUNS].text);
    q->job.speaks = false;
    return JOBQ_DONE;
}

static void check_job(fixture *f) {
    put(f->q, "file");
    CHECK_INT(drain(f->q), 1);
}

/* Goal: statistics that are gathered beside an open queue are gone after a transaction or two, and
 * no connection of the queue goes on with them. Method: the first ANALYZE of a file, which all
 * connections hear of; a later one, which they hear of when the schema changes, and those that are
 * opened then; PRAGMA optimize; and a last look by the next who opens it. */
TEST(statistics_beside_an_open_queue_go) {
    static const char *const ways[] = {
        "ANALYZE", "ANALYZE", "CREATE VIEW more AS SELECT 1; DROP VIEW more",
        "ANALYZE; CREATE VIEW more AS SELECT 1; DROP VIEW more",
        ("SELECT * FROM app WHERE x = 1; SELECT * FROM jobq_row WHERE prune_at = 1;"
         " SELECT * FROM jobq_name WHERE name = 'k'; PRAGMA optimize(0x10002)")};
    fixture f;
    sqlite3 *db;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", do_nothing, NULL);
    handle(f.q, "file", check_its_connection, f.q);
    WORKS(jobq_enqueue(f.q, &(jobq_job){.kind = "k", .delay_ms = JOBQ_HOUR, .key = "late"}, NULL,
                       &err));
    for (int i = 0; i < 3; i++) put(f.q, "k");
    CHECK_INT(drain(f.q), 3);
    db = look_into(f.path);
    sql_on(db, "CREATE TABLE app(x); CREATE INDEX app_x ON app(x); INSERT INTO app VALUES(1)");
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        sql_on(db, ways[i]);
        if (i == 0) CHECK(number_of(db, OF_JOBQ) > 0);
        run_one(&f);
        run_one(&f);
        check_connections(&f);
        check_job(&f);
        if (i != 1) CHECK_INT(number_of(db, OF_JOBQ), 0);
        CHECK_INT(number_of(db, OF_APP), 1);
    }
    sql_on(db, "ANALYZE");
    CHECK(number_of(db, OF_JOBQ) > 0);
    fixture_reopen(&f);
    CHECK_INT(number_of(db, OF_JOBQ), 0);
    check_connections(&f);
    sqlite3_close(db);
    fixture_close(&f);
}

/* ---- Listings ---- */

/* What one row costs when the listing stands behind the row with this id, in SQLite's own steps. */
static int steps_behind(sqlite3 *db, const char *name, const int64_t *after, int count) {
    sqlite3_stmt *statement = NULL;
    int steps;
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        char *whole = whole_of(statements[i].text);
        if (strcmp(statements[i].name, name) == 0)
            CHECK_INT(sqlite3_prepare_v2(db, whole, -1, &statement, NULL), SQLITE_OK);
        sqlite3_free(whole);
    }
    for (int i = 0; i < count; i++) sqlite3_bind_int64(statement, i ? i + 2 : 1, after[i]);
    sqlite3_bind_int(statement, 2, 1);
    CHECK_INT(sqlite3_step(statement), SQLITE_ROW);
    CHECK_INT(sqlite3_column_int64(statement, 0), after[count - 1] + 1);
    steps = sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_VM_STEP, 0);
    sqlite3_finalize(statement);
    return steps;
}

/* Goal: a listing goes on where it stood, even among rows that became ready or finished in the same
 * millisecond. Method: 2000 rows of one run_at and 2000 of one prune_at, as done ones and as failed
 * ones; the row behind the last but one costs about as much as the second. */
TEST(a_listing_does_not_begin_again) {
    static const char fill[] =
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)"
        " INSERT INTO jobq_row(id, state, lane, ord, run_at, kind, queue, priority, attempt, runs,"
        " crashes, delay_ms, created_at, side, finished_at, prune_at)"
        " SELECT i, CASE WHEN i <= 2000 THEN 0 ELSE 2 END, CASE WHEN i <= 2000 THEN 3 END, 0, 7, 2,"
        " 3, 0, 1, 1, 0, 0, 7, 0, CASE WHEN i > 2000 THEN 7 END, CASE WHEN i > 2000 THEN 99 END"
        " FROM n";
    sqlite3 *db = look_into(make_queue());
    const int64_t live[2][4] = {{3, 0, 7, 1}, {3, 0, 7, 1999}};
    const int64_t finished[2][2] = {{99, 2001}, {99, 3999}};
    int first, last;
    sql_on(db, fill);
    first = steps_behind(db, "INFO_LIVE", live[0], 4);
    last = steps_behind(db, "INFO_LIVE", live[1], 4);
    if (!CHECK(last <= 2 * first)) test_note("ready rows: %d steps, then %d", first, last);
    first = steps_behind(db, "INFO_FINISHED", finished[0], 2);
    last = steps_behind(db, "INFO_FINISHED", finished[1], 2);
    if (!CHECK(last <= 2 * first)) test_note("finished rows: %d steps, then %d", first, last);
    sql_on(db, "UPDATE jobq_row SET state = 3 WHERE state = 2; INSERT INTO jobq_failed"
               " SELECT prune_at, id FROM jobq_row WHERE state = 3");
    first = steps_behind(db, "INFO_FAILED", finished[0], 2);
    last = steps_behind(db, "INFO_FAILED", finished[1], 2);
    if (!CHECK(last <= 2 * first)) test_note("failed rows: %d steps, then %d", first, last);
    sqlite3_close(db);
}

/* ---- A file that becomes small ---- */

static int64_t free_pages(struct jobq__db *db) {
    return jobq__store_free_bytes(db) / jobq__store_page_size(db);
}

/* Goal: a slice ends in time, wherever the file's last pages stand in the list of free ones; what
 * it has given back by then is given back. Method: by a time that has passed, page by page; then by
 * number. */
TEST(slice_ends_in_time) {
    const char *path = make_queue();
    struct jobq__db db;
    int64_t before;
    memset(&db, 0, sizeof db);
    db.handle = look_into(path);
    run_sql(db.handle, "CREATE TABLE large(a); INSERT INTO large VALUES(zeroblob(1000000));"
                       "DROP TABLE large");
    before = free_pages(&db);
    CHECK(before > 400);
    run_sql(db.handle, "BEGIN IMMEDIATE");
    for (int i = 1; i <= 3; i++) {
        CHECK_CODE(jobq__store_shrink(&db, 100, 0), JOBQ_OK);
        CHECK_INT(free_pages(&db), before - i);
    }
    run_sql(db.handle, "COMMIT");
    CHECK_INT(free_pages(&db), before - 3);
    CHECK_CODE(jobq__store_shrink(&db, 100, INT64_MAX), JOBQ_OK);
    CHECK_INT(free_pages(&db), before - 103);
    sqlite3_close(db.handle);
}

/* ---- What stands in the way of a row ---- */

/* Goal: when SQLite has ended a transaction by itself, and the hook refuses what would then be one
 * of its own, that is no other row in the way: neither damage nor a key that is taken. Method: each
 * statement that asks for that, outside of a transaction. */
TEST(refused_commit_is_no_row_in_the_way) {
    struct jobq__row row;
    bool taken = true;
    struct jobq__db *db;
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, STEP));
    id = put_job(f.q, (jobq_job){.kind = "k", .key = "old"});
    WORKS(jobq_cancel(f.q, id, &err));
    db = &f.q->writer;
    REQUIRE(!jobq__db_in_transaction(db) && !db->may_commit);
    CHECK_CODE(jobq__store_name_put(db, 77, JOBQ__NAME_KIND, "new"), JOBQ_IO);
    CHECK_INT(db->sqlite_code, SQLITE_CONSTRAINT_COMMITHOOK);
    CHECK_CODE(jobq__store_key_add(db, 1, "new", 77, &taken), JOBQ_IO);
    CHECK(!taken);
    taken = true;
    CHECK_CODE(jobq__store_key_again(db, 1, id, &taken), JOBQ_IO);
    CHECK(!taken);
    memset(&row, 0, sizeof row);
    row.id = 77;
    row.kind = row.queue = row.attempt = 1;
    taken = true;
    CHECK_CODE(jobq__store_insert(db, &row, 1, &taken), JOBQ_IO);
    CHECK(!taken);
    CHECK_INT(total(f.q), 1);
    fixture_close(&f);
}

TEST_MAIN(pack_extremes, pack_random_ids, pack_is_short_and_pinned, unpack_text_cut_off,
          unpack_noise, damaged_claims_row_is_corrupt, plans_in_a_new_file,
          claims_leave_what_has_ended_alone, keys_are_found_by_searches, plans_after_analyze,
          statistics_of_a_short_queue_go, statistics_beside_an_open_queue_go,
          a_listing_does_not_begin_again, slice_ends_in_time,
          refused_commit_is_no_row_in_the_way)
