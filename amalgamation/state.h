/* state.h - the job's states and legal edges. */
#ifndef JOBQ__STATE_H
#define JOBQ__STATE_H

#include "limits.h"

/* As stored in jobq_job.state. The values are part of the file format: claim and settle touch
 * only 0 and 1, which SQLite stores without a byte. */
enum jobq__state {
    JOBQ__WAITING = 0,  /* ready, scheduled or parked: the lane says which */
    JOBQ__CLAIMED = 1,  /* in the ring or running: only this process knows which */
    JOBQ__DONE = 2,
    JOBQ__FAILED = 3,
    JOBQ__CANCELLED = 4,
    JOBQ__NEW = 5       /* before the row exists; never stored */
};

/* Lanes of waiting rows: a queue's id (ready), and these. Parked is minus the kind's id. */
enum {
    JOBQ__LANE_SCHEDULED = 0,
    JOBQ__LANE_SUSPECT = 1,   /* crashed before; ready, but one at a time */
    JOBQ__LANE_NONE = -1      /* in memory: not waiting (NULL in the table); no kind has id 1 */
};

/* True if a job may go from one state to the other. */
JOBQ__INTERNAL bool jobq__state_legal(int from, int to);

/* True for done, failed and cancelled. */
JOBQ__INTERNAL bool jobq__state_terminal(int state);

/* What the caller is told; a claimed job that has not started is pending. */
JOBQ__INTERNAL jobq_state jobq__state_public(int state, bool started);

#endif
