/* exactly_once.c - exactly once for rows: what a handler writes in the job's transaction is visible
 * if and only if the job is done, whatever happens to the transaction meanwhile.
 *
 * A handler says six things: it inserts a row, changes one, deletes one, enqueues a child, inserts
 * a row that is larger than the cache, and leaves a question open. Before each of them, and before
 * it returns, it meets trouble: the disk is full or fails, memory is out, it is interrupted, or it
 * ends the transaction itself, in every way that SQL has. It notes what SQLite said, carries on and
 * returns done, retry or fail; the next run meets no trouble. SQLite may have ended the transaction
 * by itself, so that later statements would be committed one by one: that is what must not be.
 *
 * Counted, in the file and in a copy as a kill would leave it right after the run: the effects of
 * what was said with success in the last run of each job that is done, and nothing else. */
#include "fault_vfs.h"
#include "helpers.h"

enum said { INSERT, UPDATE, DELETE, CHILD, LARGE, QUESTION, AT_END };
enum { RUNS = 8, JOBS = 32, TOKENS = 200, BATCH = 3 };

/* As stored in jobq_row.state. */
enum { ROW_DONE = 2 };

struct trouble {
    const char *name;
    enum { DISK, LENGTH, MEMORY, INTERRUPT, SPEAK } how;
    enum fault_what what; /* DISK */
    const char *plan;
    int code;
    const char *sql, *after; /* SPEAK: before and after what is said */
    bool undoes_before, undoes_this; /* by the handler's own wish */
};

static const struct trouble troubles[] = {
    {"none", SPEAK, FAULT_ANY, NULL, 0, NULL, NULL, false, false},
    {"full, once", DISK, FAULT_WAL_WRITE, "x", SQLITE_FULL, NULL, NULL, false, false},
    {"full", DISK, FAULT_WAL_WRITE, "x*", SQLITE_FULL, NULL, NULL, false, false},
    {"no long rows", LENGTH, FAULT_ANY, NULL, 0, NULL, NULL, false, false},
    {"write, once", DISK, FAULT_WAL_WRITE, "x", SQLITE_IOERR_WRITE, NULL, NULL, false, false},
    {"write", DISK, FAULT_WAL_WRITE, "x*", SQLITE_IOERR_WRITE, NULL, NULL, false, false},
    {"read of the log", DISK, FAULT_WAL_READ, "x", SQLITE_IOERR_READ, NULL, NULL, false, false},
    {"short read", DISK, FAULT_WAL_READ, "x", SQLITE_IOERR_SHORT_READ, NULL, NULL, false, false},
    {"read", DISK, FAULT_READ, "x*", SQLITE_IOERR_READ, NULL, NULL, false, false},
    {"sync, once", DISK, FAULT_WAL_SYNC, "x", SQLITE_IOERR_FSYNC, NULL, NULL, false, false},
    {"sync", DISK, FAULT_WAL_SYNC, "x*", SQLITE_IOERR_FSYNC, NULL, NULL, false, false},
    {"the disk dies", DISK, FAULT_WAL_SYNC, "X", SQLITE_IOERR_FSYNC, NULL, NULL, false, false},
    {"no memory", MEMORY, FAULT_ANY, NULL, 0, NULL, NULL, false, false},
    {"interrupted", INTERRUPT, FAULT_ANY, NULL, 0, NULL, NULL, false, false},
    {"commit", SPEAK, FAULT_ANY, NULL, 0, "COMMIT", NULL, false, false},
    {"commit, begin", SPEAK, FAULT_ANY, NULL, 0, "COMMIT", "BEGIN IMMEDIATE", false, false},
    {"rollback", SPEAK, FAULT_ANY, NULL, 0, "ROLLBACK", NULL, false, false},
    {"rollback, begin", SPEAK, FAULT_ANY, NULL, 0, "ROLLBACK", "BEGIN", false, false},
    {"begin", SPEAK, FAULT_ANY, NULL, 0, "BEGIN", "COMMIT", false, false},
    {"release", SPEAK, FAULT_ANY, NULL, 0, "RELEASE jobq_run", NULL, false, false},
    {"release, save", SPEAK, FAULT_ANY, NULL, 0, "RELEASE jobq_run", "SAVEPOINT jobq_run", false,
     false},
    {"release first", SPEAK, FAULT_ANY, NULL, 0, "RELEASE first", "SAVEPOINT first", false, false},
    {"rollback to first", SPEAK, FAULT_ANY, NULL, 0, "ROLLBACK TO first", NULL, true, false},
    {"own savepoint", SPEAK, FAULT_ANY, NULL, 0, "SAVEPOINT own", "RELEASE own", false, false},
    {"own savepoint, left", SPEAK, FAULT_ANY, NULL, 0, "SAVEPOINT own", NULL, false, false},
    {"own rollback to", SPEAK, FAULT_ANY, NULL, 0, "SAVEPOINT own", "ROLLBACK TO own", false,
     true}};

enum { TROUBLES = sizeof troubles / sizeof troubles[0] };

struct job {
    int at;               /* where it meets trouble */
    jobq_outcome outcome; /* of its first run */
    int runs, said[RUNS]; /* bits */
};

struct play {
    fixture f;
    const struct trouble *trouble;
    struct job jobs[JOBS];
    int count;
    sqlite3_stmt *open; /* the question of the last run */
};

static struct {
    int64_t faults, runs, refused, stopped;
} sum;

/* ---- The handler ---- */

static int interrupt(void *db) {
    sqlite3_interrupt((sqlite3 *)db);
    return 0;
}

static void speak(sqlite3 *db, const char *sql) {
    if (sql) sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static void trouble_begin(const struct trouble *t, sqlite3 *db, struct job *job) {
    switch (t->how) {
    case DISK: fault_plan(t->what, t->plan, t->code); break;
    case MEMORY: sqlite3_hard_heap_limit64(sqlite3_memory_used()); break;
    case INTERRUPT: sqlite3_progress_handler(db, 1, interrupt, db); break;
    case SPEAK: speak(db, t->sql); break;
    case LENGTH: sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 1000); break;
    }
    if (t->undoes_before) job->said[job->runs] = 0;
    sum.faults++;
}

/* db may be NULL: then only what does not need it. */
static void trouble_over(sqlite3 *db) {
    fault_off();
    sqlite3_hard_heap_limit64(0);
    if (!db) return;
    sqlite3_progress_handler(db, 0, NULL, NULL);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 1000000000);
}

static bool say(jobq_run *run, sqlite3 *db, int n, int what, sqlite3_stmt **open) {
    char sql[160] = "UPDATE account SET balance = balance + 1";
    int child = JOBS + n;
    switch (what) {
    case INSERT: case LARGE:
        snprintf(sql, sizeof sql, "INSERT INTO effect VALUES(%d, %d, zeroblob(%d))", n, what,
                 what == LARGE ? 100000 : 10);
        break;
    case DELETE:
        strcpy(sql, "DELETE FROM token WHERE id = (SELECT min(id) FROM token)");
        break;
    case CHILD:
        return jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "child", .payload = &child,
                            .size = sizeof child}, NULL, NULL) == JOBQ_OK;
    case QUESTION:
        sqlite3_prepare_v2(db, "SELECT id FROM token", -1, open, NULL);
        return *open && sqlite3_step(*open) == SQLITE_ROW;
    default: break;
    }
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static jobq_outcome act(jobq_run *run, void *ctx) {
    struct play *p = (struct play *)ctx;
    const struct trouble *t = p->trouble;
    struct job *job;
    sqlite3 *db = NULL;
    int n, *said;
    memcpy(&n, jobq_run_payload(run, NULL), sizeof n);
    job = &p->jobs[n];
    if (!CHECK(job->runs < RUNS)) return JOBQ_FAIL;
    WORKS(jobq_run_db(run, &db, &err));
    if (!CHECK(db != NULL)) return JOBQ_FAIL;
    trouble_over(db);
    speak(db, "SAVEPOINT first");
    said = &job->said[job->runs];
    *said = 0;
    for (int what = 0; what < AT_END; what++) {
        bool hit = job->runs == 0 && what == job->at;
        if (hit) trouble_begin(t, db, job);
        if (say(run, db, n, what, &p->open)) *said |= 1 << what;
        else sum.refused++;
        if (hit && t->how != SPEAK) trouble_over(db);
        if (hit && t->how == SPEAK) speak(db, t->after);
        if (hit && t->undoes_this) *said &= ~(1 << what);
    }
    if (job->runs == 0 && job->at == AT_END) trouble_begin(t, db, job);
    sum.runs++;
    return job->runs++ == 0 ? job->outcome : JOBQ_DONE;
}

/* ---- What is there ---- */

struct found {
    int state[2 * JOBS], count[2 * JOBS]; /* by number: the jobs, and behind them the children */
    int effects[JOBS];                    /* bits, or more if one is there twice */
    int64_t balance, tokens;
};

/* Calls row for each row of the answer, with its two columns. */
static void ask(sqlite3 *db, const char *sql, struct found *f,
                void (*row)(struct found *f, int a, int b)) {
    sqlite3_stmt *s = NULL;
    CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    while (s && sqlite3_step(s) == SQLITE_ROW) {
        int a = 0;
        if (sqlite3_column_type(s, 0) == SQLITE_INTEGER) a = sqlite3_column_int(s, 0);
        else memcpy(&a, sqlite3_column_blob(s, 0), sizeof a);
        row(f, a, sqlite3_column_int(s, 1));
    }
    sqlite3_finalize(s);
}

static void found_job(struct found *f, int n, int state) {
    if (!CHECK(n >= 0 && n < 2 * JOBS)) return;
    f->count[n]++;
    f->state[n] = state;
}

static void found_effect(struct found *f, int n, int what) {
    if (CHECK(n >= 0 && n < JOBS)) f->effects[n] += 1 << what;
}

static void found_sums(struct found *f, int balance, int tokens) {
    f->balance = balance;
    f->tokens = tokens;
}

static void verify(const struct play *p, const char *path) {
    int64_t balance = 0, tokens = 0;
    struct found f;
    sqlite3 *db = sql_open(path);
    memset(&f, 0, sizeof f);
    ask(db, "SELECT payload, state FROM jobq_row", &f, found_job);
    ask(db, "SELECT job, what FROM effect", &f, found_effect);
    ask(db, "SELECT balance, (SELECT count(*) FROM token) FROM account", &f, found_sums);
    sqlite3_close(db);
    for (int n = 0; n < p->count; n++) {
        const struct job *job = &p->jobs[n];
        /* What was said in the last run, if the job is done. */
        int said = f.state[n] == ROW_DONE && job->runs ? job->said[job->runs - 1] : 0;
        CHECK_INT(f.count[n], 1);
        CHECK_INT(f.effects[n], said & (1 << INSERT | 1 << LARGE));
        CHECK_INT(f.count[JOBS + n], (said >> CHILD) & 1);
        balance += (said >> UPDATE) & 1;
        tokens += (said >> DELETE) & 1;
    }
    CHECK_INT(f.balance, balance);
    CHECK_INT(f.tokens, TOKENS - tokens);
}

/* ---- The play ---- */

/* Little to remember by: statements read and, when much has changed, write the log. */
static int shrink(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                  void *ctx) {
    (void)err, (void)ctx;
    if (which == JOBQ_CONNECTION_JOB && stage == JOBQ_STAGE_SETUP)
        speak(db, "PRAGMA cache_size=2");
    return 0;
}

static bool play_begin(struct play *p, const struct trouble *t) {
    char sql[256];
    memset(p, 0, sizeof *p);
    p->trouble = t;
    fault_begin();
    snprintf(sql, sizeof sql, "CREATE TABLE effect(job, what, x); CREATE TABLE account(balance);"
             " INSERT INTO account VALUES(0); CREATE TABLE token(id INTEGER PRIMARY KEY); WITH"
             " t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < %d) INSERT INTO token"
             " SELECT n FROM t", TOKENS);
    sql_run(test_path("q.db"), sql);
    if (!fixture_open(&p->f, (jobq_options){.workers = JOBQ_NONE, .shared = true, .join = true,
                                            .busy_ms = 5, .durability = JOBQ_DURABLE,
                                            .on_connect = shrink}))
        return false;
    handle(p->f.q, "act", act, p);
    handle(p->f.q, "child", do_nothing, NULL);
    return true;
}

/* It was left to jobq to see to what the handler had left open; the memory is ours. */
static void forget_question(struct play *p) {
    sqlite3_finalize(p->open);
    p->open = NULL;
}

/* After UNKNOWN the queue has stopped; the next open goes on. */
static bool play_goes_on(struct play *p) {
    if (stats_of(p->f.q).failed_code == JOBQ_OK) return true;
    sum.stopped++;
    if (!fixture_reopen(&p->f)) return false;
    handle(p->f.q, "act", act, p);
    handle(p->f.q, "child", do_nothing, NULL);
    return true;
}

static void play_one(struct play *p, int at, jobq_outcome outcome) {
    const char *copy = test_path("copy.db");
    int n = p->count++;
    p->jobs[n].at = at;
    p->jobs[n].outcome = outcome;
    put_job(p->f.q, (jobq_job){.kind = "act", .payload = &n, .size = sizeof n});
    jobq_step(p->f.q, NULL, NULL);
    trouble_over(NULL);
    forget_question(p);
    fault_copy(p->f.path, copy);
    verify(p, copy);
    fault_remove(copy);
    if (!play_goes_on(p)) return;
    advance(p->f.q, JOBQ_HOUR);
    forget_question(p);
    verify(p, p->f.path);
    CHECK(p->jobs[n].runs >= 1 && p->jobs[n].runs <= 2);
}

static jobq_outcome enqueue_and_undo(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    if (!CHECK(db != NULL)) return JOBQ_FAIL;
    speak(db, "SAVEPOINT own");
    put(jobq_run_handle(run), "k");
    CHECK_INT(sqlite3_exec(db, "ROLLBACK TO own", NULL, NULL, NULL), SQLITE_OK);
    return JOBQ_DONE;
}

/* Goal: a handler's own savepoint, and what jobq remembers of the transaction, agree. Method: a
 * child that sends a claimed job from the ring back to the table, and a rollback of that alone;
 * the job still runs. */
TEST(own_savepoint_loses_no_neighbour) {
    fixture f;
    int64_t id, neighbour;
    fault_begin();
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
    handle(f.q, "undo", enqueue_and_undo, NULL);
    handle(f.q, "k", do_nothing, NULL);
    id = put(f.q, "undo");
    neighbour = put_job(f.q, (jobq_job){.kind = "k", .priority = 5});
    start(f.q);
    CHECK_INT(finish(f.q, id).state, JOBQ_STATE_DONE);
    id = put_job(f.q, (jobq_job){.kind = "k", .priority = 9});
    CHECK_INT(finish(f.q, id).state, JOBQ_STATE_DONE);
    CHECK_INT(state_of(f.q, neighbour), JOBQ_STATE_DONE);
    CHECK_INT(total(f.q), 3);
    fixture_close(&f);
}

/* Goal: the sum of the effects is the sum of what is done, always. Method: as described at
 * the head of the file: each trouble, at each place, with each outcome. */
TEST(exactly_once) {
    static const jobq_outcome outcomes[] = {JOBQ_DONE, JOBQ_RETRY, JOBQ_FAIL};
    memset(&sum, 0, sizeof sum);
    for (int t = 0; t < TROUBLES; t++) {
        struct play p;
        int before = test_failures();
        REQUIRE(play_begin(&p, &troubles[t]));
        for (int at = 0; at <= AT_END; at++)
            for (int i = 0; i < 3 && test_failures() == before; i++) {
                play_one(&p, at, outcomes[i]);
                if (test_failures() > before)
                    test_note("trouble: %s; at %d, outcome %s", troubles[t].name, at,
                              jobq_outcome_name(outcomes[i]));
            }
        fixture_remove(&p.f);
        fault_remove(p.f.path);
    }
    CHECK(sum.refused > 100);
    CHECK(sum.stopped > 0); /* UNKNOWN was among the answers */
    test_figure("rows of handlers, exactly once", "effects = done",
                "%d kinds of trouble, %" PRId64 " met, %"
                PRId64 " statements refused, %" PRId64 " runs, 0 differences", TROUBLES - 1,
                sum.faults, sum.refused, sum.runs);
}

TEST_MAIN(own_savepoint_loses_no_neighbour, exactly_once)
