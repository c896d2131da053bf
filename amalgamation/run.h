/* run.h - one run of one job, as its handler sees it. */
#ifndef JOBQ__RUN_H
#define JOBQ__RUN_H

#include "commit.h"

/* Design note.
 *
 * run_begin and run_end bracket a run under pool.mu; run_call is between them, outside all locks:
 *
 *   slot STARTED -> handler -> slot idle -> verdict -> (job's transaction: settled here)
 *                                                   -> (else: handed in, settled by a group)
 *
 * The verdict is a pure function of outcome, row, kind and the time at which the handler returned;
 * nothing about it is decided later but a cancel that came meanwhile (tx_settle.c). */

/* With pool.mu held: the worker has taken entry. */
JOBQ__INTERNAL void jobq__run_begin(struct jobq__worker *worker, struct jobq__entry *entry);
/* Calls the handler; true if the entry was settled by the job's own transaction. */
JOBQ__INTERNAL bool jobq__run_call(struct jobq__worker *worker);
/* With pool.mu held: the worker is free again. */
JOBQ__INTERNAL void jobq__run_end(struct jobq__worker *worker);

#endif
