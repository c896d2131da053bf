/* helpers.h - what the tests of the API share: small handlers, a fixture with an artificial
 * clock, looking at the file through SQLite, checking an error with its sentence.
 *
 * Everything here is black box: jobq.h, and sqlite3.h for a look at the file. The
 * functions that check report the line where they stand in this file, so they are kept to
 * steps that are not what a test is about. */
#ifndef JOBQ_TEST_HELPERS_H
#define JOBQ_TEST_HELPERS_H

#include "test.h"

#include <sched.h>

#include <sqlite3.h>

/* The artificial clock starts here: a day in November 2023. */
#define T0 INT64_C(1700000000000)

/* The options of step mode: nothing runs unless the test says so. */
#define STEP ((jobq_options){.workers = JOBQ_NONE})

/* ---- Errors ---- */

/* Evaluates call, which has to name &err, and checks that it returns wanted and that err
 * says the same with a sentence. */
#define FAILS(wanted, call) \
    do { \
        jobq_error err = {.code = 12345}; \
        int fails_code = (call); \
        CHECK_CODE(fails_code, wanted); \
        error_speaks(&err, fails_code, __FILE__, __LINE__, #call); \
    } while (0)

/* The same where more than one code would be right: any error will do. */
#define FAILS_SOMEHOW(call) \
    do { \
        jobq_error err = {.code = 12345}; \
        int fails_code = (call); \
        test_check(fails_code < 0, __FILE__, __LINE__, #call " fails"); \
        error_speaks(&err, fails_code, __FILE__, __LINE__, #call); \
    } while (0)

/* Evaluates call and prints the sentence of err if it does not return JOBQ_OK. */
#define WORKS(call) \
    do { \
        jobq_error err = {.code = 0}; \
        if (!CHECK_CODE((call), JOBQ_OK)) test_note("%s", err.text); \
    } while (0)

/* A sentence has several words and ends inside its buffer. */
static inline void error_speaks(const jobq_error *err, int code, const char *file, int line,
                                const char *text) {
    bool ends = memchr(err->text, '\0', sizeof err->text) != NULL;
    test_check_int(err->code, code, file, line, text, "the code in the error");
    test_check(ends, file, line, "the error's text ends");
    if (!ends) return;
    test_check(strlen(err->text) >= 8 && strchr(err->text, ' '), file, line,
               "the error's text is a sentence");
}

/* ---- What has to come ---- */

/* Waits until condition holds, which is looked at each millisecond. What has not come in half a
 * minute never will: that is a failure, and the test goes on. */
#define UNTIL(condition) \
    do { \
        int64_t until_ms = test_real_ms() + JOBQ_TEST_SCALE * 30 * JOBQ_SECOND; \
        while (!(condition) && CHECK(test_real_ms() < until_ms && #condition)) test_pause_ms(1); \
    } while (0)

/* ---- A queue under an artificial clock ---- */

typedef struct fixture {
    const char *path;
    jobq_clock *clock;
    jobq *q;
    jobq_options options;
} fixture;

/* Opens "q.db" of the test's directory with these options and a clock that stands at T0.
 * A test does not go on without it. */
static inline bool fixture_open(fixture *f, jobq_options options) {
    jobq_error err = {.code = 0};
    f->path = test_path("q.db");
    f->q = NULL;
    f->clock = jobq_clock_artificial(T0);
    if (!CHECK(f->clock != NULL)) return false;
    f->options = options;
    f->options.clock = f->clock;
    if (CHECK_CODE(jobq_open(f->path, &f->options, &f->q, &err), JOBQ_OK)) return true;
    test_note("%s", err.text);
    jobq_clock_free(f->clock);
    return false;
}

/* Closes. A queue that has stopped for good may have outcomes that it could not write, and then it
 * says why it stopped; any other loses none. */
static inline void close_whatever(jobq **q) {
    jobq_stats stats;
    int code, failed = jobq_stat(*q, &stats, NULL) == JOBQ_OK ? stats.failed_code : JOBQ_OK;
    code = jobq_close(q);
    CHECK_CODE(code, code == failed ? failed : JOBQ_OK);
    CHECK(*q == NULL);
}

/* Closes the queue and opens it again, under the same clock. */
static inline bool fixture_reopen(fixture *f) {
    close_whatever(&f->q);
    return CHECK_CODE(jobq_open(f->path, &f->options, &f->q, NULL), JOBQ_OK);
}

static inline void fixture_close(fixture *f) {
    close_whatever(&f->q);
    jobq_clock_free(f->clock);
    f->clock = NULL;
}

/* Closes and removes the file and what stands beside it, for a test that begins anew. */
static inline void fixture_remove(fixture *f) {
    static const char *const endings[] = {"", "-wal", "-shm", "-jobq"};
    char path[1024];
    fixture_close(f);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        snprintf(path, sizeof path, "%s%s", f->path, endings[i]);
        unlink(path);
    }
}

/* How far the clock has moved since T0. */
static inline int64_t fixture_elapsed(const fixture *f) {
    return jobq_clock_now(f->clock) - T0;
}

/* ---- Short words for the usual calls ---- */

/* Under the system's clock; NULL if it failed. */
static inline jobq *open_queue_at(const char *path, jobq_options options) {
    jobq *q = NULL;
    WORKS(jobq_open(path, &options, &q, &err));
    return q;
}

static inline jobq *open_pool(const char *path, int workers) {
    return open_queue_at(path, (jobq_options){.workers = workers, .durability = JOBQ_RELAXED});
}

static inline void close_queue(jobq **q) {
    CHECK_CODE(jobq_close(q), JOBQ_OK);
}

static inline void handle_kind(jobq *q, jobq_kind kind) {
    WORKS(jobq_register(q, &kind, &err));
}

static inline void handle(jobq *q, const char *name, jobq_handler run, void *ctx) {
    jobq_kind kind = {0};
    kind.name = name;
    kind.run = run;
    kind.ctx = ctx;
    handle_kind(q, kind);
}

/* Enqueues and returns the id, or 0. */
static inline int64_t put_job(jobq *q, jobq_job job) {
    int64_t id = 0;
    WORKS(jobq_enqueue(q, &job, &id, &err));
    return id;
}

static inline int64_t put(jobq *q, const char *kind) {
    jobq_job job = {0};
    job.kind = kind;
    return put_job(q, job);
}

static inline int64_t put_in(jobq *q, int64_t delay_ms) {
    return put_job(q, (jobq_job){.kind = "k", .delay_ms = delay_ms});
}

/* So many alike, in one call. */
static inline void put_many(jobq *q, const jobq_job *job, size_t count) {
    jobq_job *jobs = (jobq_job *)calloc(count, sizeof *jobs);
    if (!jobs) test_give_up("no memory");
    for (size_t i = 0; i < count; i++) jobs[i] = *job;
    WORKS(jobq_enqueue_many(q, jobs, count, NULL, &err));
    free(jobs);
}

/* What jobq_get tells; all zero (state NONE) if the job is not there. */
static inline jobq_info look(jobq *q, int64_t id) {
    jobq_info info;
    memset(&info, 0, sizeof info);
    if (jobq_get(q, id, &info, NULL) != JOBQ_OK) memset(&info, 0, sizeof info);
    return info;
}

static inline jobq_state state_of(jobq *q, int64_t id) {
    return look(q, id).state;
}

static inline jobq_counts count_all(jobq *q) {
    jobq_counts c;
    memset(&c, 0, sizeof c);
    WORKS(jobq_count(q, &c, &err));
    return c;
}

static inline int64_t total(jobq *q) {
    jobq_counts c = count_all(q);
    return c.ready + c.scheduled + c.parked + c.running + c.done + c.failed + c.cancelled;
}

static inline jobq_stats stats_of(jobq *q) {
    jobq_stats s;
    memset(&s, 0, sizeof s);
    WORKS(jobq_stat(q, &s, &err));
    return s;
}

/* Step mode: runs what is due and returns how many runs that were. */
static inline int64_t drain(jobq *q) {
    int64_t ran = 0;
    WORKS(jobq_run_until_idle(q, &ran, &err));
    return ran;
}

static inline int advance(jobq *q, int64_t duration_ms) {
    int fired = 0;
    WORKS(jobq_advance(q, duration_ms, &fired, &err));
    return fired;
}

/* A fixture in step mode, with one job "k" of this kind. */
static inline bool fixture_open_job(fixture *f, jobq_kind kind, int64_t *id) {
    if (!fixture_open(f, STEP)) return false;
    kind.name = "k";
    handle_kind(f->q, kind);
    *id = put(f->q, "k");
    return true;
}

static inline void start(jobq *q) {
    WORKS(jobq_start(q, &err));
}

/* Pool: waits until every handler that has begun has returned. */
static inline void until_nothing_runs(jobq *q) {
    while (stats_of(q).running > 0) sched_yield();
}

/* The same, and what was claimed is given back, or has run. */
static inline void until_at_rest(jobq *q) {
    jobq_stats stats;
    do stats = stats_of(q);
    while (stats.claimed > 0 || stats.running > 0);
}

/* Pool: waits until the job is terminal; the watchdog is the limit. */
static inline jobq_info finish(jobq *q, int64_t id) {
    jobq_info info;
    memset(&info, 0, sizeof info);
    WORKS(jobq_wait(q, id, JOBQ_NEVER, &info, &err));
    return info;
}

/* ---- Handlers ---- */

static inline jobq_outcome do_nothing(jobq_run *run, void *ctx) {
    (void)run;
    (void)ctx;
    return JOBQ_DONE;
}

/* Step mode: the queue does what it is there for; closes it. */
static inline void run_one_and_close(jobq **q) {
    handle(*q, "k", do_nothing, NULL);
    put(*q, "k");
    CHECK_INT(drain(*q), 1);
    close_queue(q);
}

static inline jobq_outcome retry_always(jobq_run *run, void *ctx) {
    (void)run;
    (void)ctx;
    return JOBQ_RETRY;
}

static inline jobq_outcome fail_always(jobq_run *run, void *ctx) {
    (void)run;
    (void)ctx;
    return JOBQ_FAIL;
}

/* ctx is a jobq_outcome, which it returns. */
static inline jobq_outcome answer(jobq_run *run, void *ctx) {
    (void)run;
    return *(const jobq_outcome *)ctx;
}

/* What has run: in which order, when, as which attempt. */
#define TRACE_MAX 4096

typedef struct trace {
    pthread_mutex_t mutex; /* guards what follows */
    size_t n;
    struct {
        int64_t id, now_ms;
        int attempt;
    } rows[TRACE_MAX];
    jobq_clock *clock;    /* read for now_ms; set by the test before */
    jobq_outcome outcome; /* returned by record; set by the test before, default done */
} trace;

static inline trace *trace_new(jobq_clock *clock) {
    trace *t = (trace *)calloc(1, sizeof *t);
    if (!t) test_give_up("no memory");
    pthread_mutex_init(&t->mutex, NULL);
    t->clock = clock;
    t->outcome = JOBQ_DONE;
    return t;
}

static inline void trace_free(trace *t) {
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

static inline size_t trace_count(trace *t) {
    size_t n;
    pthread_mutex_lock(&t->mutex);
    n = t->n;
    pthread_mutex_unlock(&t->mutex);
    return n;
}

/* ctx is a trace; writes a row and returns its outcome. */
static inline jobq_outcome record(jobq_run *run, void *ctx) {
    trace *t = (trace *)ctx;
    int64_t now = t->clock ? jobq_clock_now(t->clock) : 0;
    pthread_mutex_lock(&t->mutex);
    if (t->n < TRACE_MAX) {
        t->rows[t->n].id = jobq_run_id(run);
        t->rows[t->n].now_ms = now;
        t->rows[t->n].attempt = jobq_run_attempt(run);
        t->n++;
    }
    pthread_mutex_unlock(&t->mutex);
    return t->outcome;
}

static inline pthread_t thread_start(void *(*fn)(void *), void *arg) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, fn, arg) != 0) test_give_up("pthread_create");
    return thread;
}

/* A place where handlers stand until the test lets them go on. */
typedef struct gate {
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    int entered; /* ever */
    bool open;
} gate;

static inline void gate_init(gate *g) {
    pthread_mutex_init(&g->mutex, NULL);
    pthread_cond_init(&g->changed, NULL);
    g->entered = 0;
    g->open = false;
}

static inline void gate_free(gate *g) {
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->mutex);
}

static inline void gate_pass(gate *g) {
    pthread_mutex_lock(&g->mutex);
    g->entered++;
    pthread_cond_broadcast(&g->changed);
    while (!g->open) pthread_cond_wait(&g->changed, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
}

/* Waits until so many have come to the gate, ever. */
static inline void gate_await(gate *g, int entered) {
    pthread_mutex_lock(&g->mutex);
    while (g->entered < entered) pthread_cond_wait(&g->changed, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
}

static inline void gate_open(gate *g) {
    pthread_mutex_lock(&g->mutex);
    g->open = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

/* ctx is a gate. */
static inline jobq_outcome stand_at_gate(jobq_run *run, void *ctx) {
    (void)run;
    gate_pass((gate *)ctx);
    return JOBQ_DONE;
}

/* Starts the pool, one worker of which then stands at the gate, in the job that this returns. */
static inline int64_t start_with_one_at(gate *g, jobq *q, const char *kind) {
    int64_t id;
    gate_init(g);
    handle(q, kind, stand_at_gate, g);
    start(q);
    id = put(q, kind);
    gate_await(g, 1);
    return id;
}

/* A handler that has begun its transaction stands at ctx, a gate: nobody else can write. */
static inline jobq_outcome hold_the_writer(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_FAIL;
    gate_pass((gate *)ctx);
    return JOBQ_DONE;
}

/* A thread that closes a queue. */
static inline void *close_in_thread(void *arg) {
    jobq *q = (jobq *)arg;
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    return NULL;
}

static inline void *stop_in_thread(void *arg) {
    CHECK_CODE(jobq_stop((jobq *)arg, JOBQ_NEVER, NULL), JOBQ_OK);
    return NULL;
}

/* A thread that opens a gate as soon as the queue says that it is being closed. */
struct gatekeeper {
    jobq *q;
    gate *g;
};

static inline void *open_when_closing(void *arg) {
    struct gatekeeper *keeper = (struct gatekeeper *)arg;
    jobq_stats stats;
    while (jobq_stat(keeper->q, &stats, NULL) == JOBQ_OK) sched_yield();
    gate_open(keeper->g);
    return NULL;
}

/* A thread that waits for a job. */
struct job_waiter {
    jobq *q;
    int64_t id;
    pthread_t thread;
    jobq_info info;
    int code;
};

static inline void *wait_for_job_in_thread(void *arg) {
    struct job_waiter *w = (struct job_waiter *)arg;
    w->code = jobq_wait(w->q, w->id, JOBQ_HOUR, &w->info, NULL);
    return NULL;
}

/* So many of them; returns when all of them wait. */
static inline void start_job_waiters(struct job_waiter *waiters, int count, jobq *q, int64_t id) {
    for (int i = 0; i < count; i++) {
        waiters[i] = (struct job_waiter){.q = q, .id = id};
        waiters[i].thread = thread_start(wait_for_job_in_thread, &waiters[i]);
    }
    while (jobq_wakes(q) < count) sched_yield();
}

/* ---- Events ---- */

#define EVENTS_MAX 8192

/* To be given as on_event and ctx. Copies of events, with their key and message; kind and queue
 * stay valid while the queue is open. */
typedef struct event_log {
    pthread_mutex_t mutex; /* guards what follows */
    size_t n;
    jobq_event rows[EVENTS_MAX];
    char keys[EVENTS_MAX][JOBQ_KEY_MAX + 1];
    char messages[EVENTS_MAX][JOBQ_TEXT_MAX + 1];
} event_log;

static inline event_log *event_log_new(void) {
    event_log *log = (event_log *)calloc(1, sizeof *log);
    if (!log) test_give_up("no memory");
    pthread_mutex_init(&log->mutex, NULL);
    return log;
}

static inline void event_log_free(event_log *log) {
    pthread_mutex_destroy(&log->mutex);
    free(log);
}

static inline void log_event(const jobq_event *event, void *ctx) {
    event_log *log = (event_log *)ctx;
    pthread_mutex_lock(&log->mutex);
    if (log->n < EVENTS_MAX) {
        size_t n = log->n++;
        log->rows[n] = *event;
        snprintf(log->keys[n], sizeof log->keys[n], "%s", event->key);
        snprintf(log->messages[n], sizeof log->messages[n], "%s", event->message);
        log->rows[n].key = log->keys[n];
        log->rows[n].message = log->messages[n];
    }
    pthread_mutex_unlock(&log->mutex);
}

/* Copies the events of one job, in order, into rows and returns how many there are. */
static inline size_t events_of(event_log *log, int64_t id, jobq_event *rows, size_t capacity) {
    size_t n = 0;
    pthread_mutex_lock(&log->mutex);
    for (size_t i = 0; i < log->n; i++) {
        if (log->rows[i].id != id) continue;
        if (n < capacity) rows[n] = log->rows[i];
        n++;
    }
    pthread_mutex_unlock(&log->mutex);
    return n;
}

/* ---- The file, seen by SQLite ---- */

static inline sqlite3 *sql_open(const char *path) {
    sqlite3 *db = NULL;
    if (!CHECK_INT(sqlite3_open(path, &db), SQLITE_OK)) test_note("%s", sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, 10000);
    return db;
}

/* Runs statements on a connection of its own. For a file whose queue is closed. */
static inline void sql_run(const char *path, const char *sql) {
    sqlite3 *db = sql_open(path);
    if (!CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK))
        test_note("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* The first column of the first row as text; "" if there is none. */
static inline void sql_text(const char *path, const char *sql, char *text, size_t size) {
    sqlite3 *db = sql_open(path);
    sqlite3_stmt *stmt = NULL;
    text[0] = '\0';
    if (!CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK)) {
        test_note("%s: %s", sql, sqlite3_errmsg(db));
    } else if (sqlite3_step(stmt) == SQLITE_ROW) {
        const char *value = (const char *)sqlite3_column_text(stmt, 0);
        snprintf(text, size, "%s", value ? value : "");
    }
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

/* The same as a number; 0 if there is none. */
static inline int64_t sql_int(const char *path, const char *sql) {
    char text[64];
    sql_text(path, sql, text, sizeof text);
    return strtoll(text, NULL, 10);
}

static inline int first_fault(const char *text, size_t size, void *ctx) {
    (void)size;
    snprintf((char *)ctx, 256, "%s", text);
    return 1;
}

/* What jobq_check finds first in q's file, or that it fails; "" if all is well. text has 256
 * bytes. */
static inline const char *fault_of(jobq *q, char *text) {
    jobq_error err = {.code = 0};
    text[0] = '\0';
    if (jobq_check(q, false, first_fault, text, NULL, &err) != JOBQ_OK)
        snprintf(text, 256, "%.250s", err.text);
    return text;
}

/* Counters of a queue and a kind, which are numbers. */
#define COUNTERS_OF(queue, kind, counters) \
    "INSERT INTO jobq_claims(one, ready, scheduled, blocked, claimed, retrying, done, failed," \
    " cancelled) VALUES((" #queue " << 32) + " #kind ", " counters ")"

/* How many pairs of queue and kind have counters that are not what counting comes to. */
#define MISCOUNTED \
    "WITH counted AS (SELECT one >> 32, one & 4294967295, ready, scheduled, blocked, claimed," \
    " retrying, done, failed, cancelled FROM jobq_claims WHERE one > 1 AND (ready OR scheduled" \
    " OR blocked OR claimed OR retrying OR done OR failed OR cancelled)), counts AS (SELECT" \
    " queue, kind, sum(state = 0 AND lane > 0), sum(state = 0 AND lane IN (0, -1))," \
    " sum(state = 0 AND lane < -1), sum(state = 1), sum(state = 0 AND attempt > 1)," \
    " sum(state = 2), sum(state = 3), sum(state = 4) FROM jobq_row" \
    " WHERE id <= (SELECT counted FROM jobq_claims WHERE one = 1) GROUP BY queue, kind)" \
    " SELECT count(*) FROM" \
    " (SELECT * FROM (SELECT * FROM counted EXCEPT SELECT * FROM counts) UNION ALL" \
    " SELECT * FROM (SELECT * FROM counts EXCEPT SELECT * FROM counted))"

/* SQLite finds no fault with the file, and neither does who counts its jobs. */
static inline void check_sound(const char *path) {
    char text[256];
    sql_text(path, "PRAGMA integrity_check", text, sizeof text);
    CHECK_STR(text, "ok");
    if (sql_int(path, "SELECT count(*) FROM sqlite_master WHERE name = 'jobq_row'"))
        CHECK_INT(sql_int(path, MISCOUNTED), 0);
}

/* On a connection that is there; SQLite's code. */
static inline int run_sql(sqlite3 *db, const char *sql) {
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* Another connection, which has the file until it gives it back: nobody else can write. */
static inline sqlite3 *take_the_file(const char *path) {
    sqlite3 *db = sql_open(path);
    CHECK_INT(run_sql(db, "BEGIN IMMEDIATE"), SQLITE_OK);
    return db;
}

static inline void give_the_file_back(sqlite3 **db) {
    CHECK_INT(run_sql(*db, "COMMIT"), SQLITE_OK);
    sqlite3_close(*db);
    *db = NULL;
}

/* The outcomes of so many jobs, which stand at the gate, are handed in while another connection has
 * the file: they are settled together when it gives it back. sql: what it writes meanwhile. */
static inline void settle_together(const fixture *f, gate *g, int jobs, const char *sql) {
    sqlite3 *db;
    gate_await(g, jobs);
    db = take_the_file(f->path);
    gate_open(g);
    until_nothing_runs(f->q);
    CHECK_INT(run_sql(db, sql), SQLITE_OK);
    give_the_file_back(&db);
}

/* For hooks of SQLite: no. */
static inline int veto(void *arg) {
    (void)arg;
    return 1;
}

/* For sqlite3_set_authorizer: nothing is allowed. */
static inline int deny(void *arg, int action, const char *a, const char *b, const char *c,
                       const char *d) {
    (void)arg, (void)action, (void)a, (void)b, (void)c, (void)d;
    return SQLITE_DENY;
}

/* An on_connect by which ctx, a sqlite3 *, becomes the connection that reads. */
static inline int remember_reader(sqlite3 *db, jobq_connection which, jobq_stage stage,
                                  jobq_error *err, void *ctx) {
    (void)stage, (void)err;
    if (which == JOBQ_CONNECTION_READER) *(sqlite3 **)ctx = db;
    return 0;
}

/* SQLite's old defect: two connections that write are only safe if both say .shared. */
static inline bool sqlite_needs_shared(void) {
    int v = sqlite3_libversion_number();
    return v < 3051003 && v != 3044006 && v != 3050007;
}

/* ---- Processes ---- */

/* A pipe by which processes tell each other that they have come somewhere. */
static inline void pipe_make(int ends[2]) {
    if (pipe(ends) != 0) test_give_up("pipe");
}

static inline void pipe_free(int ends[2]) {
    close(ends[0]);
    close(ends[1]);
}

static inline void pipe_say(int ends[2]) {
    if (write(ends[1], "x", 1) != 1) test_give_up("write to a pipe");
}

static inline void pipe_hear(int ends[2]) {
    char c;
    ssize_t n;
    do n = read(ends[0], &c, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1) test_give_up("read from a pipe");
}

static inline bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

#endif
