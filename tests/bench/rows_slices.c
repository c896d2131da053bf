/* rows_slices.c - what the longest transaction takes while a million jobs wait for the same thing.
 *
 * In step mode, and on the writer's connection: from BEGIN to the end of COMMIT in processor time,
 * for others' time on this machine is not ours (p99: the rest is the machine's); and the pages that
 * it writes. Priorities are either
 * all the same, so that jobs which start one after the other lie beside each other, or as scattered
 * as can be. */
#include "bench.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define START_MS INT64_C(1700000000000)
#define LONGEST_MS 10
#define TRANSACTIONS 50000 /* that are looked at */

enum what { PARKED, READY, DUE, CRASHED, KEPT };

struct wait {
    const char *what;
    enum what is;
    bool scattered;
};

static struct {
    sqlite3 *writer;
    int64_t begun_ns, begun_pages, most_pages;
    int count;
    double ms[TRANSACTIONS];
} meter;

static int64_t busy_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int64_t pages(void) {
    int now = 0, high = 0;
    sqlite3_db_status(meter.writer, SQLITE_DBSTATUS_CACHE_WRITE, &now, &high, 0);
    return now;
}

static int watch(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err, void *ctx) {
    (void)stage;
    (void)err;
    (void)ctx;
    if (which == JOBQ_CONNECTION_WRITER) meter.writer = db;
    return 0;
}

static void note_end(void) {
    int64_t ns = busy_ns() - meter.begun_ns, written = pages() - meter.begun_pages;
    if (meter.count < TRANSACTIONS) meter.ms[meter.count++] = (double)ns / 1e6;
    if (written > meter.most_pages) meter.most_pages = written;
}

static int hear(unsigned what, void *ctx, void *statement, void *text) {
    (void)ctx;
    if (what == SQLITE_TRACE_STMT && strncmp((const char *)text, "BEGIN", 5) == 0) {
        meter.begun_ns = busy_ns();
        meter.begun_pages = pages();
    }
    if (what == SQLITE_TRACE_PROFILE && strcmp(sqlite3_sql(statement), "COMMIT") == 0) note_end();
    return 0;
}

static jobq_outcome succeed(jobq_run *run, void *ctx) {
    (void)run;
    (void)ctx;
    return JOBQ_DONE;
}

static void check(int code, const jobq_error *err) {
    if (code != JOBQ_OK) bench_die("%s: %s", jobq_code_name(code), err->text);
}

static jobq *open_slices(jobq_clock *clock, bool handled) {
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED, .clock = clock,
                            .on_connect = watch, .keep_failed_ms = JOBQ_DAY};
    jobq_kind kind = {.name = BENCH_KIND, .run = succeed};
    jobq_error err = {0};
    jobq *q;
    check(jobq_open(bench_queue_path(), &options, &q, &err), &err);
    if (handled) check(jobq_register(q, &kind, &err), &err);
    return q;
}

static void store(jobq *q, const struct wait *wait, int64_t jobs) {
    static const char payload[100];
    jobq_job rows[1000];
    jobq_error err = {0};
    uint64_t seed = 1;
    for (int64_t done = 0; done < jobs; done += 1000) {
        for (int i = 0; i < 1000; i++)
            rows[i] = (jobq_job){.kind = BENCH_KIND, .payload = payload, .size = sizeof payload,
                                 .delay_ms = wait->is == DUE ? JOBQ_SECOND : 0,
                                 .priority = wait->scattered ? (int)(bench_random(&seed) >> 40)
                                                             : 0};
        check(jobq_enqueue_many(q, rows, 1000, NULL, &err), &err);
    }
}

static void say_that_all(const char *sql) {
    sqlite3 *db = NULL;
    if (sqlite3_open(bench_queue_path(), &db) != SQLITE_OK
        || sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        bench_die("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* The jobs stand as they shall when this returns, and the queue is open. */
static jobq *prepare(const struct wait *wait, jobq_clock *clock, int64_t jobs) {
    bool handled = wait->is != PARKED && wait->is != DUE, ends = wait->is > DUE;
    jobq *q = open_slices(clock, handled);
    store(q, wait, jobs);
    if (wait->is == DUE) jobq_clock_set(clock, START_MS + JOBQ_MINUTE);
    if (wait->is < READY || wait->is == DUE) return q;
    jobq_close(&q);
    if (ends) say_that_all("UPDATE jobq_row SET lane = 1, runs = 3, crashes = 3");
    q = open_slices(clock, ends);
    if (wait->is != KEPT) return q;
    jobq_run_until_idle(q, NULL, NULL);
    jobq_clock_set(clock, START_MS + 100 * JOBQ_DAY);
    return q;
}

static void slices(const struct bench *b, const void *arg) {
    const struct wait *wait = arg;
    jobq_clock *clock = jobq_clock_artificial(START_MS);
    jobq_kind kind = {.name = BENCH_KIND, .run = succeed};
    struct bench_line line = {.what = wait->what, .unit = BENCH_MS, .against = BENCH_ABSENT,
                              .ratio = BENCH_ABSENT, .goal = BENCH_VALUE_MAX,
                              .limit = LONGEST_MS};
    jobq_error err = {0};
    jobq *q = prepare(wait, clock, 1000000);
    meter.count = 0;
    meter.most_pages = 0;
    sqlite3_trace_v2(meter.writer, SQLITE_TRACE_STMT | SQLITE_TRACE_PROFILE, hear, NULL);
    if (wait->is == PARKED) check(jobq_register(q, &kind, &err), &err);
    else check(jobq_run_until_idle(q, NULL, &err), &err);
    sqlite3_trace_v2(meter.writer, 0, NULL, NULL);
    jobq_close(&q);
    jobq_clock_free(clock);
    bench_remove_files();
    line.jobq = bench_percentile(meter.ms, meter.count, 99);
    snprintf(line.note, sizeof line.note, "longest %.1f ms, %lld pages",
             bench_percentile(meter.ms, meter.count, 100), (long long)meter.most_pages);
    bench_report(b, &line);
}

#define ALIKE(is, words) &(const struct wait){"transaction, p99: 1 M " words, is, false}
#define SCATTERED(is, words) &(const struct wait){"scattered, p99: 1 M " words, is, true}
#define ROW(name, is, words) \
    {"slices-" name, slices, ALIKE(is, words), true}, \
    {"slices-" name "-scattered", slices, SCATTERED(is, words), true}

const struct bench_row bench_slice_rows[] = {
    ROW("parked", PARKED, "parked, their handler is registered"),
    ROW("ready", READY, "ready, their handler is gone"),
    ROW("due", DUE, "due at once, without a handler"),
    ROW("crashed", CRASHED, "crashed too often"),
    ROW("kept", KEPT, "failed, and not kept any longer"),
    {NULL, NULL, NULL, false},
};
