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
 *   STOPPED -> RUNNING   start
 *   RUNNING -> STOPPING  stop: no claims; stop flags; the ring goes back to the table
 *   STOPPING -> STOPPED  the last handler returned, its outcome is committed, threads are joined
 *
 * Shutdown order: 1 claims off, 2 stop flags, 3 give back, 4 wait for handlers within the grace,
 * 5 workers end and are joined, 6 the last outcomes are committed, 7 the scheduler ends and is
 * joined. If the grace runs out at 4 the slots are released, and a later stop goes on there. At 3
 * and 6 another connection may have the file: then the outcomes stay handed in, the stop says so
 * when its time is over, and whatever commits next takes them along: another stop, a start, a call.
 * Only close gives them up, and says that it does. */

JOBQ__INTERNAL int jobq__pool_init(jobq *q);
JOBQ__INTERNAL void jobq__pool_fini(jobq *q);

JOBQ__INTERNAL int jobq__pool_start(jobq *q, jobq_error *err);
/* Handlers get grace_us; when they have returned, the last outcomes get what is left of it to be
 * written, and write_us at most. */
JOBQ__INTERNAL int jobq__pool_stop(jobq *q, int64_t grace_us, int64_t write_us, jobq_error *err);
/* Steps 1 and 2 of the shutdown order. With pool.mu held. */
JOBQ__INTERNAL void jobq__pool_raise_flags(jobq *q);
/* Gives back what is claimed and not started, and settles what was handed in. It waits for other
 * connections until until_us, and least_us for transactions of this process. JOBQ_OK: no outcome
 * is left, or the pool was started again; or else a sentence that says how many are, and why. */
JOBQ__INTERNAL int jobq__pool_give_back(jobq *q, int64_t until_us, int64_t least_us,
                                        jobq_error *err);

/* Takes and runs one job on the calling thread, which is a worker's or, in step mode, the
 * stepper's. False if the ring is empty. With pool.mu held, before and after. */
JOBQ__INTERNAL bool jobq__pool_run_one(struct jobq__worker *worker);

/* With pool.mu held: nothing is claimed, running (but asleep), handed in or to be claimed. */
JOBQ__INTERNAL bool jobq__pool_at_rest(const jobq *q);

#endif
