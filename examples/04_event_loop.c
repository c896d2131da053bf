/* 04_event_loop.c - jobq without threads of its own, inside a poll(2) loop.
 *
 * Build:   cc examples/04_event_loop.c jobq.c -lsqlite3 -lpthread
 * Expect:  first, enqueued by another thread
 *          second, 20 ms after the first
 *          third, 40 ms after the first
 *
 * The loop owns the waiting. jobq_next_deadline says how long it may sleep,
 * on_wake says that this has changed, and jobq_step runs one due job on this
 * thread. When nothing is due the process sleeps: it does not poll a table.
 */
#define _POSIX_C_SOURCE 200809L
#include "../jobq.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool finished; /* only the loop's thread runs handlers, so no lock is needed */

static void check(int rc, const jobq_error *err)
{
    if (rc == JOBQ_OK) return;
    fprintf(stderr, "event_loop: %s: %s\n", jobq_code_name(rc), err->text);
    exit(1);
}

static jobq_outcome say(jobq_run *run, void *ctx)
{
    (void)ctx;
    size_t size;
    const char *text = jobq_run_payload(run, &size);
    printf("%.*s\n", (int)size, text);
    if (strncmp(text, "first", 5) == 0) { /* children, durable before this job is done */
        const char *second = "second, 20 ms after the first";
        const char *third = "third, 40 ms after the first";
        jobq_job later[] = {
            { .kind = "say", .text = third, .delay_ms = 40 },
            { .kind = "say", .text = second, .delay_ms = 20 },
        };
        jobq_error err;
        int rc = jobq_enqueue_many(jobq_run_handle(run), later, 2, NULL, &err);
        if (rc != JOBQ_OK) return jobq_retry(run, "%s", err.text);
    }
    if (strncmp(text, "third", 5) == 0) finished = true;
    return JOBQ_DONE;
}

static void wake(void *ctx) /* any thread; a full pipe will wake the loop as well */
{
    ssize_t written = write(*(int *)ctx, "!", 1);
    (void)written;
}

static void *other_thread(void *q)
{
    const char *text = "first, enqueued by another thread";
    jobq_job job = { .kind = "say", .text = text };
    jobq_error err;
    check(jobq_enqueue(q, &job, NULL, &err), &err);
    return NULL;
}

int main(void)
{
    int ends[2];
    jobq *q;
    jobq_error err;
    pthread_t thread;

    if (pipe(ends) != 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0 ||
        fcntl(ends[1], F_SETFL, O_NONBLOCK) != 0) return 1;
    jobq_options options = { .workers = JOBQ_NONE, .on_wake = wake, .ctx = &ends[1] };
    check(jobq_open("loop.db", &options, &q, &err), &err);
    check(jobq_register(q, &(jobq_kind){ .name = "say", .run = say }, &err), &err);
    if (pthread_create(&thread, NULL, other_thread, q) != 0) return 1;

    while (!finished) {
        int64_t at_ms;
        check(jobq_next_deadline(q, &at_ms, &err), &err);
        int64_t wait_ms = at_ms == JOBQ_NEVER ? -1 : at_ms - jobq_clock_now(NULL);
        if (at_ms != JOBQ_NEVER && wait_ms < 0) wait_ms = 0;
        if (wait_ms > INT_MAX) wait_ms = INT_MAX;
        struct pollfd wakes = { .fd = ends[0], .events = POLLIN }; /* beside your sockets */
        char drain[64];
        if (poll(&wakes, 1, (int)wait_ms) > 0)
            while (read(ends[0], drain, sizeof drain) > 0) continue;
        check(jobq_step(q, NULL, &err), &err); /* one job, then the others in the loop */
    }
    pthread_join(thread, NULL);
    jobq_close(&q);
    return 0;
}
