/* alter.h - what callers change of a job that is there: cancel, try again, delete. */
#ifndef JOBQ__ALTER_H
#define JOBQ__ALTER_H

#include "tx.h"

/* Design note.
 *
 * Each is a request: a part that writes, in whatever transaction takes it along, and one that acts
 * after its COMMIT. A job that is claimed and has not started is taken out of the ring first and
 * given back, so that it is altered as one that waits; one that runs is asked to stop, which is
 * written down (a wish, that outlives the process), and is not deleted. The steps themselves are
 * the door's.
 *
 * The writing parts run with the baton held, jobq__alter_find with or without it. */

enum jobq__whereabouts { JOBQ__NOWHERE, JOBQ__WAITS, JOBQ__RUNS };

/* Claimed, but in no slot: it waits in the ring (or the transaction under way has taken it out), or
 * its handler is just being called, or has returned and the outcome is on its way to the disk: that
 * is running still. Nowhere: a commit has changed it since the row was read, or says in a moment
 * that it was claimed. */
JOBQ__INTERNAL enum jobq__whereabouts jobq__alter_find(jobq *q, int64_t id);

/* The argument of these requests. */
struct jobq__alter {
    int64_t id;
    struct jobq__entry *running;    /* found by the part that writes: it runs */
};

JOBQ__INTERNAL int jobq__alter_cancel(struct jobq__tx *tx, struct jobq__request *r);
JOBQ__INTERNAL void jobq__alter_cancelled(jobq *q, struct jobq__request *r);
JOBQ__INTERNAL int jobq__alter_retry(struct jobq__tx *tx, struct jobq__request *r);
JOBQ__INTERNAL int jobq__alter_delete(struct jobq__tx *tx, struct jobq__request *r);
JOBQ__INTERNAL void jobq__alter_deleted(jobq *q, struct jobq__request *r);

#endif
