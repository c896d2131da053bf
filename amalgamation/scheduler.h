/* scheduler.h - the scheduler thread, the wheel's actions, step and advance. */
#ifndef JOBQ__SCHED_H
#define JOBQ__SCHED_H

#include "pool.h"

/* Design note.
 *
 * The scheduler thread does what nobody else is there to do: fires the wheel, commits outcomes
 * that have waited for a millisecond, promotes, prunes, polls, takes checkpoints, delivers the
 * events of callers. It sleeps without a timeout when there is nothing to come. In step mode the
 * same functions run on the caller's thread.
 *
 * Firing a wake only raises a flag or wakes a thread, under pool.mu; what follows from it is a
 * transaction like any other. The table is the truth: a wake that comes for nothing does no harm.
 * Wakes: the earliest scheduled job, by the wall, or by own time (clock.h) if it waits for a
 * duration; a running handler's deadline or sleep and a waiter's timeout, by the monotonic reading.
 * Housekeeping is no wake: it is seen to whenever the wall has passed its time.
 *
 * By the system's clock the thread itself waits for what is due by the wall until that very time of
 * the wall, so that the system wakes it when the clock is set or the machine resumes; but for a
 * duration by the monotonic clock, or the wall could keep it waiting: then it looks once a minute,
 * too, for no system tells of a resume by that clock. By an artificial clock it waits for nothing:
 * advance and set kick it. */

JOBQ__INTERNAL void jobq__sched_main(void *q);

/* The earliest scheduled job is a wake that is to come. With pool.mu held. */
JOBQ__INTERNAL bool jobq__sched_awaits_jobs(const jobq *q);
/* When the next wake is, by the wall as it goes now. With pool.mu held. */
JOBQ__INTERNAL int64_t jobq__sched_next(const jobq *q, struct jobq__now now);

JOBQ__INTERNAL int jobq__sched_step(jobq *q, bool all, int64_t *ran, jobq_error *err);
/* Moves the artificial clock until its monotonic reading is target_ms, or, if next, to the first
 * wake. */
JOBQ__INTERNAL int jobq__sched_advance(jobq *q, int64_t target_ms, bool next, int *fired,
                                       jobq_error *err);

#endif
