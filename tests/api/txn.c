/* txn.c - the job's transaction: what a handler writes through jobq_run_db is visible
 * if and only if the completion of its run is; and what a handler may do wrong with it.
 *
 * The queue joins an application's file with a table "note"; after each run another
 * connection counts its rows. */
#include "helpers.h"

#include "amalgamation/limits.h"

/* Opens "q.db" as a joined application file. */
static bool open_joined(fixture *f, jobq_options options) {
    options.join = true;
    sql_run(test_path("q.db"), "CREATE TABLE IF NOT EXISTS note(id INTEGER PRIMARY KEY, text"
                               " TEXT UNIQUE)");
    return fixture_open(f, options);
}

static int64_t notes(const fixture *f) {
    return sql_int(f->path, "SELECT count(*) FROM note");
}

/* What the writing handler does: sql in the job's transaction, then outcome. */
struct writer {
    const char *sql; /* NULL: only begin */
    jobq_outcome outcome;
    int sql_code;    /* of sql */
    int64_t visible; /* rows that another connection saw meanwhile */
    const fixture *f;
};

static jobq_outcome write_notes(jobq_run *run, void *ctx) {
    struct writer *w = (struct writer *)ctx;
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    if (!CHECK(db != NULL)) return JOBQ_FAIL;
    w->sql_code = w->sql ? run_sql(db, w->sql) : SQLITE_OK;
    if (w->f) w->visible = notes(w->f);
    return w->outcome;
}

/* Goes on behind a statement that was refused, as an application may. */
static jobq_outcome write_stubbornly(jobq_run *run, void *ctx) {
    struct writer *w = (struct writer *)ctx;
    char text[400], *at = NULL;
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    snprintf(text, sizeof text, "%s", w->sql);
    for (char *one = strtok_r(text, ";", &at); one && db; one = strtok_r(NULL, ";", &at))
        w->sql_code = run_sql(db, one);
    return w->outcome;
}

#define WRITE_TWO "INSERT INTO note(text) VALUES('a'),('b')"

/* ---- If and only if ---- */

/* Goal: a done run's writes are there with its completion and not before. Method: two rows,
 * counted from another connection inside the handler and after it. */
TEST(done_keeps_what_was_written) {
    fixture f;
    struct writer w = {WRITE_TWO, JOBQ_DONE, -1, -1, &f};
    int64_t id;
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", write_notes, &w);
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(w.sql_code, SQLITE_OK);
    CHECK_INT(w.visible, 0);
    CHECK_INT(notes(&f), 2);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    REQUIRE(fixture_reopen(&f));
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    CHECK_INT(notes(&f), 2);
    fixture_close(&f);
}

/* Goal: every other outcome takes the writes back and is itself kept. Method: each one with
 * two rows; none is left, the job is where the outcome puts it. */
TEST(other_outcomes_take_back_what_was_written) {
    static const struct {
        jobq_outcome outcome;
        jobq_state state;
        int attempt;
    } cases[] = {{JOBQ_RETRY, JOBQ_STATE_PENDING, 2},
                 {JOBQ_FAIL, JOBQ_STATE_FAILED, 1},
                 {JOBQ_SNOOZE, JOBQ_STATE_PENDING, 1},
                 {JOBQ_RESCHEDULE, JOBQ_STATE_PENDING, 1},
                 {(jobq_outcome)77, JOBQ_STATE_NONE, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture f;
        struct writer w = {WRITE_TWO, cases[i].outcome, -1, -1, NULL};
        jobq_info info;
        REQUIRE(open_joined(&f, STEP));
        handle(f.q, "k", write_notes, &w);
        info = look(f.q, put(f.q, "k"));
        WORKS(jobq_step(f.q, NULL, &err));
        info = look(f.q, info.id);
        CHECK_INT(w.sql_code, SQLITE_OK);
        CHECK_INT(notes(&f), 0);
        CHECK(info.state != JOBQ_STATE_DONE);
        if (cases[i].state != JOBQ_STATE_NONE) {
            CHECK_INT(info.state, cases[i].state);
            CHECK_INT(info.attempt, cases[i].attempt);
        }
        fixture_remove(&f);
    }
}

static jobq_outcome write_then_explain(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(run_sql(db, WRITE_TWO), SQLITE_OK);
    if (jobq_run_attempt(run) < 3) return jobq_retry(run, "the %s is not ready", "world");
    return jobq_done(run, ctx, 4);
}

/* Goal: messages, delays and results work as without a transaction. Method: two retries, then
 * done with a result; the rows appear once. */
TEST(details_work_in_the_transaction) {
    fixture f;
    int64_t id;
    char back[8];
    size_t size = 0;
    REQUIRE(open_joined(&f, STEP));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = write_then_explain,
                                 .ctx = (void *)(uintptr_t) "done",
                                 .jitter_percent = JOBQ_NONE});
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_STR(look(f.q, id).error, "the world is not ready");
    CHECK_INT(look(f.q, id).run_at_ms, T0 + 1000);
    CHECK_INT(notes(&f), 0);
    advance(f.q, JOBQ_MINUTE);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    CHECK_INT(notes(&f), 2);
    WORKS(jobq_get_result(f.q, id, back, sizeof back, &size, &err));
    CHECK_INT(size, 4);
    CHECK_MEM(back, "done", 4);
    fixture_close(&f);
}

/* Goal: a job that is not kept still commits its writes. Method: nothing kept. */
TEST(writes_of_a_job_that_is_not_kept) {
    fixture f;
    struct writer w = {WRITE_TWO, JOBQ_DONE, -1, -1, NULL};
    REQUIRE(open_joined(&f, (jobq_options){.workers = JOBQ_NONE, .keep_done_ms = JOBQ_NONE}));
    handle(f.q, "k", write_notes, &w);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(notes(&f), 2);
    CHECK_INT(total(f.q), 0);
    fixture_close(&f);
}

/* Goal: a transaction that only reads, or does nothing, is fine. Method: no SQL; a SELECT. */
TEST(transaction_without_writes) {
    static const char *const sqls[] = {NULL, "SELECT * FROM note"};
    for (int i = 0; i < 2; i++) {
        fixture f;
        struct writer w = {sqls[i], JOBQ_DONE, -1, -1, NULL};
        REQUIRE(open_joined(&f, STEP));
        handle(f.q, "k", write_notes, &w);
        put(f.q, "k");
        put(f.q, "k");
        CHECK_INT(drain(f.q), 2);
        CHECK_INT(count_all(f.q).done, 2);
        fixture_remove(&f);
    }
}

/* Goal: on the job's connection the application's own triggers and foreign keys work as it
 * set them up. Method: a trigger that counts inserts. */
TEST(triggers_of_the_application_fire) {
    fixture f;
    struct writer w = {WRITE_TWO, JOBQ_DONE, -1, -1, NULL};
    sql_run(test_path("q.db"),
            "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT UNIQUE);"
            "CREATE TABLE tally(n INT);"
            "CREATE TRIGGER count_notes AFTER INSERT ON note BEGIN INSERT INTO tally VALUES(1);"
            " END");
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", write_notes, &w);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM tally"), 2);
    fixture_close(&f);
}

/* Goal: a handler may make tables of its own. Method: CREATE TABLE in a queue's own file, kept
 * with done and gone with retry. */
TEST(handler_may_create_tables) {
    fixture f;
    struct writer w = {"CREATE TABLE own(x); INSERT INTO own VALUES(5)", JOBQ_RETRY, -1, -1,
                       NULL};
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", write_notes, &w);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM sqlite_master WHERE name='own'"), 0);
    w.outcome = JOBQ_DONE;
    WORKS(jobq_advance_to_next(f.q, &err));
    CHECK_INT(w.sql_code, SQLITE_OK);
    CHECK_INT(sql_int(f.path, "SELECT x FROM own"), 5);
    fixture_close(&f);
}

struct twice {
    sqlite3 *a, *b;
};

static jobq_outcome begin_twice(jobq_run *run, void *ctx) {
    struct twice *t = (struct twice *)ctx;
    WORKS(jobq_run_db(run, &t->a, &err));
    CHECK_INT(run_sql(t->a, "INSERT INTO note(text) VALUES('first')"), SQLITE_OK);
    WORKS(jobq_run_db(run, &t->b, &err));
    CHECK_INT(run_sql(t->b, "INSERT INTO note(text) VALUES('second')"), SQLITE_OK);
    return JOBQ_DONE;
}

/* Goal: asking again gives the same connection and the same transaction. Method: twice in one
 * handler, a row after each. */
TEST(asking_again_gives_the_same) {
    struct twice t = {NULL, NULL};
    fixture f;
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", begin_twice, &t);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK(t.a != NULL && t.a == t.b);
    CHECK_INT(notes(&f), 2);
    fixture_close(&f);
}

static jobq_outcome write_two_of_three(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    int n = ++*(int *)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(run_sql(db, "INSERT INTO note(text) VALUES(random())"), SQLITE_OK);
    return n % 3 == 0 ? JOBQ_FAIL : JOBQ_DONE;
}

/* Goal: many jobs in a row each have a transaction of their own. Method: 50 jobs, every third
 * is failed; one row for each of the others. */
TEST(each_job_has_its_own_transaction) {
    fixture f;
    int n = 0;
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", write_two_of_three, &n);
    for (int i = 0; i < 50; i++) put(f.q, "k");
    CHECK_INT(drain(f.q), 50);
    CHECK_INT(count_all(f.q).done, 34);
    CHECK_INT(count_all(f.q).failed, 16);
    CHECK_INT(notes(&f), 34);
    fixture_close(&f);
}

static jobq_outcome count_up(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    if (jobq_run_db(run, &db, NULL) != JOBQ_OK) return JOBQ_RETRY;
    if (run_sql(db, "UPDATE note SET text = text + 1 WHERE id = 1") != SQLITE_OK)
        return JOBQ_FAIL;
    return JOBQ_DONE;
}

/* Goal: the same with a pool: no update is lost and none happens twice. Method: 100 jobs on 4
 * workers count up one row, with jobs without a transaction among them. */
TEST(pool_of_transactions_loses_nothing) {
    fixture f;
    int64_t ids[200];
    sql_run(test_path("q.db"), "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT UNIQUE);"
                               "INSERT INTO note VALUES(1, '0')");
    REQUIRE(open_joined(&f, (jobq_options){.workers = 4, .durability = JOBQ_RELAXED,
                                           .busy_ms = JOBQ_MINUTE}));
    handle(f.q, "count", count_up, NULL);
    handle(f.q, "plain", do_nothing, NULL);
    start(f.q);
    for (int i = 0; i < 200; i++) ids[i] = put(f.q, i % 2 ? "count" : "plain");
    for (int i = 0; i < 200; i++) CHECK_INT(finish(f.q, ids[i]).state, JOBQ_STATE_DONE);
    CHECK_INT(sql_int(f.path, "SELECT text FROM note WHERE id=1"), 100);
    fixture_close(&f);
}

/* ---- Jobs enqueued inside ---- */

struct parent {
    jobq_outcome outcome;
    int64_t children[3];
    int code;
};

static jobq_outcome write_and_beget(jobq_run *run, void *ctx) {
    struct parent *p = (struct parent *)ctx;
    const jobq_job batch[] = {{.kind = "child"}, {.kind = "child", .key = "only"}};
    jobq *q = jobq_run_handle(run);
    jobq_stored r[2];
    sqlite3 *db = NULL;
    memset(r, 0, sizeof r);
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(run_sql(db, WRITE_TWO), SQLITE_OK);
    p->code = jobq_enqueue(q, &(jobq_job){.kind = "child"}, &p->children[0], NULL);
    WORKS(jobq_enqueue_many(q, batch, 2, r, &err));
    p->children[1] = r[0].id;
    p->children[2] = r[1].id;
    return p->outcome;
}

static bool open_with_parent(fixture *f, struct parent *p, jobq_options options, int64_t *id) {
    if (!open_joined(f, options)) return false;
    handle(f->q, "k", write_and_beget, p);
    handle(f->q, "child", do_nothing, NULL);
    *id = put(f->q, "k");
    return true;
}

/* Goal: jobs enqueued inside join: with done they are there and run. Method: three children;
 * they run in the same drain. */
TEST(children_are_committed_with_done) {
    struct parent p = {JOBQ_DONE, {0, 0, 0}, 1};
    fixture f;
    int64_t id;
    REQUIRE(open_with_parent(&f, &p, STEP, &id));
    CHECK_INT(drain(f.q), 4);
    CHECK_CODE(p.code, JOBQ_OK);
    for (int i = 0; i < 3; i++) CHECK_INT(state_of(f.q, p.children[i]), JOBQ_STATE_DONE);
    CHECK_INT(notes(&f), 2);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    CHECK_INT(stats_of(f.q).enqueued, 4);
    fixture_close(&f);
}

/* Goal: with anything else they vanish, keys and all, and are there once when the retry is
 * done. Method: a retry, then done. */
TEST(children_vanish_with_the_rollback) {
    struct parent p = {JOBQ_RETRY, {0, 0, 0}, 1};
    fixture f;
    int64_t id;
    REQUIRE(open_with_parent(&f, &p, STEP, &id));
    CHECK_INT(drain(f.q), 1);
    CHECK_CODE(p.code, JOBQ_OK);
    CHECK_INT(look(f.q, id).attempt, 2);
    CHECK_INT(total(f.q), 1);
    CHECK_CODE(jobq_enqueue(f.q, &(jobq_job){.kind = "child", .key = "only"}, NULL, NULL),
               JOBQ_OK);
    CHECK_INT(drain(f.q), 1);
    p.outcome = JOBQ_DONE;
    WORKS(jobq_advance_to_next(f.q, &err));
    CHECK_INT(count_all(f.q).done, 5);
    fixture_close(&f);
}

/* Goal: events of children that vanish are never told; those of committed ones are. Method:
 * the log after a retry and after done. */
TEST(events_of_children_follow_the_commit) {
    struct parent p = {JOBQ_FAIL, {0, 0, 0}, 1};
    event_log *log = event_log_new();
    fixture f;
    jobq_event rows[8];
    int64_t lost, id;
    REQUIRE(open_with_parent(&f, &p, (jobq_options){.workers = JOBQ_NONE, .on_event = log_event,
                                                    .ctx = log}, &id));
    CHECK_INT(drain(f.q), 1);
    lost = p.children[0];
    CHECK(lost != id);
    CHECK_INT(events_of(log, lost, rows, 8), 0);
    p.outcome = JOBQ_DONE;
    WORKS(jobq_retry_now(f.q, id, &err));
    CHECK_INT(drain(f.q), 4);
    CHECK(events_of(log, p.children[2], rows, 8) >= 1);
    CHECK_INT(rows[0].from, JOBQ_STATE_NONE);
    fixture_close(&f);
    event_log_free(log);
}

static jobq_outcome beget_new_names(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    jobq *q = jobq_run_handle(run);
    WORKS(jobq_run_db(run, &db, &err));
    WORKS(jobq_enqueue(q, &(jobq_job){.kind = "new", .queue = "fresh"}, NULL, &err));
    return *(jobq_outcome *)ctx;
}

/* Goal: names that a child was first to use vanish with it and mean nothing else later. Method:
 * a new kind and queue inside a run that fails; other names outside; then those again. */
TEST(new_names_inside_a_rollback) {
    jobq_outcome outcome = JOBQ_FAIL;
    fixture f;
    int64_t other, again;
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", beget_new_names, &outcome);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    other = put_job(f.q, (jobq_job){.kind = "other", .queue = "elsewhere"});
    again = put_job(f.q, (jobq_job){.kind = "new", .queue = "fresh"});
    CHECK_STR(look(f.q, other).kind, "other");
    CHECK_STR(look(f.q, other).queue, "elsewhere");
    CHECK_STR(look(f.q, again).kind, "new");
    CHECK_STR(look(f.q, again).queue, "fresh");
    REQUIRE(fixture_reopen(&f));
    CHECK_STR(look(f.q, other).kind, "other");
    CHECK_STR(look(f.q, again).kind, "new");
    CHECK_STR(look(f.q, again).queue, "fresh");
    fixture_close(&f);
}

/* ---- Ending the transaction by oneself ---- */

/* Runs sql inside a job that then says done, and checks that nothing of it was kept, that the
 * job is retried, and that its message says something. */
static void check_broken(const char *sql) {
    fixture f;
    struct writer w = {sql, JOBQ_DONE, -1, -1, NULL};
    int64_t id;
    jobq_info info;
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", write_stubbornly, &w);
    handle(f.q, "plain", do_nothing, NULL);
    id = put(f.q, "k");
    WORKS(jobq_step(f.q, NULL, &err));
    info = look(f.q, id);
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK_INT(info.attempt, 2);
    CHECK(strchr(info.error, ' ') != NULL);
    if (!CHECK_INT(notes(&f), 0)) test_note("%s", sql);
    put(f.q, "plain"); /* the connection is as good as new */
    CHECK_INT(drain(f.q), 1);
    w.sql = WRITE_TWO;
    WORKS(jobq_advance_to_next(f.q, &err));
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    if (!CHECK_INT(notes(&f), 2)) test_note("after %s", sql);
    fixture_remove(&f);
}

/* Goal: a handler that commits by itself keeps nothing and its job is retried. Method: COMMIT,
 * END, alone and with more work after it. */
TEST(handler_that_commits) {
    check_broken(WRITE_TWO "; COMMIT");
    check_broken(WRITE_TWO "; END");
    check_broken(WRITE_TWO "; COMMIT; INSERT INTO note(text) VALUES('late')");
}

/* Goal: the same for ROLLBACK, whatever is done afterwards. Method: alone; then in autocommit;
 * then in a transaction of its own, left open or committed. */
TEST(handler_that_rolls_back) {
    check_broken(WRITE_TWO "; ROLLBACK");
    check_broken("ROLLBACK; INSERT INTO note(text) VALUES('late')");
    check_broken("ROLLBACK; BEGIN; " WRITE_TWO);
    check_broken("ROLLBACK; BEGIN; " WRITE_TWO "; COMMIT");
    check_broken("ROLLBACK; BEGIN IMMEDIATE; " WRITE_TWO "; ROLLBACK; BEGIN");
    check_broken("ROLLBACK; SAVEPOINT mine; " WRITE_TWO "; RELEASE mine");
}

/* Commits, and goes on although that was refused. */
static jobq_outcome commit_stubbornly(jobq_run *run, void *ctx) {
    static const char *const sqls[] = {WRITE_TWO, "COMMIT", "INSERT INTO note(text) VALUES('c')",
                                       "BEGIN", "INSERT INTO note(text) VALUES('d')", "COMMIT"};
    sqlite3 *db = NULL;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    for (size_t i = 0; i < sizeof sqls / sizeof sqls[0]; i++) (void)run_sql(db, sqls[i]);
    return JOBQ_DONE;
}

/* Goal: nothing is kept even if the handler goes on after each refusal. Method: a commit, rows
 * in autocommit, a transaction of its own. */
TEST(handler_that_commits_and_goes_on) {
    fixture f;
    jobq_info info;
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", commit_stubbornly, NULL);
    info = look(f.q, put(f.q, "k"));
    CHECK_INT(drain(f.q), 1);
    info = look(f.q, info.id);
    CHECK_INT(notes(&f), 0);
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK_INT(info.attempt, 2);
    CHECK(info.error[0] != '\0');
    fixture_close(&f);
}

struct release {
    int code; /* of the RELEASE */
};

static jobq_outcome release_by_guess(jobq_run *run, void *ctx) {
    struct release *r = (struct release *)ctx;
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(run_sql(db, WRITE_TWO), SQLITE_OK);
    r->code = run_sql(db, "RELEASE jobq_run");
    if (r->code != SQLITE_OK) r->code = run_sql(db, "RELEASE jobq");
    return JOBQ_DONE;
}

/* Goal: a handler that guesses the name of jobq's savepoint and releases it does no harm: done
 * with all of it, or retried with nothing. Method: RELEASE of the likely names. */
TEST(handler_that_releases) {
    struct release r = {-1};
    fixture f;
    int64_t id;
    bool done;
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", release_by_guess, &r);
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    done = state_of(f.q, id) == JOBQ_STATE_DONE;
    CHECK_INT(notes(&f), done ? 2 : 0);
    if (r.code != SQLITE_OK) CHECK(done);
    if (!done) CHECK_INT(look(f.q, id).attempt, 2);
    fixture_close(&f);
}

/* Goal: savepoints of the handler's own are its own affair. Method: one released, one rolled
 * back, one left open; what stands at the end is kept. */
TEST(savepoints_of_the_handler_are_allowed) {
    fixture f;
    struct writer w = {"SAVEPOINT a; INSERT INTO note(text) VALUES('kept'); RELEASE a;"
                       "SAVEPOINT b; INSERT INTO note(text) VALUES('gone'); ROLLBACK TO b;"
                       "RELEASE b; SAVEPOINT c; INSERT INTO note(text) VALUES('open')",
                       JOBQ_DONE, -1, -1, NULL};
    int64_t id;
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", write_notes, &w);
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(w.sql_code, SQLITE_OK);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    CHECK_INT(notes(&f), 2);
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM note WHERE text='gone'"), 0);
    fixture_close(&f);
}

/* Goal: a handler that breaks its transaction and fails is not failed but retried: what it
 * wanted to say of its work cannot be trusted. Method: ROLLBACK, then fail for good. */
TEST(broken_transaction_is_a_retry_whatever_is_returned) {
    static const jobq_outcome outcomes[] = {JOBQ_FAIL, JOBQ_SNOOZE, JOBQ_RETRY};
    for (int i = 0; i < 3; i++) {
        fixture f;
        struct writer w = {"ROLLBACK", outcomes[i], -1, -1, NULL};
        int64_t id;
        REQUIRE(open_joined(&f, STEP));
        handle(f.q, "k", write_notes, &w);
        id = put(f.q, "k");
        CHECK_INT(drain(f.q), 1);
        CHECK_INT(state_of(f.q, id), JOBQ_STATE_PENDING);
        CHECK_INT(look(f.q, id).attempt, 2);
        fixture_remove(&f);
    }
}

static jobq_outcome beget_and_roll_back(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    WORKS(jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "child"}, NULL, &err));
    CHECK_INT(run_sql(db, "ROLLBACK"), SQLITE_AUTH);
    return JOBQ_DONE;
}

/* Goal: children that were enqueued before the transaction was broken vanish with it. Method:
 * enqueue, ROLLBACK, done. */
TEST(children_vanish_with_a_broken_transaction) {
    fixture f;
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", beget_and_roll_back, NULL);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(total(f.q), 1);
    fixture_close(&f);
}

/* ---- Errors inside ---- */

/* Goal: an error of SQLite that leaves the transaction alive is the handler's to judge: what
 * was written before it is kept with done. Method: a row, then a syntax error; a conflict. */
TEST(error_that_leaves_the_transaction_alive) {
    static const char *const sqls[] = {WRITE_TWO "; SELECT nonsense FROM nowhere",
                                       WRITE_TWO "; INSERT INTO note(text) VALUES('a')"};
    for (int i = 0; i < 2; i++) {
        fixture f;
        struct writer w = {sqls[i], JOBQ_DONE, -1, -1, NULL};
        int64_t id;
        REQUIRE(open_joined(&f, STEP));
        handle(f.q, "k", write_notes, &w);
        id = put(f.q, "k");
        CHECK_INT(drain(f.q), 1);
        CHECK(w.sql_code != SQLITE_OK);
        CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
        CHECK_INT(notes(&f), 2);
        fixture_remove(&f);
    }
}

/* Goal: an error by which SQLite ends the transaction keeps nothing and is a retry. Method:
 * INSERT OR ROLLBACK of a row that is there; also with a row after it. */
TEST(error_that_ends_the_transaction) {
    check_broken(WRITE_TWO "; INSERT OR ROLLBACK INTO note(text) VALUES('a')");
    check_broken(WRITE_TWO "; INSERT OR ROLLBACK INTO note(text) VALUES('a');"
                           "INSERT INTO note(text) VALUES('late')");
}

struct open_statement {
    sqlite3_stmt *stmt;
    int runs, first, second;
};

/* The first run leaves its statement in the middle of the rows; the second goes on with it. */
static jobq_outcome leave_statement_open(jobq_run *run, void *ctx) {
    struct open_statement *o = (struct open_statement *)ctx;
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    if (o->runs++ == 0) {
        CHECK_INT(run_sql(db, WRITE_TWO), SQLITE_OK);
        CHECK_INT(sqlite3_prepare_v2(db, "SELECT id FROM note ORDER BY id", -1, &o->stmt, NULL),
                  SQLITE_OK);
        o->first = sqlite3_step(o->stmt) == SQLITE_ROW ? sqlite3_column_int(o->stmt, 0) : -1;
        return JOBQ_DONE;
    }
    o->second = sqlite3_step(o->stmt) == SQLITE_ROW ? sqlite3_column_int(o->stmt, 0) : -1;
    CHECK_INT(sqlite3_finalize(o->stmt), SQLITE_OK);
    return JOBQ_DONE;
}

/* Goal: a statement left in the middle hinders neither the commit nor what comes later; it is
 * reset. Method: leave one open, look at the rows, use it again in the next job. */
TEST(statement_left_open_is_reset) {
    struct open_statement o = {NULL, 0, -1, -1};
    fixture f;
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", leave_statement_open, &o);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(notes(&f), 2);
    CHECK_INT(count_all(f.q).done, 1);
    CHECK_INT(o.first, 1);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(o.second, 1); /* from the beginning again */
    CHECK_INT(count_all(f.q).done, 2);
    fixture_close(&f);
}

/* ---- Other calls meanwhile ---- */

struct meddler {
    int64_t other;
    int calls;
};

/* Calls that write, on the thread that holds the transaction. Reading is allowed. */
static jobq_outcome meddle(jobq_run *run, void *ctx) {
    struct meddler *m = (struct meddler *)ctx;
    jobq *q = jobq_run_handle(run);
    jobq_kind kind = {.name = "late", .run = do_nothing};
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(run_sql(db, WRITE_TWO), SQLITE_OK);
    FAILS(JOBQ_MISUSE, jobq_cancel(q, m->other, &err));
    FAILS(JOBQ_MISUSE, jobq_retry_now(q, m->other, &err));
    FAILS(JOBQ_MISUSE, jobq_delete(q, m->other, &err));
    FAILS(JOBQ_MISUSE, jobq_checkpoint(run, "x", 1, &err));
    FAILS(JOBQ_MISUSE, jobq_register(q, &kind, &err));
    CHECK_INT(state_of(q, m->other), JOBQ_STATE_PENDING);
    CHECK_INT(state_of(q, jobq_run_id(run)), JOBQ_STATE_RUNNING);
    CHECK_INT(count_all(q).running, 1);
    m->calls++;
    return JOBQ_DONE;
}

/* Goal: other writing calls on the handler's thread are a misuse that harms nothing; looking
 * is allowed. Method: each of them inside, then the queue as usual. */
TEST(other_writing_calls_inside_are_misuse) {
    struct meddler m = {0, 0};
    fixture f;
    int64_t id;
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", meddle, &m);
    m.other = put(f.q, "late");
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(m.calls, 1);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    CHECK_INT(notes(&f), 2);
    handle(f.q, "late", do_nothing, NULL);
    CHECK_INT(drain(f.q), 1);
    fixture_close(&f);
}

static jobq_outcome sleep_inside(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK(!jobq_run_sleep(run, JOBQ_DAY));
    return JOBQ_DONE;
}

/* Goal: nobody sleeps while everybody waits for the writer: a sleep inside returns at once. Method:
 * in step mode, where a sleep moves the clock, and on a worker, whom nobody would wake. */
TEST(no_sleep_inside) {
    static const int workers[] = {JOBQ_NONE, 1};
    for (int i = 0; i < 2; i++) {
        fixture f;
        int64_t id;
        REQUIRE(open_joined(&f, (jobq_options){.workers = workers[i]}));
        handle(f.q, "k", sleep_inside, NULL);
        if (i == 1) start(f.q);
        id = put(f.q, "k");
        if (i == 1) finish(f.q, id);
        else drain(f.q);
        CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
        CHECK_INT(fixture_elapsed(&f), 0);
        fixture_remove(&f);
    }
}

/* A bad argument inside is an error of that call and not of the transaction. */
static jobq_outcome enqueue_badly(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    jobq *q = jobq_run_handle(run);
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(run_sql(db, WRITE_TWO), SQLITE_OK);
    FAILS(JOBQ_BAD_NAME, jobq_enqueue(q, &(jobq_job){.kind = ""}, NULL, &err));
    FAILS(JOBQ_EXISTS, jobq_enqueue(q, &(jobq_job){.kind = "child", .key = "taken",
                                                   .conflict = JOBQ_REFUSE}, NULL, &err));
    return JOBQ_DONE;
}

/* Goal: a call that fails inside leaves the transaction as it was. Method: a bad name and a
 * key that is taken, then done. */
TEST(failed_enqueue_inside_harms_nothing) {
    fixture f;
    REQUIRE(open_joined(&f, STEP));
    handle(f.q, "k", enqueue_badly, NULL);
    put_job(f.q, (jobq_job){.kind = "child", .key = "taken"});
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(notes(&f), 2);
    CHECK_INT(total(f.q), 2);
    CHECK_INT(count_all(f.q).done, 1);
    fixture_close(&f);
}

/* A handler that begins and then stands at the gate. */
static jobq_outcome write_two_and_hold(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(run_sql(db, WRITE_TWO), SQLITE_OK);
    gate_pass((gate *)ctx);
    return JOBQ_DONE;
}

static void *put_in_thread(void *arg) {
    int64_t id = put((jobq *)arg, "plain");
    CHECK(id > 0);
    return NULL;
}

/* Goal: other threads' calls wait until the handler returns and then work. Method: the handler
 * at a gate, three threads enqueue, the gate is opened. */
TEST(other_threads_wait_for_the_writer) {
    fixture f;
    gate g;
    pthread_t threads[3];
    int64_t held;
    gate_init(&g);
    REQUIRE(open_joined(&f, (jobq_options){.workers = 1, .busy_ms = JOBQ_HOUR}));
    handle(f.q, "k", write_two_and_hold, &g);
    start(f.q);
    held = put(f.q, "k");
    gate_await(&g, 1);
    for (int i = 0; i < 3; i++)
        threads[i] = thread_start(put_in_thread, f.q);
    CHECK_INT(state_of(f.q, held), JOBQ_STATE_RUNNING); /* looking does not wait */
    CHECK_INT(notes(&f), 0);
    gate_open(&g);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    CHECK_INT(finish(f.q, held).state, JOBQ_STATE_DONE);
    CHECK_INT(notes(&f), 2);
    CHECK_INT(count_all(f.q).parked, 3);
    fixture_close(&f);
    gate_free(&g);
}

/* Goal: who waits longer than busy_ms gets BUSY, and then it did not happen. Method: the
 * handler at a gate, 20 ms, every call that writes; then the gate is opened. */
TEST(other_threads_get_busy_in_time) {
    fixture f;
    gate g;
    jobq_job job = {.kind = "plain"};
    int64_t held, other;
    gate_init(&g);
    REQUIRE(open_joined(&f, (jobq_options){.workers = 1, .busy_ms = 20}));
    handle(f.q, "k", write_two_and_hold, &g);
    start(f.q);
    other = put(f.q, "parked");
    held = put(f.q, "k");
    gate_await(&g, 1);
    FAILS(JOBQ_BUSY, jobq_enqueue(f.q, &job, NULL, &err));
    FAILS(JOBQ_BUSY, jobq_enqueue_many(f.q, &job, 1, NULL, &err));
    FAILS(JOBQ_BUSY, jobq_cancel(f.q, other, &err));
    FAILS(JOBQ_BUSY, jobq_delete(f.q, other, &err));
    CHECK_INT(total(f.q), 2);
    gate_open(&g);
    CHECK_INT(finish(f.q, held).state, JOBQ_STATE_DONE);
    CHECK_INT(notes(&f), 2);
    CHECK_INT(state_of(f.q, other), JOBQ_STATE_PENDING);
    put(f.q, "plain");
    CHECK_INT(total(f.q), 3);
    fixture_close(&f);
    gate_free(&g);
}

struct second_writer {
    gate before, after;
    int code;
    jobq_error told;
};

/* Stands at its first gate, wants the transaction, and passes its second gate. */
static jobq_outcome want_the_writer(jobq_run *run, void *ctx) {
    struct second_writer *s = (struct second_writer *)ctx;
    sqlite3 *db = NULL;
    gate_pass(&s->before);
    s->code = jobq_run_db(run, &db, &s->told);
    gate_pass(&s->after);
    return s->code == JOBQ_OK ? JOBQ_DONE : jobq_retry(run, "%s", s->told.text);
}

/* Goal: the same holds for a second handler that wants the transaction: BUSY, it did not begin,
 * and what it returns is settled once the first is done. Method: two workers; one stands at a
 * gate with the transaction while the other tries for 20 ms. */
TEST(second_transaction_gets_busy) {
    struct second_writer s;
    fixture f;
    gate g;
    int64_t held, second;
    jobq_info info;
    memset(&s, 0, sizeof s);
    gate_init(&g);
    gate_init(&s.before);
    gate_init(&s.after);
    gate_open(&s.after);
    REQUIRE(open_joined(&f, (jobq_options){.workers = 2, .busy_ms = 20}));
    handle(f.q, "k", write_two_and_hold, &g);
    handle_kind(f.q, (jobq_kind){.name = "second", .run = want_the_writer, .ctx = &s,
                                 .attempts_max = 1});
    start(f.q);
    second = put(f.q, "second");
    gate_await(&s.before, 1);
    held = put(f.q, "k");
    gate_await(&g, 1);
    gate_open(&s.before);
    gate_await(&s.after, 1);
    CHECK_CODE(s.code, JOBQ_BUSY);
    CHECK_CODE(s.told.code, JOBQ_BUSY);
    gate_open(&g);
    CHECK_INT(finish(f.q, held).state, JOBQ_STATE_DONE);
    info = finish(f.q, second);
    CHECK_INT(info.state, JOBQ_STATE_FAILED);
    CHECK_STR(info.error, s.told.text);
    fixture_close(&f);
    gate_free(&g);
    gate_free(&s.before);
    gate_free(&s.after);
}

/* ---- The delay ---- */

struct alarm {
    jobq *q;
    int64_t id;
    int other_code;
};

static void *put_beside(void *arg) {
    struct alarm *a = (struct alarm *)arg;
    a->other_code = jobq_enqueue(a->q, &(jobq_job){.kind = "other"}, NULL, NULL);
    return NULL;
}

/* Stores a job that says so, and lets another thread write as well. */
static int64_t raise_alarm(int attempt, int64_t id, void *ctx) {
    struct alarm *a = (struct alarm *)ctx;
    pthread_t thread;
    (void)attempt, (void)id;
    a->id = put(a->q, "alarm");
    thread = thread_start(put_beside, a);
    pthread_join(thread, NULL);
    return JOBQ_HOUR;
}

static jobq_outcome ask_and_retry(jobq_run *run, void *ctx) {
    sqlite3 *db;
    (void)ctx;
    CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK);
    return JOBQ_RETRY;
}

/* Goal: backoff is called when the job's transaction is over: what it stores stays, and nobody has
 * to wait for it. */
TEST(backoff_is_asked_outside_the_transaction) {
    struct alarm a = {NULL, 0, JOBQ_IO};
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .busy_ms = 300}));
    a.q = f.q;
    handle_kind(f.q, (jobq_kind){.name = "k", .run = ask_and_retry, .backoff = raise_alarm,
                                 .ctx = &a});
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK(a.id > 0);
    CHECK_INT(state_of(f.q, a.id), JOBQ_STATE_PENDING);
    CHECK_CODE(a.other_code, JOBQ_OK);
    CHECK_INT(look(f.q, 1).attempt, 2);
    fixture_close(&f);
}

struct room {
    gate brief, held;
    jobq *q;
    int urgent_code;
};

/* The others have ended and found nothing when it fails: its urgent job has had the ring given
 * back, which is put there again by the rollback. */
static jobq_outcome narrow_and_fail(jobq_run *run, void *ctx) {
    struct room *r = (struct room *)ctx;
    sqlite3 *db;
    if (jobq_run_attempt(run) > 1) return JOBQ_DONE;
    gate_await(&r->brief, 3);
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_DONE;
    r->urgent_code = jobq_enqueue(r->q, &(jobq_job){.kind = "held", .priority = -5}, NULL, NULL);
    gate_open(&r->brief);
    while (stats_of(r->q).running > 1) test_pause_ms(1);
    test_pause_ms(10);
    return JOBQ_RETRY;
}

/* Goal: jobs that a failed transaction puts back are run by all workers at once. Method: four jobs
 * that wait for each other, and as many workers. */
TEST(put_back_jobs_wake_all_workers) {
    static const char *const kinds[] = {"fails", "brief", "brief", "brief",
                                        "held", "held", "held", "held"};
    jobq_job jobs[8];
    struct room r = {.q = NULL};
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < 8; i++) jobs[i].kind = kinds[i];
    gate_init(&r.brief);
    gate_init(&r.held);
    r.q = open_pool(test_path("q.db"), 4);
    REQUIRE(r.q != NULL);
    handle_kind(r.q, (jobq_kind){.name = "fails", .run = narrow_and_fail, .ctx = &r,
                                 .backoff_min_ms = JOBQ_HOUR});
    handle(r.q, "brief", stand_at_gate, &r.brief);
    handle(r.q, "held", stand_at_gate, &r.held);
    WORKS(jobq_enqueue_many(r.q, jobs, 8, NULL, &err));
    start(r.q);
    gate_await(&r.held, 4);
    gate_open(&r.held);
    CHECK_CODE(r.urgent_code, JOBQ_OK);
    WORKS(jobq_stop(r.q, JOBQ_NEVER, &err));
    close_queue(&r.q);
    gate_free(&r.brief);
    gate_free(&r.held);
}

struct line {
    gate brief, held;
    jobq *q;
    int asks, urgent_code; /* asks: atomic; the next may ask for its transaction */
};

static jobq_outcome narrow_and_hand_on(jobq_run *run, void *ctx) {
    struct line *l = (struct line *)ctx;
    sqlite3 *db;
    if (jobq_run_attempt(run) > 1) return JOBQ_DONE;
    gate_await(&l->brief, 2);
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_DONE;
    l->urgent_code = jobq_enqueue(l->q, &(jobq_job){.kind = "held", .priority = -5}, NULL, NULL);
    gate_open(&l->brief);
    __atomic_store_n(&l->asks, 1, __ATOMIC_SEQ_CST);
    while (stats_of(l->q).running > 2) test_pause_ms(1);
    test_pause_ms(50); /* for the other to stand in line, and the idle ones to sleep */
    return JOBQ_RETRY;
}

static jobq_outcome begin_and_wait_for_them(jobq_run *run, void *ctx) {
    struct line *l = (struct line *)ctx;
    sqlite3 *db;
    while (!__atomic_load_n(&l->asks, __ATOMIC_SEQ_CST)) test_pause_ms(1);
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_FAIL;
    gate_await(&l->held, 3);
    gate_open(&l->held);
    return JOBQ_DONE;
}

/* Goal: jobs that a failed transaction puts back are run by workers that idle, although the next
 * transaction has begun already. Method: that of a job, which ends when three of them run, on the
 * worker that is free now and on two that have slept; a test that hangs has failed. */
TEST(put_back_jobs_do_not_wait_for_the_next_transaction) {
    static const char *const kinds[] = {"hands on", "waits", "brief", "brief",
                                        "held", "held", "held", "held"};
    jobq_job jobs[8];
    struct line l = {.q = NULL};
    if (JOBQ__RING < 4) {
        test_skip("a ring has no room for the four jobs that are to be put back");
        return;
    }
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < 8; i++) jobs[i].kind = kinds[i];
    gate_init(&l.brief);
    gate_init(&l.held);
    l.q = open_pool(test_path("q.db"), 4);
    REQUIRE(l.q != NULL);
    handle_kind(l.q, (jobq_kind){.name = "hands on", .run = narrow_and_hand_on, .ctx = &l,
                                 .backoff_min_ms = JOBQ_HOUR});
    handle(l.q, "waits", begin_and_wait_for_them, &l);
    handle(l.q, "brief", stand_at_gate, &l.brief);
    handle(l.q, "held", stand_at_gate, &l.held);
    WORKS(jobq_enqueue_many(l.q, jobs, 8, NULL, &err));
    start(l.q);
    gate_await(&l.held, 3);
    WORKS(jobq_stop(l.q, JOBQ_NEVER, &err));
    CHECK_CODE(l.urgent_code, JOBQ_OK);
    close_queue(&l.q);
    gate_free(&l.brief);
    gate_free(&l.held);
}

TEST_MAIN(done_keeps_what_was_written, other_outcomes_take_back_what_was_written,
          details_work_in_the_transaction, writes_of_a_job_that_is_not_kept,
          transaction_without_writes, triggers_of_the_application_fire, handler_may_create_tables,
          asking_again_gives_the_same, each_job_has_its_own_transaction,
          pool_of_transactions_loses_nothing, children_are_committed_with_done,
          children_vanish_with_the_rollback, events_of_children_follow_the_commit,
          new_names_inside_a_rollback, handler_that_commits, handler_that_rolls_back,
          handler_that_commits_and_goes_on, handler_that_releases,
          savepoints_of_the_handler_are_allowed,
          broken_transaction_is_a_retry_whatever_is_returned,
          children_vanish_with_a_broken_transaction, error_that_leaves_the_transaction_alive,
          error_that_ends_the_transaction, statement_left_open_is_reset,
          other_writing_calls_inside_are_misuse, no_sleep_inside,
          failed_enqueue_inside_harms_nothing,
          other_threads_wait_for_the_writer, other_threads_get_busy_in_time,
          second_transaction_gets_busy,
          put_back_jobs_wake_all_workers, put_back_jobs_do_not_wait_for_the_next_transaction,
          backoff_is_asked_outside_the_transaction)
