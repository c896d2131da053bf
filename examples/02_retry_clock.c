/* 02_retry_clock.c - eighteen hours of retries in no time, with an artificial clock.
 *
 * Build:   cc examples/02_retry_clock.c jobq.c -lsqlite3 -lpthread
 * Expect:  the 29 delays of the default backoff (1 s, doubling, at most 1 h),
 *          their sum of 65,295 s, and a job that failed after 30 attempts:
 *          examples/expected/02_retry_clock.txt
 *
 * The clock moves only when told, and in step mode (no threads) jobs run on the
 * caller's thread inside jobq_run_until_idle and jobq_advance. So nothing here
 * sleeps, and every run of this program does exactly the same.
 */
#include "../jobq.h"

#include <stdio.h>
#include <stdlib.h>

static jobq_outcome always_fails(jobq_run *run, void *ctx)
{
    (void)ctx;
    return jobq_retry(run, "attempt %d met a closed door", jobq_run_attempt(run));
}

static void check(int rc, const jobq_error *err)
{
    if (rc == JOBQ_OK) return;
    fprintf(stderr, "retry_clock: %s: %s\n", jobq_code_name(rc), err->text);
    exit(1);
}

int main(void)
{
    jobq *q;
    jobq_error err;
    int64_t id, sum_ms = 0;

    jobq_clock *clock = jobq_clock_artificial(1000000 * JOBQ_DAY);
    if (clock == NULL) {
        fprintf(stderr, "retry_clock: no memory for a clock\n");
        return 1;
    }
    jobq_options options = { .workers = JOBQ_NONE, .clock = clock };
    check(jobq_open(":memory:", &options, &q, &err), &err);

    /* Every default but the jitter, which would make the table uneven. */
    jobq_kind kind = { .name = "door", .run = always_fails, .jitter_percent = JOBQ_NONE };
    check(jobq_register(q, &kind, &err), &err);
    check(jobq_enqueue(q, &(jobq_job){ .kind = "door" }, &id, &err), &err);
    check(jobq_run_until_idle(q, NULL, &err), &err); /* attempt 1 */

    printf("attempt   delay after it\n");
    for (;;) {
        jobq_info info;
        check(jobq_get(q, id, &info, &err), &err);
        if (info.state != JOBQ_STATE_PENDING) {
            printf("%7d   none: %s, \"%s\"\n", info.attempt,
                   info.state == JOBQ_STATE_FAILED ? "failed" : "not failed?", info.error);
            break;
        }
        int64_t delay_ms = info.run_at_ms - jobq_clock_now(clock);
        printf("%7d   %5d s\n", info.attempt - 1, (int)(delay_ms / JOBQ_SECOND));
        sum_ms += delay_ms;
        check(jobq_advance(q, delay_ms, NULL, &err), &err); /* runs the next attempt */
    }
    printf("sum: %d s\n", (int)(sum_ms / JOBQ_SECOND));

    jobq_close(&q);
    jobq_clock_free(clock);
    return 0;
}
