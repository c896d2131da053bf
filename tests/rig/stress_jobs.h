/* stress_jobs.h - the jobs of the stop storm: what is known of them, what their handlers do, and
 * the audit that compares the two with the file.
 *
 * Callers book every id that was acknowledged and every delete, handlers every start and every
 * JOBQ_DONE. So a job is in the file if and only if it was booked and not deleted, it is done
 * if and only if its handler said so once, and what it wrote by its own transaction (a row of the
 * ledger, and a child) is there if and only if it is done. */
#ifndef JOBQ_TEST_STRESS_JOBS_H
#define JOBQ_TEST_STRESS_JOBS_H

#include "stress.h"

enum { IDS_MAX = 1 << 14 };

/* What is known of the jobs of one file. */
struct books {
    int newest;                             /* atomic: the highest id that a caller was given */
    int running[IDS_MAX], starts[IDS_MAX];  /* atomic */
    int done[IDS_MAX], told[IDS_MAX];       /* atomic: handlers that returned so, events */
    bool stored[IDS_MAX], deleted[IDS_MAX]; /* by the one thread that was told so */
    bool wrote[IDS_MAX];                    /* by the handler: its row is to be in the table */
};

/* The queue that is open. */
static struct {
    jobq *q;
    struct books *books;
    bool memory;        /* so there are no transactions of jobs */
    void (*hold)(void); /* what a handler of the kind hold does, or NULL */
    int closing, handlers, in_callback; /* atomic; handlers: how many run */
} now;

static int all_stored; /* atomic */

/* ---- The books ---- */

static bool known(int64_t id) {
    return CHECK(id > 0 && id < IDS_MAX);
}

static void book(int64_t id) {
    struct books *b = now.books;
    int newest = read_of(&b->newest);
    if (!known(id)) return;
    CHECK(!b->stored[id]);
    b->stored[id] = true;
    add_to(&all_stored, 1);
    while (id > newest && !__atomic_compare_exchange_n(&b->newest, &newest, (int)id, false,
                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        continue;
}

static void tell(const jobq_event *event, void *ctx) {
    (void)ctx;
    CHECK_INT(add_to(&now.in_callback, 1), 1);
    if (event->to == JOBQ_STATE_DONE && known(event->id))
        CHECK_INT(add_to(&now.books->told[event->id], 1), 1);
    if (event->id % 16 == 0) sched_yield();
    add_to(&now.in_callback, -1);
}

/* ---- Handlers ---- */

static jobq_outcome enqueue_child(jobq_run *run) {
    jobq_job job = {.kind = "mix"};
    int64_t id = 0;
    int code = jobq_enqueue(jobq_run_handle(run), &job, &id, NULL);
    if (code == JOBQ_OK) book(id);
    CHECK(code == JOBQ_OK || (code == JOBQ_CLOSED && read_of(&now.closing)));
    return JOBQ_DONE;
}

static jobq_outcome work_mix(jobq_run *run, int starts) {
    return drawn_outcome(run, starts, enqueue_child);
}

/* Heeds no flag and no deadline. */
static jobq_outcome work_late(jobq_run *run, int starts) {
    test_pause_ms(1);
    return work_mix(run, starts);
}

/* Writes a row, and enqueues a child, by the job's own transaction. */
static jobq_outcome work_row(jobq_run *run, int starts) {
    uint64_t random = (uint64_t)jobq_run_id(run) * 64 + (uint64_t)starts;
    jobq_job job = {.kind = "mix"};
    int64_t id = jobq_run_id(run), child = 0;
    sqlite3 *db = NULL;
    char sql[96];
    if (now.memory) return JOBQ_DONE;
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_FAIL;
    if (test_random(&random) % 2) {
        int code = jobq_enqueue(jobq_run_handle(run), &job, &child, NULL);
        CHECK(code == JOBQ_OK || (code == JOBQ_CLOSED && read_of(&now.closing)));
    }
    snprintf(sql, sizeof sql, "INSERT INTO ledger VALUES(%" PRId64 ", %" PRId64 ")", id, child);
    CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    if (test_random(&random) % 3 == 0) return jobq_retry(run, "rolled back");
    now.books->wrote[id] = true;
    return JOBQ_DONE;
}

static jobq_outcome work_hold(jobq_run *run, int starts) {
    (void)run;
    (void)starts;
    if (now.hold) now.hold();
    return JOBQ_DONE;
}

static const struct work {
    const char *name;
    jobq_outcome (*run)(jobq_run *run, int starts);
    int64_t timeout_ms;
} works[] = {{"hold", work_hold, 0}, {"mix", work_mix, 0}, {"late", work_late, 1},
             {"row", work_row, 0}};

enum { WORKS_COUNT = sizeof works / sizeof works[0] };

/* Every handler: ctx is a struct work. */
static jobq_outcome run_work(jobq_run *run, void *ctx) {
    const struct work *work = (const struct work *)ctx;
    struct books *b = now.books;
    int64_t id = jobq_run_id(run);
    jobq_outcome outcome;
    if (!known(id)) return JOBQ_FAIL;
    add_to(&now.handlers, 1);
    CHECK_INT(add_to(&b->running[id], 1), 1);
    CHECK_INT(read_of(&b->done[id]), 0);
    outcome = work->run(run, add_to(&b->starts[id], 1));
    if (outcome == JOBQ_DONE) add_to(&b->done[id], 1);
    add_to(&b->running[id], -1);
    add_to(&now.handlers, -1);
    return outcome;
}

static int register_work(jobq *q, int which) {
    jobq_kind kind = {.run = run_work, .attempts_max = 3, .backoff_min_ms = 1,
                      .backoff_max_ms = 3};
    kind.name = works[which].name;
    kind.timeout_ms = works[which].timeout_ms;
    kind.ctx = (void *)(uintptr_t)&works[which];
    return jobq_register(q, &kind, NULL);
}

/* ---- The audit ---- */

/* Waits for every job that is listed, notes its state and returns how many there are. */
static int64_t finish_all(jobq_state *states) {
    jobq_filter filter = {.state = JOBQ_STATE_NONE};
    jobq_cursor cursor = {.done = false};
    jobq_info infos[64];
    int64_t seen = 0;
    while (!cursor.done && test_failures() == 0) {
        size_t count = 0;
        WORKS(jobq_list(now.q, &filter, &cursor, infos, 64, &count, &err));
        for (size_t i = 0; i < count && known(infos[i].id); i++) {
            jobq_info info = finish(now.q, infos[i].id);
            dog_feed();
            states[info.id] = info.state;
            CHECK_INT(info.runs, read_of(&now.books->starts[info.id]));
            CHECK_INT(info.crashes, 0);
            seen++;
        }
    }
    return seen;
}

static int64_t unfinished(void) {
    jobq_counts c = count_all(now.q);
    return c.ready + c.scheduled + c.parked + c.running;
}

/* Runs what is left of a file to its end. Jobs may enqueue others until the last is finished. */
static void run_to_the_end(const char *path, jobq_clock *clock, jobq_state *states) {
    jobq_options options = {.workers = 3, .durability = JOBQ_RELAXED, .clock = clock};
    WORKS(jobq_open(path, &options, &now.q, &err));
    REQUIRE(now.q != NULL);
    CHECK_INT(stats_of(now.q).crashed, 0);
    for (int i = 0; i < WORKS_COUNT; i++) CHECK_CODE(register_work(now.q, i), JOBQ_OK);
    start(now.q);
    while (clock && unfinished() && test_failures() == 0) advance(now.q, JOBQ_MINUTE);
    while (finish_all(states) != total(now.q) && test_failures() == 0) continue;
    WORKS(jobq_stop(now.q, JOBQ_NEVER, &err));
    CHECK_CODE(jobq_close(&now.q), JOBQ_OK);
}

/* What the transactions of jobs have left: a row of each job that said so, and its child. */
static void read_ledger(const char *path) {
    sqlite3 *db = sql_open(path);
    sqlite3_stmt *stmt = NULL;
    int rows = 0, wrote = 0;
    CHECK_INT(sqlite3_prepare_v2(db, "SELECT job, child FROM ledger", -1, &stmt, NULL), SQLITE_OK);
    while (stmt && sqlite3_step(stmt) == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(stmt, 0), child = sqlite3_column_int64(stmt, 1);
        if (known(id)) CHECK(now.books->wrote[id]);
        if (child > 0 && known(child)) {
            CHECK(!now.books->stored[child]);
            now.books->stored[child] = true;
        }
        rows++;
    }
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    for (int id = 1; id < IDS_MAX; id++) wrote += now.books->wrote[id];
    CHECK_INT(rows, wrote);
}

static void audit(const char *path, jobq_clock *clock, struct books *b) {
    static jobq_state states[IDS_MAX];
    char text[64];
    memset(states, 0, sizeof states);
    memset(&now, 0, sizeof now);
    now.books = b;
    run_to_the_end(path, clock, states);
    read_ledger(path);
    for (int id = 1; id < IDS_MAX; id++) {
        bool there = b->stored[id] && !b->deleted[id];
        if (!CHECK_INT(states[id] != JOBQ_STATE_NONE, there)
            || !CHECK_INT(states[id] == JOBQ_STATE_DONE, there && b->done[id]))
            test_note("job %d: stored %d, deleted %d, %s, done %d", id, b->stored[id],
                      b->deleted[id], jobq_state_name(states[id]), b->done[id]);
    }
    sql_text(path, "PRAGMA integrity_check", text, sizeof text);
    CHECK_STR(text, "ok");
}

#endif
