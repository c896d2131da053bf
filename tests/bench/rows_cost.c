/* rows_cost.c - what it takes: bytes written, a long backlog, memory, code. */
#include "bench.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 33))
#define HAVE_MALLINFO2 1
#include <malloc.h>
#endif

static void check(int code, const jobq_error *err, const char *what) {
    if (code != JOBQ_OK) bench_die("%s: %s: %s", what, jobq_code_name(code), err->text);
}

/* ---- bytes: what the process hands to write(2) per job, log and database ----
 *
 * From an open file to the end of close, so that nothing is left over in the log on either side;
 * the cycle rows begin when the jobs are stored. Shared memory is mapped and not counted. */

enum work_kind {
    STORE,            /* enqueue, batch jobs a transaction */
    STORE_AND_DRAIN,  /* that and the drain by batches: the pool with 1 worker against cycle_bN */
    CYCLE,            /* jobq_run_until_idle against cycle_b1: both settle one job and claim the
                         next in one commit */
    STEP              /* jobq_step against cycle_b1: jobq_step commits twice a job, because the
                         outcome is durable when it returns and nothing is claimed ahead */
};

struct bytes {
    const char *what;
    enum work_kind kind;
    int64_t jobs;
    int batch;
    double goal;
};

/* -1 where the system does not tell. */
static int64_t bytes_written(void) {
    char row[128];
    long long bytes = -1;
    FILE *file = fopen("/proc/self/io", "r");
    if (!file) return -1;
    while (fgets(row, sizeof row, file)) {
        if (sscanf(row, "wchar: %lld", &bytes) == 1) break;
    }
    fclose(file);
    return bytes;
}

static double bytes_floor(const void *arg) {
    const struct bytes *w = arg;
    struct floor *f = floor_open(bench_floor_path(), false, 0);
    int64_t before = bytes_written();
    if (w->kind == CYCLE || w->kind == STEP) {
        floor_enqueue(f, w->jobs, 1000);
        before = bytes_written();
    } else {
        floor_enqueue(f, w->jobs, w->batch);
    }
    if (w->kind != STORE && floor_cycle(f, w->batch) != w->jobs) {
        bench_die("the floor has lost jobs");
    }
    floor_close(f);
    return (double)(bytes_written() - before) / (double)w->jobs;
}

static void run_here(jobq *q, const struct bytes *w) {
    jobq_error err;
    int64_t total = 0;
    if (w->kind == CYCLE) {
        check(jobq_run_until_idle(q, &total, &err), &err, "jobq_run_until_idle");
    } else {
        for (int ran = 1; ran; total += ran) {
            check(jobq_step(q, &ran, &err), &err, "jobq_step");
        }
    }
    if (total != w->jobs) bench_die("%lld jobs were run", (long long)total);
}

static double bytes_jobq(const void *arg) {
    const struct bytes *w = arg;
    bool here = w->kind == CYCLE || w->kind == STEP;
    struct bench_work work = {.jobs = w->jobs};
    struct bench_queue how = {.durability = JOBQ_RELAXED, .workers = here ? JOBQ_NONE : 1};
    jobq *q = bench_queue_open(&how, &work);
    int64_t before = bytes_written();
    if (here) {
        bench_queue_enqueue(q, w->jobs, 1000);
        before = bytes_written();
        run_here(q, w);
    } else {
        bench_queue_enqueue(q, w->jobs, w->batch);
    }
    if (w->kind == STORE_AND_DRAIN) {
        bench_queue_start(q);
        bench_queue_await(q, &work);
    }
    bench_queue_close(q);
    return (double)(bytes_written() - before) / (double)w->jobs;
}

static void bytes(const struct bench *b, const void *arg) {
    const struct bytes *w = arg;
    struct bench_line line = {.what = w->what, .unit = BENCH_BYTES, .jobq = BENCH_ABSENT,
                              .against = BENCH_ABSENT, .ratio = BENCH_ABSENT,
                              .goal = w->goal > 0 ? BENCH_RATIO_MAX : BENCH_FOR_INFORMATION,
                              .limit = w->goal};
    if (bytes_written() >= 0) {
        int pairs = bench_at_most(b->pairs, 3); /* hardly scatters */
        struct bench_pair pair = bench_pairs(pairs, bytes_floor, bytes_jobq, w);
        line.jobq = pair.jobq;
        line.against = pair.against;
        line.ratio = pair.ratio;
    }
    bench_report(b, &line);
}

static const struct bytes
    bytes_256 = {"bytes per job, enqueue and drain by 256 / floor", STORE_AND_DRAIN, 200000, 256,
                 1.2},
    bytes_enqueue = {"bytes per job, enqueue one by one / floor", STORE, 20000, 1, 1.05},
    bytes_cycle = {"bytes per job, run_until_idle / floor's cycle by 1", CYCLE, 20000, 1, 1.5},
    bytes_step = {"bytes per job, jobq_step / floor's cycle by 1", STEP, 20000, 1, 0};

/* ---- large: what is written of a payload of 1 MiB once it is stored ----
 *
 * Bytes that a job takes from its enqueue to its end, and then those that the enqueue took: the
 * payload goes into the log once. Each job is due later, fails, is tried again, and is kept. The
 * log is not copied meanwhile. */

enum { LARGE_JOBS = 16, LARGE_SIZE = 1024 * 1024 };

static jobq_outcome fail_once(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_run_attempt(run) == 1 ? jobq_retry(run, "once more") : JOBQ_DONE;
}

static double large_after(double *enqueue) {
    static unsigned char payload[LARGE_SIZE];
    jobq_clock *clock = jobq_clock_artificial(0);
    jobq_options options = {.durability = JOBQ_RELAXED, .workers = JOBQ_NONE, .clock = clock,
                            .wal_pages = 100000};
    jobq_kind kind = {.name = BENCH_KIND, .run = fail_once};
    jobq_job job = {.kind = BENCH_KIND, .payload = payload, .size = LARGE_SIZE, .delay_ms = 1};
    jobq_stats stats;
    jobq_error err;
    jobq *q = NULL;
    int64_t before = bytes_written(), stored, end;
    check(jobq_open(bench_queue_path(), &options, &q, &err), &err, "jobq_open");
    check(jobq_register(q, &kind, &err), &err, "jobq_register");
    for (int i = 0; i < LARGE_JOBS; i++) check(jobq_enqueue(q, &job, NULL, &err), &err, "enqueue");
    stored = bytes_written();
    check(jobq_advance(q, JOBQ_HOUR, NULL, &err), &err, "jobq_advance");
    end = bytes_written();
    check(jobq_stat(q, &stats, &err), &err, "jobq_stat");
    if (stats.done != LARGE_JOBS) bench_die("%lld jobs are done", (long long)stats.done);
    bench_queue_close(q);
    jobq_clock_free(clock);
    *enqueue = (double)(stored - before) / LARGE_JOBS;
    return (double)(end - stored) / LARGE_JOBS;
}

static void large(const struct bench *b, const void *arg) {
    double enqueue = 0, after;
    struct bench_line line = {.what = "1 MiB, retried and kept: bytes / those of its enqueue",
                              .unit = BENCH_BYTES, .jobq = BENCH_ABSENT, .against = BENCH_ABSENT,
                              .ratio = BENCH_ABSENT, .goal = BENCH_RATIO_MAX, .limit = 0.1};
    (void)arg;
    if (bytes_written() >= 0) {
        after = large_after(&enqueue);
        bench_remove_files();
        line.jobq = after;
        line.against = enqueue;
        line.ratio = after / enqueue;
    }
    bench_report(b, &line);
}

/* ---- backlog: the pool's rate in the middle of a drain, 1 M jobs waiting against 10 k ----
 *
 * Each side in a process of its own, so that its peak of memory is its own. The rate is taken from
 * the handlers between 5 % and 95 % of a drain: with 10 k jobs start and end would weigh. 10 k are
 * drained 20 times, pool stopped in between, and the median taken. */

#define SMALL_BACKLOG 10000
#define SMALL_ROUNDS 20

struct backlog {
    int64_t jobs;
    int rounds;
};

static double drain_backlog(const void *arg) {
    const struct backlog *g = arg;
    double rate[SMALL_ROUNDS];
    struct bench_queue how = {.durability = JOBQ_RELAXED, .workers = 2};
    struct bench_work work = {.jobs = 0};
    jobq_error err;
    jobq *q = bench_queue_open(&how, &work);
    for (int i = 0; i < g->rounds; i++) {
        bench_queue_enqueue(q, g->jobs, 1000);
        work.mark_from = work.jobs + g->jobs / 20;
        work.mark_to = work.jobs + g->jobs - g->jobs / 20;
        work.jobs += g->jobs;
        bench_queue_start(q);
        bench_queue_await(q, &work);
        check(jobq_stop(q, 0, &err), &err, "jobq_stop");
        rate[i] = (double)(work.mark_to - work.mark_from) * 1e9
                  / (double)(work.to_ns - work.from_ns);
    }
    bench_queue_close(q);
    return bench_median(rate, g->rounds);
}

static void backlog(const struct bench *b, const void *arg) {
    (void)arg;
    struct backlog small = {SMALL_BACKLOG, SMALL_ROUNDS};
    struct backlog large = {b->large ? 10000000 : 1000000, 1};
    int pairs = bench_at_most(b->pairs, b->large ? 3 : 5);
    double a[5], c[5], ratio[5], growth[5], small_kib = 0, large_kib = 0;
    for (int i = 0; i < pairs; i++) {
        a[i] = bench_in_child(drain_backlog, &small, &small_kib);
        bench_remove_files();
        c[i] = bench_in_child(drain_backlog, &large, &large_kib);
        bench_remove_files();
        ratio[i] = c[i] / a[i];
        growth[i] = large_kib - small_kib;
    }
    struct bench_line line = {.what = b->large ? "drain with 10 M waiting / 10 k"
                                               : "drain with 1 M waiting / 10 k",
                              .unit = BENCH_RATE, .jobq = bench_median(c, pairs),
                              .against = bench_median(a, pairs),
                              .ratio = bench_median(ratio, pairs), .goal = BENCH_RATIO_MIN,
                              .limit = 0.8};
    snprintf(line.note, sizeof line.note, "%d pairs; peak of memory %+.0f KiB (in all %.0f KiB)",
             pairs, bench_median(growth, pairs), large_kib);
    bench_report(b, &line);
}

/* ---- heap: what malloc has given out above what SQLite holds, 4 workers in full run ----
 *
 * Looked at by every 500th handler; the largest counts. Payloads aside: the jobs have none. glibc
 * counts what its threads keep for later as given out, up to 100 KiB here, so the sample is taken
 * by a program that has that switched off: malloc's caches are neither jobq's nor SQLite's. */

struct heap {
    double before, most;
};

#ifdef HAVE_MALLINFO2
/* For each of its allocations SQLite notes the size, and malloc something of its own: 8 bytes each,
 * which SQLite does not count. Its schema alone is thousands of them. */
static double heap_above_sqlite(void) {
    struct mallinfo2 info = mallinfo2();
    sqlite3_int64 count = 0, most;
    sqlite3_status64(SQLITE_STATUS_MALLOC_COUNT, &count, &most, 0);
    return (double)info.uordblks + (double)info.hblkhd - (double)sqlite3_memory_used()
         - 16.0 * (double)count;
}

static void take_heap(struct bench_work *work, int64_t nth, const unsigned char *payload) {
    struct heap *heap = work->ctx;
    (void)payload;
    if (nth % 500 != 0) return;
    double now = heap_above_sqlite();
    pthread_mutex_lock(&work->lock);
    if (now > heap->most) heap->most = now;
    pthread_mutex_unlock(&work->lock);
}

double bench_heap_kib(void) {
    struct heap heap = {heap_above_sqlite(), 0};
    struct bench_work work = {.jobs = 50000, .on_job = take_heap, .ctx = &heap, .empty = true};
    struct bench_queue how = {.durability = JOBQ_RELAXED, .workers = 4};
    jobq *q = bench_queue_open(&how, &work);
    jobq_job rows[1000];
    for (int i = 0; i < 1000; i++) rows[i] = (jobq_job){.kind = BENCH_KIND};
    for (int64_t done = 0; done < work.jobs; done += 1000)
        if (jobq_enqueue_many(q, rows, 1000, NULL, NULL) != JOBQ_OK)
            bench_die("the jobs could not be stored");
    bench_queue_start(q);
    bench_queue_await(q, &work);
    bench_queue_close(q);
    return (heap.most - heap.before) / 1024;
}

static double heap_of_another(void) {
    char program[1024], command[2200], line[64] = "";
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) return BENCH_ABSENT;
    program[length] = 0;
    snprintf(command, sizeof command, "GLIBC_TUNABLES=glibc.malloc.tcache_count=0 '%s' --dir '%s'"
             " --heap", program, bench_directory());
    FILE *other = popen(command, "r");
    if (!other || !fgets(line, sizeof line, other)) bench_die("%s: no figure", command);
    pclose(other);
    return strtod(line, NULL);
}
#else
double bench_heap_kib(void) { return BENCH_ABSENT; }
static double heap_of_another(void) { return BENCH_ABSENT; }
#endif

static void heap(const struct bench *b, const void *arg) {
    (void)arg;
    struct bench_line line = {.what = "heap above SQLite's, 4 workers", .unit = BENCH_KIB,
                              .jobq = heap_of_another(), .against = BENCH_ABSENT,
                              .ratio = BENCH_ABSENT, .goal = BENCH_VALUE_MAX, .limit = 256,
                              .note = "payloads and malloc's caches aside"};
    bench_report(b, &line);
}

/* ---- code: text of jobq.o at -Os; the script compiles it and tells ---- */

static void code(const struct bench *b, const void *arg) {
    (void)arg;
    struct bench_line line = {.what = "code at -Os", .unit = BENCH_KIB,
                              .jobq = b->code_bytes > 0 ? b->code_bytes / 1024 : BENCH_ABSENT,
                              .against = BENCH_ABSENT, .ratio = BENCH_ABSENT,
                              .goal = BENCH_VALUE_MAX, .limit = 200};
    bench_report(b, &line);
}

const struct bench_row bench_cost_rows[] = {
    {"bytes-256", bytes, &bytes_256, false},
    {"bytes-enqueue", bytes, &bytes_enqueue, false},
    {"bytes-cycle", bytes, &bytes_cycle, false},
    {"bytes-step", bytes, &bytes_step, false},
    {"large", large, NULL, false},
    {"backlog", backlog, NULL, false},
    {"heap", heap, NULL, false},
    {"code", code, NULL, false},
    {NULL, NULL, NULL, false},
};
