/* 03_producers.c - many threads enqueue, one by one and in batches; the pool runs.
 *
 * Build:   cc examples/03_producers.c jobq.c -lsqlite3 -lpthread
 * Expect:  4 producers stored 1000 jobs, 600 of them in batches
 *          done 1000, failed 0, left 0
 *          the sum of 1 to 1000 is 500500
 * Again:   its jobs stay in producers.db; delete that and what is beside it first
 *
 * Any thread may enqueue. Callers that come at the same time share one commit, and
 * a batch is one commit by itself: all of its jobs are stored or none of them.
 */
#include "../jobq.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PRODUCERS = 4, SINGLES = 100, BATCH = 150, EACH = SINGLES + BATCH };

struct producer {
    jobq *q;
    pthread_t thread;
    int32_t first;       /* this producer's numbers: first .. first + EACH - 1 */
    int64_t ids[EACH];
};

static pthread_mutex_t sum_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t sum;

static jobq_outcome add(jobq_run *run, void *ctx)
{
    (void)ctx;
    int32_t number;
    memcpy(&number, jobq_run_payload(run, NULL), sizeof number);
    pthread_mutex_lock(&sum_lock); /* handlers run on several threads */
    sum += number;
    pthread_mutex_unlock(&sum_lock);
    return JOBQ_DONE;
}

static void check(int rc, const jobq_error *err)
{
    if (rc == JOBQ_OK) return;
    fprintf(stderr, "producers: %s: %s\n", jobq_code_name(rc), err->text);
    exit(1);
}

static void *produce(void *arg)
{
    struct producer *p = arg;
    int32_t numbers[EACH];
    jobq_job jobs[EACH];
    jobq_stored results[BATCH];
    jobq_error err;

    for (int32_t i = 0; i < EACH; i++) {
        numbers[i] = p->first + i;
        jobs[i] = (jobq_job){ .kind = "add", .payload = &numbers[i], .size = sizeof(int32_t) };
    }
    for (int i = 0; i < SINGLES; i++)
        check(jobq_enqueue(p->q, &jobs[i], &p->ids[i], &err), &err);
    check(jobq_enqueue_many(p->q, jobs + SINGLES, BATCH, results, &err), &err);
    for (int i = 0; i < BATCH; i++) p->ids[SINGLES + i] = results[i].id;
    return NULL;
}

int main(void)
{
    static struct producer producers[PRODUCERS];
    jobq *q;
    jobq_error err;
    jobq_counts counts;

    check(jobq_open("producers.db", NULL, &q, &err), &err);
    check(jobq_register(q, &(jobq_kind){ .name = "add", .run = add }, &err), &err);
    check(jobq_start(q, &err), &err);

    for (int i = 0; i < PRODUCERS; i++) {
        producers[i].q = q;
        producers[i].first = i * EACH + 1;
        if (pthread_create(&producers[i].thread, NULL, produce, &producers[i]) != 0) return 1;
    }
    for (int i = 0; i < PRODUCERS; i++) pthread_join(producers[i].thread, NULL);
    printf("%d producers stored %d jobs, %d of them in batches\n", PRODUCERS, PRODUCERS * EACH,
           PRODUCERS * BATCH);

    for (int i = 0; i < PRODUCERS * EACH; i++)
        check(jobq_wait(q, producers[i / EACH].ids[i % EACH], JOBQ_MINUTE, NULL, &err), &err);
    check(jobq_count(q, &counts, &err), &err);
    printf("done %d, failed %d, left %d\n", (int)counts.done, (int)counts.failed,
           (int)(counts.ready + counts.scheduled + counts.parked + counts.running));
    printf("the sum of 1 to %d is %d\n", PRODUCERS * EACH, (int)sum);

    jobq_close(&q); /* stops the pool as well */
    return 0;
}
