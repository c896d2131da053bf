/* life.h - the pool's life: start, stop, and what is left when the grace is over. */
#ifndef JOBQ__LIFE_H
#define JOBQ__LIFE_H

#include "scheduler.h"

/* Design note.
 *
 *   STOPPED -> RUNNING   jobq__life_start
 *   RUNNING -> STOPPING  jobq__life_raise_flags, of a stop or a close: no claims; stop flags
 *   STOPPING -> STOPPED  jobq__life_join: the last handler returned, the threads are joined
 *
 * jobq__life_go asserts them. One thread at a time starts or joins the others (changing), and the
 * first and the last edge are its own; the second may come while it starts them, by a close.
 *
 * Shutdown order: 1 claims off, 2 stop flags, 3 give back, 4 wait for handlers within the grace,
 * 5 workers end and are joined, 6 the last outcomes are committed, 7 the scheduler ends and is
 * joined. If the grace runs out at 4 the slots are released, and a later stop goes on there. At 3
 * and 6 another connection may have the file: then the outcomes stay handed in, the stop says so
 * when its time is over, and whatever commits next takes them along: another stop, a start, a call.
 * Only close gives them up, and says that it does. */

JOBQ__INTERNAL int jobq__life_start(jobq *q, jobq_error *err);
/* Handlers get grace_us; when they have returned, the last outcomes get what is left of it to be
 * written, and write_us at most. */
JOBQ__INTERNAL int jobq__life_stop(jobq *q, int64_t grace_us, int64_t write_us, jobq_error *err);
/* Steps 1 and 2 of the shutdown order. With pool.mu held. */
JOBQ__INTERNAL void jobq__life_raise_flags(jobq *q);

#endif
