/* 01_hello.c - the life of one job: open, register, start, enqueue, wait, close.
 *
 * Build:   cc examples/01_hello.c jobq.c -lsqlite3 -lpthread
 * Expect:  hello, world
 *          the job is done after 1 attempt
 *
 * The queue is the file hello.db in the current directory. When jobq_enqueue has
 * returned JOBQ_OK the job is on the disk: if the power fails now, the next start
 * of this program finds it there and says hello then.
 */
#include "../jobq.h"

#include <stdio.h>

/* A handler: runs on a worker thread and returns what became of the job. */
static jobq_outcome hello(jobq_run *run, void *ctx)
{
    (void)ctx;
    size_t size;
    const char *name = jobq_run_payload(run, &size);
    printf("hello, %.*s\n", (int)size, name);
    return JOBQ_DONE;
}

/* Returns false, and says why, if a call failed. */
static int ok(int rc, const char *what, const jobq_error *err)
{
    if (rc == JOBQ_OK) return 1;
    fprintf(stderr, "hello: cannot %s: %s\n", what, err->text);
    return 0;
}

int main(void)
{
    jobq *q = NULL;
    jobq_error err;
    jobq_info info;
    int64_t id;
    int status = 1;

    if (!ok(jobq_open("hello.db", NULL, &q, &err), "open hello.db", &err)) return 1;

    jobq_kind kind = { .name = "hello", .run = hello };
    jobq_job job = { .kind = "hello", .text = "world" };

    if (ok(jobq_register(q, &kind, &err), "register", &err) &&
        ok(jobq_start(q, &err), "start", &err) &&
        ok(jobq_enqueue(q, &job, &id, &err), "enqueue", &err) &&
        ok(jobq_wait(q, id, JOBQ_MINUTE, &info, &err), "wait", &err)) {
        printf("the job is %s after %d attempt\n",
               info.state == JOBQ_STATE_DONE ? "done" : "not done", info.attempt);
        status = 0;
    }
    if (!ok(jobq_stop(q, 0, &err), "stop", &err)) status = 1;
    jobq_close(&q);
    return status;
}
