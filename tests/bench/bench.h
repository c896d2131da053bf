/* bench.h - what the rows of the benchmark have in common: files, clock, samples, pairs, report.
 *
 * A row is one entry of a table in rows_*.c and one function, which measures and reports one or
 * more lines. Where a line is a ratio, the two sides are measured in turn, in this process, each
 * time on a fresh file (bench_pairs), and the ratio is the median of the ratios of the pairs.
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* RUSAGE_THREAD, wait4, mallinfo2 */
#endif

#include "../../jobq.h"

#include "floor.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bench {
    int pairs;         /* most pairs of one line */
    bool markdown;
    bool large;        /* the long rows too, and 10 M rows where it is else 1 M */
    double code_bytes; /* of jobq.o at -Os, as the script has found it; 0 = not known */
};

struct bench_row {
    const char *name;  /* NULL ends a table */
    void (*run)(const struct bench *b, const void *arg);
    const void *arg;
    bool large;        /* only when asked for */
};

/* KiB, of this process: the row "heap". */
double bench_heap_kib(void);

extern const struct bench_row bench_speed_rows[], bench_delay_rows[], bench_cost_rows[],
    bench_slice_rows[];

/* ---- report ---- */

enum bench_unit { BENCH_RATE, BENCH_US, BENCH_MS, BENCH_BYTES, BENCH_KIB, BENCH_COUNT };
enum bench_goal { BENCH_FOR_INFORMATION, BENCH_RATIO_MIN, BENCH_RATIO_MAX, BENCH_VALUE_MAX };

#define BENCH_ABSENT (-1e300) /* a figure that there is not */

struct bench_line {
    const char *what;
    enum bench_unit unit;
    double jobq, against, ratio; /* each may be BENCH_ABSENT */
    enum bench_goal goal;
    double limit;
    char note[200];
};

void bench_report(const struct bench *b, const struct bench_line *line);

/* ---- samples ---- */

/* Measures one side once, on fresh files, and returns the figure. */
typedef double (*bench_sample)(const void *arg);

struct bench_pair {
    double jobq, against, ratio; /* medians; ratio is of the ratios of the pairs */
};

/* The other side, jobq, the other side, jobq, and so on; files are removed after each. */
struct bench_pair bench_pairs(int pairs, bench_sample against, bench_sample ours, const void *arg);

int bench_at_most(int pairs, int most);
double bench_median(double *values, int count);                       /* sorts */
double bench_percentile(double *values, int count, double percent);   /* sorts */

/* The sample in a process of its own; *peak_kib (may be NULL) is its peak of resident memory. */
double bench_in_child(bench_sample sample, const void *arg, double *peak_kib);

/* ---- files, clock, memory ---- */

const char *bench_directory(void);
const char *bench_queue_path(void);
const char *bench_floor_path(void);
void bench_remove_files(void);

int64_t bench_now(void);                 /* ns, monotonic */
void bench_sleep_until(int64_t now_ns);  /* of the same clock */
uint64_t bench_random(uint64_t *state);  /* the same numbers in every run */
void *bench_alloc(size_t size);          /* zeroed; ends the program if memory is out */
void bench_die(const char *format, ...) JOBQ_PRINTF(1, 2);

/* ---- the queue under test: bench_queue.c ---- */

#define BENCH_KIND "bench"

/* What the handler does, and who waits for it. The plain handler looks at its payload, so that no
 * job is counted whose payload was not there, and counts. on_job may be NULL. */
struct bench_work {
    int64_t jobs;                 /* how many there will be */
    int64_t begun;                /* handlers called; atomic */
    int64_t wrong;                /* of them, with a payload that is not ours; atomic */
    bool empty;                   /* the jobs have no payload */
    int64_t mark_from, mark_to;   /* at these counts the time is taken; 0 = never */
    int64_t from_ns, to_ns;
    void (*on_job)(struct bench_work *work, int64_t nth, const unsigned char *payload);
    void *ctx;
    pthread_mutex_t lock;
    pthread_cond_t all_begun;
};

struct bench_queue {
    jobq_durability durability;
    int workers;
    bool keep_done;               /* else finished jobs are dropped */
    int page_size;                /* 0: the default */
    bool exclusive;
};

/* Opens bench_queue_path with the floor's checkpoint pages and registers BENCH_KIND. */
jobq *bench_queue_open(const struct bench_queue *how, struct bench_work *work);
void bench_queue_close(jobq *q);
void bench_queue_start(jobq *q);

/* Stores so many jobs with the floor's payload: one a call, or batch (at most 1000) a call. */
void bench_queue_enqueue(jobq *q, int64_t jobs, int batch);

/* Until work->jobs jobs have been run and settled. */
void bench_queue_await(jobq *q, struct bench_work *work);

#endif
