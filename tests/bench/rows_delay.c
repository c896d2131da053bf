/* rows_delay.c - how long until something happens: a handler starts, a scheduled job comes late,
 * a queue opens after a kill, an idle process wakes. */
#include "bench.h"

#include <sqlite3.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)
#define WORKERS 2

static void check(int code, const jobq_error *err, const char *what) {
    if (code != JOBQ_OK) bench_die("%s: %s: %s", what, jobq_code_name(code), err->text);
}

/* ---- start: one job at a time into an idle pool, paced ----
 *
 * Slots of gap_ns; in turn a jobq_enqueue, whose handler takes the time when it starts, and a lone
 * commit of the floor on a file of its own. So machine and disk are as idle for the one as for the
 * other, and jobq itself is idle for two gaps. Two lines: handler start minus the return of
 * jobq_enqueue (p50), and handler start minus the call of jobq_enqueue (p99), less what a lone
 * commit takes in this run: how fast the disk syncs is not ours. DURABLE that is the p99 of the
 * lone commits, for each waits for the disk then; RELAXED their median. */

struct paced {
    const char *start_what, *whole_what;
    jobq_durability durability;
    int64_t gap_ns;
    int samples;
};

static void take_start(struct bench_work *work, int64_t nth, const unsigned char *payload) {
    int64_t *started = work->ctx;
    uint32_t index;
    (void)nth;
    memcpy(&index, payload, sizeof index);
    started[index] = bench_now();
}

static void run_paced(const struct paced *p, int samples, double *start_us, double *whole_us,
                      double *commit_us) {
    unsigned char payload[FLOOR_PAYLOAD_SIZE];
    jobq_job job = {.kind = BENCH_KIND, .payload = payload, .size = sizeof payload};
    jobq_error err;
    int64_t *started = bench_alloc(sizeof *started * (size_t)samples * 3);
    int64_t *called = started + samples, *returned = started + 2 * samples;
    struct bench_work work = {.jobs = samples, .on_job = take_start, .ctx = started};
    struct bench_queue how = {.durability = p->durability, .workers = WORKERS};
    struct floor *f = floor_open(bench_floor_path(), p->durability == JOBQ_DURABLE, 0);
    jobq *q = bench_queue_open(&how, &work);
    bench_queue_start(q);
    memset(payload, FLOOR_PAYLOAD_BYTE, sizeof payload);
    int64_t slot = bench_now();
    for (int i = 0; i < samples; i++) {
        uint32_t index = (uint32_t)i;
        memcpy(payload, &index, sizeof index);
        bench_sleep_until(slot += p->gap_ns);
        called[i] = bench_now();
        int code = jobq_enqueue(q, &job, NULL, &err);
        returned[i] = bench_now();
        check(code, &err, "jobq_enqueue");
        bench_sleep_until(slot += p->gap_ns);
        int64_t begin = bench_now();
        floor_enqueue(f, 1, 1);
        commit_us[i] = (double)(bench_now() - begin) * 1e-3;
    }
    bench_queue_await(q, &work);
    for (int i = 0; i < samples; i++) {
        start_us[i] = (double)(started[i] - returned[i]) * 1e-3;
        whole_us[i] = (double)(started[i] - called[i]) * 1e-3;
    }
    bench_queue_close(q);
    floor_close(f);
    free(started);
}

static void paced(const struct bench *b, const void *arg) {
    const struct paced *p = arg;
    int samples = b->pairs < 9 ? p->samples * b->pairs / 9 : p->samples;
    if (samples < 100) samples = 100;
    double *start = bench_alloc(sizeof *start * (size_t)samples * 3);
    double *whole = start + samples, *commit = start + 2 * samples;
    run_paced(p, samples, start, whole, commit);
    struct bench_line line = {.what = p->start_what, .unit = BENCH_US,
                              .jobq = bench_percentile(start, samples, 50),
                              .against = BENCH_ABSENT, .ratio = BENCH_ABSENT,
                              .goal = BENCH_VALUE_MAX, .limit = 25};
    snprintf(line.note, sizeof line.note, "p99 %.0f us, %d jobs",
             bench_percentile(start, samples, 99), samples);
    bench_report(b, &line);
    /* A disk's own tail is no fault of jobq's: where each commit waits for the disk, less that. */
    double p99 = bench_percentile(whole, samples, 99);
    double lone = p->durability == JOBQ_DURABLE ? bench_percentile(commit, samples, 99)
                                                : bench_median(commit, samples);
    line.what = p->whole_what;
    line.jobq = p99 - lone;
    line.against = lone;
    line.limit = 2000;
    snprintf(line.note, sizeof line.note,
             "in all p50 %.0f us, p99 %.0f us; a lone commit p50 %.0f us, p99 %.0f us",
             bench_percentile(whole, samples, 50), p99, bench_median(commit, samples),
             bench_percentile(commit, samples, 99));
    bench_report(b, &line);
    free(start);
}

#define PACED(name, durability, gap_ms, samples) \
    static const struct paced name = { \
        "handler start after enqueue, " #gap_ms " ms gaps, " #durability ", p50", \
        "in all less a commit, " #gap_ms " ms gaps, " #durability ", p99", \
        JOBQ_##durability, (gap_ms) * INT64_C(1000000), samples}

PACED(paced_relaxed_2, RELAXED, 2, 1500);
PACED(paced_relaxed_20, RELAXED, 20, 300);
PACED(paced_durable_2, DURABLE, 2, 1500);
PACED(paced_durable_20, DURABLE, 20, 300);

/* ---- idle: voluntary context switches of all threads but this one, over 20 s ----
 *
 * A pool of the default size that has run some jobs and has nothing to do. */

#define IDLE_S 20

/* Of the whole process, less those of the calling thread where that can be told. */
static int64_t switches_of_others(void) {
    struct rusage all;
    getrusage(RUSAGE_SELF, &all);
#ifdef RUSAGE_THREAD
    struct rusage mine;
    getrusage(RUSAGE_THREAD, &mine);
    return (int64_t)all.ru_nvcsw - (int64_t)mine.ru_nvcsw;
#else
    return (int64_t)all.ru_nvcsw - 1; /* the sleep of this thread */
#endif
}

static void idle(const struct bench *b, const void *arg) {
    (void)arg;
    struct bench_work work = {.jobs = 5000};
    struct bench_queue how = {.durability = JOBQ_RELAXED, .keep_done = true};
    jobq *q = bench_queue_open(&how, &work);
    bench_queue_start(q);
    bench_queue_enqueue(q, work.jobs, 100);
    bench_queue_await(q, &work);
    bench_sleep_until(bench_now() + 2 * SECOND_NS);
    int64_t before = switches_of_others();
    bench_sleep_until(bench_now() + IDLE_S * SECOND_NS);
    int64_t after = switches_of_others();
    bench_queue_close(q);
    struct bench_line line = {.what = "wake-ups of an idle pool of 4 in 20 s", .unit = BENCH_COUNT,
                              .jobq = (double)(after - before), .against = BENCH_ABSENT,
                              .ratio = BENCH_ABSENT, .goal = BENCH_VALUE_MAX, .limit = 0};
    bench_report(b, &line);
}

/* ---- recover: jobq_open after a kill in the middle of a drain ----
 *
 * A child opens the queue, starts the pool and is killed by its own 5000th job: claimed, running
 * and finished jobs, a log in use. Then jobq_open alone is timed, here; no row is read before. */

#define KILL_AFTER 5000
#define FILL_BATCH 1000

static void kill_self(struct bench_work *work, int64_t nth, const unsigned char *payload) {
    (void)work;
    (void)payload;
    if (nth == KILL_AFTER) kill(getpid(), SIGKILL);
}

static void run_until_killed(const struct bench_queue *how) {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) bench_die("fork: %s", strerror(errno));
    if (child == 0) {
        struct bench_work work = {.jobs = INT64_MAX, .on_job = kill_self};
        bench_queue_start(bench_queue_open(how, &work));
        for (;;) pause();
    }
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status)
        || WTERMSIG(status) != SIGKILL) {
        bench_die("the process to be killed ended by itself");
    }
}

/* Opens without registering a kind, so nothing but opening and recovery is in the time. */
static double open_ms(const struct bench_queue *how, bool look) {
    jobq_options options = {.durability = how->durability, .workers = how->workers,
                            .keep_done_ms = JOBQ_NONE};
    jobq *q = NULL;
    jobq_error err;
    int64_t begin = bench_now();
    int code = jobq_open(bench_queue_path(), &options, &q, &err);
    double ms = (double)(bench_now() - begin) * 1e-6;
    check(code, &err, "jobq_open after a kill");
    if (look) {
        jobq_counts counts;
        check(jobq_count(q, &counts, &err), &err, "jobq_count");
        if (counts.running != 0) bench_die("jobs are running after recovery");
    }
    bench_queue_close(q);
    return ms;
}

static void recover(const struct bench *b, const void *arg) {
    (void)arg;
    int64_t rows = b->large ? 10000000 : 1000000;
    struct bench_queue how = {.durability = JOBQ_RELAXED, .workers = WORKERS};
    struct bench_work none = {.jobs = 0};
    double *ms = bench_alloc(sizeof *ms * (size_t)b->pairs);
    jobq *q = bench_queue_open(&how, &none);
    bench_queue_enqueue(q, rows, FILL_BATCH);
    bench_queue_close(q);
    for (int i = 0; i < b->pairs; i++) {
        run_until_killed(&how);
        ms[i] = open_ms(&how, i == b->pairs - 1);
    }
    struct bench_line line = {.what = b->large ? "open and recover after a kill, 10 M rows"
                                               : "open and recover after a kill, 1 M rows",
                              .unit = BENCH_MS, .jobq = bench_median(ms, b->pairs),
                              .against = BENCH_ABSENT, .ratio = BENCH_ABSENT,
                              .goal = BENCH_VALUE_MAX, .limit = 20};
    snprintf(line.note, sizeof line.note, "%d kills, slowest %.1f ms", b->pairs, ms[b->pairs - 1]);
    bench_report(b, &line);
    free(ms);
}

/* ---- dead: the first page of the dead letter box, beside many jobs that are done ----
 *
 * One in a thousand failed. Those that are done are forgotten first, as it is by default, so that
 * in any order of all that have ended they come before. The rows are written by SQL, as copies of
 * one that jobq has stored. Each look is the first of a queue that was just opened. */

#define DEAD_PAGE 50

static void fill_ended(int64_t rows) {
    static const char fill[] =
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < %" PRId64 ")"
        " INSERT INTO jobq_row(id, state, lane, ord, run_at, kind, queue, priority, attempt, runs,"
        " crashes, delay_ms, side, finished_at, prune_at, payload)"
        " SELECT i, iif(i %% 1000, 2, 3), lane, ord, run_at, kind, queue, priority, 1, 1, 0, 0, 0,"
        " run_at, run_at + iif(i %% 1000, 1, 7) * 86400000 + i / 10, payload FROM n, jobq_row j"
        " WHERE j.id = 1; INSERT INTO jobq_failed SELECT prune_at, id FROM jobq_row"
        " WHERE state = 3 ORDER BY 1, 2; UPDATE jobq_claims SET last_id = %" PRId64;
    char sql[1000];
    sqlite3 *db = NULL;
    snprintf(sql, sizeof sql, fill, rows, rows);
    if (sqlite3_open(bench_queue_path(), &db) != SQLITE_OK
        || sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        bench_die("%s: %s", bench_queue_path(), sqlite3_errmsg(db));
    sqlite3_close(db);
}

static double first_page_ms(const struct bench_queue *how) {
    static jobq_info infos[DEAD_PAGE];
    struct bench_work none = {.jobs = 0};
    jobq *q = bench_queue_open(how, &none);
    jobq_filter filter = {.state = JOBQ_STATE_FAILED};
    jobq_cursor cursor = {.done = false};
    size_t count = 0;
    jobq_error err;
    int64_t begin = bench_now();
    int code = jobq_list(q, &filter, &cursor, infos, DEAD_PAGE, &count, &err);
    double ms = (double)(bench_now() - begin) * 1e-6;
    check(code, &err, "jobq_list");
    if (count != DEAD_PAGE) bench_die("%d failed jobs are told", (int)count);
    bench_queue_close(q);
    return ms;
}

static void dead(const struct bench *b, const void *arg) {
    (void)arg;
    struct bench_queue how = {.durability = JOBQ_RELAXED, .workers = WORKERS};
    struct bench_work none = {.jobs = 0};
    double *ms = bench_alloc(sizeof *ms * (size_t)b->pairs);
    jobq *q = bench_queue_open(&how, &none);
    bench_queue_enqueue(q, 1, 1);
    bench_queue_close(q);
    fill_ended(b->large ? 10000000 : 1000000);
    for (int i = 0; i < b->pairs; i++) ms[i] = first_page_ms(&how);
    struct bench_line line = {.what = b->large ? "first 50 failed beside 10 M done"
                                               : "first 50 failed beside 1 M done",
                              .unit = BENCH_MS, .jobq = bench_median(ms, b->pairs),
                              .against = BENCH_ABSENT, .ratio = BENCH_ABSENT,
                              .goal = BENCH_VALUE_MAX, .limit = 5};
    snprintf(line.note, sizeof line.note, "%d looks, slowest %.2f ms", b->pairs,
             ms[b->pairs - 1]);
    bench_report(b, &line);
    free(ms);
}

/* ---- counts: jobq_count, and a first page of which there is nothing, beside many jobs ---- */

#define COUNTS_CALLS 101

static double *time_looks(jobq *q, const jobq_filter *filter) {
    double *ms = bench_alloc(sizeof *ms * COUNTS_CALLS);
    for (int i = 0; i < COUNTS_CALLS; i++) {
        jobq_cursor cursor = {.done = false};
        jobq_counts counts;
        jobq_info info;
        jobq_error err;
        size_t count = 0;
        int64_t begin = bench_now();
        int code = filter ? jobq_list(q, filter, &cursor, &info, 1, &count, &err)
                          : jobq_count(q, &counts, &err);
        ms[i] = (double)(bench_now() - begin) * 1e-6;
        check(code, &err, filter ? "jobq_list" : "jobq_count");
        if (count) bench_die("a job was listed that is not there");
    }
    return ms;
}

static void report_looks(const struct bench *b, const char *what, double *ms) {
    struct bench_line line = {.what = what, .unit = BENCH_MS,
                              .jobq = bench_median(ms, COUNTS_CALLS),
                              .against = BENCH_ABSENT, .ratio = BENCH_ABSENT,
                              .goal = BENCH_VALUE_MAX, .limit = 1};
    snprintf(line.note, sizeof line.note, "%d calls, slowest %.2f ms", COUNTS_CALLS,
             ms[COUNTS_CALLS - 1]);
    bench_report(b, &line);
    free(ms);
}

/* The last ones are stored one by one, so that as many as may be are not counted yet. */
static void counts(const struct bench *b, const void *arg) {
    (void)arg;
    struct bench_queue how = {.durability = JOBQ_RELAXED, .workers = WORKERS};
    struct bench_work none = {.jobs = 0};
    const jobq_filter nothing = {.kind = BENCH_KIND, .state = JOBQ_STATE_FAILED};
    jobq *q = bench_queue_open(&how, &none);
    bench_queue_enqueue(q, b->large ? 10000000 : 1000000, FILL_BATCH);
    bench_queue_enqueue(q, 999, 1);
    report_looks(b, b->large ? "counts beside 10 M jobs" : "counts beside 1 M jobs",
                 time_looks(q, NULL));
    report_looks(b, b->large ? "a page of nothing beside 10 M jobs"
                             : "a page of nothing beside 1 M jobs", time_looks(q, &nothing));
    bench_queue_close(q);
}

/* ---- scheduled: lateness of 1 M jobs whose times are spread over the table at random ----
 *
 * First the capacity: the same rows, all due at one moment, and the rate of the first 200 k of
 * them. Then 1 M jobs due at random over so long that they come at half of that rate, and for each
 * handler start minus run_at. Rows that are due one after the other lie on different pages, so
 * a checkpoint is long; what one costs is measured on the floor's table of the same size. */

#define SCHEDULED_JOBS 1000000
#define CAPACITY_JOBS 200000
#define LOAD_MS_MAX 60000

static int64_t wall_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void take_lateness(struct bench_work *work, int64_t nth, const unsigned char *payload) {
    double *late_us = work->ctx;
    int64_t run_at_ms;
    memcpy(&run_at_ms, payload, sizeof run_at_ms);
    if (nth <= work->jobs) late_us[nth - 1] = (double)(wall_us() - run_at_ms * 1000);
}

/* Stores the jobs, due at random between from_ms and from_ms + span_ms. */
static void schedule(jobq *q, int64_t from_ms, int64_t span_ms) {
    static unsigned char payload[FILL_BATCH][FLOOR_PAYLOAD_SIZE];
    static jobq_job jobs[FILL_BATCH];
    uint64_t random = 1;
    jobq_error err;
    memset(payload, FLOOR_PAYLOAD_BYTE, sizeof payload);
    for (int64_t stored = 0; stored < SCHEDULED_JOBS; stored += FILL_BATCH) {
        for (int i = 0; i < FILL_BATCH; i++) {
            int64_t at = from_ms + (int64_t)(bench_random(&random) % (uint64_t)span_ms);
            memcpy(payload[i], &at, sizeof at);
            jobs[i] = (jobq_job){.kind = BENCH_KIND, .payload = payload[i],
                                 .size = FLOOR_PAYLOAD_SIZE, .run_at_ms = at};
        }
        check(jobq_enqueue_many(q, jobs, FILL_BATCH, NULL, &err), &err, "jobq_enqueue_many");
    }
    if (wall_us() / 1000 >= from_ms) bench_die("scheduling took longer than expected");
}

/* Jobs per second when all are due at once; *load_ms is how long storing them took. */
static double scheduled_capacity(const struct bench_queue *how, int64_t *load_ms) {
    struct bench_work work = {.jobs = CAPACITY_JOBS, .mark_from = 1000, .mark_to = CAPACITY_JOBS};
    jobq *q = bench_queue_open(how, &work);
    int64_t begin_ms = wall_us() / 1000, due_ms = begin_ms + LOAD_MS_MAX;
    schedule(q, due_ms, 1000);
    *load_ms = wall_us() / 1000 - begin_ms;
    bench_sleep_until(bench_now() + (due_ms + 1000) * 1000000 - wall_us() * 1000);
    bench_queue_start(q);
    while (__atomic_load_n(&work.begun, __ATOMIC_RELAXED) <= CAPACITY_JOBS) {
        bench_sleep_until(bench_now() + SECOND_NS / 100);
    }
    bench_queue_close(q);
    bench_remove_files();
    return (double)(work.mark_to - work.mark_from) * 1e9 / (double)(work.to_ns - work.from_ns);
}

static double checkpoint_ms(void) {
    double ms[9];
    struct floor *f = floor_open(bench_floor_path(), false, 0);
    floor_enqueue(f, SCHEDULED_JOBS, FILL_BATCH);
    for (int i = 0; i < 9; i++) ms[i] = floor_checkpoint_ms(f, floor_log_pages(f));
    floor_close(f);
    bench_remove_files();
    return bench_median(ms, 9);
}

static void scheduled(const struct bench *b, const void *arg) {
    (void)arg;
    struct bench_queue how = {.durability = JOBQ_RELAXED, .workers = WORKERS};
    int64_t load_ms = 0;
    double checkpoint = checkpoint_ms();
    double capacity = scheduled_capacity(&how, &load_ms);
    double *late_us = bench_alloc(sizeof *late_us * SCHEDULED_JOBS);
    struct bench_work work = {.jobs = SCHEDULED_JOBS, .on_job = take_lateness, .ctx = late_us};
    jobq *q = bench_queue_open(&how, &work);
    bench_queue_start(q);
    schedule(q, wall_us() / 1000 + 2 * load_ms + 2000,
             (int64_t)(SCHEDULED_JOBS / (capacity / 2) * 1000));
    bench_queue_await(q, &work);
    bench_queue_close(q);
    struct bench_line line = {.what = "lateness of 1 M scheduled jobs, half of capacity, p50",
                              .unit = BENCH_MS,
                              .jobq = bench_percentile(late_us, SCHEDULED_JOBS, 50) * 1e-3,
                              .against = BENCH_ABSENT, .ratio = BENCH_ABSENT,
                              .goal = BENCH_VALUE_MAX, .limit = 1};
    snprintf(line.note, sizeof line.note, "capacity %.3g k/s", capacity * 1e-3);
    if (late_us[0] < 0) bench_die("a scheduled job ran %.0f us too early", -late_us[0]);
    bench_report(b, &line);
    line.what = "lateness of 1 M scheduled jobs, p99";
    line.jobq = bench_percentile(late_us, SCHEDULED_JOBS, 99) * 1e-3;
    line.limit = checkpoint + 2;
    snprintf(line.note, sizeof line.note, "a checkpoint takes %.1f ms; goal: that and 2 ms",
             checkpoint);
    bench_report(b, &line);
    free(late_us);
}

/* ---- get: jobq_get beside a pool that is drained, with its commits and checkpoints ---- */

#define GET_SAMPLES 5000
#define GET_JOBS 200000

static void get_beside(const struct bench *b, const void *arg) {
    struct bench_work work = {.jobs = GET_JOBS};
    struct bench_queue how = {.durability = JOBQ_DURABLE, .workers = 1};
    jobq *q = bench_queue_open(&how, &work);
    double *took = bench_alloc(sizeof *took * GET_SAMPLES);
    jobq_job later = {.kind = BENCH_KIND, .delay_ms = JOBQ_DAY};
    jobq_stats stats = {.done = 0};
    jobq_info info;
    jobq_error err;
    int64_t id = 0;
    int n = 0;
    (void)arg;
    check(jobq_enqueue(q, &later, &id, &err), &err, "jobq_enqueue");
    bench_queue_enqueue(q, GET_JOBS, 1000);
    bench_queue_start(q);
    while (n < GET_SAMPLES && stats.done < GET_JOBS) {
        int64_t begin = bench_now();
        check(jobq_get(q, id, &info, &err), &err, "jobq_get");
        took[n++] = (double)(bench_now() - begin) * 1e-3;
        bench_sleep_until(bench_now() + 200000);
        check(jobq_stat(q, &stats, &err), &err, "jobq_stat");
    }
    bench_queue_await(q, &work);
    check(jobq_stat(q, &stats, &err), &err, "jobq_stat");
    struct bench_line line = {.what = "jobq_get beside checkpoints, DURABLE, p99",
                              .unit = BENCH_US, .jobq = bench_percentile(took, n, 99),
                              .against = BENCH_ABSENT, .ratio = BENCH_ABSENT,
                              .goal = BENCH_FOR_INFORMATION};
    snprintf(line.note, sizeof line.note, "p50 %.0f us, longest %.0f us, %d calls, %d checkpoints",
             bench_percentile(took, n, 50), bench_percentile(took, n, 100), n,
             (int)stats.checkpoints);
    bench_report(b, &line);
    bench_queue_close(q);
    free(took);
}

const struct bench_row bench_delay_rows[] = {
    {"get", get_beside, NULL, false},
    {"start-relaxed-2ms", paced, &paced_relaxed_2, false},
    {"start-relaxed-20ms", paced, &paced_relaxed_20, false},
    {"start-durable-2ms", paced, &paced_durable_2, false},
    {"start-durable-20ms", paced, &paced_durable_20, false},
    {"scheduled", scheduled, NULL, true},
    {"recover", recover, NULL, false},
    {"dead", dead, NULL, false},
    {"counts", counts, NULL, false},
    {"idle", idle, NULL, false},
    {NULL, NULL, NULL, false},
};
