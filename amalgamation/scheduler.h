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
 * Wakes: the earliest scheduled job, a running handler's deadline or sleep, a waiter's timeout.
 * Housekeeping is no wake: it is seen to whenever the clock has passed its time. */

JOBQ__INTERNAL void jobq__sched_main(void *q);

/* Prunes finished jobs and looks for others' jobs, if it is time. */
JOBQ__INTERNAL void jobq__sched_housekeeping(jobq *q);

JOBQ__INTERNAL int jobq__sched_step(jobq *q, bool all, int64_t *ran, jobq_error *err);
/* To target_ms, or, if next, to the first wake. */
JOBQ__INTERNAL int jobq__sched_advance(jobq *q, int64_t target_ms, bool next, int *fired,
                                       jobq_error *err);

#endif
