/* state.h - the job's states and legal edges. */
#ifndef JOBQ__STATE_H
#define JOBQ__STATE_H

#include "stored.h"

/* True if a job may go from one state to the other. */
JOBQ__INTERNAL bool jobq__state_legal(int from, int to);

/* True for done, failed and cancelled. */
JOBQ__INTERNAL bool jobq__state_terminal(int state);

/* What the caller is told; a claimed job that has not started is pending. */
JOBQ__INTERNAL jobq_state jobq__state_public(int state, bool started);

#endif
