/* turn.h - whose turn it is to write: other connections, other processes. */
#ifndef JOBQ__TURN_H
#define JOBQ__TURN_H

#include "fail.h"

/* Design note.
 *
 * SQLite has one writer at a time. Inside this process the baton says who that is; beside it there
 * may be the application's own connection, another program, and clients of the queue. Nobody knows
 * when they let go of the file, so who finds it taken looks again: soon at first, then every two
 * milliseconds. He does that by his own time limit, and nobody else waits for longer than that:
 *   - a caller keeps the baton meanwhile, for nobody could do anything with it, and one look for
 *     each process is enough. Others queue behind him and leave when their own time is over; when
 *     his is over he hands the baton on, and the next one looks. A caller's time (busy_ms) passes
 *     while others have the file: another connection, or a job's transaction. It does not while he
 *     stands behind commits of this process, which are short, and make his turn come.
 *   - a worker and the scheduler lay the baton down at once and come again (pool.work.retry_at_us):
 *     handlers run, wakes are fired and events told, whatever the file does.
 *
 * Fair among processes. Who enqueues without a pause lets go of the file for some microseconds at
 * a time, and who looks every two milliseconds would hardly ever meet one of them. So who finds the
 * file taken raises a word in the lock file; who has written for five milliseconds without a pause,
 * and finds it raised, lowers it and stays away for three. If nobody comes, that was all; a process
 * that died while it waited costs that once. Who of several that wait comes first is chance: so the
 * word is another one for each turn, and who finds that he has missed some looks more often. Who
 * stays away fails nobody: a caller whose time is over tries all the same. All times are real.
 *
 * Everything here belongs to the holder of the baton, but taken, which says why others wait, and
 * the time that others have had the file. */

/* BEGIN IMMEDIATE on db. JOBQ__TAKEN: somebody else has the file, or it is their turn; nothing has
 * happened. insist: even if it is their turn. */
JOBQ__INTERNAL int jobq__turn_begin(jobq *q, jobq__store *db, bool insist);

/* The same, looking again until until_us: then JOBQ_BUSY. */
JOBQ__INTERNAL int jobq__turn_begin_within(jobq *q, jobq__store *db, int64_t until_us);

/* The longest pause between two looks: the shorter, the more turns it has missed. */
JOBQ__INTERNAL int64_t jobq__turn_pause_max_us(const jobq *q);

/* Sleeps before the next look, until until_us at most; *pause_us begins at 0. */
JOBQ__INTERNAL void jobq__turn_pause(const jobq *q, int64_t *pause_us, int64_t now_us,
                                     int64_t until_us);

/* From now on others have the file, or they do no longer. With the baton, and baton.mu held. */
JOBQ__INTERNAL void jobq__turn_others(jobq *q, bool have_it);

/* How long they have had it since the queue was opened, in all: the clock of who waits by busy_ms.
 * With baton.mu held. */
JOBQ__INTERNAL int64_t jobq__turn_others_had(const jobq *q, int64_t now_us);

/* Another connection has the file, and nobody waits for it: the pool comes again when it may be
 * free. */
JOBQ__INTERNAL void jobq__turn_put_off(jobq *q);

/* The file was written to, without a pause, from one moment to the other. */
JOBQ__INTERNAL void jobq__turn_end(jobq *q, int64_t from_us, int64_t to_us);

/* JOBQ_BUSY, and a sentence that says who was in the way; did: what has not happened. */
JOBQ__INTERNAL int jobq__turn_busy(jobq *q, const char *did, jobq_error *err);

/* The same where a connection was opened, which returned rc: if it was SQLite that said BUSY. */
JOBQ__INTERNAL int jobq__turn_shut_out(jobq *q, int rc, const char *did, jobq_error *err);

#endif
