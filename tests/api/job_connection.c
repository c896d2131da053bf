/* job_connection.c - the connections that jobq opens: the application's turn with each of them, and
 * what a handler may do with the one that it gets, which the next job finds as it was. */
#include "helpers.h"

#include <sys/stat.h>

static int64_t ask(sqlite3 *db, const char *sql) {
    sqlite3_stmt *stmt = NULL;
    int64_t value = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK
        && sqlite3_step(stmt) == SQLITE_ROW) value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return value;
}

/* A file, or ":memory:". */
static bool open_at(fixture *f, bool memory, jobq_options options) {
    f->path = memory ? ":memory:" : test_path("q.db");
    f->q = NULL;
    f->clock = jobq_clock_artificial(T0);
    f->options = options;
    f->options.clock = f->clock;
    WORKS(jobq_open(f->path, &f->options, &f->q, &err));
    return f->q != NULL;
}

static void close_at(fixture *f, bool memory) {
    if (memory) fixture_close(f);
    else fixture_remove(f);
}

/* ---- on_connect ---- */

enum { CALLS_MAX = 16 };

/* What the hook was called for, and what it is to do at one of these. */
struct visits {
    int count;
    struct {
        jobq_connection which;
        jobq_stage stage;
    } calls[CALLS_MAX];
    int refuse_at;      /* -1: never */
    const char *words;  /* or NULL */
    const char *sql;    /* run at SETUP of each connection, or NULL */
};

static int visit(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err, void *ctx) {
    struct visits *v = (struct visits *)ctx;
    int n = v->count++;
    CHECK(db != NULL && err != NULL);
    if (n < CALLS_MAX) {
        v->calls[n].which = which;
        v->calls[n].stage = stage;
    }
    if (stage == JOBQ_STAGE_SETUP && v->sql) run_sql(db, v->sql);
    /* The schema stands at SETUP. */
    if (stage == JOBQ_STAGE_SETUP)
        CHECK_INT(ask(db, "SELECT count(*) FROM jobq_claims WHERE one = 1"), 1);
    if (n != v->refuse_at) return 0;
    if (v->words) snprintf(err->text, sizeof err->text, "%s", v->words);
    else run_sql(db, "SELECT nonsense FROM nowhere");
    return 1;
}

static jobq_outcome only_begin(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    jobq_error err;
    int code = jobq_run_db(run, &db, &err);
    if (ctx) *(jobq_error *)ctx = err;
    if (ctx) ((jobq_error *)ctx)->code = code;
    return code == JOBQ_OK ? JOBQ_DONE : jobq_fail(run, "%s", err.text);
}

/* Goal: each connection is shown twice, before the first read and when the schema stands: on a file
 * the writer, the reader and the copier at open, the job's at its first use and never again; in
 * memory the one connection in both its roles. */
TEST(each_connection_is_shown) {
    static const int file[] = {JOBQ_CONNECTION_WRITER, JOBQ_CONNECTION_WRITER,
                               JOBQ_CONNECTION_READER, JOBQ_CONNECTION_READER,
                               JOBQ_CONNECTION_COPIER, JOBQ_CONNECTION_COPIER,
                               JOBQ_CONNECTION_JOB, JOBQ_CONNECTION_JOB};
    static const int memory[] = {JOBQ_CONNECTION_WRITER, JOBQ_CONNECTION_WRITER,
                                 JOBQ_CONNECTION_JOB};
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        struct visits v = {.refuse_at = -1};
        int all = in_memory ? 3 : 8, at_open = in_memory ? 2 : 6;
        fixture f;
        REQUIRE(open_at(&f, in_memory, (jobq_options){.workers = JOBQ_NONE, .on_connect = visit,
                                                      .ctx = &v}));
        CHECK_INT(v.count, at_open);
        handle(f.q, "k", only_begin, NULL);
        for (int i = 0; i < 3; i++) put(f.q, "k");
        CHECK_INT(drain(f.q), 3);
        CHECK_INT(count_all(f.q).done, 3);
        CHECK_INT(v.count, all);
        for (int i = 0; i < all; i++) {
            CHECK_INT(v.calls[i].which, in_memory ? memory[i] : file[i]);
            CHECK_INT(v.calls[i].stage, i == 2 && in_memory ? JOBQ_STAGE_SETUP
                                        : i % 2 ? JOBQ_STAGE_SETUP : JOBQ_STAGE_KEY);
        }
        close_at(&f, in_memory);
    }
}

/* Pages that the connection has read so far. */
static int pages_read(sqlite3 *db) {
    int hits = 0, misses = 0, most = 0;
    CHECK_INT(sqlite3_db_status(db, SQLITE_DBSTATUS_CACHE_HIT, &hits, &most, 0), SQLITE_OK);
    CHECK_INT(sqlite3_db_status(db, SQLITE_DBSTATUS_CACHE_MISS, &misses, &most, 0), SQLITE_OK);
    return hits + misses;
}

static int see_what_was_read(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                             void *ctx) {
    int *stages = (int *)ctx;
    (void)err;
    if (stage == JOBQ_STAGE_KEY) CHECK_INT(pages_read(db), 0);
    else CHECK(pages_read(db) > 0);
    if (stage == JOBQ_STAGE_KEY) stages[which]++;
    return 0;
}

/* Goal: where a file is encrypted its key can be given: each connection asks for it before it reads
 * the first page. Method: a file that is there already; SQLite counts what is read. */
TEST(key_comes_first) {
    int stages[JOBQ_CONNECTION_COPIER + 1] = {0};
    fixture f;
    REQUIRE(open_at(&f, false, STEP));
    put(f.q, "k");
    f.options.on_connect = see_what_was_read;
    f.options.ctx = stages;
    REQUIRE(fixture_reopen(&f));
    handle(f.q, "k", only_begin, NULL);
    CHECK_INT(drain(f.q), 1);
    for (int i = 0; i <= JOBQ_CONNECTION_COPIER; i++) CHECK_INT(stages[i], 1);
    close_at(&f, false);
}

/* Goal: an answer that is not zero refuses the connection, with the hook's words or SQLite's;
 * nothing is left that would be in the way of the next open. Method: each call of them in turn. */
TEST(hook_may_refuse) {
    for (int n = 0; n < 6; n++) {
        struct visits v = {.refuse_at = n, .words = n % 2 ? "the key is wrong" : NULL};
        jobq_options options = {.workers = JOBQ_NONE, .on_connect = visit, .ctx = &v};
        jobq_error err;
        jobq *q = NULL;
        CHECK_CODE(jobq_open(test_path("q.db"), &options, &q, &err), JOBQ_CANT_OPEN);
        CHECK(q == NULL);
        CHECK(strstr(err.text, "on_connect") != NULL);
        if (!CHECK(strstr(err.text, n % 2 ? "the key is wrong" : "nowhere") != NULL))
            test_note("%s", err.text);
        v.count = 0;
        v.refuse_at = -1;
        WORKS(jobq_open(test_path("q.db"), &options, &q, &err));
        REQUIRE(q != NULL);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
}

static int64_t file_size(const char *path, const char *ending) {
    char name[1024];
    struct stat is;
    snprintf(name, sizeof name, "%s%s", path, ending);
    return stat(name, &is) == 0 ? (int64_t)is.st_size : -1;
}

static int look_and_refuse(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                           void *ctx) {
    (void)which, (void)ctx, (void)err;
    if (stage == JOBQ_STAGE_KEY) CHECK_INT(ask(db, "SELECT x FROM another"), 1);
    return 1;
}

/* Goal: of a file that is another's nothing is touched, not even what has not been copied out of
 * its log yet, by a hook that tries its key and refuses. Method: a log that was left; an owner and
 * a client. */
TEST(refusal_leaves_the_log) {
    const char *path = test_path("q.db");
    sqlite3 *db = NULL;
    int64_t log;
    CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_INT(run_sql(db, "PRAGMA journal_mode=WAL; CREATE TABLE another(x);"
                          " INSERT INTO another VALUES(1)"), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
    log = file_size(path, "-wal");
    REQUIRE(log > 0);
    for (int client = 0; client < 2; client++) {
        jobq_options options = {.workers = JOBQ_NONE, .on_connect = look_and_refuse};
        jobq *q = NULL;
        if (client) options = (jobq_options){.role = JOBQ_CLIENT, .on_connect = look_and_refuse};
        FAILS_SOMEHOW(jobq_open(path, &options, &q, &err));
        CHECK_INT(file_size(path, "-wal"), log);
    }
}

/* Goal: the job's connection may be refused, too: the handler is told; the next is asked anew. */
TEST(hook_may_refuse_the_job) {
    for (int n = 0; n < 3; n++) {
        bool memory = n == 2;
        struct visits v = {.refuse_at = memory ? 2 : 6 + n, .words = "not today"};
        jobq_error told;
        fixture f;
        REQUIRE(open_at(&f, memory, (jobq_options){.workers = JOBQ_NONE, .on_connect = visit,
                                                   .ctx = &v}));
        handle(f.q, "k", only_begin, &told);
        put(f.q, "k");
        CHECK_INT(drain(f.q), 1);
        CHECK_CODE(told.code, JOBQ_CANT_OPEN);
        CHECK(strstr(told.text, "not today") && strstr(told.text, "job's"));
        put(f.q, "k");
        CHECK_INT(drain(f.q), 1);
        CHECK_CODE(told.code, JOBQ_OK);
        CHECK_INT(count_all(f.q).done, 1);
        close_at(&f, memory);
    }
}

/* What is made at the n-th call of the hook. */
struct in_the_way {
    int n, at;
    const char *sql;
};

static int stand_in_the_way(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                            void *ctx) {
    struct in_the_way *way = (struct in_the_way *)ctx;
    (void)which, (void)stage, (void)err;
    if (way->n++ != way->at) return 0;
    run_sql(db, "PRAGMA query_only = 0");
    if (!CHECK_INT(run_sql(db, way->sql), SQLITE_OK)) test_note("%s", sqlite3_errmsg(db));
    run_sql(db, "PRAGMA case_sensitive_like = 1");
    sqlite3_limit(db, SQLITE_LIMIT_SQL_LENGTH, 10);
    return 0;
}

/* Checks that the connection is refused with a sentence that names what is in the way, and that all
 * is well when nothing is. What was made before the schema stands is gone by then. */
static void check_in_the_way(bool memory, int at, const char *sql, const char *name) {
    struct in_the_way way = {0, at, sql};
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED,
                            .on_connect = stand_in_the_way, .ctx = &way};
    bool of_job = at >= (memory ? 2 : 6);
    const char *path = memory ? ":memory:" : test_path("q.db");
    jobq_error told;
    jobq *q = NULL;
    int code = jobq_open(path, &options, &q, &told);
    if (of_job && CHECK_CODE(code, JOBQ_OK)) {
        handle(q, "k", only_begin, &told);
        put(q, "k");
        CHECK_INT(drain(q), 1);
        code = told.code;
    }
    if (at % 2 == (memory && of_job)) {
        CHECK_CODE(code, JOBQ_OK);
    } else if (!CHECK_CODE(code, JOBQ_CANT_OPEN) || !CHECK(strstr(told.text, "on_connect")
                                                           && strstr(told.text, name))) {
        test_note("%d, %s: %s", at, sql, told.text);
    }
    if (!q) WORKS(jobq_open(path, &options, &q, &err));
    if (!q) return;
    if (!of_job) handle(q, "k", only_begin, &told);
    put(q, "k");
    CHECK_INT(drain(q), 1);
    CHECK_CODE(told.code, JOBQ_OK);
    CHECK_INT(count_all(q).done, code == JOBQ_OK && of_job ? 2 : 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: what on_connect makes temporary is refused where it would stand before jobq's tables, or
 * run with jobq's statements; it is told what, and by whom. Method: each connection, each time that
 * it is shown. */
TEST(nothing_temporary_is_in_the_way) {
    static const struct {
        const char *sql, *name;
    } kinds[] = {
        {"CREATE TEMP TABLE jobq_row(id)", "table jobq_row"},
        {"CREATE TEMP TABLE t(a); CREATE TEMP TABLE JOBQ_Name(a)", "table JOBQ_Name"},
        {"CREATE TEMP VIEW jobq_claims AS SELECT 1 AS one", "view jobq_claims"},
        {"CREATE TEMP TABLE t(a); CREATE INDEX temp.jobq_live ON t(a)", "index jobq_live"},
        {"CREATE TEMP TABLE t(a); CREATE TEMP TRIGGER jobq_t AFTER INSERT ON t BEGIN"
         " SELECT 1; END", "trigger jobq_t"},
        {"CREATE TEMP TRIGGER audit BEFORE INSERT ON jobq_row BEGIN SELECT RAISE(IGNORE); END",
         "trigger audit (of jobq_row)"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        for (int memory = 0; memory < 2; memory++)
            for (int at = 0; at < (memory ? 3 : 8); at++) {
                /* At the first call of all there is no table that a trigger could be of. */
                if (at == 0 && strstr(kinds[i].name, "audit")) continue;
                check_in_the_way(memory, at, kinds[i].sql, kinds[i].name);
                unlink(test_path("q.db"));
            }
}

/* Goal: anything else that is temporary is the application's own affair. */
TEST(other_temporary_things_stay) {
    for (int memory = 0; memory < 2; memory++)
        for (int at = 0; at < (memory ? 3 : 8); at++) {
            struct in_the_way way = {0, at, "CREATE TEMP TABLE t(a); CREATE TEMP VIEW jobs AS"
                                            " SELECT 1; CREATE TEMP TRIGGER r AFTER INSERT ON t"
                                            " BEGIN DELETE FROM t; END"};
            fixture f;
            REQUIRE(open_at(&f, memory, (jobq_options){.workers = JOBQ_NONE, .ctx = &way,
                                                       .durability = JOBQ_RELAXED,
                                                       .on_connect = stand_in_the_way}));
            handle(f.q, "k", only_begin, NULL);
            put(f.q, "k");
            CHECK_INT(drain(f.q), 1);
            CHECK_INT(count_all(f.q).done, 1);
            close_at(&f, memory);
        }
}

static jobq_outcome forget_the_user(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    *(int64_t *)ctx = ask(db, "PRAGMA foreign_keys");
    if (jobq_run_attempt(run) == 1) {
        CHECK_INT(run_sql(db, "CREATE TABLE IF NOT EXISTS user(id INTEGER PRIMARY KEY);"
                              "CREATE TABLE IF NOT EXISTS mail(user REFERENCES user ON DELETE"
                              " CASCADE);"
                              "INSERT INTO user VALUES(1); INSERT INTO mail VALUES(1)"), SQLITE_OK);
    }
    CHECK_INT(run_sql(db, "DELETE FROM user WHERE id = 1"), SQLITE_OK);
    CHECK_INT(ask(db, "SELECT count(*) FROM mail"), 0);
    return JOBQ_DONE;
}

/* Goal: what can be set only before a transaction can be set: foreign keys hold for handlers. */
TEST(foreign_keys_hold) {
    for (int memory = 0; memory < 2; memory++) {
        struct visits v = {.refuse_at = -1, .sql = "PRAGMA foreign_keys = ON"};
        int64_t on = -1;
        fixture f;
        REQUIRE(open_at(&f, memory, (jobq_options){.workers = JOBQ_NONE, .on_connect = visit,
                                                   .ctx = &v}));
        handle(f.q, "k", forget_the_user, &on);
        put(f.q, "k");
        CHECK_INT(drain(f.q), 1);
        CHECK_INT(on, 1);
        CHECK_INT(count_all(f.q).done, 1);
        close_at(&f, memory);
    }
}

struct deed {
    const char *sql;
    int code;        /* of it */
    int seen;        /* what came of it */
    int64_t before;  /* what the connection was like before it */
    const char *look;
};

static jobq_outcome do_the_deed(jobq_run *run, void *ctx) {
    struct deed *d = (struct deed *)ctx;
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    if (d->look) d->before = ask(db, d->look);
    d->seen = run_sql(db, d->sql);
    return JOBQ_DONE;
}

static int make_the_table(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                          void *ctx) {
    (void)err, (void)ctx;
    if (which != JOBQ_CONNECTION_WRITER || stage != JOBQ_STAGE_SETUP) return 0;
    return run_sql(db, "BEGIN; CREATE TABLE IF NOT EXISTS own(x); CREATE TRIGGER IF NOT EXISTS"
                       " twice AFTER INSERT ON own BEGIN INSERT INTO own VALUES(2); END; COMMIT");
}

/* Goal: an application makes its tables and triggers on the writer's connection, and needs no join
 * for them, on any opening. Method: a new file, the same one again, then a client; in memory. */
TEST(hook_may_make_tables) {
    for (int memory = 0; memory < 2; memory++) {
        struct deed d = {.sql = "INSERT INTO own VALUES(1)", .look = "SELECT count(*) FROM own"};
        jobq_options of_client = {.role = JOBQ_CLIENT, .shared = true,
                                  .on_connect = make_the_table};
        jobq *client = NULL;
        fixture f;
        REQUIRE(open_at(&f, memory, (jobq_options){.workers = JOBQ_NONE, .shared = true,
                                                   .on_connect = make_the_table}));
        for (int opening = 0; opening < 2 - memory; opening++) {
            if (opening > 0) REQUIRE(fixture_reopen(&f));
            handle(f.q, "k", do_the_deed, &d);
            put(f.q, "k");
            CHECK_INT(drain(f.q), 1);
            CHECK_INT(d.seen, SQLITE_OK);
            CHECK_INT(d.before, 2 * opening);
        }
        if (!memory) WORKS(jobq_open(f.path, &of_client, &client, &err));
        if (client) CHECK_CODE(jobq_close(&client), JOBQ_OK);
        close_at(&f, memory);
    }
}

/* ---- What COMMIT refuses ---- */

/* A virtual table that takes whatever is written and refuses when it is to be committed. */
static int refusal_of_table; /* what it says then */

static int table_connect(sqlite3 *db, void *aux, int argc, const char *const *argv,
                         sqlite3_vtab **table, char **message) {
    (void)aux, (void)argc, (void)argv, (void)message;
    *table = (sqlite3_vtab *)sqlite3_malloc(sizeof **table);
    if (!*table) return SQLITE_NOMEM;
    memset(*table, 0, sizeof **table);
    return sqlite3_declare_vtab(db, "CREATE TABLE x(n)");
}

static int table_leave(sqlite3_vtab *table) {
    sqlite3_free(table);
    return SQLITE_OK;
}

static int table_plan(sqlite3_vtab *table, sqlite3_index_info *plan) {
    (void)table, (void)plan;
    return SQLITE_OK;
}

static int table_write(sqlite3_vtab *table, int argc, sqlite3_value **argv, sqlite3_int64 *id) {
    (void)table, (void)argc, (void)argv;
    *id = 1;
    return SQLITE_OK;
}

static int table_begin(sqlite3_vtab *table) {
    (void)table;
    return SQLITE_OK;
}

static int table_sync(sqlite3_vtab *table) {
    if (refusal_of_table) table->zErrMsg = sqlite3_mprintf("the table says no");
    return refusal_of_table;
}

static sqlite3_module stubborn = {.iVersion = 1, .xCreate = table_connect,
    .xConnect = table_connect, .xBestIndex = table_plan, .xDisconnect = table_leave,
    .xDestroy = table_leave, .xUpdate = table_write, .xBegin = table_begin, .xSync = table_sync};

static int prepare_to_refuse(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                             void *ctx) {
    (void)err, (void)ctx;
    if (which != JOBQ_CONNECTION_JOB || stage != JOBQ_STAGE_SETUP) return 0;
    sqlite3_create_module(db, "stubborn", &stubborn, NULL);
    return run_sql(db, "PRAGMA foreign_keys = ON;"
                       "CREATE TABLE IF NOT EXISTS user(id INTEGER PRIMARY KEY);"
                       "CREATE TABLE IF NOT EXISTS mail(user REFERENCES user"
                       " DEFERRABLE INITIALLY DEFERRED);"
                       "CREATE VIRTUAL TABLE IF NOT EXISTS temp.x USING stubborn");
}

struct refused {
    const char *sql;
    int table_code;
    const char *words;
    int runs;
    int64_t asked_id; /* stored by the backoff, outside the transaction */
    jobq *q;
};

static jobq_outcome write_what_is_refused(jobq_run *run, void *ctx) {
    struct refused *r = (struct refused *)ctx;
    sqlite3 *db = NULL;
    r->runs++;
    refusal_of_table = 0;
    WORKS(jobq_run_db(run, &db, &err));
    if (!CHECK_INT(run_sql(db, r->sql), SQLITE_OK)) test_note("%s", sqlite3_errmsg(db));
    WORKS(jobq_enqueue(r->q, &(jobq_job){.kind = "child"}, NULL, &err));
    refusal_of_table = r->table_code;
    return jobq_done(run, "result", 6);
}

static int64_t store_and_wait(int attempt, int64_t id, void *ctx) {
    struct refused *r = (struct refused *)ctx;
    (void)attempt, (void)id;
    refusal_of_table = 0;
    if (!r->asked_id) r->asked_id = put(r->q, "asked");
    return JOBQ_SECOND;
}

static void check_refused(bool memory, struct refused r) {
    jobq_options options = {.workers = JOBQ_NONE, .on_connect = prepare_to_refuse};
    jobq_event rows[8];
    event_log *log = event_log_new();
    fixture f;
    jobq_info info;
    int64_t id;
    options.on_event = log_event;
    options.ctx = log;
    refusal_of_table = 0;
    REQUIRE(open_at(&f, memory, options));
    r.q = f.q;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = write_what_is_refused, .ctx = &r,
                                 .attempts_max = 3, .backoff = store_and_wait});
    id = put(f.q, "k");
    WORKS(jobq_step(f.q, NULL, &err));
    info = look(f.q, id);
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK_INT(info.attempt, 2);
    CHECK_INT(info.run_at_ms, T0 + JOBQ_SECOND);
    if (!CHECK(strstr(info.error, r.words) != NULL)) test_note("%s", info.error);
    CHECK(r.asked_id > 0 && state_of(f.q, r.asked_id) == JOBQ_STATE_PENDING);
    CHECK_INT(total(f.q), 2); /* no child */
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
    advance(f.q, JOBQ_MINUTE);
    info = look(f.q, id);
    CHECK_INT(info.state, JOBQ_STATE_FAILED);
    CHECK_INT(r.runs, 3);
    if (!CHECK(strstr(info.error, r.words) != NULL)) test_note("%s", info.error);
    if (CHECK_INT(events_of(log, id, rows, 8), 7)) {
        CHECK_INT(rows[2].outcome, JOBQ_RETRY);
        CHECK(strstr(rows[2].message, r.words) != NULL);
        CHECK_INT(rows[6].outcome, JOBQ_RETRY);
        CHECK_INT(rows[6].to, JOBQ_STATE_FAILED);
        CHECK(strstr(rows[6].message, r.words) != NULL);
    }
    CHECK_INT(total(f.q), 2);
    close_at(&f, memory);
    event_log_free(log);
}

/* Goal: a transaction that COMMIT refuses for what is in it fails its run: an attempt is charged,
 * SQLite's words are the message, and it comes to an end. Method: a deferred foreign key without a
 * parent, and a virtual table that refuses; in a file and in memory. */
TEST(what_commit_refuses_is_a_failure) {
    static const struct refused cases[] = {
        {.sql = "INSERT INTO mail VALUES(99)", .words = "FOREIGN KEY constraint failed"},
        {.sql = "INSERT INTO x VALUES(1)", .table_code = SQLITE_ERROR,
         .words = "the table says no"},
        {.sql = "INSERT INTO x VALUES(1)", .table_code = SQLITE_CONSTRAINT_VTAB,
         .words = "the table says no"},
        {.sql = "INSERT INTO x VALUES(1)", .table_code = SQLITE_CORRUPT_VTAB,
         .words = "the table says no"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int memory = 0; memory < 2; memory++) check_refused(memory, cases[i]);
}

/* ---- What the next job finds ---- */

/* Sets everything that jobq lives by to what it must not be, and keeps the connections. */
static int wreck(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err, void *ctx) {
    (void)err;
    if (stage != JOBQ_STAGE_SETUP) return 0;
    ((sqlite3 **)ctx)[which] = db;
    run_sql(db, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF;"
                " PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = 1;"
                " PRAGMA wal_autocheckpoint = 1; PRAGMA mmap_size = 1048576;"
                " PRAGMA cell_size_check = 0; PRAGMA temp_store = FILE;"
                " PRAGMA fullfsync = 0; PRAGMA checkpoint_fullfsync = 0;"
                " PRAGMA journal_size_limit = 0");
    sqlite3_commit_hook(db, veto, NULL);
    sqlite3_progress_handler(db, 1, veto, NULL);
    sqlite3_busy_timeout(db, 60000);
    sqlite3_set_authorizer(db, deny, NULL);
    return 0;
}

/* Goal: a hook that breaks what jobq lives by breaks nothing. Method: all of it on each connection;
 * jobs with and without a transaction are done, the file stays in WAL mode and open to others. */
TEST(hook_cannot_break_the_queue) {
    for (int memory = 0; memory < 2; memory++) {
        sqlite3 *connections[JOBQ_CONNECTION_COPIER + 1];
        fixture f;
        REQUIRE(open_at(&f, memory, (jobq_options){.workers = JOBQ_NONE, .on_connect = wreck,
                                                   .ctx = connections}));
        handle(f.q, "k", only_begin, NULL);
        handle(f.q, "plain", do_nothing, NULL);
        for (int i = 0; i < 3; i++) put(f.q, i % 2 ? "k" : "plain");
        CHECK_INT(drain(f.q), 3);
        put(f.q, "k");
        CHECK_INT(drain(f.q), 1);
        CHECK_INT(count_all(f.q).done, 4);
        if (!memory) {
            char mode[16];
            sql_text(f.path, "PRAGMA journal_mode", mode, sizeof mode);
            CHECK_STR(mode, "wal");
            CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_row"), 4);
        }
        close_at(&f, memory);
    }
}

/* Goal: whatever a hook sets, a connection of a file syncs as the options say, and maps nothing: a
 * file that somebody cuts is an error then, not a signal. Method: each connection is asked, at both
 * durabilities; at RELAXED the writer syncs as a flush wants it only then. See also
 * fault/sync_fails.c. */
TEST(hook_changes_neither_syncs_nor_maps) {
    static const struct {
        const char *sql;
        int64_t value;
    } settings[] = {{"PRAGMA cell_size_check", 1}, {"PRAGMA temp_store", 2},
                    {"PRAGMA fullfsync", 1},       {"PRAGMA checkpoint_fullfsync", 1},
                    {"PRAGMA journal_size_limit", -1}};
    for (int relaxed = 0; relaxed < 2; relaxed++) {
        sqlite3 *connections[JOBQ_CONNECTION_COPIER + 1] = {NULL};
        fixture f;
        REQUIRE(open_at(&f, false, (jobq_options){.workers = JOBQ_NONE, .on_connect = wreck,
                                                  .ctx = connections,
                                                  .durability = relaxed ? JOBQ_RELAXED
                                                                        : JOBQ_DURABLE}));
        for (int i = 0; i <= JOBQ_CONNECTION_COPIER; i++) {
            sqlite3 *db = connections[i];
            if (i == JOBQ_CONNECTION_JOB) continue;
            REQUIRE(db != NULL);
            CHECK_INT(ask(db, "PRAGMA synchronous"), relaxed ? 1 : 2);
            CHECK(ask(db, "PRAGMA mmap_size") <= 0);
            CHECK_INT(ask(db, "PRAGMA query_only"), i == JOBQ_CONNECTION_READER);
            for (size_t k = 0; k < sizeof settings / sizeof settings[0]; k++)
                if (!CHECK_INT(ask(db, settings[k].sql), settings[k].value))
                    test_note("%s", settings[k].sql);
        }
        close_at(&f, false);
    }
}

/* What a hook says, on which connection, and when. */
struct words {
    const char *sql;
    jobq_connection which;
    jobq_stage stage;
};

static int say(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err, void *ctx) {
    const struct words *w = (const struct words *)ctx;
    (void)err;
    if (which == w->which && stage == w->stage) run_sql(db, w->sql);
    return 0;
}

/* Goal: a hook that takes the file for its connection, in a way that SQLite does not take back, is
 * refused with a sentence that names it, and not because the file is busy; what can be put right
 * is. Method: exclusive locking, with a read and without, of a file that is there. */
TEST(hook_must_not_keep_the_file) {
    struct words w = {"PRAGMA locking_mode=EXCLUSIVE; SELECT count(*) FROM sqlite_master",
                      JOBQ_CONNECTION_WRITER, JOBQ_STAGE_KEY};
    jobq_options options = {.workers = JOBQ_NONE, .on_connect = say, .ctx = &w, .busy_ms = 5};
    jobq_error err;
    jobq *q = NULL;
    q = open_queue_at(test_path("q.db"), STEP);
    close_queue(&q);
    CHECK_CODE(jobq_open(test_path("q.db"), &options, &q, &err), JOBQ_CANT_OPEN);
    if (!CHECK(strstr(err.text, "writer's") && strstr(err.text, "locking_mode")))
        test_note("%s", err.text);
    w.sql = "PRAGMA locking_mode=EXCLUSIVE";
    for (int i = 0; i < 2; i++) {
        w.stage = i ? JOBQ_STAGE_SETUP : JOBQ_STAGE_KEY;
        WORKS(jobq_open(test_path("q.db"), &options, &q, &err));
        REQUIRE(q != NULL);
        put(q, "k");
        CHECK_INT(total(q), i + 1);
        close_queue(&q);
    }
}

/* Goal: a hook that leaves a transaction open is refused, with a sentence that says so. */
TEST(hook_must_end_its_transaction) {
    struct visits v = {.refuse_at = -1, .sql = "BEGIN"};
    jobq_options options = {.workers = JOBQ_NONE, .on_connect = visit, .ctx = &v};
    jobq_error err;
    jobq *q = NULL;
    CHECK_CODE(jobq_open(test_path("q.db"), &options, &q, &err), JOBQ_CANT_OPEN);
    CHECK(strstr(err.text, "transaction") != NULL);
    CHECK(q == NULL);
}

/* ---- What a handler may do ---- */

/* Goal: what would outlive the job, or change jobq's tables, is refused with SQLITE_AUTH; what only
 * tells, and the handler's own tables and savepoints, is allowed. The job is done all the same. */
TEST(handler_may_do_its_own_only) {
    static const struct deed deeds[] = {
        {.sql = "DELETE FROM jobq_row", .code = SQLITE_AUTH},
        {.sql = "UPDATE jobq_row SET state = 2", .code = SQLITE_AUTH},
        {.sql = "INSERT INTO jobq_meta VALUES('a', 1)", .code = SQLITE_AUTH},
        {.sql = "DELETE FROM main.JOBQ_ROW", .code = SQLITE_AUTH},
        {.sql = "DROP TABLE jobq_extra", .code = SQLITE_AUTH},
        {.sql = "ALTER TABLE jobq_row ADD COLUMN mine", .code = SQLITE_AUTH},
        {.sql = "CREATE INDEX mine ON jobq_row(payload)", .code = SQLITE_AUTH},
        {.sql = "CREATE TRIGGER mine AFTER INSERT ON jobq_row BEGIN SELECT 1; END",
         .code = SQLITE_AUTH},
        {.sql = "CREATE TEMP TRIGGER mine AFTER UPDATE ON main.jobq_row BEGIN SELECT 1; END",
         .code = SQLITE_AUTH},
        {.sql = "CREATE TEMP TABLE jobq_row(id)", .code = SQLITE_AUTH},
        {.sql = "CREATE TEMP VIEW jobq_row AS SELECT 1 AS id", .code = SQLITE_AUTH},
        {.sql = "CREATE TABLE jobq_mine(x)", .code = SQLITE_AUTH},
        {.sql = "ATTACH ':memory:' AS other", .code = SQLITE_AUTH},
        {.sql = "PRAGMA query_only = 1", .code = SQLITE_AUTH},
        {.sql = "PRAGMA foreign_keys = ON", .code = SQLITE_AUTH},
        {.sql = "PRAGMA synchronous = OFF", .code = SQLITE_AUTH},
        {.sql = "PRAGMA writable_schema = 1", .code = SQLITE_AUTH},
        {.sql = "PRAGMA wal_checkpoint", .code = SQLITE_AUTH},
        {.sql = "PRAGMA optimize", .code = SQLITE_AUTH},
        {.sql = "BEGIN", .code = SQLITE_AUTH},
        {.sql = "SELECT count(*) FROM jobq_row", .code = SQLITE_OK},
        {.sql = "PRAGMA table_info(jobq_row)", .code = SQLITE_OK},
        {.sql = "PRAGMA foreign_keys", .code = SQLITE_OK},
        {.sql = "PRAGMA user_version = 7", .code = SQLITE_OK},
        {.sql = "SAVEPOINT a; CREATE TABLE own(x); ROLLBACK TO a; RELEASE a", .code = SQLITE_OK},
        {.sql = "CREATE TABLE own(x); INSERT INTO own VALUES(1); DROP TABLE own",
         .code = SQLITE_OK},
    };
    for (int memory = 0; memory < 2; memory++) {
        for (size_t i = 0; i < sizeof deeds / sizeof deeds[0]; i++) {
            struct deed d = deeds[i];
            fixture f;
            REQUIRE(open_at(&f, memory, STEP));
            handle(f.q, "k", do_the_deed, &d);
            put(f.q, "k");
            CHECK_INT(drain(f.q), 1);
            if (!CHECK_INT(d.seen, d.code)) test_note("%s", d.sql);
            CHECK_INT(count_all(f.q).done, 1);
            close_at(&f, memory);
        }
    }
}

static jobq_outcome analyze(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(run_sql(db, "CREATE TABLE own(x); CREATE INDEX own_x ON own(x);"
                          " INSERT INTO own VALUES(1); ANALYZE; ANALYZE jobq_row"), SQLITE_OK);
    CHECK_INT(ask(db, "SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'own'"), 1);
    CHECK_INT(ask(db, "SELECT count(*) FROM sqlite_stat1 WHERE tbl LIKE 'jobq%'"), 0);
    return JOBQ_DONE;
}

/* Goal: a handler may gather statistics, of its own tables: of jobq's, whose size is never that of
 * a moment ago, they would mislead SQLite. */
TEST(handler_may_analyze_its_own) {
    for (int memory = 0; memory < 2; memory++) {
        fixture f;
        REQUIRE(open_at(&f, memory, STEP));
        handle(f.q, "k", analyze, NULL);
        put(f.q, "k");
        CHECK_INT(drain(f.q), 1);
        CHECK_INT(count_all(f.q).done, 1);
        close_at(&f, memory);
    }
}

/* ---- How the next job finds it ---- */

static int hook_calls;

static int count_progress(void *arg) {
    (void)arg;
    hook_calls++;
    return 0;
}

static void count_update(void *arg, int what, const char *db, const char *table,
                         sqlite3_int64 row) {
    (void)arg, (void)what, (void)db, (void)table, (void)row;
    hook_calls++;
}

static int count_trace(unsigned what, void *arg, void *statement, void *text) {
    (void)what, (void)arg, (void)statement, (void)text;
    hook_calls++;
    return 0;
}

/* Switches that newer versions have, and the value that is not the usual one. */
static const struct {
    int which, off;
} switches[] = {
    {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
#ifdef SQLITE_DBCONFIG_REVERSE_SCANORDER
    {SQLITE_DBCONFIG_REVERSE_SCANORDER, 1},
#endif
#ifdef SQLITE_DBCONFIG_ENABLE_COMMENTS
    {SQLITE_DBCONFIG_ENABLE_COMMENTS, 0},
#endif
};

/* The first changes what it can; the second looks at what is left. */
static jobq_outcome leave_it_changed(jobq_run *run, void *ctx) {
    int *runs = (int *)ctx, on = -1;
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(ask(db, "SELECT count(*) FROM sqlite_temp_master"), 1);
    CHECK_INT(ask(db, "SELECT count(*) FROM temp.of_the_application"), 1);
    CHECK_INT(sqlite3_last_insert_rowid(db), 0);
    CHECK(sqlite3_limit(db, SQLITE_LIMIT_VARIABLE_NUMBER, -1) > 10);
    CHECK_INT(sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, -1, &on), SQLITE_OK);
    CHECK_INT(on, 1);
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        CHECK_INT(sqlite3_db_config(db, switches[i].which, -1, &on), SQLITE_OK);
        CHECK_INT(on, !switches[i].off);
    }
    hook_calls = 0;
    CHECK_INT(run_sql(db, "CREATE TABLE IF NOT EXISTS note(text); INSERT INTO note VALUES('a')"),
              SQLITE_OK);
    CHECK_INT(hook_calls, 0);
    CHECK_INT(run_sql(db, "CREATE TEMP TABLE one(x UNIQUE); INSERT INTO one VALUES(1), (1)"),
              SQLITE_CONSTRAINT_UNIQUE);
    if ((*runs)++ % 2) return JOBQ_DONE;
    CHECK_INT(run_sql(db, "CREATE TEMP TABLE left_behind(x); INSERT INTO left_behind VALUES(1);"
                          "CREATE TEMP VIEW note AS SELECT 5 AS text;"
                          "DELETE FROM temp.of_the_application; SAVEPOINT open"), SQLITE_OK);
    sqlite3_limit(db, SQLITE_LIMIT_VARIABLE_NUMBER, 3);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, (int *)NULL);
    sqlite3_progress_handler(db, 1, count_progress, NULL);
    sqlite3_update_hook(db, count_update, NULL);
    sqlite3_trace_v2(db, SQLITE_TRACE_STMT, count_trace, NULL);
    sqlite3_busy_timeout(db, 1);
    sqlite3_extended_result_codes(db, 0);
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++)
        sqlite3_db_config(db, switches[i].which, switches[i].off, (int *)NULL);
    return *runs % 3 ? JOBQ_DONE : JOBQ_FAIL;
}

/* Goal: the connection is what the application has made of it for every job, whatever the one
 * before has done and come to. Method: temporary tables, settings, limits, hooks, a savepoint; in a
 * file, in memory. */
TEST(next_job_finds_it_as_it_was) {
    for (int memory = 0; memory < 2; memory++) {
        struct visits v = {.refuse_at = -1,
                           .sql = "CREATE TEMP TABLE of_the_application(x);"
                                  "INSERT INTO of_the_application VALUES(1)"};
        int runs = 0;
        fixture f;
        REQUIRE(open_at(&f, memory, (jobq_options){.workers = JOBQ_NONE, .on_connect = visit,
                                                   .ctx = &v}));
        handle(f.q, "k", leave_it_changed, &runs);
        for (int i = 0; i < 8; i++) put(f.q, "k");
        CHECK_INT(drain(f.q), 8);
        CHECK_INT(runs, 8);
        close_at(&f, memory);
    }
}

enum { SETTINGS_FIRST = SQLITE_DBCONFIG_ENABLE_FKEY,
       SETTINGS = SQLITE_DBCONFIG_MAX - SETTINGS_FIRST + 1 };

struct settings {
    int runs;
    int first[SETTINGS]; /* as the first job found them */
};

/* Looks at all that are a number, and turns round the one whose turn it is. */
static jobq_outcome turn_a_setting_round(jobq_run *run, void *ctx) {
    struct settings *s = (struct settings *)ctx;
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    for (int i = 0; i < SETTINGS; i++) {
        int is = -1;
        if (sqlite3_db_config(db, SETTINGS_FIRST + i, -1, &is) != SQLITE_OK) continue;
        if (!s->runs) s->first[i] = is;
        if (!CHECK_INT(is, s->first[i])) test_note("%d by job %d", SETTINGS_FIRST + i, s->runs);
    }
    if (s->runs < SETTINGS)
        sqlite3_db_config(db, SETTINGS_FIRST + s->runs, !s->first[s->runs], (int *)NULL);
    s->runs++;
    CHECK_INT(run_sql(db, "INSERT INTO own VALUES(1)"), SQLITE_OK);
    return JOBQ_DONE;
}

/* Goal: no setting that SQLite has outlives the job that changed it, nor does it harm the queue.
 * Method: one job for each of those that this SQLite knows; in a file, in memory. */
TEST(every_setting_is_put_back) {
    for (int memory = 0; memory < 2; memory++) {
        struct settings s;
        fixture f;
        memset(&s, 0, sizeof s);
        REQUIRE(open_at(&f, memory, (jobq_options){.workers = JOBQ_NONE,
                                                   .on_connect = make_the_table}));
        handle(f.q, "k", turn_a_setting_round, &s);
        for (int i = 0; i <= SETTINGS; i++) {
            int64_t id = put(f.q, "k");
            CHECK_INT(drain(f.q), 1);
            if (!CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE))
                test_note("%d: %s", SETTINGS_FIRST + i, look(f.q, id).error);
        }
        WORKS(jobq_enqueue(f.q, &(jobq_job){.kind = "other", .key = "a"}, NULL, &err));
        CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
        close_at(&f, memory);
    }
}

/* More than any SQLite has: those that it lacks are -1. */
enum { LIMITS_MAX = 32 };

struct job_limits {
    int runs, changed;
    int first[LIMITS_MAX]; /* as the first job found them */
};

/* Looks at all that this SQLite has, and lowers the one whose turn it is; that which is zero, the
 * threads that help, is raised. */
static jobq_outcome lower_a_limit(jobq_run *run, void *ctx) {
    struct job_limits *l = (struct job_limits *)ctx;
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    for (int i = 0; i < LIMITS_MAX; i++) {
        int is = sqlite3_limit(db, i, -1);
        if (!l->runs) l->first[i] = is;
        if (!CHECK_INT(is, l->first[i])) test_note("limit %d by job %d", i, l->runs);
    }
    CHECK_INT(run_sql(db, "INSERT INTO own VALUES(1)"), SQLITE_OK);
    if (l->runs < LIMITS_MAX && l->first[l->runs] >= 0) {
        sqlite3_limit(db, l->runs, !l->first[l->runs]);
        l->changed += sqlite3_limit(db, l->runs, -1) != l->first[l->runs];
    }
    l->runs++;
    return JOBQ_DONE;
}

/* Goal: no limit that SQLite has outlives the job that changed it, nor does it harm the queue.
 * Method: as for the settings, as low as each can be. A build without threads that help has a limit
 * less that can be changed. */
TEST(every_limit_is_put_back) {
    for (int memory = 0; memory < 2; memory++) {
        struct job_limits l;
        fixture f;
        int known = 0;
        memset(&l, 0, sizeof l);
        REQUIRE(open_at(&f, memory, (jobq_options){.workers = JOBQ_NONE,
                                                   .on_connect = make_the_table}));
        handle(f.q, "k", lower_a_limit, &l);
        for (int i = 0; i <= LIMITS_MAX; i++) {
            int64_t id = put(f.q, "k");
            CHECK_INT(drain(f.q), 1);
            if (!CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE))
                test_note("limit %d: %s", i, look(f.q, id).error);
        }
        while (known < LIMITS_MAX && l.first[known] >= 0) known++;
        CHECK(known > SQLITE_LIMIT_WORKER_THREADS && known < LIMITS_MAX);
        CHECK(l.changed >= known - 1);
        CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
        close_at(&f, memory);
    }
}

/* What SQLite allows while the schema may be written by hand, and what it is for. */
static jobq_outcome write_the_schema(jobq_run *run, void *ctx) {
    static const char *const deeds[] = {
        "DELETE FROM sqlite_master WHERE name = 'jobq_key'",
        "DELETE FROM sqlite_schema WHERE name = 'own'",
        "UPDATE sqlite_master SET sql = sql || ' ' WHERE name = 'jobq_row'",
        "INSERT INTO sqlite_master VALUES('table', 'jobq_mine', 'jobq_mine', 2,"
        " 'CREATE TABLE jobq_mine(x)')",
        "DELETE FROM sqlite_temp_master",
        "INSERT INTO sqlite_temp_master VALUES('trigger', 't', 'jobq_row', 0,"
        " 'CREATE TRIGGER t AFTER UPDATE ON jobq_row BEGIN SELECT 1; END')"};
    sqlite3 *db = NULL;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(run_sql(db, "CREATE TEMP TABLE passing(x)"), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_WRITABLE_SCHEMA, 1, (int *)NULL);
    for (size_t i = 0; i < sizeof deeds / sizeof deeds[0]; i++)
        if (!CHECK_INT(run_sql(db, deeds[i]), SQLITE_AUTH)) test_note("%s", deeds[i]);
    sqlite3_db_config(db, SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0, (int *)NULL);
    CHECK_INT(run_sql(db, "CREATE TABLE mine(x); CREATE INDEX mine_x ON mine(x);"
                          " ALTER TABLE mine ADD COLUMN y; DROP TABLE mine"), SQLITE_OK);
    return JOBQ_DONE;
}

/* Goal: jobq's tables cannot be taken out of the schema, nor others be put there by hand; what
 * SQLite itself writes there for a statement it writes. Method: the setting that allows it, about
 * which no authorizer is asked; the file can be opened again, and has its keys. */
TEST(schema_is_not_written_by_hand) {
    for (int memory = 0; memory < 2; memory++) {
        fixture f;
        REQUIRE(open_at(&f, memory, STEP));
        handle(f.q, "k", write_the_schema, NULL);
        for (int i = 0; i < 2; i++) {
            put(f.q, "k");
            CHECK_INT(drain(f.q), 1);
            CHECK_INT(count_all(f.q).done, i + 1);
        }
        WORKS(jobq_enqueue(f.q, &(jobq_job){.kind = "other", .key = "a"}, NULL, &err));
        if (!memory) REQUIRE(fixture_reopen(&f));
        CHECK_INT(count_all(f.q).done, 2);
        close_at(&f, memory);
    }
}

static int set_up_the_job(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                          void *ctx) {
    (void)err, (void)ctx;
    if (stage != JOBQ_STAGE_SETUP || which != JOBQ_CONNECTION_JOB) return 0;
    return run_sql(db, "PRAGMA temp_store=FILE; PRAGMA mmap_size=65536; PRAGMA cell_size_check=0;"
                       "PRAGMA cache_size=-900; CREATE TEMP TABLE mine(x);"
                       "INSERT INTO mine VALUES(7)");
}

static jobq_outcome see_the_settings(jobq_run *run, void *ctx) {
    bool memory = *(bool *)ctx;
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(ask(db, "SELECT x FROM temp.mine"), 7);
    CHECK_INT(ask(db, "PRAGMA temp_store"), 1);
    CHECK_INT(ask(db, "PRAGMA cache_size"), -900);
    CHECK_INT(ask(db, "PRAGMA cell_size_check"), 0);
    if (!memory) CHECK_INT(ask(db, "PRAGMA mmap_size"), 65536);
    CHECK_INT(ask(db, "PRAGMA synchronous"), 2);
    return JOBQ_DONE;
}

/* Goal: on the job's connection only what jobq lives by is put right; where the application has its
 * temporary tables, and what it likes of the rest, stays, and so do the tables. */
TEST(settings_of_the_hook_stay) {
    for (int i = 0; i < 2; i++) {
        bool memory = i == 1;
        fixture f;
        REQUIRE(open_at(&f, memory, (jobq_options){.workers = JOBQ_NONE,
                                                   .on_connect = set_up_the_job}));
        handle(f.q, "k", see_the_settings, &memory);
        put(f.q, "k");
        put(f.q, "k");
        CHECK_INT(drain(f.q), 2);
        close_at(&f, memory);
    }
}

/* ---- The id of the last row ---- */

enum { PARENT = 7000 };

static void check_last_row(sqlite3 *db, int64_t id) {
    CHECK_INT(sqlite3_last_insert_rowid(db), id);
}

/* Begins, and inserts nothing: what was saved before is no row of its own. */
static sqlite3 *begin_without_a_row(jobq_run *run) {
    sqlite3 *db = NULL;
    WORKS(jobq_checkpoint(run, "half", 4, &err));
    WORKS(jobq_run_db(run, &db, &err));
    check_last_row(db, 0);
    return db;
}

/* Every call that a handler may make in its transaction, allowed or not. */
static jobq_outcome insert_and_call(jobq_run *run, void *ctx) {
    const jobq_job held = {.kind = "child", .key = "held", .conflict = JOBQ_REFUSE};
    const jobq_job three[] = {{.kind = "child"}, {.kind = "new", .key = "a"}, {.kind = "child"}};
    const jobq_job refused[] = {{.kind = "child"}, {.kind = "newer", .key = "b"}, held};
    jobq *q = jobq_run_handle(run);
    sqlite3 *db = begin_without_a_row(run);
    jobq_info info;
    (void)ctx;
    WORKS(jobq_enqueue(q, &(jobq_job){.kind = "child"}, NULL, &err));
    check_last_row(db, 0);
    CHECK_INT(run_sql(db, "CREATE TABLE parent(id INTEGER PRIMARY KEY);"
                          "INSERT INTO parent VALUES(7000)"), SQLITE_OK);
    check_last_row(db, PARENT);
    WORKS(jobq_enqueue(q, &(jobq_job){.kind = "child"}, NULL, &err));
    check_last_row(db, PARENT);
    WORKS(jobq_enqueue(q, &(jobq_job){.kind = "named here", .key = "held", .text = "x"}, NULL,
                       &err));
    check_last_row(db, PARENT);
    WORKS(jobq_enqueue_many(q, three, 3, NULL, &err));
    check_last_row(db, PARENT);
    FAILS(JOBQ_EXISTS, jobq_enqueue(q, &held, NULL, &err));
    check_last_row(db, PARENT);
    FAILS(JOBQ_EXISTS, jobq_enqueue_many(q, refused, 3, NULL, &err));
    check_last_row(db, PARENT);
    FAILS(JOBQ_BAD_NAME, jobq_enqueue(q, &(jobq_job){.kind = ""}, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_checkpoint(run, "x", 1, &err));
    FAILS(JOBQ_MISUSE, jobq_cancel(q, 1, &err));
    WORKS(jobq_flush(q, &err)); /* durable: it has nothing to do */
    FAILS(JOBQ_MISUSE, jobq_register(q, &(jobq_kind){.name = "z", .run = do_nothing}, &err));
    jobq_get(q, 1, &info, NULL);
    CHECK(jobq_run_info(run) != NULL);
    WORKS(jobq_run_db(run, &db, &err));
    check_last_row(db, PARENT);
    /* As it is mostly used. */
    CHECK_INT(run_sql(db, "CREATE TABLE part(parent); INSERT INTO part"
                          " VALUES(last_insert_rowid())"), SQLITE_OK);
    CHECK_INT(ask(db, "SELECT parent FROM part"), PARENT);
    return JOBQ_DONE;
}

/* Goal: what a handler inserted last keeps its id in sqlite3_last_insert_rowid whatever of jobq it
 * calls, so that rows never refer to jobq's. Method: each call, kept and refused; in a file, in
 * memory. */
TEST(id_of_the_last_row) {
    for (int memory = 0; memory < 2; memory++) {
        fixture f;
        REQUIRE(open_at(&f, memory, STEP));
        handle(f.q, "k", insert_and_call, NULL);
        put_job(f.q, (jobq_job){.kind = "child", .key = "held"});
        put(f.q, "k");
        CHECK_INT(drain(f.q), 1);
        CHECK_INT(count_all(f.q).done, 1);
        CHECK_INT(count_all(f.q).parked, 7);
        close_at(&f, memory);
    }
}

/* ---- In place of jobq ---- */

static void forget_rollback(void *arg) {
    (void)arg;
}

static int allow(void *arg, int action, const char *a, const char *b, const char *c,
                 const char *d) {
    (void)arg, (void)action, (void)a, (void)b, (void)c, (void)d;
    return SQLITE_OK;
}

/* Takes the place of one of jobq's hooks, and does what it stood against. */
static jobq_outcome take_its_place(jobq_run *run, void *ctx) {
    int way = *(const int *)ctx;
    sqlite3 *db = NULL;
    if (jobq_run_attempt(run) > 1) return JOBQ_DONE;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(run_sql(db, "CREATE TABLE note(text); INSERT INTO note VALUES('a')"), SQLITE_OK);
    if (way == 0) sqlite3_commit_hook(db, NULL, NULL);
    if (way == 1) sqlite3_rollback_hook(db, forget_rollback, NULL);
    if (way == 2) sqlite3_set_authorizer(db, allow, NULL);
    if (way >= 3) sqlite3_set_authorizer(db, NULL, NULL);
    if (way == 4) CHECK(run_sql(db, "COMMIT") != SQLITE_OK);
    return JOBQ_DONE;
}

/* Goal: a handler that puts itself in place of jobq keeps nothing and is told so; the next job has
 * a connection that is guarded again. Method: commit hook, rollback hook, authorizer; and without
 * that a COMMIT. */
TEST(taking_the_place_of_jobq_keeps_nothing) {
    for (int n = 0; n < 10; n++) {
        bool memory = n % 2;
        int way = n / 2;
        struct deed d = {.sql = "DELETE FROM jobq_row", .look = "SELECT count(*) FROM"
                         " sqlite_master WHERE name = 'note'"};
        fixture f;
        jobq_info info;
        REQUIRE(open_at(&f, memory, STEP));
        handle(f.q, "k", take_its_place, &way);
        handle(f.q, "next", do_the_deed, &d);
        info = look(f.q, put(f.q, "k"));
        put(f.q, "next");
        CHECK_INT(drain(f.q), 2);
        info = look(f.q, info.id);
        CHECK_INT(info.state, JOBQ_STATE_PENDING);
        CHECK_INT(info.attempt, 2);
        CHECK(strstr(info.error, "hooks") != NULL);
        CHECK_INT(d.before, 0);
        CHECK_INT(d.seen, SQLITE_AUTH);
        close_at(&f, memory);
    }
}

enum { TAKERS_JOBS = 12, NOBODYS_JOBS = 1100 };

/* A job that commits by itself, and others, of which each is to be started once. */
struct taker {
    jobq_outcome outcome;
    bool first;         /* to end the transaction, and then the jobs */
    bool back;          /* it is rolled back */
    int starts[2 * TAKERS_JOBS];
};

static jobq_outcome count_taken(jobq_run *run, void *ctx) {
    struct taker *t = (struct taker *)ctx;
    int64_t id = jobq_run_id(run);
    if (id > NOBODYS_JOBS) id -= NOBODYS_JOBS; /* the child */
    if (CHECK(id < 2 * TAKERS_JOBS)) __atomic_add_fetch(&t->starts[id], 1, __ATOMIC_SEQ_CST);
    return JOBQ_DONE;
}

/* Its jobs go before those that are claimed already. */
static jobq_outcome commit_by_oneself(jobq_run *run, void *ctx) {
    struct taker *t = (struct taker *)ctx;
    jobq_job child = {.kind = "other", .priority = -5};
    sqlite3 *db = NULL;
    count_taken(run, ctx);
    if (jobq_run_attempt(run) > 1) return JOBQ_DONE;
    WORKS(jobq_run_db(run, &db, &err));
    sqlite3_set_authorizer(db, NULL, NULL);
    sqlite3_commit_hook(db, NULL, NULL);
    if (!t->first) WORKS(jobq_enqueue(jobq_run_handle(run), &child, NULL, &err));
    CHECK_INT(run_sql(db, t->back ? "ROLLBACK" : "CREATE TABLE note(text); COMMIT"), SQLITE_OK);
    if (t->first) WORKS(jobq_enqueue(jobq_run_handle(run), &child, NULL, &err));
    return t->outcome;
}

static void try_taker(const char *path, struct taker t) {
    jobq_options options = {.workers = 1};
    int64_t id, last = 0;
    char fault[256];
    jobq *q = NULL;
    WORKS(jobq_open(path, &options, &q, &err));
    REQUIRE(q != NULL);
    handle_kind(q, (jobq_kind){.name = "k", .run = commit_by_oneself, .ctx = &t,
                               .backoff_min_ms = 1, .backoff_max_ms = 1});
    handle(q, "other", count_taken, &t);
    id = put_job(q, (jobq_job){.kind = "k", .priority = -9});
    for (int i = 0; i < TAKERS_JOBS; i++) last = put(q, "other");
    put_many(q, &(jobq_job){.kind = "nobody"}, NOBODYS_JOBS);
    start(q);
    CHECK_INT(finish(q, id).state, JOBQ_STATE_DONE);
    CHECK(strstr(look(q, id).error, "hooks") != NULL);
    for (int64_t i = id + 1; i <= last; i++) CHECK_INT(finish(q, i).state, JOBQ_STATE_DONE);
    if (t.first || !t.back) last++; /* the child */
    if (last > TAKERS_JOBS + 1) CHECK_INT(finish(q, last + NOBODYS_JOBS).state, JOBQ_STATE_DONE);
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    CHECK_INT(total(q), last + NOBODYS_JOBS);
    CHECK_STR(fault_of(q, fault), "");
    CHECK_INT(t.starts[id], 2);
    for (int64_t i = id + 1; i <= last; i++) CHECK_INT(t.starts[i], 1);
    CHECK_INT(stats_of(q).lost_outcomes, 0);
    CHECK_CODE(stats_of(q).failed_code, JOBQ_OK);
    close_queue(&q);
}

/* Goal: what a handler commits by itself, having put itself in place of jobq, is kept, but no job
 * runs twice for it, and none is lost if it rolled back. Method: jobs that jobq gives back to the
 * table in that transaction, since the handler's own go first: they are claimed in memory, and in
 * the file no longer, or still; and counted, as so many others have been stored that all are. */
TEST(commit_of_a_handlers_own_runs_nothing_twice) {
    char name[] = "0.db";
    for (int n = 0; n < 8; n++) {
        struct taker t = {n & 1 ? JOBQ_DONE : JOBQ_FAIL, n & 2, n & 4, {0}};
        try_taker(test_path(name), t);
        try_taker(":memory:", t);
        name[0]++;
    }
}

/* ---- The schema changes in the middle ---- */

static jobq_outcome change_the_schema(jobq_run *run, void *ctx) {
    static const char *const sqls[] = {"CREATE TABLE a(x)", "ALTER TABLE a ADD COLUMN y",
                                       "CREATE INDEX a_y ON a(y)", "DROP TABLE a"};
    jobq *q = jobq_run_handle(run);
    sqlite3 *db = NULL;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    for (int i = 0; i < 4; i++) {
        CHECK_INT(run_sql(db, sqls[i]), SQLITE_OK);
        WORKS(jobq_enqueue(q, &(jobq_job){.kind = "child", .key = sqls[i]}, NULL, &err));
    }
    return jobq_done(run, "result", 6);
}

/* Goal: jobq's own statements, which a change of the schema has prepared anew, are never taken for
 * a handler's. Method: children with keys between changes, and a result. */
TEST(schema_may_change_in_the_middle) {
    for (int memory = 0; memory < 2; memory++) {
        fixture f;
        REQUIRE(open_at(&f, memory, STEP));
        handle(f.q, "k", change_the_schema, NULL);
        handle(f.q, "child", do_nothing, NULL);
        for (int i = 0; i < 3; i++) {
            put(f.q, "k");
            CHECK_INT(drain(f.q), 5);
        }
        CHECK_INT(count_all(f.q).done, 15);
        close_at(&f, memory);
    }
}

/* ---- In memory ---- */

struct ledger {
    jobq_outcome outcome;
    bool keeps;
    int64_t seen, other, children;
};

/* Writes a row and begets a job; tells what was there before. */
static jobq_outcome write_and_beget(jobq_run *run, void *ctx) {
    struct ledger *l = (struct ledger *)ctx;
    jobq *q = jobq_run_handle(run);
    sqlite3 *db = NULL;
    FAILS(JOBQ_MISUSE, jobq_run_db(run, NULL, &err));
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(run_sql(db, "CREATE TABLE IF NOT EXISTS note(id INTEGER PRIMARY KEY)"), SQLITE_OK);
    l->seen = ask(db, "SELECT count(*) FROM note");
    CHECK_INT(run_sql(db, "INSERT INTO note DEFAULT VALUES"), SQLITE_OK);
    WORKS(jobq_enqueue(q, &(jobq_job){.kind = "child"}, &l->children, &err));
    CHECK_INT(state_of(q, l->other), JOBQ_STATE_PENDING);
    CHECK_INT(state_of(q, jobq_run_id(run)), JOBQ_STATE_RUNNING);
    CHECK(jobq_run_info(run) != NULL);
    FAILS(JOBQ_MISUSE, jobq_cancel(q, l->other, &err));
    FAILS(JOBQ_MISUSE, jobq_checkpoint(run, "x", 1, &err));
    return l->keeps ? jobq_keep_writes(run, l->outcome) : l->outcome;
}

static int switch_journal_off(sqlite3 *db, jobq_connection which, jobq_stage stage,
                              jobq_error *err, void *ctx) {
    (void)which;
    (void)stage;
    (void)err;
    (void)ctx;
    return run_sql(db, "PRAGMA journal_mode = OFF");
}

static bool is_kept(const struct ledger *l) {
    return l->outcome == JOBQ_DONE
        || (l->keeps && (l->outcome == JOBQ_SNOOZE || l->outcome == JOBQ_RESCHEDULE));
}

static void try_each_outcome(jobq_options options, bool memory, bool keeps) {
    static const jobq_outcome outcomes[] = {JOBQ_DONE, JOBQ_RETRY, JOBQ_FAIL, JOBQ_SNOOZE,
                                            JOBQ_RESCHEDULE, JOBQ_CANCELLED};
    struct ledger l;
    fixture f;
    int64_t rows = 0, kept = 0;
    memset(&l, 0, sizeof l);
    l.keeps = keeps;
    REQUIRE(open_at(&f, memory, options));
    handle(f.q, "k", write_and_beget, &l);
    l.other = put(f.q, "parked");
    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++) {
        int64_t id = put(f.q, "k");
        l.outcome = outcomes[i];
        CHECK_INT(drain(f.q), 1);
        CHECK_INT(l.seen, rows);
        if (is_kept(&l)) rows++;
        kept += is_kept(&l);
        CHECK_INT(count_all(f.q).parked, 1 + kept);
        CHECK_INT(state_of(f.q, l.children) == JOBQ_STATE_PENDING, is_kept(&l));
        CHECK_INT(look(f.q, id).attempt, l.outcome == JOBQ_RETRY ? 2 : 1);
        WORKS(jobq_delete(f.q, id, &err));
    }
    close_at(&f, memory);
}

/* Goal: handlers that use their transaction can be tried in memory: done keeps rows and children,
 * everything else takes them back. Method: each outcome, then a look by the next job. */
TEST(memory_has_the_transaction_too) {
    try_each_outcome((jobq_options){.workers = JOBQ_NONE}, true, false);
}

/* Goal: the rows and children of a job that runs again at a time are kept if the handler says so,
 * and of no other one that is not done. */
TEST(rows_of_a_job_that_runs_again) {
    try_each_outcome((jobq_options){.workers = JOBQ_NONE}, true, true);
    try_each_outcome((jobq_options){.workers = JOBQ_NONE}, false, true);
}

static jobq_outcome write_each_minute(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    run_sql(db, "CREATE TABLE IF NOT EXISTS note(id INTEGER PRIMARY KEY)");
    CHECK_INT(run_sql(db, "INSERT INTO note DEFAULT VALUES"), SQLITE_OK);
    *(int64_t *)ctx = ask(db, "SELECT count(*) FROM note");
    return jobq_keep_writes(run, jobq_reschedule_in(run, JOBQ_MINUTE));
}

/* Goal: a recurring job can write a row each time, exactly once. Method: an hour, a restart. */
TEST(recurring_job_writes_rows) {
    int64_t rows = 0;
    fixture f;
    REQUIRE(open_at(&f, false, STEP));
    handle(f.q, "k", write_each_minute, &rows);
    put(f.q, "k");
    advance(f.q, JOBQ_HOUR / 2);
    CHECK_INT(rows, 31);
    REQUIRE(fixture_reopen(&f));
    handle(f.q, "k", write_each_minute, &rows);
    advance(f.q, JOBQ_HOUR / 2);
    CHECK_INT(rows, 61);
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM note"), 61);
    close_at(&f, false);
}

/* Goal: even when the application has asked for a database without a journal. */
TEST(memory_keeps_its_journal) {
    try_each_outcome((jobq_options){.workers = JOBQ_NONE, .on_connect = switch_journal_off}, true,
                     false);
}

static jobq_outcome count_up(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    if (jobq_run_db(run, &db, NULL) != JOBQ_OK) return JOBQ_RETRY;
    if (run_sql(db, "CREATE TABLE IF NOT EXISTS n(x); INSERT INTO n VALUES(1)") != SQLITE_OK)
        return JOBQ_FAIL;
    if (jobq_run_attempt(run) == 1 && jobq_run_id(run) % 3 == 0) return JOBQ_RETRY;
    *(int64_t *)ctx = ask(db, "SELECT count(*) FROM n");
    return JOBQ_DONE;
}

/* Goal: the same with a pool, whose threads look, store and run meanwhile. Method: 60 jobs on four
 * workers, plain ones among them; every row once. */
TEST(memory_pool_loses_nothing) {
    jobq_options options = {.workers = 4, .busy_ms = JOBQ_MINUTE};
    int64_t ids[120], rows = 0;
    jobq *q = NULL;
    WORKS(jobq_open(":memory:", &options, &q, &err));
    REQUIRE(q != NULL);
    handle_kind(q, (jobq_kind){.name = "k", .run = count_up, .ctx = &rows, .backoff_min_ms = 1});
    handle(q, "plain", do_nothing, NULL);
    start(q);
    for (int i = 0; i < 120; i++) ids[i] = put(q, i % 2 ? "k" : "plain");
    for (int i = 0; i < 120; i++) CHECK_INT(finish(q, ids[i]).state, JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    CHECK_INT(rows, 60);
}

TEST_MAIN(each_connection_is_shown, key_comes_first, hook_may_refuse, refusal_leaves_the_log,
          hook_may_refuse_the_job, nothing_temporary_is_in_the_way, other_temporary_things_stay,
          foreign_keys_hold, hook_may_make_tables, hook_cannot_break_the_queue,
          hook_changes_neither_syncs_nor_maps, hook_must_not_keep_the_file,
          hook_must_end_its_transaction, handler_may_do_its_own_only, handler_may_analyze_its_own,
          next_job_finds_it_as_it_was, every_setting_is_put_back, every_limit_is_put_back,
          schema_is_not_written_by_hand, settings_of_the_hook_stay, id_of_the_last_row,
          taking_the_place_of_jobq_keeps_nothing,
          commit_of_a_handlers_own_runs_nothing_twice, what_commit_refuses_is_a_failure,
          schema_may_change_in_the_middle, memory_has_the_transaction_too,
          rows_of_a_job_that_runs_again, recurring_job_writes_rows, memory_keeps_its_journal,
          memory_pool_loses_nothing)
