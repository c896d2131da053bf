/* pool.h - workers: take, run, hand in. */
#ifndef JOBQ__POOL_H
#define JOBQ__POOL_H

#include "run.h"

/* Design note.
 *
 * A worker in a loop: commit what is due, if the baton is free; take the next job from the ring;
 * run it; hand in its outcome. It sleeps when there is neither. Taking, handing in and falling
 * asleep are under pool.mu.
 *
 * No outcome is forgotten: a worker that finds the baton taken may sleep, because whoever lays the
 * baton down looks at the outcomes afterwards and rouses an idle worker (commit.c); and the
 * scheduler thread commits what nobody else has after a millisecond.
 *
 *   ABSENT -> AWAKE   jobq__life_start_threads, before there is a thread
 *   AWAKE -> ABSENT   there, if the system refuses it
 *   AWAKE -> IDLE     jobq__pool_sleep, which puts it into the list
 *   IDLE -> WOKEN     jobq__wake_workers, which takes it out
 *   IDLE -> AWAKE     jobq__pool_sleep: the pool stops, or the outcomes are its own to mind
 *   WOKEN -> AWAKE    jobq__pool_sleep
 *   AWAKE -> ENDED    jobq__pool_work, when nothing of the queue is left for it to do
 *   ENDED -> ABSENT   jobq__life_join
 *
 * jobq__wake_worker_to asserts them. */

JOBQ__INTERNAL int jobq__pool_init(jobq *q);
JOBQ__INTERNAL void jobq__pool_fini(jobq *q);

/* The body of a worker's thread. */
JOBQ__INTERNAL void jobq__pool_work(void *worker);
/* Gives back what is claimed and not started, and settles what was handed in. It waits for other
 * connections until until_us, and least_us for transactions of this process. JOBQ_OK: no outcome
 * is left, or the pool was started again; or else a sentence that says how many are, and why. */
JOBQ__INTERNAL int jobq__pool_give_back(jobq *q, int64_t until_us, int64_t least_us,
                                        jobq_error *err);
/* Before somebody claims again: what a stop has left in the ring goes back, if others may have to
 * start before it (ring.behind). It waits for other connections as long as callers do. JOBQ_OK: the
 * ring is in order, or somebody claims already. */
JOBQ__INTERNAL int jobq__pool_in_order(jobq *q, jobq_error *err);

/* Takes and runs one job on the calling thread, which is a worker's or, in step mode, the
 * stepper's. False if the ring is empty. With pool.mu held, before and after. */
JOBQ__INTERNAL bool jobq__pool_run_one(struct jobq__worker *worker);

/* With pool.mu held: nothing is claimed, running (but asleep), handed in or to be claimed. */
JOBQ__INTERNAL bool jobq__pool_at_rest(const jobq *q);

#endif
