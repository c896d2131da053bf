/* rows_speed.c - how many jobs a second: enqueue, drain, both at once, many threads.
 *
 * The same work on both sides: jobs with a payload of 100 bytes, one kind, one queue, no handler
 * to speak of. Files are opened and schemas made before the time is taken, and closed after. */
#include "bench.h"

#include <stdio.h>

#define WORKERS 2

static double per_second(int64_t jobs, int64_t begin_ns) {
    return (double)jobs * 1e9 / (double)(bench_now() - begin_ns);
}

static void report_pair(const struct bench *b, const char *what, struct bench_pair pair,
                        enum bench_goal goal, double limit) {
    struct bench_line line = {.what = what, .unit = BENCH_RATE, .jobq = pair.jobq,
                              .against = pair.against, .ratio = pair.ratio, .goal = goal,
                              .limit = limit};
    bench_report(b, &line);
}

/* ---- enqueue: jobq_enqueue or jobq_enqueue_many against enqueue_bN; no pool is started ---- */

#define SQLITE_PAGES 4096

struct enqueue {
    const char *what;
    jobq_durability durability;
    int64_t jobs;
    int batch;
    double goal; /* 0 = for information */
    int page_size; /* jobq's, against a floor with SQLite's default; 0: jobq's default, both */
};

static double enqueue_floor(const void *arg) {
    const struct enqueue *e = arg;
    struct floor *f = floor_open(bench_floor_path(), e->durability == JOBQ_DURABLE,
                                 e->page_size ? SQLITE_PAGES : 0);
    int64_t begin = bench_now();
    floor_enqueue(f, e->jobs, e->batch);
    double rate = per_second(e->jobs, begin);
    floor_close(f);
    return rate;
}

static double enqueue_as(const struct enqueue *e, bool alone) {
    struct bench_work work = {.jobs = 0};
    struct bench_queue how = {.durability = e->durability, .workers = WORKERS,
                              .page_size = e->page_size, .exclusive = alone};
    jobq *q = bench_queue_open(&how, &work);
    int64_t begin = bench_now();
    bench_queue_enqueue(q, e->jobs, e->batch);
    double rate = per_second(e->jobs, begin);
    bench_queue_close(q);
    return rate;
}

static double enqueue_jobq(const void *arg) {
    return enqueue_as(arg, false);
}

/* The same with the file for itself. */
static double enqueue_exclusive(const void *arg) {
    return enqueue_as(arg, true);
}

static void exclusive(const struct bench *b, const void *arg) {
    const struct enqueue *e = arg;
    report_pair(b, e->what, bench_pairs(b->pairs, enqueue_jobq, enqueue_exclusive, e),
                BENCH_RATIO_MIN, e->goal);
}

static void enqueue(const struct bench *b, const void *arg) {
    const struct enqueue *e = arg;
    struct bench_pair pair = bench_pairs(b->pairs, enqueue_floor, enqueue_jobq, e);
    report_pair(b, e->what, pair, e->goal > 0 ? BENCH_RATIO_MIN : BENCH_FOR_INFORMATION, e->goal);
}

static const struct enqueue
    enqueue_one = {"enqueue one by one, RELAXED / floor", JOBQ_RELAXED, 50000, 1, 0.9, 0},
    enqueue_many = {"enqueue by 1000, RELAXED / floor", JOBQ_RELAXED, 300000, 1000, 0.8, 0},
    enqueue_durable = {"enqueue one by one, DURABLE / floor", JOBQ_DURABLE, 5000, 1, 0, 0},
    enqueue_alone = {"enqueue one by one, RELAXED, exclusive / not", JOBQ_RELAXED, 50000, 1, 1.15,
                     0},
    enqueue_4k = {"pages of 4 KiB: enqueue one by one / floor at 4 KiB",
                  JOBQ_RELAXED, 50000, 1, 0, 4096},
    enqueue_2k = {"pages of 2 KiB: enqueue one by one / floor at 4 KiB",
                  JOBQ_RELAXED, 50000, 1, 1.25, 2048},
    enqueue_1k = {"pages of 1 KiB: enqueue one by one / floor at 4 KiB",
                  JOBQ_RELAXED, 50000, 1, 0, 1024};

/* ---- drain: from jobq_start until the last outcome is committed against cycle_b256 ---- */

struct drain {
    const char *what;
    jobq_durability durability;
    int workers;
    bool keep_done; /* and so does the floor */
    double goal;
    int page_size; /* as above */
};

#define DRAIN_JOBS 200000
#define DRAIN_BATCH 256

static double drain_floor(const void *arg) {
    const struct drain *d = arg;
    struct floor *f = floor_open(bench_floor_path(), d->durability == JOBQ_DURABLE,
                                 d->page_size ? SQLITE_PAGES : 0);
    if (d->keep_done) floor_keep(f);
    floor_enqueue(f, DRAIN_JOBS, 1000);
    int64_t begin = bench_now();
    if (floor_cycle(f, DRAIN_BATCH) != DRAIN_JOBS) bench_die("the floor has lost jobs");
    double rate = per_second(DRAIN_JOBS, begin);
    floor_close(f);
    return rate;
}

static double drain_jobq(const void *arg) {
    const struct drain *d = arg;
    struct bench_work work = {.jobs = DRAIN_JOBS};
    struct bench_queue how = {.durability = d->durability, .workers = d->workers,
                              .keep_done = d->keep_done, .page_size = d->page_size};
    jobq *q = bench_queue_open(&how, &work);
    bench_queue_enqueue(q, DRAIN_JOBS, 1000);
    int64_t begin = bench_now();
    bench_queue_start(q);
    bench_queue_await(q, &work);
    double rate = per_second(DRAIN_JOBS, begin);
    bench_queue_close(q);
    return rate;
}

static void drain(const struct bench *b, const void *arg) {
    const struct drain *d = arg;
    struct bench_pair pair = bench_pairs(b->pairs, drain_floor, drain_jobq, d);
    report_pair(b, d->what, pair, d->goal > 0 ? BENCH_RATIO_MIN : BENCH_FOR_INFORMATION, d->goal);
}

static const struct drain
    drain_relaxed_1 = {"drain, 1 worker, RELAXED / floor by 256", JOBQ_RELAXED, 1, false, 0.8, 0},
    drain_relaxed_2 = {"drain, 2 workers, RELAXED / floor by 256", JOBQ_RELAXED, 2, false, 0.8, 0},
    drain_durable_1 = {"drain, 1 worker, DURABLE / floor by 256", JOBQ_DURABLE, 1, false, 0.8, 0},
    drain_durable_2 = {"drain, 2 workers, DURABLE / floor by 256", JOBQ_DURABLE, 2, false, 0.8, 0},
    drain_kept = {"drain, 1 worker, RELAXED, kept / floor that keeps", JOBQ_RELAXED, 1, true, 0.85,
                  0},
    drain_4k = {"pages of 4 KiB: drain, 1 worker / floor at 4 KiB",
                  JOBQ_RELAXED, 1, false, 0, 4096},
    drain_2k = {"pages of 2 KiB: drain, 1 worker / floor at 4 KiB",
                  JOBQ_RELAXED, 1, false, 0.85, 2048},
    drain_1k = {"pages of 1 KiB: drain, 1 worker / floor at 4 KiB",
                  JOBQ_RELAXED, 1, false, 0, 1024};

/* ---- one producer: enqueue one by one while the pool runs the jobs against enqueue alone ---- */

#define PRODUCER_JOBS 6000

/* One run of each side; the time until the last job was settled is told in the note. */
static double settled_rate[1000];
static int settled_runs;

static double produce(bool pool_runs) {
    struct bench_work work = {.jobs = PRODUCER_JOBS};
    struct bench_queue how = {.durability = JOBQ_DURABLE, .workers = WORKERS};
    jobq *q = bench_queue_open(&how, &work);
    if (pool_runs) bench_queue_start(q);
    int64_t begin = bench_now();
    bench_queue_enqueue(q, PRODUCER_JOBS, 1);
    double rate = per_second(PRODUCER_JOBS, begin);
    if (pool_runs) {
        bench_queue_await(q, &work);
        settled_rate[settled_runs++] = per_second(PRODUCER_JOBS, begin);
    }
    bench_queue_close(q);
    return rate;
}

static double produce_alone(const void *arg) {
    (void)arg;
    return produce(false);
}

static double produce_and_run(const void *arg) {
    (void)arg;
    return produce(true);
}

static void producer(const struct bench *b, const void *arg) {
    struct bench_line line = {.what = "one producer with the pool, DURABLE / producer alone",
                              .unit = BENCH_RATE, .goal = BENCH_RATIO_MIN, .limit = 0.8};
    settled_runs = 0;
    struct bench_pair pair = bench_pairs(b->pairs, produce_alone, produce_and_run, arg);
    line.jobq = pair.jobq;
    line.against = pair.against;
    line.ratio = pair.ratio;
    snprintf(line.note, sizeof line.note, "enqueued and all done at %.3g k/s",
             bench_median(settled_rate, settled_runs) * 1e-3);
    bench_report(b, &line);
}

/* ---- many threads enqueue one by one, DURABLE, against one thread; no pool is started ---- */

#define THREADS 64

struct crowd {
    jobq *q;
    int64_t jobs_each;
    pthread_barrier_t gate;
};

static void *crowd_thread(void *arg) {
    struct crowd *crowd = arg;
    pthread_barrier_wait(&crowd->gate);
    bench_queue_enqueue(crowd->q, crowd->jobs_each, 1);
    return NULL;
}

static double crowd_rate(int threads, int64_t jobs_each) {
    pthread_t thread[THREADS];
    struct crowd crowd = {.jobs_each = jobs_each};
    struct bench_work work = {.jobs = 0};
    struct bench_queue how = {.durability = JOBQ_DURABLE, .workers = WORKERS};
    crowd.q = bench_queue_open(&how, &work);
    pthread_barrier_init(&crowd.gate, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&thread[i], NULL, crowd_thread, &crowd)) bench_die("pthread_create");
    }
    pthread_barrier_wait(&crowd.gate);
    int64_t begin = bench_now();
    for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    double rate = per_second(threads * jobs_each, begin);
    pthread_barrier_destroy(&crowd.gate);
    bench_queue_close(crowd.q);
    return rate;
}

static double crowd_of_one(const void *arg) {
    (void)arg;
    return crowd_rate(1, 5000);
}

static double crowd_of_many(const void *arg) {
    (void)arg;
    return crowd_rate(THREADS, 1000);
}

static void crowds(const struct bench *b, const void *arg) {
    struct bench_pair pair = bench_pairs(b->pairs, crowd_of_one, crowd_of_many, arg);
    report_pair(b, "enqueue with 64 threads, DURABLE / 1 thread", pair, BENCH_RATIO_MIN, 10);
}

const struct bench_row bench_speed_rows[] = {
    {"enqueue-one", enqueue, &enqueue_one, false},
    {"enqueue-many", enqueue, &enqueue_many, false},
    {"enqueue-durable", enqueue, &enqueue_durable, false},
    {"exclusive", exclusive, &enqueue_alone, false},
    {"drain-relaxed-1", drain, &drain_relaxed_1, false},
    {"drain-relaxed-2", drain, &drain_relaxed_2, false},
    {"drain-durable-1", drain, &drain_durable_1, false},
    {"drain-durable-2", drain, &drain_durable_2, false},
    {"drain-kept", drain, &drain_kept, false},
    {"pages-enqueue-4k", enqueue, &enqueue_4k, false},
    {"pages-enqueue-2k", enqueue, &enqueue_2k, false},
    {"pages-enqueue-1k", enqueue, &enqueue_1k, false},
    {"pages-drain-4k", drain, &drain_4k, false},
    {"pages-drain-2k", drain, &drain_2k, false},
    {"pages-drain-1k", drain, &drain_1k, false},
    {"producer", producer, NULL, false},
    {"threads", crowds, NULL, false},
    {NULL, NULL, NULL, false},
};
