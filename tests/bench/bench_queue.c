/* bench_queue.c - the queue under test: opened, filled, drained and watched the same way by all
 * rows. Every call is checked; a failure ends the program. */
#include "bench.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define BATCH_MAX 1000
#define PATIENCE_S 300 /* a queue that needs longer for its jobs is stuck */

static void check(int code, const jobq_error *err, const char *what) {
    if (code != JOBQ_OK) bench_die("%s: %s: %s", what, jobq_code_name(code), err->text);
}

static jobq_outcome count_job(jobq_run *run, void *ctx) {
    struct bench_work *work = ctx;
    size_t size = 0;
    const unsigned char *payload = jobq_run_payload(run, &size);
    bool ours = work->empty ? size == 0
                            : payload && size == FLOOR_PAYLOAD_SIZE &&
                                  payload[size - 1] == FLOOR_PAYLOAD_BYTE;
    if (!ours) __atomic_add_fetch(&work->wrong, 1, __ATOMIC_RELAXED);
    int64_t nth = __atomic_add_fetch(&work->begun, 1, __ATOMIC_RELAXED);
    if (work->on_job && ours) work->on_job(work, nth, payload);
    if (nth == work->mark_from) work->from_ns = bench_now();
    if (nth == work->mark_to) work->to_ns = bench_now();
    if (nth == work->jobs) {
        pthread_mutex_lock(&work->lock);
        pthread_cond_signal(&work->all_begun);
        pthread_mutex_unlock(&work->lock);
    }
    return JOBQ_DONE;
}

jobq *bench_queue_open(const struct bench_queue *how, struct bench_work *work) {
    jobq_options options = {
        .durability = how->durability,
        .workers = how->workers,
        .keep_done_ms = how->keep_done ? 0 : JOBQ_NONE,
        .page_size = how->page_size,
        .exclusive = how->exclusive,
        .wal_pages = 0, /* as many bytes as the floor's */
    };
    jobq_kind kind = {.name = BENCH_KIND, .run = count_job, .ctx = work};
    jobq *q = NULL;
    jobq_error err;
    pthread_mutex_init(&work->lock, NULL);
    pthread_cond_init(&work->all_begun, NULL);
    check(jobq_open(bench_queue_path(), &options, &q, &err), &err, "jobq_open");
    check(jobq_register(q, &kind, &err), &err, "jobq_register");
    return q;
}

void bench_queue_close(jobq *q) {
    int code = jobq_close(&q);
    if (code != JOBQ_OK) bench_die("jobq_close: %s", jobq_code_name(code));
}

void bench_queue_start(jobq *q) {
    jobq_error err;
    check(jobq_start(q, &err), &err, "jobq_start");
}

void bench_queue_enqueue(jobq *q, int64_t jobs, int batch) {
    unsigned char payload[FLOOR_PAYLOAD_SIZE];
    jobq_job rows[BATCH_MAX];
    jobq_error err;
    memset(payload, FLOOR_PAYLOAD_BYTE, sizeof payload);
    for (int i = 0; i < batch; i++) {
        rows[i] = (jobq_job){.kind = BENCH_KIND, .payload = payload, .size = sizeof payload};
    }
    while (jobs > 0) {
        int64_t count = jobs < batch ? jobs : batch;
        int code = batch == 1 ? jobq_enqueue(q, rows, NULL, &err)
                              : jobq_enqueue_many(q, rows, (size_t)count, NULL, &err);
        check(code, &err, "enqueue");
        jobs -= count;
    }
}

static int64_t settled(jobq *q) {
    jobq_stats stats;
    jobq_error err;
    check(jobq_stat(q, &stats, &err), &err, "jobq_stat");
    if (stats.failed_code != JOBQ_OK) {
        bench_die("the queue has stopped: %s", jobq_code_name(stats.failed_code));
    }
    return stats.done;
}

void bench_queue_await(jobq *q, struct bench_work *work) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    int waited = 0;
    pthread_mutex_lock(&work->lock);
    while (__atomic_load_n(&work->begun, __ATOMIC_RELAXED) < work->jobs && waited != ETIMEDOUT) {
        waited = pthread_cond_timedwait(&work->all_begun, &work->lock, &until);
    }
    pthread_mutex_unlock(&work->lock);
    /* Here only the last outcomes are missing, 1 ms and one commit away. */
    int64_t give_up = bench_now() + INT64_C(10000000000);
    while (settled(q) < work->jobs && bench_now() < give_up) {
        bench_sleep_until(bench_now() + 20000);
    }
    if (settled(q) != work->jobs || work->wrong > 0) {
        bench_die("of %lld jobs %lld were begun, %lld done, %lld had a wrong payload",
                  (long long)work->jobs, (long long)work->begun, (long long)settled(q),
                  (long long)work->wrong);
    }
}
